//! Tokens of the command grammar (RFC 9051 §9).

use std::borrow::Cow;

use super::Utf8;
use super::literal::{self, Head};
use crate::imap::command::{Literal, MailboxArg, Tagged};
use crate::imap::mailbox_name;
use crate::imap::sequence::{SeqNumber, SequenceSet};

/// Why reading stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// At a literal whose octets have not come.
    Literal,
    /// The octets are no command.
    Syntax(Syntax),
}

/// What is wrong with a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Syntax {
    /// Octet of the present line (that after the last literal), from 1.
    pub(super) column: usize,
    /// In words: `expected …` or what else is wrong. Printable ASCII, without anything that could be secret.
    pub(super) text: Cow<'static, str>,
}

impl Syntax {
    /// For the BAD response.
    pub(super) fn text(&self) -> String {
        format!("{} (column {})", self.text, self.column)
    }
}

pub(super) type Parse<T> = Result<T, Stop>;

/// Reads tokens.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    octets: &'a [u8],
    at: usize,
    line: usize,
    /// Whether literals may stand anywhere; before login only a few commands may have them.
    literals: bool,
    utf8: Utf8,
}

/// `ATOM-CHAR`: printable ASCII but atom-specials.
pub(super) fn is_atom_char(octet: u8) -> bool {
    (0x21..=0x7e).contains(&octet) && !b"(){%*\"\\]".contains(&octet)
}

/// `ASTRING-CHAR`
fn is_astring_char(octet: u8) -> bool {
    is_atom_char(octet) || octet == b']'
}

/// `list-char`
fn is_list_char(octet: u8) -> bool {
    is_astring_char(octet) || matches!(octet, b'%' | b'*')
}

/// The tag at the front of a line, if there is one.
pub(super) fn tag_of(octets: &[u8]) -> Option<String> {
    Cursor::new(octets, false).tag().ok()
}

impl<'a> Cursor<'a> {
    pub(super) fn new(octets: &'a [u8], literals: bool) -> Self {
        Self {
            octets,
            at: 0,
            line: 0,
            literals,
            utf8: Utf8::default(),
        }
    }

    /// For a client that has enabled UTF-8 ([`super::Parser::set_utf8`]).
    pub(super) fn with_utf8(self, utf8: Utf8) -> Self {
        Self { utf8, ..self }
    }

    /// Whether mailbox names are in UTF-8.
    pub(super) fn speaks_utf8(&self) -> bool {
        self.utf8.names
    }

    /// Whether there is no charset but UTF-8 any more.
    pub(super) fn has_one_charset(&self) -> bool {
        self.utf8.accept
    }

    /// From here on literals may stand even before login.
    pub(super) fn allow_literals(&mut self) {
        self.literals = true;
    }

