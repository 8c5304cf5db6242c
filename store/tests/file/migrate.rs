//! Mailboxes of the earliest layout become mailboxes, whatever happens on the way.

use std::collections::BTreeMap;

use crate::common::*;
use futures_lite::future::block_on;
use rmail_core::limits::Limits;
use rmail_core::mailbox::{Flags, Quota, SpecialUse, SystemFlags, Uid};
use rmail_store::MailStore;
use rmail_store::disk::{Disk, Mode};
use rmail_store::file::migrate::{Event, Plan};
use rmail_store::mem::{End, Fault, MemDisk, Model, Outcome};

const INDEX: &str = r#"{"uidvalidity":1234567,"uidnext":40,"messages":[
    {"uid":3,"flags":["\\Seen","$Work"],"date":"1996-07-17T02:44:25-07:00","size":5},
    {"uid":4,"flags":["\\Flagged","Other"]},
    {"uid":9,"flags":[]},
    {"uid":10,"flags":["\\Deleted"],"date":1000000000},
    {"uid":0},
    {"uid":21,"flags":[]}]}"#;

/// Makes directories, and a file in the last, all of it durable.
async fn put(disk: &MemDisk, path: &str, text: &str) {
    let (dirs, name) = path.rsplit_once('/').expect("a path");
    let mut dir = disk.root().clone();
    for level in dirs.split('/') {
        let _ = disk.make_dir(&dir, level).await;
        disk.sync_dir(&dir).await.expect("sync");
        dir = disk.open_dir(&dir, level).await.expect("open");
    }
    let file = disk.open(&dir, name, Mode::CreateNew).await.expect("create");
    disk.write_at(&file, text.as_bytes(), 0).await.expect("write");
    disk.sync(&file).await.expect("sync");
    disk.sync_dir(&dir).await.expect("sync");
}

const USER: &str = "domains/example.com/users/alice";

