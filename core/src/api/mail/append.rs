//! `POST /folders/{id}/messages`: a message that is put into a folder, not sent.

use serde_json::json as value;

use super::super::json::{self, Parsed};
use super::super::send::{self, Draft};
use super::super::{Access, Ask as Any, BodyRule, Failure, Next, Request, Route, query};
use super::change::{Flag, gather};
use super::{Answer, Ask, FolderId, answer, ask, describe, folder_of, unexpected};
use crate::http::Response;
use crate::machine::SpoolId;
use crate::mailbox::Flags;
use crate::text::rfc3339;
use crate::time::{DateTime, Unix};

/// Flags of one message.
const MAX_FLAGS: usize = 100;

/// A message that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// Where it goes.
    pub folder: FolderId,
    /// What it is.
    pub source: Source,
    /// Its flags.
    pub flags: Flags,
    /// When it arrived; none: now.
    pub date: Option<DateTime>,
}

/// Where a new message comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Its octets were uploaded.
    Spool(SpoolId),
    /// It is described, and is to be written; at most so many octets. What it lacks it is given: From, Date, Message-ID.
    Draft(Box<Draft>, u64),
}

pub(super) const APPEND: Route = Route {
    method: "POST",
    path: "/folders/{id}/messages",
    name: "appendMessage",
    summary: "Puts a message into a folder: as it is, nobody is sent anything.",
    access: Access::User,
    body: BodyRule::Message(open),
    begin,
    render: |_, told| match answer(told) {
        Some(Answer::Appended(id)) => {
            let body = value!({ "id": id, "folder": id.folder });
            Response::json(201, &body).with("Location", format!("/messages/{id}"))
        }
        _ => unexpected(),
    },
    describe: || {
        let flag = super::describe::ATOM.replace(',', "");
        let flags =
            value!({ "type": "string", "pattern": format!("^{flag}{{1,255}}(?:,{flag}{{1,255}}){{0,99}}$") });
        let date = value!({ "type": "string", "format": "date-time" });
        let message = value!({
            "required": true,
            "content": { "message/rfc822": { "schema": { "type": "string", "minLength": 1 } }, "application/json": { "schema": send::schemas() } },
        });
        let answer = describe::object(&[
            ("id", describe::text("The new message's id.")),
            ("folder", describe::text("The folder that it is in.")),
        ]);
        describe::operation(
            &[
                describe::in_path("id", "The folder's id."),
                describe::in_query(
                    "flags",
                    &flags,
                    "Its flags, with commas between them: `seen,$Forwarded`.",
                ),
                describe::in_query("date", &date, "When it is to have arrived; else now."),
            ],
            Some(message),
            &[(
                201,
                describe::answer("It is there. Location tells where.", &answer),
            )],
        )
    },
};

/// What the path and the query say.
fn wanted(request: &Request<'_>) -> Result<(FolderId, Flags, Option<DateTime>), Failure> {
    let folder = folder_of(request)?;
    query::read(request, |query| {
        let flags = query.optional("flags", |text| {
            if text.split(',').count() > MAX_FLAGS {
                return Err(format!("expected at most {MAX_FLAGS} flags"));
            }
            let flags = text.split(',').map(Flag::parse);
            flags.collect::<Result<Vec<Flag>, String>>().map(gather)
        });
        let date = query.optional("date", date);
        (folder, flags.unwrap_or_default(), date)
    })
}

/// A moment. What was before 1970 counts as its first.
fn date(text: &str) -> Parsed<DateTime> {
    let early = text.get(..4).filter(|year| *year < "1970");
    let date = match early {
        // A year that has all days.
        Some(_) => {
            rfc3339::parse(&format!("1972{}", text.get(4..).unwrap_or_default())).map(|_| Unix::default())
        }
        None => rfc3339::parse(text),
    };
    date.map(DateTime::from)
        .ok_or_else(|| "expected a moment: 2027-01-31T12:00:00Z".to_owned())
}

/// The body is about to come.
fn open(request: &Request<'_>, spool: SpoolId, size: u64) -> Result<Any, Failure> {
    let (folder, ..) = wanted(request)?;
    Ok(Any::Mail(Ask::Open { spool, folder, size }))
}

fn begin(request: &Request<'_>) -> Result<Next, Failure> {
    let (folder, flags, date) = wanted(request)?;
    let max = request.settings.max_message_size;
    let source = match request.spool {
        Some(spool) => Source::Spool(spool),
        None => {
            let most = usize::try_from(max).unwrap_or(usize::MAX);
            let draft = json::read(request, |body| send::draft(body, most))?;
            Source::Draft(Box::new(draft), max)
        }
    };
    Ok(ask(Ask::Append(NewMessage {
        folder,
        source,
        flags,
        date,
    })))
}
