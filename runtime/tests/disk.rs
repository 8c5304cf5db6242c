//! The real disk: each call does what the store relies on.
#![allow(clippy::unwrap_used)]

use std::io::ErrorKind;
use std::time::Duration;

use futures_lite::future::block_on;
use rmail_runtime::disk::RealDisk;
use rmail_store::disk::{Disk, Mode};
use tempfile::TempDir;

fn both(test: impl Fn(&RealDisk, &TempDir)) {
    for open in [RealDisk::open, RealDisk::open_plain] {
        let dir = tempfile::tempdir().unwrap();
        test(&open(&dir.path().join("root")).unwrap(), &dir);
    }
}

fn names(disk: &RealDisk) -> Vec<String> {
    let listing = block_on(disk.list(disk.root())).unwrap();
    assert!(listing.exact);
    let mut names: Vec<_> = listing.entries.into_iter().map(|entry| entry.name).collect();
    names.sort();
    names
}

fn content(disk: &RealDisk, name: &str) -> Vec<u8> {
    block_on(async {
        let file = disk.open(disk.root(), name, Mode::Read).await.unwrap();
        let mut buf = vec![0; 100];
        let n = disk.read_at(&file, &mut buf, 0).await.unwrap();
        buf.truncate(n);
        buf
    })
}

#[test]
fn an_unnamed_file_gets_its_first_name_once() {
    both(|disk, _| {
        block_on(async {
            let root = disk.root();
            let file = disk.create_unnamed(root).await.unwrap();
            disk.write_at(&file, b"body", 0).await.unwrap();
            disk.sync(&file).await.unwrap();
            disk.link_unnamed(&file, root, "a").await.unwrap();
            disk.sync_dir(root).await.unwrap();
            assert_eq!(content(disk, "a"), b"body");

            let other = disk.create_unnamed(root).await.unwrap();
            let taken = disk.link_unnamed(&other, root, "a").await.unwrap_err();
            assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
            disk.link_unnamed(&other, root, "b").await.unwrap();
            drop(disk.create_unnamed(root).await.unwrap());
            assert_eq!(
                names(disk),
                ["a", "b"],
                "nothing stays of a file that got no name"
            );

            disk.link(root, "a", root, "c").await.unwrap();
            assert_eq!(disk.stat(&file).await.unwrap().links, 2);
            let taken = disk.link(root, "a", root, "b").await.unwrap_err();
            assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
        });
    });
}

#[test]
fn renames_replace_nothing_not_even_another_link_of_the_same_file() {
    both(|disk, _| {
        block_on(async {
            let root = disk.root();
            for name in ["a", "b"] {
                let file = disk.open(root, name, Mode::CreateNew).await.unwrap();
                disk.write_at(&file, name.as_bytes(), 0).await.unwrap();
            }
            disk.link(root, "a", root, "a2").await.unwrap();
            for taken in ["b", "a2"] {
                let refused = disk.rename(root, "a", root, taken).await.unwrap_err();
                assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
            }
            disk.rename(root, "a", root, "z").await.unwrap();
            let gone = disk.rename(root, "a", root, "y").await.unwrap_err();
            assert_eq!(gone.kind(), ErrorKind::NotFound);
            assert_eq!(names(disk), ["a2", "b", "z"]);

            disk.replace(root, "b", "z").await.unwrap();
            assert_eq!(
                (names(disk), content(disk, "z")),
                (vec!["a2".into(), "z".into()], b"b".to_vec())
            );

            disk.make_dir(root, "d").await.unwrap();
            disk.make_dir(root, "e").await.unwrap();
            let taken = disk.rename(root, "d", root, "e").await.unwrap_err();
            assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
            disk.rename(root, "d", root, "f").await.unwrap();
            disk.remove_dir(root, "e").await.unwrap();
            disk.unlink(root, "a2").await.unwrap();
            assert_eq!(names(disk), ["f", "z"]);
        });
    });
}

#[test]
fn a_handle_follows_its_directory() {
    both(|disk, _| {
        block_on(async {
            let root = disk.root();
            disk.make_dir(root, "old").await.unwrap();
            let dir = disk.open_dir(root, "old").await.unwrap();
            disk.rename(root, "old", root, "new").await.unwrap();
            disk.open(&dir, "inside", Mode::Create).await.unwrap();
            let found = disk.open_dir(root, "new").await.unwrap();
            let listing = disk.list(&found).await.unwrap();
            assert_eq!(listing.entries.len(), 1);
            assert!(!listing.entries[0].is_dir);
            assert!(disk.list(root).await.unwrap().entries[0].is_dir);
            assert!(disk.stat_dir(&dir).await.unwrap().is_dir);
            assert_eq!(
                disk.open_dir(root, "old").await.unwrap_err().kind(),
                ErrorKind::NotFound
            );
            assert_eq!(
                disk.open_dir(&found, "inside").await.unwrap_err().kind(),
                ErrorKind::NotADirectory
            );
            let full = disk.remove_dir(root, "new").await.unwrap_err();
            assert_eq!(full.kind(), ErrorKind::DirectoryNotEmpty);
        });
    });
}

