//! What the sending session passes on of the sender's wishes, to servers that know them and to servers that do not.

use rmail_core::addr::{Address, ReversePath};
use rmail_core::chunk::Chunk;
use rmail_core::machine::{Action, Input, Machine as _, TlsInfo};
use rmail_core::relay::tls::Trust;
use rmail_core::relay::{Credentials, Enhanced, Outcome as Verdict, TlsPolicy};
use rmail_core::secret::Secret;
use rmail_core::smtp::client::{Call, End, Job, Outcome, Recipient, Reply, Session, Settings};
use rmail_core::smtp::envelope::{DsnRequest, Notify, Ret, Wishes};
use rmail_core::time::Now;

const MESSAGE: &[u8] = b"Subject: x\r\n\r\ntext\r\n";

fn job(recipients: &[&str]) -> Job {
    let address = |text: &str| Address::parse(text).expect("address");
    Job {
        reverse_path: ReversePath::Address(address("alice@example.org")),
        recipients: recipients.iter().map(|text| address(text).into()).collect(),
        offset: 0,
        size: MESSAGE.len() as u64,
        eight_bit: false,
        wishes: Wishes::default(),
    }
}

/// What the client said after EHLO, and what came of it. The server offers these keywords, before and in TLS, and says
/// yes to all.
fn talk(tls: TlsPolicy, job: Job, offers: &[&str]) -> (Vec<String>, Outcome) {
    let settings = Settings {
        hostname: "us.example".into(),
        server: "mx.example".into(),
        tls,
        credentials: offers
            .iter()
            .any(|offer| offer.starts_with("AUTH"))
            .then(|| Credentials {
                username: "user".into(),
                password: Secret::new("pass"),
            }),
        trust: Trust::Roots,
    };
    let mut session = Session::new(Now::default(), settings, job);
    let mut said = Vec::new();
    let mut lines = String::new();
    let mut in_data = false;
    let say = |session: &mut Session, text: &str| {
        session.handle_input(Now::default(), Input::Bytes(Chunk::copy_from(text.as_bytes())));
    };
    say(&mut session, "220 mx ESMTP\r\n");
    for _ in 0..1000 {
        let Some(action) = session.poll_action() else {
            let Some((line, rest)) = lines.split_once("\r\n") else {
                break;
            };
            let (line, rest) = (line.to_owned(), rest.to_owned());
            lines = rest;
            let reply = match line.get(..4).unwrap_or(&line) {
                _ if in_data && line != "." => continue,
                "EHLO" => {
                    offers.iter().fold("250-mx\r\n".to_owned(), |text, offer| {
                        text + "250-" + offer + "\r\n"
                    }) + "250 HELP\r\n"
                }
                "DATA" => {
                    in_data = true;
                    "354 go\r\n".to_owned()
                }
                "STAR" => "220 go\r\n".to_owned(),
                "AUTH" => "235 2.7.0 in\r\n".to_owned(),
                "QUIT" => "221 bye\r\n".to_owned(),
                _ => {
                    in_data = false;
                    "250 2.0.0 ok\r\n".to_owned()
                }
            };
            said.push(line);
            say(&mut session, &reply);
            continue;
        };
        match action {
            Action::Send(bytes) => lines.push_str(std::str::from_utf8(bytes.as_ref()).expect("UTF-8")),
            Action::Call(id, Call::Read { offset, .. }) => {
                let at = usize::try_from(offset).expect("small");
                let read = Reply::Read(Ok(Chunk::copy_from(&MESSAGE[at..])));
                session.handle_input(Now::default(), Input::Reply(id, read));
            }
            Action::StartTls => session.handle_input(Now::default(), Input::TlsStarted(TlsInfo::default())),
            Action::Note(_) => {}
            Action::Close => break,
            other => panic!("{other:?}"),
        }
    }
    let outcome = session.outcome().expect("an outcome").clone();
    said.retain(|line| {
        !["EHLO", "STAR", "QUIT", "AUTH"]
            .iter()
            .any(|verb| line.starts_with(verb))
    });
    (said, outcome)
}

fn enhanced(outcome: &Outcome) -> Vec<Enhanced> {
    let recipients = outcome.recipients.iter();
    recipients.map(|verdict| verdict.report().enhanced).collect()
}

/// The example of RFC 3461 §10.2, with another recipient.
#[test]
fn dsn_parameters_go_to_servers_that_know_them_only() {
    let mut wanted = job(&["Bob@Example.COM", "Fred@Bombs.AF.MIL", "eric@bombs.af.mil"]);
    wanted.wishes.ret = Some(Ret::Headers);
    wanted.wishes.envid = Some("QQ 314159".into());
    let asked = [
        (Some(SUCCESS), Some("rfc822;Bob+x@Example.COM")),
        (Some(Notify::default()), None),
        (None, Some("utf-8;f\u{f6}o@x.example")),
    ];
    for (recipient, (notify, original)) in wanted.recipients.iter_mut().zip(asked) {
        recipient.dsn = DsnRequest {
            notify,
            original: original.map(str::to_owned),
        };
    }
    let (said, outcome) = talk(TlsPolicy::None, wanted.clone(), &["DSN"]);
    assert_eq!(
        said[..4],
        [
            "MAIL FROM:<alice@example.org> RET=HDRS ENVID=QQ+20314159",
            "RCPT TO:<Bob@example.com> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob+2Bx@Example.COM",
            "RCPT TO:<Fred@bombs.af.mil> NOTIFY=NEVER",
            "RCPT TO:<eric@bombs.af.mil> ORCPT=utf-8;f\\x{F6}o@x.example",
        ]
    );
    let notifies = |outcome: &Outcome| outcome.recipients.iter().all(|verdict| verdict.report().notifies);
    assert!(notifies(&outcome));
    let (said, _) = talk(TlsPolicy::None, wanted.clone(), &["DSN", "SMTPUTF8", "8BITMIME"]);
    assert_eq!(
        said[3],
        "RCPT TO:<eric@bombs.af.mil> ORCPT=utf-8;f\u{f6}o@x.example"
    );
    let (said, outcome) = talk(TlsPolicy::None, wanted, &[]);
    assert_eq!(
        said[..2],
        ["MAIL FROM:<alice@example.org>", "RCPT TO:<Bob@example.com>"]
    );
    assert!(!notifies(&outcome), "we have to tell the sender ourselves");
}

