//! What the server sent, against what the transcript says.

use super::Stage;
use super::player::Player;
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
        let unseen = self.unseen(on);
        let (bound, used) = matches(expected, &unseen, &self.bindings)?;
        self.bindings.extend(bound);
        self.consume(on, used);
        Ok(())
    }

    pub(super) fn maybe(&mut self, on: usize, template: &Template) -> Result<(), String> {
        let unseen = self.unseen(on);
        if let Some((line, used)) = first_line(&unseen)
            && let Some(matched) = template.matches(line, &self.bindings)
        {
            self.bindings.extend(matched.bound);
            self.consume(on, used);
        }
        Ok(())
    }

    pub(super) fn expect_octets(&mut self, on: usize, octets: &[u8]) -> Result<(), String> {
        let unseen = self.unseen(on);
        if !unseen.starts_with(octets) {
            return Err(format!("sent: {}", show(&unseen)));
        }
        self.consume(on, octets.len());
        Ok(())
    }

    /// A head of HTTP: its first line, fields that must be there, and others.
    pub(super) fn head(&mut self, on: usize, expected: &Expected) -> Result<(), String> {
        let unseen = self.unseen(on);
        let head = String::from_utf8_lossy(&unseen)
            .split_once("\r\n\r\n")
            .map(|(head, _)| head.to_owned())
            .ok_or_else(|| format!("no head was sent: {}", show(&unseen)))?;
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
        let unseen = self.unseen(on);
        let Some(matched) = template.matches(&unseen, &self.bindings) else {
            return Err(format!("sent: {}", show(&unseen)));
        };
        self.bindings.extend(matched.bound);
        self.consume(on, unseen.len());
        Ok(())
    }

    pub(super) fn any_order(&mut self, on: usize, lines: &[Expected]) -> Result<(), String> {
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

    pub(super) fn closed(&mut self, on: usize) -> Result<(), String> {
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
