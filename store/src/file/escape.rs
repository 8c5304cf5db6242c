//! Names of users, domains and mailbox levels as directory names.
//!
//! ```text
//! directory   = plain / kept / escaped          ; at most 255 octets
//! plain       = text that does not begin with "." or "%" and holds no bad octet
//! kept        = "%=" text                       ; text that holds no bad octet
//! escaped     = "%~" *( octet / "%" 2HEXDIG )   ; "%" and bad octets as their upper-case hex value
//! bad octet   = "/" / %x00-1F / %x7F
//! ```
//!
//! Of the three forms the first that is possible is used, so that a text has one directory name, and no two texts share
//! one. Levels of mailbox names (200 octets, no bad ones) need at most 202 octets, local parts (64 octets) at most 194.
//! Case is kept.

/// Longest file name (NAME_MAX).
const NAME_MAX: usize = 255;

fn is_bad(octet: u8) -> bool {
    octet == b'/' || octet.is_ascii_control()
}

/// The directory name of a text. `None`: it is empty, or its directory name would be too long.
#[must_use]
pub fn escape(text: &str) -> Option<String> {
    let name = if text.bytes().any(is_bad) {
        let mut name = String::from("%~");
        for c in text.chars() {
            match u8::try_from(c)
                .ok()
                .filter(|octet| is_bad(*octet) || *octet == b'%')
            {
                Some(octet) => {
                    name.push('%');
                    name.push(hex_digit(octet >> 4));
                    name.push(hex_digit(octet & 15));
                }
                None => name.push(c),
            }
        }
        name
    } else if text.starts_with(['.', '%']) {
        format!("%={text}")
    } else {
        text.to_owned()
    };
    (!text.is_empty() && name.len() <= NAME_MAX).then_some(name)
}

/// The text of a directory name. `None`: [`escape`] does not make this name.
#[must_use]
pub fn unescape(name: &str) -> Option<String> {
    let text = if let Some(kept) = name.strip_prefix("%=") {
        kept.to_owned()
    } else if let Some(escaped) = name.strip_prefix("%~") {
        let mut parts = escaped.split('%');
        let mut text = parts.next()?.to_owned();
        for part in parts {
            let (hex, rest) = part.split_at_checked(2)?;
            text.push(char::from(u8::from_str_radix(hex, 16).ok()?));
            text.push_str(rest);
        }
        text
    } else {
        name.to_owned()
    };
    (escape(&text).as_deref() == Some(name)).then_some(text)
}

fn hex_digit(value: u8) -> char {
    char::from_digit(u32::from(value), 16).map_or('0', |digit| digit.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_the_file_system_would_misread_are_escaped() {
        for (text, name) in [
            ("INBOX", "INBOX"),
            ("Größe", "Größe"),
            ("50%", "50%"),
            ("..", "%=.."),
            (".hidden", "%=.hidden"),
            ("%=x", "%=%=x"),
            ("a/b", "%~a%2Fb"),
            ("a%/\0", "%~a%25%2F%00"),
        ] {
            assert_eq!(escape(text).as_deref(), Some(name));
            assert_eq!(unescape(name).as_deref(), Some(text));
        }
        for foreign in [
            "", ".", ".x", "%x", "%=plain", "%~plain", "%~a%2f", "%~%+1/", "%~a%2",
        ] {
            assert_eq!(unescape(foreign), None, "{foreign}");
        }
        assert_eq!(escape(""), None);
        assert_eq!(escape(&"/".repeat(90)), None);
        assert_eq!(escape(&"%".repeat(200)).map(|name| name.len()), Some(202));
    }

    proptest! {
        #[test]
        fn a_text_has_one_name_and_a_name_one_text(a in "[a%./=~2F\u{0}\u{e4}]{1,12}", b in "[a%./=~2F\u{0}\u{e4}]{1,12}") {
            let (x, y) = (escape(&a).expect("short"), escape(&b).expect("short"));
            prop_assert_eq!(a == b, x == y);
            prop_assert_eq!(unescape(&x), Some(a));
            prop_assert!(!x.contains(['/', '\0']) && x != "." && x != "..");
        }

        #[test]
        fn any_directory_name_is_refused_or_comes_back(name in "[a%./=~2F]{0,12}") {
            if let Some(text) = unescape(&name) {
                prop_assert_eq!(escape(&text), Some(name));
            }
        }
    }
}
