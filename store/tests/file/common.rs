//! What the tests of the file store share: a world on a disk in memory, and short words for its operations.

use std::collections::BTreeMap;
use std::sync::Arc;

use rmail_core::addr::{AccountName, Address};
use rmail_core::chunk::Chunk;
use rmail_core::limits::Limits;
use rmail_core::mailbox::{
    FlagChange, FlagOp, Flags, Keyword, MailboxName, MailboxRef, Quota, Snapshot, SystemFlags, Uid, UidSet,
    Usage,
};
use rmail_core::time::Unix;
use rmail_store::MailStore;
use rmail_store::disk::{Disk as _, Mode};
use rmail_store::error::Result;
use rmail_store::file::status::Status;
use rmail_store::file::usage::Record;
use rmail_store::file::{FileStore, Options, Spool, expunged, names};
use rmail_store::mem::{MemDir, MemDisk};

pub type Store = FileStore<MemDisk>;

pub const NOW: Unix = Unix::from_secs(1_700_000_000);

pub fn account(text: &str) -> AccountName {
    Address::parse(text).expect("address").canonical()
}

pub fn alice() -> AccountName {
    account("alice@example.com")
}

pub fn bob() -> AccountName {
    account("bob@example.com")
}

pub fn name(text: &str) -> MailboxName {
    MailboxName::new(text).expect("mailbox name")
}

pub fn inbox() -> MailboxName {
    MailboxName::inbox()
}

pub async fn open(disk: &MemDisk, limits: Limits) -> Store {
    open_with(disk, limits, Options::default()).await
}

pub async fn open_with(disk: &MemDisk, limits: Limits, options: Options) -> Store {
    FileStore::open(Arc::new(disk.clone()), limits, options)
        .await
        .expect("open the store")
}

pub async fn spool(store: &Store, text: &str) -> Result<Spool<MemDisk>> {
    let mut spool = store.new_spool().await?;
    store
        .write_spool(&mut spool, Chunk::copy_from(text.as_bytes()))
        .await?;
    Ok(spool)
}

pub async fn deliver(store: &Store, accounts: &[AccountName], text: &str) -> Result<()> {
    let spool = spool(store, text).await?;
    store.deliver(spool, &unlimited(accounts), None, NOW).await
}

/// The accounts, each with no quota.
pub fn unlimited(accounts: &[AccountName]) -> Vec<(AccountName, Quota)> {
    let accounts = accounts.iter();
    accounts
        .map(|account| (account.clone(), Quota::UNLIMITED))
        .collect()
}

pub async fn append(store: &Store, mailbox: &str, text: &str, flags: Flags) -> Result<Vec<Uid>> {
    let spool = spool(store, text).await?;
    let appended = store
        .append(
            &alice(),
            &name(mailbox),
            vec![(spool, flags, None)],
            &Quota::UNLIMITED,
            NOW,
        )
        .await?;
    Ok(appended.uids)
}

pub fn flags(system: SystemFlags, keywords: &[&str]) -> Flags {
    Flags {
        system,
        keywords: keywords
            .iter()
            .map(|text| Keyword::new(text).expect("keyword"))
            .collect(),
    }
}

pub fn change(op: FlagOp, system: SystemFlags, keywords: &[&str]) -> FlagChange {
    FlagChange {
        op,
        flags: flags(system, keywords),
    }
}

pub fn set(uids: &[u32]) -> UidSet {
    uids.iter().copied().map(Uid).collect()
}

pub fn all() -> UidSet {
    UidSet::from_ranges([(1, u32::MAX)])
}

pub fn uids(snapshot: &Snapshot) -> Vec<u32> {
    snapshot.rows.iter().map(|row| row.uid.0).collect()
}

pub async fn select(store: &Store, mailbox: &str) -> Result<(MailboxRef, Snapshot)> {
    let selected = store.select(&alice(), &name(mailbox), false).await?;
    Ok((selected.mailbox, selected.snapshot))
}

pub async fn body(store: &Store, mailbox: &MailboxRef, uid: u32) -> Option<String> {
    let blob = store.open(mailbox, Uid(uid)).await.expect("open a message")?;
    let mut bytes = vec![0; usize::try_from(store.blob_len(&blob)).expect("small")];
    let mut at = 0;
    while at < bytes.len() {
        let count = store
            .read(&blob, &mut bytes[at..], at as u64)
            .await
            .expect("read a message");
        assert_ne!(count, 0, "the message is shorter than its name says");
        at += count;
    }
    Some(String::from_utf8(bytes).expect("text"))
}

