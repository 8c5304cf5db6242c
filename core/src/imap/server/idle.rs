//! IDLE (RFC 2177): news at once.

use super::news::After;
use super::notify_news::{Round, Why};
use super::view::Telling;
use super::{Phase, Session};
use crate::line::Line;

/// Octets of the line that ends IDLE, DONE.
const MAX_LINE: usize = 1024;

impl Session {
    /// IDLE.
    pub(super) fn idle(&mut self, tag: String) {
        self.out.line("+ idling");
        self.activity = self.now.mono;
        self.phase = Phase::Idle(tag);
    }

    /// Tells what is new, or reads the line that ends it. False: there is neither.
    pub(super) fn read_idle(&mut self) -> bool {
        if self.stopping {
            self.stop();
            return true;
        }
        if self.has_idle_news() {
            if let Phase::Idle(tag) = core::mem::replace(&mut self.phase, Phase::Ready) {
                self.tell(After::Idle(tag));
            }
            return true;
        }
        if self.has_other_news() {
            if let Phase::Idle(tag) = core::mem::replace(&mut self.phase, Phase::Ready) {
                self.go_round(Round::new(Why::Idle(tag)));
            }
            return true;
        }
        let line = match self.inbox.line(MAX_LINE) {
            Line::Partial => return self.next_pending(),
            Line::TooLong => {
                self.bye("[TOOBIG] Line too long", "overlong line");
                return true;
            }
            Line::Whole(line) => line,
        };
        if let Phase::Idle(tag) = core::mem::replace(&mut self.phase, Phase::Ready) {
            if line.trim_ascii_end().eq_ignore_ascii_case(b"DONE") {
                self.complete(tag, "OK IDLE terminated");
            } else {
                self.refuse_bad(&tag, "Expected DONE");
            }
        }
        true
    }

    /// Whether there is something to look at or to tell.
    fn has_idle_news(&self) -> bool {
        let telling = match &self.notified {
            Some(notified) => notified.while_idle(),
            None => Telling::from(true),
        };
        self.selected
            .as_ref()
            .is_some_and(|open| open.dirty || open.view.has_news(telling))
    }

    /// Says something, so that nobody on the way takes the connection for dead.
    pub(super) fn keep_alive(&mut self) {
        self.activity = self.now.mono;
        self.out.line("* OK Still here");
        if let Some(open) = self.selected.as_mut() {
            open.dirty |= open.missed;
        }
        if let Some(notified) = self.notified.as_mut() {
            notified.retry();
            notified.speaks = matches!(self.phase, Phase::Ready);
        }
    }
}
