//! A Maildir as a target: Maildir++, with Dovecot's files beside the messages.

use std::fs;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rmail_core::mailbox::{Keyword, MailboxName, UidValidity};
use rmail_core::time::DateTime;
use rmail_store::transfer::dovecot::{UidList, encode_keywords, encode_subscriptions};
use rmail_store::transfer::maildir::{self, LETTERED};

use super::place::{Place, new_dir, new_file, sync_all, write_file};
use super::{Folder, Message, Writer};

struct Maildir {
    place: Place,
    top: PathBuf,
    /// The folder that is being written.
    dir: PathBuf,
    uid_validity: UidValidity,
    uids: Option<BufWriter<fs::File>>,
    open: Option<(fs::File, PathBuf, DateTime)>,
}

pub(super) fn create(path: &Path, force: bool) -> io::Result<Box<dyn Writer>> {
    let (place, top) = Place::dir(path, force)?;
    make_folder(&top)?;
    Ok(Box::new(Maildir {
        place,
        dir: top.clone(),
        top,
        uid_validity: UidValidity(0),
        uids: None,
        open: None,
    }))
}

fn make_folder(dir: &Path) -> io::Result<()> {
    ["cur", "new", "tmp"]
        .iter()
        .try_for_each(|sub| new_dir(&dir.join(sub)))
}

impl Maildir {
    fn end_folder(&mut self) -> io::Result<()> {
        self.uids.take().map_or(Ok(()), |mut uids| uids.flush())
    }
}

impl Writer for Maildir {
    fn folder(&mut self, folder: &Folder<'_>) -> io::Result<()> {
        self.end_folder()?;
        let name = maildir::folder_dir(folder.name);
        self.dir = self.top.join(&name);
        if !name.is_empty() {
            new_dir(&self.dir)?;
            make_folder(&self.dir)?;
            write_file(&self.dir.join("maildirfolder"), b"")?;
        }
        let names: &[Keyword] = folder.keywords.names();
        if !names.is_empty() {
            let text = encode_keywords(names, LETTERED);
            write_file(&self.dir.join("dovecot-keywords"), text.as_bytes())?;
        }
        if names.len() > LETTERED {
            let text = encode_keywords(names, usize::MAX);
            write_file(&self.dir.join("rmail-keywords"), text.as_bytes())?;
        }
        self.uid_validity = folder.numbering.uid_validity.unwrap_or_default();
        let head = UidList::head(self.uid_validity, folder.numbering.uid_next.unwrap_or_default());
        let mut uids = BufWriter::new(new_file(&self.dir.join("dovecot-uidlist"))?);
        uids.write_all(head.as_bytes())?;
        self.uids = Some(uids);
        Ok(())
    }

    fn begin(&mut self, message: &Message) -> io::Result<()> {
        let uid = message.meta.uid.unwrap_or_default();
        let date = message.meta.date.unwrap_or_default();
        let unique = format!("M{}P{}", uid.0, self.uid_validity.0);
        let flags = message.meta.flags.system;
        let (base, name) = maildir::encode(&unique, date, message.size, flags, message.bits);
        if let Some(uids) = &mut self.uids {
            uids.write_all(UidList::line(uid, &base).as_bytes())?;
        }
        // The whole Maildir gets its name when it is done: no need to go through tmp/.
        let path = self.dir.join("cur").join(name);
        self.open = Some((new_file(&path)?, path, date));
        Ok(())
    }

    fn data(&mut self, octets: &[u8]) -> io::Result<()> {
        match &mut self.open {
            Some((file, ..)) => file.write_all(octets),
            None => Ok(()),
        }
    }

    fn end(&mut self) -> io::Result<()> {
        let Some((file, _, date)) = self.open.take() else {
            return Ok(());
        };
        let shift = Duration::from_secs(date.unix.unsigned_abs());
        let time = match date.unix {
            0.. => UNIX_EPOCH.checked_add(shift),
            _ => UNIX_EPOCH.checked_sub(shift),
        };
        match file.set_modified(time.unwrap_or(SystemTime::UNIX_EPOCH)) {
            // Beyond what the file system can say; the name has the date too.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            done => done,
        }
    }

    fn discard(&mut self) -> io::Result<()> {
        match self.open.take() {
            Some((_, path, _)) => fs::remove_file(path),
            None => Ok(()),
        }
    }

    fn finish(mut self: Box<Self>, subscribed: &[MailboxName]) -> io::Result<()> {
        self.end_folder()?;
        write_file(
            &self.top.join("subscriptions"),
            encode_subscriptions(subscribed).as_bytes(),
        )?;
        sync_all(&self.top)?;
        self.place.commit()
    }
}
