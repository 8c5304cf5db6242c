//! Dialogues with the receiving session: commands, their order, limits, ends.

use std::time::Duration;

use crate::host::{Host, settings};
use rmail_core::chunk::Chunk;
use rmail_core::line::Inbox;
use rmail_core::machine::{Action, CallId, Input, Machine as _, Session as _};
use rmail_core::note::Note;
use rmail_core::refusal::Refusal;
use rmail_core::smtp::server::{Call, Reply, Role, Session, Settings};

fn mx() -> Host {
    Host::ready(settings(Role::Mx))
}

/// The codes of all replies, without texts.
fn codes(output: &str) -> Vec<String> {
    let head = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    output.lines().map(head).collect()
}

#[test]
fn greeting_and_ehlo_have_their_forms() {
    let mut host = Host::new(settings(Role::Mx));
    host.settle();
    assert_eq!(host.take(), "220 mail.demo.test ESMTP rmail\r\n");
    assert_eq!(
        host.say("EHLO client.example\r\n"),
        "250-mail.demo.test\r\n250-PIPELINING\r\n250-SIZE 10000\r\n250-8BITMIME\r\n250-CHUNKING\r\n250-BINARYMIME\r\n\
         250-ENHANCEDSTATUSCODES\r\n250-STARTTLS\r\n250-SMTPUTF8\r\n250-DSN\r\n\
         250-LIMITS RCPTMAX=5 MAILMAX=50\r\n250 HELP\r\n"
    );
    assert_eq!(host.say("HELO client.example\r\n"), "250 mail.demo.test\r\n");
    assert_eq!(
        host.say("QUIT\r\n"),
        "221 2.0.0 mail.demo.test closing connection\r\n"
    );
    assert!(host.closed);
}

#[test]
fn a_message_goes_through_a_spool_into_a_commit() {
    let mut host = mx();
    assert_eq!(
        host.say("MAIL FROM:<x@remote.example> SIZE=20\r\n"),
        "250 2.1.0 OK\r\n"
    );
    assert_eq!(host.say("RCPT TO:<bob@demo.test>\r\n"), "250 2.1.5 OK\r\n");
    assert_eq!(host.say("DATA\r\n"), "354 End data with <CR><LF>.<CR><LF>\r\n");
    let reply = host.say("Subject: x\r\n\r\n..\u{e4}\r\n.\r\n");
    let mail = host.mail.pop().expect("delivered");
    let id = &mail.envelope.id;
    assert_eq!(
        reply,
        format!("250 2.0.0 OK: message accepted for delivery {id}\r\n")
    );
    let own = "Return-Path: <x@remote.example>\r\nDelivered-To: bob@demo.test\r\n";
    assert_eq!(
        mail.text,
        format!(
            "{own}Received: from client.example ([192.0.2.1])\r\n by mail.demo.test (rmail) with ESMTP\r\n \
             id {id}\r\n for <bob@demo.test>;\r\n Sun, 28 Sep 2025 12:00:00 +0000\r\nSubject: x\r\n\r\n.\u{e4}\r\n"
        )
    );
    assert_eq!(mail.envelope.relay_offset, own.len() as u64);
    assert!(mail.envelope.eight_bit && mail.envelope.account.is_none() && mail.envelope.authors.is_empty());
    assert!(host.notes.iter().any(|note| matches!(
        note,
        Note::Accepted { size, recipients: 1, .. } if *size == mail.text.len() as u64
    )));
    // The next transaction begins afresh.
    assert_eq!(codes(&host.say("RCPT TO:<bob@demo.test>\r\n")), ["503 5.5.1"]);
}

#[test]
fn with_several_recipients_none_is_named() {
    let mut host = mx();
    let output = host.say(
        "MAIL FROM:<>\r\nRCPT TO:<bob@demo.test>\r\nRCPT TO:<BOB@demo.test>\r\nRCPT TO:<bob@demo.test>\r\n\
         RCPT TO:<nobody@demo.test>\r\nRCPT TO:<postmaster>\r\nDATA\r\n.\r\nNOOP\r\n",
    );
    assert_eq!(
        codes(&output),
        [
            "250 2.1.0",
            "250 2.1.5",
            "250 2.1.5",
            "250 2.1.5",
            "550 5.1.1",
            "250 2.1.5",
            "354 End",
            "250 2.0.0",
            "250 2.0.0"
        ]
    );
    let mail = &host.mail[0];
    let shown: Vec<String> = mail
        .envelope
        .recipients
        .iter()
        .map(|to| to.path.to_string())
        .collect();
    assert_eq!(shown, ["<bob@demo.test>", "<BOB@demo.test>", "<Postmaster>"]);
    assert!(mail.text.starts_with("Return-Path: <>\r\nReceived: "));
    assert!(!mail.text.contains("Delivered-To") && !mail.text.contains(" for "));
}

