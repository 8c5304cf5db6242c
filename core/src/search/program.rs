//! A compiled search program.

use core::ops::Range;

use memchr::memmem::Finder;

use super::fold::fold;
use super::gist::Gist;
use super::key::Key;
use super::matcher::Content;
use crate::mailbox::{Keyword, Keywords, ModSeq, Row, SystemFlags, UidSet};
use crate::mime::parsed::{EmailId, Parsed};
use crate::mime::thread_id::ThreadId;
use crate::text::date;

/// A search program, ready for many messages.
///
/// [`Key::Sequence`], [`Key::UidSequence`], [`Key::Recent`], [`Key::Older`] and [`Key::Younger`], which mean something only
/// in a session's view, match nothing here.
#[derive(Debug)]
pub struct Program {
    /// The root first; the parts of a node come after it.
    nodes: Vec<Node>,
    pub(super) tests: Vec<Test>,
}

/// A key. What it is made of is a range of nodes.
#[derive(Debug)]
enum Node {
    Row(RowTest),
    /// A position in `tests`.
    Content(usize),
    And(Range<usize>),
    Or(Range<usize>),
    Not(usize),
}

/// What rows tell.
#[derive(Debug)]
enum RowTest {
    Always(bool),
    Uids(UidSet),
    Flag(SystemFlags),
    Keyword(Keyword),
    Days(Days),
    /// Of the save date, in UTC.
    Saved(Days),
    ArrivedUntil(i64),
    ArrivedFrom(i64),
    ModSeq(ModSeq),
    Larger(u64),
    Smaller(u64),
}

/// What only the content tells.
#[derive(Debug)]
pub(super) enum Test {
    Sent(Days),
    Header(Vec<u8>, Needle),
    Body(Needle),
    Text(Needle),
    EmailId(EmailId),
    ThreadId(ThreadId),
    HasAttachment,
}

impl Test {
    /// What the message's gist tells.
    fn by_gist(&self, gist: Gist<'_>) -> Option<bool> {
        match self {
            Self::Sent(days) => Some(gist.date().is_some_and(|sent| days.hold(date::local_day(sent)))),
            Self::Header(name, needle) => {
                let value = gist.field(name)?;
                Some(value.is_some_and(|value| needle.0.find(value).is_some()))
            }
            Self::Body(_) | Self::Text(_) | Self::EmailId(_) | Self::ThreadId(_) | Self::HasAttachment => {
                None
            }
        }
    }

    /// Whether the message's header suffices.
    pub(super) fn in_header(&self) -> bool {
        matches!(self, Self::Sent(_) | Self::Header(..))
    }
}

/// Days since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) enum Days {
    Before(i64),
    On(i64),
    Since(i64),
}

impl Days {
    pub(super) fn hold(self, day: i64) -> bool {
        match self {
            Self::Before(limit) => day < limit,
            Self::On(limit) => day == limit,
            Self::Since(limit) => day >= limit,
        }
    }
}

