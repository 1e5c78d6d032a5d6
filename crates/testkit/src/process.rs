//! Child processes that never outlive the test process.

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, LazyLock, Mutex};

use crate::wait::until;

/// A command with a clean environment that the kernel ends when the test process ends.
#[must_use]
pub fn command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program.as_ref());
    command.env_clear().stdin(Stdio::null());
    for name in ["PATH", "LANG", "TMPDIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// A new directory, removed when dropped, that a server under another user can reach.
#[must_use]
pub fn directory(purpose: &str) -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let parent = std::env::var_os("PORTCULLIS_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = tempfile::Builder::new().prefix(&format!("portcullis-{purpose}-")).tempdir_in(parent).unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

/// A TCP port on which nothing listens. No port is given out twice by one test process, and all lie below the range
/// from which the kernel takes the ports of outgoing connections.
#[must_use]
pub fn free_port() -> u16 {
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 18_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 180).unwrap() * 100;
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (start + step % COUNT) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// The kernel ends a child when the *thread* that started it ends, so one thread that never ends starts them all.
fn spawn(command: Command) -> std::io::Result<Child> {
    type Order = (Command, mpsc::Sender<std::io::Result<Child>>);
    static ORDERS: LazyLock<Mutex<mpsc::Sender<Order>>> = LazyLock::new(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in inbox {
                drop(answer.send(command.spawn()));
            }
        });
        Mutex::new(orders)
    });
    let (answer, result) = mpsc::channel();
    ORDERS.lock().unwrap().send((command, answer)).unwrap();
    result.recv().unwrap()
}

/// A process in the background whose output is kept.
pub struct Process {
    name: String,
    child: Mutex<Child>,
    log: Arc<Mutex<Vec<u8>>>,
}

impl Process {
    /// Starts `command`; standard output and standard error go to the log.
    #[must_use]
    pub fn start(name: &str, mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn(command).unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let log = Arc::default();
        collect(child.stdout.take().unwrap(), &log);
        collect(child.stderr.take().unwrap(), &log);
        Self { name: name.to_owned(), child: Mutex::new(child), log }
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.lock().unwrap().id()
    }

    /// What it wrote so far.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&self.log.lock().unwrap()).into_owned()
    }

    /// Sends a signal by name, such as `TERM`.
    pub fn signal(&self, signal: &str) {
        // The shell's own `kill`: a small system has no program of that name.
        let status = Command::new("sh").arg("-c").arg(format!("kill -{signal} {}", self.pid())).status().unwrap();
        assert!(status.success(), "{} is gone", self.name);
    }

    /// How it ended, if it did.
    #[must_use]
    pub fn ended(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap().try_wait().unwrap()
    }

    /// Waits for it to end by itself.
    pub async fn end(&self) -> ExitStatus {
        until(&format!("the end of {}", self.name), async || self.ended()).await
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        drop(child.kill());
        drop(child.wait());
    }

    /// Resident memory in KiB.
    #[must_use]
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

/// Lets a process open as many files as the system allows it to, and gives that number.
pub fn raise_open_files(pid: u32) -> u64 {
    let pid = pid.to_string();
    let prlimit = |arguments: &[&str]| {
        let output = Command::new("prlimit").args(["--pid", &pid]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let hard = prlimit(&["--nofile", "--noheadings", "--raw", "--output", "HARD"]).trim().to_owned();
    prlimit(&[&format!("--nofile={hard}:{hard}")]);
    hard.parse().unwrap_or(u64::MAX)
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let tail = log.char_indices().rev().nth(6000).map_or(0, |(at, _)| at);
            eprintln!("--- {} wrote (at most the last 6000 characters):\n{}\n---", self.name, &log[tail..]);
        }
    }
}

fn collect(mut from: impl Read + Send + 'static, into: &Arc<Mutex<Vec<u8>>>) {
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut chunk) {
            into.lock().unwrap().extend_from_slice(&chunk[..count]);
        }
    });
}

/// A command that ran to its end.
#[derive(Debug)]
pub struct Finished {
    /// Exit code; `None` after a signal. 124 when it took longer than two minutes.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// Runs `command` to its end.
    pub async fn run(command: Command) -> Self {
        let mut limited = self::command("timeout");
        limited.args(["-k", "1", "120"]).args(command.get_args().skip(3));
        limited.env_clear();
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                limited.env(name, value);
            }
        }
        if let Some(directory) = command.get_current_dir() {
            limited.current_dir(directory);
        }
        limited.stdout(Stdio::piped()).stderr(Stdio::piped());
        tokio::task::spawn_blocking(move || {
            let output = spawn(limited).unwrap().wait_with_output().unwrap();
            Self {
                code: output.status.code(),
                stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
                stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            }
        })
        .await
        .unwrap()
    }

    /// Its standard output.
    ///
    /// # Panics
    /// When it failed.
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self.stdout
    }
}

/// Runs a program with arguments to its end.
pub async fn tool(program: &str, arguments: &[&str]) -> Finished {
    let mut command = command(program);
    command.args(arguments);
    Finished::run(command).await
}
