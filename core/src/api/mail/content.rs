//! A message as a program reads it: its header in JSON, its text, and a list of its attachments.

use core::fmt::Write as _;
use core::ops::Range;

use serde::Serialize;

use super::id::FolderId;
use super::summary::{Known, MAX_ADDRESSES, Person, Summary, people, text};
use crate::mailbox::{Keywords, Row};
use crate::mime::attachment::{file_name, is_attachment};
use crate::mime::decode::{self, TransferEncoding};
use crate::mime::header::Fields;
use crate::mime::part::{Kind, Part, Structure};
use crate::text::encoded_word;

/// Octets of decoded text that are told of a message, of each kind; all of it is to be had part by part.
pub const MAX_TEXT: usize = 1 << 20;
/// Octets of the message that are read for it, of each kind: text may be encoded, three octets for one.
const MAX_READ: u64 = 3 << 20;
/// Attachments that are told of a message.
pub const MAX_ATTACHMENTS: usize = 1_000;
/// Parts that make the text, of each kind.
const MAX_BODIES: usize = 100;
/// References that are told.
const MAX_REFERENCES: usize = 100;
/// Octets of one text of the header.
const MAX_VALUE: usize = 8 * 1024;

/// A message with its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// What lists tell of it, too.
    #[serde(flatten)]
    pub summary: Summary,
    /// EMAILID (RFC 8474 §5.1): of equal messages it is the same, wherever they are.
    pub email_id: String,
    /// Sender.
    pub sender: Vec<Person>,
    /// Reply-To.
    pub reply_to: Vec<Person>,
    /// Bcc.
    pub bcc: Vec<Person>,
    /// Message-ID, with its angle brackets.
    pub message_id: Option<String>,
    /// In-Reply-To: each identification.
    pub in_reply_to: Vec<String>,
    /// References: each identification, the oldest first; of many the last hundred.
    pub references: Vec<String>,
    /// Its plain text; none if it has none.
    pub text: Option<String>,
    /// Its text as HTML, as it stands: whoever shows it has to clean it.
    pub html: Option<String>,
    /// There is more of the text, or of the attachments, than is told here.
    pub truncated: bool,
    /// Its attachments, and what its HTML shows.
    pub attachments: Vec<Attachment>,
}

/// A part that is no text of the message itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Attachment {
    /// Its number: `/messages/{id}/parts/{part}` gives its octets.
    pub part: String,
    /// Media type in lower case.
    #[serde(rename = "type")]
    pub media_type: String,
    /// File name.
    pub name: Option<String>,
    /// About how many octets it has, once decoded.
    pub size: u64,
    /// The HTML shows it: a picture with a Content-ID, say.
    pub inline: bool,
    /// Content-ID without its angle brackets: HTML names it `cid:…`.
    pub content_id: Option<String>,
}

/// What there is in a message, and what has to be read of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Parts of plain text.
    pub text: Vec<usize>,
    /// Parts of HTML.
    pub html: Vec<usize>,
    /// The others.
    pub attachments: Vec<Attachment>,
    /// There is an attachment in the sense of [`is_attachment`].
    pub has_attachments: bool,
    /// Something was left out.
    pub truncated: bool,
}

/// Looks what is in a message. Linear in its parts; what is inside of attached messages is not looked at.
#[must_use]
pub fn plan(structure: &Structure) -> Plan {
    let mut plan = Plan {
        truncated: structure.truncated,
        ..Plan::default()
    };
    let mut at = 0;
    let mut numbers = Numbers::default();
    while let Some(part) = structure.parts.get(at) {
        let number = numbers.of(at, part);
        // The message itself has its kind from its own content.
        let inside = part.kind == Kind::Multipart;
        if !inside {
            plan.take(at, part, number);
        }
        at = if inside {
            at + 1
        } else {
            part.subtree_end.max(at + 1)
        };
    }
    plan
}

impl Plan {
    fn take(&mut self, at: usize, part: &Part, number: String) {
        let attached = is_attachment(part);
        self.has_attachments |= attached;
        let list = match (part.mime.media_type.as_str(), part.mime.subtype.as_str()) {
            ("TEXT", "PLAIN") if !attached => &mut self.text,
            ("TEXT", "HTML") if !attached => &mut self.html,
            _ if self.attachments.len() < MAX_ATTACHMENTS => {
                self.attachments.push(attachment(part, number, attached));
                return;
            }
            _ => {
                self.truncated = true;
                return;
            }
        };
        if list.len() < MAX_BODIES {
            list.push(at);
        } else {
            self.truncated = true;
        }
    }
}

