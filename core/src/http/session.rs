//! The server's side of one connection.

use std::collections::VecDeque;
use std::sync::Arc;

use super::request::Unread;
use super::{Head, Response};
use crate::api::{Api, Call, Reply, Settings, Step};
use crate::machine::{Action, CallId, Input, Machine, Session};
use crate::peer::Peer;
use crate::time::{Mono, Now};

/// The server's side of one connection.
#[derive(Debug)]
pub struct HttpSession {
    head: Unread,
    api: Api,
    deadline: Option<Mono>,
    calls: u64,
    head_only: bool,
    actions: VecDeque<Action<Call>>,
}

impl HttpSession {
    /// A session that waits for its first request from `now` on.
    #[must_use]
    pub fn new(settings: Arc<Settings>, peer: Peer, now: Now) -> Self {
        Self {
            head: Unread::default(),
            deadline: Some(now.mono + settings.request_timeout),
            api: Api::new(settings, peer),
            calls: 0,
            head_only: false,
            actions: VecDeque::new(),
        }
    }

    fn is_done(&self) -> bool {
        self.deadline.is_none()
    }

    fn answer(&mut self, response: &Response) {
        if !self.is_done() {
            self.actions
                .push_back(Action::Send(response.last(self.head_only).into()));
            self.close();
        }
    }

    fn close(&mut self) {
        if self.deadline.take().is_some() {
            self.head = Unread::default();
            self.actions.push_back(Action::Close);
        }
    }

    fn request(&mut self, now: Now, mut head: Head) {
        self.head_only = head.method == "HEAD";
        if self.head_only {
            "GET".clone_into(&mut head.method);
        }
        if head.method == "OPTIONS" {
            return self.answer(&Response::empty(204));
        }
        self.api.request(now, head);
        self.perform(now);
    }

    fn perform(&mut self, now: Now) {
        while let Some(step) = self.api.poll_step() {
            match step {
                Step::Call(call) => {
                    self.calls += 1;
                    self.actions.push_back(Action::Call(CallId(self.calls), call));
                }
                Step::Read { .. } => self.api.body(now, Vec::new()),
                Step::Respond(response) => self.answer(&response),
                Step::Push(_) | Step::End => {}
                Step::Watch(id, scope, seen) => self.actions.push_back(Action::Watch(id, scope, seen)),
                Step::Unwatch(id) => self.actions.push_back(Action::Unwatch(id)),
                Step::Note(note) => self.actions.push_back(Action::Note(note)),
            }
        }
    }
}

impl Machine for HttpSession {
    type Input = Input<Reply>;
    type Action = Action<Call>;

    fn handle_input(&mut self, now: Now, input: Self::Input) {
        match input {
            Input::Bytes(chunk) if !self.is_done() => match self.head.take(&chunk) {
                Ok(None) => {}
                Ok(Some(head)) => self.request(now, head),
                Err(bad) => self.answer(&Response::error(bad.status(), bad.text())),
            },
            Input::Eof => self.close(),
            Input::Tick if self.deadline.is_some_and(|deadline| deadline <= now.mono) => {
                self.answer(&Response::error(408, "Request timeout"));
            }
            Input::Shutdown => self.answer(&Response::error(503, "Shutting down")),
            Input::Reply(_, reply) => {
                self.api.reply(now, reply);
                self.perform(now);
            }
            Input::TlsStarted(_) => self.api.encrypted(),
            Input::Bytes(_) | Input::Tick | Input::Dirty(_) => {}
        }
    }

    fn poll_action(&mut self) -> Option<Self::Action> {
        self.actions.pop_front()
    }

    fn poll_timeout(&self) -> Option<Mono> {
        self.deadline
    }
}

impl Session for HttpSession {
    type Call = Call;
    type Reply = Reply;

