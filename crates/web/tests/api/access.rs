//! Who gets what answer from which operation: a table that is made anew and compared (CO section 22).

mod operations;

use std::collections::HashMap;
use std::fmt::Write as _;

use http::Method;
use portcullis_core::id::{ApplicationId, ProviderPk, RoleId, UserPk};
use portcullis_idp::reputation::{self, Attempt};
use portcullis_store::authenticator::{self, Authenticator};
use portcullis_store::consent::{self, Consent};
use portcullis_store::grant::{self, AccessToken, AuthorizationCode};
use portcullis_store::refresh_token::{self, RefreshToken};
use portcullis_store::role::{self, Right, Role};
use serde_json::{Value, json};

use crate::site::{ADMIN, Site};
use operations::{KINDS, OTHERS, permissions};

const DOCUMENT: &str = include_str!("../../src/api/openapi.json");
const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/access.txt");
const HEAD: &str = "\
# Answers of the API by who asks: the HTTP status of each operation for
#   nobody    without credentials
#   anybody   a user without roles
#   viewer    a user whose role grants the first permission
#   writer    one whose role grants all of them
#   outpost   the service account of an outpost
#   super     a superuser
# What is asked for belongs to somebody else. `-` is where no permission is asked for, or none suffices.
# Made by `UPDATE_DOCS=1 cargo test --workspace --locked --test api access`.
";

/// A site with an object of every kind, and makers of more.
struct Field {
    site: Site,
    count: u32,
    victim: i64,
    application: Value,
    provider: Value,
    certificate: String,
    outpost: String,
    objects: HashMap<&'static str, String>,
    anybody: String,
    viewer: (i64, String),
    writer: (i64, String),
    account: String,
}

impl Field {
    async fn new() -> Self {
        let site = crate::expressions::site().await;
        let brands = site.get("/core/brands/").await;
        let brand = format!("/core/brands/{}/", brands["results"][0]["brand_uuid"].as_str().unwrap());
        let recovery = site.get("/flows/instances/default-recovery-flow/").await["pk"].clone();
        site.patch(&brand, json!({"flow_recovery": recovery})).await;
        let pair = json!({"common_name": "a.example", "validity_days": 30, "alg": "ecdsa"});
        let (_, pair) = site.send(ADMIN, Method::POST, "/crypto/certificatekeypairs/generate/", Some(pair)).await;
        let pair = pair["pk"].as_str().unwrap();
        let shown = site.get(&format!("/crypto/certificatekeypairs/{pair}/view_certificate/")).await;
        let certificate = shown["data"].as_str().unwrap().to_owned();
        let served = site.provider_body("served", json!({"certificate": pair})).await;
        let provider = site.post("/providers/proxy/", served).await["pk"].clone();
        let application = site.application("wiki", &provider).await;
        let closed = json!({"target": application["pk"], "order": 0, "user": site.user("nobody").await.0});
        site.post("/policies/bindings/", closed).await;
        let outpost = site.get("/outposts/instances/").await["results"][0]["pk"].as_str().unwrap().to_owned();
        site.patch(&format!("/outposts/instances/{outpost}/"), json!({"providers": [provider]})).await;
        let (victim, _) = site.user("victim").await;
        let (_, anybody) = site.user("anybody").await;
        let (viewer, writer) = (site.user("viewer").await, site.user("writer").await);
        let account = site.outpost_account(&outpost).await;
        Self {
            count: 0,
            victim,
            application,
            provider,
            certificate,
            outpost,
            objects: HashMap::new(),
            anybody,
            viewer,
            writer,
            account,
            site,
        }
    }

    fn name(&mut self) -> String {
        self.count += 1;
        format!("thing-{}", self.count)
    }

