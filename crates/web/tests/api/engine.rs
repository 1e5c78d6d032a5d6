//! Policies of applications, with an engine for expressions that does what it is told.

use std::sync::{Arc, Mutex};

use authentik_client::models;
use http::Method;
use portcullis_core::epoch::Subject;
use portcullis_idp::Context;
use portcullis_idp::policies::{
    Answer, Calls, ExpressionEngine, Failure, LogLine, Noted, Outcome, PolicyRequest, Support, call,
};
use serde_json::{Map, Value, json};

use crate::site::{ADMIN, Site};

/// Runs expressions of a few words, and remembers what they were asked.
#[derive(Default)]
struct Script(Mutex<Vec<Arc<PolicyRequest>>>);

impl Script {
    async fn run(&self, ctx: &Context, name: &str, source: &str, request: &PolicyRequest) -> Result<Outcome, Failure> {
        let (word, rest) = source.split_once(' ').unwrap_or((source, ""));
        match word {
            "yes" | "no" => Ok(Outcome { messages: vec![rest.to_owned()], ..Outcome::of(word == "yes") }),
            "fail" => Err(Failure::new(rest)),
            "log" => Ok(Outcome { log: vec![LogLine::new(ctx.now(), "debug", name, rest)], ..Outcome::pass() }),
            "event" => {
                let noted = Noted { action: "custom_seen".to_owned(), context: json!({"what": rest, "password": "x"}) };
                Ok(Outcome { events: vec![noted], ..Outcome::pass() })
            }
            "call" => call(ctx, rest, request, Map::new()).await,
            "never" => std::future::pending().await,
            _ => Err(Failure::new("nonsense")),
        }
    }
}

impl ExpressionEngine for Script {
    fn compile(&self, source: &str) -> Result<(), Vec<String>> {
        if source.contains(';') { Err(vec!["Expression Syntax Error: line 1".to_owned()]) } else { Ok(()) }
    }

    fn calls(&self, source: &str) -> Calls {
        Calls::Named(source.strip_prefix("call ").map(str::to_owned).into_iter().collect())
    }

    fn evaluate<'a>(
        &'a self,
        ctx: &'a Context,
        name: &'a str,
        source: &'a str,
        request: Arc<PolicyRequest>,
    ) -> Answer<'a, Outcome, Failure> {
        self.0.lock().unwrap().push(Arc::clone(&request));
        Box::pin(async move { self.run(ctx, name, source, &request).await })
    }
}

/// An instance with the application `wiki` and the user `ada`.
struct Stage {
    site: Site,
    script: Arc<Script>,
    target: Value,
    ada: i64,
    key: String,
}

impl Stage {
    async fn new() -> Self {
        let script = Arc::new(Script::default());
        let site = Site::supported(Support { expressions: Some(script.clone()), ..Support::default() }).await;
        let provider = site.provider("wiki").await["pk"].clone();
        let target = site.application("wiki", &provider).await["pk"].clone();
        let (ada, key) = site.user("ada").await;
        Self { site, script, target, ada, key }
    }

