//! Authenticator data (WebAuthn Level 3 §6.1): whom a credential is for, how its owner was asked, and how often it was used.

use uuid::Uuid;

use super::cbor::Reader;
use super::key::PublicKey;

/// Longest id of a credential, in bytes (§5.8.3).
const LONGEST_ID: usize = 1023;

const USER_PRESENT: u8 = 0x01;
const USER_VERIFIED: u8 = 0x04;
const BACKUP_ELIGIBLE: u8 = 0x08;
const BACKED_UP: u8 = 0x10;
const ATTESTED: u8 = 0x40;
const EXTENDED: u8 = 0x80;

/// What an authenticator says about a ceremony.
#[derive(Debug)]
pub(super) struct AuthenticatorData<'a> {
    pub(super) rp_id_hash: &'a [u8],
    flags: u8,
    pub(super) sign_count: u32,
    pub(super) attested: Option<Attested<'a>>,
}

/// A credential that was made.
#[derive(Debug)]
pub(super) struct Attested<'a> {
    pub(super) aaguid: Uuid,
    pub(super) credential_id: &'a [u8],
    /// COSE key, as encoded.
    pub(super) encoded: &'a [u8],
    pub(super) key: PublicKey,
}

impl<'a> AuthenticatorData<'a> {
    /// Reads all of it; what is left over makes it none.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (rp_id_hash, rest) = bytes.split_at_checked(32)?;
        let (&flags, rest) = rest.split_first()?;
        let (count, mut rest) = rest.split_first_chunk::<4>()?;
        let mut attested = None;
        if flags & ATTESTED != 0 {
            let (found, after) = Attested::read(rest)?;
            (attested, rest) = (Some(found), after);
        }
        if flags & EXTENDED != 0 {
            let mut reader = Reader::new(rest);
            // Extensions are a map; none was asked for, so that none is looked at.
            Reader::new(rest).map()?;
            reader.skip()?;
            rest = reader.rest();
        }
        // What is backed up can be.
        let sound = rest.is_empty() && (flags & BACKED_UP == 0 || flags & BACKUP_ELIGIBLE != 0);
        sound.then_some(Self { rp_id_hash, flags, sign_count: u32::from_be_bytes(*count), attested })
    }

    pub(super) fn user_present(&self) -> bool {
        self.flags & USER_PRESENT != 0
    }

    pub(super) fn user_verified(&self) -> bool {
        self.flags & USER_VERIFIED != 0
    }

    pub(super) fn is_backed_up(&self) -> bool {
        self.flags & BACKED_UP != 0
    }
}

impl<'a> Attested<'a> {
    fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (aaguid, rest) = bytes.split_first_chunk::<16>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        if !(1..=LONGEST_ID).contains(&length) {
            return None;
        }
        let (credential_id, rest) = rest.split_at_checked(length)?;
        let mut reader = Reader::new(rest);
        let key = PublicKey::read(&mut reader)?;
        let after = reader.rest();
        let encoded = rest.get(..rest.len().checked_sub(after.len())?)?;
        Some((Self { aaguid: Uuid::from_bytes(*aaguid), credential_id, encoded, key }, after))
    }
}
