//! The sending session against a scripted server: every reply, every break, any split.

use std::time::Duration;

use proptest::prelude::*;
use rmail_core::addr::{Address, ReversePath};
use rmail_core::chunk::Chunk;
use rmail_core::machine::{Action, Input, Machine as _, Session as _, TlsInfo};
use rmail_core::note::Note;
use rmail_core::refusal::Refusal;
use rmail_core::relay::tls::Trust;
use rmail_core::relay::{Credentials, Outcome as Verdict, TlsPolicy};
use rmail_core::secret::Secret;
use rmail_core::smtp::client::{Call, End, Job, Outcome, Reply, Session, Settings};
use rmail_core::smtp::envelope::Wishes;
use rmail_core::time::{Mono, Now};

/// What the server answers to a line that begins so; the last rule that fits wins.
/// `DROP` closes, `SILENT` waits for ever.
type Rules<'a> = &'a [(&'static str, &'static str)];

const PLAIN: &str = "250-mx\r\n250-8BITMIME\r\n250 SIZE 1000\r\n";
const FULL: &str = "250-mx\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 1000\r\n";
const TLS: &str = "250-mx\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 STARTTLS\r\n";
const AUTH: &str = "250-mx\r\n250 AUTH LOGIN PLAIN\r\n";

/// The server and the host in one.
struct World {
    session: Session,
    rules: Vec<(&'static str, &'static str)>,
    message: Vec<u8>,
    now: Duration,
    /// Octets of each read of the server's replies; whole when empty.
    split: Vec<usize>,
    splits: usize,
    /// All that the client sent, TLS marked.
    wire: Vec<u8>,
    /// Lines as the server understands them.
    unread: Vec<u8>,
    in_data: bool,
    data: Vec<u8>,
    closed: bool,
    mute: bool,
    notes: Vec<Note>,
    handshake_fails: bool,
    read_fails_at: Option<u64>,
    shutdown_at: Option<&'static str>,
}

fn settings(tls: TlsPolicy) -> Settings {
    Settings {
        hostname: "us.example".into(),
        server: "mx.example".into(),
        tls,
        credentials: None,
        trust: Trust::Roots,
    }
}

fn job(recipients: &[&str], message: &[u8]) -> Job {
    let address = |text: &&str| Address::parse(text).expect("address");
    Job {
        reverse_path: ReversePath::Address(address(&"a@us.example")),
        recipients: recipients.iter().map(|text| address(text).into()).collect(),
        offset: 0,
        size: message.len() as u64,
        eight_bit: !message.is_ascii(),
        wishes: Wishes::default(),
    }
}

const MESSAGE: &[u8] = b"Subject: x\r\n\r\n.dot\r\nend";

impl World {
    fn new(settings: Settings, job: Job, message: &[u8], rules: Rules<'_>) -> Self {
        Self {
            session: Session::new(Now::default(), settings, job),
            rules: rules.to_vec(),
            message: message.to_vec(),
            now: Duration::ZERO,
            split: Vec::new(),
            splits: 0,
            wire: Vec::new(),
            unread: Vec::new(),
            in_data: false,
            data: Vec::new(),
            closed: false,
            mute: false,
            notes: Vec::new(),
            handshake_fails: false,
            read_fails_at: None,
            shutdown_at: None,
        }
    }

    fn simple(rules: Rules<'_>) -> Self {
        let message = MESSAGE;
        Self::new(
            settings(TlsPolicy::None),
            job(&["b@x.example", "c@x.example"], message),
            message,
            rules,
        )
    }

    fn input(&mut self, input: Input<Reply>) {
        let now = Now {
            mono: Mono(self.now),
            ..Now::default()
        };
        self.session.handle_input(now, input);
    }

    /// Feeds octets in the pieces asked for.
    fn say(&mut self, mut text: &[u8]) {
        while !text.is_empty() {
            let piece = match self.split.is_empty() {
                true => text.len(),
                false => self.split[self.splits % self.split.len()].clamp(1, text.len()),
            };
            self.splits += 1;
            self.input(Input::Bytes(Chunk::copy_from(&text[..piece])));
            text = &text[piece..];
        }
    }

