//! COPY and MOVE.
//!
//! MOVE never loses: (1) under the target's lock all messages are linked; (2) the target is synced; (3) under the
//! source's lock, a few at a time, those whose flags are still those of the link are unlinked; (4) the source is synced.
//! Where the flags have changed meanwhile the target gets them first, and step 3 is done again; what has gone meanwhile
//! is expunged from the target and left out of COPYUID.

use std::collections::BTreeMap;
use std::sync::Arc;

use rmail_core::imap::server::CopyUid;
use rmail_core::mailbox::{FlagOp, Keyword, ModSeq, Quota, Row, Snapshot, Uid, UidSet, UidValidity, Usage};
use rmail_core::refusal::Refusal;
use rmail_core::time::Unix;

use crate::disk::Disk;
use crate::error::Result;

use super::add::{ATTEMPTS, Added, seconds};
use super::change::{Done, FlagBits};
use super::hold::Hold;
use super::io::During as _;
use super::ledger::Transit;
use super::mailbox::{Mailbox, View};
use super::present::{Present, open_shard, present_name, source_words};
use super::quota::Ticket;
use super::spool::{Body, link_fails};
use super::sync::Touched;
use super::{FileStore, names};

/// How often MOVE follows flags that change meanwhile; what still changes then stays where it is.
const ROUNDS: usize = 8;

/// A message that was linked into the target.
struct Pair {
    /// As it was when it was linked; its keywords are the source's.
    source: Row,
    bits: [u64; 4],
    target: Uid,
    /// Of the target, as this operation left it.
    modseq: ModSeq,
    /// Somebody else has given the target flags, which were answered, before this operation changed it again.
    claimed: bool,
}

/// What linking into the target gave.
enum Outcome<D: Disk> {
    Linked(Added<D>, Vec<Pair>),
    /// These have to be copied first.
    Copy(Vec<Uid>),
    /// Whether a message has gone is only to be seen under the source's lock.
    Again,
    /// The reservation has to be renewed; nothing was changed.
    Stale,
}

/// What is to be linked.
struct Chosen<'a> {
    uids: &'a UidSet,
    view: View,
    rows: Vec<Row>,
}

impl<'a> Chosen<'a> {
    fn new(uids: &'a UidSet, view: View) -> Self {
        let rows = view.snapshot.rows.of(uids).copied().collect();
        Self { uids, view, rows }
    }
}

/// Room for what is linked.
struct Room<D: Disk> {
    ticket: Option<Ticket<D>>,
    transit: Option<Transit<D>>,
}

impl<D: Disk> FileStore<D> {
    pub(super) async fn copy_to(
        &self,
        source: &Arc<Mailbox<D>>,
        uids: &UidSet,
        target: &Arc<Mailbox<D>>,
        quota: &Quota,
        now: Unix,
    ) -> Result<(CopyUid, Snapshot)> {
        let (uid_validity, pairs, _) = self.link_and_keep(source, uids, target, Some(quota), now).await?;
        Ok((copy_uid(uid_validity, &pairs), self.look_after(source).await?))
    }

    pub(super) async fn move_to(
        &self,
        source: &Arc<Mailbox<D>>,
        uids: &UidSet,
        target: &Arc<Mailbox<D>>,
        now: Unix,
    ) -> Result<(CopyUid, Snapshot)> {
        let linked = self.link_and_keep(source, uids, target, None, now).await?;
        let (uid_validity, pairs, transit) = linked;
        let mut moving = Moving {
            left: pairs,
            moved: Vec::new(),
            gone: Vec::new(),
            done: Done::new(source),
        };
        let result = self.unlink_source(source, target, &mut moving).await;
        // What is not moved exists twice now, or was moved or expunged by somebody else: the new one goes, unless somebody
        // has given it flags, which were answered. Then it is as good as moved.
        let gone = core::mem::take(&mut moving.gone);
        let left = core::mem::take(&mut moving.left);
        let back = self.take_back_unchanged(target, &left).await.map(drop);
        let kept = self.take_back_unchanged(target, &gone).await;
        let settled = self.settle_removed(&moving.done, transit).await;
        result.and(back).and(settled)?;
        let kept = kept?;
        let kept = gone.into_iter().filter(|pair| kept.contains(&pair.target));
        moving.moved.extend(kept);
        moving.moved.sort_by_key(|pair| pair.target);
        let snapshot = self.look_after(source).await?;
        self.prune(&moving.done.touched, snapshot.uid_next).await;
        self.trim_parsed(&moving.done.touched).await;
        Ok((copy_uid(uid_validity, &moving.moved), snapshot))
    }

