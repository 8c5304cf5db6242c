//! Which messages match, for SEARCH.

use rmail_core::mailbox::{Keywords, MailboxRef, Row, Uid, UidSet};
use rmail_core::mime::parsed::Parsed;
use rmail_core::refusal::Refusal;
use rmail_core::search::{Key, Program};

use super::gists::{GistCache, chunk_of};
use super::message::{Known, Message};
use super::refused;
use crate::error::Result;
use crate::mailstore::MailStore;

/// Messages that are decided together at most.
const BATCH: usize = 128;

/// Answers [`rmail_core::imap::server::Call::Search`]: rows decide where they can, then gists, then what the store has kept
/// of the messages, and no more of a message is read than the program needs. One message is in memory at a time.
pub(super) async fn search<S: MailStore>(
    store: &S,
    gists: &GistCache,
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
            gists: Some(gists).filter(|_| program.asks_gists()),
            mailbox,
            keywords: &snapshot.keywords,
            names: program.header_names(),
            program: &program,
            found: UidSet::new(),
        };
        let mut batch: Vec<(Row, Option<bool>)> = Vec::with_capacity(BATCH);
        for row in snapshot.rows.of(uids) {
            let first = batch.first().map(|(first, _)| chunk_of(first.uid));
            let full = if look.gists.is_some() {
                first.is_some_and(|first| first != chunk_of(row.uid))
            } else {
                batch.len() >= BATCH
            };
            if full {
                look.decide(&mut batch).await?;
                batch.clear();
            }
            match program.eval_row(row, &snapshot.keywords) {
                Some(false) => {}
                // What is found stays in order.
                known => batch.push((*row, known)),
            }
        }
        look.decide(&mut batch).await?;
        Ok(look.found)
    };
    let searched: Result<UidSet> = searched.await;
    searched.map_err(|error| refused(&format!("search {} {}", mailbox.account, mailbox.id.0), error))
}

/// A search under way.
struct Look<'a, S: MailStore> {
    store: &'a S,
    /// If they can help.
    gists: Option<&'a GistCache>,
    mailbox: &'a MailboxRef,
    keywords: &'a Keywords,
    program: &'a Program,
    /// The header fields that it looks at.
    names: Vec<String>,
    found: UidSet,
}

impl<S: MailStore> Look<'_, S> {
    /// Enters those of the messages that match; what their rows tell is known.
    async fn decide(&mut self, batch: &mut [(Row, Option<bool>)]) -> Result<()> {
        self.ask_gists(batch).await?;
        let open = batch.iter().filter(|(_, known)| known.is_none());
        let uids: Vec<Uid> = open.map(|(row, _)| row.uid).collect();
        let kept = if uids.is_empty() || !self.program.asks_parsed() {
            vec![None; uids.len()]
        } else {
            self.store.parsed(self.mailbox, &uids).await
        };
        let mut kept = kept.into_iter();
        let mut new = Vec::new();
        let mut decided = Ok(());
        for (row, known) in &*batch {
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

    /// Notes what gists tell of messages of one chunk.
    async fn ask_gists(&self, batch: &mut [(Row, Option<bool>)]) -> Result<()> {
        let Some(cache) = self.gists else {
            return Ok(());
        };
        let open = batch.iter().filter(|(_, known)| known.is_none());
        let gists = cache
            .of(self.store, self.mailbox, open.map(|(row, _)| row))
            .await?
            .gists;
        for (row, known) in batch.iter_mut().filter(|(_, known)| known.is_none()) {
            *known = gists
                .get(row.uid)
                .and_then(|gist| self.program.eval_gist(row, self.keywords, gist));
        }
        Ok(())
    }

    async fn holds(&self, row: &Row, kept: Option<&Parsed>, new: &mut Vec<(Uid, Parsed)>) -> Result<bool> {
        let (program, keywords) = (self.program, self.keywords);
        if let Some(holds) = kept.and_then(|kept| program.eval_parsed(row, keywords, kept)) {
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
