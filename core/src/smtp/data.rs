//! The octets after DATA (RFC 5321 §4.5.2): dots are taken off, and only CRLF.CRLF ends the message.
//!
//! Whatever is wrong with the text is noted and told after the true end: to answer earlier, or to see an end
//! elsewhere, is what SMTP smuggling lives on. The text comes out as slices of what went in.
//!
//! The same checks serve the octets of BDAT, which have no dots and whose end is counted ([`Decoder::counted`]).

use serde::Deserialize;

use crate::chunk::Chunk;

/// What becomes of a message that has a LF without CR. Wherever it stands, it never is a part of the message's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BareLf {
    /// The message is refused, at its end.
    #[default]
    Refuse,
    /// The LF becomes CRLF.
    Normalise,
}

/// What [`Decoder::next`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The next octets of the message.
    Text(Chunk),
    /// CRLF.CRLF: what remains of the input are commands.
    End,
}

/// What was wrong with a message. Told after its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// More octets than permitted; those beyond were dropped.
    pub too_large: bool,
    /// CR without LF, or LF without CR.
    pub bare_line_end: bool,
    /// A NUL octet.
    pub nul: bool,
    /// A text line longer than permitted.
    pub long_line: bool,
}

/// Decodes one message, in any split.
#[derive(Clone, Debug)]
pub struct Decoder {
    at: At,
    /// Lines begin with a doubled dot where they begin with one, and a lone dot ends. Not so in BDAT.
    dotted: bool,
    bare_lf: BareLf,
    max_size: u64,
    max_line: usize,
    size: u64,
    /// Octets of the present line so far.
    line: usize,
    faults: Faults,
}

/// What came directly before the next octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// CRLF, or nothing.
    LineStart,
    /// Something in the middle of a line.
    Text,
    /// CR.
    Cr,
    /// A dot at the start of a line, kept back.
    Dot,
    /// A dot at the start of a line and CR, both kept back.
    DotCr,
    /// A bare LF follows, and becomes CRLF.
    BareLf,
    /// The end.
    Done,
}

impl Decoder {
    /// For a message of at most `max_size` octets (as stored, dots taken off) in lines of at most `max_line` octets,
    /// CRLF included.
    #[must_use]
    pub fn new(max_size: u64, max_line: usize) -> Self {
        Self {
            at: At::LineStart,
            dotted: true,
            bare_lf: BareLf::Refuse,
            max_size,
            max_line,
            size: 0,
            line: 0,
            faults: Faults::default(),
        }
    }

    /// For the octets of BDAT (RFC 3030): a dot is a dot, and [`Decoder::finish`] tells the end.
    #[must_use]
    pub fn counted(max_size: u64, max_line: usize) -> Self {
        Self {
            dotted: false,
            ..Self::new(max_size, max_line)
        }
    }

    /// With this treatment of a bare LF.
    #[must_use]
    pub fn with_bare_lf(self, bare_lf: BareLf) -> Self {
        Self { bare_lf, ..self }
    }

    /// The end of a counted message: gives the line end that its last line lacks.
    pub fn finish(&mut self) -> Option<Chunk> {
        let at = core::mem::replace(&mut self.at, At::Done);
        self.faults.bare_line_end |= at == At::Cr;
        (at == At::Text && self.line > 0).then(|| Chunk::copy_from(b"\r\n"))
    }

    /// Takes the next piece off `input`; `None` once the input is used up. To be called until then or [`Piece::End`].
    pub fn next(&mut self, input: &mut Chunk) -> Option<Piece> {
        loop {
            let (text, end) = self.scan(input);
            if let Some(text) = text.and_then(|text| self.accept(text)) {
                return Some(Piece::Text(text));
            }
            if end {
                return Some(Piece::End);
            }
            if input.is_empty() {
                return None;
            }
        }
    }

