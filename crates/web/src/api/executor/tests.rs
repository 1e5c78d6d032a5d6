//! The flows as a client without pages goes through them.

mod admission;
mod authorization;
mod context;
mod forgotten;
mod limits;
mod login;
mod mail;
mod pages;
mod passkeys;
mod places;
mod recovery;
mod second_factor;
mod self_service;
mod sessions;
mod windows;

use std::collections::BTreeMap;
use std::net::IpAddr;

use axum::body::Body;
use http::{Method, Request, header};
use portcullis_core::totp;
use portcullis_idp::flow::stages;
use portcullis_idp::{Actor, flows};
use serde_json::{Value, json};

use crate::testing::{Reply, Site};

const PASSWORD: &str = "correct horse battery";
const SIGN_IN: &str = flows::AUTHENTICATION;

/// A client with a cookie jar.
struct Client {
    cookies: BTreeMap<String, String>,
    address: IpAddr,
}

impl Client {
    fn new() -> Self {
        Self::at([192, 0, 2, 1])
    }

    fn at(address: [u8; 4]) -> Self {
        Self { cookies: BTreeMap::new(), address: address.into() }
    }

    fn path(slug: &str, query: &str) -> String {
        let query: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
        format!("/api/v3/flows/executor/{slug}/?query={query}")
    }

    async fn send(&mut self, site: &Site, request: http::request::Builder, body: Body) -> Reply {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let csrf = self.cookies.get("authentik_csrf").cloned().unwrap_or_default();
        let mut request = request.header("x-authentik-csrf", csrf);
        if !cookies.is_empty() {
            request = request.header(header::COOKIE, cookies.join("; "));
        }
        let reply = site.raw_from(request.body(body).expect("a request"), self.address).await;
        for cookie in reply.headers.get_all(header::SET_COOKIE) {
            let cookie = cookie.to_str().expect("text").split(';').next().expect("a cookie");
            let (name, value) = cookie.split_once('=').expect("a pair");
            match value {
                "" => self.cookies.remove(name),
                value => self.cookies.insert(name.to_owned(), value.to_owned()),
            };
        }
        reply
    }

    /// What is asked.
    async fn show(&mut self, site: &Site, slug: &str, query: &str) -> Value {
        let reply = self.send(site, Request::get(Self::path(slug, query)), Body::empty()).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json
    }

    async fn answered(&mut self, site: &Site, slug: &str, query: &str, answer: Value) -> Reply {
        let request = Request::post(Self::path(slug, query)).header(header::CONTENT_TYPE, "application/json");
        self.send(site, request, Body::from(answer.to_string())).await
    }

    /// Answers, and what is asked next.
    async fn answer(&mut self, site: &Site, slug: &str, query: &str, answer: Value) -> Value {
        let reply = self.answered(site, slug, query, answer).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json
    }

    /// User name and password.
    async fn sign_in(&mut self, site: &Site, username: &str, password: &str) -> Value {
        let named = self.answer(site, SIGN_IN, "", json!({"uid_field": username})).await;
        assert_eq!(named["component"], "ak-stage-password", "{named}");
        self.answer(site, SIGN_IN, "", json!({"component": "ak-stage-password", "password": password})).await
    }

    async fn sign_in_again(&mut self, site: &Site, password: &str) -> Value {
        if self.show(site, SIGN_IN, "").await["component"] == "ak-stage-identification" {
            self.answer(site, SIGN_IN, "", json!({"uid_field": "ada"})).await;
        }
        self.answer(site, SIGN_IN, "", json!({"password": password})).await
    }

    async fn page(&mut self, site: &Site, path: &str) -> Reply {
        self.send(site, Request::get(path), Body::empty()).await
    }

    async fn whoami(&mut self, site: &Site) -> u16 {
        self.page(site, "/api/v3/core/users/me/").await.status.as_u16()
    }

    /// Enrols an authenticator app: its seed.
    async fn enrol(&mut self, site: &Site) -> Vec<u8> {
        let asked = self.show(site, flows::TOTP_SETUP, "").await;
        assert_eq!(asked["component"], "ak-stage-authenticator-totp", "{asked}");
        let seed = seed_of(asked["config_url"].as_str().expect("a URL"));
        let code = totp::code(&seed, totp::step_at(site.ctx.now()), 6);
        let done = self.answer(site, flows::TOTP_SETUP, "", json!({"code": code})).await;
        assert_eq!(done["component"], "xak-flow-redirect", "{done}");
        seed
    }
}

/// The seed in an `otpauth` URL.
fn seed_of(url: &str) -> Vec<u8> {
    let text = url.split("secret=").nth(1).expect("a secret").split('&').next().expect("text");
    let mut bits = 0_u64;
    let (mut held, mut seed) = (0, Vec::new());
    for letter in text.bytes() {
        let value = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".iter().position(|known| *known == letter).expect("base32");
        bits = bits << 5 | u64::try_from(value).expect("small");
        held += 5;
        if held >= 8 {
            held -= 8;
            seed.push(u8::try_from(bits >> held & 0xff).expect("a byte"));
        }
    }
    seed
}

/// The code of the step after the present one, once the clock is there.
fn next_code(site: &Site, seed: &[u8]) -> String {
    site.clock.advance_seconds(30);
    totp::code(seed, totp::step_at(site.ctx.now()), 6)
}

async fn with_ada() -> (Site, i64) {
    let site = Site::new().await;
    let ada = site.user("ada").await;
    set_password(&site, ada, PASSWORD).await;
    (site, ada)
}

async fn set_password(site: &Site, user: i64, password: &str) {
    let path = format!("/core/users/{user}/set_password/");
    assert_eq!(site.admin(Method::POST, &path, json!({"password": password})).await.status, 204);
}

/// Sets tunables of a stage.
async fn tune(site: &Site, stage: &str, tunables: Value) {
    let tunables = tunables.as_object().expect("an object").clone();
    stages::set(&site.ctx, &Actor::system(), stage, &tunables).await.expect("is set");
}

fn errors(challenge: &Value) -> Vec<&str> {
    challenge["response_errors"].as_object().into_iter().flatten().map(|(field, _)| field.as_str()).collect()
}