    fn answer(&mut self, line: &str) {
        if self.shutdown_at.is_some_and(|at| line.starts_with(at)) {
            self.input(Input::Shutdown);
        }
        let rule = self
            .rules
            .iter()
            .rev()
            .find(|(prefix, _)| line.starts_with(prefix));
        let reply = match (line.get(..4).unwrap_or(line), rule) {
            (_, Some((_, reply))) => reply,
            ("HELL", None) => "220 mx ESMTP\r\n",
            ("EHLO", None) => FULL,
            ("DATA", None) => "354 go\r\n",
            ("STAR", None) => "220 go\r\n",
            ("QUIT", None) => "221 bye\r\n",
            (".", None) => "250 2.0.0 queued as 1\r\n",
            (_, None) => "250 2.1.0 fine\r\n",
        };
        match reply {
            "SILENT" => self.mute = true,
            "DROP" => self.input(Input::Eof),
            text => {
                let (text, drop) = text
                    .strip_suffix("DROP")
                    .map_or((text, false), |text| (text, true));
                self.in_data = line == "DATA" && text.starts_with("354");
                self.say(text.as_bytes());
                if drop {
                    self.input(Input::Eof);
                }
            }
        }
    }

    /// Takes what the client sent, one line or message at a time.
    fn serve(&mut self) -> bool {
        if self.mute {
            return false;
        }
        if self.in_data {
            let end = b"\r\n.\r\n";
            let text = [b"\r\n", self.unread.as_slice()].concat();
            let Some(at) = text.windows(end.len()).position(|window| window == end) else {
                return false;
            };
            self.data = text[2..at + 2].to_vec();
            self.unread = text[at + end.len()..].to_vec();
            self.in_data = false;
            self.answer(".");
            return true;
        }
        let Some(at) = self.unread.windows(2).position(|window| window == b"\r\n") else {
            return false;
        };
        let line: Vec<u8> = self.unread.drain(..at + 2).take(at).collect();
        self.answer(&String::from_utf8(line).expect("ASCII"));
        true
    }

    fn perform(&mut self, action: Action<Call>) {
        assert!(!self.closed, "nothing follows Close: {action:?}");
        match action {
            Action::Send(bytes) => {
                self.wire.extend_from_slice(bytes.as_ref());
                self.unread.extend_from_slice(bytes.as_ref());
            }
            Action::Call(id, Call::Read { offset, max }) => {
                assert!((1..=64 * 1024).contains(&max));
                let at = usize::try_from(offset).expect("small");
                let result = if self.read_fails_at.is_some_and(|fails| offset >= fails) {
                    Err(Refusal::Storage)
                } else {
                    // Shorter than asked for.
                    let end = self.message.len().min(at + max.min(7));
                    Ok(Chunk::copy_from(self.message.get(at..end).unwrap_or_default()))
                };
                self.input(Input::Reply(id, Reply::Read(result)));
            }
            Action::StartTls => {
                self.wire.extend_from_slice(b"[TLS]");
                self.say(b"250 injected behind the handshake\r\n");
                if self.handshake_fails {
                    self.input(Input::Eof);
                } else {
                    self.input(Input::TlsStarted(TlsInfo::default()));
                }
            }
            Action::Note(note) => self.notes.push(note),
            Action::Close => self.closed = true,
            other => panic!("{other:?}"),
        }
    }

    /// To the end; time passes when nothing else happens.
    fn run(mut self) -> Self {
        if self.session.poll_timeout().is_some() && !matches!(self.rules.first(), Some(("IMPLICIT", _))) {
            self.answer("HELLO");
        }
        for _ in 0..10_000 {
            if let Some(action) = self.session.poll_action() {
                self.perform(action);
            } else if self.closed {
                assert_eq!(self.session.poll_timeout(), None);
                assert!(!self.session.wants_bytes());
                return self;
            } else if !self.serve() {
                let deadline = self.session.poll_timeout().expect("a timer while it waits");
                self.now = deadline.0;
                self.input(Input::Tick);
            }
        }
        panic!("no end");
    }

    fn outcome(&self) -> &Outcome {
        self.session.outcome().expect("an outcome after Close")
    }

