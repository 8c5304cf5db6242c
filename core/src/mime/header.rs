//! Header fields of raw octets (RFC 5322 §2.2), by offsets and without copies.
//!
//! Tolerant, because what is stored is stored: lines may end with a bare LF, names may be followed by white space
//! (obs-optional), lines without a colon are passed over.

/// A header field as it stands in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name without white space; empty for a line that is no field.
    pub name: &'a [u8],
    /// All after the colon, folded lines and the last line end included. For a line that is no field: all of it.
    pub raw: &'a [u8],
    /// Offset of its first octet.
    pub start: usize,
    /// Offset behind its last line end.
    pub end: usize,
}

impl Field<'_> {
    /// Whether it has this name, in any case (RFC 5322 §1.2.2).
    #[must_use]
    pub fn is(&self, name: &[u8]) -> bool {
        !self.name.is_empty() && self.name.eq_ignore_ascii_case(name)
    }

    /// The value unfolded and without white space around it; see [`unfold`].
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        unfold(self.raw)
    }
}

/// The fields of a header in order, up to the empty line or the end of the octets. Linear in the header's length.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    header: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    /// The fields of `header`; what follows its empty line is not looked at.
    #[must_use]
    pub fn new(header: &'a [u8]) -> Self {
        Self { header, at: 0 }
    }

    /// What has not been iterated over: once the iterator is done, the empty line and what follows it.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.header.get(self.at..).unwrap_or_default()
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let start = self.at;
        let rest = self.rest();
        let first = line_len(rest);
        if first == 0 || is_empty_line(rest.get(..first)?) {
            return None;
        }
        let mut len = first;
        while let Some(b' ' | b'\t') = rest.get(len) {
            len += line_len(rest.get(len..)?);
        }
        self.at = start + len;
        let whole = rest.get(..len)?;
        let (name, raw) = split_name(whole, first).unwrap_or((&[], whole));
        Some(Field {
            name,
            raw,
            start,
            end: self.at,
        })
    }
}

/// The first field of this name.
#[must_use]
pub fn find<'a>(header: &'a [u8], name: &[u8]) -> Option<Field<'a>> {
    Fields::new(header).find(|field| field.is(name))
}

/// Unfolds a value (RFC 5322 §2.2.3): line ends go, white space stays, except around the value. CR, LF and NUL never
/// remain.
#[must_use]
pub fn unfold(raw: &[u8]) -> Vec<u8> {
    let says = |octet: &u8| !matches!(octet, b' ' | b'\t' | b'\r' | b'\n' | 0);
    let from = raw.iter().position(says).unwrap_or(raw.len());
    let to = raw.iter().rposition(says).map_or(from, |last| last + 1);
    let value = raw.get(from..to).unwrap_or_default();
    let kept = |octet: &u8| !matches!(octet, b'\r' | b'\n' | 0);
    value.iter().copied().filter(kept).collect()
}

/// Without white space and line ends at either end.
#[must_use]
pub fn trim(mut octets: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] = octets {
        octets = rest;
    }
    while let [rest @ .., b' ' | b'\t' | b'\r' | b'\n'] = octets {
        octets = rest;
    }
    octets
}

/// The name of the field that a line begins, without white space; `None` if it begins none.
#[must_use]
pub fn name_of(line: &[u8]) -> Option<&[u8]> {
    split_name(line, line.len()).map(|(name, _)| name)
}

/// Whether a line (its end included) is empty.
#[must_use]
pub fn is_empty_line(line: &[u8]) -> bool {
    matches!(line, b"\n" | b"\r\n")
}

/// Name and raw value; the colon must be within the first `first` octets.
fn split_name(field: &[u8], first: usize) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', field.get(..first)?)?;
    let mut name = field.get(..colon)?;
    while let [rest @ .., b' ' | b'\t'] = name {
        name = rest;
    }
    // ftext (RFC 5322 §3.6.8) is printable; octets above it are taken as they come.
    let legal = !name.is_empty() && name.iter().all(|octet| *octet > b' ' && *octet != 0x7f);
    legal.then(|| (name, field.get(colon + 1..).unwrap_or_default()))
}

