//! What all sources have in common: folders are made, messages are compared with what is there, and appended in batches.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

use futures_lite::future::block_on;
use rmail_core::addr::AccountName;
use rmail_core::chunk::Chunk;
use rmail_core::directory::User;
use rmail_core::mailbox::{Flags, Keywords, MailboxName, MailboxRef, Quota, SpecialUse, Uid, Usage};
use rmail_core::refusal::Refusal;
use rmail_core::time::DateTime;
use rmail_store::file::{FileStore, Spool};
use rmail_store::transfer::Meta;
use rmail_store::transfer::line_ends::LineEnds;
use rmail_store::transfer::special_use::usual_use;
use rmail_store::transfer::tally::Hasher;
use rmail_store::{MailStore as _, Numbering};

use super::super::open::{Opened, told};
use super::super::report::Report;
use super::known::Known;
use super::{Failure, Options};
use crate::clock;
use crate::disk::RealDisk;

/// Messages that are appended at once.
const BATCH: usize = 64;

/// Bodies that are put on disk at the same time.
const SYNCS: usize = 32;

/// Octets after which a batch is appended although it is not full.
const BATCH_OCTETS: u64 = 32 << 20;

/// A message that is coming in.
pub(super) struct Incoming {
    /// None in a dry run.
    spool: Option<Spool<RealDisk>>,
    ends: LineEnds,
    hasher: Hasher,
    octets: u64,
    buffer: Vec<u8>,
}

/// A folder that messages go to.
struct Target {
    /// None in a dry run, if the folder does not exist.
    mailbox: Option<MailboxRef>,
    known: Known,
    keywords: HashSet<String>,
    /// UIDs are kept; the next that can be given.
    next: Option<Uid>,
}

struct Waiting {
    uid: Option<Uid>,
    spool: Option<Spool<RealDisk>>,
    flags: Flags,
    date: Option<DateTime>,
    octets: u64,
    hash: [u8; 32],
}

/// Takes in what a source has.
pub(super) struct Importer<'a> {
    opened: &'a Opened,
    account: AccountName,
    options: &'a Options,
    user: Option<Arc<User>>,
    /// The source's INBOX goes here.
    top: Option<MailboxName>,
    targets: BTreeMap<MailboxName, Target>,
    waiting: Vec<Waiting>,
    waiting_octets: u64,
    /// The folder that they wait for.
    current: Option<MailboxName>,
    report: Report,
}

