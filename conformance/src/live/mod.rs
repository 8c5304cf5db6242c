//! Transcripts against a server on a socket: the same player, other connections.
//!
//! Nothing here opens a socket: whoever plays gives a [`Network`]. A transcript that is marked `@live`, or was recorded, can be
//! played if [`runnable`] finds nothing in it that only a machine can do. Accounts must be empty: what a transcript makes in
//! them is removed again.

mod connection;
mod errand;
mod shipped;
mod stage;
mod texts;

use core::fmt;
use core::time::Duration;
use std::io;

use rmail_core::secret::Secret;

use crate::replay::{Delivery, Failure, Player};
use crate::transcript::{Given, Opening, Transcript, What};
use crate::world::users;

pub use shipped::{SHIPPED, fixture};
pub use stage::Outside;
pub use texts::any_text;

/// How long an answer may take.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long it is waited for what perhaps does not come.
const QUIET: Duration = Duration::from_millis(150);

/// Time that passes in a transcript is waited for up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// Octets of an answer that are kept.
const MAX_ANSWER: usize = 16 << 20;

/// What comes over a wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Octets.
    Octets(Vec<u8>),
    /// Nothing, for as long as was waited.
    Nothing,
    /// The other side sends no more.
    End,
}

/// One connection to a server.
pub trait Wire {
    /// Sends octets.
    ///
    /// # Errors
    /// They cannot be sent.
    fn send(&mut self, octets: &[u8]) -> io::Result<()>;

    /// Waits for octets.
    ///
    /// # Errors
    /// The connection failed.
    fn receive(&mut self, wait: Duration) -> io::Result<Heard>;

    /// Begins TLS, as the client.
    ///
    /// # Errors
    /// The handshake failed.
    fn start_tls(&mut self) -> io::Result<()>;

    /// Sends no more.
    ///
    /// # Errors
    /// The connection failed.
    fn end(&mut self) -> io::Result<()>;
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// Mail of strangers.
    Smtp,
    /// Mail of users.
    Submission,
    /// Mail from a local program.
    Lmtp,
    /// Mailboxes.
    Imap,
    /// The HTTP API.
    Http,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Smtp, Self::Submission, Self::Lmtp, Self::Imap, Self::Http];

    /// The service of a session.
    #[must_use]
    pub fn of(opening: &Opening) -> Option<Self> {
        let role = opening.options.get("role").map(String::as_str);
        match (opening.kind.as_str(), role) {
            ("smtp", None | Some("mx")) => Some(Self::Smtp),
            ("smtp", Some("submission")) => Some(Self::Submission),
            ("smtp", Some("lmtp")) => Some(Self::Lmtp),
            ("imap", None) => Some(Self::Imap),
            ("http", None) => Some(Self::Http),
            _ => None,
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Smtp => "smtp",
            Self::Submission => "submission",
            Self::Lmtp => "lmtp",
            Self::Imap => "imap",
            Self::Http => "http",
        })
    }
}

/// Makes connections.
pub trait Network {
    /// A new connection. `clear`: TLS is not on yet, the transcript begins it; else it is on if the server has it.
    ///
    /// # Errors
    /// There is no such service, or it does not answer; in words.
    fn connect(&mut self, service: Service, clear: bool) -> Result<Box<dyn Wire>, String>;
}

/// An account of the server whose mailboxes are empty.
#[derive(Clone, Debug)]
pub struct Login {
    /// Its address.
    pub user: String,
    /// Its password.
    pub password: Secret,
}

