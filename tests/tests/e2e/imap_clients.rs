//! Round trips with IMAP clients of many makers against a running server: each logs in, makes mailboxes, appends, fetches
//! bodies and structure, sets flags, searches, copies, moves, hears of new mail, deletes. What is not installed is skipped
//! with a visible line; `.ci/run` installs what its registries provide.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rmail_tests::{Demo, find, find_optional, node_with, python_with, run, run_with_input};

fn demo() -> (tempfile::TempDir, Demo) {
    let dir = tempfile::tempdir().expect("a directory");
    let demo = Demo::start(dir.path().join("demo"), &[]);
    (dir, demo)
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}

fn in_python(module: &str, name: &str) {
    let Some(python) = python_with(module) else { return };
    let (_dir, demo) = demo();
    run_with_input(Command::new(python).arg(script(name)), demo.json.as_bytes());
}

#[test]
fn imapclient() {
    in_python("imapclient", "round_trip_imapclient.py");
}

#[test]
fn aioimaplib() {
    in_python("aioimaplib", "round_trip_aioimaplib.py");
}

#[test]
fn imapflow() {
    let Some(mut node) = node_with("imapflow") else {
        return;
    };
    let (_dir, demo) = demo();
    run_with_input(node.arg(script("round_trip_imapflow.js")), demo.json.as_bytes());
}

/// A curl that speaks IMAP to a user's mailboxes.
struct Curl {
    program: PathBuf,
    url: String,
    login: String,
}

impl Curl {
    fn new(demo: &Demo, user: usize) -> Option<Self> {
        let (address, password) = demo.user(user);
        Some(Self {
            program: find("curl")?,
            url: format!("imaps://127.0.0.1:{}/", demo.port("imaps")),
            login: format!("{address}:{password}"),
        })
    }

    fn at(&self, path: &str, arguments: &[&str]) -> String {
        let url = format!("{}{path}", self.url);
        let fixed = ["-sS", "--insecure", "--max-time", "30", "--user"];
        run(Command::new(&self.program)
            .args(fixed)
            .args([&self.login, "--url", &url])
            .args(arguments))
    }

    fn ask(&self, path: &str, request: &str) -> String {
        self.at(path, &["-X", request])
    }
}

#[test]
fn curl_manages_a_mailbox() {
    let (dir, demo) = demo();
    let Some(curl) = Curl::new(&demo, 0) else { return };
    curl.ask("", "CREATE \"&AMQ-pfel\"");
    assert!(curl.at("", &[]).contains("&AMQ-pfel"), "LIST without a mailbox");
    let mail = dir.path().join("mail.eml");
    let text = "From: a@x.test\r\nSubject: by curl\r\n\r\nbody\r\n";
    fs::write(&mail, text).expect("file");
    // In a URL the name is percent-encoded modified UTF-7.
    let place = "%26AMQ-pfel";
    for _ in 0..3 {
        curl.at(place, &["-T", &mail.to_string_lossy()]);
    }
    assert_eq!(curl.at(&format!("{place};UID=1"), &[]), text);
    let header = curl.at(&format!("{place};UID=2;SECTION=HEADER.FIELDS%20(SUBJECT)"), &[]);
    assert_eq!(header, "Subject: by curl\r\n\r\n");
    let stored = curl.ask(place, "UID STORE 2 +FLAGS (\\Flagged $Work)");
    assert!(
        stored.contains("\\Flagged") && stored.contains("$Work"),
        "{stored}"
    );
    assert!(curl.ask(place, "SEARCH KEYWORD $Work").contains("* SEARCH 2"));
    curl.ask(place, "UID COPY 2 Archive");
    curl.ask(place, "UID MOVE 3 Trash");
    curl.ask(place, "UID STORE 1 +FLAGS (\\Deleted)");
    curl.ask(place, "EXPUNGE");
    assert!(curl.ask(place, "UID SEARCH ALL").contains("* SEARCH 2\r\n"));
    let described = curl.ask("Archive", "FETCH 1 (FLAGS ENVELOPE BODYSTRUCTURE)");
    assert!(
        described.contains("$Work") && described.contains("\"by curl\""),
        "{described}"
    );
    curl.ask("", "DELETE \"&AMQ-pfel\"");
    assert!(!curl.at("", &[]).contains("&AMQ-pfel"));
}

