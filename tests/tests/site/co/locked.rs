//! A database that cannot be written for a while.

use portcullis_testkit::process::{Process, command};
use portcullis_testkit::{Go as _, Site, http, run, until};
use serde_json::json;

/// Another program that holds the write lock of a database until it is told to let go.
struct Lock(Process);

impl Lock {
    async fn of(site: &Site) -> Self {
        const PROGRAM: &str = "import sqlite3, sys, time\n\
            held = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
            held.execute('BEGIN IMMEDIATE')\n\
            print('held', flush=True)\n\
            time.sleep(600)\n";
        let mut holder = command("python3");
        holder.args(["-c", PROGRAM]).arg(site.data().join("portcullis.db"));
        let process = Process::start("the holder of the lock", holder);
        until("the lock", async || process.log().contains("held").then_some(())).await;
        Self(process)
    }

    fn release(self) {
        self.0.kill();
    }
}

/// CO-522: while another process has locked the database, a write is answered 503 with `Retry-After` and the log says
/// why; reads go on, nothing is half done, and the next write after that goes through.
#[test]
fn co_522_a_locked_database_is_a_503() {
    run(async {
        let site = Site::options().env("PORTCULLIS_DATABASE__URL", "").start().await;
        // The use of the token is noted now, so that it need not be for a while.
        site.api.get("core/users/me/").await;
        let lock = Lock::of(&site).await;
        let body = json!({"name": "made while locked"});
        let refused = site.api.call("POST", "core/groups/", Some(&body)).await;
        assert_eq!(refused.status, 503, "{}", refused.text());
        assert!(refused.all("retry-after").iter().all(|seconds| seconds.parse::<u32>().is_ok_and(|n| n > 0)));
        assert_eq!(refused.all("retry-after").len(), 1);
        let told = refused.json();
        assert!(told["detail"].as_str().unwrap().contains("Try again"), "{told}");
        assert!(site.log().contains("another process has locked the database"), "{}", site.log());
        assert_eq!(
            site.api.call("GET", "core/groups/?name=made%20while%20locked", None).await.json()["results"],
            json!([])
        );
        assert_eq!(http().get(site.url("/-/health/ready/")).go().await.status, 200, "reads go on");
        lock.release();
        let made = site.api.post("core/groups/", body.clone()).await;
        assert_eq!(made["name"], body["name"]);
        assert_eq!(site.api.get("core/groups/?name=made%20while%20locked").await["pagination"]["count"], 1);
    });
}
