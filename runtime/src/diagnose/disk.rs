//! The disk under mail_root, as the system sees it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use futures_lite::future::block_on;
use rmail_core::diagnose::Id;
use rmail_store::mailstore::MailStore as _;

use super::{Checked, Local, Run, Trouble, ensure};

/// Octets below which there is little room.
const LITTLE: u64 = 200 << 20;
/// Others may read.
const OTHERS_READ: u32 = 0o004;
/// Others or the group may write.
const OTHERS_WRITE: u32 = 0o022;
/// Anybody but the owner may do anything.
const NOT_OWNER: u32 = 0o077;

pub(super) fn run(run: &mut Run<'_>, local: &Local<'_>) {
    run.check(Id::DiskOwner, |_| owner(&local.mail_root));
    run.check(Id::DiskWritable, |_| writable(local));
    run.check(Id::DiskMode, |_| modes(&local.mail_root));
    run.check(Id::DiskSpace, |run| space(run));
    if local.config.tls.enabled {
        run.check(Id::TlsKeyMode, |_| key_modes(&local.keys));
    }
}

fn owner(root: &Path) -> Checked<()> {
    let owner = metadata(root)?.uid();
    let own = rustix::process::geteuid().as_raw();
    ensure(
        own == owner,
        format!("user {owner}, who owns {}", root.display()),
        format!("user {own}"),
    )
}

fn metadata(path: &Path) -> Checked<fs::Metadata> {
    fs::metadata(path).map_err(|error| Trouble::broken(format!("{} to be there", path.display()), error))
}

/// Makes a file, syncs it, and removes it.
fn writable(local: &Local<'_>) -> Checked<()> {
    let root = &local.mail_root;
    let path = root.join(format!(".diagnose-{}", std::process::id()));
    let failed = |error: std::io::Error| Trouble::broken(format!("a file in {}", root.display()), error);
    let written = fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| {
            file.write_all(b"rmail diagnose\n")?;
            file.sync_all()
        });
    let removed = fs::remove_file(&path);
    written.map_err(failed)?;
    removed.map_err(failed)?;
    match &local.files {
        Ok(_) => Ok(()),
        Err(why) => Err(Trouble::broken("a store that can be opened", why)),
    }
}

/// Whoever may write to mail_root has all mail; whoever reads its secrets, too.
fn modes(root: &Path) -> Checked<()> {
    let mut wrong = Vec::new();
    let mode = metadata(root)?.mode();
    if mode & OTHERS_WRITE != 0 {
        wrong.push(format!("{} has mode {:04o}", root.display(), mode & 0o7777));
    }
    let secrets = fs::read_dir(root.join("secrets")).into_iter().flatten().flatten();
    for path in secrets.map(|entry| entry.path()).take(100) {
        let mode = fs::metadata(&path).map_or(0, |found| found.mode());
        if mode & NOT_OWNER != 0 {
            wrong.push(format!("{} has mode {:04o}", path.display(), mode & 0o7777));
        }
    }
    ensure(
        wrong.is_empty(),
        "0700 for mail_root, 0600 for secrets",
        wrong.join("\n"),
    )
}

fn space(run: &Run<'_>) -> Checked<()> {
    let Some(files) = run.files() else {
        return Err(Trouble::skipped("mail_root could not be opened"));
    };
    match block_on(files.store.free())? {
        Some(free) => ensure(
            free.bytes >= LITTLE,
            format!("{} MiB free", LITTLE >> 20),
            format!("{} MiB", free.bytes >> 20),
        ),
        None => Err(Trouble::skipped("the file system does not say")),
    }
}

fn key_modes(keys: &[PathBuf]) -> Checked<()> {
    for path in keys {
        let mode = metadata(path)?.mode();
        let came = format!("{} has mode {:04o}", path.display(), mode & 0o7777);
        // A group of those who may use certificates is usual.
        ensure(mode & (OTHERS_READ | OTHERS_WRITE) == 0, "mode 0600", came)?;
    }
    Ok(())
}
