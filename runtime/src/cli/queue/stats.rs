//! `rmail queue stats`.

use std::path::Path;

use anstream::println;
use rmail_core::relay::view::Sum;
use serde_json::json;

use super::super::Failure;
use super::select::{Snapshot, read};
use super::words::{Escaped, relative, size};
use crate::clock;

/// Destinations that are shown to a person.
const SHOWN: usize = 20;

/// Options of `queue stats`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Destinations are the domains of recipients that have not come to their end, the largest first, each with the reply that most of \
them have got last.\n\nExamples:\n  rmail queue stats\n  rmail queue stats --json | jq .due")]
pub(in crate::cli) struct Options {
    /// For programs: all destinations.
    #[arg(long)]
    json: bool,
}

const ALARM: anstyle::Style = anstyle::AnsiColor::Red.on_default().bold();

pub(super) fn run(config: &Path, options: &Options) -> Result<(), Failure> {
    let (_opened, snapshot) = read(config)?;
    let now = clock::unix().secs();
    let sum = Sum::of(&snapshot.found, &snapshot.delays, now);
    if options.json {
        let mut all = json!(sum);
        if let Some(all) = all.as_object_mut() {
            all.insert("servers".to_owned(), snapshot.servers.into());
            all.insert("unreadable".to_owned(), snapshot.broken.len().into());
        }
        println!("{all}");
        return Ok(());
    }
    if snapshot.found.is_empty() {
        println!("Nothing waits. {}", servers(snapshot.servers));
    } else {
        print(&snapshot, &sum, now);
    }
    if !snapshot.broken.is_empty() {
        println!(
            "{} entries cannot be read and are not sent: `rmail fsck` tells why.",
            snapshot.broken.len()
        );
    }
    Ok(())
}

fn print(snapshot: &Snapshot, sum: &Sum, now: u64) {
    println!(
        "{} message(s) with {} recipient(s), {}. {}",
        snapshot.found.len(),
        sum.recipients,
        size(sum.octets),
        servers(snapshot.servers)
    );
    let states: Vec<String> = sum
        .states
        .iter()
        .map(|(state, count)| format!("{count} {}", state.word()))
        .collect();
    println!("Recipients: {}.", states.join(", "));
    if sum.alarms > 0 {
        println!(
            "{ALARM}{} recipient(s) wait for you{ALARM:#}: the login at the relay host is refused; `rmail queue list` has the reply.",
            sum.alarms
        );
    }
    if let Some(oldest) = sum.oldest {
        println!("The oldest came {}.", relative(oldest, now));
    }
    if let Some(next) = sum.next {
        println!("The next attempt is due {}.", relative(next, now));
    }
    let destinations = &sum.destinations;
    let width = destinations
        .iter()
        .take(SHOWN)
        .map(|one| one.domain.chars().count())
        .max();
    let width = width.unwrap_or_default();
    for one in destinations.iter().take(SHOWN) {
        let reason = one.last.as_deref().unwrap_or("not tried yet");
        println!(
            "  {:>7}  {:<width$}  {}",
            one.recipients,
            Escaped(&one.domain).to_string(),
            Escaped(reason)
        );
    }
    if destinations.len() > SHOWN {
        println!(
            "  … and {} more destinations: --json shows all.",
            destinations.len() - SHOWN
        );
    }
}

fn servers(count: usize) -> String {
    match count {
        0 => "No server runs for them.".to_owned(),
        1 => "One server runs.".to_owned(),
        n => format!("{n} servers run."),
    }
}