    /// Octets of the message so far, also of those dropped.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What was wrong so far.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.faults
    }

    /// One run of text that lies together, and whether the end was found. Takes at least one octet.
    fn scan(&mut self, input: &mut Chunk) -> (Option<Chunk>, bool) {
        let mut end = 0;
        while let Some(&octet) = input.get(end) {
            match self.at {
                At::LineStart if octet == b'.' && self.dotted => {
                    let text = input.split_to(end);
                    input.advance(1);
                    self.at = At::Dot;
                    return (Some(text), false);
                }
                At::LineStart => self.at = At::Text,
                At::Text => end = self.scan_text(input, end),
                At::Cr => match octet {
                    b'\n' => {
                        end += 1;
                        self.grow_line(1);
                        self.line = 0;
                        self.at = At::LineStart;
                    }
                    _ => {
                        self.faults.bare_line_end = true;
                        self.at = At::Text;
                    }
                },
                At::Dot if octet == b'\r' => {
                    input.advance(1);
                    self.at = At::DotCr;
                }
                At::Dot => self.at = At::Text,
                At::DotCr if octet == b'\n' => {
                    input.advance(1);
                    self.at = At::Done;
                    return (None, true);
                }
                At::DotCr => {
                    // The CR that was kept back is text after all, and no line end.
                    self.grow_line(1);
                    self.at = At::Cr;
                    return (Some(Chunk::copy_from(b"\r")), false);
                }
                At::BareLf if end > 0 => return (Some(input.split_to(end)), false),
                At::BareLf => {
                    input.advance(1);
                    self.line = 0;
                    // Not the start of a line: what looks like the end of the message there is text.
                    self.at = At::Text;
                    return (Some(Chunk::copy_from(b"\r\n")), false);
                }
                At::Done => return (None, true),
            }
        }
        (Some(input.split_to(end)), false)
    }

    /// Goes over the text of a line from `from` on; gives where it stopped: behind the next CR, LF or NUL.
    fn scan_text(&mut self, input: &Chunk, from: usize) -> usize {
        let rest = input.get(from..).unwrap_or_default();
        let Some(at) = memchr::memchr3(b'\r', b'\n', 0, rest) else {
            self.grow_line(rest.len());
            return input.len();
        };
        self.grow_line(at + 1);
        match rest.get(at) {
            Some(b'\r') => self.at = At::Cr,
            Some(b'\n') if self.bare_lf == BareLf::Normalise => {
                self.at = At::BareLf;
                return from + at;
            }
            // The line goes on: a dot behind a bare LF is no dot at the start of a line.
            Some(b'\n') => self.faults.bare_line_end = true,
            _ => self.faults.nul = true,
        }
        from + at + 1
    }

    fn grow_line(&mut self, by: usize) {
        self.line = self.line.saturating_add(by);
        self.faults.long_line |= self.line > self.max_line;
    }

    /// Counts octets; gives what of them is within the limit.
    fn accept(&mut self, mut text: Chunk) -> Option<Chunk> {
        let room = self.max_size.saturating_sub(self.size);
        let len = text.len() as u64;
        self.size = self.size.saturating_add(len);
        if len > room {
            self.faults.too_large = true;
            text = text.slice(0..usize::try_from(room).unwrap_or(usize::MAX));
        }
        (!text.is_empty()).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, PartialEq, Eq)]
    struct Outcome {
        text: Vec<u8>,
        /// What follows the end, or `None` when there is no end.
        rest: Option<Vec<u8>>,
        faults: Faults,
        size: u64,
    }

    fn decode_with(parts: &[&[u8]], max_size: u64, max_line: usize) -> Outcome {
        let mut decoder = Decoder::new(max_size, max_line);
        let (mut text, mut rest) = (Vec::new(), None::<Vec<u8>>);
        for part in parts {
            if let Some(rest) = &mut rest {
                rest.extend_from_slice(part);
                continue;
            }
            let mut input = Chunk::copy_from(part);
            while let Some(piece) = decoder.next(&mut input) {
                match piece {
                    Piece::Text(piece) => text.extend_from_slice(&piece),
                    Piece::End => {
                        rest = Some(input.to_vec());
                        break;
                    }
                }
            }
        }
        Outcome {
            text,
            rest,
            faults: decoder.faults(),
            size: decoder.size(),
        }
    }

    /// The same whole, octet by octet, and in every split in two.
    fn decode_limited(input: &[u8], max_size: u64, max_line: usize) -> Outcome {
        let whole = decode_with(&[input], max_size, max_line);
        let octets: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(decode_with(&octets, max_size, max_line), whole, "octet by octet");
        for at in 0..input.len() {
            assert_eq!(
                decode_with(&[&input[..at], &input[at..]], max_size, max_line),
                whole,
                "at {at}"
            );
        }
        whole
    }

    fn decode(input: &[u8]) -> Outcome {
        decode_limited(input, 1 << 20, 1 << 20)
    }

    fn stuff(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for line in text.split_inclusive(|&b| b == b'\n') {
            if line.starts_with(b".") {
                out.push(b'.');
            }
            out.extend_from_slice(line);
        }
        out.extend_from_slice(b".\r\n");
        out
    }

    #[test]
    fn an_empty_message_ends_at_once() {
        let outcome = decode(b".\r\nQUIT\r\n");
        assert_eq!((outcome.text, outcome.rest), (vec![], Some(b"QUIT\r\n".to_vec())));
        assert_eq!(outcome.faults, Faults::default());
    }

    #[test]
    fn dots_are_taken_off_line_starts_only() {
        let outcome = decode(b"..first\r\na.b\r\n..\r\n...\r\n.x\r\n.\r\n");
        assert_eq!(outcome.text, b".first\r\na.b\r\n.\r\n..\r\nx\r\n");
        assert_eq!((outcome.rest, outcome.faults), (Some(vec![]), Faults::default()));
    }

    #[test]
    fn only_the_true_end_ends() {
        let ends: [&[u8]; 9] = [
            b"a\n.\nX",
            b"a\n.\r\nX",
            b"a\r\n.\nX",
            b"a\r\n.\rX",
            b"a\r\n.\r\r\nX",
            b"a\r.\r\nX",
            b"a\r.\rX",
            b"a\n\n.\r\nX",
            b"a\r\n\x00.\r\nX",
        ];
        for smuggled in ends {
            let mut input = smuggled.to_vec();
            input.extend_from_slice(b"\r\n.\r\nRSET\r\n");
            let outcome = decode(&input);
            assert_eq!(
                outcome.rest.as_deref(),
                Some(&b"RSET\r\n"[..]),
                "{:?}",
                input.escape_ascii()
            );
            assert!(
                outcome.faults.bare_line_end || outcome.faults.nul,
                "{:?}",
                input.escape_ascii()
            );
            assert!(outcome.text.ends_with(b"X\r\n"));
        }
    }

    #[test]
    fn cr_cr_lf_is_text() {
        let outcome = decode(b"\r\n.\r\r\nmore\r\n.\r\n");
        assert_eq!(outcome.text, b"\r\n\r\r\nmore\r\n");
        assert!(outcome.faults.bare_line_end);
    }

    #[test]
    fn without_an_end_there_is_none() {
        for open in [&b""[..], b"text\r\n", b"text\r\n.", b"text\r\n.\r", b"text\r"] {
            assert_eq!(decode(open).rest, None, "{}", open.escape_ascii());
        }
    }

    #[test]
    fn long_lines_are_counted_with_their_end() {
        assert!(
            !decode_limited(b"12345678\r\n1\r\n.\r\n", 100, 10)
                .faults
                .long_line
        );
        assert!(
            decode_limited(b"1\r\n123456789\r\n.\r\n", 100, 10)
                .faults
                .long_line
        );
    }

    #[test]
    fn octets_over_the_limit_are_dropped_and_counted() {
        let outcome = decode_limited(b"123456\r\n", 8, 100);
        assert_eq!((outcome.size, outcome.faults.too_large), (8, false));
        let outcome = decode_limited(b"123456\r\n..7\r\n.\r\nX", 8, 100);
        assert_eq!(outcome.text, b"123456\r\n");
        assert_eq!((outcome.size, outcome.faults.too_large), (12, true));
        assert_eq!(outcome.rest.as_deref(), Some(&b"X"[..]));
    }

    #[test]
    fn text_without_stuffed_dots_is_one_slice() {
        let mut decoder = Decoder::new(1 << 20, 1 << 20);
        let mut input = Chunk::copy_from(b"one\r\ntwo\r\nthree\r\n.\r\n");
        let first = decoder.next(&mut input);
        assert_eq!(
            first,
            Some(Piece::Text(Chunk::copy_from(b"one\r\ntwo\r\nthree\r\n")))
        );
        assert_eq!(decoder.next(&mut input), Some(Piece::End));
    }

    proptest! {
        #[test]
        fn decoding_undoes_stuffing(lines in proptest::collection::vec("[.a-z\u{e4} ]{0,4}", 0..8)) {
            let text: String = lines.iter().flat_map(|line| [line.as_str(), "\r\n"]).collect();
            let outcome = decode(&stuff(text.as_bytes()));
            prop_assert_eq!(outcome.text, text.as_bytes());
            prop_assert_eq!(outcome.rest, Some(vec![]));
            prop_assert_eq!(outcome.faults, Faults::default());
        }

        #[test]
        fn any_octets_in_any_split_give_the_same(input in "[\r\n.\0a\u{e4}]{0,24}") {
            let outcome = decode_limited(input.as_bytes(), 12, 6);
            let end = input.find("\r\n.\r\n").map(|at| at + 5);
            let end = if input.starts_with(".\r\n") { Some(3) } else { end };
            prop_assert_eq!(outcome.rest, end.map(|end| input.as_bytes()[end..].to_vec()));
        }
    }
}
