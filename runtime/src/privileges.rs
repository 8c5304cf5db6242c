//! Giving up the rights of root: once the ports are bound, a server needs nothing but its own files.
//!
//! The system keeps rights per thread, and what a thread starts has its rights: they are given up while there is one thread.

mod settle;

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

use rustix::fs::{Access, Gid, Uid};
use rustix::process::{getegid, geteuid, getgid, getuid};

pub(crate) use settle::make_root;

/// What is in it is gone with the system, by its two names.
const RUN: [&str; 2] = ["/run", "/var/run"];

/// Who a process is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    name: String,
    user: u32,
    group: u32,
    /// All groups, `group` among them.
    groups: Vec<u32>,
}

/// Why it is not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Denied {
    #[error("user: there is no user {0}; `useradd --system --no-create-home {0}` makes one")]
    NoUser(String),
    #[error("group: there is no group {0}; `groupadd --system {0}` makes one")]
    NoGroup(String),
    #[error("user: only root can become {0}: start it as root or as {0}, or take the key away")]
    NotRoot(String),
    #[error("the rights of root cannot be given up while there are {0} threads")]
    Threads(usize),
    #[error("cannot become {0}: {1}")]
    System(String, io::Error),
    #[error("the rights of root could be had back; nothing was started")]
    NotGone,
    #[error("mail_root {path} belongs to root and cannot be given to {user}: {source}")]
    Give {
        path: String,
        user: String,
        source: io::Error,
    },
    #[error("mail_root {path} is not accessible for {user}: {source}; `chown -R {user} {path}` makes it so")]
    Closed {
        path: String,
        user: String,
        source: io::Error,
    },
}

impl Identity {
    /// A user by name or number, and a group; without one the user's own.
    pub(crate) fn find(user: &str, group: Option<&str>) -> Result<Self, Denied> {
        let users = database("passwd", user);
        let (name, user, own) = passwd(&users, user).ok_or_else(|| Denied::NoUser(user.to_owned()))?;
        let groups = fs::read_to_string("/etc/group").unwrap_or_default();
        let group = match group {
            None => own,
            Some(group) => group_number(&database("group", group), group)
                .ok_or_else(|| Denied::NoGroup(group.to_owned()))?,
        };
        let mut all = memberships(&groups, &name);
        all.push(group);
        all.sort_unstable();
        all.dedup();
        Ok(Self {
            name,
            user,
            group,
            groups: all,
        })
    }

