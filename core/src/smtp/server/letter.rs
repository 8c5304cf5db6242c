//! A message that a user submits by another way than SMTP: the same checks of its octets, the same repairs of its header
//! (RFC 6409 §8), the same lines in front of it (RFC 5321 §4.4).
//!
//! The header is held back until it is whole, because sender and recipients may be told by it alone. What comes out is
//! the message as it is delivered, as slices of what came in.

use core::net::IpAddr;

use sha2::{Digest as _, Sha256};

use super::facts::Facts;
use super::header::{Defaults, Fault, Pass, Summary};
use super::trace::{self, Arrival};
use crate::addr::{AccountName, Address, Domain, ForwardPath, ReversePath};
use crate::chunk::Chunk;
use crate::mime::address::{self, Address as Element};
use crate::mime::header::{Field, Fields, HeaderEnd, find};
use crate::random::Random;
use crate::smtp::data::{BareLf, Decoder, Piece};
use crate::smtp::envelope::{Envelope, Recipient, Wishes};
use crate::time::Unix;

/// Octets of a header.
const MAX_HEADER: usize = 1 << 20;

/// What is known of a message before it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posting {
    /// Our FQDN.
    pub hostname: String,
    /// Who sends it.
    pub account: AccountName,
    /// From where.
    pub peer: IpAddr,
    /// The connection is encrypted.
    pub secure: bool,
    /// The envelope's sender; none: the first address in From, else the account's own.
    pub sender: Option<Address>,
    /// The envelope's recipients; none: those in To, Cc and Bcc.
    pub recipients: Vec<Address>,
    /// Recipients at most.
    pub max_recipients: usize,
    /// Octets at most.
    pub max_size: u64,
    /// Octets of a line at most.
    pub max_line: usize,
    /// When.
    pub now: Unix,
}

/// What comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// Lines of ours, which the author's own copy does not have.
    Front(Chunk),
    /// Lines that only the author's own copy has: Bcc.
    Own(Chunk),
    /// The message.
    Text(Chunk),
}

/// Why it is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadLetter {
    /// More octets than permitted.
    TooLarge,
    /// A header of more than 1 MiB.
    HeaderTooLong,
    /// CR without LF.
    BareCr,
    /// A NUL octet.
    Nul,
    /// A line longer than permitted.
    LongLine,
    /// Too many Received fields.
    Loop,
    /// From or Sender cannot be read without doubt.
    Author,
    /// What stands in this field is no address.
    Recipient(&'static str, String),
    /// More recipients than permitted.
    TooManyRecipients,
}

/// A whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// For its delivery. The recipients may be none.
    pub envelope: Envelope,
    /// Its Message-ID, with angle brackets.
    pub message_id: String,
    /// Of the octets that came.
    pub digest: [u8; 32],
}

/// A message on its way in.
#[derive(Debug)]
pub struct Letter {
    posting: Posting,
    id: String,
    decoder: Decoder,
    hash: Sha256,
    end: HeaderEnd,
    /// The header, until it is whole.
    header: Vec<u8>,
    body: Option<Box<Body>>,
    facts: Facts,
    bad: Option<BadLetter>,
}

/// What is known once the header is whole.
#[derive(Debug)]
struct Body {
    pass: Pass,
    sender: ReversePath,
    recipients: Vec<Address>,
    /// Bcc, as it stood there.
    own: Vec<u8>,
    relay_offset: u64,
    eight_bit: bool,
    /// The header as it comes out.
    out: Vec<u8>,
    in_header: bool,
}

impl Letter {
    /// Begins. The id of the message is drawn here.
    #[must_use]
    pub fn new(posting: Posting, random: &mut Random) -> Self {
        let decoder = Decoder::counted(posting.max_size, posting.max_line);
        Self {
            id: trace::message_id(random, posting.now),
            decoder: decoder.with_bare_lf(BareLf::Normalise),
            posting,
            hash: Sha256::new(),
            end: HeaderEnd::default(),
            header: Vec::new(),
            body: None,
            facts: Facts::default(),
            bad: None,
        }
    }

    /// Takes the next octets.
    pub fn push(&mut self, octets: &Chunk, out: &mut dyn FnMut(Written)) {
        self.hash.update(octets);
        let mut input = octets.clone();
        while let Some(Piece::Text(text)) = self.decoder.next(&mut input) {
            self.text(text, out);
        }
    }

