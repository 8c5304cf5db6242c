//! DATA: from the command to the reply after the final dot.

use super::header::{Defaults, Fault, Pass};
use super::session::{Accepted, Phase, Session, Then, Transaction};
use super::trace::{self, Arrival};
use super::{Call, RecipientKind};
use crate::addr::{Address, Domain};
use crate::machine::SpoolId;
use crate::note::Note;
use crate::refusal::Refusal;
use crate::smtp::data::{Decoder, Faults, Piece};
use crate::smtp::envelope::{Envelope, Wishes};
use crate::smtp::reply::{Context, Reply, refusal};

/// Octets of a message taken from the inbox in one step.
const STEP: usize = 64 * 1024;

/// A message on its way in.
#[derive(Debug)]
pub(super) struct Body {
    spool: SpoolId,
    decoder: Decoder,
    pass: Pass,
    /// Written before the message's own octets.
    front: String,
    /// Octets handed to the spool.
    stored: u64,
    envelope: Envelope,
}

/// How a message ends that is not delivered.
#[derive(Debug)]
pub(super) enum Ending {
    /// With a refusal of the message with this id; the session goes on.
    Refuse(String, Reply),
    /// With the connection, after a last reply if the client still listens.
    Close(Option<Reply>, &'static str),
}

impl Session {
    pub(super) fn data(&mut self) {
        let reply = match &self.transaction {
            None => Reply::new(503, "5.5.1", "Send MAIL first"),
            Some(transaction) if !transaction.recipients.is_empty() => return self.open(),
            Some(transaction) if transaction.refused => Reply::new(554, "5.5.1", "No valid recipients"),
            Some(_) => Reply::new(503, "5.5.1", "Send RCPT first"),
        };
        self.fail(&reply);
    }

    /// The transaction becomes a body.
    fn open(&mut self) {
        let Some(transaction) = self.transaction.take() else {
            return;
        };
        let id = trace::message_id(&mut self.random, self.now.unix);
        let own = self.own_lines(&transaction);
        let front = own.clone() + &self.received_field(&transaction, &id);
        let body = Box::new(Body {
            spool: self.new_spool(),
            decoder: Decoder::new(self.settings.max_message_size, self.settings.max_text_line),
            pass: Pass::new(self.defaults(&id)),
            front,
            stored: 0,
            envelope: Envelope {
                id,
                reverse_path: transaction.from,
                recipients: transaction.recipients,
                account: self.login.as_ref().map(|login| login.account.clone()),
                authors: Vec::new(),
                relay_offset: own.len() as u64,
                eight_bit: false,
                wishes: Wishes::default(),
                hold_until: None,
            },
        });
        self.ask(Call::Open { spool: body.spool }, Then::Open(body));
    }

    /// Return-Path and Delivered-To: not sent on by the relay.
    fn own_lines(&self, transaction: &Transaction) -> String {
        let mut lines = trace::return_path(&transaction.from);
        if let ([only], Some(RecipientKind::Local)) = (transaction.recipients.as_slice(), transaction.first) {
            lines.push_str(&trace::delivered_to(&only.path, &self.settings.hostname));
        }
        lines
    }

    fn received_field(&self, transaction: &Transaction, id: &str) -> String {
        let Some(helo) = &self.helo else {
            return String::new();
        };
        let only = match transaction.recipients.as_slice() {
            [only] => Some(&only.path),
            _ => None,
        };
        trace::received(&Arrival {
            hostname: &self.settings.hostname,
            peer: self.settings.peer,
            helo: &helo.name,
            extended: helo.extended,
            tls: self.tls.as_ref(),
            authenticated: self.login.is_some(),
            id,
            only,
            now: self.now.unix,
        })
    }

    /// What a submitted message gets when it is missing.
    fn defaults(&self, id: &str) -> Option<Defaults> {
        let (local, domain) = self.login.as_ref()?.account.parts();
        Some(Defaults {
            from: Domain::parse(domain).and_then(|domain| Address::new(local, domain)),
            date: trace::date(self.now.unix),
            message_id: format!("<{id}@{}>", self.settings.hostname),
        })
    }

    pub(super) fn opened(&mut self, mut body: Box<Body>, result: Result<(), Refusal>) {
        if let Err(word) = result {
            return self.refuse("DATA", &refusal(Context::Data, word));
        }
        self.respond(&Reply::plain(354, "End data with <CR><LF>.<CR><LF>"));
        self.deadline = self.now.mono + self.settings.data_timeout;
        let front = core::mem::take(&mut body.front).into_bytes();
        body.stored = front.len() as u64;
        self.out.spool(body.spool, front.into());
        self.phase = Phase::Body(body);
    }

