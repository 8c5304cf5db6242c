//! Sessions with HTTP: requests and responses as pieces, without what is secret in them.
//!
//! Passwords and tokens stand in fields (`Authorization`, cookies), in queries and in values of JSON. A token that the
//! server gave becomes a wildcard that stands for it further on; of a content that cannot be looked through nothing is
//! kept of a response, and a request ends the recording.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::exchange::{self, Message, Side};
use super::json::{is_secret, rewrite, varies};
use super::pieces::{Piece, What};
use super::write::{escape, lines, text};
use super::{Event, Take};

/// Wildcards of one line: matching tries them all against each other.
const MAX_WILD: usize = 8;
/// Secrets of one session that all that is written is searched for…
const MAX_SECRETS: usize = 200;
/// …from this length on: shorter ones stand in any text.
const MIN_SECRET: usize = 6;
/// What stands in the place of a secret.
const MASKED: &str = "masked";

/// Tokens that were given in the sessions of a transcript: since when each is known, and what stands for it.
#[derive(Debug, Default)]
pub(super) struct Tokens(BTreeMap<String, (Duration, String)>);

impl Tokens {
    pub(super) fn of(takes: &[&Take]) -> Self {
        let mut all = Self::default();
        for take in takes.iter().filter(|take| take.kind == "http") {
            let asked = exchange::requests(take);
            for response in exchange::responses(take, &asked.messages).messages {
                let body = String::from_utf8_lossy(&response.body);
                rewrite(&body, &mut |name, value| {
                    if name == "token"
                        && let Ok(token) = serde_json::from_str::<String>(value)
                    {
                        let name = format!("${{token{}}}", all.0.len() + 1);
                        let at = take.began.0 + response.ended;
                        let known = all.0.entry(token).or_insert((at, name));
                        known.0 = known.0.min(at);
                    }
                    None
                });
            }
        }
        all
    }
}

impl Tokens {
    /// What stands for a token that is known at this time.
    fn get(&self, token: &str, at: Duration) -> Option<&str> {
        let (since, name) = self.0.get(token)?;
        (*since <= at).then_some(name.as_str())
    }
}

/// The account whose token came with a request that was not refused for it.
pub(super) fn account(take: &Take) -> Option<String> {
    let asked = exchange::requests(take).messages;
    let answers = exchange::responses(take, &asked).messages;
    let answers = answers.iter().filter(|answer| !is_interim(answer));
    asked.iter().zip(answers).find_map(|(request, answer)| {
        let refused = matches!(answer.status(), Some(401 | 403) | None);
        let token = request.field("authorization")?.split_once(' ')?.1.trim();
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
        let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
        let account = claims.get("sub")?.as_str()?.to_owned();
        (!refused).then_some(account)
    })
}

/// A session cut into pieces.
#[derive(Debug, Default)]
pub(super) struct Cut {
    pub(super) pieces: Vec<Piece>,
    /// It went on, and that was left out because it cannot be told what of it is secret.
    pub(super) doubtful: bool,
    /// It has a token of a login that stands nowhere in the transcript: the session has one of the user.
    pub(super) needs_user: bool,
}

