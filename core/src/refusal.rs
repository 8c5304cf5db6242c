//! Why something was not done, as a word of policy. Each protocol turns it into its own reply in one table.

/// The service's "no".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Wrong name or password; which of them is not told.
    BadCredentials,
    /// The account is disabled.
    AccountDisabled,
    /// Too many failed attempts from here; later.
    TooManyAttempts,
    /// No such user in a domain that is ours.
    NoSuchUser,
    /// The domain is not ours and the client may not relay.
    RelayDenied,
    /// Relaying is switched off.
    RelayDisabled,
    /// The sender is one of ours and the client has not logged in, or the account does not own the address.
    SenderNotOwned,
    /// An address in From or Sender is not owned by the account.
    AuthorNotOwned,
    /// The account's quota would be exceeded.
    OverQuota,
    /// The message is larger than the server takes.
    TooLarge,
    /// The outbound queue is full.
    QueueFull,
    /// The disk is full.
    DiskFull,
    /// Somebody else holds what is needed; later.
    Busy,
    /// The user's or domain's file cannot be read at present; later.
    Unavailable,
    /// A read or write failed; later. The log has the reason.
    Storage,
    /// No such mailbox, or it is gone meanwhile.
    NoSuchMailbox,
    /// The mailbox exists already.
    MailboxExists,
    /// The mailbox name is not acceptable.
    BadMailboxName,
    /// The operation is not possible for this mailbox (deleting INBOX, selecting `\Noselect`, …).
    NotPossible,
    /// No place for more keywords in this mailbox.
    TooManyKeywords,
    /// UIDs are used up, or another bound of the format is reached.
    MailboxFull,
    /// The mailbox is open read-only.
    ReadOnly,
    /// Not permitted to this account.
    NotPermitted,
    /// The aliases of this address lead back to where they began, or through too many others; an operator has to mend
    /// that, and mail waits meanwhile.
    AliasLoop,
    /// A stranger who has not been seen before has to come back later.
    Greylisted,
}

impl Refusal {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 25] = [
        Self::BadCredentials,
        Self::AccountDisabled,
        Self::TooManyAttempts,
        Self::NoSuchUser,
        Self::RelayDenied,
        Self::RelayDisabled,
        Self::SenderNotOwned,
        Self::AuthorNotOwned,
        Self::OverQuota,
        Self::TooLarge,
        Self::QueueFull,
        Self::DiskFull,
        Self::Busy,
        Self::Unavailable,
        Self::Storage,
        Self::NoSuchMailbox,
        Self::MailboxExists,
        Self::BadMailboxName,
        Self::NotPossible,
        Self::TooManyKeywords,
        Self::MailboxFull,
        Self::ReadOnly,
        Self::NotPermitted,
        Self::AliasLoop,
        Self::Greylisted,
    ];

    /// Whether trying again later can help without anybody changing anything.
    #[must_use]
    pub fn is_temporary(self) -> bool {
        matches!(
            self,
            Self::TooManyAttempts
                | Self::QueueFull
                | Self::DiskFull
                | Self::Busy
                | Self::Unavailable
                | Self::Storage
                | Self::AliasLoop
                | Self::Greylisted
        )
    }
}