#[test]
fn a_client_whose_name_is_no_domain_is_named_by_its_address() {
    let mut host = Host::new(settings(Role::Mx));
    host.settle();
    assert!(host.say("EHLO My PC (office)\r\n").ends_with("250 HELP\r\n"));
    host.say("MAIL FROM:<>\r\nRCPT TO:<bob@demo.test>\r\nDATA\r\nSubject: x\r\n\r\n.\r\n");
    let mail = host.mail.pop().expect("delivered");
    assert!(
        mail.text.contains("Received: from [192.0.2.1] ([192.0.2.1])\r\n"),
        "{}",
        mail.text
    );
}

#[test]
fn wrong_order_is_refused_and_harmless() {
    let mut host = Host::new(settings(Role::Mx));
    host.settle();
    host.take();
    let output = host.say("MAIL FROM:<>\r\nRCPT TO:<bob@demo.test>\r\nDATA\r\nEHLO a\r\n");
    assert_eq!(codes(&output)[..3], ["503 5.5.1", "503 5.5.1", "503 5.5.1"]);
    let output = host.say(
        "DATA\r\nMAIL FROM:<>\r\nDATA\r\nMAIL FROM:<>\r\nRCPT TO:<full@demo.test>\r\nDATA\r\nRSET\r\n\
         RCPT TO:<bob@demo.test>\r\nMAIL FROM:<>\r\nEHLO a\r\nRCPT TO:<bob@demo.test>\r\n",
    );
    let got = codes(&output);
    assert_eq!(
        got[..8],
        [
            "503 5.5.1",
            "250 2.1.0",
            "503 5.5.1",
            "503 5.5.1",
            "452 4.2.2",
            "554 5.5.1",
            "250 2.0.0",
            "503 5.5.1"
        ]
    );
    assert_eq!(got.last().map(String::as_str), Some("503 5.5.1"), "EHLO resets");
}

#[test]
fn refusals_have_their_codes() {
    let mut host = mx();
    let output = host.say(
        "MAIL FROM:<alice@demo.test>\r\nMAIL FROM:<> SIZE=10001\r\nMAIL FROM:<> SIZE=10000\r\n\
         RCPT TO:<x@remote.example>\r\nRCPT TO:<off@demo.test>\r\nRCPT TO:<broken@demo.test>\r\n\
         VRFY bob\r\nEXPN all\r\nHELP\r\nFOO\r\n",
    );
    assert_eq!(
        codes(&output),
        [
            "550 5.7.1",
            "552 5.3.4",
            "250 2.1.0",
            "550 5.7.1",
            "550 5.2.1",
            "451 4.3.0",
            "252 2.5.2",
            "502 5.5.1",
            "214 2.0.0",
            "500 5.5.1"
        ]
    );
    assert!(output.contains("550 5.7.1 Relay not permitted\r\n"));
    let refused = |what: &str| {
        host.notes
            .iter()
            .any(|note| matches!(note, Note::Refused { what: known, .. } if known == what))
    };
    assert!(refused("RCPT TO:<x@remote.example>") && refused("MAIL FROM:<alice@demo.test>"));
}

#[test]
fn what_is_wrong_with_a_message_is_told_after_its_end() {
    for (text, code) in [
        ("a\nb\r\n.\r\n", "554 5.6.0"),
        ("a\r\n.\nMAIL FROM:<>\r\n.\r\n", "554 5.6.0"),
        ("a\0b\r\n.\r\n", "554 5.6.0"),
        (&*format!("{}\r\n.\r\n", "x".repeat(1_000)), "554 5.6.0"),
        (&*format!("{}.\r\n", "123456789\r\n".repeat(1_000)), "552 5.3.4"),
        (
            &*format!("{}\r\n.\r\n", "Received: x\r\n".repeat(101)),
            "554 5.4.6",
        ),
    ] {
        let mut host = mx();
        host.say("MAIL FROM:<>\r\nRCPT TO:<bob@demo.test>\r\nDATA\r\n");
        assert_eq!(codes(&host.say(text)), [code], "{text:.40}");
        assert!(host.mail.is_empty() && host.open_spools() == 0);
        assert_eq!(codes(&host.say("NOOP\r\n")), ["250 2.0.0"]);
    }
}

