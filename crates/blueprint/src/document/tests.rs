use std::collections::HashMap;

use serde_json::json;

use super::*;
use crate::resolve::Answer;

/// A world with a few objects, variables and files.
#[derive(Default)]
struct Few {
    keys: HashMap<String, Value>,
    nothing: Vec<(usize, &'static str)>,
}

impl World for Few {
    fn key_of(&self, id: &str) -> Option<Value> {
        self.keys.get(id).cloned()
    }
    fn find<'a>(&'a mut self, model: &'a str, conditions: &'a [(String, Value)]) -> Answer<'a, Value> {
        Box::pin(async move {
            match (model, conditions) {
                ("authentik_core.group", [(field, Value::String(name))]) if field == "name" && name == "admins" => {
                    Ok(json!("key-of-admins"))
                }
                ("authentik_core.group", _) => Ok(Value::Null),
                _ => Err(format!("The model '{model}' is not known.")),
            }
        })
    }
    fn find_object<'a>(&'a mut self, model: &'a str, conditions: &'a [(String, Value)]) -> Answer<'a, Value> {
        Box::pin(async move {
            Ok(match self.find(model, conditions).await? {
                Value::Null => Value::Null,
                pk => json!({"pk": pk, "name": "admins"}),
            })
        })
    }
    fn env(&mut self, name: &str) -> Result<Option<String>, String> {
        match name {
            "SET" => Ok(Some("from env".to_owned())),
            "EMPTY" => Ok(Some(String::new())),
            "PORTCULLIS_SECRET_KEY" => Err("That variable may not be read.".to_owned()),
            _ => Ok(None),
        }
    }
    fn file(&mut self, path: &str) -> Result<Option<String>, String> {
        match path {
            "/run/secrets/one" => Ok(Some(" content\n".to_owned())),
            "/etc/passwd" => Err("That file may not be read.".to_owned()),
            _ => Ok(None),
        }
    }
    fn came_to_nothing(&mut self, line: usize, tag: &'static str) {
        self.nothing.push((line, tag));
    }
}

fn entry_of(value: &str) -> String {
    let value = value.replace('\n', "\n      ");
    format!(
        "version: 1\ncontext: {{given: {{a: 1}}, nested: !Env SET, list: [x, y]}}\nentries:\n  - model: m\n    identifiers: {{name: n}}\n    attrs:\n      v: {value}\n"
    )
}

async fn resolve(text: &str) -> Result<Option<Resolved>, Fault> {
    let blueprint = Blueprint::read(text)?;
    let built_in = json!({"given": {"b": 2}, "below": "yes"}).as_object().unwrap().clone();
    let instance = json!({"given": {"a": 9}}).as_object().unwrap().clone();
    let context = blueprint.context(built_in, instance);
    let mut world = Few { keys: HashMap::from([("earlier".to_owned(), json!(7))]), ..Few::default() };
    blueprint.entries[0].resolve(&mut world, &context, &mut Budget::default()).await
}

async fn value(text: &str) -> Result<Value, Fault> {
    Ok(resolve(&entry_of(text)).await?.unwrap().attrs["v"].clone())
}

