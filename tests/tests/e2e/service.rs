//! rmail as a service: restarts that refuse nobody, the unit, commands where there is no systemd.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use rmail_tests::{PATIENCE, Server, Sink, Wire, find_optional, rmail, wait_for};
use serde_json::{Value, json};

use crate::relay::{inbox, queue_is_empty};

/// Ends whatever process serves a directory by now: successors are no children of ours.
pub(crate) struct End<'a>(pub(crate) &'a Path);

impl Drop for End<'_> {
    fn drop(&mut self) {
        for process in processes(self.0) {
            drop(
                Command::new("kill")
                    .args(["-KILL", &process.to_string()])
                    .status(),
            );
        }
    }
}

pub(crate) fn command(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(rmail());
    command
        .arg("--config")
        .arg(dir.join("config.json"))
        .args(arguments);
    command.output().expect("it runs")
}

/// Who answers on the mail_root and does not end.
pub(crate) fn processes(dir: &Path) -> Vec<u64> {
    let output = command(dir, &["status", "--json"]);
    let all: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let all = all.as_array().cloned().unwrap_or_default();
    let serving = all.iter().filter(|status| status["ending"] == json!(false));
    serving.filter_map(|status| status["pid"].as_u64()).collect()
}

pub(crate) fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// A connection that is not refused; what is read of it may end.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("no connection is refused");
        stream.set_read_timeout(Some(PATIENCE)).expect("time-out");
        Self(BufReader::new(stream))
    }

    /// Sends, and reads the last line of a reply; `None`: the server said goodbye, or is gone.
    fn say(&mut self, text: &str) -> Option<String> {
        self.0.get_mut().write_all(text.as_bytes()).ok()?;
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).ok()? == 0 || line.starts_with("421") {
                return None;
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Some(line);
            }
        }
    }
}

/// Submits a message to bob and to somebody elsewhere; whether it was taken.
fn submit(port: u16, id: &str) -> Option<()> {
    let mut client = Client::connect(port);
    client.say("")?;
    client.say("EHLO client.test\r\n")?;
    // \0alice@here.test\0secret
    client.say("AUTH PLAIN AGFsaWNlQGhlcmUudGVzdABzZWNyZXQ=\r\n")?;
    for command in [
        "MAIL FROM:<alice@here.test>",
        "RCPT TO:<bob@here.test>",
        "RCPT TO:<x@away.test>",
    ] {
        let reply = client.say(&format!("{command}\r\n"))?;
        assert!(reply.starts_with("250"), "{command}: {reply}");
    }
    client.say("DATA\r\n")?;
    let reply = client.say(&format!(
        "From: alice@here.test\r\nSubject: {id}.\r\n\r\nbody\r\n.\r\n"
    ))?;
    assert!(reply.starts_with("250"), "{reply}");
    // What comes of this is no matter.
    client.say("QUIT\r\n");
    Some(())
}

