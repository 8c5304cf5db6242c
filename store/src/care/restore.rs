//! `rmail restore`: messages of a backup come back into a store that may be in use.
//!
//! A mailbox that is not there, or has never had a message, becomes what it was: the same UIDs, and the same UIDVALIDITY.
//! What came after the backup is unknown, and clients may remember it: UIDNEXT and HIGHESTMODSEQ are therefore set so far
//! above those of the backup ([`UID_GAP`], [`MODSEQ_GAP`]) that what they remember is not given again. Its identity
//! (MAILBOXID) is a new one. Two mailboxes may then have one UIDVALIDITY, if the one in the backup was renamed and is still
//! there: clients know it by name and UIDVALIDITY together (RFC 9051 §2.3.1.1).
//!
//! Into a mailbox that has messages only those are put that it has not: the same octets with the same INTERNALDATE. Two
//! equal messages of the backup need two in the mailbox. They get new UIDs.
//!
//! Nothing that is there is changed or removed. Each message is compared with the manifest while it is read; one that is
//! not what was backed up is told, and left out. A restore that was cut short is done again: what has come back is found
//! as present. The quota is not asked: what is put back was there before.

mod files;

use std::collections::{BTreeSet, HashMap};
use std::io;

use rmail_core::addr::{AccountName, Domain};
use rmail_core::chunk::Chunk;
use rmail_core::mailbox::{
    Flags, Keyword, MailboxName, MailboxRef, ModSeq, Quota, Row, SpecialUse, Uid, UidValidity,
};
use rmail_core::refusal::Refusal;
use rmail_core::time::{DateTime, Unix};
use sha2::{Digest as _, Sha256};

use crate::disk::{Disk, Mode};
use crate::error::{Error, Result};
use crate::escape::escape;
use crate::file::io::found;
use crate::file::names;
use crate::mailstore::{MailStore, Numbering};

use files::{beside, file_of, named_file};

use super::backup::manifest::{Broken, Line, MailboxLine, MessageLine, Reader, hex};
use super::places::open_path;

/// UIDs that are passed over: more than may have come after the backup.
pub const UID_GAP: u32 = 1_000_000;

/// MODSEQs that are passed over.
pub const MODSEQ_GAP: u64 = 1 << 32;

/// Messages that are put back at once, and octets of them.
const BATCH: (usize, u64) = (50, 8 << 20);

/// Octets read at once.
const BLOCK: usize = 128 * 1024;

/// What is put back.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whose mail, in the backup and in the store.
    pub account: AccountName,
    /// Only these mailboxes; empty: all.
    pub mailboxes: Vec<MailboxName>,
    /// The name that the one mailbox gets.
    pub rename: Option<MailboxName>,
    /// Only tell.
    pub dry_run: bool,
    /// Now.
    pub now: Unix,
}

/// What happens meanwhile.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A mailbox is begun, with so many messages in the backup.
    Mailbox(&'a MailboxName, u64),
    /// A message of the backup is done.
    Message,
    /// A message cannot be put back: where it is, and why.
    Problem(&'a str, &'a str),
    /// A mailbox is done.
    Done(&'a Restored),
}

/// What became of a mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Its name now.
    pub mailbox: MailboxName,
    /// It was made.
    pub made: bool,
    /// UIDVALIDITY and UIDs are those of the backup.
    pub same_uids: bool,
    /// Messages that were put back (or would be).
    pub restored: u64,
    /// Messages that it had.
    pub present: u64,
    /// Messages that could not be put back.
    pub problems: u64,
}

