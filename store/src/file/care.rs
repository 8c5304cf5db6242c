//! What a repair changes, by the operations of the store: numbers are taken, names given and removed under the naming
//! lock, removals are logged, and everything is synced. What is to be repaired is decided by [`crate::care::fsck`].

use std::collections::BTreeSet;
use std::sync::Arc;

use rmail_core::addr::AccountName;
use rmail_core::mailbox::{Keyword, Keywords, MailboxId, MailboxName, ModSeq, Row, Uid, UidValidity, Usage};
use rmail_core::refusal::Refusal;

use crate::care::Rules;
use crate::disk::Disk;
use crate::error::{Error, Result};

use super::account::{Counter, VERSION};
use super::add::Added;
use super::cache::shard_name;
use super::change::Done;
use super::expunged::Expunged;
use super::hold::Hold;
use super::io::{During as _, found, read_file, replace_file};
use super::mailbox::Mailbox;
use super::sync::Touched;
use super::tree::Level;
use super::{FileStore, keywords, names};

/// How many names are tried for what is set aside.
const TRIES: u32 = 1_000;

/// A mailbox that is being repaired.
pub(crate) struct Patient<'s, D: Disk> {
    store: &'s FileStore<D>,
    mailbox: Arc<Mailbox<D>>,
}

/// A message under a name that does not serve it.
pub(crate) struct Misplaced<'a, D: Disk> {
    /// The directory that it lies in, and its name there.
    pub(crate) dir: &'a D::Dir,
    pub(crate) name: &'a str,
    pub(crate) row: Row,
    pub(crate) bits: [u64; 4],
    /// Octets that the file has.
    pub(crate) size: u32,
    /// The directory is the shard of its UID.
    pub(crate) in_place: bool,
}

impl<D: Disk> FileStore<D> {
    /// How those who only look read a mailbox.
    pub(crate) fn rules(&self) -> Rules {
        Rules {
            shard_size: self.limits().shard_size,
            lock_wait: self.limits().lock_wait,
            shared_by_hosts: self.options().shared_by_hosts,
        }
    }

