//! `rmail replay FILE…`: plays transcripts against the machines, or against a server.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anstream::println;
use clap::ValueEnum as _;
use rmail_conformance::live::{self, Login, SHIPPED, Service};
use rmail_conformance::replay::replay;
use rmail_conformance::transcript::Transcript;
use rmail_conformance::world::World;
use serde_json::json;

use super::{Failure, password, wrong_usage};
use crate::replay::{Dial, Security, Target};

/// Options of `replay`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A transcript is a session with a mail server as text, as it is recorded by `rmail serve --record DIR` and `rmail record`. Without \
--to it is played against the protocol machines of this program, with a store in memory and a clock that stands still: each octet \
that the server sends must be the one that stands there. With --to it is played against a server; those that need no more than an \
account can be played so: they are marked @live, or were recorded. The account must be empty, and is again afterwards. In most of \
them UIDs count from the beginning, so that each needs an account that is new: {} in --user stands for 1, 2, 3 and so on, one after the \
other as they are needed. A recording that sent mail would send it to the same people again: that is done with --send alone.\n\n\
Exit codes: 0 all went as they stand there, 1 one did not, 2 wrong usage.\n\n\
Examples:\n  rmail replay session-17.txt\n  \
for i in $(seq 40); do rmail user add test$i@example.com --password-stdin < secret; done\n  \
rmail replay --to mail.example.com:993 --user 'test{}@example.com' --password-file secret --shipped\n  \
rmail replay --to imap=localhost:143 --to submission=localhost:587 --tls starttls --user a@example.com --password-file secret x.txt")]
pub(super) struct Options {
    /// Transcripts.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Play against this server; with SERVICE= (smtp, submission, lmtp, imap, http) several can be named, without it is
    /// that of the transcript's first session. What stands behind the / goes before --tls.
    #[arg(long, value_name = "[SERVICE=]HOST:PORT[/TLS]")]
    to: Vec<String>,
    /// How TLS begins there; any certificate will do. Else starttls on ports 25, 143 and 587, none on 24 and 80, and implicit on
    /// all others.
    #[arg(long, value_enum, requires = "to")]
    tls: Option<Security>,
    /// An account whose mailboxes are empty; several, with as many password files, for transcripts with several users. One
    /// with {} in it, such as test{}@example.com, stands for as many as are needed.
    #[arg(long, value_name = "ADDRESS", requires = "to")]
    user: Vec<String>,
    /// File with its password in the first line; `-` is standard input.
    #[arg(long, value_name = "FILE", requires = "to")]
    password_file: Vec<PathBuf>,
    /// Play those too that are part of this program and marked @live.
    #[arg(long)]
    shipped: bool,
    /// Texts for people, behind a status or an enhanced code, may be any: for servers that are not rmail.
    #[arg(long, requires = "to")]
    any_text: bool,
    /// Send mail again to those to whom it was sent when it was recorded.
    #[arg(long, requires = "to")]
    send: bool,
    /// Messages that transcripts name; by default `fixtures` in a directory above the transcript.
    #[arg(long, value_name = "DIR", conflicts_with = "to")]
    fixtures: Option<PathBuf>,
    /// For programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    if options.files.is_empty() && !options.shipped {
        wrong_usage("which transcripts? Name files, or --shipped");
    }
    if options.user.len() != options.password_file.len() {
        wrong_usage("as many --password-file as --user");
    }
    let mut all = Vec::new();
    for path in &options.files {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure(format!("cannot read {}: {error}", path.display())))?;
        all.push((path.display().to_string(), text, fixtures(options, path)));
    }
    if options.shipped {
        all.extend(
            SHIPPED
                .iter()
                .map(|(name, text)| ((*name).to_owned(), (*text).to_owned(), PathBuf::new())),
        );
    }
    let mut accounts = accounts(options)?;
    let targets: Vec<(Option<Service>, Target)> =
        options.to.iter().map(|to| target(to, options.tls)).collect();
    let mut results = Vec::new();
    for (name, text, fixtures) in &all {
        let played = match targets.as_slice() {
            [] => offline(text, fixtures),
            targets => online(text, targets, &mut accounts, options),
        };
        if !options.json {
            match &played {
                Ok(()) => println!("ok      {name}"),
                Err(Why::Left(why)) => println!("left    {name}: {why}"),
                Err(Why::Failed(why)) => println!("FAILED  {name}: {why}"),
            }
        }
        results.push((name, played));
    }
    let failed = results
        .iter()
        .filter(|(_, played)| matches!(played, Err(Why::Failed(_))))
        .count();
    if options.json {
        let list: Vec<_> = results
            .iter()
            .map(|(name, played)| match played {
                Ok(()) => json!({"transcript": name, "ok": true, "why": null}),
                Err(Why::Left(why)) => json!({"transcript": name, "ok": null, "why": why}),
                Err(Why::Failed(why)) => json!({"transcript": name, "ok": false, "why": why}),
            })
            .collect();
        println!("{}", json!(list));
    }
    match failed {
        0 => Ok(()),
        failed => Err(Failure(format!(
            "{failed} of {} went another way than they stand there",
            results.len()
        ))),
    }
}

