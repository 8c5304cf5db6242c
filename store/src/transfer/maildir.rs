//! Names in a Maildir: message files, and folders as Maildir++ has them.
//!
//! ```text
//! name   = base [ ":2," letters ]       ; ";" and "!" for ":" where a file system has none
//! base   = unique *( "," field )        ; S=octets, W=octets with CRLF (Dovecot)
//! letters= D draft, F flagged, P passed ($Forwarded), R answered, S seen, T deleted; a to z: keywords 0 to 25
//! ```
//!
//! What we write ourselves has a unique part that ends in `.rmail` and begins with INTERNALDATE in seconds, and two fields
//! more: `Z=minutes` (its zone), and, if the message has a keyword beyond the 26th, `K=bitmap in hex` over the lines of
//! the file `rmail-keywords`. There S= and W= are equal: the file has the message's octets as they are.
//!
//! Folders: `.A.B` in modified UTF-7 or UTF-8; `\2e` stands for a dot inside of a level, `\5c` for a backslash.

use rmail_core::mailbox::{MailboxName, SystemFlags};
use rmail_core::text::utf7;
use rmail_core::time::DateTime;

use super::number;

const LETTERS: [(u8, SystemFlags); 5] = [
    (b'D', SystemFlags::DRAFT),
    (b'F', SystemFlags::FLAGGED),
    (b'R', SystemFlags::ANSWERED),
    (b'S', SystemFlags::SEEN),
    (b'T', SystemFlags::DELETED),
];

/// Keywords that have a letter.
pub const LETTERED: usize = 26;

/// What a message file's name says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileName<'a> {
    /// The name without its flags: it stays the same when they change.
    pub base: &'a str,
    /// System flags.
    pub system: SystemFlags,
    /// Keywords by their bit.
    pub keywords: [u64; 4],
    /// `P`: it was forwarded.
    pub passed: bool,
    /// Seconds since 1970 at the front of the name.
    pub time: Option<i64>,
    /// `S=`: octets of the file.
    pub octets: Option<u64>,
    /// `W=`: octets with CRLF.
    pub wire: Option<u64>,
    /// INTERNALDATE, in names that we wrote.
    pub date: Option<DateTime>,
    /// `K=` was there: the keywords are those of `rmail-keywords`.
    pub wide: bool,
}

/// Reads a message file's name. Every name is one.
#[must_use]
pub fn parse(name: &str) -> FileName<'_> {
    let info = [":2,", ";2,", "!2,"]
        .iter()
        .find_map(|mark| name.rsplit_once(mark));
    let (base, letters) = info.unwrap_or((name, ""));
    let mut found = FileName {
        base,
        ..FileName::default()
    };
    for letter in letters.bytes() {
        if let Some((_, flag)) = LETTERS.iter().find(|(known, _)| *known == letter) {
            found.system = found.system.with(*flag);
        }
        found.passed |= letter == b'P';
        if letter.is_ascii_lowercase()
            && let Some(word) = found.keywords.first_mut()
        {
            *word |= 1 << (letter - b'a');
        }
    }
    let mut fields = base.split(',');
    let unique = fields.next().unwrap_or_default();
    found.time = unique.split('.').next().and_then(|time| time.parse().ok());
    for field in fields {
        match field.split_once('=') {
            Some(("S", value)) => found.octets = number(value),
            Some(("W", value)) => found.wire = number(value),
            Some(("Z", value)) if unique.ends_with(".rmail") => {
                let zone = value.parse().ok().filter(|zone| (-1_439..=1_439).contains(zone));
                found.date = zone.zip(found.time).map(|(zone, unix)| DateTime { unix, zone });
            }
            Some(("K", value)) if unique.ends_with(".rmail") => {
                if let Some(bits) = bitmap(value) {
                    found.keywords = bits;
                    found.wide = true;
                }
            }
            _ => {}
        }
    }
    found
}

/// The name of a message file. `unique` tells apart what has the same date in the same folder.
#[must_use]
pub fn encode(
    unique: &str,
    date: DateTime,
    octets: u64,
    system: SystemFlags,
    keywords: [u64; 4],
) -> (String, String) {
    use core::fmt::Write as _;
    let mut base = format!(
        "{}.{unique}.rmail,S={octets},W={octets},Z={}",
        date.unix, date.zone
    );
    let [low, rest @ ..] = keywords;
    if low >> LETTERED != 0 || rest != [0; 3] {
        let [a, b, c, d] = keywords;
        // A text takes all that is written to it.
        let _ = write!(base, ",K={d:016x}{c:016x}{b:016x}{a:016x}");
    }
    let mut name = format!("{base}:2,");
    for (letter, flag) in LETTERS {
        if system.contains(flag) {
            name.push(char::from(letter));
        }
    }
    for letter in b'a'..=b'z' {
        if low >> (letter - b'a') & 1 == 1 {
            name.push(char::from(letter));
        }
    }
    (base, name)
}

