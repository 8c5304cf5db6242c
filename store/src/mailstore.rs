//! [`MailStore`]: what protocol code needs of a store of mail. The file store is one implementation.

use core::future::{Future, pending};
use std::sync::Arc;

use rmail_core::addr::AccountName;
use rmail_core::chunk::Chunk;
use rmail_core::imap::server::{Appended, CopyUid, MailboxEntry, MailboxStatus, Selected, Stored};
use rmail_core::mailbox::{
    FlagChange, Flags, MailboxName, MailboxRef, ModSeq, Quota, Snapshot, SpecialUse, Uid, UidSet,
    UidValidity, Usage, Vanished,
};
use rmail_core::mime::parsed::Parsed;
use rmail_core::relay::entry::Entry;
use rmail_core::time::{DateTime, Unix};

use crate::disk::{Changes, Free};
use crate::error::Result;
use crate::hub::Hub;

/// Numbers that a mailbox brings with it from where it was before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbering {
    /// UIDVALIDITY, not 0. `None`: that of the mailbox stays.
    pub uid_validity: Option<UidValidity>,
    /// UIDNEXT is at least this afterwards: UIDs of messages that were expunged there are not given again.
    pub uid_next: Option<Uid>,
}

/// The mailboxes of a new account and what they are for, in the order in which they are made: with INBOX, which comes last,
/// the account is there. All of them are subscribed.
pub const DEFAULT_MAILBOXES: [(&str, &[SpecialUse]); 6] = [
    ("Drafts", &[SpecialUse::Drafts]),
    ("Sent", &[SpecialUse::Sent]),
    ("Junk", &[SpecialUse::Junk]),
    ("Trash", &[SpecialUse::Trash]),
    ("Archive", &[SpecialUse::Archive]),
    ("INBOX", &[]),
];

