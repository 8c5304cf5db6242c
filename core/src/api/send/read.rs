//! Reads drafts: from JSON, with every wrong field told.

use serde_json::Value;

use super::draft::{Attachment, Draft, Mailbox, Options, Priority};
use crate::addr::Address;
use crate::api::json::{self, Object, Parsed};
use crate::api::mail::MessageId;
use crate::mime::content::Mime;
use crate::text::rfc3339;
use crate::time::DateTime;

/// Recipients that are read; how many a message may have is said where it is sent.
const MAX_MAILBOXES: usize = 10_000;
/// Files of a message.
const MAX_FILES: usize = 100;
/// Further fields.
const MAX_FIELDS: usize = 50;
/// Characters of a subject, of a field's value.
const MAX_LINE: usize = 2_000;
/// Identifications in References.
const MAX_IDS: usize = 100;

/// Names of fields that may be given beside those beginning with `X-` and `List-`. None of them says who wrote a message or
/// who gets it, or how its body is made.
const FIELDS: [&str; 12] = [
    "Archived-At",
    "Auto-Submitted",
    "Comments",
    "Content-Language",
    "Expires",
    "Feedback-ID",
    "Importance",
    "Keywords",
    "Organization",
    "Precedence",
    "Sensitivity",
    "TLS-Required",
];

/// What `/send` is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Letter {
    /// To be written.
    Draft(Box<Draft>),
    /// Written already.
    Raw(Vec<u8>),
}

/// The whole body of `/send`.
pub(super) fn letter(body: &mut Object<'_>, max: usize) -> Option<(Letter, Options)> {
    let raw = body.has("raw");
    let options = options(body, raw);
    if raw {
        let raw = body.required("raw", raw_message(max));
        return Some((Letter::Raw(raw?), options));
    }
    let draft = draft(body, max)?;
    let named = ["to", "cc", "bcc", "envelope_to"]
        .iter()
        .any(|name| body.has(name));
    // Who answers without saying whom, answers the author.
    if !named && draft.reply_to_message.is_none() {
        body.wrong("to", "missing: a message needs a recipient, here or in cc or bcc");
    }
    Some((Letter::Draft(Box::new(draft)), options))
}

fn options(body: &mut Object<'_>, raw: bool) -> Options {
    let mut envelope_from = body.optional("envelope_from", json::address);
    let mut envelope_to = body
        .list("envelope_to", MAX_MAILBOXES, json::address)
        .unwrap_or_default();
    if raw {
        // As in a message that is written here.
        let from = body.optional("from", mailbox).map(|from| from.address);
        envelope_from = envelope_from.or(from);
        let to = mailboxes(body, "to").into_iter().map(|to| to.address);
        envelope_to.extend(to);
    }
    Options {
        envelope_from,
        envelope_to,
        save_to_sent: body.optional("save_to_sent", json::boolean).unwrap_or(true),
    }
}

/// The fields of a message. `max`: octets of all of its files together, and of each of its texts.
pub fn draft(body: &mut Object<'_>, max: usize) -> Option<Draft> {
    let from = mailboxes(body, "from");
    let sender = body.optional("sender", mailbox);
    let (to, cc, bcc) = (
        mailboxes(body, "to"),
        mailboxes(body, "cc"),
        mailboxes(body, "bcc"),
    );
    let reply_to = mailboxes(body, "reply_to");
    let subject = body.optional("subject", json::text(MAX_LINE));
    let (text, html) = (
        body.optional("text", json::text(max)),
        body.optional("html", json::text(max)),
    );
    let attachments = body.objects("attachments", MAX_FILES, |file| attachment(file, max));
    let attachments = attachments.unwrap_or_default();
    let octets: usize = attachments.iter().map(|file| file.content.len()).sum();
    if octets > max {
        body.wrong("attachments", format!("expected at most {max} octets together"));
    }
    let mut known = std::collections::BTreeSet::new();
    let mut ids = attachments.iter().filter_map(|file| file.content_id.as_deref());
    if !ids.all(|id| known.insert(id)) {
        body.wrong("attachments", "a content_id comes twice");
    }
    let headers = headers(body);
    let in_reply_to = body.list("in_reply_to", MAX_IDS, message_id);
    let references = body.list("references", MAX_IDS, message_id);
    let date = body.optional("date", date);
    let priority = body.optional("priority", json::word(&["high", "normal", "low"]));
    let reply_to_message = body.optional("reply_to_message", message);
    let forward_message = body.optional("forward_message", message);
    Some(Draft {
        from,
        sender,
        to,
        cc,
        bcc,
        reply_to,
        subject,
        text,
        html,
        attachments,
        headers,
        in_reply_to: in_reply_to.unwrap_or_default(),
        references: references.unwrap_or_default(),
        date,
        priority: match priority {
            Some("high") => Priority::High,
            Some("low") => Priority::Low,
            _ => Priority::Normal,
        },
        reply_to_message,
        forward_message,
    })
}