fn bitmap(text: &str) -> Option<[u64; 4]> {
    let hex = text.len() == 64 && text.bytes().all(|octet| octet.is_ascii_hexdigit());
    let mut words = [0; 4];
    for (word, at) in words.iter_mut().zip([48, 32, 16, 0]) {
        *word = u64::from_str_radix(text.get(at..at + 16)?, 16).ok()?;
    }
    hex.then_some(words)
}

/// The directory of a folder below the Maildir; empty for INBOX, which is the Maildir itself.
#[must_use]
pub fn folder_dir(name: &MailboxName) -> String {
    if name.is_inbox() {
        return String::new();
    }
    name.levels()
        .map(|level| format!(".{}", encode_level(level)))
        .collect()
}

/// The folder of a directory name that begins with a dot. `None`: it is none.
#[must_use]
pub fn folder_name(dir: &str) -> Option<String> {
    let levels = dir.strip_prefix('.')?;
    let levels: Vec<String> = levels.split('.').map(decode_level).collect();
    let valid = levels
        .iter()
        .all(|level| !level.is_empty() && !level.contains('/'));
    valid.then(|| levels.join("/"))
}

/// A level's text as a part of a folder's directory name.
#[must_use]
pub fn encode_level(level: &str) -> String {
    utf7::encode(level).replace('\\', "\\5c").replace('.', "\\2e")
}

/// A level's text: modified UTF-7 or, if it is not that, as it stands.
#[must_use]
pub fn decode_level(level: &str) -> String {
    let text = utf7::decode(level.as_bytes()).unwrap_or_else(|_| level.to_owned());
    // In one pass: what an escape stands for begins no other.
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let (octets, is) = match escape.get(..3) {
            Some("\\2e" | "\\2E") => (3, '.'),
            Some("\\5c" | "\\5C") => (3, '\\'),
            _ => (1, '\\'),
        };
        out.push(is);
        rest = escape.get(octets..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_other_programs() {
        let dovecot = parse("1335878400.M36P9.host,S=120,W=125:2,FSab");
        assert_eq!(dovecot.base, "1335878400.M36P9.host,S=120,W=125");
        assert_eq!(dovecot.system, SystemFlags::FLAGGED.with(SystemFlags::SEEN));
        assert_eq!((dovecot.keywords, dovecot.passed), ([3, 0, 0, 0], false));
        assert_eq!((dovecot.octets, dovecot.wire), (Some(120), Some(125)));
        assert_eq!((dovecot.time, dovecot.date), (Some(1_335_878_400), None));
        let plain = parse("mail.7!2,PT");
        assert_eq!((plain.base, plain.time, plain.passed), ("mail.7", None, true));
        assert_eq!(parse("1.x,Z=60").date, None);
        for odd in ["", ":2,", ",,=,S=,W=x,K=,Z=", "1.rmail,K=zz,Z=9999:2,"] {
            let odd = parse(odd);
            assert_eq!((odd.date, odd.wide, odd.octets), (None, false, None));
        }
    }

    #[test]
    fn folders() {
        for (name, dir) in [
            ("INBOX", ""),
            ("INBOX/Sub", ".INBOX.Sub"),
            ("Größe/v1.2", ".Gr&APYA3w-e.v1\\2e2"),
            ("R&D\\x", ".R&-D\\5cx"),
            ("a\\5Cb", ".a\\5c5Cb"),
        ] {
            assert_eq!(folder_dir(&MailboxName::new(name).expect("a name")), dir);
            if !dir.is_empty() {
                assert_eq!(folder_name(dir).as_deref(), Some(name));
            }
        }
        assert_eq!(folder_name(".Größe.R&D").as_deref(), Some("Größe/R&D"));
        for none in ["", ".", "..", "x", ".a..b", ".a/b"] {
            assert_eq!(folder_name(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn what_we_write_comes_back(
            unix in any::<i64>(), zone in -1_439_i16..1_440, octets in any::<u32>(), flags in 0_u8..32,
            low in any::<u64>(), high in proptest::option::of(any::<[u64; 3]>()),
        ) {
            let keywords = match high {
                Some([b, c, d]) => [low, b, c, d],
                None => [low >> 38, 0, 0, 0],
            };
            let date = DateTime { unix, zone };
            let (base, name) = encode("7_9", date, octets.into(), SystemFlags(flags), keywords);
            prop_assert!(name.len() < 256);
            let found = parse(&name);
            prop_assert_eq!(found.base, base);
            prop_assert_eq!((found.date, found.octets, found.wire), (Some(date), Some(octets.into()), Some(octets.into())));
            prop_assert_eq!((found.system, found.keywords), (SystemFlags(flags), keywords));
        }

        #[test]
        fn every_level_comes_back(level in "[a-z.\\\\&ä2e5c-]{1,12}") {
            prop_assume!(!matches!(level.as_str(), "." | ".."));
            // A level that holds what we escape with is escaped too.
            prop_assert_eq!(decode_level(&encode_level(&level)), level);
        }
    }
}
