//! The file `recent`: what one process changed, another one knows without looking at the shards, and never wrongly.

use crate::common::*;
use futures_lite::future::block_on;
use rmail_core::limits::Limits;
use rmail_core::mailbox::{FlagOp, MailboxRef, ModSeq, Quota, Snapshot, SystemFlags, UidSet};
use rmail_core::random::Random;
use rmail_store::MailStore;
use rmail_store::disk::{Disk as _, Mode};
use rmail_store::file::Options;
use rmail_store::mem::{Call, MemDisk};

/// Directories that this process listed since the last look.
fn lists(disk: &MemDisk) -> usize {
    let records = disk.take_records();
    disk.record();
    let own = records.iter().filter(|record| record.process == disk.number());
    own.filter(|record| record.call == Call::List).count()
}

async fn flag(store: &Store, mailbox: &MailboxRef, uid: u32) {
    let flagged = change(FlagOp::Add, SystemFlags::FLAGGED, &["word"]);
    store
        .store(mailbox, &set(&[uid]), &flagged, None)
        .await
        .expect("store");
}

#[test]
fn who_had_to_read_the_shards_once_need_not_again() {
    block_on(async {
        let disk = MemDisk::new();
        let (theirs, ours) = (disk.process(), disk.process());
        let (other, store) = (
            open(&theirs, Limits::default()).await,
            open(&ours, Limits::default()).await,
        );
        for n in 0..9 {
            deliver(&other, &[alice()], &n.to_string())
                .await
                .expect("deliver");
        }
        let (their, _) = select(&other, "INBOX").await.expect("select");
        let (mailbox, _) = select(&store, "INBOX").await.expect("select");
        let dir = dir_of(&disk, "INBOX").await;
        assert!(!names_of(&disk, &dir).await.contains(&"recent".to_owned()));
        ours.record();
        flag(&other, &their, 1).await;
        store.snapshot(&mailbox).await.expect("snapshot");
        assert!(lists(&ours) > 0, "nobody knew that somebody wants to know");
        // All that changes the mailbox from now on is known by the file.
        flag(&other, &their, 2).await;
        deliver(&other, &[alice()], "new").await.expect("deliver");
        let deleted = change(FlagOp::Add, SystemFlags::DELETED, &["another-word"]);
        other
            .store(&their, &set(&[3, 4]), &deleted, None)
            .await
            .expect("store");
        other.expunge(&their, None).await.expect("expunge");
        other
            .copy(&their, &set(&[5, 6]), &inbox(), &Quota::UNLIMITED, NOW)
            .await
            .expect("copy");
        let archive = name("Archive");
        other
            .r#move(&their, &set(&[7]), &archive, NOW)
            .await
            .expect("move");
        let seen = store.snapshot(&mailbox).await.expect("snapshot");
        assert_eq!(lists(&ours), 0);
        let fresh = open(&disk.process(), Limits::default()).await;
        let truth = select(&fresh, "INBOX").await.expect("select").1;
        assert_same(&seen, &truth);
        assert_eq!(uids(&seen), [1, 2, 5, 6, 8, 9, 10, 11, 12]);
        // And the other way round.
        flag(&store, &mailbox, 9).await;
        theirs.record();
        let theirs_now = other.snapshot(&their).await.expect("snapshot");
        assert_eq!(lists(&theirs), 0);
        assert_same(&theirs_now, &store.snapshot(&mailbox).await.expect("snapshot"));
    });
}

#[test]
fn processes_that_only_deliver_tell_those_that_read() {
    block_on(async {
        let disk = MemDisk::new();
        let reader = disk.process();
        let store = open(&reader, Limits::default()).await;
        store.create_account(&alice(), NOW).await.expect("create");
        let (mailbox, _) = select(&store, "INBOX").await.expect("select");
        let mut others = Vec::new();
        for _ in 0..3 {
            others.push(open(&disk.process(), Limits::default()).await);
        }
        for other in &others {
            deliver(other, &[alice()], "first").await.expect("deliver");
        }
        store.snapshot(&mailbox).await.expect("snapshot");
        for other in &others {
            deliver(other, &[alice()], "second").await.expect("deliver");
        }
        store.snapshot(&mailbox).await.expect("snapshot");
        reader.record();
        for round in 0..20 {
            for other in others.iter().take(1 + round % 3) {
                deliver(other, &[alice()], "more").await.expect("deliver");
            }
            store.snapshot(&mailbox).await.expect("snapshot");
        }
        assert_eq!(lists(&reader), 0);
        assert_eq!(
            uids(&store.snapshot(&mailbox).await.expect("snapshot")).len(),
            6 + 39
        );
    });
}

/// The same messages with the same flags and keywords by name, the same numbers, and told of the same MODSEQ.
fn assert_same(one: &Snapshot, other: &Snapshot) {
    let rows = |snapshot: &Snapshot| -> Vec<_> {
        let row = |row: &rmail_core::mailbox::Row| {
            let words = snapshot.keywords.of(row.keywords);
            let words: Vec<String> = words.map(|word| word.as_str().to_owned()).collect();
            let times = (row.date, row.zone, row.save_date);
            (
                row.uid,
                row.flags,
                row.size,
                times,
                snapshot.rows.modseq(row),
                words,
            )
        };
        snapshot.rows.iter().map(row).collect()
    };
    assert_eq!(rows(one), rows(other));
    assert_eq!(
        (one.uid_next, one.uid_validity),
        (other.uid_next, other.uid_validity)
    );
}

