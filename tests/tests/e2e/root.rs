//! Servers that root starts: whom they run as, what is given to whom.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use rmail_tests::{Server, Wire, find_optional, rmail, wait_for};
use serde_json::{Value, json};

use crate::service::{End, processes, text};

const NOBODY: &str = "65534";
const NOBODYS: u32 = 65_534;

/// A directory that all may pass; none if we are not root.
fn open_to_all() -> Option<tempfile::TempDir> {
    if fs::metadata("/proc/self").expect("a process").uid() != 0 {
        eprintln!("SKIPPED: only root can give its rights up");
        return None;
    }
    let dir = tempfile::tempdir().expect("directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("open to all");
    Some(dir)
}

/// A command that sees file systems of its own, with an empty `/run`, after some words of the shell; none where that is not
/// allowed.
pub(crate) fn apart(prepare: &str) -> Option<Command> {
    let unshare = find_optional("unshare")?;
    let allowed = Command::new(&unshare).args(["--mount", "true"]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: no file systems of our own here");
        return None;
    }
    let script = format!("mount -t tmpfs none /run && {prepare} && exec \"$@\"");
    let mut command = Command::new(unshare);
    command.args(["--mount", "sh", "-c", &script, "sh"]);
    Some(command)
}

/// A configuration that listens to LMTP at most, written.
fn configure(dir: &Path, extra: &Value) {
    let off = json!({"port": null, "submission_port": null, "smtps_port": null});
    let mut config = json!({
        "hostname": "mail.here.test", "domains": ["here.test"], "mail_root": "mailstore",
        "user": NOBODY, "group": NOBODY,
        "smtp": off, "imap": {"port": null, "imaps_port": null},
        "exchange_api": {"port": null, "secure_port": null},
    });
    for (key, value) in extra.as_object().expect("an object") {
        config[key] = value.clone();
    }
    fs::write(dir.join("config.json"), config.to_string()).expect("written");
}

/// What `rmail serve` says that does not start.
fn refusal(mut command: Command, dir: &Path) -> String {
    command.arg("--config").arg(dir.join("config.json")).arg("serve");
    let output = command.stdin(Stdio::null()).output().expect("it ends");
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    told
}

fn owner(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("there").uid()
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
    let Some(dir) = open_to_all() else { return };
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
fn on_the_mail_root_of_another_user_root_works_as_that_user() {
    let Some(dir) = open_to_all() else { return };
    let mut server = Server::start(dir.path(), json!({}));
    server.signal("TERM");
    assert!(server.wait());
    assert_eq!(owner(&server.mail_root()), 0, "it was root's");
    let given = Command::new("chown")
        .args(["-R", &format!("{NOBODY}:{NOBODY}")])
        .arg(server.mail_root())
        .status();
    assert!(given.is_ok_and(|status| status.success()));
    server.launch();
    // Ports are bound a moment before the rights of root are given up.
    wait_for("the rights of root to be given up", || {
        ids(server.process(), "Uid:") == [NOBODY; 4].join(" ")
    });
    let (mut wire, _) = Wire::connect(server.port("/imap/port"));
    assert!(wire.imap("LOGIN alice@here.test secret").contains("t OK"));
    assert!(server.log().contains("event=user name="), "{}", server.log());
    let control = server.mail_root().join("control");
    let socket = control.join(format!("{}.sock", server.process()));
    for path in [control, socket] {
        assert_eq!(owner(&path), NOBODYS, "{}", path.display());
    }
}

#[test]
fn what_is_missing_above_a_mail_root_is_open_to_its_user() {
    let Some(dir) = open_to_all() else { return };
    let extra = json!({"user": NOBODY, "group": NOBODY, "mail_root": "a/b/mail"});
    let server = Server::start_with_users(dir.path(), extra, &[]);
    assert_eq!(ids(server.process(), "Uid:"), [NOBODY; 4].join(" "));
    for (name, mode, user) in [("a", 0o755, 0), ("a/b", 0o755, 0), ("a/b/mail", 0o700, NOBODYS)] {
        let found = fs::metadata(dir.path().join(name)).expect("there");
        assert_eq!((found.mode() & 0o777, found.uid()), (mode, user), "{name}");
    }
}

#[test]
fn only_a_mail_root_is_given_away_with_all_names_of_its_files() {
    let Some(dir) = open_to_all() else { return };
    let root = dir.path().join("mailstore");
    configure(dir.path(), &json!({}));
    fs::create_dir(&root).expect("made");
    fs::write(root.join("passwd"), "precious").expect("written");
    let told = refusal(Command::new(rmail()), dir.path());
    assert!(told.contains("passwd") && told.contains("chown -R"), "{told}");
    assert_eq!(owner(&root.join("passwd")), 0);
    configure(dir.path(), &json!({"mail_root": "/usr/share"}));
    let told = refusal(Command::new(rmail()), dir.path());
    assert!(told.contains("a directory of the system"), "{told}");
    assert_eq!(owner(Path::new("/usr/share")), 0);

    // What lies on another file system stays; what has two names is given, as messages have.
    configure(dir.path(), &json!({}));
    fs::remove_file(root.join("passwd")).expect("removed");
    fs::create_dir_all(root.join("domains/here.test")).expect("made");
    fs::write(root.join("domains/one"), "a message").expect("written");
    fs::hard_link(root.join("domains/one"), root.join("domains/two")).expect("linked");
    let there = root.join("domains/here.test");
    if let Some(mut command) = apart(&format!("mount -t tmpfs none '{}'", there.display())) {
        command.arg(rmail());
        let told = refusal(command, dir.path());
        assert!(told.contains("another file system"), "{told}");
        assert_eq!(owner(&root), 0, "it changes hands last");
    }
    let server = Command::new(rmail())
        .arg("--config")
        .arg(dir.path().join("config.json"))
        .arg("serve")
        .spawn();
    let mut server = server.expect("started");
    let _end = End(dir.path());
    wait_for("the server to be reached", || !processes(dir.path()).is_empty());
    for name in [".", "domains", "domains/one", "domains/two", "domains/here.test"] {
        assert_eq!(owner(&root.join(name)), NOBODYS, "{name}");
    }
    server.kill().expect("ended");
    server.wait().expect("ended");
}

#[test]
fn sockets_and_files_in_the_directory_of_the_system_are_made_before_root_is_given_up() {
    let Some(dir) = open_to_all() else { return };
    let extra = json!({"lmtp": {"listen": "/run/lmtp.sock"}, "pid_file": "/run/mail/rmail.pid"});
    configure(dir.path(), &extra);
    let Some(mut command) = apart("true") else { return };
    command
        .arg(rmail())
        .arg("--config")
        .arg(dir.path().join("config.json"));
    let log = fs::File::create(dir.path().join("log")).expect("a log");
    let mut server = command.arg("serve").stderr(log).spawn().expect("started");
    let _end = End(dir.path());
    let mut before = Vec::new();
    // It sees another /run than we do: ours is reached by what it sees.
    let seen = |process: u32, path: &str| Path::new(&format!("/proc/{process}/root")).join(path);
    let greets = |process: u32| {
        use std::io::Read as _;
        let mut stream = UnixStream::connect(seen(process, "run/lmtp.sock")).expect("it listens");
        let mut greeting = [0; 3];
        stream.read_exact(&mut greeting).expect("a greeting");
        assert_eq!(&greeting, b"220");
    };
    wait_for("the server to be reached", || {
        before = processes(dir.path());
        before.len() == 1
    });
    assert_eq!(ids(server.id(), "Uid:"), [NOBODY; 4].join(" "));
    let socket = fs::symlink_metadata(seen(server.id(), "run/lmtp.sock")).expect("there");
    assert_eq!(
        (socket.uid(), socket.gid(), socket.mode() & 0o777),
        (NOBODYS, NOBODYS, 0o660)
    );
    greets(server.id());
    let written = fs::read_to_string(seen(server.id(), "run/mail/rmail.pid")).expect("written");
    assert_eq!(written.trim(), server.id().to_string());
    // The next process has lost the right to bind it too.
    let restarted = crate::service::command(dir.path(), &["restart"]);
    assert!(restarted.status.success(), "{}", text(&restarted.stderr));
    let now = processes(dir.path());
    assert!(now.len() == 1 && now != before, "{before:?} {now:?}");
    let process = u32::try_from(now[0]).expect("a number");
    greets(process);
    assert!(server.wait().expect("it ends").success());
}