    /// What makes an object of the kind whose paths begin so; none if the API makes none.
    async fn body(&mut self, start: &str) -> Option<Value> {
        let name = self.name();
        Some(match start {
            "/core/users/" => json!({"username": name, "name": name}),
            "/core/groups/"
            | "/rbac/roles/"
            | "/policies/event_matcher/"
            | "/policies/password/"
            | "/policies/reputation/" => json!({"name": name}),
            "/policies/dummy/" => json!({"name": name, "wait_min": 0, "wait_max": 0}),
            "/policies/expression/" => json!({"name": name, "expression": "return True"}),
            "/policies/password_expiry/" => json!({"name": name, "days": 30}),
            "/policies/bindings/" => json!({"target": self.application["pk"], "order": 7, "user": self.victim}),
            "/core/tokens/" => json!({"identifier": name, "user": self.victim, "intent": "app_password"}),
            "/core/applications/" => json!({"name": name, "slug": name}),
            "/core/application_entitlements/" => json!({"name": name, "app": self.application["pk"]}),
            "/core/brands/" => json!({"domain": format!("{name}.example")}),
            "/crypto/certificatekeypairs/" => json!({"name": name, "certificate_data": self.certificate}),
            "/outposts/instances/" => {
                json!({"name": name, "type": "proxy", "providers": [self.provider], "config": {}})
            }
            "/managed/blueprints/" => json!({"name": name, "content": "version: 1\nentries: []\n"}),
            "/events/events/" => json!({"action": "login", "app": "test"}),
            "/propertymappings/provider/scope/" => json!({"name": name, "scope_name": name, "expression": "return {}"}),
            "/providers/proxy/" => self.site.provider_body(&name, json!({})).await,
            "/providers/oauth2/" => {
                let mut body = self.site.provider_body(&name, json!({})).await;
                body["redirect_uris"] = json!([]);
                body
            }
            "/sources/oauth/" => json!({
                "name": name, "slug": name, "provider_type": "openidconnect",
                "consumer_key": "key", "consumer_secret": "secret",
            }),
            _ => return None,
        })
    }

    /// An object of the kind whose paths begin so, that nothing else is done to if it is to go: what its path ends
    /// with.
    async fn make(&mut self, start: &'static str, to_go: bool) -> String {
        let maker = match start {
            "/policies/all/" => "/policies/dummy/",
            "/propertymappings/all/" => "/propertymappings/provider/scope/",
            "/providers/all/" => "/providers/oauth2/",
            "/sources/all/" => "/sources/oauth/",
            "/core/authenticated_sessions/" => return self.site.sign_in(self.victim, "test").await.1,
            "/core/user_consent/" => return self.consent(to_go).await,
            "/oauth2/authorization_codes/" => return self.code().await,
            "/oauth2/access_tokens/" => return self.access_token().await,
            "/oauth2/refresh_tokens/" => return self.refresh_token().await,
            "/policies/reputation/scores/" => return self.score().await,
            "/flows/instances/" | "/flows/executor/" => return "default-authentication-flow".to_owned(),
            "/outposts/instances/" if !to_go => return self.outpost.clone(),
            "/authenticators/admin/totp/" => return self.device("totp").await,
            "/authenticators/admin/static/" => return self.device("static").await,
            "/authenticators/admin/webauthn/" | "/authenticators/webauthn/" => return self.device("webauthn").await,
            own => own,
        };
        let body = self.body(maker).await.unwrap_or_else(|| panic!("{start}: no object can be made"));
        let made = self.site.post(maker, body).await;
        if start == "/providers/oauth2/" {
            let name = self.name();
            self.site.application(&name, &made["pk"]).await;
        }
        let key = match maker {
            "/core/tokens/" => "identifier",
            "/core/applications/" | "/sources/oauth/" => "slug",
            "/core/application_entitlements/" => "pbm_uuid",
            "/core/brands/" => "brand_uuid",
            _ => "pk",
        };
        made[key].as_str().map_or_else(|| made[key].to_string(), str::to_owned)
    }

