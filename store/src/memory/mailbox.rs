//! A mailbox: its numbers, its keywords, its messages, and what the operations do to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use rmail_core::addr::AccountName;
use rmail_core::imap::server::{CopyUid, MailboxStatus, Selected};
use rmail_core::limits::Limits;
use rmail_core::mailbox::{
    Acl, Annotations, FlagChange, FlagOp, Flags, Keyword, KeywordSet, Keywords, MailboxId, MailboxRef,
    ModSeq, Rights, Row, RowsBuilder, Snapshot, SpecialUse, SystemFlags, Uid, UidSet, UidValidity, Usage,
    Vanished,
};
use rmail_core::refusal::Refusal;
use rmail_core::time::{DateTime, Unix};

use crate::error::Result;
use crate::mailstore::Numbering;

use super::spool::Blob;

/// One mailbox. It does not know its name.
pub(super) struct Mailbox {
    reference: MailboxRef,
    uid_validity: UidValidity,
    special_use: Vec<SpecialUse>,
    /// Who else may do what with it.
    pub(super) acl: Acl,
    pub(super) annotations: Annotations,
    /// Ascends, and is never taken back.
    uid_next: Uid,
    /// Messages from this UID on were told to nobody as `\Recent`.
    recent_from: Uid,
    /// HIGHESTMODSEQ: every change takes the next.
    modseq: ModSeq,
    keywords: Arc<Keywords>,
    messages: BTreeMap<Uid, Message>,
    /// What was expunged when, for clients that come back (RFC 7162 §3.2.5.2).
    vanished: Vec<(ModSeq, UidSet)>,
    /// What was expunged up to here is not remembered.
    forgotten: ModSeq,
    /// What was last shown, until something changes: sessions that look at the same time share one.
    shown: Option<Snapshot>,
}

struct Message {
    row: Row,
    body: Blob,
}

/// A message that is to be added.
#[derive(Clone)]
pub(super) struct Incoming {
    pub(super) body: Blob,
    size: u32,
    flags: Flags,
    date: DateTime,
}

impl Incoming {
    /// Without a date: of now.
    pub(super) fn new(body: Blob, flags: Flags, date: Option<DateTime>, now: Unix) -> Result<Self> {
        let size = u32::try_from(body.len()).map_err(|_| Refusal::TooLarge)?;
        let date = date.unwrap_or_else(|| DateTime::from(now));
        Ok(Self {
            body,
            size,
            flags,
            date,
        })
    }

    pub(super) fn usage(&self) -> Usage {
        Usage::message(self.size.into())
    }
}

/// What was copied into a mailbox.
pub(super) struct TakenIn {
    pub(super) target: MailboxRef,
    pub(super) modseq: ModSeq,
    pub(super) uids: CopyUid,
}

impl Mailbox {
    /// An empty mailbox. Its identity is its first UIDVALIDITY.
    pub(super) fn new(account: &AccountName, uid_validity: UidValidity, special_use: &[SpecialUse]) -> Self {
        Self {
            reference: MailboxRef {
                account: account.clone(),
                id: MailboxId(uid_validity.0),
            },
            uid_validity,
            special_use: special_use.to_vec(),
            acl: Acl::default(),
            annotations: Annotations::default(),
            uid_next: Uid(1),
            recent_from: Uid(1),
            modseq: ModSeq(1),
            keywords: Arc::default(),
            messages: BTreeMap::new(),
            vanished: Vec::new(),
            forgotten: ModSeq(0),
            shown: None,
        }
    }

    pub(super) fn reference(&self) -> &MailboxRef {
        &self.reference
    }

    pub(super) fn uid_validity(&self) -> UidValidity {
        self.uid_validity
    }

    pub(super) fn special_use(&self) -> &[SpecialUse] {
        &self.special_use
    }

    pub(super) fn modseq(&self) -> ModSeq {
        self.modseq
    }

    /// A MODSEQ that nobody has seen: announced when the mailbox goes, so that everybody looks.
    pub(super) fn past(&self) -> ModSeq {
        ModSeq(self.modseq.0 + 1)
    }

