//! What operators ask of the queue, and what is written down of messages.

use std::sync::{Arc, Mutex};

use crate::common::*;
use futures_lite::future::block_on;
use proptest::prelude::*;
use rmail_core::relay::history::{MAX_LINE, Record, What};
use rmail_core::relay::queue::Command;
use rmail_core::time::Unix;
use rmail_store::disk::{Changes, Disk as _, Mode};
use rmail_store::history::{self, History};
use rmail_store::mailstore::{MailStore as _, Owner};
use rmail_store::mem::MemDisk;
use rmail_store::orders::{self, Word};
use rmail_store::service::{Service, Settings};

const MESSAGE: &[u8] = b"From: alice@example.com\r\n\r\nText\r\n";

type Asked = Arc<Mutex<Vec<(String, Command)>>>;

/// Puts a message into the queue; its id is the local part.
fn queue(world: &World, to: &str) -> String {
    let mut envelope = envelope(
        Some("alice@example.com"),
        "alice@example.com",
        &[to, "bob@example.com"],
    );
    envelope.id = to.split('@').next().expect("a local part").to_owned();
    let id = envelope.id.clone();
    send(&world.smtp(), MESSAGE, envelope).expect("sent");
    id
}

/// From now on the world's process does what operators ask for.
fn listen(world: &World) -> Asked {
    let asked = Asked::default();
    let heard = Arc::clone(&asked);
    let listener = Arc::new(move |id, command| heard.lock().unwrap().push((id, command)));
    block_on(world.service.set_command_listener(listener));
    asked
}

fn homes(world: &World) -> Vec<(String, Owner, Vec<String>)> {
    let homes = block_on(world.store.outbound_homes()).expect("homes");
    homes
        .into_iter()
        .map(|home| (home.name, home.owner, home.ids))
        .collect()
}

fn place(world: &World, home: &str, word: Word, ids: &[&str], at: u64) {
    let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
    let placed = orders::place(
        &*world.disk,
        home,
        word,
        &ids,
        Unix::from_secs(now().unix.secs() + at),
        7,
    );
    block_on(placed).expect("placed");
}

fn waiting(world: &World) -> usize {
    block_on(orders::waiting(&*world.disk)).expect("orders").len()
}

/// Another process on the same disk, when the first one is dead.
fn restarted(world: &World) -> World {
    world.disk.kill();
    let disk = Arc::new(world.disk.process());
    let store = Arc::new(open_store(&disk));
    World {
        service: Service::new(Arc::clone(&store), accounts(&disk, 9), Settings::default()),
        disk,
        store,
        told: Arc::default(),
    }
}

#[test]
fn what_is_asked_for_is_heard_once_in_its_order() {
    let world = World::new();
    let id = queue(&world, "x@away.test");
    let asked = listen(&world);
    let (home, owner, ids) = homes(&world).remove(0);
    assert_eq!((owner, ids), (Owner::Us, vec![id.clone()]));
    place(&world, &home, Word::Release, &[&id], 2);
    place(&world, &home, Word::Hold, &[&id, "gone"], 1);
    place(&world, "0077", Word::Fail, &[&id], 1);
    block_on(world.service.hear_requests(now().unix));
    let expected = [
        (id.clone(), Command::Hold),
        ("gone".to_owned(), Command::Hold),
        (id.clone(), Command::Release),
    ];
    assert_eq!(*asked.lock().unwrap(), expected);
    block_on(world.service.hear_requests(now().unix));
    assert_eq!(asked.lock().unwrap().len(), 3, "once");
    assert_eq!(waiting(&world), 1, "that of another queue waits for its owner");
    let months_later = Unix::from_secs(now().unix.secs() + 40 * 86_400);
    block_on(world.service.hear_requests(months_later));
    assert_eq!(waiting(&world), 0, "but not for ever");
}

#[test]
fn the_system_tells_of_a_request() {
    let world = World::new();
    queue(&world, "x@away.test");
    let _asked = listen(&world);
    assert!(world.service.hears_requests());
    let (home, ..) = homes(&world).remove(0);
    place(&world, &home, Word::Retry, &["a1"], 0);
    let changes = block_on(world.service.changes());
    assert!(world.service.are_requests_among(&changes), "{changes:?}");
    assert!(!world.service.are_requests_among(&Changes::Of([1].into())));
    assert!(world.service.are_requests_among(&Changes::All));
}

