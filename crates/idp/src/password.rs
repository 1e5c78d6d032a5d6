//! Passwords: Argon2id, bounded in memory, the same work for known and unknown users (CO-461, CO-462).

mod django;

use std::sync::{Mutex, PoisonError};

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use portcullis_core::entropy::Entropy;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use django::DjangoHash;

/// Longest password in bytes. Nothing is ever cut off.
pub const MAX_BYTES: usize = 1024;

/// Hash operations at one time, 19 MiB each.
static PERMITS: Semaphore = Semaphore::const_new(4);

/// Their memory.
static POOL: Pool = Pool::new();

/// A hash that no password matches, with the cost of a real one.
const DECOY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Why a password cannot be hashed.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// It is empty.
    #[error("This field may not be blank.")]
    Empty,
    /// It has more than [`MAX_BYTES`] bytes.
    #[error("Ensure this field has no more than 1024 characters.")]
    Long,
    /// The text given as a hash is none that we can verify.
    #[error("not a password hash in Argon2id PHC form, nor one of pbkdf2_sha256")]
    NotAHash,
    /// Memory for the hash is not to be had.
    #[error("cannot hash: {0}")]
    Hash(String),
}

/// What a comparison found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is not the password.
    Wrong,
    /// It is the password.
    Right,
    /// It is the password, and its hash is weaker than a new one would be: hash it again.
    RightButWeak,
}

impl Verdict {
    /// Whether it is the password.
    pub fn is_right(self) -> bool {
        self != Self::Wrong
    }
}

/// Memory that hash operations use one after the other, for as long as any is under way: then it goes back to the allocator.
struct Pool(Mutex<Shared>);

struct Shared {
    running: usize,
    idle: Vec<Vec<Block>>,
}

impl Pool {
    const fn new() -> Self {
        Self(Mutex::new(Shared { running: 0, idle: Vec::new() }))
    }

    /// The output of Argon2, in memory of the pool; parameters that need more than ours get their own.
    fn derive(
        &self,
        argon: &Argon2<'_>,
        password: &[u8],
        salt: &[u8],
        length: usize,
    ) -> Result<Output, Box<dyn std::error::Error>> {
        let blocks = argon.params().block_count();
        let mut memory = if blocks <= Params::DEFAULT.block_count() {
            self.borrow()?
        } else {
            let mut own = Vec::new();
            own.try_reserve_exact(blocks)?;
            own.resize(blocks, Block::default());
            Borrowed { memory: own, pool: None }
        };
        let mut buffer = [0; Output::MAX_LENGTH];
        let out = buffer.get_mut(..length).ok_or("output too long")?;
        argon.hash_password_into_with_memory(password, salt, out, &mut memory.memory)?;
        Ok(Output::new(out)?)
    }

    fn borrow(&self) -> Result<Borrowed<'_>, std::collections::TryReserveError> {
        let mut shared = self.shared();
        shared.running += 1;
        let idle = shared.idle.pop();
        drop(shared);
        let mut borrowed = Borrowed { memory: idle.unwrap_or_default(), pool: Some(self) };
        borrowed.memory.try_reserve_exact(MAPPED.saturating_sub(borrowed.memory.len()))?;
        borrowed.memory.resize(Params::DEFAULT.block_count(), Block::default());
        Ok(borrowed)
    }

    fn shared(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room for so many blocks is asked for, and most of it never touched: glibc's allocator hands what is larger than 32 MiB
/// straight back to the system, while less would stay resident in the arena of every thread that ever hashed. jemalloc,
/// where the binary has it, gives back whatever it is within a second.
const MAPPED: usize = 33 * 1024;

/// Memory of one hash operation.
struct Borrowed<'a> {
    memory: Vec<Block>,
    pool: Option<&'a Pool>,
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        let Some(pool) = self.pool else { return };
        let mut shared = pool.shared();
        shared.running -= 1;
        if shared.running > 0 {
            shared.idle.push(std::mem::take(&mut self.memory));
            return;
        }
        let idle = std::mem::take(&mut shared.idle);
        drop(shared);
        drop(idle);
    }
}

