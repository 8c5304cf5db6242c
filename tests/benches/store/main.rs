//! The table of what the file store must reach, on a real file system, each line beside the same system calls in a bare
//! loop of the same minute.
//!
//! `cargo bench -p rmail-tests --bench store [-- [--dir DIR] [--only PART]... [--huge COUNT]]`
//!
//! The mail_root is made below DIR (else the build directory, which should not be a tmpfs) and removed at the end. Parts:
//! `opening`, `flags`, `adding`, `parsed`. `--huge` makes one mailbox of so many messages instead (10,000,000 take a minute and
//! 5 GB on a tmpfs).
#![allow(
    clippy::expect_used,
    clippy::cast_precision_loss,
    missing_docs,
    unreachable_pub,
    missing_debug_implementations,
    reason = "a benchmark"
)]

mod adding;
mod bare;
mod flags;
mod huge;
mod opening;
mod parsed;
mod place;
mod report;

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let after = |flag: &str| {
        let at = arguments.iter().position(|argument| argument == flag)?;
        arguments.get(at + 1).cloned()
    };
    // What this program does when it starts itself.
    if let Some(root) = after("--race") {
        let number = arguments.last().and_then(|text| text.parse().ok());
        return flags::racer(Path::new(&root), number.expect("a number"));
    }
    if let Some(root) = after("--memory") {
        let count = arguments.last().and_then(|text| text.parse().ok());
        return opening::memory(Path::new(&root), count.expect("a number"));
    }
    if let Some(root) = after("--huge-run") {
        let count = arguments.last().and_then(|text| text.parse().ok());
        return huge::run(Path::new(&root), count.expect("a number"));
    }
    let parent = after("--dir").map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let root = parent.join(format!("store-bench-{}", std::process::id()));
    std::fs::create_dir_all(&root).expect("a directory");
    println!("| what | must reach | p50 / p99, or rate | bare loop | share |\n|---|---|---|---|---|");
    match after("--huge").map(|count| count.parse().expect("a number")) {
        Some(count) => {
            huge::make(&root, count);
            again("--huge-run", &root, count);
        }
        None => parts(&root, after("--only").as_deref()),
    }
    std::fs::remove_dir_all(&root).expect("removed");
}

fn parts(root: &Path, only: Option<&str>) {
    let wanted = |part: &str| only.is_none_or(|only| only == part);
    if wanted("opening") {
        opening::run(root);
        again("--memory", root, 1_000_000);
    }
    if wanted("flags") {
        flags::run(root);
    }
    if wanted("adding") {
        adding::run(root);
    }
    if wanted("parsed") {
        parsed::run(root);
    }
}

/// Starts this program again, for what needs a process of its own.
fn again(flag: &str, root: &Path, count: u32) {
    let program = std::env::current_exe().expect("this program");
    let status = Command::new(program)
        .arg(flag)
        .arg(root)
        .arg(count.to_string())
        .status();
    assert!(status.expect("started").success());
}
