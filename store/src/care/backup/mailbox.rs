//! A mailbox as it is at one moment.
//!
//! Its names are read at one moment, and then the messages are linked or copied, which takes longer. If one of them was
//! expunged before that, the mailbox is read again and the copy is brought to that later moment: what has gone goes, what
//! has new flags is renamed, what is new comes. The last round is done under the naming lock, by when little is left.

use std::collections::BTreeMap;
use std::io;

use rmail_core::addr::AccountName;
use rmail_core::mailbox::{MailboxName, Row, Uid};

use crate::disk::{Disk, Mode, Stat};
use crate::file::acl::ACL;
use crate::file::io::{found, open_or_make_dir};
use crate::file::keywords;
use crate::file::metadata::METADATA;
use crate::file::spool::link_fails;
use crate::file::status::Status;

use super::super::image::{self, Image, present_name, shard_name};
use super::super::lock::lock;
use super::manifest::{Line, MailboxLine, MessageLine};
use super::{Event, Run, read};

/// Rounds without the naming lock.
const ROUNDS: usize = 3;

/// A message that is in the copy.
struct Have {
    size: u64,
    sha256: String,
    source: (u64, u64, i64),
}

/// A copy that is being made.
struct Copy<D: Disk> {
    /// The mailbox's `shards`, and the copy's.
    from: Option<D::Dir>,
    to: D::Dir,
    have: BTreeMap<Uid, Have>,
    /// What could not be read.
    lost: BTreeMap<Uid, String>,
    /// Shards that are open.
    last: Option<(u32, D::Dir, D::Dir)>,
}

/// What became of a message.
enum Got {
    Have(Have),
    Gone,
    Lost(String),
}

