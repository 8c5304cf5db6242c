//! Servers that are broken in many ways: each is found, and named.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rmail_tests::{Server, Wire, free_port, wait_for};
use serde_json::{Value, json};

use super::Diagnosis;
use super::fakes;
use super::proxy::{self, Change};

/// Writes a configuration that differs from a server's in some keys.
pub fn differs(server: &Server, name: &str, changes: &[(&str, Value)]) -> PathBuf {
    let mut config = server.config.clone();
    for (pointer, value) in changes {
        let mut at = &mut config;
        for key in pointer.split('.') {
            at = &mut at[key];
        }
        *at = value.clone();
    }
    let path = server.dir.join(format!("{name}.json"));
    fs::write(&path, config.to_string()).expect("a configuration");
    path
}

fn api() -> Value {
    json!({"host": "127.0.0.1", "port": free_port(), "secure_port": free_port()})
}

/// Each of these was found, with all that there is to say of it.
fn expect(found: &Diagnosis, what: &str, ids: &[&'static str]) {
    for id in ids {
        let finding = found.finding(id);
        let status = finding["status"].as_str().expect("status");
        assert!(matches!(status, "failure" | "warning"), "{what}: {finding:#}");
        for field in ["expected", "came", "advice"] {
            assert!(
                finding[field].as_str().is_some_and(|text| !text.is_empty()),
                "{what}: {field} of {finding:#}"
            );
        }
    }
    let failed = found.json["failures"].as_u64().expect("a count") > 0;
    assert_eq!(
        found.code,
        Some(i32::from(failed)),
        "{what}: failures make the exit code"
    );
}

/// A certificate for a name, and its key: when it ends, in days from now.
fn certificate(dir: &Path, name: &str, days: i64) -> (Value, Value) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("the clock is right");
    let day = i64::try_from(now.as_secs() / 86_400).expect("a day") + days;
    let (year, month, day) = rmail_core::text::date::civil_from_days(day);
    parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(i32::try_from(year).expect("a year"), month, day);
    let made = parameters.self_signed(&key).expect("a certificate");
    let (cert_file, key_file) = (
        dir.join(format!("{days}.cert.pem")),
        dir.join(format!("{days}.key.pem")),
    );
    fs::write(&cert_file, made.pem()).expect("a file");
    fs::write(&key_file, key.serialize_pem()).expect("a file");
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).expect("a mode");
    (json!(cert_file), json!(key_file))
}

