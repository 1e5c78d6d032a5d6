//! Security keys and passkeys, with an authenticator made of a few lines.

mod owners;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use portcullis_core::keys::sha256;

use super::*;

const ORIGIN: &str = "http://id.example";
const SETUP: &str = flows::WEBAUTHN_SETUP;
/// Present; verified; a credential comes with it.
const UP: u8 = 1;
const UV: u8 = 4;
const AT: u8 = 0x40;

/// A security key with one credential.
#[derive(Clone)]
struct Key {
    pkcs8: Vec<u8>,
    id: Vec<u8>,
    /// The site that it is for, once it is.
    origin: String,
    user: Option<String>,
    flags: u8,
    count: u32,
}

impl Key {
    fn new() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key");
        let pkcs8 = pair.to_pkcs8v1().expect("encodes").as_ref().to_vec();
        let id = sha256(&pkcs8).to_vec();
        Self { pkcs8, id, origin: ORIGIN.to_owned(), user: None, flags: UP | UV, count: 0 }
    }

    fn pair(&self) -> EcdsaKeyPair {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &self.pkcs8).expect("a key")
    }

    fn data(&self, rp_id: &Value, flags: u8) -> Vec<u8> {
        let mut data = sha256(rp_id.as_str().expect("a name").as_bytes()).to_vec();
        data.push(flags);
        data.extend(self.count.to_be_bytes());
        data
    }

    fn client_data(&self, kind: &str, options: &Value) -> String {
        json!({"type": kind, "challenge": options["challenge"], "origin": self.origin, "crossOrigin": false})
            .to_string()
    }

    /// Makes a credential as it is told.
    fn create(&mut self, options: &Value) -> Value {
        let mut data = self.data(&options["rp"]["id"], self.flags | AT);
        data.extend([7; 16]);
        data.extend(u16::try_from(self.id.len()).expect("short").to_be_bytes());
        data.extend(&self.id);
        let pair = self.pair();
        let point = pair.public_key().as_ref();
        data.extend(
            [b"\xa5\x01\x02\x03\x26\x20\x01\x21\x58\x20", &point[1..33], b"\x22\x58\x20", &point[33..]].concat(),
        );
        let mut object = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58".to_vec();
        object.push(u8::try_from(data.len()).expect("short"));
        object.extend(data);
        self.user = options["user"]["id"].as_str().map(str::to_owned);
        let id = URL_SAFE_NO_PAD.encode(&self.id);
        json!({"id": id, "rawId": id, "type": "public-key", "response": {
            "clientDataJSON": URL_SAFE_NO_PAD.encode(self.client_data("webauthn.create", options)),
            "attestationObject": URL_SAFE_NO_PAD.encode(object),
            "transports": ["usb", "nfc", "not a transport"],
        }})
    }

    /// Shows it as it is told.
    fn get(&mut self, options: &Value) -> Value {
        let (data, client) = (self.data(&options["rpId"], self.flags), self.client_data("webauthn.get", options));
        let signed = [data.as_slice(), &sha256(client.as_bytes())].concat();
        let signature = self.pair().sign(&SystemRandom::new(), &signed).expect("signs");
        let id = URL_SAFE_NO_PAD.encode(&self.id);
        // Clients write either alphabet.
        json!({"id": id, "rawId": id, "type": "public-key", "response": {
            "clientDataJSON": STANDARD.encode(client),
            "authenticatorData": STANDARD.encode(data),
            "signature": STANDARD.encode(signature),
            "userHandle": self.user,
        }})
    }
}

impl Client {
    /// Enrols a key of whoever is signed in.
    async fn enrol_key(&mut self, site: &Site) -> Key {
        let mut key = Key::new();
        let asked = self.show(site, SETUP, "").await;
        assert_eq!(asked["component"], "ak-stage-authenticator-webauthn", "{asked}");
        let response = key.create(&asked["registration"]);
        let done = self.answer(site, SETUP, "", json!({"response": response})).await;
        assert_eq!(done["component"], "xak-flow-redirect", "{done}");
        key
    }