    /// Octets that are read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// What was read from a position on.
    pub(super) fn since(&self, position: usize) -> &'a [u8] {
        self.octets.get(position..self.at).unwrap_or_default()
    }

    fn rest(&self) -> &'a [u8] {
        self.octets.get(self.at..).unwrap_or_default()
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.octets.get(self.at).copied()
    }

    /// Whether these octets are next.
    pub(super) fn is_next(&self, octets: &[u8]) -> bool {
        self.rest().starts_with(octets)
    }

    /// Takes the octet if it is next.
    pub(super) fn eat(&mut self, octet: u8) -> bool {
        let there = self.peek() == Some(octet);
        self.at += usize::from(there);
        there
    }

    /// Takes this word if it is next, in any case.
    pub(super) fn eat_word(&mut self, word: &[u8]) -> bool {
        let next = self.rest().get(..word.len());
        let there = next.is_some_and(|next| next.eq_ignore_ascii_case(word));
        if there {
            self.at += word.len();
        }
        there
    }

    /// A syntax error here.
    pub(super) fn wrong(&self, text: impl Into<Cow<'static, str>>) -> Stop {
        Stop::Syntax(Syntax {
            column: self.at - self.line + 1,
            text: text.into(),
        })
    }

    /// A syntax error here: `what` was expected.
    pub(super) fn expected(&self, what: &str) -> Stop {
        match self.peek() {
            Some(0) => self.wrong("NUL is not allowed"),
            Some(b'\r') if !self.rest().starts_with(b"\r\n") => self.wrong("CR without LF is not allowed"),
            None | Some(b'\r' | b'\n') => self.wrong(format!("the line ends where there should be {what}")),
            Some(_) => self.wrong(format!("expected {what}")),
        }
    }

    /// The word before here, none of those that may stand there; it is an atom, and shown as far as it is short.
    pub(super) fn unknown(&self, what: &str, word: &str) -> Stop {
        let shown: String = word.chars().take(32).collect();
        Stop::Syntax(Syntax {
            column: (self.at - self.line + 1).saturating_sub(word.len()),
            text: format!("unknown {what} {shown}").into(),
        })
    }

    pub(super) fn expect(&mut self, octet: u8, what: &str) -> Parse<()> {
        if self.eat(octet) {
            Ok(())
        } else {
            Err(self.expected(what))
        }
    }

    /// One SP, and what follows it for the error.
    pub(super) fn space(&mut self, what: &str) -> Parse<()> {
        self.expect(b' ', what)
    }

    /// Whether all is read.
    pub(super) fn is_done(&self) -> bool {
        self.rest().is_empty()
    }

    /// CRLF (or LF), the last octets.
    pub(super) fn end(&self) -> Parse<()> {
        match self.rest() {
            b"\r\n" | b"\n" => Ok(()),
            _ => Err(self.expected("the end of the line")),
        }
    }

    pub(super) fn take_while(&mut self, keep: fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let len = rest.iter().take_while(|octet| keep(**octet)).count();
        self.at += len;
        rest.get(..len).unwrap_or_default()
    }

    /// As [`Self::take_while`], for predicates that hold for ASCII only.
    fn word(&mut self, keep: fn(u8) -> bool) -> &'a str {
        core::str::from_utf8(self.take_while(keep)).unwrap_or_default()
    }

    /// `tag`: 1*⟨any ASTRING-CHAR except "+"⟩, at most [`Tagged::MAX_TAG`] octets.
    pub(super) fn tag(&mut self) -> Parse<String> {
        let tag = self.word(|octet| is_astring_char(octet) && octet != b'+');
        if tag.is_empty() {
            return Err(self.expected("a tag"));
        }
        if tag.len() > Tagged::MAX_TAG {
            return Err(self.wrong(format!("a tag longer than {} octets", Tagged::MAX_TAG)));
        }
        if !matches!(self.peek(), None | Some(b' ' | b'\r' | b'\n')) {
            return Err(self.expected("a space after the tag"));
        }
        Ok(tag.to_owned())
    }

    /// A command's name in capitals.
    pub(super) fn command_name(&mut self) -> Parse<String> {
        self.atom("a command name").map(str::to_ascii_uppercase)
    }

    pub(super) fn atom(&mut self, what: &str) -> Parse<&'a str> {
        let atom = self.word(is_atom_char);
        if atom.is_empty() {
            Err(self.expected(what))
        } else {
            Ok(atom)
        }
    }

    /// Letters, digits, `.`, `-`, in capitals: names of items and keys. Empty if there are none.
    pub(super) fn item_name(&mut self) -> String {
        self.word(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'-'))
            .to_ascii_uppercase()
    }

    /// Takes a word in any case, if it is next and whole.
    pub(super) fn keyword(&mut self, word: &str) -> bool {
        let next = self.rest().iter().position(|octet| !is_atom_char(*octet));
        let there = self
            .rest()
            .get(..next.unwrap_or(self.rest().len()))
            .is_some_and(|next| next.eq_ignore_ascii_case(word.as_bytes()));
        if there {
            self.at += word.len();
        }
        there
    }

    /// `astring`
    pub(super) fn astring(&mut self, what: &str) -> Parse<Cow<'a, [u8]>> {
        self.chars_or_string(is_astring_char, what)
    }

    /// `list-mailbox`
    pub(super) fn list_mailbox(&mut self) -> Parse<Cow<'a, [u8]>> {
        self.chars_or_string(is_list_char, "a mailbox pattern")
    }

    fn chars_or_string(&mut self, keep: fn(u8) -> bool, what: &str) -> Parse<Cow<'a, [u8]>> {
        match self.peek() {
            Some(b'"' | b'{' | b'~') if self.peek() != Some(b'~') || self.rest().starts_with(b"~{") => {
                self.string(what)
            }
            Some(octet) if keep(octet) => Ok(Cow::Borrowed(self.take_while(keep))),
            _ => Err(self.expected(what)),
        }
    }

    /// `string`: quoted or literal.
    pub(super) fn string(&mut self, what: &str) -> Parse<Cow<'a, [u8]>> {
        match self.peek() {
            Some(b'"') => {
                let text = self.quoted()?;
                if self.utf8.names && core::str::from_utf8(&text).is_err() {
                    return Err(self.wrong("a quoted string that is not UTF-8"));
                }
                Ok(text)
            }
            Some(b'{') => self.literal().map(Cow::Borrowed),
            Some(b'~') if self.rest().starts_with(b"~{") => {
                Err(self.wrong("~{} literals are not taken here"))
            }
            _ => Err(self.expected(what)),
        }
    }

    /// `nstring`
    pub(super) fn nstring(&mut self, what: &str) -> Parse<Option<Cow<'a, [u8]>>> {
        let nil = self
            .rest()
            .get(..3)
            .is_some_and(|word| word.eq_ignore_ascii_case(b"NIL"));
        if nil {
            self.at += 3;
            return Ok(None);
        }
        self.string(what).map(Some)
    }

    /// `nstring / literal8`: a value of any octets.
    pub(super) fn nstring_or_literal8(&mut self, what: &str) -> Parse<Option<Vec<u8>>> {
        if !self.rest().starts_with(b"~{") {
            return Ok(self.nstring(what)?.map(Cow::into_owned));
        }
        self.at += 1;
        let octets = self.literal_octets()?;
        self.at += octets.len();
        self.line = self.at;
        Ok(Some(octets.to_vec()))
    }

    /// `quoted`, with any octets above 127 (RFC 9051 §4.3); who needs text checks that it is UTF-8.
    fn quoted(&mut self) -> Parse<Cow<'a, [u8]>> {
        self.at += 1;
        let plain = self.take_while(|octet| !matches!(octet, b'"' | b'\\' | b'\r' | b'\n' | 0));
        if self.eat(b'"') {
            return Ok(Cow::Borrowed(plain));
        }
        let mut text = plain.to_vec();
        loop {
            if self.eat(b'"') {
                return Ok(Cow::Owned(text));
            }
            if !self.eat(b'\\') {
                return Err(self.expected("the closing quote of a string"));
            }
            match self.peek() {
                Some(octet @ (b'"' | b'\\')) => text.push(octet),
                _ => return Err(self.wrong("only \\\" and \\\\ may be escaped in a quoted string")),
            }
            self.at += 1;
            text.extend_from_slice(
                self.take_while(|octet| !matches!(octet, b'"' | b'\\' | b'\r' | b'\n' | 0)),
            );
        }
    }

    /// A literal's octets. A line follows every literal that has come, be it empty.
    fn literal(&mut self) -> Parse<&'a [u8]> {
        let octets = self.literal_octets()?;
        if let Some(nul) = memchr::memchr(0, octets) {
            (self.line, self.at) = (self.at, self.at + nul);
            return Err(self.wrong("NUL is not allowed in a literal"));
        }
        self.at += octets.len();
        self.line = self.at;
        Ok(octets)
    }

    /// The octets of a literal, whatever they are; reading is before them then.
    fn literal_octets(&mut self) -> Parse<&'a [u8]> {
        let (head, used) = self.literal_head()?;
        let start = self.at + used;
        let Some(size) = head.size else {
            return Err(self.wrong("the literal's size is no number of octets"));
        };
        let octets = usize::try_from(size)
            .ok()
            .and_then(|size| start.checked_add(size))
            .filter(|end| *end < self.octets.len())
            .and_then(|end| self.octets.get(start..end))
            .ok_or(Stop::Literal)?;
        self.at = start;
        Ok(octets)
    }

    fn literal_head(&self) -> Parse<(Head, usize)> {
        let found = literal::head(self.rest())
            .ok_or_else(|| self.wrong("a literal is {size} or {size+} and the end of the line"))?;
        if self.literals {
            Ok(found)
        } else {
            Err(self.wrong("before login literals are taken only in LOGIN, AUTHENTICATE and ID"))
        }
    }

    /// The head of a message literal, at the end of what has come.
    pub(super) fn message_literal(&mut self) -> Parse<Literal> {
        let binary = self.rest().starts_with(b"~{") && self.eat(b'~');
        if self.peek() != Some(b'{') {
            return Err(self.expected("the message as a literal"));
        }
        let (head, used) = self.literal_head()?;
        let size = head
            .size
            .ok_or_else(|| self.wrong("the literal's size is no number of octets"))?;
        if self.at + used != self.octets.len() {
            return Err(self.expected("the end of the line"));
        }
        Ok(Literal {
            size,
            synchronising: head.synchronising,
            binary,
            utf8: false,
        })
    }

    /// An `astring` that is text in UTF-8.
    pub(super) fn text(&mut self, what: &str) -> Parse<String> {
        let octets = self.astring(what)?;
        self.utf8(octets)
    }

    pub(super) fn utf8(&self, octets: Cow<'a, [u8]>) -> Parse<String> {
        String::from_utf8(octets.into_owned()).map_err(|_| self.wrong("a string that is not UTF-8"))
    }

    /// `mailbox`
    pub(super) fn mailbox(&mut self) -> Parse<MailboxArg> {
        let octets = self.astring("a mailbox name")?;
        self.mailbox_of(&octets)
    }

    /// `mailbox`, and the name as it was written, if its normal form is another (RFC 9051 §5.1).
    pub(super) fn mailbox_as_written(&mut self) -> Parse<(MailboxArg, Option<String>)> {
        let octets = self.astring("a mailbox name")?;
        let mailbox = self.mailbox_of(&octets)?;
        let denormal = self.denormal(&mailbox, &octets);
        Ok((mailbox, denormal))
    }

    /// The text of a mailbox name, if the mailbox has another.
    pub(super) fn denormal(&self, mailbox: &MailboxArg, octets: &[u8]) -> Option<String> {
        let name = mailbox.as_ref().ok().filter(|name| !name.is_inbox())?;
        let text = mailbox_name::decode_text(octets, self.utf8.names)?;
        (name.as_str() != text).then_some(text)
    }

    /// The mailbox that these octets name. What has octets above 127 must be UTF-8 (RFC 6855 §3).
    pub(super) fn mailbox_of(&self, octets: &[u8]) -> Parse<MailboxArg> {
        if core::str::from_utf8(octets).is_err() {
            return Err(self.wrong("a mailbox name that is not UTF-8"));
        }
        Ok(mailbox_name::decode(octets, self.utf8.names))
    }

    /// `number64`: digits only, up to 2⁶³−1.
    pub(super) fn number64(&mut self) -> Parse<u64> {
        let from = self.at;
        let digits = self.take_while(|octet| octet.is_ascii_digit());
        if digits.is_empty() {
            return Err(self.expected("a number"));
        }
        let value = digits
            .iter()
            .try_fold(0_u64, |sum, digit| {
                sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
            })
            .filter(|value| *value <= i64::MAX.unsigned_abs());
        value.ok_or_else(|| {
            self.at = from;
            self.wrong("the number is too large")
        })
    }

    /// `nz-number`: 1 to 2³²−1.
    pub(super) fn nz_number(&mut self) -> Parse<u32> {
        let from = self.at;
        let value = self.number64()?;
        u32::try_from(value)
            .ok()
            .filter(|value| *value > 0)
            .ok_or_else(|| {
                self.at = from;
                self.wrong("expected a number from 1 to 4294967295")
            })
    }

    /// `sequence-set` of numbers, ranges and `*`, or `$` (RFC 5182 §3).
    pub(super) fn sequence_set(&mut self) -> Parse<SequenceSet> {
        if self.eat(b'$') {
            return Ok(SequenceSet::saved());
        }
        let mut ranges = Vec::new();
        loop {
            let first = self.seq_number()?;
            let last = if self.eat(b':') { self.seq_number()? } else { first };
            if ranges.len() == SequenceSet::MAX_RANGES {
                return Err(self.wrong("too many ranges in the sequence set"));
            }
            ranges.push((first, last));
            if !self.eat(b',') {
                return Ok(SequenceSet(ranges));
            }
        }
    }

    /// `seq-number`: a number or `*`.
    pub(super) fn seq_number(&mut self) -> Parse<SeqNumber> {
        match self.peek() {
            Some(b'*') => {
                self.at += 1;
                Ok(SeqNumber::Star)
            }
            Some(b'0'..=b'9') => self.nz_number().map(SeqNumber::Number),
            _ => Err(self.expected("a message number, a range or *")),
        }
    }

    /// `(` item *(SP item) `)`, behind the opening parenthesis; at most `max` items.
    pub(super) fn rest_of_list<T>(
        &mut self,
        max: usize,
        mut item: impl FnMut(&mut Self) -> Parse<T>,
    ) -> Parse<Vec<T>> {
        let mut items = vec![item(self)?];
        while !self.eat(b')') {
            self.space("a space or ) in the list")?;
            if items.len() == max {
                return Err(self.wrong(format!("more than {max} items in the list")));
            }
            items.push(item(self)?);
        }
        Ok(items)
    }
}
