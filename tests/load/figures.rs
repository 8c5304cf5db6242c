//! All IMAP figures in one run, of any server on loopback: the tool fills its own mailboxes over IMAP, once.

use std::net::IpAddr;
use std::time::Instant;

use crate::imap::{Login, login};
use crate::wire::Wire;
use crate::{Figures, percentiles};

/// Octets of one command that fills a mailbox, about.
const BATCH: usize = 2 << 20;
/// Messages of one command.
const MULTI: u32 = 100;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    login: Login,
    /// Messages of the mailbox that SELECT, FETCH of flags and envelopes, STORE, SORT and THREAD are measured in.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    messages: u32,
    /// Messages of 4 KiB: BODY.PEEK[] and SEARCH.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    bodies: u32,
    /// Messages of 1 MiB: BODY.PEEK[].
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    large: u32,
    /// Rounds; the median counts.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Sessions whose memory is measured; 0: none.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    sessions: u32,
    /// Process whose resident memory is measured; may be given several times.
    #[arg(long)]
    pid: Vec<u32>,
}

impl Options {
    /// One round of a comparison: the usual mailboxes, and no memory.
    pub(crate) fn of(login: Login, messages: u32) -> Self {
        Self {
            login,
            messages,
            bodies: 10_000.min(messages),
            large: 128,
            rounds: 3,
            sessions: 0,
            pid: Vec::new(),
        }
    }
}

/// Only the mailboxes: `load-flags` and `load-1m` of so many messages.
pub(crate) fn fill(host: IpAddr, login: &Login, flags: u32, large: u32) {
    let mut client = Client::new(host, login);
    client.fill("load-flags", flags, 400);
    client.fill("load-1m", large, 1 << 20);
    client.wire.imap("LOGOUT");
}

pub(crate) fn measure(host: IpAddr, options: &Options) -> Figures {
    let mut client = Client::new(host, &options.login);
    let [flags, bodies, large] = ["load-flags", "load-4k", "load-1m"];
    client.fill(flags, options.messages, 400);
    client.fill(bodies, options.bodies, 4096);
    client.fill(large, options.large, 1 << 20);
    let mut figures = Vec::new();
    let rounds = options.rounds;

    let select = format!("SELECT {flags}");
    let times = client.times(&select, rounds.max(20));
    figures.extend(percentiles(
        &format!("SELECT warm of {}", options.messages),
        times,
    ));
    let count = f64::from(options.messages);
    figures.push(client.rate("FETCH 1:* (UID FLAGS)", rounds, count, "messages/s"));
    figures.push(client.rate("FETCH 1:* ENVELOPE", rounds, count, "messages/s"));
    let mut stores = Vec::new();
    for round in 0..rounds.max(50) {
        let sign = if round % 2 == 0 { '+' } else { '-' };
        let command = format!("STORE {} {sign}FLAGS (\\Flagged)", options.messages / 2 + 1);
        stores.extend(client.times(&command, 1));
    }
    figures.extend(percentiles("STORE of one", stores));
    figures.extend(percentiles("NOOP", client.times("NOOP", rounds.max(200))));
    for (word, command) in [
        ("SORT", "SORT (SUBJECT) UTF-8 ALL"),
        ("SORT", "SORT (REVERSE DATE) UTF-8 ALL"),
        ("THREAD=REFERENCES", "THREAD REFERENCES UTF-8 ALL"),
    ] {
        if client.offers(word) {
            figures.extend(median(command, client.times(command, rounds)));
        }
    }

    client.wire.imap(&format!("SELECT {bodies}"));
    for (name, command) in [
        ("SEARCH SUBJECT", "SEARCH SUBJECT \"number 77 of\""),
        ("SEARCH BODY", "SEARCH BODY \"not in any of them\""),
    ] {
        figures.extend(median(name, client.times(command, rounds)));
    }
    let megabytes = |count: u32, size: u32| f64::from(count) * f64::from(size) / 1e6;
    figures.push(named(
        "BODY.PEEK[] of 4 KiB",
        client.rate(
            "FETCH 1:* BODY.PEEK[]",
            rounds,
            megabytes(options.bodies, 4096),
            "MB/s",
        ),
    ));
    client.wire.imap(&format!("SELECT {large}"));
    figures.push(named(
        "BODY.PEEK[] of 1 MiB",
        client.rate(
            "FETCH 1:* BODY.PEEK[]",
            rounds,
            megabytes(options.large, 1 << 20),
            "MB/s",
        ),
    ));
    figures.extend(client.writes(options, flags));
    client.wire.imap("LOGOUT");
    if options.sessions > 0 && !options.pid.is_empty() {
        figures.push(idle_memory(host, options, flags));
    }
    figures
}