    /// The question of the sign-in page.
    async fn passkey_challenge(&mut self, site: &Site) -> Value {
        self.show(site, SIGN_IN, "").await["passkey_challenge"].clone()
    }

    async fn passkey(&mut self, site: &Site, key: &mut Key) -> Value {
        let asked = self.passkey_challenge(site).await;
        let answer = key.get(&asked);
        self.answer(site, SIGN_IN, "", json!({"component": "ak-stage-identification", "passkey": answer})).await
    }

    /// The question after the password.
    async fn asked_for_key(&mut self, site: &Site) -> Value {
        let asked = self.sign_in(site, "ada", PASSWORD).await;
        assert_eq!(asked["component"], "ak-stage-authenticator-validate", "{asked}");
        asked
    }

    async fn show_key(&mut self, site: &Site, asked: &Value, key: &mut Key) -> Value {
        let answer = key.get(&asked["device_challenges"][0]["challenge"]);
        self.answer(site, SIGN_IN, "", json!({"webauthn": answer})).await
    }
}

async fn with_key() -> (Site, i64, Key) {
    let (site, ada) = with_ada().await;
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    let key = client.enrol_key(&site).await;
    (site, ada, key)
}

async fn reason(site: &Site) -> String {
    let (_, failed) = site.events("login_failed").await;
    failed["reason"].as_str().unwrap_or_default().to_owned()
}

/// CO-315, CO-533, CO-465: a security key is enrolled, and asked for after the password; each of its answers counts once.
#[tokio::test]
async fn co_315_a_key_is_enrolled_and_asked_for() {
    let (site, _) = with_ada().await;
    let mut client = Client::new();
    client.sign_in(&site, "ada", PASSWORD).await;
    let asked = client.show(&site, SETUP, "").await;
    let registration = &asked["registration"];
    assert_eq!(registration["rp"]["id"], "id.example", "CO-506");
    assert_eq!((&registration["user"]["name"], &registration["attestation"]), (&json!("ada"), &json!("none")));
    assert_eq!(registration["challenge"].as_str().map(str::len), Some(43), "32 bytes");
    assert_eq!(registration["excludeCredentials"], json!([]));
    assert_eq!(client.show(&site, SETUP, "").await["registration"], *registration, "the same until it is answered");
    assert_eq!(errors(&client.answer(&site, SETUP, "", json!({})).await), ["response"]);
    let mut key = Key::new();
    let response = key.create(registration);
    for junk in [json!("x"), json!({}), json!(7), json!({"response": {"clientDataJSON": "", "attestationObject": "?"}})]
    {
        let asked = client.answer(&site, SETUP, "", json!({"response": junk})).await;
        assert_eq!(errors(&asked), ["response"]);
        assert_ne!(asked["registration"]["challenge"], registration["challenge"], "another after each answer");
    }
    let late = client.answer(&site, SETUP, "", json!({"response": response})).await;
    assert_eq!(errors(&late), ["response"], "to a challenge that was answered");
    let response = key.create(&late["registration"]).to_string();
    let done = client.answer(&site, SETUP, "", json!({"response": response, "name": " Blue key "})).await;
    assert_eq!(done["component"], "xak-flow-redirect", "as text as well: {done}");
    let made = site.events("model_created").await.1;
    assert_eq!((&made["model"]["name"], &made["model"]["model_name"]), (&json!("Blue key"), &json!("webauthndevice")));
    let again = client.show(&site, SETUP, "").await;
    assert_eq!(again["registration"]["excludeCredentials"][0]["transports"], json!(["usb", "nfc"]));
    let twice = client.answer(&site, SETUP, "", json!({"response": key.create(&again["registration"])})).await;
    assert_eq!(errors(&twice), ["response"], "no credential is enrolled twice");

    let mut client = Client::new();
    let asked = client.asked_for_key(&site).await;
    let device = &asked["device_challenges"][0];
    assert_eq!(device["device_class"], "webauthn");
    let options = &device["challenge"];
    assert_eq!((&options["rpId"], &options["userVerification"]), (&json!("id.example"), &json!("preferred")));
    assert_eq!(options["allowCredentials"][0]["id"], URL_SAFE_NO_PAD.encode(&key.id));
    assert_eq!(client.whoami(&site).await, 403);
    let stranger = client.show_key(&site, &asked, &mut Key::new()).await;
    assert_eq!(errors(&stranger), ["webauthn"]);
    let stale = client.show_key(&site, &asked, &mut key).await;
    assert_eq!(errors(&stale), ["webauthn"], "to a challenge that was answered");
    let done = client.show_key(&site, &stale, &mut key).await;
    assert_eq!(done["component"], "xak-flow-redirect", "{done}");
    assert_eq!(client.whoami(&site).await, 200);
    let login = site.events("login").await.1;
    assert_eq!(
        (&login["auth_method"], &login["auth_method_args"]["mfa_devices"][0]["device_class"]),
        (&json!("password"), &json!("webauthn"))
    );
}

