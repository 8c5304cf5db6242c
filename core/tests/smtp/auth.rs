//! STARTTLS, AUTH and the rules of submission.

use crate::host::{EPOCH, Host, settings, tls};
use rmail_core::machine::{Action, Input, Scope, WatchId};
use rmail_core::mailbox::ModSeq;
use rmail_core::note::Note;
use rmail_core::smtp::server::{Role, Settings};

const GOOD_PLAIN: &str = "AGFsaWNlQGRlbW8udGVzdABzZWNyZXQ=";
/// `alice@demo.test`
const NAME: &str = "YWxpY2VAZGVtby50ZXN0";
/// `secret`
const PASSWORD: &str = "c2VjcmV0";

fn code(output: &str) -> &str {
    output.get(..9).unwrap_or(output)
}

/// Greeted over TLS, EHLO said.
fn encrypted(role: Role) -> Host {
    let mut host = Host::new(settings(role));
    host.input(Input::TlsStarted(tls()));
    host.settle();
    host.say("EHLO client.example\r\n");
    host
}

#[test]
fn implicit_tls_may_be_told_before_or_after_the_greeting() {
    let greeting = |early: bool| {
        let mut host = Host::new(settings(Role::Submission));
        if !early {
            host.settle();
        }
        host.input(Input::TlsStarted(tls()));
        host.settle();
        (host.take(), host.say("EHLO a\r\n"))
    };
    assert_eq!(greeting(true), greeting(false));
    let (hello, ehlo) = greeting(true);
    assert_eq!(hello, "220 mail.demo.test ESMTP rmail\r\n");
    assert!(ehlo.contains("250-AUTH SCRAM-SHA-256 PLAIN LOGIN\r\n") && !ehlo.contains("STARTTLS"));
}

#[test]
fn auth_is_offered_where_it_may_be_used() {
    let offered = |settings: Settings, over_tls: bool| {
        let mut host = Host::new(settings);
        if over_tls {
            host.input(Input::TlsStarted(tls()));
        }
        host.settle();
        host.take();
        let ehlo = host.say("EHLO a\r\n");
        (
            ehlo.contains("AUTH SCRAM-SHA-256 PLAIN LOGIN"),
            code(&host.say(&format!("AUTH PLAIN {GOOD_PLAIN}\r\n"))).to_owned(),
        )
    };
    for role in [Role::Mx, Role::Submission] {
        assert_eq!(offered(settings(role), false), (false, "538 5.7.1".into()));
        assert_eq!(offered(settings(role), true), (true, "235 2.7.0".into()));
        let clear = Settings {
            cleartext_auth: true,
            ..settings(role)
        };
        assert_eq!(offered(clear, false), (true, "235 2.7.0".into()));
    }
    let off = Settings {
        auth_on_mx: false,
        ..settings(Role::Mx)
    };
    assert_eq!(offered(off, true), (false, "502 5.5.1".into()));
}

#[test]
fn starttls_drops_what_came_behind_it_and_what_was_learned() {
    let mut host = Host::new(settings(Role::Mx));
    host.settle();
    host.say("EHLO client.example\r\nMAIL FROM:<x@remote.example>\r\n");
    host.take();
    let output = host.say("STARTTLS\r\nRCPT TO:<bob@demo.test>\r\nQUIT\r\nEHLO evil.example\r\nNO");
    assert_eq!(output, "220 2.0.0 Ready to start TLS\r\n");
    assert!(host.tls_wanted && matches!(host.log.last(), Some(Action::StartTls)));
    // What the host had read before it began TLS is dropped too.
    assert_eq!(host.say("QUIT\r\n"), "");
    host.input(Input::TlsStarted(tls()));
    host.settle();
    assert!(host.notes.contains(&Note::Tls {
        version: "TLSv1.3",
        cipher: "TLS13_AES_128_GCM_SHA256".into()
    }));
    // Nothing is left of EHLO, of the transaction, or of the octets: no greeting comes, and commands are whole.
    assert_eq!(code(&host.say("RCPT TO:<bob@demo.test>\r\n")), "503 5.5.1");
    assert_eq!(code(&host.say("MAIL FROM:<>\r\n")), "503 5.5.1");
    let ehlo = host.say("EHLO client.example\r\n");
    assert!(ehlo.contains("AUTH SCRAM-SHA-256 PLAIN LOGIN") && !ehlo.contains("STARTTLS"));
    assert_eq!(code(&host.say("STARTTLS\r\n")), "503 5.5.1");
    host.say("MAIL FROM:<>\r\nRCPT TO:<bob@demo.test>\r\nDATA\r\n.\r\n");
    assert!(
        host.mail[0]
            .text
            .contains("with ESMTPS\r\n (TLSv1.3 TLS13_AES_128_GCM_SHA256)\r\n")
    );
}

