//! What a login remembers between start and callback, sealed into the `state` parameter (PX-144).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::clock::Timestamp;
use portcullis_core::entropy::Entropy;
use portcullis_core::keys::{Digest, sha256};

use crate::application::Application;

/// The most bytes of a state (PX-144).
const LONGEST: usize = 2048;
/// Key id, nonce and tag of the seal, and the fixed fields.
const FIXED: usize = 4 + 12 + 16 + 1 + 8 + 16 + 32 + 16 + 32;
const VERSION: u8 = 1;

/// What a login remembers.
pub struct State {
    /// Unique, so that a state is used once.
    pub id: [u8; 16],
    issued: Timestamp,
    /// Digest of the pre-auth cookie's value: only the browser that began may end.
    pub pre_auth: Digest,
    nonce: [u8; 16],
    verifier: [u8; 32],
    /// Where the browser wanted to go.
    pub target: String,
}

/// Why a state is not believed, in words for the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// There is none, or it was not sealed here for this application.
    #[error("The sign-in did not begin here.")]
    Missing,
    /// It took too long.
    #[error("The sign-in took too long.")]
    Expired,
    /// It came back before.
    #[error("This sign-in was used already.")]
    Used,
    /// Another browser began it, or the browser keeps no cookies.
    #[error("The sign-in began in another browser, or cookies are blocked.")]
    OtherBrowser,
    /// Somebody else than our identity provider answered.
    #[error("The answer came from another identity provider.")]
    OtherIssuer,
}

impl State {
    /// A new login towards `target`.
    pub fn new(entropy: &dyn Entropy, issued: Timestamp, pre_auth: Digest, target: String) -> Self {
        Self { id: entropy.bytes(), issued, pre_auth, nonce: entropy.bytes(), verifier: entropy.bytes(), target }
    }

    /// The nonce as it travels (PX-141).
    pub fn nonce_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.nonce)
    }

    /// The code verifier as it travels (RFC 7636 §4.1).
    pub fn verifier_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.verifier)
    }

    /// The S256 code challenge (RFC 7636 §4.2).
    pub fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(sha256(self.verifier_text().as_bytes()))
    }

    /// The opaque `state` parameter, at most 2 KiB: a target that does not fit loses its query, then
    /// its path.
    pub fn seal(&self, application: &Application, entropy: &dyn Entropy) -> String {
        let room = LONGEST / 4 * 3 - FIXED;
        let origin = self.target.match_indices('/').nth(2).and_then(|(end, _)| self.target.get(..=end));
        let target = [Some(self.target.as_str()), self.target.split(['?', '#']).next(), origin]
            .into_iter()
            .flatten()
            .find(|target| target.len() <= room)
            .unwrap_or_default();
        let plain = [
            [VERSION].as_slice(),
            &self.issued.seconds().to_be_bytes(),
            &self.id,
            &self.pre_auth,
            &self.nonce,
            &self.verifier,
            target.as_bytes(),
        ]
        .concat();
        URL_SAFE_NO_PAD.encode(application.state_keys.seal(&place(application), &plain, entropy))
    }

    /// Opens what [`State::seal`] made for the same provider.
    ///
    /// # Errors
    /// [`StateError::Missing`] when it was not made here for this provider, [`StateError::Expired`] when
    /// it is older than `ttl` seconds.
    pub fn open(application: &Application, text: &str, now: Timestamp, ttl: i64) -> Result<Self, StateError> {
        let missing = StateError::Missing;
        if text.len() > LONGEST {
            return Err(missing);
        }
        let sealed = URL_SAFE_NO_PAD.decode(text).map_err(|_| missing)?;
        let plain = application.state_keys.open(&place(application), &sealed).map_err(|_| missing)?;
        let state = Self::read(&plain).ok_or(missing)?;
        if now >= state.issued.plus_seconds(ttl) {
            return Err(StateError::Expired);
        }
        Ok(state)
    }

    fn read(plain: &[u8]) -> Option<Self> {
        let (&[version], rest) = plain.split_first_chunk()?;
        let (issued, rest) = rest.split_first_chunk()?;
        let (&id, rest) = rest.split_first_chunk()?;
        let (&pre_auth, rest) = rest.split_first_chunk()?;
        let (&nonce, rest) = rest.split_first_chunk()?;
        let (&verifier, target) = rest.split_first_chunk()?;
        let issued = Timestamp::from_seconds(i64::from_be_bytes(*issued));
        let target = String::from_utf8(target.to_vec()).ok()?;
        (version == VERSION).then_some(Self { id, issued, pre_auth, nonce, verifier, target })
    }
}

/// Ties a state to its provider even if two providers share secret and client id.
fn place(application: &Application) -> String {
    format!("state:{}", application.provider.pk)
}
