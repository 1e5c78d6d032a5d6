use portcullis_core::entropy::SystemEntropy;

use super::*;

/// A key of no other use.
const PRIVATE: &str = "\
-----BEGIN PRIVATE KEY-----\n\
MIIEuwIBADANBgkqhkiG9w0BAQEFAASCBKUwggShAgEAAoIBAQCh47rLNVhBdpk7\n\
Mpii2sde5+zy8YRHs0t/8/3+Z7JI9xMH2Ihw35DKARScV+F54zUQXALfEpox+nqg\n\
5M0m/SqRF6ztbYzfi16WjkPgQt/Bz2OPp62+coC/b8jLfhzE/mg+mXMqx4qQ1+5k\n\
qVkCfu6VReBdl2DXJGrSTT+vfAyG3OaE2NqjM/AXQYWbbXczKsOs0EvhsmZIgH84\n\
FTIcK/6zQB5PVJR+dut06oAeh0wWYjNx0734VpibdEOCsNCb3eSiDcPXCmI3lBUA\n\
Fm2Q2+h6EBExxVutXch9vpv+TeZdIWkLgMfBHRjA9qnOCrBo14LL+7DAiZBHaM3v\n\
6u1yL/EdAgMBAAECgf923IxTWEO5VrM+kmeTA3FyRxHjdYQWW+bOPK+FTBPL4U3S\n\
zYGu6ACrstCgcA0moj9J4TD/cLLtdT/i9aS+ynGAUWHD3dyau00QPZ81/22ZEHrX\n\
9OySaDD4Dv2P9RIqfWUz84pqNxfej+dHnsB2vApctpjAlPhnwvyrWEeHrluEMjJF\n\
dgW6PbqStj2+QbkDuaxsfpmxfVouuzcdWjEcCuJF24OAA14NTX6kTa+wMFz1Q4N9\n\
aE24qc1tCfKgIwNRpnJs0TVkL9GbFTtAfPy0ba2hw4pOBeHPct6mDDpIevLKRFiC\n\
0onr8F+n2Y8WPIuGQCAEPJrUjXR0Ieb5r8Esj1sCgYEA2QV/FYofWqa/pwdE7SXG\n\
Yuh03ji/NfN4KA3Ys6Z3z0WkSnJamuohDvkNzocozMwJAGBirhD/vtDD3oUmMubc\n\
Ob4V9OaiwCN6IuUnp4brYaxLh5+Z4SCAqHdH7KY0GSodzfrxpRMiu3r/+SSsrbbP\n\
f8AFd0frVBV56pZI7XtnSXMCgYEAvvdODhLoK1puAcod2NW5+p/7vhNFeWH2WtUF\n\
OwqS7jMiRf3+gNnGNqjfcTkJ4TSKiADxhtll2j8XtdtTDsJndDQ6GfunGR2B1cfr\n\
W30xvyOZWSCRX27Q/RwbE64YBPyOSlRFoB7yrkl7tvtCifZAb26UT5c0m4Z3cIj4\n\
v6tXdy8CgYBmXcpZHaK2fssN/UbM2bGfO+jMXVYMG8DEm+toqg//a+kX2KLWSbO4\n\
PU/+6BAdsexZCh3h31DS7+REFOg0wGKGthvjPdrs6I8W4KJ4yhJDKyMhYO4Tm+I0\n\
FLePb8JJUG1omILdC46pglY1bdApzH5J0wiBACKHse2k8qiJpFjO8wKBgH+BRD6l\n\
ZRs9P+I1/4O+AHVUyJN67pJDVGgFf36SatRck+/DzWBfB7eLPdWtTeluWWjBqIJv\n\
OVBlfAFStbxPFSBDlt+uZT2htAT3fTATAVor/MHDuwzLQwMc9v9G6Ia70o3SgsKM\n\
p2Czc8UTMrRHFXLRlHkn7lpBiBI9gkkHsFjFAoGBAI0Oti4V2ooqygSkEWogFQJ6\n\
ROCVJMDmq7KAKTjAwJdAAb284145FIS2uTyPiM/+0vO+9yQK7DjNxOSC8oSdsvur\n\
wxFjfmJ4TyEMAExbOPQICry/NAQjRgQ8UIGDLAM+Ba6+WNpe9MJREOBmTaUeNGN+\n\
P8rHH3DEp7DuPN4D2rJQ\n\
-----END PRIVATE KEY-----\n";
const KID: &str = "tDfhGPOunA2tuIY0OmpbhGOeuWVKgB4iw4N4aOIe9CE";
/// What the library `jose` for JavaScript makes of the text [`SIGNED`] with that key.
const MADE_ELSEWHERE: &str = concat!(
    "eyJhbGciOiJSU0EtT0FFUC0yNTYiLCJlbmMiOiJBMjU2Q0JDLUhTNTEyIiwidHlwIjoiSldFIiwiY3R5IjoiSldUIiwia2lkIjoidERm",
    "aEdQT3VuQTJ0dUlZME9tcGJoR09ldVdWS2dCNGl3NE40YU9JZTlDRSJ9.O_lnb6L4Y7AmnFFrUipKclMyJLo7SegkB2Dbjahyxrn8R-V",
    "iKgY4oDJIvTByc6OuuJzZ97GiqftUu-j8Ji0inyDNqjnJlW8Ti1egb4-p0_Uo1v_nvjBQsGKRKt1dhmx3v-XwyJ17KpVO4UsEvlB0jv1",
    "eEEE9AWypU0p3Slhq0ZrC8ri1GIfgDt7F4GcxGDIrE8WkssA5dnhq3zTl6spfa0kHfwxZqgpd7QGGX7IN437_Y4YwyB0ZUVb1uSuBQ31",
    "HLbnSDW6d1VFiZuyIXlwU42dmwdwidprw6C6vyZjqlpC3nDF-OXJj41gbB-2gHHACw3mx5Sb29SDfND0dpd7RDw.vb1C-yfq7Dc_qKvu",
    "Tmsmiw.SqMpx-lXV6mob4ZkngIX35PO5iKk_DElZlRsg4eAnpo.UI4y0OOhV2BiUTOE0gNCKxvvtyfOlMHTZma7sUSn_GA",
);
const SIGNED: &str = "eyJhbGciOiJIUzI1NiJ9.e30.c2ln";

