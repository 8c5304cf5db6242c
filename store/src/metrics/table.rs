//! The one table of figures: name, kind, labels, meaning.

/// A family of figures of one name.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// As Prometheus names it.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// One sentence.
    pub help: &'static str,
    /// Labels, each with all values that it can have: there are never more series than these make.
    pub labels: &'static [Label],
}

/// What a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows. The value divided by this is shown.
    Counter(u32),
    /// It goes up and down, also below zero.
    Gauge,
    /// How many took how long.
    Histogram,
}

/// A label.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Its values.
    pub values: &'static [&'static str],
}

/// Upper ends of a histogram's buckets in nanoseconds, and as they are shown, in seconds.
pub(super) const BUCKETS: [(u64, &str); 16] = [
    (50_000, "0.00005"),
    (100_000, "0.0001"),
    (250_000, "0.00025"),
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (2_500_000, "0.0025"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (25_000_000, "0.025"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (250_000_000, "0.25"),
    (500_000_000, "0.5"),
    (1_000_000_000, "1"),
    (2_500_000_000, "2.5"),
    (10_000_000_000, "10"),
];

/// Names of listeners, in the order in which hosts number them.
pub const SERVICES: &[&str] = &[
    "smtp",
    "submission",
    "smtps",
    "imap",
    "imaps",
    "api",
    "api-tls",
    "public",
    "public-tls",
    "lmtp",
];

/// Names of protocols, as log lines have them.
pub(super) const PROTOCOLS: &[&str] = &["smtp", "lmtp", "imap", "http"];

/// SMTP's commands.
pub(super) const SMTP_COMMANDS: &[&str] = &[
    "helo", "ehlo", "lhlo", "mail", "rcpt", "data", "bdat", "rset", "noop", "quit", "vrfy", "expn", "help",
    "starttls", "auth", "other",
];

/// IMAP's commands.
pub(super) const IMAP_COMMANDS: &[&str] = &[
    "capability",
    "noop",
    "logout",
    "id",
    "starttls",
    "login",
    "authenticate",
    "compress",
    "enable",
    "select",
    "examine",
    "create",
    "delete",
    "rename",
    "subscribe",
    "unsubscribe",
    "list",
    "lsub",
    "namespace",
    "status",
    "check",
    "close",
    "unselect",
    "expunge",
    "search",
    "sort",
    "thread",
    "fetch",
    "store",
    "copy",
    "move",
    "idle",
    "notify",
    "getquota",
    "getquotaroot",
    "getmetadata",
    "setmetadata",
    "getacl",
    "setacl",
    "other",
];

/// HTTP's methods.
pub(super) const METHODS: &[&str] = &[
    "get", "head", "post", "put", "patch", "delete", "options", "other",
];

/// Classes of reply codes.
pub(super) const CLASSES: &[&str] = &["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Why mail is refused.
pub(super) const REASONS: &[&str] = &[
    "unknown_user",
    "disabled_user",
    "over_quota",
    "policy",
    "rate",
    "authentication",
    "too_large",
    "storage",
    "content",
    "protocol",
    "other",
];

/// Ages of entries of the queue: up to this.
pub(super) const AGES: &[(u64, &str)] = &[
    (60, "1m"),
    (300, "5m"),
    (3_600, "1h"),
    (14_400, "4h"),
    (86_400, "1d"),
    (u64::MAX, "older"),
];

macro_rules! table {
    ($($family:ident, $name:literal, $kind:expr, $help:literal, [$($label:literal: $values:expr),*];)*) => {
        /// A family: its place in [`TABLE`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "`TABLE` says what each is")]
        pub enum Family { $($family,)* }

        impl Family {
            /// All, in the order of [`TABLE`].
            pub const ALL: &[Self] = &[$(Self::$family,)*];
        }

        /// All families, in the order in which they are told.
        pub const TABLE: &[Description] = &[$(Description {
            name: $name, kind: $kind, help: $help, labels: &[$(Label { name: $label, values: $values }),*],
        },)*];
    };
}

const COUNTER: Kind = Kind::Counter(1);

table! {
    Up, "rmail_up", Kind::Gauge, "1: every listener, the store and the queue work.", [];
    BuildInfo, "rmail_build_info", Kind::Gauge, "1, with the version.", ["version": &[env!("CARGO_PKG_VERSION")]];
    Connections, "rmail_connections", Kind::Gauge, "Open connections by listener.", ["service": SERVICES];
    ConnectionsTotal, "rmail_connections_total", COUNTER, "Connections that became sessions.", ["service": SERVICES];
    ConnectionsRefused, "rmail_connections_refused_total", COUNTER, "Connections that there was no room for: in all, of one address, or because of its rate.",
        ["service": SERVICES, "reason": &["total", "address", "rate"]];
    Sessions, "rmail_sessions_ended_total", COUNTER, "Sessions by how they ended; panics and faults are bugs.",
        ["why": &["closed", "peer_gone", "stalled", "handshake", "fault", "panic"]];
    Tls, "rmail_tls_handshakes_total", COUNTER, "TLS handshakes of clients that were finished.", ["version": &["TLSv1.2", "TLSv1.3"]];
    SmtpCommands, "rmail_smtp_commands_total", COUNTER, "Commands of SMTP and LMTP clients.", ["command": SMTP_COMMANDS];
    SmtpReplies, "rmail_smtp_replies_total", COUNTER, "Replies to them.", ["class": CLASSES];
    ImapCommands, "rmail_imap_commands_total", COUNTER, "Commands of IMAP clients, but APPEND.", ["command": IMAP_COMMANDS];
    ImapReplies, "rmail_imap_replies_total", COUNTER, "Tagged replies to IMAP clients.", ["status": &["ok", "no", "bad"]];
    HttpRequests, "rmail_http_requests_total", COUNTER, "Requests of HTTP clients.", ["method": METHODS];
    HttpResponses, "rmail_http_responses_total", COUNTER, "Responses to them.", ["class": CLASSES];
    Logins, "rmail_logins_total", COUNTER, "Logins that were tried.", ["protocol": PROTOCOLS, "result": &["ok", "failed"]];
    Accepted, "rmail_messages_accepted_total", COUNTER, "Messages that were accepted.", ["protocol": PROTOCOLS];
    AcceptedOctets, "rmail_message_octets_total", COUNTER, "Octets of messages that were accepted.", [];
    Recipients, "rmail_recipients_total", COUNTER, "Recipients of accepted messages: in a mailbox at once, or in the queue.", ["to": &["mailbox", "queue"]];
    Rejections, "rmail_rejections_total", COUNTER, "Senders, recipients and messages that were refused.", ["reason": REASONS];
    Checks, "rmail_checks_total", COUNTER, "What checks of strangers have found.", ["check": &["dnsbl", "reverse_dns", "helo", "other"]];
    Queue, "rmail_queue_entries", Kind::Gauge, "Entries of the queue by age, up to the one named and over the one before.",
        ["age": &["1m", "5m", "1h", "4h", "1d", "older"]];
    QueueHeld, "rmail_queue_held", Kind::Gauge, "Entries that an operator holds.", [];
    QueueOldest, "rmail_queue_oldest_seconds", Kind::Gauge, "Age of the oldest entry.", [];
    Attempts, "rmail_relay_attempts_total", COUNTER, "Attempts to send a message on: the first, and retries.", ["kind": &["first", "retry"]];
    Relayed, "rmail_relay_recipients_total", COUNTER, "What attempts came to for each recipient; expired: it failed for the last time.",
        ["outcome": &["sent", "deferred", "failed", "expired"]];
    RelayAlerts, "rmail_relay_alerts_total", COUNTER, "Deferrals that an operator has to look at, such as a login that a smarthost refused.", [];
    RelayHosts, "rmail_relay_hosts_total", COUNTER, "Hosts that took no connections any more, took them again, or had enough of them.", ["event": &["down", "up", "crowded"]];
    Notices, "rmail_dsns_total", COUNTER, "Delivery status notifications that were made.", ["kind": &["failed", "delayed", "delivered", "relayed", "expanded"]];
    Operations, "rmail_store_operation_seconds", Kind::Histogram, "From a session's question to the answer, the wait for a thread included.",
        ["operation": super::OPERATIONS];
    Answers, "rmail_store_answers_total", COUNTER, "Questions of sessions by how they were answered: from memory, by a thread, by waiting for other hosts.",
        ["by": &["memory", "thread", "waiting"]];
    Caches, "rmail_cache_requests_total", COUNTER, "What was looked for in memory: passwords, what searches read of messages, mailboxes.",
        ["cache": &["password", "gist", "mailbox"], "result": &["hit", "miss"]];
    LoopDelay, "rmail_event_loop_delay_seconds", Kind::Histogram, "How late timers of the event loop are.", [];
    SyncFailing, "rmail_sync_failing", Kind::Gauge, "1: what was answered could not be synced.", [];
    FreeOctets, "rmail_store_free_octets", Kind::Gauge, "Room on the disk of mail_root.", [];
    CertificateDays, "rmail_certificate_days_left", Kind::Gauge, "Whole days until the first of our certificates expires; -1: it has.", [];
    Resident, "process_resident_memory_bytes", Kind::Gauge, "Memory that the process has.", [];
    Descriptors, "process_open_fds", Kind::Gauge, "Open file descriptors.", [];
    Processor, "process_cpu_seconds_total", Kind::Counter(1_000), "Processor time that the process has used.", [];
    Started, "process_start_time_seconds", Kind::Gauge, "When the process began.", [];
}
