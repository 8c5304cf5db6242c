//! [`MailStore`]: what protocol code needs of a store of mail. [`crate::file`] and [`crate::memory`] are implementations.
//!
#![doc = include_str!("mailstore.md")]

use core::future::{Future, pending};
use std::sync::Arc;

use rmail_core::addr::AccountName;
use rmail_core::chunk::Chunk;
use rmail_core::imap::server::{
    Appended, CopyUid, MailboxEntry, MailboxStatus, Selected, SharedMailbox, Stored,
};
use rmail_core::mailbox::{
    Acl, Annotated, AnnotationChange, Annotations, FlagChange, Flags, Identifier, MailboxName, MailboxRef,
    ModSeq, Quota, RightsChange, Snapshot, SpecialUse, Uid, UidSet, Usage, Vanished,
};
use rmail_core::mime::parsed::Parsed;
use rmail_core::refusal::Refusal;
use rmail_core::relay::entry::Entry;
use rmail_core::time::{DateTime, Unix};

use crate::disk::{Changes, Free};
use crate::error::Result;
use crate::hub::Hub;
pub use crate::terms::{
    DEFAULT_MAILBOXES, Instead, NewHome, NewMail, Numbering, OutboundHome, Owner, ReadEntry,
};

/// A store of mail: accounts with mailboxes, and the outbound queue.
///
/// What holds for all of its methods is in [the module's docs](self).
#[expect(
    async_fn_in_trait,
    reason = "operations run on one thread: futures need not be Send"
)]
pub trait MailStore: Send + Sync + 'static {
    /// A body on its way in. Dropping it discards it, at once or at the next [`MailStore::tidy`].
    type Spool: Send + 'static;
    /// A stored message, open for reading. It stays readable when the message, its mailbox or its account goes.
    type Blob: Send + Sync + 'static;

    /// Where changes are announced: one for all users of the store in this process.
    fn hub(&self) -> &Arc<Hub>;

    /// Makes the account with its [`DEFAULT_MAILBOXES`], unless it is there. All of it is there, or the next call goes on
    /// where this one was cut short.
    async fn create_account(&self, account: &AccountName, now: Unix) -> Result<()>;

    /// The same for an account that is logged in: its user was made by hand, say, without mailboxes. What makes a tree
    /// without having been asked to (this, [`MailStore::deliver`], [`MailStore::create`]) must not bring back that of a user
    /// who is removed at the same moment (`NoSuchUser`); a store that knows nothing of users need not care.
    async fn welcome(&self, account: &AccountName, now: Unix) -> Result<()> {
        self.create_account(account, now).await
    }

    /// Removes the account's mailboxes, messages and subscriptions for good; nothing to do if there is none. Announced to the
    /// watchers of its mailboxes, who find them gone. Queue entries that it submitted stay. An account that is made later
    /// under its name has higher UIDVALIDITYs, at the latest once the clock has moved on.
    async fn delete_account(&self, account: &AccountName) -> Result<()>;

    /// All mailboxes, the levels above them, and subscribed names that are neither, each once, in the order of
    /// [`MailboxName`]. Empty for an account that is not there.
    async fn list(&self, account: &AccountName) -> Result<Vec<MailboxEntry>>;

    /// The numbers of one mailbox, as a snapshot of it would count them. Cheap: clients ask for all mailboxes in a row.
    ///
    /// # Errors
    /// `NoSuchMailbox`, also for a level that cannot be selected.
    async fn status(&self, account: &AccountName, mailbox: &MailboxName) -> Result<MailboxStatus>;

    /// Opens a mailbox. [`Selected::recent_from`] is the first UID that nobody was told as `\Recent`; unless `read_only`, this
    /// session now is, and the next gets a higher one. That is no change: no MODSEQ, no announcement.
    ///
    /// A store that can only read now (its medium is read-only) opens it all the same, and says so in
    /// [`Selected::read_only`].
    ///
    /// # Errors
    /// `NoSuchMailbox`, also for a level that cannot be selected.
    async fn select(&self, account: &AccountName, mailbox: &MailboxName, read_only: bool)
    -> Result<Selected>;

    /// Claims for one session that has the mailbox selected what came since anybody was told as `\Recent`: the first UID that
    /// nobody was told, and UIDNEXT. As with [`MailStore::select`], the next claim or SELECT gets higher ones only, and it is
    /// no change. Of two sessions that claim the same messages one gets them, the other gets UIDNEXT twice.
    ///
    /// # Errors
    /// `NoSuchMailbox`: it is gone.
    async fn claim_recent(&self, mailbox: &MailboxRef) -> Result<(Uid, Uid)>;

    /// The mailbox now: at least as new as every operation that has returned and every announcement that was heard.
    ///
    /// # Errors
    /// `NoSuchMailbox`: it is gone.
    async fn snapshot(&self, mailbox: &MailboxRef) -> Result<Snapshot>;

    /// [`MailStore::snapshot`] if it is to be had without waiting or reading much (the file store: one pread and a try-lock).
    /// `None`, the default, means only that it takes longer, or that the mailbox is gone. Must not wait.
    fn snapshot_now(&self, mailbox: &MailboxRef) -> Option<Snapshot> {
        let _ = mailbox;
        None
    }

    /// What has gone from the mailbox between the MODSEQ `since`, which a client was told as HIGHESTMODSEQ, and the
    /// snapshot (RFC 7162 §3.2.10, `VANISHED (EARLIER)`). For a client that knew what there was at `since`: its
    /// messages, without these, with those of the snapshot whose MODSEQ is above `since`, are those of the snapshot.
    /// A store that keeps no record always answers [`Vanished::Forgotten`], which is never wrong.
    async fn vanished(&self, mailbox: &MailboxRef, since: ModSeq, snapshot: &Snapshot) -> Result<Vanished> {
        let _ = (mailbox, since, snapshot);
        Ok(Vanished::Forgotten)
    }

    /// A session no longer has the mailbox selected: what is kept for it may go. Comes once for each [`MailStore::select`], but
    /// not from a session that was cut off.
    async fn unselect(&self, mailbox: &MailboxRef) {
        let _ = mailbox;
    }

    /// [`MailStore::select`] if it is to be had without waiting or reading much, as [`MailStore::snapshot_now`]. `None`, the
    /// default, means only that it takes longer, or that it fails; then nothing is selected. Must not wait.
    fn select_now(&self, account: &AccountName, mailbox: &MailboxName, read_only: bool) -> Option<Selected> {
        let _ = (account, mailbox, read_only);
        None
    }

    /// [`MailStore::unselect`] if there is next to nothing to do. False, the default: nothing was done. Must not wait.
    fn unselect_now(&self, mailbox: &MailboxRef) -> bool {
        let _ = mailbox;
        false
    }

    /// [`MailStore::store`] if it changes a few messages and waits for nobody, and for no sync of the disk (the file store: one
    /// rename a message between two writes to its state, with locks that are free, while nothing syncs). `None`, the default:
    /// nothing was done; it takes longer, or fails. Must not wait.
    ///
    /// # Errors
    /// It has failed after it may have changed some of the messages: [`MailStore::store`] is not to be tried instead.
    fn store_now(
        &self,
        mailbox: &MailboxRef,
        uids: &UidSet,
        change: &FlagChange,
        unchanged_since: Option<ModSeq>,
    ) -> Option<Result<Stored>> {
        let _ = (mailbox, uids, change, unchanged_since);
        None
    }

    /// CREATE: makes a mailbox, the account if it is not there, and mailboxes for the missing levels above (levels that cannot
    /// be selected stay so). A level of this name becomes an empty mailbox with a new UIDVALIDITY, and keeps its children.
    /// Nothing is subscribed. The special uses stay with the mailbox.
    ///
    /// # Errors
    /// `MailboxExists`; `BadMailboxName`: this store cannot keep the name.
    async fn create(
        &self,
        account: &AccountName,
        mailbox: &MailboxName,
        special_use: &[SpecialUse],
        now: Unix,
    ) -> Result<()>;

    /// DELETE: removes a mailbox with its messages. With mailboxes below, its name stays as a level that cannot be selected.
    /// Announced to its watchers, who find it gone. No operation that returns later adds to what was deleted.
    ///
    /// # Errors
    /// `NotPossible`: INBOX; `NoSuchMailbox`; `NotPossible`: a level that cannot be selected.
    async fn delete(&self, account: &AccountName, mailbox: &MailboxName) -> Result<()>;

    /// RENAME: changes the name of a mailbox (or of a level) and of all below it, and nothing else: identities, numbers,
    /// messages and who has them selected stay. Missing levels above the new name are made as by CREATE. Subscriptions are to
    /// names, and stay with those.
    ///
    /// INBOX is different (RFC 9051 §6.3.6): a new mailbox is made, and its messages are moved there, as by CREATE and
    /// [MOVE](MailStore::move); itself and what is below it stay.
    ///
    /// # Errors
    /// `MailboxExists`: the new name is INBOX; `NotPossible`: it is below the old (which is not INBOX); `NoSuchMailbox`;
    /// `MailboxExists`: there is a mailbox or level of the new name; `BadMailboxName`: something below would get a name
    /// that is none.
    async fn rename(
        &self,
        account: &AccountName,
        from: &MailboxName,
        to: &MailboxName,
        now: Unix,
    ) -> Result<()>;

    /// Subscribes to a name, or no longer. Like CREATE, DELETE and RENAME it is told to those who watch the account's list
    /// ([`Scope::List`](rmail_core::machine::Scope::List)). It need not be of a mailbox, and stays whatever becomes of one.
    ///
    /// # Errors
    /// `NoSuchMailbox`: there is no such account.
    async fn subscribe(&self, account: &AccountName, mailbox: &MailboxName, on: bool) -> Result<()>;

    /// Who beside its owner may do what with a mailbox (RFC 4314). What the store is asked to do it does for anybody: the
    /// service looks here first. A new mailbox has the list of the mailbox above it; the list stays with the mailbox when
    /// it is renamed, and goes with it. The default, for a store that shares nothing: an empty list.
    ///
    /// # Errors
    /// `NoSuchMailbox`, which a list may also be empty for.
    async fn acl(&self, account: &AccountName, mailbox: &MailboxName) -> Result<Acl> {
        let _ = (account, mailbox);
        Ok(Acl::default())
    }

    /// The same of a selected mailbox. It is asked before every operation of a session that is not the owner's.
    ///
    /// # Errors
    /// `NoSuchMailbox`: it is gone.
    async fn acl_of(&self, mailbox: &MailboxRef) -> Result<Acl> {
        let _ = mailbox;
        Ok(Acl::default())
    }

    /// Changes one entry of a mailbox's list: reading and writing are one, so that of two changes at the same time none is
    /// lost.
    ///
    /// # Errors
    /// `NoSuchMailbox`; `MailboxFull`: there are [`Acl::MAX`] entries; `NotPossible`, the default: this store shares
    /// nothing.
    async fn set_acl(
        &self,
        account: &AccountName,
        mailbox: &MailboxName,
        identifier: &Identifier,
        change: RightsChange,
    ) -> Result<()> {
        let _ = (account, mailbox, identifier, change);
        Err(Refusal::NotPossible.into())
    }

    /// The mailboxes of other accounts whose lists give this one any right, in the order of accounts and names. It is asked
    /// by every LIST: it should cost little for an account with which nobody shares anything. The default: none.
    async fn shared(&self, with: &AccountName) -> Result<Vec<SharedMailbox>> {
        let _ = with;
        Ok(Vec::new())
    }

    /// All annotations (RFC 5464) of a mailbox, an account or the server, private ones of all accounts among them. They stay
    /// with a mailbox when it is renamed, and go with it; RENAME of INBOX copies its. The default: none.
    ///
    /// # Errors
    /// `NoSuchMailbox`, also for a level that cannot be selected.
    async fn annotations(&self, about: &Annotated) -> Result<Annotations> {
        let _ = about;
        Ok(Annotations::default())
    }

    /// Does all of these changes, or none. What changes something of a mailbox raises its MODSEQ (RFC 7162 §3.2), without a
    /// message that has it.
    ///
    /// # Errors
    /// `NoSuchMailbox`; `MailboxFull`: there would be too many ([`Annotations::change`]); `NotPossible`, the default: this
    /// store keeps none.
    async fn annotate(&self, about: &Annotated, changes: &[AnnotationChange]) -> Result<()> {
        let _ = (about, changes);
        Err(Refusal::NotPossible.into())
    }

    /// What the account's messages take, all mailboxes together. Cheap, whatever the account holds. A process that died
    /// may have left it too high, never too low; see [`MailStore::recount`].
    async fn usage(&self, account: &AccountName) -> Result<Usage>;

    /// Counts the account's messages anew and returns what they take: exactly, if nobody adds or removes any meanwhile.
    /// It also finds what other programs have added or removed behind the store's back. A store whose
    /// [`MailStore::usage`] is always exact need not do anything else.
    async fn recount(&self, account: &AccountName) -> Result<Usage> {
        self.usage(account).await
    }

    /// Whether the account may get so much more: for what is told before the messages are there (RCPT, the literal of
    /// APPEND). [`MailStore::append`], [`MailStore::copy`] and [`MailStore::deliver`] decide by themselves. Before it
    /// says no, a store whose usage may be too high counts anew.
    async fn has_room(&self, account: &AccountName, quota: &Quota, more: Usage) -> Result<bool> {
        Ok(quota.is_unlimited() || quota.admits(self.usage(account).await?, more))
    }

    /// True: [`MailStore::has_room`] says so, and it is known without waiting or reading much (the file store: one pread).
    /// False, the default, means only that it takes longer, or that there is no room. Must not wait.
    fn has_room_now(&self, account: &AccountName, quota: &Quota, more: Usage) -> bool {
        let _ = (account, quota, more);
        false
    }

    /// A new, empty body.
    async fn new_spool(&self) -> Result<Self::Spool>;

    /// Takes octets into memory, or gives them all back because [`MailStore::write_spool`] is needed: they do not fit, or there
    /// are octets elsewhere already. Must not wait. The default always gives them back: every piece is then a job on a pool.
    fn write_spool_now(&self, spool: &mut Self::Spool, chunk: Chunk) -> core::result::Result<(), Chunk> {
        let _ = spool;
        Err(chunk)
    }

    /// Appends octets, wherever they go. Together with those that [`MailStore::write_spool_now`] took, in the order of the
    /// calls. What spools take of memory is bounded
    /// ([`Limits::spool_memory`](rmail_core::limits::Limits::spool_memory), `spool_budget`), not what they take of the disk:
    /// the session knows its limit. After an error the spool is only good to be dropped.
    ///
    /// # Errors
    /// `DiskFull`, `Storage`.
    async fn write_spool(&self, spool: &mut Self::Spool, chunk: Chunk) -> Result<()>;

    /// Puts the octets of a spool on disk before the operation that takes it would: an import of many messages does so
    /// with many at a time, from several threads. After an error the spool is only good to be dropped.
    async fn sync_spool(&self, _spool: &mut Self::Spool) -> Result<()> {
        Ok(())
    }

    /// Octets written so far.
    fn spool_len(&self, spool: &Self::Spool) -> u64;

    /// APPEND: all messages into one mailbox under ascending UIDs in their order and one MODSEQ, or none. There is at least one.
    /// Without a date a message is of `now`.
    ///
    /// The quota holds for all of them together, and for all that is added at the same time: of two appends of which
    /// either fits, but not both, one is refused.
    ///
    /// # Errors
    /// `NoSuchMailbox` (the mailbox is not made); `OverQuota`; `TooManyKeywords`; `MailboxFull`; `TooLarge`.
    async fn append(
        &self,
        account: &AccountName,
        mailbox: &MailboxName,
        messages: Vec<(Self::Spool, Flags, Option<DateTime>)>,
        quota: &Quota,
        now: Unix,
    ) -> Result<Appended>;

    /// APPEND of messages that keep their UIDs (import, restore): all of them, or none. The UIDs ascend and none is below
    /// UIDNEXT. With no messages it only sets the numbers.
    ///
    /// The UIDVALIDITY is set, if it is given and another, only in a mailbox that has never had a message: UIDNEXT was
    /// always 1. Afterwards no mailbox of the account gets that value by itself, unless it is more than ten years ahead.
    /// What was promised before a crash stays promised: after it UIDNEXT may be above UIDs that were asked for and are not
    /// there; the caller then appends those messages under new UIDs.
    ///
    /// # Errors
    /// `NotPossible` if UIDs or UIDVALIDITY are not as said, and nothing is changed.
    async fn append_numbered(
        &self,
        account: &AccountName,
        mailbox: &MailboxName,
        numbering: Numbering,
        messages: Vec<(Uid, Self::Spool, Flags, Option<DateTime>)>,
        now: Unix,
    ) -> Result<Appended>;

    /// Every MODSEQ that is given in the mailbox from now on is above this one, and so is HIGHESTMODSEQ; the messages keep
    /// theirs. For a mailbox that is made again under its old UIDVALIDITY, of which clients may know higher ones than it has
    /// by itself. With nothing to raise, nothing is done.
    ///
    /// # Errors
    /// `NoSuchMailbox`.
    async fn raise_modseq(&self, account: &AccountName, mailbox: &MailboxName, above: ModSeq) -> Result<()>;

    /// One body, without flags, into the INBOX of every account and, if there is one, as an entry into the outbound queue:
    /// all or nothing, stored once. An account may be named twice and gets one message; one that is not there is made (also
    /// if the message is refused, or not). There may be no account, only the entry. Its id is 1 to 64 letters and digits
    /// that no other entry has.
    ///
    /// Each account comes with its quota. A message that is over the quotas of all of them is refused (and not queued
    /// either); over those of some only, it goes to all, because the reply cannot say whom it did not reach: the excess
    /// is one message. What must go in whatever the account has (a bounce) comes with [`Quota::UNLIMITED`].
    ///
    /// # Errors
    /// `OverQuota`; `MailboxFull`; `TooLarge`; `Storage`: also for an id that is none, or is taken.
    async fn deliver(
        &self,
        spool: Self::Spool,
        accounts: &[(AccountName, Quota)],
        outbound: Option<&Entry>,
        now: Unix,
    ) -> Result<()>;

    /// [`MailStore::deliver`], but an INBOX that cannot be written need not keep the message from the others: see [`Instead`].
    /// What it gave is the answer. The default, for stores all of whose mailboxes can be written or none, never asks.
    ///
    /// # Errors
    /// As [`MailStore::deliver`].
    async fn deliver_some(
        &self,
        spool: Self::Spool,
        accounts: &[(AccountName, Quota)],
        outbound: Option<&Entry>,
        _instead: Instead<'_>,
        now: Unix,
    ) -> Result<Option<Entry>> {
        self.deliver(spool, accounts, outbound, now).await.map(|()| None)
    }

    /// STORE: changes flags of those of the messages that exist, and answers with the mailbox after it. With `unchanged_since`,
    /// messages with a higher MODSEQ are left alone and told in [`Stored::modified`], even if the change would do nothing
    /// to them; looking and changing are one. Keywords that are only to be removed need not be known.
    ///
    /// Others must not wait for a change of many messages: it may go in steps, each visible and with its own MODSEQ.
    /// After an error any of the messages may have their new flags, each of them all or none; they keep them, as durably
    /// as flags that were answered, and they are announced. Doing it again does the rest.
    ///
    /// # Errors
    /// `NoSuchMailbox`; `TooManyKeywords`: no message was changed.
    async fn store(
        &self,
        mailbox: &MailboxRef,
        uids: &UidSet,
        change: &FlagChange,
        unchanged_since: Option<ModSeq>,
    ) -> Result<Stored>;

    /// COPY within the account: all of the messages that exist, or none, in their order under new UIDs and one MODSEQ, with
    /// octets, flags, keywords (by name) and INTERNALDATE; saved `now`, and `\Recent`. The target may be the source. The
    /// snapshot is the source's. Messages that are not there are left out; with none left, nothing is done, and the answer has
    /// the target's UIDVALIDITY all the same. The quota holds as for [`MailStore::append`].
    ///
    /// # Errors
    /// `NoSuchMailbox`: source or target; `OverQuota`; `TooManyKeywords`; `MailboxFull`.
    async fn copy(
        &self,
        mailbox: &MailboxRef,
        uids: &UidSet,
        to: &MailboxName,
        quota: &Quota,
        now: Unix,
    ) -> Result<(CopyUid, Snapshot)>;

    /// MOVE within the account: as COPY, and the source has them no longer. It is never over quota. What the flags were when the
    /// message left the source they are in the target: changes by others meanwhile are not lost. What others removed meanwhile
    /// is left out. The target may be the source: new UIDs.
    ///
    /// After an error any of the messages may have been moved: those are in the target, synced, and gone from the source.
    /// The others are in the source, and what was linked of them into the target is taken back, unless somebody else has
    /// changed it there meanwhile (then it is in both). None is in neither, also after a crash. A store with transactions
    /// moves all or none.
    ///
    /// # Errors
    /// As [`MailStore::copy`]; refused for these, nothing was moved.
    async fn r#move(
        &self,
        mailbox: &MailboxRef,
        uids: &UidSet,
        to: &MailboxName,
        now: Unix,
    ) -> Result<(CopyUid, Snapshot)>;

    /// EXPUNGE: removes the messages that have `\Deleted`; only those of `uids` if given. Answers with the mailbox after it.
    ///
    /// It may go in steps, as STORE. After an error any of them may be gone; those stay gone, also after a power cut, unless it
    /// was their sync that failed.
    ///
    /// # Errors
    /// `NoSuchMailbox`.
    async fn expunge(&self, mailbox: &MailboxRef, uids: Option<&UidSet>) -> Result<Snapshot>;

    /// REPLACE (RFC 8508): adds a message as [`MailStore::append`] does, and removes the old one, which need not have
    /// `\Deleted`, for good. The answer has the new one's UID, and the mailbox of the old one as it is now; `None`: the
    /// old one is not there, and nothing is done. Of the quota only what the account gets more counts, if both are its.
    ///
    /// The new message is there, durably, before the old one goes: a crash may leave both, never neither. After an error the
    /// old one is there; the new one is taken back if possible. The default goes in steps; others may see both meanwhile.
    ///
    /// # Errors
    /// As [`MailStore::append`]; `NoSuchMailbox` for the old one's mailbox too.
    async fn replace(
        &self,
        mailbox: &MailboxRef,
        uid: Uid,
        to: NewHome<'_>,
        message: NewMail<Self>,
        quota: &Quota,
        now: Unix,
    ) -> Result<Option<(Appended, Snapshot)>> {
        crate::replace::in_steps(self, mailbox, uid, to, message, quota, now).await
    }

    /// Opens a message. `None`: it is not there (any more), which is no error.
    ///
    /// # Errors
    /// `NoSuchMailbox`: the mailbox is gone.
    async fn open(&self, mailbox: &MailboxRef, uid: Uid) -> Result<Option<Self::Blob>>;

    /// Octets of an open message.
    fn blob_len(&self, blob: &Self::Blob) -> u64;

    /// Reads up to `buf.len()` octets from an offset on; fewer only at the end, where it is 0, or where fewer are at hand.
    async fn read(&self, blob: &Self::Blob, buf: &mut [u8], offset: u64) -> Result<usize>;

    /// The same at once, if it waits for nothing; perhaps fewer octets than there are. `None`: [`MailStore::read`] tells.
    fn read_now(&self, _blob: &Self::Blob, _buf: &mut [u8], _offset: u64) -> Option<usize> {
        None
    }

    /// What the store has kept of messages, so that they need not be opened: for each UID in the order asked, `None` where
    /// nothing is kept. It must be of that very message. There are no errors: what cannot be read is not known. Called with
    /// some hundred UIDs at most.
    ///
    /// A store that keeps nothing leaves this and [`MailStore::keep_parsed`] as they are: messages are then read each time.
    async fn parsed(&self, _mailbox: &MailboxRef, uids: &[Uid]) -> Vec<Option<Parsed>> {
        vec![None; uids.len()]
    }

    /// Offers what was found out of messages because [`MailStore::parsed`] did not know it, or only a part of it. The store
    /// may keep it or not.
    async fn keep_parsed(&self, _mailbox: &MailboxRef, _found: &[(Uid, Parsed)]) {}

    /// All entries of this process's outbound queue, and of queues whose owner is dead (they become ours). No two processes
    /// have the same entry. One that is damaged is left out, kept for a person to look at, and logged. Called at the start.
    async fn load_outbound(&self) -> Result<Vec<Entry>>;

    /// The same, a part after the other as it is read, so that a long queue is not in memory twice. After an error the
    /// parts that were given count for nothing.
    async fn load_outbound_in_parts(&self, part: &mut dyn FnMut(Vec<Entry>)) -> Result<()> {
        part(self.load_outbound().await?);
        Ok(())
    }

    /// The entries of queues whose owner has died since the last call of this or of [`MailStore::load_outbound`]. They
    /// become ours; what was ours before is left out. An owner that is only stopped is not dead. Called about every 30 s.
    /// A store that has one queue for all processes, or whose processes have none of their own, gives nothing.
    async fn adopt_outbound(&self) -> Result<Vec<Entry>> {
        Ok(Vec::new())
    }

    /// Replaces an entry of this id whole, durably; its message stays.
    ///
    /// # Errors
    /// `Storage`: also if there is none. The old one holds, or already the new one; whoever saves has to try again.
    async fn save_outbound(&self, entry: &Entry) -> Result<()>;

    /// Removes an entry and its message, durably: it must not be sent again after a crash. `Storage` also if there is none.
    async fn remove_outbound(&self, id: &str) -> Result<()>;

    /// Opens the message of an entry. `Storage` also if there is none.
    async fn open_outbound(&self, id: &str) -> Result<Self::Blob>;

    /// Where entries of the outbound queue lie, those of all processes, by name; one home if there is one queue for all. For
    /// an operator's look: it takes nothing over and changes nothing, and needs not be the queue at one moment.
    async fn outbound_homes(&self) -> Result<Vec<OutboundHome>>;

    /// Entries of a home as they stand now, in the order asked for; those that are gone are left out. May be called from
    /// several threads.
    async fn read_outbound(&self, home: &str, ids: &[String]) -> Result<Vec<ReadEntry>>;

    /// Whether what is in this home is sent by this process. Must not wait.
    fn owns_outbound(&self, home: &str) -> bool;

    /// Room for further messages, if the store knows it: the service then refuses mail before it comes, while there is
    /// still room for what is under way. `None`, the default: not known. Either way an operation that finds no room says
    /// [`Refusal::DiskFull`].
    async fn free(&self) -> Result<Option<Free>> {
        Ok(None)
    }

    /// Finds what other processes changed in watched mailboxes, and announces it. Called every `store.poll_ms`, and a tenth
    /// as often as long as there is an [`Ear`](crate::hub::Ear) on every watched mailbox.
    async fn poll_watched(&self) {}

    /// Looks in watched mailboxes for changes by programs that do not take the store's locks (a restore, a script, a backup
    /// that is copied over them), and announces them. Called every `store.sweep` seconds, and when the store's own
    /// news were lost. A store that nobody else can write to has nothing to do.
    async fn sweep_watched(&self) {}

    /// Somebody watches the mailbox from now on ([`Hub::watch`]). A store that is told of changes by other processes puts
    /// an [`Ear`](crate::hub::Ear) on it: what changes after this returns, and is not announced by this process itself, is
    /// told by [`MailStore::changes`]. Neither waits nor reads. Without it [`MailStore::poll_watched`] finds all.
    fn listen(&self, _mailbox: &MailboxRef) {}

    /// Waits until other processes may have changed something that is watched. The tags are those of [`Hub::ear`].
    /// Dropping the future loses nothing.
    fn changes(&self) -> impl Future<Output = Changes> + Send {
        pending()
    }

    /// As [`MailStore::poll_watched`], for the mailboxes among what may have changed. Cheap for those that have not.
    async fn look_at(&self, _changes: &Changes) {}

    /// Removes what processes that died have left and nobody will read. Called at the start and about once a day, beside
    /// everything else; the default is for a store where nothing is left.
    async fn tidy(&self) -> Result<()> {
        Ok(())
    }

    /// Whether [`MailStore::flush`] has anything to do. Must not wait. The default is for a store that syncs all it answers.
    fn is_dirty(&self) -> bool {
        false
    }

    /// Syncs flag changes that were answered but not synced yet. Called every `store.flag_sync_ms` while
    /// [`MailStore::is_dirty`], and at the end.
    async fn flush(&self) -> Result<()> {
        Ok(())
    }

    /// The end of this process's use of the store: nothing is called after it. Syncs what [`MailStore::flush`] would, and
    /// leaves everything so that the next process finds it clean and opens it fast. Nothing that was answered depends on it: a process that dies instead costs the next one only time. What the
    /// provided method does is enough for a store that keeps no notes for the next process. An error: flag changes could
    /// not be synced.
    async fn close(&self) -> Result<()> {
        self.flush().await
    }
}
