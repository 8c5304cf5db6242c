//! Files that Dovecot keeps beside the messages of a Maildir: `dovecot-uidlist`, `dovecot-keywords`, `subscriptions`.

use core::fmt::Write as _;
use std::collections::BTreeMap;

use rmail_core::mailbox::{Keyword, Keywords, MailboxName, Uid, UidValidity};

use super::{maildir, number32};

/// Lines of a file that are looked at: far beyond any real folder.
const MAX_LINES: usize = 64 << 20;

/// `dovecot-uidlist`: which file has which UID.
///
/// ```text
/// 3 V<uidvalidity> N<uidnext> ...        ; version 3; version 1: "1 <uidvalidity> <uidnext>"
/// <uid> [fields] :<file name>            ; version 1: "<uid> <file name>"
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UidList {
    /// UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// UIDNEXT, if it is told.
    pub uid_next: Option<Uid>,
    /// UIDs by the file's name without its flags.
    pub uids: BTreeMap<String, Uid>,
}

impl UidList {
    /// Reads the file. `None`: it is none. Lines that say nothing are left out; of two that name a file the higher UID
    /// counts, and a UID that two files have counts for none of them.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        let mut lines = text.lines().take(MAX_LINES);
        let mut head = lines.next()?.split(' ');
        let version = head.next()?;
        let mut list = Self::default();
        match version {
            "1" | "2" => {
                list.uid_validity = UidValidity(number32(head.next()?)?);
                list.uid_next = head.next().and_then(number32).map(Uid);
            }
            "3" => {
                for field in head {
                    match (field.get(..1), field.get(1..).and_then(number32)) {
                        (Some("V"), Some(value)) => list.uid_validity = UidValidity(value),
                        (Some("N"), Some(value)) => list.uid_next = Some(Uid(value)),
                        _ => {}
                    }
                }
            }
            _ => return None,
        }
        let mut files: BTreeMap<Uid, Option<&str>> = BTreeMap::new();
        for line in lines {
            let Some((uid, rest)) = line.split_once(' ') else {
                continue;
            };
            let file = match version {
                "3" => rest.strip_prefix(':').or_else(|| Some(rest.split_once(" :")?.1)),
                _ => Some(rest),
            };
            if let (Some(uid), Some(file)) = (number32(uid).filter(|uid| *uid != 0), file) {
                let file = maildir::parse(file).base;
                files
                    .entry(Uid(uid))
                    .and_modify(|known| *known = known.filter(|known| *known == file))
                    .or_insert(Some(file));
            }
        }
        let named = files
            .into_iter()
            .filter_map(|(uid, file)| Some((file?.to_owned(), uid)));
        list.uids = named.collect();
        (list.uid_validity.0 != 0).then_some(list)
    }

    /// The first line.
    #[must_use]
    pub fn head(uid_validity: UidValidity, uid_next: Uid) -> String {
        format!("3 V{} N{}\n", uid_validity.0, uid_next.0)
    }

    /// A file's line.
    #[must_use]
    pub fn line(uid: Uid, base: &str) -> String {
        format!("{} :{base}\n", uid.0)
    }
}

/// `dovecot-keywords` and `rmail-keywords`: lines of number and keyword. What is no keyword stands for none.
#[must_use]
pub fn decode_keywords(text: &str) -> BTreeMap<usize, Keyword> {
    let line = |line: &str| {
        let (number, keyword) = line.split_once(' ')?;
        let number = usize::try_from(number32(number)?).ok();
        Some((
            number.filter(|number| *number < Keywords::MAX)?,
            Keyword::new(keyword)?,
        ))
    };
    text.lines().take(MAX_LINES).filter_map(line).collect()
}

/// The keywords from the first on, at most so many.
#[must_use]
pub fn encode_keywords(names: &[Keyword], most: usize) -> String {
    let mut text = String::new();
    for (number, keyword) in names.iter().take(most).enumerate() {
        // A text takes all that is written to it.
        let _ = writeln!(text, "{number} {}", keyword.as_str());
    }
    text
}