impl<'a> Importer<'a> {
    pub(super) fn new(
        opened: &'a Opened,
        account: AccountName,
        options: &'a Options,
        top: Option<MailboxName>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            opened,
            user: opened.user(&account)?,
            account,
            options,
            top,
            targets: BTreeMap::new(),
            waiting: Vec::new(),
            waiting_octets: 0,
            current: None,
            report: Report::new("imported"),
        })
    }

    fn store(&self) -> &'a FileStore<RealDisk> {
        self.opened.store()
    }

    pub(super) fn keeps_uids(&self) -> bool {
        self.options.keep_uids
    }

    pub(super) fn report(&mut self) -> &mut Report {
        &mut self.report
    }

    pub(super) fn into_report(self) -> (AccountName, Report) {
        (self.account, self.report)
    }

    /// The folder's name here.
    fn mapped(&self, name: &str) -> Result<MailboxName, String> {
        let text = match &self.top {
            None => name.to_owned(),
            Some(top) if name.eq_ignore_ascii_case("INBOX") => top.as_str().to_owned(),
            Some(top) => format!("{top}/{name}"),
        };
        MailboxName::new(&text).map_err(|error| error.to_string())
    }

    /// Makes the folder if it is not there; the messages that come go to it. None: it cannot be, which was told.
    pub(super) fn folder(
        &mut self,
        name: &str,
        special: &[SpecialUse],
    ) -> Result<Option<MailboxName>, Failure> {
        let name = match self.mapped(name) {
            Ok(name) => name,
            Err(why) => {
                self.report.problem(None, format!("folder {name:?}"), why);
                return Ok(None);
            }
        };
        if self.current.as_ref() != Some(&name) {
            self.flush()?;
            self.current = Some(name.clone());
        }
        if !self.targets.contains_key(&name) {
            let target = block_on(self.open_target(&name, special))?;
            self.targets.insert(name.clone(), target);
            self.report.folder(name.as_str());
        }
        Ok(Some(name))
    }

    async fn open_target(&self, name: &MailboxName, special: &[SpecialUse]) -> Result<Target, Failure> {
        let (store, account) = (self.store(), &self.account);
        let entries = store.list(account).await.map_err(failed)?;
        let there = entries
            .iter()
            .any(|entry| entry.name == *name && entry.selectable);
        if !there && self.options.dry_run {
            return Ok(Target {
                mailbox: None,
                known: Known::default(),
                keywords: HashSet::new(),
                next: None,
            });
        }
        if !there {
            let usual = usual_use(name);
            let wanted = if special.is_empty() {
                usual.as_slice()
            } else {
                special
            };
            let free = |wanted: &&SpecialUse| entries.iter().all(|entry| !entry.special_use.contains(wanted));
            let special: Vec<SpecialUse> = wanted.iter().filter(free).copied().collect();
            match store.create(account, name, &special, clock::unix()).await {
                Err(error) if error.refusal != Refusal::MailboxExists => return Err(failed(error)),
                _ => {}
            }
        }
        let selected = store.select(account, name, true).await.map_err(failed)?;
        let names = selected.snapshot.keywords.names().iter();
        Ok(Target {
            known: Known::new(&selected.snapshot),
            keywords: names.map(|word| word.as_str().to_ascii_lowercase()).collect(),
            mailbox: Some(selected.mailbox),
            next: None,
        })
    }

    /// Sees to it that the folder can keep these numbers. False: it cannot, which was told, and nothing may go to it.
    pub(super) fn number(&mut self, name: &MailboxName, numbering: Numbering) -> Result<bool, Failure> {
        let Some(target) = self.targets.get(name).filter(|target| target.next.is_none()) else {
            return Ok(true);
        };
        let dry = target.mailbox.is_none();
        match block_on(self.try_number(name, numbering, dry))? {
            Ok(next) => {
                if let Some(target) = self.targets.get_mut(name) {
                    target.next = Some(next);
                }
                Ok(true)
            }
            Err(why) => {
                self.report.problem(None, format!("folder {name}"), why);
                Ok(false)
            }
        }
    }

    async fn try_number(
        &self,
        name: &MailboxName,
        numbering: Numbering,
        dry: bool,
    ) -> Result<Result<Uid, String>, Failure> {
        let Some(wanted) = numbering.uid_validity else {
            return Ok(Err(
                "the source does not say its UIDs, so that they cannot be kept".to_owned(),
            ));
        };
        if dry {
            return Ok(Ok(Uid(1)));
        }
        let (store, account) = (self.store(), &self.account);
        let status = store.status(account, name).await.map_err(failed)?;
        if status.uid_validity == wanted {
            return Ok(Ok(status.uid_next));
        }
        let taken = format!(
            "it has a UIDVALIDITY of its own ({}), and has or had messages: UIDs cannot be kept; import into another folder, \
             or without --keep-uids",
            status.uid_validity.0
        );
        if status.uid_next != Uid(1) {
            return Ok(Err(taken));
        }
        if self.options.dry_run {
            return Ok(Ok(Uid(1)));
        }
        let only = Numbering {
            uid_next: None,
            ..numbering
        };
        let set = store.append_numbered(account, name, only, Vec::new(), clock::unix());
        match set.await {
            Ok(_) => Ok(Ok(Uid(1))),
            Err(error) if error.refusal == Refusal::NotPossible => Ok(Err(taken)),
            Err(error) => Err(failed(error)),
        }
    }

    /// All messages of the folder that keep their UIDs are in: UIDs below are not given any more.
    pub(super) fn numbered(&mut self, name: &MailboxName, uid_next: Option<Uid>) -> Result<(), Failure> {
        self.flush()?;
        if uid_next.is_none() || self.options.dry_run {
            return Ok(());
        }
        let numbering = Numbering {
            uid_validity: None,
            uid_next,
        };
        let set = self
            .store()
            .append_numbered(&self.account, name, numbering, Vec::new(), clock::unix());
        block_on(set).map(drop).map_err(failed)
    }

    /// A message begins; `exact`: its octets are as they are to be stored.
    pub(super) fn begin(&self, exact: bool) -> Result<Incoming, Failure> {
        let spool = match self.options.dry_run {
            true => None,
            false => Some(block_on(self.store().new_spool()).map_err(failed)?),
        };
        Ok(Incoming {
            spool,
            ends: if exact {
                LineEnds::keep()
            } else {
                LineEnds::guess()
            },
            hasher: Hasher::default(),
            octets: 0,
            buffer: Vec::new(),
        })
    }

    /// Octets of it.
    pub(super) fn write(&self, incoming: &mut Incoming, octets: &[u8]) -> Result<(), Failure> {
        incoming.buffer.clear();
        incoming.ends.push(octets, &mut incoming.buffer);
        incoming.hasher.update(&incoming.buffer);
        incoming.octets += incoming.buffer.len() as u64;
        if incoming.octets > u64::from(u32::MAX) {
            // It will be refused: no need to fill the disk.
            incoming.spool = None;
        }
        if let Some(spool) = &mut incoming.spool {
            let chunk = Chunk::copy_from(&incoming.buffer);
            block_on(self.store().write_spool(spool, chunk)).map_err(failed)?;
        }
        Ok(())
    }

    /// It ends; `label` says what it was.
    pub(super) fn finish(
        &mut self,
        incoming: Incoming,
        folder: &MailboxName,
        label: &dyn Display,
        mut meta: Meta,
    ) -> Result<(), Failure> {
        self.report.step();
        let refusal = match u32::try_from(incoming.octets) {
            Err(_) => Some("a message has less than 4 GiB".to_owned()),
            Ok(_) if incoming.ends.has_nul() => {
                Some("it holds a NUL octet, which no message may have".to_owned())
            }
            Ok(_) => None,
        };
        if let Some(why) = refusal {
            self.refuse(folder, label, why);
            return Ok(());
        }
        let (octets, hash) = (incoming.octets, incoming.hasher.finish());
        let store = self.store();
        let Some(target) = self.targets.get_mut(folder) else {
            return Ok(());
        };
        if let Some(mailbox) = &target.mailbox {
            let size = u32::try_from(octets).unwrap_or(u32::MAX);
            let known = target.known.take(store, mailbox, size, &hash, meta.uid);
            if known.map_err(failed)? {
                self.report.folder(folder.as_str()).already.add(octets, &hash);
                return Ok(());
            }
        }
        let mut uid = meta.uid.filter(|_| self.options.keep_uids);
        match (uid, target.next) {
            (Some(wanted), Some(next)) if wanted >= next => {
                target.next = Some(Uid(wanted.0.saturating_add(1)))
            }
            (Some(wanted), Some(next)) => {
                let why = format!(
                    "its UID {} cannot be kept, for UIDs below {} are given already; import without --keep-uids takes it \
                     under a new one",
                    wanted.0, next.0
                );
                self.refuse(folder, label, why);
                return Ok(());
            }
            _ => uid = None,
        }
        let before = meta.flags.keywords.len();
        meta.flags.keywords.retain(|word| {
            let word = word.as_str().to_ascii_lowercase();
            let fits = target.keywords.contains(&word) || target.keywords.len() < Keywords::MAX;
            if fits {
                target.keywords.insert(word);
            }
            fits
        });
        let lost = before - meta.flags.keywords.len();
        if lost > 0 {
            self.report.note(format!(
                "{label}: {lost} keyword(s) are left out: {folder} has all {} that a folder can have",
                Keywords::MAX
            ));
        }
        self.waiting_octets += octets;
        self.waiting.push(Waiting {
            uid,
            spool: incoming.spool,
            flags: meta.flags,
            date: meta.date,
            octets,
            hash,
        });
        if self.waiting.len() >= BATCH || self.waiting_octets >= BATCH_OCTETS {
            self.flush()?;
        }
        Ok(())
    }

    /// A message is left.
    pub(super) fn refuse(&mut self, folder: &MailboxName, label: &dyn Display, why: impl Display) {
        self.report.problem(Some(folder.as_str()), label, why);
    }

    /// Subscribes to a folder of the source.
    pub(super) fn subscribe(&mut self, name: &MailboxName) -> Result<(), Failure> {
        let name = match self.mapped(name.as_str()) {
            Ok(name) => name,
            Err(why) => {
                self.report.problem(None, format!("subscription to {name}"), why);
                return Ok(());
            }
        };
        if self.options.dry_run {
            return Ok(());
        }
        block_on(self.store().subscribe(&self.account, &name, true)).map_err(failed)
    }

    /// All is in.
    pub(super) fn end(&mut self) -> Result<(), Failure> {
        self.flush()?;
        for target in self.targets.values() {
            if let Some(mailbox) = &target.mailbox {
                block_on(self.store().unselect(mailbox));
            }
        }
        Ok(())
    }

    /// Appends what waits.
    fn flush(&mut self) -> Result<(), Failure> {
        let mut waiting = std::mem::take(&mut self.waiting);
        let octets = std::mem::take(&mut self.waiting_octets);
        let Some(folder) = self.current.clone().filter(|_| !waiting.is_empty()) else {
            return Ok(());
        };
        self.check_quota(waiting.len() as u64, octets)?;
        let counts: Vec<(u64, [u8; 32])> = waiting.iter().map(|one| (one.octets, one.hash)).collect();
        let spools = waiting.iter_mut().filter_map(|one| one.spool.as_mut());
        sync_all(self.store(), spools.collect()).map_err(failed)?;
        let (mut numbered, mut plain) = (Vec::new(), Vec::new());
        for one in waiting {
            match (one.uid, one.spool) {
                (Some(uid), Some(spool)) => numbered.push((uid, spool, one.flags, one.date)),
                (None, Some(spool)) => plain.push((spool, one.flags, one.date)),
                (_, None) => {}
            }
        }
        let (store, account, now) = (self.store(), &self.account, clock::unix());
        if !numbered.is_empty() {
            let numbering = Numbering::default();
            let done = store.append_numbered(account, &folder, numbering, numbered, now);
            block_on(done).map_err(failed)?;
        }
        if !plain.is_empty() {
            // Whether there is room was asked before, for both kinds together.
            let done = store.append(account, &folder, plain, &Quota::UNLIMITED, now);
            block_on(done).map_err(failed)?;
        }
        for (octets, hash) in counts {
            self.report.folder(folder.as_str()).done.add(octets, &hash);
        }
        Ok(())
    }

    fn check_quota(&self, messages: u64, octets: u64) -> Result<(), Failure> {
        let quota = self.user.as_ref().map_or(Quota::UNLIMITED, |user| user.quota());
        if self.options.ignore_quota || self.options.dry_run {
            return Ok(());
        }
        let more = Usage { octets, messages };
        let room = self.store().has_room(&self.account, &quota, more);
        if block_on(room).map_err(failed)? {
            return Ok(());
        }
        Err(Failure(
            "the user's quota would be exceeded; raise it with `rmail user set --quota-mb`, or use --ignore-quota".into(),
        ))
    }
}

/// Puts bodies on disk, many at a time: the file system then writes its journal once for several.
fn sync_all(
    store: &FileStore<RealDisk>,
    spools: Vec<&mut Spool<RealDisk>>,
) -> rmail_store::error::Result<()> {
    let threads = spools.len().min(SYNCS);
    let spools = Mutex::new(spools.into_iter());
    let next = || spools.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some(spool) = next() {
            block_on(store.sync_spool(spool))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let joined = threads.into_iter().map(|thread| {
            let ended = thread.join();
            ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        joined.collect()
    })
}

pub(super) fn failed(error: rmail_store::Error) -> Failure {
    Failure(told(&error))
}
