//! A client of IMAP that asks and tells, and judges nothing.

use std::time::{Duration, Instant};

use rmail_core::diagnose::Service;
use rmail_core::diagnose::answers::has_capability;

use super::wire::{PATIENCE, Place, Wire};
use super::{Checked, Login, Run, Trouble};

/// Responses to one command that are read.
const MAX_RESPONSES: usize = 10_000;

/// What a command was answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    /// Responses without `* `, literals in their places.
    pub(super) untagged: Vec<String>,
    /// `OK`, `NO` or `BAD`.
    pub(super) status: String,
    /// What stands behind it.
    pub(super) text: String,
}

impl Answer {
    /// The first response that begins so, in any case.
    pub(super) fn response(&self, start: &str) -> Option<&str> {
        let begins = |line: &&String| {
            line.get(..start.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(start))
        };
        self.untagged.iter().find(begins).map(String::as_str)
    }

    /// Whether any response has this text in it.
    pub(super) fn says(&self, text: &str) -> bool {
        self.untagged.iter().any(|line| line.contains(text))
    }

    /// The numbers of `SEARCH`.
    pub(super) fn found(&self) -> Vec<u32> {
        let line = self.response("SEARCH").unwrap_or_default();
        line.split(' ').filter_map(|word| word.parse().ok()).collect()
    }

    /// What stands in a response code such as `[COPYUID 1 2 3]`, of the tagged line or an untagged one.
    pub(super) fn code(&self, name: &str) -> Option<String> {
        let start = format!("[{name} ");
        let lines = self.untagged.iter().chain([&self.text]);
        lines
            .filter_map(|line| line.split_once(&start))
            .find_map(|(_, rest)| Some(rest.split_once(']')?.0.to_owned()))
    }

    /// All of it, for people.
    pub(super) fn shown(&self) -> String {
        let last = self
            .untagged
            .iter()
            .rev()
            .take(3)
            .rev()
            .map(|line| format!("* {line}"));
        let own = format!("{} {}", self.status, self.text);
        last.chain([own]).collect::<Vec<_>>().join("\n")
    }
}

/// A session.
#[derive(Debug)]
pub(super) struct Imap {
    wire: Wire,
    tag: u32,
    pub(super) greeting: String,
    pub(super) capabilities: Vec<String>,
}

impl Imap {
    /// Connects, does the handshake where TLS comes first, and reads the greeting.
    pub(super) fn open(run: &Run<'_>, service: Service) -> Checked<Self> {
        Self::begin(run, service, run.connect(service)?)
    }

    /// The same at one of the service's addresses.
    pub(super) fn open_at(run: &Run<'_>, service: Service, place: &Place) -> Checked<Self> {
        Self::begin(run, service, Wire::connect(place, &run.stop)?)
    }

    fn begin(run: &Run<'_>, service: Service, mut wire: Wire) -> Checked<Self> {
        if service.is_secure() {
            wire.encrypt(&run.tls, &run.subject.name)?;
        }
        let greeting = wire.line()?;
        Ok(Self {
            wire,
            tag: 0,
            greeting,
            capabilities: Vec::new(),
        })
    }

    /// The same, over TLS if that is to be had, and with capabilities.
    pub(super) fn ready(run: &Run<'_>, service: Service) -> Checked<Self> {
        let mut imap = Self::open(run, service)?;
        imap.learn()?;
        if !service.is_secure() && imap.has("STARTTLS") {
            imap.starttls(run)?;
        }
        Ok(imap)
    }

    /// The same on the best port there is, logged in.
    pub(super) fn logged_in(run: &Run<'_>, login: &Login) -> Checked<Self> {
        let mut imap = Self::ready(run, run.imap_service()?)?;
        let answer = imap.login(&login.address, &login.password)?;
        if answer.status != "OK" {
            return Err(Trouble::broken("OK to LOGIN", answer.shown()));
        }
        imap.learn()?;
        Ok(imap)
    }

    pub(super) fn has(&self, capability: &str) -> bool {
        has_capability(&self.capabilities, capability)
    }

    /// CAPABILITY.
    pub(super) fn learn(&mut self) -> Checked<()> {
        let answer = self.want("CAPABILITY")?;
        let line = answer.response("CAPABILITY").unwrap_or_default();
        self.capabilities = line.split(' ').skip(1).map(str::to_owned).collect();
        Ok(())
    }

    pub(super) fn starttls(&mut self, run: &Run<'_>) -> Checked<()> {
        self.want("STARTTLS")?;
        self.wire.encrypt(&run.tls, &run.subject.name)?;
        self.learn()
    }

    pub(super) fn login(&mut self, name: &str, password: &str) -> Checked<Answer> {
        self.say(&format!("LOGIN {} {}", quoted(name), quoted(password)))
    }

    /// A command, and all that comes up to its tagged answer.
    pub(super) fn say(&mut self, command: &str) -> Checked<Answer> {
        let tag = self.next_tag();
        self.wire.send(format!("{tag} {command}\r\n").as_bytes())?;
        self.answer(&tag)
    }

