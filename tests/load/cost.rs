//! What a server costs that does nothing: start, memory, wake-ups, time; and how large it is.

use std::path::PathBuf;
use std::time::Duration;

use crate::Figures;
use crate::own::Own;
use crate::processes::Processes;
use crate::tls;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The program; the one beside this tool unless given.
    #[arg(long)]
    program: Option<PathBuf>,
    /// Where its files are made, and removed again.
    #[arg(long, default_value = "/tmp")]
    dir: PathBuf,
    /// Users that are there when it starts.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    users: u32,
    /// Starts; the median counts.
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Seconds at rest.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(5..=3600))]
    rest: u64,
}

/// Time before the rest is watched, in which what follows a start is over. Threads of pools that have nothing to do end after ten
/// seconds, and what they did is not counted any more.
const SETTLE: Duration = Duration::from_secs(15);

pub(crate) fn measure(options: &Options) -> Figures {
    let program = options.program.clone().unwrap_or_else(rmail_tests::rmail);
    let mut own = Own::start(&program, &options.dir);
    own.end();
    own.make_users(options.users);
    let mut starts: Vec<f64> = (0..options.rounds)
        .map(|_| {
            let took = own.launch();
            own.end();
            took
        })
        .collect();
    starts.sort_by(f64::total_cmp);
    let name = format!("start to all greetings, {} users", options.users);
    let mut figures = vec![(name, starts[starts.len() / 2], "ms")];
    own.launch();
    std::thread::sleep(SETTLE);
    figures.push(("at rest: resident".to_owned(), own.resident(), "MiB"));
    figures.push(("at rest: private and written".to_owned(), own.memory(), "MiB"));
    let (switches, ticks) = (own.switches(), ticks(own.pid()));
    std::thread::sleep(Duration::from_secs(options.rest));
    let rest = options.rest as f64;
    let wakes = (own.switches() - switches) as f64 / rest;
    figures.push(("at rest: wake-ups".to_owned(), wakes, "/s"));
    let used = (crate::cost::ticks(own.pid()) - ticks) as f64 / 100.0;
    figures.push(("at rest: CPU an hour".to_owned(), used / rest * 3600.0, "s"));
    figures.extend(tls::measure(
        std::net::Ipv4Addr::LOCALHOST.into(),
        &tls::Options {
            port: own.imaps(),
            connections: 8,
            handshakes: 1_000,
            process: Vec::new(),
        },
    ));
    let size = std::fs::metadata(&program).expect("the program").len();
    figures.push(("size of the program".to_owned(), size as f64 / 1_048_576.0, "MiB"));
    figures
}

/// Ticks that a process has used.
fn ticks(pid: u32) -> u64 {
    Processes::ticks_of(&PathBuf::from(format!("/proc/{pid}"))).expect("it runs")
}
