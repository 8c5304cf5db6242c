//! An entry of the queue with what is known of it in memory.

use std::sync::Arc;
use std::time::Duration;

use super::kept::{Head, Kept, Texts};
use crate::addr::{Address, ReversePath};
use crate::relay::bounce::{About, Kind};
use crate::relay::entry::Entry;
use crate::relay::outcome::{Enhanced, Outcome, Report};
use crate::time::{Mono, Now, Unix};

/// After so long the sender hears that a message is late.
pub(super) const DELAY_NOTICE: Duration = Duration::from_secs(4 * 3600);

/// Characters of the last reply that are kept on disk.
const MAX_LAST: usize = 600;

/// An entry.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) head: Head,
    pub(super) recipients: Vec<Rcpt>,
    /// From when on the sender is told of the delay.
    pub(super) delay_due: Mono,
    /// Since when notices cannot be stored, and how often that was tried.
    pub(super) untold: Option<Box<(Mono, u32)>>,
    /// An operator wants what runs to be the last attempt.
    pub(super) doomed: bool,
    /// A Save or Remove is out.
    pub(super) writing: bool,
    /// That one is a Remove.
    pub(super) removing: bool,
    /// It is out of date already.
    pub(super) changed: bool,
}

/// A recipient.
#[derive(Debug)]
pub(super) struct Rcpt {
    /// Unique within the entry while it is in memory.
    pub(super) number: u32,
    pub(super) stored: Kept,
    pub(super) state: State,
    /// A notice of its delay is being stored.
    telling_delay: bool,
}

/// What a recipient is waiting for.
#[derive(Debug)]
pub(super) enum State {
    /// The next attempt.
    Waiting(Mono),
    /// Its turn at the next hop with this key.
    Ready(Arc<str>),
    /// The end of an attempt.
    Flying,
    /// The notice of its failure.
    Failed(Box<Failure>),
    /// The notice of its success.
    Done(Box<Success>),
}

/// Why a recipient failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) report: Report,
    /// The last of all attempts has failed.
    pub(super) expired: bool,
    /// It is in a notice that is being stored.
    told: bool,
    /// The log knows.
    pub(super) logged: bool,
}

/// What a recipient that has the message is told of.
#[derive(Debug)]
pub(super) struct Success {
    report: Report,
    /// It is in a notice that is being stored.
    told: bool,
}

/// What follows from an outcome.
pub(super) enum Next {
    Delivered,
    Again(Mono),
    Failed,
}

impl Item {
    pub(super) fn new(entry: Entry, now: Now, delays: &[u64], texts: &mut Texts) -> Self {
        let (head, recipients) = Head::split(entry, texts);
        let arrived = head.arrived;
        let recipients = (0..)
            .zip(recipients)
            .map(|(number, stored)| Rcpt::new(number, Kept::new(stored, texts), arrived, now, delays));
        // A clock that was set back does not put the notice off.
        let begin = arrived.max(head.hold_until);
        let late = Unix::from_secs(begin).0.saturating_add(DELAY_NOTICE);
        let most = DELAY_NOTICE + Duration::from_secs(begin - arrived);
        let wait = late.saturating_sub(now.unix.0).min(most);
        Self {
            recipients: recipients.collect(),
            head,
            delay_due: now.mono + wait,
            untold: None,
            doomed: false,
            writing: false,
            removing: false,
            changed: false,
        }
    }

    /// As it belongs on disk.
    pub(super) fn entry(&self, id: &str) -> Entry {
        let recipients = self.recipients.iter().map(|rcpt| rcpt.stored.recipient());
        self.head.join(id, recipients.collect())
    }

    /// Notices go neither to `<>` nor to the one who sends them (RFC 5321 §6.1).
    pub(super) fn wants_notices(&self) -> bool {
        let local = self.head.sender.rsplit_once('@').map_or("", |(local, _)| local);
        !local.is_empty() && !local.eq_ignore_ascii_case("mailer-daemon")
    }

    /// Its place among those that are due, from now on: see [`super::Urgency`]. Notices come after all mail.
    pub(super) fn urgency(&self, now: Mono) -> i64 {
        let hours = i64::try_from(now.0.as_secs() / 3600).unwrap_or(i64::MAX / 2);
        if self.head.is_notice() {
            return hours + 10;
        }
        hours - i64::from(self.head.priority().clamp(-9, 9))
    }

    pub(super) fn reverse_path(&self) -> ReversePath {
        Address::parse(&self.head.sender).map_or(ReversePath::Null, ReversePath::Address)
    }

    pub(super) fn find(&self, number: u32) -> Option<&Rcpt> {
        self.recipients.iter().find(|rcpt| rcpt.number == number)
    }