    /// A user has one at most per application: one to stay and one to go are of two users.
    async fn consent(&mut self, to_go: bool) -> String {
        let user = if to_go { self.victim } else { 1 };
        let now = self.site.ctx.now();
        let agreed = Consent {
            pk: 0,
            account: UserPk(i32::try_from(user).unwrap()),
            provider: ProviderPk(i32::try_from(self.provider.as_i64().unwrap()).unwrap()),
            application: ApplicationId(self.application["pk"].as_str().unwrap().parse().unwrap()),
            scope: "openid".to_owned(),
            created: now,
            expires: now.plus_seconds(3600),
        };
        let mut tx = self.site.ctx.db.write().await.unwrap();
        consent::keep(&mut tx, &agreed).await.unwrap();
        tx.commit().await.unwrap();
        self.site.get(&format!("/core/user_consent/?user={user}")).await["results"][0]["pk"].to_string()
    }

    async fn refresh_token(&mut self) -> String {
        let now = self.site.ctx.now();
        let token = RefreshToken {
            pk: 0,
            digest: self.name().into_bytes(),
            grant_id: self.name(),
            provider: ProviderPk(i32::try_from(self.provider.as_i64().unwrap()).unwrap()),
            account: UserPk(i32::try_from(self.victim).unwrap()),
            sid: "sid".to_owned(),
            auth_method: "password".to_owned(),
            second_factor: false,
            auth_time: now,
            scope: "offline_access openid".to_owned(),
            subject: String::new(),
            began: now,
            issued: now,
            expires: now.plus_seconds(3600),
            rotated: None,
            revoked: None,
        };
        let mut tx = self.site.ctx.db.write().await.unwrap();
        refresh_token::insert(&mut tx, &token).await.unwrap();
        tx.commit().await.unwrap();
        let newest = self.site.get("/oauth2/refresh_tokens/?ordering=-pk").await;
        newest["results"][0]["pk"].to_string()
    }

    async fn code(&mut self) -> String {
        let now = self.site.ctx.now();
        let code = AuthorizationCode {
            digest: self.name().into_bytes(),
            grant_id: self.name(),
            provider: ProviderPk(i32::try_from(self.provider.as_i64().unwrap()).unwrap()),
            account: UserPk(i32::try_from(self.victim).unwrap()),
            sid: "sid".to_owned(),
            redirect_uri: "https://app.example/cb".to_owned(),
            scope: "openid".to_owned(),
            nonce: None,
            challenge: None,
            challenge_method: None,
            auth_time: now,
            expires: now.plus_seconds(3600),
            consumed: None,
        };
        let mut tx = self.site.ctx.db.write().await.unwrap();
        grant::insert_code(&mut tx, &code).await.unwrap();
        tx.commit().await.unwrap();
        self.site.get("/oauth2/authorization_codes/?ordering=-pk").await["results"][0]["pk"].to_string()
    }

    async fn access_token(&mut self) -> String {
        let (now, jti) = (self.site.ctx.now(), self.name());
        let ctx = &self.site.ctx;
        let token = AccessToken {
            digest: jti.clone().into_bytes(),
            grant_id: jti.clone(),
            provider: ProviderPk(i32::try_from(self.provider.as_i64().unwrap()).unwrap()),
            account: UserPk(i32::try_from(self.victim).unwrap()),
            sid: Some("sid".to_owned()),
            app_password: None,
            app_password_key: None,
            traded_sid: None,
            traded_jti: None,
            actor_jti: None,
            source: None,
            source_at: None,
            actor: None,
            scope: "openid".to_owned(),
            groups: Vec::new(),
            claims_sealed: ctx.keys.seal(&format!("access_token:{jti}:claims"), b"{}", &*ctx.entropy),
            assertion_sealed: None,
            issued: now,
            expires: now.plus_seconds(3600),
            revoked: None,
            jti,
        };
        let mut tx = self.site.ctx.db.write().await.unwrap();
        grant::insert_token(&mut tx, &token).await.unwrap();
        tx.commit().await.unwrap();
        self.site.get("/oauth2/access_tokens/?ordering=-pk").await["results"][0]["pk"].to_string()
    }

