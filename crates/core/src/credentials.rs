//! What an `Authorization` header presents (PX-090, PX-092, PX-093).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

/// The user name under which Basic carries a bearer token (PX-093).
pub const TOKEN_USER: &str = "goauthentik.io/token";

/// The longest bearer token that is looked at (PX-092).
const LONGEST_TOKEN: usize = 16 * 1024;

/// Credentials of one request, read but not verified.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A bearer token, perhaps carried by Basic under the reserved user name.
    Bearer(String),
    /// A user name and a password.
    Basic {
        /// The user name.
        username: String,
        /// The password, of which only an app password can hold (PX-091).
        password: String,
    },
}

/// Never prints a secret.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.scheme())
    }
}

impl Credentials {
    /// `basic` or `bearer`, as a metric label.
    pub const fn scheme(&self) -> &'static str {
        match self {
            Self::Bearer(_) => "bearer",
            Self::Basic { .. } => "basic",
        }
    }

    /// Reads the value of one `Authorization` header; `None` if it makes no sense (PX-090).
    pub fn parse(value: &[u8]) -> Option<Self> {
        let value = std::str::from_utf8(value).ok()?;
        let (scheme, rest) = value.trim().split_once([' ', '\t'])?;
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return (!rest.is_empty()).then(|| Self::Bearer(rest.to_owned()));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
        let (username, password) = decoded.split_once(':')?;
        if username == TOKEN_USER {
            return Some(Self::Bearer(password.trim().to_owned()));
        }
        Some(Self::Basic { username: username.to_owned(), password: password.to_owned() })
    }
}

/// Whether a token is worth asking the control plane about: a compact JWS of at most 16 KiB whose `exp`
/// lies after `now`, in seconds (PX-092). Says nothing about its signature.
pub fn is_current_jws(token: &str, now: i64) -> bool {
    let base64url =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    let parts: Vec<&str> = token.splitn(4, '.').collect();
    let [header, payload, signature] = parts.as_slice() else { return false };
    if token.len() > LONGEST_TOKEN || ![header, payload, signature].into_iter().all(|part| base64url(part)) {
        return false;
    }
    #[derive(serde::Deserialize)]
    struct Expiry {
        exp: f64,
    }
    let Ok(payload) = URL_SAFE_NO_PAD.decode(payload) else { return false };
    #[expect(clippy::cast_precision_loss, reason = "seconds since the epoch fit a double exactly")]
    serde_json::from_slice::<Expiry>(&payload).is_ok_and(|claims| claims.exp > now as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(text: &[u8]) -> Option<Credentials> {
        Credentials::parse(format!("Basic {}", STANDARD.encode(text)).as_bytes())
    }

    /// PX-090: schemes are matched in any case, Basic splits at the first colon, nonsense is invalid.
    #[test]
    fn px_090_authorization_is_read_strictly() {
        let ada = Credentials::Basic { username: "ada".to_owned(), password: "pa:ss é".to_owned() };
        assert_eq!(basic("ada:pa:ss é".as_bytes()), Some(ada.clone()));
        assert_eq!(Credentials::parse(format!("bAsIc  {}", STANDARD.encode("ada:pa:ss é")).as_bytes()), Some(ada));
        assert_eq!(Credentials::parse(b"BEARER  a.b.c "), Some(Credentials::Bearer("a.b.c".to_owned())));
        for bad in [b"".as_slice(), b"Basic", b"Basic ", b"Basic !!!", b"Bearer ", b"Digest x", b"Basic YWRh", b"\xff"]
        {
            assert_eq!(Credentials::parse(bad), None);
        }
        assert_eq!(basic(b"\xff:x"), None);
    }

    /// PX-093: the reserved user name turns a password into a bearer token, in its exact spelling only.
    #[test]
    fn px_093_the_reserved_user_carries_a_token() {
        assert_eq!(basic(b"goauthentik.io/token:a.b.c"), Some(Credentials::Bearer("a.b.c".to_owned())));
        assert!(matches!(basic(b"Goauthentik.io/token:a.b.c"), Some(Credentials::Basic { .. })));
    }

    /// PX-092, PX-532: what is no compact JWS with a future expiry is refused without a question.
    #[test]
    fn px_092_only_current_jws_are_worth_a_question() {
        let token = |payload: &str| format!("eyJ9.{}.c2ln", URL_SAFE_NO_PAD.encode(payload));
        assert!(is_current_jws(&token(r#"{"exp":101}"#), 100));
        for bad in [r#"{"exp":100}"#, r#"{"exp":"101"}"#, "{}", "[]", "x"] {
            assert!(!is_current_jws(&token(bad), 100), "{bad}");
        }
        for bad in ["", "opaque", "a.b", "a.b.c.d", "a..c", "a.b!.c"] {
            assert!(!is_current_jws(bad, 100), "{bad}");
        }
        assert!(!is_current_jws(&format!("{}.{}", token(r#"{"exp":101}"#), "x".repeat(LONGEST_TOKEN)), 100));
    }
}