/// Numbers of parts as IMAP has them (RFC 9051 §6.4.5), in the order of the parts.
#[derive(Default)]
struct Numbers {
    /// The multiparts around the next part: where each ends, its own number, and how many children it has had.
    open: Vec<(usize, String, u32)>,
}

impl Numbers {
    fn of(&mut self, at: usize, part: &Part) -> String {
        while self.open.last().is_some_and(|(end, ..)| *end <= at) {
            self.open.pop();
        }
        let number = match self.open.last_mut() {
            None if part.kind == Kind::Multipart => String::new(),
            None => "1".to_owned(),
            Some((_, around, children)) => {
                *children += 1;
                let mut number = around.clone();
                let dot = if number.is_empty() { "" } else { "." };
                let _ = write!(number, "{dot}{children}");
                number
            }
        };
        if part.kind == Kind::Multipart {
            self.open.push((part.subtree_end, number.clone(), 0));
        }
        number
    }
}

fn attachment(part: &Part, number: String, attached: bool) -> Attachment {
    let encoded = part.body_len();
    let size = match TransferEncoding::of(&part.mime) {
        // Four digits for three octets; line ends stand for none.
        TransferEncoding::Base64 => encoded.saturating_sub(2 * part.lines) / 4 * 3,
        TransferEncoding::Identity | TransferEncoding::QuotedPrintable => encoded,
    };
    let id = part.mime.id.as_deref().map(|id| {
        let id = encoded_word::undeclared(id).into_owned();
        id.trim_start_matches('<').trim_end_matches('>').to_owned()
    });
    Attachment {
        part: number,
        media_type: media_type(&part.mime.media_type, &part.mime.subtype),
        name: file_name(&part.mime),
        size,
        inline: !attached,
        content_id: id.filter(|id| !id.is_empty()),
    }
}

/// `text/plain`.
#[must_use]
pub fn media_type(media_type: &str, subtype: &str) -> String {
    format!("{media_type}/{subtype}").to_ascii_lowercase()
}

/// What of a message is to be read for its text: the octets of these parts, each of them cut so that all together are
/// bounded.
#[must_use]
pub fn ranges(structure: &Structure, parts: &[usize]) -> Vec<(usize, Range<u64>)> {
    let mut left = MAX_READ;
    let mut ranges = Vec::new();
    for at in parts {
        let Some(part) = structure.parts.get(*at) else {
            continue;
        };
        let len = part.body_len().min(left);
        left -= len;
        ranges.push((*at, part.body.start..part.body.start + len));
    }
    ranges
}

/// The text of parts whose octets were read, with an empty line between them, and whether it was cut.
#[must_use]
pub fn join(structure: &Structure, bodies: &[(usize, &[u8])]) -> (Option<String>, bool) {
    let mut all: Option<String> = None;
    let mut truncated = false;
    for (at, octets) in bodies {
        let Some(part) = structure.parts.get(*at) else {
            continue;
        };
        truncated |= (octets.len() as u64) < part.body_len();
        let joined = all.get_or_insert_default();
        if !joined.is_empty() {
            joined.push('\n');
        }
        let start = joined.len();
        let room = MAX_TEXT.saturating_sub(start);
        let mut full = false;
        decode::text(&part.mime, octets, |piece| {
            if piece.is_empty() {
                // It begins anew, read in another charset.
                joined.truncate(start);
                full = false;
            }
            let fits = room.saturating_sub(joined.len() - start);
            let end = (0..=fits.min(piece.len()))
                .rev()
                .find(|end| piece.is_char_boundary(*end));
            let taken = end.unwrap_or_default();
            joined.push_str(piece.get(..taken).unwrap_or_default());
            full |= taken < piece.len();
            // To the end in any case: what is wrong in it may say that it is to be read in another charset.
            true
        });
        truncated |= full;
    }
    (all, truncated)
}

