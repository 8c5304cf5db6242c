//! What a machine wants known: log lines, metrics, rate limits. Plain data; the host formats it.

use crate::addr::AccountName;

/// Something worth telling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A command line as received, secrets and literals masked. DEBUG.
    Command(String),
    /// The reply to it. DEBUG.
    Response(String),
    /// A login that worked.
    LoggedIn {
        /// Who.
        account: AccountName,
        /// SASL mechanism or `LOGIN`.
        mechanism: &'static str,
    },
    /// A login that did not.
    LoginFailed {
        /// The name that was tried, as given, bounded and printable.
        login: String,
        /// SASL mechanism or `LOGIN`.
        mechanism: &'static str,
        /// In words.
        reason: &'static str,
    },
    /// TLS is on.
    Tls {
        /// `TLSv1.3`.
        version: &'static str,
        /// IANA name.
        cipher: String,
    },
    /// A message was accepted.
    Accepted {
        /// The id in reply, Received and log.
        id: String,
        /// Envelope sender, `<>` when empty.
        from: String,
        /// Number of recipients.
        recipients: usize,
        /// Octets as stored.
        size: u64,
    },
    /// A command or message was refused.
    Refused {
        /// What was asked, bounded and printable: `RCPT TO:<x@y>`.
        what: String,
        /// The reply line.
        reply: String,
    },
    /// A check of a stranger found something.
    Check {
        /// `dnsbl`, `reverse_dns`, `helo`.
        what: &'static str,
        /// In words.
        found: String,
    },
    /// The session ended for this reason (time-out, too many errors, shutdown, …).
    Ended(&'static str),
    /// A fault of ours. ERROR.
    Internal(String),
}
