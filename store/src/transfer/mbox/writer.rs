//! Writing an mbox.

use core::fmt::Write as _;

use rmail_core::mailbox::SystemFlags;

use super::{Info, LETTERS, unix};
use crate::transfer::dates;

/// What comes before a message's octets.
#[must_use]
pub fn begin(info: &Info, size: u64) -> Vec<u8> {
    let flags = &info.meta.flags;
    let letters = |wanted: &[SystemFlags]| -> String {
        let set = LETTERS
            .iter()
            .filter(|(_, flag)| wanted.contains(flag) && flags.system.contains(*flag));
        set.map(|(letter, _)| *letter).collect()
    };
    let mut lines = vec![format!("Status: {}O", letters(&[SystemFlags::SEEN]))];
    let more = letters(&[
        SystemFlags::ANSWERED,
        SystemFlags::FLAGGED,
        SystemFlags::DRAFT,
        SystemFlags::DELETED,
    ]);
    if !more.is_empty() {
        lines.push(format!("X-Status: {more}"));
    }
    if !flags.keywords.is_empty() {
        let words: Vec<&str> = flags.keywords.iter().map(|keyword| keyword.as_str()).collect();
        lines.push(format!("X-Keywords: {}", words.join(" ")));
    }
    let mut out = format!("From MAILER-DAEMON {}\n", dates::asctime(unix(info.meta.date)));
    // A text takes all that is written to it.
    let _ = write!(out, "X-Rmail: 1 lines={} size={size}", lines.len());
    let mut number = |key: &str, value: Option<u32>| {
        if let Some(value) = value {
            let _ = write!(out, " {key}={value}");
        }
    };
    number("uid", info.meta.uid.map(|uid| uid.0));
    number("validity", info.numbering.uid_validity.map(|validity| validity.0));
    number("next", info.numbering.uid_next.map(|next| next.0));
    if let Some(date) = info.meta.date {
        let _ = write!(out, " date={}", dates::encode(date));
    }
    out.push('\n');
    for line in lines {
        out.push_str(&line);
        out.push('\n');
    }
    out.into_bytes()
}

/// Quotes the octets of one message, piece by piece.
#[derive(Clone, Copy, Debug)]
pub struct Quoter {
    /// Octets of `From ` that were met since the beginning of the line, after any `>`; held back. `None`: within a line.
    met: Option<usize>,
    /// The last octet was LF, or there was none.
    at_line: bool,
}

const FROM: &[u8] = b"From ";

impl Default for Quoter {
    fn default() -> Self {
        Self {
            met: Some(0),
            at_line: true,
        }
    }
}

impl Quoter {
    /// Appends a piece, quoted.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let mut rest = piece;
        while let Some((octet, after)) = rest.split_first() {
            let Some(met) = self.met else {
                let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
                let (line, after) = rest.split_at(end);
                out.extend_from_slice(line);
                self.at_line = line.ends_with(b"\n");
                self.met = self.at_line.then_some(0);
                rest = after;
                continue;
            };
            if met == 0 && *octet == b'>' {
                out.push(b'>');
                self.at_line = false;
                rest = after;
            } else if FROM.get(met) == Some(octet) {
                rest = after;
                self.at_line = false;
                self.met = Some(met + 1);
                if met + 1 == FROM.len() {
                    out.push(b'>');
                    out.extend_from_slice(FROM);
                    self.met = None;
                }
            } else {
                out.extend_from_slice(FROM.get(..met).unwrap_or_default());
                self.met = None;
            }
        }
    }

    /// Appends what ends the message.
    pub fn finish(self, out: &mut Vec<u8>) {
        if let Some(met) = self.met {
            out.extend_from_slice(FROM.get(..met).unwrap_or_default());
        }
        if !self.at_line {
            out.push(b'\n');
        }
        out.push(b'\n');
    }
}
