//! Four processes change the flags of the same thousand messages, ten thousand times each: none is lost.
//!
//! `RMAIL_CHANGES` says how often; without it and outside of CI, a quarter of that.

use std::path::Path;

use rmail_tests::{Crew, Mail, memory, with_keyword};

const MESSAGES: u32 = 1_000;
const SHARD: u32 = 1_000;
const PROCESSES: usize = 4;

fn count() -> u64 {
    let given = std::env::var("RMAIL_CHANGES").ok();
    let usual = if std::env::var_os("CI").is_some() {
        10_000
    } else {
        2_500
    };
    given.and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn change(place: &Path) {
    let root = tempfile::tempdir_in(place).expect("a directory");
    let mail = Mail::open(root.path(), SHARD);
    let texts: Vec<String> = (1..=MESSAGES).map(|n| format!("message {n}\r\n")).collect();
    mail.append("INBOX", &texts).expect("append");
    let arguments = [
        "--messages",
        &MESSAGES.to_string(),
        "--count",
        &count().to_string(),
    ];
    let mut crew = Crew::new(root.path(), SHARD, &arguments);
    (0..PROCESSES).for_each(|_| crew.add("change"));
    let told = crew.wait();
    let (_, now) = mail.select("INBOX").expect("select");
    let mut found: Vec<Vec<u32>> = (0..PROCESSES)
        .map(|n| with_keyword(&now, &format!("w{n}")))
        .collect();
    let (mut expected, mut rate): (Vec<Vec<u32>>, f64) = (Vec::new(), 0.0);
    for line in &told {
        if let Some(uids) = line.strip_prefix("mine ") {
            expected.push(uids.split(' ').map(|uid| uid.parse().expect("a UID")).collect());
        }
        if let Some((done, micros)) = line.strip_prefix("done ").and_then(|rest| rest.split_once(' ')) {
            assert_eq!(done.parse(), Ok(count()));
            rate += done.parse::<f64>().expect("a number") / micros.parse::<f64>().expect("a number") * 1e6;
        }
    }
    expected.sort();
    found.sort();
    assert_eq!(expected.len(), PROCESSES);
    assert!(found == expected, "a change that was acknowledged is lost");
    println!("{}: {rate:.0} changes a second in all", place.display());
}

#[test]
fn no_change_of_four_processes_is_lost_on_disk() {
    change(Path::new(env!("CARGO_TARGET_TMPDIR")));
}

#[test]
fn no_change_of_four_processes_is_lost_in_memory() {
    if let Some(memory) = memory() {
        change(&memory);
    }
}
