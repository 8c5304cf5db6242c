//! What was sent under which Idempotency-Key:
//!
//! ```text
//! requests/{domain}/{user}/{hash of the key}     hash of the request, and its answer; empty while the request is in work
//! ```
//!
//! Who works on a request holds the kernel's lock on its file, so that nobody else does; the lock dies with the process, and
//! then the request may be made again. An answer is on disk before it is given. It is forgotten after a day, or when the
//! account has asked for too much since.

use std::io;
use std::time::Duration;

use rmail_core::addr::AccountName;
use rmail_core::api::Failure;
use rmail_core::api::send::{Key, Sent, Terms};
use rmail_core::time::{Now, Unix};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::disk::{Disk, Mode};
use crate::escape::account_dirs;
use crate::file::io::{found, read_all, settle_dir};
use crate::mailstore::MailStore;
use crate::service::Service;
use crate::service::api::ApiService;

const DIR: &str = "requests";
/// For so long an answer is known, seconds.
const KEPT: u64 = 24 * 3_600;
/// Answers of one account; beyond these the oldest goes.
const MAX_KEPT: usize = 1_000;
/// How often a file is opened that others replace at the same moment.
const TRIES: usize = 10;

/// What is known of a key.
pub(super) enum Claim<D: Disk> {
    /// Nothing: the request is ours.
    Ours(Held<D>),
    /// Its answer.
    Done(Box<Sent>),
}

/// A key that nobody else can have now.
pub(super) struct Held<D: Disk> {
    disk: std::sync::Arc<D>,
    dir: D::Dir,
    name: String,
    file: D::File,
    digest: String,
    _lock: D::Lock,
}

/// What a file holds.
#[derive(Serialize, Deserialize)]
struct Known {
    digest: String,
    at: u64,
    answer: Sent,
}

