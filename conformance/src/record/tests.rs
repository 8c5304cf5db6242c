use std::path::Path;

use super::*;
use crate::replay::replay;
use crate::transcript::Transcript;
use crate::world::World;

fn take(kind: &'static str, options: &[(&str, &str)], events: &[(u64, &str, &str)]) -> Take {
    Take {
        kind,
        options: options
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        hostname: "mail.here.test".to_owned(),
        domains: vec!["here.test".to_owned()],
        began: Unix(Duration::from_millis(1_795_375_000_250)),
        account: Some("alice@here.test".to_owned()),
        events: events
            .iter()
            .map(|(at, side, octets)| {
                let octets = octets.as_bytes().to_vec();
                let event = match *side {
                    "C" => Event::Said(octets),
                    "S" => Event::Sent(octets),
                    "eof" => Event::Eof,
                    _ => Event::Closed,
                };
                (Duration::from_millis(*at), event)
            })
            .collect(),
        lasted: Duration::ZERO,
        cut: false,
        before: None,
    }
}

fn body(text: &str) -> &str {
    text.split_once("\n\n").map_or("", |(_, body)| body)
}

fn plays(text: &str) {
    let transcript = Transcript::parse(text).expect(text);
    let played = replay(&transcript, |transcript, now| {
        World::open(transcript, Path::new(""), now)
    });
    assert_eq!(played.map_err(|failure| failure.to_string()), Ok(()), "{text}");
}

#[test]
fn a_session_of_imap_can_be_played() {
    let text = transcript(&[take(
        "imap",
        &[("tls", "on")],
        &[
            (0, "S", "* OK [CAPABILITY IMAP4rev1 "),
            (1, "S", "x] mail\r\n"),
            (5, "C", "a LOG"),
            (6, "C", "IN alice@here.test \"top secret\"\r\nb NOOP\r\n"),
            (7, "S", "a OK in\r\n"),
            (9, "S", "b OK NOOP completed\r\n"),
            (900, "C", "c SELECT INBOX (CONDSTORE)\r\n"),
            (
                901,
                "S",
                "* OK [UIDVALIDITY 1795] x\r\n* OK [HIGHESTMODSEQ 7] y\r\nc OK\r\n",
            ),
            (1_900, "C", "d LOGOUT\r\n"),
            (1_901, "closed", ""),
        ],
    )]);
    assert!(!text.contains("secret"), "{text}");
    assert!(text.contains("@given time 2026-11-22T19:16:40Z\n"), "{text}");
    assert_eq!(
        body(&text),
        "S: * OK [CAPABILITY IMAP4rev1 x] mail\n\
         C: a LOGIN \"${user}\" \"${password}\"\nC: b NOOP\nS: a OK in\nS: b OK NOOP completed\n\
         T: +1150ms\nC: c SELECT INBOX (CONDSTORE)\nS: * OK [UIDVALIDITY ${validity1:number}] x\n\
         S: * OK [HIGHESTMODSEQ ${modseq1:number}] y\nS: c OK\nT: +1000ms\nC: d LOGOUT\nS#\n"
    );
}

#[test]
fn every_login_is_masked() {
    for (kind, said, answered) in [
        (
            "imap",
            &["a LOGIN {3}\r\n", "bob {5+}\r\nmouse\r\n"][..],
            &["+ go\r\n", "a OK in\r\n"][..],
        ),
        (
            "imap",
            &["a AUTHENTICATE PLAIN\r\n", "bW91c2U=mouse\r\n"],
            &["+ \r\n", "a OK in\r\n"],
        ),
        ("imap", &["a AUTHENTICATE PLAIN mouse\r\n"], &["a NO no\r\n"]),
        ("imap", &["a LOGIN bob mouse\r\n"], &["a NO no\r\n"]),
        ("imap", &["a LOGIN bob mouse x\r\n"], &["a BAD no\r\n"]),
        ("imap", &["a LOGIN bob mouse\r\n"], &[""]),
        (
            "imap",
            &[
                "a AUTHENTICATE SCRAM-SHA-256\r\n",
                "mouse\r\n",
                "mouse2\r\n",
                "\r\n",
            ],
            &["+ \r\n", "+ x\r\n", "+ y\r\n", "a OK in\r\n"],
        ),
        (
            "smtp",
            &["AUTH LOGIN\r\n", "mouse\r\n", "mouse\r\n"],
            &["334 a\r\n", "334 b\r\n", "235 in\r\n"],
        ),
        ("smtp", &["auth plain mouse\r\n"], &["535 no\r\n"]),
        ("smtp", &["auth plain mouse\r\n"], &["501 no\r\n"]),
        ("smtp", &["AUTH LOGIN\r\n", "mouse"], &["334 a\r\n", ""]),
    ] {
        let mut events = Vec::new();
        for (said, answered) in said.iter().zip(answered.iter().chain([&""; 3])) {
            events.push((0, "C", *said));
            events.push((0, "S", *answered));
        }
        let whole = take(kind, &[], &events);
        let cut = Take {
            cut: true,
            ..whole.clone()
        };
        assert!(!transcript(&[cut]).contains("mouse"));
        let text = transcript(&[whole]);
        assert!(!text.contains("mouse"), "{text}");
        assert!(!text.contains("\nS: +") && !text.contains("334"), "{text}");
        Transcript::parse(&text).expect(&text);
    }
}

