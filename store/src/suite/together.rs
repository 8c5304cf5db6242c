//! Operations that meet. Each test runs on several stores, with another order of things on each.

use core::future::{Future, poll_fn};
use core::task::{Poll, Waker};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rmail_core::limits::Limits;
use rmail_core::machine::Scope;
use rmail_core::mailbox::{FlagOp, Flags, MailboxRef, Quota, SystemFlags, UidValidity};
use rmail_core::refusal::Refusal;

use super::words::{FREE, NOW, User, alice_of, all, change, flags, name, pairs, refusal, set};
use super::{Backend, Job};
use crate::mailstore::MailStore;
use crate::mem::exec::Yield;

fn job<'a, F: Future<Output = ()> + 'a>(work: impl FnOnce() -> F + Send + 'a) -> Job<'a> {
    Box::new(move || Box::pin(work()))
}

/// Runs a test for every seed: `prepare` on a new store, then the jobs that `jobs` gives, then `look`.
fn meet<B: Backend, T: Sync>(
    backend: &B,
    prepare: impl AsyncFn(&User<B::Store>) -> T,
    jobs: impl for<'a> Fn(&'a User<B::Store>, &'a T) -> Vec<Job<'a>>,
    look: impl AsyncFn(&User<B::Store>, &T),
) {
    for seed in 0..backend.seeds() {
        let alice = alice_of(backend, &backend.open(Limits::small()));
        let what = backend.block_on(prepare(&alice));
        backend.together(seed, jobs(&alice, &what));
        backend.block_on(look(&alice, &what));
    }
}

async fn add<S: MailStore>(alice: &User<S>, mailbox: &str, count: u32) -> MailboxRef {
    for number in 1..=count {
        alice.append(mailbox, &number.to_string()).await;
    }
    alice.select(mailbox).await
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

/// Every APPEND that was answered is there under the UID that it was told, and no UID is told twice.
pub fn appends_at_the_same_time_all_come<B: Backend>(backend: &B) {
    meet(
        backend,
        async |_| Mutex::new(Vec::new()),
        |alice, told| {
            let work = |writer: u32| {
                job(async move || {
                    for number in 0..3 {
                        let texts = [format!("{writer} {number} a"), format!("{writer} {number} b")];
                        let news = [0, 1].map(|at: usize| (texts[at].as_str(), Flags::default()));
                        let uids = alice.try_append("INBOX", &news).await.expect("append");
                        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                        told.extend(uids.into_iter().zip(texts));
                    }
                })
            };
            (0..3).map(work).collect()
        },
        async |alice, told| {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner).clone();
            told.sort();
            let seen = alice.messages("INBOX").await;
            let seen: Vec<(u32, String)> = seen
                .into_iter()
                .map(|message| (message.uid, message.text))
                .collect();
            assert_eq!((seen.len(), seen), (18, told));
        },
    );
}

/// Whoever looks while others write sees MODSEQ and UIDNEXT ascend, and no message come below a UIDNEXT or with a MODSEQ
/// that was told before.
pub fn visible_uids_ascend<B: Backend>(backend: &B) {
    meet(
        backend,
        async |alice| (add(alice, "INBOX", 2).await, AtomicU32::new(3)),
        |alice, (inbox, writers)| {
            let ended = || writers.fetch_sub(1, Ordering::Relaxed);
            let append = job(async move || {
                for _ in 0..5 {
                    alice.append("INBOX", "x").await;
                }
                ended();
            });
            let deliver = job(async move || {
                for _ in 0..5 {
                    alice.deliver(&[], "y").await.expect("deliver");
                }
                ended();
            });
            let copy = job(async move || {
                for _ in 0..3 {
                    alice.copy(inbox, &[1, 2], "INBOX").await.expect("copy");
                    alice.mark(inbox, &[2]).await;
                }
                ended();
            });
            let observe = job(async move || {
                let mut last = alice.snapshot(inbox).await;
                while writers.load(Ordering::Relaxed) > 0 {
                    let now = alice.snapshot(inbox).await;
                    assert!(now.modseq >= last.modseq && now.uid_next >= last.uid_next);
                    if now.modseq == last.modseq {
                        assert_eq!(now, last);
                    }
                    for row in now.rows.iter() {
                        let known = last.rows.find(row.uid).map(|(_, row)| row);
                        assert!(known.is_some() || row.uid >= last.uid_next);
                        assert!(known == Some(row) || row.modseq > last.modseq);
                    }
                    last = now;
                    Yield::default().await;
                }
            });
            vec![append, observe, deliver, copy]
        },
        async |alice, _| assert_eq!(alice.status("INBOX").await.messages, 18),
    );
}

/// Flags that several add to the same messages are all there in the end.
pub fn flags_of_many_are_not_lost<B: Backend>(backend: &B) {
    meet(
        backend,
        async |alice| add(alice, "INBOX", 6).await,
        |alice, inbox| {
            let work = |writer: u8| {
                job(async move || {
                    let word = format!("k{writer}");
                    let own = SystemFlags(1 << writer);
                    for op in [FlagOp::Add, FlagOp::Remove, FlagOp::Add] {
                        alice
                            .store_flags(inbox, &[1, 2, 3, 4, 5, 6], &change(op, own, &[&word]))
                            .await;
                    }
                })
            };
            (0..4).map(work).collect()
        },
        async |alice, _| {
            for message in alice.messages("INBOX").await {
                assert_eq!(message.system, SystemFlags(0b1111));
                assert_eq!(message.keywords, ["k0", "k1", "k2", "k3"]);
            }
        },
    );
}

/// Of several that change a message on condition that nobody else has, one wins.
pub fn one_of_two_conditional_changes_wins<B: Backend>(backend: &B) {
    meet(
        backend,
        async |alice| {
            let inbox = add(alice, "INBOX", 1).await;
            (alice.snapshot(&inbox).await.modseq, inbox, AtomicU32::new(0))
        },
        |alice, (since, inbox, winners)| {
            let work = |writer: u32| {
                job(async move || {
                    let mine = change(FlagOp::Add, SystemFlags::SEEN, &[&format!("k{writer}")]);
                    let stored = alice.store.store(inbox, &set(&[1]), &mine, Some(*since)).await;
                    if stored.expect("store").modified.is_empty() {
                        winners.fetch_add(1, Ordering::Relaxed);
                    }
                })
            };
            (0..3).map(work).collect()
        },
        async |alice, (.., winners)| {
            assert_eq!(winners.load(Ordering::Relaxed), 1);
            assert_eq!(alice.messages("INBOX").await[0].keywords.len(), 1);
        },
    );
}

/// What two move to and fro between two mailboxes is in one of them in the end.
pub fn moves_to_and_fro_lose_nothing<B: Backend>(backend: &B) {
    meet(
        backend,
        async |alice| (add(alice, "INBOX", 5).await, alice.select("Archive").await),
        |alice, (inbox, archive)| {
            let mover = |from: &'_ MailboxRef, to: &'static str| {
                let from = from.clone();
                job(async move || {
                    for _ in 0..3 {
                        let moved = alice.store.r#move(&from, &all(), &name(to), NOW).await;
                        moved.expect("move");
                    }
                })
            };
            vec![mover(inbox, "Archive"), mover(archive, "INBOX")]
        },
        async |alice, _| {
            let mut texts = alice.texts("INBOX").await;
            texts.extend(alice.texts("Archive").await);
            assert_eq!(sorted(texts), ["1", "2", "3", "4", "5"]);
        },
    );
}

/// Flags that a message gets while it is moved are not lost, neither those that it gets in the source nor those in the
/// target, and it is in one of the two in the end.
pub fn flags_given_during_a_move_go_along<B: Backend>(backend: &B) {
    meet(
        backend,
        async |alice| {
            let inbox = add(alice, "INBOX", 5).await;
            (inbox, alice.select("Archive").await, Mutex::new(BTreeSet::new()))
        },
        |alice, (inbox, archive, told)| {
            let mover = job(async move || {
                let moved = alice.store.r#move(inbox, &all(), &name("Archive"), NOW).await;
                moved.expect("move");
            });
            let flagger = |mailbox: &'_ MailboxRef, word: &'static str| {
                let mailbox = mailbox.clone();
                job(async move || {
                    let mine = change(FlagOp::Add, SystemFlags::FLAGGED, &[word]);
                    for _ in 0..3 {
                        let stored = alice.store.store(&mailbox, &all(), &mine, None).await;
                        let snapshot = stored.expect("store").snapshot;
                        for row in snapshot.rows.iter() {
                            let words = snapshot.keywords.of(row.keywords);
                            let text = alice.text(&mailbox, row.uid.0).await;
                            if words.into_iter().any(|known| known.as_str() == word) {
                                let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                                told.extend(text.map(|text| (text, word)));
                            }
                        }
                        Yield::default().await;
                    }
                })
            };
            vec![mover, flagger(inbox, "source"), flagger(archive, "target")]
        },
        async |alice, (.., told)| {
            let mut messages = alice.messages("INBOX").await;
            messages.extend(alice.messages("Archive").await);
            assert_eq!(messages.len(), 5);
            for (text, word) in told.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                let message = messages.iter().find(|message| message.text == *text);
                let words = &message.expect("it is somewhere").keywords;
                assert!(words.iter().any(|known| known == word), "{text} has lost {word}");
            }
        },
    );
}

