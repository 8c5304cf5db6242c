//! What the relay keeps of other domains' TLS, as plain files below the mail_root, shared by all processes:
//!
//! * `mta-sts/DOMAIN.json`: the MTA-STS policy that was fetched last ([`Stored`]).
//! * `tls-reports/DAY.json`: what was counted of a day ([`Day`]), DAY being the number of days since 1970. `lock` is held
//!   while one of them is changed, `sending` by the process that sends reports.
//!
//! All of it may be deleted at any time: policies are fetched again, and counts are only statistics. What cannot be read is
//! as if it were not there.

use core::time::Duration;
use std::io;

use rmail_core::addr::Domain;
use rmail_core::dns::Name;
use rmail_core::relay::tls::report::Day;
use rmail_core::relay::tls::sts::Stored;
use rmail_core::time::Unix;

use super::Service;
use crate::disk::{Disk, Mode};
use crate::file::io::{found, open_or_make_dir, read_all, replace_file, settle_dir};
use crate::mailstore::MailStore;

const POLICIES: &str = "mta-sts";
const REPORTS: &str = "tls-reports";
/// How long a lock is waited for that is held for one small file.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// Octets of a file that are read.
const MAX: u64 = 64 << 20;

/// The right to send reports: while it is there no other process has it.
pub struct Sending<D: Disk> {
    // Fields drop in this order.
    _lock: D::Lock,
    _file: D::File,
}

impl<D: Disk> core::fmt::Debug for Sending<D> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Sending")
    }
}

impl<S: MailStore, D: Disk> Service<S, D> {
    /// The policy that is kept of a domain; whether it still holds is for the caller to see.
    pub async fn load_sts(&self, domain: &Domain) -> Option<Stored> {
        let name = policy_file(domain)?;
        match self.read_json(POLICIES, &name).await {
            Ok(stored) => stored,
            Err(error) => {
                log::warn!("{POLICIES}/{name}: {error}; the policy is fetched again");
                None
            }
        }
    }

