//! Sorting (RFC 5256 §3, SORT; RFC 5957).

use core::cmp::Ordering;

use super::gist::{Gist, Text};
use crate::mailbox::Row;

/// What messages are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of RFC 5256 §3 and RFC 5957 §4")]
pub enum SortKey {
    Arrival,
    Cc,
    Date,
    DisplayFrom,
    DisplayTo,
    From,
    Size,
    Subject,
    To,
}

/// `sort-criterion`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Criterion {
    /// By what.
    pub key: SortKey,
    /// REVERSE: descending.
    pub reverse: bool,
}

/// A message to be sorted.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Its row.
    pub row: &'a Row,
    /// Its gist; `None`: it has gone meanwhile, and counts as one without a header.
    pub gist: Option<Gist<'a>>,
}

/// Whether rows do not suffice to sort by these.
#[must_use]
pub fn needs_gists(criteria: &[Criterion]) -> bool {
    criteria
        .iter()
        .any(|criterion| !matches!(criterion.key, SortKey::Arrival | SortKey::Size))
}

/// The positions of the messages in the order of the criteria; what is equal stays in its order. n log n.
#[must_use]
pub fn sort(messages: &[Message<'_>], criteria: &[Criterion]) -> Vec<u32> {
    let first = criteria.first().copied();
    let (rest, down) = match criteria.split_first() {
        Some((first, rest)) => (rest, first.reverse),
        None => (criteria, false),
    };
    // The first value stands beside the position: looking it up anew for each comparison would cost most of the time.
    let mut order: Vec<(u64, &[u8], u32)> = (0_u32..)
        .zip(messages)
        .map(|(at, message)| {
            let front = first.map_or(0, |first| first.front(message));
            (front, first.map_or(&[][..], |first| first.text(message)), at)
        })
        .collect();
    let message = |at: u32| messages.get(usize::try_from(at).unwrap_or(usize::MAX));
    order.sort_unstable_by(|a, b| {
        let texts = || if down { b.1.cmp(a.1) } else { a.1.cmp(b.1) };
        let others = || match (message(a.2), message(b.2)) {
            (Some(a), Some(b)) if !rest.is_empty() => compare(a, b, rest),
            _ => Ordering::Equal,
        };
        a.0.cmp(&b.0)
            .then_with(texts)
            .then_with(others)
            .then(a.2.cmp(&b.2))
    });
    order.into_iter().map(|(_, _, at)| at).collect()
}

fn compare(a: &Message<'_>, b: &Message<'_>, criteria: &[Criterion]) -> Ordering {
    criteria
        .iter()
        .map(|criterion| criterion.compare(a, b))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

impl Message<'_> {
    /// The sent date, in seconds since 1970 (RFC 5256 §2.2).
    #[must_use]
    pub fn sent(&self) -> i64 {
        self.gist.and_then(Gist::sent).unwrap_or(self.row.date)
    }
}

/// What a message has of a key.
enum Value<'a> {
    Number(i64),
    Text(&'a [u8]),
}

impl Criterion {
    fn compare(self, a: &Message<'_>, b: &Message<'_>) -> Ordering {
        let order = match (self.key.value(a), self.key.value(b)) {
            (Value::Number(a), Value::Number(b)) => a.cmp(&b),
            (Value::Text(a), Value::Text(b)) => a.cmp(b),
            _ => Ordering::Equal,
        };
        if self.reverse { order.reverse() } else { order }
    }

    /// The value if it is a text; a number is all in front.
    fn text<'a>(self, message: &Message<'a>) -> &'a [u8] {
        match self.key.value(message) {
            Value::Text(text) => text,
            Value::Number(_) => &[],
        }
    }

    /// The first octets of the value: they order as the values, as far as they differ.
    fn front(self, message: &Message<'_>) -> u64 {
        let front = match self.key.value(message) {
            Value::Number(number) => number.cast_unsigned() ^ (1 << 63),
            Value::Text(text) => {
                let mut octets = [0; 8];
                octets
                    .iter_mut()
                    .zip(text)
                    .for_each(|(slot, octet)| *slot = *octet);
                u64::from_be_bytes(octets)
            }
        };
        if self.reverse { !front } else { front }
    }
}

