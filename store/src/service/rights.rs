//! Who may do what with whose mailboxes (RFC 4314 §4). A session may ask for anything; what its account may have is decided
//! here, before every call.

use rmail_core::addr::AccountName;
use rmail_core::imap::server::{Call, Reply, Selected};
use rmail_core::mailbox::{Annotated, MailboxName, MailboxRef, Rights};
use rmail_core::refusal::Refusal;

use super::imap::ImapService;
use super::{lock, refused};
use crate::disk::Disk;
use crate::mailstore::MailStore;

type Result<T> = core::result::Result<T, Refusal>;

impl<S: MailStore, D: Disk> ImapService<S, D> {
    /// The account that is logged in.
    ///
    /// # Errors
    /// `NotPermitted`: nobody is.
    pub(super) fn account(&self) -> Result<AccountName> {
        lock(&self.who).clone().ok_or(Refusal::NotPermitted)
    }

    /// A login counts from its answer on, whatever kind of login it was.
    pub(super) fn note_login(&self, reply: &Reply) {
        if let Reply::Authenticated(Ok((account, _))) = reply {
            *lock(&self.who) = Some(account.clone());
        }
    }

    pub(super) fn is_own(&self, account: &AccountName) -> bool {
        lock(&self.who).as_ref() == Some(account)
    }

    /// What the account that is logged in may do with a mailbox: with its own ones everything.
    pub(super) async fn rights(&self, account: &AccountName, mailbox: &MailboxName) -> Result<Rights> {
        let me = self.account()?;
        if me == *account {
            return Ok(Rights::ALL);
        }
        let acl = self.service.store.acl(account, mailbox).await;
        let acl = acl.map_err(|error| refused(&format!("rights to {account}/{mailbox}"), error))?;
        Ok(acl.rights_of(&me))
    }

    /// The same for a mailbox that is selected.
    pub(super) async fn rights_of(&self, mailbox: &MailboxRef) -> Result<Rights> {
        let me = self.account()?;
        if me == mailbox.account {
            return Ok(Rights::ALL);
        }
        let acl = self.service.store.acl_of(mailbox).await;
        let what = || format!("rights to {} {}", mailbox.account, mailbox.id.0);
        let acl = acl.map_err(|error| refused(&what(), error))?;
        Ok(acl.rights_of(&me))
    }

    async fn need(&self, account: &AccountName, mailbox: &MailboxName, needed: Rights) -> Result<()> {
        enough(self.rights(account, mailbox).await?, needed)
    }

    async fn need_of(&self, mailbox: &MailboxRef, needed: Rights) -> Result<()> {
        enough(self.rights_of(mailbox).await?, needed)
    }

    /// To make a mailbox needs the right to do so below the nearest mailbox above it. Whether there is one is not told.
    async fn may_create(&self, account: &AccountName, mailbox: &MailboxName) -> Result<()> {
        if self.is_own(account) {
            return Ok(());
        }
        let mut above = mailbox.parent();
        while let Some(name) = above {
            match self.rights(account, &name).await {
                Ok(rights) if rights.contains(Rights::CREATE) => return Ok(()),
                Err(Refusal::NoSuchMailbox) => above = name.parent(),
                Ok(_) => break,
                Err(refusal) => return Err(refusal),
            }
        }
        Err(Refusal::NotPermitted)
    }

    fn only_own(&self, account: &AccountName) -> Result<()> {
        if self.is_own(account) {
            return Ok(());
        }
        Err(Refusal::NotPermitted)
    }

    /// Whether a call may be answered. What depends on the flags of messages is looked at where they are.
    pub(super) async fn permit(&self, call: &Call) -> Result<()> {
        match call {
            Call::Authenticate { .. }
            | Call::ScramStart { .. }
            | Call::ScramDone { .. }
            | Call::Discard { .. }
            | Call::CloseBlob { .. }
            | Call::Unselect { .. }
            | Call::Recheck { .. } => Ok(()),
            Call::List { account } | Call::Shared { account } | Call::Subscribe { account, .. } => {
                self.only_own(account)
            }
            Call::Acl { account, mailbox } | Call::SetAcl { account, mailbox, .. } => {
                self.need(account, mailbox, Rights::ADMINISTER).await
            }
            Call::Rights { account, mailbox } => {
                let rights = self.rights(account, mailbox).await?;
                rights
                    .has_any(Rights::ANY)
                    .then_some(())
                    .ok_or(Refusal::NoSuchMailbox)
            }
            Call::Annotations { about } => self.may_annotate(about, false).await,
            Call::Annotate { about, .. } => self.may_annotate(about, true).await,
            Call::Quota {
                account,
                mailbox: Some(mailbox),
            } => self.need(account, mailbox, Rights::READ).await,
            Call::Quota {
                account,
                mailbox: None,
            } => {
                if self.is_own(account) {
                    Ok(())
                } else {
                    self.must_be_admin().await
                }
            }
            Call::SetQuota { .. } => self.must_be_admin().await,
            Call::Status { account, mailbox }
            | Call::Select { account, mailbox, .. }
            | Call::SpoolFrom { account, mailbox, .. } => self.need(account, mailbox, Rights::READ).await,
            Call::Open { account, mailbox, .. } | Call::Commit { account, mailbox, .. } => {
                self.need(account, mailbox, Rights::INSERT).await
            }
            Call::Create { account, mailbox, .. } => self.may_create(account, mailbox).await,
            Call::Delete { account, mailbox } => self.need(account, mailbox, Rights::DELETE).await,
            Call::Rename { account, from, to } => {
                self.need(account, from, Rights::DELETE).await?;
                self.may_create(account, to).await
            }
            Call::Changes { mailbox }
            | Call::ClaimRecent { mailbox }
            | Call::Bodies { mailbox, .. }
            | Call::Search { mailbox, .. }
            | Call::Sort { mailbox, .. }
            | Call::Thread { mailbox, .. }
            | Call::Vanished { mailbox, .. }
            | Call::Store { mailbox, .. } => self.need_of(mailbox, Rights::READ).await,
            Call::Expunge { mailbox, .. } => self.need_of(mailbox, Rights::READ.with(Rights::EXPUNGE)).await,
            Call::Copy {
                mailbox, account, to, ..
            } => {
                self.need_of(mailbox, Rights::READ).await?;
                self.need(account, to, Rights::INSERT).await
            }
            // RFC 8508 §4.1: what APPEND, STORE and EXPUNGE need.
            Call::Replace {
                mailbox, account, to, ..
            } => {
                let needed = Rights::READ.with(Rights::DELETED).with(Rights::EXPUNGE);
                self.need_of(mailbox, needed).await?;
                self.need(account, to, Rights::INSERT).await
            }
            // RFC 6851 §4.2: what STORE, COPY and EXPUNGE need.
            Call::Move {
                mailbox, account, to, ..
            } => {
                let needed = Rights::READ.with(Rights::DELETED).with(Rights::EXPUNGE);
                self.need_of(mailbox, needed).await?;
                self.need(account, to, Rights::INSERT).await
            }
        }
    }

