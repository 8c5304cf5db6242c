//! A mailbox that is made whole before anybody sees it.

use std::collections::BTreeMap;

use rmail_core::mailbox::{Keywords, MailboxId, ModSeq, SpecialUse, Uid, UidValidity};

use crate::disk::{Disk, Mode};
use crate::error::Result;
use crate::file::FileStore;
use crate::file::account::AccountHold;
use crate::file::cache::shard_name;
use crate::file::io::{During as _, found, open_or_make_dir, replace_file};
use crate::file::spool::link_fails;
use crate::file::status::Status;
use crate::file::{keywords, names};
use crate::transfer::index::Entry;
use crate::transfer::special_use::usual_use;

use super::{Event, Job, OldFile, STATUS, Tell, row};

/// The bitmap of an entry's keywords.
type Bits = [u64; 4];

impl<D: Disk> FileStore<D> {
    /// Moves all messages and makes the mailbox. It is whole afterwards, but for messages that were told.
    pub(super) async fn build(
        &self,
        job: &Job<'_, D>,
        held: &AccountHold<D>,
        target: &D::Dir,
        tell: Tell<'_>,
    ) -> Result<bool> {
        let label = || format!("migrate {}", job.label);
        let disk = self.disk();
        let bits = self.write_keywords(job, target, tell).await?;
        let building = open_or_make_dir(disk, target, "migrating").await.during(label)?;
        let moved = self.moved(&building).await.during(label)?;
        let mut done = Vec::with_capacity(job.index.entries.len());
        let mut shard: Option<(u32, D::Dir)> = None;
        for (entry, bits) in job.index.entries.iter().zip(bits) {
            let (file, already) = if let Some((dir, name)) = moved.get(&entry.uid) {
                let dir = disk.open_dir(&building, dir).await.during(label)?;
                (self.read_old(&dir, name).await.during(label)?, true)
            } else {
                let (Some(file), Some(old)) =
                    (self.old_file(job, entry, tell).await?, job.files.get(&entry.uid))
                else {
                    continue;
                };
                let number = self.shard(entry.uid);
                let dir = match &shard {
                    Some((known, dir)) if *known == number => dir.clone(),
                    _ => open_or_make_dir(disk, &building, &shard_name(number))
                        .await
                        .during(label)?,
                };
                shard = Some((number, dir.clone()));
                let name = names::encode(&row(entry, file.size, file.mtime), bits);
                self.link_or_copy(job, old, &file, &dir, &name).await?;
                (file, false)
            };
            done.push(entry.uid);
            let (octets, hash) = (file.size, file.hash);
            tell(Event::Message {
                octets,
                hash,
                already,
            });
        }
        self.switch(job, held, target, moved.keys().next_back().copied())
            .await?;
        for name in done.iter().filter_map(|uid| job.files.get(uid)) {
            found(disk.unlink(&job.source, name).await).during(label)?;
        }
        Ok(true)
    }

    /// Gives a message its new name.
    async fn link_or_copy(
        &self,
        job: &Job<'_, D>,
        old: &str,
        file: &OldFile<D>,
        dir: &D::Dir,
        name: &str,
    ) -> Result<()> {
        let label = || format!("link {old} of {}", job.label);
        match self.disk().link(&job.source, old, dir, name).await {
            Err(error) if link_fails(&error) || error.kind() == std::io::ErrorKind::Unsupported => {
                let size = u32::try_from(file.size).unwrap_or(u32::MAX);
                let copy = self.duplicate(&file.file, size, dir).await?;
                self.disk()
                    .link_unnamed(&copy.file, dir, name)
                    .await
                    .during(label)
            }
            linked => linked.during(label),
        }
    }

    /// Writes `keywords`, and returns each entry's bitmap.
    async fn write_keywords(&self, job: &Job<'_, D>, target: &D::Dir, tell: Tell<'_>) -> Result<Vec<Bits>> {
        let mut known = Keywords::default();
        let mut lost = 0;
        let mut bits_of = |entry: &Entry| {
            let mut bits = [0; 4];
            for keyword in &entry.flags.keywords {
                let bit = known.bit(keyword);
                match bit.or_else(|| known.push(keyword.clone())) {
                    Some(bit) => {
                        if let Some(word) = bits.get_mut(bit / 64) {
                            *word |= 1 << (bit % 64);
                        }
                    }
                    None => lost += 1,
                }
            }
            bits
        };
        let bits = job.index.entries.iter().map(&mut bits_of).collect();
        if lost > 0 {
            tell(Event::Note(format!(
                "{}: a mailbox can have {} keywords; {lost} uses of further ones are lost",
                job.label,
                Keywords::MAX
            )));
        }
        let lines: Vec<u8> = known.names().iter().flat_map(keywords::encode).collect();
        if !lines.is_empty() {
            let written = replace_file(self.disk(), target, "keywords", &lines).await;
            written.during(|| format!("write the keywords of {}", job.label))?;
        }
        Ok(bits)
    }