#[test]
fn a_session_of_smtp_can_be_played() {
    let greeting = "220 mail.here.test ESMTP rmail\r\n";
    let text = transcript(&[take(
        "smtp",
        &[],
        &[
            (0, "S", greeting),
            (1, "C", "HELO x.example.net\r\n"),
            (2, "S", "250 mail.here.test\r\n"),
            (
                3,
                "C",
                "MAIL FROM:<a@x.example.net>\r\nRCPT TO:<bob@here.test>\r\nDATA\r\n",
            ),
            (
                4,
                "S",
                "250 2.1.0 OK\r\n250 2.1.5 OK\r\n354 End data with <CR><LF>.<CR><LF>\r\n",
            ),
            (
                5,
                "C",
                "Subject: AUTH LOGIN ${x} {*}\r\n\r\nby auth plain it's\ttext \r\n.\r\n",
            ),
            (8, "S", "250 2.0.0 OK: message accepted for delivery 19af2\r\n"),
            (9, "C", "RSET\r\n"),
            (9, "S", "250 2.0.0 OK\r\n"),
            (10, "eof", ""),
            (10, "closed", ""),
        ],
    )]);
    assert!(text.contains("@given user bob@here.test\n"), "{text}");
    assert!(text.contains("C| ."), "{text}");
    plays(&text);
}

#[test]
fn what_is_not_surely_masked_is_left_out() {
    for events in [
        // The answers come before what asks for them.
        &[
            (0, "S", "220 mail.here.test ESMTP rmail\r\n"),
            (1, "C", "AUTH LOGIN\r\nYWxpY2U=\r\n"),
            (2, "C", "c2VjcmV0\r\n"),
            (3, "S", "334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n235 2.7.0 OK\r\n"),
        ][..],
        &[
            (0, "S", "* OK ready\r\n"),
            (1, "C", "a NOOP {0}\r\n"),
            (2, "S", "a BAD no literal there\r\n"),
            (3, "C", "b LOGIN bob secret\r\n"),
            (4, "S", "b OK Logged in\r\n"),
        ][..],
    ] {
        let kind = if events[0].2.starts_with('*') {
            "imap"
        } else {
            "smtp"
        };
        let text = transcript(&[take(kind, &[], events)]);
        assert!(!text.contains("c2VjcmV0") && !text.contains("secret"), "{text}");
        assert!(text.contains("@recorded cut\n"), "{text}");
    }
}

