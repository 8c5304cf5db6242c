//! Good servers, and what is left on them.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use rmail_core::diagnose::CHECKS;
use rmail_tests::{Demo, Server, free_port, rmail, wait_for};
use serde_json::json;

use super::Diagnosis;

/// Checks that a demo has no use for.
const NOT_IN_A_DEMO: [&str; 4] = [
    "relay.smarthost",
    "dns.records",
    "api.cleartext",
    "cleanup.messages",
];
/// Of these a busy machine may make a warning.
const OF_TIME: [&str; 3] = ["smtp.slow", "delivery.slow", "imap.idle_slow"];

/// Users of diagnoses that are there.
fn temporary_users(users: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(users).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("diagnose-")).collect()
}

#[test]
fn nothing_is_wrong_with_a_demo() {
    let dir = tempfile::tempdir().expect("directory");
    let demo = Demo::start(dir.path().join("demo"), &[]);
    let config = demo.dir.join("demo.json");
    let found = Diagnosis::of(&config, &[]);
    let bad: Vec<_> = found
        .bad()
        .into_iter()
        .filter(|finding| !OF_TIME.contains(&finding["id"].as_str().unwrap_or_default()))
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!((found.code, &found.json["failures"]), (Some(0), &json!(0)));
    assert_eq!(found.json["skipped_phases"], json!([]));
    // Everything in the table was looked at; what was skipped says why.
    let findings = found.json["findings"].as_array().expect("findings");
    let seen: BTreeSet<&str> = findings
        .iter()
        .filter_map(|finding| finding["id"].as_str())
        .collect();
    let wanted: BTreeSet<&str> = CHECKS
        .iter()
        .map(|check| check.id)
        .filter(|id| !NOT_IN_A_DEMO.contains(id))
        .collect();
    let missing: Vec<_> = wanted.difference(&seen).collect();
    assert!(missing.is_empty(), "never looked at: {missing:?}");
    assert_eq!(found.ids("skipped"), [""; 0], "a demo has all that can be tried");
    assert!(
        found.ids("note").contains(&"tls.trusted"),
        "self-signed is the demo's choice"
    );
    // Nothing is left.
    assert_eq!(
        temporary_users(&demo.dir.join("mailstore/domains/demo.test/users")),
        [""; 0]
    );
    let aliases = std::fs::read_to_string(demo.dir.join("mailstore/domains/demo.test/aliases.json"));
    assert!(!aliases.unwrap_or_default().contains("diagnose"), "no alias");
    let queue = Command::new(rmail())
        .arg("--config")
        .arg(&config)
        .args(["queue", "list", "--json"])
        .output();
    let queue = String::from_utf8(queue.expect("rmail").stdout).expect("text");
    assert!(!queue.contains("diagnose.invalid"), "{queue}");
}

#[test]
fn people_read_a_table_without_colours_in_a_pipe() {
    let dir = tempfile::tempdir().expect("directory");
    let demo = Demo::start(dir.path().join("demo"), &[]);
    let config = demo.dir.join("demo.json");
    let output = Command::new(rmail())
        .arg("--config")
        .arg(&config)
        .args(["diagnose", "--phase", "1"])
        .output();
    let output = output.expect("rmail");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{text}");
    assert!(
        text.starts_with("1 Configuration\n") && text.contains("8 Cleanup"),
        "{text}"
    );
    assert!(!text.contains("4 SMTP") && !text.contains('\u{1b}'), "{text}");
    assert!(text.trim_end().ends_with("0 failures, 0 warnings"), "{text}");
    for wrong in [
        &["--phase", "9"][..],
        &["--host", "x.test", "--phase", "2"],
        &["--ports", "imap=1"],
        &["--user", "a@b.test"],
    ] {
        let output = Command::new(rmail())
            .arg("diagnose")
            .args(wrong)
            .output()
            .expect("rmail");
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn who_ends_it_early_finds_nothing_left() {
    let dir = tempfile::tempdir().expect("directory");
    let demo = Demo::start(dir.path().join("demo"), &[]);
    let users = demo.dir.join("mailstore/domains/demo.test/users");
    for signal in ["-INT", "-TERM"] {
        let mut child = Command::new(rmail())
            .arg("--config")
            .arg(demo.dir.join("demo.json"))
            .args(["diagnose", "--phase", "2,4,5,6,7"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("rmail");
        wait_for("the temporary user", || !temporary_users(&users).is_empty());
        let killed = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status();
        assert!(killed.is_ok_and(|status| status.success()));
        let status = child.wait().expect("it ends");
        assert_eq!(status.code(), Some(1), "{signal}");
        assert_eq!(temporary_users(&users), [""; 0], "{signal}");
    }
}

#[test]
fn what_a_killed_one_has_left_is_removed_by_the_next() {
    let dir = tempfile::tempdir().expect("directory");
    let server = Server::start(dir.path(), json!({}));
    server.rmail(
        &[
            "user",
            "add",
            "diagnose-abcdefghjkmn@here.test",
            "--password-stdin",
        ],
        "secret\n",
    );
    server.rmail(
        &["user", "add", "diagnose-me@here.test", "--password-stdin"],
        "secret\n",
    );
    let users = server.mail_root().join("domains/here.test/users");
    let file = std::fs::File::options()
        .append(true)
        .open(users.join("diagnose-abcdefghjkmn/user.json"));
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(7_200);
    file.expect("user.json").set_modified(old).expect("an old file");
    let found = Diagnosis::of(&dir.path().join("config.json"), &["--phase", "1"]);
    assert_eq!(found.finding("cleanup.leftovers")["status"], "note");
    assert_eq!(
        temporary_users(&users),
        ["diagnose-me"],
        "a user of that name is nobody's leftover"
    );
}

#[test]
fn a_server_elsewhere_is_asked_with_an_account() {
    let dir = tempfile::tempdir().expect("directory");
    let server = Server::start(
        dir.path(),
        json!({
            "auth": {"cleartext_networks": []},
            "exchange_api": {"host": "127.0.0.1", "port": free_port(), "secure_port": free_port()},
        }),
    );
    let password = dir.path().join("password");
    std::fs::write(&password, "secret\n").expect("a file");
    let keys = [
        "smtp/port",
        "smtp/submission_port",
        "smtp/smtps_port",
        "imap/port",
        "imap/imaps_port",
    ];
    let names = ["smtp", "submission", "smtps", "imap", "imaps"];
    let mut ports: Vec<String> = names
        .iter()
        .zip(keys)
        .map(|(name, key)| format!("{name}={}", server.port(&format!("/{key}"))))
        .collect();
    ports.push("api=0".to_owned());
    ports.push(format!("api_secure={}", server.port("/exchange_api/secure_port")));
    let ports = ports.join(",");
    let found = Diagnosis::with(
        Command::new(rmail())
            .args([
                "diagnose",
                "--json",
                "--host",
                "127.0.0.1",
                "--user",
                "bob@here.test",
                "--ports",
                &ports,
            ])
            .arg("--password-file")
            .arg(&password),
    );
    assert_eq!(found.json["failures"], 0, "{:#}", found.json);
    let skipped = found.json["skipped_phases"].as_array().expect("phases");
    assert_eq!(
        (skipped.len(), &skipped[0]["phase"]),
        (2, &json!(2)),
        "users and store need the disk"
    );
    assert_eq!(
        found.finding("api.lockout")["status"],
        "skipped",
        "nobody who is real is locked out"
    );
    assert_eq!(found.finding("delivery.arrives")["status"], "passed");
    assert_eq!(found.finding("cleanup.messages")["status"], "passed");
}
