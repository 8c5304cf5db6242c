//! Names of folders and messages.
//!
//! A folder's id is its MAILBOXID (RFC 8474 §4): it stays when the folder is renamed, and is never given to another one. A
//! message's id is made of its folder's and of its UID: it stays until the message is moved, and means no other message ever
//! after. Clients take both for words; that they can be taken apart is nobody's business but ours.

use core::fmt;

use serde::{Serialize, Serializer};

use crate::mailbox::{MailboxId, Uid};

/// What ids of folders look like, as far as an expression can say it.
pub const FOLDER_ID: &str = "^F([1-9][0-9]{0,8}|[1-3][0-9]{9})$";
/// The same of messages.
pub const MESSAGE_ID: &str = "^F([1-9][0-9]{0,8}|[1-3][0-9]{9})-([1-9][0-9]{0,8}|[1-3][0-9]{9})$";

/// A folder, as the API names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FolderId(pub MailboxId);

/// A message, as the API names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// Where it is.
    pub folder: FolderId,
    /// Which it is there.
    pub uid: Uid,
}

impl FolderId {
    /// Reads what `Display` writes, and nothing else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = number(text.strip_prefix('F')?)?;
        Some(Self(MailboxId(number)))
    }
}

impl MessageId {
    /// Reads what `Display` writes, and nothing else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (folder, uid) = text.split_once('-')?;
        Some(Self {
            folder: FolderId::parse(folder)?,
            uid: Uid(number(uid)?),
        })
    }
}

impl fmt::Display for FolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "F{}", self.0.0)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.folder, self.uid.0)
    }
}

impl Serialize for FolderId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for MessageId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A number from 1 on, as it is written: one word means one thing.
fn number(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|octet| octet.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_one_form() {
        let id = MessageId::parse("F1700000000-42").expect("an id");
        assert_eq!((id.folder.0, id.uid), (MailboxId(1_700_000_000), Uid(42)));
        assert_eq!(id.to_string(), "F1700000000-42");
        assert_eq!(
            FolderId::parse("F7").map(|id| id.to_string()).as_deref(),
            Some("F7")
        );
        for bad in [
            "",
            "F",
            "F0",
            "F01",
            "F+1",
            "f1",
            "F1-2",
            "F4294967296",
            "F1 ",
            "7",
        ] {
            assert_eq!(FolderId::parse(bad), None, "{bad:?}");
        }
        for bad in ["", "F1", "F1-", "F1-0", "F1-+2", "F1-02", "F1-2-3", "-2", "F1_2"] {
            assert_eq!(MessageId::parse(bad), None, "{bad:?}");
        }
    }
}
