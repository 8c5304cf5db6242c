//! Two processes work on the same mailboxes; a seeded executor lets them take turns between disk calls.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::common::*;
use futures_lite::future::block_on;
use rmail_core::limits::Limits;
use rmail_core::mailbox::{FlagOp, Flags, MailboxRef, Quota, Snapshot, SystemFlags};
use rmail_core::random::Random;
use rmail_core::refusal::Refusal;
use rmail_store::MailStore;
use rmail_store::mem::exec::Exec;
use rmail_store::mem::{MemDisk, Model, Outcome};

/// What all clients together were told.
#[derive(Default)]
struct Told {
    /// Texts whose delivery was acknowledged.
    safe: BTreeSet<String>,
    /// Texts that somebody may have expunged.
    doomed: BTreeSet<String>,
    /// Text and keyword, seen in the answer to a STORE.
    words: BTreeSet<(String, String)>,
    /// UIDNEXT as told, by mailbox.
    next: BTreeMap<MailboxRef, u32>,
    /// The text of each UID that was ever seen.
    uids: BTreeMap<(MailboxRef, u32), String>,
}

/// One client: what it knows of the two mailboxes.
struct Client<'a> {
    number: usize,
    store: &'a Store,
    told: &'a RefCell<Told>,
    random: Random,
    views: [(MailboxRef, Snapshot); 2],
    copies: bool,
}

const MAILBOXES: [&str; 2] = ["INBOX", "Trash"];