    /// The message is whole.
    ///
    /// # Errors
    /// It is refused: nothing of what came out is to be used.
    pub fn finish(mut self, out: &mut dyn FnMut(Written)) -> Result<Posted, BadLetter> {
        if let Some(line_end) = self.decoder.finish() {
            self.text(line_end, out);
        }
        if self.body.is_none() && self.bad.is_none() {
            let header = core::mem::take(&mut self.header);
            self.begin(&header, out);
        }
        let faults = self.decoder.faults();
        if faults.too_large {
            return Err(BadLetter::TooLarge);
        }
        if let Some(bad) = self.bad {
            return Err(bad);
        }
        let mut body = *self.body.ok_or(BadLetter::HeaderTooLong)?;
        if faults.nul {
            return Err(BadLetter::Nul);
        }
        if faults.bare_line_end {
            return Err(BadLetter::BareCr);
        }
        if faults.long_line {
            return Err(BadLetter::LongLine);
        }
        self.facts.finish();
        let summary = body.finish(out);
        match summary.fault {
            Some(Fault::Loop) => return Err(BadLetter::Loop),
            Some(Fault::BadAuthor) => return Err(BadLetter::Author),
            None => {}
        }
        let foreign = |address: &Address| !address.local.is_ascii();
        let end = HeaderEnd::default().push(&body.out);
        let end = end.and_then(|end| usize::try_from(end).ok());
        let header = body.out.get(..end.unwrap_or(body.out.len())).unwrap_or_default();
        let message_id = find(header, b"Message-ID").map(|field| field.value());
        let envelope = Envelope {
            id: self.id,
            wishes: Wishes {
                utf8: !header.is_ascii() || body.sender.address().is_some_and(foreign),
                tls_not_required: self.facts.tls_not_required(),
                ..Wishes::default()
            },
            reverse_path: body.sender,
            recipients: body
                .recipients
                .into_iter()
                .map(|address| Recipient::new(ForwardPath::Address(address)))
                .collect(),
            account: Some(self.posting.account),
            authors: summary.authors,
            relay_offset: body.relay_offset,
            eight_bit: body.eight_bit,
            hold_until: None,
        };
        Ok(Posted {
            envelope,
            message_id: message_id.map_or_else(String::new, |id| String::from_utf8_lossy(&id).into_owned()),
            digest: self.hash.finalize().into(),
        })
    }

    /// Octets that are text without doubt.
    fn text(&mut self, text: Chunk, out: &mut dyn FnMut(Written)) {
        if self.bad.is_some() {
            return;
        }
        self.facts.push(&text);
        if let Some(body) = &mut self.body {
            return body.push(text, out);
        }
        let before = self.header.len();
        let end = self.end.push(&text).and_then(|end| usize::try_from(end).ok());
        let ours = end.map_or(text.len(), |end| end - before);
        self.header.extend_from_slice(&text.slice(0..ours));
        if end.is_some() {
            let header = core::mem::take(&mut self.header);
            self.begin(&header, out);
            if let Some(body) = &mut self.body {
                body.push(text.slice(ours..text.len()), out);
            }
        } else if self.header.len() > MAX_HEADER {
            self.header = Vec::new();
            self.bad = Some(BadLetter::HeaderTooLong);
        }
    }

    /// The header is whole.
    fn begin(&mut self, front: &[u8], out: &mut dyn FnMut(Written)) {
        match self.read(front) {
            Ok(mut body) => {
                let own = trace::return_path(&body.sender);
                body.relay_offset = own.len() as u64;
                let lines = own + &self.received(&body.recipients);
                out(Written::Front(Chunk::from(lines.into_bytes())));
                if !body.own.is_empty() {
                    out(Written::Own(Chunk::from(core::mem::take(&mut body.own))));
                }
                body.push(Chunk::copy_from(front), out);
                self.body = Some(Box::new(body));
            }
            Err(bad) => self.bad = Some(bad),
        }
    }

