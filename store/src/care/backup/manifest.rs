//! The file `manifest.jsonl` of a backup: one JSON object a line, in the order in which the backup was made.
//!
//! ```text
//! {"kind":"backup","version":1,"name":"2026-11-21T10-00-00Z","users":[],"secrets":true}
//! {"kind":"file","path":"domains/example.com/domain.json","size":2,"sha256":"…"}
//! {"kind":"account","account":"alice@example.com","path":"domains/example.com/users/alice"}
//! {"kind":"mailbox","account":"alice@example.com","name":"INBOX","path":"domains/…/mailboxes/INBOX","uid_validity":7,
//!  "id":7,"uid_next":12,"modseq":40,"keywords":["$Forwarded"],"special_use":[],"messages":2,"octets":99}
//! {"kind":"message","path":"shards/000000/0000000001.….eml","size":55,"sha256":"…","source":[2049,77,1700000000000000000]}
//! {"kind":"problem","path":"…","error":"…"}
//! {"kind":"end","lines":7,"sha256":"…"}
//! ```
//!
//! * Paths are from the backup's own directory; those of messages from the mailbox's, whose line comes before them.
//! * A message's name says its UID, flags, keywords and dates, as in the store.
//! * `source` is device, inode and time of last change of content of the stored file: the next backup knows by it that it
//!   need not be read again.
//! * A `problem` is something that could not be backed up.
//! * The last line has the number of lines before it, and the SHA-256 of all octets before it. It is written when all
//!   else is on disk. Without it the backup is incomplete.

use std::io;

use rmail_core::addr::AccountName;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::disk::{Disk, Mode};

/// The file's name.
pub const NAME: &str = "manifest.jsonl";

/// The only version.
pub const VERSION: u32 = 1;

/// Octets of the longest line that is read.
const MAX_LINE: usize = 1 << 20;

/// Octets that are written or read at once.
const BLOCK: usize = 256 * 1024;

/// A line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Line {
    /// The first.
    Backup {
        /// [`VERSION`].
        version: u32,
        /// Its directory's name.
        name: String,
        /// Accounts that it was restricted to; empty: all.
        users: Vec<String>,
        /// Whether password hashes and keys are in it.
        secrets: bool,
    },
    /// A file that is no message.
    File {
        /// Where.
        path: String,
        /// Octets.
        size: u64,
        /// Of its octets, in hex.
        sha256: String,
    },
    /// An account begins.
    Account {
        /// Whose.
        account: String,
        /// Where.
        path: String,
    },
    /// A mailbox begins.
    Mailbox(MailboxLine),
    /// A message of the mailbox above.
    Message(MessageLine),
    /// What could not be backed up.
    Problem {
        /// Where.
        path: String,
        /// Why.
        error: String,
    },
    /// The last.
    End {
        /// Lines before it.
        lines: u64,
        /// Of all octets before it, in hex.
        sha256: String,
    },
}

/// A mailbox at the moment of its backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxLine {
    /// Whose.
    pub account: String,
    /// Its name.
    pub name: String,
    /// Where.
    pub path: String,
    /// UIDVALIDITY.
    pub uid_validity: u32,
    /// Its identity.
    pub id: u32,
    /// UIDNEXT.
    pub uid_next: u32,
    /// HIGHESTMODSEQ.
    pub modseq: u64,
    /// Keywords by bit.
    pub keywords: Vec<String>,
    /// As IMAP writes them.
    pub special_use: Vec<String>,
    /// How many messages follow.
    pub messages: u64,
    /// Octets that they have.
    pub octets: u64,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageLine {
    /// From the mailbox's directory.
    pub path: String,
    /// Octets of the file.
    pub size: u64,
    /// Of its octets, in hex.
    pub sha256: String,
    /// Device, inode, and last change of content in nanoseconds since 1970, of the stored file.
    pub source: (u64, u64, i64),
}

impl MailboxLine {
    /// Whether it is this account's.
    #[must_use]
    pub fn is_of(&self, account: &AccountName) -> bool {
        self.account == account.as_str()
    }
}

/// A manifest that is being written.
pub(super) struct Writer<D: Disk> {
    pub(super) file: D::File,
    buffer: Vec<u8>,
    offset: u64,
    lines: u64,
    hash: Sha256,
}

impl<D: Disk> Writer<D> {
    pub(super) async fn create(disk: &D, dir: &D::Dir) -> io::Result<Self> {
        Ok(Self {
            file: disk.open(dir, NAME, Mode::CreateNew).await?,
            buffer: Vec::new(),
            offset: 0,
            lines: 0,
            hash: Sha256::new(),
        })
    }

    pub(super) async fn line(&mut self, disk: &D, line: &Line) -> io::Result<()> {
        let mut octets = serde_json::to_vec(line).map_err(io::Error::other)?;
        octets.push(b'\n');
        self.hash.update(&octets);
        self.lines += 1;
        self.buffer.extend_from_slice(&octets);
        if self.buffer.len() >= BLOCK {
            self.write(disk).await?;
        }
        Ok(())
    }

