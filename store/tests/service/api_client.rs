//! A client of the API: requests go through the machine of HTTP, its calls through the service, and answers come back.

use std::sync::Arc;

use futures_lite::future::block_on;
use rmail_core::api::{self, Settings};
use rmail_core::auth::token::Key;
use rmail_core::chunk::Chunk;
use rmail_core::http::HttpSession;
use rmail_core::machine::{Action, Input, Machine as _};
use rmail_core::peer::Peer;
use rmail_core::time::Now;
use rmail_store::mem::MemDisk;
use rmail_store::service::{Answer, ApiService, Serve};
use serde_json::Value;

use crate::common::{Store, World, now};

/// The secret of all servers in these tests.
pub const SECRET: [u8; 32] = [7; 32];

/// A connection.
pub struct Client {
    service: ApiService<Store, MemDisk>,
    machine: HttpSession,
    pub now: Now,
}

/// What was answered.
#[derive(Debug)]
pub struct Answered {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answered {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    pub fn error(&self) -> String {
        self.json()["error"].as_str().expect("an error").to_owned()
    }

    /// The value of a field of the head.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

impl Client {
    /// On the server's host.
    pub fn new(world: &World) -> Self {
        Self::from(world, Peer::LOCAL, Settings::default())
    }

    pub fn from(world: &World, peer: Peer, settings: Settings) -> Self {
        let settings = Settings {
            tokens: Some(Key::new(SECRET)),
            ..settings
        };
        Self {
            service: world.service.api_session(peer),
            machine: HttpSession::new(Arc::new(settings), peer, now()),
            now: now(),
        }
    }

    /// TLS is on.
    pub fn encrypt(&mut self) {
        let info = rmail_core::machine::TlsInfo::default();
        self.machine.handle_input(self.now, Input::TlsStarted(info));
    }

    /// A request with a token, and a body of JSON.
    pub fn ask(&mut self, line: &str, token: &str, body: &str) -> Answered {
        let mut fields = String::new();
        if !token.is_empty() {
            fields = format!("Authorization: Bearer {token}\r\n");
        }
        if !body.is_empty() {
            fields += &format!(
                "Content-Type: application/json\r\nContent-Length: {}\r\n",
                body.len()
            );
        }
        self.send(&format!("{line} HTTP/1.1\r\nHost: x\r\n{fields}\r\n{body}"))
    }

    /// A request as it is on the wire.
    pub fn send(&mut self, request: &str) -> Answered {
        let input = Input::Bytes(Chunk::copy_from(request.as_bytes()));
        self.machine.handle_input(self.now, input);
        let mut octets = Vec::new();
        while let Some(action) = self.machine.poll_action() {
            self.perform(action, &mut octets);
        }
        let text = String::from_utf8(octets).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).expect("a status");
        Answered {
            status: status.parse().expect("a number"),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    fn perform(&mut self, action: Action<api::Call>, octets: &mut Vec<u8>) {
        match action {
            Action::Send(bytes) => octets.extend_from_slice(bytes.as_ref()),
            Action::Call(id, call) => {
                let reply = match self.service.answer(self.now, call) {
                    Answer::Now(reply) => reply,
                    Answer::Later(_, call) => block_on(self.service.run(self.now, call)),
                    Answer::Wait(waiting) => block_on(waiting),
                };
                self.machine.handle_input(self.now, Input::Reply(id, reply));
            }
            Action::Spool(spool, chunk) => block_on(self.service.spool(spool, chunk)),
            Action::SendBlob(blob, range) => {
                let max = usize::try_from(range.end - range.start).expect("in memory");
                let read = block_on(self.service.read_blob(blob, range.start, max)).expect("read");
                octets.extend_from_slice(&read);
            }
            Action::Note(note) => self.service.note(self.now, &note),
            _ => {}
        }
    }

    /// The token that a login gives.
    pub fn login(&mut self, name: &str, password: &str) -> String {
        let answered = self.try_login(name, password);
        assert_eq!(answered.status, 200, "{answered:?}");
        answered.json()["token"].as_str().expect("a token").to_owned()
    }

    pub fn try_login(&mut self, name: &str, password: &str) -> Answered {
        let body = serde_json::json!({ "username": name, "password": password });
        self.ask("POST /auth/login", "", &body.to_string())
    }

    /// Whether the token is good, by another that is given for it.
    pub fn holds(&mut self, token: &str) -> bool {
        let answered = self.ask("POST /auth/refresh", token, "");
        assert!(matches!(answered.status, 200 | 401), "{answered:?}");
        answered.status == 200
    }
}
