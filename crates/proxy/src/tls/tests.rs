use portcullis_core::clock::Timestamp;
use portcullis_core::id::{BrandId, CertificateId, ProviderPk};
use portcullis_core::outpost::{BrandHost, Certificate, Configuration, Mode, OwnHost, Provider};
use rustls::pki_types::CertificateDer;

use super::*;
use crate::plane::tests::site::wiki;

/// A certificate for these names, under a key that ends in `number`.
pub(crate) fn pair(number: u128, names: &[&str]) -> Certificate {
    let made =
        rcgen::generate_simple_self_signed(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    Certificate {
        pk: id(number),
        name: format!("c{number}"),
        chain: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
        expires: Timestamp::from_seconds(2_000_000_000),
    }
}

fn id(number: u128) -> CertificateId {
    format!("00000000-0000-0000-0000-{number:012}").parse().unwrap()
}

/// Providers, each with its key, external host, cookie domain in domain mode, and certificate (0 for none).
pub(crate) fn configuration(providers: &[(i32, &str, &str, u128)], certificates: Vec<Certificate>) -> Configuration {
    let provider = |(pk, host, domain, certificate): &(i32, &str, &str, u128)| Provider {
        pk: ProviderPk(*pk),
        name: format!("p{pk}"),
        external_host: (*host).to_owned(),
        mode: if domain.is_empty() { Mode::Proxy } else { Mode::ForwardDomain },
        cookie_domain: (*domain).to_owned(),
        certificate: (*certificate > 0).then(|| id(*certificate)),
        ..wiki("http://127.0.0.1:1")
    };
    Configuration { providers: providers.iter().map(provider).collect(), certificates, ..Configuration::default() }
}

fn der(certificate: &Certificate) -> CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_slice(certificate.chain.as_bytes()).unwrap()
}

/// Which of these certificates is shown to a client that asks for `name`: its place among them.
fn shown(certificates: &Certificates, name: &str, of: &[&Certificate]) -> Option<usize> {
    let found = certificates.find(name)?;
    of.iter().position(|one| der(one) == found.cert[0])
}

const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);

/// PX-300, PX-596: the exact host wins, whatever its port and case; then the longest domain around it whose certificate is
/// for the name; else nobody's is shown.
#[test]
fn px_300_the_name_decides() {
    let wiki = pair(1, &["wiki.example"]);
    let wide = pair(2, &["*.example.com", "example.com"]);
    let narrow = pair(3, &["*.in.example.com"]);
    let certificates = Certificates::default();
    let providers = [
        (1, "https://wiki.example:8443/path", "", 1),
        (2, "http://plain.example.com", "", 0),
        (3, "https://auth.example.com", "example.com", 2),
        (4, "https://auth.in.example.com", ".In.Example.com", 3),
        (5, "https://WIKI.example", "", 2),
        (6, "https://b\u{fc}cher.example", "", 2),
        (7, "https://other.in.example.com", "", 2),
    ];
    certificates.update(&configuration(&providers, vec![wiki.clone(), wide.clone(), narrow.clone()]), NOW);
    let all = [&wiki, &wide, &narrow];
    for (name, expected) in [
        ("wiki.example", Some(0)),
        ("WiKi.Example", Some(0)),
        ("auth.example.com", Some(1)),
        ("plain.example.com", Some(1)),
        ("xn--bcher-kva.example", Some(1)),
        ("any.example.com", Some(1)),
        ("example.com", Some(1)),
        ("auth.in.example.com", Some(2)),
        ("any.in.example.com", Some(2)),
        // Its own provider's certificate is shown, fitting or not: that is what was configured.
        ("other.in.example.com", Some(1)),
        ("a.any.in.example.com", None),
        ("a.any.example.com", None),
        ("badexample.com", None),
        ("unknown.example", None),
        ("sub.wiki.example", None),
    ] {
        assert_eq!(shown(&certificates, name, &all), expected, "{name}");
    }
}