    pub(super) fn find_mut(&mut self, number: u32) -> Option<&mut Rcpt> {
        self.recipients.iter_mut().find(|rcpt| rcpt.number == number)
    }

    pub(super) fn remove(&mut self, number: u32) {
        self.recipients.retain(|rcpt| rcpt.number != number);
    }

    /// Whether recipients wait for their turn at this hop.
    pub(super) fn is_ready(&self, key: &Arc<str>) -> bool {
        let mut recipients = self.recipients.iter();
        recipients.any(|rcpt| matches!(&rcpt.state, State::Ready(ready) if ready == key))
    }

    /// Whether somebody will have to be told of a delay, and no attempt ends before that: what waits for its own timer until
    /// then is looked at when that attempt is over.
    pub(super) fn is_late_without_attempt(&self) -> bool {
        let no_attempt = |rcpt: &Rcpt| match rcpt.state {
            State::Waiting(due) => due >= self.delay_due || self.head.held,
            State::Ready(_) => true,
            State::Flying | State::Failed(_) | State::Done(_) => false,
        };
        let mut recipients = self.recipients.iter();
        self.wants_notices() && recipients.any(|rcpt| rcpt.is_told_of_delay() && no_attempt(rcpt))
    }

    /// Takes all recipients out of their turn; their numbers.
    pub(super) fn unready(&mut self) -> Vec<u32> {
        let ready = |rcpt: &&mut Rcpt| matches!(rcpt.state, State::Ready(_));
        let take = |rcpt: &mut Rcpt| {
            rcpt.state = State::Waiting(Mono::default());
            rcpt.number
        };
        self.recipients.iter_mut().filter(ready).map(take).collect()
    }
}

impl Rcpt {
    fn new(number: u32, stored: Kept, arrived: u64, now: Now, delays: &[u64]) -> Self {
        let state = if let Some(done) = &stored.done {
            let unknown = || Report::ours(Enhanced(2, 0, 0), "delivered");
            State::Done(Box::new(Success {
                report: Report::parse(done).unwrap_or_else(unknown),
                told: false,
            }))
        } else if stored.parsed().is_none() {
            let report = Report::ours(Enhanced(5, 1, 3), "this is no mail address");
            State::Failed(Failure::new(report, false))
        } else if stored.failed {
            // The program ended between the failure and the notice.
            State::Failed(Failure::new(
                last_report(&stored),
                is_used_up(stored.attempts, delays),
            ))
        } else if is_used_up(stored.attempts, delays) {
            // There were more attempts when it was tried last.
            State::Failed(Failure::new(last_report(&stored), true))
        } else {
            State::Waiting(now.mono + wait(&stored, arrived, now.unix, delays))
        };
        Self {
            number,
            stored,
            state,
            telling_delay: false,
        }
    }

    /// Whether the sender wants to hear of a failure.
    pub(super) fn wants_failure(&self) -> bool {
        self.stored.dsn().notify().failure
    }

    /// Which notice of success this recipient gets.
    fn success(&self) -> Kind {
        if self.stored.expanded {
            Kind::Expanded
        } else if self.stored.local {
            Kind::Delivered
        } else {
            Kind::Relayed
        }
    }

    /// It has the message and the sender wants to be told, by us: it stays until the notice is stored.
    pub(super) fn keep_success(&mut self, report: &Report) {
        self.stored.done = Some(short(report).into());
        self.state = State::Done(Box::new(Success {
            report: report.clone(),
            told: false,
        }));
    }

    /// What a notice of success says, unless there is nothing to say.
    pub(super) fn tell_success(&mut self, kind: Kind) -> Option<About> {
        if self.success() != kind {
            return None;
        }
        let State::Done(success) = &mut self.state else {
            return None;
        };
        if core::mem::replace(&mut success.told, true) {
            return None;
        }
        let report = success.report.clone();
        Some(self.about(report, false, None))
    }

    fn about(&self, report: Report, expired: bool, until: Option<Unix>) -> About {
        // Which account is behind an alias is not told: it is named as the sender knows it (RFC 3464 §2.3.2).
        let tried_here = self.stored.local && self.stored.attempts > 0;
        let known = self.stored.dsn().original.as_deref().filter(|_| tried_here);
        let known = known.and_then(|original| original.strip_prefix("rfc822;"));
        About {
            address: known.unwrap_or(&*self.stored.address).to_owned(),
            original: self.stored.dsn().original.clone(),
            report,
            expired,
            until,
        }
    }

