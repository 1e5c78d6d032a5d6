//! Helpers that need nothing but their arguments.

use std::{
    collections::HashMap,
    fmt::Write,
    net::IpAddr,
    sync::{LazyLock, Mutex, PoisonError},
};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512};
use ipnet::IpNet;
use md5::{Digest, Md5};
use monty_types::MontyObject;
use num_bigint::BigInt;
use regex::{Captures, Regex, RegexBuilder};
use unicode_normalization::UnicodeNormalization;

/// Longest pattern (CO-241).
const PATTERN_LENGTH: usize = 8 << 10;

/// Largest compiled pattern (CO-241).
const PATTERN_SIZE: usize = 1 << 20;

/// How many compiled patterns are kept. Policies use the same few again and again.
const PATTERNS_KEPT: usize = 128;

static PATTERNS: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);

/// Compiles a pattern for the engine that takes linear time.
pub(crate) fn compile_pattern(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > PATTERN_LENGTH {
        return Err(format!("the pattern is longer than {PATTERN_LENGTH} bytes"));
    }
    let mut kept = PATTERNS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = kept.get(pattern) {
        return Ok(known.clone());
    }
    // What Python calls `\Z` is `\z` here; the rest of the syntax is shared.
    let compiled = RegexBuilder::new(&pattern.replace(r"\Z", r"\z"))
        .size_limit(PATTERN_SIZE)
        .build()
        .map_err(|error| format!("the pattern cannot be used: {}", reason(&error)))?;
    if kept.len() >= PATTERNS_KEPT {
        kept.clear();
    }
    kept.insert(pattern.to_owned(), compiled.clone());
    Ok(compiled)
}

