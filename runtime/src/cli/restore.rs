//! `rmail restore`.

use std::path::{Path, PathBuf};

use anstream::println;
use futures_lite::future::block_on;
use rmail_core::addr::{AccountName, Domain};
use rmail_core::directory::User;
use rmail_core::directory::alias::AliasFile;
use rmail_core::mailbox::MailboxName;
use rmail_store::care::restore::{self, Event, Failed, Restored};
use serde_json::{Value, json};

use super::Failure;
use super::backup::sets;
use super::bar::Bar;
use super::fsck::{must_own, usage};
use super::open::{Opened, open};
use crate::clock;
use crate::disk::{Dir, RealDisk};

/// Options of `restore`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nothing that is there is changed or removed, and what comes is seen at once by clients of a running server.\n\n\
A mailbox that is not there (or was never used) becomes what it was: the same UIDs and UIDVALIDITY, flags, keywords and \
dates. Into one that has messages only those come that it has not (the same octets and INTERNALDATE); they get new UIDs. \
Without --mailbox the whole account comes back. The quota is not asked.\n\n\
Each message is compared with the hash that it was backed up with; one that is damaged is told and left out.\n\n\
Exit codes: 0 all is back, 1 something is not, 2 wrong usage. It can be done again at any time: what is back already is \
not put back twice.\n\n\
Examples:\n  rmail restore /backup/mail --user a@example.com --dry-run\n  \
rmail restore /backup/mail/2026-11-21T10-00-00Z --user a@example.com --mailbox Work --as Work-of-yesterday\n  \
rmail restore /backup/mail --user a@example.com --with-user\n  \
rmail restore /backup/mail --aliases example.com")]
pub(super) struct Options {
    /// A backup, or a directory of backups: then the newest complete one.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Whose mail.
    #[arg(long, value_name = "ADDRESS", required_unless_present = "aliases")]
    user: Option<String>,
    /// Put back the aliases of this domain that are not there.
    #[arg(long, value_name = "DOMAIN", conflicts_with_all = ["user", "mailbox", "rename", "with_user"])]
    aliases: Option<String>,
    /// Only this mailbox; may be given several times. UTF-8, levels separated by `/`.
    #[arg(long, value_name = "NAME")]
    mailbox: Vec<String>,
    /// Put the one mailbox back under this name.
    #[arg(long = "as", value_name = "NAME")]
    rename: Option<String>,
    /// Make the user again too, with its password and settings, if it does not exist.
    #[arg(long)]
    with_user: bool,
    /// Tell what would be put back, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// For programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Path, options: &Options) -> Result<(), Failure> {
    usage(
        options.rename.is_some() && options.mailbox.len() != 1,
        "--as goes with exactly one --mailbox",
    );
    let mailboxes: Vec<MailboxName> = options.mailbox.iter().map(|text| name(text)).collect();
    let rename = options.rename.as_deref().map(name);
    let (disk, sets) = sets(&options.dir)?;
    let chosen = sets.into_iter().rfind(|(_, _, complete)| *complete);
    let Some((set_name, set, _)) = chosen else {
        return Err(Failure(format!(
            "{} has no backup that was finished",
            options.dir.display()
        )));
    };
    let shown = options.dir.join(&set_name);
    let opened = open(config)?;
    must_own(config, "restore")?;
    if let Some(domain) = &options.aliases {
        return aliases(&opened, &disk, &set, &shown, domain, options);
    }
    let account = opened.account(options.user.as_deref().unwrap_or_default())?;
    let user = bring_user(&opened, &disk, &set, &shown, &account, options)?;
    let wanted = restore::Options {
        account: account.clone(),
        mailboxes,
        rename,
        dry_run: options.dry_run,
        now: clock::unix(),
    };
    let bar = Bar::new();
    let (mut problems, mut done): (Vec<Value>, Vec<Restored>) = (Vec::new(), Vec::new());
    let mut tell = |event: Event<'_>| match event {
        Event::Mailbox(mailbox, count) => bar.at(&format!("{mailbox} ({count})")),
        Event::Message => bar.step(1),
        Event::Problem(path, why) => {
            bar.print(|| anstream::eprintln!("rmail: not put back: {path}: {why}"));
            problems.push(json!({"path": path, "error": why}));
        }
        Event::Done(restored) => done.push(restored.clone()),
    };
    let ran = block_on(restore::run(opened.store(), &disk, &set, &wanted, &mut tell));
    bar.end();
    if options.json {
        let error = ran.as_ref().err().map(ToString::to_string);
        println!("{}", report(&shown, &account, user, &done, &problems, error));
    } else {
        println!("from {}", shown.display());
        done.iter().for_each(|restored| print(restored, options.dry_run));
    }
    ran.map_err(|error| Failure(explain(&shown, &error)))?;
    match problems.len() {
        0 => Ok(()),
        count => Err(Failure(format!(
            "{count} message(s) could not be put back, see above; an older backup may have them"
        ))),
    }
}

