//! Which messages match, for SEARCH.

use rmail_core::chunk::Chunk;
use rmail_core::mailbox::{MailboxRef, Row, Snapshot, UidSet};
use rmail_core::refusal::Refusal;
use rmail_core::search::{Key, Program};

use super::message::{Known, Message};
use super::refused;
use crate::error::Result;
use crate::mailstore::MailStore;

/// Answers [`rmail_core::imap::server::Call::Search`]: rows decide where they can, and no more of a message is read than
/// the program needs. One message is in memory at a time.
pub(super) async fn search<S: MailStore>(
    store: &S,
    mailbox: &MailboxRef,
    uids: &UidSet,
    key: &Key,
) -> core::result::Result<UidSet, Refusal> {
    let searched = async {
        let snapshot = match store.snapshot_now(mailbox) {
            Some(snapshot) => snapshot,
            None => store.snapshot(mailbox).await?,
        };
        let program = Program::new(key);
        let mut found = UidSet::new();
        for row in rows_of(&snapshot, uids) {
            let known = program.eval_row(row, &snapshot.keywords);
            let holds = match known {
                Some(holds) => holds,
                None => match content(store, mailbox, row, program.needs_body()).await? {
                    Some(content) => program.matches(row, &snapshot.keywords, || content),
                    None => false,
                },
            };
            if holds {
                found.push(row.uid);
            }
        }
        Ok(found)
    };
    let searched: Result<UidSet> = searched.await;
    searched.map_err(|error| refused(&format!("search {} {}", mailbox.account, mailbox.id.0), error))
}

/// The rows of a set, ascending.
pub(super) fn rows_of<'a>(snapshot: &'a Snapshot, uids: &'a UidSet) -> impl Iterator<Item = &'a Row> + 'a {
    uids.ranges().flat_map(|range| {
        let (first, last) = range.into_inner();
        let rows = snapshot
            .rows
            .iter_from(snapshot.rows.rank(rmail_core::mailbox::Uid(first)));
        rows.take_while(move |row| row.uid.0 <= last)
    })
}

/// The octets of a message, or of its header; `None`: it is gone.
async fn content<S: MailStore>(
    store: &S,
    mailbox: &MailboxRef,
    row: &Row,
    with_body: bool,
) -> Result<Option<Chunk>> {
    let Some(blob) = store.open(mailbox, row.uid).await? else {
        return Ok(None);
    };
    let mut message = Message::new(store, blob, Known::default());
    if with_body {
        let len = message.len();
        return message.read(0..len).await.map(Some);
    }
    message.header().await.map(Some)
}