impl SortKey {
    fn value<'a>(self, message: &Message<'a>) -> Value<'a> {
        let text = |text| Value::Text(message.gist.map_or(&[][..], |gist| gist.text(text)));
        match self {
            Self::Arrival => Value::Number(message.row.date),
            Self::Date => Value::Number(message.sent()),
            Self::Size => Value::Number(message.row.size.into()),
            Self::Cc => text(Text::CcMailbox),
            Self::From => text(Text::FromMailbox),
            Self::To => text(Text::ToMailbox),
            Self::Subject => text(Text::Base),
            Self::DisplayFrom => text(Text::FromDisplay),
            Self::DisplayTo => text(Text::ToDisplay),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::{KeywordSet, ModSeq, SystemFlags, Uid};
    use crate::search::gist::Gists;

    fn row(uid: u32, date: i64, size: u32) -> Row {
        Row {
            date,
            modseq: ModSeq(1),
            keywords: KeywordSet(0),
            uid: Uid(uid),
            size,
            save_date: 0,
            zone: 0,
            flags: SystemFlags::default(),
        }
    }

    fn sorted(headers: &[&str], criteria: &[(SortKey, bool)]) -> Vec<u32> {
        let mut gists = Gists::default();
        let mut rows = Vec::new();
        for (uid, header) in (1..).zip(headers) {
            gists.add(Uid(uid), header.as_bytes());
            rows.push(row(uid, 1_000 - i64::from(uid), uid % 3));
        }
        let messages: Vec<Message<'_>> = rows
            .iter()
            .map(|row| Message {
                row,
                gist: gists.get(row.uid),
            })
            .collect();
        let criteria: Vec<Criterion> = criteria
            .iter()
            .map(|(key, reverse)| Criterion {
                key: *key,
                reverse: *reverse,
            })
            .collect();
        sort(&messages, &criteria).into_iter().map(|at| at + 1).collect()
    }

    #[test]
    fn messages_are_sorted_by_every_key() {
        let headers = [
            "Subject: Re: Beta\r\nFrom: Zoe <a@x.test>\r\nDate: 1 Jan 2000 10:00 +0000\r\n\r\n",
            "Subject: alpha\r\nFrom: b@x.test\r\nDate: 1 Jan 2000 10:30 +0100\r\n\r\n",
            "Subject: [x] ALPHA (fwd)\r\nFrom: =?utf-8?q?=C3=84nne?= <c@x.test>\r\n\r\n",
            "Subject: Longer than eight, b\r\n\r\n",
            "Subject: Longer than eight, a\r\nTo: C@y.test\r\nCc: q@z.test\r\n\r\n",
        ];
        assert_eq!(sorted(&headers, &[(SortKey::Subject, false)]), [2, 3, 1, 5, 4]);
        assert_eq!(sorted(&headers, &[(SortKey::Subject, true)]), [4, 5, 1, 2, 3]);
        let two = [(SortKey::Subject, false), (SortKey::Arrival, false)];
        assert_eq!(sorted(&headers, &two), [3, 2, 1, 5, 4]);
        // Without a Date field by INTERNALDATE.
        assert_eq!(sorted(&headers, &[(SortKey::Date, false)]), [5, 4, 3, 2, 1]);
        assert_eq!(sorted(&headers, &[(SortKey::Arrival, true)]), [1, 2, 3, 4, 5]);
        assert_eq!(sorted(&headers, &[(SortKey::From, false)]), [4, 5, 1, 2, 3]);
        assert_eq!(
            sorted(&headers, &[(SortKey::DisplayFrom, false)]),
            [4, 5, 3, 2, 1]
        );
        assert_eq!(sorted(&headers, &[(SortKey::DisplayTo, true)])[0], 5);
        assert_eq!(
            sorted(&headers, &[(SortKey::To, true), (SortKey::Cc, true)])[0],
            5
        );
        assert_eq!(sorted(&headers, &[(SortKey::Size, false)]), [3, 1, 4, 2, 5]);
        assert!(needs_gists(&[Criterion {
            key: SortKey::Date,
            reverse: false
        }]));
        assert!(!needs_gists(&[Criterion {
            key: SortKey::Size,
            reverse: true
        }]));
    }
}
