//! What the operations of a [`MailStore`] are told.

use rmail_core::addr::AccountName;
use rmail_core::mailbox::{Flags, MailboxName, SpecialUse, Uid, UidValidity};
use rmail_core::relay::entry::Entry;
use rmail_core::time::DateTime;

use crate::error::Error;
use crate::mailstore::MailStore;

/// Numbers that a mailbox brings with it from where it was before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbering {
    /// UIDVALIDITY, not 0. `None`: that of the mailbox stays.
    pub uid_validity: Option<UidValidity>,
    /// UIDNEXT is at least this afterwards: UIDs of messages that were expunged there are not given again.
    pub uid_next: Option<Uid>,
}

/// Asked, at most once, by [`MailStore::deliver_some`] when there are INBOXes that cannot be written: what is to stand in the
/// outbound queue in the place of the entry that was given, so that these accounts get the message from there later. It is
/// told their names and the errors, which are not that they are over their quotas. `None`: nobody gets the message, and the
/// first of the errors is the answer. The entry has the same id; as always, all is durable or nothing is there.
pub type Instead<'a> = &'a mut dyn FnMut(&[(AccountName, Error)]) -> Option<Entry>;

/// Whose mailbox a message goes to, and which.
pub type NewHome<'a> = (&'a AccountName, &'a MailboxName);

/// A message on its way in: its octets, flags, and INTERNALDATE; without one it is of the time of saving.
pub type NewMail<S> = (<S as MailStore>::Spool, Flags, Option<DateTime>);

/// The mailboxes of a new account and what they are for, in the order in which they are made: with INBOX, which comes last,
/// the account is there. All of them are subscribed.
pub const DEFAULT_MAILBOXES: [(&str, &[SpecialUse]); 6] = [
    ("Drafts", &[SpecialUse::Drafts]),
    ("Sent", &[SpecialUse::Sent]),
    ("Junk", &[SpecialUse::Junk]),
    ("Trash", &[SpecialUse::Trash]),
    ("Archive", &[SpecialUse::Archive]),
    ("INBOX", &[]),
];

/// A part of the outbound queue that has one owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundHome {
    /// Its name: letters and digits.
    pub name: String,
    /// Who sends what is in it.
    pub owner: Owner,
    /// The ids of its entries, ascending.
    pub ids: Vec<String>,
    /// The ids of entries that were damaged and are set aside: nobody sends them.
    pub damaged: Vec<String>,
}

/// Who sends the entries of an [`OutboundHome`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This process.
    Us,
    /// Another process, which is alive.
    Another,
    /// Nobody: the next process that starts, or that looks for what others have left.
    Nobody,
}

/// An entry of the outbound queue, as whoever only looks finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadEntry {
    /// Its id.
    pub id: String,
    /// The entry, or why it cannot be read.
    pub entry: Result<Entry, String>,
}
