//! Sessions as they were, written as transcripts.
//!
//! What a session heard and said is cut into lines; logins are replaced by one of the fixtures' (`login`), so that no secret
//! is in the text and it can be played nevertheless; what a server makes up for itself (ids, UIDVALIDITY, MODSEQ) becomes a
//! wildcard (`varying`).
//!
//! What was in the mailboxes before stands in `@given` lines if it is little ([`Before`]). A transcript that cannot be played
//! nevertheless, because others wrote meanwhile, say, tells so itself ([`played`]).

mod buffer;
mod doubt;
mod exchange;
mod http;
mod json;
mod login;
mod pieces;
mod varying;
mod write;

use core::borrow::Borrow;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rmail_core::text::rfc3339;
use rmail_core::time::Unix;

use crate::replay;
use crate::transcript::Transcript;
use crate::world::World;
use pieces::{Piece, What};
use varying::Names;

/// Octets of a transcript that is played when it is made: takes well under a second.
const MAX_PLAYED: usize = 256 << 10;

/// Characters of the reason why one cannot be played.
const MAX_REASON: usize = 400;

/// Something that happened to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The client sent octets, as the machine saw them: without TLS, not compressed.
    Said(Vec<u8>),
    /// The server sent octets, likewise.
    Sent(Vec<u8>),
    /// The client will send no more.
    Eof,
    /// The server was told to go down.
    Shutdown,
    /// The server closed the connection.
    Closed,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Take {
    /// `smtp`, `imap` or `http`.
    pub kind: &'static str,
    /// Keys and values of its `@session` line.
    pub options: BTreeMap<String, String>,
    /// What the server calls itself.
    pub hostname: String,
    /// Domains that it hosts.
    pub domains: Vec<String>,
    /// When it began.
    pub began: Unix,
    /// Who logged in.
    pub account: Option<String>,
    /// What happened, and when, since it began.
    pub events: Vec<(Duration, Event)>,
    /// How long it was there, when this was taken: at least until its last event.
    pub lasted: Duration,
    /// It went on, and that was not kept.
    pub cut: bool,
    /// What was there when it logged in, if that was looked at.
    pub before: Option<Before>,
}

/// What an account held when a session logged in to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Before {
    /// When, since the session began.
    pub at: Duration,
    /// What makes a new account like it: texts behind `@given`.
    pub given: Vec<String>,
    /// Why that is not all, in words.
    pub left_out: Option<String>,
}

impl Take {
    /// When it was over, or taken before.
    #[must_use]
    pub fn ended(&self) -> Unix {
        Unix(self.began.0 + self.lasted)
    }
}

/// The transcript of sessions that belong together: they overlap in time. The first begins first.
#[must_use]
pub fn transcript<T: Borrow<Take>>(takes: &[T]) -> String {
    let takes: Vec<&Take> = takes.iter().map(Borrow::borrow).collect();
    let Some(first) = takes.first() else {
        return String::new();
    };
    let tokens = http::Tokens::of(&takes);
    let mut told = Told::default();
    let mut all: Vec<(usize, Piece)> = Vec::new();
    for (number, take) in takes.iter().enumerate() {
        let later = take.began.0.saturating_sub(first.began.0);
        let pieces = told.pieces(take, number + 1, &tokens);
        all.extend(pieces.into_iter().map(|piece| {
            let at = later + piece.at;
            (number + 1, Piece { at, ..piece })
        }));
    }
    all.sort_by_key(|(_, piece)| piece.at);
    let mut out = head(&takes, &told, &all);
    let received = all.iter().any(|(_, piece)| piece.tells_received());
    let mut names = Names::new(received);
    // A transcript begins with a whole second.
    let fraction = Duration::from_nanos(u64::from(first.began.0.subsec_nanos()));
    let mut passed = Duration::ZERO;
    for (on, piece) in &all {
        let at = piece.at + fraction;
        let at = Duration::from_millis(u64::try_from(at.as_millis()).unwrap_or(u64::MAX));
        if at.as_secs() > passed.as_secs() {
            out.push_str(&format!("T: +{}ms\n", (at - passed).as_millis()));
            passed = at;
        }
        write::piece(&mut out, *on, &piece.what, &mut names);
    }
    out
}

/// The same, played once: one that does not go as it stands there says so, with the reason, by an `@unplayable` line.
#[must_use]
pub fn played<T: Borrow<Take>>(takes: &[T]) -> String {
    let text = transcript(takes);
    let Some((head, rest)) = text.find("@session").map(|at| text.split_at(at)) else {
        return text;
    };
    let verdict = match text.len() {
        // With a line in the place of the mark: line numbers are those of the file.
        0..=MAX_PLAYED => verdict(&[head, "#\n", rest].concat()),
        _ => Some("it is too long to be tried".to_owned()),
    };
    let Some(verdict) = verdict else { return text };
    let why = takes
        .iter()
        .find_map(|take| take.borrow().before.as_ref()?.left_out.clone());
    let reason = match why {
        Some(why) => format!("{why}; {verdict}"),
        None => verdict,
    };
    let mut reason: String = reason
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if let Some((end, _)) = reason.char_indices().nth(MAX_REASON) {
        reason.truncate(end);
        reason.push('…');
    }
    [head, "@unplayable ", reason.trim(), "\n", rest].concat()
}

