use super::*;
use crate::disk::{Disk as _, Mode};
use exec::Exec;
use futures_lite::future::block_on;
use std::cell::RefCell;
use std::io;

fn random(seed: u8) -> Random {
    Random::from_seed([seed; 32])
}

async fn put(disk: &MemDisk, dir: &MemDir, name: &str, bytes: &[u8], sync: bool) -> io::Result<()> {
    let file = disk.create_unnamed(dir).await?;
    disk.write_at(&file, bytes, 0).await?;
    if sync {
        disk.sync(&file).await?;
    }
    disk.link_unnamed(&file, dir, name).await
}

async fn get(disk: &MemDisk, dir: &MemDir, name: &str) -> io::Result<Vec<u8>> {
    let file = disk.open(dir, name, Mode::Read).await?;
    let mut buf = vec![0; 100];
    let count = disk.read_at(&file, &mut buf, 0).await?;
    buf.truncate(count);
    Ok(buf)
}

async fn names(disk: &MemDisk, dir: &MemDir) -> Vec<String> {
    let listing = disk.list(dir).await.expect("list");
    let mut names: Vec<String> = listing.entries.into_iter().map(|entry| entry.name).collect();
    names.sort();
    names
}

#[test]
fn only_what_is_synced_survives_a_cut_that_loses_the_rest() {
    block_on(async {
        for model in [Model::Adversary, Model::Ordered] {
            let disk = MemDisk::new();
            put(&disk, disk.root(), "a", b"one", true).await.expect("put");
            disk.sync_dir(disk.root()).await.expect("sync");
            put(&disk, disk.root(), "b", b"two", true).await.expect("put");
            let file = disk.open(disk.root(), "a", Mode::Write).await.expect("open");
            disk.append(&file, b" more").await.expect("append");
            disk.power_cut(model, Outcome::Lost, &mut random(1));
            assert!(get(&disk, disk.root(), "a").await.is_err(), "the process is dead");
            let after = disk.process();
            assert_eq!(names(&after, after.root()).await, ["a"]);
            assert_eq!(get(&after, after.root(), "a").await.expect("get"), b"one");
            assert_ne!(after.boot_id(), disk.boot_id());
        }
    });
}

#[test]
fn a_name_without_its_octets_is_possible_and_a_kill_loses_nothing() {
    block_on(async {
        let disk = MemDisk::new();
        put(&disk, disk.root(), "a", b"one", false).await.expect("put");
        disk.kill();
        let second = disk.process();
        assert_eq!(get(&second, second.root(), "a").await.expect("get"), b"one");
        assert_eq!(second.boot_id(), disk.boot_id());
        second.sync_dir(second.root()).await.expect("sync");
        second.power_cut(Model::Adversary, Outcome::Lost, &mut random(1));
        let third = second.process();
        assert_eq!(get(&third, third.root(), "a").await.expect("get"), b"");
    });
}

#[test]
fn an_adversary_keeps_a_prefix_per_directory_and_a_journal_one_for_all() {
    block_on(async {
        let mut independent = false;
        for seed in 0..60 {
            for model in [Model::Adversary, Model::Ordered] {
                let disk = MemDisk::new();
                disk.make_dir(disk.root(), "x").await.expect("mkdir");
                disk.make_dir(disk.root(), "y").await.expect("mkdir");
                disk.sync_dir(disk.root()).await.expect("sync");
                let x = disk.open_dir(disk.root(), "x").await.expect("x");
                let y = disk.open_dir(disk.root(), "y").await.expect("y");
                put(&disk, &x, "1", b"", true).await.expect("put");
                put(&disk, &y, "1", b"", true).await.expect("put");
                put(&disk, &x, "2", b"", true).await.expect("put");
                disk.power_cut(model, Outcome::Random, &mut random(seed));
                let disk = disk.process();
                let x = disk.open_dir(disk.root(), "x").await.expect("x");
                let y = disk.open_dir(disk.root(), "y").await.expect("y");
                let (x, y) = (names(&disk, &x).await, names(&disk, &y).await);
                assert!(["", "1", "12"].contains(&x.concat().as_str()), "{x:?}");
                let later_alone = (x.is_empty() && !y.is_empty()) || (x.len() == 2 && y.is_empty());
                if model == Model::Ordered {
                    assert!(!later_alone, "{x:?} {y:?}");
                }
                independent |= later_alone;
            }
        }
        assert!(independent);
    });
}

#[test]
fn what_is_renamed_between_directories_is_somewhere() {
    block_on(async {
        let mut both = 0;
        for seed in 0..40 {
            let disk = MemDisk::new();
            disk.make_dir(disk.root(), "x").await.expect("mkdir");
            disk.make_dir(disk.root(), "sub").await.expect("mkdir");
            let x = disk.open_dir(disk.root(), "x").await.expect("x");
            disk.sync_dir(disk.root()).await.expect("sync");
            disk.rename(disk.root(), "sub", &x, "new").await.expect("rename");
            disk.power_cut(Model::Adversary, Outcome::Random, &mut random(seed));
            let disk = disk.process();
            let x = disk.open_dir(disk.root(), "x").await.expect("x");
            let old = disk.open_dir(disk.root(), "sub").await.is_ok();
            let new = disk.open_dir(&x, "new").await.is_ok();
            assert!(old || new);
            both += usize::from(old && new);
        }
        assert!(both > 0);
    });
}

