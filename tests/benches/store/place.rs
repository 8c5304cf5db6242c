//! Stores, accounts and messages to measure with.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_lite::future::block_on;
use rmail_core::addr::{AccountName, Address};
use rmail_core::chunk::Chunk;
use rmail_core::limits::Limits;
use rmail_core::mailbox::{
    FlagChange, FlagOp, Flags, Keyword, KeywordSet, MailboxName, MailboxRef, ModSeq, Quota, Row, SystemFlags,
    Uid, UidSet,
};
use rmail_core::time::Unix;
use rmail_runtime::disk::RealDisk;
use rmail_store::MailStore;
use rmail_store::file::{FileStore, Options, Spool, names};

pub type Store = FileStore<RealDisk>;

pub const NOW: Unix = Unix::from_secs(1_700_000_000);

/// Octets of the messages.
pub const SIZE: usize = 1_024;

/// A file has at most 65,000 names on ext4.
const NAMES_PER_FILE: u32 = 50_000;

/// A new process, as far as a store is concerned: locks, caches and views are of their own.
pub fn open(root: &Path, options: Options) -> Store {
    let disk = Arc::new(RealDisk::open(root).expect("a mail_root"));
    block_on(FileStore::open(disk, Limits::default(), options)).expect("a store")
}

pub fn account(text: &str) -> AccountName {
    Address::parse(text).expect("an address").canonical()
}

pub fn inbox() -> MailboxName {
    MailboxName::inbox()
}

pub fn name(text: &str) -> MailboxName {
    MailboxName::new(text).expect("a name")
}

pub fn set(first: u32, last: u32) -> UidSet {
    UidSet::from_ranges([(first, last)])
}

pub fn change(op: FlagOp, system: SystemFlags, keyword: Option<&str>) -> FlagChange {
    let keywords = keyword.map(|text| Keyword::new(text).expect("a keyword"));
    FlagChange {
        op,
        flags: Flags {
            system,
            keywords: keywords.into_iter().collect(),
        },
    }
}

/// A message of about 1 KiB, as it arrives.
pub fn message() -> Vec<u8> {
    let mut text = b"From: Fred Foobar <foobar@Blurdybloop.example>\r\n\
        To: mooch@owatagu.siam.edu\r\nSubject: afternoon meeting\r\n\
        Date: Mon, 7 Feb 1994 21:52:25 -0800\r\nMessage-Id: <B27397-0100000@Blurdybloop.example>\r\n\
        MIME-Version: 1.0\r\nContent-Type: TEXT/PLAIN; CHARSET=US-ASCII\r\n\r\n"
        .to_vec();
    while text.len() < SIZE - 2 {
        text.push(if text.len().is_multiple_of(72) { b' ' } else { b'x' });
    }
    text.extend_from_slice(b"\r\n");
    text
}

pub fn spool(store: &Store) -> Spool<RealDisk> {
    block_on(async {
        let mut spool = store.new_spool().await.expect("a spool");
        let chunk = Chunk::from(message());
        if let Err(chunk) = store.write_spool_now(&mut spool, chunk) {
            store.write_spool(&mut spool, chunk).await.expect("written");
        }
        spool
    })
}

pub fn deliver(store: &Store, to: &[AccountName]) {
    let limit = Quota {
        octets: Some(u64::MAX),
        messages: None,
    };
    let to: Vec<(AccountName, Quota)> = to.iter().map(|account| (account.clone(), limit)).collect();
    block_on(store.deliver(spool(store), &to, None, NOW)).expect("delivered");
}

pub fn select(store: &Store, account: &AccountName, mailbox: &MailboxName) -> MailboxRef {
    block_on(store.select(account, mailbox, false))
        .expect("select")
        .mailbox
}

/// An account whose mailbox has so many messages, as links of a few files: making each by APPEND would take hours.
pub fn filled(root: &Path, account: &AccountName, mailbox: &MailboxName, count: u32) {
    let store = open(root, Options::default());
    block_on(store.create_account(account, NOW)).expect("an account");
    if *mailbox != inbox() {
        block_on(store.create(account, mailbox, &[], NOW)).expect("a mailbox");
    }
    drop(store);
    let (local, domain) = account.parts();
    let path = format!("domains/{domain}/users/{local}/mailboxes/{}", mailbox.as_str());
    fill(&root.join(path), count);
    // The first process gets `state` going.
    let store = open(root, Options::default());
    let reference = select(&store, account, mailbox);
    block_on(store.unselect(&reference));
    // What was made by links is on disk before anything is timed.
    let disk = RealDisk::open(root).expect("a mail_root");
    block_on(rmail_store::disk::Disk::sync_fs(
        &disk,
        rmail_store::disk::Disk::root(&disk),
    ))
    .expect("synced");
}

fn fill(dir: &Path, count: u32) {
    let mut first = PathBuf::new();
    for uid in 1..=count {
        let shard = dir.join(format!("shards/{:06}", uid / 1_000));
        if uid % 1_000 == 0 || uid == 1 {
            std::fs::create_dir_all(&shard).expect("a shard");
        }
        let row = Row {
            date: 1_700_000_000 + i64::from(uid),
            modseq: ModSeq(u64::from(uid)),
            keywords: KeywordSet(0),
            uid: Uid(uid),
            size: u32::try_from(SIZE).expect("small"),
            save_date: 1_700_000_000,
            zone: 0,
            flags: SystemFlags::default(),
        };
        let path = shard.join(names::encode(&row, [0; 4]));
        if uid % NAMES_PER_FILE == 1 {
            std::fs::write(&path, message()).expect("a message");
            first = path;
        } else {
            std::fs::hard_link(&first, &path).expect("a link");
        }
    }
    let path = dir.join("status.json");
    let mut status: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).expect("status.json")).expect("JSON");
    status["uid_ceiling"] = (count + 1).into();
    status["modseq_ceiling"] = (count + 1).into();
    std::fs::write(&path, status.to_string()).expect("status.json");
    // Whoever opens it takes up the numbers from the names.
    drop(std::fs::remove_file(dir.join("state")));
}
