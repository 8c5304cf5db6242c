//! Several messages over one connection: what is said between them, and what a connection that dies there does to the
//! next.

use std::time::Duration;

use proptest::prelude::*;
use rmail_core::addr::{Address, ReversePath};
use rmail_core::chunk::Chunk;
use rmail_core::machine::{Action, CallId, Input, Machine as _};
use rmail_core::relay::tls::Trust;
use rmail_core::relay::{Outcome as Verdict, TlsPolicy};
use rmail_core::smtp::client::{Call, End, Job, Outcome, Reply, Session, Settings};
use rmail_core::smtp::envelope::Wishes;
use rmail_core::time::{Mono, Now};

const EHLO: &str = "250-mx\r\n250-PIPELINING\r\n250 SIZE 1000\r\n";
const SLOW: &str = "250-mx\r\n250 SIZE 1000\r\n";
const TAKEN: &str = "250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go\r\n";

/// Something happens to the connection; what the session does then.
type Death<'a> = &'a dyn Fn(&mut Host) -> String;

/// A session and its host; the test is the server.
struct Host {
    session: Session,
    message: Vec<u8>,
    now: Duration,
    /// Octets of each read; whole when empty.
    split: Vec<usize>,
    splits: usize,
    /// The call that asks for the next message.
    asked: Option<CallId>,
    /// What became of the messages so far.
    told: Vec<Outcome>,
    closed: bool,
}

fn job(to: &str, message: &str) -> Job {
    let address = |text: &str| Address::parse(text).expect("address");
    Job {
        reverse_path: ReversePath::Address(address("a@us.example")),
        recipients: to.split(' ').map(|to| address(to).into()).collect(),
        offset: 0,
        size: message.len() as u64,
        eight_bit: false,
        wishes: Wishes::default(),
    }
}

fn host(messages: u32) -> Host {
    let settings = Settings {
        hostname: "us.example".into(),
        server: "mx.example".into(),
        tls: TlsPolicy::None,
        credentials: None,
        trust: Trust::Roots,
    };
    Host {
        session: Session::new(Now::default(), settings, job("b@x.example", "one")).keep_open(messages),
        message: b"one".to_vec(),
        now: Duration::ZERO,
        split: Vec::new(),
        splits: 0,
        asked: None,
        told: Vec::new(),
        closed: false,
    }
}

impl Host {
    fn input(&mut self, input: Input<Reply>) -> String {
        let now = Now {
            mono: Mono(self.now),
            ..Now::default()
        };
        self.session.handle_input(now, input);
        self.drain()
    }

    /// What the session sends and asks, until it wants nothing.
    fn drain(&mut self) -> String {
        let mut sent = String::new();
        while let Some(action) = self.session.poll_action() {
            assert!(!self.closed, "nothing follows Close: {action:?}");
            match action {
                Action::Send(bytes) => sent.push_str(&String::from_utf8_lossy(bytes.as_ref())),
                Action::Call(id, Call::Read { offset, max }) => {
                    let rest = self.message.get(usize::try_from(offset).expect("small")..);
                    let piece: Vec<u8> = rest.unwrap_or_default().iter().copied().take(max).collect();
                    let reply = Reply::Read(Ok(Chunk::copy_from(&piece)));
                    self.session.handle_input(Now::default(), Input::Reply(id, reply));
                }
                Action::Call(id, Call::Greeted) => {
                    sent.push_str("[greeted]");
                    self.session
                        .handle_input(Now::default(), Input::Reply(id, Reply::Noted));
                }
                Action::Call(id, Call::Next { outcome }) => {
                    sent.push_str("[next]");
                    self.asked = Some(id);
                    self.told.push(*outcome);
                }
                Action::Note(_) => {}
                Action::Close => {
                    sent.push_str("[close]");
                    self.closed = true;
                }
                other => panic!("{other:?}"),
            }
        }
        sent
    }

    /// The server speaks.
    fn hear(&mut self, text: &str) -> String {
        let mut rest = text.as_bytes();
        let mut sent = String::new();
        while !rest.is_empty() {
            let size = match self.split.is_empty() {
                true => rest.len(),
                false => self.split[self.splits % self.split.len()].clamp(1, rest.len()),
            };
            self.splits += 1;
            let (piece, later) = rest.split_at(size);
            sent += &self.input(Input::Bytes(Chunk::copy_from(piece)));
            rest = later;
        }
        sent
    }

