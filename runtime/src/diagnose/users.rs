//! Phase 2: the temporary user, as the server sees it.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use futures_lite::future::block_on;
use rmail_core::addr::{AccountName, Address};
use rmail_core::diagnose::{Id, Service};
use rmail_core::directory::UserChange;
use rmail_core::secret::Secret;
use rmail_store::accounts::NewUser;
use rmail_store::mailstore::{DEFAULT_MAILBOXES, MailStore as _};

use super::http_client::{Ask, Response};
use super::imap_client::Imap;
use super::mark::random;
use super::smtp_client::Smtp;
use super::{Checked, Files, Login, Run, Trouble, ensure};
use crate::clock;

/// What its name begins with; by that it is found should it be left.
pub(super) const PREFIX: &str = "diagnose-";
/// MiB that it may have.
const QUOTA_MB: u64 = 20;
/// Rounds of a hash below which guessing is cheap.
const FEW_ROUNDS: u32 = 10_000;

/// Makes it, by the same code as `rmail user add`.
pub(super) fn make(run: &mut Run<'_>) {
    let Some(files) = run.files() else { return };
    run.check(Id::UserCreate, |run| {
        let local = run
            .local()
            .ok_or_else(|| Trouble::skipped("there is no mail_root"))?;
        let domain = local.hosting.domains.first();
        let domain = domain.ok_or_else(|| Trouble::broken("a hosted domain", "domains is empty"))?;
        let name = format!("{PREFIX}{}", run.mark);
        let address = Address::new(&name, domain.clone())
            .ok_or_else(|| Trouble::broken("an address", format!("{name}@{domain}")))?;
        let account = address.canonical();
        let password = random(24);
        let new = NewUser {
            password: Some(Secret::new(password.as_bytes())),
            rounds: files.rounds,
            admin: false,
            quota_mb: QUOTA_MB,
        };
        // From here on there may be something to remove.
        run.temporary = Some(account.clone());
        block_on(files.accounts.create(files.store, &account, &new, clock::unix()))?;
        let address = account.as_str().to_owned();
        run.login = Some(Login { address, password });
        Ok(())
    });
}

pub(super) fn run(run: &mut Run<'_>) {
    let (Some(files), Some(account)) = (run.files(), run.temporary.clone()) else {
        return;
    };
    run.check(Id::UserFile, |run| {
        let path = directory(run, &account)?.join("user.json");
        let found = std::fs::metadata(&path);
        let found =
            found.map_err(|error| Trouble::broken(format!("{} to be there", path.display()), error))?;
        let mode = found.mode() & 0o7777;
        ensure(
            mode & 0o077 == 0,
            "mode 0600",
            format!("{} has mode {mode:04o}", path.display()),
        )
    });
    run.check(Id::UserHash, |run| hash(run, &account));
    run.check(Id::UserMailboxes, |_| mailboxes(files, &account));
    let service = match run.first_of(&[Service::Imaps, Service::Imap, Service::ApiSecure, Service::Api]) {
        Ok(service) => service,
        Err(_) => Service::Submission,
    };
    run.check(Id::UserLogin, |run| {
        let login = run.login()?;
        run.until(|| ensure_login(try_login(run, service, &login)?, true))
    });
    run.check(Id::UserWrongPassword, |run| {
        let login = wrong(run)?;
        ensure_login(try_login(run, service, &login)?, false)
    });
    run.check(Id::UserDisabled, |run| disabled(run, files, &account, service));
    run.check(Id::UserAdmin, |run| admin(run, files, &account));
    run.check(Id::UserQuota, quota);
}

/// Where an account has its files. Its name needs no escapes.
pub(super) fn directory(run: &Run<'_>, account: &AccountName) -> Checked<PathBuf> {
    let local = run
        .local()
        .ok_or_else(|| Trouble::skipped("there is no mail_root"))?;
    let (name, domain) = account.parts();
    Ok(local
        .mail_root
        .join("domains")
        .join(domain)
        .join("users")
        .join(name))
}

fn hash(run: &Run<'_>, account: &AccountName) -> Checked<()> {
    let login = run.login()?;
    let path = directory(run, account)?.join("user.json");
    let text = std::fs::read_to_string(&path).map_err(|error| Trouble::broken("user.json", error))?;
    let scram = text.contains("$scram-sha-256$i=");
    ensure(
        scram && !text.contains(&login.password),
        "$scram-sha-256$ and no password",
        "something else",
    )?;
    let rounds = run.files().map_or(0, |files| files.rounds);
    ensure(
        rounds >= FEW_ROUNDS,
        format!("{FEW_ROUNDS} rounds at least"),
        format!("auth.pbkdf2_rounds is {rounds}"),
    )
}

