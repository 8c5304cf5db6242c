//! Programs of others that send mail, against a running server. What is not installed is skipped with a visible line;
//! `.ci/run` installs what its registries provide.

use std::fs;
use std::path::Path;
use std::process::Command;

use rmail_tests::{Demo, Server, Wire, find_optional, node_with, run, run_with_input, wait_for};
use serde_json::json;

/// Sends by smtp-source (Postfix): `-s` sessions, `-m` messages, `-l` octets, `-c` counts; ends with an error if any reply
/// is not as it should be.
fn smtp_source(server: &Server, arguments: &[&str]) {
    let Some(program) = find_optional("smtp-source").or_else(|| {
        let path = Path::new("/usr/sbin/smtp-source");
        path.is_file().then(|| path.to_path_buf())
    }) else {
        return;
    };
    let to = format!("127.0.0.1:{}", server.port("/smtp/port"));
    run(Command::new(program)
        .args(["-f", "stranger@elsewhere.test", "-t", "bob@here.test"])
        .args(arguments)
        .arg(to));
    let mut imap = Wire::connect(server.port("/imap/port")).0;
    imap.imap("LOGIN bob@here.test secret");
    let count = arguments
        .iter()
        .skip_while(|argument| **argument != "-m")
        .nth(1)
        .expect("-m");
    assert!(imap.imap("EXAMINE INBOX").contains(&format!("* {count} EXISTS")));
}

#[test]
fn smtp_source_with_100_sessions() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(
        dir.path(),
        json!({"log_level": "INFO", "smtp": {"max_connections": 1000}}),
    );
    smtp_source(&server, &["-s", "100", "-m", "2000", "-l", "1024"]);
}

#[test]
fn smtp_source_with_one_connection_for_all() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path(), json!({"smtp": {"max_messages_per_connection": 500}}));
    smtp_source(&server, &["-d", "-s", "5", "-m", "500", "-l", "70000"]);
}

#[test]
fn nodemailer_sends() {
    let Some(mut node) = node_with("nodemailer") else {
        return;
    };
    let dir = tempfile::tempdir().expect("a directory");
    let demo = Demo::start(dir.path().join("demo"), &[]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/send_nodemailer.js");
    run_with_input(node.arg(script), demo.json.as_bytes());
    let (bob, secret) = demo.user(1);
    let python = format!(
        "import imaplib, ssl\nc = ssl._create_unverified_context()\n\
         box = imaplib.IMAP4_SSL('127.0.0.1', {}, ssl_context=c, timeout=30)\n\
         box.login('{bob}', '{secret}')\nprint(box.select('INBOX')[1][0].decode())\n\
         print(box.uid('SEARCH', 'BODY', 'attachment')[0])\n",
        demo.port("imaps")
    );
    let told = run(Command::new("python3").arg("-c").arg(python));
    assert!(told.starts_with("14\n"), "{told}");
}

#[test]
fn msmtp_sends() {
    let Some(msmtp) = find_optional("msmtp") else {
        return;
    };
    let dir = tempfile::tempdir().expect("a directory");
    let demo = Demo::start(dir.path().join("demo"), &[]);
    let ((alice, secret), (bob, bob_secret)) = (demo.user(0), demo.user(1));
    let (password, rc) = (dir.path().join("password"), dir.path().join("msmtprc"));
    fs::write(&password, &secret).expect("a file");
    let cert = demo.dir.join("mailstore/tls/cert.pem");
    let account = |name: &str, port: u16, starttls: &str, auth: &str| {
        format!(
            "account {name}\nhost localhost\nport {port}\ntls on\ntls_starttls {starttls}\ntls_trust_file {}\ntls_host_override mail.demo.test\n\
             auth {auth}\nuser {alice}\npasswordeval cat {}\nfrom {alice}\ntimeout 30\n\n",
            cert.display(),
            password.display()
        )
    };
    let (submission, smtps) = (demo.port("submission"), demo.port("smtps"));
    let text = account("starttls", submission, "on", "plain")
        + &account("smtps", smtps, "off", "login")
        + &account("scram", smtps, "off", "scram-sha-256");
    fs::write(&rc, text).expect("a file");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&rc, fs::Permissions::from_mode(0o600)).expect("mode");
    }
    for name in ["starttls", "smtps", "scram"] {
        let mut command = Command::new(&msmtp);
        command.arg("-C").arg(&rc).args(["-a", name, &bob]);
        run_with_input(
            &mut command,
            format!("From: {alice}\nTo: {bob}\nSubject: {name}\n\n.dot\nfrom msmtp\n").as_bytes(),
        );
    }
    let url = format!("imaps://127.0.0.1:{}/INBOX", demo.port("imaps"));
    let login = format!("{bob}:{bob_secret}");
    wait_for("three messages", || {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--insecure", "--max-time", "30", "--user", &login]);
        run(curl.args(["--url", &url, "-X", "SEARCH BODY \"from msmtp\""])).contains("SEARCH 1 2 3")
    });
}
