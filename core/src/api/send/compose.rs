//! From a [`Draft`] to octets: header and body of a message (RFC 5322, RFC 2045 to RFC 2049).

use super::draft::{Attachment, Draft, Mailbox, Priority};
use crate::mime::build;
use crate::mime::encode::{Entity, parameter};
use crate::random::Random;
use crate::text::date::write_header_date;

/// Octets of a header line, for the folding of lists.
const LINE: usize = 78;

/// The message. From, Date and Message-ID may be missing, and are given to it when it is submitted, which takes Bcc away. An
/// original that is handed on comes as the last part.
#[must_use]
pub fn compose(draft: &Draft, original: Option<&[u8]>, random: &mut Random) -> Vec<u8> {
    let mut out = Vec::with_capacity(
        1024 + draft
            .attachments
            .iter()
            .map(|file| file.content.len() * 3 / 2)
            .sum::<usize>(),
    );
    mailboxes(&mut out, "From", &draft.from);
    mailboxes(&mut out, "Sender", draft.sender.as_slice());
    mailboxes(&mut out, "To", &draft.to);
    mailboxes(&mut out, "Cc", &draft.cc);
    mailboxes(&mut out, "Bcc", &draft.bcc);
    if draft.to.is_empty() && draft.cc.is_empty() {
        // Some readers take a message without a recipient for spam; a group may be empty (RFC 5322 §3.4).
        out.extend_from_slice(b"To: undisclosed-recipients:;\r\n");
    }
    mailboxes(&mut out, "Reply-To", &draft.reply_to);
    build::header(&mut out, "Subject", draft.subject.as_deref().unwrap_or_default());
    if let Some(date) = draft.date {
        out.extend_from_slice(b"Date: ");
        write_header_date(&mut out, date);
        out.extend_from_slice(b"\r\n");
    }
    for (name, ids) in [
        ("In-Reply-To", &draft.in_reply_to),
        ("References", &draft.references),
    ] {
        if !ids.is_empty() {
            list(&mut out, name, ids.iter().map(String::as_str), "");
        }
    }
    match draft.priority {
        Priority::High => build::header(&mut out, "Importance", "high"),
        Priority::Low => build::header(&mut out, "Importance", "low"),
        Priority::Normal => {}
    }
    for (name, value) in &draft.headers {
        build::header(&mut out, name, value);
    }
    out.extend_from_slice(b"MIME-Version: 1.0\r\n");
    body(draft, original, random).write(&mut out);
    out
}

/// `mixed (related (alternative (text, html), inline…), attachments…, original)`, as far as there are such.
fn body(draft: &Draft, original: Option<&[u8]>, random: &mut Random) -> Entity {
    let mut alternatives = Vec::new();
    if draft.text.is_some() || draft.html.is_none() {
        alternatives.push(Entity::text("plain", draft.text.as_deref().unwrap_or_default()));
    }
    let shown = |file: &&Attachment| draft.html.is_some() && file.content_id.is_some();
    if let Some(html) = &draft.html {
        let mut related = vec![Entity::text("html", html)];
        related.extend(draft.attachments.iter().filter(shown).map(file));
        // RFC 2387 §3.1: the type of the root is told.
        alternatives.push(Entity::multipart("related; type=\"text/html\"", related, random));
    }
    let mut parts = vec![Entity::multipart("alternative", alternatives, random)];
    parts.extend(draft.attachments.iter().filter(|one| !shown(one)).map(file));
    if let Some(original) = original {
        let disposition = "attachment; filename=\"forwarded message.eml\"";
        parts.push(Entity::message(original).with("Content-Disposition", disposition));
    }
    Entity::multipart("mixed", parts, random)
}

fn file(file: &Attachment) -> Entity {
    let is_message = file.content_type.eq_ignore_ascii_case("message/rfc822");
    let entity = if is_message {
        Entity::message(&file.content)
    } else {
        Entity::octets(&file.content_type, &file.content)
    };
    let mut disposition = if file.inline { "inline" } else { "attachment" }.to_owned();
    if !file.filename.is_empty() {
        disposition += &parameter("filename", &file.filename);
    }
    let entity = entity.with("Content-Disposition", disposition);
    match &file.content_id {
        Some(id) => entity.with("Content-ID", format!("<{id}>")),
        None => entity,
    }
}

