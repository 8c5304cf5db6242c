//! `rmail config`: what is wrong with the configuration, what counts, what may be in it.

use std::path::Path;

use rmail_core::config::keys::{KEYS, Key};
use rmail_core::config::{self, Problem, schema};
use rmail_core::relay;
use rmail_core::secret::Secret;
use serde_json::{Value, json};

use super::load::{LoadError, Loaded, load, load_or_fail};
use super::{Failure, alias, open, serve, tls};

/// Aliases that reach nobody, of which is told.
const MAX_DEAD: usize = 20;

/// What to do with the configuration.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Tell everything that is wrong with it; exit code 1 if something is.
    Check(Options),
    /// Show what counts: what the file says, and the defaults of what it does not say; secrets are not shown.
    Show(ShowOptions),
    /// Print the JSON Schema of the configuration, for editors.
    Schema,
}

/// Options of `config check`.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// For programs.
    #[arg(long)]
    json: bool,
}

/// Options of `config show`.
#[derive(Debug, clap::Args)]
pub(super) struct ShowOptions {
    /// A key such as smtp.port: its value alone; or a section such as smtp.
    #[arg(value_name = "KEY")]
    key: Option<String>,
    /// Only what differs from the defaults.
    #[arg(long)]
    changed: bool,
    /// For programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(path: &Path, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Check(options) => check(path, options),
        Command::Show(options) => show(path, options),
        Command::Schema => {
            anstream::print!("{}", schema_text()?);
            Ok(())
        }
    }
}

/// The schema as it is written to a file.
pub(super) fn schema_text() -> Result<String, Failure> {
    let mut text = serde_json::to_string_pretty(&schema::schema()).map_err(Failure::new)?;
    text.push('\n');
    Ok(text)
}

fn show(path: &Path, options: &ShowOptions) -> Result<(), Failure> {
    // Before the file is read: a slip is told even if the file is wrong.
    let keys = match &options.key {
        Some(key) => config::find(key).map_err(Failure)?,
        None => KEYS.iter().collect(),
    };
    let shown = load_or_fail(path)?.effective.without_secrets();
    let value = |key: &Key| shown.get(key.path).cloned().unwrap_or_default();
    let wanted = |key: &&&Key| !options.changed || value(key) != (key.default)();
    let alone = keys.iter().find(|key| Some(key.path) == options.key.as_deref());
    match alone {
        Some(key) if options.json => anstream::println!("{:#}", value(key)),
        Some(key) => match value(key) {
            Value::String(text) => anstream::println!("{text}"),
            value => anstream::println!("{value}"),
        },
        None if options.json => {
            let values = keys.iter().filter(wanted).map(|key| (key.path, value(key)));
            anstream::println!("{:#}", config::nested(values));
        }
        None => {
            for key in keys.iter().filter(wanted) {
                let value = value(key);
                let default = if value == (key.default)() {
                    "  (default)"
                } else {
                    ""
                };
                anstream::println!("{} = {value}{default}", key.path);
            }
        }
    }
    Ok(())
}

fn check(path: &Path, options: &Options) -> Result<(), Failure> {
    let (errors, warnings): (Vec<_>, Vec<_>) = match load(path) {
        Ok(loaded) => around(&loaded)
            .into_iter()
            .chain(loaded.warnings)
            .partition(|problem| !problem.warning),
        Err(LoadError::Unreadable(text)) => return Err(Failure(text)),
        Err(LoadError::Wrong(problems)) => problems.into_iter().partition(|problem| !problem.warning),
    };
    if options.json {
        let list = |problems: &[Problem]| {
            problems
                .iter()
                .map(|p| json!({"path": p.path, "value": p.value, "expected": p.expected}))
                .collect::<Vec<_>>()
        };
        anstream::println!(
            "{}",
            json!({"errors": list(&errors), "warnings": list(&warnings)})
        );
    } else {
        errors
            .iter()
            .for_each(|problem| anstream::println!("error: {problem}"));
        warnings
            .iter()
            .for_each(|problem| anstream::println!("warning: {problem}"));
        anstream::println!(
            "{}: {} error(s), {} warning(s)",
            path.display(),
            errors.len(),
            warnings.len()
        );
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Failure(format!(
        "{} is not usable as it is; `serve` would refuse it",
        path.display()
    )))
}

/// What is wrong with that which the configuration names: secrets, certificate, who reads the postmaster's mail.
fn around(loaded: &Loaded) -> Vec<Problem> {
    let mut found = Vec::new();
    let read = relay::Settings::from_config(&loaded.config, |key, source| {
        Ok::<_, std::convert::Infallible>(loaded.secret(key, source).unwrap_or_else(|Failure(text)| {
            let reason = text.strip_prefix(&format!("{key}: ")).unwrap_or(&text);
            found.push(problem(key, reason));
            Secret::default()
        }))
    });
    let Ok(_) = read;
    if let Err(Failure(text)) = serve::token_key(loaded) {
        let reason = text.strip_prefix("exchange_api.token_secret: ").unwrap_or(&text);
        found.push(problem("exchange_api.token_secret", reason));
    }
    let root = loaded.path(&loaded.config.mail_root);
    if loaded.config.tls.enabled {
        found.extend(certificates(loaded, &root));
    }
    match addresses(loaded, &root) {
        Ok(warnings) => found.extend(warnings),
        Err(Failure(text)) => found.push(problem("mail_root", &text)),
    }
    found
}

/// Pairs that cannot be used, and what clients will not like of the others.
fn certificates(loaded: &Loaded, root: &Path) -> Vec<Problem> {
    let pairs = tls::configured(loaded, root);
    let remarks = tls::usable(loaded, &pairs).map(|(_, remarks)| remarks);
    let broken = pairs.iter().filter_map(|pair| match &pair.read {
        Some(Err(error)) => Some(problem(&pair.path, &error.to_string())),
        _ => None,
    });
    let warnings = remarks.into_iter().flatten().map(|remark| Problem {
        warning: true,
        ..problem(&remark.path, &remark.text)
    });
    broken.chain(warnings).collect()
}

/// Addresses whose mail would be refused, or have to wait.
fn addresses(loaded: &Loaded, root: &Path) -> Result<Vec<Problem>, Failure> {
    let hosting = serve::hosting(&loaded.config)?;
    let outside = |address: &rmail_core::addr::Address| !hosting.hosts(&address.domain);
    let outside = loaded.config.relay.enabled && hosting.postmaster.as_ref().is_some_and(outside);
    // A check makes no mail_root.
    let opened = match root.try_exists().map_err(Failure::new)? {
        true => Some(open::open_root(root, hosting, 1)?),
        false => None,
    };
    let mut found = Vec::new();
    let mut warn = |path: &str, text: &str| {
        found.push(Problem {
            warning: true,
            ..problem(path, text)
        });
    };
    if !outside && !opened.as_ref().map_or(Ok(false), open::Opened::has_admin)? {
        warn(
            "postmaster",
            "mail for postmaster@ and abuse@ has to wait until there is an enabled administrator: \
             `rmail user add NAME@DOMAIN --admin`",
        );
    }
    for (path, reason) in opened.iter().flat_map(|opened| alias::dead(opened, MAX_DEAD)) {
        warn(&path, &reason);
    }
    Ok(found)
}

fn problem(path: &str, expected: &str) -> Problem {
    Problem {
        path: path.to_owned(),
        value: String::new(),
        expected: expected.to_owned(),
        warning: false,
    }
}
