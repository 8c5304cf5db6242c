//! The service as an IMAP session sees it, as it is or with a bug in it.

use std::sync::{Arc, Mutex};

use rmail_core::chunk::Chunk;
use rmail_core::imap::server::{Call, CopyUid, Reply, Stored};
use rmail_core::machine::{BlobId, Scope, SpoolId, WatchId};
use rmail_core::mailbox::{
    FlagChange, FlagOp, Flags, MailboxName, MailboxRef, ModSeq, Quota, Snapshot, SystemFlags, Uid, UidSet,
    Vanished,
};
use rmail_core::note::Note;
use rmail_core::time::Now;
use rmail_store::MailStore as _;
use rmail_store::error::Result as StoreResult;
use rmail_store::hub::Wake;
use rmail_store::service::{Answer, ImapService, Pool, Serve};

use super::Bug;
use super::disk::WorldDisk;
use crate::channel::Channel;
use crate::site::{Host, Store};

/// The service of one session.
pub struct Imap {
    service: ImapService<Store, WorldDisk>,
    host: Arc<Host>,
    bug: Option<Bug>,
    /// Told when flags may have to be synced.
    dirty: Channel<()>,
    /// What was seen last, for [`Bug::StaleNews`] and [`Bug::FlagRace`].
    before: Mutex<Seen>,
}

/// What the session was told of a mailbox: at first, the last time but one, and last.
#[derive(Default)]
struct Seen {
    first: Option<(MailboxRef, Snapshot)>,
    older: Option<(MailboxRef, Snapshot)>,
    newer: Option<(MailboxRef, Snapshot)>,
}

impl Imap {
    pub fn new(
        service: ImapService<Store, WorldDisk>,
        host: Arc<Host>,
        bug: Option<Bug>,
        dirty: Channel<()>,
    ) -> Self {
        Self {
            service,
            host,
            bug,
            dirty,
            before: Mutex::default(),
        }
    }

    /// Whether the bug has to do with this call.
    fn meddles(&self, call: &Call) -> bool {
        matches!(
            (self.bug, call),
            (Some(Bug::FlagRace), Call::Store { .. })
                | (Some(Bug::MoveRemovesFirst), Call::Move { .. })
                | (Some(Bug::CopyDropsFlags), Call::Copy { .. })
                | (Some(Bug::GoneForgotten), Call::Vanished { .. })
                | (Some(Bug::StaleNews | Bug::FlagRace), Call::Changes { .. })
        )
    }

    /// Flags are changed as they were seen first, and written, as if nobody else did so.
    async fn race(&self, mailbox: &MailboxRef, uids: &UidSet, change: &FlagChange) -> StoreResult<Stored> {
        let store = self.host.store();
        let seen = self.before.lock().expect("no panic").first.clone();
        let before = match seen.filter(|(of, _)| of == mailbox) {
            Some((_, seen)) => seen,
            None => store.snapshot(mailbox).await?,
        };
        let mut stored = store.store(mailbox, &UidSet::default(), change, None).await?;
        for row in before.rows.of(uids) {
            let mut flags = change.flags.clone();
            if change.op == FlagOp::Add {
                flags.system = flags.system.with(row.flags);
                let there = before.keywords.of(row.keywords).cloned();
                let new: Vec<_> = there.filter(|word| !flags.keywords.contains(word)).collect();
                flags.keywords.extend(new);
            }
            let op = match change.op {
                FlagOp::Add => FlagOp::Replace,
                other => other,
            };
            let one = UidSet::from_ranges([(row.uid.0, row.uid.0)]);
            stored = store
                .store(mailbox, &one, &FlagChange { op, flags }, None)
                .await?;
        }
        Ok(stored)
    }

    /// MOVE: the messages go, and come again.
    async fn lose_and_find(
        &self,
        now: Now,
        mailbox: &MailboxRef,
        uids: &UidSet,
        to: &MailboxName,
    ) -> StoreResult<(CopyUid, Snapshot)> {
        let store = self.host.store();
        let before = store.snapshot(mailbox).await?;
        let (mut source, mut messages) = (Vec::new(), Vec::new());
        for row in before.rows.of(uids) {
            let Some(blob) = store.open(mailbox, row.uid).await? else {
                continue;
            };
            let mut octets = vec![0; usize::try_from(store.blob_len(&blob)).expect("small")];
            let read = store.read(&blob, &mut octets, 0).await?;
            octets.truncate(read);
            let flags = Flags {
                system: row.flags,
                keywords: before.keywords.of(row.keywords).cloned().collect(),
            };
            source.push(row.uid);
            messages.push((octets, flags));
        }
        let change = FlagChange {
            op: FlagOp::Add,
            flags: Flags {
                system: SystemFlags::DELETED,
                keywords: Vec::new(),
            },
        };
        store.store(mailbox, uids, &change, None).await?;
        let after = store.expunge(mailbox, Some(uids)).await?;
        let mut spools = Vec::new();
        for (octets, flags) in messages {
            let mut spool = store.new_spool().await?;
            store.write_spool(&mut spool, Chunk::from(octets)).await?;
            spools.push((spool, flags, None));
        }
        if spools.is_empty() {
            let status = store.status(&mailbox.account, to).await?;
            let nothing = CopyUid {
                uid_validity: status.uid_validity,
                source: Vec::new(),
                target: Vec::new(),
            };
            return Ok((nothing, after));
        }
        let appended = store
            .append(&mailbox.account, to, spools, &Quota::UNLIMITED, now.unix)
            .await?;
        let moved = CopyUid {
            uid_validity: appended.uid_validity,
            source,
            target: appended.uids,
        };
        Ok((moved, after))
    }