    /// Whose a file is: with its group, and the others that the system knows the user in.
    fn of(found: &fs::Metadata) -> Self {
        let (user, group) = (found.uid(), found.gid());
        match Self::find(&user.to_string(), Some(&group.to_string())) {
            Ok(known) if !is_number(&known.name) => known,
            _ => Self {
                name: format!("user {user}"),
                user,
                group,
                groups: vec![group],
            },
        }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The number of the user.
    pub(crate) fn user(&self) -> u32 {
        self.user
    }

    /// The number of the group.
    pub(crate) fn group(&self) -> u32 {
        self.group
    }

    /// Whether this process is that already.
    pub(crate) fn is_ours(&self) -> bool {
        getuid().as_raw() == self.user && geteuid().as_raw() == self.user
    }

    /// A file or directory that we have made is theirs. Nothing happens without the rights of root.
    pub(crate) fn give(&self, path: &Path) -> io::Result<()> {
        if !geteuid().is_root() {
            return Ok(());
        }
        std::os::unix::fs::lchown(path, Some(self.user), Some(self.group))
    }

    /// Makes a directory in `/run`, where nothing outlives the system, and gives it to this user. Nothing happens where it is
    /// there, for one elsewhere, and without the rights of root.
    pub(crate) fn make_volatile(&self, directory: &Path) -> io::Result<()> {
        let is_volatile = RUN.iter().any(|run| directory.parent() == Some(Path::new(run)));
        if !geteuid().is_root() || !is_volatile {
            return Ok(());
        }
        match fs::create_dir(directory) {
            Ok(()) => {
                fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
                self.give(directory)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// This process is that from now on, for good.
    pub(crate) fn assume(&self) -> Result<(), Denied> {
        if self.is_ours() {
            return Ok(());
        }
        if !geteuid().is_root() {
            return Err(Denied::NotRoot(self.name.clone()));
        }
        let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
        if threads != 1 {
            return Err(Denied::Threads(threads));
        }
        let failed = |error: rustix::io::Errno| Denied::System(self.name.clone(), error.into());
        let groups: Vec<Gid> = self.groups.iter().map(|group| Gid::from_raw(*group)).collect();
        rustix::thread::set_thread_groups(&groups).map_err(failed)?;
        let group = Gid::from_raw(self.group);
        rustix::thread::set_thread_res_gid(group, group, group).map_err(failed)?;
        let user = Uid::from_raw(self.user);
        rustix::thread::set_thread_res_uid(user, user, user).map_err(failed)?;
        rustix::thread::set_no_new_privs(true).map_err(failed)?;
        let back = rustix::thread::set_thread_res_uid(None, Uid::ROOT, None).is_ok();
        let group_back = rustix::thread::set_thread_res_gid(None, Gid::ROOT, None).is_ok() && self.group != 0;
        let became = getuid() == user && geteuid() == user && getgid() == group && getegid() == group;
        match back || group_back || !became {
            true => Err(Denied::NotGone),
            false => Ok(()),
        }
    }

    /// Whether this process, which is that user, can work in a mail_root.
    pub(crate) fn check(&self, root: &Path) -> Result<(), Denied> {
        let all = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
        rustix::fs::access(root, all).map_err(|source| Denied::Closed {
            path: root.display().to_string(),
            user: self.name.clone(),
            source: source.into(),
        })
    }
}

/// Root works on a mail_root as whom it belongs to: what it makes there is for the server to read. Nothing happens for
/// others, and where it belongs to root or is not there yet.
pub(crate) fn become_owner(root: &Path) -> Result<(), Denied> {
    match owner(root) {
        Some(owner) => owner.assume(),
        None => Ok(()),
    }
}

/// Whom a mail_root belongs to, if we are root and it is another's.
pub(crate) fn owner(root: &Path) -> Option<Identity> {
    let found = fs::metadata(root).ok()?;
    (geteuid().is_root() && found.uid() != 0).then(|| Identity::of(&found))
}

/// The lines of a database of the system: its file, or what the system's other sources know of a name.
fn database(which: &str, name: &str) -> String {
    let file = fs::read_to_string(format!("/etc/{which}")).unwrap_or_default();
    let has = |line: &str| line.split(':').next() == Some(name);
    if file.lines().any(has) || is_number(name) || name.starts_with('-') {
        return file;
    }
    let asked = Command::new("getent").args([which, name]).output();
    asked.map_or(file, |output| {
        String::from_utf8_lossy(&output.stdout).into_owned()
    })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit())
}

/// Name, number and group of a user in the lines of `passwd(5)`.
fn passwd(lines: &str, wanted: &str) -> Option<(String, u32, u32)> {
    let entry = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let user = fields.nth(1)?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        Some((name, user, group))
    };
    let mut entries = lines.lines().filter_map(entry);
    match wanted.parse::<u32>() {
        Ok(number) if is_number(wanted) => {
            let known = entries.find(|(_, user, _)| *user == number);
            Some(known.unwrap_or_else(|| (wanted.to_owned(), number, number)))
        }
        _ => entries.find(|(name, ..)| name == wanted),
    }
}

/// The number of a group in the lines of `group(5)`.
fn group_number(lines: &str, wanted: &str) -> Option<u32> {
    if is_number(wanted) {
        return wanted.parse().ok();
    }
    let line = lines
        .lines()
        .find(|line| line.split(':').next() == Some(wanted))?;
    line.split(':').nth(2)?.parse().ok()
}

/// Groups that have a user among their members.
fn memberships(lines: &str, user: &str) -> Vec<u32> {
    let member_of = |line: &str| {
        let mut fields = line.split(':').skip(2);
        let number = fields.next()?.parse().ok()?;
        let members = fields.next()?;
        members
            .split(',')
            .any(|member| member.trim() == user)
            .then_some(number)
    };
    lines.lines().filter_map(member_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str =
        "root:x:0:0:root:/root:/bin/sh\nrmail:x:990:980::/var/lib/rmail:/usr/sbin/nologin\nbroken\n";
    const GROUPS: &str = "root:x:0:\nrmail:x:980:\nssl-cert:x:115:postgres,rmail\nadm:x:4:syslog\n";

    #[test]
    fn users_and_groups_are_found_by_name_and_number() {
        assert_eq!(passwd(USERS, "rmail"), Some(("rmail".to_owned(), 990, 980)));
        assert_eq!(passwd(USERS, "990"), Some(("rmail".to_owned(), 990, 980)));
        assert_eq!(passwd(USERS, "7001"), Some(("7001".to_owned(), 7001, 7001)));
        assert_eq!(passwd(USERS, "nobody"), None);
        assert_eq!(passwd(USERS, "+0"), None, "no number that only looks like one");
        assert_eq!(group_number(GROUPS, "ssl-cert"), Some(115));
        assert_eq!(group_number(GROUPS, "12"), Some(12));
        assert_eq!(group_number(GROUPS, "none"), None);
        assert_eq!(memberships(GROUPS, "rmail"), [115]);
    }

    #[test]
    fn who_is_not_there_is_named_with_what_to_do() {
        let error = Identity::find("no-such-user-here", None)
            .expect_err("unknown")
            .to_string();
        assert!(
            error.contains("no-such-user-here") && error.contains("useradd"),
            "{error}"
        );
    }

    #[test]
    fn who_is_that_user_already_gives_nothing_up() {
        let ours = Identity::find(&getuid().as_raw().to_string(), None).expect("a number");
        assert!(ours.is_ours());
        ours.assume().expect("nothing to do");
    }
}
