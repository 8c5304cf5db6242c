//! Lines and literals: where a command ends.
//!
//! A command that is refused is taken away whole. Its synchronising literal never comes (the client waits for `+`, and
//! gets BAD or NO instead); a non-synchronising one is on its way already and is swallowed, and then the rest of its
//! line, which may end in a further one.

use super::literal::{self, Head};
use super::token::{Stop, tag_of};
use super::{Event, Parsed};
use crate::imap::command::Tagged;
use crate::line::{Inbox, Line};

/// Octets of a line: room for the longest sequence sets that clients send (RFC 2683 §3.2.1.5 asks for 8,000).
const MAX_LINE: usize = 64 * 1024;
/// Octets of a command that are kept: two full lines, or a line and a literal.
const MAX_COMMAND: usize = 128 * 1024;
/// Octets of a literal that is kept: arguments, not messages.
const MAX_LITERAL: u64 = 64 * 1024;
/// Octets of the literals of one command before login: a name and a password.
const MAX_LITERALS_BEFORE_LOGIN: u64 = 8 * 1024;
/// Literals of one command. The command so far is read again at each.
const MAX_LITERALS: usize = 64;
/// Swallowed beside a message of the greatest size: other arguments, and messages a little too large.
const SWALLOW_SLACK: u64 = 1024 * 1024;
/// Octets of lines that are skipped in one command: who sends more does not speak IMAP.
const MAX_SKIPPED: u64 = 1024 * 1024;

/// Takes commands off the inbox.
#[derive(Debug)]
pub struct Parser {
    max_message_size: u64,
    /// Mailbox names are UTF-8, not modified UTF-7.
    utf8: bool,
    state: State,
    /// The command so far, when a literal is or was in it: its lines and literals as they came.
    held: Vec<u8>,
    /// Literals in it, and their octets.
    literals: usize,
    literal_octets: u64,
}

#[derive(Debug)]
enum State {
    /// In a line.
    Line,
    /// In a literal that is kept: octets that are missing.
    Literal(usize),
    /// APPEND waits for a word on its message.
    Offered {
        tag: String,
        size: u64,
        synchronising: bool,
    },
    /// In the message: octets that are missing.
    Message { tag: String, missing: u64 },
    /// Behind the message.
    AfterMessage { tag: String },
    /// Taking a refused command away.
    Discard(Discard),
    /// Too much is on its way: nothing can be understood any more.
    Lost,
}

#[derive(Debug)]
struct Discard {
    /// Octets of the present literal that are missing; then comes a line.
    missing: u64,
    /// The end of the present line, so far: enough to find a literal's head.
    tail: Vec<u8>,
    /// Octets of literals and of lines that may still come.
    literals_left: u64,
    lines_left: u64,
    /// What is said at the end.
    event: Option<Event>,
}

impl Parser {
    /// A parser between commands. `max_message_size`: octets of a message that APPEND takes.
    #[must_use]
    pub fn new(max_message_size: u64) -> Self {
        Self {
            max_message_size,
            utf8: false,
            state: State::Line,
            held: Vec::new(),
            literals: 0,
            literal_octets: 0,
        }
    }

    /// From the next command on mailbox names are UTF-8 in which `&` stands for itself, and quoted strings must be UTF-8
    /// (RFC 6855 §3, RFC 9051 §5.1); or no longer.
    pub fn set_utf8(&mut self, utf8: bool) {
        self.utf8 = utf8;
    }

    /// Whether no command has begun, as far as lines and literals were taken.
    #[must_use]
    pub fn is_between(&self) -> bool {
        matches!(self.state, State::Line) && self.held.is_empty()
    }

