//! A message: from DATA or the first BDAT to the reply after its end.

use super::chunks::Unwanted;
use super::facts::Facts;
use super::header::{Defaults, Fault, Pass, Summary};
use super::outbox::Outbox;
use super::session::{Accepted, Phase, Session, Then};
use super::trace::{self, Arrival};
use super::transaction::Transaction;
use super::{Call, RecipientKind};
use crate::addr::{Address, Domain};
use crate::chunk::Chunk;
use crate::machine::SpoolId;
use crate::mime::unbinary::Unbinary;
use crate::pace::Pace;
use crate::refusal::Refusal;
use crate::smtp::bdat::Count;
use crate::smtp::command::Command;
use crate::smtp::data::{Decoder, Faults, Piece};
use crate::smtp::envelope::{Envelope, Wishes};
use crate::smtp::reply::{Context, Reply, refusal};

/// Octets of a message taken from the inbox in one step.
const STEP: usize = 64 * 1024;

/// A message on its way in.
#[derive(Debug)]
pub(super) struct Body {
    spool: SpoolId,
    /// By BDAT: the chunk that is being read.
    count: Option<Count>,
    /// BODY=BINARYMIME: what makes text of binary parts.
    unbinary: Option<Box<Unbinary>>,
    decoder: Decoder,
    facts: Facts,
    pass: Pass,
    /// How long the client may take.
    pub(super) pace: Pace,
    max_size: u64,
    /// Written before the message's own octets.
    front: String,
    /// What went to the spool behind our own lines has octets above 127: not what came, which may have been encoded.
    eight_bit: bool,
    /// Octets handed to the spool.
    stored: u64,
    pub(super) envelope: Envelope,
}

/// How a message ends that is not delivered.
#[derive(Debug)]
pub(super) enum Ending {
    /// With a refusal of the message with this id; the session goes on.
    Refuse(String, Reply),
    /// Of this chunk no octet is wanted any more.
    Unwanted(Box<Unwanted>),
    /// Because of this command, which is obeyed now.
    Obey(Box<Command>),
    /// With the connection, after a last reply if the client still listens.
    Close(Option<Reply>, &'static str),
}

impl Session {
    pub(super) fn data(&mut self) {
        let mixed =
            (self.chunked.is_some()).then(|| Reply::new(503, "5.5.1", "DATA not permitted after BDAT"));
        let binary = || {
            let binary = self
                .transaction
                .as_ref()
                .is_some_and(|transaction| transaction.binary);
            binary.then(|| Reply::new(503, "5.5.1", "BODY=BINARYMIME needs BDAT"))
        };
        match mixed.or_else(|| self.not_ready()).or_else(binary) {
            Some(reply) => self.fail(&reply),
            None => self.open(None),
        }
    }

    /// Why no message may come now.
    pub(super) fn not_ready(&self) -> Option<Reply> {
        match &self.transaction {
            None => Some(Reply::new(503, "5.5.1", "Send MAIL first")),
            Some(transaction) if !transaction.recipients.is_empty() => None,
            // RFC 2033 §4.2
            Some(transaction) if transaction.refused && self.lmtp.is_none() => {
                Some(Reply::new(554, "5.5.1", "No valid recipients"))
            }
            Some(_) => Some(Reply::new(503, "5.5.1", "Send RCPT first")),
        }
    }

    /// The transaction becomes a body, which comes in chunks or by DATA.
    pub(super) fn open(&mut self, count: Option<Count>) {
        let Some(transaction) = self.transaction.take().map(|boxed| *boxed) else {
            return;
        };
        let id = trace::message_id(&mut self.random, self.now.unix);
        let own = self.own_lines(&transaction);
        let front = own.clone() + &self.received_field(&transaction, &id);
        let body = Box::new(Body {
            spool: self.new_spool(),
            unbinary: transaction.binary.then(Box::default),
            decoder: self.decoder(count.is_some(), transaction.binary),
            count,
            facts: Facts::default(),
            pass: Pass::new(
                &self.settings.hostname,
                self.defaults(&id, transaction.wishes.utf8),
            ),
            pace: Pace::new(self.now, self.settings.data_timeout),
            max_size: self.settings.max_message_size,
            front,
            stored: 0,
            eight_bit: false,
            envelope: Envelope {
                id,
                reverse_path: transaction.from,
                recipients: transaction.recipients,
                account: self.login.as_ref().map(|login| login.account.clone()),
                authors: Vec::new(),
                relay_offset: own.len() as u64,
                eight_bit: false,
                wishes: transaction.wishes,
                hold_until: transaction.hold_until,
            },
        });
        self.ask(Call::Open { spool: body.spool }, Then::Open(body));
    }

