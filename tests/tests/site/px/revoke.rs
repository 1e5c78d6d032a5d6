//! Whatever is taken away is gone at the very next request, with a warm cache and with a cookie.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{join, join_all};
use portcullis_testkit::{Go as _, run, until};
use serde_json::json;
use tokio::time::Instant;

use crate::stage::Stage;

/// Everything a client of the application holds: a warm Basic and Bearer entry, and cookies from both and a login.
struct Access {
    basic: String,
    bearer: String,
    basic_cookie: String,
    bearer_cookie: String,
    login_cookie: String,
}

impl Access {
    async fn to(stage: &Stage<'_>) -> Self {
        let (basic, bearer) = (stage.basic(), stage.bearer().await);
        let basic_cookie = stage.header_cookie(&basic).await;
        let bearer_cookie = stage.header_cookie(&bearer).await;
        Self { basic, bearer, basic_cookie, bearer_cookie, login_cookie: stage.login_cookie().await }
    }

    /// At the next request they get these statuses, zero standing for any; from a stand-alone outpost, within a second.
    async fn gets(&self, stage: &Stage<'_>, wanted: [u16; 5]) {
        const PROMISED: Duration = Duration::from_secs(1);
        let began = Instant::now();
        loop {
            let found = self.now(stage).await;
            if found.iter().zip(wanted).all(|(found, wanted)| wanted == 0 || *found == wanted) {
                return;
            }
            let may_wait = stage.site.has_outpost() && began.elapsed() < PROMISED;
            assert!(may_wait, "{found:?} instead of {wanted:?} after {:?}", began.elapsed());
        }
    }

    /// The status that each of them gets now: Basic, Bearer, and the cookies of Basic, Bearer and login.
    async fn now(&self, stage: &Stage<'_>) -> [u16; 5] {
        let mut statuses = [0; 5];
        let all = [
            ("authorization", &self.basic),
            ("authorization", &self.bearer),
            ("cookie", &self.basic_cookie),
            ("cookie", &self.bearer_cookie),
            ("cookie", &self.login_cookie),
        ];
        for (status, (name, value)) in statuses.iter_mut().zip(all) {
            *status = stage.get_as_stranger("/").header(name, value).go().await.status;
        }
        statuses
    }
}

const ALL: [u16; 5] = [200; 5];
const NONE: [u16; 5] = [401, 401, 302, 302, 302];

/// PX-108, PX-198, CO-104: a deleted app password is refused at the next request; the login session is not touched.
#[test]
fn px_198_deleted_app_password() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let access = Access::to(&stage).await;
        access.gets(&stage, ALL).await;
        stage.site.api.delete(&format!("core/tokens/{}/", stage.identifier)).await;
        access.gets(&stage, [401, 0, 302, 0, 200]).await;
    });
}

/// OA-081, PX-108: while many connections use what somebody holds, no request that begins after the answer which takes it away is
/// let through; from a stand-alone outpost, after a second.
#[test]
fn oa_081_nothing_begun_after_the_answer_is_let_through() {
    const CONNECTIONS: usize = 32;
    run(async {
        for taken in ["app password", "user", "binding"] {
            let stage = Stage::new(json!({})).await;
            let group = stage.site.api.group("members", json!({}), &[&stage.person]).await;
            let binding = stage.site.api.bind(&stage.app, json!({"group": group})).await;
            let (basic, bearer) = (stage.basic(), stage.bearer().await);
            let grace = if stage.site.has_outpost() { Duration::from_secs(1) } else { Duration::ZERO };
            let (answered, served) = (OnceLock::<Instant>::new(), AtomicUsize::new(0));
            let uses = async |number: usize| {
                // A token may go on without the app password that it was got with.
                let is_basic = number.is_multiple_of(2) || taken == "app password";
                let authorization = if is_basic { &basic } else { &bearer };
                let mut after = 0;
                while after < 5 {
                    let is_after = answered.get().is_some_and(|at| at.elapsed() >= grace);
                    let status = stage.get_as_stranger("/").header("authorization", authorization).go().await.status;
                    served.fetch_add(usize::from(status == 200), Ordering::Relaxed);
                    if is_after {
                        assert_eq!(status, 401, "{taken}, {authorization}");
                        after += 1;
                    }
                }
            };
            let takes = async {
                let api = &stage.site.api;
                until("requests", async || (served.load(Ordering::Relaxed) > 10 * CONNECTIONS).then_some(())).await;
                match taken {
                    "user" => {
                        drop(api.patch(&format!("core/users/{}/", stage.person.pk), json!({"is_active": false})).await)
                    }
                    "binding" => {
                        drop(api.patch(&format!("policies/bindings/{binding}/"), json!({"negate": true})).await)
                    }
                    _ => api.delete(&format!("core/tokens/{}/", stage.identifier)).await,
                }
                answered.set(Instant::now()).unwrap();
            };
            join(join_all((0..CONNECTIONS).map(&uses)), takes).await;
        }
    });
}

