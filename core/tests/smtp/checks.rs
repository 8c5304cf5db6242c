//! Strangers on port 25 are looked at once; LMTP answers for every recipient.

use crate::host::{Host, settings, tls};
use rmail_core::addr::Domain;
use rmail_core::machine::{Action, Input};
use rmail_core::note::Note;
use rmail_core::refusal::Refusal;
use rmail_core::smtp::server::{Call, CheckKind, CheckPolicy, Checked, Checks, Finding, Role, Settings};

fn checking(helo: CheckPolicy) -> Settings {
    Settings {
        checks: Checks { ask: true, helo },
        ..settings(Role::Mx)
    }
}

fn listed(refuse: bool) -> Checked {
    Checked {
        name: None,
        findings: vec![Finding {
            kind: CheckKind::Dnsbl,
            text: "listed by bl.example as 127.0.0.2".into(),
            refuse,
        }],
    }
}

fn checks(host: &Host) -> usize {
    let asked = |action: &&Action<Call>| matches!(action, Action::Call(_, Call::Check));
    host.log.iter().filter(asked).count()
}

#[test]
fn a_stranger_is_looked_at_once_and_refused_at_rcpt_but_for_the_postmaster() {
    let mut host = Host::ready(checking(CheckPolicy::Off));
    host.checked = listed(true);
    assert_eq!(host.say("MAIL FROM:<a@b.c>\r\n"), "250 2.1.0 OK\r\n");
    let refusal = "550 5.7.1 Client [192.0.2.1] refused: listed by bl.example as 127.0.0.2\r\n";
    assert_eq!(host.say("RCPT TO:<bob@demo.test>\r\n"), refusal);
    assert_eq!(host.say("RCPT TO:<Postmaster>\r\n"), "250 2.1.5 OK\r\n");
    host.say("RSET\r\nEHLO again.example\r\nMAIL FROM:<a@b.c>\r\n");
    assert_eq!(host.say("RCPT TO:<bob@demo.test>\r\n"), refusal);
    assert_eq!(checks(&host), 1);
    let found = host
        .notes
        .iter()
        .filter(|note| matches!(note, Note::Check { what: "dnsbl", .. }));
    assert_eq!(found.count(), 1);
}

#[test]
fn what_is_only_logged_refuses_nobody_and_a_confirmed_name_stands_in_received() {
    let mut host = Host::ready(checking(CheckPolicy::Log));
    host.checked = Checked {
        name: Domain::parse("mx.example.net"),
        ..listed(false)
    };
    host.say("EHLO short\r\nMAIL FROM:<a@b.c>\r\n");
    assert_eq!(host.say("RCPT TO:<bob@demo.test>\r\n"), "250 2.1.5 OK\r\n");
    host.say("DATA\r\n");
    assert!(host.say("A: b\r\n\r\nc\r\n.\r\n").starts_with("250 2.0.0"));
    let mail = host.mail.first().expect("delivered");
    assert!(
        mail.text
            .contains("Received: from short (mx.example.net [192.0.2.1])\r\n"),
        "{}",
        mail.text
    );
    let found = host
        .notes
        .iter()
        .filter(|note| matches!(note, Note::Check { .. }));
    assert_eq!(found.count(), 2, "the list, and the name in EHLO");
}

#[test]
fn names_without_a_dot_are_refused_where_that_is_wanted_and_the_last_name_counts() {
    let mut host = Host::ready(checking(CheckPolicy::Refuse));
    host.say("EHLO localhost\r\nMAIL FROM:<a@b.c>\r\n");
    assert_eq!(
        host.say("RCPT TO:<bob@demo.test>\r\n"),
        "550 5.7.1 Name in EHLO or HELO refused: not a fully-qualified domain name\r\n"
    );
    host.say("EHLO mail.example\r\nMAIL FROM:<a@b.c>\r\n");
    assert_eq!(host.say("RCPT TO:<bob@demo.test>\r\n"), "250 2.1.5 OK\r\n");
}

#[test]
fn who_is_trusted_or_has_logged_in_is_not_looked_at() {
    let trusted = Settings {
        trusted: true,
        ..checking(CheckPolicy::Refuse)
    };
    let mut host = Host::ready(trusted);
    host.checked = listed(true);
    host.say("EHLO localhost\r\nMAIL FROM:<a@b.c>\r\n");
    assert_eq!(host.say("RCPT TO:<bob@demo.test>\r\n"), "250 2.1.5 OK\r\n");
    assert_eq!(checks(&host), 0);

    let mut host = Host::new(checking(CheckPolicy::Refuse));
    host.input(Input::TlsStarted(tls()));
    host.checked = listed(true);
    host.say(
        "EHLO localhost\r\nAUTH PLAIN AGFsaWNlQGRlbW8udGVzdABzZWNyZXQ=\r\nMAIL FROM:<alice@demo.test>\r\n",
    );
    host.take();
    assert_eq!(host.say("RCPT TO:<bob@demo.test>\r\n"), "250 2.1.5 OK\r\n");
    assert_eq!(checks(&host), 0);
}

#[test]
fn each_recipient_of_lmtp_has_its_reply_and_its_line_in_the_log() {
    let mut host = Host::new(settings(Role::Lmtp));
    host.settle();
    host.say("LHLO client.example\r\nMAIL FROM:<a@b.c>\r\n");
    host.say("RCPT TO:<bob@demo.test>\r\nRCPT TO:<carol@demo.test>\r\nRCPT TO:<bob@demo.test>\r\nDATA\r\n");
    host.take();
    let replies = host.say("A: b\r\n\r\nc\r\n.\r\n");
    let codes: Vec<&str> = replies.lines().map(|line| &line[..9]).collect();
    assert_eq!(codes, ["250 2.0.0", "452 4.2.2", "250 2.0.0"]);
    let accepted = host.notes.iter().find_map(|note| match note {
        Note::Accepted { recipients, .. } => Some(*recipients),
        _ => None,
    });
    assert_eq!(accepted, Some(1));
    let carol =
        |note: &&Note| matches!(note, Note::Refused { what, .. } if what.ends_with("to <carol@demo.test>"));
    assert_eq!(host.notes.iter().filter(carol).count(), 1);
}

#[test]
fn a_message_that_reaches_nobody_counts_as_one_error() {
    let mut host = Host::new(Settings {
        max_errors: 2,
        ..settings(Role::Lmtp)
    });
    host.commit = Some(Refusal::NoSuchUser);
    host.settle();
    host.say("LHLO client.example\r\nMAIL FROM:<a@b.c>\r\n");
    host.say("RCPT TO:<bob@demo.test>\r\nRCPT TO:<alice@demo.test>\r\nRCPT TO:<bob@demo.test>\r\nDATA\r\n");
    host.take();
    let replies = host.say("A: b\r\n\r\nc\r\n.\r\n");
    assert_eq!(
        replies
            .lines()
            .filter(|line| line.starts_with("550 5.1.1"))
            .count(),
        3
    );
    assert!(!host.closed);
    assert_eq!(host.say("NOOP\r\n"), "250 2.0.0 OK\r\n");
}
