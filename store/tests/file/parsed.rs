//! The parsed cache: what it answers is that of the message, whatever is done to its files; and nothing fails for it.

use std::collections::BTreeMap;

use crate::common::*;
use futures_lite::future::block_on;
use rmail_core::limits::Limits;
use rmail_core::mailbox::{FlagOp, Flags, MailboxRef, Quota, SystemFlags, Uid};
use rmail_core::mime::digest::Digest;
use rmail_core::mime::parsed::Parsed;
use rmail_core::random::Random;
use rmail_store::MailStore as _;
use rmail_store::disk::{Disk as _, Mode};
use rmail_store::file::Options;
use rmail_store::file::parsed::DIR;
use rmail_store::mem::exec::Exec;
use rmail_store::mem::{Call, Fault, MemDisk, Model, Outcome};

fn mail(n: usize) -> String {
    format!(
        "Subject: message {n}\r\nFrom: a{n}@x.y\r\nReceived: x\r\n\r\nText {n}\r\n{}",
        "x".repeat(n)
    )
}

fn made_of(message: &str) -> Parsed {
    let mut digest = Digest::new(usize::MAX);
    digest.push(message.as_bytes());
    digest.finish(message.as_bytes()).parsed
}

/// UIDs of a mailbox of alice of which something is known; what is known is right.
async fn known(store: &Store, mailbox: &str) -> Vec<u32> {
    let (mailbox, snapshot) = select(store, mailbox).await.expect("select");
    let all: Vec<Uid> = snapshot.rows.iter().map(|row| row.uid).collect();
    let parsed = store.parsed(&mailbox, &all).await;
    assert_eq!(parsed.len(), all.len());
    let mut known = Vec::new();
    for (uid, parsed) in all.iter().zip(parsed) {
        if let Some(parsed) = parsed {
            let message = body(store, &mailbox, uid.0).await.expect("the message");
            assert_eq!(parsed, made_of(&message), "UID {}", uid.0);
            known.push(uid.0);
        }
    }
    known
}

/// What a session does that finds nothing known.
async fn find_out(store: &Store, mailbox: &MailboxRef, uids: &[u32]) {
    let mut found = Vec::new();
    for uid in uids {
        if let Some(message) = body(store, mailbox, *uid).await {
            found.push((Uid(*uid), made_of(&message)));
        }
    }
    store.keep_parsed(mailbox, &found).await;
}

async fn filled(disk: &MemDisk, count: usize) -> Store {
    let store = open(disk, Limits::small()).await;
    store.create_account(&alice(), NOW).await.expect("create");
    for n in 1..=count {
        append(&store, "INBOX", &mail(n), Flags::default())
            .await
            .expect("append");
    }
    store
}

/// The files of INBOX.
async fn files(disk: &MemDisk) -> BTreeMap<String, Vec<u8>> {
    let dir = dir_of(disk, &format!("INBOX/{DIR}")).await;
    let mut files = BTreeMap::new();
    for name in names_of(disk, &dir).await {
        let octets = octets_of(disk, &dir, &name).await;
        files.insert(name, octets);
    }
    files
}

/// Puts octets in the place of a file, the file itself being another one if `new`.
async fn overwrite(disk: &MemDisk, path: &str, file: &str, octets: &[u8], new: bool) {
    let dir = dir_of(disk, path).await;
    if new {
        disk.unlink(&dir, file).await.ok();
    }
    let mut octets = octets.to_vec();
    let open = disk.open(&dir, file, Mode::Create).await.expect("open");
    let size = usize::try_from(disk.stat(&open).await.expect("stat").size).expect("small");
    // There is no truncation: what is cut is zero.
    octets.resize(octets.len().max(size), 0);
    disk.write_at(&open, &octets, 0).await.expect("write");
}

