//! A mailbox as it was at one moment, read beside others who change it.
//!
//! `state` is read, then the shards and the small files, then `state` again. If it is the same and says that no change
//! is under way, all that was read is of one moment. If not, what changed meanwhile is read again; after a few rounds
//! under the naming lock, by when little is left to be read.

use core::time::Duration;
use std::collections::BTreeMap;
use std::io;

use rmail_core::mailbox::{Keywords, Row, Uid};

use crate::disk::{Disk, Mode, Stat};
use crate::file::io::{found, read_file};
use crate::file::names;
use crate::file::state::{self, State};
use crate::file::status::Status;

use super::lock::lock;

/// Rounds without the naming lock.
const ROUNDS: usize = 3;

/// Clocks of file systems step by up to 10 ms: what was stamped this shortly before can change without a new stamp.
const STEP: i128 = 20_000_000;

/// How a mailbox is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Messages of one shard.
    pub(crate) shard_size: u32,
    /// How long the naming lock is waited for.
    pub(crate) lock_wait: Duration,
    /// `store.shared_by_hosts`.
    pub(crate) shared_by_hosts: bool,
}

impl Rules {
    /// The shard of a UID.
    pub(super) fn shard(&self, uid: Uid) -> u32 {
        uid.0 / self.shard_size.max(1)
    }
}

/// A mailbox at one moment.
#[derive(Debug, Default)]
pub(super) struct Image {
    /// The octets of `status.json`; `None`: there is none.
    pub(super) status: Option<Vec<u8>>,
    /// `state`, if it is to be believed.
    pub(super) state: Option<State>,
    /// There is a `state` of this start of the machine's form, or an empty one, or none: not noise.
    pub(super) state_whole: bool,
    /// When `state` was last written, nanoseconds since 1970.
    pub(super) state_mtime: i128,
    /// The octets of `keywords`.
    pub(super) keywords: Vec<u8>,
    /// The octets of `expunged`.
    pub(super) expunged: Vec<u8>,
    /// The shards by name; also directories that are none.
    pub(super) shards: BTreeMap<String, Shard>,
    /// What lies in `shards` and is no directory.
    pub(super) loose: Vec<String>,
    /// Decoded keywords, and the sets of the rows.
    pub(super) words: Keywords,
}

/// A directory in `shards`.
#[derive(Clone, Debug, Default)]
pub(super) struct Shard {
    /// Inode and ctime; none if it may have changed since without a new one.
    pub(super) stamp: Option<(u64, i128)>,
    /// What decodes as a message's name, in the order of names. The sets are those of [`Image::words`].
    pub(super) rows: Vec<Row>,
    /// Everything else.
    pub(super) others: Vec<String>,
}

/// The directory name of a shard.
pub(super) fn shard_name(shard: u32) -> String {
    format!("{shard:06}")
}

impl Image {
    /// What `status.json` says.
    ///
    /// # Errors
    /// Why it cannot be read; `None`: it is missing.
    pub(super) fn status(&self) -> Result<Status, Option<String>> {
        match &self.status {
            None => Err(None),
            Some(octets) => Status::decode(octets).map_err(Some),
        }
    }

    /// The name of a row.
    pub(super) fn name(&self, row: &Row) -> String {
        names::encode(row, self.words.bits(row.keywords))
    }

    /// UIDNEXT: what `state` says, or what will be taken when it is made anew.
    pub(super) fn uid_next(&self, ceiling: u32, rules: &Rules) -> u32 {
        match self.state {
            Some(state) => state.uid_next.0,
            None => {
                let in_place = self.messages(rules).map(|(_, row)| row.uid.0);
                ceiling.max(in_place.max().unwrap_or(0).saturating_add(1))
            }
        }
    }

    /// The names in the shards that they belong to, with the names of the shards; doubles are among them.
    pub(super) fn messages(&self, rules: &Rules) -> impl Iterator<Item = (&String, &Row)> + '_ {
        let rules = *rules;
        self.shards.iter().flat_map(move |(name, shard)| {
            shard
                .rows
                .iter()
                .filter(move |row| shard_name(rules.shard(row.uid)) == *name)
                .map(move |row| (name, row))
        })
    }

    /// The messages that clients see, ascending: below UIDNEXT, of two names of one UID the one that counts.
    pub(super) fn visible(&self, uid_next: u32, rules: &Rules) -> Vec<Row> {
        let rank = |row: &Row| (row.modseq, row.flags.0, self.words.bits(row.keywords));
        let mut rows: Vec<Row> = Vec::new();
        for (_, row) in self.messages(rules).filter(|(_, row)| row.uid.0 < uid_next) {
            match rows.last_mut() {
                Some(last) if last.uid == row.uid => {
                    if rank(last) < rank(row) {
                        *last = *row;
                    }
                }
                _ => rows.push(*row),
            }
        }
        rows.sort_by_key(|row| row.uid);
        rows
    }
}

/// Reads a mailbox at one moment. `None`: its directory is gone.
pub(super) async fn read<D: Disk>(disk: &D, dir: &D::Dir, rules: &Rules) -> io::Result<Option<Image>> {
    let mut image = Image::default();
    for _ in 0..ROUNDS {
        let before = read_state(disk, dir, rules, &mut image).await?;
        if image.state.is_none_or(|state| state.begun != state.done) {
            // Only the lock tells whether a writer is at it.
            break;
        }
        if !read_files(disk, dir, &mut image).await? {
            continue;
        }
        if read_state(disk, dir, rules, &mut image).await? == before {
            return Ok(Some(image));
        }
    }
    let _held = lock(disk, dir, "state", rules.lock_wait).await?;
    read_files_held(disk, dir, rules, image).await
}

