//! mbox files as a target: one, or one per folder.

use std::fs;
use std::io::{self, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use rmail_core::mailbox::MailboxName;
use rmail_store::Numbering;
use rmail_store::file::escape::escape;
use rmail_store::transfer::dovecot::encode_subscriptions;
use rmail_store::transfer::mbox::{Info, Quoter, begin};

use super::place::{Place, new_dir, new_file, sync_all, write_file};
use super::{Folder, Message, Writer};

struct Mbox {
    place: Place,
    /// The directory; none for one file.
    top: Option<PathBuf>,
    file: Option<fs::File>,
    numbering: Numbering,
    quoter: Quoter,
    /// Where the message begins in the file.
    start: u64,
    buffer: Vec<u8>,
}

pub(super) fn create(path: &Path, force: bool, one: bool) -> io::Result<Box<dyn Writer>> {
    let text = path.as_os_str().to_string_lossy();
    let (place, top, file) = if one && !path.is_dir() && !text.ends_with('/') {
        let (place, file) = Place::file(path, force)?;
        (place, None, Some(file))
    } else {
        let (place, dir) = Place::dir(path, force)?;
        (place, Some(dir), None)
    };
    Ok(Box::new(Mbox {
        place,
        top,
        file,
        numbering: Numbering::default(),
        quoter: Quoter::default(),
        start: 0,
        buffer: Vec::new(),
    }))
}

/// The file of a folder; directories above it are made.
fn file_of(top: &Path, name: &MailboxName) -> io::Result<PathBuf> {
    let mut path = top.to_path_buf();
    let mut levels = name.levels().peekable();
    while let Some(level) = levels.next() {
        let level = escape(level).ok_or_else(|| io::Error::other(format!("{name} is too long a name")))?;
        if levels.peek().is_none() {
            path.push(format!("{level}.mbox"));
        } else {
            path.push(format!("{level}.d"));
            if !path.is_dir() {
                new_dir(&path)?;
            }
        }
    }
    Ok(path)
}

impl Mbox {
    fn write(&mut self) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.write_all(&self.buffer)?;
        }
        self.buffer.clear();
        Ok(())
    }
}

impl Writer for Mbox {
    fn folder(&mut self, folder: &Folder<'_>) -> io::Result<()> {
        self.numbering = folder.numbering;
        if let Some(top) = &self.top {
            self.file = Some(new_file(&file_of(top, folder.name)?)?);
        }
        Ok(())
    }

    fn begin(&mut self, message: &Message) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            self.start = file.stream_position()?;
        }
        let info = Info {
            meta: message.meta.clone(),
            numbering: self.numbering,
            exact: true,
        };
        self.buffer = begin(&info, message.size);
        self.quoter = Quoter::default();
        self.write()
    }

    fn data(&mut self, octets: &[u8]) -> io::Result<()> {
        self.quoter.push(octets, &mut self.buffer);
        self.write()
    }

    fn end(&mut self) -> io::Result<()> {
        self.quoter.finish(&mut self.buffer);
        self.write()
    }

    fn discard(&mut self) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.set_len(self.start)?;
            file.seek(io::SeekFrom::Start(self.start))?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>, subscribed: &[MailboxName]) -> io::Result<()> {
        match (&self.top, &self.file) {
            (Some(top), _) => {
                let text = encode_subscriptions(subscribed);
                write_file(&top.join("subscriptions"), text.as_bytes())?;
                sync_all(top)?;
            }
            (None, Some(file)) => file.sync_all()?,
            (None, None) => {}
        }
        self.place.commit()
    }
}
