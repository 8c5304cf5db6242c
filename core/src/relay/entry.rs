//! An entry of the outbound queue as it stands on disk beside its message.

use serde::{Deserialize, Serialize};

use crate::smtp::envelope::{DsnRequest, Wishes};

/// One message and its recipients elsewhere; while it is held, those here too. Saved whole at every change; unknown fields are refused, so that an older
/// program does not drop what a newer one wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The message's id, also its file name: letters and digits.
    pub id: String,
    /// Envelope sender without brackets; empty for `<>`.
    pub sender: String,
    /// The account that submitted it, if one did.
    pub account: Option<String>,
    /// When it was accepted, seconds since 1970.
    pub arrived: u64,
    /// Octets of the stored file that are not sent (Return-Path, Delivered-To).
    pub offset: u64,
    /// Octets of the stored file.
    pub size: u64,
    /// Octets above 127 in it.
    pub eight_bit: bool,
    /// Held until then (FUTURERELEASE, RFC 4865), seconds since 1970: that it takes so long is no delay. 0: not held.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hold_until: u64,
    /// An operator holds it: nothing is tried until it is released.
    #[serde(default, skip_serializing_if = "is_false")]
    pub held: bool,
    /// What the sender asked for.
    #[serde(default)]
    pub wishes: Wishes,
    /// Recipients whose outcome is open. When none is left the entry is removed.
    pub recipients: Vec<Recipient>,
}

impl Entry {
    /// Whether it is no mail of users: it has neither a sender nor an account that submitted it.
    #[must_use]
    pub fn is_notice(&self) -> bool {
        self.sender.is_empty() && self.account.is_none()
    }
}

/// A recipient of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipient {
    /// Address without brackets, as it is sent.
    pub address: String,
    /// Attempts made.
    pub attempts: u32,
    /// When the next attempt is due, seconds since 1970.
    pub next: u64,
    /// What the last attempt gave, in words or the peer's reply.
    pub last: Option<String>,
    /// The sender was told of the delay.
    pub delay_told: bool,
    /// What the sender wants to be told.
    #[serde(default)]
    pub dsn: DsnRequest,
    /// It is an account of ours: the message goes into its mailbox. The address is that of the account.
    #[serde(default, skip_serializing_if = "is_false")]
    pub local: bool,
    /// It has the message; only the notice of success is missing (NOTIFY=SUCCESS). What was said, as in `last`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<String>,
    /// It has failed for good, as `last` says; only the notice is missing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub failed: bool,
    /// It is an alias whose several targets have the message or stand in the queue (RFC 3461 §5.2.7.3 (c)).
    #[serde(default, skip_serializing_if = "is_false")]
    pub expanded: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
