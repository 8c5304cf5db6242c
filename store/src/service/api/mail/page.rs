//! Pages of summaries. No message is opened for one if the store has kept what it needs.

use rmail_core::addr::AccountName;
use rmail_core::api::mail::summary::{FIELDS, Known, Summary};
use rmail_core::api::mail::{Answer, Ask, FolderId, Listing, MessageId, Page, SoFar};
use rmail_core::mailbox::{Keywords, MailboxRef, Row, Snapshot, Uid, UidSet};
use rmail_core::mime::attachment::has_attachment;
use rmail_core::mime::parsed::Parsed;
use rmail_core::mime::thread_id::ThreadId;

use super::super::ApiService;
use super::{Told, failed};
use crate::disk::Disk;
use crate::error::Result;
use crate::mailstore::MailStore;
use crate::service::message::{self, Message};
use crate::service::search::search;

/// Messages that are searched before others have their turn.
const STEP: usize = 5_000;

impl<S: MailStore, D: Disk> ApiService<S, D> {
    pub(super) async fn page(&self, account: &AccountName, listing: Listing) -> Told<Answer> {
        let found = self.snapshot(account, listing.folder).await;
        let (mailbox, snapshot) = found.map_err(|error| failed("list messages", account, error))?;
        let (rows, total, more) = if listing.key.is_some() {
            let so_far = self.find(&mailbox, &snapshot, &listing).await?;
            if snapshot.rows.last_uid().is_some_and(|last| so_far.until < last) {
                let so_far = Some(Box::new(so_far));
                return Ok(Answer::GoOn(Box::new(Ask::List(Listing { so_far, ..listing }))));
            }
            of_found(&snapshot, &so_far.found, &listing)
        } else {
            of_all(&snapshot, &listing)
        };
        let next = rows.last().filter(|_| more).map(|row| MessageId {
            folder: listing.folder,
            uid: row.uid,
        });
        let messages = self
            .within(account, listing.folder, async |mailbox| {
                self.summaries(mailbox, listing.folder, &snapshot.keywords, &rows)
                    .await
            })
            .await;
        let messages = messages.map_err(|error| failed("list messages", account, error))?;
        Ok(Answer::Page(Page {
            messages,
            total,
            next,
        }))
    }

    /// The next step of a search.
    async fn find(&self, mailbox: &MailboxRef, snapshot: &Snapshot, listing: &Listing) -> Told<SoFar> {
        let mut so_far = listing.so_far.as_deref().cloned().unwrap_or_default();
        let Some(key) = &listing.key else {
            return Ok(so_far);
        };
        let rows = &snapshot.rows;
        let at = rows.rank(Uid(so_far.until.0.saturating_add(1)));
        let last = rows.get((at + STEP).min(rows.len()).saturating_sub(1));
        let Some(last) = last.filter(|_| at < rows.len()) else {
            return Ok(so_far);
        };
        let uids = UidSet::from_ranges([(so_far.until.0.saturating_add(1), last.uid.0)]);
        let (store, gists) = (&*self.service.store, &self.service.gists);
        let found = self
            .within(&mailbox.account, listing.folder, async |mailbox| {
                Ok(search(store, gists, mailbox, &uids, key).await)
            })
            .await
            .map_err(|error| failed("search messages", &mailbox.account, error))??;
        let all = so_far.found.ranges().chain(found.ranges());
        so_far.found = UidSet::from_ranges(all.map(|range| (*range.start(), *range.end())));
        so_far.until = last.uid;
        Ok(so_far)
    }

    /// What lists tell of these messages. Those that have gone meanwhile are left out.
    async fn summaries(
        &self,
        mailbox: &MailboxRef,
        folder: FolderId,
        keywords: &Keywords,
        rows: &[Row],
    ) -> Result<Vec<Summary>> {
        let store = &*self.service.store;
        let uids: Vec<Uid> = rows.iter().map(|row| row.uid).collect();
        let kept = store.parsed(mailbox, &uids).await;
        let mut new: Vec<(Uid, Parsed)> = Vec::new();
        let mut summaries = Vec::with_capacity(rows.len());
        let mut outcome = Ok(());
        for (row, kept) in rows.iter().zip(kept) {
            if let Some(known) = kept.as_ref().and_then(known_of) {
                summaries.push(Summary::new(folder, row, keywords, known));
                continue;
            }
            match self.open_summary(mailbox, folder, keywords, row, kept).await {
                Ok(Some((summary, parsed))) => {
                    summaries.push(summary);
                    new.extend(parsed.map(|parsed| (row.uid, parsed)));
                }
                Ok(None) => {}
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        if !new.is_empty() {
            store.keep_parsed(mailbox, &new).await;
        }
        outcome.map(|()| summaries)
    }

    /// The same of a message that has to be read, and what may be kept of it. `None`: it is gone.
    async fn open_summary(
        &self,
        mailbox: &MailboxRef,
        folder: FolderId,
        keywords: &Keywords,
        row: &Row,
        kept: Option<Parsed>,
    ) -> Result<Option<(Summary, Option<Parsed>)>> {
        let store = &*self.service.store;
        let Some(blob) = store.open(mailbox, row.uid).await? else {
            return Ok(None);
        };
        // What does not tell everything does not help: it is made anew.
        let complete = kept.as_ref().is_some_and(Parsed::is_complete);
        let mut message = Message::new(store, blob, message::Known::default());
        let structure = message.structure().await?;
        let preview = message.preview().await?;
        let thread_id = message.thread_id().await?.to_string();
        let header = message.header_fields(&FIELDS.map(str::to_owned)).await?;
        let known = Known {
            header: &header,
            thread_id: Some(thread_id),
            preview,
            has_attachments: has_attachment(&structure),
        };
        let summary = Summary::new(folder, row, keywords, known);
        let parsed = message.known().parsed.clone().filter(|_| !complete);
        Ok(Some((summary, parsed)))
    }
}

/// What is kept of a message, if it is enough for a summary.
fn known_of(kept: &Parsed) -> Option<Known<'_>> {
    let known = FIELDS.iter().all(|name| kept.knows(name.as_bytes()));
    Some(Known {
        header: kept.header().filter(|_| known)?,
        thread_id: Some(ThreadId::of_kept(kept)?.to_string()),
        preview: kept.preview()?.to_owned(),
        has_attachments: kept.parts()?.has_attachment()?,
    })
}

/// The rows of a page, how many there are, and whether there are more.
fn of_all(snapshot: &Snapshot, listing: &Listing) -> (Vec<Row>, u64, bool) {
    let rows = &snapshot.rows;
    let end = listing.before.map_or(rows.len(), |before| rows.rank(before));
    let start = end.saturating_sub(listing.limit);
    let mut page: Vec<Row> = rows.iter_from(start).take(end - start).copied().collect();
    page.reverse();
    (page, rows.len() as u64, start > 0)
}

fn of_found(snapshot: &Snapshot, found: &UidSet, listing: &Listing) -> (Vec<Row>, u64, bool) {
    let below = listing
        .before
        .map_or(u32::MAX, |before| before.0.saturating_sub(1));
    let mut page = Vec::new();
    let ranges: Vec<_> = found.ranges().collect();
    let uids = ranges.into_iter().rev().flat_map(|range| range.rev());
    let mut older = uids.skip_while(|uid| *uid > below);
    for uid in older.by_ref() {
        page.extend(snapshot.rows.find(Uid(uid)).map(|(_, row)| *row));
        if page.len() >= listing.limit {
            break;
        }
    }
    let total = snapshot.rows.of(found).count() as u64;
    (page, total, older.next().is_some())
}
