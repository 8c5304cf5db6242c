//! From MAIL to the end of the message.

use std::collections::BTreeSet;

use super::RecipientKind;
use crate::addr::{ForwardPath, ReversePath};
use crate::smtp::envelope::{Recipient, Wishes};
use crate::time::Unix;

/// From MAIL to the end of the message.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) from: ReversePath,
    pub(super) size: Option<u64>,
    /// BODY=BINARYMIME.
    pub(super) binary: bool,
    /// As accepted, in order, each once.
    pub(super) recipients: Vec<Recipient>,
    pub(super) known: BTreeSet<ForwardPath>,
    /// Where the first of them is.
    pub(super) first: Option<RecipientKind>,
    /// Some RCPT was refused.
    pub(super) refused: bool,
    /// RCPTs, whatever became of them.
    pub(super) asked: usize,
    /// What MAIL asked for.
    pub(super) wishes: Wishes,
    /// FUTURERELEASE.
    pub(super) hold_until: Option<Unix>,
}
