//! Parts of messages, for FETCH.

use std::sync::{Arc, Mutex};

use rmail_core::chunk::Chunk;
use rmail_core::imap::server::Body;
use rmail_core::machine::BlobId;
use rmail_core::mailbox::{MailboxRef, Uid};
use rmail_core::mime::parsed::Parsed;
use rmail_core::mime::section::Section;
use rmail_core::refusal::Refusal;

use super::binary::{Decoding, Part};
use super::message::{Known, Message};
use super::sections::{Found, find, find_kept, is_plain};
use super::session::{Desk, Source, without_nul};
use super::{Settings, lock, refused};
use crate::error::Result;
use crate::mailstore::MailStore;

/// Parts of a structure that is remembered: a larger one would be kept by every idle session.
const MAX_REMEMBERED_PARTS: usize = 1_000;

/// Bodies that are left open before an answer ends behind the present message: each message costs a descriptor until it
/// is sent, and every session may have them.
const MAX_OPEN: usize = 4;

/// Octets that were made for one answer (decoded parts, chosen header fields) and wait in memory to be sent.
const MAX_HELD: u64 = 16 << 20;

/// What the last message looked at is like, so that a client that asks for its parts one by one costs one scan. A
/// message never changes, so this is never wrong.
#[derive(Debug, Default)]
pub(super) struct LastScanned(Mutex<Option<(MailboxRef, Uid, Known)>>);

impl LastScanned {
    /// Its structure, if it is this one.
    fn get(&self, mailbox: &MailboxRef, uid: Uid) -> Known {
        match &*lock(&self.0) {
            Some((of, which, known)) if of == mailbox && *which == uid => known.clone(),
            _ => Known::default(),
        }
    }

    fn set(&self, mailbox: &MailboxRef, uid: Uid, known: &Known) {
        let structure = known.structure.as_ref();
        if structure.is_some_and(|structure| structure.parts.len() <= MAX_REMEMBERED_PARTS) {
            // It may have come with many others.
            let parsed = known.parsed.as_ref().map(Parsed::detach);
            let structure = known.structure.clone();
            *lock(&self.0) = Some((mailbox.clone(), uid, Known { parsed, structure }));
        }
    }

    /// Forgets it.
    pub(super) fn clear(&self) {
        *lock(&self.0) = None;
    }
}

/// One answer being made.
struct Job<'a, S: MailStore> {
    store: &'a S,
    settings: &'a Settings,
    desk: &'a Desk<S>,
    last: &'a LastScanned,
    mailbox: &'a MailboxRef,
    /// Octets that may still be answered in memory.
    left: usize,
    /// What was left open, to be closed if all fails.
    opened: Vec<BlobId>,
    /// Octets that were made and do not fit the answer: they are held until they are sent.
    held: u64,
    /// What was found out, to be kept by the store.
    found: Vec<(Uid, Parsed)>,
}

/// The message whose parts are being answered.
struct Present<'a, S: MailStore> {
    uid: Uid,
    /// What the store has kept of it.
    kept: Option<Parsed>,
    /// Opened when more is asked for; none inside: it is gone.
    message: Option<Option<Message<'a, S>>>,
}

/// Answers [`rmail_core::imap::server::Call::Bodies`]: what the store has kept of the messages is looked up at once, the
/// parts of one message come together, and it is opened at most once.
pub(super) async fn bodies<S: MailStore>(
    store: &S,
    settings: &Settings,
    desk: &Desk<S>,
    last: &LastScanned,
    mailbox: &MailboxRef,
    parts: Vec<(Uid, Section)>,
) -> core::result::Result<Vec<Body>, Refusal> {
    if parts.len() > settings.limits.bodies_per_call {
        return Err(Refusal::NotPossible);
    }
    let mut job = Job {
        store,
        settings,
        desk,
        last,
        mailbox,
        left: settings.limits.bodies_in_memory,
        opened: Vec::new(),
        held: 0,
        found: Vec::new(),
    };
    let answered = job.run(parts).await;
    if !job.found.is_empty() {
        store.keep_parsed(mailbox, &job.found).await;
    }
    answered.map_err(|error| {
        job.opened.iter().for_each(|blob| desk.close_blob(*blob));
        refused(
            &format!("read messages of {} {}", mailbox.account, mailbox.id.0),
            error,
        )
    })
}

impl<'a, S: MailStore> Job<'a, S> {
    async fn run(&mut self, parts: Vec<(Uid, Section)>) -> Result<Vec<Body>> {
        let mut uids: Vec<Uid> = parts.iter().map(|(uid, _)| *uid).collect();
        uids.dedup();
        // Octets of the messages themselves are not kept.
        let useful = parts.iter().any(|(_, section)| !is_plain(section));
        let kept = if useful {
            self.store.parsed(self.mailbox, &uids).await
        } else {
            vec![None; uids.len()]
        };
        let mut kept = kept.into_iter();
        let mut present: Option<Present<'a, S>> = None;
        let mut bodies = Vec::with_capacity(parts.len());
        // Of the present message.
        let mut first = 0;
        for (uid, section) in parts {
            // Made octets wait in memory until they are sent.
            if self.held > MAX_HELD {
                return Err(Refusal::TooLarge.into());
            }
            if present.as_ref().is_none_or(|present| present.uid != uid) {
                self.leave(present.take());
                // The session asks again for the rest.
                if self.opened.len() >= MAX_OPEN {
                    break;
                }
            }
            let now = match &mut present {
                Some(now) => now,
                none => {
                    first = bodies.len();
                    none.insert(Present {
                        uid,
                        kept: kept.next().flatten(),
                        message: None,
                    })
                }
            };
            // What does not fit any more, but would fit into an answer of its own, comes with the next one.
            if first > 0 && bodies.len() == first && self.wants_room(now, &section).await? {
                bodies.truncate(first);
                return Ok(bodies);
            }
            let body = self.answer(now, &section).await?;
            bodies.push(body);
        }
        self.leave(present);
        Ok(bodies)
    }