    async fn device(&mut self, class: &str) -> String {
        let device = Authenticator {
            pk: 0,
            account: UserPk(i32::try_from(self.victim).unwrap()),
            class: class.to_owned(),
            name: self.name(),
            seed_sealed: Vec::new(),
            digits: 6,
            drift: 0,
            last_step: 0,
            created: self.site.ctx.now(),
            last_used: None,
        };
        let mut tx = self.site.ctx.db.write().await.unwrap();
        let pk = authenticator::insert(&mut tx, &device).await.unwrap();
        tx.commit().await.unwrap();
        pk.to_string()
    }

    async fn score(&mut self) -> String {
        let name = self.name();
        let mut tx = self.site.ctx.db.write().await.unwrap();
        let here = [192, 0, 2, 7].into();
        reputation::note(&self.site.ctx, &mut tx, here, &name, Attempt::Failed).await.unwrap();
        tx.commit().await.unwrap();
        let found = self.site.get(&format!("/policies/reputation/scores/?identifier={name}")).await;
        found["results"][0]["pk"].as_str().unwrap().to_owned()
    }

    /// Gives a user a role that grants these, and no other.
    async fn grant(&mut self, user: i64, rights: &[String]) {
        let made = Role { pk: RoleId(self.site.ctx.entropy.uuid()), name: self.name(), managed: None };
        let mut tx = self.site.ctx.db.write().await.unwrap();
        role::insert(&mut tx, &made).await.unwrap();
        for right in rights {
            let right = Right { permission: right.clone(), object: String::new() };
            role::grant(&mut tx, made.pk, &right).await.unwrap();
        }
        role::set_of_account(&mut tx, UserPk(i32::try_from(user).unwrap()), &[made.pk]).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// The path of an operation with an object in it. Who deletes gets one of their own.
    async fn place(&mut self, method: &str, path: &str) -> String {
        let Some((before, rest)) = path.split_once('{') else {
            return match path {
                "/core/authenticated_sessions/bulk_delete/" => format!("{path}?user_pks={}", self.victim),
                _ => path.to_owned(),
            };
        };
        let after = rest.split_once('}').unwrap().1;
        let mut starts = KINDS.iter().map(|(start, _)| *start).chain(OTHERS);
        let start = starts.find(|start| *start == before).unwrap_or_else(|| panic!("{path}: no kind of objects"));
        let key = match self.objects.get(start) {
            Some(key) if method != "delete" => key.clone(),
            _ => {
                let key = self.make(start, method == "delete").await;
                if method != "delete" {
                    self.objects.insert(start, key.clone());
                }
                key
            }
        };
        let query = match path {
            "/providers/oauth2/{id}/preview_user/" => format!("?for_user={}", self.victim),
            "/flows/executor/{flow_slug}/" => "?query=".to_owned(),
            _ => String::new(),
        };
        format!("{before}{key}{after}{query}")
    }

    /// What is sent to an operation: as good as an administrator would send it.
    async fn sent(&mut self, method: &str, path: &str, place: &str) -> Option<Value> {
        let end = path.rsplit('/').nth(1).unwrap_or_default();
        match (method, end) {
            ("get" | "delete", _) => None,
            ("patch", _) => Some(json!({})),
            // Not even an administrator sees it.
            ("put", _) if path.starts_with("/authenticators/webauthn/") => Some(json!({"name": self.name()})),
            ("put", _) => {
                let mut whole = self.site.get(place).await;
                if path.starts_with("/crypto/") {
                    whole["certificate_data"] = json!(self.certificate);
                }
                Some(whole)
            }
            (_, "impersonate") => Some(json!({"reason": "support"})),
            (_, "set_password") => Some(json!({"password": "a long password"})),
            (_, "add_user" | "remove_user") => Some(json!({"pk": self.victim})),
            (_, "set_key") => Some(json!({"key": format!("{}-0123456789-0123456789", self.name())})),
            (_, "recovery_email") => Some(json!({"email_stage": "00000000-0000-4000-8000-000000000000"})),
            (_, "service_account") => Some(json!({"name": self.name()})),
            (_, "test") => Some(json!({"user": self.victim})),
            (_, "generate") => Some(json!({"common_name": self.name(), "validity_days": 3, "alg": "ecdsa"})),
            (_, "recovery" | "cache_clear" | "system" | "apply" | "import" | "{flow_slug}") => Some(json!({})),
            _ => Some(self.body(path).await.unwrap_or_else(|| panic!("{path}: nothing to send"))),
        }
    }

    async fn line(&mut self, method: &str, path: &str) -> String {
        let rights = permissions(method, path);
        self.grant(self.viewer.0, rights.get(..1).unwrap_or_default()).await;
        self.grant(self.writer.0, &rights).await;
        let (viewer, writer) = (self.viewer.1.clone(), self.writer.1.clone());
        let callers = [String::new(), self.anybody.clone(), viewer, writer, self.account.clone(), ADMIN.to_owned()];
        let mut line = format!("{:<6} {path:<63}", method.to_uppercase());
        for key in callers {
            let place = self.place(method, path).await;
            let body = self.sent(method, path, &place).await;
            let verb = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let status = self.site.status(&key, verb, &place, body).await;
            write!(line, " {:>7}", status.as_u16()).unwrap();
        }
        let named = if rights.is_empty() { "-".to_owned() } else { rights.join(" + ") };
        format!("{line}  {named}\n")
    }
}

/// CO-701, CO-703, CO-704, CO-707: who gets what answer from which operation is what the table says, and it names every
/// operation.
#[tokio::test]
async fn co_701_access_is_as_the_table_says() {
    let mut field = Field::new().await;
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    let columns = ["nobody", "anybody", "viewer", "writer", "outpost", "super"].map(|name| format!(" {name:>7}"));
    let mut made = format!("{HEAD}{:<70}{}  permissions\n", "# operation", columns.concat());
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in ["get", "post", "put", "patch", "delete"] {
            if methods.get(method).is_some() {
                made.push_str(&field.line(method, path).await);
            }
        }
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(TABLE, &made).unwrap();
    }
    let known = std::fs::read_to_string(TABLE).unwrap_or_default();
    let differ: Vec<_> = made.lines().filter(|line| !known.lines().any(|other| other == *line)).collect();
    let gone: Vec<_> = known.lines().filter(|line| !made.lines().any(|other| other == *line)).collect();
    assert!(
        made == known,
        "tests/api/access.txt is stale.\nIt is now:\n{}\nIt was:\n{}",
        differ.join("\n"),
        gone.join("\n")
    );
}

