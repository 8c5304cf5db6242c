//! Makes a [`Parsed`] of a message that comes in pieces.

use sha2::{Digest as _, Sha256};

use super::header::HeaderEnd;
use super::parsed::{Draft, EmailId, Parsed};
use super::part::Structure;
use super::preview::preview;
use super::scanner::{Scanner, scan};

/// Octets from the front of a message that are wanted once more in the end: header fields and the preview come from
/// them. A header that is longer has no fields in the [`Parsed`].
pub const FRONT: usize = 64 * 1024;

/// A message being read: its structure is found and its hash is made as the octets pass by.
#[derive(Debug)]
pub struct Digest {
    /// None: there is too much in the message.
    scanner: Option<Scanner>,
    hash: Sha256,
    /// Octets that the scanner may keep.
    bound: usize,
    size: u64,
}

/// What came of it.
#[derive(Debug)]
pub struct Digested {
    /// What may be kept of it.
    pub parsed: Parsed,
    /// All of its structure; `None` if that had more than the bound.
    pub structure: Option<Structure>,
}

impl Digest {
    /// At the start of a message. About `bound` octets of memory are taken at most; a message with so many parts or so
    /// long headers that it needs more gets a [`Parsed`] of its header alone.
    #[must_use]
    pub fn new(bound: usize) -> Self {
        Self {
            scanner: Some(Scanner::new()),
            hash: Sha256::new(),
            bound,
            size: 0,
        }
    }

    /// Takes the next octets of the message.
    pub fn push(&mut self, octets: &[u8]) {
        self.size += octets.len() as u64;
        self.hash.update(octets);
        if let Some(scanner) = &mut self.scanner {
            scanner.push(octets);
            if scanner.weight() > self.bound {
                self.scanner = None;
            }
        }
    }

    /// The message is whole. `front` are its first [`FRONT`] octets, or all if it has fewer; more are not looked at.
    #[must_use]
    pub fn finish(self, front: &[u8]) -> Digested {
        let front = front.get(..FRONT).unwrap_or(front);
        let hash: [u8; 32] = self.hash.finalize().into();
        let id = hash.first_chunk::<20>().copied().map(EmailId);
        let Some(scanner) = self.scanner else {
            let parsed = of_front(front, self.size, id);
            return Digested {
                parsed,
                structure: None,
            };
        };
        let structure = scanner.finish();
        let header_end = structure.header().end;
        let header = usize::try_from(header_end).ok().and_then(|end| front.get(..end));
        let text = preview(&structure, front);
        let parsed = Parsed::new(&Draft {
            complete: true,
            size: self.size,
            header_end: Some(header_end),
            email_id: id,
            envelope: structure.root().and_then(|root| root.envelope.as_deref()),
            structure: Some(&structure),
            header,
            preview: Some(&text),
        });
        Digested {
            parsed,
            structure: Some(structure),
        }
    }
}

/// What is known of a message, of `size` octets, whose header alone was read: its envelope, and where it ends. `header` is
/// all of it, with the empty line, if it has at most [`FRONT`] octets.
#[must_use]
pub fn of_header(envelope: Option<&[u8]>, header_end: u64, header: Option<&[u8]>, size: u64) -> Parsed {
    Parsed::new(&Draft {
        complete: false,
        size,
        header_end: Some(header_end),
        email_id: None,
        envelope,
        structure: None,
        header: header.filter(|header| header.len() <= FRONT),
        preview: None,
    })
}

/// What the front tells of a message whose parts were too many.
fn of_front(front: &[u8], size: u64, email_id: Option<EmailId>) -> Parsed {
    let whole = (front.len() as u64 == size).then_some(size);
    let header_end = HeaderEnd::default().push(front).or(whole);
    let header = header_end.and_then(|end| front.get(..usize::try_from(end).ok()?));
    let structure = header.map(scan);
    let root = structure.as_ref().and_then(Structure::root);
    Parsed::new(&Draft {
        complete: false,
        size,
        header_end,
        email_id,
        envelope: root.and_then(|root| root.envelope.as_deref()),
        structure: None,
        header,
        preview: None,
    })
}
