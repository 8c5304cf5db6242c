//! A host that runs an IMAP session against a small mail store in memory. Deterministic.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing
)]

#[path = "world.rs"]
mod world;

pub use world::*;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use rmail_core::chunk::Chunk;
use rmail_core::imap::server::{Appended, Body, Call, Ranking, Reply, Session, Settings, Stored};
use rmail_core::limits::Limits;
use rmail_core::machine::{
    Action, BlobId, CallId, Input, LOOKS_LATER, Machine as _, Scope, Session as _, SpoolId, TlsInfo, WatchId,
};
use rmail_core::mailbox::{Acl, Keywords, MailboxRef, ModSeq, Quota, Rights, Uid, Usage};
use rmail_core::mime::section::Section;
use rmail_core::note::Note;
use rmail_core::random::Random;
use rmail_core::refusal::Refusal;
use rmail_core::search::{sort, thread};
use rmail_core::time::{DateTime, Mono, Now, Unix};

/// Settings of a session behind TLS, as tests want them.
pub fn settings() -> Settings {
    Settings {
        hostname: "mail.demo.test".into(),
        peer: std::net::IpAddr::from([127, 0, 0, 1]),
        starttls: true,
        cleartext_auth: true,
        max_message_size: 100_000,
        autologout: Duration::from_secs(30 * 60),
        login_timeout: Duration::from_secs(60),
        idle_keepalive: Duration::from_secs(29 * 60),
        compress: true,
        limits: Limits::default(),
    }
}

/// A host for one session.
pub struct Client {
    pub session: Session,
    pub now: Now,
    /// Octets sent to the client since they were last looked at.
    pub sent: Vec<u8>,
    /// What was done, neighbouring sends and spools joined.
    pub trace: Vec<Done>,
    pub notes: Vec<Note>,
    pub calls: Vec<String>,
    pub closed: bool,
    pub tls_wanted: bool,
    /// Compression is on; the octets here are plain nevertheless.
    pub deflated: bool,
    /// Replies are kept back while this is set.
    pub hold: bool,
    held: Option<(CallId, Call)>,
    spools: BTreeMap<SpoolId, Vec<u8>>,
    pub blobs: BTreeMap<BlobId, Vec<u8>>,
    /// How often it handed control back with nothing to say.
    pub pauses: usize,
    /// How long the service takes for a batch of a search.
    pub search_takes: Duration,
    last_blob: u64,
    watches: BTreeMap<WatchId, (Scope, ModSeq)>,
}

/// An action as the trace keeps it.
#[derive(Debug, PartialEq, Eq)]
pub enum Done {
    Sent(Vec<u8>),
    Spooled(SpoolId, Vec<u8>),
    Other(String),
}

impl Client {
    /// A session that has sent nothing yet.
    pub fn new(settings: Settings) -> Self {
        let now = Now {
            mono: Mono::default(),
            unix: Unix::from_secs(1_700_000_000),
        };
        Self {
            session: Session::new(settings, Random::from_seed([1; 32]), now),
            now,
            sent: Vec::new(),
            trace: Vec::new(),
            notes: Vec::new(),
            calls: Vec::new(),
            closed: false,
            tls_wanted: false,
            deflated: false,
            hold: false,
            held: None,
            spools: BTreeMap::new(),
            blobs: BTreeMap::new(),
            pauses: 0,
            search_takes: Duration::ZERO,
            last_blob: 0,
            watches: BTreeMap::new(),
        }
    }

    /// A session that is logged in.
    pub fn logged_in(world: &mut World) -> Self {
        let mut client = Self::new(settings());
        client.say(world, &format!("in LOGIN {USER} {PASSWORD}\r\n"));
        client
    }

    /// A session that has selected INBOX.
    pub fn selected(world: &mut World) -> Self {
        let mut client = Self::logged_in(world);
        client.say(world, "sel SELECT INBOX\r\n");
        client
    }

