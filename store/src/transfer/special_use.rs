//! What a mailbox is for, by the names that mail programs give.

use rmail_core::mailbox::{MailboxName, SpecialUse};

const NAMES: [(SpecialUse, &[&str]); 5] = [
    (SpecialUse::Archive, &["archive", "archives"]),
    (SpecialUse::Drafts, &["drafts", "draft"]),
    (
        SpecialUse::Junk,
        &["junk", "spam", "junk e-mail", "junk mail", "bulk mail"],
    ),
    (
        SpecialUse::Sent,
        &["sent", "sent items", "sent messages", "sent mail"],
    ),
    (
        SpecialUse::Trash,
        &["trash", "deleted items", "deleted messages", "bin"],
    ),
];

/// The special use of a mailbox with this name, on the first level or directly below INBOX (RFC 6154 §2).
#[must_use]
pub fn usual_use(name: &MailboxName) -> Option<SpecialUse> {
    let text = name.as_str();
    let level = text.strip_prefix("INBOX/").unwrap_or(text).to_ascii_lowercase();
    NAMES
        .iter()
        .find(|(_, names)| names.contains(&level.as_str()))
        .map(|(special, _)| *special)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_names() {
        let of = |text| usual_use(&MailboxName::new(text).expect("a name"));
        assert_eq!(of("Sent Items"), Some(SpecialUse::Sent));
        assert_eq!(of("INBOX/SPAM"), Some(SpecialUse::Junk));
        for none in ["INBOX", "work/Sent", "Sentinel"] {
            assert_eq!(of(none), None);
        }
    }
}
