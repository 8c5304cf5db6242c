//! `rmail queue stats`.

use std::collections::BTreeMap;
use std::path::Path;

use anstream::println;
use rmail_core::addr::Address;
use serde_json::{Value, json};

use super::super::Failure;
use super::select::{Snapshot, read};
use super::words::{Escaped, State, is_alarm, relative, size};
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

/// What waits for one destination.
#[derive(Debug, Default)]
struct Destination {
    recipients: u64,
    /// When the first attempt was due that was not made yet, or is made next.
    next: Option<u64>,
    reasons: BTreeMap<String, u64>,
}

/// What waits in all.
#[derive(Debug, Default)]
struct Sum {
    octets: u64,
    recipients: u64,
    held: u64,
    /// Recipients that wait for an operator.
    alarms: u64,
    states: BTreeMap<State, u64>,
    oldest: Option<u64>,
    next: Option<u64>,
    destinations: BTreeMap<String, Destination>,
}

pub(super) fn run(config: &Path, options: &Options) -> Result<(), Failure> {
    let (_opened, snapshot) = read(config)?;
    let now = clock::unix().secs();
    let sum = count(&snapshot, now);
    let mut destinations: Vec<(&String, &Destination)> = sum.destinations.iter().collect();
    destinations.sort_by_key(|(_, one)| std::cmp::Reverse(one.recipients));
    if options.json {
        let list: Vec<Value> = destinations
            .iter()
            .map(|(name, one)| {
                json!({ "domain": name, "recipients": one.recipients, "next": one.next, "last": one.reason() })
            })
            .collect();
        let of = |state: State| sum.states.get(&state).copied().unwrap_or_default();
        let all = json!({
            "messages": snapshot.found.len(), "recipients": sum.recipients, "octets": sum.octets,
            "held": sum.held, "alarms": sum.alarms, "due": of(State::Due), "waiting": of(State::Waiting),
            "held_by_sender": of(State::Asleep), "failed": of(State::Failed), "delivered": of(State::Done),
            "oldest": sum.oldest, "next": sum.next, "servers": snapshot.servers,
            "unreadable": snapshot.broken.len(), "destinations": list,
        });
        println!("{all}");
        return Ok(());
    }
    if snapshot.found.is_empty() {
        println!("Nothing waits. {}", servers(snapshot.servers));
    } else {
        print(&snapshot, &sum, &destinations, now);
    }
    if !snapshot.broken.is_empty() {
        println!(
            "{} entries cannot be read and are not sent: `rmail fsck` tells why.",
            snapshot.broken.len()
        );
    }
    Ok(())
}

fn print(snapshot: &Snapshot, sum: &Sum, destinations: &[(&String, &Destination)], now: u64) {
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
    let width = destinations
        .iter()
        .take(SHOWN)
        .map(|(name, _)| name.chars().count())
        .max();
    let width = width.unwrap_or_default();
    for (name, one) in destinations.iter().take(SHOWN) {
        let reason = one.reason().unwrap_or("not tried yet");
        println!(
            "  {:>7}  {:<width$}  {}",
            one.recipients,
            Escaped(name).to_string(),
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

fn count(snapshot: &Snapshot, now: u64) -> Sum {
    let mut sum = Sum::default();
    for one in &snapshot.found {
        let entry = &one.entry;
        sum.octets += entry.size;
        sum.held += u64::from(entry.held);
        sum.oldest = Some(
            sum.oldest
                .map_or(entry.arrived, |oldest| oldest.min(entry.arrived)),
        );
        for recipient in &entry.recipients {
            let state = State::of(entry, recipient, &snapshot.delays, now);
            *sum.states.entry(state).or_default() += 1;
            sum.recipients += 1;
            if !state.is_open() {
                continue;
            }
            let domain = Address::parse(&recipient.address).map(|address| address.domain.to_string());
            let of = sum.destinations.entry(domain.unwrap_or_default()).or_default();
            of.recipients += 1;
            if matches!(state, State::Due | State::Waiting) {
                for next in [&mut of.next, &mut sum.next] {
                    *next = Some(next.map_or(recipient.next, |next| next.min(recipient.next)));
                }
            }
            if let Some(last) = &recipient.last {
                sum.alarms += u64::from(is_alarm(last));
                *of.reasons.entry(last.clone()).or_default() += 1;
            }
        }
    }
    sum
}

impl Destination {
    /// What most of the recipients have heard last.
    fn reason(&self) -> Option<&str> {
        let most = self.reasons.iter().max_by_key(|(_, count)| **count);
        most.map(|(text, _)| text.as_str())
    }
}
