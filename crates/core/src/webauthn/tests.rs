//! The test vectors of the specification (Level 3 §16), and what must not count.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};

use super::*;

/// §16.2, an ES256 credential without attestation.
const NONE: Made = Made {
    challenge: "00c30fb78531c464d2b6771dab8d7b603c01162f2fa486bea70f283ae556e130",
    credential_id: "f91f391db4c9b2fde0ea70189cba3fb63f579ba6122b33ad94ff3ec330084be4",
    client_data: "7b2274797065223a22776562617574686e2e637265617465222c226368616c6c656e6765223a22414d4d507434557878475453746e63647134313759447742466938767049612d7077386f4f755657345441222c226f726967696e223a2268747470733a2f2f6578616d706c652e6f7267222c2263726f73734f726967696e223a66616c73652c22657874726144617461223a22636c69656e74446174614a534f4e206d617920626520657874656e6465642077697468206164646974696f6e616c206669656c647320696e20746865206675747572652c207375636820617320746869733a20426b5165446a646354427258426941774a544c453551227d",
    object: "a363666d74646e6f6e656761747453746d74a068617574684461746158a4bfabc37432958b063360d3ad6461c9c4735ae7f8edd46592a5e0f01452b2e4b559000000008446ccb9ab1db374750b2367ff6f3a1f0020f91f391db4c9b2fde0ea70189cba3fb63f579ba6122b33ad94ff3ec330084be4a5010203262001215820afefa16f97ca9b2d23eb86ccb64098d20db90856062eb249c33a9b672f26df61225820930a56b87a2fca66334b03458abf879717c12cc68ed73290af2e2664796b9220",
};

/// §16.3, an ES256 credential that vouches for itself.
const OWN: Made = Made {
    challenge: "7869c2b772d4b58eba9378cf8f29e26cf935aa77df0da89fa99c0bdc0a76f7e5",
    credential_id: "455ef34e2043a87db3d4afeb39bbcb6cc32df9347c789a865ecdca129cbef58c",
    client_data: "7b2274797065223a22776562617574686e2e637265617465222c226368616c6c656e6765223a2265476e4374334c55745936366b336a506a796e6962506b31716e666644616966715a774c33417032392d55222c226f726967696e223a2268747470733a2f2f6578616d706c652e6f7267222c2263726f73734f726967696e223a66616c73652c22657874726144617461223a22636c69656e74446174614a534f4e206d617920626520657874656e6465642077697468206164646974696f6e616c206669656c647320696e20746865206675747572652c207375636820617320746869733a205539685458764b453255526b4d6e625f307859485667227d",
    object: "a363666d74667061636b65646761747453746d74a263616c672663736967584630440220067a20754ab925005dbf378097c92120031581c73228d1fb4f5b881bcd7da98302207fc7b147558c7c0eba3af18bd9d121fa3d3a26d17fe3f220272178f473b6006d68617574684461746158a4bfabc37432958b063360d3ad6461c9c4735ae7f8edd46592a5e0f01452b2e4b55d00000000df850e09db6afbdfab51697791506cfc0020455ef34e2043a87db3d4afeb39bbcb6cc32df9347c789a865ecdca129cbef58ca5010203262001215820eb151c8176b225cc651559fecf07af450fd85802046656b34c18f6cf193843c5225820927b8aa427a2be1b8834d233a2d34f61f13bfd44119c325d5896e183fee484f2",
};

struct Made {
    challenge: &'static str,
    credential_id: &'static str,
    client_data: &'static str,
    object: &'static str,
}