    /// RFC 5464 §3.3: who sees a mailbox and may do something with what is in it. Of the server only administrators note
    /// what all see.
    async fn may_annotate(&self, about: &Annotated, changes: bool) -> Result<()> {
        match about {
            Annotated::Server if changes => self.must_be_admin().await,
            Annotated::Server => self.account().map(drop),
            Annotated::Account(account) => self.only_own(account),
            Annotated::Mailbox(account, mailbox) => {
                let rights = self.rights(account, mailbox).await?;
                let one = Rights::READ
                    .with(Rights::SEEN)
                    .with(Rights::WRITE)
                    .with(Rights::INSERT);
                if rights.has_any(one.with(Rights::POST)) {
                    return enough(rights, Rights::LOOKUP);
                }
                enough(rights, Rights::LOOKUP.with(one))
            }
        }
    }

    async fn must_be_admin(&self) -> Result<()> {
        let me = self.account()?;
        let user = self.service.find(&me).await?;
        user.filter(|user| user.admin && user.enabled)
            .map(drop)
            .ok_or(Refusal::NotPermitted)
    }

    /// Adds what the account may do with a mailbox that it has selected.
    pub(super) async fn with_rights(&self, selected: Selected) -> Result<Selected> {
        let rights = self.rights_of(&selected.mailbox).await?;
        Ok(Selected {
            read_only: selected.read_only || !rights.has_any(Rights::CHANGES),
            rights,
            ..selected
        })
    }
}

/// Without the right to see it, a mailbox looks as one that is not there (RFC 4314 §6).
fn enough(rights: Rights, needed: Rights) -> Result<()> {
    if rights.contains(needed) {
        Ok(())
    } else if rights.contains(Rights::LOOKUP) {
        Err(Refusal::NotPermitted)
    } else {
        Err(Refusal::NoSuchMailbox)
    }
}

/// The answer to a call that is refused.
pub(super) fn refuse(call: &Call, refusal: Refusal) -> Reply {
    match call {
        Call::ScramStart { .. } => Reply::Scram(Err(refusal)),
        Call::ScramDone { .. } | Call::Authenticate { .. } => Reply::Authenticated(Err(refusal)),
        Call::Recheck { .. } => Reply::Recheck(false),
        Call::List { .. } => Reply::List(Err(refusal)),
        Call::Shared { .. } => Reply::Shared(Err(refusal)),
        Call::Acl { .. } => Reply::Acl(Err(refusal)),
        Call::Rights { .. } => Reply::Rights(Err(refusal)),
        Call::Annotations { .. } => Reply::Annotations(Err(refusal)),
        Call::Quota { .. } | Call::SetQuota { .. } => Reply::Quota(Err(refusal)),
        Call::Status { .. } => Reply::Status(Err(refusal)),
        Call::Select { .. } => Reply::Selected(Err(refusal)),
        Call::Changes { .. } => Reply::Changes(Err(refusal)),
        Call::ClaimRecent { .. } => Reply::Claimed(Err(refusal)),
        Call::Create { .. }
        | Call::Delete { .. }
        | Call::Rename { .. }
        | Call::Subscribe { .. }
        | Call::SetAcl { .. }
        | Call::Annotate { .. } => Reply::Done(Err(refusal)),
        Call::Open { .. } => Reply::Opened(Err(refusal)),
        Call::Commit { .. } => Reply::Committed(Err(refusal)),
        Call::SpoolFrom { .. } => Reply::SpooledFrom(Err(refusal)),
        Call::Replace { .. } => Reply::Replaced(Err(refusal)),
        Call::Store { .. } => Reply::Stored(Err(refusal)),
        Call::Copy { .. } | Call::Move { .. } => Reply::Copied(Err(refusal)),
        Call::Expunge { .. } => Reply::Expunged(Err(refusal)),
        Call::Bodies { .. } => Reply::Bodies(Err(refusal)),
        Call::Search { .. } => Reply::Found(Err(refusal)),
        Call::Sort { .. } => Reply::Sorted(Err(refusal)),
        Call::Thread { .. } => Reply::Threaded(Err(refusal)),
        Call::Vanished { .. } => Reply::Vanished(Err(refusal)),
        Call::Discard { .. } | Call::CloseBlob { .. } | Call::Unselect { .. } => Reply::Discarded,
    }
}
