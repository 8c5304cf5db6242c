//! What can be found: one code each, with what it means for the user and what `--repair` does.

use core::fmt;

use rmail_core::addr::AccountName;
use rmail_core::mailbox::{MailboxName, Uid};

/// A kind of damage. Its text form is stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each has its meaning in the table below")]
pub enum Code {
    NameGrammar,
    NameShard,
    NameDouble,
    UidBeyond,
    NameSize,
    FileTruncated,
    FileEmpty,
    FileZeros,
    FileChanged,
    FileUnreadable,
    NotAFile,
    ShardName,
    Mode,
    Owner,
    StatusMissing,
    StatusBroken,
    UidCeiling,
    ModseqCeiling,
    MailboxTwice,
    UidValidityCounter,
    DirtyLeft,
    StateBroken,
    StateGone,
    KeywordsBroken,
    ExpungedBroken,
    CacheBroken,
    QuotaRecord,
    SubscriptionsFile,
    AclFile,
    MetadataFile,
    SharedNote,
    AccountFile,
    MailboxName,
    DeletedLeft,
    TemporaryLeft,
    QueueNoMessage,
    QueueNoEntry,
    QueueEntry,
    QueueOrphaned,
    UserFile,
    DomainFile,
    AliasesFile,
    NoUser,
    AccountName,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Something is wrong: the exit code tells.
    Fault,
    /// Worth knowing, and usual in some situations: it does not count.
    Note,
}

