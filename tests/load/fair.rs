//! What one client feels of the others: NOOP beside a client that fetches much, one that searches much, and slow ones.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::imap::{Login, login};
use crate::wire::Wire;
use crate::{Figures, figures, percentiles};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    login: Login,
    /// Messages of the mailbox that is searched (load-flags).
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    messages: u32,
    /// Messages of 1 MiB that are fetched (load-1m).
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    large: u32,
    /// Clients that ask for a message of 1 MiB and hardly read it.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(0..=5_000))]
    slow: u32,
    /// Seconds that NOOP is measured: alone, then beside the others.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
}

/// Pause between two NOOPs: a client that asks now and then, not one that hammers.
const PAUSE: Duration = Duration::from_millis(5);
/// Between two small reads of a slow client.
const SLOW: Duration = Duration::from_millis(200);

pub(crate) fn measure(host: IpAddr, options: &Options) -> Figures {
    figures::fill(host, &options.login, options.messages, options.large);
    let mut other = login(host, &options.login);
    let alone = noops(&mut other, options.seconds);
    let over = AtomicBool::new(false);
    let (beside, fetched, searched) = std::thread::scope(|scope| {
        let fetching = scope.spawn(|| repeat(host, options, "load-1m", "FETCH 1:* BODY.PEEK[]", &over));
        let search = "SEARCH SUBJECT \"not in any of them\"";
        let searching = scope.spawn(|| repeat(host, options, "load-flags", search, &over));
        for _ in 0..options.slow {
            scope.spawn(|| crawl(host, options, &over));
        }
        std::thread::sleep(Duration::from_secs(1));
        let beside = noops(&mut other, options.seconds);
        over.store(true, Ordering::Relaxed);
        let rounds = |thread: std::thread::ScopedJoinHandle<'_, u32>| thread.join().expect("a client");
        (beside, rounds(fetching), rounds(searching))
    });
    let mut figures = percentiles("NOOP alone", alone);
    figures.extend(percentiles("NOOP beside the others", beside));
    let megabytes = f64::from(fetched) * f64::from(options.large);
    figures.push(("fetched meanwhile, whole rounds".to_owned(), megabytes, "MiB"));
    figures.push(("searches meanwhile".to_owned(), f64::from(searched), ""));
    figures
}

/// Milliseconds of each NOOP.
fn noops(wire: &mut Wire, seconds: u64) -> Vec<f64> {
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut times = Vec::new();
    while Instant::now() < end {
        let begun = Instant::now();
        wire.drain("NOOP");
        times.push(begun.elapsed().as_secs_f64() * 1000.0);
        std::thread::sleep(PAUSE);
    }
    times
}

/// Says a command again and again; how often it was answered. One that was begun is read to its end.
fn repeat(host: IpAddr, options: &Options, mailbox: &str, command: &str, over: &AtomicBool) -> u32 {
    let mut wire = login(host, &options.login);
    wire.imap(&format!("SELECT {mailbox}"));
    let mut rounds = 0;
    while !over.load(Ordering::Relaxed) {
        wire.drain(command);
        rounds += 1;
    }
    rounds
}

/// Asks for a large message and takes a little of it now and then.
fn crawl(host: IpAddr, options: &Options, over: &AtomicBool) {
    let mut wire = login(host, &options.login);
    wire.imap("SELECT load-1m");
    wire.send(b"s FETCH 1 BODY.PEEK[]\r\n");
    while !over.load(Ordering::Relaxed) {
        wire.sip(64);
        std::thread::sleep(SLOW);
    }
}
