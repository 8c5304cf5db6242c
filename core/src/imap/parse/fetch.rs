//! FETCH.

use std::collections::BTreeSet;

use super::token::{Cursor, Parse};
use crate::imap::command::{Command, FetchItem, FetchModifiers};
use crate::imap::sequence::PartialRange;
use crate::mailbox::ModSeq;
use crate::mime::section::{Spec, Text};

/// Items of one FETCH, the same again counted too: as many as the shortest ones that fit a line.
const MAX_ITEMS: usize = 32 * 1024;
/// Modifiers of one FETCH: more than there are names for.
const MAX_MODIFIERS: usize = 8;
/// Names of one HEADER.FIELDS: each is compared with every field.
const MAX_FIELDS: usize = 256;

/// `"FETCH" SP sequence-set SP ("ALL" / "FULL" / "FAST" / fetch-att / "(" fetch-att *(SP fetch-att) ")")
/// [SP fetch-modifiers]` (RFC 9051 §9, RFC 4466 §6). An item that is named twice is answered once.
pub(super) fn fetch(c: &mut Cursor<'_>, uid: bool) -> Parse<Command> {
    c.space("a space and a sequence set")?;
    let set = c.sequence_set()?;
    c.space("a space and what to fetch")?;
    let items = if c.eat(b'(') {
        items(c)?
    } else {
        let name = c.item_name();
        match macro_items(&name) {
            Some(items) => items,
            None => vec![fetch_item(c, &name)?],
        }
    };
    let mut modifiers = FetchModifiers::default();
    if c.eat(b' ') {
        c.expect(b'(', "( and FETCH modifiers")?;
        c.rest_of_list(MAX_MODIFIERS, |c| modifier(c, uid, &mut modifiers))?;
        if modifiers.vanished && modifiers.changed_since.is_none() {
            return Err(c.wrong("VANISHED stands beside CHANGEDSINCE only"));
        }
    }
    Ok(Command::Fetch {
        uid,
        set,
        items,
        modifiers,
    })
}

/// `fetch-att *(SP fetch-att) ")"`, behind the opening parenthesis.
pub(super) fn items(c: &mut Cursor<'_>) -> Parse<Vec<FetchItem>> {
    let (mut items, mut seen) = (Vec::new(), BTreeSet::new());
    c.rest_of_list(MAX_ITEMS, |c| {
        let name = c.item_name();
        let item = fetch_item(c, &name)?;
        if seen.insert(item.clone()) {
            items.push(item);
        }
        Ok(())
    })?;
    Ok(items)
}

/// `fetch-modifier` (RFC 4466 §6), each at most once.
fn modifier(c: &mut Cursor<'_>, uid: bool, to: &mut FetchModifiers) -> Parse<()> {
    match c.item_name().as_str() {
        "PARTIAL" if !uid => return Err(c.wrong("PARTIAL stands in UID FETCH only")),
        "PARTIAL" if to.partial.is_some() => return Err(c.wrong("PARTIAL stands there twice")),
        "PARTIAL" => {
            c.space("a space and a range")?;
            to.partial = Some(partial_range(c)?);
        }
        "CHANGEDSINCE" if to.changed_since.is_some() => {
            return Err(c.wrong("CHANGEDSINCE stands there twice"));
        }
        "CHANGEDSINCE" => {
            c.space("a space and a mod-sequence")?;
            to.changed_since = Some(ModSeq(c.number64()?));
        }
        "VANISHED" if !uid => return Err(c.wrong("VANISHED stands in UID FETCH only")),
        "VANISHED" => to.vanished = true,
        "" => return Err(c.expected("a FETCH modifier")),
        other => return Err(c.unknown("FETCH modifier", other)),
    }
    Ok(())
}

/// `partial-range = nz-number ":" nz-number / "-" nz-number ":" "-" nz-number` (RFC 9394 §4)
pub(super) fn partial_range(c: &mut Cursor<'_>) -> Parse<PartialRange> {
    let from_end = c.eat(b'-');
    let first = c.nz_number()?;
    c.expect(b':', ": and the end of the range")?;
    if from_end {
        c.expect(b'-', "- as before the range's first number")?;
    }
    let last = c.nz_number()?;
    Ok(PartialRange {
        first,
        last,
        from_end,
    })
}

/// The macros of RFC 9051 §6.4.5, which stand alone.
fn macro_items(name: &str) -> Option<Vec<FetchItem>> {
    let mut items = vec![FetchItem::Flags, FetchItem::InternalDate, FetchItem::Rfc822Size];
    match name {
        "FAST" => {}
        "ALL" => items.push(FetchItem::Envelope),
        "FULL" => items.extend([FetchItem::Envelope, FetchItem::Body]),
        _ => return None,
    }
    Some(items)
}