    pub fn input(&mut self, input: Input<Reply>) {
        self.session.handle_input(self.now, input);
    }

    /// The client says this; the answer, all of it, as text.
    pub fn say(&mut self, world: &mut World, text: &str) -> String {
        self.say_octets(world, text.as_bytes())
    }

    pub fn say_octets(&mut self, world: &mut World, octets: &[u8]) -> String {
        self.tell_dirty(world);
        self.input(Input::Bytes(Chunk::copy_from(octets)));
        self.listen(world)
    }

    /// What the server says of itself.
    pub fn listen(&mut self, world: &mut World) -> String {
        self.tell_dirty(world);
        self.run(world);
        String::from_utf8_lossy(&core::mem::take(&mut self.sent)).into_owned()
    }

    /// Time goes by; then the timer, if it is due.
    pub fn wait(&mut self, world: &mut World, time: Duration) -> String {
        self.now.mono = self.now.mono + time;
        self.tell_dirty(world);
        if self.session.poll_timeout().is_some_and(|at| at <= self.now.mono) {
            self.input(Input::Tick);
        }
        self.listen(world)
    }

    /// Feeds news of what is watched.
    pub fn tell_dirty(&mut self, world: &World) {
        let mut dirty = Vec::new();
        for (watch, (scope, seen)) in &mut self.watches {
            let latest = world.modseq(scope);
            if latest > *seen || (latest != *seen && matches!(scope, Scope::List(_))) {
                *seen = latest;
                dirty.push(*watch);
            }
        }
        for watch in dirty {
            self.input(Input::Dirty(watch));
        }
    }

    /// Performs all actions.
    pub fn run(&mut self, world: &mut World) {
        while self.step(world) {}
    }

    /// Answers a call, or performs one action. False: there is nothing to do.
    pub fn step(&mut self, world: &mut World) -> bool {
        if !self.hold
            && let Some((id, call)) = self.held.take()
        {
            let reply = self.answer(world, call);
            self.input(Input::Reply(id, reply));
            return true;
        }
        let Some(action) = self.session.poll_action() else {
            return false;
        };
        assert!(!self.closed, "{action:?} after Close");
        self.perform(world, action);
        true
    }

    fn perform(&mut self, world: &World, action: Action<Call>) {
        match action {
            Action::Send(bytes) => self.send(bytes.as_ref()),
            Action::SendBlob(blob, range) => {
                let octets = self.blobs.remove(&blob).expect("an open blob");
                let (start, end) = (
                    usize::try_from(range.start).unwrap(),
                    usize::try_from(range.end).unwrap(),
                );
                self.send(&octets[start..end]);
            }
            Action::Spool(spool, chunk) => {
                self.spools
                    .get_mut(&spool)
                    .expect("an open spool")
                    .extend_from_slice(&chunk);
                if let Some(Done::Spooled(last, octets)) = self.trace.last_mut()
                    && *last == spool
                {
                    octets.extend_from_slice(&chunk);
                } else {
                    self.trace.push(Done::Spooled(spool, chunk.to_vec()));
                }
            }
            Action::Call(id, call) => {
                assert!(self.held.is_none(), "two calls at once");
                let text = format!("{call:?}");
                self.trace.push(Done::Other(format!("{id:?} {text}")));
                self.calls.push(text);
                self.held = Some((id, call));
            }
            Action::Watch(watch, scope, seen) => {
                self.trace
                    .push(Done::Other(format!("watch {watch:?} {scope:?} {seen:?}")));
                let latest = world.modseq(&scope);
                let late = latest > seen;
                let seen = if seen == LOOKS_LATER { latest } else { seen };
                self.watches.insert(watch, (scope, seen));
                if late {
                    self.tell_dirty(world);
                }
            }
            Action::Unwatch(watch) => {
                self.trace.push(Done::Other(format!("unwatch {watch:?}")));
                self.watches.remove(&watch).expect("a watch");
            }
            Action::StartTls => {
                self.trace.push(Done::Other("starttls".into()));
                self.tls_wanted = true;
            }
            Action::StartDeflate => {
                self.trace.push(Done::Other("startdeflate".into()));
                self.deflated = true;
            }
            Action::StopDeflate => {
                self.trace.push(Done::Other("stopdeflate".into()));
                self.deflated = false;
            }
            Action::Note(note) => {
                self.trace.push(Done::Other(format!("{note:?}")));
                self.notes.push(note);
            }
            Action::Close => {
                self.trace.push(Done::Other("close".into()));
                self.closed = true;
            }
        }
    }

