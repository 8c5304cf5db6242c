//! Commands as the parser hands them to the server: one value per command (RFC 9051 §6).

use core::ops::Range;

use crate::imap::sequence::{PartialRange, SeqNumber, SequenceSet};
use crate::mailbox::{
    BadName, FlagChange, Flags, MailboxName, ModSeq, RightsChange, SpecialUse, UidSet, UidValidity,
};
use crate::mime::section::Spec;
use crate::search::{Algorithm, Criterion, Key};
use crate::secret::Secret;
use crate::time::DateTime;

/// A mailbox argument: well-formed syntax, but perhaps a name that no mailbox can have.
pub type MailboxArg = Result<MailboxName, BadName>;

/// A command with its tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tagged {
    /// The tag, at most [`Self::MAX_TAG`] octets.
    pub tag: String,
    /// The command.
    pub command: Command,
}

impl Tagged {
    /// Octets of a tag.
    pub const MAX_TAG: usize = 64;
}

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of RFC 9051 §6")]
pub enum Command {
    Capability,
    Noop,
    Logout,
    Id(Vec<(String, Option<String>)>),
    StartTls,
    Login {
        user: String,
        password: Secret,
    },
    /// `initial`: the decoded initial response (RFC 4959), empty for `=`.
    Authenticate {
        mechanism: String,
        initial: Option<Secret>,
    },
    /// RFC 4978. The mechanism comes in capitals.
    Compress {
        mechanism: String,
    },
    /// RFC 8437.
    Unauthenticate,
    Enable(Vec<String>),
    Select {
        mailbox: MailboxArg,
        params: SelectParams,
    },
    Examine {
        mailbox: MailboxArg,
        params: SelectParams,
    },
    Create {
        mailbox: MailboxArg,
        special_use: Vec<SpecialUse>,
        /// False: USE named an attribute that no mailbox can have here; the server answers `NO [USEATTR]`
        /// (RFC 6154 §3).
        use_known: bool,
        /// The name as the client wrote it, if its normal form is another (RFC 9051 §6.3.9.7).
        denormal: Option<String>,
    },
    Delete {
        mailbox: MailboxArg,
        /// The name as the client wrote it, if its normal form is another (RFC 9051 §6.3.9.7).
        denormal: Option<String>,
    },
    Rename {
        from: MailboxArg,
        to: MailboxArg,
        /// The new name as the client wrote it, if its normal form is another (RFC 9051 §6.3.9.7).
        denormal: Option<String>,
    },
    Subscribe {
        mailbox: MailboxArg,
    },
    Unsubscribe {
        mailbox: MailboxArg,
    },
    List(List),
    Lsub {
        reference: String,
        pattern: String,
    },
    Namespace,
    Status {
        mailbox: MailboxArg,
        items: Vec<StatusItem>,
    },
    GetQuota {
        root: String,
    },
    GetQuotaRoot {
        mailbox: MailboxArg,
    },
    /// Resources in capitals, and their limits.
    SetQuota {
        root: String,
        limits: Vec<(String, u64)>,
    },
    GetMetadata {
        mailbox: MetadataArg,
        get: GetMetadata,
    },
    /// Entries and their values; `None`: NIL.
    SetMetadata {
        mailbox: MetadataArg,
        values: Vec<(MetadataEntry, Option<Vec<u8>>)>,
    },
    GetAcl {
        mailbox: MailboxArg,
    },
    DeleteAcl {
        mailbox: MailboxArg,
        identifier: String,
    },
    SetAcl {
        mailbox: MailboxArg,
        identifier: String,
        change: RightsChange,
    },
    ListRights {
        mailbox: MailboxArg,
        identifier: String,
    },
    MyRights {
        mailbox: MailboxArg,
    },
    Check,
    Close,
    Unselect,
    /// `uids`: UID EXPUNGE (RFC 4315).
    Expunge {
        uids: Option<SequenceSet>,
    },
    Search(Search),
    /// CANCELUPDATE (RFC 5267 §4.3.5): tags.
    CancelUpdate(Vec<String>),
    /// RFC 10022.
    UidBatches {
        /// Messages of a batch; not 0.
        size: u32,
        /// The first and the last batch that are wanted, from 1, in any order.
        batches: Option<(u32, u32)>,
    },
    Fetch {
        uid: bool,
        set: SequenceSet,
        items: Vec<FetchItem>,
        modifiers: FetchModifiers,
    },
    Store {
        uid: bool,
        set: SequenceSet,
        silent: bool,
        change: FlagChange,
        /// UNCHANGEDSINCE (RFC 7162 §3.1.3).
        unchanged_since: Option<ModSeq>,
    },
    Copy {
        uid: bool,
        set: SequenceSet,
        mailbox: MailboxArg,
    },
    Move {
        uid: bool,
        set: SequenceSet,
        mailbox: MailboxArg,
    },
    Idle,
    Notify(Box<crate::imap::notify::Notify>),
}

