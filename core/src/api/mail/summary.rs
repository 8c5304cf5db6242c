//! What lists of messages tell of a message.

use serde::Serialize;

use super::id::{FolderId, MessageId};
use crate::mailbox::{Keywords, Row, SystemFlags};
use crate::mime::address::{self, Address};
use crate::mime::header::{self, Field, Fields};
use crate::text::{date, encoded_word, rfc3339};
use crate::time::{DateTime, Unix};

/// Addresses of one field that are told.
pub const MAX_ADDRESSES: usize = 1_000;
/// Addresses of one field in a list of messages.
const MAX_LISTED: usize = 20;
/// Octets of a subject that are told.
const MAX_SUBJECT: usize = 2_000;

/// The header fields that a summary is made of.
pub const FIELDS: [&str; 5] = ["Date", "From", "To", "Cc", "Subject"];

/// Somebody whom a header field names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Person {
    /// Display name, decoded; empty if there is none.
    pub name: String,
    /// `user@example.com`; what stands there, if that is no address.
    pub address: String,
}

/// A message in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Its id.
    pub id: MessageId,
    /// The folder that it is in.
    pub folder: FolderId,
    /// THREADID (RFC 8474 §5.2): messages of one conversation share it.
    pub thread_id: Option<String>,
    /// Subject, decoded.
    pub subject: String,
    /// From.
    pub from: Vec<Person>,
    /// To; of many the first twenty.
    pub to: Vec<Person>,
    /// Cc, likewise.
    pub cc: Vec<Person>,
    /// The Date field: when it was written, in UTC.
    pub date: Option<String>,
    /// When it arrived, in UTC.
    pub received: String,
    /// Octets.
    pub size: u64,
    /// `seen`, `answered`, `flagged`, `deleted`, `draft`, and keywords as they are.
    pub flags: Vec<String>,
    /// The first words of its text.
    pub preview: String,
    /// Whether it has attachments.
    pub has_attachments: bool,
}

/// What is known of a message besides its row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known<'a> {
    /// The header, or the [`FIELDS`] of it.
    pub header: &'a [u8],
    /// THREADID.
    pub thread_id: Option<String>,
    /// The first words.
    pub preview: String,
    /// Whether it has attachments.
    pub has_attachments: bool,
}

impl Summary {
    /// Of a message with this row.
    #[must_use]
    pub fn new(folder: FolderId, row: &Row, keywords: &Keywords, known: Known<'_>) -> Self {
        let mut summary = Self {
            id: MessageId { folder, uid: row.uid },
            folder,
            thread_id: known.thread_id,
            subject: String::new(),
            from: Vec::new(),
            to: Vec::new(),
            cc: Vec::new(),
            date: None,
            received: moment(row.date),
            size: row.size.into(),
            flags: flags(row, keywords),
            preview: known.preview,
            has_attachments: known.has_attachments,
        };
        let (mut subject, mut dated) = (false, false);
        for field in Fields::new(known.header) {
            if !subject && field.is(b"subject") {
                subject = true;
                summary.subject = text(&field, MAX_SUBJECT);
            } else if !dated && field.is(b"date") {
                dated = true;
                summary.date = header_date(&field);
            } else {
                let list = match () {
                    () if field.is(b"from") => &mut summary.from,
                    () if field.is(b"to") => &mut summary.to,
                    () if field.is(b"cc") => &mut summary.cc,
                    () => continue,
                };
                let room = MAX_LISTED.saturating_sub(list.len());
                list.extend(people(&field, room));
            }
        }
        summary
    }
}

/// A field's text: encoded words decoded, unfolded, at most so many octets.
#[must_use]
pub fn text(field: &Field<'_>, max: usize) -> String {
    let mut text = encoded_word::decode(header::trim(field.raw));
    // What an encoded word holds need not be what a header may hold.
    text.retain(|c| !c.is_control());
    cut(&mut text, max);
    text
}

/// A Date field in UTC.
#[must_use]
pub fn header_date(field: &Field<'_>) -> Option<String> {
    let date: DateTime = date::parse_sent_date(field.raw)?;
    (date.unix >= 0).then(|| moment(date.unix))
}

/// The addresses of a field, at most so many. Groups are told by their members.
#[must_use]
pub fn people(field: &Field<'_>, max: usize) -> Vec<Person> {
    let list = address::parse(field.raw, max.min(MAX_ADDRESSES) * 2);
    let person = |address| match address {
        Address::Mailbox(mailbox) => {
            let mut name = encoded_word::decode(&mailbox.name);
            name.retain(|c| !c.is_control());
            cut(&mut name, MAX_SUBJECT);
            let local = encoded_word::undeclared(&mailbox.local);
            let domain = encoded_word::undeclared(&mailbox.domain);
            let mut address = if domain.is_empty() {
                local.into_owned()
            } else {
                format!("{local}@{domain}")
            };
            cut(&mut address, MAX_SUBJECT);
            Some(Person { name, address })
        }
        Address::Group(_) | Address::GroupEnd => None,
    };
    list.into_iter().filter_map(person).take(max).collect()
}

