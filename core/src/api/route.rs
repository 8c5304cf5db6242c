//! The table of calls: it routes, and the description of the API (`/openapi.json`) is made from it.

use serde_json::Value;

use super::{Access, Answer, Ask, Failure};
use crate::http::{Head, Response};
use crate::machine::SpoolId;

/// A call of the API.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// `GET`.
    pub method: &'static str,
    /// `/folders/{id}/messages`: a segment in braces is a parameter.
    pub path: &'static str,
    /// Its name in the description (`operationId`): `listMessages`.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Who may.
    pub access: Access,
    /// What it wants of a body.
    pub body: BodyRule,
    /// Reads the request: what is asked of the service, or the answer at once.
    pub begin: fn(&Request<'_>) -> Result<Next, Failure>,
    /// Writes the answer.
    pub render: fn(&Request<'_>, Answer) -> Response,
    /// The rest of the operation's description: `parameters`, `requestBody`, `responses` (OpenAPI 3.1). What all have in
    /// common (errors, security) is added.
    pub describe: fn() -> Value,
}

/// What a call wants of a request's body.
#[derive(Clone, Copy, Debug)]
pub enum BodyRule {
    /// None: what comes is read and dropped.
    None,
    /// JSON, in memory, of at most so many octets; absent is an error unless `optional`.
    Json {
        /// Octets.
        max: u64,
        /// It may be missing.
        optional: bool,
    },
    /// JSON that holds a message, in memory: the bound is made from the bound of messages.
    JsonMessage,
    /// `message/rfc822` goes into a spool that this opens (first look at the request), or JSON as in `JsonMessage`.
    Message(fn(&Request<'_>, SpoolId, u64) -> Result<Ask, Failure>),
    /// Octets of any type in memory, of at most so many.
    Any(u64),
}

/// How it goes on with a request that was read.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Ask, and answer with [`Route::render`].
    Ask(Ask),
    /// Answered without asking.
    Respond(Response),
}

/// A request as a call sees it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Its head.
    pub head: &'a Head,
    /// Values of the path's parameters, in their order, decoded.
    pub parameters: &'a [String],
    /// The query's names and values, decoded, in their order.
    pub query: &'a [(String, String)],
    /// The body, if it is in memory and read already.
    pub body: &'a [u8],
    /// The body, if it is in a spool.
    pub spool: Option<SpoolId>,
    /// What the API was told at its start.
    pub settings: &'a super::Settings,
    /// The connection is encrypted.
    pub secure: bool,
    /// The time.
    pub now: crate::time::Now,
}

impl Request<'_> {
    /// A parameter of the path. Empty if the table names none of this number.
    #[must_use]
    pub fn parameter(&self, index: usize) -> &str {
        self.parameters.get(index).map_or("", String::as_str)
    }

    /// The first value of a name of the query.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// All calls, in the order in which the description has them.
pub fn table() -> impl Iterator<Item = &'static Route> {
    let parts: [&'static [Route]; 6] = [
        super::session::ROUTES,
        super::mail::ROUTES,
        super::send::ROUTES,
        super::admin::ROUTES,
        super::state::ROUTES,
        super::setup::ROUTES,
    ];
    parts.into_iter().flatten()
}

/// The call that a head means, and the values of the path's parameters.
pub(super) fn find(head: &Head) -> Result<(&'static Route, Vec<String>), Failure> {
    for route in table() {
        if let Some(parameters) = matches(route.path, &head.path)
            && route.method == head.method
        {
            return Ok((route, parameters));
        }
    }
    Err(Failure::not_found())
}

/// The parameters, if the path is of this form.
fn matches(form: &str, path: &str) -> Option<Vec<String>> {
    let mut parameters = Vec::new();
    let (mut form, mut path) = (form.split('/'), path.split('/'));
    loop {
        match (form.next(), path.next()) {
            (None, None) => return Some(parameters),
            (Some(wanted), Some(given)) if wanted.starts_with('{') => parameters.push(given.to_owned()),
            (Some(wanted), Some(given)) if wanted == given => {}
            _ => return None,
        }
    }
}