/// Why a transcript was not played to its end; in words.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Why {
    /// It says itself that it cannot be.
    Left(String),
    /// It went another way.
    Failed(String),
}

fn read(text: &str) -> Result<Transcript, Why> {
    let transcript = Transcript::parse(text).map_err(|mistake| Why::Failed(mistake.to_string()))?;
    match &transcript.unplayable {
        Some(reason) => Err(Why::Left(format!("it says that it cannot be played: {reason}"))),
        None => Ok(transcript),
    }
}

fn offline(text: &str, fixtures: &Path) -> Result<(), Why> {
    let transcript = read(text)?;
    replay(&transcript, |transcript, now| {
        World::open(transcript, fixtures, now)
    })
    .map_err(|failure| Why::Failed(failure.to_string()))
}

fn online(
    text: &str,
    targets: &[(Option<Service>, Target)],
    accounts: &mut Accounts,
    options: &Options,
) -> Result<(), Why> {
    let mut transcript = read(text)?;
    if options.any_text {
        transcript = live::any_text(&transcript);
    }
    let recipients = live::recipients(&transcript);
    if !options.send && !recipients.is_empty() {
        let to = recipients.join(", ");
        return Err(Why::Failed(format!(
            "it would send mail to {to}; with --send that is done"
        )));
    }
    let mut dial = Dial::default();
    let first = transcript.sessions.values().next().and_then(Service::of);
    for (service, target) in targets {
        if let Some(service) = service.or(first) {
            dial.set(service, target.clone());
        }
    }
    let logins = accounts.next(live::accounts(&transcript));
    live::play(&transcript, &mut dial, &logins).map_err(|failure| Why::Failed(failure.to_string()))
}

/// Accounts for transcripts.
#[derive(Debug)]
enum Accounts {
    /// These, for all.
    Named(Vec<Login>),
    /// New ones for each: the account's name with `{}` in the place of a number, and the last number.
    Counted(Login, usize),
}

impl Accounts {
    fn next(&mut self, count: usize) -> Vec<Login> {
        match self {
            Self::Named(logins) => logins.clone(),
            Self::Counted(pattern, last) => (0..count)
                .map(|_| {
                    *last += 1;
                    Login {
                        user: pattern.user.replace("{}", &last.to_string()),
                        ..pattern.clone()
                    }
                })
                .collect(),
        }
    }
}

/// `imap=localhost:143/starttls`
fn target(text: &str, security: Option<Security>) -> (Option<Service>, Target) {
    let (service, place) = match text.split_once('=') {
        Some((name, place)) => {
            let service = Service::ALL
                .into_iter()
                .find(|service| service.to_string() == name);
            let Some(service) = service else {
                wrong_usage(format_args!("--to {text}: no such service: {name}"));
            };
            (Some(service), place)
        }
        None => (None, text),
    };
    let (address, security) = match place.split_once('/') {
        None => (place, security),
        Some((address, word)) => match Security::from_str(word, true) {
            Ok(security) => (address, Some(security)),
            Err(_) => wrong_usage(format_args!(
                "--to {text}: implicit, starttls or none, not {word}"
            )),
        },
    };
    let port = address.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    let Some(Ok(port @ 1..)) = port else {
        wrong_usage(format_args!("--to {text}: expected HOST:PORT"));
    };
    let security = security.unwrap_or(match port {
        25 | 143 | 587 => Security::Starttls,
        24 | 80 => Security::None,
        _ => Security::Implicit,
    });
    let address = address.to_owned();
    (service, Target { address, security })
}

fn accounts(options: &Options) -> Result<Accounts, Failure> {
    let mut all = Vec::new();
    let mut names = BTreeSet::new();
    for (user, file) in options.user.iter().zip(&options.password_file) {
        if !names.insert(user) {
            wrong_usage(format_args!("--user {user} is given twice"));
        }
        let user = user.clone();
        let password = password::from_file(file)?;
        all.push(Login { user, password });
    }
    let counted = all.iter().any(|login| login.user.contains("{}"));
    match all.pop() {
        Some(pattern) if counted && all.is_empty() => Ok(Accounts::Counted(pattern, 0)),
        Some(_) if counted => wrong_usage("a --user with {} stands alone"),
        last => {
            all.extend(last);
            Ok(Accounts::Named(all))
        }
    }
}

/// The nearest `fixtures` above a transcript.
fn fixtures(options: &Options, transcript: &Path) -> PathBuf {
    if let Some(fixtures) = &options.fixtures {
        return fixtures.clone();
    }
    let place = transcript.canonicalize().unwrap_or_default();
    place
        .ancestors()
        .map(|above| above.join("fixtures"))
        .find(|dir| dir.is_dir())
        .unwrap_or_default()
}
