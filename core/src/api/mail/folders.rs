//! `/folders`.

use serde::Serialize;
use serde_json::{Value, json};

use super::super::json::{self as fields, Parsed};
use super::super::{Access, Answer as Any, BodyRule, Failure, Next, Request, Route, query};
use super::{Answer, Ask, FolderId, answer, ask, describe, folder_of, unexpected};
use crate::http::Response;
use crate::mailbox::{MailboxName, SpecialUse};

/// Octets of a body.
const MAX_BODY: u64 = 16 * 1024;

/// A folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Folder {
    /// MAILBOXID (RFC 8474 §4).
    pub id: FolderId,
    /// Its name; `/` stands between levels.
    pub name: String,
    /// The folder above it.
    pub parent: Option<FolderId>,
    /// What it is for.
    pub role: Option<&'static str>,
    /// Programs that show only some folders show it.
    pub subscribed: bool,
    /// How many messages it has.
    pub messages: u64,
    /// How many of them are not `\Seen`.
    pub unread: u64,
    /// Octets of all of them.
    pub size: u64,
}

/// The words for what folders are for. Of those, that of INBOX cannot be given.
const ROLES: [&str; 6] = ["archive", "drafts", "flagged", "junk", "sent", "trash"];

impl Folder {
    /// The word for a special use, and for INBOX.
    #[must_use]
    pub fn role(name: &MailboxName, uses: &[SpecialUse]) -> Option<&'static str> {
        if name.is_inbox() {
            return Some("inbox");
        }
        let first = uses.first()?;
        let at = SpecialUse::ALL.iter().position(|known| known == first)?;
        ROLES.get(at).copied()
    }
}

fn special_use(role: &str) -> Option<SpecialUse> {
    let at = ROLES.iter().position(|known| *known == role)?;
    SpecialUse::ALL.get(at).copied()
}

pub(super) const LIST: Route = Route {
    method: "GET",
    path: "/folders",
    name: "listFolders",
    summary: "All folders with their counts, in the order of their names.",
    access: Access::User,
    body: BodyRule::None,
    begin: |request| query::read(request, |_| ask(Ask::Folders)),
    render: |_, told| match answer(told) {
        Some(Answer::Folders(folders)) => Response::json(200, &List { folders: &folders }),
        _ => unexpected(),
    },
    describe: || {
        let folders = describe::list(&describe::folder(), "In the order of their names.");
        let answer = describe::object(&[("folders", folders)]);
        describe::operation(&[], None, &[(200, describe::answer("The folders.", &answer))])
    },
};

#[derive(Serialize)]
struct List<'a> {
    folders: &'a [Folder],
}

pub(super) const SHOW: Route = Route {
    method: "GET",
    path: "/folders/{id}",
    name: "showFolder",
    summary: "One folder with its counts.",
    access: Access::User,
    body: BodyRule::None,
    begin: |request| {
        let folder = folder_of(request)?;
        query::read(request, |_| ask(Ask::Folder(folder)))
    },
    render: |_, told| folder(200, told),
    describe: || {
        let answer = describe::answer("The folder.", &describe::folder());
        describe::operation(&[id()], None, &[(200, answer)])
    },
};

pub(super) const CREATE: Route = Route {
    method: "POST",
    path: "/folders",
    name: "createFolder",
    summary: "Makes a folder, and those above it that are missing.",
    access: Access::User,
    body: BodyRule::Json {
        max: MAX_BODY,
        optional: false,
    },
    begin: create,
    render: |_, told| match answer(told) {
        Some(Answer::Folder(folder)) => {
            let place = format!("/folders/{}", folder.id);
            Response::json(201, &folder).with("Location", place)
        }
        _ => unexpected(),
    },
    describe: || {
        let form = describe::form(
            &["name"],
            &[
                ("name", name_schema()),
                (
                    "role",
                    json!({ "type": ["string", "null"], "enum": [ROLES[0], ROLES[1], ROLES[2], ROLES[3], ROLES[4], ROLES[5], null], "description": "What it is for." }),
                ),
                (
                    "subscribed",
                    json!({ "type": ["boolean", "null"], "default": true, "description": "Programs that show only some folders show it." }),
                ),
            ],
        );
        let answer = describe::answer("The new folder. Location tells where it is.", &describe::folder());
        describe::operation(&[], Some(describe::body(&form)), &[(201, answer)])
    },
};