    /// Whether a message as a whole is small, but there is no memory left for it in this answer.
    async fn wants_room(&self, present: &mut Present<'a, S>, section: &Section) -> Result<bool> {
        let small = self.settings.limits.small_body;
        if self.left >= small || !is_plain(section) {
            return Ok(false);
        }
        let message = match &mut present.message {
            Some(message) => message,
            message => message.insert(self.open(present.uid, present.kept.as_ref()).await?),
        };
        Ok(message.as_ref().is_some_and(|message| {
            let len = usize::try_from(message.len()).unwrap_or(usize::MAX);
            len <= small && len > self.left
        }))
    }

    /// All that is asked of a message is answered: what was found out of it may be kept.
    fn leave(&mut self, present: Option<Present<'a, S>>) {
        let Some(present) = present else {
            return;
        };
        let Some(Some(message)) = present.message else {
            return;
        };
        self.last.set(self.mailbox, present.uid, message.known());
        let before = present.kept.as_ref();
        let new = message.known().parsed.clone().filter(|parsed| {
            let more = |before: &Parsed| parsed.is_complete() && !before.is_complete();
            before.is_none_or(more)
        });
        self.found.extend(new.map(|parsed| (present.uid, parsed)));
    }

    async fn answer(&mut self, present: &mut Present<'a, S>, section: &Section) -> Result<Body> {
        let found = present.kept.as_ref().and_then(|kept| find_kept(kept, section));
        match found {
            Some(Found::Nil) => return Ok(Body::Nil),
            Some(Found::Made(octets)) => return Ok(self.made(octets)),
            Some(Found::Range(_) | Found::Binary(_)) | None => {}
        }
        let message = match &mut present.message {
            Some(message) => message,
            message => message.insert(self.open(present.uid, present.kept.as_ref()).await?),
        };
        let Some(message) = message else {
            return Ok(Body::Gone);
        };
        let found = match found {
            Some(found) => found,
            None => find(message, section).await?,
        };
        match found {
            Found::Nil | Found::Binary(Part::Nil) => Ok(Body::Nil),
            Found::Made(octets) => Ok(self.made(without_nul(octets))),
            Found::Range(range) => {
                let len = range.end.saturating_sub(range.start);
                if self.take(len) {
                    return message.read(range).await.map(without_nul).map(Body::Small);
                }
                let source = Source::Stored(Arc::clone(message.blob()), range.start, len);
                Ok(self.large(source, len))
            }
            Found::Binary(part) => self.binary(message, part).await,
        }
    }

    async fn binary(&mut self, message: &mut Message<'_, S>, part: Part) -> Result<Body> {
        let blob = || Arc::clone(message.blob());
        let (source, len, nul) = match part {
            Part::Nil => return Ok(Body::Nil),
            Part::UnknownEncoding => return Ok(Body::UnknownEncoding),
            Part::Decoded(octets) => {
                let len = octets.len() as u64;
                if self.take(len) {
                    return Ok(Body::Small(octets));
                }
                let nul = memchr::memchr(0, &octets).is_some();
                self.held += len;
                (Source::Memory(octets), len, nul)
            }
            Part::Plain { range, nul } => {
                let len = range.end.saturating_sub(range.start);
                if self.take(len) {
                    return message.read(range).await.map(Body::Small);
                }
                (Source::Raw(blob(), range.start, len), len, nul)
            }
            Part::Large { encoded, window, nul } => {
                let len = window.end.saturating_sub(window.start);
                let decoding = Decoding::new(blob(), encoded, window);
                (Source::Decoded(Arc::new(decoding)), len, nul)
            }
        };
        Ok(match self.large(source, len) {
            Body::Large(blob, len) if nul => Body::Binary(blob, len),
            body => body,
        })
    }

    async fn open(&self, uid: Uid, kept: Option<&Parsed>) -> Result<Option<Message<'a, S>>> {
        let Some(blob) = self.store.open(self.mailbox, uid).await? else {
            return Ok(None);
        };
        let mut known = self.last.get(self.mailbox, uid);
        known.parsed = known.parsed.or_else(|| kept.cloned());
        Ok(Some(Message::new(self.store, blob, known)))
    }

    /// Small ones go into memory, while there is room for them; others are left open.
    fn made(&mut self, octets: Chunk) -> Body {
        let len = octets.len() as u64;
        if self.take(len) {
            return Body::Small(octets);
        }
        self.held += len;
        self.large(Source::Memory(octets.detach()), len)
    }

    fn take(&mut self, len: u64) -> bool {
        let fits = usize::try_from(len)
            .ok()
            .filter(|len| *len <= self.settings.limits.small_body)
            .and_then(|len| self.left.checked_sub(len));
        if let Some(left) = fits {
            self.left = left;
        }
        fits.is_some()
    }

    fn large(&mut self, source: Source<S>, len: u64) -> Body {
        let blob = self.desk.open_blob(source);
        self.opened.push(blob);
        Body::Large(blob, len)
    }
}
