//! APPEND up to its message.

use super::store::flag_list;
use super::token::{Cursor, Parse};
use crate::imap::command::Append;
use crate::text::date;
use crate::time::DateTime;

/// `"APPEND" SP mailbox [SP flag-list] [SP date-time] SP literal` (RFC 9051 §9)
pub(super) fn append(c: &mut Cursor<'_>, tag: String) -> Parse<Append> {
    c.space("a space and a mailbox name")?;
    let mailbox = c.mailbox()?;
    c.space("a space and flags, a date or the message")?;
    let mut flags = crate::mailbox::Flags::default();
    if c.peek() == Some(b'(') {
        flags = flag_list(c)?;
        c.space("a space and a date or the message")?;
    }
    let mut at = None;
    if c.peek() == Some(b'"') {
        at = Some(date_time(c)?);
        c.space("a space and the message")?;
    }
    let (size, synchronising) = c.message_head()?;
    Ok(Append {
        tag,
        mailbox,
        flags,
        date: at,
        size,
        synchronising,
    })
}

/// `date-time = DQUOTE date-day-fixed "-" date-month "-" date-year SP time SP zone DQUOTE`
fn date_time(c: &mut Cursor<'_>) -> Parse<DateTime> {
    let octets = c.string("a date")?;
    date::parse_imap_date_time(&octets)
        .ok_or_else(|| c.wrong("expected a date such as \"17-Jul-1996 02:44:25 -0700\""))
}
