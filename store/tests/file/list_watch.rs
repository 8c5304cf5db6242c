//! Changes of an account's list by another process, and changes of mailboxes that are watched but not open, are heard, and
//! where they are not, they are found.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use crate::common::*;
use futures_lite::future::block_on;
use rmail_core::imap::server::MailboxEntry;
use rmail_core::limits::Limits;
use rmail_core::machine::{LOOKS_LATER, Scope};
use rmail_core::mailbox::{Flags, MailboxRef};
use rmail_store::MailStore;
use rmail_store::file::Options;
use rmail_store::hub::Watch;
use rmail_store::mem::{Fault, MemDisk};

const SHARED: Options = Options {
    flag_sync_ms: 1_000,
    shared_by_hosts: true,
    parsed_cache: true,
};

/// What is watched, as a session does it: it watches, then looks.
struct Listener {
    woken: Arc<AtomicUsize>,
    _watch: Watch,
}

impl Listener {
    fn begin(store: &Store, scope: Scope) -> Self {
        let woken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&woken);
        let wake = Arc::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let watch = store.hub().watch(scope, LOOKS_LATER, wake);
        Self { woken, _watch: watch }
    }

    /// Of the list; and what it is.
    async fn of_list(store: &Store) -> (Self, Vec<MailboxEntry>) {
        let listener = Self::begin(store, Scope::List(alice()));
        let list = store.list(&alice()).await.expect("list");
        (listener, list)
    }

    fn woken(&self) -> usize {
        self.woken.swap(0, Ordering::Relaxed)
    }
}

/// Looks at what has been heard, if anything.
async fn hear(store: &Store) {
    if let Poll::Ready(changes) = pin!(store.changes()).poll(&mut Context::from_waker(Waker::noop())) {
        store.look_at(&changes).await;
    }
}

async fn two(options: Options) -> (MemDisk, Store, Store) {
    let disk = MemDisk::new();
    let one = open_with(&disk, Limits::small(), options).await;
    one.create_account(&alice(), NOW).await.expect("alice");
    let two = open_with(&disk.process(), Limits::small(), options).await;
    (disk, one, two)
}

/// Changes the list in some way, each round in another.
async fn change(store: &Store, round: usize) {
    let (a, b) = (name("a"), name("b"));
    match round % 5 {
        0 => store.create(&alice(), &a, &[], NOW).await.expect("create"),
        1 => store.rename(&alice(), &a, &b, NOW).await.expect("rename"),
        2 => store.subscribe(&alice(), &b, true).await.expect("subscribe"),
        3 => store.delete(&alice(), &b).await.expect("delete"),
        _ => store.subscribe(&alice(), &b, false).await.expect("unsubscribe"),
    }
}

#[test]
fn changes_of_the_list_by_another_process_are_heard_once_each() {
    block_on(async {
        let (_disk, ours, theirs) = two(Options::default()).await;
        let (listener, mut before) = Listener::of_list(&ours).await;
        assert!(ours.hub().hears(|_| true));
        for round in 0..10 {
            change(&theirs, round).await;
            hear(&ours).await;
            assert_eq!(listener.woken(), 1, "round {round}");
            let now = ours.list(&alice()).await.expect("list");
            assert_ne!(now, before, "round {round}");
            before = now;
            ours.poll_watched().await;
            hear(&ours).await;
            assert_eq!(listener.woken(), 0, "round {round}: told already");
        }
        change(&ours, 0).await;
        assert_eq!(listener.woken(), 1);
        hear(&ours).await;
        ours.poll_watched().await;
        assert_eq!(listener.woken(), 0, "our own change was told");
    });
}

#[test]
fn a_second_listener_that_looks_first_does_not_keep_the_news_from_the_others() {
    block_on(async {
        let (_disk, ours, theirs) = two(SHARED).await;
        let (first, _) = Listener::of_list(&ours).await;
        change(&theirs, 0).await;
        let (_second, list) = Listener::of_list(&ours).await;
        assert!(list.iter().any(|entry| entry.name == name("a")));
        assert_eq!(first.woken(), 1);
    });
}

