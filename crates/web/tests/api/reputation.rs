use std::net::IpAddr;

use authentik_client::models;
use http::Method;
use portcullis_idp::reputation::{self, Attempt};
use serde_json::{Value, json};

use crate::site::{ADMIN, Site};

const SCORES: &str = "/policies/reputation/scores/";
const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1));

async fn note(site: &Site, client: IpAddr, identifier: &str, attempts: &[Attempt]) {
    let mut tx = site.ctx.db.write().await.unwrap();
    for attempt in attempts {
        reputation::note(&site.ctx, &mut tx, client, identifier, *attempt).await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn scores(site: &Site, query: &str) -> Vec<(String, String, i64)> {
    let list = site.get(&format!("{SCORES}?ordering=identifier,ip&{query}")).await;
    let list: models::PaginatedReputationList = serde_json::from_value(list).unwrap();
    list.results.into_iter().map(|row| (row.identifier, row.ip, row.score.unwrap())).collect()
}

fn score(identifier: &str, client: IpAddr, score: i64) -> (String, String, i64) {
    (identifier.to_owned(), client.to_string(), score)
}

/// CO-440, CO-563: one score for each name and address, within its limits, forgotten a day after the last change.
#[tokio::test]
async fn co_440_scores_are_kept_within_limits() {
    let site = Site::new().await;
    note(&site, HERE, "ada", &[Attempt::Failed; 7]).await;
    note(&site, THERE, "ada", &[Attempt::SignedIn; 9]).await;
    note(&site, HERE, "bob", &[Attempt::Failed, Attempt::Failed, Attempt::SignedIn]).await;
    note(&site, "::ffff:192.0.2.7".parse().unwrap(), "bob", &[Attempt::Failed]).await;
    let all = [score("ada", HERE, -5), score("ada", THERE, 5), score("bob", HERE, -2)];
    assert_eq!(scores(&site, "").await, all);
    assert_eq!(scores(&site, "identifier=bob").await, all[2..]);
    assert_eq!(scores(&site, "identifier_in=bob,eve").await, all[2..]);
    assert_eq!(scores(&site, "ip=198.51.100.1").await, all[1..2]);
    assert_eq!(scores(&site, "score=-5").await, all[..1]);
    assert_eq!(scores(&site, "search=AD").await, all[..2]);
    note(&site, HERE, "ada", &[Attempt::SignedIn]).await;
    assert_eq!(scores(&site, "identifier=ada&score=-4").await.len(), 1, "the limit is no debt");

    site.clock.advance_seconds(24 * 3600 - 1);
    note(&site, HERE, "bob", &[Attempt::Failed]).await;
    site.clock.advance_seconds(1);
    assert_eq!(scores(&site, "").await, [score("bob", HERE, -3)]);
    note(&site, THERE, "ada", &[Attempt::Failed]).await;
    assert_eq!(scores(&site, "identifier=ada").await, [score("ada", THERE, -1)], "starts again");
    reputation::sweep(&site.ctx).await.unwrap();
    assert_eq!(scores(&site, "").await.len(), 2);
}

/// CO-440: the limits of scores are the administrator's.
#[tokio::test]
async fn co_440_limits_of_scores_are_settings() {
    let site = Site::new().await;
    let mut tx = site.ctx.db.write().await.unwrap();
    let settings = json!({"reputation_lower_limit": -2, "reputation_upper_limit": 0});
    portcullis_store::instance::set_settings(&mut tx, &settings).await.unwrap();
    tx.commit().await.unwrap();
    note(&site, HERE, "ada", &[Attempt::Failed; 4]).await;
    note(&site, THERE, "ada", &[Attempt::SignedIn; 4]).await;
    assert_eq!(scores(&site, "").await, [score("ada", HERE, -2), score("ada", THERE, 0)]);
}

/// CO-445, CO-563: a score is read and deleted, by administrators alone, and cannot be written.
#[tokio::test]
async fn co_563_scores_are_read_and_deleted() {
    let site = Site::new().await;
    note(&site, HERE, "ada", &[Attempt::Failed]).await;
    let list = site.get(SCORES).await;
    let path = format!("{SCORES}{}/", list["results"][0]["pk"].as_str().unwrap());
    let row = site.get(&path).await;
    assert_eq!(row, list["results"][0]);
    assert_eq!((&row["ip_geo_data"], &row["ip_asn_data"]), (&json!({}), &json!({})));
    assert_eq!(site.get(&format!("{path}used_by/")).await, json!([]));
    let (_, ada) = site.user("ada").await;
    for (key, method, path, status) in [
        (ada.as_str(), Method::GET, SCORES, 403),
        (&ada, Method::DELETE, &path, 403),
        (ADMIN, Method::POST, SCORES, 405),
        (ADMIN, Method::PATCH, &path, 405),
    ] {
        assert_eq!(site.send(key, method, path, Some(json!({}))).await.0, status, "{path}");
    }
    site.delete(&path).await;
    assert_eq!(site.send(ADMIN, Method::GET, &path, None).await.0, 404);
    assert_eq!(site.get(SCORES).await["results"], Value::Array(Vec::new()));
}

/// CO-194: true for a bad reputation of the address or the user name, each row counted once.
#[tokio::test]
async fn co_194_a_bad_reputation_passes() {
    let site = Site::new().await;
    let (ada, _) = site.user("ada").await;
    let neither = json!({"name": "r", "check_ip": false, "check_username": false});
    let neither = site.refused(Method::POST, "/policies/reputation/", neither).await;
    assert_eq!(neither, json!({"non_field_errors": ["Either IP or Username must be checked"]}));
    let made = site.post("/policies/reputation/", json!({"name": "r"})).await;
    assert_eq!(
        (&made["check_ip"], &made["check_username"], &made["threshold"]),
        (&json!(true), &json!(true), &json!(-5))
    );
    let policy = made["pk"].as_str().unwrap().to_owned();
    let path = format!("/policies/reputation/{policy}/");
    let passes = async || {
        let body = json!({"user": ada});
        let (status, result) =
            site.send(ADMIN, Method::POST, &format!("/policies/all/{policy}/test/"), Some(body)).await;
        assert_eq!(status, 200);
        result["passing"].as_bool().unwrap()
    };
    assert!(!passes().await);
    // The administrator who tries it out is at the first address.
    note(&site, HERE, "ada", &[Attempt::Failed; 4]).await;
    assert!(!passes().await);
    note(&site, THERE, "ada", &[Attempt::Failed]).await;
    assert!(passes().await, "-5 is enough for -5");
    site.patch(&path, json!({"threshold": -6})).await;
    assert!(!passes().await);
    note(&site, HERE, "somebody", &[Attempt::Failed]).await;
    assert!(passes().await);
    site.patch(&path, json!({"check_ip": false})).await;
    assert!(!passes().await);
    site.patch(&path, json!({"check_ip": true, "check_username": false, "threshold": -5})).await;
    assert!(passes().await);
}
