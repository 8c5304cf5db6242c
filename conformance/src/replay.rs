//! Replays a transcript.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;

use rmail_core::refusal::Refusal;
use rmail_core::time::{Mono, Now, Unix};

use crate::host::{Connection, Event};
use crate::template::{Bindings, Template};
use crate::transcript::{Expected, Mistake, Opening, Transcript, What};

/// How client lines that follow each other come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Each by itself.
    Lines,
    /// Octet by octet.
    Octets,
    /// All in one read.
    Together,
}

impl Delivery {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Lines, Self::Octets, Self::Together];
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lines => "line by line",
            Self::Octets => "octet by octet",
            Self::Together => "in one read",
        })
    }
}

/// Where sessions connect to: the server and all around it.
pub trait Stage {
    /// A new connection.
    ///
    /// # Errors
    /// The opening cannot be, in words.
    fn connect(&mut self, opening: &Opening, now: Now) -> Result<Box<dyn Connection>, String>;

    /// `!:`, but for `shutdown` and `eof`, which are the replayer's.
    ///
    /// # Errors
    /// The event cannot be, in words.
    fn outside(&mut self, event: &str, now: Now) -> Result<(), String>;

    /// Time has passed.
    fn passed(&mut self, now: Now);
}

/// When a transcript begins.
#[must_use]
pub fn beginning() -> Now {
    Now {
        mono: Mono::default(),
        // 2024-03-04 05:06:07 UTC.
        unix: Unix::from_secs(1_709_528_767),
    }
}

/// Something went another way than the transcript says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The file is no transcript.
    #[error(transparent)]
    Mistake(#[from] Mistake),
    /// At this line.
    #[error("line {line}, {delivery}: {text}")]
    Step {
        /// Line of the file.
        line: usize,
        /// How it was delivered.
        delivery: Delivery,
        /// What.
        text: String,
    },
    /// Two deliveries gave different octets.
    #[error("connection {connection} sends other octets {one} than {other}:\n{first:?}\n{second:?}")]
    Differs {
        /// Connection.
        connection: usize,
        /// A delivery.
        one: Delivery,
        /// The other.
        other: Delivery,
        /// What was sent in the first.
        first: String,
        /// What was sent in the second.
        second: String,
    },
}

/// Replays a transcript in all three deliveries, each on a stage of its own.
///
/// # Errors
/// The first thing that goes another way.
pub fn replay<S: Stage>(
    transcript: &Transcript,
    mut stage: impl FnMut(&Transcript, Now) -> Result<S, String>,
) -> Result<(), Failure> {
    let mut first: Option<BTreeMap<usize, Vec<u8>>> = None;
    for delivery in Delivery::ALL {
        let mut player = Player::open(transcript, &mut stage, delivery)?;
        player.play(transcript)?;
        let sent = player.sent();
        let Some(before) = &first else {
            first = Some(sent);
            continue;
        };
        for (connection, octets) in &sent {
            let other = before.get(connection).map(Vec::as_slice).unwrap_or_default();
            if octets != other {
                return Err(Failure::Differs {
                    connection: *connection,
                    one: Delivery::ALL[0],
                    other: delivery,
                    first: String::from_utf8_lossy(other).into_owned(),
                    second: String::from_utf8_lossy(octets).into_owned(),
                });
            }
        }
    }
    Ok(())
}

/// A transcript being played.
pub(crate) struct Player<S> {
    stage: S,
    delivery: Delivery,
    pub(crate) now: Now,
    connections: BTreeMap<usize, Box<dyn Connection>>,
    pub(crate) bindings: Bindings,
    /// Actions that were looked at, by connection.
    seen: BTreeMap<usize, usize>,
    /// Client lines are being sent; of `Together`, those that wait.
    sending: bool,
    waiting: Option<(usize, Vec<u8>)>,
    line: usize,
}

