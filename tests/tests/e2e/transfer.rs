//! Import, export and migration with the built program, beside a running server.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant, UNIX_EPOCH};

use rmail_store::transfer::tar::{self, Entry, Kind};
use rmail_tests::{Server, Wire, find, rmail, run, wait_for};
use serde_json::{Value, json};

fn command(server: &Server, arguments: &[&str]) -> Command {
    let mut command = Command::new(rmail());
    command
        .arg("--config")
        .arg(server.dir.join("config.json"))
        .args(arguments)
        .stdin(Stdio::null());
    command
}

/// The exit code, the JSON on standard output, and what is on standard error.
fn with_json(server: &Server, arguments: &[&str]) -> (Option<i32>, Value, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command(server, arguments)
        .arg("--json")
        .output()
        .expect("it runs");
    let err = String::from_utf8_lossy(&stderr).into_owned();
    let json = serde_json::from_slice(&stdout).unwrap_or_else(|error| {
        panic!(
            "{arguments:?}: {error}: {}\n{err}",
            String::from_utf8_lossy(&stdout)
        );
    });
    (status.code(), json, err)
}

fn add_user(server: &Server, name: &str) {
    let address = format!("{name}@here.test");
    server.rmail(&["user", "add", &address, "--password-stdin"], "secret\n");
}

fn path(of: &Path) -> &str {
    of.to_str().expect("UTF-8")
}

/// What a client sees of a folder: UIDVALIDITY and UIDNEXT, and a line per message.
fn folder(server: &Server, user: &str, name: &str) -> (String, Vec<String>) {
    let (mut wire, _) = Wire::connect(server.port("/imap/port"));
    assert!(wire.imap(&format!("LOGIN {user} secret")).contains("t OK"));
    let status = wire.imap(&format!("STATUS \"{name}\" (UIDVALIDITY UIDNEXT)"));
    assert!(status.contains("t OK"), "{status}");
    assert!(wire.imap(&format!("EXAMINE \"{name}\"")).contains("t OK"));
    let all = wire.imap("UID FETCH 1:* (FLAGS INTERNALDATE RFC822.SIZE)");
    let numbers = status.lines().next().unwrap_or_default();
    let numbers = numbers
        .split_once('(')
        .map_or("", |(_, rest)| rest.trim_end_matches([')', '\r']));
    let lines = all.lines().filter(|line| line.starts_with("* "));
    (numbers.to_owned(), lines.map(ToOwned::to_owned).collect())
}

