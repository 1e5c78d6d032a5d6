//! Certificates that sign themselves.

use std::net::IpAddr;
use std::time::Duration;

use portcullis_core::clock::Timestamp;
use portcullis_core::entropy::Entropy;
use portcullis_core::host::Host;
use portcullis_core::id::CertificateId;
use portcullis_core::origin::Scheme;
use portcullis_core::permission::{Model, Verb};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use super::{Fields, blank, check_host, insert, settle};
use crate::context::{Actor, Context};
use crate::error::{Error, Problems};

const TAKEN: &str = "This field must be unique.";
/// The longest common name (RFC 5280, appendix A).
const LONGEST_NAME: usize = 64;
/// Longer than anybody cares, and well before the year 10000, which certificates cannot write.
const MOST_DAYS: i32 = 36_500;
const DAY: u64 = 24 * 3600;

/// Kinds of keys that can be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA with 2048 bits.
    #[default]
    Rsa,
    /// ECDSA with P-256.
    Ecdsa,
    /// Ed25519.
    Ed25519,
}

/// The certificate that somebody wants.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Whom it names, and its name here.
    pub common_name: String,
    /// The hosts and addresses that it is for. Without any, the common name if that is one.
    pub alternative_names: Vec<String>,
    /// How long it is good for.
    pub validity_days: i32,
    /// With which key.
    pub algorithm: Algorithm,
}

/// Name of the certificate that comes with the installation (CO-480): what signs for whoever has nothing of their own.
pub const OURS: &str = "authentik Self-signed Certificate";

/// A certificate and key to keep under the name [`OURS`].
///
/// # Errors
/// When no key can be made.
pub(crate) async fn ours(ctx: &Context) -> Result<Fields, Error> {
    made(
        ctx,
        Wanted {
            common_name: OURS.to_owned(),
            alternative_names: Vec::new(),
            validity_days: 3650,
            algorithm: Algorithm::Rsa,
        },
    )
    .await
}

async fn made(ctx: &Context, wanted: Wanted) -> Result<Fields, Error> {
    let params = params(&wanted, ctx.now(), &*ctx.entropy)?;
    // A key of RSA takes its time.
    let made = spawn_blocking(move || make(&params, wanted.algorithm)).await;
    let (chain, key) = made
        .map_err(|error| Error::whole(error.to_string()))?
        .map_err(|error| Error::whole(format!("The certificate cannot be made: {error}.")))?;
    Ok(Fields { name: Some(wanted.common_name), certificate_data: Some(chain), key_data: Some(key) })
}

/// Makes a key and a certificate that it signs itself, and keeps both.
///
/// # Errors
/// [`Error::Forbidden`] for those without the permission, [`Error::Invalid`] for broken rules.
pub async fn generate(ctx: &Context, actor: &Actor, wanted: Wanted) -> Result<CertificateId, Error> {
    actor.need(Verb::Add, Model::CERTIFICATE)?;
    let fields = made(ctx, wanted).await?;
    let mut certificate = blank(ctx);
    settle(ctx, &mut certificate, fields)?;
    check_host(ctx, actor, &certificate, "common_name")?;
    insert(ctx, actor, &certificate, "common_name", TAKEN).await
}

fn params(wanted: &Wanted, now: Timestamp, entropy: &dyn Entropy) -> Result<CertificateParams, Error> {
    let mut problems = Problems::default();
    if wanted.common_name.chars().count() > LONGEST_NAME {
        problems.add("common_name", format!("Ensure this field has no more than {LONGEST_NAME} characters."));
    }
    if wanted.validity_days < 1 {
        problems.add("validity_days", "Ensure this value is greater than or equal to 1.");
    } else if wanted.validity_days > MOST_DAYS {
        problems.add("validity_days", format!("Ensure this value is less than or equal to {MOST_DAYS}."));
    }
    let mut names = Vec::new();
    for name in &wanted.alternative_names {
        match host(name) {
            Some(name) => names.push(name),
            None => problems.add("subject_alt_name", format!("\"{name}\" is neither a host name nor an address.")),
        }
    }
    if wanted.alternative_names.is_empty() {
        names.extend(host(&wanted.common_name));
    }
    problems.check()?;
    let mut params =
        CertificateParams::new(names).map_err(|error| Error::field("subject_alt_name", error.to_string()))?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, wanted.common_name.as_str());
    let now = u64::try_from(now.seconds()).unwrap_or_default();
    let at = |seconds: u64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    // A day earlier, for clients whose clock is behind.
    params.not_before = at(now.saturating_sub(DAY));
    params.not_after = at(now.saturating_add(DAY * u64::try_from(wanted.validity_days).unwrap_or_default()));
    params.serial_number = Some(entropy.bytes::<16>().to_vec().into());
    Ok(params)
}

