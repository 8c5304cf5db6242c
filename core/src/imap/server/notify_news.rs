//! Telling what a client has asked for with NOTIFY, between commands and while it idles.

use std::collections::{BTreeMap, BTreeSet};

use super::fetch::Fetch;
use super::job::Job;
use super::news::After;
use super::notify::{MAX_NAMES, MAX_WATCHED, Notified, Watched};
use super::notify_list::{self, Known, Notice, Places, Told};
use super::place::Place;
use super::view::Cursor;
use super::{Call, MailboxEntry, MailboxStatus, Phase, Session, SharedMailbox, Then, refusal};
use crate::addr::AccountName;
use crate::imap::notify::Events;
use crate::imap::response;
use crate::machine::{LOOKS_LATER, Scope, WatchId};
use crate::mailbox::{MailboxName, MailboxRef, Rights, Uid};
use crate::refusal::Refusal;

const TOO_MUCH: &str = "NO [NOTIFICATIONOVERFLOW] Too many mailboxes";

/// A look at everything but the selected mailbox that may have changed.
#[derive(Debug)]
pub(super) struct Round {
    why: Why,
    /// What is to be told of the list, last first.
    notices: Vec<Notice>,
}

/// What comes after it.
#[derive(Debug)]
pub(super) enum Why {
    /// The end of NOTIFY SET. The setting of before counts again if this one is too much.
    Command {
        tag: String,
        status: bool,
        old: Option<Box<Notified>>,
    },
    /// The next command.
    Ready,
    /// Idling goes on.
    Idle(String),
}

impl Round {
    pub(super) fn new(why: Why) -> Box<Self> {
        Box::new(Self {
            why,
            notices: Vec::new(),
        })
    }

    /// Whether it is NOTIFY SET that looks, for the first time.
    pub(super) fn is_command(&self) -> bool {
        matches!(self.why, Why::Command { .. })
    }
}

impl Session {
    /// Between commands: whether something is told unasked.
    pub(super) fn speak(&mut self) -> bool {
        if !self.notified.as_ref().is_some_and(|notified| notified.speaks) {
            return false;
        }
        let telling = self.telling(&After::Ready);
        let news = |open: &super::select::Open| open.dirty || open.view.has_news(telling);
        if self
            .notified
            .as_ref()
            .is_some_and(|notified| notified.hears_selected())
            && self.selected.as_deref().is_some_and(news)
        {
            self.tell(After::Ready);
            return true;
        }
        if self.has_other_news() {
            self.go_round(Round::new(Why::Ready));
            return true;
        }
        if let Some(notified) = self.notified.as_mut() {
            notified.speaks = false;
        }
        false
    }

    /// Whether anything but the selected mailbox has to be looked at.
    pub(super) fn has_other_news(&self) -> bool {
        let selected = self.mailbox_selected();
        self.notified
            .as_ref()
            .is_some_and(|notified| notified.list_dirty || notified.next_dirty(selected.as_ref()).is_some())
    }

    /// The selected mailbox.
    fn mailbox_selected(&self) -> Option<MailboxRef> {
        self.selected.as_ref().map(|open| open.mailbox.clone())
    }

    /// Looks at the next thing that may have changed; in the end goes on.
    pub(super) fn go_round(&mut self, round: Box<Round>) {
        let (selected, account) = (self.mailbox_selected(), self.account_name());
        let (Some(notified), Some(account)) = (self.notified.as_mut(), account) else {
            return self.end_round(*round);
        };
        if core::mem::take(&mut notified.list_dirty) {
            return self.call(Call::List { account }, Then::NotifyList(round));
        }
        let Some(round) = self.ask_metadata(round) else {
            return;
        };
        let Some(notified) = self.notified.as_mut() else {
            return self.end_round(*round);
        };
        let next = notified.next_dirty(selected.as_ref()).cloned();
        let Some((name, place)) = next.and_then(|name| {
            let place = notified.boxes.get(&name).map(|watched| watched.place.clone());
            notified.dirty.remove(&name);
            Some((name, place?))
        }) else {
            return self.end_round(*round);
        };
        let Place { account, mailbox } = place;
        let call = Call::Status { account, mailbox };
        self.call(call, Then::NotifyStatus(round, name));
    }

    fn end_round(&mut self, round: Round) {
        match round.why {
            Why::Command { tag, old, .. } => self.notify_is_set(tag, old),
            Why::Ready => self.go_on(After::Ready),
            Why::Idle(tag) => self.go_on(After::Idle(tag)),
        }
    }