    pub(super) fn usage(&self) -> Usage {
        let rows = self.messages.values().map(|message| &message.row);
        rows.map(|row| Usage::message(row.size.into())).sum()
    }

    pub(super) fn body(&self, uid: Uid) -> Option<Blob> {
        self.messages.get(&uid).map(|message| message.body.clone())
    }

    pub(super) fn snapshot(&mut self) -> Snapshot {
        let Self { messages, .. } = self;
        let build = || {
            let mut rows = RowsBuilder::default();
            messages.values().for_each(|message| rows.push(message.row));
            Snapshot {
                uid_validity: self.uid_validity,
                uid_next: self.uid_next,
                modseq: self.modseq,
                rows: rows.finish(),
                keywords: Arc::clone(&self.keywords),
            }
        };
        self.shown.get_or_insert_with(build).clone()
    }

    pub(super) fn status(&self) -> MailboxStatus {
        let count = |what: &dyn Fn(&Row) -> bool| {
            let rows = self.messages.values().map(|message| &message.row);
            rows.filter(|row| what(row)).count() as u64
        };
        MailboxStatus {
            id: self.reference.id,
            messages: self.messages.len() as u64,
            recent: count(&|row| row.uid >= self.recent_from),
            unseen: count(&|row| !row.flags.contains(SystemFlags::SEEN)),
            deleted: count(&|row| row.flags.contains(SystemFlags::DELETED)),
            deleted_size: self.deleted_octets(),
            size: self.usage().octets,
            uid_next: self.uid_next,
            uid_validity: self.uid_validity,
            modseq: self.modseq,
        }
    }

    fn deleted_octets(&self) -> u64 {
        let rows = self.messages.values().map(|message| &message.row);
        let deleted = rows.filter(|row| row.flags.contains(SystemFlags::DELETED));
        deleted.map(|row| u64::from(row.size)).sum()
    }

    /// Shows the mailbox to a session. What is `\Recent` there is so in no later one, unless it only reads.
    pub(super) fn select(&mut self, read_only: bool) -> Selected {
        let recent_from = self.recent_from;
        if !read_only {
            self.recent_from = self.uid_next;
        }
        Selected {
            mailbox: self.reference.clone(),
            snapshot: self.snapshot(),
            recent_from,
            read_only,
            rights: Rights::ALL,
        }
    }

    /// What was not `\Recent` in any session is so in one that asks for it.
    pub(super) fn claim_recent(&mut self) -> (Uid, Uid) {
        (
            core::mem::replace(&mut self.recent_from, self.uid_next),
            self.uid_next,
        )
    }

    /// Something changes: it takes the next MODSEQ.
    pub(super) fn change(&mut self) -> ModSeq {
        self.modseq.0 += 1;
        self.shown = None;
        self.modseq
    }

    /// Goes on above this MODSEQ.
    pub(super) fn raise_modseq(&mut self, above: ModSeq) {
        if self.modseq <= above {
            self.modseq = above;
            self.change();
        }
    }

    /// Whether so many messages can be added.
    ///
    /// # Errors
    /// `MailboxFull`: there are not so many UIDs left.
    pub(super) fn check_room(&self, count: usize, limits: &Limits) -> Result<()> {
        let count = u32::try_from(count).ok();
        let end = count.and_then(|count| self.uid_next.0.checked_add(count));
        match end {
            Some(end) if end <= limits.last_uid => Ok(()),
            _ => Err(Refusal::MailboxFull.into()),
        }
    }

    /// Adds messages under the next UIDs: all of them or, after an error, none.
    pub(super) fn add(&mut self, news: Vec<Incoming>, limits: &Limits, now: Unix) -> Result<Vec<Uid>> {
        self.check_room(news.len(), limits)?;
        let uids: Vec<Uid> = (self.uid_next.0..).take(news.len()).map(Uid).collect();
        self.add_as(&uids, news, limits, now)?;
        Ok(uids)
    }