fn opener() -> Opener {
    Opener::read(PRIVATE).expect("a key")
}

fn recipient() -> Recipient {
    let pair = rcgen::KeyPair::from_pem(PRIVATE).expect("a key");
    Recipient::of(&rcgen::PublicKeyData::subject_public_key_info(&pair)).expect("a key")
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("text"), 16).expect("hex");
    digits.chunks(2).map(byte).collect()
}

/// OA-130: content is encrypted and authenticated as in the example of RFC 7518 (appendix B.3).
#[test]
fn oa_130_content_is_encrypted_as_in_the_rfc() {
    let key: [u8; KEY] = std::array::from_fn(|at| u8::try_from(at).expect("small"));
    let iv: [u8; IV] = hex("1a f3 8c 2d c2 b9 6f fd d8 66 94 09 23 41 bc 04").try_into().expect("16 bytes");
    let plain = b"A cipher system must not be required to be secret, and it must be able to fall into the hands of \
        the enemy without inconvenience";
    let associated = b"The second principle of Auguste Kerckhoffs";
    let expected =
        hex("4a ff aa ad b7 8c 31 c5 da 4b 1b 59 0d 10 ff bd 3d d8 d5 d3 02 42 35 26 91 2d a0 37 ec bc c7 bd
         82 2c 30 1d d6 7c 37 3b cc b5 84 ad 3e 92 79 c2 e6 d1 2a 13 74 b7 7f 07 75 53 df 82 94 10 44 6b
         36 eb d9 70 66 29 6a e6 42 7e a7 5c 2e 08 46 a1 1a 09 cc f5 37 0d c8 0b fe cb ad 28 c7 3f 09 b3
         a3 b7 5e 66 2a 25 94 41 0a e4 96 b2 e2 e6 60 9e 31 e6 e0 2c c8 37 f0 53 d2 1f 37 ff 4f 51 95 0b
         be 26 38 d0 9d d7 a4 93 09 30 80 6d 07 03 b1 f6");
    let expected_tag =
        hex("4d d3 b4 c0 88 a7 f4 5c 21 68 39 64 5b 20 12 bf 2e 62 69 a8 c5 6a 81 6d bc 1b 26 77 61 95 5b c5");
    let (content, tag) = seal(&key, &iv, associated, plain).expect("encrypts");
    assert_eq!((&content, &tag), (&expected, &expected_tag));
    assert_eq!(open(&key, &iv, associated, &content, &tag).as_deref(), Some(plain.as_slice()));
    for at in [0, 31] {
        let mut other = tag.clone();
        other[at] ^= 1;
        assert!(open(&key, &iv, associated, &content, &other).is_none());
    }
    assert!(open(&key, &iv, associated, &content, &tag[..16]).is_none(), "a shortened tag");
    assert!(open(&key, &iv, b"another header", &content, &tag).is_none());
}

/// OA-130: what another library encrypted to the key is opened, and so is what is encrypted here, whose header says how.
#[test]
fn oa_130_tokens_of_other_libraries_are_opened() {
    assert_eq!(opener().decrypt(KID, MADE_ELSEWHERE).as_deref(), Some(SIGNED));
    let token = recipient().encrypt(&SystemEntropy, KID, SIGNED).expect("encrypts");
    assert!(has_form(&token) && !has_form(SIGNED) && !token.contains(SIGNED));
    assert_eq!(opener().decrypt(KID, &token).as_deref(), Some(SIGNED));
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().expect("a header")).expect("base64url");
    let header: Value = serde_json::from_slice(&header).expect("JSON");
    assert_eq!(header, json!({"alg": "RSA-OAEP-256", "enc": "A256CBC-HS512", "typ": "JWE", "cty": "JWT", "kid": KID}));
    let another = recipient().encrypt(&SystemEntropy, KID, SIGNED).expect("encrypts");
    assert_ne!(token.split('.').nth(2), another.split('.').nth(2), "each has a vector of its own");
}