/// The same for one who has the naming lock.
pub(super) async fn read_held<D: Disk>(disk: &D, dir: &D::Dir, rules: &Rules) -> io::Result<Option<Image>> {
    read_files_held(disk, dir, rules, Image::default()).await
}

async fn read_files_held<D: Disk>(
    disk: &D,
    dir: &D::Dir,
    rules: &Rules,
    mut image: Image,
) -> io::Result<Option<Image>> {
    read_state(disk, dir, rules, &mut image).await?;
    read_files(disk, dir, &mut image).await?;
    Ok((disk.stat_dir(dir).await?.links > 0).then_some(image))
}

/// Reads `state`; its octets are returned.
async fn read_state<D: Disk>(
    disk: &D,
    dir: &D::Dir,
    rules: &Rules,
    image: &mut Image,
) -> io::Result<Vec<u8>> {
    let Some(file) = found(disk.open(dir, "state", Mode::Read).await)? else {
        (image.state, image.state_whole, image.state_mtime) = (None, true, 0);
        return Ok(Vec::new());
    };
    let mut bytes = vec![0; state::LEN + 1];
    let count = disk.read_at(&file, &mut bytes, 0).await?;
    bytes.truncate(count);
    let stat = disk.stat(&file).await?;
    let decoded = State::decode(&bytes);
    image.state_whole = bytes.is_empty() || decoded.is_some();
    image.state_mtime = stat.mtime;
    image.state = decoded.filter(|state| {
        let boot = rules.shared_by_hosts || state.boot == disk.boot_id();
        boot && state.inode == stat.inode
    });
    Ok(bytes)
}

/// Reads the small files, and the shards that are not known to be unchanged. False: a listing was not exact.
async fn read_files<D: Disk>(disk: &D, dir: &D::Dir, image: &mut Image) -> io::Result<bool> {
    image.status = read_file(disk, dir, "status.json").await?;
    image.keywords = read_file(disk, dir, "keywords").await?.unwrap_or_default();
    image.expunged = read_file(disk, dir, "expunged").await?.unwrap_or_default();
    let fence = image.state_mtime - STEP;
    let mut old = core::mem::take(&mut image.shards);
    image.loose.clear();
    let Some(shards) = found(disk.open_dir(dir, "shards").await)? else {
        return Ok(true);
    };
    let listing = disk.list(&shards).await?;
    let mut exact = listing.exact;
    for entry in listing.entries {
        let Some(stat) = found(disk.stat_link(&shards, &entry.name).await)? else {
            continue;
        };
        if !stat.is_dir {
            image.loose.push(entry.name);
            continue;
        }
        let stamp = stamp_of(&stat, fence);
        let same = old
            .remove(&entry.name)
            .filter(|old| stamp.is_some() && old.stamp == stamp);
        let shard = match same {
            Some(same) => same,
            None => {
                let opened = disk.open_dir(&shards, &entry.name).await;
                let Some(shard) = found(opened)? else {
                    continue;
                };
                let (shard, one_call) = read_shard(disk, &shard, stamp, &mut image.words).await?;
                exact &= one_call;
                shard
            }
        };
        image.shards.insert(entry.name, shard);
    }
    image.loose.sort_unstable();
    Ok(exact)
}

/// Inode and ctime; none if it changed so recently that it may change again without a new ctime.
fn stamp_of(stat: &Stat, fence: i128) -> Option<(u64, i128)> {
    (stat.ctime < fence).then_some((stat.inode, stat.ctime))
}

async fn read_shard<D: Disk>(
    disk: &D,
    dir: &D::Dir,
    stamp: Option<(u64, i128)>,
    words: &mut Keywords,
) -> io::Result<(Shard, bool)> {
    let listing = disk.list(dir).await?;
    let mut shard = Shard {
        stamp,
        rows: Vec::with_capacity(listing.entries.len()),
        others: Vec::new(),
    };
    for entry in listing.entries {
        match names::decode(&entry.name) {
            Some((row, bits)) => shard.rows.push(Row {
                keywords: words.intern(bits),
                ..row
            }),
            None => shard.others.push(entry.name),
        }
    }
    shard
        .rows
        .sort_unstable_by_key(|row| (row.uid, row.modseq, row.flags.0, row.keywords.0));
    shard.rows.dedup();
    shard.others.sort_unstable();
    Ok((shard, listing.exact))
}

/// The present name of a UID in a shard, when the one that was read is there no more: its flags have changed, or it has
/// gone.
pub(super) async fn present_name<D: Disk>(disk: &D, shard: &D::Dir, old: &Row) -> io::Result<Option<String>> {
    let listing = disk.list(shard).await?;
    let same = |name: &String| {
        names::decode(name).is_some_and(|(row, _)| {
            (row.uid, row.size, row.date, row.save_date) == (old.uid, old.size, old.date, old.save_date)
        })
    };
    Ok(listing.entries.into_iter().map(|entry| entry.name).find(same))
}
