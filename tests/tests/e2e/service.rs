//! rmail as a service: sockets and words of a service manager, restarts that refuse nobody, root that is given up, the unit.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use rmail_tests::{PATIENCE, Server, Sink, Wire, find_optional, rmail, wait_for};
use serde_json::{Value, json};

use crate::relay::{inbox, queue_is_empty};

/// Ends whatever process serves a directory by now: successors are no children of ours.
struct End<'a>(&'a Path);

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

fn command(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(rmail());
    command
        .arg("--config")
        .arg(dir.join("config.json"))
        .args(arguments);
    command.output().expect("it runs")
}

/// Who answers on the mail_root and does not end.
fn processes(dir: &Path) -> Vec<u64> {
    let output = command(dir, &["status", "--json"]);
    let all: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let all = all.as_array().cloned().unwrap_or_default();
    let serving = all.iter().filter(|status| status["ending"] == json!(false));
    serving.filter_map(|status| status["pid"].as_u64()).collect()
}

fn text(octets: &[u8]) -> String {
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

/// What a service manager hears.
struct Words(UnixDatagram);

impl Words {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("bound");
        socket.set_read_timeout(Some(PATIENCE)).expect("time-out");
        Self(socket)
    }

    /// Hears until one begins so; the whole word.
    fn until(&self, line: &str) -> String {
        loop {
            let mut octets = [0; 4_096];
            let count = self
                .0
                .recv(&mut octets)
                .unwrap_or_else(|error| panic!("{line}: {error}"));
            let word = text(octets.get(..count).unwrap_or_default());
            if word.lines().any(|found| found.starts_with(line)) {
                return word;
            }
        }
    }
}

/// Starts `rmail serve` as a service manager does, with this socket as descriptor 3.
fn activate(dir: &Path, socket: TcpListener, notify: &Path) -> Child {
    let log = fs::File::create(dir.join("log")).expect("a log");
    let script = "exec 3<&0 0</dev/null; export LISTEN_PID=$$ WATCHDOG_PID=$$; exec \"$0\" \"$@\"";
    Command::new("sh")
        .args(["-c", script])
        .arg(rmail())
        .arg("--config")
        .arg(dir.join("config.json"))
        .arg("serve")
        .envs([
            ("LISTEN_FDS", "1"),
            ("LISTEN_FDNAMES", "smtp"),
            ("WATCHDOG_USEC", "300000"),
        ])
        .env("NOTIFY_SOCKET", notify)
        .stdin(Stdio::from(OwnedFd::from(socket)))
        .stderr(log)
        .spawn()
        .expect("started")
}

#[test]
fn a_service_manager_gives_sockets_and_hears_how_it_is() {
    let dir = tempfile::tempdir().expect("directory");
    let off = json!({"port": null, "submission_port": null, "smtps_port": null});
    let config = json!({
        "hostname": "mail.here.test", "domains": ["here.test"], "mail_root": "mailstore",
        "smtp": off, "imap": {"port": null, "imaps_port": null},
        "exchange_api": {"port": null, "secure_port": null},
    });
    fs::write(dir.path().join("config.json"), config.to_string()).expect("written");
    let socket = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = socket.local_addr().expect("bound").port();
    let words = Words::at(&dir.path().join("notify"));
    let mut child = activate(dir.path(), socket, &dir.path().join("notify"));
    let _end = End(dir.path());
    assert!(words.until("READY=1").contains("STATUS=serving"));
    let (_, greeting) = Wire::connect(port);
    assert!(greeting.starts_with("220"), "{greeting}");
    words.until("WATCHDOG=1");
    let kill = |name: &str, process: &str| {
        assert!(
            Command::new("kill")
                .args([name, process])
                .status()
                .is_ok_and(|status| status.success())
        );
    };
    kill("-HUP", &child.id().to_string());
    assert!(words.until("RELOADING=1").contains("MONOTONIC_USEC="));
    words.until("READY=1");
    kill("-USR2", &child.id().to_string());
    words.until("RELOADING=1");
    let main = words.until("MAINPID=");
    let successor = main.trim_start_matches("MAINPID=").trim().to_owned();
    assert_ne!(successor, child.id().to_string());
    words.until("READY=1");
    assert!(child.wait().expect("it ends").success());
    // The successor is alive for the service manager, and serves on the same socket.
    words.until("WATCHDOG=1");
    let (_, greeting) = Wire::connect(port);
    assert!(greeting.starts_with("220"), "{greeting}");
    kill("-TERM", &successor);
    words.until("STOPPING=1");
    wait_for("its end", || processes(dir.path()).is_empty());
}

/// The four user ids, or group ids, of a process.
fn ids(process: u32, line: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the process");
    let line = status
        .lines()
        .find_map(|found| found.strip_prefix(line))
        .expect("the line");
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn root_is_given_up_once_the_ports_are_bound() {
    if fs::metadata("/proc/self").expect("a process").uid() != 0 {
        eprintln!("SKIPPED: only root can give its rights up");
        return;
    }
    const NOBODY: &str = "65534";
    let dir = tempfile::tempdir().expect("directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("open to all");
    let extra = json!({"user": NOBODY, "group": NOBODY, "pid_file": "run.pid"});
    let mut server = Server::start(dir.path(), extra);
    let all = [NOBODY; 4].join(" ");
    assert_eq!(ids(server.process(), "Uid:"), all);
    assert_eq!(ids(server.process(), "Gid:"), all);
    assert_eq!(ids(server.process(), "Groups:"), NOBODY);
    assert_eq!(ids(server.process(), "CapEff:"), "0000000000000000");
    assert_eq!(ids(server.process(), "NoNewPrivs:"), "1");
    // Users that root had added before, and one that it adds now.
    let (mut wire, _) = Wire::connect(server.port("/imap/port"));
    assert!(wire.imap("LOGIN alice@here.test secret").contains("t OK"));
    server.rmail(
        &["user", "add", "carol@here.test", "--password-stdin"],
        "secret\n",
    );
    let (mut wire, _) = Wire::connect(server.port("/imap/port"));
    assert!(wire.imap("LOGIN carol@here.test secret").contains("t OK"));
    let owner = |name: &str| {
        fs::metadata(server.dir.join(name))
            .expect("there")
            .uid()
            .to_string()
    };
    for name in [
        "mailstore",
        "run.pid",
        "mailstore/domains/here.test/users/carol/user.json",
    ] {
        assert_eq!(owner(name), NOBODY, "{name}");
    }
    let written = fs::read_to_string(server.dir.join("run.pid")).expect("readable");
    assert_eq!(written.trim(), server.process().to_string());
    server.signal("TERM");
    assert!(server.wait());
    let left = fs::read_to_string(server.dir.join("run.pid")).expect("it stays, empty");
    assert_eq!(left, "");

    // Where that user cannot go nothing is started.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).expect("closed");
    let output = server.command().stderr(Stdio::piped()).output().expect("it ends");
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("is not accessible for"), "{told}");
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