#[test]
fn locks_exclude_other_descriptions_and_die_with_their_process() {
    block_on(async {
        let disk = MemDisk::new();
        let other = disk.process();
        let mine = disk.open(disk.root(), "l", Mode::Create).await.expect("open");
        let theirs = other.open(other.root(), "l", Mode::Create).await.expect("open");
        let held = disk.lock(&mine, Duration::ZERO).await.expect("lock");
        let busy = other.lock(&theirs, Duration::from_millis(3)).await;
        assert_eq!(busy.expect_err("held").kind(), io::ErrorKind::WouldBlock);
        disk.kill();
        let lock = other.lock(&theirs, Duration::ZERO).await.expect("free");
        drop(held);
        let third = disk.process();
        let again = third.open(third.root(), "l", Mode::Create).await.expect("open");
        assert!(
            third.lock(&again, Duration::ZERO).await.is_err(),
            "a dead lock unlocks nothing"
        );
        drop(lock);
        assert!(third.lock(&again, Duration::ZERO).await.is_ok());
    });
}

#[test]
fn calls_fail_as_told_and_are_counted_and_recorded() {
    block_on(async {
        let disk = MemDisk::new();
        disk.record();
        let file = disk.open(disk.root(), "f", Mode::Create).await.expect("open");
        disk.fault(disk.calls() + 1, Fault::Short(world::ENOSPC));
        let short = disk.append(&file, b"1234").await.expect_err("short");
        assert_eq!(short.kind(), io::ErrorKind::StorageFull);
        assert_eq!(get(&disk, disk.root(), "f").await.expect("get"), b"12");
        disk.fault(disk.calls() + 1, Fault::Errno(5));
        assert_eq!(disk.sync(&file).await.expect_err("EIO").raw_os_error(), Some(5));
        disk.set_full(true);
        assert!(disk.create_unnamed(disk.root()).await.is_err());
        disk.set_full(false);
        disk.fault(disk.calls() + 1, Fault::Crash);
        assert!(disk.sync(&file).await.is_err() && disk.sync(&file).await.is_err());
        assert!(disk.is_dead());
        let calls: Vec<Call> = disk.take_records().iter().map(|record| record.call).collect();
        let want = [
            Call::Open,
            Call::Append,
            Call::Open,
            Call::ReadAt,
            Call::Sync,
            Call::CreateUnnamed,
            Call::Sync,
        ];
        assert_eq!((calls.as_slice(), disk.calls()), (&want[..], 7));
    });
}

#[test]
fn an_inexact_listing_can_miss_and_double() {
    let (mut missed, mut doubled) = (false, false);
    for seed in 0..200 {
        let disk = MemDisk::new();
        let seen = RefCell::new(Vec::new());
        let mut exec = Exec::new(random(seed));
        block_on(async {
            for n in 0..8 {
                let name = format!("old {n}");
                put(&disk, disk.root(), &name, b"", true).await.expect("put");
            }
        });
        disk.set_exact(false);
        exec.spawn(async { *seen.borrow_mut() = names(&disk, disk.root()).await });
        exec.spawn(async {
            for n in 0..8 {
                let (old, new) = (format!("old {n}"), format!("new {n}"));
                let renamed = disk.rename(disk.root(), &old, disk.root(), &new).await;
                renamed.expect("rename");
            }
        });
        exec.run().expect("both end");
        drop(exec);
        let seen = seen.into_inner();
        for n in 0..8 {
            let saw = |what: &str| seen.contains(&format!("{what} {n}"));
            missed |= !saw("old") && !saw("new");
            doubled |= saw("old") && saw("new");
        }
    }
    assert!(missed && doubled);
}

#[test]
fn stamps_are_coarse() {
    block_on(async {
        let disk = MemDisk::new();
        disk.set_clock(Duration::from_millis(1_019));
        let file = disk.open(disk.root(), "f", Mode::Create).await.expect("open");
        assert_eq!(disk.stat(&file).await.expect("stat").mtime, 1_010_000_000);
        disk.set_tick(Duration::from_millis(1));
        disk.append(&file, b"x").await.expect("append");
        assert_eq!(disk.stat(&file).await.expect("stat").mtime, 1_020_000_000);
        assert_eq!(
            disk.stat_dir(disk.root()).await.expect("stat").ctime,
            1_010_000_000
        );
    });
}

#[test]
fn what_nothing_refers_to_is_forgotten() {
    block_on(async {
        let disk = MemDisk::new();
        let count = |disk: &MemDisk| disk.shared.world().inodes.len();
        put(&disk, disk.root(), "a", b"1", true).await.expect("put");
        disk.unlink(disk.root(), "a").await.expect("unlink");
        assert_eq!(count(&disk), 2, "the change is not synced");
        disk.sync_dir(disk.root()).await.expect("sync");
        assert_eq!(count(&disk), 1);
    });
}

#[test]
fn names_have_a_kind_a_mode_and_an_owner() {
    block_on(async {
        let disk = MemDisk::new();
        let root = disk.root();
        put(&disk, root, "f", b"1", true).await.expect("put");
        disk.make_dir(root, "d").await.expect("make");
        disk.plant_link(root, "l").expect("plant");
        let kind = |stat: crate::disk::Stat| (stat.is_file, stat.is_dir, stat.mode);
        let look = async |name| kind(disk.stat_link(root, name).await.expect("stat"));
        assert_eq!(look("f").await, (true, false, 0o600));
        assert_eq!(look("d").await, (false, true, 0o700));
        assert!(!look("l").await.0 && !look("l").await.1);
        let missing = disk.stat_at(root, "l").await.expect_err("it leads nowhere");
        assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
        disk.open(root, "l", Mode::Read).await.expect_err("likewise");
        disk.set_mode(root, "f", 0o644).await.expect("set");
        assert_eq!(look("f").await, (true, false, 0o644));
        let owner = disk.stat_link(root, "f").await.expect("stat").owner;
        disk.set_owner(root, "f", owner + 1).expect("set");
        assert_eq!(disk.stat_at(root, "f").await.expect("stat").owner, owner + 1);
        disk.unlink(root, "l").await.expect("unlink");
    });
}