    fn send(&mut self, octets: &[u8]) {
        self.sent.extend_from_slice(octets);
        if octets.is_empty() {
            self.pauses += 1;
            return;
        }
        if let Some(Done::Sent(last)) = self.trace.last_mut() {
            last.extend_from_slice(octets);
        } else {
            self.trace.push(Done::Sent(octets.to_vec()));
        }
    }

    pub fn start_tls(&mut self) {
        assert!(self.tls_wanted);
        self.tls_wanted = false;
        self.input(Input::TlsStarted(tls()));
    }

    fn answer(&mut self, world: &mut World, call: Call) -> Reply {
        let text = format!("{call:?}");
        let kind = text.split([' ', '{']).next().unwrap();
        let refused = world.refused(kind);
        let shard = world.shard;
        match call {
            Call::Authenticate { login, password } => {
                let good = login == USER && password.expose() == PASSWORD.as_bytes();
                let result = if good {
                    Ok((account(), world.epoch))
                } else {
                    Err(Refusal::BadCredentials)
                };
                Reply::Authenticated(refused.and(result))
            }
            Call::ScramStart { login } => Reply::Scram(refused.map(|()| world.scram_user(&login))),
            Call::ScramDone { account, epoch } => {
                let good = epoch == world.epoch;
                let result = good.then_some((account, epoch)).ok_or(Refusal::BadCredentials);
                Reply::Authenticated(refused.and(result))
            }
            Call::Recheck { epoch, .. } => Reply::Recheck(world.epoch == epoch),
            Call::List { .. } => Reply::List(refused.map(|()| world.list())),
            Call::Shared { .. } => Reply::Shared(refused.map(|()| world.shared.clone())),
            Call::Acl { .. } => Reply::Acl(refused.map(|()| Acl::default())),
            Call::Rights { .. } => Reply::Rights(refused.map(|()| Rights::ALL)),
            Call::Annotations { .. } => Reply::Annotations(refused.map(|()| world.annotations.clone())),
            Call::Quota { .. } | Call::SetQuota { .. } => {
                Reply::Quota(refused.map(|()| (Usage::default(), Quota::UNLIMITED)))
            }
            Call::SetAcl { .. } => Reply::Done(refused),
            Call::Annotate { changes, .. } => Reply::Done(refused.and_then(|()| {
                let fits = world.annotations.change(&changes);
                fits.then_some(()).ok_or(Refusal::MailboxFull)
            })),
            Call::Status { mailbox, .. } => Reply::Status(refused.and_then(|()| world.status(&mailbox))),
            Call::Select {
                mailbox, read_only, ..
            } => Reply::Selected(refused.and_then(|()| world.select(&mailbox, read_only))),
            Call::Changes { mailbox } => {
                Reply::Changes(refused.and_then(|()| Ok(world.by_ref(&mailbox)?.snapshot(shard))))
            }
            Call::ClaimRecent { mailbox } => {
                Reply::Claimed(refused.and_then(|()| Ok(world.by_ref(&mailbox)?.claim_recent())))
            }
            Call::Create {
                mailbox, special_use, ..
            } => Reply::Done(refused.and_then(|()| {
                if world.boxes.contains_key(&mailbox) {
                    return Err(Refusal::MailboxExists);
                }
                world.create(&mailbox, &special_use);
                Ok(())
            })),
            Call::Delete { mailbox, .. } => Reply::Done(refused.and_then(|()| {
                world
                    .boxes
                    .remove(&mailbox)
                    .map(|_| ())
                    .ok_or(Refusal::NoSuchMailbox)
            })),
            Call::Rename { from, to, .. } => Reply::Done(refused.and_then(|()| world.rename(&from, &to))),
            Call::Subscribe { mailbox, on, .. } => {
                if on {
                    world.subscribed.insert(mailbox);
                } else {
                    world.subscribed.remove(&mailbox);
                }
                Reply::Done(refused)
            }
            Call::Open {
                spool, mailbox, size, ..
            } => Reply::Opened(refused.and_then(|()| {
                world.by_name(&mailbox)?;
                if world.used() + size > world.quota {
                    return Err(Refusal::OverQuota);
                }
                assert!(self.spools.insert(spool, Vec::new()).is_none(), "spool taken");
                Ok(())
            })),
            Call::Commit {
                mailbox, messages, ..
            } => {
                let bodies: Vec<Vec<u8>> = messages
                    .iter()
                    .map(|message| self.spools.remove(&message.spool).unwrap())
                    .collect();
                let now = DateTime::from(self.now.unix);
                Reply::Committed(refused.and_then(|()| {
                    let target = world.by_name(&mailbox)?;
                    let uids = messages.iter().zip(bodies).map(|(message, body)| {
                        target.add(&body, &message.flags, message.date.unwrap_or(now))
                    });
                    Ok(Appended {
                        uids: uids.collect(),
                        uid_validity: target.uid_validity,
                    })
                }))
            }
            Call::SpoolFrom {
                spool,
                mailbox,
                uid,
                section: spec,
                partial,
                room,
                ..
            } => Reply::SpooledFrom(refused.and_then(|()| {
                let message = world.by_name(&mailbox)?.messages.get(&uid.0);
                let wanted = Section::Octets { spec, partial };
                let octets = message.and_then(|message| section(&message.body, &wanted));
                let Some(octets) = octets else {
                    return Ok(None);
                };
                if octets.len() as u64 > room {
                    return Err(Refusal::TooLarge);
                }
                let len = octets.len() as u64;
                self.spools.get_mut(&spool).expect("an open spool").extend(octets);
                Ok(Some(len))
            })),
            Call::Replace {
                mailbox,
                uid,
                to,
                message,
                ..
            } => {
                let body = self.spools.remove(&message.spool).unwrap();
                let now = DateTime::from(self.now.unix);
                Reply::Replaced(refused.and_then(|()| {
                    if !world.by_ref(&mailbox)?.messages.contains_key(&uid.0) {
                        return Ok(None);
                    }
                    let target = world.by_name(&to)?;
                    let new = target.add(&body, &message.flags, message.date.unwrap_or(now));
                    let appended = Appended {
                        uids: vec![new],
                        uid_validity: target.uid_validity,
                    };
                    let source = world.by_ref(&mailbox)?;
                    source.remove(&[uid.0]);
                    Ok(Some((appended, source.snapshot(shard))))
                }))
            }
            Call::Discard { spools } => {
                for spool in spools {
                    self.spools.remove(&spool).expect("a spool to discard");
                }
                Reply::Discarded
            }
            Call::Store {
                mailbox,
                uids,
                change,
                unchanged_since,
            } => Reply::Stored(refused.and_then(|()| {
                let found = world.by_ref(&mailbox)?;
                if found.keywords.names().len() + change.flags.keywords.len() > Keywords::MAX {
                    return Err(Refusal::TooManyKeywords);
                }
                let modified = found.changed_since(&uids, unchanged_since);
                found.change(&uids.without(&modified), &change);
                Ok(Stored {
                    snapshot: found.snapshot(shard),
                    modified,
                })
            })),
            Call::Copy {
                mailbox, uids, to, ..
            } => Reply::Copied(refused.and_then(|()| world.copy(&mailbox, &uids, &to, false))),
            Call::Move {
                mailbox, uids, to, ..
            } => Reply::Copied(refused.and_then(|()| world.copy(&mailbox, &uids, &to, true))),
            Call::Expunge { mailbox, uids } => {
                Reply::Expunged(refused.and_then(|()| world.expunge(&mailbox, uids.as_ref())))
            }
            Call::Bodies { mailbox, parts } => {
                assert!(parts.len() <= Limits::default().bodies_per_call);
                Reply::Bodies(refused.and_then(|()| self.bodies(world, &mailbox, &parts)))
            }
            Call::CloseBlob { blob } => {
                self.blobs.remove(&blob).expect("a blob to close");
                Reply::Discarded
            }
            Call::Search {
                mailbox,
                uids,
                program,
            } => {
                assert!(uids.len() <= 4_096);
                self.now.mono = self.now.mono + self.search_takes;
                Reply::Found(refused.and_then(|()| world.find(&mailbox, &uids, &program)))
            }
            Call::Vanished {
                mailbox,
                since,
                snapshot,
            } => {
                Reply::Vanished(refused.and_then(|()| Ok(world.by_ref(&mailbox)?.vanished(since, &snapshot))))
            }
            Call::Sort {
                mailbox,
                uids,
                criteria,
                go_on,
            } => Reply::Sorted(refused.and_then(|()| {
                let messages = world.ranked(&mailbox, &uids)?;
                // The first question of each is not done.
                if !go_on {
                    return Ok(Ranking::More(1));
                }
                let order = sort(&messages.messages(), &criteria);
                Ok(Ranking::Done(
                    order
                        .into_iter()
                        .map(|at| messages.rows[at as usize].uid)
                        .collect(),
                ))
            })),
            Call::Thread {
                mailbox,
                uids,
                algorithm,
                go_on,
            } => Reply::Threaded(refused.and_then(|()| {
                let messages = world.ranked(&mailbox, &uids)?;
                if !go_on {
                    return Ok(Ranking::More(1));
                }
                Ok(Ranking::Done(thread(&messages.messages(), algorithm)))
            })),
            Call::Unselect { .. } => Reply::Discarded,
        }
    }

