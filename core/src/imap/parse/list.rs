//! LIST, also in its extended form (RFC 5258), and LSUB.

use super::mailbox::status_items;
use super::metadata::entries;
use super::token::{Cursor, Parse};
use crate::imap::command::{Command, List};
use crate::imap::mailbox_name;

/// Patterns of one LIST: each is matched against every mailbox.
const MAX_PATTERNS: usize = 32;
/// Options of one list: more than there are.
const MAX_OPTIONS: usize = 16;

/// `"LSUB" SP mailbox SP list-mailbox`
pub(super) fn lsub(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a space and a reference name")?;
    let reference = reference(c)?;
    c.space("a space and a mailbox pattern")?;
    Ok(Command::Lsub {
        reference,
        pattern: pattern(c)?,
    })
}

/// `"LIST" [SP list-select-opts] SP mailbox SP mbox-or-pat [SP list-return-opts]` (RFC 9051 §9)
pub(super) fn list(c: &mut Cursor<'_>) -> Parse<Command> {
    let mut list = List::default();
    c.space("a space and a reference name")?;
    if c.eat(b'(') {
        list.extended = true;
        if !c.eat(b')') {
            c.rest_of_list(MAX_OPTIONS, |c| select_option(c, &mut list))?;
        }
        if list.select_recursive && !list.select_subscribed && !list.select_special_use {
            // RFC 5258 §3.1
            return Err(c.wrong("RECURSIVEMATCH needs SUBSCRIBED or SPECIAL-USE beside it"));
        }
        c.space("a space and a reference name")?;
    }
    list.reference = reference(c)?;
    c.space("a space and a mailbox pattern")?;
    list.patterns = if c.eat(b'(') {
        list.extended = true;
        c.rest_of_list(MAX_PATTERNS, pattern)?
    } else {
        vec![pattern(c)?]
    };
    if c.eat(b' ') {
        list.extended = true;
        if c.item_name() != "RETURN" {
            return Err(c.wrong("only RETURN may follow the patterns"));
        }
        c.space("a space and return options")?;
        c.expect(b'(', "( and return options")?;
        if !c.eat(b')') {
            c.rest_of_list(MAX_OPTIONS, |c| return_option(c, &mut list))?;
        }
    }
    Ok(Command::List(list))
}

fn reference(c: &mut Cursor<'_>) -> Parse<String> {
    let octets = c.astring("a reference name, perhaps \"\"")?;
    mailbox_name::decode_pattern(&octets, c.speaks_utf8())
        .ok_or_else(|| c.wrong("a reference name that is not UTF-8"))
}

fn pattern(c: &mut Cursor<'_>) -> Parse<String> {
    let octets = c.list_mailbox()?;
    mailbox_name::decode_pattern(&octets, c.speaks_utf8())
        .ok_or_else(|| c.wrong("a pattern that is not UTF-8"))
}

fn select_option(c: &mut Cursor<'_>, list: &mut List) -> Parse<()> {
    match c.item_name().as_str() {
        "SUBSCRIBED" => list.select_subscribed = true,
        "SPECIAL-USE" => list.select_special_use = true,
        "RECURSIVEMATCH" => list.select_recursive = true,
        // There are no mailboxes on other servers that would be shown in addition.
        "REMOTE" => {}
        "" => return Err(c.expected("a selection option")),
        other => return Err(c.unknown("selection option", other)),
    }
    Ok(())
}

fn return_option(c: &mut Cursor<'_>, list: &mut List) -> Parse<()> {
    match c.item_name().as_str() {
        "SUBSCRIBED" => list.return_subscribed = true,
        "CHILDREN" => list.return_children = true,
        "SPECIAL-USE" => list.return_special_use = true,
        "MYRIGHTS" => list.return_rights = true,
        // RFC 5819 §4
        "STATUS" => {
            c.space("a space and a list of status items")?;
            list.return_status = status_items(c)?;
        }
        // RFC 9590 §5
        "METADATA" => {
            c.space("a space and a list of entries")?;
            c.expect(b'(', "( and entries")?;
            list.return_metadata = entries(c)?;
        }
        "" => return Err(c.expected("a return option")),
        other => return Err(c.unknown("return option", other)),
    }
    Ok(())
}
