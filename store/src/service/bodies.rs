//! Parts of messages, for FETCH.

use core::ops::Range;
use std::sync::{Arc, Mutex};

use rmail_core::chunk::Chunk;
use rmail_core::imap::server::Body;
use rmail_core::machine::BlobId;
use rmail_core::mailbox::{MailboxRef, Uid};
use rmail_core::mime::locate::{Located, cut, filter_fields, locate};
use rmail_core::mime::section::{Section, Spec, Text};
use rmail_core::mime::structure::body_structure;
use rmail_core::refusal::Refusal;

use super::message::{Known, Message};
use super::session::{Desk, Source};
use super::{Settings, lock, refused};
use crate::error::Result;
use crate::mailstore::MailStore;

/// Parts of a structure that is remembered: a larger one would be kept by every idle session.
const MAX_REMEMBERED_PARTS: usize = 1_000;

/// Bodies that are left open before an answer ends behind the present message: each message costs a descriptor until it
/// is sent, and every session may have them.
const MAX_OPEN: usize = 4;

/// What the last message looked at is like, so that a client that asks for its parts one by one costs one scan. A
/// message never changes, so this is never wrong.
#[derive(Debug, Default)]
pub(super) struct LastScanned(Mutex<Option<(MailboxRef, Uid, Known)>>);

impl LastScanned {
    fn get(&self, mailbox: &MailboxRef, uid: Uid) -> Known {
        match &*lock(&self.0) {
            Some((of, which, known)) if of == mailbox && *which == uid => known.clone(),
            _ => Known::default(),
        }
    }

    fn set(&self, mailbox: &MailboxRef, uid: Uid, known: &Known) {
        let structure = known.structure.as_ref();
        if structure.is_some_and(|structure| structure.parts.len() <= MAX_REMEMBERED_PARTS) {
            *lock(&self.0) = Some((mailbox.clone(), uid, known.clone()));
        }
    }

    /// Forgets it.
    pub(super) fn clear(&self) {
        *lock(&self.0) = None;
    }
}

/// What a section is.
enum Found {
    /// These octets of the message.
    Range(Range<u64>),
    /// Octets that we made.
    Made(Vec<u8>),
    Nil,
}

/// One answer being made.
struct Job<'a, S: MailStore> {
    settings: &'a Settings,
    desk: &'a Desk<S>,
    /// Octets that may still be answered in memory.
    left: usize,
    /// What was left open, to be closed if all fails.
    opened: Vec<BlobId>,
}

/// Answers [`rmail_core::imap::server::Call::Bodies`]: the parts of one
/// message come together, and it is opened once.
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
        settings,
        desk,
        left: settings.limits.bodies_in_memory,
        opened: Vec::new(),
    };
    job.run(store, last, mailbox, parts).await.map_err(|error| {
        job.opened.iter().for_each(|blob| desk.close_blob(*blob));
        refused(
            &format!("read messages of {} {}", mailbox.account, mailbox.id.0),
            error,
        )
    })
}

impl<S: MailStore> Job<'_, S> {
    async fn run(
        &mut self,
        store: &S,
        last: &LastScanned,
        mailbox: &MailboxRef,
        parts: Vec<(Uid, Section)>,
    ) -> Result<Vec<Body>> {
        let mut present: Option<(Uid, Option<Message<'_, S>>)> = None;
        let mut bodies = Vec::with_capacity(parts.len());
        for (uid, section) in parts {
            let message = match &mut present {
                Some((open, message)) if *open == uid => message,
                // The session asks again for the rest.
                _ if self.opened.len() >= MAX_OPEN => break,
                present => {
                    let blob = store.open(mailbox, uid).await?;
                    let message = blob.map(|blob| Message::new(store, blob, last.get(mailbox, uid)));
                    &mut present.insert((uid, message)).1
                }
            };
            let Some(message) = message else {
                bodies.push(Body::Gone);
                continue;
            };
            let found = find(message, &section).await?;
            last.set(mailbox, uid, message.known());
            bodies.push(self.body(message, found).await?);
        }
        Ok(bodies)
    }

    /// Small ones go into memory, while there is room for them; others are left open.
    async fn body(&mut self, message: &mut Message<'_, S>, found: Found) -> Result<Body> {
        match found {
            Found::Nil => Ok(Body::Nil),
            Found::Range(range) => {
                let len = range.end.saturating_sub(range.start);
                if self.take(len) {
                    return message.read(range).await.map(Body::Small);
                }
                let source = Source::Stored(Arc::clone(message.blob()), range.start, len);
                Ok(self.large(source, len))
            }
            Found::Made(octets) => {
                let len = octets.len() as u64;
                let octets = Chunk::from(octets);
                if self.take(len) {
                    return Ok(Body::Small(octets));
                }
                Ok(self.large(Source::Memory(octets), len))
            }
        }
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

async fn find<S: MailStore>(message: &mut Message<'_, S>, section: &Section) -> Result<Found> {
    match section {
        Section::Envelope => message.envelope().await.map(Found::Made),
        Section::Body => Ok(Found::Made(body_structure(&*message.structure().await?, false))),
        Section::BodyStructure => Ok(Found::Made(body_structure(&*message.structure().await?, true))),
        Section::Octets { spec, partial } => {
            let found = octets(message, spec).await?;
            Ok(match found {
                Found::Range(range) => Found::Range(cut(range, *partial)),
                Found::Made(octets) => Found::Made(cut_made(octets, *partial)),
                Found::Nil => Found::Nil,
            })
        }
    }
}

/// The octets of a section. Those of the message itself need no more than its header's end.
async fn octets<S: MailStore>(message: &mut Message<'_, S>, spec: &Spec) -> Result<Found> {
    if spec.part.is_empty() {
        return match &spec.text {
            Text::Whole => Ok(Found::Range(0..message.len())),
            Text::Header => Ok(Found::Range(0..message.header_end().await?)),
            Text::Text => Ok(Found::Range(message.header_end().await?..message.len())),
            Text::HeaderFields(names) => {
                Ok(Found::Made(filter_fields(&message.header().await?, names, false)))
            }
            Text::HeaderFieldsNot(names) => {
                Ok(Found::Made(filter_fields(&message.header().await?, names, true)))
            }
            Text::Mime => Ok(Found::Nil),
        };
    }
    let structure = message.structure().await?;
    match locate(&structure, spec) {
        Located::Range(range) => Ok(Found::Range(range)),
        Located::Fields { header, names, not } => {
            let header = message.bounded(header).await?;
            Ok(Found::Made(filter_fields(&header, names, not)))
        }
        Located::Nil => Ok(Found::Nil),
    }
}

fn cut_made(mut octets: Vec<u8>, partial: Option<(u64, u64)>) -> Vec<u8> {
    let range = cut(0..octets.len() as u64, partial);
    octets.truncate(usize::try_from(range.end).unwrap_or(usize::MAX));
    octets.drain(
        ..usize::try_from(range.start)
            .unwrap_or(usize::MAX)
            .min(octets.len()),
    );
    octets
}