/// Resident memory of one more session that has appended, fetched, selected, and idles now.
fn idle_memory(host: IpAddr, options: &Options, mailbox: &str) -> (String, f64, &'static str) {
    let begin = || {
        let mut client = Client::new(host, &options.login);
        client.append("load-idle", 1, 400, 0);
        client.wire.imap(&format!("SELECT {mailbox}"));
        client.wire.drain("FETCH 1:100 (UID FLAGS)");
        client.wire.send(b"i IDLE\r\n");
        while !client.wire.line().starts_with('+') {}
        client
    };
    let mut first = Client::new(host, &options.login);
    first.create("load-idle");
    // What is made once is not counted.
    let warm: Vec<Client> = (0..10).map(|_| begin()).collect();
    let before = resident(&options.pid);
    let idle: Vec<Client> = (0..options.sessions).map(|_| begin()).collect();
    let after = resident(&options.pid);
    drop((warm, idle));
    let each = (after - before) * 1024.0 / f64::from(options.sessions);
    ("idle session, resident".to_owned(), each / 1024.0, "KiB")
}

/// KiB of resident memory of some processes.
fn resident(pids: &[u32]) -> f64 {
    let of = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("Linux tells it");
        let number = line.trim().trim_end_matches("kB").trim();
        number.parse::<f64>().expect("a number")
    };
    pids.iter().map(of).sum()
}

