//! A socket in the file system, for programs of this host.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, lchown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::engine::Io;

use super::{BindError, Service, Sockets};

/// Who may connect: the user and the group that rmail runs as.
const MODE: u32 = 0o660;

/// The name of a bound socket; dropping it removes the name, unless somebody else has it by then.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
    /// Another process goes on with it.
    left: AtomicBool,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_path_buf(),
            identity: identity(&fs::symlink_metadata(path)?),
            left: AtomicBool::new(false),
        })
    }

    /// The name stays when this is dropped: another process goes on with the socket.
    pub(crate) fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.left.load(Ordering::Relaxed) {
            return;
        }
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.identity);
        if ours
            && let Err(error) = fs::remove_file(&self.path)
            // One that was bound while we had the rights of root is replaced by the next start.
            && error.kind() != io::ErrorKind::PermissionDenied
        {
            log::warn!(target: "server", "cannot remove {}: {error}", self.path.display());
        }
    }
}

/// Binds a socket of the file system. One that a dead process has left is replaced.
///
/// # Errors
/// The name is taken by a socket that is in use or by another file, or cannot be made.
pub fn bind_local(service: Service, path: &Path) -> Result<(Io<UnixListener>, SocketFile), BindError> {
    bind_local_with(service, path, &mut Sockets::default())
}

/// The same; a socket that is there already is taken.
///
/// # Errors
/// As [`bind_local`].
pub fn bind_local_with(
    service: Service,
    path: &Path,
    sockets: &mut Sockets,
) -> Result<(Io<UnixListener>, SocketFile), BindError> {
    let bound = match sockets.find_local(path) {
        Some(socket) => Io::new(socket).and_then(|socket| Ok((socket, SocketFile::of(path)?))),
        None => open(path),
    };
    bound.map_err(|source| BindError::new(service, path.display().to_string(), source))
}

/// Binds a socket in a directory of root, such as `/run`, and gives it to a user and a group: for a process that is about
/// to become that user. In any other directory nothing is done: the user, who may have the directory, binds it.
///
/// # Errors
/// As [`bind_local`].
pub(crate) fn bind_local_early(
    service: Service,
    path: &Path,
    (user, group): (u32, u32),
    sockets: &mut Sockets,
) -> Result<(), BindError> {
    let mut bind_and_give = || {
        if let Some(there) = sockets.find_local(path) {
            return sockets.add_local(there);
        }
        // Where others may write they could have root change what it does not mean to.
        let found = fs::metadata(path.parent().unwrap_or(path))?;
        if found.uid() != 0 || found.mode() & 0o022 != 0 {
            return Ok(());
        }
        let listener = bind(path)?;
        lchown(path, Some(user), Some(group))?;
        sockets.add_local(listener)
    };
    bind_and_give().map_err(|source| BindError::new(service, path.display().to_string(), source))
}

fn open(path: &Path) -> io::Result<(Io<UnixListener>, SocketFile)> {
    let listener = bind(path)?;
    let file = SocketFile::of(path)?;
    Ok((Io::new(listener)?, file))
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    remove_stale(path)?;
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(MODE))?;
    Ok(listener)
}

/// A socket on which nobody listens goes; anything else stays, and is in the way.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

fn identity(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_for_its_group_replaces_a_dead_one_and_goes_with_its_owner() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("lmtp");
        // Dropping a listener leaves its name behind, as a killed process does.
        drop(UnixListener::bind(&path).expect("bound"));
        let (listener, file) = bind_local(Service::Lmtp, &path).expect("a dead one is replaced");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        let taken = bind_local(Service::Lmtp, &path).expect_err("in use").to_string();
        assert!(
            taken.contains("lmtp") && taken.contains("another program"),
            "{taken}"
        );
        UnixStream::connect(&path).expect("the first still listens");
        drop((listener, file));
        assert!(!path.exists());

        fs::write(&path, "precious").expect("written");
        bind_local(Service::Lmtp, &path).expect_err("not a socket");
        assert_eq!(fs::read_to_string(&path).expect("still there"), "precious");
    }
}
