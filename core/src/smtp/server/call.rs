//! What an SMTP session asks of the service.

use core::net::IpAddr;
use core::time::Duration;

use super::check::{Checked, Checks};
use crate::addr::{AccountName, ForwardPath, ReversePath};
use crate::machine::SpoolId;
use crate::refusal::Refusal;
use crate::sasl::ScramUser;
use crate::secret::Secret;
use crate::smtp::data::BareLf;
use crate::smtp::envelope::Envelope;

/// What the session is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Port 25: mail from other servers.
    Mx,
    /// Ports 587 and 465: mail from our users.
    Submission,
    /// LMTP (RFC 2033): mail from a program that is trusted, on this host. No AUTH; each recipient gets a reply of its own.
    Lmtp,
}

/// What one session is told at its start; a reload gives new sessions new settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Our FQDN.
    pub hostname: String,
    /// Role.
    pub role: Role,
    /// The peer's address, for Received.
    pub peer: IpAddr,
    /// STARTTLS is offered (a certificate is configured and the port is not implicit TLS).
    pub starttls: bool,
    /// AUTH may be offered without TLS: TLS is off, or the peer is in `auth.cleartext_networks`.
    pub cleartext_auth: bool,
    /// AUTH is offered on the MX port (`smtp.auth_on_25`).
    pub auth_on_mx: bool,
    /// The peer is in `limits.trusted_networks`.
    pub trusted: bool,
    /// Octets; SIZE (RFC 1870).
    pub max_message_size: u64,
    /// RCPT per transaction.
    pub max_recipients: usize,
    /// Transactions per connection.
    pub max_messages: usize,
    /// Octets of a text line.
    pub max_text_line: usize,
    /// What becomes of a message with a LF that has no CR (`smtp.bare_lf`).
    pub bare_lf: BareLf,
    /// How long the server waits for a command (RFC 5321 §4.5.3.2.7: at least 5 minutes).
    pub command_timeout: Duration,
    /// How long it waits for the next octets of a message; twice that, if they come more slowly than 100 a second.
    pub data_timeout: Duration,
    /// Errors before 421.
    pub max_errors: usize,
    /// Commands before 421, if no message is accepted between them; of RCPT only those that are refused for good count.
    pub max_commands: usize,
    /// Seconds that a submitted message may be held at most (FUTURERELEASE, RFC 4865); 0: not offered.
    pub max_hold: u64,
    /// What is looked at of strangers on port 25.
    pub checks: Checks,
}

impl Settings {
    /// The defaults of the configuration for a peer: no TLS, nothing in clear text, not trusted.
    #[must_use]
    pub fn new(hostname: &str, role: Role, peer: IpAddr) -> Self {
        Self {
            hostname: hostname.to_owned(),
            role,
            peer,
            starttls: false,
            cleartext_auth: false,
            auth_on_mx: true,
            trusted: false,
            max_message_size: 52_428_800,
            max_recipients: 100,
            max_messages: 50,
            max_text_line: 1 << 20,
            bare_lf: BareLf::Refuse,
            command_timeout: Duration::from_secs(300),
            data_timeout: Duration::from_secs(300),
            max_errors: 20,
            max_commands: 200,
            max_hold: 2_592_000,
            checks: Checks::default(),
        }
    }
}

/// Where a recipient is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecipientKind {
    /// In a mailbox of ours.
    Local,
    /// Elsewhere: by the outbound queue.
    External,
}

/// A question to the service. One at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// PLAIN and LOGIN: is this the password?
    Authenticate {
        /// Login name: a whole address, or a bare name when one domain is hosted.
        login: String,
        /// Password.
        password: Secret,
    },
    /// SCRAM: what is stored of this user? Nobody and somebody disabled get false keys that stay the same.
    ScramStart {
        /// Login name, as in [`Call::Authenticate`].
        login: String,
    },
    /// SCRAM: the user has proved that it knows the password, and comes in unless it has changed meanwhile. Answered with
    /// [`Reply::Authenticated`].
    ScramDone {
        /// As told by the answer to [`Call::ScramStart`].
        account: AccountName,
        /// The same.
        epoch: u64,
    },
    /// MAIL FROM: may this client send as this?
    Sender {
        /// Who has logged in.
        account: Option<AccountName>,
        /// The path.
        path: ReversePath,
        /// The client is trusted (the rule for own domains does not apply).
        trusted: bool,
    },
    /// RCPT TO: is there such a recipient, and may this client reach it?
    Recipient {
        /// Who has logged in.
        account: Option<AccountName>,
        /// The path.
        path: ForwardPath,
        /// SIZE= of MAIL, for the quota.
        size: Option<u64>,
        /// The path of MAIL, for greylisting.
        sender: ReversePath,
    },
    /// MT-PRIORITY= above 0 (RFC 6710): as much of it as the account may have.
    Priority {
        /// Who has logged in.
        account: AccountName,
        /// What it asks for, 1 to 9.
        wanted: i8,
    },
    /// Before the first MAIL of a stranger on port 25, if something is to be looked at ([`Checks::ask`]): what is known of
    /// the peer's address?
    Check,
    /// A body begins.
    Open {
        /// Chosen by the session.
        spool: SpoolId,
    },
    /// The body is whole: deliver and queue it. Every recipient or none, synced before the answer.
    Commit {
        /// The body.
        spool: SpoolId,
        /// Its envelope.
        envelope: Envelope,
    },
    /// The same for LMTP: each recipient has an outcome of its own, and those that can have the message get it, synced
    /// before the answer.
    CommitEach {
        /// The body.
        spool: SpoolId,
        /// Its envelope.
        envelope: Envelope,
    },
    /// The body is not wanted after all.
    Discard {
        /// The body.
        spool: SpoolId,
    },
    /// After [`crate::machine::Input::Dirty`] on the account: may it still be logged in?
    Recheck {
        /// Who.
        account: AccountName,
        /// Epoch as told at login.
        epoch: u64,
    },
}

/// The service's answer; each kind belongs to the call of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Account and its present epoch (changes with password, `enabled`, deletion).
    Authenticated(Result<(AccountName, u64), Refusal>),
    /// What is stored of a user.
    Scram(Result<ScramUser, Refusal>),
    /// MAIL FROM is acceptable or not.
    Sender(Result<(), Refusal>),
    /// What is known of the peer's address.
    Checked(Checked),
    /// RCPT TO is acceptable or not.
    Recipient(Result<RecipientKind, Refusal>),
    /// The priority that the message gets.
    Priority(Result<i8, Refusal>),
    /// The spool is open.
    Opened(Result<(), Refusal>),
    /// The message is safe, or nothing of it remains.
    Committed(Result<(), Refusal>),
    /// What became of the message for each recipient of the envelope, in its order: safe, or nothing of it is there.
    CommittedEach(Vec<Result<(), Refusal>>),
    /// The spool is gone.
    Discarded,
    /// Whether the login still holds.
    Recheck(bool),
}
