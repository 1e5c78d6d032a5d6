//! HTTP/2 as frames: what no client library would send.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::wait::PATIENCE;

/// What every client sends first (RFC 9113 §3.4), and settings by which the server's fields stay readable: without a
/// table that answers share.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x01\0\0\0\0";

/// Frame types by their number (RFC 9113 §6).
pub const KINDS: [&str; 10] = [
    "DATA",
    "HEADERS",
    "PRIORITY",
    "RST_STREAM",
    "SETTINGS",
    "PUSH_PROMISE",
    "PING",
    "GOAWAY",
    "WINDOW_UPDATE",
    "CONTINUATION",
];

/// Reasons by their number (RFC 9113 §7).
const REASONS: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

/// A frame as bytes.
///
/// # Panics
/// When the payload has more bytes than a frame can.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    assert!(length < 1 << 24, "a frame of {length} bytes");
    [&length.to_be_bytes()[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field as bytes, spelled out: neither compressed nor remembered (RFC 7541 §6.2.2).
#[must_use]
pub fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        number(text.len(), &mut bytes);
        bytes.extend_from_slice(text);
    }
    bytes
}

/// A length with a prefix of seven bits (RFC 7541 §5.1).
fn number(mut length: usize, bytes: &mut Vec<u8>) {
    if length < 127 {
        bytes.push(u8::try_from(length).unwrap());
        return;
    }
    bytes.push(127);
    length -= 127;
    while length >= 128 {
        bytes.push(u8::try_from(length % 128).unwrap() | 128);
        length /= 128;
    }
    bytes.push(u8::try_from(length).unwrap());
}

/// The status of an answer, which is the first of its fields.
///
/// # Panics
/// When it is not.
#[must_use]
fn status(mut block: &[u8]) -> String {
    const KNOWN: [&str; 7] = ["200", "204", "206", "304", "400", "404", "500"];
    // Changes of the table's size come before the fields.
    while block[0] & 0b1110_0000 == 0b0010_0000 {
        block = &block[1..];
    }
    if block[0] & 0x80 != 0 {
        return KNOWN[usize::from(block[0] & 0x7f) - 8].to_owned();
    }
    assert!(matches!(block[0], 0x08 | 0x18 | 0x48), "no status: {block:x?}");
    let text = &block[2..][..usize::from(block[1] & 0x7f)];
    if block[1] & 0x80 == 0 {
        return String::from_utf8(text.to_vec()).unwrap();
    }
    // Huffman's code has five bits for 0, 1 and 2, and six for the other digits (RFC 7541, Appendix B).
    let (mut bits, mut digits) = (text.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte)), String::new());
    let mut left = text.len() * 8;
    bits <<= 64 - left;
    while digits.len() < 3 && left >= 5 {
        let short = bits >> 59;
        let (digit, length) = if short < 3 { (short, 5) } else { (3 + (bits >> 58) - 0b01_1001, 6) };
        digits.push_str(&digit.to_string());
        bits <<= length;
        left -= length;
    }
    digits
}

/// What a server said on a connection.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// What became of each stream: the status of its answer, a reason, or both.
    pub outcomes: BTreeMap<u32, String>,
    /// Streams whose outcome is final.
    pub ended: Vec<u32>,
    /// The reason of its good-bye.
    pub good_bye: Option<String>,
    /// Whether it closed the connection.
    pub closed: bool,
}

impl Heard {
    fn note(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let reason = |at: usize| {
            let number = u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
            REASONS.get(number as usize).map_or_else(|| format!("reason {number}"), ToString::to_string)
        };
        match KINDS.get(usize::from(kind)) {
            Some(&"HEADERS") if !self.outcomes.contains_key(&stream) => {
                let status = status(payload);
                if !status.starts_with('1') {
                    self.outcomes.insert(stream, status);
                }
            }
            Some(&"RST_STREAM") => {
                let reason = reason(0);
                match self.outcomes.get_mut(&stream) {
                    // The answer is there as a whole, and the rest of the request is not wanted.
                    Some(_) if reason == "NO_ERROR" => {}
                    Some(outcome) => *outcome = format!("{outcome},{reason}"),
                    None => drop(self.outcomes.insert(stream, reason)),
                }
                self.ended.push(stream);
            }
            Some(&"GOAWAY") => self.good_bye = Some(reason(4)),
            _ => {}
        }
        if kind <= 1 && flags & 1 != 0 {
            self.ended.push(stream);
        }
    }
}

