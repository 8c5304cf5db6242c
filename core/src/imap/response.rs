//! Writers of response parts onto a buffer (RFC 9051 §7, §9): no `format!`, no allocation.

use crate::mailbox::{Keyword, Keywords, MailboxName, ModSeq, Row, SystemFlags, Uid, UidSet};
use crate::text::{date, utf7};
use crate::time::DateTime;

/// What a status response says (RFC 9051 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of RFC 9051 §7.1")]
pub enum Status {
    Ok,
    No,
    Bad,
    PreAuth,
    Bye,
}

impl Status {
    const fn word(self) -> &'static [u8] {
        match self {
            Self::Ok => b"OK",
            Self::No => b"NO",
            Self::Bad => b"BAD",
            Self::PreAuth => b"PREAUTH",
            Self::Bye => b"BYE",
        }
    }
}

/// `A1 OK [CODE] text` and its line end. `tag` is `*` for an untagged one; `code` comes without brackets. `text` must be
/// of printable ASCII, and something must be in it.
pub fn status(out: &mut Vec<u8>, tag: &str, status: Status, code: Option<&str>, text: &str) {
    out.extend_from_slice(tag.as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.word());
    out.push(b' ');
    if let Some(code) = code {
        out.push(b'[');
        out.extend_from_slice(code.as_bytes());
        out.extend_from_slice(b"] ");
    }
    out.extend_from_slice(text.as_bytes());
    end(out);
}

/// `* OK [NAME 17] text` and its line end: UIDNEXT, UIDVALIDITY, UNSEEN and the like.
pub fn ok_number(out: &mut Vec<u8>, name: &str, value: impl Into<u64>, text: &str) {
    out.extend_from_slice(b"* OK [");
    out.extend_from_slice(name.as_bytes());
    out.push(b' ');
    number(out, value);
    out.extend_from_slice(b"] ");
    out.extend_from_slice(text.as_bytes());
    end(out);
}

/// `* 18 EXISTS` and its line end.
pub fn untagged_number(out: &mut Vec<u8>, value: impl Into<u64>, word: &str) {
    out.extend_from_slice(b"* ");
    number(out, value);
    out.push(b' ');
    out.extend_from_slice(word.as_bytes());
    end(out);
}

/// CRLF.
pub fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// A number in decimal.
pub fn number(out: &mut Vec<u8>, value: impl Into<u64>) {
    let mut value: u64 = value.into();
    let mut digits = [0_u8; 20];
    let mut used = 0;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        used += 1;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
}

/// `{n}` and CRLF: `n` octets of the literal must follow.
pub fn literal_head(out: &mut Vec<u8>, len: u64) {
    out.push(b'{');
    number(out, len);
    out.extend_from_slice(b"}\r\n");
}

/// Longest text that is written quoted; clients have bounds on lines.
const MAX_QUOTED: usize = 1_000;

/// `string`: quoted where that is possible, else a literal. NUL must not be in it: no string can hold one.
pub fn string(out: &mut Vec<u8>, octets: &[u8]) {
    let quotable = octets.len() <= MAX_QUOTED && octets.iter().all(|octet| (0x20..=0x7e).contains(octet));
    if !quotable {
        literal_head(out, octets.len() as u64);
        out.extend_from_slice(octets);
        return;
    }
    quoted(out, octets);
}

/// `nstring`: NIL or a string.
pub fn nstring(out: &mut Vec<u8>, octets: Option<&[u8]>) {
    match octets {
        Some(octets) => string(out, octets),
        None => out.extend_from_slice(b"NIL"),
    }
}

/// `astring`: an atom where that is possible, else a string.
pub fn astring(out: &mut Vec<u8>, octets: &[u8]) {
    let atom = |octet: &u8| (0x21..=0x7e).contains(octet) && !b"(){%*\"\\".contains(octet);
    if !octets.is_empty() && octets.iter().all(atom) && !octets.eq_ignore_ascii_case(b"NIL") {
        out.extend_from_slice(octets);
    } else {
        string(out, octets);
    }
}

