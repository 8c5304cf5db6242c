//! LMTP (RFC 2033): the same session, but every recipient gets a reply of its own to the message.

use super::session::{Accepted, Session, Then};
use super::{Call, Role};
use crate::addr::ForwardPath;
use crate::machine::SpoolId;
use crate::refusal::Refusal;
use crate::smtp::command::Command;
use crate::smtp::envelope::Envelope;
use crate::smtp::reply::{Context, Reply, refusal};

/// What an LMTP session keeps beside.
#[derive(Debug, Default)]
pub(super) struct Lmtp {
    /// A line for every successful RCPT of the transaction, in their order. One path given twice wants two replies
    /// (RFC 2033 §4.2).
    answers: Vec<Answer>,
}

/// Who is meant by a reply to the message.
#[derive(Debug)]
struct Answer {
    /// The recipient's place in the envelope.
    place: usize,
    path: ForwardPath,
}

impl Lmtp {
    /// What a session of this role keeps.
    pub(super) fn of(role: Role) -> Option<Box<Self>> {
        (role == Role::Lmtp).then(Box::default)
    }
}

impl Session {
    /// The reply to a greeting that belongs to the other protocol: who speaks the wrong one learns it at once
    /// (RFC 2033 §4.1).
    pub(super) const fn misgreeted(&self, command: &Command) -> Option<Reply> {
        match (self.lmtp.is_some(), command) {
            (true, Command::Ehlo(_) | Command::Helo(_)) => {
                Some(Reply::new(500, "5.5.1", "This is LMTP: send LHLO"))
            }
            (false, Command::Lhlo(_)) => Some(Reply::new(500, "5.5.1", "This is SMTP: send EHLO")),
            _ => None,
        }
    }

    /// A transaction begins.
    pub(super) fn forget_answers(&mut self) {
        if let Some(lmtp) = &mut self.lmtp {
            lmtp.answers = Vec::new();
        }
    }

    /// So many replies are promised that there can be no more.
    pub(super) fn answers_are_full(&self) -> bool {
        let lmtp = self.lmtp.as_ref();
        lmtp.is_some_and(|lmtp| lmtp.answers.len() >= self.settings.max_recipients)
    }

    /// RCPT was successful: a reply is promised.
    pub(super) fn promise_answer(&mut self, path: &ForwardPath) {
        let (Some(lmtp), Some(transaction)) = (&mut self.lmtp, &self.transaction) else {
            return;
        };
        let recipients = &transaction.recipients;
        // As a rule it is the last.
        let place = recipients.iter().rposition(|recipient| recipient.path == *path);
        lmtp.answers.push(Answer {
            place: place.unwrap_or(usize::MAX),
            path: path.clone(),
        });
    }

    /// The message is whole and good.
    pub(super) fn commit(&mut self, spool: SpoolId, envelope: Envelope, accepted: Accepted) {
        let call = if self.lmtp.is_some() {
            Call::CommitEach { spool, envelope }
        } else {
            Call::Commit { spool, envelope }
        };
        self.ask(call, Then::Commit(accepted));
    }

    /// The replies to a message of LMTP: `outcomes` are those of the envelope's recipients.
    pub(super) fn committed_each(&mut self, accepted: Accepted, outcomes: &[Result<(), Refusal>]) {
        let answers = self.take_answers();
        let good = Reply::new(250, "2.0.0", "").with_text(accepted.text());
        let (mut reached, mut bad) = (0, None);
        for answer in answers {
            let outcome = outcomes.get(answer.place).copied();
            match outcome.unwrap_or(Err(Refusal::Storage)) {
                Ok(()) => {
                    reached += 1;
                    self.respond(&good);
                }
                Err(word) => {
                    let reply = refusal(Context::Rcpt { submission: false }, word);
                    self.refuse_one(&format!("message {} to {}", accepted.id, answer.path), &reply);
                    bad = Some(reply);
                }
            }
        }
        if reached > 0 {
            self.errors = 0;
            self.commands = 0;
            let accepted = Accepted {
                recipients: outcomes.iter().filter(|outcome| outcome.is_ok()).count(),
                ..accepted
            };
            self.out.note(accepted.into_note());
        } else if let Some(reply) = bad {
            self.count_error(&reply);
        }
    }

    /// A message is refused. After its end that is said by LMTP in the name of every recipient; between chunks it is the
    /// reply to a chunk (RFC 2033 §4.3).
    pub(super) fn refuse_message(&mut self, what: &str, reply: &Reply) {
        if self.lmtp.is_none() || self.chunked.is_some() {
            return self.refuse(what, reply);
        }
        for answer in self.take_answers() {
            self.refuse_one(&format!("{what} to {}", answer.path), reply);
        }
        self.count_error(reply);
    }

    fn refuse_one(&mut self, what: &str, reply: &Reply) {
        self.note_refused(what, reply);
        self.respond(reply);
    }

    fn take_answers(&mut self) -> Vec<Answer> {
        let lmtp = self.lmtp.as_mut();
        lmtp.map(|lmtp| core::mem::take(&mut lmtp.answers))
            .unwrap_or_default()
    }
}
