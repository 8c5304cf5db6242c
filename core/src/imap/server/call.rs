//! What an IMAP session asks of the service.

use core::net::IpAddr;
use core::time::Duration;
use std::sync::Arc;

use crate::addr::AccountName;
use crate::chunk::Chunk;
use crate::machine::{BlobId, SpoolId};
use crate::mailbox::{
    Acl, Annotated, AnnotationChange, Annotations, FlagChange, Flags, MailboxId, MailboxName, MailboxRef,
    ModSeq, Quota, Rights, RightsChange, Snapshot, SpecialUse, Uid, UidSet, UidValidity, Usage, Vanished,
};
use crate::mime::section::{Section, Spec};
use crate::refusal::Refusal;
use crate::sasl::ScramUser;
use crate::search::{Algorithm, Criterion, Key, ThreadNode};
use crate::secret::Secret;
use crate::time::DateTime;

/// What one session is told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Our FQDN.
    pub hostname: String,
    /// The peer's address.
    pub peer: IpAddr,
    /// STARTTLS is offered.
    pub starttls: bool,
    /// LOGIN and AUTH may be offered without TLS.
    pub cleartext_auth: bool,
    /// Octets of a message that APPEND takes.
    pub max_message_size: u64,
    /// Without a client line for this long, and not in IDLE: BYE (RFC 9051 §5.4: at least 30 minutes).
    pub autologout: Duration,
    /// The same before login.
    pub login_timeout: Duration,
    /// In IDLE, a line of ours after this long, so that middleboxes keep the connection.
    pub idle_keepalive: Duration,
    /// The host can compress: COMPRESS=DEFLATE is offered.
    pub compress: bool,
    /// Bounds of the store that the session must keep to.
    pub limits: crate::limits::Limits,
}

