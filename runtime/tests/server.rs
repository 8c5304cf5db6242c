//! The whole server over sockets: mail in, stored, read, out; bounds; the end.
#![allow(clippy::unwrap_used)]

mod mail;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use mail::{PASSWORD, Running, Wire};
use rmail_core::dns::Name;
use rmail_core::relay::{Target, TlsPolicy};
use rmail_core::smtp::server::CheckPolicy;
use rmail_runtime::listen::Service;

const ALICE: &str = "alice@example.com";
const BOB: &str = "bob@example.com";

/// `\0user\0password` in base64, for AUTH PLAIN.
fn plain(user: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let octets = format!("\0{user}\0{PASSWORD}").into_bytes();
    let mut text = String::new();
    for three in octets.chunks(3) {
        let bits = three
            .iter()
            .fold(0_u32, |bits, octet| bits << 8 | u32::from(*octet))
            << (8 * (3 - three.len()));
        for n in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * n)) as usize & 63];
            text.push(if n <= three.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

fn submit(wire: &mut Wire, from: &str, to: &str, subject: &str) {
    wire.ask(&format!("MAIL FROM:<{from}>"), "250 2.1.0");
    wire.ask(&format!("RCPT TO:<{to}>"), "250 2.1.5");
    wire.ask("DATA", "354 ");
    wire.send(&format!(
        "From: {from}\r\nTo: {to}\r\nSubject: {subject}\r\n\r\nHello.\r\n"
    ));
    wire.ask(".", "250 2.0.0");
}

fn login(server: &Running, user: &str) -> Wire {
    let mut imap = server.tls(Service::Imaps);
    assert!(imap.line().starts_with("* OK "));
    imap.ask(&format!("a LOGIN {user} \"{PASSWORD}\""), "a OK");
    imap
}

/// Idles until something is told. What came since the last command is told before the continuation.
fn idle_for_news(imap: &mut Wire) {
    let told = imap.ask("i IDLE", "+ ");
    if !told.iter().any(|line| line.starts_with("* ")) {
        imap.until("* ");
    }
    imap.ask("DONE", "i OK");
}

/// Waits for a message with this subject in INBOX: until it is there, by IDLE, without asking again and again.
fn wait_for(imap: &mut Wire, subject: &str) -> String {
    imap.ask("s SELECT INBOX", "s OK");
    let begun = Instant::now();
    loop {
        let found = imap.ask(&format!("f SEARCH SUBJECT \"{subject}\""), "f OK");
        let search = found.iter().find(|line| line.starts_with("* SEARCH")).unwrap();
        if let Some(number) = search.split(' ').nth(2) {
            return imap
                .ask(&format!("g FETCH {number} BODY.PEEK[]"), "g OK")
                .join("\r\n");
        }
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "no message {subject:?}"
        );
        idle_for_news(imap);
    }
}

#[test]
fn mail_comes_in_on_every_port_and_is_read() {
    let server = Running::start(&[ALICE, BOB], |_| {});
    let mut imap = login(&server, BOB);
    imap.ask("b SELECT INBOX", "b OK");
    imap.ask("c IDLE", "+ ");

    let mut smtps = server.tls(Service::Smtps);
    assert!(smtps.line().starts_with("220 mail.example.com ESMTP"));
    smtps.ask("EHLO client.example", "250 ");
    smtps.ask(&format!("AUTH PLAIN {}", plain(ALICE)), "235 ");
    submit(&mut smtps, ALICE, BOB, "first");
    assert_eq!(imap.until("* 1 EXISTS").len(), 1, "an idle client hears at once");
    imap.ask("DONE", "c OK");

    let mut submission = server.plain(Service::Submission);
    submission.line();
    let offered = submission.ask("EHLO client.example", "250 ");
    assert!(!offered.iter().any(|line| line.contains("AUTH")), "{offered:?}");
    submission.ask("STARTTLS", "220 ");
    let mut submission = submission.start_tls();
    let offered = submission.ask("EHLO client.example", "250 ");
    assert!(offered.iter().any(|line| line.contains("AUTH")), "{offered:?}");
    submission.ask(&format!("AUTH PLAIN {}", plain(ALICE)), "235 ");
    submit(&mut submission, ALICE, BOB, "second");

    let mut mx = server.plain(Service::Smtp);
    mx.line();
    mx.ask("EHLO sender.example.org", "250 ");
    submit(&mut mx, "carol@example.org", BOB, "third");
    mx.ask("QUIT", "221 ");
    assert_eq!(mx.rest(), "");

    let text = wait_for(&mut imap, "third");
    assert!(text.contains("Hello.") && text.contains("Received: "), "{text}");
    let listed = imap.ask("d STATUS INBOX (MESSAGES)", "d OK");
    assert!(
        listed.iter().any(|line| line.contains("MESSAGES 3")),
        "{listed:?}"
    );
    imap.ask("e LOGOUT", "e OK");
    imap.rest();

    let mut imap = server.plain(Service::Imap);
    assert!(imap.line().contains("LOGINDISABLED"));
    imap.ask("a STARTTLS", "a OK");
    let mut imap = imap.start_tls();
    imap.ask(&format!("b LOGIN {BOB} \"{PASSWORD}\""), "b OK");
    server.stop();
    drop((smtps, submission));
    assert!(imap.until("* BYE").len() == 1);
    server.wait();
}

