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
}
