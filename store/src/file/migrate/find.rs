//! Where mailboxes of the earliest layout lie.

use rmail_core::addr::AccountName;
use rmail_core::mailbox::MailboxName;

use crate::disk::Disk;
use crate::error::Result;
use crate::escape::account_of;
use crate::file::FileStore;
use crate::file::escape::unescape;
use crate::file::io::{During as _, found, settle_dir};
use crate::file::tree::dir_name;

use super::super::account::AccountHold;
use super::{Event, Tell, problem};

/// Levels of directories below a user's that are looked at: each level of a name with its `children`.
const MAX_DEPTH: usize = 2 * MailboxName::MAX_LEVELS + 1;

/// Directories of today's layout, in which nothing old lies.
const OWN: [&str; 4] = ["shards", "migrating", "deleted", ".tmp"];

/// A directory with an `index.json`.
pub(super) struct Source<D: Disk> {
    pub(super) account: AccountName,
    pub(super) name: MailboxName,
    pub(super) dir: D::Dir,
}

impl<D: Disk> Source<D> {
    pub(super) fn label(&self) -> String {
        format!("{}/{}", self.account, self.name)
    }
}

impl<D: Disk> FileStore<D> {
    /// All of them, those above before those below.
    pub(super) async fn find_old(&self, tell: Tell<'_>) -> Result<Vec<Source<D>>> {
        let mut sources = Vec::new();
        let Some(domains) = self.sub_dir(self.disk().root(), "domains").await? else {
            return Ok(sources);
        };
        for domain in self.dirs_in(&domains).await? {
            let Some(dir) = self.sub_dir(&domains, &domain).await? else {
                continue;
            };
            let Some(users) = self.sub_dir(&dir, "users").await? else {
                continue;
            };
            for user in self.dirs_in(&users).await? {
                let Some(dir) = self.sub_dir(&users, &user).await? else {
                    continue;
                };
                let before = sources.len();
                let account = account_of(&domain, &user);
                self.find_in(
                    account.as_ref(),
                    &format!("{domain}/{user}"),
                    dir,
                    &mut sources,
                    tell,
                )
                .await?;
                if let Some(new) = sources.get_mut(before..) {
                    new.sort_by(|a, b| a.name.cmp(&b.name));
                }
            }
        }
        Ok(sources)
    }

    async fn find_in(
        &self,
        account: Option<&AccountName>,
        label: &str,
        user: D::Dir,
        sources: &mut Vec<Source<D>>,
        tell: Tell<'_>,
    ) -> Result<()> {
        let mut work = vec![(user, Vec::<String>::new())];
        while let Some((dir, path)) = work.pop() {
            let listing = self.disk().list(&dir).await;
            let entries = listing
                .during(|| format!("list {label}/{}", path.join("/")))?
                .entries;
            let has_index = entries
                .iter()
                .any(|entry| !entry.is_dir && entry.name == "index.json");
            if has_index {
                match (account, name_of(&path)) {
                    (Some(account), Ok(name)) => sources.push(Source {
                        account: account.clone(),
                        name,
                        dir: dir.clone(),
                    }),
                    (None, _) => {
                        let why = "its directories are not those of an account: the domain in lower case (as A-label), \
                                   the user in lower case";
                        tell(problem(format!("{label}/{}", path.join("/")), &why));
                    }
                    (_, Err(why)) => tell(problem(format!("{label}/{}", path.join("/")), &why)),
                }
            }
            for entry in entries {
                let own = OWN.contains(&entry.name.as_str());
                if entry.is_dir && !own && path.len() < MAX_DEPTH {
                    if let Some(below) = self.sub_dir(&dir, &entry.name).await? {
                        let mut path = path.clone();
                        path.push(entry.name);
                        work.push((below, path));
                    }
                } else if entry.is_dir && !own {
                    tell(Event::Note(format!(
                        "{label}/{}/{} lies too deep to be looked at",
                        path.join("/"),
                        entry.name
                    )));
                }
            }
        }
        Ok(())
    }

    async fn sub_dir(&self, at: &D::Dir, name: &str) -> Result<Option<D::Dir>> {
        let opened = self.disk().open_dir(at, name).await;
        match found(opened) {
            // A file, or a link that leads to one.
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => Ok(None),
            other => other.during(|| format!("open {name}")),
        }
    }

    async fn dirs_in(&self, dir: &D::Dir) -> Result<Vec<String>> {
        let listing = self
            .disk()
            .list(dir)
            .await
            .during(|| "list the mail_root".to_owned())?;
        let dirs = listing.entries.into_iter().filter(|entry| entry.is_dir);
        let mut names: Vec<String> = dirs.map(|entry| entry.name).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The directory in which a mailbox of this name lies today; made with all above it if it is not there.
    pub(super) async fn target_dir(&self, held: &AccountHold<D>, name: &MailboxName) -> Result<D::Dir> {
        let label = || format!("make the directory of {name}");
        let mut dir = settle_dir(self.disk(), &held.dir, "mailboxes")
            .await
            .during(label)?;
        for (depth, level) in name.levels().enumerate() {
            if depth > 0 {
                dir = settle_dir(self.disk(), &dir, "children").await.during(label)?;
            }
            dir = settle_dir(self.disk(), &dir, &dir_name(level)?)
                .await
                .during(label)?;
        }
        Ok(dir)
    }
}

/// The mailbox of a path below a user's directory.
fn name_of(path: &[String]) -> core::result::Result<MailboxName, String> {
    let path = match path.split_first() {
        Some((first, rest)) if first == "mailboxes" => rest,
        _ => path,
    };
    let levels = path.iter().enumerate();
    let levels: Vec<String> = levels
        .filter(|(at, level)| *at == 0 || *level != "children")
        .map(|(_, level)| unescape(level).unwrap_or_else(|| level.clone()))
        .collect();
    MailboxName::new(&levels.join("/")).map_err(|error| format!("it is no mailbox name: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_by_path() {
        let of = |path: &str| {
            let path: Vec<String> = path.split('/').map(ToOwned::to_owned).collect();
            name_of(&path).map(|name| name.to_string())
        };
        assert_eq!(of("mailboxes/INBOX").as_deref(), Ok("INBOX"));
        assert_eq!(of("inbox").as_deref(), Ok("INBOX"));
        assert_eq!(of("mailboxes/a/children/b").as_deref(), Ok("a/b"));
        assert_eq!(of("mailboxes/a/b").as_deref(), Ok("a/b"));
        assert_eq!(of("children").as_deref(), Ok("children"));
        assert_eq!(of("mailboxes/%=.hidden").as_deref(), Ok(".hidden"));
        assert_eq!(of("mailboxes/50% off").as_deref(), Ok("50% off"));
        assert!(of("mailboxes").is_err());
    }
}
