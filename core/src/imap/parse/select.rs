//! SELECT and EXAMINE with their parameters.

use super::token::{Cursor, Parse};
use crate::imap::command::{Command, MailboxArg, QResync, SelectParams};
use crate::imap::sequence::{SeqNumber, SequenceSet};
use crate::mailbox::{ModSeq, UidSet, UidValidity};

/// Parameters of one command: more than there are.
const MAX_PARAMS: usize = 8;

/// `("SELECT" / "EXAMINE") SP mailbox [SP "(" select-param *(SP select-param) ")"]` (RFC 4466 §6)
pub(super) fn select(c: &mut Cursor<'_>, command: fn(MailboxArg, SelectParams) -> Command) -> Parse<Command> {
    c.space("a space and a mailbox name")?;
    let mut params = SelectParams::default();
    let (mailbox, denormal) = c.mailbox_as_written()?;
    params.denormal = denormal;
    if c.eat(b' ') {
        c.expect(b'(', "( and parameters")?;
        c.rest_of_list(MAX_PARAMS, |c| param(c, &mut params))?;
    }
    Ok(command(mailbox, params))
}

/// `select-param = "CONDSTORE" / "QRESYNC" SP "(" … ")"` (RFC 7162 §7)
fn param(c: &mut Cursor<'_>, params: &mut SelectParams) -> Parse<()> {
    match c.item_name().as_str() {
        "CONDSTORE" => params.condstore = true,
        "QRESYNC" if params.qresync.is_some() => return Err(c.wrong("QRESYNC stands there twice")),
        "QRESYNC" => {
            c.space("a space and what is known")?;
            params.qresync = Some(Box::new(qresync(c)?));
        }
        "" => return Err(c.expected("CONDSTORE or QRESYNC")),
        other => return Err(c.unknown("parameter", other)),
    }
    Ok(())
}

/// `"(" uidvalidity SP mod-sequence-value [SP known-uids] [SP seq-match-data] ")"`
fn qresync(c: &mut Cursor<'_>) -> Parse<QResync> {
    c.expect(b'(', "( and UIDVALIDITY")?;
    let uid_validity = UidValidity(c.nz_number()?);
    c.space("a space and a mod-sequence")?;
    let modseq = ModSeq(c.number64()?);
    let (mut known, mut matched) = (None, None);
    if c.eat(b' ') {
        if c.peek() != Some(b'(') {
            known = Some(UidSet::from_ranges(numbers(c)?));
        }
        if known.is_none() || c.eat(b' ') {
            matched = Some(match_data(c)?);
        }
    }
    c.expect(b')', ") after what is known")?;
    Ok(QResync {
        uid_validity,
        modseq,
        known,
        matched,
    })
}

/// `seq-match-data = "(" known-sequence-set SP known-uid-set ")"`
fn match_data(c: &mut Cursor<'_>) -> Parse<(UidSet, UidSet)> {
    c.expect(b'(', "( and message numbers")?;
    let sequence = ascending(c)?;
    c.space("a space and their UIDs")?;
    let uids = ascending(c)?;
    if sequence.len() != uids.len() {
        return Err(c.wrong("as many UIDs as message numbers must be known"));
    }
    c.expect(b')', ") after the UIDs")?;
    Ok((sequence, uids))
}

/// A set in ascending order.
fn ascending(c: &mut Cursor<'_>) -> Parse<UidSet> {
    let ranges = numbers(c)?;
    let mut last = 0;
    for (first, end) in &ranges {
        if *first <= last || end < first {
            return Err(c.wrong("numbers must be in ascending order here"));
        }
        last = *end;
    }
    Ok(UidSet::from_ranges(ranges))
}

/// `sequence-set` without `*`.
fn numbers(c: &mut Cursor<'_>) -> Parse<Vec<(u32, u32)>> {
    let SequenceSet(ranges) = c.sequence_set()?;
    let numbers = ranges.into_iter().map(|range| match range {
        (SeqNumber::Number(first), SeqNumber::Number(last)) => Some((first, last)),
        _ => None,
    });
    let numbers: Option<Vec<_>> = numbers.collect();
    numbers.ok_or_else(|| c.wrong("* is not allowed here"))
}
