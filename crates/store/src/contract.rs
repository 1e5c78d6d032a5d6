//! What holds on both engines: each test runs on SQLite and on PostgreSQL.

use portcullis_core::clock::Timestamp;
use portcullis_core::entropy::{Entropy, SystemEntropy};
use portcullis_core::id::{ApplicationId, BindingId, EntitlementId, GroupId, ProviderPk, ReputationId, UserPk};
use portcullis_testkit::postgres::{self, Database};
use serde_json::json;
use uuid::Uuid;

use crate::account::{self, Account};
use crate::application::{self, Application};
use crate::binding::{self, Binding};
use crate::db::{self, Conn, Part, on};
use crate::error::StoreError;
use crate::instance::{self, Instance};
use crate::outpost::{self, Outpost};
use crate::select::Slice;
use crate::team::{self, Team};
use crate::{Db, entitlement, event, failure, grant, login_session, reputation, token};

const NOW: Timestamp = Timestamp(1_790_000_000_000_000);

/// A place with tables, and one process at it.
struct Place {
    db: Db,
    database: Database,
}

impl Place {
    async fn new(database: Database) -> Self {
        let place = Self { db: Self::open(&database).await, database };
        place.db.migrate().await.expect("once more changes nothing");
        place
    }

    async fn open(database: &Database) -> Db {
        match database {
            Database::File { path, .. } => Db::open_sqlite(path).await,
            Database::Postgres { url } => Db::open_postgres(url, 4).await,
        }
        .expect("a database")
    }

    /// Another process.
    async fn another(&self) -> Db {
        Self::open(&self.database).await
    }
}

