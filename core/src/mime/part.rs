//! The structure of a message: its parts as ranges of the raw octets.

use core::ops::Range;

use super::content::Mime;
use super::section::Spec;

/// The parts of a message, every part before its children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structure {
    /// Never empty: the first is the message itself.
    pub parts: Vec<Part>,
    /// Octets of the message.
    pub size: u64,
    /// There were more parts than [`Structure::MAX_PARTS`]: the rest is seen as epilogue.
    pub truncated: bool,
}

impl Structure {
    /// Parts of one message, the message itself and embedded messages counted.
    pub const MAX_PARTS: usize = 10_000;

    /// Nesting of parts; a multipart or message at this depth is not looked into. One part number is needed for each
    /// level at most, so every part can be addressed.
    pub const MAX_DEPTH: usize = Spec::MAX_DEPTH;

    /// The message itself.
    #[must_use]
    pub fn root(&self) -> Option<&Part> {
        self.parts.first()
    }

    /// The positions of a part's children, in order.
    pub fn children(&self, part: usize) -> impl Iterator<Item = usize> + '_ {
        self.children_of(part)
    }

    /// The octets that come in front of a message's body and its empty line.
    #[must_use]
    pub fn header(&self) -> Range<u64> {
        self.root().map_or(0..0, |root| root.header.clone())
    }
}

/// Where a message's parts are, and how they are nested: what is needed to find a section. Every part comes before its
/// children, the first is the message itself.
pub trait Places {
    /// Octets of the message.
    fn size(&self) -> u64;

    /// The part at this position; `None` beyond the last.
    fn place(&self, part: usize) -> Option<Place>;

    /// The positions of a part's children, in order.
    fn children_of(&self, part: usize) -> impl Iterator<Item = usize> + '_ {
        let end = self.place(part).map_or(0, |part| part.subtree_end);
        let mut next = part + 1;
        core::iter::from_fn(move || {
            let child = next;
            (child < end).then(|| {
                // At least one on, whatever the table says: an iterator that ends.
                next = self
                    .place(child)
                    .map_or(end, |part| part.subtree_end.max(child + 1));
                child
            })
        })
    }
}

/// Where a part is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// How it is looked into.
    pub kind: Kind,
    /// One past the last part inside it.
    pub subtree_end: usize,
    /// Its header with the empty line.
    pub header: Range<u64>,
    /// Its body.
    pub body: Range<u64>,
}

impl Places for Structure {
    fn size(&self) -> u64 {
        self.size
    }

    fn place(&self, part: usize) -> Option<Place> {
        self.parts.get(part).map(|part| Place {
            kind: part.kind,
            subtree_end: part.subtree_end,
            header: part.header.clone(),
            body: part.body.clone(),
        })
    }
}

/// How a part is looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Not at all.
    Leaf,
    /// A multipart that would be nested too deep, or a message without room for its part: not at all.
    Opaque,
    /// As parts between boundaries; there may be none.
    Multipart,
    /// As a message: the only child is that message itself.
    Message,
}

/// A part, or a message embedded in one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The part around it.
    pub parent: Option<usize>,
    /// One past the last part inside it.
    pub subtree_end: usize,
    /// How it is looked into.
    pub kind: Kind,
    /// Its header with the empty line. For a message: the message's header.
    pub header: Range<u64>,
    /// Its body, without the line end that belongs to the delimiter behind it (RFC 2046 §5.1.1).
    pub body: Range<u64>,
    /// Lines of the body: the LFs in it.
    pub lines: u64,
    /// What is unusual in the header.
    pub header_marks: Marks,
    /// What is unusual in the body, the line end before the delimiter included.
    pub body_marks: Marks,
    /// What its header says.
    pub mime: Mime,
    /// For a message: its envelope as rendered by [`super::envelope::envelope`].
    pub envelope: Option<Vec<u8>>,
}

impl Part {
    /// Octets of the body.
    #[must_use]
    pub fn body_len(&self) -> u64 {
        self.body.end.saturating_sub(self.body.start)
    }
}

/// Octets that not every transport takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Octets above 0x7f.
    pub eight_bit: bool,
    /// NUL.
    pub nul: bool,
    /// CR without LF.
    pub bare_cr: bool,
    /// LF without CR.
    pub bare_lf: bool,
}
