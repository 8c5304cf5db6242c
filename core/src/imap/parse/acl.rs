//! ACL commands (RFC 4314 §7) and quota commands (RFC 9208 §7).

use super::token::{Cursor, Parse};
use crate::imap::command::Command;
use crate::mailbox::{Rights, RightsChange};
use crate::sasl;

/// Octets of an identifier.
const MAX_IDENTIFIER: usize = 512;
/// Resources of one SETQUOTA: more than there are.
const MAX_RESOURCES: usize = 16;

/// `"SETACL" SP mailbox SP identifier SP mod-rights`
pub(super) fn set(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a space and a mailbox name")?;
    let mailbox = c.mailbox()?;
    let identifier = identifier(c)?;
    c.space("a space and rights")?;
    let text = c.text("rights such as lrs or +w")?;
    let (letters, change): (&str, fn(Rights) -> RightsChange) =
        match (text.strip_prefix('+'), text.strip_prefix('-')) {
            (Some(letters), _) => (letters, RightsChange::Add),
            (_, Some(letters)) => (letters, RightsChange::Remove),
            (None, None) => (&text, RightsChange::Replace),
        };
    // RFC 4314 §3.1: what is not known is not ignored.
    let rights = Rights::parse(letters).map_err(|_| c.wrong("rights are letters of lrswipkxtea, c and d"))?;
    Ok(Command::SetAcl {
        mailbox,
        identifier,
        change: change(rights),
    })
}

/// `"DELETEACL" SP mailbox SP identifier`
pub(super) fn delete(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a space and a mailbox name")?;
    let mailbox = c.mailbox()?;
    Ok(Command::DeleteAcl {
        mailbox,
        identifier: identifier(c)?,
    })
}

/// `"LISTRIGHTS" SP mailbox SP identifier`
pub(super) fn list_rights(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a space and a mailbox name")?;
    let mailbox = c.mailbox()?;
    Ok(Command::ListRights {
        mailbox,
        identifier: identifier(c)?,
    })
}

fn identifier(c: &mut Cursor<'_>) -> Parse<String> {
    c.space("a space and an identifier")?;
    let identifier = c.text("an identifier such as fred@example.com or anyone")?;
    if identifier.is_empty() || identifier.len() > MAX_IDENTIFIER {
        return Err(c.wrong("an identifier has 1 to 512 octets"));
    }
    // RFC 4314 §3: one that cannot be prepared is refused. A hyphen in front is none of the identifier.
    if !sasl::can_be_name(identifier.strip_prefix('-').unwrap_or(&identifier)) {
        return Err(c.wrong("an identifier that no account can have"));
    }
    Ok(identifier)
}

/// `"GETQUOTA" SP quota-root-name`
pub(super) fn get_quota(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a space and a quota root")?;
    Ok(Command::GetQuota {
        root: c.text("a quota root")?,
    })
}

/// `"SETQUOTA" SP quota-root-name SP "(" [resource-name SP resource-limit *(SP …)] ")"`
pub(super) fn set_quota(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a space and a quota root")?;
    let root = c.text("a quota root")?;
    c.space("a space and a list of limits")?;
    c.expect(b'(', "( and limits")?;
    let limits = if c.eat(b')') {
        Vec::new()
    } else {
        c.rest_of_list(MAX_RESOURCES, |c| {
            let resource = c.atom("a resource such as STORAGE")?.to_ascii_uppercase();
            c.space("a space and a limit")?;
            Ok((resource, c.number64()?))
        })?
    };
    Ok(Command::SetQuota { root, limits })
}
