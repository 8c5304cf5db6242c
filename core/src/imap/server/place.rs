//! Whose mailbox a name means.

use super::{Session, refusal};
use crate::addr::AccountName;
use crate::imap::command::MailboxArg;
use crate::mailbox::MailboxName;

/// A mailbox of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Whose it is.
    pub(super) account: AccountName,
    /// Its name there.
    pub(super) mailbox: MailboxName,
}

impl Session {
    /// The mailbox that an argument means; one that no mailbox can be ends the command.
    pub(super) fn place(&mut self, tag: &str, mailbox: MailboxArg) -> Option<Place> {
        match mailbox {
            Ok(name) => self.place_of(name),
            Err(bad) => {
                self.complete(tag.to_owned(), refusal::no_name(bad));
                None
            }
        }
    }

    /// The mailbox that a name means. `None`: nobody is logged in, which is a fault of ours.
    pub(super) fn place_of(&mut self, mailbox: MailboxName) -> Option<Place> {
        let Some(account) = self.account_name() else {
            self.internal("a mailbox without an account");
            return None;
        };
        Some(Place { account, mailbox })
    }
}
