//! MAIL, RCPT, DATA and the message.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::reply::ServerReply;
use super::{Call, End, PIECE, Recipient, Session, State, timeout};
use crate::addr::{Address, Domain, ReversePath};
use crate::chunk::Chunk;
use crate::machine::Action;
use crate::note::Note;
use crate::refusal::Refusal;
use crate::relay::{Enhanced, Outcome as Verdict, Report};
use crate::smtp::envelope::{DsnRequest, Ret};
use crate::smtp::xtext;

/// Octets of commands on their way without a reply when PIPELINING is offered: one TCP segment on any path (IPv6's least
/// MTU of 1,280 less headers, and those of TLS). The replies to so few fit any window (RFC 2920 §3.1).
const SEGMENT: usize = 1_180;

/// RFC 3463 §3.6: too many recipients. The rest goes in a further transaction.
pub(crate) const TOO_MANY: Enhanced = Enhanced(4, 5, 3);

/// A command of the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Ends what the message before left open; with PIPELINING it costs no round trip.
    Rset,
    Mail,
    /// Index of the recipient.
    Rcpt(usize),
    Data,
}

impl Session {
    /// Begins the transaction, if the server can take such a message at all.
    pub(super) fn begin(&mut self) {
        let size = self.job.size.saturating_sub(self.job.offset);
        let limit = self.extensions.size.flatten();
        if self.requires_tls() && !(self.tls && self.settings.tls.verifies()) {
            let why = "the message requires TLS with a certificate that verifies";
            self.next_host(Enhanced(5, 7, 10), why);
        } else if self.requires_tls() && !self.extensions.require_tls {
            self.next_host(
                Enhanced(5, 7, 30),
                "REQUIRETLS support required, which the server does not offer",
            );
        } else if self.job.eight_bit && !self.extensions.eight_bit_mime {
            // RFC 6152 §3: convert it or give it back; this one is given back.
            self.impossible(
                Enhanced(5, 6, 3),
                "the message has 8-bit content, which the server does not take",
            );
        } else if limit.is_some_and(|limit| size > limit) {
            // RFC 1870 §6.1: no need to try.
            self.impossible(Enhanced(5, 3, 4), "the message is larger than the server takes");
        } else if is_international(&self.job.reverse_path) && !self.extensions.smtp_utf8 {
            self.impossible(
                Enhanced(5, 6, 7),
                "the sender's address is not ASCII, which the server does not take",
            );
        } else if self.job.wishes.utf8 && !self.extensions.smtp_utf8 {
            // RFC 6531 §3.5.
            self.impossible(
                Enhanced(5, 6, 9),
                "the message has a header beyond ASCII, which the server does not take",
            );
        } else {
            self.queue_commands();
            self.state = State::Transaction;
            self.pump();
        }
    }

    /// No recipient can be reached through this server, now or later.
    fn impossible(&mut self, enhanced: Enhanced, why: &str) {
        let report = Report::ours(enhanced, why).at(&self.settings.server);
        self.verdicts.fill(Some(Verdict::Permanent(report)));
        self.complete();
    }

    /// REQUIRETLS holds. A notification, with its null path, is better sent without than lost (RFC 8689 §5).
    pub(super) fn requires_tls(&self) -> bool {
        self.job.wishes.require_tls && self.job.reverse_path.address().is_some()
    }

    fn has_strange_recipient(&self) -> bool {
        !self.job.recipients.iter().all(|to| is_ascii(&to.address))
    }

    /// Another host may do what this one does not; if none does, that is the end (a report of class 5 in an outcome that
    /// is not final, see [`crate::relay::attempt`]).
    fn next_host(&mut self, enhanced: Enhanced, why: &str) {
        let report = Report::ours(enhanced, why).at(&self.settings.server);
        self.leave(End::NextHost, &report);
    }

