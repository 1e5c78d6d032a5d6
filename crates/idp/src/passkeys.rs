//! Security keys and passkeys (CO-315, CO-316): what browsers are asked to do with them, and what their answers are worth.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::webauthn::{self, ALGORITHMS, Ceremony, Refused, RelyingParty, UserVerification};
use portcullis_store::account::Account;
use portcullis_store::authenticator::{self, Authenticator};
use portcullis_store::webauthn::{self as credentials, Credential};
use portcullis_store::{Conn, StoreError};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::authenticators;
use crate::change::Change;
use crate::context::Context;
use crate::error::Error;

/// How long a browser is asked to wait for somebody to touch something.
const PATIENCE_MILLISECONDS: u32 = 300_000;
/// Ways to reach an authenticator that are kept, and their characters.
const MOST_TRANSPORTS: usize = 8;
const LONGEST_TRANSPORT: usize = 32;

/// Why an answer does not count. Its text is for events; [`Wrong::told`] is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Wrong {
    /// This site has an address for a host.
    #[error("security keys cannot be used at this base URL")]
    Unavailable,
    /// No step asked for it, or too long ago, or it was answered.
    #[error("the challenge is not known, or was used")]
    NotAsked,
    /// It is no answer.
    #[error("the answer cannot be read")]
    Unreadable,
    /// The credential is nobody's, or not of whom it should be.
    #[error("the credential is not known")]
    Unknown,
    /// The credential is enrolled.
    #[error("the credential is enrolled already")]
    Enrolled,
    /// Its count went back.
    #[error("the signature counter went back: the key may have been copied")]
    Copied,
    /// It is an answer that does not hold.
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl Wrong {
    /// What to tell whoever gave the answer.
    pub(crate) fn told(self) -> &'static str {
        match self {
            Self::Unavailable | Self::Refused(Refused::Origin | Refused::RelyingParty) => {
                "Passkeys work at this site's own address only. Ask your administrator which it is."
            }
            Self::Unknown => "This passkey is not known here. It may have been removed. Use another way to sign in.",
            Self::Enrolled => "This authenticator is set up already.",
            Self::Copied => {
                "This key was refused, because a copy of it seems to be in use. Use another way, and tell your administrator."
            }
            Self::Refused(Refused::NotVerified) => {
                "Your authenticator did not verify you. Set up its PIN, fingerprint or face, or use another way."
            }
            Self::NotAsked | Self::Unreadable | Self::Refused(_) => "That did not work. Please try again.",
        }
    }
}

/// This site as authenticators know it, if they can (CO-506).
pub(crate) fn relying_party(ctx: &Context) -> Option<RelyingParty> {
    RelyingParty::of(&ctx.base_url)
}

/// What authenticators know a user by: random, and the same for all of their keys.
fn handle(account: &Account) -> String {
    URL_SAFE_NO_PAD.encode(account.uuid.as_bytes())
}

fn descriptors(known: &[Credential]) -> Vec<Value> {
    let described =
        |known: &Credential| json!({"type": "public-key", "id": known.credential_id, "transports": known.transports});
    known.iter().map(described).collect()
}

/// Asks a browser to make a key for a user who has these.
pub(crate) fn creation_options(rp: &RelyingParty, account: &Account, challenge: &str, known: &[Credential]) -> Value {
    let name = if account.name.is_empty() { &account.username } else { &account.name };
    let algorithms: Vec<_> = ALGORITHMS.iter().map(|alg| json!({"type": "public-key", "alg": alg})).collect();
    json!({
        "rp": {"name": crate::brands::TITLE, "id": rp.id},
        "user": {"id": handle(account), "name": account.username, "displayName": name},
        "challenge": challenge,
        "pubKeyCredParams": algorithms,
        "timeout": PATIENCE_MILLISECONDS,
        "excludeCredentials": descriptors(known),
        "authenticatorSelection": {
            "residentKey": "preferred", "requireResidentKey": false, "userVerification": "preferred",
        },
        "attestation": "none",
    })
}