impl Client<'_> {
    async fn new<'a>(
        number: usize,
        store: &'a Store,
        told: &'a RefCell<Told>,
        random: Random,
        copies: bool,
    ) -> Client<'a> {
        let mut views = Vec::new();
        for mailbox in MAILBOXES {
            views.push(select(store, mailbox).await.expect("select"));
        }
        Client {
            number,
            store,
            told,
            random,
            views: views.try_into().expect("two"),
            copies,
        }
    }

    /// A newer picture of a mailbox: everything that differs has a MODSEQ above the older picture's.
    fn see(&mut self, which: usize, now: Snapshot) {
        let (_, before) = &self.views[which];
        assert!(now.modseq >= before.modseq, "MODSEQ goes back");
        assert!(now.uid_next >= before.uid_next, "UIDNEXT goes back");
        assert!(now.rows.last_uid().is_none_or(|last| last < now.uid_next));
        for row in now.rows.iter() {
            let same = before.rows.find(row.uid).is_some_and(|(_, old)| old == row);
            assert!(
                same || now.rows.modseq(row) > before.modseq,
                "{row:?} differs unnoticed"
            );
            assert!(
                before.rows.find(row.uid).is_some() || row.uid >= before.uid_next,
                "{row:?} is late"
            );
        }
        if now.modseq == before.modseq {
            assert_eq!(now.rows.len(), before.rows.len(), "a message vanished unnoticed");
        }
        let next = (self.views[which].0.clone(), now.uid_next.0);
        self.told.borrow_mut().next.extend([next]);
        self.views[which].1 = now;
    }

    async fn look(&mut self, which: usize) {
        let snapshot = self.store.snapshot(&self.views[which].0).await.expect("snapshot");
        self.see(which, snapshot);
        let (mailbox, snapshot) = self.views[which].clone();
        for uid in uids(&snapshot) {
            if let Some(text) = body(self.store, &mailbox, uid).await {
                let known = self
                    .told
                    .borrow_mut()
                    .uids
                    .insert((mailbox.clone(), uid), text.clone());
                assert!(known.is_none_or(|known| known == text), "UID {uid} is used again");
            }
        }
    }

    fn pick(&mut self, which: usize) -> Vec<u32> {
        let all = uids(&self.views[which].1);
        all.into_iter().filter(|_| self.random.below(3) == 0).collect()
    }

    fn text_of(&self, which: usize, uid: u32) -> Option<String> {
        let key = (self.views[which].0.clone(), uid);
        self.told.borrow().uids.get(&key).cloned()
    }

    async fn turn(&mut self, n: usize) {
        let which = usize::try_from(self.random.below(2)).expect("small");
        match self.random.below(if self.copies { 8 } else { 7 }) {
            0 | 1 => {
                let text = format!("message {} {n}", self.number);
                let spool = spool(self.store, &text).await.expect("spool");
                let accounts = unlimited(&[alice(), bob()]);
                self.store
                    .deliver(spool, &accounts, None, NOW)
                    .await
                    .expect("deliver");
                self.told.borrow_mut().safe.insert(text);
            }
            2 => {
                let text = format!("appended {} {n}", self.number);
                let uids = append(self.store, MAILBOXES[which], &text, Flags::default()).await;
                assert_eq!(uids.expect("append").len(), 1);
                self.told.borrow_mut().safe.insert(text);
            }
            3 | 4 => self.add_word(which, n).await,
            5 => self.expunge_some(which).await,
            6 => {
                let chosen = set(&self.pick(which));
                let to = name(MAILBOXES[1 - which]);
                let moved = self.store.r#move(&self.views[which].0, &chosen, &to, NOW).await;
                let (uids, snapshot) = moved.expect("move");
                assert_eq!(uids.source.len(), uids.target.len());
                assert!(uids.target.is_sorted() && uids.source.iter().all(|uid| chosen.contains(*uid)));
                self.see(which, snapshot);
            }
            _ => {
                let chosen = set(&self.pick(which));
                let to = name(MAILBOXES[1 - which]);
                let copied = self
                    .store
                    .copy(&self.views[which].0, &chosen, &to, &Quota::UNLIMITED, NOW)
                    .await;
                self.see(which, copied.expect("copy").1);
            }
        }
        self.look(which).await;
    }

    async fn add_word(&mut self, which: usize, n: usize) {
        let word = format!("k{}x{}", self.number, n % 5);
        let chosen = self.pick(which);
        let add = change(FlagOp::Add, SystemFlags::SEEN, &[&word]);
        let stored = self
            .store
            .store(&self.views[which].0, &set(&chosen), &add, None)
            .await;
        let snapshot = stored.expect("store").snapshot;
        for uid in chosen {
            let text = self.text_of(which, uid);
            if let (Some((_, row)), Some(text)) = (snapshot.rows.find(rmail_core::mailbox::Uid(uid)), text) {
                let has = snapshot
                    .keywords
                    .of(row.keywords)
                    .any(|known| known.as_str() == word);
                assert!(has, "an answered flag is not there");
                self.told.borrow_mut().words.insert((text, word.clone()));
            }
        }
        self.see(which, snapshot);
    }

    async fn expunge_some(&mut self, which: usize) {
        let chosen: Vec<u32> = self.pick(which).into_iter().take(3).collect();
        let texts: Vec<_> = chosen
            .iter()
            .filter_map(|uid| self.text_of(which, *uid))
            .collect();
        self.told.borrow_mut().doomed.extend(texts);
        let deleted = change(FlagOp::Add, SystemFlags::DELETED, &[]);
        let mailbox = self.views[which].0.clone();
        let stored = self.store.store(&mailbox, &set(&chosen), &deleted, None).await;
        self.see(which, stored.expect("store").snapshot);
        let snapshot = self
            .store
            .expunge(&mailbox, Some(&set(&chosen)))
            .await
            .expect("expunge");
        assert!(chosen.iter().all(|uid| !uids(&snapshot).contains(uid)));
        self.see(which, snapshot);
    }
}

/// All texts with their copies in both mailboxes.
async fn everything(store: &Store) -> BTreeMap<String, Vec<(u32, SystemFlags, Vec<String>)>> {
    let mut found: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for mailbox in MAILBOXES {
        for (text, mut copies) in messages(store, &alice(), mailbox).await {
            found.entry(text).or_default().append(&mut copies);
        }
    }
    found
}