    /// Links the messages into the target, synced and announced. Without a quota it is for MOVE, which has them twice for
    /// a while.
    async fn link_and_keep(
        &self,
        source: &Arc<Mailbox<D>>,
        uids: &UidSet,
        target: &Arc<Mailbox<D>>,
        quota: Option<&Quota>,
        now: Unix,
    ) -> Result<(UidValidity, Vec<Pair>, Option<Transit<D>>)> {
        let (view, _) = self.look(source).await?;
        let from = (&**source, view.snapshot.uid_validity);
        let rows = Chosen::new(uids, view);
        if rows.rows.is_empty() {
            let (view, _) = self.look(target).await?;
            return Ok((view.snapshot.uid_validity, Vec::new(), None));
        }
        let mut room = self.reserve_rows(source, quota, &rows).await?;
        let linked = self.link_all(source, target, rows, quota, &mut room, now).await;
        let Room { ticket, mut transit } = room;
        let (added, pairs) = match linked {
            Ok(linked) => linked,
            Err(error) => {
                if let Some(ticket) = ticket {
                    self.give_back(ticket).await;
                }
                return Err(error);
            }
        };
        if let Some(ticket) = ticket {
            let made = pairs.iter().map(|pair| Usage::message(pair.source.size.into()));
            let spare = ticket.more().without(made.sum());
            if let Some(transit) = &mut transit {
                transit.reduce(spare);
            }
            self.give_some_back(&ticket, spare).await;
        }
        let (modseq, uid_validity) = (added.modseq, added.uid_validity);
        if !pairs.is_empty() {
            self.keep(vec![added], &[]).await?;
            let records: Vec<(Row, Uid)> = pairs.iter().map(|pair| (pair.source, pair.target)).collect();
            self.copy_parsed(from, (target, uid_validity), &records, seconds(now))
                .await;
            self.announce(target, modseq);
        }
        Ok((uid_validity, pairs, transit))
    }

    /// Reserves room for these rows.
    async fn reserve_rows(
        &self,
        source: &Mailbox<D>,
        quota: Option<&Quota>,
        chosen: &Chosen<'_>,
    ) -> Result<Room<D>> {
        let rows = chosen.rows.iter();
        let more = rows.map(|row| Usage::message(row.size.into())).sum();
        let unlimited = Quota::UNLIMITED;
        let account = &source.reference.account;
        let ticket = self.reserve(account, quota.unwrap_or(&unlimited), more).await?;
        let ticket = ticket.ok_or(Refusal::OverQuota)?;
        let transit = quota.is_none().then(|| self.in_transit(&ticket));
        Ok(Room {
            ticket: Some(ticket),
            transit,
        })
    }

