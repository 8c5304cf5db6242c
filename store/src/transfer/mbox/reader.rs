//! Reading an mbox.
//!
//! The octets go through two steps. The first finds where messages begin, drops the empty line before that and undoes the
//! quoting: it holds back an empty line, one `>`, and a line that may be a From_ line. The second reads the lines that
//! are ours, or those of the header that are flags.

use rmail_core::mailbox::{Uid, UidValidity};

use super::{Info, MAX_LINE, take_status};
use crate::transfer::{dates, number, number32};

/// Octets of a From_ line.
const MAX_FROM: usize = 1_024;

/// What a line begins with that would be one, if it were not quoted.
const FROM: &[u8] = b"From ";

/// What is in an mbox, in its order.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A message begins.
    Begin,
    /// An export wrote it: the octets that come are as they were stored.
    Exact,
    /// Octets of it.
    Data(&'a [u8]),
    /// It ends; what is known of it, or why it is not whole.
    End(Result<Info, BadMessage>),
}

/// Why a message is not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    /// Octets are missing, or there are more.
    #[error("it has {0} octets, and had {1} when it was exported: the file was cut or changed")]
    Size(u64, u64),
    /// What stands before the first From_ line.
    #[error("it does not begin with a From_ line: this is no mbox file")]
    NoFromLine,
}

/// Reads an mbox piece by piece.
#[derive(Debug)]
pub struct Reader {
    line: Line,
    /// An empty line that may belong to the next From_ line.
    blank: Vec<u8>,
    /// The line before was empty, or there was none.
    after_blank: bool,
    message: Option<Message>,
}

/// The line that is being read.
#[derive(Debug)]
enum Line {
    /// Its beginning is held.
    Held(Vec<u8>),
    /// It was begun, and is nothing but `>` so far, or that and the beginning of `From `: the last `>` and what follows it
    /// are held, for one `>` goes if it is quoted.
    Quotes(Vec<u8>),
    /// All that comes up to its end is told at once.
    Told,
}

/// The message that is being read.
#[derive(Debug)]
struct Message {
    info: Info,
    part: Part,
    /// Octets that were told.
    told: u64,
    /// Octets that it should have.
    size: Option<u64>,
    /// Octets that came beyond them.
    beyond: u64,
    /// A From_ line was before it.
    begun: bool,
    /// The header line before was taken out: what continues it goes too.
    taken: bool,
}

#[derive(Debug)]
enum Part {
    /// The line that is being gathered, and the lines of our own that are still to come: none known yet at first.
    Own(Vec<u8>, Option<u64>),
    /// A line of the header of others.
    Header(Vec<u8>),
    /// A line of the header that is told; whether the next may continue a line that was taken out.
    Long,
    Body,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            line: Line::Held(Vec::new()),
            blank: Vec::new(),
            after_blank: true,
            message: None,
        }
    }
}

impl Reader {
    /// Takes a piece.
    ///
    /// # Errors
    /// Only those of `tell`.
    pub fn push<E>(
        &mut self,
        mut piece: &[u8],
        tell: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while !piece.is_empty() {
            let end = memchr::memchr(b'\n', piece).map(|at| at + 1);
            let (part, rest) = piece.split_at(end.unwrap_or(piece.len()));
            piece = rest;
            let whole = end.is_some();
            match &mut self.line {
                Line::Told => {
                    self.tell(part, tell)?;
                    if whole {
                        self.line = Line::Held(Vec::new());
                    }
                }
                Line::Held(held) => {
                    held.extend_from_slice(part);
                    if whole {
                        let line = core::mem::take(held);
                        self.whole_line(&line, tell)?;
                    } else if held.len() > MAX_FROM {
                        let line = core::mem::take(held);
                        self.line = Line::Told;
                        self.begin_message(tell)?;
                        self.quotes(&line, tell)?;
                    }
                }
                Line::Quotes(held) => {
                    held.extend_from_slice(part);
                    let line = core::mem::take(held);
                    self.line = Line::Told;
                    self.quotes(&line, tell)?;
                    if whole {
                        self.line = Line::Held(Vec::new());
                    }
                }
            }
        }
        Ok(())
    }

