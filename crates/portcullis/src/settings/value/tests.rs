use std::path::Path;

use portcullis_proxy::settings::{EmptyBasicPassword, ForwardJwt};

use super::*;

/// PX-283: durations are a number and a unit, and are written back in the largest unit that fits.
#[test]
fn px_283_durations_are_a_number_and_a_unit() {
    for (text, milliseconds, shown) in [
        ("30s", 30_000, "30s"),
        ("90s", 90_000, "90s"),
        ("120s", 120_000, "2m"),
        ("250ms", 250, "250ms"),
        ("0s", 0, "0s"),
    ] {
        let span = Span::read(text).unwrap();
        assert_eq!(span.0.as_millis(), milliseconds, "{text}");
        assert_eq!(span.show(), shown);
    }
    for text in ["", "30", "s", "1.5s", "-1s", "3 weeks", "99999999999999999999s", "90000d"] {
        assert_eq!(Span::read(text), None, "{text}");
    }
}

/// PX-010: cache lifetimes are at most a minute, limits are a number in a window, words are words.
#[test]
fn px_010_kinds_of_the_data_planes_settings() {
    assert_eq!(Minute::read("60s").map(|minute| minute.0.as_secs()), Some(60));
    assert_eq!(Minute::read("61s"), None);
    assert_eq!(Rate::read("20/60s").unwrap().show(), "20/1m");
    for text in ["20", "0/60s", "20/0s", "-1/60s", "20/60"] {
        assert_eq!(Rate::read(text), None, "{text}");
    }
    assert_eq!(ForwardJwt::read("off"), Some(ForwardJwt::Off));
    assert_eq!(EmptyBasicPassword::read("Send"), None);
}

/// PX-005: a base URL means the same with and without a slash at its end, and carries no secrets.
#[test]
fn px_005_a_base_url_is_the_same_with_and_without_a_slash() {
    assert_eq!(BaseUrl::read("https://id.example/auth"), BaseUrl::read("https://id.example/auth/"));
    assert_eq!(BaseUrl::read("http://localhost:9000/").unwrap().as_str(), "http://localhost:9000");
    for text in ["id.example", "ftp://id.example", "https://u:p@id.example", "https://id.example?x", "https://"] {
        assert_eq!(BaseUrl::read(text), None, "{text}");
    }
}

/// CO-008: a time for mail is a duration or a number of seconds, and a port is one.
#[test]
fn co_008_numbers_of_mail_are_read() {
    assert_eq!(Seconds::read("30"), Seconds::read("30s"));
    assert_eq!(Seconds::read("2m").unwrap().show(), "2m");
    assert!(Seconds::read("0").is_none() && Seconds::read("soon").is_none() && Seconds::read("").is_none());
    assert_eq!(u16::read("587"), Some(587));
    assert!(<u16 as Value>::read("0").is_none() && <u16 as Value>::read("70000").is_none());
}

/// CO-008: sockets, networks and switches are read as types; what is none of the kind is no value.
#[test]
fn co_008_values_are_read_as_types() {
    assert_eq!(Vec::<SocketAddr>::read("[::]:9000, 127.0.0.1:80").unwrap().len(), 2);
    assert_eq!(Vec::<SocketAddr>::read("").unwrap().len(), 0);
    assert!(Vec::<SocketAddr>::read("localhost:9000").is_none());
    assert_eq!(Vec::<IpNet>::read("10.0.0.0/8,192.0.2.7").unwrap().show(), "10.0.0.0/8,192.0.2.7/32");
    assert_eq!(bool::read("Yes"), Some(true));
    assert_eq!(bool::read("maybe"), None);
    assert_eq!(LogLevel::read("warning").unwrap().show(), "warn");
    assert!(LogLevel::read("portcullis=loud").is_none());
    assert!(LogLevel::read("inof").is_none() && LogLevel::read("portcullis").is_none());
    assert!(LogLevel::read("info,portcullis=debug").is_some());
}

/// CO-008: a database URL names a SQLite file, or PostgreSQL; anything else is refused.
#[test]
fn co_008_database_urls() {
    for text in ["sqlite:/srv/p.db", "sqlite:///srv/p.db"] {
        assert!(matches!(DatabaseUrl::read(text), Some(DatabaseUrl::Sqlite(path)) if path == Path::new("/srv/p.db")));
    }
    assert_eq!(DatabaseUrl::read("postgres://u:p@db/x").unwrap().show(), "postgres://u:********@db/x");
    let url = "postgres://db/x?sslmode=require&password=hunter2";
    let shown = DatabaseUrl::read(url).unwrap().show();
    assert_eq!(shown, "postgres://db/x?sslmode=require&password=********");
    assert!(!format!("{:?}", DatabaseUrl::read(url)).contains("hunter2"));
    assert!(DatabaseUrl::read("postgres://db/x?slmode=require").is_none(), "a mistake must not be ignored");
    for text in ["mysql://db/x", "/srv/p.db", "sqlite:", "sqlite::memory:", "sqlite:x.db?mode=ro"] {
        assert!(DatabaseUrl::read(text).is_none(), "{text}");
    }
}

/// CO-482: a secret never shows itself when printed for debugging.
#[test]
fn co_482_secrets_do_not_show_themselves() {
    let secret = Secret::read("hunter2");
    assert_eq!(format!("{secret:?}"), "Some([REDACTED])");
    assert_eq!(secret.show(), "********");
}
