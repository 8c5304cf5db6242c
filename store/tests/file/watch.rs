//! What other processes change is heard, and where it is not, it is found.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use crate::common::*;
use futures_lite::future::block_on;
use rmail_core::limits::Limits;
use rmail_core::machine::Scope;
use rmail_core::mailbox::{FlagOp, Flags, MailboxRef, ModSeq, Quota, SystemFlags};
use rmail_core::random::Random;
use rmail_store::MailStore;
use rmail_store::disk::{Changes, Disk as _};
use rmail_store::file::Options;
use rmail_store::hub::Watch;
use rmail_store::mem::exec::Exec;
use rmail_store::mem::{MemDisk, Model, Outcome};

/// A mailbox that is selected and watched, as an idling session does it.
struct Idle {
    mailbox: MailboxRef,
    woken: Arc<AtomicUsize>,
    _watch: Watch,
}

impl Idle {
    async fn begin(store: &Store, mailbox: &str) -> Self {
        let (mailbox, snapshot) = select(store, mailbox).await.expect("select");
        let woken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&woken);
        let wake = Arc::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let watch = store
            .hub()
            .watch(Scope::Mailbox(mailbox.clone()), snapshot.modseq, wake);
        store.listen(&mailbox);
        Self {
            mailbox,
            woken,
            _watch: watch,
        }
    }

    /// How often it was woken since it was last asked.
    fn woken(&self) -> usize {
        self.woken.swap(0, Ordering::Relaxed)
    }
}

/// What has been heard, if anything.
fn heard(store: &Store) -> Option<Changes> {
    match pin!(store.changes()).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(changes) => Some(changes),
        Poll::Pending => None,
    }
}

/// Looks at what has been heard; whether that was anything.
async fn hear(store: &Store) -> bool {
    let heard = heard(store);
    if let Some(changes) = &heard {
        store.look_at(changes).await;
    }
    heard.is_some()
}

async fn two(options: Options) -> (MemDisk, Store, Store) {
    let disk = MemDisk::new();
    let one = open_with(&disk, Limits::small(), options).await;
    one.create_account(&alice(), NOW).await.expect("alice");
    append(&one, "INBOX", "first", Flags::default())
        .await
        .expect("append");
    let two = open_with(&disk.process(), Limits::small(), options).await;
    (disk, one, two)
}

#[test]
fn every_kind_of_change_by_another_process_is_heard() {
    block_on(async {
        let (_, ours, theirs) = two(Options::default()).await;
        let idle = Idle::begin(&ours, "INBOX").await;
        assert!(!hear(&ours).await, "nobody has done anything since");
        let (mailbox, _) = select(&theirs, "INBOX").await.expect("select");
        // Their SELECT has claimed \Recent.
        hear(&ours).await;
        assert_eq!(idle.woken(), 0, "which is no news");

        let rows = |expected: usize| {
            let (ours, idle) = (&ours, &idle);
            async move {
                assert!(hear(ours).await);
                assert_eq!(idle.woken(), 1);
                assert!(!hear(ours).await, "told once");
                let snapshot = ours.snapshot(&idle.mailbox).await.expect("snapshot");
                assert_eq!(snapshot.rows.len(), expected);
                // The look itself wrote nothing that counts.
                hear(ours).await;
                assert_eq!(idle.woken(), 1, "those who watch with us hear of what was found");
            }
        };
        deliver(&theirs, &[alice()], "second").await.expect("deliver");
        rows(2).await;
        let deleted = change(FlagOp::Add, SystemFlags::DELETED, &["word"]);
        theirs
            .store(&mailbox, &set(&[1]), &deleted, None)
            .await
            .expect("store");
        rows(2).await;
        theirs.expunge(&mailbox, None).await.expect("expunge");
        rows(1).await;
        theirs
            .copy(&mailbox, &all(), &inbox(), &Quota::UNLIMITED, NOW)
            .await
            .expect("copy");
        rows(2).await;
        theirs
            .r#move(&mailbox, &all(), &name("Trash"), NOW)
            .await
            .expect("move");
        assert!(hear(&ours).await);
        assert!(
            ours.snapshot(&idle.mailbox)
                .await
                .expect("snapshot")
                .rows
                .is_empty()
        );
    });
}

#[test]
fn a_mailbox_that_another_process_deletes_is_told_of() {
    block_on(async {
        let (_, ours, theirs) = two(Options::default()).await;
        let idle = Idle::begin(&ours, "Trash").await;
        theirs.delete(&alice(), &name("Trash")).await.expect("delete");
        assert!(hear(&ours).await);
        assert!(idle.woken() > 0);
        assert!(ours.snapshot(&idle.mailbox).await.is_err());
    });
}

