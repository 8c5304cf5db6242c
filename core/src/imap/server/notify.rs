//! NOTIFY (RFC 5465): what a client wants to hear of, and the command that says so.
//!
//! Of the selected mailbox the same walk tells as everywhere ([`super::news`]); what NOTIFY changes is what of it is told
//! ([`Telling`]), and that the session speaks between commands. Of other mailboxes it tells STATUS, of the list of
//! mailboxes LIST, and of annotations METADATA. It has one watch for each such mailbox and one for the account's list; and
//! if what it hears of reaches mailboxes of others, one for the list of each account that shares something with it, since
//! those come and go, and rights to them, with their owner's list. When one of them is woken it asks for the present state
//! and tells the difference to what it knew (`notify_news.rs`, `notify_list.rs`, `notify_metadata.rs`). So a flood of
//! changes costs one answer a look, and nothing is lost if a look fails.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::news::After;
use super::notify_list::{Known, OwnChange};
use super::notify_metadata::{About, Digests};
use super::notify_news::{Round, Why};
use super::place::Place;
use super::view::Telling;
use super::{MailboxStatus, Session};
use crate::addr::AccountName;
use crate::imap::command::{FetchItem, MailboxArg};
use crate::imap::notify::{Events, Filter, Group, Notify};
use crate::machine::{Action, LOOKS_LATER, Scope, WatchId};
use crate::mailbox::{MailboxId, MailboxName, MailboxRef, ModSeq, Uid, others};

/// Mailboxes whose messages one session may watch. Who asks for more is refused, and who comes to have more is told
/// NOTIFICATIONOVERFLOW.
pub(super) const MAX_WATCHED: usize = 1_024;

/// Names of mailboxes that a session keeps in mind, to tell what became of them; beyond is an overflow too.
pub(super) const MAX_NAMES: usize = 16_384;

/// Changes of its own that a session keeps in mind so as not to tell of them.
const MAX_OWN: usize = 64;

/// Messages of its own that a session keeps in mind so as not to fetch them unasked.
const MAX_MINE: usize = 256;

/// What can be asked for, as BADEVENT lists it.
const SUPPORTED: Events = Events::NEW
    .with(Events::EXPUNGE)
    .with(Events::FLAGS)
    .with(Events::NAME)
    .with(Events::SUBSCRIPTION)
    .with(Events::METADATA)
    .with(Events::SERVER_METADATA);

/// What the client hears of, and what it knows.
#[derive(Debug)]
pub(super) struct Notified {
    /// Of the selected mailbox.
    selected: Events,
    /// Expunges are told at once, not only where a command may tell of them.
    immediate: bool,
    /// What is told of a new message.
    pub(super) fetch: Vec<FetchItem>,
    /// Of other mailboxes.
    groups: Vec<Group>,
    /// The session may speak: it is between commands, and was not when it last looked whether there is something to say.
    pub(super) speaks: bool,
    /// The command that asked for this is not answered yet: whatever has gathered is told (RFC 5465 §3.1).
    settling: bool,
    /// The client itself removes messages: expunges are told whatever else it wants to hear.
    removing: bool,
    /// The watch of the list, and whether it has to be looked at.
    list: Option<WatchId>,
    pub(super) list_dirty: bool,
    /// It could not be looked at; again later.
    pub(super) list_missed: bool,
    /// Watches of the lists of those who share something with the user.
    pub(super) owners: BTreeMap<AccountName, WatchId>,
    /// The list as told; none before the first look.
    pub(super) known: Option<BTreeMap<MailboxName, Known>>,
    /// Other mailboxes whose messages it hears of, by what they are called.
    pub(super) boxes: BTreeMap<MailboxName, Watched>,
    watches: BTreeMap<WatchId, MailboxName>,
    pub(super) dirty: BTreeSet<MailboxName>,
    /// Annotations as told, and those to be looked at.
    pub(super) digests: BTreeMap<About, Digests>,
    pub(super) metadata_dirty: BTreeSet<About>,
    /// Changes of the list by this client.
    pub(super) own: VecDeque<OwnChange>,
    /// Messages that this client has put into the selected mailbox.
    mine: Vec<Uid>,
}

/// A mailbox whose messages the client hears of.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) place: Place,
    pub(super) events: Events,
    pub(super) id: Option<MailboxId>,
    pub(super) watch: Option<WatchId>,
    /// As told, or as the client may know it.
    pub(super) status: Option<MailboxStatus>,
    /// It could not be looked at; again later.
    pub(super) missed: bool,
    /// Its numbers were told under a name that belongs to another mailbox in the list as told: that could not be looked at
    /// first. Once the client hears of the list it has them wrong.
    pub(super) strayed: bool,
}

