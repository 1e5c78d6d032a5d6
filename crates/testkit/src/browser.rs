//! Chromium, driven through WebDriver.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{Go, client};
use crate::process::{Process, command, directory, free_port};
use crate::wait::until;

/// The Tab key.
pub const TAB: &str = "\u{e004}";
/// The Enter key.
pub const ENTER: &str = "\u{e007}";

/// A browser window with a profile of its own; it and its driver end when dropped.
pub struct Browser {
    session: String,
    http: reqwest::Client,
    driver: Process,
    _profile: TempDir,
}

impl Browser {
    /// Opens a window.
    pub async fn open() -> Self {
        let profile = directory("browser");
        let port = free_port();
        let mut driver = command("chromedriver");
        driver.arg(format!("--port={port}")).env("HOME", profile.path());
        let driver = Process::start("chromedriver", driver);
        let http = client();
        let base = format!("http://127.0.0.1:{port}");
        until("chromedriver", async || http.get(format!("{base}/status")).try_go().await).await;
        let mut arguments: Vec<String> = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-proxy-server",
            "--force-device-scale-factor=1",
            "--host-resolver-rules=MAP * 127.0.0.1",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.push(format!("--user-data-dir={}", profile.path().join("profile").display()));
        let capabilities = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": {"args": arguments},
        }}});
        let reply = http.post(format!("{base}/session")).body(capabilities.to_string()).go().await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let id = reply.json()["value"]["sessionId"].as_str().unwrap().to_owned();
        Self { session: format!("{base}/session/{id}"), http, driver, _profile: profile }
    }

    async fn command(&self, path: &str, body: Value) -> Value {
        let reply = self.http.post(format!("{}/{path}", self.session)).body(body.to_string()).go().await;
        assert_eq!(reply.status, 200, "{path} {body}: {}", reply.text());
        reply.json()["value"].clone()
    }

    async fn ask(&self, path: &str) -> Value {
        let reply = self.http.get(format!("{}/{path}", self.session)).go().await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        reply.json()["value"].clone()
    }

    /// Goes to an URL and waits until the page is loaded.
    pub async fn go(&self, url: &str) {
        self.command("url", json!({"url": url})).await;
    }

    /// The URL in the address bar.
    pub async fn url(&self) -> String {
        self.ask("url").await.as_str().unwrap().to_owned()
    }

    /// The title of the page.
    pub async fn title(&self) -> String {
        self.ask("title").await.as_str().unwrap().to_owned()
    }

    /// The source of the page.
    pub async fn source(&self) -> String {
        self.ask("source").await.as_str().unwrap().to_owned()
    }

    /// The visible text of the page.
    pub async fn text(&self) -> String {
        let text = self.script("return document.body ? document.body.innerText : ''").await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the visible text contains `part`.
    pub async fn sees(&self, part: &str) {
        self.wait(&format!("{part:?}"), async || self.text().await.contains(part).then_some(())).await;
    }

    /// Waits for an element and returns its reference.
    pub async fn find(&self, css: &str) -> String {
        let body = json!({"using": "css selector", "value": css}).to_string();
        self.wait(css, async || {
            let reply = self.http.post(format!("{}/element", self.session)).body(body.clone()).go().await;
            let element = reply.json()["value"].as_object()?.values().next()?.as_str()?.to_owned();
            (reply.status == 200).then_some(element)
        })
        .await
    }

    /// Like [`until`], and shows the page when it was in vain.
    async fn wait<T>(&self, what: &str, probe: impl AsyncFnMut() -> Option<T>) -> T {
        let awaited = format!("{what} in the browser");
        match tokio::time::timeout(crate::wait::PATIENCE / 3, until(&awaited, probe)).await {
            Ok(found) => found,
            Err(_) => panic!("no {what} at {}:\n{}", self.url().await, self.text().await),
        }
    }

    /// Types into an element.
    pub async fn fill(&self, css: &str, text: &str) {
        let element = self.find(css).await;
        self.command(&format!("element/{element}/value"), json!({"text": text})).await;
    }

    /// Clicks an element.
    pub async fn click(&self, css: &str) {
        let element = self.find(css).await;
        self.command(&format!("element/{element}/click"), json!({})).await;
    }

    /// Presses keys on whatever has the focus.
    pub async fn press(&self, keys: &str) {
        let strokes: Vec<Value> = keys
            .chars()
            .flat_map(|key| [json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key})])
            .collect();
        self.command("actions", json!({"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]})).await;
    }

    /// Runs a script in the page.
    pub async fn script(&self, script: &str) -> Value {
        self.command("execute/sync", json!({"script": script, "args": []})).await
    }

    /// Presses Tab until an element has the focus, and says how often.
    ///
    /// # Panics
    /// When fifty strokes do not reach it.
    pub async fn tab_to(&self, css: &str) -> usize {
        let there = format!("return document.activeElement !== null && document.activeElement.matches({css:?})");
        for strokes in 0..50 {
            if self.script(&there).await == json!(true) {
                return strokes;
            }
            self.press(TAB).await;
        }
        panic!("{css} cannot be reached by keyboard");
    }

    /// Offers no passkeys where user names are typed. A virtual authenticator takes up such an offer at once.
    pub async fn without_autofill(&self) {
        let source = "PublicKeyCredential.isConditionalMediationAvailable = async () => false";
        self.devtools("Page.addScriptToEvaluateOnNewDocument", json!({"source": source})).await;
    }

    /// Plugs in an authenticator that knows its owner, holds passkeys, and says yes to everything.
    pub async fn authenticator(&self) -> Authenticator<'_> {
        let kind = json!({
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": true, "hasUserVerification": true,
            "isUserVerified": true, "isUserConsenting": true,
        });
        let id = self.command("webauthn/authenticator", kind).await;
        Authenticator { browser: self, path: format!("webauthn/authenticator/{}", id.as_str().unwrap()) }
    }

    /// All cookies of the current page.
    pub async fn cookies(&self) -> Vec<Value> {
        self.ask("cookie").await.as_array().unwrap().clone()
    }

    /// Sets the size of the viewport.
    pub async fn size(&self, width: u32, height: u32) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Switches between a light and a dark colour scheme.
    pub async fn scheme(&self, scheme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    /// A command of the DevTools protocol.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.command("goog/cdp/execute", json!({"cmd": command, "params": parameters})).await
    }

    /// A picture of the viewport as PNG.
    pub async fn screenshot(&self) -> Vec<u8> {
        let picture = self.ask("screenshot").await;
        base64::engine::general_purpose::STANDARD.decode(picture.as_str().unwrap()).unwrap()
    }

    /// Takes pictures of the current page at desktop and phone size, light and dark, into `target/screens/`.
    ///
    /// # Panics
    /// When the page is wider than the screen at any of the sizes.
    pub async fn pictures(&self, name: &str) -> Vec<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/screens");
        std::fs::create_dir_all(&folder).unwrap();
        let mut files = Vec::new();
        for (device, width, height) in [("desktop", 1280, 800), ("phone", 390, 844)] {
            self.size(width, height).await;
            let wide = self.script("return document.documentElement.scrollWidth").await.as_u64().unwrap();
            assert!(wide <= u64::from(width), "{name} is {wide} pixels wide on a {device} of {width}");
            for scheme in ["light", "dark"] {
                self.scheme(scheme).await;
                let file = folder.join(format!("{name}-{device}-{scheme}.png"));
                std::fs::write(&file, self.screenshot().await).unwrap();
                files.push(file);
            }
        }
        files
    }

    /// Signs in on the page that is shown.
    pub async fn sign_in(&self, username: &str, password: &str) {
        self.fill("input[type=text], input[type=email]", username).await;
        self.fill("input[type=password]", password).await;
        self.click("form button[type=submit]").await;
    }
}

