//! Several servers on one mail_root: each hears what the others do, takes over what a dead one had queued, and may start
//! at any moment.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rmail_tests::{Server, Sink, Wire, free_port, wait_for};
use serde_json::{Value, json};
use tempfile::TempDir;

fn dirs<const N: usize>() -> [TempDir; N] {
    [(); N].map(|()| tempfile::tempdir().expect("a directory"))
}

fn login(server: &Server, user: &str) -> Wire {
    let (mut wire, _) = Wire::connect(server.port("/imap/port"));
    assert!(
        wire.imap(&format!("LOGIN {user}@here.test secret"))
            .contains("t OK")
    );
    wire
}

fn deliver(server: &Server, user: &str) {
    let (mut wire, _) = Wire::connect(server.port("/smtp/port"));
    for command in [
        "EHLO client.test",
        "MAIL FROM:<a@away.test>",
        &format!("RCPT TO:<{user}@here.test>"),
        "DATA",
        "Subject: x\r\n\r\ntext\r\n.",
    ] {
        let reply = wire.smtp(command);
        assert!(reply.starts_with(['2', '3']), "{command}: {reply}");
    }
}

/// Submits a message as alice.
fn submit(server: &Server, to: &str, subject: &str) {
    let (mut wire, _) = Wire::connect(server.port("/smtp/submission_port"));
    for command in [
        "EHLO client.test",
        // \0alice@here.test\0secret
        "AUTH PLAIN AGFsaWNlQGhlcmUudGVzdABzZWNyZXQ=",
        "MAIL FROM:<alice@here.test>",
        &format!("RCPT TO:<{to}>"),
        "DATA",
        &format!("From: alice@here.test\r\nSubject: {subject}\r\n\r\nbody\r\n."),
    ] {
        let reply = wire.smtp(command);
        assert!(reply.starts_with(['2', '3']), "{command}: {reply}");
    }
}

/// From the last octet of a command to one server until an idling client of another hears of it: the middle of several
/// times, so that a machine that is busy with other things for a moment does not count.
fn latency(config: Value) -> Duration {
    let [one, two] = dirs();
    let first = Server::start(one.path(), config);
    let second = first.start_beside(two.path());
    let mut idler = login(&first, "bob");
    idler.imap("SELECT INBOX");
    let mut other = login(&second, "bob");
    other.imap("SELECT INBOX");
    idler.send("i IDLE\r\n");
    assert!(idler.line().starts_with('+'));
    let mut times = Vec::new();
    for round in 0..5 {
        let begun = Instant::now();
        deliver(&second, "bob");
        let mut heard = |begun: Instant, what: &str| {
            while !idler.line().contains(what) {}
            times.push(begun.elapsed());
        };
        heard(begun, "EXISTS");
        other.imap("NOOP");
        let begun = Instant::now();
        other.send(&format!("s STORE 1 +FLAGS (word{round} \\Deleted)\r\n"));
        heard(begun, "FETCH");
        while !other.line().starts_with("s OK") {}
        let begun = Instant::now();
        other.send("x EXPUNGE\r\n");
        heard(begun, "EXPUNGE");
        while !other.line().starts_with("x OK") {}
    }
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
fn what_another_server_does_is_heard_at_once() {
    let middle = latency(json!({"store": {"poll_ms": 60_000}}));
    assert!(middle < Duration::from_secs(1), "{middle:?}");
}

#[test]
fn where_it_cannot_be_heard_it_is_found_as_often_as_configured() {
    let middle = latency(json!({"store": {"shared_by_hosts": true, "poll_ms": 100}}));
    assert!(middle < Duration::from_secs(3), "{middle:?}");
}

#[test]
fn a_user_disabled_beside_the_server_is_out_at_once() {
    let [one] = dirs();
    let server = Server::start(one.path(), json!({}));
    let mut wire = login(&server, "bob");
    wire.imap("SELECT INBOX");
    wire.send("i IDLE\r\n");
    assert!(wire.line().starts_with('+'));
    server.rmail(&["user", "disable", "bob@here.test"], "");
    let begun = Instant::now();
    assert!(wire.rest().contains("* BYE"));
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "README: within five seconds"
    );
}

/// How often the threads of the server have gone to sleep so far; without the helper that the sockets' library has, which
/// sleeps several times for each of theirs.
fn sleeps(process: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("its threads");
    let count = |task: std::fs::DirEntry| {
        let status = std::fs::read_to_string(task.path().join("status")).ok()?;
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)
        };
        let ours = field("Name:")?.starts_with("rmail");
        ours.then(|| field("voluntary_ctxt_switches:")?.parse::<u64>().ok())?
    };
    tasks.flatten().filter_map(count).sum()
}

