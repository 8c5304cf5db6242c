//! The messages of a mailbox: each name, and the file behind it.

use std::collections::BTreeSet;
use std::io;

use rmail_core::mailbox::{Row, Uid};
use sha2::{Digest as _, Sha256};

use crate::disk::{Disk, Mode, STAND_IN, Stat};
use crate::file::io::found;
use crate::file::parsed::{self, check::Records};
use crate::file::status::Status;

use super::super::image::{Image, Shard, present_name, shard_name};
use super::mailbox::Subject;
use super::repair::{Draft, Fix, Message};
use super::{Code, Event, Run};

/// Messages between two reports of progress.
const STEP: usize = 500;

/// Octets read at once.
const BUFFER: usize = 256 * 1024;

/// Why a message is not where clients look for it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hidden {
    No,
    WrongShard,
    Beyond,
    Second,
}

/// A shard that is being looked through.
struct Place<'p, D: Disk> {
    subject: &'p Subject<'p, D>,
    image: &'p Image,
    /// What is remembered of its messages.
    records: Option<Records<D>>,
    dir: D::Dir,
    name: &'p str,
    uid_next: u32,
}

impl<D: Disk> Run<'_, D> {
    /// All names of a mailbox.
    pub(super) async fn names_of(
        &mut self,
        subject: &Subject<'_, D>,
        (image, status): (&Image, &Status),
        uid_next: u32,
        count: bool,
        drafts: &mut Vec<Draft<D>>,
    ) -> io::Result<()> {
        let disk = self.store.disk();
        let Some(shards) = found(disk.open_dir(&subject.level.dir, "shards").await)? else {
            return Ok(());
        };
        let path = format!("{}/shards", subject.path);
        self.temporary(&shards, &path, drafts).await;
        for name in &image.loose {
            if !name.starts_with(STAND_IN) && !name.ends_with(".tmp") {
                let detail = "it lies beside the shards".to_owned();
                let fix = Fix::Aside {
                    dir: shards.clone(),
                    name: name.clone(),
                    user: subject.user.clone(),
                };
                drafts.push(Draft::new(
                    Code::NameGrammar,
                    format!("{path}/{name}"),
                    detail,
                    fix,
                ));
            }
        }
        for (name, shard) in &image.shards {
            let path = format!("{path}/{name}");
            let number = name
                .parse::<u32>()
                .ok()
                .filter(|number| shard_name(*number) == *name);
            if number.is_none() {
                let detail = format!("{} message(s) lie in it", shard.rows.len());
                let fix = Fix::OddShard {
                    shards: shards.clone(),
                    name: name.clone(),
                    user: subject.user.clone(),
                };
                drafts.push(Draft::new(Code::ShardName, path, detail, fix));
                continue;
            }
            let Some(dir) = found(disk.open_dir(&shards, name).await)? else {
                continue;
            };
            self.access_at(&shards, name, &path, drafts).await;
            let records = self.records(subject, status, number.unwrap_or(0), drafts).await?;
            let place = Place {
                subject,
                image,
                records,
                dir,
                name,
                uid_next,
            };
            self.strange_names(&place, shard, &path, drafts).await?;
            self.shard(&place, shard, count, drafts).await?;
        }
        Ok(())
    }

    /// What is no message's name.
    async fn strange_names(
        &self,
        place: &Place<'_, D>,
        shard: &Shard,
        path: &str,
        drafts: &mut Vec<Draft<D>>,
    ) -> io::Result<()> {
        if !shard.others.is_empty() {
            self.temporary(&place.dir, path, drafts).await;
        }
        for name in &shard.others {
            if name.starts_with(STAND_IN) || name.ends_with(".tmp") {
                continue;
            }
            let Some(stat) = found(self.disk().stat_link(&place.dir, name).await)? else {
                continue;
            };
            let (code, detail) = if stat.is_file {
                (Code::NameGrammar, format!("{} octets", stat.size))
            } else {
                (Code::NotAFile, what(&stat).to_owned())
            };
            let fix = Fix::Aside {
                dir: place.dir.clone(),
                name: name.clone(),
                user: place.subject.user.clone(),
            };
            drafts.push(Draft::new(code, format!("{path}/{name}"), detail, fix));
        }
        Ok(())
    }

    async fn shard(
        &mut self,
        place: &Place<'_, D>,
        shard: &Shard,
        count: bool,
        drafts: &mut Vec<Draft<D>>,
    ) -> io::Result<()> {
        let seconds = seconds(place, shard);
        for (at, row) in shard.rows.iter().enumerate() {
            let hidden = if shard_name(self.rules.shard(row.uid)) != *place.name {
                Hidden::WrongShard
            } else if row.uid.0 >= place.uid_next {
                let state = place.image.state;
                if state.is_some_and(|state| state.begun != state.done && state.begun == row.modseq) {
                    // Of a change whose writer died: nobody was told of it.
                    continue;
                }
                Hidden::Beyond
            } else if seconds.contains(&at) {
                Hidden::Second
            } else {
                Hidden::No
            };
            self.message(place, row, hidden, drafts).await?;
            if count && (at + 1) % STEP == 0 {
                (self.tell)(Event::Messages(STEP as u64));
            }
        }
        if count {
            (self.tell)(Event::Messages((shard.rows.len() % STEP) as u64));
        }
        Ok(())
    }

    /// One name.
    async fn message(
        &self,
        place: &Place<'_, D>,
        row: &Row,
        hidden: Hidden,
        drafts: &mut Vec<Draft<D>>,
    ) -> io::Result<()> {
        let disk = self.disk();
        let mut name = place.image.name(row);
        let mut stat = found(disk.stat_link(&place.dir, &name).await)?;
        for _ in 0..3 {
            if stat.is_some() || hidden != Hidden::No {
                break;
            }
            // Its flags have changed meanwhile, or it has gone.
            let Some(present) = present_name(disk, &place.dir, row).await? else {
                return Ok(());
            };
            stat = found(disk.stat_link(&place.dir, &present).await)?;
            name = present;
        }
        let Some(stat) = stat else { return Ok(()) };
        let mut found = self.judge(place, row, &name, hidden, &stat).await?;
        if found.is_empty() && self.options.deep && stat.is_file {
            found.extend(self.read(place, row, &name, &stat).await);
        }
        let path = format!("{}/shards/{}/{name}", place.subject.path, place.name);
        let mut access = Vec::new();
        self.access(&stat, &place.dir, &name, &path, &mut access);
        let found = found
            .into_iter()
            .map(|(code, detail, fix)| Draft::new(code, path.clone(), detail, fix));
        for mut draft in found.chain(access) {
            draft.finding.uid = Some(row.uid);
            drafts.push(draft);
        }
        Ok(())
    }

    /// What is wrong with a name or its file, from what the directory says.
    async fn judge(
        &self,
        place: &Place<'_, D>,
        row: &Row,
        name: &str,
        hidden: Hidden,
        stat: &Stat,
    ) -> io::Result<Vec<(Code, String, Fix<D>)>> {
        let message = message_of(place, row, name, hidden, stat);
        let user = place.subject.user.clone();
        let aside = |hidden| match hidden {
            Hidden::No if !stat.is_dir => {
                Fix::Message(message_of(place, row, name, hidden, stat), user.clone())
            }
            _ => Fix::Aside {
                dir: place.dir.clone(),
                name: name.to_owned(),
                user: user.clone(),
            },
        };
        if !stat.is_file {
            return Ok(vec![(Code::NotAFile, what(stat).to_owned(), aside(hidden))]);
        }
        let size = u64::from(row.size);
        let is_empty = stat.size == 0 && size > 0;
        if hidden == Hidden::No {
            let detail = format!("the name says {size} octets, the file has {}", stat.size);
            return Ok(match stat.size {
                0 if is_empty => vec![(Code::FileEmpty, detail, aside(hidden))],
                less if less < size => vec![(Code::FileTruncated, detail, Fix::NewUid(message))],
                more if more > size => vec![(Code::NameSize, detail, Fix::NewUid(message))],
                _ => Vec::new(),
            });
        }
        let (code, detail) = match hidden {
            Hidden::WrongShard => {
                let right = shard_name(self.rules.shard(row.uid));
                (Code::NameShard, format!("UID {} belongs to {right}", row.uid.0))
            }
            Hidden::Beyond => (Code::UidBeyond, format!("UIDNEXT is {}", place.uid_next)),
            _ => (
                Code::NameDouble,
                format!("UID {} has another name too", row.uid.0),
            ),
        };
        let fix = if is_empty {
            aside(hidden)
        } else if hidden == Hidden::Second && self.is_same_file(place, row, stat).await? {
            Fix::Second {
                dir: place.dir.clone(),
                name: name.to_owned(),
            }
        } else {
            Fix::NewUid(message)
        };
        Ok(vec![(code, detail, fix)])
    }

    /// Whether the name that counts for this UID is the same file.
    async fn is_same_file(&self, place: &Place<'_, D>, row: &Row, stat: &Stat) -> io::Result<bool> {
        let rows = place.image.shards.get(place.name).map(|shard| &shard.rows);
        for other in rows
            .into_iter()
            .flatten()
            .filter(|other| other.uid == row.uid && *other != row)
        {
            let name = place.image.name(other);
            let other = found(self.disk().stat_link(&place.dir, &name).await)?;
            if other.is_some_and(|other| other.inode == stat.inode) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads a message to its end.
    async fn read(
        &self,
        place: &Place<'_, D>,
        row: &Row,
        name: &str,
        stat: &Stat,
    ) -> Option<(Code, String, Fix<D>)> {
        let disk = self.disk();
        let file = match found(disk.open(&place.dir, name, Mode::Read).await) {
            Ok(Some(file)) => file,
            // Renamed or expunged since; it was there a moment ago.
            Ok(None) => return None,
            Err(error) => return Some((Code::FileUnreadable, error.to_string(), Fix::None)),
        };
        let known = match &place.records {
            // A record that cannot be read is none.
            Some(records) => records.email_id(disk, row).await.ok().flatten(),
            None => None,
        };
        let mut hash = known.is_some().then(Sha256::new);
        let (mut buffer, mut offset, mut zeros) = (vec![0; BUFFER.min(read_size(stat))], 0_u64, true);
        loop {
            match disk.read_at(&file, &mut buffer, offset).await {
                Ok(0) => break,
                Ok(count) => {
                    let part = buffer.get(..count).unwrap_or_default();
                    zeros &= part.iter().all(|octet| *octet == 0);
                    if let Some(hash) = &mut hash {
                        hash.update(part);
                    }
                    offset += count as u64;
                }
                Err(error) => {
                    let detail = format!("after {offset} octets: {error}; a backup may have it");
                    return Some((Code::FileUnreadable, detail, Fix::None));
                }
            }
        }
        let message = message_of(place, row, name, Hidden::No, stat);
        if zeros && offset > 0 {
            let fix = Fix::Message(message, place.subject.user.clone());
            return Some((Code::FileZeros, format!("{offset} octets"), fix));
        }
        if offset != stat.size {
            let detail = format!("the disk gives {offset} of {} octets", stat.size);
            return Some((Code::FileUnreadable, detail, Fix::None));
        }
        let hash: Option<[u8; 32]> = hash.map(|hash| hash.finalize().into());
        if let (Some(known), Some(hash)) = (known, hash)
            && !hash.starts_with(&known.0)
        {
            let detail = "its hash is not the one that it had when it was stored".to_owned();
            return Some((Code::FileChanged, detail, self.forget(place).await?));
        }
        None
    }

    /// Forgets what is remembered of a shard.
    async fn forget(&self, place: &Place<'_, D>) -> Option<Fix<D>> {
        let dir = self.disk().open_dir(&place.subject.level.dir, parsed::DIR).await;
        Some(Fix::Unlink {
            dir: dir.ok()?,
            name: place.name.to_owned(),
        })
    }
}

fn read_size(stat: &Stat) -> usize {
    usize::try_from(stat.size).unwrap_or(BUFFER).max(1)
}

fn message_of<D: Disk>(
    place: &Place<'_, D>,
    row: &Row,
    name: &str,
    hidden: Hidden,
    stat: &Stat,
) -> Message<D> {
    let bits = crate::file::names::decode(name).map_or([0; 4], |(_, bits)| bits);
    Message {
        dir: place.dir.clone(),
        name: name.to_owned(),
        row: *row,
        bits,
        size: u32::try_from(stat.size).unwrap_or(u32::MAX),
        in_place: hidden != Hidden::WrongShard,
    }
}

/// Positions of the names that do not count because of another of the same UID.
fn seconds<D: Disk>(place: &Place<'_, D>, shard: &Shard) -> BTreeSet<usize> {
    let rank = |row: &Row| (row.modseq, row.flags.0, place.image.words.bits(row.keywords));
    let mut seconds = BTreeSet::new();
    let mut best: Option<(Uid, usize)> = None;
    for (at, row) in shard.rows.iter().enumerate() {
        match best {
            Some((uid, old)) if uid == row.uid => {
                let is_better = shard.rows.get(old).is_none_or(|old| rank(old) < rank(row));
                seconds.insert(if is_better { old } else { at });
                if is_better {
                    best = Some((uid, at));
                }
            }
            _ => best = Some((row.uid, at)),
        }
    }
    seconds
}

fn what(stat: &Stat) -> &'static str {
    match (stat.is_dir, stat.is_file) {
        (true, _) => "it is a directory",
        (_, true) => "it is a file",
        _ => "it is a symbolic link, a device, a socket or a FIFO",
    }
}
