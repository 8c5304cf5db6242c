//! The driver over a loopback connection, with a toy machine that does whatever its lines say.
#![allow(clippy::unwrap_used, clippy::panic)]

mod toy;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering;
use std::time::Duration;

use rmail_runtime::drive::{DriveLimits, End, Signal};
use rmail_runtime::tls::{CertificateSource, ClientTls, ServerTls, end_point_of};
use rustls::pki_types::ServerName;
use toy::{Host, Running, hex};

fn read_line(stream: &mut impl std::io::Read) -> String {
    let mut line = Vec::new();
    let mut octet = [0];
    while stream.read(&mut octet).unwrap() == 1 {
        if octet[0] == b'\n' {
            return String::from_utf8(line).unwrap();
        }
        line.push(octet[0]);
    }
    panic!("end of stream after {:?}", String::from_utf8_lossy(&line));
}

fn read_all(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn replies_keep_the_order_of_pipelined_lines_however_they_arrive() {
    let lines = "echo a\nlater b\nnow c\necho d\nlater e\nspool 300000\necho f\nquit\n";
    let expected = "a\nb\nc\nd\ne\n300000\nf\nbye\n";
    let (mut client, running) = Host::default().start();
    client.write_all(lines.as_bytes()).unwrap();
    assert_eq!(read_all(&mut client), expected);
    drop(client);
    assert!(matches!(running.end(), End::Closed));

    let (mut client, running) = Host::default().start();
    client.set_nodelay(true).unwrap();
    for octet in lines.bytes() {
        client.write_all(&[octet]).unwrap();
    }
    assert_eq!(read_all(&mut client), expected);
    drop(client);
    assert!(matches!(running.end(), End::Closed));
}

#[test]
fn a_client_that_sent_all_and_closed_its_side_gets_all_answers() {
    let (mut client, running) = Host::default().start();
    client.write_all(b"later a\nlater b\necho c\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut client), "a\nb\nc\neof\n");
    assert!(matches!(running.end(), End::Closed));
}

#[test]
fn a_peer_that_vanishes_ends_the_session_even_if_the_machine_does_not() {
    let (mut client, running) = Host::default().start();
    client.write_all(b"stay\n").unwrap();
    drop(client);
    assert!(matches!(running.end(), End::PeerGone(_)));
}

#[test]
fn a_panic_ends_its_session() {
    for line in ["panic\n", "callpanic\n", "answerpanic\n"] {
        let (mut client, running) = Host::default().start();
        client.write_all(line.as_bytes()).unwrap();
        let End::Panicked(text) = running.end() else {
            panic!("no panic for {line:?}");
        };
        assert_eq!(text, "told to");
        assert_eq!(
            client.read(&mut [0; 8]).unwrap_or(0),
            0,
            "the connection is closed"
        );
    }
}

#[test]
fn a_client_that_never_reads_stops_its_own_session_and_no_memory_grows() {
    let host = Host {
        limits: DriveLimits {
            write_stall: Duration::from_millis(200),
            ..DriveLimits::default()
        },
        small_buffers: true,
        ..Host::default()
    };
    let produced = host.produced();
    let (mut client, running) = host.start();
    client.write_all(b"flood 1000000000\n").unwrap();
    assert!(matches!(running.end(), End::Stalled));
    let produced = produced.load(Ordering::SeqCst);
    assert!(produced < 4 << 20, "{produced} octets were made");
}

#[test]
fn a_deadline_that_passes_while_nobody_polls_is_no_busy_loop() {
    let host = Host {
        limits: DriveLimits {
            write_stall: Duration::from_millis(200),
            ..DriveLimits::default()
        },
        small_buffers: true,
        ..Host::default()
    };
    let ticks = host.ticks();
    let (mut client, running) = host.start();
    client.write_all(b"wait 50\nflood 1000000000\n").unwrap();
    assert!(matches!(running.end(), End::Stalled));
    let ticks = ticks.load(Ordering::SeqCst);
    assert!(ticks < 3, "{ticks} ticks");
}

#[test]
fn long_work_without_output_lets_others_go_on() {
    let (mut client, running) = Host::default().start();
    client.write_all(b"echo begun\ngrind\n").unwrap();
    assert_eq!(read_line(&mut client), "begun");
    // Heard only if the driver looks up from its machine.
    running.signal().set(Signal::SHUTDOWN);
    assert_eq!(read_all(&mut client), "down\n");
    drop(client);
    assert!(matches!(running.end(), End::Closed));
}

#[test]
fn a_stop_does_not_wait_for_handshakes() {
    let dir = tempfile::tempdir().unwrap();
    let (client, running) = Host {
        tls: Some(ServerTls::load(&certificate(&dir), &[]).unwrap().into()),
        implicit: true,
        ..Host::default()
    }
    .start();
    running.signal().set(Signal::SHUTDOWN);
    assert!(
        matches!(running.end(), End::Handshake(error) if error.kind() == std::io::ErrorKind::ConnectionAborted)
    );
    drop(client);
}

#[test]
fn a_slow_reader_gets_everything() {
    let host = Host {
        small_buffers: true,
        ..Host::default()
    };
    let (mut client, running) = host.start();
    client.write_all(b"flood 3000000\necho end\nquit\n").unwrap();
    let text = read_all(&mut client);
    assert_eq!(text.len(), 3_000_000 + "end\nbye\n".len());
    assert!(text.ends_with("end\nbye\n"));
    drop(client);
    assert!(matches!(running.end(), End::Closed));
}

#[test]
fn a_body_is_streamed_whole_and_closed_at_its_end() {
    let host = Host {
        small_buffers: true,
        ..Host::default()
    };
    let body = host.set_body(1_000_003);
    let closed = host.closed();
    let (mut client, running) = host.start();
    client
        .write_all(b"blob 10 500000\nblob 0 1000003\necho end\nquit\n")
        .unwrap();
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    let expected = [&body[10..500_000], &body[..], b"end\nbye\n"].concat();
    assert!(got == expected, "{} octets of {}", got.len(), expected.len());
    drop(client);
    assert!(matches!(running.end(), End::Closed));
    // The job that closes it is done before the pools are: they were dropped with the session.
    while closed.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    assert_eq!(
        closed.load(Ordering::SeqCst),
        1,
        "only the range that ends at the end closes"
    );
}

#[test]
fn a_body_that_is_too_short_cuts_the_connection() {
    let host = Host::default();
    host.set_body(1_000);
    let (mut client, running) = host.start();
    client.write_all(b"blob 0 2000\necho lie\n").unwrap();
    let mut got = Vec::new();
    let _ = client.read_to_end(&mut got);
    assert!(got.len() <= 1_000, "nothing after the gap");
    assert!(matches!(running.end(), End::Fault(_)));
}

#[test]
fn watches_timers_and_shutdown_reach_the_machine() {
    let host = Host::default();
    let hub = host.hub();
    let (mut client, running) = host.start();
    client.write_all(b"watch\n").unwrap();
    assert_eq!(read_line(&mut client), "watching");
    hub.announce(&toy::scope(), rmail_core::mailbox::ModSeq(7));
    assert_eq!(read_line(&mut client), "dirty");
    client.write_all(b"wait 20\n").unwrap();
    assert_eq!(read_line(&mut client), "tick");
    client.write_all(b"wait 3600000\nwait 1\n").unwrap();
    assert_eq!(read_line(&mut client), "tick", "an earlier deadline counts");
    running.signal().set(Signal::SHUTDOWN);
    assert_eq!(read_all(&mut client), "down\n");
    drop(client);
    assert!(matches!(running.end(), End::Closed));
}

#[test]
fn last_words_arrive_though_the_client_goes_on_sending() {
    let host = Host {
        limits: DriveLimits {
            linger: Duration::from_secs(3_600),
            ..DriveLimits::default()
        },
        ..Host::default()
    };
    let (mut client, running) = host.start();
    client.write_all(b"quit\n").unwrap();
    for _ in 0..20 {
        let _ = client.write_all(&[b'x'; 1_000]);
    }
    assert_eq!(read_all(&mut client), "bye\n");
    drop(client);
    assert!(matches!(running.end(), End::Closed));
}

fn certificate(dir: &tempfile::TempDir) -> CertificateSource {
    CertificateSource::SelfSigned {
        mail_root: dir.path().to_owned(),
        names: vec!["mail.example.com".to_owned()],
    }
}

fn handshake(client: TcpStream) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    let name = ServerName::try_from("mail.example.com").unwrap();
    let connection = rustls::ClientConnection::new(ClientTls::default().opportunistic(), name).unwrap();
    let mut tls = rustls::StreamOwned::new(connection, client);
    while tls.conn.is_handshaking() {
        tls.conn.complete_io(&mut tls.sock).unwrap();
    }
    tls
}

fn check_info(tls: &mut rustls::StreamOwned<rustls::ClientConnection, TcpStream>) {
    let line = read_line(tls);
    let exporter = tls
        .conn
        .export_keying_material([0; 32], b"EXPORTER-Channel-Binding", None)
        .unwrap();
    let end_point = end_point_of(&tls.conn.peer_certificates().unwrap()[0]).unwrap();
    let cipher = tls
        .conn
        .negotiated_cipher_suite()
        .unwrap()
        .suite()
        .as_str()
        .unwrap();
    let cipher = cipher.replace("TLS13_", "TLS_");
    let expected = format!(
        "tls 304 {cipher} mail.example.com {} {}",
        hex(&exporter),
        hex(&end_point)
    );
    assert_eq!(line, expected);
}

#[test]
fn starttls_leaves_behind_what_came_before() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host {
        tls: Some(ServerTls::load(&certificate(&dir), &[]).unwrap().into()),
        ..Host::default()
    };
    let (mut client, running) = host.start();
    client.write_all(b"echo plain\ntls\necho injected\n").unwrap();
    assert_eq!(read_line(&mut client), "plain");
    assert_eq!(read_line(&mut client), "go");
    let mut tls = handshake(client);
    check_info(&mut tls);
    tls.write_all(b"echo secret\nflood 200000\nquit\n").unwrap();
    assert_eq!(read_line(&mut tls), "secret");
    let mut rest = String::new();
    tls.read_to_string(&mut rest).unwrap(); // an error without close_notify
    assert!(rest.len() == 200_004 && rest.ends_with("bye\n"));
    drop(tls);
    assert!(matches!(running.end(), End::Closed));
}

