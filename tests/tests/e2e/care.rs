//! `rmail fsck`, `backup`, `backup verify` and `restore` beside a running server, on a real directory.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rmail_tests::{Server, Wire, rmail, wait_for};
use serde_json::{Value, json};

/// Runs `rmail`; its exit code, and what it wrote to standard output and standard error.
fn run(server: &Server, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(rmail())
        .arg("--config")
        .arg(server.dir.join("config.json"))
        .args(arguments)
        .output()
        .expect("rmail is built beside its tests");
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let code = output.status.code().expect("it ends by itself");
    (code, text(&output.stdout), text(&output.stderr))
}

/// The same with `--json`: its exit code, and the object.
fn run_json(server: &Server, arguments: &[&str]) -> (i32, Value) {
    let all: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
    let (code, out, err) = run(server, &all);
    let value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{all:?}: {error}: {out}{err}"));
    (code, value)
}

fn login(server: &Server, user: &str) -> Wire {
    let (mut wire, _) = Wire::connect(server.port("/imap/port"));
    let answer = wire.imap(&format!("LOGIN {user} secret"));
    assert!(answer.contains("t OK"), "{answer}");
    wire
}

fn append(wire: &mut Wire, mailbox: &str, flags: &str, text: &str) {
    let text = format!("Subject: {text}\r\n\r\n{text}\r\n");
    let date = "\" 5-Nov-2026 10:00:00 +0100\"";
    wire.send(&format!(
        "t APPEND {mailbox} ({flags}) {date} {{{}+}}\r\n{text}\r\n",
        text.len()
    ));
    loop {
        let line = wire.line();
        if line.starts_with("t ") {
            assert!(line.starts_with("t OK"), "{line}");
            return;
        }
    }
}

fn deliver(server: &Server, text: &str) {
    let (mut wire, _) = Wire::connect(server.port("/smtp/port"));
    for command in [
        "EHLO x.test",
        "MAIL FROM:<a@b.test>",
        "RCPT TO:<alice@here.test>",
        "DATA",
    ] {
        let answer = wire.smtp(command);
        assert!(answer.starts_with(['2', '3']), "{command}: {answer}");
    }
    let answer = wire.smtp(&format!("Subject: {text}\r\n\r\n{text}\r\n."));
    assert!(answer.starts_with("250"), "{answer}");
}

/// What a client sees of a mailbox.
fn contents(wire: &mut Wire, mailbox: &str) -> (String, String) {
    let selected = wire.imap(&format!("EXAMINE {mailbox}"));
    let validity = selected
        .lines()
        .find(|line| line.contains("[UIDVALIDITY"))
        .unwrap_or_else(|| panic!("{selected}"))
        .to_owned();
    let all = wire.imap("UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])");
    // `\\Recent` is of the session.
    (validity, all.replace(" \\Recent", "").replace("\\Recent", ""))
}

fn user_dir(server: &Server) -> PathBuf {
    server.mail_root().join("domains/here.test/users/alice")
}

/// The messages of a shard, sorted.
fn messages(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    all.sort();
    all
}

/// Puts another file in the place of one, as a broken disk or a wrong hand may.
fn swap(path: &Path, octets: &[u8]) {
    fs::remove_file(path).expect("removed");
    fs::write(path, octets).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("mode");
}

fn codes(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().expect("findings");
    let mut codes: Vec<&str> = findings
        .iter()
        .map(|finding| finding["code"].as_str().expect("a code"))
        .collect();
    codes.sort_unstable();
    codes
}

