//! HTTP/1.1 (RFC 9112), as much as there is: whether the server is up.
//!
//! `GET /health` answers `{"status":"up"}`, or 503 with `{"status":"down"}`; every other target is not found. One request a connection: every answer says
//! `Connection: close`. The head is bounded in size and time, a body is never read.

pub mod client;
mod request;

use core::time::Duration;
use std::collections::VecDeque;

use crate::machine::{Action, Input, Machine, Session};
use crate::note::Note;
use crate::time::{Mono, Now};
use request::{Head, Request};

/// What a session is told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The whole request must be here by then.
    pub request_timeout: Duration,
    /// The server does what it is there for, as far as its host knows.
    pub up: bool,
}

impl Default for Settings {
    /// 10 s: a request is a few hundred octets. Up.
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(10),
            up: true,
        }
    }
}

/// Nothing is asked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {}

/// Nothing is answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {}

/// The server's side of one connection.
#[derive(Debug)]
pub struct HttpSession {
    head: Head,
    deadline: Option<Mono>,
    up: bool,
    actions: VecDeque<Action<Call>>,
}

impl HttpSession {
    /// A session that waits for its request from `now` on.
    #[must_use]
    pub fn new(settings: &Settings, now: Now) -> Self {
        Self {
            head: Head::default(),
            deadline: Some(now.mono + settings.request_timeout),
            up: settings.up,
            actions: VecDeque::new(),
        }
    }

    fn is_done(&self) -> bool {
        self.deadline.is_none()
    }

    fn answer(&mut self, response: &Response) {
        if !self.is_done() {
            self.actions.push_back(Action::Send(response.render().into()));
            self.close();
        }
    }

    fn close(&mut self) {
        if self.deadline.take().is_some() {
            self.head = Head::default();
            self.actions.push_back(Action::Close);
        }
    }

    fn health(&self) -> Response {
        if self.up {
            Response::new(200, r#"{"status":"up"}"#)
        } else {
            Response::new(503, r#"{"status":"down"}"#)
        }
    }

    fn route(&mut self, request: &Request) {
        let line = format!("{} {}", request.method, request.target);
        self.actions.push_back(Action::Note(Note::Command(line)));
        let response = match (request.method.as_str(), request.path()) {
            ("OPTIONS", _) => Response::new(204, ""),
            ("GET", "/health") => self.health(),
            ("HEAD", "/health") => self.health().without_body(),
            ("HEAD", _) => Response::not_found().without_body(),
            _ => Response::not_found(),
        };
        self.answer(&response);
    }
}

impl Machine for HttpSession {
    type Input = Input<Reply>;
    type Action = Action<Call>;

    fn handle_input(&mut self, now: Now, input: Self::Input) {
        match input {
            Input::Bytes(chunk) if !self.is_done() => match self.head.take(&chunk) {
                Ok(None) => {}
                Ok(Some(request)) => self.route(&request),
                Err(bad) => self.answer(&Response::error(bad.status(), bad.text())),
            },
            Input::Eof => self.close(),
            Input::Tick if self.deadline.is_some_and(|deadline| deadline <= now.mono) => {
                self.answer(&Response::error(408, "Request timeout"));
            }
            Input::Shutdown => self.answer(&Response::error(503, "Shutting down")),
            Input::Reply(_, reply) => match reply {},
            Input::Bytes(_) | Input::Tick | Input::TlsStarted(_) | Input::Dirty(_) => {}
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

/// An answer, JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    status: u16,
    body: String,
    head_only: bool,
}

impl Response {
    fn new(status: u16, body: &str) -> Self {
        Self {
            status,
            body: body.to_owned(),
            head_only: false,
        }
    }

    /// `{"error": "…"}` with a status.
    #[must_use]
    pub fn error(status: u16, text: &str) -> Self {
        Self::new(status, &serde_json::json!({ "error": text }).to_string())
    }

    fn not_found() -> Self {
        Self::error(404, "Not found")
    }

    fn without_body(self) -> Self {
        Self {
            head_only: true,
            ..self
        }
    }

    /// The octets on the wire.
    #[must_use]
    pub fn render(&self) -> Vec<u8> {
        let reason = match self.status {
            200 => "OK",
            204 => "No Content",
            400 => "Bad Request",
            404 => "Not Found",
            408 => "Request Timeout",
            431 => "Request Header Fields Too Large",
            _ => "Service Unavailable",
        };
        // RFC 9110 §8.6: no Content-Length in a 204.
        let content = if self.status == 204 {
            String::new()
        } else {
            format!(
                "Content-Type: application/json\r\nContent-Length: {}\r\n",
                self.body.len()
            )
        };
        let body = if self.head_only { "" } else { &self.body };
        format!(
            "HTTP/1.1 {} {reason}\r\n{content}\
             Access-Control-Allow-Origin: *\r\n\
             Access-Control-Allow-Methods: GET, POST, PATCH, DELETE, OPTIONS\r\n\
             Access-Control-Allow-Headers: Authorization, Content-Type\r\n\
             Connection: close\r\n\r\n{body}",
            self.status
        )
        .into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::Chunk;

    fn run(chunks: &[&[u8]]) -> (String, bool) {
        let mut session = HttpSession::new(&Settings::default(), Now::default());
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
        let mut session = HttpSession::new(&settings, Now::default());
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
        let mut session = HttpSession::new(&Settings::default(), Now::default());
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

        let mut session = HttpSession::new(&Settings::default(), Now::default());
        session.handle_input(Now::default(), Input::Eof);
        assert_eq!(outcome(&mut session), (String::new(), true));
    }
}