/// What a stranger may do to a cache.
async fn harm(disk: &MemDisk, random: &mut Random) {
    let dir = dir_of(disk, "INBOX").await;
    let Ok(file) = disk.open(&dir, "recent", Mode::Write).await else {
        return;
    };
    let size = disk.stat(&file).await.expect("stat").size;
    match random.below(4) {
        0 => disk.unlink(&dir, "recent").await.expect("removed"),
        1 => disk
            .write_at(&file, &[0xff], random.below(size.max(1)))
            .await
            .expect("written"),
        2 => disk
            .write_at(&file, &vec![0; usize::try_from(size / 2).expect("small")], 0)
            .await
            .expect("written"),
        _ => {
            let half = octets_of(disk, &dir, "recent").await;
            disk.unlink(&dir, "recent").await.expect("removed");
            let file = disk.open(&dir, "recent", Mode::CreateNew).await.expect("made");
            disk.write_at(&file, &half[..half.len() / 2], 0)
                .await
                .expect("written");
        }
    }
}

#[test]
fn three_processes_never_see_what_is_not_there() {
    const WORDS: [&str; 5] = ["a", "b/c", "d:e", "f,g", "h"];
    for seed in 0..60_u8 {
        block_on(async {
            let mut random = Random::from_seed([seed; 32]);
            let disk = MemDisk::new();
            let limits = if seed % 2 == 0 {
                Limits::small()
            } else {
                Limits::default()
            };
            let mut stores = Vec::new();
            for _ in 0..3 {
                let store = open(&disk.process(), limits).await;
                store.create_account(&alice(), NOW).await.expect("create");
                let (mailbox, _) = select(&store, "INBOX").await.expect("select");
                stores.push((store, mailbox));
            }
            let mut highest = ModSeq(0);
            for step in 0..60 {
                let which = usize::try_from(random.below(3)).expect("small");
                let (store, mailbox) = &stores[which];
                let uid = u32::try_from(random.below(12)).expect("small") + 1;
                let some = UidSet::from_ranges([(uid, uid + u32::try_from(random.below(4)).expect("small"))]);
                let word = WORDS[usize::try_from(random.below(5)).expect("small")];
                match random.below(8) {
                    0 | 1 => deliver(store, &[alice()], &step.to_string())
                        .await
                        .expect("deliver"),
                    2 | 3 => {
                        let op = if random.below(3) == 0 {
                            FlagOp::Remove
                        } else {
                            FlagOp::Add
                        };
                        let new = change(op, SystemFlags::SEEN, &[word]);
                        store.store(mailbox, &some, &new, None).await.expect("store");
                    }
                    4 => {
                        let deleted = change(FlagOp::Add, SystemFlags::DELETED, &[]);
                        store.store(mailbox, &some, &deleted, None).await.expect("store");
                        store.expunge(mailbox, Some(&some)).await.expect("expunge");
                    }
                    5 => drop(
                        store
                            .copy(mailbox, &some, &inbox(), &Quota::UNLIMITED, NOW)
                            .await
                            .expect("copy"),
                    ),
                    6 => drop(
                        store
                            .r#move(mailbox, &some, &name("Archive"), NOW)
                            .await
                            .expect("move"),
                    ),
                    _ => harm(&disk, &mut random).await,
                }
                // One of them looks; now and then all do.
                let looks = usize::try_from(random.below(3)).expect("small");
                for (at, (store, mailbox)) in stores.iter().enumerate() {
                    if at != looks && random.below(4) != 0 {
                        continue;
                    }
                    let seen = store.snapshot(mailbox).await.expect("snapshot");
                    assert!(seen.modseq >= highest, "seed {seed} step {step}");
                    highest = seen.modseq;
                    let fresh = open(&disk.process(), limits).await;
                    let truth = select(&fresh, "INBOX").await.expect("select").1;
                    assert_same(&seen, &truth);
                }
            }
        });
    }
}

#[test]
fn nothing_is_recorded_where_hosts_share() {
    block_on(async {
        let disk = MemDisk::new();
        let options = Options {
            shared_by_hosts: true,
            ..Options::default()
        };
        let one = open_with(&disk.process(), Limits::default(), options).await;
        let two = open_with(&disk.process(), Limits::default(), options).await;
        deliver(&one, &[alice()], "m").await.expect("deliver");
        let (mailbox, _) = select(&one, "INBOX").await.expect("select");
        select(&two, "INBOX").await.expect("select");
        for store in [&one, &two, &one, &two] {
            flag(store, &mailbox, 1).await;
        }
        let dir = dir_of(&disk, "INBOX").await;
        assert!(!names_of(&disk, &dir).await.contains(&"recent".to_owned()));
    });
}
