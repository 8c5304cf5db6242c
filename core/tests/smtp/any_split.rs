//! However the octets are cut and whenever the host polls and answers, the session does the same.

use crate::host::{Host, settings, tls};
use proptest::prelude::*;
use rmail_core::machine::{Action, Input, WatchId};
use rmail_core::note::Note;
use rmail_core::smtp::server::{Call, CheckPolicy, Checks, Role, Settings};

/// What a client may send, good and bad.
const FRAGMENTS: [&str; 79] = [
    "EHLO client.example\r\n",
    "LHLO client.example\r\n",
    "RCPT TO:<carol@demo.test>\r\n",
    "ehlo [192.0.2.1]\r\n",
    "HELO client.example\r\n",
    "EHLO bad name\r\n",
    "MAIL FROM:<x@remote.example>\r\n",
    "MAIL FROM:<alice@demo.test> SIZE=100 BODY=8BITMIME\r\n",
    "MAIL FROM:<> SIZE=99999\r\n",
    "MAIL FROM:<>\r\n",
    "MAIL FROM:<broken\r\n",
    "RCPT TO:<alice@demo.test>\r\n",
    "RCPT TO:<bob@demo.test>\r\n",
    "RCPT TO:<bob@demo.test>\r\n",
    "RCPT TO:<full@demo.test>\r\n",
    "RCPT TO:<nobody@demo.test>\r\n",
    "RCPT TO:<far@remote.example>\r\n",
    "RCPT TO:<Postmaster>\r\n",
    "DATA\r\n",
    "DATA\r\n",
    "DATA\r\n",
    "From: alice@demo.test\r\nBcc: x@y.z\r\n\r\nhello\r\n.\r\n",
    "Return-Path: <x@y.z>\r\nSubject: a\r\n folded\r\n\r\n..dot\r\n.\r\n",
    ".\r\n",
    "no header\r\n.\r\n",
    "From: mallory@demo.test\r\n\r\n.\r\n",
    "From: (\r\n\r\n.\r\n",
    "a\n.\nb\r\n.\r\r\n.\rc\r\n.\r\n",
    "nul\0\r\n.\r\n",
    "some text that goes on and on and on until it is far too long for one line\r\n.\r\n",
    "twenty octets a line\r\ntwenty octets a line\r\ntwenty octets a line\r\ntwenty octets a line\r\n\
     twenty octets a line\r\ntwenty octets a line\r\ntwenty octets a line\r\ntwenty octets a line\r\n",
    "\r\n.\r\n",
    "MAIL FROM:<a@remote.example>\r\nRCPT TO:<bob@demo.test>\r\nDATA\r\nA: b\r\n\r\nc\r\n.\r\n",
    "RSET\r\n",
    "NOOP\r\n",
    "NOOP \r \r\n",
    "NOOP\n",
    "\r\n",
    "N\0P\r\n",
    "n\u{f6}\u{f6}p\r\n",
    "VRFY bob\r\n",
    "EXPN all\r\n",
    "HELP\r\n",
    "QUIT\r\n",
    "STARTTLS\r\n",
    "STARTTLS\r\nMAIL FROM:<injected@remote.example>\r\nNO",
    "AUTH PLAIN AGFsaWNlQGRlbW8udGVzdABzZWNyZXQ=\r\n",
    "AUTH PLAIN\r\nAGFsaWNlQGRlbW8udGVzdABzZWNyZXQ=\r\n",
    "AUTH PLAIN\r\n*\r\n",
    "AUTH PLAIN !!\r\n",
    "AUTH LOGIN\r\nYWxpY2VAZGVtby50ZXN0\r\nd3Jvbmc=\r\n",
    "AUTH LOGIN YWxpY2VAZGVtby50ZXN0\r\nc2VjcmV0\r\n",
    "AUTH SCRAM-SHA-512\r\n",
    "BDAT 6\r\nA: b\r\n",
    "BDAT 6 LAST\r\nA: b\r\n",
    "BDAT 7\r\nA: b\r\n\r",
    "BDAT 4 LAST\r\n\nc\r\n",
    "BDAT 0\r\n",
    "BDAT 0 LAST\r\n",
    "BDAT 0 LAST\r\n",
    "BDAT 100 LAST\r\n",
    "BDAT 6 LASST\r\nQUIT\r\n",
    "BDAT +5\r\n",
    "BDAT 99999999999999999999\r\n",
    "BDAT 12 LAST\r\na\nb\rc\0d.\r\n.",
    "MAIL FROM:<x@remote.example> BODY=BINARYMIME\r\nRCPT TO:<bob@demo.test>\r\n",
    "BDAT 97 LAST\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: binary\r\n\r\n\0\r\n--b--\r\n",
    "MAIL FROM:<x@remote.example> RET=HDRS ENVID=QQ+20314159 SIZE=10\r\n",
    "RCPT TO:<bob@demo.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob+2B@demo.test\r\n",
    "RCPT TO:<bob@demo.test> NOTIFY=NEVER,SUCCESS\r\n",
    "MAIL FROM:<x\u{f6}@remote.example> SMTPUTF8\r\n",
    "MAIL FROM:<x\u{f6}@remote.example>\r\n",
    "RCPT TO:<b\u{f6}b@demo.test>\r\n",
    "MAIL FROM:<x@remote.example> REQUIRETLS\r\n",
    "MAIL FROM:<alice@demo.test> MT-PRIORITY=7 HOLDFOR=60\r\n",
    "MAIL FROM:<alice@demo.test> HOLDUNTIL=1970-01-02T00:00:00Z MT-PRIORITY=-3\r\n",
    "TLS-Required: No\r\nSubject: gr\u{fc}n\r\n\r\nx\r\n.\r\n",
    "LONG",
    "EHLO a\r\nEHLO a\r\nEHLO a\r\nEHLO a\r\nEHLO a\r\nEHLO a\r\nEHLO a\r\nEHLO a\r\nEHLO a\r\nEHLO a\r\n",
];

