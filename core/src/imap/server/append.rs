//! APPEND (RFC 9051 §6.3.12, RFC 4315 §3): the literal passes through as slices.

use super::place::Place;
use super::{Appended, Call, NewMessage, Phase, Session, Then, refusal};
use crate::imap::command::Append;
use crate::imap::parse::Event;
use crate::imap::response;
use crate::machine::{Action, SpoolId};
use crate::mailbox::Flags;
use crate::refusal::Refusal;
use crate::time::DateTime;

/// A message on its way in.
#[derive(Debug)]
pub(super) struct Incoming {
    tag: String,
    place: Place,
    flags: Flags,
    date: Option<DateTime>,
    synchronising: bool,
    pub(super) spool: SpoolId,
    /// There is a NUL in it, which no literal may have (RFC 9051 §4.3): the rest is only taken away.
    nul: bool,
}

impl Session {
    /// The parser came to the literal of an APPEND.
    pub(super) fn append(&mut self, append: Append) {
        self.activity = self.now.mono;
        let Append {
            tag,
            mailbox,
            flags,
            date,
            size,
            synchronising,
        } = append;
        if self.account.is_none() {
            self.parser.refuse_literal();
            return self.refuse_bad(&tag, "Log in first");
        }
        let problem = match &mailbox {
            Err(bad) => Some(refusal::no_name(*bad)),
            Ok(_) if size > self.settings.max_message_size => Some(refusal::no(Refusal::TooLarge)),
            Ok(_) if size == 0 => Some("NO [CANNOT] A message cannot be empty".to_owned()),
            Ok(_) => None,
        };
        let mailbox = match (mailbox, problem) {
            (Ok(mailbox), None) => mailbox,
            (_, problem) => {
                self.parser.refuse_literal();
                return self.complete(tag, problem.unwrap_or_default());
            }
        };
        let Some(place) = self.place_of(mailbox) else {
            return;
        };
        self.last_spool += 1;
        let spool = SpoolId(self.last_spool);
        let Place { account, mailbox } = place.clone();
        let call = Call::Open {
            spool,
            account,
            mailbox,
            size,
        };
        let incoming = Incoming {
            tag,
            place,
            flags,
            date,
            synchronising,
            spool,
            nul: false,
        };
        self.call(call, Then::Opened(Box::new(incoming)));
    }

    /// The service takes the message, or not.
    pub(super) fn spool_opened(&mut self, incoming: Box<Incoming>, result: Result<(), Refusal>) {
        if let Err(refused) = result {
            self.parser.refuse_literal();
            return self.refuse_target(incoming.tag, refused, true);
        }
        if incoming.synchronising {
            self.out.line("+ Ready for literal data");
        }
        self.parser.accept_literal();
        self.activity = self.now.mono;
        self.phase = Phase::Append(incoming);
    }

    /// Takes more of the literal. False: there is nothing yet.
    pub(super) fn read_literal(&mut self) -> bool {
        let Phase::Append(incoming) = &mut self.phase else {
            return true;
        };
        match self.parser.poll(&mut self.inbox, true) {
            Event::NeedBytes => return self.next_pending(),
            Event::Literal(chunk) => {
                self.activity = self.now.mono;
                incoming.nul |= memchr::memchr(0, &chunk).is_some();
                if !incoming.nul {
                    self.out.push(Action::Spool(incoming.spool, chunk));
                }
            }
            Event::AppendEnd if incoming.nul => self.discard("NUL is not allowed in a literal"),
            Event::AppendEnd => self.commit(),
            Event::Bad { text, .. } => self.discard(&text),
            Event::TooBig => self.bye("[TOOBIG] Literal or line is too long", "literal too big"),
            Event::Continue | Event::Command(_) | Event::Append(_) => {
                self.internal("a command within a literal");
            }
        }
        true
    }

    fn commit(&mut self) {
        let Phase::Append(incoming) = core::mem::replace(&mut self.phase, Phase::Waiting) else {
            return;
        };
        let Place { account, mailbox } = incoming.place.clone();
        let message = NewMessage {
            spool: incoming.spool,
            flags: incoming.flags.clone(),
            date: incoming.date,
        };
        let call = Call::Commit {
            account,
            mailbox,
            messages: vec![message],
        };
        self.call(call, Then::Committed(incoming));
    }

    /// The message, or what follows it, is malformed: nothing of it remains.
    fn discard(&mut self, text: &str) {
        let Phase::Append(incoming) = core::mem::replace(&mut self.phase, Phase::Waiting) else {
            return;
        };
        self.bad += 1;
        let spools = vec![incoming.spool];
        let text = ["BAD ", text].concat();
        self.call(Call::Discard { spools }, Then::Discarded(incoming.tag, text));
    }

    /// The message is safe, or nothing of it remains.
    pub(super) fn committed(&mut self, incoming: Incoming, result: Result<Appended, Refusal>) {
        let appended = match result {
            Ok(appended) => appended,
            Err(refused) => return self.refuse_target(incoming.tag, refused, true),
        };
        if let Some(open) = self.selected.as_mut().filter(|open| open.is_at(&incoming.place)) {
            open.dirty = true;
            self.note_mine(&appended.uids);
        }
        let mut text = b"OK [APPENDUID ".to_vec();
        response::number(&mut text, appended.uid_validity.0);
        text.push(b' ');
        response::uid_list(&mut text, &appended.uids);
        text.extend_from_slice(b"] APPEND completed");
        self.complete(incoming.tag, String::from_utf8_lossy(&text).into_owned());
    }
}
