//! `/queue…`: what waits to be sent, and what an operator may do with it, as `rmail queue`.

use serde::Serialize;
use serde_json::{Value, json};

use super::super::{BodyRule, Failure, Next, Request, Route, json as read, query};
use super::{LIMIT, MAX_LIMIT, answer, body, call, in_path, in_query, limit, plain};
use crate::http::Response;
use crate::relay::history::Record;
use crate::relay::queue::Command;
use crate::relay::view::{Broken, Choice, Filter, Shown, State};

/// Ids that one request names.
const MAX_IDS: usize = 10_000;
/// Characters of an id.
const MAX_ID: usize = 64;
/// Octets of a body with so many ids.
const BODY: u64 = 1 << 20;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// What waits, the oldest first.
    List {
        /// Only such messages.
        filter: Box<Filter>,
        /// Only messages with a recipient in this state ([`State::key`]).
        state: Option<&'static str>,
        /// Behind this place.
        after: Option<Place>,
        /// So many at most.
        limit: u64,
    },
    /// Everything about one.
    Show(String),
    /// Something is to be done with messages. `one`: that there is no such message is a failure.
    Command {
        /// What.
        command: Command,
        /// With which.
        choice: Box<Choice>,
        /// It is about the one that is named.
        one: bool,
    },
}

/// Where a message stands in the list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// When it came, seconds since 1970.
    pub arrived: u64,
    /// Its id.
    pub id: String,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A part of the list.
    List(List),
    /// Everything about one.
    One(Box<Story>),
    /// What is done.
    Commanded(Commanded),
}

/// A part of what waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct List {
    /// These.
    pub entries: Vec<Shown>,
    /// How many such messages there are in all.
    pub total: usize,
    /// Messages that cannot be read, and are not sent.
    pub unreadable: Vec<Broken>,
    /// Where the list goes on.
    pub next: Option<String>,
}

/// Everything about a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Story {
    /// Its id.
    pub id: String,
    /// As it stands in the queue; none: it has left it.
    pub entry: Option<Shown>,
    /// What has happened, the oldest first.
    pub history: Vec<Record>,
}

/// What is done with messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Commanded {
    /// What.
    pub command: &'static str,
    /// With these at once, by the servers that have them.
    pub asked: Vec<String>,
    /// With these when a server starts that takes them over.
    pub at_next_start: Vec<String>,
    /// With these not.
    pub left_out: Vec<LeftOut>,
}

/// A message with which something is not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Its id.
    pub id: String,
    /// Why not.
    pub reason: &'static str,
}

impl Place {
    /// As clients get it.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}-{}", self.arrived, self.id)
    }

    fn parse(text: &str) -> Option<Self> {
        let (arrived, id) = text.split_once('-')?;
        let digits = arrived.bytes().all(|octet| octet.is_ascii_digit());
        Some(Self {
            arrived: arrived.parse().ok().filter(|_| digits)?,
            id: id.to_owned(),
        })
    }
}

const COMMANDS: &[&str] = &["retry", "hold", "release", "fail"];

/// By its name.
fn command(word: &str) -> Option<Command> {
    Some(match word {
        "retry" => Command::Retry,
        "hold" => Command::Hold,
        "release" => Command::Release,
        "fail" => Command::Fail,
        _ => return None,
    })
}

fn ask(ask: Ask) -> Result<Next, Failure> {
    Ok(Next::Ask(super::super::Ask::Admin(super::Ask::Queue(ask))))
}

fn render(_: &Request<'_>, answer: super::super::Answer) -> Response {
    let super::super::Answer::Admin(super::Answer::Queue(answer)) = answer else {
        return Response::empty(500);
    };
    match answer {
        Answer::List(list) => Response::json(200, &list),
        Answer::One(story) => Response::json(200, &*story),
        Answer::Commanded(done) => Response::json(202, &done),
    }
}

fn only(command: Command, id: &str) -> Result<Next, Failure> {
    ask(Ask::Command {
        command,
        choice: Box::new(Choice::Ids(vec![id.to_owned()])),
        one: true,
    })
}

const QUEUE: Route = call(render);

