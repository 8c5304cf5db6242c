//! CATENATE: octets of one message become octets of another, without a way over the session.

use rmail_core::addr::AccountName;
use rmail_core::machine::SpoolId;
use rmail_core::mailbox::{MailboxName, MailboxRef, Uid, UidValidity};
use rmail_core::mime::locate::cut;
use rmail_core::mime::section::Spec;
use rmail_core::refusal::Refusal;

use super::message::{Known, Message};
use super::refused;
use super::sections::{Found, octets};
use super::session::Desk;
use crate::error::Result;
use crate::mailstore::MailStore;

/// Octets copied at once.
const PIECE: u64 = 128 * 1024;

/// What [`rmail_core::imap::server::Call::SpoolFrom`] asks for.
pub(super) struct Wanted {
    pub(super) spool: SpoolId,
    pub(super) account: AccountName,
    pub(super) mailbox: MailboxName,
    pub(super) uid_validity: Option<UidValidity>,
    pub(super) uid: Uid,
    pub(super) section: Spec,
    pub(super) partial: Option<(u64, u64)>,
    pub(super) room: u64,
}

/// Copies a section into a spool: how many octets it has. `None`: there is none.
pub(super) async fn spool_from<S: MailStore>(
    store: &S,
    desk: &Desk<S>,
    wanted: Wanted,
) -> core::result::Result<Option<u64>, Refusal> {
    let what = format!("read a message of {}/{}", wanted.account, wanted.mailbox);
    let selected = store.select(&wanted.account, &wanted.mailbox, true).await;
    let selected = selected.map_err(|error| refused(&what, error))?;
    let same = wanted
        .uid_validity
        .is_none_or(|validity| validity == selected.snapshot.uid_validity);
    let copied = if same {
        copy(store, desk, &selected.mailbox, &wanted).await
    } else {
        Ok(Ok(None))
    };
    store.unselect(&selected.mailbox).await;
    copied.unwrap_or_else(|error| Err(refused(&what, error)))
}

async fn copy<S: MailStore>(
    store: &S,
    desk: &Desk<S>,
    mailbox: &MailboxRef,
    wanted: &Wanted,
) -> Result<core::result::Result<Option<u64>, Refusal>> {
    let Some(blob) = store.open(mailbox, wanted.uid).await? else {
        return Ok(Ok(None));
    };
    let parsed = store.parsed(mailbox, &[wanted.uid]).await.pop().flatten();
    let known = Known {
        parsed,
        structure: None,
    };
    let mut message = Message::new(store, blob, known);
    match octets(&mut message, &wanted.section).await?.cut(wanted.partial) {
        Found::Nil | Found::Binary(_) => Ok(Ok(None)),
        Found::Made(octets) if octets.len() as u64 > wanted.room => Ok(Err(Refusal::TooLarge)),
        Found::Made(octets) => {
            let len = octets.len() as u64;
            desk.spool(wanted.spool, octets).await;
            Ok(Ok(Some(len)))
        }
        Found::Range(range) if range.end.saturating_sub(range.start) > wanted.room => {
            Ok(Err(Refusal::TooLarge))
        }
        Found::Range(range) => {
            let len = range.end.saturating_sub(range.start);
            let mut at = range.start;
            while at < range.end {
                let piece = cut(at..range.end, Some((0, PIECE)));
                at = piece.end;
                desk.spool(wanted.spool, message.read(piece).await?).await;
            }
            Ok(Ok(Some(len)))
        }
    }
}
