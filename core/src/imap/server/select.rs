//! SELECT, EXAMINE, CLOSE, UNSELECT (RFC 9051 §6.3.2, §6.3.3, §6.4.1, §6.4.2).

use super::place::Place;
use super::recent::Recent;
use super::view::View;
use super::{Call, Selected, Session, Then, refusal};
use crate::imap::command::MailboxArg;
use crate::imap::response;
use crate::machine::{Action, Scope, WatchId};
use crate::mailbox::{Keyword, Keywords, MailboxName, MailboxRef, SystemFlags};
use crate::refusal::Refusal;

/// The selected mailbox.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) mailbox: MailboxRef,
    pub(super) name: MailboxName,
    /// EXAMINE, or the store can only read.
    pub(super) read_only: bool,
    pub(super) view: View,
    pub(super) watch: WatchId,
    /// The mailbox may have changed.
    pub(super) dirty: bool,
    /// It could not be looked at; again later.
    pub(super) missed: bool,
}

/// A mailbox to be selected.
#[derive(Debug)]
pub(super) struct Target {
    tag: String,
    place: Place,
    examine: bool,
}

impl Session {
    /// SELECT or EXAMINE. Whatever comes of it, the previous mailbox is no longer selected.
    pub(super) fn select(&mut self, tag: String, mailbox: MailboxArg, examine: bool) {
        let name = match mailbox {
            Ok(name) => name,
            Err(bad) => return self.unselect(tag, refusal::no_name(bad)),
        };
        let Some(place) = self.place_of(name) else {
            return;
        };
        let target = Target { tag, place, examine };
        match self.deselect() {
            Some(mailbox) => self.call(Call::Unselect { mailbox }, Then::Select(target)),
            None => self.open(target),
        }
    }

    /// Asks for the mailbox.
    pub(super) fn open(&mut self, target: Target) {
        let Place { account, mailbox } = target.place.clone();
        let call = Call::Select {
            account,
            mailbox,
            read_only: target.examine,
        };
        self.call(call, Then::Selected(target));
    }

    /// The mailbox, or why not.
    pub(super) fn opened(&mut self, target: Target, result: Result<Selected, Refusal>) {
        let Target { tag, place, examine } = target;
        let Selected {
            mailbox,
            snapshot,
            recent_from,
            read_only,
        } = match result {
            Ok(selected) => selected,
            Err(refused) => return self.complete(tag, refusal::no(refused)),
        };
        let read_only = read_only || examine;
        let recent = if read_only {
            Recent::unclaimed(recent_from)
        } else {
            Recent::claimed(recent_from, snapshot.uid_next)
        };
        let watch = self.watch(Scope::Mailbox(mailbox.clone()), snapshot.modseq);
        let open = Open {
            mailbox,
            name: place.mailbox,
            read_only,
            view: View::new(snapshot, recent),
            watch,
            dirty: false,
            missed: false,
        };
        open.introduce(self.out.text());
        self.selected = Some(Box::new(open));
        let text = match (examine, read_only) {
            (true, _) => "OK [READ-ONLY] EXAMINE completed",
            (false, true) => "OK [READ-ONLY] SELECT completed, but the mail can only be read now",
            (false, false) => "OK [READ-WRITE] SELECT completed",
        };
        self.complete(tag, text);
    }

    /// CLOSE: removes deleted messages without telling, unless the mailbox is open read-only.
    pub(super) fn close_mailbox(&mut self, tag: String) {
        match self.selected.as_ref().filter(|open| !open.read_only) {
            Some(open) => {
                let mailbox = open.mailbox.clone();
                let uids = None;
                self.call(Call::Expunge { mailbox, uids }, Then::CloseExpunged(tag));
            }
            None => self.unselect(tag, "OK CLOSE completed"),
        }
    }

    /// Leaves the mailbox, then ends the command with this text (RFC 3691).
    pub(super) fn unselect(&mut self, tag: String, text: impl Into<std::borrow::Cow<'static, str>>) {
        match self.deselect() {
            Some(mailbox) => self.call(Call::Unselect { mailbox }, Then::Unselected(tag, text.into())),
            None => self.complete(tag, text),
        }
    }

    /// No mailbox is selected any more; says which was, for `Call::Unselect`.
    pub(super) fn deselect(&mut self) -> Option<MailboxRef> {
        let open = self.selected.take()?;
        self.out.push(Action::Unwatch(open.watch));
        Some(open.mailbox)
    }
}

impl Open {
    /// Whether it is the mailbox of this name.
    pub(super) fn is_at(&self, place: &Place) -> bool {
        self.name == place.mailbox && self.mailbox.account == place.account
    }

    /// What SELECT tells of a mailbox (RFC 3501 §6.3.1).
    fn introduce(&self, out: &mut Vec<u8>) {
        let snapshot = self.view.latest();
        let rows = &snapshot.rows;
        self.write_flags(out, &snapshot.keywords);
        response::untagged_number(out, rows.len() as u64, "EXISTS");
        response::untagged_number(out, self.view.recent_count() as u64, "RECENT");
        let unseen = rows.iter().position(|row| !row.flags.contains(SystemFlags::SEEN));
        if let Some(index) = unseen {
            response::ok_number(out, "UNSEEN", index as u64 + 1, "First unseen message");
        }
        response::ok_number(out, "UIDVALIDITY", snapshot.uid_validity.0, "UIDs are valid");
        response::ok_number(out, "UIDNEXT", snapshot.uid_next.0, "Predicted next UID");
    }

    /// FLAGS and PERMANENTFLAGS.
    fn write_flags(&self, out: &mut Vec<u8>, keywords: &Keywords) {
        let names = || keywords.names().iter().map(Keyword::as_str);
        out.extend_from_slice(b"* FLAGS ");
        response::flag_list(out, SystemFlags::ALL, names());
        out.extend_from_slice(b"\r\n* OK [PERMANENTFLAGS ");
        if self.read_only {
            out.extend_from_slice(b"()] Nothing can be changed\r\n");
            return;
        }
        let more = (keywords.names().len() < Keywords::MAX).then_some("\\*");
        response::flag_list(out, SystemFlags::ALL, names().chain(more));
        out.extend_from_slice(b"] Flags that are kept\r\n");
    }

    /// FLAGS again, before the first FETCH that shows a keyword which it did not name.
    pub(super) fn write_new_keywords(&mut self, out: &mut Vec<u8>) {
        if self.view.name_keywords() {
            self.write_flags(out, &self.view.latest().keywords);
        }
    }
}