    /// Opens a mailbox to repair it; a `status.json` that cannot be read is made anew, a `gone` that did not happen is
    /// taken back.
    pub(crate) async fn patient(&self, account: &AccountName, name: &MailboxName) -> Result<Patient<'_, D>> {
        let mailbox = self.resolve(account, name).await?;
        Ok(Patient { store: self, mailbox })
    }

    /// Gives a mailbox that has the identity of another one of its own.
    pub(crate) async fn renumber(&self, account: &AccountName, name: &MailboxName) -> Result<()> {
        let held = self.lock_account(account).await?;
        let dir = self.level_dir(account, name).await?;
        let dir = dir.ok_or(Refusal::NoSuchMailbox)?;
        let Level::Mailbox(before) = self.level(&dir).await? else {
            return Err(Refusal::NoSuchMailbox.into());
        };
        // If the other one is open too, opening this one makes its status anew.
        let mailbox = self.open_mailbox(account, &dir, &held).await?;
        let mut hold = self.hold(&mailbox).await?;
        if hold.status().id == before.id && hold.status().uid_validity == before.uid_validity {
            let now = self.disk_now(&dir).await?;
            let number = self.take_uid_validity(account, &held, 1, now).await?;
            let mut status = hold.status().clone();
            status.uid_validity = UidValidity(number);
            status.id = MailboxId(number);
            hold.write_status(status).await?;
        }
        drop(hold);
        self.registry().forget(&mailbox);
        Ok(())
    }

    /// Sees to it that no new mailbox gets a UIDVALIDITY up to this one.
    pub(crate) async fn raise_counter(&self, account: &AccountName, used: u32) -> Result<()> {
        let label = || format!("count UIDVALIDITY of {account}");
        let held = self.lock_account(account).await?;
        let bytes = read_file(self.disk(), &held.dir, "account.json")
            .await
            .during(label)?
            .unwrap_or_default();
        let last = serde_json::from_slice::<Counter>(&bytes).map_or(0, |counter| counter.last_uid_validity);
        let counter = Counter {
            version: VERSION,
            last_uid_validity: last.max(used),
        };
        let bytes = serde_json::to_vec(&counter).unwrap_or_default();
        replace_file(self.disk(), &held.dir, "account.json", &bytes)
            .await
            .during(label)
    }

    /// Makes the account's subscriptions anew: all of its mailboxes.
    pub(crate) async fn subscribe_to_all(&self, account: &AccountName) -> Result<()> {
        let held = self.lock_account(account).await?;
        let levels = self.walk(account).await?;
        let names: BTreeSet<MailboxName> = levels
            .into_iter()
            .filter_map(|(name, status)| status.is_some().then_some(name))
            .collect();
        self.save_subscriptions(&held, &names).await
    }

    /// Removes what is left of deleted mailboxes.
    pub(crate) async fn clear_graves(&self, account: &AccountName) -> Result<()> {
        let held = self.lock_account(account).await?;
        self.clear_deleted(&held.dir)
            .await
            .during(|| format!("remove what is left of deleted mailboxes of {account}"))
    }

    /// Renames a directory among the levels of an account, durably.
    pub(crate) async fn rename_level(
        &self,
        account: &AccountName,
        parent: &D::Dir,
        entry: &str,
        to: &str,
    ) -> Result<()> {
        let label = || format!("rename {entry:?} of {account}");
        let _held = self.lock_account(account).await?;
        self.disk()
            .rename(parent, entry, parent, to)
            .await
            .during(label)?;
        self.disk().sync_dir(parent).await.during(label)
    }

    /// Moves a name into another directory under a name that is free there, durably. The name it got.
    pub(crate) async fn move_aside(
        &self,
        from: &D::Dir,
        name: &str,
        to: &D::Dir,
        wanted: &str,
    ) -> Result<String> {
        let label = || format!("move {name:?} to lost+found");
        let new = self.aside(from, name, to, wanted, false).await?;
        self.disk().sync_dir(to).await.during(label)?;
        self.disk().sync_dir(from).await.during(label)?;
        Ok(new)
    }

    /// Gives a name in `to`: a further one, or a new one.
    async fn aside(
        &self,
        from: &D::Dir,
        name: &str,
        to: &D::Dir,
        wanted: &str,
        link: bool,
    ) -> Result<String> {
        let label = || format!("move {name:?} to lost+found");
        let disk = self.disk();
        for number in 0..TRIES {
            let new = if number == 0 {
                fitted(wanted, "")
            } else {
                fitted(wanted, &format!(".{number}"))
            };
            let done = if link {
                disk.link(from, name, to, &new).await
            } else {
                disk.rename(from, name, to, &new).await
            };
            match done {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    let there = found(disk.stat_link(to, &new).await).during(label)?;
                    let ours = found(disk.stat_link(from, name).await).during(label)?;
                    if link && there.map(|stat| stat.inode) == ours.map(|stat| stat.inode) {
                        // By a run that was cut short.
                        return Ok(new);
                    }
                }
                other => return other.during(label).map(|()| new),
            }
        }
        Err(Refusal::Busy.into())
    }
}

/// A name of at most 255 octets that ends with this.
fn fitted(wanted: &str, end: &str) -> String {
    let mut cut = wanted.len().min(255 - end.len());
    while !wanted.is_char_boundary(cut) {
        cut -= 1;
    }
    format!("{}{end}", wanted.get(..cut).unwrap_or_default())
}