fn create(request: &Request<'_>) -> Result<Next, Failure> {
    query::read(request, |_| ())?;
    fields::read(request, |body| {
        let name = body.required("name", name);
        let role = body.optional("role", fields::word(&ROLES));
        let subscribed = body.optional("subscribed", fields::boolean);
        Some(ask(Ask::CreateFolder {
            name: name?,
            role: role.and_then(special_use),
            subscribed: subscribed.unwrap_or(true),
        }))
    })
}

pub(super) const CHANGE: Route = Route {
    method: "PATCH",
    path: "/folders/{id}",
    name: "changeFolder",
    summary: "Renames a folder with all below it, or subscribes to it.",
    access: Access::User,
    body: BodyRule::Json {
        max: MAX_BODY,
        optional: false,
    },
    begin: change,
    render: |_, told| folder(200, told),
    describe: || {
        let form = describe::form(
            &[],
            &[
                ("name", describe::or_null(name_schema())),
                (
                    "subscribed",
                    json!({ "type": ["boolean", "null"], "description": "Programs that show only some folders show it." }),
                ),
            ],
        );
        let answer = describe::answer("The folder as it is now.", &describe::folder());
        describe::operation(&[id()], Some(describe::body(&form)), &[(200, answer)])
    },
};

fn change(request: &Request<'_>) -> Result<Next, Failure> {
    let folder = folder_of(request)?;
    query::read(request, |_| ())?;
    fields::read(request, |body| {
        let name = body.optional("name", name);
        let subscribed = body.optional("subscribed", fields::boolean);
        Some(ask(Ask::ChangeFolder {
            folder,
            name,
            subscribed,
        }))
    })
}

pub(super) const DELETE: Route = Route {
    method: "DELETE",
    path: "/folders/{id}",
    name: "deleteFolder",
    summary: "Deletes a folder and its messages, for good. Folders below it stay.",
    access: Access::User,
    body: BodyRule::None,
    begin: |request| {
        let folder = folder_of(request)?;
        query::read(request, |_| ask(Ask::DeleteFolder(folder)))
    },
    render: |_, told| match answer(told) {
        Some(Answer::Done) => Response::empty(204),
        _ => unexpected(),
    },
    describe: || describe::operation(&[id()], None, &[(204, describe::nothing("It is gone."))]),
};

fn folder(status: u16, told: Any) -> Response {
    match answer(told) {
        Some(Answer::Folder(folder)) => Response::json(status, &folder),
        _ => unexpected(),
    }
}

/// A name of a folder.
fn name(value: &Value) -> Parsed<MailboxName> {
    let text = fields::line(MailboxName::MAX)(value)?;
    MailboxName::new(&text).map_err(|bad| bad.to_string())
}

fn name_schema() -> Value {
    let level = r"(?!\.{1,2}(?:/|$))[^/\u0000-\u001f\u007f-\u009f\u2028\u2029]{1,50}";
    json!({
        "type": "string", "maxLength": 250, "pattern": format!("^{level}(?:/{level}){{0,31}}$"),
        "description": "With the names of the folders above it: `Projects/Rmail`. No level is empty, `.` or `..`.",
    })
}

fn id() -> Value {
    describe::in_path("id", "The folder's id.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_and_special_uses_are_the_same() {
        for (role, special) in ROLES.iter().zip(SpecialUse::ALL) {
            assert_eq!(special.attribute().trim_start_matches('\\').to_lowercase(), *role);
            assert_eq!(special_use(role), Some(special));
            let name = MailboxName::new("x").expect("a name");
            assert_eq!(Folder::role(&name, &[special]), Some(*role));
        }
        assert_eq!(Folder::role(&MailboxName::inbox(), &[]), Some("inbox"));
    }
}
