//! What clients ask of a message again and again, as one piece of octets that can be kept: envelope and structure as
//! IMAP renders them, where the parts are, the common header fields, the first words, and a hash.
//!
//! A [`Parsed`] is a pure function of the message, so it is right for ever. What it does not have (because it was too
//! large, or only the header was read) is told from what the message does not have: every accessor gives `None` for "not
//! known here", and then the message itself is to be read.
//!
//! ```text
//!  0  1  version, 1
//!  1  1  1 if all of the message was read, else 0: only then is what is missing here too large, or not there
//!  2  2  0
//!  4  4  octets of the message
//!  8  4  octets of its header with the empty line, or 2^32 - 1 if that is not known
//! 12 32  for each section: its octets, or 2^32 - 1 if it is not known
//! 44     the sections, one behind the other:
//!        EMAILID (20 octets) · ENVELOPE · BODY · BODYSTRUCTURE · places of the parts (24 octets each)
//!        · fields that are kept, as they stand, and the empty line · hashes of the names of all other fields (4 octets
//!        each) · preview
//! ```
//!
//! Numbers are little-endian. All together has at most [`Parsed::MAX`] octets.

use core::fmt;
use core::ops::Range;

use sha2::{Digest as _, Sha256};

use super::attachment::is_attachment;
use super::decode::TransferEncoding;
use super::header::{Field, Fields, find};
use super::locate::filter_fields;
use super::part::{Kind, Place, Places, Structure};
use super::structure::body_structure;
use crate::chunk::Chunk;
use crate::text::date;
use crate::time::DateTime;

const VERSION: u8 = 1;
/// Octets before the sections.
const HEAD: usize = 44;
const SECTIONS: usize = 8;
const UNKNOWN: u32 = u32::MAX;
/// Octets of one part's place.
const PLACE: usize = 24;
/// What an octet of a part's place says: 0 of a part at which nobody looked.
const NO_ATTACHMENT: u8 = 1;
const ATTACHMENT: u8 = 2;
/// Octets that the fields of one name may have, to be kept.
const MAX_FIELD: usize = 8 * 1024;
/// Octets that all kept fields may have.
const MAX_FIELDS: usize = 24 * 1024;
/// Names of fields that are not kept: with more of them, fields are not known at all.
const MAX_NAMES: usize = 256;

/// The fields that are kept: those of lists of messages, of threads, of replies. (Not those of delivery: they are large.)
const KEPT: [&[u8]; 27] = [
    b"date",
    b"from",
    b"to",
    b"cc",
    b"subject",
    b"message-id",
    b"references",
    b"in-reply-to",
    b"content-type",
    b"list-id",
    b"bcc",
    b"sender",
    b"reply-to",
    b"newsgroups",
    b"followup-to",
    b"content-transfer-encoding",
    b"content-description",
    b"mime-version",
    b"priority",
    b"x-priority",
    b"importance",
    b"list-post",
    b"list-subscribe",
    b"list-unsubscribe",
    b"disposition-notification-to",
    b"mail-followup-to",
    b"x-label",
];

/// EMAILID (RFC 8474 §5.1): the first 160 bits of the SHA-256 of the message's octets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EmailId(pub [u8; 20]);

impl EmailId {
    /// Of a message, which is all of these octets.
    #[must_use]
    pub fn of(message: &[u8]) -> Self {
        let hash: [u8; 32] = Sha256::digest(message).into();
        Self(hash.first_chunk().copied().unwrap_or_default())
    }

    /// Reads what `Display` writes; case counts, as in every object id.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        digits_of(text.strip_prefix('M')?).map(Self)
    }
}

/// Twenty octets in lower-case hexadecimal digits.
pub(super) fn digits_of(text: &str) -> Option<[u8; 20]> {
    let mut id = [0; 20];
    if text.len() != 2 * id.len() {
        return None;
    }
    for (slot, pair) in id.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        for digit in pair {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            *slot = *slot << 4 | value;
        }
    }
    Some(id)
}

