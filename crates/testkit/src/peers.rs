//! Real servers and clients around Portcullis: nginx, Apache, CGI, WSGI, `curl`, `git` and `rclone`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::process::{Finished, Process, command, directory, free_port};
use crate::wait::until;

/// User name and password that the servers here ask for.
pub const UPSTREAM: (&str, &str) = ("wiki-service", "upstream-secret");
/// SHA-1 of that password as Apache's password files spell it.
const UPSTREAM_SHA: &str = "{SHA}jIwk92QdB2ZHu3w66MS9mGklTgQ=";

pub(crate) fn system_binary(name: &str) -> PathBuf {
    let folders =
        ["/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin"].map(|folder| Path::new(folder).join(name));
    folders.into_iter().find(|path| path.exists()).unwrap_or_else(|| panic!("{name} is not installed"))
}

pub(crate) async fn listening(port: u16, process: &Process) {
    until("a server", async || {
        assert!(process.ended().is_none(), "it ended: {}", process.log());
        TcpStream::connect(("127.0.0.1", port)).await.ok()
    })
    .await;
}

/// nginx with `auth_basic` before a static page. Its log shows user and `Authorization` of each request.
pub struct Nginx {
    /// Its port.
    pub port: u16,
    tls_port: u16,
    directory: TempDir,
    _process: Process,
}

impl Nginx {
    /// Starts it. The page says `Welcome to the wiki`.
    pub async fn start() -> Self {
        let directory = directory("nginx");
        let (root, port, tls_port) = (directory.path().display().to_string(), free_port(), free_port());
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        std::fs::write(directory.path().join("certificate.pem"), pair.cert.pem()).unwrap();
        std::fs::write(directory.path().join("key.pem"), pair.signing_key.serialize_pem()).unwrap();
        std::fs::create_dir_all(directory.path().join("www")).unwrap();
        std::fs::write(directory.path().join("www/index.html"), "<!doctype html><h1>Welcome to the wiki</h1>\n")
            .unwrap();
        std::fs::write(directory.path().join("users"), format!("{}:{{PLAIN}}{}\n", UPSTREAM.0, UPSTREAM.1)).unwrap();
        let configuration = format!(
            "daemon off;\nmaster_process off;\npid {root}/pid;\nerror_log {root}/error.log;\nevents {{}}\n\
             http {{\n\
               log_format full '$remote_user|$http_authorization|$http_cookie|$status|$request_uri';\n\
               access_log {root}/access.log full;\n\
               client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/fastcgi;\n\
               uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;\n\
               types {{ text/html html; }}\n\
               server {{\n\
                 listen 127.0.0.1:{port};\n\
                 listen 127.0.0.1:{tls_port} ssl;\n\
                 ssl_certificate {root}/certificate.pem; ssl_certificate_key {root}/key.pem;\n\
                 root {root}/www;\n\
                 auth_basic wiki; auth_basic_user_file {root}/users;\n\
               }}\n\
             }}\n"
        );
        let file = directory.path().join("nginx.conf");
        std::fs::write(&file, configuration).unwrap();
        let mut nginx = command(system_binary("nginx"));
        nginx.arg("-e").arg(directory.path().join("error.log")).arg("-p").arg(directory.path()).arg("-c").arg(&file);
        let process = Process::start("nginx", nginx);
        listening(port, &process).await;
        Self { port, tls_port, directory, _process: process }
    }

    /// Its address over TLS, with a certificate that nobody vouches for.
    #[must_use]
    pub fn tls_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.tls_port)
    }

    /// Its address, for `internal_host`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// One line per request: user, `Authorization`, `Cookie`, status, target.
    #[must_use]
    pub fn log(&self) -> Vec<Vec<String>> {
        let text = std::fs::read_to_string(self.directory.path().join("access.log")).unwrap_or_default();
        text.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect()
    }
}

/// Apache with WebDAV under `/dav/` and `git http-backend` under `/git/`, both behind HTTP Basic.
pub struct Apache {
    /// Its port.
    pub port: u16,
    directory: TempDir,
    _process: Process,
}