#[test]
fn what_is_wrong_around_a_server_is_named() {
    let dir = tempfile::tempdir().expect("directory");
    let server = Server::start(dir.path(), json!({"exchange_api": api(), "log_level": "WARNING"}));
    let look = |name: &str, changes: &[(&str, Value)], phases: &str, ids: &[&'static str]| {
        expect(
            &Diagnosis::of(&differs(&server, name, changes), &["--phase", phases]),
            name,
            ids,
        );
    };
    look(
        "a_wrong_value",
        &[("smtp.port", json!("x"))],
        "1",
        &["config.loads"],
    );
    look(
        "the_default_name",
        &[("hostname", json!("mail.example.com"))],
        "1",
        &["config.hostname", "port.hostname"],
    );
    look(
        "doubtful_values",
        &[
            ("smtp.max_recipients", json!(10)),
            ("limits.trusted_networks", json!(["0.0.0.0/0"])),
            ("relay.smarthost", json!("127.0.0.1")),
            ("relay.smarthost_port", json!(free_port())),
        ],
        "1",
        &["config.warnings", "config.trust", "relay.smarthost"],
    );
    look(
        "closed_ports",
        &[
            ("smtp.port", json!(free_port())),
            ("imap.imaps_port", json!(free_port())),
            ("exchange_api.port", json!(free_port())),
        ],
        "1",
        &["port.smtp", "port.imaps", "port.api"],
    );
    let clear = proxy::start(server.port("/imap/port"), |_, line| line.to_owned());
    look(
        "no_tls_behind_a_secure_port",
        &[("smtp.smtps_port", json!(clear))],
        "1",
        &["tls.handshake"],
    );
    look(
        "no_mail_root",
        &[("mail_root", json!("nowhere"))],
        "1",
        &["disk.writable"],
    );
    look("few_rounds", &[], "2", &["user.hash"]);
    look(
        "limits",
        &[("limits.messages_per_minute", json!(1))],
        "4",
        &["smtp.rate_limits"],
    );
    look(
        "no_name_server",
        &[("relay.dns_servers", json!([format!("127.0.0.1:{}", free_port())]))],
        "1",
        &["dns.resolver"],
    );

    // The store of nobody who runs: a user who is made there is not known to the server.
    let other = dir.path().join("other");
    fs::create_dir(&other).expect("a directory");
    fs::set_permissions(&other, fs::Permissions::from_mode(0o777)).expect("a mode");
    look(
        "another_mail_root",
        &[("mail_root", json!("other"))],
        "1,2",
        &["disk.mode", "user.login", "config.postmaster"],
    );
    if chown(&other, Some(12_345), None).is_ok() {
        look(
            "a_foreign_mail_root",
            &[("mail_root", json!("other"))],
            "1",
            &["disk.owner"],
        );
    } else {
        eprintln!("SKIPPED: only root can give a directory away");
    }
    let root = server.mail_root();
    let (cert, key) = certificate(dir.path(), "mail.here.test", 400);
    fs::set_permissions(key.as_str().expect("a path"), fs::Permissions::from_mode(0o644)).expect("a mode");
    look(
        "another_certificate",
        &[("tls", json!({"cert_file": cert, "key_file": key}))],
        "1",
        &["tls.current", "tls.key_mode"],
    );
    let users = root.join("domains/here.test/users");
    fs::create_dir(users.join("carl")).expect("a directory");
    fs::write(users.join("carl/user.json"), "{\"enabled\": ye").expect("a file");
    fs::write(root.join("domains/here.test/aliases.json"), "{\"sales\": ").expect("a file");
    server.rmail(
        &[
            "user",
            "add",
            "full@here.test",
            "--password-stdin",
            "--quota-mb",
            "1",
        ],
        "secret\n",
    );
    let mut wire = Wire::connect(server.port("/imap/port")).0;
    wire.imap("LOGIN full@here.test secret");
    wire.send("a APPEND INBOX {1040000+}\r\n");
    wire.send(&format!("Subject: big\r\n\r\n{}\r\n", "x".repeat(1_040_000 - 16)));
    assert!(wire.line().starts_with("a OK"), "it fits");
    look(
        "broken_files",
        &[],
        "1",
        &["users.broken", "users.quota", "aliases.broken"],
    );
}

#[test]
fn certificates_that_are_not_good_are_named() {
    let dir = tempfile::tempdir().expect("directory");
    let with = |name: &str, host: &str, days: i64, ids: &[&'static str]| {
        let dir = dir.path().join(name);
        fs::create_dir(&dir).expect("a directory");
        let (cert, key) = certificate(&dir, host, days);
        let tls = json!({"cert_file": cert, "key_file": key});
        let server = Server::start(&dir, json!({"hostname": "mail.rmail-tests.com", "tls": tls}));
        expect(
            &Diagnosis::of(&server.dir.join("config.json"), &["--phase", "1"]),
            name,
            ids,
        );
    };
    with("expired", "mail.rmail-tests.com", -3, &["tls.expired"]);
    with(
        "expiring",
        "mail.rmail-tests.com",
        5,
        &["tls.expires_soon", "tls.trusted"],
    );
    with("of_another", "mail.elsewhere.com", 100, &["tls.name"]);
}

#[test]
fn clear_text_that_should_not_be_is_named() {
    let dir = tempfile::tempdir().expect("directory");
    let server = Server::start(dir.path(), json!({"tls": {"enabled": false}}));
    let config = differs(
        &server,
        "tls",
        &[
            ("tls.enabled", json!(true)),
            ("auth.cleartext_networks", json!([])),
        ],
    );
    let ids = [
        "smtp.auth_on_cleartext",
        "smtp.starttls",
        "imap.auth_on_cleartext",
        "imap.starttls",
    ];
    expect(&Diagnosis::of(&config, &["--phase", "4,6"]), "no TLS", &ids);
}

/// A server without TLS, behind proxies that change what it says.
fn behind(
    dir: &Path,
    smtp: Option<Change>,
    imap: Option<Change>,
    http: Option<Change>,
    phases: &str,
) -> Diagnosis {
    let server = Server::start(
        dir,
        json!({
            "tls": {"enabled": false}, "exchange_api": api(), "limits": {"trusted_networks": []},
            "auth": {"pbkdf2_rounds": 10_000}, "log_level": "WARNING",
        }),
    );
    let mut changes = Vec::new();
    for (change, keys) in [
        (smtp, &["smtp.port", "smtp.submission_port"][..]),
        (imap, &["imap.port"]),
        (http, &["exchange_api.port"]),
    ] {
        for key in keys {
            let port = server.port(&format!("/{}", key.replace('.', "/")));
            changes.extend(change.map(|change| (*key, json!(proxy::start(port, change)))));
        }
    }
    Diagnosis::of(&differs(&server, "proxied", &changes), &["--phase", phases])
}

