//! Phase 8: nothing is left of all this. It runs whatever the others came to.

use std::time::{Duration, Instant, SystemTime};

use futures_lite::future::block_on;
use rmail_core::addr::AccountName;
use rmail_core::diagnose::Id;
use rmail_core::directory::alias::AliasKey;
use rmail_core::limiter::Target;
use rmail_core::relay::view::Found;
use rmail_store::accounts::AccountError;
use rmail_store::orders::{self, Word};
use rmail_store::{board, queue_view};

use super::{Checked, Files, LOOK, Run, Trouble, api, ensure, leavings, transcripts, users};
use crate::{clock, entropy};

/// How long a server may take to do what it was asked for.
const PATIENCE: Duration = Duration::from_secs(10);
/// A user of a diagnosis that is as old has nobody any more.
pub(super) const OLD: Duration = Duration::from_secs(3_600);

pub(super) fn run(run: &mut Run<'_>) {
    if let Some(files) = run.files() {
        if !run.aliases.is_empty() {
            run.check(Id::CleanupAliases, |run| aliases(run, files, &run.aliases));
        }
        if run.unheard || !run.queued.is_empty() {
            run.check(Id::CleanupQueue, |run| queue(run, files));
        }
        if run.locked_out {
            run.check(Id::CleanupLockouts, |run| lockouts(run, files));
        }
        if let Some(account) = run.temporary.clone() {
            run.check(Id::CleanupUser, |run| {
                transcripts::remove(run, files)?;
                user(run, files, &account)
            });
        }
    } else if run.login.is_some() {
        leavings::run(run);
    }
}

/// Removes those of these aliases that are still there.
fn aliases(run: &Run<'_>, files: Files<'_>, aliases: &[String]) -> Checked<()> {
    let local = run
        .local()
        .ok_or_else(|| Trouble::skipped("there is no mail_root"))?;
    for alias in aliases {
        let (domain, key) =
            AliasKey::parse(alias, &local.hosting).map_err(|error| Trouble::broken("an alias", error))?;
        let there = |files: Files<'_>| -> Checked<bool> {
            let file = block_on(files.accounts.aliases(&domain))?;
            Ok(file.is_some_and(|file| file.rule(&key).is_some()))
        };
        if there(files)? {
            block_on(files.accounts.change_aliases(&domain, |file| file.without(&key)))?;
        }
        ensure(!there(files)?, "no such alias", alias)?;
    }
    Ok(())
}

/// Takes what waits out of the queue.
fn queue(run: &Run<'_>, files: Files<'_>) -> Checked<()> {
    if !run.unheard {
        return take_out(files, |id| run.queued.iter().any(|one| one == id), |_| true);
    }
    // Nobody said under which id: all that wait are looked at for the sender.
    let account = run.temporary.as_ref();
    take_out(
        files,
        |_| true,
        |found| account.is_some_and(|account| is_of(found, account)),
    )
}

/// An entry that this account has put into the queue.
fn is_of(found: &Found, account: &AccountName) -> bool {
    let entry = &found.entry;
    entry.account.as_deref() == Some(account.as_str()) || entry.sender == account.as_str()
}

/// Takes entries out of the queue: of those with ids to `read`, the ones that are `ours`. Their sender wanted to hear nothing
/// of it.
fn take_out(files: Files<'_>, read: impl Fn(&str) -> bool, ours: impl Fn(&Found) -> bool) -> Checked<()> {
    let disk = &**files.accounts.disk();
    let found = || -> Checked<Vec<Found>> {
        let mut found = block_on(queue_view::snapshot(files.store, disk, &read))?.found;
        found.retain(&ours);
        Ok(found)
    };
    for one in found()? {
        let number = entropy::random().next_u64();
        let ids = [one.entry.id.clone()];
        block_on(orders::place(
            disk,
            &one.home,
            Word::Fail,
            &ids,
            clock::unix(),
            number,
        ))
        .map_err(|error| Trouble::broken("a request to the server", error))?;
    }
    let late = Instant::now() + PATIENCE;
    loop {
        let left = found()?.len();
        if left == 0 {
            return Ok(());
        }
        if Instant::now() >= late {
            return Err(Trouble::broken(
                "an empty place in the queue",
                format!("{left} entries after {} seconds", PATIENCE.as_secs()),
            ));
        }
        std::thread::sleep(LOOK);
    }
}