/// Asks a browser to show one of these keys, or any passkey of this site when there is none.
pub(crate) fn request_options(
    rp: &RelyingParty,
    challenge: &str,
    allowed: &[Credential],
    user_verification: &str,
) -> Value {
    json!({
        "challenge": challenge,
        "timeout": PATIENCE_MILLISECONDS,
        "rpId": rp.id,
        "allowCredentials": descriptors(allowed),
        "userVerification": user_verification,
    })
}

/// An answer as pages and programs send it: an object, or its text.
fn object(answer: &Value) -> Result<Value, Wrong> {
    let parsed = match answer {
        Value::String(text) => serde_json::from_str(text).map_err(|_| Wrong::Unreadable)?,
        other => other.clone(),
    };
    if parsed.is_object() { Ok(parsed) } else { Err(Wrong::Unreadable) }
}

fn part(answer: &Value, pointer: &str) -> Result<Vec<u8>, Wrong> {
    let text = answer.pointer(pointer).and_then(Value::as_str).ok_or(Wrong::Unreadable)?;
    webauthn::decode(text).ok_or(Wrong::Unreadable)
}

/// The challenge that a run or a cookie has kept.
pub(crate) fn challenge_bytes(kept: Option<&str>) -> Result<Vec<u8>, Wrong> {
    let bytes = kept.and_then(|kept| URL_SAFE_NO_PAD.decode(kept).ok());
    bytes.filter(|bytes| bytes.len() == webauthn::CHALLENGE_BYTES).ok_or(Wrong::NotAsked)
}

/// A new challenge, as it is kept and sent.
pub(crate) fn draw_challenge(ctx: &Context) -> String {
    URL_SAFE_NO_PAD.encode(ctx.entropy.bytes::<{ webauthn::CHALLENGE_BYTES }>())
}

/// A key that a browser has made, examined.
pub(crate) struct NewKey {
    credential_id: String,
    public_key: String,
    sign_count: i64,
    aaguid: Uuid,
    transports: Value,
}

/// Examines the answer to [`creation_options`]; `kept` is the challenge.
pub(crate) fn examine_new(rp: Option<&RelyingParty>, kept: Option<&str>, answer: &Value) -> Result<NewKey, Wrong> {
    let rp = rp.ok_or(Wrong::Unavailable)?;
    let challenge = challenge_bytes(kept)?;
    let answer = object(answer)?;
    let ceremony = Ceremony { rp, challenge: &challenge, user_verification: UserVerification::Optional };
    let client_data = part(&answer, "/response/clientDataJSON")?;
    let made = ceremony.register(&client_data, &part(&answer, "/response/attestationObject")?)?;
    let given = answer.pointer("/response/transports").and_then(Value::as_array);
    let transports = given.into_iter().flatten().filter_map(Value::as_str);
    let plain = |text: &&str| {
        text.len() <= LONGEST_TRANSPORT && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
    };
    Ok(NewKey {
        credential_id: URL_SAFE_NO_PAD.encode(made.credential_id),
        public_key: URL_SAFE_NO_PAD.encode(made.public_key),
        sign_count: made.sign_count.into(),
        aaguid: made.aaguid,
        transports: transports.filter(plain).take(MOST_TRANSPORTS).collect(),
    })
}

/// Keeps a new key of a user under a name; tells its number, or that it is enrolled, by whomever.
pub(crate) async fn enrol(
    ctx: &Context,
    change: &mut Change<'_>,
    account: &Account,
    key: NewKey,
    name: &str,
) -> Result<Result<i32, Wrong>, Error> {
    if credentials::by_id(change.conn(), &key.credential_id).await?.is_some() {
        return Ok(Err(Wrong::Enrolled));
    }
    let pk = authenticators::enrol_key(ctx, change, account, name).await?;
    let NewKey { credential_id, public_key, sign_count, aaguid, transports } = key;
    let new = Credential { authenticator: pk, credential_id, public_key, sign_count, aaguid, transports };
    credentials::insert(change.conn(), &new).await?;
    Ok(Ok(pk))
}

