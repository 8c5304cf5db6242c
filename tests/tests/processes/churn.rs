//! Processes deliver, append, flag, copy, move and expunge at random in the same mailboxes, and are killed at random. What
//! each was acknowledged holds in the end.
//!
//! `RMAIL_SOAK_SECONDS` says how long; 10 s, 20 s in CI.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use futures_lite::future::block_on;
use rmail_core::random::Random;
use rmail_store::MailStore as _;
use rmail_tests::{Crew, MAILBOXES, Mail, memory, seconds};

/// Small shards, so that there are many.
const SHARD: u32 = 40;

/// What the processes were told, all together.
#[derive(Default)]
struct Told<'a> {
    new: BTreeSet<&'a str>,
    doomed: BTreeSet<&'a str>,
    is: BTreeMap<(&'a str, u32), &'a str>,
    words: BTreeSet<(&'a str, &'a str)>,
    gone: BTreeSet<(&'a str, u32)>,
    /// UIDVALIDITY, and the highest UIDNEXT.
    next: BTreeMap<&'a str, (&'a str, u32)>,
    did: BTreeMap<&'a str, u32>,
}

impl<'a> Told<'a> {
    fn learn(lines: &'a [String]) -> Self {
        let mut told = Self::default();
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let uid = |text: &str| text.parse::<u32>().expect("a UID");
            match words[..] {
                ["new", token] => drop(told.new.insert(token)),
                ["doom", token] => drop(told.doomed.insert(token)),
                ["word", token, word] => drop(told.words.insert((token, word))),
                ["gone", mailbox, text] => drop(told.gone.insert((mailbox, uid(text)))),
                ["did", what] => *told.did.entry(what).or_default() += 1,
                ["is", mailbox, text, token] => {
                    let known = told.is.entry((mailbox, uid(text))).or_insert(token);
                    assert_eq!(*known, token, "UID {text} of {mailbox} is two messages");
                }
                ["next", mailbox, validity, text] => {
                    let known = told.next.entry(mailbox).or_insert((validity, 0));
                    assert_eq!(known.0, validity, "UIDVALIDITY of {mailbox}");
                    known.1 = known.1.max(uid(text));
                }
                _ => panic!("{line:?}"),
            }
        }
        told
    }
}

/// What a process that begins now finds, by token: the keywords of each copy.
fn found<'a>(root: &Path, told: &Told<'a>) -> BTreeMap<String, Vec<BTreeSet<String>>> {
    let mail = Mail::open(root, SHARD);
    let mut found: BTreeMap<String, Vec<BTreeSet<String>>> = BTreeMap::new();
    let (mut octets, mut messages) = (0, 0);
    for (mailbox, status) in MAILBOXES.map(|mailbox| (mailbox, mail.select(mailbox).expect("select"))) {
        let (reference, snapshot) = status;
        let (validity, next) = told.next[mailbox];
        assert_eq!(
            snapshot.uid_validity.0.to_string(),
            validity,
            "UIDVALIDITY of {mailbox}"
        );
        assert!(snapshot.uid_next.0 >= next, "UIDNEXT of {mailbox} was promised");
        for row in snapshot.rows.iter() {
            let uid = row.uid.0;
            assert!(
                !told.gone.contains(&(mailbox, uid)),
                "UID {uid} of {mailbox} is back"
            );
            let text = mail
                .text(&reference, row.uid)
                .expect("open")
                .expect("it is listed");
            assert_eq!(text.len(), row.size as usize, "UID {uid} of {mailbox} is whole");
            assert!(text.ends_with("\r\n"));
            let token = text
                .lines()
                .next()
                .and_then(|line| line.strip_prefix("Subject: "));
            let token = token.expect("a whole message").to_owned();
            if let Some(known) = told.is.get(&(mailbox, uid)) {
                assert_eq!(**known, *token, "UID {uid} of {mailbox} is another message");
            }
            let words = snapshot.keywords.of(row.keywords);
            let words = words.map(|word| word.as_str().to_owned()).collect();
            found.entry(token).or_default().push(words);
            octets += u64::from(row.size);
            messages += 1;
        }
    }
    block_on(async {
        let (store, account) = (&mail.store, &mail.account);
        // A kill may leave it too high, never too low; counting anew makes it right.
        let usage = store.usage(account).await.expect("usage");
        assert!(
            usage.octets >= octets && usage.messages >= messages,
            "{usage:?}: {octets} {messages}"
        );
        for usage in [store.recount(account).await, store.usage(account).await] {
            let usage = usage.expect("usage");
            assert_eq!((usage.octets, usage.messages), (octets, messages));
        }
    });
    found
}

fn churn(place: &Path, processes: usize) {
    let root = tempfile::tempdir_in(place).expect("a directory");
    drop(Mail::open(root.path(), SHARD));
    let mut crew = Crew::new(root.path(), SHARD, &[]);
    (0..processes).for_each(|_| crew.add("churn"));
    let mut random = Random::from_seed([u8::try_from(processes).expect("few"); 32]);
    let end = Instant::now() + Duration::from_secs(seconds());
    let mut kills = 0;
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(100 + random.below(500)));
        crew.replace(usize::try_from(random.below(processes as u64)).expect("few"));
        kills += 1;
    }
    let lines = crew.finish();
    let told = Told::learn(&lines);
    let found = found(root.path(), &told);
    for token in told.new.difference(&told.doomed) {
        assert!(found.contains_key(*token), "{token} is lost");
    }
    for (token, word) in told
        .words
        .iter()
        .filter(|(token, _)| !told.doomed.contains(token))
    {
        let copies = &found[*token];
        assert!(
            copies.iter().any(|words| words.contains(*word)),
            "{token} has lost {word}"
        );
    }
    // What comes next gets UIDs that nobody has seen.
    let mail = Mail::open(root.path(), SHARD);
    for mailbox in MAILBOXES {
        let uids = mail
            .append(mailbox, &["Subject: last\r\n".to_owned()])
            .expect("append");
        let seen = told
            .is
            .keys()
            .filter(|(known, _)| *known == mailbox)
            .map(|(_, uid)| *uid);
        assert!(Some(uids[0].0) > seen.max() && uids[0].0 >= told.next[mailbox].1);
    }
    println!(
        "{} processes on {}: {kills} kills, {:?}; {} messages left, {} were expunged or moved",
        processes,
        place.display(),
        told.did,
        found.len(),
        told.gone.len()
    );
    for what in ["deliver", "append", "flag", "copy", "move", "expunge"] {
        assert!(told.did.get(what) > Some(&2), "{what}: {:?}", told.did);
    }
}

#[test]
fn what_two_processes_were_acknowledged_holds_on_disk() {
    churn(Path::new(env!("CARGO_TARGET_TMPDIR")), 2);
}

#[test]
fn what_four_processes_were_acknowledged_holds_on_disk() {
    churn(Path::new(env!("CARGO_TARGET_TMPDIR")), 4);
}

#[test]
fn what_two_processes_were_acknowledged_holds_in_memory() {
    if let Some(memory) = memory() {
        churn(&memory, 2);
    }
}

#[test]
fn what_four_processes_were_acknowledged_holds_in_memory() {
    if let Some(memory) = memory() {
        churn(&memory, 4);
    }
}
