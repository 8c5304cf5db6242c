//! SELECT, EXAMINE, CLOSE, UNSELECT (RFC 9051 §6.3.2, §6.3.3, §6.4.1, §6.4.2).

use super::batches::Asked;
use super::context::Contexts;
use super::enable::Enabled;
use super::place::{NO_MAILBOX, Place};
use super::recent::Recent;
use super::view::View;
use super::{Call, MailboxEntry, Selected, Session, Then, list, refusal};
use crate::imap::command::{MailboxArg, SelectParams};
use crate::imap::response;
use crate::machine::{Action, Scope, WatchId};
use crate::mailbox::{Keyword, Keywords, MailboxName, MailboxRef, Rights, SystemFlags, Uid};
use crate::refusal::Refusal;

/// The selected mailbox.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) mailbox: MailboxRef,
    pub(super) name: MailboxName,
    /// EXAMINE, or the store can only read.
    pub(super) read_only: bool,
    /// What may be done with it (RFC 4314).
    pub(super) rights: Rights,
    pub(super) view: View,
    pub(super) watch: WatchId,
    /// The mailbox may have changed.
    pub(super) dirty: bool,
    /// It could not be looked at; again later.
    pub(super) missed: bool,
    /// Results that are kept up to date.
    pub(super) contexts: Contexts,
    /// Batches that were asked for.
    pub(super) batches: Vec<Asked>,
}

/// A mailbox to be selected.
#[derive(Debug)]
pub(super) struct Target {
    tag: String,
    place: Place,
    /// Its name as the client gave it.
    name: MailboxName,
    examine: bool,
    params: SelectParams,
}

/// A mailbox that was selected, and has to be told of.
#[derive(Debug)]
pub(super) struct Opening {
    target: Target,
    /// Of a mailbox that was selected for reading and writing, but is not.
    only_read: bool,
}

impl Session {
    /// SELECT or EXAMINE. Whatever comes of it, the previous mailbox is no longer selected.
    pub(super) fn select(&mut self, tag: String, mailbox: MailboxArg, params: SelectParams, examine: bool) {
        if params.qresync.is_some() && !self.enabled.qresync {
            // RFC 7162 §3.2.5.
            return self.refuse_bad(&tag, "QRESYNC is not enabled");
        }
        self.enabled.condstore |= params.condstore;
        if self.selected.is_some() {
            self.out.line("* OK [CLOSED] Previous mailbox is now closed");
        }
        let name = match mailbox {
            Ok(name) => name,
            Err(bad) => return self.unselect(tag, refusal::no_name(bad)),
        };
        let Some(place) = self.place_of(name.clone()) else {
            return self.unselect(tag, NO_MAILBOX);
        };
        let target = Target {
            tag,
            place,
            name,
            examine,
            params,
        };
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
        let Selected {
            mailbox,
            snapshot,
            recent_from,
            read_only,
            rights,
        } = match result {
            Ok(selected) => selected,
            Err(refused) => return self.complete(target.tag, refusal::no(refused)),
        };
        let recent_from = if self.enabled.tells_recent() {
            recent_from
        } else {
            Uid(u32::MAX)
        };
        let read_only = read_only || target.examine;
        let recent = if read_only || !self.enabled.tells_recent() {
            Recent::unclaimed(recent_from)
        } else {
            Recent::claimed(recent_from, snapshot.uid_next)
        };
        let watch = self.watch(Scope::Mailbox(mailbox.clone()), snapshot.modseq);
        let open = Open {
            mailbox,
            name: target.place.mailbox.clone(),
            read_only,
            rights,
            view: View::new(snapshot, recent),
            watch,
            dirty: false,
            missed: false,
            contexts: Contexts::default(),
            batches: Vec::new(),
        };
        self.selected = Some(Box::new(open));
        let opening = Opening {
            only_read: read_only && !target.examine,
            target,
        };
        let own = self.is_me(&opening.target.place.account);
        if self.enabled.rev2 && !own {
            // RFC 9051 §6.3.2: the name; the attributes in its owner's list are not ours.
            return self.select_listed(opening, Ok(Vec::new()));
        }
        if self.enabled.rev2 {
            let account = opening.target.place.account.clone();
            return self.call(Call::List { account }, Then::SelectListed(Box::new(opening)));
        }
        self.introduce(opening);
    }

