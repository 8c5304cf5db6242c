//! Several servers in one run, round by round in turn, so that a slow minute of the machine meets them all: medians and
//! ratios.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::servers::Server;
use crate::{Figures, figures, http, limits, mail, targets, tls};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// A server, at least one; ratios are of the first to each other. Ports are of imap (needed), imaps, smtp and http;
    /// `process` is the name of one of its processes, for their time, and may be given several times.
    #[arg(long, required = true, value_name = "NAME=imap:PORT,smtp:PORT,…,process:COMM")]
    server: Vec<Server>,
    /// Login name; the same for all servers.
    #[arg(long)]
    user: String,
    /// Name of the environment variable with the password of all users.
    #[arg(long, default_value = "RMAIL_LOAD_PASSWORD")]
    password_env: String,
    /// Recipients of SMTP, taken in turn by the connections; none: only IMAP is measured.
    #[arg(long)]
    to: Vec<String>,
    /// Rounds over all servers; the median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Messages of the mailbox of IMAP's figures.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    mailbox_size: u32,
    /// Messages of 1 KiB that each server takes in a round, over 50 connections.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    messages: u32,
    /// Messages of 1 MiB that each server takes in a round.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    large: u32,
    /// Directory on the file system of the mail, for what the machine itself gives; none: that is not measured.
    #[arg(long)]
    limits: Option<PathBuf>,
    /// Print the table of README.md.
    #[arg(long)]
    pub(crate) markdown: bool,
}

/// Connections of the durable loop and of the messages of 1 KiB.
const CONNECTIONS: u16 = 50;

/// Every value of a figure, by server; the machine itself has the last place.
#[derive(Debug, Default)]
struct Row {
    unit: &'static str,
    values: BTreeMap<usize, Vec<f64>>,
}

/// Figures of all servers, in the order in which they came.
#[derive(Debug)]
pub(crate) struct Comparison {
    servers: Vec<String>,
    rows: Vec<(String, Row)>,
}

pub(crate) fn measure(host: IpAddr, options: &Options) -> Comparison {
    let servers = &options.server;
    let mut comparison = Comparison {
        servers: servers.iter().map(|server| server.name.clone()).collect(),
        rows: Vec::new(),
    };
    let mut place = options.limits.as_deref().map(limits::Place::new);
    for round in 0..options.rounds {
        // Who comes first changes.
        for n in 0..servers.len() {
            let turn = (n + round as usize) % servers.len();
            if let Some(server) = servers.get(turn) {
                eprintln!("round {} of {}: {}", round + 1, options.rounds, server.name);
                comparison.add(turn, one(host, options, server));
            }
        }
        if let Some(place) = &mut place {
            eprintln!("round {} of {}: the machine", round + 1, options.rounds);
            let told = place.measure(host, CONNECTIONS, options.messages);
            comparison.add(servers.len(), told);
        }
    }
    comparison
}

/// One round of one server.
fn one(host: IpAddr, options: &Options, server: &Server) -> Figures {
    let login = server.login(&options.user, &options.password_env);
    let mut told = figures::measure(host, &figures::Options::of(login.clone(), options.mailbox_size));
    if let (Some(smtp), false) = (server.smtp, options.to.is_empty()) {
        let mail = mail::Options {
            login,
            smtp_port: smtp,
            to: options.to.clone(),
            connections: CONNECTIONS,
            messages: options.messages,
            large: options.large,
            rounds: 50,
            idle: 0,
            process: server.processes.clone(),
        };
        told.extend(mail::measure(host, &mail));
    }
    if let Some(port) = server.imaps {
        let options = tls::Options {
            port,
            connections: 8,
            handshakes: 1_000,
            process: server.processes.clone(),
        };
        told.extend(tls::measure(host, &options));
    }
    if let Some(port) = server.http {
        let options = http::Options {
            port,
            path: "/health".to_owned(),
            token_env: None,
            connections: 16,
            requests: 10_000,
            process: server.processes.clone(),
        };
        told.extend(http::measure(host, &options));
    }
    told
}

