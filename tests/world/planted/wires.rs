//! Bugs in what a machine reads, sends, and is told.

use rmail_core::relay::Outcome;
use rmail_core::relay::entry::Entry;
use rmail_core::smtp::client::{self, End};
use rmail_core::smtp::envelope::Notify;

use super::Bug;

/// Octets that a session reads.
pub fn heard(bug: Option<Bug>, octets: Vec<u8>) -> Vec<u8> {
    match bug {
        Some(Bug::BareLfEnds) => replaced(&octets, b"\n.\n", b"\r\n.\r\n"),
        _ => octets,
    }
}

/// Octets that a session sends: `client` to another server.
pub fn said(bug: Option<Bug>, client: bool, octets: &[u8]) -> Vec<u8> {
    match bug {
        Some(Bug::DotsUnstuffed) if client => replaced(octets, b"\n..", b"\n."),
        Some(Bug::NewsSwallowed) if !client => swallowed(octets),
        _ => octets.to_vec(),
    }
}

/// Without responses that say of a message that it has gone.
fn swallowed(octets: &[u8]) -> Vec<u8> {
    let lines = octets.split_inclusive(|octet| *octet == b'\n');
    let stay = |line: &&[u8]| !(line.starts_with(b"* VANISHED ") || line.ends_with(b" EXPUNGE\r\n"));
    lines.filter(stay).flatten().copied().collect()
}

fn replaced(octets: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len());
    let mut rest = octets;
    while let Some(first) = rest.first() {
        if let Some(after) = rest.strip_prefix(from) {
            out.extend_from_slice(to);
            rest = after;
        } else {
            out.push(*first);
            rest = &rest[1..];
        }
    }
    out
}

/// How an attempt ended, as the queue hears it.
pub fn outcomes(bug: Option<Bug>, outcomes: Vec<Outcome>) -> Vec<Outcome> {
    let several = outcomes.len() > 1;
    let change = |(at, outcome)| match (bug, outcome) {
        (Some(Bug::DeliveredAgain), Outcome::Delivered(report)) if several && at == 0 => {
            Outcome::Temporary(report)
        }
        (Some(Bug::LaterIsDelivered), Outcome::Temporary(report)) if report.code.is_some() => {
            Outcome::Delivered(report)
        }
        (_, outcome) => outcome,
    };
    outcomes.into_iter().enumerate().map(change).collect()
}

/// How a connection ended, as the attempt hears it.
pub fn ended(bug: Option<Bug>, outcome: &mut client::Outcome) {
    if bug == Some(Bug::UncertainIsDelivered) && outcome.end == End::Uncertain {
        for verdict in &mut outcome.recipients {
            if let Outcome::Temporary(report) = verdict {
                *verdict = Outcome::Delivered(report.clone());
            }
        }
        outcome.end = End::Complete;
    }
}

/// Entries as the queue hears of them.
pub fn loaded(bug: Option<Bug>, mut entries: Vec<Entry>) -> Vec<Entry> {
    if bug == Some(Bug::EntryForgotten) {
        entries.pop();
    }
    entries.into_iter().map(|entry| added(bug, entry)).collect()
}

/// An entry as the queue hears of it.
pub fn added(bug: Option<Bug>, mut entry: Entry) -> Entry {
    if bug == Some(Bug::NoticeUnwanted) {
        for recipient in &mut entry.recipients {
            if recipient.dsn.notify == Some(Notify::default()) {
                recipient.dsn.notify = None;
            }
        }
    }
    entry
}
