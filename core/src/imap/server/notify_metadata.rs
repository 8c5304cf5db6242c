//! Telling that annotations have changed (RFC 5465 §5.6, §5.7): their names, as RFC 5464 §4.4.2 has it.
//!
//! Of what the client knows only names and digests of values are kept. The account's watch wakes the session; it asks for
//! the annotations of each mailbox that the client hears of, one call each, and tells those that differ.

use std::collections::{BTreeMap, BTreeSet};

use super::notify::MAX_NAMES;
use super::notify_news::Round;
use super::{Call, Session, Then};
use crate::imap::notify::Events;
use crate::imap::response;
use crate::mailbox::{Annotated, Annotations, Entry, MailboxName};
use crate::refusal::Refusal;

/// Annotations by name, each with a digest of its value.
pub(super) type Digests = BTreeMap<Entry, u64>;

/// Which annotations: those of a mailbox, or of the server.
pub(super) type About = Option<MailboxName>;

impl Session {
    /// The list has been looked at: the annotations of which the client hears are to be looked at too.
    pub(super) fn look_at_metadata(&mut self) {
        let Some(notified) = self.notified.as_mut() else {
            return;
        };
        let Some(known) = &notified.known else {
            return;
        };
        let hears = |(name, known): &(&MailboxName, &super::notify_list::Known)| {
            let events = notified.events_of(name, true, known.subscribed);
            known.id.is_some() && events.has(Events::METADATA)
        };
        let heard = known.iter().filter(hears).map(|(name, _)| Some(name.clone()));
        let mut all: BTreeSet<About> = heard.collect();
        if notified.hears_server() {
            all.insert(None);
        }
        notified.digests.retain(|about, _| all.contains(about));
        notified.metadata_dirty = all;
    }

    /// Asks for the next ones; gives the round back if there are none.
    pub(super) fn ask_metadata(&mut self, round: Box<Round>) -> Option<Box<Round>> {
        let account = self.account_name();
        let next = self
            .notified
            .as_mut()
            .and_then(|notified| notified.metadata_dirty.pop_first());
        let (Some(next), Some(account)) = (next, account) else {
            return Some(round);
        };
        let about = match &next {
            Some(name) => Annotated::Mailbox(account, name.clone()),
            None => Annotated::Server,
        };
        self.call(Call::Annotations { about }, Then::NotifyMetadata(round, next));
        None
    }

    /// The annotations now.
    pub(super) fn notify_annotated(
        &mut self,
        round: Box<Round>,
        about: About,
        result: Result<Annotations, Refusal>,
    ) {
        let Some(notified) = self.notified.as_mut() else {
            return self.go_round(round);
        };
        let Ok(all) = result else {
            // A mailbox that is gone is told of otherwise; anything else is looked at with the list again.
            notified.list_missed |= !matches!(result, Err(Refusal::NoSuchMailbox));
            return self.go_round(round);
        };
        let new: Digests = all
            .entries()
            .map(|(entry, value)| (entry.clone(), digest(value)))
            .collect();
        let kept: usize = notified.digests.values().map(BTreeMap::len).sum();
        if kept + new.len() > MAX_NAMES {
            return self.overflow(*round);
        }
        let old = notified
            .digests
            .insert(about.clone(), new.clone())
            .unwrap_or_default();
        if !round.is_command() {
            self.write_changed(about.as_ref(), &old, &new);
        }
        self.go_round(round);
    }

    /// `* METADATA name entry …`, if there is any that was changed or removed.
    fn write_changed(&mut self, about: Option<&MailboxName>, old: &Digests, new: &Digests) {
        let gone = old.keys().filter(|entry| !new.contains_key(*entry));
        let changed = new
            .iter()
            .filter(|(entry, value)| old.get(*entry) != Some(*value));
        let mut names: Vec<&Entry> = changed.map(|(entry, _)| entry).chain(gone).collect();
        if names.is_empty() {
            return;
        }
        names.sort_unstable();
        let utf8 = self.enabled.utf8_names();
        let out = self.out.text();
        out.extend_from_slice(b"* METADATA ");
        match about {
            Some(name) => response::mailbox(out, name, utf8),
            None => out.extend_from_slice(b"\"\""),
        }
        for entry in names {
            let top = if entry.whose.is_some() {
                "/private"
            } else {
                "/shared"
            };
            out.push(b' ');
            response::astring(out, [top, &entry.path].concat().as_bytes());
        }
        response::end(out);
    }
}

/// FNV-1a: enough to see that a value is another.
fn digest(value: &[u8]) -> u64 {
    value.iter().fold(0xcbf2_9ce4_8422_2325, |hash, octet| {
        (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3)
    })
}