#[test]
fn our_own_changes_cost_one_read() {
    block_on(async {
        let (disk, ours, _) = two(Options::default()).await;
        let idle = Idle::begin(&ours, "INBOX").await;
        deliver(&ours, &[alice()], "second").await.expect("deliver");
        assert_eq!(idle.woken(), 1, "announced by the delivery");
        let heard = heard(&ours).expect("our own writes are told too");
        disk.record();
        ours.look_at(&heard).await;
        let calls: Vec<String> = disk
            .take_records()
            .into_iter()
            .map(|record| format!("{:?}", record.call))
            .collect();
        assert_eq!(calls, ["ReadAt"]);
        assert_eq!(idle.woken(), 0);
    });
}

#[test]
fn a_watch_lasts_as_long_as_somebody_watches() {
    block_on(async {
        let (disk, ours, theirs) = two(Options::default()).await;
        let first = Idle::begin(&ours, "INBOX").await;
        let second = Idle::begin(&ours, "INBOX").await;
        let other = Idle::begin(&ours, "Trash").await;
        assert_eq!(disk.watches(), 2);
        drop(first);
        assert_eq!(disk.watches(), 2);
        drop(second);
        assert_eq!(disk.watches(), 1);
        deliver(&theirs, &[alice()], "second").await.expect("deliver");
        assert!(!hear(&ours).await, "nobody watches INBOX");
        drop(other);
        assert_eq!(disk.watches(), 0);
        let again = Idle::begin(&ours, "INBOX").await;
        deliver(&theirs, &[alice()], "third").await.expect("deliver");
        assert!(hear(&ours).await);
        assert_eq!(again.woken(), 1);
    });
}

#[test]
fn after_an_overflow_everything_is_looked_at() {
    block_on(async {
        let (disk, ours, theirs) = two(Options::default()).await;
        let (inbox, trash) = (
            Idle::begin(&ours, "INBOX").await,
            Idle::begin(&ours, "Trash").await,
        );
        append(&theirs, "INBOX", "second", Flags::default())
            .await
            .expect("append");
        append(&theirs, "Trash", "second", Flags::default())
            .await
            .expect("append");
        disk.overflow();
        assert_eq!(heard(&ours), Some(Changes::All));
        ours.look_at(&Changes::All).await;
        assert_eq!((inbox.woken(), trash.woken()), (1, 1));
        assert_eq!(heard(&ours), None);
    });
}

#[test]
fn what_cannot_be_heard_is_found_by_the_poll_and_heard_again_later() {
    block_on(async {
        let (disk, ours, theirs) = two(Options::default()).await;
        disk.set_watches(1);
        let (inbox, trash) = (
            Idle::begin(&ours, "INBOX").await,
            Idle::begin(&ours, "Trash").await,
        );
        assert!(!ours.hub().hears(|_| true));
        append(&theirs, "Trash", "second", Flags::default())
            .await
            .expect("append");
        assert!(!hear(&ours).await);
        ours.poll_watched().await;
        assert_eq!((inbox.woken(), trash.woken()), (0, 1));
        disk.set_watches(2);
        ours.poll_watched().await;
        assert!(ours.hub().hears(|_| true));
        append(&theirs, "Trash", "third", Flags::default())
            .await
            .expect("append");
        assert!(hear(&ours).await);
        assert_eq!(trash.woken(), 1);
    });
}

#[test]
fn hosts_that_share_a_mail_root_only_look() {
    block_on(async {
        let shared = Options {
            shared_by_hosts: true,
            ..Options::default()
        };
        let (disk, ours, theirs) = two(shared).await;
        let idle = Idle::begin(&ours, "INBOX").await;
        assert_eq!(disk.watches(), 0);
        append(&theirs, "INBOX", "second", Flags::default())
            .await
            .expect("append");
        assert!(!hear(&ours).await);
        ours.poll_watched().await;
        assert_eq!(idle.woken(), 1);
    });
}

