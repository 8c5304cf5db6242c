//! Octets of the peer on their way to the machine.

use std::task::{Context as Task, Poll};

use rmail_core::machine::{Input, Session};
use rmail_store::service::Serve;

use super::super::work::Work;
use super::{BLIND, Driver};

impl<M, V> Driver<M, V>
where
    M: Session<Call = V::Call, Reply = V::Reply> + Send,
    V: Serve,
{
    fn may_read(&self) -> bool {
        let now = match self.work {
            Work::Idle => !self.choked,
            Work::Blob(_) => self.blind < BLIND,
            _ => false,
        };
        now && !self.eof && self.machine.wants_bytes()
    }

    pub(super) fn read(&mut self, cx: &mut Task<'_>) -> bool {
        if !self.may_read() {
            return false;
        }
        if let Some(moved) = self.inflate() {
            return moved;
        }
        if self.read_waits && self.broken.is_none() {
            return false;
        }
        let Some(stream) = &mut self.stream else {
            return false;
        };
        match stream.poll_read(cx) {
            Poll::Ready(Ok(Some(chunk))) => {
                self.moved += chunk.len();
                self.blind += chunk.len();
                match &mut self.incoming {
                    Some(incoming) => incoming.push(chunk),
                    None => self.feed(Input::Bytes(chunk)),
                }
                true
            }
            Poll::Pending if self.broken.is_none() => {
                self.read_waits = true;
                false
            }
            Poll::Pending | Poll::Ready(Ok(None)) => self.end_of_input(),
            Poll::Ready(Err(error)) => {
                // A peer that closes without close_notify, or resets, is gone like one that closes.
                log::debug!(target: self.context.label.protocol, "{} event=read_failed error={:?}",
                    self.context.label, error.to_string());
                self.end_of_input()
            }
        }
    }

    /// Feeds the next piece of what was read and is compressed: only once the machine has worked through the last, for
    /// one command may be the end of compression. `None`: there is nothing, the peer must send more.
    fn inflate(&mut self) -> Option<bool> {
        let incoming = self.incoming.as_mut().filter(|incoming| incoming.has_more())?;
        if !self.drained {
            return Some(false);
        }
        let piece = incoming.piece();
        if incoming.is_over() {
            self.incoming = None;
        }
        match piece {
            Ok(Some(piece)) => {
                self.moved += piece.len();
                self.feed(Input::Bytes(piece));
                Some(true)
            }
            Ok(None) => None,
            Err(corrupt) => {
                log::debug!(target: self.context.label.protocol, "{} event=read_failed error={:?}",
                    self.context.label, corrupt.to_string());
                Some(self.end_of_input())
            }
        }
    }

    pub(super) fn end_of_input(&mut self) -> bool {
        self.eof = true;
        self.incoming = None;
        self.feed(Input::Eof);
        true
    }
}
