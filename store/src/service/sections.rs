//! Where the sections of a message are.

use core::ops::Range;

use rmail_core::chunk::Chunk;
use rmail_core::imap::response;
use rmail_core::mime::locate::{Located, cut, locate};
use rmail_core::mime::parsed::Parsed;
use rmail_core::mime::section::{Section, Spec, Text};
use rmail_core::mime::structure::body_structure;
use rmail_core::mime::thread_id::ThreadId;

use super::binary::{self, Part};
use super::message::Message;
use crate::error::Result;
use crate::mailstore::MailStore;

/// What a section is.
pub(super) enum Found {
    /// A part for BINARY.
    Binary(Part),
    /// These octets of the message.
    Range(Range<u64>),
    /// Octets that we made.
    Made(Chunk),
    Nil,
}

/// Whether a section is found without anything being known of the message.
pub(super) fn is_plain(section: &Section) -> bool {
    match section {
        Section::Octets { spec, .. } => spec.part.is_empty() && spec.text == Text::Whole,
        _ => false,
    }
}

/// A section as far as what is kept tells; a range is to be read from the message.
pub(super) fn find_kept(kept: &Parsed, section: &Section) -> Option<Found> {
    match section {
        Section::Envelope => kept.envelope().map(Found::Made),
        Section::Body => kept.body_structure(false).map(Found::Made),
        Section::BodyStructure => kept.body_structure(true).map(Found::Made),
        Section::Octets { spec, partial } => {
            let found = octets_kept(kept, spec)?;
            Some(found.cut(*partial))
        }
        // What the encoding is stands in the message only.
        Section::Binary { .. } | Section::BinarySize { .. } => None,
        Section::Preview { lazy } => match kept.preview() {
            Some(text) => Some(Found::Made(string(text))),
            None if *lazy => Some(Found::Nil),
            None => None,
        },
        Section::EmailId => kept.email_id().map(object_id),
        Section::ThreadId => ThreadId::of_kept(kept).map(object_id),
    }
}

fn octets_kept(kept: &Parsed, spec: &Spec) -> Option<Found> {
    if spec.part.is_empty() {
        let header_end = kept.header_end();
        return match &spec.text {
            Text::Whole => Some(Found::Range(0..kept.size())),
            Text::Header => header_end.map(|end| Found::Range(0..end)),
            Text::Text => header_end.map(|end| Found::Range(end..kept.size())),
            Text::HeaderFields(names) => kept.header_fields(names).map(|fields| Found::Made(fields.into())),
            Text::HeaderFieldsNot(_) => None,
            Text::Mime => Some(Found::Nil),
        };
    }
    match locate(&kept.parts()?, spec) {
        Located::Range(range) => Some(Found::Range(range)),
        Located::Nil => Some(Found::Nil),
        // The message itself is not asked for here; of others no fields are kept.
        Located::Fields { .. } => None,
    }
}

pub(super) async fn find<S: MailStore>(message: &mut Message<'_, S>, section: &Section) -> Result<Found> {
    Ok(match section {
        Section::Envelope => Found::Made(message.envelope().await?),
        Section::Body => Found::Made(body_structure(&*message.structure().await?, false).into()),
        Section::BodyStructure => Found::Made(body_structure(&*message.structure().await?, true).into()),
        Section::Octets { spec, partial } => octets(message, spec).await?.cut(*partial),
        Section::Binary { part, partial } => Found::Binary(binary::part(message, part, *partial).await?),
        Section::BinarySize { part } => match binary::size(message, part).await? {
            Ok(size) => Found::Made(size.to_string().into_bytes().into()),
            // A number must stand there, and nothing has no octets.
            Err(Part::Nil) => Found::Made(Chunk::copy_from(b"0")),
            Err(unknown) => Found::Binary(unknown),
        },
        Section::Preview { lazy: true } => Found::Nil,
        Section::Preview { lazy: false } => Found::Made(string(&message.preview().await?)),
        Section::EmailId => object_id(message.email_id().await?),
        Section::ThreadId => object_id(message.thread_id().await?),
    })
}

/// `(M…)`
fn object_id(id: impl core::fmt::Display) -> Found {
    Found::Made(format!("({id})").into_bytes().into())
}

fn string(text: &str) -> Chunk {
    let mut out = Vec::new();
    response::string(&mut out, text.as_bytes());
    Chunk::from(out)
}

/// The octets of a section. Those of the message itself need no more than its header's end.
pub(super) async fn octets<S: MailStore>(message: &mut Message<'_, S>, spec: &Spec) -> Result<Found> {
    if spec.part.is_empty() {
        return Ok(match &spec.text {
            Text::Whole => Found::Range(0..message.len()),
            Text::Header => Found::Range(0..message.header_end().await?),
            Text::Text => Found::Range(message.header_end().await?..message.len()),
            Text::HeaderFields(names) => Found::Made(message.header_fields(names).await?.into()),
            Text::HeaderFieldsNot(names) => {
                let end = message.header_end().await?;
                Found::Made(message.fields(0..end, names, true).await?.into())
            }
            Text::Mime => Found::Nil,
        });
    }
    let parts = message.known().parsed.clone();
    let located = match parts.as_ref().and_then(Parsed::parts) {
        Some(parts) => locate(&parts, spec),
        None => locate(&*message.structure().await?, spec),
    };
    Ok(match located {
        Located::Range(range) => Found::Range(range),
        Located::Fields { header, names, not } => {
            Found::Made(message.fields(header, names, not).await?.into())
        }
        Located::Nil => Found::Nil,
    })
}

impl Found {
    /// Cuts octets as `<offset.length>` says.
    pub(super) fn cut(self, partial: Option<(u64, u64)>) -> Self {
        match self {
            Self::Range(range) => Self::Range(cut(range, partial)),
            Self::Made(octets) => {
                let range = cut(0..octets.len() as u64, partial);
                let at = |offset| usize::try_from(offset).unwrap_or(usize::MAX);
                Self::Made(octets.slice(at(range.start)..at(range.end)))
            }
            other => other,
        }
    }
}
