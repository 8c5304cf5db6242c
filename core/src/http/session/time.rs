//! How long a client may be silent.

use super::super::Application;
use super::{HttpSession, Phase};
use crate::machine::Action;
use crate::note::Note;
use crate::pace::Pace;

impl<A: Application> HttpSession<A> {
    pub(super) fn tick(&mut self) {
        if matches!(self.phase, Phase::Work(_))
            && self.api.poll_timeout().is_some_and(|at| at <= self.now.mono)
        {
            self.api.tick(self.now);
        }
        if self.deadline.is_none_or(|deadline| self.now.mono < deadline) {
            return;
        }
        if core::mem::take(&mut self.held_up) {
            return self.restart_clock();
        }
        let idle = self.is_at_rest() || matches!(self.phase, Phase::Drain(_));
        if idle {
            self.push(Action::Note(Note::Ended("timeout")));
            self.close();
        } else {
            // RFC 9110 §15.5.9
            self.refuse(408, "Request timeout");
        }
    }

    /// The client was not read, or had much to read: its time begins anew.
    fn restart_clock(&mut self) {
        let pace = Pace::new(self.now, self.patience.request);
        let rest = match &mut self.phase {
            Phase::Head { timed: false, .. } => self.patience.idle,
            Phase::Work(exchange) => {
                if let Some(reading) = &mut exchange.reading {
                    reading.pace = pace;
                }
                self.patience.request
            }
            _ => self.patience.request,
        };
        self.deadline = Some(self.now.mono + rest);
    }
}
