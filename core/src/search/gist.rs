//! What searching, sorting and threading ask of many messages, in few octets: so that it can be kept in memory for all
//! messages of a mailbox.

use core::hash::Hasher as _;
use std::hash::DefaultHasher;

use super::fold::fold;
use super::msgid::message_ids;
use super::subject::base_subject;
use super::value::{BETWEEN, searched_into};
use crate::mailbox::Uid;
use crate::mime::address::{self, Address};
use crate::mime::header::{Field, Fields};
use crate::text::date::{parse_header_date, parse_sent_date};
use crate::text::encoded_word;
use crate::time::DateTime;

/// The fields of which a gist is made.
pub const GIST_FIELDS: [&str; 8] = [
    "date",
    "subject",
    "from",
    "to",
    "cc",
    "message-id",
    "references",
    "in-reply-to",
];

/// Octets of text that one message may take: beyond it the fields are not known, and what messages are sorted by is cut.
const MAX_TEXT: usize = 8 * 1024;
/// Octets of one text that messages are sorted by, where all together are too long.
const MAX_SORTED: usize = 512;
/// References that are looked at: the first one and the last ones, as programs cut them.
const MAX_REFERENCES: usize = 256;

/// Fields that can be searched, in the order of [`Text`].
const SEARCHED: [&[u8]; 4] = [b"subject", b"from", b"to", b"cc"];
const TEXTS: usize = 10;

/// Texts of a gist, all folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// The fields' values.
    Subject,
    From,
    To,
    Cc,
    /// The base subject.
    Base,
    /// `addr-mailbox` of the first address.
    FromMailbox,
    ToMailbox,
    CcMailbox,
    /// The value of RFC 5957 §3 of the first address.
    FromDisplay,
    ToDisplay,
}

impl Text {
    /// The text that a field of this name is searched in.
    pub(super) fn of_field(name: &[u8]) -> Option<Self> {
        let at = SEARCHED
            .iter()
            .position(|known| name.eq_ignore_ascii_case(known))?;
        [Self::Subject, Self::From, Self::To, Self::Cc].get(at).copied()
    }
}

/// Whether gists know the fields of this name.
pub(super) fn is_searched(name: &[u8]) -> bool {
    Text::of_field(name).is_some()
}

/// The gists of some messages of a mailbox, by UID.
#[derive(Clone, Debug, Default)]
pub struct Gists {
    entries: Vec<Entry>,
    text: Vec<u8>,
    references: Vec<u64>,
}

#[derive(Clone, Debug)]
struct Entry {
    uid: Uid,
    /// The Date field as SEARCH reads it.
    date: Option<DateTime>,
    /// The Date field as SORT reads it: seconds since 1970.
    sent: Option<i64>,
    /// Its texts are those of the fields, not cut.
    known: bool,
    reply: bool,
    /// Which of the searched fields are there at all.
    there: [bool; 4],
    message_id: Option<u64>,
    references: (u32, u32),
    texts: [(u32, u32); TEXTS],
}

/// The gist of one message.
#[derive(Clone, Copy, Debug)]
pub struct Gist<'a> {
    gists: &'a Gists,
    entry: &'a Entry,
}

impl Gists {
    /// Adds a message, of which there is none yet. `header` needs to hold only the [`GIST_FIELDS`]. UIDs in ascending
    /// order cost nothing, others a sort.
    pub fn add(&mut self, uid: Uid, header: &[u8]) {
        let mut draft = Draft::default();
        for field in Fields::new(header) {
            draft.field(&field);
        }
        let entry = draft.finish(self, uid);
        self.insert(entry);
    }

    /// Adds those of another one.
    pub fn merge(&mut self, other: &Self) {
        let (text, references) = (self.text.len(), self.references.len());
        self.text.extend_from_slice(&other.text);
        self.references.extend_from_slice(&other.references);
        for entry in &other.entries {
            let mut entry = entry.clone();
            let moved = |at: u32, by: usize| at.saturating_add(u32::try_from(by).unwrap_or(u32::MAX));
            entry.references = (moved(entry.references.0, references), entry.references.1);
            for place in &mut entry.texts {
                place.0 = moved(place.0, text);
            }
            self.insert(entry);
        }
    }