    /// The same, where only OK will do.
    pub(super) fn want(&mut self, command: &str) -> Checked<Answer> {
        let answer = self.say(command)?;
        if answer.status == "OK" {
            return Ok(answer);
        }
        Err(Trouble::broken(format!("OK to {command}"), answer.shown()))
    }

    pub(super) fn append(&mut self, mailbox: &str, flags: &str, message: &str) -> Checked<Answer> {
        let tag = self.next_tag();
        let command = format!(
            "{tag} APPEND {} ({flags}) {{{}}}\r\n",
            quoted(mailbox),
            message.len()
        );
        self.wire.send(command.as_bytes())?;
        loop {
            let line = self.wire.line()?;
            if line.starts_with('+') {
                break;
            }
            if let Some(rest) = line.strip_prefix(&format!("{tag} ")) {
                return Ok(tagged(rest, Vec::new()));
            }
        }
        self.wire.send(format!("{message}\r\n").as_bytes())?;
        self.answer(&tag)
    }

    /// IDLE, up to its continuation.
    pub(super) fn idle(&mut self) -> Checked<String> {
        let tag = self.next_tag();
        self.wire.send(format!("{tag} IDLE\r\n").as_bytes())?;
        loop {
            let line = self.wire.line()?;
            if line.starts_with('+') {
                return Ok(tag);
            }
            if line.starts_with(&tag) {
                return Err(Trouble::broken("+ to IDLE", line));
            }
        }
    }

    /// Waits for an untagged line that ends so; how long that took. None: it did not come.
    pub(super) fn wait_for(&mut self, end: &str, time: Duration) -> Checked<Option<Duration>> {
        let begun = Instant::now();
        loop {
            let left = time.saturating_sub(begun.elapsed());
            match self.wire.line_within(left)? {
                Some(line) if line.starts_with("* ") && line.ends_with(end) => {
                    return Ok(Some(begun.elapsed()));
                }
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    /// Ends IDLE.
    pub(super) fn done(&mut self, tag: &str) -> Checked<Answer> {
        self.wire.send(b"DONE\r\n")?;
        self.answer(tag)
    }

    /// Says goodbye; nobody minds if it is not heard.
    pub(super) fn logout(&mut self) {
        drop(self.say("LOGOUT"));
    }

    fn next_tag(&mut self) -> String {
        self.tag += 1;
        format!("d{}", self.tag)
    }

    fn answer(&mut self, tag: &str) -> Checked<Answer> {
        let begun = Instant::now();
        let mut untagged = Vec::new();
        loop {
            let response = self.response()?;
            if let Some(rest) = response.strip_prefix(tag).and_then(|rest| rest.strip_prefix(' ')) {
                return Ok(tagged(rest, untagged));
            }
            if let Some(rest) = response.strip_prefix("* ") {
                untagged.push(rest.to_owned());
            }
            if untagged.len() > MAX_RESPONSES || begun.elapsed() > PATIENCE * 3 {
                return Err(Trouble::broken(
                    "a tagged answer",
                    format!("{} responses", untagged.len()),
                ));
            }
        }
    }

    /// A line with its literals.
    fn response(&mut self) -> Checked<String> {
        let mut whole = self.wire.line()?;
        while let Some(count) = literal(&whole) {
            let octets = self.wire.exactly(count)?;
            whole.push_str("\r\n");
            whole.push_str(&String::from_utf8_lossy(&octets));
            whole.push_str(&self.wire.line()?);
            if whole.len() > super::wire::MAX {
                return Err(Trouble::broken("the end of a response", "more than is ever read"));
            }
        }
        Ok(whole)
    }
}

/// The octets of the literal that a line ends with.
fn literal(line: &str) -> Option<usize> {
    let (_, digits) = line.strip_suffix('}')?.rsplit_once('{')?;
    digits.parse().ok()
}

fn tagged(rest: &str, untagged: Vec<String>) -> Answer {
    let (status, text) = rest.split_once(' ').unwrap_or((rest, ""));
    Answer {
        untagged,
        status: status.to_ascii_uppercase(),
        text: text.to_owned(),
    }
}

/// As a quoted string. Our own words have no line ends.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_seen_at_the_end_of_a_line() {
        assert_eq!(literal("* 1 FETCH (BODY[] {12}"), Some(12));
        assert_eq!(literal("* OK {x}"), None);
        assert_eq!(literal("* OK 12}"), None);
    }

    #[test]
    fn codes_are_found_wherever_they_stand() {
        let answer = tagged("OK [COPYUID 7 1 2] done", vec!["OK [UIDNEXT 4] next".to_owned()]);
        assert_eq!(answer.status, "OK");
        assert_eq!(answer.code("COPYUID").as_deref(), Some("7 1 2"));
        assert_eq!(answer.code("UIDNEXT").as_deref(), Some("4"));
        assert_eq!(answer.code("UIDVALIDITY"), None);
    }

    #[test]
    fn quotes_are_quoted() {
        assert_eq!(quoted("a\"b\\c"), "\"a\\\"b\\\\c\"");
    }
}