    fn bodies(
        &mut self,
        world: &mut World,
        mailbox: &MailboxRef,
        parts: &[(Uid, Section)],
    ) -> Result<Vec<Body>, Refusal> {
        let (small, most_open) = (world.small_body, world.most_open);
        let mut present = None;
        let found = world.by_ref(mailbox)?;
        let mut bodies = Vec::new();
        for (uid, wanted) in parts {
            if self.blobs.len() >= most_open && present != Some(*uid) {
                break;
            }
            present = Some(*uid);
            let Some(message) = found.messages.get(&uid.0) else {
                bodies.push(Body::Gone);
                continue;
            };
            bodies.push(match section(&message.body, wanted) {
                None => Body::Nil,
                Some(octets) if octets.len() <= small => Body::Small(Chunk::from(octets)),
                Some(octets) => {
                    self.last_blob += 1;
                    let (blob, len) = (BlobId(self.last_blob), octets.len() as u64);
                    self.blobs.insert(blob, octets);
                    Body::Large(blob, len)
                }
            });
        }
        Ok(bodies)
    }

    /// Whether the session would read.
    pub fn reads(&self) -> bool {
        self.session.wants_bytes()
    }

    /// The trace as text.
    pub fn traced(&self) -> String {
        let mut text = String::new();
        for done in &self.trace {
            let _ = writeln!(text, "{done:?}");
        }
        text
    }
}

/// A handshake that is done.
pub fn tls() -> TlsInfo {
    TlsInfo {
        version: 0x0304,
        cipher: "TLS_AES_128_GCM_SHA256".into(),
        ..TlsInfo::default()
    }
}
