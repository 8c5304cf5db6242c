//! A relay that is killed again and again, towards a server that fails a fifth of the time and drops replies.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rmail_tests::{PATIENCE, Server, Sink, wait_for};
use serde_json::json;

use crate::relay::{inbox, queue_is_empty};

/// How often the relay is killed, and how long it lives each time.
const ROUNDS: u32 = 10;
const LIFE: Duration = Duration::from_millis(600);

/// Submits a message; whether 250 came. The server may be gone at any moment.
fn try_submit(port: u16, to: &[String], subject: &str) -> std::io::Result<bool> {
    let mut out = TcpStream::connect(("127.0.0.1", port))?;
    out.set_read_timeout(Some(PATIENCE))?;
    out.set_nodelay(true)?;
    let mut lines = BufReader::new(out.try_clone()?);
    let mut reply = || -> std::io::Result<bool> {
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line.starts_with(['2', '3']));
            }
        }
    };
    let mut good = reply()?;
    // \0alice@here.test\0secret
    let mut commands = vec![
        "EHLO client.test".to_owned(),
        "AUTH PLAIN AGFsaWNlQGhlcmUudGVzdABzZWNyZXQ=".to_owned(),
        "MAIL FROM:<alice@here.test>".to_owned(),
    ];
    commands.extend(to.iter().map(|to| format!("RCPT TO:<{to}>")));
    commands.push("DATA".to_owned());
    commands.push(format!(
        "From: alice@here.test\r\nSubject: {subject}\r\n\r\n.. dots\r\nbody\r\n."
    ));
    for command in commands {
        out.write_all(format!("{command}\r\n").as_bytes())?;
        good = good && reply()?;
        if !good {
            return Ok(false);
        }
    }
    Ok(true)
}

#[test]
fn kill_9_in_a_loop_loses_nothing_that_was_accepted() {
    let dir = tempfile::tempdir().expect("a directory");
    let sink = Sink::failing(0, 20);
    let relay = json!({
        "log_level": "INFO",
        "relay": {
            "routes": {"*": {"host": "127.0.0.1", "port": sink.port, "tls": "none"}},
            "retry_delays": vec![1; 100],
        },
    });
    let mut server = Server::start(dir.path(), relay);
    let port = server.port("/smtp/submission_port");
    let (ending, accepted) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let clients: Vec<_> = (0..3)
        .map(|client| {
            let (ending, accepted) = (Arc::clone(&ending), Arc::clone(&accepted));
            std::thread::spawn(move || {
                let mut number = 0;
                while !ending.load(Ordering::Relaxed) {
                    number += 1;
                    let subject = format!("m{client}-{number}");
                    let to = ["x", "y"].map(|local| format!("{local}-{subject}@away.test"));
                    if try_submit(port, &to, &subject).unwrap_or(false) {
                        accepted.lock().expect("no panic").push((subject, to));
                    } else {
                        // It is down for a moment.
                        std::thread::sleep(Duration::from_millis(20));
                    }
                }
            })
        })
        .collect();
    for round in 0..ROUNDS {
        std::thread::sleep(LIFE + Duration::from_millis(u64::from(round) * 37));
        server.kill();
        server.launch();
    }
    ending.store(true, Ordering::Relaxed);
    clients
        .into_iter()
        .for_each(|client| client.join().expect("it ends"));
    sink.mend();
    wait_for("an empty queue", || queue_is_empty(&server));
    let accepted = accepted.lock().expect("no panic").clone();
    assert!(
        accepted.len() > 30,
        "only {} messages were accepted",
        accepted.len()
    );
    let mails = sink.mails();
    let mut twice = 0;
    for (subject, to) in &accepted {
        let subject = format!("\r\nSubject: {subject}\r\n");
        let its: Vec<&String> = mails.iter().filter(|mail| mail.contains(&subject)).collect();
        for to in to {
            let to = format!("RCPT TO:<{to}>");
            let copies = its.iter().filter(|mail| mail.contains(&to)).count();
            assert_ne!(copies, 0, "{to} of {subject:?} is lost");
            twice += usize::from(copies > 1);
        }
        let whole = |mail: &&String| mail.ends_with("\r\n\r\n. dots\r\nbody\r\n");
        assert!(its.iter().all(whole), "{its:?}");
    }
    assert_eq!(inbox(&server, "alice").matches("Action: failed").count(), 0);
    println!("{} messages, {} recipients reached twice", accepted.len(), twice);
}
