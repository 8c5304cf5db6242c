//! Diagnoses that end before their time: nothing of them is left, or the next one removes it.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rmail_tests::{Server, Wire, free_port, rmail, wait_for};
use serde_json::json;

use super::Diagnosis;
use super::broken::differs;
use super::proxy;

/// After a signal it has to be over by then: far less than a connection or a name server is waited for.
const SOON: Duration = Duration::from_secs(6);

fn spawn(command: &mut Command) -> Child {
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("rmail is built beside its tests")
}

fn diagnose(config: &Path, arguments: &[&str]) -> Child {
    spawn(
        Command::new(rmail())
            .arg("--config")
            .arg(config)
            .arg("diagnose")
            .args(arguments),
    )
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &child.id().to_string()])
        .status();
    assert!(status.is_ok_and(|status| status.success()), "kill -{name}");
}

/// Ctrl-C, after which it has to end at once, and well.
fn interrupt(mut child: Child, what: &str) {
    signal(&child, "INT");
    let begun = Instant::now();
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(1), "{what}");
    assert!(begun.elapsed() < SOON, "{what}: {:?}", begun.elapsed());
}

fn is_queued(server: &Server) -> bool {
    server
        .rmail(&["queue", "list", "--json"], "")
        .contains("diagnose.invalid")
}

/// The reply to the message that is held in the queue does not come.
fn server_that_is_not_heard(dir: &Path) -> (Server, std::path::PathBuf) {
    fn unheard(said: &str, line: &str) -> String {
        static HELD: AtomicBool = AtomicBool::new(false);
        if said.contains("HOLDFOR") {
            HELD.store(true, Ordering::Relaxed);
        } else if said != "." && !said.starts_with("RCPT") && said != "DATA" {
            HELD.store(false, Ordering::Relaxed);
        }
        let lost = said == "." && HELD.load(Ordering::Relaxed);
        if lost { String::new() } else { line.to_owned() }
    }
    let server = Server::start(dir, json!({"tls": {"enabled": false}}));
    let port = proxy::start(server.port("/smtp/submission_port"), unheard);
    let config = differs(&server, "proxied", &[("smtp.submission_port", json!(port))]);
    (server, config)
}

#[test]
fn a_message_whose_reply_is_not_heard_is_taken_out_of_the_queue() {
    let dir = tempfile::tempdir().expect("directory");
    let (server, config) = server_that_is_not_heard(dir.path());
    let found = Diagnosis::of(&config, &["--phase", "4"]);
    assert_eq!(found.finding("smtp.relay_queue")["status"], "failure");
    assert_eq!(found.finding("cleanup.queue")["status"], "passed");
    assert!(!is_queued(&server));

    // Killed between the message and its reply: the next diagnosis finds the user, and by that all else.
    let mut child = diagnose(&config, &["--phase", "4"]);
    wait_for("the message in the queue", || is_queued(&server));
    child.kill().expect("killed");
    child.wait().expect("ended");
    let users = server.mail_root().join("domains/here.test/users");
    let entries = std::fs::read_dir(&users).expect("users").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let left: Vec<String> = names.filter(|name| name.starts_with("diagnose-")).collect();
    let [user] = left.as_slice() else {
        panic!("one user is left: {left:?}");
    };
    let alias = user.replace("diagnose-", "diagnose-alias-") + "@here.test";
    server.rmail(&["alias", "add", &alias, "bob@here.test"], "");
    let file = std::fs::File::options()
        .append(true)
        .open(users.join(user).join("user.json"));
    let old = std::time::SystemTime::now() - Duration::from_secs(7_200);
    file.expect("user.json").set_modified(old).expect("an old file");
    let found = Diagnosis::of(&server.dir.join("config.json"), &["--phase", "1"]);
    let note = found.finding("cleanup.leftovers");
    assert_eq!(note["status"], "note", "{note:#}");
    assert!(note["came"].to_string().contains("removed"), "{note:#}");
    assert!(!is_queued(&server));
    assert!(!users.join(user).exists());
    assert!(!server.rmail(&["alias", "list"], "").contains("diagnose-alias"));
}

