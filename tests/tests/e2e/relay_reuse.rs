//! Connections that are kept for the next message, with real sockets: few of them, and none that dies costs a message.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rmail_tests::{Server, Wire, wait_for};
use serde_json::json;

/// How a sink treats a connection that has brought a message.
#[derive(Clone, Copy, Debug)]
enum After {
    Stays,
    /// Closes it without a word.
    HangsUp,
    /// Takes a second MAIL for one too many.
    Tires,
}

/// A server that counts its connections.
struct Sink {
    port: u16,
    connections: Arc<AtomicUsize>,
    mails: Arc<Mutex<Vec<String>>>,
}

impl Sink {
    fn start(after: After) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let sink = Self {
            port: listener.local_addr().expect("bound").port(),
            connections: Arc::default(),
            mails: Arc::default(),
        };
        let (connections, mails) = (Arc::clone(&sink.connections), Arc::clone(&sink.mails));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                connections.fetch_add(1, Ordering::SeqCst);
                let mails = Arc::clone(&mails);
                std::thread::spawn(move || drop(serve(stream, after, &mails)));
            }
        });
        sink
    }

    fn count(&self) -> usize {
        self.mails.lock().expect("no panic").len()
    }
}

fn serve(stream: TcpStream, after: After, mails: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut out = stream.try_clone()?;
    let mut lines = BufReader::new(stream).lines();
    out.write_all(b"220 sink.test\r\n")?;
    let mut taken = 0;
    while let Some(line) = lines.next().transpose()? {
        let reply: &[u8] = match line.get(..4).unwrap_or_default() {
            "EHLO" => b"250-sink.test\r\n250 PIPELINING\r\n",
            "MAIL" if taken > 0 && matches!(after, After::Tires) => b"421 4.7.0 one is enough\r\n",
            "DATA" => {
                out.write_all(b"354 go on\r\n")?;
                let mut mail = String::new();
                while let Some(line) = lines.next().transpose()?.filter(|line| line != ".") {
                    mail += &line;
                }
                mails.lock().expect("no panic").push(mail);
                taken += 1;
                b"250 2.0.0 taken\r\n"
            }
            "QUIT" => b"221 2.0.0 bye\r\n",
            _ => b"250 2.0.0 fine\r\n",
        };
        out.write_all(reply)?;
        let over = reply.starts_with(b"4") || reply.starts_with(b"221");
        if over || (taken > 0 && matches!(after, After::HangsUp)) {
            return Ok(());
        }
    }
    Ok(())
}

/// Submits messages, one after the other.
fn submit(server: &Server, count: usize) {
    let (mut wire, _) = Wire::connect(server.port("/smtp/submission_port"));
    wire.smtp("EHLO client.test");
    // \0alice@here.test\0secret
    wire.smtp("AUTH PLAIN AGFsaWNlQGhlcmUudGVzdABzZWNyZXQ=");
    for n in 0..count {
        for (command, code) in [
            ("MAIL FROM:<alice@here.test>", "250"),
            ("RCPT TO:<x@away.test>", "250"),
            ("DATA", "354"),
        ] {
            assert!(wire.smtp(command).starts_with(code));
        }
        let text = format!("From: alice@here.test\r\nSubject: number {n}\r\n\r\ntext\r\n.");
        assert!(wire.smtp(&text).starts_with("250"));
    }
    wire.smtp("QUIT");
}

#[test]
fn messages_share_connections_and_none_is_lost_to_one_that_dies() {
    const COUNT: usize = 30;
    for (after, at_least, at_most) in [
        (After::Stays, 1, COUNT / 2),
        (After::HangsUp, COUNT, COUNT),
        (After::Tires, COUNT, COUNT),
    ] {
        let dir = tempfile::tempdir().expect("directory");
        let sink = Sink::start(after);
        let routes =
            json!({"relay": {"routes": {"*": {"host": "127.0.0.1", "port": sink.port, "tls": "none"}}}});
        let mut server = Server::start(dir.path(), routes);
        submit(&server, COUNT);
        wait_for("all messages", || sink.count() >= COUNT);
        let connections = sink.connections.load(Ordering::SeqCst);
        assert!(
            (at_least..=at_most).contains(&connections),
            "{after:?}: {connections} connections"
        );
        let log = server.log();
        assert!(!log.contains("event=deferred"), "{after:?}: {log}");
        server.signal("TERM");
        assert!(server.wait(), "a kept connection does not hold up the end");
        let mut subjects = sink.mails.lock().expect("no panic").clone();
        subjects.sort();
        subjects.dedup();
        assert_eq!((subjects.len(), sink.count()), (COUNT, COUNT), "{after:?}");
    }
}
