//! Signals, broken files and shortages while there is work to do: nothing that was acknowledged is lost, nobody is
//! disturbed who need not be.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rmail_tests::{PATIENCE, Server, Wire, wait_for};
use serde_json::json;

/// A client that may lose its server.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut client = Self(BufReader::new(stream));
        client.line()?;
        Ok(client)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line),
        }
    }

    /// The last line of the answer, which begins with `last`.
    fn ask(&mut self, octets: &str, last: fn(&str) -> bool) -> io::Result<String> {
        self.0.get_mut().write_all(octets.as_bytes())?;
        loop {
            let line = self.line()?;
            if last(&line) {
                return Ok(line);
            }
        }
    }

    fn smtp(&mut self, octets: &str, code: &str) -> io::Result<()> {
        let reply = self.ask(octets, |line| line.as_bytes().get(3) == Some(&b' '))?;
        match reply.starts_with(code) {
            true => Ok(()),
            false => Err(io::Error::other(reply)),
        }
    }

    fn imap(&mut self, octets: &str) -> io::Result<()> {
        let reply = self.ask(octets, |line| line.starts_with("t "))?;
        match reply.starts_with("t OK") {
            true => Ok(()),
            false => Err(io::Error::other(reply)),
        }
    }
}

/// Clients that send as fast as they can, and what they were told.
#[derive(Default)]
struct Load {
    over: AtomicBool,
    next: AtomicUsize,
    acknowledged: Mutex<BTreeSet<String>>,
    failed: Mutex<Vec<String>>,
}

/// Messages of one connection: below `smtp.max_messages_per_connection`.
const MESSAGES: usize = 40;

impl Load {
    fn count(&self) -> usize {
        self.acknowledged.lock().expect("no panic").len()
    }

    /// Does one thing again and again, with a new subject each time, until it is over. A connection that fails is told,
    /// and another is made; one that cannot be made ends it.
    fn run(
        &self,
        port: u16,
        begin: fn(&mut Client) -> io::Result<()>,
        give: fn(&mut Client, &str) -> io::Result<()>,
    ) {
        while !self.over.load(Ordering::Relaxed) {
            let Ok(mut client) = Client::connect(port) else {
                return;
            };
            let mut session = || -> io::Result<()> {
                begin(&mut client)?;
                for _ in 0..MESSAGES {
                    let subject = format!("message-{}", self.next.fetch_add(1, Ordering::Relaxed));
                    give(&mut client, &subject)?;
                    self.acknowledged.lock().expect("no panic").insert(subject);
                    if self.over.load(Ordering::Relaxed) {
                        break;
                    }
                }
                Ok(())
            };
            if let Err(error) = session() {
                self.failed.lock().expect("no panic").push(error.to_string());
            }
        }
    }

    fn run_smtp(&self, port: u16) {
        self.run(
            port,
            |client| client.smtp("EHLO client.test\r\n", "250"),
            |client, subject| {
                client.smtp("MAIL FROM:<a@away.test>\r\n", "250")?;
                client.smtp("RCPT TO:<bob@here.test>\r\n", "250")?;
                client.smtp("DATA\r\n", "354")?;
                client.smtp(&format!("{}.\r\n", message(subject)), "250")
            },
        );
    }

    fn run_imap(&self, port: u16) {
        self.run(
            port,
            |client| client.imap("t LOGIN bob secret\r\n"),
            |client, subject| {
                let message = message(subject);
                client.imap(&format!("t APPEND INBOX {{{}+}}\r\n{message}\r\n", message.len()))
            },
        );
    }
}

fn message(subject: &str) -> String {
    format!("Subject: {subject}\r\n\r\n{}\r\nwhole\r\n", "x".repeat(1_500))
}

/// Subjects of the messages that bob has, each of which is whole.
fn stored(server: &Server) -> Vec<String> {
    let (mut wire, _) = Wire::connect(server.port("/imap/port"));
    wire.imap("LOGIN bob secret");
    let selected = wire.imap("SELECT INBOX");
    let answer = wire.imap("FETCH 1:* BODY.PEEK[HEADER.FIELDS (SUBJECT)]");
    let subjects: Vec<_> = answer
        .lines()
        .filter_map(|line| line.strip_prefix("Subject: "))
        .map(|subject| subject.trim_end().to_owned())
        .collect();
    assert!(
        selected.contains(&format!("* {} EXISTS", subjects.len())),
        "{selected}"
    );
    let whole = wire.imap("SEARCH BODY whole");
    let whole = whole
        .lines()
        .next()
        .expect("an answer")
        .split_whitespace()
        .count()
        - 2;
    assert_eq!(whole, subjects.len());
    subjects
}