impl<D: Disk> Patient<'_, D> {
    /// Begins `state` anew if it is not to be believed, ends a change whose writer died, and reads all names.
    pub(crate) async fn look(&self) -> Result<()> {
        self.store.hold_fresh(&self.mailbox).await.map(drop)
    }

    /// Gives a message a new UID, and then takes its old name. `None`: it is there no more.
    pub(crate) async fn give_new_uid(&self, message: &Misplaced<'_, D>) -> Result<Option<Uid>> {
        let (store, mailbox) = (self.store, &self.mailbox);
        let label = || format!("give {:?} of {} a new UID", message.name, mailbox.label());
        let disk = store.disk();
        let more = Usage::message(message.size.into());
        let ticket = store.reserve_always(&mailbox.reference.account, more).await?;
        let mut hold = store.hold_fresh(mailbox).await?;
        let stat = found(disk.stat_link(message.dir, message.name).await).during(label)?;
        let Some(stat) = stat.filter(|stat| stat.is_file) else {
            drop(hold);
            store.give_back(ticket).await;
            return Ok(None);
        };
        let known = if stat.links > 1 {
            self.twin(message, stat.inode).await?
        } else {
            None
        };
        let uid = match known {
            // By a run that was cut short.
            Some(uid) => {
                drop(hold);
                store.give_back(ticket).await;
                uid
            }
            None => {
                let added = hold.link_anew(message).await;
                drop(hold);
                if added.is_err() {
                    store.give_back(ticket).await;
                }
                let added = added?;
                let (uid, modseq) = (added.uids.first().copied(), added.modseq);
                store.keep(vec![added], &[]).await?;
                store.announce(mailbox, modseq);
                uid.unwrap_or_default()
            }
        };
        self.take_name(message).await?;
        Ok(Some(uid))
    }

    /// Another message of the mailbox that is the same file, and has the right size.
    async fn twin(&self, message: &Misplaced<'_, D>, inode: u64) -> Result<Option<Uid>> {
        let label = || format!("look for a second name in {}", self.mailbox.label());
        let disk = self.store.disk();
        let Some(view) = self.mailbox.view() else {
            return Ok(None);
        };
        let same = |row: &&Row| {
            (row.date, row.zone, row.save_date) == (message.row.date, message.row.zone, message.row.save_date)
                && row.size == message.size
        };
        for row in view.snapshot.rows.iter().filter(same) {
            let name = names::encode(row, view.snapshot.keywords.bits(row.keywords));
            let shard = shard_name(self.store.shard(row.uid));
            if message.in_place && name == message.name {
                continue;
            }
            let opened = disk.open_dir(&self.mailbox.shards, &shard).await;
            let Some(dir) = found(opened).during(label)? else {
                continue;
            };
            let stat = found(disk.stat_link(&dir, &name).await).during(label)?;
            if stat.is_some_and(|stat| stat.inode == inode) {
                return Ok(Some(row.uid));
            }
        }
        Ok(None)
    }

    /// Removes a message's old name: as an expunge if clients see it, else just so.
    async fn take_name(&self, message: &Misplaced<'_, D>) -> Result<()> {
        let label = || format!("remove {:?} of {}", message.name, self.mailbox.label());
        let mut hold = self.store.hold_fresh(&self.mailbox).await?;
        let uid = message.row.uid;
        let seen = hold.own(uid).map(|row| hold.name(&row));
        if message.in_place && seen.as_deref() == Some(message.name) {
            let mut done = Done::new(&self.mailbox);
            hold.remove(&[uid], &mut done.touched).await?;
            done.modseq = hold.state.done;
            drop(hold);
            return self.store.settle_removed(&done, None).await;
        }
        let disk = self.store.disk();
        found(disk.unlink(message.dir, message.name).await).during(label)?;
        drop(hold);
        disk.sync_dir(message.dir).await.during(label)
    }

    /// Removes a name of which the mailbox has another, under the naming lock.
    pub(crate) async fn unlink(&self, dir: &D::Dir, name: &str) -> Result<()> {
        let label = || format!("remove {name:?} of {}", self.mailbox.label());
        let hold = self.store.hold(&self.mailbox).await?;
        found(self.store.disk().unlink(dir, name).await).during(label)?;
        drop(hold);
        self.store.disk().sync_dir(dir).await.during(label)
    }

    /// Moves what is no message out of the mailbox. The name it got.
    pub(crate) async fn set_aside(&self, from: &D::Dir, name: &str, to: &D::Dir) -> Result<String> {
        let hold = self.store.hold(&self.mailbox).await?;
        let new = self
            .store
            .move_aside(from, name, to, &self.aside_name(name))
            .await;
        drop(hold);
        new
    }

    /// Moves a message that clients see, and that has lost its content, out of the mailbox. The name it got.
    pub(crate) async fn set_message_aside(&self, message: &Misplaced<'_, D>, to: &D::Dir) -> Result<String> {
        let label = || format!("move {:?} of {} aside", message.name, self.mailbox.label());
        let wanted = self.aside_name(message.name);
        let new = self
            .store
            .aside(message.dir, message.name, to, &wanted, true)
            .await?;
        self.store.disk().sync_dir(to).await.during(label)?;
        self.take_name(message).await?;
        Ok(new)
    }

    fn aside_name(&self, name: &str) -> String {
        format!("{}-{name}", self.mailbox.reference.id.0)
    }

    /// Raises the ceilings above numbers that are in use.
    pub(crate) async fn raise_ceilings(&self, uid: Uid, modseq: ModSeq) -> Result<()> {
        let mut hold = self.store.hold_fresh(&self.mailbox).await?;
        let mut status = hold.status().clone();
        let above = uid.0.saturating_add(1).max(hold.state.uid_next.0);
        status.uid_ceiling = status.uid_ceiling.max(above);
        let above = modseq.0.max(hold.state.begun.0).saturating_add(1);
        status.modseq_ceiling = status.modseq_ceiling.max(ModSeq(above.min(names::LAST_MODSEQ)));
        if *hold.status() != status {
            hold.write_status(status).await?;
        }
        Ok(())
    }

    /// Marks the mailbox clean when all of it is on disk. A change meanwhile leaves the mark to who made it.
    pub(crate) async fn mark_clean(&self) -> Result<()> {
        let label = || format!("sync {}", self.mailbox.label());
        let hold = self.store.hold(&self.mailbox).await?;
        let before = hold.state.done;
        drop(hold);
        self.store.disk().sync_fs(&self.mailbox.dir).await.during(label)?;
        let mut hold = self.store.hold(&self.mailbox).await?;
        if hold.state.done == before && hold.status().dirty {
            let mut status = hold.status().clone();
            status.dirty = false;
            hold.write_status(status).await?;
        }
        Ok(())
    }

    /// Makes `keywords` anew: what can be read of it, with words that stand for what cannot, at least this many.
    pub(crate) async fn salvage_keywords(&self, needed: usize) -> Result<()> {
        let label = || format!("mend the keywords of {}", self.mailbox.label());
        let mut hold = self.store.hold(&self.mailbox).await?;
        let (disk, dir) = (self.store.disk(), &self.mailbox.dir);
        let bytes = read_file(disk, dir, "keywords").await.during(label)?;
        let words = salvaged(&bytes.unwrap_or_default(), needed);
        let lines: Vec<u8> = words.iter().flat_map(keywords::encode).collect();
        replace_file(disk, dir, "keywords", &lines).await.during(label)?;
        hold.forget_keywords();
        Ok(())
    }

    /// Begins the expunge log anew: what vanished up to now is not in it.
    pub(crate) async fn restart_log(&self) -> Result<()> {
        let label = || format!("begin the expunge log of {} anew", self.mailbox.label());
        let hold = self.store.hold(&self.mailbox).await?;
        let head = Expunged::head(hold.state.done.max(hold.state.begun)).encode();
        let disk = self.store.disk();
        let done = replace_file(disk, &self.mailbox.dir, "expunged", &head).await;
        done.during(label)
    }
}

