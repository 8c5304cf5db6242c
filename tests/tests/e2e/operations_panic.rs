//! A bug in one session ends that session and no other. The bug is in what this program does with log lines: sessions log
//! their commands, and the line of one with [`MARK`] is a panic in the middle of it.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use log::{Level, LevelFilter, Log, Metadata, Record};
use rmail_runtime::listen::Service;
use rmail_runtime::server::Listen;
use rmail_tests::{PATIENCE, Wire};

use super::in_memory::example;

/// What a command has to hold.
const MARK: &str = "step-on-the-trap";

/// How often each protocol steps on it.
const ROUNDS: usize = 5;

struct Trap;

impl Log for Trap {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        if record.level() == Level::Debug {
            let line = record.args().to_string();
            assert!(
                !(line.contains("event=command") && line.contains(MARK)),
                "told to"
            );
        }
    }

    fn flush(&self) {}
}

#[test]
fn a_panic_in_a_session_ends_that_session_alone() {
    log::set_boxed_logger(Box::new(Trap)).expect("no test of this program has another");
    log::set_max_level(LevelFilter::Debug);
    let any = || vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
    let server = example::start(Listen {
        smtp: any(),
        imap: any(),
        api: any(),
        ..Listen::default()
    })
    .expect("the server starts");
    let port = |wanted: Service| {
        let mut all = server.addresses().iter();
        all.find(|(service, _)| *service == wanted)
            .expect("it listens")
            .1
            .port()
    };
    let (smtp, imap, api) = (port(Service::Smtp), port(Service::Imap), port(Service::Api));
    let stopper = server.stopper();
    let running = std::thread::spawn(move || server.run(|| None));

    // Somebody waits for mail, and somebody is about to send it.
    let (mut idle, _) = Wire::connect(imap);
    assert!(idle.imap("LOGIN bob@memory.test secret").contains("t OK"));
    assert!(idle.imap("SELECT INBOX").contains("* 0 EXISTS"));
    idle.send("i IDLE\r\n");
    assert!(idle.line().starts_with('+'));
    let (mut sender, _) = Wire::connect(smtp);
    sender.smtp("EHLO client.example");
    sender.smtp("MAIL FROM:<someone@elsewhere.example>");
    sender.smtp("RCPT TO:<bob@memory.test>");
    assert!(sender.smtp("DATA").starts_with("354"));
    sender.send("Subject: hello\r\n\r\nfrom\r\n");

    for _ in 0..ROUNDS {
        let (mut wire, _) = Wire::connect(smtp);
        wire.send(&format!("VRFY {MARK}\r\n"));
        assert_eq!(wire.rest(), "", "it is gone without a word");
        let (mut wire, _) = Wire::connect(imap);
        assert!(wire.imap("LOGIN alice@memory.test secret").contains("t OK"));
        wire.send(&format!("p STATUS {MARK} (MESSAGES)\r\n"));
        assert_eq!(wire.rest(), "");
        assert_eq!(get(api, &format!("/{MARK}")), "");
    }
    let metrics = get(api, "/metrics");
    let ended = format!("\nrmail_sessions_ended_total{{why=\"panic\"}} {}\n", 3 * ROUNDS);
    assert!(metrics.contains(&ended), "{metrics}");

    // Both go on, and others come.
    assert!(sender.smtp("all of it\r\n.").starts_with("250"));
    assert_eq!(idle.line() + &idle.line(), "* 1 EXISTS\r\n* 1 RECENT\r\n");
    let (mut wire, greeting) = Wire::connect(smtp);
    assert!(greeting.starts_with("220 ") && wire.smtp("NOOP").starts_with("250"));

    stopper.stop();
    running
        .join()
        .expect("no panic of the server")
        .expect("it ends well");
}

/// A request of this host; the whole answer.
fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("time-out");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}
