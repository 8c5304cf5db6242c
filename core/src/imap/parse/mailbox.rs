//! Commands on mailboxes by name: SELECT and its like, CREATE, RENAME, STATUS, COPY, MOVE.

use super::token::{Cursor, Parse};
use crate::imap::command::{Command, MailboxArg, StatusItem};
use crate::mailbox::SpecialUse;

/// Items of one list: more than there are names for.
const MAX_ITEMS: usize = 32;

/// `SP mailbox`
fn argument(c: &mut Cursor<'_>) -> Parse<MailboxArg> {
    c.space("a space and a mailbox name")?;
    c.mailbox()
}

/// A command whose only argument is a mailbox.
pub(super) fn one(c: &mut Cursor<'_>, command: fn(MailboxArg) -> Command) -> Parse<Command> {
    argument(c).map(command)
}

/// `"CREATE" SP mailbox [SP "(" "USE" SP "(" [use-attr *(SP use-attr)] ")" ")"]` (RFC 6154 §6). A trailing separator only
/// says that names below will be created (RFC 9051 §6.3.4).
pub(super) fn create(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a space and a mailbox name")?;
    let octets = c.astring("a mailbox name")?;
    let name = octets.strip_suffix(b"/").unwrap_or(&octets);
    let mailbox = c.mailbox_of(name)?;
    let denormal = c.denormal(&mailbox, name);
    let (mut special_use, mut use_known) = (Vec::new(), true);
    if c.eat(b' ') {
        c.expect(b'(', "( and USE")?;
        if c.item_name() != "USE" {
            return Err(c.wrong("USE is the only parameter of CREATE"));
        }
        c.space("a space and a list of attributes")?;
        c.expect(b'(', "( and attributes")?;
        if !c.eat(b')') {
            for attribute in c.rest_of_list(MAX_ITEMS, use_attribute)? {
                match attribute {
                    Some(known) if special_use.contains(&known) => {}
                    Some(known) => special_use.push(known),
                    None => use_known = false,
                }
            }
        }
        c.expect(b')', ") after the parameters")?;
    }
    Ok(Command::Create {
        mailbox,
        special_use,
        use_known,
        denormal,
    })
}

/// `use-attr`; `None` if a mailbox cannot have it here.
fn use_attribute(c: &mut Cursor<'_>) -> Parse<Option<SpecialUse>> {
    c.expect(b'\\', "an attribute such as \\Sent")?;
    let name = c.atom("an attribute such as \\Sent")?;
    Ok(SpecialUse::ALL.into_iter().find(|known| {
        known
            .attribute()
            .get(1..)
            .is_some_and(|known| known.eq_ignore_ascii_case(name))
    }))
}

/// `"RENAME" SP mailbox SP mailbox`
pub(super) fn rename(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a space and a mailbox name")?;
    let (from, from_denormal) = c.mailbox_as_written()?;
    c.space("a space and the new name")?;
    let (to, to_denormal) = c.mailbox_as_written()?;
    // RFC 9051 §6.3.6: if either has another normal form, the old name is told as it was written.
    let old = from.as_ref().ok().filter(|_| to_denormal.is_some());
    let denormal = from_denormal.or(old.map(|name| name.as_str().to_owned()));
    Ok(Command::Rename { from, to, denormal })
}

/// `"DELETE" SP mailbox`
pub(super) fn delete(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a space and a mailbox name")?;
    let (mailbox, denormal) = c.mailbox_as_written()?;
    Ok(Command::Delete { mailbox, denormal })
}

/// `"STATUS" SP mailbox SP "(" status-att *(SP status-att) ")"`
pub(super) fn status(c: &mut Cursor<'_>) -> Parse<Command> {
    let mailbox = argument(c)?;
    c.space("a space and a list of status items")?;
    let items = status_items(c)?;
    Ok(Command::Status { mailbox, items })
}

/// `"(" status-att *(SP status-att) ")"`
pub(super) fn status_items(c: &mut Cursor<'_>) -> Parse<Vec<StatusItem>> {
    c.expect(b'(', "( and status items")?;
    let mut items = Vec::new();
    for item in c.rest_of_list(MAX_ITEMS, status_item)? {
        if !items.contains(&item) {
            items.push(item);
        }
    }
    Ok(items)
}

fn status_item(c: &mut Cursor<'_>) -> Parse<StatusItem> {
    Ok(match c.item_name().as_str() {
        "MESSAGES" => StatusItem::Messages,
        "RECENT" => StatusItem::Recent,
        "UIDNEXT" => StatusItem::UidNext,
        "UIDVALIDITY" => StatusItem::UidValidity,
        "UNSEEN" => StatusItem::Unseen,
        "DELETED" => StatusItem::Deleted,
        "SIZE" => StatusItem::Size,
        "HIGHESTMODSEQ" => StatusItem::HighestModSeq,
        "APPENDLIMIT" => StatusItem::AppendLimit,
        "DELETED-STORAGE" => StatusItem::DeletedStorage,
        "MAILBOXID" => StatusItem::MailboxId,
        "" => return Err(c.expected("a status item")),
        other => return Err(c.unknown("status item", other)),
    })
}

/// `"COPY" SP sequence-set SP mailbox`
pub(super) fn copy(c: &mut Cursor<'_>, uid: bool) -> Parse<Command> {
    c.space("a space and a sequence set")?;
    let set = c.sequence_set()?;
    let mailbox = argument(c)?;
    Ok(Command::Copy { uid, set, mailbox })
}

/// `"MOVE" SP sequence-set SP mailbox` (RFC 6851 §3)
pub(super) fn r#move(c: &mut Cursor<'_>, uid: bool) -> Parse<Command> {
    c.space("a space and a sequence set")?;
    let set = c.sequence_set()?;
    let mailbox = argument(c)?;
    Ok(Command::Move { uid, set, mailbox })
}
