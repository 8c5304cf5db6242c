//! The file `metadata.json`: annotations (RFC 5464) of a mailbox in its directory, of an account in the user's, of the
//! server in `shared/` of the mail_root. Without it there are none.
//!
//! ```json
//! {"version":1,"entries":[{"path":"/comment","text":"x"},{"account":"fred@example.com","path":"/p","base64":"AAE="}]}
//! ```
//!
//! An entry with an account is private to it. Values that are not UTF-8 are in Base64. The file is replaced whole (temporary
//! file, sync, rename, sync of the directory) under the account's lock, that of the server under the lock
//! `shared/metadata.lock`; it moves with its directory when the mailbox is renamed, and goes with it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rmail_core::addr::{AccountName, Address};
use rmail_core::mailbox::{Annotated, AnnotationChange, Annotations, Entry, MailboxName};
use rmail_core::refusal::Refusal;
use serde::{Deserialize, Serialize};

use crate::disk::{Disk, Mode};
use crate::error::{Error, Result};

use super::FileStore;
use super::account::VERSION;
use super::acl::SHARED;
use super::io::{During as _, found, read_file, replace_file, settle_dir};
use super::mailbox::Mailbox;
use super::tree::Level;

/// The file's name.
pub(crate) const METADATA: &str = "metadata.json";

/// Its lock where it is the server's.
const LOCK: &str = "metadata.lock";

/// The JSON form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    version: u32,
    entries: Vec<FormEntry>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FormEntry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

/// What the file says.
///
/// # Errors
/// Why it cannot be used.
pub(crate) fn decode(octets: &[u8]) -> core::result::Result<Annotations, String> {
    let form: Form = serde_json::from_slice(octets).map_err(|error| error.to_string())?;
    if form.version != VERSION {
        return Err(format!("version {} is not known", form.version));
    }
    let mut all = Vec::with_capacity(form.entries.len());
    for entry in form.entries {
        let whose = match &entry.account {
            None => None,
            Some(text) => {
                let address = Address::parse(text).ok_or_else(|| format!("{text:?} is no account"))?;
                Some(address.canonical())
            }
        };
        let value = match (entry.text, entry.base64) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(text)) => STANDARD
                .decode(text)
                .map_err(|error| format!("{}: {error}", entry.path))?,
            _ => return Err(format!("{} has not one value", entry.path)),
        };
        let path = entry.path;
        all.push((Entry { whose, path }, value));
    }
    Ok(all.into_iter().collect())
}

/// The file's octets.
fn encode(annotations: &Annotations) -> Vec<u8> {
    let entry = |(entry, value): (&Entry, &[u8])| {
        let text = core::str::from_utf8(value).ok().map(str::to_owned);
        FormEntry {
            account: entry.whose.as_ref().map(|whose| whose.as_str().to_owned()),
            path: entry.path.clone(),
            base64: text.is_none().then(|| STANDARD.encode(value)),
            text,
        }
    };
    let form = Form {
        version: VERSION,
        entries: annotations.entries().map(entry).collect(),
    };
    serde_json::to_vec(&form).unwrap_or_default()
}

impl<D: Disk> FileStore<D> {
    async fn read_metadata(&self, dir: &D::Dir) -> Result<Annotations> {
        let label = || format!("read {METADATA}");
        let Some(octets) = read_file(self.disk(), dir, METADATA).await.during(label)? else {
            return Ok(Annotations::default());
        };
        decode(&octets).map_err(|why| Error {
            refusal: Refusal::Storage,
            context: format!("{}: {why}", label()),
            source: None,
        })
    }

    /// The annotations of what they are about.
    pub(super) async fn annotations_of(&self, about: &Annotated) -> Result<Annotations> {
        let dir = match about {
            Annotated::Server => {
                let root = self.disk().root();
                let dir = found(self.disk().open_dir(root, SHARED).await);
                dir.during(|| format!("read {METADATA}"))?
            }
            Annotated::Account(account) => self.user_dir(account).await?,
            Annotated::Mailbox(account, name) => Some(self.annotated_dir(account, name).await?),
        };
        match dir {
            Some(dir) => self.read_metadata(&dir).await,
            None => Ok(Annotations::default()),
        }
    }

    async fn annotated_dir(&self, account: &AccountName, name: &MailboxName) -> Result<D::Dir> {
        let level = self.find(account, name).await?.ok_or(Refusal::NoSuchMailbox)?;
        match level.level {
            Level::Mailbox(_) => Ok(level.dir),
            _ => Err(Refusal::NoSuchMailbox.into()),
        }
    }