impl<S: Stage> Player<S> {
    pub(crate) fn open(
        transcript: &Transcript,
        stage: &mut impl FnMut(&Transcript, Now) -> Result<S, String>,
        delivery: Delivery,
    ) -> Result<Self, Failure> {
        let now = beginning();
        let at = |line, text| Failure::Step { line, delivery, text };
        let mut player = Self {
            stage: stage(transcript, now).map_err(|text| at(0, text))?,
            delivery,
            now,
            connections: BTreeMap::new(),
            bindings: Bindings::new(),
            seen: BTreeMap::new(),
            sending: false,
            waiting: None,
            line: 0,
        };
        for (number, opening) in &transcript.sessions {
            // The others are opened when they are first named, so that their greeting stands there.
            if opening.options.contains_key("user") {
                let opened = player.connect(transcript, *number);
                opened.map_err(|text| at(opening.line, text))?;
            }
        }
        player.settle().map_err(|text| at(0, text))?;
        Ok(player)
    }

    /// Opens a connection unless it is open.
    pub(crate) fn connect(&mut self, transcript: &Transcript, on: usize) -> Result<(), String> {
        if self.connections.contains_key(&on) {
            return Ok(());
        }
        let opening = transcript.sessions.get(&on);
        let opening = opening.ok_or_else(|| format!("no connection {on}"))?;
        let connection = self.stage.connect(opening, self.now)?;
        self.connections.insert(on, connection);
        Ok(())
    }

    fn play(&mut self, transcript: &Transcript) -> Result<(), Failure> {
        for (at, step) in transcript.steps.iter().enumerate() {
            let done = self.step(transcript, at);
            done.map_err(|text| self.failure(step.line, text))?;
        }
        let end = self.end_of_sending().and_then(|()| self.all_seen());
        end.map_err(|text| self.failure(self.line, text))
    }

    pub(crate) fn failure(&self, line: usize, text: String) -> Failure {
        Failure::Step {
            line,
            delivery: self.delivery,
            text,
        }
    }

    fn sent(&mut self) -> BTreeMap<usize, Vec<u8>> {
        self.connections
            .iter_mut()
            .map(|(number, connection)| (*number, connection.state().sent.clone()))
            .collect()
    }

    pub(crate) fn step(&mut self, transcript: &Transcript, at: usize) -> Result<(), String> {
        let Some(step) = transcript.steps.get(at) else {
            return Ok(());
        };
        self.line = step.line;
        if let Some(on) = step.what.connection() {
            self.connect(transcript, on)?;
        }
        match &step.what {
            What::Line(on, _) | What::Body(on, _) | What::Octets(on, _) => {
                self.before_sending(transcript, at)?;
                let octets = self.octets(transcript, at)?;
                return self.send(*on, &octets);
            }
            _ => self.end_of_sending()?,
        }
        match &step.what {
            What::Line(..) | What::Body(..) | What::Octets(..) => Ok(()),
            What::Expect(on, expected) => self.expect(*on, expected),
            What::Maybe(on, template) => self.maybe(*on, template),
            What::ExpectOctets(on, octets) => self.expect_octets(*on, octets),
            What::AnyOrder(on, lines) => self.any_order(*on, lines),
            What::Silence(on) => match self.unseen(*on).as_slice() {
                [] => Ok(()),
                octets => Err(format!("something was sent: {}", show(octets))),
            },
            What::Closed(on) => self.closed(*on),
            What::Time(by) => {
                self.all_seen()?;
                self.time(*by)
            }
            What::Outside(event) => {
                self.all_seen()?;
                self.arm(transcript, at)?;
                self.outside(event)
            }
            What::Action(on, template, _) => self.action(*on, template),
        }
    }

    // What the client does.

    /// Nothing that was sent before may be left when a client line follows what is no client line.
    fn before_sending(&mut self, transcript: &Transcript, at: usize) -> Result<(), String> {
        if !self.sending {
            self.all_seen()?;
            self.arm(transcript, at)?;
            self.sending = true;
        }
        Ok(())
    }

