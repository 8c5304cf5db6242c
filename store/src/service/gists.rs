//! Gists of messages, kept in memory: searches in the common fields, SORT and THREAD read nothing the second time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use rmail_core::mailbox::{MailboxRef, Row, Uid};
use rmail_core::mime::parsed::Parsed;
use rmail_core::search::{GIST_FIELDS, Gists};

use super::lock;
use super::message::{Known, Message};
use crate::error::Result;
use crate::mailstore::MailStore;
use crate::metrics::{Cache, Metrics};

/// Octets of all gists of a process together.
const MAX_OCTETS: usize = 64 << 20;

/// Messages of one chunk: those whose UIDs differ in these bits only.
const CHUNK_BITS: u32 = 8;

/// Gists of messages of all mailboxes, in chunks; those that were not used for longest go. A message never changes, and
/// its mailbox's id and UID never mean another, so they are right as long as they are kept.
#[derive(Debug, Default)]
pub(super) struct GistCache {
    kept: Mutex<Kept>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Kept {
    clock: u64,
    octets: usize,
    chunks: HashMap<(MailboxRef, u32), Chunk>,
}

#[derive(Debug)]
struct Chunk {
    used: u64,
    octets: usize,
    gists: Arc<Gists>,
}

/// The chunk of a message. Messages of one chunk are neighbours.
pub(super) fn chunk_of(uid: Uid) -> u32 {
    uid.0 >> CHUNK_BITS
}

/// How the gists of a chunk came.
#[derive(Debug)]
pub(super) struct Found {
    /// Those that were asked for, and perhaps more; not those of messages that are gone.
    pub(super) gists: Arc<Gists>,
    /// Messages that had to be looked up in the store.
    pub(super) cold: usize,
}

impl GistCache {
    /// Nothing yet; whether it is found is counted there.
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            kept: Mutex::default(),
            metrics,
        }
    }

    /// The gists of these messages, which are of one chunk.
    pub(super) async fn of<'a, S: MailStore>(
        &self,
        store: &S,
        mailbox: &MailboxRef,
        rows: impl Iterator<Item = &'a Row> + Clone,
    ) -> Result<Found> {
        let Some(chunk) = rows.clone().next().map(|row| chunk_of(row.uid)) else {
            return Ok(Found {
                gists: Arc::default(),
                cold: 0,
            });
        };
        let key = (mailbox.clone(), chunk);
        let kept = self.get(&key);
        let missing: Vec<Uid> = rows
            .map(|row| row.uid)
            .filter(|uid| kept.as_ref().is_none_or(|kept| kept.get(*uid).is_none()))
            .collect();
        self.metrics.cache(Cache::Gist, missing.is_empty());
        if let Some(gists) = kept.as_ref().filter(|_| missing.is_empty()) {
            return Ok(Found {
                gists: Arc::clone(gists),
                cold: 0,
            });
        }
        let mut gists = kept.as_deref().cloned().unwrap_or_default();
        read(store, mailbox, &missing, &mut gists).await?;
        gists.shrink();
        let gists = Arc::new(gists);
        self.put(key, Arc::clone(&gists));
        Ok(Found {
            gists,
            cold: missing.len(),
        })
    }

    fn get(&self, key: &(MailboxRef, u32)) -> Option<Arc<Gists>> {
        let mut kept = lock(&self.kept);
        kept.clock += 1;
        let now = kept.clock;
        let chunk = kept.chunks.get_mut(key)?;
        chunk.used = now;
        Some(Arc::clone(&chunk.gists))
    }

    fn put(&self, key: (MailboxRef, u32), gists: Arc<Gists>) {
        let mut kept = lock(&self.kept);
        let octets = gists.weight();
        if octets > MAX_OCTETS / 8 {
            return;
        }
        kept.clock += 1;
        let used = kept.clock;
        kept.octets += octets;
        let chunk = Chunk { used, octets, gists };
        if let Some(old) = kept.chunks.insert(key, chunk) {
            kept.octets -= old.octets;
        }
        if kept.octets > MAX_OCTETS {
            kept.forget();
        }
    }
}

