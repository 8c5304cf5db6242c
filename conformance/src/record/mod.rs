//! Sessions as they were, written as transcripts.
//!
//! What a session heard and said is cut into lines; logins are replaced by one of the fixtures' (`login`), so that no secret
//! is in the text and it can be played nevertheless; what a server makes up for itself (ids, UIDVALIDITY, MODSEQ) becomes a
//! wildcard (`varying`).
//!
//! What was in the mailboxes before is not part of a transcript: one of an account that was empty can be played as it is.

mod doubt;
mod login;
mod pieces;
mod varying;
mod write;

use core::time::Duration;
use std::collections::BTreeMap;

use rmail_core::text::rfc3339;
use rmail_core::time::Unix;

use pieces::{Piece, What};
use varying::Names;

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
    /// `smtp` or `imap`.
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
pub fn transcript(takes: &[Take]) -> String {
    let Some(first) = takes.first() else {
        return String::new();
    };
    let mut cut = false;
    let mut all: Vec<(usize, Piece)> = Vec::new();
    for (number, take) in takes.iter().enumerate() {
        let later = take.began.0.saturating_sub(first.began.0);
        let mut take = take.clone();
        let doubtful = doubt::cut_pipelined(&mut take);
        let mut pieces = pieces::cut(&take);
        let unmasked = login::mask(take.kind, &mut pieces) | doubt::cut_left(&mut pieces);
        cut |= take.cut || doubtful || unmasked;
        all.extend(pieces.into_iter().map(|piece| {
            let at = later + piece.at;
            (number + 1, Piece { at, ..piece })
        }));
    }
    all.sort_by_key(|(_, piece)| piece.at);
    let mut out = head(takes, cut, &all);
    let received = all.iter().any(|(_, piece)| piece.tells_received());
    let mut names = Names::new(received);
    // A transcript begins with a whole second.
    let fraction = Duration::from_nanos(u64::from(first.began.0.subsec_nanos()));
    let mut told = Duration::ZERO;
    for (on, piece) in &all {
        let at = piece.at + fraction;
        let at = Duration::from_millis(u64::try_from(at.as_millis()).unwrap_or(u64::MAX));
        if at.as_secs() > told.as_secs() {
            out.push_str(&format!("T: +{}ms\n", (at - told).as_millis()));
            told = at;
        }
        write::piece(&mut out, *on, &piece.what, &mut names);
    }
    out
}

fn head(takes: &[Take], cut: bool, pieces: &[(usize, Piece)]) -> String {
    let mut out = String::new();
    let Some(first) = takes.first() else {
        return out;
    };
    let kinds: Vec<&str> = takes.iter().map(|take| take.kind).collect();
    out.push_str(&format!("# Recorded: {}.\n", kinds.join(", ")));
    out.push_str(if cut { "@recorded cut\n" } else { "@recorded\n" });
    for (number, take) in takes.iter().enumerate() {
        let number = match number {
            0 => String::new(),
            more => format!(" {}", more + 1),
        };
        out.push_str(&format!("@session{number} {}", take.kind));
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
    let mut add = |user: String| {
        if !users.contains(&user) {
            users.push(user);
        }
    };
    takes
        .iter()
        .filter_map(|take| take.account.clone())
        .for_each(&mut add);
    recipients(takes, pieces).into_iter().for_each(&mut add);
    for domain in &first.domains {
        out.push_str(&format!("@given domain {domain}\n"));
    }
    for user in users {
        out.push_str(&format!("@given user {user}\n"));
    }
    out.push('\n');
    out
}

/// Addresses of ours that were accepted as recipients: whom mail for them goes to is not known, so they are users.
fn recipients(takes: &[Take], pieces: &[(usize, Piece)]) -> Vec<String> {
    let mut found = Vec::new();
    for (number, take) in takes.iter().enumerate().filter(|(_, take)| take.kind == "smtp") {
        let own = || pieces.iter().filter(|(on, _)| *on == number + 1);
        for (_, piece) in own() {
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
            let accepted = own()
                .skip_while(|(_, other)| !core::ptr::eq(other, piece))
                .any(|(_, other)| matches!(&other.what, What::Server { line, .. } if line.starts_with(b"250 2.1.5")));
            if plain && hosted && accepted {
                found.push(address.to_ascii_lowercase());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;
