//! Which messages match, for SEARCH.

use rmail_core::mailbox::{Keywords, MailboxRef, Row, Snapshot, Uid, UidSet};
use rmail_core::mime::parsed::Parsed;
use rmail_core::refusal::Refusal;
use rmail_core::search::{Key, Program};

use super::message::{Known, Message};
use super::refused;
use crate::error::Result;
use crate::mailstore::MailStore;

/// Messages that what is kept of them is looked up for at a time.
const BATCH: usize = 128;

/// Answers [`rmail_core::imap::server::Call::Search`]: rows decide where they can, then what the store has kept of the
/// messages, and no more of a message is read than the program needs. One message is in memory at a time.
pub(super) async fn search<S: MailStore>(
    store: &S,
    mailbox: &MailboxRef,
    uids: &UidSet,
    key: &Key,
) -> core::result::Result<UidSet, Refusal> {
    let program = Program::new(key);
    let searched = async {
        let snapshot = match store.snapshot_now(mailbox) {
            Some(snapshot) => snapshot,
            None => store.snapshot(mailbox).await?,
        };
        let mut look = Look {
            store,
            mailbox,
            keywords: &snapshot.keywords,
            names: program.header_names(),
            program: &program,
            found: UidSet::new(),
        };
        let mut batch: Vec<(Row, Option<bool>)> = Vec::with_capacity(BATCH);
        for row in rows_of(&snapshot, uids) {
            match program.eval_row(row, &snapshot.keywords) {
                Some(false) => {}
                // What is found stays in order.
                known => batch.push((*row, known)),
            }
            if batch.len() >= BATCH {
                look.decide(&batch).await?;
                batch.clear();
            }
        }
        look.decide(&batch).await?;
        Ok(look.found)
    };
    let searched: Result<UidSet> = searched.await;
    searched.map_err(|error| refused(&format!("search {} {}", mailbox.account, mailbox.id.0), error))
}

/// A search under way.
struct Look<'a, S: MailStore> {
    store: &'a S,
    mailbox: &'a MailboxRef,
    keywords: &'a Keywords,
    program: &'a Program,
    /// The header fields that it looks at.
    names: Vec<String>,
    found: UidSet,
}

impl<S: MailStore> Look<'_, S> {
    /// Enters those of the messages that match; what their rows tell is known.
    async fn decide(&mut self, batch: &[(Row, Option<bool>)]) -> Result<()> {
        let open = batch.iter().filter(|(_, known)| known.is_none());
        let uids: Vec<Uid> = open.map(|(row, _)| row.uid).collect();
        let kept = if uids.is_empty() || self.names.is_empty() {
            vec![None; uids.len()]
        } else {
            self.store.parsed(self.mailbox, &uids).await
        };
        let mut kept = kept.into_iter();
        let mut new = Vec::new();
        let mut decided = Ok(());
        for (row, known) in batch {
            let holds = match known {
                Some(known) => Ok(*known),
                None => self.holds(row, kept.next().flatten().as_ref(), &mut new).await,
            };
            match holds {
                Ok(true) => self.found.push(row.uid),
                Ok(false) => {}
                Err(error) => {
                    decided = Err(error);
                    break;
                }
            }
        }
        if !new.is_empty() {
            self.store.keep_parsed(self.mailbox, &new).await;
        }
        decided
    }

    async fn holds(&self, row: &Row, kept: Option<&Parsed>, new: &mut Vec<(Uid, Parsed)>) -> Result<bool> {
        let (program, keywords) = (self.program, self.keywords);
        let knows = |parsed: &&Parsed| self.names.iter().all(|name| parsed.knows(name.as_bytes()));
        let header = kept.filter(knows).and_then(Parsed::header);
        if let Some(holds) = header.and_then(|header| program.eval_header(row, keywords, header)) {
            return Ok(holds);
        }
        let Some(blob) = self.store.open(self.mailbox, row.uid).await? else {
            return Ok(false);
        };
        let parsed = kept.cloned();
        let structure = None;
        let mut message = Message::new(self.store, blob, Known { parsed, structure });
        if program.needs_body() {
            let all = message.read(0..message.len()).await?;
            return Ok(program.matches(row, keywords, || all));
        }
        let header = message.header_fields(&self.names).await?;
        if kept.is_none() {
            new.extend(message.known().parsed.clone().map(|parsed| (row.uid, parsed)));
        }
        Ok(program.matches(row, keywords, || header))
    }
}

/// The rows of a set, ascending.
pub(super) fn rows_of<'a>(snapshot: &'a Snapshot, uids: &'a UidSet) -> impl Iterator<Item = &'a Row> + 'a {
    uids.ranges().flat_map(|range| {
        let (first, last) = range.into_inner();
        let rows = snapshot.rows.iter_from(snapshot.rows.rank(Uid(first)));
        rows.take_while(move |row| row.uid.0 <= last)
    })
}