fn run(seed: u8, exact: bool, kill: bool) {
    let disk = MemDisk::new();
    disk.set_tick(core::time::Duration::from_micros(150));
    disk.set_exact(exact);
    let stores = block_on(async {
        let first = open(&disk, Limits::small()).await;
        first.create_account(&alice(), NOW).await.expect("alice");
        first.create_account(&bob(), NOW).await.expect("bob");
        [first, open(&disk.process(), Limits::small()).await]
    });
    let told = RefCell::new(Told::default());
    let mut random = Random::from_seed([seed; 32]);
    let copies = seed.is_multiple_of(2);
    let mut exec = Exec::new(Random::from_seed(random.seed()));
    let mut tasks = Vec::new();
    for number in 0..4 {
        let (store, told) = (&stores[number % 2], &told);
        let random = Random::from_seed(random.seed());
        tasks.push(exec.spawn(async move {
            let mut client = Client::new(number, store, told, random, copies).await;
            for n in 0..12 {
                client.turn(n).await;
            }
        }));
    }
    if kill {
        // The second process dies in the middle of whatever it does.
        for _ in 0..1_500 + random.below(2_000) {
            exec.step();
        }
        exec.cancel(tasks[1]);
        exec.cancel(tasks[3]);
        stores[1].disk().kill();
    }
    exec.run().expect("nobody waits for ever");
    drop(exec);
    let told = told.into_inner();
    block_on(async {
        let found = everything(&stores[0]).await;
        for text in told.safe.difference(&told.doomed) {
            let copies_found = found.get(text).map_or(0, Vec::len);
            let good = if copies || kill {
                copies_found >= 1
            } else {
                // What two move at once stays in both places if somebody has flagged one of them meanwhile.
                copies_found == 1 || (copies_found == 2 && told.words.iter().any(|(of, _)| of == text))
            };
            assert!(good, "seed {seed}: {text} is there {copies_found} times");
        }
        for (text, word) in told.words.iter().filter(|(text, _)| !told.doomed.contains(text)) {
            let has = found[text].iter().any(|(_, _, words)| words.contains(word));
            assert!(has, "seed {seed}: {text} has lost {word}");
        }
        let fresh = open(&disk.process(), Limits::small()).await;
        assert_eq!(everything(&fresh).await, found, "seed {seed}");
    });
}

/// The power fails while four clients of two processes are at work.
fn run_power_cut(seed: u8, model: Model, outcome: Outcome) {
    let disk = MemDisk::new();
    disk.set_tick(core::time::Duration::from_micros(150));
    let stores = block_on(async {
        let first = open(&disk, Limits::small()).await;
        first.create_account(&alice(), NOW).await.expect("alice");
        first.create_account(&bob(), NOW).await.expect("bob");
        [first, open(&disk.process(), Limits::small()).await]
    });
    let told = RefCell::new(Told::default());
    let mut random = Random::from_seed([seed; 32]);
    let mut exec = Exec::new(Random::from_seed(random.seed()));
    for number in 0..4 {
        let (store, told) = (&stores[number % 2], &told);
        let random = Random::from_seed(random.seed());
        exec.spawn(async move {
            let mut client = Client::new(number, store, told, random, true).await;
            for n in 0..12 {
                client.turn(n).await;
            }
        });
    }
    for _ in 0..200 + random.below(4_000) {
        exec.step();
    }
    drop(exec);
    disk.power_cut(model, outcome, &mut random);
    let told = told.into_inner();
    block_on(async {
        let disk = disk.process();
        let store = open(&disk, Limits::small()).await;
        let found = everything(&store).await;
        for text in told.safe.difference(&told.doomed) {
            assert!(found.contains_key(text), "seed {seed}: {text} is lost");
        }
        for mailbox in MAILBOXES {
            let (reference, snapshot) = select(&store, mailbox).await.expect("select");
            for uid in uids(&snapshot) {
                let now = body(&store, &reference, uid).await;
                let known = told.uids.get(&(reference.clone(), uid));
                assert!(
                    known.is_none_or(|known| Some(known) == now.as_ref()),
                    "seed {seed}: UID {uid}"
                );
            }
            let next = told.next.get(&reference).copied().unwrap_or(1);
            assert!(snapshot.uid_next.0 >= next, "seed {seed}: UIDNEXT goes back");
            let new = append(&store, mailbox, "later", Flags::default())
                .await
                .expect("append");
            assert!(new[0].0 >= next, "seed {seed}: a UID is used again");
        }
    });
}

