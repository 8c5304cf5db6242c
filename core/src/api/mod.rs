//! The HTTP API: from a request to a question for the service, and from its answer to a response.
//!
//! [`Api`] is what one connection has of it, above [`crate::http::HttpSession`], which knows how HTTP is framed. A request goes
//! through these steps: the table of [`route`] finds the call; the token is looked at; the body is read, where the call wants
//! one; the call makes a question ([`Ask`]) of it, and a response of the answer ([`Answer`]).
//!
//! | file | calls |
//! |---|---|
//! | `session.rs` | `/auth/…` |
//! | `mail.rs` | `/folders…`, `/messages…`, `/events` |
//! | `send.rs` | `/send` |
//! | `admin.rs` | `/users…`, `/aliases…`, `/queue…`, `/stats` |
//! | `state.rs` | `/health`, `/metrics`, `/openapi.json`, `/docs` |
//! | `setup.rs` | what clients read to set themselves up |

pub mod admin;
mod call;
mod failure;
pub mod mail;
pub mod route;
pub mod send;
pub mod session;
mod settings;
pub mod setup;
pub mod state;

pub use call::{Access, Answer, Ask, Call, Caller, Reply};
pub use failure::{Detail, Failure};
pub use route::{BodyRule, Next, Request, Route};
pub use settings::Settings;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::http::{Head, Response};
use crate::machine::{Scope, SpoolId, WatchId};
use crate::mailbox::ModSeq;
use crate::note::Note;
use crate::peer::Peer;
use crate::time::{Mono, Now};

/// What the API wants of the HTTP session.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Ask the service; [`Api::reply`] follows.
    Call(Call),
    /// Read the request's body, and tell it by [`Api::body`], or [`Api::no_body`] if it is longer than `max` or is cut off. What
    /// the client waits for (100 Continue) is sent now.
    Read {
        /// Octets at most.
        max: u64,
        /// Where it goes; none: it is told whole.
        spool: Option<SpoolId>,
    },
    /// The answer. With [`crate::http::Body::Stream`] pushes follow.
    Respond(Response),
    /// More of a stream.
    Push(Vec<u8>),
    /// The stream's end.
    End,
    /// As [`crate::machine::Action::Watch`].
    Watch(WatchId, Scope, ModSeq),
    /// As [`crate::machine::Action::Unwatch`].
    Unwatch(WatchId),
    /// As [`crate::machine::Action::Note`].
    Note(Note),
}

/// The API as one connection has it. One request at a time: [`Api::request`], then steps until the answer and, if it is a stream,
/// until [`Step::End`] or [`Api::gone`].
#[derive(Debug)]
pub struct Api {
    settings: Arc<Settings>,
    peer: Peer,
    secure: bool,
    pending: Option<Box<Pending>>,
    steps: VecDeque<Step>,
    spools: u32,
}

/// A request on its way.
#[derive(Debug)]
struct Pending {
    head: Head,
    parameters: Vec<String>,
    query: Vec<(String, String)>,
    route: &'static Route,
    caller: Option<Caller>,
    spool: Option<SpoolId>,
    /// The spool is being opened: the body is read when it is.
    opening: bool,
    body: Vec<u8>,
}

impl Pending {
    fn request<'a>(&'a self, settings: &'a Settings, secure: bool, now: Now) -> Request<'a> {
        Request {
            head: &self.head,
            parameters: &self.parameters,
            query: &self.query,
            body: &self.body,
            spool: self.spool,
            settings,
            secure,
            now,
        }
    }
}

impl Api {
    /// For a connection from `peer`.
    #[must_use]
    pub fn new(settings: Arc<Settings>, peer: Peer) -> Self {
        Self {
            settings,
            peer,
            secure: false,
            pending: None,
            steps: VecDeque::new(),
            spools: 0,
        }
    }

    /// The connection is encrypted.
    pub fn encrypted(&mut self) {
        self.secure = true;
    }

    /// The next step, oldest first.
    pub fn poll_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// When [`Api::tick`] is wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Mono> {
        None
    }

    /// The deadline of [`Api::poll_timeout`] may have passed.
    pub fn tick(&mut self, _now: Now) {}

    /// A watch has something.
    pub fn dirty(&mut self, _now: Now, _watch: WatchId) {}

    /// The response is out, or the client is gone, or the server goes down: a stream ends, and nothing is left of the request.
    pub fn gone(&mut self) {
        self.pending = None;
    }

    /// A request's head is here.
    pub fn request(&mut self, now: Now, head: Head) {
        let line = format!("{} {}", head.method, head.path);
        self.steps.push_back(Step::Note(Note::Command(line)));
        if let Err(failure) = self.begin(now, head) {
            self.respond(failure.response());
        }
    }

    fn begin(&mut self, now: Now, head: Head) -> Result<(), Failure> {
        let (route, parameters) = route::find(&head)?;
        if self.settings.public && !setup::is_document(route) {
            return Err(Failure::not_found());
        }
        self.pending = Some(Box::new(Pending {
            query: Vec::new(),
            head,
            parameters,
            route,
            caller: None,
            spool: None,
            opening: false,
            body: Vec::new(),
        }));
        match route.body {
            BodyRule::None => self.go_on(now),
            BodyRule::Json { max, .. } | BodyRule::Any(max) => self.read(max, None),
            BodyRule::JsonMessage | BodyRule::Message(_) => self.read(self.settings.max_json_message(), None),
        }
        Ok(())
    }

    fn read(&mut self, max: u64, spool: Option<SpoolId>) {
        self.steps.push_back(Step::Read { max, spool });
    }

    /// The body is whole: its octets, or none if it went to a spool.
    pub fn body(&mut self, now: Now, body: Vec<u8>) {
        if let Some(pending) = &mut self.pending {
            pending.body = body;
            self.go_on(now);
        }
    }

    /// There is no body: it was longer than permitted (`too_large`), or it ended too early.
    pub fn no_body(&mut self, _now: Now, too_large: bool) {
        if too_large {
            self.respond(Failure::new(413, "The body is too large").response());
        }
    }

    fn go_on(&mut self, now: Now) {
        let Some(pending) = &self.pending else { return };
        let request = pending.request(&self.settings, self.secure, now);
        match (pending.route.begin)(&request) {
            Ok(Next::Ask(ask)) => self.steps.push_back(Step::Call(Call {
                caller: pending.caller.clone(),
                access: pending.route.access,
                ask,
            })),
            Ok(Next::Respond(response)) => self.respond(response),
            Err(failure) => self.respond(failure.response()),
        }
    }

    /// The service has answered.
    pub fn reply(&mut self, now: Now, reply: Reply) {
        let Some(pending) = &self.pending else { return };
        let response = match reply {
            Ok(answer) => (pending.route.render)(&pending.request(&self.settings, self.secure, now), answer),
            Err(failure) => failure.response(),
        };
        self.respond(response);
    }

    fn respond(&mut self, response: Response) {
        self.pending = None;
        self.steps.push_back(Step::Respond(response));
    }
}
