use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use futures_util::FutureExt;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A header of version 2.
fn v2_header(command: u8, family: u8, addresses: &[u8], rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(addresses.len() + rest.len()).unwrap();
    [V2, &[0x20 | command, family], &length.to_be_bytes(), addresses, rest].concat()
}

/// What a connection that brings these pieces, one read after the other, is taken for: the address that it
/// tells, and all bytes that are left of it.
fn taken(pieces: &[&[u8]]) -> (Option<IpAddr>, Vec<u8>) {
    let mut stream: Box<dyn AsyncRead + Unpin> = Box::new(&b""[..]);
    for piece in pieces {
        stream = Box::new(stream.chain(std::io::Cursor::new(piece.to_vec())));
    }
    let (mut replay, source) = take(stream).now_or_never().unwrap().unwrap();
    let mut left = Vec::new();
    replay.read_to_end(&mut left).now_or_never().unwrap().unwrap();
    (source, left)
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// PX-041: both versions tell the source address; LOCAL, UNKNOWN and sockets of no network tell none, and are gone too.
#[test]
fn px_041_headers_are_read() {
    let v4: Option<IpAddr> = Some([203, 0, 113, 9].into());
    let v6: Option<IpAddr> = "2001:db8::9".parse().ok();
    let in_v4 = [203, 0, 113, 9, 192, 0, 2, 1, 0xd4, 0x31, 1, 0xbb];
    let in_v6 = [&"2001:db8::9".parse::<Ipv6Addr>().unwrap().octets()[..], &[0; 16], &[1, 2, 3, 4]].concat();
    let with_tlv = v2_header(1, 0x11, &in_v4, &[4, 0, 1, 0]);
    let longest_tlv = v2_header(1, 0x11, &in_v4, &[0; V2_LONGEST - 12]);
    for (header, source) in [
        (b"PROXY TCP4 203.0.113.9 192.0.2.1 54321 443\r\n".to_vec(), v4),
        (b"PROXY TCP6 2001:db8::9 2001:db8::1 54321 443\r\n".to_vec(), v6),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (b"PROXY UNKNOWN one two three four five six\r\n".to_vec(), None),
        (v2_header(1, 0x11, &in_v4, b""), v4),
        (with_tlv, v4),
        (longest_tlv, v4),
        (v2_header(1, 0x21, &in_v6, b""), v6),
        (v2_header(1, 0x00, b"", b""), None),
        (v2_header(1, 0x00, b"", b"ignored"), None),
        (v2_header(1, 0x31, &[0; 216], b""), None),
        (v2_header(0, 0x00, b"", b""), None),
        (v2_header(0, 0x11, &in_v4, b""), None),
    ] {
        let all = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(taken(&[&all]), (source, b"GET / HTTP/1.1\r\n".to_vec()), "{}", shown(&header));
        let bytes: Vec<&[u8]> = all.chunks(1).collect();
        assert_eq!(taken(&bytes), (source, b"GET / HTTP/1.1\r\n".to_vec()), "{}", shown(&header));
    }
}

/// PX-041: what is no header, or is a malformed or unfinished one, stays as it was, whatever pieces it comes in.
#[test]
fn px_041_everything_else_is_left_alone() {
    let in_v4 = [203, 0, 113, 9, 192, 0, 2, 1, 0xd4, 0x31, 1, 0xbb];
    let mut too_long = V2.to_vec();
    too_long.extend([0x21, 0x11, 0x10, 0x01]);
    let mut version_3 = v2_header(1, 0x11, &in_v4, b"");
    version_3[12] = 0x31;
    for bytes in [
        b"".as_slice(),
        b"P",
        b"PROXY",
        b"PROPFIND / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PROXY / HTTP/1.1\r\n\r\n",
        b"PROXY UNKNOWN\n",
        b"PROXY UNKNOWNS\r\n",
        b"PROXY TCP4 203.0.113.9 192.0.2.1 54321 443\n",
        b"PROXY TCP4 203.0.113.9 192.0.2.1 54321 443 \r\n",
        b"PROXY TCP4 203.0.113.9 192.0.2.1 54321 443\r \r\n",
        b"PROXY TCP4 203.0.113.999 192.0.2.1 54321 443\r\n",
        b"PROXY TCP4 2001:db8::9 2001:db8::1 54321 443\r\n",
        b"PROXY TCP4 203.0.113.9 192.0.2.1 54321 65536\r\n",
        b"PROXY TCP9 203.0.113.9 192.0.2.1 54321 443\r\n",
        b"PROXY TCP4\r\n",
        b"proxy UNKNOWN\r\n",
        &[b"PROXY UNKNOWN ".as_slice(), &[b'x'; V1_LONGEST], b"\r\n"].concat(),
        &[b"PROXY UNKNOWN ".as_slice(), &[b'x'; 2 * ROOM]].concat(),
        b"\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        V2,
        &too_long,
        &version_3,
        &v2_header(2, 0x11, &in_v4, b""),
        &v2_header(1, 0x41, &in_v4, b""),
        &v2_header(1, 0x13, &in_v4, b""),
        &v2_header(1, 0x11, &[203, 0, 113], b""),
        &v2_header(1, 0x21, &in_v4, b""),
        &v2_header(1, 0x11, &in_v4, b"")[..20],
        b"\x16\x03\x01\x02\x00",
    ] {
        assert_eq!(taken(&[bytes]), (None, bytes.to_vec()), "{}", shown(bytes));
        assert_eq!(taken(&bytes.chunks(1).collect::<Vec<_>>()), (None, bytes.to_vec()), "{}", shown(bytes));
    }
}

fn any_header() -> impl Strategy<Value = (Vec<u8>, Option<IpAddr>)> {
    let text = (any::<[u8; 4]>(), any::<u16>()).prop_map(|(address, port)| {
        let (address, mut line) = (Ipv4Addr::from(address), String::new());
        write!(line, "PROXY TCP4 {address} 192.0.2.1 {port} 443\r\n").unwrap();
        (line.into_bytes(), Some(address.into()))
    });
    let binary = (any::<[u8; 16]>(), vec(any::<u8>(), 0..100)).prop_map(|(address, rest)| {
        let addresses = [&address[..], &[7; 20]].concat();
        (v2_header(1, 0x21, &addresses, &rest), Some(Ipv6Addr::from(address).into()))
    });
    prop_oneof![text, binary]
}

/// Cuts bytes at these places.
fn cut<'a>(mut bytes: &'a [u8], places: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for place in places {
        let (piece, rest) = bytes.split_at(place % (bytes.len() + 1));
        pieces.push(piece);
        bytes = rest;
    }
    pieces.push(bytes);
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

proptest! {
    /// PX-041: no bytes make the reader panic, wait for ever or lose any: it takes off a header and nothing else.
    #[test]
    fn px_041_no_input_is_lost(
        signature in prop_oneof![Just(b"".as_slice()), Just(V1), Just(b"PROXY TCP4 ".as_slice()), Just(V2)],
        noise in vec(any::<u8>(), 0..300),
        places in vec(any::<usize>(), 0..8),
    ) {
        let all = [signature, &noise].concat();
        let (source, left) = taken(&cut(&all, &places));
        prop_assert!(all.ends_with(&left));
        prop_assert!(source.is_none() || left.len() < all.len());
        prop_assert_eq!((source, left), taken(&[&all]));
    }

    /// PX-041: a header is found however the network cuts it.
    #[test]
    fn px_041_headers_may_be_cut_anywhere(
        (header, source) in any_header(),
        behind in vec(any::<u8>(), 0..5000),
        places in vec(any::<usize>(), 0..8),
    ) {
        let all = [&header[..], &behind].concat();
        prop_assert_eq!(taken(&cut(&all, &places)), (source, behind));
    }
}
