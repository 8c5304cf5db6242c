//! `rmail queue show`: the whole story of one message.

use std::path::Path;

use anstream::println;
use anstyle::Style;
use futures_lite::future::block_on;
use rmail_core::relay::entry::{Entry, Recipient};
use rmail_core::relay::history::{Record, Told, What};
use rmail_core::relay::view::{Found, Shown, State, meaning};
use rmail_store::history;
use serde_json::json;

use super::super::Failure;
use super::existing;
use super::select::snapshot;
use super::words::{Escaped, relative, sender, size, when};
use crate::clock;

/// Options of `queue show`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Tells of the message with this id when it came and from whom; of each recipient what was tried when, what the servers said, \
what that means, and what comes next; and what can be done. A message that has left the queue is told of from the history \
(`delivery.history_days`).\n\n\
Exit codes: 0 shown, 1 nothing is known of such a message, 2 wrong usage.\n\n\
Examples:\n  rmail queue show 19ac2f8d3b7e4c11\n  rmail queue show 19ac2f8d3b7e4c11 --json")]
pub(in crate::cli) struct Options {
    /// The id, as `queue list` and the log have it.
    id: String,
    /// For programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Path, options: &Options) -> Result<(), Failure> {
    let opened = existing(config)?;
    let snapshot = snapshot(config, &opened, |id| id == options.id)?;
    let records = block_on(history::find(&**opened.accounts().disk(), &options.id))
        .map_err(|error| Failure(format!("cannot read the history: {error}")))?;
    let now = clock::unix().secs();
    if let Some(broken) = snapshot.broken.first() {
        return Err(Failure(format!(
            "queue/{}/{}.json cannot be read, and the message is not sent: {}; `rmail fsck` tells what can be done",
            broken.home, broken.id, broken.why
        )));
    }
    let found = snapshot.found.first();
    if found.is_none() && records.is_empty() {
        return Err(Failure(format!(
            "nothing is known of a message {:?}; `rmail queue list` shows the ids",
            options.id
        )));
    }
    if options.json {
        let entry = found.map(|one| Shown::of(one, &snapshot.delays, now));
        println!(
            "{}",
            json!({ "id": options.id, "entry": entry, "history": records })
        );
        return Ok(());
    }
    match found {
        Some(one) => tell(one, &snapshot.delays, now),
        None => println!("Message {} is in the queue no more.", options.id),
    }
    if !records.is_empty() {
        println!("\n{STRONG}What has happened{STRONG:#}");
        records.iter().for_each(|record| println!("  {}", story(record)));
    }
    if let Some(one) = found {
        advise(&one.entry, now);
    }
    Ok(())
}

const STRONG: Style = Style::new().bold();

fn tell(one: &Found, delays: &[u64], now: u64) {
    let entry = &one.entry;
    println!("{STRONG}Message {}{STRONG:#}, {}", entry.id, size(entry.size));
    let by = match &entry.account {
        Some(account) => format!(", submitted by the account {}", Escaped(account)),
        None if entry.sender.is_empty() => ": a notice, or mail without a sender".to_owned(),
        None => ", from outside".to_owned(),
    };
    println!("  from     {}{by}", sender(entry));
    println!(
        "  came     {}, {}",
        when(entry.arrived),
        relative(entry.arrived, now)
    );
    let served = match one.served {
        false => "no server runs for it: it waits until one starts",
        true => "a server that runs sends it",
    };
    println!("  lies in  queue/{}; {served}", one.home);
    if entry.held {
        println!("  {STRONG}It is held by an operator{STRONG:#}: nothing is tried until it is released.");
    }
    if entry.hold_until > now {
        println!(
            "  Its sender wants it held until {}, {}.",
            when(entry.hold_until),
            relative(entry.hold_until, now)
        );
    }
    if let Some(word) = one.asked {
        println!("  An operator has asked to {word} it; the next server that starts does so.");
    }
    for recipient in &entry.recipients {
        tell_recipient(entry, recipient, delays, now);
    }
}

