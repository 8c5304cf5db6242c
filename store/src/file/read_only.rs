//! Mailboxes on a file system that can only be read: EXAMINE, FETCH and the like work, SELECT says `[READ-ONLY]`.
//!
//! Nothing can be recovered, mended or claimed there. The numbers are taken as recovery would give them; names that were
//! not published do not count. If `state` is not there, `status.json` stands in for it as the open file of the mailbox.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use rmail_core::mailbox::{Keywords, Row, Rows, Snapshot, Uid};
use rmail_core::refusal::Refusal;

use crate::disk::{Disk, Mode};
use crate::error::{Error, Result};

use super::cache::{scan_dir, shard_of_name};
use super::io::{During as _, found, read_file};
use super::mailbox::{Mailbox, StateFile, View};
use super::state::State;
use super::status::Status;
use super::warm::{loose, with_keywords};
use super::{FileStore, keywords};

/// Whether it says that the file system can only be read.
pub(super) fn says_read_only(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ReadOnlyFilesystem
}

/// The same of a failed operation.
pub(super) fn is_read_only(error: &Error) -> bool {
    error.source.as_ref().is_some_and(says_read_only)
}

impl<D: Disk> FileStore<D> {
    /// Opens `state` only to read it.
    pub(super) async fn open_state_to_read(&self, dir: &D::Dir) -> io::Result<StateFile<D>> {
        let disk = self.disk();
        let file = match found(disk.open(dir, "state", Mode::Read).await)? {
            Some(file) => file,
            None => disk.open(dir, "status.json", Mode::Read).await?,
        };
        let inode = disk.stat(&file).await?.inode;
        Ok(StateFile {
            file,
            inode,
            read_only: true,
        })
    }

    /// Claims `\Recent` for one session, and returns from which UID on, before which, and the mailbox as it is under the
    /// same lock: what comes a moment later is claimed by whoever is told of it first.
    pub(super) async fn take_recent(&self, mailbox: &Mailbox<D>) -> Result<((Uid, Uid), Option<View>)> {
        let mut hold = self.hold_fresh(mailbox).await?;
        let claimed = (hold.state.recent_from, hold.state.uid_next);
        hold.claim_recent().await?;
        Ok((claimed, mailbox.view()))
    }

    /// Tries whether a mailbox that could only be read can be written to now.
    pub(super) async fn is_still_read_only(&self, mailbox: &Mailbox<D>) -> bool {
        match self.open_state(&mailbox.dir).await {
            Ok(state) if !state.read_only => {
                mailbox.set_state(state);
                mailbox.set_view(None);
                false
            }
            _ => true,
        }
    }

    /// [`FileStore::look`] without the lock, and without writing.
    pub(super) async fn look_read_only(&self, mailbox: &Mailbox<D>) -> Result<(View, State)> {
        let state = self.read_state(mailbox).await?;
        if state.is_some_and(|state| state.gone) {
            return Err(Refusal::NoSuchMailbox.into());
        }
        if let Some(view) = mailbox.view()
            && state.is_none_or(|state| state.done == view.snapshot.modseq)
        {
            let state = state.unwrap_or_else(|| self.numbers_of(mailbox, &view.snapshot));
            return Ok((view, state));
        }
        let label = || format!("read {}", mailbox.label());
        let status = read_file(self.disk(), &mailbox.dir, "status.json")
            .await
            .during(label)?;
        let status = Status::decode(&status.unwrap_or_default()).map_err(|why| Error {
            refusal: Refusal::Storage,
            context: format!("{}: {why}", label()),
            source: None,
        })?;
        let bytes = read_file(self.disk(), &mailbox.dir, "keywords")
            .await
            .during(label)?;
        let mut known = Keywords::default();
        for name in keywords::decode(&bytes.unwrap_or_default()).0 {
            known.push(name);
        }
        let mut keywords = Arc::new(known);
        let mut chunks = self.all_shards(mailbox, &mut keywords).await?;
        let highest = chunks
            .values()
            .filter_map(|rows| rows.last())
            .map(|row| row.uid.0)
            .max();
        // As recovery would.
        let uid_next = state.map_or_else(
            || Uid(status.uid_ceiling.max(highest.unwrap_or(0).saturating_add(1))),
            |state| state.uid_next,
        );
        let floor = match state {
            None if status.dirty => status.modseq_ceiling,
            _ => status.floor,
        };
        for rows in chunks.values_mut() {
            if rows.last().is_some_and(|row| row.uid >= uid_next) {
                *rows = rows.iter().filter(|row| row.uid < uid_next).copied().collect();
            }
        }
        let sums = chunks.values().flat_map(|rows| rows.iter()).collect();
        let snapshot = Snapshot {
            uid_validity: status.uid_validity,
            uid_next,
            modseq: state.map_or(status.modseq_ceiling, |state| state.done),
            rows: Rows::from_chunks(chunks.into_values()).with_floor(floor),
            keywords,
        };
        let state = state.unwrap_or_else(|| self.numbers_of(mailbox, &snapshot));
        let view = View { snapshot, sums };
        mailbox.set_view(Some(view.clone()));
        Ok((view, state))
    }

    /// What `state` would say.
    fn numbers_of(&self, mailbox: &Mailbox<D>, snapshot: &Snapshot) -> State {
        State {
            gone: false,
            boot: self.disk().boot_id(),
            inode: mailbox.state().inode,
            uid_next: snapshot.uid_next,
            recent_from: snapshot.uid_next,
            begun: snapshot.modseq,
            done: snapshot.modseq,
            status: 0,
        }
    }

    /// The rows of all shards.
    async fn all_shards(
        &self,
        mailbox: &Mailbox<D>,
        keywords: &mut Arc<Keywords>,
    ) -> Result<BTreeMap<u32, Arc<[Row]>>> {
        let disk = self.disk();
        let label = || format!("read {}", mailbox.label());
        let mut ahead = self.read_ahead(mailbox).await?;
        let mut chunks = BTreeMap::new();
        for entry in disk.list(&mailbox.shards).await.during(label)?.entries {
            let Some(number) = shard_of_name(&entry.name).filter(|_| entry.is_dir) else {
                continue;
            };
            if let Some(ahead) = ahead.remove(&number) {
                chunks.insert(number, with_keywords(ahead.own, &ahead.wide, keywords));
                continue;
            }
            let opened = disk.open_dir(&mailbox.shards, &entry.name).await;
            let Some(dir) = found(opened).during(label)? else {
                continue;
            };
            let mut scan = scan_dir(disk, &dir).await.during(label)?;
            scan.rows.retain(|(row, _)| self.shard(row.uid) == number);
            let listed = loose(scan.rows);
            chunks.insert(number, with_keywords(listed.rows, &listed.wide, keywords));
        }
        Ok(chunks)
    }
}