#[test]
fn what_is_asked_for_without_a_server_holds_from_the_next_start_on() {
    let world = World::new();
    let ids = ["held@away.test", "let@away.test", "fail@away.test"].map(|to| queue(&world, to));
    let world = restarted(&world);
    let (home, owner, mut found) = homes(&world).remove(0);
    found.sort();
    let mut sorted = ids.to_vec();
    sorted.sort();
    assert_eq!((owner, found), (Owner::Nobody, sorted));
    place(&world, &home, Word::Hold, &[&ids[0], &ids[1]], 1);
    place(&world, &home, Word::Release, &[&ids[1]], 2);
    place(&world, &home, Word::Fail, &[&ids[2]], 3);
    let loaded = block_on(world.service.load_outbound()).expect("load");
    let held = |id: &str| loaded.iter().find(|entry| entry.id == id).map(|entry| entry.held);
    // What is to be given up is not tried before.
    assert_eq!(
        ids.each_ref().map(|id| held(id)),
        [Some(true), Some(false), Some(true)]
    );
    let asked = listen(&world);
    block_on(world.service.hear_requests(now().unix));
    assert_eq!((asked.lock().unwrap().len(), waiting(&world)), (4, 0));
    let world = restarted(&world);
    let loaded = block_on(world.service.load_outbound()).expect("load");
    let held: Vec<&str> = loaded
        .iter()
        .filter(|entry| entry.held)
        .map(|entry| entry.id.as_str())
        .collect();
    assert_eq!(held, [ids[0].as_str()], "it stands on disk");
}

#[test]
fn a_request_that_cannot_be_read_stops_no_other() {
    let world = World::new();
    let id = queue(&world, "x@away.test");
    let asked = listen(&world);
    let (home, ..) = homes(&world).remove(0);
    let broken = format!("orders/{home}.00000000000000000001-x.json");
    world.edit(&broken, "{\"command\":\"eat\"}");
    world.edit(&format!("orders/{home}.json"), "{}");
    place(&world, &home, Word::Hold, &[&id], 0);
    block_on(world.service.hear_requests(Unix::from_secs(1)));
    assert_eq!(*asked.lock().unwrap(), [(id, Command::Hold)]);
}

#[test]
fn accepted_messages_are_written_down_with_those_who_have_them() {
    let world = World::new();
    let id = queue(&world, "x@away.test");
    block_on(world.service.flush_history());
    let records = block_on(history::find(&*world.disk, &id)).expect("find");
    let [record] = records.as_slice() else {
        panic!("{records:?}");
    };
    let What::Accepted {
        sender,
        account,
        here,
        queued,
        ..
    } = &record.what
    else {
        panic!("{record:?}");
    };
    assert_eq!(
        (sender.as_str(), account.as_deref()),
        ("alice@example.com", Some("alice@example.com"))
    );
    assert_eq!(
        (here.names.as_slice(), queued.names.as_slice()),
        (
            &["bob@example.com".to_owned()][..],
            &["x@away.test".to_owned()][..]
        )
    );
    let off = World::with(|settings| settings.history_days = 0);
    let id = queue(&off, "x@away.test");
    block_on(off.service.flush_history());
    assert_eq!(block_on(history::find(&*off.disk, &id)).expect("find"), []);
}

fn record(id: &str, at: u64) -> Record {
    Record::new(Unix::from_secs(at), id, What::Done)
}

fn names(disk: &MemDisk) -> Vec<String> {
    let listed = block_on(async {
        let dir = disk.open_dir(disk.root(), "history").await?;
        disk.list(&dir).await
    });
    let mut names: Vec<String> = listed
        .expect("list")
        .entries
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    names.sort();
    names
}

const DAY: u64 = 86_400;

