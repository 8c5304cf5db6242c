//! A connection of a transcript whose server side is on the other end of a wire.

use core::fmt;

use rmail_core::time::{Mono, Now};

use super::{Heard, MAX_ANSWER, PATIENCE, QUIET, Wire};
use crate::host::{Connection, Event, State, Wait};
use crate::replay::{first_line, show};

/// One over a wire.
pub(super) struct Live {
    wire: Box<dyn Wire>,
    state: State,
    /// STARTTLS was said: how the answer begins that allows it.
    upgrade: Option<Vec<u8>>,
}

impl Live {
    pub(super) fn new(wire: Box<dyn Wire>) -> Self {
        Self {
            wire,
            state: State::default(),
            upgrade: None,
        }
    }

    pub(super) fn say(&mut self, octets: &[u8]) -> Result<(), String> {
        for line in octets.split(|octet| *octet == b'\n') {
            if let Some(answer) = wants_tls(line) {
                self.upgrade = Some(answer);
            }
            if line
                .trim_ascii_end()
                .to_ascii_uppercase()
                .ends_with(b" COMPRESS DEFLATE")
            {
                return Err("what is compressed is not played over a socket".to_owned());
            }
        }
        // Who has closed has said why: that is read first.
        match self.wire.send(octets) {
            Ok(()) => Ok(()),
            Err(error) if self.state.unseen.is_empty() && !self.more(Wait::Quiet)? => {
                Err(format!("cannot send: {error}"))
            }
            Err(_) => Ok(()),
        }
    }

    /// The next line, without its end.
    pub(super) fn line(&mut self) -> Result<Vec<u8>, String> {
        loop {
            if let Some((line, used)) = first_line(&self.state.unseen) {
                let line = line.to_vec();
                self.state.unseen.drain(..used);
                return Ok(line);
            }
            if !self.more(Wait::Answer)? || self.state.closed {
                return Err(match self.state.closed {
                    true => format!(
                        "the server has closed the connection: {}",
                        show(&self.state.unseen)
                    ),
                    false => format!(
                        "no answer within {} s: {}",
                        PATIENCE.as_secs(),
                        show(&self.state.unseen)
                    ),
                });
            }
        }
    }

    /// All that comes up to the end.
    pub(super) fn all(&mut self) -> Result<Vec<u8>, String> {
        while !self.state.closed && self.more(Wait::Answer)? {}
        Ok(core::mem::take(&mut self.state.unseen))
    }

    /// Begins TLS once the answer is there that allows it.
    fn upgrade(&mut self) -> Result<(), String> {
        let Some(answer) = &self.upgrade else {
            return Ok(());
        };
        let mut rest = self.state.unseen.as_slice();
        while let Some((line, used)) = first_line(rest) {
            if line.starts_with(answer) {
                self.upgrade = None;
                return self
                    .wire
                    .start_tls()
                    .map_err(|error| format!("the TLS handshake failed: {error}"));
            }
            rest = rest.get(used..).unwrap_or_default();
        }
        Ok(())
    }
}

/// The beginning of the answer that allows TLS, if the line asks for it.
fn wants_tls(line: &[u8]) -> Option<Vec<u8>> {
    let line = line.trim_ascii_end();
    if line.eq_ignore_ascii_case(b"STARTTLS") {
        return Some(b"220".to_vec());
    }
    let at = line.iter().position(|octet| *octet == b' ')?;
    let (tag, command) = line.split_at(at);
    let asks = command.trim_ascii_start().eq_ignore_ascii_case(b"STARTTLS");
    asks.then(|| [tag, b" OK"].concat())
}

impl Connection for Live {
    fn happen(&mut self, _: Now, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::Bytes(octets) => self.say(octets),
            Event::Eof => self.wire.end().map_err(|error| format!("cannot close: {error}")),
            Event::Shutdown => Err("a server on a socket is not shut down".to_owned()),
            Event::Tick | Event::Tls | Event::OldTls | Event::Nothing => Ok(()),
        }
    }

    fn deadline(&self) -> Option<Mono> {
        None
    }

    fn state(&mut self) -> &mut State {
        &mut self.state
    }

    fn more(&mut self, wait: Wait) -> Result<bool, String> {
        if self.state.closed {
            return Ok(false);
        }
        let wait = match wait {
            Wait::Answer => PATIENCE,
            Wait::Quiet => QUIET,
        };
        match self.wire.receive(wait) {
            Ok(Heard::Octets(octets)) => {
                if self.state.unseen.len() + octets.len() > MAX_ANSWER {
                    return Err("the server sends without end".to_owned());
                }
                self.state.unseen.extend_from_slice(&octets);
                self.upgrade()?;
                Ok(true)
            }
            Ok(Heard::Nothing) => Ok(false),
            // Who resets the connection has closed it.
            Ok(Heard::End) | Err(_) => {
                self.state.closed = true;
                Ok(true)
            }
        }
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_starttls_begins_tls() {
        assert_eq!(wants_tls(b"STARTTLS\r"), Some(b"220".to_vec()));
        assert_eq!(wants_tls(b"a1 starttls\r"), Some(b"a1 OK".to_vec()));
        for other in [
            &b"a1 STARTTLS now"[..],
            b"STARTTLS x",
            b"a1 LOGIN STARTTLS x",
            b"",
            b"a1",
        ] {
            assert_eq!(wants_tls(other), None);
        }
    }
}
