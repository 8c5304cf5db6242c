//! Actions that wait to be polled. Neighbouring small pieces are joined, so that a pipelined group is answered in one
//! write and a message of many dotted lines is no flood of actions.

use std::collections::VecDeque;

use crate::chunk::Chunk;
use crate::machine::{Action, SpoolId};
use crate::note::Note;

/// Octets that wait before the session stops to consume input: a slow reader slows its own commands.
const FULL: usize = 64 * 1024;

/// What an action weighs beside its octets.
const OVERHEAD: usize = 64;

/// Pieces of a body below this are copied together.
const SMALL: usize = 512;

/// Octets copied together at most.
const JOINED: usize = 16 * 1024;

/// The queue.
#[derive(Debug)]
pub(super) struct Outbox<C> {
    queue: VecDeque<Action<C>>,
    weight: usize,
    tail: Tail,
}

/// What may still grow.
#[derive(Debug)]
enum Tail {
    None,
    Send(Vec<u8>),
    Spool(SpoolId, Vec<u8>),
}

impl<C> Default for Outbox<C> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            weight: 0,
            tail: Tail::None,
        }
    }
}

impl<C> Outbox<C> {
    /// Whether so much waits that no more input should be consumed.
    pub(super) fn is_full(&self) -> bool {
        self.weight >= FULL
    }

    /// The oldest action.
    pub(super) fn pop(&mut self) -> Option<Action<C>> {
        if self.queue.is_empty() {
            self.flush();
        }
        let action = self.queue.pop_front()?;
        self.weight = self.weight.saturating_sub(weight(&action));
        if self.queue.is_empty() && self.queue.capacity() > 64 {
            self.queue = VecDeque::new();
        }
        Some(action)
    }

    /// Octets for the peer.
    pub(super) fn send(&mut self, mut octets: Vec<u8>) {
        self.weight += octets.len();
        if let Tail::Send(tail) = &mut self.tail {
            tail.append(&mut octets);
        } else {
            self.flush();
            self.weight += OVERHEAD;
            self.tail = Tail::Send(octets);
        }
    }

    /// Octets of a body.
    pub(super) fn spool(&mut self, spool: SpoolId, chunk: Chunk) {
        match &mut self.tail {
            Tail::Spool(id, tail) if *id == spool && chunk.len() < SMALL && tail.len() < JOINED => {
                self.weight += chunk.len();
                tail.extend_from_slice(&chunk);
            }
            _ if chunk.len() < SMALL => {
                self.flush();
                self.weight += OVERHEAD + chunk.len();
                self.tail = Tail::Spool(spool, chunk.to_vec());
            }
            _ => self.push(Action::Spool(spool, chunk)),
        }
    }

    /// A note.
    pub(super) fn note(&mut self, note: Note) {
        self.push(Action::Note(note));
    }

    /// Any other action.
    pub(super) fn push(&mut self, action: Action<C>) {
        self.flush();
        self.weight += weight(&action);
        self.queue.push_back(action);
    }

    fn flush(&mut self) {
        match core::mem::replace(&mut self.tail, Tail::None) {
            Tail::None => {}
            Tail::Send(octets) => self.queue.push_back(Action::Send(octets.into())),
            Tail::Spool(spool, octets) => self.queue.push_back(Action::Spool(spool, octets.into())),
        }
    }
}

fn weight<C>(action: &Action<C>) -> usize {
    OVERHEAD
        + match action {
            Action::Send(octets) => octets.as_ref().len(),
            Action::Spool(_, chunk) => chunk.len(),
            _ => 0,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_neighbours_are_joined_and_order_is_kept() {
        let mut out = Outbox::<()>::default();
        out.send(b"a".to_vec());
        out.send(b"b".to_vec());
        out.push(Action::StartTls);
        for _ in 0..3 {
            out.spool(SpoolId(1), Chunk::copy_from(b"x"));
        }
        let large = Chunk::from(vec![b'y'; SMALL]);
        out.spool(SpoolId(1), large.clone());
        out.spool(SpoolId(2), Chunk::copy_from(b"z"));
        let mut all = Vec::new();
        while let Some(action) = out.pop() {
            all.push(action);
        }
        assert_eq!(
            all,
            [
                Action::Send(b"ab".to_vec().into()),
                Action::StartTls,
                Action::Spool(SpoolId(1), Chunk::copy_from(b"xxx")),
                Action::Spool(SpoolId(1), large),
                Action::Spool(SpoolId(2), Chunk::copy_from(b"z")),
            ]
        );
        assert_eq!(out.weight, 0);
    }

    #[test]
    fn it_is_full_until_polled() {
        let mut out = Outbox::<()>::default();
        out.send(vec![0; FULL]);
        assert!(out.is_full());
        assert!(out.pop().is_some() && !out.is_full() && out.pop().is_none());
    }
}