#[test]
fn damage_is_found_and_mended_beside_a_running_server() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path(), json!({}));
    let mut wire = login(&server, "alice");
    for n in 1..=6 {
        append(&mut wire, "INBOX", "word", &format!("message {n}"));
    }
    assert_eq!(run_json(&server, &["fsck", "--deep"]).0, 0);
    let shard = user_dir(&server).join("mailboxes/INBOX/shards/000000");
    let all = messages(&shard);
    let whole = fs::read(&all[1]).expect("read");
    swap(&all[0], b"");
    swap(&all[1], &whole[..whole.len() - 5]);
    fs::rename(&all[2], shard.join("stray.eml")).expect("renamed");
    fs::set_permissions(&all[3], fs::Permissions::from_mode(0o644)).expect("mode");
    fs::write(
        server.mail_root().join("domains/here.test/domain.json"),
        "{\n \"reject_own_sender\": 3}",
    )
    .expect("written");
    fs::set_permissions(
        server.mail_root().join("domains/here.test/domain.json"),
        fs::Permissions::from_mode(0o600),
    )
    .expect("mode");
    let wanted = [
        "domain-file",
        "file-empty",
        "file-truncated",
        "mode",
        "name-grammar",
    ];
    let (code, report) = run_json(&server, &["fsck"]);
    assert_eq!((code, codes(&report)), (1, wanted.to_vec()), "{report}");
    let place = report["findings"].as_array().expect("findings");
    let place = place
        .iter()
        .find(|finding| finding["code"] == "domain-file")
        .expect("it");
    assert!(
        place["detail"].as_str().expect("text").contains("line 2 column"),
        "{place}"
    );
    let (code, out, _) = run(&server, &["fsck"]);
    assert_eq!(code, 1);
    for text in ["means:", "repair:   --repair", "UID 1", "fault file-empty"] {
        assert!(out.contains(text), "{text}: {out}");
    }
    assert!(!out.contains('\u{1b}'), "no colours in a pipe");
    let (code, report) = run_json(&server, &["fsck", "--repair"]);
    assert_eq!(
        (code, report["repaired"].as_u64()),
        (1, Some(4)),
        "a person has to mend domain.json: {report}"
    );
    fs::remove_file(server.mail_root().join("domains/here.test/domain.json")).expect("removed");
    let (code, report) = run_json(&server, &["fsck", "--deep"]);
    assert_eq!((code, codes(&report).len()), (0, 0), "{report}");
    assert_eq!(messages(&user_dir(&server).join("lost+found")).len(), 2);
    // The server shows what is left; the truncated one has a new UID.
    wait_for("the server to see it", || {
        let (_, seen) = contents(&mut wire, "INBOX");
        seen.matches(" FETCH (").count() == 4 && seen.contains("UID 7 ")
    });
    for arguments in [
        &["fsck", "--user", "nobody@here.test"][..],
        &["fsck", "--user", "x@elsewhere.test"],
    ] {
        assert_eq!(run(&server, arguments).0, 1, "{arguments:?}");
    }
    assert_eq!(run(&server, &["fsck", "--wrong"]).0, 2);
}

/// Deliveries, flags, expunges and mailboxes that come and go, until told to end.
fn load(server: &Server, end: &AtomicBool, done: &AtomicU32) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !end.load(Ordering::Relaxed) {
                deliver(server, "load");
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
        scope.spawn(|| {
            let mut wire = login(server, "alice");
            wire.imap("SELECT INBOX");
            let mut turn = 0;
            while !end.load(Ordering::Relaxed) {
                turn += 1;
                let sign = if turn % 2 == 0 { '+' } else { '-' };
                wire.imap(&format!("STORE 1:* {sign}FLAGS (\\Seen word{})", turn % 20));
                if turn % 5 == 0 {
                    wire.imap("STORE 1 +FLAGS (\\Deleted)");
                    wire.imap("EXPUNGE");
                }
                let name = format!("box{turn}");
                wire.imap(&format!("CREATE {name}/sub"));
                wire.imap(&format!("COPY 1:3 {name}"));
                wire.imap(&format!("RENAME {name} other{turn}"));
                wire.imap(&format!("DELETE other{turn}/sub"));
                wire.imap(&format!("DELETE other{turn}"));
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    });
}

/// A server whose alice has so many messages.
fn with_messages(count: u32) -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path(), json!({}));
    let mut wire = login(&server, "alice");
    for n in 1..=count {
        append(&mut wire, "INBOX", "", &format!("message {n}"));
    }
    (dir, server)
}

