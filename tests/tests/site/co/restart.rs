//! What survives a restart, a SIGKILL and a SIGTERM.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use portcullis_testkit::raw::{self, Raw};
use portcullis_testkit::{Api, Go as _, Site, api, http, run, until};
use serde_json::json;

use crate::stage::Stage;

/// CO-484, PX-174: sessions, app passwords, tokens and users are there after a restart; bootstrap adds nothing.
#[test]
fn px_174_everything_survives_a_restart() {
    run(async {
        let site = Site::start().await;
        let stage = Stage::on(&site, json!({})).await;
        let login = stage.login_cookie().await;
        let header = stage.header_cookie(&stage.basic()).await;
        let bearer = stage.bearer().await;
        let users = site.api.get("core/users/").await["pagination"]["count"].clone();
        site.process().signal("TERM");
        assert_eq!(site.process().end().await.code(), Some(0));
        site.restart().await;
        for (name, value) in
            [("cookie", &login), ("cookie", &header), ("authorization", &stage.basic()), ("authorization", &bearer)]
        {
            assert_eq!(stage.get("/").header(name, value).go().await.status, 200, "{name}");
        }
        assert_eq!(site.api.get("core/users/").await["pagination"]["count"], users);
    });
}

/// PX-174: SIGKILL in the middle of traffic loses nothing that was acknowledged, three times in a row.
#[test]
fn px_174_sigkill_loses_nothing_acknowledged() {
    run(async {
        let site = Site::start().await;
        let stage = Stage::on(&site, json!({})).await;
        let mut sessions = vec![stage.login_cookie().await];
        let acknowledged: Arc<Mutex<Vec<(String, String, String)>>> = Arc::default();
        for round in 1..=3 {
            let stop = Arc::new(AtomicBool::new(false));
            let mut writers = Vec::new();
            for _ in 0..4 {
                let (api, stop) = (Api::new(&site.base(), &site.token), Arc::clone(&stop));
                let acknowledged = Arc::clone(&acknowledged);
                writers.push(tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        let Some(new) = create(&api).await else { return };
                        acknowledged.lock().unwrap().push(new);
                    }
                }));
            }
            for _ in 0..4 {
                let (url, basic, stop) = (stage.app.url("/traffic"), stage.basic(), Arc::clone(&stop));
                writers.push(tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        drop(http().get(&url).header("authorization", &basic).try_go().await);
                    }
                }));
            }
            sessions.push(stage.login_cookie().await);
            until("acknowledged writes", async || (acknowledged.lock().unwrap().len() >= round * 15).then_some(()))
                .await;
            site.kill();
            stop.store(true, Ordering::Relaxed);
            for writer in writers {
                writer.await.unwrap();
            }
            site.restart().await;
        }
        let all = acknowledged.lock().unwrap().clone();
        assert!(all.len() >= 45);
        for (username, identifier, key) in all {
            let found = site.api.get(&format!("core/users/?username={username}")).await;
            assert_eq!(found["pagination"]["count"], 1, "{username}");
            assert_eq!(site.api.get(&format!("core/tokens/{identifier}/view_key/")).await["key"], json!(key));
            let authorization = crate::stage::basic(&username, &key);
            assert_eq!(stage.get_as_stranger("/").header("authorization", authorization).go().await.status, 200);
        }
        for session in sessions {
            assert_eq!(stage.get("/").header("cookie", session).go().await.status, 200);
        }
    });
}

/// A user with an app password, all steps acknowledged; nothing if the server went away.
async fn create(site: &Api) -> Option<(String, String, String)> {
    let (username, identifier) = (api::fresh("durable"), api::fresh("durable-key-"));
    let user = site.try_call("POST", "core/users/", Some(&json!({"username": username, "name": ""}))).await?;
    let token = json!({"identifier": identifier, "intent": "app_password", "user": user.json()["pk"]});
    site.try_call("POST", "core/tokens/", Some(&token)).await?;
    let key = site.try_call("GET", &format!("core/tokens/{identifier}/view_key/"), None).await?;
    Some((username, identifier, key.json()["key"].as_str()?.to_owned()))
}

/// PX-007, PX-597: SIGTERM refuses newcomers, lets requests in flight finish, and the process ends with 0.
#[test]
fn px_007_sigterm_drains() {
    run(async {
        let site = Site::start().await;
        let stage = Stage::on(&site, json!({})).await;
        let mut raw = Raw::connect(site.port).await;
        raw.send(format!(
            "GET /hold HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\n\r\n",
            stage.app.authority(),
            stage.basic()
        ))
        .await;
        stage.recorder.arrival("/hold").await;
        site.process().signal("TERM");
        until("refused connections", async || {
            tokio::net::TcpStream::connect(("127.0.0.1", site.port)).await.is_err().then_some(())
        })
        .await;
        assert!(site.process().ended().is_none(), "it waits for the request in flight");
        stage.recorder.release();
        assert_eq!(raw::status(&raw.head().await), 200);
        assert!(raw.read_to("released\n").await.contains("released"));
        assert_eq!(site.process().end().await.code(), Some(0));
    });
}