impl Apache {
    /// Starts it with an empty DAV folder and an empty repository `/git/project.git`.
    pub async fn start() -> Self {
        let directory = directory("apache");
        let (root, port) = (directory.path().display().to_string(), free_port());
        for folder in ["dav", "git", "lock"] {
            std::fs::create_dir_all(directory.path().join(folder)).unwrap();
        }
        let mut init = command("git");
        init.args(["init", "--quiet", "--bare", "--initial-branch=main"]).arg(directory.path().join("git/project.git"));
        init.env("HOME", directory.path());
        Finished::run(init).await.ok();
        std::fs::write(directory.path().join("users"), format!("{}:{UPSTREAM_SHA}\n", UPSTREAM.0)).unwrap();
        let file = directory.path().join("apache.conf");
        std::fs::write(&file, configuration(&root, port)).unwrap();
        give_to_server_user(directory.path());
        let mut apache = command(system_binary("apache2"));
        apache.args(["-X", "-f"]).arg(&file).env("HOME", directory.path());
        let process = Process::start("apache2", apache);
        listening(port, &process).await;
        Self { port, directory, _process: process }
    }

    /// Its address, for `internal_host`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The DAV folder.
    #[must_use]
    pub fn dav(&self) -> PathBuf {
        self.directory.path().join("dav")
    }

    /// One line per request: user, `Authorization`, `Cookie`, status, request line.
    #[must_use]
    pub fn log(&self) -> Vec<Vec<String>> {
        let text = std::fs::read_to_string(self.directory.path().join("access.log")).unwrap_or_default();
        text.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect()
    }
}

fn configuration(root: &str, port: u16) -> String {
    let mut text = modules(&[
        "mpm_event",
        "authz_core",
        "authz_user",
        "authn_core",
        "authn_file",
        "auth_basic",
        "alias",
        "env",
        "setenvif",
        "dir",
        "mime",
        "dav",
        "dav_fs",
        "cgi",
    ]);
    let get = std::env::var("PATH").unwrap_or_default();
    write!(
        text,
        "ServerRoot {root}\nServerName localhost\nListen 127.0.0.1:{port}\nPidFile {root}/pid\nDefaultRuntimeDir {root}\n\
         Mutex file:{root}/lock default\nErrorLog {root}/error.log\n\
         LogFormat \"%u|%{{Authorization}}i|%{{Cookie}}i|%>s|%r\" full\nCustomLog {root}/access.log full\n\
         DocumentRoot {root}/dav\nDavLockDB {root}/lock/dav\nTypesConfig /dev/null\nKeepAlive On\nMaxKeepAliveRequests 0\n\
         Alias /dav {root}/dav\nScriptAlias /git /usr/lib/git-core/git-http-backend\n\
         SetEnv GIT_PROJECT_ROOT {root}/git\nSetEnv GIT_HTTP_EXPORT_ALL 1\nSetEnv PATH {get}\nSetEnv HOME {root}\n\
         SetEnv GIT_CONFIG_COUNT 1\nSetEnv GIT_CONFIG_KEY_0 safe.directory\nSetEnv GIT_CONFIG_VALUE_0 *\n\
         <Location />\nAuthType Basic\nAuthName upstream\nAuthUserFile {root}/users\nRequire valid-user\n</Location>\n\
         <Location /dav>\nDav On\n</Location>\n"
    )
    .unwrap();
    text
}

