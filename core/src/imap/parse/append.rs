//! APPEND and REPLACE, line by line: each line is read up to the message literal at its end.

use std::collections::VecDeque;

use super::Parsed;
use super::literal::Head;
use super::store::flag_list;
use super::token::{Cursor, Parse};
use crate::imap::command::{Append, Literal, Message, Replaces};
use crate::mailbox::Flags;
use crate::text::date;
use crate::time::DateTime;

/// What a line of APPEND says, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A message begins.
    Message(Message),
    /// Part of the message: what this URL names.
    Url(Vec<u8>),
    /// The message, or part of it; the last piece of a line.
    Literal(Literal),
    /// The command is whole.
    End,
}

/// An APPEND or REPLACE in progress.
#[derive(Debug)]
pub(super) struct Appending {
    pub(super) tag: String,
    /// APPEND takes any number of messages (RFC 3502), REPLACE one.
    many: bool,
    /// How the line behind the literal goes on.
    stage: Stage,
    /// What is not handed out yet.
    pieces: VecDeque<Piece>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// A message must follow.
    Message,
    /// A message is whole: another one, or the end.
    Whole,
    /// A literal in `UTF8 (` is whole: `)`. Whether that was in CATENATE.
    Utf8 { part: bool },
    /// A part in `CATENATE (` is whole: another one, or `)`.
    Part,
}

impl Appending {
    /// Takes the next piece.
    pub(super) fn next(&mut self) -> Option<Piece> {
        self.pieces.pop_front()
    }

    /// The head of the literal at the end of the line, unless it is handed out.
    pub(super) fn offered(&self) -> Option<Head> {
        match self.pieces.back() {
            Some(Piece::Literal(literal)) => Some(Head {
                size: Some(literal.size),
                synchronising: literal.synchronising,
            }),
            _ => None,
        }
    }
}

/// `"APPEND" SP mailbox 1*append-message` (RFC 3502, RFC 4466 §6), up to the first message literal.
pub(super) fn append(c: &mut Cursor<'_>, tag: String) -> Parse<Parsed> {
    begin(c, tag, None)
}

/// `"REPLACE" SP seq-number SP mailbox append-message` (RFC 8508 §5)
pub(super) fn replace(c: &mut Cursor<'_>, tag: String, uid: bool) -> Parse<Parsed> {
    c.space("a space and a message number")?;
    let number = c.seq_number()?;
    begin(c, tag, Some(Replaces { uid, number }))
}

fn begin(c: &mut Cursor<'_>, tag: String, replaces: Option<Replaces>) -> Parse<Parsed> {
    c.space("a space and a mailbox name")?;
    let (mailbox, denormal) = c.mailbox_as_written()?;
    let mut appending = Appending {
        tag: tag.clone(),
        many: replaces.is_none(),
        stage: Stage::Message,
        pieces: VecDeque::new(),
    };
    line(c, &mut appending)?;
    let append = Append {
        tag,
        mailbox,
        denormal,
        replaces,
    };
    Ok(Parsed::Append(append, Box::new(appending)))
}

/// What stands behind a message literal, up to the next one.
pub(super) fn further(octets: &[u8], before: &Appending) -> Parse<Box<Appending>> {
    let mut c = Cursor::new(octets, true);
    let mut appending = Appending {
        tag: before.tag.clone(),
        many: before.many,
        stage: before.stage,
        pieces: VecDeque::new(),
    };
    line(&mut c, &mut appending)?;
    Ok(Box::new(appending))
}

