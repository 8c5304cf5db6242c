//! Telling the sender: of failures at once, of delays once, of success where it asked for it.

use std::sync::Arc;
use std::time::Duration;

use super::item::State;
use super::{Action, BounceId, Event, MAX_NOTICE_RETRY, Pending, Queue, STORAGE_RETRY, Timer};
use crate::relay::bounce::{About, Kind, Notice};
use crate::time::Unix;

impl Queue {
    /// Deals with recipients that have failed: tells the sender, or forgets them if there is none to tell. Whether the
    /// entry has fewer recipients now, or none at all.
    pub(super) fn settle(&mut self, id: &Arc<str>) -> bool {
        let Some(item) = self.items.get_mut(id) else {
            return false;
        };
        let has_sender = item.wants_notices();
        let mut notice = false;
        for rcpt in &mut item.recipients {
            let told = has_sender && rcpt.wants_failure();
            if let State::Failed(failure) = &mut rcpt.state
                && !core::mem::replace(&mut failure.logged, true)
            {
                notice |= told;
                self.out.push_back(Action::Event(Event::Failed {
                    entry: id.to_string(),
                    recipient: rcpt.stored.address.to_string(),
                    report: failure.report.clone(),
                    expired: failure.expired,
                    told,
                }));
            }
        }
        let before = item.recipients.len();
        // Of a failure that nobody wants to hear of (NOTIFY without FAILURE) nothing remains.
        item.recipients.retain(|rcpt| {
            let told = has_sender && rcpt.wants_failure();
            match rcpt.state {
                State::Failed(_) => told,
                State::Done(_) => has_sender,
                _ => true,
            }
        });
        let fewer = item.recipients.len() < before || item.recipients.is_empty();
        if notice {
            self.tell_failures(id);
        }
        fewer
    }

    /// One notice for all recipients that have failed and are in no notice yet.
    pub(super) fn tell_failures(&mut self, id: &Arc<str>) {
        let Some(item) = self.items.get_mut(id) else {
            return;
        };
        let mut about = Vec::new();
        let mut numbers = Vec::new();
        for rcpt in &mut item.recipients {
            if let Some(told) = rcpt.tell_failure() {
                about.push(told);
                numbers.push(rcpt.number);
            }
        }
        self.bounce(id, Kind::Failed, numbers, about);
    }

    /// One notice for aliases, one for all recipients that got the message from us, one for those that got it from a server that tells
    /// nobody (RFC 3461 §5.2.2, §5.2.3).
    pub(super) fn tell_successes(&mut self, id: &Arc<str>) {
        for kind in [Kind::Delivered, Kind::Relayed, Kind::Expanded] {
            let Some(item) = self.items.get_mut(id) else {
                return;
            };
            let mut about = Vec::new();
            let mut numbers = Vec::new();
            for rcpt in &mut item.recipients {
                if let Some(told) = rcpt.tell_success(kind) {
                    about.push(told);
                    numbers.push(rcpt.number);
                }
            }
            self.bounce(id, kind, numbers, about);
        }
    }

    /// After [`super::item::DELAY_NOTICE`] the sender is told of recipients that were tried in vain, each once.
    pub(super) fn tell_delay(&mut self, id: &Arc<str>) {
        let Some(item) = self.items.get_mut(id) else {
            return;
        };
        if !item.wants_notices() || self.now.mono < item.delay_due {
            return;
        }
        let mut about = Vec::new();
        let mut numbers = Vec::new();
        for rcpt in &mut item.recipients {
            if let Some(told) = rcpt.tell_delay(&self.settings.retry_delays) {
                about.push(told);
                numbers.push(rcpt.number);
            }
        }
        self.bounce(id, Kind::Delayed, numbers, about);
    }

    /// Wakes the queue when the sender is to be told of a delay, if nothing else does. Most entries need no such timer:
    /// they are tried before, or were not tried yet.
    pub(super) fn watch_delay(&mut self, id: &Arc<str>) {
        let late = self.items.get(id).filter(|item| item.is_late_without_attempt());
        if let Some(item) = late.filter(|item| item.delay_due > self.now.mono) {
            self.timers.insert((item.delay_due, Arc::clone(id), Timer::Delay));
        }
    }

    fn bounce(&mut self, id: &Arc<str>, kind: Kind, numbers: Vec<u32>, about: Vec<About>) {
        let Some(item) = self.items.get(id).filter(|_| !about.is_empty()) else {
            return;
        };
        let notice = Notice {
            kind,
            hostname: self.settings.hostname.clone(),
            sender: item.head.sender.to_string(),
            authenticated: item.head.account.is_some(),
            entry: id.to_string(),
            arrived: Unix::from_secs(item.head.arrived),
            recipients: about,
            wishes: item.head.wishes(),
        };
        let bounce = BounceId(self.notices);
        self.notices += 1;
        let pending = Pending {
            entry: Arc::clone(id),
            kind,
            recipients: numbers,
        };
        self.bounces.insert(bounce, pending);
        self.out.push_back(Action::Bounce {
            bounce,
            entry: id.to_string(),
            notice: Box::new(notice),
        });
    }

    pub(super) fn bounced(&mut self, bounce: BounceId, stored: bool) {
        let Some(pending) = self.bounces.remove(&bounce) else {
            return;
        };
        let id = pending.entry;
        let Some(item) = self.items.get_mut(&id) else {
            return;
        };
        let mut retry = None;
        if stored {
            item.untold = None;
        } else {
            let (since, tries) = item.untold.as_deref().copied().unwrap_or((self.now.mono, 0));
            item.untold = Some(Box::new((since, tries.saturating_add(1))));
            let most: u64 = self
                .settings
                .retry_delays
                .iter()
                .fold(0, |sum, delay| sum.saturating_add(*delay));
            if self.now.mono - since < Duration::from_secs(most) {
                let wait = STORAGE_RETRY.saturating_mul(1 << tries.min(10));
                retry = Some(self.now.mono + wait.min(MAX_NOTICE_RETRY));
            } else {
                item.untold = None;
                self.out.push_back(Action::Event(Event::Unnoticed {
                    entry: id.to_string(),
                    sender: item.head.sender.to_string(),
                    kind: pending.kind,
                }));
            }
        }
        // What is given up is over as if it were told.
        let over = retry.is_none();
        for number in pending.recipients {
            match pending.kind {
                Kind::Failed | Kind::Delivered | Kind::Relayed | Kind::Expanded if over => {
                    item.remove(number)
                }
                kind => {
                    if let Some(rcpt) = item.find_mut(number) {
                        rcpt.notice_over(kind, over);
                    }
                }
            }
        }
        if let Some(due) = retry {
            let timer = match pending.kind {
                Kind::Failed | Kind::Delivered | Kind::Relayed | Kind::Expanded => Timer::Bounce,
                Kind::Delayed => Timer::Delay,
            };
            self.timers.insert((due, id, timer));
        } else {
            self.write(&id);
        }
    }
}
