//! Runs the expressions in `cases/`, whose format `cases/README.md` describes.

mod world;

use std::{fmt::Write, time::Duration};

use crate::{Budget, FlowChange, Limits, Options, Outcome, Program, RunError, RunErrorKind};
use world::World;

struct Case {
    title: String,
    words: String,
    source: String,
    expected: Vec<String>,
}

fn read(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("=== ") {
            cases.push(Case {
                title: title.to_owned(),
                words: String::new(),
                source: String::new(),
                expected: Vec::new(),
            });
            continue;
        }
        let Some(case) = cases.last_mut() else { continue };
        if let Some(words) = line.strip_prefix("with: ") {
            case.words = words.to_owned();
        } else if let Some(expected) = line.strip_prefix("--- ") {
            case.expected.push(expected.to_owned());
        } else if case.expected.is_empty() {
            case.source.push_str(line);
            case.source.push('\n');
        }
    }
    for case in &mut cases {
        case.source.truncate(case.source.trim_end().len());
    }
    cases
}

/// What a case came to, in the words of the files.
fn tell(case: &Case) -> Vec<String> {
    let words: Vec<&str> = case.words.split_whitespace().collect();
    let options = Options { dns: !words.contains(&"no-dns"), ..Options::default() };
    let program = match Program::compile(&case.source, World::situation(&words), &options) {
        Ok(program) => program,
        Err(error) => {
            let hint = error.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
            return vec![format!("refused: line {}: {}{hint}", error.line, error.message)];
        }
    };
    let world = World::of(&words);
    let limits = Limits {
        result: 4096,
        messages: 3,
        log_lines: 5,
        events: 2,
        io_calls: 8,
        // Steps are what is counted; a busy machine must not make time of it.
        compute: Duration::from_secs(10),
        ..Limits::default()
    };
    let first = program.run(&world.inputs, &world, &Budget::new(limits));
    // Nothing of the first run may be visible in a second (CO-227), and its result must be the same (CO-226).
    let second = program.run(&world.inputs, &world, &Budget::new(limits));
    assert_eq!(first, second, "{}", case.title);
    match first {
        Ok(outcome) => tell_outcome(&outcome),
        Err(error) => vec![tell_error(&error)],
    }
}

fn tell_error(error: &RunError) -> String {
    let line = error.line.map_or_else(|| "?".to_owned(), |line| line.to_string());
    format!("error: line {line}: {}", error.message())
}

fn tell_outcome(outcome: &Outcome) -> Vec<String> {
    let mut told = vec![format!("value: {}", outcome.value)];
    told.extend(outcome.messages.iter().map(|message| format!("message: {message}")));
    for line in &outcome.log_lines {
        let mut text = format!("log: {} {}", line.level.as_str(), line.message);
        for (key, value) in &line.fields {
            let _ = write!(text, " {key}={value}");
        }
        told.push(text);
    }
    for event in &outcome.events {
        told.push(format!("event: {} {}", event.action, serde_json::Value::Object(event.context.clone())));
    }
    told.extend(outcome.flow_changes.iter().map(|change| match change {
        FlowChange::Set(key, value) => format!("flow: {key} = {value}"),
        FlowChange::Remove(key) => format!("flow: {key} removed"),
        FlowChange::PendingUser(pk) => format!("flow: pending_user is {pk}"),
    }));
    told
}

fn run(name: &str, text: &str) {
    let cases = read(text);
    assert!(!cases.is_empty(), "{name} has no cases");
    // What takes long must not be taken for what fills the memory.
    let _turn = crate::acceptance::MEMORY.blocking_lock();
    let mut wrong = String::new();
    for case in &cases {
        let told = tell(case);
        // `value: true` is also what a case without a value says.
        let matches = told.len() == case.expected.len()
            && told.iter().zip(&case.expected).all(|(told, expected)| match expected.strip_suffix('…') {
                Some(start) => told.starts_with(start),
                None => told == expected,
            });
        if !matches {
            let _ = writeln!(wrong, "\n=== {}\nwith: {}\n{}", case.title, case.words, case.source);
            for line in told {
                let _ = writeln!(wrong, "--- {line}");
            }
        }
    }
    assert!(wrong.is_empty(), "{name}: these came to something else:\n{wrong}");
}

/// CO-221, CO-222: the language runs as it is known from Python, imports of what is built in and `yield` included.
#[test]
fn co_221_language() {
    run("language.txt", include_str!("../cases/language.txt"));
}

