//! What stands above a connection: it is given requests, and says step by step what it wants.

use crate::api::{Api, Reply, Step};
use crate::http::{Head, Response};
use crate::machine::WatchId;
use crate::time::{Mono, Now};

/// What answers the requests of one connection. There is one that counts, [`Api`]; tests have others.
pub trait Application {
    /// A request's head is here. One at a time: the next comes behind the answer.
    fn request(&mut self, now: Now, head: Head);
    /// The next step, oldest first.
    fn poll_step(&mut self) -> Option<Step>;
    /// The body is whole: its octets, or none if it went to a spool.
    fn body(&mut self, now: Now, body: Vec<u8>);
    /// There is no body: it was longer than permitted (`too_large`), or it ended too early.
    fn no_body(&mut self, now: Now, too_large: bool);
    /// The service has answered.
    fn reply(&mut self, now: Now, reply: Reply);
    /// Nothing more goes out of what is in work: a stream ends, and nothing is left of the request.
    fn gone(&mut self);
    /// An answer of the connection itself, to what is no request or does not come to its end: fields may be added.
    fn refusal(&mut self, response: &mut Response);
    /// The connection is encrypted.
    fn encrypted(&mut self);
    /// A watch has something.
    fn dirty(&mut self, now: Now, watch: WatchId);
    /// When [`Application::tick`] is wanted.
    fn poll_timeout(&self) -> Option<Mono>;
    /// The deadline may have passed.
    fn tick(&mut self, now: Now);
}

impl Application for Api {
    fn request(&mut self, now: Now, head: Head) {
        self.request(now, head);
    }

    fn poll_step(&mut self) -> Option<Step> {
        self.poll_step()
    }

    fn body(&mut self, now: Now, body: Vec<u8>) {
        self.body(now, body);
    }

    fn no_body(&mut self, now: Now, too_large: bool) {
        self.no_body(now, too_large);
    }

    fn reply(&mut self, now: Now, reply: Reply) {
        self.reply(now, reply);
    }

    fn gone(&mut self) {
        self.gone();
    }

    fn refusal(&mut self, response: &mut Response) {
        self.refusal(response);
    }

    fn encrypted(&mut self) {
        self.encrypted();
    }

    fn dirty(&mut self, now: Now, watch: WatchId) {
        self.dirty(now, watch);
    }

    fn poll_timeout(&self) -> Option<Mono> {
        self.poll_timeout()
    }

    fn tick(&mut self, now: Now) {
        self.tick(now);
    }
}