impl<D: Disk> Hold<'_, D> {
    /// Links a message under a new UID and publishes it.
    async fn link_anew(&mut self, message: &Misplaced<'_, D>) -> Result<Added<D>> {
        let label = || format!("link {:?} of {}", message.name, self.mailbox.label());
        if message.in_place && message.row.uid >= self.state.uid_next {
            // Should the UID that it has come to be the new one: of two names of a UID the higher MODSEQ counts.
            self.state.begun = self.state.begun.max(message.row.modseq);
        }
        let modseq = self.numbers(1).await?;
        self.begin(modseq).await?;
        let uid = self.state.uid_next;
        let row = Row {
            uid,
            modseq,
            size: message.size,
            ..message.row
        };
        let to = self.shard_dir(uid, &mut None).await?;
        let name = names::encode(&row, message.bits);
        let linked = self
            .store
            .disk()
            .link(message.dir, message.name, &to, &name)
            .await;
        if let Err(error) = linked {
            let error = Error::io(label(), error);
            // At the latest whoever locks next does it.
            let _ = self.mend().await;
            return Err(error);
        }
        self.put_with(row, message.bits);
        let uid_validity = self.status().uid_validity;
        self.publish_uids(Uid(uid.0 + 1)).await?;
        Ok(Added {
            uids: vec![uid],
            modseq,
            uid_validity,
            touched: self.store.touched(self.mailbox, uid)?,
        })
    }

    /// Reads the keywords, and the rows that have them, again at the next use.
    fn forget_keywords(&mut self) {
        self.core.keywords = None;
        self.core.keywords_synced = 0;
        self.core.shards = None;
        self.mailbox.set_view(None);
    }
}