    /// The host gives the next message, or none.
    fn give(&mut self, next: Option<(&str, &str)>) -> String {
        let id = self.asked.take().expect("asked for the next");
        let job = next.map(|(to, message)| {
            self.message = message.into();
            Box::new(job(to, message))
        });
        self.input(Input::Reply(id, Reply::Next(job)))
    }

    fn tick(&mut self) -> String {
        self.now = self.session.poll_timeout().expect("a timer").0;
        self.input(Input::Tick)
    }

    /// To the end of the first message.
    fn after_one(messages: u32, ehlo: &str) -> Self {
        let mut host = host(messages);
        assert_eq!(host.hear("220 mx\r\n"), "[greeted]EHLO us.example\r\n");
        host.hear(ehlo);
        if ehlo == SLOW {
            host.hear("250 ok\r\n");
            host.hear("250 ok\r\n");
            host.hear("354 go\r\n");
        } else {
            host.hear(TAKEN);
        }
        host.hear("250 2.0.0 one\r\n");
        host
    }
}

fn summary(outcome: &Outcome) -> (String, End) {
    let show = |verdict: &Verdict| {
        let class = match verdict {
            Verdict::Delivered(_) => 'D',
            Verdict::Temporary(_) => 'T',
            Verdict::Permanent(_) => 'P',
        };
        format!("{class}{}", verdict.report().enhanced)
    };
    let all: Vec<String> = outcome.recipients.iter().map(show).collect();
    (all.join(" "), outcome.end)
}

#[test]
fn the_next_message_follows_without_a_new_greeting() {
    let mut host = Host::after_one(10, EHLO);
    assert_eq!(summary(&host.told[0]), ("D2.0.0".into(), End::Complete));
    assert!(host.session.is_idle() && host.session.outcome().is_none());
    assert_eq!(host.session.poll_timeout(), None, "the host decides how long");
    assert_eq!(
        host.give(Some(("c@x.example d@x.example", ".two\r\n"))),
        "MAIL FROM:<a@us.example> SIZE=6\r\nRCPT TO:<c@x.example>\r\nRCPT TO:<d@x.example>\r\nDATA\r\n"
    );
    assert_eq!(
        host.hear("250 ok\r\n250 ok\r\n550 5.1.1 no\r\n354 go\r\n"),
        "..two\r\n.\r\n"
    );
    assert_eq!(host.hear("250 2.0.0 two\r\n"), "[next]");
    assert_eq!(summary(&host.told[1]), ("D2.0.0 P5.1.1".into(), End::Complete));
    assert_eq!(host.session.messages(), 2);
    assert_eq!(host.give(None), "QUIT\r\n");
    assert_eq!(host.hear("221 bye\r\n"), "[close]");
    assert!(host.session.outcome().is_none() && host.session.is_idle());
}

#[test]
fn a_transaction_that_did_not_end_is_ended_before_the_next() {
    for (first, ehlo, rset) in [
        ("250 ok\r\n550 5.1.1 no\r\n554 none\r\n", EHLO, true),
        ("250 ok\r\n250 ok\r\n451 4.3.0 later\r\n", EHLO, true),
        ("550 5.7.1 no\r\n503 what\r\n503 what\r\n", EHLO, false),
        ("250 ok\r\n550 5.1.1 no\r\n", SLOW, true),
    ] {
        let mut host = host(10);
        host.hear("220 mx\r\n");
        host.hear(ehlo);
        let lines: Vec<&str> = first.split_inclusive('\n').collect();
        let sent: String = lines.iter().map(|line| host.hear(line)).collect();
        assert!(sent.ends_with("[next]"), "{first:?}: {sent}");
        let next = host.give(Some(("c@x.example", "two")));
        let begin = match (rset, ehlo) {
            (true, EHLO) => "RSET\r\nMAIL FROM:",
            (true, _) => "RSET\r\n",
            (false, _) => "MAIL FROM:",
        };
        assert!(next.starts_with(begin), "{first:?}: {next}");
        if ehlo == SLOW {
            assert_eq!(next, "RSET\r\n");
            assert!(host.hear("250 ok\r\n").starts_with("MAIL FROM:"));
        } else {
            let sent = host.hear(&format!("{}{TAKEN}", if rset { "250 reset\r\n" } else { "" }));
            assert_eq!(sent, "two\r\n.\r\n");
            host.hear("250 2.0.0 two\r\n");
            assert_eq!(summary(&host.told[1]), ("D2.0.0".into(), End::Complete));
            let third = host.give(Some(("c@x.example", "three")));
            assert!(third.starts_with("MAIL"), "RSET once: {third}");
        }
    }
}