#[test]
fn a_server_under_load_has_no_findings_and_its_backups_are_whole() {
    let (dir, server) = with_messages(20);
    let target = dir.path().join("backup");
    let target = target.to_str().expect("UTF-8");
    let (end, done) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| load(&server, &end, &done));
        // However a check ends, the load must too.
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for turn in 0..6 {
                let before = done.load(Ordering::Relaxed);
                wait_for("some load", || done.load(Ordering::Relaxed) > before + 3);
                let deep = if turn % 2 == 0 { "--deep" } else { "--repair" };
                let (code, report) = run_json(&server, &["fsck", deep]);
                assert_eq!((code, codes(&report).len()), (0, 0), "turn {turn}: {report}");
                let (code, report) = run_json(&server, &["backup", target]);
                assert_eq!(code, 0, "{report}");
                assert!(report["problems"].as_array().expect("problems").is_empty());
                assert!(report["linked"].as_u64().expect("a count") >= 10, "{report}");
                // Backups have the second in their names.
                std::thread::sleep(std::time::Duration::from_millis(1_000));
            }
        }));
        end.store(true, Ordering::Relaxed);
        if let Err(panic) = checked {
            std::panic::resume_unwind(panic);
        }
    });
    let (code, report) = run_json(&server, &["backup", "verify", target]);
    assert_eq!(
        (code, report["backups"].as_array().expect("backups").len()),
        (0, 6),
        "{report}"
    );
    assert_eq!(run_json(&server, &["fsck", "--deep"]).0, 0);
}

#[test]
fn a_backup_is_private_and_its_flaws_are_found() {
    let (dir, server) = with_messages(3);
    let target = dir.path().join("backup");
    let path = target.to_str().expect("UTF-8");
    let (code, report) = run_json(&server, &["backup", path]);
    assert_eq!(code, 0, "{report}");
    let set = PathBuf::from(report["backup"].as_str().expect("a path"));
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&set), mode(&set.join("manifest.jsonl"))), (0o700, 0o600));
    let user = set.join("domains/here.test/users/alice");
    assert_eq!(mode(&user.join("user.json")), 0o600);
    assert!(set.join("tls/key.pem").exists());
    let (code, out, _) = run(&server, &["backup", "verify", path]);
    assert_eq!(code, 0, "{out}");
    let message = messages(&user.join("mailboxes/INBOX/shards/000000")).remove(1);
    let mut octets = fs::read(&message).expect("read");
    octets[3] ^= 1;
    swap(&message, &octets);
    let (code, report) = run_json(&server, &["backup", "verify", set.to_str().expect("UTF-8")]);
    let flaws = &report["backups"][0]["flaws"];
    assert_eq!((code, flaws.as_array().expect("flaws").len()), (1, 1), "{report}");
    assert_eq!(flaws[0]["kind"], "changed");
    // It is left out, and the others come back.
    let arguments = [
        "restore",
        path,
        "--user",
        "alice@here.test",
        "--mailbox",
        "INBOX",
        "--as",
        "Back",
    ];
    let (code, report) = run_json(&server, &arguments);
    assert_eq!(code, 1, "{report}");
    assert_eq!(report["mailboxes"][0]["restored"], 2);
    assert_eq!(report["problems"].as_array().expect("problems").len(), 1);
    // Without its end a manifest is none, and that is said.
    let manifest = fs::read(set.join("manifest.jsonl")).expect("read");
    fs::write(set.join("manifest.jsonl"), &manifest[..manifest.len() - 30]).expect("written");
    let (code, _, err) = run(&server, &arguments);
    assert!(code == 1 && err.contains("was not finished"), "{err}");
    assert_eq!(run(&server, &["backup", "verify", path]).0, 1);
    assert_eq!(run(&server, &["backup", "verify", "/nowhere"]).0, 1);
    assert_eq!(run(&server, &["backup"]).0, 2);
    let inside = server.mail_root().join("x");
    assert_eq!(run(&server, &["backup", inside.to_str().expect("UTF-8")]).0, 1);
}

