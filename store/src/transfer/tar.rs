//! Tar archives: ustar with pax headers (POSIX.1-2017, pax), as octets in and octets out.
//!
//! What an export is:
//!
//! ```text
//! subscriptions                names of subscribed mailboxes, as in `dovecot::encode_subscriptions`
//! mail/{levels}/               one directory entry per mailbox, before its messages
//!   RMAIL.mailbox              its name, UTF-8, levels apart by "/"
//!   RMAIL.uidvalidity RMAIL.uidnext RMAIL.specialuse
//! mail/{levels}/{uid}.eml      one file per message: its octets as stored
//!   RMAIL.mailbox RMAIL.uid RMAIL.date RMAIL.flags RMAIL.keywords
//! ```
//!
//! The lines with RMAIL are pax records. Dates are in the form of [`super::dates::encode`], flags (`\Seen`) and keywords
//! apart by spaces. Archives of others are taken too: then a file's directory is its mailbox, its mtime the date.
//!
//! The reader knows the old format, ustar, pax, and GNU's long names and large numbers. Links and devices are no messages.

use std::collections::BTreeMap;

use super::number;

/// Octets of a block.
const BLOCK: usize = 512;

/// Octets of one extended header that are read, and of all that extended headers say at a time; more ends the archive.
const MAX_EXTENDED: u64 = 1 << 20;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Something else, without meaning here.
    Other,
}

/// An entry's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Its path.
    pub path: String,
    /// Octets of the file.
    pub size: u64,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Further pax records.
    pub records: BTreeMap<String, String>,
}

/// What is in an archive, in its order.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// An entry begins.
    Entry(Entry),
    /// Octets of it.
    Data(&'a [u8]),
    /// It ends.
    End,
}

/// Why an archive cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTar {
    /// A header's sum is wrong.
    #[error("this is no tar archive, or it is damaged: the checksum of a header is wrong")]
    Checksum,
    /// A number is none.
    #[error("a number in a header of the archive cannot be read")]
    Number,
    /// An extended header is too large.
    #[error("an extended header of the archive is too large")]
    Extended,
    /// It ends within an entry.
    #[error("the archive ends in the middle of an entry")]
    Cut,
}

/// Reads an archive piece by piece.
#[derive(Debug)]
pub struct Reader {
    state: State,
    /// Octets of the block or extended header that is being gathered.
    held: Vec<u8>,
    /// Records of the extended headers before an entry; global ones.
    records: BTreeMap<String, String>,
    globals: BTreeMap<String, String>,
    long_name: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Header,
    /// An extended header of this type, with octets left, then padding.
    Extended(u8, u64, u64),
    /// A file with octets left, then padding; whether it is told.
    Data(u64, u64),
    Padding(u64),
    Done,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            state: State::Header,
            held: Vec::new(),
            records: BTreeMap::new(),
            globals: BTreeMap::new(),
            long_name: None,
        }
    }
}

impl Reader {
    /// Takes a piece.
    ///
    /// # Errors
    /// The archive is damaged, or what `tell` returns: both as `E`.
    pub fn push<E: From<BadTar>>(
        &mut self,
        mut piece: &[u8],
        tell: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while !piece.is_empty() {
            let used = match self.state {
                State::Done => return Ok(()),
                State::Header => {
                    let used = self.gather(piece, BLOCK as u64);
                    if self.held.len() == BLOCK {
                        let block = core::mem::take(&mut self.held);
                        self.header(&block, tell)?;
                    }
                    used
                }
                State::Extended(kind, left, padding) => {
                    let used = self.gather(piece, left);
                    let left = left.saturating_sub(used as u64);
                    self.state = State::Extended(kind, left, padding);
                    used
                }
                State::Data(left, padding) => {
                    let used = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    tell(Event::Data(piece.get(..used).unwrap_or_default()))?;
                    self.state = State::Data(left.saturating_sub(used as u64), padding);
                    used
                }
                State::Padding(left) => {
                    let used = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    self.state = State::Padding(left.saturating_sub(used as u64));
                    used
                }
            };
            piece = piece.get(used..).unwrap_or_default();
            self.settle(tell)?;
        }
        Ok(())
    }

    /// The archive's octets are all told.
    ///
    /// # Errors
    /// It ends too early.
    pub fn finish(&self) -> Result<(), BadTar> {
        let whole = match self.state {
            State::Done | State::Padding(_) => true,
            // Some programs leave out the blocks of zeros at the end.
            State::Header => self.held.is_empty() && self.records.is_empty() && self.long_name.is_none(),
            State::Extended(..) | State::Data(..) => false,
        };
        if whole { Ok(()) } else { Err(BadTar::Cut) }
    }

