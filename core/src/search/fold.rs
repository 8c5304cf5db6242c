//! Text as it is compared: i;unicode-casemap (RFC 5051), titlecased and decomposed.
//!
//! Letters that come out of a decomposition are titlecased as well, which RFC 5051 §2 does not ask for: `ﬁ` is found by
//! `fi` and by `FI`. For all other text the result is that of the RFC, by which strings are also put into order.

use unicode_normalization::UnicodeNormalization as _;

/// Appends the folded text.
pub(super) fn fold_into(out: &mut Vec<u8>, text: &str) {
    if text.is_ascii() {
        let from = out.len();
        out.extend_from_slice(text.as_bytes());
        out.get_mut(from..).unwrap_or_default().make_ascii_uppercase();
        return;
    }
    let mut buffer = [0; 4];
    for c in text.chars().map(title).nfkd().map(title) {
        out.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
    }
}

/// The folded text.
pub(super) fn fold(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    fold_into(&mut out, text);
    out
}

/// The simple titlecase mapping of UnicodeData.txt.
fn title(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_uppercase();
    }
    match c {
        'Ǆ'..='ǆ' => 'ǅ',
        'Ǉ'..='ǉ' => 'ǈ',
        'Ǌ'..='ǌ' => 'ǋ',
        'Ǳ'..='ǳ' => 'ǲ',
        // Georgian has capitals, but no titlecase.
        '\u{10d0}'..='\u{10ff}' => c,
        // With an iota below: what the full mapping takes apart is one letter in the simple one.
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => shifted(c, 8),
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => shifted(c, 9),
        _ => {
            let mut upper = c.to_uppercase();
            match (upper.next(), upper.next()) {
                (Some(one), None) => one,
                _ => c,
            }
        }
    }
}

fn shifted(c: char, by: u32) -> char {
    char::from_u32(u32::from(c) + by).unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn letters_that_are_the_same() {
        for (a, b) in [
            ("ASCII", "ascii"),
            ("GRÖSSE", "grösse"),
            ("ΟΔΟΣ", "οδος"),
            ("ПРИВЕТ", "привет"),
            ("e\u{301}", "É"),
            ("ﬁ", "FI"),
            ("Ｆ", "f"),
            ("ᾳ", "ᾼ"),
            ("ǆ", "Ǆ"),
        ] {
            assert_eq!(fold(a), fold(b), "{a} {b}");
        }
        for (a, b) in [("a", "ä"), ("ß", "ss"), ("ა", "Ა")] {
            assert_ne!(fold(a), fold(b), "{a} {b}");
        }
    }

    #[test]
    fn the_form_is_titlecase_and_decomposed() {
        // The example of RFC 5051 §2, but for the letter behind the first.
        assert_eq!(fold("Ǆ"), "DZ\u{30c}".as_bytes());
        // By titlecase `_` comes behind all letters.
        assert!(fold("a_") > fold("aZ") && fold("z") < fold("_"));
    }

    proptest! {
        #[test]
        fn folding_twice_is_folding(text in "\\PC{0,40}") {
            let once = String::from_utf8(fold(&text)).expect("UTF-8");
            prop_assert_eq!(fold(&once), once.into_bytes());
        }
    }
}