/// CO-726, CO-728: every tag has its value.
#[tokio::test]
async fn co_726_every_tag_has_its_value() {
    for (text, expected) in [
        ("!KeyOf earlier", json!(7)),
        ("!Find [authentik_core.group, [name, admins]]", json!("key-of-admins")),
        ("!Find [authentik_core.group, [name, nobody]]", json!(null)),
        ("!Find [!Format [\"%s.group\", authentik_core], [name, !Context [absent, admins]]]", json!("key-of-admins")),
        ("!FindObject [authentik_core.group, [name, admins]]", json!({"pk": "key-of-admins", "name": "admins"})),
        ("!AtIndex [!FindObject [authentik_core.group, [name, admins]], name]", json!("admins")),
        ("!Context given", json!({"b": 2, "a": 9})),
        ("!Context nested", json!("from env")),
        ("!Context absent", json!(null)),
        ("!Context [absent, !Env [UNSET, deep]]", json!("deep")),
        ("!Env SET", json!("from env")),
        ("!Env [EMPTY, other]", json!("other")),
        ("!File /run/secrets/one", json!("content")),
        ("!File [/absent, [1]]", json!([1])),
        ("!ParseJSON '{\"a\": [1, null]}'", json!({"a": [1, null]})),
        ("!Format [\"%s-%d\", a, 1]", json!("a-1")),
        ("!If [yes]", json!(true)),
        ("!If [!Env UNSET, 1, 2]", json!(2)),
        ("!Condition [OR, !File /absent, !Env EMPTY]", json!(false)),
        ("!If [!Context absent, 1, 2]", json!(2)),
        ("!If [true, {a: !Env SET}, 2]", json!({"a": "from env"})),
        ("!Condition [AND, yes, 1]", json!(true)),
        ("!Condition [NAND, yes, 0]", json!(true)),
        ("!Condition [OR, '', []]", json!(false)),
        ("!Condition [NOR, '', {}]", json!(true)),
        ("!Condition [XOR, 1, 1, 1]", json!(true)),
        ("!Condition [XNOR, 1, 1]", json!(true)),
        ("!Enumerate [!Context list, SEQ, !Format [\"%d%s\", !Index 0, !Value 0]]", json!(["0x", "1y"])),
        ("!Enumerate [{a: 1, b: 2}, MAP, [!Value 0, !Index 0]]", json!({"1": "a", "2": "b"})),
        ("!Enumerate [[{a: {x: 1}}, {a: {y: 2}}], MAP, !Value 0]", json!({"a": {"x": 1, "y": 2}})),
        (
            "!Enumerate [[[1, 2], [3]], SEQ, !Enumerate [!Value 1, SEQ, [!Index 1, !Value 0]]]",
            json!([[[0, 1], [0, 2]], [[1, 3]]]),
        ),
        ("!AtIndex [[1, 2], 1]", json!(2)),
        ("!AtIndex [[1, 2], -1]", json!(2)),
        ("!AtIndex [{a: 1}, b, none]", json!("none")),
    ] {
        assert_eq!(value(text).await, Ok(expected), "{text}");
    }
}

/// CO-726, CO-727, CO-729: a tag that cannot be worked out says so, with its line.
#[tokio::test]
async fn co_726_a_tag_that_cannot_be_worked_out_is_an_error() {
    for text in [
        "!KeyOf later",
        "!KeyOf [a]",
        "!Find [unknown.model, [name, x]]",
        "!Find [authentik_core.group]",
        "!Find authentik_core.group",
        "!FindObject [unknown.model, [name, x]]",
        "!Context [a, b, c]",
        "!Env EMPTY",
        "!Env UNSET",
        "!File /absent",
        "!Format [\"%s\", !Env UNSET]",
        "!If [yes, !Env UNSET, 1]",
        "!Env PORTCULLIS_SECRET_KEY",
        "!Env [PORTCULLIS_SECRET_KEY, default]",
        "!File /etc/passwd",
        "!ParseJSON '{'",
        "!Format [\"%s\"]",
        "!Format x",
        "!If []",
        "!If [1, 2]",
        "!Condition [AND]",
        "!Condition [MAYBE, 1]",
        "!Enumerate [1, SEQ, x]",
        "!Enumerate [[1], SET, x]",
        "!Enumerate [[1], MAP, x]",
        "!Enumerate [[1], MAP, [1, 2, 3]]",
        "!Enumerate [!Value 0, SEQ, x]",
        "!Enumerate [[!Index 0], SEQ, x]",
        "!Index 0",
        "!Value -1",
        "!Enumerate [[1], SEQ, !Value 1]",
        "!AtIndex [[1], 5]",
        "!AtIndex [{}, a]",
        "!AtIndex [1]",
        "!Unknown x",
    ] {
        let fault = value(text).await.expect_err(text);
        assert_eq!(fault.line, 7, "{text}: {fault}");
    }
}

/// CO-728: a context that leads to itself is an error, and so is one that comes to more than anybody needs.
#[tokio::test]
async fn co_728_a_context_ends() {
    let text = |context: &str| {
        format!("version: 1\ncontext: {context}\nentries: [{{model: m, identifiers: {{a: !Context a}}}}]\n")
    };
    assert!(resolve(&text("{a: {b: !Context a}}")).await.unwrap_err().message.contains("itself"));
    let long =
        format!("{{b: [{}], a: {}x{}}}", "1,".repeat(300), "!Enumerate [!Context b, SEQ, ".repeat(3), "]".repeat(3));
    assert!(resolve(&text(&long)).await.unwrap_err().message.contains("values"));
}

