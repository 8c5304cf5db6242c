//! Each message is `\Recent` in one session at most (RFC 3501 §2.3.2), while others deliver.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::common::*;
use futures_lite::future::block_on;
use rmail_core::limits::Limits;
use rmail_core::mailbox::Flags;
use rmail_core::random::Random;
use rmail_store::MailStore as _;
use rmail_store::mem::MemDisk;
use rmail_store::mem::exec::Exec;

/// Sessions of two processes select again and again; returns how many messages were `\Recent` to somebody.
fn claimed_by_many(seed: u8) -> usize {
    let disk = MemDisk::new();
    let stores = block_on(async {
        let first = open(&disk, Limits::small()).await;
        deliver(&first, &[alice()], "first").await.expect("deliver");
        [first, open(&disk.process(), Limits::small()).await]
    });
    let claimed = RefCell::new(BTreeSet::new());
    let mut exec = Exec::new(Random::from_seed([seed; 32]));
    for n in 0..4 {
        let (store, claimed) = (&stores[n % 2], &claimed);
        exec.spawn(async move {
            for _ in 0..4 {
                let selected = store.select(&alice(), &inbox(), false).await.expect("select");
                for uid in selected.recent_from.0..selected.snapshot.uid_next.0 {
                    assert!(
                        claimed.borrow_mut().insert(uid),
                        "seed {seed}: {uid} is recent in two sessions"
                    );
                }
            }
        });
    }
    for store in &stores {
        exec.spawn(async move {
            for n in 0..6 {
                append(store, "INBOX", &n.to_string(), Flags::default())
                    .await
                    .expect("append");
            }
        });
    }
    exec.run().expect("nobody waits for ever");
    drop(exec);
    claimed.into_inner().len()
}

#[test]
fn a_message_is_recent_in_one_session() {
    let claimed: usize = (0..=255).map(claimed_by_many).sum();
    assert!(claimed > 256, "{claimed}");
}