/// CO-315, CO-412: a key whose count does not grow is refused and told of; one that never counts is not.
#[tokio::test]
async fn co_315_a_copied_key_is_refused() {
    let (site, _, mut key) = with_key().await;
    let mut copy = key.clone();
    for count in [0, 0, 5, 6] {
        key.count = count;
        let mut client = Client::new();
        let asked = client.asked_for_key(&site).await;
        assert_eq!(client.show_key(&site, &asked, &mut key).await["component"], "xak-flow-redirect", "{count}");
    }
    for count in [6, 1, 0] {
        copy.count = count;
        let mut client = Client::new();
        let asked = client.asked_for_key(&site).await;
        assert_eq!(errors(&client.show_key(&site, &asked, &mut copy).await), ["webauthn"], "{count}");
        assert!(reason(&site).await.contains("may have been copied"));
        assert_eq!(errors(&Client::new().passkey(&site, &mut copy).await), ["passkey"], "{count}");
        assert!(reason(&site).await.contains("may have been copied"));
    }
}

/// CO-441: wrong keys count like wrong codes; then none is examined for a while.
#[tokio::test]
async fn co_441_wrong_keys_block_the_step() {
    let (site, _, mut key) = with_key().await;
    for _ in 0..5 {
        let mut client = Client::new();
        let asked = client.asked_for_key(&site).await;
        assert_eq!(errors(&client.show_key(&site, &asked, &mut Key::new()).await), ["webauthn"]);
    }
    let mut client = Client::new();
    let asked = client.asked_for_key(&site).await;
    assert_eq!(errors(&client.show_key(&site, &asked, &mut key).await), ["webauthn"]);
    assert!(reason(&site).await.contains("not examined"));
    site.clock.advance_seconds(15 * 60);
    let mut client = Client::new();
    let asked = client.asked_for_key(&site).await;
    assert_eq!(client.show_key(&site, &asked, &mut key).await["component"], "xak-flow-redirect");
}

/// CO-441, CO-443: whoever sends anything but passkeys is slowed down like others who guess; that too is recorded.
#[tokio::test]
async fn co_441_wrong_passkeys_are_counted() {
    let (site, _, _) = with_key().await;
    for junk in [json!("x"), json!({"rawId": "AAAA"})] {
        let mut client = Client::at(if junk.is_string() { [192, 0, 2, 8] } else { [192, 0, 2, 9] });
        for _ in 0..10 {
            let answered = client.answered(&site, SIGN_IN, "", json!({"passkey": junk})).await;
            assert_eq!((answered.status.as_u16(), errors(&answered.json)), (200, vec!["passkey"]));
        }
        assert_eq!(client.answered(&site, SIGN_IN, "", json!({"passkey": junk})).await.status, 429, "{junk}");
    }
    let (count, last) = site.events("login_failed").await;
    assert_eq!((count, &last["reason"]), (22, &json!("too many failed attempts: not examined")));
}