/// Text to be found, folded.
#[derive(Debug)]
pub(super) struct Needle(pub(super) Finder<'static>);

impl Needle {
    fn new(text: &str) -> Self {
        Self(Finder::new(&fold(text)).into_owned())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.needle().is_empty()
    }
}

impl Program {
    /// Compiles a key.
    #[must_use]
    pub fn new(key: &Key) -> Self {
        let mut program = Self {
            nodes: Vec::new(),
            tests: Vec::new(),
        };
        let mut keys = vec![key];
        while let Some(key) = keys.get(program.nodes.len()).copied() {
            let first = keys.len();
            let node = match key {
                Key::And(all) => {
                    keys.extend(all);
                    Node::And(first..keys.len())
                }
                Key::Or(pair) => {
                    keys.extend([&pair.0, &pair.1]);
                    Node::Or(first..keys.len())
                }
                Key::Not(key) => {
                    keys.push(key);
                    Node::Not(first)
                }
                key => match (row_test(key), content_test(key)) {
                    (None, Some(test)) => {
                        program.tests.push(test);
                        Node::Content(program.tests.len() - 1)
                    }
                    (test, _) => Node::Row(test.unwrap_or(RowTest::Always(false))),
                },
            };
            program.nodes.push(node);
        }
        program
    }

    /// Whether there are messages whose row does not suffice.
    #[must_use]
    pub fn needs_content(&self) -> bool {
        !self.tests.is_empty()
    }

    /// Whether there are messages whose row and header do not suffice. If not, [`Program::matches`] may be given the
    /// header alone.
    #[must_use]
    pub fn needs_body(&self) -> bool {
        !self.tests.iter().all(Test::in_header)
    }

    /// Whether what is kept of messages may tell what rows do not.
    #[must_use]
    pub fn asks_parsed(&self) -> bool {
        let asks = |test: &Test| !matches!(test, Test::Body(_) | Test::Text(_));
        self.tests.iter().any(asks)
    }

    /// Whether gists may tell what rows do not: something is looked for in the fields of which they are made, and nothing
    /// in others.
    #[must_use]
    pub fn asks_gists(&self) -> bool {
        !self.tests.is_empty()
            && self.tests.iter().all(|test| match test {
                Test::Sent(_) => true,
                Test::Header(name, _) => super::gist::is_searched(name),
                Test::Body(_)
                | Test::Text(_)
                | Test::EmailId(_)
                | Test::ThreadId(_)
                | Test::HasAttachment => false,
            })
    }

    /// The names of the header fields that the program looks at, in no order, if it can be decided by header fields;
    /// tests of the body look at more.
    #[must_use]
    pub fn header_names(&self) -> Vec<String> {
        let name = |test: &Test| match test {
            Test::Sent(_) => Some("date".to_owned()),
            Test::Header(name, _) => Some(String::from_utf8_lossy(name).into_owned()),
            Test::Body(_) | Test::Text(_) | Test::EmailId(_) | Test::ThreadId(_) | Test::HasAttachment => {
                None
            }
        };
        self.tests.iter().filter_map(name).collect()
    }

    /// What looking at one row costs at most, in simple tests.
    #[must_use]
    pub fn cost(&self) -> usize {
        let cost = |node: &Node| match node {
            // Keywords are found one by one.
            Node::Row(RowTest::Keyword(_)) => Keywords::MAX,
            _ => 1,
        };
        self.nodes.iter().map(cost).sum()
    }

    /// How many things are looked for in the content of a message.
    #[must_use]
    pub fn content_tests(&self) -> usize {
        self.tests.len()
    }

    /// Whether a message matches as far as its row tells; `None`: its content is needed.
    #[must_use]
    pub fn eval_row(&self, row: &Row, keywords: &Keywords) -> Option<bool> {
        match self.nodes.as_slice() {
            [Node::Row(test)] => Some(test.holds(row, keywords)),
            [Node::Content(_)] => None,
            _ => self.values(row, keywords, &[]).first().copied().flatten(),
        }
    }

    /// Whether a message matches as far as its row and gist tell; `None`: its content is needed.
    #[must_use]
    pub fn eval_gist(&self, row: &Row, keywords: &Keywords, gist: Gist<'_>) -> Option<bool> {
        if let ([Node::Content(_)], [test]) = (self.nodes.as_slice(), self.tests.as_slice()) {
            return test.by_gist(gist);
        }
        let found: Vec<Option<bool>> = self.tests.iter().map(|test| test.by_gist(gist)).collect();
        self.values(row, keywords, &found).first().copied().flatten()
    }

    /// Whether a message matches as far as its row, and what is kept of it, tell; `None`: the message is needed.
    #[must_use]
    pub fn eval_parsed(&self, row: &Row, keywords: &Keywords, parsed: &Parsed) -> Option<bool> {
        let values = self.values(row, keywords, &[]);
        if let Some(Some(known)) = values.first() {
            return Some(*known);
        }
        let known = |test: &Test| match test {
            Test::Sent(_) => parsed.knows(b"date"),
            Test::Header(name, _) => parsed.knows(name),
            _ => true,
        };
        let header = parsed.header().filter(|_| self.tests.iter().all(known));
        let mut content = Content::new(self, header.unwrap_or_default());
        let wanted = self.wanted(&values);
        if header.is_some() {
            content.read_header(&wanted);
        }
        content.know(parsed);
        let values = self.values(row, keywords, content.found());
        values.first().copied().flatten()
    }

    /// Whether a message matches. `message` is called at most once, and only if the row does not suffice; it gives all
    /// octets of the message, or of its header if [`Program::needs_body`] is false.
    pub fn matches<B: AsRef<[u8]>>(
        &self,
        row: &Row,
        keywords: &Keywords,
        message: impl FnOnce() -> B,
    ) -> bool {
        let values = self.values(row, keywords, &[]);
        if let Some(Some(known)) = values.first() {
            return *known;
        }
        let message = message();
        let mut content = Content::new(self, message.as_ref());
        content.read_header(&self.wanted(&values));
        let values = self.values(row, keywords, content.found());
        if let Some(Some(known)) = values.first() {
            return *known;
        }
        content.read_body(&self.wanted(&values));
        let values = self.values(row, keywords, content.found());
        values.first().copied().flatten().unwrap_or(false)
    }

    /// The value of each node; those of content tests are in `found`.
    fn values(&self, row: &Row, keywords: &Keywords, found: &[Option<bool>]) -> Vec<Option<bool>> {
        let mut values: Vec<Option<bool>> = vec![None; self.nodes.len()];
        for (at, node) in self.nodes.iter().enumerate().rev() {
            let of = |range: &Range<usize>| values.get(range.clone()).unwrap_or_default();
            let value = match node {
                Node::Row(test) => Some(test.holds(row, keywords)),
                Node::Content(test) => found.get(*test).copied().flatten(),
                Node::And(range) => all(of(range).iter().copied()),
                Node::Or(range) => {
                    all(of(range).iter().map(|value| value.map(|value| !value))).map(|none| !none)
                }
                Node::Not(of) => values.get(*of).copied().flatten().map(|value| !value),
            };
            if let Some(slot) = values.get_mut(at) {
                *slot = value;
            }
        }
        values
    }

    /// The content tests whose outcome can still decide, by position.
    fn wanted(&self, values: &[Option<bool>]) -> Vec<bool> {
        let mut open = vec![false; self.nodes.len()];
        let mut wanted = vec![false; self.tests.len()];
        if let Some(root) = open.first_mut() {
            *root = true;
        }
        for (at, (node, value)) in self.nodes.iter().zip(values).enumerate() {
            if value.is_some() || !open.get(at).copied().unwrap_or(false) {
                continue;
            }
            let range = match node {
                Node::And(range) | Node::Or(range) => range.clone(),
                Node::Not(of) => *of..of + 1,
                Node::Content(test) => {
                    if let Some(slot) = wanted.get_mut(*test) {
                        *slot = true;
                    }
                    continue;
                }
                Node::Row(_) => continue,
            };
            open.get_mut(range).unwrap_or_default().fill(true);
        }
        wanted
    }
}

/// Conjunction of what is known: false if one is false, unknown if one is unknown.
fn all(values: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut known = Some(true);
    for value in values {
        match value {
            Some(false) => return Some(false),
            Some(true) => {}
            None => known = None,
        }
    }
    known
}

fn row_test(key: &Key) -> Option<RowTest> {
    Some(match key {
        Key::All => RowTest::Always(true),
        Key::Sequence(_) | Key::UidSequence(_) | Key::Recent | Key::Older(_) | Key::Younger(_) => {
            RowTest::Always(false)
        }
        Key::Uids(uids) => RowTest::Uids(uids.clone()),
        Key::Flag(flags) => RowTest::Flag(*flags),
        Key::Keyword(keyword) => RowTest::Keyword(keyword.clone()),
        Key::Before(day) => RowTest::Days(Days::Before(*day)),
        Key::On(day) => RowTest::Days(Days::On(*day)),
        Key::Since(day) => RowTest::Days(Days::Since(*day)),
        Key::SavedBefore(day) => RowTest::Saved(Days::Before(*day)),
        Key::SavedOn(day) => RowTest::Saved(Days::On(*day)),
        Key::SavedSince(day) => RowTest::Saved(Days::Since(*day)),
        Key::ArrivedUntil(second) => RowTest::ArrivedUntil(*second),
        Key::ArrivedFrom(second) => RowTest::ArrivedFrom(*second),
        Key::ModSeq(modseq) => RowTest::ModSeq(*modseq),
        // What is no id of ours is no message's.
        Key::EmailId(text) if EmailId::parse(text).is_none() => RowTest::Always(false),
        Key::ThreadId(text) if ThreadId::parse(text).is_none() => RowTest::Always(false),
        Key::Larger(size) => RowTest::Larger(*size),
        Key::Smaller(size) => RowTest::Smaller(*size),
        _ => return None,
    })
}

fn content_test(key: &Key) -> Option<Test> {
    Some(match key {
        Key::SentBefore(day) => Test::Sent(Days::Before(*day)),
        Key::SentOn(day) => Test::Sent(Days::On(*day)),
        Key::SentSince(day) => Test::Sent(Days::Since(*day)),
        Key::Header(name, text) => Test::Header(name.as_bytes().to_vec(), Needle::new(text)),
        Key::Body(text) => Test::Body(Needle::new(text)),
        Key::Text(text) => Test::Text(Needle::new(text)),
        Key::EmailId(text) => Test::EmailId(EmailId::parse(text)?),
        Key::ThreadId(text) => Test::ThreadId(ThreadId::parse(text)?),
        Key::HasAttachment => Test::HasAttachment,
        _ => return None,
    })
}

impl RowTest {
    fn holds(&self, row: &Row, keywords: &Keywords) -> bool {
        match self {
            Self::Always(value) => *value,
            Self::Uids(uids) => uids.contains(row.uid),
            Self::Flag(flags) => row.flags.contains(*flags),
            Self::Keyword(keyword) => {
                !row.keywords.is_empty()
                    && keywords
                        .bit(keyword)
                        .is_some_and(|bit| keywords.has(row.keywords, bit))
            }
            Self::Days(days) => days.hold(date::local_day(row.internal_date())),
            Self::Saved(days) => days.hold(i64::from(row.save_date).div_euclid(86_400)),
            Self::ArrivedUntil(second) => row.date <= *second,
            Self::ArrivedFrom(second) => row.date >= *second,
            Self::ModSeq(modseq) => row.modseq >= *modseq,
            Self::Larger(size) => u64::from(row.size) > *size,
            Self::Smaller(size) => u64::from(row.size) < *size,
        }
    }
}
