//! Old messages for a mailbox that has messages of its own: they get new UIDs.

use std::collections::BTreeSet;

use rmail_core::time::DateTime;

use crate::disk::{Disk, Mode};
use crate::error::Result;
use crate::file::FileStore;
use crate::file::account::AccountHold;
use crate::file::add::New;
use crate::file::io::{During as _, found, or_exists};
use crate::file::spool::Body;
use crate::transfer::index::Entry;

use super::{Event, Job, OldFile, Tell, row};

/// What the name of a file that is in gets at its end.
const MERGED: &str = ".merged";

impl<D: Disk> FileStore<D> {
    /// Links the messages into the mailbox, one by one: each is on disk before its file gets another name.
    pub(super) async fn merge(
        &self,
        job: &Job<'_, D>,
        held: &AccountHold<D>,
        target: &D::Dir,
        tell: Tell<'_>,
    ) -> Result<bool> {
        let label = || format!("merge {}", job.label);
        let mailbox = self.open_mailbox(job.account, target, held).await?;
        let hold = self.hold_fresh(&mailbox).await?;
        let own = mailbox.view().map(|view| view.snapshot.rows).unwrap_or_default();
        drop(hold);
        let merged = self.merged(job).await.during(label)?;
        let mut inodes = None;
        let mut told = false;
        for entry in &job.index.entries {
            let name = job.files.get(&entry.uid);
            if name.is_none()
                && let Some(name) = merged.get(&entry.uid)
            {
                let file = self.read_old(&job.source, name).await.during(label)?;
                tell(message(&file, true));
                continue;
            }
            if name.is_none() && own.find(entry.uid).is_some() {
                // An earlier run was cut after the switch: it is there under its own UID.
                let blob = self.open_row(&mailbox, entry).await?;
                if let Some(file) = blob {
                    tell(message(&file, true));
                    continue;
                }
            }
            let (Some(file), Some(name)) = (self.old_file(job, entry, tell).await?, name) else {
                continue;
            };
            let mut linked = match (&mut inodes, file.links) {
                (_, ..=1) => false,
                (Some(inodes), _) => BTreeSet::contains(inodes, &file.inode),
                (unread, _) => {
                    let found = self.inodes(&mailbox.shards).await.during(label)?;
                    unread.insert(found).contains(&file.inode)
                }
            };
            if !linked && own.find(entry.uid).is_some() {
                // Copied, where there are no links, by a run that was cut after the switch.
                let there = self.open_row(&mailbox, entry).await?;
                linked = there.is_some_and(|there| there.hash == file.hash);
            }
            if !linked {
                if !told {
                    told = true;
                    tell(Event::Note(format!(
                        "{}: there is a mailbox with messages of its own; the old ones get new UIDs in it",
                        job.label
                    )));
                }
                self.link_old(job, &mailbox, entry, &file, name).await?;
            }
            let merged = format!("{name}{MERGED}");
            let renamed = self.disk().rename(&job.source, name, &job.source, &merged).await;
            or_exists(renamed).during(label)?;
            tell(message(&file, linked));
        }
        for name in self.merged(job).await.during(label)?.into_values() {
            found(self.disk().unlink(&job.source, &name).await).during(label)?;
        }
        Ok(true)
    }

    async fn link_old(
        &self,
        job: &Job<'_, D>,
        mailbox: &std::sync::Arc<crate::file::mailbox::Mailbox<D>>,
        entry: &Entry,
        file: &OldFile<D>,
        name: &str,
    ) -> Result<()> {
        let label = || format!("merge {}", job.label);
        self.disk().sync(&file.file).await.during(label)?;
        let row = row(entry, file.size, file.mtime);
        let mut news = [New {
            body: Body {
                file: file.file.clone(),
                size: row.size,
                named: Some((job.source.clone(), name.to_owned())),
                parsed: None,
            },
            flags: entry.flags.clone(),
            date: DateTime {
                unix: row.date,
                zone: row.zone,
            },
        }];
        let more = news.iter().map(New::usage).sum();
        let ticket = self.reserve_always(&mailbox.reference.account, more).await?;
        let added = self.add(mailbox, &mut news, ticket, job.now).await?;
        let modseq = added.modseq;
        self.keep(vec![added], &[]).await?;
        self.announce(mailbox, modseq);
        Ok(())
    }

    /// Files that are in, by UID.
    async fn merged(
        &self,
        job: &Job<'_, D>,
    ) -> std::io::Result<std::collections::BTreeMap<rmail_core::mailbox::Uid, String>> {
        let entries = self.disk().list(&job.source).await?.entries.into_iter();
        let merged = entries.filter_map(|entry| {
            let uid = crate::transfer::index::uid_of_file(entry.name.strip_suffix(MERGED)?)?;
            Some((uid, entry.name))
        });
        Ok(merged.collect())
    }

    /// The inodes of a mailbox's messages.
    async fn inodes(&self, shards: &D::Dir) -> std::io::Result<BTreeSet<u64>> {
        let mut inodes = BTreeSet::new();
        for shard in self.disk().list(shards).await?.entries {
            let Some(dir) = found(self.disk().open_dir(shards, &shard.name).await)? else {
                continue;
            };
            for file in self.disk().list(&dir).await?.entries {
                if let Some(stat) = found(self.disk().stat_at(&dir, &file.name).await)? {
                    inodes.insert(stat.inode);
                }
            }
        }
        Ok(inodes)
    }

    /// The message of an entry in the mailbox, if it has its UID there.
    async fn open_row(
        &self,
        mailbox: &crate::file::mailbox::Mailbox<D>,
        entry: &Entry,
    ) -> Result<Option<OldFile<D>>> {
        let label = || format!("read {}", mailbox.label());
        let shard = crate::file::cache::shard_name(self.shard(entry.uid));
        let opened = self.disk().open_dir(&mailbox.shards, &shard).await;
        let Some(dir) = found(opened).during(label)? else {
            return Ok(None);
        };
        for file in self.disk().list(&dir).await.during(label)?.entries {
            if crate::file::names::uid_of(&file.name) == Some(entry.uid) {
                // It may be renamed meanwhile; then it is told as missing, and stays where it is.
                let opened = found(self.disk().open(&dir, &file.name, Mode::Read).await).during(label)?;
                if opened.is_some() {
                    return found(self.read_old(&dir, &file.name).await).during(label);
                }
            }
        }
        Ok(None)
    }
}

fn message<D: Disk>(file: &OldFile<D>, already: bool) -> Event {
    Event::Message {
        octets: file.size,
        hash: file.hash,
        already,
    }
}