/// Why nothing was put back.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The backup is not to be used.
    #[error("{0}")]
    Broken(#[from] Broken),
    /// It has no such account.
    #[error("it has no mail of {0}")]
    NoAccount(AccountName),
    /// It has no such mailbox.
    #[error("it has no mailbox {0}")]
    NoMailbox(MailboxName),
    /// The store refused.
    #[error("{0}")]
    Store(#[from] Error),
}

/// The `user.json` of an account in a backup, if it is what was backed up.
///
/// # Errors
/// The backup is not to be used.
pub async fn user_file<D: Disk>(
    disk: &D,
    set: &D::Dir,
    account: &AccountName,
) -> core::result::Result<Option<Vec<u8>>, Broken> {
    file_of(disk, set, account, "user.json").await
}

/// The `aliases.json` of a domain in a backup, if it is what was backed up.
///
/// # Errors
/// The backup is not to be used.
pub async fn aliases_file<D: Disk>(
    disk: &D,
    set: &D::Dir,
    domain: &Domain,
) -> core::result::Result<Option<Vec<u8>>, Broken> {
    match escape(domain.as_str()) {
        Some(name) => named_file(disk, set, &format!("domains/{name}/aliases.json")).await,
        None => Ok(None),
    }
}

/// Puts the mailboxes of an account back.
///
/// # Errors
/// See [`Failed`]. What was put back before stays.
pub async fn run<S: MailStore, D: Disk>(
    store: &S,
    disk: &D,
    set: &D::Dir,
    options: &Options,
    tell: &mut dyn FnMut(Event<'_>),
) -> core::result::Result<Vec<Restored>, Failed> {
    let mut reader: Reader<D> = Reader::open(disk, set).await?;
    let mut chosen: Vec<(MailboxName, MailboxLine, u64)> = Vec::new();
    let mut known = false;
    while let Some(line) = reader.next(disk).await? {
        match line {
            Line::Account { account, .. } => known |= account == options.account.as_str(),
            Line::Mailbox(line) if line.is_of(&options.account) => {
                let Ok(name) = MailboxName::new(&line.name) else {
                    continue;
                };
                if options.mailboxes.is_empty() || options.mailboxes.contains(&name) {
                    chosen.push((name, line, reader.position()));
                }
            }
            _ => {}
        }
    }
    if !known {
        return Err(Failed::NoAccount(options.account.clone()));
    }
    for wanted in &options.mailboxes {
        if !chosen.iter().any(|(name, ..)| name == wanted) {
            return Err(Failed::NoMailbox(wanted.clone()));
        }
    }
    let subscribed = subscriptions(disk, set, &options.account).await?;
    if !options.dry_run {
        store.create_account(&options.account, options.now).await?;
    }
    // Levels before what is below them.
    chosen.sort_by(|a, b| a.0.cmp(&b.0));
    let mut all = Vec::new();
    for (name, line, offset) in chosen {
        let mut run = Run {
            store,
            disk,
            set,
            options,
            line: &line,
            name: options.rename.clone().unwrap_or_else(|| name.clone()),
            problems: 0,
            tell,
        };
        let restored = run
            .mailbox(&mut reader, offset, subscribed.contains(&name))
            .await?;
        if restored.made && !options.dry_run {
            beside(store, disk, set, options, &line, &restored.mailbox).await?;
        }
        tell(Event::Done(&restored));
        all.push(restored);
    }
    Ok(all)
}

async fn subscriptions<D: Disk>(
    disk: &D,
    set: &D::Dir,
    account: &AccountName,
) -> core::result::Result<BTreeSet<MailboxName>, Broken> {
    let octets = file_of(disk, set, account, "subscriptions.json").await?;
    let file =
        octets.and_then(|octets| serde_json::from_slice::<crate::file::account::Subscriptions>(&octets).ok());
    let names = file.map_or_else(Vec::new, |file| file.mailboxes);
    Ok(names
        .iter()
        .filter_map(|name| MailboxName::new(name).ok())
        .collect())
}

/// A mailbox that is put back.
struct Run<'a, S: MailStore, D: Disk> {
    store: &'a S,
    disk: &'a D,
    set: &'a D::Dir,
    options: &'a Options,
    line: &'a MailboxLine,
    name: MailboxName,
    problems: u64,
    tell: &'a mut dyn FnMut(Event<'_>),
}