impl Code {
    /// Its stable text, what it means for the user, and what `--repair` does (empty: nothing).
    #[must_use]
    #[rustfmt::skip]
    pub fn texts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::NameGrammar => ("name-grammar", "a file with a name that is no message's is seen by no client",
                "moves it to lost+found"),
            Self::NameShard => ("name-shard", "a message that lies in the wrong shard is seen by no client",
                "gives it a new UID, under which clients see it as new"),
            Self::NameDouble => ("name-double", "of two messages with one UID clients see only one",
                "gives the hidden one a new UID; a second name of the same file is removed"),
            Self::UidBeyond => ("uid-beyond", "a message with a UID that was not given out yet is seen by no client, and its UID will be given to another one",
                "gives it a new UID, under which clients see it as new"),
            Self::NameSize => ("name-size", "clients are told a wrong size and may not be able to read the message",
                "gives it a new UID with its true size"),
            Self::FileTruncated => ("file-truncated", "the end of the message is missing, and clients may not be able to read the rest",
                "gives what is left a new UID with its true size; a backup may have the whole"),
            Self::FileEmpty => ("file-empty", "the message has lost its content",
                "moves the empty file to lost+found and expunges the message; a backup may have it"),
            Self::FileZeros => ("file-zeros", "the message has lost its content: it only holds NULs",
                "moves the file to lost+found and expunges the message; a backup may have it"),
            Self::FileChanged => ("file-changed", "the message is not the one that was stored: the disk, or somebody, has changed its octets",
                "leaves it, and forgets what it was (the cache of its shard), so that it is not told again; a backup may have the right one"),
            Self::FileUnreadable => ("file-unreadable", "the disk does not give the message's octets, and clients cannot read it",
                ""),
            Self::NotAFile => ("not-a-file", "a link, directory or device has a message's place, and clients may read what is none",
                "moves it to lost+found"),
            Self::ShardName => ("shard-name", "messages in a directory that is no shard are seen by no client",
                "gives them new UIDs; what is no message goes to lost+found"),
            Self::Mode => ("mode", "other users of this machine can read or change it, or the server cannot",
                "sets 0600 for files, 0700 for directories"),
            Self::Owner => ("owner", "it belongs to another user than the mail_root, so the server may not be able to read or change it",
                ""),
            Self::StatusMissing => ("status-missing", "messages lie in a directory that does not say which mailbox it is",
                "makes status.json anew; clients load the mailbox again (new UIDVALIDITY)"),
            Self::StatusBroken => ("status-broken", "the mailbox's numbers cannot be read",
                "makes status.json anew; clients load the mailbox again (new UIDVALIDITY)"),
            Self::UidCeiling => ("uid-ceiling", "after a restart of the machine a UID in use could be given to another message",
                "raises the ceiling in status.json"),
            Self::ModseqCeiling => ("modseq-ceiling", "after a restart of the machine clients could miss changes of flags",
                "raises the ceiling in status.json"),
            Self::MailboxTwice => ("mailbox-twice", "two mailboxes have the same identity, and clients may take one for the other",
                "gives the copy a new UIDVALIDITY and identity; clients load it again"),
            Self::UidValidityCounter => ("uidvalidity-counter", "a new mailbox could get a UIDVALIDITY that is in use",
                "raises the counter in account.json"),
            Self::DirtyLeft => ("dirty-left", "a process died before it said that its flag changes are on disk; after a power cut clients would look at all messages again",
                "syncs, and marks the mailbox clean"),
            Self::StateBroken => ("state-broken", "the mailbox's running numbers cannot be read; UIDs and MODSEQs will skip to the ceilings at its next use, and nothing is lost",
                "begins them anew at the ceilings"),
            Self::StateGone => ("state-gone", "a deletion of the mailbox was begun and did not happen; it is refused to clients until it is opened anew",
                "takes the mark back"),
            Self::KeywordsBroken => ("keywords-broken", "keywords of messages have lost their names",
                "keeps those that can be read, and calls each of the others lost-keyword-N"),
            Self::ExpungedBroken => ("expunged-broken", "the log of expunged messages has a record that cannot be read, and clients could keep messages that are gone",
                "begins the log anew; clients compare all UIDs once"),
            Self::CacheBroken => ("cache-broken", "a cache is damaged or wrong: one that is damaged is not used, by one that is wrong clients could be told what is not so",
                "removes it; it is made again when needed"),
            Self::QuotaRecord => ("quota-record", "the recorded use of the quota is not what the messages have",
                "removes the record; it is counted again when needed"),
            Self::SubscriptionsFile => ("subscriptions-file", "subscriptions cannot be read: clients cannot list the account's mailboxes",
                "moves the file to lost+found, and subscribes to all mailboxes"),
            Self::AclFile => ("acl-file", "who else may do what with the mailbox cannot be read: nobody but its owner gets in",
                "moves the file to lost+found; the mailbox is not shared any more"),
            Self::MetadataFile => ("metadata-file", "annotations cannot be read, nor set",
                "moves the file to lost+found; there are no annotations then"),
            Self::SharedNote => ("shared-note", "a mailbox that is shared does not appear in the list of who may see it",
                "notes it"),
            Self::AccountFile => ("account-file", "the counter of UIDVALIDITY cannot be read; it is made anew from the mailboxes at the next CREATE",
                "makes it anew from the mailboxes"),
            Self::MailboxName => ("mailbox-name", "a directory whose name is no mailbox's is seen by no client, nor is what lies below",
                "gives it the nearest name that is possible"),
            Self::DeletedLeft => ("deleted-left", "a mailbox that was deleted still takes room",
                "removes it, as its deletion would have done"),
            Self::TemporaryLeft => ("temporary-left", "a temporary file of a process that died takes room",
                "removes it"),
            Self::QueueNoMessage => ("queue-no-message", "an entry of the outbound queue has no message, and will never be sent",
                "moves the entry to lost+found"),
            Self::QueueNoEntry => ("queue-no-entry", "a message in the outbound queue has no entry: it was not accepted, is done with, or its entry is lost",
                "moves the message to lost+found"),
            Self::QueueEntry => ("queue-entry", "an entry of the outbound queue cannot be read, and its message is not sent",
                "moves entry and message to lost+found"),
            Self::QueueOrphaned => ("queue-orphaned", "entries of the outbound queue belong to a process that is dead; a server adopts them",
                ""),
            Self::UserFile => ("user-file", "the user's file cannot be read: a server that has no good copy refuses login and mail for now",
                ""),
            Self::DomainFile => ("domain-file", "the domain's file cannot be read: a server that has no good copy refuses its mail for now",
                ""),
            Self::AliasesFile => ("aliases-file", "the domain's aliases cannot be read: a server that has no good copy refuses its mail for now",
                ""),
            Self::NoUser => ("no-user", "mail lies in the directory of a user that does not exist",
                ""),
            Self::AccountName => ("account-name", "a directory among the users has a name that no account has; nobody can log in to it",
                ""),
        }
    }

    /// Its stable text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.texts().0
    }

    /// How bad it is.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self {
            Self::QueueOrphaned | Self::NoUser | Self::AccountName => Severity::Note,
            _ => Severity::Fault,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was tried.
    Told,
    /// It is repaired: how.
    Repaired(String),
    /// It could not be: why.
    Failed(String),
}

/// A damage that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind.
    pub code: Code,
    /// The path from the mail_root.
    pub path: String,
    /// What exactly is wrong.
    pub detail: String,
    /// Whose.
    pub account: Option<AccountName>,
    /// In which mailbox.
    pub mailbox: Option<MailboxName>,
    /// Of which message.
    pub uid: Option<Uid>,
    /// What became of it.
    pub outcome: Outcome,
}