    /// What is at the front of the inbox. Call again after each event but [`Event::NeedBytes`] and [`Event::TooBig`].
    ///
    /// `authenticated`: before login literals may stand only in LOGIN and ID, at most 8 KiB a command (a larger
    /// synchronising one gets BAD without `+`, a larger non-synchronising one [`Event::TooBig`]).
    pub fn poll(&mut self, inbox: &mut Inbox, authenticated: bool) -> Event {
        loop {
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
                State::Offered { .. } => return Event::NeedBytes,
                State::Message { tag, missing: 0 } => {
                    self.state = State::AfterMessage {
                        tag: core::mem::take(tag),
                    };
                    None
                }
                State::Message { missing, .. } => {
                    let max = usize::try_from(*missing).unwrap_or(usize::MAX);
                    let Some(octets) = inbox.take(max) else {
                        return Event::NeedBytes;
                    };
                    *missing -= octets.len() as u64;
                    Some(Event::Literal(octets))
                }
                State::AfterMessage { tag } => {
                    let tag = tag.clone();
                    match inbox.line(MAX_LINE) {
                        Line::Whole(line) => self.after_message(tag, &line, authenticated),
                        Line::Partial => return Event::NeedBytes,
                        Line::TooLong => {
                            self.skip_line(after_message_text(tag), authenticated);
                            None
                        }
                    }
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

    /// After [`Event::Append`]: the octets come as [`Event::Literal`], then [`Event::AppendEnd`], or [`Event::Bad`] if
    /// something else than the end of the command follows them.
    pub fn accept_literal(&mut self) {
        if let State::Offered { tag, size, .. } = &mut self.state {
            self.state = State::Message {
                tag: core::mem::take(tag),
                missing: *size,
            };
        }
    }

    /// After [`Event::Append`], with the tagged answer: the command is over. A non-synchronising literal and what
    /// follows it are swallowed, up to the greatest message size and a little, else [`Event::TooBig`] comes.
    pub fn refuse_literal(&mut self) {
        let State::Offered {
            size, synchronising, ..
        } = self.state
        else {
            return;
        };
        let head = Head {
            size: Some(size),
            synchronising,
        };
        // Only who has logged in gets to `Offered`.
        self.discard(Some(head), None, true);
    }

    /// Whether it holds nothing: between commands.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Line) && self.held.is_empty()
    }

    fn reset(&mut self) {
        self.state = State::Line;
        self.held = Vec::new();
        self.literals = 0;
        self.literal_octets = 0;
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
            super::parse(line, authenticated, self.utf8).map_err(|stop| (stop, tag_of(line)))
        } else {
            self.held.extend_from_slice(line);
            super::parse(&self.held, authenticated, self.utf8).map_err(|stop| (stop, tag_of(&self.held)))
        };
        match (parsed, head) {
            (Ok(Parsed::Command(tagged)), None) => {
                self.reset();
                Some(Event::Command(tagged))
            }
            (Ok(Parsed::Append(append)), Some(_)) => {
                self.reset();
                self.state = State::Offered {
                    tag: append.tag.clone(),
                    size: append.size,
                    synchronising: append.synchronising,
                };
                Some(Event::Append(append))
            }
            (Err((Stop::Literal, tag)), Some(head)) => self.literal(head, tag, authenticated),
            (Err((Stop::Syntax(syntax), tag)), head) => {
                let text = syntax.text();
                self.discard(head, Some(Event::Bad { tag, text }), authenticated)
            }
            // The two sides of framing agree on where literals are; if they did not, this is no command.
            (Ok(Parsed::Command(Tagged { tag, .. })), head) => {
                self.out_of_place(Some(tag), head, authenticated)
            }
            (Ok(Parsed::Append(append)), head) => self.out_of_place(Some(append.tag), head, authenticated),
            (Err((Stop::Literal, tag)), head) => self.out_of_place(tag, head, authenticated),
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
            let text = "a literal too large, or too many, for this command".to_owned();
            return self.discard(Some(head), Some(Event::Bad { tag, text }), authenticated);
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

    /// What stands behind the message: nothing.
    fn after_message(&mut self, tag: String, line: &[u8], authenticated: bool) -> Option<Event> {
        if matches!(line, b"\r\n" | b"\n") {
            self.reset();
            return Some(Event::AppendEnd);
        }
        self.discard(
            literal::at_end(line),
            Some(after_message_text(tag)),
            authenticated,
        )
    }

    fn bad(&self, text: String) -> Event {
        Event::Bad {
            tag: tag_of(&self.held),
            text,
        }
    }

    /// A line without an end in sight.
    fn long_line(&mut self, inbox: &mut Inbox, authenticated: bool) -> Option<Event> {
        if self.held.is_empty() {
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
        self.reset();
        self.state = State::Discard(self.discarding(Some(event), authenticated));
    }

    /// The command is refused. `head`: of the literal at the end of the line that was read last.
    fn discard(&mut self, head: Option<Head>, event: Option<Event>, authenticated: bool) -> Option<Event> {
        self.reset();
        let Some(head) = head.filter(|head| !head.synchronising) else {
            return event;
        };
        let mut discard = self.discarding(event, authenticated);
        self.state = if discard.begin_literal(head) {
            State::Discard(discard)
        } else {
            State::Lost
        };
        None
    }

    fn discarding(&self, event: Option<Event>, authenticated: bool) -> Discard {
        Discard {
            missing: 0,
            tail: Vec::new(),
            literals_left: if authenticated {
                self.max_message_size.saturating_add(SWALLOW_SLACK)
            } else {
                MAX_LITERALS_BEFORE_LOGIN
            },
            lines_left: MAX_SKIPPED,
            event,
        }
    }
}

fn after_message_text(tag: String) -> Event {
    Event::Bad {
        tag: Some(tag),
        text: "expected the end of the line after the message".to_owned(),
    }
}

enum Swallowed {
    Partly,
    Whole,
    TooMuch,
}

impl Discard {
    /// Begins with a non-synchronising literal. False: it is more than is swallowed.
    fn begin_literal(&mut self, head: Head) -> bool {
        let size = head.size.filter(|size| *size <= self.literals_left);
        self.missing = size.unwrap_or(0);
        self.literals_left -= self.missing;
        size.is_some()
    }

    /// Swallows what has come.
    fn go_on(&mut self, inbox: &mut Inbox) -> Swallowed {
        loop {
            if self.missing > 0 {
                let max = usize::try_from(self.missing).unwrap_or(usize::MAX);
                let Some(octets) = inbox.take(max) else {
                    return Swallowed::Partly;
                };
                self.missing -= octets.len() as u64;
                continue;
            }
            let Some(mut octets) = inbox.take(usize::MAX) else {
                return Swallowed::Partly;
            };
            let end = memchr::memchr(b'\n', &octets).map(|lf| lf + 1);
            let piece = octets.split_to(end.unwrap_or(octets.len()));
            inbox.unread(octets);
            let Some(left) = self.lines_left.checked_sub(piece.len() as u64) else {
                return Swallowed::TooMuch;
            };
            self.lines_left = left;
            self.keep_tail(&piece);
            if end.is_none() {
                continue;
            }
            let head = literal::at_end(&self.tail).filter(|head| !head.synchronising);
            self.tail.clear();
            match head {
                None => return Swallowed::Whole,
                Some(head) if !self.begin_literal(head) => return Swallowed::TooMuch,
                Some(_) => {}
            }
        }
    }

    fn keep_tail(&mut self, piece: &[u8]) {
        let from = piece.len().saturating_sub(literal::MAX_HEAD);
        self.tail.extend_from_slice(piece.get(from..).unwrap_or_default());
        let spare = self.tail.len().saturating_sub(literal::MAX_HEAD);
        self.tail.drain(..spare);
    }
}