pub(super) const LIST: Route = Route {
    path: "/queue",
    name: "listQueue",
    summary: "Lists what waits to be sent, the oldest first.",
    begin: |request| {
        let list = query::read(request, |query| {
            let mut filter = Filter::default();
            let domain = |text: &str| {
                Filter::default()
                    .with_domain(text)
                    .map_err(|error| error.to_string())
            };
            let sender = |text: &str| {
                Filter::default()
                    .with_sender(text)
                    .map_err(|error| error.to_string())
            };
            if let Some(domain) = query.optional("domain", domain) {
                filter.domain = domain.domain;
            }
            if let Some(sender) = query.optional("sender", sender) {
                filter = filter.with_sender_of(sender);
            }
            filter.held = query.optional("held", query::boolean).unwrap_or_default();
            filter.reason = query.optional("reason", query::text(600));
            filter.older_hours = query.optional("older_hours", query::integer(0..=1_000_000));
            Ask::List {
                filter: Box::new(filter),
                state: query.optional("state", query::word(&State::KEYS)),
                after: query.optional("after", |text| {
                    Place::parse(text).ok_or_else(|| "expected `next` of the answer before".to_owned())
                }),
                limit: query
                    .optional("limit", query::integer(1..=MAX_LIMIT))
                    .unwrap_or(LIMIT),
            }
        })?;
        ask(list)
    },
    describe: || {
        json!({
            "parameters": [
                in_query("domain", "Messages with a recipient in this domain.", json!({ "type": "string", "format": "hostname" })),
                in_query("sender", "Messages with this envelope sender; `@DOMAIN`: of anybody there; `<>`: notices.", json!({ "type": "string", "maxLength": 400 })),
                in_query("held", "Messages that are held, by an operator or their sender.", json!({ "type": "boolean" })),
                in_query("state", "Messages with a recipient in this state.", json!({ "enum": State::KEYS })),
                in_query("reason", "Messages of which a recipient's last reply has this text in it.", json!({ "type": "string", "maxLength": 600 })),
                in_query("older_hours", "Messages that came at least so many hours ago.", json!({ "type": "integer", "minimum": 0, "maximum": 1_000_000 })),
                in_query("after", "`next` of the answer before: the list goes on behind it.", json!({ "type": "string", "pattern": "^[0-9]{1,18}-[0-9a-v]+$" })),
                limit(),
            ],
            "responses": { "200": answer("A part of what waits. Times are seconds since 1970.", json!({
                "type": "object", "required": ["entries", "total", "unreadable", "next"],
                "properties": {
                    "entries": { "type": "array", "items": entry() },
                    "total": { "type": "integer" },
                    "unreadable": { "type": "array", "items": { "type": "object" } },
                    "next": { "type": ["string", "null"] },
                },
            })) },
        })
    },
    ..QUEUE
};