/// An account as the earliest program left it.
async fn old_account(disk: &MemDisk) {
    let inbox = format!("{USER}/mailboxes/INBOX");
    put(disk, &format!("{inbox}/index.json"), INDEX).await;
    for (uid, text) in [
        (3, "three"),
        (4, "four"),
        (9, "nine"),
        (10, "ten"),
        (30, "no entry"),
    ] {
        put(disk, &format!("{inbox}/msg-{uid}.eml"), text).await;
    }
    let sent = format!("{USER}/mailboxes/Sent Items");
    put(
        disk,
        &format!("{sent}/index.json"),
        r#"{"messages":{"7":{"flags":"seen"}}}"#,
    )
    .await;
    put(disk, &format!("{sent}/msg-7.eml"), "seven").await;
    let sub = format!("{USER}/jobs/50% off");
    put(disk, &format!("{sub}/index.json"), r#"[{"uid":1}]"#).await;
    put(disk, &format!("{sub}/msg-1.eml"), "one").await;
    let broken = format!("{USER}/mailboxes/broken");
    put(disk, &format!("{broken}/index.json"), "{").await;
    put(disk, &format!("{broken}/msg-2.eml"), "two").await;
}

struct Told {
    messages: u64,
    problems: Vec<String>,
    notes: Vec<String>,
}

async fn migrate(store: &Store, plan: Plan) -> Told {
    let mut told = Told {
        messages: 0,
        problems: Vec::new(),
        notes: Vec::new(),
    };
    let mut tell = |event| match event {
        Event::Mailbox { .. } => {}
        Event::Message { octets, .. } => {
            assert!(octets > 0);
            told.messages += 1;
        }
        Event::Problem { what, .. } => told.problems.push(what),
        Event::Note(text) => told.notes.push(text),
    };
    // What cannot even be listed is no end of the test: it may be the crash.
    let _ = store.migrate(plan, NOW, &mut tell).await;
    told
}

/// UID, text, flags, keywords, date of each message, and UIDVALIDITY and UIDNEXT, by mailbox.
type State = BTreeMap<String, (u32, u32, Vec<(u32, String, u8, Vec<String>, i64, i16)>)>;

async fn state(store: &Store) -> State {
    let mut state = State::new();
    for entry in store.list(&alice()).await.expect("list") {
        if !entry.selectable {
            continue;
        }
        let selected = store.select(&alice(), &entry.name, true).await.expect("select");
        let snapshot = &selected.snapshot;
        let mut messages = Vec::new();
        for row in snapshot.rows.iter() {
            let text = body(store, &selected.mailbox, row.uid.0).await.expect("there");
            let words = snapshot.keywords.of(row.keywords);
            let words = words.map(|word| word.as_str().to_owned()).collect();
            messages.push((row.uid.0, text, row.flags.0, words, row.date, row.zone));
        }
        let numbers = (snapshot.uid_validity.0, snapshot.uid_next.0);
        state.insert(entry.name.to_string(), (numbers.0, numbers.1, messages));
    }
    state
}

/// What is left of the old files.
async fn old_names(disk: &MemDisk, path: &str) -> Vec<String> {
    let dir = dir_of_alice(disk, path).await;
    let names = names_of(disk, &dir).await;
    let mut old: Vec<String> = names
        .into_iter()
        .filter(|name| name.starts_with("msg-") || name.starts_with("index") || name.contains("migrating"))
        .collect();
    old.sort();
    old
}

#[test]
fn uids_flags_dates_and_octets_are_kept_and_what_is_broken_is_left() {
    block_on(async {
        let disk = MemDisk::new();
        old_account(&disk).await;
        let store = open(&disk, Limits::small()).await;
        let dry = Plan {
            dry_run: true,
            ..Plan::default()
        };
        let before = disk.fork();
        let told = migrate(&store, dry).await;
        assert_eq!(
            (told.messages, told.problems.len()),
            (6, 4),
            "{:?}",
            told.problems
        );
        assert_eq!(
            old_names(&disk, "mailboxes/INBOX").await,
            old_names(&before, "mailboxes/INBOX").await
        );
        assert!(state(&store).await.is_empty());

        let told = migrate(&store, Plan::default()).await;
        assert_eq!(told.messages, 6);
        // UID 0, UID 21 without a file, a file without an entry, and an index that is none.
        assert_eq!(told.problems.len(), 4, "{:?}", told.problems);
        let state = state(&store).await;
        let (validity, next, messages) = &state["INBOX"];
        assert_eq!((*validity, *next), (1_234_567, 40));
        let seen = SystemFlags::SEEN.0;
        assert_eq!(
            messages[0],
            (
                3,
                "three".to_owned(),
                seen,
                vec!["$Work".to_owned()],
                837_596_665,
                -420
            )
        );
        assert_eq!(
            (messages[1].0, messages[1].2, messages[1].3.as_slice()),
            (4, SystemFlags::FLAGGED.0, &["Other".to_owned()][..])
        );
        assert_eq!(
            (messages[3].0, messages[3].4, messages.len()),
            (10, 1_000_000_000, 4)
        );
        assert_eq!(
            old_names(&disk, "mailboxes/INBOX").await,
            ["index.json.migrated", "msg-30.eml"]
        );
        assert_eq!(state["Sent Items"].2[0].0, 7);
        assert_eq!(state["jobs/50% off"].2[0].1, "one");
        assert_eq!(
            old_names(&disk, "mailboxes/broken").await,
            ["index.json", "msg-2.eml"]
        );
        let entries = store.list(&alice()).await.expect("list");
        let sent = entries.iter().find(|entry| entry.name.as_str() == "Sent Items");
        assert_eq!(sent.expect("there").special_use, [SpecialUse::Sent]);

        let again = migrate(&store, Plan::default()).await;
        assert_eq!(
            (again.messages, again.problems.len()),
            (0, 1),
            "only the broken one is still old"
        );
        let rebuild = Plan {
            rebuild_index: true,
            ..Plan::default()
        };
        assert_eq!(migrate(&store, rebuild).await.messages, 1);
        let after = self::state(&store).await;
        assert_eq!((after["broken"].2[0].0, after["broken"].1), (2, 3));

        // Ordinary life goes on above the old UIDs.
        let uid = append(&store, "INBOX", "new", Flags::default()).await;
        assert_eq!(uid.expect("append"), [Uid(40)]);
    });
}

#[test]
fn a_mailbox_with_messages_of_its_own_keeps_its_numbers() {
    block_on(async {
        let disk = MemDisk::new();
        let server = open(&disk.process(), Limits::small()).await;
        server.create_account(&alice(), NOW).await.expect("account");
        append(&server, "INBOX", "own", Flags::default())
            .await
            .expect("append");
        let before = select(&server, "INBOX").await.expect("select").1;
        old_account(&disk).await;
        let store = open(&disk, Limits::small()).await;
        let told = migrate(&store, Plan::default()).await;
        assert_eq!((told.messages, told.notes.len()), (6, 1), "{:?}", told.notes);
        let state = state(&server).await;
        let (validity, _, messages) = &state["INBOX"];
        assert_eq!(*validity, before.uid_validity.0);
        let texts: Vec<&str> = messages.iter().map(|message| message.1.as_str()).collect();
        assert_eq!(texts, ["own", "three", "four", "nine", "ten"]);
        assert!(messages.iter().map(|message| message.0).is_sorted());
        assert_eq!((messages[1].2, messages[1].4), (SystemFlags::SEEN.0, 837_596_665));
        assert_eq!(
            old_names(&disk, "mailboxes/INBOX").await,
            ["index.json.migrated", "msg-30.eml"]
        );
    });
}

#[test]
fn a_mailbox_that_a_running_server_made_and_never_used_gives_way() {
    block_on(async {
        let disk = MemDisk::new();
        let server = open(&disk.process(), Limits::small()).await;
        server.create_account(&alice(), NOW).await.expect("account");
        select(&server, "INBOX").await.expect("select");
        old_account(&disk).await;
        let store = open(&disk, Limits::small()).await;
        migrate(&store, Plan::default()).await;
        let state = state(&server).await;
        assert_eq!(
            (state["INBOX"].0, state["INBOX"].1, state["INBOX"].2.len()),
            (1_234_567, 40, 4)
        );
        deliver(&server, &[alice()], "new").await.expect("deliver");
        let selected = select(&server, "INBOX").await.expect("select").1;
        assert_eq!(uids(&selected), [3, 4, 9, 10, 40]);
    });
}

/// Cuts a migration at each of its calls, runs it again, and compares with one that was not cut.
async fn cut_everywhere(world: &MemDisk, with_server: bool) {
    let whole = world.fork();
    let store = open(&whole, Limits::small()).await;
    migrate(&store, Plan::default()).await;
    let expected = comparable(&store, with_server).await;
    let expected_names = old_names(&whole, "mailboxes/INBOX").await;
    let mut ends = vec![End::Kill];
    ends.push(End::Power(Model::Adversary, Outcome::Lost, 0));
    ends.push(End::Power(Model::Adversary, Outcome::Random, 1));
    ends.push(End::Power(Model::Ordered, Outcome::Random, 2));
    let (mut at, mut cut) = (1, true);
    while cut {
        for end in &ends {
            let disk = world.fork();
            let store = open(&disk, Limits::small()).await;
            disk.fault(disk.calls() + at, Fault::Crash);
            migrate(&store, Plan::default()).await;
            cut = disk.is_dead();
            drop(store);
            disk.end(*end, at);
            let disk = disk.process();
            // A server may look in between: it must not make another mailbox of what is half done.
            if at % 2 == 0 {
                let server = open(&disk.process(), Limits::small()).await;
                let _ = server.status(&alice(), &inbox()).await;
            }
            let store = open(&disk, Limits::small()).await;
            migrate(&store, Plan::default()).await;
            let what = format!("cut at call {at} by {end:?}");
            assert_eq!(comparable(&store, with_server).await, expected, "{what}");
            assert_eq!(
                old_names(&disk, "mailboxes/INBOX").await,
                expected_names,
                "{what}"
            );
        }
        at += 1;
    }
    assert!(at > 100, "{at} calls");
}

/// The state without what may differ: UIDVALIDITY where the index has none, and new UIDs.
async fn comparable(store: &Store, with_server: bool) -> State {
    let mut state = state(store).await;
    for (name, (validity, next, messages)) in &mut state {
        if name != "INBOX" {
            *validity = 0;
        }
        if with_server && name == "INBOX" {
            *next = 0;
            messages.sort_by(|a, b| a.1.cmp(&b.1));
            messages.iter_mut().for_each(|message| message.0 = 0);
        }
    }
    state
}

#[test]
fn cut_at_every_call_and_run_again_it_ends_the_same() {
    block_on(async {
        let world = MemDisk::new();
        old_account(&world).await;
        cut_everywhere(&world, false).await;
    });
}

#[test]
fn cut_at_every_call_beside_a_mailbox_in_use_nothing_is_lost_or_doubled() {
    block_on(async {
        let world = MemDisk::new();
        let server = open(&world.process(), Limits::small()).await;
        server.create_account(&alice(), NOW).await.expect("account");
        let spool = spool(&server, "own").await.expect("spool");
        let messages = vec![(spool, Flags::default(), None)];
        server
            .append(&alice(), &inbox(), messages, &Quota::UNLIMITED, NOW)
            .await
            .expect("append");
        old_account(&world).await;
        cut_everywhere(&world, true).await;
    });
}

#[test]
fn every_call_may_fail_and_the_next_run_ends_the_same() {
    block_on(async {
        let world = MemDisk::new();
        old_account(&world).await;
        let whole = world.fork();
        let store = open(&whole, Limits::small()).await;
        migrate(&store, Plan::default()).await;
        let expected = comparable(&store, false).await;
        let calls = whole.calls();
        for errno in [28, 5, 24] {
            for at in 1..calls {
                let disk = world.fork();
                let store = open(&disk, Limits::small()).await;
                disk.fault(disk.calls() + at, Fault::Errno(errno));
                migrate(&store, Plan::default()).await;
                drop(store);
                let store = open(&disk.process(), Limits::small()).await;
                migrate(&store, Plan::default()).await;
                let after = comparable(&store, false).await;
                for (name, (_, _, messages)) in &expected {
                    let there = after
                        .get(name)
                        .map(|(_, _, messages)| messages.clone())
                        .unwrap_or_default();
                    let dir = match name.as_str() {
                        "jobs/50% off" => "jobs/50% off".to_owned(),
                        name => format!("mailboxes/{name}"),
                    };
                    let left = old_names(&disk.process(), &dir).await;
                    for message in messages {
                        // A file that could not be read once was told, and is where it was.
                        let file = format!("msg-{}.eml", message.0);
                        assert!(
                            there.contains(message) || left.contains(&file),
                            "errno {errno} at call {at}: {name} {message:?} is nowhere: {there:?}"
                        );
                    }
                }
            }
        }
    });
}