#[test]
fn a_power_cut_loses_nothing_acknowledged() {
    for seed in 0..60 {
        for model in [Model::Adversary, Model::Ordered] {
            for outcome in [Outcome::Lost, Outcome::Random] {
                run_power_cut(seed, model, outcome);
            }
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_between_two_processes() {
    for seed in 0..100 {
        run(seed, seed % 5 != 4, false);
    }
}

#[test]
fn nor_when_one_of_them_is_killed() {
    for seed in 100..200 {
        run(seed, true, true);
    }
}

/// CREATE, DELETE and RENAME against APPEND: what was acknowledged is in the mailbox with that UIDVALIDITY as long as it
/// exists, under whichever name.
fn run_mailboxes(seed: u8) {
    let disk = MemDisk::new();
    let stores = block_on(async {
        let first = open(&disk, Limits::small()).await;
        first.create_account(&alice(), NOW).await.expect("alice");
        [first, open(&disk.process(), Limits::small()).await]
    });
    let told: RefCell<Vec<(u32, String)>> = RefCell::default();
    let mut random = Random::from_seed([seed; 32]);
    let mut exec = Exec::new(Random::from_seed(random.seed()));
    for number in 0..4 {
        let (store, told) = (&stores[number % 2], &told);
        let mut random = Random::from_seed(random.seed());
        exec.spawn(async move {
            let names = ["a", "a/b", "c"];
            for n in 0..15 {
                let mut pick = || name(names[usize::try_from(random.below(3)).expect("small")]);
                let (one, two) = (pick(), pick());
                let result = match random.below(6) {
                    0 => store.create(&alice(), &one, &[], NOW).await,
                    1 => store.delete(&alice(), &one).await,
                    2 => store.rename(&alice(), &one, &two, NOW).await,
                    _ => {
                        let text = format!("{number} {n}");
                        let spool = spool(store, &text).await.expect("spool");
                        let messages = vec![(spool, Flags::default(), None)];
                        let appended = store
                            .append(&alice(), &one, messages, &Quota::UNLIMITED, NOW)
                            .await;
                        appended.map(|appended| told.borrow_mut().push((appended.uid_validity.0, text)))
                    }
                };
                if let Err(error) = result {
                    let usual = [
                        Refusal::NoSuchMailbox,
                        Refusal::MailboxExists,
                        Refusal::NotPossible,
                    ];
                    assert!(usual.contains(&error.refusal), "seed {seed}: {error}");
                }
            }
        });
    }
    exec.run().expect("nobody waits for ever");
    drop(exec);
    block_on(async {
        let store = open(&disk.process(), Limits::small()).await;
        let told = told.into_inner();
        let mut seen = BTreeSet::new();
        for entry in store.list(&alice()).await.expect("list") {
            if !entry.selectable {
                continue;
            }
            let status = store.status(&alice(), &entry.name).await.expect("status");
            assert!(
                seen.insert(status.uid_validity),
                "seed {seed}: a UIDVALIDITY twice"
            );
            let found = messages(&store, &alice(), entry.name.as_str()).await;
            let here = told
                .iter()
                .filter(|(validity, _)| *validity == status.uid_validity.0);
            for (_, text) in here {
                assert!(
                    found.contains_key(text),
                    "seed {seed}: {text} is lost from {}",
                    entry.name
                );
            }
        }
    });
}

#[test]
fn mailboxes_come_and_go_under_those_who_append() {
    for seed in 0..=255 {
        run_mailboxes(seed);
    }
}

/// Where a listing takes several calls, a message that is renamed meanwhile can be missing from it. It is copied all the
/// same.
fn run_copy(seed: u8) {
    let disk = MemDisk::new();
    disk.set_exact(false);
    let stores = block_on(async {
        let first = open(&disk, Limits::small()).await;
        first.create_account(&alice(), NOW).await.expect("alice");
        for n in 0..2 {
            append(&first, "INBOX", &n.to_string(), Flags::default())
                .await
                .expect("append");
        }
        [first, open(&disk.process(), Limits::small()).await]
    });
    let mut exec = Exec::new(Random::from_seed([seed; 32]));
    exec.spawn(async {
        let (mailbox, _) = select(&stores[0], "INBOX").await.expect("select");
        let trash = name("Trash");
        for n in 1..=20 {
            let (uids, _) = stores[0]
                .copy(&mailbox, &all(), &trash, &Quota::UNLIMITED, NOW)
                .await
                .expect("copy");
            assert_eq!(uids.source.len(), 2, "seed {seed}, COPY {n}");
        }
    });
    exec.spawn(async {
        let (mailbox, _) = select(&stores[1], "INBOX").await.expect("select");
        for n in 0..150 {
            let op = if n % 2 == 0 { FlagOp::Add } else { FlagOp::Remove };
            let change = change(op, SystemFlags::ANSWERED, &[]);
            stores[1]
                .store(&mailbox, &all(), &change, None)
                .await
                .expect("store");
        }
    });
    exec.run().expect("nobody waits for ever");
}

#[test]
fn a_message_that_changes_while_it_is_copied_is_copied() {
    for seed in 0..12 {
        run_copy(seed);
    }
}

/// Flags that another process gave, and synced, while a message is moved are in the target when MOVE is answered, also
/// after a power cut.
fn run_follow(seed: u8) -> usize {
    let disk = MemDisk::new();
    let stores = block_on(async {
        let first = open(&disk, Limits::small()).await;
        first.create_account(&alice(), NOW).await.expect("alice");
        for n in 0..3 {
            append(&first, "INBOX", &n.to_string(), Flags::default())
                .await
                .expect("append");
        }
        [first, open(&disk.process(), Limits::small()).await]
    });
    let answered = RefCell::new(Vec::new());
    let mut random = Random::from_seed([seed; 32]);
    let mut exec = Exec::new(Random::from_seed(random.seed()));
    exec.spawn(async {
        let (mailbox, _) = select(&stores[0], "INBOX").await.expect("select");
        let moved = stores[0].r#move(&mailbox, &all(), &name("Trash"), NOW).await;
        moved.expect("move");
    });
    exec.spawn(async {
        let (mailbox, _) = select(&stores[1], "INBOX").await.expect("select");
        let wait = random.below(80);
        for _ in 0..wait {
            rmail_store::mem::exec::Yield::default().await;
        }
        let add = change(FlagOp::Add, SystemFlags::FLAGGED, &[]);
        let stored = stores[1]
            .store(&mailbox, &all(), &add, None)
            .await
            .expect("store");
        stores[1].flush().await.expect("flush");
        let rows = stored.snapshot.rows.iter();
        let flagged = rows.filter(|row| row.flags.contains(SystemFlags::FLAGGED));
        answered
            .borrow_mut()
            .extend(flagged.map(|row| (row.uid.0 - 1).to_string()));
    });
    exec.run().expect("nobody waits for ever");
    drop(exec);
    let mut random = Random::from_seed([seed; 32]);
    disk.power_cut(Model::Adversary, Outcome::Lost, &mut random);
    block_on(async {
        let store = open(&disk.process(), Limits::small()).await;
        let found = everything(&store).await;
        let answered = answered.into_inner();
        for text in &answered {
            let flagged =
                |(_, flags, _): &(u32, SystemFlags, Vec<String>)| flags.contains(SystemFlags::FLAGGED);
            assert!(
                found[text].iter().any(flagged),
                "seed {seed}: {text} has lost its flag"
            );
        }
        answered.len()
    })
}

#[test]
fn a_move_takes_along_what_others_change_meanwhile() {
    let answered: usize = (0..200).map(run_follow).sum();
    assert!(answered > 50, "{answered}");
}
