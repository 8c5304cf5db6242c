//! mbox files as a source: one, or a directory of them.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rmail_core::mailbox::MailboxName;
use rmail_store::file::escape::unescape;
use rmail_store::transfer::dovecot::decode_subscriptions;
use rmail_store::transfer::mbox::{BadMessage, Event, Info, Reader};

use super::Failure;
use super::importer::{Importer, Incoming};

/// Octets of the file of subscriptions.
const MAX_SUBSCRIPTIONS: u64 = 16 << 20;

pub(super) fn run(importer: &mut Importer<'_>, path: &Path) -> Result<(), Failure> {
    let unreadable = |error: io::Error| Failure(format!("cannot read {}: {error}", path.display()));
    if !fs::metadata(path).map_err(unreadable)?.is_dir() {
        return file(importer, "INBOX", path);
    }
    for (name, path) in files(path).map_err(unreadable)? {
        file(importer, &name, &path)?;
    }
    let mut octets = Vec::new();
    if let Ok(file) = fs::File::open(path.join("subscriptions")) {
        let mut file = file.take(MAX_SUBSCRIPTIONS);
        file.read_to_end(&mut octets).map_err(unreadable)?;
    }
    let (names, _) = decode_subscriptions(&String::from_utf8_lossy(&octets));
    names.iter().try_for_each(|name| importer.subscribe(name))
}

/// The mbox files of a directory with the folders that they are: NAME.mbox, and below them NAME.d. Levels above come first.
fn files(top: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    let mut work = vec![(String::new(), top.to_path_buf(), 0)];
    while let Some((prefix, dir, depth)) = work.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let Some(text) = entry.file_name().to_str().map(ToOwned::to_owned) else {
                continue;
            };
            let is_dir = entry.file_type()?.is_dir();
            let suffix = if is_dir { ".d" } else { ".mbox" };
            let level = text.strip_suffix(suffix).and_then(unescape);
            let Some(level) = level else { continue };
            let name = format!("{prefix}{level}");
            if is_dir && depth < MailboxName::MAX_LEVELS {
                work.push((format!("{name}/"), entry.path(), depth + 1));
            } else if !is_dir {
                found.push((name, entry.path()));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The message that is being read.
struct Open {
    exact: bool,
    incoming: Option<Incoming>,
    number: u64,
}

fn file(importer: &mut Importer<'_>, name: &str, path: &Path) -> Result<(), Failure> {
    let Some(folder) = importer.folder(name, &[])? else {
        return Ok(());
    };
    importer.report().working_on(folder.as_str(), None);
    let unreadable = |error: io::Error| Failure(format!("cannot read {}: {error}", path.display()));
    let mut file = fs::File::open(path).map_err(unreadable)?;
    let mut reader = Reader::default();
    let mut open = Open {
        exact: false,
        incoming: None,
        number: 0,
    };
    let mut refused = false;
    let mut uid_next = None;
    let mut take = |event: Event<'_>| -> Result<(), Failure> {
        match event {
            Event::Begin => {
                open = Open {
                    exact: false,
                    incoming: None,
                    number: open.number + 1,
                };
            }
            Event::Exact => open.exact = true,
            Event::Data(octets) => {
                if open.incoming.is_none() {
                    open.incoming = Some(importer.begin(open.exact)?);
                }
                if let Some(incoming) = open.incoming.as_mut().filter(|_| !refused) {
                    importer.write(incoming, octets)?;
                }
            }
            Event::End(info) => {
                if let Ok(info) = &info {
                    uid_next = info.numbering.uid_next.or(uid_next);
                    if importer.keeps_uids() && !refused {
                        refused = !importer.number(&folder, info.numbering)?;
                    }
                }
                if !refused {
                    end(importer, &folder, path, &mut open, info)?;
                }
            }
        }
        Ok(())
    };
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => reader.push(buffer.get(..count).unwrap_or_default(), &mut take)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
    reader.finish(&mut take)?;
    if importer.keeps_uids() && !refused {
        importer.numbered(&folder, uid_next)?;
    }
    Ok(())
}

fn end(
    importer: &mut Importer<'_>,
    folder: &MailboxName,
    path: &Path,
    open: &mut Open,
    info: Result<Info, BadMessage>,
) -> Result<(), Failure> {
    let label = format!("message {} of {}", open.number, path.display());
    let incoming = match open.incoming.take() {
        Some(incoming) => incoming,
        None => importer.begin(open.exact)?,
    };
    match info {
        Ok(info) => importer.finish(incoming, folder, &label, info.meta),
        Err(error) => {
            importer.refuse(folder, &label, error);
            Ok(())
        }
    }
}