/// The last line says it; those before draw the pattern.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// Replaces all matches; `\1` and `\g<name>` stand for groups.
pub(crate) fn regex_replace(value: &str, pattern: &str, replacement: &str) -> Result<String, String> {
    let regex = compile_pattern(pattern)?;
    Ok(regex.replace_all(value, |captures: &Captures<'_>| expand(captures, replacement)).into_owned())
}

fn expand(captures: &Captures<'_>, replacement: &str) -> String {
    let mut out = String::new();
    let mut rest = replacement;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let group = |name: &str| {
            let found = name.parse().map_or_else(|_| captures.name(name), |number: usize| captures.get(number));
            found.map(|found| found.as_str()).unwrap_or_default().to_owned()
        };
        if let Some((name, after)) = after.strip_prefix("g<").and_then(|after| after.split_once('>')) {
            out.push_str(&group(name));
            rest = after;
            continue;
        }
        let digits = after.bytes().take(2).take_while(u8::is_ascii_digit).count();
        let mut chars = after.chars();
        match (digits, chars.next()) {
            (0, Some('n')) => out.push('\n'),
            (0, Some('t')) => out.push('\t'),
            (0, Some(other)) => {
                if other != '\\' {
                    out.push('\\');
                }
                out.push(other);
            }
            (0, None) => out.push('\\'),
            _ => {
                let (number, after) = after.split_at(digits);
                out.push_str(&group(number));
                rest = after;
                continue;
            }
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out
}

/// Lower case ASCII letters, digits, `-` and `_`.
pub(crate) fn slugify(text: &str) -> String {
    let mut slug = String::new();
    for char in text.nfkd().filter(char::is_ascii) {
        match char.to_ascii_lowercase() {
            char if char.is_ascii_alphanumeric() || char == '_' => slug.push(char),
            '-' | ' ' | '\t' | '\n' | '\r' if !slug.ends_with('-') => slug.push('-'),
            _ => {}
        }
    }
    slug.trim_matches(['-', '_']).to_owned()
}

/// The digest of bytes, in hexadecimal digits; `None` when there is none of this name. Expressions make pictures' addresses and
/// stable names of them, nothing that is kept secret.
pub(crate) fn digest(name: &str, data: &[u8]) -> Option<String> {
    let kind = match name.to_ascii_lowercase().as_str() {
        "md5" => return Some(hex(&Md5::digest(data))),
        "sha1" => &SHA1_FOR_LEGACY_USE_ONLY,
        "sha256" => &SHA256,
        "sha384" => &SHA384,
        "sha512" => &SHA512,
        _ => return None,
    };
    Some(hex(aws_lc_rs::digest::digest(kind, data).as_ref()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Reads an address. A mapped IPv4 address is the IPv4 address.
pub(crate) fn address(text: &str) -> Result<IpAddr, String> {
    let parsed: Result<IpAddr, _> = text.trim().parse();
    parsed
        .map(|address| address.to_canonical())
        .map_err(|_| format!("'{text}' does not appear to be an IPv4 or IPv6 address"))
}

/// Reads a network. Host bits are an error when it is `strict`.
pub(crate) fn network(text: &str, strict: bool) -> Result<IpNet, String> {
    let bad = || format!("'{text}' does not appear to be an IPv4 or IPv6 network");
    let trimmed = text.trim();
    let net = match trimmed.split_once('/') {
        None => IpNet::from(trimmed.parse::<IpAddr>().map_err(|_| bad())?),
        Some((address, mask)) => {
            let address: IpAddr = address.parse().map_err(|_| bad())?;
            match mask.parse::<u8>() {
                Ok(length) => IpNet::new(address, length).map_err(|_| bad())?,
                Err(_) => IpNet::with_netmask(address, mask.parse().map_err(|_| bad())?).map_err(|_| bad())?,
            }
        }
    };
    // A mapped network is the IPv4 network that its addresses are.
    let net = match net {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.addr().to_ipv4_mapped() {
            Some(v4) => IpNet::new(v4.into(), v6.prefix_len() - 96).map_err(|_| bad())?,
            None => net,
        },
        IpNet::V4(_) | IpNet::V6(_) => net,
    };
    if strict && net.addr() != net.network() {
        return Err(format!("{text} has host bits set"));
    }
    Ok(net.trunc())
}

/// 4 or 6.
pub(crate) fn version(address: IpAddr) -> i64 {
    if address.is_ipv4() { 4 } else { 6 }
}

/// An address as a number, which is how addresses are ordered.
pub(crate) fn number(address: IpAddr) -> MontyObject {
    match address {
        IpAddr::V4(v4) => MontyObject::Int(i64::from(v4.to_bits())),
        IpAddr::V6(v6) => big(BigInt::from(v6.to_bits())),
    }
}

/// How many addresses a network has.
pub(crate) fn count(net: IpNet) -> MontyObject {
    big(BigInt::from(1) << u32::from(net.max_prefix_len() - net.prefix_len()))
}

fn big(number: BigInt) -> MontyObject {
    i64::try_from(&number).map_or(MontyObject::BigInt(number), MontyObject::Int)
}

/// Ranges that are not reachable from everywhere: the special-purpose registries of RFC 6890 and its successors.
const NOT_GLOBAL: [&str; 24] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "240.0.0.0/4",
    "::/128",
    "::1/128",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
];

/// Ranges within those above that are reachable from everywhere.
const GLOBAL: [&str; 6] =
    ["192.0.0.9/32", "192.0.0.10/32", "2001:1::1/128", "2001:1::2/128", "2001:3::/32", "2001:20::/28"];

static RANGES: LazyLock<(Vec<IpNet>, Vec<IpNet>)> = LazyLock::new(|| {
    let parse = |texts: &[&str]| texts.iter().filter_map(|text| text.parse().ok()).collect();
    (parse(&NOT_GLOBAL), parse(&GLOBAL))
});

/// Whether an address is reachable from everywhere.
pub(crate) fn is_global(address: IpAddr) -> bool {
    let (special, exceptions) = &*RANGES;
    !special.iter().any(|net| net.contains(&address)) || exceptions.iter().any(|net| net.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-241: groups are replaced by number and by name.
    #[test]
    fn co_241_replacements_refer_to_groups() {
        assert_eq!(regex_replace("a1 b2", r"(?P<l>[a-z])(\d)", r"\2\g<l>\\\q").unwrap(), r"1a\\q 2b\\q");
        assert_eq!(regex_replace("x", "(x)|(y)", r"[\2]").unwrap(), "[]");
    }

    /// CO-241: look-around and back-references are reported, as are patterns that are too large.
    #[test]
    fn co_241_what_is_not_linear_is_reported() {
        for pattern in [r"(?=a)", r"(a)\1", r"(?<!a)b", "(", &"a".repeat(9000), r"(\w{100}){100}"] {
            assert!(compile_pattern(pattern).is_err(), "{pattern}");
        }
    }

    /// CO-235: private means not reachable from everywhere, and mapped addresses are what they map.
    #[test]
    fn co_235_private_is_what_is_not_global() {
        for (text, global) in [
            ("8.8.8.8", true),
            ("10.1.2.3", false),
            ("100.64.0.1", false),
            ("192.0.0.9", true),
            ("::ffff:10.0.0.1", false),
            ("::ffff:8.8.8.8", true),
            ("2606:4700::1111", true),
            ("fd00::1", false),
            ("::1", false),
            ("2001:20::1", true),
        ] {
            assert_eq!(is_global(text.parse::<IpAddr>().unwrap().to_canonical()), global, "{text}");
        }
        assert_eq!(RANGES.0.len() + RANGES.1.len(), NOT_GLOBAL.len() + GLOBAL.len());
    }

    /// Slugs are plain ASCII.
    #[test]
    fn slugs_are_plain_ascii() {
        assert_eq!(slugify("  Crème Brûlée -- №1! "), "creme-brulee-no1");
    }
}