/// Assertions: name, challenge, public key, authenticator data, client data, signature.
const SHOWN: [[&str; 6]; 3] = [
    [
        "16.2 ES256",
        "39c0e7521417ba54d43e8dc95174f423dee9bf3cd804ff6d65c857c9abf4d408",
        "a5010203262001215820afefa16f97ca9b2d23eb86ccb64098d20db90856062eb249c33a9b672f26df61225820930a56b87a2fca66334b03458abf879717c12cc68ed73290af2e2664796b9220",
        "bfabc37432958b063360d3ad6461c9c4735ae7f8edd46592a5e0f01452b2e4b51900000000",
        "7b2274797065223a22776562617574686e2e676574222c226368616c6c656e6765223a224f63446e55685158756c5455506f334a5558543049393770767a7a59425039745a63685879617630314167222c226f726967696e223a2268747470733a2f2f6578616d706c652e6f7267222c2263726f73734f726967696e223a66616c73657d",
        "3046022100f50a4e2e4409249c4a853ba361282f09841df4dd4547a13a87780218deffcd380221008480ac0f0b93538174f575bf11a1dd5d78c6e486013f937295ea13653e331e87",
    ],
    [
        "16.3 ES256, client data with another member",
        "4478a10b1352348dd160c1353b0d469b5db19eb91c27f7dfa6fed39fe26af20b",
        "a5010203262001215820eb151c8176b225cc651559fecf07af450fd85802046656b34c18f6cf193843c5225820927b8aa427a2be1b8834d233a2d34f61f13bfd44119c325d5896e183fee484f2",
        "bfabc37432958b063360d3ad6461c9c4735ae7f8edd46592a5e0f01452b2e4b50900000000",
        "7b2274797065223a22776562617574686e2e676574222c226368616c6c656e6765223a225248696843784e534e493352594d45314f7731476d3132786e726b634a5f6666707637546e2d4a71386773222c226f726967696e223a2268747470733a2f2f6578616d706c652e6f7267222c2263726f73734f726967696e223a66616c73652c22657874726144617461223a22636c69656e74446174614a534f4e206d617920626520657874656e6465642077697468206164646974696f6e616c206669656c647320696e20746865206675747572652c207375636820617320746869733a206754623533727a36456853576f6d58477a696d433151227d",
        "304402203310b9431903c401f1be2bdc8d23a4007682dbbddcf846994947b7f465daf84002204e94dd00047b316061b3b99772b7efd95994a83ef584b3b6b825ea3550251b66",
    ],
    [
        "16.11 EdDSA",
        "895957e01c633a698348a2d8a31a54b7db27e8c1c43b2080d79ae2190267bfd2",
        "a401010327200621582044e06ddd331c36a8dc667bab52bcae63486c916aa5e339e6acebaa84934bf832",
        "bfabc37432958b063360d3ad6461c9c4735ae7f8edd46592a5e0f01452b2e4b50100000000",
        "7b2274797065223a22776562617574686e2e676574222c226368616c6c656e6765223a2269566c583442786a4f6d6d44534b4c596f7870557439736e364d48454f7943413135726947514a6e763949222c226f726967696e223a2268747470733a2f2f6578616d706c652e6f7267222c2263726f73734f726967696e223a66616c73657d",
        "f5c59c7e46c34f6f8cc197101ddf9934fa2595f68eb1913a637e8419eb9ba4cfdfc48f85393bc0d40b011f0d6fecb097d6607525713223a0dc0d453993dae00b",
    ],
];

/// §16.4, shown in a frame of another site's page: challenge, key, authenticator data, client data, signature.
const FRAMED: [&str; 5] = [
    "876aa517ba83fdee65fcffdbca4c84eeae5d54f8041a1fc85c991e5bbb273137",
    "a501020326200121582022200a473f90b11078851550d03b4e44a2279f8c4eca27b3153dedfe03e4e97d225820cbd0be95e746ad6f5a8191be11756e4c0420e72f65b466d39bc56b8b123a9c6e",
    "bfabc37432958b063360d3ad6461c9c4735ae7f8edd46592a5e0f01452b2e4b50500000000",
    "7b2274797065223a22776562617574686e2e676574222c226368616c6c656e6765223a226832716c463771445f65356c5f505f62796b7945377135645650674547685f49584a6b655737736e4d5463222c226f726967696e223a2268747470733a2f2f6578616d706c652e6f7267222c2263726f73734f726967696e223a747275652c22657874726144617461223a22636c69656e74446174614a534f4e206d617920626520657874656e6465642077697468206164646974696f6e616c206669656c647320696e20746865206675747572652c207375636820617320746869733a2039327063545644304162792d713464746d6a36656667227d",
    "3046022100eb12fcf23b12764c0f122e22371fab92e283879fd798f38ee1841c951b6e40e7022100c76237ff9db77b3c56f30837cda6a09acfa2e915544e609c0733b1184036d1cf",
];

fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text).expect("hex")
}

fn example() -> RelyingParty {
    RelyingParty::of("https://example.org").expect("a site")
}

fn ceremony<'a>(rp: &'a RelyingParty, challenge: &'a [u8]) -> Ceremony<'a> {
    Ceremony { rp, challenge, user_verification: UserVerification::Optional }
}

