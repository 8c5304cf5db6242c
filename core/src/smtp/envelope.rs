//! What the transaction says of a message: who sent it, to whom, and what is wanted of the delivery.

use serde::{Deserialize, Serialize};

use crate::addr::{AccountName, Address, ForwardPath, ReversePath};
use crate::smtp::xtext;
use crate::time::Unix;

/// A message on its way in: what the transaction said, and what was learned of the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The id in the reply, Received and the log.
    pub id: String,
    /// MAIL FROM.
    pub reverse_path: ReversePath,
    /// RCPT TO, as accepted, without duplicates.
    pub recipients: Vec<Recipient>,
    /// Who has logged in.
    pub account: Option<AccountName>,
    /// The addresses in From and Sender (or the newest Resent block), which the account must own.
    pub authors: Vec<Address>,
    /// Octets at the front of the spooled message that are ours alone (Return-Path, Delivered-To): the relay sends from
    /// here.
    pub relay_offset: u64,
    /// The body holds octets above 127 (BODY=8BITMIME or not).
    pub eight_bit: bool,
    /// What the client asked for.
    pub wishes: Wishes,
    /// Not before this moment (FUTURERELEASE, RFC 4865): until then it lies in the queue, for local recipients too.
    pub hold_until: Option<Unix>,
}

/// One RCPT TO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The address.
    pub path: ForwardPath,
    /// What the sender wants to be told of it.
    pub dsn: DsnRequest,
}

impl Recipient {
    /// With the defaults of RCPT without parameters.
    #[must_use]
    pub fn new(path: ForwardPath) -> Self {
        Self {
            path,
            dsn: DsnRequest::default(),
        }
    }
}

/// Parameters of RCPT TO (RFC 3461 §4.1 and §4.2). They stay with the recipient through aliases and the queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DsnRequest {
    /// NOTIFY=; none: not given, so that the server decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
    /// ORCPT= as `addr-type;address`, xtext decoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original: Option<String>,
}

impl DsnRequest {
    /// Takes in what another RCPT asks of the same recipient: the sender is told of what it wants to hear in either.
    pub fn join(&mut self, other: &Self) {
        if self.notify.is_some() || other.notify.is_some() {
            let (one, two) = (self.notify(), other.notify());
            self.notify = Some(Notify {
                success: one.success || two.success,
                failure: one.failure || two.failure,
                delay: one.delay || two.delay,
            });
        }
        if self.original.is_none() {
            self.original.clone_from(&other.original);
        }
    }

    /// What goes on to a target of an alias (RFC 3461 §5.2.7.2 and §5.2.7.3 (c)). The sender knows the address that it
    /// wrote: it stays with the recipient also where ORCPT= was not given (§5.2.1). `several`: the alias has more than one
    /// target, and success is told of the alias alone.
    #[must_use]
    pub fn of_alias(&self, path: &ForwardPath, several: bool) -> Self {
        let written = match path {
            ForwardPath::Address(address) => Some(address.to_string()).filter(|text| text.is_ascii()),
            ForwardPath::Postmaster => None,
        };
        Self {
            notify: self.notify.map(|notify| Notify {
                success: notify.success && !several,
                ..notify
            }),
            original: self
                .original
                .clone()
                .or_else(|| written.map(|text| format!("rfc822;{text}"))),
        }
    }
}

/// NOTIFY=. None of the three is `NEVER`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Notify {
    /// `SUCCESS`
    pub success: bool,
    /// `FAILURE`
    pub failure: bool,
    /// `DELAY`
    pub delay: bool,
}

impl Notify {
    /// What holds when nothing is asked for: the sender hears of failures, and of delays (RFC 3461 §5.2.5, §5.2.6).
    pub const USUAL: Self = Self {
        success: false,
        failure: true,
        delay: true,
    };
}

impl core::fmt::Display for Notify {
    /// `notify-esmtp-value` (RFC 3461 §4.1).
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let words = [
            (self.success, "SUCCESS"),
            (self.failure, "FAILURE"),
            (self.delay, "DELAY"),
        ];
        let mut words = words.iter().filter(|(wanted, _)| *wanted);
        let Some((_, first)) = words.next() else {
            return f.write_str("NEVER");
        };
        f.write_str(first)?;
        words.try_for_each(|(_, word)| write!(f, ",{word}"))
    }
}

impl DsnRequest {
    /// What the sender is to be told.
    #[must_use]
    pub fn notify(&self) -> Notify {
        self.notify.unwrap_or(Notify::USUAL)
    }

    /// The value of ORCPT= for an original recipient. Without SMTPUTF8 an address beyond ASCII is written in the form of
    /// RFC 6533 §3.
    #[must_use]
    pub fn parameter(original: &str, utf8: bool) -> String {
        if utf8 || original.is_ascii() {
            let (kind, address) = original.split_once(';').unwrap_or(("rfc822", original));
            return format!("{kind};{}", xtext::encode(address));
        }
        Self::field(original)
    }

    /// The original recipient as a report names it: `addr-type;address`, in ASCII (RFC 6533 §3).
    #[must_use]
    pub fn field(original: &str) -> String {
        if original.is_ascii() {
            return original.to_owned();
        }
        let (_, address) = original.split_once(';').unwrap_or(("", original));
        format!("utf-8;{}", ascii(address))
    }
}

/// `utf-8-addr-xtext` (RFC 6533 §3): what is not plain ASCII as `\x{…}`.
#[must_use]
pub fn ascii(address: &str) -> String {
    let mut out = String::with_capacity(address.len() + 8);
    for c in address.chars() {
        if c.is_ascii_graphic() && !matches!(c, '\\' | '+' | '=') {
            out.push(c);
        } else {
            out.push_str(&format!("\\x{{{:02X}}}", u32::from(c)));
        }
    }
    out
}

/// Parameters of MAIL FROM that go with a message to its end. Kept in the queue and passed on to servers that know
/// them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wishes {
    /// RET= (RFC 3461 §4.3); none: not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ret: Option<Ret>,
    /// ENVID=, xtext decoded (RFC 3461 §4.4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envid: Option<String>,
    /// SMTPUTF8 (RFC 6531 §3.4): the message may go only to servers that know it.
    #[serde(skip_serializing_if = "is_false")]
    pub utf8: bool,
    /// REQUIRETLS (RFC 8689 §2).
    #[serde(skip_serializing_if = "is_false")]
    pub require_tls: bool,
    /// The header has `TLS-Required: No` (RFC 8689 §3): policies that ask for TLS do not hold for it.
    #[serde(skip_serializing_if = "is_false")]
    pub tls_not_required: bool,
    /// MT-PRIORITY= (RFC 6710), -9 to 9; 0: normal.
    #[serde(skip_serializing_if = "is_zero")]
    pub priority: i8,
    /// HOLDFOR= or HOLDUNTIL= as a report repeats it (RFC 4865 §5.1.2): `for;600`, `until;2026-11-22T06:22:36Z`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
}

/// How much of a message a failure report returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ret {
    /// `FULL`
    Full,
    /// `HDRS`
    Headers,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &i8) -> bool {
    *number == 0
}
