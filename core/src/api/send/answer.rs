//! What a message takes from the one that it answers or hands on (RFC 5322 §3.6.4, §3.6.5).

use super::draft::{Draft, Mailbox};
use crate::addr::{Address, Domain};
use crate::mime::address::{self, Address as Element};
use crate::mime::header::find;
use crate::text::encoded_word;

/// Identifications in References: of more, the first and the last ones.
const MAX_IDS: usize = 100;
/// Octets of one.
const MAX_ID: usize = 500;
/// Characters of a subject.
const MAX_SUBJECT: usize = 1_900;

/// Fields of the other message that are looked at.
pub const FIELDS: [&str; 6] = [
    "Message-ID",
    "In-Reply-To",
    "References",
    "Subject",
    "From",
    "Reply-To",
];

impl Draft {
    /// It answers the message with this header. What the draft says itself counts more.
    pub fn answer(&mut self, header: &[u8]) {
        let own = ids(header, "Message-ID");
        if self.references.is_empty() {
            let mut thread = ids(header, "References");
            if thread.is_empty() {
                // RFC 5322 §3.6.4: only a single one tells where the thread began.
                let before = ids(header, "In-Reply-To");
                thread = if before.len() == 1 { before } else { Vec::new() };
            }
            thread.extend(own.iter().take(1).cloned());
            if thread.len() > MAX_IDS {
                thread.drain(1..=thread.len() - MAX_IDS);
            }
            self.references = thread;
        }
        if self.in_reply_to.is_empty() {
            self.in_reply_to = own.into_iter().take(1).collect();
        }
        if self.subject.is_none() {
            self.subject = Some(subject(header, "Re: ", &["re:"]));
        }
        if self.to.is_empty() && self.cc.is_empty() && self.bcc.is_empty() {
            let answers = mailboxes(header, "Reply-To");
            self.to = if answers.is_empty() {
                mailboxes(header, "From")
            } else {
                answers
            };
        }
    }

    /// It hands on the message with this header.
    pub fn hand_on(&mut self, header: &[u8]) {
        if self.subject.is_none() {
            self.subject = Some(subject(header, "Fwd: ", &["fwd:", "fw:"]));
        }
    }
}

/// The subject with what is put in front of it, once.
fn subject(header: &[u8], front: &str, known: &[&str]) -> String {
    let old = find(header, b"Subject").map(|field| encoded_word::decode(&field.value()));
    let old: String = old.unwrap_or_default().chars().take(MAX_SUBJECT).collect();
    let lower = old.to_lowercase();
    if known.iter().any(|known| lower.starts_with(known)) {
        return old;
    }
    format!("{front}{old}")
}

/// `<…@…>` in a field, as far as they can be repeated.
fn ids(header: &[u8], name: &str) -> Vec<String> {
    let Some(field) = find(header, name.as_bytes()) else {
        return Vec::new();
    };
    let value = field.value();
    let mut found = Vec::new();
    for piece in value.split(|octet| *octet == b'<').skip(1) {
        let inner = piece.split(|octet| *octet == b'>').next().unwrap_or_default();
        let good = piece.contains(&b'>')
            && (3..=MAX_ID).contains(&inner.len())
            && inner.contains(&b'@')
            && inner.iter().all(u8::is_ascii_graphic);
        if let (true, Ok(inner)) = (good, core::str::from_utf8(inner)) {
            found.push(format!("<{inner}>"));
        }
        if found.len() > 10 * MAX_IDS {
            break;
        }
    }
    found
}

/// The mailboxes of a field that are addresses.
fn mailboxes(header: &[u8], name: &str) -> Vec<Mailbox> {
    let Some(field) = find(header, name.as_bytes()) else {
        return Vec::new();
    };
    let elements = address::parse(field.raw, MAX_IDS).into_iter();
    let mailbox = |element| {
        let Element::Mailbox(mailbox) = element else {
            return None;
        };
        let domain = Domain::parse(core::str::from_utf8(&mailbox.domain).ok()?)?;
        Some(Mailbox {
            name: encoded_word::decode(&mailbox.name).chars().take(200).collect(),
            address: Address::new(core::str::from_utf8(&mailbox.local).ok()?, domain)?,
        })
    };
    elements.filter_map(mailbox).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_goes_to_the_author_and_into_the_thread() {
        let header = "From: =?utf-8?q?J=C3=B6rg?= <j@x.y>\r\nReply-To: List <l@x.y>, a@x.y\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\
            Message-ID: <3@x>\r\nReferences: <1@x>\r\n <2@x> junk <bad id@x> <x\r\nIn-Reply-To: <9@x>\r\n\r\n";
        let mut draft = Draft::default();
        draft.answer(header.as_bytes());
        assert_eq!(draft.references, ["<1@x>", "<2@x>", "<3@x>"]);
        assert_eq!(draft.in_reply_to, ["<3@x>"]);
        assert_eq!(draft.subject.as_deref(), Some("Re: Grüße"));
        let to: Vec<String> = draft
            .to
            .iter()
            .map(|to| format!("{} {}", to.name, to.address))
            .collect();
        assert_eq!(to, ["List l@x.y", " a@x.y"]);

        let mut again = Draft {
            subject: Some("New".to_owned()),
            ..Draft::default()
        };
        again.answer(b"From: j@x.y\r\nSubject: RE: x\r\nIn-Reply-To: <9@x>\r\n\r\n");
        assert_eq!((again.references.len(), again.in_reply_to.len()), (1, 0));
        assert_eq!(again.subject.as_deref(), Some("New"));
        assert_eq!(again.to.len(), 1);
    }

    #[test]
    fn a_long_thread_keeps_its_beginning_and_its_end() {
        let all: String = (0..500).map(|n| format!(" <{n}@x>\r\n")).collect();
        let header = format!("References:{all}Message-ID: <own@x>\r\n\r\n");
        let mut draft = Draft::default();
        draft.answer(header.as_bytes());
        assert_eq!(draft.references.len(), MAX_IDS);
        assert_eq!(draft.references[0], "<0@x>");
        assert_eq!(draft.references[MAX_IDS - 1], "<own@x>");
    }

    #[test]
    fn what_is_handed_on_says_so_once() {
        let subject = |text: &str| {
            let mut draft = Draft::default();
            draft.hand_on(format!("Subject: {text}\r\n\r\n").as_bytes());
            draft.subject
        };
        assert_eq!(subject("x").as_deref(), Some("Fwd: x"));
        assert_eq!(subject("FWD: x").as_deref(), Some("FWD: x"));
        assert_eq!(subject("Fw: x").as_deref(), Some("Fw: x"));
    }
}
