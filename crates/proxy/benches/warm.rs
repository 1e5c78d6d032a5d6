//! How many instructions a request costs whose sender is known already:
//! `cargo bench -p portcullis-proxy --bench warm [CASE…]`.
//!
//! The data plane runs below callgrind, which counts the instructions of the process whatever else the machine does;
//! client and upstream run outside. Each case runs twice, with different numbers of requests, so that neither start
//! nor end count. System calls and what they cost are not in it: see `benches/run` for that. What callgrind saw is
//! left in `target/warm/` for `callgrind_annotate`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement"
)]

mod site;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use metrics_exporter_prometheus::PrometheusBuilder;
use portcullis_core::clock::ManualClock;
use portcullis_core::entropy::SystemEntropy;
use portcullis_core::outpost::Mode;
use portcullis_proxy::forward::Forwarder;
use portcullis_proxy::listener::{Server, Settings, Socket};
use portcullis_proxy::origin::Trust;
use portcullis_proxy::plane::DataPlane;
use portcullis_proxy::settings::ProxySettings;
use portcullis_proxy::threads::Threads;
use portcullis_proxy::upstream::{UpstreamSettings, Upstreams};
use tokio_util::sync::CancellationToken;

use self::site::{Everybody, NOW, provider};

const CONNECTIONS: usize = 32;
const FEW: usize = 20;
const MANY: usize = 220;
const CASES: [&str; 5] = ["open", "cookie", "basic", "large", "forward-auth"];

/// The data plane, until the standard input ends. Says where it listens.
fn serve(upstream: &str) {
    metrics::set_global_recorder(PrometheusBuilder::new().set_buckets(&[0.001, 0.1, 10.0]).unwrap().build_recorder())
        .unwrap();
    let mut proxied = provider(1);
    proxied.mode = Mode::Proxy;
    proxied.internal_host = format!("http://{upstream}");
    proxied.external_host = "http://app1.example.org".to_owned();
    let token = format!("eyJhbGciOiJSUzI1NiJ9.{}", "a".repeat(1150));
    let core = Arc::new(Everybody::new(vec![proxied, provider(2)], Some(token)));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let until = stop.clone();
    std::thread::spawn(move || {
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        until.cancel();
    });
    runtime.block_on(async {
        let cut = CancellationToken::new();
        let forwarder = Forwarder::new(Upstreams::new(UpstreamSettings::default()), true, cut.clone());
        let (clock, entropy) = (Arc::new(ManualClock::at(NOW)), Arc::new(SystemEntropy));
        let plane = DataPlane::new(core, forwarder, ProxySettings::default(), clock, entropy.clone());
        let server = Server {
            plane,
            core: None,
            trust: Trust::default(),
            entropy,
            log: None,
            settings: Settings::default(),
            cut,
        };
        server.serve(vec![Socket { listener, tls: None }], Threads::default(), stop).await.unwrap();
    });
}

/// Reads one message; its head.
fn message(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let start = head.len();
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
        let line = head[start..].trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
        if line.is_empty() {
            stream.read_exact(&mut vec![0; length]).ok()?;
            return Some(head);
        }
    }
}

/// Answers as a server of files would.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = |size: usize| {
        let mut answer = format!(
            "HTTP/1.1 200 OK\r\nServer: nginx/1.26.3\r\nDate: Mon, 21 Sep 2026 15:13:20 GMT\r\nContent-Type: text/html\r\n\
             Content-Length: {size}\r\nLast-Modified: Mon, 21 Sep 2026 15:00:00 GMT\r\nConnection: keep-alive\r\n\
             ETag: \"68f0a0c0-400\"\r\nAccept-Ranges: bytes\r\n\r\n"
        );
        answer.push_str(&"x".repeat(size));
        answer
    };
    let (small, large): (Arc<str>, Arc<str>) = (answer(1024).into(), answer(65536).into());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, small, large) = (stream.unwrap(), small.clone(), large.clone());
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut stream = stream;
                while let Some(head) = message(&mut reader) {
                    let answer = if head.starts_with("GET /large") { &large } else { &small };
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            });
        }
    });
    address
}

