//! CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE (RFC 9051 §6.3.4 to §6.3.8; RFC 6154 §3).

use super::notify_list::OwnChange;
use super::place::Place;
use super::{Call, MailboxStatus, Session, Then, refusal};
use crate::addr::AccountName;
use crate::imap::command::MailboxArg;
use crate::imap::response;
use crate::mailbox::others::{self, Meaning};
use crate::mailbox::{MailboxName, SpecialUse};
use crate::refusal::Refusal;

/// What is said of a mailbox that shall be among the levels above other accounts' mailboxes.
const NOT_HERE: &str = "NO [CANNOT] No mailbox can have this name";

fn is_level(mailbox: &MailboxArg) -> bool {
    let meaning = mailbox.as_ref().map(others::meaning);
    meaning.is_ok_and(|meaning| meaning == Meaning::Level)
}

/// A change of the mailbox list that was asked for.
#[derive(Debug)]
pub(super) struct Change {
    tag: String,
    what: What,
    /// The name as the client wrote it, if the mailbox has another.
    denormal: Option<String>,
}

#[derive(Debug)]
enum What {
    Create(Place),
    Delete(Place),
    Rename(Place, MailboxName),
    Subscribe(Place),
    Unsubscribe(Place),
}

impl What {
    /// The mailbox that is there now, or was, and its attributes.
    fn told(&self) -> (Place, &'static str) {
        match self {
            Self::Create(place) | Self::Subscribe(place) | Self::Unsubscribe(place) => (place.clone(), ""),
            Self::Delete(place) => (place.clone(), "\\NonExistent"),
            Self::Rename(from, to) => {
                let (account, mailbox) = (from.account.clone(), to.clone());
                (Place { account, mailbox }, "")
            }
        }
    }
}

impl Session {
    /// CREATE.
    pub(super) fn create(
        &mut self,
        tag: String,
        mailbox: MailboxArg,
        (special_use, use_known): (Vec<SpecialUse>, bool),
        denormal: Option<String>,
    ) {
        if is_level(&mailbox) {
            return self.complete(tag, NOT_HERE);
        }
        let Some(place) = self.place(&tag, mailbox) else {
            return;
        };
        if !use_known {
            return self.complete(tag, "NO [USEATTR] No mailbox can have this use");
        }
        let what = What::Create(place.clone());
        let Place { account, mailbox } = place;
        let call = Call::Create {
            account,
            mailbox,
            special_use,
        };
        let change = Change { tag, what, denormal };
        self.call(call, Then::Changed(change));
    }

    /// DELETE.
    pub(super) fn delete(&mut self, tag: String, mailbox: MailboxArg, denormal: Option<String>) {
        let Some(place) = self.place(&tag, mailbox) else {
            return;
        };
        if place.mailbox.is_inbox() {
            return self.complete(tag, "NO [CANNOT] INBOX cannot be deleted");
        }
        let what = What::Delete(place.clone());
        let Place { account, mailbox } = place;
        let change = Change { tag, what, denormal };
        self.call(Call::Delete { account, mailbox }, Then::Changed(change));
    }

    /// RENAME.
    pub(super) fn rename(&mut self, tag: String, from: MailboxArg, to: MailboxArg, denormal: Option<String>) {
        let Some(from) = self.place(&tag, from) else {
            return;
        };
        if is_level(&to) {
            return self.complete(tag, NOT_HERE);
        }
        let Some(to) = self.place(&tag, to) else {
            return;
        };
        if from.account != to.account {
            return self.complete(tag, "NO [CANNOT] A mailbox cannot be given to another account");
        }
        let what = What::Rename(from.clone(), to.mailbox.clone());
        let (account, from, to) = (from.account, from.mailbox, to.mailbox);
        if to.is_below(&from) && !from.is_inbox() {
            return self.complete(tag, "NO [CANNOT] A mailbox cannot be moved below itself");
        }
        let change = Change { tag, what, denormal };
        self.call(Call::Rename { account, from, to }, Then::Changed(change));
    }

    /// SUBSCRIBE, UNSUBSCRIBE. A subscription is to a name, also where the mailbox is another account's.
    pub(super) fn subscribe(&mut self, tag: String, mailbox: MailboxArg, on: bool) {
        let mailbox = match mailbox {
            Ok(mailbox) => mailbox,
            Err(bad) => return self.complete(tag, refusal::no_name(bad)),
        };
        let Some(account) = self.account_name() else {
            return self.internal("a subscription without an account");
        };
        let what = if on { What::Subscribe } else { What::Unsubscribe };
        let what = what(Place {
            account: account.clone(),
            mailbox: mailbox.clone(),
        });
        let call = Call::Subscribe { account, mailbox, on };
        let change = Change {
            tag,
            what,
            denormal: None,
        };
        self.call(call, Then::Changed(change));
    }