/// Seconds since 1970 as `2027-01-31T12:00:00Z`; what was before is its first moment.
#[must_use]
pub fn moment(unix: i64) -> String {
    rfc3339::print(Unix::from_secs(u64::try_from(unix).unwrap_or_default()))
}

/// Words for system flags.
pub const FLAGS: [(SystemFlags, &str); 5] = [
    (SystemFlags::SEEN, "seen"),
    (SystemFlags::ANSWERED, "answered"),
    (SystemFlags::FLAGGED, "flagged"),
    (SystemFlags::DELETED, "deleted"),
    (SystemFlags::DRAFT, "draft"),
];

/// The flags of a message in words. A keyword that is called as one of the system flags is left out: it would be taken for
/// that.
#[must_use]
pub fn flags(row: &Row, keywords: &Keywords) -> Vec<String> {
    let system = FLAGS.iter().filter(|(flag, _)| row.flags.contains(*flag));
    let own = keywords.of(row.keywords).map(|keyword| keyword.as_str());
    let own = own.filter(|keyword| !FLAGS.iter().any(|(_, word)| word.eq_ignore_ascii_case(keyword)));
    system
        .map(|(_, word)| (*word).to_owned())
        .chain(own.map(str::to_owned))
        .collect()
}

/// Cuts at the last character that fits.
pub(super) fn cut(text: &mut String, max: usize) {
    let end = (0..=max.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::{Keyword, KeywordSet, MailboxId, ModSeq, Uid};

    fn summary(header: &str) -> Summary {
        let mut keywords = Keywords::default();
        for name in ["$Forwarded", "SEEN"] {
            keywords.push(Keyword::new(name).expect("an atom"));
        }
        let row = Row {
            date: 1_700_000_000,
            modseq: ModSeq(1),
            keywords: KeywordSet(3),
            uid: Uid(7),
            size: 99,
            save_date: 0,
            zone: 120,
            flags: SystemFlags::FLAGGED.with(SystemFlags::SEEN),
        };
        let known = Known {
            header: header.as_bytes(),
            preview: "Hello".to_owned(),
            has_attachments: true,
            ..Known::default()
        };
        Summary::new(FolderId(MailboxId(3)), &row, &keywords, known)
    }

    #[test]
    fn a_summary_tells_what_stands_in_the_header() {
        let told = summary(
            "Date: Fri, 21 Nov 1997 09:55:06 -0600\r\nFrom: =?utf-8?q?J=C3=BCrgen?= <j@x.test>\r\n\
             To: Friends: a@y.test, \"B, C\" <b@y.test>;, undisclosed\r\nTo: c@y.test\r\n\
             Subject:  Re:\r\n =?utf-8?q?caf=C3=A9=0D=0A?=\r\nSubject: not this\r\n\r\n",
        );
        let json = serde_json::to_value(&told).expect("JSON");
        assert_eq!(
            json,
            serde_json::json!({
                "id": "F3-7", "folder": "F3", "thread_id": null, "subject": "Re: café",
                "from": [{"name": "Jürgen", "address": "j@x.test"}],
                "to": [
                    {"name": "", "address": "a@y.test"}, {"name": "B, C", "address": "b@y.test"},
                    {"name": "", "address": "undisclosed"}, {"name": "", "address": "c@y.test"},
                ],
                "cc": [], "date": "1997-11-21T15:55:06Z", "received": "2023-11-14T22:13:20Z", "size": 99,
                "flags": ["seen", "flagged", "$Forwarded"], "preview": "Hello", "has_attachments": true,
            })
        );
    }

    #[test]
    fn what_is_missing_broken_or_endless_is_bounded() {
        let told = summary("Date: yesterday\r\n\r\n");
        assert_eq!((told.date, told.subject.as_str(), told.from.len()), (None, "", 0));
        let many: Vec<String> = (0..500).map(|n| format!("u{n}@x.test")).collect();
        let told = summary(&format!(
            "To: {}\r\nSubject: {}\r\n\r\n",
            many.join(", "),
            "ü".repeat(2_000)
        ));
        assert_eq!((told.to.len(), told.subject.len()), (MAX_LISTED, MAX_SUBJECT));
        assert_eq!(moment(-5), "1970-01-01T00:00:00Z");
    }
}