/// What was found out of a message.
#[derive(Clone, Debug, Default)]
pub struct Read<'a> {
    /// Its header.
    pub header: &'a [u8],
    /// EMAILID.
    pub email_id: String,
    /// THREADID.
    pub thread_id: String,
    /// The first words.
    pub preview: String,
    /// Plain text.
    pub text: Option<String>,
    /// HTML.
    pub html: Option<String>,
    /// The text was cut.
    pub truncated: bool,
}

impl Message {
    /// Puts together what was found out.
    #[must_use]
    pub fn new(folder: FolderId, row: &Row, keywords: &Keywords, plan: Plan, read: Read<'_>) -> Self {
        let known = Known {
            header: read.header,
            thread_id: Some(read.thread_id),
            preview: read.preview,
            has_attachments: plan.has_attachments,
        };
        let mut message = Self {
            summary: Summary::new(folder, row, keywords, known),
            email_id: read.email_id,
            sender: Vec::new(),
            reply_to: Vec::new(),
            bcc: Vec::new(),
            message_id: None,
            in_reply_to: Vec::new(),
            references: Vec::new(),
            text: read.text,
            html: read.html,
            truncated: plan.truncated || read.truncated,
            attachments: plan.attachments,
        };
        // Lists cut them.
        for list in [
            &mut message.summary.from,
            &mut message.summary.to,
            &mut message.summary.cc,
        ] {
            list.clear();
        }
        message.read_header(read.header);
        message
    }

    fn read_header(&mut self, header: &[u8]) {
        for field in Fields::new(header) {
            if field.is(b"message-id") {
                self.message_id = self.message_id.take().or_else(|| {
                    let id = text(&field, MAX_VALUE);
                    (!id.is_empty()).then_some(id)
                });
                continue;
            }
            let ids = match () {
                () if field.is(b"in-reply-to") => Some(&mut self.in_reply_to),
                () if field.is(b"references") => Some(&mut self.references),
                () => None,
            };
            if let Some(ids) = ids.filter(|ids| ids.is_empty()) {
                *ids = identifications(field.raw);
                continue;
            }
            let list = match () {
                () if field.is(b"from") => &mut self.summary.from,
                () if field.is(b"to") => &mut self.summary.to,
                () if field.is(b"cc") => &mut self.summary.cc,
                () if field.is(b"bcc") => &mut self.bcc,
                () if field.is(b"sender") => &mut self.sender,
                () if field.is(b"reply-to") => &mut self.reply_to,
                () => continue,
            };
            let room = MAX_ADDRESSES.saturating_sub(list.len());
            list.extend(people(&field, room));
        }
    }
}