    pub(super) async fn change_annotations(
        &self,
        about: &Annotated,
        changes: &[AnnotationChange],
    ) -> Result<()> {
        match about {
            Annotated::Server => {
                let label = || "annotate the server".to_owned();
                let disk = self.disk();
                let dir = settle_dir(disk, disk.root(), SHARED).await.during(label)?;
                let file = disk.open(&dir, LOCK, Mode::Create).await.during(label)?;
                let _lock = disk.lock(&file, self.limits().lock_wait).await.during(label)?;
                self.change_metadata(&dir, changes).await?;
                self.hub.announce_lists();
                Ok(())
            }
            Annotated::Account(account) => {
                let held = self.lock_account(account).await?;
                self.list_changes(account, &held, self.change_metadata(&held.dir, changes))
                    .await
            }
            Annotated::Mailbox(account, name) => {
                let held = self.lock_account(account).await?;
                let dir = self.annotated_dir(account, name).await?;
                let mut all = self.read_metadata(&dir).await?;
                let before = all.clone();
                if all.change(changes) && all == before {
                    return Ok(());
                }
                let mailbox = self.open_mailbox(account, &dir, &held).await?;
                let change = self.change_counted(&mailbox, &dir, changes);
                self.list_changes(account, &held, change).await
            }
        }
    }

    /// Changes the file of a mailbox as a change of the mailbox, with a MODSEQ (RFC 7162 §3.2): who resynchronises hears
    /// that there is something to ask for.
    async fn change_counted(
        &self,
        mailbox: &Mailbox<D>,
        dir: &D::Dir,
        changes: &[AnnotationChange],
    ) -> Result<()> {
        let mut hold = self.hold_fresh(mailbox).await?;
        let modseq = hold.numbers(0).await?;
        hold.begin(modseq).await?;
        let changed = self.change_metadata(dir, changes).await;
        match hold.finish().await {
            // No row is another one, and all are those of the new MODSEQ.
            Ok(()) => hold.enter(&BTreeMap::new()),
            // The file is as `changed` says; that the change has begun is known, and who locks next ends it.
            Err(error) => log::warn!("{error}"),
        }
        drop(hold);
        self.announce(mailbox, modseq);
        changed
    }

    /// Changes the file, for one who has the lock.
    async fn change_metadata(&self, dir: &D::Dir, changes: &[AnnotationChange]) -> Result<()> {
        let label = || format!("write {METADATA}");
        let before = self.read_metadata(dir).await?;
        let mut all = before.clone();
        if !all.change(changes) {
            return Err(Refusal::MailboxFull.into());
        }
        if all == before {
            return Ok(());
        }
        let written = self.write_metadata(dir, &all).await;
        if written.is_err()
            && let Err(second) = self.write_metadata(dir, &before).await
        {
            // It may be there, but not for certain.
            log::error!("{}: it could not be taken back: {second}", label());
        }
        written.during(label)
    }

    async fn write_metadata(&self, dir: &D::Dir, all: &Annotations) -> std::io::Result<()> {
        if all.is_empty() {
            found(self.disk().unlink(dir, METADATA).await)?;
            return self.disk().sync_dir(dir).await;
        }
        replace_file(self.disk(), dir, METADATA, &encode(all)).await
    }

    /// RENAME of INBOX: the new mailbox has its annotations too (RFC 5464 §4.1).
    pub(super) async fn copy_annotations(
        &self,
        account: &AccountName,
        from: &MailboxName,
        to: &MailboxName,
    ) -> Result<()> {
        let of = |name: &MailboxName| Annotated::Mailbox(account.clone(), name.clone());
        let all = self.annotations_of(&of(from)).await?;
        if all.is_empty() {
            return Ok(());
        }
        self.change_annotations(&of(to), &all.as_changes()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_come_back_whatever_their_octets() {
        let fred = Address::parse("fred@example.com").expect("address").canonical();
        let entry = |whose: Option<&AccountName>, path: &str| Entry {
            whose: whose.cloned(),
            path: path.to_owned(),
        };
        let all: Annotations = [
            (entry(None, "/comment"), b"two\r\nlines \xc3\xa4".to_vec()),
            (entry(Some(&fred), "/comment"), vec![0, 0xff]),
            (entry(Some(&fred), "/empty"), Vec::new()),
        ]
        .into_iter()
        .collect();
        assert_eq!(decode(&encode(&all)), Ok(all));
        for broken in [
            "",
            r#"{"version":2,"entries":[]}"#,
            r#"{"version":1,"entries":[{"path":"/x"}]}"#,
            r#"{"version":1,"entries":[{"path":"/x","text":"a","base64":"AA=="}]}"#,
            r#"{"version":1,"entries":[{"path":"/x","base64":"?"}]}"#,
            r#"{"version":1,"entries":[{"account":"x","path":"/x","text":"a"}]}"#,
        ] {
            assert!(decode(broken.as_bytes()).is_err(), "{broken}");
        }
    }
}
