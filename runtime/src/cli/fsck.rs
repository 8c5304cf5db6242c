//! `rmail fsck`.

use std::collections::BTreeMap;
use std::path::Path;

use anstream::println;
use futures_lite::future::block_on;
use rmail_store::care::fsck::{self, Code, Event, Finding, Outcome, Severity, Summary};
use serde_json::{Value, json};

use super::bar::Bar;
use super::load::load_or_fail;
use super::open::open;
use super::{Failure, wrong_usage};
use crate::clock;

/// Findings of one code that are printed; programs get all.
const PRINTED: u64 = 100;

/// Options of `fsck`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Looks at names, counts, small files, caches, quota records and the outbound queue of all accounts, and changes nothing \
unless --repair is given. Servers may go on: what they are just doing is no finding.\n\n\
--repair never deletes a message. One that cannot stay as it is gets a new UID (clients then see it as new); what is no \
message, or has lost its content, is moved to lost+found in the user's directory, or in the mail_root for the queue. \
What a person has to decide (a user.json with a mistake, an owner, a disk that gives errors) is told and left. Make a \
backup first: `rmail backup DIR`.\n\n\
Exit codes: 0 no fault (or all are repaired), 1 faults are left, 2 wrong usage. Notes do not count.\n\n\
Examples:\n  rmail fsck\n  rmail fsck --deep --user alice@example.com\n  rmail fsck --repair --json")]
pub(super) struct Options {
    /// Mend what is found.
    #[arg(long)]
    repair: bool,
    /// Read all messages too, to find those that the disk does not give or that have lost their content.
    #[arg(long)]
    deep: bool,
    /// Only this user's mail; may be given several times. Without it: all, and the outbound queue.
    #[arg(long, value_name = "ADDRESS")]
    user: Vec<String>,
    /// For programs: one object with all findings.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Path, options: &Options) -> Result<(), Failure> {
    let opened = open(config)?;
    if options.repair {
        must_own(config, "fsck --repair")?;
    }
    let mut users = Vec::new();
    for text in &options.user {
        users.push(opened.account(text)?);
    }
    let wanted = fsck::Options {
        users,
        repair: options.repair,
        deep: options.deep,
        now: clock::unix(),
    };
    let bar = Bar::new();
    let mut all: Vec<Value> = Vec::new();
    let mut printed: BTreeMap<Code, u64> = BTreeMap::new();
    let mut tell = |event: Event<'_>| match event {
        Event::Account(account) => bar.at(account.as_str()),
        Event::Messages(count) => bar.step(count),
        Event::Finding(finding) if options.json => all.push(as_json(finding)),
        Event::Finding(finding) => {
            let count = printed.entry(finding.code).or_default();
            *count += 1;
            if *count <= PRINTED {
                bar.print(|| print(finding, *count == 1));
            }
        }
    };
    let ran = block_on(fsck::run(opened.store(), &wanted, &mut tell));
    let summary = ran.map_err(|error| Failure(format!("cannot look through the mail_root: {error}")))?;
    bar.end();
    if summary.accounts < wanted.users.len() as u64 {
        return Err(Failure(format!(
            "{} of the users have no mail here; `rmail user list` shows all",
            wanted.users.len() as u64 - summary.accounts
        )));
    }
    if options.json {
        println!("{}", report(&summary, all));
    } else {
        for (code, count) in printed.iter().filter(|(_, count)| **count > PRINTED) {
            println!("{code}: {} more; --json has all", count - PRINTED);
        }
        println!("{}", in_words(&summary));
    }
    match summary.faults - summary.repaired {
        0 => Ok(()),
        left if options.repair => Err(Failure(format!("{left} fault(s) are left; each says why above"))),
        left => Err(Failure(format!(
            "{left} fault(s); `rmail fsck --repair` mends what can be mended, after `rmail backup DIR`"
        ))),
    }
}

/// Commands that write files must run as the user whom they belong to: a server could not read what another one makes.
pub(super) fn must_own(config: &Path, command: &str) -> Result<(), Failure> {
    use std::os::unix::fs::MetadataExt as _;
    let loaded = load_or_fail(config)?;
    let root = loaded.path(&loaded.config.mail_root);
    let owner = std::fs::metadata(&root)
        .map_err(|error| Failure(format!("cannot look at {}: {error}", root.display())))?
        .uid();
    let own = rustix::process::geteuid().as_raw();
    if own == owner {
        return Ok(());
    }
    Err(Failure(format!(
        "{} belongs to user {owner}, and this is user {own}, whose files a server could not use; run it as that user: \
         `sudo -u '#{owner}' rmail {command}`",
        root.display()
    )))
}

fn print(finding: &Finding, first: bool) {
    let kind = match finding.code.severity() {
        Severity::Fault => "fault",
        Severity::Note => "note",
    };
    println!("{kind} {}: {}", finding.code, finding.path);
    let who = finding.account.iter().map(ToString::to_string);
    let mailbox = finding.mailbox.iter().map(ToString::to_string);
    let uid = finding.uid.iter().map(|uid| format!("UID {}", uid.0));
    let of: Vec<String> = who.chain(mailbox).chain(uid).collect();
    if !of.is_empty() {
        println!("  of:       {}", of.join(" "));
    }
    println!("  found:    {}", finding.detail);
    let (_, meaning, repair) = finding.code.texts();
    if first {
        println!("  means:    {meaning}");
    }
    match &finding.outcome {
        Outcome::Repaired(how) => println!("  repaired: {how}"),
        Outcome::Failed(why) => println!("  failed:   {why}"),
        Outcome::Told if repair.is_empty() => println!("  repair:   nothing that this program does"),
        Outcome::Told if first => println!("  repair:   --repair {repair}"),
        Outcome::Told => {}
    }
}

fn as_json(finding: &Finding) -> Value {
    let (code, meaning, repair) = finding.code.texts();
    let (outcome, text) = match &finding.outcome {
        Outcome::Told => ("found", None),
        Outcome::Repaired(how) => ("repaired", Some(how)),
        Outcome::Failed(why) => ("failed", Some(why)),
    };
    json!({
        "code": code,
        "severity": match finding.code.severity() { Severity::Fault => "fault", Severity::Note => "note" },
        "path": finding.path, "detail": finding.detail, "meaning": meaning, "repair": repair,
        "account": finding.account.as_ref().map(ToString::to_string),
        "mailbox": finding.mailbox.as_ref().map(ToString::to_string),
        "uid": finding.uid.map(|uid| uid.0),
        "outcome": outcome, "outcome_text": text,
    })
}

fn report(summary: &Summary, findings: Vec<Value>) -> Value {
    let codes: BTreeMap<&str, u64> = summary
        .codes
        .iter()
        .map(|(code, count)| (code.as_str(), *count))
        .collect();
    json!({
        "clean": summary.is_clean(), "accounts": summary.accounts, "mailboxes": summary.mailboxes,
        "messages": summary.messages, "octets": summary.octets, "faults": summary.faults,
        "repaired": summary.repaired, "notes": summary.notes, "codes": codes, "findings": findings,
    })
}

fn in_words(summary: &Summary) -> String {
    format!(
        "{} account(s), {} mailbox(es), {} message(s), {} octets: {} fault(s), {} repaired, {} note(s)",
        summary.accounts,
        summary.mailboxes,
        summary.messages,
        summary.octets,
        summary.faults,
        summary.repaired,
        summary.notes
    )
}

/// Ends with exit code 2 where options do not go together.
pub(super) fn usage(wrong: bool, text: &str) {
    if wrong {
        wrong_usage(text);
    }
}
