//! A Maildir as a source.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rmail_core::mailbox::{Flags, Keyword, MailboxName, Uid};
use rmail_core::time::DateTime;
use rmail_store::Numbering;
use rmail_store::transfer::dovecot::{UidList, decode_keywords, decode_subscriptions};
use rmail_store::transfer::{Meta, add_flag, maildir};

use super::Failure;
use super::importer::Importer;
use crate::clock;

/// Octets of a file that stands beside the messages.
const MAX_FILE: u64 = 1 << 30;

/// Levels of directories that are looked at for folders.
const MAX_DEPTH: usize = MailboxName::MAX_LEVELS;

/// What stands beside the messages of a folder.
struct Beside {
    uids: Option<UidList>,
    dovecot: Vec<Option<Keyword>>,
    rmail: Vec<Option<Keyword>>,
}

pub(super) fn run(importer: &mut Importer<'_>, top: &Path) -> Result<(), Failure> {
    if !is_maildir(top) {
        return Err(Failure(format!(
            "{} is no Maildir: it has neither cur/ nor new/",
            top.display()
        )));
    }
    for (name, dir) in folders(importer, top) {
        folder(importer, &name, &dir)?;
    }
    let text = read_beside(&top.join("subscriptions"))?;
    let (names, bad) = decode_subscriptions(&text.unwrap_or_default());
    for name in names {
        importer.subscribe(&name)?;
    }
    for line in bad {
        let report = importer.report();
        report.problem(None, format!("subscription {line:?}"), "it is no mailbox name");
    }
    Ok(())
}

fn is_maildir(dir: &Path) -> bool {
    dir.join("cur").is_dir() || dir.join("new").is_dir()
}

/// The folders, INBOX first: those of Maildir++ at the top, and Maildirs within directories by their path.
fn folders(importer: &mut Importer<'_>, top: &Path) -> Vec<(String, PathBuf)> {
    let mut found = vec![("INBOX".to_owned(), top.to_path_buf())];
    let mut work = vec![(String::new(), top.to_path_buf(), 0)];
    while let Some((prefix, dir, depth)) = work.pop() {
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) => {
                importer.report().problem(None, dir.display(), error);
                continue;
            }
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let file_name = entry.file_name();
            if !path.is_dir() || ["cur", "new", "tmp"].iter().any(|own| file_name == *own) {
                continue;
            }
            let Some(text) = file_name.to_str() else {
                if is_maildir(&path) {
                    let why = "its name is not UTF-8";
                    importer.report().problem(None, path.display(), why);
                }
                continue;
            };
            let name = match text.starts_with('.') {
                true if prefix.is_empty() => maildir::folder_name(text),
                true => None,
                false => Some(format!("{prefix}{}", maildir::decode_level(text))),
            };
            let Some(name) = name else { continue };
            if is_maildir(&path) {
                found.push((name.clone(), path.clone()));
            }
            // A link may lead back up.
            if !text.starts_with('.') && depth < MAX_DEPTH && !path.is_symlink() {
                work.push((format!("{name}/"), path, depth + 1));
            }
        }
    }
    // Those above come before those below.
    if let Some(rest) = found.get_mut(1..) {
        rest.sort();
    }
    found
}

fn folder(importer: &mut Importer<'_>, name: &str, dir: &Path) -> Result<(), Failure> {
    let Some(folder) = importer.folder(name, &[])? else {
        return Ok(());
    };
    let beside = Beside::read(dir)?;
    let mut uid_next = None;
    if importer.keeps_uids() {
        let uids = beside.uids.as_ref();
        uid_next = uids.and_then(|uids| uids.uid_next);
        let numbering = Numbering {
            uid_validity: uids.map(|uids| uids.uid_validity),
            uid_next,
        };
        if !importer.number(&folder, numbering)? {
            return Ok(());
        }
    }
    let mut files = files(importer, dir, &beside);
    importer.report().working_on(folder.as_str(), Some(files.len()));
    // In the order of UIDs, and of arrival where there are none.
    files.sort_unstable_by(|a, b| {
        (a.uid.is_none(), a.uid, a.time, &a.path).cmp(&(b.uid.is_none(), b.uid, b.time, &b.path))
    });
    let mut numbered = importer.keeps_uids();
    for file in &files {
        if numbered && file.uid.is_none() {
            importer.numbered(&folder, uid_next)?;
            numbered = false;
        }
        message(importer, &folder, file, &beside)?;
    }
    if numbered {
        importer.numbered(&folder, uid_next)?;
    }
    Ok(())
}

struct File {
    path: PathBuf,
    uid: Option<Uid>,
    time: Option<i64>,
}