    fn decoder(&self, counted: bool, binary: bool) -> Decoder {
        let (max_size, max_line) = (self.settings.max_message_size, self.settings.max_text_line);
        let decoder = match (counted, binary) {
            (false, _) => Decoder::new(max_size, max_line),
            (true, false) => Decoder::counted(max_size, max_line),
            // What came is measured, not what has become of it.
            (true, true) => Decoder::counted(u64::MAX, max_line),
        };
        decoder.with_bare_lf(self.settings.bare_lf)
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
            // It would make a header that is ASCII into one that only few servers take.
            [only] if only.path.to_string().is_ascii() => Some(&only.path),
            _ => None,
        };
        trace::received(&Arrival {
            hostname: &self.settings.hostname,
            peer: self.settings.peer,
            peer_name: self.peer_name(),
            helo: &helo.name,
            extended: helo.extended,
            lmtp: self.lmtp.is_some(),
            http: None,
            tls: self.tls.as_ref(),
            authenticated: self.login.is_some(),
            id,
            utf8: transaction.wishes.utf8,
            priority: transaction.wishes.priority,
            only,
            now: self.now.unix,
        })
    }

    /// What a submitted message gets when it is missing.
    fn defaults(&self, id: &str, utf8: bool) -> Option<Defaults> {
        let (local, domain) = self.login.as_ref()?.account.parts();
        Some(Defaults {
            from: Domain::parse(domain).and_then(|domain| Address::new(local, domain)),
            date: trace::date(self.now.unix),
            message_id: format!("<{id}@{}>", self.settings.hostname),
            resent_message_id: format!("<{id}.resent@{}>", self.settings.hostname),
            utf8,
        })
    }

    pub(super) fn opened(&mut self, mut body: Box<Body>, result: Result<(), Refusal>) {
        body.pace = Pace::new(self.now, self.settings.data_timeout);
        match (result, body.count) {
            (Ok(()), Some(_)) => {}
            (Ok(()), None) => self.respond(&Reply::plain(354, "End data with <CR><LF>.<CR><LF>")),
            (Err(word), None) => return self.refuse("DATA", &refusal(Context::Data, word)),
            (Err(word), Some(count)) => {
                let reply = refusal(Context::Data, word);
                let unwanted = self.unwanted(count.size(), count.is_last(), reply);
                self.phase = Phase::Unwanted(Box::new(unwanted));
                return;
            }
        }
        self.deadline = body.pace.deadline(self.now);
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
        let input = match &mut body.count {
            Some(count) if count.is_whole() => {
                if count.is_last() {
                    self.whole();
                } else {
                    self.chunk_done();
                }
                return true;
            }
            Some(count) => count.take(&mut self.inbox, STEP),
            None => self.inbox.take(STEP),
        };
        let Some(mut input) = input else {
            return self.eof && self.cut_off();
        };
        body.pace.earn(self.now, input.len());
        self.deadline = body.pace.deadline(self.now);
        if body.take(&mut input, &mut self.out) {
            self.inbox.unread(input);
            self.whole();
        }
        true
    }

    /// The client is gone in the middle of a message: nothing of it is delivered.
    fn cut_off(&mut self) -> bool {
        if let Phase::Body(body) = core::mem::replace(&mut self.phase, Phase::Command) {
            let reason = match body.count {
                Some(_) => "closed by the client in BDAT",
                None => "closed by the client in DATA",
            };
            self.discard(&body, Ending::Close(None, reason));
        }
        true
    }

    /// The message is whole: it is delivered, or refused.
    fn whole(&mut self) {
        let Phase::Body(mut body) = core::mem::replace(&mut self.phase, Phase::Command) else {
            return;
        };
        let done = body.finish(&mut self.out);
        let spool = body.spool;
        let summary = match done {
            Ok(summary) => summary,
            Err(reply) => {
                let id = body.envelope.id.clone();
                return self.discard(&body, Ending::Refuse(id, reply));
            }
        };
        let accepted = Accepted {
            id: body.envelope.id.clone(),
            from: body.envelope.reverse_path.to_string(),
            recipients: body.envelope.recipients.len(),
            size: body.stored,
        };
        let wishes = body.final_wishes();
        let envelope = Envelope {
            wishes,
            authors: summary.authors,
            eight_bit: body.eight_bit,
            ..body.envelope
        };
        self.commit(spool, envelope, accepted);
    }

    pub(super) fn committed(&mut self, accepted: Accepted, result: Result<(), Refusal>) {
        if let Err(word) = result {
            let what = format!("message {} from {}", accepted.id, accepted.from);
            return self.refuse(&what, &refusal(Context::Data, word));
        }
        // A client that delivers mail is no nuisance.
        self.errors = 0;
        self.commands = 0;
        self.respond(&Reply::new(250, "2.0.0", "").with_text(accepted.text()));
        self.out.note(accepted.into_note());
    }

    pub(super) fn discard(&mut self, body: &Body, ending: Ending) {
        self.ask(Call::Discard { spool: body.spool }, Then::Discard(ending));
    }