fn tell_recipient(entry: &Entry, recipient: &Recipient, delays: &[u64], now: u64) {
    let state = State::of(entry, recipient, delays, now);
    let here = if recipient.local { ", an account here" } else { "" };
    println!(
        "\n{STRONG}{}{STRONG:#}{here}: {}",
        Escaped(&recipient.address),
        state.word()
    );
    let most = delays.len() + 1;
    match recipient.attempts {
        0 => println!("  tried    not yet"),
        tried => println!("  tried    {tried} of {most} times"),
    }
    if let Some(last) = recipient.done.as_ref().or(recipient.last.as_ref()) {
        println!("  last     {}", Escaped(last));
        if let Some(meaning) = meaning(last) {
            println!("  meaning  {meaning}");
        }
    }
    match state {
        State::Due => println!("  next     now: it waits for its turn, or is being tried"),
        State::Waiting => println!(
            "  next     {}, {}",
            when(recipient.next),
            relative(recipient.next, now)
        ),
        State::Failed | State::Done => println!("  next     the sender is being told"),
        State::Held | State::Asleep => {}
    }
    if !state.is_open() {
        return;
    }
    let tried = usize::try_from(recipient.attempts).unwrap_or(usize::MAX);
    let left: u64 = delays
        .iter()
        .skip(tried)
        .fold(0, |sum, delay| sum.saturating_add(*delay));
    if !entry.held {
        let end = recipient.next.max(now).saturating_add(left);
        println!(
            "  gives up {} if nothing changes, and tells the sender",
            when(end)
        );
    }
    let notify = recipient.dsn.notify();
    let told = match (recipient.delay_told, notify.delay, notify.failure) {
        (true, ..) => "has been told of the delay",
        (false, true, _) => "has not been told of a delay",
        (false, false, true) => "wants to hear of failure only",
        (false, false, false) => "wants to hear nothing",
    };
    if entry.sender.is_empty() {
        println!("  sender   there is none to tell");
    } else {
        println!("  sender   {told}");
    }
}

/// What an operator can do.
fn advise(entry: &Entry, now: u64) {
    let id = &entry.id;
    println!("\n{STRONG}What you can do{STRONG:#}");
    if entry.held || entry.hold_until > now {
        println!("  rmail queue release {id}   let it go, and try it now");
    } else {
        println!("  rmail queue retry {id}     try it now");
        println!("  rmail queue hold {id}      keep it from being sent");
    }
    println!("  rmail queue fail {id}      give it up; the sender is told");
}

/// A record in words.
pub(in crate::cli) fn story(record: &Record) -> String {
    let list = |list: &rmail_core::relay::history::List| {
        let names: Vec<String> = list.names.iter().map(|name| Escaped(name).to_string()).collect();
        let more = match list.more {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("{}{more}", names.join(", "))
    };
    let said = |told: &Told| {
        let tls = told.tls.as_deref().map(|tls| format!(" ({})", Escaped(tls)));
        let by = told
            .remote
            .as_deref()
            .map(|remote| format!("{} said ", Escaped(remote)));
        let alarm = if told.alarm { "  [needs an operator]" } else { "" };
        format!(
            "{}{:?}{}{alarm}",
            by.unwrap_or_default(),
            Escaped(&told.reply).to_string(),
            tls.unwrap_or_default()
        )
    };
    let nobody = |sender: &str| match sender {
        "" => "<>".to_owned(),
        sender => Escaped(sender).to_string(),
    };
    let what = match &record.what {
        What::Accepted {
            sender,
            account,
            size: octets,
            here,
            queued,
            hold_until,
        } => {
            let mut text = format!("accepted from {}, {}", nobody(sender), size(*octets));
            if let Some(account) = account {
                text += &format!(", submitted by {}", Escaped(account));
            }
            if !here.is_empty() {
                text += &format!("; delivered here to {}", list(here));
            }
            if !queued.is_empty() {
                text += &format!("; queued for {}", list(queued));
            }
            if let Some(until) = hold_until {
                text += &format!("; held by its sender until {}", when(*until));
            }
            text
        }
        What::Attempt { to, by } => format!("tried for {} by {}", list(to), Escaped(by)),
        What::Delivered(told) => format!("delivered to {}: {}", Escaped(&told.to), said(told)),
        What::Deferred { told, attempts, next } => format!(
            "not delivered to {} (attempt {attempts}), again {}: {}",
            Escaped(&told.to),
            when(*next),
            said(told)
        ),
        What::Failed {
            told,
            expired,
            notice,
        } => format!(
            "failed for {}{}{}: {}",
            Escaped(&told.to),
            if *expired {
                ", for it was tried long enough"
            } else {
                ""
            },
            if *notice { "" } else { ", of which nobody is told" },
            said(told)
        ),
        What::Notice {
            kind,
            sender,
            about,
            notice,
        } => format!(
            "the sender {} was told ({}) of {}, by message {}",
            nobody(sender),
            Escaped(kind),
            list(about),
            Escaped(notice)
        ),
        What::Unnoticed { kind, sender } => {
            format!(
                "the sender {} could not be told ({})",
                nobody(sender),
                Escaped(kind)
            )
        }
        What::Command { command } => format!("an operator asked to {} it", Escaped(command)),
        What::Done => "done: it left the queue".to_owned(),
    };
    format!("{}  {what}", when(record.secs()))
}