/// Whose token came with the requests of a session with HTTP; as the token says, and only if it was not refused.
#[must_use]
pub fn token_account(take: &Take) -> Option<String> {
    (take.kind == "http").then(|| http::account(take)).flatten()
}

/// Why a transcript does not go as it stands there.
fn verdict(text: &str) -> Option<String> {
    let transcript = match Transcript::parse(text) {
        Ok(transcript) => transcript,
        Err(mistake) => return Some(mistake.to_string()),
    };
    let played = replay::sent(&transcript, |transcript, now| {
        World::open(transcript, Path::new(""), now)
    });
    played.err().map(|failure| failure.to_string())
}

/// What is known of sessions beside their pieces.
#[derive(Debug, Default)]
struct Told {
    /// One of them went on.
    cut: bool,
    /// Numbers of those that begin with a token of the user.
    with_user: BTreeSet<usize>,
}

impl Told {
    fn pieces(&mut self, take: &Take, number: usize, tokens: &http::Tokens) -> Vec<Piece> {
        self.cut |= take.cut;
        if take.kind == "http" {
            let cut = http::cut(take, tokens);
            self.cut |= cut.doubtful;
            if cut.needs_user {
                self.with_user.insert(number);
            }
            return cut.pieces;
        }
        let events = doubt::before_pipelined(take);
        let mut pieces = pieces::cut(take, events);
        let unmasked = login::mask(take.kind, &mut pieces) | doubt::cut_left(&mut pieces);
        self.cut |= events < take.events.len() || unmasked;
        pieces
    }
}

fn head(takes: &[&Take], told: &Told, pieces: &[(usize, Piece)]) -> String {
    let mut out = String::new();
    let Some(first) = takes.first() else {
        return out;
    };
    let kinds: Vec<&str> = takes.iter().map(|take| take.kind).collect();
    out.push_str(&format!("# Recorded: {}.\n", kinds.join(", ")));
    out.push_str(if told.cut {
        "@recorded cut\n"
    } else {
        "@recorded\n"
    });
    for (number, take) in takes.iter().enumerate() {
        let shown = match number {
            0 => String::new(),
            more => format!(" {}", more + 1),
        };
        out.push_str(&format!("@session{shown} {}", take.kind));
        let user = take
            .account
            .as_ref()
            .filter(|_| told.with_user.contains(&(number + 1)));
        if let Some(user) = user {
            out.push_str(&format!(" user={user}"));
        }
        for (key, value) in &take.options {
            out.push_str(&format!(" {key}={value}"));
        }
        out.push('\n');
    }
    out.push_str(&format!(
        "@given time {}\n",
        rfc3339::print(Unix::from_secs(first.began.0.as_secs()))
    ));
    out.push_str(&format!("@given hostname {}\n", first.hostname));
    let mut users: Vec<String> = Vec::new();
    let mut known = BTreeSet::new();
    let accounts = takes.iter().filter_map(|take| take.account.clone());
    for user in accounts.chain(recipients(takes, pieces)) {
        if known.insert(user.clone()) {
            users.push(user);
        }
    }
    for domain in &first.domains {
        out.push_str(&format!("@given domain {domain}\n"));
    }
    for user in users {
        out.push_str(&format!("@given user {user}\n"));
    }
    // Of several logins the first found what none of them had changed.
    let before = takes.iter().filter_map(|take| {
        take.before
            .as_ref()
            .map(|before| (take.began.0 + before.at, before))
    });
    if let Some((_, before)) = before.min_by_key(|(at, _)| *at) {
        before
            .given
            .iter()
            .for_each(|line| out.push_str(&format!("@given {line}\n")));
    }
    out.push('\n');
    out
}

/// Addresses of ours that were accepted as recipients: whom mail for them goes to is not known, so they are users.
fn recipients(takes: &[&Take], pieces: &[(usize, Piece)]) -> Vec<String> {
    let mut accepted: BTreeMap<usize, usize> = BTreeMap::new();
    for (at, (on, piece)) in pieces.iter().enumerate() {
        if matches!(&piece.what, What::Server { line, .. } if line.starts_with(b"250 2.1.5")) {
            accepted.insert(*on, at);
        }
    }
    let mut found = Vec::new();
    for (at, (on, piece)) in pieces.iter().enumerate() {
        let Some(take) = takes.get(on - 1).filter(|take| take.kind == "smtp") else {
            continue;
        };
        let What::Client {
            octets,
            within: false,
        } = &piece.what
        else {
            continue;
        };
        let text = String::from_utf8_lossy(octets);
        let upper = text.to_ascii_uppercase();
        let Some(path) = upper.strip_prefix("RCPT TO:").and_then(|_| text.get(8..)) else {
            continue;
        };
        let address = path.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
        let Some((address, _)) = address else { continue };
        let plain = address
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || b"@.-_+".contains(&octet));
        let hosted = address
            .rsplit_once('@')
            .is_some_and(|(_, domain)| take.domains.iter().any(|own| own.eq_ignore_ascii_case(domain)));
        if plain && hosted && accepted.get(on).is_some_and(|last| *last > at) {
            found.push(address.to_ascii_lowercase());
        }
    }
    found
}

#[cfg(test)]
mod tests;