    /// It is too much.
    pub(super) fn overflow(&mut self, round: Round) {
        match round.why {
            Why::Command { tag, old, .. } => self.notify_is_refused(tag, old, TOO_MUCH.to_owned()),
            why => {
                self.notify_overflows();
                self.end_round(Round {
                    why,
                    notices: Vec::new(),
                });
            }
        }
    }

    /// The list as it is now.
    pub(super) fn notify_listed(&mut self, round: Box<Round>, result: Result<Vec<MailboxEntry>, Refusal>) {
        let entries = match result {
            Ok(entries) => entries,
            Err(refused) => return self.list_failed(round, refused),
        };
        let reaches = |notified: &Notified| {
            let subscribed = entries.iter().filter(|entry| entry.subscribed);
            notified.reaches_others(subscribed.map(|entry| &entry.name))
        };
        let reaches = self.notified.as_deref().is_some_and(reaches);
        match self.account_name().filter(|_| reaches) {
            Some(account) => self.call(Call::Shared { account }, Then::NotifyShared(round, entries)),
            None => self.list_is(round, entries, &[]),
        }
    }

    /// What others share with the client.
    pub(super) fn notify_shared(
        &mut self,
        round: Box<Round>,
        own: Vec<MailboxEntry>,
        result: Result<Vec<SharedMailbox>, Refusal>,
    ) {
        match result {
            Ok(shared) => self.list_is(round, own, &shared),
            Err(refused) => self.list_failed(round, refused),
        }
    }

    /// The list cannot be looked at.
    fn list_failed(&mut self, round: Box<Round>, refused: Refusal) {
        match round.why {
            Why::Command { tag, old, .. } => self.notify_is_refused(tag, old, refusal::no(refused)),
            _ => {
                if let Some(notified) = self.notified.as_mut() {
                    notified.list_missed = true;
                }
                self.go_round(round);
            }
        }
    }

    fn list_is(&mut self, mut round: Box<Round>, entries: Vec<MailboxEntry>, shared: &[SharedMailbox]) {
        if entries.len() + shared.len() > MAX_NAMES || !self.watch_owners(shared) {
            return self.overflow(*round);
        }
        let new = notify_list::known(entries, shared);
        let Some(notified) = self.notified.as_mut() else {
            return self.end_round(*round);
        };
        let told = match notified.known.take() {
            Some(mut old) => {
                while let Some(own) = notified.own.pop_front() {
                    notify_list::adopt(&mut old, &new, &own);
                }
                notified.compare(&old, &new)
            }
            None => Told {
                notices: Vec::new(),
                places: notify_list::places(&new),
            },
        };
        notified.own.clear();
        round.notices = told.notices;
        round.notices.reverse();
        if !self.watch_boxes(&new, &told.places) {
            return self.overflow(*round);
        }
        if let Some(notified) = self.notified.as_mut() {
            notified.known = Some(new);
        }
        self.look_at_metadata();
        self.step_notices(round);
    }

    /// One step of telling of the list.
    pub(super) fn step_notices(&mut self, mut round: Box<Round>) {
        let utf8 = self.enabled.utf8_names();
        while let Some(notice) = round.notices.pop() {
            notice.write(self.out.text(), utf8);
            if self.out.is_full() {
                self.phase = Phase::Job(Job::Notices(round));
                return;
            }
        }
        self.go_round(round);
    }

    /// Watches the lists of those who share something: their mailboxes come and go, and rights to them. False: they are
    /// too many.
    fn watch_owners(&mut self, shared: &[SharedMailbox]) -> bool {
        let owners: BTreeSet<&AccountName> = shared.iter().map(|mailbox| &mailbox.owner).collect();
        if owners.len() > MAX_WATCHED {
            return false;
        }
        let Some(notified) = self.notified.as_mut() else {
            return true;
        };
        let mut before = core::mem::take(&mut notified.owners);
        let (mut now, mut is_fresh) = (BTreeMap::new(), false);
        for owner in owners {
            let watch = match before.remove(owner) {
                Some(watch) => watch,
                None => {
                    is_fresh = true;
                    self.watch(Scope::List(owner.clone()), LOOKS_LATER)
                }
            };
            now.insert(owner.clone(), watch);
        }
        for watch in before.into_values() {
            self.unwatch(watch);
        }
        if let Some(notified) = self.notified.as_mut() {
            notified.owners = now;
            // What changed between that look and the watch.
            notified.list_dirty |= is_fresh;
        }
        true
    }

