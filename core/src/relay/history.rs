//! What became of a message, as lines of a journal: one line of JSON an event, for operators and their programs.
//!
//! A line is at most [`MAX_LINE`] octets long, whatever peers and users send: texts are cut, lists are shortened and say
//! by how much. What a program does not know in a line it may leave out.

use serde::{Deserialize, Serialize};

use super::attempt::Order;
use super::bounce::{Kind, Notice};
use super::outcome::Report;
use super::queue::Event;
use super::route::{Route, TlsPolicy};
use crate::time::Unix;

/// Octets of a line with its end.
pub const MAX_LINE: usize = 16 * 1024;

/// Characters of a reply that are kept.
const MAX_TEXT: usize = 600;

/// Characters of an address or a name that are kept: no more is allowed anywhere (RFC 5321 §4.5.3.1).
const MAX_NAME: usize = 320;

/// Octets of the addresses of one list, as JSON.
const MAX_LIST: usize = 4 * 1024;

/// Something that happened to a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When, milliseconds since 1970.
    pub at: u64,
    /// The id of the message.
    pub id: String,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// We have taken responsibility: all is on disk.
    Accepted {
        /// Envelope sender without brackets; empty for `<>`.
        sender: String,
        /// Who has logged in.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        account: Option<String>,
        /// Octets.
        size: u64,
        /// Accounts that have it in their INBOX since then.
        #[serde(default, skip_serializing_if = "List::is_empty")]
        here: List,
        /// Recipients that are waiting in the queue.
        #[serde(default, skip_serializing_if = "List::is_empty")]
        queued: List,
        /// Held for so long (FUTURERELEASE), seconds since 1970.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hold_until: Option<u64>,
    },
    /// An attempt begins.
    Attempt {
        /// Recipients.
        to: List,
        /// Which way.
        by: String,
    },
    /// The next server, or the mailbox here, has it.
    Delivered(Told),
    /// Later again.
    Deferred {
        /// Who, and what was said.
        #[serde(flatten)]
        told: Told,
        /// Attempts so far.
        attempts: u32,
        /// When again, seconds since 1970.
        next: u64,
    },
    /// Never.
    Failed {
        /// Who, and what was said.
        #[serde(flatten)]
        told: Told,
        /// The last of all attempts has failed.
        expired: bool,
        /// The sender is told.
        notice: bool,
    },
    /// The sender was told: the notice is in its mailbox, or in the queue.
    Notice {
        /// `failed`, `delayed`, `delivered`, `relayed` or `expanded`.
        kind: String,
        /// Whom.
        sender: String,
        /// Of whom.
        about: List,
        /// The id of the notice.
        notice: String,
    },
    /// The sender could not be told.
    Unnoticed {
        /// Of what, as in [`What::Notice`].
        kind: String,
        /// Whom.
        sender: String,
    },
    /// An operator has asked for something.
    Command {
        /// What.
        command: String,
    },
    /// All recipients have come to their end.
    Done,
}

/// What was said of a recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The recipient's address.
    pub to: String,
    /// The reply, or our words, as [`Report`]'s `Display` has them.
    pub reply: String,
    /// The host that said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// What TLS the connection had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// An operator has to do something.
    #[serde(default, skip_serializing_if = "is_false")]
    pub alarm: bool,
}

/// Addresses, as many as a line has room for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// These.
    pub names: Vec<String>,
    /// And so many more.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: usize,
}

impl List {
    /// The first of these, as far as there is room.
    #[must_use]
    pub fn new<'a>(all: impl IntoIterator<Item = &'a str>) -> Self {
        let mut list = Self::default();
        let mut octets = 0;
        for name in all {
            let name = cut(name);
            // As JSON, where a control character may take six octets.
            octets += name.chars().map(json_len).sum::<usize>() + 3;
            if octets > MAX_LIST || list.more > 0 {
                list.more += 1;
            } else {
                list.names.push(name);
            }
        }
        list
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.more == 0
    }
}

impl Told {
    fn new(to: &str, report: &Report) -> Self {
        Self {
            to: cut(to),
            reply: report.to_string().chars().take(MAX_TEXT).collect(),
            remote: report.remote.as_deref().map(cut),
            tls: report.tls.as_deref().map(cut),
            alarm: report.severe,
        }
    }
}

impl Record {
    /// Of a message that was accepted.
    #[must_use]
    pub fn new(now: Unix, id: &str, what: What) -> Self {
        Self {
            at: u64::try_from(now.0.as_millis()).unwrap_or(u64::MAX),
            id: cut(id),
            what,
        }
    }

    /// Of what the queue tells.
    #[must_use]
    pub fn of_event(now: Unix, event: &Event) -> Option<Self> {
        let (id, what) = match event {
            Event::Delivered {
                entry,
                recipient,
                report,
            } => (entry, What::Delivered(Told::new(recipient, report))),
            Event::Deferred {
                entry,
                recipient,
                report,
                attempts,
                next,
            } => {
                let what = What::Deferred {
                    told: Told::new(recipient, report),
                    attempts: *attempts,
                    next: next.secs(),
                };
                (entry, what)
            }
            Event::Failed {
                entry,
                recipient,
                report,
                expired,
                told,
            } => {
                let what = What::Failed {
                    told: Told::new(recipient, report),
                    expired: *expired,
                    notice: *told,
                };
                (entry, what)
            }
            Event::Unnoticed { entry, sender, kind } => {
                let what = What::Unnoticed {
                    kind: word(*kind).to_owned(),
                    sender: cut(sender),
                };
                (entry, what)
            }
            Event::Done(entry) => (entry, What::Done),
        };
        Some(Self::new(now, id, what))
    }