    /// Whether the recipient fits into this transaction (RFC 9422 §4.1).
    fn fits(&self, taken: u64, domains: &mut BTreeSet<Domain>, domain: &Domain) -> bool {
        let below = |limit: Option<u64>, count: u64| limit.is_none_or(|limit| count < limit);
        let known = domains.contains(domain);
        let fits = below(self.extensions.max_recipients, taken)
            && (known || below(self.extensions.max_domains, domains.len() as u64));
        if fits && !known {
            domains.insert(domain.clone());
        }
        fits
    }

    fn queue_commands(&mut self) {
        if core::mem::take(&mut self.unfinished) {
            self.to_send.push_back(Command::Rset);
        }
        self.to_send.push_back(Command::Mail);
        let (mut taken, mut domains) = (0, BTreeSet::new());
        for (n, Recipient { address, .. }) in self.job.recipients.iter().enumerate() {
            if !self.fits(taken, &mut domains, &address.domain) {
                if let Some(verdict) = self.verdicts.get_mut(n) {
                    let why = "the server takes no more recipients at once";
                    let report = Report::ours(TOO_MANY, why).at(&self.settings.server);
                    *verdict = Some(Verdict::Temporary(report));
                }
                continue;
            }
            if is_ascii(address) || self.extensions.smtp_utf8 {
                taken += 1;
                self.to_send.push_back(Command::Rcpt(n));
            } else if let Some(verdict) = self.verdicts.get_mut(n) {
                let why = "the address is not ASCII, which the server does not take";
                let report = Report::ours(Enhanced(5, 6, 7), why).at(&self.settings.server);
                *verdict = Some(Verdict::Permanent(report));
            }
        }
        if !self.extensions.chunking {
            self.to_send.push_back(Command::Data);
        }
    }

    /// Octets of commands that may be sent now. More follow when half of the commands are answered, so that each segment
    /// carries several.
    fn room(&self) -> usize {
        if self.expected.is_empty() {
            SEGMENT
        } else if !self.extensions.pipelining || self.expected.len() > self.refill {
            0
        } else {
            let out = self.expected.iter().map(|command| self.line(*command).len() + 2);
            SEGMENT.saturating_sub(out.sum())
        }
    }

    /// Sends what may be sent now: all that there is room for with PIPELINING (RFC 2920 §3.1), else one command.
    fn pump(&mut self) {
        let mut room = self.room();
        let mut batch = Vec::new();
        while let Some(command) = self.to_send.front().copied() {
            if command == Command::Data && self.expected.is_empty() && !self.accepted.contains(&true) {
                self.to_send.clear();
                break;
            }
            let line = self.line(command);
            let alone = self.expected.is_empty();
            if !alone && (!self.extensions.pipelining || line.len() + 2 > room) {
                break;
            }
            room = room.saturating_sub(line.len() + 2);
            self.to_send.pop_front();
            batch.extend_from_slice(line.as_bytes());
            batch.extend_from_slice(b"\r\n");
            self.out.push_back(Action::Note(Note::Command(line)));
            self.expected.push_back(command);
        }
        if !batch.is_empty() {
            self.send(batch);
            self.refill = self.expected.len() / 2;
        }
        match self.expected.front() {
            Some(Command::Data) => self.wait(State::Transaction, timeout::DATA),
            Some(_) => self.wait(State::Transaction, timeout::COMMAND),
            None if self.extensions.chunking && self.accepted.contains(&true) => self.begin_chunks(),
            None => self.complete(),
        }
    }

    fn line(&self, command: Command) -> String {
        match command {
            Command::Rset => "RSET".to_owned(),
            Command::Mail => self.mail_line(),
            Command::Rcpt(n) => {
                let recipient = self.job.recipients.get(n);
                recipient.map_or_else(String::new, |recipient| self.rcpt_line(recipient))
            }
            Command::Data => "DATA".to_owned(),
        }
    }