#[test]
fn a_writer_that_died_half_way_is_mended_by_the_poll() {
    block_on(async {
        let (disk, ours, _) = two(Options::default()).await;
        let mut unheard = 0;
        for call in 1.. {
            let idle = Idle::begin(&ours, "INBOX").await;
            let before = ours.snapshot(&idle.mailbox).await.expect("snapshot").rows.len();
            let process = disk.process();
            let theirs = open(&process, Limits::small()).await;
            process.fault(process.calls() + call, rmail_store::mem::Fault::Crash);
            let done = append(&theirs, "INBOX", "more", Flags::default()).await;
            drop(theirs);
            hear(&ours).await;
            // What was heard first is at most the beginning.
            ours.poll_watched().await;
            let after = ours.snapshot(&idle.mailbox).await.expect("snapshot").rows.len();
            assert!(after == before || after == before + 1, "call {call}");
            assert!(
                after == before || idle.woken() > 0,
                "call {call}: nobody was told"
            );
            unheard += usize::from(after == before);
            if done.is_ok() {
                assert_eq!(after, before + 1);
                break;
            }
        }
        assert!(unheard > 3);
    });
}

#[test]
fn a_state_that_was_replaced_is_watched_anew() {
    block_on(async {
        let (disk, ours, theirs) = two(Options::default()).await;
        let idle = Idle::begin(&ours, "INBOX").await;
        let dir = dir_of(&disk, "INBOX").await;
        disk.unlink(&dir, "state").await.expect("unlink");
        deliver(&theirs, &[alice()], "second").await.expect("deliver");
        // The first poll finds the other file, the next listens to it at the latest.
        ours.poll_watched().await;
        assert_eq!(idle.woken(), 1);
        ours.poll_watched().await;
        while hear(&ours).await {}
        idle.woken();
        deliver(&theirs, &[alice()], "third").await.expect("deliver");
        assert!(hear(&ours).await);
        assert_eq!(idle.woken(), 1);
    });
}

#[test]
fn a_power_cut_ends_all_watches() {
    block_on(async {
        let (disk, ours, _) = two(Options::default()).await;
        let idle = Idle::begin(&ours, "INBOX").await;
        disk.power_cut(Model::Adversary, Outcome::Lost, &mut Random::from_seed([1; 32]));
        assert_eq!(disk.watches(), 0);
        let (again, other) = (disk.process(), disk.process());
        let (ours, theirs) = (
            open(&again, Limits::small()).await,
            open(&other, Limits::small()).await,
        );
        drop(idle);
        let idle = Idle::begin(&ours, "INBOX").await;
        deliver(&theirs, &[alice()], "more").await.expect("deliver");
        assert!(hear(&ours).await);
        assert!(idle.woken() > 0);
    });
}

/// Whatever the interleaving, a process that only listens ends with what the others have made.
#[test]
fn a_listener_misses_nothing_in_any_interleaving() {
    for seed in 0..60 {
        let mut random = Random::from_seed([seed; 32]);
        let disk = MemDisk::new();
        let (ours, writers) = block_on(async {
            let set_up = open(&disk, Limits::small()).await;
            set_up.create_account(&alice(), NOW).await.expect("alice");
            let ours = open(&disk.process(), Limits::small()).await;
            let mut writers = Vec::new();
            for _ in 0..2 {
                writers.push(open(&disk.process(), Limits::small()).await);
            }
            (ours, writers)
        });
        let idle = block_on(Idle::begin(&ours, "INBOX"));
        let mut exec = Exec::new(Random::from_seed(random.seed()));
        let seen = std::cell::Cell::new(ModSeq(0));
        let listener = exec.spawn(async {
            loop {
                let changes = ours.changes().await;
                ours.look_at(&changes).await;
                if idle.woken() > 0 {
                    seen.set(ours.snapshot(&idle.mailbox).await.expect("snapshot").modseq);
                }
            }
        });
        for (n, writer) in writers.iter().enumerate() {
            exec.spawn(async move {
                for m in 0..4 {
                    append(writer, "INBOX", &format!("{n} {m}"), Flags::default())
                        .await
                        .expect("append");
                }
            });
        }
        // Until only the listener is left, and has nothing to do.
        while exec.step() {}
        assert_eq!(exec.len(), 1, "seed {seed}: only the listener waits");
        exec.cancel(listener);
        drop(exec);
        let now = block_on(writers[0].snapshot(&idle.mailbox_in(&writers[0]))).expect("snapshot");
        assert_eq!(now.rows.len(), 8);
        assert_eq!(seen.get(), now.modseq, "seed {seed}");
    }
}

impl Idle {
    /// The same mailbox, opened by another store.
    fn mailbox_in(&self, store: &Store) -> MailboxRef {
        let (mailbox, _) = block_on(select(store, "INBOX")).expect("select");
        assert_eq!(mailbox, self.mailbox);
        mailbox
    }
}