    /// Watches the mailboxes whose messages the client hears of, and no others. False: they are too many.
    fn watch_boxes(&mut self, new: &BTreeMap<MailboxName, Known>, places: &Places) -> bool {
        let Some(account) = self.account_name() else {
            return true;
        };
        let Some(notified) = self.notified.as_ref() else {
            return true;
        };
        let mut wanted: BTreeMap<MailboxName, Watched> = BTreeMap::new();
        let watched = |place: Place, events: Events, id| Watched {
            place,
            events: events.and(Events::MESSAGES),
            id,
            watch: None,
            status: None,
            missed: false,
            strayed: false,
        };
        for (name, known) in new.iter().filter(|(_, known)| known.id.is_some()) {
            let events = notified.events_of(name, true, known.subscribed);
            if events.has(Events::NEW) {
                let account = account.clone();
                let mailbox = name.clone();
                wanted.insert(
                    name.clone(),
                    watched(Place { account, mailbox }, events, known.id),
                );
            }
        }
        // Those of others: that are named, and that the list has and the client may read.
        let readable = |known: &Known| known.rights.is_some_and(|rights| rights.contains(Rights::READ));
        let shared = new.iter().filter(|(_, known)| readable(known));
        let mut theirs = notified.named();
        theirs.extend(shared.map(|(name, _)| name.clone()));
        let theirs = theirs.into_iter().map(|name| {
            let subscribed = new.get(&name).is_some_and(|known| known.subscribed);
            let events = notified.events_of(&name, false, subscribed);
            (name, events)
        });
        let theirs: Vec<(MailboxName, Events)> = theirs.collect();
        for (name, events) in theirs {
            if !wanted.contains_key(&name)
                && events.has(Events::NEW)
                && let Some(place) = self.place_of(name.clone())
                && place.account != account
            {
                wanted.insert(name, watched(place, events, None));
            }
        }
        if wanted.len() > MAX_WATCHED {
            return false;
        }
        self.change_watches(&account, wanted, places);
        true
    }

    /// What is watched already stays so, whatever it is called by now. Of what the client does not believe to be where it
    /// is all is told.
    fn change_watches(
        &mut self,
        account: &AccountName,
        wanted: BTreeMap<MailboxName, Watched>,
        places: &Places,
    ) {
        let Some(notified) = self.notified.as_mut() else {
            return;
        };
        let (mut own, mut others) = (BTreeMap::new(), BTreeMap::new());
        for (name, watched) in core::mem::take(&mut notified.boxes) {
            let dirty = notified.dirty.remove(&name);
            match watched.id.filter(|_| watched.place.account == *account) {
                Some(id) => drop(own.insert(id, (watched, dirty))),
                None => drop(others.insert(name, (watched, dirty))),
            }
        }
        let mut fresh = Vec::new();
        for (name, new) in wanted {
            let known = match &new.id {
                Some(id) => own.remove(id),
                None => others.remove(&name),
            };
            let Some((mut watched, mut dirty)) = known else {
                fresh.push((name, new));
                continue;
            };
            let strayed = core::mem::take(&mut watched.strayed);
            if new.id.is_some() && (strayed || places.get(&name) != Some(&new.id)) {
                watched.status = None;
                dirty = true;
            }
            watched.events = new.events;
            watched.place = new.place;
            notified.keep(name, watched, dirty);
        }
        let stale = own.into_values().chain(others.into_values());
        let stale: Vec<WatchId> = stale.filter_map(|(watched, _)| watched.watch).collect();
        for watch in stale {
            self.unwatch(watch);
        }
        for (name, watched) in fresh {
            self.begin_watch(name, watched);
        }
    }

    /// The numbers of a mailbox now.
    pub(super) fn notify_counted(
        &mut self,
        round: Box<Round>,
        name: &MailboxName,
        result: Result<MailboxStatus, Refusal>,
    ) {
        let status = match result {
            Ok(status) => status,
            Err(refused @ (Refusal::NoSuchMailbox | Refusal::NotPossible | Refusal::NotPermitted)) => {
                if refused == Refusal::NotPermitted {
                    // RFC 5465 §3.1, §5.9: it is seen, but may not be read.
                    let utf8 = self.enabled.utf8_names();
                    let out = self.out.text();
                    out.extend_from_slice(b"* LIST (\\NoAccess) \"/\" ");
                    response::mailbox(out, name, utf8);
                    response::end(out);
                }
                // The list tells what became of it.
                self.unwatch_box(name);
                return self.go_round(round);
            }
            Err(_) => {
                if let Some(watched) = self.watched(name) {
                    watched.missed = true;
                }
                return self.go_round(round);
            }
        };
        let selected = self.mailbox_selected();
        let Some(watched) = self.watched(name) else {
            return self.go_round(round);
        };
        let (events, id) = (watched.events, watched.id);
        let is_selected = selected
            .is_some_and(|selected| selected.id == status.id && selected.account == watched.place.account);
        let old = watched.status.replace(status);
        if watched.watch.is_none() || id.is_some_and(|id| id != status.id) {
            self.watch_again(name, status.id, status.modseq);
        }
        let items = match &round.why {
            Why::Command { status: true, .. } if !is_selected => Items::all(events.has(Events::FLAGS)),
            Why::Command { .. } => Items::default(),
            _ => {
                let condstore = self.enabled.condstore;
                old.map_or_else(
                    || Items {
                        unseen: events.has(Events::FLAGS),
                        ..Items::all(condstore)
                    },
                    |old| Items::changed(&old, &status, events, condstore),
                )
            }
        };
        self.write_numbers(name, &items, &status);
        if self.out.is_full() {
            self.out.pause();
        }
        self.go_round(round);
    }

