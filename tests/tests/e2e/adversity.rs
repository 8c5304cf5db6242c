//! What a server meets when its machine or its clients are not kind: nothing is lost, nothing ends, and it recovers by
//! itself.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rmail_runtime::tls::{CertificateSource, ServerTls};
use rmail_tests::{Server, Wire, wait_for};
use serde_json::json;

fn login(server: &Server) -> Wire {
    let (mut wire, _) = Wire::connect(server.port("/imap/port"));
    assert!(wire.imap("LOGIN bob secret").contains("t OK"));
    wire
}

fn deliver(server: &Server) -> String {
    let (mut wire, greeting) = Wire::connect(server.port("/smtp/port"));
    if !greeting.starts_with("220") {
        return greeting;
    }
    for command in [
        "EHLO client.test",
        "MAIL FROM:<a@away.test>",
        "RCPT TO:<bob@here.test>",
        "DATA",
    ] {
        let reply = wire.smtp(command);
        if !reply.starts_with(['2', '3']) {
            return reply;
        }
    }
    wire.smtp(&format!("Subject: x\r\n\r\n{}\r\n.", "y".repeat(900)))
}

fn count(server: &Server, what: &str) -> usize {
    server.log().matches(what).count()
}

#[test]
fn two_servers_share_a_mail_root() {
    let (one, two) = (tempfile::tempdir(), tempfile::tempdir());
    let (one, two) = (one.expect("directory"), two.expect("directory"));
    let first = Server::start(one.path(), json!({}));
    let second = first.start_beside(two.path());
    for (hears, takes) in [(&first, &second), (&second, &first)] {
        let mut imap = login(hears);
        imap.imap("SELECT INBOX");
        imap.send("i IDLE\r\n");
        assert!(imap.line().starts_with('+'));
        assert!(deliver(takes).starts_with("250"));
        let begun = Instant::now();
        assert!(imap.line().ends_with("EXISTS\r\n"));
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
    for server in [&first, &second] {
        assert!(login(server).imap("SELECT INBOX").contains("* 2 EXISTS"));
    }
}

#[test]
fn descriptors_used_up_are_no_end() {
    let dir = tempfile::tempdir().expect("directory");
    let mut server = Server::start(dir.path(), json!({}));
    server.kill();
    server.descriptors = Some(64);
    server.launch();
    let smtp = ("127.0.0.1", server.port("/smtp/port"));
    let flood: Vec<TcpStream> = (0..100).flat_map(|_| TcpStream::connect(smtp)).collect();
    wait_for("the server to have no more descriptors", || {
        count(&server, "event=accept_paused") > 0
    });
    drop(flood);
    assert!(deliver(&server).starts_with("250"));
    assert!(login(&server).imap("SELECT INBOX").contains("* 1 EXISTS"));
    let paused = count(&server, "event=accept_paused");
    assert!(paused < 50, "{paused} lines: it does not try again and again");
}

#[test]
fn a_flood_of_refused_connections_is_told_in_few_lines() {
    let dir = tempfile::tempdir().expect("directory");
    let server = Server::start(dir.path(), json!({"smtp": {"max_connections": 2}}));
    let port = server.port("/smtp/port");
    let mut inside = None;
    // The connection that found the server ready may still be counted.
    wait_for("a place", || {
        let (wire, greeting) = Wire::connect(port);
        inside = Some(wire);
        greeting.starts_with("220")
    });
    for _ in 0..200 {
        assert!(Wire::connect(port).1.starts_with("421 4.3.2"));
    }
    wait_for("the number of lines that were left out", || {
        server.log().contains("event=refused_more left_out=1")
    });
    let lines = count(&server, "event=refused service=smtp");
    assert!(lines < 100, "{lines} lines");
    drop(inside);
}

#[test]
fn a_log_that_cannot_be_written_ends_nothing() {
    let dir = tempfile::tempdir().expect("directory");
    std::os::unix::fs::symlink("/dev/full", dir.path().join("log")).expect("a link");
    let mut server = Server::start(dir.path(), json!({}));
    assert!(deliver(&server).starts_with("250"));
    assert!(login(&server).imap("SELECT INBOX").contains("* 1 EXISTS"));
    server.signal("TERM");
    assert!(server.wait());
}

#[test]
fn a_certificate_that_was_replaced_is_taken_and_half_of_one_is_not() {
    let (dir, other) = (tempfile::tempdir(), tempfile::tempdir());
    let (dir, other) = (dir.expect("directory"), other.expect("directory"));
    let server = Server::start(dir.path(), json!({}));
    let new = CertificateSource::SelfSigned {
        mail_root: other.path().to_owned(),
        names: vec!["new.here.test".to_owned()],
    };
    ServerTls::load(&new, &[]).expect("a new pair");
    let replace = |name: &str| {
        let from = other.path().join("tls").join(name);
        fs::copy(from, server.mail_root().join("tls").join(name)).expect("a copy");
    };
    replace("cert.pem");
    wait_for("the reason why the old pair is kept", || {
        server
            .log()
            .contains("the private key does not belong to this certificate")
    });
    assert_eq!(count(&server, "event=certificate_reloaded"), 0);
    replace("key.pem");
    wait_for("the new certificate", || {
        count(&server, "event=certificate_reloaded") == 1
    });
    assert_eq!(count(&server, "event=certificate_kept"), 1, "told once");
}

#[test]
fn a_reload_does_not_turn_tls_off() {
    let dir = tempfile::tempdir().expect("directory");
    let mut server = Server::start(dir.path(), json!({"auth": {"cleartext_networks": []}}));
    server.config["tls"] = json!({"enabled": false});
    server.config["hostname"] = json!("new.here.test");
    server.write_config();
    server.signal("HUP");
    wait_for("the new name in the greeting", || {
        let (mut wire, greeting) = Wire::connect(server.port("/imap/port"));
        let capability = wire.imap("CAPABILITY");
        assert!(
            capability.contains("STARTTLS") && capability.contains("LOGINDISABLED"),
            "{capability}"
        );
        greeting.contains("new.here.test")
    });
    assert!(server.log().contains("event=restart_needed"));
}

#[test]
fn a_kill_at_the_first_start_is_mended_by_the_next() {
    let dir = tempfile::tempdir().expect("directory");
    let mut server = Server::start(dir.path(), json!({}));
    for round in 0..10 {
        server.kill();
        fs::remove_dir_all(server.mail_root().join("tls")).expect("removed");
        let mut child = server.command().spawn().expect("it starts");
        // At another moment each time; whichever it is, the next start works.
        std::thread::sleep(Duration::from_millis(2 * round));
        child.kill().expect("killed");
        child.wait().expect("ended");
        server.launch();
    }
    assert!(deliver(&server).starts_with("250"));
}

/// A small file system of its own.
struct Small(PathBuf);

impl Small {
    /// `None`, visibly, where we may not mount.
    fn mount(at: &Path) -> Option<Self> {
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
            .arg(at)
            .stderr(Stdio::null())
            .status();
        if mount.is_ok_and(|status| status.success()) {
            return Some(Self(at.to_owned()));
        }
        eprintln!("SKIPPED: mounting a file system needs root");
        None
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[test]
fn a_full_disk_refuses_and_recovers_by_itself() {
    let (dir, disk) = (tempfile::tempdir(), tempfile::tempdir());
    let (dir, disk) = (dir.expect("directory"), disk.expect("directory"));
    let Some(_small) = Small::mount(disk.path()) else {
        return;
    };
    let server = Server::start(dir.path(), json!({"mail_root": disk.path().join("mailstore")}));
    assert!(deliver(&server).starts_with("250"));
    let mut imap = login(&server);
    assert!(imap.imap("SELECT INBOX").contains("* 1 EXISTS"));
    let filler = disk.path().join("filler");
    assert!(
        fs::write(&filler, vec![0; 8 << 20]).is_err(),
        "the disk is smaller"
    );
    assert!(deliver(&server).starts_with("452 4.3.1"));
    assert!(imap.imap("CREATE new").contains("t NO"));
    assert!(imap.imap("STORE 1 +FLAGS (\\Flagged)").contains("t NO"));
    assert!(imap.imap("STORE 1 +FLAGS (keyword)").contains("t NO"));
    assert!(append(&mut imap).contains("t NO"));
    assert!(imap.imap("SUBSCRIBE new").contains("t NO"));
    // Whether a further name takes room is up to the file system: what is answered holds.
    let copied = usize::from(imap.imap("COPY 1 Archive").contains("t OK"));
    let moved = imap.imap("MOVE 1 Trash").contains("t OK");
    assert!(
        imap.imap("FETCH 1 BODY.PEEK[]").contains("t OK") || moved,
        "mail can be read"
    );
    fs::remove_file(&filler).expect("removed");
    let counted = |imap: &mut Wire, mailbox: &str, count: usize| {
        let status = imap.imap(&format!("STATUS {mailbox} (MESSAGES)"));
        assert!(status.contains(&format!("(MESSAGES {count})")), "{status}");
    };
    counted(&mut imap, "INBOX", usize::from(!moved));
    counted(&mut imap, "Archive", copied);
    counted(&mut imap, "Trash", usize::from(moved));
    assert!(deliver(&server).starts_with("250"));
    assert!(imap.imap("CREATE new").contains("t OK"));
    assert!(imap.imap("SUBSCRIBE new").contains("t OK"));
    assert!(imap.imap("STORE 1 +FLAGS (\\Flagged keyword)").contains("t OK"));
    assert!(append(&mut imap).contains("t OK"));
    assert!(imap.imap("COPY 1 new").contains("t OK"));
    assert!(imap.imap("MOVE 1 new").contains("t OK"));
    counted(&mut imap, "new", 2);
    let now = login(&server).imap("SELECT INBOX");
    assert!(
        now.contains(&format!("* {} EXISTS", 2 - usize::from(moved))),
        "{now}"
    );
}

/// Appends a message to INBOX.
fn append(imap: &mut Wire) -> String {
    imap.imap("APPEND INBOX {12+}\r\nSubject: y\r\n")
}