/// PX-198: a replaced key ends what the old key made.
#[test]
fn px_198_replaced_app_password() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let access = Access::to(&stage).await;
        let path = format!("core/tokens/{}/set_key/", stage.identifier);
        stage.site.api.post(&path, json!({"key": "another key of a test"})).await;
        access.gets(&stage, [401, 0, 302, 0, 200]).await;
        let new = crate::stage::basic(&stage.person.username, "another key of a test");
        assert_eq!(stage.get_as_stranger("/").header("authorization", new).go().await.status, 200);
    });
}

/// PX-198, OA-296: an app password that expires is refused from then on.
#[test]
fn px_198_expired_app_password() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let access = Access::to(&stage).await;
        let past = json!({"expires": "2020-01-01T00:00:00Z", "expiring": true});
        let path = format!("core/tokens/{}/", stage.identifier);
        let reply = stage.site.api.call("PATCH", &path, Some(&past)).await;
        if reply.status == 200 {
            access.gets(&stage, [401, 0, 0, 0, 0]).await;
        } else {
            assert_eq!(reply.status, 400, "an expiry in the past is either refused or obeyed: {}", reply.text());
            access.gets(&stage, ALL).await;
        }
    });
}

/// PX-198: a deactivated user is refused at the next request, whatever they hold.
#[test]
fn px_198_deactivated_user() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let access = Access::to(&stage).await;
        access.gets(&stage, ALL).await;
        let path = format!("core/users/{}/", stage.person.pk);
        stage.site.api.patch(&path, json!({"is_active": false})).await;
        access.gets(&stage, NONE).await;
    });
}

/// PX-198: so is a deleted user.
#[test]
fn px_198_deleted_user() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let access = Access::to(&stage).await;
        stage.site.api.delete(&format!("core/users/{}/", stage.person.pk)).await;
        access.gets(&stage, NONE).await;
    });
}

/// PX-198: a lost membership counts like a lost binding.
#[test]
fn px_198_removed_membership() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let group = stage.site.api.group("members", json!({}), &[&stage.person]).await;
        stage.site.api.bind(&stage.app, json!({"group": group})).await;
        let access = Access::to(&stage).await;
        access.gets(&stage, ALL).await;
        let path = format!("core/groups/{group}/remove_user/");
        stage.site.api.post(&path, json!({"pk": stage.person.pk})).await;
        access.gets(&stage, NONE).await;
        stage.site.api.post(&format!("core/groups/{group}/add_user/"), json!({"pk": stage.person.pk})).await;
        let (_, key) = stage.site.api.app_password(&stage.person).await;
        let again = crate::stage::basic(&stage.person.username, &key);
        let again = stage.get_as_stranger("/").header("authorization", again).go().await;
        assert_eq!(again.status, 200, "who comes back is let in again");
    });
}

