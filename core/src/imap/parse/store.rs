//! STORE, and flag lists.

use super::token::{Cursor, Parse};
use crate::imap::command::Command;
use crate::mailbox::{FlagChange, FlagOp, Flags, Keyword, Keywords, ModSeq, SystemFlags};

/// Flags of one list: a mailbox has no more keywords, and there are five system flags.
const MAX_FLAGS: usize = Keywords::MAX + SystemFlags::NAMES.len();
/// Modifiers of one STORE: more than there are.
const MAX_MODIFIERS: usize = 8;

/// `"STORE" SP sequence-set [SP store-modifiers] SP store-att-flags` with
/// `store-att-flags = (["+" / "-"] "FLAGS" [".SILENT"]) SP (flag-list / (flag *(SP flag)))` (RFC 9051 §9)
pub(super) fn store(c: &mut Cursor<'_>, uid: bool) -> Parse<Command> {
    c.space("a space and a sequence set")?;
    let set = c.sequence_set()?;
    c.space("a space and FLAGS, +FLAGS or -FLAGS")?;
    let unchanged_since = modifiers(c)?;
    let op = if c.eat(b'+') {
        FlagOp::Add
    } else if c.eat(b'-') {
        FlagOp::Remove
    } else {
        FlagOp::Replace
    };
    let silent = match c.item_name().as_str() {
        "FLAGS" => false,
        "FLAGS.SILENT" => true,
        "" => return Err(c.expected("FLAGS, +FLAGS or -FLAGS")),
        other => return Err(c.unknown("item to store", other)),
    };
    c.space("a space and flags")?;
    let flags = if c.peek() == Some(b'(') {
        flag_list(c)?
    } else {
        let mut flags = Flags::default();
        flag(c, &mut flags)?;
        for count in 1.. {
            if !c.eat(b' ') {
                break;
            }
            if count == MAX_FLAGS {
                return Err(c.wrong("too many flags"));
            }
            flag(c, &mut flags)?;
        }
        flags
    };
    let change = FlagChange { op, flags };
    Ok(Command::Store {
        uid,
        set,
        silent,
        change,
        unchanged_since,
    })
}

/// `["(" store-modifier *(SP store-modifier) ")" SP]` with
/// `store-modifier = "UNCHANGEDSINCE" SP mod-sequence-valzer` (RFC 4466 §2.5, RFC 7162 §7)
fn modifiers(c: &mut Cursor<'_>) -> Parse<Option<ModSeq>> {
    if !c.eat(b'(') {
        return Ok(None);
    }
    let mut since = None;
    c.rest_of_list(MAX_MODIFIERS, |c| {
        match c.item_name().as_str() {
            "UNCHANGEDSINCE" if since.is_some() => return Err(c.wrong("UNCHANGEDSINCE stands there twice")),
            "UNCHANGEDSINCE" => {}
            "" => return Err(c.expected("UNCHANGEDSINCE")),
            other => return Err(c.unknown("STORE modifier", other)),
        }
        c.space("a space and a mod-sequence")?;
        since = Some(ModSeq(c.number64()?));
        Ok(())
    })?;
    c.space("a space and FLAGS, +FLAGS or -FLAGS")?;
    Ok(since)
}

/// `flag-list = "(" [flag *(SP flag)] ")"`
pub(super) fn flag_list(c: &mut Cursor<'_>) -> Parse<Flags> {
    let mut flags = Flags::default();
    c.expect(b'(', "( and flags")?;
    if !c.eat(b')') {
        c.rest_of_list(MAX_FLAGS, |c| flag(c, &mut flags))?;
    }
    Ok(flags)
}

/// `flag`: a system flag that can be set, or a keyword.
fn flag(c: &mut Cursor<'_>, flags: &mut Flags) -> Parse<()> {
    let system = c.eat(b'\\');
    let name = c.atom("a flag")?;
    if system {
        let known = SystemFlags::NAMES.iter().find(|(_, known)| {
            known
                .get(1..)
                .is_some_and(|known| known.eq_ignore_ascii_case(name))
        });
        return match known {
            Some((flag, _)) => {
                flags.system = flags.system.with(*flag);
                Ok(())
            }
            None if name.eq_ignore_ascii_case("Recent") => Err(c.wrong("\\Recent cannot be changed")),
            None => Err(c.unknown("system flag", name)),
        };
    }
    let keyword = Keyword::new(name).ok_or_else(|| c.wrong("a keyword longer than 255 octets"))?;
    if !flags.keywords.contains(&keyword) {
        flags.keywords.push(keyword);
    }
    Ok(())
}