impl fmt::Display for EmailId {
    /// `objectid`: `M` and lower-case hexadecimal digits. The letter keeps it apart from a THREADID.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("M")?;
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for EmailId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is known of a message without reading it.
#[derive(Clone, PartialEq, Eq)]
pub struct Parsed {
    octets: Chunk,
    sections: [Option<(u32, u32)>; SECTIONS],
}

#[derive(Clone, Copy)]
enum Section {
    EmailId,
    Envelope,
    Body,
    BodyStructure,
    Places,
    Fields,
    Names,
    Preview,
}

/// What a [`Parsed`] is made of.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) complete: bool,
    pub(super) size: u64,
    pub(super) header_end: Option<u64>,
    pub(super) email_id: Option<EmailId>,
    pub(super) envelope: Option<&'a [u8]>,
    pub(super) structure: Option<&'a Structure>,
    /// The header with its empty line, if all of it is at hand.
    pub(super) header: Option<&'a [u8]>,
    pub(super) preview: Option<&'a str>,
}

impl Parsed {
    /// Octets at most: what does not fit is not known here.
    pub const MAX: usize = 64 * 1024;

    pub(super) fn new(draft: &Draft<'_>) -> Self {
        let mut left = Self::MAX - HEAD;
        let mut fits = |octets: Option<Vec<u8>>| {
            let octets = octets.filter(|octets| octets.len() <= left)?;
            left -= octets.len();
            Some(octets)
        };
        let id = fits(draft.email_id.map(|id| id.0.to_vec()));
        let preview = fits(draft.preview.map(|text| text.as_bytes().to_vec()));
        let kept = draft.header.and_then(keep_fields);
        let (fields, names) = kept.map_or((None, None), |(fields, names)| {
            (fits(Some(fields)), fits(Some(names)))
        });
        let envelope = fits(draft.envelope.map(<[u8]>::to_vec));
        // A structure with so many parts is not rendered to find out that it is too large.
        let structure = draft
            .structure
            .filter(|structure| structure.parts.len() * PLACE <= Self::MAX);
        let places = fits(structure.and_then(encode_places));
        let extended = fits(structure.map(|structure| body_structure(structure, true)));
        let body = fits(structure.map(|structure| body_structure(structure, false)));
        let sections = [id, envelope, body, extended, places, fields, names, preview];
        let mut octets = Vec::with_capacity(Self::MAX - left);
        octets.extend([VERSION, u8::from(draft.complete), 0, 0]);
        for number in [Some(draft.size), draft.header_end] {
            let number = number.and_then(|number| u32::try_from(number).ok());
            octets.extend(number.unwrap_or(UNKNOWN).to_le_bytes());
        }
        for section in &sections {
            let len = section
                .as_ref()
                .and_then(|octets| u32::try_from(octets.len()).ok());
            octets.extend(len.unwrap_or(UNKNOWN).to_le_bytes());
        }
        sections
            .iter()
            .flatten()
            .for_each(|section| octets.extend(section));
        let octets = Chunk::from(octets);
        let sections = read_sections(&octets).unwrap_or([None; SECTIONS]);
        Self { octets, sections }
    }

    /// Reads the octets of [`Parsed::octets`]. `None`: it is of another version, or broken. It cannot be told whether it
    /// is of the message that it is taken for: whoever keeps it sees to that.
    #[must_use]
    pub fn decode(octets: Chunk) -> Option<Self> {
        if octets.len() > Self::MAX || !matches!(octets.as_slice(), [VERSION, 0 | 1, 0, 0, ..]) {
            return None;
        }
        let sections = read_sections(&octets)?;
        let parsed = Self { octets, sections };
        let sound = |section, unit: usize| {
            let octets = parsed.section(section);
            octets.is_none_or(|octets| octets.len().is_multiple_of(unit))
        };
        let id = parsed.section(Section::EmailId);
        (id.is_none_or(|id| id.len() == 20) && sound(Section::Places, PLACE) && sound(Section::Names, 4))
            .then_some(parsed)
    }

    /// What is to be kept.
    #[must_use]
    pub fn octets(&self) -> &Chunk {
        &self.octets
    }