#[test]
fn an_alias_whose_answer_is_not_heard_is_removed() {
    fn no_answer(said: &str, line: &str) -> String {
        match said.contains("diagnose-alias") {
            true => line.replace("HTTP/1.1 201 Created", "HTTP/1.1 502 Bad Gateway"),
            false => line.to_owned(),
        }
    }
    let dir = tempfile::tempdir().expect("directory");
    let port = free_port();
    let server = Server::start(
        dir.path(),
        json!({"tls": {"enabled": false}, "exchange_api": {"host": "127.0.0.1", "port": port}}),
    );
    let proxied = json!(proxy::start(port, no_answer));
    let config = differs(&server, "proxied", &[("exchange_api.port", proxied)]);
    let found = Diagnosis::of(&config, &["--phase", "7"]);
    assert_eq!(found.finding("api.alias_admin")["status"], "failure");
    assert_eq!(found.finding("cleanup.aliases")["status"], "passed");
    assert!(!server.rmail(&["alias", "list"], "").contains("diagnose-alias"));
}

#[test]
fn ctrl_c_is_heard_while_nobody_answers() {
    let dir = tempfile::tempdir().expect("directory");
    let server = Server::start(dir.path(), json!({}));
    // A name server that says nothing: first in the check of it, then in that of the records.
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let silent = silent.local_addr().expect("bound").to_string();
    let config = differs(&server, "silent", &[("relay.dns_servers", json!([silent]))]);
    let asked = diagnose(&config, &["--phase", "1"]);
    // A port whose queue of connections is full: whoever connects is not answered at all.
    let full = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = full.local_addr().expect("bound");
    let _waiting = fill(address);
    let ports = format!(
        "smtp={},submission=0,smtps=0,imap=0,imaps=0,api=0,api_secure=0",
        address.port()
    );
    let arguments = [
        "diagnose",
        "--host",
        "127.0.0.1",
        "--phase",
        "1",
        "--ports",
        &ports,
    ];
    let connecting = spawn(Command::new(rmail()).args(arguments));
    std::thread::sleep(Duration::from_secs(3));
    interrupt(asked, "asking a name server");
    interrupt(connecting, "connecting");

    let mut records = Command::new(rmail())
        .arg("--config")
        .arg(&config)
        .args(["diagnose", "--phase", "1", "--dns"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("rmail is built beside its tests");
    let mut lines = BufReader::new(records.stdout.take().expect("piped")).lines();
    assert!(lines.any(|line| line.is_ok_and(|line| line.contains("dns.resolver"))));
    // It was given up; now the records are asked for, which are told when all are known.
    std::thread::sleep(Duration::from_secs(1));
    interrupt(records, "asking for records");
    let told = lines.any(|line| line.is_ok_and(|line| line.contains("dns.records")));
    assert!(!told, "it was ended before they were known");
}

/// Connects until nobody takes it any more.
fn fill(address: SocketAddr) -> Vec<TcpStream> {
    const MANY: usize = 900;
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        waiting.push(stream);
        assert!(waiting.len() < MANY, "the queue has an end");
    }
    waiting
}

/// What bob's mailboxes are called, and how many messages his INBOX has.
fn of_bob(server: &Server) -> (String, String) {
    let mut wire = Wire::connect(server.port("/imap/port")).0;
    wire.imap("LOGIN bob@here.test secret");
    (
        wire.imap("LIST \"\" \"Diag*\""),
        wire.imap("STATUS INBOX (MESSAGES)"),
    )
}

/// Diagnoses a server as one of others, over one of its ports for IMAP, with bob's account.
fn from_elsewhere(server: &Server, imap: u16, phases: &str) -> Command {
    let password = server.dir.join("password");
    std::fs::write(&password, "secret\n").expect("a file");
    let ports = format!(
        "smtp=0,submission={},smtps=0,imap={imap},imaps=0,api=0,api_secure=0",
        server.port("/smtp/submission_port")
    );
    let mut command = Command::new(rmail());
    let arguments = ["diagnose", "--host", "127.0.0.1", "--user", "bob@here.test"];
    command
        .args(arguments)
        .args(["--ports", &ports, "--phase", phases]);
    command.arg("--password-file").arg(password);
    command
}

#[test]
fn a_diagnosis_of_another_server_that_is_cut_off_cleans_up_by_another_connection() {
    fn stuck(said: &str, line: &str) -> String {
        let quiet = said.ends_with(" SEARCH ALL");
        if quiet { String::new() } else { line.to_owned() }
    }
    let dir = tempfile::tempdir().expect("directory");
    let server = Server::start(dir.path(), json!({"tls": {"enabled": false}}));
    let port = proxy::start(server.port("/imap/port"), stuck);
    let child = spawn(&mut from_elsewhere(&server, port, "5,6"));
    wait_for("its mailboxes", || of_bob(&server).0.contains("Diagnose"));
    interrupt(child, "another server");
    let (mailboxes, inbox) = of_bob(&server);
    assert!(!mailboxes.contains("Diagnose"), "{mailboxes}");
    assert!(inbox.contains("(MESSAGES 0)"), "{inbox}");
}

#[test]
fn what_an_earlier_one_has_left_with_another_server_is_removed() {
    /// Of a diagnosis that began in January 2025.
    const OLD: &str = "bvzm3isabcde";
    let dir = tempfile::tempdir().expect("directory");
    let server = Server::start(dir.path(), json!({"tls": {"enabled": false}}));
    let mut wire = Wire::connect(server.port("/imap/port")).0;
    wire.imap("LOGIN bob@here.test secret");
    let mut append = |mailbox: &str, subject: &str| {
        let text = format!("Subject: {subject}\r\n\r\nx\r\n");
        let answer = wire.imap(&format!("APPEND \"{mailbox}\" {{{}+}}\r\n{text}", text.len()));
        assert!(answer.contains("t OK"), "{answer}");
    };
    let old = format!("Diagnose {OLD} again");
    let taken = format!("Diagnose {OLD}");
    append("INBOX", &format!("rmail diagnose {OLD}-abcdefghijkm"));
    append("INBOX", "rmail diagnose is what I ran");
    append("INBOX", &format!("Re: rmail diagnose {OLD}"));
    let mut wire = Wire::connect(server.port("/imap/port")).0;
    wire.imap("LOGIN bob@here.test secret");
    for mailbox in [&old, &taken, "Diagnoses"] {
        wire.imap(&format!("CREATE \"{mailbox}\""));
    }
    let text = "Subject: mine\r\n\r\nx\r\n";
    wire.imap(&format!("APPEND \"{taken}\" {{{}+}}\r\n{text}", text.len()));

    let found = Diagnosis::with(from_elsewhere(&server, server.port("/imap/port"), "8").arg("--json"));
    let note = found.finding("cleanup.leftovers");
    assert_eq!(note["status"], "note", "{note:#}");
    let (mailboxes, inbox) = of_bob(&server);
    assert!(!mailboxes.contains(&old), "{mailboxes}");
    assert!(
        mailboxes.contains(&taken) && mailboxes.contains("Diagnoses"),
        "what has mail of others in it, or another name, stays: {mailboxes}"
    );
    assert!(inbox.contains("(MESSAGES 2)"), "{inbox}");
    let again = Diagnosis::with(from_elsewhere(&server, server.port("/imap/port"), "8").arg("--json"));
    assert_eq!(again.finding("cleanup.leftovers")["status"], "passed");
    assert_eq!(again.code, Some(0));
}