#[test]
fn offlineimap_round_trip() {
    let Some(offlineimap) = find_optional("offlineimap") else {
        return;
    };
    let (dir, demo) = demo();
    let Some(curl) = Curl::new(&demo, 0) else { return };
    let Some(python) = find("python3") else { return };
    let (alice, secret) = demo.user(0);
    let maildir = dir.path().join("maildir");
    let rc = dir.path().join("offlineimaprc");
    let fingerprint = "import hashlib, ssl, sys; \
                       print(hashlib.sha1(ssl.PEM_cert_to_DER_cert(open(sys.argv[1]).read())).hexdigest())";
    let fingerprint = run(Command::new(python)
        .args(["-c", fingerprint])
        .arg(demo.dir.join("mailstore/tls/cert.pem")));
    let text = format!(
        "[general]\naccounts = a\nui = quiet\nmetadata = {dir}/meta\n\n\
         [Account a]\nlocalrepository = near\nremoterepository = far\n\n\
         [Repository near]\ntype = Maildir\nlocalfolders = {path}\nsep = /\n\n\
         [Repository far]\ntype = IMAP\nremotehost = localhost\nremoteport = {port}\nremoteuser = {alice}\n\
         remotepass = {secret}\nssl = yes\ncert_fingerprint = {fingerprint}\n",
        dir = dir.path().display(),
        path = maildir.display(),
        port = demo.port("imaps"),
        fingerprint = fingerprint.trim(),
    );
    fs::write(&rc, text).expect("file");
    let sync = || {
        run(Command::new(&offlineimap)
            .env("HOME", dir.path())
            .args(["-o", "-c"])
            .arg(&rc));
    };
    curl.ask("", "CREATE \"Projekte/&AMQ-pfel\"");
    let mail = dir.path().join("mail.eml");
    fs::write(
        &mail,
        "From: a@x.test\r\nSubject: from the server\r\n\r\nbody\r\n",
    )
    .expect("file");
    curl.at("INBOX", &["-T", &mail.to_string_lossy()]);
    sync();
    assert!(
        maildir.join("Projekte/&AMQ-pfel/cur").is_dir(),
        "a mailbox with another name is here"
    );
    let here = |mailbox: &str| {
        let dirs = ["cur", "new"].map(|part| maildir.join(mailbox).join(part));
        let entries = dirs.iter().flat_map(|dir| fs::read_dir(dir).expect("maildir"));
        entries
            .map(|entry| entry.expect("entry").path())
            .collect::<Vec<_>>()
    };
    let inbox = here("INBOX");
    assert_eq!(inbox.len(), 1, "{inbox:?}");
    let text = fs::read_to_string(&inbox[0]).expect("mail");
    assert!(text.contains("Subject: from the server"), "{text}");
    let new = maildir.join("Projekte/&AMQ-pfel/cur/1700000000.1_1.here:2,FS");
    fs::write(new, "From: b@x.test\nSubject: from the maildir\n\nbody\n").expect("file");
    fs::remove_file(&inbox[0]).expect("removed");
    sync();
    let told = curl.ask("Projekte/%26AMQ-pfel", "FETCH 1 (FLAGS ENVELOPE)");
    assert!(
        told.contains("from the maildir") && told.contains("\\Flagged") && told.contains("\\Seen"),
        "{told}"
    );
    assert!(
        curl.ask("", "EXAMINE INBOX").contains("* 0 EXISTS"),
        "what was removed here is gone there"
    );
}