struct Proxy {
    child: Child,
    address: String,
    counted: PathBuf,
}

impl Proxy {
    fn start(case: &str, upstream: SocketAddr, number: usize) -> Self {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/warm");
        std::fs::create_dir_all(&directory).unwrap();
        let counted = directory.join(format!("{case}.{number}"));
        let mut child = Command::new("valgrind")
            .args(["--tool=callgrind", "--quiet", &format!("--callgrind-out-file={}", counted.display())])
            .arg(std::env::current_exe().unwrap())
            .env("PORTCULLIS_WARM_UPSTREAM", upstream.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { child, address: address.trim().to_owned(), counted }
    }

    /// Instructions of its whole life.
    fn stop(mut self) -> u64 {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
        let text = std::fs::read_to_string(&self.counted).unwrap();
        let total = text.lines().find_map(|line| line.strip_prefix("totals: ")).unwrap();
        total.parse().unwrap()
    }
}

/// Sends what `case` is `rounds` times over each connection, and counts.
fn run(case: &str, rounds: usize, upstream: SocketAddr) -> u64 {
    let proxy = Proxy::start(case, upstream, rounds);
    let connect = || BufReader::new(TcpStream::connect(&proxy.address).unwrap());
    let pair = STANDARD.encode("ada:a-password-of-sixty-letters-as-the-api-makes-them-to-be-safe");
    let basic = format!("Authorization: Basic {pair}\r\n");
    let mut first = connect();
    write!(first.get_mut(), "GET / HTTP/1.1\r\nHost: app1.example.org\r\n{basic}\r\n").unwrap();
    let head = message(&mut first).unwrap();
    let cookie = head.split("authentik_proxy_").nth(1).unwrap().split(';').next().unwrap();
    let cookie = format!("Cookie: authentik_proxy_{cookie}\r\n");
    // The other application has no session of this name.
    write!(
        first.get_mut(),
        "GET /outpost.goauthentik.io/auth/traefik HTTP/1.1\r\nHost: x\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: app2.example.org\r\nX-Forwarded-Uri: /\r\n{basic}\r\n"
    )
    .unwrap();
    let head = message(&mut first).unwrap();
    let other = head.split("authentik_proxy_").nth(1).unwrap().split(';').next().unwrap();
    let request = match case {
        "open" => "GET /public/x HTTP/1.1\r\nHost: app1.example.org\r\n\r\n".to_owned(),
        "cookie" => format!("GET / HTTP/1.1\r\nHost: app1.example.org\r\n{cookie}\r\n"),
        "basic" => format!("GET / HTTP/1.1\r\nHost: app1.example.org\r\n{basic}\r\n"),
        "large" => format!("GET /large HTTP/1.1\r\nHost: app1.example.org\r\n{cookie}\r\n"),
        "forward-auth" => format!(
            "GET /outpost.goauthentik.io/auth/traefik HTTP/1.1\r\nHost: app2.example.org\r\nX-Forwarded-Proto: https\r\n\
             X-Forwarded-Host: app2.example.org\r\nX-Forwarded-Uri: /\r\nCookie: authentik_proxy_{other}\r\n\r\n"
        ),
        other => panic!("no such case: {other}"),
    };
    let mut connections: Vec<_> = (0..CONNECTIONS).map(|_| connect()).collect();
    for _ in 0..rounds {
        for connection in &mut connections {
            connection.get_mut().write_all(request.as_bytes()).unwrap();
        }
        for connection in &mut connections {
            let head = message(connection).unwrap();
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        }
    }
    drop((connections, first));
    proxy.stop()
}

fn main() {
    if let Ok(upstream) = std::env::var("PORTCULLIS_WARM_UPSTREAM") {
        return serve(&upstream);
    }
    let asked: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let upstream = upstream();
    println!("| case | instructions per request |");
    println!("|---|---:|");
    for case in CASES.iter().filter(|case| asked.is_empty() || asked.iter().any(|word| word == *case)) {
        let (few, many) = (run(case, FEW, upstream), run(case, MANY, upstream));
        println!("| {case} | {} |", (many - few) / ((MANY - FEW) * CONNECTIONS) as u64);
    }
}
