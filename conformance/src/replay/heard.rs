//! What the server sent, against what the transcript says.

use super::Stage;
use super::player::Player;
use crate::host::Wait;
use crate::template::{Bindings, Template};
use crate::transcript::Expected;

impl<S: Stage> Player<S> {
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
    pub(super) fn all_seen(&mut self) -> Result<(), String> {
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

    pub(super) fn expect(&mut self, on: usize, expected: &Expected) -> Result<(), String> {
        let (bound, used) = self.patiently(on, |player| {
            matches(expected, &player.unseen(on), &player.bindings)
        })?;
        self.bindings.extend(bound);
        self.consume(on, used);
        Ok(())
    }

    /// Tries again as long as more comes.
    fn patiently<T>(
        &mut self,
        on: usize,
        attempt: impl Fn(&mut Self) -> Result<T, Miss>,
    ) -> Result<T, String> {
        loop {
            match attempt(self) {
                Ok(done) => return Ok(done),
                Err(Miss::Unfinished(text)) => {
                    if !self.more(on, Wait::Answer)? {
                        return Err(text);
                    }
                }
                Err(Miss::Other(text)) => return Err(text),
            }
        }
    }

    pub(super) fn maybe(&mut self, on: usize, template: &Template) -> Result<(), String> {
        while first_line(&self.unseen(on)).is_none() && self.more(on, Wait::Quiet)? {}
        let unseen = self.unseen(on);
        if let Some((line, used)) = first_line(&unseen)
            && let Some(matched) = template.matches(line, &self.bindings)
        {
            self.bindings.extend(matched.bound);
            self.consume(on, used);
        }
        Ok(())
    }

    pub(super) fn silence(&mut self, on: usize) -> Result<(), String> {
        self.more(on, Wait::Quiet)?;
        match self.unseen(on).as_slice() {
            [] => Ok(()),
            octets => Err(format!("something was sent: {}", show(octets))),
        }
    }

    pub(super) fn expect_octets(&mut self, on: usize, octets: &[u8]) -> Result<(), String> {
        self.patiently(on, |player| {
            let unseen = player.unseen(on);
            let text = || format!("sent: {}", show(&unseen));
            if unseen.starts_with(octets) {
                Ok(())
            } else if octets.starts_with(&unseen) {
                Err(Miss::Unfinished(text()))
            } else {
                Err(Miss::Other(text()))
            }
        })?;
        self.consume(on, octets.len());
        Ok(())
    }

    /// A head of HTTP: its first line, fields that must be there, and others.
    pub(super) fn head(&mut self, on: usize, expected: &Expected) -> Result<(), String> {
        let head = self.patiently(on, |player| {
            let unseen = player.unseen(on);
            String::from_utf8_lossy(&unseen)
                .split_once("\r\n\r\n")
                .map(|(head, _)| head.to_owned())
                .ok_or_else(|| Miss::Unfinished(format!("no head was sent: {}", show(&unseen))))
        })?;
        let mut lines = head.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let fields: Vec<&str> = lines.collect();
        let Some(matched) = expected.first.matches(first.as_bytes(), &self.bindings) else {
            return Err(format!("sent: {first}"));
        };
        self.bindings.extend(matched.bound);
        for wanted in &expected.body {
            let found = fields
                .iter()
                .find_map(|field| wanted.matches(field.as_bytes(), &self.bindings));
            let found = found.ok_or_else(|| format!("no such field in: {head}"))?;
            self.bindings.extend(found.bound);
        }
        self.consume(on, head.len() + 4);
        Ok(())
    }

    /// All that is left is one text without a line end.
    pub(super) fn expect_text(&mut self, on: usize, template: &Template) -> Result<(), String> {
        while self.more(on, Wait::Quiet)? {}
        let (matched, used) = self.patiently(on, |player| {
            let unseen = player.unseen(on);
            match template.matches(&unseen, &player.bindings) {
                Some(matched) => Ok((matched, unseen.len())),
                None => Err(Miss::Unfinished(format!("sent: {}", show(&unseen)))),
            }
        })?;
        self.bindings.extend(matched.bound);
        self.consume(on, used);
        Ok(())
    }

    pub(super) fn any_order(&mut self, on: usize, lines: &[Expected]) -> Result<(), String> {
        let mut open: Vec<&Expected> = lines.iter().collect();
        while !open.is_empty() {
            let (at, (bound, used)) =
                self.patiently(on, |player| one_of(&open, &player.unseen(on), &player.bindings))?;
            open.remove(at);
            self.bindings.extend(bound);
            self.consume(on, used);
        }
        Ok(())
    }

    pub(super) fn closed(&mut self, on: usize) -> Result<(), String> {
        self.patiently(on, |player| {
            let state = player.state(on).map_err(Miss::Other)?;
            if !state.unseen.is_empty() {
                return Err(Miss::Other(format!(
                    "something was sent: {}",
                    show(&state.unseen)
                )));
            }
            if state.closed {
                Ok(())
            } else {
                Err(Miss::Unfinished("the connection is open".to_owned()))
            }
        })
    }
}

/// Why something does not match; in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// What has not come yet may mend it.
    Unfinished(String),
    /// Nothing can.
    Other(String),
}

/// The first of the lines that matches: which, what it bound, and its octets.
fn one_of(
    open: &[&Expected],
    unseen: &[u8],
    bindings: &Bindings,
) -> Result<(usize, (Bindings, usize)), Miss> {
    let mut unfinished = false;
    for (at, expected) in open.iter().enumerate() {
        match matches(expected, unseen, bindings) {
            Ok(found) => return Ok((at, found)),
            Err(miss) => unfinished |= matches!(miss, Miss::Unfinished(_)),
        }
    }
    let wanted: Vec<String> = open
        .iter()
        .map(|expected| format!("line {}", expected.line))
        .collect();
    let text = format!(
        "none of {} matches what was sent: {}",
        wanted.join(", "),
        show(unseen)
    );
    Err(if unfinished {
        Miss::Unfinished(text)
    } else {
        Miss::Other(text)
    })
}

/// Matches a line with its literal at the front of what was sent: what it bound, and how many octets it has.
pub(crate) fn matches(
    expected: &Expected,
    unseen: &[u8],
    bindings: &Bindings,
) -> Result<(Bindings, usize), Miss> {
    let (line, mut used) = first_line(unseen).ok_or_else(|| {
        Miss::Unfinished(if unseen.is_empty() {
            "nothing was sent".to_owned()
        } else {
            format!("sent without a line end: {}", show(unseen))
        })
    })?;
    let Some(matched) = expected.first.matches(line, bindings) else {
        return Err(Miss::Other(format!("sent: {}", show(line))));
    };
    let mut known = bindings.clone();
    let mut bound = matched.bound;
    known.extend(bound.clone());
    let from = used;
    for template in &expected.body {
        let (line, more) = unseen
            .get(used..)
            .and_then(first_line)
            .ok_or_else(|| Miss::Unfinished("the literal is shorter than here".to_owned()))?;
        let Some(matched) = template.matches(line, &known) else {
            return Err(Miss::Other(format!("sent in the literal: {}", show(line))));
        };
        known.extend(matched.bound.clone());
        bound.extend(matched.bound);
        used += more;
    }
    match matched.count {
        Some(count) if count != used - from => Err(Miss::Other(format!(
            "the literal is announced with {count} octets, and has {}",
            used - from
        ))),
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