#[test]
fn a_session_of_http_can_be_played_and_tells_no_secret() {
    let token = "eyJh.eyJzdWIiOiJhbGljZUBoZXJlLnRlc3QifQ.c2ln";
    let login = "POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nCookie: a=mousetrap\r\n\
                 Content-Length: 60\r\n\r\n{\"username\": \"alice@here.test\",  \"password\": \"mousetrap 17\"}";
    let given = format!(
        "{{\"domain\":\"here.test\",\"expires_in\":3600,\"token\":\"{token}\",\"username\":\"alice@here.test\"}}"
    );
    let given = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{given}",
        given.len()
    );
    let refresh = format!(
        "POST /auth/refresh?access_token=mousetrap HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    let chunked = "POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                   Transfer-Encoding: chunked\r\n\r\n1d\r\n{\"password\":\"mousetrap\",\"username\":\"${bob}\"}\r\n0\r\n\r\n"
        .replace("1d\r\n", "2c\r\n");
    let refused = "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nContent-Length: 34\r\n\r\n\
                   {\"error\":\"Wrong name or password\"}\n"
        .replace("}\n", "}");
    let mut whole = take(
        "http",
        &[("tls", "on")],
        &[
            (1, "C", login),
            (2, "S", &given),
            (3, "C", &refresh),
            (4, "S", &given),
            (5, "C", &chunked),
            (6, "S", &refused),
        ],
    );
    assert_eq!(token_account(&whole).as_deref(), Some("alice@here.test"));
    let text = transcript(&[whole.clone()]);
    assert!(!text.contains("mousetrap") && !text.contains(token), "{text}");
    assert!(
        text.contains("C= {\"username\":\"${user}\",\"password\":\"${password}\"}\n"),
        "{text}"
    );
    assert!(text.contains("C: Authorization: Bearer ${token1}\n"), "{text}");
    assert!(!text.contains("user=alice"), "{text}");
    // Without the login the token is one of the user's.
    whole.events.drain(..2);
    let text = transcript(&[whole.clone()]);
    assert!(!text.contains("mousetrap") && !text.contains(token), "{text}");
    assert!(
        text.contains("@session http user=alice@here.test tls=on\n"),
        "{text}"
    );
    // Of what cannot be looked through nothing is kept.
    for body in ["password=mousetrap", "{\"password\": \"mousetrap\""] {
        let request = format!("POST /x HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        whole.events = vec![(Duration::ZERO, Event::Said(request.into_bytes()))];
        let text = transcript(&[whole.clone()]);
        assert!(
            !text.contains("mousetrap") && text.contains("@recorded cut\n"),
            "{text}"
        );
    }
}

#[test]
fn a_session_of_http_is_played() {
    let up =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"status\":\"up\"}";
    let text = played(&[take(
        "http",
        &[("tls", "on")],
        &[
            (1, "C", "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"),
            (2, "S", up),
            (
                3,
                "C",
                "HEAD /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            ),
            (
                4,
                "S",
                "HTTP/1.1 200 OK\r\nContent-Length: 15\r\nConnection: close\r\n\r\n",
            ),
            (5, "closed", ""),
        ],
    )]);
    assert!(!text.contains("@unplayable"), "{text}");
    plays(&text);
    // What was pipelined too.
    let get = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    let text = played(&[take(
        "http",
        &[("tls", "on")],
        &[(1, "C", &get.repeat(2)), (2, "S", &up.repeat(2))],
    )]);
    assert!(!text.contains("@unplayable"), "{text}");
    assert_eq!(text.matches("S= {\"status\":\"up\"}\n").count(), 2, "{text}");
}

#[test]
fn what_was_there_before_is_given_or_the_transcript_says_why_not() {
    let events: &[(u64, &str, &str)] = &[
        (0, "S", "* OK [CAPABILITY x] mail\r\n"),
        (1, "C", "a LOGIN alice@here.test secret\r\n"),
        (2, "S", "a OK [CAPABILITY x] Logged in\r\n"),
        (3, "C", "b STATUS Work (MESSAGES UIDNEXT)\r\n"),
        (
            4,
            "S",
            "* STATUS \"Work\" (MESSAGES 1 UIDNEXT 9)\r\nb OK STATUS completed\r\n",
        ),
    ];
    let mut one = take("imap", &[("tls", "on")], events);
    one.before = Some(Before {
        at: Duration::from_millis(1),
        given: vec![
            "mailbox Work subscribed".to_owned(),
            "Work message uid=7 flags=(\\Seen) octets=\"Subject: \\x22x\\x22\\r\\n\\r\\nx\\r\\n\"".to_owned(),
            "Work told".to_owned(),
            "Work next uid=9".to_owned(),
        ],
        left_out: None,
    });
    let wild = |text: &str| {
        text.replace("[CAPABILITY x]", "[CAPABILITY ${*}]")
            .replace("] mail", "] ${*}")
    };
    plays(&wild(&transcript(&[one.clone()])));
    one.before = Some(Before {
        left_out: Some("the account held 17,000 messages before".to_owned()),
        ..Before::default()
    });
    let text = played(&[one]);
    assert!(
        text.contains("\n@unplayable the account held 17,000 messages before; line "),
        "{text}"
    );
    Transcript::parse(&text).expect(&text);
}

#[test]
fn long_sessions_take_time_in_proportion() {
    // Ten times as much of each would take a hundred times as long: minutes.
    const LINES: usize = 40_000;
    let lines = "Subject: x y z\r\n".repeat(LINES);
    let mut events = vec![
        (0, "S", "* OK hi\r\n".to_owned()),
        (
            0,
            "C",
            format!("a APPEND INBOX {{{}+}}\r\n{lines}\r\n", lines.len()),
        ),
        (0, "S", "a OK done\r\n".to_owned()),
    ];
    let told: Vec<String> = (0..LINES)
        .map(|n| format!("* {n} FETCH (MODSEQ ({n}))\r\n"))
        .collect();
    events.push((1, "S", told.concat()));
    for number in 0..LINES {
        events.push((2, "C", format!("a{number} LOGIN a b\r\n")));
        events.push((2, "S", format!("a{number} NO no\r\n")));
    }
    let imap: Vec<(u64, &str, &str)> = events
        .iter()
        .map(|(at, side, text)| (*at, *side, text.as_str()))
        .collect();
    let recipients: Vec<String> = (0..LINES)
        .map(|n| format!("RCPT TO:<u{n}@here.test>\r\n"))
        .collect();
    let answers = "250 2.1.5 OK\r\n".repeat(LINES);
    let mut smtp: Vec<(u64, &str, &str)> = recipients.iter().map(|line| (1, "C", line.as_str())).collect();
    smtp.push((2, "S", &answers));
    let begun = std::time::Instant::now();
    let text = transcript(&[take("imap", &[], &imap), take("smtp", &[], &smtp)]);
    assert!(text.lines().count() > 5 * LINES);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}
