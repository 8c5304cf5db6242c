//! One message: flags, moves, copies, deletion.

use serde::Serialize;
use serde_json::{Value, json};

use super::super::json::{self as fields, Object, Parsed};
use super::super::{Access, Answer as Any, BodyRule, Failure, Next, Request, Route, query};
use super::summary::FLAGS;
use super::{Answer, Ask, FolderId, MessageId, answer, ask, describe, message_of, unexpected};
use crate::http::Response;
use crate::mailbox::{Flags, Keyword};

/// Octets of a body.
const MAX_BODY: u64 = 16 * 1024;
/// Flags of one list.
const MAX_FLAGS: usize = 100;

/// What is done with messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Flags first, then the move.
    Change(Change),
    /// A copy in this folder.
    Copy(FolderId),
    /// Into the trash; from there, and if it is said, for good.
    Delete {
        /// For good, wherever it is.
        permanent: bool,
    },
}

/// What becomes of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Flags that it gets.
    pub add: Flags,
    /// Flags that it loses.
    pub remove: Flags,
    /// Where it goes.
    pub to: Option<FolderId>,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// As it was named.
    pub id: MessageId,
    /// How it is now, or why nothing was done.
    pub result: Result<Changed, Failure>,
}

/// A message as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Its id, or that of its copy; none: it is gone.
    pub id: Option<MessageId>,
    /// Its flags.
    pub flags: Vec<String>,
}

#[derive(Serialize)]
struct Now<'a> {
    id: MessageId,
    folder: FolderId,
    flags: &'a [String],
}

pub(super) const CHANGE: Route = Route {
    method: "PATCH",
    path: "/messages/{id}",
    name: "changeMessage",
    summary: "Changes flags of a message, or moves it: then it has another id.",
    access: Access::User,
    body: BodyRule::Json {
        max: MAX_BODY,
        optional: false,
    },
    begin: change,
    render: |_, told| one(200, told),
    describe: || {
        let form = describe::form(
            &[],
            &[
                ("flags", describe::or_null(describe::form(&[], &flag_fields()))),
                (
                    "folder",
                    describe::or_null(describe::folder_id("The folder that it goes to.")),
                ),
            ],
        );
        let answer = describe::answer("The message as it is now.", &describe::changed());
        describe::operation(&[id()], Some(describe::body(&form)), &[(200, answer)])
    },
};

fn change(request: &Request<'_>) -> Result<Next, Failure> {
    let id = message_of(request)?;
    query::read(request, |_| ())?;
    fields::read(request, |body| {
        let flags = body.object("flags", |flags| Some(read_flags(flags)));
        let to = body.optional("folder", folder);
        let (add, remove) = flags.unwrap_or_default();
        Some(ask(Ask::Do {
            ids: vec![id],
            deed: Deed::Change(Change { add, remove, to }),
        }))
    })
}

pub(super) const DELETE: Route = Route {
    method: "DELETE",
    path: "/messages/{id}",
    name: "deleteMessage",
    summary: "Moves a message into the trash; one that is there already goes for good.",
    access: Access::User,
    body: BodyRule::None,
    begin: |request| {
        let id = message_of(request)?;
        query::read(request, |query| {
            let permanent = query.optional("permanent", query::boolean);
            ask(Ask::Do {
                ids: vec![id],
                deed: Deed::Delete {
                    permanent: permanent.unwrap_or(false),
                },
            })
        })
    },
    render: |_, told| one(200, told),
    describe: || {
        let permanent = json!({ "type": "boolean", "default": false });
        let permanent = describe::in_query("permanent", &permanent, "For good, wherever it is.");
        let moved = describe::answer("It is in the trash, under this id.", &describe::changed());
        let gone = describe::nothing("It is gone for good.");
        describe::operation(&[id(), permanent], None, &[(200, moved), (204, gone)])
    },
};

pub(super) const COPY: Route = Route {
    method: "POST",
    path: "/messages/{id}/copy",
    name: "copyMessage",
    summary: "Copies a message into a folder.",
    access: Access::User,
    body: BodyRule::Json {
        max: MAX_BODY,
        optional: false,
    },
    begin: |request| {
        let id = message_of(request)?;
        query::read(request, |_| ())?;
        fields::read(request, |body| {
            let to = body.required("folder", folder);
            Some(ask(Ask::Do {
                ids: vec![id],
                deed: Deed::Copy(to?),
            }))
        })
    },
    render: |_, told| one(201, told),
    describe: || {
        let folder = describe::folder_id("The folder that gets the copy.");
        let form = describe::form(&["folder"], &[("folder", folder)]);
        let answer = describe::answer("The copy. Location tells where it is.", &describe::changed());
        describe::operation(&[id()], Some(describe::body(&form)), &[(201, answer)])
    },
};

