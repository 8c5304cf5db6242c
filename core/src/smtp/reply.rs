//! Replies (RFC 5321 §4.2) with enhanced status codes (RFC 2034, RFC 3463), and the one table that turns the
//! service's refusals into them.

use std::borrow::Cow;

use crate::refusal::Refusal;

/// One reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    enhanced: &'static str,
    text: Cow<'static, str>,
}

impl Reply {
    /// A reply with an enhanced status code such as `5.7.1`.
    #[must_use]
    pub const fn new(code: u16, enhanced: &'static str, text: &'static str) -> Self {
        Self {
            code,
            enhanced,
            text: Cow::Borrowed(text),
        }
    }

    /// A reply without an enhanced status code: the greeting, EHLO, 334 and 354 (RFC 2034 §3).
    #[must_use]
    pub const fn plain(code: u16, text: &'static str) -> Self {
        Self::new(code, "", text)
    }

    /// The same reply with a text made for the occasion. It must hold no line end.
    #[must_use]
    pub fn with_text(mut self, text: String) -> Self {
        self.text = Cow::Owned(text);
        self
    }

    /// The three digits.
    #[must_use]
    pub const fn code(&self) -> u16 {
        self.code
    }

    /// 5xx: asking again will not help.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        self.code >= 500
    }

    /// The line without CRLF, for logs.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = String::with_capacity(self.text.len() + 11);
        line.push_str(self.code_text().as_str());
        line.push(' ');
        if !self.enhanced.is_empty() {
            line.push_str(self.enhanced);
            line.push(' ');
        }
        line.push_str(&self.text);
        line
    }

    /// The octets on the wire.
    #[must_use]
    pub fn wire(&self) -> Vec<u8> {
        let mut line = self.line();
        line.push_str("\r\n");
        line.into_bytes()
    }

    fn code_text(&self) -> Digits {
        Digits::of(self.code)
    }
}