/// Puts back the aliases of a domain that are not there.
fn aliases(
    opened: &Opened,
    disk: &RealDisk,
    set: &Dir,
    shown: &Path,
    text: &str,
    options: &Options,
) -> Result<(), Failure> {
    let domain = Domain::parse(text).filter(|domain| opened.hosting().hosts(domain));
    let domain = domain.ok_or_else(|| Failure(format!("{text} is not hosted here")))?;
    let octets = block_on(restore::aliases_file(disk, set, &domain))
        .map_err(|error| Failure(format!("{}: {error}", shown.display())))?
        .ok_or_else(|| {
            Failure(format!(
                "{} has no aliases.json of {domain} that is as it was backed up",
                shown.display()
            ))
        })?;
    let kept: AliasFile = serde_json::from_slice(&octets).map_err(|error| {
        Failure(format!(
            "aliases.json of {domain} in {} cannot be read: {error}",
            shown.display()
        ))
    })?;
    let mut back = Vec::new();
    let change = |file: &AliasFile| {
        let whole = file.with_missing(&kept)?;
        let rules = whole.rules().into_iter().map(|rule| rule.key);
        back = rules
            .filter(|key| file.rule(key).is_none())
            .map(|key| key.at(&domain))
            .collect();
        Ok(if options.dry_run { file.clone() } else { whole })
    };
    block_on(opened.accounts().change_aliases(&domain, change)).map_err(super::open::failed)?;
    if options.json {
        println!(
            "{}",
            json!({"backup": shown, "domain": domain.as_str(), "aliases": back})
        );
        return Ok(());
    }
    println!("from {}", shown.display());
    back.iter().for_each(|alias| println!("{alias}"));
    let verb = if options.dry_run {
        "would be put back"
    } else {
        "put back"
    };
    println!(
        "{domain}: {} alias(es) {verb}, {} there already",
        back.len(),
        kept.rules().len() - back.len()
    );
    Ok(())
}

/// A mailbox name from the command line; without one the command makes no sense.
fn name(text: &str) -> MailboxName {
    match MailboxName::new(text) {
        Ok(name) => name,
        Err(error) => super::wrong_usage(format!("{text:?} is no mailbox name: {error}")),
    }
}

/// Sees to it that the user exists. Whether it was made.
fn bring_user(
    opened: &Opened,
    disk: &RealDisk,
    set: &Dir,
    shown: &Path,
    account: &AccountName,
    options: &Options,
) -> Result<bool, Failure> {
    if opened.user(account)?.is_some() {
        return Ok(false);
    }
    if !options.with_user {
        return Err(Failure(format!(
            "there is no user {account}; --with-user makes it again from the backup, `rmail user add {account}` anew"
        )));
    }
    let octets = block_on(restore::user_file(disk, set, account))
        .map_err(|error| Failure(format!("{}: {error}", shown.display())))?;
    let Some(octets) = octets else {
        return Err(Failure(format!(
            "{} has no user.json of {account} that is as it was backed up; `rmail user add {account}` makes the user anew",
            shown.display()
        )));
    };
    let user: User = serde_json::from_slice(&octets).map_err(|error| {
        Failure(format!(
            "user.json of {account} in {} cannot be read: {error}; `rmail user add {account}` makes the user anew",
            shown.display()
        ))
    })?;
    if options.dry_run {
        return Ok(true);
    }
    opened.create_as(account, &user)?;
    if user.password.is_none() {
        anstream::eprintln!(
            "rmail: {account} has no password in this backup; `rmail user passwd {account}` sets one"
        );
    }
    Ok(true)
}

fn explain(shown: &Path, error: &Failed) -> String {
    let next = match error {
        Failed::Broken(_) => "; an older backup may be whole (`rmail backup verify` tells)",
        Failed::NoAccount(_) | Failed::NoMailbox(_) => "; its manifest.jsonl lists what it has",
        Failed::Store(_) => "; what was put back stays, and it can be done again",
    };
    format!("{}: {error}{next}", shown.display())
}

fn print(restored: &Restored, dry_run: bool) {
    let how = match (restored.made, restored.same_uids) {
        (true, true) => ", made again with its UIDs",
        (true, false) => ", made again",
        (false, true) => ", with their UIDs",
        (false, false) => "",
    };
    let verb = if dry_run { "would be put back" } else { "put back" };
    println!(
        "{}: {} message(s) {verb}{how}, {} there already, {} not",
        restored.mailbox, restored.restored, restored.present, restored.problems
    );
}

fn report(
    shown: &Path,
    account: &AccountName,
    user: bool,
    done: &[Restored],
    problems: &[Value],
    error: Option<String>,
) -> Value {
    let mailboxes: Vec<Value> = done
        .iter()
        .map(|restored| {
            json!({
                "mailbox": restored.mailbox.as_str(), "made": restored.made, "same_uids": restored.same_uids,
                "restored": restored.restored, "present": restored.present, "problems": restored.problems,
            })
        })
        .collect();
    json!({
        "backup": shown, "user": account.as_str(), "user_made": user, "mailboxes": mailboxes, "problems": problems,
        "error": error,
    })
}
