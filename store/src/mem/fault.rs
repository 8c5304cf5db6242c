//! Calls that are counted, recorded, and made to fail.

use std::collections::BTreeMap;
use std::io;

use super::world::errno;

/// What is done to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails with this errno and does nothing.
    Errno(i32),
    /// A write or append fails with this errno after half of its octets; other calls do nothing.
    Short(i32),
    /// The process dies before it: this and all later calls fail, and its locks are free.
    Crash,
}

/// The kinds of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "named as the functions of `Disk`")]
pub enum Call {
    OpenDir,
    MakeDir,
    RemoveDir,
    List,
    CreateUnnamed,
    LinkUnnamed,
    Link,
    Rename,
    Replace,
    Unlink,
    Open,
    ReadAt,
    WriteAt,
    Append,
    Stat,
    StatDir,
    StatAt,
    StatLink,
    SetMode,
    Sync,
    SyncDir,
    SyncFs,
    Lock,
    Pause,
    Free,
}

impl Call {
    /// Whether a disk that can only be read refuses it; [`Self::Open`] depends on how.
    pub(super) fn writes(self) -> bool {
        let changes = matches!(
            self,
            Self::RemoveDir | Self::Rename | Self::Replace | Self::Unlink | Self::SetMode
        );
        changes || self.needs_room()
    }

    /// Whether a full disk refuses it.
    pub(super) fn needs_room(self) -> bool {
        matches!(
            self,
            Self::MakeDir
                | Self::CreateUnnamed
                | Self::LinkUnnamed
                | Self::Link
                | Self::WriteAt
                | Self::Append
        )
    }
}

/// A call that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The number of the process.
    pub process: u64,
    /// The how-manieth call of the process it was, from 1.
    pub number: u64,
    /// What.
    pub call: Call,
    /// The name that it was about; for calls on handles `#` and the inode.
    pub on: String,
}

/// A process's calls, and what is to happen to them.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pub(super) calls: u64,
    pub(super) dead: bool,
    pub(super) faults: BTreeMap<u64, Fault>,
    /// The present call is to be cut short.
    pub(super) short: Option<i32>,
}

impl Plan {
    /// Counts a call.
    pub(super) fn enter(&mut self) -> io::Result<u64> {
        if self.dead {
            return Err(io::Error::other("the process is dead"));
        }
        self.calls += 1;
        Ok(self.calls)
    }

    /// What becomes of the call with this number.
    pub(super) fn verdict(&mut self, number: u64) -> io::Result<()> {
        self.short = None;
        match self.faults.remove(&number) {
            None => Ok(()),
            Some(Fault::Errno(number)) => Err(errno(number)),
            Some(Fault::Short(number)) => {
                self.short = Some(number);
                Ok(())
            }
            Some(Fault::Crash) => {
                self.dead = true;
                Err(io::Error::other("the process is dead"))
            }
        }
    }
}