/// The clients end, whatever happens.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// So many restarts while three clients send all the time: no connection is refused, and what was taken is there, here and
/// elsewhere.
fn restart_under_load(restarts: usize) {
    const CLIENTS: usize = 3;
    let dir = tempfile::tempdir().expect("directory");
    let sink = Sink::start(0);
    let extra = json!({
        "relay": {"routes": {"*": {"host": "127.0.0.1", "port": sink.port, "tls": "none"}}},
        "limits": {"recipients_per_hour": 1_000_000, "recipients_per_day": 1_000_000},
        "delivery": {"max_queue_size": 100_000},
        "log_level": "INFO",
    });
    let mut server = Server::start(dir.path(), extra);
    let _end = End(dir.path());
    let over = AtomicBool::new(false);
    let begun = Instant::now();
    let mut taken = BTreeSet::new();
    thread::scope(|scope| {
        let send = |client: usize| {
            let mut taken = Vec::new();
            for count in 0.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let id = format!("message-{client}-{count}");
                // One that was cut off may have been taken, or not; its sender would try again.
                if submit(server.port("/smtp/submission_port"), &id).is_some() {
                    taken.push(id);
                }
            }
            taken
        };
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| scope.spawn(move || send(client)))
            .collect();
        let _over = Over(&over);
        let mut before = Vec::new();
        wait_for("the server to be reached", || {
            before = processes(dir.path());
            before.len() == 1
        });
        for _ in 0..restarts {
            server.rmail(&["restart"], "");
            let now = processes(dir.path());
            assert!(!now.is_empty() && now != before, "{before:?} {now:?}");
            before = now;
        }
        over.store(true, Ordering::Relaxed);
        for client in clients {
            taken.extend(client.join().expect("no connection was refused"));
        }
    });
    eprintln!(
        "{restarts} restarts, {} messages, {:?}",
        taken.len(),
        begun.elapsed()
    );
    assert!(server.wait(), "the first process ended well");
    assert!(taken.len() >= CLIENTS, "the clients had their turn");
    wait_for("the queue to be empty", || queue_is_empty(&server));
    eprintln!("all sent after {:?}", begun.elapsed());
    let (here, elsewhere) = (inbox(&server, "bob"), sink.mails().concat());
    for id in &taken {
        assert!(here.contains(&format!("Subject: {id}.")), "{id} is not here");
        assert!(
            elsewhere.contains(&format!("Subject: {id}.")),
            "{id} was not sent"
        );
    }
}

#[test]
fn a_hundred_restarts_refuse_nobody_and_lose_nothing() {
    restart_under_load(100);
}

#[test]
fn a_process_that_does_not_start_leaves_the_old_one_serving() {
    let dir = tempfile::tempdir().expect("directory");
    let mut server = Server::start(dir.path(), json!({}));
    let _end = End(dir.path());
    let mut before = Vec::new();
    wait_for("the server to be reached", || {
        before = processes(dir.path());
        before.len() == 1
    });
    let good = fs::read_to_string(dir.path().join("config.json")).expect("config.json");
    let (mut open, _) = Wire::connect(server.port("/smtp/port"));
    let other = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = other.local_addr().expect("bound").port();
    let with_port = good.replace(
        "\"exchange_api\":{\"port\":null",
        &format!("\"exchange_api\":{{\"port\":{port}"),
    );
    assert_ne!(good, with_port);
    // Every command needs a configuration that can be read: the signal is for the one that cannot.
    fs::write(dir.path().join("config.json"), "{").expect("written");
    server.signal("USR2");
    wait_for("the failure in the log", || {
        server.log().contains("event=restart_failed")
    });
    fs::write(dir.path().join("config.json"), with_port).expect("written");
    let output = command(dir.path(), &["restart"]);
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains("goes on") && told.contains(&port.to_string()),
        "{told}"
    );
    assert_eq!(processes(dir.path()), before);
    assert!(
        open.smtp("EHLO client.test").starts_with("250"),
        "and its sessions go on"
    );

    fs::write(dir.path().join("config.json"), good).expect("written");
    server.signal("USR2");
    wait_for("another process", || {
        let now = processes(dir.path());
        now.len() == 1 && now != before
    });
    assert!(server.wait(), "the old process ended well");
    assert!(open.rest().contains("421"), "its session was told");
    let (_, greeting) = Wire::connect(server.port("/smtp/port"));
    assert!(greeting.starts_with("220"), "{greeting}");
}

