//! Mailbox names as the product knows them: UTF-8, hierarchy separator `/`, `INBOX` in capitals.
//! Their IMAP form (modified UTF-7) is in `imap::mailbox_name`.

use core::fmt;
use std::sync::Arc;

/// A valid mailbox name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MailboxName(Arc<str>);

/// Why a text is no mailbox name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Nothing, or an empty level: leading, trailing or doubled `/`.
    #[error("a level of the name is empty")]
    Empty,
    /// Over [`MailboxName::MAX`] octets, a level over [`MailboxName::MAX_LEVEL`], or over
    /// [`MailboxName::MAX_LEVELS`] levels.
    #[error("the name is too long")]
    TooLong,
    /// Control characters, or a level `.` or `..`.
    #[error("the name holds characters that a mailbox name must not have")]
    Forbidden,
    /// Neither modified UTF-7 (RFC 3501 §5.1.3) nor UTF-8. Of names as IMAP clients give them.
    #[error("the name is not modified UTF-7 (`&` itself is written `&-`)")]
    NotUtf7,
}

impl MailboxName {
    /// Octets of a whole name.
    pub const MAX: usize = 1_000;
    /// Octets of one level; its directory name, escaped, stays below NAME_MAX (255).
    pub const MAX_LEVEL: usize = 200;
    /// Levels.
    pub const MAX_LEVELS: usize = 32;

    /// Checks and normalises: NFC, and a first level of `inbox` in any case becomes `INBOX`.
    ///
    /// # Errors
    /// See [`BadName`].
    pub fn new(text: &str) -> Result<Self, BadName> {
        use unicode_normalization::UnicodeNormalization as _;
        let text: String = text.nfc().collect();
        if text.len() > Self::MAX || text.split('/').count() > Self::MAX_LEVELS {
            return Err(BadName::TooLong);
        }
        for level in text.split('/') {
            if level.is_empty() {
                return Err(BadName::Empty);
            }
            if level.len() > Self::MAX_LEVEL {
                return Err(BadName::TooLong);
            }
            if matches!(level, "." | "..") || level.chars().any(is_forbidden) {
                return Err(BadName::Forbidden);
            }
        }
        let (first, rest) = text
            .split_once('/')
            .map_or((text.as_str(), None), |(first, rest)| (first, Some(rest)));
        if first.eq_ignore_ascii_case("INBOX") {
            return Ok(Self(rest.map_or_else(
                || Arc::from("INBOX"),
                |rest| Arc::from(format!("INBOX/{rest}")),
            )));
        }
        Ok(Self(Arc::from(text)))
    }

    /// The user's inbox.
    #[must_use]
    pub fn inbox() -> Self {
        Self(Arc::from("INBOX"))
    }

    /// Whether this is INBOX.
    #[must_use]
    pub fn is_inbox(&self) -> bool {
        &*self.0 == "INBOX"
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The levels, top first.
    pub fn levels(&self) -> impl Iterator<Item = &str> + '_ {
        self.0.split('/')
    }

    /// The name one level up.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(parent, _)| Self(Arc::from(parent)))
    }

    /// Whether this name is below `other`.
    #[must_use]
    pub fn is_below(&self, other: &Self) -> bool {
        self.0
            .strip_prefix(&*other.0)
            .is_some_and(|rest| rest.starts_with('/'))
    }
}

impl fmt::Display for MailboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MailboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// Special-use attributes (RFC 6154 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SpecialUse {
    /// `\Archive`
    Archive,
    /// `\Drafts`
    Drafts,
    /// `\Flagged`
    Flagged,
    /// `\Junk`
    Junk,
    /// `\Sent`
    Sent,
    /// `\Trash`
    Trash,
}

impl SpecialUse {
    /// All that a mailbox may have here (`\All` is none of them: it would be a virtual mailbox).
    pub const ALL: [Self; 6] = [
        Self::Archive,
        Self::Drafts,
        Self::Flagged,
        Self::Junk,
        Self::Sent,
        Self::Trash,
    ];

    /// As IMAP writes it.
    #[must_use]
    pub fn attribute(self) -> &'static str {
        match self {
            Self::Archive => "\\Archive",
            Self::Drafts => "\\Drafts",
            Self::Flagged => "\\Flagged",
            Self::Junk => "\\Junk",
            Self::Sent => "\\Sent",
            Self::Trash => "\\Trash",
        }
    }

    /// By its attribute, in any case.
    #[must_use]
    pub fn from_attribute(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|known| known.attribute().eq_ignore_ascii_case(text))
    }
}

/// Controls, and what separates lines and paragraphs (RFC 9755 §3, RFC 9051 §5.1).
fn is_forbidden(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normal_and_harmless() {
        let name = |text| MailboxName::new(text).map(|name| name.to_string());
        assert_eq!(name("inbox").as_deref(), Ok("INBOX"));
        assert_eq!(name("iNbOx/Sub").as_deref(), Ok("INBOX/Sub"));
        assert_eq!(name("inboxes").as_deref(), Ok("inboxes"));
        assert_eq!(name("a\u{308}").as_deref(), Ok("ä"));
        for bad in ["", "/", "a/", "/a", "a//b", "..", "a/../b", "a\0b", "a\nb"] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
        assert_eq!(name(&"x".repeat(201)), Err(BadName::TooLong));
        let (sub, top) = (
            MailboxName::new("a/b").expect("good"),
            MailboxName::new("a").expect("good"),
        );
        assert!(sub.is_below(&top) && !top.is_below(&top));
        assert_eq!(sub.parent(), Some(top));
    }
}
