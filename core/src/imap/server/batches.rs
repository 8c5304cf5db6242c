//! UIDBATCHES (RFC 10022): the selected mailbox as ranges of UIDs that hold about as many messages each.
//!
//! The ranges follow each other without gaps, from the highest UID told down to 1, so that each message is in one of them
//! also after others have gone.

use super::Session;
use crate::imap::response;
use crate::mailbox::{Rows, Uid};

/// Messages of a batch at least (RFC 10022 §3.1.3.2).
const MIN_SIZE: u32 = 500;

/// Messages that a range of batches may span (RFC 10022 §3.1.5).
const MAX_SPAN: u64 = 100_000;

/// Batches of one response: a million messages in the smallest batches.
const MAX_BATCHES: usize = 2_000;

/// Requests of one selected mailbox that are kept in mind. One that asks for 10,000,000 messages in ranges as long as they
/// may be makes 100.
const MAX_ASKED: usize = 128;

/// What was answered, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    size: u32,
    batches: Option<(u32, u32)>,
    /// Above the messages of then.
    next: Uid,
    /// How many they were.
    count: usize,
}

impl Asked {
    /// Whether so much has changed that the same may be asked again (RFC 10022 §3.1.1): half a batch has come, or gone.
    fn is_stale(&self, rows: &Rows) -> bool {
        let left = rows.rank(self.next);
        let half = (self.size / 2) as usize;
        self.count.saturating_sub(left) >= half || rows.len() - left >= half
    }
}

impl Session {
    /// UIDBATCHES.
    pub(super) fn uid_batches(&mut self, tag: String, size: u32, batches: Option<(u32, u32)>) {
        if batches.is_some_and(|(first, last)| last < first) {
            return self.refuse_bad(&tag, "[CLIENTBUG] Invalid batch range");
        }
        if size < MIN_SIZE {
            return self.complete(tag, format!("NO [TOOFEW] Minimum batch size is {MIN_SIZE}"));
        }
        let span = |(first, last): (u32, u32)| (u64::from(last - first) + 1) * u64::from(size);
        let Some(open) = self.selected.as_mut() else {
            return self.complete(tag, "NO No mailbox is selected");
        };
        let rows = open.view.told();
        let all = rows.len().div_ceil(size as usize);
        if batches.map_or(all > MAX_BATCHES, |batches| span(batches) > MAX_SPAN) {
            return self.complete(tag, "NO [TOOMANY] Too many messages");
        }
        open.batches.retain(|asked| !asked.is_stale(rows));
        let again = |asked: &Asked| (asked.size, asked.batches) == (size, batches);
        if open.batches.len() >= MAX_ASKED || open.batches.iter().any(again) {
            return self.complete(tag, "NO [LIMIT] The batches are as they were told");
        }
        open.batches.push(Asked {
            size,
            batches,
            next: Uid(rows.last_uid().map_or(1, |last| last.0.saturating_add(1))),
            count: rows.len(),
        });
        let (first, last) = batches.map_or((0, all), |(first, last)| {
            (first as usize - 1, all.min(last as usize))
        });
        let out = self.out.text();
        out.extend_from_slice(b"* UIDBATCHES (TAG \"");
        out.extend_from_slice(tag.as_bytes());
        out.extend_from_slice(b"\")");
        for at in first..last {
            let (high, low) = batch(rows, size as usize, at);
            out.push(if at == first { b' ' } else { b',' });
            response::number(out, high);
            out.push(b':');
            response::number(out, low);
        }
        response::end(out);
        self.complete(tag, "OK UIDBATCHES completed");
    }
}

/// The highest and the lowest UID of a batch, counted from 0; there is such a batch.
fn batch(rows: &Rows, size: usize, at: usize) -> (u32, u32) {
    // Below this position are the messages of the batch and of those that follow.
    let end = rows.len().saturating_sub(size.saturating_mul(at));
    let high = if at == 0 {
        rows.last_uid()
    } else {
        rows.get(end).map(|row| Uid(row.uid.0 - 1))
    };
    let low = match end.checked_sub(size) {
        Some(start) if start > 0 => rows.get(start).map(|row| row.uid),
        _ => Some(Uid(1)),
    };
    (high.unwrap_or_default().0, low.unwrap_or_default().0)
}