impl Watched {
    /// Whether it is this mailbox: ids are unique in their account.
    pub(super) fn is(&self, mailbox: &MailboxRef) -> bool {
        self.id == Some(mailbox.id) && self.place.account == mailbox.account
    }
}

impl Notified {
    /// Of nothing.
    fn nothing() -> Self {
        Self {
            selected: Events::NONE,
            immediate: false,
            fetch: Vec::new(),
            groups: Vec::new(),
            speaks: false,
            removing: false,
            settling: true,
            list: None,
            list_dirty: false,
            list_missed: false,
            owners: BTreeMap::new(),
            known: None,
            boxes: BTreeMap::new(),
            watches: BTreeMap::new(),
            dirty: BTreeSet::new(),
            digests: BTreeMap::new(),
            metadata_dirty: BTreeSet::new(),
            own: VecDeque::new(),
            mine: Vec::new(),
        }
    }

    fn new(groups: Vec<Group>) -> Self {
        let mut new = Self::nothing();
        for group in groups {
            match group.filter {
                Filter::Selected | Filter::SelectedDelayed => {
                    new.selected = group.events;
                    new.immediate = group.filter == Filter::Selected;
                    new.fetch = group.fetch;
                }
                _ if group.events.is_empty() => {}
                _ => new.groups.push(group),
            }
        }
        new
    }

    /// Whether the client hears of anything.
    pub(super) fn is_active(&self) -> bool {
        !self.selected.is_empty() || !self.groups.is_empty()
    }

    /// What it hears of a mailbox that is not the selected one. `own`: it is the user's.
    pub(super) fn events_of(&self, name: &MailboxName, own: bool, subscribed: bool) -> Events {
        let is = |named: &MailboxArg| named.as_ref() == Ok(name);
        let is_in = |top: &MailboxArg| top.as_ref().is_ok_and(|top| name == top || name.is_below(top));
        let matching = self.groups.iter().filter(|group| match &group.filter {
            // Mail is delivered there and nowhere else.
            Filter::Inboxes => own && name.is_inbox(),
            Filter::Personal => own,
            Filter::Subscribed => subscribed,
            Filter::Subtree(tops) => tops.iter().any(is_in),
            Filter::Mailboxes(names) => names.iter().any(is),
            Filter::Selected | Filter::SelectedDelayed => false,
        });
        matching.fold(Events::NONE, |all, group| all.with(group.events))
    }

    /// The mailboxes that are asked for by their names.
    pub(super) fn named(&self) -> BTreeSet<MailboxName> {
        let lists = self.groups.iter().filter_map(|group| match &group.filter {
            Filter::Subtree(names) | Filter::Mailboxes(names) => Some(names),
            _ => None,
        });
        lists
            .flatten()
            .filter_map(|name| name.as_ref().ok().cloned())
            .collect()
    }

    /// Whether it hears of mailboxes of others, some of which may be among the names that are subscribed.
    pub(super) fn reaches_others<'a>(&self, mut subscribed: impl Iterator<Item = &'a MailboxName>) -> bool {
        let by_subscription = |group: &Group| matches!(group.filter, Filter::Subscribed);
        self.named().iter().any(others::is_theirs)
            || (self.groups.iter().any(by_subscription) && subscribed.any(others::is_theirs))
    }

    /// Whether it hears of the server's annotations.
    pub(super) fn hears_server(&self) -> bool {
        let mut groups = self.groups.iter();
        groups.any(|group| group.events.has(Events::SERVER_METADATA))
    }

    /// Whether it hears of the selected mailbox.
    pub(super) fn hears_selected(&self) -> bool {
        !self.selected.is_empty()
    }

    /// What may be told of the selected mailbox now.
    fn telling(&self, after: &After) -> Telling {
        let expunges = match after {
            After::Ready => self.immediate,
            after => after.expunges(),
        };
        if self.settling {
            return Telling {
                uid: self.while_idle().uid,
                ..Telling::from(expunges)
            };
        }
        Telling {
            gone: expunges && (self.selected.has(Events::EXPUNGE) || self.removing),
            ..self.while_idle()
        }
    }

    /// The same while the client idles.
    pub(super) fn while_idle(&self) -> Telling {
        Telling {
            fresh: self.selected.has(Events::NEW),
            flags: self.selected.has(Events::FLAGS),
            gone: self.selected.has(Events::EXPUNGE),
            uid: self.selected.has(Events::FLAGS),
        }
    }

    /// Something that is watched may have changed.
    pub(super) fn wake(&mut self, watch: WatchId) {
        if self.list == Some(watch) || self.owners.values().any(|owner| *owner == watch) {
            self.list_dirty = true;
        } else if let Some(name) = self.watches.get(&watch) {
            self.dirty.insert(name.clone());
        }
    }

    /// What could not be looked at is to be looked at again.
    pub(super) fn retry(&mut self) {
        self.list_dirty |= core::mem::take(&mut self.list_missed);
        for (name, watched) in &mut self.boxes {
            if core::mem::take(&mut watched.missed) {
                self.dirty.insert(name.clone());
            }
        }
    }

    /// Keeps a mailbox under this name.
    pub(super) fn keep(&mut self, name: MailboxName, watched: Watched, dirty: bool) {
        if let Some(watch) = watched.watch {
            self.watches.insert(watch, name.clone());
        }
        if dirty {
            self.dirty.insert(name.clone());
        }
        self.boxes.insert(name, watched);
    }

    /// The first mailbox to be looked at. The selected one waits until it is no longer selected: what is told of it then
    /// is told here.
    pub(super) fn next_dirty(&self, selected: Option<&MailboxRef>) -> Option<&MailboxName> {
        let waits = |name: &&MailboxName| {
            let watched = self.boxes.get(*name);
            watched.is_some_and(|watched| selected.is_some_and(|selected| watched.is(selected)))
        };
        self.dirty.iter().find(|name| !waits(name))
    }
}