/// A copy that was told is there, whatever became of its original meanwhile.
pub fn copies_and_expunges_meet<B: Backend>(backend: &B) {
    meet(
        backend,
        async |alice| (add(alice, "INBOX", 6).await, Mutex::new(Vec::new())),
        |alice, (inbox, told)| {
            let copier = job(async move || {
                for _ in 0..3 {
                    let copied = alice
                        .store
                        .copy(inbox, &all(), &name("Archive"), &FREE, NOW)
                        .await;
                    let copied = copied.expect("copy").0;
                    told.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .extend(pairs(&copied));
                }
            });
            let expunger = job(async move || {
                for uid in [6, 1, 3] {
                    alice.expunge(inbox, &[uid]).await;
                }
            });
            let flagger = job(async move || {
                for uid in [2, 1, 5] {
                    alice
                        .store_flags(inbox, &[uid], &change(FlagOp::Add, SystemFlags::SEEN, &["k"]))
                        .await;
                }
            });
            vec![copier, expunger, flagger]
        },
        async |alice, (_, told)| {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner).clone();
            told.sort_by_key(|(_, target)| *target);
            let copies = alice.messages("Archive").await;
            let seen: Vec<(u32, u32)> = copies
                .into_iter()
                .map(|copy| (copy.text.parse().expect("a number"), copy.uid))
                .collect();
            assert_eq!(seen, told);
            assert_eq!(alice.texts("INBOX").await, ["2", "4", "5"]);
        },
    );
}

