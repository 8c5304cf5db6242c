//! A further message over the same connection.

use super::reply::ServerReply;
use super::{Call, Job, Session, State};
use crate::relay::Report;
use crate::smtp::client::End;
use crate::smtp::client::body::BodyEncoder;

impl Session {
    /// The same session, which takes up to `messages` messages over its connection, fewer if the server says so
    /// (MAILMAX, RFC 9422 §4). It then asks [`Call::Greeted`] and [`Call::Next`].
    #[must_use]
    pub fn keep_open(mut self, messages: u32) -> Self {
        self.most = messages.max(1);
        self
    }

    /// Nothing is under way: what it was given is answered for and told. It waits for more, or is leaving.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.outcome.is_none() && !self.is_busy()
    }

    /// Messages that were answered for.
    #[must_use]
    pub fn messages(&self) -> u32 {
        self.done
    }

    /// A message is under way and not decided.
    pub(super) fn is_busy(&self) -> bool {
        let left = matches!(self.state, State::Idle | State::Quit | State::Closed);
        self.outcome.is_none() && !left
    }

    /// A kept connection on which nothing was said yet of this message.
    pub(super) fn is_untried(&self) -> bool {
        self.done > 0 && !self.mail_answered
    }

    /// The server takes no further message over this connection, whatever it calls that: one of its own may do better.
    pub(super) fn is_tired(&self, reply: &ServerReply) -> bool {
        // 503: it sees a transaction where we see none.
        self.is_untried() && (reply.class() == 4 || reply.code == 503)
    }

    /// Whether the connection may carry one more message.
    pub(super) fn may_go_on(&self) -> bool {
        let told = self.extensions.max_mails.unwrap_or(u64::MAX);
        self.done < self.most && u64::from(self.done) < told && self.expected.is_empty()
    }

    /// All that was asked is answered, and nothing came that was not.
    pub(super) fn is_in_step(&self) -> bool {
        self.inbox.is_empty() && !self.replies.is_amid()
    }

    /// The server is alive.
    pub(super) fn tell_greeted(&mut self) {
        if self.most > 1 {
            self.ask(Call::Greeted);
        }
    }

    /// Hands over what became of the message.
    pub(super) fn ask_for_next(&mut self, rest: &Report) {
        self.decide(End::Complete, rest);
        if let Some(outcome) = self.outcome.take() {
            self.state = State::Idle;
            self.deadline = None;
            let outcome = Box::new(outcome);
            self.ask(Call::Next { outcome });
        }
    }

    /// The next message, or the end.
    pub(super) fn on_next(&mut self, job: Option<Box<Job>>) {
        if self.state == State::Idle {
            match job {
                Some(job) => self.go_on(*job),
                None => self.quit(),
            }
        }
    }

    fn go_on(&mut self, job: Job) {
        self.verdicts = vec![None; job.recipients.len()];
        self.accepted = vec![false; job.recipients.len()];
        self.encoder = BodyEncoder::new();
        self.position = job.offset;
        self.to_send.clear();
        self.mail_answered = false;
        self.state = State::Transaction;
        self.job = job;
        self.begin();
    }
}