    /// Adds messages that bring their UIDs with them, and perhaps the mailbox's UIDVALIDITY and UIDNEXT.
    ///
    /// # Errors
    /// `NotPossible`: the UIDs do not ascend from UIDNEXT, or the mailbox has had messages under its own UIDVALIDITY.
    /// `MailboxFull`: the UIDs are above the last.
    pub(super) fn add_numbered(
        &mut self,
        numbering: Numbering,
        uids: &[Uid],
        news: Vec<Incoming>,
        limits: &Limits,
        now: Unix,
    ) -> Result<()> {
        let other = |value: &UidValidity| *value != self.uid_validity;
        let sets = numbering.uid_validity.filter(other);
        if sets.is_some_and(|value| value.0 == 0 || self.uid_next != Uid(1)) {
            return Err(Refusal::NotPossible.into());
        }
        let mut next = self.uid_next;
        for uid in uids {
            if *uid < next {
                return Err(Refusal::NotPossible.into());
            }
            next = Uid(uid.0.checked_add(1).ok_or(Refusal::MailboxFull)?);
        }
        next = next.max(numbering.uid_next.unwrap_or_default());
        if next.0 > limits.last_uid && next > self.uid_next {
            return Err(Refusal::MailboxFull.into());
        }
        self.add_as(uids, news, limits, now)?;
        self.change();
        self.uid_next = next;
        self.uid_validity = sets.unwrap_or(self.uid_validity);
        Ok(())
    }

    /// Adds messages under these UIDs, which ascend from UIDNEXT.
    fn add_as(&mut self, uids: &[Uid], news: Vec<Incoming>, limits: &Limits, now: Unix) -> Result<()> {
        let mut keywords = Arc::clone(&self.keywords);
        let mut sets = Vec::with_capacity(news.len());
        for new in &news {
            let bits = bits_of(Arc::make_mut(&mut keywords), &new.flags.keywords, limits)?;
            sets.push(Arc::make_mut(&mut keywords).intern(bits));
        }
        if news.is_empty() {
            return Ok(());
        }
        self.keywords = keywords;
        let modseq = self.change();
        for ((new, keywords), uid) in news.into_iter().zip(sets).zip(uids.iter().copied()) {
            self.uid_next = Uid(uid.0 + 1);
            let row = Row {
                date: new.date.unix,
                modseq,
                keywords,
                uid,
                size: new.size,
                save_date: u32::try_from(now.secs()).unwrap_or(u32::MAX),
                zone: new.date.zone.clamp(-1_439, 1_439),
                flags: new.flags.system,
            };
            let body = new.body;
            self.messages.insert(uid, Message { row, body });
        }
        Ok(())
    }

    /// What there is of these messages, ascending, as something that can be added elsewhere.
    pub(super) fn choose(&self, uids: &UidSet) -> (Vec<Uid>, Vec<Incoming>) {
        let chosen = self.messages.iter().filter(|(uid, _)| uids.contains(**uid));
        let new = |message: &Message| Incoming {
            body: message.body.clone(),
            size: message.row.size,
            flags: Flags {
                system: message.row.flags,
                keywords: self.keywords.of(message.row.keywords).cloned().collect(),
            },
            date: message.row.internal_date(),
        };
        chosen.map(|(uid, message)| (*uid, new(message))).unzip()
    }

    /// Adds messages that were chosen elsewhere.
    pub(super) fn take_in(
        &mut self,
        source: Vec<Uid>,
        news: Vec<Incoming>,
        limits: &Limits,
        now: Unix,
    ) -> Result<TakenIn> {
        let target = self.add(news, limits, now)?;
        Ok(TakenIn {
            target: self.reference.clone(),
            modseq: self.modseq,
            uids: CopyUid {
                uid_validity: self.uid_validity,
                source,
                target,
            },
        })
    }