/// Whether a transcript can be played against a server on a socket, with so many accounts.
///
/// # Errors
/// What stands in the way, in words.
pub fn runnable(transcript: &Transcript, accounts: usize) -> Result<(), String> {
    if !transcript.live && !transcript.recorded {
        return Err("it is not marked @live".to_owned());
    }
    if let Some(reason) = &transcript.unplayable {
        return Err(format!("it cannot be played: {reason}"));
    }
    for opening in transcript.sessions.values() {
        if Service::of(opening).is_none() {
            return Err(format!("line {}: no such session over a socket", opening.line));
        }
        const KNOWN: [&str; 6] = ["user", "selected", "examined", "role", "tls", "cleartext"];
        if let Some(key) = opening.options.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            return Err(format!("line {}: {key} is the server's business", opening.line));
        }
    }
    // Of one that was recorded it is the server's.
    let own =
        |given: &&Given| !transcript.recorded || given.words.first().is_none_or(|word| word != "domain");
    for given in transcript.givens.iter().filter(own) {
        stage::can_give(given).map_err(|text| format!("line {}: {text}", given.line))?;
    }
    for step in &transcript.steps {
        let problem = match &step.what {
            What::Action(..) => Some("A: what a machine wants is not seen over a socket".to_owned()),
            What::Time(by) if *by > LONGEST_PAUSE => Some(format!("T: nobody waits so long as {by:?}")),
            What::Outside(event) => Outside::parse(event).err(),
            _ => None,
        };
        if let Some(problem) = problem {
            return Err(format!("line {}: {problem}", step.line));
        }
    }
    match self::accounts(transcript) {
        needed if needed > accounts => Err(format!("it needs {needed} accounts")),
        _ => Ok(()),
    }
}

/// Addresses to which a recorded transcript sends mail when it is played against a server: those to which it was sent.
#[must_use]
pub fn recipients(transcript: &Transcript) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for step in transcript.steps.iter().filter(|_| transcript.recorded) {
        let What::Line(on, line) = &step.what else {
            continue;
        };
        let text = line.text();
        let is_smtp = transcript
            .sessions
            .get(on)
            .is_some_and(|opening| opening.kind == "smtp");
        let is_recipient = text
            .get(..8)
            .is_some_and(|head| head.eq_ignore_ascii_case("RCPT TO:"));
        let address = text.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
        if let Some((address, _)) = address.filter(|_| is_smtp && is_recipient)
            && !found.iter().any(|known| known == address)
        {
            found.push(address.to_owned());
        }
    }
    found
}

/// How many accounts a transcript needs.
#[must_use]
pub fn accounts(transcript: &Transcript) -> usize {
    let mut names = users(transcript);
    names.sort_unstable();
    names.dedup();
    names.len()
}

/// Plays a transcript against a server. The accounts must be empty, and are again afterwards; they stand for the users of the
/// transcript in the order in which it names them.
///
/// # Errors
/// The first thing that goes another way than the transcript says.
pub fn play(transcript: &Transcript, network: &mut dyn Network, accounts: &[Login]) -> Result<(), Failure> {
    let failed = |text| Failure::Step {
        line: 0,
        delivery: Delivery::Lines,
        text,
    };
    runnable(transcript, accounts.len()).map_err(failed)?;
    let stage = stage::Live::open(transcript, network, accounts).map_err(failed)?;
    let used = stage.used().map(str::to_owned);
    let mut stage = Some(stage);
    let mut take = |_: &Transcript, _| stage.take().ok_or_else(|| "there is one stage".to_owned());
    let mut player = Player::open(transcript, &mut take, Delivery::Lines)?;
    player.play(transcript).map_err(|failure| match (failure, used) {
        (Failure::Step { line, delivery, text }, Some(user)) => Failure::Step {
            line,
            delivery,
            text: format!("{text} ({user} had mail before, so that its UIDs and MODSEQs are others than a new account's)"),
        },
        (failure, _) => failure,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_a_recording_sends_mail() {
        let text = |kind: &str| {
            format!(
                "# X.\n@{kind}\n@session smtp role=submission user=a\n@session 2 imap\n\nC: rcpt to:<b@x.test> NOTIFY=NEVER\n\
                 C: RCPT TO:<b@x.test>\nC: RCPT TO:<c@x.test>\nC2: RCPT TO:<d@x.test>\nC| RCPT TO:<e@x.test>\n"
            )
        };
        let of = |kind| recipients(&Transcript::parse(&text(kind)).expect("a transcript"));
        assert_eq!(of("recorded"), ["b@x.test", "c@x.test"]);
        assert!(of("live").is_empty());
    }
}