    fn gather(&mut self, piece: &[u8], wanted: u64) -> usize {
        let missing = match self.state {
            State::Header => BLOCK - self.held.len(),
            _ => usize::try_from(wanted).unwrap_or(usize::MAX),
        };
        let used = piece.len().min(missing);
        self.held.extend_from_slice(piece.get(..used).unwrap_or_default());
        used
    }

    /// Leaves states in which nothing is left to be read.
    fn settle<E: From<BadTar>>(
        &mut self,
        tell: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            self.state = match self.state {
                State::Extended(kind, 0, padding) => {
                    let octets = core::mem::take(&mut self.held);
                    self.extended(kind, &octets)?;
                    State::Padding(padding)
                }
                State::Data(0, padding) => {
                    tell(Event::End)?;
                    State::Padding(padding)
                }
                State::Padding(0) => State::Header,
                _ => return Ok(()),
            };
        }
    }

    fn header<E: From<BadTar>>(
        &mut self,
        block: &[u8],
        tell: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if block.iter().all(|octet| *octet == 0) {
            self.state = State::Done;
            return Ok(());
        }
        if field_number(block, 148, 8)? != checksum(block) {
            return Err(BadTar::Checksum.into());
        }
        let kind = block.get(156).copied().unwrap_or(0);
        let size = u64::try_from(field_number(block, 124, 12)?).map_err(|_| BadTar::Number)?;
        let padding = |size: u64| size.wrapping_neg() % BLOCK as u64;
        if matches!(kind, b'x' | b'g' | b'L' | b'K') {
            if size > MAX_EXTENDED {
                return Err(BadTar::Extended.into());
            }
            self.state = State::Extended(kind, size, padding(size));
            return Ok(());
        }
        let mut records = core::mem::take(&mut self.records);
        for (key, value) in &self.globals {
            records.entry(key.clone()).or_insert_with(|| value.clone());
        }
        let size = match records.remove("size") {
            Some(text) => number(&text).ok_or(BadTar::Number)?,
            None => size,
        };
        let mtime = records.remove("mtime").and_then(|text| {
            let whole = text.split('.').next()?;
            whole.parse().ok()
        });
        let name = self.long_name.take();
        let path = records.remove("path").or(name).unwrap_or_else(|| path_of(block));
        let kind = match kind {
            b'0' | 0 | b'7' if path.ends_with('/') => Kind::Directory,
            b'0' | 0 | b'7' => Kind::File,
            b'5' => Kind::Directory,
            _ => Kind::Other,
        };
        // Links tell the size of what they lead to, and hold nothing.
        let link = matches!(block.get(156), Some(b'1'..=b'6'));
        let size = if link { 0 } else { size };
        self.state = State::Data(size, padding(size));
        tell(Event::Entry(Entry {
            kind,
            path,
            size,
            mtime: mtime.map_or_else(|| field_number(block, 136, 12), Ok)?,
            records,
        }))
    }

    fn extended(&mut self, kind: u8, octets: &[u8]) -> Result<(), BadTar> {
        match kind {
            b'L' => {
                let name = octets.split(|octet| *octet == 0).next().unwrap_or_default();
                self.long_name = Some(String::from_utf8_lossy(name).into_owned());
            }
            b'x' => self.records.append(&mut records(octets)?),
            b'g' => self.globals.append(&mut records(octets)?),
            _ => {}
        }
        // Any number of them may come, one behind the other.
        let held = self.records.iter().chain(&self.globals);
        let held: usize = held.map(|(key, value)| key.len() + value.len()).sum();
        if held as u64 > MAX_EXTENDED {
            return Err(BadTar::Extended);
        }
        Ok(())
    }
}

/// `len SP key "=" value LF`, where `len` counts all of it.
fn records(mut octets: &[u8]) -> Result<BTreeMap<String, String>, BadTar> {
    let mut found = BTreeMap::new();
    while !octets.is_empty() {
        let space = memchr::memchr(b' ', octets).ok_or(BadTar::Number)?;
        let digits = octets
            .get(..space)
            .and_then(|digits| core::str::from_utf8(digits).ok());
        let length = digits
            .and_then(number)
            .and_then(|length| usize::try_from(length).ok());
        let length = length.ok_or(BadTar::Number)?;
        let (record, rest) = octets.split_at_checked(length).ok_or(BadTar::Cut)?;
        octets = rest;
        let text = record.get(space + 1..).ok_or(BadTar::Number)?;
        let text = String::from_utf8_lossy(text.strip_suffix(b"\n").unwrap_or(text));
        if let Some((key, value)) = text.split_once('=') {
            found.insert(key.to_owned(), value.to_owned());
        }
    }
    Ok(found)
}