/// A tar with everything that is hard to keep.
fn odd_mail() -> Vec<u8> {
    let keywords: Vec<String> = (0..40).map(|n| format!("k{n}")).collect();
    let long = keywords.join(" ");
    let mut odd: Vec<(Vec<u8>, &str, &str, String)> = vec![
        (
            b"Subject: plain\r\n\r\nbody\r\n".to_vec(),
            "\\Seen",
            "",
            "837596665-420".to_owned(),
        ),
        (
            b"no final line end".to_vec(),
            "\\Draft \\Deleted",
            "a",
            "0+0".to_owned(),
        ),
        (
            b"From here\r\n>From there\r\n\r\nFrom a@b Wed Jul 17 09:44:25 1996\r\n\r\n".to_vec(),
            "",
            "a b/c:d,e",
            "1000000000+330".to_owned(),
        ),
        (
            b"bare\nline\nends\n\n\n".to_vec(),
            "\\Flagged",
            "",
            "1000000001-90".to_owned(),
        ),
        (
            b"mixed\r\nends\nand\rCR\r\n".to_vec(),
            "\\Answered",
            &long,
            "1000000002+0".to_owned(),
        ),
        (
            b"X-Rmail: 1 size=3 lines=2\r\nStatus: RO\r\nX-Keywords: no\r\n\r\n\xff\xfe8-bit\r\n".to_vec(),
            "",
            "k39",
            "1000000003+1".to_owned(),
        ),
        (b"\r\n".to_vec(), "", "", "1000000004+0".to_owned()),
        (
            b"Subject: plain\r\n\r\nbody\r\n".to_vec(),
            "",
            "",
            "1000000005+0".to_owned(),
        ),
    ];
    for n in 0..40_u32 {
        let text = format!("Subject: {n}\r\n\r\n{}", "line of text\r\n".repeat(n as usize));
        odd.push((
            text.into_bytes(),
            "\\Seen",
            "",
            format!("{}+0", 1_100_000_000 + n),
        ));
    }
    let mut out = Vec::new();
    let mut add = |entry: &Entry, octets: &[u8]| {
        out.extend(tar::encode(entry));
        out.extend_from_slice(octets);
        tar::pad(&mut out, octets.len() as u64);
    };
    for (number, name) in ["INBOX", "Größe/v1.2/x y", "INBOX/Sub", "R&D"]
        .into_iter()
        .enumerate()
    {
        let mut entry = Entry {
            kind: Kind::Directory,
            path: format!("mail/{name}/"),
            size: 0,
            mtime: 0,
            records: BTreeMap::new(),
        };
        let record = |entry: &mut Entry, key: &str, value: String| {
            entry.records.insert(format!("RMAIL.{key}"), value);
        };
        record(&mut entry, "mailbox", name.to_owned());
        record(&mut entry, "uidvalidity", (1_234_000 + number).to_string());
        record(&mut entry, "uidnext", "5000".to_owned());
        add(&entry, b"");
        for (at, (octets, flags, words, date)) in odd.iter().enumerate() {
            let uid = at * 3 + 7;
            entry.kind = Kind::File;
            entry.path = format!("mail/{name}/{uid}.eml");
            entry.size = octets.len() as u64;
            entry.records.clear();
            record(&mut entry, "mailbox", name.to_owned());
            record(&mut entry, "uid", uid.to_string());
            record(&mut entry, "date", date.clone());
            record(&mut entry, "flags", (*flags).to_owned());
            record(&mut entry, "keywords", (*words).to_owned());
            add(&entry, octets);
        }
    }
    let text = b"V\t2\n\nINBOX\nR&-D\nGr&APYA3w-e\tv1\\2e2\tx y\n";
    let subscriptions = Entry {
        kind: Kind::File,
        path: "subscriptions".to_owned(),
        size: text.len() as u64,
        mtime: 0,
        records: BTreeMap::new(),
    };
    add(&subscriptions, text);
    out.extend(tar::end());
    out
}

/// An export as tar, without what an mbox cannot say: the numbers of folders without messages.
fn exported(server: &Server, user: &str) -> Vec<(Entry, Vec<u8>)> {
    let file = server.dir.join(format!("{user}.check.tar"));
    run(&mut command(
        server,
        &["export", "--force", "--user", user, "--tar", path(&file)],
    ));
    let mut reader = tar::Reader::default();
    let mut found: Vec<(Entry, Vec<u8>)> = Vec::new();
    let octets = fs::read(file).expect("the archive");
    reader
        .push::<tar::BadTar>(&octets, &mut |event| {
            match event {
                tar::Event::Entry(entry) => found.push((entry, Vec::new())),
                tar::Event::Data(data) => found.last_mut().expect("an entry").1.extend_from_slice(data),
                tar::Event::End => {}
            }
            Ok(())
        })
        .expect("an archive");
    let filled: Vec<String> = found
        .iter()
        .filter_map(|(entry, _)| {
            entry
                .records
                .get("RMAIL.uid")
                .and(entry.records.get("RMAIL.mailbox"))
                .cloned()
        })
        .collect();
    for (entry, _) in &mut found {
        if entry
            .records
            .get("RMAIL.mailbox")
            .is_some_and(|name| !filled.contains(name))
        {
            entry.records.remove("RMAIL.uidvalidity");
        }
    }
    found
}