/// What a client sends that wants to get somewhere.
const GOOD: [&str; 9] = [
    "EHLO client.example\r\n",
    "AUTH PLAIN AGFsaWNlQGRlbW8udGVzdABzZWNyZXQ=\r\n",
    "MAIL FROM:<x@remote.example>\r\nRCPT TO:<bob@demo.test>\r\nDATA\r\nA: b\r\n\r\nc\r\n.\r\n",
    "MAIL FROM:<alice@demo.test>\r\nRCPT TO:<bob@demo.test>\r\nRCPT TO:<x@y.z>\r\nDATA\r\nhello\r\n.\r\n",
    "MAIL FROM:<>\r\nRCPT TO:<bob@demo.test>\r\nRCPT TO:<full@demo.test>\r\nDATA\r\n",
    "RSET\r\n",
    "MAIL FROM:<>\r\nRCPT TO:<bob@demo.test>\r\nBDAT 6\r\nA: b\r\n",
    "BDAT 5 LAST\r\n\r\nc\r\n",
    "MAIL FROM:<> BODY=BINARYMIME\r\nRCPT TO:<bob@demo.test>\r\nBDAT 37\r\nContent-Transfer-Encoding: binary\r\n\r\nBDAT 3 LAST\r\n\0\n.",
];

/// What comes between two runs of octets, when all is quiet.
#[derive(Clone, Copy, Debug)]
enum Event {
    Nothing,
    Dirty,
    Withdrawn,
    Shutdown,
    Eof,
}

#[derive(Clone, Debug)]
struct Script {
    settings: Settings,
    /// TLS from the start.
    implicit: bool,
    segments: Vec<(Vec<u8>, Event)>,
}

fn script() -> impl Strategy<Value = Script> {
    let anything = prop::sample::select(&FRAGMENTS[..]).prop_map(|text| match text {
        "LONG" => "x".repeat(13_000).into_bytes(),
        text => text.as_bytes().to_vec(),
    });
    let good = prop::sample::select(&GOOD[..]).prop_map(|text| text.as_bytes().to_vec());
    let fragment = prop_oneof![3 => anything, 2 => good];
    let event = prop_oneof![
        6 => Just(Event::Nothing),
        2 => Just(Event::Dirty),
        1 => Just(Event::Withdrawn),
        1 => Just(Event::Shutdown),
        1 => Just(Event::Eof),
    ];
    let segment = (prop::collection::vec(fragment, 0..12), event)
        .prop_map(|(fragments, event)| (fragments.concat(), event));
    let segments = prop::collection::vec(segment, 1..5);
    (
        segments,
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(mut segments, submission, clear, implicit, patient, checked)| {
            let role = match (submission, checked) {
                (false, _) => Role::Mx,
                (true, false) => Role::Submission,
                (true, true) => Role::Lmtp,
            };
            let hello = if role == Role::Lmtp { "LHLO" } else { "EHLO" };
            let hello = format!("{hello} first.example\r\n").into_bytes();
            segments.insert(0, (hello, Event::Nothing));
            Script {
                settings: Settings {
                    cleartext_auth: clear,
                    max_message_size: 150,
                    max_recipients: 2,
                    max_messages: 4,
                    max_text_line: 60,
                    max_errors: if patient { 1_000 } else { 6 },
                    checks: Checks {
                        ask: checked,
                        helo: CheckPolicy::Log,
                    },
                    ..settings(role)
                },
                implicit,
                segments,
            }
        })
}

