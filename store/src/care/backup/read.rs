//! Reading files for their hashes, and copying them.

use std::io;

use sha2::{Digest as _, Sha256};

use crate::disk::{Disk, Mode};

use super::manifest::hex;

/// Octets read at once.
const BLOCK: usize = 256 * 1024;

/// Size and SHA-256 of a file.
pub(super) async fn digest<D: Disk>(
    disk: &D,
    file: &D::File,
    buffer: &mut Vec<u8>,
) -> io::Result<(u64, String)> {
    each_block(disk, file, buffer, async |_, _| Ok(())).await
}

/// Copies a file's octets; size and SHA-256 of what was copied.
pub(super) async fn copy<D: Disk>(
    disk: &D,
    from: &D::File,
    to: &D::File,
    buffer: &mut Vec<u8>,
) -> io::Result<(u64, String)> {
    each_block(disk, from, buffer, async |part, offset| {
        disk.write_at(to, part, offset).await
    })
    .await
}

async fn each_block<D: Disk>(
    disk: &D,
    file: &D::File,
    buffer: &mut Vec<u8>,
    mut take: impl AsyncFnMut(&[u8], u64) -> io::Result<()>,
) -> io::Result<(u64, String)> {
    if buffer.len() != BLOCK {
        *buffer = vec![0; BLOCK];
    }
    let (mut hash, mut offset) = (Sha256::new(), 0);
    loop {
        let count = disk.read_at(file, buffer, offset).await?;
        let Some(part) = buffer.get(..count).filter(|part| !part.is_empty()) else {
            return Ok((offset, hex(&hash.finalize())));
        };
        hash.update(part);
        take(part, offset).await?;
        offset += count as u64;
    }
}

/// Writes a new file; its SHA-256. It is not synced.
pub(super) async fn write<D: Disk>(disk: &D, dir: &D::Dir, name: &str, octets: &[u8]) -> io::Result<String> {
    let file = disk.open(dir, name, Mode::CreateNew).await?;
    disk.write_at(&file, octets, 0).await?;
    Ok(hex(&Sha256::digest(octets)))
}
