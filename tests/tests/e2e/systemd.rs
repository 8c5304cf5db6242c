//! What a service manager and rmail say to each other: sockets, words of the one that serves, commands that go through
//! `systemctl`. Where it is needed a script stands in for that, and says what it was asked.

use std::cell::Cell;
use std::fs;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rmail_tests::{PATIENCE, Server, Wire, find_optional, rmail, wait_for};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde_json::json;

use crate::root::apart;
use crate::service::{End, command, processes, text};

/// A service manager that hears the main process alone, as with `NotifyAccess=main`: the first that speaks, and then whom
/// that one names.
struct Manager {
    socket: UnixDatagram,
    main: Cell<Option<u32>>,
}

impl Manager {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("bound");
        socket.set_read_timeout(Some(PATIENCE)).expect("time-out");
        rustix::net::sockopt::set_socket_passcred(&socket, true).expect("a socket");
        Self {
            socket,
            main: Cell::new(None),
        }
    }

    /// The main process.
    fn main(&self) -> u32 {
        self.main.get().expect("somebody has spoken")
    }

    /// Hears one word, and from whom.
    fn hear(&self) -> (u32, String) {
        let mut octets = [0; 4_096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut octets)];
        let flags = RecvFlags::empty();
        let received = rustix::net::recvmsg(&self.socket, &mut parts, &mut ancillary, flags);
        let count = received.expect("a word").bytes;
        let from = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmCredentials(from) => from.pid.as_raw_nonzero().get().try_into().ok(),
            _ => None,
        });
        (
            from.expect("the system says who"),
            text(octets.get(..count).unwrap_or_default()),
        )
    }

    /// The next word of the main process.
    fn word(&self) -> String {
        loop {
            let (from, word) = self.hear();
            if self.main.get().is_some_and(|main| main != from) {
                continue;
            }
            let named = word.lines().find_map(|line| line.strip_prefix("MAINPID="));
            let named = named.map(|process| process.parse().expect("a number"));
            self.main.set(named.or(Some(from)));
            return word;
        }
    }

    /// Hears until a line of the main process begins so; all that it said before, and the word.
    fn until(&self, begin: &str) -> String {
        loop {
            let word = self.word();
            if word.lines().any(|line| line.starts_with(begin)) {
                return word;
            }
        }
    }
}

fn kill(signal: &str, process: u32) {
    let status = Command::new("kill").args([signal, &process.to_string()]).status();
    assert!(status.is_ok_and(|status| status.success()), "kill {signal}");
}

/// A configuration that listens nowhere.
fn configure(dir: &Path) {
    let off = json!({"port": null, "submission_port": null, "smtps_port": null});
    let config = json!({
        "hostname": "mail.here.test", "domains": ["here.test"], "mail_root": "mailstore",
        "smtp": off, "imap": {"port": null, "imaps_port": null},
        "exchange_api": {"port": null, "secure_port": null},
    });
    fs::write(dir.join("config.json"), config.to_string()).expect("written");
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
    configure(dir.path());
    let socket = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = socket.local_addr().expect("bound").port();
    let manager = Manager::at(&dir.path().join("notify"));
    let mut child = activate(dir.path(), socket, &dir.path().join("notify"));
    let _end = End(dir.path());
    assert!(manager.until("READY=1").contains("STATUS=serving"));
    let (_, greeting) = Wire::connect(port);
    assert!(greeting.starts_with("220"), "{greeting}");
    manager.until("WATCHDOG=1");
    kill("-HUP", child.id());
    assert!(manager.until("RELOADING=1").contains("MONOTONIC_USEC="));
    manager.until("READY=1");
    kill("-USR2", child.id());
    manager.until("RELOADING=1");
    let word = manager.until("MAINPID=");
    assert!(word.contains("READY=1"), "{word}");
    let successor = manager.main();
    assert_ne!(successor, child.id());
    assert!(child.wait().expect("it ends").success());
    // The successor is alive for the service manager, and serves on the same socket.
    manager.until("WATCHDOG=1");
    let (_, greeting) = Wire::connect(port);
    assert!(greeting.starts_with("220"), "{greeting}");
    kill("-TERM", successor);
    manager.until("STOPPING=1");
    wait_for("its end", || processes(dir.path()).is_empty());
}

