//! Mail that goes out to servers of others: Postfix's smtp-sink with its ways to fail, aiosmtpd, a second rmail; and found
//! by a name server of others. What is not installed is skipped with a visible line.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rmail_tests::{Server, Wire, find_optional, free_port, python_with, wait_for};
use serde_json::{Value, json};

use crate::relay::{inbox, queue_is_empty, submit};

/// A program of others; killed when dropped.
struct Peer(Child);

impl Peer {
    fn start(command: &mut Command) -> Self {
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null());
        Self(quiet.stderr(Stdio::null()).spawn().expect("it starts"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A program that Debian keeps out of the PATH of users.
fn system_program(name: &str) -> Option<PathBuf> {
    let path = Path::new("/usr/sbin").join(name);
    path.is_file().then_some(path).or_else(|| find_optional(name))
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|id| id.stdout.starts_with(b"0\n"))
}

/// Ten tries, a second apart; then there is a notice.
const DELAYS: [u64; 30] = [1; 30];

fn smtp_sink(program: &Path, port: u16, dir: &Path, options: &[&str]) -> Peer {
    let mut command = Command::new(program);
    if is_root() {
        command.args(["-u", "root"]);
    }
    command.args(options).arg("-d").arg(dir.join("mail."));
    Peer::start(command.arg(format!("127.0.0.1:{port}")).arg("100"))
}

/// The messages that a smtp-sink has written down. It has an empty file for a while where it refuses what would be in it.
fn dumps(dir: &Path) -> Vec<String> {
    let files = fs::read_dir(dir).expect("the directory").flatten();
    let read = files.map(|file| fs::read(file.path()).unwrap_or_default());
    read.filter(|octets| !octets.is_empty())
        .map(|octets| String::from_utf8_lossy(&octets).into_owned())
        .collect()
}

/// What becomes of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// It is taken although the server is odd.
    Taken,
    /// It waits until the server is in order.
    Waits,
    /// The sender is told.
    Fails,
}

const WAYS: [(&str, &[&str], Then); 17] = [
    ("plain", &[], Then::Taken),
    ("no-esmtp", &["-e"], Then::Taken),
    ("no-pipelining", &["-p"], Then::Taken),
    ("no-eightbit", &["-8", "-E"], Then::Taken),
    ("slow", &["-w", "1"], Then::Taken),
    ("helo-only", &["-f", "EHLO"], Then::Taken),
    ("drop-connect", &["-q", "CONNECT"], Then::Waits),
    ("drop-mail", &["-q", "MAIL"], Then::Waits),
    ("drop-rcpt", &["-q", "RCPT"], Then::Waits),
    ("drop-data", &["-q", "DATA"], Then::Waits),
    ("drop-dot", &["-q", "."], Then::Waits),
    ("closing-rcpt", &["-Q", "RCPT"], Then::Waits),
    ("soft-mail", &["-r", "MAIL"], Then::Waits),
    ("soft-dot", &["-r", "."], Then::Waits),
    ("hard-connect", &["-f", "CONNECT"], Then::Waits),
    ("hard-rcpt", &["-f", "RCPT"], Then::Fails),
    ("hard-dot", &["-f", "."], Then::Fails),
];

#[test]
fn smtp_sink_fails_in_all_its_ways_and_each_message_comes_to_its_end_once() {
    let Some(program) = system_program("smtp-sink") else {
        return;
    };
    let dir = tempfile::tempdir().expect("a directory");
    let mut routes = serde_json::Map::new();
    let mut sinks = Vec::new();
    for (name, options, _) in WAYS {
        let port = free_port();
        let dumped = dir.path().join(name);
        fs::create_dir(&dumped).expect("a directory");
        let route = json!({"host": "127.0.0.1", "port": port, "tls": "opportunistic"});
        routes.insert(format!("{name}.test"), route);
        sinks.push((port, smtp_sink(&program, port, &dumped, options)));
    }
    let config = json!({"relay": {"routes": Value::Object(routes), "retry_delays": DELAYS}});
    let server = Server::start(dir.path(), config);
    for (name, _, _) in WAYS {
        submit(&server, &[&format!("x@{name}.test")], name);
    }
    let deferred = |name: &str| {
        let is_its =
            |line: &&str| line.contains("event=deferred") && line.contains(&format!("x@{name}.test"));
        server.log().lines().filter(is_its).count()
    };
    for (name, _, then) in WAYS {
        match then {
            Then::Taken => wait_for(name, || dumps(&dir.path().join(name)).len() == 1),
            Then::Waits => wait_for(name, || deferred(name) >= 2),
            Then::Fails => wait_for(name, || {
                inbox(&server, "alice").contains(&format!("rfc822; x@{name}.test"))
            }),
        }
    }
    for ((name, _, then), (port, sink)) in WAYS.iter().zip(&mut sinks) {
        if *then == Then::Waits {
            drop(sink.0.kill());
            drop(sink.0.wait());
            *sink = smtp_sink(&program, *port, &dir.path().join(name), &[]);
        }
    }
    wait_for("an empty queue", || queue_is_empty(&server));
    for (name, _, then) in WAYS {
        let taken = dumps(&dir.path().join(name));
        // At the dot a smtp-sink writes down what it then refuses, and what nobody hears that it took.
        let due = usize::from(then != Then::Fails);
        let right = taken.len() == due || name.ends_with("-dot") && taken.len() >= due;
        assert!(right, "{name}: {taken:?}");
        let whole = |mail: &String| {
            mail.contains(&format!("Subject: {name}\n"))
                && mail.contains(&format!("X-Rcpt-Args: <x@{name}.test>"))
                && mail.ends_with("\n\n. dots\nbody\n\n")
        };
        assert!(taken.iter().all(whole), "{name}: {taken:?}");
    }
    let notices = inbox(&server, "alice").matches("Action: failed").count();
    assert_eq!(notices, 2, "one notice for each that failed for good");
}

#[test]
fn aiosmtpd_refuses_some_recipients_and_takes_the_rest() {
    let Some(python) = python_with("aiosmtpd") else {
        return;
    };
    let dir = tempfile::tempdir().expect("a directory");
    let (port, taken) = (free_port(), dir.path().join("taken"));
    fs::create_dir(&taken).expect("a directory");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/take_aiosmtpd.py");
    let mut command = Command::new(python);
    let _peer = Peer::start(command.arg(script).arg(port.to_string()).arg(&taken));
    let route = json!({"host": "127.0.0.1", "port": port, "tls": "opportunistic"});
    let config = json!({"relay": {"routes": {"*": route}, "retry_delays": DELAYS}});
    let server = Server::start(dir.path(), config);
    // The first message to `later-…` gets 451 once; `never-…` gets 550; the rest is taken.
    for n in 0..10 {
        let to = [
            format!("a{n}@away.test"),
            format!("later-{n}@away.test"),
            format!("never-{n}@away.test"),
        ];
        submit(
            &server,
            &to.each_ref().map(String::as_str),
            &format!("number {n}"),
        );
    }
    wait_for("an empty queue", || queue_is_empty(&server));
    let mails = dumps(&taken);
    let text = inbox(&server, "alice");
    for n in 0..10 {
        let subject = format!("Subject: number {n}\r\n");
        let with = |to: String| {
            let to = format!("RCPT <{to}>\r\n");
            mails
                .iter()
                .filter(|mail| mail.contains(&to) && mail.contains(&subject))
                .count()
        };
        assert_eq!(with(format!("a{n}@away.test")), 1, "{n}: {mails:?}");
        assert_eq!(with(format!("later-{n}@away.test")), 1, "{n}: {mails:?}");
        assert_eq!(with(format!("never-{n}@away.test")), 0, "{n}: {mails:?}");
        let told = text
            .matches(&format!("Final-Recipient: rfc822; never-{n}@away.test"))
            .count();
        assert_eq!(told, 1, "{n}: {text}");
    }
    let whole = |mail: &String| mail.contains("\r\n\r\n. dots\r\nbody\r\n");
    assert!(mails.iter().all(whole), "{mails:?}");
}

#[test]
fn a_second_rmail_takes_it_and_is_waited_for_while_it_is_down() {
    let (here, there) = (tempfile::tempdir(), tempfile::tempdir());
    let (here, there) = (here.expect("a directory"), there.expect("a directory"));
    let port = free_port();
    let other = json!({"domains": ["there.test"], "hostname": "mail.there.test", "smtp": {"port": port}});
    let mut receiver = Server::start_with_users(
        there.path(),
        other,
        &[("carol@there.test", true), ("dave@there.test", false)],
    );
    let route = json!({"host": "127.0.0.1", "port": port, "tls": "require"});
    let config = json!({"relay": {"routes": {"there.test": route}, "retry_delays": DELAYS}});
    let server = Server::start(here.path(), config);
    submit(
        &server,
        &["carol@there.test", "nobody@there.test"],
        "while it is up",
    );
    wait_for("the notice", || {
        inbox(&server, "alice").contains("rfc822; nobody@there.test")
    });
    receiver.kill();
    submit(
        &server,
        &["carol@there.test", "dave@there.test"],
        "while it is down",
    );
    wait_for("two tries in vain", || {
        server.log().matches("event=deferred").count() >= 4
    });
    assert!(!queue_is_empty(&server));
    receiver.launch();
    wait_for("an empty queue", || queue_is_empty(&server));
    let inbox = |user: &str| {
        let (mut wire, _) = Wire::connect(receiver.port("/imap/port"));
        wire.imap(&format!("LOGIN {user}@there.test secret"));
        wire.imap("EXAMINE INBOX");
        wire.imap("FETCH 1:* (BODY.PEEK[])")
    };
    for (user, subjects) in [
        ("carol", &["while it is up", "while it is down"][..]),
        ("dave", &["while it is down"]),
    ] {
        let text = inbox(user);
        assert_eq!(
            text.matches("Return-Path: <alice@here.test>").count(),
            subjects.len(),
            "{text}"
        );
        for subject in subjects {
            assert!(text.contains(&format!("Subject: {subject}\r\n")), "{text}");
        }
        assert!(text.contains(" with ESMTPS\r\n"), "{text}");
        assert_eq!(
            text.matches("\r\n\r\n. dots\r\nbody\r\n").count(),
            subjects.len(),
            "{text}"
        );
    }
}
