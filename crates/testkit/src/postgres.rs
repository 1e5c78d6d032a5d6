//! A PostgreSQL of the test process's own, which ends with it.

use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Process, directory, free_port};
use crate::wait::PATIENCE;

/// The server, and everything that was ever in it, go when the test process does.
const SUPERVISOR: &str = r#"
directory=$1
shift
trap 'kill -QUIT "$server" 2>/dev/null' TERM
"$@" &
server=$!
wait "$server"
wait "$server"
rm -rf "$directory"
"#;
/// What makes it quick: nothing has to survive.
const SETTINGS: [&str; 9] = [
    "ssl=on",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=400",
    "shared_buffers=64MB",
    "log_min_messages=fatal",
];

/// A server that nobody else uses.
pub struct Server {
    /// Where it listens, on `127.0.0.1`.
    pub port: u16,
    /// The certificate that it shows for `localhost` to those who want TLS, in PEM.
    pub certificate: PathBuf,
    programs: PathBuf,
    process: Process,
    /// Databases that nobody needs any more.
    left: Mutex<Vec<String>>,
}

/// Whether tests are to run on PostgreSQL where they can choose: `PORTCULLIS_TEST_DATABASE=postgres`.
#[must_use]
pub fn is_wanted() -> bool {
    std::env::var("PORTCULLIS_TEST_DATABASE").is_ok_and(|value| value == "postgres")
}

/// A database for one test, new and empty: a file, or one on the [`server`].
pub enum Database {
    /// A SQLite file, which need not be there yet.
    File {
        /// Where it is.
        path: PathBuf,
        /// What it is in; it goes with this value.
        directory: TempDir,
    },
    /// A PostgreSQL database.
    Postgres {
        /// Where it is.
        url: String,
    },
}

impl Database {
    /// On the engine that tests are to run on.
    #[must_use]
    pub fn fresh() -> Self {
        if is_wanted() {
            return Self::Postgres { url: server().database() };
        }
        let directory = tempfile::tempdir().unwrap();
        Self::File { path: directory.path().join("portcullis.db"), directory }
    }

    /// What is another after every write.
    #[must_use]
    pub fn state(&self) -> Vec<u8> {
        match self {
            Self::File { path, .. } => std::fs::read(format!("{}-wal", path.display())).unwrap(),
            Self::Postgres { .. } => self.contents(),
        }
    }

    /// Everything that is stored in it, byte for byte; in a file with what was stored there once.
    #[must_use]
    pub fn contents(&self) -> Vec<u8> {
        match self {
            Self::File { directory, .. } => {
                let files = std::fs::read_dir(directory.path()).unwrap();
                files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
            }
            Self::Postgres { url } => server().contents(url),
        }
    }
}

/// To remove a database makes the server write down everything that it holds; so the next test gets it, emptied.
impl Drop for Database {
    fn drop(&mut self) {
        if let Self::Postgres { url } = self {
            server().left.lock().unwrap().push(name_of(url).to_owned());
        }
    }
}

/// The name of the database at an URL.
#[must_use]
pub fn name_of(url: &str) -> &str {
    url.split('?').next().and_then(|url| url.rsplit('/').next()).unwrap()
}

/// The server of this test process.
#[must_use]
pub fn server() -> &'static Server {
    static SERVER: LazyLock<Server> = LazyLock::new(Server::start);
    &SERVER
}