    /// The file's octets are all told.
    ///
    /// # Errors
    /// Only those of `tell`.
    pub fn finish<E>(mut self, tell: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<(), E> {
        match core::mem::replace(&mut self.line, Line::Told) {
            Line::Held(line) if !line.is_empty() => self.whole_line(&line, tell)?,
            Line::Quotes(held) => self.tell(&held, tell)?,
            Line::Held(_) | Line::Told => {}
        }
        self.end_message(tell)
    }

    /// A line with its end, or the last one of the file.
    fn whole_line<E>(
        &mut self,
        line: &[u8],
        tell: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if matches!(line, b"\n" | b"\r\n") {
            let before = core::mem::replace(&mut self.blank, line.to_vec());
            self.after_blank = true;
            return self.tell(&before, tell);
        }
        if self.after_blank
            && let Some(from) = line.strip_prefix(b"From ")
            && line.len() <= MAX_FROM
            && let Some(date) = dates::from_line(&String::from_utf8_lossy(from))
        {
            self.end_message(tell)?;
            let mut message = Message::new(true);
            message.info.meta.date = Some(date);
            self.message = Some(message);
            self.blank.clear();
            self.after_blank = false;
            return tell(Event::Begin);
        }
        self.begin_message(tell)?;
        let quotes = quotes_of(line);
        let quoted = quotes > 0 && line.get(quotes..).is_some_and(|rest| rest.starts_with(FROM));
        self.tell(line.get(usize::from(quoted)..).unwrap_or_default(), tell)
    }

    /// A line follows that belongs to a message.
    fn begin_message<E>(&mut self, tell: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<(), E> {
        let blank = core::mem::take(&mut self.blank);
        if self.message.is_none() {
            self.message = Some(Message::new(false));
            tell(Event::Begin)?;
        }
        self.tell(&blank, tell)?;
        self.after_blank = false;
        Ok(())
    }

    /// The beginning of a long line, or what comes next of one that is nothing but quotes so far.
    fn quotes<E>(&mut self, line: &[u8], tell: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<(), E> {
        let quotes = quotes_of(line);
        let (before, rest) = line.split_at(quotes);
        let quoted = quotes > 0 && rest.starts_with(FROM);
        if quotes > 0 && !quoted && FROM.starts_with(rest) {
            let (all, last) = before.split_at(quotes - 1);
            self.line = Line::Quotes([last, rest].concat());
            return self.tell(all, tell);
        }
        self.tell(line.get(usize::from(quoted)..).unwrap_or_default(), tell)
    }

    fn tell<E>(&mut self, octets: &[u8], tell: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<(), E> {
        match &mut self.message {
            Some(message) if !octets.is_empty() => message.push(octets, tell),
            _ => Ok(()),
        }
    }

    fn end_message<E>(&mut self, tell: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<(), E> {
        match self.message.take() {
            Some(message) => message.finish(tell),
            None => Ok(()),
        }
    }
}

/// Octets `>` at the front.
fn quotes_of(line: &[u8]) -> usize {
    line.iter().take_while(|octet| **octet == b'>').count()
}

impl Message {
    fn new(begun: bool) -> Self {
        Self {
            info: Info::default(),
            part: Part::Own(Vec::new(), None),
            told: 0,
            size: None,
            beyond: 0,
            begun,
            taken: false,
        }
    }

    /// Takes octets of the message, unquoted: at most one line at a time.
    fn push<E>(&mut self, octets: &[u8], tell: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<(), E> {
        let whole = octets.ends_with(b"\n");
        match &mut self.part {
            Part::Body => return self.emit(octets, tell),
            Part::Long => {
                if whole {
                    self.part = Part::Header(Vec::new());
                }
                return self.emit(octets, tell);
            }
            Part::Own(line, _) | Part::Header(line) => {
                line.extend_from_slice(octets);
                if !whole && line.len() <= MAX_LINE {
                    return Ok(());
                }
            }
        }
        match core::mem::replace(&mut self.part, Part::Body) {
            Part::Own(line, left) => self.own(line, left, tell),
            Part::Header(line) if whole && line.len() <= MAX_LINE => self.header(&line, tell),
            Part::Header(line) => self.long(&line, tell),
            Part::Long | Part::Body => Ok(()),
        }
    }

    /// A line of the header, or its beginning, that is too long to be looked at, however it came.
    fn long<E>(&mut self, line: &[u8], tell: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<(), E> {
        self.part = if line.ends_with(b"\n") {
            Part::Header(Vec::new())
        } else {
            Part::Long
        };
        self.emit(line, tell)
    }

    /// A line that may be ours.
    fn own<E>(
        &mut self,
        line: Vec<u8>,
        left: Option<u64>,
        tell: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let text = String::from_utf8_lossy(&line);
        let left = match left {
            Some(left) => {
                if let Some((name, value)) = text.split_once(':') {
                    take_status(name, value, true, &mut self.info.meta.flags);
                }
                left.saturating_sub(1)
            }
            None if line.len() > MAX_LINE => return self.long(&line, tell),
            None => match text.strip_prefix("X-Rmail: 1 ") {
                Some(words) => {
                    let left = self.words(words);
                    tell(Event::Exact)?;
                    left
                }
                None => {
                    self.part = Part::Header(Vec::new());
                    return self.header(&line, tell);
                }
            },
        };
        if left > 0 {
            self.part = Part::Own(Vec::new(), Some(left));
        }
        Ok(())
    }

    /// The words of our first line; how many lines of ours come after it.
    fn words(&mut self, words: &str) -> u64 {
        let info = &mut self.info;
        info.exact = true;
        // Without a date there is none: that of the From_ line stands for none.
        info.meta.date = None;
        let mut lines = 0;
        for (key, value) in words.split_whitespace().filter_map(|word| word.split_once('=')) {
            match key {
                "lines" => lines = number(value).unwrap_or(0),
                "size" => self.size = number(value),
                "uid" => info.meta.uid = number32(value).filter(|uid| *uid != 0).map(Uid),
                "validity" => {
                    let value = number32(value).filter(|value| *value != 0);
                    info.numbering.uid_validity = value.map(UidValidity);
                }
                "next" => info.numbering.uid_next = number32(value).map(Uid),
                "date" => info.meta.date = dates::decode(value),
                _ => {}
            }
        }
        lines
    }

    /// A line of the header of a message that others wrote.
    fn header<E>(&mut self, line: &[u8], tell: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<(), E> {
        if matches!(line, b"\n" | b"\r\n") {
            self.part = Part::Body;
            return self.emit(line, tell);
        }
        self.part = Part::Header(Vec::new());
        let continues = line.starts_with(b" ") || line.starts_with(b"\t");
        if !continues {
            let text = String::from_utf8_lossy(line);
            self.taken = text
                .split_once(':')
                .is_some_and(|(name, value)| take_status(name, value, false, &mut self.info.meta.flags));
        }
        if self.taken { Ok(()) } else { self.emit(line, tell) }
    }

    fn emit<E>(&mut self, octets: &[u8], tell: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<(), E> {
        let room = self.size.map_or(u64::MAX, |size| size - self.told);
        let count = octets.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        let (ours, beyond) = octets.split_at(count);
        self.told += ours.len() as u64;
        self.beyond += beyond.len() as u64;
        if ours.is_empty() {
            Ok(())
        } else {
            tell(Event::Data(ours))
        }
    }

    fn finish<E>(mut self, tell: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<(), E> {
        if let Part::Own(line, None) | Part::Header(line) = core::mem::replace(&mut self.part, Part::Body) {
            self.emit(&line, tell)?;
        }
        let all = self.told + self.beyond;
        let end = match self.size {
            _ if !self.begun => Err(BadMessage::NoFromLine),
            // A line end was added to the last line if it had none.
            Some(size) if self.told < size || self.beyond > 1 => Err(BadMessage::Size(all, size)),
            _ => Ok(self.info),
        };
        tell(Event::End(end))
    }
}