/// A mailbox name, quoted: in UTF-8 for clients that asked for it (RFC 9051 §5.1, RFC 6855 §3), else in modified UTF-7.
/// INBOX as it is.
pub fn mailbox(out: &mut Vec<u8>, name: &MailboxName, utf8: bool) {
    if name.is_inbox() {
        out.extend_from_slice(b"INBOX");
        return;
    }
    let mut encoded = Vec::with_capacity(name.as_str().len() + 8);
    if utf8 {
        encoded.extend_from_slice(name.as_str().as_bytes());
    } else {
        utf7::encode_to(name.as_str(), &mut encoded);
    }
    // Always quoted, never a literal: a name has no line ends, and clients read LIST lines as lines.
    quoted(out, &encoded);
}

/// ` ("OLDNAME" ("name"))`, in UTF-8 (RFC 9051 §6.3.9.7).
pub fn old_name(out: &mut Vec<u8>, old: &str) {
    out.extend_from_slice(b" (\"OLDNAME\" (");
    quoted(out, old.as_bytes());
    out.extend_from_slice(b"))");
}

/// `quoted`: the octets have no line ends and no NUL; above 127 only UTF-8, and only for clients that asked for it.
pub fn quoted(out: &mut Vec<u8>, octets: &[u8]) {
    out.push(b'"');
    for octet in octets {
        if matches!(octet, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*octet);
    }
    out.push(b'"');
}

/// INTERNALDATE's value, quoted.
pub fn internal_date(out: &mut Vec<u8>, at: DateTime) {
    out.push(b'"');
    date::write_imap_date_time(out, at);
    out.push(b'"');
}

/// `MODSEQ (17)` (RFC 7162 §7, fetch-mod-resp)
pub fn modseq(out: &mut Vec<u8>, modseq: ModSeq) {
    out.extend_from_slice(b"MODSEQ (");
    number(out, modseq.0);
    out.push(b')');
}

/// The flags of a message in parentheses; `recent` adds `\Recent`.
pub fn flags(out: &mut Vec<u8>, row: &Row, keywords: &Keywords, recent: bool) {
    let all = keywords.of(row.keywords).map(Keyword::as_str);
    flag_list(out, row.flags, all.chain(recent.then_some("\\Recent")));
}

/// A flag list in parentheses: system flags, then whatever else (keywords, `\*`, `\Recent`).
pub fn flag_list<'a>(out: &mut Vec<u8>, system: SystemFlags, more: impl IntoIterator<Item = &'a str>) {
    let set = SystemFlags::NAMES
        .into_iter()
        .filter(|(flag, _)| system.contains(*flag))
        .map(|(_, name)| name);
    out.push(b'(');
    words(out, set.chain(more));
    out.push(b')');
}

/// Words with a space between them.
pub fn words<'a>(out: &mut Vec<u8>, words: impl IntoIterator<Item = &'a str>) {
    for (at, word) in words.into_iter().enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(word.as_bytes());
    }
}

/// `uid-set`: `1:3,7`.
pub fn uid_set(out: &mut Vec<u8>, set: &UidSet) {
    for (at, range) in set.ranges().enumerate() {
        uid_range(out, at > 0, *range.start(), *range.end());
    }
}

/// UIDs in the order given, runs of ascending neighbours as ranges: COPYUID and APPENDUID join by position
/// (RFC 4315 §3), so that they must not be sorted.
pub fn uid_list(out: &mut Vec<u8>, uids: &[Uid]) {
    let mut uids = uids.iter().map(|uid| uid.0);
    let Some(mut first) = uids.next() else {
        return;
    };
    let mut last = first;
    let mut more = false;
    for uid in uids {
        if last.checked_add(1) == Some(uid) {
            last = uid;
            continue;
        }
        uid_range(out, more, first, last);
        more = true;
        (first, last) = (uid, uid);
    }
    uid_range(out, more, first, last);
}