#[test]
fn spooled_octets_stop_at_the_limit() {
    let mut host = mx();
    host.say("MAIL FROM:<>\r\nRCPT TO:<bob@demo.test>\r\nDATA\r\n");
    for _ in 0..100 {
        host.say(&"123456789\r\n".repeat(1_000));
    }
    let spooled: usize = host
        .log
        .iter()
        .map(|action| {
            if let Action::Spool(_, chunk) = action {
                chunk.len()
            } else {
                0
            }
        })
        .sum();
    assert!(spooled < 10_500, "{spooled}");
}

#[test]
fn the_service_may_refuse_at_open_and_at_commit() {
    let mut host = mx();
    host.open = Some(Refusal::DiskFull);
    let transaction = "MAIL FROM:<>\r\nRCPT TO:<bob@demo.test>\r\nDATA\r\n";
    assert_eq!(codes(&host.say(transaction))[2], "452 4.3.1");
    host.open = None;
    for (word, code) in [
        (Refusal::Storage, "451 4.3.0"),
        (Refusal::OverQuota, "552 5.2.2"),
        (Refusal::QueueFull, "452 4.3.1"),
        (Refusal::Busy, "451 4.3.0"),
    ] {
        host.commit = Some(word);
        assert_eq!(codes(&host.say(transaction))[2], "354 End");
        assert_eq!(codes(&host.say("A: b\r\n\r\n.\r\n")), [code]);
    }
    host.commit = None;
    host.say(transaction);
    assert_eq!(codes(&host.say(".\r\n")), ["250 2.0.0"]);
    assert_eq!(host.mail.len(), 1);
}

#[test]
fn nothing_is_read_while_a_call_is_out() {
    let mut host = mx();
    host.feed(b"MAIL FROM:<>\r\nNOOP\r\nQUIT\r\n");
    while host.poll() {}
    assert!(!host.session.wants_bytes() && host.session.poll_timeout().is_none());
    assert_eq!(host.take(), "");
    // An answer to another call is a fault of ours, and no answer.
    host.input(Input::Reply(CallId(99), Reply::Sender(Ok(()))));
    while host.poll() {}
    assert_eq!(host.take(), "");
    assert!(matches!(host.notes.last(), Some(Note::Internal(_))));
    host.settle();
    assert_eq!(codes(&host.take()), ["250 2.1.0", "250 2.0.0", "221 2.0.0"]);
}

#[test]
fn an_answer_of_the_wrong_kind_ends_the_session() {
    let mut host = mx();
    host.feed(b"MAIL FROM:<>\r\n");
    let mut id = None;
    while let Some(action) = host.session.poll_action() {
        if let Action::Call(call, Call::Sender { .. }) = action {
            id = Some(call);
        }
    }
    host.input(Input::Reply(id.expect("a call"), Reply::Discarded));
    host.settle();
    assert!(host.closed && host.take().starts_with("421 4.3.0"));
}

#[test]
fn recipients_messages_and_errors_are_counted() {
    let mut host = mx();
    host.say("MAIL FROM:<>\r\n");
    for local in ["alice", "bob", "carol", "ALICE", "BOB"] {
        assert_eq!(
            host.say(&format!("RCPT TO:<{local}@demo.test>\r\n")),
            "250 2.1.5 OK\r\n"
        );
    }
    assert_eq!(codes(&host.say("RCPT TO:<Carol@demo.test>\r\n")), ["452 4.5.3"]);

    let mut host = Host::ready(Settings {
        max_messages: 2,
        ..settings(Role::Mx)
    });
    let output = host.say("MAIL FROM:<>\r\nRSET\r\nMAIL FROM:<>\r\nRSET\r\nMAIL FROM:<>\r\nNOOP\r\n");
    assert_eq!(codes(&output).last().map(String::as_str), Some("421 4.7.0"));
    assert!(host.closed);

    let mut host = Host::ready(Settings {
        max_errors: 3,
        ..settings(Role::Mx)
    });
    let good = "MAIL FROM:<>\r\nRCPT TO:<bob@demo.test>\r\nDATA\r\n.\r\n";
    host.say(&format!("FOO\r\nFOO\r\n{good}"));
    let output = host.say("FOO\r\nFOO\r\nNOOP\r\nFOO\r\nNOOP\r\n");
    assert_eq!(
        codes(&output),
        ["500 5.5.1", "500 5.5.1", "250 2.0.0", "500 5.5.1", "421 4.7.0"]
    );
    assert!(host.closed);
}

