//! A tar archive of an export as a source.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use rmail_core::mailbox::{MailboxName, SpecialUse, Uid, UidValidity};
use rmail_core::time::DateTime;
use rmail_store::Numbering;
use rmail_store::file::escape::unescape;
use rmail_store::transfer::dovecot::decode_subscriptions;
use rmail_store::transfer::tar::{BadTar, Entry, Event, Kind, Reader};
use rmail_store::transfer::{Meta, add_flag, dates};

use super::Failure;
use super::importer::{Importer, Incoming};

/// Octets of the file of subscriptions.
const MAX_SUBSCRIPTIONS: usize = 16 << 20;

impl From<BadTar> for Failure {
    fn from(error: BadTar) -> Self {
        Self(error.to_string())
    }
}

struct Message {
    incoming: Incoming,
    folder: MailboxName,
    label: String,
    meta: Meta,
}

/// What the entry that is being read is.
enum Open {
    Nothing,
    Subscriptions(Vec<u8>),
    Message(Box<Message>),
}

pub(super) fn run(importer: &mut Importer<'_>, path: &Path) -> Result<(), Failure> {
    let unreadable = |error: io::Error| Failure(format!("cannot read {}: {error}", path.display()));
    let mut source: Box<dyn Read> = match path.to_str() {
        Some("-") => Box::new(io::stdin().lock()),
        _ => Box::new(fs::File::open(path).map_err(unreadable)?),
    };
    let mut reader = Reader::default();
    let mut archive = Archive {
        importer,
        open: Open::Nothing,
        subscriptions: Vec::new(),
        next: Vec::new(),
        refused: Vec::new(),
    };
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => reader.push(buffer.get(..count).unwrap_or_default(), &mut |event| {
                archive.take(event)
            })?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
    reader.finish()?;
    archive.end()
}

struct Archive<'a, 'b> {
    importer: &'a mut Importer<'b>,
    open: Open,
    subscriptions: Vec<u8>,
    /// UIDNEXT of the folders.
    next: Vec<(MailboxName, Uid)>,
    /// Folders that cannot be, which was told.
    refused: Vec<String>,
}

impl Archive<'_, '_> {
    fn take(&mut self, event: Event<'_>) -> Result<(), Failure> {
        match event {
            Event::Entry(entry) => self.entry(&entry)?,
            Event::Data(octets) => match &mut self.open {
                Open::Nothing => {}
                Open::Subscriptions(text) => {
                    let room = MAX_SUBSCRIPTIONS.saturating_sub(text.len());
                    text.extend(octets.iter().take(room));
                }
                Open::Message(message) => self.importer.write(&mut message.incoming, octets)?,
            },
            Event::End => match std::mem::replace(&mut self.open, Open::Nothing) {
                Open::Nothing => {}
                Open::Subscriptions(text) => self.subscriptions = text,
                Open::Message(message) => {
                    let Message {
                        incoming,
                        folder,
                        label,
                        meta,
                    } = *message;
                    self.importer.finish(incoming, &folder, &label, meta)?;
                }
            },
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), Failure> {
        let path = entry.path.strip_prefix("./").unwrap_or(&entry.path);
        if path == "subscriptions" && entry.kind == Kind::File {
            self.open = Open::Subscriptions(Vec::new());
            return Ok(());
        }
        let told = entry.records.get("RMAIL.mailbox").cloned();
        let Some(name) = told.or_else(|| folder_of(path, entry.kind)) else {
            if entry.kind == Kind::File {
                let why = "it is in no folder: its path does not begin with mail/";
                self.importer.report().problem(None, path, why);
            }
            return Ok(());
        };
        if self.refused.contains(&name) {
            return Ok(());
        }
        let special: Vec<SpecialUse> = words(entry, "RMAIL.specialuse")
            .filter_map(SpecialUse::from_attribute)
            .collect();
        let Some(folder) = self.importer.folder(&name, &special)? else {
            self.refused.push(name);
            return Ok(());
        };
        self.importer.report().working_on(folder.as_str(), None);
        match entry.kind {
            Kind::Directory => self.numbers(entry, name, &folder),
            Kind::File => {
                // A folder whose numbers were told before has them already.
                if self.importer.keeps_uids() && !self.importer.number(&folder, Numbering::default())? {
                    self.refused.push(name);
                    return Ok(());
                }
                let incoming = self.importer.begin(entry.records.contains_key("RMAIL.uid"))?;
                self.open = Open::Message(Box::new(Message {
                    incoming,
                    folder,
                    label: path.to_owned(),
                    meta: meta(entry, path),
                }));
                Ok(())
            }
            Kind::Other => Ok(()),
        }
    }

    fn numbers(&mut self, entry: &Entry, name: String, folder: &MailboxName) -> Result<(), Failure> {
        if !self.importer.keeps_uids() {
            return Ok(());
        }
        let numbering = Numbering {
            uid_validity: record(entry, "RMAIL.uidvalidity").map(UidValidity),
            uid_next: record(entry, "RMAIL.uidnext").map(Uid),
        };
        if !self.importer.number(folder, numbering)? {
            self.refused.push(name);
        } else if let Some(next) = numbering.uid_next {
            self.next.push((folder.clone(), next));
        }
        Ok(())
    }

    fn end(self) -> Result<(), Failure> {
        for (folder, next) in self.next {
            self.importer.numbered(&folder, Some(next))?;
        }
        let (names, _) = decode_subscriptions(&String::from_utf8_lossy(&self.subscriptions));
        names.iter().try_for_each(|name| self.importer.subscribe(name))
    }
}

/// The folder by an entry's path below `mail/`, where other programs have left out the records.
fn folder_of(path: &str, kind: Kind) -> Option<String> {
    let path = path.strip_prefix("mail/")?;
    let dir = match kind {
        Kind::Directory => path.trim_end_matches('/'),
        _ => path.rsplit_once('/')?.0,
    };
    let levels: Option<Vec<String>> = dir.split('/').map(unescape).collect();
    levels.map(|levels| levels.join("/"))
}

fn meta(entry: &Entry, path: &str) -> Meta {
    let mut meta = Meta {
        uid: record(entry, "RMAIL.uid").map(Uid),
        date: entry
            .records
            .get("RMAIL.date")
            .and_then(|text| dates::decode(text)),
        ..Meta::default()
    };
    if meta.uid.is_none() {
        let name = path.rsplit('/').next().unwrap_or_default();
        let digits = name.strip_suffix(".eml").and_then(|digits| digits.parse().ok());
        meta.uid = digits.filter(|uid| *uid != 0).map(Uid);
    }
    meta.date = meta.date.or(Some(DateTime {
        unix: entry.mtime,
        zone: 0,
    }));
    for word in words(entry, "RMAIL.flags").chain(words(entry, "RMAIL.keywords")) {
        add_flag(&mut meta.flags, word, false);
    }
    meta
}

fn words<'a>(entry: &'a Entry, key: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    let value = entry.records.get(key).map_or("", String::as_str);
    value.split(' ').filter(|word| !word.is_empty())
}

fn record(entry: &Entry, key: &str) -> Option<u32> {
    let value = entry.records.get(key)?.parse().ok();
    value.filter(|value| *value != 0)
}
