//! mbox (RFC 4155; the quoting is that of "mboxrd", which can be undone).
//!
//! ```text
//! mbox    = *message
//! message = "From " sender SP date LF [own] octets LF
//! own     = "X-Rmail: 1" *( SP key "=" value ) LF *( ("Status" / "X-Status" / "X-Keywords") ": " text LF )
//! ```
//!
//! In the octets every line that is `From ` after any number of `>` gets one `>` more; the line ends are those of the
//! message. The empty line after them is not theirs.
//!
//! `own` is what an export puts before each message, for others and for ourselves: its first line says how many of the lines
//! after it are ours (`lines`), how many octets the message has (`size`: so that a message without final line end comes
//! back as it was, and one that was damaged is noticed), its UID, date, and the mailbox's UIDVALIDITY and UIDNEXT
//! (`uid`, `date` in the form of [`super::dates::encode`], `validity`, `next`).
//!
//! In an mbox of others a message begins with a line `From ` that has a date and stands at the beginning or after an empty
//! line; `Status`, `X-Status` and `X-Keywords` in the header are turned into flags, and taken out together with `X-UID`,
//! `X-IMAP` and `X-IMAPbase`, unless they hold something else than a mail program writes.

mod reader;
mod writer;

use rmail_core::mailbox::{Flags, SystemFlags};
use rmail_core::time::DateTime;

pub use reader::{BadMessage, Event, Reader};
pub use writer::{Quoter, begin};

use super::{Meta, add_flag};
use crate::mailstore::Numbering;

/// Octets of one line of our own, or of the header, that is looked at.
const MAX_LINE: usize = 128 * 1024;

/// What is known of a message in an mbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// UID, flags, date.
    pub meta: Meta,
    /// The mailbox's numbers.
    pub numbering: Numbering,
    /// It was written by an export: its octets are as they were stored.
    pub exact: bool,
}

/// Letters of Status and X-Status.
const LETTERS: [(char, SystemFlags); 5] = [
    ('R', SystemFlags::SEEN),
    ('A', SystemFlags::ANSWERED),
    ('F', SystemFlags::FLAGGED),
    ('T', SystemFlags::DRAFT),
    ('D', SystemFlags::DELETED),
];

/// Takes a header line of an mbox into the flags. False: it is none of those that mail programs write. Some of them put
/// commas between keywords, which in our own lines (`exact`) are part of them.
fn take_status(name: &str, value: &str, exact: bool, flags: &mut Flags) -> bool {
    let value = value.trim();
    match name.to_ascii_lowercase().as_str() {
        "status" | "x-status" => {
            let known = |letter: char| "RAFTDONU".contains(letter);
            if !value.chars().all(known) {
                return false;
            }
            for (letter, flag) in LETTERS {
                if value.contains(letter) {
                    flags.system = flags.system.with(flag);
                }
            }
            true
        }
        "x-keywords" => {
            let between = |c: char| c == ' ' || c == '\t' || (c == ',' && !exact);
            for word in value.split(between).filter(|word| !word.is_empty()) {
                add_flag(flags, word, false);
            }
            true
        }
        "x-uid" => value.bytes().all(|octet| octet.is_ascii_digit()),
        "x-imap" | "x-imapbase" => true,
        _ => false,
    }
}

/// The date, for the From_ line.
fn unix(date: Option<DateTime>) -> i64 {
    date.map_or(0, |date| date.unix)
}

#[cfg(test)]
mod tests;
