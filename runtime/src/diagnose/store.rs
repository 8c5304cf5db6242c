//! Phase 3: the store, beside the server, and what is then on disk.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use futures_lite::future::block_on;
use rmail_core::addr::AccountName;
use rmail_core::chunk::Chunk;
use rmail_core::diagnose::Id;
use rmail_core::mailbox::{
    FlagChange, FlagOp, Flags, Keyword, MailboxName, MailboxRef, Quota, SystemFlags, Uid, UidSet,
};
use rmail_core::refusal::Refusal;
use rmail_store::mailstore::MailStore as _;

use super::imap_client::Imap;
use super::{Checked, Files, Run, Trouble, ensure, message, users};
use crate::clock;

/// Files of an account that are looked at: it has six mailboxes and a few messages.
const MAX_FILES: usize = 10_000;
/// A keyword of ours.
const KEYWORD: &str = "$Diagnosed";

/// What is worked on.
struct Bench<'a> {
    files: Files<'a>,
    account: AccountName,
    /// Where its mailboxes are.
    tree: PathBuf,
    text: String,
}

pub(super) fn run(run: &mut Run<'_>) {
    let (Some(files), Some(account)) = (run.files(), run.temporary.clone()) else {
        return;
    };
    let Ok(directory) = users::directory(run, &account) else {
        return;
    };
    let bench = Bench {
        files,
        tree: directory.join("mailboxes"),
        text: message(
            account.as_str(),
            account.as_str(),
            &run.mark,
            "What is stored is read.\r\n",
        ),
        account,
    };
    let inbox = MailboxName::inbox();
    run.check(Id::StoreList, |_| bench.list());
    let Some(uid) = run.check(Id::StoreAppend, |_| bench.append(&inbox)) else {
        return;
    };
    run.check(Id::StoreShards, |_| bench.shard(uid));
    let mailbox = run.check(Id::StoreRead, |_| bench.read(uid));
    run.check(Id::StoreShared, |run| bench.seen_by_server(run));
    let Some(mailbox) = mailbox else { return };
    run.check(Id::StoreFlags, |_| bench.flags(&mailbox, uid));
    run.check(Id::StoreCopy, |_| bench.copy(&mailbox, uid));
    run.check(Id::StoreQuota, |_| bench.quota(&inbox));
    run.check(Id::StoreSubscriptions, |_| bench.subscriptions());
    run.check(Id::StoreMailboxes, |_| bench.mailboxes());
    run.check(Id::StoreDelete, |_| bench.delete(&mailbox, uid));
    block_on(files.store.unselect(&mailbox));
}