/// Parameters of SELECT and EXAMINE (RFC 4466 §2.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SelectParams {
    /// CONDSTORE (RFC 7162 §3.1.8).
    pub condstore: bool,
    /// QRESYNC (RFC 7162 §3.2.5).
    pub qresync: Option<Box<QResync>>,
    /// The name as the client wrote it, if its normal form is another (RFC 9051 §5.1).
    pub denormal: Option<String>,
}

/// What a client that comes back knows of the mailbox (RFC 7162 §3.2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QResync {
    /// UIDVALIDITY as last told.
    pub uid_validity: UidValidity,
    /// HIGHESTMODSEQ as last told.
    pub modseq: ModSeq,
    /// The UIDs that it wants to hear of; none given: all.
    pub known: Option<UidSet>,
    /// Message numbers and their UIDs, as many of one as of the other, for it to be spared some of what vanished.
    pub matched: Option<(UidSet, UidSet)>,
}

/// A mailbox, or the server, whose annotations are meant.
pub type MetadataArg = Option<MailboxArg>;

/// The name of an annotation (RFC 5464 §3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataEntry {
    /// `/private`, not `/shared`.
    pub private: bool,
    /// What follows, in lower case, from the slash on; empty: all of that scope.
    pub path: String,
}

/// What GETMETADATA wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GetMetadata {
    /// Values with more octets are not wanted.
    pub max_size: Option<u64>,
    /// Entries below those that are named.
    pub depth: Depth,
    /// The entries.
    pub entries: Vec<MetadataEntry>,
}

/// How far below an entry others are wanted (RFC 5464 §4.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Depth {
    /// `0`
    #[default]
    Itself,
    /// `1`
    Children,
    /// `infinity`
    All,
}

/// LIST with the options of RFC 5258, 5819, 6154, 8440 and 9590.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// Reference, decoded to UTF-8.
    pub reference: String,
    /// Patterns with `%` and `*`, decoded to UTF-8. One, unless the extended form was used.
    pub patterns: Vec<String>,
    /// It has something that only the extended command has (RFC 5258 §3).
    pub extended: bool,
    /// Selection option RECURSIVEMATCH.
    pub select_recursive: bool,
    /// Selection option SPECIAL-USE: only mailboxes that have one.
    pub select_special_use: bool,
    /// Selection option SUBSCRIBED.
    pub select_subscribed: bool,
    /// Return option SUBSCRIBED.
    pub return_subscribed: bool,
    /// Return option CHILDREN.
    pub return_children: bool,
    /// Return option SPECIAL-USE.
    pub return_special_use: bool,
    /// Return option MYRIGHTS.
    pub return_rights: bool,
    /// Return option STATUS; empty: not wanted.
    pub return_status: Vec<StatusItem>,
    /// Return option METADATA; empty: not wanted.
    pub return_metadata: Vec<MetadataEntry>,
}

/// STATUS items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of RFC 9051 §6.3.11")]
pub enum StatusItem {
    Messages,
    Recent,
    UidNext,
    UidValidity,
    Unseen,
    Deleted,
    Size,
    HighestModSeq,
    /// RFC 8474 §4.3.
    MailboxId,
    /// RFC 7889 §4.
    AppendLimit,
    /// RFC 9208 §4.1.4.
    DeletedStorage,
}

/// SEARCH, and the commands that search for messages and do more with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// UID SEARCH and the like; ESEARCH always.
    pub uid: bool,
    /// What is done with the messages.
    pub verb: Verb,
    /// RETURN (RFC 4731 §3.1); never with THREAD.
    pub returns: Option<Returns>,
    /// What UPDATE asks to be told of messages that come into the result when they arrive (RFC 5465 §7).
    pub update_items: Vec<FetchItem>,
    /// False: CHARSET named one that we do not know; the server answers `NO [BADCHARSET]`.
    pub charset_known: bool,
    /// The program.
    pub key: Key,
    /// Filters whose names stand in it: before anything is looked for, what they say must be put there.
    pub filters: Option<Box<Filters>>,
}

/// A search program in which names of filters stand (RFC 5466 §3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filters {
    /// As it was written.
    pub text: Vec<u8>,
    /// Where FILTER and a name stand in it, in order, and the names.
    pub places: Vec<(Range<usize>, String)>,
}

/// What a command does with the messages that match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// SEARCH.
    Search,
    /// SORT (RFC 5256).
    Sort(Vec<Criterion>),
    /// THREAD (RFC 5256).
    Thread(Algorithm),
    /// ESEARCH (RFC 7377) in these places; in none: in the selected mailbox.
    MultiSearch(Vec<Source>),
}