/// One mailbox, or a list of them.
fn mailboxes(body: &mut Object<'_>, name: &'static str) -> Vec<Mailbox> {
    let alone = body
        .optional(name, |value| Ok(!value.is_array()))
        .unwrap_or_default();
    if alone {
        return body.optional(name, mailbox).into_iter().collect();
    }
    body.list(name, MAX_MAILBOXES, mailbox).unwrap_or_default()
}

/// `ann@example.com`, `Ann Lee <ann@example.com>`, or `{"name": "Ann Lee", "address": "ann@example.com"}`.
fn mailbox(value: &Value) -> Parsed<Mailbox> {
    let wrong = || "expected an address, perhaps as \"Name <address>\" or {\"name\", \"address\"}".to_owned();
    match value {
        Value::String(text) => written(text).ok_or_else(wrong),
        Value::Object(fields) => {
            let name = match fields.get("name") {
                None | Some(Value::Null) => "",
                Some(Value::String(name)) if name.chars().count() <= 200 => name,
                Some(_) => return Err(wrong()),
            };
            let only = fields.keys().all(|name| name == "name" || name == "address");
            let address = fields.get("address").map(json::address);
            match address {
                Some(Ok(address)) if only => Ok(Mailbox {
                    name: name.to_owned(),
                    address,
                }),
                _ => Err(wrong()),
            }
        }
        _ => Err(wrong()),
    }
}

fn written(text: &str) -> Option<Mailbox> {
    let text = text.trim();
    if text.chars().count() > 600 || text.chars().any(char::is_control) {
        return None;
    }
    let Some(front) = text.strip_suffix('>') else {
        return Address::parse(text).map(|address| Mailbox {
            name: String::new(),
            address,
        });
    };
    let (name, address) = front.rsplit_once('<')?;
    let name = name.trim();
    let quoted = name.strip_prefix('"').and_then(|name| name.strip_suffix('"'));
    // What looks like a second address is a slip, or worse.
    let name = match quoted {
        Some(quoted) => quoted.replace("\\\"", "\"").replace("\\\\", "\\"),
        None if name.contains(['<', '>', '"', ',']) => return None,
        None => name.to_owned(),
    };
    Some(Mailbox {
        name,
        address: Address::parse(address.trim())?,
    })
}

fn attachment(file: &mut Object<'_>, max: usize) -> Option<Attachment> {
    let filename = file.optional("filename", json::line(255));
    let content_type = file.optional("content_type", media_type);
    let content = file.required("content", json::base64(max));
    let content_id = file.optional("content_id", content_id);
    let inline = file.optional("disposition", json::word(&["attachment", "inline"]));
    Some(Attachment {
        filename: filename.unwrap_or_default(),
        content_type: content_type.unwrap_or_else(|| "application/octet-stream".to_owned()),
        content: content?,
        inline: inline.map_or(content_id.is_some(), |word| word == "inline"),
        content_id,
    })
}

/// `image/png`, `text/csv; charset=utf-8`.
fn media_type(value: &Value) -> Parsed<String> {
    let wrong = || "expected a media type such as image/png, and none of multipart".to_owned();
    let text = json::line(200)(value)?;
    if !text.is_ascii() || text.contains("=?") {
        return Err(wrong());
    }
    let mime = Mime::parse(format!("Content-Type: {text}\r\n").as_bytes(), false);
    // Read again it is what was written: nothing in it is passed over.
    let token = |text: &str| {
        let extra = |octet: u8| b"!#$&^_.+-".contains(&octet);
        !text.is_empty()
            && text
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || extra(octet))
    };
    let front = text.split(';').next().unwrap_or_default().trim();
    let parts = front
        .split_once('/')
        .filter(|(one, two)| token(one) && token(two));
    let (media, subtype) = parts.ok_or_else(wrong)?;
    let is_message = media.eq_ignore_ascii_case("message") && !subtype.eq_ignore_ascii_case("rfc822");
    let is_multipart = media.eq_ignore_ascii_case("multipart");
    if is_message || is_multipart || text.matches(';').count() != mime.parameters.len() {
        return Err(wrong());
    }
    Ok(text)
}

/// What HTML names behind `cid:` (RFC 2392 §2), without angle brackets.
fn content_id(value: &Value) -> Parsed<String> {
    let text = json::line(200)(value)?;
    let inner = text.strip_prefix('<').and_then(|text| text.strip_suffix('>'));
    let inner = inner.unwrap_or(&text);
    let good = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$&'*+-/=?^_{|}~.@".contains(&octet);
    if inner.is_empty() || !inner.bytes().all(good) || inner.contains("=?") {
        return Err("expected an identification such as logo@example.com".to_owned());
    }
    Ok(inner.to_owned())
}