    /// The mailbox with its attributes, as IMAP4rev2 tells them (RFC 9051 §6.3.2).
    pub(super) fn select_listed(&mut self, opening: Opening, result: Result<Vec<MailboxEntry>, Refusal>) {
        let attributes = result.map_or_else(
            |_| Vec::new(),
            |entries| list::attributes_of(entries, &opening.target.place.mailbox),
        );
        let out = self.out.text();
        out.extend_from_slice(b"* LIST (");
        response::words(out, attributes);
        out.extend_from_slice(b") \"/\" ");
        response::mailbox(out, &opening.target.name, true);
        if let Some(old) = &opening.target.params.denormal {
            response::old_name(out, old);
        }
        response::end(out);
        self.introduce(opening);
    }

    /// Tells of the mailbox, and what the client has missed.
    fn introduce(&mut self, opening: Opening) {
        let Opening { target, only_read } = opening;
        let Some(open) = &self.selected else {
            return self.internal("SELECT without a mailbox");
        };
        let id = self.mailbox_id(&open.mailbox.account, open.mailbox.id);
        open.introduce(self.out.text(), self.enabled, &id);
        let qresync = target.params.qresync.map(|qresync| *qresync);
        let known = qresync.filter(|known| known.uid_validity == open.view.latest().uid_validity);
        let text = match (target.examine, only_read) {
            (true, _) => "OK [READ-ONLY] EXAMINE completed",
            (false, true) => "OK [READ-ONLY] SELECT completed, but the mail can only be read now",
            (false, false) if open.read_only => "OK [READ-ONLY] SELECT completed",
            (false, false) => "OK [READ-WRITE] SELECT completed",
        };
        match known {
            Some(known) => self.resync(known, target.tag, text.into()),
            None => self.complete(target.tag, text),
        }
    }

    /// CLOSE: removes deleted messages without telling, unless the mailbox is open read-only.
    pub(super) fn close_mailbox(&mut self, tag: String) {
        // RFC 4314 §4: without the right to expunge the mailbox is only closed.
        match self.selected.as_ref().filter(|open| open.may(Rights::EXPUNGE)) {
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
        self.take_mine();
        self.out.push(Action::Unwatch(open.watch));
        Some(open.mailbox)
    }
}

impl Open {
    /// Whether it is the mailbox of this name.
    pub(super) fn is_at(&self, place: &Place) -> bool {
        self.name == place.mailbox && self.mailbox.account == place.account
    }

    /// Whether this may be done here.
    pub(super) fn may(&self, rights: Rights) -> bool {
        !self.read_only && self.rights.contains(rights)
    }

    /// What SELECT tells of a mailbox (RFC 3501 §6.3.1, RFC 9051 §6.3.2, RFC 7162 §3.1.2).
    fn introduce(&self, out: &mut Vec<u8>, enabled: Enabled, id: &str) {
        let snapshot = self.view.latest();
        let rows = &snapshot.rows;
        self.write_flags(out, &snapshot.keywords);
        response::untagged_number(out, rows.len() as u64, "EXISTS");
        if enabled.tells_recent() {
            response::untagged_number(out, self.view.recent_count() as u64, "RECENT");
        }
        // IMAP4rev2 has no such code, and it is a message number, which UIDONLY forbids.
        if !enabled.rev2
            && !enabled.uid_only
            && let Some(index) = rows.first_unseen()
        {
            response::ok_number(out, "UNSEEN", index as u64 + 1, "First unseen message");
        }
        response::ok_number(out, "UIDVALIDITY", snapshot.uid_validity.0, "UIDs are valid");
        response::ok_number(out, "UIDNEXT", snapshot.uid_next.0, "Predicted next UID");
        response::ok_number(out, "HIGHESTMODSEQ", snapshot.modseq.0, "Highest mod-sequence");
        out.extend_from_slice(b"* OK [MAILBOXID (");
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(b")] Identity of the mailbox\r\n");
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
        // RFC 4314 §5.1.1: those that there is a right to change.
        let writes = self.rights.contains(Rights::WRITE);
        let more = (writes && keywords.names().len() < Keywords::MAX).then_some("\\*");
        let names = names().filter(|_| writes);
        response::flag_list(out, self.rights.system_flags(), names.chain(more));
        out.extend_from_slice(b"] Flags that are kept\r\n");
    }

    /// FLAGS again, before the first FETCH that shows a keyword which it did not name.
    pub(super) fn write_new_keywords(&mut self, out: &mut Vec<u8>) {
        if self.view.name_keywords() {
            self.write_flags(out, &self.view.latest().keywords);
        }
    }
}