    /// Links the messages into the target: visible, but not synced.
    async fn link_all(
        &self,
        source: &Arc<Mailbox<D>>,
        target: &Arc<Mailbox<D>>,
        mut chosen: Chosen<'_>,
        quota: Option<&Quota>,
        room: &mut Room<D>,
        now: Unix,
    ) -> Result<(Added<D>, Vec<Pair>)> {
        let mut copies: BTreeMap<Uid, Body<D>> = BTreeMap::new();
        for _ in 0..=chosen.rows.len() + ATTEMPTS {
            let Some(ticket) = &mut room.ticket else { break };
            let mut hold = self.hold(target).await?;
            let linked = hold.link_rows(source, &chosen, &mut copies, ticket, now).await;
            match linked {
                Ok(Outcome::Linked(mut added, pairs)) => {
                    drop(hold);
                    added.touched.mailbox = Arc::clone(target);
                    return Ok((added, pairs));
                }
                Ok(Outcome::Stale) => {
                    drop(hold);
                    self.renew(ticket).await?;
                }
                Ok(Outcome::Copy(wanted)) => {
                    hold.mend().await?;
                    drop(hold);
                    self.remake(&mut copies, target).await?;
                    for uid in wanted {
                        if let Some(body) = self.copy_of(source, &chosen.view, uid, target).await? {
                            copies.insert(uid, body);
                        }
                    }
                }
                Ok(Outcome::Again) => {
                    hold.mend().await?;
                    drop(hold);
                    drop(self.hold_fresh(source).await?);
                    chosen = Chosen::new(chosen.uids, self.look(source).await?.0);
                    if let Some(ticket) = room.ticket.take() {
                        self.give_back(ticket).await;
                    }
                    *room = self.reserve_rows(source, quota, &chosen).await?;
                    self.remake(&mut copies, target).await?;
                }
                Err(error) => {
                    let _ = hold.mend().await;
                    return Err(error);
                }
            }
        }
        Err(Refusal::Busy.into())
    }

    /// Copies that had got names in a turn that failed are made again.
    async fn remake(&self, copies: &mut BTreeMap<Uid, Body<D>>, target: &Mailbox<D>) -> Result<()> {
        for body in copies.values_mut().filter(|body| body.named.is_some()) {
            *body = self.duplicate(&body.file, body.size, &target.shards).await?;
        }
        Ok(())
    }

    /// A copy of a message's octets on the target's file system.
    async fn copy_of(
        &self,
        source: &Arc<Mailbox<D>>,
        view: &View,
        uid: Uid,
        target: &Mailbox<D>,
    ) -> Result<Option<Body<D>>> {
        let Some(blob) = self.open_blob(source, view, uid).await? else {
            return Ok(None);
        };
        let size = u32::try_from(blob.len).map_err(|_| Refusal::TooLarge)?;
        self.duplicate(&blob.file, size, &target.shards).await.map(Some)
    }

    /// Steps 3 and the following of flags.
    async fn unlink_source(
        &self,
        source: &Arc<Mailbox<D>>,
        target: &Arc<Mailbox<D>>,
        moving: &mut Moving<D>,
    ) -> Result<()> {
        for _ in 0..ROUNDS {
            let mut changed: Vec<(Pair, Row, FlagBits)> = Vec::new();
            while !moving.left.is_empty() {
                self.unlink_some(source, moving, &mut changed).await?;
                self.gap().await;
            }
            if changed.is_empty() {
                return Ok(());
            }
            let followed = self.follow(source, target, &mut changed).await;
            moving.left = changed.into_iter().map(|(pair, ..)| pair).collect();
            followed?;
        }
        Ok(())
    }

    /// Unlinks as many as fit one hold of the lock.
    async fn unlink_some(
        &self,
        source: &Arc<Mailbox<D>>,
        moving: &mut Moving<D>,
        changed: &mut Vec<(Pair, Row, FlagBits)>,
    ) -> Result<()> {
        let mut hold = match self.hold_fresh(source).await {
            Ok(hold) => hold,
            Err(error) => {
                moving.left.extend(changed.drain(..).map(|(pair, ..)| pair));
                return Err(error);
            }
        };
        let result = hold.unlink_pairs(moving, changed).await;
        if result.is_err() {
            hold.give_up().await;
            moving.done.modseq = hold.state.done;
            moving.left.extend(changed.drain(..).map(|(pair, ..)| pair));
        }
        result
    }

