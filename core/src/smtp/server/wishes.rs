//! What MAIL asks for beyond the path: which parameters the session has offered, and what they come to.

use std::borrow::Cow;

use super::Call;
use super::session::{Session, Then};
use crate::smtp::command::{self, Hold};
use crate::smtp::reply::Reply;
use crate::text::rfc3339;
use crate::time::Unix;

/// A parameter that was not offered (RFC 5321 §4.1.1.11).
const NOT_OFFERED: Reply = Reply::new(555, "5.5.4", "Parameter not recognized");

impl Session {
    /// Lines of EHLO for what the session offers.
    pub(super) fn offer_wishes(&self, lines: &mut Vec<Cow<'_, str>>) {
        lines.push(Cow::Borrowed("SMTPUTF8"));
        lines.push(Cow::Borrowed("DSN"));
        // RFC 8689 §2: only inside TLS.
        if self.tls.is_some() {
            lines.push(Cow::Borrowed("REQUIRETLS"));
        }
        let mut limits = format!("LIMITS RCPTMAX={}", self.settings.max_recipients);
        // More digits than six are not for a number that is told (RFC 9422 §4); of LMTP there is no bound at all.
        if self.settings.max_messages < 1_000_000 {
            limits.push_str(&format!(" MAILMAX={}", self.settings.max_messages));
        }
        lines.push(Cow::Owned(limits));
        if self.is_submission() {
            lines.push(Cow::Borrowed("MT-PRIORITY"));
        }
        if self.offers_hold() {
            lines.push(Cow::Owned(format!(
                "FUTURERELEASE {} {}",
                self.settings.max_hold,
                rfc3339::print(self.latest_release())
            )));
        }
    }

    /// RFC 4865 §4.2: on no port but those of submission.
    fn offers_hold(&self) -> bool {
        self.is_submission() && self.settings.max_hold > 0
    }

    fn latest_release(&self) -> Unix {
        Unix::from_secs(self.now.unix.secs().saturating_add(self.settings.max_hold))
    }

    /// What is wrong with the parameters of MAIL, here and now.
    pub(super) fn check_wishes(&self, mail: &command::Mail) -> Option<Reply> {
        let not_offered = (mail.wishes.require_tls && self.tls.is_none())
            || (mail.priority.is_some() && !self.is_submission())
            || (mail.hold.is_some() && !self.offers_hold());
        if not_offered {
            return Some(NOT_OFFERED);
        }
        let too_long = match mail.hold? {
            Hold::For(secs) => u64::from(secs) > self.settings.max_hold,
            Hold::Until(when) => when.secs() > self.latest_release().secs(),
        };
        too_long.then_some(Reply::new(501, "5.5.4", "Message cannot be held so long"))
    }

    /// When a message that came now may go on, and how a report names it (RFC 4865 §5.1.2).
    pub(super) fn release(&self, hold: Option<Hold>) -> (Option<Unix>, Option<String>) {
        match hold {
            None => (None, None),
            Some(Hold::For(secs)) => {
                // Rounded up: not a moment too early.
                let until = self.now.unix.0 + core::time::Duration::from_millis(999);
                let until = Unix::from_secs(until.as_secs().saturating_add(u64::from(secs)));
                (Some(until), Some(format!("for;{secs}")))
            }
            Some(Hold::Until(when)) => (Some(when), Some(format!("until;{}", rfc3339::print(when)))),
        }
    }

    /// After the sender was found good: a raised priority is for those who may have it (RFC 6710 §4.1).
    pub(super) fn ask_priority(&mut self, mail: Box<command::Mail>) {
        match (mail.priority, &self.login) {
            (Some(wanted), Some(login)) if wanted > 0 => {
                let account = login.account.clone();
                self.ask(Call::Priority { account, wanted }, Then::Priority(mail));
            }
            (wanted, _) => self.begin(*mail, wanted.unwrap_or_default()),
        }
    }
}
