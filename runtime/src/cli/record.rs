//! `rmail record`: sessions of a user or an address, as transcripts, from running servers.

use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anstream::println;

use super::load::load_or_fail;
use super::{Failure, wrong_usage};
use crate::control::{Reply, Request, Running, servers};
use crate::record::{Shelf, make};

/// Longer than a server is silent.
const PATIENCE: Duration = Duration::from_secs(30);
/// Octets of a transcript.
const MAX_TEXT: usize = 64 << 20;

/// Options of `record`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Sessions with SMTP, LMTP, IMAP and the HTTP API that begin while it runs are written into files of DIR as transcripts, at their end or at \
the end of the time; those of a user from a login on, with what came before it. Passwords and tokens are not in them; mail that was \
sent or read is, and what little a mailbox held before: look before you pass them on. `rmail replay FILE` plays them again.\n\n\
Exit codes: 0 it was recorded, also if there was no session; 1 no server answers, or a file cannot be written; 2 wrong usage.\n\n\
Examples:\n  rmail record alice@example.com --for 10m --to sessions\n  rmail record --address 192.0.2.7 --for 1h --to sessions")]
pub(super) struct Options {
    /// The account whose sessions are recorded.
    #[arg(
        value_name = "USER",
        required_unless_present = "address",
        conflicts_with = "address"
    )]
    user: Option<String>,
    /// The address whose sessions are recorded, with a login or without.
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    /// For so long: 90s, 10m, 1h; up to a day.
    #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = duration)]
    time: Duration,
    /// Directory of the transcripts; made if it is not there.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

pub(super) fn run(config: &Path, options: &Options) -> Result<(), Failure> {
    let loaded = load_or_fail(config)?;
    let hosting = super::serve::hosting(&loaded.config)?;
    let user = options.user.as_deref().map(|user| match hosting.login(user) {
        Some(account) => account.as_str().to_owned(),
        None => wrong_usage(format_args!("{user:?} is no account here")),
    });
    let request = Request::Record {
        user,
        address: options.address,
        seconds: options.time.as_secs(),
    };
    let root = loaded.path(&loaded.config.mail_root);
    let running = servers(&root).map_err(|error| Failure(format!("cannot ask the servers: {error}")))?;
    let wrong = |error: io::Error| Failure(format!("cannot write into {}: {error}", options.to.display()));
    make(&options.to).map_err(wrong)?;
    let shelf = Mutex::new(Shelf::new(options.to.clone()));
    let answers: Vec<io::Result<()>> = std::thread::scope(|scope| {
        let threads: Vec<_> = running
            .iter()
            .map(|server| scope.spawn(|| listen(server, &request, &shelf)))
            .collect();
        let gone = || Err(io::Error::other("the thread is gone"));
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| gone()))
            .collect()
    });
    let dead = |error: &io::Error| {
        matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
        )
    };
    let mut answered = false;
    for answer in answers {
        match answer {
            Ok(()) => answered = true,
            Err(error) if dead(&error) => {}
            Err(error) => return Err(Failure(format!("cannot record: {error}"))),
        }
    }
    match answered {
        true => Ok(()),
        false => Err(Failure(
            "no server answers on this mail_root; `rmail serve` starts one".into(),
        )),
    }
}

/// Writes what a server tells.
fn listen(server: &Running, request: &Request, shelf: &Mutex<Shelf>) -> io::Result<()> {
    let mut text = String::new();
    for reply in server.ask(request, PATIENCE)? {
        match reply? {
            Reply::Recording => {}
            Reply::Recorded { stem, piece, last } => {
                text.push_str(&piece);
                if text.len() > MAX_TEXT {
                    return Err(io::Error::other("a transcript without end"));
                }
                let is_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
                if !stem.chars().all(is_name) {
                    return Err(io::Error::other("a transcript whose name is no name"));
                }
                if last {
                    let written = shelf
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .write(&stem, &std::mem::take(&mut text))?;
                    let Some(path) = written else {
                        return Err(io::Error::other("there are very many transcripts"));
                    };
                    println!("{}", path.display());
                    io::stdout().flush()?;
                }
            }
            Reply::Failed { why } => return Err(io::Error::other(why)),
            _ => return Err(io::Error::other("the server answers something else")),
        }
    }
    Ok(())
}

/// `10m`
fn duration(text: &str) -> Result<Duration, String> {
    const DAY: Duration = Duration::from_secs(24 * 3_600);
    let span: jiff::SignedDuration = text
        .parse()
        .map_err(|_| "expected a time such as 10m".to_owned())?;
    let span = Duration::try_from(span).map_err(|_| "expected a time such as 10m".to_owned())?;
    match span >= Duration::from_secs(1) && span <= DAY {
        true => Ok(span),
        false => Err("from 1s to 24h".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5_400)));
        for bad in ["", "10", "0s", "-1m", "25h", "10x"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