    fn watched(&mut self, name: &MailboxName) -> Option<&mut Watched> {
        self.notified.as_mut()?.boxes.get_mut(name)
    }

    fn write_numbers(&mut self, name: &MailboxName, items: &Items, status: &MailboxStatus) {
        let all = [
            (items.messages, "MESSAGES", status.messages),
            (items.messages, "UIDNEXT", u64::from(status.uid_next.0)),
            (items.any(), "UIDVALIDITY", u64::from(status.uid_validity.0)),
            (items.unseen, "UNSEEN", status.unseen),
            (items.modseq, "HIGHESTMODSEQ", status.modseq.0),
        ];
        if !items.any() {
            return;
        }
        let utf8 = self.enabled.utf8_names();
        let out = self.out.text();
        out.extend_from_slice(b"* STATUS ");
        response::mailbox(out, name, utf8);
        let mut before: &[u8] = b" (";
        for (_, item, value) in all.into_iter().filter(|(wanted, ..)| *wanted) {
            out.extend_from_slice(before);
            out.extend_from_slice(item.as_bytes());
            out.push(b' ');
            response::number(out, value);
            before = b" ";
        }
        out.extend_from_slice(b")\r\n");
    }

    /// Of these messages, which are new and told by their numbers, what the client wants to know (RFC 5465 §5.2). False:
    /// nothing.
    pub(super) fn fetch_new(&mut self, after: After, last: Uid) -> Option<After> {
        let mine = self.take_mine();
        let items = self.notified.as_ref().map(|notified| notified.fetch.clone());
        let (Some(items), Some(open)) = (items.filter(|items| !items.is_empty()), &self.selected) else {
            return Some(after);
        };
        let told = open.view.told();
        let first = last
            .0
            .checked_add(1)
            .map_or(told.len(), |next| told.rank(Uid(next)));
        let mut ranks = Vec::new();
        let mut start = first;
        let strange = mine
            .iter()
            .filter_map(|uid| told.find(*uid))
            .map(|(rank, _)| rank);
        for rank in strange.chain([told.len()]) {
            if rank >= first {
                ranks.push(start..rank);
                start = rank + 1;
            }
        }
        ranks.retain(|range| !range.is_empty());
        if ranks.is_empty() {
            return Some(after);
        }
        let fetch = Fetch::unasked(after, items, Cursor::new(ranks), self.enabled);
        self.phase = Phase::Job(Job::Fetch(Box::new(fetch)));
        None
    }
}

/// Which numbers are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Items {
    /// MESSAGES and UIDNEXT; UIDVALIDITY is always told.
    messages: bool,
    unseen: bool,
    modseq: bool,
    uid_validity: bool,
}

impl Items {
    fn all(modseq: bool) -> Self {
        Self {
            messages: true,
            unseen: false,
            modseq,
            uid_validity: true,
        }
    }

    /// RFC 5465 §5.1 to §5.3.
    fn changed(old: &MailboxStatus, new: &MailboxStatus, events: Events, condstore: bool) -> Self {
        let flags = events.has(Events::FLAGS);
        let renewed = old.uid_validity != new.uid_validity;
        let messages = renewed || old.messages != new.messages || old.uid_next != new.uid_next;
        let modseq = condstore && old.modseq != new.modseq && (messages || flags);
        Self {
            messages,
            unseen: flags && (old.unseen != new.unseen || renewed),
            modseq,
            uid_validity: renewed,
        }
    }

    fn any(&self) -> bool {
        self.messages || self.unseen || self.modseq || self.uid_validity
    }
}