fn path_of(block: &[u8]) -> String {
    let text = |at: usize, len: usize| {
        let field = block.get(at..at + len).unwrap_or_default();
        let field = field.split(|octet| *octet == 0).next().unwrap_or_default();
        String::from_utf8_lossy(field).into_owned()
    };
    let prefix = match block.get(257..263) {
        Some(b"ustar\0") => text(345, 155),
        _ => String::new(),
    };
    match prefix.as_str() {
        "" => text(0, 100),
        prefix => format!("{prefix}/{}", text(0, 100)),
    }
}

/// Octal digits between spaces and NULs or, with the first bit set, GNU's binary form.
fn field_number(block: &[u8], at: usize, len: usize) -> Result<i64, BadTar> {
    let field = block.get(at..at + len).ok_or(BadTar::Number)?;
    if let Some((first, rest)) = field.split_first().filter(|(first, _)| **first & 0x80 != 0) {
        let start = if *first & 0x40 == 0 {
            i64::from(first & 0x3f)
        } else {
            -1
        };
        return rest.iter().try_fold(start, |value, octet| {
            let value = value.checked_mul(256).ok_or(BadTar::Number)?;
            Ok(value | i64::from(*octet))
        });
    }
    let digits = field.split(|octet| *octet == 0).next().unwrap_or_default();
    let digits = digits.trim_ascii();
    digits.iter().try_fold(0_i64, |value, octet| {
        let digit = octet
            .checked_sub(b'0')
            .filter(|digit| *digit < 8)
            .ok_or(BadTar::Number)?;
        let value = value.checked_mul(8).ok_or(BadTar::Number)?;
        Ok(value + i64::from(digit))
    })
}

fn checksum(block: &[u8]) -> i64 {
    let octets = block.iter().enumerate();
    octets
        .map(|(at, octet)| {
            if (148..156).contains(&at) {
                32
            } else {
                i64::from(*octet)
            }
        })
        .sum()
}

/// The octets before an entry's own.
#[must_use]
pub fn encode(entry: &Entry) -> Vec<u8> {
    let mut records = entry.records.clone();
    let short = entry.path.len() <= 100 && entry.path.is_ascii();
    if !short {
        records.insert("path".to_owned(), entry.path.clone());
    }
    let mut out = Vec::with_capacity(3 * BLOCK);
    if !records.is_empty() {
        let octets: Vec<u8> = records
            .iter()
            .flat_map(|(key, value)| record(key, value))
            .collect();
        header(&mut out, "pax", b'x', octets.len() as u64, 0);
        out.extend_from_slice(&octets);
        pad(&mut out, octets.len() as u64);
    }
    let kind = if entry.kind == Kind::Directory { b'5' } else { b'0' };
    let path = if short { entry.path.as_str() } else { "long" };
    header(&mut out, path, kind, entry.size, entry.mtime);
    out
}

/// Appends what comes after so many octets of an entry.
pub fn pad(out: &mut Vec<u8>, size: u64) {
    let missing = usize::try_from(size.wrapping_neg() % BLOCK as u64).unwrap_or(0);
    out.resize(out.len() + missing, 0);
}

/// The end of an archive.
#[must_use]
pub fn end() -> Vec<u8> {
    vec![0; 2 * BLOCK]
}

fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    format!("{length} {key}={value}\n").into_bytes()
}