/// CO-316: a passkey signs in alone, whatever second factors there are; its answer counts once, and in the browser that
/// was asked.
#[tokio::test]
async fn co_316_a_passkey_signs_in_alone() {
    let (site, _, mut key) = with_key().await;
    let mut client = Client::new();
    let shown = client.show(&site, SIGN_IN, "next=/x").await;
    let asked = &shown["passkey_challenge"];
    assert_eq!((&asked["rpId"], &asked["userVerification"]), (&json!("id.example"), &json!("required")));
    assert_eq!(asked["allowCredentials"], json!([]), "nobody has said who they are");
    assert!(!client.cookies.contains_key("authentik_flow"), "nothing is kept for who only looks");
    let answer = key.get(asked);
    let sent = json!({"component": "ak-stage-identification", "passkey": answer});
    let elsewhere = Client::new().answer(&site, SIGN_IN, "", sent.clone()).await;
    assert_eq!(errors(&elsewhere), ["passkey"], "another browser");
    let cookies = client.cookies.clone();
    let done = client.answer(&site, SIGN_IN, "next=/x", sent.clone()).await;
    assert_eq!((&done["component"], &done["to"]), (&json!("xak-flow-redirect"), &json!("/x")), "{done}");
    assert_eq!(client.whoami(&site).await, 200);
    let login = site.events("login").await.1;
    assert_eq!(login["auth_method"], "auth_webauthn_pwl");
    assert_eq!(login["auth_method_args"]["identifier"], "ada");
    let mut replay = Client { cookies, ..Client::new() };
    assert_eq!(errors(&replay.answer(&site, SIGN_IN, "", sent).await), ["passkey"], "once");
    assert_eq!(replay.whoami(&site).await, 403);
    // A mistyped password is no obstacle.
    let mut client = Client::new();
    let asked = client.passkey_challenge(&site).await;
    assert_eq!(errors(&client.sign_in(&site, "ada", "wrong").await), ["password"]);
    let done = client.answer(&site, SIGN_IN, "", json!({"passkey": key.get(&asked)})).await;
    assert_eq!(errors(&done), ["passkey"], "each answer is followed by another challenge");
    let late = client.passkey_challenge(&site).await;
    assert_eq!(late, Value::Null, "programs are told at the first step");
    site.clock.advance_seconds(1);
    let mut client = Client::new();
    let asked = client.passkey_challenge(&site).await;
    site.clock.advance_seconds(3600);
    let sent = json!({"passkey": key.get(&asked)});
    assert_eq!(errors(&client.answer(&site, SIGN_IN, "", sent).await), ["passkey"], "too late");
}

/// CO-316, CO-837: a passkey counts only when the authenticator has verified its owner and says who that is.
#[tokio::test]
async fn co_837_a_passkey_verifies_its_owner() {
    let (site, _, mut key) = with_key().await;
    key.flags = UP;
    assert_eq!(errors(&Client::new().passkey(&site, &mut key).await), ["passkey"]);
    assert_eq!(reason(&site).await, "the user was not verified");
    key.flags = UV;
    assert_eq!(errors(&Client::new().passkey(&site, &mut key).await), ["passkey"]);
    key.flags = UP | UV;
    let user = key.user.replace("AAAA".to_owned());
    assert_eq!(errors(&Client::new().passkey(&site, &mut key).await), ["passkey"], "of somebody else");
    key.user = None;
    assert_eq!(errors(&Client::new().passkey(&site, &mut key).await), ["passkey"], "of nobody");
    key.user = user;
    assert_eq!(Client::new().passkey(&site, &mut key).await["component"], "xak-flow-redirect");
    // As a second factor, the stage decides.
    key.flags = UP;
    let mut client = Client::new();
    let asked = client.asked_for_key(&site).await;
    assert_eq!(client.show_key(&site, &asked, &mut key).await["component"], "xak-flow-redirect");
    tune(&site, stages::VALIDATION, json!({"webauthn_user_verification": "required"})).await;
    let mut client = Client::new();
    let asked = client.asked_for_key(&site).await;
    assert_eq!(asked["device_challenges"][0]["challenge"]["userVerification"], "required");
    let refused = client.show_key(&site, &asked, &mut key).await;
    assert_eq!(errors(&refused), ["webauthn"]);
    key.flags = UP | UV;
    assert_eq!(client.show_key(&site, &refused, &mut key).await["component"], "xak-flow-redirect");
}