pub(super) const COMMAND_MANY: Route = Route {
    method: "POST",
    path: "/queue",
    name: "commandQueue",
    summary: "Does something with many messages: tries them again, holds them, releases them, gives them up.",
    body: BodyRule::Json {
        max: BODY,
        optional: false,
    },
    begin: |request| {
        let (command, choice) = read::read(request, |body| {
            let word = body.required("command", read::word(COMMANDS));
            let id = |value: &Value| {
                let text = read::line(MAX_ID)(value)?;
                let good = text.bytes().all(|octet| octet.is_ascii_alphanumeric());
                good.then_some(text)
                    .ok_or_else(|| "expected letters and digits".to_owned())
            };
            let ids = body.list("ids", MAX_IDS, id);
            let mut filter = Filter::default();
            let domain = |value: &Value| {
                let text = read::line(255)(value)?;
                Filter::default()
                    .with_domain(&text)
                    .map_err(|error| error.to_string())
            };
            let sender = |value: &Value| {
                let text = read::line(320)(value)?;
                Filter::default()
                    .with_sender(&text)
                    .map_err(|error| error.to_string())
            };
            if let Some(domain) = body.optional("domain", domain) {
                filter.domain = domain.domain;
            }
            if let Some(sender) = body.optional("sender", sender) {
                filter = filter.with_sender_of(sender);
            }
            let all = body.optional("all", read::boolean).unwrap_or_default();
            let narrowed = body.has("domain") || body.has("sender");
            let ways = [body.has("ids"), narrowed, body.has("all")];
            if ways.into_iter().filter(|way| *way).count() != 1 || body.has("all") && !all {
                body.wrong_here("expected either ids, or domain and sender, or all: true");
            }
            let choice = match ids {
                Some(ids) => Choice::Ids(ids),
                None => Choice::Where(filter),
            };
            Some((word.and_then(command)?, choice))
        })?;
        ask(Ask::Command {
            command,
            choice: Box::new(choice),
            one: false,
        })
    },
    describe: || {
        json!({
            "description": "`retry` tries all recipients now that wait; not of messages that are held. `hold`: nothing more is tried. \
                `release` ends that, and what the sender wanted held. `fail` gives all open recipients up; the sender is told. By \
                domain, messages that have recipients elsewhere too are not given up, and told.",
            "requestBody": body(
                json!({
                    "type": "object", "additionalProperties": false, "required": ["command"],
                    "properties": {
                        "command": { "enum": COMMANDS },
                        "ids": { "type": "array", "maxItems": MAX_IDS, "items": { "type": "string", "pattern": "^[0-9a-zA-Z]+$", "maxLength": MAX_ID } },
                        "domain": { "type": "string", "format": "hostname" },
                        "sender": { "type": "string", "maxLength": 400 },
                        "all": { "const": true },
                    },
                    "oneOf": [
                        { "required": ["ids"], "properties": { "ids": { "type": "array" } } },
                        { "required": ["all"], "properties": { "all": { "const": true } } },
                        { "anyOf": [
                            { "required": ["domain"], "properties": { "domain": { "type": "string" } } },
                            { "required": ["sender"], "properties": { "sender": { "type": "string" } } },
                        ] },
                    ],
                }),
                json!({ "command": "retry", "domain": "example.net" }),
            ),
            "responses": { "202": answer("What is done.", commanded()) },
        })
    },
    ..QUEUE
};

pub(super) const SHOW: Route = Route {
    path: "/queue/{id}",
    name: "showQueued",
    summary: "Tells the whole story of a message, also of one that has left the queue.",
    begin: |request| ask(Ask::Show(request.parameter(0).to_owned())),
    describe: || {
        json!({
            "parameters": [in_path("id", "Its id, as the log, the Received line and the answer of `/send` have it.")],
            "responses": {
                "200": answer("What is known of it.", json!({
                    "type": "object", "required": ["id", "entry", "history"],
                    "properties": {
                        "id": { "type": "string" },
                        "entry": { "oneOf": [entry(), { "type": "null" }] },
                        "history": { "type": "array", "items": { "type": "object", "required": ["at", "id", "event"] } },
                    },
                })),
                "404": plain("Nothing is known of such a message."),
            },
        })
    },
    ..QUEUE
};

pub(super) const COMMAND: Route = Route {
    method: "POST",
    path: "/queue/{id}/{command}",
    name: "commandQueued",
    summary: "Does something with a message: `retry`, `hold`, `release` or `fail`.",
    begin: |request| match command(request.parameter(1)) {
        Some(command) => only(command, request.parameter(0)),
        None => Err(Failure::not_found()),
    },
    describe: || {
        json!({
            "parameters": [
                in_path("id", "Its id."),
                { "name": "command", "in": "path", "required": true, "description": "What is to be done.", "schema": { "enum": COMMANDS } },
            ],
            "responses": {
                "202": answer("What is done.", commanded()),
                "404": plain("There is no such message in the queue."),
                "409": plain("This cannot be done with it."),
            },
        })
    },
    ..QUEUE
};

pub(super) const REMOVE: Route = Route {
    method: "DELETE",
    path: "/queue/{id}",
    name: "failQueued",
    summary: "Gives a message up: the sender is told.",
    begin: |request| only(Command::Fail, request.parameter(0)),
    describe: || {
        json!({
            "parameters": [in_path("id", "Its id.")],
            "responses": {
                "202": answer("What is done.", commanded()),
                "404": plain("There is no such message in the queue."),
            },
        })
    },
    ..QUEUE
};

