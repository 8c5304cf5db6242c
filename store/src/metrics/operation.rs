//! What sessions ask of the store, as far as it is told apart in figures.

/// Names of the operations, in the order of [`Operation`].
pub(super) const OPERATIONS: &[&str] = &[
    "login",
    "sender",
    "recipient",
    "deliver",
    "list",
    "status",
    "select",
    "changes",
    "read",
    "append",
    "flags",
    "copy",
    "move",
    "expunge",
    "search",
    "sort",
    "mailboxes",
    "api",
    "other",
];

/// A kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Passwords, SCRAM.
    Login,
    /// MAIL FROM.
    Sender,
    /// RCPT TO.
    Recipient,
    /// A message into mailboxes and queue, synced.
    Deliver,
    /// Names of mailboxes.
    List,
    /// Counts of a mailbox.
    Status,
    /// SELECT, EXAMINE.
    Select,
    /// What is new in a mailbox.
    Changes,
    /// Messages and parts of them.
    Read,
    /// APPEND and its like, synced.
    Append,
    /// STORE.
    Flags,
    /// COPY.
    Copy,
    /// MOVE.
    Move,
    /// EXPUNGE.
    Expunge,
    /// SEARCH.
    Search,
    /// SORT, THREAD.
    Sort,
    /// Mailboxes are made, removed, renamed, subscribed.
    Mailboxes,
    /// A question of the HTTP API.
    Api,
    /// All else.
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_its_name() {
        assert_eq!(OPERATIONS.len(), Operation::Other as usize + 1);
        assert_eq!(OPERATIONS[Operation::Flags as usize], "flags");
        assert_eq!(OPERATIONS[Operation::Mailboxes as usize], "mailboxes");
    }
}
