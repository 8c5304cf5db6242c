//! The search program as a tree (RFC 9051 §6.4.4).

use crate::imap::sequence::SequenceSet;
use crate::mailbox::{Keyword, ModSeq, SystemFlags, UidSet};

/// A search key. The parser bounds depth and number of keys.
///
/// [`Key::Sequence`], [`Key::UidSequence`], [`Key::Recent`], [`Key::Older`] and [`Key::Younger`] mean something only in a
/// session's view and at its time; the session replaces them by [`Key::Uids`] and [`Key::ArrivedUntil`] or
/// [`Key::ArrivedFrom`] before a program is evaluated or leaves it.
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
    /// OLDER: so many seconds before now, or before that (RFC 5032).
    Older(u32),
    /// YOUNGER: so many seconds before now, or later.
    Younger(u32),
    /// INTERNALDATE is this second, since 1970, or an earlier one.
    ArrivedUntil(i64),
    /// INTERNALDATE is this second, since 1970, or a later one.
    ArrivedFrom(i64),
    /// SAVEDBEFORE: days since 1970, of the save date in UTC (RFC 8514).
    SavedBefore(i64),
    /// SAVEDON
    SavedOn(i64),
    /// SAVEDSINCE
    SavedSince(i64),
    /// MODSEQ: this one or a higher one (RFC 7162 §3.1.5).
    ModSeq(ModSeq),
    /// EMAILID (RFC 8474 §6.1).
    EmailId(String),
    /// THREADID (RFC 8474 §6.1).
    ThreadId(String),
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
    /// It has an attachment ([`crate::mime::attachment`]). IMAP has no word for it.
    HasAttachment,
}

impl Key {
    /// Whether the message's content has to be read (rows do not suffice).
    #[must_use]
    pub fn needs_content(&self) -> bool {
        self.any(|key| {
            matches!(
                key,
                Self::SentBefore(_)
                    | Self::SentOn(_)
                    | Self::SentSince(_)
                    | Self::Header(..)
                    | Self::Body(_)
                    | Self::Text(_)
                    | Self::EmailId(_)
                    | Self::ThreadId(_)
                    | Self::HasAttachment
            )
        })
    }

    /// Whether message numbers stand in it; `$` is none.
    #[must_use]
    pub fn has_numbers(&self) -> bool {
        self.any(|key| matches!(key, Self::Sequence(set) if !set.is_saved()))
    }

    /// Whether MODSEQ stands in it: then the result tells one (RFC 7162 §3.1.5).
    #[must_use]
    pub fn has_mod_seq(&self) -> bool {
        self.any(|key| matches!(key, Self::ModSeq(_)))
    }

    /// Whether a key that is no combination of others is so.
    fn any(&self, is: impl Fn(&Self) -> bool) -> bool {
        let mut open = vec![self];
        while let Some(key) = open.pop() {
            match key {
                Self::And(keys) => open.extend(keys),
                Self::Or(pair) => open.extend([&pair.0, &pair.1]),
                Self::Not(key) => open.push(key),
                key if is(key) => return true,
                _ => {}
            }
        }
        false
    }
}
