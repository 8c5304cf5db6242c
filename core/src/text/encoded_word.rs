//! Encoded words in header fields (RFC 2047, with the language of RFC 2231 §5).

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

/// Octets of an encoded word (RFC 2047 §2).
pub const MAX_WORD: usize = 75;

/// Octets of a charset name that we look at.
const MAX_CHARSET: usize = 64;

const TOLERANT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Decodes a header field's value to text. Linear in its length.
///
/// Encoded words are decoded wherever they stand; what is malformed or of an unknown charset stays as it is. White
/// space between two of them goes, and characters that are cut between two words of one charset are put together.
/// Octets outside encoded words are UTF-8 or else Windows-1252. Line ends are left out.
#[must_use]
pub fn decode(value: &[u8]) -> String {
    let mut out = Decoded::default();
    let mut rest = value;
    while let Some(at) = memchr::memmem::find(rest, b"=?") {
        let (before, from) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        if let Some((word, after)) = Word::parse(from) {
            out.text(before, true);
            out.word(&word);
            rest = after;
        } else {
            let (plain, after) = rest.split_at_checked(at + 2).unwrap_or((rest, &[]));
            out.text(plain, false);
            rest = after;
        }
    }
    out.text(rest, false);
    out.flush();
    out.text
}

/// Splits text into encoded words of at most [`MAX_WORD`] octets each, in UTF-8: Q if people could read it,
/// else B. They are legal in a phrase too (RFC 2047 §5 (3)). Joined by white space they make the text again.
#[must_use]
pub fn encode(text: &str) -> Vec<String> {
    const PREFIX: usize = "=?UTF-8?Q?".len();
    const ROOM: usize = MAX_WORD - PREFIX - "?=".len();
    let escaped: usize = text.bytes().map(|octet| if q_safe(octet) { 1 } else { 3 }).sum();
    let q = escaped <= 2 * text.len();
    let mut words = Vec::new();
    let mut octets = Vec::new();
    let mut used = 0;
    for c in text.chars() {
        let mut buffer = [0; 4];
        let c = c.encode_utf8(&mut buffer).as_bytes();
        let cost = if q {
            c.iter().map(|octet| if q_safe(*octet) { 1 } else { 3 }).sum()
        } else {
            c.len()
        };
        let room = if q { ROOM } else { ROOM / 4 * 3 };
        if used + cost > room {
            words.push(word(&octets, q));
            octets.clear();
            used = 0;
        }
        octets.extend_from_slice(c);
        used += cost;
    }
    if !octets.is_empty() {
        words.push(word(&octets, q));
    }
    words
}

/// Octets that are not declared to be anything: UTF-8, or else Windows-1252, which every octet is something in.
#[must_use]
pub fn undeclared(octets: &[u8]) -> Cow<'_, str> {
    match core::str::from_utf8(octets) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => WINDOWS_1252.decode_without_bom_handling(octets).0,
    }
}

fn word(octets: &[u8], q: bool) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(MAX_WORD);
    out.push_str(if q { "=?UTF-8?Q?" } else { "=?UTF-8?B?" });
    if q {
        for octet in octets {
            match octet {
                b' ' => out.push('_'),
                octet if q_safe(*octet) => out.push(char::from(*octet)),
                _ => {
                    let digit =
                        |nibble: u8| char::from(HEX.get(usize::from(nibble)).copied().unwrap_or(b'0'));
                    out.extend(['=', digit(octet >> 4), digit(octet & 15)]);
                }
            }
        }
    } else {
        STANDARD.encode_string(octets, &mut out);
    }
    out.push_str("?=");
    out
}

/// Octets that the Q encoding has as one, also in a phrase.
fn q_safe(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b" !*+-/".contains(&octet)
}

/// An encoded word: `=?charset*language?encoding?text?=`.
struct Word<'a> {
    encoding: &'static Encoding,
    octets: Cow<'a, [u8]>,
}

impl<'a> Word<'a> {
    /// Parses the word at the front. Looks no further than to the fourth question mark.
    fn parse(from: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let rest = from.strip_prefix(b"=?")?;
        let (charset, rest) = until_question_mark(rest)?;
        let (kind, rest) = until_question_mark(rest)?;
        let (text, rest) = until_question_mark(rest)?;
        let rest = rest.strip_prefix(b"=")?;
        let charset = charset.split(|octet| *octet == b'*').next()?;
        let encoding = (charset.len() <= MAX_CHARSET)
            .then(|| Encoding::for_label_no_replacement(charset))
            .flatten()?;
        let octets = match kind {
            b"Q" | b"q" => decode_q(text)?,
            b"B" | b"b" => Cow::Owned(TOLERANT.decode(text).ok()?),
            _ => return None,
        };
        Some((Self { encoding, octets }, rest))
    }
}

fn until_question_mark(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(b'?', octets)?;
    Some((octets.get(..at)?, octets.get(at + 1..)?))
}

