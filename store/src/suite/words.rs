//! Short words for the operations, for the tests of this suite.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rmail_core::addr::{AccountName, Address};
use rmail_core::chunk::Chunk;
use rmail_core::imap::server::{CopyUid, MailboxEntry, MailboxStatus, Stored};
use rmail_core::limits::Limits;
use rmail_core::machine::{LOOKS_LATER, Scope};
use rmail_core::mailbox::{
    FlagChange, FlagOp, Flags, Keyword, MailboxName, MailboxRef, ModSeq, Quota, Snapshot, SystemFlags, Uid,
    UidSet,
};
use rmail_core::refusal::Refusal;
use rmail_core::relay::entry::{Entry, Recipient};
use rmail_core::smtp::envelope::{DsnRequest, Wishes};
use rmail_core::time::{DateTime, Unix};

use super::Backend;
use crate::error::Result;
use crate::hub::Watch;
use crate::mailstore::MailStore;

/// When everything happens that has no other time.
pub(super) const NOW: Unix = Unix::from_secs(1_700_000_000);

/// Room for everything.
pub(super) const FREE: Quota = Quota::UNLIMITED;

/// An account of a store, and what its user does.
pub(super) struct User<S: MailStore> {
    pub(super) store: Arc<S>,
    pub(super) account: AccountName,
}

impl<S: MailStore> Clone for User<S> {
    fn clone(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            account: self.account.clone(),
        }
    }
}

/// A message as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) uid: u32,
    pub(super) text: String,
    pub(super) system: SystemFlags,
    /// In the order of their names.
    pub(super) keywords: Vec<String>,
    pub(super) date: DateTime,
}

/// Runs a test on an empty store with small limits and one user.
pub(super) fn check<B: Backend>(backend: &B, test: impl AsyncFnOnce(User<B::Store>)) {
    check_with(backend, Limits::small(), test);
}

/// The same with these limits.
pub(super) fn check_with<B: Backend>(backend: &B, limits: Limits, test: impl AsyncFnOnce(User<B::Store>)) {
    let alice = alice_of(backend, &backend.open(limits));
    backend.block_on(test(alice));
}

/// Alice, with an account, in this store.
pub(super) fn alice_of<B: Backend>(backend: &B, store: &Arc<B::Store>) -> User<B::Store> {
    let alice = User::of(store, "alice");
    backend.block_on(alice.make());
    alice
}

pub(super) fn name(text: &str) -> MailboxName {
    MailboxName::new(text).expect("a mailbox name")
}

pub(super) fn keyword(text: &str) -> Keyword {
    Keyword::new(text).expect("a keyword")
}

pub(super) fn flags(system: SystemFlags, keywords: &[&str]) -> Flags {
    Flags {
        system,
        keywords: keywords.iter().map(|text| keyword(text)).collect(),
    }
}

pub(super) fn change(op: FlagOp, system: SystemFlags, keywords: &[&str]) -> FlagChange {
    FlagChange {
        op,
        flags: flags(system, keywords),
    }
}

pub(super) fn set(uids: &[u32]) -> UidSet {
    uids.iter().copied().map(Uid).collect()
}

pub(super) fn all() -> UidSet {
    UidSet::from_ranges([(1, u32::MAX)])
}

pub(super) fn uids_of(snapshot: &Snapshot) -> Vec<u32> {
    snapshot.rows.iter().map(|row| row.uid.0).collect()
}

/// The pairs of a COPYUID.
pub(super) fn pairs(copied: &CopyUid) -> Vec<(u32, u32)> {
    assert_eq!(copied.source.len(), copied.target.len());
    let pairs = copied.source.iter().zip(&copied.target);
    pairs.map(|(source, target)| (source.0, target.0)).collect()
}

/// Why something was refused.
pub(super) fn refusal<T>(result: Result<T>) -> Option<Refusal> {
    result.err().map(|error| error.refusal)
}

pub(super) fn entry(id: &str, to: &str, size: usize) -> Entry {
    Entry {
        id: id.to_owned(),
        sender: "alice@suite.test".to_owned(),
        account: Some("alice@suite.test".to_owned()),
        arrived: NOW.secs(),
        offset: 0,
        size: size as u64,
        eight_bit: false,
        hold_until: 0,
        held: false,
        wishes: Wishes::default(),
        recipients: vec![Recipient {
            address: to.to_owned(),
            attempts: 0,
            next: NOW.secs(),
            last: None,
            delay_told: false,
            dsn: DsnRequest::default(),
            local: false,
            done: None,
            failed: false,
            expanded: false,
        }],
    }
}

/// A watch that counts.
pub(super) struct Ear {
    heard: Arc<AtomicUsize>,
    _watch: Watch,
}

