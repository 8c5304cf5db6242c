//! One message: parsed, raw, its parts.

use serde_json::{Value, json};

use super::super::{Access, Answer as Any, BodyRule, Failure, Next, Request, Route, query};
use super::{Answer, Ask, answer, ask, describe, message_of, unexpected};
use crate::http::Response;
use crate::mime::section::Spec;

pub(super) const SHOW: Route = Route {
    method: "GET",
    path: "/messages/{id}",
    name: "showMessage",
    summary: "A message: its header, its text, and a list of its attachments.",
    access: Access::User,
    body: BodyRule::None,
    begin: |request| {
        let id = message_of(request)?;
        query::read(request, |_| ask(Ask::Message(id)))
    },
    render: |_, told| match answer(told) {
        Some(Answer::Message(message)) => Response::json(200, &message),
        _ => unexpected(),
    },
    describe: || {
        let answer = describe::answer("The message.", &describe::message());
        describe::operation(&[id()], None, &[(200, answer)])
    },
};

pub(super) const RAW: Route = Route {
    method: "GET",
    path: "/messages/{id}/raw",
    name: "rawMessage",
    summary: "A message octet for octet, as it was received.",
    access: Access::User,
    body: BodyRule::None,
    begin: |request| {
        let id = message_of(request)?;
        query::read(request, |_| ask(Ask::Raw(id)))
    },
    render: |_, told| download(told),
    describe: || {
        let octets =
            json!({ "description": "The message.", "content": { "message/rfc822": { "schema": {} } } });
        describe::operation(&[id()], None, &[(200, octets)])
    },
};

pub(super) const PART: Route = Route {
    method: "GET",
    path: "/messages/{id}/parts/{part}",
    name: "showPart",
    summary: "The octets of a part of a message, its transfer encoding undone.",
    access: Access::User,
    body: BodyRule::None,
    begin: part,
    render: |_, told| download(told),
    describe: || {
        let octets = json!({
            "description": "The part. Content-Type is its own. It may be of any kind, and was written by a stranger: the \
                answer comes with a policy that keeps it from acting in a browser.",
            "content": { "*/*": { "schema": {} } },
        });
        let part = describe::in_path("part", "The part's number, as `attachments` has it: `2`, `1.2`.");
        describe::operation(&[id(), part], None, &[(200, octets)])
    },
};

fn part(request: &Request<'_>) -> Result<Next, Failure> {
    let id = message_of(request)?;
    let numbers = numbers(request.parameter(1)).ok_or_else(|| Failure::new(404, "No such part"))?;
    query::read(request, |_| ask(Ask::Part(id, numbers)))
}

/// `1.2.3`.
fn numbers(text: &str) -> Option<Vec<u32>> {
    let number = |text: &str| {
        let plain = text.bytes().all(|octet| octet.is_ascii_digit()) && !text.starts_with('0');
        text.parse().ok().filter(|_| plain)
    };
    let numbers: Option<Vec<u32>> = text.split('.').take(Spec::MAX_DEPTH + 1).map(number).collect();
    numbers.filter(|numbers| numbers.len() <= Spec::MAX_DEPTH)
}

fn download(told: Any) -> Response {
    match answer(told) {
        Some(Answer::Download(download)) => download.response(),
        _ => unexpected(),
    }
}

fn id() -> Value {
    describe::in_path("id", "The message's id.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_parts() {
        assert_eq!(numbers("1"), Some(vec![1]));
        assert_eq!(numbers("1.20.3"), Some(vec![1, 20, 3]));
        assert_eq!(
            numbers(&vec!["1"; Spec::MAX_DEPTH].join(".")).map(|n| n.len()),
            Some(Spec::MAX_DEPTH)
        );
        for bad in ["", ".", "1.", "0", "01", "+1", "1..2", "a", "4294967296"] {
            assert_eq!(numbers(bad), None, "{bad:?}");
        }
        assert_eq!(numbers(&"1.".repeat(100_000)), None);
        assert_eq!(numbers(&vec!["1"; Spec::MAX_DEPTH + 1].join(".")), None);
    }
}