#[test]
fn reads_writes_and_appends_go_where_they_say() {
    both(|disk, _| {
        block_on(async {
            let root = disk.root();
            let first = disk.open(root, "log", Mode::Create).await.unwrap();
            let second = disk.open(root, "log", Mode::Write).await.unwrap();
            disk.append(&first, b"one").await.unwrap();
            disk.append(&second, b"two").await.unwrap();
            disk.append(&first, b"three").await.unwrap();
            disk.write_at(&first, b"O", 0).await.unwrap();
            assert_eq!(content(disk, "log"), b"Onetwothree");
            let mut buf = [0; 4];
            assert_eq!(disk.read_at(&second, &mut buf, 9).await.unwrap(), 2);
            assert_eq!(disk.read_at(&second, &mut buf, 11).await.unwrap(), 0);
            let stat = disk.stat_at(root, "log").await.unwrap();
            assert_eq!((stat.size, stat.links, stat.is_dir), (11, 1, false));
            assert_eq!(stat, disk.stat(&first).await.unwrap());
            assert!(stat.ctime > 1_600_000_000_000_000_000);
            let taken = disk.open(root, "log", Mode::CreateNew).await.err().unwrap();
            assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
            let missing = disk.open(root, "none", Mode::Write).await.err().unwrap();
            assert_eq!(missing.kind(), ErrorKind::NotFound);
            disk.sync_fs(root).await.unwrap();
        });
    });
}

#[test]
fn names_lead_nowhere_else() {
    both(|disk, _| {
        for name in ["", ".", "..", "a/b", "/etc", "a\0b"] {
            let refused = block_on(disk.open(disk.root(), name, Mode::Create))
                .err()
                .unwrap();
            assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{name:?}");
            let refused = block_on(disk.make_dir(disk.root(), name)).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidInput, "{name:?}");
        }
    });
}

#[test]
fn files_and_directories_are_ours_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    both(|disk, dir| {
        let root = dir.path().join("root");
        block_on(disk.open(disk.root(), "file", Mode::Create)).unwrap();
        block_on(disk.make_dir(disk.root(), "dir")).unwrap();
        let file = block_on(disk.create_unnamed(disk.root())).unwrap();
        block_on(disk.link_unnamed(&file, disk.root(), "named")).unwrap();
        for (name, mode) in [("", 0o700), ("file", 0o600), ("dir", 0o700), ("named", 0o600)] {
            let found = std::fs::metadata(root.join(name)).unwrap().permissions().mode();
            assert_eq!(found & 0o777, mode, "{name}");
        }
    });
}

#[test]
fn one_call_lists_a_whole_shard_and_a_larger_directory_says_that_it_was_not_one() {
    let dir = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(dir.path()).unwrap();
    let name = |n: u32| format!("{n:0150}.eml");
    for n in 0..1_000 {
        std::fs::write(dir.path().join(name(n)), b"").unwrap();
    }
    let listing = block_on(disk.list(disk.root())).unwrap();
    assert_eq!((listing.entries.len(), listing.exact), (1_000, true));
    for n in 1_000..4_000 {
        std::fs::write(dir.path().join(name(n)), b"").unwrap();
    }
    let listing = block_on(disk.list(disk.root())).unwrap();
    assert_eq!((listing.entries.len(), listing.exact), (4_000, false));
}

#[test]
fn a_directory_that_was_removed_is_empty_to_who_has_it_open() {
    both(|disk, _| {
        block_on(async {
            let root = disk.root();
            disk.make_dir(root, "shard").await.unwrap();
            let open = disk.open_dir(root, "shard").await.unwrap();
            disk.remove_dir(root, "shard").await.unwrap();
            let listing = disk.list(&open).await.unwrap();
            assert_eq!((listing.entries.len(), listing.exact), (0, true));
        });
    });
}

#[test]
fn a_lock_keeps_others_out_until_it_is_dropped() {
    both(|disk, _| {
        block_on(async {
            let root = disk.root();
            let ours = disk.open(root, "state", Mode::Create).await.unwrap();
            let theirs = disk.open(root, "state", Mode::Write).await.unwrap();
            let held = disk.lock(&ours, Duration::ZERO).await.unwrap();
            let refused = disk.lock(&theirs, Duration::from_millis(3)).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::WouldBlock);
            drop(held);
            let held = disk.lock(&theirs, Duration::ZERO).await.unwrap();
            // A waiter gets it when it becomes free.
            let waiter = {
                let (disk, ours) = (disk.clone(), ours.clone());
                std::thread::spawn(move || block_on(disk.lock(&ours, Duration::from_secs(60))).map(drop))
            };
            drop(held);
            waiter.join().unwrap().unwrap();
        });
    });
}

#[test]
fn the_boot_id_is_the_kernels() {
    both(|disk, dir| {
        let other = RealDisk::open(dir.path()).unwrap();
        assert_eq!(disk.boot_id(), other.boot_id());
        assert_ne!(disk.boot_id(), 0);
        let free = block_on(disk.free(disk.root())).unwrap();
        assert!(free.bytes > 0 && free.inodes > 0);
    });
}

#[test]
fn names_have_a_kind_and_a_mode() {
    both(|disk, dir| {
        block_on(async {
            let root = disk.root();
            disk.open(root, "f", Mode::Create).await.unwrap();
            disk.make_dir(root, "d").await.unwrap();
            std::os::unix::fs::symlink("f", dir.path().join("root/l")).unwrap();
            let look = async |name| disk.stat_link(root, name).await.unwrap();
            assert!(look("f").await.is_file && !look("f").await.is_dir);
            assert_eq!((look("f").await.mode, look("d").await.mode), (0o600, 0o700));
            assert!(look("d").await.is_dir && !look("d").await.is_file);
            let link = look("l").await;
            assert!(!link.is_file && !link.is_dir);
            assert!(disk.stat_at(root, "l").await.unwrap().is_file);
            disk.set_mode(root, "f", 0o640).await.unwrap();
            assert_eq!(look("f").await.mode, 0o640);
            let own = disk.stat_dir(root).await.unwrap().owner;
            assert_eq!(look("f").await.owner, own);
        });
    });
}