    /// Finds sender and recipients.
    fn read(&self, front: &[u8]) -> Result<Body, BadLetter> {
        let posting = &self.posting;
        // What follows a line that is no field is not of the header, as in the pass.
        let fields = || Fields::new(front).take_while(|field| !field.name.is_empty());
        let mut recipients = posting.recipients.clone();
        if recipients.is_empty() {
            recipients = addresses(fields(), &["To", "Cc", "Bcc"])?;
        }
        let hidden = fields().filter(|field| field.is(b"Bcc"));
        let own: Vec<u8> = hidden
            .filter_map(|field| front.get(field.start..field.end))
            .flatten()
            .copied()
            .collect();
        let mut seen = std::collections::BTreeSet::new();
        recipients.retain(|address| seen.insert(address.canonical()));
        if recipients.len() > posting.max_recipients {
            return Err(BadLetter::TooManyRecipients);
        }
        let account = own_address(&posting.account);
        let from = || {
            let field = fields().find(|field| field.is(b"From"))?;
            super::authors::addresses(field.raw).ok()?.into_iter().next()
        };
        let sender = posting.sender.clone().or_else(from).or_else(|| account.clone());
        let defaults = Defaults {
            from: account,
            date: trace::date(posting.now),
            message_id: format!("<{}@{}>", self.id, posting.hostname),
            resent_message_id: format!("<{}.resent@{}>", self.id, posting.hostname),
            utf8: false,
        };
        Ok(Body {
            pass: Pass::new(&posting.hostname, Some(defaults)),
            sender: sender.map_or(ReversePath::Null, ReversePath::Address),
            recipients,
            own,
            relay_offset: 0,
            eight_bit: false,
            out: Vec::new(),
            in_header: true,
        })
    }

    fn received(&self, recipients: &[Address]) -> String {
        let posting = &self.posting;
        let helo = Domain::literal(posting.peer);
        let only = match recipients {
            [only] if only.local.is_ascii() => Some(ForwardPath::Address(only.clone())),
            _ => None,
        };
        trace::received(&Arrival {
            hostname: &posting.hostname,
            peer: posting.peer,
            peer_name: None,
            helo: &helo,
            extended: false,
            lmtp: false,
            http: Some(posting.secure),
            tls: None,
            authenticated: true,
            id: &self.id,
            utf8: false,
            priority: 0,
            only: only.as_ref(),
            now: posting.now,
        })
    }
}

impl Body {
    fn push(&mut self, text: Chunk, out: &mut dyn FnMut(Written)) {
        let (header, in_header, eight_bit) = (&mut self.out, self.in_header, &mut self.eight_bit);
        self.pass
            .push(text, |chunk| written(chunk, header, in_header, eight_bit, out));
        self.in_header = false;
    }

    fn finish(&mut self, out: &mut dyn FnMut(Written)) -> Summary {
        let (header, eight_bit) = (&mut self.out, &mut self.eight_bit);
        self.pass
            .finish(|chunk| written(chunk, header, true, eight_bit, out))
    }
}

/// The first push has all of the header in it; what a header without an end gets comes with the end.
fn written(
    chunk: Chunk,
    header: &mut Vec<u8>,
    in_header: bool,
    eight_bit: &mut bool,
    out: &mut dyn FnMut(Written),
) {
    *eight_bit |= !chunk.is_ascii();
    if in_header {
        header.extend_from_slice(&chunk);
    }
    out(Written::Text(chunk));
}

/// The account's own address, if a header may have it.
fn own_address(account: &AccountName) -> Option<Address> {
    let (local, domain) = account.parts();
    Domain::parse(domain).and_then(|domain| Address::new(local, domain))
}

/// The addresses in fields of these names.
fn addresses<'a>(
    fields: impl Iterator<Item = Field<'a>>,
    names: &[&'static str],
) -> Result<Vec<Address>, BadLetter> {
    /// One more than anybody may send to.
    const MAX: usize = 10_000;
    let mut found = Vec::new();
    for field in fields {
        let Some(name) = names.iter().find(|name| field.is(name.as_bytes())) else {
            continue;
        };
        for element in address::parse(field.raw, MAX) {
            let Element::Mailbox(mailbox) = element else {
                continue;
            };
            let local = core::str::from_utf8(&mailbox.local).ok();
            let domain = core::str::from_utf8(&mailbox.domain).ok().and_then(Domain::parse);
            let address = local
                .zip(domain)
                .and_then(|(local, domain)| Address::new(local, domain));
            found.push(address.ok_or_else(|| {
                let text = [&mailbox.local[..], b"@", &mailbox.domain].concat();
                let text = String::from_utf8_lossy(&text).chars().take(100).collect();
                BadLetter::Recipient(name, text)
            })?);
            if found.len() > MAX {
                return Err(BadLetter::TooManyRecipients);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