    /// What an earlier run has moved: shard and name by UID.
    async fn moved(&self, building: &D::Dir) -> std::io::Result<BTreeMap<Uid, (String, String)>> {
        let mut moved = BTreeMap::new();
        for shard in self.disk().list(building).await?.entries {
            let Some(dir) = found(self.disk().open_dir(building, &shard.name).await)? else {
                continue;
            };
            for file in self.disk().list(&dir).await?.entries {
                if let Some(uid) = names::uid_of(&file.name) {
                    moved.insert(uid, (shard.name.clone(), file.name));
                }
            }
        }
        Ok(moved)
    }

    /// Makes it a mailbox, when all that it consists of is on disk.
    async fn switch(
        &self,
        job: &Job<'_, D>,
        held: &AccountHold<D>,
        target: &D::Dir,
        moved: Option<Uid>,
    ) -> Result<()> {
        let label = || format!("make {} a mailbox", job.label);
        let disk = self.disk();
        let status = self.migrated_status(job, held, moved).await?;
        disk.sync_fs(target).await.during(label)?;
        replace_file(disk, target, STATUS, &status.encode())
            .await
            .during(label)?;
        // Only an empty one can be there: the shell of a mailbox that was never made.
        found(disk.remove_dir(target, "shards").await).during(label)?;
        disk.rename(target, "migrating", target, "shards")
            .await
            .during(label)?;
        disk.sync_dir(target).await.during(label)?;
        self.give_status(target, &job.label).await
    }

    /// The last step of the switch.
    pub(in crate::file) async fn give_status(&self, target: &D::Dir, label: &str) -> Result<()> {
        let label = || format!("make {label} a mailbox");
        let disk = self.disk();
        // Whether the octets are on disk is not known to one who only found the file.
        let file = disk.open(target, STATUS, Mode::Read).await.during(label)?;
        disk.sync(&file).await.during(label)?;
        disk.replace(target, STATUS, "status.json").await.during(label)?;
        disk.sync_dir(target).await.during(label)
    }

    async fn migrated_status(
        &self,
        job: &Job<'_, D>,
        held: &AccountHold<D>,
        moved: Option<Uid>,
    ) -> Result<Status> {
        if let Some(validity) = job.index.uid_validity {
            self.reserve_uid_validity(job.account, held, validity, job.now)
                .await?;
        }
        // Identities are the account's own: old mailboxes may share a UIDVALIDITY.
        let id = self.take_uid_validity(job.account, held, 1, job.now).await?;
        let last_entry = job.index.entries.last().map(|entry| entry.uid);
        let last_file = job.files.keys().next_back().copied();
        let last = last_entry.max(last_file).max(moved).unwrap_or_default();
        let limit = self.limits().last_uid;
        let next = last.0.min(limit).saturating_add(1);
        let told = job.index.uid_next.unwrap_or_default().0.min(limit);
        let special: Vec<SpecialUse> = usual_use(job.name).into_iter().collect();
        let levels = self.walk(job.account).await?;
        let mut others = levels.values().flatten();
        let taken = others.any(|status| special.iter().any(|special| status.special_use.contains(special)));
        Ok(Status {
            id: MailboxId(id),
            uid_ceiling: next.max(told),
            modseq_ceiling: ModSeq(2),
            ..Status::new(
                job.index.uid_validity.unwrap_or(UidValidity(id)),
                if taken { Vec::new() } else { special },
            )
        })
    }

    /// For one who finds `shards` without `status.json`: whether a migration was cut in the middle of the switch, and is now
    /// done.
    pub(in crate::file) async fn finish_switch(&self, dir: &D::Dir, label: &str) -> Result<bool> {
        let found = found(self.disk().stat_at(dir, STATUS).await);
        if found.during(|| format!("read {label}"))?.is_none() {
            return Ok(false);
        }
        self.give_status(dir, label).await?;
        Ok(true)
    }
}
