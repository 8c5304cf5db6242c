//! A client of the API: requests go through [`Api`], what it asks is answered by the service over the disk in memory.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use futures_lite::future::block_on;
use rmail_core::api::{Api, Settings, Step};
use rmail_core::auth::token::{Key, LIFETIME};
use rmail_core::chunk::Chunk;
use rmail_core::http::{Body, Head, Response};
use rmail_core::machine::{SpoolId, WatchId};
use rmail_core::peer::Peer;
use rmail_core::time::Now;
use rmail_store::mem::MemDisk;
use rmail_store::service::{Answer, ApiService, Serve as _};
use serde_json::Value;

use crate::common::{Store, World, account, now};

/// A connection with somebody's token.
pub struct Client {
    pub api: Api,
    pub service: ApiService<Store, MemDisk>,
    token: String,
    woken: Arc<Mutex<Vec<WatchId>>>,
    pub now: Now,
    /// Calls that had to go to a pool.
    pub later: AtomicU32,
    pub ended: bool,
}

/// An answer.
#[derive(Debug)]
pub struct Told {
    pub status: u16,
    pub fields: Vec<(&'static str, String)>,
    pub octets: Vec<u8>,
}

impl Told {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.octets).unwrap_or_else(|_| panic!("JSON: {self:?}"))
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(other, _)| *other == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Client {
    pub fn new(world: &World, name: &str) -> Self {
        let key = Key::new([7; 32]);
        let user = block_on(world.service.accounts().find(&account(name)))
            .expect("find")
            .expect("user");
        let epoch = user.secrets().next().expect("a secret").epoch;
        let token = key.issue(&account(name), epoch, user.token_epoch, now().unix);
        let settings = Settings {
            tokens: Some(key),
            max_message_size: 1 << 20,
            ..Settings::default()
        };
        Self {
            api: Api::new(Arc::new(settings), Peer::LOCAL),
            service: world.service.api_session(Peer::LOCAL),
            token,
            woken: Arc::default(),
            now: now(),
            later: AtomicU32::new(0),
            ended: false,
        }
    }

    pub fn get(&mut self, target: &str) -> Told {
        self.request("GET", target, &[], "", b"")
    }

    pub fn delete(&mut self, target: &str) -> Told {
        self.request("DELETE", target, &[], "", b"")
    }

    pub fn send(&mut self, method: &str, target: &str, body: &Value) -> Told {
        self.request(
            method,
            target,
            &[],
            "application/json",
            body.to_string().as_bytes(),
        )
    }

    pub fn request(
        &mut self,
        method: &str,
        target: &str,
        more: &[(&str, &str)],
        media_type: &str,
        body: &[u8],
    ) -> Told {
        self.start(method, target, more, media_type, body.len());
        let told = self.run(body).expect("an answer");
        let octets = match told.body {
            Body::Bytes(octets) => octets,
            Body::Blob(blob, len) => {
                let mut octets = Vec::new();
                while (octets.len() as u64) < len {
                    let read = block_on(self.service.read_blob(blob, octets.len() as u64, 1_000));
                    let piece = read.expect("read");
                    assert!(!piece.is_empty(), "shorter than it was said");
                    octets.extend_from_slice(&piece);
                }
                self.service.close_blob(blob);
                octets
            }
            Body::Stream => Vec::new(),
        };
        Told {
            status: told.status,
            fields: told.fields,
            octets,
        }
    }

    fn start(&mut self, method: &str, target: &str, more: &[(&str, &str)], media_type: &str, len: usize) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut fields = vec![(
            "authorization".to_owned(),
            format!("Bearer {}", self.token).into_bytes(),
        )];
        if !media_type.is_empty() {
            fields.push(("content-type".to_owned(), media_type.as_bytes().to_vec()));
            fields.push(("content-length".to_owned(), len.to_string().into_bytes()));
        }
        for (name, value) in more {
            fields.push(((*name).to_owned(), value.as_bytes().to_vec()));
        }
        let head = Head {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            fields,
            ..Head::default()
        };
        self.api.request(self.now, head);
    }

    /// Performs what the API wants, up to the answer; behind it, what is pushed.
    fn run(&mut self, body: &[u8]) -> Option<Response> {
        let mut told = None;
        while let Some(step) = self.api.poll_step() {
            if let Step::Respond(response) = step {
                told = Some(response);
                break;
            }
            self.perform(step, body);
        }
        told
    }

    fn perform(&mut self, step: Step, body: &[u8]) -> Option<Vec<u8>> {
        match step {
            Step::Call(call) => {
                let reply = match self.service.answer(self.now, call) {
                    Answer::Now(reply) => reply,
                    Answer::Later(_, call) => {
                        self.later.fetch_add(1, Ordering::Relaxed);
                        block_on(self.service.run(self.now, call))
                    }
                    Answer::Wait(waiting) => block_on(waiting),
                };
                self.api.reply(self.now, reply);
            }
            Step::Read { max, spool } => {
                assert!(body.len() as u64 <= max, "the session would have refused it");
                match spool {
                    None => self.api.body(self.now, body.to_vec()),
                    Some(spool) => {
                        self.spool(spool, body);
                        self.api.body(self.now, Vec::new());
                    }
                }
            }
            Step::Watch(id, scope, seen) => {
                let woken = Arc::clone(&self.woken);
                let wake = Arc::new(move || woken.lock().expect("woken").push(id));
                self.service.watch(id, scope, seen, wake);
            }
            Step::Unwatch(id) => self.service.unwatch(id),
            Step::Push(octets) => return Some(octets),
            Step::End => self.ended = true,
            Step::Note(_) => {}
            Step::Respond(_) => panic!("a second answer"),
        }
        None
    }

    fn spool(&self, spool: SpoolId, body: &[u8]) {
        for piece in body.chunks(1_000) {
            if let Err(chunk) = self.service.spool_now(spool, Chunk::copy_from(piece)) {
                block_on(self.service.spool(spool, chunk));
            }
        }
    }

    /// Listens to events, and gives what is told at first.
    pub fn listen(&mut self, target: &str, last: &str) -> String {
        let last: &[(&str, &str)] = if last.is_empty() {
            &[]
        } else {
            &[("last-event-id", last)]
        };
        self.start("GET", target, last, "", 0);
        let told = self.run(b"").expect("an answer");
        assert_eq!((told.status, told.body), (200, Body::Stream));
        self.pushed()
    }

    /// What is told by now.
    pub fn pushed(&mut self) -> String {
        let mut octets = Vec::new();
        loop {
            let woken = core::mem::take(&mut *self.woken.lock().expect("woken"));
            for watch in &woken {
                self.api.dirty(self.now, *watch);
            }
            let mut idle = woken.is_empty();
            while let Some(step) = self.api.poll_step() {
                idle = false;
                octets.extend(self.perform(step, b"").unwrap_or_default());
            }
            if idle {
                return String::from_utf8(octets).expect("UTF-8");
            }
        }
    }

    /// Time passes.
    pub fn wait(&mut self, time: core::time::Duration) -> String {
        self.now.mono = self.now.mono + time;
        self.now.unix.0 += time;
        self.api.tick(self.now);
        self.pushed()
    }

    /// For so long a token is good.
    pub fn lifetime() -> core::time::Duration {
        LIFETIME
    }
}
