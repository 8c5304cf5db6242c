//! `GET /events`: what happens in the folders, as it happens (server-sent events, as browsers read them).

use serde_json::json;

use super::super::{Access, Answer as Any, BodyRule, Failure, Request, Route, query};
use super::point::MAX_FOLDERS;
use super::{Answer, Ask, FolderId, Look, answer, ask, describe, no_such_folder, unexpected};
use crate::http::{Body, Response};

pub(super) const EVENTS: Route = Route {
    method: "GET",
    path: "/events",
    name: "listenToEvents",
    summary: "Tells what happens in the folders as it happens, until the client goes or its token ends.",
    access: Access::User,
    body: BodyRule::None,
    begin: |request| {
        wanted(request)?;
        Ok(ask(Ask::Look(Look {
            list: true,
            folders: Vec::new(),
        })))
    },
    render: |request, told| respond(request, told).unwrap_or_else(|failure| failure.response()),
    describe: || {
        let text = json!({ "type": "string" });
        let stream = json!({
            "description": "Events. `message`: a message has come; `flags`: one has other flags; `gone`: one has gone \
                (`{\"id\", \"folder\", \"flags\"}`); `folder`: one was created, renamed or deleted (`{\"id\", \"name\", \
                \"change\"}`); `reload`: there was more than is told one by one: look at this folder again, or, if it is \
                null, at the list of folders; `ready`: from here on all is told. Events may be told twice, none is left \
                out.",
            "content": { "text/event-stream": { "schema": text } },
        });
        let last = json!({
            "name": "Last-Event-ID", "in": "header", "required": false, "schema": text,
            "description": "The last `id` that was received: what has happened since then is told first.",
        });
        describe::operation(
            &[
                describe::in_query(
                    "folder",
                    &text,
                    "Ids of folders, with commas between them; else all are told of.",
                ),
                last,
            ],
            None,
            &[(200, stream)],
        )
    },
};

/// The folders that the client wants to hear of; none: all.
pub(super) fn wanted(request: &Request<'_>) -> Result<Vec<FolderId>, Failure> {
    let folders = query::read(request, |query| {
        query.optional("folder", |text| {
            if text.split(',').count() > MAX_FOLDERS {
                return Err(format!("expected at most {MAX_FOLDERS} folders"));
            }
            let folders: Option<Vec<FolderId>> = text.split(',').map(FolderId::parse).collect();
            folders.ok_or_else(|| "expected ids of folders, with commas between them".to_owned())
        })
    })?;
    Ok(folders.unwrap_or_default())
}

fn respond(request: &Request<'_>, told: Any) -> Result<Response, Failure> {
    let Some(Answer::Looked(looked)) = answer(told) else {
        return Ok(unexpected());
    };
    let list = looked.list.unwrap_or_default();
    let wanted = wanted(request)?;
    let there = |folder: &FolderId| list.iter().any(|(id, _)| id == folder);
    if !wanted.iter().all(there) {
        return Err(no_such_folder());
    }
    if wanted.is_empty() && list.len() > MAX_FOLDERS {
        let text =
            format!("There are too many folders to hear of all: name at most {MAX_FOLDERS} as `folder`");
        return Err(Failure::new(409, text));
    }
    Ok(Response::empty(200)
        .with("Content-Type", "text/event-stream")
        .with("Cache-Control", "no-store")
        .with("X-Accel-Buffering", "no")
        .with_body(Body::Stream))
}