    fn insert(&mut self, entry: Entry) {
        let at = self.entries.partition_point(|other| other.uid < entry.uid);
        self.entries.insert(at, entry);
    }

    /// The gist of a message.
    #[must_use]
    pub fn get(&self, uid: Uid) -> Option<Gist<'_>> {
        let at = self.entries.binary_search_by_key(&uid, |entry| entry.uid).ok()?;
        let entry = self.entries.get(at)?;
        Some(Gist { gists: self, entry })
    }

    /// Octets of memory.
    #[must_use]
    pub fn weight(&self) -> usize {
        size_of::<Self>()
            + self.entries.capacity() * size_of::<Entry>()
            + self.text.capacity()
            + self.references.capacity() * size_of::<u64>()
    }

    /// Gives back memory that is not used.
    pub fn shrink(&mut self) {
        self.entries.shrink_to_fit();
        self.text.shrink_to_fit();
        self.references.shrink_to_fit();
    }

    /// Appends a text; one that is in the message's texts already is not kept twice.
    fn keep(&mut self, from: usize, text: &[u8]) -> (u32, u32) {
        let before = self.text.get(from..).unwrap_or_default();
        let at = memchr::memmem::find(before, text).map_or(self.text.len(), |at| from + at);
        if at == self.text.len() {
            self.text.extend_from_slice(text);
        }
        let number = |n| u32::try_from(n).unwrap_or(0);
        (number(at), number(text.len()))
    }
}

impl<'a> Gist<'a> {
    /// The Date field; `None`: there is none, or it is no date.
    pub(super) fn date(self) -> Option<DateTime> {
        self.entry.date
    }

    /// The sent date (RFC 5256 §2.2), in seconds since 1970, if the Date field has one.
    pub(super) fn sent(self) -> Option<i64> {
        self.entry.sent
    }

    /// Whether what was taken off the subject says that it is a reply or forward.
    pub(super) fn is_reply(self) -> bool {
        self.entry.reply
    }

    /// The hash of its Message-ID.
    pub(super) fn message_id(self) -> Option<u64> {
        self.entry.message_id
    }

    /// The hashes of its references, the parent last.
    pub(super) fn references(self) -> &'a [u64] {
        slice(&self.gists.references, self.entry.references)
    }

    pub(super) fn text(self, text: Text) -> &'a [u8] {
        let place = self.entry.texts.get(text as usize).copied().unwrap_or_default();
        slice(&self.gists.text, place)
    }

    /// The values of a field with [`BETWEEN`] between them; outside `None`: not known here; inside: there is none.
    pub(super) fn field(self, name: &[u8]) -> Option<Option<&'a [u8]>> {
        let text = Text::of_field(name).filter(|_| self.entry.known)?;
        let there = self.entry.there.get(text as usize).copied().unwrap_or(false);
        Some(there.then(|| self.text(text)))
    }
}

fn slice<T>(all: &[T], (at, len): (u32, u32)) -> &[T] {
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    let end = at.saturating_add(usize::try_from(len).unwrap_or(usize::MAX));
    all.get(at..end).unwrap_or_default()
}

/// The hash of a normalised message id. It is the same in every process of one build, and nothing is kept by it.
fn hash(id: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(id);
    hasher.finish()
}

/// A message whose fields are read.
#[derive(Default)]
struct Draft {
    date: Option<DateTime>,
    sent: Option<i64>,
    dated: bool,
    values: [Option<Vec<u8>>; 4],
    base: Option<(Vec<u8>, bool)>,
    /// The first address of From, To and Cc.
    first: [Option<Person>; 3],
    message_id: Option<u64>,
    references: Option<Vec<u64>>,
    in_reply_to: Option<u64>,
}

/// An address as messages are sorted by it, folded.
#[derive(Default)]
struct Person {
    mailbox: Vec<u8>,
    display: Vec<u8>,
}