/// Lets the temporary user go, and waits until every server has heard it.
fn lockouts(run: &Run<'_>, files: Files<'_>) -> Checked<()> {
    let Some(account) = &run.temporary else {
        return Ok(());
    };
    let disk = &**files.accounts.disk();
    let target = Target::Account(account.as_str().to_owned());
    let failed = |error: std::io::Error| Trouble::broken("a request to the server", error);
    block_on(board::ask(disk, &target, clock::unix())).map_err(failed)?;
    let late = Instant::now() + PATIENCE;
    loop {
        let told = block_on(board::told(disk)).map_err(failed)?;
        let held = told
            .iter()
            .flat_map(|(_, told)| &told.held)
            .any(|one| one.is_of(&target));
        if !held {
            return Ok(());
        }
        if Instant::now() >= late {
            return Err(Trouble::broken(
                "nobody locked out",
                format!("{account} after {} seconds", PATIENCE.as_secs()),
            ));
        }
        std::thread::sleep(LOOK);
    }
}

pub(super) fn user(run: &Run<'_>, files: Files<'_>, account: &AccountName) -> Checked<()> {
    match block_on(files.accounts.delete(files.store, account)) {
        Ok(()) | Err(AccountError::NoSuchUser) => {}
        Err(error) => return Err(error.into()),
    }
    let found = block_on(files.accounts.find(account))?;
    ensure(found.is_none(), "no such user", account)?;
    let left = users::directory(run, account)?.join("mailboxes");
    ensure(!left.exists(), "none of its mail", left.display())
}

/// Users whom an earlier diagnosis has left because it was killed, with what they have in the queue and their aliases.
pub(super) fn leftovers(run: &mut Run<'_>) {
    let (Some(files), Some(local)) = (run.files(), run.local()) else {
        return;
    };
    run.check(Id::CleanupLeftovers, |run| {
        let mut left = Vec::new();
        for domain in &local.hosting.domains {
            let accounts = block_on(files.accounts.list(domain))?;
            left.extend(accounts.into_iter().filter(|account| is_left(run, account)));
        }
        if left.is_empty() {
            return Ok(());
        }
        // The users last: by them all else is found.
        let theirs = |found: &Found| left.iter().any(|account| is_of(found, account));
        take_out(files, |_| true, theirs)?;
        let mut removed = Vec::new();
        for account in left {
            let (name, domain) = account.parts();
            let mark = name.strip_prefix(users::PREFIX).unwrap_or(name);
            aliases(run, files, &[format!("{}{mark}@{domain}", api::ALIAS_PREFIX)])?;
            block_on(files.accounts.delete(files.store, &account))?;
            removed.push(account.to_string());
        }
        Err(Trouble::chosen(format!(
            "removed what was left of an earlier one: {}",
            removed.join(", ")
        )))
    });
}

/// It has a name of ours, and its file is old.
fn is_left(run: &Run<'_>, account: &AccountName) -> bool {
    let ours = account
        .parts()
        .0
        .strip_prefix(users::PREFIX)
        .is_some_and(|rest| rest.len() == 12);
    let made = || {
        let path = users::directory(run, account).ok()?.join("user.json");
        std::fs::metadata(path).ok()?.modified().ok()
    };
    let age = |made: SystemTime| SystemTime::now().duration_since(made).unwrap_or_default();
    ours && made().is_some_and(|made| age(made) > OLD)
}