    /// Expunges what this operation has linked into the target, unless it has been changed since; those UIDs are returned.
    async fn take_back_unchanged(&self, target: &Arc<Mailbox<D>>, pairs: &[Pair]) -> Result<Vec<Uid>> {
        if pairs.is_empty() {
            return Ok(Vec::new());
        }
        let hold = self.hold_fresh(target).await?;
        let changed = |pair: &&Pair| {
            let row = hold.own(pair.target);
            row.is_some_and(|row| pair.claimed || row.modseq > pair.modseq)
        };
        let (kept, back): (Vec<&Pair>, Vec<&Pair>) = pairs.iter().partition(changed);
        let back: Vec<Uid> = back.iter().map(|pair| pair.target).collect();
        self.take_back_held(hold, target, &back).await?;
        Ok(kept.iter().map(|pair| pair.target).collect())
    }

    /// Gives the target the flags that the source has now. Messages that have left the target meanwhile are taken out:
    /// they stay in the source, for nobody else has those flags.
    async fn follow(
        &self,
        source: &Arc<Mailbox<D>>,
        target: &Arc<Mailbox<D>>,
        changed: &mut Vec<(Pair, Row, FlagBits)>,
    ) -> Result<()> {
        let (view, _) = self.look(source).await?;
        let mut touched = Touched::new(target);
        let mut hold = self.hold_fresh(target).await?;
        let (mut changes, mut claimed) = (Vec::new(), Vec::new());
        changed.retain(|(pair, ..)| hold.own(pair.target).is_some());
        for (pair, _, bits) in changed.iter() {
            let names = named(view.snapshot.keywords.names(), bits.keywords);
            let keywords = hold.keyword_bits(&names).await?;
            let Some(row) = hold.own(pair.target) else {
                continue;
            };
            let mut new = FlagBits {
                system: bits.system,
                keywords,
            };
            if pair.claimed || row.modseq > pair.modseq {
                // Somebody has changed the target too: both changes were answered.
                claimed.push(pair.target);
                new = hold.flag_bits(&row).changed(FlagOp::Add, new);
            }
            changes.push((row, new));
        }
        if let Err(error) = hold.rename(&changes, &mut touched).await {
            hold.give_up().await;
            drop(hold);
            // The links that are taken back do not need their flags; one that somebody else has changed does.
            let _ = self.settle_flags(target, &touched).await;
            return Err(error);
        }
        let modseq = hold.state.done;
        drop(hold);
        for (pair, row, bits) in changed.iter_mut() {
            pair.claimed |= claimed.contains(&pair.target);
            pair.source = *row;
            pair.bits = bits.keywords;
            pair.modseq = modseq;
        }
        // The source is the only other place that has these flags: they are synced before it goes.
        self.sync_touched(&[touched], &[]).await?;
        self.announce(target, modseq);
        Ok(())
    }
}

/// A MOVE under way, after the target is safe.
struct Moving<D: Disk> {
    /// Still in the source.
    left: Vec<Pair>,
    moved: Vec<Pair>,
    /// Gone from the source by somebody else.
    gone: Vec<Pair>,
    done: Done<D>,
}

fn copy_uid(uid_validity: UidValidity, pairs: &[Pair]) -> CopyUid {
    CopyUid {
        uid_validity,
        source: pairs.iter().map(|pair| pair.source.uid).collect(),
        target: pairs.iter().map(|pair| pair.target).collect(),
    }
}

/// The keywords of a bitmap.
fn named(names: &[Keyword], bits: [u64; 4]) -> Vec<Keyword> {
    let has = |bit: usize| bits.get(bit / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1);
    let all = names.iter().enumerate();
    all.filter(|(bit, _)| has(*bit))
        .map(|(_, keyword)| keyword.clone())
        .collect()
}

