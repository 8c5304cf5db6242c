//! Two servers share one mail_root: deliveries, flags, moves and expunges go on in both, while one or the other is
//! killed and started again. Then everything that was acknowledged is there.
//!
//! `RMAIL_SOAK_SECONDS` makes it longer.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rmail_core::random::Random;
use rmail_tests::{PATIENCE, Server};
use serde_json::json;

const MAILBOXES: [&str; 2] = ["INBOX", "Trash"];

/// What all clients together were told.
#[derive(Default)]
struct Told {
    /// Subjects of deliveries that were acknowledged.
    safe: BTreeSet<String>,
    /// Subjects that somebody has begun to expunge.
    doomed: BTreeSet<String>,
    /// Subjects whose expunge was acknowledged, with mailbox and UID.
    gone: BTreeSet<(usize, u32)>,
    /// Subject and keyword of a STORE that was acknowledged.
    words: BTreeSet<(String, String)>,
    /// The subject of each UID ever seen.
    uids: BTreeMap<(usize, u32), String>,
    validity: BTreeMap<usize, String>,
    next: BTreeMap<usize, u32>,
}

/// A line-based client that a killed server does not surprise.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut client = Self(BufReader::new(stream));
        client.line()?;
        Ok(client)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line),
        }
    }

    fn send(&mut self, text: &str) -> io::Result<()> {
        self.0.get_mut().write_all(text.as_bytes())
    }

    /// An SMTP command that must succeed.
    fn smtp(&mut self, command: &str) -> io::Result<()> {
        self.send(&format!("{command}\r\n"))?;
        loop {
            let line = self.line()?;
            assert!(line.starts_with(['2', '3']), "{command:?}: {line}");
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    }

    /// An IMAP command: all that was answered, and whether it was OK. "Busy" and "gone meanwhile" are good answers too.
    fn imap(&mut self, command: &str) -> io::Result<(String, bool)> {
        self.send(&format!("t {command}\r\n"))?;
        let mut all = String::new();
        loop {
            let line = self.line()?;
            if let Some(literal) = line
                .trim_end()
                .strip_suffix('}')
                .and_then(|line| line.rsplit_once('{'))
            {
                let mut octets = vec![0; literal.1.parse().expect("a literal")];
                self.0.read_exact(&mut octets)?;
                all.push_str(&line);
                all.push_str(&String::from_utf8_lossy(&octets));
                continue;
            }
            if let Some(end) = line.strip_prefix("t ") {
                let fine = end.starts_with("OK");
                let usual = ["[INUSE]", "[EXPUNGEISSUED]"]
                    .iter()
                    .any(|code| end.contains(code));
                assert!(fine || usual, "{command:?}: {line}");
                return Ok((all + &line, fine));
            }
            all.push_str(&line);
        }
    }

    fn login(port: u16) -> io::Result<Self> {
        let mut client = Self::connect(port)?;
        client.imap("LOGIN alice@here.test secret")?;
        Ok(client)
    }

    /// Opens a mailbox and learns which UID is which message. What was learnt before must still be so.
    fn select(&mut self, which: usize, told: &Mutex<Told>) -> io::Result<BTreeMap<u32, String>> {
        let gone = told.lock().expect("told").gone.clone();
        let (answer, _) = self.imap(&format!("SELECT {}", MAILBOXES[which]))?;
        let code = |name: &str| -> String {
            let rest = answer.split_once(&format!("[{name} ")).expect(name).1;
            rest.split_once(']').expect("a code").0.to_owned()
        };
        {
            let mut told = told.lock().expect("told");
            let validity = told.validity.entry(which).or_insert_with(|| code("UIDVALIDITY"));
            assert_eq!(*validity, code("UIDVALIDITY"));
            let next: u32 = code("UIDNEXT").parse().expect("a number");
            let known = told.next.entry(which).or_default();
            *known = next.max(*known);
        }
        let mut found = BTreeMap::new();
        if answer.contains("* 0 EXISTS") {
            return Ok(found);
        }
        let (answer, _) = self.imap("FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])")?;
        let mut uid = None;
        for line in answer.lines() {
            if let Some((_, rest)) = line.split_once("(UID ") {
                let digits = rest.split(' ').next().expect("a UID");
                uid = Some(digits.parse::<u32>().expect("a UID"));
            }
            if let (Some(subject), Some(uid)) = (line.strip_prefix("Subject: "), uid) {
                found.insert(uid, subject.to_owned());
            }
        }
        let mut told = told.lock().expect("told");
        for (uid, subject) in &found {
            let known = told.uids.entry((which, *uid)).or_insert_with(|| subject.clone());
            assert_eq!(known, subject, "UID {uid} of {} is used again", MAILBOXES[which]);
            assert!(!gone.contains(&(which, *uid)), "{subject}: UID {uid} comes back");
        }
        Ok(found)
    }
}

