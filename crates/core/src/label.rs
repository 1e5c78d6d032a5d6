//! Keys that say what they are, for programs that look for leaked secrets (OA-613).
//!
//! `pcap_` and the key of an app password, `pcat_` and that of an API token, and six characters of a checksum: CRC-32 of
//! everything before it, in base 62 with the digits `0-9A-Za-z`. Nothing here is asked when a key is verified.

/// Puts a label in front of random text, and the checksum behind.
pub fn labelled(label: &str, random: &str) -> String {
    let mut text = format!("{label}{random}");
    text.push_str(&checksum(&text));
    text
}

/// CRC-32 (IEEE 802.3) in base 62, six characters, the highest first.
fn checksum(text: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut rest = crc32(text.as_bytes());
    let mut digits = [0_u8; 6];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS.get(rest as usize % DIGITS.len()).copied().unwrap_or_default();
        rest /= 62;
    }
    digits.into_iter().map(char::from).collect()
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OA-613: the checksum is the CRC-32 that everybody has, in six characters, whatever it is of.
    #[test]
    fn oa_613_the_checksum_is_a_common_one() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(checksum(""), "000000");
        assert_eq!(checksum("123456789"), "3jZRME");
        assert_eq!(labelled("pcap_", "abc"), format!("pcap_abc{}", checksum("pcap_abc")));
    }
}
