//! The head of a request: what its line and its fields say (RFC 9112 §3, §5).

/// A request's head. What stands in it is checked for syntax and for framing, not for sense.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// `GET`: case counts (RFC 9110 §9.1).
    pub method: String,
    /// The path as it was sent: percent-encoded, without scheme, authority and query. `*` for `OPTIONS *`.
    pub path: String,
    /// What stands behind `?`, as it was sent.
    pub query: String,
    /// Names in lower case, and values without the white space around them, in their order.
    pub fields: Vec<(String, Vec<u8>)>,
    /// HTTP/1.0: the connection ends with the answer, and nothing is sent in chunks.
    pub old: bool,
}

impl Head {
    /// The first field of this name (lower case) whose value is text.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut named = self.fields.iter().filter(|(other, _)| other == name);
        named.find_map(|(_, value)| core::str::from_utf8(value).ok())
    }

    /// All fields of this name (lower case) whose value is text.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
        let named = self.fields.iter().filter(move |(other, _)| other == name);
        named.filter_map(|(_, value)| core::str::from_utf8(value).ok())
    }

    /// The members of all fields of this name (lower case) that are lists (RFC 9110 §5.6.1), without the empty ones.
    pub fn list<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
        let members = self.all(name).flat_map(|value| value.split(','));
        members.map(trimmed).filter(|member| !member.is_empty())
    }

    /// Whether a list has this member, in any case.
    #[must_use]
    pub fn lists(&self, name: &str, member: &str) -> bool {
        self.list(name).any(|other| other.eq_ignore_ascii_case(member))
    }
}

/// Without the white space around it (OWS, RFC 9110 §5.6.3).
pub(super) fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// `tchar` (RFC 9110 §5.6.2).
pub(super) const fn is_token(octet: u8) -> bool {
    matches!(
        octet,
        b'!' | b'#'
            | b'$'
            | b'%'
            | b'&'
            | b'\''
            | b'*'
            | b'+'
            | b'-'
            | b'.'
            | b'^'
            | b'_'
            | b'`'
            | b'|'
            | b'~'
    ) || octet.is_ascii_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_may_be_cut_into_fields() {
        let head = Head {
            fields: vec![
                ("accept".to_owned(), b"a, b ,,".to_vec()),
                ("other".to_owned(), b"x".to_vec()),
                ("accept".to_owned(), b"C".to_vec()),
            ],
            ..Head::default()
        };
        assert_eq!(head.list("accept").collect::<Vec<_>>(), ["a", "b", "C"]);
        assert!(head.lists("accept", "c") && !head.lists("accept", "x"));
        assert_eq!(head.field("accept"), Some("a, b ,,"));
    }
}
