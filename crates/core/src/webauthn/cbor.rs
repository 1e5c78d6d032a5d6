//! As much CBOR (RFC 8949) as authenticators speak (CTAP2 canonical form): definite lengths, no tags, little nesting.
//!
//! A reader goes once over bytes that a stranger sent, keeps nothing, and gives nothing for whatever it does not know.

/// How deep values may be nested; canonical CTAP2 stops at four.
const DEEPEST: u32 = 8;

/// Goes over encoded values from left to right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

/// Kinds of values, by their number in the encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Major {
    Unsigned,
    Negative,
    Bytes,
    Text,
    Array,
    Map,
    Simple,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// The head of a value: its kind, and the number that comes with it.
    fn head(&mut self) -> Option<(Major, u64)> {
        let first = *self.take(1)?.first()?;
        let width = match first & 0x1f {
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            // Reserved, and indefinite lengths.
            28.. => return None,
            _ => 0,
        };
        let number = match width {
            0 => u64::from(first & 0x1f),
            _ => self.take(width)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)),
        };
        let major = match first >> 5 {
            0 => Major::Unsigned,
            1 => Major::Negative,
            2 => Major::Bytes,
            3 => Major::Text,
            4 => Major::Array,
            5 => Major::Map,
            7 => Major::Simple,
            // Tags.
            _ => return None,
        };
        Some((major, number))
    }

    fn expect(&mut self, wanted: Major) -> Option<u64> {
        let (major, number) = self.head()?;
        (major == wanted).then_some(number)
    }

    /// The number of pairs of a map, whose keys and values follow.
    pub(super) fn map(&mut self) -> Option<u64> {
        self.expect(Major::Map)
    }

    /// A text.
    pub(super) fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.expect(Major::Text)?).ok()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    /// Bytes.
    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.expect(Major::Bytes)?).ok()?;
        self.take(length)
    }

    /// An integer.
    pub(super) fn integer(&mut self) -> Option<i64> {
        match self.head()? {
            (Major::Unsigned, number) => i64::try_from(number).ok(),
            (Major::Negative, number) => i64::try_from(number).ok().map(|number| -1 - number),
            _ => None,
        }
    }

    /// Goes past a value, and gives its encoding.
    pub(super) fn skip(&mut self) -> Option<&'a [u8]> {
        let before = self.rest;
        self.pass(DEEPEST)?;
        before.get(..before.len().checked_sub(self.rest.len())?)
    }

    fn pass(&mut self, deeper: u32) -> Option<()> {
        let (major, number) = self.head()?;
        let (each, deeper) = match major {
            Major::Unsigned | Major::Negative | Major::Simple => return Some(()),
            Major::Bytes | Major::Text => return self.take(usize::try_from(number).ok()?).map(drop),
            Major::Array => (number, deeper.checked_sub(1)?),
            Major::Map => (number.checked_mul(2)?, deeper.checked_sub(1)?),
        };
        // Each takes a byte at least, so that this ends with the input whatever the number says.
        for _ in 0..each {
            self.pass(deeper)?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CO-315: what authenticators send is read; what they do not send, or do not finish, is nothing.
    #[test]
    fn co_315_cbor_is_read_or_refused() {
        let read = |bytes: &'static [u8]| Reader::new(bytes);
        assert_eq!(read(&[0x17]).integer(), Some(23));
        assert_eq!(read(&[0x39, 0x01, 0x00]).integer(), Some(-257));
        assert_eq!(read(&[0x3b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).integer(), None, "below any i64");
        assert_eq!(read(b"\x63fmt").text(), Some("fmt"));
        assert_eq!(read(b"\x62\xff\xfe").text(), None, "no UTF-8");
        assert_eq!(read(b"\x43abcd").bytes(), Some(&b"abc"[..]));
        assert_eq!(read(b"\x5b\xff\xff\xff\xff\xff\xff\xff\xffx").bytes(), None, "longer than anything");
        assert_eq!(read(b"\xa1\x01\x82\x02\xf5zz").skip(), Some(&b"\xa1\x01\x82\x02\xf5"[..]));
        for refused in [
            &b""[..],
            b"\x1c",
            b"\x5f\x41a\xff",
            b"\x9f\xff",
            b"\xc0\x01",
            b"\x82\x01",
            b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x81\x81\x81\x81\x81\x81\x81\x81\x81\x01",
        ] {
            assert_eq!(Reader::new(refused).skip(), None, "{}", refused.escape_ascii());
        }
        assert!(Reader::new(&[0x81; 100_000]).skip().is_none(), "nesting ends before the stack does");
    }
}
