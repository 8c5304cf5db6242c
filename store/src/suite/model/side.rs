//! One of the two stores: does an operation, and says in words that mean the same on every store what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rmail_core::addr::AccountName;
use rmail_core::mailbox::{FlagChange, MailboxRef, ModSeq, Quota, Snapshot, SpecialUse, Uid, UidSet};
use rmail_core::refusal::Refusal;
use rmail_core::time::{DateTime, Unix};

use super::draw::{New, Op, Places, Room};
use crate::error::Result;
use crate::mailstore::{MailStore, Numbering};
use crate::suite::returning::brings_up_to_date;
use crate::suite::words::{Ear, NOW, User, all, entry, flags, name};

/// Mailboxes that are selected at a time.
const MAX_OPEN: usize = 5;

/// Snapshots of each that are remembered.
const MAX_PAST: usize = 12;

/// One of the two.
pub(super) struct Side<S: MailStore> {
    store: Arc<S>,
    now: Unix,
    open: Vec<Opened<S>>,
    /// Bodies that were opened, and what they hold.
    blobs: Vec<S::Blob>,
    /// How mailboxes were when they were shown last.
    shown: BTreeMap<MailboxRef, Snapshot>,
    /// All identities that were seen, for their order.
    identities: BTreeSet<MailboxRef>,
}

/// A selected mailbox.
struct Opened<S: MailStore> {
    user: User<S>,
    reference: MailboxRef,
    ear: Ear,
    /// Snapshots that were shown in it, for conditional changes.
    past: Vec<Snapshot>,
    /// A UID that was expunged here.
    expunged: Option<Uid>,
}

/// What an operation said.
pub(super) type Told = core::result::Result<String, Refusal>;

fn told<T: core::fmt::Debug>(result: Result<T>) -> Told {
    result
        .map(|value| format!("{value:?}"))
        .map_err(|error| error.refusal)
}

/// Places of UIDs in a mailbox.
fn places_of<'u>(snapshot: &Snapshot, uids: impl IntoIterator<Item = &'u Uid>) -> Vec<Option<usize>> {
    let find = |uid: &Uid| snapshot.rows.find(*uid).map(|(place, _)| place);
    uids.into_iter().map(find).collect()
}

impl<S: MailStore> Side<S> {
    pub(super) fn new(store: &Arc<S>) -> Self {
        Self {
            store: Arc::clone(store),
            now: NOW,
            open: Vec::new(),
            blobs: Vec::new(),
            shown: BTreeMap::new(),
            identities: BTreeSet::new(),
        }
    }

    fn user(&self, local: &str) -> User<S> {
        User::of(&self.store, local)
    }

    /// A mailbox as it is now, by name; nobody notices.
    async fn look(&self, user: &User<S>, mailbox: &str) -> Option<Snapshot> {
        let selected = self
            .store
            .select(&user.account, &name(mailbox), true)
            .await
            .ok()?;
        self.store.unselect(&selected.mailbox).await;
        Some(selected.snapshot)
    }