    /// `D` delivered, `T` temporary, `P` permanent with the status of each, and the end.
    fn summary(&self) -> (String, End) {
        let outcome = self.outcome();
        let show = |verdict: &Verdict| match verdict {
            Verdict::Delivered(report) => format!("D{}", report.enhanced),
            Verdict::Temporary(report) => format!("T{}", report.enhanced),
            Verdict::Permanent(report) => format!("P{}", report.enhanced),
        };
        let all: Vec<String> = outcome.recipients.iter().map(show).collect();
        (all.join(" "), outcome.end)
    }

    fn wire(&self) -> String {
        String::from_utf8(self.wire.clone()).expect("UTF-8")
    }
}

#[test]
fn a_message_goes_out() {
    let world = World::simple(&[("EHLO", PLAIN)]).run();
    assert_eq!(world.summary(), ("D2.0.0 D2.0.0".into(), End::Complete));
    assert_eq!(
        world.wire(),
        "EHLO us.example\r\nMAIL FROM:<a@us.example> SIZE=23\r\nRCPT TO:<b@x.example>\r\nRCPT TO:<c@x.example>\r\n\
         DATA\r\nSubject: x\r\n\r\n..dot\r\nend\r\n.\r\nQUIT\r\n"
    );
    let piped = World::simple(&[]).run();
    assert_eq!((piped.wire(), piped.summary()), (world.wire(), world.summary()));
    let Verdict::Delivered(report) = &world.outcome().recipients[0] else {
        panic!("delivered");
    };
    assert_eq!(
        (report.text.as_str(), report.remote.as_deref()),
        ("queued as 1", Some("mx.example"))
    );
}