#[test]
fn starttls_is_refused_where_there_is_none() {
    let mut host = Host::ready(Settings {
        starttls: false,
        ..settings(Role::Mx)
    });
    assert_eq!(code(&host.say("STARTTLS\r\n")), "502 5.5.1");
    assert!(!host.say("EHLO a\r\n").contains("STARTTLS"));
}

#[test]
fn starttls_forgets_a_login_in_clear_text() {
    let mut host = Host::new(Settings {
        cleartext_auth: true,
        ..settings(Role::Submission)
    });
    host.settle();
    host.say(&format!("EHLO a\r\nAUTH PLAIN {GOOD_PLAIN}\r\n"));
    assert_eq!(host.watches, [WatchId(0)]);
    host.say("STARTTLS\r\n");
    assert!(host.watches.is_empty());
    host.input(Input::TlsStarted(tls()));
    assert_eq!(
        host.say("EHLO a\r\nMAIL FROM:<alice@demo.test>\r\n")
            .lines()
            .last(),
        Some("530 5.7.0 Authentication required")
    );
}

#[test]
fn a_session_that_waits_for_tls_ends_by_time_and_by_eof() {
    for eof in [true, false] {
        let mut host = Host::ready(settings(Role::Mx));
        host.say("STARTTLS\r\n");
        if eof {
            host.input(Input::Eof);
            host.settle();
        } else {
            host.wait(std::time::Duration::from_secs(300));
        }
        assert!(host.closed);
        assert_eq!(host.take(), "", "no clear text behind the 220");
    }
}

#[test]
fn every_way_to_log_in_leads_to_235() {
    for exchange in [
        vec![format!("AUTH PLAIN {GOOD_PLAIN}")],
        vec!["auth plain".into(), GOOD_PLAIN.into()],
        vec!["AUTH LOGIN".into(), NAME.into(), PASSWORD.into()],
        vec![format!("AUTH LOGIN {NAME}"), PASSWORD.into()],
    ] {
        let mut host = encrypted(Role::Submission);
        host.take();
        let mut replies = Vec::new();
        for line in &exchange {
            replies.push(host.say(&format!("{line}\r\n")));
        }
        let last = replies.pop().expect("a reply");
        assert_eq!(last, "235 2.7.0 Authentication successful\r\n");
        let known = ["334 \r\n", "334 VXNlcm5hbWU6\r\n", "334 UGFzc3dvcmQ6\r\n"];
        assert!(
            replies.iter().all(|reply| known.contains(&reply.as_str())),
            "{replies:?}"
        );
        // Neither logs nor prints show a secret.
        let shown = format!("{:?} {:?} {:?}", host.notes, host.log, host.session);
        for secret in [GOOD_PLAIN, PASSWORD, NAME, "secret"] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
        assert!(!host.say("EHLO a\r\n").contains("AUTH"));
    }
}

#[test]
fn failed_exchanges_leave_the_session_usable() {
    for (lines, expected) in [
        ("AUTH PLAIN AGFsaWNlQGRlbW8udGVzdAB3cm9uZw==\r\n", "535 5.7.8"),
        // Another authorization identity.
        ("AUTH PLAIN Ym9iAGFsaWNlQGRlbW8udGVzdABzZWNyZXQ=\r\n", "535 5.7.8"),
        // busy@demo.test
        ("AUTH PLAIN AGJ1c3lAZGVtby50ZXN0AHNlY3JldA==\r\n", "454 4.7.0"),
        ("AUTH PLAIN !\r\n", "501 5.5.2"),
        ("AUTH PLAIN =\r\n", "501 5.5.2"),
        ("AUTH PLAIN YWJj\r\n", "501 5.5.2"),
        ("AUTH CRAM-MD5\r\n", "504 5.5.4"),
        ("AUTH\r\n", "501 5.5.4"),
    ] {
        let mut host = encrypted(Role::Submission);
        host.take();
        assert_eq!(code(&host.say(lines)), expected, "{lines}");
        assert_eq!(
            code(&host.say(&format!("AUTH PLAIN {GOOD_PLAIN}\r\n"))),
            "235 2.7.0"
        );
    }
    for (line, expected) in [
        ("*\r\n", "501 5.7.0"),
        ("not base64\r\n", "501 5.5.2"),
        ("AGFs\n", "501 5.5.2"),
        ("NOOP\r\n", "501 5.5.2"),
        (&*format!("{}\r\n", "A".repeat(12_288)), "500 5.5.6"),
        (&*format!("{}\r\n", "A".repeat(8_000)), "501 5.5.2"),
    ] {
        let mut host = encrypted(Role::Submission);
        host.say("AUTH LOGIN\r\n");
        host.take();
        assert_eq!(code(&host.say(line)), expected, "{line:.20}");
        assert_eq!(code(&host.say("NOOP\r\n")), "250 2.0.0");
    }
}

