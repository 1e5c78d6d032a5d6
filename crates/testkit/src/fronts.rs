//! Other reverse proxies in front of an application, which ask Portcullis: nginx, Traefik, Caddy, Envoy and HAProxy
//! with the very configurations that the documentation shows.

mod ingress;

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

pub use self::ingress::WANTED;
use crate::http::{Go, http};
use crate::peers::{listening, system_binary};
use crate::process::{Process, command, directory, free_port};
use crate::wait::until;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "their own names")]
pub enum Kind {
    Nginx,
    IngressNginx,
    Traefik,
    Caddy,
    Envoy,
    Haproxy,
}

/// Where one is to listen, before anything listens there.
pub struct Place {
    /// The port.
    pub port: u16,
    /// Whether it answers to all names below the application's, as the documentation says how.
    whole_domain: bool,
}

impl Default for Place {
    fn default() -> Self {
        Self { port: free_port(), whole_domain: false }
    }
}

impl Place {
    /// A place for a whole domain.
    #[must_use]
    pub fn of_domain() -> Self {
        Self { whole_domain: true, ..Self::default() }
    }

    /// Where browsers find the application: under the name that all configurations show.
    #[must_use]
    pub fn external(&self) -> String {
        format!("http://notes.localhost:{}", self.port)
    }
}

/// A running reverse proxy.
pub struct Front {
    _directory: TempDir,
    _process: Process,
}

impl Front {
    /// Starts it in front of an application, asking the Portcullis at `core`; `cookie` is the provider's.
    pub async fn start(kind: Kind, place: &Place, upstream: u16, core: u16, cookie: &str) -> Self {
        let folder = directory("front");
        let root = folder.path();
        let file = |name: &str| {
            let shown = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/integrations").join(name);
            let text = std::fs::read_to_string(&shown).unwrap_or_else(|error| panic!("{}: {error}", shown.display()));
            let text = text
                // First: another port may hold these digits.
                .replace("8080", &place.port.to_string())
                .replace("127.0.0.1:8000", &format!("127.0.0.1:{upstream}"))
                .replace("127.0.0.1:9000", &format!("127.0.0.1:{core}"))
                .replace("port_value: 8000", &format!("port_value: {upstream}"))
                .replace("port_value: 9000", &format!("port_value: {core}"))
                .replace("authentik_proxy_01d4e0c9", cookie);
            let text = if place.whole_domain {
                for_whole_domain(&text).replace("PORT", &place.port.to_string())
            } else {
                text
            };
            let path = root.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let mut program = match kind {
            Kind::Nginx => nginx(root, &file("nginx.conf")),
            Kind::IngressNginx => {
                let path = file("ingress-nginx.yaml");
                let objects = std::fs::read_to_string(&path).unwrap();
                let configuration = root.join("ingress-nginx.conf");
                std::fs::write(&configuration, ingress::rendered(&objects, &place.external(), upstream, core)).unwrap();
                nginx(root, &configuration)
            }
            Kind::Traefik => {
                file("traefik-dynamic.yml");
                let mut traefik = command(fetched("traefik"));
                traefik.arg(format!("--configFile={}", file("traefik.yml").display()));
                traefik
            }
            Kind::Caddy => {
                let mut caddy = command(fetched("caddy"));
                caddy.args(["run", "--adapter", "caddyfile", "--config"]).arg(file("Caddyfile"));
                caddy
                    .env("XDG_DATA_HOME", root)
                    .env("XDG_CONFIG_HOME", root)
                    .env("CADDY_ADMIN", format!("127.0.0.1:{}", free_port()));
                caddy
            }
            Kind::Envoy => {
                let mut envoy = command(fetched("envoy"));
                envoy.args(["--concurrency", "2", "--use-dynamic-base-id", "--log-level", "warn", "-c"]);
                envoy.arg(file("envoy.yaml"));
                envoy
            }
            Kind::Haproxy => {
                file("portcullis.lua");
                let mut haproxy = command(system_binary("haproxy"));
                haproxy.arg("-db").arg("-f").arg(file("haproxy.cfg"));
                haproxy
            }
        };
        program.current_dir(root).env("HOME", root);
        let process = Process::start(&format!("{kind:?}"), program);
        listening(place.port, &process).await;
        // Traefik listens before it knows its routes.
        until("routes", async || {
            let reply = http().get(place.external()).try_go().await?;
            (reply.text() != "404 page not found\n").then_some(())
        })
        .await;
        Self { _directory: folder, _process: process }
    }
}

/// nginx with a part of its section `http`.
fn nginx(root: &Path, part: &Path) -> Command {
    let (folder, part) = (root.display(), part.display());
    let whole = format!(
        "daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;\n\
         events {{}}\nhttp {{ access_log off; client_body_temp_path {folder}/body;\n\
         proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;\n\
         uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;\ninclude {part};\n}}\n"
    );
    std::fs::write(root.join("whole.conf"), whole).unwrap();
    let mut nginx = command(system_binary("nginx"));
    nginx.arg("-e").arg(root.join("error.log")).arg("-p").arg(root).arg("-c").arg(root.join("whole.conf"));
    nginx
}

/// What the documentation says to change for all hosts of a domain.
fn for_whole_domain(text: &str) -> String {
    text.replace("server_name notes.localhost;", "server_name .notes.localhost;")
        .replace("http://notes.localhost:", "http://*.notes.localhost:PORT, http://notes.localhost:")
        .replace("Host(`notes.localhost`)", "HostRegexp(`^(.+\\.)?notes\\.localhost$`)")
        .replace("if ($http_host != \"notes.localhost:", "if ($http_host !~* \"notes\\.localhost:")
        .replace("{ hdr(host),field(1,:) -i notes.localhost }", "{ hdr(host),field(1,:) -m end -i notes.localhost }")
        .replace("[\"notes.localhost\", \"notes.localhost:*\"]", "[\"*\"]")
}

/// A program, or a folder of a client's, that `./test` has fetched.
#[must_use]
pub fn fetched(name: &str) -> PathBuf {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers");
    let folder = std::env::var_os("PORTCULLIS_PEERS").map_or_else(built, PathBuf::from);
    let path = folder.join(name);
    path.canonicalize().unwrap_or_else(|_| panic!("{} is not there: `./test` fetches it", path.display()))
}
