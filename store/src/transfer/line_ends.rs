//! Line ends of messages that come from files.
//!
//! Mail has CRLF (RFC 5322 §2.1); files of other programs often have LF alone. The first line end decides: a file whose
//! first LF stands without CR gets a CR before every LF that has none; a file whose first line ends in CRLF is kept octet
//! for octet. A CR without LF is kept in both.

/// Turns LF into CRLF where a file needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineEnds {
    mode: Mode,
    /// The last octet was CR.
    cr: bool,
    nul: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// No line end was met yet.
    Open,
    Keep,
    Convert,
}

impl LineEnds {
    /// For files of other programs: the first line end decides.
    #[must_use]
    pub const fn guess() -> Self {
        Self {
            mode: Mode::Open,
            cr: false,
            nul: false,
        }
    }

    /// For octets that are known to be right.
    #[must_use]
    pub const fn keep() -> Self {
        Self {
            mode: Mode::Keep,
            ..Self::guess()
        }
    }

    /// Appends a piece as it is to be stored.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        self.nul |= memchr::memchr(0, piece).is_some();
        let mut rest = piece;
        while let Some(at) = memchr::memchr(b'\n', rest).filter(|_| self.mode != Mode::Keep) {
            let (line, after) = rest.split_at(at);
            out.extend_from_slice(line);
            let cr = line.last().map_or(self.cr, |last| *last == b'\r');
            if self.mode == Mode::Open {
                self.mode = if cr { Mode::Keep } else { Mode::Convert };
            }
            out.extend_from_slice(if cr || self.mode == Mode::Keep {
                b"\n"
            } else {
                b"\r\n"
            });
            self.cr = false;
            rest = after.get(1..).unwrap_or_default();
        }
        out.extend_from_slice(rest);
        if let Some(last) = rest.last() {
            self.cr = *last == b'\r';
        }
    }

    /// There was a NUL, which no message may have (RFC 9051 §4.3).
    #[must_use]
    pub const fn has_nul(&self) -> bool {
        self.nul
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(mut ends: LineEnds, text: &str, pieces: usize) -> String {
        let mut out = Vec::new();
        for piece in text.as_bytes().chunks(pieces) {
            ends.push(piece, &mut out);
        }
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn the_first_line_end_decides() {
        for pieces in 1..8 {
            for (text, want) in [
                ("a\nb\n\nc", "a\r\nb\r\n\r\nc"),
                ("a\r\nb\n\r\nc\rd", "a\r\nb\n\r\nc\rd"),
                ("a\rb\nc\r\nd\r\r\n", "a\rb\r\nc\r\nd\r\r\n"),
                ("\n\n", "\r\n\r\n"),
                ("", ""),
                ("a", "a"),
            ] {
                assert_eq!(stored(LineEnds::guess(), text, pieces), want);
                assert_eq!(stored(LineEnds::keep(), text, pieces), text);
            }
        }
    }

    #[test]
    fn nul_is_noticed() {
        let mut ends = LineEnds::guess();
        ends.push(b"a\nb", &mut Vec::new());
        assert!(!ends.has_nul());
        ends.push(b"a\0b", &mut Vec::new());
        assert!(ends.has_nul());
    }
}
