//! What holds for evaluations as a whole: limits under load, repeatability, panics.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Mutex, time::Instant};

use crate::{
    Budget, Inputs, Limit, Limits, Options, Outcome, Pool, PoolError, Program, Programs, RunError, RunErrorKind,
    Situation, User, testing::Nobody,
};

/// The size of the process is one for all tests, so those that look at it take turns.
pub(crate) static MEMORY: Mutex<()> = Mutex::const_new(());

fn program(source: &str) -> Program {
    Program::compile(source, Situation::Policy, &Options::default()).unwrap()
}

fn run_within(source: &str, limits: Limits) -> Result<Outcome, RunError> {
    program(source).run(&Inputs::default(), &Nobody, &Budget::new(limits))
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB").trim();
    line.trim_end_matches("kB").trim().parse::<usize>().unwrap() * 1024
}

/// CO-225: the three acceptance programs fail in time, take little memory and disturb nobody.
///
/// They run on the pool beside small policies, all of which pass.
#[tokio::test]
async fn co_225_hostile_programs_fail_and_disturb_nobody() {
    let guard = MEMORY.lock().await;
    let pool = Pool::new(4, 64);
    let hostile = [
        ("return \"x\" * 20000000000", vec![Limit::Memory]),
        ("n = 0\nfor i in range(10000000):\n    n += 1\nreturn n", vec![Limit::Steps, Limit::Time]),
        ("def f(n):\n    return f(n + 1) if n < 1000 else n\nreturn f(0)", vec![Limit::Depth]),
    ];
    let before = resident();
    let started = Instant::now();
    let mut jobs = Vec::new();
    for (source, expected) in hostile {
        let pool = pool.clone();
        jobs.push(tokio::spawn(async move {
            let job = move || run_within(source, Limits::default());
            let error = pool.run(Duration::from_secs(30), job).await.unwrap().unwrap_err();
            let RunErrorKind::Limit(limit) = error.kind else { panic!("{error:?}") };
            assert!(expected.contains(&limit), "{source}: {error}");
        }));
    }
    for _ in 0..50 {
        let job = || run_within("return sum([n for n in range(100)]) == 4950", Limits::default());
        let outcome = pool.run(Duration::from_secs(30), job).await.unwrap().unwrap();
        assert!(outcome.truthy);
    }
    for job in jobs {
        job.await.unwrap();
    }
    // A second of computing is allowed and two more in all; on a busy machine a second has less in it.
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    assert!(resident().saturating_sub(before) < 64 << 20);
    drop(guard);
}

/// CO-224: many small values are limited as one large one is.
#[test]
fn co_224_memory_is_limited_in_small_pieces_too() {
    let guard = MEMORY.blocking_lock();
    let before = resident();
    let source = "kept = []\nwhile True:\n    kept.append(str(len(kept)) * 9000)";
    let limits = Limits { compute: Duration::from_secs(10), ..Limits::default() };
    let error = run_within(source, limits).unwrap_err();
    assert_eq!(error.kind, RunErrorKind::Limit(Limit::Memory), "{error}");
    // The size of what was freed stays with the process for a while, but it is bounded.
    assert!(resident().saturating_sub(before) < 128 << 20);
    drop(guard);
}

/// CO-225: lists that the interpreter makes at one go are bounded, however many evaluations want them at once.
#[tokio::test]
async fn co_225_what_is_found_at_one_go_is_bounded() {
    let guard = MEMORY.lock().await;
    let source = "import re\nt = 'a ' * 3900000\nx = []\nfor i in range(1000):\n    x.append(re.findall('a', t))";
    let pool = Pool::new(4, 64);
    let before = resident();
    let jobs: Vec<_> = (0..8)
        .map(|_| {
            let pool = pool.clone();
            let job = move || run_within(source, Limits::default());
            tokio::spawn(async move { pool.run(Duration::from_secs(30), job).await.unwrap().unwrap_err() })
        })
        .collect();
    for job in jobs {
        let error = job.await.unwrap();
        assert!(error.message().starts_with("MemoryError: findall() takes texts of up to 262144 "), "{error}");
        assert!(resident().saturating_sub(before) < 128 << 20);
    }
    drop(guard);
}