#[test]
fn history_is_a_file_a_day_and_old_days_go() {
    let disk = Arc::new(MemDisk::new());
    let history = History::new(Arc::clone(&disk));
    for day in [20_000, 20_001, 20_003] {
        history.push(&record("a1", day * DAY + 5));
        history.push(&record("b2", day * DAY + 6));
    }
    block_on(history.flush());
    let all = ["2024-10-04.jsonl", "2024-10-05.jsonl", "2024-10-07.jsonl"];
    assert_eq!(names(&disk), all);
    let found = || block_on(history::find(&*disk, "a1")).expect("find");
    assert_eq!(
        found(),
        [20_000, 20_001, 20_003].map(|day| record("a1", day * DAY + 5))
    );
    let tidy = |days| {
        block_on(history::remove_older(
            &*disk,
            days,
            Unix::from_secs(20_003 * DAY + 9),
        ))
    };
    tidy(3).expect("tidy");
    assert_eq!(names(&disk), all);
    tidy(2).expect("tidy");
    assert_eq!(names(&disk), all[1..]);
    tidy(0).expect("tidy");
    assert_eq!((names(&disk), found()), (Vec::new(), Vec::new()));
}

#[test]
fn history_survives_what_is_torn_and_what_is_not_ours() {
    let disk = Arc::new(MemDisk::new());
    let history = History::new(Arc::clone(&disk));
    history.push(&record("a1", DAY));
    block_on(history.flush());
    block_on(async {
        let dir = disk.open_dir(disk.root(), "history").await.expect("dir");
        let file = disk
            .open(&dir, "1970-01-02.jsonl", Mode::Write)
            .await
            .expect("file");
        let long = "y".repeat(3 * MAX_LINE + (1 << 20));
        for text in [
            "{\"at\":1,\"id\":\"a1\",\"ev\n",
            "{\"at\":1,\"id\":\"a1\",\"event\":\"new\"}\n",
            &long,
            "\n",
            "\"id\":\"a1\",",
        ] {
            disk.append(&file, text.as_bytes()).await.expect("append");
        }
        let other = disk.open(&dir, "notes", Mode::Create).await.expect("file");
        disk.append(&other, record("a1", 1).line().as_bytes())
            .await
            .expect("append");
    });
    assert_eq!(
        block_on(history::find(&*disk, "a1")).expect("find"),
        [record("a1", DAY)]
    );
    assert_eq!(
        block_on(history::find(&*disk, "a")).expect("find"),
        [],
        "not a part of an id"
    );
    disk.set_read_only(true);
    history.push(&record("a1", DAY + 1));
    block_on(history.flush());
    disk.set_read_only(false);
    history.push(&record("b2", DAY + 2));
    block_on(history.flush());
    assert_eq!(
        block_on(history::find(&*disk, "b2")).expect("find").len(),
        0,
        "the torn line took one along"
    );
    history.push(&record("b2", DAY + 3));
    block_on(history.flush());
    assert_eq!(
        block_on(history::find(&*disk, "b2")).expect("find"),
        [record("b2", DAY + 3)]
    );
}

#[test]
fn history_wakes_its_writer_once_and_is_bounded() {
    let disk = Arc::new(MemDisk::new());
    let history = History::new(Arc::clone(&disk));
    let woken = Arc::new(Mutex::new(0));
    let count = Arc::clone(&woken);
    history.set_wake(Arc::new(move || *count.lock().unwrap() += 1));
    for _ in 0..200_000 {
        history.push(&record("a1", 5));
    }
    assert_eq!(*woken.lock().unwrap(), 1);
    block_on(history.flush());
    let kept = block_on(history::find(&*disk, "a1")).expect("find").len();
    assert!((50_000..150_000).contains(&kept), "{kept}: 4 MiB of lines");
    history.push(&record("a1", 6));
    assert_eq!(*woken.lock().unwrap(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    /// Wherever lines lie among the pieces that are read, each is found.
    #[test]
    fn every_line_is_found_wherever_it_lies(before in 0_usize..40, count in 1_usize..30_000, width in 1_usize..60) {
        let disk = Arc::new(MemDisk::new());
        let history = History::new(Arc::clone(&disk));
        let other = "z".repeat(width);
        for n in 0..count {
            history.push(&record(if n % 1_000 == before { "a1" } else { &other }, 5));
        }
        block_on(history.flush());
        let wanted = (0..count).filter(|n| n % 1_000 == before).count();
        prop_assert_eq!(block_on(history::find(&*disk, "a1")).expect("find").len(), wanted);
    }
}
