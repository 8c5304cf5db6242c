//! Phase 8: nothing is left of all this. It runs whatever the others came to.

use std::time::{Duration, Instant, SystemTime};

use futures_lite::future::block_on;
use rmail_core::addr::AccountName;
use rmail_core::diagnose::Id;
use rmail_core::directory::alias::AliasKey;
use rmail_core::limiter::Target;
use rmail_store::accounts::AccountError;
use rmail_store::orders::{self, Word};
use rmail_store::{board, queue_view};

use super::imap_client::Imap;
use super::{Checked, Files, LOOK, Run, Trouble, ensure, transcripts, users};
use crate::{clock, entropy};

/// How long a server may take to do what it was asked for.
const PATIENCE: Duration = Duration::from_secs(10);
/// A user of a diagnosis that is as old has nobody any more.
const OLD: Duration = Duration::from_secs(3_600);

pub(super) fn run(run: &mut Run<'_>) {
    if let Some(files) = run.files() {
        if !run.aliases.is_empty() {
            run.check(Id::CleanupAliases, |run| aliases(run, files));
        }
        if !run.queued.is_empty() {
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
    } else if run.login.is_some() && !run.letters.is_empty() {
        run.check(Id::CleanupMessages, messages);
    }
}

/// Removes the aliases that are still there.
fn aliases(run: &Run<'_>, files: Files<'_>) -> Checked<()> {
    let local = run
        .local()
        .ok_or_else(|| Trouble::skipped("there is no mail_root"))?;
    for alias in &run.aliases {
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

/// Takes what waits out of the queue. Its sender wanted to hear nothing of it.
fn queue(run: &Run<'_>, files: Files<'_>) -> Checked<()> {
    let disk = &**files.accounts.disk();
    let found = || {
        block_on(queue_view::snapshot(files.store, disk, |id| {
            run.queued.iter().any(|one| one == id)
        }))
    };
    for one in found()?.found {
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
        let left = found()?.found.len();
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

/// Removes what we have sent to an account that stays.
fn messages(run: &mut Run<'_>) -> Checked<()> {
    let mut imap = Imap::logged_in(run, &run.login()?)?;
    imap.want("SELECT INBOX")?;
    let ours = imap
        .want(&format!("UID SEARCH SUBJECT \"{}\"", run.mark))?
        .found();
    if !ours.is_empty() {
        let set: Vec<String> = ours.iter().map(u32::to_string).collect();
        let set = set.join(",");
        imap.want(&format!("UID STORE {set} +FLAGS.SILENT (\\Deleted)"))?;
        // Others may be marked by their owner, to be removed later: these stay (RFC 4315).
        if imap.want(&format!("UID EXPUNGE {set}")).is_err() {
            let marked = imap.want("UID SEARCH DELETED")?.found();
            ensure(
                marked == ours,
                "UID EXPUNGE, or no others that are marked as deleted",
                "others: ours are left, marked as deleted",
            )?;
            imap.want("EXPUNGE")?;
        }
    }
    let left = imap.want(&format!("SEARCH SUBJECT \"{}\"", run.mark))?.found();
    imap.logout();
    ensure(
        left.is_empty(),
        "none of them",
        format!("{} messages", left.len()),
    )
}

/// Users whom an earlier diagnosis has left because it was killed.
pub(super) fn leftovers(run: &mut Run<'_>) {
    let (Some(files), Some(local)) = (run.files(), run.local()) else {
        return;
    };
    run.check(Id::CleanupLeftovers, |run| {
        let mut removed = Vec::new();
        for domain in &local.hosting.domains {
            for account in block_on(files.accounts.list(domain))? {
                if is_left(run, &account) {
                    block_on(files.accounts.delete(files.store, &account))?;
                    removed.push(account.to_string());
                }
            }
        }
        if removed.is_empty() {
            return Ok(());
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
