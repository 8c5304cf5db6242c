//! Transfer encodings undone in pieces, for parts that are not in memory as a whole.

use super::decode::TransferEncoding;

/// Octets of a line that wait for its end; a longer one is cut.
const MAX_HELD: usize = 64 * 1024;

/// What [`TransferEncoding::decoded`] does, piece by piece.
#[derive(Clone, Debug)]
pub struct Decoder {
    encoding: TransferEncoding,
    /// What came and is not decoded: less than a group, or than a line.
    held: Vec<u8>,
}

impl Decoder {
    /// At the start of a body.
    #[must_use]
    pub fn new(encoding: TransferEncoding) -> Self {
        Self {
            encoding,
            held: Vec::new(),
        }
    }

    /// Takes octets of the body and appends what they decode to.
    pub fn push(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        match self.encoding {
            TransferEncoding::Identity => out.extend_from_slice(octets),
            TransferEncoding::Base64 => self.base64(octets, out),
            TransferEncoding::QuotedPrintable => {
                self.held.extend_from_slice(octets);
                let cut = cut_of(&self.held);
                self.decode_held(cut, out);
            }
        }
    }

    /// The body is whole.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.decode_held(self.held.len(), out);
    }

    fn decode_held(&mut self, len: usize, out: &mut Vec<u8>) {
        let octets = self.held.get(..len).unwrap_or_default();
        self.encoding.decode(octets, |piece| {
            out.extend_from_slice(piece);
            true
        });
        self.held.drain(..len);
    }

    /// Whole groups are decoded; padding ends one.
    fn base64(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        let digit = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/');
        self.held
            .extend(octets.iter().filter(|octet| digit(octet) || **octet == b'='));
        let after_pad = self
            .held
            .iter()
            .rposition(|octet| *octet == b'=')
            .map_or(0, |at| at + 1);
        let whole = after_pad + (self.held.len() - after_pad) / 4 * 4;
        self.decode_held(whole, out);
    }
}

/// How much of some lines can be decoded without knowing what follows.
fn cut_of(held: &[u8]) -> usize {
    if let Some(lf) = memchr::memrchr(b'\n', held) {
        return lf + 1;
    }
    if held.len() < MAX_HELD {
        return 0;
    }
    // Not within an escape, nor before white space or CR that a line end may follow.
    let open = |octet: &u8| matches!(octet, b'=' | b' ' | b'\t' | b'\r');
    let safe = held
        .windows(2)
        .rposition(|pair| matches!(pair, [before, last] if *before != b'=' && !open(last)));
    safe.map_or(held.len(), |at| at + 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn in_pieces(encoding: TransferEncoding, body: &[u8], size: usize) -> Vec<u8> {
        let mut decoder = Decoder::new(encoding);
        let mut out = Vec::new();
        for piece in body.chunks(size) {
            decoder.push(piece, &mut out);
            assert!(decoder.held.len() < MAX_HELD + size);
        }
        decoder.finish(&mut out);
        out
    }

    #[test]
    fn lines_without_end_are_cut_where_nothing_is_lost() {
        for word in ["x", "=41", "a ", "= ", "=\r", "a=4"] {
            let body = word.repeat(120_000 / word.len());
            let whole = TransferEncoding::QuotedPrintable.decoded(body.as_bytes());
            let pieces = in_pieces(TransferEncoding::QuotedPrintable, body.as_bytes(), 8_000);
            assert!(pieces == whole || word == "= " || word == "=\r", "{word:?}");
        }
    }

    proptest! {
        #[test]
        fn pieces_decode_as_the_whole(body in "[ -~\r\n=\t]{0,300}", size in 1_usize..9, words in "([A-Za-z0-9+/]{0,9}[=\r\n]{0,2}){0,40}") {
            for encoding in [TransferEncoding::Identity, TransferEncoding::Base64, TransferEncoding::QuotedPrintable] {
                for body in [body.as_bytes(), words.as_bytes()] {
                    prop_assert_eq!(in_pieces(encoding, body, size), encoding.decoded(body));
                }
            }
        }
    }
}