/// `subscriptions`: version 2 with levels apart by tabs, or plain lines with `.` or `/` between levels. Names that are no
/// mailbox names are returned apart.
#[must_use]
pub fn decode_subscriptions(text: &str) -> (Vec<MailboxName>, Vec<String>) {
    let (mut names, mut bad) = (Vec::new(), Vec::new());
    let two = text.strip_prefix("V\t2\n");
    for line in two
        .unwrap_or(text)
        .lines()
        .take(MAX_LINES)
        .filter(|line| !line.is_empty())
    {
        let separator = match two {
            Some(_) => '\t',
            None if line.contains('/') => '/',
            None => '.',
        };
        let levels: Vec<String> = line.split(separator).map(maildir::decode_level).collect();
        match MailboxName::new(&levels.join("/")) {
            Ok(name) => names.push(name),
            Err(_) => bad.push(line.to_owned()),
        }
    }
    (names, bad)
}

/// `subscriptions` in version 2.
#[must_use]
pub fn encode_subscriptions<'a>(names: impl IntoIterator<Item = &'a MailboxName>) -> String {
    let mut text = "V\t2\n\n".to_owned();
    for name in names {
        let levels: Vec<String> = name.levels().map(maildir::encode_level).collect();
        text.push_str(&levels.join("\t"));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uidlists_of_both_versions() {
        let three = "3 V1275660208 N25022 G3085f01b7f11094c501100008c4a11c1\n\
                     25006 :1276528487.M364837P9451.kurkku,S=1355,W=1394:2,\n\
                     25017 W2481 :1276533073.M242911P3632.kurkku:2,F\n\
                     broken\n0 :zero\n99999999999 :large\n25020 :twice\n25020 :other\n";
        let list = UidList::decode(three).expect("a list");
        assert_eq!(
            (list.uid_validity, list.uid_next),
            (UidValidity(1_275_660_208), Some(Uid(25_022)))
        );
        let uids: Vec<(&str, u32)> = list
            .uids
            .iter()
            .map(|(file, uid)| (file.as_str(), uid.0))
            .collect();
        assert_eq!(
            uids,
            [
                ("1276528487.M364837P9451.kurkku,S=1355,W=1394", 25_006),
                ("1276533073.M242911P3632.kurkku", 25_017)
            ]
        );
        let one = UidList::decode("1 1173189136 7\n6 1.a.b:2,S\n").expect("a list");
        assert_eq!(
            (one.uid_validity.0, one.uid_next, one.uids.get("1.a.b")),
            (1_173_189_136, Some(Uid(7)), Some(&Uid(6)))
        );
        for bad in ["", "4 V1 N1\n", "3 N1\n", "1 x y\n"] {
            assert_eq!(UidList::decode(bad), None, "{bad}");
        }
        let own = UidList::head(UidValidity(5), Uid(9)) + &UidList::line(Uid(3), "1.x.rmail,S=1");
        let own = UidList::decode(&own).expect("ours");
        assert_eq!(
            (own.uid_validity, own.uid_next, own.uids["1.x.rmail,S=1"]),
            (UidValidity(5), Some(Uid(9)), Uid(3))
        );
    }

    #[test]
    fn keywords_by_number() {
        let found = decode_keywords("0 $Forwarded\n1 a b\n2 NonJunk\n999 far\nx y\n");
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [0, 2]);
        let names: Vec<Keyword> = ["a", "b", "c"]
            .iter()
            .filter_map(|text| Keyword::new(text))
            .collect();
        assert_eq!(encode_keywords(&names, 2), "0 a\n1 b\n");
        assert_eq!(
            decode_keywords(&encode_keywords(&names, 9))
                .into_values()
                .collect::<Vec<_>>(),
            names
        );
    }

    #[test]
    fn subscriptions_of_both_versions() {
        let names = |text: &str| -> Vec<String> {
            let (names, _) = decode_subscriptions(text);
            names.iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            names("INBOX\nINBOX.Gr&APYA3w-e\nA/b.c\n"),
            ["INBOX", "INBOX/Größe", "A/b.c"]
        );
        assert_eq!(names("V\t2\n\nINBOX\nA\tb.c\n"), ["INBOX", "A/b.c"]);
        assert_eq!(decode_subscriptions("a..b\n").1, ["a..b"]);
        let all: Vec<MailboxName> = ["INBOX", "Größe/v1.2", "a\\2e"]
            .iter()
            .filter_map(|text| MailboxName::new(text).ok())
            .collect();
        assert_eq!(decode_subscriptions(&encode_subscriptions(&all)), (all, vec![]));
    }
}