/// `<local@domain>`, the brackets may be missing.
fn message_id(value: &Value) -> Parsed<String> {
    let text = json::line(500)(value)?;
    let inner = text.strip_prefix('<').and_then(|text| text.strip_suffix('>'));
    let inner = inner.unwrap_or(&text);
    let good = |octet: u8| octet.is_ascii_graphic() && !b"<>,".contains(&octet);
    let parts = inner.rsplit_once('@');
    if !inner.bytes().all(good) || parts.is_none_or(|(one, two)| one.is_empty() || two.is_empty()) {
        return Err("expected a Message-ID such as <x@example.com>".to_owned());
    }
    Ok(format!("<{inner}>"))
}

fn message(value: &Value) -> Parsed<MessageId> {
    let id = value.as_str().and_then(MessageId::parse);
    id.ok_or_else(|| "expected the id of a message".to_owned())
}

fn date(value: &Value) -> Parsed<DateTime> {
    let unix = value.as_str().and_then(rfc3339::parse);
    unix.map(DateTime::from)
        .ok_or_else(|| "expected a moment such as 2026-11-22T12:00:00Z".to_owned())
}

/// `{"X-Name": "value"}`.
fn headers(body: &mut Object<'_>) -> Vec<(String, String)> {
    let parse = |value: &Value| {
        let Value::Object(fields) = value else {
            return Err("expected an object of names and values".to_owned());
        };
        if fields.len() > MAX_FIELDS {
            return Err(format!("expected at most {MAX_FIELDS} fields"));
        }
        let field = |(name, value): (&String, &Value)| {
            if !is_permitted(name) {
                let name: String = name.chars().take(80).collect();
                return Err(format!(
                    "the field {name:?} cannot be given; those that can are X-… and List-… and {}",
                    FIELDS.join(", ")
                ));
            }
            let value = json::line(MAX_LINE)(value).map_err(|error| format!("{name}: {error}"))?;
            Ok((name.clone(), value))
        };
        fields.iter().map(field).collect::<Parsed<Vec<_>>>()
    };
    body.optional("headers", parse).unwrap_or_default()
}

fn is_permitted(name: &str) -> bool {
    let front = |prefix: &str| {
        let given = name.get(..prefix.len());
        given.is_some_and(|given| given.eq_ignore_ascii_case(prefix)) && name.len() > prefix.len()
    };
    let token = name.len() <= 80
        && name
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
    token && (front("X-") || front("List-") || FIELDS.iter().any(|known| known.eq_ignore_ascii_case(name)))
}