impl<D: Disk> FileStore<D> {
    /// The shard of a UID, to be synced.
    fn touched(&self, mailbox: &Mailbox<D>, uid: Uid) -> Result<Touched<D>> {
        let shared = self.by_reference(&mailbox.reference)?;
        let mut touched = Touched::new(&shared);
        touched.shards.insert(self.shard(uid));
        Ok(touched)
    }
}

/// The keywords of a damaged file by bit. A line that cannot be read keeps its place, so that those after it keep
/// their bits.
fn salvaged(bytes: &[u8], needed: usize) -> Vec<Keyword> {
    let mut words: Vec<Option<Keyword>> = Vec::new();
    let read = |line: &[u8]| keywords::decode(line).0.pop();
    for line in bytes.split_inclusive(|octet| *octet == b'\n') {
        if let Some(word) = read(line) {
            words.push(Some(word));
            continue;
        }
        // The end of a line may have been hit, and two are one now.
        let inner = (1..line.len()).find_map(|at| read(line.get(at..)?));
        let begins = line.get(..9).is_some_and(|head| {
            let (digits, space) = head.split_at(8);
            digits.iter().all(u8::is_ascii_hexdigit) && space == b" "
        });
        // Or one was made two.
        let rest_of_last = words.last() == Some(&None) && !begins;
        let torn_tail = !line.ends_with(b"\n") && inner.is_none();
        if !rest_of_last && !torn_tail {
            words.push(None);
        }
        words.extend(inner.map(Some));
    }
    words.resize(words.len().max(needed).min(Keywords::MAX), None);
    let named = words.into_iter().enumerate().map(|(bit, word)| {
        let lost = || Keyword::new(&format!("lost-keyword-{bit}"));
        word.or_else(lost)
    });
    named.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_keep_their_bits_whatever_octet_is_hit() {
        let all: Vec<Keyword> = ["one", "$Two", "three"]
            .iter()
            .filter_map(|text| Keyword::new(text))
            .collect();
        let bytes: Vec<u8> = all.iter().flat_map(keywords::encode).collect();
        assert_eq!(salvaged(&bytes, 0), all);
        for at in 0..bytes.len() {
            for hit in [b'\n', b'x', bytes[at] ^ 1] {
                let mut damaged = bytes.clone();
                damaged[at] = hit;
                let found = salvaged(&damaged, 3);
                assert_eq!(found.len(), 3, "{at} {hit}");
                let kept = found.iter().zip(&all).filter(|(a, b)| a == b).count();
                assert!(kept >= 2, "{at} {hit}: {found:?}");
            }
        }
        assert_eq!(salvaged(b"", 2).len(), 2);
        assert_eq!(salvaged(b"torn", 0).len(), 0);
    }

    #[test]
    fn names_of_what_is_set_aside_fit() {
        let long = "ä".repeat(200);
        assert!(fitted(&long, ".12").len() <= 255 && fitted(&long, ".12").ends_with(".12"));
        assert_eq!(fitted("a", ".1"), "a.1");
    }
}
