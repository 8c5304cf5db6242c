//! Which UIDs have gone since a MODSEQ: what the expunge log says, and when it cannot say (RFC 7162 §3.2.10).
//!
//! The log is exact for every MODSEQ from its floor on:
//!
//! * Whoever removes names adds the record first, under the same hold. Killed in between, it leaves a record of UIDs that
//!   exist: those do not count.
//! * A UID that a stranger has removed gets its record, with a new MODSEQ, from the first who misses it.
//! * What was not synced when the machine ended (records whose names have gone, messages that were seen but never
//!   synced) leaves nothing to be found. So the floor rises to the first MODSEQ of every start of the machine.
//! * A removal that the machine's end has undone was seen by others before it was synced. The mailbox was marked dirty
//!   before it, so that the floor of all MODSEQs rises, and clients see the message again.
//!
//! Without a log, or with a head that is torn, all is forgotten, unless no UID is missing at all.

use rmail_core::mailbox::{ModSeq, Snapshot, Uid, UidSet, Vanished};

use crate::disk::{Disk, Mode};
use crate::error::Result;

use super::FileStore;
use super::expunged::{self, Expunged};
use super::hold::Hold;
use super::io::{During as _, read_file};
use super::mailbox::Mailbox;

impl<D: Disk> FileStore<D> {
    pub(super) async fn vanished_since(
        &self,
        mailbox: &Mailbox<D>,
        since: ModSeq,
        snapshot: &Snapshot,
    ) -> Result<Vanished> {
        let bytes = read_file(self.disk(), &mailbox.dir, "expunged")
            .await
            .during(|| format!("read the expunge log of {}", mailbox.label()))?
            .unwrap_or_default();
        Ok(vanished(&expunged::decode(&bytes), since, snapshot))
    }
}

/// What the log says.
fn vanished(log: &[Expunged], since: ModSeq, snapshot: &Snapshot) -> Vanished {
    let used = u64::from(snapshot.uid_next.0.saturating_sub(1));
    if since >= snapshot.modseq || snapshot.rows.len() as u64 == used {
        return Vanished::These(UidSet::new());
    }
    let floor = log
        .first()
        .filter(|head| head.first == Uid(0))
        .map(|head| head.modseq);
    if floor.is_none_or(|floor| since < floor) {
        return Vanished::Forgotten;
    }
    // What came after the snapshot is for the next one.
    let news = log
        .iter()
        .filter(|record| record.first != Uid(0) && record.modseq > since && record.modseq <= snapshot.modseq);
    let gone = UidSet::from_ranges(news.map(|record| (record.first.0, record.last.0)));
    if gone.is_empty() {
        return Vanished::These(gone);
    }
    let present = snapshot.rows.iter().map(|row| row.uid);
    let back: UidSet = present.filter(|uid| gone.contains(*uid)).collect();
    Vanished::These(gone.without(&back))
}

impl<D: Disk> Hold<'_, D> {
    /// Raises the log's floor: what went before may not have been recorded. The log is made if there is none.
    pub(super) async fn forget_expunged(&self, floor: ModSeq) -> Result<()> {
        let label = || format!("write the expunge log of {}", self.mailbox.label());
        let (disk, dir) = (self.store.disk(), &self.mailbox.dir);
        let file = disk.open(dir, "expunged", Mode::Create).await.during(label)?;
        let head = Expunged::head(floor).encode();
        disk.write_at(&file, &head, 0).await.during(label)
    }
}
