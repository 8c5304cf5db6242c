//! REPLACE in steps, for a store that has no transactions: [`MailStore::replace`].

use rmail_core::imap::server::Appended;
use rmail_core::mailbox::{FlagChange, FlagOp, Flags, MailboxRef, Quota, Snapshot, SystemFlags, Uid, UidSet};
use rmail_core::time::Unix;

use crate::error::Result;
use crate::mailstore::{MailStore, NewHome, NewMail};

/// The new message is added, then the old one goes. What fails on the way is taken back.
pub(crate) async fn in_steps<S: MailStore + ?Sized>(
    store: &S,
    mailbox: &MailboxRef,
    uid: Uid,
    to: NewHome<'_>,
    message: NewMail<S>,
    quota: &Quota,
    now: Unix,
) -> Result<Option<(Appended, Snapshot)>> {
    let before = store.snapshot(mailbox).await?;
    let Some((_, old)) = before.rows.find(uid) else {
        return Ok(None);
    };
    let (account, name) = to;
    let net = if *account == mailbox.account {
        net(quota, u64::from(old.size), store.spool_len(&message.0))
    } else {
        *quota
    };
    let appended = store.append(account, name, vec![message], &net, now).await?;
    match take_away(store, mailbox, uid).await {
        Ok(snapshot) => Ok(Some((appended, snapshot))),
        Err(error) => {
            take_back(store, to, &appended).await;
            if !old.flags.contains(SystemFlags::DELETED) {
                let _ = store
                    .store(mailbox, &only(uid), &deleted(FlagOp::Remove), None)
                    .await;
            }
            Err(error)
        }
    }
}

/// The quota for a message that comes when one of the same account goes: only what is more counts (RFC 8508 §3.4).
fn net(quota: &Quota, old: u64, new: u64) -> Quota {
    Quota {
        octets: quota
            .octets
            .filter(|_| new > old)
            .map(|limit| limit.saturating_add(old)),
        messages: None,
    }
}

async fn take_away<S: MailStore + ?Sized>(store: &S, mailbox: &MailboxRef, uid: Uid) -> Result<Snapshot> {
    store
        .store(mailbox, &only(uid), &deleted(FlagOp::Add), None)
        .await?;
    store.expunge(mailbox, Some(&only(uid))).await
}

/// As far as that is possible: else there are both messages, which is allowed, and the old one is not lost.
async fn take_back<S: MailStore + ?Sized>(store: &S, (account, name): NewHome<'_>, appended: &Appended) {
    let Ok(selected) = store.select(account, name, true).await else {
        return;
    };
    if selected.snapshot.uid_validity == appended.uid_validity {
        for uid in &appended.uids {
            let _ = take_away(store, &selected.mailbox, *uid).await;
        }
    }
    store.unselect(&selected.mailbox).await;
}

fn only(uid: Uid) -> UidSet {
    UidSet::from_ranges([(uid.0, uid.0)])
}

fn deleted(op: FlagOp) -> FlagChange {
    let flags = Flags {
        system: SystemFlags::DELETED,
        keywords: Vec::new(),
    };
    FlagChange { op, flags }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_more_counts() {
        let quota = Quota {
            octets: Some(100),
            messages: Some(1),
        };
        assert_eq!(net(&quota, 10, 10), Quota::UNLIMITED);
        assert_eq!(net(&quota, 10, 11).octets, Some(110));
        assert_eq!(net(&quota, 10, 11).messages, None);
    }
}