/// A user's keys.
pub(crate) async fn of_account(conn: &mut Conn, account: &Account) -> Result<Vec<Credential>, StoreError> {
    credentials::of_account(conn, account.pk).await
}

/// An answer to [`request_options`].
pub(crate) struct Answer(Value);

impl Answer {
    pub(crate) fn read(answer: &Value) -> Result<Self, Wrong> {
        object(answer).map(Self)
    }

    /// The credential that it says it is of.
    pub(crate) fn credential_id(&self) -> Result<String, Wrong> {
        let given = part(&self.0, "/rawId").or_else(|_| part(&self.0, "/id"))?;
        Ok(URL_SAFE_NO_PAD.encode(given))
    }

    /// Whether it says that it is of this user; none when it says nothing.
    pub(crate) fn is_of(&self, account: &Account) -> Option<bool> {
        let given = part(&self.0, "/response/userHandle").ok().filter(|given| !given.is_empty())?;
        Some(URL_SAFE_NO_PAD.encode(given) == handle(account))
    }

    /// Examines it by a credential; tells the count of uses.
    pub(crate) fn examine(
        &self,
        rp: Option<&RelyingParty>,
        kept: Option<&str>,
        credential: &Credential,
        user_verification: UserVerification,
    ) -> Result<i64, Wrong> {
        let rp = rp.ok_or(Wrong::Unavailable)?;
        let challenge = challenge_bytes(kept)?;
        let key = URL_SAFE_NO_PAD.decode(&credential.public_key).map_err(|_| Wrong::Unreadable)?;
        let [client_data, data, signature] = ["clientDataJSON", "authenticatorData", "signature"]
            .map(|name| part(&self.0, &format!("/response/{name}")));
        let ceremony = Ceremony { rp, challenge: &challenge, user_verification };
        let shown = ceremony.verify(&key, &client_data?, &data?, &signature?)?;
        Ok(shown.sign_count.into())
    }
}

/// Counts a use. Of a key whose count does not grow there may be two (CO-315).
pub(crate) async fn use_up(
    ctx: &Context,
    conn: &mut Conn,
    pk: i32,
    count: i64,
) -> Result<Result<(), Wrong>, StoreError> {
    if !credentials::accept_count(conn, pk, count).await? {
        return Ok(Err(Wrong::Copied));
    }
    authenticator::used(conn, pk, ctx.now()).await?;
    Ok(Ok(()))
}

/// Which of these second factors of a user an answer is of; its use is counted by that.
///
/// # Errors
/// When the store fails.
pub(crate) async fn check(
    ctx: &Context,
    conn: &mut Conn,
    asked: (Option<&str>, UserVerification),
    account: &Account,
    devices: &[Authenticator],
    answer: &Value,
) -> Result<Result<Authenticator, Wrong>, Error> {
    let rp = relying_party(ctx);
    let read = Answer::read(answer).and_then(|answer| Ok((answer.credential_id()?, answer)));
    let (id, answer) = match read {
        Ok(read) => read,
        Err(wrong) => return Ok(Err(wrong)),
    };
    let found = credentials::by_id(conn, &id).await?;
    let device = found.as_ref().and_then(|found| devices.iter().find(|device| device.pk == found.authenticator));
    let (Some(credential), Some(device)) = (&found, device) else { return Ok(Err(Wrong::Unknown)) };
    if answer.is_of(account) == Some(false) {
        return Ok(Err(Wrong::Unknown));
    }
    let count = match answer.examine(rp.as_ref(), asked.0, credential, asked.1) {
        Ok(count) => count,
        Err(wrong) => return Ok(Err(wrong)),
    };
    Ok(use_up(ctx, conn, device.pk, count).await?.map(|()| device.clone()))
}
