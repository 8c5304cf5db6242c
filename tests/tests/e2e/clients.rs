//! Real clients against a running server, over sockets with TLS.

use std::fs;
use std::path::Path;
use std::process::Command;

use rmail_tests::{Demo, find, run, run_with_input};

fn demo() -> (tempfile::TempDir, Demo) {
    let dir = tempfile::tempdir().expect("a directory");
    let demo = Demo::start(dir.path().join("demo"), &[]);
    (dir, demo)
}

#[test]
fn python_smtplib_and_imaplib() {
    let Some(python) = find("python3") else { return };
    let (_dir, demo) = demo();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python_mail.py");
    run_with_input(Command::new(python).arg(script), demo.json.as_bytes());
}

#[test]
fn python_scram_compress_and_unauthenticate() {
    let Some(python) = find("python3") else { return };
    let (_dir, demo) = demo();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python_login.py");
    run_with_input(Command::new(python).arg(script), demo.json.as_bytes());
}

#[test]
fn curl_sends_and_reads() {
    let Some(curl) = find("curl") else { return };
    let (dir, demo) = demo();
    let ((alice, secret), (bob, bob_secret)) = (demo.user(0), demo.user(1));
    let mail = dir.path().join("mail.eml");
    fs::write(
        &mail,
        format!("From: {alice}\r\nTo: {bob}\r\nSubject: by curl\r\n\r\n.dot\r\nbody\r\n"),
    )
    .expect("file");
    let send = |url: String| {
        run(Command::new(&curl)
            .args([
                "-sS",
                "--insecure",
                "--ssl-reqd",
                "--max-time",
                "30",
                "--url",
                &url,
            ])
            .args([
                "--user",
                &format!("{alice}:{secret}"),
                "--mail-from",
                &alice,
                "--mail-rcpt",
                &bob,
                "-T",
            ])
            .arg(&mail))
    };
    send(format!(
        "smtp://127.0.0.1:{}/client.test",
        demo.port("submission")
    ));
    send(format!("smtps://127.0.0.1:{}/client.test", demo.port("smtps")));
    let read = |request: &[&str], path: &str| {
        let url = format!("imaps://127.0.0.1:{}/{path}", demo.port("imaps"));
        let login = format!("{bob}:{bob_secret}");
        run(Command::new(&curl)
            .args([
                "-sS",
                "--insecure",
                "--max-time",
                "30",
                "--url",
                &url,
                "--user",
                &login,
            ])
            .args(request))
    };
    assert!(read(&["-X", "EXAMINE INBOX"], "").contains("* 2 EXISTS"));
    let text = read(&[], "INBOX;UID=1");
    assert!(
        text.contains("Subject: by curl\r\n") && text.ends_with("\r\n\r\n.dot\r\nbody\r\n"),
        "{text}"
    );
    assert!(read(&["-X", "SEARCH SUBJECT curl"], "INBOX").contains("* SEARCH 1 2"));
    let health = format!("http://127.0.0.1:{}/health", demo.port("api"));
    assert!(run(Command::new(&curl).args(["-sS", "--max-time", "30", &health])).contains("up"));
}

