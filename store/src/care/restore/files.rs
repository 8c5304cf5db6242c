//! Files of a backup that are no messages.

use std::io;

use rmail_core::addr::AccountName;
use rmail_core::mailbox::{Annotated, MailboxName, RightsChange};
use sha2::{Digest as _, Sha256};

use crate::care::backup::manifest::{Broken, Line, MailboxLine, Reader, hex};
use crate::care::places::open_path;
use crate::disk::Disk;
use crate::file::acl::{self, ACL};
use crate::file::io::read_file;
use crate::file::metadata::{self, METADATA};
use crate::mailstore::MailStore;

use super::{Failed, Options};

pub(super) async fn file_of<D: Disk>(
    disk: &D,
    set: &D::Dir,
    account: &AccountName,
    name: &str,
) -> core::result::Result<Option<Vec<u8>>, Broken> {
    let mut reader: Reader<D> = Reader::open(disk, set).await?;
    let mut wanted = None;
    while let Some(line) = reader.next(disk).await? {
        match line {
            Line::Account { account: whose, path } if whose == account.as_str() => {
                wanted = Some(format!("{path}/{name}"));
            }
            Line::File { path, sha256, .. } if wanted.as_ref() == Some(&path) => {
                return Ok(whole(disk, set, &path, &sha256).await?);
            }
            _ => {}
        }
    }
    Ok(None)
}

/// A mailbox that was made anew is shared as it was, and has its annotations. A file that cannot be read is left out.
pub(super) async fn beside<S: MailStore, D: Disk>(
    store: &S,
    disk: &D,
    set: &D::Dir,
    options: &Options,
    line: &MailboxLine,
    mailbox: &MailboxName,
) -> core::result::Result<(), Failed> {
    let account = &options.account;
    let file = async |name| named_file(disk, set, &format!("{}/{name}", line.path)).await;
    if let Some(octets) = file(ACL).await?
        && let Ok(list) = acl::decode(&octets)
    {
        for (identifier, rights) in list.entries() {
            let change = RightsChange::Replace(rights);
            store.set_acl(account, mailbox, identifier, change).await?;
        }
    }
    if let Some(octets) = file(METADATA).await?
        && let Ok(all) = metadata::decode(&octets)
    {
        let about = Annotated::Mailbox(account.clone(), mailbox.clone());
        store.annotate(&about, &all.as_changes()).await?;
    }
    Ok(())
}

/// A file of a backup by its path, if it is what was backed up.
pub(super) async fn named_file<D: Disk>(
    disk: &D,
    set: &D::Dir,
    wanted: &str,
) -> core::result::Result<Option<Vec<u8>>, Broken> {
    let mut reader: Reader<D> = Reader::open(disk, set).await?;
    while let Some(line) = reader.next(disk).await? {
        if let Line::File { path, sha256, .. } = line
            && path == wanted
        {
            return Ok(whole(disk, set, &path, &sha256).await?);
        }
    }
    Ok(None)
}

/// The octets of a file, if they are those of this hash.
async fn whole<D: Disk>(disk: &D, set: &D::Dir, path: &str, sha256: &str) -> io::Result<Option<Vec<u8>>> {
    let (above, entry) = path.rsplit_once('/').unwrap_or_default();
    let Some(dir) = open_path(disk, set, above).await? else {
        return Ok(None);
    };
    let octets = read_file(disk, &dir, entry).await?;
    Ok(octets.filter(|octets| hex(&Sha256::digest(octets)) == sha256))
}