    /// The same, for keeping: it may lie in a buffer with many others.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self {
            octets: self.octets.detach(),
            sections: self.sections,
        }
    }

    /// Whether all of the message was read for it: making it anew would tell no more.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.octets.get(1) == Some(&1)
    }

    /// Octets of the message: RFC822.SIZE.
    #[must_use]
    pub fn size(&self) -> u64 {
        number(&self.octets, 4).into()
    }

    /// Octets of the message's header with its empty line.
    #[must_use]
    pub fn header_end(&self) -> Option<u64> {
        let end = number(&self.octets, 8);
        (end != UNKNOWN).then(|| end.into())
    }

    /// EMAILID.
    #[must_use]
    pub fn email_id(&self) -> Option<EmailId> {
        self.section(Section::EmailId)?.try_into().ok().map(EmailId)
    }

    /// ENVELOPE as rendered.
    #[must_use]
    pub fn envelope(&self) -> Option<Chunk> {
        self.chunk(Section::Envelope)
    }

    /// BODYSTRUCTURE as rendered if `extended`, else BODY.
    #[must_use]
    pub fn body_structure(&self, extended: bool) -> Option<Chunk> {
        self.chunk(if extended {
            Section::BodyStructure
        } else {
            Section::Body
        })
    }

    /// Where the parts are.
    #[must_use]
    pub fn parts(&self) -> Option<PartsOf<'_>> {
        Some(PartsOf {
            size: self.size(),
            table: self.section(Section::Places)?,
        })
    }

    /// The preview (RFC 8970); empty if the message has no words.
    #[must_use]
    pub fn preview(&self) -> Option<&str> {
        core::str::from_utf8(self.section(Section::Preview)?).ok()
    }

    /// Whether all fields of this name are in [`Parsed::header`], or there is none of it in the message.
    #[must_use]
    pub fn knows(&self, name: &[u8]) -> bool {
        let Some(others) = self
            .section(Section::Names)
            .filter(|_| self.section(Section::Fields).is_some())
        else {
            return false;
        };
        let hash = name_hash(name).to_le_bytes();
        name.is_empty() || !others.chunks_exact(4).any(|other| other == hash)
    }

    /// The header with only those fields that are known, as they stand and in their order, and the empty line if it has
    /// one. It means something for names that are [known](Parsed::knows).
    #[must_use]
    pub fn header(&self) -> Option<&[u8]> {
        self.section(Section::Fields)
    }

    /// `HEADER.FIELDS` of these names, octet for octet what [`filter_fields`] gives of the message.
    #[must_use]
    pub fn header_fields(&self, names: &[String]) -> Option<Vec<u8>> {
        let known = names.iter().all(|name| self.knows(name.as_bytes()));
        self.header()
            .filter(|_| known)
            .map(|header| filter_fields(header, names, false))
    }

    /// The first field of this name, in any case. `None`: not known; `Some(None)`: there is none.
    #[must_use]
    pub fn field(&self, name: &[u8]) -> Option<Option<Field<'_>>> {
        let header = self.header().filter(|_| self.knows(name))?;
        Some(find(header, name))
    }

    /// What the Date field says. `None`: not known; `Some(None)`: there is none, or it is no date.
    #[must_use]
    pub fn sent(&self) -> Option<Option<DateTime>> {
        let field = self.field(b"date")?;
        Some(field.and_then(|field| date::parse_header_date(field.raw)))
    }

    fn range(&self, section: Section) -> Option<Range<usize>> {
        let (start, end) = self.sections.get(section as usize).copied().flatten()?;
        Some(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
    }

    fn section(&self, section: Section) -> Option<&[u8]> {
        self.octets.get(self.range(section)?)
    }

    fn chunk(&self, section: Section) -> Option<Chunk> {
        self.range(section).map(|range| self.octets.slice(range))
    }
}

impl fmt::Debug for Parsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parsed")
            .field("octets", &self.octets.len())
            .field("complete", &self.is_complete())
            .field("size", &self.size())
            .field("email_id", &self.email_id())
            .finish_non_exhaustive()
    }
}

/// Where the parts of a message are, read as they are asked for.
#[derive(Clone, Copy, Debug)]
pub struct PartsOf<'a> {
    size: u64,
    table: &'a [u8],
}

impl PartsOf<'_> {
    /// How many parts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len() / PLACE
    }

    /// There is always the message itself.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The transfer encoding of a part, for BINARY (RFC 3516).
    #[must_use]
    pub fn encoding(&self, part: usize) -> Option<TransferEncoding> {
        match self.entry(part)?.get(21)? {
            0 => Some(TransferEncoding::Identity),
            1 => Some(TransferEncoding::Base64),
            _ => Some(TransferEncoding::QuotedPrintable),
        }
    }

    /// Whether one of them is an attachment ([`super::attachment`]). `None`: who made this did not look.
    #[must_use]
    pub fn has_attachment(&self) -> Option<bool> {
        let mut known = true;
        for entry in self.table.chunks_exact(PLACE) {
            match entry.get(22) {
                Some(&ATTACHMENT) => return Some(true),
                Some(&NO_ATTACHMENT) => {}
                _ => known = false,
            }
        }
        known.then_some(false)
    }

    fn entry(&self, part: usize) -> Option<&[u8]> {
        self.table.chunks_exact(PLACE).nth(part)
    }
}

