//! Which octets of a message a client asks for (RFC 9051 §6.4.5, section-spec).

/// One thing that can be fetched of a message's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Section {
    /// ENVELOPE, rendered as the IMAP response has it.
    Envelope,
    /// BODY without extension data, rendered.
    Body,
    /// BODYSTRUCTURE, rendered.
    BodyStructure,
    /// `BODY[…]<…>`: octets.
    Octets {
        /// Which.
        spec: Spec,
        /// First octet and how many at most.
        partial: Option<(u64, u64)>,
    },
    /// `BINARY[…]<…>`: octets of a part, its transfer encoding undone (RFC 3516 §4.2).
    Binary {
        /// `1.2.3`; empty for the whole message.
        part: Vec<u32>,
        /// First octet and how many at most, of those that are decoded.
        partial: Option<(u64, u64)>,
    },
    /// `BINARY.SIZE[…]`, rendered.
    BinarySize {
        /// `1.2.3`; empty for the whole message.
        part: Vec<u32>,
    },
    /// PREVIEW (RFC 8970), rendered.
    Preview {
        /// NIL if it is not at hand.
        lazy: bool,
    },
    /// EMAILID (RFC 8474 §5.1), rendered.
    EmailId,
    /// THREADID (RFC 8474 §5.2), rendered.
    ThreadId,
}

/// `section-spec`: the octets of a part.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spec {
    /// `1.2.3`; empty for the whole message. No number is 0, at most [`Self::MAX_DEPTH`] numbers.
    pub part: Vec<u32>,
    /// What of it.
    pub text: Text,
}

impl Spec {
    /// Nesting of parts that can be addressed: as deep as the scanner goes.
    pub const MAX_DEPTH: usize = 64;
}

/// `section-msgtext` and friends.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Text {
    /// All of the part (`BODY[]`, `BODY[1]`).
    #[default]
    Whole,
    /// `HEADER`, with the empty line.
    Header,
    /// `HEADER.FIELDS (…)`: names as given.
    HeaderFields(Vec<String>),
    /// `HEADER.FIELDS.NOT (…)`.
    HeaderFieldsNot(Vec<String>),
    /// `TEXT`.
    Text,
    /// `MIME`: the part's own header. Only with a part number.
    Mime,
}