/// The hash of octets.
pub(super) fn digest(octets: &[u8]) -> [u8; 32] {
    Sha256::digest(octets).into()
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

impl<S: MailStore, D: Disk> ApiService<S, D> {
    /// Takes the key of a request, if it has one.
    pub(super) async fn claim(
        &self,
        now: Now,
        account: &AccountName,
        terms: &Terms,
        digest: Option<[u8; 32]>,
    ) -> Result<Option<Claim<D>>, Failure> {
        let Some((key, digest)) = terms.key.as_ref().zip(digest) else {
            return Ok(None);
        };
        match self.take_key(now.unix, account, key, &hex(&digest)).await {
            Ok(Some(claim)) => Ok(Some(claim)),
            Ok(None) => Err(Failure::new(
                422,
                "The Idempotency-Key was used for another request",
            )),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Failure {
                retry_after: Some(Duration::from_secs(1)),
                ..Failure::new(409, "A request with this Idempotency-Key is in work")
            }),
            Err(error) => {
                log::error!("{DIR}: {error}");
                Err(Failure::new(
                    503,
                    "What was sent before cannot be read; try again later",
                ))
            }
        }
    }

    /// None: it belongs to another request.
    async fn take_key(
        &self,
        now: Unix,
        account: &AccountName,
        key: &Key,
        digest: &str,
    ) -> io::Result<Option<Claim<D>>> {
        let disk = self.service.accounts.disk();
        let (domain, user) = account_dirs(account).ok_or(io::ErrorKind::InvalidInput)?;
        let mut dir = disk.root().clone();
        for name in [DIR, domain.as_str(), user.as_str()] {
            dir = match found(disk.open_dir(&dir, name).await)? {
                Some(there) => there,
                None => settle_dir(&**disk, &dir, name).await?,
            };
        }
        let name = hex(&self::digest(key.text.as_bytes()));
        for _ in 0..TRIES {
            let file = disk.open(&dir, &name, Mode::Create).await?;
            let lock = disk.lock(&file, Duration::ZERO).await?;
            let inode = disk.stat(&file).await?.inode;
            let named = found(disk.stat_at(&dir, &name).await)?;
            if named.is_none_or(|named| named.inode != inode) {
                // Whoever had it has removed it meanwhile.
                continue;
            }
            let octets = read_all(&**disk, &file).await?;
            if octets.is_empty() {
                make_room(&**disk, &dir, &name, now).await?;
                return Ok(Some(Claim::Ours(Held {
                    disk: std::sync::Arc::clone(disk),
                    dir,
                    name,
                    file,
                    digest: digest.to_owned(),
                    _lock: lock,
                })));
            }
            match serde_json::from_slice::<Known>(&octets) {
                Ok(known) if known.at.saturating_add(KEPT) > now.secs() => {
                    let same = known.digest == digest;
                    return Ok(same.then(|| Claim::Done(Box::new(known.answer))));
                }
                // Too old, or torn by a crash before it was answered.
                _ => found(disk.unlink(&dir, &name).await)?,
            };
        }
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl<D: Disk> Held<D> {
    /// The answer is known from now on.
    pub(super) async fn keep(self, sent: &Sent, now: Unix, account: &AccountName) {
        let known = Known {
            digest: self.digest.clone(),
            at: now.secs(),
            answer: sent.clone(),
        };
        let kept = async {
            let octets = serde_json::to_vec(&known)?;
            self.disk.write_at(&self.file, &octets, 0).await?;
            self.disk.sync(&self.file).await?;
            self.disk.sync_dir(&self.dir).await
        };
        if let Err(error) = kept.await {
            log::error!("{DIR} of {account}: {error}; the request may be done twice if it is made again");
        }
    }

    /// Nothing was done: the same key may be used again.
    pub(super) async fn release(self, account: &AccountName) {
        if let Err(error) = found(self.disk.unlink(&self.dir, &self.name).await) {
            log::warn!("{DIR} of {account}: {error}");
        }
    }
}

/// Forgets what is too old, and the oldest if there is too much.
async fn make_room<D: Disk>(disk: &D, dir: &D::Dir, own: &str, now: Unix) -> io::Result<()> {
    let entries = disk.list(dir).await?.entries;
    if entries.len() > MAX_KEPT {
        let mut ages = Vec::with_capacity(entries.len());
        for entry in entries {
            if let Some(stat) = found(disk.stat_at(dir, &entry.name).await)? {
                ages.push((stat.mtime, entry.name));
            }
        }
        ages.sort_unstable();
        let many = ages.len().saturating_sub(MAX_KEPT);
        for (at, (mtime, name)) in ages.iter().enumerate() {
            if name != own && (at < many || is_old(*mtime, now)) {
                found(disk.unlink(dir, name).await)?;
            }
        }
    }
    Ok(())
}

fn is_old(mtime: i128, now: Unix) -> bool {
    mtime / 1_000_000_000 + i128::from(KEPT) < i128::from(now.secs())
}

impl<S: MailStore, D: Disk> Service<S, D> {
    /// Forgets what was sent under which Idempotency-Key too long ago. To be called about once a day.
    pub async fn tidy_requests(&self, now: Unix) {
        if let Err(error) = tidy(&**self.accounts.disk(), now).await {
            log::warn!("{DIR}: {error}");
        }
    }
}

async fn tidy<D: Disk>(disk: &D, now: Unix) -> io::Result<()> {
    let Some(top) = found(disk.open_dir(disk.root(), DIR).await)? else {
        return Ok(());
    };
    for domain in disk.list(&top).await?.entries {
        let Some(users) = found(disk.open_dir(&top, &domain.name).await)? else {
            continue;
        };
        for user in disk.list(&users).await?.entries {
            let Some(dir) = found(disk.open_dir(&users, &user.name).await)? else {
                continue;
            };
            for entry in disk.list(&dir).await?.entries {
                let stat = found(disk.stat_at(&dir, &entry.name).await)?;
                if stat.is_some_and(|stat| is_old(stat.mtime, now)) {
                    found(disk.unlink(&dir, &entry.name).await)?;
                }
            }
        }
    }
    Ok(())
}