/// A question to the service. One at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// LOGIN, AUTHENTICATE PLAIN.
    Authenticate {
        /// Login name: a whole address, or a bare name when one domain is hosted.
        login: String,
        /// Password.
        password: Secret,
    },
    /// SCRAM: what is stored of this user? Nobody and somebody disabled get false keys that stay the same.
    ScramStart {
        /// Login name, as in [`Call::Authenticate`].
        login: String,
    },
    /// SCRAM: the user has proved that it knows the password, and comes in unless it has changed meanwhile. Answered with
    /// [`Reply::Authenticated`].
    ScramDone {
        /// As told by the answer to [`Call::ScramStart`].
        account: AccountName,
        /// The same.
        epoch: u64,
    },
    /// After a dirty account watch: does the login still hold?
    Recheck {
        /// Who.
        account: AccountName,
        /// Epoch as told at login.
        epoch: u64,
    },
    /// All mailboxes and subscriptions of the account.
    List {
        /// Whose.
        account: AccountName,
    },
    /// The mailboxes of other accounts that this one may do something with.
    Shared {
        /// Who may.
        account: AccountName,
    },
    /// GETACL, LISTRIGHTS.
    Acl {
        /// Whose.
        account: AccountName,
        /// Which.
        mailbox: MailboxName,
    },
    /// SETACL, DELETEACL.
    SetAcl {
        /// Whose.
        account: AccountName,
        /// Which.
        mailbox: MailboxName,
        /// Whom the entry is about, as the client wrote it.
        identifier: String,
        /// What becomes of it.
        change: RightsChange,
    },
    /// MYRIGHTS.
    Rights {
        /// Whose.
        account: AccountName,
        /// Which.
        mailbox: MailboxName,
    },
    /// GETMETADATA: shared annotations, and the private ones of who is logged in.
    Annotations {
        /// Of what.
        about: Annotated,
    },
    /// SETMETADATA: all of the changes or none.
    Annotate {
        /// Of what.
        about: Annotated,
        /// The changes.
        changes: Vec<AnnotationChange>,
    },
    /// GETQUOTA, GETQUOTAROOT.
    Quota {
        /// Whose.
        account: AccountName,
        /// The mailbox that it was asked for by.
        mailbox: Option<MailboxName>,
    },
    /// SETQUOTA.
    SetQuota {
        /// Whose.
        account: AccountName,
        /// What the account may have from now on.
        quota: Quota,
    },
    /// Numbers of one mailbox, which need not be selected.
    Status {
        /// Whose.
        account: AccountName,
        /// Which.
        mailbox: MailboxName,
    },
    /// SELECT (claims `\Recent`) or EXAMINE.
    Select {
        /// Whose.
        account: AccountName,
        /// Which.
        mailbox: MailboxName,
        /// EXAMINE.
        read_only: bool,
    },
    /// What the mailbox holds now.
    Changes {
        /// Which.
        mailbox: MailboxRef,
    },
    /// Claims `\Recent` of messages that came since SELECT, for this client alone.
    ClaimRecent {
        /// Which.
        mailbox: MailboxRef,
    },
    /// CREATE; parents are created too.
    Create {
        /// Whose.
        account: AccountName,
        /// Name.
        mailbox: MailboxName,
        /// Its use (RFC 6154 §3).
        special_use: Vec<SpecialUse>,
    },
    /// DELETE.
    Delete {
        /// Whose.
        account: AccountName,
        /// Name.
        mailbox: MailboxName,
    },
    /// RENAME with all that is below; from INBOX: moves its messages (RFC 9051 §6.3.6).
    Rename {
        /// Whose.
        account: AccountName,
        /// Old name.
        from: MailboxName,
        /// New name.
        to: MailboxName,
    },
    /// SUBSCRIBE, UNSUBSCRIBE.
    Subscribe {
        /// Whose.
        account: AccountName,
        /// Name; it need not exist.
        mailbox: MailboxName,
        /// Subscribe or unsubscribe.
        on: bool,
    },
    /// A message literal begins: mailbox exists, quota has room for this size?
    Open {
        /// Chosen by the session.
        spool: SpoolId,
        /// Whose.
        account: AccountName,
        /// Where it will go.
        mailbox: MailboxName,
        /// Octets announced.
        size: u64,
        /// Octets of a message of the same account that goes when this one comes (REPLACE).
        instead: Option<u64>,
    },
    /// APPEND: all messages or none, synced before the answer.
    Commit {
        /// Whose.
        account: AccountName,
        /// Where to.
        mailbox: MailboxName,
        /// The messages in order.
        messages: Vec<NewMessage>,
    },
    /// CATENATE: octets of a message that is there already, appended to a spool.
    SpoolFrom {
        /// Which.
        spool: SpoolId,
        /// Whose mailbox.
        account: AccountName,
        /// Which mailbox.
        mailbox: MailboxName,
        /// It must have this UIDVALIDITY.
        uid_validity: Option<UidValidity>,
        /// Which message.
        uid: Uid,
        /// What of it.
        section: Spec,
        /// First octet and how many at most.
        partial: Option<(u64, u64)>,
        /// Octets at most; with more it is `TooLarge`.
        room: u64,
    },
    /// REPLACE (RFC 8508): the new message is there and the old one gone, or neither.
    Replace {
        /// Where the old message is.
        mailbox: MailboxRef,
        /// The old message.
        uid: Uid,
        /// Whose mailbox the new one goes to.
        account: AccountName,
        /// Which mailbox.
        to: MailboxName,
        /// The new message.
        message: NewMessage,
    },
    /// Bodies that are not wanted after all.
    Discard {
        /// Which.
        spools: Vec<SpoolId>,
    },
    /// STORE.
    Store {
        /// Where.
        mailbox: MailboxRef,
        /// Which messages.
        uids: UidSet,
        /// What.
        change: FlagChange,
        /// UNCHANGEDSINCE (RFC 7162 §3.1.3).
        unchanged_since: Option<ModSeq>,
    },
    /// COPY.
    Copy {
        /// From.
        mailbox: MailboxRef,
        /// Which messages.
        uids: UidSet,
        /// Whose mailbox they go to.
        account: AccountName,
        /// To.
        to: MailboxName,
    },
    /// MOVE.
    Move {
        /// From.
        mailbox: MailboxRef,
        /// Which messages.
        uids: UidSet,
        /// Whose mailbox they go to.
        account: AccountName,
        /// To.
        to: MailboxName,
    },
    /// EXPUNGE: messages with `\Deleted`, only those of the set if there is one.
    Expunge {
        /// Where.
        mailbox: MailboxRef,
        /// UID EXPUNGE.
        uids: Option<UidSet>,
    },
    /// Parts of at most [`crate::limits::Limits::bodies_per_call`] messages (counting each pair).
    Bodies {
        /// Where.
        mailbox: MailboxRef,
        /// Message and section.
        parts: Vec<(Uid, Section)>,
    },
    /// A large body that will not be sent after all.
    CloseBlob {
        /// Which.
        blob: BlobId,
    },
    /// Which of these messages match? The program holds no sequence numbers.
    Search {
        /// Where.
        mailbox: MailboxRef,
        /// Candidates; the session asks in batches, so that others get their turn.
        uids: UidSet,
        /// What to look for.
        program: Arc<Key>,
    },
    /// What has gone since a MODSEQ (RFC 7162 §3.2.10)?
    Vanished {
        /// Where.
        mailbox: MailboxRef,
        /// HIGHESTMODSEQ as the client was told it.
        since: ModSeq,
        /// The mailbox as the client is told it now.
        snapshot: Snapshot,
    },
    /// The order of these messages (RFC 5256, SORT). Long work is cut: the session asks again until it is done.
    Sort {
        /// Where.
        mailbox: MailboxRef,
        /// Which messages. Those that are not there any more count as messages without a header.
        uids: Arc<UidSet>,
        /// By what.
        criteria: Vec<Criterion>,
        /// The same was asked before, and was not done.
        go_on: bool,
    },
    /// The threads of these messages (RFC 5256, THREAD); as for `Sort`.
    Thread {
        /// Where.
        mailbox: MailboxRef,
        /// Which messages.
        uids: Arc<UidSet>,
        /// How.
        algorithm: Algorithm,
        /// The same was asked before, and was not done.
        go_on: bool,
    },
    /// The mailbox is no longer selected here.
    Unselect {
        /// Which.
        mailbox: MailboxRef,
    },
}