/// PX-300: the control plane's own host shows the certificate that was found for it, unless a provider has one for the
/// name; a broken one keeps the previous in force.
#[test]
fn px_300_the_control_plane_has_a_certificate() {
    let (wide, own, new) = (pair(1, &["*.in.example"]), pair(2, &["id.in.example"]), pair(3, &["id.in.example"]));
    let all = [&wide, &own, &new];
    let certificates = Certificates::default();
    let shown_with = |providers: &[(i32, &str, &str, u128)], own_host: Option<u128>, present: &[&Certificate]| {
        let own_host = own_host.map(|number| OwnHost { host: "id.in.example".to_owned(), certificate: id(number) });
        let present = present.iter().map(|one| (*one).clone()).collect();
        certificates.update(&Configuration { own_host, ..configuration(providers, present) }, NOW);
        ["id.in.example", "ID.in.example.", "a.id.in.example"].map(|name| shown(&certificates, name, &all))
    };
    assert_eq!(shown_with(&[], Some(2), &[&own]), [Some(1), Some(1), None]);
    let cut = Certificate { chain: new.chain[..100].to_owned(), ..new.clone() };
    assert_eq!(shown_with(&[], Some(3), &[&cut]), [Some(1), Some(1), None]);
    assert_eq!(shown_with(&[], Some(3), &[&new]), [Some(2), Some(2), None]);
    let around = [(1, "https://auth.in.example", "in.example", 1)];
    assert_eq!(shown_with(&around, Some(3), &[&wide, &new]), [Some(0), Some(0), None]);
    let exact = [(1, "https://id.in.example", "", 2)];
    assert_eq!(shown_with(&exact, Some(3), &[&own, &new]), [Some(1), Some(1), None]);
    assert_eq!(shown_with(&[], None, &[]), [None; 3]);
}

/// CO-502, PX-300, PX-303: a brand's certificate is shown for its domain and the names below it, the longest domain first,
/// behind those of providers; the default brand's for all other names; one that is broken keeps the previous, one without key
/// is ignored.
#[test]
fn co_502_brands_show_their_certificates() {
    let names = [
        ["example.com", "*.example.com"],
        ["in.example.com", "a.in.example.com"],
        ["a.example", "b.example"],
        ["c.example", "d.example"],
        ["id.example.com", "e.example"],
        ["f.example", "g.example"],
    ];
    let pairs: Vec<_> = names.iter().zip(1..).map(|(names, number)| pair(number, names)).collect();
    let [outer, inner, default, app, own, unfit] = <[_; 6]>::try_from(pairs).unwrap();
    let all = [&outer, &inner, &default, &app, &own, &unfit];
    let brand = |number: u128, domain: &str, certificate| BrandHost {
        pk: BrandId(uuid::Uuid::from_u128(number)),
        domain: domain.to_owned(),
        is_default: domain == "authentik-default",
        certificate: id(certificate),
    };
    let certificates = Certificates::default();
    let show = |brands: &[BrandHost], present: &[&Certificate]| {
        let own_host = Some(OwnHost { host: "id.example.com".to_owned(), certificate: id(5) });
        let providers = [(1, "https://app.in.example.com", "", 4), (2, "https://plain.in.example.com", "", 0)];
        let present = present.iter().map(|one| (*one).clone()).collect();
        let configuration = Configuration { own_host, brands: brands.to_vec(), ..configuration(&providers, present) };
        certificates.update(&configuration, NOW);
        let others =
            certificates.of_others().map(|found| all.iter().position(|one| der(one) == found.cert[0]).unwrap());
        let names = [
            "example.com",
            "EXAMPLE.com.",
            "b.example.com",
            "in.example.com",
            "b.in.example.com",
            "app.in.example.com",
        ];
        let more = ["plain.in.example.com", "id.example.com", "badexample.com"];
        (others, names.map(|name| shown(&certificates, name, &all)), more.map(|name| shown(&certificates, name, &all)))
    };
    let brands = [brand(1, "authentik-default", 3), brand(2, "example.com", 1), brand(3, "in.example.com", 2)];
    let (o, i, a) = (Some(0), Some(1), Some(3));
    assert_eq!(show(&brands, &all), (Some(2), [o, o, o, i, i, a], [i, o, None]));
    // That of the outer brand is not for the control plane's host now; the one that was found for it is.
    let narrow = [brand(2, "example.com", 6)];
    assert_eq!(show(&narrow, &all), (None, [Some(5), Some(5), Some(5), Some(5), Some(5), a], [Some(5), Some(4), None]));
    show(&brands, &all);
    let cut = Certificate { chain: inner.chain[..100].to_owned(), ..inner.clone() };
    let bare = Certificate { key: String::new(), ..default.clone() };
    assert_eq!(show(&brands, &[&outer, &cut, &bare, &app, &own]), (None, [o, o, o, i, i, a], [i, o, None]));
    assert_eq!(show(&[], &all), (None, [None, None, None, None, None, a], [None, Some(4), None]));
}