#[test]
fn what_is_exported_in_any_format_is_imported_the_same() {
    let dir = tempfile::tempdir().expect("directory");
    let server = Server::start(dir.path(), json!({}));
    let source = dir.path().join("odd.tar");
    fs::write(&source, odd_mail()).expect("written");
    let (code, told, err) = with_json(
        &server,
        &["import", "--user", "alice", "--tar", path(&source), "--keep-uids"],
    );
    assert_eq!(
        (code, &told["imported"], &told["failed"]),
        (Some(0), &json!(4 * 48), &json!(0)),
        "{err}"
    );
    let (numbers, lines) = folder(&server, "alice", "INBOX");
    assert_eq!(numbers, "UIDVALIDITY 1234000 UIDNEXT 5000");
    assert!(
        lines[0].contains("UID 7")
            && lines[0].contains("\\Seen")
            && lines[0].contains("17-Jul-1996 02:44:25 -0700")
    );
    let original = exported(&server, "alice");
    assert_eq!(
        original
            .iter()
            .filter(|(entry, _)| entry.records.contains_key("RMAIL.uid"))
            .count(),
        4 * 48
    );

    for (format, name) in [("--maildir", "md"), ("--mbox", "mb"), ("--tar", "t.tar")] {
        let out = dir.path().join(name);
        let (code, out_told, _) = with_json(&server, &["export", "--user", "alice", format, path(&out)]);
        assert_eq!((code, &out_told["exported"]), (Some(0), &json!(4 * 48)));
        assert_eq!(
            out_told["sha256"], told["sha256"],
            "what went out is what came in"
        );
        let user = format!("u-{}", &format[2..]);
        add_user(&server, &user);
        let arguments = ["import", "--user", &user, format, path(&out), "--keep-uids"];
        let (code, in_told, err) = with_json(&server, &arguments);
        assert_eq!(
            (code, &in_told["imported"]),
            (Some(0), &json!(4 * 48)),
            "{format}: {err}"
        );
        assert_eq!(in_told["sha256"], told["sha256"]);
        let copy = exported(&server, &user);
        for (a, b) in original.iter().zip(&copy) {
            assert_eq!(a, b, "{format}");
        }
        assert_eq!(original.len(), copy.len());
        // Once more: all is there.
        let (code, again, _) = with_json(&server, &arguments);
        assert_eq!(
            (code, &again["imported"], &again["already_there"]),
            (Some(0), &json!(0), &json!(4 * 48))
        );
        assert_eq!(exported(&server, &user), copy);

        // Nothing is overwritten, except when that is wanted.
        let refused = command(&server, &["export", "--user", "alice", format, path(&out)])
            .output()
            .expect("it runs");
        assert_eq!(refused.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("--force"));
        run(&mut command(
            &server,
            &["export", "--user", "alice", format, path(&out), "--force"],
        ));
        assert_eq!(
            dir.path().join(format!("{name}.old-1")).exists(),
            format != "--tar"
        );
    }
    let left: Vec<_> = fs::read_dir(dir.path())
        .expect("listed")
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(".tmp"))
        .collect();
    assert!(left.is_empty(), "{left:?}");

    // Through a pipe, and one folder as one mbox into a folder.
    add_user(&server, "piped");
    let config = dir.path().join("config.json");
    let line = r#""$0" --config "$1" export --user alice --tar - | "$0" --config "$1" import --user piped --tar - --keep-uids"#;
    run(Command::new("sh").args(["-c", line]).arg(rmail()).arg(config));
    assert_eq!(exported(&server, "piped"), original);
    let one = dir.path().join("one.mbox");
    run(&mut command(
        &server,
        &[
            "export",
            "--user",
            "alice",
            "--mbox",
            path(&one),
            "--folder",
            "R&D",
        ],
    ));
    run(&mut command(
        &server,
        &[
            "import",
            "--user",
            "bob",
            "--mbox",
            path(&one),
            "--folder",
            "old/R&D",
        ],
    ));
    assert_eq!(folder(&server, "bob", "old/R&-D").1.len(), 48);
}

/// A Maildir as Dovecot leaves it: LF in files, two folders, keywords, UIDs, dates as mtime.
fn dovecot(at: &Path, messages: usize) {
    for sub in [
        "cur",
        "new",
        "tmp",
        ".Gr&APYA3w-e.Sub/cur",
        ".Gr&APYA3w-e.Sub/new",
        ".plain/cur",
        ".git/objects",
    ] {
        fs::create_dir_all(at.join(sub)).expect("a directory");
    }
    let mut list = format!(
        "3 V1275660208 N{} G3085f01b7f11094c501100008c4a11c1\n",
        messages * 2 + 10
    );
    for n in 0..messages {
        let base = format!("{}.M{n}P7.host,S=24,W=27", 1_200_000_000 + n);
        let flags = ["S", "", "FSa", "RSb"][n % 4];
        let file = at.join("cur").join(format!("{base}:2,{flags}"));
        fs::write(&file, format!("Subject: {n:06}\n\nbody..\n")).expect("written");
        let date = UNIX_EPOCH + Duration::from_secs(1_300_000_000 + n as u64);
        fs::File::options()
            .write(true)
            .open(&file)
            .and_then(|file| file.set_modified(date))
            .expect("dated");
        list.push_str(&format!("{} :{base}\n", n * 2 + 5));
    }
    fs::write(at.join("dovecot-uidlist"), list).expect("written");
    fs::write(at.join("dovecot-keywords"), "0 $Forwarded\n1 NonJunk\n").expect("written");
    fs::write(at.join(".Gr&APYA3w-e.Sub/new/1.a.b"), "unseen\r\n").expect("written");
    fs::write(at.join("subscriptions"), "INBOX\nGr&APYA3w-e.Sub\n").expect("written");
}

