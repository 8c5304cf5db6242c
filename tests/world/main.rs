//! Whole worlds from a seed: two mail servers that relay, their disks, a name server, peers that fail, clients, and links
//! that delay, split, break and swallow; processes that are killed, and machines whose power is cut.
//!
//! All that is rmail is the true code: the machines of SMTP, of the queue and of the resolver, [`rmail_store::service`]
//! and the file store over a disk in memory. Time passes only while all wait, so that days of retries take milliseconds.
//! Nothing is encrypted; a handshake is two words.
//!
//! Of those who read mail each keeps a picture of its mailboxes from what the server tells by itself: after NOOP it is what
//! the store has. No UID is used twice or falls below a UIDNEXT that was told, UIDVALIDITY stays, a flag that was answered
//! is there, and what was appended, copied or moved is somewhere.
//!
//! At the end of a world, once its queues are empty:
//!
//! * what was answered with 250 is with each of its recipients, or the sender was told that it is not;
//! * it is there as it was sent;
//! * where nobody was killed and no disk failed, nothing is there twice but what a connection left open that was lost
//!   between the final dot and its reply; and nobody is told of a failure who has the message;
//! * no attempt came before its time, and none much after it; never two at once for one recipient, nor one recipient twice
//!   in one transaction.
//!
//! Operators hold, release, retry and give up entries and have the configuration read again, and the date is set forwards and
//! back; [`planted`] shows that the worlds see what they are to see.
//!
//! `RMAIL_SEEDS` says how many worlds there are, `RMAIL_SEED` which one alone; `RMAIL_TRACE=1` tells its story.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    reason = "test code"
)]

mod channel;
mod client;
mod clock;
mod drive;
mod keeper;
#[path = "../../core/tests/imap/known.rs"]
mod known;
mod ledger;
mod lines;
mod link;
mod names;
mod plan;
mod planted;
mod reader;
mod relay;
mod scene;
mod sink;
mod site;
mod story;
mod verify;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use planted::Bug;
use world::Figures;

/// Worlds of a usual run.
const SEEDS: u64 = 2_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn run(seed: u64, trace: bool) -> Result<Figures, Vec<String>> {
    run_with(seed, None, trace)
}

/// Runs a world; a panic in it is a fault of it.
fn run_with(seed: u64, bug: Option<Bug>, trace: bool) -> Result<Figures, Vec<String>> {
    catch_unwind(AssertUnwindSafe(|| world::run(seed, bug, trace))).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string));
        Err(vec![format!("panic: {}", text.unwrap_or_default())])
    })
}

fn tell(seed: u64, faults: &[String]) -> String {
    format!(
        "seed {seed}:\n  {}\nalone, with its story: RMAIL_SEED={seed} RMAIL_TRACE=1 cargo test -p rmail-tests --test world",
        faults.join("\n  ")
    )
}

#[test]
fn no_world_loses_what_was_acknowledged() {
    if let Some(seed) = number("RMAIL_SEED") {
        let trace = std::env::var_os("RMAIL_TRACE").is_some();
        let figures = run(seed, trace).unwrap_or_else(|faults| panic!("{}", tell(seed, &faults)));
        println!("{figures:?}");
        return;
    }
    let seeds = number("RMAIL_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let (failed, sum) = (Mutex::new(Vec::new()), Mutex::new(Figures::default()));
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get().min(8));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds || failed.lock().expect("no panic").len() >= 5 {
                        return;
                    }
                    match run(seed, false) {
                        Ok(figures) => sum.lock().expect("no panic").add(&figures),
                        Err(faults) => failed.lock().expect("no panic").push(tell(seed, &faults)),
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no panic");
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    let sum = sum.into_inner().expect("no panic");
    println!("{seeds} worlds: {sum:?}");
    // A world in which nothing happens proves nothing.
    let each = usize::try_from(seeds).expect("it fits");
    assert!(seeds < 100 || (sum.attempts > 5 * each && sum.copies > 3 * each && sum.notices > each));
    assert!(seeds < 100 || (sum.crashes > each && sum.broken > seeds));
    assert!(seeds < 100 || (sum.commands > 10 * each && sum.checks > 2 * each));
}

#[test]
fn a_seed_is_a_world() {
    let figures = |seed| format!("{:?}", run(seed, false).expect("it holds"));
    for seed in [7, 12] {
        assert_eq!(figures(seed), figures(seed), "seed {seed}");
    }
}