impl Bench<'_> {
    fn list(&self) -> Checked<()> {
        let found = block_on(self.files.store.list(&self.account))?;
        let inbox = found
            .iter()
            .any(|entry| entry.name.is_inbox() && entry.selectable);
        ensure(inbox, "INBOX and others", format!("{} names", found.len()))
    }

    /// Appends the text with `quota`.
    fn append_with(&self, to: &MailboxName, quota: &Quota) -> Result<Uid, rmail_store::Error> {
        let store = self.files.store;
        let done = block_on(async {
            let mut spool = store.new_spool().await?;
            let chunk = Chunk::copy_from(self.text.as_bytes());
            store.write_spool(&mut spool, chunk).await?;
            let messages = vec![(spool, Flags::default(), None)];
            store
                .append(&self.account, to, messages, quota, clock::unix())
                .await
        })?;
        Ok(done.uids.first().copied().unwrap_or(Uid(0)))
    }

    fn append(&self, to: &MailboxName) -> Checked<Uid> {
        let uid = self.append_with(to, &Quota::UNLIMITED)?;
        ensure(uid.0 > 0, "a UID", "none")?;
        Ok(uid)
    }

    /// The files of messages below a directory.
    fn eml(&self, below: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut open = vec![self.tree.join(below)];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    open.push(path);
                } else if path.extension().is_some_and(|end| end == "eml") {
                    found.push(path);
                }
                if found.len() + open.len() > MAX_FILES {
                    return found;
                }
            }
        }
        found
    }

    /// The file of a message: its name begins with its UID.
    fn file(&self, below: &str, uid: Uid) -> Checked<PathBuf> {
        let is_it = |path: &PathBuf| {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            name.split('.').next().and_then(|digits| digits.parse().ok()) == Some(uid.0)
        };
        let wanted = || format!("a file of UID {} in {below}", uid.0);
        self.eml(below)
            .into_iter()
            .find(is_it)
            .ok_or_else(|| Trouble::broken(wanted(), "there is none"))
    }

    fn shard(&self, uid: Uid) -> Checked<()> {
        let path = self.file("INBOX", uid)?;
        let above = |path: &Path| {
            let above = path.parent()?.parent()?;
            above
                .file_name()
                .and_then(|name| name.to_str())
                .map(str::to_owned)
        };
        ensure(
            above(&path).as_deref() == Some("shards"),
            "INBOX/shards/NUMBER/…",
            path.display(),
        )?;
        let found = fs::metadata(&path).map_err(|error| Trouble::broken("its size", error))?;
        let mode = found.mode() & 0o7777;
        ensure(
            mode & 0o007 == 0,
            "a file that others cannot read",
            format!("{} has mode {mode:04o}", path.display()),
        )?;
        ensure(
            found.len() == self.text.len() as u64,
            format!("{} octets", self.text.len()),
            found.len(),
        )
    }

    fn read(&self, uid: Uid) -> Checked<MailboxRef> {
        let store = self.files.store;
        let selected = block_on(store.select(&self.account, &MailboxName::inbox(), false))?;
        let mailbox = selected.mailbox;
        let octets = block_on(async {
            let Some(blob) = store.open(&mailbox, uid).await? else {
                return Ok(Vec::new());
            };
            let mut octets = vec![0; self.text.len() + 1];
            let mut filled = 0;
            while filled < octets.len() {
                match store.read(&blob, &mut octets[filled..], filled as u64).await? {
                    0 => break,
                    count => filled += count,
                }
            }
            octets.truncate(filled);
            Ok::<_, rmail_store::Error>(octets)
        })?;
        ensure(
            octets == self.text.as_bytes(),
            "the octets that were written",
            format!("{} others", octets.len()),
        )?;
        Ok(mailbox)
    }

    fn seen_by_server(&self, run: &Run<'_>) -> Checked<()> {
        let mut imap = Imap::logged_in(run, &run.login()?)?;
        imap.want("SELECT INBOX")?;
        let command = format!("SEARCH SUBJECT \"{}\"", run.mark);
        let seen = run.until(|| {
            imap.want("NOOP")?;
            let found = imap.want(&command)?.found();
            ensure(
                found.len() == 1,
                "the message, over IMAP",
                format!("{} messages", found.len()),
            )
        });
        imap.logout();
        seen
    }

    fn flags(&self, mailbox: &MailboxRef, uid: Uid) -> Checked<()> {
        let keyword = Keyword::new(KEYWORD);
        let change = FlagChange {
            op: FlagOp::Add,
            flags: Flags {
                system: SystemFlags::FLAGGED,
                keywords: keyword.into_iter().collect(),
            },
        };
        let stored = block_on(self.files.store.store(mailbox, &only(uid), &change, None))?;
        let flagged = |snapshot: &rmail_core::mailbox::Snapshot| {
            let row = snapshot.rows.find(uid);
            row.is_some_and(|(_, row)| {
                row.flags.contains(SystemFlags::FLAGGED) && snapshot.keywords.of(row.keywords).count() == 1
            })
        };
        ensure(
            flagged(&stored.snapshot),
            "\\Flagged and a keyword",
            "other flags",
        )?;
        let again = block_on(self.files.store.snapshot(mailbox))?;
        ensure(flagged(&again), "the same when looked at again", "other flags")
    }

    fn copy(&self, mailbox: &MailboxRef, uid: Uid) -> Checked<()> {
        let to = name("Archive")?;
        let (store, uids) = (self.files.store, only(uid));
        let (copied, _) = block_on(store.copy(mailbox, &uids, &to, &Quota::UNLIMITED, clock::unix()))?;
        let target = copied.target.first().copied();
        let target = target.ok_or_else(|| Trouble::broken("a UID of the copy", "none"))?;
        let inode = |path: PathBuf| fs::metadata(path).map(|found| found.ino());
        let (from, to) = (
            inode(self.file("INBOX", uid)?),
            inode(self.file("Archive", target)?),
        );
        match (from, to) {
            (Ok(from), Ok(to)) => ensure(from == to, "one file with two names", "two files"),
            (Err(error), _) | (_, Err(error)) => Err(Trouble::broken("both files", error)),
        }
    }

    fn quota(&self, inbox: &MailboxName) -> Checked<()> {
        let used = block_on(self.files.store.usage(&self.account))?;
        ensure(
            used.octets >= self.text.len() as u64,
            format!("{} octets at least", self.text.len()),
            used.octets,
        )?;
        let full = Quota {
            octets: Some(used.octets),
            messages: None,
        };
        match self.append_with(inbox, &full) {
            Err(error) if error.refusal == Refusal::OverQuota => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) => Err(Trouble::broken("a refusal: the mailbox is full", "it was stored")),
        }
    }

    fn subscriptions(&self) -> Checked<()> {
        let sent = name("Sent")?;
        for on in [false, true] {
            block_on(self.files.store.subscribe(&self.account, &sent, on))?;
            let found = block_on(self.files.store.list(&self.account))?;
            let is = found.iter().any(|entry| entry.name == sent && entry.subscribed);
            ensure(is == on, format!("subscribed: {on}"), is)?;
        }
        Ok(())
    }

    fn mailboxes(&self) -> Checked<()> {
        let store = self.files.store;
        let (first, second) = (name("Diagnose/One")?, name("Diagnose/Two Words")?);
        let names = || -> Checked<Vec<MailboxName>> {
            let found = block_on(store.list(&self.account))?;
            let there = found.into_iter().filter(|entry| entry.selectable);
            Ok(there.map(|entry| entry.name).collect())
        };
        block_on(store.create(&self.account, &first, &[], clock::unix()))?;
        ensure(names()?.contains(&first), "the new mailbox", "it is not listed")?;
        block_on(store.rename(&self.account, &first, &second, clock::unix()))?;
        let found = names()?;
        ensure(
            found.contains(&second) && !found.contains(&first),
            "its new name",
            "its old one",
        )?;
        block_on(store.delete(&self.account, &second))?;
        block_on(store.delete(&self.account, &name("Diagnose")?))?;
        ensure(
            !names()?.contains(&second),
            "no such mailbox",
            "it is still there",
        )
    }

    fn delete(&self, mailbox: &MailboxRef, uid: Uid) -> Checked<()> {
        let change = FlagChange {
            op: FlagOp::Add,
            flags: Flags {
                system: SystemFlags::DELETED,
                keywords: Vec::new(),
            },
        };
        block_on(self.files.store.store(mailbox, &only(uid), &change, None))?;
        let snapshot = block_on(self.files.store.expunge(mailbox, Some(&only(uid))))?;
        ensure(
            snapshot.rows.find(uid).is_none(),
            "no such message",
            "it is still there",
        )?;
        ensure(
            self.file("INBOX", uid).is_err(),
            "no file of it",
            "it is still there",
        )
    }
}

fn only(uid: Uid) -> UidSet {
    UidSet::from_ranges([(uid.0, uid.0)])
}

fn name(text: &str) -> Checked<MailboxName> {
    MailboxName::new(text).map_err(|error| Trouble::broken("a name of a mailbox", error))
}
