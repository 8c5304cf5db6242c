//! SEARCH.

use super::token::{Cursor, Parse};
use crate::imap::command::{Command, Search};
use crate::mailbox::{Keyword, SystemFlags};
use crate::search::Key;
use crate::text::date;

/// Depth of parentheses, NOT and OR: what evaluates a program may recurse as deep.
const MAX_DEPTH: usize = 32;
/// Keys of one program: each is tried on every message.
const MAX_KEYS: usize = 1_000;

/// `"SEARCH" [SP "CHARSET" SP charset] 1*(SP search-key)` (RFC 9051 §9)
pub(super) fn search(c: &mut Cursor<'_>, uid: bool) -> Parse<Command> {
    c.space("a space and search keys")?;
    let mut program = Program {
        c,
        charset_known: true,
        keys: 0,
    };
    let mut first = program.c.item_name_or_none();
    if first.as_deref() == Some("CHARSET") {
        program.charset()?;
        first = program.c.item_name_or_none();
    }
    let mut keys = vec![program.key_named(first, 0)?];
    while program.c.eat(b' ') {
        keys.push(program.key(0)?);
    }
    let charset_known = program.charset_known;
    Ok(Command::Search(Search {
        uid,
        charset_known,
        key: all_of(keys),
    }))
}

/// One key for several that must all hold.
fn all_of(mut keys: Vec<Key>) -> Key {
    match keys.pop() {
        Some(only) if keys.is_empty() => only,
        Some(last) => {
            keys.push(last);
            Key::And(keys)
        }
        None => Key::All,
    }
}

impl Cursor<'_> {
    /// The name of a key in capitals, unless a set or a parenthesis stands here.
    fn item_name_or_none(&mut self) -> Option<String> {
        self.peek()
            .is_some_and(|octet| octet.is_ascii_alphabetic())
            .then(|| self.item_name())
    }
}

struct Program<'c, 'a> {
    c: &'c mut Cursor<'a>,
    charset_known: bool,
    keys: usize,
}

impl Program<'_, '_> {
    /// `SP charset SP`
    fn charset(&mut self) -> Parse<()> {
        if self.c.has_one_charset() {
            // RFC 6855 §3.
            return Err(self.c.wrong("CHARSET is not allowed once UTF8=ACCEPT is enabled"));
        }
        self.c.space("a space and a charset")?;
        let charset = self.c.astring("a charset")?;
        self.charset_known = [b"US-ASCII".as_slice(), b"UTF-8"]
            .iter()
            .any(|known| charset.eq_ignore_ascii_case(known));
        self.c.space("a space and search keys")
    }

    fn key(&mut self, depth: usize) -> Parse<Key> {
        let name = self.c.item_name_or_none();
        self.key_named(name, depth)
    }

    /// `search-key`, its name read already if it has one.
    fn key_named(&mut self, name: Option<String>, depth: usize) -> Parse<Key> {
        self.keys += 1;
        if self.keys > MAX_KEYS {
            return Err(self.c.wrong("too many search keys"));
        }
        if depth > MAX_DEPTH {
            return Err(self.c.wrong("search keys are nested too deeply"));
        }
        let Some(name) = name else {
            return match self.c.peek() {
                Some(b'(') => self.parenthesised(depth),
                Some(b'0'..=b'9' | b'*') => self.c.sequence_set().map(Key::Sequence),
                _ => Err(self.c.expected("a search key")),
            };
        };
        if let Some(key) = flag_key(&name) {
            return Ok(key);
        }
        match name.as_str() {
            "NOT" => {
                self.c.space("a space and a search key after NOT")?;
                Ok(Key::Not(Box::new(self.key(depth + 1)?)))
            }
            "OR" => {
                self.c.space("a space and two search keys after OR")?;
                let one = self.key(depth + 1)?;
                self.c.space("a space and a second search key after OR")?;
                Ok(Key::Or(Box::new((one, self.key(depth + 1)?))))
            }
            _ => self.key_with_argument(&name),
        }
    }