#[test]
fn every_failure_has_its_class() {
    use End::{Complete, NextHost, Uncertain};
    let both = |one: &str| format!("{one} {one}");
    let cases: &[(Rules<'_>, String, End)] = &[
        (&[("HELLO", "421 busy\r\n")], both("T4.0.0"), NextHost),
        (&[("HELLO", "450 busy\r\n")], both("T4.0.0"), NextHost),
        (&[("HELLO", "554 5.7.1 no\r\n")], both("T4.7.1"), NextHost),
        (&[("HELLO", "250 what\r\n")], both("T4.0.0"), NextHost),
        (&[("HELLO", "SSH-2.0\r\n")], both("T4.5.0"), NextHost),
        (&[("HELLO", "DROP")], both("T4.4.2"), NextHost),
        (&[("HELLO", "SILENT")], both("T4.4.2"), NextHost),
        (&[("HELLO", "220-half\r\nDROP")], both("T4.4.2"), NextHost),
        (&[("EHLO", "450 later\r\n")], both("T4.0.0"), NextHost),
        (
            &[("EHLO", "502 what\r\n"), ("HELO", "550 go\r\n")],
            both("T4.0.0"),
            NextHost,
        ),
        (&[("EHLO", "DROP")], both("T4.4.2"), NextHost),
        (&[("EHLO", "SILENT")], both("T4.4.2"), NextHost),
        (&[("EHLO", "421 4.3.2 stop\r\n")], both("T4.3.2"), NextHost),
        (&[("MAIL", "550 5.1.8 no\r\n")], both("P5.1.8"), Complete),
        (&[("MAIL", "451 4.7.1 later\r\n")], both("T4.7.1"), Complete),
        (&[("MAIL", "552 big\r\n")], both("P5.0.0"), Complete),
        (&[("MAIL", "DROP")], both("T4.4.2"), NextHost),
        (&[("MAIL", "SILENT")], both("T4.4.2"), NextHost),
        (&[("MAIL", "421 stop\r\n")], both("T4.0.0"), NextHost),
        (
            &[("RCPT TO:<c", "550 5.1.1 no\r\n")],
            "D2.0.0 P5.1.1".into(),
            Complete,
        ),
        (
            &[("RCPT TO:<b", "450 4.2.1 no\r\n")],
            "T4.2.1 D2.0.0".into(),
            Complete,
        ),
        (
            &[("RCPT TO:<b", "552 many\r\n")],
            "T4.5.3 D2.0.0".into(),
            Complete,
        ),
        (
            &[("RCPT TO:<b", "552 5.2.2 full\r\n")],
            "P5.2.2 D2.0.0".into(),
            Complete,
        ),
        (
            &[("RCPT TO:<b", "251 will forward\r\n")],
            both("D2.0.0"),
            Complete,
        ),
        (
            &[("RCPT", "550 no\r\n"), ("DATA", "503 no\r\n")],
            both("P5.0.0"),
            Complete,
        ),
        (&[("RCPT", "550 no\r\n")], both("P5.0.0"), Complete),
        (
            &[("RCPT TO:<b", "550 no\r\n"), ("RCPT TO:<c", "DROP")],
            "P5.0.0 T4.4.2".into(),
            NextHost,
        ),
        (
            &[("RCPT TO:<b", "550 no\r\n"), ("RCPT TO:<c", "421 no\r\n")],
            "P5.0.0 T4.0.0".into(),
            NextHost,
        ),
        (&[("RCPT TO:<c", "SILENT")], both("T4.4.2"), NextHost),
        (&[("DATA", "554 5.7.1 no\r\n")], both("P5.7.1"), Complete),
        (&[("DATA", "451 no\r\n")], both("T4.0.0"), Complete),
        (&[("DATA", "250 what\r\n")], both("T4.5.0"), Complete),
        (&[("DATA", "DROP")], both("T4.4.2"), NextHost),
        (&[("DATA", "SILENT")], both("T4.4.2"), NextHost),
        (&[("DATA", "354 go\r\nDROP")], both("T4.4.2"), NextHost),
        (
            &[("DATA", "354 go\r\n552 5.3.4 big\r\nDROP")],
            both("P5.3.4"),
            Complete,
        ),
        (
            &[("DATA", "354 go\r\n552 5.3.4 big\r\n")],
            both("P5.3.4"),
            Complete,
        ),
        (
            &[("DATA", "354 go\r\n250 too early\r\n")],
            both("T4.4.2"),
            NextHost,
        ),
        (
            &[("DATA", "354 go\r\n421 stop\r\nDROP")],
            both("T4.4.2"),
            NextHost,
        ),
        (&[(".", "550 5.7.1 spam\r\n")], both("P5.7.1"), Complete),
        (&[(".", "552 5.2.2 full\r\n")], both("P5.2.2"), Complete),
        (&[(".", "452 4.3.1 full\r\n")], both("T4.3.1"), Complete),
        (&[(".", "421 stop\r\n")], both("T4.0.0"), NextHost),
        (&[(".", "354 what\r\n")], both("T4.5.0"), Complete),
        (&[(".", "DROP")], both("T4.4.2"), Uncertain),
        (&[(".", "SILENT")], both("T4.4.2"), Uncertain),
        (&[(".", "25\r\n")], both("T4.5.0"), Uncertain),
        (&[("QUIT", "DROP")], both("D2.0.0"), Complete),
        (&[("QUIT", "SILENT")], both("D2.0.0"), Complete),
        (&[("QUIT", "421 stop\r\n")], both("D2.0.0"), Complete),
    ];
    for (rules, verdicts, end) in cases {
        for ehlo in [PLAIN, FULL] {
            let all: Vec<(&'static str, &'static str)> = std::iter::once(("EHLO", ehlo))
                .chain(rules.iter().copied())
                .collect();
            let world = World::simple(&all).run();
            assert_eq!(
                world.summary(),
                (verdicts.clone(), *end),
                "{rules:?} {ehlo:?}\n{}",
                world.wire()
            );
            let data_lost = rules
                .iter()
                .any(|(at, reply)| *at == "DATA" && reply.ends_with("DROP"));
            assert!(
                !data_lost || !world.wire().contains("\r\n.\r\n"),
                "{rules:?}: no dot"
            );
        }
    }
}

#[test]
fn waits_are_those_of_the_rfc() {
    for (rules, seconds) in [
        (&[("HELLO", "SILENT")], 300),
        (&[("EHLO", "SILENT")], 300),
        (&[("MAIL", "SILENT")], 300),
        (&[("RCPT", "SILENT")], 300),
        (&[("DATA", "SILENT")], 120),
        (&[(".", "SILENT")], 600),
        (&[("QUIT", "SILENT")], 10),
    ] {
        let rules: Rules<'_> = rules;
        assert_eq!(
            World::simple(rules).run().now,
            Duration::from_secs(seconds),
            "{rules:?}"
        );
    }
    let mut world = World::simple(&[]);
    world.answer("HELLO");
    while !world.session.poll_action().is_some_and(|action| {
        let is_read = matches!(action, Action::Call(..));
        if !is_read {
            world.perform(action);
            while world.serve() {}
        }
        is_read
    }) {}
    assert_eq!(
        world.session.poll_timeout(),
        Some(Mono(Duration::from_secs(180))),
        "a piece of the message"
    );
    world.now = Duration::from_secs(180);
    world.input(Input::Tick);
    assert_eq!(world.summary().1, End::NextHost);
}

#[test]
fn old_servers_get_helo_and_no_extensions() {
    let world = World::simple(&[("EHLO", "500 what\r\n")]).run();
    assert!(
        world
            .wire()
            .starts_with("EHLO us.example\r\nHELO us.example\r\nMAIL FROM:<a@us.example>\r\n")
    );
    assert_eq!(world.summary().1, End::Complete);
    let eight = "Subject: \u{fc}\r\n\r\n".as_bytes();
    let one = job(&["b@x.example"], eight);
    let world = World::new(
        settings(TlsPolicy::None),
        one.clone(),
        eight,
        &[("EHLO", "500 what\r\n")],
    )
    .run();
    assert_eq!(world.summary(), ("P5.6.3".into(), End::Complete));
    assert!(!world.wire().contains("MAIL") && world.wire().ends_with("QUIT\r\n"));
    let world = World::new(settings(TlsPolicy::None), one, eight, &[]).run();
    assert!(
        world.wire().contains("SIZE=15 BODY=8BITMIME\r\n"),
        "{}",
        world.wire()
    );
}

#[test]
fn too_large_and_too_international_messages_are_not_tried() {
    let large = [b'x'; 1001];
    let world = World::new(
        settings(TlsPolicy::None),
        job(&["b@x.example"], &large),
        &large,
        &[],
    )
    .run();
    assert_eq!(world.summary(), ("P5.3.4".into(), End::Complete));
    let mut front = job(&["b@x.example"], &large);
    front.offset = 1;
    let world = World::new(settings(TlsPolicy::None), front, &large, &[]).run();
    assert_eq!(
        (world.summary().0.as_str(), world.data.len()),
        ("D2.0.0", 1002),
        "what is not sent does not count"
    );
    let both = job(&["b\u{f6}b@x.example", "c@x.example"], MESSAGE);
    let world = World::new(settings(TlsPolicy::None), both.clone(), MESSAGE, &[]).run();
    assert_eq!(world.summary(), ("P5.6.7 D2.0.0".into(), End::Complete));
    let utf8 = "250-mx\r\n250 SMTPUTF8\r\n";
    let world = World::new(settings(TlsPolicy::None), both, MESSAGE, &[("EHLO", utf8)]).run();
    assert!(
        world
            .wire()
            .contains("MAIL FROM:<a@us.example> SMTPUTF8\r\nRCPT TO:<b\u{f6}b@x.example>\r\n")
    );
    let mut sender = job(&["b@x.example"], MESSAGE);
    sender.reverse_path = ReversePath::Address(Address::parse("\u{f6}@us.example").expect("address"));
    let world = World::new(settings(TlsPolicy::None), sender, MESSAGE, &[]).run();
    assert_eq!(world.summary(), ("P5.6.7".into(), End::Complete));
}

#[test]
fn data_without_recipients_gets_a_lone_dot() {
    let world = World::simple(&[("RCPT", "550 no\r\n"), (".", "554 none\r\n")]).run();
    assert!(
        world.wire().ends_with("DATA\r\n.\r\nQUIT\r\n"),
        "{}",
        world.wire()
    );
    assert!(world.data.is_empty());
    let world = World::simple(&[("EHLO", PLAIN), ("RCPT", "550 no\r\n")]).run();
    assert!(!world.wire().contains("DATA"), "not pipelined: not sent");
}

#[test]
fn nothing_from_before_tls_survives_it() {
    let rules = [
        ("EHLO", TLS),
        ("STARTTLS", "220 go\r\n250-mx\r\n250 SIZE 1\r\n250 x\r\n"),
    ];
    let one = job(&["b@x.example"], MESSAGE);
    for policy in [TlsPolicy::Opportunistic, TlsPolicy::Require, TlsPolicy::Verify] {
        let world = World::new(settings(policy), one.clone(), MESSAGE, &rules).run();
        assert_eq!(world.summary(), ("D2.0.0".into(), End::Complete));
        assert!(
            world
                .wire()
                .starts_with("EHLO us.example\r\nSTARTTLS\r\n[TLS]EHLO us.example\r\nMAIL ")
        );
        assert!(world.session.is_encrypted());
    }
}

#[test]
fn tls_policies_when_tls_is_not_to_be_had() {
    let one = job(&["b@x.example"], MESSAGE);
    let run = |policy, rules: Rules<'_>, handshake_fails| {
        let mut world = World::new(settings(policy), one.clone(), MESSAGE, rules);
        world.handshake_fails = handshake_fails;
        let world = world.run();
        (world.summary(), world.wire().contains("MAIL"))
    };
    let sent = (("D2.0.0".to_owned(), End::Complete), true);
    let refused = |status: &str, end| ((format!("T{status}"), end), false);
    let no = [("EHLO", TLS), ("STARTTLS", "454 4.7.0 no\r\n")];
    let never = [("EHLO", TLS), ("STARTTLS", "501 no\r\n")];
    for rules in [&[] as Rules<'_>, &no, &never, &[("EHLO", "500 no\r\n")]] {
        assert_eq!(run(TlsPolicy::Opportunistic, rules, false), sent, "{rules:?}");
        assert_eq!(
            run(TlsPolicy::Require, rules, false),
            refused("4.7.10", End::NextHost),
            "{rules:?}"
        );
        assert_eq!(
            run(TlsPolicy::Verify, rules, false),
            refused("4.7.10", End::NextHost),
            "{rules:?}"
        );
        assert_eq!(run(TlsPolicy::None, rules, false), sent, "{rules:?}");
    }
    let offered: Rules<'_> = &[("EHLO", TLS)];
    assert_eq!(
        run(TlsPolicy::Opportunistic, offered, true),
        refused("4.7.5", End::RetryWithoutTls)
    );
    assert_eq!(
        run(TlsPolicy::Require, offered, true),
        refused("4.7.5", End::NextHost)
    );
    assert_eq!(
        run(TlsPolicy::Verify, offered, true),
        refused("4.7.5", End::NextHost)
    );
    let drop: Rules<'_> = &[("EHLO", TLS), ("STARTTLS", "DROP")];
    assert_eq!(
        run(TlsPolicy::Opportunistic, drop, false),
        refused("4.4.2", End::NextHost)
    );
}

