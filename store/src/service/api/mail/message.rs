//! One message: parsed, raw, its parts.

use std::sync::Arc;

use rmail_core::addr::AccountName;
use rmail_core::api::Failure;
use rmail_core::api::mail::content::{self, Read};
use rmail_core::api::mail::{Download, Message as Content, MessageId, no_such_message};
use rmail_core::chunk::Chunk;
use rmail_core::mailbox::{MailboxRef, Row, Snapshot};
use rmail_core::mime::attachment::file_name;
use rmail_core::mime::content::Mime;
use rmail_core::mime::part::Structure;
use rmail_core::mime::section::{Spec, Text};

use super::super::ApiService;
use super::{Told, failed};
use crate::disk::Disk;
use crate::error::Result;
use crate::mailstore::MailStore;
use crate::service::binary::{self, Decoding, Part};
use crate::service::message::{Known, Message};
use crate::service::sections::{Found, octets};
use crate::service::session::Source;

/// Octets of a message's header that are told from.
const MAX_HEADER: u64 = 256 * 1024;

impl<S: MailStore, D: Disk> ApiService<S, D> {
    /// Where a message is.
    pub(super) async fn row(
        &self,
        account: &AccountName,
        id: MessageId,
    ) -> Told<(MailboxRef, Snapshot, Row)> {
        let found = self.snapshot(account, id.folder).await;
        let (mailbox, snapshot) = found.map_err(|error| match failed("find a message", account, error) {
            // Without the folder there is no message in it.
            failure if failure.status == 404 => no_such_message(),
            failure => failure,
        })?;
        let row = snapshot.rows.find(id.uid).map(|(_, row)| *row);
        let row = row.ok_or_else(no_such_message)?;
        Ok((mailbox, snapshot, row))
    }

    /// The open message.
    async fn open_message(
        &self,
        account: &AccountName,
        id: MessageId,
    ) -> Told<(MailboxRef, Snapshot, Row, Message<'_, S>)> {
        let (mailbox, snapshot, row) = self.row(account, id).await?;
        let store = &*self.service.store;
        let opened = self.within(account, id.folder, async |mailbox| {
            store.open(mailbox, id.uid).await
        });
        let blob = opened
            .await
            .map_err(|error| failed("open a message", account, error))?;
        let blob = blob.ok_or_else(no_such_message)?;
        let kept = store.parsed(&mailbox, &[id.uid]).await;
        let known = Known {
            parsed: kept.into_iter().next().flatten(),
            structure: None,
        };
        Ok((mailbox, snapshot, row, Message::new(store, blob, known)))
    }

    /// A message with its text.
    pub(super) async fn message(&self, account: &AccountName, id: MessageId) -> Told<Content> {
        let (mailbox, snapshot, row, mut message) = self.open_message(account, id).await?;
        let complete = message
            .known()
            .parsed
            .as_ref()
            .is_some_and(|parsed| parsed.is_complete());
        let told = read(&mut message, id, &snapshot, &row).await;
        if let Some(parsed) = message.known().parsed.clone().filter(|_| !complete) {
            self.service
                .store
                .keep_parsed(&mailbox, &[(id.uid, parsed)])
                .await;
        }
        told.map_err(|error| failed("read a message", account, error))
    }

    /// The octets of a message.
    pub(super) async fn raw(&self, account: &AccountName, id: MessageId) -> Told<Download> {
        let (.., message) = self.open_message(account, id).await?;
        let len = message.len();
        let source = Source::Raw(Arc::clone(message.blob()), 0, len);
        Ok(Download {
            blob: self.desk.open_blob(source),
            len,
            media_type: "message/rfc822".to_owned(),
            charset: None,
            name: Some(format!("{id}.eml")),
            attachment: true,
        })
    }

    /// The octets of a part, its transfer encoding undone.
    pub(super) async fn part(&self, account: &AccountName, id: MessageId, numbers: &[u32]) -> Told<Download> {
        let (.., mut message) = self.open_message(account, id).await?;
        let found = open_part(&mut message, numbers).await;
        let (mime, part) = found.map_err(|error| failed("read a part of a message", account, error))?;
        let no_such_part = || Failure::new(404, "No such part");
        let mime = mime.ok_or_else(no_such_part)?;
        let blob = || Arc::clone(message.blob());
        let (source, len) = match part {
            Part::Nil => return Err(no_such_part()),
            Part::UnknownEncoding => {
                return Err(Failure::new(
                    422,
                    "Nobody knows how to undo the encoding of this part",
                ));
            }
            Part::Plain { range, .. } => {
                let len = range.end.saturating_sub(range.start);
                (Source::Raw(blob(), range.start, len), len)
            }
            Part::Decoded(octets) => {
                let len = octets.len() as u64;
                (Source::Memory(octets), len)
            }
            Part::Large { encoded, window, .. } => {
                let len = window.end.saturating_sub(window.start);
                (
                    Source::Decoded(Arc::new(Decoding::new(blob(), encoded, window))),
                    len,
                )
            }
        };
        let (media_type, charset) = rmail_core::api::mail::type_of(&mime);
        let attachment = mime
            .disposition
            .as_ref()
            .is_some_and(|(kind, _)| kind != "INLINE");
        Ok(Download {
            blob: self.desk.open_blob(source),
            len,
            media_type,
            charset,
            name: file_name(&mime),
            attachment,
        })
    }
}

/// What a part's header says, and where its octets are.
async fn open_part<S: MailStore>(
    message: &mut Message<'_, S>,
    numbers: &[u32],
) -> Result<(Option<Mime>, Part)> {
    let spec = Spec {
        part: numbers.to_vec(),
        text: Text::Mime,
    };
    let mime = match octets(message, &spec).await? {
        Found::Range(range) => {
            let end = range.end.min(range.start.saturating_add(MAX_HEADER));
            let header = message.read(range.start..end).await?;
            Some(Mime::parse(&header, false))
        }
        _ => None,
    };
    Ok((mime, binary::part(message, numbers, None).await?))
}

async fn read<S: MailStore>(
    message: &mut Message<'_, S>,
    id: MessageId,
    snapshot: &Snapshot,
    row: &Row,
) -> Result<Content> {
    let structure = message.structure().await?;
    let plan = content::plan(&structure);
    let (text, text_cut) = text_of(message, &structure, &plan.text).await?;
    let (html, html_cut) = text_of(message, &structure, &plan.html).await?;
    let header_end = message.header_end().await?.min(MAX_HEADER);
    let header: Chunk = message.read(0..header_end).await?;
    let read = Read {
        header: &header,
        email_id: message.email_id().await?.to_string(),
        thread_id: message.thread_id().await?.to_string(),
        preview: message.preview().await?,
        text,
        html,
        truncated: text_cut || html_cut,
    };
    Ok(Content::new(id.folder, row, &snapshot.keywords, plan, read))
}

/// The text of these parts.
async fn text_of<S: MailStore>(
    message: &mut Message<'_, S>,
    structure: &Structure,
    parts: &[usize],
) -> Result<(Option<String>, bool)> {
    let mut bodies: Vec<(usize, Chunk)> = Vec::new();
    for (at, range) in content::ranges(structure, parts) {
        bodies.push((at, message.read(range).await?));
    }
    let bodies: Vec<(usize, &[u8])> = bodies
        .iter()
        .map(|(at, octets)| (*at, octets.as_slice()))
        .collect();
    Ok(content::join(structure, &bodies))
}