/// CO-720: what tags copy counts with all that is in it, values and bytes, however it comes about.
#[tokio::test]
async fn co_720_copies_of_copies_end() {
    let doubled =
        (0..40).fold("[[x, x]]".to_owned(), |inner, _| format!("!Enumerate [{inner}, SEQ, [!Value 0, !Value 0]]"));
    assert!(doubled.len() < 2_000);
    let fault = value(&doubled).await.unwrap_err();
    assert!(fault.message.contains("values") && fault.line == 7, "{fault}");
    let many = "1, ".repeat(900);
    let text = "x".repeat(20_000);
    for tag in [
        format!("!Enumerate [[{many}], SEQ, {text}]"),
        format!("!Enumerate [[{many}], SEQ, !ParseJSON '\"{text}\"']"),
        format!("!Enumerate [[{many}], SEQ, !AtIndex [{{a: {text}}}, a]]"),
        format!("!Enumerate [[{many}], SEQ, !Format [\"%s\", {text}]]"),
        format!("!Enumerate [[{many}], MAP, [!Index 0, {text}]]"),
    ] {
        let fault = value(&tag).await.unwrap_err();
        assert!(fault.message.contains("bytes of text"), "{fault}");
    }
    let json = format!("!Enumerate [[{many}], SEQ, !ParseJSON \"[{}]\"]", ["1"; 900].join(","));
    assert!(value(&json).await.unwrap_err().message.contains("values"));
    let found = format!("!Enumerate [[{many}], SEQ, !Enumerate [[{many}], SEQ, !KeyOf earlier]]");
    assert!(value(&found).await.unwrap_err().message.contains("values"));
}

/// CO-720: the entries of a document share what it may come to.
#[tokio::test]
async fn co_720_entries_share_a_budget() {
    let entry = format!("- {{model: m, identifiers: {{a: !Enumerate [[{}], SEQ, !Value 0]}}}}\n", "1, ".repeat(9_000));
    let blueprint = Blueprint::read(&format!("version: 1\nentries:\n{entry}")).unwrap();
    let (mut world, mut budget) = (Few::default(), Budget::default());
    let context = blueprint.context(Map::new(), Map::new());
    let mut done = 0;
    let fault = loop {
        match blueprint.entries[0].resolve(&mut world, &context, &mut budget).await {
            Ok(_) => done += 1,
            Err(fault) => break fault,
        }
    };
    assert!(done > 5 && done < 100, "{done}");
    assert_eq!(fault.line, 3);
}

/// CO-726: no error holds what came of a tag, which may be a secret.
#[tokio::test]
async fn co_726_errors_keep_values_to_themselves() {
    const SECRET: &str = "content";
    for tag in [
        "!Format [\"%d\", !File /run/secrets/one]",
        "!Format [\"%x\", [!File /run/secrets/one]]",
        "!Format [!Format [\"%%%s\", !File /run/secrets/one], 1]",
        "!AtIndex [{a: 1}, !File /run/secrets/one]",
        "!Enumerate [!File /run/secrets/one, SEQ, 1]",
    ] {
        let fault = value(tag).await.unwrap_err();
        assert!(!fault.message.contains(SECRET), "{tag}: {fault}");
    }
    let state = "version: 1\nentries:\n- {model: m, state: !File /run/secrets/one, identifiers: {a: 1}}\n";
    assert!(!resolve(state).await.unwrap_err().message.contains(SECRET));
    let number = value("!Format [\"%d\", a text]").await.unwrap_err();
    assert_eq!(number.message, "!Format: '%d' needs a number, not a text.");
}

/// CO-725: an entry whose conditions do not all hold is passed over, whatever else is in it.
#[tokio::test]
async fn co_725_conditions_decide() {
    let entry = |conditions: &str| {
        format!(
            "version: 1\nentries:\n- model: m\n  conditions: {conditions}\n  identifiers: {{a: 1}}\n  attrs: {{b: !KeyOf later}}\n"
        )
    };
    assert_eq!(resolve(&entry("[yes, 0]")).await, Ok(None));
    assert!(resolve(&entry("[yes, !Env SET]")).await.is_err());
}

/// CO-720, CO-721: members of blueprints and entries, sections in their order.
#[tokio::test]
async fn co_721_an_entry_is_read_whole() {
    let text = "version: 1\nmetadata: {name: Mine, labels: {a/b: \"false\", n: 1}}\nentries:\n  first:\n  - model: Authentik_Core.User\n    id: ada\n    state: must_created\n    identifiers: {username: ada}\n    permissions: [{permission: authentik_core.view_user, role: !KeyOf earlier}]\n  second:\n  - {model: m, identifiers: {a: 1}}\n";
    let blueprint = Blueprint::read(text).unwrap();
    assert_eq!(blueprint.metadata.name, "Mine");
    assert_eq!((blueprint.metadata.label("a/b"), blueprint.metadata.label("n")), (Some("false"), Some("1")));
    assert_eq!(blueprint.entries.iter().map(|entry| entry.line).collect::<Vec<_>>(), [5, 11]);
    assert_eq!(blueprint.entries[0].id.as_deref(), Some("ada"));
    let resolved = resolve(text).await.unwrap().unwrap();
    assert_eq!((resolved.model.as_str(), resolved.state), ("authentik_core.user", State::MustCreated));
    assert_eq!(
        resolved.permissions,
        [Permission { permission: "authentik_core.view_user".to_owned(), user: None, role: Some(json!(7)) }]
    );
}