/// CO-224: each limit has an error of its own.
#[test]
fn co_224_each_limit_has_its_own_error() {
    let guard = MEMORY.blocking_lock();
    let nested = "def f(n):\n    return 0 if n == 0 else f(n - 1)\nreturn f(30)";
    let base = Limits { compute: Duration::from_secs(10), ..Limits::default() };
    for (source, limits, limit) in [
        ("while True: pass", Limits { steps: 100, ..base }, Limit::Steps),
        (nested, Limits { depth: 20, ..base }, Limit::Depth),
        ("return 'x' * 500000", Limits { memory: 400_000, ..base }, Limit::Memory),
        ("while True: pass", Limits { compute: Duration::from_millis(5), ..Limits::default() }, Limit::Time),
        ("return now()", Limits { wall: Duration::ZERO, ..base }, Limit::Time),
        ("return 'x' * 100", Limits { result: 50, ..base }, Limit::Result),
        ("return ak_user_by(pk=1)", Limits { io_calls: 0, ..base }, Limit::IoCalls),
    ] {
        let error = run_within(source, limits).unwrap_err();
        assert_eq!(error.kind, RunErrorKind::Limit(limit), "{source}: {error}");
        assert_eq!(error.message(), limit.to_string());
    }
    assert_eq!(run_within(nested, base).unwrap().value, 0);
    drop(guard);
}

/// CO-224: a source that is too long is refused.
#[test]
fn co_224_long_sources_are_refused() {
    let long = format!("return 1{}", " ".repeat(65 << 10));
    let error = Program::compile(&long, Situation::Policy, &Options::default()).unwrap_err();
    assert_eq!(error.to_string(), "The expression is longer than 65536 bytes.");
}

/// CO-224: steps are counted the same every time, function calls and iterations alike.
#[test]
fn co_224_steps_are_counted() {
    let _turn = MEMORY.blocking_lock();
    for (source, steps) in [
        ("return 1", 0),
        ("for x in range(10): pass", 10),
        ("n = 0\nwhile n < 10:\n    n += 1", 11),
        ("return [x for x in range(10) if x % 2]", 10),
        ("def f(x):\n    return x\nreturn [f(x) for x in range(10)]", 20),
        ("return list(map(lambda x: x, range(10)))", 10),
        ("for x in range(3):\n    for y in range(3):\n        pass", 12),
    ] {
        assert_eq!(run_within(source, Limits::default()).unwrap().steps, steps, "{source}");
    }
}

/// CO-226: the same inputs give the same result, a thousand times.
#[test]
fn co_226_the_same_inputs_give_the_same_result() {
    let _turn = MEMORY.blocking_lock();
    let program = program("return [sorted({1, 2, 3}), list({'b': 1, 'a': 2}), [str(x) for x in {'x', 'y', 'z'}]]");
    let first = program.run(&Inputs::default(), &Nobody, &Budget::new(Limits::default())).unwrap();
    for _ in 0..1000 {
        let again = program.run(&Inputs::default(), &Nobody, &Budget::new(Limits::default())).unwrap();
        assert_eq!(again, first);
    }
}

/// CO-528: a line has the level of the method that wrote it, in the words of the API.
#[test]
fn co_528_lines_have_the_level_of_their_method() {
    let _turn = MEMORY.blocking_lock();
    for (method, level) in [("info", "info"), ("warn", "warning"), ("exception", "error"), ("critical", "critical")] {
        let outcome = run_within(&format!("ak_logger.{method}('text')"), Limits::default()).unwrap();
        assert_eq!(outcome.log_lines[0].level.as_str(), level, "{method}");
    }
}

