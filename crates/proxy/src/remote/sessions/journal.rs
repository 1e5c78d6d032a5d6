//! The file that sessions survive a restart in (PX-174): lines that are added, and now and then copied without those that
//! mean nothing any more.
//!
//! A line that cannot be read, such as the last one of a process that was cut off, is passed over.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use portcullis_core::claims::Claims;
use portcullis_core::clock::Timestamp;
use portcullis_core::id::ProviderPk;
use portcullis_core::keys::Digest;
use portcullis_core::outpost::{Bearings, Grant, SessionRecord, Source};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::State;

/// Lines beyond twice the sessions that there are, from which on the file is copied.
const SLACK: usize = 10_000;

/// Whether lines are in the file.
pub(super) type Written = oneshot::Receiver<io::Result<()>>;

/// One line of the file.
pub(super) enum Line {
    /// A session, sealed.
    Put { provider: ProviderPk, digest: Digest, sealed: Vec<u8> },
    /// A session ended.
    End { provider: ProviderPk, digest: Digest },
    /// The name of an additional header was seen (PX-221).
    Header { provider: ProviderPk, name: String },
}

impl Line {
    pub(super) fn put(provider: ProviderPk, digest: &Digest, sealed: &[u8]) -> String {
        format!("put {provider} {} {}\n", hex::encode(digest), STANDARD_NO_PAD.encode(sealed))
    }

    pub(super) fn end(provider: ProviderPk, digest: &Digest) -> String {
        format!("end {provider} {}\n", hex::encode(digest))
    }

    pub(super) fn header(provider: ProviderPk, name: &str) -> String {
        format!("header {provider} {name}\n")
    }

    fn read(line: &str) -> Option<Self> {
        // Without its end, the rest may be missing.
        let mut words = line.strip_suffix('\n')?.split(' ');
        let (kind, provider) = (words.next()?, ProviderPk(words.next()?.parse().ok()?));
        let third = words.next()?;
        let digest = || hex::decode(third).ok().and_then(|bytes| Digest::try_from(bytes.as_slice()).ok());
        match (kind, words.next()) {
            ("put", Some(sealed)) => {
                Some(Self::Put { provider, digest: digest()?, sealed: STANDARD_NO_PAD.decode(sealed).ok()? })
            }
            ("end", None) => Some(Self::End { provider, digest: digest()? }),
            ("header", None) => Some(Self::Header { provider, name: third.to_owned() }),
            _ => None,
        }
    }
}

/// A session as it is sealed. When it was built means nothing to another process.
#[derive(Serialize, Deserialize)]
struct Sealed {
    salt: Digest,
    source: Source,
    fingerprint: Option<Digest>,
    created: i64,
    expires: i64,
    claims: Claims,
    raw_token: String,
    access_token: String,
    upstream_token: Option<String>,
    grant_expires: i64,
    bearings: Bearings,
    logout_hint: Option<String>,
}

/// Ties what is sealed to its line.
pub(super) fn place(provider: ProviderPk, digest: &Digest) -> String {
    format!("outpost session:{provider}:{}", hex::encode(digest))
}

/// What is sealed of a session.
pub(super) fn kept(record: &SessionRecord, created: Timestamp) -> io::Result<Vec<u8>> {
    let grant = &record.grant;
    let sealed = Sealed {
        salt: record.salt,
        source: record.source,
        fingerprint: record.fingerprint,
        created: created.0,
        expires: record.expires.0,
        claims: grant.claims.clone(),
        raw_token: grant.raw_token.clone(),
        access_token: grant.access_token.clone(),
        upstream_token: grant.upstream_token.clone(),
        grant_expires: grant.expires.0,
        bearings: grant.bearings.clone(),
        logout_hint: grant.logout_hint.clone(),
    };
    Ok(serde_json::to_vec(&sealed)?)
}

/// Reads what [`kept`] wrote, and when the session was created.
pub(super) fn unkept(provider: ProviderPk, digest: Digest, text: &[u8]) -> Option<(SessionRecord, Timestamp)> {
    let sealed: Sealed = serde_json::from_slice(text).ok()?;
    let grant = Grant {
        claims: sealed.claims,
        raw_token: sealed.raw_token,
        access_token: sealed.access_token,
        upstream_token: sealed.upstream_token,
        statement: None,
        expires: Timestamp(sealed.grant_expires),
        bearings: sealed.bearings,
        built_at: 0,
        logout_hint: sealed.logout_hint,
    };
    let record = SessionRecord {
        provider,
        digest,
        salt: sealed.salt,
        source: sealed.source,
        fingerprint: sealed.fingerprint,
        expires: Timestamp(sealed.expires),
        grant,
    };
    Some((record, Timestamp(sealed.created)))
}

