//! Many messages at once: each has its own outcome.

use serde_json::{Value, json};

use super::super::json::{self as fields, Object, Parsed};
use super::super::{Access, Answer as Any, BodyRule, Failure, Next, Request, Route, query};
use super::change::{flag_fields, folder, read_flags};
use super::{Answer, Ask, Change, Deed, MessageId, Outcome, answer, ask, describe, unexpected};
use crate::http::Response;

/// Messages of one request.
pub(super) const MAX_IDS: usize = 1_000;
/// Octets of a body.
const MAX_BODY: u64 = 256 * 1024;

const BODY: BodyRule = BodyRule::Json {
    max: MAX_BODY,
    optional: false,
};

pub(super) const FLAGS: Route = Route {
    method: "POST",
    path: "/messages/flags",
    name: "flagMessages",
    summary: "Changes flags of many messages.",
    access: Access::User,
    body: BODY,
    begin: |request| {
        begin(request, |body| {
            let (add, remove) = read_flags(body);
            let to = None;
            Some(Deed::Change(Change { add, remove, to }))
        })
    },
    render: |_, told| render(told),
    describe: || {
        let [add, remove] = flag_fields();
        operation(&["ids"], &[add, remove])
    },
};

pub(super) const MOVE: Route = Route {
    method: "POST",
    path: "/messages/move",
    name: "moveMessages",
    summary: "Moves many messages into a folder: they have other ids there.",
    access: Access::User,
    body: BODY,
    begin: |request| {
        begin(request, |body| {
            let to = body.required("folder", folder);
            Some(Deed::Change(Change {
                to: Some(to?),
                ..Change::default()
            }))
        })
    },
    render: |_, told| render(told),
    describe: || {
        let folder = describe::folder_id("The folder that they go to.");
        operation(&["ids", "folder"], &[("folder", folder)])
    },
};

pub(super) const COPY: Route = Route {
    method: "POST",
    path: "/messages/copy",
    name: "copyMessages",
    summary: "Copies many messages into a folder.",
    access: Access::User,
    body: BODY,
    begin: |request| begin(request, |body| body.required("folder", folder).map(Deed::Copy)),
    render: |_, told| render(told),
    describe: || {
        let folder = describe::folder_id("The folder that gets the copies.");
        operation(&["ids", "folder"], &[("folder", folder)])
    },
};

pub(super) const DELETE: Route = Route {
    method: "POST",
    path: "/messages/delete",
    name: "deleteMessages",
    summary: "Moves many messages into the trash; those that are there already go for good.",
    access: Access::User,
    body: BODY,
    begin: |request| {
        begin(request, |body| {
            let permanent = body.optional("permanent", fields::boolean);
            Some(Deed::Delete {
                permanent: permanent.unwrap_or(false),
            })
        })
    },
    render: |_, told| render(told),
    describe: || {
        let permanent = json!({ "type": ["boolean", "null"], "default": false, "description": "For good, wherever they are." });
        operation(&["ids"], &[("permanent", permanent)])
    },
};

fn begin(request: &Request<'_>, deed: impl FnOnce(&mut Object<'_>) -> Option<Deed>) -> Result<Next, Failure> {
    query::read(request, |_| ())?;
    fields::read(request, |body| {
        let ids = body.list("ids", MAX_IDS, id);
        if ids.as_ref().is_some_and(Vec::is_empty) {
            body.wrong("ids", "expected at least one id");
        } else if ids.is_none() && !body.has("ids") {
            body.wrong("ids", "missing");
        }
        let deed = deed(body);
        let (ids, deed) = (ids?, deed?);
        Some(ask(Ask::Do { ids, deed }))
    })
}

fn id(value: &Value) -> Parsed<MessageId> {
    let id = value.as_str().and_then(MessageId::parse);
    id.ok_or_else(|| "expected the id of a message".to_owned())
}

fn render(told: Any) -> Response {
    let Some(Answer::Outcomes(outcomes)) = answer(told) else {
        return unexpected();
    };
    let results: Vec<Value> = outcomes.iter().map(told_of).collect();
    Response::json(200, &json!({ "results": results }))
}

fn told_of(outcome: &Outcome) -> Value {
    match &outcome.result {
        Ok(changed) => {
            let mut told = json!({ "id": outcome.id, "status": 200 });
            if let Some(told) = told.as_object_mut() {
                if let Some(id) = changed.id.filter(|id| *id != outcome.id) {
                    told.insert("new_id".to_owned(), json!(id));
                }
                if changed.id.is_some() {
                    told.insert("flags".to_owned(), json!(changed.flags));
                }
            }
            told
        }
        Err(failure) => json!({ "id": outcome.id, "status": failure.status, "error": failure.error }),
    }
}

fn operation(required: &[&str], more: &[(&'static str, Value)]) -> Value {
    let mut fields = vec![("ids", describe::ids())];
    fields.extend(more.iter().cloned());
    let body = describe::body(&describe::form(required, &fields));
    let answer = describe::answer("What became of each.", &describe::results());
    describe::operation(&[], Some(body), &[(200, answer)])
}