/// CO-227: what one run sets, the next does not see, though the program is compiled once.
#[test]
fn co_227_nothing_persists_between_runs() {
    let _turn = MEMORY.blocking_lock();
    let programs = Programs::new(8, Options::default());
    let source = "global seen\ntry:\n    seen += 1\nexcept NameError:\n    seen = 1\nreturn seen";
    let program = programs.get(source, Situation::Policy).unwrap();
    assert!(Arc::ptr_eq(&program, &programs.get(source, Situation::Policy).unwrap()));
    for _ in 0..3 {
        let outcome = program.run(&Inputs::default(), &Nobody, &Budget::new(Limits::default())).unwrap();
        assert_eq!(outcome.value, 1);
    }
    assert!(programs.get("x = 1j", Situation::Policy).is_err());
}

/// CO-228: the traceback has the user's lines and text, and nothing of the machine.
#[test]
fn co_228_the_traceback_is_the_users() {
    let inputs = Inputs { name: "vpn hours".to_owned(), ..Inputs::default() };
    let program = program("def check(x):\n    return x[0]\n\nreturn check([])");
    let error = program.run(&inputs, &Nobody, &Budget::new(Limits::default())).unwrap_err();
    let expected = "\
Traceback (most recent call last):
  File \"vpn hours\", line 4, in handler
    return check([])
  File \"vpn hours\", line 2, in check
    return x[0]
IndexError: list index out of range";
    assert_eq!(error.to_string(), expected);
    assert_eq!((error.line, error.message()), (Some(2), "IndexError: list index out of range"));
}

/// CO-228: a deep recursion has a short traceback.
#[test]
fn co_228_tracebacks_are_short() {
    let error = run_within("def f():\n    return f()\nreturn f()", Limits::default()).unwrap_err();
    assert!(error.traceback.lines().count() < 40, "{error}");
}

/// CO-190: what is wrong is said in the words that clients show.
#[test]
fn co_190_syntax_errors_are_told() {
    let compile = |source| Program::compile(source, Situation::Policy, &Options::default()).unwrap_err().to_string();
    assert!(compile(";").starts_with("Expression Syntax Error: line 1: "));
    assert_eq!(
        compile("x = {}\nclass Mine(dict): pass"),
        "Expression Syntax Error: line 2: a class with a base class does not run here (write functions, or a plain class)"
    );
    assert!(run_within("pass", Limits::default()).unwrap().returned_none);
}

/// CO-239: a name that is not provided is refused in exactly these words.
#[test]
fn co_239_names_that_are_not_provided_are_refused() {
    for name in ["requests", "ak_create_jwt", "ak_create_jwt_raw", "ak_send_email"] {
        let error = Program::compile(&format!("return {name}.x"), Situation::Mapping, &Options::default());
        assert_eq!(error.unwrap_err().to_string(), format!("{name} is not available in Portcullis expressions"));
    }
}

/// CO-800: source that nests without end is refused, not a reason to fall over.
#[test]
fn co_800_nesting_without_end_is_refused() {
    let _turn = MEMORY.blocking_lock();
    for source in [
        format!("return {}1{}", "(".repeat(20_000), ")".repeat(20_000)),
        format!("return {}1", "-".repeat(20_000)),
        format!("return {}1", "not ".repeat(10_000)),
        format!("return {}1{}", "[".repeat(20_000), "]".repeat(20_000)),
        format!("return 1{}", "+1".repeat(20_000)),
        format!("return x{}", ".x".repeat(20_000)),
        format!("return x{}", "()".repeat(20_000)),
        format!("return x{}", "[0]".repeat(20_000)),
        format!("return {}1", "lambda: ".repeat(5000)),
        format!("return {}1", "1 if 1 else ".repeat(5000)),
        format!("return 1{}", "**1".repeat(20_000)),
        format!("if x: pass\n{}", "elif x: pass\n".repeat(4000)),
        (0..200).map(|depth| format!("{}if x:\n", " ".repeat(depth))).collect(),
        format!("return {}", "f'{".repeat(2000)),
    ] {
        let options = Options { source: 256 << 10, ..Options::default() };
        // On a thread with the stack of those that serve requests.
        let compiled = std::thread::Builder::new()
            .stack_size(2 << 20)
            .spawn(move || Program::compile(&source, Situation::Policy, &options).is_err());
        assert!(compiled.unwrap().join().unwrap());
    }
}