/// What was acknowledged is there, and nothing is there twice.
fn check(load: &Load, server: &Server) {
    let stored = stored(server);
    let distinct: BTreeSet<_> = stored.iter().cloned().collect();
    assert_eq!(distinct.len(), stored.len(), "no message is there twice");
    let acknowledged = load.acknowledged.lock().expect("no panic");
    let lost: Vec<_> = acknowledged.difference(&distinct).collect();
    assert!(lost.is_empty(), "lost: {lost:?} of {}", acknowledged.len());
}

#[test]
fn the_end_under_load_loses_nothing_and_lets_messages_in_flight_end() {
    let dir = tempfile::tempdir().expect("directory");
    let mut server = Server::start(dir.path(), json!({}));
    let (smtp, imap) = (server.port("/smtp/port"), server.port("/imap/port"));
    let mut slow: Vec<_> = (0..3)
        .map(|number| {
            let (mut wire, _) = Wire::connect(smtp);
            wire.smtp("EHLO client.test");
            wire.smtp("MAIL FROM:<a@away.test>");
            wire.smtp("RCPT TO:<bob@here.test>");
            assert!(wire.smtp("DATA").starts_with("354"));
            let subject = format!("slow-{number}");
            wire.send(&message(&subject));
            (wire, subject)
        })
        .collect();
    let (mut quiet, _) = Wire::connect(smtp);
    let load = Load::default();
    std::thread::scope(|scope| {
        let (load, server) = (&load, &mut server);
        for _ in 0..3 {
            scope.spawn(move || load.run_smtp(smtp));
        }
        scope.spawn(move || load.run_imap(imap));
        wait_for("some work", || load.count() >= 40);
        server.signal("TERM");
        // The end has begun, and nobody new is taken.
        assert!(quiet.rest().starts_with("421 4.3.2"));
        for (wire, subject) in &mut slow {
            wire.send(".\r\n");
            assert!(wire.line().starts_with("250 "), "{subject} is finished");
            load.acknowledged
                .lock()
                .expect("no panic")
                .insert(subject.clone());
            assert!(wire.rest().starts_with("421 "), "and then it is over");
        }
        let begun = Instant::now();
        assert!(server.wait(), "it ends well");
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "long before the grace time is over"
        );
        load.over.store(true, Ordering::Relaxed);
    });
    server.launch();
    check(&load, &server);
}

#[test]
fn reloads_under_load_disturb_nobody() {
    let dir = tempfile::tempdir().expect("directory");
    let mut server = Server::start(dir.path(), json!({}));
    let (smtp, imap) = (server.port("/smtp/port"), server.port("/imap/port"));
    let load = Load::default();
    std::thread::scope(|scope| {
        let load = &load;
        for _ in 0..2 {
            scope.spawn(move || load.run_smtp(smtp));
        }
        scope.spawn(move || load.run_imap(imap));
        // Ends the clients also if something is not as it should be here.
        let over = Over(load);
        for round in 0..6 {
            fs::write(server.dir.join("config.json"), "{").expect("written");
            server.signal("HUP");
            let name = format!("mail{round}.here.test");
            server.config["hostname"] = json!(name);
            server.write_config();
            server.signal("HUP");
            wait_for("the new name in the greeting", || {
                Wire::connect(smtp).1.contains(&format!("220 {name} "))
            });
            let before = load.count();
            wait_for("work that goes on", || load.count() > before + 5);
        }
        drop(over);
    });
    assert_eq!(*load.failed.lock().expect("no panic"), Vec::<String>::new());
    check(&load, &server);
    assert_eq!(stored(&server).len(), load.count());
}

/// Says that it is over when it is dropped.
struct Over<'a>(&'a Load);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