#[test]
fn a_server_that_says_yes_to_all_is_named() {
    let dir = tempfile::tempdir().expect("directory");
    fn agree(said: &str, line: &str) -> String {
        let said = said.to_ascii_uppercase();
        match line.get(..3) {
            Some("250") if line.contains("PIPELINING") => "250-XNOTHING\r\n".to_owned(),
            Some("554") if said.starts_with('.') => "250 2.0.0 OK\r\n250 2.1.0 OK\r\n".to_owned(),
            Some("550" | "530") if said.starts_with("RCPT") => "250 2.1.5 OK\r\n".to_owned(),
            Some("550" | "530" | "552" | "501") if said.starts_with("MAIL") => "250 2.1.0 OK\r\n".to_owned(),
            Some("535") => "235 2.7.0 welcome\r\n".to_owned(),
            Some("252") => "250 2.1.5 <somebody@here.test>\r\n".to_owned(),
            Some("500") => "250 2.0.0 whatever you say\r\n".to_owned(),
            Some("503") => "250 2.0.0 OK\r\n".to_owned(),
            _ => line.to_owned(),
        }
    }
    let found = behind(dir.path(), Some(agree), None, None, "4");
    let ids = [
        "smtp.ehlo",
        "smtp.open_relay",
        "smtp.unknown_user",
        "smtp.own_sender",
        "smtp.sequence",
        "smtp.unknown_command",
        "smtp.vrfy",
        "smtp.size",
        "smtp.smuggling",
        "smtp.auth_required",
        "smtp.auth_wrong",
        "smtp.spoofing",
        "smtp.transcripts",
    ];
    expect(&found, "a server that agrees", &ids);
}

#[test]
fn a_server_that_is_slow_or_changes_mail_is_named() {
    let dir = tempfile::tempdir().expect("directory");
    fn slow_imap(said: &str, line: &str) -> String {
        if said.contains("IDLE") && line.ends_with(" EXISTS\r\n") {
            std::thread::sleep(Duration::from_millis(2_500));
        }
        // As long as it was: literals are counted.
        line.replace("goes by itself", "gone by itself")
            .replace("Received:", "X-Rxceiv:")
    }
    std::thread::scope(|scope| {
        let first = scope.spawn(|| {
            let dir = dir.path().join("imap");
            fs::create_dir(&dir).expect("a directory");
            let found = behind(&dir, None, Some(slow_imap), None, "5");
            expect(&found, "slow IMAP", &["imap.idle_slow", "delivery.intact"]);
        });
        let dir = dir.path().join("smtp");
        fs::create_dir(&dir).expect("a directory");
        fn deaf(said: &str, line: &str) -> String {
            let quiet = said.contains("IDLE") && line.ends_with(" EXISTS\r\n");
            if quiet { String::new() } else { line.to_owned() }
        }
        let found = behind(&dir, None, Some(deaf), None, "5");
        expect(&found, "deaf IMAP", &["imap.idle"]);
        first.join().expect("found");
    });
}

#[test]
fn an_imap_server_that_is_wrong_is_named() {
    let dir = tempfile::tempdir().expect("directory");
    fn wrong(said: &str, line: &str) -> String {
        if said.contains(" LOGIN ") && line.contains(" NO ") {
            let tag = line.split(' ').next().unwrap_or_default();
            return format!("{tag} OK come in\r\n");
        }
        if said.contains("SEARCH") && line.starts_with("* SEARCH") {
            return "* SEARCH 1\r\n".to_owned();
        }
        if said.contains("XDIAGNOSE") && line.contains(" BAD ") {
            let tag = line.split(' ').next().unwrap_or_default();
            return format!("{tag} OK why not\r\n");
        }
        line.replace("\\Drafts", "\\Unused")
            .replace("[COPYUID ", "[COPIED ")
            .replace("RFC822.SIZE ", "RFC822.SIZE 1")
    }
    let found = behind(dir.path(), None, Some(wrong), None, "2,6");
    let ids = [
        "user.wrong_password",
        "user.disabled",
        "imap.bad_command",
        "imap.special_use",
        "imap.fetch",
        "imap.search",
        "imap.copy",
        "imap.transcripts",
    ];
    expect(&found, "wrong IMAP", &ids);
}