    /// The octets of a client step.
    fn octets(&self, transcript: &Transcript, at: usize) -> Result<Vec<u8>, String> {
        let Some(step) = transcript.steps.get(at) else {
            return Ok(Vec::new());
        };
        let (template, count) = match &step.what {
            What::Octets(_, octets) => return Ok(octets.clone()),
            What::Line(on, template) if template.counts() => {
                (template, Some(self.count(transcript, at, *on)?))
            }
            What::Line(_, template) | What::Body(_, template) => (template, None),
            _ => return Ok(Vec::new()),
        };
        let mut octets = template.fill(&self.bindings, count)?;
        octets.extend_from_slice(b"\r\n");
        Ok(octets)
    }

    /// Octets of the `C|` lines that come next on the connection, perhaps after the server's `+`.
    fn count(&self, transcript: &Transcript, at: usize, on: usize) -> Result<usize, String> {
        let mut count = 0;
        let mut begun = false;
        for step in transcript.steps.iter().skip(at + 1) {
            match &step.what {
                What::Body(other, template) if *other == on => {
                    begun = true;
                    count += template.fill(&self.bindings, None)?.len() + 2;
                }
                What::Expect(..) | What::Action(..) if !begun => {}
                _ => break,
            }
        }
        if begun {
            Ok(count)
        } else {
            Err("{*} without C| lines behind it".to_owned())
        }
    }

    fn send(&mut self, on: usize, octets: &[u8]) -> Result<(), String> {
        if self.state(on)?.closed {
            return Err("the server has closed this connection".to_owned());
        }
        match self.delivery {
            Delivery::Lines => self.happen(on, Event::Bytes(octets)),
            Delivery::Octets => octets
                .iter()
                .try_for_each(|octet| self.happen(on, Event::Bytes(core::slice::from_ref(octet)))),
            Delivery::Together => {
                match &mut self.waiting {
                    Some((other, waiting)) if *other == on => waiting.extend_from_slice(octets),
                    _ => {
                        self.flush()?;
                        self.waiting = Some((on, octets.to_vec()));
                    }
                }
                Ok(())
            }
        }
    }

    fn flush(&mut self) -> Result<(), String> {
        match self.waiting.take() {
            Some((on, octets)) => self.happen(on, Event::Bytes(&octets)),
            None => Ok(()),
        }
    }

    /// The client is waiting for the server now; a handshake that was asked for takes place.
    pub(crate) fn end_of_sending(&mut self) -> Result<(), String> {
        self.flush()?;
        self.sending = false;
        let numbers: Vec<usize> = self.connections.keys().copied().collect();
        for on in numbers {
            if self.state(on)?.tls_wanted {
                self.happen(on, Event::Tls)?;
            }
        }
        Ok(())
    }

    /// Calls that the steps up to the next client line say are refused.
    fn arm(&mut self, transcript: &Transcript, at: usize) -> Result<(), String> {
        let mut waits = false;
        for step in transcript.steps.iter().skip(at) {
            match &step.what {
                What::Line(..) | What::Body(..) | What::Octets(..) | What::Outside(_) if waits => break,
                What::Line(..) | What::Body(..) | What::Octets(..) | What::Outside(_) => {}
                What::Action(on, template, Some(word)) => {
                    waits = true;
                    let word = refusal(word)?;
                    self.state(*on)?.refusals.push((template.clone(), word));
                }
                _ => waits = true,
            }
        }
        Ok(())
    }

    // What else happens.

    fn happen(&mut self, on: usize, event: Event<'_>) -> Result<(), String> {
        let now = self.now;
        self.connection(on)?.happen(now, event)?;
        self.settle()
    }

    /// The others hear of it.
    fn settle(&mut self) -> Result<(), String> {
        let now = self.now;
        self.connections
            .values_mut()
            .try_for_each(|connection| connection.happen(now, Event::Nothing))
    }

    fn time(&mut self, by: Duration) -> Result<(), String> {
        let (from, until) = (self.now, self.now.mono + by);
        for _ in 0..100_000 {
            let next = self
                .connections
                .iter()
                .filter_map(|(on, connection)| Some((connection.deadline()?, *on)))
                .min();
            let (at, on) = match next.filter(|(at, _)| *at <= until) {
                Some((at, on)) => (at.max(self.now.mono), Some(on)),
                None => (until, None),
            };
            self.now = Now {
                mono: at,
                unix: Unix(from.unix.0 + (at - from.mono)),
            };
            self.stage.passed(self.now);
            match on {
                Some(on) => self.happen(on, Event::Tick)?,
                None => return self.settle(),
            }
        }
        Err("a deadline that never moves on".to_owned())
    }