    pub(super) async fn apply(&mut self, op: &Op) -> Told {
        match op {
            Op::Clock => {
                self.now = Unix::from_secs(self.now.secs() + 7);
                Ok(String::new())
            }
            Op::CreateAccount(user) => {
                let account = self.user(user).account;
                told(self.store.create_account(&account, self.now).await)
            }
            Op::DeleteAccount(user) => {
                let account = self.user(user).account;
                // What is made again has higher numbers once the clock has moved on.
                self.now = Unix::from_secs(self.now.secs() + 1_000);
                self.open.retain(|open| open.user.account != account);
                told(self.store.delete_account(&account).await)
            }
            Op::Create(user, mailbox, special) => {
                let uses = usize::try_from(*special)
                    .ok()
                    .and_then(|at| SpecialUse::ALL.get(at..=at));
                let uses = if *special == 0 {
                    &[]
                } else {
                    uses.unwrap_or_default()
                };
                let account = self.user(user).account;
                told(self.store.create(&account, &name(mailbox), uses, self.now).await)
            }
            Op::Delete(user, mailbox) => {
                let account = self.user(user).account;
                told(self.store.delete(&account, &name(mailbox)).await)
            }
            Op::Rename(user, from, to) => {
                let account = self.user(user).account;
                let renamed = self
                    .store
                    .rename(&account, &name(from), &name(to), self.now)
                    .await;
                told(renamed)
            }
            Op::Subscribe(user, mailbox, on) => {
                let account = self.user(user).account;
                told(self.store.subscribe(&account, &name(mailbox), *on).await)
            }
            Op::Append(user, mailbox, news, room) => self.append(user, mailbox, news, *room).await,
            Op::AppendNumbered(user, mailbox, news, next) => {
                self.append_numbered(user, mailbox, news, *next).await
            }
            Op::RaiseModseq(user, mailbox, by) => {
                let user = self.user(user);
                let now = self.look(&user, mailbox).await;
                let above = ModSeq(now.map_or(1, |now| (now.modseq.0 + by).saturating_sub(9)));
                let raised = self
                    .store
                    .raise_modseq(&user.account, &name(mailbox), above)
                    .await;
                let raised = told(raised)?;
                let now = self.look(&user, mailbox).await.expect("it is there");
                assert!(now.modseq > above);
                Ok(raised)
            }
            Op::Deliver(users, text, queued) => {
                let mut accounts = Vec::new();
                for (user, room) in users {
                    let account = self.user(user).account;
                    let quota = self.quota(&account, *room).await;
                    // A delivery that is refused may have made it.
                    let made = self.store.create_account(&account, self.now).await;
                    made.expect("make the account");
                    accounts.push((account, quota));
                }
                let entry = queued.map(|number| entry(&format!("q{number}"), "x@elsewhere.test", text.len()));
                let spool = self.user("nobody").spool(text).await;
                let delivered = self
                    .store
                    .deliver(spool, &accounts, entry.as_ref(), self.now)
                    .await;
                told(delivered)
            }
            Op::Select(user, mailbox, read_only) => self.select(user, mailbox, *read_only).await,
            Op::SaveOutbound(place, words) => {
                let Some(mut entry) = self.queued(*place).await else {
                    return Ok("nothing".to_owned());
                };
                entry.recipients[0].attempts += 1;
                entry.recipients[0].last = Some(words.clone());
                told(self.store.save_outbound(&entry).await)
            }
            Op::RemoveOutbound(place) => match self.queued(*place).await {
                None => Ok("nothing".to_owned()),
                Some(entry) => told(self.store.remove_outbound(&entry.id).await),
            },
            Op::Unselect(place)
            | Op::Store(place, ..)
            | Op::Copy(place, ..)
            | Op::Move(place, ..)
            | Op::Expunge(place, _)
            | Op::Open(place, _) => {
                if self.open.is_empty() {
                    return Ok("nothing".to_owned());
                }
                let place = place % self.open.len();
                self.apply_selected(place, op).await
            }
        }
    }

    async fn queued(&self, place: usize) -> Option<rmail_core::relay::entry::Entry> {
        let mut entries = self.store.load_outbound().await.expect("load");
        entries.sort_by(|a, b| a.id.cmp(&b.id));
        (!entries.is_empty()).then(|| entries.swap_remove(place % entries.len()))
    }

    async fn quota(&self, account: &AccountName, room: Room) -> Quota {
        let usage = self.store.usage(account).await.expect("usage");
        Quota {
            octets: room.map(|room| usage.octets + room),
            messages: None,
        }
    }

    async fn append(&mut self, user: &str, mailbox: &str, news: &[New], room: Room) -> Told {
        let user = self.user(user);
        let quota = self.quota(&user.account, room).await;
        let mut messages = Vec::new();
        for (text, system, words, unix) in news {
            let date = DateTime {
                unix: *unix,
                zone: 60,
            };
            messages.push((user.spool(text).await, flags(*system, words), Some(date)));
        }
        let appended = self
            .store
            .append(&user.account, &name(mailbox), messages, &quota, self.now)
            .await
            .map_err(|error| error.refusal)?;
        let now = self.look(&user, mailbox).await.expect("it is there");
        assert_eq!(appended.uid_validity, now.uid_validity);
        Ok(format!("{:?}", places_of(&now, &appended.uids)))
    }

    async fn append_numbered(
        &mut self,
        user: &str,
        mailbox: &str,
        news: &[(u32, New)],
        next: Option<u32>,
    ) -> Told {
        let user = self.user(user);
        let before = self.look(&user, mailbox).await;
        let mut uid = before.map_or(1, |before| before.uid_next.0);
        let mut messages = Vec::new();
        for (gap, (text, system, words, unix)) in news {
            // Once in a while one that is taken.
            uid = (uid + gap).saturating_sub(u32::from(unix % 8 == 0));
            let date = DateTime {
                unix: *unix,
                zone: -60,
            };
            let spool = user.spool(text).await;
            messages.push((Uid(uid), spool, flags(*system, words), Some(date)));
            uid += 1;
        }
        let numbering = Numbering {
            uid_validity: None,
            uid_next: next.map(|next| Uid(uid + next)),
        };
        let appended = self
            .store
            .append_numbered(&user.account, &name(mailbox), numbering, messages, self.now)
            .await
            .map_err(|error| error.refusal)?;
        let now = self.look(&user, mailbox).await.expect("it is there");
        assert!(now.uid_next >= numbering.uid_next.unwrap_or_default());
        Ok(format!("{:?}", places_of(&now, &appended.uids)))
    }

