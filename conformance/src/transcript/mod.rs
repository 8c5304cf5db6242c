//! A transcript as data, and how it is read.

mod parse;
mod words;

use core::time::Duration;
use std::collections::BTreeMap;

use rmail_core::time::Unix;

use crate::template::Template;

/// A transcript.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transcript {
    /// The first comment.
    pub title: String,
    /// RFC numbers with sections.
    pub rfcs: Vec<(u32, Option<String>)>,
    /// It can be run against a server on a socket.
    pub live: bool,
    /// It was recorded: what the server says may come sooner than it stands there.
    pub recorded: bool,
    /// The session went on: `@recorded cut`.
    pub cut: bool,
    /// It does not go as it stands there, for this reason: `@unplayable REASON`. Nobody tries.
    pub unplayable: Option<String>,
    /// When it begins, where that matters: `@given time 2026-11-22T19:05:07Z`.
    pub begins: Option<Unix>,
    /// The connections, from 1.
    pub sessions: BTreeMap<usize, Opening>,
    /// What is there before.
    pub givens: Vec<Given>,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// A connection: `@session [N] KIND [KEY=VALUE]…`.
///
/// Keys of `smtp`: `role` (`mx`, `submission`, `lmtp`), `max_message_size`, `max_recipients`, `max_messages`, `max_errors`,
/// `max_commands`, `max_text_line`, `auth_on_mx`, `trusted` and `normalise` (bare LF; `yes`, `no`). Of `imap`: `selected`, `examined` (a mailbox that is open
/// when the transcript begins), `max_message_size`. Of both: `user` and `password` (logged in when the transcript begins),
/// `peer`, `cleartext` (passwords may come without TLS; `yes`, `no`), and `tls`: `on` (from the start), `off` (not yet, STARTTLS is offered), `none` (never; passwords go in clear).
/// Without `tls` it is on for a session with a user, else off.
///
/// Of `smtp-client`, where the machine is the client and the transcript's other side the server (so that `S:` is said to it,
/// and `C:` expected of it; `C-`, `C#`, `C{`, `C~` and `C?` likewise): `server`, `hostname`, `from` (`<>` is the null path),
/// `to` (with commas), `message` (a fixture) or `text` (in Rust's escapes), `piece` (octets of one read), `tls` (`none`,
/// `opportunistic`, `require`, `verify`, `implicit`), `handshake=fails`, `version=1.2`, `login`, `password`, `nonce`, `ret`,
/// `envid`, `notify`, `orcpt`, `utf8`, `require_tls`, `priority`, `messages` (the same message so often over the connection). What comes of it is told by `A:` lines: `Outcome END`, then
/// `<ADDRESS> delivered|temporary|permanent: REPORT`, where `temporary, alarm` is for an operator.
///
/// Of `relay`, where the relay connects to a server whose side the transcript has (as of `smtp-client`): `host` (the MX host's
/// name; else the connection that waits), `handshake=fails` with `fault` (as TLS reports have it), `version=1.2`. It begins with
/// an action `Connect ADDRESS HOST TLS TRUST`. There must be `@given relay`.
///
/// Of `smtp` there is `ehlo=NAME` too: greeting and EHLO are over when the transcript begins.
///
/// Of `http`: `user` and `password` (`${token}` is a token of that login, for `Authorization: Bearer ${token}`), `peer`, `tls`
/// (`on`, or `off` for none), `max_message_size`.
///
/// A connection with a user is open from the beginning; others are opened where they are first named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Line of the file.
    pub line: usize,
    /// `smtp`, `smtp-client`, `imap` or `http`.
    pub kind: String,
    /// Keys and values.
    pub options: BTreeMap<String, String>,
}

impl Opening {
    /// Whether the machine is the client.
    #[must_use]
    pub fn is_client(&self) -> bool {
        matches!(self.kind.as_str(), "smtp-client" | "relay")
    }
}