/// What became of one message.
fn one(status: u16, told: Any) -> Response {
    let Some(Answer::Outcomes(outcomes)) = answer(told) else {
        return unexpected();
    };
    match outcomes.into_iter().next().map(|outcome| outcome.result) {
        Some(Ok(Changed { id: Some(id), flags })) => {
            let folder = id.folder;
            let flags = &flags;
            let response = Response::json(status, &Now { id, folder, flags });
            match status {
                201 => response.with("Location", format!("/messages/{id}")),
                _ => response,
            }
        }
        Some(Ok(Changed { id: None, .. })) => Response::empty(204),
        Some(Err(failure)) => failure.response(),
        None => unexpected(),
    }
}

/// `add` and `remove`.
pub(super) fn read_flags(body: &mut Object<'_>) -> (Flags, Flags) {
    let add = body.list("add", MAX_FLAGS, flag);
    let remove = body.list("remove", MAX_FLAGS, flag);
    (
        gather(add.unwrap_or_default()),
        gather(remove.unwrap_or_default()),
    )
}

/// A flag by its word, or as IMAP has it; or a keyword.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flag(Flags);

impl Flag {
    pub(super) fn parse(text: &str) -> Parsed<Self> {
        let plain = text.strip_prefix('\\').unwrap_or(text);
        let system = FLAGS.iter().find(|(_, word)| word.eq_ignore_ascii_case(plain));
        if let Some((flag, _)) = system {
            return Ok(Self(Flags {
                system: *flag,
                keywords: Vec::new(),
            }));
        }
        let keyword = Keyword::new(text).ok_or_else(|| {
            "expected seen, answered, flagged, deleted, draft, or a keyword of ASCII letters and digits"
                .to_owned()
        })?;
        Ok(Self(Flags {
            keywords: vec![keyword],
            ..Flags::default()
        }))
    }
}

/// All of these flags together.
pub(super) fn gather(all: Vec<Flag>) -> Flags {
    let mut flags = Flags::default();
    for Flag(one) in all {
        flags.system = flags.system.with(one.system);
        for keyword in one.keywords {
            if !flags.keywords.contains(&keyword) {
                flags.keywords.push(keyword);
            }
        }
    }
    flags
}

fn flag(value: &Value) -> Parsed<Flag> {
    Flag::parse(&fields::line(Keyword::MAX)(value)?)
}

/// The id of a folder.
pub(super) fn folder(value: &Value) -> Parsed<FolderId> {
    let id = value.as_str().and_then(FolderId::parse);
    id.ok_or_else(|| "expected the id of a folder".to_owned())
}

pub(super) fn flag_fields() -> [(&'static str, Value); 2] {
    let words = "`seen`, `answered`, `flagged`, `deleted`, `draft`, or keywords.";
    [
        (
            "add",
            describe::given_flags(&format!("Flags that it gets: {words}")),
        ),
        (
            "remove",
            describe::given_flags(&format!("Flags that it loses: {words}")),
        ),
    ]
}

fn id() -> Value {
    describe::in_path("id", "The message's id.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::SystemFlags;

    #[test]
    fn flags_by_word_by_imap_name_and_keywords() {
        let parse = |text: &str| Flag::parse(text).map(|Flag(flags)| flags);
        for seen in ["seen", "Seen", "\\Seen"] {
            assert_eq!(parse(seen).map(|flags| flags.system), Ok(SystemFlags::SEEN));
        }
        assert_eq!(parse("$Forwarded").map(|flags| flags.keywords.len()), Ok(1));
        for bad in ["\\Recent", "a b", "ü", "", "x]"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        let all = ["seen", "Work", "WORK", "draft"].map(|text| Flag::parse(text).expect("a flag"));
        let flags = gather(all.to_vec());
        assert_eq!(flags.system, SystemFlags::SEEN.with(SystemFlags::DRAFT));
        assert_eq!(flags.keywords.len(), 1);
    }
}