#[test]
fn implicit_tls_comes_first() {
    let one = job(&["b@x.example"], MESSAGE);
    let mut world = World::new(
        settings(TlsPolicy::Implicit),
        one.clone(),
        MESSAGE,
        &[("EHLO", TLS)],
    );
    world.say(b"220 too early\r\n");
    assert_eq!(world.session.poll_action(), None);
    world.input(Input::TlsStarted(TlsInfo::default()));
    let world = world.run();
    assert_eq!(world.summary(), ("D2.0.0".into(), End::Complete));
    assert!(!world.wire().contains("STARTTLS"));
    let mut world = World::new(settings(TlsPolicy::Implicit), one, MESSAGE, &[("IMPLICIT", "")]);
    world.input(Input::Eof);
    assert_eq!(world.run().summary(), ("T4.7.5".into(), End::NextHost));
}

#[test]
fn a_report_tells_which_tls_the_connection_had() {
    let one = job(&["b@x.example"], MESSAGE);
    for (policy, proof) in [
        (TlsPolicy::Opportunistic, "certificate not verified"),
        (TlsPolicy::Verify, "certificate verified"),
    ] {
        let world = World::new(settings(policy), one.clone(), MESSAGE, &[("EHLO", TLS)]).run();
        let tls = world.outcome().recipients[0]
            .report()
            .tls
            .clone()
            .unwrap_or_default();
        assert!(tls.starts_with("TLS") && tls.ends_with(proof), "{tls}");
    }
    let world = World::new(settings(TlsPolicy::Opportunistic), one, MESSAGE, &[]).run();
    assert_eq!(world.outcome().recipients[0].report().tls, None);
}

