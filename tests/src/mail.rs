//! The file store on a real file system in short words, for tests with several processes.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_lite::future::block_on;
use rmail_core::addr::{AccountName, Address};
use rmail_core::chunk::Chunk;
use rmail_core::limits::Limits;
use rmail_core::mailbox::{
    FlagChange, FlagOp, Flags, Keyword, MailboxName, MailboxRef, Quota, Snapshot, SystemFlags, Uid, UidSet,
};
use rmail_core::time::Unix;
use rmail_runtime::disk::RealDisk;
use rmail_store::MailStore as _;
use rmail_store::error::Result;
use rmail_store::file::{FileStore, Options};

/// The mailboxes that messages wander between.
pub const MAILBOXES: [&str; 3] = ["INBOX", "Archive", "Trash"];

/// A process's store on a mail_root, and one account in it.
#[derive(Debug)]
pub struct Mail {
    /// The store.
    pub store: FileStore<RealDisk>,
    /// The account.
    pub account: AccountName,
}

impl Mail {
    /// Opens the store with so many messages in a shard (all processes must say the same), and makes the account if it is
    /// not there.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn open(root: &Path, shard_size: u32) -> Self {
        let limits = Limits {
            shard_size,
            uid_block: shard_size,
            ..Limits::default()
        };
        let disk = Arc::new(RealDisk::open(root).expect("a mail_root"));
        let store = block_on(FileStore::open(disk, limits, Options::default())).expect("a store");
        let account = Address::parse("alice@here.test").expect("an address").canonical();
        block_on(store.create_account(&account, now())).expect("an account");
        Self { store, account }
    }

    /// Opens a mailbox.
    ///
    /// # Errors
    /// As the store.
    pub fn select(&self, mailbox: &str) -> Result<(MailboxRef, Snapshot)> {
        let selected = block_on(self.store.select(&self.account, &name(mailbox), false))?;
        Ok((selected.mailbox, selected.snapshot))
    }

    /// Appends messages with these texts.
    ///
    /// # Errors
    /// As the store.
    pub fn append(&self, mailbox: &str, texts: &[String]) -> Result<Vec<Uid>> {
        block_on(async {
            let mut messages = Vec::new();
            for text in texts {
                let mut spool = self.store.new_spool().await?;
                let chunk = Chunk::copy_from(text.as_bytes());
                self.store.write_spool(&mut spool, chunk).await?;
                messages.push((spool, Flags::default(), None));
            }
            let quota = Quota::UNLIMITED;
            let store = &self.store;
            let appended = store
                .append(&self.account, &name(mailbox), messages, &quota, now())
                .await;
            Ok(appended?.uids)
        })
    }

    /// Delivers a message into INBOX.
    ///
    /// # Errors
    /// As the store.
    pub fn deliver(&self, text: &str) -> Result<()> {
        block_on(async {
            let mut spool = self.store.new_spool().await?;
            let chunk = Chunk::copy_from(text.as_bytes());
            self.store.write_spool(&mut spool, chunk).await?;
            let to = [(self.account.clone(), Quota::UNLIMITED)];
            self.store.deliver(spool, &to, None, now()).await
        })
    }

    /// Adds or removes a keyword, and adds system flags. The mailbox afterwards.
    ///
    /// # Errors
    /// As the store.
    pub fn flag(
        &self,
        mailbox: &MailboxRef,
        uids: &UidSet,
        op: FlagOp,
        system: SystemFlags,
        word: &str,
    ) -> Result<Snapshot> {
        let keywords = Keyword::new(word).into_iter().collect();
        let change = FlagChange {
            op,
            flags: Flags { system, keywords },
        };
        let stored = block_on(self.store.store(mailbox, uids, &change, None))?;
        Ok(stored.snapshot)
    }

    /// The text of a message; `None` if it is gone.
    ///
    /// # Errors
    /// As the store.
    ///
    /// # Panics
    /// If the message is not text, or shorter than its file.
    pub fn text(&self, mailbox: &MailboxRef, uid: Uid) -> Result<Option<String>> {
        block_on(async {
            let Some(blob) = self.store.open(mailbox, uid).await? else {
                return Ok(None);
            };
            let mut bytes = vec![0; usize::try_from(self.store.blob_len(&blob)).expect("small")];
            let mut at = 0;
            while at < bytes.len() {
                let count = self.store.read(&blob, &mut bytes[at..], at as u64).await?;
                assert_ne!(count, 0, "a message is shorter than its file");
                at += count;
            }
            Ok(Some(String::from_utf8(bytes).expect("text")))
        })
    }
}

/// The UIDs of messages that have a keyword.
#[must_use]
pub fn with_keyword(snapshot: &Snapshot, word: &str) -> Vec<u32> {
    let has = |row: &&rmail_core::mailbox::Row| {
        let mut words = snapshot.keywords.of(row.keywords);
        words.any(|keyword| keyword.as_str() == word)
    };
    snapshot.rows.iter().filter(has).map(|row| row.uid.0).collect()
}

/// A mailbox name.
///
/// # Panics
/// If it is none.
#[must_use]
pub fn name(text: &str) -> MailboxName {
    MailboxName::new(text).expect("a mailbox name")
}

/// The wall clock.
#[must_use]
pub fn now() -> Unix {
    Unix(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}
