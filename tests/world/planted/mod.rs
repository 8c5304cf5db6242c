//! Bugs that are planted into a world, one at a time: what the worlds do not find is not what they prove.
//!
//! None of them is in the server. They sit around it: in the disk below the store, in the service that answers a session,
//! in the octets of a connection, in what the machines of the relay are told.

pub mod disk;
pub mod imap;
pub mod smtp;
pub mod wires;

use std::panic::{set_hook, take_hook};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What may be wrong with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    // The disk.
    /// A message's name is not synced before it is acknowledged.
    MailboxNamesUnsynced,
    /// Nor is the name of an entry of the queue.
    QueueNamesUnsynced,
    /// The octets of a message are not.
    MessageUnsynced,
    /// A write to a full disk counts as done.
    FullDiskUnnoticed,
    /// Processes do not keep out of each other's way.
    LocksIgnored,
    // SMTP.
    /// 250 comes before the message is safe.
    EarlyReply,
    /// 250 comes although the message could not be stored.
    RefusalIgnored,
    /// One of several recipients does not get the message.
    RecipientForgotten,
    /// `<LF>.<LF>` ends a message.
    BareLfEnds,
    // IMAP.
    /// Of two changes of a message's flags at the same time one is lost.
    FlagRace,
    /// MOVE removes a message before it adds it elsewhere.
    MoveRemovesFirst,
    /// COPY loses the flags.
    CopyDropsFlags,
    /// Who comes back is not told what has gone.
    GoneForgotten,
    /// NOOP tells how it was at the NOOP before.
    StaleNews,
    /// Some news of what has gone are not sent.
    NewsSwallowed,
    /// A UIDNEXT that was promised is forgotten by a power cut.
    UidReused,
    // The relay.
    /// The dots at the front of lines are not doubled.
    DotsUnstuffed,
    /// A reply that was lost counts as a good one.
    UncertainIsDelivered,
    /// 4yz counts as 2yz.
    LaterIsDelivered,
    /// Of several who have the message one is tried again.
    DeliveredAgain,
    /// The second attempt comes before its time.
    TooEarly,
    /// What is said to be saved of an entry is not.
    SaveSkipped,
    /// A start overlooks an entry of the queue.
    EntryForgotten,
    /// Nobody is told of a failure.
    NoticeForgotten,
    /// The sender is told although it said NOTIFY=NEVER.
    NoticeUnwanted,
    // The DNS.
    /// A record is believed for longer than its time.
    TtlIgnored,
    /// The id of an answer is not looked at.
    ForgeryBelieved,
}

/// All of them.
pub const ALL: [Bug; 27] = [
    Bug::MailboxNamesUnsynced,
    Bug::QueueNamesUnsynced,
    Bug::MessageUnsynced,
    Bug::FullDiskUnnoticed,
    Bug::LocksIgnored,
    Bug::EarlyReply,
    Bug::RefusalIgnored,
    Bug::RecipientForgotten,
    Bug::BareLfEnds,
    Bug::FlagRace,
    Bug::MoveRemovesFirst,
    Bug::CopyDropsFlags,
    Bug::GoneForgotten,
    Bug::StaleNews,
    Bug::NewsSwallowed,
    Bug::UidReused,
    Bug::DotsUnstuffed,
    Bug::UncertainIsDelivered,
    Bug::LaterIsDelivered,
    Bug::DeliveredAgain,
    Bug::TooEarly,
    Bug::SaveSkipped,
    Bug::EntryForgotten,
    Bug::NoticeForgotten,
    Bug::NoticeUnwanted,
    Bug::TtlIgnored,
    Bug::ForgeryBelieved,
];

/// Worlds in which each has to be found.
const SEEDS: u64 = 2_000;

/// The first seed whose world finds a bug, and what it says.
fn hunt(bug: Bug) -> Option<(u64, String)> {
    let seeds = super::number("RMAIL_SEEDS").unwrap_or(SEEDS);
    (0..seeds).find_map(|seed| {
        let faults = super::run_with(seed, Some(bug), false).err()?;
        Some((seed, faults.into_iter().next().unwrap_or_default()))
    })
}

#[test]
fn every_planted_bug_is_found() {
    // RMAIL_PLANTED=TooEarly,FlagRace hunts these alone.
    let wanted = std::env::var("RMAIL_PLANTED").ok();
    let wanted = |bug: &Bug| {
        let names = wanted.as_ref().map(|names| names.split(','));
        names.is_none_or(|mut names| names.any(|name| *name == format!("{bug:?}")))
    };
    let bugs: Vec<Bug> = ALL.into_iter().filter(wanted).collect();
    assert!(!bugs.is_empty(), "there is no such bug");
    let (next, missed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    // A world that panics has found something, and says so below.
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get().min(8));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let hunted = hunt(*bug);
                    match &hunted {
                        Some((seed, fault)) => println!("{bug:?}: seed {seed}: {}", short(fault)),
                        None => println!("{bug:?}: not found"),
                    }
                    if hunted.is_none() {
                        missed.lock().expect("no panic").push(*bug);
                    }
                }
            });
        }
    });
    set_hook(hook);
    let missed = missed.into_inner().expect("no panic");
    assert!(missed.is_empty(), "the worlds do not see {missed:?}");
}

/// The front of what may quote a whole message.
fn short(fault: &str) -> String {
    fault.chars().take(160).collect()
}