const SUCCESS: Notify = Notify {
    success: true,
    failure: false,
    delay: true,
};

#[test]
fn require_tls_wants_a_verified_server_that_promises_the_same() {
    let mut wanted = job(&["b@x.example"]);
    wanted.wishes.require_tls = true;
    let (said, outcome) = talk(TlsPolicy::Verify, wanted.clone(), &["STARTTLS", "REQUIRETLS"]);
    assert_eq!(said[0], "MAIL FROM:<alice@example.org> REQUIRETLS");
    assert_eq!(outcome.end, End::Complete);
    for (tls, offers, code) in [
        (TlsPolicy::Verify, &["STARTTLS"][..], Enhanced(5, 7, 30)),
        (TlsPolicy::Verify, &["REQUIRETLS"], Enhanced(5, 7, 10)),
        (
            TlsPolicy::Opportunistic,
            &["STARTTLS", "REQUIRETLS"],
            Enhanced(5, 7, 10),
        ),
        (TlsPolicy::None, &["REQUIRETLS"], Enhanced(5, 7, 10)),
    ] {
        let (said, outcome) = talk(tls, wanted.clone(), offers);
        assert_eq!(
            (said.len(), outcome.end),
            (0, End::NextHost),
            "{tls:?} {offers:?}: {said:?}"
        );
        assert_eq!(enhanced(&outcome), [code]);
        assert!(
            matches!(outcome.recipients[0], Verdict::Temporary(_)),
            "another host may do"
        );
    }
    // A notification goes as well as it can.
    wanted.reverse_path = ReversePath::Null;
    let (said, _) = talk(TlsPolicy::Opportunistic, wanted.clone(), &[]);
    assert_eq!(said[0], "MAIL FROM:<>");
    let (said, _) = talk(TlsPolicy::Opportunistic, wanted, &["STARTTLS", "REQUIRETLS"]);
    assert_eq!(said[0], "MAIL FROM:<> REQUIRETLS");
}

#[test]
fn limits_are_kept() {
    let all = ["a@x.example", "b@x.example", "c@y.example", "d@x.example"];
    for (offer, taken) in [
        ("LIMITS RCPTMAX=2", [true, true, false, false]),
        ("LIMITS RCPTDOMAINMAX=1", [true, true, false, true]),
        ("LIMITS RCPTMAX=100 RCPTDOMAINMAX=100 MAILMAX=1", [true; 4]),
    ] {
        let (said, outcome) = talk(TlsPolicy::None, job(&all), &["PIPELINING", offer]);
        let delivered: Vec<bool> = outcome
            .recipients
            .iter()
            .map(|verdict| matches!(verdict, Verdict::Delivered(_)))
            .collect();
        assert_eq!(delivered, taken, "{offer}");
        let asked = said.iter().filter(|line| line.starts_with("RCPT")).count();
        assert_eq!(asked, taken.iter().filter(|taken| **taken).count());
        for verdict in outcome.recipients.iter().filter(|verdict| !verdict.is_final()) {
            assert_eq!(verdict.report().enhanced, Enhanced(4, 5, 3));
        }
    }
}

#[test]
fn a_header_beyond_ascii_needs_smtputf8() {
    let mut wanted = job(&["b@x.example"]);
    wanted.wishes.utf8 = true;
    let (said, _) = talk(TlsPolicy::None, wanted.clone(), &["SMTPUTF8", "8BITMIME"]);
    assert_eq!(said[0], "MAIL FROM:<alice@example.org> SMTPUTF8");
    let (said, outcome) = talk(TlsPolicy::None, wanted, &["8BITMIME"]);
    assert_eq!((said.len(), enhanced(&outcome)), (0, vec![Enhanced(5, 6, 9)]));
    // An address beyond ASCII keeps nobody else from getting the message.
    let both = job(&["b@x.example", "b\u{f6}b@x.example"]);
    let (_, outcome) = talk(TlsPolicy::None, both, &["8BITMIME"]);
    assert_eq!(enhanced(&outcome), [Enhanced(2, 0, 0), Enhanced(5, 6, 7)]);
}

#[test]
fn priority_goes_to_servers_that_know_it() {
    let mut wanted = job(&["b@x.example"]);
    wanted.wishes.priority = -4;
    let (said, _) = talk(TlsPolicy::None, wanted.clone(), &["MT-PRIORITY STANAG4406"]);
    assert_eq!(said[0], "MAIL FROM:<alice@example.org> MT-PRIORITY=-4");
    let (said, outcome) = talk(TlsPolicy::None, wanted, &[]);
    assert_eq!(said[0], "MAIL FROM:<alice@example.org>");
    assert_eq!(outcome.end, End::Complete);
}

#[test]
fn after_auth_nobody_is_vouched_for() {
    let recipient = Recipient::from(Address::parse("b@x.example").expect("address"));
    assert_eq!(recipient.dsn, DsnRequest::default());
    let (said, _) = talk(
        TlsPolicy::Verify,
        job(&["b@x.example"]),
        &["STARTTLS", "AUTH PLAIN"],
    );
    assert_eq!(said[0], "MAIL FROM:<alice@example.org> AUTH=<>");
}