    /// The copies lose their flags.
    async fn strip(&self, mailbox: &MailboxRef, to: &MailboxName, copied: &[Uid]) -> StoreResult<()> {
        let store = self.host.store();
        let selected = store.select(&mailbox.account, to, true).await?;
        let uids = UidSet::from_ranges(copied.iter().map(|uid| (uid.0, uid.0)));
        let nothing = FlagChange {
            op: FlagOp::Replace,
            flags: Flags::default(),
        };
        store.store(&selected.mailbox, &uids, &nothing, None).await?;
        store.unselect(&selected.mailbox).await;
        Ok(())
    }

    async fn meddle(&self, now: Now, call: Call) -> Reply {
        match call {
            Call::Store {
                mailbox,
                uids,
                change,
                ..
            } => {
                let raced = self.race(&mailbox, &uids, &change).await;
                Reply::Stored(raced.map_err(|error| error.refusal))
            }
            Call::Move {
                mailbox, uids, to, ..
            } => {
                let moved = self.lose_and_find(now, &mailbox, &uids, &to).await;
                Reply::Copied(moved.map_err(|error| error.refusal))
            }
            Call::Copy {
                ref mailbox, ref to, ..
            } => {
                let (mailbox, to) = (mailbox.clone(), to.clone());
                let reply = self.service.run(now, call).await;
                if let Reply::Copied(Ok((copied, _))) = &reply {
                    let _ = self.strip(&mailbox, &to, &copied.target).await;
                }
                reply
            }
            Call::Vanished { .. } => Reply::Vanished(Ok(Vanished::These(UidSet::default()))),
            Call::Changes { ref mailbox } => {
                let mailbox = mailbox.clone();
                let Reply::Changes(Ok(now)) = self.service.run(now, call).await else {
                    return Reply::Changes(Err(rmail_core::refusal::Refusal::Storage));
                };
                let mut seen = self.before.lock().expect("no panic");
                let newest = (mailbox.clone(), now.clone());
                seen.older = seen.newer.replace(newest.clone());
                if seen.first.as_ref().is_none_or(|(of, _)| *of != mailbox) {
                    seen.first = Some(newest);
                }
                let older = seen.older.clone().filter(|(of, _)| *of == mailbox);
                let stale = older.filter(|_| self.bug == Some(Bug::StaleNews));
                Reply::Changes(Ok(stale.map_or(now, |(_, snapshot)| snapshot)))
            }
            other => self.service.run(now, other).await,
        }
    }
}

impl Serve for Imap {
    type Call = Call;
    type Reply = Reply;

    fn answer(&self, now: Now, call: Call) -> Answer<Call, Reply> {
        if matches!(call, Call::Store { .. }) {
            self.dirty.push(());
        }
        if self.meddles(&call) {
            return Answer::Later(Pool::Read, call);
        }
        self.service.answer(now, call)
    }

    async fn run(&self, now: Now, call: Call) -> Reply {
        if self.meddles(&call) {
            return self.meddle(now, call).await;
        }
        self.service.run(now, call).await
    }

    fn spool_now(&self, spool: SpoolId, chunk: Chunk) -> Result<(), Chunk> {
        self.service.spool_now(spool, chunk)
    }

    async fn spool(&self, spool: SpoolId, chunk: Chunk) {
        self.service.spool(spool, chunk).await;
    }

    async fn read_blob(&self, blob: BlobId, offset: u64, max: usize) -> StoreResult<Chunk> {
        self.service.read_blob(blob, offset, max).await
    }

    fn close_blob(&self, blob: BlobId) {
        self.service.close_blob(blob);
    }

    fn watch(&self, watch: WatchId, scope: Scope, seen: ModSeq, wake: Wake) {
        self.service.watch(watch, scope, seen, wake);
    }

    fn unwatch(&self, watch: WatchId) {
        self.service.unwatch(watch);
    }

    fn note(&self, now: Now, note: &Note) {
        self.service.note(now, note);
    }
}