/// Reads to the message literal at the end of the line, or to the end of the command.
fn line(c: &mut Cursor<'_>, to: &mut Appending) -> Parse<()> {
    while !matches!(to.pieces.back(), Some(Piece::Literal(_))) {
        match to.stage {
            Stage::Message => {
                c.space("a space and flags, a date or the message")?;
                message(c, to)?;
            }
            Stage::Whole if to.many && c.peek() == Some(b' ') => to.stage = Stage::Message,
            Stage::Whole => {
                c.end()?;
                to.pieces.push_back(Piece::End);
                return Ok(());
            }
            Stage::Utf8 { part } => {
                c.expect(b')', ") after the literal in UTF8")?;
                to.stage = if part { Stage::Part } else { Stage::Whole };
            }
            Stage::Part if c.eat(b')') => to.stage = Stage::Whole,
            Stage::Part => {
                c.space("a space or ) after a part")?;
                part(c, to)?;
            }
        }
    }
    Ok(())
}

/// `append-message = [SP flag-list] [SP date-time] SP append-data`, behind the first space:
/// `append-data = literal / literal8 / "UTF8" SP "(" literal8 ")" / "CATENATE" SP "(" cat-part *(SP cat-part) ")"`
/// (RFC 3516 §7, RFC 6855 §4, RFC 4469 §5)
fn message(c: &mut Cursor<'_>, to: &mut Appending) -> Parse<()> {
    let mut flags = Flags::default();
    if c.peek() == Some(b'(') {
        flags = flag_list(c)?;
        c.space("a space and a date or the message")?;
    }
    let mut at = None;
    if c.peek() == Some(b'"') {
        at = Some(date_time(c)?);
        c.space("a space and the message")?;
    }
    let name = c.item_name();
    let catenate = match name.as_str() {
        "" | "UTF8" => false,
        "CATENATE" => true,
        other => return Err(c.unknown("form of a message", other)),
    };
    to.pieces.push_back(Piece::Message(Message {
        flags,
        date: at,
        catenate,
    }));
    match name.as_str() {
        "CATENATE" => {
            c.space("a space and a list of parts")?;
            c.expect(b'(', "( and parts")?;
            part(c, to)?;
        }
        "UTF8" => utf8(c, to, false)?,
        _ => {
            to.pieces.push_back(Piece::Literal(c.message_literal()?));
            to.stage = Stage::Whole;
        }
    }
    Ok(())
}

/// `cat-part = "TEXT" SP literal / "URL" SP astring / "UTF8" SP "(" literal8 ")"`
fn part(c: &mut Cursor<'_>, to: &mut Appending) -> Parse<()> {
    match c.item_name().as_str() {
        "TEXT" => {
            c.space("a space and a literal")?;
            to.pieces.push_back(Piece::Literal(c.message_literal()?));
            to.stage = Stage::Part;
        }
        "URL" => {
            c.space("a space and a URL")?;
            let url = c.astring("a URL")?;
            to.pieces.push_back(Piece::Url(url.into_owned()));
            to.stage = Stage::Part;
        }
        "UTF8" => utf8(c, to, true)?,
        "" => return Err(c.expected("TEXT, URL or UTF8")),
        other => return Err(c.unknown("kind of part", other)),
    }
    Ok(())
}

/// `"UTF8" SP "(" literal8 ")"`, behind its name.
fn utf8(c: &mut Cursor<'_>, to: &mut Appending, part: bool) -> Parse<()> {
    c.space("a space and a literal in parentheses")?;
    c.expect(b'(', "( and a literal")?;
    let literal = c.message_literal()?;
    if !literal.binary {
        return Err(c.wrong("UTF8 has a ~{} literal"));
    }
    to.pieces.push_back(Piece::Literal(Literal {
        utf8: true,
        ..literal
    }));
    to.stage = Stage::Utf8 { part };
    Ok(())
}

/// `date-time = DQUOTE date-day-fixed "-" date-month "-" date-year SP time SP zone DQUOTE`
fn date_time(c: &mut Cursor<'_>) -> Parse<DateTime> {
    let octets = c.string("a date")?;
    date::parse_imap_date_time(&octets)
        .ok_or_else(|| c.wrong("expected a date such as \"17-Jul-1996 02:44:25 -0700\""))
}