/// How Apache loads its modules and gives root's rights up.
pub(crate) fn modules(names: &[&str]) -> String {
    let mut text = String::new();
    for module in names {
        writeln!(text, "LoadModule {module}_module /usr/lib/apache2/modules/mod_{module}.so").unwrap();
    }
    if is_root() {
        text.push_str("User www-data\nGroup www-data\n");
    }
    text
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Apache gives root's rights up, so its files belong to its user.
pub(crate) fn give_to_server_user(folder: &Path) {
    if is_root() {
        let status = Command::new("chown").args(["-R", "www-data:www-data"]).arg(folder).status().unwrap();
        assert!(status.success(), "cannot give {} to www-data", folder.display());
    }
}

/// An application that shows its environment, one variable a line, whatever path it is asked for: how fields of a
/// request look to programs that get them as variables.
pub struct Environment {
    port: u16,
    _directory: TempDir,
    _process: Process,
}

impl Environment {
    /// A CGI program behind Apache.
    pub async fn cgi() -> Self {
        let directory = directory("cgi");
        let (root, port) = (directory.path().display().to_string(), free_port());
        write_program(
            &directory.path().join("show"),
            "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\nexec env\n",
        );
        let file = directory.path().join("apache.conf");
        std::fs::write(&file, cgi_configuration(&root, port)).unwrap();
        give_to_server_user(directory.path());
        let mut apache = command(system_binary("apache2"));
        apache.args(["-X", "-f"]).arg(&file).env("HOME", directory.path());
        Self::of(port, directory, Process::start("apache2", apache)).await
    }

    /// A Python program by WSGI.
    pub async fn wsgi() -> Self {
        let (directory, port) = (directory("wsgi"), free_port());
        let file = directory.path().join("show.py");
        std::fs::write(&file, WSGI).unwrap();
        let mut python = command(system_binary("python3"));
        python.arg(&file).arg(port.to_string());
        Self::of(port, directory, Process::start("python3", python)).await
    }

    async fn of(port: u16, directory: TempDir, process: Process) -> Self {
        listening(port, &process).await;
        Self { port, _directory: directory, _process: process }
    }

    /// Its address, for `internal_host`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

const WSGI: &str = r#"
import sys
from wsgiref.simple_server import WSGIRequestHandler, make_server

class Quiet(WSGIRequestHandler):
    def log_message(self, *arguments):
        pass

def show(environ, start_response):
    lines = [f"{name}={value}\n" for name, value in environ.items() if isinstance(value, str)]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["".join(lines).encode("latin-1")]

make_server("127.0.0.1", int(sys.argv[1]), show, handler_class=Quiet).serve_forever()
"#;

pub(crate) fn write_program(file: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(file, text).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn cgi_configuration(root: &str, port: u16) -> String {
    let mut text = modules(&["mpm_event", "authz_core", "alias", "cgi"]);
    write!(
        text,
        "ServerRoot {root}\nServerName localhost\nListen 127.0.0.1:{port}\nPidFile {root}/pid\nDefaultRuntimeDir {root}\n\
         Mutex file:{root} default\nErrorLog {root}/error.log\nDocumentRoot {root}\nAllowEncodedSlashes NoDecode\n\
         ScriptAliasMatch ^(.*)$ {root}/show$1\n"
    )
    .unwrap();
    text
}

/// `curl` with arguments, and nothing of the user's settings.
pub async fn curl(arguments: &[&str]) -> Finished {
    let mut curl = command("curl");
    curl.args(["-q", "--silent", "--show-error", "--max-time", "60", "--noproxy", "*"]).args(arguments);
    Finished::run(curl).await
}

/// `git` with HTTP Basic sent at once, and nothing of the user's settings.
pub async fn git(folder: &Path, authorization: &str, arguments: &[&str]) -> Finished {
    let mut git = command("git");
    git.current_dir(folder)
        .args(["-c", &format!("http.extraHeader=Authorization: {authorization}")])
        .args(["-c", "user.name=A Test", "-c", "user.email=test@example.org", "-c", "safe.directory=*"])
        .args(arguments)
        .env("HOME", folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0");
    Finished::run(git).await
}

/// `rclone` with a WebDAV remote named `dav:`.
pub async fn rclone(folder: &Path, url: &str, username: &str, password: &str, arguments: &[&str]) -> Finished {
    let mut obscure = command("rclone");
    obscure.args(["obscure", password]).env("HOME", folder);
    let hidden = Finished::run(obscure).await.ok();
    let mut rclone = command("rclone");
    rclone
        .current_dir(folder)
        .args(arguments)
        .env("HOME", folder)
        .env("RCLONE_CONFIG_DAV_TYPE", "webdav")
        .env("RCLONE_CONFIG_DAV_VENDOR", "other")
        .env("RCLONE_CONFIG_DAV_URL", url)
        .env("RCLONE_CONFIG_DAV_USER", username)
        .env("RCLONE_CONFIG_DAV_PASS", hidden.trim());
    Finished::run(rclone).await
}