    async fn write(&mut self, disk: &D) -> io::Result<()> {
        disk.write_at(&self.file, &self.buffer, self.offset).await?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes what is left but the end.
    pub(super) async fn flush(&mut self, disk: &D) -> io::Result<()> {
        self.write(disk).await
    }

    /// Writes the last line, durably.
    pub(super) async fn end(&mut self, disk: &D) -> io::Result<()> {
        let line = Line::End {
            lines: self.lines,
            sha256: hex(&self.hash.clone().finalize()),
        };
        self.line(disk, &line).await?;
        self.write(disk).await?;
        disk.sync(&self.file).await
    }
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// There is none.
    #[error("there is no manifest.jsonl in it")]
    Missing,
    /// It has no end.
    #[error("its manifest has no end: the backup was not finished")]
    Incomplete,
    /// It is not what was written.
    #[error("its manifest is damaged: {0}")]
    Damaged(String),
    /// The disk does not give it.
    #[error("its manifest cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// A manifest that is being read, line by line.
pub(in crate::care) struct Reader<D: Disk> {
    file: D::File,
    block: Vec<u8>,
    /// Where blocks are read to; made once, since to fill it with zeros takes longer than most reads.
    read: Vec<u8>,
    /// Octets of `block` that were taken.
    taken: usize,
    /// Where the next block is read.
    offset: u64,
    lines: u64,
    hash: Sha256,
}

impl<D: Disk> Reader<D> {
    /// Opens the manifest of a backup, reads it to its end, and gives one that stands at the first line.
    pub(in crate::care) async fn open(disk: &D, dir: &D::Dir) -> Result<Self, Broken> {
        let mut reader = Self::unchecked(disk, dir).await?;
        while reader.next(disk).await?.is_some() {}
        reader.seek(0);
        Ok(reader)
    }

    /// The same without a look at the end.
    pub(in crate::care) async fn unchecked(disk: &D, dir: &D::Dir) -> Result<Self, Broken> {
        match disk.open(dir, NAME, Mode::Read).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Broken::Missing),
            file => Ok(Self {
                file: file?,
                block: Vec::new(),
                read: Vec::new(),
                taken: 0,
                offset: 0,
                lines: 0,
                hash: Sha256::new(),
            }),
        }
    }

    /// Where the next line begins.
    pub(in crate::care) fn position(&self) -> u64 {
        self.offset - (self.block.len() - self.taken) as u64
    }

    /// Goes on at a line. From then on nothing is checked against the end.
    pub(in crate::care) fn seek(&mut self, offset: u64) {
        self.block.clear();
        self.taken = 0;
        self.offset = offset;
        self.lines = u64::MAX / 2;
    }

    /// The next line; `None` after the last, if all lines before it are those that were written.
    pub(in crate::care) async fn next(&mut self, disk: &D) -> Result<Option<Line>, Broken> {
        let Some(octets) = self.octets(disk).await? else {
            return Err(Broken::Incomplete);
        };
        let line: Line = serde_json::from_slice(&octets)
            .map_err(|error| Broken::Damaged(format!("line {}: {error}", self.lines + 1)))?;
        if let Line::End { lines, sha256 } = &line {
            let checked = self.lines < u64::MAX / 2;
            let is_right = *lines == self.lines && *sha256 == hex(&self.hash.clone().finalize());
            if checked && !is_right {
                return Err(Broken::Damaged("its hash is another".to_owned()));
            }
            if checked && self.octets(disk).await?.is_some() {
                return Err(Broken::Damaged("there is something after its end".to_owned()));
            }
            return Ok(None);
        }
        if self.lines == 0 && !matches!(line, Line::Backup { version: VERSION, .. }) {
            return Err(Broken::Damaged(format!(
                "its first line is not that of version {VERSION}"
            )));
        }
        self.lines += 1;
        self.hash.update(&octets);
        Ok(Some(line))
    }

    /// The octets of the next line with its end; `None` at the end of the file.
    async fn octets(&mut self, disk: &D) -> Result<Option<Vec<u8>>, Broken> {
        loop {
            let rest = self.block.get(self.taken..).unwrap_or_default();
            if let Some(end) = rest.iter().position(|octet| *octet == b'\n') {
                let line = rest.get(..=end).unwrap_or_default().to_vec();
                self.taken += line.len();
                return Ok(Some(line));
            }
            if rest.len() > MAX_LINE {
                return Err(Broken::Damaged("a line is far too long".to_owned()));
            }
            self.block.drain(..self.taken);
            self.taken = 0;
            if self.read.is_empty() {
                self.read = vec![0; BLOCK];
            }
            let count = disk.read_at(&self.file, &mut self.read, self.offset).await?;
            self.block
                .extend_from_slice(self.read.get(..count).unwrap_or_default());
            self.offset += count as u64;
            if count == 0 {
                // A torn line is no line.
                return Ok(None);
            }
        }
    }
}

/// Lower-case hexadecimal digits.
pub(in crate::care) fn hex(octets: &[u8]) -> String {
    use core::fmt::Write as _;
    let mut text = String::with_capacity(octets.len() * 2);
    for octet in octets {
        let _ = write!(text, "{octet:02x}");
    }
    text
}
