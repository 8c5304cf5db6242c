//! THREADID (RFC 8474 §5.2): a pure function of the message, so that all servers that share it and all times say the same.

use core::fmt;

use sha2::{Digest as _, Sha256};

use super::header::find;
use super::parsed::{EmailId, Parsed, digits_of};

/// Names of the fields that it depends on.
pub const FIELDS: [&str; 3] = ["References", "In-Reply-To", "Message-ID"];

/// What messages of one thread share: a hash of the identification of its first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ThreadId(pub [u8; 20]);

impl ThreadId {
    /// By the first identification in References, else in In-Reply-To, else the message's own; by the message itself if
    /// there is none. `header`: at least the three [`FIELDS`] of it.
    #[must_use]
    pub fn of(header: &[u8], email_id: impl FnOnce() -> Option<EmailId>) -> Option<Self> {
        let root = FIELDS.iter().find_map(|name| {
            let field = find(header, name.as_bytes())?;
            first_id(field.raw)
        });
        match root {
            Some(root) => {
                let hash: [u8; 32] = Sha256::digest(root).into();
                hash.first_chunk::<20>().copied().map(Self)
            }
            None => email_id().map(|id| Self(id.0)),
        }
    }

    /// Of a message, which is all of these octets.
    #[must_use]
    pub fn of_message(message: &[u8]) -> Option<Self> {
        Self::of(message, || Some(EmailId::of(message)))
    }

    /// Reads what `Display` writes; case counts, as in every object id.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        digits_of(text.strip_prefix('T')?).map(Self)
    }

    /// The same of what is kept of a message. `None`: that is not enough.
    #[must_use]
    pub fn of_kept(parsed: &Parsed) -> Option<Self> {
        let header = parsed.header()?;
        let known = FIELDS.iter().all(|name| parsed.knows(name.as_bytes()));
        Self::of(header, || parsed.email_id()).filter(|_| known)
    }
}

impl fmt::Display for ThreadId {
    /// `objectid`: `T` and lower-case hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("T")?;
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// The first `<…>` of a field's value, without white space, brackets included.
fn first_id(raw: &[u8]) -> Option<Vec<u8>> {
    let start = memchr::memchr(b'<', raw)?;
    let rest = raw.get(start..)?;
    let end = memchr::memchr(b'>', rest)?;
    let id: Vec<u8> = rest
        .get(..=end)?
        .iter()
        .copied()
        .filter(|octet| !octet.is_ascii_whitespace())
        .collect();
    (id.len() > 2).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(header: &str) -> String {
        let id = ThreadId::of(header.as_bytes(), || Some(EmailId([1; 20])));
        id.expect("known").to_string()
    }

    #[test]
    fn a_thread_is_named_by_its_first_message() {
        let root = of("Message-ID: <a@b>\r\n\r\n");
        assert_eq!(root.len(), 41);
        assert!(root.starts_with('T') && root[1..].bytes().all(|octet| octet.is_ascii_hexdigit()));
        for reply in [
            "Message-ID: <c@d>\r\nIn-Reply-To: Your message <a@b>\r\n\r\n",
            "message-id: <e@f>\r\nReferences: <a@b>\r\n <c@d>\r\nIn-Reply-To: <c@d>\r\n\r\n",
            "References:\r\n <a\r\n @b> <c@d>\r\n\r\n",
        ] {
            assert_eq!(of(reply), root, "{reply}");
        }
        assert_ne!(of("Message-ID: <c@d>\r\n\r\n"), root);
        for none in [
            "Subject: x\r\n\r\n",
            "Message-ID: a@b\r\n\r\n",
            "Message-ID: <>\r\n\r\n",
        ] {
            assert_eq!(of(none), format!("T{}", "01".repeat(20)));
        }
        assert_eq!(ThreadId::of(b"\r\n", || None), None);
    }
}