#[test]
fn mail_for_elsewhere_goes_by_the_queue_to_the_next_server() {
    let other = Running::start(&["carol@example.org"], |_| {});
    let next: SocketAddr = other.address(Service::Smtp);
    let server = Running::start(&[ALICE], |config| {
        let target = Target {
            host: "127.0.0.1".to_owned(),
            port: next.port(),
            credentials: None,
            tls: TlsPolicy::Require,
        };
        config.relay.routes.insert("example.org".to_owned(), target);
        let nowhere = Target {
            host: "127.0.0.1".to_owned(),
            port: 1,
            credentials: None,
            tls: TlsPolicy::None,
        };
        config.relay.routes.insert("nowhere.example".to_owned(), nowhere);
        config.relay.retry_delays = Vec::new();
    });
    let mut smtps = server.tls(Service::Smtps);
    smtps.line();
    smtps.ask("EHLO client.example", "250 ");
    smtps.ask(&format!("AUTH PLAIN {}", plain(ALICE)), "235 ");
    submit(&mut smtps, ALICE, "carol@example.org", "over there");
    submit(&mut smtps, ALICE, "nobody@example.org", "refused");
    submit(&mut smtps, ALICE, "x@nowhere.example", "unreachable");

    let text = wait_for(&mut login(&other, "carol@example.org"), "over there");
    assert!(text.contains("Return-Path: <alice@example.com>"), "{text}");
    assert!(text.contains("TLS"), "by TLS: {text}");

    let mut imap = login(&server, ALICE);
    let begun = Instant::now();
    let mut notices = Vec::new();
    while notices.len() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(60), "{notices:?}");
        imap.ask("s SELECT INBOX", "s OK");
        let found = imap.ask("f SEARCH ALL", "f OK");
        let numbers = found.iter().find(|line| line.starts_with("* SEARCH")).unwrap();
        notices = numbers.split(' ').skip(2).map(str::to_owned).collect();
        if notices.len() < 2 {
            idle_for_news(&mut imap);
        }
    }
    let all = imap.ask("g FETCH 1:* BODY.PEEK[]", "g OK").join("\r\n");
    assert!(
        all.contains("nobody@example.org") && all.contains("5.1.1"),
        "{all}"
    );
    assert!(all.contains("x@nowhere.example"), "{all}");
    assert!(all.contains("Return-Path: <>"), "{all}");
}

