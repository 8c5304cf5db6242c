//! A small world, the operations that are cut short in it, and what must hold afterwards.

use std::collections::BTreeMap;

use crate::common::*;
use rmail_core::addr::AccountName;
use rmail_core::limits::Limits;
use rmail_core::mailbox::{
    Annotated, AnnotationChange, Entry as Entry5464, Identifier, MailboxName, Rights, RightsChange,
};
use rmail_core::mailbox::{FlagOp, Flags, Quota, Snapshot, SystemFlags, Uid};
use rmail_core::relay::entry::{Entry, Recipient};
use rmail_core::smtp::envelope::{DsnRequest, Wishes};
use rmail_store::error::Result;
use rmail_store::mem::MemDisk;
use rmail_store::{MailStore, Numbering};

/// Operations that change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Deliver,
    Append,
    AppendNumbered,
    Flags,
    Expunge,
    Copy,
    Move,
    /// In steps; not among those that are all or nothing.
    Replace,
    Create,
    Delete,
    DeleteParent,
    Rename,
    /// Into another level.
    RenameUnder,
    /// SETACL for an identifier that had nothing.
    Share,
    Annotate,
}

/// A test for each of [`OPS`], under the name of what it does.
macro_rules! one_test_an_operation {
    ($test:path) => {
        one_test_an_operation! { $test:
            delivery Deliver, append_of_three Append, append_under_given_uids AppendNumbered, flag_change Flags,
            expunge Expunge, copy Copy, move_messages Move, create_mailbox Create, delete_mailbox Delete,
            delete_mailbox_with_children DeleteParent, rename_mailbox Rename, rename_mailbox_into_another RenameUnder,
            share_mailbox Share, annotate_mailbox Annotate
        }
    };
    ($test:path: $($name:ident $op:ident),*) => {
        $(
            #[test]
            fn $name() {
                $test(Op::$op);
            }
        )*
    };
}
pub(crate) use one_test_an_operation;

pub const OPS: [Op; 14] = [
    Op::Deliver,
    Op::Append,
    Op::AppendNumbered,
    Op::Flags,
    Op::Expunge,
    Op::Copy,
    Op::Move,
    Op::Create,
    Op::Delete,
    Op::DeleteParent,
    Op::Rename,
    Op::RenameUnder,
    Op::Share,
    Op::Annotate,
];

/// Messages of each mailbox by text, with their flags. UIDs are left out.
pub type Tree = BTreeMap<String, BTreeMap<String, Vec<(u8, Vec<String>)>>>;

pub fn entry() -> Entry {
    Entry {
        id: "Q1".to_owned(),
        sender: "alice@example.com".to_owned(),
        account: None,
        arrived: 1,
        offset: 0,
        size: 3,
        eight_bit: false,
        hold_until: 0,
        held: false,
        wishes: Wishes::default(),
        recipients: vec![Recipient {
            address: "x@y.z".to_owned(),
            attempts: 0,
            next: 0,
            last: None,
            delay_told: false,
            dsn: DsnRequest::default(),
            local: false,
            done: None,
            failed: false,
            expanded: false,
        }],
    }
}

/// Fills a disk, all of it synced.
pub async fn set_up(disk: &MemDisk) {
    set_up_with(disk, Limits::small()).await;
}

pub async fn set_up_with(disk: &MemDisk, limits: Limits) {
    let store = open(disk, limits).await;
    store.create_account(&alice(), NOW).await.expect("alice");
    store.create_account(&bob(), NOW).await.expect("bob");
    for n in 0..6 {
        let system = match n {
            1 | 2 | 4 => SystemFlags::DELETED,
            _ => SystemFlags::default(),
        };
        append(&store, "INBOX", &format!("in {n}"), flags(system, &["old"]))
            .await
            .expect("append");
    }
    store
        .create(&alice(), &name("work/sub"), &[], NOW)
        .await
        .expect("create");
    append(&store, "work", "w", Flags::default())
        .await
        .expect("append");
    append(&store, "work/sub", "s", Flags::default())
        .await
        .expect("append");
    append(&store, "Trash", "t", Flags::default())
        .await
        .expect("append");
    share(&store, "work", "bob@example.com").await.expect("share");
    annotate(&store, "work", "old").await.expect("annotate");
    store.flush().await.expect("flush");
    disk.kill();
}

/// A store in a new process that has the mailboxes open, as a running server has.
pub async fn warm(disk: &MemDisk) -> Store {
    warm_with(disk, Limits::small()).await
}

pub async fn warm_with(disk: &MemDisk, limits: Limits) -> Store {
    let store = open(disk, limits).await;
    for mailbox in ["INBOX", "Trash", "work", "work/sub"] {
        select(&store, mailbox).await.expect("select");
    }
    store.load_outbound().await.expect("load the queue");
    store
}