    /// Takes in what an attempt gave.
    pub(super) fn outcome(&mut self, outcome: Outcome, now: Now, delays: &[u64], texts: &mut Texts) -> Next {
        self.stored.attempts = self.stored.attempts.saturating_add(1);
        self.stored.last = Some(texts.share(&short(outcome.report())));
        match outcome {
            Outcome::Delivered(_) => Next::Delivered,
            Outcome::Permanent(report) => self.fail(report, false, now),
            Outcome::Temporary(report) if is_used_up(self.stored.attempts, delays) => {
                self.fail(report, true, now)
            }
            Outcome::Temporary(_) => {
                let delay = Duration::from_secs(delay_after(self.stored.attempts, delays));
                self.stored.next = ceil(now.unix.0.saturating_add(delay));
                let due = now.mono + delay;
                self.state = State::Waiting(due);
                Next::Again(due)
            }
        }
    }

    /// It fails without an attempt.
    pub(super) fn refuse(&mut self, report: Report, now: Now, texts: &mut Texts) {
        self.stored.last = Some(texts.share(&short(&report)));
        self.fail(report, false, now);
    }

    fn fail(&mut self, report: Report, expired: bool, now: Now) -> Next {
        self.stored.next = ceil(now.unix.0);
        self.stored.failed = true;
        self.state = State::Failed(Failure::new(report, expired));
        Next::Failed
    }

    /// What a notice of failure says, unless there is nothing to say.
    pub(super) fn tell_failure(&mut self) -> Option<About> {
        let State::Failed(failure) = &mut self.state else {
            return None;
        };
        if failure.told {
            return None;
        }
        failure.told = true;
        let (report, expired) = (failure.report.clone(), failure.expired);
        Some(self.about(report, expired, None))
    }

    /// Whether it was tried, and its sender wants to hear of its delay and has not yet.
    fn is_told_of_delay(&self) -> bool {
        let untold = !self.stored.delay_told && !self.telling_delay;
        untold && self.stored.attempts > 0 && self.stored.dsn().notify().delay
    }

    /// What a notice of delay says, unless there is nothing to say (yet).
    pub(super) fn tell_delay(&mut self, delays: &[u64]) -> Option<About> {
        let open = matches!(self.state, State::Waiting(_) | State::Ready(_));
        if !open || !self.is_told_of_delay() {
            return None;
        }
        self.telling_delay = true;
        let tried = usize::try_from(self.stored.attempts).unwrap_or(usize::MAX);
        let left: u64 = delays
            .iter()
            .skip(tried)
            .fold(0, |sum, delay| sum.saturating_add(*delay));
        let until = Unix::from_secs(self.stored.next.saturating_add(left));
        Some(self.about(last_report(&self.stored), false, Some(until)))
    }

    /// A notice is stored, or could not be.
    pub(super) fn notice_over(&mut self, kind: Kind, stored: bool) {
        match (kind, &mut self.state) {
            (Kind::Delayed, _) => {
                self.telling_delay = false;
                self.stored.delay_told |= stored;
            }
            (Kind::Failed, State::Failed(failure)) => failure.told = false,
            (Kind::Delivered | Kind::Relayed | Kind::Expanded, State::Done(success)) => success.told = false,
            (Kind::Failed | Kind::Delivered | Kind::Relayed | Kind::Expanded, _) => {}
        }
    }
}

impl Failure {
    fn new(report: Report, expired: bool) -> Box<Self> {
        Box::new(Self {
            report,
            expired,
            told: false,
            logged: false,
        })
    }
}

/// As it is kept on disk.
fn short(report: &Report) -> String {
    report.to_string().chars().take(MAX_LAST).collect()
}

/// What the last attempt gave, as far as the disk knows.
fn last_report(stored: &Kept) -> Report {
    let unknown = || Report::ours(Enhanced(4, 4, 7), "no attempt has succeeded");
    stored
        .last
        .as_deref()
        .and_then(Report::parse)
        .unwrap_or_else(unknown)
}

/// Whether the first attempt and one after each delay were made.
fn is_used_up(attempts: u32, delays: &[u64]) -> bool {
    usize::try_from(attempts).is_ok_and(|attempts| attempts > delays.len())
}

/// Seconds from the n-th attempt to the next.
fn delay_after(attempts: u32, delays: &[u64]) -> u64 {
    let n = usize::try_from(attempts).unwrap_or(usize::MAX);
    delays.get(n.saturating_sub(1)).copied().unwrap_or_default()
}

/// How long a stored recipient still has to wait: until `next` on the wall clock, but no longer than its delay was when
/// the clock was set back meanwhile.
fn wait(stored: &Kept, arrived: u64, now: Unix, delays: &[u64]) -> Duration {
    let most = if stored.attempts == 0 {
        stored.next.saturating_sub(arrived)
    } else {
        delay_after(stored.attempts, delays)
    };
    let left = Unix::from_secs(stored.next).0.saturating_sub(now.0);
    left.min(Duration::from_secs(most))
}

/// Whole seconds, rounded up: never earlier.
fn ceil(time: Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0))
}