#[test]
fn idling_sessions_let_the_server_sleep() {
    const SECONDS: u64 = 6;
    let [one] = dirs();
    let server = Server::start(one.path(), json!({}));
    let mut wires = Vec::new();
    for user in ["alice", "bob"] {
        let mut wire = login(&server, user);
        wire.imap("SELECT INBOX");
        wire.send("i IDLE\r\n");
        assert!(wire.line().starts_with('+'));
        wires.push(wire);
    }
    // Ears are put on accounts by the first look at them, and threads without work end after 10 s.
    std::thread::sleep(Duration::from_secs(3));
    let before = sleeps(server.process());
    std::thread::sleep(Duration::from_secs(SECONDS));
    let count = sleeps(server.process()).saturating_sub(before);
    // A tick a second, after which either of two threads may look for more to do, and rarely a look at what is watched.
    assert!(count <= 6 * SECONDS, "{count} in {SECONDS} s");
}

#[test]
fn what_a_dead_server_had_queued_is_sent_by_another() {
    let [one, two, three] = dirs();
    let port = free_port();
    let mut delays = vec![2; 60];
    delays.insert(0, 1);
    let relay = json!({"relay": {
        "routes": {"*": {"host": "127.0.0.1", "port": port, "tls": "none"}}, "retry_delays": delays,
    }});
    let mut dies = Server::start(one.path(), relay);
    let stops = dies.start_beside(two.path());
    let lives = dies.start_beside(three.path());
    for n in 0..5 {
        submit(&dies, "x@away.test", &format!("dies {n}"));
        submit(&stops, "y@away.test", &format!("stops {n}"));
    }
    submit(&lives, "z@away.test", "lives");
    // One that stands still is not dead: nobody takes what is its own.
    stops.signal("STOP");
    dies.kill();
    let sink = Sink::start(port);
    let count = |what: &str| {
        let mails = sink.mails();
        let has = |mail: &&String| mail.contains(&format!("\r\nSubject: {what}"));
        mails.iter().filter(has).count()
    };
    wait_for("the mail of the dead server", || {
        (0..5).all(|n| count(&format!("dies {n}\r\n")) > 0)
    });
    assert!(lives.log().contains("event=adopted entries=5"));
    assert_eq!((count("dies"), count("stops"), count("lives")), (5, 0, 1));
    stops.signal("CONT");
    wait_for("the mail of the one that stood still", || count("stops") == 5);
    wait_for("an empty queue", || {
        let queue = lives.mail_root().join("queue");
        let homes = std::fs::read_dir(queue).expect("the queue").flatten();
        homes
            .flat_map(|home| std::fs::read_dir(home.path()).into_iter().flatten().flatten())
            .all(|file| file.file_name() == "lock")
    });
    // Nothing is left to send for one that comes back.
    dies.launch();
    submit(&dies, "x@away.test", "again");
    wait_for("its own mail", || count("again") == 1);
    assert_eq!((count("dies"), count("stops"), count("lives")), (5, 5, 1));
    let mails: BTreeSet<String> = sink.mails().into_iter().collect();
    assert_eq!(mails.len(), sink.mails().len(), "each was sent once");
}

#[test]
fn servers_may_start_at_the_same_moment_on_a_new_mail_root() {
    let [template, fresh, one, two, three, four] = dirs();
    let first = Server::start(template.path(), json!({}));
    for round in 0..4 {
        let root = fresh.path().join(format!("new/{round}"));
        let mut servers = [&one, &two, &three, &four].map(|dir| {
            let mut server = first.beside(dir.path());
            server.config["mail_root"] = json!(root);
            server.write_config();
            server
        });
        std::thread::scope(|scope| {
            for (n, server) in servers.iter_mut().enumerate() {
                scope.spawn(move || {
                    // From all at once to one after another while the first is at it.
                    std::thread::sleep(Duration::from_millis(3 * round * n as u64));
                    server.launch();
                });
            }
        });
        servers[1].rmail(&["user", "add", "bob@here.test", "--password-stdin"], "secret\n");
        for server in &servers {
            deliver(server, "bob");
        }
        for server in &servers {
            assert!(login(server, "bob").imap("SELECT INBOX").contains("* 4 EXISTS"));
            let log = server.log();
            assert!(!log.contains("ERROR") && !log.contains("WARN"), "{log}");
        }
    }
}