impl Op {
    /// Does it. What a client was told of INBOX in the end, if it was told.
    pub async fn run(self, store: &Store) -> Result<Option<Snapshot>> {
        let (mailbox, snapshot) = select(store, "INBOX").await?;
        match self {
            Self::Deliver => {
                let spool = spool(store, "new").await?;
                store
                    .deliver(spool, &unlimited(&[alice(), bob()]), Some(&entry()), NOW)
                    .await?;
            }
            Self::Append => {
                let mut messages = Vec::new();
                for text in ["a1", "a2", "a3"] {
                    let with = flags(SystemFlags::SEEN, &["fresh"]);
                    messages.push((spool(store, text).await?, with, None));
                }
                store
                    .append(&alice(), &inbox(), messages, &Quota::UNLIMITED, NOW)
                    .await?;
            }
            Self::AppendNumbered => {
                let next = snapshot.uid_next.0;
                let mut messages = Vec::new();
                for (uid, text) in [(next + 1, "n1"), (next + 2, "n2"), (next + 9, "n3")] {
                    let with = flags(SystemFlags::SEEN, &["fresh"]);
                    messages.push((Uid(uid), spool(store, text).await?, with, None));
                }
                let numbers = Numbering::default();
                store
                    .append_numbered(&alice(), &inbox(), numbers, messages, NOW)
                    .await?;
            }
            Self::Flags => {
                let add = change(FlagOp::Add, SystemFlags::SEEN, &["fresh"]);
                let stored = store.store(&mailbox, &set(&[1, 2, 3, 6]), &add, None).await?;
                return Ok(Some(stored.snapshot));
            }
            Self::Expunge => return store.expunge(&mailbox, None).await.map(Some),
            Self::Copy => {
                let uids = set(&[2, 3, 4, 5]);
                let (_, snapshot) = store
                    .copy(&mailbox, &uids, &name("Trash"), &Quota::UNLIMITED, NOW)
                    .await?;
                return Ok(Some(snapshot));
            }
            Self::Move => {
                let uids = set(&[2, 3, 4, 5]);
                let (_, snapshot) = store.r#move(&mailbox, &uids, &name("Trash"), NOW).await?;
                return Ok(Some(snapshot));
            }
            Self::Replace => {
                let message = (spool(store, "r").await?, flags(SystemFlags::SEEN, &[]), None);
                let to = name("Trash");
                let replaced = store
                    .replace(&mailbox, Uid(2), (&alice(), &to), message, &Quota::UNLIMITED, NOW)
                    .await?;
                return Ok(replaced.map(|(_, snapshot)| snapshot));
            }
            Self::Create => store.create(&alice(), &name("fresh"), &[], NOW).await?,
            Self::Delete => store.delete(&alice(), &name("work/sub")).await?,
            Self::DeleteParent => store.delete(&alice(), &name("work")).await?,
            Self::Rename | Self::RenameUnder => {
                store
                    .rename(&alice(), &name("work"), &name(self.renamed_to()), NOW)
                    .await?;
            }
            Self::Share => share(store, "Trash", "anyone").await?,
            Self::Annotate => annotate(store, "Trash", "new").await?,
        }
        Ok(None)
    }

    /// The new name of `work`.
    pub fn renamed_to(self) -> &'static str {
        if self == Self::RenameUnder {
            "Trash/play"
        } else {
            "play"
        }
    }

    /// Whether an error may leave a part of it done: the part is announced, and the next attempt does the rest.
    pub fn is_partial(self) -> bool {
        matches!(self, Self::Flags | Self::Expunge | Self::Move | Self::Replace)
    }
}

async fn share(store: &Store, mailbox: &str, who: &str) -> Result<()> {
    let who = Identifier::parse(who).expect("an identifier");
    let change = RightsChange::Replace(Rights::READ);
    store.set_acl(&alice(), &name(mailbox), &who, change).await
}

async fn annotate(store: &Store, mailbox: &str, value: &str) -> Result<()> {
    let entry = Entry5464 {
        whose: None,
        path: "/comment".to_owned(),
    };
    let value = Some(value.as_bytes().to_vec());
    let about = Annotated::Mailbox(alice(), name(mailbox));
    store.annotate(&about, &[AnnotationChange { entry, value }]).await
}

/// Who may do what with a mailbox, and what is noted about it. Whom it is shared with finds it.
async fn beside(
    store: &Store,
    account: &AccountName,
    mailbox: &MailboxName,
) -> BTreeMap<String, Vec<(u8, Vec<String>)>> {
    let mut texts = BTreeMap::new();
    let acl = store.acl(account, mailbox).await.expect("the list");
    for (who, rights) in acl.entries() {
        texts.insert(format!("{who} {}", rights.letters()), vec![]);
        let shared = store.shared(&bob()).await.expect("what is shared");
        let there = |shared: &rmail_core::imap::server::SharedMailbox| shared.name == *mailbox;
        assert!(shared.iter().any(there), "{mailbox} is not found by {who}");
    }
    let about = Annotated::Mailbox(account.clone(), mailbox.clone());
    for (entry, value) in store.annotations(&about).await.expect("annotations").entries() {
        texts.insert(format!("{} {value:?}", entry.path), vec![]);
    }
    texts
}

/// All that is in the two accounts and the queue.
pub async fn tree(store: &Store) -> Tree {
    let mut tree = Tree::new();
    for account in [alice(), bob()] {
        for entry in store.list(&account).await.expect("list") {
            if entry.selectable {
                let found = messages(store, &account, entry.name.as_str()).await;
                let plain = found.into_iter().map(|(text, copies)| {
                    let copies = copies.into_iter().map(|(_, flags, words)| (flags.0, words));
                    (text, copies.collect())
                });
                tree.insert(format!("{account} {}", entry.name), plain.collect());
                let beside = beside(store, &account, &entry.name).await;
                if !beside.is_empty() {
                    tree.insert(format!("{account} {} beside", entry.name), beside);
                }
            }
        }
    }
    let queue = store.load_outbound().await.expect("load the queue");
    let mut queued = BTreeMap::new();
    for entry in queue {
        let blob = store.open_outbound(&entry.id).await.expect("its message");
        assert_eq!(store.blob_len(&blob), 3);
        queued.insert(entry.id, vec![]);
    }
    tree.insert("queue".to_owned(), queued);
    tree
}
