//! All SMTP figures in one run, of any server on loopback whose users can be read over IMAP: accepted counts when it is in
//! the mailbox.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::imap::{Login, login};
use crate::processes::Processes;
use crate::wire::Wire;
use crate::{Figures, idle, smtp};

/// Time between two looks at the mailboxes while they fill.
const LOOK: Duration = Duration::from_millis(5);
/// Longest wait for the last message.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) login: Login,
    /// Port 25 of the server.
    #[arg(long)]
    pub(crate) smtp_port: u16,
    /// Recipients, taken in turn by the connections; all have the password of `--user`.
    #[arg(long, required = true)]
    pub(crate) to: Vec<String>,
    /// Connections at the same time.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) connections: u16,
    /// Messages of 1 KiB.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) messages: u32,
    /// Messages of 1 MiB.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub(crate) large: u32,
    /// Rounds of the final dot to EXISTS.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub(crate) rounds: u32,
    /// Connections that say EHLO and nothing more, for their memory.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(0..=20_000))]
    pub(crate) idle: u32,
    /// Name of the server's processes (`comm`), for their time and memory; may be given several times.
    #[arg(long)]
    pub(crate) process: Vec<String>,
}

pub(crate) fn measure(host: IpAddr, options: &Options) -> Figures {
    let mut server = Server::new(host, options);
    let mut figures = server.send("1 KiB", 1024, options.connections, options.messages);
    if options.large > 0 {
        figures.extend(server.send("1 MiB", 1 << 20, options.connections.min(8), options.large));
    }
    if options.rounds > 0 {
        figures.extend(idle::rounds(
            host,
            &options.login,
            options.smtp_port,
            options.rounds,
        ));
    }
    if options.idle > 0 {
        figures.extend(server.idle(options.idle));
    }
    figures
}

struct Server<'a> {
    host: IpAddr,
    options: &'a Options,
    /// One logged-in session for each recipient.
    readers: Vec<Wire>,
    processes: Processes<'a>,
}

impl<'a> Server<'a> {
    fn new(host: IpAddr, options: &'a Options) -> Self {
        let reader = |user: &String| login(host, &options.login.of(user));
        Self {
            host,
            options,
            readers: options.to.iter().map(reader).collect(),
            processes: Processes(&options.process),
        }
    }

    /// Messages in all INBOXes.
    fn count(&mut self) -> u64 {
        let of = |reader: &mut Wire| {
            let told = reader.drain("STATUS INBOX (MESSAGES)");
            let number = told.split_once("(MESSAGES ").expect("a count").1;
            let digits = number.split(')').next().unwrap_or_default();
            digits.parse::<u64>().expect("a number")
        };
        self.readers.iter_mut().map(of).sum()
    }

    fn send(&mut self, name: &str, size: u32, connections: u16, messages: u32) -> Figures {
        let before = self.count();
        let run = smtp::Options {
            port: self.options.smtp_port,
            to: self.options.to.clone(),
            connections,
            messages,
            per_connection: 40,
            size,
        };
        let (cpu, begun) = (self.processes.cpu(), Instant::now());
        let told = smtp::measure(self.host, &run);
        // Each connection sends its share whole.
        let sent = messages.div_ceil(u32::from(connections)) * u32::from(connections);
        while self.count() < before + u64::from(sent) {
            assert!(begun.elapsed() < PATIENCE, "not all was delivered");
            std::thread::sleep(LOOK);
        }
        let (seconds, count) = (begun.elapsed().as_secs_f64(), f64::from(sent));
        let mut figures = told;
        figures.push(("delivered".to_owned(), count / seconds, "messages/s"));
        if size >= 1 << 20 {
            let rate = count * f64::from(size) / 1e6 / seconds;
            figures.push(("delivered (MB/s)".to_owned(), rate, "MB/s"));
        }
        if let (Some(before), Some(after)) = (cpu, self.processes.cpu()) {
            let each = after.saturating_sub(before).as_secs_f64() * 1000.0 / count;
            figures.push(("CPU of the server a message".to_owned(), each, "ms"));
        }
        for (what, ..) in &mut figures {
            *what = format!("{name}: {what}");
        }
        figures
    }

    /// Memory of connections that wait.
    fn idle(&mut self, count: u32) -> Figures {
        let greet = || {
            let mut wire = Wire::connect(self.host, self.options.smtp_port);
            wire.smtp(b"EHLO load.test\r\n", "250");
            wire
        };
        let before = self.processes.memory();
        let waiting: Vec<Wire> = (0..count).map(|_| greet()).collect();
        let after = self.processes.memory();
        drop(waiting);
        let (Some(before), Some(after)) = (before, after) else {
            return Vec::new();
        };
        let each = (after as f64 - before as f64) / 1024.0 / f64::from(count);
        vec![(format!("memory of one of {count} idle connections"), each, "KiB")]
    }
}