impl Session {
    /// NOTIFY.
    pub(super) fn notify(&mut self, tag: String, wanted: Notify) {
        let (status, groups, known) = match wanted {
            Notify::None => {
                let old = self.notified.replace(Box::new(Notified::nothing()));
                self.unwatch_all(old);
                return self.look(tag, "OK NOTIFY completed");
            }
            Notify::Set {
                status,
                groups,
                known,
            } => (status, groups, known),
        };
        let all = |group: &Group| group.events.and(SUPPORTED) == group.events;
        if !known || !groups.iter().all(all) {
            return self.complete(tag, bad_event());
        }
        let new = Notified::new(groups);
        if new.fetch.len() > self.settings.limits.bodies_per_call {
            return self.complete(tag, "NO [LIMIT] Too many items to fetch");
        }
        let looks = !new.groups.is_empty();
        let old = self.notified.replace(Box::new(new));
        let round = Round::new(Why::Command { tag, status, old });
        if let (true, Some(account)) = (looks, self.account_name()) {
            let watch = self.watch(Scope::List(account), LOOKS_LATER);
            if let Some(notified) = self.notified.as_mut() {
                notified.list = Some(watch);
                notified.list_dirty = true;
            }
        }
        self.go_round(round);
    }

    /// NOTIFY SET is prepared: the old setting goes.
    pub(super) fn notify_is_set(&mut self, tag: String, old: Option<Box<Notified>>) {
        self.unwatch_all(old);
        self.look(tag, "OK NOTIFY completed");
    }

    /// NOTIFY SET is refused: the old setting stays.
    pub(super) fn notify_is_refused(&mut self, tag: String, old: Option<Box<Notified>>, text: String) {
        let new = core::mem::replace(&mut self.notified, old);
        self.unwatch_all(new);
        self.complete(tag, text);
    }

    /// It has become too much (RFC 5465 §5.8).
    pub(super) fn notify_overflows(&mut self) {
        let mut nothing = Notified::nothing();
        nothing.settling = false;
        let old = self.notified.replace(Box::new(nothing));
        self.unwatch_all(old);
        self.out
            .line("* OK [NOTIFICATIONOVERFLOW] Too many mailboxes; nothing is notified any more");
    }

    fn unwatch_all(&mut self, old: Option<Box<Notified>>) {
        let Some(old) = old else {
            return;
        };
        let watches = old.watches.into_keys().chain(old.list);
        let watches = watches.chain(old.owners.into_values());
        for watch in watches {
            self.out.push(Action::Unwatch(watch));
        }
    }

    /// Begins to watch a mailbox, if it is known which; it is looked at then.
    pub(super) fn begin_watch(&mut self, name: MailboxName, mut watched: Watched) {
        if let Some(id) = watched.id {
            let account = watched.place.account.clone();
            watched.watch = Some(self.watch(Scope::Mailbox(MailboxRef { account, id }), LOOKS_LATER));
        }
        if let Some(notified) = self.notified.as_mut() {
            notified.keep(name, watched, true);
        }
    }

