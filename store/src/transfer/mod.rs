//! Formats in which mail lies elsewhere: mbox, Maildir names and Dovecot's files beside them, tar, and the `index.json` of
//! the earliest layout. All of it is pure: octets in, events out, or the other way round. What touches foreign directories
//! is in the host.
//!
//! Readers take octets in pieces of any size and hold no message: what they keep is bounded by the constants beside them.

pub mod dates;
pub mod dovecot;
pub mod index;

pub mod line_ends;
pub mod maildir;
pub mod mbox;
pub mod special_use;
pub mod tally;
pub mod tar;

use rmail_core::mailbox::{Flags, Keyword, SystemFlags, Uid};
use rmail_core::time::DateTime;

/// What is known of a message beside its octets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Its UID where it was.
    pub uid: Option<Uid>,
    /// System flags and keywords.
    pub flags: Flags,
    /// INTERNALDATE.
    pub date: Option<DateTime>,
}

/// Adds a flag by its name: `\Seen` or, with `bare`, also `seen`; everything else is a keyword. False: it can be neither.
pub fn add_flag(flags: &mut Flags, text: &str, bare: bool) -> bool {
    let system = SystemFlags::from_name(text).or_else(|| {
        let with = format!("\\{text}");
        SystemFlags::from_name(&with).filter(|_| bare)
    });
    if let Some(flag) = system {
        flags.system = flags.system.with(flag);
        return true;
    }
    if text.eq_ignore_ascii_case("\\Recent") || (bare && text.eq_ignore_ascii_case("recent")) {
        // No flag of the message.
        return true;
    }
    let Some(keyword) = Keyword::new(text) else {
        return false;
    };
    if !flags.keywords.contains(&keyword) {
        flags.keywords.push(keyword);
    }
    true
}

/// Digits as a number: no sign, no spaces.
pub(crate) fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// Digits as a number that fits 32 bits.
pub(crate) fn number32(text: &str) -> Option<u32> {
    number(text).and_then(|number| u32::try_from(number).ok())
}
