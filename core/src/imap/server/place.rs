//! Whose mailbox a name means.

use super::{Session, refusal};
use crate::addr::AccountName;
use crate::imap::command::MailboxArg;
use crate::imap::response;
use crate::mailbox::others::{self, Meaning};
use crate::mailbox::{MailboxId, MailboxName};

/// A mailbox of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Whose it is.
    pub(super) account: AccountName,
    /// Its name there.
    pub(super) mailbox: MailboxName,
}

/// What is said of a name below which other accounts' mailboxes are, but none is itself.
pub(super) const NO_MAILBOX: &str = "NO [NONEXISTENT] No such mailbox";

impl Session {
    /// The mailbox that an argument means; one that no mailbox can be ends the command.
    pub(super) fn place(&mut self, tag: &str, mailbox: MailboxArg) -> Option<Place> {
        let name = match mailbox {
            Ok(name) => name,
            Err(bad) => {
                self.complete(tag.to_owned(), refusal::no_name(bad));
                return None;
            }
        };
        let place = self.place_of(name);
        if place.is_none() {
            self.complete(tag.to_owned(), NO_MAILBOX);
        }
        place
    }

    /// The mailbox that a name means. `None`: it is a level above the mailboxes of other accounts.
    pub(super) fn place_of(&mut self, mailbox: MailboxName) -> Option<Place> {
        match others::meaning(&mailbox) {
            Meaning::Own(mailbox) => {
                let account = self.account_name()?;
                Some(Place { account, mailbox })
            }
            Meaning::Other(account, mailbox) => Some(Place { account, mailbox }),
            Meaning::Level => None,
        }
    }

    /// Whether this is the account that is logged in.
    pub(super) fn is_me(&self, account: &AccountName) -> bool {
        self.account.as_ref().is_some_and(|me| me.name == *account)
    }

    /// What a mailbox is called in this client.
    pub(super) fn name_of(&self, place: &Place) -> MailboxName {
        if self.is_me(&place.account) {
            return place.mailbox.clone();
        }
        others::name_of(&place.account, &place.mailbox).unwrap_or_else(|| place.mailbox.clone())
    }

    /// Writes what a mailbox is called in this client.
    pub(super) fn write_name(&mut self, place: &Place) {
        let (name, utf8) = (self.name_of(place), self.enabled.utf8_names());
        response::mailbox(self.out.text(), &name, utf8);
    }

    /// MAILBOXID (RFC 8474 §4): the mailbox's id, which is unique in its account; of other accounts' mailboxes with a hash of
    /// the account.
    pub(super) fn mailbox_id(&self, account: &AccountName, id: MailboxId) -> String {
        if self.is_me(account) {
            return id.object_id();
        }
        format!("{}-{:016x}", id.object_id(), hash(account.as_str()))
    }
}

/// FNV-1a: stable, and short enough for an id.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
    })
}
