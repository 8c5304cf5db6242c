//! Lines and literals: where a command ends.
//!
//! A command that is refused is taken away whole. Its synchronising literal never comes (the client waits for `+`, and
//! gets BAD or NO instead); a non-synchronising one is on its way already and is swallowed, and then the rest of its
//! line, which may end in a further one.
//!
//! APPEND and REPLACE go in pieces: each line of theirs is read when it is whole, and what it says is handed out piece by
//! piece ([`Piece`]) up to the message literal at its end. That one is offered to the server; after it the next line goes
//! on where the grammar stopped.

use super::append::{self, Appending, Piece};
use super::discard::{Discard, Swallowed};
use super::literal::{self, Head};
use super::token::{Stop, Syntax, tag_of};
use super::{Event, Parsed, Utf8};
use crate::imap::command::Tagged;
use crate::line::{Inbox, Line};
use crate::mailbox::Annotations;

/// Octets of a line: room for the longest sequence sets that clients send (RFC 2683 §3.2.1.5 asks for 8,000).
const MAX_LINE: usize = 64 * 1024;
/// Octets of a command that are kept: two full lines, or a line and a literal.
const MAX_COMMAND: usize = 128 * 1024;
/// Octets of a literal that is kept: arguments, not messages.
const MAX_LITERAL: u64 = 64 * 1024;
/// Octets of an annotation.
const MAX_VALUE: u64 = Annotations::MAX_VALUE as u64;
/// Octets of the literals of one command before login: a name and a password.
const MAX_LITERALS_BEFORE_LOGIN: u64 = 8 * 1024;
/// Literals of one command. The command so far is read again at each.
const MAX_LITERALS: usize = 64;
/// Swallowed beside a message of the greatest size: other arguments, and messages a little too large.
const SWALLOW_SLACK: u64 = 1024 * 1024;

/// Takes commands off the inbox.
#[derive(Debug)]
pub struct Parser {
    max_message_size: u64,
    utf8: Utf8,
    state: State,
    /// The command so far, when a literal is or was in it: its lines and literals as they came.
    held: Vec<u8>,
    /// Literals in it, and their octets.
    literals: usize,
    literal_octets: u64,
    /// An APPEND or REPLACE of which at least the first line has come.
    appending: Option<Box<Appending>>,
}

#[derive(Debug)]
enum State {
    /// In a line.
    Line,
    /// In a literal that is kept: octets that are missing.
    Literal(usize),
    /// A message literal waits for a word.
    Offered(Head),
    /// In a message literal: octets that are missing.
    Message(u64),
    /// Taking a refused command away.
    Discard(Discard),
    /// Too much is on its way: nothing can be understood any more.
    Lost,
}

impl Parser {
    /// A parser between commands. `max_message_size`: octets of a message that APPEND takes.
    #[must_use]
    pub fn new(max_message_size: u64) -> Self {
        Self {
            max_message_size,
            utf8: Utf8::default(),
            state: State::Line,
            held: Vec::new(),
            literals: 0,
            literal_octets: 0,
            appending: None,
        }
    }

    /// How the next command is read.
    pub fn set_utf8(&mut self, utf8: Utf8) {
        self.utf8 = utf8;
    }

    /// Whether no command has begun, as far as lines and literals were taken.
    #[must_use]
    pub fn is_between(&self) -> bool {
        matches!(self.state, State::Line) && self.held.is_empty()
    }

    /// What is at the front of the inbox. Call again after each event but [`Event::NeedBytes`] and [`Event::TooBig`].
    ///
    /// `authenticated`: before login literals may stand only in LOGIN, AUTHENTICATE and ID, at most 8 KiB a command, those
    /// together that were taken and those that are swallowed (beyond that a synchronising one gets BAD without `+`, a
    /// non-synchronising one [`Event::TooBig`]).
    pub fn poll(&mut self, inbox: &mut Inbox, authenticated: bool) -> Event {
        loop {
            if let Some(event) = self.next_piece() {
                return event;
            }
            let event = match &mut self.state {
                State::Line => match inbox.line(MAX_LINE) {
                    Line::Whole(line) => self.line(&line, authenticated),
                    Line::Partial => return Event::NeedBytes,
                    Line::TooLong => self.long_line(inbox, authenticated),
                },
                State::Literal(missing) => {
                    let Some(octets) = inbox.take(*missing) else {
                        return Event::NeedBytes;
                    };
                    *missing -= octets.len();
                    self.held.extend_from_slice(&octets);
                    if *missing == 0 {
                        self.state = State::Line;
                    }
                    None
                }
                State::Offered(_) => return Event::NeedBytes,
                State::Message(0) => {
                    self.state = State::Line;
                    None
                }
                State::Message(missing) => {
                    let max = usize::try_from(*missing).unwrap_or(usize::MAX);
                    let Some(octets) = inbox.take(max) else {
                        return Event::NeedBytes;
                    };
                    *missing -= octets.len() as u64;
                    Some(Event::Literal(octets))
                }
                State::Discard(discard) => match discard.go_on(inbox) {
                    Swallowed::Partly => return Event::NeedBytes,
                    Swallowed::Whole => {
                        let event = discard.event.take();
                        self.reset();
                        event
                    }
                    Swallowed::TooMuch => {
                        self.state = State::Lost;
                        None
                    }
                },
                State::Lost => return Event::TooBig,
            };
            if let Some(event) = event {
                return event;
            }
        }
    }