/// OA-746, OA-130: other algorithms, compression, extensions, another key and whatever was changed are refused.
#[test]
fn oa_746_other_encrypted_tokens_are_refused() {
    let token = recipient().encrypt(&SystemEntropy, KID, SIGNED).expect("encrypts");
    let parts: Vec<_> = token.split('.').map(str::to_owned).collect();
    for (name, value) in [
        ("alg", json!("RSA-OAEP")),
        ("alg", json!("RSA1_5")),
        ("alg", json!("dir")),
        ("alg", json!("none")),
        ("enc", json!("A128CBC-HS256")),
        ("enc", json!("A256GCM")),
        ("zip", json!("DEF")),
        ("crit", json!(["exp"])),
        ("kid", json!("another")),
        ("cty", json!("text")),
    ] {
        let mut header = json!({"alg": ALG, "enc": ENC, "typ": "JWE", "cty": "JWT", "kid": KID});
        header[name] = value;
        let mut parts = parts.clone();
        parts[0] = URL_SAFE_NO_PAD.encode(header.to_string());
        assert!(opener().decrypt(KID, &parts.join(".")).is_none(), "{header}");
    }
    for at in 0..5 {
        let mut parts = parts.clone();
        let first = if parts[at].starts_with('A') { "B" } else { "A" };
        parts[at].replace_range(..1, first);
        assert!(opener().decrypt(KID, &parts.join(".")).is_none(), "part {at} was changed");
        parts[at] = String::new();
        assert!(opener().decrypt(KID, &parts.join(".")).is_none(), "part {at} is empty");
    }
    for bad in ["", "....", SIGNED, &format!("{token}.x"), &"A".repeat(LONGEST + 1)] {
        assert!(opener().decrypt(KID, bad).is_none());
    }
}

/// OA-746, OA-130: a key that cannot be opened is none that anybody knows (RFC 7516 §11.5); one of another length is none.
#[test]
fn oa_746_a_key_that_cannot_be_opened_opens_nothing() {
    let header = json!({"alg": ALG, "enc": ENC, "typ": "JWE", "cty": "JWT", "kid": KID}).to_string();
    let header = URL_SAFE_NO_PAD.encode(header);
    let with = |sealed_key: &[u8], key: &[u8; KEY]| {
        let (content, tag) = seal(key, &[7; IV], header.as_bytes(), SIGNED.as_bytes()).expect("encrypts");
        let parts = [sealed_key, &[7; IV], &content, &tag].map(|part| URL_SAFE_NO_PAD.encode(part));
        format!("{header}.{}", parts.join("."))
    };
    let sealed = |key: &[u8]| {
        let recipient = recipient();
        let mut room = vec![0; recipient.key.ciphertext_size()];
        recipient.key.encrypt(&OAEP_SHA256_MGF1SHA256, key, &mut room, None).expect("encrypts").to_vec()
    };
    assert!(opener().decrypt(KID, &with(&sealed(&[9; KEY]), &[9; KEY])).is_some());
    for bad in [vec![], vec![0; 256], vec![1; 256], sealed(&[0; 32]), sealed(&[])] {
        assert!(opener().decrypt(KID, &with(&bad, &[0; KEY])).is_none());
    }
}

/// OA-034: keys that are no RSA keys, or small ones, are nobody to encrypt to.
#[test]
fn oa_034_only_rsa_keys_are_encrypted_to() {
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519] {
        let pair = rcgen::KeyPair::generate_for(algorithm).expect("a key");
        assert!(Recipient::of(&rcgen::PublicKeyData::subject_public_key_info(&pair)).is_none());
        assert!(Opener::read(&pair.serialize_pem()).is_none());
    }
    assert!(Recipient::of(b"words").is_none());
}