    /// Of an attempt that begins.
    #[must_use]
    pub fn of_attempt(now: Unix, entry: &str, order: &Order) -> Self {
        let addresses: Vec<String> = order
            .job
            .recipients
            .iter()
            .map(|one| one.address.to_string())
            .collect();
        let by = match &order.route {
            Route::Target(target) => format!("{}:{}", target.host, target.port),
            Route::Mx { domain, .. } => format!("MX of {domain}"),
        };
        let tls = match &order.route {
            Route::Target(target) => target.tls,
            Route::Mx { tls, .. } => *tls,
        };
        let by = match tls {
            TlsPolicy::None => format!("{by}, without TLS"),
            TlsPolicy::Opportunistic => by,
            TlsPolicy::Require => format!("{by}, with TLS"),
            _ => format!("{by}, with TLS and a verified certificate"),
        };
        let what = What::Attempt {
            to: List::new(addresses.iter().map(String::as_str)),
            by: cut(&by),
        };
        Self::new(now, entry, what)
    }

    /// Of a notice that is stored.
    #[must_use]
    pub fn of_notice(now: Unix, notice: &Notice, id: &str) -> Self {
        let what = What::Notice {
            kind: word(notice.kind).to_owned(),
            sender: cut(&notice.sender),
            about: List::new(notice.recipients.iter().map(|about| about.address.as_str())),
            notice: cut(id),
        };
        Self::new(now, &notice.entry, what)
    }

    /// The line, with its end.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }

    /// Reads a line; `None`: it is none of ours.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }

    /// When, seconds since 1970.
    #[must_use]
    pub const fn secs(&self) -> u64 {
        self.at / 1_000
    }
}

/// A kind of notice in one word.
const fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Failed => "failed",
        Kind::Delayed => "delayed",
        Kind::Delivered => "delivered",
        Kind::Relayed => "relayed",
        Kind::Expanded => "expanded",
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_NAME).collect()
}

/// Octets that a character takes at most in JSON.
fn json_len(c: char) -> usize {
    if c.is_control() { 6 } else { c.len_utf8() + 1 }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::Enhanced;

    fn at(secs: u64) -> Unix {
        Unix::from_secs(secs)
    }

    fn all() -> Vec<Record> {
        let mut report =
            Report::ours(Enhanced(4, 4, 1), "connect to mx (192.0.2.1:25): refused").at("mx.example");
        report.tls = Some("TLSv1.3".into());
        let (entry, recipient) = (|| "a1".to_owned(), || "x@example.net".to_owned());
        let accepted = What::Accepted {
            sender: String::new(),
            account: None,
            size: 7,
            here: List::new(["ann@example.com"]),
            queued: List::default(),
            hold_until: Some(9),
        };
        let events = [
            Event::Delivered {
                entry: entry(),
                recipient: recipient(),
                report: report.clone(),
            },
            Event::Deferred {
                entry: entry(),
                recipient: recipient(),
                report: report.clone().severe(),
                attempts: 3,
                next: at(99),
            },
            Event::Failed {
                entry: entry(),
                recipient: recipient(),
                report,
                expired: true,
                told: false,
            },
            Event::Unnoticed {
                entry: entry(),
                sender: recipient(),
                kind: Kind::Delayed,
            },
            Event::Done(entry()),
        ];
        let events = events.iter().filter_map(|event| Record::of_event(at(2), event));
        [Record::new(at(1), "a1", accepted)]
            .into_iter()
            .chain(events)
            .collect()
    }

    #[test]
    fn every_record_is_one_line_that_reads_back() {
        for record in all() {
            let line = record.line();
            assert_eq!(line.lines().count(), 1, "{line}");
            assert!(line.ends_with("}\n") && line.starts_with("{\"at\":"), "{line}");
            assert_eq!(Record::parse(&line), Some(record), "{line}");
        }
        assert_eq!(
            Record::parse("{\"at\":1,\"id\":\"a1\",\"event\":\"of a later version\"}"),
            None
        );
        assert_eq!(Record::parse("torn {"), None);
    }

    #[test]
    fn a_line_is_bounded_whatever_is_in_it() {
        let long = "\u{1}".repeat(100_000);
        let mut report = Report::ours(Enhanced(4, 0, 0), long.clone()).at(&long);
        report.tls = Some(long.clone());
        let event = Event::Delivered {
            entry: long.clone(),
            recipient: long.clone(),
            report,
        };
        let line = Record::of_event(at(1), &event).expect("a record").line();
        assert!(line.len() < MAX_LINE, "{}", line.len());
        let names = vec![long.as_str(); 3_000];
        let accepted = What::Accepted {
            sender: cut(&long),
            account: None,
            size: 1,
            here: List::new(names.iter().copied()),
            queued: List::new(["a@b"].into_iter().chain(names)),
            hold_until: None,
        };
        let record = Record::new(at(1), "a1", accepted);
        assert!(record.line().len() < MAX_LINE, "{}", record.line().len());
        let What::Accepted { queued, .. } = record.what else {
            panic!("another record");
        };
        assert_eq!(queued.names.len() + queued.more, 3_001);
    }
}
