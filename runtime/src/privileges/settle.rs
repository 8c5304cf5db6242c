//! A mail_root that root has made or filled is given to the user that the server runs as.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid};
use rustix::process::{geteuid, umask};

use super::{Denied, Identity};
use crate::disk;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Deeper than any mailbox lies.
const MAX_DEPTH: usize = 64;

/// Directories that belong to the system, or to all that is installed.
const OF_THE_SYSTEM: &[&str] = &[
    "/",
    "/etc",
    "/home",
    "/media",
    "/mnt",
    "/opt",
    "/root",
    "/run",
    "/run/lock",
    "/srv",
    "/tmp",
    "/usr/local",
    "/usr/local/bin",
    "/usr/local/etc",
    "/usr/local/lib",
    "/usr/local/libexec",
    "/usr/local/sbin",
    "/usr/local/share",
    "/usr/local/src",
    "/usr/local/var",
    "/var",
    "/var/backups",
    "/var/cache",
    "/var/lib",
    "/var/local",
    "/var/log",
    "/var/mail",
    "/var/opt",
    "/var/spool",
    "/var/spool/mail",
    "/var/tmp",
];

/// The same, with all that lies below.
const WHOLLY_OF_THE_SYSTEM: &[&str] = &[
    "/bin", "/boot", "/dev", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/sbin", "/sys", "/usr",
];

/// What a mail_root that was worked in has at least one of.
const MARKS: &[&str] = &["control", "domains", "queue", "secrets"];

/// What a file system has without anybody's doing.
const OF_A_FILE_SYSTEM: &str = "lost+found";

/// Makes a mail_root, as [`disk::make_root`], whatever the umask is. For a process of one thread.
pub(crate) fn make_root(root: &Path) -> io::Result<()> {
    let before = umask(Mode::WGRP | Mode::WOTH);
    let made = disk::make_root(root);
    umask(before);
    made
}

impl Identity {
    /// Makes a mail_root, and gives one that belongs to root to this user, with all that is in it. As long as its directory
    /// is root's nobody else can have put anything there; it changes hands last. Nothing of the system is given away, nor
    /// what lies on another file system.
    pub(crate) fn settle(&self, root: &Path) -> Result<(), Denied> {
        if !geteuid().is_root() {
            return Ok(());
        }
        self.make_and_give(root).map_err(|source| Denied::Give {
            path: root.display().to_string(),
            user: self.name.clone(),
            source,
        })
    }

    fn make_and_give(&self, root: &Path) -> io::Result<()> {
        make_root(root)?;
        let directory = rustix::fs::open(root, DIRECTORY, Mode::empty())?;
        let found = rustix::fs::fstat(&directory)?;
        if found.st_uid != 0 {
            return Ok(());
        }
        if is_of_the_system(&fs::canonicalize(root)?) {
            return Err(io::Error::other(
                "it is a directory of the system; name one below it that is for mail alone",
            ));
        }
        if let Some(name) = holds_something_else(&directory)? {
            return Err(io::Error::other(format!(
                "it holds {name:?}, and nothing that rmail keeps; name a directory that is for mail alone, or give it with \
                 `chown -R {} {}` if that is what you want",
                self.name,
                root.display()
            )));
        }
        self.give_all(&directory, root, found.st_dev, 0)?;
        let (user, group) = (Uid::from_raw(self.user), Gid::from_raw(self.group));
        Ok(rustix::fs::fchown(&directory, Some(user), Some(group))?)
    }

    fn give_all(&self, directory: &OwnedFd, path: &Path, device: u64, depth: usize) -> io::Result<()> {
        if depth > MAX_DEPTH {
            return Err(rustix::io::Errno::LOOP.into());
        }
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let path = path.join(name.to_string_lossy().as_ref());
            let found = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if found.st_uid == 0 && found.st_dev != device {
                return Err(io::Error::other(format!(
                    "{0} in it lies on another file system; `chown -R {1} {0}` gives that",
                    path.display(),
                    self.name
                )));
            }
            if found.st_dev == device && FileType::from_raw_mode(found.st_mode) == FileType::Directory {
                let inner = rustix::fs::openat(directory, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
                self.give_all(&inner, &path, device, depth + 1)?;
            }
            // Also what has several names: messages do.
            if found.st_uid == 0 {
                let (user, group) = (Uid::from_raw(self.user), Gid::from_raw(self.group));
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                rustix::fs::chownat(directory, name, Some(user), Some(group), flags)?;
            }
        }
        Ok(())
    }
}

/// Whether a path without links names something that is not rmail's alone.
fn is_of_the_system(path: &Path) -> bool {
    let local = path.starts_with("/usr/local");
    OF_THE_SYSTEM.iter().any(|known| path == Path::new(known))
        || WHOLLY_OF_THE_SYSTEM
            .iter()
            .any(|known| path.starts_with(known) && !(local && *known == "/usr"))
}

/// A name in a directory that was never a mail_root.
fn holds_something_else(directory: &OwnedFd) -> io::Result<Option<PathBuf>> {
    let mut other = None;
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        match entry.file_name().to_string_lossy().as_ref() {
            "." | ".." | OF_A_FILE_SYSTEM => {}
            name if MARKS.contains(&name) => return Ok(None),
            name => other = Some(PathBuf::from(name)),
        }
    }
    Ok(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_has_is_not_given_away() {
        for path in [
            "/",
            "/etc",
            "/usr",
            "/usr/share/doc",
            "/home",
            "/var/lib",
            "/proc/1",
            "/dev/shm",
        ] {
            assert!(is_of_the_system(Path::new(path)), "{path}");
        }
        for path in [
            "/var/lib/rmail",
            "/srv/mail",
            "/data",
            "/home/alice/mail",
            "/etc/rmail/mailstore",
            "/usr/local/rmail",
        ] {
            assert!(!is_of_the_system(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn a_directory_with_other_things_is_no_mail_root() {
        let dir = tempfile::tempdir().expect("a directory");
        let other = || {
            let directory = rustix::fs::open(dir.path(), DIRECTORY, Mode::empty()).expect("opened");
            holds_something_else(&directory).expect("read")
        };
        assert_eq!(other(), None);
        fs::create_dir(dir.path().join("lost+found")).expect("made");
        assert_eq!(other(), None);
        fs::write(dir.path().join("passwd"), "").expect("written");
        assert_eq!(other(), Some(PathBuf::from("passwd")));
        fs::create_dir(dir.path().join("domains")).expect("made");
        assert_eq!(other(), None, "it was worked in, whatever else lies there");
    }
}