fn entry() -> Value {
    json!({
        "type": "object", "required": ["id", "queue", "served", "sender", "arrived", "size", "held", "recipients"],
        "properties": {
            "id": { "type": "string" }, "queue": { "type": "string" }, "served": { "type": "boolean" },
            "sender": { "type": "string" }, "account": { "type": ["string", "null"] },
            "arrived": { "type": "integer" }, "size": { "type": "integer" }, "held": { "type": "boolean" },
            "hold_until": { "type": ["integer", "null"] }, "asked": { "type": ["string", "null"] },
            "recipients": { "type": "array", "items": {
                "type": "object", "required": ["address", "state", "attempts", "next", "last"],
                "properties": {
                    "address": { "type": "string" }, "state": { "enum": State::KEYS }, "attempts": { "type": "integer" },
                    "next": { "type": "integer" }, "last": { "type": ["string", "null"] },
                    "here": { "type": "boolean" }, "delay_told": { "type": "boolean" },
                },
            } },
        },
    })
}

fn commanded() -> Value {
    let ids = json!({ "type": "array", "items": { "type": "string" } });
    json!({
        "type": "object", "required": ["command", "asked", "at_next_start", "left_out"],
        "properties": {
            "command": { "enum": COMMANDS }, "asked": ids, "at_next_start": ids,
            "left_out": { "type": "array", "items": {
                "type": "object", "required": ["id", "reason"],
                "properties": { "id": { "type": "string" }, "reason": { "type": "string" } },
            } },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Settings;
    use crate::http::Head;

    fn begin(route: &Route, query: &[(&str, &str)], text: &str) -> Result<Ask, Vec<String>> {
        let (head, settings) = (Head::default(), Settings::default());
        let query: Vec<(String, String)> = query
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect();
        let request = Request {
            query: &query,
            body: text.as_bytes(),
            ..Request::of(&head, &settings)
        };
        match (route.begin)(&request) {
            Ok(Next::Ask(super::super::super::Ask::Admin(super::super::Ask::Queue(ask)))) => Ok(ask),
            Ok(other) => panic!("{other:?}"),
            Err(failure) => Err(failure.details.into_iter().map(|detail| detail.path).collect()),
        }
    }

    #[test]
    fn a_list_is_narrowed_by_all_that_is_given() {
        let query = [
            ("domain", "B.test"),
            ("sender", "@x.y"),
            ("held", "true"),
            ("state", "held"),
            ("after", "17-0ab"),
        ];
        let Ok(Ask::List {
            filter,
            state,
            after,
            limit,
        }) = begin(&LIST, &query, "")
        else {
            panic!("a list")
        };
        let wanted = Filter::default()
            .with_domain("b.test")
            .and_then(|filter| filter.with_sender("@x.y"));
        let mut wanted = wanted.expect("good");
        wanted.held = true;
        assert_eq!(*filter, wanted);
        assert_eq!((state, limit), (Some("held"), LIMIT));
        assert_eq!(after.map(|place| place.text()).as_deref(), Some("17-0ab"));
        let bad = [
            ("domain", "a b"),
            ("state", "lost"),
            ("after", "x"),
            ("limit", "0"),
        ];
        assert_eq!(begin(&LIST, &bad, "").map_err(|paths| paths.len()), Err(4));
    }

    #[test]
    fn many_messages_are_named_in_one_way() {
        let choice = |text: &str| match begin(&COMMAND_MANY, &[], text) {
            Ok(Ask::Command {
                choice, one: false, ..
            }) => Some(*choice),
            _ => None,
        };
        let ids = choice(r#"{"command":"hold","ids":["1","2"]}"#);
        assert_eq!(ids, Some(Choice::Ids(vec!["1".to_owned(), "2".to_owned()])));
        assert_eq!(
            choice(r#"{"command":"retry","all":true}"#),
            Some(Choice::Where(Filter::default()))
        );
        assert!(choice(r#"{"command":"fail","domain":"x.y","sender":"<>"}"#).is_some());
        for bad in [
            r#"{"command":"retry"}"#,
            r#"{"command":"retry","all":false}"#,
            r#"{"command":"retry","all":true,"ids":[]}"#,
            r#"{"command":"retry","all":false,"domain":"x.y"}"#,
            r#"{"command":"retry","ids":["1"],"domain":"x.y"}"#,
            r#"{"command":"lose","all":true}"#,
            r#"{"command":"hold","ids":["a b"]}"#,
            r#"{"all":true}"#,
        ] {
            assert_eq!(choice(bad), None, "{bad}");
        }
    }
}