#[test]
fn channel_binding_is_to_the_certificate_that_the_name_has_chosen() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let chosen = ServerTls::load(&certificate(&dir), &[]).unwrap();
    let main = CertificateSource::SelfSigned {
        mail_root: other.path().to_owned(),
        names: vec!["other.example.com".to_owned()],
    };
    let tls = ServerTls::load(&main, &[certificate(&dir).files()]).unwrap();
    let (client, running) = Host {
        tls: Some(tls.into()),
        implicit: true,
        ..Host::default()
    }
    .start();
    let mut tls = handshake(client);
    assert_eq!(
        end_point_of(&tls.conn.peer_certificates().unwrap()[0]),
        chosen.current().main().end_point()
    );
    check_info(&mut tls);
    tls.write_all(b"quit\n").unwrap();
    assert_eq!(read_line(&mut tls), "bye");
    drop(tls);
    assert!(matches!(running.end(), End::Closed | End::PeerGone(_)));
}

#[test]
fn implicit_tls_comes_first_and_nonsense_in_its_place_ends_the_session() {
    let dir = tempfile::tempdir().unwrap();
    let host = || Host {
        tls: Some(ServerTls::load(&certificate(&dir), &[]).unwrap().into()),
        implicit: true,
        ..Host::default()
    };
    let (client, running) = host().start();
    let mut tls = handshake(client);
    check_info(&mut tls);
    // A peer that closes without close_notify is gone like any other.
    tls.write_all(b"stay\n").unwrap();
    drop(tls);
    assert!(matches!(running.end(), End::PeerGone(_)));

    let (mut client, running) = host().start();
    client.write_all(b"EHLO plain.example\r\n").unwrap();
    assert!(matches!(running.end(), End::Handshake(_)));

    let mut silent = host();
    silent.limits.handshake = Duration::from_millis(50);
    let (client, running) = silent.start();
    assert!(matches!(running.end(), End::Handshake(error) if error.kind() == std::io::ErrorKind::TimedOut));
    drop(client);
}

#[test]
fn tls_where_there_is_none_is_a_fault() {
    let (mut client, running): (TcpStream, Running) = Host::default().start();
    client.write_all(b"tls\n").unwrap();
    assert!(matches!(running.end(), End::Fault(_)));
}