#[test]
fn the_unit_is_written_verified_and_taken_away() {
    let dir = tempfile::tempdir().expect("directory");
    let (units, config) = (dir.path().join("units"), dir.path().join("config.json"));
    fs::write(&config, "{\"pid_file\": \"run/rmail.pid\"}").expect("written");
    let rmail = |arguments: &[&str]| {
        let mut command = Command::new(rmail());
        command
            .current_dir(dir.path())
            .args(arguments)
            .arg("--unit-dir")
            .arg(&units);
        command.output().expect("it runs")
    };
    let dry = rmail(&["install", "--dry-run"]);
    assert!(dry.status.success(), "{}", text(&dry.stderr));
    assert!(!units.exists());
    let done = rmail(&["install"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let file = units.join("rmail.service");
    let unit = fs::read_to_string(&file).expect("written");
    assert!(
        text(&dry.stdout).contains(&unit),
        "what it would do is what it does"
    );
    let place = fs::canonicalize(dir.path()).expect("a path");
    for line in [
        format!("WorkingDirectory={}", place.display()),
        format!("ReadWritePaths={0}/mailstore {0}/run", place.display()),
    ] {
        assert!(unit.lines().any(|found| found == line), "{line}\n{unit}");
    }
    assert!(text(&done.stdout).contains("Review before"));
    if let Some(analyze) = find_optional("systemd-analyze") {
        let output = Command::new(analyze)
            .arg("verify")
            .arg(&file)
            .output()
            .expect("it runs");
        let said = text(&output.stderr);
        // Units of the host that are not ours may be odd.
        assert!(!said.lines().any(|line| line.contains("rmail")), "{said}\n{unit}");
    }
    let gone = rmail(&["uninstall"]);
    assert!(gone.status.success() && !file.exists(), "{}", text(&gone.stderr));
    assert_eq!(rmail(&["uninstall"]).status.code(), Some(1));
    let unknown = rmail(&["install", "--user", "no-such-user-here"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        text(&unknown.stderr).contains("useradd"),
        "{}",
        text(&unknown.stderr)
    );
}

#[test]
fn without_systemd_and_without_a_server_commands_say_so() {
    if Path::new("/run/systemd/system").exists() {
        eprintln!("SKIPPED: systemd runs here");
        return;
    }
    let dir = tempfile::tempdir().expect("directory");
    fs::write(dir.path().join("config.json"), "{}").expect("written");
    for (arguments, words) in [
        (&["start"][..], "systemd does not run on this host; `rmail serve`"),
        (&["logs"], "systemd does not run on this host; the log is"),
        (&["stop"], "no server answers on this mail_root"),
        (&["restart"], "no server answers on this mail_root"),
        (&["reload"], "no server answers on this mail_root"),
    ] {
        let output = command(dir.path(), arguments);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {told}");
        assert!(told.contains(words), "{arguments:?}: {told}");
    }
}

#[test]
fn a_server_without_systemd_is_reloaded_and_stopped_by_command() {
    let dir = tempfile::tempdir().expect("directory");
    if Path::new("/run/systemd/system").exists() {
        eprintln!("SKIPPED: systemd runs here");
        return;
    }
    let mut server = Server::start(dir.path(), json!({}));
    wait_for("the server to be reached", || !processes(dir.path()).is_empty());
    server.rmail(&["reload"], "");
    wait_for("the reload", || server.log().contains("event=reloaded"));
    server.rmail(&["stop"], "");
    assert!(server.wait());
}

#[test]
fn a_socket_with_the_name_of_another_process_does_not_end_that_one() {
    let dir = tempfile::tempdir().expect("directory");
    let mut server = Server::start(dir.path(), json!({}));
    wait_for("the server to be reached", || !processes(dir.path()).is_empty());
    let mut other = Command::new("sleep").arg("600").spawn().expect("started");
    let control = server.mail_root().join("control");
    let named = |process: u32| control.join(format!("{process}.sock"));
    fs::rename(named(server.process()), named(other.id())).expect("renamed");
    server.rmail(&["reload"], "");
    wait_for("the reload", || server.log().contains("event=reloaded"));
    server.rmail(&["stop"], "");
    assert!(server.wait());
    assert!(
        other.try_wait().expect("its state").is_none(),
        "the other goes on"
    );
    other.kill().expect("ended");
    other.wait().expect("ended");
}
