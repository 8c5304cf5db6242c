//! The real disk tells of changes.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "test code"
)]

use std::collections::BTreeSet;

use futures_lite::future::{block_on, poll_once};
use rmail_runtime::disk::RealDisk;
use rmail_store::disk::{Changes, Disk as _, Mode};

/// What has been heard; waits for it.
fn heard(disk: &RealDisk) -> BTreeSet<u64> {
    match block_on(disk.changes()) {
        Changes::Of(tags) => tags,
        Changes::All => panic!("nothing was lost"),
    }
}

fn is_quiet(disk: &RealDisk) -> bool {
    block_on(poll_once(disk.changes())).is_none()
}

#[test]
fn what_is_watched_is_told_once_and_as_long_as_it_is_watched() {
    let dir = tempfile::tempdir().expect("a directory");
    let (ours, theirs) = (RealDisk::open(dir.path()), RealDisk::open(dir.path()));
    let (ours, theirs) = (ours.expect("open"), theirs.expect("open"));
    block_on(async {
        let (root, there) = (ours.root(), theirs.root());
        let file = ours.open(root, "state", Mode::Create).await.expect("open");
        let same = ours.open(root, "state", Mode::Write).await.expect("open");
        let their = theirs.open(there, "state", Mode::Write).await.expect("open");
        let first = ours.watch(&file, 1).expect("watch");
        let second = ours.watch(&same, 2).expect("watch");
        assert!(is_quiet(&ours));
        theirs.write_at(&their, b"x", 0).await.expect("write");
        theirs.write_at(&their, b"y", 0).await.expect("write");
        assert_eq!(heard(&ours), [1, 2].into());
        assert!(is_quiet(&ours));
        // One watch less on the same inode is not none.
        drop(first);
        theirs.write_at(&their, b"z", 0).await.expect("write");
        assert_eq!(heard(&ours), [2].into());
        drop(second);
        theirs.write_at(&their, b"z", 0).await.expect("write");
        assert!(is_quiet(&ours));
        let _third = ours.watch(&file, 3).expect("watch");
        theirs.write_at(&their, b"z", 0).await.expect("write");
        assert_eq!(heard(&ours), [3].into());
        // A file that goes is told of when nobody has it open any more.
        drop((their, same));
        theirs.unlink(there, "state").await.expect("unlink");
        drop(file);
        assert_eq!(heard(&ours), [3].into());
        assert!(is_quiet(&ours));
    });
}

#[test]
fn a_directory_tells_of_its_names_and_of_writes() {
    let dir = tempfile::tempdir().expect("a directory");
    let (ours, theirs) = (RealDisk::open(dir.path()), RealDisk::open(dir.path()));
    let (ours, theirs) = (ours.expect("open"), theirs.expect("open"));
    block_on(async {
        let _watch = ours.watch_dir(ours.root(), 7).expect("watch");
        let root = theirs.root();
        let file = theirs.open(root, "a", Mode::CreateNew).await.expect("open");
        assert_eq!(heard(&ours), [7].into());
        theirs.append(&file, b"text").await.expect("write");
        assert_eq!(heard(&ours), [7].into());
        theirs.replace(root, "a", "b").await.expect("rename");
        assert_eq!(heard(&ours), [7].into());
        theirs.unlink(root, "b").await.expect("unlink");
        assert_eq!(heard(&ours), [7].into());
        assert!(is_quiet(&ours));
    });
}

#[test]
fn more_changes_than_the_system_keeps_are_all_changes() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = RealDisk::open(dir.path()).expect("open");
    block_on(async {
        let (mut files, mut watches) = (Vec::new(), Vec::new());
        for n in 0..2 {
            let file = disk
                .open(disk.root(), &n.to_string(), Mode::Create)
                .await
                .expect("open");
            watches.push(disk.watch(&file, n).expect("watch"));
            files.push(file);
        }
        let bound = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("a bound");
        let bound: usize = bound.trim().parse().expect("a number");
        // One after the other: the same change twice in a row is kept once.
        for n in 0..bound + 2 {
            disk.write_at(&files[n % 2], b"x", 0).await.expect("write");
        }
        assert_eq!(disk.changes().await, Changes::All);
    });
}

#[test]
fn where_hosts_share_nothing_can_be_watched() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = RealDisk::open(dir.path()).expect("open");
    disk.share_with_hosts();
    let refused = block_on(async {
        let file = disk.open(disk.root(), "a", Mode::Create).await.expect("open");
        disk.watch(&file, 1).map(drop)
    });
    assert_eq!(
        refused.map_err(|error| error.kind()),
        Err(std::io::ErrorKind::Unsupported)
    );
    assert!(is_quiet(&disk));
}