/// The lines of the file; none if there is none.
pub(super) fn read(path: &Path) -> io::Result<Vec<Line>> {
    let mut lines = Vec::new();
    if let Some(file) = present(path)? {
        each(file, |text| {
            lines.extend(Line::read(text));
            Ok(())
        })?;
    }
    Ok(lines)
}

fn present(path: &Path) -> io::Result<Option<BufReader<File>>> {
    match File::open(path) {
        Ok(file) => Ok(Some(BufReader::new(file))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn each(mut from: impl BufRead, mut take: impl FnMut(&str) -> io::Result<()>) -> io::Result<()> {
    let mut bytes = Vec::new();
    while from.read_until(b'\n', &mut bytes)? > 0 {
        if let Ok(text) = std::str::from_utf8(&bytes) {
            take(text)?;
        }
        bytes.clear();
    }
    Ok(())
}

type Done = oneshot::Sender<io::Result<()>>;

enum Order {
    Write { lines: Vec<String>, through: bool, done: Done },
    Tidy(Done),
}

/// Writes to the file, in a thread of its own.
pub(super) struct Journal {
    orders: mpsc::Sender<Order>,
    lines: Arc<AtomicUsize>,
}

impl Journal {
    /// Copies what is still good of the file, and goes on behind that.
    pub(super) fn start(path: &Path, state: Arc<Mutex<State>>) -> io::Result<Self> {
        let (orders, inbox) = mpsc::channel();
        let lines = Arc::<AtomicUsize>::default();
        let mut writer =
            Writer { path: path.to_owned(), state, lines: Arc::clone(&lines), file: None, tail: Tail::default() };
        writer.tidy()?;
        thread::Builder::new().name("sessions".to_owned()).spawn(move || writer.run(&inbox))?;
        Ok(Self { orders, lines })
    }

    /// Adds lines. To be called while nobody else can change the state, so that they are in order.
    pub(super) fn write(&self, lines: Vec<String>) -> Written {
        self.order(lines, false)
    }

    /// The same; they are on the disk before it is confirmed. What ended stays so, even if the machine stops.
    pub(super) fn write_through(&self, lines: Vec<String>) -> Written {
        self.order(lines, true)
    }

    fn order(&self, lines: Vec<String>, through: bool) -> Written {
        let (done, written) = oneshot::channel();
        self.lines.fetch_add(lines.len(), Ordering::Relaxed);
        // If the thread is gone, so is the other end of `written`.
        drop(self.orders.send(Order::Write { lines, through, done }));
        written
    }

    /// Copies the file if most of it means nothing any more.
    pub(super) async fn tidy(&self, live: usize) -> io::Result<()> {
        if self.lines.load(Ordering::Relaxed) <= live.saturating_mul(2).saturating_add(SLACK) {
            return Ok(());
        }
        let (done, tidied) = oneshot::channel();
        drop(self.orders.send(Order::Tidy(done)));
        tidied.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
    }
}

struct Writer {
    path: PathBuf,
    state: Arc<Mutex<State>>,
    lines: Arc<AtomicUsize>,
    file: Option<File>,
    tail: Tail,
}

/// What the end of the file is like after writes that failed.
#[derive(Default)]
struct Tail {
    /// It may be in the middle of a line.
    torn: bool,
    /// Ends that could not be written. Their sessions are gone here, and must not be back after a restart.
    owed: String,
}

impl Tail {
    /// Adds lines, and what is owed before them. `out` is given back to be kept open, unless it failed.
    fn add<W: Write>(
        &mut self,
        mut out: W,
        lines: &[String],
        through: impl FnOnce(&W) -> io::Result<()>,
    ) -> io::Result<W> {
        // A line of its own: what was cut off means nothing, and takes no other with it.
        let start = if self.torn { "\n" } else { "" };
        let text = [start, &self.owed, &lines.concat()].concat();
        match out.write_all(text.as_bytes()).and_then(|()| through(&out)) {
            Ok(()) => {
                *self = Self::default();
                Ok(out)
            }
            Err(error) => {
                self.torn = true;
                Err(self.missed(lines, error))
            }
        }
    }

    /// Lines could not be written.
    fn missed(&mut self, lines: &[String], error: io::Error) -> io::Error {
        self.owed.extend(lines.iter().filter(|line| line.starts_with("end ")).map(String::as_str));
        error
    }
}

impl Writer {
    fn run(mut self, inbox: &mpsc::Receiver<Order>) {
        while let Ok(order) = inbox.recv() {
            let (outcome, done) = match order {
                Order::Write { lines, through, done } => (self.write(&lines, through), done),
                Order::Tidy(done) => (self.tidy(), done),
            };
            if let Err(error) = &outcome {
                tracing::error!(%error, file = %self.path.display(), "cannot write the file of sessions");
            }
            // Whoever asked may have gone.
            drop(done.send(outcome));
        }
    }

    fn write(&mut self, lines: &[String], through: bool) -> io::Result<()> {
        let file = match self.file.take() {
            Some(file) => Ok(file),
            None => private().append(true).open(&self.path),
        };
        // Whatever is owed goes with these, or is owed on together with them.
        let out = file.map_err(|error| self.tail.missed(lines, error))?;
        let through = through || !self.tail.owed.is_empty();
        self.file = Some(self.tail.add(out, lines, |file| if through { file.sync_data() } else { Ok(()) })?);
        Ok(())
    }

    /// Copies the lines of sessions that are still there. Ends of others need not be told any more.
    fn tidy(&mut self) -> io::Result<()> {
        self.file = None;
        let beside = self.path.with_extension("new");
        let mut copy = BufWriter::new(private().write(true).truncate(true).open(&beside)?);
        let mut count = 0;
        if let Some(file) = present(&self.path)? {
            each(file, |text| {
                if !self.is_good(text) {
                    return Ok(());
                }
                count += 1;
                copy.write_all(text.as_bytes())
            })?;
        }
        copy.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::rename(&beside, &self.path)?;
        // Those that ended are not in the copy.
        self.tail = Tail::default();
        self.lines.store(count, Ordering::Relaxed);
        Ok(())
    }

    fn is_good(&self, text: &str) -> bool {
        match Line::read(text) {
            Some(Line::Put { provider, digest, .. }) => {
                let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.is_live(&(provider, digest))
            }
            Some(Line::Header { .. }) => true,
            Some(Line::End { .. }) | None => false,
        }
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).mode(0o600);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with so much room.
    struct Disk<'a> {
        written: &'a mut Vec<u8>,
        room: usize,
    }

    impl Write for Disk<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let fits = &bytes[..bytes.len().min(self.room)];
            if fits.is_empty() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= fits.len();
            self.written.extend(fits);
            Ok(fits.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// PX-174, PX-195: a write that fails in the middle of a line takes no later line with it, and what ended meanwhile is
    /// written down as soon as anything can be.
    #[test]
    fn px_174_a_failed_write_loses_no_end() {
        let line = |value: u8| Line::end(ProviderPk(7), &[value; 32]);
        let put = Line::put(ProviderPk(7), &[9; 32], b"sealed");
        for room in 0..line(1).len() + put.len() {
            let (mut written, mut tail) = (Vec::new(), Tail::default());
            let full = tail.add(Disk { written: &mut written, room }, &[put.clone(), line(1)], |_| Ok(()));
            assert!(full.is_err(), "{room}");
            drop(full);
            let sync_fails = |_: &Disk<'_>| Err(io::ErrorKind::StorageFull.into());
            assert!(tail.add(Disk { written: &mut written, room: 1000 }, &[line(2)], sync_fails).is_err());
            assert!(tail.add(Disk { written: &mut written, room: 1000 }, &[line(3)], |_| Ok(())).is_ok());
            assert!(tail.owed.is_empty() && !tail.torn);
            let mut ended = std::collections::BTreeSet::new();
            each(written.as_slice(), |text| {
                if let Some(Line::End { digest, .. }) = Line::read(text) {
                    ended.insert(digest[0]);
                }
                Ok(())
            })
            .unwrap();
            assert_eq!(ended.into_iter().collect::<Vec<_>>(), [1, 2, 3], "{room}");
        }
    }
}
