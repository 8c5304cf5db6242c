//! Where an export goes: it is made beside its place, and gets its name when it is whole.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

/// A file or directory that is being made. Dropped before it is whole, it goes.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    temporary: PathBuf,
    parent: PathBuf,
    force: bool,
    is_dir: bool,
    whole: bool,
}

impl Place {
    /// For a file, which is returned open.
    pub(super) fn file(path: &Path, force: bool) -> io::Result<(Self, fs::File)> {
        let place = Self::new(path, force, false)?;
        if !force && path.symlink_metadata().is_ok() {
            return Err(exists("it is there already; --force replaces it"));
        }
        let file = new_file(&place.temporary)?;
        Ok((place, file))
    }

    /// For a directory, with its path for now.
    pub(super) fn dir(path: &Path, force: bool) -> io::Result<(Self, PathBuf)> {
        let place = Self::new(path, force, true)?;
        let empty = match fs::read_dir(path) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(error),
        };
        if !force && !empty {
            return Err(exists("it is not empty; --force keeps what is there beside it"));
        }
        new_dir(&place.temporary)?;
        let temporary = place.temporary.clone();
        Ok((place, temporary))
    }

    fn new(path: &Path, force: bool, is_dir: bool) -> io::Result<Self> {
        let name = path
            .file_name()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "its last part is no name"))?;
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".rmail-{}.tmp", std::process::id()));
        Ok(Self {
            path: path.to_path_buf(),
            temporary: parent.join(temporary),
            parent: parent.to_path_buf(),
            force,
            is_dir,
            whole: false,
        })
    }

    /// Gives it its name. What it consists of has been synced.
    pub(super) fn commit(mut self) -> io::Result<()> {
        if self.is_dir && self.force {
            self.put_aside()?;
        }
        let replace = self.is_dir || self.force;
        let flags = if replace {
            RenameFlags::empty()
        } else {
            RenameFlags::NOREPLACE
        };
        match rustix::fs::renameat_with(CWD, &self.temporary, CWD, &self.path, flags) {
            // A file system without that: it was not there when we began.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => fs::rename(&self.temporary, &self.path)?,
            done => done?,
        }
        self.whole = true;
        fs::File::open(&self.parent)?.sync_all()
    }

    /// Keeps a directory that is there under another name, unless it is empty.
    fn put_aside(&self) -> io::Result<()> {
        if fs::read_dir(&self.path).map_or(true, |mut entries| entries.next().is_none()) {
            return Ok(());
        }
        for number in 1.. {
            let mut aside = self.path.clone().into_os_string();
            aside.push(format!(".old-{number}"));
            match rustix::fs::renameat_with(CWD, &self.path, CWD, &aside, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST | Errno::NOTEMPTY) => {}
                done => return Ok(done?),
            }
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.whole {
            // A failure leaves something that is seen to be temporary.
            let _ = match self.is_dir {
                true => fs::remove_dir_all(&self.temporary),
                false => fs::remove_file(&self.temporary),
            };
        }
    }
}

fn exists(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, why)
}

/// A file that only its owner reads; it must not be there.
pub(super) fn new_file(path: &Path) -> io::Result<fs::File> {
    fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// A directory that only its owner reads.
pub(super) fn new_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(path)
}

/// A small file with these octets.
pub(super) fn write_file(path: &Path, octets: &[u8]) -> io::Result<()> {
    use io::Write as _;
    new_file(path)?.write_all(octets)
}

/// All of the file system that this lies on, to disk.
pub(super) fn sync_all(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(fs::File::open(path)?)?)
}
