//! The codec of message names, and building the rows of a mailbox.
#![allow(missing_docs, clippy::expect_used, reason = "a benchmark")]

use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use futures_lite::future::block_on;
use rmail_core::addr::{AccountName, Address};
use rmail_core::chunk::Chunk;
use rmail_core::limits::Limits;
use rmail_core::mailbox::{Flags, KeywordSet, MailboxName, ModSeq, Quota, Row, SystemFlags, Uid};
use rmail_core::time::Unix;
use rmail_store::MailStore;
use rmail_store::file::{FileStore, Options, names};
use rmail_store::mem::MemDisk;

const NOW: Unix = Unix::from_secs(1_700_000_000);

fn row() -> Row {
    Row {
        date: 1_700_000_000,
        modseq: ModSeq(123_456),
        keywords: KeywordSet(0),
        uid: Uid(54_321),
        size: 12_345,
        save_date: 1_700_000_001,
        zone: 120,
        flags: SystemFlags::SEEN.with(SystemFlags::ANSWERED),
    }
}

#[divan::bench]
fn encode_name(bencher: Bencher<'_, '_>) {
    bencher.bench(|| names::encode(divan::black_box(&row()), [5, 0, 0, 0]));
}

#[divan::bench]
fn decode_name(bencher: Bencher<'_, '_>) {
    let name = names::encode(&row(), [5, 0, 0, 0]);
    bencher.bench(|| names::decode(divan::black_box(&name)));
}

fn filled(messages: u32) -> (MemDisk, AccountName) {
    let disk = MemDisk::new();
    disk.set_yields(false);
    disk.set_tick(core::time::Duration::from_millis(1));
    let alice = Address::parse("alice@here.test").expect("an address").canonical();
    block_on(async {
        let store = open(&disk).await;
        store.create_account(&alice, NOW).await.expect("an account");
        let mut batch = Vec::new();
        for _ in 0..messages {
            let mut spool = store.new_spool().await.expect("a spool");
            let chunk = Chunk::copy_from(b"x");
            store.write_spool(&mut spool, chunk).await.expect("written");
            batch.push((spool, Flags::default(), None));
        }
        let inbox = MailboxName::inbox();
        store
            .append(&alice, &inbox, batch, &Quota::UNLIMITED, NOW)
            .await
            .expect("appended");
    });
    (disk, alice)
}

async fn open(disk: &MemDisk) -> FileStore<MemDisk> {
    let store = FileStore::open(Arc::new(disk.clone()), Limits::default(), Options::default());
    store.await.expect("a store")
}

#[divan::bench(args = [1_000, 10_000], sample_count = 20)]
fn select_cold(bencher: Bencher<'_, '_>, messages: u32) {
    let (disk, alice) = filled(messages);
    let inbox = MailboxName::inbox();
    bencher
        .counter(ItemsCount::new(messages))
        .with_inputs(|| block_on(open(&disk.process())))
        .bench_values(|store| block_on(store.select(&alice, &inbox, true)).expect("select"));
}

fn main() {
    divan::main();
}