#[test]
fn bad_lines_are_refused_and_skipped_in_bounded_memory() {
    let mut host = mx();
    for (line, code) in [
        ("NOOP\n".to_owned(), "500 5.5.2"),
        ("NO\rOP\r\n".into(), "500 5.5.2"),
        ("NOOP\0\r\n".into(), "500 5.5.2"),
        ("NOOP \u{e4}\r\n".into(), "500 5.5.2"),
        (format!("NOOP {}\r\n", "x".repeat(2_042)), "500 5.5.2"),
        (format!("NOOP {}\r\n", "x".repeat(2_041)), "250 2.0.0"),
        (format!("NOOP {}\r\n", "x".repeat(100_000)), "500 5.5.2"),
    ] {
        assert_eq!(codes(&host.say(&line)), [code], "{line:.20}");
    }
    // Without an end nothing is answered, nothing kept, and the time for the command runs out.
    for _ in 0..1_000 {
        assert_eq!(host.say(&"x".repeat(10_000)), "");
        assert!(host.session.wants_bytes());
    }
    host.wait(Duration::from_secs(300));
    assert!(host.take().starts_with("421 4.4.2") && host.closed);
}

#[test]
fn a_host_that_never_stops_feeding_is_cut_off() {
    let mut host = mx();
    host.feed(b"MAIL FROM:<>\r\n");
    while host.poll() {}
    for _ in 0..Inbox::HARD_CAP / 65_536 + 1 {
        host.feed(&[b'x'; 65_536]);
    }
    assert!(matches!(
        host.session.poll_action(),
        Some(Action::Note(Note::Ended(_)))
    ));
    assert_eq!(host.session.poll_action(), Some(Action::Close));
    assert_eq!(host.session.poll_action(), None);
}

#[test]
fn a_client_that_never_reads_stops_its_own_commands() {
    let mut host = mx();
    for _ in 0..100 {
        host.feed("EHLO a\r\n".repeat(1_000).as_bytes());
    }
    assert!(!host.session.wants_bytes());
    // What was produced without a poll is bounded; the rest waits as input.
    let mut sent = 0;
    while let Some(Action::Send(octets)) = host.session.poll_action() {
        sent += octets.as_ref().len();
        assert!(octets.as_ref().len() < 128 * 1024);
        let note = host.session.poll_action();
        assert!(matches!(note, Some(Action::Note(_))), "{note:?}");
        let note = host.session.poll_action();
        assert!(matches!(note, None | Some(Action::Note(_))), "{note:?}");
    }
    host.settle();
    assert!(sent + host.take().len() > 100_000 * 100);
}

#[test]
fn no_clock_runs_while_the_client_does_not_read() {
    let mut host = mx();
    host.feed("EHLO a\r\n".repeat(10_000).as_bytes());
    host.now.mono = host.now.mono + Duration::from_secs(1_000);
    // Nobody polls, for what was sent lies unread: a deadline would have the host tick in vain, again and again.
    assert_eq!(host.session.poll_timeout(), None);
    host.input(Input::Tick);
    host.settle();
    assert!(!host.closed && host.session.poll_timeout().is_some());
    host.take();
    assert_eq!(codes(&host.say("NOOP\r\n")), ["250 2.0.0"]);
    // The next command has its whole time.
    host.wait(Duration::from_secs(299));
    assert!(!host.closed);
    host.wait(Duration::from_secs(1));
    assert!(host.closed);
}

#[test]
fn a_slow_disk_costs_the_client_no_time() {
    let mut host = mx();
    host.session = rmail_core::smtp::server::Session::new(
        Settings {
            max_message_size: 1 << 20,
            ..settings(Role::Mx)
        },
        rmail_core::random::Random::from_seed([3; 32]),
        host.now,
    );
    host.say("EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<bob@demo.test>\r\nDATA\r\nA: b\r\n\r\n");
    let text = format!("{}\r\n", "x".repeat(98)).repeat(1_000);
    host.feed(text.as_bytes());
    // So much waits for the disk that the session wants no more.
    assert!(!host.session.wants_bytes());
    assert_eq!(host.session.poll_timeout(), None);
    host.now.mono = host.now.mono + Duration::from_secs(1_000);
    host.input(Input::Tick);
    host.settle();
    // Now it does, and the client has its time from here.
    assert!(host.session.wants_bytes());
    host.wait(Duration::ZERO);
    assert!(!host.closed);
    host.wait(Duration::from_secs(179));
    assert_eq!(codes(&host.say(".\r\n")), ["250 2.0.0"]);
}