#[test]
fn hosts_that_share_a_mail_root_find_changes_of_the_list_by_looking() {
    block_on(async {
        let (disk, ours, theirs) = two(SHARED).await;
        let (listener, _) = Listener::of_list(&ours).await;
        assert_eq!(disk.watches(), 0);
        for round in 0..5 {
            change(&theirs, round).await;
            ours.poll_watched().await;
            assert_eq!(listener.woken(), 1, "round {round}");
            ours.poll_watched().await;
            assert_eq!(listener.woken(), 0, "round {round}");
        }
    });
}

#[test]
fn who_dies_while_the_list_changes_is_found_by_the_poll() {
    block_on(async {
        for round in [0, 1, 2, 3] {
            let mut changed = 0;
            for call in 1.. {
                let (disk, ours, _) = two(Options::default()).await;
                for earlier in 0..round {
                    change(&ours, earlier).await;
                }
                let (listener, before) = Listener::of_list(&ours).await;
                let process = disk.process();
                let theirs = open(&process, Limits::small()).await;
                process.fault(process.calls() + call, Fault::Crash);
                let done = match round {
                    0 => theirs.create(&alice(), &name("a"), &[], NOW).await,
                    1 => theirs.rename(&alice(), &name("a"), &name("b"), NOW).await,
                    2 => theirs.subscribe(&alice(), &name("b"), true).await,
                    _ => theirs.delete(&alice(), &name("b")).await,
                };
                drop(theirs);
                hear(&ours).await;
                ours.poll_watched().await;
                let woken = listener.woken();
                let after = ours.list(&alice()).await.expect("list");
                assert!(after == before || woken > 0, "call {call}: nobody was told");
                changed += usize::from(after != before);
                ours.poll_watched().await;
                assert_eq!(listener.woken(), 0, "call {call}: told again and again");
                if done.is_ok() {
                    break;
                }
            }
            assert!(changed > 0, "round {round}");
        }
    });
}

/// More mailboxes than a process keeps open, each with a message, and known to STATUS.
async fn many(store: &Store, count: usize) {
    for number in 0..count {
        let mailbox = format!("m{number}");
        let created = store.create(&alice(), &name(&mailbox), &[], NOW).await;
        created.expect("create");
        append(store, &mailbox, "one", Flags::default())
            .await
            .expect("append");
        store.status(&alice(), &name(&mailbox)).await.expect("status");
    }
}

#[test]
fn mailboxes_that_are_watched_but_not_open_are_heard_all_the_same() {
    block_on(async {
        for options in [Options::default(), SHARED] {
            let (_disk, ours, theirs) = two(options).await;
            many(&ours, 140).await;
            let mut listeners = Vec::new();
            for number in 0..140 {
                let mailbox = name(&format!("m{number}"));
                let list = ours.list(&alice()).await.expect("list");
                let entry = list.into_iter().find(|entry| entry.name == mailbox);
                let reference = MailboxRef {
                    account: alice(),
                    id: entry.expect("listed").id.expect("a mailbox"),
                };
                listeners.push(Listener::begin(&ours, Scope::Mailbox(reference)));
                let status = ours.status(&alice(), &mailbox).await.expect("status");
                assert_eq!(status.messages, 1);
            }
            for number in [0, 70, 139] {
                append(&theirs, &format!("m{number}"), "two", Flags::default())
                    .await
                    .expect("append");
                if options.shared_by_hosts {
                    ours.poll_watched().await;
                } else {
                    hear(&ours).await;
                }
                assert!(listeners[number].woken() > 0, "m{number}");
                let mailbox = name(&format!("m{number}"));
                let status = ours.status(&alice(), &mailbox).await.expect("status");
                assert_eq!(status.messages, 2);
            }
            if !options.shared_by_hosts {
                ours.poll_watched().await;
                let woken = |(number, listener): (usize, &Listener)| (listener.woken() > 0).then_some(number);
                let again: Vec<usize> = listeners.iter().enumerate().filter_map(woken).collect();
                assert!(
                    again.iter().all(|number| [0, 70, 139].contains(number)),
                    "{again:?}"
                );
            }
        }
    });
}