/// CO-225: whoever waits goes on at the deadline; the thread comes back when the interpreter stops.
#[tokio::test]
async fn co_225_waiting_ends_at_the_deadline() {
    let _turn = MEMORY.lock().await;
    let pool = Pool::new(1, 1);
    let limits = Limits { compute: Duration::from_millis(300), ..Limits::default() };
    let slow = pool.run(Duration::from_millis(20), move || run_within("while True: pass", limits));
    assert_eq!(slow.await.err(), Some(PoolError::Overrun));
    assert!(pool.run(Duration::from_secs(30), || true).await.unwrap());
}

/// CO-225: more than may wait are turned away, and a panic costs no thread.
#[tokio::test]
async fn co_225_the_pool_is_bounded_and_survives_panics() {
    let _turn = MEMORY.lock().await;
    let pool = Pool::new(1, 1);
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let (begin, begun) = std::sync::mpsc::channel::<()>();
    let hold = pool.run(Duration::from_secs(30), move || begin.send(()).is_ok() && gate.recv().is_ok());
    let mut hold = Box::pin(hold);
    // Polling once hands it over; from then on the only thread is taken.
    assert!(tokio::time::timeout(Duration::ZERO, &mut hold).await.is_err());
    begun.recv().unwrap();
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut job = Box::pin(pool.run(Duration::from_secs(30), || true));
        assert!(tokio::time::timeout(Duration::ZERO, &mut job).await.is_err());
        waiting.push(job);
    }
    assert_eq!(pool.run(Duration::from_secs(30), || true).await, Err(PoolError::Full));
    open.send(()).unwrap();
    assert!(hold.await.unwrap());
    for job in waiting {
        assert!(job.await.unwrap());
    }
    let lost = pool.run(Duration::from_secs(30), || std::panic::resume_unwind(Box::new("on purpose"))).await;
    assert_eq!(lost, Err::<(), _>(PoolError::Lost));
    assert!(pool.run(Duration::from_secs(30), || true).await.unwrap());
}

/// CO-230: the user of a mapping may be nobody; that of a request never is.
#[test]
fn co_230_nobody_is_none_in_mappings() {
    let program = Program::compile("return [user, request.user.username]", Situation::Mapping, &Options::default());
    let program = program.unwrap();
    let outcome = program.run(&Inputs::default(), &Nobody, &Budget::new(Limits::for_mappings())).unwrap();
    assert_eq!(outcome.value, serde_json::json!([null, "AnonymousUser"]));
    let user = User { pk: Some(1), username: "alice".to_owned(), ..User::default() };
    let inputs = Inputs { user: Some(Arc::new(user)), ..Inputs::default() };
    let outcome = program.run(&inputs, &Nobody, &Budget::new(Limits::for_mappings())).unwrap();
    assert_eq!(outcome.value, serde_json::json!(["alice", "alice"]));
}

