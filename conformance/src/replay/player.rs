//! A transcript, step by step.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;

use rmail_core::refusal::Refusal;
use rmail_core::time::{Now, Unix};

use super::{Delivery, Failure, Stage, beginning};
use crate::host::{Connection, Event, Wait};
use crate::template::{Bindings, Template};
use crate::transcript::{Transcript, What};

/// A transcript being played.
pub(crate) struct Player<S> {
    stage: S,
    delivery: Delivery,
    pub(crate) now: Now,
    pub(super) connections: BTreeMap<usize, Box<dyn Connection>>,
    pub(crate) bindings: Bindings,
    /// Actions that were looked at, by connection.
    seen: BTreeMap<usize, usize>,
    /// Client lines are being sent; of `Together`, those that wait.
    sending: bool,
    waiting: Option<(usize, Vec<u8>)>,
    /// It was recorded: what the server says may come sooner than it stands there.
    recorded: bool,
    line: usize,
}

impl<S: Stage> Player<S> {
    pub(crate) fn open(
        transcript: &Transcript,
        stage: &mut impl FnMut(&Transcript, Now) -> Result<S, String>,
        delivery: Delivery,
    ) -> Result<Self, Failure> {
        let now = transcript
            .begins
            .map_or_else(beginning, |unix| Now { unix, ..beginning() });
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
            recorded: transcript.recorded,
            line: 0,
        };
        player.bindings = player.stage.told();
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
        let mut connection = self.stage.connect(opening, self.now)?;
        self.bindings.append(&mut connection.state().told);
        self.connections.insert(on, connection);
        Ok(())
    }

    pub(crate) fn play(&mut self, transcript: &Transcript) -> Result<(), Failure> {
        for (at, step) in transcript.steps.iter().enumerate() {
            let done = self.step(transcript, at);
            done.map_err(|text| self.failure(step.line, text))?;
        }
        let cut = transcript.cut;
        let end = self.end_of_sending();
        let end = end.and_then(|()| if cut { Ok(()) } else { self.all_seen() });
        end.map_err(|text| self.failure(self.line, text))
    }

    pub(crate) fn failure(&self, line: usize, text: String) -> Failure {
        Failure::Step {
            line,
            delivery: self.delivery,
            text,
        }
    }

    pub(super) fn sent(&mut self) -> BTreeMap<usize, Vec<u8>> {
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
            What::Line(on, _) | What::Body(on, _) | What::Octets(on, _) | What::Text(on, _) => {
                self.before_sending(transcript, at)?;
                let octets = self.octets(transcript, at)?;
                return self.send(*on, &octets);
            }
            _ => self.end_of_sending()?,
        }
        match &step.what {
            What::Line(..) | What::Body(..) | What::Octets(..) | What::Text(..) => Ok(()),
            What::Expect(on, expected) => self.expect(*on, expected),
            What::Head(on, expected) => self.head(*on, expected),
            What::Maybe(on, template) => self.maybe(*on, template),
            What::ExpectOctets(on, octets) => self.expect_octets(*on, octets),
            What::ExpectText(on, template) => self.expect_text(*on, template),
            What::AnyOrder(on, lines) => self.any_order(*on, lines),
            What::Silence(on) => self.silence(*on),
            What::Closed(on) => self.closed(*on),
            What::Time(by) => {
                self.told_so_far()?;
                self.time(*by)
            }
            What::Outside(event) => {
                self.told_so_far()?;
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
            self.told_so_far()?;
            self.arm(transcript, at)?;
            self.sending = true;
        }
        Ok(())
    }

    fn told_so_far(&mut self) -> Result<(), String> {
        if self.recorded { Ok(()) } else { self.all_seen() }
    }

    /// The octets of a client step.
    fn octets(&self, transcript: &Transcript, at: usize) -> Result<Vec<u8>, String> {
        let Some(step) = transcript.steps.get(at) else {
            return Ok(Vec::new());
        };
        let (template, count) = match &step.what {
            What::Octets(_, octets) => return Ok(octets.clone()),
            What::Text(_, template) => return template.fill(&self.bindings, None),
            What::Line(on, template) if template.counts_body() => {
                (template, Some(self.length(transcript, at, *on)?))
            }
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

    /// Octets of the first body that comes behind the lines here.
    fn length(&self, transcript: &Transcript, at: usize, on: usize) -> Result<usize, String> {
        let behind = transcript.steps.iter().skip(at + 1);
        let line = |what: &What| matches!(what, What::Line(other, _) if *other == on);
        let body = behind.skip_while(|step| line(&step.what));
        let mut count = 0;
        for step in body {
            count += match &step.what {
                What::Body(other, template) if *other == on => template.fill(&self.bindings, None)?.len() + 2,
                What::Text(other, template) if *other == on => template.fill(&self.bindings, None)?.len(),
                What::Octets(other, octets) if *other == on => octets.len(),
                _ => break,
            };
        }
        Ok(count)
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
                What::Line(..) | What::Body(..) | What::Octets(..) | What::Text(..) | What::Outside(_) => {
                    if waits {
                        break;
                    }
                }
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
        self.stage.settle(now)?;
        self.connections
            .values_mut()
            .try_for_each(|connection| connection.happen(now, Event::Nothing))
    }

    fn time(&mut self, by: Duration) -> Result<(), String> {
        let (from, until) = (self.now, self.now.mono + by);
        for _ in 0..100_000 {
            let connections = self
                .connections
                .iter()
                .filter_map(|(on, connection)| Some((connection.deadline()?, Some(*on))));
            let stage = self.stage.deadline().map(|at| (at, None));
            let next = connections.chain(stage).min().filter(|(at, _)| *at <= until);
            let (at, on) = match next {
                Some((at, on)) => (at.max(self.now.mono), on),
                None => (until, None),
            };
            self.now = Now {
                mono: at,
                unix: Unix(from.unix.0 + (at - from.mono)),
            };
            self.stage.passed(self.now);
            match on {
                Some(on) => self.happen(on, Event::Tick)?,
                None if next.is_some() => self.settle()?,
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

    /// Whether more came.
    pub(super) fn more(&mut self, on: usize, wait: Wait) -> Result<bool, String> {
        self.connection(on)?.more(wait)
    }

    fn connection(&mut self, on: usize) -> Result<&mut Box<dyn Connection>, String> {
        self.connections
            .get_mut(&on)
            .ok_or_else(|| format!("no connection {on}"))
    }

    pub(super) fn state(&mut self, on: usize) -> Result<&mut crate::host::State, String> {
        Ok(self.connection(on)?.state())
    }
}

/// A word of policy by its name.
fn refusal(word: &str) -> Result<Refusal, String> {
    Refusal::ALL
        .into_iter()
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