/// CO-506: browsers know a site by its host name and its origin; an address is no site to them.
#[test]
fn co_506_a_site_is_its_name_and_its_origin() {
    let site = |url: &str| RelyingParty::of(url).map(|rp| (rp.id, rp.origin));
    let named = |id: &str, origin: &str| Some((id.to_owned(), origin.to_owned()));
    assert_eq!(site("https://id.example:8443/"), named("id.example", "https://id.example:8443"));
    assert_eq!(site("https://ID.example:443"), named("id.example", "https://id.example"));
    assert_eq!(site("http://localhost:9000"), named("localhost", "http://localhost:9000"));
    assert_eq!((site("http://127.0.0.1:9000"), site("https://[::1]"), site("")), (None, None, None));
}

/// CO-315: the credentials of the specification are accepted as they are, by the site and the challenge they are for.
#[test]
fn co_315_credentials_of_the_specification_are_registered() {
    let rp = example();
    for made in [NONE, OWN] {
        let (challenge, client_data, object) = (bytes(made.challenge), bytes(made.client_data), bytes(made.object));
        let registered = ceremony(&rp, &challenge).register(&client_data, &object).expect("is accepted");
        assert_eq!(registered.credential_id, bytes(made.credential_id));
        assert!(PublicKey::kept(&registered.public_key).is_some());
        assert_eq!((registered.sign_count, registered.backed_up), (0, true));
        let other = ceremony(&rp, &[7; 32]).register(&client_data, &object);
        assert_eq!(other, Err(Refused::Challenge));
        let short = ceremony(&rp, &challenge[..31]).register(&client_data, &object);
        assert_eq!(short, Err(Refused::Challenge));
        for (url, refused) in [
            ("https://www.example.org", Refused::Origin),
            ("http://example.org", Refused::Origin),
            ("https://example.org:8443", Refused::Origin),
        ] {
            let rp = RelyingParty::of(url).expect("a site");
            assert_eq!(ceremony(&rp, &challenge).register(&client_data, &object), Err(refused), "{url}");
        }
        let elsewhere = RelyingParty { id: "www.example.org".to_owned(), ..example() };
        let refused = ceremony(&elsewhere, &challenge).register(&client_data, &object);
        assert_eq!(refused, Err(Refused::RelyingParty));
        let verify = ceremony(&rp, &challenge).verify(&registered.public_key, &client_data, &object, &[]);
        assert_eq!(verify, Err(Refused::Kind));
    }
    assert_eq!(
        ceremony(&rp, &bytes(NONE.challenge)).register(&bytes(NONE.client_data), &bytes(OWN.object)),
        Err(Refused::Signature),
        "who vouches for itself signs the client data as well"
    );
    let strict = Ceremony { user_verification: UserVerification::Required, ..ceremony(&rp, &[0; 32]) };
    let object = bytes(NONE.object);
    // Of §16.2's flags, 0x59, the user is present and not verified.
    assert_eq!(strict.authenticator_data(&object[object.len() - 164..]).map(drop), Err(Refused::NotVerified));
}

/// CO-315: assertions of the specification verify with each algorithm; with any byte of what is signed, of the
/// signature or of the key changed they do not.
#[test]
fn co_315_assertions_of_the_specification_verify() {
    let rp = example();
    for [name, challenge, key, data, client, signature] in SHOWN {
        let [challenge, key, data, client, signature] = [challenge, key, data, client, signature].map(bytes);
        let asked = ceremony(&rp, &challenge);
        let shown = asked.verify(&key, &client, &data, &signature);
        assert_eq!(shown, Ok(Shown { sign_count: 0, user_verified: false }), "{name}");
        let strict = Ceremony { user_verification: UserVerification::Required, ..asked };
        assert_eq!(strict.verify(&key, &client, &data, &signature), Err(Refused::NotVerified), "{name}");
        for (part, bytes) in [&key, &client, &data, &signature].into_iter().enumerate() {
            for at in 0..bytes.len() {
                let mut parts = [key.clone(), client.clone(), data.clone(), signature.clone()];
                parts[part][at] ^= 1;
                let [key, client, data, signature] = &parts;
                assert!(asked.verify(key, client, data, signature).is_err(), "{name}: part {part}, byte {at}");
            }
        }
        let mut absent = data.clone();
        absent[32] &= !1;
        assert_eq!(asked.verify(&key, &client, &absent, &signature), Err(Refused::NotPresent), "{name}");
    }
}

