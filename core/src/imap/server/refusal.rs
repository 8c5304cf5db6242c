//! The service's refusals in IMAP's words: the one table (RFC 5530, RFC 9208 §4.3, RFC 4469 §4.2).

use core::time::Duration;

use super::Session;
use crate::mailbox::BadName;
use crate::refusal::Refusal;

/// A client is alerted of its quota once in this time.
const ALERT_INTERVAL: Duration = Duration::from_secs(60);

/// Messages that the client knows are gone (RFC 5530 §3, RFC 2180 §4).
pub(super) const GONE: &str = "NO [EXPUNGEISSUED] Some of the messages no longer exist";

/// Response code, without brackets, and text.
const fn words(refusal: Refusal) -> (&'static str, &'static str) {
    match refusal {
        Refusal::BadCredentials => ("AUTHENTICATIONFAILED", "Authentication failed"),
        Refusal::AccountDisabled => ("CONTACTADMIN", "Account is disabled"),
        Refusal::TooManyAttempts => ("LIMIT", "Too many failed attempts; try later"),
        Refusal::OverQuota => ("OVERQUOTA", "Quota exceeded"),
        Refusal::TooLarge => ("TOOBIG", "Message is too big"),
        Refusal::QueueFull => ("UNAVAILABLE", "Queue is full; try later"),
        Refusal::DiskFull => ("UNAVAILABLE", "No space left on the server; try later"),
        Refusal::Busy => ("INUSE", "Mailbox is busy; try again"),
        Refusal::Unavailable => ("UNAVAILABLE", "Temporarily unavailable; try later"),
        Refusal::Storage => ("UNAVAILABLE", "Storage failed; try later"),
        Refusal::NoSuchMailbox => ("NONEXISTENT", "No such mailbox"),
        Refusal::MailboxExists => ("ALREADYEXISTS", "Mailbox exists already"),
        Refusal::BadMailboxName => ("CANNOT", "Not a possible mailbox name"),
        Refusal::NotPossible => ("CANNOT", "Not possible for this mailbox"),
        Refusal::TooManyKeywords => ("LIMIT", "Too many keywords in this mailbox"),
        Refusal::MailboxFull => ("LIMIT", "Mailbox is full"),
        Refusal::ReadOnly => ("NOPERM", "Mailbox is open read-only"),
        // Said to senders of mail only.
        Refusal::Greylisted => ("UNAVAILABLE", "Try again later"),
        Refusal::NotPermitted => ("NOPERM", "Not permitted"),
        Refusal::NoSuchUser => ("NONEXISTENT", "No such user"),
        Refusal::AliasLoop => ("UNAVAILABLE", "Alias loop; try later"),
        Refusal::RelayDenied | Refusal::RelayDisabled | Refusal::SenderNotOwned | Refusal::AuthorNotOwned => {
            ("CANNOT", "Not possible")
        }
    }
}

/// `NO [CODE] text`.
pub(super) fn no(refusal: Refusal) -> String {
    let (code, text) = words(refusal);
    ["NO [", code, "] ", text].concat()
}

/// `NO [CODE] text` of a command that puts messages into a mailbox: one that is missing could be created
/// (RFC 9051 §6.3.12).
pub(super) fn no_target(refusal: Refusal) -> String {
    if refusal == Refusal::NoSuchMailbox {
        return "NO [TRYCREATE] No such mailbox".to_owned();
    }
    no(refusal)
}

/// `NO [CANNOT] …` for a name that no mailbox can have.
pub(super) fn no_name(bad: BadName) -> String {
    format!("NO [CANNOT] Bad mailbox name: {bad}")
}

/// Why a login failed, for notes.
pub(super) const fn login_reason(refusal: Refusal) -> &'static str {
    words(refusal).1
}

impl Session {
    /// Ends a command that put messages into a mailbox, and was refused.
    pub(super) fn refuse_target(&mut self, tag: String, refusal: Refusal, expunges: bool) {
        if refusal == Refusal::OverQuota {
            self.alert_quota();
        }
        self.complete_with(tag, no_target(refusal), expunges);
    }

    /// Tells people that their quota is used up, not too often.
    pub(super) fn alert_quota(&mut self) {
        let now = self.now.mono;
        if self.alerted.is_none_or(|last| now - last >= ALERT_INTERVAL) {
            self.alerted = Some(now);
            self.out.line("* NO [ALERT] Quota exceeded");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_codes() {
        assert_eq!(no(Refusal::OverQuota), "NO [OVERQUOTA] Quota exceeded");
        assert_eq!(no(Refusal::NoSuchMailbox), "NO [NONEXISTENT] No such mailbox");
        assert_eq!(
            no_target(Refusal::NoSuchMailbox),
            "NO [TRYCREATE] No such mailbox"
        );
        assert_eq!(no_target(Refusal::Busy), no(Refusal::Busy));
        assert!(no_name(BadName::Empty).starts_with("NO [CANNOT] "));
    }
}