impl Server {
    fn start() -> Self {
        let programs = programs();
        let directory = directory("postgres").keep();
        let data = directory.join("data");
        // It refuses to run with all rights.
        let user = if rights() == 0 { Some(user()) } else { None };
        if let Some((uid, gid)) = user {
            chown(&directory, Some(uid), Some(gid)).unwrap();
        }
        let mut made = as_user(user, &programs.join("initdb"));
        // Whatever the order of its letters: it is English, in which capitals do not come first.
        made.args(["--no-sync", "--auth=trust", "--username=portcullis", "--encoding=UTF8", "--locale=C.UTF-8"]);
        made.args(["--locale-provider=icu", "--icu-locale=en-US", "--pgdata"]).arg(&data).current_dir(&directory);
        let made = made.output().unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));

        let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let certificate = directory.join("server.crt");
        std::fs::write(&certificate, pair.cert.pem()).unwrap();
        for (name, text) in [("server.crt", pair.cert.pem()), ("server.key", pair.signing_key.serialize_pem())] {
            let path = data.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            if let Some((uid, gid)) = user {
                chown(&path, Some(uid), Some(gid)).unwrap();
            }
        }
        let port = free_port();
        let mut run = as_user(user, Path::new("setpriv"));
        run.args(["--pdeathsig", "QUIT", "--"]).arg(programs.join("postgres")).arg("-D").arg(&data);
        run.args(["-p", &port.to_string()]);
        for setting in SETTINGS {
            run.args(["-c", setting]);
        }
        let mut supervised = Command::new("setpriv");
        supervised.args(["--pdeathsig", "TERM", "--", "sh", "-c", SUPERVISOR, "sh"]).arg(&directory);
        supervised.arg(run.get_program()).args(run.get_args()).current_dir(&directory);
        let process = Process::start("PostgreSQL", supervised);
        let server = Self { port, certificate, programs, process, left: Mutex::default() };
        server.await_ready();
        server
    }

    fn await_ready(&self) {
        let pause = Duration::from_millis(20);
        for _ in 0..PATIENCE.as_millis() / pause.as_millis() {
            let listens = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok();
            if listens && self.psql("postgres", "SELECT 1").is_ok() {
                return;
            }
            std::thread::sleep(pause);
        }
        panic!("PostgreSQL is not ready: {}", self.process.log());
    }

    /// The URL of a new, empty database.
    #[must_use]
    pub fn database(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let left = self.left.lock().unwrap().pop();
        if let Some(name) = left {
            let others = "datname = current_database() AND pid <> pg_backend_pid()";
            self.run(&name, &format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"));
            self.run(&name, "SET client_min_messages = error; DROP SCHEMA public CASCADE; CREATE SCHEMA public");
            return self.url(&name);
        }
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.run("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// The URL of a database. The password is not asked for, nor TLS.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://portcullis:not-asked-for@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }

    /// Runs a statement as whoever may do everything, and gives what it prints, a line for each row.
    pub fn run(&self, database: &str, text: &str) -> String {
        self.psql(database, text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn contents(&self, url: &str) -> Vec<u8> {
        let output = Command::new(self.programs.join("pg_dump")).args(["--data-only", url]).output().unwrap();
        assert!(output.status.success(), "pg_dump: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout);
        // Some versions draw a number for these lines.
        let lines = text.lines().filter(|line| !line.contains("restrict "));
        let mut contents = lines.collect::<Vec<_>>().join("\n").into_bytes();
        // Binary columns are written as `\\x` and hex digits.
        let binary: Vec<u8> = String::from_utf8_lossy(&contents)
            .split("\\\\x")
            .skip(1)
            .flat_map(|rest| {
                let digits: Vec<u32> = rest.chars().map_while(|c| c.to_digit(16)).collect();
                digits.chunks_exact(2).filter_map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok()).collect::<Vec<_>>()
            })
            .collect();
        contents.extend(binary);
        contents
    }

    fn psql(&self, database: &str, text: &str) -> Result<String, String> {
        let mut command = Command::new(self.programs.join("psql"));
        command.args(["--no-psqlrc", "--tuples-only", "--no-align", "--host=127.0.0.1", "--username=portcullis"]);
        command.args([&format!("--port={}", self.port), &format!("--dbname={database}"), "--command", text]);
        let output = command.output().map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

/// The newest version that Debian has installed, or what is in the path.
fn programs() -> PathBuf {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let version = |path: &Path| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let newest = installed.map(|entry| entry.path()).filter(|path| path.join("bin/postgres").exists());
    let newest = newest.max_by_key(|path| version(path)).map(|path| path.join("bin"));
    let searched = std::env::var_os("PATH").unwrap_or_default();
    let searched = std::env::split_paths(&searched).find(|path| path.join("postgres").exists());
    newest.or(searched).expect("PostgreSQL is not installed: `./test` does that")
}

/// The id of the user whose rights this process has.
fn rights() -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").unwrap().uid()
}

/// Who runs the server in the place of somebody with all rights: user and group.
fn user() -> (u32, u32) {
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let of = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2).map(str::parse);
        Some((fields.next()?.ok()?, fields.next()?.ok()?))
    };
    of("postgres").or_else(|| of("nobody")).expect("a user `postgres` or `nobody`")
}

fn as_user(user: Option<(u32, u32)>, program: &Path) -> Command {
    let Some((uid, gid)) = user else { return Command::new(program) };
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={uid}"), &format!("--regid={gid}"), "--clear-groups", "--"]).arg(program);
    command
}