    fn outside(&mut self, event: &str) -> Result<(), String> {
        let words: Vec<&str> = event.split_whitespace().collect();
        match words.as_slice() {
            ["shutdown"] => {
                let numbers: Vec<usize> = self.connections.keys().copied().collect();
                numbers
                    .into_iter()
                    .try_for_each(|on| self.happen(on, Event::Shutdown))
            }
            ["eof"] => self.happen(1, Event::Eof),
            ["eof", number] => {
                let on = number.parse().map_err(|_| "expected a connection's number")?;
                self.happen(on, Event::Eof)
            }
            _ => {
                self.stage.outside(event, self.now)?;
                self.settle()
            }
        }
    }

    fn action(&mut self, on: usize, template: &Template) -> Result<(), String> {
        let from = self.seen.get(&on).copied().unwrap_or(0);
        let bindings = self.bindings.clone();
        let actions = &self.state(on)?.actions;
        let rest = actions.get(from..).unwrap_or_default();
        let found = rest
            .iter()
            .enumerate()
            .find_map(|(at, action)| Some((at, template.matches(action.as_bytes(), &bindings)?)));
        let Some((at, matched)) = found else {
            return Err(format!("no such action among:\n{}", rest.join("\n")));
        };
        self.seen.insert(on, from + at + 1);
        self.bindings.extend(matched.bound);
        Ok(())
    }

    // What the server sent.

    fn connection(&mut self, on: usize) -> Result<&mut Box<dyn Connection>, String> {
        self.connections
            .get_mut(&on)
            .ok_or_else(|| format!("no connection {on}"))
    }

    fn state(&mut self, on: usize) -> Result<&mut crate::host::State, String> {
        Ok(self.connection(on)?.state())
    }

    pub(crate) fn unseen(&mut self, on: usize) -> Vec<u8> {
        self.state(on)
            .map(|state| state.unseen.clone())
            .unwrap_or_default()
    }

    pub(crate) fn consume(&mut self, on: usize, octets: usize) {
        if let Ok(state) = self.state(on) {
            state.unseen.drain(..octets.min(state.unseen.len()));
        }
    }

    /// Every octet that was sent has been looked at.
    fn all_seen(&mut self) -> Result<(), String> {
        for (number, connection) in &mut self.connections {
            let unseen = &connection.state().unseen;
            if !unseen.is_empty() {
                return Err(format!(
                    "connection {number} sent what is not here: {}",
                    show(unseen)
                ));
            }
        }
        Ok(())
    }

    fn expect(&mut self, on: usize, expected: &Expected) -> Result<(), String> {
        let unseen = self.unseen(on);
        let (bound, used) = matches(expected, &unseen, &self.bindings)?;
        self.bindings.extend(bound);
        self.consume(on, used);
        Ok(())
    }

    fn maybe(&mut self, on: usize, template: &Template) -> Result<(), String> {
        let unseen = self.unseen(on);
        if let Some((line, used)) = first_line(&unseen)
            && let Some(matched) = template.matches(line, &self.bindings)
        {
            self.bindings.extend(matched.bound);
            self.consume(on, used);
        }
        Ok(())
    }

    fn expect_octets(&mut self, on: usize, octets: &[u8]) -> Result<(), String> {
        let unseen = self.unseen(on);
        if !unseen.starts_with(octets) {
            return Err(format!("sent: {}", show(&unseen)));
        }
        self.consume(on, octets.len());
        Ok(())
    }