#[test]
fn known_from_the_start_also_to_others_and_gone_with_the_message() {
    block_on(async {
        let disk = MemDisk::new();
        let store = filled(&disk, 3).await;
        deliver(&store, &[alice(), bob()], &mail(4))
            .await
            .expect("deliver");
        assert_eq!(known(&store, "INBOX").await, [1, 2, 3, 4]);
        let other = open(&disk.process(), Limits::small()).await;
        assert_eq!(known(&other, "INBOX").await, [1, 2, 3, 4]);
        // Flags are no part of it.
        let (mailbox, _) = select(&store, "INBOX").await.expect("select");
        let deleted = change(FlagOp::Add, SystemFlags::DELETED, &["word"]);
        store
            .store(&mailbox, &set(&[2]), &deleted, None)
            .await
            .expect("store");
        assert_eq!(known(&other, "INBOX").await, [1, 2, 3, 4]);
        store.expunge(&mailbox, None).await.expect("expunge");
        assert_eq!(known(&other, "INBOX").await, [1, 3, 4]);
        assert_eq!(store.parsed(&mailbox, &[Uid(2), Uid(99)]).await, [None, None]);
    });
}

#[test]
fn copies_and_what_was_moved_have_it_too() {
    block_on(async {
        let disk = MemDisk::new();
        let store = filled(&disk, 9).await;
        let (mailbox, _) = select(&store, "INBOX").await.expect("select");
        let trash = name("Trash");
        store
            .copy(&mailbox, &set(&[2, 3, 7]), &trash, &Quota::UNLIMITED, NOW)
            .await
            .expect("copy");
        store
            .r#move(&mailbox, &set(&[1, 9, 4]), &trash, NOW)
            .await
            .expect("move");
        assert_eq!(known(&store, "Trash").await, [1, 2, 3, 4, 5, 6]);
        assert_eq!(known(&store, "INBOX").await, [2, 3, 5, 6, 7, 8]);
    });
}

#[test]
fn many_messages_take_few_calls() {
    block_on(async {
        let disk = MemDisk::new();
        let store = open(&disk, Limits::default()).await;
        store.create_account(&alice(), NOW).await.expect("create");
        for n in 1..=300 {
            append(&store, "INBOX", &mail(n), Flags::default())
                .await
                .expect("append");
        }
        let other = open(&disk.process(), Limits::default()).await;
        let (mailbox, snapshot) = select(&other, "INBOX").await.expect("select");
        let all: Vec<Uid> = snapshot.rows.iter().map(|row| row.uid).collect();
        let calls =
            |disk: &MemDisk| -> Vec<Call> { disk.take_records().iter().map(|record| record.call).collect() };
        disk.record();
        assert!(other.parsed(&mailbox, &all).await.iter().all(Option::is_some));
        assert_eq!(
            calls(&disk),
            [Call::OpenDir, Call::Open, Call::Stat, Call::ReadAt, Call::ReadAt]
        );
        disk.record();
        assert!(
            other
                .parsed(&mailbox, &all[..64])
                .await
                .iter()
                .all(Option::is_some)
        );
        assert_eq!(calls(&disk), [Call::ReadAt]);
        // One that another process adds.
        deliver(&store, &[alice()], &mail(301)).await.expect("deliver");
        other.snapshot(&mailbox).await.expect("snapshot");
        disk.record();
        assert!(other.parsed(&mailbox, &[Uid(301)]).await[0].is_some());
        assert_eq!(calls(&disk), [Call::StatAt, Call::ReadAt, Call::ReadAt]);
    });
}

#[test]
fn a_file_that_was_spoilt_is_a_miss_and_mended() {
    block_on(async {
        let world = MemDisk::new();
        drop(filled(&world, 3).await);
        world.kill();
        let octets = files(&world.fork()).await["000000"].clone();
        let step = 3;
        for at in (0..octets.len()).step_by(step) {
            for cut in [false, true] {
                let disk = world.fork();
                let mut spoilt = octets.clone();
                if cut {
                    // As after a power cut: it ends here, or goes on with zeros.
                    spoilt[at..].fill(0);
                } else {
                    spoilt[at] ^= 0x41;
                }
                overwrite(&disk, &format!("INBOX/{DIR}"), "000000", &spoilt, false).await;
                let store = open(&disk.process(), Limits::small()).await;
                let before = known(&store, "INBOX").await;
                let (mailbox, _) = select(&store, "INBOX").await.expect("select");
                find_out(&store, &mailbox, &[1, 2, 3]).await;
                assert_eq!(known(&store, "INBOX").await, [1, 2, 3], "octet {at}");
                let other = open(&disk.process(), Limits::small()).await;
                assert_eq!(known(&other, "INBOX").await, [1, 2, 3], "octet {at}, {before:?}");
            }
        }
    });
}

