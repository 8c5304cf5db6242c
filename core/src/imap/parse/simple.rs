//! Commands without arguments, UID EXPUNGE and UIDBATCHES.

use super::token::{Cursor, Parse};
use crate::imap::command::Command;

/// A command that consists of its name.
pub(super) fn simple(c: &Cursor<'_>, name: &str) -> Parse<Command> {
    Ok(match name {
        "CAPABILITY" => Command::Capability,
        "CHECK" => Command::Check,
        "CLOSE" => Command::Close,
        "EXPUNGE" => Command::Expunge { uids: None },
        "IDLE" => Command::Idle,
        "LOGOUT" => Command::Logout,
        "NAMESPACE" => Command::Namespace,
        "NOOP" => Command::Noop,
        "STARTTLS" => Command::StartTls,
        "UNAUTHENTICATE" => Command::Unauthenticate,
        "UNSELECT" => Command::Unselect,
        other => return Err(c.unknown("command", other)),
    })
}

/// `"UID" SP "EXPUNGE" SP sequence-set` (RFC 4315 §2.1)
pub(super) fn uid_expunge(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a space and a set of UIDs")?;
    Ok(Command::Expunge {
        uids: Some(c.sequence_set()?),
    })
}

/// `"UIDBATCHES" SP nz-number [SP nz-number ":" nz-number]` (RFC 10022 §4)
pub(super) fn uid_batches(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a space and the size of a batch")?;
    let size = c.nz_number()?;
    let mut batches = None;
    if c.eat(b' ') {
        let first = c.nz_number()?;
        c.expect(b':', "a colon and the last batch")?;
        batches = Some((first, c.nz_number()?));
    }
    Ok(Command::UidBatches { size, batches })
}