fn mailboxes(files: Files<'_>, account: &AccountName) -> Checked<()> {
    let found = block_on(files.store.list(account))?;
    for (name, uses) in DEFAULT_MAILBOXES {
        let entry = found
            .iter()
            .find(|entry| entry.name.as_str() == name && entry.selectable);
        let entry = entry.ok_or_else(|| Trouble::broken(format!("the mailbox {name}"), "it is not there"))?;
        let good = uses.iter().all(|wanted| entry.special_use.contains(wanted));
        ensure(
            good,
            format!("{name} with its use"),
            format!("{:?}", entry.special_use),
        )?;
    }
    Ok(())
}

fn wrong(run: &Run<'_>) -> Checked<Login> {
    let login = run.login()?;
    Ok(Login {
        password: format!("not {}", login.password),
        ..login
    })
}

/// The refusal, if it was one.
fn try_login(run: &Run<'_>, service: Service, login: &Login) -> Checked<Result<(), String>> {
    let (good, said) = match service {
        Service::Imap | Service::Imaps => {
            let mut imap = Imap::ready(run, service)?;
            let answer = imap.login(&login.address, &login.password)?;
            imap.logout();
            (answer.status == "OK", answer.shown())
        }
        Service::Api | Service::ApiSecure => {
            let answer = token(run, login)?;
            (answer.status == 200, answer.shown())
        }
        Service::Smtp | Service::Submission | Service::Smtps => {
            let mut smtp = Smtp::ready(run, service)?;
            let reply = smtp.login(&login.address, &login.password)?;
            smtp.quit();
            (reply.code == 235, reply.to_string())
        }
    };
    Ok(if good { Ok(()) } else { Err(said) })
}

fn ensure_login(tried: Result<(), String>, wanted: bool) -> Checked<()> {
    match (tried, wanted) {
        (Ok(()), true) | (Err(_), false) => Ok(()),
        (Err(said), true) => Err(Trouble::broken("a login", said)),
        (Ok(()), false) => Err(Trouble::broken("no login", "it is logged in")),
    }
}

/// POST /auth/login.
pub(super) fn token(run: &Run<'_>, login: &Login) -> Checked<Response> {
    let body = serde_json::json!({"username": login.address, "password": login.password}).to_string();
    let ask = Ask {
        method: "POST",
        path: "/auth/login",
        body: Some(("application/json", &body)),
        ..Ask::default()
    };
    ask.of(run, run.api_service()?)
}

/// A token for who logs in.
pub(super) fn good_token(run: &Run<'_>) -> Checked<String> {
    let answer = token(run, &run.login()?)?.wanted(200, "POST /auth/login")?;
    let token = answer.json()["token"].as_str().map(str::to_owned);
    token.ok_or_else(|| Trouble::broken("a token", "an answer without one"))
}

fn disabled(run: &Run<'_>, files: Files<'_>, account: &AccountName, service: Service) -> Checked<()> {
    let login = run.login()?;
    block_on(files.accounts.set_enabled(account, false))?;
    let refused = run.until(|| ensure_login(try_login(run, service, &login)?, false));
    block_on(files.accounts.set_enabled(account, true))?;
    refused?;
    run.until(|| ensure_login(try_login(run, service, &login)?, true))
}

/// Makes it an administrator, or no longer.
pub(super) fn set_admin(files: Files<'_>, account: &AccountName, admin: bool) -> Checked<()> {
    let change = UserChange {
        admin: Some(admin),
        ..UserChange::default()
    };
    Ok(block_on(files.accounts.update(account, &change, files.rounds))?)
}

fn admin(run: &Run<'_>, files: Files<'_>, account: &AccountName) -> Checked<()> {
    let service = run.api_service()?;
    let users = |wanted: u16| {
        let token = good_token(run)?;
        let ask = Ask {
            method: "GET",
            path: "/users",
            token: Some(&token),
            ..Ask::default()
        };
        let answer = ask.of(run, service)?;
        // Who are users is nothing that a report should tell.
        ensure(
            answer.status == wanted,
            format!("{wanted} to GET /users"),
            answer.status,
        )
    };
    users(403)?;
    set_admin(files, account, true)?;
    let seen = run.until(|| users(200));
    set_admin(files, account, false)?;
    seen?;
    run.until(|| users(403))
}

fn quota(run: &mut Run<'_>) -> Checked<()> {
    let mut imap = Imap::logged_in(run, &run.login()?)?;
    let answer = imap.want("GETQUOTAROOT INBOX")?;
    imap.logout();
    let line = answer.response("QUOTA ").unwrap_or_default();
    let limit = format!(" {})", QUOTA_MB << 10);
    let good =
        line.contains("STORAGE") && (line.contains(&limit) || line.contains(limit.trim_end_matches(')')));
    ensure(good, format!("STORAGE of {} KiB", QUOTA_MB << 10), answer.shown())
}