/// A virtual authenticator of a browser.
pub struct Authenticator<'a> {
    browser: &'a Browser,
    path: String,
}

impl Authenticator<'_> {
    /// Its credentials, with their private keys.
    pub async fn credentials(&self) -> Vec<Value> {
        self.browser.ask(&format!("{}/credentials", self.path)).await.as_array().unwrap().clone()
    }

    /// Puts a credential in place of the one with its id.
    pub async fn replace(&self, credential: &Value) {
        let id = credential["credentialId"].as_str().unwrap();
        let place = format!("{}/{}/credentials/{id}", self.browser.session, self.path);
        assert_eq!(self.browser.http.delete(place).go().await.status, 200);
        self.browser.command(&format!("{}/credential", self.path), credential.clone()).await;
    }

    /// Whether it knows its owner from now on.
    pub async fn knows_owner(&self, knows: bool) {
        self.browser.command(&format!("{}/uv", self.path), json!({"isUserVerified": knows})).await;
    }
}

impl Drop for Browser {
    /// Asks the driver to close the window; a killed driver would leave it open.
    fn drop(&mut self) {
        use std::io::{Read, Write};
        let address = self.session.trim_start_matches("http://");
        let (authority, path) = address.split_once('/').unwrap();
        if let Ok(mut stream) = std::net::TcpStream::connect(authority) {
            drop(stream.set_read_timeout(Some(std::time::Duration::from_secs(10))));
            let request = format!("DELETE /{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
            drop(stream.write_all(request.as_bytes()));
            drop(stream.read(&mut [0; 512]));
        }
        self.driver.kill();
    }
}