    pub(super) fn discarded(&mut self, ending: Ending) {
        match ending {
            Ending::Refuse(id, reply) => self.refuse_message(&format!("message {id}"), &reply),
            Ending::Unwanted(unwanted) => self.phase = Phase::Unwanted(unwanted),
            Ending::Obey(command) => self.obey(*command),
            Ending::Close(Some(reply), reason) => {
                self.goodbye(&reply, reason);
            }
            Ending::Close(None, reason) => {
                self.end(reason);
            }
        }
    }
}

impl Body {
    /// The next chunk begins.
    pub(super) fn begin_chunk(&mut self, size: u64, last: bool) {
        if let Some(count) = &mut self.count {
            count.begin(size, last);
        }
    }

    /// Octets of the chunk that is being read.
    pub(super) fn chunk_size(&self) -> u64 {
        self.count.map_or(0, |count| count.size())
    }

    /// Why the message is refused, as far as it has come.
    pub(super) fn fault(&self) -> Option<Reply> {
        let mut faults = self.decoder.faults();
        faults.too_large |= self.count.is_some_and(|count| count.total() > self.max_size);
        let signed = || {
            let breaks = self
                .unbinary
                .as_ref()
                .is_some_and(|parts| parts.breaks_signature());
            breaks.then(|| {
                Reply::new(
                    554,
                    "5.6.1",
                    "Signed part with binary content cannot be converted",
                )
            })
        };
        fault_reply(faults).or_else(signed)
    }

    /// Octets of the message. True: its end was found, and the rest of the input are commands.
    fn take(&mut self, input: &mut Chunk, out: &mut Outbox<Call>) -> bool {
        let too_large = self.count.is_some_and(|count| count.total() > self.max_size);
        match &mut self.unbinary {
            Some(_) if too_large => false,
            Some(parts) => {
                let mut text = Vec::with_capacity(input.len() + input.len() / 2);
                parts.push(input, &mut text);
                self.decode(&mut Chunk::from(text), out)
            }
            None => self.decode(input, out),
        }
    }

    fn decode(&mut self, input: &mut Chunk, out: &mut Outbox<Call>) -> bool {
        while let Some(piece) = self.decoder.next(input) {
            match piece {
                Piece::Text(text) => self.store(text, out),
                Piece::End => return true,
            }
        }
        false
    }

    fn store(&mut self, text: Chunk, out: &mut Outbox<Call>) {
        self.facts.push(&text);
        let (spool, stored, eight_bit) = (self.spool, &mut self.stored, &mut self.eight_bit);
        self.pass.push(text, |chunk| {
            *stored += chunk.len() as u64;
            *eight_bit |= !chunk.is_ascii();
            out.spool(spool, chunk);
        });
    }

    /// The message is whole; the reply if it is refused.
    fn finish(&mut self, out: &mut Outbox<Call>) -> Result<Summary, Reply> {
        if self.count.is_some() {
            self.finish_chunks(out)?;
        }
        let (spool, stored, eight_bit) = (self.spool, &mut self.stored, &mut self.eight_bit);
        let summary = self.pass.finish(|chunk| {
            *stored += chunk.len() as u64;
            *eight_bit |= !chunk.is_ascii();
            out.spool(spool, chunk);
        });
        match self.fault().or(summary.fault.map(header_reply)) {
            Some(reply) => Err(reply),
            None => Ok(summary),
        }
    }

    /// What BDAT LAST has to do beyond the final dot of DATA.
    fn finish_chunks(&mut self, out: &mut Outbox<Call>) -> Result<(), Reply> {
        if let Some(fault) = self.fault() {
            return Err(fault);
        }
        if let Some(parts) = self.unbinary.take() {
            let mut text = Vec::new();
            if !parts.finish(&mut text) {
                return Err(Reply::new(554, "5.6.1", "Binary content cannot be converted"));
            }
            self.decode(&mut Chunk::from(text), out);
        }
        if let Some(line_end) = self.decoder.finish() {
            self.store(line_end, out);
        }
        Ok(())
    }

    /// What the command and the header ask for together.
    fn final_wishes(&mut self) -> Wishes {
        self.facts.finish();
        let envelope = &self.envelope;
        // Of the recipients each speaks for itself: those that are plain ASCII can be reached everywhere.
        let from = envelope.reverse_path.address();
        let utf8 = self.facts.needs_utf8() || from.is_some_and(|address| !address.local.is_ascii());
        let wishes = envelope.wishes.clone();
        Wishes {
            // RFC 6531 §3.4: asked for and not needed, it would only keep the message from servers without it.
            utf8: wishes.utf8 && utf8,
            // RFC 8689 §4.1: the parameter outranks the header.
            tls_not_required: !wishes.require_tls && self.facts.tls_not_required(),
            ..wishes
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