/// A store of mail: accounts with mailboxes, and the outbound queue.
///
/// Every operation that changes something is durable when it returns `Ok` (flag changes: see `store.flag_sync_ms`),
/// has been announced to the [`Hub`], and did nothing at all when it returns an error. Exceptions are
/// [`MailStore::store`], [`MailStore::expunge`] and [MOVE](MailStore::move) of many messages, which others must not wait
/// for: they go in small steps, and an error may come after some of them. Each says what then holds; what was done is
/// announced, so that the next look at the mailbox shows it, and doing the same again does the rest.
#[expect(
    async_fn_in_trait,
    reason = "operations run on one thread: futures need not be Send"
)]
pub trait MailStore: Send + Sync + 'static {
    /// A body on its way in. Dropping it discards it.
    type Spool: Send + 'static;
    /// A stored message, open for reading; it stays readable when the message is expunged.
    type Blob: Send + Sync + 'static;

    /// Where changes are announced.
    fn hub(&self) -> &Arc<Hub>;

    /// Makes the account's tree with the default mailboxes (INBOX, Drafts, Sent, Junk, Trash, Archive, subscribed) if
    /// it is not there.
    async fn create_account(&self, account: &AccountName, now: Unix) -> Result<()>;

    /// The same for an account that is logged in: its user was made by hand, say, without mailboxes. What makes a tree
    /// without having been asked to (this, [`MailStore::deliver`], [`MailStore::create`]) must not bring back that of a user
    /// who is removed at the same moment; a store that knows nothing of users need not care.
    ///
    /// # Errors
    /// `NoSuchUser`: the user is gone.
    async fn welcome(&self, account: &AccountName, now: Unix) -> Result<()> {
        self.create_account(account, now).await
    }

    /// Removes the account's mail for good.
    async fn delete_account(&self, account: &AccountName) -> Result<()>;

    /// All mailboxes and subscriptions, by name.
    async fn list(&self, account: &AccountName) -> Result<Vec<MailboxEntry>>;

    /// STATUS of one mailbox.
    async fn status(&self, account: &AccountName, mailbox: &MailboxName) -> Result<MailboxStatus>;

    /// Opens a mailbox; unless `read_only`, claims `\Recent`.
    ///
    /// A store that can only read now (its medium is read-only) opens it all the same, and says so in
    /// [`Selected::read_only`].
    async fn select(&self, account: &AccountName, mailbox: &MailboxName, read_only: bool)
    -> Result<Selected>;

    /// The mailbox now.
    async fn snapshot(&self, mailbox: &MailboxRef) -> Result<Snapshot>;

    /// [`MailStore::snapshot`] if it is to be had without waiting or reading directories (one pread, try-lock).
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

    /// A session no longer has the mailbox selected.
    async fn unselect(&self, mailbox: &MailboxRef) {
        let _ = mailbox;
    }

    /// Makes a mailbox and the missing levels above it.
    async fn create(
        &self,
        account: &AccountName,
        mailbox: &MailboxName,
        special_use: &[SpecialUse],
        now: Unix,
    ) -> Result<()>;

    /// Removes a mailbox; one with children stays as a level that cannot be selected.
    async fn delete(&self, account: &AccountName, mailbox: &MailboxName) -> Result<()>;

    /// Renames a mailbox and all below it; INBOX: moves its messages into a new mailbox.
    async fn rename(
        &self,
        account: &AccountName,
        from: &MailboxName,
        to: &MailboxName,
        now: Unix,
    ) -> Result<()>;

    /// Changes a subscription.
    async fn subscribe(&self, account: &AccountName, mailbox: &MailboxName, on: bool) -> Result<()>;

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

    /// A new, empty body.
    async fn new_spool(&self) -> Result<Self::Spool>;

    /// Takes octets into memory, or gives them back because [`MailStore::write_spool`] is needed (they no longer fit).
    fn write_spool_now(&self, spool: &mut Self::Spool, chunk: Chunk) -> core::result::Result<(), Chunk> {
        let _ = spool;
        Err(chunk)
    }

    /// Appends octets.
    async fn write_spool(&self, spool: &mut Self::Spool, chunk: Chunk) -> Result<()>;

    /// Puts the octets of a spool on disk before the operation that takes it would: an import of many messages does so
    /// with many at a time, from several threads. After an error the spool is only good to be dropped.
    async fn sync_spool(&self, _spool: &mut Self::Spool) -> Result<()> {
        Ok(())
    }

    /// Octets written so far.
    fn spool_len(&self, spool: &Self::Spool) -> u64;

    /// APPEND: all messages into one mailbox, or none.
    ///
    /// The quota holds for all of them together, and for all that is added at the same time: of two appends of which
    /// either fits, but not both, one is refused.
    ///
    /// # Errors
    /// `OverQuota`.
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

    /// Every MODSEQ that is given in the mailbox from now on is above this one, and so is HIGHESTMODSEQ: for a mailbox that
    /// is made again under its old UIDVALIDITY, of which clients may know higher ones than it has by itself. A store that
    /// tells no MODSEQs has nothing to do.
    async fn raise_modseq(&self, account: &AccountName, mailbox: &MailboxName, above: ModSeq) -> Result<()> {
        let _ = (account, mailbox, above);
        Ok(())
    }

    /// One body into the INBOX of every account and, if there is one, as an entry into the outbound queue: all or
    /// nothing, written and synced once, linked everywhere.
    ///
    /// Each account comes with its quota. A message that is over the quotas of all of them is refused (and not queued
    /// either); over those of some only, it goes to all, because the reply cannot say whom it did not reach: the excess
    /// is one message. What must go in whatever the account has (a bounce) comes with [`Quota::UNLIMITED`].
    ///
    /// # Errors
    /// `OverQuota`.
    async fn deliver(
        &self,
        spool: Self::Spool,
        accounts: &[(AccountName, Quota)],
        outbound: Option<&Entry>,
        now: Unix,
    ) -> Result<()>;

    /// STORE. A message that is gone is left out silently.
    ///
    /// After an error any of the messages may have their new flags, each of them all or none; they keep them, as durably
    /// as flags that were answered.
    async fn store(
        &self,
        mailbox: &MailboxRef,
        uids: &UidSet,
        change: &FlagChange,
        unchanged_since: Option<ModSeq>,
    ) -> Result<Stored>;

    /// COPY: all of the messages that exist, or none. The snapshot is the source's. The quota holds as for
    /// [`MailStore::append`].
    ///
    /// # Errors
    /// `OverQuota`.
    async fn copy(
        &self,
        mailbox: &MailboxRef,
        uids: &UidSet,
        to: &MailboxName,
        quota: &Quota,
        now: Unix,
    ) -> Result<(CopyUid, Snapshot)>;

    /// MOVE. The snapshot is the source's. It stays within the account, and is never over quota.
    ///
    /// After an error any of the messages may have been moved: those are in the target, synced, and gone from the source.
    /// The others are in the source, and what was linked of them into the target is taken back, unless somebody else has
    /// changed it there meanwhile (then it is in both). None is in neither.
    async fn r#move(
        &self,
        mailbox: &MailboxRef,
        uids: &UidSet,
        to: &MailboxName,
        now: Unix,
    ) -> Result<(CopyUid, Snapshot)>;

    /// Removes messages that have `\Deleted`; only those of `uids` if given.
    ///
    /// After an error any of them may be gone; those stay gone, also after a power cut, unless it was their sync that
    /// failed.
    async fn expunge(&self, mailbox: &MailboxRef, uids: Option<&UidSet>) -> Result<Snapshot>;

    /// Opens a message. `None`: it is gone.
    async fn open(&self, mailbox: &MailboxRef, uid: Uid) -> Result<Option<Self::Blob>>;

    /// Octets of an open message.
    fn blob_len(&self, blob: &Self::Blob) -> u64;

    /// Reads up to `buf.len()` octets; 0 at the end.
    async fn read(&self, blob: &Self::Blob, buf: &mut [u8], offset: u64) -> Result<usize>;

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

    /// All entries of this process's outbound queue, and of queues whose owner is dead (they become ours).
    async fn load_outbound(&self) -> Result<Vec<Entry>>;

    /// The entries of queues whose owner has died since the last call of this or of [`MailStore::load_outbound`]. They
    /// become ours; what was ours before is left out. An owner that is only stopped is not dead. Called about every 30 s.
    /// A store that has one queue for all processes, or whose processes have none of their own, gives nothing.
    async fn adopt_outbound(&self) -> Result<Vec<Entry>> {
        Ok(Vec::new())
    }

    /// Replaces an entry, durably.
    async fn save_outbound(&self, entry: &Entry) -> Result<()>;

    /// Removes an entry and its message.
    async fn remove_outbound(&self, id: &str) -> Result<()>;

    /// Opens the message of an entry.
    async fn open_outbound(&self, id: &str) -> Result<Self::Blob>;

    /// Room for further messages, if the store knows it: the service then refuses mail before it comes, while there is
    /// still room for what is under way. `None`, the default: not known. Either way an operation that finds no room says
    /// [`Refusal::DiskFull`](rmail_core::refusal::Refusal::DiskFull).
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

    /// Removes what processes that died have left and nobody will read. Called at the start and about once a day.
    async fn tidy(&self) -> Result<()> {
        Ok(())
    }

    /// Whether [`MailStore::flush`] has anything to do. Neither waits nor reads.
    fn is_dirty(&self) -> bool {
        false
    }

    /// Syncs flag changes that were answered but not synced yet. Called every `store.flag_sync_ms` while
    /// [`MailStore::is_dirty`], and at the end.
    async fn flush(&self) -> Result<()> {
        Ok(())
    }

    /// The end of this process's use of the store: nothing is called after it. Syncs what [`MailStore::flush`] would, and
    /// leaves everything so that the next process finds it clean and opens it fast.
    ///
    /// Nothing that was answered depends on it: a process that dies instead costs the next one only time. What the
    /// provided method does is enough for a store that keeps no notes for the next process.
    ///
    /// # Errors
    /// Flag changes could not be synced.
    async fn close(&self) -> Result<()> {
        self.flush().await
    }
}
