//! Lazy output: long answers are jobs, and each step of one fills one `Send`.

use std::collections::VecDeque;

use super::call::Call;
use super::fetch::Fetch;
use super::list::Listing;
use super::news::{After, News};
use super::notify_news::Round;
use super::resync::Resync;
use super::search::Search;
use crate::chunk::Chunk;
use crate::machine::{Action, Bytes, WatchId};

/// Octets after which a step ends.
pub(super) const STEP_OCTETS: usize = 32 * 1024;

/// Rows after which a step ends even if it had nothing to say, so that other sessions get their turn.
pub(super) const STEP_ROWS: usize = 10_000;

/// Octets from which a chunk is sent as it is instead of being copied between its neighbours.
const SHARE_FROM: usize = 4 * 1024;

/// A long answer. It is taken out of the session for each step, and puts itself back unless it is done.
#[derive(Debug)]
pub(super) enum Job {
    /// Tells what changed in the selected mailbox.
    News(Box<News>, After),
    /// FETCH.
    Fetch(Box<Fetch>),
    /// SEARCH.
    Search(Box<Search>),
    /// What a client that comes back has missed.
    Resync(Box<Resync>),
    /// What became of the list of mailboxes.
    Notices(Box<Round>),
    /// LIST, LSUB.
    Listing(Box<Listing>),
}

/// What is to be done, in order; text is gathered until something else comes.
#[derive(Debug, Default)]
pub(super) struct Output {
    queue: VecDeque<Action<Call>>,
    text: Vec<u8>,
    /// Watches that were begun and not ended.
    watches: Vec<WatchId>,
}

impl Output {
    /// Where response text is appended.
    pub(super) fn text(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    /// Appends a line and its end.
    pub(super) fn line(&mut self, line: &str) {
        self.text.extend_from_slice(line.as_bytes());
        self.text.extend_from_slice(b"\r\n");
    }

    /// Appends an action behind the text so far.
    pub(super) fn push(&mut self, action: Action<Call>) {
        if !self.text.is_empty() {
            let text = core::mem::take(&mut self.text);
            self.queue.push_back(Action::Send(Bytes::Owned(text)));
        }
        match &action {
            Action::Watch(watch, ..) => self.watches.push(*watch),
            Action::Unwatch(watch) => self.watches.retain(|other| other != watch),
            _ => {}
        }
        self.queue.push_back(action);
    }

    /// Ends all watches, whoever began them.
    pub(super) fn unwatch_all(&mut self) {
        for watch in core::mem::take(&mut self.watches) {
            self.push(Action::Unwatch(watch));
        }
    }

    /// Appends octets; many are shared, few are copied.
    pub(super) fn chunk(&mut self, chunk: &Chunk) {
        if chunk.len() < SHARE_FROM {
            self.text.extend_from_slice(chunk);
        } else {
            self.push(Action::Send(Bytes::Shared(chunk.clone())));
        }
    }

    /// Whether a step has said enough.
    pub(super) fn is_full(&self) -> bool {
        self.text.len() >= STEP_OCTETS
    }

    /// Ends a step that had nothing to say: hands control back to the host.
    pub(super) fn pause(&mut self) {
        if self.text.is_empty() && self.queue.is_empty() {
            self.queue.push_back(Action::Send(Bytes::Owned(Vec::new())));
        }
    }

    /// The oldest thing to do.
    pub(super) fn pop(&mut self) -> Option<Action<Call>> {
        self.queue.pop_front().or_else(|| {
            (!self.text.is_empty()).then(|| Action::Send(Bytes::Owned(core::mem::take(&mut self.text))))
        })
    }

    /// Gives memory back while nothing happens.
    pub(super) fn rest(&mut self) {
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
    }

    /// Forgets what is not said yet.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::CallId;
    use crate::note::Note;

    #[test]
    fn text_is_gathered_and_order_is_kept() {
        let mut out = Output::default();
        out.line("* 1 EXISTS");
        out.line("* 0 RECENT");
        out.push(Action::Note(Note::Ended("x")));
        out.chunk(&Chunk::copy_from(b"small"));
        let large = Chunk::from(vec![b'x'; SHARE_FROM]);
        out.chunk(&large);
        out.line(")");
        let all: Vec<_> = core::iter::from_fn(|| out.pop()).collect();
        assert_eq!(
            all,
            [
                Action::Send(Bytes::Owned(b"* 1 EXISTS\r\n* 0 RECENT\r\n".to_vec())),
                Action::Note(Note::Ended("x")),
                Action::Send(Bytes::Owned(b"small".to_vec())),
                Action::Send(Bytes::Shared(large)),
                Action::Send(Bytes::Owned(b")\r\n".to_vec())),
            ]
        );
        out.pause();
        assert_eq!(out.pop(), Some(Action::Send(Bytes::Owned(Vec::new()))));
        out.push(Action::Call(CallId(1), Call::Discard { spools: vec![] }));
        out.pause();
        assert!(matches!(out.pop(), Some(Action::Call(..))) && out.pop().is_none());
    }
}