#[test]
fn connections_over_the_bounds_are_told_and_closed() {
    let server = Running::start(&[ALICE], |config| {
        config.smtp.max_connections = 5; // 4 of them on port 25
        config.imap.per_address = 1;
    });
    let mx: Vec<Wire> = (0..4)
        .map(|_| {
            let mut wire = server.plain(Service::Smtp);
            assert!(wire.line().starts_with("220 "));
            wire
        })
        .collect();
    assert!(
        server
            .plain(Service::Smtp)
            .rest()
            .starts_with("421 4.3.2 mail.example.com ")
    );
    let mut submission = server.plain(Service::Submission);
    assert!(submission.line().starts_with("220 "), "users still get in");
    assert!(server.plain(Service::Submission).rest().starts_with("421 4.3.2 "));
    let mut imap = server.plain(Service::Imap);
    assert!(imap.line().starts_with("* OK "));
    assert!(
        server
            .plain(Service::Imap)
            .rest()
            .starts_with("* BYE [UNAVAILABLE] ")
    );
    for mut wire in mx {
        wire.ask("QUIT", "221 ");
        wire.rest();
    }
    // The place is free once the server has seen the end, which is after the client has.
    let begun = Instant::now();
    while !server.plain(Service::Smtp).line().starts_with("220 ") {
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}

#[test]
fn health_is_told_on_both_api_ports() {
    let server = Running::start(&[ALICE], |_| {});
    for mut wire in [server.plain(Service::Api), server.tls(Service::ApiTls)] {
        wire.send("GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let answer = wire.rest();
        assert!(
            answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"status\":\"up\""),
            "{answer}"
        );
    }
}

#[test]
fn the_end_waits_for_a_message_that_is_being_sent_and_says_goodbye() {
    let server = Running::start(&[ALICE], |_| {});
    let mut idle = server.plain(Service::Smtp);
    idle.line();
    let mut busy = server.plain(Service::Smtp);
    busy.line();
    busy.ask("EHLO sender.example.org", "250 ");
    busy.ask("MAIL FROM:<carol@example.org>", "250 ");
    busy.ask(&format!("RCPT TO:<{ALICE}>"), "250 ");
    busy.ask("DATA", "354 ");
    busy.send("Subject: late\r\n\r\nfirst half\r\n");
    let mut imap = login(&server, ALICE);
    server.stop();
    assert!(idle.rest().starts_with("421 "));
    assert!(imap.rest().starts_with("* BYE"));
    busy.send("second half\r\n");
    busy.ask(".", "250 2.0.0");
    assert!(busy.rest().starts_with("421 "));
    server.wait();
}

#[test]
fn what_was_queued_is_sent_after_a_restart() {
    let other = Running::start(&["carol@example.org"], |_| {});
    let port = other.address(Service::Smtp).port();
    let target = |port| Target {
        host: "127.0.0.1".to_owned(),
        port,
        credentials: None,
        tls: TlsPolicy::Opportunistic,
    };
    let first = Running::start(&[ALICE], |config| {
        config.relay.routes.insert("example.org".to_owned(), target(1));
        // So many that a slow end of this server does not see the last of them.
        config.relay.retry_delays = vec![1; 30];
    });
    let mut smtps = first.tls(Service::Smtps);
    smtps.line();
    smtps.ask("EHLO client.example", "250 ");
    smtps.ask(&format!("AUTH PLAIN {}", plain(ALICE)), "235 ");
    submit(&mut smtps, ALICE, "carol@example.org", "kept");
    drop(smtps);
    let second = first.restart(|config| {
        config.relay.routes.insert("example.org".to_owned(), target(port));
        config.relay.retry_delays = vec![1; 30];
    });
    wait_for(&mut login(&other, "carol@example.org"), "kept");
    drop(second);
}

#[test]
fn lmtp_on_a_port_and_on_a_socket_answers_for_each_recipient() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lmtp");
    let server = Running::start(&[ALICE], |config| config.listen.lmtp_socket = Some(path.clone()));
    let deliver = |send: &mut dyn FnMut(&str, &str), subject: &str| {
        send("LHLO filter.example", "250 ");
        send("MAIL FROM:<carol@example.org>", "250 ");
        send(&format!("RCPT TO:<{ALICE}>"), "250 ");
        send(&format!("RCPT TO:<{ALICE}>"), "250 ");
        send("DATA", "354 ");
        send(&format!("Subject: {subject}\r\n\r\n."), "250 2.0.0");
        send("NOOP", "250 2.0.0 OK: message accepted");
    };
    let mut port = server.plain(Service::Lmtp);
    assert!(port.line().contains(" LMTP "));
    deliver(&mut |line, answer| drop(port.ask(line, answer)), "by port");
    wait_for(&mut login(&server, ALICE), "by port");

    let mut socket = BufReader::new(UnixStream::connect(&path).unwrap());
    let mut ask = |line: &str, answer: &str| {
        if !line.is_empty() {
            socket
                .get_mut()
                .write_all(format!("{line}\r\n").as_bytes())
                .unwrap();
        }
        let mut reply = String::from("   -");
        while reply.as_bytes()[3] == b'-' {
            reply.clear();
            socket.read_line(&mut reply).unwrap();
        }
        assert!(reply.starts_with(answer), "{line}: {reply}");
    };
    ask("", "220 ");
    deliver(&mut ask, "by socket");
    wait_for(&mut login(&server, ALICE), "by socket");
    server.stop();
    server.wait();
    assert!(!path.exists());
}

#[test]
fn a_list_in_the_dns_is_asked_for_strangers() {
    // Answers every question of type A with 127.0.0.2, and all others with nothing.
    let dns = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = dns.local_addr().unwrap();
    let name_server = std::thread::spawn(move || {
        let mut asked = Vec::new();
        let mut question = [0; 512];
        for _ in 0..2 {
            let (len, from) = dns.recv_from(&mut question).unwrap();
            let end = 12 + question[12..len].iter().position(|octet| *octet == 0).unwrap() + 5;
            let is_a = question[end - 3] == 1;
            let mut reply = question[..end].to_vec();
            reply[2..4].copy_from_slice(&[0x81, 0x80]);
            reply[6..12].copy_from_slice(&[0, u8::from(is_a), 0, 0, 0, 0]);
            if is_a {
                reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 0, 0, 4, 127, 0, 0, 2]);
            }
            asked.push(String::from_utf8_lossy(&question[13..end - 5]).replace(char::is_control, "."));
            dns.send_to(&reply, from).unwrap();
        }
        asked
    });
    let server = Running::start(&[ALICE], |config| {
        config.service.checks.dnsbl = vec![Name::parse("bl.example").unwrap()];
        config.service.checks.dnsbl_policy = CheckPolicy::Refuse;
        config.relay.dns_servers = vec![address];
    });
    let mut mx = server.plain(Service::Smtp);
    mx.line();
    mx.ask("EHLO sender.example.org", "250 ");
    mx.ask("MAIL FROM:<carol@example.org>", "250 ");
    mx.ask(
        &format!("RCPT TO:<{ALICE}>"),
        "550 5.7.1 Client [127.0.0.1] refused: listed by bl.example as 127.0.0.2",
    );
    assert_eq!(name_server.join().unwrap(), ["1.0.0.127.bl.example"; 2]);
}