#[test]
fn files_of_others_are_misses() {
    block_on(async {
        let disk = MemDisk::new();
        let store = filled(&disk, 3).await;
        let own = files(&disk).await["000000"].clone();
        // The same octets in another file: restored, or copied over.
        overwrite(&disk, &format!("INBOX/{DIR}"), "000000", &own, true).await;
        let other = open(&disk.process(), Limits::small()).await;
        assert!(known(&other, "INBOX").await.is_empty());
        // Another shard's.
        for n in 4..=7 {
            append(&store, "INBOX", &mail(n), Flags::default())
                .await
                .expect("append");
        }
        let second = files(&disk).await["000001"].clone();
        overwrite(&disk, &format!("INBOX/{DIR}"), "000000", &second, false).await;
        let other = open(&disk.process(), Limits::small()).await;
        assert_eq!(known(&other, "INBOX").await, [4, 5, 6, 7]);
        // Another mailbox's, with messages that look alike.
        append(&store, "Trash", &mail(1), Flags::default())
            .await
            .expect("append");
        let trash = dir_of(&disk, &format!("Trash/{DIR}")).await;
        let inbox = dir_of(&disk, &format!("INBOX/{DIR}")).await;
        disk.unlink(&inbox, "000000").await.expect("unlink");
        disk.link(&trash, "000000", &inbox, "000000").await.expect("link");
        let other = open(&disk.process(), Limits::small()).await;
        assert_eq!(known(&other, "INBOX").await, [4, 5, 6, 7]);
        // An older version's.
        let mut old = own;
        old[3] = b'0';
        overwrite(&disk, &format!("INBOX/{DIR}"), "000000", &old, true).await;
        let other = open(&disk.process(), Limits::small()).await;
        assert_eq!(known(&other, "INBOX").await, [4, 5, 6, 7]);
        // All are made good by who finds out.
        let (mailbox, _) = select(&other, "INBOX").await.expect("select");
        find_out(&other, &mailbox, &[1, 2, 3]).await;
        assert_eq!(known(&other, "INBOX").await, [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(known(&store, "INBOX").await, [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(known(&store, "Trash").await, [1]);
    });
}

#[test]
fn a_new_uid_validity_makes_all_of_it_void() {
    block_on(async {
        let disk = MemDisk::new();
        drop(filled(&disk, 3).await);
        let dir = dir_of(&disk, "INBOX").await;
        disk.unlink(&dir, "status.json").await.expect("unlink");
        let store = open(&disk.process(), Limits::small()).await;
        assert!(known(&store, "INBOX").await.is_empty());
        let (mailbox, _) = select(&store, "INBOX").await.expect("select");
        find_out(&store, &mailbox, &[1, 2, 3]).await;
        assert_eq!(known(&store, "INBOX").await, [1, 2, 3]);
    });
}

#[test]
fn a_uid_that_is_given_again_after_a_restore_is_another_message() {
    block_on(async {
        let disk = MemDisk::new();
        let store = filled(&disk, 2).await;
        let (mailbox, _) = select(&store, "INBOX").await.expect("select");
        let (dir, shard) = (
            dir_of(&disk, "INBOX").await,
            dir_of(&disk, "INBOX/shards/000000").await,
        );
        let old = names_of(&disk, &shard).await.into_iter().max().expect("UID 2");
        // A stranger takes message 2 away and puts another in its place, of other size and date.
        disk.unlink(&shard, &old).await.expect("unlink");
        let text = mail(5);
        let new = format!("0000000002.1+0000.{}.1.1.-.0.eml", text.len());
        let file = disk.open(&shard, &new, Mode::CreateNew).await.expect("open");
        disk.write_at(&file, text.as_bytes(), 0).await.expect("write");
        disk.unlink(&dir, "state").await.expect("unlink");
        drop(store);
        disk.kill();
        let store = open(&disk.process(), Limits::small()).await;
        assert_eq!(known(&store, "INBOX").await, [1]);
        assert_eq!(body(&store, &mailbox, 2).await.as_deref(), Some(text.as_str()));
    });
}

#[test]
fn the_cache_may_be_deleted_under_running_processes() {
    block_on(async {
        let disk = MemDisk::new();
        let store = filled(&disk, 3).await;
        assert_eq!(known(&store, "INBOX").await, [1, 2, 3]);
        let inbox = dir_of(&disk, "INBOX").await;
        let dir = dir_of(&disk, &format!("INBOX/{DIR}")).await;
        for name in names_of(&disk, &dir).await {
            disk.unlink(&dir, &name).await.expect("unlink");
        }
        disk.remove_dir(&inbox, DIR).await.expect("remove");
        // The open file is still right.
        assert_eq!(known(&store, "INBOX").await, [1, 2, 3]);
        append(&store, "INBOX", &mail(4), Flags::default())
            .await
            .expect("append");
        append(&store, "INBOX", &mail(5), Flags::default())
            .await
            .expect("append");
        let other = open(&disk.process(), Limits::small()).await;
        assert_eq!(known(&other, "INBOX").await, [4, 5]);
        // Nobody has written to that of shard 0, which is still open here.
        assert_eq!(known(&store, "INBOX").await, [1, 2, 3, 4, 5]);
    });
}

#[test]
fn expunged_records_go_when_they_are_more_than_half() {
    block_on(async {
        let disk = MemDisk::new();
        let store = open(
            &disk,
            Limits {
                shard_size: 100,
                ..Limits::default()
            },
        )
        .await;
        store.create_account(&alice(), NOW).await.expect("create");
        for n in 1..=99 {
            let long = format!("Subject: {n}\r\nReferences: {}\r\n\r\n", "<a@b>".repeat(200));
            append(&store, "INBOX", &long, Flags::default())
                .await
                .expect("append");
        }
        let size = |disk: &MemDisk| {
            let disk = disk.clone();
            async move {
                let dir = dir_of(&disk, &format!("INBOX/{DIR}")).await;
                disk.stat_at(&dir, "000000").await.map_or(0, |stat| stat.size)
            }
        };
        let full = size(&disk).await;
        let reader = open(
            &disk.process(),
            Limits {
                shard_size: 100,
                ..Limits::default()
            },
        )
        .await;
        assert_eq!(known(&reader, "INBOX").await.len(), 99);
        let (mailbox, _) = select(&store, "INBOX").await.expect("select");
        let expunge = async |first: u32, last: u32| {
            let deleted = change(FlagOp::Add, SystemFlags::DELETED, &[]);
            let uids = rmail_core::mailbox::UidSet::from_ranges([(first, last)]);
            store.store(&mailbox, &uids, &deleted, None).await.expect("store");
            store.expunge(&mailbox, None).await.expect("expunge");
        };
        expunge(1, 40).await;
        assert_eq!(size(&disk).await, full, "not yet");
        expunge(41, 60).await;
        assert!(
            size(&disk).await < full * 45 / 100,
            "{} of {full}",
            size(&disk).await
        );
        let rest: Vec<u32> = (61..=99).collect();
        assert_eq!(known(&store, "INBOX").await, rest);
        assert_eq!(known(&reader, "INBOX").await, rest, "its file has lost its name");
        // A writer that had the old file open goes on with the new one.
        deliver(&reader, &[alice()], &mail(1)).await.expect("deliver");
        assert_eq!(known(&store, "INBOX").await.last(), Some(&100));
        expunge(1, 99).await;
        assert_eq!(size(&disk).await, 0, "nothing is left of the shard");
        assert_eq!(files(&disk).await.len(), 1);
    });
}

#[test]
fn what_cannot_be_written_fails_nothing() {
    block_on(async {
        let world = MemDisk::new();
        drop(filled(&world, 2).await);
        world.kill();
        // Every call behind the sync of the names is one of the cache.
        let disk = world.fork();
        let store = open(&disk, Limits::small()).await;
        select(&store, "INBOX").await.expect("select");
        disk.record();
        deliver(&store, &[alice()], &mail(3)).await.expect("deliver");
        let records = disk.take_records();
        let last = records.iter().rposition(|record| record.call == Call::SyncDir);
        let first = u64::try_from(last.expect("a sync")).expect("small") + 2;
        let calls = u64::try_from(records.len()).expect("small");
        assert!(first + 3 < calls, "{records:?}");
        for at in first..=calls {
            for fault in [
                Fault::Errno(28),
                Fault::Errno(24),
                Fault::Errno(5),
                Fault::Short(28),
            ] {
                let disk = world.fork();
                let store = open(&disk, Limits::small()).await;
                select(&store, "INBOX").await.expect("select");
                disk.fault(disk.calls() + at, fault);
                deliver(&store, &[alice()], &mail(3)).await.expect("deliver");
                disk.clear_faults();
                deliver(&store, &[alice()], &mail(4)).await.expect("deliver");
                let found = known(&store, "INBOX").await;
                assert!(
                    found.starts_with(&[1, 2]) && found.ends_with(&[4]),
                    "{fault:?} at {at}: {found:?}"
                );
                let other = open(&disk.process(), Limits::small()).await;
                assert_eq!(known(&other, "INBOX").await, found, "{fault:?} at {at}");
            }
        }
    });
}

#[test]
fn after_a_crash_it_is_right_or_not_there() {
    block_on(async {
        let world = MemDisk::new();
        world.set_tick(core::time::Duration::from_micros(700));
        drop(filled(&world, 6).await);
        world.kill();
        let mut at = 1;
        let mut cut = true;
        while cut {
            for seed in 0..7_u8 {
                let disk = world.fork();
                let store = open(&disk, Limits::small()).await;
                let (mailbox, _) = select(&store, "INBOX").await.expect("select");
                disk.fault(disk.calls() + at, Fault::Crash);
                // All that writes to the cache.
                let work = async {
                    deliver(&store, &[alice()], &mail(7)).await?;
                    let deleted = change(FlagOp::Add, SystemFlags::DELETED, &[]);
                    store
                        .copy(&mailbox, &set(&[2, 3, 5]), &name("Trash"), &Quota::UNLIMITED, NOW)
                        .await?;
                    store
                        .store(&mailbox, &set(&[1, 2, 3, 4, 5]), &deleted, None)
                        .await?;
                    store.expunge(&mailbox, None).await?;
                    store.keep_parsed(&mailbox, &[(Uid(6), made_of(&mail(6)))]).await;
                    rmail_store::error::Result::Ok(())
                };
                drop(work.await);
                cut = disk.is_dead();
                drop(store);
                disk.kill();
                if seed > 0 {
                    let model = if seed % 2 == 0 {
                        Model::Adversary
                    } else {
                        Model::Ordered
                    };
                    let outcome = match seed {
                        1 | 2 => Outcome::Lost,
                        3 | 4 => Outcome::Kept,
                        _ => Outcome::Random,
                    };
                    disk.power_cut(model, outcome, &mut Random::from_seed([seed; 32]));
                }
                let store = open(&disk.process(), Limits::small()).await;
                for mailbox in ["INBOX", "Trash"] {
                    known(&store, mailbox).await;
                    let (mailbox, snapshot) = select(&store, mailbox).await.expect("select");
                    find_out(&store, &mailbox, &uids(&snapshot)).await;
                }
                for mailbox in ["INBOX", "Trash"] {
                    let all = uids(&select(&store, mailbox).await.expect("select").1);
                    assert_eq!(known(&store, mailbox).await, all, "cut at {at}, {seed}");
                }
            }
            at += 1;
        }
        assert!(at > 40);
    });
}

/// Two processes that deliver, expunge, copy, find out and read between each other's disk calls.
fn run_two(seed: u8) {
    let disk = MemDisk::new();
    let stores = block_on(async {
        let first = filled(&disk, 5).await;
        [first, open(&disk.process(), Limits::small()).await]
    });
    let mut random = Random::from_seed([seed; 32]);
    let mut exec = Exec::new(Random::from_seed(random.seed()));
    for number in 0..4_usize {
        let store = &stores[number % 2];
        let mut random = Random::from_seed(random.seed());
        exec.spawn(async move {
            for n in 0..12 {
                let (mailbox, snapshot) = select(store, "INBOX").await.expect("select");
                let all = uids(&snapshot);
                let some: Vec<u32> = all.iter().copied().filter(|_| random.below(3) == 0).collect();
                match random.below(6) {
                    0 => deliver(store, &[alice()], &mail(number * 100 + n))
                        .await
                        .expect("deliver"),
                    1 => {
                        let deleted = change(FlagOp::Add, SystemFlags::DELETED, &[]);
                        store
                            .store(&mailbox, &set(&some), &deleted, None)
                            .await
                            .expect("store");
                        store.expunge(&mailbox, Some(&set(&some))).await.expect("expunge");
                    }
                    2 => {
                        let to = name(if random.below(2) == 0 { "INBOX" } else { "Trash" });
                        store
                            .copy(&mailbox, &set(&some), &to, &Quota::UNLIMITED, NOW)
                            .await
                            .expect("copy");
                    }
                    3 => find_out(store, &mailbox, &some).await,
                    _ => {
                        let some: Vec<Uid> = some.into_iter().map(Uid).collect();
                        for (uid, parsed) in some.iter().zip(store.parsed(&mailbox, &some).await) {
                            if let (Some(parsed), Some(message)) =
                                (parsed, body(store, &mailbox, uid.0).await)
                            {
                                assert_eq!(parsed, made_of(&message), "seed {seed}");
                            }
                        }
                    }
                }
            }
        });
    }
    exec.run().expect("nobody waits for ever");
    drop(exec);
    block_on(async {
        for store in &stores {
            let (mailbox, snapshot) = select(store, "INBOX").await.expect("select");
            known(store, "INBOX").await;
            find_out(store, &mailbox, &uids(&snapshot)).await;
        }
        for store in &stores {
            let all = uids(&select(store, "INBOX").await.expect("select").1);
            assert_eq!(known(store, "INBOX").await, all, "seed {seed}");
        }
    });
}

#[test]
fn two_processes_write_one_file() {
    for seed in 0..40 {
        run_two(seed);
    }
}

#[test]
fn without_the_cache_nothing_is_written() {
    block_on(async {
        let disk = MemDisk::new();
        let options = Options {
            parsed_cache: false,
            ..Options::default()
        };
        let store = open_with(&disk, Limits::small(), options).await;
        deliver(&store, &[alice()], &mail(1)).await.expect("deliver");
        let (mailbox, _) = select(&store, "INBOX").await.expect("select");
        find_out(&store, &mailbox, &[1]).await;
        assert!(known(&store, "INBOX").await.is_empty());
        assert!(
            !names_of(&disk, &dir_of(&disk, "INBOX").await)
                .await
                .contains(&DIR.to_owned())
        );
    });
}

#[test]
fn tidying_removes_files_of_shards_that_are_no_more() {
    block_on(async {
        let disk = MemDisk::new();
        let store = filled(&disk, 5).await;
        let dir = dir_of(&disk, &format!("INBOX/{DIR}")).await;
        for name in ["000077", "000000.new", "000099.new", "notes"] {
            disk.open(&dir, name, Mode::CreateNew).await.expect("open");
        }
        store.tidy().await.expect("tidy");
        let mut names = names_of(&disk, &dir).await;
        names.sort();
        assert_eq!(names, ["000000", "000001", "notes"]);
        assert_eq!(known(&store, "INBOX").await, [1, 2, 3, 4, 5]);
    });
}

#[test]
fn a_deleted_mailbox_takes_it_along() {
    block_on(async {
        let disk = MemDisk::new();
        let store = filled(&disk, 0).await;
        for mailbox in ["a", "a/b"] {
            store
                .create(&alice(), &name(mailbox), &[], NOW)
                .await
                .expect("create");
            append(&store, mailbox, &mail(1), Flags::default())
                .await
                .expect("append");
        }
        store.delete(&alice(), &name("a")).await.expect("delete");
        assert!(
            !names_of(&disk, &dir_of(&disk, "a").await)
                .await
                .contains(&DIR.to_owned())
        );
        store
            .create(&alice(), &name("a"), &[], NOW)
            .await
            .expect("create");
        append(&store, "a", &mail(2), Flags::default())
            .await
            .expect("append");
        assert_eq!(known(&store, "a").await, [1]);
        assert_eq!(known(&store, "a/b").await, [1]);
    });
}