fn header(out: &mut Vec<u8>, path: &str, kind: u8, size: u64, mtime: i64) {
    let begin = out.len();
    let mode = if kind == b'5' { 0o700 } else { 0o600 };
    let mtime = u64::try_from(mtime).unwrap_or(0).min(0o77_777_777_777);
    let mut text = |field: &str, len: usize| {
        let octets = field.bytes().chain(core::iter::repeat(0)).take(len);
        out.extend(octets);
    };
    text(path, 100);
    text(&format!("{mode:07o}"), 8);
    text(&format!("{:07o}", 0), 8);
    text(&format!("{:07o}", 0), 8);
    // Messages have less than 2^32 octets, so that eleven digits are enough.
    text(&format!("{:011o}", size.min(0o77_777_777_777)), 12);
    text(&format!("{mtime:011o}"), 12);
    text("        ", 8);
    text(&char::from(kind).to_string(), 1);
    text("", 100);
    text("ustar", 6);
    text("00", 2);
    text("", 247);
    let sum = checksum(out.get(begin..).unwrap_or_default());
    if let Some(field) = out.get_mut(begin + 148..begin + 156) {
        let digits = format!("{sum:06o}\0 ");
        field
            .iter_mut()
            .zip(digits.bytes())
            .for_each(|(to, from)| *to = from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Found = Vec<(Entry, Vec<u8>)>;

    fn read(octets: &[u8], pieces: usize) -> Result<Found, BadTar> {
        let mut reader = Reader::default();
        let mut found: Found = Vec::new();
        let mut open = false;
        for piece in octets.chunks(pieces.max(1)) {
            reader.push::<BadTar>(piece, &mut |event| {
                match event {
                    Event::Entry(entry) => {
                        assert!(!open);
                        open = true;
                        found.push((entry, Vec::new()));
                    }
                    Event::Data(data) => found.last_mut().expect("an entry").1.extend_from_slice(data),
                    Event::End => {
                        assert!(open);
                        open = false;
                    }
                }
                Ok(())
            })?;
        }
        reader.finish()?;
        Ok(found)
    }

    fn write(entries: &Found) -> Vec<u8> {
        let mut out = Vec::new();
        for (entry, data) in entries {
            out.extend(encode(entry));
            out.extend_from_slice(data);
            pad(&mut out, data.len() as u64);
        }
        out.extend(end());
        out
    }

    #[test]
    fn headers_of_other_programs() {
        // The old format: no magic, spaces around numbers.
        let mut block = vec![0; 512];
        block[..5].copy_from_slice(b"a.eml");
        block[124..136].copy_from_slice(b"          3 ");
        block[136..148].copy_from_slice(b"00000000012\0");
        let sum = format!("{:06o}\0 ", checksum(&block));
        block[148..156].copy_from_slice(sum.as_bytes());
        let mut archive = block.clone();
        archive.extend_from_slice(b"abc");
        pad(&mut archive, 3);
        let found = read(&archive, 100).expect("an archive");
        assert_eq!(
            (found[0].0.path.as_str(), found[0].0.mtime, found[0].1.as_slice()),
            ("a.eml", 10, &b"abc"[..])
        );
        assert_eq!(read(&archive[..513], 9), Err(BadTar::Cut));
        assert_eq!(read(&archive[..100], 9), Err(BadTar::Cut));
        block[0] = b'b';
        assert_eq!(read(&block, 512), Err(BadTar::Checksum));
        assert!(read(&[b'x'; 600], 512).is_err());
        assert_eq!(read(&[], 1), Ok(vec![]));
    }

    #[test]
    fn extended_headers_are_bounded_together() {
        for kind in [b'x', b'g'] {
            let mut archive = Vec::new();
            for n in 0..40 {
                let octets = record(&format!("key{n}"), &"v".repeat(30_000));
                header(&mut archive, "pax", kind, octets.len() as u64, 0);
                archive.extend_from_slice(&octets);
                pad(&mut archive, octets.len() as u64);
            }
            assert_eq!(read(&archive, 4_096), Err(BadTar::Extended));
        }
    }

    #[test]
    fn large_numbers_and_long_names() {
        assert_eq!(
            field_number(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0], 0, 12),
            Ok(256)
        );
        assert_eq!(field_number(&[0xff; 12], 0, 12), Ok(-1));
        let long = "x/".repeat(99) + "é.eml";
        let entry = Entry {
            kind: Kind::File,
            path: long.clone(),
            size: 0,
            mtime: 5,
            records: BTreeMap::new(),
        };
        assert_eq!(
            read(&write(&vec![(entry.clone(), vec![])]), 7).expect("an archive")[0].0,
            entry
        );
        let mut gnu = Vec::new();
        header(&mut gnu, "././@LongLink", b'L', long.len() as u64 + 1, 0);
        gnu.extend_from_slice(long.as_bytes());
        gnu.push(0);
        pad(&mut gnu, long.len() as u64 + 1);
        header(&mut gnu, "short", b'0', 0, 0);
        assert_eq!(read(&gnu, 512).expect("an archive")[0].0.path, long);
        let mut huge = Vec::new();
        header(&mut huge, "pax", b'x', MAX_EXTENDED + 1, 0);
        assert_eq!(read(&huge, 512), Err(BadTar::Extended));
    }

    fn any_entry() -> impl Strategy<Value = (Entry, Vec<u8>)> {
        let data = proptest::collection::vec(any::<u8>(), 0..1_200);
        let records = proptest::collection::btree_map("RMAIL\\.[a-z]{1,9}", "\\PC{0,150}", 0..4);
        let entry = ("[a-zä/]{1,150}x", any::<u32>(), records, data, any::<bool>());
        entry.prop_map(|(path, mtime, records, data, dir)| {
            let data = if dir { Vec::new() } else { data };
            let entry = Entry {
                kind: if dir { Kind::Directory } else { Kind::File },
                path,
                size: data.len() as u64,
                mtime: mtime.into(),
                records,
            };
            (entry, data)
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(entries in proptest::collection::vec(any_entry(), 0..5), pieces in 1_usize..1_500) {
            prop_assert_eq!(read(&write(&entries), pieces), Ok(entries));
        }

        #[test]
        fn damage_is_no_disaster(entries in proptest::collection::vec(any_entry(), 1..3), at in any::<proptest::sample::Index>(), octet: u8) {
            let mut archive = write(&entries);
            let at = at.index(archive.len());
            archive[at] = octet;
            let _ = read(&archive, 600);
        }
    }
}
