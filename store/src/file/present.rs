//! Finding a message by its UID when its name may have changed since it was last seen.

use rmail_core::mailbox::{Keyword, Row, Uid};

use crate::disk::{Disk, Mode};
use crate::error::Result;

use super::cache::scan_dir;
use super::io::{During as _, found, read_file};
use super::mailbox::{Mailbox, View};
use super::{FileStore, keywords, names};

/// The source's shard of a UID; the last one is kept open. `None`: the shard has gone.
pub(super) async fn open_shard<D: Disk>(
    store: &FileStore<D>,
    mailbox: &Mailbox<D>,
    uid: Uid,
    last: &mut Option<(u32, D::Dir)>,
) -> Result<Option<D::Dir>> {
    let shard = store.shard(uid);
    if let Some((_, dir)) = last.as_ref().filter(|(number, _)| *number == shard) {
        return Ok(Some(dir.clone()));
    }
    let dir = store.shard_dir(mailbox, shard).await?;
    *last = dir.clone().map(|dir| (shard, dir));
    Ok(dir)
}

/// The keywords of a mailbox by bit, as they are on disk now.
pub(super) async fn source_words<D: Disk>(
    store: &FileStore<D>,
    mailbox: &Mailbox<D>,
) -> Result<Vec<Keyword>> {
    let bytes = read_file(store.disk(), &mailbox.dir, "keywords")
        .await
        .during(|| format!("read the keywords of {}", mailbox.label()))?;
    Ok(keywords::decode(&bytes.unwrap_or_default()).0)
}

/// A UID's present name, as far as a listing tells.
pub(super) enum Present {
    /// This, with its keywords' bits.
    Named(Row, [u64; 4]),
    /// It has none.
    Gone,
    /// A listing of several calls does not have it, which says nothing.
    Unknown,
}

pub(super) async fn present_name<D: Disk>(store: &FileStore<D>, dir: &D::Dir, uid: Uid) -> Result<Present> {
    let scan = scan_dir(store.disk(), dir)
        .await
        .during(|| format!("look for UID {}", uid.0))?;
    let found = scan.rows.into_iter().find(|(row, _)| row.uid == uid);
    Ok(match found {
        Some((row, bits)) => Present::Named(row, bits),
        None if scan.exact => Present::Gone,
        None => Present::Unknown,
    })
}

impl<D: Disk> FileStore<D> {
    /// Opens a message; its name may have changed since the view.
    pub(super) async fn open_blob(
        &self,
        mailbox: &Mailbox<D>,
        view: &View,
        uid: Uid,
    ) -> Result<Option<super::Blob<D>>> {
        let Some((_, row)) = view.snapshot.rows.find(uid) else {
            return Ok(None);
        };
        let bits = view.snapshot.keywords.bits(row.keywords);
        let label = || format!("open UID {} of {}", uid.0, mailbox.label());
        let len = u64::from(row.size);
        // A shard that is kept open is not compared with its name first: what is in it, in whatever place, is the message.
        if let Some(dir) = self.kept_shard(mailbox, self.shard(uid)) {
            let file = self
                .disk()
                .open(&dir, &names::encode(row, bits), Mode::Read)
                .await;
            if let Some(file) = found(file).during(label)? {
                return Ok(Some(super::Blob { file, len }));
            }
        }
        let Some(dir) = open_shard(self, mailbox, uid, &mut None).await? else {
            return Ok(None);
        };
        let mut present = Some((*row, bits));
        for _ in 0..4 {
            let Some((row, bits)) = present else {
                return Ok(None);
            };
            let name = names::encode(&row, bits);
            let file = self.disk().open(&dir, &name, Mode::Read).await;
            if let Some(file) = found(file).during(label)? {
                let len = u64::from(row.size);
                return Ok(Some(super::Blob { file, len }));
            }
            present = match present_name(self, &dir, uid).await? {
                Present::Named(row, bits) => Some((row, bits)),
                Present::Gone | Present::Unknown => None,
            };
        }
        Ok(None)
    }
}
