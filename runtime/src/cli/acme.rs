//! `rmail acme`: how the certificate from an authority stands, and ordering it now.

use std::future::pending;
use std::path::Path;

use rmail_core::acme::State;
use rmail_core::text::rfc3339;
use rmail_core::time::Unix;
use serde_json::json;

use super::Failure;
use super::load::{Loaded, load_or_fail};
use crate::acme::{AcmeConfig, Done, Place, Trouble, order};
use crate::clock;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Which certificate there is, when it is renewed, and what went wrong the last time.
    Status(StatusOptions),
    /// Order the certificate, if it is time or the last order failed; a server that runs on the mail_root takes it up.
    Renew(RenewOptions),
}

/// Options of `acme status`.
#[derive(Debug, clap::Args)]
pub(super) struct StatusOptions {
    /// For programs.
    #[arg(long)]
    json: bool,
}

/// Options of `acme renew`.
#[derive(Debug, clap::Args)]
pub(super) struct RenewOptions {
    /// Do everything but ask for the certificate, at the authority's servers for trials if they are known.
    #[arg(long)]
    dry_run: bool,
    /// Order although it is not time; authorities give a few a week for the same names.
    #[arg(long, conflicts_with = "dry_run")]
    force: bool,
}

pub(super) fn run(config: &Path, command: &Command) -> Result<(), Failure> {
    let loaded = load_or_fail(config)?;
    let mail_root = loaded.path(&loaded.config.mail_root);
    match command {
        Command::Status(options) => status(&loaded, &mail_root, options),
        Command::Renew(options) => renew(&loaded, &mail_root, options),
    }
}

fn status(loaded: &Loaded, mail_root: &Path, options: &StatusOptions) -> Result<(), Failure> {
    let place = Place::of(mail_root);
    let state = place.state();
    let config = super::serve::acme(loaded)?;
    let next = config
        .as_ref()
        .map(|acme| state.due(&acme.wanted(), acme.renew_days));
    if options.json {
        let time = |seconds: u64| (seconds > 0).then(|| date(seconds));
        anstream::println!(
            "{}",
            json!({
                "enabled": config.is_some(),
                "directory": loaded.config.acme.directory,
                "names": loaded.config.acme.names(&loaded.config.hostname),
                "certificate": state.has.as_ref().map(|has| json!({
                    "file": place.certificate(), "names": has.names, "directory": has.directory,
                    "issued": time(state.issued), "expires": time(state.expires),
                })),
                "next_order": next.map(|next| date(next.secs().max(clock::unix().secs()))),
                "failures": state.failures,
                "last_order": time(state.tried),
                "error": state.error,
                "advice": state.advice,
            })
        );
        return Ok(());
    }
    for line in lines(&state, config.as_ref(), clock::unix()) {
        anstream::println!("{line}");
    }
    Ok(())
}

/// How it stands, for people.
fn lines(state: &State, config: Option<&AcmeConfig>, now: Unix) -> Vec<String> {
    const DAY: u64 = 86_400;
    let mut lines = vec![match config {
        Some(config) => format!(
            "Names: {}; authority: {}",
            config.names.join(", "),
            config.directory
        ),
        None => "acme.enabled is false: the certificate comes from elsewhere.".to_owned(),
    }];
    lines.push(match &state.has {
        Some(has) => {
            let left = match state.expires.checked_sub(now.secs()) {
                Some(left) => format!("{} days left", left / DAY),
                None => "it has ended".to_owned(),
            };
            format!(
                "Certificate: {}; given {}, good until {} ({left})",
                has.names.join(", "),
                date(state.issued),
                date(state.expires)
            )
        }
        None => "Certificate: none was given yet".to_owned(),
    });
    if let Some(error) = &state.error {
        let count = state.failures;
        lines.push(format!(
            "Last order: {}, failed ({count} in a row): {error}",
            date(state.tried)
        ));
        lines.extend(
            state
                .advice
                .iter()
                .map(|advice| format!("  What to do: {advice}")),
        );
    }
    if let Some(config) = config {
        let due = state.due(&config.wanted(), config.renew_days);
        lines.push(match due > now {
            true => format!("Next order: {}", date(due.secs())),
            false => "Next order: as soon as the server runs".to_owned(),
        });
    }
    lines
}

fn renew(loaded: &Loaded, mail_root: &Path, options: &RenewOptions) -> Result<(), Failure> {
    let config = super::serve::acme(loaded)?.ok_or_else(|| {
        Failure::new(
            "acme.enabled is false: set it, and acme.terms_agreed, and start the server or reload it",
        )
    })?;
    let wanted = config.wanted();
    let due = |state: &State| {
        // What waits after a failure is tried now: somebody has perhaps mended it.
        let failed = state.failures > 0;
        options.dry_run || options.force || failed || state.due(&wanted, config.renew_days) <= clock::unix()
    };
    let before = Place::of(mail_root).state();
    let mut tell = |step: &str| anstream::println!("{step}");
    // Ctrl-C ends the program at once, and what it has shown is taken back by the next order.
    match order(&config, mail_root, options.dry_run, due, &mut tell, pending()) {
        Ok(Done::WouldBeGiven) => {
            anstream::println!(
                "The authority would give a certificate for {}.",
                wanted.names.join(", ")
            );
            Ok(())
        }
        Ok(Done::Given(state)) if state == before => {
            let next = state.due(&wanted, config.renew_days);
            anstream::println!(
                "Nothing to do: the certificate is good until {} and will be renewed on {}; --force orders another.",
                date(state.expires),
                date(next.secs())
            );
            Ok(())
        }
        Ok(Done::Given(state)) => {
            anstream::println!(
                "There is a certificate for {}, good until {}; running servers take it up within seconds.",
                wanted.names.join(", "),
                date(state.expires)
            );
            Ok(())
        }
        Err(Trouble::Busy | Trouble::Stopped) => Err(Failure::new(
            "another process orders at this moment; look at `rmail acme status` in a minute",
        )),
        Err(Trouble::Here(text)) => Err(Failure(text)),
        Err(Trouble::There(failure)) => Err(Failure(format!(
            "{}\n  What to do: {}",
            failure.text, failure.advice
        ))),
    }
}

fn date(seconds: u64) -> String {
    rfc3339::print(Unix::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmail_core::acme::{ChallengeKind, Ordered};

    fn config() -> AcmeConfig {
        AcmeConfig {
            directory: "https://ca.test/dir".into(),
            email: None,
            names: vec!["mail.here.test".into()],
            challenge: ChallengeKind::Http01,
            binding: None,
            ca_file: None,
            renew_days: 30,
            dns_servers: Vec::new(),
        }
    }

    #[test]
    fn people_are_told_what_there_is_what_was_wrong_and_what_comes_next() {
        let now = Unix::from_secs(86_400 * 10);
        let none = lines(&State::default(), Some(&config()), now);
        assert!(
            none[1].contains("none") && none[2].contains("as soon as"),
            "{none:?}"
        );
        let state = State {
            has: Some(Ordered { ..config().wanted() }),
            issued: 86_400,
            expires: 86_400 * 91,
            failures: 2,
            error: Some("no".into()),
            advice: Some("mend it".into()),
            ..State::default()
        };
        let text = lines(&state, Some(&config()), now).join("\n");
        for words in [
            "81 days left",
            "2 in a row): no",
            "What to do: mend it",
            "1970-03-03",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(lines(&state, None, now)[0].contains("acme.enabled is false"));
    }
}