/// Octets of the first line, its LF included.
fn line_len(octets: &[u8]) -> usize {
    memchr::memchr(b'\n', octets).map_or(octets.len(), |at| at + 1)
}

/// Finds where a header ends in octets that come in pieces.
#[derive(Clone, Debug, Default)]
pub struct HeaderEnd {
    offset: u64,
    /// Octets of the present line, at most 2 counted.
    line: u8,
    cr: bool,
    found: Option<u64>,
}

impl HeaderEnd {
    /// Takes the next octets; the offset behind the empty line once it was seen. Afterwards nothing is looked at.
    pub fn push(&mut self, octets: &[u8]) -> Option<u64> {
        let mut rest = octets;
        while self.found.is_none() && !rest.is_empty() {
            let len = line_len(rest);
            let (line, more) = rest.split_at_checked(len).unwrap_or((rest, &[]));
            self.line_piece(line);
            rest = more;
        }
        self.found
    }

    fn line_piece(&mut self, piece: &[u8]) {
        self.offset += piece.len() as u64;
        let before = self.line;
        self.line = self
            .line
            .saturating_add(u8::try_from(piece.len()).unwrap_or(u8::MAX));
        if piece.last() == Some(&b'\n') {
            let empty = self.line == 1 || (self.line == 2 && (self.cr || piece.first() == Some(&b'\r')));
            if empty {
                self.found = Some(self.offset);
            }
            self.line = 0;
            self.cr = false;
        } else {
            self.cr = before == 0 && piece == b"\r";
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(header: &[u8]) -> Vec<String> {
        Fields::new(header)
            .map(|field| String::from_utf8_lossy(field.name).into_owned())
            .collect()
    }

    #[test]
    fn fields_with_folding_and_broken_lines() {
        let header = b"A: 1\r\nB : two\r\n\t folded\r\nno colon\r\n : no name\r\nC:\n D\n\nbody: x\r\n";
        assert_eq!(names(header), ["A", "B", "", "C"]);
        let field = find(header, b"b").expect("B");
        assert_eq!(field.value(), b"two\t folded");
        assert_eq!(&header[field.start..field.end], b"B : two\r\n\t folded\r\n");
        assert_eq!(find(header, b"c").expect("C").value(), b"D");
        assert!(find(header, b"body").is_none());
        assert!(find(header, b"").is_none());
    }

    #[test]
    fn header_without_end_or_line_end() {
        assert_eq!(names(b"A: 1\r\nB: 2"), ["A", "B"]);
        assert_eq!(names(b""), Vec::<String>::new());
        assert_eq!(names(b"\r\nA: 1\r\n"), Vec::<String>::new());
        assert_eq!(names(b" folded first\r\nA: 1"), ["", "A"]);
        assert_eq!(find(b"Subject:", b"subject").expect("there").value(), b"");
    }

    #[test]
    fn header_end_in_any_split() {
        for (text, end) in [
            (&b"A: b\r\n\r\nbody"[..], Some(8)),
            (b"A: b\n\nbody", Some(6)),
            (b"\r\nbody", Some(2)),
            (b"\nbody", Some(1)),
            (b"A: b\r\n\rx\r\n", None),
            (b"A: b\r\nx\r\n\r\n", Some(11)),
            (b"A: b\r\n", None),
            (b"", None),
        ] {
            let mut whole = HeaderEnd::default();
            assert_eq!(whole.push(text), end, "{}", text.escape_ascii());
            let mut single = HeaderEnd::default();
            let last = text.iter().map(|octet| single.push(&[*octet])).last().flatten();
            assert_eq!(last, end, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn unfolding_leaves_no_line_ends() {
        assert_eq!(unfold(b" a\r\n b\rc\n\td \r\n"), b"a bc\td");
        assert_eq!(unfold(b" \0 a\0 b \0\r\n"), b"a b");
        assert_eq!(unfold(b" \0\r\n"), b"");
    }
}
