//! A host of a session, and something that answers requests as their paths say.

use core::time::Duration;
use std::collections::VecDeque;

use rmail_core::addr::Address;
use rmail_core::api::{Reply, Step};
use rmail_core::chunk::Chunk;
use rmail_core::http::{Application, Body, Head, HttpSession, Patience, Response};
use rmail_core::machine::{Action, BlobId, Input, Machine as _, Scope, Session as _, SpoolId, WatchId};
use rmail_core::mailbox::ModSeq;
use rmail_core::time::{Mono, Now};

/// Octets of a body in memory.
const MEMORY: u64 = 40;
/// Octets of a body in a spool.
const SPOOL: u64 = 100_000;

/// Answers with what came; streams what watches tell.
#[derive(Debug, Default)]
pub struct Echo {
    steps: VecDeque<Step>,
    spools: u32,
    /// A request is here that is not answered.
    pub busy: bool,
    pub streaming: bool,
}

impl Echo {
    fn respond(&mut self, response: Response) {
        self.busy = false;
        self.steps.push_back(Step::Respond(response));
    }
}

impl Application for Echo {
    fn request(&mut self, _: Now, head: Head) {
        assert!(!self.busy && !self.streaming, "one request at a time");
        assert!(head.fields.iter().all(|(_, value)| !value.contains(&b'\n')));
        self.busy = true;
        let text = format!("{} {}?{}", head.method, head.path, head.query);
        match head.path.as_str() {
            "/memory" => self.steps.push_back(Step::Read {
                max: MEMORY,
                spool: None,
            }),
            "/spool" => {
                self.spools += 1;
                let spool = Some(SpoolId(self.spools));
                self.steps.push_back(Step::Read { max: SPOOL, spool });
            }
            "/blob" => self.respond(Response::empty(200).with_body(Body::Blob(BlobId(1), 1000))),
            "/stream" => {
                let watch = Step::Watch(WatchId(1), scope(), ModSeq(0));
                self.respond(Response::empty(200).with_body(Body::Stream));
                self.steps.push_back(watch);
                self.streaming = true;
            }
            "/long" => self.respond(Response::of(200, "text/plain", text.repeat(10_000))),
            _ => self.respond(Response::of(200, "text/plain", text)),
        }
    }

    fn poll_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    fn body(&mut self, _: Now, body: Vec<u8>) {
        self.respond(Response::of(200, "text/plain", body));
    }

    fn no_body(&mut self, _: Now, too_large: bool) {
        assert!(self.busy);
        if too_large {
            self.respond(Response::error(413, "Too large"));
        }
    }

    fn reply(&mut self, _: Now, _: Reply) {
        panic!("nothing was asked");
    }

    fn gone(&mut self) {
        self.busy = false;
        if core::mem::take(&mut self.streaming) {
            self.steps.push_back(Step::Unwatch(WatchId(1)));
        }
    }

    fn refusal(&mut self, _: &mut Response) {}

    fn encrypted(&mut self) {}

    fn dirty(&mut self, _: Now, _: WatchId) {
        if self.streaming {
            self.steps.push_back(Step::Push(b"news".to_vec()));
        }
    }

    fn poll_timeout(&self) -> Option<Mono> {
        None
    }

    fn tick(&mut self, _: Now) {}
}

fn scope() -> Scope {
    let address = Address::parse("u@x.example").expect("an address");
    Scope::Account(address.canonical())
}

pub const PATIENCE: Patience = Patience {
    request: Duration::from_secs(10),
    idle: Duration::from_secs(75),
};

/// What came of a session.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Octets sent; blobs and spools stand where they are.
    pub sent: String,
    pub closed: bool,
}

impl Seen {
    /// Each octet is a character: a piece may end within one of UTF-8.
    fn octets(&mut self, octets: &[u8]) {
        self.sent.extend(octets.iter().copied().map(char::from));
    }
}

pub struct Host {
    pub session: HttpSession<Echo>,
    pub seen: Seen,
    spooled: Option<SpoolId>,
}

impl Host {
    pub fn new() -> Self {
        Self {
            session: HttpSession::over(Echo::default(), PATIENCE, Now::default()),
            seen: Seen::default(),
            spooled: None,
        }
    }

    pub fn input(&mut self, input: Input<Reply>) {
        self.session.handle_input(Now::default(), input);
    }

    pub fn bytes(&mut self, octets: &[u8]) {
        self.input(Input::Bytes(Chunk::copy_from(octets)));
    }

    /// Performs all that is wanted.
    pub fn settle(&mut self) {
        while let Some(action) = self.session.poll_action() {
            assert!(!self.seen.closed, "nothing follows Close");
            let spooled = self.spooled.take();
            match action {
                Action::Send(octets) => self.seen.octets(octets.as_ref()),
                Action::SendBlob(blob, range) => {
                    self.seen.sent.push_str(&format!("<blob {blob:?} {range:?}>"))
                }
                Action::Spool(spool, octets) => {
                    if spooled != Some(spool) {
                        self.seen.sent.push_str(&format!("<spool {}>", spool.0));
                    }
                    self.seen.octets(&octets);
                    self.spooled = Some(spool);
                }
                Action::Close => self.seen.closed = true,
                Action::Call(..) => panic!("nothing is asked"),
                other => self.seen.sent.push_str(&format!("<{other:?}>")),
            }
        }
        if self.seen.closed {
            assert!(!self.session.wants_bytes() && self.session.poll_timeout().is_none());
        }
    }
}
