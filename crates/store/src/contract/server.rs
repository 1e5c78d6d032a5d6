//! What a server brings with it: it may be gone, and others use it, too.

use super::*;

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