    /// It has been looked at, and is not the one that is watched: that one is, from what was seen on.
    pub(super) fn watch_again(&mut self, name: &MailboxName, id: MailboxId, seen: ModSeq) {
        let Some(mut watched) = self
            .notified
            .as_mut()
            .and_then(|notified| notified.boxes.remove(name))
        else {
            return;
        };
        let account = watched.place.account.clone();
        let watch = self.watch(Scope::Mailbox(MailboxRef { account, id }), seen);
        let old = watched.watch.replace(watch);
        watched.strayed |= watched.id.replace(id).is_some_and(|old| old != id);
        if let Some(old) = old {
            self.unwatch(old);
        }
        if let Some(notified) = self.notified.as_mut() {
            notified.keep(name.clone(), watched, false);
        }
    }

    pub(super) fn unwatch(&mut self, watch: WatchId) {
        self.out.push(Action::Unwatch(watch));
        if let Some(notified) = self.notified.as_mut() {
            notified.watches.remove(&watch);
        }
    }

    /// No longer watches a mailbox.
    pub(super) fn unwatch_box(&mut self, name: &MailboxName) {
        let Some(notified) = self.notified.as_mut() else {
            return;
        };
        notified.dirty.remove(name);
        let watched = notified.boxes.remove(name);
        if let Some(watch) = watched.and_then(|watched| watched.watch) {
            self.unwatch(watch);
        }
    }

    /// What may be told of the selected mailbox now, before this goes on.
    pub(super) fn telling(&self, after: &After) -> Telling {
        match &self.notified {
            Some(notified) => notified.telling(after),
            None => Telling::from(after.expunges()),
        }
    }

    /// Whether the client wants to hear of expunges at all.
    pub(super) fn wants_expunges(&self) -> bool {
        let notified = self.notified.as_ref();
        notified.is_none_or(|notified| notified.while_idle().gone)
    }

    /// A command is answered: what was set by it counts, and what could not be looked at is tried again.
    pub(super) fn command_is_over(&mut self) {
        if let Some(notified) = self.notified.as_mut() {
            notified.settling = false;
            notified.speaks = true;
            notified.removing = false;
            notified.retry();
        }
    }

    /// Something that is watched may have changed. In the middle of a command that comes in the session waits for its end.
    pub(super) fn woken(&mut self, watch: WatchId) {
        let between = self.inbox.is_empty() && self.parser.is_between();
        if let Some(notified) = self.notified.as_mut() {
            notified.wake(watch);
            notified.speaks |= between;
        }
    }

    /// Whether the client wants to hear of anything at any time.
    pub(super) fn listens(&self) -> bool {
        self.notified
            .as_ref()
            .is_some_and(|notified| notified.is_active())
    }

    /// The client itself changes the list, which is not news to it (RFC 5465 §5).
    pub(super) fn note_own(&mut self, change: OwnChange) {
        if let Some(notified) = self.notified.as_mut().filter(|notified| notified.list.is_some()) {
            notified.own.push_back(change);
            if notified.own.len() > MAX_OWN {
                notified.own.pop_front();
            }
        }
    }

    /// The client itself has put these messages into the selected mailbox (RFC 5465 §5.2).
    pub(super) fn note_mine(&mut self, uids: &[Uid]) {
        if let Some(notified) = self
            .notified
            .as_mut()
            .filter(|notified| !notified.fetch.is_empty())
        {
            let room = MAX_MINE.saturating_sub(notified.mine.len());
            notified.mine.extend(uids.iter().take(room));
        }
    }

    /// The client itself has removed messages of the selected mailbox.
    pub(super) fn note_removal(&mut self) {
        if let Some(notified) = self.notified.as_mut() {
            notified.removing = true;
        }
    }

    /// Those messages, in order; they are asked for once.
    pub(super) fn take_mine(&mut self) -> Vec<Uid> {
        let mine = self.notified.as_mut();
        let mut mine = mine.map_or_else(Vec::new, |notified| core::mem::take(&mut notified.mine));
        mine.sort_unstable();
        mine
    }
}

/// RFC 5465 §3.1: with all that can be asked for.
fn bad_event() -> String {
    let mut text = "NO [BADEVENT (".to_owned();
    let supported = Events::NAMES.iter().filter(|(event, _)| SUPPORTED.has(*event));
    for (at, (_, name)) in supported.enumerate() {
        if at > 0 {
            text.push(' ');
        }
        text.push_str(name);
    }
    text.push_str(")] Not all of these events can be notified");
    text
}
