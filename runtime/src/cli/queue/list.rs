//! `rmail queue list`.

use std::io::Write as _;
use std::path::Path;

use anstyle::{AnsiColor, Style};
use rmail_core::relay::entry::{Entry, Recipient};
use rmail_core::relay::view::{Found, Shown, State, is_alarm};
use serde_json::json;

use super::super::Failure;
use super::select::{Filter, Snapshot, read};
use super::words::{Escaped, relative, sender, size, when};
use crate::clock;

/// Recipients of one message that are shown.
const RECIPIENTS: usize = 5;

const HELP: &str = "\
The entries of all servers on the mail_root are shown, the oldest first, whether a server runs or not. Each has its id, which \
is also in the log, in the reply to the client and in the message's Received line.

States: due (its turn comes, or an attempt runs), waiting (for the time of its next attempt), held (by an operator), held by its \
sender (FUTURERELEASE), failed and delivered (only the notice to the sender is missing).

Exit codes: 0 shown (also if there is nothing), 1 it could not be read, 2 wrong usage.

Examples:
  rmail queue list
  rmail queue list --domain example.com --limit 0
  rmail queue list --reason 4.7.1 --older 4
  rmail queue list --json | jq -r '.entries[] | select(.held) | .id'";

/// Options of `queue list`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(in crate::cli) struct Options {
    #[command(flatten)]
    filter: Filter,
    /// Messages that are held, by an operator or their sender.
    #[arg(long)]
    held: bool,
    /// Messages of which a recipient's last reply has this text in it.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Messages that came at least so many hours ago.
    #[arg(long, value_name = "HOURS")]
    older: Option<u64>,
    /// Show so many at most; 0: all.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// For programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Path, options: &Options) -> Result<(), Failure> {
    let mut filter = options.filter.checked()?;
    filter.held = options.held;
    filter.reason.clone_from(&options.reason);
    filter.older_hours = options.older;
    let (_opened, snapshot) = read(config)?;
    let now = clock::unix().secs();
    let all: Vec<&Found> = snapshot
        .found
        .iter()
        .filter(|one| filter.takes(one, now))
        .collect();
    let limit = if options.limit == 0 {
        all.len()
    } else {
        options.limit
    };
    let shown = all.get(..limit).unwrap_or(&all);
    if options.json {
        let entries: Vec<Shown> = shown
            .iter()
            .map(|one| Shown::of(one, &snapshot.delays, now))
            .collect();
        let list = json!({ "total": all.len(), "entries": entries, "unreadable": snapshot.broken });
        return written(writeln!(std::io::stdout().lock(), "{list}"));
    }
    written(print(shown, &all, &snapshot, now))
}

/// A reader that goes away (`| head`) is no error.
fn written(result: std::io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::new(error)),
        _ => Ok(()),
    }
}

const STRONG: Style = Style::new().bold();

fn print(shown: &[&Found], all: &[&Found], snapshot: &Snapshot, now: u64) -> std::io::Result<()> {
    // One write for many lines; colours only on a terminal.
    let out = anstream::AutoStream::auto(std::io::stdout().lock());
    let mut out = std::io::BufWriter::with_capacity(64 * 1024, out);
    for one in shown {
        let entry = &one.entry;
        write!(
            out,
            "{STRONG}{}{STRONG:#}  {}, {}, from {}",
            entry.id,
            relative(entry.arrived, now),
            size(entry.size),
            sender(entry)
        )?;
        if !one.served {
            write!(out, ", no server runs for it")?;
        }
        match one.asked {
            Some(word) => writeln!(out, "  ({word} asked for)")?,
            None => writeln!(out)?,
        }
        for recipient in entry.recipients.iter().take(RECIPIENTS) {
            writeln!(out, "  {}", line(entry, recipient, &snapshot.delays, now))?;
        }
        if entry.recipients.len() > RECIPIENTS {
            let more = entry.recipients.len() - RECIPIENTS;
            writeln!(out, "  … and {more} more: rmail queue show {}", entry.id)?;
        }
    }
    for one in &snapshot.broken {
        writeln!(
            out,
            "queue/{}/{} cannot be read and is not sent: {}; `rmail fsck` tells what can be done",
            one.home,
            Escaped(&one.id),
            Escaped(&one.why)
        )?;
    }
    match all.len() - shown.len() {
        _ if snapshot.found.is_empty() => writeln!(out, "Nothing waits."),
        _ if all.is_empty() => writeln!(out, "None of {} message(s) is such.", snapshot.found.len()),
        0 => writeln!(out, "{} message(s).", all.len()),
        more => writeln!(out, "… and {more} more of {}: --limit 0 shows all.", all.len()),
    }?;
    out.flush()
}

fn colour(state: State) -> Style {
    match state {
        State::Held | State::Asleep => AnsiColor::Yellow.on_default(),
        State::Failed => AnsiColor::Red.on_default(),
        State::Done => AnsiColor::Green.on_default(),
        State::Due | State::Waiting => Style::new(),
    }
}

fn line(entry: &Entry, recipient: &Recipient, delays: &[u64], now: u64) -> String {
    let state = State::of(entry, recipient, delays, now);
    let style = colour(state);
    let mut text = format!(
        "{style}{}{style:#}  {}",
        state.word(),
        Escaped(&recipient.address)
    );
    match state {
        State::Waiting => text += &format!("  next {}", relative(recipient.next, now)),
        State::Asleep => text += &format!("  until {}", when(entry.hold_until)),
        _ => {}
    }
    if recipient.attempts > 0 {
        text += &format!("  {} tried", recipient.attempts);
    }
    if state.is_open() && recipient.last.as_deref().is_some_and(is_alarm) {
        let alarm = AnsiColor::Red.on_default().bold();
        text += &format!("  {alarm}needs you{alarm:#}");
    }
    if let Some(last) = recipient.done.as_ref().or(recipient.last.as_ref()) {
        text += &format!("  {}", Escaped(last));
    }
    text
}