#[test]
fn swaks_in_every_mode() {
    let Some(swaks) = find("swaks") else { return };
    let (_dir, demo) = demo();
    let ((alice, secret), (bob, _)) = (demo.user(0), demo.user(1));
    let try_it = |extra: &[&str]| {
        Command::new(&swaks)
            .args(["--server", "127.0.0.1", "--timeout", "30", "--to", &bob])
            .args(extra)
            .output()
            .expect("swaks runs")
    };
    let port = |name| demo.port(name).to_string();
    let (smtp, submission, smtps) = (port("smtp"), port("submission"), port("smtps"));
    let outside = ["--port", &smtp, "--from", "a@elsewhere.test"];
    let login = |auth| {
        [&[
            "--from",
            &alice,
            "--auth-user",
            &alice,
            "--auth-password",
            &secret,
            "--auth",
            auth,
        ][..]]
        .concat()
    };
    for (what, arguments) in [
        ("plain port 25", outside.to_vec()),
        ("STARTTLS on port 25", [&outside[..], &["--tls"]].concat()),
        ("pipelining", [&outside[..], &["--pipeline"]].concat()),
        (
            "AUTH PLAIN",
            [&["--port", &submission, "--tls"][..], &login("PLAIN")].concat(),
        ),
        (
            "AUTH LOGIN",
            [&["--port", &submission, "--tls"][..], &login("LOGIN")].concat(),
        ),
        (
            "implicit TLS",
            [&["--port", &smtps, "--tls-on-connect"][..], &login("PLAIN")].concat(),
        ),
    ] {
        let output = try_it(&arguments);
        assert!(
            output.status.success(),
            "{what}: {}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
    let clear = try_it(&[&["--port", &submission][..], &login("PLAIN")].concat());
    assert!(!clear.status.success(), "a password on clear text");
    let relay = try_it(&[
        "--port",
        &smtp,
        "--from",
        "a@elsewhere.test",
        "--to",
        "b@third.test",
    ]);
    assert_eq!(
        relay.status.code(),
        Some(24),
        "a stranger may not relay: {}",
        String::from_utf8_lossy(&relay.stdout)
    );
}

#[test]
fn mbsync_round_trip() {
    let Some(mbsync) = find("mbsync") else { return };
    let (dir, demo) = demo();
    let (alice, secret) = demo.user(0);
    let maildir = dir.path().join("maildir");
    fs::create_dir(&maildir).expect("directory");
    let rc = dir.path().join("mbsyncrc");
    let cert = demo.dir.join("mailstore/tls/cert.pem");
    let text = format!(
        "IMAPAccount a\nHost localhost\nPort {port}\nUser {alice}\nPass {secret}\nSSLType IMAPS\nCertificateFile {cert}\n\n\
         IMAPStore far\nAccount a\n\nMaildirStore near\nPath {path}/\nInbox {path}/INBOX\nSubFolders Verbatim\n\n\
         Channel c\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nExpunge Both\nSyncState *\n",
        port = demo.port("imaps"),
        cert = cert.display(),
        path = maildir.display()
    );
    fs::write(&rc, text).expect("file");
    let sync = || run(Command::new(&mbsync).arg("-c").arg(&rc).arg("-a"));
    sync();
    assert!(
        maildir.join("Sent/cur").is_dir(),
        "the server's mailboxes are here"
    );
    let drop_mail = |mailbox: &str, name: &str| {
        let path = maildir.join(mailbox).join("cur").join(name);
        fs::write(
            path,
            format!("From: {alice}\nSubject: {mailbox}\n\nfrom the maildir\n"),
        )
        .expect("file");
    };
    (0..20).for_each(|n| drop_mail("Archive", &format!("1700000000.{n}_1.here:2,S")));
    drop_mail("INBOX", "1700000000.99_1.here:2,FS");
    sync();
    let second = dir.path().join("second");
    fs::rename(&maildir, &second).expect("rename");
    fs::create_dir(&maildir).expect("directory");
    sync();
    let names = |path: &Path| {
        let entries = fs::read_dir(path)
            .expect("maildir")
            .map(|entry| entry.expect("entry").file_name());
        entries
            .map(|name| name.to_string_lossy().into_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(&maildir.join("Archive/cur")).len(),
        20,
        "what was put there came back"
    );
    let inbox = names(&maildir.join("INBOX/cur"));
    assert!(
        inbox.len() == 1 && inbox[0].ends_with(":2,FS"),
        "flags came back: {inbox:?}"
    );
    let body = fs::read_to_string(maildir.join("INBOX/cur").join(&inbox[0])).expect("mail");
    assert!(body.contains("from the maildir"), "{body}");
    fs::remove_file(maildir.join("INBOX/cur").join(&inbox[0])).expect("removed");
    sync();
    fs::remove_dir_all(&second).expect("removed");
    assert!(names(&maildir.join("INBOX/cur")).is_empty());
}