struct World {
    told: Mutex<Told>,
    stop: AtomicBool,
    count: AtomicUsize,
    done: [AtomicUsize; 4],
}

impl World {
    /// Works until the end; a connection that breaks is opened again.
    fn work(&self, mut turn: impl FnMut() -> io::Result<()>) {
        while !self.stop.load(Ordering::Relaxed) {
            if turn().is_err() {
                // The server was killed.
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    fn did(&self, what: usize) {
        self.done[what].fetch_add(1, Ordering::Relaxed);
    }

    fn deliver(&self, port: u16) -> io::Result<()> {
        let mut client = Client::connect(port)?;
        client.smtp("EHLO load.test")?;
        // A server takes only so many messages in one session.
        for _ in 0..20 {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let subject = format!("message {}", self.count.fetch_add(1, Ordering::Relaxed));
            client.smtp("MAIL FROM:<x@load.test>")?;
            client.smtp("RCPT TO:<alice@here.test>")?;
            client.smtp("DATA")?;
            client.smtp(&format!("Subject: {subject}\r\n\r\ntext\r\n."))?;
            self.told.lock().expect("told").safe.insert(subject);
            self.did(0);
        }
        Ok(())
    }

    fn change(&self, port: u16, worker: usize, random: &mut Random) -> io::Result<()> {
        let mut client = Client::login(port)?;
        while !self.stop.load(Ordering::Relaxed) {
            let which = usize::try_from(random.below(2)).expect("small");
            let found = client.select(which, &self.told)?;
            let mut pick = |most: usize| -> Vec<u32> {
                let chosen = found.keys().copied().filter(|_| random.below(8) == 0);
                chosen.take(most).collect()
            };
            let chosen = pick(40);
            let list = |uids: &[u32]| uids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
            if chosen.is_empty() {
                continue;
            }
            let uids = list(&chosen);
            match random.below(12) {
                0..=6 => {
                    let word = format!("w{worker}k{}", random.below(20));
                    let (answer, fine) = client.imap(&format!("UID STORE {uids} +FLAGS ({word})"))?;
                    let mut told = self.told.lock().expect("told");
                    for uid in chosen.iter().filter(|_| fine) {
                        // A message that is gone meanwhile is left out.
                        let has = answer.lines().any(|line| {
                            let names = |end| line.contains(&format!("UID {uid}{end}"));
                            line.contains(&word) && (names(' ') || names(')'))
                        });
                        if has {
                            told.words.insert((found[uid].clone(), word.clone()));
                        }
                    }
                    self.did(1);
                }
                7..=10 => {
                    let to = MAILBOXES[1 - which];
                    client.imap(&format!("UID MOVE {uids} {to}"))?;
                    self.did(2);
                }
                _ => {
                    let few: Vec<u32> = chosen.into_iter().take(1).collect();
                    let subjects = few.iter().map(|uid| found[uid].clone());
                    self.told.lock().expect("told").doomed.extend(subjects);
                    let uids = list(&few);
                    let (_, fine) = client.imap(&format!("UID STORE {uids} +FLAGS (\\Deleted)"))?;
                    let (_, expunged) = client.imap(&format!("UID EXPUNGE {uids}"))?;
                    if fine && expunged {
                        let gone = few.iter().map(|uid| (which, *uid));
                        self.told.lock().expect("told").gone.extend(gone);
                    }
                    self.did(3);
                }
            }
        }
        Ok(())
    }
}

/// Subject, flags and keywords of all messages, as a server tells them.
fn everything(port: u16, told: &Mutex<Told>) -> BTreeMap<String, String> {
    let mut client = Client::login(port).expect("log in");
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for which in 0..2 {
        let found = client.select(which, told).expect("select");
        if found.is_empty() {
            continue;
        }
        let (answer, _) = client.imap("FETCH 1:* (UID FLAGS)").expect("fetch");
        for line in answer
            .lines()
            .filter(|line| line.starts_with("* ") && line.contains(" FETCH "))
        {
            let uid = line.split_once("UID ").expect("UID").1;
            let uid: u32 = uid.split([' ', ')']).next().expect("UID").parse().expect("UID");
            let flags = line.split_once("FLAGS (").expect("flags").1;
            let flags = flags.split_once(')').expect("flags").0;
            let entry = all.entry(found[&uid].clone()).or_default();
            entry.push(' ');
            // \Recent is for the first who asks.
            entry.push_str(flags.trim_end_matches("\\Recent").trim_end());
            entry.push(' ');
        }
    }
    all
}

#[test]
fn nothing_acknowledged_is_lost_while_servers_come_and_go() {
    let seconds = std::env::var("RMAIL_SOAK_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(10);
    let dirs = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let first = Server::start(dirs[0].path(), json!({"log_level": "WARNING"}));
    let second = first.start_beside(dirs[1].path());
    let mut servers = [first, second];
    let ports = [0, 1].map(|n: usize| (servers[n].port("/smtp/port"), servers[n].port("/imap/port")));
    let world = World {
        told: Mutex::default(),
        stop: AtomicBool::new(false),
        count: AtomicUsize::new(0),
        done: Default::default(),
    };
    let mut random = Random::from_seed([5; 32]);
    let mut kills = 0;
    std::thread::scope(|scope| {
        for (n, (smtp, imap)) in ports.into_iter().enumerate() {
            let world = &world;
            scope.spawn(move || world.work(|| world.deliver(smtp)));
            for half in 0..2 {
                let mut random = Random::from_seed(random.seed());
                let worker = n * 2 + half;
                scope.spawn(move || world.work(|| world.change(imap, worker, &mut random)));
            }
        }
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            std::thread::sleep(Duration::from_millis(300 + random.below(1_500)));
            let which = usize::try_from(random.below(2)).expect("small");
            servers[which].kill();
            servers[which].launch();
            kills += 1;
        }
        world.stop.store(true, Ordering::Relaxed);
    });
    let seen = ports.map(|(_, imap)| everything(imap, &world.told));
    assert_eq!(seen[0], seen[1], "both servers tell the same");
    let told = world.told.into_inner().expect("told");
    let [found, _] = seen;
    for subject in told.safe.difference(&told.doomed) {
        assert!(found.contains_key(subject), "{subject} is lost");
    }
    let words = told.words.iter();
    for (subject, word) in words.filter(|(subject, _)| !told.doomed.contains(subject)) {
        let flags = &found[subject];
        assert!(
            flags.contains(&format!(" {word} ")),
            "{subject} has lost {word}: {flags}"
        );
    }
    let done = world.done.map(AtomicUsize::into_inner);
    eprintln!(
        "{kills} kills; deliveries, flag changes, moves, expunges: {done:?}; {} left",
        found.len()
    );
    assert!(kills > 2 && done.iter().all(|count| *count > 5), "{done:?}");
    // What comes next gets new UIDs.
    for (smtp, imap) in ports {
        let mut client = Client::connect(smtp).expect("connect");
        for command in [
            "EHLO x",
            "MAIL FROM:<x@load.test>",
            "RCPT TO:<alice@here.test>",
            "DATA",
        ] {
            client.smtp(command).expect("SMTP");
        }
        client.smtp("Subject: last\r\n\r\n.").expect("delivered");
        let told = Mutex::new(Told::default());
        let now = Client::login(imap).expect("log in").select(0, &told);
        let last = now.expect("select").into_keys().next_back().expect("a message");
        assert!(last >= told.into_inner().expect("told").next[&0] - 1);
    }
}