impl Places for PartsOf<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn place(&self, part: usize) -> Option<Place> {
        let entry = self.entry(part)?;
        let at = |offset| u64::from(number(entry, offset));
        Some(Place {
            kind: match entry.get(20)? {
                0 => Kind::Leaf,
                1 => Kind::Opaque,
                2 => Kind::Multipart,
                _ => Kind::Message,
            },
            subtree_end: usize::try_from(at(0)).ok()?,
            header: at(4)..at(8),
            body: at(12)..at(16),
        })
    }
}

/// The parts' places. `None`: the message is larger than any that is stored.
fn encode_places(structure: &Structure) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(structure.parts.len() * PLACE);
    for part in &structure.parts {
        let offsets = [part.header.start, part.header.end, part.body.start, part.body.end];
        out.extend(u32::try_from(part.subtree_end).ok()?.to_le_bytes());
        for offset in offsets {
            out.extend(u32::try_from(offset).ok()?.to_le_bytes());
        }
        let kind = match part.kind {
            Kind::Leaf => 0,
            Kind::Opaque => 1,
            Kind::Multipart => 2,
            Kind::Message => 3,
        };
        let encoding = match TransferEncoding::of(&part.mime) {
            TransferEncoding::Identity => 0,
            TransferEncoding::Base64 => 1,
            TransferEncoding::QuotedPrintable => 2,
        };
        let class = if is_attachment(part) {
            ATTACHMENT
        } else {
            NO_ATTACHMENT
        };
        out.extend([kind, encoding, class, 0]);
    }
    Some(out)
}

/// The fields that are kept, and the hashes of the other names; of each name all fields are kept, or none.
fn keep_fields(header: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut sizes = [0_usize; KEPT.len()];
    let kept = |field: &Field<'_>| KEPT.iter().position(|name| field.is(name));
    for field in Fields::new(header) {
        if let Some(size) = kept(&field).and_then(|at| sizes.get_mut(at)) {
            *size += field.end - field.start;
        }
    }
    let mut left = MAX_FIELDS;
    let taken = sizes.map(|size| {
        let fits = size <= MAX_FIELD.min(left);
        left -= if fits { size } else { 0 };
        fits
    });
    let (mut out, mut hashes) = (Vec::new(), Vec::new());
    let mut fields = Fields::new(header);
    for field in fields.by_ref() {
        let taken = kept(&field).and_then(|at| taken.get(at).copied());
        if taken == Some(true) {
            out.extend_from_slice(header.get(field.start..field.end)?);
        } else if !field.name.is_empty() {
            let hash = name_hash(field.name);
            if !hashes.contains(&hash) {
                hashes.push(hash);
            }
            if hashes.len() > MAX_NAMES {
                return None;
            }
        }
    }
    let rest = fields.rest();
    let empty = [&b"\r\n"[..], b"\n"]
        .into_iter()
        .find(|line| rest.starts_with(line));
    out.extend_from_slice(empty.unwrap_or_default());
    Some((out, hashes.into_iter().flat_map(u32::to_le_bytes).collect()))
}

/// FNV-1a of a name in lower case. Two names with one hash cost a look at the message.
fn name_hash(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |hash, octet| {
        (hash ^ u32::from(octet.to_ascii_lowercase())).wrapping_mul(0x0100_0193)
    })
}

/// Where the sections are; `None` if they do not fill the octets exactly.
fn read_sections(octets: &[u8]) -> Option<[Option<(u32, u32)>; SECTIONS]> {
    let lengths = octets.get(12..HEAD)?;
    let mut sections = [None; SECTIONS];
    let mut at = u32::try_from(HEAD).ok()?;
    for (section, len) in sections.iter_mut().zip(lengths.chunks_exact(4)) {
        let len = number(len, 0);
        if len != UNKNOWN {
            let end = at.checked_add(len)?;
            *section = Some((at, end));
            at = end;
        }
    }
    (usize::try_from(at) == Ok(octets.len())).then_some(sections)
}

/// The number at an offset; 0 beyond the end.
fn number(octets: &[u8], at: usize) -> u32 {
    let number = octets.get(at..).and_then(<[u8]>::first_chunk);
    number.map_or(0, |number| u32::from_le_bytes(*number))
}