/// Each `<…>` of a value, without white space; of many the last ones.
fn identifications(raw: &[u8]) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    let mut rest = raw;
    while let Some(start) = memchr::memchr(b'<', rest) {
        let from = rest.get(start..).unwrap_or_default();
        let Some(end) = memchr::memchr(b'>', from) else {
            break;
        };
        let (id, after) = from.split_at_checked(end + 1).unwrap_or((from, &[]));
        let id: String = encoded_word::undeclared(id)
            .chars()
            .filter(|c| !c.is_whitespace() && !c.is_control())
            .collect();
        if id.len() > 2 && id.len() <= MAX_VALUE {
            ids.push(id);
        }
        rest = after;
    }
    let many = ids.len().saturating_sub(MAX_REFERENCES);
    ids.drain(..many);
    ids
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::{KeywordSet, MailboxId, ModSeq, SystemFlags, Uid};
    use crate::mime::scanner::scan;

    fn read(message: &str) -> Message {
        let structure = scan(message.as_bytes());
        let plan = plan(&structure);
        let body = |parts: &[usize]| {
            let ranges = ranges(&structure, parts);
            let octets: Vec<(usize, &[u8])> = ranges
                .iter()
                .map(|(at, range)| {
                    let slice = &message.as_bytes()[range.start as usize..range.end as usize];
                    (*at, slice)
                })
                .collect();
            join(&structure, &octets)
        };
        let ((text, cut), (html, also)) = (body(&plan.text), body(&plan.html));
        let row = Row {
            date: 0,
            modseq: ModSeq(1),
            keywords: KeywordSet(0),
            uid: Uid(1),
            size: u32::try_from(message.len()).expect("small"),
            save_date: 0,
            zone: 0,
            flags: SystemFlags::default(),
        };
        let read = Read {
            header: message.as_bytes(),
            text,
            html,
            truncated: cut || also,
            ..Read::default()
        };
        Message::new(FolderId(MailboxId(1)), &row, &Keywords::default(), plan, read)
    }

    const MIXED: &str = "From: a@x.test\r\nSender: s@x.test\r\nBcc: b@x.test\r\nMessage-ID: <1@x>\r\n\
        In-Reply-To: Your message <0 @x>\r\nReferences: <a@x>\r\n <b@x> none\r\n\
        Content-Type: multipart/mixed; boundary=m\r\n\r\n\
        --m\r\nContent-Type: multipart/related; boundary=r\r\n\r\n\
        --r\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n\
        --a\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=FC=DFe\r\n\
        --a\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Hello</p>\r\n--a--\r\n\
        --r\r\nContent-Type: image/png; name=p.png\r\nContent-ID: <p@x>\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\nAAAA\r\n--r--\r\n\
        --m\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ninner text\r\n\
        --m\r\nContent-Type: text/plain\r\n\r\nfooter\r\n\
        --m\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=a.pdf\r\n\r\npdf\r\n--m--\r\n";

    #[test]
    fn text_and_attachments_are_told_apart() {
        let message = read(MIXED);
        assert_eq!(message.text.as_deref(), Some("Grüße\nfooter"));
        assert_eq!(message.html.as_deref(), Some("<p>Hello</p>"));
        let told: Vec<(&str, &str, Option<&str>, bool)> = message
            .attachments
            .iter()
            .map(|a| {
                (
                    a.part.as_str(),
                    a.media_type.as_str(),
                    a.name.as_deref(),
                    a.inline,
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("1.2", "image/png", Some("p.png"), true),
                ("2", "message/rfc822", None, false),
                ("4", "application/pdf", Some("a.pdf"), false),
            ]
        );
        let picture = &message.attachments[0];
        assert_eq!((picture.size, picture.content_id.as_deref()), (6, Some("p@x")));
        assert!(message.summary.has_attachments && !message.truncated);
        assert_eq!(message.sender[0].address, "s@x.test");
        assert_eq!(message.bcc[0].address, "b@x.test");
        assert_eq!(message.message_id.as_deref(), Some("<1@x>"));
        assert_eq!(message.in_reply_to, ["<0@x>"]);
        assert_eq!(message.references, ["<a@x>", "<b@x>"]);
        assert_eq!(message.summary.from.len(), 1);
    }

    #[test]
    fn messages_of_one_part_and_of_none() {
        let plain = read("Subject: x\r\n\r\ngr\u{fc}n");
        assert_eq!((plain.text.as_deref(), plain.html), (Some("grün"), None));
        let html = read("Content-Type: text/html\r\n\r\n<b>x</b>");
        assert_eq!((html.text, html.html.as_deref()), (None, Some("<b>x</b>")));
        let pdf = read("Content-Type: application/pdf\r\n\r\nx");
        assert_eq!((pdf.text, pdf.attachments[0].part.as_str()), (None, "1"));
        let empty = read("Content-Type: multipart/mixed; boundary=b\r\n\r\n");
        assert_eq!((empty.text, empty.html, empty.attachments.len()), (None, None, 0));
    }

    #[test]
    fn long_texts_and_many_parts_are_cut() {
        let long = read(&format!("Subject: x\r\n\r\n{}", "ü".repeat(MAX_TEXT)));
        assert!(long.truncated);
        assert_eq!(long.text.map(|text| text.len()), Some(MAX_TEXT));
        let part = "--b\r\nContent-Type: image/png\r\n\r\nx\r\n";
        let many = format!(
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n{}--b--\r\n",
            part.repeat(MAX_ATTACHMENTS + 5)
        );
        let many = read(&many);
        assert_eq!((many.attachments.len(), many.truncated), (MAX_ATTACHMENTS, true));
        let ids: String = (0..500).map(|n| format!("<{n}@x>\r\n ")).collect();
        let message = read(&format!("References: {ids}\r\n\r\n"));
        assert_eq!(message.references.last().map(String::as_str), Some("<499@x>"));
        assert_eq!(message.references.len(), MAX_REFERENCES);
    }
}