impl Search {
    /// Whether it is of the selected mailbox, so that there must be one.
    #[must_use]
    pub fn needs_selected(&self) -> bool {
        match &self.verb {
            Verb::MultiSearch(sources) => sources.is_empty() || sources.contains(&Source::Selected),
            _ => true,
        }
    }

    /// Whether messages may be meant by their numbers in its program; what filters say is not known yet.
    #[must_use]
    pub fn may_have_numbers(&self) -> bool {
        self.filters.is_some() || self.key.has_numbers()
    }
}

/// Where ESEARCH looks (RFC 7377 §2.2, RFC 5465 §6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The selected mailbox.
    Selected,
    /// Mailboxes that mail is delivered to.
    Inboxes,
    /// All of the user's own.
    Personal,
    /// All subscribed ones.
    Subscribed,
    /// These and all below.
    Subtree(Vec<MailboxArg>),
    /// These and those one level below.
    SubtreeOne(Vec<MailboxArg>),
    /// These.
    Mailboxes(Vec<MailboxArg>),
}

/// `search-return-opt`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own (RFC 4731 §3.1, RFC 5182 §2, RFC 5267 §4)"
)]
pub struct Returns {
    /// MIN: the lowest, or the first.
    pub min: bool,
    /// MAX: the highest, or the last.
    pub max: bool,
    /// ALL; so too if there is no option.
    pub all: bool,
    /// COUNT.
    pub count: bool,
    /// SAVE: for `$`.
    pub save: bool,
    /// PARTIAL.
    pub partial: Option<PartialRange>,
    /// CONTEXT: a hint.
    pub context: bool,
    /// UPDATE: changes are told.
    pub update: bool,
}

/// FETCH modifiers (RFC 4466 §2.4): what stands in parentheses behind the items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FetchModifiers {
    /// Only these of the messages meant (RFC 9394 §3.3).
    pub partial: Option<PartialRange>,
    /// CHANGEDSINCE: only messages with a higher mod-sequence (RFC 7162 §3.1.4.1).
    pub changed_since: Option<ModSeq>,
    /// VANISHED: what went since then is told too (RFC 7162 §3.2.6).
    pub vanished: bool,
}

/// FETCH items; macros are expanded by the parser.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are those of RFC 9051 §6.4.5")]
pub enum FetchItem {
    Uid,
    Flags,
    /// MODSEQ (RFC 7162 §3.1.4.2).
    ModSeq,
    InternalDate,
    Rfc822Size,
    Envelope,
    Body,
    BodyStructure,
    /// `BODY[…]<partial>` and `BODY.PEEK[…]`.
    Section {
        spec: Spec,
        partial: Option<(u64, u64)>,
        peek: bool,
    },
    /// `BINARY[…]<partial>` and `BINARY.PEEK[…]` (RFC 3516).
    Binary {
        part: Vec<u32>,
        partial: Option<(u64, u64)>,
        peek: bool,
    },
    /// `BINARY.SIZE[…]`.
    BinarySize {
        part: Vec<u32>,
    },
    /// PREVIEW (RFC 8970); LAZY in parentheses behind it.
    Preview {
        lazy: bool,
    },
    /// RFC 8514.
    SaveDate,
    /// RFC 8474.
    EmailId,
    /// RFC 8474.
    ThreadId,
    /// RFC822: as `BODY[]`.
    Rfc822,
    /// RFC822.HEADER: as `BODY.PEEK[HEADER]`.
    Rfc822Header,
    /// RFC822.TEXT: as `BODY[TEXT]`.
    Rfc822Text,
}

/// What APPEND or REPLACE says before its first message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The tag.
    pub tag: String,
    /// Where to.
    pub mailbox: MailboxArg,
    /// The name as the client wrote it, if its normal form is another (RFC 9051 §6.3.12).
    pub denormal: Option<String>,
    /// REPLACE (RFC 8508): the message that goes.
    pub replaces: Option<Replaces>,
}

/// The message that REPLACE takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaces {
    /// UID REPLACE.
    pub uid: bool,
    /// Which.
    pub number: SeqNumber,
}

/// What APPEND says before a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Flags.
    pub flags: Flags,
    /// INTERNALDATE.
    pub date: Option<DateTime>,
    /// It comes in parts (RFC 4469), else as one literal.
    pub catenate: bool,
}

/// The head of a message literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Literal {
    /// Octets.
    pub size: u64,
    /// The client waits for `+` before it sends them.
    pub synchronising: bool,
    /// `~{n}`: any octets may be in it (RFC 3516 §4.4).
    pub binary: bool,
    /// It stands in `UTF8 (…)` (RFC 6855 §4).
    pub utf8: bool,
}