/// The pieces of a session.
pub(super) fn cut(take: &Take, tokens: &Tokens) -> Cut {
    let Side {
        messages: asked,
        doubt,
    } = exchange::requests(take);
    let answered = exchange::responses(take, &asked);
    let mut until = doubt.into_iter().chain(answered.doubt).min();
    let mut writer = Writer {
        tokens,
        now: Duration::ZERO,
        account: take.account.is_some(),
        secrets: BTreeSet::new(),
        needs_user: false,
    };
    let mut pieces = Vec::new();
    let mut before = Duration::ZERO;
    let mut answers = answered.messages.iter().filter(|answer| !is_interim(answer));
    for request in &asked {
        let answer = answers.next();
        writer.now = take.began.0 + request.at;
        let good = answer
            .and_then(Message::status)
            .is_some_and(|status| (200..300).contains(&status));
        let Some(lines) = writer.request(request, good).filter(|_| request.whole) else {
            until = Some(until.map_or(request.at, |until| until.min(request.at)));
            break;
        };
        let mut push = |at, letter, lines| {
            pieces.push(Piece {
                at,
                what: What::Ready { letter, lines },
            })
        };
        // What was pipelined is asked one after the other: which answer is whose is then told by the order alone.
        let asked = request.ended.max(before);
        before = answer.map_or(asked, |answer| answer.ended.max(asked));
        push(asked, 'C', lines);
        if let Some(answer) = answer {
            push(before, 'S', writer.response(answer));
        }
    }
    for (at, event) in &take.events {
        let what = match event {
            Event::Eof => What::Eof,
            Event::Shutdown => What::Shutdown,
            Event::Closed => What::Closed,
            Event::Said(_) | Event::Sent(_) => continue,
        };
        pieces.push(Piece { at: *at, what });
    }
    pieces.sort_by_key(|piece| piece.at);
    let told = pieces
        .iter()
        .find(|piece| writer.tells(piece))
        .map(|piece| piece.at);
    until = until.into_iter().chain(told).min();
    if let Some(until) = until {
        pieces.retain(|piece| piece.at < until);
    }
    Cut {
        pieces,
        doubtful: until.is_some(),
        needs_user: writer.needs_user,
    }
}

fn is_interim(answer: &Message) -> bool {
    answer.status().is_some_and(|status| (100..200).contains(&status))
}

struct Writer<'a> {
    tokens: &'a Tokens,
    /// When the request came.
    now: Duration,
    /// It is known whose session it is.
    account: bool,
    /// All that must not be written.
    secrets: BTreeSet<String>,
    needs_user: bool,
}

