//! Where things lie: domains, users, levels of mailboxes. Read from the directories, whatever stands in them.

use std::io;

use rmail_core::addr::AccountName;
use rmail_core::mailbox::MailboxName;

use crate::disk::Disk;
use crate::escape::account_of;
use crate::file::escape::unescape;
use crate::file::io::found;

/// A domain's directory.
pub(super) struct DomainDir<D: Disk> {
    /// The directory's name.
    pub(super) entry: String,
    pub(super) dir: D::Dir,
}

/// A user's directory.
pub(super) struct UserDir<D: Disk> {
    /// Whose; `None`: it is no account's.
    pub(super) account: Option<AccountName>,
    /// From the mail_root: `domains/example.com/users/alice`.
    pub(super) path: String,
    pub(super) dir: D::Dir,
}

/// The directory of a level of a mailbox name. It is not kept open: an account may have more mailboxes than there are
/// descriptors.
pub(super) struct LevelDir {
    /// The mailbox's name; `None`: the directory's name is none that a level has.
    pub(super) name: Option<MailboxName>,
    /// From the user's directory: `mailboxes/INBOX/children/x`.
    pub(super) path: String,
}

/// A level that is open.
pub(super) struct OpenLevel<D: Disk> {
    /// The directory above, and the name there.
    pub(super) parent: D::Dir,
    pub(super) entry: String,
    pub(super) dir: D::Dir,
}

impl LevelDir {
    /// Opens it. `None`: it is there no more.
    pub(super) async fn open<D: Disk>(&self, disk: &D, user: &D::Dir) -> io::Result<Option<OpenLevel<D>>> {
        let Some((above, entry)) = self.path.rsplit_once('/') else {
            return Ok(None);
        };
        let Some(parent) = open_path(disk, user, above).await? else {
            return Ok(None);
        };
        let dir = found(disk.open_dir(&parent, entry).await)?;
        Ok(dir.map(|dir| OpenLevel {
            parent,
            entry: entry.to_owned(),
            dir,
        }))
    }
}

/// Opens a directory by its path. `None`: it is not there.
pub(super) async fn open_path<D: Disk>(disk: &D, at: &D::Dir, path: &str) -> io::Result<Option<D::Dir>> {
    let mut dir = at.clone();
    for level in path.split('/').filter(|level| !level.is_empty()) {
        match found(disk.open_dir(&dir, level).await)? {
            Some(next) => dir = next,
            None => return Ok(None),
        }
    }
    Ok(Some(dir))
}

/// All domains.
pub(super) async fn domains<D: Disk>(disk: &D) -> io::Result<Vec<DomainDir<D>>> {
    let Some(top) = found(disk.open_dir(disk.root(), "domains").await)? else {
        return Ok(Vec::new());
    };
    let mut all = Vec::new();
    for entry in sorted_dirs(disk, &top).await? {
        if let Some(dir) = found(disk.open_dir(&top, &entry).await)? {
            all.push(DomainDir { entry, dir });
        }
    }
    Ok(all)
}

/// All users of a domain.
pub(super) async fn users<D: Disk>(disk: &D, domain: &DomainDir<D>) -> io::Result<Vec<UserDir<D>>> {
    let Some(top) = found(disk.open_dir(&domain.dir, "users").await)? else {
        return Ok(Vec::new());
    };
    let mut all = Vec::new();
    for entry in sorted_dirs(disk, &top).await? {
        if let Some(dir) = found(disk.open_dir(&top, &entry).await)? {
            all.push(UserDir {
                account: account_of(&domain.entry, &entry),
                path: format!("domains/{}/users/{entry}", domain.entry),
                dir,
            });
        }
    }
    Ok(all)
}

/// All levels of a user's mailboxes, parents first. What lies below a directory that is no level is left out.
pub(super) async fn levels<D: Disk>(disk: &D, user: &D::Dir) -> io::Result<Vec<LevelDir>> {
    let mut all = Vec::new();
    let mut work = vec![(String::new(), "mailboxes".to_owned())];
    while let Some((prefix, above)) = work.pop() {
        let Some(parent) = open_path(disk, user, &above).await? else {
            continue;
        };
        for entry in sorted_dirs(disk, &parent).await? {
            let text = unescape(&entry).map(|level| format!("{prefix}{level}"));
            let name = text.and_then(|text| {
                let name = MailboxName::new(&text).ok()?;
                (name.as_str() == text).then_some(name)
            });
            let path = format!("{above}/{entry}");
            if let Some(name) = &name {
                work.push((format!("{name}/"), format!("{path}/children")));
            }
            all.push(LevelDir { name, path });
        }
    }
    all.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(all)
}

/// Names of the directories in a directory (links to directories count: the store follows them).
async fn sorted_dirs<D: Disk>(disk: &D, dir: &D::Dir) -> io::Result<Vec<String>> {
    let listing = disk.list(dir).await?;
    let dirs = listing.entries.into_iter().filter(|entry| entry.is_dir);
    let mut names: Vec<String> = dirs.map(|entry| entry.name).collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}