fn login(tls: TlsPolicy) -> Settings {
    let credentials = Some(Credentials {
        username: "user".into(),
        password: Secret::new("pass"),
    });
    Settings {
        credentials,
        ..settings(tls)
    }
}

#[test]
fn credentials_go_over_tls_only() {
    let one = job(&["b@x.example"], MESSAGE);
    let run = |policy, rules: Rules<'_>| {
        let mut world = World::new(login(policy), one.clone(), MESSAGE, rules);
        if policy == TlsPolicy::Implicit {
            world.input(Input::TlsStarted(TlsInfo::default()));
        }
        world.run()
    };
    let both = "250-mx\r\n250-STARTTLS\r\n250 AUTH LOGIN PLAIN\r\n";
    for policy in [TlsPolicy::Require, TlsPolicy::Verify, TlsPolicy::Implicit] {
        let world = run(policy, &[("EHLO", both), ("AUTH", "235 2.7.0 ok\r\n")]);
        assert_eq!(world.summary(), ("D2.0.0".into(), End::Complete));
        // \0user\0pass
        assert!(
            world.wire().contains("AUTH PLAIN AHVzZXIAcGFzcw==\r\nMAIL"),
            "{}",
            world.wire()
        );
        assert!(world.notes.contains(&Note::Command("AUTH PLAIN ***".into())));
        assert!(
            !format!("{:?}", world.notes).contains("AHVzZXI"),
            "secrets stay out of the log"
        );
    }
    for policy in [TlsPolicy::None, TlsPolicy::Opportunistic] {
        for ehlo in [both, AUTH] {
            let world = run(policy, &[("EHLO", ehlo)]);
            assert_eq!(world.summary(), ("T4.7.0".into(), End::Ours));
            assert!(!world.wire().contains("AUTH") && !world.wire().contains("MAIL"));
            assert!(world.outcome().recipients[0].report().severe);
        }
    }
}