#[test]
fn the_main_process_is_known_through_restarts() {
    let dir = tempfile::tempdir().expect("directory");
    configure(dir.path());
    let manager = Manager::at(&dir.path().join("notify"));
    let mut child = Command::new(rmail())
        .arg("--config")
        .arg(dir.path().join("config.json"))
        .arg("serve")
        .env("NOTIFY_SOCKET", dir.path().join("notify"))
        .stdin(Stdio::null())
        .stderr(fs::File::create(dir.path().join("log")).expect("a log"))
        .spawn()
        .expect("started");
    let _end = End(dir.path());
    manager.until("READY=1");
    assert_eq!(manager.main(), child.id());
    for _ in 0..3 {
        let before = manager.main();
        let output = command(dir.path(), &["restart"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        manager.until("RELOADING=1");
        assert!(manager.until("MAINPID=").contains("READY=1"));
        let now = manager.main();
        assert_ne!(now, before);
        assert_eq!(processes(dir.path()), [u64::from(now)]);
        // `ExecReload=/bin/kill -HUP $MAINPID`
        kill("-HUP", now);
        assert!(manager.until("RELOADING=1").contains("MONOTONIC_USEC="));
        manager.until("READY=1");
    }
    assert!(child.wait().expect("it ends").success());
    let output = command(dir.path(), &["stop"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    manager.until("STOPPING=1");
    wait_for("its end", || processes(dir.path()).is_empty());
}

/// Says that it serves, and is gone before it hears that it does.
const GONE: &str = "#!/usr/bin/env python3
import socket
link = socket.socket(fileno=0)
while link.recv(65536) != b'\"end\"':
    pass
link.shutdown(socket.SHUT_RD)
link.send(b'\"ready\"')
";

#[test]
fn a_successor_that_is_gone_at_the_last_moment_leaves_the_main_process_what_it_is() {
    if find_optional("python3").is_none() {
        return;
    }
    let dir = tempfile::tempdir().expect("directory");
    configure(dir.path());
    let program = dir.path().join("rmail");
    symlink(rmail(), &program).expect("a link");
    let manager = Manager::at(&dir.path().join("notify"));
    let mut child = Command::new(&program)
        .arg("--config")
        .arg(dir.path().join("config.json"))
        .arg("serve")
        .env("NOTIFY_SOCKET", dir.path().join("notify"))
        .stdin(Stdio::null())
        .stderr(fs::File::create(dir.path().join("log")).expect("a log"))
        .spawn()
        .expect("started");
    let _end = End(dir.path());
    manager.until("READY=1");
    fs::remove_file(&program).expect("removed");
    fs::write(&program, GONE).expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("changed");
    let output = command(dir.path(), &["restart"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("goes on"),
        "{}",
        text(&output.stderr)
    );
    manager.until("RELOADING=1");
    let word = manager.word();
    assert!(word.contains("READY=1") && !word.contains("MAINPID="), "{word}");
    assert_eq!(manager.main(), child.id());
    assert_eq!(processes(dir.path()), [u64::from(child.id())]);

    fs::remove_file(&program).expect("removed");
    symlink(rmail(), &program).expect("a link");
    let output = command(dir.path(), &["restart"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    manager.until("MAINPID=");
    assert_ne!(manager.main(), child.id());
    assert!(child.wait().expect("it ends").success());
}

/// A host on which systemd runs, as far as commands see.
struct Systemd(PathBuf);

impl Systemd {
    /// None where there can be no such.
    fn new(dir: &Path) -> Option<Self> {
        apart("true")?;
        let place = dir.join("systemd");
        fs::create_dir(&place).expect("made");
        let script = format!(
            "#!/bin/sh\ncd '{}'\necho \"$*\" >>calls\ncase $1 in\nshow) cat unit;;\nstop) kill -TERM $(cat main);;\n\
             reload) kill -HUP $(cat main);;\nesac\n",
            place.display()
        );
        fs::write(place.join("systemctl"), script).expect("written");
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(place.join("systemctl"), mode).expect("changed");
        Some(Self(place))
    }

    /// The unit runs this configuration in this process.
    fn runs(&self, state: &str, config: &Path, main: u32) {
        let config = config.display();
        let unit = format!(
            "LoadState=loaded\nActiveState={state}\nMainPID={main}\nExecStart={{ path=/usr/bin/rmail ; \
             argv[]=/usr/bin/rmail --config {config} serve ; ignore_errors=no ; pid={main} ; code=(null) ; status=0/0 }}\n"
        );
        fs::write(self.0.join("unit"), unit).expect("written");
        fs::write(self.0.join("main"), main.to_string()).expect("written");
    }

    /// Runs a command, in the directory.
    fn run(&self, dir: &Path, arguments: &[&str]) -> Output {
        let mut command = apart("mkdir -p /run/systemd/system").expect("it was allowed before");
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.0.display()));
        let output = command.arg(rmail()).args(arguments).current_dir(dir).output();
        output.expect("it runs")
    }

    /// What it was asked since the last time, but for looks at the unit.
    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.0.join("calls")).unwrap_or_default();
        drop(fs::remove_file(self.0.join("calls")));
        let calls = calls.lines().filter(|line| !line.starts_with("show "));
        calls.map(str::to_owned).collect()
    }
}

#[test]
fn commands_are_for_the_server_of_the_configuration_whatever_the_service_is() {
    let place = tempfile::tempdir().expect("directory");
    let Some(systemd) = Systemd::new(place.path()) else {
        return;
    };
    let [one, two, empty] = ["one", "two", "empty"].map(|name| {
        let dir = place.path().join(name);
        fs::create_dir(&dir).expect("made");
        dir
    });
    let (mut service, mut other) = (Server::start(&one, json!({})), Server::start(&two, json!({})));
    for dir in [&one, &two] {
        wait_for("the server to be reached", || processes(dir).len() == 1);
    }
    systemd.runs("active", &one.join("config.json"), service.process());
    let none: [&str; 0] = [];
    let good = |output: &Output| assert!(output.status.success(), "{}", text(&output.stderr));

    // A server that is not the service hears it itself.
    let output = systemd.run(&two, &["reload"]);
    good(&output);
    assert!(
        text(&output.stdout).contains("was told"),
        "{}",
        text(&output.stdout)
    );
    wait_for("the reload", || other.log().contains("event=reloaded"));
    good(&systemd.run(&two, &["stop"]));
    assert!(other.wait());
    assert_eq!(systemd.calls(), none);
    for verb in ["stop", "reload", "restart"] {
        let output = systemd.run(&two, &[verb]);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{verb}: {told}");
        let config = one.join("config.json").display().to_string();
        assert!(
            told.contains("no server answers") && told.contains(&config),
            "{verb}: {told}"
        );
    }
    assert_eq!(systemd.calls(), none);

    // The service is dealt with by systemd: by its configuration, or where none is named and none is there.
    let config = one.join("config.json").display().to_string();
    good(&systemd.run(&empty, &["--config", &config, "reload"]));
    assert_eq!(systemd.calls(), ["reload rmail.service"]);
    wait_for("the reload", || service.log().contains("event=reloaded"));
    good(&systemd.run(&empty, &["start"]));
    assert_eq!(systemd.calls(), ["start rmail.service"]);
    good(&systemd.run(&empty, &["reload"]));
    assert_eq!(systemd.calls(), ["reload rmail.service"]);
    // But for a restart that refuses nobody.
    let _end = End(&one);
    good(&systemd.run(&empty, &["restart"]));
    assert_eq!(systemd.calls(), none);
    assert!(service.wait());
    let successor = processes(&one);
    let [successor] = successor[..] else {
        panic!("{successor:?}")
    };
    systemd.runs(
        "active",
        &one.join("config.json"),
        successor.try_into().expect("a number"),
    );
    good(&systemd.run(&one, &["stop"]));
    assert_eq!(systemd.calls(), ["stop rmail.service"]);
    wait_for("its end", || processes(&one).is_empty());

    // It does not answer: it may be about to start again.
    systemd.runs("activating", &one.join("config.json"), 0);
    fs::write(systemd.0.join("main"), "").expect("written");
    systemd.run(&one, &["stop"]);
    assert_eq!(systemd.calls(), ["stop rmail.service"]);
    good(&systemd.run(&one, &["restart"]));
    assert_eq!(systemd.calls(), ["restart rmail.service"]);
    fs::write(
        systemd.0.join("unit"),
        "LoadState=not-found\nActiveState=inactive\nMainPID=0\n",
    )
    .expect("written");
    let output = systemd.run(&one, &["stop"]);
    assert!(text(&output.stderr).contains("no server answers on this mail_root"));
    assert_eq!(systemd.calls(), none);
}
