//! Search keys (RFC 9051 §6.4.4, and those of RFC 5032, RFC 7162, RFC 8474, RFC 8514, RFC 5466).

use core::ops::Range;

use super::filter;
use super::token::{Cursor, Parse};
use crate::imap::command::Filters;
use crate::imap::sequence::SequenceSet;
use crate::mailbox::{Keyword, ModSeq, SystemFlags};
use crate::search::Key;
use crate::text::date;

/// Depth of parentheses, NOT and OR: what evaluates a program may recurse as deep.
const MAX_DEPTH: usize = 32;
/// Keys of one program: each is tried on every message.
const MAX_KEYS: usize = 1_000;
/// How often `$` may stand in one program: each becomes a set of its own, as large as the result that was saved.
const MAX_SAVED: usize = 8;

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

/// A search program being read.
pub(super) struct Program<'c, 'a> {
    pub(super) c: &'c mut Cursor<'a>,
    pub(super) charset_known: bool,
    keys: usize,
    saved: usize,
    /// FILTER and a name, by position.
    filters: Vec<(Range<usize>, String)>,
}

impl<'c, 'a> Program<'c, 'a> {
    pub(super) fn new(c: &'c mut Cursor<'a>) -> Self {
        Self {
            c,
            charset_known: true,
            keys: 0,
            saved: 0,
            filters: Vec::new(),
        }
    }

    /// `sequence-set`
    fn set(&mut self) -> Parse<SequenceSet> {
        let set = self.c.sequence_set()?;
        self.saved += usize::from(set.is_saved());
        if self.saved > MAX_SAVED {
            return Err(self.c.wrong("$ stands there too often"));
        }
        Ok(set)
    }

    /// `search-key *(SP search-key)`, all of which must hold; and the names of filters among them, in whose places the key
    /// has ALL.
    pub(super) fn all(&mut self) -> Parse<(Key, Option<Box<Filters>>)> {
        let begin = self.c.position();
        let mut keys = vec![self.key(0)?];
        while self.c.eat(b' ') {
            keys.push(self.key(0)?);
        }
        let from_begin = |(at, name): (Range<usize>, String)| (at.start - begin..at.end - begin, name);
        let places: Vec<_> = self.filters.drain(..).map(from_begin).collect();
        let filters = (!places.is_empty()).then(|| {
            let text = self.c.since(begin).to_vec();
            Box::new(Filters { text, places })
        });
        Ok((all_of(keys), filters))
    }

    /// `charset`
    pub(super) fn charset(&mut self) -> Parse<()> {
        let charset = self.c.astring("a charset")?;
        self.charset_known = [b"US-ASCII".as_slice(), b"UTF-8"]
            .iter()
            .any(|known| charset.eq_ignore_ascii_case(known));
        Ok(())
    }

    /// `search-key`
    fn key(&mut self, depth: usize) -> Parse<Key> {
        let name = self.c.item_name_or_none();
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
                Some(b'0'..=b'9' | b'*' | b'$') => self.set().map(Key::Sequence),
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
            "FILTER" => self.filter(name.len())?,
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
            "SAVEDBEFORE" => Key::SavedBefore(self.date()?),
            "SAVEDON" => Key::SavedOn(self.date()?),
            "SAVEDSINCE" => Key::SavedSince(self.date()?),
            "OLDER" => Key::Older(self.interval()?),
            "YOUNGER" => Key::Younger(self.interval()?),
            "MODSEQ" => Key::ModSeq(self.mod_sequence()?),
            "EMAILID" => Key::EmailId(self.object_id()?),
            "THREADID" => Key::ThreadId(self.object_id()?),
            "LARGER" => Key::Larger(self.size()?),
            "SMALLER" => Key::Smaller(self.size()?),
            "KEYWORD" => Key::Keyword(self.keyword()?),
            "UNKEYWORD" => Key::Not(Box::new(Key::Keyword(self.keyword()?))),
            "UID" => {
                self.c.space("a space and a set of UIDs")?;
                Key::UidSequence(self.set()?)
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

    /// `SP filter-name` (RFC 5466 §4), behind FILTER.
    fn filter(&mut self, word: usize) -> Parse<Key> {
        let start = self.c.position() - word;
        self.c.space("a space and the name of a filter")?;
        let name = self.c.atom("the name of a filter")?;
        if !filter::is_name(name) {
            return Err(self
                .c
                .wrong("the name of a filter is a short atom without a slash"));
        }
        self.filters.push((start..self.c.position(), name.to_owned()));
        Ok(Key::All)
    }

    /// `SP date`
    fn date(&mut self) -> Parse<i64> {
        self.c.space("a space and a date such as 1-Feb-1994")?;
        let octets = self.c.astring("a date such as 1-Feb-1994")?;
        date::parse_imap_date(&octets).ok_or_else(|| self.c.wrong("expected a date such as 1-Feb-1994"))
    }

    /// `SP nz-number` (RFC 5032 §3)
    fn interval(&mut self) -> Parse<u32> {
        self.c.space("a space and a number of seconds")?;
        self.c.nz_number()
    }

    /// `[SP entry-name SP entry-type-req] SP mod-sequence-valzer` (RFC 7162 §7). There is one MODSEQ for all that belongs
    /// to a message, so the entry makes no difference (§3.1.5).
    fn mod_sequence(&mut self) -> Parse<ModSeq> {
        self.c.space("a space and a mod-sequence")?;
        if self.c.peek() == Some(b'"') {
            self.c.string("an entry name")?;
            self.c.space("a space and priv, shared or all")?;
            let name = self.c.item_name();
            if !["PRIV", "SHARED", "ALL"].contains(&name.as_str()) {
                return Err(self.c.expected("priv, shared or all"));
            }
            self.c.space("a space and a mod-sequence")?;
        }
        self.c.number64().map(ModSeq)
    }

    /// `SP objectid` (RFC 8474 §7)
    fn object_id(&mut self) -> Parse<String> {
        self.c.space("a space and an object id")?;
        self.c.atom("an object id").map(str::to_owned)
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
        "ALL" | "SAVEDATESUPPORTED" => Some(Key::All),
        "NEW" => Some(Key::And(vec![Key::Recent, not(Key::Flag(SystemFlags::SEEN))])),
        "OLD" => Some(not(Key::Recent)),
        "RECENT" => Some(Key::Recent),
        _ => None,
    }
}
