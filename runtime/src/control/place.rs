//! Where the sockets lie: the directory, names in it, what dead processes left.
//!
//! A socket's path may have 107 octets only, and a mail_root may be deeper: names are reached through
//! `/proc/self/fd/{directory}/{name}`.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RawMode};
use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};

const DIR: &str = "control";
const SUFFIX: &str = ".sock";
/// Servers with one process id, in as many containers.
const MAX_TAKEN: u32 = 64;
/// Names in a directory that are looked at.
const MAX_NAMES: usize = 1_024;
const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A directory of sockets.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    fd: Arc<OwnedFd>,
    path: PathBuf,
}

/// A bound name; dropping it removes it, unless somebody else has it by then.
#[derive(Debug)]
pub(crate) struct Bound {
    place: Place,
    name: String,
    identity: (u64, u64),
}

impl Place {
    /// The directory of this host's servers, made if it is not there.
    pub(crate) fn make(mail_root: &Path, shared_by_hosts: bool) -> io::Result<Self> {
        let top = Self::make_in(&mail_root.join(DIR))?;
        match shared_by_hosts {
            true => Self::make_in(&top.path.join(host_name())),
            false => Ok(top),
        }
    }

    fn make_in(path: &Path) -> io::Result<Self> {
        match rustix::fs::mkdir(path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let place = Self::open(path)?;
        let mode = rustix::fs::fstat(&place.fd)?.st_mode;
        if mode & RawMode::from(0o077_u16) != 0 {
            rustix::fs::fchmod(&place.fd, Mode::RWXU)?;
        }
        Ok(place)
    }

    fn open(path: &Path) -> io::Result<Self> {
        let fd = rustix::fs::open(path, DIRECTORY, Mode::empty())?;
        Ok(Self {
            fd: Arc::new(fd),
            path: path.to_path_buf(),
        })
    }

    /// Every directory of this host's servers that is there.
    pub(super) fn all(mail_root: &Path) -> io::Result<Vec<Self>> {
        let top = mail_root.join(DIR);
        let mut found = Vec::new();
        for path in [top.join(host_name()), top] {
            match Self::open(&path) {
                Ok(place) => found.push(place),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Names of sockets, in order.
    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd)?.take(MAX_NAMES) {
            let entry = entry?;
            if let Ok(name) = entry.file_name().to_str()
                && name.ends_with(SUFFIX)
            {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Binds the socket of this process. Dead ones are removed before.
    pub(crate) fn bind(&self) -> io::Result<(UnixListener, Bound)> {
        // Nobody else of us takes or removes names meanwhile; the lock goes with the descriptor.
        let lock = Self::open(&self.path)?;
        rustix::io::retry_on_intr(|| rustix::fs::flock(&lock.fd, FlockOperation::LockExclusive))?;
        for name in self.names()? {
            if let Err(error) = self.connect(&name)
                && error.kind() == io::ErrorKind::ConnectionRefused
            {
                self.remove(&name)?;
            }
        }
        let pid = std::process::id();
        for count in 1..=MAX_TAKEN {
            let name = match count {
                1 => format!("{pid}{SUFFIX}"),
                _ => format!("{pid}-{count}{SUFFIX}"),
            };
            match UnixListener::bind(self.reach(&name)) {
                Ok(listener) => {
                    let identity = self.identity(&name)?;
                    rustix::fs::chmod(self.reach(&name), Mode::RUSR | Mode::WUSR)?;
                    let bound = Bound {
                        place: self.clone(),
                        name,
                        identity,
                    };
                    return Ok((listener, bound));
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    /// Connects to a server. Never waits: one whose queue of connections is full is [`io::ErrorKind::WouldBlock`].
    pub(super) fn connect(&self, name: &str) -> io::Result<UnixStream> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(self.reach(name))?)?;
        socket.set_nonblocking(false)?;
        Ok(OwnedFd::from(socket).into())
    }

    fn reach(&self, name: &str) -> PathBuf {
        format!("/proc/self/fd/{}/{name}", self.fd.as_raw_fd()).into()
    }

    fn identity(&self, name: &str) -> io::Result<(u64, u64)> {
        let found = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok((found.st_dev, found.st_ino))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let ours = self.place.identity(&self.name);
        if ours.is_ok_and(|identity| identity == self.identity)
            && let Err(error) = self.place.remove(&self.name)
        {
            log::warn!(target: "server", "cannot remove {}: {error}", self.place.path.join(&self.name).display());
        }
    }
}

/// What the host calls itself, as a file name.
fn host_name() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let name: String = name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    format!("host-{name}")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn names_of_the_dead_go_and_those_of_the_living_stay() {
        let dir = tempfile::tempdir().expect("a directory");
        // Deeper than the path of a socket may be.
        let root = dir.path().join("x".repeat(120));
        fs::create_dir(&root).expect("made");
        let place = Place::make(&root, false).expect("made");
        let mode = fs::metadata(root.join(DIR)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        // Dropping a listener leaves its name behind, as a killed process does.
        drop(UnixListener::bind(place.reach("1.sock")).expect("bound"));
        let (_living, first) = place.bind().expect("bound");
        let (_beside, second) = place.bind().expect("beside the first");
        let pid = std::process::id();
        let names = [format!("{pid}-2.sock"), format!("{pid}.sock")];
        assert_eq!(place.names().expect("listed"), names);
        drop(first);
        assert_eq!(place.names().expect("listed"), names[..1]);
        place.connect(&names[0]).expect("it listens");
        drop(second);
        assert_eq!(place.names().expect("listed"), Vec::<String>::new());
    }

    #[test]
    fn a_directory_that_was_open_to_others_is_closed_and_hosts_have_their_own() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(DIR);
        fs::create_dir(&path).expect("made");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("changed");
        let (_listener, _bound) = Place::make(dir.path(), true)
            .expect("made")
            .bind()
            .expect("bound");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let found = Place::all(dir.path()).expect("opened");
        let names = found.iter().map(|place| place.names().expect("listed").len());
        assert_eq!(names.collect::<Vec<_>>(), [1, 0]);
    }
}
