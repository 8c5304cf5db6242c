//! Users, aliases, the queue and figures, for administrators.

pub mod aliases;
pub mod queue;
pub mod stats;
pub mod users;

use serde_json::{Value, json};

use super::{Access, BodyRule, Failure, Request, Route};
use crate::http::Response;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Of users.
    Users(users::Ask),
    /// Of aliases.
    Aliases(aliases::Ask),
    /// Of the queue.
    Queue(queue::Ask),
    /// How much of everything there is.
    Stats,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Of users.
    Users(users::Answer),
    /// Of aliases.
    Aliases(aliases::Answer),
    /// Of the queue.
    Queue(queue::Answer),
    /// How much of everything there is.
    Stats(Box<stats::Stats>),
}

/// Octets of a body that describes one thing.
const BODY: u64 = 256 * 1024;
/// What a list shows, unless it is told otherwise, and at most.
const LIMIT: u64 = 100;
const MAX_LIMIT: u64 = 1_000;

/// The calls.
pub(super) const ROUTES: &[Route] = &[
    users::LIST,
    users::CREATE,
    users::SHOW,
    users::CHANGE,
    users::REMOVE,
    users::ADD_APP,
    users::REMOVE_APP,
    aliases::LIST,
    aliases::CREATE,
    aliases::TEST,
    aliases::SHOW,
    aliases::CHANGE,
    aliases::REMOVE,
    queue::LIST,
    queue::COMMAND_MANY,
    queue::SHOW,
    queue::COMMAND,
    queue::REMOVE,
    stats::STATS,
];

/// A body that describes one thing.
const JSON: BodyRule = BodyRule::Json {
    max: BODY,
    optional: false,
};

/// What the calls of one kind have in common: each says the rest of itself.
const fn call(render: fn(&Request<'_>, super::Answer) -> Response) -> Route {
    Route {
        method: "GET",
        path: "",
        name: "",
        summary: "",
        access: Access::Admin,
        body: BodyRule::None,
        begin: |_| Err(Failure::not_found()),
        render,
        describe: || json!({}),
    }
}

/// A parameter of the path, for the description.
fn in_path(name: &str, description: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "description": description, "schema": { "type": "string", "minLength": 1 } })
}

/// A parameter of the query.
fn in_query(name: &str, description: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "query", "required": false, "description": description, "schema": schema })
}

/// How many a list shows.
fn limit() -> Value {
    in_query(
        "limit",
        "How many are shown at most.",
        json!({ "type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": LIMIT }),
    )
}

/// Where a list goes on.
fn after() -> Value {
    in_query(
        "after",
        "`next` of the answer before: the list goes on behind it.",
        json!({ "type": "string" }),
    )
}

/// A body of JSON.
fn body(schema: Value, example: Value) -> Value {
    json!({ "required": true, "content": { "application/json": { "schema": schema, "example": example } } })
}

/// An answer of JSON.
fn answer(description: &str, schema: Value) -> Value {
    json!({ "description": description, "content": { "application/json": { "schema": schema } } })
}

/// An answer without a body.
fn plain(description: &str) -> Value {
    json!({ "description": description })
}