    async fn select(&mut self, user: &str, mailbox: &str, read_only: bool) -> Told {
        let user = self.user(user);
        let selected = self
            .store
            .select(&user.account, &name(mailbox), read_only)
            .await
            .map_err(|error| error.refusal)?;
        let snapshot = selected.snapshot;
        let recent = snapshot.rows.iter().filter(|row| row.uid >= selected.recent_from);
        let recent = recent.count();
        if self.open.len() == MAX_OPEN {
            let closed = self.open.remove(0);
            self.store.unselect(&closed.reference).await;
        }
        self.open.push(Opened {
            ear: user.watch(&selected.mailbox, snapshot.modseq),
            user,
            reference: selected.mailbox,
            past: vec![snapshot],
            expunged: None,
        });
        Ok(format!("{recent} recent"))
    }

    async fn apply_selected(&mut self, place: usize, op: &Op) -> Told {
        let reference = self.open[place].reference.clone();
        let quota = match op {
            Op::Copy(.., room) => self.quota(&reference.account, *room).await,
            _ => Quota::UNLIMITED,
        };
        let open = &mut self.open[place];
        let store = &self.store;
        let before = store.snapshot(&reference).await.map_err(|error| error.refusal);
        if let Op::Unselect(_) = op {
            let closed = self.open.remove(place);
            store.unselect(&closed.reference).await;
            return Ok("unselected".to_owned());
        }
        // Of a mailbox that is gone every operation has to say so.
        let shown = before.clone().ok();
        let uids = |places: &Places| match (places, &shown) {
            (Places::Some(places, strangers), Some(shown)) => {
                let count = shown.rows.len().max(1);
                let rows = places.iter().filter_map(|place| shown.rows.get(place % count));
                let mut uids: Vec<(u32, u32)> = rows.map(|row| (row.uid.0, row.uid.0)).collect();
                if *strangers {
                    let coming = shown.uid_next.0 + 3;
                    uids.push((coming, coming));
                    uids.extend(open.expunged.map(|uid| (uid.0, uid.0)));
                }
                UidSet::from_ranges(uids)
            }
            _ => all(),
        };
        match op {
            Op::Store(_, places, how, system, words, since) => {
                let past = |at: usize| open.past[at % open.past.len()].modseq;
                let since: Option<ModSeq> = since.map(past);
                let change = FlagChange {
                    op: *how,
                    flags: flags(*system, words),
                };
                let stored = store.store(&reference, &uids(places), &change, since).await;
                let stored = stored.map_err(|error| error.refusal)?;
                let before = before?;
                let modified: Vec<Uid> = stored.modified.iter().collect();
                let modified = places_of(&before, &modified);
                open.past.push(stored.snapshot);
                Ok(format!("modified {modified:?}"))
            }
            Op::Copy(_, places, to, _) | Op::Move(_, places, to) => {
                let uids = uids(places);
                let done = match op {
                    Op::Copy(..) => store.copy(&reference, &uids, &name(to), &quota, self.now).await,
                    _ => store.r#move(&reference, &uids, &name(to), self.now).await,
                };
                let (copied, after) = done.map_err(|error| error.refusal)?;
                if let (Op::Move(..), Some(uid)) = (op, copied.source.last()) {
                    open.expunged = Some(*uid);
                }
                open.past.push(after);
                let user = open.user.clone();
                let target = self.look(&user, to).await.expect("it is there");
                assert_eq!(copied.uid_validity, target.uid_validity);
                let (source, target) = (
                    places_of(&before?, &copied.source),
                    places_of(&target, &copied.target),
                );
                Ok(format!("{source:?} to {target:?}"))
            }
            Op::Expunge(_, places) => {
                let uids = places.as_ref().map(uids);
                let after = store.expunge(&reference, uids.as_ref()).await;
                let after = after.map_err(|error| error.refusal)?;
                let mut gone = before?.rows.iter().map(|row| row.uid).collect::<Vec<_>>();
                gone.retain(|uid| after.rows.find(*uid).is_none());
                open.expunged = gone.last().copied().or(open.expunged);
                open.past.push(after);
                Ok(format!("{} are gone", gone.len()))
            }
            Op::Open(_, at) => {
                let row = shown
                    .as_ref()
                    .and_then(|shown| shown.rows.get(at % shown.rows.len().max(1)));
                let uid = row.map_or(Uid(1), |row| row.uid);
                let blob = store.open(&reference, uid).await.map_err(|error| error.refusal)?;
                let found = blob.is_some();
                self.blobs.extend(blob);
                Ok(format!("opened {found}"))
            }
            _ => Ok(String::new()),
        }
    }

