//! The newest backup beside the one that is being made: what it has need not be read or copied again.

use std::collections::HashMap;

use rmail_core::addr::AccountName;

use crate::disk::Disk;

use super::super::places::open_path;
use super::manifest::{Line, Reader};

/// A stored file as the manifest knows it: device, inode, time of last change of content.
type Source = (u64, u64, i64);

/// A complete backup.
pub(super) struct Previous<D: Disk> {
    top: D::Dir,
    reader: Reader<D>,
    /// Where the messages of a mailbox begin, by account and id.
    mailboxes: HashMap<(String, u32), (u64, String)>,
    /// The messages of one mailbox: size, path and hash.
    messages: HashMap<Source, (u64, String, String)>,
}

impl<D: Disk> Previous<D> {
    /// Opens one. `None`: it is of no use.
    pub(super) async fn open(disk: &D, target: &D::Dir, name: &str) -> Option<Self> {
        let top = disk.open_dir(target, name).await.ok()?;
        let mut reader: Reader<D> = Reader::unchecked(disk, &top).await.ok()?;
        let mut mailboxes = HashMap::new();
        // To its end: only a complete one is trusted.
        loop {
            match reader.next(disk).await {
                Ok(Some(Line::Mailbox(line))) => {
                    let key = (line.account, line.id);
                    mailboxes.insert(key, (reader.position(), line.path));
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => {
                    log::warn!("the backup {name} is not used: {error}");
                    return None;
                }
            }
        }
        Some(Self {
            top,
            reader,
            mailboxes,
            messages: HashMap::new(),
        })
    }

    /// Reads the messages of a mailbox.
    pub(super) async fn load(&mut self, disk: &D, account: &AccountName, id: u32) {
        self.messages.clear();
        let key = (account.as_str().to_owned(), id);
        let Some((offset, path)) = self.mailboxes.get(&key) else {
            return;
        };
        self.reader.seek(*offset);
        while let Ok(Some(Line::Message(line))) = self.reader.next(disk).await {
            let at = format!("{path}/{}", line.path);
            self.messages.insert(line.source, (line.size, at, line.sha256));
        }
    }

    /// Path and hash of a message of that mailbox by its stored file.
    pub(super) fn find(&self, source: Source, size: u64) -> Option<(String, String)> {
        let (known, path, sha256) = self.messages.get(&source)?;
        (*known == size).then(|| (path.clone(), sha256.clone()))
    }

    /// Gives a message of it a further name. False: that cannot be done.
    pub(super) async fn link(&self, disk: &D, path: &str, to: &D::Dir, name: &str) -> bool {
        let Some((above, entry)) = path.rsplit_once('/') else {
            return false;
        };
        match open_path(disk, &self.top, above).await {
            Ok(Some(dir)) => disk.link(&dir, entry, to, name).await.is_ok(),
            _ => false,
        }
    }
}