/// A message of APPEND.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// Its octets.
    pub spool: SpoolId,
    /// Flags.
    pub flags: Flags,
    /// INTERNALDATE; none: now.
    pub date: Option<DateTime>,
}

/// The service's answer; each kind belongs to the call of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Account and its present epoch.
    Authenticated(Result<(AccountName, u64), Refusal>),
    /// What is stored of a user.
    Scram(Result<ScramUser, Refusal>),
    /// Whether the login still holds.
    Recheck(bool),
    /// Mailboxes by name.
    List(Result<Vec<MailboxEntry>, Refusal>),
    /// In the order of accounts and names.
    Shared(Result<Vec<SharedMailbox>, Refusal>),
    /// Acl.
    Acl(Result<Acl, Refusal>),
    /// What the account that is logged in may do.
    Rights(Result<Rights, Refusal>),
    /// Annotations.
    Annotations(Result<Annotations, Refusal>),
    /// Quota, SetQuota: what the account has, and what it may have.
    Quota(Result<(Usage, Quota), Refusal>),
    /// Numbers.
    Status(Result<MailboxStatus, Refusal>),
    /// The mailbox.
    Selected(Result<Selected, Refusal>),
    /// The mailbox now.
    Changes(Result<Snapshot, Refusal>),
    /// Messages from the first to before the second UID are `\Recent` in this client; none if they are the same.
    Claimed(Result<(Uid, Uid), Refusal>),
    /// Create, Delete, Rename, Subscribe, SetAcl, Annotate.
    Done(Result<(), Refusal>),
    /// The spool is open.
    Opened(Result<(), Refusal>),
    /// The messages are safe, or nothing of them remains.
    Committed(Result<Appended, Refusal>),
    /// Octets that were appended; none: there is no such message, or it has no such part.
    SpooledFrom(Result<Option<u64>, Refusal>),
    /// The new message, and where the old one was as it is now; none: the old one was gone already, and nothing is done.
    Replaced(Result<Option<(Appended, Snapshot)>, Refusal>),
    /// The spools are gone; also the answer to `CloseBlob` and `Unselect`.
    Discarded,
    /// Flags are changed.
    Stored(Result<Stored, Refusal>),
    /// Copied or moved; for MOVE the snapshot is the source's.
    Copied(Result<(CopyUid, Snapshot), Refusal>),
    /// Expunged; the mailbox now.
    Expunged(Result<Snapshot, Refusal>),
    /// One per pair, in order. It may end early behind the last pair of a message, so that not too much is held at a
    /// time: the session asks again for the rest.
    Bodies(Result<Vec<Body>, Refusal>),
    /// Those that match.
    Found(Result<UidSet, Refusal>),
    /// What has gone.
    Vanished(Result<Vanished, Refusal>),
    /// All of the messages in their order.
    Sorted(Result<Ranking<Vec<Uid>>, Refusal>),
    /// All of the messages in threads.
    Threaded(Result<Ranking<Vec<ThreadNode>>, Refusal>),
}

