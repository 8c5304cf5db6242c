//! What a client asks of NOTIFY (RFC 5465).

use crate::imap::command::{FetchItem, MailboxArg};

/// NOTIFY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notify {
    /// NONE: the client wants to hear of nothing.
    None,
    /// SET.
    Set {
        /// STATUS: of all mailboxes whose messages it wants to hear of, before the command's end.
        status: bool,
        /// What it wants to hear of which mailboxes.
        groups: Vec<Group>,
        /// False: an event was named that nobody knows; the server answers `NO [BADEVENT …]` (RFC 5465 §3.1).
        known: bool,
    },
}

/// `event-group` (RFC 5465 §8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Which mailboxes.
    pub filter: Filter,
    /// What of them; none at all: NONE.
    pub events: Events,
    /// What is told of a new message.
    pub fetch: Vec<FetchItem>,
}

/// `filter-mailboxes` (RFC 5465 §6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The selected mailbox, whichever it is, at once.
    Selected,
    /// The same, but expunges only where a command may tell of them.
    SelectedDelayed,
    /// Where mail may be delivered to.
    Inboxes,
    /// All of the user's own.
    Personal,
    /// What is subscribed.
    Subscribed,
    /// These, and all below them.
    Subtree(Vec<MailboxArg>),
    /// These.
    Mailboxes(Vec<MailboxArg>),
}

impl Filter {
    /// How many names stand in it.
    #[must_use]
    pub fn names(&self) -> usize {
        match self {
            Self::Subtree(names) | Self::Mailboxes(names) => names.len(),
            _ => 0,
        }
    }
}

/// A set of events (RFC 5465 §5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events(u8);

impl Events {
    /// None.
    pub const NONE: Self = Self(0);
    /// MessageNew.
    pub const NEW: Self = Self(1);
    /// MessageExpunge.
    pub const EXPUNGE: Self = Self(2);
    /// FlagChange.
    pub const FLAGS: Self = Self(4);
    /// AnnotationChange: of messages, which have none here.
    pub const ANNOTATION: Self = Self(8);
    /// MailboxName.
    pub const NAME: Self = Self(16);
    /// SubscriptionChange.
    pub const SUBSCRIPTION: Self = Self(32);
    /// MailboxMetadataChange.
    pub const METADATA: Self = Self(64);
    /// ServerMetadataChange.
    pub const SERVER_METADATA: Self = Self(128);

    /// Those of messages.
    pub const MESSAGES: Self = Self(15);

    /// All of them with their names.
    pub const NAMES: [(Self, &'static str); 8] = [
        (Self::NEW, "MessageNew"),
        (Self::EXPUNGE, "MessageExpunge"),
        (Self::FLAGS, "FlagChange"),
        (Self::ANNOTATION, "AnnotationChange"),
        (Self::NAME, "MailboxName"),
        (Self::SUBSCRIPTION, "SubscriptionChange"),
        (Self::METADATA, "MailboxMetadataChange"),
        (Self::SERVER_METADATA, "ServerMetadataChange"),
    ];

    /// Both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether some of these are among them.
    #[must_use]
    pub const fn has(self, some: Self) -> bool {
        self.0 & some.0 != 0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The event of this name, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let known = Self::NAMES.into_iter();
        let mut same = known.filter(|(_, known)| known.eq_ignore_ascii_case(name));
        same.next().map(|(event, _)| event)
    }
}