#[test]
fn failures_are_told_to_the_log_without_the_password() {
    let mut host = encrypted(Role::Submission);
    host.say("AUTH PLAIN AGFsaWNlQGRlbW8udGVzdAB3cm9uZw==\r\n");
    assert!(host.notes.contains(&Note::LoginFailed {
        login: "alice@demo.test".into(),
        mechanism: "PLAIN",
        reason: "wrong name or password",
    }));
    assert!(!format!("{:?}", host.notes).contains("wrong\""));
    // A client that does not notice that AUTH was refused sends its secrets as commands.
    let mut host = Host::ready(settings(Role::Mx));
    host.say(&format!(
        "AUTH LOGIN\r\n{NAME}\r\n{PASSWORD}\r\nAUTH PLAIN {GOOD_PLAIN} {GOOD_PLAIN}\r\n"
    ));
    let mut odd = Host::ready(settings(Role::Mx));
    odd.say(&format!(" AUTH PLAIN {GOOD_PLAIN}\r\n"));
    host.notes.append(&mut odd.notes);
    let shown = format!("{:?}", host.notes);
    for secret in [NAME, PASSWORD, GOOD_PLAIN] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn auth_has_its_place_in_the_order() {
    let mut host = encrypted(Role::Mx);
    host.say("MAIL FROM:<x@remote.example>\r\n");
    host.take();
    assert_eq!(
        code(&host.say(&format!("AUTH PLAIN {GOOD_PLAIN}\r\n"))),
        "503 5.5.1"
    );
    host.say("RSET\r\n");
    assert_eq!(
        code(&host.say(&format!("AUTH PLAIN {GOOD_PLAIN}\r\n"))),
        "235 2.7.0"
    );
    assert_eq!(
        code(&host.say(&format!("AUTH PLAIN {GOOD_PLAIN}\r\n"))),
        "503 5.5.1"
    );
}

#[test]
fn submission_needs_a_login() {
    let mut host = encrypted(Role::Submission);
    host.take();
    assert_eq!(
        host.say("MAIL FROM:<alice@demo.test>\r\n"),
        "530 5.7.0 Authentication required\r\n"
    );
    host.say(&format!("AUTH PLAIN {GOOD_PLAIN}\r\n"));
    assert_eq!(code(&host.say("MAIL FROM:<bob@demo.test>\r\n")), "550 5.7.1");
    assert_eq!(host.say("MAIL FROM:<alice@demo.test>\r\n"), "250 2.1.0 OK\r\n");
    assert_eq!(host.say("RCPT TO:<x@remote.example>\r\n"), "250 2.1.5 OK\r\n");
    assert_eq!(code(&host.say("RCPT TO:<full@demo.test>\r\n")), "552 5.2.2");
    assert_eq!(code(&host.say("DATA\r\n")), "354 End d");
    let reply = host.say("To: x@remote.example\r\nBcc: y@remote.example\r\n\r\nhi\r\n.\r\n");
    let mail = &host.mail[0];
    assert_eq!(
        reply,
        format!(
            "250 2.0.0 OK: message accepted for delivery {}\r\n",
            mail.envelope.id
        )
    );
    let relayed = &mail.text[usize::try_from(mail.envelope.relay_offset).expect("small")..];
    assert_eq!(
        relayed,
        format!(
            "Received: from client.example ([192.0.2.1])\r\n by mail.demo.test (rmail) with ESMTPSA\r\n \
             (TLSv1.3 TLS13_AES_128_GCM_SHA256)\r\n id {id}\r\n for <x@remote.example>;\r\n \
             Sun, 28 Sep 2025 12:00:00 +0000\r\nTo: x@remote.example\r\nFrom: alice@demo.test\r\n\
             Date: Sun, 28 Sep 2025 12:00:00 +0000\r\nMessage-ID: <{id}@mail.demo.test>\r\n\r\nhi\r\n",
            id = mail.envelope.id
        )
    );
    assert!(
        mail.text
            .starts_with("Return-Path: <alice@demo.test>\r\nReceived: ")
    );
    assert_eq!(
        mail.envelope.account.as_ref().map(|account| account.as_str()),
        Some("alice@demo.test")
    );
    assert_eq!(mail.envelope.authors.len(), 1);
}

#[test]
fn foreign_authors_are_refused_after_the_dot() {
    let mut host = Host::ready(settings(Role::Submission));
    for (header, expected) in [
        ("From: bob@demo.test\r\n", "550 5.7.1"),
        ("From: alice@demo.test\r\nSender: bob@demo.test\r\n", "550 5.7.1"),
        ("From: alice@demo.test, bob@demo.test\r\n", "550 5.7.1"),
        ("From: alice@demo.test\r\nFrom: bob@demo.test\r\n", "550 5.7.1"),
        (
            "Resent-From: bob@demo.test\r\nFrom: alice@demo.test\r\n",
            "550 5.7.1",
        ),
        ("From: nobody at all\r\n", "554 5.6.0"),
        (
            "Resent-From: alice@demo.test\r\nFrom: bob@demo.test\r\n",
            "250 2.0.0",
        ),
        ("From: \"bob@demo.test\" <ALICE@demo.test>\r\n", "250 2.0.0"),
    ] {
        host.say("MAIL FROM:<alice@demo.test>\r\nRCPT TO:<bob@demo.test>\r\nDATA\r\n");
        assert_eq!(
            code(&host.say(&format!("{header}\r\nx\r\n.\r\n"))),
            expected,
            "{header}"
        );
    }
    // On port 25 without a login nobody looks at the header.
    let mut host = Host::ready(settings(Role::Mx));
    host.say("MAIL FROM:<x@remote.example>\r\nRCPT TO:<bob@demo.test>\r\nDATA\r\n");
    assert_eq!(
        code(&host.say("From: bob@demo.test\r\nBcc: z\r\n\r\n.\r\n")),
        "250 2.0.0"
    );
    assert!(
        host.mail[0]
            .text
            .ends_with("From: bob@demo.test\r\nBcc: z\r\n\r\n")
    );
}

#[test]
fn after_auth_on_port_25_the_submission_rules_hold() {
    let mut host = encrypted(Role::Mx);
    host.say(&format!("AUTH PLAIN {GOOD_PLAIN}\r\n"));
    host.take();
    assert_eq!(code(&host.say("MAIL FROM:<x@remote.example>\r\n")), "550 5.7.1");
    host.say("MAIL FROM:<alice@demo.test>\r\n");
    assert_eq!(code(&host.say("RCPT TO:<full@demo.test>\r\n")), "552 5.2.2");
    assert_eq!(code(&host.say("RCPT TO:<x@remote.example>\r\n")), "250 2.1.5");
    host.say("DATA\r\n");
    assert_eq!(
        code(&host.say("From: mallory@remote.example\r\n\r\n.\r\n")),
        "550 5.7.1"
    );
}

#[test]
fn a_login_that_no_longer_holds_ends_the_session() {
    let mut host = Host::ready(settings(Role::Submission));
    let watch = host.watches[0];
    assert!(host.log.iter().any(|action| matches!(
        action,
        Action::Watch(_, Scope::Account(account), ModSeq(EPOCH)) if account.as_str() == "alice@demo.test"
    )));
    host.input(Input::Dirty(watch));
    host.settle();
    assert!(!host.closed);
    host.login_holds = false;
    // News of something else is no news.
    host.input(Input::Dirty(WatchId(watch.0 + 1)));
    host.settle();
    assert!(!host.closed);
    // Who sends a message octet by octet does not outlive a new password: it is not delivered.
    host.say("MAIL FROM:<alice@demo.test>\r\nRCPT TO:<bob@demo.test>\r\nDATA\r\nSubject: x\r\n");
    host.input(Input::Dirty(watch));
    host.settle();
    assert_eq!(code(&host.take()), "421 4.7.0");
    assert!(host.closed && host.mail.is_empty());
}