/// CO-037, CO-813, CO-316: keys of inactive users and of service accounts, and keys that were removed, sign nobody in.
#[tokio::test]
async fn co_037_keys_of_nobody_sign_nobody_in() {
    let (site, ada, mut key) = with_key().await;
    let user = format!("/core/users/{ada}/");
    let uses = site.admin(Method::GET, &format!("{user}used_by/"), None).await.json;
    let named = uses.as_array().expect("a list").iter().any(|used| used["model_name"] == "webauthndevice");
    assert!(named, "CO-532: {uses}");
    for (change, works) in [
        (json!({"is_active": false}), false),
        (json!({"is_active": true}), true),
        (json!({"type": "service_account"}), false),
        (json!({"type": "internal"}), true),
    ] {
        assert_eq!(site.admin(Method::PATCH, &user, change.clone()).await.status, 200);
        let answered = Client::new().passkey(&site, &mut key).await;
        assert_eq!(answered["component"] == "xak-flow-redirect", works, "{change}: {answered}");
    }
    let mut begun = Client::new();
    let asked = begun.asked_for_key(&site).await;
    let list = format!("/authenticators/admin/all/?user={ada}");
    let pk = site.admin(Method::GET, &list, None).await.json[0]["pk"].as_str().expect("a key").to_owned();
    let place = format!("/authenticators/admin/webauthn/{pk}/");
    let own = site.api_key(ada, "ada-api").await;
    assert_eq!(site.bearer(&own, Method::DELETE, &place, None).await.status, 403);
    assert_eq!(site.admin(Method::DELETE, &place, None).await.status, 204);
    let on_the_way_in = begun.show_key(&site, &asked, &mut key).await;
    assert_eq!(
        on_the_way_in["component"], "xak-flow-redirect",
        "the password was right, and there is nothing else to prove"
    );
    assert_eq!(errors(&Client::new().passkey(&site, &mut key).await), ["passkey"]);
    assert_eq!(reason(&site).await, "the credential is not known");
    assert_eq!(Client::new().sign_in(&site, "ada", PASSWORD).await["component"], "xak-flow-redirect");
}

/// CO-306, CO-314: keys count where the stage allows them; where somebody must enrol something, a key will do.
#[tokio::test]
async fn co_306_the_stage_decides_on_keys() {
    let (site, ada, mut key) = with_key().await;
    tune(&site, stages::VALIDATION, json!({"device_classes": ["totp"]})).await;
    let mut client = Client::new();
    let asked = client.show(&site, SIGN_IN, "").await;
    assert_eq!(asked["passkey_challenge"], Value::Null);
    assert!(!client.cookies.contains_key("authentik_passkey"));
    let options = json!({"rpId": "id.example", "challenge": "A".repeat(43)});
    let refused = client.answer(&site, SIGN_IN, "", json!({"passkey": key.get(&options)})).await;
    assert_eq!(errors(&refused), ["uid_field"]);
    assert_eq!(client.sign_in(&site, "ada", PASSWORD).await["component"], "xak-flow-redirect");
    let list = format!("/authenticators/admin/all/?user={ada}");
    let found = site.admin(Method::GET, &list, None).await.json;
    assert_eq!(found[0]["meta_model_name"], "authentik_stages_authenticator_webauthn.webauthndevice");
    let bob = site.user("bob").await;
    set_password(&site, bob, PASSWORD).await;
    let both = json!([stages::TOTP_SETUP, stages::WEBAUTHN_SETUP]);
    let rule = json!({
        "device_classes": ["totp", "webauthn"], "not_configured_action": "configure", "configuration_stages": both,
    });
    tune(&site, stages::VALIDATION, rule).await;
    let mut client = Client::new();
    let asked = client.sign_in(&site, "bob", PASSWORD).await;
    let setup = asked["configuration_stages"][1].clone();
    assert_eq!(setup["name"], stages::WEBAUTHN_SETUP);
    let asked = client.answer(&site, SIGN_IN, "", json!({"selected_stage": setup["pk"]})).await;
    assert_eq!(asked["component"], "ak-stage-authenticator-webauthn");
    let response = Key::new().create(&asked["registration"]);
    let done = client.answer(&site, SIGN_IN, "", json!({"response": response})).await;
    assert_eq!(done["component"], "xak-flow-redirect", "{done}");
    assert_eq!(client.whoami(&site).await, 200);
}