    fn wants_bytes(&self) -> bool {
        !self.is_done()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::Chunk;

    fn run(chunks: &[&[u8]]) -> (String, bool) {
        let mut session = HttpSession::new(Arc::default(), Peer::LOCAL, Now::default());
        for chunk in chunks {
            session.handle_input(Now::default(), Input::Bytes(Chunk::copy_from(chunk)));
        }
        outcome(&mut session)
    }

    fn outcome(session: &mut HttpSession) -> (String, bool) {
        let (mut text, mut closed) = (String::new(), false);
        while let Some(action) = session.poll_action() {
            assert!(!closed, "nothing follows Close");
            match action {
                Action::Send(bytes) => text.push_str(&String::from_utf8_lossy(bytes.as_ref())),
                Action::Close => closed = true,
                _ => {}
            }
        }
        (text, closed)
    }

    /// The answer, the same however the request arrives.
    fn ask(request: &[u8]) -> String {
        let (whole, closed) = run(&[request]);
        let octets: Vec<&[u8]> = request.chunks(1).collect();
        assert_eq!(run(&octets), (whole.clone(), closed));
        assert_eq!(closed, !whole.is_empty());
        whole
    }

    #[test]
    fn health_is_told_and_nothing_else() {
        let up = ask(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(up.starts_with("HTTP/1.1 200 OK\r\n") && up.ends_with("\r\n\r\n{\"status\":\"up\"}"));
        assert!(up.contains("\r\nContent-Length: 15\r\n") && up.contains("\r\nConnection: close\r\n"));
        assert!(up.contains("\r\nAccess-Control-Allow-Origin: *\r\n"));
        let up = ask(b"GET http://x/health?verbose HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(up.starts_with("HTTP/1.1 200 OK\r\n"));
        let head = ask(b"HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(head.contains("\r\nContent-Length: 15\r\n") && head.ends_with("\r\n\r\n"));
        for other in ["GET / HTTP/1.1", "GET /healthy HTTP/1.1", "POST /health HTTP/1.1"] {
            let not = ask(format!("{other}\r\nHost: x\r\n\r\n").as_bytes());
            assert!(not.starts_with("HTTP/1.1 404 Not Found\r\n"), "{other}");
            assert!(not.ends_with("\r\n\r\n{\"error\":\"Not found\"}"));
        }
        let options = ask(b"OPTIONS /folders HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(options.starts_with("HTTP/1.1 204 ") && !options.contains("Content-Length"));
    }

    #[test]
    fn a_server_that_cannot_do_its_work_is_down() {
        let settings = Settings {
            up: false,
            ..Settings::default()
        };
        let mut session = HttpSession::new(Arc::new(settings), Peer::LOCAL, Now::default());
        let request = Chunk::copy_from(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
        session.handle_input(Now::default(), Input::Bytes(request));
        let (text, closed) = outcome(&mut session);
        assert!(text.starts_with("HTTP/1.1 503 ") && text.ends_with("{\"status\":\"down\"}") && closed);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for bad in [
            "EHLO x\r\n\r\n",
            "GET /health HTTP/1.1\r\nHost: x\r\nbad line\r\n\r\n",
            "GET /health HTTP/1.1\r\n\r\n",
            "GET /health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
            "GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\n",
            "GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
        ] {
            assert!(ask(bad.as_bytes()).starts_with("HTTP/1.1 400 "), "{bad:?}");
        }
        let long = format!(
            "GET /health HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n",
            "a".repeat(20_000)
        );
        assert!(ask(long.as_bytes()).starts_with("HTTP/1.1 431 "));
        let many = format!(
            "GET /health HTTP/1.1\r\nHost: x\r\n{}\r\n",
            "A: b\r\n".repeat(101)
        );
        assert!(ask(many.as_bytes()).starts_with("HTTP/1.1 431 "));
    }

    #[test]
    fn time_and_the_end_of_input_end_it() {
        let mut session = HttpSession::new(Arc::default(), Peer::LOCAL, Now::default());
        session.handle_input(Now::default(), Input::Bytes(Chunk::copy_from(b"GET /he")));
        session.handle_input(Now::default(), Input::Tick);
        assert_eq!(outcome(&mut session), (String::new(), false));
        let late = Now {
            mono: session.poll_timeout().expect("a deadline"),
            ..Now::default()
        };
        session.handle_input(late, Input::Tick);
        let (text, closed) = outcome(&mut session);
        assert!(text.starts_with("HTTP/1.1 408 ") && closed);
        assert_eq!((session.poll_timeout(), session.wants_bytes()), (None, false));

        let mut session = HttpSession::new(Arc::default(), Peer::LOCAL, Now::default());
        session.handle_input(Now::default(), Input::Eof);
        assert_eq!(outcome(&mut session), (String::new(), true));
    }
}
