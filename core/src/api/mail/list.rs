//! `GET /folders/{id}/messages`: pages of summaries, newest first.
//!
//! "Newest" is the order in which messages came into the folder: the descending order of their UIDs, which never changes. So
//! the cursor is the last message of a page: what arrives comes before it, what goes leaves a gap, and no message is told
//! twice or passed over.

use std::sync::Arc;

use serde::Serialize;
use serde_json::json;

use super::super::{Access, BodyRule, Failure, Next, Request, Route, query as parameters};
use super::summary::Summary;
use super::{
    Answer, Ask, FolderId, MessageId, answer, ask, describe, folder_of, no_such_message, query, unexpected,
};
use crate::http::Response;
use crate::mailbox::{Uid, UidSet};
use crate::search::Key;

/// Messages of a page at most.
pub(super) const MAX_LIMIT: u64 = 500;
/// Messages of a page unless it is said.
const LIMIT: u64 = 50;

/// What is wanted of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Which.
    pub folder: FolderId,
    /// Messages at most.
    pub limit: usize,
    /// Only messages with a lower UID.
    pub before: Option<Uid>,
    /// Only messages that match.
    pub key: Option<Arc<Key>>,
    /// How far a long search is.
    pub so_far: Option<Box<SoFar>>,
}

/// A search of a large folder goes in steps, so that others have their turn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SoFar {
    /// Messages up to this UID were looked at.
    pub until: Uid,
    /// What was found.
    pub found: UidSet,
}

/// A page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Page {
    /// Newest first.
    pub messages: Vec<Summary>,
    /// Messages in the folder; with `q` those that match.
    pub total: u64,
    /// What to ask for as `before`; none: there are no more.
    pub next: Option<MessageId>,
}

pub(super) const LIST: Route = Route {
    method: "GET",
    path: "/folders/{id}/messages",
    name: "listMessages",
    summary: "Messages of a folder, newest first, page by page; with `q` those that match.",
    access: Access::User,
    body: BodyRule::None,
    begin,
    render: |_, told| match answer(told) {
        Some(Answer::Page(page)) => Response::json(200, &page),
        _ => unexpected(),
    },
    describe: || {
        let limit = json!({ "type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": LIMIT });
        let q = json!({ "type": "string", "maxLength": query::MAX_LENGTH, "pattern": query::pattern() });
        let before = describe::message_id();
        let page = describe::object(&[
            ("messages", describe::list(&describe::summary(), "Newest first.")),
            (
                "total",
                describe::number("Messages in the folder; with `q` those that match."),
            ),
            (
                "next",
                describe::maybe("What to ask for as `before` to get the next page; null: this is the last."),
            ),
        ]);
        describe::operation(
            &[
                describe::in_path("id", "The folder's id."),
                describe::in_query("limit", &limit, "Messages at most."),
                describe::in_query(
                    "before",
                    &before,
                    "`next` of the page before, or the id of any message of this folder: only older ones are told. It \
                     may be gone by now.",
                ),
                describe::in_query("q", &q, query::HELP),
            ],
            None,
            &[(200, describe::answer("A page.", &page))],
        )
    },
};

fn begin(request: &Request<'_>) -> Result<Next, Failure> {
    let folder = folder_of(request)?;
    let (listing, wrong, elsewhere) = parameters::read(request, |given| {
        let limit = given.optional("limit", parameters::integer(1..=MAX_LIMIT));
        let before = given.optional("before", |text| {
            let id = MessageId::parse(text);
            id.ok_or_else(|| "expected `next` of another page of this folder".to_owned())
        });
        let elsewhere = before.is_some_and(|before| before.folder != folder);
        let q = given.optional("q", |text| Ok(query::parse(text)));
        let (key, wrong) = match q {
            Some(Err(wrong)) => (None, wrong),
            Some(Ok(Key::All)) | None => (None, Vec::new()),
            Some(Ok(key)) => (Some(Arc::new(key)), Vec::new()),
        };
        let listing = Listing {
            folder,
            limit: usize::try_from(limit.unwrap_or(LIMIT)).unwrap_or_default(),
            before: before.map(|id| id.uid),
            key,
            so_far: None,
        };
        (listing, wrong, elsewhere)
    })?;
    if elsewhere {
        return Err(no_such_message());
    }
    if wrong.is_empty() {
        Ok(ask(Ask::List(listing)))
    } else {
        Err(Failure::invalid(wrong))
    }
}
