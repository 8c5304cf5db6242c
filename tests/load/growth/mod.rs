//! How time and memory grow with mailboxes, connections, the queue, recipients and users: tables, pictures, exponents.

mod plot;

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::own::Own;
use crate::wire::Wire;
use crate::{figures, imap, relay};
use plot::Curve;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The program; the one beside this tool unless given.
    #[arg(long)]
    program: Option<PathBuf>,
    /// Where its files are made, and removed again.
    #[arg(long, default_value = "/tmp")]
    dir: PathBuf,
    /// Where the pictures go.
    #[arg(long)]
    out: PathBuf,
    /// What grows; all unless given: mailbox, connections, queue, recipients, users.
    #[arg(long)]
    only: Vec<String>,
    /// Largest mailbox.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    mailbox: u32,
    /// Most connections.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(10..=18_000))]
    connections: u32,
    /// Longest queue.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    queue: u32,
    /// Most users.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    users: u32,
}

const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Recipients that one message may have.
const RECIPIENTS: u32 = 1_000;
/// Recipients of a message that makes mailboxes.
const FEW: u32 = 10;
/// Rounds of what takes little time.
const ROUNDS: usize = 21;

/// What grows: its name, what is counted, and the curves.
type Series = (&'static str, &'static str, Vec<Curve>);

pub(crate) fn run(options: &Options) {
    let program = options.program.clone().unwrap_or_else(rmail_tests::rmail);
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    std::fs::create_dir_all(&options.out).expect("a directory for the pictures");
    type Measure = fn(&Path, &Options) -> Series;
    let all: [(&str, Measure); 5] = [
        ("mailbox", mailbox),
        ("connections", connections),
        ("queue", queue),
        ("recipients", recipients),
        ("users", users),
    ];
    for (name, measure) in all.into_iter().filter(|(name, _)| wanted(name)) {
        let (title, axis, curves) = measure(&program, options);
        let picture = options.out.join(format!("growth-{name}.svg"));
        std::fs::write(&picture, plot::svg(title, axis, &curves)).expect("the picture can be written");
        println!("{title} ({})", picture.display());
        for curve in &curves {
            let points: Vec<String> = curve.points.iter().map(|(x, y)| format!("{x}: {y:.3}")).collect();
            let exponent = curve
                .exponent()
                .map_or("none".to_owned(), |value| format!("{value:.2}"));
            println!("  {:<40} exponent {exponent}  {}", curve.name, points.join("  "));
        }
    }
}

/// 1, 10, 100 … from `first` to `last`.
fn decades(first: u32, last: u32) -> impl Iterator<Item = u32> {
    std::iter::successors(Some(first), move |n| n.checked_mul(10)).take_while(move |n| *n <= last)
}

fn milliseconds(work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64() * 1000.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn mailbox(program: &Path, options: &Options) -> Series {
    let mut own = Own::start(program, &options.dir);
    let names = [
        "first SELECT after a start, ms",
        "SELECT again, ms",
        "FETCH 1:* (UID FLAGS), ms",
        "SEARCH SUBJECT, ms",
        "memory of the server, MiB",
    ];
    let mut curves = names.map(Curve::new);
    for count in decades(1_000, options.mailbox) {
        figures::fill(HOST, &own.login(), count, 0);
        own.end();
        own.launch();
        let mut wire = imap::login(HOST, &own.login());
        let mut timed = |command: &str, rounds: usize| {
            median(
                (0..rounds)
                    .map(|_| milliseconds(|| drop(wire.drain(command))))
                    .collect(),
            )
        };
        let values = [
            timed("SELECT load-flags", 1),
            timed("SELECT load-flags", ROUNDS),
            timed("FETCH 1:* (UID FLAGS)", 5),
            timed("SEARCH SUBJECT \"number 77 of\"", 5),
            own.memory(),
        ];
        add(&mut curves, count, values);
    }
    ("Growth with a mailbox", "messages", curves.into())
}

fn connections(program: &Path, options: &Options) -> Series {
    let own = Own::start(program, &options.dir);
    let mut curves = ["NOOP p50, ms", "memory of the server, MiB"].map(Curve::new);
    let mut waiting: Vec<Wire> = Vec::new();
    let mut first = imap::login(HOST, &own.login());
    for count in decades(10, options.connections) {
        while waiting.len() < count as usize {
            waiting.push(imap::login(HOST, &own.login()));
        }
        let noop = median(
            (0..500)
                .map(|_| milliseconds(|| drop(first.drain("NOOP"))))
                .collect(),
        );
        add(&mut curves, count, [noop, own.memory()]);
    }
    (
        "Growth with connections",
        "logged-in IMAP connections",
        curves.into(),
    )
}

fn queue(program: &Path, options: &Options) -> Series {
    let mut own = Own::start(program, &options.dir);
    let names = [
        "start to greetings, ms",
        "queue list, ms",
        "memory of the server, MiB",
    ];
    let mut curves = names.map(Curve::new);
    let mut there = 0;
    for count in decades(10, options.queue) {
        relay::hold(HOST, own.submission, own.user(), count - there);
        there = count;
        own.end();
        let start = own.launch();
        let list = milliseconds(|| drop(own.rmail(&["queue", "list", "--json"], "")));
        add(&mut curves, count, [start, list, own.memory()]);
    }
    ("Growth with the queue", "held entries", curves.into())
}

fn recipients(program: &Path, options: &Options) -> Series {
    let mut own = Own::start(program, &options.dir);
    own.end();
    own.make_users(RECIPIENTS);
    own.launch();
    // The first message to each makes its mailboxes: by a few at a time, as in life.
    for first in (0..RECIPIENTS).step_by(FEW as usize) {
        to_many(own.smtp, first, FEW);
    }
    let mut curves = ["final dot to 250, ms"].map(Curve::new);
    for count in decades(1, RECIPIENTS) {
        let took = median((0..5).map(|_| to_many(own.smtp, 0, count)).collect());
        add(&mut curves, count, [took]);
    }
    (
        "Growth with recipients",
        "local recipients of one message",
        curves.into(),
    )
}

/// Milliseconds from the final dot to the reply, for a message to users from one of this number on.
fn to_many(port: u16, first: u32, count: u32) -> f64 {
    let mut wire = Wire::connect(HOST, port);
    wire.smtp(b"EHLO load.test\r\n", "250");
    wire.smtp(b"MAIL FROM:<load@elsewhere.test>\r\n", "250");
    for n in first..first + count {
        wire.smtp(format!("RCPT TO:<g{n}@load.test>\r\n").as_bytes(), "250");
    }
    wire.smtp(b"DATA\r\n", "354");
    let body = crate::smtp::body(1024);
    let took = milliseconds(|| drop(wire.smtp(&body, "250")));
    wire.smtp(b"QUIT\r\n", "221");
    took
}

fn users(program: &Path, options: &Options) -> Series {
    let mut own = Own::start(program, &options.dir);
    let names = [
        "start to greetings, ms",
        "first LOGIN, ms",
        "memory of the server, MiB",
    ];
    let mut curves = names.map(Curve::new);
    for count in decades(10, options.users) {
        own.end();
        own.make_users(count);
        let start = own.launch();
        let login = milliseconds(|| drop(imap::login(HOST, &own.login())));
        add(&mut curves, count, [start, login, own.memory()]);
    }
    ("Growth with users", "users", curves.into())
}

fn add<const N: usize>(curves: &mut [Curve; N], count: u32, values: [f64; N]) {
    for (curve, value) in curves.iter_mut().zip(values) {
        curve.points.push((f64::from(count), value));
    }
    eprintln!("{count}: {values:?}");
}