    /// The list is changed, or not.
    pub(super) fn changed(&mut self, change: Change, result: Result<(), Refusal>) {
        let Change { tag, what, denormal } = change;
        if let Err(refused) = result {
            if matches!(what, What::Delete(_)) && refused == Refusal::NotPossible {
                // A level stays as long as there are mailboxes below it (RFC 9051 §6.3.5).
                return self.complete(tag, "NO [HASCHILDREN] There are mailboxes below it");
            }
            return self.complete(tag, refusal::no(refused));
        }
        self.note_own_change(&what);
        let (place, attributes) = what.told();
        self.tell_old_name(&place, attributes, denormal.as_deref());
        match what {
            What::Create(Place { account, mailbox }) => {
                let then = Then::Created(tag, account.clone());
                self.call(Call::Status { account, mailbox }, then);
            }
            What::Subscribe(_) => self.complete(tag, "OK SUBSCRIBE completed"),
            What::Unsubscribe(_) => self.complete(tag, "OK UNSUBSCRIBE completed"),
            What::Delete(place) => self.deleted(tag, &place),
            What::Rename(from, to) => {
                self.follow(&from, &to);
                self.complete(tag, "OK RENAME completed");
            }
        }
    }

    /// The name that a mailbox has instead of the one that the client wrote (RFC 9051 §6.3.9.7).
    pub(super) fn tell_old_name(&mut self, place: &Place, attributes: &str, old: Option<&str>) {
        let Some(old) = old.filter(|_| self.enabled.rev2) else {
            return;
        };
        let name = self.name_of(place);
        let out = self.out.text();
        out.extend_from_slice(b"* LIST (");
        out.extend_from_slice(attributes.as_bytes());
        out.extend_from_slice(b") \"/\" ");
        response::mailbox(out, &name, true);
        response::old_name(out, old);
        response::end(out);
    }

    /// The new mailbox, and what its identity is (RFC 8474 §4.1), unless somebody else has removed it already.
    pub(super) fn created(
        &mut self,
        tag: String,
        account: &AccountName,
        result: Result<MailboxStatus, Refusal>,
    ) {
        match result {
            Ok(status) => {
                let id = self.mailbox_id(account, status.id);
                self.complete(tag, format!("OK [MAILBOXID ({id})] CREATE completed"));
            }
            Err(_) => self.complete(tag, "OK CREATE completed"),
        }
    }

    /// NOTIFY does not tell a client what it did itself (RFC 5465 §5).
    fn note_own_change(&mut self, what: &What) {
        let (place, change) = match what {
            What::Create(place) => (place, OwnChange::Create(place.mailbox.clone())),
            What::Delete(place) => (place, OwnChange::Delete(place.mailbox.clone())),
            What::Rename(from, to) => (from, OwnChange::Rename(from.mailbox.clone(), to.clone())),
            What::Subscribe(place) | What::Unsubscribe(place) => {
                (place, OwnChange::Subscribe(place.mailbox.clone()))
            }
        };
        if Some(&place.account) == self.account_name().as_ref() {
            self.note_own(change);
        }
    }

    /// A client that deletes the mailbox it has selected has none selected any more.
    fn deleted(&mut self, tag: String, place: &Place) {
        let text = "OK DELETE completed";
        if self.is_selected(place) {
            self.out.line("* OK [CLOSED] The selected mailbox was deleted");
            self.unselect(tag, text);
        } else {
            self.complete(tag, text);
        }
    }

    /// The selected mailbox may have a new name. RENAME of INBOX moves messages, not the mailbox.
    fn follow(&mut self, from: &Place, to: &MailboxName) {
        let Some(open) = self.selected.as_mut() else {
            return;
        };
        if open.mailbox.account != from.account {
            return;
        }
        let from = &from.mailbox;
        if from.is_inbox() {
            open.dirty |= open.name == *from;
            return;
        }
        let rest = open.name.as_str().strip_prefix(from.as_str());
        if let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with('/'))
            && let Ok(name) = MailboxName::new(&[to.as_str(), rest].concat())
        {
            open.name = name;
        }
    }

    /// Whether this mailbox is the selected one.
    pub(super) fn is_selected(&self, place: &Place) -> bool {
        self.selected.as_ref().is_some_and(|open| open.is_at(place))
    }
}
