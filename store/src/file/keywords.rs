//! The file `keywords` of a mailbox: which bit of a message's bitmap means which keyword. Data, not a cache.
//!
//! ```text
//! file  = *line                       ; line n (from 0) names bit n; at most 256
//! line  = 8( DIGIT / "a"-"f" ) SP keyword LF
//!                                     ; CRC-32 (IEEE) of the keyword in hex, and the keyword, an IMAP atom
//! ```
//!
//! It only grows, under the naming lock, and is synced before a name uses a new bit. What follows the first line that is
//! not of this form was never synced, so no name uses it, and it is overwritten.

use rmail_core::mailbox::{Keyword, Keywords};

/// The keywords by bit, and the octets that they take at the front of the file.
#[must_use]
pub fn decode(bytes: &[u8]) -> (Vec<Keyword>, usize) {
    let (mut keywords, mut used): (Vec<Keyword>, usize) = (Vec::new(), 0);
    for line in bytes.split_inclusive(|octet| *octet == b'\n') {
        let Some(keyword) = decode_line(line).filter(|_| keywords.len() < Keywords::MAX) else {
            break;
        };
        keywords.push(keyword);
        used += line.len();
    }
    (keywords, used)
}

fn decode_line(line: &[u8]) -> Option<Keyword> {
    let text = core::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
    let keyword = Keyword::new(text.get(9..)?)?;
    (encode(&keyword) == line).then_some(keyword)
}

/// A keyword's line.
#[must_use]
pub fn encode(keyword: &Keyword) -> Vec<u8> {
    let text = keyword.as_str();
    format!("{:08x} {text}\n", crc32fast::hash(text.as_bytes())).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_up_to_the_first_torn_one() {
        let keywords: Vec<Keyword> = ["$Forwarded", "b", "NonJunk"]
            .iter()
            .map(|text| Keyword::new(text).expect("atom"))
            .collect();
        let bytes: Vec<u8> = keywords.iter().flat_map(encode).collect();
        assert_eq!(decode(&bytes), (keywords.clone(), bytes.len()));
        let ends: Vec<usize> = [0]
            .into_iter()
            .chain((0..bytes.len()).filter(|at| bytes[*at] == b'\n').map(|at| at + 1))
            .collect();
        for cut in 0..bytes.len() {
            let (some, used) = decode(&bytes[..cut]);
            assert_eq!(some, keywords[..some.len()]);
            assert_eq!(Some(&used), ends.iter().rev().find(|end| **end <= cut));
            let mut torn = bytes.clone();
            torn[cut] ^= 1;
            assert!(decode(&torn).0.len() < keywords.len());
        }
    }
}