/// Of several that create the same mailbox one does.
pub fn one_of_two_creates_wins<B: Backend>(backend: &B) {
    meet(
        backend,
        async |_| AtomicU32::new(0),
        |alice, winners| {
            let work = |_| {
                job(async move || match alice.create("a/b").await {
                    Ok(()) => {
                        winners.fetch_add(1, Ordering::Relaxed);
                        alice.append("a/b", "mine").await;
                    }
                    Err(error) => assert_eq!(error.refusal, Refusal::MailboxExists),
                })
            };
            (0..3).map(work).collect()
        },
        async |alice, winners| {
            assert_eq!(winners.load(Ordering::Relaxed), 1);
            assert_eq!(alice.texts("a/b").await, ["mine"]);
        },
    );
}

/// While a mailbox is renamed to and fro, what goes to it by name arrives or is refused, and who has it selected goes on.
pub fn renames_and_deliveries_meet<B: Backend>(backend: &B) {
    meet(
        backend,
        async |alice| {
            alice.create("a").await.expect("create");
            (add(alice, "a", 2).await, AtomicU32::new(2))
        },
        |alice, (a, count)| {
            let renamer = job(async move || {
                for _ in 0..2 {
                    alice.rename("a", "z/y").await.expect("rename");
                    alice.rename("z/y", "a").await.expect("rename");
                }
            });
            let writer = job(async move || {
                for _ in 0..6 {
                    match alice.try_append("a", &[("x", Flags::default())]).await {
                        Ok(_) => drop(count.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => assert_eq!(error.refusal, Refusal::NoSuchMailbox, "{error}"),
                    }
                }
            });
            let flagger = job(async move || {
                for word in ["k", "l", "m"] {
                    let added = change(FlagOp::Add, SystemFlags::SEEN, &[word]);
                    alice.store_flags(a, &[1, 2], &added).await;
                    assert_eq!(alice.text(a, 1).await.as_deref(), Some("1"));
                }
            });
            vec![renamer, writer, flagger]
        },
        async |alice, (_, count)| {
            let messages = alice.messages("a").await;
            assert_eq!(messages.len() as u32, count.load(Ordering::Relaxed));
            assert_eq!(messages[1].keywords, ["k", "l", "m"]);
        },
    );
}

/// While a mailbox is deleted and made again, a message that goes to it by name is in the one that was told, or refused.
pub fn deletes_and_appends_meet<B: Backend>(backend: &B) {
    meet(
        backend,
        async |alice| {
            alice.create("a").await.expect("create");
            Mutex::new(Vec::<UidValidity>::new())
        },
        |alice, told| {
            let deleter = job(async move || {
                for _ in 0..3 {
                    alice.delete("a").await.expect("delete");
                    alice.create("a").await.expect("create");
                }
            });
            let writer = |_| {
                job(async move || {
                    for _ in 0..5 {
                        let news = vec![(alice.spool("x").await, flags(SystemFlags::SEEN, &["k"]), None)];
                        match alice
                            .store
                            .append(&alice.account, &name("a"), news, &FREE, NOW)
                            .await
                        {
                            Ok(appended) => {
                                let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                                told.push(appended.uid_validity);
                            }
                            Err(error) => assert_eq!(error.refusal, Refusal::NoSuchMailbox, "{error}"),
                        }
                    }
                })
            };
            let mut jobs: Vec<Job<'_>> = (0..2).map(writer).collect();
            jobs.push(deleter);
            jobs
        },
        async |alice, told| {
            let told = told.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let status = alice.status("a").await;
            let here = told.iter().filter(|told| **told == status.uid_validity);
            assert_eq!(status.messages, here.count() as u64);
            assert_eq!(alice.messages("a").await.len() as u64, status.messages);
        },
    );
}

/// A flag that a wake sets, and who waits for it.
#[derive(Default)]
struct News {
    dirty: AtomicBool,
    waiting: Mutex<Option<Waker>>,
}

impl News {
    fn set(&self) {
        self.dirty.store(true, Ordering::SeqCst);
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    async fn wait(&self) {
        poll_fn(|context| {
            let waker = Some(context.waker().clone());
            *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = waker;
            if self.dirty.swap(false, Ordering::SeqCst) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

/// A session that looks, watches from there, and looks again only when it is woken, has seen everything in the end:
/// nothing is lost between the look and the watch. (If an announcement is lost, this test waits for ever, or is told that
/// it would.)
pub fn a_watcher_ends_up_with_the_truth<B: Backend>(backend: &B) {
    meet(
        backend,
        async |alice| (add(alice, "INBOX", 3).await, AtomicU32::new(2)),
        |alice, (inbox, writers)| {
            let last_one = move || async move {
                if writers.fetch_sub(1, Ordering::SeqCst) == 1 {
                    alice.append("INBOX", "last").await;
                }
            };
            let writer = job(async move || {
                alice.append("INBOX", "x").await;
                alice.expunge(inbox, &[2]).await;
                alice.r#move(inbox, &[1], "Archive").await.expect("move");
                last_one().await;
            });
            let other = job(async move || {
                alice.deliver(&[], "y").await.expect("deliver");
                alice.mark(inbox, &[3]).await;
                last_one().await;
            });
            let session = |_| {
                job(async move || {
                    let news = Arc::new(News::default());
                    let mut seen = alice.snapshot(inbox).await;
                    loop {
                        let wake = Arc::clone(&news);
                        let wake = Arc::new(move || wake.set());
                        let scope = Scope::Mailbox(inbox.clone());
                        let watch = alice.store.hub().watch(scope, seen.modseq, wake);
                        // What came between the look and the watch was announced to nobody: look once more, if it is cheap.
                        let now = alice.store.snapshot_now(inbox);
                        let late = now.is_none_or(|now| now.modseq > seen.modseq);
                        let row = seen.rows.iter().last().map(|row| row.uid.0);
                        let text = alice.text(inbox, row.unwrap_or_default()).await;
                        if text.as_deref() == Some("last") {
                            break;
                        }
                        if !late {
                            news.wait().await;
                        }
                        Yield::default().await;
                        drop(watch);
                        seen = alice.snapshot(inbox).await;
                    }
                })
            };
            let mut jobs: Vec<Job<'_>> = (0..2).map(session).collect();
            jobs.extend([writer, other]);
            jobs
        },
        async |alice, _| assert_eq!(alice.texts("INBOX").await.len(), 4),
    );
}

/// Of appends at the same time, which all fit by themselves but not together, so many come as fit.
pub fn a_quota_holds_for_all_who_append<B: Backend>(backend: &B) {
    const QUOTA: Quota = Quota {
        octets: Some(30),
        messages: None,
    };
    meet(
        backend,
        async |alice| {
            alice.append("Sent", "1234567").await;
            AtomicU32::new(0)
        },
        |alice, came| {
            let work = |writer: usize| {
                job(async move || {
                    let mailbox = name(["INBOX", "Archive", "INBOX"][writer]);
                    for _ in 0..3 {
                        let news = vec![(alice.spool("12345").await, Flags::default(), None)];
                        let appended = alice
                            .store
                            .append(&alice.account, &mailbox, news, &QUOTA, NOW)
                            .await;
                        match appended {
                            Ok(_) => drop(came.fetch_add(1, Ordering::Relaxed)),
                            Err(error) => assert_eq!(error.refusal, Refusal::OverQuota),
                        }
                    }
                })
            };
            (0..3).map(work).collect()
        },
        async |alice, came| {
            assert_eq!(came.load(Ordering::Relaxed), 4);
            assert_eq!(alice.usage().await, 27);
        },
    );
}

/// Deliveries to the same accounts in other orders do not wait for each other, and all come.
pub fn deliveries_to_crossing_recipients_all_come<B: Backend>(backend: &B) {
    meet(
        backend,
        async |alice| ["bob", "carol"].map(|local| User::of(&alice.store, local)),
        |alice, [bob, carol]| {
            let work = |users: [&'_ User<B::Store>; 3], writer: u32| {
                let users = users.map(User::clone);
                job(async move || {
                    let [first, second, third] = users;
                    for number in 0..3 {
                        let text = format!("{writer} {number}");
                        first.deliver(&[&second, &third], &text).await.expect("deliver");
                    }
                })
            };
            vec![
                work([alice, bob, carol], 1),
                work([carol, bob, alice], 2),
                work([bob, alice, carol], 3),
            ]
        },
        async |alice, [bob, carol]| {
            for user in [alice, bob, carol] {
                let texts = user.texts("INBOX").await;
                assert_eq!(texts.iter().collect::<BTreeSet<_>>().len(), 9);
                assert_eq!(texts.len(), 9);
            }
            assert_eq!(refusal(alice.delete("INBOX").await), Some(Refusal::NotPossible));
        },
    );
}
