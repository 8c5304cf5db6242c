//! What a message's own header says of its delivery: whether it needs SMTPUTF8, and whether it wants no TLS.

/// Octets of a field that are kept: enough for the one that is read.
const KEPT: usize = 64;

/// Looks through a header, in any split.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// The front of the field under way, unfolded.
    field: Vec<u8>,
    /// Octets of the present line so far, but not more than two: an empty line ends the header.
    line: usize,
    /// The header is over.
    done: bool,
    eight_bit: bool,
    tls_not_required: bool,
}

impl Facts {
    /// The next octets of the message.
    pub(super) fn push(&mut self, text: &[u8]) {
        if self.done {
            return;
        }
        for &octet in text {
            match octet {
                b'\r' => {}
                b'\n' if self.line == 0 => return self.finish(),
                b'\n' => self.line = 0,
                octet => {
                    // A line that does not go on with the field begins the next.
                    if self.line == 0 && !matches!(octet, b' ' | b'\t') {
                        self.end_field();
                    }
                    self.line = 1;
                    self.eight_bit |= octet >= 0x80;
                    if self.field.len() < KEPT {
                        self.field.push(octet);
                    }
                }
            }
        }
    }

    /// The message is whole.
    pub(super) fn finish(&mut self) {
        self.end_field();
        self.done = true;
        self.field = Vec::new();
    }

    /// The header has octets above 127 (RFC 6532).
    pub(super) fn needs_utf8(&self) -> bool {
        self.eight_bit
    }

    /// `TLS-Required: No` (RFC 8689 §3).
    pub(super) fn tls_not_required(&self) -> bool {
        self.tls_not_required
    }

    fn end_field(&mut self) {
        const NAME: &[u8] = b"tls-required:";
        let front = self.field.get(..NAME.len());
        let value = self.field.get(NAME.len()..).unwrap_or_default();
        if self.field.len() < KEPT
            && front.is_some_and(|front| front.eq_ignore_ascii_case(NAME))
            && value.trim_ascii().eq_ignore_ascii_case(b"no")
        {
            self.tls_not_required = true;
        }
        self.field.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(text: &str) -> (bool, bool) {
        let facts = |pieces: &mut dyn Iterator<Item = &[u8]>| {
            let mut facts = Facts::default();
            pieces.for_each(|piece| facts.push(piece));
            facts.finish();
            (facts.needs_utf8(), facts.tls_not_required())
        };
        let whole = facts(&mut core::iter::once(text.as_bytes()));
        assert_eq!(
            facts(&mut text.as_bytes().chunks(1)),
            whole,
            "octet by octet: {text:?}"
        );
        whole
    }

    #[test]
    fn only_the_header_counts() {
        assert_eq!(look("A: b\r\n\r\n\u{f6}\r\nTLS-Required: No\r\n"), (false, false));
        assert_eq!(look("A: \u{f6}\r\n\r\n"), (true, false));
        assert_eq!(look("TLS-Required: No\r\n\r\n"), (false, true));
        assert_eq!(
            look("A: b\r\ntls-required:\r\n\tnO \r\nB: c\r\n\r\n"),
            (false, true)
        );
        assert_eq!(look("TLS-Required: No"), (false, true), "a header alone");
        for other in [
            "TLS-Required: Yes\r\n",
            "X-TLS-Required: No\r\n",
            "A: b\r\n TLS-Required: No\r\n",
            "\r\nTLS-Required: No\r\n",
            "TLS-Required: No, really\r\n",
            "",
        ] {
            assert_eq!(look(other), (false, false), "{other:?}");
        }
        let long = format!("TLS-Required: No{}x\r\n\r\n", " ".repeat(100));
        assert_eq!(look(&long), (false, false));
    }
}
