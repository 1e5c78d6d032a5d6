//! Forms with files (RFC 7578), as far as an import needs them.

use std::collections::BTreeMap;

/// The parts of a form by name; the last one of a name counts. None when it is no such form.
pub(super) fn parts(content_type: &str, body: &[u8]) -> Option<BTreeMap<String, Vec<u8>>> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = parameter(parameters, "boundary")?;
    let delimiter = format!("--{boundary}");
    let mut rest = after(body, delimiter.as_bytes())?;
    let next = format!("\r\n{delimiter}");
    let mut parts = BTreeMap::new();
    loop {
        if rest.starts_with(b"--") {
            return Some(parts);
        }
        let part = rest.strip_prefix(b"\r\n")?;
        let end = position(part, next.as_bytes())?;
        let (part, beyond) = (part.get(..end)?, part.get(end + next.len()..)?);
        let head_end = position(part, b"\r\n\r\n")?;
        let head = std::str::from_utf8(part.get(..head_end)?).ok()?;
        if let Some(name) = name_of(head) {
            parts.insert(name, part.get(head_end + 4..)?.to_vec());
        }
        rest = beyond;
    }
}

fn name_of(head: &str) -> Option<String> {
    let field = |line: &str| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then(|| value.to_owned())
    };
    let disposition = head.split("\r\n").find_map(field)?;
    parameter(disposition.split_once(';')?.1, "name")
}

/// A parameter of a header field, quoted or not.
fn parameter(text: &str, wanted: &str) -> Option<String> {
    let pairs = text.split(';').filter_map(|pair| pair.split_once('='));
    let found = pairs.into_iter().find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted));
    found.map(|(_, value)| value.trim().trim_matches('"').to_owned()).filter(|value| !value.is_empty())
}

fn after<'a>(text: &'a [u8], part: &[u8]) -> Option<&'a [u8]> {
    text.get(position(text, part)? + part.len()..)
}

fn position(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-735: a form's parts are found by name, whatever is in them; what is no form is none.
    #[test]
    fn co_735_forms_are_read() {
        let kind = "multipart/form-data; boundary=\"xyz\"";
        let body = b"--xyz\r\nContent-Disposition: form-data; name=\"path\"\r\n\r\na.yaml\r\n--xyz\r\n\
            content-disposition: form-data; name=file; filename=\"b.yaml\"\r\nContent-Type: text/plain\r\n\r\n\
            line\r\n--xy\r\n\r\n--xyz--\r\n";
        let found = parts(kind, body).expect("a form");
        assert_eq!(found["path"], b"a.yaml");
        assert_eq!(found["file"], b"line\r\n--xy\r\n");
        for (kind, body) in [
            ("application/json", b"{}".as_slice()),
            ("multipart/form-data", body),
            (kind, b"".as_slice()),
            (kind, b"--xyz\r\nContent-Disposition: form-data; name=a\r\n\r\nnever ends"),
        ] {
            assert!(parts(kind, body).is_none(), "{kind}");
        }
    }
}