/// CO-506, CO-825: keys are for the site of the base URL, whatever host a request names; where that is an address, there
/// are none, and who has one is still asked for it.
#[tokio::test]
async fn co_506_keys_are_for_the_base_url() {
    let (site, _, mut key) = with_key().await;
    let mut client = Client::new();
    let request = Request::get(Client::path(SIGN_IN, "")).header(header::HOST, "evil.example");
    let asked = client.send(&site, request, Body::empty()).await.json["passkey_challenge"].clone();
    assert_eq!(asked["rpId"], "id.example");
    key.origin = "http://evil.example".to_owned();
    let refused = client.answer(&site, SIGN_IN, "", json!({"passkey": key.get(&asked)})).await;
    assert_eq!(errors(&refused), ["passkey"]);
    assert_eq!(reason(&site).await, "the answer was given to another origin");
    let elsewhere = json!({"rpId": "evil.example", "challenge": refused["passkey_challenge"]["challenge"]});
    key.origin = ORIGIN.to_owned();
    assert_eq!(errors(&client.answer(&site, SIGN_IN, "", json!({"passkey": key.get(&elsewhere)})).await), ["passkey"]);
    assert_eq!(reason(&site).await, "the credential is for another site");

    let site = Site::at("http://192.0.2.7:9000").await;
    let ada = site.user("ada").await;
    set_password(&site, ada, PASSWORD).await;
    let mut client = Client::new();
    assert_eq!(client.passkey_challenge(&site).await, Value::Null);
    client.sign_in(&site, "ada", PASSWORD).await;
    let refused = client.show(&site, SETUP, "").await;
    assert_eq!(refused["component"], "ak-stage-access-denied");
    assert!(refused["error_message"].as_str().expect("text").contains("address of this site"));
}

/// CO-317: a key that was shown lately is remembered like any second factor, and not when it is gone.
#[tokio::test]
async fn co_317_a_key_is_remembered() {
    let (site, ada, mut key) = with_key().await;
    tune(&site, stages::VALIDATION, json!({"last_auth_threshold": "hours=1"})).await;
    let mut client = Client::new();
    let asked = client.asked_for_key(&site).await;
    client.show_key(&site, &asked, &mut key).await;
    assert_eq!(client.sign_in(&site, "ada", PASSWORD).await["component"], "xak-flow-redirect");
    let own = site.api_key(ada, "ada-api").await;
    let pk = site.bearer(&own, Method::GET, "/authenticators/webauthn/", None).await.json["results"][0]["pk"].clone();
    let gone = site.bearer(&own, Method::DELETE, &format!("/authenticators/webauthn/{pk}/"), None).await;
    assert_eq!(gone.status, 204);
    let mut other = Client::new();
    other.sign_in(&site, "ada", PASSWORD).await;
    other.enrol_key(&site).await;
    client.asked_for_key(&site).await;
}

/// CO-318, CO-316: how old the password is matters to nobody who comes without it.
#[tokio::test]
async fn co_318_a_passkey_needs_no_young_password() {
    for deny_only in [false, true] {
        let (site, _, mut key) = with_key().await;
        admission::bind(&site, "password_expiry", json!({"days": 30, "deny_only": deny_only}), false).await;
        site.clock.advance_seconds(31 * 24 * 3600);
        let mut client = Client::new();
        let done = client.passkey(&site, &mut key).await;
        assert_eq!(done["component"], "xak-flow-redirect", "{done}");
        assert_eq!(client.whoami(&site).await, 200);
        let by_password = Client::new().sign_in(&site, "ada", PASSWORD).await;
        assert_ne!(by_password["component"], "xak-flow-redirect", "{by_password}");
    }
}
