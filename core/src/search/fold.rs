//! Text as it is compared (in the manner of i;unicode-casemap, RFC 5051): decomposed and in lower case.

use unicode_normalization::UnicodeNormalization as _;

/// Appends the folded text.
pub(super) fn fold_into(out: &mut Vec<u8>, text: &str) {
    if text.is_ascii() {
        let from = out.len();
        out.extend_from_slice(text.as_bytes());
        out.get_mut(from..).unwrap_or_default().make_ascii_lowercase();
        return;
    }
    let mut buffer = [0; 4];
    for c in text.nfkd().flat_map(char::to_lowercase) {
        // The final sigma is the same letter.
        let c = if c == 'ς' { 'σ' } else { c };
        out.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
    }
}

/// The folded text.
pub(super) fn fold(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    fold_into(&mut out, text);
    out
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
        ] {
            assert_eq!(fold(a), fold(b), "{a} {b}");
        }
        assert_ne!(fold("a"), fold("ä"));
    }

    proptest! {
        #[test]
        fn folding_twice_is_folding(text in "\\PC{0,40}") {
            let once = String::from_utf8(fold(&text)).expect("UTF-8");
            prop_assert_eq!(fold(&once), once.into_bytes());
        }
    }
}
