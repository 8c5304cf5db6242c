//! The HTTP API: from a request to a question for the service, and from its answer to a response.
//!
//! [`Api`] is what one connection has of it, above [`crate::http::HttpSession`], which knows how HTTP is framed. A request goes
//! through these steps: the table of [`route`] finds the call; the token is looked at; the body is read, where the call wants
//! one; the call makes a question ([`Ask`]) of it, and a response of the answer ([`Answer`]).
//!
//! | file | calls |
//! |---|---|
//! | `session.rs` | `/auth/…` |
//! | `mail/` | `/folders…`, `/messages…`, `/events` |
//! | `send.rs` | `/send` |
//! | `admin.rs` | `/users…`, `/aliases…`, `/queue…`, `/stats` |
//! | `state.rs` | `/health`, `/metrics` |
//! | `docs/` | `/openapi.json`, `/docs` |
//! | `setup.rs` | what clients read to set themselves up |
//!
//! | file | what all share |
//! |---|---|
//! | `json.rs`, `query.rs` | reading bodies and queries, with all that is wrong in them |
//! | `gate.rs` | who may: tokens, credentials in clear text |
//! | `negotiate.rs`, `cors.rs` | media types; pages of browsers |
//! | `failure.rs` | what is answered when something was not done |

pub mod admin;
mod call;
mod cors;
mod docs;
mod failure;
mod gate;
pub mod json;
pub mod mail;
mod negotiate;
pub mod query;
pub mod route;
pub mod send;
pub mod session;
mod settings;
pub mod setup;
pub mod state;

pub use call::{Access, Answer, Ask, Call, Caller, Reply};
pub use cors::Origins;
pub use failure::{Detail, Failure};
pub use route::{BodyRule, Next, Request, Route};
pub use settings::Settings;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::http::{Body, Head, Response};
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

/// The one spool of a connection: a request has one body, and opening another drops what is left of the last.
const SPOOL: SpoolId = SpoolId(1);

/// The API as one connection has it. One request at a time: [`Api::request`], then steps until the answer and, if it is a stream,
/// until [`Step::End`] or [`Api::gone`].
#[derive(Debug)]
pub struct Api {
    settings: Arc<Settings>,
    peer: Peer,
    secure: bool,
    pending: Option<Box<Pending>>,
    steps: VecDeque<Step>,
    /// What browsers are told about the request.
    cors: cors::Told,
    /// Who is told events, since the response.
    listener: Option<Box<mail::Listener>>,
}