    /// Everything that is to be seen of the store now.
    pub(super) async fn show(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for local in ["alice", "bob"] {
            let user = self.user(local);
            let usage = self.store.usage(&user.account).await.expect("usage");
            lines.push(format!("{local} uses {usage:?}"));
            for entry in user.list().await {
                let mailbox = entry.name.to_string();
                lines.push(format!("{local}: {entry:?}"));
                if entry.selectable {
                    self.show_mailbox(&user, local, &mailbox, &mut lines).await;
                }
            }
        }
        for (place, open) in self.open.iter_mut().enumerate() {
            let heard = open.ear.heard();
            let snapshot = self.store.snapshot(&open.reference).await;
            if let (Ok(now), Some(last)) = (&snapshot, open.past.last()) {
                assert!(
                    heard || now.modseq == last.modseq || !now_differs(now, last),
                    "it was not announced"
                );
            }
            let count = snapshot.as_ref().map(|snapshot| snapshot.rows.len());
            lines.push(format!(
                "open {place}: {:?}",
                count.map_err(|error| error.refusal)
            ));
            if let Ok(now) = snapshot {
                // Clients that know what was shown before come back.
                for before in &open.past {
                    let vanished = self.store.vanished(&open.reference, before.modseq, &now).await;
                    brings_up_to_date(before, &vanished.expect("vanished"), &now);
                }
                open.past.push(now);
                if open.past.len() > MAX_PAST {
                    open.past.remove(0);
                }
            }
        }
        let reader = self.user("nobody");
        for blob in &self.blobs {
            let octets = reader.read_all(blob).await;
            lines.push(format!("open message {}", String::from_utf8_lossy(&octets)));
        }
        let mut entries = self.store.load_outbound().await.expect("load");
        entries.sort_by(|a, b| a.id.cmp(&b.id));
        for entry in entries {
            let blob = self.store.open_outbound(&entry.id).await.expect("open");
            let octets = reader.read_all(&blob).await;
            lines.push(format!("{entry:?} {}", String::from_utf8_lossy(&octets)));
        }
        lines
    }

    async fn show_mailbox(&mut self, user: &User<S>, local: &str, mailbox: &str, lines: &mut Vec<String>) {
        let status = user.status(mailbox).await;
        let selected = self.store.select(&user.account, &name(mailbox), true).await;
        let selected = selected.expect("select");
        let (reference, now) = (selected.mailbox, selected.snapshot);
        assert_eq!(
            (status.uid_next, status.uid_validity, status.modseq),
            (now.uid_next, now.uid_validity, now.modseq)
        );
        self.identities.insert(reference.clone());
        let ours = self
            .identities
            .iter()
            .filter(|known| known.account == reference.account);
        let identity = ours.take_while(|known| **known < reference).count();
        let before = self.shown.insert(reference.clone(), now.clone());
        if let Some(before) = &before {
            assert!(now.modseq >= before.modseq && now.uid_next >= before.uid_next);
            assert_eq!(now.uid_validity, before.uid_validity);
            assert!(
                now.modseq > before.modseq || !now_differs(&now, before),
                "a change without MODSEQ"
            );
        }
        lines.push(format!(
            "{local}/{mailbox} is the {identity}th: {} messages, {} recent, {} unseen, {} deleted, {} octets",
            status.messages, status.recent, status.unseen, status.deleted, status.size
        ));
        for (place, row) in now.rows.iter().enumerate() {
            assert!(row.modseq <= now.modseq && row.uid < now.uid_next);
            let mut words: Vec<&str> = now.keywords.of(row.keywords).map(|word| word.as_str()).collect();
            words.sort_unstable();
            let news = before.as_ref().map(|before| {
                let known = before.rows.find(row.uid).is_some();
                (known, row.modseq > before.modseq)
            });
            let text = user.text(&reference, row.uid.0).await;
            lines.push(format!(
                "{local}/{mailbox} {place}: {text:?} {:?} {words:?} {:?} saved {} known and changed {news:?}",
                row.flags,
                row.internal_date(),
                row.save_date
            ));
        }
        self.store.unselect(&reference).await;
    }
}

/// Whether a client would see a difference.
fn now_differs(now: &Snapshot, before: &Snapshot) -> bool {
    now.rows.len() != before.rows.len()
        || now
            .rows
            .iter()
            .zip(before.rows.iter())
            .any(|(now, before)| now != before)
}