macro_rules! on_both {
    ($($(#[$about:meta])* async fn $name:ident($place:ident: Place) $body:block)*) => {
        $($(#[$about])* #[tokio::test]
        async fn $name() {
            async fn holds($place: Place) $body
            let directory = tempfile::tempdir().expect("a directory");
            holds(Place::new(Database::File { path: directory.path().join("p.db"), directory }).await).await;
            holds(Place::new(Database::Postgres { url: postgres::server().database() }).await).await;
        })*
    };
}

mod events;
mod keys;
mod lists;
mod schema;
mod server;
mod tokens;

fn uuid() -> Uuid {
    let entropy: &dyn Entropy = &SystemEntropy;
    entropy.uuid()
}

fn person(username: &str) -> Account {
    Account {
        pk: UserPk(0),
        uuid: uuid(),
        username: username.to_owned(),
        name: String::new(),
        email: format!("{username}@example.org"),
        is_active: true,
        kind: "internal".to_owned(),
        path: "users".to_owned(),
        attributes_sealed: vec![0, 255, 7],
        password_hash: None,
        password_changed: NOW,
        date_joined: NOW,
        last_updated: NOW,
        last_login: None,
        generated_for: None,
    }
}

fn application(slug: &str) -> Application {
    Application {
        uuid: ApplicationId(uuid()),
        name: slug.to_owned(),
        slug: slug.to_owned(),
        provider: None,
        portal_group: String::new(),
        policy_engine_mode: "any".to_owned(),
        meta_launch_url: String::new(),
        meta_icon: String::new(),
        meta_description: String::new(),
        meta_publisher: String::new(),
        meta_hide: false,
        open_in_new_tab: false,
    }
}

/// A provider, the first one.
async fn provider(tx: &mut Conn) -> ProviderPk {
    on!(tx, c => {
        sqlx::query("INSERT INTO flow (pk, slug, name, title, designation, authentication) VALUES ('f', 'f', '', '', '', '')")
            .execute(&mut *c).await.expect("is new");
        sqlx::query(
            "INSERT INTO provider (uuid, kind, name, authorization_flow, invalidation_flow, client_id, client_type,
                 client_secret_sealed, grant_types, redirect_uris, access_code_validity, access_token_validity,
                 refresh_token_validity, refresh_token_threshold, include_claims_in_id_token, sub_mode, issuer_mode,
                 logout_uri, logout_method, jwt_federation_sources, jwt_federation_providers, federation_audiences,
                 cap_to_assertion_exp, second_secret_sealed, client_jwks, refresh_family_max_age,
                 exchange_without_actor, require_pkce, m2m_require_client_auth, allow_pkce_plain,
                 device_code_validity, device_require_client_auth, allowed_origins, allow_query_token,
                 allow_broad_redirect_uris, mode, external_host,
                 internal_host, internal_host_ssl_validation, skip_path_regex, intercept_header_auth,
                 basic_auth_enabled, basic_auth_user_attribute, basic_auth_password_attribute, cookie_domain,
                 cookie_secret_sealed)
             VALUES ('p', 'proxy', 'p', 'f', 'f', 'p', '', $1, '[]', '[]', '', '', '', '', TRUE, '', '', '', '',
                 '[]', '[]', '[]', TRUE, $1, '{}', '', FALSE, FALSE, FALSE, FALSE, '', FALSE, '[]', FALSE, FALSE,
                 '', '', '', TRUE, '', TRUE, FALSE, '', '', '', $1)",
        ).bind(Vec::<u8>::new()).execute(c).await.expect("is new");
    });
    ProviderPk(1)
}

async fn add(db: &Db, account: &Account) -> UserPk {
    let mut tx = db.write().await.expect("a transaction");
    let pk = account::insert(&mut tx, account).await.expect("is new");
    tx.commit().await.expect("commits");
    pk
}

on_both! {
    /// OA-931: a user who brings a key has it, and keys that are given afterwards are higher; one that is somebody's is refused.
    async fn oa_931_users_bring_their_keys(place: Place) {
        let mut tx = place.db.write().await.expect("writes");
        let first = account::insert(&mut tx, &person("first")).await.expect("inserts");
        for key in [first.0 + 40, first.0 + 7] {
            let brought = Account { pk: UserPk(key), ..person(&format!("brought-{key}")) };
            account::insert_under_own_key(&mut tx, &brought).await.expect("inserts");
            let found = account::by_username(&mut tx, &brought.username).await.expect("reads").expect("is there");
            assert_eq!((found.pk, found.uuid), (brought.pk, brought.uuid));
        }
        let next = account::insert(&mut tx, &person("next")).await.expect("inserts");
        assert!(next.0 > first.0 + 40, "{next}");
        let taken = Account { pk: first, ..person("taken") };
        assert!(matches!(account::insert_under_own_key(&mut tx, &taken).await, Err(StoreError::Taken(_))));
    }

    /// CO-005: what was kept comes back as it was, under an integer key that is never used again.
    async fn co_005_what_is_kept_comes_back(place: Place) {
        let ada = Account { last_login: Some(Timestamp(-1)), password_hash: Some("$x".to_owned()), ..person("Ada é\u{10ffff}") };
        let pk = add(&place.db, &ada).await;
        let mut conn = place.db.read().await.expect("reads");
        let found = account::by_username(&mut conn, "ADA É\u{10ffff}").await.expect("reads").expect("is there");
        assert_eq!(found, Account { pk, ..ada });
        let mut tx = place.db.write().await.expect("a transaction");
        account::delete(&mut tx, pk).await.expect("deletes");
        tx.commit().await.expect("commits");
        assert!(add(&place.db, &person("ada")).await > pk);
    }

    /// CO-523: what is taken is named by table and column, the first of several.
    async fn co_523_what_is_taken_is_named(place: Place) {
        async fn taken(place: &Place, first: impl AsyncFnOnce(&mut Conn), second: impl AsyncFnOnce(&mut Conn) -> Result<(), StoreError>) -> String {
            let mut tx = place.db.write().await.expect("a transaction");
            first(&mut tx).await;
            match second(&mut tx).await {
                Err(StoreError::Taken(column)) => column,
                other => panic!("{other:?}"),
            }
        }
        let column = taken(
            &place,
            async |conn| assert!(account::insert(conn, &person("ada")).await.is_ok()),
            async |conn| account::insert(conn, &person("ADA")).await.map(drop),
        ).await;
        assert_eq!(column, "account.username_folded");
        let generated = |name| Account { generated_for: Some(ProviderPk(1)), ..person(name) };
        let column = taken(
            &place,
            async |conn| assert!(account::insert(conn, &generated("g")).await.is_ok()),
            async |conn| account::insert(conn, &generated("h")).await.map(drop),
        ).await;
        assert_eq!(column, "account.generated_for", "an index of some rows only");
        let column = taken(
            &place,
            async |conn| application::insert(conn, &application("x")).await.expect("is new"),
            async |conn| application::insert(conn, &application("x")).await,
        ).await;
        assert_eq!(column, "application.slug");
        let of = application("x");
        let one = || entitlement::Entitlement {
            uuid: EntitlementId(uuid()),
            application: of.uuid,
            name: "same".to_owned(),
            attributes_sealed: Vec::new(),
        };
        let column = taken(
            &place,
            async |conn| {
                application::insert(conn, &of).await.expect("is new");
                entitlement::insert(conn, &one()).await.expect("is new");
            },
            async |conn| entitlement::insert(conn, &one()).await,
        ).await;
        assert_eq!(column, "entitlement.application", "of two columns");
    }

    /// CO-004: a part that fails is undone by itself, and the rest goes on and is kept; what is not committed is nothing.
    async fn co_004_parts_are_undone_by_themselves(place: Place) {
        add(&place.db, &person("ada")).await;
        let mut tx = place.db.write().await.expect("a transaction");
        assert!(tx.is_writing());
        account::insert(&mut tx, &person("bob")).await.expect("is new");
        db::part(&mut tx, Part::Begins).await.expect("begins");
        account::insert(&mut tx, &person("cleo")).await.expect("is new");
        db::part(&mut tx, Part::Begins).await.expect("begins inside");
        account::insert(&mut tx, &person("ada")).await.expect_err("is there");
        db::part(&mut tx, Part::IsUndone).await.expect("the inner one is undone");
        account::insert(&mut tx, &person("dora")).await.expect("is new");
        db::part(&mut tx, Part::Stays).await.expect("the outer one stays");
        tx.commit().await.expect("commits");
        let mut tx = place.db.write().await.expect("a transaction");
        account::insert(&mut tx, &person("emil")).await.expect("is new");
        drop(tx);
        let filter = account::Filter { order: vec![(account::Order::Username, false)], ..account::Filter::default() };
        let listed = account::list(&mut place.db.write_one().await.expect("a connection"), &filter, Slice::ALL).await;
        let names: Vec<_> = listed.expect("reads").rows.into_iter().map(|account| account.username).collect();
        assert_eq!(names, ["ada", "bob", "cleo", "dora"]);
    }

    /// CO-038: what a transaction has read stays true until it ends, whoever else writes, here or in another process.
    async fn co_038_writers_take_turns(place: Place) {
        let mut tx = place.db.write().await.expect("a transaction");
        let new = Instance { install_id: "x".to_owned(), key_check: vec![1], settings: json!(0), created: NOW };
        instance::insert(&mut tx, &new).await.expect("is new");
        tx.commit().await.expect("commits");
        let processes = [place.db.clone(), place.another().await];
        let tasks: Vec<_> = processes.iter().cycle().take(24).cloned().map(|db| tokio::spawn(async move {
            let mut tx = db.write().await.expect("a transaction");
            let known = instance::get(&mut tx).await.expect("reads").expect("is there").settings.as_i64().expect("a number");
            tokio::task::yield_now().await;
            instance::set_settings(&mut tx, &json!(known + 1)).await.expect("writes");
            tx.commit().await.expect("commits");
        })).collect();
        for task in tasks {
            task.await.expect("no panic");
        }
        let known = instance::get(&mut place.db.read().await.expect("reads")).await.expect("reads").expect("is there");
        assert_eq!(known.settings, json!(24));
    }

    /// OA-244, OA-680: of many who use a code at the same time one gets it, and failures are counted each, without any
    /// transaction around them.
    async fn oa_244_one_of_many_gets_a_code(place: Place) {
        let account = add(&place.db, &person("ada")).await;
        let mut tx = place.db.write().await.expect("a transaction");
        provider(&mut tx).await;
        let digest = [7; 32];
        let code = grant::AuthorizationCode {
            digest: digest.to_vec(),
            grant_id: "g".to_owned(),
            provider: ProviderPk(1),
            account,
            sid: "s".to_owned(),
            redirect_uri: String::new(),
            scope: String::new(),
            nonce: None,
            challenge: None,
            challenge_method: None,
            auth_time: NOW,
            expires: NOW.plus_seconds(60),
            consumed: None,
        };
        grant::insert_code(&mut tx, &code).await.expect("is new");
        tx.commit().await.expect("commits");
        let processes = [place.db.clone(), place.another().await];
        let tasks: Vec<_> = processes.iter().cycle().take(16).cloned().map(|db| tokio::spawn(async move {
            let mut conn = db.write_one().await.expect("a connection");
            let ends = NOW.plus_seconds(60);
            failure::add(&mut conn, &digest, NOW, ends).await.expect("counts");
            grant::consume_code(&mut conn, &digest, ProviderPk(1), NOW).await.expect("asks").is_some()
        })).collect();
        let mut got = 0;
        for task in tasks {
            got += u32::from(task.await.expect("no panic"));
        }
        let failures = failure::get(&mut place.db.read().await.expect("reads"), &digest, NOW).await.expect("reads");
        assert_eq!((got, failures.expect("some").count), (1, 16));
    }

    /// CO-180, CO-038: what belongs to a user goes with them; a binding stays, and names nobody.
    async fn co_180_what_names_somebody_outlives_them(place: Place) {
        let ada = add(&place.db, &person("ada")).await;
        let mut tx = place.db.write().await.expect("a transaction");
        let group = Team { pk: GroupId(uuid()), name: "g".to_owned(), is_superuser: true, attributes_sealed: Vec::new() };
        team::insert(&mut tx, &group).await.expect("is new");
        team::add_member(&mut tx, group.pk, ada).await.expect("joins");
        team::add_member(&mut tx, group.pk, ada).await.expect("is a member already");
        assert!(account::any_active_superuser(&mut tx).await.expect("reads"));
        assert!(account::may_act(&mut tx, ada, true).await.expect("reads"));
        let target = uuid();
        let named = Binding {
            pk: BindingId(uuid()),
            target,
            policy: None,
            team: None,
            account: Some(ada),
            position: 0,
            negate: false,
            enabled: true,
            failure_result: false,
            timeout: 0,
        };
        binding::insert(&mut tx, &named).await.expect("is new");
        account::delete(&mut tx, ada).await.expect("deletes");
        assert_eq!(team::members(&mut tx, group.pk).await.expect("reads"), []);
        assert_eq!(binding::enabled_of(&mut tx, target).await.expect("reads"), [Binding { account: None, ..named }]);
        tx.commit().await.expect("commits");
        let sessions = login_session::of_account(&mut place.db.read().await.expect("reads"), ada, NOW).await;
        assert_eq!(sessions.expect("reads"), []);
    }

    /// CO-036, CO-062: who administers follows from any ancestor of a group; the links around a group are those above and
    /// those below it, and no others.
    async fn co_062_links_around_a_group_are_found(place: Place) {
        let ada = add(&place.db, &person("ada")).await;
        let eve = add(&place.db, &person("eve")).await;
        let mut tx = place.db.write().await.expect("a transaction");
        let mut keys = Vec::new();
        for name in ["top", "left", "right", "low", "other"] {
            let is_superuser = name == "top";
            let group = Team { pk: GroupId(uuid()), name: name.to_owned(), is_superuser, attributes_sealed: Vec::new() };
            team::insert(&mut tx, &group).await.expect("is new");
            keys.push(group.pk);
        }
        let [top, left, right, low, other] = keys[..] else { panic!("five groups") };
        team::set_parents(&mut tx, left, &[top]).await.expect("stores");
        team::set_parents(&mut tx, right, &[top]).await.expect("stores");
        team::set_parents(&mut tx, low, &[left, right]).await.expect("stores");
        team::set_parents(&mut tx, other, &[right]).await.expect("stores");
        let sorted = |mut links: Vec<(GroupId, GroupId)>| {
            links.sort_unstable();
            links
        };
        let above = sorted(team::links_above(&mut tx, low).await.expect("reads"));
        assert_eq!(above, sorted(vec![(low, left), (low, right), (left, top), (right, top)]));
        let below = sorted(team::links_below(&mut tx, right).await.expect("reads"));
        assert_eq!(below, sorted(vec![(low, right), (other, right)]));
        assert_eq!(team::links_above(&mut tx, top).await.expect("reads"), []);
        assert!(!account::any_active_superuser(&mut tx).await.expect("reads"), "a group without anybody");
        for number in 0..600 {
            let name = format!("empty-{number}");
            let empty = Team { pk: GroupId(uuid()), name, is_superuser: false, attributes_sealed: Vec::new() };
            team::insert(&mut tx, &empty).await.expect("is new");
            team::set_parents(&mut tx, empty.pk, &[top]).await.expect("stores");
        }
        assert!(!account::any_active_superuser(&mut tx).await.expect("reads"), "hundreds of groups without anybody");
        team::add_member(&mut tx, low, ada).await.expect("joins");
        assert!(account::may_act(&mut tx, ada, true).await.expect("reads"));
        assert!(account::may_act(&mut tx, eve, false).await.expect("reads"));
        assert!(!account::may_act(&mut tx, eve, true).await.expect("reads"));
        assert!(account::any_active_superuser(&mut tx).await.expect("reads"));
        let mighty = account::Filter { is_superuser: Some(true), ..account::Filter::default() };
        assert_eq!(account::list(&mut tx, &mighty, Slice::ALL).await.expect("reads").count, 1);
    }

    /// CO-460: a database can be written anew, and works as before; it knows its tables by name.
    async fn co_460_a_database_is_written_anew(place: Place) {
        add(&place.db, &person("ada")).await;
        place.db.compact().await.expect("is written anew");
        assert!(account::by_username(&mut place.db.read().await.expect("reads"), "ada").await.expect("reads").is_some());
        assert!(place.db.has_table("account").await.expect("asks"));
        assert!(!place.db.has_table("accounts").await.expect("asks"));
        place.db.close().await;
        assert!(place.db.read().await.is_err());
    }
}