/// Runs a script. `plan` says, for each piece: its size, how often to poll behind it, and whether to answer then.
/// An empty plan: everything at once, polled at the end.
fn run(script: &Script, plan: &[(usize, u8, bool)]) -> (Vec<Action<Call>>, Host) {
    let mut host = Host::new(script.settings.clone());
    if script.implicit {
        host.input(Input::TlsStarted(tls()));
    }
    let mut plan = plan.iter().copied().cycle();
    for (octets, event) in &script.segments {
        let mut rest = octets.as_slice();
        while !rest.is_empty() && !host.closed {
            let (size, polls, answers) = plan.next().unwrap_or((rest.len(), 0, false));
            let (piece, tail) = rest.split_at(size.clamp(1, rest.len()));
            rest = tail;
            host.feed(piece);
            for _ in 0..polls {
                host.poll();
            }
            if answers {
                host.answer();
            }
        }
        host.settle();
        if host.tls_wanted {
            host.tls_wanted = false;
            host.input(Input::TlsStarted(tls()));
        }
        match event {
            Event::Nothing => {}
            Event::Dirty => host.input(Input::Dirty(WatchId(0))),
            Event::Withdrawn => {
                host.login_holds = false;
                host.input(Input::Dirty(WatchId(0)));
            }
            Event::Shutdown => host.input(Input::Shutdown),
            Event::Eof => host.input(Input::Eof),
        }
        host.settle();
    }
    (host.log.clone(), host)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_and_any_polling_do_the_same(
        script in script(),
        plan in prop::collection::vec((1_usize..40, 0_u8..4, any::<bool>()), 1..60),
    ) {
        let (whole, host) = run(&script, &[]);
        let (octets, _) = run(&script, &[(1, 3, true)]);
        prop_assert_eq!(&octets, &whole);
        let (lazy, _) = run(&script, &[(1, 0, false)]);
        prop_assert_eq!(&lazy, &whole);
        let (mixed, _) = run(&script, &plan);
        prop_assert_eq!(&mixed, &whole);

        // Nothing that was sent behind STARTTLS in clear text has any effect, and no spool stays open at the end.
        for pair in whole.windows(2).filter(|pair| pair[0] == Action::StartTls) {
            let quiet = matches!(&pair[1], Action::Note(Note::Tls { .. } | Note::Ended(_)));
            prop_assert!(quiet, "after StartTls came {:?}", pair[1]);
        }
        if host.closed {
            prop_assert_eq!(host.open_spools(), 0);
        }
    }
}

fn replies(log: &[Action<Call>], text: &str) -> usize {
    let notes = log
        .iter()
        .filter(|action| matches!(action, Action::Note(Note::Response(line)) if line.contains(text)));
    notes.count()
}

/// The generator reaches what it is there for: without this the property could pass on streams of errors.
#[test]
fn scripts_reach_deliveries_logins_chunks_and_tls() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let (mut mail, mut logins, mut starttls, mut closed) = (0, 0, 0, 0);
    let (mut chunks, mut converted) = (0, 0);
    for _ in 0..300 {
        let script = script().new_tree(&mut runner).expect("a script").current();
        let (log, host) = run(&script, &[]);
        mail += host.mail.len();
        logins += log
            .iter()
            .filter(|action| matches!(action, Action::Watch(..)))
            .count();
        starttls += log.iter().filter(|action| **action == Action::StartTls).count();
        closed += usize::from(host.closed);
        chunks += replies(&log, "octets received");
        converted += host
            .mail
            .iter()
            .filter(|mail| mail.text.contains("base64"))
            .count();
    }
    let least = [mail, logins, starttls, closed, chunks, converted]
        .into_iter()
        .min();
    assert!(
        least > Some(5),
        "{mail} {logins} {starttls} {closed} {chunks} {converted}"
    );
}
