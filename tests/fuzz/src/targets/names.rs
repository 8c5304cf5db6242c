//! Names: of mailboxes on the wire and on disk, of message files.

use rmail_core::imap::list_match::matches;
use rmail_core::imap::mailbox_name;
use rmail_core::mailbox::MailboxName;
use rmail_core::text::utf7;
use rmail_store::escape::{account_dirs, account_of, escape, unescape};
use rmail_store::file::names;
use rmail_store::transfer::{dates, index, maildir};

use super::bounded;

/// Names of mailboxes (modified UTF-7, RFC 3501 §5.1.3) and patterns of LIST: of each name there is one form, and what is
/// written is read again; nothing that reaches the disk leaves its directory.
pub fn mailbox_name(input: &[u8]) {
    let (input, pattern) = match input.iter().position(|octet| *octet == b'\n') {
        Some(at) => (&input[..at], &input[at + 1..]),
        None => (input, &b"*"[..]),
    };
    if let Ok(text) = utf7::decode(input) {
        assert_eq!(utf7::encode(&text).as_bytes(), input, "one form of each name");
    }
    if let Ok(text) = core::str::from_utf8(input) {
        let written = utf7::encode(text);
        assert!(written.bytes().all(|octet| (b' '..=b'~').contains(&octet)));
        assert_eq!(utf7::decode(written.as_bytes()).as_deref(), Ok(text));
        // A character that stands alone between others is `&AAA-`.
        bounded("modified UTF-7", written.len(), input, 0, 5);
        on_disk(text);
    }
    for utf8 in [false, true] {
        let Ok(name) = mailbox_name::decode(input, utf8) else {
            continue;
        };
        assert!(name.as_str().len() <= MailboxName::MAX);
        assert!(name.levels().count() <= MailboxName::MAX_LEVELS);
        assert_eq!(MailboxName::new(name.as_str()).as_ref(), Ok(&name));
        assert_eq!(
            mailbox_name::decode(mailbox_name::encode(&name).as_bytes(), false),
            Ok(name.clone())
        );
        assert_eq!(
            mailbox_name::decode(name.as_str().as_bytes(), true),
            Ok(name.clone())
        );
        for level in name.levels() {
            assert!(!level.is_empty() && level.len() <= MailboxName::MAX_LEVEL);
            let dir = escape(level).expect("every level has a directory");
            assert!(dir.len() <= 255);
            on_disk(level);
            assert_eq!(maildir::decode_level(&maildir::encode_level(level)), level);
        }
        if !name.is_inbox() {
            let dir = maildir::folder_dir(&name);
            assert!(!dir.contains('/'), "{dir}");
            assert_eq!(maildir::folder_name(&dir).as_deref(), Some(name.as_str()));
        }
        if let Ok(pattern) = core::str::from_utf8(pattern)
            && pattern.len() <= 100
            && name.as_str().len() <= 200
        {
            let found = matches(pattern, name.as_str());
            assert_eq!(
                found,
                slowly_matches(pattern, name.as_str()),
                "{pattern:?} {name:?}"
            );
        }
    }
}

/// What a text is called on disk cannot be another place, and is the name of this text alone.
fn on_disk(text: &str) {
    if let Some(dir) = escape(text) {
        assert!(!dir.contains('/') && !dir.contains('\0') && dir != "." && dir != ".." && dir.len() <= 255);
        assert_eq!(unescape(&dir).as_deref(), Some(text));
    }
    if let Some(other) = unescape(text) {
        assert_eq!(escape(&other).as_deref(), Some(text), "one name of each text");
    }
}

/// The same by the definition, with a table of all beginnings (RFC 9051 §6.3.9).
fn slowly_matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let inbox = name.starts_with(&['I', 'N', 'B', 'O', 'X']) && matches!(name.get(5), None | Some('/'));
    let mut table = vec![vec![false; name.len() + 1]; pattern.len() + 1];
    table[0][0] = true;
    for (p, wanted) in pattern.iter().enumerate() {
        for n in 0..=name.len() {
            let before = n > 0 && table[p + 1][n - 1];
            table[p + 1][n] = match wanted {
                '*' => table[p][n] || before,
                '%' => table[p][n] || (before && name[n - 1] != '/'),
                wanted => {
                    n > 0 && table[p][n - 1] && {
                        let c = name[n - 1];
                        c == *wanted || (inbox && n <= 5 && c.eq_ignore_ascii_case(wanted))
                    }
                }
            };
        }
    }
    table[pattern.len()][name.len()]
}

/// Names of message files, of ours and of others: each message has one name; directories of accounts are of one account.
pub fn file_names(input: &[u8]) {
    let Ok(text) = core::str::from_utf8(input) else {
        return;
    };
    if let Some((row, keywords)) = names::decode(text) {
        assert_eq!(names::encode(&row, keywords), text, "one name of each message");
        assert_eq!(names::uid_of(text), Some(row.uid));
        assert!(text.len() <= 153 && row.uid.0 > 0 && row.modseq.0 > 0 && row.modseq.0 < names::LAST_MODSEQ);
    }
    on_disk(text);
    if let Some((domain, user)) = text.split_once('\n')
        && let Some(account) = account_of(domain, user)
    {
        assert_eq!(
            account_dirs(&account),
            Some((domain.to_owned(), user.to_owned())),
            "{account}"
        );
    }
    let file = maildir::parse(text);
    assert!(text.starts_with(file.base));
    if let Some(date) = file.date {
        let (base, name) = maildir::encode("u", date, 7, file.system, file.keywords);
        let again = maildir::parse(&name);
        assert_eq!(again.base, base);
        assert_eq!(
            (again.date, again.octets, again.wire),
            (Some(date), Some(7), Some(7))
        );
        assert_eq!(
            (again.system, again.keywords),
            (file.system, file.keywords),
            "{name}"
        );
    }
    if let Some(date) = dates::decode(text) {
        assert_eq!(dates::decode(&dates::encode(date)), Some(date));
    }
    let _ = (
        dates::of_any_form(text),
        dates::from_line(text),
        index::uid_of_file(text),
    );
    if let Some(folder) = maildir::folder_name(text)
        && let Ok(name) = MailboxName::new(&folder)
        && !name.is_inbox()
    {
        assert_eq!(
            maildir::folder_name(&maildir::folder_dir(&name)).as_deref(),
            Some(name.as_str())
        );
    }
}
