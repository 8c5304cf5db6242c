//! BDAT (RFC 3030): a message in counted chunks, and commands between them.
//!
//! The octets of a chunk are always read, also when the message has been refused: they are never taken for commands.
//! After a refusal each further chunk hears the same reply, until RSET, EHLO or the last chunk; so does a client that
//! has sent all of them at once and looks at the last reply only.

use super::body::{Body, Ending};
use super::session::{Phase, Session};
use crate::pace::Pace;
use crate::refusal::Refusal;
use crate::smtp::bdat::{Bdat, Count, Mark};
use crate::smtp::command::Command;
use crate::smtp::reply::{Context, Reply, refusal};

/// Octets read away in one step.
const STEP: usize = 64 * 1024;

/// What there is of a message between two chunks.
#[derive(Debug)]
pub(super) enum Chunked {
    /// More is to come.
    Open(Box<Body>),
    /// It was refused with this.
    Failed(Box<Reply>),
}

/// A chunk that is read away.
#[derive(Debug)]
pub(super) struct Unwanted {
    count: Count,
    pace: Pace,
    reply: Reply,
    /// The chunk belongs to a transaction, which has failed.
    fails: bool,
    /// It is not the first to hear of it.
    again: bool,
}

impl Session {
    /// A chunk begins.
    pub(super) fn bdat(&mut self, bdat: Bdat) {
        let Some(size) = bdat.size else {
            return self.bad_line(&Reply::new(501, "5.5.4", "Syntax error in chunk size"));
        };
        if size == u64::MAX {
            let reply = refusal(Context::Data, Refusal::TooLarge);
            self.goodbye(&reply, "chunk without end");
            return;
        }
        let last = bdat.mark == Mark::Last;
        let bad_mark = || Reply::new(501, "5.5.4", "Syntax error, LAST expected");
        match self.chunked.take() {
            Some(Chunked::Failed(reply)) => {
                let mut unwanted = self.unwanted(size, last, *reply);
                unwanted.again = true;
                self.phase = Phase::Unwanted(Box::new(unwanted));
            }
            Some(Chunked::Open(body)) if bdat.mark == Mark::Unknown => {
                let unwanted = self.unwanted(size, last, bad_mark());
                self.discard(&body, Ending::Unwanted(Box::new(unwanted)));
            }
            Some(Chunked::Open(mut body)) => {
                body.begin_chunk(size, last);
                self.deadline = body.pace.deadline(self.now);
                self.phase = Phase::Body(body);
            }
            None => {
                let bad_mark = (bdat.mark == Mark::Unknown).then(bad_mark);
                match self.not_ready().or(bad_mark) {
                    Some(reply) => {
                        let mut unwanted = self.unwanted(size, last, reply);
                        unwanted.fails = self.transaction.take().is_some();
                        self.phase = Phase::Unwanted(Box::new(unwanted));
                    }
                    None => self.open(Some(Count::new(size, last))),
                }
            }
        }
    }

    /// A chunk of a transaction that has failed with this reply.
    pub(super) fn unwanted(&mut self, size: u64, last: bool, reply: Reply) -> Unwanted {
        let pace = Pace::new(self.now, self.settings.data_timeout);
        self.deadline = pace.deadline(self.now);
        Unwanted {
            count: Count::new(size, last),
            pace,
            reply,
            fails: true,
            again: false,
        }
    }

    /// Reads away what lies in the inbox; false when it is empty.
    pub(super) fn read_unwanted(&mut self) -> bool {
        let Phase::Unwanted(unwanted) = &mut self.phase else {
            return false;
        };
        if !unwanted.count.is_whole() {
            let Some(octets) = unwanted.count.take(&mut self.inbox, STEP) else {
                return self.eof && self.end("closed by the client in BDAT");
            };
            unwanted.pace.earn(self.now, octets.len());
            self.deadline = unwanted.pace.deadline(self.now);
            return true;
        }
        if let Phase::Unwanted(unwanted) = core::mem::replace(&mut self.phase, Phase::Command) {
            if unwanted.fails && !unwanted.count.is_last() {
                self.chunked = Some(Chunked::Failed(Box::new(unwanted.reply.clone())));
            }
            if unwanted.fails && unwanted.count.is_last() && self.lmtp.is_some() {
                self.refuse_message("BDAT", &unwanted.reply);
            } else if unwanted.again {
                self.commands += 1;
                self.respond(&unwanted.reply);
            } else {
                self.refuse("BDAT", &unwanted.reply);
            }
        }
        true
    }

    /// A chunk is whole, and not the last: it is acknowledged, or the message refused (RFC 3030 §2).
    pub(super) fn chunk_done(&mut self) {
        let Phase::Body(body) = core::mem::replace(&mut self.phase, Phase::Command) else {
            return;
        };
        if let Some(reply) = body.fault() {
            let id = body.envelope.id.clone();
            self.chunked = Some(Chunked::Failed(Box::new(reply.clone())));
            return self.discard(&body, Ending::Refuse(id, reply));
        }
        let text = format!("OK: {} octets received", body.chunk_size());
        self.chunked = Some(Chunked::Open(body));
        self.respond(&Reply::new(250, "2.0.0", "").with_text(text));
    }

    /// A line that is no command. Between chunks it is most likely a part of one whose size was wrong: what would be
    /// delivered is not what was sent.
    pub(super) fn bad_line(&mut self, reply: &Reply) {
        let Some(Chunked::Open(body)) = self
            .chunked
            .take_if(|chunked| matches!(chunked, Chunked::Open(_)))
        else {
            return self.fail(reply);
        };
        let failed = Reply::new(503, "5.5.1", "Message incomplete, send RSET");
        self.chunked = Some(Chunked::Failed(Box::new(failed)));
        let id = body.envelope.id.clone();
        self.discard(&body, Ending::Refuse(id, reply.clone()));
    }

    /// RSET and its like between chunks: the message is dropped, and then they are obeyed. False: nothing is in the way.
    pub(super) fn drop_chunks_for(&mut self, command: &Command) -> bool {
        let clears = match command {
            Command::Rset | Command::Ehlo(_) | Command::Helo(_) | Command::Lhlo(_) => true,
            Command::StartTls => self.may_start_tls(),
            _ => false,
        };
        match self.chunked.take_if(|_| clears) {
            Some(Chunked::Open(body)) => {
                self.discard(&body, Ending::Obey(Box::new(command.clone())));
                true
            }
            Some(Chunked::Failed(_)) | None => false,
        }
    }

    /// MAIL has been accepted, and its message is not complete.
    pub(super) fn in_transaction(&self) -> bool {
        self.transaction.is_some() || self.chunked.is_some()
    }

    /// A message has come in part, and the next command may bring the rest of it.
    pub(super) fn is_between_chunks(&self) -> bool {
        matches!(self.chunked, Some(Chunked::Open(_)))
    }
}