#[test]
fn a_dot_without_recipients_leaves_the_connection_in_order() {
    let mut host = host(10);
    host.hear("220 mx\r\n");
    host.hear(EHLO);
    // RFC 2920 §3.1: 354 although no recipient was taken.
    assert_eq!(host.hear("250 ok\r\n550 5.1.1 no\r\n354 go\r\n"), ".\r\n");
    assert_eq!(host.hear("554 5.5.1 no recipients\r\n"), "[next]");
    assert!(
        host.give(Some(("c@x.example", "two")))
            .starts_with("RSET\r\nMAIL")
    );
}

#[test]
fn the_bounds_of_the_host_and_of_the_server_hold() {
    let mut two = Host::after_one(2, EHLO);
    two.give(Some(("c@x.example", "two")));
    two.hear(TAKEN);
    assert_eq!(two.hear("250 2.0.0 two\r\n"), "QUIT\r\n");
    assert_eq!(two.told.len(), 1);
    let outcome = two.session.outcome().expect("the last is told by the end");
    assert_eq!(summary(outcome), ("D2.0.0".into(), End::Complete));
    let limits = "250-mx\r\n250-PIPELINING\r\n250 LIMITS MAILMAX=1\r\n";
    let one = Host::after_one(10, limits);
    assert!(one.told.is_empty());
    assert!(one.session.outcome().is_some());
    let mut single = host(1);
    assert_eq!(
        single.hear("220 mx\r\n"),
        "EHLO us.example\r\n",
        "who is not kept asks nothing"
    );
}

#[test]
fn what_the_server_cannot_take_is_told_and_the_connection_stays() {
    let mut host = Host::after_one(10, EHLO);
    let large = "x".repeat(2000);
    assert_eq!(host.give(Some(("c@x.example", &large))), "[next]");
    assert_eq!(summary(&host.told[1]), ("P5.3.4".into(), End::Complete));
    assert!(host.give(Some(("c@x.example", "three"))).starts_with("MAIL"));
}

#[test]
fn a_server_that_goes_while_nothing_is_asked_harms_no_message() {
    let farewells: [Death<'_>; 4] = [
        &|host| host.input(Input::Eof),
        &|host| host.hear("421 4.4.2 idle for too long\r\n"),
        &|host| host.hear("4"),
        &|host| host.hear("\0\r\n"),
    ];
    for farewell in farewells {
        let mut host = Host::after_one(10, EHLO);
        assert_eq!(farewell(&mut host), "[close]");
        assert!(host.session.is_idle() && host.session.outcome().is_none());
        assert_eq!(host.give(Some(("c@x.example", "two"))), "", "it comes too late");
        assert!(host.session.is_idle() && host.session.outcome().is_none());
    }
    let mut host = Host::after_one(10, EHLO);
    assert_eq!(host.input(Input::Shutdown), "QUIT\r\n");
    assert_eq!(host.give(Some(("c@x.example", "two"))), "");
    assert_eq!(host.hear("421 4.3.2 me too\r\n"), "[close]");
    assert!(host.session.outcome().is_none());
}

#[test]
fn a_reply_too_many_ends_the_connection() {
    let mut host = host(10);
    host.hear("220 mx\r\n");
    host.hear(EHLO);
    host.hear(TAKEN);
    assert_eq!(host.hear("250 2.0.0 one\r\n250 what\r\n"), "[next][close]");
    assert_eq!(summary(&host.told[0]), ("D2.0.0".into(), End::Complete));
}