impl Draft {
    fn field(&mut self, field: &Field<'_>) {
        if let Some(text) = Text::of_field(field.name) {
            self.text(text, field);
        } else if field.is(b"date") && !self.dated {
            self.dated = true;
            self.date = parse_header_date(field.raw);
            self.sent = parse_sent_date(field.raw).map(|date| date.unix);
        } else if field.is(b"message-id") {
            let first = || message_ids(field.raw, 1).first().map(|id| hash(id));
            self.message_id = self.message_id.or_else(first);
        } else if field.is(b"in-reply-to") {
            let first = || message_ids(field.raw, 1).first().map(|id| hash(id));
            self.in_reply_to = self.in_reply_to.or_else(first);
        } else if field.is(b"references") && self.references.is_none() {
            let ids = message_ids(field.raw, usize::MAX);
            let mut hashes: Vec<u64> = ids.iter().map(|id| hash(id)).collect();
            let many = hashes.len().saturating_sub(MAX_REFERENCES);
            if many > 0 {
                hashes.drain(1..=many);
            }
            self.references = (!hashes.is_empty()).then_some(hashes);
        }
    }

    fn text(&mut self, text: Text, field: &Field<'_>) {
        let value = encoded_word::decode(field.raw);
        if let Some(slot) = self.values.get_mut(text as usize) {
            let all = slot.get_or_insert_default();
            if !all.is_empty() {
                all.push(BETWEEN);
            }
            searched_into(all, field);
        }
        if text == Text::Subject {
            let base = || base_subject(&value);
            self.base.get_or_insert_with(|| {
                let base = base();
                (fold(&base.text), base.reply)
            });
        } else if let Some(slot @ None) = (text as usize)
            .checked_sub(1)
            .and_then(|at| self.first.get_mut(at))
        {
            *slot = address::parse(field.raw, 1).first().map(person);
        }
    }

    fn finish(self, gists: &mut Gists, uid: Uid) -> Entry {
        let from = gists.text.len();
        let people = || self.first.iter().flatten();
        let base = self.base.as_ref().map_or(&[][..], |(base, _)| base);
        let sorted = people().map(|person| person.mailbox.len() + person.display.len());
        let searched = self.values.iter().flatten().map(Vec::len);
        let known = base.len() + sorted.chain(searched).sum::<usize>() <= MAX_TEXT;
        let cut = |text: &'_ [u8]| {
            text.get(..MAX_SORTED)
                .filter(|_| !known)
                .map_or(text.len(), <[u8]>::len)
        };
        let value = |at: usize| self.values.get(at).and_then(Option::as_deref);
        let person = |at: usize| self.first.get(at).and_then(Option::as_ref);
        let mailbox = |at| person(at).map_or(&[][..], |person| &person.mailbox);
        let display = |at| person(at).map_or(&[][..], |person| &person.display);
        let sorted = [base, mailbox(0), mailbox(1), mailbox(2), display(0), display(1)];
        let mut texts = [(0, 0); TEXTS];
        let (searched, rest) = texts.split_at_mut(SEARCHED.len());
        for (at, place) in searched.iter_mut().enumerate().filter(|_| known) {
            *place = gists.keep(from, value(at).unwrap_or_default());
        }
        for (text, place) in sorted.iter().zip(rest) {
            *place = gists.keep(from, text.get(..cut(text)).unwrap_or(text));
        }
        let references = self.references.or_else(|| self.in_reply_to.map(|id| vec![id]));
        let references = references.unwrap_or_default();
        let number = |n| u32::try_from(n).unwrap_or(0);
        let place = (number(gists.references.len()), number(references.len()));
        gists.references.extend(references);
        Entry {
            uid,
            date: self.date,
            sent: self.sent,
            known,
            reply: self.base.as_ref().is_some_and(|(_, reply)| *reply),
            there: [0, 1, 2, 3].map(|at| value(at).is_some()),
            message_id: self.message_id,
            references: place,
            texts,
        }
    }
}

