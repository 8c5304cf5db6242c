//! Message IDs in header fields, normalised so that quoting makes no difference (RFC 5256 §3, THREAD).

/// Octets of a message ID that is looked at.
const MAX: usize = 998;

/// The valid message IDs of a field's value in their order, without brackets, comments outside of them, and needless
/// quotes; at most `most`. Linear in the value's length.
pub(super) fn message_ids(value: &[u8], most: usize) -> Vec<Vec<u8>> {
    let mut ids = Vec::new();
    let mut id: Option<Id> = None;
    let mut octets = value.iter().copied();
    while let Some(octet) = octets.next() {
        let Some(open) = &mut id else {
            if octet == b'<' {
                id = Some(Id::default());
            }
            continue;
        };
        match octet {
            b'"' => open.quoted = !open.quoted,
            b'\\' if open.quoted => open.text.extend(octets.next()),
            b'<' if !open.quoted => *open = Id::default(),
            b'>' if !open.quoted => {
                ids.extend(id.take().and_then(Id::finish));
                if ids.len() == most {
                    break;
                }
            }
            b'\r' | b'\n' => {}
            b' ' | b'\t' if !open.quoted => {}
            b'@' if !open.quoted => {
                open.at = Some(open.text.len());
                open.text.push(octet);
            }
            octet => open.text.push(octet),
        }
    }
    ids
}

/// An ID that is being read.
#[derive(Default)]
struct Id {
    text: Vec<u8>,
    quoted: bool,
    /// Where its last `@` outside quotes is.
    at: Option<usize>,
}

impl Id {
    /// `id-left "@" id-right` (RFC 5322 §3.6.4)
    fn finish(self) -> Option<Vec<u8>> {
        let at = self.at?;
        (at > 0 && at + 1 < self.text.len() && self.text.len() <= MAX).then_some(self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(value: &str) -> Vec<String> {
        message_ids(value.as_bytes(), usize::MAX)
            .into_iter()
            .map(|id| String::from_utf8(id).expect("UTF-8"))
            .collect()
    }

    #[test]
    fn ids_are_found_and_normalised() {
        assert_eq!(
            ids(" <\"01KF8JCEOCBS0045PS\"@xxx.yyy.com> (c) <01KF8JCEOCBS0045PS@xxx.yyy.com>"),
            ["01KF8JCEOCBS0045PS@xxx.yyy.com"; 2]
        );
        assert_eq!(
            ids("Your mail of <today <a@b>, <\"x\\\"y>\"@b> <c@"),
            ["a@b", "x\"y>@b"]
        );
        assert_eq!(ids("<@b> <a@> <ab> <> x@y <a @\r\n b>"), ["a@b"]);
        assert_eq!(message_ids(b"<a@b> <c@d>", 1), [b"a@b"]);
    }
}