/// CO-315: what is shown in a frame of another site's page does not count, however right.
#[test]
fn co_315_nothing_counts_in_a_frame_of_another_site() {
    let [challenge, key, data, client, signature] = FRAMED.map(bytes);
    let asked = example();
    assert_eq!(ceremony(&asked, &challenge).verify(&key, &client, &data, &signature), Err(Refused::Origin));
    let signed = [data.as_slice(), &sha256(&client)].concat();
    assert!(PublicKey::kept(&key).expect("a key").verifies(&signed, &signature), "nothing else is wrong with it");
}

fn cose_rsa(n: &[u8], e: &[u8]) -> Vec<u8> {
    let length = |bytes: &[u8]| u16::try_from(bytes.len()).expect("short").to_be_bytes();
    let mut key = bytes("a401030339010020");
    key.extend([&[0x59], &length(n)[..], n, &[0x21, 0x59], &length(e)[..], e].concat());
    key
}

/// CO-315: RS256, which some platforms use, verifies; short keys and odd exponents are no keys.
#[test]
fn co_315_rsa_keys_verify_and_weak_ones_are_none() {
    let pair = KeyPair::generate(KeySize::Rsa2048).expect("a key");
    let public = pair.public_key();
    let (n, e) =
        (public.modulus().big_endian_without_leading_zero(), public.exponent().big_endian_without_leading_zero());
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), b"message", &mut signature).expect("signs");
    let key = PublicKey::kept(&cose_rsa(n, e)).expect("a key");
    assert_eq!(key.algorithm, RS256);
    assert!(key.verifies(b"message", &signature) && !key.verifies(b"massage", &signature));
    for (n, e) in [(&n[..255], e), (n, &[1][..]), (n, &[2]), (n, &[]), (n, &[0, 3]), (&[][..], e)] {
        assert!(PublicKey::kept(&cose_rsa(n, e)).is_none(), "{} and {e:?}", n.len());
    }
    assert!(PublicKey::kept(&cose_rsa(&[0; 257], e)).is_none());
}

/// CO-315: a key of another type or curve, off the curve, with a member twice or with bytes behind it is none.
#[test]
fn co_315_only_whole_keys_of_known_kinds_are_keys() {
    let good = SHOWN[0][2];
    assert!(PublicKey::kept(&bytes(good)).is_some());
    for (from, to) in [
        ("a50102", "a50101"),
        ("0326", "0327"),
        ("2001", "2002"),
        ("215820afefa1", "215820afefa2"),
        ("a5010203262001", "a60102032620012001"),
        ("a501020326", "a40326"),
        ("225820930a", "22f5930a"),
        ("a5", "b9ffff"),
    ] {
        let changed = good.replacen(from, to, 1);
        assert!(changed != good && PublicKey::kept(&bytes(&changed)).is_none(), "{from} as {to}");
    }
    assert!(PublicKey::kept(&bytes(&format!("{good}00"))).is_none());
}

/// CO-315: of the beginning of an answer, or of one with something behind it, nothing is accepted.
#[test]
fn co_315_cut_and_lengthened_answers_are_refused() {
    let rp = example();
    let (challenge, client, object) = (bytes(NONE.challenge), bytes(NONE.client_data), bytes(NONE.object));
    let asked = ceremony(&rp, &challenge);
    for end in 0..object.len() {
        assert_eq!(asked.register(&client, &object[..end]), Err(Refused::Unreadable), "{end}");
    }
    assert_eq!(asked.register(&client, &[object.as_slice(), &[0]].concat()), Err(Refused::Unreadable));
    for end in 0..client.len() {
        assert_eq!(asked.register(&client[..end], &object), Err(Refused::Unreadable), "{end}");
    }
    let twice = String::from_utf8(client).expect("text").replacen(
        "\"origin\"",
        "\"origin\":\"https://example.org\",\"origin\"",
        1,
    );
    assert_eq!(asked.register(twice.as_bytes(), &object), Err(Refused::Unreadable), "a member twice");
}

/// CO-302: answers are read in either alphabet of base64, with and without padding.
#[test]
fn co_302_answers_come_in_either_alphabet() {
    for text in ["-_-_", "+/+/", "-/+_"] {
        assert_eq!(decode(text).as_deref(), Some(&[0xfb, 0xff, 0xbf][..]), "{text}");
    }
    assert_eq!((decode("YQ=="), decode("YQ"), decode("Y"), decode("ä")), (Some(vec![97]), Some(vec![97]), None, None));
}
