//! `rmail user app-password …`: further passwords of a user, each for one program or device.

use anstream::println;
use futures_lite::future::block_on;
use rmail_core::addr::AccountName;
use rmail_core::directory::{Access, AppPassword, Moment, make_password};
use rmail_core::random::Random;
use rmail_core::text::rfc3339;
use rmail_core::time::Unix;
use rmail_store::accounts::{AccountError, NewAppPassword};
use serde_json::json;

use super::open::Opened;
use super::{Failure, password};
use crate::{clock, entropy};

const DAY: u64 = 86_400;

/// What to do with the application passwords of a user.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Give a user a password for one program or device; it is made here and shown once.
    Add(Add),
    /// List them: name, scope, end, last use.
    List {
        /// NAME@DOMAIN, or NAME when one domain is hosted.
        user: String,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Take one away; the sessions that it opened end.
    Remove {
        /// NAME@DOMAIN, or NAME when one domain is hosted.
        user: String,
        /// Its name.
        name: String,
    },
}

/// Options of `add`.
#[derive(Debug, clap::Args)]
pub(super) struct Add {
    /// NAME@DOMAIN, or NAME when one domain is hosted.
    user: String,
    /// What it is for, such as "phone".
    name: String,
    /// What it opens.
    #[arg(long, value_name = "smtp,imap,api", value_delimiter = ',', value_parser = access,
          default_values = ["smtp", "imap", "api"])]
    scope: Vec<Access>,
    /// Its last day is the one before this, or its last moment.
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = moment)]
    expires: Option<Unix>,
    /// How many days it is good for.
    #[arg(long, value_name = "N", conflicts_with = "expires", value_parser = clap::value_parser!(u64).range(1..=36_500))]
    days: Option<u64>,
    /// Read the password from standard input instead of making one.
    #[arg(long)]
    password_stdin: bool,
    /// For programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(opened: &Opened, command: Command) -> Result<(), Failure> {
    match command {
        Command::Add(add) => make(opened, add),
        Command::List { user, json } => list(opened, &opened.existing(&user)?, json),
        Command::Remove { user, name } => {
            let account = opened.existing(&user)?;
            block_on(opened.accounts().remove_app_password(&account, &name))
                .map_err(|error| failed(error, &account, &name))?;
            println!("Removed the application password {name:?} of {account}.");
            Ok(())
        }
    }
}

fn make(opened: &Opened, add: Add) -> Result<(), Failure> {
    let account = opened.existing(&add.user)?;
    let now = clock::unix();
    let made = if add.password_stdin {
        None
    } else {
        Some(make_password(&mut Random::from_seed(entropy::seed())))
    };
    let secret = match &made {
        Some(made) => made.clone(),
        None => password::read(true)?,
    };
    let expires = add
        .days
        .map_or(add.expires, |days| Some(Unix::from_secs(now.secs() + days * DAY)));
    if expires.is_some_and(|end| end <= now) {
        return Err(Failure(
            "it would have expired already; nothing was changed".into(),
        ));
    }
    let mut scope = add.scope;
    scope.sort();
    scope.dedup();
    let new = NewAppPassword {
        name: add.name,
        password: secret,
        scope,
        expires,
        rounds: opened.rounds(),
    };
    block_on(opened.accounts().add_app_password(&account, &new, now))
        .map_err(|error| failed(error, &account, &new.name))?;
    let shown = made.map(|made| String::from_utf8_lossy(made.expose()).into_owned());
    if add.json {
        println!(
            "{}",
            json!({
                "user": account.as_str(), "name": new.name, "scope": new.scope, "password": shown,
                "expires": expires.map(rfc3339::print),
            })
        );
        return Ok(());
    }
    println!("Added the application password {:?} of {account}.", new.name);
    if let Some(shown) = shown {
        println!("It is shown only now: {shown}");
    }
    Ok(())
}

fn list(opened: &Opened, account: &AccountName, json: bool) -> Result<(), Failure> {
    let user = opened.user(account)?;
    let apps: &[AppPassword] = user.as_ref().map_or(&[], |user| &user.app_passwords);
    if json {
        let list: Vec<_> = apps
            .iter()
            .map(|app| {
                json!({
                    "name": app.name, "scope": app.scope, "created": app.created, "expires": app.expires,
                    "last_used": app.last_used,
                })
            })
            .collect();
        println!("{}", json!(list));
        return Ok(());
    }
    if apps.is_empty() {
        println!("{account} has no application passwords.");
    }
    let now = clock::unix();
    let width = apps.iter().map(|app| app.name.chars().count()).max().unwrap_or(0);
    for app in apps {
        let scope: Vec<&str> = app.scope.iter().map(|access| access.name()).collect();
        let end = match app.expires {
            None => "never expires".to_owned(),
            Some(Moment(end)) if app.has_expired(now) => format!("EXPIRED {}", rfc3339::print(end)),
            Some(Moment(end)) => format!("expires {}", rfc3339::print(end)),
        };
        let used = app.last_used.map_or_else(
            || "not used yet".to_owned(),
            |Moment(last)| format!("last used {}", rfc3339::print(last)),
        );
        println!("{:<width$}  {}  {end}  {used}", app.name, scope.join(","));
    }
    Ok(())
}

fn access(text: &str) -> Result<Access, String> {
    Access::parse(text).ok_or_else(|| "expected smtp, imap or api".to_owned())
}

fn moment(text: &str) -> Result<Unix, String> {
    rfc3339::parse(text)
        .ok_or_else(|| "expected a day such as 2027-01-31, or 2027-01-31T12:00:00Z".to_owned())
}

fn failed(error: AccountError, account: &AccountName, name: &str) -> Failure {
    match error {
        AccountError::AlreadyExists => Failure(format!(
            "{account} has an application password {name:?} already; `rmail user app-password remove` takes it away"
        )),
        AccountError::NoSuchAppPassword => Failure(format!(
            "{account} has no application password {name:?}; `rmail user app-password list {account}` shows all"
        )),
        AccountError::BadName => Failure("the name of an application password has 1 to 64 characters".into()),
        error => super::open::failed(error),
    }
}