#[test]
fn news_keeps_its_place_although_nobody_polls() {
    // So many answers wait that commands stay unread; the news behind them must not overtake them.
    let flood = "EHLO a\r\n".repeat(10_000);
    let run = |polled: bool| {
        let mut host = Host::ready(settings(Role::Submission));
        let watch = host.watches[0];
        let steps = [
            Input::Bytes(Chunk::copy_from(flood.as_bytes())),
            Input::Dirty(watch),
            Input::Bytes(Chunk::copy_from(b"NOOP\r\n")),
            Input::Shutdown,
            Input::Bytes(Chunk::copy_from(b"HELP\r\n")),
        ];
        for step in steps {
            host.input(step);
            if polled {
                host.settle();
            }
        }
        host.settle();
        let rechecks = host
            .log
            .iter()
            .position(|action| matches!(action, Action::Call(_, Call::Recheck { .. })));
        (rechecks, host.closed)
    };
    let polled = run(true);
    assert!(polled.0.is_some() && polled.1);
    assert_eq!(run(false).0, polled.0);
}

#[test]
fn silence_ends_the_session() {
    let mut host = mx();
    host.wait(Duration::from_secs(299));
    assert_eq!(host.take(), "");
    // Half a command does not buy time.
    host.say("NO");
    host.wait(Duration::from_secs(1));
    assert_eq!(
        host.take(),
        "421 4.4.2 mail.demo.test timeout, closing connection\r\n"
    );
    assert!(host.closed);

    let mut host = mx();
    host.say("MAIL FROM:<>\r\nRCPT TO:<bob@demo.test>\r\nDATA\r\nA: b\r\n");
    host.wait(Duration::from_secs(179));
    host.say("C: d\r\n");
    host.wait(Duration::from_secs(179));
    assert_eq!(host.take(), "");
    host.wait(Duration::from_secs(1));
    assert!(host.take().starts_with("421 4.4.2"));
    assert!(host.closed && host.mail.is_empty() && host.open_spools() == 0);
}

#[test]
fn the_end_of_input_delivers_nothing_half() {
    for (text, code) in [
        ("NOO", None),
        (
            "MAIL FROM:<>\r\nRCPT TO:<bob@demo.test>\r\nDATA\r\nA: b\r\n\r\nc\r\n.\r",
            None,
        ),
        ("NOOP\r\n", Some("250 2.0.0")),
    ] {
        let mut host = mx();
        host.feed(text.as_bytes());
        host.input(Input::Eof);
        host.settle();
        assert!(
            host.closed && host.mail.is_empty() && host.open_spools() == 0,
            "{text}"
        );
        if let Some(code) = code {
            assert_eq!(codes(&host.take()), [code]);
        }
    }
    // A client may send all and close its side: what is whole is done.
    let mut host = mx();
    host.feed(b"MAIL FROM:<>\r\nRCPT TO:<bob@demo.test>\r\nDATA\r\nA: b\r\n.\r\nQUIT\r\n");
    host.input(Input::Eof);
    host.settle();
    assert!(host.closed && host.mail.len() == 1);
}

#[test]
fn shutdown_waits_for_the_message_under_way() {
    let mut host = mx();
    host.input(Input::Shutdown);
    host.settle();
    assert_eq!(host.take(), "421 4.3.2 mail.demo.test shutting down\r\n");
    assert!(host.closed);

    let mut host = mx();
    host.say("MAIL FROM:<>\r\nRCPT TO:<bob@demo.test>\r\nDATA\r\nA: b\r\n");
    host.input(Input::Shutdown);
    host.settle();
    assert!(!host.closed);
    assert_eq!(
        codes(&host.say("\r\n.\r\nMAIL FROM:<>\r\n")),
        ["250 2.0.0", "421 4.3.2"]
    );
    assert!(host.closed && host.mail.len() == 1);
}

