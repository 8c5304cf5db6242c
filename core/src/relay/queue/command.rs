//! What operators want of entries.

use std::sync::Arc;

use super::contract::Command;
use super::item::{DELAY_NOTICE, State};
use super::{Queue, Timer};
use crate::relay::outcome::{Enhanced, Report};
use crate::time::Mono;

/// What is told of a recipient that an operator took out of the queue.
pub(super) fn removed() -> Report {
    Report::ours(Enhanced(5, 0, 0), "removed by an operator")
}

impl Queue {
    pub(super) fn command(&mut self, entry: &str, command: Command) {
        let id: Arc<str> = Arc::from(entry);
        match command {
            Command::Retry => self.retry(&id),
            Command::Hold => self.hold(&id),
            Command::Release => self.release(&id),
            Command::Fail => self.fail(&id),
        }
    }

    fn retry(&mut self, id: &Arc<str>) {
        let Some(item) = self.items.get(id) else {
            return;
        };
        if item.head.held || item.head.hold_until > self.now.unix.secs() {
            return;
        }
        let waiting: Vec<(Mono, u32)> = item
            .recipients
            .iter()
            .filter_map(|rcpt| match rcpt.state {
                State::Waiting(due) => Some((due, rcpt.number)),
                _ => None,
            })
            .collect();
        for (due, number) in waiting {
            self.timers
                .remove(&(due, Arc::clone(id), Timer::Recipient(number)));
            self.make_ready(id, number, None);
        }
    }

    /// Timers go on, and find the entry held; what had its turn waits again, without a timer. Its place in the row stays,
    /// and whoever comes to it finds nothing to do.
    fn hold(&mut self, id: &Arc<str>) {
        let Some(item) = self.items.get_mut(id).filter(|item| !item.head.held) else {
            return;
        };
        item.head.held = true;
        item.unready();
        self.watch_delay(id);
        self.write(id);
    }

    fn release(&mut self, id: &Arc<str>) {
        let now = self.now.unix;
        let Some(item) = self.items.get_mut(id) else {
            return;
        };
        // That it was held so long is no delay: that counts from now.
        let until = item.head.hold_until.min(now.secs());
        let held = core::mem::replace(&mut item.head.held, false);
        if until != item.head.hold_until {
            let late = (item.delay_due, Arc::clone(id), Timer::Delay);
            self.timers.remove(&late);
            item.delay_due = self.now.mono + DELAY_NOTICE;
        }
        if held || until != item.head.hold_until {
            item.head.hold_until = until;
            self.write(id);
        }
        self.retry(id);
    }

    fn fail(&mut self, id: &Arc<str>) {
        let Some(item) = self.items.get_mut(id) else {
            return;
        };
        let mut timers = Vec::new();
        for rcpt in &mut item.recipients {
            match rcpt.state {
                State::Waiting(due) => timers.push((due, Arc::clone(id), Timer::Recipient(rcpt.number))),
                State::Flying => {
                    item.doomed = true;
                    continue;
                }
                State::Ready(_) => {}
                State::Failed(_) | State::Done(_) => continue,
            }
            rcpt.refuse(removed(), self.now, &mut self.texts);
        }
        for timer in timers {
            self.timers.remove(&timer);
        }
        self.settle(id);
        self.write(id);
    }
}
