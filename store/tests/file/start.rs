//! Several processes begin at the same moment on a mail_root that is empty, or that one of them has just begun to make.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::common::*;
use crate::crash_common::entry;
use futures_lite::future::block_on;
use rmail_core::limits::Limits;
use rmail_core::mailbox::Flags;
use rmail_core::random::Random;
use rmail_core::relay::entry::Entry;
use rmail_core::secret::Secret;
use rmail_store::MailStore;
use rmail_store::accounts::{Accounts, NewUser};
use rmail_store::mem::exec::Exec;
use rmail_store::mem::{Fault, MemDisk};

/// What a server does at its start and with its first client; nothing of it may fail.
async fn begin(disk: MemDisk, n: usize) -> rmail_store::error::Result<Store> {
    let store = open(&disk, Limits::small()).await;
    store.load_outbound().await?;
    store.tidy().await?;
    let accounts = Accounts::new(Arc::new(disk), Random::from_seed([n as u8; 32]));
    let user = NewUser {
        password: Some(Secret::new(&b"secret"[..])),
        rounds: 1,
        admin: true,
        quota_mb: 0,
    };
    let added = accounts
        .create(&store, &account(&format!("u{n}@example.com")), &user, NOW)
        .await;
    added.unwrap_or_else(|error| panic!("add u{n}: {error}"));
    // Where users are made by programs, mail for others makes no tree. Each process adds these two; one is first.
    for shared in [alice(), bob()] {
        match accounts.create(&store, &shared, &user, NOW).await {
            Ok(_) | Err(rmail_store::accounts::AccountError::AlreadyExists) => {}
            Err(error) => panic!("add {shared}: {error}"),
        }
    }
    let mine = Entry {
        id: format!("Q{n}"),
        ..entry()
    };
    let text = spool(&store, &format!("to all {n}")).await?;
    store
        .deliver(text, &unlimited(&[alice(), bob()]), Some(&mine), NOW)
        .await?;
    append(&store, "INBOX", &format!("to alice {n}"), Flags::default()).await?;
    store
        .create(&alice(), &name(&format!("made/by {n}")), &[], NOW)
        .await?;
    Ok(store)
}

#[test]
fn all_of_them_work() {
    for seed in 0..80 {
        let disk = MemDisk::new();
        let stores = RefCell::new(Vec::new());
        let mut exec = Exec::new(Random::from_seed([seed; 32]));
        for n in 0..3 {
            let (process, stores) = (disk.process(), &stores);
            exec.spawn(async move {
                let store = begin(process, n).await;
                let store = store.unwrap_or_else(|error| panic!("seed {seed}, process {n}: {error}"));
                stores.borrow_mut().push((n, store));
            });
        }
        exec.run().expect("nobody waits for ever");
        drop(exec);
        let stores = stores.into_inner();
        block_on(async {
            for (n, store) in &stores {
                let inbox = messages(store, &alice(), "INBOX").await;
                assert_eq!(inbox.len(), 6, "seed {seed}");
                assert_eq!(messages(store, &bob(), "INBOX").await.len(), 3, "seed {seed}");
                let listed = store.list(&alice()).await.expect("list");
                assert_eq!(
                    listed
                        .iter()
                        .filter(|entry| entry.name.as_str().starts_with("made/"))
                        .count(),
                    3
                );
                let queue = store.load_outbound().await.expect("the queue");
                let ids: Vec<String> = queue.into_iter().map(|entry| entry.id).collect();
                assert_eq!(ids, [format!("Q{n}")], "seed {seed}: each has its own queue");
            }
            let accounts = Accounts::new(Arc::new(disk.process()), Random::from_seed([9; 32]));
            for n in 0..3 {
                let user = accounts.find(&account(&format!("u{n}@example.com"))).await;
                assert!(user.expect("readable").is_some(), "seed {seed}: u{n}");
            }
        });
    }
}

#[test]
fn one_that_dies_meanwhile_stops_nobody() {
    for seed in 0..120 {
        let mut random = Random::from_seed([seed; 32]);
        let disk = MemDisk::new();
        let done = Cell::new(0);
        let mut exec = Exec::new(Random::from_seed(random.seed()));
        for n in 0..3 {
            let (process, done) = (disk.process(), &done);
            if n == 0 {
                process.fault(1 + random.below(150), Fault::Crash);
            }
            let dies = n == 0;
            exec.spawn(async move {
                match begin_or_die(process, n).await {
                    Ok(()) => done.set(done.get() + 1),
                    Err(error) => assert!(dies, "seed {seed}, process {n}: {error}"),
                }
            });
        }
        exec.run().expect("nobody waits for ever");
        drop(exec);
        assert!(done.get() >= 2, "seed {seed}");
        block_on(async {
            let store = open(&disk.process(), Limits::small()).await;
            let inbox = messages(&store, &alice(), "INBOX").await;
            for n in 1..3 {
                assert!(inbox.contains_key(&format!("to all {n}")), "seed {seed}");
                assert!(inbox.contains_key(&format!("to alice {n}")), "seed {seed}");
            }
            let queue = store.load_outbound().await.expect("the queue");
            let ids: BTreeSet<String> = queue.into_iter().map(|entry| entry.id).collect();
            assert!(ids.contains("Q1") && ids.contains("Q2"), "seed {seed}: {ids:?}");
        });
    }
}

/// [`begin`] for one that may die: then its errors are its own.
async fn begin_or_die(disk: MemDisk, n: usize) -> Result<(), String> {
    let store = rmail_store::file::FileStore::open(
        Arc::new(disk.clone()),
        Limits::small(),
        rmail_store::file::Options::default(),
    )
    .await;
    let store: Store = store.map_err(|error| error.to_string())?;
    let mine = Entry {
        id: format!("Q{n}"),
        ..entry()
    };
    let run = async {
        store.load_outbound().await?;
        store.tidy().await?;
        let text = spool(&store, &format!("to all {n}")).await?;
        store
            .deliver(text, &unlimited(&[alice(), bob()]), Some(&mine), NOW)
            .await?;
        append(&store, "INBOX", &format!("to alice {n}"), Flags::default()).await?;
        store
            .create(&alice(), &name(&format!("made/by {n}")), &[], NOW)
            .await
    };
    run.await.map_err(|error: rmail_store::Error| error.to_string())
}