    /// `"(" search-key *(SP search-key) ")"`
    fn parenthesised(&mut self, depth: usize) -> Parse<Key> {
        self.c.expect(b'(', "(")?;
        let mut keys = vec![self.key(depth + 1)?];
        while !self.c.eat(b')') {
            self.c.space("a space or ) after a search key")?;
            keys.push(self.key(depth + 1)?);
        }
        Ok(all_of(keys))
    }

    fn key_with_argument(&mut self, name: &str) -> Parse<Key> {
        Ok(match name {
            "BCC" | "CC" | "FROM" | "SUBJECT" | "TO" => Key::Header(name.to_owned(), self.text()?),
            "HEADER" => {
                let field = self.text()?;
                Key::Header(field, self.text()?)
            }
            "BODY" => Key::Body(self.text()?),
            "TEXT" => Key::Text(self.text()?),
            "BEFORE" => Key::Before(self.date()?),
            "ON" => Key::On(self.date()?),
            "SINCE" => Key::Since(self.date()?),
            "SENTBEFORE" => Key::SentBefore(self.date()?),
            "SENTON" => Key::SentOn(self.date()?),
            "SENTSINCE" => Key::SentSince(self.date()?),
            "LARGER" => Key::Larger(self.size()?),
            "SMALLER" => Key::Smaller(self.size()?),
            "KEYWORD" => Key::Keyword(self.keyword()?),
            "UNKEYWORD" => Key::Not(Box::new(Key::Keyword(self.keyword()?))),
            "UID" => {
                self.c.space("a space and a set of UIDs")?;
                Key::UidSequence(self.c.sequence_set()?)
            }
            other => return Err(self.c.unknown("search key", other)),
        })
    }

    /// `SP astring`. In a charset that we do not know the text has no meaning: the program will not be run.
    fn text(&mut self) -> Parse<String> {
        self.c.space("a space and a string")?;
        let octets = self.c.astring("a string")?;
        if self.charset_known {
            self.c.utf8(octets)
        } else {
            Ok(String::new())
        }
    }

    /// `SP date`
    fn date(&mut self) -> Parse<i64> {
        self.c.space("a space and a date such as 1-Feb-1994")?;
        let octets = self.c.astring("a date such as 1-Feb-1994")?;
        date::parse_imap_date(&octets).ok_or_else(|| self.c.wrong("expected a date such as 1-Feb-1994"))
    }

    fn size(&mut self) -> Parse<u64> {
        self.c.space("a space and a number of octets")?;
        self.c.number64()
    }

    fn keyword(&mut self) -> Parse<Keyword> {
        self.c.space("a space and a keyword")?;
        let name = self.c.atom("a keyword")?;
        Keyword::new(name).ok_or_else(|| self.c.wrong("a keyword longer than 255 octets"))
    }
}

/// Keys without arguments.
fn flag_key(name: &str) -> Option<Key> {
    let not = |key| Key::Not(Box::new(key));
    let flag = |name| match name {
        "ANSWERED" => Some(SystemFlags::ANSWERED),
        "DELETED" => Some(SystemFlags::DELETED),
        "DRAFT" => Some(SystemFlags::DRAFT),
        "FLAGGED" => Some(SystemFlags::FLAGGED),
        "SEEN" => Some(SystemFlags::SEEN),
        _ => None,
    };
    if let Some(flag) = flag(name) {
        return Some(Key::Flag(flag));
    }
    if let Some(flag) = name.strip_prefix("UN").and_then(flag) {
        return Some(not(Key::Flag(flag)));
    }
    match name {
        "ALL" => Some(Key::All),
        "NEW" => Some(Key::And(vec![Key::Recent, not(Key::Flag(SystemFlags::SEEN))])),
        "OLD" => Some(not(Key::Recent)),
        "RECENT" => Some(Key::Recent),
        _ => None,
    }
}