impl Comparison {
    fn add(&mut self, place: usize, figures: Figures) {
        for (name, value, unit) in figures {
            let known = self.rows.iter().position(|(known, _)| *known == name);
            let at = known.unwrap_or_else(|| {
                self.rows.push((name, Row::default()));
                self.rows.len() - 1
            });
            if let Some((_, row)) = self.rows.get_mut(at) {
                row.unit = unit;
                row.values.entry(place).or_default().push(value);
            }
        }
    }

    fn median(&self, row: &Row, place: usize) -> Option<f64> {
        let mut values = row.values.get(&place)?.clone();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }

    /// The median of what the machine gives.
    fn limit(&self, name: &str) -> Option<f64> {
        let (_, row) = self.rows.iter().find(|(known, _)| known == name)?;
        self.median(row, self.servers.len())
    }

    /// Medians as JSON: an object of figures, each an object of servers.
    pub(crate) fn json(&self) -> serde_json::Value {
        let rows = self.rows.iter().map(|(name, row)| {
            let names = self
                .servers
                .iter()
                .map(String::as_str)
                .chain(std::iter::once("machine"));
            let each = names.enumerate().filter_map(|(place, server)| {
                let median = self.median(row, place)?;
                Some((server.to_owned(), serde_json::json!(median)))
            });
            let mut object: serde_json::Map<_, _> = each.collect();
            object.insert("unit".to_owned(), serde_json::json!(row.unit));
            (name.clone(), serde_json::Value::Object(object))
        });
        serde_json::Value::Object(rows.collect())
    }

    /// A table: the figure, its target, each server, how many times better the first is than each other, and what the
    /// machine gives.
    pub(crate) fn table(&self, markdown: bool) -> String {
        let mut head = vec!["figure".to_owned(), "unit".to_owned(), "target".to_owned()];
        head.extend(self.servers.iter().cloned());
        let first = self.servers.first().map_or("", String::as_str);
        let others = self.servers.iter().skip(1);
        head.extend(others.map(|other| format!("{first} : {other}")));
        head.push("limit".to_owned());
        let mut lines = vec![head];
        lines.extend(self.rows.iter().map(|(name, row)| self.line(name, row)));
        if markdown { marked(&lines) } else { aligned(&lines) }
    }

    fn line(&self, name: &str, row: &Row) -> Vec<String> {
        let target = targets::of(name);
        let mut cells = vec![name.to_owned(), row.unit.to_owned()];
        cells.push(
            target
                .filter(|target| target.value.is_finite())
                .map_or(String::new(), |target| {
                    format!("{} {}", if target.less { "≤" } else { "≥" }, number(target.value))
                }),
        );
        let medians: Vec<Option<f64>> = (0..self.servers.len())
            .map(|place| self.median(row, place))
            .collect();
        cells.extend(medians.iter().map(|median| median.map_or(String::new(), number)));
        let first = medians.first().copied().flatten();
        let ratio = |other: &Option<f64>| {
            let (first, other) = (first?, (*other)?);
            let times = if targets::less_is_better(row.unit) {
                other / first
            } else {
                first / other
            };
            Some(format!("{times:.2}"))
        };
        cells.extend(
            medians
                .iter()
                .skip(1)
                .map(|other| ratio(other).unwrap_or_default()),
        );
        let own = self.median(row, self.servers.len());
        let limit = own.or_else(|| self.limit(target?.limit?));
        cells.push(limit.map_or(String::new(), number));
        cells
    }
}

/// Three digits that mean something.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

fn marked(lines: &[Vec<String>]) -> String {
    let mut out = String::new();
    for (n, line) in lines.iter().enumerate() {
        writeln!(out, "| {} |", line.join(" | ")).expect("a string takes all");
        if n == 0 {
            writeln!(out, "|{}", "---|".repeat(line.len())).expect("a string takes all");
        }
    }
    out
}

fn aligned(lines: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let mut out = String::new();
    for line in lines {
        for (column, cell) in line.iter().enumerate() {
            let pad = " ".repeat(width(column).saturating_sub(cell.chars().count()));
            // Names to the left, numbers to the right.
            let text = if column < 2 {
                format!("{cell}{pad}  ")
            } else {
                format!("{pad}{cell}  ")
            };
            out.push_str(&text);
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}
