//! `rmail alias …`: aliases are files, so every change works beside running servers, which see it at the next address that
//! they look up.

use std::path::Path;

use anstream::println;
use futures_lite::future::block_on;
use rmail_core::addr::{Address, Domain, ForwardPath};
use rmail_core::directory::alias::{
    AliasFile, AliasKey, BadAlias, Expanded, MAX_ADDRESSES, Rule, Told, target_address,
};
use serde_json::{Value, json};

use super::Failure;
use super::load::load_or_fail;
use super::open::{Opened, failed, open, told};

/// What to do with aliases.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Add an alias, or further targets to one.
    Add(Add),
    /// List aliases in the order in which they are tried.
    List {
        /// Only of this domain.
        domain: Option<String>,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Remove an alias, or some of its targets.
    Remove {
        /// NAME@DOMAIN, /EXPRESSION/@DOMAIN, or *@DOMAIN; without @DOMAIN when one domain is hosted.
        alias: String,
        /// Only these of its targets.
        target: Vec<String>,
    },
    /// Tell where mail for an address goes, and by which way; exit code 1 if it is refused.
    Test {
        /// NAME@DOMAIN, or NAME when one domain is hosted.
        address: String,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
}

/// Options of `alias add`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exact names come first, then expressions in their order, then `*`. Users come before expressions and `*`; an exact alias \
comes before a user of the same name, and may have that user among its targets. An expression has to match the whole \
local part, without case.\n\n\
Examples:\n  rmail alias add sales@example.com alice bob@example.com ann@elsewhere.org\n  \
rmail alias add '/support-(\\d+)/@example.com' 'help+$1'\n  \
rmail alias add '*@example.com' alice")]
pub(super) struct Add {
    /// NAME@DOMAIN, /EXPRESSION/@DOMAIN, or *@DOMAIN for all that is left; without @DOMAIN when one domain is hosted.
    alias: String,
    /// Who gets the mail: an address, or NAME in the same domain; for an expression $1 or ${name} stand for its groups.
    #[arg(required = true)]
    target: Vec<String>,
    /// These targets in place of those that the alias has.
    #[arg(long)]
    replace: bool,
    /// What it is for.
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// For an expression: its place among them, 1 for the first.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    position: Option<u16>,
}

pub(super) fn run(config: &Path, command: Command) -> Result<(), Failure> {
    let opened = open(config)?;
    match command {
        Command::Add(options) => add(&opened, &options),
        Command::List { domain, json } => list(&opened, domain.as_deref(), json),
        Command::Remove { alias, target } => remove(&opened, &alias, &target),
        Command::Test { address, json } => {
            let relay = load_or_fail(config)?.config.relay.enabled;
            test(&opened, &address, relay, json)
        }
    }
}

fn add(opened: &Opened, options: &Add) -> Result<(), Failure> {
    let (domain, key) = key(opened, &options.alias)?;
    if options.position.is_some() && !matches!(key, AliasKey::Pattern(_)) {
        super::wrong_usage("--position goes with an /EXPRESSION/");
    }
    let place = options.position.map(|position| usize::from(position) - 1);
    let change = |file: &AliasFile| {
        if options.replace {
            let old = file.rule(&key).and_then(|rule| rule.comment);
            let rule = Rule {
                key: key.clone(),
                targets: options.target.clone(),
                comment: options.comment.clone().or(old),
            };
            return file.with(&rule, place);
        }
        file.with_targets(&key, &options.target, options.comment.clone(), place, &domain)
    };
    change_aliases(opened, &domain, change)?;
    let file = read(opened, &domain)?;
    let rule = file
        .rule(&key)
        .map(|rule| rule.targets.join(", "))
        .unwrap_or_default();
    println!("{} → {rule}", key.at(&domain));
    for target in &options.target {
        if let Some(reason) = dead_target(opened, &domain, &key, target) {
            anstream::eprintln!("rmail: {reason}");
        }
    }
    Ok(())
}

fn remove(opened: &Opened, alias: &str, targets: &[String]) -> Result<(), Failure> {
    let (domain, key) = key(opened, alias)?;
    change_aliases(opened, &domain, |file| match targets {
        [] => file.without(&key),
        _ => file.without_targets(&key, targets, &domain),
    })?;
    match read(opened, &domain)?.rule(&key) {
        Some(rule) => println!("{} → {}", key.at(&domain), rule.targets.join(", ")),
        None => println!("Removed {}.", key.at(&domain)),
    }
    Ok(())
}

fn list(opened: &Opened, domain: Option<&str>, json: bool) -> Result<(), Failure> {
    let wanted = domain.map(|text| match Domain::parse(text) {
        Some(domain) if opened.hosting().hosts(&domain) => Ok(domain),
        _ => Err(Failure(format!("{text} is not hosted here"))),
    });
    let wanted = wanted.transpose()?;
    let mut rules = Vec::new();
    for domain in &opened.hosting().domains {
        if wanted.as_ref().is_none_or(|wanted| wanted == domain) {
            let found = read(opened, domain)?.rules();
            rules.extend(found.into_iter().map(|rule| (domain, rule)));
        }
    }
    if json {
        let rules: Vec<Value> = rules
            .iter()
            .map(|(domain, rule)| {
                json!({
                    "alias": rule.key.at(domain), "domain": domain.as_str(), "kind": rule.key.kind(),
                    "targets": rule.targets, "comment": rule.comment,
                })
            })
            .collect();
        println!("{}", json!(rules));
        return Ok(());
    }
    if rules.is_empty() {
        println!("There are no aliases; `rmail alias add NAME@DOMAIN TARGET` makes one.");
    }
    let shown: Vec<(String, &Rule)> = rules
        .iter()
        .map(|(domain, rule)| (rule.key.at(domain), rule))
        .collect();
    let width = shown
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    for (name, rule) in shown {
        let comment = rule
            .comment
            .as_ref()
            .map(|text| format!("  # {text}"))
            .unwrap_or_default();
        println!("{name:<width$}  → {}{comment}", rule.targets.join(", "));
    }
    Ok(())
}

fn test(opened: &Opened, text: &str, relay: bool, json: bool) -> Result<(), Failure> {
    let path = path(opened, text)?;
    let expanded =
        block_on(opened.accounts().expand(opened.hosting(), &path)).map_err(|error| Failure(told(&error)))?;
    let told = Told::of(&expanded, relay);
    if json {
        println!("{}", json!(told));
    } else {
        print(&expanded, relay);
        if let Some(owner) = &told.may_send_as_it {
            println!("{owner} may send as {text}.");
        }
    }
    match told.reply {
        None => Ok(()),
        Some(reply) => Err(Failure(format!("mail for {text} is refused: {reply}"))),
    }
}

/// Every address below the one that it comes from. (Addresses stand in the list before what they lead to, but targets of
/// one alias together.)
fn print(expanded: &Expanded, relay: bool) {
    let mut open: Vec<usize> = vec![0];
    while let Some(at) = open.pop() {
        let Some(node) = expanded.nodes.get(at) else {
            continue;
        };
        println!(
            "{:indent$}{}: {}",
            "",
            node.text(),
            node.words(relay),
            indent = 2 * node.depth
        );
        let children = (0..expanded.nodes.len()).rev();
        open.extend(children.filter(|child| {
            expanded
                .nodes
                .get(*child)
                .is_some_and(|node| node.parent == Some(at))
        }));
    }
    if expanded.too_many {
        println!("… there are more than {MAX_ADDRESSES} addresses");
    }
}

/// Targets of aliases whose mail nobody gets, and files that cannot be read: the path of the file, and why. At most
/// `max`.
pub(super) fn dead(opened: &Opened, max: usize) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for domain in &opened.hosting().domains {
        let path = format!("domains/{domain}/aliases.json");
        let file = match read(opened, domain) {
            Ok(file) => file,
            Err(Failure(reason)) => {
                found.push((path, reason));
                continue;
            }
        };
        for rule in file.rules() {
            for target in &rule.targets {
                if found.len() >= max {
                    return found;
                }
                let reason = dead_target(opened, domain, &rule.key, target);
                found.extend(reason.map(|reason| (path.clone(), reason)));
            }
        }
    }
    found
}