/// A range of a set; a comma before it if there are `more`.
pub fn uid_range(out: &mut Vec<u8>, more: bool, first: u32, last: u32) {
    if more {
        out.push(b',');
    }
    number(out, first);
    if first != last {
        out.push(b':');
        number(out, last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn numbers() {
        for value in [0, 7, 10, 99, 100, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(written(|out| number(out, value)), value.to_string());
        }
        assert_eq!(
            written(|out| untagged_number(out, 18_u32, "EXISTS")),
            "* 18 EXISTS\r\n"
        );
        assert_eq!(
            written(|out| ok_number(out, "UIDNEXT", 4392_u32, "Predicted next UID")),
            "* OK [UIDNEXT 4392] Predicted next UID\r\n"
        );
    }

    #[test]
    fn strings_choose_their_form() {
        let one = |text: &str| written(|out| string(out, text.as_bytes()));
        assert_eq!(one(""), "\"\"");
        assert_eq!(one("a\"b\\c"), "\"a\\\"b\\\\c\"");
        assert_eq!(one("a\r\nb"), "{4}\r\na\r\nb");
        assert_eq!(one("ä"), "{2}\r\nä");
        assert!(one(&"x".repeat(1_000)).starts_with('"'));
        assert!(one(&"x".repeat(1_001)).starts_with("{1001}\r\n"));
        let atom = |text: &str| written(|out| astring(out, text.as_bytes()));
        assert_eq!(
            (atom("a]b"), atom("a b"), atom("nil"), atom("")),
            ("a]b".into(), "\"a b\"".into(), "\"nil\"".into(), "\"\"".into())
        );
        assert_eq!(written(|out| nstring(out, None)), "NIL");
    }

    #[test]
    fn names_sets_and_dates() {
        let name = |text: &str| written(|out| mailbox(out, &MailboxName::new(text).expect("good"), false));
        assert_eq!(name("inbox"), "INBOX");
        assert_eq!(name("a \"b\\ü"), "\"a \\\"b\\\\&APw-\"");
        let list = |uids: &[u32]| {
            let uids: Vec<Uid> = uids.iter().copied().map(Uid).collect();
            written(|out| uid_list(out, &uids))
        };
        assert_eq!(list(&[304, 319, 320]), "304,319:320");
        assert_eq!(list(&[5, 4, 3, 4]), "5,4,3:4");
        assert_eq!((list(&[]), list(&[1])), (String::new(), "1".into()));
        let set = UidSet::from_ranges([(1, 3), (7, 7)]);
        assert_eq!(written(|out| uid_set(out, &set)), set.to_string());
        assert_eq!(
            written(|out| internal_date(out, DateTime::default())),
            "\" 1-Jan-1970 00:00:00 +0000\""
        );
    }

    #[test]
    fn status_lines() {
        assert_eq!(
            written(|out| status(out, "A1", Status::No, Some("TRYCREATE"), "no such mailbox")),
            "A1 NO [TRYCREATE] no such mailbox\r\n"
        );
        assert_eq!(
            written(|out| status(out, "*", Status::Bye, None, "bye")),
            "* BYE bye\r\n"
        );
    }

    #[test]
    fn flags_of_a_row() {
        let mut keywords = Keywords::default();
        keywords.push(Keyword::new("$Forwarded").expect("atom"));
        let row = Row {
            date: 0,
            modseq: ModSeq(1),
            keywords: keywords.intern([1, 0, 0, 0]),
            uid: Uid(1),
            size: 1,
            save_date: 0,
            zone: 0,
            flags: SystemFlags::SEEN.with(SystemFlags::ANSWERED),
        };
        assert_eq!(
            written(|out| flags(out, &row, &keywords, true)),
            "(\\Answered \\Seen $Forwarded \\Recent)"
        );
        let bare = Row {
            keywords: keywords.intern([0; 4]),
            flags: SystemFlags::default(),
            ..row
        };
        assert_eq!(written(|out| flags(out, &bare, &keywords, false)), "()");
    }
}
