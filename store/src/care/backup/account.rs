//! A domain's and an account's own files, and the mailboxes of an account.

use std::collections::BTreeSet;
use std::io;

use rmail_core::addr::AccountName;

use crate::disk::Disk;
use crate::file::io::read_file;
use crate::file::metadata::METADATA;

use super::super::lock::lock;
use super::super::places::{DomainDir, UserDir, levels};
use super::Run;
use super::manifest::Line;

/// How often it is looked for mailboxes that were made or renamed meanwhile.
const ROUNDS: usize = 4;

impl<D: Disk> Run<'_, D> {
    pub(super) async fn domain_files(&mut self, domain: &DomainDir<D>) -> io::Result<()> {
        let secrets = self.options.secrets;
        let path = format!("domains/{}", domain.entry);
        self.files(&domain.dir, &path, |name| {
            secrets || matches!(name, "domain.json" | "aliases.json")
        })
        .await
    }

    /// An account. Under its lock no mailbox is made, renamed or deleted: what is listed so is all there is. One that
    /// is renamed later is met again under its new name, unless it was copied already.
    pub(super) async fn account(&mut self, account: &AccountName, user: &UserDir<D>) -> io::Result<()> {
        let disk = self.disk;
        self.summary.accounts += 1;
        self.line(&Line::Account {
            account: account.as_str().to_owned(),
            path: user.path.clone(),
        })
        .await?;
        self.dir(&user.path).await?;
        let mut done: BTreeSet<u64> = BTreeSet::new();
        for _ in 0..ROUNDS {
            let held = lock(disk, &user.dir, "account.lock", self.rules.lock_wait).await?;
            let all = levels(disk, &user.dir).await?;
            drop(held);
            let mut news = 0;
            for level in all {
                let Some(name) = &level.name else {
                    let path = format!("{}/{}", user.path, level.path);
                    if done.insert(path_number(&path)) {
                        self.problem(&path, "its name is no mailbox's; see `rmail fsck`")
                            .await?;
                    }
                    continue;
                };
                let Some(open) = level.open(disk, &user.dir).await? else {
                    continue;
                };
                // A directory stays itself when it is renamed.
                let inode = disk.stat_dir(&open.dir).await?.inode;
                if done.insert(inode) {
                    news += 1;
                    let path = format!("{}/{}", user.path, level.path);
                    self.mailbox(account, name, &open.dir, &path).await?;
                }
            }
            if news == 0 {
                break;
            }
        }
        // Last: the counter is above all that were copied.
        for name in ["account.json", "subscriptions.json", METADATA, "user.json"] {
            let octets = match read_file(disk, &user.dir, name).await {
                Ok(Some(octets)) => octets,
                Ok(None) => continue,
                Err(error) => {
                    let path = format!("{}/{name}", user.path);
                    self.problem(&path, &error.to_string()).await?;
                    continue;
                }
            };
            let octets = match name {
                "user.json" if !self.options.secrets => without_secrets(&octets),
                _ => octets,
            };
            self.file(&user.path, name, &octets).await?;
        }
        Ok(())
    }
}

/// Tells paths apart in a set of inodes: those have no highest bit.
fn path_number(path: &str) -> u64 {
    u64::from(crc32fast::hash(path.as_bytes())) | 1 << 63
}

/// A user's file without passwords. One that cannot be read comes empty: what is in it cannot be known.
fn without_secrets(octets: &[u8]) -> Vec<u8> {
    let user = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(octets);
    let mut user = user.unwrap_or_default();
    for name in ["password", "app_passwords"] {
        user.remove(name);
    }
    let mut octets = serde_json::to_vec_pretty(&user).unwrap_or_default();
    octets.push(b'\n');
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_left_out_and_nothing_else() {
        let file = br#"{"password":"$x","app_passwords":[1],"quota_mb":5,"other":{"a":1}}"#;
        let left: serde_json::Value = serde_json::from_slice(&without_secrets(file)).expect("JSON");
        assert_eq!(left, serde_json::json!({"quota_mb": 5, "other": {"a": 1}}));
        assert_eq!(without_secrets(b"broken $secret"), b"{}\n");
    }
}