/// CO-225: values that nest without end are an error, not the end of the process.
#[test]
fn co_225_deep_values_are_an_error() {
    let _turn = MEMORY.blocking_lock();
    let make = "x = []\nfor n in range(20000):\n    x = [x]\n";
    let tuples = "x = ()\nfor n in range(20000):\n    x = (x,)\n";
    let dicts = "x = {}\nfor n in range(20000):\n    x = {'a': x}\n";
    let objects = "class A:\n    pass\nx = A()\nfor n in range(20000):\n    y = A()\n    y.a = x\n    x = y\n";
    let lambdas = "x = lambda: 1\nfor n in range(20000):\n    x = (lambda y: lambda: y)(x)\n";
    for start in [make, tuples, dicts, objects, lambdas] {
        for end in [
            "return x",
            "ak_message(x)",
            "print(x)",
            "return str(x)",
            "return json.dumps(x)",
            "return x == x",
            "return hash(x)",
            "return x in [x]",
            "return sorted([x, x])",
            "return {'a': x} == {'a': [x]}",
            "ak_logger.info('x', x=x)",
            "regex_match(x, 'a')",
            "return ak_user_by(username=x)",
            "return 1",
            "raise ValueError(x)",
        ] {
            let source = format!("{start}{end}");
            let thread = std::thread::Builder::new().stack_size(8 << 20);
            let run = thread
                .spawn(move || run_within(&source, Limits { compute: Duration::from_secs(10), ..Limits::default() }));
            let _ = run.unwrap().join().unwrap();
        }
    }
}

