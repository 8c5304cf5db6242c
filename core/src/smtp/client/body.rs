//! A stored message as DATA carries it: CRLF line ends only, dots doubled (RFC 5321 §4.5.2), `.` at the end; or as chunks
//! carry it (RFC 3030 §2): CRLF line ends only.

/// Encodes a message piece by piece; the output does not depend on the pieces.
#[derive(Clone, Debug)]
pub(super) struct BodyEncoder {
    /// For DATA: dots are doubled, and one ends the message.
    dots: bool,
    /// A CR has come that has not been written yet.
    held_cr: bool,
    /// The next octet is the first of a line.
    line_start: bool,
}

impl BodyEncoder {
    pub(super) fn new() -> Self {
        Self {
            dots: true,
            held_cr: false,
            line_start: true,
        }
    }

    pub(super) fn for_chunks() -> Self {
        Self {
            dots: false,
            ..Self::new()
        }
    }

    /// Encodes the next octets. A bare CR or LF becomes CRLF: the peer must not take it for something else
    /// (CVE-2023-51764).
    pub(super) fn encode(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while let Some(&first) = bytes.first() {
            if self.held_cr {
                self.held_cr = false;
                self.end_line(out);
                if first == b'\n' {
                    bytes = bytes.get(1..).unwrap_or_default();
                    continue;
                }
            }
            let end = memchr::memchr2(b'\r', b'\n', bytes).unwrap_or(bytes.len());
            let (text, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
            if let Some(&octet) = text.first() {
                if self.dots && self.line_start && octet == b'.' {
                    out.push(b'.');
                }
                out.extend_from_slice(text);
                self.line_start = false;
            }
            match rest.first() {
                Some(b'\r') => self.held_cr = true,
                Some(_) => self.end_line(out),
                None => {}
            }
            bytes = rest.get(1..).unwrap_or_default();
        }
    }

    /// Ends the message.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        if self.held_cr || !self.line_start {
            self.held_cr = false;
            self.end_line(out);
        }
        if self.dots {
            out.extend_from_slice(b".\r\n");
        }
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\r\n");
        self.line_start = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(pieces: &[&[u8]]) -> Vec<u8> {
        encode_by(BodyEncoder::new(), pieces)
    }

    fn encode_by(mut encoder: BodyEncoder, pieces: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in pieces {
            encoder.encode(piece, &mut out);
        }
        encoder.finish(&mut out);
        out
    }

    #[test]
    fn edges() {
        let cases: &[(&[u8], &[u8])] = &[
            (b"", b".\r\n"),
            (b"a", b"a\r\n.\r\n"),
            (b"a\r\n", b"a\r\n.\r\n"),
            (b".", b"..\r\n.\r\n"),
            (b".\r\n.\r\n", b"..\r\n..\r\n.\r\n"),
            (b"a.\r\n..b\r\n", b"a.\r\n...b\r\n.\r\n"),
            (b"a\n.\nb", b"a\r\n..\r\nb\r\n.\r\n"),
            (b"a\r.\rb", b"a\r\n..\r\nb\r\n.\r\n"),
            (b"a\r\r\nb", b"a\r\n\r\nb\r\n.\r\n"),
            (b"\r", b"\r\n.\r\n"),
            (b"a\n\r", b"a\r\n\r\n.\r\n"),
        ];
        for (input, expected) in cases {
            assert_eq!(
                encode(&[input]).escape_ascii().to_string(),
                expected.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn chunks_have_whole_lines_and_dots_as_they_are() {
        let cases: &[(&[u8], &[u8])] = &[
            (b"", b""),
            (b".\r\n..\r\n", b".\r\n..\r\n"),
            (b"a\n.\rb", b"a\r\n.\r\nb\r\n"),
            (b"a\r", b"a\r\n"),
        ];
        for (input, expected) in cases {
            let octets: Vec<&[u8]> = input.chunks(1).collect();
            for pieces in [vec![*input], octets] {
                let out = encode_by(BodyEncoder::for_chunks(), &pieces);
                assert_eq!(
                    out.escape_ascii().to_string(),
                    expected.escape_ascii().to_string()
                );
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_but_crlf_and_one_end(text in proptest::collection::vec(proptest::sample::select(b"\r\n.a".to_vec()), 0..40), at in 0_usize..40) {
            let whole = encode(&[&text]);
            let at = at.min(text.len());
            prop_assert_eq!(&encode(&[&text[..at], &text[at..]]), &whole);
            let octets: Vec<&[u8]> = text.chunks(1).collect();
            prop_assert_eq!(&encode(&octets), &whole);
            let lines: Vec<&[u8]> = whole.split(|b| *b == b'\n').collect();
            let (end, lines) = lines.split_last().expect("lines");
            prop_assert!(end.is_empty());
            for (n, line) in lines.iter().enumerate() {
                let line = line.strip_suffix(b"\r").expect("CR before each LF");
                prop_assert!(!line.contains(&b'\r'));
                prop_assert_eq!(line == b".", n + 1 == lines.len());
                prop_assert!(line == b"." || !line.starts_with(b".") || line.starts_with(b".."));
            }
        }
    }
}