#[test]
fn what_was_deleted_comes_back_as_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path(), json!({}));
    let mut wire = login(&server, "alice");
    wire.imap("CREATE Work/Sub");
    for (n, flags) in [
        (1, "\\Seen"),
        (2, "\\Flagged $Label1 a/b:c"),
        (3, ""),
        (4, "$Label1"),
    ] {
        append(&mut wire, "Work/Sub", flags, &format!("message {n}"));
        append(&mut wire, "INBOX", flags, &format!("inbox {n}"));
    }
    let work = contents(&mut wire, "Work/Sub");
    let target = dir.path().join("backup");
    let path = target.to_str().expect("UTF-8");
    assert_eq!(run(&server, &["backup", path]).0, 0);

    // A mailbox: over IMAP it goes, and comes back as it was.
    assert!(wire.imap("DELETE Work/Sub").contains("t OK"));
    let arguments = [
        "restore",
        path,
        "--user",
        "alice@here.test",
        "--mailbox",
        "Work/Sub",
    ];
    let (code, report) = run_json(&server, &[&arguments[..], &["--dry-run"]].concat());
    assert_eq!(
        (code, &report["mailboxes"][0]["restored"]),
        (0, &json!(4)),
        "{report}"
    );
    assert!(
        !wire.imap("EXAMINE Work/Sub").contains("t OK"),
        "a dry run changes nothing"
    );
    let (code, report) = run_json(&server, &arguments);
    assert_eq!(
        (code, &report["mailboxes"][0]["same_uids"]),
        (0, &json!(true)),
        "{report}"
    );
    assert_eq!(contents(&mut wire, "Work/Sub"), work);

    // Messages: a client that has the mailbox open sees them come.
    let mut watching = login(&server, "alice");
    watching.imap("SELECT INBOX");
    wire.imap("SELECT INBOX");
    wire.imap("STORE 2:3 +FLAGS (\\Deleted)");
    assert!(wire.imap("EXPUNGE").contains("t OK"));
    let arguments = ["restore", path, "--user", "alice@here.test", "--mailbox", "INBOX"];
    let (code, report) = run_json(&server, &arguments);
    assert_eq!(code, 0, "{report}");
    assert_eq!(
        (
            &report["mailboxes"][0]["restored"],
            &report["mailboxes"][0]["present"]
        ),
        (&json!(2), &json!(2))
    );
    wait_for("the messages to come", || {
        watching.imap("NOOP").contains("4 EXISTS")
    });
    let found = watching.imap("UID FETCH 5:* (FLAGS INTERNALDATE BODY.PEEK[TEXT])");
    assert!(
        found.contains("inbox 2") && found.contains("a/b:c") && found.contains(" 5-Nov-2026 10:00:00 +0100"),
        "{found}"
    );

    // A user, with its password.
    let before = contents(&mut wire, "INBOX");
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    assert_eq!(run(&server, &["backup", path]).0, 0);
    server.rmail(&["user", "delete", "alice@here.test", "--yes"], "");
    let arguments = ["restore", path, "--user", "alice@here.test"];
    let (code, _, err) = run(&server, &arguments);
    assert!(code == 1 && err.contains("--with-user"), "{err}");
    let (code, report) = run_json(&server, &[&arguments[..], &["--with-user"]].concat());
    assert_eq!((code, &report["user_made"]), (0, &json!(true)), "{report}");
    let mut wire = login(&server, "alice");
    assert_eq!(contents(&mut wire, "INBOX"), before);
    assert_eq!(contents(&mut wire, "Work/Sub"), work);
    let (code, report) = run_json(&server, &["fsck", "--deep"]);
    assert_eq!((code, codes(&report).len()), (0, 0), "{report}");
    assert_eq!(run(&server, &[&arguments[..], &["--as", "x"]].concat()).0, 2);
    assert_eq!(
        run(&server, &[&arguments[..], &["--mailbox", "None"]].concat()).0,
        1
    );
}
