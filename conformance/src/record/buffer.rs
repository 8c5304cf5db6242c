//! Octets that come in pieces and are taken away at the front, each looked at once.

#[derive(Debug, Default)]
pub(super) struct Buffer {
    octets: Vec<u8>,
    /// Those before were taken.
    at: usize,
    /// Up to here there is no line end, unless one stands right here.
    looked: usize,
}

impl Buffer {
    pub(super) fn push(&mut self, octets: &[u8]) {
        // What was taken goes when it is more than what is left: moving the rest costs no more than taking did.
        if self.at > self.octets.len() / 2 {
            self.octets.drain(..self.at);
            self.looked = self.looked.saturating_sub(self.at);
            self.at = 0;
        }
        self.octets.extend_from_slice(octets);
    }

    pub(super) fn rest(&self) -> &[u8] {
        self.octets.get(self.at..).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.octets.len() - self.at
    }

    /// Octets of the first line with its LF.
    pub(super) fn line(&mut self) -> Option<usize> {
        self.find(|_| true)
    }

    /// Octets of the first line with its CRLF.
    pub(super) fn crlf_line(&mut self) -> Option<usize> {
        self.find(|before| before.last() == Some(&b'\r'))
    }

    fn find(&mut self, ends: impl Fn(&[u8]) -> bool) -> Option<usize> {
        let mut from = self.looked.max(self.at);
        while let Some(found) = self.octets.get(from..)?.iter().position(|octet| *octet == b'\n') {
            let end = from + found;
            if ends(self.octets.get(self.at..end).unwrap_or_default()) {
                self.looked = end;
                return Some(end + 1 - self.at);
            }
            from = end + 1;
        }
        self.looked = self.octets.len();
        None
    }

    pub(super) fn take(&mut self, octets: usize) -> Vec<u8> {
        let end = (self.at + octets).min(self.octets.len());
        let taken = self.octets.get(self.at..end).unwrap_or_default().to_vec();
        self.at = end;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_however_they_are_pushed() {
        let text = b"a\r\nb\nc\r\n\r\nlast";
        for piece in 1..=text.len() {
            let mut buffer = Buffer::default();
            let mut lines = Vec::new();
            for octets in text.chunks(piece) {
                buffer.push(octets);
                while let Some(end) = buffer.crlf_line() {
                    assert_eq!(buffer.crlf_line(), Some(end));
                    lines.push(buffer.take(end));
                }
            }
            assert_eq!(lines, [b"a\r\n".to_vec(), b"b\nc\r\n".to_vec(), b"\r\n".to_vec()]);
            assert_eq!((buffer.rest(), buffer.len()), (&b"last"[..], 4));
        }
        let mut buffer = Buffer::default();
        buffer.push(b"a\nb");
        assert_eq!(buffer.line(), Some(2));
        buffer.take(2);
        assert_eq!((buffer.line(), buffer.rest()), (None, &b"b"[..]));
    }
}