/// CO-221: what others write runs, and comes to what Python says.
#[test]
fn co_221_python() {
    run("python.txt", include_str!("../cases/python.txt"));
}

/// CO-232, CO-233, CO-234, CO-237: users, groups, roles and entitlements have their members, and collections their methods.
#[test]
fn co_232_users() {
    run("users.txt", include_str!("../cases/users.txt"));
}

/// CO-231, CO-238: the request and the HTTP request have their members, and no credentials among them.
#[test]
fn co_231_requests() {
    run("requests.txt", include_str!("../cases/requests.txt"));
}

/// CO-235: addresses and networks compare and contain one another.
#[test]
fn co_235_addresses() {
    run("addresses.txt", include_str!("../cases/addresses.txt"));
}

/// CO-236: points in time compare, and their difference is a number of seconds.
#[test]
fn co_236_instants() {
    run("instants.txt", include_str!("../cases/instants.txt"));
}

/// CO-240, CO-241, CO-242, CO-243, CO-244, CO-245: helpers do what they are for, and say what is wrong with what they are given.
#[test]
fn co_242_helpers() {
    run("helpers.txt", include_str!("../cases/helpers.txt"));
}

/// CO-230: mappings make claims, and names without a value do not exist.
#[test]
fn co_230_mappings() {
    run("mappings.txt", include_str!("../cases/mappings.txt"));
}

/// CO-246: permitted changes to the context of a flow come back, others do not.
#[test]
fn co_246_flows() {
    run("flows.txt", include_str!("../cases/flows.txt"));
}

/// CO-220, CO-224: errors are told with the line that was typed, each limit with its own.
#[test]
fn co_220_errors() {
    run("errors.txt", include_str!("../cases/errors.txt"));
}

/// CO-223, CO-239: what does not run is refused when it is saved, with its line and what to write instead.
#[test]
fn co_223_refused() {
    run("refused.txt", include_str!("../cases/refused.txt"));
}

/// CO-229, CO-800: no attribute leads to a secret, a class, a file or the machinery.
#[test]
fn co_229_secrets() {
    run("secrets.txt", include_str!("../cases/secrets.txt"));
}

/// CO-222: what is edited before it is compiled means what it meant.
#[test]
fn co_222_edits() {
    run("edits.txt", include_str!("../cases/edits.txt"));
}

/// CO-800: expressions that are broken at random are refused or evaluated; nothing falls over.
///
/// `PORTCULLIS_FUZZ_ROUNDS` multiplies how many are tried.
#[test]
fn co_800_mutated_expressions_do_no_harm() {
    let rounds = std::env::var("PORTCULLIS_FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let corpus = [
        include_str!("../cases/language.txt"),
        include_str!("../cases/python.txt"),
        include_str!("../cases/edits.txt"),
        include_str!("../cases/users.txt"),
        include_str!("../cases/flows.txt"),
        include_str!("../cases/instants.txt"),
        include_str!("../cases/addresses.txt"),
    ];
    let cases: Vec<Case> = corpus.iter().flat_map(|text| read(text)).collect();
    let words = ["alice", "http", "flow", "password"];
    let world = World::of(&words);
    let limits = Limits { steps: 1000, compute: Duration::from_millis(200), ..Limits::default() };
    // A generator of our own: the same sequence everywhere, and nothing to depend on.
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below.max(1) as u64).unwrap()
    };
    for _ in 0..2000 * rounds {
        let mut pieces: Vec<&str> = Vec::new();
        for _ in 0..=random(2) {
            pieces.extend(cases[random(cases.len())].source.split_inclusive(|char: char| !char.is_alphanumeric()));
        }
        for _ in 0..random(6) {
            let (from, to) = (random(pieces.len()), random(pieces.len()));
            match random(3) {
                _ if pieces.len() < 2 => {}
                0 => drop(pieces.remove(from)),
                1 => pieces.insert(to, pieces[from]),
                _ => pieces.swap(from, to),
            }
        }
        let source = pieces.concat();
        match Program::compile(&source, World::situation(&words), &Options::default()) {
            Err(error) => assert_ne!(error.message, "the parser failed", "{source}"),
            Ok(program) => {
                if let Err(error) = program.run(&world.inputs, &world, &Budget::new(limits)) {
                    assert_ne!(error.kind, RunErrorKind::Interpreter, "{source}");
                }
            }
        }
    }
}