/// The Q encoding (RFC 2047 §4.2); none if an escape is malformed.
fn decode_q(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !text
        .iter()
        .any(|octet| matches!(octet, b'=' | b'_' | b'\r' | b'\n'))
    {
        return Some(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut octets = text.iter().copied();
    while let Some(octet) = octets.next() {
        match octet {
            b'_' => out.push(b' '),
            b'=' => out.push(hex(octets.next()?)? << 4 | hex(octets.next()?)?),
            b'\r' | b'\n' => {}
            octet => out.push(octet),
        }
    }
    Some(Cow::Owned(out))
}

/// The value of a hexadecimal digit, in either case.
pub(crate) fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Text being put together; the octets of the last words wait, for a character may be cut between them.
#[derive(Default)]
struct Decoded {
    text: String,
    waiting: Option<(&'static Encoding, Vec<u8>)>,
}

impl Decoded {
    fn text(&mut self, octets: &[u8], before_word: bool) {
        let blank = octets.iter().all(u8::is_ascii_whitespace);
        if octets.is_empty() || (blank && before_word && self.waiting.is_some()) {
            return;
        }
        self.flush();
        let text = undeclared(octets);
        self.text
            .extend(text.chars().filter(|c| !matches!(c, '\r' | '\n')));
    }

    fn word(&mut self, word: &Word<'_>) {
        match &mut self.waiting {
            Some((encoding, octets)) if *encoding == word.encoding && stateless(encoding) => {
                octets.extend_from_slice(&word.octets);
            }
            _ => {
                self.flush();
                self.waiting = Some((word.encoding, word.octets.to_vec()));
            }
        }
    }

    fn flush(&mut self) {
        if let Some((encoding, octets)) = self.waiting.take() {
            let (text, _) = encoding.decode_without_bom_handling(&octets);
            self.text
                .extend(text.chars().filter(|c| !matches!(c, '\r' | '\n')));
        }
    }
}

/// Words of a charset with shift states begin anew each (RFC 2047 §3).
fn stateless(encoding: &'static Encoding) -> bool {
    encoding == UTF_8 || encoding.is_ascii_compatible()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn examples_of_rfc_2047() {
        for (value, want) in [
            (
                "=?US-ASCII?Q?Keith_Moore?= <moore@cs.utk.edu>",
                "Keith Moore <moore@cs.utk.edu>",
            ),
            (
                "=?ISO-8859-1?Q?Keld_J=F8rn_Simonsen?= <keld@dkuug.dk>",
                "Keld Jørn Simonsen <keld@dkuug.dk>",
            ),
            ("=?ISO-8859-1?Q?Andr=E9?= Pirard <P@x>", "André Pirard <P@x>"),
            (
                "=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?=\r\n    =?ISO-8859-2?B?dSB1bmRlcnN0YW5kIHRoZSBleGFtcGxlLg==?=",
                "If you can read this you understand the example.",
            ),
            ("(=?ISO-8859-1?Q?a?=)", "(a)"),
            ("(=?ISO-8859-1?Q?a?= b)", "(a b)"),
            ("(=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=)", "(ab)"),
            ("(=?ISO-8859-1?Q?a?=  =?ISO-8859-1?Q?b?=)", "(ab)"),
            ("(=?ISO-8859-1?Q?a_b?=)", "(a b)"),
            ("(=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=)", "(a b)"),
            ("=?utf-8*de?q?=C3=A4?=", "ä"),
        ] {
            assert_eq!(decode(value.as_bytes()), want, "{value}");
        }
    }

    #[test]
    fn malformed_words_stay() {
        for value in [
            "=?",
            "=?utf-8",
            "=?utf-8?q",
            "=?utf-8?q?",
            "=?utf-8?q?a",
            "=?utf-8?q?a?",
            "=?utf-8?x?a?=",
            "=?no-such-charset?q?a?=",
            "=?utf-8?q?=4?=",
            "=?utf-8?q?=zz?=",
            "=?utf-8?b?*?=",
            "a =?= b",
        ] {
            assert_eq!(decode(value.as_bytes()), value);
        }
    }

    #[test]
    fn characters_cut_between_words() {
        assert_eq!(decode(b"=?UTF-8?Q?=E2=82?= =?UTF-8?B?rA==?="), "€");
        assert_eq!(decode(b"=?UTF-8?B?4oKs?= x =?UTF-8?B?4oKs?="), "€ x €");
    }

    #[test]
    fn eight_bit_text() {
        assert_eq!(decode("größer".as_bytes()), "größer");
        assert_eq!(decode(b"gr\xf6\xdfer"), "größer");
        assert_eq!(decode(b"a\r\n b"), "a b");
    }

    #[test]
    fn words_are_short() {
        for text in ["ä".repeat(200), "plain text ".repeat(30), "日本語".repeat(50)] {
            let words = encode(&text);
            assert!(words.iter().all(|word| word.len() <= MAX_WORD), "{words:?}");
            assert_eq!(decode(words.join("\r\n ").as_bytes()), text);
        }
        assert_eq!(encode("Jörg"), ["=?UTF-8?Q?J=C3=B6rg?="]);
        assert_eq!(encode(""), Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn encoded_and_decoded(text in "[^\r\n\u{feff}]{0,80}") {
            prop_assert_eq!(decode(encode(&text).join(" ").as_bytes()), text);
        }

        #[test]
        fn anything_decodes(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            let text = decode(&octets);
            prop_assert!(!text.contains(['\r', '\n']));
        }
    }
}