    /// Takes what lies in the inbox; false when it is empty.
    pub(super) fn read_body(&mut self) -> bool {
        let Phase::Body(body) = &mut self.phase else {
            return false;
        };
        let Some(mut input) = self.inbox.take(STEP) else {
            return self.eof && self.cut_off();
        };
        let Body {
            spool,
            decoder,
            pass,
            stored,
            ..
        } = &mut **body;
        while let Some(piece) = decoder.next(&mut input) {
            match piece {
                Piece::Text(text) => pass.push(text, |chunk| {
                    *stored += chunk.len() as u64;
                    self.out.spool(*spool, chunk);
                }),
                Piece::End => {
                    self.inbox.unread(input);
                    self.whole();
                    return true;
                }
            }
        }
        true
    }

    /// The client is gone in the middle of a message: nothing of it is delivered.
    fn cut_off(&mut self) -> bool {
        if let Phase::Body(body) = core::mem::replace(&mut self.phase, Phase::Command) {
            self.discard(&body, Ending::Close(None, "closed by the client in DATA"));
        }
        true
    }

    /// The message is whole: it is delivered, or refused.
    fn whole(&mut self) {
        let Phase::Body(mut body) = core::mem::replace(&mut self.phase, Phase::Command) else {
            return;
        };
        let (spool, out, stored) = (body.spool, &mut self.out, &mut body.stored);
        let summary = body.pass.finish(|chunk| {
            *stored += chunk.len() as u64;
            out.spool(spool, chunk);
        });
        let reply = fault_reply(body.decoder.faults()).or(summary.fault.map(header_reply));
        if let Some(reply) = reply {
            let id = body.envelope.id.clone();
            return self.discard(&body, Ending::Refuse(id, reply));
        }
        let accepted = Accepted {
            id: body.envelope.id.clone(),
            from: body.envelope.reverse_path.to_string(),
            recipients: body.envelope.recipients.len(),
            size: body.stored,
        };
        let envelope = Envelope {
            authors: summary.authors,
            eight_bit: body.decoder.eight_bit(),
            ..body.envelope
        };
        self.ask(Call::Commit { spool, envelope }, Then::Commit(accepted));
    }

    pub(super) fn committed(&mut self, accepted: Accepted, result: Result<(), Refusal>) {
        if let Err(word) = result {
            let what = format!("message {} from {}", accepted.id, accepted.from);
            return self.refuse(&what, &refusal(Context::Data, word));
        }
        // A client that delivers mail is no nuisance.
        self.errors = 0;
        self.commands = 0;
        let text = format!("OK: message accepted for delivery {}", accepted.id);
        self.respond(&Reply::new(250, "2.0.0", "").with_text(text));
        self.out.note(Note::Accepted {
            id: accepted.id,
            from: accepted.from,
            recipients: accepted.recipients,
            size: accepted.size,
        });
    }

    pub(super) fn discard(&mut self, body: &Body, ending: Ending) {
        self.ask(Call::Discard { spool: body.spool }, Then::Discard(ending));
    }

    pub(super) fn discarded(&mut self, ending: Ending) {
        match ending {
            Ending::Refuse(id, reply) => self.refuse(&format!("message {id}"), &reply),
            Ending::Close(Some(reply), reason) => {
                self.goodbye(&reply, reason);
            }
            Ending::Close(None, reason) => {
                self.end(reason);
            }
        }
    }
}

/// What is said to octets that no message may have.
const fn fault_reply(faults: Faults) -> Option<Reply> {
    if faults.too_large {
        Some(refusal(Context::Data, Refusal::TooLarge))
    } else if faults.bare_line_end {
        Some(Reply::new(554, "5.6.0", "Bare CR or LF in message"))
    } else if faults.nul {
        Some(Reply::new(554, "5.6.0", "NUL in message"))
    } else if faults.long_line {
        Some(Reply::new(554, "5.6.0", "Text line too long"))
    } else {
        None
    }
}

const fn header_reply(fault: Fault) -> Reply {
    match fault {
        Fault::Loop => Reply::new(554, "5.4.6", "Mail loop detected"),
        Fault::BadAuthor => Reply::new(554, "5.6.0", "From or Sender field not readable"),
    }
}
