//! One of several processes that work on the same mail_root until its standard input ends. What it was acknowledged it
//! tells on its standard output, a line each; the test that started it, and may kill it, compares.

mod change;
mod churn;
mod scan;

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;
use rmail_core::random::Random;
use rmail_tests::Mail;

#[derive(Parser)]
struct Options {
    /// What to do.
    role: Role,
    /// The mail_root.
    #[arg(long)]
    root: PathBuf,
    /// Messages of one shard.
    #[arg(long)]
    shard: u32,
    /// Tells one worker from another.
    #[arg(long)]
    number: u8,
    /// Messages that are there, from UID 1 on.
    #[arg(long, default_value_t = 0)]
    messages: u32,
    /// Ends after so many changes.
    #[arg(long, default_value_t = u64::MAX)]
    count: u64,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Role {
    /// Gives and takes its own keyword, message by message.
    Change,
    /// Looks whether all messages are there.
    Scan,
    /// Delivers, copies, moves, flags and expunges at random.
    Churn,
}

/// What all roles have.
struct Worker {
    options: Options,
    mail: Mail,
    random: Random,
    stop: Arc<AtomicBool>,
}

impl Worker {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

/// Says something to the test, with one write: a kill leaves whole lines.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody reads any more: the test is over.
    drop(
        out.write_all(format!("{line}\n").as_bytes())
            .and_then(|()| out.flush()),
    );
}

fn main() {
    let options = Options::parse();
    let stop = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&stop);
    std::thread::spawn(move || {
        drop(std::io::stdin().read_to_end(&mut Vec::new()));
        ended.store(true, Ordering::Relaxed);
    });
    let mut seed = [options.number; 32];
    seed[..4].copy_from_slice(&std::process::id().to_be_bytes());
    let worker = Worker {
        mail: Mail::open(&options.root, options.shard),
        random: Random::from_seed(seed),
        options,
        stop,
    };
    match worker.options.role {
        Role::Change => change::run(worker),
        Role::Scan => scan::run(worker),
        Role::Churn => churn::run(worker),
    }
}