    fn any_order(&mut self, on: usize, lines: &[Expected]) -> Result<(), String> {
        let mut open: Vec<&Expected> = lines.iter().collect();
        while !open.is_empty() {
            let unseen = self.unseen(on);
            let found = open
                .iter()
                .enumerate()
                .find_map(|(at, expected)| Some((at, matches(expected, &unseen, &self.bindings).ok()?)));
            let Some((at, (bound, used))) = found else {
                let wanted: Vec<String> = open
                    .iter()
                    .map(|expected| format!("line {}", expected.line))
                    .collect();
                return Err(format!(
                    "none of {} matches what was sent: {}",
                    wanted.join(", "),
                    show(&unseen)
                ));
            };
            open.remove(at);
            self.bindings.extend(bound);
            self.consume(on, used);
        }
        Ok(())
    }

    fn closed(&mut self, on: usize) -> Result<(), String> {
        let state = self.state(on)?;
        if !state.unseen.is_empty() {
            return Err(format!("something was sent: {}", show(&state.unseen)));
        }
        if state.closed {
            Ok(())
        } else {
            Err("the connection is open".to_owned())
        }
    }
}

/// Matches a line with its literal at the front of what was sent: what it bound, and how many octets it has.
pub(crate) fn matches(
    expected: &Expected,
    unseen: &[u8],
    bindings: &Bindings,
) -> Result<(Bindings, usize), String> {
    let (line, mut used) = first_line(unseen).ok_or_else(|| {
        if unseen.is_empty() {
            "nothing was sent".to_owned()
        } else {
            format!("sent without a line end: {}", show(unseen))
        }
    })?;
    let Some(matched) = expected.first.matches(line, bindings) else {
        return Err(format!("sent: {}", show(line)));
    };
    let mut known = bindings.clone();
    let mut bound = matched.bound;
    known.extend(bound.clone());
    let from = used;
    for template in &expected.body {
        let (line, more) = unseen
            .get(used..)
            .and_then(first_line)
            .ok_or("the literal is shorter than here")?;
        let Some(matched) = template.matches(line, &known) else {
            return Err(format!("sent in the literal: {}", show(line)));
        };
        known.extend(matched.bound.clone());
        bound.extend(matched.bound);
        used += more;
    }
    match matched.count {
        Some(count) if count != used - from => Err(format!(
            "the literal is announced with {count} octets, and has {}",
            used - from
        )),
        _ => Ok((bound, used)),
    }
}

/// The first line without its CRLF, and its length with it.
pub(crate) fn first_line(octets: &[u8]) -> Option<(&[u8], usize)> {
    let end = octets.windows(2).position(|pair| pair == b"\r\n")?;
    Some((octets.get(..end)?, end + 2))
}

/// Octets for people.
pub(crate) fn show(octets: &[u8]) -> String {
    const SHOWN: usize = 2_000;
    let more = if octets.len() > SHOWN { "…" } else { "" };
    let shown = octets.get(..octets.len().min(SHOWN)).unwrap_or_default();
    format!("{}{more}", String::from_utf8_lossy(shown).escape_debug())
}

/// A word of policy by its name.
fn refusal(word: &str) -> Result<Refusal, String> {
    const ALL: [Refusal; 23] = [
        Refusal::BadCredentials,
        Refusal::AccountDisabled,
        Refusal::TooManyAttempts,
        Refusal::NoSuchUser,
        Refusal::RelayDenied,
        Refusal::RelayDisabled,
        Refusal::SenderNotOwned,
        Refusal::AuthorNotOwned,
        Refusal::OverQuota,
        Refusal::TooLarge,
        Refusal::QueueFull,
        Refusal::DiskFull,
        Refusal::Busy,
        Refusal::Unavailable,
        Refusal::Storage,
        Refusal::NoSuchMailbox,
        Refusal::MailboxExists,
        Refusal::BadMailboxName,
        Refusal::NotPossible,
        Refusal::TooManyKeywords,
        Refusal::MailboxFull,
        Refusal::ReadOnly,
        Refusal::NotPermitted,
    ];
    ALL.into_iter()
        .find(|refusal| format!("{refusal:?}") == word)
        .ok_or_else(|| format!("no word of policy: {word}"))
}

impl<S> fmt::Debug for Player<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Player")
            .field("delivery", &self.delivery)
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}
