//! New messages: `POST /send`.
//!
//! A message is described in JSON and written here ([`compose()`]), or comes whole: in JSON, or as a body of the type
//! `message/rfc822`. Either way it goes through what submitted mail goes through ([`crate::smtp::server::Letter`]).

mod answer;
mod compose;
mod describe;
mod draft;
mod read;

pub use answer::FIELDS as ANSWERED_FIELDS;
pub use compose::compose;
pub use describe::schemas;
pub use draft::{Attachment, Draft, Mailbox, Options, Priority};
pub use read::{Letter, draft};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Access, BodyRule, Failure, Next, Request, Route, json, query};
use crate::addr::Address;
use crate::http::Response;
use crate::machine::SpoolId;
use crate::note::Note;
use crate::smtp::server::BadLetter;

/// Characters of an Idempotency-Key.
const MAX_KEY: usize = 255;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A whole message begins, and comes into this spool.
    Open(SpoolId, Box<Terms>),
    /// Send.
    Send(Box<Sending>),
}

/// How a message is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// What the client wants.
    pub options: Options,
    /// Recipients at most.
    pub max_recipients: usize,
    /// Octets at most.
    pub max_size: u64,
    /// The connection is encrypted.
    pub secure: bool,
    /// Asked for again under this key, it is not done again.
    pub key: Option<Key>,
}

/// A message that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sending {
    /// The message.
    pub message: Message,
    /// How.
    pub terms: Terms,
}

/// Where the message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Here.
    Letter(Letter),
    /// It came into a spool of [`Ask::Open`].
    Spool(SpoolId),
}

/// An Idempotency-Key, and a hash of what was asked under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// As the client chose it.
    pub text: String,
    /// Of the request; of a message in a spool without its octets, whose own hash is added.
    pub digest: [u8; 32],
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The spool is open.
    Opened,
    /// What became of the message. The flag: it was done before, under the same key.
    Sent(Box<Sent>, bool),
}

/// What became of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Its id in the queue, the log and `rmail trace`; none: nobody could get it.
    pub id: Option<String>,
    /// Its Message-ID.
    pub message_id: String,
    /// Recipients who have it.
    pub sent: Vec<String>,
    /// Recipients for whom it waits in the queue.
    pub queued: Vec<String>,
    /// Recipients who do not get it.
    pub failed: Vec<Failed>,
    /// The id of the copy in the folder of sent mail, if there is one.
    pub saved: Option<String>,
    /// What the log is to say of it: no part of the answer, and said once, however often that is given.
    #[serde(skip)]
    pub note: Option<Note>,
}

/// A recipient who does not get a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Who.
    pub recipient: String,
    /// Why not.
    pub error: String,
}

/// The calls.
pub(super) const ROUTES: &[Route] = &[Route {
    method: "POST",
    path: "/send",
    name: "send",
    summary: "Sends a message: one that is described, or a whole one.",
    access: Access::User,
    body: BodyRule::Message(|request, spool, _| {
        let terms = terms(request, options_of_query(request)?)?;
        Ok(super::Ask::Send(Ask::Open(spool, Box::new(terms))))
    }),
    begin: |request| {
        let (message, options) = match request.spool {
            Some(spool) => (Message::Spool(spool), options_of_query(request)?),
            None => {
                query::read(request, |_| ())?;
                let max = usize::try_from(request.settings.max_message_size).unwrap_or(usize::MAX);
                let (letter, options) = json::read(request, |body| read::letter(body, max))?;
                (Message::Letter(letter), options)
            }
        };
        let terms = terms(request, options)?;
        Ok(Next::Ask(super::Ask::Send(Ask::Send(Box::new(Sending {
            message,
            terms,
        })))))
    },
    render: |_, answer| match answer {
        super::Answer::Send(Answer::Sent(sent, again)) => {
            let response = Response::json(200, &*sent);
            match again {
                true => response.with("Idempotency-Replayed", "true"),
                false => response,
            }
        }
        _ => Response::empty(500),
    },
    describe: describe::send,
}];

/// What a reply says that logs are to say too.
pub(super) fn note(reply: &mut super::Reply) -> Option<Note> {
    match reply {
        Ok(super::Answer::Send(Answer::Sent(sent, _))) => sent.note.take(),
        _ => None,
    }
}

fn terms(request: &Request<'_>, options: Options) -> Result<Terms, Failure> {
    // One that cannot be read is not as good as none: the client relies on it.
    let mut given = request
        .head
        .fields
        .iter()
        .filter(|(name, _)| name == "idempotency-key");
    let key = match (given.next(), given.next()) {
        (None, _) => None,
        (Some((_, value)), None) => {
            let text = core::str::from_utf8(value)
                .map_err(|_| Failure::field("header.Idempotency-Key", "expected text"))?;
            Some(key(request, text)?)
        }
        (Some(_), Some(_)) => {
            return Err(Failure::field("header.Idempotency-Key", "expected one"));
        }
    };
    Ok(Terms {
        options,
        max_recipients: request.settings.max_recipients,
        max_size: request.settings.max_message_size,
        secure: request.secure,
        key,
    })
}

fn key(request: &Request<'_>, text: &str) -> Result<Key, Failure> {
    // As a Structured Field it stands in quotes; many clients leave them out.
    let text = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(text);
    if text.is_empty() || text.len() > MAX_KEY || !text.bytes().all(|octet| octet.is_ascii_graphic()) {
        let error = format!("expected 1 to {MAX_KEY} visible characters of ASCII");
        return Err(Failure::field("header.Idempotency-Key", error));
    }
    let mut hash = Sha256::new();
    for (name, value) in request.query {
        hash.update(format!("{}={}&", name.len(), value.len()));
        hash.update(name);
        hash.update(value);
    }
    hash.update(b"\0");
    hash.update(request.body);
    Ok(Key {
        text: text.to_owned(),
        digest: hash.finalize().into(),
    })
}