impl Kept {
    /// Forgets the eighth that was not used for longest.
    fn forget(&mut self) {
        let mut all: Vec<(u64, usize)> = self
            .chunks
            .values()
            .map(|chunk| (chunk.used, chunk.octets))
            .collect();
        all.sort_unstable();
        let (mut left, mut since) = (self.octets, 0);
        for (used, octets) in all {
            if left <= MAX_OCTETS / 8 * 7 {
                break;
            }
            left -= octets;
            since = used;
        }
        self.chunks.retain(|_, chunk| chunk.used > since);
        self.octets = left;
    }
}

/// Adds the gists of these messages: by what the store has kept of them, else by their headers.
async fn read<S: MailStore>(store: &S, mailbox: &MailboxRef, uids: &[Uid], gists: &mut Gists) -> Result<()> {
    let names = GIST_FIELDS.map(str::to_owned);
    let kept = store.parsed(mailbox, uids).await;
    let mut new: Vec<(Uid, Parsed)> = Vec::new();
    let mut outcome = Ok(());
    for (uid, kept) in uids.iter().zip(kept) {
        let knows = |parsed: &&Parsed| GIST_FIELDS.iter().all(|name| parsed.knows(name.as_bytes()));
        if let Some(header) = kept.as_ref().filter(knows).and_then(Parsed::header) {
            gists.add(*uid, header);
            continue;
        }
        let is_new = kept.is_none();
        match read_one(store, mailbox, *uid, kept, &names, gists).await {
            Ok(parsed) => new.extend(parsed.filter(|_| is_new).map(|parsed| (*uid, parsed))),
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    if !new.is_empty() {
        store.keep_parsed(mailbox, &new).await;
    }
    outcome
}

async fn read_one<S: MailStore>(
    store: &S,
    mailbox: &MailboxRef,
    uid: Uid,
    parsed: Option<Parsed>,
    names: &[String],
    gists: &mut Gists,
) -> Result<Option<Parsed>> {
    let Some(blob) = store.open(mailbox, uid).await? else {
        return Ok(None);
    };
    let known = Known {
        parsed,
        structure: None,
    };
    let mut message = Message::new(store, blob, known);
    let header = message.header_fields(names).await?;
    gists.add(uid, &header);
    Ok(message.known().parsed.clone())
}

#[cfg(test)]
mod tests {
    use rmail_core::addr::Address;
    use rmail_core::mailbox::MailboxId;

    use super::*;

    #[test]
    fn what_was_not_used_for_longest_goes_and_memory_is_bounded() {
        let account = Address::parse("a@x.test").expect("an address").canonical();
        let mailbox = MailboxRef {
            account,
            id: MailboxId(1),
        };
        let cache = GistCache::default();
        let mut gists = Gists::default();
        for uid in 1..=200 {
            let header = format!("Subject: {}{uid}\r\n\r\n", "x".repeat(4_000));
            gists.add(Uid(uid), header.as_bytes());
        }
        let gists = Arc::new(gists);
        let fit = MAX_OCTETS / gists.weight();
        for chunk in 0..u32::try_from(fit).expect("few") + 2 {
            cache.put((mailbox.clone(), chunk), Arc::clone(&gists));
            cache.get(&(mailbox.clone(), 0));
            assert!(lock(&cache.kept).octets <= MAX_OCTETS);
        }
        assert!(cache.get(&(mailbox.clone(), 0)).is_some());
        assert!(cache.get(&(mailbox.clone(), 1)).is_none());
        let kept = lock(&cache.kept);
        let sum: usize = kept.chunks.values().map(|chunk| chunk.octets).sum();
        assert_eq!(sum, kept.octets);
    }
}