/// PX-029, PX-301: another certificate, another host and no certificate any more are in force at once; a changed
/// certificate leaves the others as they are.
#[test]
fn px_029_changes_are_in_force_at_once() {
    let (old, other, new) = (pair(1, &["a.example"]), pair(2, &["b.example"]), pair(1, &["a.example"]));
    let certificates = Certificates::default();
    let both = [(1, "https://a.example", "", 1), (2, "https://b.example", "", 2)];
    let all = [&old, &other, &new];
    let names = |names: [&str; 3]| names.map(|name| shown(&certificates, name, &all));
    certificates.update(&configuration(&both, vec![old.clone(), other.clone()]), NOW);
    assert_eq!(names(["a.example", "b.example", "c.example"]), [Some(0), Some(1), None]);
    let kept = certificates.find("b.example").unwrap();
    certificates.update(&configuration(&both, vec![new.clone(), other.clone()]), NOW);
    assert_eq!(names(["a.example", "b.example", "c.example"]), [Some(2), Some(1), None]);
    assert!(Arc::ptr_eq(&kept, &certificates.find("b.example").unwrap()));
    let moved = [(1, "https://c.example", "", 2), (2, "https://b.example", "", 0)];
    certificates.update(&configuration(&moved, vec![other.clone()]), NOW);
    assert_eq!(names(["a.example", "b.example", "c.example"]), [None, None, Some(1)]);
}

/// PX-301: a certificate that cannot be used, or is missing, keeps the previous one in force, and no other provider
/// notices.
#[test]
fn px_301_a_broken_pair_keeps_the_previous_one() {
    let (first, second) = (pair(1, &["a.example"]), pair(2, &["b.example"]));
    let all = [&first, &second];
    let providers = [(1, "https://a.example", "", 1), (2, "https://b.example", "", 2), (3, "https://c.example", "", 1)];
    let foreign = Certificate { key: second.key.clone(), ..first.clone() };
    let cut = Certificate { chain: first.chain[..100].to_owned(), ..first.clone() };
    let no_chain = Certificate { chain: String::new(), ..first.clone() };
    let no_key = Certificate { key: "words".to_owned(), ..first.clone() };
    for broken in [foreign, cut, no_chain, no_key] {
        let certificates = Certificates::default();
        let names = || ["a.example", "b.example", "c.example"].map(|name| shown(&certificates, name, &all));
        certificates.update(&configuration(&providers, vec![broken.clone(), second.clone()]), NOW);
        assert_eq!(names(), [None, Some(1), None]);
        certificates.update(&configuration(&providers, vec![first.clone(), second.clone()]), NOW);
        assert_eq!(names(), [Some(0), Some(1), Some(0)]);
        for present in [vec![broken.clone(), second.clone()], vec![broken, second.clone()], vec![second.clone()]] {
            certificates.update(&configuration(&providers, present), NOW);
            assert_eq!(names(), [Some(0), Some(1), Some(0)]);
        }
    }
}

/// PX-303: a certificate without its private key is not shown, also where it had one before.
#[test]
fn px_303_a_certificate_without_key_is_ignored() {
    let given = pair(1, &["a.example"]);
    let bare = Certificate { key: String::new(), ..given.clone() };
    let certificates = Certificates::default();
    for (present, expected) in [(&bare, None), (&given, Some(0)), (&bare, None)] {
        certificates.update(&configuration(&[(1, "https://a.example", "", 1)], vec![present.clone()]), NOW);
        assert_eq!(shown(&certificates, "a.example", &[&given]), expected);
    }
    assert!(!format!("{certificates:?}").contains("PRIVATE"));
}
