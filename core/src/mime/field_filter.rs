//! HEADER.FIELDS of a header that comes in pieces: what [`super::locate::filter_fields`] leaves of it, in bounded memory.

use super::locate::compare_names;

/// A header being filtered. The pieces' sizes do not matter to the result.
#[derive(Debug)]
pub struct FieldFilter {
    /// Sorted, so that many names and many fields are no product.
    names: Vec<Vec<u8>>,
    not: bool,
    limit: usize,
    out: Vec<u8>,
    /// Octets of the present line so far, at most 255 counted.
    line: u8,
    /// They are a CR.
    cr: bool,
    /// A field has begun: lines that begin with white space go on with it.
    begun: bool,
    /// Where the present field begins in `out`.
    start: usize,
    fate: Fate,
    done: bool,
}

/// What becomes of the present field.
#[derive(Debug)]
enum Fate {
    /// The name is not whole yet; white space has come behind it.
    Open {
        name: Vec<u8>,
        blank: bool,
    },
    Kept,
    Dropped,
}

impl FieldFilter {
    /// Keeps the fields with one of these names, in any case, or all others if `not`. Of what is kept, octets beyond
    /// `limit` are left out, and all that follows them.
    #[must_use]
    pub fn new(names: &[String], not: bool, limit: usize) -> Self {
        let mut names: Vec<Vec<u8>> = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        names.sort_unstable_by(|a, b| compare_names(a, b));
        Self {
            names,
            not,
            limit,
            out: Vec::new(),
            line: 0,
            cr: false,
            begun: false,
            start: 0,
            fate: Fate::Dropped,
            done: false,
        }
    }

    /// Takes the next octets. True: nothing that follows matters any more.
    pub fn push(&mut self, octets: &[u8]) -> bool {
        let mut rest = octets;
        while !self.done && !rest.is_empty() {
            let len = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let (piece, more) = rest.split_at_checked(len).unwrap_or((rest, &[]));
            self.piece(piece);
            rest = more;
        }
        self.done
    }

    /// The fields as they stand, and the empty line if there was one.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        if !self.done {
            self.decide(false);
        }
        self.out
    }

    /// A piece of a line, up to its LF at most.
    fn piece(&mut self, piece: &[u8]) {
        if self.line == 0 && !(self.begun && matches!(piece.first(), Some(b' ' | b'\t'))) {
            // The end of the line decides at the latest.
            self.begun = true;
            self.start = self.out.len();
            self.fate = Fate::Open {
                name: Vec::new(),
                blank: false,
            };
        }
        let only_cr = core::mem::replace(&mut self.cr, self.line == 0 && piece == b"\r");
        let ended = piece.last() == Some(&b'\n');
        let is_open = matches!(self.fate, Fate::Open { .. });
        let first = self.line == 0;
        self.line = self
            .line
            .saturating_add(u8::try_from(piece.len()).unwrap_or(u8::MAX));
        let crlf = (first && piece == b"\r\n") || (only_cr && piece == b"\n");
        if is_open && (crlf || (first && piece == b"\n")) {
            self.out.truncate(self.start);
            self.keep(if crlf { b"\r\n" } else { b"\n" });
            self.done = true;
            return;
        }
        if !matches!(self.fate, Fate::Dropped) {
            self.keep(piece);
        }
        if only_cr {
            self.decide(false);
        }
        self.look(piece);
        if ended {
            self.decide(false);
            self.line = 0;
        }
        self.done |= matches!(self.fate, Fate::Kept) && self.out.len() >= self.limit;
    }

    fn keep(&mut self, octets: &[u8]) {
        let room = self.limit.saturating_sub(self.out.len());
        self.out.extend_from_slice(octets.get(..room).unwrap_or(octets));
    }

    /// Looks for the name.
    fn look(&mut self, piece: &[u8]) {
        let longest = self.names.iter().map(Vec::len).max().unwrap_or(0);
        let Fate::Open { name, blank } = &mut self.fate else {
            return;
        };
        let only_cr = self.cr;
        for octet in piece {
            match octet {
                b':' => {
                    let legal = !name.is_empty();
                    let found = self.names.binary_search_by(|known| compare_names(known, name));
                    return self.decide(legal && found.is_ok());
                }
                b' ' | b'\t' if !name.is_empty() => *blank = true,
                // It may be the empty line.
                b'\r' if only_cr => return,
                // ftext (RFC 5322 §3.6.8), and octets above it as they come.
                octet if *octet > b' ' && *octet != 0x7f && !*blank && name.len() <= longest => {
                    name.push(*octet);
                }
                _ => return self.decide(false),
            }
        }
    }

    /// The present field has one of the names, or has none of them.
    fn decide(&mut self, named: bool) {
        if matches!(self.fate, Fate::Open { .. }) {
            self.fate = if named == self.not {
                self.out.truncate(self.start);
                Fate::Dropped
            } else {
                Fate::Kept
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::locate::filter_fields;
    use super::*;

    fn filtered(header: &[u8], names: &[String], not: bool, size: usize) -> Vec<u8> {
        let mut filter = FieldFilter::new(names, not, usize::MAX);
        for piece in header.chunks(size) {
            if filter.push(piece) {
                break;
            }
        }
        filter.finish()
    }

    #[test]
    fn same_as_at_once() {
        let names = ["a".to_owned(), "long-name".to_owned(), String::new()];
        for header in [
            &b"A: 1\r\n 2\r\nB: 3\r\na :\r\n\r\nA: body"[..],
            b" A: 1\r\nLONG-NAME: 3\r\n\tx\nno colon\n\nbody",
            b"Long-Name-er: 1\r\nlong name: 2\r\n: 3\r\na",
            b"A",
            b"A:",
            b"\r",
            b"\r\r\nA: 1\n\r\n",
            b"\rA: 1\r\nA: 2\r\n",
            b"\n",
            b"\r\n",
            b"",
            b"A\t : 1\n \n\t\r\n\xe4: 2\n\x7f: 3\nb: 4",
        ] {
            for not in [false, true] {
                let want = filter_fields(header, &names, not);
                for size in 1..=header.len().max(1) {
                    let got = filtered(header, &names, not, size);
                    assert_eq!(got, want, "{} by {size}", header.escape_ascii());
                }
            }
        }
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_is_dropped_does_not_count() {
        let names = ["to".to_owned()];
        let header = [&b"X: "[..], &[b'x'; 5_000], b"\r\nTo: a@b\r\nY: 1\r\n\r\n"].concat();
        let mut filter = FieldFilter::new(&names, false, 100);
        assert!(filter.push(&header));
        assert_eq!(filter.finish(), b"To: a@b\r\n\r\n");
        let mut filter = FieldFilter::new(&names, true, 100);
        assert!(filter.push(&header), "full");
        assert_eq!(filter.finish(), header[..100]);
        let mut filter = FieldFilter::new(&names, false, 4);
        assert!(filter.push(&header));
        assert_eq!(filter.finish(), b"To: ");
    }
}