#[test]
fn a_maildir_of_dovecot_comes_in_with_all_that_it_says() {
    let dir = tempfile::tempdir().expect("directory");
    let server = Server::start(dir.path(), json!({}));
    let maildir = dir.path().join("Maildir");
    dovecot(&maildir, 8);
    let (mut idle, _) = Wire::connect(server.port("/imap/port"));
    idle.imap("LOGIN alice secret");
    let dry = [
        "import",
        "--user",
        "alice",
        "--maildir",
        path(&maildir),
        "--dry-run",
    ];
    let (code, told, _) = with_json(&server, &dry);
    assert_eq!(
        (code, &told["imported"], &told["dry_run"]),
        (Some(0), &json!(9), &json!(true))
    );
    assert_eq!(folder(&server, "alice", "INBOX").1.len(), 0);

    let (code, done, err) = with_json(
        &server,
        &["import", "--user", "alice", "--maildir", path(&maildir)],
    );
    assert_eq!(
        (code, &done["imported"], &done["sha256"]),
        (Some(0), &json!(9), &told["sha256"]),
        "{err}"
    );
    let (_, lines) = folder(&server, "alice", "INBOX");
    // "Subject: 000000", an empty line and the body, each with CRLF.
    assert!(
        lines[0].contains("RFC822.SIZE 27") && lines[0].contains("13-Mar-2011 07:06:40 +0000"),
        "{}",
        lines[0]
    );
    assert!(
        lines[0].contains("\\Seen") && !lines[1].contains("\\Seen"),
        "{lines:?}"
    );
    assert!(
        lines[2].contains("\\Flagged") && lines[2].contains("$Forwarded"),
        "{}",
        lines[2]
    );
    assert!(
        lines[3].contains("\\Answered") && lines[3].contains("NonJunk"),
        "{}",
        lines[3]
    );
    assert_eq!(folder(&server, "alice", "Gr&APYA3w-e/Sub").1.len(), 1);
    let lsub = idle.imap("LSUB \"\" \"*\"");
    assert!(
        lsub.contains("Gr&APYA3w-e/Sub") && idle.imap("LIST \"\" \"*\"").contains("plain"),
        "{lsub}"
    );

    // With UIDs: into a mailbox that never had a message, and into no other.
    let keep = |user| {
        [
            "import",
            "--user",
            user,
            "--maildir",
            path(&maildir),
            "--keep-uids",
        ]
    };
    let (code, refused, _) = with_json(&server, &keep("alice"));
    assert_eq!((code, &refused["imported"]), (Some(1), &json!(0)));
    fs::remove_dir_all(maildir.join(".Gr&APYA3w-e.Sub")).expect("removed");
    fs::remove_dir_all(maildir.join(".plain")).expect("removed");
    fs::write(maildir.join("new/late"), "Subject: later\n\n").expect("written");
    let (code, kept, err) = with_json(&server, &keep("bob"));
    assert_eq!((code, &kept["imported"]), (Some(0), &json!(9)), "{err}");
    let (numbers, lines) = folder(&server, "bob", "INBOX");
    assert_eq!(numbers, "UIDVALIDITY 1275660208 UIDNEXT 27");
    assert!(
        lines[0].contains("UID 5 ") && lines[7].contains("UID 19 ") && lines[8].contains("UID 26 "),
        "{lines:?}"
    );
}