/// CO-700, CO-038, CO-388, CO-415: a superuser is refused no operation of the table but to act as somebody else, which
/// takes a session; nor then, but for what nobody may: to change events, to lose the last superuser, to act as oneself.
#[tokio::test]
async fn co_700_a_superuser_may_do_everything_but_that() {
    let table = std::fs::read_to_string(TABLE).unwrap();
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    let refused = lines.filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [method, path, .., status] = words[..8] else { panic!("{line}") };
        matches!(status, "401" | "403").then(|| format!("{method} {path}"))
    });
    assert_eq!(refused.collect::<Vec<_>>(), ["POST /core/users/{id}/impersonate/"]);

    let site = Site::new().await;
    let (ada, _) = site.user("ada").await;
    let me = site.get("/core/users/me/").await["user"]["pk"].as_i64().unwrap();
    let (cookie, _) = site.sign_in(me, "").await;
    let act = async |cookie: &str, user: i64| {
        let path = format!("/core/users/{user}/impersonate/");
        site.browser(cookie, Method::POST, &path, Some(json!({"reason": "support"}))).await.0.as_u16()
    };
    assert_eq!((act(&cookie, me).await, act(&cookie, ada).await), (400, 204));
    let event = site.get("/events/events/").await["results"][0]["pk"].as_str().unwrap().to_owned();
    for method in [Method::PUT, Method::PATCH, Method::DELETE] {
        let path = format!("/events/events/{event}/");
        assert_eq!(site.send(ADMIN, method, &path, Some(json!({"action": "login", "app": "x"}))).await.0, 405);
    }
    let own = format!("/core/users/{me}/");
    site.refused(Method::DELETE, &own, json!({})).await;
    site.refused(Method::PATCH, &own, json!({"is_active": false})).await;
}