/// Hashes at 19 MiB, two passes, one lane.
fn new_hash(pool: &Pool, password: &[u8], salt: &[u8]) -> Result<PasswordHash, String> {
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT);
    let output = pool.derive(&argon, password, salt, Params::DEFAULT_OUTPUT_LEN).map_err(|error| error.to_string())?;
    Ok(PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(argon.params()).map_err(|error| error.to_string())?,
        salt: Some(Salt::new(salt).map_err(|error| error.to_string())?),
        hash: Some(output),
    })
}

/// Whether a password has this hash, whatever its variant and parameters. Compares in constant time.
fn is_match(pool: &Pool, password: &[u8], hash: &PasswordHash) -> bool {
    let (Some(salt), Some(expected)) = (&hash.salt, &hash.hash) else { return false };
    let Ok(algorithm) = Algorithm::try_from(hash.algorithm.as_str()) else { return false };
    let Ok(version) = hash.version.map_or(Ok(Version::V0x13), Version::try_from) else { return false };
    let Ok(params) = Params::try_from(hash) else { return false };
    let argon = Argon2::new(algorithm, version, params);
    pool.derive(&argon, password, salt, expected.len()).is_ok_and(|output| output == *expected)
}

/// Hashes a password of 1 to [`MAX_BYTES`] bytes to PHC form.
///
/// # Errors
/// When the password is empty or long, or there is no memory.
pub async fn hash(entropy: &dyn Entropy, password: &str) -> Result<String, PasswordError> {
    if password.is_empty() {
        return Err(PasswordError::Empty);
    }
    if password.len() > MAX_BYTES {
        return Err(PasswordError::Long);
    }
    let password = Zeroizing::new(password.to_owned());
    let salt = entropy.bytes::<16>();
    let hashed = blocking(move || new_hash(&POOL, password.as_bytes(), &salt)).await;
    match hashed {
        Some(Ok(hash)) => Ok(hash.to_string()),
        Some(Err(error)) => Err(PasswordError::Hash(error)),
        None => Err(PasswordError::Hash("interrupted".to_owned())),
    }
}

/// Compares a password with a stored hash. Without a hash (unknown user, no password) the work is the
/// same and the answer is always [`Verdict::Wrong`] (CO-040, CO-462).
pub async fn verify(password: &str, stored: Option<&str>) -> Verdict {
    if password.is_empty() || password.len() > MAX_BYTES {
        return Verdict::Wrong;
    }
    let password = Zeroizing::new(password.to_owned());
    let known = stored.is_some();
    let stored = stored.unwrap_or(DECOY).to_owned();
    blocking(move || {
        if let Some(foreign) = DjangoHash::parse(&stored) {
            return if foreign.is_of(password.as_bytes()) { Verdict::RightButWeak } else { Verdict::Wrong };
        }
        let Ok(parsed) = PasswordHash::new(&stored) else { return Verdict::Wrong };
        let matches = is_match(&POOL, password.as_bytes(), &parsed);
        match (matches && known, is_weak(&parsed)) {
            (false, _) => Verdict::Wrong,
            (true, false) => Verdict::Right,
            (true, true) => Verdict::RightButWeak,
        }
    })
    .await
    .unwrap_or(Verdict::Wrong)
}

/// Checks that a text is a hash that [`verify`] understands (CO-481).
///
/// # Errors
/// [`PasswordError::NotAHash`] when it is not, or would cost more than 1 GiB or 64 passes.
pub fn check_hash(text: &str) -> Result<(), PasswordError> {
    if DjangoHash::parse(text).is_some() {
        return Ok(());
    }
    let parsed = PasswordHash::new(text).map_err(|_| PasswordError::NotAHash)?;
    let params = Params::try_from(&parsed).map_err(|_| PasswordError::NotAHash)?;
    let ours = parsed.algorithm == Algorithm::Argon2id.ident() && parsed.salt.is_some() && parsed.hash.is_some();
    if ours && params.m_cost() <= 1 << 20 && params.t_cost() <= 64 { Ok(()) } else { Err(PasswordError::NotAHash) }
}

fn is_weak(hash: &PasswordHash) -> bool {
    Params::try_from(hash).map_or(true, |params| {
        params.m_cost() < Params::DEFAULT_M_COST
            || params.t_cost() < Params::DEFAULT_T_COST
            || hash.algorithm != Algorithm::Argon2id.ident()
    })
}