#[test]
fn a_maildir_of_python_comes_in_once() {
    let Some(python) = find("python3") else { return };
    let dir = tempfile::tempdir().expect("directory");
    let server = Server::start(dir.path(), json!({}));
    let script = r"
import mailbox, sys
box = mailbox.Maildir(sys.argv[1], create=True)
for n in range(1200):
    message = mailbox.MaildirMessage()
    message['Subject'] = 'number %d' % n
    message.set_payload('From here\nto there %d\n' % n)
    message.set_subdir('cur'); message.set_flags('FS' if n % 2 else '')
    box.add(message)
old = mailbox.mbox(sys.argv[2])
for message in box:
    old.add(mailbox.mboxMessage(message))
old.close()
";
    let (maildir, mbox) = (dir.path().join("md"), dir.path().join("old.mbox"));
    run(Command::new(python).args(["-c", script]).arg(&maildir).arg(&mbox));
    let begun = Instant::now();
    let (code, told, err) = with_json(
        &server,
        &["import", "--user", "alice", "--maildir", path(&maildir)],
    );
    eprintln!(
        "1200 messages of a Maildir: {:.0} a second",
        1_200.0 / begun.elapsed().as_secs_f64()
    );
    assert_eq!((code, &told["imported"]), (Some(0), &json!(1_200)), "{err}");
    let (_, again, _) = with_json(
        &server,
        &["import", "--user", "alice", "--maildir", path(&maildir)],
    );
    assert_eq!(
        (&again["imported"], &again["already_there"]),
        (&json!(0), &json!(1_200))
    );
    // The mbox has the same messages: quoted, and with flags in its header.
    let (code, same, err) = with_json(&server, &["import", "--user", "alice", "--mbox", path(&mbox)]);
    assert_eq!(
        (code, &same["already_there"], &same["sha256"]),
        (Some(0), &json!(1_200), &told["sha256"]),
        "{err}"
    );
    let (code, other, _) = with_json(&server, &["import", "--user", "bob", "--mbox", path(&mbox)]);
    assert_eq!((code, &other["imported"]), (Some(0), &json!(1_200)));
    let flagged = folder(&server, "bob", "INBOX")
        .1
        .into_iter()
        .filter(|line| line.contains("\\Flagged"));
    assert_eq!(flagged.count(), 600);
}