fn fetch_item(c: &mut Cursor<'_>, name: &str) -> Parse<FetchItem> {
    Ok(match name {
        "UID" => FetchItem::Uid,
        "FLAGS" => FetchItem::Flags,
        "MODSEQ" => FetchItem::ModSeq,
        "INTERNALDATE" => FetchItem::InternalDate,
        "RFC822.SIZE" => FetchItem::Rfc822Size,
        "ENVELOPE" => FetchItem::Envelope,
        "BODYSTRUCTURE" => FetchItem::BodyStructure,
        "BODY" if c.eat(b'[') => section(c, false)?,
        "BODY" => FetchItem::Body,
        "BODY.PEEK" => {
            c.expect(b'[', "[ after BODY.PEEK")?;
            section(c, true)?
        }
        "BINARY" => binary(c, false)?,
        "BINARY.PEEK" => binary(c, true)?,
        "BINARY.SIZE" => FetchItem::BinarySize {
            part: section_binary(c)?,
        },
        "PREVIEW" => preview(c)?,
        "SAVEDATE" => FetchItem::SaveDate,
        "EMAILID" => FetchItem::EmailId,
        "THREADID" => FetchItem::ThreadId,
        "RFC822" => FetchItem::Rfc822,
        "RFC822.HEADER" => FetchItem::Rfc822Header,
        "RFC822.TEXT" => FetchItem::Rfc822Text,
        "ALL" | "FAST" | "FULL" => return Err(c.wrong("a macro stands alone, not in a list")),
        "" => return Err(c.expected("what to fetch")),
        other => return Err(c.unknown("item to fetch", other)),
    })
}

/// `section ["<" number64 "." nz-number64 ">"]`, behind the opening bracket.
fn section(c: &mut Cursor<'_>, peek: bool) -> Parse<FetchItem> {
    let spec = section_spec(c)?;
    c.expect(b']', "] after the section")?;
    let partial = partial(c)?;
    Ok(FetchItem::Section { spec, partial, peek })
}

/// `["<" number64 "." nz-number64 ">"]`
fn partial(c: &mut Cursor<'_>) -> Parse<Option<(u64, u64)>> {
    if !c.eat(b'<') {
        return Ok(None);
    }
    let first = c.number64()?;
    c.expect(b'.', ". and the number of octets")?;
    let count = c.number64()?;
    if count == 0 {
        return Err(c.wrong("a partial of no octets"));
    }
    c.expect(b'>', "> after the partial")?;
    Ok(Some((first, count)))
}

/// `"BINARY" [".PEEK"] section-binary [partial]` (RFC 9051 §9), behind its name.
fn binary(c: &mut Cursor<'_>, peek: bool) -> Parse<FetchItem> {
    let part = section_binary(c)?;
    let partial = partial(c)?;
    Ok(FetchItem::Binary { part, partial, peek })
}

/// `section-binary = "[" [section-part] "]"`
fn section_binary(c: &mut Cursor<'_>) -> Parse<Vec<u32>> {
    c.expect(b'[', "[ and a part number")?;
    let mut part = Vec::new();
    while c.peek() != Some(b']') {
        if part.len() == Spec::MAX_DEPTH {
            return Err(c.wrong("the part is nested too deeply"));
        }
        if !part.is_empty() {
            c.expect(b'.', ". or ] after a part number")?;
        }
        part.push(c.nz_number()?);
    }
    c.expect(b']', "] after the part number")?;
    Ok(part)
}

/// `"PREVIEW" [SP "(" "LAZY" ")"]` (RFC 8970 §6), behind its name. A list after a space that is none of its modifiers
/// belongs to FETCH.
fn preview(c: &mut Cursor<'_>) -> Parse<FetchItem> {
    let lazy = c.eat_word(b" (LAZY)");
    Ok(FetchItem::Preview { lazy })
}

/// `section-spec = section-msgtext / (section-part ["." section-text])`, or nothing
pub(super) fn section_spec(c: &mut Cursor<'_>) -> Parse<Spec> {
    let mut part = Vec::new();
    if matches!(c.peek(), None | Some(b']')) {
        return Ok(Spec::default());
    }
    while c.peek().is_some_and(|octet| octet.is_ascii_digit()) {
        if part.len() == Spec::MAX_DEPTH {
            return Err(c.wrong("the part is nested too deeply"));
        }
        part.push(c.nz_number()?);
        if !c.eat(b'.') {
            return Ok(Spec {
                part,
                text: Text::Whole,
            });
        }
    }
    let text = match c.item_name().as_str() {
        "HEADER" => Text::Header,
        "HEADER.FIELDS" => Text::HeaderFields(field_names(c)?),
        "HEADER.FIELDS.NOT" => Text::HeaderFieldsNot(field_names(c)?),
        "TEXT" => Text::Text,
        "MIME" if !part.is_empty() => Text::Mime,
        "MIME" => return Err(c.wrong("MIME needs a part number")),
        "" => return Err(c.expected("a part number, HEADER, HEADER.FIELDS, HEADER.FIELDS.NOT, TEXT or MIME")),
        other => return Err(c.unknown("section", other)),
    };
    Ok(Spec { part, text })
}

/// `SP header-list`
fn field_names(c: &mut Cursor<'_>) -> Parse<Vec<String>> {
    c.space("a space and a list of field names")?;
    c.expect(b'(', "( and field names")?;
    c.rest_of_list(MAX_FIELDS, |c| c.text("a field name"))
}