#[test]
fn help_and_noop_need_no_ehlo() {
    let mut host = Host::new(settings(Role::Mx));
    host.settle();
    host.take();
    assert_eq!(
        codes(&host.say("noop x\r\nHELP\r\nvrfy x\r\nRSET\r\n")),
        ["250 2.0.0", "214 2.0.0", "252 2.5.2", "250 2.0.0"]
    );
}

#[test]
fn a_chunk_that_cannot_be_stored_fails_all_that_follow() {
    let mut host = mx();
    host.open = Some(Refusal::DiskFull);
    let said = "MAIL FROM:<>\r\nRCPT TO:<bob@demo.test>\r\nBDAT 6\r\nA: b\r\nBDAT 6\r\nQUIT\r\nBDAT 0 LAST\r\nNOOP\r\n";
    let codes = codes(&host.say(said));
    assert_eq!(
        codes,
        [
            "250 2.1.0",
            "250 2.1.5",
            "452 4.3.1",
            "452 4.3.1",
            "452 4.3.1",
            "250 2.0.0"
        ]
    );
    host.open = None;
    let again = "MAIL FROM:<>\r\nRCPT TO:<bob@demo.test>\r\nBDAT 6 LAST\r\nA: b\r\n";
    assert!(host.say(again).ends_with('\n'));
    assert_eq!((host.mail.len(), host.open_spools()), (1, 0));
}

#[test]
fn between_chunks_nobody_logs_in_and_a_shutdown_waits() {
    let mut host = Host::ready(Settings {
        cleartext_auth: true,
        ..settings(Role::Mx)
    });
    host.say("MAIL FROM:<>\r\nRCPT TO:<bob@demo.test>\r\nBDAT 6\r\nA: b\r\n");
    let auth = host.say("AUTH PLAIN AGFsaWNlQGRlbW8udGVzdABzZWNyZXQ=\r\n");
    assert_eq!(codes(&auth), ["503 5.5.1"]);
    host.input(Input::Shutdown);
    host.settle();
    assert_eq!(host.take(), "");
    assert_eq!(codes(&host.say("BDAT 0 LAST\r\n")), ["250 2.0.0", "421 4.3.2"]);
    assert_eq!((host.mail.len(), host.closed), (1, true));
}

#[test]
fn a_session_is_small() {
    assert!(size_of::<Session>() <= 1_024, "{}", size_of::<Session>());
}

#[test]
fn what_has_no_bound_is_not_told_as_one() {
    let limits = |max_messages| {
        let mut host = Host::new(Settings {
            max_messages,
            ..settings(Role::Mx)
        });
        host.settle();
        host.take();
        let told = host.say("EHLO client.example\r\n");
        let line = told.lines().find(|line| line.contains("LIMITS")).expect("LIMITS");
        line.to_owned()
    };
    assert_eq!(limits(7), "250-LIMITS RCPTMAX=5 MAILMAX=7");
    assert_eq!(limits(usize::MAX), "250-LIMITS RCPTMAX=5");
}

#[test]
fn what_is_relayed_is_told_as_it_is_not_as_it_came() {
    let mut host = Host::ready(settings(Role::Submission));
    let send = |host: &mut Host, header: &str, body: &str| {
        host.say("MAIL FROM:<alice@demo.test>\r\nRCPT TO:<bob@demo.test>\r\nDATA\r\n");
        let told = host.say(&format!("From: alice@demo.test\r\n{header}\r\n{body}\r\n.\r\n"));
        assert!(told.starts_with("250 "), "{told}");
        let mail = host.mail.pop().expect("a message");
        (mail.envelope.eight_bit, mail.text.is_ascii())
    };
    // The subject becomes an encoded word.
    assert_eq!(send(&mut host, "Subject: Köln\r\n", "x"), (false, true));
    assert_eq!(send(&mut host, "Subject: x\r\n", "Köln"), (true, false));
}

#[test]
fn recipients_of_one_message_have_an_end_also_when_each_is_known() {
    let mut host = Host::ready(Settings {
        max_commands: 200,
        ..settings(Role::Mx)
    });
    host.say("MAIL FROM:<x@remote.example>\r\n");
    let told = host.say(&"RCPT TO:<bob@demo.test>\r\n".repeat(1_001));
    assert_eq!(
        told.lines().filter(|line| line.starts_with("250 2.1.5")).count(),
        1_000
    );
    assert!(
        told.ends_with("421 4.5.3 mail.demo.test too many recipients, closing connection\r\n"),
        "{told}"
    );
    assert!(host.closed);
}