fn named(name: &str, (_, value, unit): (String, f64, &'static str)) -> (String, f64, &'static str) {
    (name.to_owned(), value, unit)
}

fn median(name: &str, times: Vec<f64>) -> Option<(String, f64, &'static str)> {
    percentiles(name, times).into_iter().next()
}

struct Client {
    wire: Wire,
    capabilities: String,
}

impl Client {
    fn new(host: IpAddr, options: &Login) -> Self {
        let mut wire = login(host, options);
        let capabilities = wire.drain("CAPABILITY").to_ascii_uppercase();
        Self { wire, capabilities }
    }

    fn offers(&self, word: &str) -> bool {
        self.capabilities
            .split_ascii_whitespace()
            .any(|offered| offered == word)
    }

    /// Milliseconds of a command, in rounds after a first one that does not count.
    fn times(&mut self, command: &str, rounds: u32) -> Vec<f64> {
        self.wire.drain(command);
        let mut once = || {
            let begun = Instant::now();
            self.wire.drain(command);
            begun.elapsed().as_secs_f64() * 1000.0
        };
        (0..rounds).map(|_| once()).collect()
    }

    /// How much of something a second, in the median round.
    fn rate(
        &mut self,
        command: &str,
        rounds: u32,
        amount: f64,
        unit: &'static str,
    ) -> (String, f64, &'static str) {
        let mut times = self.times(command, rounds);
        times.sort_by(f64::total_cmp);
        (command.to_owned(), amount / times[times.len() / 2] * 1000.0, unit)
    }

    /// What adds messages: one by one, and a thousand at once; the mailbox that takes them is emptied behind it.
    fn writes(&mut self, options: &Options, from: &str) -> Figures {
        let into = "load-writes";
        self.create(into);
        let appends: Vec<f64> = (0..options.rounds.max(50))
            .map(|number| {
                let begun = Instant::now();
                self.append(into, 1, 1024, number);
                begun.elapsed().as_secs_f64() * 1000.0
            })
            .collect();
        let mut figures = percentiles("APPEND of 1 KiB", appends);
        self.wire.imap(&format!("SELECT {from}"));
        let count = options.messages.min(1_000);
        let copies = self.times(&format!("COPY 1:{count} {into}"), options.rounds);
        figures.extend(median(&format!("COPY of {count}"), copies));
        self.wire.imap(&format!("SELECT {into}"));
        self.wire.drain("STORE 1:* +FLAGS.SILENT (\\Deleted)");
        self.wire.drain("EXPUNGE");
        figures
    }

    fn create(&mut self, mailbox: &str) {
        let tag = "create ";
        self.wire.send(format!("{tag}CREATE {mailbox}\r\n").as_bytes());
        // It may be there already.
        while !self.wire.line().starts_with(tag) {}
    }

    /// Messages that are missing in a mailbox are appended.
    fn fill(&mut self, mailbox: &str, messages: u32, size: usize) {
        self.create(mailbox);
        let status = self.wire.drain(&format!("STATUS {mailbox} (MESSAGES)"));
        let count = status.split_once("(MESSAGES ").map_or("", |(_, rest)| rest);
        let there: u32 = count
            .split(')')
            .next()
            .unwrap_or_default()
            .parse()
            .expect("a number");
        assert!(there <= messages, "{mailbox} has {there} messages already");
        let at_once = u32::try_from(BATCH / size).unwrap_or(1).clamp(1, MULTI);
        let mut next = there;
        while next < messages {
            let count = at_once.min(messages - next);
            self.append(mailbox, count, size, next);
            next += count;
        }
    }

    /// Appends messages: with one command if the server takes several (RFC 3502), else with one each, pipelined.
    fn append(&mut self, mailbox: &str, count: u32, size: usize, first: u32) {
        let many = self.offers("MULTIAPPEND");
        let mut octets = Vec::with_capacity(size * 2);
        for number in first..first + count {
            let message = message(number, size);
            if !many || number == first {
                octets.extend_from_slice(format!("m{number} APPEND {mailbox}").as_bytes());
            }
            octets.extend_from_slice(format!(" {{{}+}}\r\n", message.len()).as_bytes());
            octets.extend_from_slice(&message);
            if !many || number + 1 == first + count {
                octets.extend_from_slice(b"\r\n");
            }
        }
        self.wire.send(&octets);
        let commands = if many {
            first..first + 1
        } else {
            first..first + count
        };
        for number in commands {
            self.wire.until(&format!("m{number} "));
        }
    }
}

/// A message of a thread of ten, of exactly this size.
fn message(number: u32, size: usize) -> Vec<u8> {
    let root = number - number % 10;
    let mut text = format!(
        "Date: {}, {} Jan 2024 {:02}:{:02}:{:02} +0000\r\nFrom: User {} <user{}@load.test>\r\n\
         To: load@load.test\r\nSubject: {}number {} of some\r\nMessage-ID: <{number}@load.test>\r\n",
        ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"][number as usize % 7],
        number % 7 + 1,
        number / 3_600 % 24,
        number / 60 % 60,
        number % 60,
        number % 97,
        number % 97,
        if number == root { "" } else { "Re: " },
        root / 10,
    );
    if number != root {
        text += &format!("In-Reply-To: <{root}@load.test>\r\nReferences: <{root}@load.test>\r\n");
    }
    text += "\r\n";
    let mut octets = text.into_bytes();
    while octets.len() + 2 < size {
        let left = size - 2 - octets.len();
        let line = b"The quick brown fox jumps over the lazy dog, again and again.\r\n";
        octets.extend_from_slice(line.get(..left).unwrap_or(line));
    }
    octets.truncate(size - 2);
    while matches!(octets.last(), Some(b'\r' | b'\n')) {
        octets.pop();
    }
    octets.resize(size - 2, b'.');
    octets.extend_from_slice(b"\r\n");
    octets
}