    /// Changes flags. Returns the messages that were left alone because they have changed since.
    pub(super) fn store(
        &mut self,
        uids: &UidSet,
        change: &FlagChange,
        unchanged_since: Option<ModSeq>,
        limits: &Limits,
    ) -> Result<UidSet> {
        let mut wanted = change.flags.keywords.clone();
        if change.op == FlagOp::Remove {
            // What no message has need not be known.
            wanted.retain(|keyword| self.keywords.bit(keyword).is_some());
        }
        let mut keywords = Arc::clone(&self.keywords);
        let by = (
            change.flags.system,
            bits_of(Arc::make_mut(&mut keywords), &wanted, limits)?,
        );
        let mut modified = UidSet::new();
        let mut changed: Vec<(Uid, SystemFlags, KeywordSet)> = Vec::new();
        for row in self.messages.values().map(|message| &message.row) {
            if !uids.contains(row.uid) {
                continue;
            }
            if unchanged_since.is_some_and(|since| row.modseq > since) {
                modified.push(row.uid);
                continue;
            }
            let old = (row.flags, keywords.bits(row.keywords));
            let new = apply(change.op, old, by);
            if new != old {
                changed.push((row.uid, new.0, Arc::make_mut(&mut keywords).intern(new.1)));
            }
        }
        self.keywords = keywords;
        if !changed.is_empty() {
            let modseq = self.change();
            for (uid, flags, keywords) in changed {
                if let Some(message) = self.messages.get_mut(&uid) {
                    message.row = Row {
                        modseq,
                        flags,
                        keywords,
                        ..message.row
                    };
                }
            }
        }
        Ok(modified)
    }

    /// Messages with `\Deleted`, of these if some are given.
    pub(super) fn deleted(&self, uids: Option<&UidSet>) -> Vec<Uid> {
        let rows = self.messages.values().map(|message| &message.row);
        rows.filter(|row| row.flags.contains(SystemFlags::DELETED))
            .filter(|row| uids.is_none_or(|uids| uids.contains(row.uid)))
            .map(|row| row.uid)
            .collect()
    }

    /// Removes messages for good.
    pub(super) fn remove(&mut self, uids: &[Uid], limits: &Limits) {
        if uids.is_empty() {
            return;
        }
        let modseq = self.change();
        for uid in uids {
            self.messages.remove(uid);
        }
        self.vanished.push((modseq, uids.iter().copied().collect()));
        if self.vanished.len() > limits.expunge_log {
            // The older half is forgotten.
            let half = self.vanished.len().div_ceil(2);
            let mut older = self.vanished.drain(..half);
            self.forgotten = older.next_back().map_or(self.forgotten, |(modseq, _)| modseq);
        }
    }

    /// What was expunged after the first MODSEQ, up to the second.
    pub(super) fn vanished(&self, since: ModSeq, until: ModSeq) -> Vanished {
        if since >= until {
            return Vanished::These(UidSet::new());
        }
        if since < self.forgotten {
            return Vanished::Forgotten;
        }
        let news = self.vanished.iter();
        let news = news.filter(|(modseq, _)| *modseq > since && *modseq <= until);
        let ranges = news.flat_map(|(_, uids)| uids.ranges());
        Vanished::These(UidSet::from_ranges(
            ranges.map(|range| (*range.start(), *range.end())),
        ))
    }
}

/// The bitmap of these keywords; new ones get a bit.
///
/// # Errors
/// `TooManyKeywords`.
fn bits_of(known: &mut Keywords, wanted: &[Keyword], limits: &Limits) -> Result<[u64; 4]> {
    let mut bits = [0_u64; 4];
    for keyword in wanted {
        let bit = match known.bit(keyword) {
            Some(bit) => bit,
            None if known.names().len() >= limits.keywords => return Err(Refusal::TooManyKeywords.into()),
            None => known.push(keyword.clone()).ok_or(Refusal::TooManyKeywords)?,
        };
        if let Some(word) = bits.get_mut(bit / 64) {
            *word |= 1 << (bit % 64);
        }
    }
    Ok(bits)
}

type Bits = (SystemFlags, [u64; 4]);

/// The flags after a change by these.
fn apply(op: FlagOp, old: Bits, by: Bits) -> Bits {
    let mix = |how: fn(u64, u64) -> u64| {
        let mut mixed = old.1;
        mixed
            .iter_mut()
            .zip(by.1)
            .for_each(|(old, by)| *old = how(*old, by));
        mixed
    };
    match op {
        FlagOp::Replace => by,
        FlagOp::Add => (old.0.with(by.0), mix(|old, by| old | by)),
        FlagOp::Remove => (old.0.without(by.0), mix(|old, by| old & !by)),
    }
}
