//! A tar archive as a target.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use rmail_core::mailbox::{MailboxName, SystemFlags};
use rmail_store::file::escape::escape;
use rmail_store::transfer::dates;
use rmail_store::transfer::dovecot::encode_subscriptions;
use rmail_store::transfer::tar::{Entry, Kind, encode, end, pad};

use super::place::Place;
use super::{Folder, Message, Writer};

struct Tar {
    out: BufWriter<Target>,
    place: Option<Place>,
    mailbox: String,
    /// The folder's path.
    path: String,
    size: u64,
}

enum Target {
    File(fs::File),
    Stdout(io::Stdout),
}

impl Write for Target {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(octets),
            Self::Stdout(out) => out.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Stdout(out) => out.flush(),
        }
    }
}

pub(super) fn create(path: &Path, force: bool) -> io::Result<Box<dyn Writer>> {
    let (target, place) = if path.as_os_str() == "-" {
        (Target::Stdout(io::stdout()), None)
    } else {
        let (place, file) = Place::file(path, force)?;
        (Target::File(file), Some(place))
    };
    Ok(Box::new(Tar {
        out: BufWriter::with_capacity(256 * 1024, target),
        place,
        mailbox: String::new(),
        path: String::new(),
        size: 0,
    }))
}

impl Tar {
    fn entry(
        &mut self,
        kind: Kind,
        path: String,
        size: u64,
        mtime: i64,
        records: &[(&str, String)],
    ) -> io::Result<()> {
        let records: BTreeMap<String, String> = records
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| (format!("RMAIL.{key}"), value.clone()))
            .collect();
        self.size = size;
        self.out.write_all(&encode(&Entry {
            kind,
            path,
            size,
            mtime,
            records,
        }))
    }
}

impl Writer for Tar {
    fn folder(&mut self, folder: &Folder<'_>) -> io::Result<()> {
        let levels: Option<Vec<String>> = folder.name.levels().map(escape).collect();
        let levels = levels.ok_or_else(|| io::Error::other(format!("{} is too long a name", folder.name)))?;
        self.mailbox = folder.name.as_str().to_owned();
        self.path = format!("mail/{}/", levels.join("/"));
        let number = |number: Option<u32>| number.map_or_else(String::new, |number| number.to_string());
        let special: Vec<&str> = folder.special.iter().map(|special| special.attribute()).collect();
        let records = [
            ("mailbox", self.mailbox.clone()),
            (
                "uidvalidity",
                number(folder.numbering.uid_validity.map(|value| value.0)),
            ),
            ("uidnext", number(folder.numbering.uid_next.map(|value| value.0))),
            ("specialuse", special.join(" ")),
        ];
        self.entry(Kind::Directory, self.path.clone(), 0, 0, &records)
    }

    fn begin(&mut self, message: &Message) -> io::Result<()> {
        let meta = &message.meta;
        let uid = meta.uid.unwrap_or_default().0;
        let date = meta.date.unwrap_or_default();
        let flags: Vec<&str> = SystemFlags::NAMES
            .iter()
            .filter(|(flag, _)| meta.flags.system.contains(*flag))
            .map(|(_, name)| *name)
            .collect();
        let keywords: Vec<&str> = meta.flags.keywords.iter().map(|word| word.as_str()).collect();
        let records = [
            ("mailbox", self.mailbox.clone()),
            ("uid", uid.to_string()),
            ("date", dates::encode(date)),
            ("flags", flags.join(" ")),
            ("keywords", keywords.join(" ")),
        ];
        let path = format!("{}{uid}.eml", self.path);
        self.entry(Kind::File, path, message.size, date.unix, &records)
    }

    fn data(&mut self, octets: &[u8]) -> io::Result<()> {
        self.out.write_all(octets)
    }

    fn end(&mut self) -> io::Result<()> {
        let mut padding = Vec::new();
        pad(&mut padding, self.size);
        self.out.write_all(&padding)
    }

    fn discard(&mut self) -> io::Result<()> {
        // Its size is written already, and a stream cannot go back.
        Err(io::Error::other(
            "a message could not be read to its end after it was begun: the archive is not whole; `rmail fsck` says more",
        ))
    }

    fn finish(mut self: Box<Self>, subscribed: &[MailboxName]) -> io::Result<()> {
        let text = encode_subscriptions(subscribed);
        self.entry(Kind::File, "subscriptions".to_owned(), text.len() as u64, 0, &[])?;
        self.data(text.as_bytes())?;
        self.end()?;
        self.out.write_all(&end())?;
        self.out.flush()?;
        if let Target::File(file) = self.out.get_ref() {
            file.sync_all()?;
        }
        self.place.take().map_or(Ok(()), Place::commit)
    }
}