#[test]
fn an_api_that_lets_anybody_in_is_named() {
    let dir = tempfile::tempdir().expect("directory");
    fn open(said: &str, line: &str) -> String {
        let _ = said;
        if line.starts_with("Access-Control-Allow-Origin") {
            return String::new();
        }
        line.replace("HTTP/1.1 401 Unauthorized", "HTTP/1.1 200 OK")
            .replace("HTTP/1.1 403 Forbidden", "HTTP/1.1 201 Created")
            .replace("HTTP/1.1 400 Bad Request", "HTTP/1.1 200 OK")
    }
    let found = behind(dir.path(), None, None, Some(open), "2,7");
    let ids = [
        "user.admin",
        "api.cors",
        "api.no_token",
        "api.bad_token",
        "api.bad_request",
        "api.transcripts",
        "api.expiry",
        "api.alias_forbidden",
        "api.lockout",
    ];
    expect(&found, "an open API", &ids);
}

#[test]
fn a_server_whose_replies_come_late_is_named() {
    fn late(said: &str, line: &str) -> String {
        static MAIL: AtomicBool = AtomicBool::new(false);
        // Of what comes to nothing after MAIL the first is late.
        match said {
            "RSET" if MAIL.swap(false, Ordering::Relaxed) => std::thread::sleep(Duration::from_millis(3_200)),
            said => MAIL.store(said.starts_with("MAIL FROM:<stranger"), Ordering::Relaxed),
        }
        line.to_owned()
    }
    let dir = tempfile::tempdir().expect("directory");
    let found = behind(dir.path(), Some(late), None, None, "4");
    expect(&found, "slow SMTP", &["smtp.slow"]);
}

#[test]
fn tls_that_should_not_be_spoken_is_named() {
    let dir = tempfile::tempdir().expect("directory");
    let server = Server::start(dir.path(), json!({"log_level": "WARNING"}));
    let old = fakes::agrees_on_old_tls(server.port("/imap/imaps_port"));
    let config = differs(&server, "old", &[("imap.imaps_port", json!(old))]);
    let found = Diagnosis::of(&config, &["--phase", "1"]);
    expect(&found, "old TLS", &["tls.old_version"]);
    assert_eq!(found.finding("tls.handshake")["status"], "passed");
    let kept = fakes::keeps_what_came_before_tls();
    let config = differs(&server, "kept", &[("smtp.port", json!(kept))]);
    let found = Diagnosis::of(&config, &["--phase", "4"]);
    expect(&found, "what came before TLS", &["smtp.starttls_injection"]);
    assert_eq!(
        found.finding("smtp.starttls")["status"],
        "failure",
        "offered again"
    );
}

#[test]
fn mail_that_does_not_leave_is_named() {
    let dir = tempfile::tempdir().expect("directory");
    let nobody = json!({"smarthost": "127.0.0.1", "smarthost_port": free_port(), "smarthost_tls": "none"});
    let mut server = Server::start(dir.path(), json!({"relay": nobody, "log_level": "WARNING"}));
    let mut wire = Wire::connect(server.port("/smtp/submission_port")).0;
    wire.smtp("EHLO x.test");
    wire.smtp("AUTH PLAIN AGFsaWNlQGhlcmUudGVzdABzZWNyZXQ=");
    wire.smtp("MAIL FROM:<alice@here.test>");
    wire.smtp("RCPT TO:<bob@there.test>");
    wire.smtp("DATA");
    let reply = wire.smtp("From: alice@here.test\r\n\r\nhi\r\n.");
    assert!(reply.starts_with("250"), "{reply}");
    let id = reply.trim_end().rsplit(' ').next().expect("an id").to_owned();

    let config = differs(&server, "full", &[("delivery.max_queue_size", json!(1))]);
    let found = Diagnosis::of(&config, &["--phase", "1"]);
    expect(&found, "a full queue", &["relay.queue"]);
    // It has waited for two days.
    server.kill();
    let entry = fs::read_dir(server.mail_root().join("queue"))
        .expect("the queue")
        .flatten()
        .map(|home| home.path().join(format!("{id}.json")))
        .find(|path| path.exists())
        .expect("the entry");
    let text = fs::read_to_string(&entry).expect("the entry");
    // Behind the value there is a checksum; without one it is an entry too.
    let line = text.lines().next().expect("a line");
    let (value, _) = line.rsplit_once(' ').expect("a checksum");
    let mut json: Value = serde_json::from_str(value).expect("JSON");
    let arrived = json["arrived"].as_u64().expect("a time");
    json["arrived"] = json!(arrived - 2 * 86_400);
    fs::write(&entry, json.to_string()).expect("written");
    server.launch();
    let mut found = None;
    wait_for("the finding", || {
        let now = Diagnosis::of(&server.dir.join("config.json"), &["--phase", "1"]);
        let late = now.finding("relay.queue")["came"]
            .to_string()
            .contains("1 of 1 messages");
        found = Some(now);
        late
    });
    expect(&found.expect("found"), "a message that waits", &["relay.queue"]);
}

