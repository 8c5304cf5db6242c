//! Octets of the machine on their way to the peer.

use std::io;
use std::task::{Context as Task, Poll};
use std::time::Instant;

use rmail_core::machine::Session;
use rmail_store::service::Serve;

use super::super::End;
use super::super::work::Work;
use super::{BUDGET, Driver, LOW, Step, lost};

impl<M, V> Driver<M, V>
where
    M: Session<Call = V::Call, Reply = V::Reply> + Send,
    V: Serve,
{
    pub(super) fn waits_to_write(&self) -> bool {
        !self.out.is_empty() || self.unflushed
    }

    /// Whether nothing goes on unless the peer reads; close_notify must be written too.
    pub(super) fn waits_for_peer(&self) -> bool {
        self.waits_to_write() || matches!(self.work, Work::Closing)
    }

    pub(super) fn write(&mut self, cx: &mut Task<'_>) -> Step {
        let Some(stream) = &mut self.stream else {
            return Ok(false);
        };
        let mut moved = false;
        while !self.out.is_empty() && self.moved < BUDGET {
            match self.out.with_front(|bytes| stream.poll_write(cx, bytes)) {
                Poll::Ready(Ok(written)) if written > 0 => {
                    self.out.advance(written);
                    self.unflushed = stream.buffers();
                    self.write_moved = Instant::now();
                    self.moved += written;
                    moved = true;
                }
                Poll::Ready(Ok(_)) => return self.break_off(lost(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Err(error)) => return self.break_off(lost(error)),
                Poll::Pending => break,
            }
        }
        if self.choked && self.out.len() < LOW {
            self.choked = false;
        }
        if self.out.is_empty() && self.unflushed {
            match stream.poll_flush(cx) {
                Poll::Ready(Ok(())) => {
                    self.unflushed = false;
                    moved = true;
                }
                Poll::Ready(Err(error)) => return self.break_off(lost(error)),
                Poll::Pending => {}
            }
        }
        Ok(moved)
    }

    /// Writing is over. What the peer sent before may still be read: perhaps it says why. The machine is told in the
    /// end, so that it knows what became of its work; but nothing more is made for nobody.
    pub(super) fn break_off(&mut self, end: End) -> Step {
        self.out.clear();
        self.unflushed = false;
        self.choked = false;
        if matches!(self.work, Work::Blob(_)) {
            return Err(end);
        }
        self.broken.get_or_insert(end);
        Ok(true)
    }
}