impl Ear {
    /// Whether it heard anything since it was last asked.
    pub(super) fn heard(&self) -> bool {
        self.heard.swap(0, Ordering::Relaxed) > 0
    }
}

impl<S: MailStore> User<S> {
    /// A user who has no account yet.
    pub(super) fn of(store: &Arc<S>, local: &str) -> Self {
        let address = Address::parse(&format!("{local}@suite.test")).expect("an address");
        Self {
            store: Arc::clone(store),
            account: address.canonical(),
        }
    }

    pub(super) async fn make(&self) {
        let made = self.store.create_account(&self.account, NOW).await;
        made.expect("make the account");
    }

    pub(super) async fn spool(&self, text: &str) -> S::Spool {
        let mut spool = self.store.new_spool().await.expect("a spool");
        let chunk = Chunk::copy_from(text.as_bytes());
        if let Err(chunk) = self.store.write_spool_now(&mut spool, chunk) {
            let written = self.store.write_spool(&mut spool, chunk).await;
            written.expect("write to a spool");
        }
        spool
    }

    /// Delivers to these and this one.
    pub(super) async fn deliver(&self, others: &[&Self], text: &str) -> Result<()> {
        let spool = self.spool(text).await;
        let mut accounts = vec![(self.account.clone(), FREE)];
        accounts.extend(others.iter().map(|other| (other.account.clone(), FREE)));
        self.store.deliver(spool, &accounts, None, NOW).await
    }

    pub(super) async fn try_append(&self, mailbox: &str, messages: &[(&str, Flags)]) -> Result<Vec<u32>> {
        let mut news = Vec::new();
        for (text, flags) in messages {
            news.push((self.spool(text).await, flags.clone(), None));
        }
        let appended = self
            .store
            .append(&self.account, &name(mailbox), news, &FREE, NOW)
            .await;
        let appended = appended?;
        assert_eq!(appended.uids.len(), messages.len());
        Ok(appended.uids.iter().map(|uid| uid.0).collect())
    }

    /// Appends a message without flags.
    pub(super) async fn append(&self, mailbox: &str, text: &str) -> u32 {
        self.append_with(mailbox, text, Flags::default()).await
    }

    pub(super) async fn append_with(&self, mailbox: &str, text: &str, flags: Flags) -> u32 {
        let uids = self.try_append(mailbox, &[(text, flags)]).await;
        uids.expect("append").first().copied().expect("one UID")
    }

    pub(super) async fn try_select(&self, mailbox: &str) -> Result<MailboxRef> {
        let selected = self.store.select(&self.account, &name(mailbox), true).await?;
        Ok(selected.mailbox)
    }

    /// Its identity; it stays selected, read-only.
    pub(super) async fn select(&self, mailbox: &str) -> MailboxRef {
        self.try_select(mailbox).await.expect("select")
    }

    pub(super) async fn snapshot(&self, mailbox: &MailboxRef) -> Snapshot {
        self.store.snapshot(mailbox).await.expect("a snapshot")
    }

    pub(super) async fn status(&self, mailbox: &str) -> MailboxStatus {
        let status = self.store.status(&self.account, &name(mailbox)).await;
        status.expect("a status")
    }

    pub(super) async fn create(&self, mailbox: &str) -> Result<()> {
        self.store.create(&self.account, &name(mailbox), &[], NOW).await
    }

    pub(super) async fn delete(&self, mailbox: &str) -> Result<()> {
        self.store.delete(&self.account, &name(mailbox)).await
    }

