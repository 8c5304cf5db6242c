//! `rmail user …`: users are files, so every change works beside a running server, which sees it at its next look.

use std::path::Path;

use anstream::println;
use rmail_core::addr::{AccountName, Address};
use rmail_core::directory::{User, UserChange};
use serde_json::json;

use super::open::{Opened, open};
use super::{Failure, app_password, password};

/// What to do with users.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Add a user; asks for the password.
    Add {
        /// NAME@DOMAIN, or NAME when one domain is hosted.
        user: String,
        /// Read the password from standard input.
        #[arg(long)]
        password_stdin: bool,
        /// May administer.
        #[arg(long)]
        admin: bool,
        /// MiB of mail; 0: unlimited.
        #[arg(long, value_name = "N", default_value_t = User::DEFAULT_QUOTA_MB)]
        quota_mb: u64,
    },
    /// List users.
    List {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Change a password; the user's open sessions end.
    Passwd {
        /// NAME@DOMAIN, or NAME when one domain is hosted.
        user: String,
        /// Read the password from standard input.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Change what a user may do.
    Set(Set),
    /// Disable a user: no login, no new mail; its mail stays.
    Disable {
        /// NAME@DOMAIN, or NAME when one domain is hosted.
        user: String,
    },
    /// Enable a user again.
    Enable {
        /// NAME@DOMAIN, or NAME when one domain is hosted.
        user: String,
    },
    /// Delete a user and all of its mail.
    Delete {
        /// NAME@DOMAIN, or NAME when one domain is hosted.
        user: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Add, list and remove passwords for single programs and devices.
    #[command(subcommand)]
    AppPassword(app_password::Command),
}

/// Options of `user set`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("change").required(true).multiple(true)))]
pub(super) struct Set {
    /// NAME@DOMAIN, or NAME when one domain is hosted.
    user: String,
    /// May administer, or no longer.
    #[arg(long, group = "change", value_name = "true|false")]
    admin: Option<bool>,
    /// MiB of mail; 0: unlimited.
    #[arg(long, group = "change", value_name = "N")]
    quota_mb: Option<u64>,
    /// Addresses that the user may send as beside its own; replaces the list; an empty text empties it.
    #[arg(long, group = "change", value_name = "ADDRESS", value_delimiter = ',')]
    send_as: Option<Vec<String>>,
    /// The highest priority (MT-PRIORITY) that its mail may have: 0 to 9.
    #[arg(long, group = "change", value_name = "0-9", value_parser = clap::value_parser!(i8).range(0..=9))]
    max_priority: Option<i8>,
}

pub(super) fn run(config: &Path, command: Command) -> Result<(), Failure> {
    let opened = open(config)?;
    match command {
        Command::Add {
            user,
            password_stdin,
            admin,
            quota_mb,
        } => {
            let account = opened.account(&user)?;
            if opened.user(&account)?.is_some() {
                return Err(Failure(format!(
                    "{account} exists already; `rmail user passwd` changes its password"
                )));
            }
            let password = password::read(password_stdin)?;
            opened.create(&account, password, admin, quota_mb)?;
            println!("Added {account}.");
            if !account.parts().0.is_ascii() {
                anstream::eprintln!(
                    "rmail: {account} gets mail only from servers that know SMTPUTF8; an alias with a name in ASCII helps the others"
                );
            }
        }
        Command::List { json } => list(&opened, json)?,
        Command::Passwd { user, password_stdin } => {
            let account = opened.existing(&user)?;
            let password = password::read(password_stdin)?;
            opened.set_password(&account, &password)?;
            println!("Changed the password of {account}.");
            let apps = opened.user(&account)?.map_or(0, |user| user.app_passwords.len());
            if apps > 0 {
                println!(
                    "Its {apps} application passwords stay good; `rmail user app-password list {account}` shows them."
                );
            }
        }
        Command::Set(set) => change(&opened, &set)?,
        Command::Disable { user } => enable(&opened, &user, false)?,
        Command::Enable { user } => enable(&opened, &user, true)?,
        Command::Delete { user, yes } => {
            let account = opened.existing(&user)?;
            if !yes && !confirmed(&opened, &account)? {
                return Err(Failure("nothing was deleted".into()));
            }
            opened.delete(&account)?;
            println!("Deleted {account} and its mail.");
        }
        Command::AppPassword(command) => app_password::run(&opened, command)?,
    }
    Ok(())
}

fn list(opened: &Opened, json: bool) -> Result<(), Failure> {
    let users = opened.users()?;
    if json {
        let list: Vec<_> = users
            .iter()
            .map(|(account, user)| match user {
                Ok(user) => json!({
                    "user": account.as_str(), "enabled": user.enabled, "admin": user.admin, "quota_mb": user.quota_mb,
                    "send_as": user.send_as, "max_priority": user.max_priority,
                    "app_passwords": user.app_passwords.iter().map(|app| &app.name).collect::<Vec<_>>(),
                }),
                Err(reason) => json!({ "user": account.as_str(), "error": reason }),
            })
            .collect();
        println!("{}", json!(list));
        return Ok(());
    }
    if users.is_empty() {
        println!("There are no users yet; `rmail user add NAME@DOMAIN --admin` makes the first.");
    }
    let width = users
        .iter()
        .map(|(account, _)| account.as_str().len())
        .max()
        .unwrap_or(0);
    for (account, user) in users {
        match user {
            Ok(user) => {
                let quota = if user.quota_mb == 0 {
                    "unlimited".into()
                } else {
                    format!("{} MiB", user.quota_mb)
                };
                let state = if user.enabled { "enabled" } else { "disabled" };
                let admin = if user.admin { "  admin" } else { "" };
                println!("{account:<width$}  {state:<8}  {quota}{admin}");
            }
            Err(reason) => println!("{account:<width$}  broken: {reason}"),
        }
    }
    Ok(())
}

fn change(opened: &Opened, set: &Set) -> Result<(), Failure> {
    let account = opened.existing(&set.user)?;
    let send_as = set.send_as.as_ref().map(|list| {
        let parse =
            |text: &String| Address::parse(text).ok_or_else(|| Failure(format!("{text} is no address")));
        list.iter()
            .filter(|text| !text.is_empty())
            .map(parse)
            .collect::<Result<Vec<_>, _>>()
    });
    let send_as = send_as.transpose()?;
    let change = UserChange {
        admin: set.admin,
        quota_mb: set.quota_mb,
        send_as,
        max_priority: set.max_priority.map(Some),
        ..UserChange::default()
    };
    opened.update(&account, &change)?;
    println!("Changed {account}.");
    Ok(())
}

fn enable(opened: &Opened, text: &str, on: bool) -> Result<(), Failure> {
    let account = opened.existing(text)?;
    opened.set_enabled(&account, on)?;
    println!("{} {account}.", if on { "Enabled" } else { "Disabled" });
    Ok(())
}

fn confirmed(opened: &Opened, account: &AccountName) -> Result<bool, Failure> {
    use std::io::{BufRead as _, IsTerminal as _};
    if !std::io::stdin().is_terminal() {
        return Err(Failure(
            "there is no terminal to ask whether you are sure; use --yes".into(),
        ));
    }
    anstream::print!("Delete {account} and all of its mail for good? Type its address: ");
    std::io::Write::flush(&mut std::io::stdout()).map_err(Failure::new)?;
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(Failure::new)?;
    // As it may be written elsewhere too: in any case, the domain as U-label.
    Ok(opened.account(line.trim()).is_ok_and(|typed| typed == *account))
}