/// PX-198: so is a membership that came from a parent group that was cut off.
#[test]
fn px_198_group_cut_off_from_its_parent() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let parent = stage.site.api.group("parent", json!({}), &[]).await;
        let child = stage.site.api.group("child", json!({}), &[&stage.person]).await;
        stage.site.api.patch(&format!("core/groups/{child}/"), json!({"parents": [parent]})).await;
        stage.site.api.bind(&stage.app, json!({"group": parent})).await;
        let access = Access::to(&stage).await;
        access.gets(&stage, ALL).await;
        stage.site.api.patch(&format!("core/groups/{child}/"), json!({"parents": []})).await;
        access.gets(&stage, NONE).await;
    });
}

/// PX-198, CO-171: a binding that is removed, disabled, negated or pointed at someone else takes effect at once.
#[test]
fn px_198_changed_bindings() {
    run(async {
        let changes = [None, Some(json!({"enabled": false})), Some(json!({"negate": true}))];
        for change in changes {
            let stage = Stage::new(json!({})).await;
            let other = stage.site.api.person("other").await;
            stage.site.api.bind(&stage.app, json!({"user": other.pk})).await;
            let binding = stage.site.api.bind(&stage.app, json!({"user": stage.person.pk})).await;
            let access = Access::to(&stage).await;
            access.gets(&stage, ALL).await;
            let path = format!("policies/bindings/{binding}/");
            match &change {
                None => stage.site.api.delete(&path).await,
                Some(change) => drop(stage.site.api.patch(&path, change.clone()).await),
            }
            access.gets(&stage, NONE).await;
        }
    });
}

/// PX-198: a binding added for others shuts out who was let in because there was none.
#[test]
fn px_198_added_binding() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let access = Access::to(&stage).await;
        let other = stage.site.api.person("other").await;
        stage.site.api.bind(&stage.app, json!({"user": other.pk})).await;
        access.gets(&stage, NONE).await;
    });
}

/// PX-029, PX-028: a changed setting holds without a restart, and a deleted application answers no longer.
#[test]
fn px_029_changes_of_the_provider_hold_at_once() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let wrong = crate::stage::basic("nobody", "x");
        assert_eq!(stage.get_as_stranger("/").header("authorization", &wrong).go().await.status, 401);
        let path = format!("providers/proxy/{}/", stage.app.provider);
        stage.site.api.patch(&path, json!({"intercept_header_auth": false})).await;
        until("the changed setting", async || {
            let reply = stage.get_as_stranger("/").header("authorization", &wrong).go().await;
            (reply.status == 302).then_some(())
        })
        .await;
        stage.site.api.delete(&format!("core/applications/{}/", stage.app.slug)).await;
        if !stage.site.has_outpost() {
            let gone = stage.get("/").header("authorization", stage.basic()).go().await;
            assert_ne!(gone.status, 200, "at the next request");
        }
        // The core's answer, or that of an outpost without one.
        let nobody = if stage.site.has_outpost() { 400 } else { 404 };
        until("nobody's answer", async || (stage.get("/nothing/here").go().await.status == nobody).then_some(())).await;
        assert_eq!(stage.recorder.count(), 0);
    });
}

/// OA-510, PX-418: a revoked access token is refused at the next request.
#[test]
fn px_418_revoked_access_token() {
    run(async {
        let stage = Stage::new(json!({})).await;
        let access = Access::to(&stage).await;
        let token = access.bearer.strip_prefix("Bearer ").unwrap();
        let secret = stage.client_secret().await;
        let form = format!("client_id={}&client_secret={secret}&token={token}", stage.app.client_id);
        let request = portcullis_testkit::http().post(stage.site.url("/application/o/revoke/")).body(form);
        let reply = request.header("content-type", "application/x-www-form-urlencoded").go().await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        access.gets(&stage, [200, 401, 0, 302, 0]).await;
    });
}