#[test]
fn neomutt_flags_copies_and_moves() {
    // It wants a terminal, which script lends it.
    let (Some(neomutt), Some(terminal)) = (find_optional("neomutt"), find_optional("script")) else {
        return;
    };
    let (dir, demo) = demo();
    let Some(curl) = Curl::new(&demo, 0) else { return };
    let (alice, secret) = demo.user(0);
    let rc = dir.path().join("neomuttrc");
    let text = format!(
        "set imap_user=\"{alice}\" imap_pass=\"{secret}\" folder=\"imaps://localhost:{imaps}/\" spoolfile=\"+INBOX\"\n\
         set smtp_url=\"smtps://{alice}@localhost:{smtps}/\" smtp_pass=\"{secret}\" smtp_authenticators=\"plain\"\n\
         set from=\"{alice}\" ssl_ca_certificates_file=\"{cert}\" certificate_file=\"{cert}\" ssl_verify_host=no\n\
         set copy=no confirmappend=no confirmcreate=no quit=yes delete=yes move=no wait_key=no sleep_time=0\n\
         set header_cache=\"\" message_cachedir=\"\" tmpdir=\"{tmp}\" charset=\"utf-8\"\n",
        imaps = demo.port("imaps"),
        smtps = demo.port("smtps"),
        cert = demo.dir.join("mailstore/tls/cert.pem").display(),
        tmp = dir.path().display(),
    );
    fs::write(&rc, text).expect("file");
    let here = |program: &Path| {
        let mut command = Command::new(program);
        command
            .env("HOME", dir.path())
            .env("TERM", "xterm")
            .env("SHELL", "/bin/sh")
            .env("LC_ALL", "C.UTF-8");
        command
    };
    for n in 0..3 {
        let subject = format!("nümber {n}");
        let rc = rc.to_string_lossy();
        let mut send = here(&neomutt);
        run_with_input(
            send.args(["-F", &rc, "-s", &subject, "--", &alice]),
            "größe\n".as_bytes(),
        );
    }
    let keys = "<first-entry><flag-message><first-entry><copy-message>=Archive<enter><last-entry>\
                <save-message>=Entwürfe<enter><sync-mailbox><change-folder>=Archive<enter><quit>";
    // In the foreground, whatever shell script finds: a program in the background is stopped when it sets the terminal up.
    let line = format!(
        "stty rows 40 cols 100; timeout --foreground -k 5 60 {} -F {} -e 'push \"{keys}\"'",
        neomutt.display(),
        rc.display()
    );
    run(here(&terminal).args(["-qec", &line, "/dev/null"]));
    assert!(curl.ask("INBOX", "SEARCH FLAGGED").contains("* SEARCH 1"));
    assert!(curl.ask("INBOX", "UID SEARCH ALL").contains("* SEARCH 1 2\r\n"));
    assert!(curl.ask("", "EXAMINE Archive").contains("* 1 EXISTS"));
    let moved = curl.ask("Entw%26APw-rfe", "FETCH 1 (ENVELOPE)");
    assert!(moved.contains("=?utf-8?"), "the third one is there: {moved}");
}

/// The list of messages whose ENVELOPE and BODYSTRUCTURE are known, over the wire.
#[test]
fn list_of_messages() {
    let Some(python) = find("python3") else { return };
    let (_dir, demo) = demo();
    let (alice, secret) = demo.user(0);
    let server = format!("127.0.0.1:{}:{alice}:{secret}", demo.port("imaps"));
    run(Command::new(python)
        .arg(script("mime_list.py"))
        .args(["--tls", &server]));
}

/// The same on a Dovecot, if `DOVECOT_IMAP=host:port:user:password` says where one is: its known differences are in the
/// remarks of the list, so that only what it cannot do at all is a failure.
#[test]
fn list_of_messages_on_dovecot() {
    let Ok(server) = std::env::var("DOVECOT_IMAP") else {
        eprintln!("SKIPPED: DOVECOT_IMAP names no Dovecot");
        return;
    };
    let Some(python) = find("python3") else { return };
    let output = Command::new(python)
        .arg(script("mime_list.py"))
        .args(["--unexplained", "Dovecot 2.3", &server])
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
}