/// Something that is there before: `@given …`.
///
/// * `@given user NAME [password=…] [quota_mb=N] [app=NAME/SCOPE,…/PASSWORD] [admin] [disabled]` (users of sessions are there anyway)
/// * `@given domain NAME`: hosted, without a user
/// * `@given hostname NAME`: how the server calls itself
/// * `@given time YYYY-MM-DDTHH:MM:SSZ`: when the transcript begins
/// * `@given alias ALIAS TARGET…`: `name@domain`, `/expression/@domain` or `*@domain`
/// * `@given limits [messages_per_minute=N] [auth_failures_per_10_minutes=N] [recipients_per_hour=N] [recipients_per_day=N]`
/// * `@given checks [dnsbl=LIST,…] [dnsbl_action=…] [reverse_dns=…] [helo=…] [greylist=on]`: what is looked at of
///   strangers; each policy is `off`, `log` or `refuse`
/// * `@given dns NAME A|AAAA|PTR|TXT|MX|TLSA|CNAME VALUE`, `@given dns NAME fails`: what the DNS has; nothing else is there.
///   `@given dns NAME secure`: what it says of this name is validated
/// * `@given relay [dane] [mta-sts] [smarthost=HOST] [tls=…]`: what is accepted for others is sent on
/// * `@given policy DOMAIN TEXT`: what the domain's MTA-STS policy server says, in Rust's escapes
/// * `@given mailbox NAME [subscribed] [use=\Sent] [user=…]`
/// * `@given MAILBOX N messages [uidnext=N] [flags=(…)] [user=…]`
/// * `@given MAILBOX message octets="…" [uid=N] [flags=(…)] [date="…"] [user=…]`: in Rust's escapes, as recordings have them
/// * `@given MAILBOX told [user=…]`: somebody was told what is there so far as `\Recent`
/// * `@given MAILBOX next uid=N [user=…]`: the next message has at least this UID
/// * `@given MAILBOX FILE [flags=(…)] [date="…"] [times=N] [user=…]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Line of the file.
    pub line: usize,
    /// The words without a `=`.
    pub words: Vec<String>,
    /// Keys and values.
    pub options: BTreeMap<String, String>,
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Line of the file.
    pub line: usize,
    /// What.
    pub what: What,
}

/// What happens; numbers are those of connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// `C:`: a line of the client.
    Line(usize, Template),
    /// `C|`: a line of a literal or body.
    Body(usize, Template),
    /// `C~`: octets of the client.
    Octets(usize, Vec<u8>),
    /// `C=`: text of the client without a line end.
    Text(usize, Template),
    /// `S:` with the `S|` lines behind it.
    Expect(usize, Expected),
    /// `S?`
    Maybe(usize, Template),
    /// `S~`
    ExpectOctets(usize, Vec<u8>),
    /// `S=`: all that is left, without a line end.
    ExpectText(usize, Template),
    /// `S^`: a head of HTTP, and with `S|` the fields of it that matter.
    Head(usize, Expected),
    /// `S{` … `S}`
    AnyOrder(usize, Vec<Expected>),
    /// `S-`
    Silence(usize),
    /// `S#`
    Closed(usize),
    /// `T:`
    Time(Duration),
    /// `!:`
    Outside(String),
    /// `A:`, and the word of `R:` if one follows.
    Action(usize, Template, Option<String>),
}

impl What {
    /// The connection on which it happens, if it does on one.
    #[must_use]
    pub fn connection(&self) -> Option<usize> {
        match self {
            Self::Line(on, _)
            | Self::Body(on, _)
            | Self::Octets(on, _)
            | Self::Text(on, _)
            | Self::Expect(on, _)
            | Self::Maybe(on, _)
            | Self::ExpectOctets(on, _)
            | Self::ExpectText(on, _)
            | Self::Head(on, _)
            | Self::AnyOrder(on, _)
            | Self::Silence(on)
            | Self::Closed(on)
            | Self::Action(on, ..) => Some(*on),
            Self::Time(_) | Self::Outside(_) => None,
        }
    }
}

/// A line of the server, and the literal or body behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Line of the file.
    pub line: usize,
    /// The line.
    pub first: Template,
    /// Lines of the literal.
    pub body: Vec<Template>,
}

/// A transcript that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {text}")]
pub struct Mistake {
    /// Line of the file, from 1.
    pub line: usize,
    /// What is wrong, in words.
    pub text: String,
}

impl Transcript {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// The first line that is none of a transcript.
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        parse::parse(text)
    }
}

pub(crate) use parse::unescape;
pub use words::{Words, split as split_words};