impl Writer<'_> {
    /// The lines of a request. `None`: it cannot be told what in it is secret.
    fn request(&mut self, message: &Message, good: bool) -> Option<Vec<String>> {
        const OWN: [&str; 3] = ["content-length", "transfer-encoding", "expect"];
        let mut out = vec![format!(": {}", text(self.target(&message.first).as_bytes())?)];
        for (name, value) in &message.fields {
            if OWN.contains(&name.to_ascii_lowercase().as_str()) {
                continue;
            }
            let value = match is_secret(name) {
                true => self.field(name, value),
                false => text(value.as_bytes())?.to_owned(),
            };
            out.push(format!(": {name}: {value}"));
        }
        let framed = ["content-length", "transfer-encoding"]
            .iter()
            .any(|name| message.field(name).is_some());
        if message.body.is_empty() {
            out.extend(framed.then(|| ": Content-Length: 0".to_owned()));
            out.push(":".to_owned());
            return Some(out);
        }
        out.push(": Content-Length: {#}".to_owned());
        out.push(":".to_owned());
        out.extend(self.content(message, good)?);
        Some(out)
    }

    /// The first line, with what is secret of its query masked.
    fn target(&mut self, first: &str) -> String {
        let Some((head, rest)) = first.split_once('?') else {
            return first.to_owned();
        };
        let (query, version) = rest.rsplit_once(' ').unwrap_or((rest, ""));
        let parts: Vec<String> = query
            .split('&')
            .map(|part| match part.split_once('=') {
                Some((name, value)) if is_secret(name) => {
                    self.keep_secret(value);
                    format!("{name}={MASKED}")
                }
                _ => part.to_owned(),
            })
            .collect();
        format!("{head}?{} {version}", parts.join("&"))
    }

    fn field(&mut self, name: &str, value: &str) -> String {
        let (scheme, secret) = value.split_once(' ').unwrap_or(("", value));
        self.keep_secret(secret.trim());
        let is_bearer = name.eq_ignore_ascii_case("authorization") && scheme.eq_ignore_ascii_case("bearer");
        match self.tokens.get(secret.trim(), self.now) {
            Some(known) if is_bearer => format!("Bearer {known}"),
            None if is_bearer && self.account => {
                self.needs_user = true;
                "Bearer ${token}".to_owned()
            }
            _ => MASKED.to_owned(),
        }
    }

    fn content(&mut self, message: &Message, good: bool) -> Option<Vec<String>> {
        let kind = message
            .field("content-type")
            .unwrap_or_default()
            .to_ascii_lowercase();
        if kind.starts_with("message/rfc822") {
            return Some(match lines(&message.body) {
                Some(lines) => lines.iter().map(|line| format!("| {line}")).collect(),
                None => vec![format!("~ {}", escape(&message.body))],
            });
        }
        // In JSON these can only stand in strings, where each character has another form.
        let plain = core::str::from_utf8(&message.body).ok()?;
        let plain = plain
            .replace("${", "\\u0024{")
            .replace("{*", "\\u007b*")
            .replace("{#", "\\u007b#");
        let login = message.path().ends_with("/auth/login") && good;
        let (tokens, now) = (self.tokens, self.now);
        let mut secrets = Vec::new();
        let body = rewrite(&plain, &mut |name, value| {
            if login && name == "username" {
                return Some("\"${user}\"".to_owned());
            }
            if !is_secret(name) || matches!(value, "true" | "false" | "null") {
                return None;
            }
            let secret = serde_json::from_str::<String>(value).unwrap_or_default();
            let known = tokens.get(&secret, now);
            secrets.push(secret);
            Some(match name {
                "password" if login => "\"${password}\"".to_owned(),
                _ => format!("\"{}\"", known.unwrap_or(MASKED)),
            })
        })?;
        secrets.iter().for_each(|secret| self.keep_secret(secret));
        Some(vec![format!("= {body}")])
    }

    fn response(&mut self, message: &Message) -> Vec<String> {
        const TOLD: [&str; 3] = ["content-type", "connection", "www-authenticate"];
        let first = match text(message.first.as_bytes()) {
            Some(first) => first.to_owned(),
            None => format!("HTTP/1.1 {} ${{*}}", message.status().unwrap_or_default()),
        };
        let mut out = vec![format!("^ {first}")];
        for (name, value) in &message.fields {
            if TOLD.contains(&name.to_ascii_lowercase().as_str())
                && let Some(value) = text(value.as_bytes())
            {
                out.push(format!("| {name}: {value}"));
            }
        }
        if !message.body.is_empty() || !message.whole {
            let body = self.told(message).unwrap_or_else(|| "${*}".to_owned());
            out.push(format!("= {body}"));
        }
        out
    }

    /// The content of a response, if it is JSON of which most can be expected again.
    fn told(&mut self, message: &Message) -> Option<String> {
        if message.field("content-encoding").is_some() || !message.whole {
            return None;
        }
        let plain = text(&message.body)?;
        let mut wild = 0;
        let mut secrets = Vec::new();
        let tokens = self.tokens;
        let told = rewrite(plain, &mut |name, value| {
            if !is_secret(name) && !varies(name) || matches!(value, "true" | "false" | "null") {
                return None;
            }
            wild += 1;
            let is_string = value.starts_with('"');
            if is_secret(name) {
                secrets.push(serde_json::from_str::<String>(value).unwrap_or_default());
                if let Some(known) = secrets
                    .last()
                    .and_then(|secret| tokens.get(secret, Duration::MAX))
                {
                    return Some(format!("\"{known}\""));
                }
            }
            Some(if is_string { "\"${*}\"" } else { "${*}" }.to_owned())
        })?;
        secrets.iter().for_each(|secret| self.keep_secret(secret));
        // With spaces in it, it is another text now.
        let same = rewrite(plain, &mut |_, _| None)? == plain;
        (same && wild <= MAX_WILD).then_some(told)
    }

    fn keep_secret(&mut self, secret: &str) {
        if secret.len() >= MIN_SECRET {
            self.secrets.insert(secret.to_owned());
        }
    }

    /// Whether a secret stands in it after all.
    fn tells(&self, piece: &Piece) -> bool {
        let What::Ready { lines, .. } = &piece.what else {
            return false;
        };
        self.secrets.len() > MAX_SECRETS
            || lines
                .iter()
                .any(|line| self.secrets.iter().any(|secret| line.contains(secret.as_str())))
    }
}