    fn mail_line(&self) -> String {
        let mut line = format!("MAIL FROM:{}", self.job.reverse_path);
        if self.extensions.size.is_some() {
            line.push_str(&format!(
                " SIZE={}",
                self.job.size.saturating_sub(self.job.offset)
            ));
        }
        if self.job.eight_bit {
            line.push_str(" BODY=8BITMIME");
        }
        let wishes = &self.job.wishes;
        let international =
            wishes.utf8 || is_international(&self.job.reverse_path) || self.has_strange_recipient();
        if international && self.extensions.smtp_utf8 {
            line.push_str(" SMTPUTF8");
        }
        // RFC 3461 §5.2.1 (a), (b): as they came, and only if they came.
        if self.extensions.dsn {
            line.push_str(match wishes.ret {
                Some(Ret::Full) => " RET=FULL",
                Some(Ret::Headers) => " RET=HDRS",
                None => "",
            });
            if let Some(envid) = &wishes.envid {
                let _ = write!(line, " ENVID={}", xtext::encode(envid));
            }
        }
        if wishes.require_tls && self.tls && self.extensions.require_tls {
            line.push_str(" REQUIRETLS");
        }
        if self.extensions.mt_priority {
            let _ = write!(line, " MT-PRIORITY={}", wishes.priority);
        }
        if self.logged_in {
            // RFC 4954 §5: we vouch for nobody.
            line.push_str(" AUTH=<>");
        }
        line
    }

    fn rcpt_line(&self, recipient: &Recipient) -> String {
        let mut line = format!("RCPT TO:<{}>", recipient.address);
        if self.extensions.dsn {
            if let Some(notify) = recipient.dsn.notify {
                let _ = write!(line, " NOTIFY={notify}");
            }
            if let Some(original) = &recipient.dsn.original {
                let value = DsnRequest::parameter(original, self.extensions.smtp_utf8);
                let _ = write!(line, " ORCPT={value}");
            }
        }
        line
    }

    pub(super) fn on_transaction(&mut self, reply: &ServerReply) {
        match self.expected.pop_front() {
            Some(Command::Rset) if reply.class() != 2 => {
                // The connection is good for nothing more.
                self.give_up(End::NextHost, reply.report(&self.settings.server));
                return;
            }
            Some(Command::Mail) if self.is_tired(reply) => {
                self.give_up(End::NextHost, reply.report(&self.settings.server));
                return;
            }
            Some(Command::Mail) => self.on_mail(reply),
            Some(Command::Rcpt(n)) => self.on_rcpt(n, reply),
            Some(Command::Data) => {
                self.on_data(reply);
                return;
            }
            Some(Command::Rset) | None => {}
        }
        self.pump();
    }

    fn on_mail(&mut self, reply: &ServerReply) {
        self.mail_answered = true;
        self.unfinished = reply.class() == 2;
        if reply.class() != 2 {
            // It holds for recipients of a further transaction too.
            let verdict = reply.failure(&self.settings.server, false);
            let open =
                |verdict: &&mut Option<Verdict>| verdict.as_ref().is_none_or(|known| !known.is_final());
            for open in self.verdicts.iter_mut().filter(open) {
                *open = Some(verdict.clone());
            }
            self.to_send.clear();
        }
    }

    fn on_rcpt(&mut self, n: usize, reply: &ServerReply) {
        let (Some(verdict), Some(accepted)) = (self.verdicts.get_mut(n), self.accepted.get_mut(n)) else {
            return;
        };
        if verdict.is_some() {
            // MAIL was refused: what the server says of the rest does not matter.
        } else if reply.class() == 2 {
            *accepted = true;
        } else {
            *verdict = Some(reply.failure(&self.settings.server, true));
        }
    }

    fn on_data(&mut self, reply: &ServerReply) {
        let some = self.accepted.contains(&true);
        match (reply.code, some) {
            (354, true) => self.wait(State::Body, timeout::BLOCK),
            (354, false) => {
                // RFC 2920 §3.1: DATA was pipelined and the server goes along without recipients.
                self.send(b".\r\n".to_vec());
                self.wait(State::LoneDot, timeout::FINAL);
            }
            _ => {
                self.decide_accepted(&reply.failure(&self.settings.server, false));
                self.complete();
            }
        }
    }

    pub(super) fn decide_accepted(&mut self, verdict: &Verdict) {
        for open in self.verdicts.iter_mut().filter(|verdict| verdict.is_none()) {
            *open = Some(verdict.clone());
        }
    }