impl<D: Disk> Hold<'_, D> {
    /// Links messages of another mailbox (or of this one) under new UIDs, in one change.
    async fn link_rows(
        &mut self,
        source: &Arc<Mailbox<D>>,
        chosen: &Chosen<'_>,
        copies: &mut BTreeMap<Uid, Body<D>>,
        ticket: &Ticket<D>,
        now: Unix,
    ) -> Result<Outcome<D>> {
        let Chosen { view, rows, .. } = chosen;
        let modseq = self.numbers(rows.len()).await?;
        self.begin(modseq).await?;
        if !self.store.stands(ticket).await? {
            self.finish().await?;
            return Ok(Outcome::Stale);
        }
        let first = self.state.uid_next;
        let (mut uid, mut pairs) = (first, Vec::with_capacity(rows.len()));
        let (mut to, mut from) = (None, None);
        let mut words = view.snapshot.keywords.names().to_vec();
        for row in rows {
            let to = self.shard_dir(uid, &mut to).await?;
            let bits = view.snapshot.keywords.bits(row.keywords);
            let mut present = Some((*row, bits));
            let mut tries = 0;
            while let Some((old, bits)) = present {
                let keywords = self.keyword_bits(&named(&words, bits)).await?;
                let new = Row {
                    uid,
                    modseq,
                    save_date: seconds(now),
                    ..old
                };
                let new_name = names::encode(&new, keywords);
                let placed = match copies.get_mut(&row.uid) {
                    Some(body) => self.store.place(body, &to, &new_name).await,
                    None => {
                        let Some(from) = open_shard(self.store, source, row.uid, &mut from).await? else {
                            break;
                        };
                        let old_name = names::encode(&old, bits);
                        self.store.disk().link(&from, &old_name, &to, &new_name).await
                    }
                };
                match placed {
                    Ok(()) => {
                        self.put_with(new, keywords);
                        pairs.push(Pair {
                            source: old,
                            bits,
                            target: uid,
                            modseq,
                            claimed: false,
                        });
                        uid.0 += 1;
                        break;
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound && tries < 3 => {
                        tries += 1;
                        let dir = open_shard(self.store, source, row.uid, &mut from).await?;
                        let found = match dir {
                            Some(dir) => present_name(self.store, &dir, row.uid).await?,
                            None => Present::Gone,
                        };
                        present = match found {
                            Present::Named(row, bits) => Some((row, bits)),
                            Present::Gone => None,
                            Present::Unknown => return Ok(Outcome::Again),
                        };
                        // The new name may have keywords that are newer than the view.
                        words = source_words(self.store, source).await?;
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::TooManyLinks => {
                        return Ok(Outcome::Copy(vec![row.uid]));
                    }
                    Err(error) if link_fails(&error) && copies.is_empty() => {
                        // No link can be made here at all.
                        return Ok(Outcome::Copy(rows.iter().map(|row| row.uid).collect()));
                    }
                    Err(error) => {
                        return Err(error).during(|| format!("link into {}", self.mailbox.label()));
                    }
                }
            }
        }
        let mut touched = Touched::new(source);
        touched.shards.extend(self.touched());
        self.publish_uids(uid).await?;
        let added = Added {
            uids: (first.0..uid.0).map(Uid).collect(),
            modseq,
            uid_validity: self.status().uid_validity,
            touched,
        };
        Ok(Outcome::Linked(added, pairs))
    }

    /// Step 3 of MOVE for the next few messages.
    async fn unlink_pairs(
        &mut self,
        moving: &mut Moving<D>,
        changed: &mut Vec<(Pair, Row, FlagBits)>,
    ) -> Result<()> {
        let count = self.store.limits().names_per_hold.max(1).min(moving.left.len());
        let mut gone = Vec::new();
        let mut go = Vec::new();
        for pair in moving.left.drain(..count) {
            match self.own(pair.source.uid) {
                None => gone.push(pair),
                Some(row) => {
                    let now = self.flag_bits(&row);
                    if now.system == pair.source.flags && now.keywords == pair.bits {
                        go.push(pair);
                    } else {
                        changed.push((pair, row, now));
                    }
                }
            }
        }
        moving.gone.append(&mut gone);
        let uids: Vec<Uid> = go.iter().map(|pair| pair.source.uid).collect();
        if let Err(error) = self.remove(&uids, &mut moving.done.touched).await {
            // Some may be unlinked: those must stay in the target.
            for pair in go {
                if self.is_dropped(pair.source.uid) {
                    moving.moved.push(pair);
                } else {
                    moving.left.push(pair);
                }
            }
            return Err(error);
        }
        moving.moved.append(&mut go);
        moving.done.modseq = self.state.done;
        Ok(())
    }
}