/// A name that a certificate may be for, in ASCII; `*` may stand for its first part.
fn host(name: &str) -> Option<String> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Some(address.to_string());
    }
    let (wildcard, rest) = name.strip_prefix("*.").map_or(("", name), |rest| ("*.", rest));
    let host = Host::parse(rest, Scheme::Https).filter(|_| !rest.contains([':', '[']))?;
    Some(format!("{wildcard}{}", host.name()))
}

/// Certificate and key as PEM.
fn make(params: &CertificateParams, algorithm: Algorithm) -> Result<(String, Zeroizing<String>), rcgen::Error> {
    let pair = match algorithm {
        Algorithm::Rsa => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048),
        Algorithm::Ecdsa => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        Algorithm::Ed25519 => KeyPair::generate_for(&rcgen::PKCS_ED25519),
    }?;
    let (chain, key) = (params.self_signed(&pair)?.pem(), pair.serialize_pem());
    Ok((chain.trim().to_owned(), Zeroizing::new(key.trim().to_owned())))
}

#[cfg(test)]
mod tests {
    use super::super::material;
    use super::*;
    use portcullis_core::entropy::SystemEntropy;

    const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);

    fn wanted(common_name: &str, alternative_names: &[&str]) -> Wanted {
        let alternative_names = alternative_names.iter().map(|name| (*name).to_owned()).collect();
        let algorithm = Algorithm::default();
        Wanted { common_name: common_name.to_owned(), alternative_names, validity_days: 30, algorithm }
    }

    /// CO-568: a generated certificate is what was asked for, with any of the three kinds of keys.
    #[test]
    fn co_568_generated_certificates_are_as_wanted() {
        let params = params(&wanted("a.example", &["*.example", "bücher.example", "::1"]), NOW, &SystemEntropy)
            .expect("can be made");
        let kinds = [(Algorithm::Rsa, "rsa"), (Algorithm::Ecdsa, "ec"), (Algorithm::Ed25519, "ed25519")];
        for (algorithm, key_type) in kinds {
            let (chain, key) = make(&params, algorithm).expect("made");
            let read = material::chain(&chain).expect("reads");
            assert_eq!((read.leaf.key_type, read.leaf.subject.as_str()), (Some(key_type), "CN=a.example"));
            assert_eq!(read.leaf.expires, NOW.plus_seconds(30 * 24 * 3600));
            let key = material::key(&key).expect("reads").expect("a key");
            assert_eq!(material::belongs(&read, key), Ok(()));
        }
        assert_eq!(params.subject_alt_names.len(), 3);
        assert_eq!(params.subject_alt_names[1], rcgen::SanType::DnsName("xn--bcher-kva.example".try_into().unwrap()));
    }

    /// CO-568: the common name is what a certificate is for when nothing else is said and it can be.
    #[test]
    fn co_568_the_common_name_is_a_host_if_it_can_be() {
        let names = |name: &str| params(&wanted(name, &[]), NOW, &SystemEntropy).expect("fine").subject_alt_names.len();
        assert_eq!((names("a.example"), names("192.0.2.1"), names("Our test certificate")), (1, 1, 0));
    }

    /// CO-523, CO-568: what cannot be in a certificate is refused by field.
    #[test]
    fn co_568_what_is_wanted_is_checked() {
        let fields = |wanted: &Wanted| match params(wanted, NOW, &SystemEntropy) {
            Err(Error::Invalid(problems)) => problems.iter().map(|(field, _)| field.to_owned()).collect(),
            _ => Vec::new(),
        };
        for name in ["a b", "a.example:443", "[::1]", "*", "a.*.example", ""] {
            assert_eq!(fields(&wanted("a", &[name])), ["subject_alt_name"], "{name}");
        }
        assert_eq!(fields(&wanted(&"x".repeat(65), &[])), ["common_name"]);
        for days in [0, -1, 36_501] {
            assert_eq!(fields(&Wanted { validity_days: days, ..wanted("a", &[]) }), ["validity_days"]);
        }
    }
}