/// A list of mailboxes; nothing if it is empty. Addresses stay as they are, also beyond ASCII (RFC 6532 §3.2): only names
/// can be encoded.
fn mailboxes(out: &mut Vec<u8>, name: &str, all: &[Mailbox]) {
    if !all.is_empty() {
        list(out, name, all.iter().map(mailbox), ",");
    }
}

/// As a header has it.
fn mailbox(mailbox: &Mailbox) -> String {
    if mailbox.name.trim().is_empty() {
        mailbox.address.to_string()
    } else {
        format!("{} <{}>", build::phrase(&mailbox.name), mailbox.address)
    }
}

/// A field whose value is folded between elements, and between the words of an element that is too long.
fn list<T: AsRef<str>>(out: &mut Vec<u8>, name: &str, elements: impl Iterator<Item = T>, separator: &str) {
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    let mut column = name.len() + 1;
    let mut elements = elements.peekable();
    while let Some(element) = elements.next() {
        let mut text = element.as_ref().to_owned();
        if elements.peek().is_some() {
            text.push_str(separator);
        }
        let whole = column + 1 + text.len() <= LINE || text.len() < LINE;
        let words: Vec<&str> = if whole {
            vec![&text]
        } else {
            text.split_inclusive(' ').collect()
        };
        for word in words {
            let word = word.strip_suffix(' ').unwrap_or(word);
            if column > name.len() + 1 && column + 1 + word.len() > LINE {
                out.extend_from_slice(b"\r\n");
                column = 0;
            }
            out.push(b' ');
            out.extend_from_slice(word.as_bytes());
            column += 1 + word.len();
        }
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::addr::Address;
    use crate::mime::address::{self, Address as Element};
    use crate::mime::decode::TransferEncoding;
    use crate::mime::header::{Fields, find};
    use crate::mime::scanner::scan;
    use crate::text::encoded_word;

    fn someone(name: &str, address: &str) -> Mailbox {
        Mailbox {
            name: name.to_owned(),
            address: Address::parse(address).expect("address"),
        }
    }

    fn written(draft: &Draft) -> Vec<u8> {
        compose(draft, None, &mut Random::from_seed([5; 32]))
    }

    /// Depth and subtype of each part.
    fn shape(message: &[u8]) -> Vec<String> {
        let structure = scan(message);
        structure
            .parts
            .iter()
            .map(|part| part.mime.subtype.to_lowercase())
            .collect()
    }

    fn attachment(content_id: Option<&str>) -> Attachment {
        Attachment {
            filename: "Bild ä.png".to_owned(),
            content_type: "image/png".to_owned(),
            content: vec![0, 1, 255],
            content_id: content_id.map(str::to_owned),
            inline: content_id.is_some(),
        }
    }

    #[test]
    fn the_tree_has_no_more_levels_than_it_needs() {
        let text = Some("a".to_owned());
        let html = Some("<p>a</p>".to_owned());
        let of = |text: &Option<String>, html: &Option<String>, files: &[Option<&str>]| {
            let draft = Draft {
                text: text.clone(),
                html: html.clone(),
                attachments: files.iter().map(|id| attachment(*id)).collect(),
                ..Draft::default()
            };
            shape(&written(&draft)).join(" ")
        };
        assert_eq!(of(&None, &None, &[]), "plain");
        assert_eq!(of(&text, &None, &[]), "plain");
        assert_eq!(of(&None, &html, &[]), "html");
        assert_eq!(of(&text, &html, &[]), "alternative plain html");
        assert_eq!(of(&None, &html, &[Some("x@y")]), "related html png");
        assert_eq!(
            of(&text, &html, &[Some("x@y"), None]),
            "mixed alternative plain related html png png"
        );
        // Without HTML nothing can show it in its place.
        assert_eq!(of(&text, &None, &[Some("x@y")]), "mixed plain png");
    }

    #[test]
    fn what_was_given_reads_back() {
        let draft = Draft {
            from: vec![someone("Jörg Müller", "j@demo.test")],
            to: vec![someone("", "a@x.y"), someone("Doe, \"J\"", "b@x.y")],
            bcc: vec![someone("", "secret@x.y")],
            subject: Some("Grüße\r\nBcc: x@y.z".to_owned()),
            text: Some("Hallo Jörg\n.\nFrom here".to_owned()),
            attachments: vec![attachment(None)],
            headers: vec![("X-Mark".to_owned(), "1".to_owned())],
            in_reply_to: vec!["<1@x>".to_owned()],
            references: (0..40).map(|n| format!("<{n}@some.where.example>")).collect(),
            priority: Priority::High,
            ..Draft::default()
        };
        let message = written(&draft);
        let value = |name: &str| {
            let field = find(&message, name.as_bytes()).expect(name);
            encoded_word::decode(&field.value())
        };
        assert_eq!(value("From"), "Jörg Müller <j@demo.test>");
        assert_eq!(value("To"), "a@x.y, \"Doe, \\\"J\\\"\" <b@x.y>");
        assert_eq!(value("Subject"), "Grüße  Bcc: x@y.z");
        assert_eq!(value("X-Mark"), "1");
        assert_eq!(value("Importance"), "high");
        assert_eq!(value("References").split(' ').count(), 40);
        assert_eq!(value("Bcc"), "secret@x.y");
        assert!(
            message.is_ascii()
                && message
                    .split(|octet| *octet == b'\n')
                    .all(|line| line.len() <= 79)
        );
        let structure = scan(&message);
        let bodies: Vec<Vec<u8>> = structure
            .parts
            .iter()
            .skip(1)
            .map(|part| {
                let body = &message[part.body.start as usize..part.body.end as usize];
                TransferEncoding::of(&part.mime).decoded(body)
            })
            .collect();
        assert_eq!(
            bodies,
            [
                "Hallo Jörg\r\n.\r\nFrom here\r\n".as_bytes().to_vec(),
                vec![0, 1, 255]
            ]
        );
    }

    #[test]
    fn addresses_beyond_ascii_stay_addresses() {
        let draft = Draft {
            to: vec![someone("Ümit", "ümit@bücher.example")],
            ..Draft::default()
        };
        let message = written(&draft);
        let text = String::from_utf8_lossy(&message);
        assert!(
            text.contains("To: =?UTF-8?Q?=C3=9Cmit?= <ümit@xn--bcher-kva.example>\r\n"),
            "{text}"
        );
    }

    #[test]
    fn a_message_that_is_handed_on_is_the_last_part() {
        let original = b"Subject: old\r\n\r\nold text\r\n";
        let message = compose(&Draft::default(), Some(original), &mut Random::from_seed([5; 32]));
        assert_eq!(shape(&message).join(" "), "mixed plain rfc822 plain");
        assert!(message.windows(original.len()).any(|window| window == original));
    }

    proptest! {
        #[test]
        fn nothing_that_is_given_makes_another_field(
            name in "(?s).{0,80}", subject in "(?s).{0,200}", text in "(?s).{0,200}", file in "(?s).{0,100}",
        ) {
            let draft = Draft {
                to: vec![someone(&name, "a@x.y"), someone(&name, "b@x.y")],
                subject: Some(subject),
                text: Some(text),
                attachments: vec![Attachment { filename: file, ..attachment(None) }],
                ..Draft::default()
            };
            let message = written(&draft);
            let names: Vec<String> = Fields::new(&message)
                .map(|field| String::from_utf8_lossy(field.name).into_owned())
                .collect();
            prop_assert_eq!(
                names,
                ["To", "Subject", "MIME-Version", "Content-Type", "Content-Transfer-Encoding"]
            );
            let to = find(&message, b"To").expect("there");
            let found = address::parse(to.raw, 10).into_iter().filter(|element| matches!(element, Element::Mailbox(_)));
            prop_assert_eq!(found.count(), 2);
            prop_assert!(message.split(|octet| *octet == b'\n').all(|line| line.len() <= 999));
        }
    }
}
