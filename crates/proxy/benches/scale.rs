//! What a decision costs with few and with many applications and identities, and what each of them holds in memory:
//! `cargo bench -p portcullis-proxy --bench scale`.
//!
//! A decision is one forward-auth question for a known HTTP Basic credential, answered in this process, without a
//! network: host, path class, identity, headers of the answer. The control plane below knows everybody at once, so
//! that what is measured is the data plane alone.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement"
)]

mod site;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Request, StatusCode};
use portcullis_core::clock::ManualClock;
use portcullis_core::entropy::SystemEntropy;
use portcullis_core::origin::{Origin, Scheme};
use portcullis_proxy::body::Body;
use portcullis_proxy::forward::Forwarder;
use portcullis_proxy::lines::settle;
use portcullis_proxy::listener::Handled;
use portcullis_proxy::plane::DataPlane;
use portcullis_proxy::settings::{ForwardJwt, ProxySettings};
use portcullis_proxy::upstream::{UpstreamSettings, Upstreams};
use tokio_util::sync::CancellationToken;

use self::site::{Everybody, NOW, provider};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const ROUNDS: usize = 200_000;
const CASES: [(usize, usize); 4] = [(10, 10), (10, 50_000), (10_000, 10_000), (10_000, 100_000)];

/// Resident memory in bytes, once the allocator has given back what is not used.
fn resident() -> usize {
    std::thread::sleep(std::time::Duration::from_secs(2));
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

struct Asker {
    application: usize,
    authorization: HeaderValue,
}

async fn ask(plane: &DataPlane, asker: &Asker) -> usize {
    let host = format!("app{}.example.org", asker.application + 1);
    let mut request = Request::get("/outpost.goauthentik.io/auth/traefik")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", &host)
        .header("x-forwarded-uri", "/")
        .header("authorization", asker.authorization.clone())
        .body(Body::Empty)
        .unwrap();
    let origin = Origin {
        scheme: Scheme::Https,
        host,
        client: CLIENT,
        peer: CLIENT,
        peer_trusted: true,
        request_id: "".into(),
        asked: None,
    };
    let Handled::Answered(mut answer, _) = plane.handle(&mut request, &origin).await else { panic!("not ours") };
    assert_eq!(answer.status(), StatusCode::OK);
    settle(&mut answer);
    answer.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

async fn measure(applications: usize, identities: usize) {
    let empty = resident();
    let providers = (1..=i32::try_from(applications).unwrap()).map(provider).collect();
    let core = Arc::new(Everybody::new(providers, None));
    let settings = ProxySettings { forward_jwt: ForwardJwt::Off, ..ProxySettings::default() };
    let forwarder = Forwarder::new(Upstreams::new(UpstreamSettings::default()), false, CancellationToken::new());
    let began = Instant::now();
    let plane = DataPlane::new(core, forwarder, settings, Arc::new(ManualClock::at(NOW)), Arc::new(SystemEntropy));
    let table = began.elapsed();
    let with_applications = resident();

    let askers: Vec<Asker> = (0..identities)
        .map(|number| {
            let pair = STANDARD.encode(format!("user-{number}:a-password-of-sixty-letters-as-the-api-makes-them"));
            let mut authorization = HeaderValue::try_from(format!("Basic {pair}")).unwrap();
            authorization.set_sensitive(true);
            Asker { application: number % applications, authorization }
        })
        .collect();
    let before = resident();
    let mut answered = 0;
    for asker in &askers {
        answered += ask(&plane, asker).await;
    }
    let with_identities = resident();

    // In an order that neither the processor's caches nor an index by number would like.
    let stride = 7919;
    let warm = Instant::now();
    let mut at = 0;
    for _ in 0..ROUNDS {
        ask(&plane, &askers[at]).await;
        at = (at + stride) % askers.len();
    }
    let each = warm.elapsed() / u32::try_from(ROUNDS).unwrap();
    println!(
        "| {applications} | {identities} | {:.2} | {} | {} | {} | {:.0} |",
        each.as_secs_f64() * 1e6,
        with_applications.saturating_sub(empty) / applications,
        with_identities.saturating_sub(before) / identities,
        answered / identities,
        table.as_secs_f64() * 1e3,
    );
}

fn main() {
    // Each case runs in a process of its own, so that none finds memory that another has left.
    match std::env::var("PORTCULLIS_SCALE_CASE") {
        Ok(case) => {
            let (applications, identities) = CASES[case.parse::<usize>().unwrap()];
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(measure(applications, identities));
        }
        Err(_) => {
            println!(
                "| applications | identities | µs per decision | bytes per application | bytes per identity | of these in headers | table built in ms |"
            );
            println!("|---:|---:|---:|---:|---:|---:|---:|");
            let program = std::env::current_exe().unwrap();
            for case in 0..CASES.len() {
                let mut child = std::process::Command::new(&program);
                assert!(child.env("PORTCULLIS_SCALE_CASE", case.to_string()).status().unwrap().success());
            }
        }
    }
}
