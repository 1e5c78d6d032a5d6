//! What holds on both engines: each test runs on SQLite and on PostgreSQL.

use std::collections::BTreeMap;

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

    /// CO-540: users are found by digests of their attributes, each of several conditions by one of several; never by those that
    /// they had.
    async fn co_540_users_are_found_by_digests(place: Place) {
        let mut tx = place.db.write().await.expect("writes");
        let ada = account::insert(&mut tx, &person("ada")).await.expect("inserts");
        let eve = account::insert(&mut tx, &person("eve")).await.expect("inserts");
        let digest = |number: u16| number.to_be_bytes().to_vec();
        let many: Vec<_> = (0..250).map(digest).collect();
        account::set_attributes(&mut tx, ada, &[1], &many).await.expect("stores");
        account::set_attributes(&mut tx, eve, &[2], &[digest(7)]).await.expect("stores");
        let found = async |tx: &mut Conn, attributes: &[&[u16]]| {
            let attributes = attributes.iter().map(|some| some.iter().copied().map(digest).collect()).collect();
            let filter = account::Filter { attributes, ..account::Filter::default() };
            let listed = account::list(tx, &filter, Slice::ALL).await.expect("reads");
            listed.rows.into_iter().map(|account| account.pk).collect::<Vec<_>>()
        };
        assert_eq!(found(&mut tx, &[&[7]]).await, [ada, eve]);
        assert_eq!(found(&mut tx, &[&[7], &[249, 999]]).await, [ada]);
        assert!(found(&mut tx, &[&[]]).await.is_empty() && found(&mut tx, &[&[999]]).await.is_empty());
        assert!(account::any_attribute(&mut tx, &[digest(999), digest(249)]).await.expect("reads"));
        account::set_attributes(&mut tx, ada, &[1], &[digest(8)]).await.expect("stores");
        assert_eq!(found(&mut tx, &[&[7]]).await, [eve]);
        account::delete(&mut tx, eve).await.expect("deletes");
        assert!(!account::any_attribute(&mut tx, &[digest(7)]).await.expect("reads"));
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

    /// CO-525: lists are in the order of code points; nothing comes first, and last when the order is turned round.
    async fn co_525_lists_have_one_order(place: Place) {
        for (username, last_login) in [("zoe", Some(2)), ("Zoe B", None), ("_x", Some(1)), ("émile", None), ("Adam", Some(3)), ("a-b", None)] {
            add(&place.db, &Account { last_login: last_login.map(Timestamp), ..person(username) }).await;
        }
        let listed = async |order, descending| {
            let filter = account::Filter { order: vec![(order, descending)], ..account::Filter::default() };
            let mut conn = place.db.read().await.expect("reads");
            let listed = account::list(&mut conn, &filter, Slice::ALL).await.expect("reads");
            assert_eq!(listed.count, 6);
            listed.rows.into_iter().map(|account| account.username).collect::<Vec<_>>()
        };
        let by_name = listed(account::Order::Username, false).await;
        assert_eq!(by_name, ["Adam", "Zoe B", "_x", "a-b", "zoe", "émile"]);
        let latest = listed(account::Order::LastLogin, true).await;
        assert_eq!(latest[..3], ["Adam", "zoe", "_x"]);
        let oldest = listed(account::Order::LastLogin, false).await;
        assert_eq!(oldest[3..], ["_x", "zoe", "Adam"]);
        let mightiest = listed(account::Order::IsSuperuser, true).await;
        assert_eq!(mightiest, ["zoe", "Zoe B", "_x", "émile", "Adam", "a-b"], "all alike: by key");
    }

    /// CO-525: a search finds parts of texts whatever the case of ASCII letters, and takes every sign for itself.
    async fn co_525_searches_find_the_same(place: Place) {
        for username in ["Straße_1", "STRASSE 100%", "Übung\\", "o'neil"] {
            add(&place.db, &person(username)).await;
        }
        let found = async |search: &str| {
            let mut conn = place.db.read().await.expect("reads");
            let filter = account::Filter { search: search.to_owned(), ..account::Filter::default() };
            account::list(&mut conn, &filter, Slice::ALL).await.expect("reads").count
        };
        for (search, count) in [("stra", 2), ("STRA 100%", 1), ("_1", 1), ("%", 1), ("\\", 1), ("'", 1), ("übung", 0), ("Übung", 1), ("ÜBUNG", 1)] {
            assert_eq!(found(search).await, count, "{search}");
        }
    }

    /// CO-440, CO-523: what a stranger has sent can be noted, whatever is in it; a name with what no name holds is nobody's.
    async fn co_440_what_strangers_send_can_be_noted(place: Place) {
        let strange = "a\0b";
        let mut tx = place.db.write().await.expect("a transaction");
        assert_eq!(account::for_sign_in(&mut tx, strange).await.expect("asks"), None);
        assert_eq!(token::of_username(&mut tx, strange, &[0; 32]).await.expect("asks"), (None, None));
        let note = event::Event {
            pk: uuid(),
            action: "login_failed".to_owned(),
            app: String::new(),
            account: json!({"username": strange}),
            context: json!({"username": strange, "model": {"pk": strange}}),
            brand: json!({"name": strange}),
            client_ip: None,
            created: NOW,
            expires: NOW,
        };
        event::insert(&mut tx, &note).await.expect("is noted");
        assert_eq!(event::by_pk(&mut tx, note.pk).await.expect("reads"), Some(note));
        let score = reputation::Reputation {
            pk: ReputationId(uuid()),
            identifier: strange.to_owned(),
            ip: String::new(),
            score: -1,
            ip_geo_data: json!({}),
            ip_asn_data: json!({}),
            updated: NOW,
            expires: NOW.plus_seconds(1),
        };
        let change = reputation::Change { by: -1, lowest: -5, highest: 5 };
        reputation::add(&mut tx, &score, change).await.expect("is noted");
        reputation::add(&mut tx, &score, change).await.expect("is noted");
        assert_eq!(reputation::sum(&mut tx, None, Some(strange), NOW).await.expect("reads"), -2);
    }

    /// CO-569: filters that ignore case ignore that of ASCII letters, on both sides.
    async fn co_569_filters_ignore_the_same_case(place: Place) {
        let mut tx = place.db.write().await.expect("a transaction");
        let new = Outpost { pk: portcullis_core::id::OutpostId(uuid()), name: "ÄB Gate".to_owned(), kind: "proxy".to_owned(), config: json!({}), managed: None };
        outpost::insert(&mut tx, &new).await.expect("is new");
        tx.commit().await.expect("commits");
        for (name, count) in [("ÄB Gate", 1), ("Äb gATE", 1), ("äb gate", 0)] {
            let filter = outpost::Filter { name: Some(name.to_owned()), ..outpost::Filter::default() };
            let listed = outpost::list(&mut place.db.read().await.expect("reads"), &filter, Slice::ALL).await;
            assert_eq!(listed.expect("reads").count, count, "{name}");
        }
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
        on!(&mut *tx, c => {
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

/// Columns by table and name: type and whether there may be nothing; and the names of indexes.
type Schema = (BTreeMap<(String, String), (String, bool)>, Vec<String>);

/// CO-004: both engines have the same tables, columns and indexes; text compares by its bytes.
#[tokio::test]
async fn co_004_both_engines_have_the_same_tables() {
    let directory = tempfile::tempdir().expect("a directory");
    let sqlite = Place::new(Database::File { path: directory.path().join("p.db"), directory }).await;
    let postgres = Place::new(Database::Postgres { url: postgres::server().database() }).await;
    let (ours, theirs) = (of_sqlite(&sqlite.db).await, of_postgres(&postgres.db).await);
    for (column, kind) in &ours.0 {
        let same = theirs.0.get(column);
        // A number that is read as a large one is a large one there; here they all are.
        let large = same == Some(&("BIGINT".to_owned(), kind.1)) && kind.0 == "INTEGER";
        assert!(
            same == Some(kind) || large,
            "{column:?} of migrations/sqlite is {kind:?}, of migrations/postgres {same:?}"
        );
    }
    for column in theirs.0.keys() {
        assert!(ours.0.contains_key(column), "{column:?} is in migrations/postgres only");
    }
    assert_eq!(ours.1, theirs.1, "indexes");
}

async fn of_sqlite(db: &Db) -> Schema {
    let mut conn = db.read().await.expect("reads");
    let columns: Vec<(String, String, String, bool)> = on!(&mut conn, c => sqlx::query_as(
        "SELECT m.name, c.name, c.type, c.\"notnull\" OR c.pk > 0 FROM sqlite_master m, pragma_table_info(m.name) c
         WHERE m.type = 'table' AND m.name NOT LIKE '\\_sqlx%' ESCAPE '\\' AND m.name NOT LIKE 'sqlite%'",
    ).fetch_all(c).await)
    .expect("reads");
    let indexes = on!(&mut conn, c => sqlx::query_scalar(
        "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name",
    ).fetch_all(c).await)
    .expect("reads");
    (columns.into_iter().map(|(table, name, kind, some)| ((table, name), (kind, some))).collect(), indexes)
}

async fn of_postgres(db: &Db) -> Schema {
    let mut conn = db.read().await.expect("reads");
    let columns: Vec<(String, String, String, bool)> = on!(&mut conn, c => sqlx::query_as(
        "SELECT table_name::text, column_name::text, upper(data_type) || coalesce(' ' || collation_name, ''), is_nullable = 'NO'
         FROM information_schema.columns WHERE table_schema = 'public' AND table_name NOT LIKE '\\_sqlx%'",
    ).fetch_all(c).await).expect("reads");
    let indexes = on!(&mut conn, c => sqlx::query_scalar(
        "SELECT indexname::text COLLATE \"C\" FROM pg_indexes WHERE schemaname = 'public'
             AND indexname NOT IN (SELECT conname FROM pg_constraint) ORDER BY 1",
    ).fetch_all(c).await)
    .expect("reads");
    let kind = |kind: &str| {
        match kind {
            "TEXT C" => "TEXT",
            "BYTEA" => "BLOB",
            other => other,
        }
        .to_owned()
    };
    (columns.into_iter().map(|(table, name, of, some)| ((table, name), (kind(&of), some))).collect(), indexes)
}

/// CO-522: a server that is gone, refuses, or ends a connection is told from what will not go away; nothing that is said
/// of it holds the password.
#[tokio::test]
async fn co_522_a_server_that_is_gone_passes() {
    let server = postgres::server();
    let database = Database::Postgres { url: server.database() };
    let Database::Postgres { url } = &database else { unreachable!() };
    let db = Place::open(&database).await;
    let ended = {
        let mut conn = db.read().await.expect("a connection");
        on!(&mut conn, c => sqlx::query("SELECT pg_terminate_backend(pg_backend_pid())").execute(c).await.map(drop))
    };
    let ended = StoreError::from(ended.expect_err("ended"));
    assert_eq!(ended.passing(), Some("the database cannot be reached"), "{ended}");
    db.read().await.expect("another connection");

    let wrong =
        on!(&mut db.read().await.expect("reads"), c => sqlx::query("SELECT nothing").execute(c).await.map(drop));
    assert_eq!(StoreError::from(wrong.expect_err("no such column")).passing(), None);

    let unknown = Db::connect_postgres(&server.url("nowhere"), 4).await.expect_err("no such database");
    let nobody = url.replace(&format!(":{}/", server.port), ":1/");
    let nobody = Db::connect_postgres(&nobody, 4).await.expect_err("nobody listens");
    assert_eq!(nobody.passing(), Some("the database cannot be reached"));
    let nonsense = Db::connect_postgres(&format!("{url}&sslmode=perhaps"), 4).await.expect_err("no such mode");
    for error in [unknown, nobody, nonsense] {
        assert!(!format!("{error} {error:?}").contains("not-asked-for"), "{error:?}");
    }
}

/// CO-008: the URL says whether the connection is private, and whose certificate is believed.
#[tokio::test]
async fn co_008_the_url_says_whether_by_tls() {
    let server = postgres::server();
    let database = Database::Postgres { url: server.database() };
    let Database::Postgres { url } = &database else { unreachable!() };
    let by = |mode: &str| url.replace("127.0.0.1", "localhost").replace("sslmode=disable", mode);
    let certificate = server.certificate.display();
    for (mode, private) in [
        ("sslmode=disable".to_owned(), false),
        ("sslmode=require".to_owned(), true),
        (format!("sslmode=verify-full&sslrootcert={certificate}"), true),
    ] {
        let db = Db::connect_postgres(&by(&mode), 4).await.expect("connects");
        let found: bool = on!(&mut db.read().await.expect("reads"), c => sqlx::query_scalar(
            "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
        ).fetch_one(c).await)
        .expect("reads");
        assert_eq!(found, private, "{mode}");
    }
    Db::connect_postgres(&by("sslmode=verify-full"), 4).await.expect_err("nobody vouches for it");
    let elsewhere = by(&format!("sslmode=verify-full&sslrootcert={certificate}")).replace("localhost", "127.0.0.1");
    Db::connect_postgres(&elsewhere, 4).await.expect_err("it is for another name");
}

/// CO-522: who cannot have the turn to write is told so, and leaves a connection behind that works.
#[tokio::test]
async fn co_522_a_turn_that_does_not_come_passes() {
    let place = Place::new(Database::Postgres { url: postgres::server().database() }).await;
    let Database::Postgres { url } = &place.database else { unreachable!() };
    let name = postgres::name_of(url);
    let another = place.another().await;
    let held = another.write().await.expect("a transaction");
    let waits = tokio::spawn({
        let db = place.db.clone();
        async move { db.write().await.map(drop) }
    });
    let blocked = format!("SELECT pid FROM pg_stat_activity WHERE datname = '{name}' AND wait_event = 'advisory'");
    let pid = portcullis_testkit::until("somebody who waits", async || {
        Some(postgres::server().run("postgres", &blocked)).filter(|pid| !pid.is_empty())
    })
    .await;
    postgres::server().run("postgres", &format!("SELECT pg_cancel_backend({pid})"));
    waits.await.expect("no panic").expect_err("was told to give up");
    drop(held);
    add(&place.db, &person("ada")).await;
}

/// CO-460: processes that serve hear of each other's commits; who needs the database alone gets it when none serves.
#[tokio::test]
async fn co_460_processes_know_of_each_other() {
    let place = Place::new(Database::Postgres { url: postgres::server().database() }).await;
    let another = place.another().await;
    let (Db::Pg(one), Db::Pg(other)) = (&place.db, &another) else { unreachable!() };
    let mut ears = one.listen().await.expect("listens").expect("nobody is alone");
    assert!(other.be_alone().await.expect("asks").is_none(), "one serves");
    let mut tx = another.write().await.expect("a transaction");
    db::tell_others(&mut tx).await.expect("says so");
    tx.commit().await.expect("commits");
    ears.hear().await.expect("hears");
    drop(ears);
    let alone = portcullis_testkit::until("the end of the other", async || other.be_alone().await.expect("asks")).await;
    assert!(one.listen().await.expect("asks").is_none(), "somebody is alone");
    drop(alone);
    portcullis_testkit::until("the end of the other", async || one.listen().await.expect("asks")).await;
}