#[test]
fn logins_of_all_kinds() {
    let one = job(&["b@x.example"], MESSAGE);
    let run = |rules: Rules<'_>| {
        let mut world = World::new(login(TlsPolicy::Implicit), one.clone(), MESSAGE, rules);
        world.input(Input::TlsStarted(TlsInfo::default()));
        world.run()
    };
    let only_login = "250-mx\r\n250 AUTH LOGIN\r\n";
    let ask = "334 VXNlcm5hbWU6\r\n";
    let world = run(&[
        ("EHLO", only_login),
        ("AUTH", ask),
        ("dXNlcg==", ask),
        ("cGFzcw==", "235 ok\r\n"),
    ]);
    assert_eq!(world.summary(), ("D2.0.0".into(), End::Complete));
    assert!(
        world
            .wire()
            .contains("AUTH LOGIN\r\ndXNlcg==\r\ncGFzcw==\r\nMAIL")
    );
    let world = run(&[
        ("EHLO", AUTH),
        ("AUTH PLAIN", "334 \r\n"),
        ("AHVzZXIAcGFzcw==", "235 ok\r\n"),
    ]);
    assert_eq!(
        world.summary(),
        ("D2.0.0".into(), End::Complete),
        "the initial response was not taken"
    );
    let summary = |rules: Rules<'_>| run(rules).summary();
    assert_eq!(
        summary(&[("EHLO", AUTH), ("AUTH", "535 5.7.8 no\r\n")]),
        ("T4.7.8".into(), End::Ours)
    );
    assert_eq!(
        summary(&[("EHLO", AUTH), ("AUTH", "454 4.7.0 no\r\n")]),
        ("T4.7.0".into(), End::NextHost)
    );
    assert_eq!(
        summary(&[("EHLO", AUTH), ("AUTH", ask), ("AHV", ask)]),
        ("T4.7.0".into(), End::Ours)
    );
    assert_eq!(
        summary(&[("EHLO", "250-mx\r\n250 AUTH GSSAPI\r\n")]),
        ("T4.7.0".into(), End::Ours)
    );
    let refused = run(&[("EHLO", AUTH), ("AUTH", "535 5.7.8 no\r\n")]);
    assert!(
        refused.outcome().recipients[0].report().severe,
        "an operator has to know"
    );
}

