//! GETMETADATA and SETMETADATA (RFC 5464 §5).

use super::token::{Cursor, Parse};
use crate::imap::command::{Command, Depth, GetMetadata, MetadataArg, MetadataEntry};
use crate::mailbox::Annotations;

/// Entries of one command: more than a mailbox has.
const MAX_ENTRIES: usize = 2 * Annotations::MAX_COUNT;
/// Options of one list: more than there are.
const MAX_OPTIONS: usize = 8;

/// `"GETMETADATA" [SP getmetadata-options] SP mailbox SP entries`. Options are also taken behind the mailbox's name, where
/// the examples of RFC 5464 §4.2.1 have them, and entries without parentheses as in those of §4.4.1.
pub(super) fn get(c: &mut Cursor<'_>) -> Parse<Command> {
    let mut get = GetMetadata::default();
    c.space("a space and options or a mailbox name")?;
    if c.eat(b'(') {
        options(c, &mut get)?;
        c.space("a space and a mailbox name")?;
    }
    let mailbox = mailbox(c)?;
    c.space("a space and entries")?;
    if c.eat(b'(') {
        if matches!(c.peek(), Some(b'/' | b'"' | b'{')) {
            get.entries = entries(c)?;
            return Ok(Command::GetMetadata { mailbox, get });
        }
        options(c, &mut get)?;
        c.space("a space and entries")?;
        if c.eat(b'(') {
            get.entries = entries(c)?;
            return Ok(Command::GetMetadata { mailbox, get });
        }
    }
    get.entries.push(entry(c)?);
    while c.eat(b' ') {
        if get.entries.len() == MAX_ENTRIES {
            return Err(c.wrong("too many entries"));
        }
        get.entries.push(entry(c)?);
    }
    Ok(Command::GetMetadata { mailbox, get })
}

/// `"SETMETADATA" SP mailbox SP entry-values`
pub(super) fn set(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a space and a mailbox name")?;
    let mailbox = mailbox(c)?;
    c.space("a space and a list of entries and values")?;
    c.expect(b'(', "( and an entry")?;
    let values = c.rest_of_list(MAX_ENTRIES, |c| {
        let entry = entry(c)?;
        // RFC 5464 §3.2
        let components = entry.path.matches('/').count();
        let vendor = entry.path.strip_prefix("/vendor");
        let vendor = vendor.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if components < if vendor { 3 } else { 1 } {
            return Err(c.wrong("an entry has at least two components, four below vendor"));
        }
        c.space("a space and a value")?;
        Ok((entry, c.nstring_or_literal8("a value, perhaps NIL")?))
    })?;
    Ok(Command::SetMetadata { mailbox, values })
}

/// A mailbox; the empty string means the server.
fn mailbox(c: &mut Cursor<'_>) -> Parse<MetadataArg> {
    let octets = c.astring("a mailbox name, or \"\"")?;
    if octets.is_empty() {
        return Ok(None);
    }
    c.mailbox_of(&octets).map(Some)
}

/// `getmetadata-option *(SP getmetadata-option) ")"`
fn options(c: &mut Cursor<'_>, get: &mut GetMetadata) -> Parse<()> {
    c.rest_of_list(MAX_OPTIONS, |c| {
        match c.item_name().as_str() {
            "MAXSIZE" => {
                c.space("a space and a number")?;
                get.max_size = Some(c.number64()?);
            }
            "DEPTH" => {
                c.space("a space and 0, 1 or infinity")?;
                get.depth = match c.item_name().as_str() {
                    "0" => Depth::Itself,
                    "1" => Depth::Children,
                    "INFINITY" => Depth::All,
                    _ => return Err(c.wrong("a depth is 0, 1 or infinity")),
                };
            }
            "" => return Err(c.expected("MAXSIZE or DEPTH")),
            other => return Err(c.unknown("option", other)),
        }
        Ok(())
    })?;
    Ok(())
}

/// `entry *(SP entry) ")"`
pub(super) fn entries(c: &mut Cursor<'_>) -> Parse<Vec<MetadataEntry>> {
    c.rest_of_list(MAX_ENTRIES, entry)
}

/// `entry`: a path below `/shared` or `/private` (RFC 5464 §3.2), in any case.
fn entry(c: &mut Cursor<'_>) -> Parse<MetadataEntry> {
    let name = c.text("an entry such as /shared/comment")?.to_ascii_lowercase();
    let scoped = [("/shared", false), ("/private", true)]
        .into_iter()
        .find_map(|(scope, private)| {
            let path = name.strip_prefix(scope)?;
            (path.is_empty() || path.starts_with('/')).then_some((private, path))
        });
    let Some((private, path)) = scoped else {
        return Err(c.wrong("an entry begins with /shared or /private"));
    };
    let odd = |c: char| !c.is_ascii() || c.is_ascii_control() || matches!(c, '*' | '%');
    if path.contains("//") || path.ends_with('/') || path.contains(odd) {
        return Err(c.wrong("an entry is a path of ASCII characters but * and %, without empty components"));
    }
    if path.len() > Annotations::MAX_PATH {
        return Err(c.wrong("the name of an entry is too long"));
    }
    let path = path.to_owned();
    Ok(MetadataEntry { private, path })
}