/// A request on its way.
#[derive(Debug)]
struct Pending {
    head: Head,
    parameters: Vec<String>,
    query: Vec<(String, String)>,
    route: &'static Route,
    access: Access,
    caller: Option<Caller>,
    local: bool,
    spool: Option<SpoolId>,
    /// The spool is being opened: the body is read when it is.
    opening: bool,
    body: Vec<u8>,
    /// The login that was asked for: what comes of it is noted.
    login: Option<session::Ask>,
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
            caller: self.caller.as_ref(),
            secure,
            local: self.local,
            now,
        }
    }

    fn call(&self, ask: Ask) -> Step {
        Step::Call(Call {
            caller: self.caller.clone(),
            access: self.access,
            ask,
        })
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
            cors: cors::Told::default(),
            listener: None,
        }
    }

    /// The connection is encrypted.
    pub fn encrypted(&mut self) {
        self.secure = true;
    }

    /// The next step, oldest first.
    pub fn poll_step(&mut self) -> Option<Step> {
        if let Some(step) = self.steps.pop_front() {
            return Some(step);
        }
        let listener = self.listener.as_mut()?;
        let step = listener.poll_step();
        if listener.is_over() {
            self.listener = None;
        }
        step
    }

    /// When [`Api::tick`] is wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Mono> {
        self.listener.as_ref()?.poll_timeout()
    }

    /// The deadline of [`Api::poll_timeout`] may have passed.
    pub fn tick(&mut self, now: Now) {
        if let Some(listener) = &mut self.listener {
            listener.tick(now);
        }
    }

    /// A watch has something.
    pub fn dirty(&mut self, now: Now, watch: WatchId) {
        if let Some(listener) = &mut self.listener {
            listener.dirty(now, watch);
        }
    }

    /// The response is out, or the client is gone, or the server goes down: a stream ends, and nothing is left of the request.
    pub fn gone(&mut self) {
        self.pending = None;
        if let Some(listener) = self.listener.take() {
            self.steps
                .retain(|step| !matches!(step, Step::Call(_) | Step::Push(_)));
            self.steps.extend(listener.into_unwatches());
        }
    }

    /// A request's head is here.
    pub fn request(&mut self, now: Now, head: Head) {
        let line = format!("{} {}", head.method, head.path);
        self.steps.push_back(Step::Note(Note::Command(line)));
        self.cors = self.settings.origins.told(&head);
        if head.method == "OPTIONS" {
            return self.options(&head);
        }
        if let Err(failure) = self.begin(now, head) {
            self.respond(failure.response());
        }
    }

    fn options(&mut self, head: &Head) {
        let allow = match head.path.as_str() {
            "*" => "GET, HEAD, POST, PATCH, DELETE, OPTIONS".to_owned(),
            path => route::allowed(path, self.settings.public),
        };
        let response = match cors::is_preflight(head) {
            // A page that asks for what is not there is to see that when it asks.
            true => cors::preflight(),
            false if allow.is_empty() => return self.respond(Failure::not_found().response()),
            false => Response::empty(204),
        };
        self.respond(match allow.is_empty() {
            true => response,
            false => response.with("Allow", allow),
        });
    }

    fn begin(&mut self, now: Now, head: Head) -> Result<(), Failure> {
        let gate = gate::Gate {
            settings: &self.settings,
            peer: self.peer,
            secure: self.secure,
        };
        gate.carried(&head)?;
        let (found, parameters) = route::find(&head, self.settings.public)?;
        let let_in = gate.let_in(now, &head, found.route)?;
        // Clients that set themselves up say all sorts of things, and mean the document.
        if !setup::is_document(found.route) && !negotiate::accepts(&head, &found.produces) {
            let types = found.produces.join(" or ");
            return Err(Failure::new(406, format!("The answer is of type {types}")));
        }
        self.pending = Some(Box::new(Pending {
            query: query::parse(&head.query)?,
            head,
            parameters,
            route: found.route,
            access: let_in.access,
            caller: let_in.caller,
            local: let_in.local,
            spool: None,
            opening: false,
            body: Vec::new(),
            login: None,
        }));
        self.want_body(now)
    }

    /// Reads the body, where the call wants one.
    fn want_body(&mut self, now: Now) -> Result<(), Failure> {
        let Some(pending) = &mut self.pending else {
            return Ok(());
        };
        let head = &pending.head;
        let json = |max: u64| {
            negotiate::body_type(head, &["application/json"])?;
            bounded(head, max)
        };
        let max = match pending.route.body {
            BodyRule::None => {
                self.go_on(now);
                return Ok(());
            }
            BodyRule::Json { optional: true, .. } if !negotiate::has_body(head) => {
                self.go_on(now);
                return Ok(());
            }
            BodyRule::Json { max, .. } => json(max)?,
            BodyRule::JsonMessage => json(self.settings.max_json_message())?,
            BodyRule::Any(max) => bounded(head, max)?,
            BodyRule::Message(open) => {
                let kind = negotiate::body_type(head, &["application/json", "message/rfc822"])?;
                if kind == "message/rfc822" {
                    bounded(head, self.settings.max_message_size)?;
                    let announced = negotiate::announced(head).unwrap_or_default();
                    let request = pending.request(&self.settings, self.secure, now);
                    let ask = open(&request, SPOOL, announced)?;
                    pending.opening = true;
                    self.steps.push_back(pending.call(ask));
                    return Ok(());
                }
                bounded(head, self.settings.max_json_message())?
            }
        };
        self.steps.push_back(Step::Read { max, spool: None });
        Ok(())
    }

    /// The body is whole: its octets, or none if it went to a spool.
    pub fn body(&mut self, now: Now, body: Vec<u8>) {
        let Some(pending) = &mut self.pending else { return };
        let wanted = match pending.route.body {
            BodyRule::Json { optional, .. } => !optional,
            BodyRule::JsonMessage => true,
            BodyRule::Message(_) => pending.spool.is_none(),
            BodyRule::None | BodyRule::Any(_) => false,
        };
        if wanted && body.trim_ascii().is_empty() {
            return self.respond(Failure::field("$", "expected an object; there is no body").response());
        }
        pending.body = body;
        self.go_on(now);
    }

    /// There is no body: it was longer than permitted (`too_large`), or it ended too early.
    pub fn no_body(&mut self, _now: Now, too_large: bool) {
        if too_large {
            self.respond(too_large_body().response());
        } else {
            self.pending = None;
        }
    }

    fn go_on(&mut self, now: Now) {
        let Some(pending) = &mut self.pending else { return };
        let begun = (pending.route.begin)(&pending.request(&self.settings, self.secure, now));
        match begun {
            Ok(Next::Ask(ask)) => {
                pending.body = Vec::new();
                if let Ask::Session(login @ session::Ask::Login { .. }) = &ask {
                    pending.login = Some(login.clone());
                }
                self.steps.push_back(pending.call(ask));
            }
            Ok(Next::Respond(response)) => self.respond(response),
            Err(failure) => self.respond(failure.response()),
        }
    }

    /// The service has answered.
    pub fn reply(&mut self, now: Now, mut reply: Reply) {
        if let Some(listener) = &mut self.listener {
            return listener.reply(now, mail::answer_of(reply));
        }
        let Some(pending) = &mut self.pending else { return };
        if let Some(note) = pending
            .login
            .take()
            .and_then(|login| session::note(&login, &reply))
        {
            self.steps.push_back(Step::Note(note));
        }
        self.steps.extend(send::note(&mut reply).map(Step::Note));
        match reply {
            Ok(_) if pending.opening => {
                pending.opening = false;
                pending.spool = Some(SPOOL);
                self.steps.push_back(Step::Read {
                    max: self.settings.max_message_size,
                    spool: Some(SPOOL),
                });
            }
            // A long search goes on, after others.
            Ok(Answer::Mail(mail::Answer::GoOn(ask))) => {
                self.steps.push_back(pending.call(Ask::Mail(*ask)));
            }
            Ok(answer) => {
                let request = pending.request(&self.settings, self.secure, now);
                let response = (pending.route.render)(&request, answer);
                let listens = response.body == Body::Stream;
                let listener = request.caller.filter(|_| listens).cloned();
                let listener = listener.map(|caller| Box::new(mail::Listener::new(&request, caller)));
                self.respond(response);
                self.listener = listener;
            }
            Err(failure) => self.respond(failure.response()),
        }
    }

    fn respond(&mut self, mut response: Response) {
        self.pending = None;
        self.finish(&mut response);
        self.steps.push_back(Step::Respond(response));
    }

    /// An answer of the connection itself, to what is no request or does not come to its end, gets what every answer has.
    pub fn refusal(&mut self, response: &mut Response) {
        if self.pending.is_none() {
            self.cors = self.settings.origins.told(&Head::default());
        }
        self.finish(response);
    }

    /// Fields that every answer has, unless it has them already.
    fn finish(&mut self, response: &mut Response) {
        let all: [(&'static str, &str); 3] = [
            // What is answered is for one, and of now.
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            (
                "Content-Security-Policy",
                "default-src 'none'; frame-ancestors 'none'",
            ),
        ];
        for (name, value) in all {
            if !response
                .fields
                .iter()
                .any(|(other, _)| other.eq_ignore_ascii_case(name))
            {
                response.fields.push((name, value.to_owned()));
            }
        }
        // RFC 9110 §15.5.2: a 401 says how.
        if response.status == 401
            && !response
                .fields
                .iter()
                .any(|(name, _)| *name == "WWW-Authenticate")
        {
            response
                .fields
                .push(("WWW-Authenticate", gate::CHALLENGE.to_owned()));
        }
        core::mem::take(&mut self.cors).add(response);
    }
}

/// The bound, unless it is known already that the body is longer.
fn bounded(head: &Head, max: u64) -> Result<u64, Failure> {
    match negotiate::announced(head) {
        Some(octets) if octets > max => Err(too_large_body()),
        _ => Ok(max),
    }
}

fn too_large_body() -> Failure {
    Failure::new(413, "The body is too large")
}