/// CO-720, CO-721: what is no blueprint is refused with its line.
#[test]
fn co_720_what_is_no_blueprint_is_refused() {
    for (text, line) in [
        ("[]", 1),
        ("entries: []", 1),
        ("version: 2\nentries: []", 1),
        ("version: 1\n", 1),
        ("version: 1\nentries: 5", 2),
        ("version: 1\nentries: {a: 5}", 2),
        ("version: 1\nentries:\n- 5", 3),
        ("version: 1\nentries:\n- identifiers: {a: 1}", 3),
        ("version: 1\nentries:\n- model: m", 3),
        ("version: 1\nentries:\n- model: m\n  identifiers: {}", 4),
        ("version: 1\nentries:\n- {model: m, identifiers: {a: 1}, conditions: 1}", 3),
        ("version: 1\ncontext: []\nentries: []", 2),
    ] {
        let fault = Blueprint::read(text).unwrap_err();
        assert_eq!(fault.line, line, "{text:?}: {fault}");
    }
}

/// CO-721: a name that means nothing in a blueprint or an entry is refused with its line, and with what was meant; what is for
/// anchors alone is not.
#[test]
fn co_721_names_without_a_meaning_are_refused() {
    let entry = |more: &str| format!("version: 1\nentries:\n- model: m\n  identifiers: {{a: 1}}\n  {more}\n");
    for (text, line, told) in [
        (
            "version: 1\nmetmaryta: {}\nentries: []".to_owned(),
            2,
            "'metmaryta' is not known in a blueprint: did you mean 'metadata'?",
        ),
        (entry("attr: {b: 1}"), 5, "'attr' is not known in an entry: did you mean 'attrs'?"),
        (entry("sate: absent"), 5, "'sate' is not known in an entry: did you mean 'state'?"),
        (entry("condition: [false]"), 5, "'condition' is not known in an entry: did you mean 'conditions'?"),
        (entry("identifers: {a: 1}"), 5, "'identifers' is not known in an entry: did you mean 'identifiers'?"),
        (entry("colour: red"), 5, "'colour' is not known in an entry."),
    ] {
        let fault = Blueprint::read(&text).unwrap_err();
        assert_eq!((fault.line, fault.message.as_str()), (line, told));
    }
    assert!(Blueprint::read(&format!("x-common: &c {{b: 1}}\n{}", entry("attrs: *c"))).is_ok());
}

/// CO-723, CO-726: what is lacking for an object that may be there already is told, and no error yet.
#[tokio::test]
async fn co_723_what_is_lacking_waits_for_what_is_there() {
    let entry = |state: &str| {
        let attrs = "attrs: {a: !Env SET, b: !Env UNSET}";
        format!("version: 1\nentries:\n- model: m\n  identifiers: {{a: 1}}\n  state: {state}\n  {attrs}\n")
    };
    for state in ["created", "absent"] {
        let lacking = resolve(&entry(state)).await.unwrap().unwrap().lacking.unwrap();
        let told = "!Env: the variable UNSET is not there or empty, and the tag names no default.";
        assert_eq!((lacking.line, lacking.message.as_str()), (6, told));
    }
    for state in ["present", "must_created"] {
        assert_eq!(resolve(&entry(state)).await.unwrap_err().line, 6, "{state}");
    }
}

/// CO-723: states are four.
#[tokio::test]
async fn co_723_states_are_four() {
    let entry = |state: &str| format!("version: 1\nentries:\n- {{model: m, state: {state}, identifiers: {{a: 1}}}}\n");
    for (word, state) in [
        ("present", State::Present),
        ("created", State::Created),
        ("must_created", State::MustCreated),
        ("absent", State::Absent),
        ("!If [yes, absent, present]", State::Absent),
    ] {
        assert_eq!(resolve(&entry(word)).await.unwrap().unwrap().state, state);
    }
    assert!(resolve(&entry("gone")).await.is_err());
}

proptest::proptest! {
    /// CO-720: no text makes the reader panic, hang or grow.
    #[test]
    fn co_720_any_text_is_read_or_refused(text in "[-:{}\\[\\]!&*a-z0-9 \n'\"|<,#]{0,200}") {
        let _ = Blueprint::read(&text);
        let _ = Blueprint::read(&format!("version: 1\nentries:\n{text}"));
    }
}