fn files(importer: &mut Importer<'_>, dir: &Path, beside: &Beside) -> Vec<File> {
    let mut found = Vec::new();
    for sub in ["cur", "new"] {
        let entries = match fs::read_dir(dir.join(sub)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                importer.report().problem(None, dir.join(sub).display(), error);
                continue;
            }
        };
        for entry in entries {
            let path = match entry {
                Ok(entry) => entry.path(),
                Err(error) => {
                    importer.report().problem(None, dir.join(sub).display(), error);
                    break;
                }
            };
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            let name = name.filter(|name| !name.starts_with('.')).unwrap_or_default();
            if name.is_empty() {
                continue;
            }
            let parsed = maildir::parse(&name);
            let uids = beside.uids.as_ref();
            found.push(File {
                uid: uids.and_then(|uids| uids.uids.get(parsed.base)).copied(),
                time: parsed.time,
                path,
            });
        }
    }
    found
}

fn message(
    importer: &mut Importer<'_>,
    folder: &MailboxName,
    file: &File,
    beside: &Beside,
) -> Result<(), Failure> {
    let label = file.path.display();
    let opened = fs::symlink_metadata(&file.path).and_then(|stat| {
        if stat.is_file() {
            fs::File::open(&file.path).map(|open| (open, stat))
        } else {
            Err(io::Error::other("it is no regular file"))
        }
    });
    let (mut open, stat) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            importer.refuse(folder, &label, error);
            return Ok(());
        }
    };
    let name = file.path.file_name().unwrap_or_default().to_string_lossy();
    let parsed = maildir::parse(&name);
    // Its octets with CRLF are its octets: it has CRLF, or was exported as it was stored.
    let exact = parsed.wire == Some(stat.len()) && parsed.octets == parsed.wire;
    let mut incoming = importer.begin(exact)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match open.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => importer.write(&mut incoming, buffer.get(..count).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                importer.refuse(folder, &label, error);
                return Ok(());
            }
        }
    }
    let meta = Meta {
        uid: file.uid,
        flags: beside.flags(&parsed),
        date: Some(parsed.date.unwrap_or_else(|| date(&stat, parsed.time))),
    };
    importer.finish(incoming, folder, &label, meta)
}

/// INTERNALDATE as Dovecot has it, the mtime; the time in the name if that cannot be.
fn date(stat: &fs::Metadata, time: Option<i64>) -> DateTime {
    let seconds = |time: SystemTime| match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).ok(),
        Err(before) => i64::try_from(before.duration().as_secs()).ok().map(|secs| -secs),
    };
    let mtime = stat.modified().ok().and_then(seconds);
    let day_ahead = i64::try_from(clock::unix().secs())
        .unwrap_or(i64::MAX)
        .saturating_add(86_400);
    let plausible = mtime.filter(|mtime| (1..=day_ahead).contains(mtime));
    DateTime {
        unix: plausible.or(time).or(mtime).unwrap_or_default(),
        zone: 0,
    }
}

impl Beside {
    fn read(dir: &Path) -> Result<Self, Failure> {
        let text = |name: &str| read_beside(&dir.join(name));
        let keywords = |name: &str| -> Result<Vec<Option<Keyword>>, Failure> {
            let found = decode_keywords(&text(name)?.unwrap_or_default());
            let end = found.keys().next_back().map_or(0, |last| last + 1);
            Ok((0..end).map(|number| found.get(&number).cloned()).collect())
        };
        Ok(Self {
            uids: text("dovecot-uidlist")?.and_then(|text| UidList::decode(&text)),
            dovecot: keywords("dovecot-keywords")?,
            rmail: keywords("rmail-keywords")?,
        })
    }

    fn flags(&self, name: &maildir::FileName<'_>) -> Flags {
        let mut flags = Flags {
            system: name.system,
            keywords: Vec::new(),
        };
        let names = if name.wide { &self.rmail } else { &self.dovecot };
        for (number, keyword) in names.iter().enumerate() {
            let word = name.keywords.get(number / 64).copied().unwrap_or_default();
            if let Some(keyword) = keyword.as_ref().filter(|_| word >> (number % 64) & 1 == 1) {
                add_flag(&mut flags, keyword.as_str(), false);
            }
        }
        if name.passed {
            add_flag(&mut flags, "$Forwarded", false);
        }
        flags
    }
}

/// A file beside the messages; none if it is not there.
fn read_beside(path: &Path) -> Result<Option<String>, Failure> {
    let failed = |error: io::Error| Failure(format!("cannot read {}: {error}", path.display()));
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(failed)?,
    };
    let mut octets = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut octets).map_err(failed)?;
    Ok(Some(String::from_utf8_lossy(&octets).into_owned()))
}
