//! The search program as a tree (RFC 9051 §6.4.4).

use crate::imap::sequence::SequenceSet;
use crate::mailbox::{Keyword, SystemFlags, UidSet};

/// A search key. The parser bounds depth and number of keys.
///
/// [`Key::Sequence`], [`Key::UidSequence`], [`Key::Recent`] mean something only in a session's view; the session
/// replaces them by [`Key::Uids`] before a program is evaluated or leaves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// ALL
    All,
    /// All of these (a parenthesised list).
    And(Vec<Key>),
    /// OR
    Or(Box<(Key, Key)>),
    /// NOT
    Not(Box<Key>),
    /// Message numbers.
    Sequence(SequenceSet),
    /// UID
    UidSequence(SequenceSet),
    /// RECENT (NEW is `(RECENT UNSEEN)`, OLD is `NOT RECENT`).
    Recent,
    /// Exactly these messages.
    Uids(UidSet),
    /// A system flag that is set (ANSWERED, DELETED, …; UNANSWERED is `NOT`).
    Flag(SystemFlags),
    /// KEYWORD
    Keyword(Keyword),
    /// BEFORE: days since 1970 of INTERNALDATE's own date, zone disregarded.
    Before(i64),
    /// ON
    On(i64),
    /// SINCE
    Since(i64),
    /// SENTBEFORE: the Date header field's own date, time and zone disregarded.
    SentBefore(i64),
    /// SENTON
    SentOn(i64),
    /// SENTSINCE
    SentSince(i64),
    /// LARGER
    Larger(u64),
    /// SMALLER
    Smaller(u64),
    /// HEADER: field name, and text in it (empty: the field exists). BCC, CC, FROM, SUBJECT, TO are this too.
    Header(String, String),
    /// BODY
    Body(String),
    /// TEXT
    Text(String),
}

impl Key {
    /// Whether the message's content has to be read (rows do not suffice).
    #[must_use]
    pub fn needs_content(&self) -> bool {
        let mut open = vec![self];
        while let Some(key) = open.pop() {
            match key {
                Self::And(keys) => open.extend(keys),
                Self::Or(pair) => open.extend([&pair.0, &pair.1]),
                Self::Not(key) => open.push(key),
                Self::SentBefore(_)
                | Self::SentOn(_)
                | Self::SentSince(_)
                | Self::Header(..)
                | Self::Body(_)
                | Self::Text(_) => return true,
                _ => {}
            }
        }
        false
    }

    /// Whether message numbers stand in it.
    #[must_use]
    pub fn has_numbers(&self) -> bool {
        let mut open = vec![self];
        while let Some(key) = open.pop() {
            match key {
                Self::And(keys) => open.extend(keys),
                Self::Or(pair) => open.extend([&pair.0, &pair.1]),
                Self::Not(key) => open.push(key),
                Self::Sequence(_) => return true,
                _ => {}
            }
        }
        false
    }
}