/// A message as text or in base64: what is base64 has no colon, and a message without one has no header.
fn raw_message(max: usize) -> impl Fn(&Value) -> Parsed<Vec<u8>> {
    move |value| match value {
        Value::String(text) if text.contains(':') && text.len() > max => {
            Err(format!("expected at most {max} octets"))
        }
        Value::String(text) if text.contains(':') => Ok(text.clone().into_bytes()),
        value => json::base64(max)(value)
            .map_err(|error| format!("{error}, or the message as text"))
            .and_then(|octets| match octets.is_empty() {
                true => Err("expected a message".to_owned()),
                false => Ok(octets),
            }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<(Letter, Options), Vec<String>> {
        json::read_octets(json.as_bytes(), |body| letter(body, 1_000)).map_err(|failure| {
            let details = failure.details.into_iter();
            details
                .map(|detail| format!("{}: {}", detail.path, detail.error))
                .collect()
        })
    }

    fn draft_of(json: &str) -> Draft {
        match read(json) {
            Ok((Letter::Draft(draft), _)) => *draft,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn mailboxes_have_three_forms() {
        let draft = draft_of(
            r#"{"to":"a@x.y","cc":["Ann Lee <a@x.y>","\"Lee, \\\"A\\\"\" <a@x.y>",{"name":"Ä","address":"a@x.y"},{"address":"a@x.y"}]}"#,
        );
        let names: Vec<&str> = draft.cc.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["Ann Lee", "Lee, \"A\"", "Ä", ""]);
        assert_eq!(draft.to.len(), 1);
        for bad in [
            r#""nobody""#,
            r#""a@x.y, b@x.y""#,
            r#""b@x.y> <a@x.y>""#,
            r#""a\nBcc: b@x.y <a@x.y>""#,
            r#"{"name":"x"}"#,
            r#"{"address":"a@x.y","type":"to"}"#,
            "7",
            r#"["a@x.y", 7]"#,
        ] {
            assert!(read(&format!(r#"{{"to":{bad}}}"#)).is_err(), "{bad}");
        }
        assert_eq!(
            read(r#"{"to":["a@x.y","x"]}"#).expect_err("wrong")[0]
                .split(':')
                .next(),
            Some("$.to[1]")
        );
    }

    #[test]
    fn a_message_needs_somebody_unless_it_answers() {
        assert!(read("{}").expect_err("nobody")[0].starts_with("$.to: missing"));
        assert!(read(r#"{"bcc":["a@x.y"]}"#).is_ok());
        assert!(read(r#"{"reply_to_message":"F1-2"}"#).is_ok());
        assert!(read(r#"{"envelope_to":["a@x.y"]}"#).is_ok());
    }

    #[test]
    fn files_are_checked() {
        let file = |fields: &str| {
            read(&format!(
                r#"{{"to":"a@x.y","attachments":[{{"content":"YQ==",{fields}}}]}}"#
            ))
        };
        assert!(
            file(r#""filename":"ä b.txt","content_type":"text/plain; charset=utf-8","content_id":"<a@b>""#)
                .is_ok()
        );
        for bad in [
            r#""content_type":"multipart/mixed""#,
            r#""content_type":"message/partial""#,
            r#""content_type":"text/plain; a=b; c""#,
            r#""content_type":"text""#,
            r#""content_type":"a/b/c""#,
            r#""content_type":"text/plain\r\nX: y""#,
            r#""content_id":"a b""#,
            r#""filename":"a\u0000b""#,
            r#""disposition":"x""#,
        ] {
            assert!(file(bad).is_err(), "{bad}");
        }
        let twice = r#"{"to":"a@x.y","attachments":[{"content":"YQ==","content_id":"a"},{"content":"YQ==","content_id":"a"}]}"#;
        assert_eq!(
            read(twice).expect_err("twice"),
            ["$.attachments: a content_id comes twice"]
        );
    }

    #[test]
    fn only_harmless_fields_can_be_given() {
        let field =
            |name: &str, value: &str| read(&format!(r#"{{"to":"a@x.y","headers":{{"{name}":"{value}"}}}}"#));
        for good in ["X-Mark", "List-Unsubscribe", "auto-submitted", "TLS-Required"] {
            assert!(field(good, "x").is_ok(), "{good}");
        }
        for bad in [
            "From",
            "Bcc",
            "Received",
            "Content-Type",
            "X-",
            "X-a b",
            "X-ä",
            "",
            "DKIM-Signature",
            "Resent-From",
        ] {
            assert!(field(bad, "x").is_err(), "{bad}");
        }
        assert!(field("X-Mark", "a\\r\\nBcc: b@x.y").is_err());
    }

    #[test]
    fn a_message_may_be_given_whole() {
        let raw = |json: &str| match read(json) {
            Ok((Letter::Raw(raw), options)) => (String::from_utf8(raw).expect("text"), options),
            other => panic!("{other:?}"),
        };
        assert_eq!(raw(r#"{"raw":"To: a@x.y\n\nx"}"#).0, "To: a@x.y\n\nx");
        let (text, options) =
            raw(r#"{"raw":"VG86IGFAeC55DQoNCng=","from":"b@x.y","to":["c@x.y"],"save_to_sent":false}"#);
        assert_eq!(text, "To: a@x.y\r\n\r\nx");
        assert_eq!(
            options
                .envelope_from
                .map(|address| address.to_string())
                .as_deref(),
            Some("b@x.y")
        );
        assert_eq!((options.envelope_to.len(), options.save_to_sent), (1, false));
        assert!(read(r#"{"raw":"To: a@x.y\n\nx","subject":"y"}"#).is_err());
        assert!(read(r#"{"raw":""}"#).is_err() && read(r#"{"raw":7}"#).is_err());
    }

    #[test]
    fn identifications_and_dates_are_checked() {
        let draft = draft_of(
            r#"{"to":"a@x.y","in_reply_to":["a@b"],"references":["<a@b>","<c@d>"],"date":"2026-11-22T12:00:00+01:00","priority":"low"}"#,
        );
        assert_eq!(
            (draft.in_reply_to, draft.references.len()),
            (vec!["<a@b>".to_owned()], 2)
        );
        assert_eq!(
            (draft.priority, draft.date.map(|date| date.unix)),
            (Priority::Low, Some(1_795_345_200))
        );
        for bad in [
            r#""in_reply_to":["a b@c"]"#,
            r#""references":["<a@b> <c@d>"]"#,
            r#""date":"tomorrow""#,
            r#""priority":"urgent""#,
            r#""reply_to_message":"x""#,
        ] {
            assert!(read(&format!(r#"{{"to":"a@x.y",{bad}}}"#)).is_err(), "{bad}");
        }
    }
}
