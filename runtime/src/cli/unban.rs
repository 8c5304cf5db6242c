//! `rmail unban`: lets go whom limits hold back, in every server that runs on the mail_root.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_lite::future::block_on;
use rmail_core::directory::Hosting;
use rmail_core::limiter::{Shown, Target};
use rmail_core::time::Unix;
use rmail_store::board::{self, Listed, Mark, Told};
use serde_json::json;

use super::Failure;
use super::load::load_or_fail;
use crate::clock;
use crate::disk::RealDisk;

/// How long a server may take to hear of it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Options of `unban`.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// An address (of IPv6 its /64 counts), or an account; without one: everybody.
    #[arg(value_name = "ADDRESS|ACCOUNT", conflicts_with = "list")]
    target: Option<String>,
    /// Only show who is held back.
    #[arg(long)]
    list: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Path, options: &Options) -> Result<(), Failure> {
    let loaded = load_or_fail(config)?;
    let root = loaded.path(&loaded.config.mail_root);
    if !root.is_dir() {
        return Err(Failure(format!("there is no mail_root {}", root.display())));
    }
    let failed = |error: std::io::Error| Failure(format!("{}: {error}", root.join("limits").display()));
    let disk = RealDisk::open(&root).map_err(failed)?;
    let hosting = super::serve::hosting(&loaded.config)?;
    let target = match &options.target {
        Some(text) => target(text, &hosting)?,
        None => Target::All,
    };
    let told = block_on(board::told(&disk)).map_err(failed)?;
    let held = held(&told, &target, clock::unix());
    if options.list {
        show(&held, options.json);
        return Ok(());
    }
    let mark = block_on(board::ask(&disk, &target, clock::unix())).map_err(failed)?;
    let waiting = || {
        let told = block_on(board::told(&disk)).map_err(failed)?;
        Ok::<_, Failure>(mark.is_some_and(|mark| have_not_heard(&told, &target, mark)))
    };
    let late = Instant::now() + PATIENCE;
    while waiting()? {
        if Instant::now() >= late {
            return Err(Failure(
                "a server that holds somebody back has not answered yet; look again with `rmail unban --list`".into(),
            ));
        }
        std::thread::sleep(LOOK);
    }
    if options.json {
        println!("{}", json!({ "lifted": held }));
    } else if held.is_empty() {
        println!("Nobody was held back; what was counted so far is forgotten.");
    } else {
        held.iter().for_each(|one| println!("Lifted: {}", line(one)));
    }
    Ok(())
}

fn target(text: &str, hosting: &Hosting) -> Result<Target, Failure> {
    match Target::parse(text) {
        Some(Target::Account(name)) => Ok(Target::Account(
            hosting
                .login(text)
                .map_or(name, |account| account.as_str().to_owned()),
        )),
        Some(target) => Ok(target),
        None => Err(Failure(format!(
            "{text:?} is neither an address nor an account; addresses are counted one by one, of IPv6 each /64"
        ))),
    }
}

/// Who is held back now by any of the servers, each once.
fn held(told: &[(String, Told)], target: &Target, now: Unix) -> Vec<Listed> {
    let mut all = BTreeMap::new();
    let listed = told.iter().flat_map(|(_, told)| &told.held);
    for one in listed.filter(|one| one.until > now.secs() && one.is_of(target)) {
        let key = (one.limit.clone(), one.account.clone(), one.address);
        let until = all.entry(key).or_insert(one.until);
        *until = one.until.max(*until);
    }
    all.into_iter()
        .map(|((limit, account, address), until)| Listed {
            limit,
            account,
            address,
            until,
        })
        .collect()
}

/// Whether a server that holds one of them back has yet to read the request.
fn have_not_heard(told: &[(String, Told)], target: &Target, mark: Mark) -> bool {
    told.iter()
        .any(|(_, told)| !told.read.is_past(mark) && told.held.iter().any(|one| one.is_of(target)))
}

fn show(held: &[Listed], as_json: bool) {
    if as_json {
        println!("{}", json!(held));
    } else if held.is_empty() {
        println!("Nobody is held back.");
    } else {
        held.iter().for_each(|one| println!("{}", line(one)));
    }
}

fn line(one: &Listed) -> String {
    let who = [
        one.account.as_ref().map(|name| name.escape_debug().to_string()),
        one.address.map(|address| format!("from {}", Shown(address))),
    ];
    let who = who.into_iter().flatten().collect::<Vec<_>>().join(" ");
    let wait = one.until.saturating_sub(clock::unix().secs());
    format!("{who}: {}, for {wait} s", one.limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(limit: &str, account: Option<&str>, address: Option<&str>, until: u64) -> Listed {
        Listed {
            limit: limit.to_owned(),
            account: account.map(str::to_owned),
            address: address.map(|address| address.parse().expect("address")),
            until,
        }
    }

    #[test]
    fn what_several_servers_tell_is_one_list() {
        let ann = |until| listed("failed logins", Some("ann@x.y"), Some("192.0.2.1"), until);
        let over = listed("messages a minute", None, Some("192.0.2.2"), 99);
        let told = [
            vec![ann(200), over],
            vec![ann(300), listed("recipients a day", Some("bob@x.y"), None, 400)],
        ]
        .map(|held| {
            let told = Told {
                held,
                ..Told::default()
            };
            (String::new(), told)
        });
        let of = |text| held(&told, &Target::parse(text).expect("target"), Unix::from_secs(100));
        assert_eq!(of("*").len(), 2);
        assert_eq!(of("192.0.2.1"), [ann(300)]);
        assert_eq!(of("bob@x.y").len(), 1);
        assert!(of("192.0.2.2").is_empty(), "its time is over");
    }
}