/// A group counts as an address whose mailbox is its name, as in ENVELOPE (RFC 9051 §7.5.2).
fn person(address: &Address) -> Person {
    let text = |octets: &[u8]| fold(&encoded_word::undeclared(octets));
    match address {
        Address::Mailbox(mailbox) => {
            let name = fold(encoded_word::decode(&mailbox.name).trim());
            let local = text(&mailbox.local);
            let display = if !name.is_empty() {
                name
            } else if !mailbox.local.is_empty() && !mailbox.domain.is_empty() {
                [&local[..], b"@", &text(&mailbox.domain)].concat()
            } else {
                local.clone()
            };
            Person {
                mailbox: local,
                display,
            }
        }
        Address::Group(name) => {
            let name = text(name);
            Person {
                mailbox: name.clone(),
                display: name,
            }
        }
        Address::GroupEnd => Person::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] = b"Date: Fri, 21 Nov 1997 09:55:06 -0600\r\nFrom: =?utf-8?q?J=C3=BCrgen?= <jd@x.test>\r\n\
        Subject: Re: [list] Hello\r\nTo: a@y.test, b@y.test\r\nTo: Friends: c@y.test;\r\nMessage-ID: <1@x>\r\n\
        References: <0@x> <\"a b\"@x> nonsense\r\n\r\n";

    fn gists() -> Gists {
        let mut gists = Gists::default();
        gists.add(Uid(7), HEADER);
        gists
    }

    #[test]
    fn a_gist_tells_what_the_header_says() {
        let gists = gists();
        let gist = gists.get(Uid(7)).expect("added");
        assert_eq!(gist.text(Text::Base), b"HELLO");
        assert!(gist.is_reply());
        assert_eq!(gist.field(b"Subject"), Some(Some(&b"RE: [LIST] HELLO"[..])));
        assert_eq!(
            gist.field(b"to"),
            Some(Some(&b"A@Y.TEST, B@Y.TEST\xffFRIENDS: C@Y.TEST;"[..]))
        );
        assert_eq!((gist.field(b"cc"), gist.field(b"bcc")), (Some(None), None));
        assert_eq!(gist.text(Text::FromMailbox), b"JD");
        assert_eq!(gist.text(Text::FromDisplay), "JU\u{308}RGEN".as_bytes());
        assert_eq!(gist.text(Text::ToDisplay), b"A@Y.TEST");
        assert_eq!(gist.sent(), Some(880_127_706));
        assert_eq!(gist.references().len(), 2);
        assert!(gist.message_id().is_some() && gists.get(Uid(8)).is_none());
    }

    #[test]
    fn merging_keeps_all() {
        let mut all = Gists::default();
        all.add(Uid(9), b"Subject: nine\r\nIn-Reply-To: <1@x>\r\n\r\n");
        all.merge(&gists());
        all.shrink();
        let subject = |uid| all.get(Uid(uid)).map(|gist| gist.text(Text::Base));
        assert_eq!(
            (subject(7), subject(9)),
            (Some(&b"HELLO"[..]), Some(&b"NINE"[..]))
        );
        let (seven, nine) = (all.get(Uid(7)).expect("there"), all.get(Uid(9)).expect("there"));
        assert_eq!(nine.references().first().copied(), seven.message_id());
        assert!(all.weight() > 0);
    }

    #[test]
    fn long_fields_are_not_known_and_what_is_sorted_is_cut() {
        let mut gists = Gists::default();
        let references: String = (0..1_000).map(|n| format!(" <{n}@x>\r\n")).collect();
        let header = format!(
            "Subject: {}\r\nReferences:{references}\r\n",
            "x".repeat(MAX_TEXT + 1)
        );
        gists.add(Uid(1), header.as_bytes());
        let gist = gists.get(Uid(1)).expect("added");
        assert_eq!(
            (gist.field(b"subject"), gist.text(Text::Base).len()),
            (None, MAX_SORTED)
        );
        assert_eq!(gist.references().len(), MAX_REFERENCES);
        assert_eq!(gist.references().first().copied(), Some(hash(b"0@x")));
        assert_eq!(gist.references().last().copied(), Some(hash(b"999@x")));
    }
}