/// A connection over TLS on which every frame is the test's own.
pub struct Http2 {
    reader: ReadHalf<TlsStream<TcpStream>>,
    writer: mpsc::UnboundedSender<Vec<u8>>,
    buffer: Vec<u8>,
    /// What the server said so far.
    pub heard: Heard,
}

impl Http2 {
    /// Connects to `127.0.0.1` and asks for `host`, which has to show this certificate (PEM).
    ///
    /// # Panics
    /// When the server shows another, or does not speak HTTP/2.
    pub async fn connect(port: u16, host: &str, certificate: &str) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (reader, mut half) = tokio::io::split(stream);
        let (writer, mut orders) = mpsc::unbounded_channel::<Vec<u8>>();
        // Apart from the reader: a server that is flooded wants to be heard meanwhile.
        tokio::spawn(async move {
            while let Some(bytes) = orders.recv().await {
                // It may refuse before it has read all.
                if half.write_all(&bytes).await.is_err() || half.flush().await.is_err() {
                    return;
                }
            }
        });
        Self { reader, writer, buffer: Vec::new(), heard: Heard::default() }
    }

    /// Writes bytes, in turn.
    pub fn send(&self, bytes: Vec<u8>) {
        drop(self.writer.send(bytes));
    }

    /// Listens until enough was heard, or the server closes.
    ///
    /// # Panics
    /// When nothing comes in time.
    pub async fn listen(&mut self, enough: impl Fn(&Heard) -> bool) {
        while !self.heard.closed && !enough(&self.heard) {
            let Some(length) = self.whole_frame() else {
                let read = tokio::time::timeout(PATIENCE, self.reader.read_buf(&mut self.buffer));
                self.heard.closed = read.await.expect("nothing came in time").unwrap_or(0) == 0;
                continue;
            };
            let frame: Vec<u8> = self.buffer.drain(..length).collect();
            let stream = u32::from_be_bytes(frame[5..9].try_into().unwrap());
            self.heard.note(frame[3], frame[4], stream, &frame[9..]);
        }
    }

    /// The length of the frame that the buffer begins with, if it is there as a whole.
    fn whole_frame(&self) -> Option<usize> {
        let length = self.buffer.get(..3)?;
        let length = usize::from(length[0]) << 16 | usize::from(length[1]) << 8 | usize::from(length[2]);
        (self.buffer.len() >= length + 9).then_some(length + 9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths are spelled as the standard's examples are.
    #[test]
    fn lengths_are_spelled() {
        let spelled = |length| {
            let mut bytes = Vec::new();
            number(length, &mut bytes);
            bytes
        };
        assert_eq!((spelled(10), spelled(126), spelled(127)), (vec![10], vec![126], vec![127, 0]));
        assert_eq!(spelled(1337), [127, 0b1011_1010, 9]);
    }

    /// Statuses are read, however they are spelled.
    #[test]
    fn statuses_are_read() {
        for (block, expected) in [
            (&[0x88][..], "200"),
            (&[0x20, 0x8d], "404"),
            (&[0x48, 0x82, 0x64, 0x02], "302"),
            (&[0x48, 0x03, b'4', b'2', b'9'], "429"),
            (&[0x48, 0x83, 0b0110_1001, 0b1001_0000, 0b1111_1111], "431"),
        ] {
            assert_eq!(status(block), expected, "{block:x?}");
        }
    }
}