/// How far SORT or THREAD is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ranking<T> {
    /// So many messages are known; ask again.
    More(u64),
    /// Done.
    Done(T),
}

/// A mailbox in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailboxEntry {
    /// Name.
    pub name: MailboxName,
    /// False: a level that only has children, or only a subscription.
    pub selectable: bool,
    /// Whether anything is there at all; false: only a subscription names it.
    pub exists: bool,
    /// Its uses.
    pub special_use: Vec<SpecialUse>,
    /// Subscribed.
    pub subscribed: bool,
    /// Its identity, which stays when it is renamed: that of [`MailboxStatus::id`]. None: it cannot be selected.
    pub id: Option<MailboxId>,
}

/// A mailbox of another account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedMailbox {
    /// Whose.
    pub owner: AccountName,
    /// Its name there.
    pub name: MailboxName,
    /// What may be done with it.
    pub rights: Rights,
}

/// Answer to STATUS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of RFC 9051 §6.3.11")]
pub struct MailboxStatus {
    pub id: MailboxId,
    pub messages: u64,
    pub recent: u64,
    pub unseen: u64,
    pub deleted: u64,
    pub deleted_size: u64,
    pub size: u64,
    pub uid_next: Uid,
    pub uid_validity: UidValidity,
    pub modseq: ModSeq,
}

/// Answer to SELECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// Its identity: what later calls and the watch name.
    pub mailbox: MailboxRef,
    /// What it holds.
    pub snapshot: Snapshot,
    /// Messages from this UID on are `\Recent` in this client.
    pub recent_from: Uid,
    /// Nothing can be changed: EXAMINE, or the store can only read, or there is no right to.
    pub read_only: bool,
    /// What the account that is logged in may do. A store says all; the service narrows it.
    pub rights: Rights,
}

/// Answer to APPEND (RFC 4315 §3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Of the mailbox.
    pub uid_validity: UidValidity,
    /// Of the messages, in order. None: not to be told, because who put them there may not open the mailbox (RFC 4315 §3).
    pub uids: Vec<Uid>,
}

/// Answer to STORE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The mailbox now.
    pub snapshot: Snapshot,
    /// Messages that had changed since `unchanged_since` and were left alone.
    pub modified: UidSet,
}

/// COPYUID (RFC 4315 §3): `source[i]` became `target[i]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyUid {
    /// Of the target.
    pub uid_validity: UidValidity,
    /// Ascending.
    pub source: Vec<Uid>,
    /// Ascending. None although there is a source: not to be told, because who put them there may not open the mailbox
    /// (RFC 4315 §3).
    pub target: Vec<Uid>,
}

/// A section's octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// In memory.
    Small(Chunk),
    /// Opened: send it with `SendBlob(blob, 0..len)`.
    Large(BlobId, u64),
    /// Of BINARY: opened, and there is a NUL in it.
    Binary(BlobId, u64),
    /// Of BINARY: nobody knows how to undo the part's transfer encoding.
    UnknownEncoding,
    /// The message has no such part: NIL.
    Nil,
    /// The message is no longer there (RFC 2180 §4.1).
    Gone,
}

impl Body {
    /// Whether it can stand in a response.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        !matches!(self, Self::Gone | Self::UnknownEncoding)
    }
}