    /// Keeps the policy of a domain, durably. Of several processes that do so one wins, and each was right.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn save_sts(&self, domain: &Domain, stored: &Stored) -> io::Result<()> {
        let Some(name) = policy_file(domain) else {
            return Ok(());
        };
        let disk = &**self.accounts.disk();
        let dir = settle_dir(disk, disk.root(), POLICIES).await?;
        let _lock = self.lock_dir(&dir, "lock", LOCK_WAIT).await?;
        replace_file(disk, &dir, &name, &serde_json::to_vec(stored)?).await
    }

    /// Removes policies that hold no longer.
    ///
    /// # Errors
    /// The directory cannot be read or changed.
    pub async fn tidy_sts(&self, now: Unix) -> io::Result<()> {
        let disk = &**self.accounts.disk();
        let Some(dir) = found(disk.open_dir(disk.root(), POLICIES).await)? else {
            return Ok(());
        };
        for entry in disk.list(&dir).await?.entries {
            if !entry.name.ends_with(".json") {
                continue;
            }
            let stored = self.read_json::<Stored>(POLICIES, &entry.name).await;
            let holds = |stored: &Stored| now.secs() < stored.fetched.saturating_add(stored.policy.max_age);
            if !matches!(&stored, Ok(Some(stored)) if holds(stored)) {
                let _lock = self.lock_dir(&dir, "lock", LOCK_WAIT).await?;
                found(disk.unlink(&dir, &entry.name).await)?;
            }
        }
        Ok(())
    }

    /// Adds what this process has counted of a day.
    ///
    /// # Errors
    /// It cannot be written: nothing is added.
    pub async fn add_tls_counts(&self, day: u64, counts: Day) -> io::Result<()> {
        self.change_counts(day, |all| all.merge(counts)).await
    }

    /// What is counted of a day, by all processes that have told.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn tls_counts(&self, day: u64) -> io::Result<Day> {
        Ok(self
            .read_json(REPORTS, &counts_file(day))
            .await?
            .unwrap_or_default())
    }

    /// A domain's part of a day is told, or nobody wants it.
    ///
    /// # Errors
    /// It cannot be written: it is still there.
    pub async fn forget_tls_counts(&self, day: u64, domain: &str) -> io::Result<()> {
        self.change_counts(day, |all| drop(all.take(domain))).await
    }

    /// Days of which something is counted, oldest first.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub async fn tls_count_days(&self) -> io::Result<Vec<u64>> {
        let disk = &**self.accounts.disk();
        let Some(dir) = found(disk.open_dir(disk.root(), REPORTS).await)? else {
            return Ok(Vec::new());
        };
        let day = |name: &str| name.strip_suffix(".json")?.parse().ok();
        let entries = disk.list(&dir).await?.entries;
        let mut days: Vec<u64> = entries.iter().filter_map(|entry| day(&entry.name)).collect();
        days.sort_unstable();
        Ok(days)
    }

    /// Removes what is counted of a day.
    ///
    /// # Errors
    /// It cannot be removed.
    pub async fn remove_tls_counts(&self, day: u64) -> io::Result<()> {
        let disk = &**self.accounts.disk();
        let Some(dir) = found(disk.open_dir(disk.root(), REPORTS).await)? else {
            return Ok(());
        };
        let _lock = self.lock_dir(&dir, "lock", LOCK_WAIT).await?;
        found(disk.unlink(&dir, &counts_file(day)).await).map(drop)
    }

    /// The right to send reports. `None`: another process has it.
    ///
    /// # Errors
    /// The lock file cannot be made.
    pub async fn begin_tls_reports(&self) -> io::Result<Option<Sending<D>>> {
        let disk = &**self.accounts.disk();
        let dir = open_or_make_dir(disk, disk.root(), REPORTS).await?;
        match self.lock_dir(&dir, "sending", Duration::ZERO).await {
            Ok(sending) => Ok(Some(sending)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn change_counts(&self, day: u64, change: impl FnOnce(&mut Day)) -> io::Result<()> {
        let disk = &**self.accounts.disk();
        let dir = open_or_make_dir(disk, disk.root(), REPORTS).await?;
        let _lock = self.lock_dir(&dir, "lock", LOCK_WAIT).await?;
        let name = counts_file(day);
        // What cannot be read is replaced: it would stand in the way for ever.
        let mut all: Day = self
            .read_json(REPORTS, &name)
            .await
            .ok()
            .flatten()
            .unwrap_or_default();
        change(&mut all);
        replace_file(disk, &dir, &name, &serde_json::to_vec(&all)?).await
    }

    async fn lock_dir(&self, dir: &D::Dir, name: &str, wait: Duration) -> io::Result<Sending<D>> {
        let disk = &**self.accounts.disk();
        let file = disk.open(dir, name, Mode::Create).await?;
        let lock = disk.lock(&file, wait).await?;
        Ok(Sending {
            _lock: lock,
            _file: file,
        })
    }

    async fn read_json<T: serde::de::DeserializeOwned>(
        &self,
        dir: &str,
        name: &str,
    ) -> io::Result<Option<T>> {
        let disk = &**self.accounts.disk();
        let Some(dir) = found(disk.open_dir(disk.root(), dir).await)? else {
            return Ok(None);
        };
        let Some(file) = found(disk.open(&dir, name, Mode::Read).await)? else {
            return Ok(None);
        };
        if disk.stat(&file).await?.size > MAX {
            return Err(io::Error::other("the file is too long"));
        }
        let octets = read_all(disk, &file).await?;
        Ok(Some(serde_json::from_slice(&octets)?))
    }
}

/// `None`: a name that no file can have.
fn policy_file(domain: &Domain) -> Option<String> {
    /// Octets of a file's name on the usual file systems.
    const NAME_MAX: usize = 255;
    let name = format!("{}.json", Name::from_domain(domain)?);
    (name.len() + ".tmp".len() <= NAME_MAX).then_some(name)
}

fn counts_file(day: u64) -> String {
    format!("{day}.json")
}