/// Kills the command when that many messages are there, and says whether it was still running.
fn kill_after(server: &Server, arguments: &[&str], shards: &Path, messages: usize) -> bool {
    let mut child = command(server, arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it runs");
    let count = || {
        let shards = fs::read_dir(shards).into_iter().flatten().flatten();
        shards
            .map(|shard| fs::read_dir(shard.path()).map_or(0, Iterator::count))
            .sum::<usize>()
    };
    wait_for("some messages", || {
        count() >= messages || child.try_wait().is_ok_and(|state| state.is_some())
    });
    let running = child.try_wait().expect("its state").is_none();
    drop(child.kill());
    child.wait().expect("ended");
    running
}

#[test]
fn an_import_that_was_killed_is_run_again() {
    let dir = tempfile::tempdir().expect("directory");
    let server = Server::start(dir.path(), json!({}));
    let maildir = dir.path().join("Maildir");
    dovecot(&maildir, 1_500);
    for (user, keep) in [("alice", &[][..]), ("bob", &["--keep-uids"])] {
        if !keep.is_empty() {
            fs::remove_dir_all(maildir.join(".Gr&APYA3w-e.Sub")).expect("removed");
            fs::remove_dir_all(maildir.join(".plain")).expect("removed");
        }
        let mut arguments = vec!["import", "--user", user, "--maildir", path(&maildir)];
        arguments.extend(keep);
        let shards = server
            .mail_root()
            .join(format!("domains/here.test/users/{user}/mailboxes/INBOX/shards"));
        let killed = [100, 400, 700].map(|count| kill_after(&server, &arguments, &shards, count));
        assert!(killed.contains(&true), "it was never killed in time");
        let (code, told, err) = with_json(&server, &arguments);
        assert_eq!(code, Some(0), "{err}");
        let inbox = told["folders"]
            .as_array()
            .expect("folders")
            .iter()
            .find(|folder| folder["folder"] == "INBOX");
        let inbox = inbox.expect("INBOX");
        let sum = inbox["imported"]
            .as_u64()
            .zip(inbox["already_there"].as_u64())
            .map(|(a, b)| a + b);
        assert_eq!(sum, Some(1_500));
        let (_, lines) = folder(&server, user, "INBOX");
        assert_eq!(lines.len(), 1_500);
        if !keep.is_empty() {
            assert!(lines[1_499].contains("UID 3003 "), "{}", lines[1_499]);
        }
    }
}

#[test]
fn a_large_message_takes_little_memory() {
    const LARGE: usize = 50 << 20;
    const MAX_KIB: u64 = 40 << 10;
    let dir = tempfile::tempdir().expect("directory");
    let server = Server::start(dir.path(), json!({}));
    let line = "From here to there, a line of some length to make a large message of it\n";
    let text = format!("Subject: large\n\n{}", line.repeat(LARGE / line.len()));
    fs::create_dir_all(dir.path().join("md/cur")).expect("a directory");
    fs::write(dir.path().join("md/cur/1.large:2,S"), &text).expect("written");
    drop(text);
    let at = |name: &str| dir.path().join(name);
    let (md, mb, tar) = (at("md"), at("l.mbox"), at("l.tar"));
    let steps: [&[&str]; 5] = [
        &["import", "--user", "alice", "--maildir", path(&md)],
        &[
            "export",
            "--user",
            "alice",
            "--folder",
            "INBOX",
            "--mbox",
            path(&mb),
        ],
        &["export", "--user", "alice", "--tar", path(&tar)],
        &["import", "--user", "bob", "--mbox", path(&mb)],
        &[
            "import",
            "--user",
            "bob",
            "--tar",
            path(&tar),
            "--folder",
            "again",
        ],
    ];
    for arguments in steps {
        let mut child = command(&server, arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("it runs");
        let mut highest = 0;
        let status = format!("/proc/{}/status", child.id());
        wait_for("its end", || {
            for _ in 0..10 {
                let text = fs::read_to_string(&status).unwrap_or_default();
                let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
                let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
                highest = highest.max(kib.unwrap_or(0));
                std::thread::sleep(Duration::from_millis(2));
            }
            child.try_wait().expect("its state").is_some()
        });
        assert!(child.wait().expect("ended").success(), "{arguments:?}");
        assert!(
            (1..MAX_KIB).contains(&highest),
            "{arguments:?} used {highest} KiB"
        );
    }
    let (_, a) = folder(&server, "alice", "INBOX");
    let (_, b) = folder(&server, "bob", "INBOX");
    assert_eq!(a, b);
    assert!(a[0].contains("RFC822.SIZE 53"), "{a:?}");
}

#[test]
fn what_cannot_be_read_is_left_and_told() {
    let dir = tempfile::tempdir().expect("directory");
    let server = Server::start(dir.path(), json!({}));
    let maildir = dir.path().join("md");
    dovecot(&maildir, 4);
    fs::write(maildir.join("cur/9.nul:2,"), b"a\n\0b\n").expect("written");
    std::os::unix::fs::symlink("nowhere", maildir.join("cur/9.link:2,")).expect("linked");
    let (code, told, err) = with_json(
        &server,
        &["import", "--user", "alice", "--maildir", path(&maildir)],
    );
    assert_eq!(
        (code, &told["imported"], &told["failed"]),
        (Some(1), &json!(5), &json!(2))
    );
    assert!(err.contains("NUL") && err.contains("9.link"), "{err}");
    assert_eq!(told["problems"].as_array().map(Vec::len), Some(2));

    // The quota is the user's, unless it is not to count.
    server.rmail(&["user", "set", "bob", "--quota-mb", "1"], "");
    let large = format!("{}\n", "x".repeat(700_000));
    fs::write(maildir.join("cur/8.large:2,"), &large).expect("written");
    fs::write(maildir.join("cur/8.larger:2,"), &large).expect("written");
    let arguments = ["import", "--user", "bob", "--maildir", path(&maildir)];
    let stopped = command(&server, &arguments).output().expect("it runs");
    assert_eq!(stopped.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&stopped.stderr).contains("--ignore-quota"));
    let (_, told, _) = with_json(&server, &[&arguments[..], &["--ignore-quota"]].concat());
    assert_eq!(
        told["imported"]
            .as_u64()
            .zip(told["already_there"].as_u64())
            .map(|(a, b)| a + b),
        Some(7)
    );
}

#[test]
fn wrong_usage_is_told_apart_from_failure() {
    let dir = tempfile::tempdir().expect("directory");
    let server = Server::start(dir.path(), json!({}));
    let code = |arguments: &[&str]| {
        command(&server, arguments)
            .output()
            .expect("it runs")
            .status
            .code()
    };
    for wrong in [
        &["import", "--user", "alice"][..],
        &["import", "--maildir", "x"],
        &["import", "--user", "alice", "--maildir", "x", "--mbox", "y"],
        &["import", "--user", "alice", "--maildir", "x", "--folder", "a//b"],
        &["export", "--user", "alice"],
        &["export", "--user", "alice", "--tar", "x", "--folder", ".."],
        &["migrate", "--what"],
        // There is no terminal to ask.
        &["migrate"],
    ] {
        assert_eq!(code(wrong), Some(2), "{wrong:?}");
    }
    for failed in [
        &["import", "--user", "nobody", "--maildir", "x"][..],
        &["import", "--user", "alice", "--maildir", "/nowhere"],
        &["import", "--user", "alice", "--tar", "/dev/zero/x"],
        &["import", "--user", "alice", "--mbox", "/nowhere"],
        &["export", "--user", "alice", "--tar", "/nowhere/x.tar"],
        &[
            "export", "--user", "alice", "--tar", "x.tar", "--folder", "nothing",
        ],
    ] {
        assert_eq!(code(failed), Some(1), "{failed:?}");
    }
    let help = run(&mut command(&server, &["migrate", "--help"]));
    assert!(help.contains("uidvalidity") && help.contains("backup"));
}

#[test]
fn the_earliest_layout_becomes_this_one_also_when_it_is_killed() {
    const MESSAGES: usize = 3_000;
    let dir = tempfile::tempdir().expect("directory");
    let server = Server::start(dir.path(), json!({}));
    let user = server.mail_root().join("domains/here.test/users/alice/mailboxes");
    let old = user.join("Old Mail");
    fs::create_dir_all(&old).expect("a directory");
    let messages: serde_json::Map<String, Value> = (1..=MESSAGES)
        .map(|uid| {
            fs::write(
                old.join(format!("msg-{uid}.eml")),
                format!("Subject: {uid}\r\n\r\nbody\r\n"),
            )
            .expect("written");
            let flags = if uid % 2 == 0 {
                json!(["\\Seen", "$Work"])
            } else {
                json!([])
            };
            (
                uid.to_string(),
                json!({"flags": flags, "internaldate": "1996-07-17T02:44:25-07:00"}),
            )
        })
        .collect();
    let index = json!({"uidvalidity": 777, "uidnext": 9_000, "messages": messages});
    fs::write(old.join("index.json"), index.to_string()).expect("written");
    let (code, dry, err) = with_json(&server, &["migrate", "--dry-run"]);
    assert_eq!((code, &dry["migrated"]), (Some(0), &json!(MESSAGES)), "{err}");

    let killed =
        [200, 1_500].map(|count| kill_after(&server, &["migrate", "--yes"], &old.join("migrating"), count));
    assert!(killed.contains(&true), "it was never killed in time");
    let (code, told, err) = with_json(&server, &["migrate", "--yes"]);
    assert_eq!(
        (code, &told["sha256"], &told["octets"]),
        (Some(0), &dry["sha256"], &dry["octets"]),
        "{err}"
    );
    let (numbers, lines) = folder(&server, "alice", "Old Mail");
    assert_eq!(numbers, "UIDVALIDITY 777 UIDNEXT 9000");
    assert_eq!(lines.len(), MESSAGES);
    assert!(
        lines[1].contains("UID 2 ")
            && lines[1].contains("$Work")
            && lines[1].contains("17-Jul-1996 02:44:25 -0700")
    );
    assert!(old.join("index.json.migrated").exists() && !old.join("index.json").exists());
    assert!(!old.join("msg-1.eml").exists());
    let (code, nothing, _) = with_json(&server, &["migrate", "--yes"]);
    assert_eq!((code, &nothing["migrated"]), (Some(0), &json!(0)));
}