/// `250-first`, `250-…`, `250 last`: a reply of several lines, without enhanced status codes (RFC 5321 §4.2.1).
#[must_use]
pub fn multiline(code: u16, lines: &[Cow<'_, str>]) -> Vec<u8> {
    let digits = Digits::of(code);
    let mut out = Vec::with_capacity(lines.iter().map(|line| line.len() + 6).sum());
    for (at, line) in lines.iter().enumerate() {
        out.extend_from_slice(digits.as_str().as_bytes());
        out.push(if at + 1 == lines.len() { b' ' } else { b'-' });
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Three digits.
struct Digits([u8; 3]);

impl Digits {
    fn of(code: u16) -> Self {
        let digit = |place: u16| b'0' + u8::try_from(code / place % 10).unwrap_or_default();
        Self([digit(100), digit(10), digit(1)])
    }

    fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// What was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// AUTH.
    Auth,
    /// MAIL FROM.
    Mail,
    /// RCPT TO. On submission the sender is a person who can act on a 5xx at once; another server is told to try
    /// again.
    Rcpt {
        /// The submission rules hold: port 587 or 465, or the client has logged in.
        submission: bool,
    },
    /// DATA before 354, or the message after its end.
    Data,
}

/// The reply to a refusal: the one table.
#[must_use]
pub const fn refusal(context: Context, refusal: Refusal) -> Reply {
    if matches!(context, Context::Auth) {
        return auth(refusal);
    }
    match refusal {
        Refusal::OverQuota => match context {
            Context::Rcpt { submission: false } => Reply::new(452, "4.2.2", "Mailbox full"),
            _ => Reply::new(552, "5.2.2", "Mailbox full"),
        },
        Refusal::NoSuchUser | Refusal::NoSuchMailbox => Reply::new(550, "5.1.1", "User unknown"),
        Refusal::AccountDisabled => Reply::new(550, "5.2.1", "Mailbox disabled"),
        Refusal::RelayDenied | Refusal::RelayDisabled => Reply::new(550, "5.7.1", "Relay not permitted"),
        Refusal::SenderNotOwned => Reply::new(550, "5.7.1", "Sender address not permitted"),
        Refusal::AuthorNotOwned => Reply::new(550, "5.7.1", "From or Sender address not permitted"),
        Refusal::NotPermitted | Refusal::ReadOnly | Refusal::NotPossible => {
            Reply::new(550, "5.7.1", "Not permitted")
        }
        Refusal::BadCredentials => Reply::new(530, "5.7.0", "Authentication required"),
        Refusal::TooLarge => Reply::new(552, "5.3.4", "Message too large"),
        Refusal::TooManyAttempts => match context {
            Context::Mail => Reply::new(
                450,
                "4.7.1",
                "Too many messages from your address, try again later",
            ),
            Context::Rcpt { .. } => Reply::new(
                450,
                "4.7.1",
                "Too many recipients of your account, try again later",
            ),
            _ => Reply::new(450, "4.7.1", "Too many requests, try again later"),
        },
        Refusal::Greylisted => Reply::new(451, "4.7.1", "Greylisted, try again later"),
        Refusal::QueueFull => Reply::new(452, "4.3.1", "Queue full, try again later"),
        Refusal::DiskFull => Reply::new(452, "4.3.1", "Insufficient system storage"),
        Refusal::MailboxFull | Refusal::TooManyKeywords => {
            Reply::new(452, "4.2.2", "Mailbox cannot take more messages")
        }
        // RFC 3463 §3.5.
        Refusal::AliasLoop => Reply::new(451, "4.4.6", "Alias loop, try again later"),
        Refusal::Busy
        | Refusal::Unavailable
        | Refusal::Storage
        | Refusal::MailboxExists
        | Refusal::BadMailboxName => Reply::new(451, "4.3.0", "Temporary failure, try again later"),
    }
}

/// A wrong password, an unknown and a disabled user look alike (RFC 4954 §6).
const fn auth(refusal: Refusal) -> Reply {
    match refusal {
        // Not 454, by which RFC 4954 §6 means a failure of the server: this one is the client's.
        Refusal::TooManyAttempts => Reply::new(
            450,
            "4.7.1",
            "Too many failed logins from your address, try again later",
        ),
        Refusal::QueueFull
        | Refusal::DiskFull
        | Refusal::Busy
        | Refusal::Unavailable
        | Refusal::Storage
        | Refusal::Greylisted
        | Refusal::AliasLoop => Reply::new(454, "4.7.0", "Temporary authentication failure"),
        _ => Reply::new(535, "5.7.8", "Authentication credentials invalid"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_have_their_wire_form() {
        assert_eq!(Reply::new(250, "2.1.0", "OK").wire(), b"250 2.1.0 OK\r\n");
        assert_eq!(Reply::plain(334, "").wire(), b"334 \r\n");
        assert_eq!(
            Reply::new(221, "2.0.0", "").with_text("x closing".into()).line(),
            "221 2.0.0 x closing"
        );
        let lines = ["mx.example", "PIPELINING", "HELP"].map(Cow::Borrowed);
        assert_eq!(
            multiline(250, &lines),
            b"250-mx.example\r\n250-PIPELINING\r\n250 HELP\r\n"
        );
    }

    #[test]
    fn codes_agree_with_their_class_and_with_what_is_temporary() {
        let contexts = [
            Context::Auth,
            Context::Mail,
            Context::Rcpt { submission: true },
            Context::Rcpt { submission: false },
            Context::Data,
        ];
        for context in contexts {
            for word in Refusal::ALL {
                let reply = refusal(context, word);
                let digit = |text: &str| text.as_bytes().first().copied();
                assert_eq!(
                    digit(&reply.line()),
                    digit(reply.enhanced),
                    "{context:?} {word:?}"
                );
                if word.is_temporary() {
                    assert!(!reply.is_permanent(), "{context:?} {word:?}");
                }
            }
        }
    }

    #[test]
    fn a_full_mailbox_is_told_to_those_who_can_act_on_it() {
        let code = |context| refusal(context, Refusal::OverQuota).line();
        assert!(code(Context::Rcpt { submission: false }).starts_with("452 4.2.2"));
        assert!(code(Context::Rcpt { submission: true }).starts_with("552 5.2.2"));
        assert!(code(Context::Data).starts_with("552 5.2.2"));
        assert_eq!(
            refusal(Context::Rcpt { submission: false }, Refusal::RelayDenied).line(),
            "550 5.7.1 Relay not permitted"
        );
    }
}