impl<D: Disk> Run<'_, D> {
    /// Copies a level of a mailbox name, if it is a mailbox.
    pub(super) async fn mailbox(
        &mut self,
        account: &AccountName,
        name: &MailboxName,
        dir: &D::Dir,
        path: &str,
    ) -> io::Result<()> {
        let Some((image, status)) = self.image(dir, path).await? else {
            return Ok(());
        };
        let to = self.dir(path).await?;
        let mut copy = Copy {
            from: found(self.disk.open_dir(dir, "shards").await)?,
            to: open_or_make_dir(self.disk, &to, "shards").await?,
            have: BTreeMap::new(),
            lost: BTreeMap::new(),
            last: None,
        };
        if let Some(previous) = &mut self.previous {
            previous.load(self.disk, account, status.id.0).await;
        }
        let (mut image, mut status) = (image, status);
        let mut rows = image.visible(image.uid_next(status.uid_ceiling, &self.rules), &self.rules);
        (self.tell)(Event::Mailbox(account, name, rows.len() as u64));
        for round in 0..=ROUNDS {
            if self.bring(&mut copy, &image, &rows).await? {
                break;
            }
            let held = if round + 1 >= ROUNDS {
                lock(self.disk, dir, "state", self.rules.lock_wait).await?
            } else {
                None
            };
            let read = if held.is_some() {
                image::read_held(self.disk, dir, &self.rules).await?
            } else {
                image::read(self.disk, dir, &self.rules).await?
            };
            let Some(new) = read else { break };
            let Ok(new_status) = new.status() else { break };
            let new_rows = new.visible(new.uid_next(new_status.uid_ceiling, &self.rules), &self.rules);
            self.follow(&mut copy, &image, &rows, &new, &new_rows).await?;
            (image, status, rows) = (new, new_status, new_rows);
            if held.is_some() {
                self.bring(&mut copy, &image, &rows).await?;
                break;
            }
        }
        self.enter(account, name, path, &image, &status, &rows, copy)
            .await?;
        self.files(dir, path, |name| matches!(name, ACL | METADATA)).await
    }

    /// Reads the names; what cannot be read is a problem.
    async fn image(&mut self, dir: &D::Dir, path: &str) -> io::Result<Option<(Image, Status)>> {
        let image = match image::read(self.disk, dir, &self.rules).await {
            Ok(Some(image)) => image,
            Ok(None) => return Ok(None),
            Err(error) => {
                self.problem(path, &error.to_string()).await?;
                return Ok(None);
            }
        };
        match image.status() {
            Ok(status) if status.gone => Ok(None),
            Ok(status) => Ok(Some((image, status))),
            Err(None) if image.messages(&self.rules).next().is_none() => Ok(None),
            Err(why) => {
                let why = why.unwrap_or_else(|| "it is missing".to_owned());
                let error = format!("{why}; see `rmail fsck`");
                self.problem(&format!("{path}/status.json"), &error).await?;
                Ok(None)
            }
        }
    }

    /// Brings what the copy does not have. False: some of it was there no more.
    async fn bring(&mut self, copy: &mut Copy<D>, image: &Image, rows: &[Row]) -> io::Result<bool> {
        let mut all = true;
        copy.last = None;
        for row in rows {
            if copy.have.contains_key(&row.uid) || copy.lost.contains_key(&row.uid) {
                continue;
            }
            match self.bring_one(copy, image, row).await? {
                Got::Have(have) => {
                    (self.tell)(Event::Message(have.size));
                    copy.have.insert(row.uid, have);
                }
                Got::Gone => all = false,
                Got::Lost(why) => {
                    copy.lost.insert(row.uid, why);
                }
            }
        }
        Ok(all)
    }

    async fn bring_one(&mut self, copy: &mut Copy<D>, image: &Image, row: &Row) -> io::Result<Got> {
        let disk = self.disk;
        let shard = self.rules.shard(row.uid);
        let Some((from, to)) = copy.shard(disk, shard).await? else {
            return Ok(Got::Gone);
        };
        let wanted = image.name(row);
        let mut present = Some(wanted.clone());
        for _ in 0..4 {
            let Some(name) = present else { break };
            let stat = match found(disk.stat_link(&from, &name).await) {
                Ok(stat) => stat,
                Err(error) => return Ok(Got::Lost(error.to_string())),
            };
            if let Some(stat) = stat {
                if !stat.is_file {
                    return Ok(Got::Lost("it is no file".to_owned()));
                }
                match self.take(&from, &name, &to, &wanted, &stat).await? {
                    Got::Gone => {}
                    got => return Ok(got),
                }
            }
            // Its flags have changed meanwhile, or it has gone.
            present = present_name(disk, &from, row).await?;
        }
        Ok(Got::Gone)
    }

    /// Links or copies a file. `Gone`: its name is there no more.
    async fn take(
        &mut self,
        from: &D::Dir,
        name: &str,
        to: &D::Dir,
        wanted: &str,
        stat: &Stat,
    ) -> io::Result<Got> {
        let disk = self.disk;
        let mtime = i64::try_from(stat.mtime).unwrap_or(i64::MAX);
        let source = (stat.device, stat.inode, mtime);
        let known = self
            .previous
            .as_ref()
            .and_then(|previous| previous.find(source, stat.size));
        let have = |(size, sha256)| Got::Have(Have { size, sha256, source });
        if self.links {
            match disk.link(from, name, to, wanted).await {
                Ok(()) => {
                    if let Some((_, sha256)) = known {
                        self.summary.linked += 1;
                        return Ok(have((stat.size, sha256)));
                    }
                    return match self.digest_of(to, wanted).await {
                        Ok(digest) => {
                            self.summary.linked += 1;
                            Ok(have(digest))
                        }
                        Err(error) => {
                            disk.unlink(to, wanted).await?;
                            Ok(Got::Lost(error.to_string()))
                        }
                    };
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Got::Gone),
                Err(error) if error.kind() == io::ErrorKind::TooManyLinks => {}
                Err(error) if link_fails(&error) || error.kind() == io::ErrorKind::Unsupported => {
                    self.links = false;
                }
                Err(error) => return Err(error),
            }
        }
        if let Some((path, sha256)) = known
            && let Some(previous) = &self.previous
            && previous.link(disk, &path, to, wanted).await
        {
            self.summary.shared += 1;
            return Ok(have((stat.size, sha256)));
        }
        let file = match found(disk.open(from, name, Mode::Read).await) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(Got::Gone),
            Err(error) => return Ok(Got::Lost(error.to_string())),
        };
        // What keeps the copy from being written ends the backup; what keeps the message from being read does not.
        let new = disk.create_unnamed(to).await?;
        let digest = match read::copy(disk, &file, &new, &mut self.buffer).await {
            Ok(digest) => digest,
            Err(error) => {
                return match read::digest(disk, &file, &mut self.buffer).await {
                    Ok(_) => Err(error),
                    Err(unreadable) => Ok(Got::Lost(unreadable.to_string())),
                };
            }
        };
        disk.link_unnamed(&new, to, wanted).await?;
        self.summary.copied += 1;
        Ok(have(digest))
    }

    async fn digest_of(&mut self, dir: &D::Dir, name: &str) -> io::Result<(u64, String)> {
        let file = self.disk.open(dir, name, Mode::Read).await?;
        read::digest(self.disk, &file, &mut self.buffer).await
    }

    /// Brings the copy's names to a later moment.
    async fn follow(
        &mut self,
        copy: &mut Copy<D>,
        old: &Image,
        old_rows: &[Row],
        new: &Image,
        new_rows: &[Row],
    ) -> io::Result<()> {
        let disk = self.disk;
        let mut last: Option<(u32, D::Dir)> = None;
        for row in old_rows {
            if !copy.have.contains_key(&row.uid) {
                continue;
            }
            let shard = self.rules.shard(row.uid);
            if last.as_ref().is_none_or(|(open, _)| *open != shard) {
                // The mailbox's own may be gone: it was empty.
                let dir = disk.open_dir(&copy.to, &shard_name(shard)).await?;
                last = Some((shard, dir));
            }
            let Some((_, to)) = &last else { continue };
            let name = old.name(row);
            let at = new_rows.binary_search_by_key(&row.uid, |row| row.uid);
            match at.ok().and_then(|at| new_rows.get(at)) {
                Some(now) => {
                    let new_name = new.name(now);
                    if new_name != name {
                        disk.rename(to, &name, to, &new_name).await?;
                    }
                }
                None => {
                    disk.unlink(to, &name).await?;
                    copy.have.remove(&row.uid);
                }
            }
        }
        Ok(())
    }

    /// Writes the small files, and the lines of the manifest.
    #[expect(clippy::too_many_arguments, reason = "all that is known of the mailbox, once")]
    async fn enter(
        &mut self,
        account: &AccountName,
        name: &MailboxName,
        path: &str,
        image: &Image,
        status: &Status,
        rows: &[Row],
        mut copy: Copy<D>,
    ) -> io::Result<()> {
        let have: Vec<(&Row, Have)> = rows
            .iter()
            .filter_map(|row| Some((row, copy.have.remove(&row.uid)?)))
            .collect();
        if have.len() + copy.lost.len() < rows.len() {
            for row in rows {
                let there = have.binary_search_by_key(&row.uid, |(row, _)| row.uid).is_ok();
                if !there {
                    let gone = || "its file is there no more".to_owned();
                    copy.lost.entry(row.uid).or_insert_with(gone);
                }
            }
        }
        let octets = have.iter().map(|(_, have)| have.size).sum();
        self.summary.mailboxes += 1;
        self.summary.messages += have.len() as u64;
        self.summary.octets += octets;
        let words = keywords::decode(&image.keywords).0;
        let specials = status
            .special_use
            .iter()
            .map(|special| special.attribute().to_owned());
        let modseq = image.state.map_or(status.modseq_ceiling, |state| state.done);
        self.line(&Line::Mailbox(MailboxLine {
            account: account.as_str().to_owned(),
            name: name.as_str().to_owned(),
            path: path.to_owned(),
            uid_validity: status.uid_validity.0,
            id: status.id.0,
            uid_next: image.uid_next(status.uid_ceiling, &self.rules),
            modseq: modseq.0,
            keywords: words.iter().map(|word| word.as_str().to_owned()).collect(),
            special_use: specials.collect(),
            messages: have.len() as u64,
            octets,
        }))
        .await?;
        for (row, have) in have {
            let shard = shard_name(self.rules.shard(row.uid));
            self.line(&Line::Message(MessageLine {
                path: format!("shards/{shard}/{}", image.name(row)),
                size: have.size,
                sha256: have.sha256,
                source: have.source,
            }))
            .await?;
        }
        for (uid, why) in core::mem::take(&mut copy.lost) {
            if rows.binary_search_by_key(&uid, |row| row.uid).is_ok() {
                self.problem(&format!("{path} UID {}", uid.0), &why).await?;
            }
        }
        self.file(path, "status.json", &status.encode()).await?;
        for (name, octets) in [("keywords", &image.keywords), ("expunged", &image.expunged)] {
            if !octets.is_empty() {
                self.file(path, name, octets).await?;
            }
        }
        Ok(())
    }
}

impl<D: Disk> Copy<D> {
    /// A shard of the mailbox, and the copy's. `None`: it is there no more.
    async fn shard(&mut self, disk: &D, shard: u32) -> io::Result<Option<(D::Dir, D::Dir)>> {
        if let Some((_, from, to)) = self.last.as_ref().filter(|(open, ..)| *open == shard) {
            return Ok(Some((from.clone(), to.clone())));
        }
        let Some(from) = &self.from else {
            return Ok(None);
        };
        let name = shard_name(shard);
        let Some(from) = found(disk.open_dir(from, &name).await)? else {
            return Ok(None);
        };
        let to = open_or_make_dir(disk, &self.to, &name).await?;
        self.last = Some((shard, from.clone(), to.clone()));
        Ok(Some((from, to)))
    }
}