/// A message of the backup.
struct Lost {
    line: MessageLine,
    row: Row,
    bits: [u64; 4],
}

/// A message that is there, with its hash if that was needed.
type Known = (Uid, Option<String>);

/// What a mailbox has, by size and INTERNALDATE; hashes where they were needed.
#[derive(Default)]
struct Present {
    mailbox: Option<MailboxRef>,
    uid_validity: UidValidity,
    uid_next: Uid,
    messages: HashMap<(u32, i64, i16), Vec<Known>>,
}

impl<S: MailStore, D: Disk> Run<'_, S, D> {
    async fn mailbox(
        &mut self,
        reader: &mut Reader<D>,
        offset: u64,
        subscribed: bool,
    ) -> core::result::Result<Restored, Failed> {
        let account = &self.options.account;
        (self.tell)(Event::Mailbox(&self.name, self.line.messages));
        let there = self.store.list(account).await?;
        let exists = there
            .iter()
            .any(|entry| entry.name == self.name && entry.selectable);
        let mut present = Present::default();
        if exists {
            present = self.present().await?;
        } else if !self.options.dry_run {
            self.make(subscribed).await?;
        }
        let is_new = present.uid_next <= Uid(1);
        // Of a restore that was cut short.
        let is_begun =
            present.uid_validity.0 == self.line.uid_validity && present.uid_next.0 <= self.line.uid_next;
        let same_uids = is_begun || is_new;
        let mut restored = Restored {
            mailbox: self.name.clone(),
            made: !exists,
            same_uids,
            restored: 0,
            present: 0,
            problems: 0,
        };
        if same_uids && is_new && !self.options.dry_run {
            restored.same_uids = self.number().await?;
        }
        let done = self.messages(reader, offset, &mut present, &mut restored).await;
        if let Some(mailbox) = &present.mailbox {
            self.store.unselect(mailbox).await;
        }
        done?;
        if restored.same_uids && !self.options.dry_run {
            self.pass_over().await?;
        }
        restored.problems = self.problems;
        Ok(restored)
    }

    /// Makes the mailbox.
    async fn make(&self, subscribed: bool) -> Result<()> {
        let (account, now) = (&self.options.account, self.options.now);
        let specials: Vec<SpecialUse> = match self.options.rename {
            // The other one keeps its use.
            Some(_) => Vec::new(),
            None => {
                let names = self.line.special_use.iter();
                names
                    .filter_map(|name| SpecialUse::from_attribute(name))
                    .collect()
            }
        };
        let made = self.store.create(account, &self.name, &specials, now).await;
        match made {
            Err(error) if error.refusal == Refusal::MailboxExists => {}
            other => other?,
        }
        if subscribed {
            self.store.subscribe(account, &self.name, true).await?;
        }
        Ok(())
    }

    /// What the mailbox has.
    async fn present(&self) -> Result<Present> {
        let selected = self.store.select(&self.options.account, &self.name, true).await?;
        let mut present = Present {
            mailbox: Some(selected.mailbox),
            uid_validity: selected.snapshot.uid_validity,
            uid_next: selected.snapshot.uid_next,
            messages: HashMap::new(),
        };
        for row in selected.snapshot.rows.iter() {
            let key = (row.size, row.date, row.zone);
            present.messages.entry(key).or_default().push((row.uid, None));
        }
        Ok(present)
    }

    /// Sets the UIDVALIDITY. False: somebody has used the mailbox meanwhile.
    async fn number(&self) -> Result<bool> {
        let numbering = Numbering {
            uid_validity: Some(UidValidity(self.line.uid_validity)),
            ..Numbering::default()
        };
        let (account, now) = (&self.options.account, self.options.now);
        let set = self
            .store
            .append_numbered(account, &self.name, numbering, Vec::new(), now);
        match set.await {
            Ok(_) => {
                let above = ModSeq(self.line.modseq.saturating_add(MODSEQ_GAP));
                self.store.raise_modseq(account, &self.name, above).await?;
                Ok(true)
            }
            Err(error) if error.refusal == Refusal::NotPossible => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Leaves out UIDs that may have been given after the backup.
    async fn pass_over(&self) -> Result<()> {
        let next = self.line.uid_next.saturating_add(UID_GAP);
        let numbering = Numbering {
            uid_next: (next < u32::MAX / 2).then_some(Uid(next)),
            ..Numbering::default()
        };
        let (account, now) = (&self.options.account, self.options.now);
        let set = self
            .store
            .append_numbered(account, &self.name, numbering, Vec::new(), now);
        set.await.map(drop)
    }

    async fn messages(
        &mut self,
        reader: &mut Reader<D>,
        offset: u64,
        present: &mut Present,
        restored: &mut Restored,
    ) -> core::result::Result<(), Failed> {
        reader.seek(offset);
        let mut batch: Vec<Lost> = Vec::new();
        let mut octets = 0;
        while let Some(Line::Message(line)) = reader.next(self.disk).await? {
            (self.tell)(Event::Message);
            let name = line.path.rsplit('/').next().unwrap_or_default();
            let Some((row, bits)) = names::decode(name) else {
                let path = line.path.clone();
                self.problem(&path, "its name is no message's");
                continue;
            };
            if self.take(present, &row, &line).await? {
                restored.present += 1;
                continue;
            }
            octets += line.size;
            batch.push(Lost { line, row, bits });
            if batch.len() >= BATCH.0 || octets >= BATCH.1 {
                octets = 0;
                self.put_back(core::mem::take(&mut batch), restored).await?;
            }
        }
        self.put_back(batch, restored).await?;
        Ok(())
    }

    fn problem(&mut self, path: &str, why: &str) {
        self.problems += 1;
        let path = format!("{}/{path}", self.line.path);
        (self.tell)(Event::Problem(&path, why));
    }

    /// Takes an equal message from those that the mailbox has. False: there is none.
    async fn take(&self, present: &mut Present, row: &Row, line: &MessageLine) -> Result<bool> {
        let Present {
            mailbox, messages, ..
        } = present;
        let size = u32::try_from(line.size).unwrap_or(u32::MAX);
        let key = (size, row.date, row.zone);
        let (Some(mailbox), Some(same)) = (mailbox, messages.get_mut(&key)) else {
            return Ok(false);
        };
        let mut at = 0;
        while let Some((uid, hash)) = same.get_mut(at) {
            if hash.is_none() {
                *hash = self.hash_of(mailbox, *uid).await?;
            }
            match hash {
                Some(hash) if *hash == line.sha256 => {
                    same.swap_remove(at);
                    return Ok(true);
                }
                Some(_) => at += 1,
                None => {
                    // Expunged meanwhile.
                    same.swap_remove(at);
                }
            }
        }
        Ok(false)
    }

    async fn hash_of(&self, mailbox: &MailboxRef, uid: Uid) -> Result<Option<String>> {
        let Some(blob) = self.store.open(mailbox, uid).await? else {
            return Ok(None);
        };
        let (mut hash, mut offset) = (Sha256::new(), 0);
        let mut buffer = vec![0; BLOCK];
        loop {
            let count = self.store.read(&blob, &mut buffer, offset).await?;
            let Some(part) = buffer.get(..count).filter(|part| !part.is_empty()) else {
                return Ok(Some(hex(&hash.finalize())));
            };
            hash.update(part);
            offset += count as u64;
        }
    }

    /// Puts messages back, under their UIDs if that is so; if it is not possible any more, under new ones.
    async fn put_back(&mut self, batch: Vec<Lost>, restored: &mut Restored) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let problems = self.problems;
        let mut messages = Vec::with_capacity(batch.len());
        for lost in &batch {
            if let Some(spool) = self.spool(lost).await? {
                messages.push((lost.row.uid, spool, self.flags(lost), lost.row.internal_date()));
            }
        }
        restored.restored += messages.len() as u64;
        if self.options.dry_run || messages.is_empty() {
            return Ok(());
        }
        let (account, now) = (&self.options.account, self.options.now);
        if restored.same_uids {
            let dated = messages
                .into_iter()
                .map(|(uid, spool, flags, date)| (uid, spool, flags, Some(date)));
            let numbering = Numbering::default();
            let put = self
                .store
                .append_numbered(account, &self.name, numbering, dated.collect(), now);
            match put.await {
                Err(error) if error.refusal == Refusal::NotPossible => {}
                other => return other.map(drop),
            }
            // Something was delivered meanwhile: the others come under new UIDs.
            restored.same_uids = false;
            messages = Vec::with_capacity(batch.len());
            self.problems = problems;
            for lost in &batch {
                if let Some(spool) = self.spool(lost).await? {
                    messages.push((lost.row.uid, spool, self.flags(lost), lost.row.internal_date()));
                }
            }
        }
        let plain: Vec<(S::Spool, Flags, Option<DateTime>)> = messages
            .into_iter()
            .map(|(_, spool, flags, date)| (spool, flags, Some(date)))
            .collect();
        let put = self
            .store
            .append(account, &self.name, plain, &Quota::UNLIMITED, now);
        put.await.map(drop)
    }

    fn flags(&self, lost: &Lost) -> Flags {
        let words = self.line.keywords.iter().enumerate();
        let has = |bit: usize| {
            lost.bits
                .get(bit / 64)
                .is_some_and(|word| word >> (bit % 64) & 1 == 1)
        };
        Flags {
            system: lost.row.flags,
            keywords: words
                .filter(|(bit, _)| has(*bit))
                .filter_map(|(_, word)| Keyword::new(word))
                .collect(),
        }
    }

    /// Reads a message into a spool. `None`: it is not what was backed up.
    async fn spool(&mut self, lost: &Lost) -> Result<Option<S::Spool>> {
        match self.try_spool(lost).await? {
            Ok(spool) => Ok(Some(spool)),
            Err(why) => {
                self.problem(&lost.line.path, &why);
                Ok(None)
            }
        }
    }

    async fn try_spool(&self, lost: &Lost) -> Result<core::result::Result<S::Spool, String>> {
        let file = match self.open(&lost.line.path).await {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(Err("it is missing in the backup".to_owned())),
            Err(error) => return Ok(Err(error.to_string())),
        };
        let mut spool = self.store.new_spool().await?;
        let (mut hash, mut offset) = (Sha256::new(), 0);
        let mut buffer = vec![0; BLOCK];
        loop {
            let count = match self.disk.read_at(&file, &mut buffer, offset).await {
                Ok(count) => count,
                Err(error) => return Ok(Err(error.to_string())),
            };
            let Some(part) = buffer.get(..count).filter(|part| !part.is_empty()) else {
                break;
            };
            hash.update(part);
            self.store.write_spool(&mut spool, Chunk::copy_from(part)).await?;
            offset += count as u64;
        }
        if offset != lost.line.size || hex(&hash.finalize()) != lost.line.sha256 {
            return Ok(Err(
                "it is not what was backed up (`rmail backup verify` tells all)".to_owned(),
            ));
        }
        Ok(Ok(spool))
    }

    async fn open(&self, path: &str) -> io::Result<Option<D::File>> {
        let path = format!("{}/{path}", self.line.path);
        let (above, entry) = path.rsplit_once('/').unwrap_or_default();
        match open_path(self.disk, self.set, above).await? {
            Some(dir) => found(self.disk.open(&dir, entry, Mode::Read).await),
            None => Ok(None),
        }
    }
}