/// The messages of a mailbox by their text: UID, flags and keywords of each copy.
pub async fn messages(
    store: &Store,
    account: &AccountName,
    mailbox: &str,
) -> BTreeMap<String, Vec<(u32, SystemFlags, Vec<String>)>> {
    let selected = store
        .select(account, &name(mailbox), true)
        .await
        .unwrap_or_else(|error| panic!("select {mailbox}: {error}"));
    let mut found: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for row in selected.snapshot.rows.iter() {
        let text = body(store, &selected.mailbox, row.uid.0)
            .await
            .expect("a message that is listed can be opened");
        let keywords = selected.snapshot.keywords.of(row.keywords);
        let keywords = keywords.map(|keyword| keyword.as_str().to_owned()).collect();
        found
            .entry(text)
            .or_default()
            .push((row.uid.0, row.flags, keywords));
    }
    store.unselect(&selected.mailbox).await;
    found
}

/// A directory by its path below alice's.
pub async fn dir_of_alice(disk: &MemDisk, path: &str) -> MemDir {
    dir_at(disk, &format!("domains/example.com/users/alice/{path}")).await
}

pub async fn dir_at(disk: &MemDisk, path: &str) -> MemDir {
    let mut dir = disk.root().clone();
    for level in path.split('/').filter(|level| !level.is_empty()) {
        dir = disk.open_dir(&dir, level).await.expect("open a level");
    }
    dir
}

/// Alice's directory of a mailbox.
pub async fn dir_of(disk: &MemDisk, mailbox: &str) -> MemDir {
    dir_of_alice(disk, &format!("mailboxes/{mailbox}")).await
}

pub async fn names_of(disk: &MemDisk, dir: &MemDir) -> Vec<String> {
    let listing = disk.list(dir).await.expect("list");
    listing.entries.into_iter().map(|entry| entry.name).collect()
}

/// What a file holds; nothing if it is not there.
pub async fn octets_of(disk: &MemDisk, dir: &MemDir, name: &str) -> Vec<u8> {
    let Ok(file) = disk.open(dir, name, Mode::Read).await else {
        return Vec::new();
    };
    let mut bytes = vec![0; 1 << 16];
    let count = disk.read_at(&file, &mut bytes, 0).await.expect("read");
    bytes.truncate(count);
    bytes
}

/// UIDs that the expunge log of a mailbox has.
pub async fn logged(disk: &MemDisk, mailbox: &str) -> UidSet {
    let dir = dir_of(disk, mailbox).await;
    let records = expunged::decode(&octets_of(disk, &dir, "expunged").await);
    let records = records.iter().filter(|record| record.first.0 != 0);
    UidSet::from_ranges(records.map(|record| (record.first.0, record.last.0)))
}

/// What the messages of an account take, by the names on the disk.
pub async fn on_disk(disk: &MemDisk, account: &AccountName) -> Usage {
    let (local, domain) = account.parts();
    let top = dir_at(disk, &format!("domains/{domain}/users/{local}/mailboxes")).await;
    let mut sum = Usage::default();
    let mut work = vec![top];
    while let Some(dir) = work.pop() {
        for level in names_of(disk, &dir).await {
            let level = disk.open_dir(&dir, &level).await.expect("open a level");
            if let Ok(children) = disk.open_dir(&level, "children").await {
                work.push(children);
            }
            let status = octets_of(disk, &level, "status.json").await;
            if Status::decode(&status).is_ok_and(|status| status.gone) || status.is_empty() {
                continue;
            }
            let Ok(shards) = disk.open_dir(&level, "shards").await else {
                continue;
            };
            for shard in names_of(disk, &shards).await {
                let shard = disk.open_dir(&shards, &shard).await.expect("open a shard");
                let messages = names_of(disk, &shard).await;
                let rows = messages.iter().filter_map(|name| names::decode(name));
                sum += rows.map(|(row, _)| Usage::message(row.size.into())).sum();
            }
        }
    }
    sum
}

/// The usage record of an account as it is on the disk.
pub async fn usage_record(disk: &MemDisk, account: &AccountName) -> Option<Record> {
    let (local, domain) = account.parts();
    let dir = dir_at(disk, &format!("domains/{domain}/users/{local}")).await;
    Record::decode(&octets_of(disk, &dir, "usage").await)
}

/// A quota of so many octets.
pub fn octets(limit: u64) -> Quota {
    Quota {
        octets: Some(limit),
        messages: None,
    }
}