    /// After [`Event::Offer`]: the octets come as [`Event::Literal`], then what the command says further.
    pub fn accept_literal(&mut self) {
        if let State::Offered(head) = self.state {
            self.state = State::Message(head.size.unwrap_or_default());
        }
    }

    /// At any time from [`Event::Append`] to [`Event::AppendEnd`], with the tagged answer: the command is over. A
    /// non-synchronising literal and what follows it are swallowed, up to the greatest message size and a little, else
    /// [`Event::TooBig`] comes.
    pub fn refuse_append(&mut self) {
        let Some(appending) = self.appending.take() else {
            return;
        };
        let head = match self.state {
            State::Offered(head) => Some(head),
            // The client has been told to send it.
            State::Message(missing) => Some(Head {
                size: Some(missing),
                synchronising: false,
            }),
            _ => appending.offered(),
        };
        // Only who has logged in gets this far.
        self.discard(head, None, true);
    }

    /// Whether it holds nothing: between commands.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Line) && self.held.is_empty() && self.appending.is_none()
    }

    fn reset(&mut self) {
        self.next_line();
        self.appending = None;
    }

    /// What is kept of the command so far is not needed any more.
    fn next_line(&mut self) {
        self.state = State::Line;
        self.held = Vec::new();
        self.literals = 0;
        self.literal_octets = 0;
    }

    /// The next of the pieces that the last line of an APPEND gave.
    fn next_piece(&mut self) -> Option<Event> {
        let piece = self.appending.as_mut()?.next()?;
        Some(match piece {
            Piece::Message(message) => Event::Message(message),
            Piece::Url(url) => Event::Url(url),
            Piece::Literal(literal) => {
                self.state = State::Offered(Head {
                    size: Some(literal.size),
                    synchronising: literal.synchronising,
                });
                Event::Offer(literal)
            }
            Piece::End => {
                self.reset();
                Event::AppendEnd
            }
        })
    }

    /// A line of a command.
    fn line(&mut self, line: &[u8], authenticated: bool) -> Option<Event> {
        let head = literal::at_end(line);
        if self.held.len() + line.len() > MAX_COMMAND {
            let event = self.bad("the command is too long".to_owned());
            return self.discard(head, Some(event), authenticated);
        }
        // A command of one line is read where it lies.
        let parsed = if self.held.is_empty() && head.is_none() {
            self.read(line, authenticated)
        } else {
            self.held.extend_from_slice(line);
            self.read(&self.held, authenticated)
        };
        match (parsed, head) {
            (Ok(Parsed::Command(tagged)), None) => {
                self.reset();
                Some(Event::Command(tagged))
            }
            (Ok(Parsed::Append(append, appending)), head) if appending.offered() == head => {
                self.reset();
                self.appending = Some(appending);
                Some(Event::Append(append))
            }
            (Ok(Parsed::Further(appending)), head) if appending.offered() == head => {
                self.next_line();
                self.appending = Some(appending);
                None
            }
            (Err((Stop::Literal, tag)), Some(head)) => self.literal(head, tag, authenticated),
            (Err((Stop::Syntax(syntax), tag)), head) => self.malformed(&syntax, tag, head, authenticated),
            // The two sides of framing agree on where literals are; if they did not, this is no command.
            (Ok(Parsed::Command(Tagged { tag, .. })), head) => {
                self.out_of_place(Some(tag), head, authenticated)
            }
            (Ok(Parsed::Append(append, _)), head) => self.out_of_place(Some(append.tag), head, authenticated),
            (Ok(Parsed::Further(_)), head) => self.out_of_place(self.tag(), head, authenticated),
            (Err((Stop::Literal, tag)), head) => self.out_of_place(tag, head, authenticated),
        }
    }

    /// Reads what has come since the last message literal, or of a command.
    fn read(&self, octets: &[u8], authenticated: bool) -> Result<Parsed, (Stop, Option<String>)> {
        match &self.appending {
            Some(appending) => append::further(octets, appending)
                .map(Parsed::Further)
                .map_err(|stop| (stop, Some(appending.tag.clone()))),
            None => super::parse(octets, authenticated, self.utf8).map_err(|stop| (stop, tag_of(octets))),
        }
    }

    fn malformed(
        &mut self,
        syntax: &Syntax,
        tag: Option<String>,
        head: Option<Head>,
        authenticated: bool,
    ) -> Option<Event> {
        let text = syntax.text();
        self.discard(head, Some(Event::Bad { tag, text }), authenticated)
    }

    /// The tag of the command in progress.
    fn tag(&self) -> Option<String> {
        match &self.appending {
            Some(appending) => Some(appending.tag.clone()),
            None => tag_of(&self.held),
        }
    }

    fn out_of_place(
        &mut self,
        tag: Option<String>,
        head: Option<Head>,
        authenticated: bool,
    ) -> Option<Event> {
        let text = "a literal out of place".to_owned();
        self.discard(head, Some(Event::Bad { tag, text }), authenticated)
    }

    /// The command wants this literal to go on.
    fn literal(&mut self, head: Head, tag: Option<String>, authenticated: bool) -> Option<Event> {
        let size = head.size.unwrap_or(u64::MAX);
        let octets = self.literal_octets.saturating_add(size);
        let bound = if authenticated {
            MAX_LITERAL
        } else {
            MAX_LITERALS_BEFORE_LOGIN
        };
        let fits = if authenticated {
            size <= bound
        } else {
            octets <= bound
        };
        let missing = usize::try_from(size).unwrap_or(usize::MAX);
        let command = self.held.len().saturating_add(missing);
        if !fits || command > MAX_COMMAND || self.literals == MAX_LITERALS {
            let event = match tag {
                Some(tag) if authenticated && size > MAX_VALUE && is_set_metadata(&self.held) => {
                    Event::ValueTooLong { tag }
                }
                tag => Event::Bad {
                    tag,
                    text: "a literal too large, or too many, for this command".to_owned(),
                },
            };
            return self.discard(Some(head), Some(event), authenticated);
        }
        self.literals += 1;
        self.literal_octets = octets;
        self.state = if missing == 0 {
            State::Line
        } else {
            State::Literal(missing)
        };
        head.synchronising.then_some(Event::Continue)
    }

    fn bad(&self, text: String) -> Event {
        Event::Bad {
            tag: self.tag(),
            text,
        }
    }

    /// A line without an end in sight.
    fn long_line(&mut self, inbox: &mut Inbox, authenticated: bool) -> Option<Event> {
        if self.held.is_empty() && self.appending.is_none() {
            // Enough to find the tag; the line is longer than that, so that no line end is among it.
            while self.held.len() <= Tagged::MAX_TAG
                && let Some(octets) = inbox.take(Tagged::MAX_TAG + 1 - self.held.len())
            {
                self.held.extend_from_slice(&octets);
            }
        }
        let event = self.bad("the line is longer than 65536 octets".to_owned());
        self.skip_line(event, authenticated);
        None
    }

    /// The command is refused in the middle of a line.
    fn skip_line(&mut self, event: Event, authenticated: bool) {
        let discard = self.discarding(Some(event), authenticated);
        self.reset();
        self.state = State::Discard(discard);
    }

    /// The command is refused. `head`: of the literal at the end of the line that was read last.
    fn discard(&mut self, head: Option<Head>, event: Option<Event>, authenticated: bool) -> Option<Event> {
        let Some(head) = head.filter(|head| !head.synchronising) else {
            self.reset();
            return event;
        };
        let mut discard = self.discarding(event, authenticated);
        self.reset();
        self.state = if discard.begin_literal(head) {
            State::Discard(discard)
        } else {
            State::Lost
        };
        None
    }

    fn discarding(&self, event: Option<Event>, authenticated: bool) -> Discard {
        let literals_left = if authenticated {
            self.max_message_size.saturating_add(SWALLOW_SLACK)
        } else {
            // What came before the refusal counts too.
            MAX_LITERALS_BEFORE_LOGIN.saturating_sub(self.literal_octets)
        };
        Discard::new(literals_left, event)
    }
}

/// Whether a command, as far as it has come, is SETMETADATA.
fn is_set_metadata(held: &[u8]) -> bool {
    let mut words = held.split(|octet| *octet == b' ');
    words
        .nth(1)
        .is_some_and(|word| word.eq_ignore_ascii_case(b"SETMETADATA"))
}