/// Why nobody gets what goes to a target; nothing is said of those that depend on what is captured.
fn dead_target(opened: &Opened, domain: &Domain, key: &AliasKey, target: &str) -> Option<String> {
    if matches!(key, AliasKey::Pattern(_)) && target.contains('$') {
        return None;
    }
    let path = ForwardPath::Address(target_address(target, domain)?);
    let expanded = match block_on(opened.accounts().expand(opened.hosting(), &path)) {
        Ok(expanded) => expanded,
        Err(error) => return Some(told(&error)),
    };
    expanded.leaves().err()?;
    let why = expanded.failures().next().map_or_else(
        || format!("more than {MAX_ADDRESSES} addresses"),
        |(node, failure)| format!("{}: {}", expanded.trail(node), failure.words()),
    );
    Some(format!("{} does not reach {target}: {why}", key.at(domain)))
}

fn key(opened: &Opened, text: &str) -> Result<(Domain, AliasKey), Failure> {
    AliasKey::parse(text, opened.hosting()).map_err(Failure::new)
}

fn path(opened: &Opened, text: &str) -> Result<ForwardPath, Failure> {
    if text.eq_ignore_ascii_case("<postmaster>") {
        return Ok(ForwardPath::Postmaster);
    }
    let address = match opened.hosting().domains.as_slice() {
        [only] => target_address(text, only),
        _ => Address::parse(text),
    };
    let address = address.ok_or_else(|| Failure(format!("{text} is no address; expected NAME@DOMAIN")))?;
    Ok(ForwardPath::Address(address))
}

fn read(opened: &Opened, domain: &Domain) -> Result<AliasFile, Failure> {
    let file = block_on(opened.accounts().aliases(domain)).map_err(|error| Failure(told(&error)))?;
    Ok(file.map(|file| AliasFile::clone(&file)).unwrap_or_default())
}

fn change_aliases(
    opened: &Opened,
    domain: &Domain,
    change: impl FnOnce(&AliasFile) -> Result<AliasFile, BadAlias>,
) -> Result<(), Failure> {
    block_on(opened.accounts().change_aliases(domain, change)).map_err(failed)
}