#[test]
fn each_address_of_a_service_is_looked_at() {
    let dir = tempfile::tempdir().expect("directory");
    let both = json!(["127.0.0.1", "127.0.0.2"]);
    let server = Server::start(
        dir.path(),
        json!({"imap": {"host": both}, "smtp": {"host": both}, "auth": {"cleartext_networks": []}}),
    );
    let good = Diagnosis::of(&server.dir.join("config.json"), &["--phase", "1"]);
    for id in ["port.smtp", "port.imap", "port.imaps", "tls.handshake"] {
        assert_eq!(good.finding(id)["status"], "passed", "{id}");
    }
    // Nobody listens at the second; another server does, which has another certificate and takes passwords in clear text.
    let config = differs(
        &server,
        "closed",
        &[("imap.host", json!(["127.0.0.1", "127.0.0.3"]))],
    );
    let found = Diagnosis::of(&config, &["--phase", "1,6"]);
    expect(
        &found,
        "a closed address",
        &["port.imap", "port.imaps", "imap.starttls"],
    );
    let came = found.finding("port.imap")["came"].to_string();
    assert!(
        came.contains("127.0.0.3:") && !came.contains("127.0.0.1:"),
        "{came}"
    );

    let other = dir.path().join("other");
    fs::create_dir(&other).expect("a directory");
    let mut open =
        json!({"imap": server.config["imap"], "smtp": server.config["smtp"], "hostname": "mail.other.test"});
    open["imap"]["host"] = json!("127.0.0.4");
    open["smtp"]["host"] = json!("127.0.0.4");
    open["auth"] = json!({"cleartext_networks": ["127.0.0.0/8"]});
    let port = server.port("/imap/port");
    let _other = Server::start(&other, open);
    wait_for("the other", || TcpStream::connect(("127.0.0.4", port)).is_ok());
    let config = differs(
        &server,
        "two",
        &[
            ("imap.host", json!(["127.0.0.1", "127.0.0.4"])),
            ("smtp.host", json!(["127.0.0.1", "127.0.0.4"])),
        ],
    );
    let found = Diagnosis::of(&config, &["--phase", "1,4,6"]);
    let ids = [
        "port.hostname",
        "tls.current",
        "smtp.auth_on_cleartext",
        "imap.auth_on_cleartext",
    ];
    expect(&found, "another server at the second address", &ids);
    for id in ids {
        let came = found.finding(id)["came"].to_string();
        assert!(
            came.contains("127.0.0.4") || came.contains("other"),
            "{id}: {came}"
        );
    }
}

#[test]
fn phases_that_were_asked_for_and_could_not_be_run_are_told_by_the_exit_code() {
    let dir = tempfile::tempdir().expect("directory");
    let server = Server::start(dir.path(), json!({}));
    let ports = format!(
        "smtp={},submission=0,smtps=0,imap=0,imaps=0,api=0,api_secure=0",
        server.port("/smtp/port")
    );
    let ask = |phases: &[&str]| {
        let arguments = ["diagnose", "--json", "--host", "127.0.0.1", "--ports", &ports];
        Diagnosis::with(
            std::process::Command::new(rmail_tests::rmail())
                .args(arguments)
                .args(phases),
        )
    };
    let all = ask(&[]);
    assert!(all.json["skipped_phases"].as_array().expect("phases").len() > 1);
    assert_ne!(all.code, Some(3), "nobody asked for them");
    for (phases, missed) in [("1,6", 6), ("1,7", 7)] {
        let found = ask(&["--phase", phases]);
        assert_eq!(found.json["failures"], 0, "{:#}", found.json);
        assert_eq!(found.code, Some(3), "{phases}");
        let skipped = found.json["skipped_phases"].as_array().expect("phases");
        let asked = skipped.iter().filter(|phase| phase["asked"] == true);
        let numbers: Vec<_> = asked.map(|phase| phase["phase"].clone()).collect();
        assert_eq!(numbers, [json!(missed)]);
    }
}
