//! Where a browser may be sent after a page of ours (CO-309).

/// Longest target, in bytes: no request has a longer one (OA-009).
pub const LONGEST: usize = 16 * 1024;

/// Home.
pub const HOME: &str = "/";

/// A target on this site, or the home page: a path that begins with one slash, without control characters or
/// backslashes, so that no browser can read another host into it.
pub fn local_target(next: &str) -> &str {
    let mut bytes = next.bytes();
    let local = bytes.next() == Some(b'/') && !matches!(bytes.next(), Some(b'/' | b'\\'));
    let plain = next.len() <= LONGEST && next.bytes().all(|byte| byte > 0x20 && byte != 0x7f && byte != b'\\');
    if local && plain { next } else { HOME }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-309: only a path on this site is a target; everything else leads home.
    #[test]
    fn co_309_targets_stay_on_this_site() {
        assert_eq!(local_target("/application/o/authorize/?a=b%2F"), "/application/o/authorize/?a=b%2F");
        let elsewhere =
            ["", "//evil.example", "/\\evil", "https://evil.example", "/a b", "/a\nb", "javascript:x", "/\\/x"];
        for target in elsewhere {
            assert_eq!(local_target(target), "/", "{target:?}");
        }
    }
}
