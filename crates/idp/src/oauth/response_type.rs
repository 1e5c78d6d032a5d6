//! What a client wants from the authorization endpoint itself (OA section 7.3): a code, tokens, or both.

use aws_lc_rs::digest::{self, SHA256, SHA384};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_store::provider::Provider;
use serde_json::json;

use super::OAuthError;
use super::issue::{self, Basis};
use crate::change::Change;
use crate::claims::{ClaimSet, Flaw};
use crate::context::Context;
use crate::signing::Signer;

/// A response type, one of the six that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ResponseType {
    /// A code, for the token endpoint.
    pub(super) code: bool,
    /// An id token, by way of the browser.
    pub(super) id_token: bool,
    /// An access token, by way of the browser.
    pub(super) token: bool,
}

impl ResponseType {
    /// A code alone.
    pub(super) const CODE: Self = Self { code: true, id_token: false, token: false };

    /// All of them.
    pub(super) const ALL: [Self; 6] = [
        Self::CODE,
        Self { code: false, id_token: true, token: false },
        Self { code: false, id_token: true, token: true },
        Self { code: true, id_token: false, token: true },
        Self { code: true, id_token: true, token: false },
        Self { code: true, id_token: true, token: true },
    ];

    /// Reads one, in whatever order its words are (OA-144).
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut words: Vec<_> = text.split(' ').collect();
        words.sort_unstable();
        let sorted = words.join(" ");
        Self::ALL.into_iter().find(|known| known.name() == sorted)
    }

    /// Its name, the words in the order of the alphabet.
    pub(super) const fn name(self) -> &'static str {
        match (self.code, self.id_token, self.token) {
            (true, false, true) => "code token",
            (true, true, false) => "code id_token",
            (true, true, true) => "code id_token token",
            (false, true, true) => "id_token token",
            (false, true, false) => "id_token",
            (false, false, true) => "token",
            _ => "code",
        }
    }

    /// The grant that a client must have for it (OA-050).
    pub(super) const fn grant(self) -> &'static str {
        match (self.code, self.by_browser()) {
            (true, true) => "hybrid",
            (true, false) => "authorization_code",
            _ => "implicit",
        }
    }

    /// Whether tokens come by way of the browser: never in a query (OA-145).
    pub(super) const fn by_browser(self) -> bool {
        self.id_token || self.token
    }

    /// Whether the request needs a nonce (OA-150).
    pub(super) const fn needs_nonce(self) -> bool {
        self.id_token
    }

    /// Those that a client may use (OA-104).
    pub(super) fn of(provider: &Provider) -> Vec<&'static str> {
        Self::ALL.into_iter().filter(|known| provider.may_use(known.grant())).map(Self::name).collect()
    }
}

/// What an answer has besides its code.
#[derive(Default)]
pub(super) struct Tokens {
    /// Members of the answer.
    pub(super) members: Vec<(&'static str, String)>,
    /// What was wrong with mappings.
    pub(super) flaws: Vec<Flaw>,
}

/// Issues what goes to the client by way of the browser, which ends with the session (OA-170 … OA-174, OA-178).
///
/// # Errors
/// [`OAuthError`], when nothing can be issued.
pub(super) async fn issue(
    ctx: &Context,
    change: &mut Change<'_>,
    basis: &Basis<'_>,
    wanted: ResponseType,
    code: Option<&str>,
    grant_id: &str,
) -> Result<Tokens, OAuthError> {
    let signer = Signer::of(ctx, change.conn(), &basis.client.provider).await?;
    let mut said = issue::statement(ctx, basis).await?;
    let mut members = Vec::new();
    let mut hashes = ClaimSet::new();
    if let (Some(code), true) = (code, wanted.id_token) {
        hashes.insert("c_hash".to_owned(), json!(half_hash(&signer, code)));
    }
    if wanted.token {
        let token = issue::access_token(ctx, change, &signer, basis, &said, grant_id).await?;
        if wanted.id_token {
            hashes.insert("at_hash".to_owned(), json!(half_hash(&signer, &token)));
        }
        said.measure(&token);
        members.push(("access_token", token));
    }
    if wanted.id_token {
        let token = issue::id_token_with(ctx, change.conn(), &signer, basis, &said, hashes).await?;
        said.measure(&token);
        members.push(("id_token", token));
    }
    issue::remember_client(change.conn(), basis, &said).await?;
    members.push(("token_type", "Bearer".to_owned()));
    members.push(("expires_in", said.expires.seconds().saturating_sub(ctx.now().seconds()).to_string()));
    Ok(Tokens { members, flaws: said.flaws })
}

/// `c_hash` and `at_hash`: the left half of the hash that goes with the signature (OA-455, OIDC Core §3.3.2.11).
fn half_hash(signer: &Signer, value: &str) -> String {
    half(signer.algorithm(), value)
}

fn half(algorithm: &str, value: &str) -> String {
    let algorithm = if algorithm == "ES384" { &SHA384 } else { &SHA256 };
    let hash = digest::digest(algorithm, value.as_bytes());
    let half = hash.as_ref().len() / 2;
    URL_SAFE_NO_PAD.encode(hash.as_ref().get(..half).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OA-144, OA-050: there are six response types; the order of words does not matter, other words do.
    #[test]
    fn oa_144_there_are_six_response_types() {
        for known in ResponseType::ALL {
            assert_eq!(ResponseType::parse(known.name()), Some(known));
            let reversed: Vec<_> = known.name().split(' ').rev().collect();
            assert_eq!(ResponseType::parse(&reversed.join(" ")), Some(known));
        }
        for bad in ["", "token", "code code", "code  token", " code", "CODE", "none", "id_token code x"] {
            assert_eq!(ResponseType::parse(bad), None, "{bad}");
        }
        let grants = ResponseType::ALL.map(ResponseType::grant);
        assert_eq!(grants, ["authorization_code", "implicit", "implicit", "hybrid", "hybrid", "hybrid"]);
    }

    /// OA-457, OA-895: hashes are made as the signature is; SHA-256 by the example of OpenID Connect Core, A.3.
    #[test]
    fn oa_457_hashes_match_the_signature() {
        let token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
        for algorithm in ["RS256", "ES256", "HS256"] {
            assert_eq!(half(algorithm, token), "77QmUPtjPfzWtF2AnpK9RQ");
        }
        assert_eq!(half("ES384", token).len(), 32);
    }
}
