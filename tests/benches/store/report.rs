//! Times of single operations, and the lines of the table.

use std::time::{Duration, Instant};

/// Times of one operation, each measured alone.
#[derive(Debug, Default)]
pub struct Times {
    all: Vec<Duration>,
}

impl Times {
    /// Does it, and notes how long it took.
    pub fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let value = work();
        self.all.push(begun.elapsed());
        value
    }

    fn at(&mut self, per_mille: usize) -> Duration {
        self.all.sort_unstable();
        let last = self.all.len().saturating_sub(1);
        self.all
            .get(last * per_mille / 1_000)
            .copied()
            .unwrap_or_default()
    }

    pub fn p50(&mut self) -> Duration {
        self.at(500)
    }

    pub fn p99(&mut self) -> Duration {
        self.at(990)
    }

    fn mean(&self) -> Duration {
        let count = u32::try_from(self.all.len().max(1)).unwrap_or(u32::MAX);
        self.all.iter().sum::<Duration>() / count
    }
}

/// A line with times: what it must reach, ours, and the same system calls without us.
pub fn times(what: &str, goal: &str, mut ours: Times, bare: Option<Times>) {
    print!("| {what} | {goal} | {:.1?} / {:.1?}", ours.p50(), ours.p99());
    match bare {
        Some(mut bare) => println!(
            " | {:.1?} / {:.1?} | {:.2} of the time (means {:.2}) |",
            bare.p50(),
            bare.p99(),
            ours.p50().as_secs_f64() / bare.p50().as_secs_f64(),
            ours.mean().as_secs_f64() / bare.mean().as_secs_f64(),
        ),
        None => println!(" | | |"),
    }
}

/// A line with rates.
pub fn rates(what: &str, goal: &str, ours: f64, bare: Option<f64>) {
    print!("| {what} | {goal} | {ours:.0}/s");
    match bare {
        Some(bare) => println!(" | {bare:.0}/s | {:.0} % of the rate |", 100.0 * ours / bare),
        None => println!(" | | |"),
    }
}

/// A line with another figure.
pub fn figure(what: &str, goal: &str, ours: &str) {
    println!("| {what} | {goal} | {ours} | | |");
}

/// So many a second.
#[expect(clippy::cast_precision_loss, reason = "counts are small")]
pub fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}