#[test]
fn each_broken_file_keeps_the_running_configuration_and_is_named() {
    let dir = tempfile::tempdir().expect("directory");
    let server = Server::start(dir.path(), json!({}));
    let path = server.dir.join("config.json");
    let with = |key: &str, value| {
        let mut config = server.config.clone();
        config["hostname"] = json!("broken.here.test");
        config[key] = value;
        config.to_string()
    };
    let smarthost = json!({
        "smarthost": "smart.test", "smarthost_username": "u", "smarthost_password": {"file": "no-such-file"},
    });
    for (text, told) in [
        ("{".to_owned(), "this is no JSON"),
        ("[]".to_owned(), "expected an object"),
        (with("log_levle", json!("INFO")), "log_levle"),
        (with("imap", json!({"port": "x"})), "imap.port"),
        (with("domains", json!([])), "domains"),
        (with("tls", json!({"cert_file": "cert.pem"})), "tls.key_file"),
        (with("relay", smarthost), "relay.smarthost_password"),
    ] {
        let before = server.log().matches(told).count();
        fs::write(&path, &text).expect("written");
        server.signal("HUP");
        wait_for(told, || server.log().matches(told).count() > before);
        let (_, greeting) = Wire::connect(server.port("/smtp/port"));
        assert!(greeting.starts_with("220 mail.here.test "), "{told}: {greeting}");
    }
    fs::remove_file(&path).expect("removed");
    server.signal("HUP");
    wait_for("the missing file", || server.log().contains("cannot read "));
    assert!(
        Wire::connect(server.port("/imap/port"))
            .1
            .contains("mail.here.test")
    );
}

/// Hundredths of a second of processor time that the server has used.
fn ticks(server: &Server) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.process())).expect("it runs");
    let (_, rest) = stat.rsplit_once(") ").expect("its name");
    let times = rest.split(' ').skip(11).take(2);
    times.map(|time| time.parse::<u64>().expect("a number")).sum()
}

#[test]
fn a_server_without_descriptors_does_not_spin_and_goes_on_with_whom_it_has() {
    let dir = tempfile::tempdir().expect("directory");
    let mut server = Server::start(dir.path(), json!({"log_level": "INFO"}));
    server.kill();
    server.descriptors = Some(64);
    server.launch();
    let (mut inside, _) = Wire::connect(server.port("/imap/port"));
    assert!(inside.imap("LOGIN bob secret").contains("t OK"));
    for round in 1..=2 {
        let pauses = || server.log().matches("event=accept_paused").count();
        let before = pauses();
        // More than it may have open, and they stay.
        let flood: Vec<TcpStream> = ["/smtp/port", "/imap/imaps_port", "/smtp/submission_port"]
            .into_iter()
            .flat_map(|port| std::iter::repeat_n(server.port(port), 40))
            .flat_map(|port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)))
            .collect();
        if round == 1 {
            wait_for("the server to have no more descriptors", || pauses() > before);
        }
        let descriptors =
            || fs::read_dir(format!("/proc/{}/fd", server.process())).map_or(0, Iterator::count);
        wait_for("the last descriptor to be used", || descriptors() >= 63);
        let (used, lines) = (ticks(&server), server.log().len());
        // What it uses in this time is measured.
        std::thread::sleep(Duration::from_millis(1_500));
        let used = ticks(&server) - used;
        assert!(
            used < 40,
            "{used} hundredths of a second of processor time in 1.5 s"
        );
        assert!(
            server.log().len() - lines < 20_000,
            "and it does not fill its log"
        );
        assert!(inside.imap("NOOP").contains("t OK"), "who is inside is served");
        drop(flood);
        let (mut wire, greeting) = Wire::connect(server.port("/smtp/port"));
        assert!(greeting.starts_with("220 "), "{greeting}");
        wire.smtp("EHLO client.test");
        wire.smtp("MAIL FROM:<a@away.test>");
        wire.smtp("RCPT TO:<bob@here.test>");
        wire.smtp("DATA");
        assert!(wire.smtp(&format!("{}.", message("after"))).starts_with("250 "));
        let status = inside.imap("STATUS INBOX (MESSAGES)");
        assert!(status.contains(&format!("(MESSAGES {round})")), "{status}");
    }
}
