//! Four processes change flags, four look: none ever misses a message that nobody has expunged, and no change is lost.
//!
//! `RMAIL_SOAK_SECONDS` says how long; 10 s, 20 s in CI.

use std::path::Path;
use std::time::Duration;

use rmail_tests::{Crew, Mail, memory, seconds, with_keyword};

/// Three shards, the last of them half full.
const MESSAGES: u32 = 2_500;
const SHARD: u32 = 1_000;
const CHANGERS: usize = 4;

fn change_and_scan(place: &Path) {
    let root = tempfile::tempdir_in(place).expect("a directory");
    let mail = Mail::open(root.path(), SHARD);
    for first in (1..=MESSAGES).step_by(500) {
        let texts: Vec<String> = (first..first + 500).map(|n| format!("message {n}\r\n")).collect();
        mail.append("INBOX", &texts).expect("append");
    }
    let mut crew = Crew::new(root.path(), SHARD, &["--messages", &MESSAGES.to_string()]);
    for role in ["change", "scan"] {
        (0..CHANGERS).for_each(|_| crew.add(role));
    }
    std::thread::sleep(Duration::from_secs(seconds()));
    let told = crew.finish();
    let (_, now) = mail.select("INBOX").expect("select");
    assert_eq!(now.rows.len(), MESSAGES as usize);
    let mut expected: Vec<Vec<u32>> = told
        .iter()
        .filter_map(|line| line.strip_prefix("mine "))
        .map(|uids| uids.split(' ').map(|uid| uid.parse().expect("a UID")).collect())
        .collect();
    let mut found: Vec<Vec<u32>> = (0..CHANGERS)
        .map(|n| with_keyword(&now, &format!("w{n}")))
        .collect();
    // Who it was is not told, but no two have drawn the same.
    expected.sort();
    found.sort();
    assert_eq!(found.len(), CHANGERS);
    assert!(found == expected, "a change that was acknowledged is lost");
    for what in ["done ", "scans "] {
        let lines: Vec<&String> = told.iter().filter(|line| line.starts_with(what)).collect();
        assert_eq!(lines.len(), CHANGERS);
        println!("{}: {lines:?}", place.display());
        for line in lines {
            let least = line
                .split(' ')
                .nth(1)
                .map(|count| count.parse::<u32>().expect("a count"));
            assert!(least > Some(10), "{line}");
        }
    }
}

#[test]
fn no_message_is_missed_and_no_change_lost_on_disk() {
    change_and_scan(Path::new(env!("CARGO_TARGET_TMPDIR")));
}

#[test]
fn no_message_is_missed_and_no_change_lost_in_memory() {
    if let Some(memory) = memory() {
        change_and_scan(&memory);
    }
}