#[test]
fn a_kept_connection_that_is_dead_has_not_tried_the_message() {
    let deaths: [(&str, Death<'_>); 6] = [
        ("T4.4.2", &|host| host.input(Input::Eof)),
        ("T4.4.2", &|host| host.tick()),
        ("T4.7.0", &|host| host.hear("421 4.7.0 too many messages\r\n")),
        ("T4.7.1", &|host| host.hear("450 4.7.1 slower\r\n")),
        ("T5.5.1", &|host| host.hear("503 5.5.1 nested MAIL\r\n")),
        ("T4.5.0", &|host| host.hear("SSH-2.0\r\n")),
    ];
    for (status, death) in deaths {
        let mut host = Host::after_one(10, EHLO);
        host.give(Some(("c@x.example", "two")));
        assert_eq!(death(&mut host), "[close]");
        let outcome = host.session.outcome().expect("an outcome");
        assert_eq!(summary(outcome), (status.into(), End::Stale));
    }
    // RSET is refused, or not answered.
    for reply in ["502 what\r\n", "421 bye\r\n"] {
        let mut host = host(10);
        host.hear("220 mx\r\n");
        host.hear(EHLO);
        host.hear("250 ok\r\n550 5.1.1 no\r\n554 none\r\n");
        host.give(Some(("c@x.example", "two")));
        assert_eq!(host.hear(reply), "[close]");
        assert_eq!(
            host.session.outcome().map(|outcome| outcome.end),
            Some(End::Stale)
        );
    }
}

#[test]
fn what_was_answered_was_tried() {
    let mut first = host(10);
    first.hear("220 mx\r\n");
    first.hear(EHLO);
    first.input(Input::Eof);
    let ends = |host: &Host| host.session.outcome().map(summary);
    assert_eq!(
        ends(&first),
        Some(("T4.4.2".into(), End::NextHost)),
        "the first message"
    );
    let mut later = Host::after_one(10, EHLO);
    later.give(Some(("c@x.example", "two")));
    later.hear("250 ok\r\n");
    later.input(Input::Eof);
    assert_eq!(
        ends(&later),
        Some(("T4.4.2".into(), End::NextHost)),
        "MAIL was answered"
    );
    let mut refused = Host::after_one(10, EHLO);
    refused.give(Some(("c@x.example", "two")));
    assert_eq!(refused.hear("550 5.1.8 no\r\n503 what\r\n503 what\r\n"), "[next]");
    assert_eq!(summary(&refused.told[1]), ("P5.1.8".into(), End::Complete));
    let mut sent = Host::after_one(10, EHLO);
    sent.give(Some(("c@x.example", "two")));
    sent.hear(TAKEN);
    sent.input(Input::Eof);
    assert_eq!(
        ends(&sent),
        Some(("T4.4.2".into(), End::Uncertain)),
        "it may have been taken"
    );
}

proptest! {
    #[test]
    fn any_split_gives_the_same(
        split in proptest::collection::vec(1_usize..20, 1..8),
        choice in proptest::collection::vec(0_usize..4, 4),
    ) {
        let replies = [
            ["250 ok\r\n250 ok\r\n354 go\r\n", "250 ok\r\n550 no\r\n554 no\r\n", "421 no\r\n", "550 a\r\n550 b\r\n550 c\r\n"],
            ["250 done\r\n", "250 done\r\n250 twice\r\n", "550 no\r\n", "250 done\r\n4"],
            ["250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n", "503 no\r\n", "250 ok\r\n250 ok\r\n354 go\r\n", "450 no\r\n"],
            ["250 done\r\n", "554 no\r\n", "421 x\r\n", "250-a\r\n250 b\r\n"],
        ];
        let run = |split: &[usize]| {
            let mut host = host(3);
            host.split = split.to_vec();
            let mut trace = host.hear("220 mx\r\n") + &host.hear(EHLO);
            for (all, choice) in replies.iter().zip(&choice) {
                trace += &host.hear(all[*choice]);
                if host.asked.is_some() {
                    trace += &host.give(Some(("c@x.example", "again")));
                }
            }
            (trace, host.told, host.session.outcome().cloned())
        };
        let whole = run(&[]);
        prop_assert_eq!(&run(&[1]), &whole);
        prop_assert_eq!(&run(&split), &whole);
    }
}
