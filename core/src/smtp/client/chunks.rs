//! The message in chunks (RFC 3030 §2), to servers that offer CHUNKING: no dots are doubled, and none ends it.
//!
//! Recipients are answered before the first chunk goes out. BINARYMIME is not needed: what stands in the queue is made of
//! lines, because binary parts are stored as Base64.

use super::body::BodyEncoder;
use super::reply::ServerReply;
use super::{End, Session, State, timeout};
use crate::machine::Action;
use crate::note::Note;
use crate::relay::Outcome as Verdict;

/// Chunks on their way without a reply, with PIPELINING; each is about [`super::PIECE`] octets.
const WINDOW: usize = 4;

/// How far the chunks are.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    unanswered: usize,
    last_sent: bool,
    /// What the first chunk that was not taken was answered with.
    failed: Option<Verdict>,
}

impl Chunks {
    /// Whether a reply to the last chunk may come: the message may have been taken.
    pub(super) fn is_over(&self) -> bool {
        self.last_sent
    }

    /// The verdict, if a chunk was not taken.
    pub(super) fn failure(&mut self) -> Option<Verdict> {
        self.failed.take()
    }
}

impl Session {
    pub(super) fn begin_chunks(&mut self) {
        self.encoder = BodyEncoder::for_chunks();
        self.chunks = Chunks::default();
        self.wait(State::Chunks, timeout::BLOCK);
    }

    /// Whether the next piece may be read.
    pub(super) fn wants_chunk(&self) -> bool {
        let most = if self.extensions.pipelining { WINDOW } else { 1 };
        let chunks = &self.chunks;
        self.state == State::Chunks
            && !chunks.last_sent
            && chunks.failed.is_none()
            && chunks.unanswered < most
    }

    /// Sends a chunk; none of no octets but the last.
    pub(super) fn chunk(&mut self, octets: &[u8], last: bool) {
        if self.chunks.failed.is_some() || (octets.is_empty() && !last) {
            return;
        }
        let line = format!("BDAT {}{}", octets.len(), if last { " LAST" } else { "" });
        let mut bytes = Vec::with_capacity(line.len() + 2 + octets.len());
        bytes.extend_from_slice(line.as_bytes());
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(octets);
        self.out.push_back(Action::Note(Note::Command(line)));
        self.send(bytes);
        self.chunks.unanswered += 1;
        self.chunks.last_sent = last;
        self.await_chunks();
    }

    fn await_chunks(&mut self) {
        if self.chunks.last_sent && self.chunks.unanswered == 1 {
            self.wait(State::Final, timeout::FINAL);
        } else {
            self.wait(State::Chunks, timeout::BLOCK);
        }
    }

    /// The reply to a chunk that is not the last.
    pub(super) fn on_chunk(&mut self, reply: &ServerReply) {
        let chunks = &mut self.chunks;
        let Some(left) = chunks.unanswered.checked_sub(1) else {
            self.broken();
            return;
        };
        chunks.unanswered = left;
        if reply.class() != 2 && chunks.failed.is_none() {
            chunks.failed = Some(reply.failure(&self.settings.server, false));
        }
        if left == 0
            && let Some(failed) = self.chunks.failure()
        {
            // The server has thrown the message away; what it thinks of the transaction is not asked.
            self.decide_accepted(&failed);
            let rest = self.lost("the message was not taken");
            self.leave(End::Complete, &rest);
        } else {
            self.await_chunks();
        }
    }

    /// The connection ended, or nothing came in time.
    pub(super) fn lost_in_chunks(&mut self, how: &str) {
        if let Some(failed) = self.chunks.failure() {
            self.decide_accepted(&failed);
            self.give_up(End::Complete, self.lost(how));
        } else if self.chunks.is_over() {
            self.give_up(End::Uncertain, self.lost(how));
        } else {
            self.give_up(End::NextHost, self.lost(how));
        }
    }
}