    /// The next question for octets of the message, while it is being sent.
    pub(super) fn next_piece(&mut self) -> Option<Action<Call>> {
        let ready = self.state == State::Body || self.wants_chunk();
        if !ready || self.awaiting.is_some() {
            return None;
        }
        let left = self.job.size.saturating_sub(self.position);
        if left == 0 {
            // A message without octets is still a message.
            self.end_body(Vec::new());
            return self.out.pop_front();
        }
        let max = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
        let offset = self.position;
        self.ask(Call::Read { offset, max });
        self.out.pop_front()
    }

    pub(super) fn on_piece(&mut self, result: Result<Chunk, Refusal>) {
        if !matches!(self.state, State::Body | State::Chunks) {
            return;
        }
        let left = self.job.size.saturating_sub(self.position);
        let mut chunk = match result {
            Ok(chunk) if !chunk.is_empty() => chunk,
            Ok(_) => return self.unreadable("the stored message is shorter than it was"),
            Err(_) => return self.unreadable("the stored message cannot be read"),
        };
        let piece = chunk.split_to(usize::try_from(left).unwrap_or(usize::MAX));
        self.position += piece.len() as u64;
        let mut encoded = Vec::with_capacity(piece.len() + piece.len() / 32 + 16);
        self.encoder.encode(&piece, &mut encoded);
        if self.position >= self.job.size {
            self.end_body(encoded);
        } else if self.state == State::Chunks {
            self.chunk(&encoded, false);
        } else {
            self.send(encoded);
            self.wait(State::Body, timeout::BLOCK);
        }
    }

    /// Ends the message, unless the server has spoken before it was asked: what it says then is no acceptance.
    fn end_body(&mut self, mut encoded: Vec<u8>) {
        if self.state == State::Chunks {
            self.encoder.finish(&mut encoded);
            self.chunk(&encoded, true);
            return;
        }
        if !self.inbox.is_empty() {
            self.lost_in_body("the server replied before the end of the message");
            return;
        }
        self.encoder.finish(&mut encoded);
        self.send(encoded);
        self.wait(State::Final, timeout::FINAL);
    }

    /// Without the final dot the server throws the message away (RFC 5321 §4.1.1.4).
    fn unreadable(&mut self, why: &str) {
        self.out.push_back(Action::Note(Note::Internal(why.to_owned())));
        self.give_up(End::Ours, Report::ours(Enhanced(4, 3, 0), why).severe());
    }

    /// The server hung up, or spoke, before the final dot. Many say what they refuse before they hang up.
    pub(super) fn lost_in_body(&mut self, how: &str) {
        if let Ok(Some(reply)) = self.replies.next(&mut self.inbox) {
            self.out
                .push_back(Action::Note(Note::Response(reply.to_string())));
            let hung_up_on_us = reply.code == 421 || reply.class() < 4;
            if !hung_up_on_us {
                self.decide_accepted(&reply.failure(&self.settings.server, false));
                self.give_up(End::Complete, self.lost(how));
                return;
            }
        }
        self.give_up(
            End::NextHost,
            self.lost("connection lost in the middle of the message"),
        );
    }

    pub(super) fn on_final(&mut self, reply: &ServerReply) {
        // The end of the message is the end of the transaction (RFC 5321 §4.1.1.4), if no part of it was refused
        // (RFC 3030 §2).
        let failed = self.chunks.failure();
        self.unfinished = failed.is_some();
        let verdict = if let Some(failed) = failed {
            failed
        } else if reply.class() == 2 {
            Verdict::Delivered(Report {
                notifies: self.extensions.dsn,
                ..reply.report(&self.settings.server)
            })
        } else {
            reply.failure(&self.settings.server, false)
        };
        self.decide_accepted(&verdict);
        self.complete();
    }
}

fn is_ascii(address: &Address) -> bool {
    address.local.is_ascii()
}

fn is_international(path: &ReversePath) -> bool {
    path.address().is_some_and(|address| !is_ascii(address))
}