    pub(super) async fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.store
            .rename(&self.account, &name(from), &name(to), NOW)
            .await
    }

    pub(super) async fn subscribe(&self, mailbox: &str, on: bool) -> Result<()> {
        self.store.subscribe(&self.account, &name(mailbox), on).await
    }

    pub(super) async fn list(&self) -> Vec<MailboxEntry> {
        self.store.list(&self.account).await.expect("a list")
    }

    /// The names of what exists, without the default mailboxes other than INBOX.
    pub(super) async fn names(&self) -> Vec<String> {
        let list = self.list().await.into_iter().filter(|entry| entry.exists);
        list.map(|entry| entry.name.to_string())
            .filter(|name| !["Archive", "Drafts", "Junk", "Sent", "Trash"].contains(&name.as_str()))
            .collect()
    }

    /// The entry of a name in the list.
    pub(super) async fn listed(&self, mailbox: &str) -> Option<MailboxEntry> {
        let wanted = name(mailbox);
        self.list().await.into_iter().find(|entry| entry.name == wanted)
    }

    /// Octets of all its messages.
    pub(super) async fn usage(&self) -> u64 {
        self.store.usage(&self.account).await.expect("usage").octets
    }

    pub(super) async fn store_flags(
        &self,
        mailbox: &MailboxRef,
        uids: &[u32],
        change: &FlagChange,
    ) -> Stored {
        let stored = self.store.store(mailbox, &set(uids), change, None).await;
        stored.expect("store flags")
    }

    /// Gives messages `\Deleted`.
    pub(super) async fn mark(&self, mailbox: &MailboxRef, uids: &[u32]) -> Stored {
        let deleted = change(FlagOp::Add, SystemFlags::DELETED, &[]);
        self.store_flags(mailbox, uids, &deleted).await
    }

    /// Removes messages.
    pub(super) async fn expunge(&self, mailbox: &MailboxRef, uids: &[u32]) -> Snapshot {
        self.mark(mailbox, uids).await;
        let expunged = self.store.expunge(mailbox, Some(&set(uids))).await;
        expunged.expect("expunge")
    }

    pub(super) async fn copy(&self, from: &MailboxRef, uids: &[u32], to: &str) -> Result<Vec<(u32, u32)>> {
        let copied = self.store.copy(from, &set(uids), &name(to), &FREE, NOW).await?;
        Ok(pairs(&copied.0))
    }

    pub(super) async fn r#move(&self, from: &MailboxRef, uids: &[u32], to: &str) -> Result<Vec<(u32, u32)>> {
        let moved = self.store.r#move(from, &set(uids), &name(to), NOW).await?;
        Ok(pairs(&moved.0))
    }

    /// All octets of an open message, by reads of a few octets.
    pub(super) async fn read_all(&self, blob: &S::Blob) -> Vec<u8> {
        let len = usize::try_from(self.store.blob_len(blob)).expect("a small message");
        let mut octets = Vec::with_capacity(len);
        let mut buffer = [0; 7];
        loop {
            let read = self.store.read(blob, &mut buffer, octets.len() as u64).await;
            let count = read.expect("read a message");
            if count == 0 {
                break;
            }
            octets.extend_from_slice(&buffer[..count]);
        }
        assert_eq!(octets.len(), len, "a message has as many octets as it says");
        octets
    }

    pub(super) async fn text(&self, mailbox: &MailboxRef, uid: u32) -> Option<String> {
        let blob = self.store.open(mailbox, Uid(uid)).await.expect("open")?;
        Some(String::from_utf8(self.read_all(&blob).await).expect("text"))
    }

    /// The messages of a mailbox, with their octets.
    pub(super) async fn messages(&self, mailbox: &str) -> Vec<Seen> {
        let selected = self.store.select(&self.account, &name(mailbox), true).await;
        let selected = selected.expect("select");
        let snapshot = &selected.snapshot;
        let mut seen = Vec::new();
        for row in snapshot.rows.iter() {
            let text = self.text(&selected.mailbox, row.uid.0).await;
            let keywords = snapshot.keywords.of(row.keywords);
            let mut keywords: Vec<String> = keywords.map(|keyword| keyword.as_str().to_owned()).collect();
            keywords.sort();
            let text = text.expect("what is listed can be opened");
            assert_eq!(text.len(), row.size as usize);
            seen.push(Seen {
                uid: row.uid.0,
                text,
                system: row.flags,
                keywords,
                date: row.internal_date(),
            });
        }
        self.store.unselect(&selected.mailbox).await;
        seen
    }

    /// The texts of a mailbox, by UID.
    pub(super) async fn texts(&self, mailbox: &str) -> Vec<String> {
        let messages = self.messages(mailbox).await;
        messages.into_iter().map(|message| message.text).collect()
    }

    /// Watches a mailbox from this MODSEQ on.
    pub(super) fn watch(&self, mailbox: &MailboxRef, seen: ModSeq) -> Ear {
        self.watch_scope(Scope::Mailbox(mailbox.clone()), seen)
    }

    /// Watches the list of mailboxes.
    pub(super) fn watch_list(&self) -> Ear {
        self.watch_scope(Scope::List(self.account.clone()), LOOKS_LATER)
    }

    fn watch_scope(&self, scope: Scope, seen: ModSeq) -> Ear {
        let heard = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&heard);
        let wake = Arc::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let hub = self.store.hub();
        Ear {
            heard,
            _watch: hub.watch(scope, seen, wake),
        }
    }

    /// The latest MODSEQ that was announced of a watched mailbox.
    pub(super) fn announced(&self, mailbox: &MailboxRef) -> ModSeq {
        let scope = Scope::Mailbox(mailbox.clone());
        let watched = self.store.hub().watched();
        let found = watched.into_iter().find(|(watched, _)| *watched == scope);
        found.expect("it is watched").1
    }
}