/// Runs hash work on a thread of its own. The permit goes with the work: a caller who gives up does not
/// free memory that is still in use.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let permit = PERMITS.acquire().await.ok()?;
    tokio::task::spawn_blocking(move || {
        let done = work();
        drop(permit);
        done
    })
    .await
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::password_hash::PasswordHasher;
    use portcullis_core::entropy::SystemEntropy;

    /// CO-461: a password verifies against its own hash alone, at 19 MiB and two passes.
    #[tokio::test]
    async fn co_461_passwords_verify_against_their_hash() {
        let hashed = hash(&SystemEntropy, "correct horse").await.expect("hashes");
        assert!(hashed.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hashed}");
        check_hash(&hashed).expect("is one of ours");
        assert_eq!(verify("correct horse", Some(&hashed)).await, Verdict::Right);
        assert_eq!(verify("correct horsE", Some(&hashed)).await, Verdict::Wrong);
        assert!(matches!(hash(&SystemEntropy, "").await, Err(PasswordError::Empty)));
        assert!(matches!(hash(&SystemEntropy, &"x".repeat(1025)).await, Err(PasswordError::Long)));
    }

    /// CO-461: a weaker hash still verifies, and asks to be replaced.
    #[tokio::test]
    async fn co_461_weaker_hashes_ask_to_be_replaced() {
        let params = Params::new(8, 1, 1, None).expect("valid");
        let weak =
            Argon2::from(params).hash_password_with_salt(b"pw", b"sixteen salt byt").expect("hashes").to_string();
        assert_eq!(verify("pw", Some(&weak)).await, Verdict::RightButWeak);
        assert_eq!(verify("no", Some(&weak)).await, Verdict::Wrong);
    }

    /// CO-461: a hash by pbkdf2_sha256, as imported users have it, verifies and asks to be replaced.
    #[tokio::test]
    async fn co_461_imported_hashes_verify() {
        let imported = "pbkdf2_sha256$1000$sixteensaltbytes$zujBMnLGHp1RXbGVRky08tTKuefH+yVm54EtQoQsBSs=";
        check_hash(imported).expect("is taken");
        assert_eq!(verify("correct horse", Some(imported)).await, Verdict::RightButWeak);
        assert_eq!(verify("correct horsE", Some(imported)).await, Verdict::Wrong);
    }

    /// CO-461: hash operations share their memory while any is under way, and none of it is kept when none is; a hash that
    /// needs more than ours gets it for once only.
    #[test]
    fn co_461_memory_is_used_again() {
        let pool = Pool::new();
        let hashed = new_hash(&pool, b"pw", b"sixteen salt byt").expect("hashes");
        let address = || pool.shared().idle.iter().map(|blocks| (blocks.as_ptr(), blocks.len())).collect::<Vec<_>>();
        assert_eq!(address(), []);
        let under_way = pool.borrow().expect("memory");
        assert!(is_match(&pool, b"pw", &hashed));
        let first = address();
        assert_eq!(first.len(), 1);
        assert!(is_match(&pool, b"pw", &hashed) && !is_match(&pool, b"no", &hashed));
        for (algorithm, version, params) in [
            (Algorithm::Argon2i, Version::V0x10, Params::new(64, 1, 2, Some(16))),
            (Algorithm::Argon2d, Version::V0x13, Params::new(32, 1, 1, Some(64))),
            (Algorithm::Argon2id, Version::V0x13, Params::new(Params::DEFAULT_M_COST + 8, 1, 1, None)),
        ] {
            let foreign = Argon2::new(algorithm, version, params.expect("valid"))
                .hash_password_with_salt(b"pw", b"sixteen salt byt")
                .expect("hashes");
            assert!(is_match(&pool, b"pw", &foreign) && !is_match(&pool, b"no", &foreign), "{foreign}");
        }
        assert_eq!(address(), first);
        drop(under_way);
        assert_eq!((address(), pool.shared().running), (vec![], 0));
    }

    /// CO-040, CO-462: without a stored hash nothing matches, and the decoy is a hash of full cost.
    #[tokio::test]
    async fn co_462_no_password_matches_a_user_without_one() {
        assert_eq!(verify("anything", None).await, Verdict::Wrong);
        assert_eq!(verify("anything", Some("!unusable")).await, Verdict::Wrong);
        check_hash(DECOY).expect("a real hash");
        assert!(check_hash("$argon2id$v=19$m=99999999,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAA").is_err());
        assert!(check_hash("plain").is_err());
    }
}