/// CO-221: the examples of the documentation can be saved.
#[test]
fn co_221_documented_examples_compile() {
    let _turn = MEMORY.blocking_lock();
    let page = include_str!("../../../docs/src/expressions.md");
    let examples: Vec<&str> = page.split("```python\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() > 3);
    for example in examples {
        Program::compile(example, Situation::Policy, &Options::default()).unwrap();
    }
}

/// CO-231, CO-232, CO-234, CO-238: every name, member and helper that the specification lists is used by some case.
#[test]
fn co_231_every_name_is_in_the_corpus() {
    let corpus = concat!(
        include_str!("../cases/language.txt"),
        include_str!("../cases/users.txt"),
        include_str!("../cases/requests.txt"),
        include_str!("../cases/addresses.txt"),
        include_str!("../cases/instants.txt"),
        include_str!("../cases/helpers.txt"),
        include_str!("../cases/mappings.txt"),
        include_str!("../cases/flows.txt"),
        include_str!("../cases/errors.txt"),
        include_str!("../cases/edits.txt"),
        include_str!("../cases/refused.txt"),
    );
    let words: std::collections::HashSet<&str> =
        corpus.split(|char: char| !char.is_alphanumeric() && char != '_').collect();
    let expected = "request context user http_request provider token ak_client_ip ak_is_sso_flow obj debug pk id uuid uid \
        username name email path type is_active is_superuser is_staff is_authenticated is_anonymous date_joined \
        last_login last_updated password_change_date attributes groups ak_groups roles all_groups all_roles \
        group_attributes app_entitlements app_entitlements_attributes has_usable_password backend group_uuid num_pk \
        parents children is_member slug group meta_launch_url application client_id external_host mode domain \
        branding_title action app client_ip created passing messages raw_result version is_private is_global \
        is_loopback is_link_local is_multicast prefixlen network_address broadcast_address num_addresses subnet_of \
        isoformat timestamp year month day hour minute second weekday now all filter exclude first last count exists \
        order_by values_list method host scheme is_secure get_full_path request_id GET getlist headers META brand \
        tenant REMOTE_ADDR QUERY_STRING REQUEST_METHOD PATH_INFO SERVER_NAME scope expires auth_time session \
        ak_message ak_is_group_member ak_user_by ak_user_has_authenticator ak_call_policy ak_create_event ak_logger \
        debug info warning error exception regex_match regex_replace list_flatten slugify ip_address ip_network \
        resolve_dns reverse_dns json struct sum isinstance round ak_create_jwt ak_create_jwt_raw ak_send_email requests \
        flow_plan pending_user auth_method redirect";
    for word in expected.split_whitespace() {
        assert!(words.contains(word), "{word} is in no case");
    }
}

/// CO-225: what never ends by itself is ended, in native code as well.
#[test]
fn co_225_what_never_ends_is_ended() {
    let guard = MEMORY.blocking_lock();
    for source in [
        "import itertools\nreturn list(itertools.count())",
        "import itertools\nreturn sum(itertools.repeat(1))",
        "import itertools\nreturn any(itertools.repeat(0))",
        "import itertools\nreturn max(itertools.count())",
        "import itertools\nreturn 'a' in itertools.repeat('b')",
        "import itertools\nreturn next(filter(lambda x: x < 0, itertools.count()))",
        "import itertools\nreturn len(list(zip(itertools.count(), itertools.count())))",
        "import itertools\nreturn {x for x in itertools.count()}",
        "import itertools\nreturn ''.join(itertools.repeat('ab'))",
        "import itertools\nreturn dict(zip(itertools.count(), itertools.count()))",
        "import itertools\nreturn list(itertools.islice(itertools.count(), 10 ** 12))",
        "import functools, itertools\nreturn functools.reduce(lambda a, b: a + b, itertools.count())",
        "import collections, itertools\nreturn collections.deque(itertools.count(), maxlen=3)",
        "import collections, itertools\nreturn collections.Counter(itertools.cycle('abc'))",
        "x = [1]\nfor y in x:\n    x.append(y)",
        "x = [1]\nx.extend(z for z in iter(lambda: 1, 2))",
        "return sorted(range(10 ** 9))",
        "return sum(range(10 ** 12))",
        "return [0] * 10 ** 10",
        "return (1,) * 10 ** 10",
        "return b'x' * 10 ** 10",
        "return 'ab'.replace('', 'x' * 10 ** 6) * 10 ** 6",
        "return 'x'.ljust(10 ** 11)",
        "return f'{1:>100000000000}'",
        "return f'{1.5:.100000000f}'",
        "return '{:>100000000000}'.format(1)",
        "return math.factorial(10 ** 6)",
        "return 1 << 10 ** 12",
        "return 10 ** 10 ** 10",
        "return int('9' * 10 ** 6)",
        "return str(10 ** 10 ** 5)",
        "while True:\n    ak_create_event('x', x='x' * 10 ** 6)",
        "p = r'(a+)+\\1$'\nreturn bool(re.match(p, 'a' * 40 + '!'))",
        "p = r'(?=(a+)+$)b'\nreturn bool(re.match(p, 'a' * 40 + '!'))",
        "p = '(' * 100 + 'a{1000}' + '){1000}' * 100\nreturn bool(re.match(p, 'a'))",
        "p = r'(\\w{1000}){1000}'\nreturn bool(re.match(p, 'a'))",
        "x = 'x' * 10 ** 6\nreturn [x.replace('x', 'y') for n in range(10 ** 6)]",
        "def f():\n    try:\n        return f()\n    finally:\n        f()\nreturn f()",
        "while True:\n    try:\n        while True:\n            1 / 0\n    except BaseException:\n        pass",
        "print('x' * 10 ** 6)\nwhile True:\n    print('x' * 10 ** 5)",
        "while True:\n    ak_message('x' * 10 ** 5)",
        "while True:\n    ak_logger.info('x' * 10 ** 5)",
        "import json\nreturn json.loads('[' * 10 ** 6)",
        "import base64\nreturn base64.b64encode(b'x' * 10 ** 9)",
        "class A:\n    def __iter__(self):\n        return self\n    def __next__(self):\n        return 1\nreturn list(A())",
        "class A:\n    def __eq__(self, other):\n        return self == other\nreturn A() == A()",
        "class A:\n    def __repr__(self):\n        return repr(self)\nreturn repr(A())",
    ] {
        let thread = std::thread::Builder::new().stack_size(8 << 20);
        let started = Instant::now();
        let run = thread
            .spawn(move || run_within(source, Limits { compute: Duration::from_millis(200), ..Limits::default() }))
            .unwrap()
            .join()
            .unwrap();
        let took = started.elapsed();
        let _ = run;
        // They would take forever; a busy machine may take its time.
        assert!(took < Duration::from_secs(30), "{source} took {took:?}");
    }
    drop(guard);
}