    /// Binds an expression to the application: paths of policy and binding.
    async fn bind(&self, order: i32, source: &str, more: Value) -> (String, String) {
        let name = format!("{source} at {order}");
        let made = self.site.post("/policies/expression/", json!({"name": name, "expression": source})).await;
        let mut body = json!({"target": self.target, "order": order, "policy": made["pk"]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let binding = self.site.post("/policies/bindings/", body).await;
        let path = |kind: &str, made: &Value| format!("/policies/{kind}/{}/", made["pk"].as_str().unwrap());
        (path("expression", &made), path("bindings", &binding))
    }

    async fn check(&self) -> models::PolicyTestResult {
        let path = format!("/core/applications/wiki/check_access/?for_user={}", self.ada);
        serde_json::from_value(self.site.get(&path).await).unwrap()
    }

    async fn passes(&self) -> bool {
        self.check().await.passing
    }
}

/// CO-190: an expression is compiled when it is saved, and what is wrong with it is said.
#[tokio::test]
async fn co_190_expressions_are_compiled_when_saved() {
    let stage = Stage::new().await;
    let bad = json!({"name": "e", "expression": "return 1;"});
    let refused = stage.site.refused(Method::POST, "/policies/expression/", bad).await;
    assert_eq!(refused, json!({"expression": ["Expression Syntax Error: line 1"]}));
    let made = stage.site.post("/policies/expression/", json!({"name": "e", "expression": "yes\n"})).await;
    assert_eq!(made["expression"], "yes");
    let _: models::ExpressionPolicy = serde_json::from_value(made.clone()).unwrap();
    let path = format!("/policies/expression/{}/", made["pk"].as_str().unwrap());
    assert!(stage.site.refused(Method::PATCH, &path, json!({"expression": ";"})).await["expression"].is_array());
    let long = "x".repeat(64 * 1024 + 1);
    assert!(stage.site.refused(Method::PATCH, &path, json!({"expression": long})).await["expression"].is_array());
    assert_eq!(stage.site.get(&path).await["expression"], "yes");
    assert_eq!(stage.site.patch(&path, json!({"name": "f"})).await["expression"], "yes");
}

/// CO-177, CO-242: what an expression calls decides with it: when that is made, changed, renamed or deleted, whatever rests on the
/// application is told.
#[tokio::test]
async fn co_177_a_called_policy_decides_at_once() {
    let stage = Stage::new().await;
    stage.bind(0, "call inner", json!({})).await;
    let site = &stage.site;
    let provider = site.get("/core/applications/wiki/").await["provider"].as_i64().unwrap();
    let epochs = &site.ctx.epochs;
    let mark = || epochs.mark(epochs.present(), &[Subject::Provider(i32::try_from(provider).unwrap())]);
    let before = mark();
    let made = site.post("/policies/dummy/", json!({"name": "inner", "result": false})).await;
    assert!(!epochs.stands(&before), "made");
    let path = format!("/policies/dummy/{}/", made["pk"].as_str().unwrap());
    for change in [json!({"result": true}), json!({"name": "aside"}), json!({"name": "inner"})] {
        let before = mark();
        site.patch(&path, change.clone()).await;
        assert!(!epochs.stands(&before), "{change}");
    }
    let before = mark();
    site.delete(&path).await;
    assert!(!epochs.stands(&before), "deleted");
}

/// CO-171, CO-173, CO-136, CO-805: outcomes combine with those of users by mode, `negate` inverts an outcome and no failure, and
/// superusers are asked like everybody.
#[tokio::test]
async fn co_173_failures_count_as_their_bindings_say() {
    let stage = Stage::new().await;
    for (source, negate, failure_result, passing) in [
        ("yes", false, false, true),
        ("yes", true, true, false),
        ("no", false, true, false),
        ("no", true, false, true),
        ("fail boom", false, false, false),
        ("fail boom", true, false, false),
        ("fail boom", false, true, true),
        ("fail boom", true, true, true),
    ] {
        let more = json!({"negate": negate, "failure_result": failure_result});
        let (policy, binding) = stage.bind(0, source, more).await;
        assert_eq!(stage.passes().await, passing, "{source} {negate} {failure_result}");
        let own = stage.site.get("/core/applications/wiki/check_access/").await;
        assert_eq!(own["passing"], passing, "the administrator");
        stage.site.delete(&binding).await;
        stage.site.delete(&policy).await;
    }
    stage.bind(0, "no", json!({})).await;
    stage.site.post("/policies/bindings/", json!({"target": stage.target, "order": 1, "user": stage.ada})).await;
    assert!(stage.passes().await, "any");
    stage.site.patch("/core/applications/wiki/", json!({"policy_engine_mode": "all"})).await;
    assert!(!stage.passes().await, "all");
}

/// CO-138, CO-140, CO-174, CO-175: every binding is asked and explained in order to superusers, and others learn
/// nothing but the answer.
#[tokio::test]
async fn co_138_every_binding_is_explained_to_superusers() {
    let stage = Stage::new().await;
    stage.bind(5, "yes third", json!({})).await;
    stage.bind(1, "no first", json!({"negate": true})).await;
    stage.bind(3, "fail second", json!({})).await;
    stage.bind(4, "log looked", json!({})).await;
    stage.bind(9, "yes unheard", json!({"enabled": false})).await;
    let staff = stage.site.post("/core/groups/", json!({"name": "staff"})).await["pk"].clone();
    for (order, member) in [(7, json!({"group": staff})), (8, json!({"user": stage.ada}))] {
        let mut body = json!({"target": stage.target, "order": order});
        body.as_object_mut().unwrap().extend(member.as_object().unwrap().clone());
        stage.site.post("/policies/bindings/", body).await;
    }
    let found = stage.check().await;
    assert_eq!(found.messages, ["first", "second", "third"]);
    let lines: Vec<_> = found.log_messages.iter().map(|line| line.event.as_str()).collect();
    assert_eq!(
        lines,
        [
            "Binding #1 policy \"no first at 1\": does not pass, inverted: passes",
            "Binding #3 policy \"fail second at 3\": could not be evaluated (second), so that failure_result counts: does not pass",
            "looked",
            "Binding #4 policy \"log looked at 4\": passes",
            "Binding #5 policy \"yes third at 5\": passes",
            "Binding #7 group \"staff\": ada is no member: does not pass",
            "Binding #8 user \"ada\": ada is this user: passes",
            "ada may use the application",
        ]
    );
    assert_eq!(found.log_messages[0].attributes["passing"], true);
    stage.site.delete(&format!("/core/groups/{}/", staff.as_str().unwrap())).await;
    let told = stage.check().await.log_messages;
    let orphan = "Binding #7: what it named was deleted, so that it denies";
    assert!(told.iter().any(|line| line.event == orphan), "{told:?}");
    let (status, own) = stage.site.send(&stage.key, Method::GET, "/core/applications/wiki/check_access/", None).await;
    assert_eq!((status.as_u16(), own), (200, json!({"passing": true, "messages": [], "log_messages": []})));
}

/// CO-178, CO-243, CO-416: logged executions, failures and events of policies are recorded once per evaluation.
#[tokio::test]
async fn co_178_executions_and_failures_are_recorded() {
    let stage = Stage::new().await;
    let (quiet, _) = stage.bind(0, "yes fine", json!({})).await;
    stage.bind(1, "fail boom", json!({"failure_result": true})).await;
    stage.bind(2, "event seen", json!({})).await;
    stage.check().await;
    assert!(stage.site.events("policy_execution").await.is_empty());
    let failed = stage.site.events("policy_exception").await;
    assert_eq!((failed.len(), &failed[0]["message"], &failed[0]["exception"]), (1, &json!("boom"), &json!("boom")));
    assert_eq!(failed[0]["request"]["user"]["name"], "ada");
    assert_eq!(failed[0]["request"]["obj"]["name"], "wiki");
    assert_eq!(failed[0]["http_request"]["request_id"], "0123456789abcdef0123456789abcdef");
    let seen = stage.site.events("custom_seen").await;
    assert_eq!(
        (seen.len(), &seen[0]["what"], &seen[0]["password"]),
        (1, &json!("seen"), &json!("********************"))
    );
    stage.site.patch(&quiet, json!({"execution_logging": true})).await;
    stage.check().await;
    stage.check().await;
    let logged = stage.site.events("policy_execution").await;
    assert_eq!(logged.len(), 2);
    assert_eq!(logged[0]["result"], json!({"passing": true, "messages": ["fine"], "raw_result": true}));
    assert_eq!(stage.site.events("policy_exception").await.len(), 3);
}

/// CO-181, CO-231: a policy knows the user, the application with its provider, the address and the request; what no
/// database of places tells it is absent.
#[tokio::test]
async fn co_181_policies_know_what_they_are_asked_about() {
    let stage = Stage::new().await;
    stage.bind(0, "yes", json!({})).await;
    stage.check().await;
    let asked = stage.script.0.lock().unwrap().pop().unwrap();
    assert_eq!(asked.person.as_ref().unwrap().account.username, "ada");
    assert_eq!(asked.application.as_ref().unwrap().slug, "wiki");
    assert_eq!(asked.provider.as_ref().unwrap().name, "wiki");
    assert_eq!(asked.client.unwrap().to_string(), "192.0.2.7");
    let http = asked.http.as_ref().unwrap();
    assert_eq!((http.method.as_str(), http.host.as_str(), http.scheme.as_str()), ("GET", "id.example", "https"));
    assert_eq!(http.path, "/api/v3/core/applications/wiki/check_access/");
    assert!(http.headers.iter().all(|(name, _)| name != "authorization"));
    assert!(asked.context.is_empty() && !asked.debug);
}

/// CO-242: policies ask each other by name; a circle and an unknown name are failures.
#[tokio::test]
async fn co_242_policies_call_each_other() {
    let stage = Stage::new().await;
    let make = async |name: &str, source: &str| {
        stage.site.post("/policies/expression/", json!({"name": name, "expression": source})).await["pk"].clone()
    };
    make("inner", "no inner").await;
    let outer = make("outer", "call inner").await;
    make("ping", "call pong").await;
    let ping = make("pong", "call ping").await;
    let lost = make("lost", "call nobody").await;
    let test = async |pk: &Value| -> Value {
        let path = format!("/policies/all/{}/test/", pk.as_str().unwrap());
        let (status, found) = stage.site.send(ADMIN, Method::POST, &path, Some(json!({"user": stage.ada}))).await;
        assert_eq!(status, 200, "{found}");
        found["messages"].clone()
    };
    assert_eq!(test(&outer).await, json!(["inner"]));
    assert_eq!(test(&ping).await, json!(["Policy \"pong\" calls itself."]));
    assert_eq!(test(&lost).await, json!(["There is no policy named \"nobody\"."]));
    let mut last = Value::Null;
    for depth in 0..6 {
        let source = if depth == 0 { "yes deep".to_owned() } else { format!("call deep{}", depth - 1) };
        last = make(&format!("deep{depth}"), &source).await;
    }
    assert_eq!(test(&last).await, json!(["Policies call each other more than 5 deep."]));
}

/// CO-176: a policy that does not end is ended at its time, and somebody deactivated is not asked about.
#[tokio::test]
async fn co_176_a_policy_that_does_not_end_is_ended() {
    let stage = Stage::new().await;
    stage.bind(0, "never", json!({"timeout": 1, "failure_result": true})).await;
    let found = stage.check().await;
    assert!(found.passing);
    assert_eq!(found.messages, ["The policy was not finished within 1 seconds."]);
    let asked = stage.script.0.lock().unwrap().len();
    stage.site.patch(&format!("/core/users/{}/", stage.ada), json!({"is_active": false})).await;
    assert!(!stage.passes().await);
    assert_eq!(stage.script.0.lock().unwrap().len(), asked);
}