#[test]
fn faults_of_ours_end_without_a_dot() {
    for fails_at in [0, 7, 14] {
        let mut world = World::simple(&[]);
        world.read_fails_at = Some(fails_at);
        let world = world.run();
        assert_eq!(world.summary(), ("T4.3.0 T4.3.0".into(), End::Ours));
        assert!(!world.wire().contains("\r\n.\r\n") && !world.wire().contains("QUIT"));
    }
    let mut short = job(&["b@x.example"], MESSAGE);
    short.size += 1;
    let world = World::new(settings(TlsPolicy::None), short, MESSAGE, &[]).run();
    assert_eq!(world.summary(), ("T4.3.0".into(), End::Ours));
    let empty = World::new(settings(TlsPolicy::None), job(&["b@x.example"], b""), b"", &[]).run();
    assert!(empty.wire().ends_with("DATA\r\n.\r\nQUIT\r\n"));
    assert_eq!(empty.summary(), ("D2.0.0".into(), End::Complete));
}

#[test]
fn shutdown_cuts_no_message_in_half() {
    let at = |line: &'static str| {
        let mut world = World::simple(&[("EHLO", PLAIN)]);
        world.shutdown_at = Some(line);
        world.run().summary()
    };
    for line in ["EHLO", "MAIL", "RCPT", "DATA"] {
        assert_eq!(at(line), ("T4.3.2 T4.3.2".into(), End::Ours), "{line}");
    }
    for line in [".", "QUIT"] {
        assert_eq!(at(line), ("D2.0.0 D2.0.0".into(), End::Complete), "{line}");
    }
}

#[test]
fn memory_is_bounded() {
    let mut world = World::simple(&[]);
    world.say(&[b'2'; 4000]);
    assert_eq!(world.run().summary().1, End::NextHost, "a line without end");
    let mut world = World::simple(&[]);
    world.say("220-x\r\n".repeat(200).as_bytes());
    assert_eq!(world.run().summary().1, End::NextHost, "a reply without end");
}

/// What a run shows, with neighbouring sends joined.
fn trace(rules: Rules<'_>, message: &[u8], split: Vec<usize>) -> (String, Vec<Note>, (String, End)) {
    let mut world = World::new(
        settings(TlsPolicy::Opportunistic),
        job(&["b@x.example", "c@x.example"], message),
        message,
        rules,
    );
    world.split = split;
    let world = world.run();
    (
        world.wire.escape_ascii().to_string(),
        world.notes.clone(),
        world.summary(),
    )
}

proptest! {
    #[test]
    fn any_split_gives_the_same(
        split in proptest::collection::vec(1_usize..20, 1..8),
        choice in proptest::collection::vec(0_usize..4, 5),
        text in proptest::collection::vec(proptest::sample::select(b"\r\n.ab".to_vec()), 0..60),
    ) {
        let pick = |n: usize, all: [&'static str; 4]| all[choice[n]];
        let rules = [
            ("EHLO", pick(0, [PLAIN, FULL, TLS, "500 no\r\n"])),
            ("MAIL", pick(1, ["250 ok\r\n", "250-a\r\n250 ok\r\n", "550 5.1.8 no\r\n", "421 x\r\n"])),
            ("RCPT TO:<b", pick(2, ["250 ok\r\n", "550 no\r\n", "450 no\r\n", "552 many\r\n"])),
            ("STARTTLS", pick(3, ["220 go\r\n", "454 no\r\n", "220 go\r\n250 injected\r\n", "501 no\r\n"])),
            (".", pick(4, ["250 2.0.0 ok\r\n", "250-a\r\n250 b\r\n", "550 no\r\n", "DROP"])),
        ];
        let whole = trace(&rules, &text, Vec::new());
        prop_assert_eq!(&trace(&rules, &text, vec![1]), &whole);
        prop_assert_eq!(&trace(&rules, &text, split), &whole);
    }
}
