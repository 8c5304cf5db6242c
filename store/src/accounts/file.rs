//! Small JSON files: read with a place for every mistake, replaced whole.

use std::io;

use serde::de::DeserializeOwned;

use crate::disk::{Disk, Mode, Stat};

/// Octets of a JSON file that we read.
pub(super) const MAX: u64 = 1 << 20;

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    size: u64,
    mtime: i128,
    ctime: i128,
}

impl From<Stat> for Stamp {
    fn from(stat: Stat) -> Self {
        Self {
            inode: stat.inode,
            size: stat.size,
            mtime: stat.mtime,
            ctime: stat.ctime,
        }
    }
}

/// What a file holds, or what is wrong with it: `field: reason at line 1 column 2`.
pub(super) type Parsed<T> = Result<T, String>;

/// Reads a file, and what it was when it was read.
pub(super) async fn read<D: Disk, T: DeserializeOwned>(
    disk: &D,
    dir: &D::Dir,
    name: &str,
) -> io::Result<(Stamp, Parsed<T>)> {
    let file = disk.open(dir, name, Mode::Read).await?;
    let stat = disk.stat(&file).await?;
    if stat.is_dir || stat.size > MAX {
        return Ok((stat.into(), Err(format!("no file of at most {MAX} octets"))));
    }
    let mut octets = vec![0; usize::try_from(stat.size).unwrap_or_default()];
    let mut at = 0;
    while let Some(rest) = octets.get_mut(at..).filter(|rest| !rest.is_empty()) {
        match disk.read_at(&file, rest, at as u64).await? {
            0 => break,
            n => at += n,
        }
    }
    octets.truncate(at);
    Ok((stat.into(), parse(&octets)))
}

/// Reads JSON; the error names the field, line and column.
fn parse<T: DeserializeOwned>(octets: &[u8]) -> Parsed<T> {
    let mut json = serde_json::Deserializer::from_slice(octets);
    let value: T = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if path == "." || path == "?" {
            inner.to_string()
        } else {
            format!("{path}: {inner}")
        }
    })?;
    json.end().map_err(|error| error.to_string())?;
    Ok(value)
}

/// Replaces a file: written beside it, synced, renamed over it, directory synced. At any moment, and after a crash,
/// one of the two is there. The caller holds a lock, for the temporary name is always the same.
pub(super) async fn replace<D: Disk>(disk: &D, dir: &D::Dir, name: &str, octets: &[u8]) -> io::Result<()> {
    let temporary = format!(".{name}.tmp");
    unlink(disk, dir, &temporary).await?;
    let file = disk.open(dir, &temporary, Mode::CreateNew).await?;
    let written = async {
        disk.write_at(&file, octets, 0).await?;
        disk.sync(&file).await?;
        disk.replace(dir, &temporary, name).await
    };
    if let Err(error) = written.await {
        // The error is what counts; the next attempt removes the file first.
        unlink(disk, dir, &temporary).await.ok();
        return Err(error);
    }
    disk.sync_dir(dir).await
}

/// Removes a name, if it is there.
pub(super) async fn unlink<D: Disk>(disk: &D, dir: &D::Dir, name: &str) -> io::Result<()> {
    match disk.unlink(dir, name).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmail_core::directory::User;

    #[test]
    fn mistakes_have_a_place() {
        for (text, message) in [
            ("", "EOF while parsing a value at line 1 column 0"),
            (
                "{\n \"quota_mb\": \"5\"}",
                "quota_mb: invalid type: string \"5\", expected u64 at line 2 column 16",
            ),
            ("{} x", "trailing characters at line 1 column 4"),
        ] {
            assert_eq!(parse::<User>(text.as_bytes()), Err(message.to_owned()));
        }
        assert_eq!(parse::<User>(b" {} \n"), Ok(User::default()));
    }
}
