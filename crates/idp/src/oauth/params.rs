//! Parameters of a request, read strictly (OA-008, OA-009).

use percent_encoding::percent_decode;

use super::OAuthError;

/// Parameters that may occur once, but for [`REPEATED`]. Others are ignored.
const KNOWN: [&str; 40] = [
    "access_token",
    "actor_token",
    "actor_token_type",
    "audience",
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
    "code",
    "code_challenge",
    "code_challenge_method",
    "code_verifier",
    "device_code",
    "grant_type",
    "id_token_hint",
    "login_hint",
    "logout_hint",
    "max_age",
    "nonce",
    "password",
    "portcullis_after",
    "post_logout_redirect_uri",
    "prompt",
    "redirect_uri",
    "refresh_token",
    "registration",
    "request",
    "request_uri",
    "requested_token_type",
    "resource",
    "response_mode",
    "response_type",
    "scope",
    "state",
    "subject_token",
    "subject_token_type",
    "token",
    "token_type_hint",
    "username",
    "ui_locales",
];

/// Parameters that may occur several times (RFC 8693 §2.1, RFC 8707 §2).
const REPEATED: [&str; 2] = ["audience", "resource"];

/// Parameters by name. What is present but empty counts as absent.
#[derive(Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Reads `application/x-www-form-urlencoded` bytes: a body or a query.
    ///
    /// # Errors
    /// [`OAuthError::InvalidRequest`] for a known parameter given twice, NUL or invalid UTF-8.
    pub fn parse(encoded: &[u8]) -> Result<Self, OAuthError> {
        let mut params: Vec<(String, String)> = Vec::new();
        for pair in encoded.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let (name, value) = (decoded(halves.next())?, decoded(halves.next())?);
            if !KNOWN.contains(&name.as_str()) {
                continue;
            }
            if params.iter().any(|(known, _)| *known == name) && !REPEATED.contains(&name.as_str()) {
                return Err(OAuthError::InvalidRequest);
            }
            params.push((name, value));
        }
        Ok(Self(params))
    }

    /// The value of a parameter, if it is present and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// The values of a parameter that may occur several times.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, value)| known == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter, if it is present; it may be empty.
    pub fn sent(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter, or nothing.
    pub fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// The parameters as a query.
    pub fn encoded(&self) -> String {
        self.encoded_without("")
    }

    /// The parameters but one as a query.
    pub fn encoded_without(&self, name: &str) -> String {
        let kept = self.0.iter().filter(|(known, _)| known != name);
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(kept).finish()
    }

    /// Whether there are no parameters at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn decoded(part: Option<&[u8]>) -> Result<String, OAuthError> {
    let spaced: Vec<u8> =
        part.unwrap_or_default().iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    match percent_decode(&spaced).decode_utf8() {
        Ok(text) if !text.contains('\0') => Ok(text.into_owned()),
        _ => Err(OAuthError::InvalidRequest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OA-008, OA-700: empty counts as absent, unknown names are ignored, doubles and undecodable text are refused.
    #[test]
    fn oa_008_parameters_are_read_strictly() {
        let params = Params::parse(b"code=a%2Bb+c&scope=&other=1&other=2&&state=%C3%A4").expect("reads");
        assert_eq!((params.get("code"), params.get("scope")), (Some("a+b c"), None));
        assert_eq!((params.get("other"), params.text("state")), (None, "ä"));
        let params = Params::parse(b"resource=a&resource=b&resource=&audience=c").expect("reads");
        assert_eq!(params.all("resource").collect::<Vec<_>>(), ["a", "b"], "these may be several (RFC 8693)");
        for bad in [b"subject_token=a&subject_token=b".as_slice(), b"actor_token=a&actor_token=a"] {
            assert!(matches!(Params::parse(bad), Err(OAuthError::InvalidRequest)), "{bad:?}");
        }
        for bad in [b"code=a&code=a".as_slice(), b"code=%00", b"code=%ff", b"c%FFde=1", b"\xff=1"] {
            assert!(matches!(Params::parse(bad), Err(OAuthError::InvalidRequest)), "{bad:?}");
        }
        assert!(Params::parse(b"").expect("reads").is_empty());
    }
}