/// What stands beside a message that is the whole body.
fn options_of_query(request: &Request<'_>) -> Result<Options, Failure> {
    let address = |text: &str| Address::parse(text).ok_or_else(|| "expected an address".to_owned());
    query::read(request, |query| {
        let envelope_from = query.optional("from", address);
        let envelope_to = query.optional("to", |list| {
            let all: Vec<&str> = list.split(',').map(str::trim).collect();
            if all.len() > request.settings.max_recipients {
                return Err(format!(
                    "expected at most {} addresses",
                    request.settings.max_recipients
                ));
            }
            all.into_iter().map(address).collect::<Result<Vec<_>, _>>()
        });
        Options {
            envelope_from,
            envelope_to: envelope_to.unwrap_or_default(),
            save_to_sent: query.optional("save_to_sent", query::boolean).unwrap_or(true),
        }
    })
}

impl From<BadLetter> for Failure {
    fn from(bad: BadLetter) -> Self {
        match bad {
            BadLetter::TooLarge => Self::new(413, "Message too large"),
            BadLetter::HeaderTooLong => Self::new(413, "The header of the message is too long"),
            BadLetter::BareCr => Self::new(400, "The message has a CR without LF"),
            BadLetter::Nul => Self::new(400, "The message has a NUL"),
            BadLetter::LongLine => Self::new(400, "The message has a line that is too long"),
            BadLetter::Loop => Self::new(400, "The message is in a loop: it has too many Received fields"),
            BadLetter::Author => Self::new(400, "From or Sender of the message cannot be read"),
            BadLetter::Recipient(field, text) => Self::new(
                400,
                format!("The message has in its field {field} what is no address: {text}"),
            ),
            BadLetter::TooManyRecipients => Self::new(400, "The message has too many recipients"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Settings;
    use crate::http::Head;

    fn route() -> &'static Route {
        ROUTES.first().expect("a route")
    }

    fn ask(
        head: &Head,
        query: &[(&str, &str)],
        body: &[u8],
        spool: Option<SpoolId>,
    ) -> Result<Sending, Failure> {
        let query: Vec<(String, String)> = query
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect();
        let settings = Settings::default();
        let request = Request {
            query: &query,
            body,
            spool,
            ..Request::of(head, &settings)
        };
        match (route().begin)(&request)? {
            Next::Ask(super::super::Ask::Send(Ask::Send(sending))) => Ok(*sending),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_whole_message_takes_its_terms_from_the_query() {
        let head = Head::default();
        let query = [
            ("from", "a@x.y"),
            ("to", "b@x.y, c@x.y"),
            ("save_to_sent", "false"),
        ];
        let sending = ask(&head, &query, b"", Some(SpoolId(3))).expect("good");
        assert_eq!(sending.message, Message::Spool(SpoolId(3)));
        assert_eq!(sending.terms.options.envelope_to.len(), 2);
        assert!(!sending.terms.options.save_to_sent && sending.terms.key.is_none());
        let wrong = ask(&head, &[("to", "b"), ("form", "a@x.y")], b"", Some(SpoolId(3))).expect_err("wrong");
        assert_eq!(wrong.details.len(), 2);
        assert!(ask(&head, &[("to", "b@x.y")], br#"{"to":"a@x.y"}"#, None).is_err());
    }

    #[test]
    fn a_key_belongs_to_what_was_asked() {
        let key = |text: &str, body: &[u8]| {
            let head = Head {
                fields: vec![("idempotency-key".to_owned(), text.as_bytes().to_vec())],
                ..Head::default()
            };
            ask(&head, &[], body, None).map(|sending| sending.terms.key)
        };
        let one = key("k1", br#"{"to":"a@x.y"}"#).expect("good").expect("a key");
        let same = key("\"k1\"", br#"{"to":"a@x.y"}"#).expect("good").expect("a key");
        let other = key("k1", br#"{"to":"b@x.y"}"#).expect("good").expect("a key");
        assert_eq!(one, same);
        assert_ne!(one.digest, other.digest);
        for bad in ["", "a b", "\"\"", &"x".repeat(256)] {
            let failure = key(bad, br#"{"to":"a@x.y"}"#).expect_err(bad);
            assert_eq!(failure.details[0].path, "header.Idempotency-Key");
        }
    }

    #[test]
    fn the_answer_tells_of_every_recipient() {
        let head = Head::default();
        let settings = Settings::default();
        let sent = Sent {
            id: Some("0abc".to_owned()),
            message_id: "<x@y>".to_owned(),
            sent: vec!["a@x.y".to_owned()],
            queued: Vec::new(),
            failed: vec![Failed {
                recipient: "b@x.y".to_owned(),
                error: "Quota exceeded".to_owned(),
            }],
            saved: Some("F1-2".to_owned()),
            note: None,
        };
        let answer = super::super::Answer::Send(Answer::Sent(Box::new(sent), true));
        let response = (route().render)(&Request::of(&head, &settings), answer);
        assert_eq!(
            response.body,
            crate::http::Body::Bytes(
                br#"{"id":"0abc","message_id":"<x@y>","sent":["a@x.y"],"queued":[],"failed":[{"recipient":"b@x.y","error":"Quota exceeded"}],"saved":"F1-2"}"#.to_vec()
            )
        );
        assert!(
            response
                .fields
                .contains(&("Idempotency-Replayed", "true".to_owned()))
        );
    }
}
