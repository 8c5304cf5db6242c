//! LOGIN, AUTHENTICATE, ID, COMPRESS, ENABLE.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::token::{Cursor, Parse};
use crate::imap::command::Command;
use crate::secret::Secret;

/// Capabilities of one ENABLE: more than there are.
const MAX_ENABLE: usize = 64;

/// Bounds of ID (RFC 2971 §3.3).
const MAX_ID_FIELDS: usize = 30;
const MAX_ID_FIELD: usize = 30;
const MAX_ID_VALUE: usize = 1_024;

/// `"LOGIN" SP userid SP password` (RFC 9051 §9)
pub(super) fn login(c: &mut Cursor<'_>) -> Parse<Command> {
    c.allow_literals();
    c.space("a space and a user name")?;
    let user = c.text("a user name")?;
    c.space("a space and a password")?;
    let password = Secret::new(c.astring("a password")?.into_owned());
    Ok(Command::Login { user, password })
}

/// `"AUTHENTICATE" SP auth-type [SP (base64 / "=")]` (RFC 9051 §9, RFC 4959 §3). The mechanism comes in capitals. Either
/// may come as a string too: some clients send long arguments as literals.
pub(super) fn authenticate(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a space and a SASL mechanism")?;
    c.allow_literals();
    let mechanism = c.text("a SASL mechanism")?.to_ascii_uppercase();
    let mut initial = None;
    if c.eat(b' ') {
        let coded = match c.peek() {
            Some(b'"' | b'{') => c.string("an initial response")?,
            _ => c
                .take_while(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/' | b'='))
                .into(),
        };
        let octets = match &*coded {
            b"" => return Err(c.expected("an initial response in base64, or =")),
            b"=" => Vec::new(),
            coded => STANDARD
                .decode(coded)
                .map_err(|_| c.wrong("the initial response is not base64"))?,
        };
        initial = Some(Secret::new(octets));
    }
    Ok(Command::Authenticate { mechanism, initial })
}

/// `"ID" SP (nil / "(" [string SP nstring *(SP string SP nstring)] ")")` (RFC 2971 §4)
pub(super) fn id(c: &mut Cursor<'_>) -> Parse<Command> {
    c.allow_literals();
    c.space("a space and a list of fields and values, or NIL")?;
    if !c.eat(b'(') {
        return match c.nstring("a list of fields and values, or NIL")? {
            None => Ok(Command::Id(Vec::new())),
            Some(_) => Err(c.wrong("expected a list or NIL")),
        };
    }
    if c.eat(b')') {
        return Ok(Command::Id(Vec::new()));
    }
    let fields = c.rest_of_list(MAX_ID_FIELDS, |c| {
        let field = c.string("a field name as a string")?;
        let field = c.utf8(field)?;
        c.space("a space and the field's value")?;
        let value = c.nstring("a value as a string, or NIL")?;
        let value = value.map(|value| c.utf8(value)).transpose()?;
        if field.len() > MAX_ID_FIELD || value.as_ref().is_some_and(|value| value.len() > MAX_ID_VALUE) {
            return Err(c.wrong("a field of over 30 or a value of over 1024 octets"));
        }
        Ok((field, value))
    })?;
    Ok(Command::Id(fields))
}

/// `"COMPRESS" SP algorithm` (RFC 4978 §5)
pub(super) fn compress(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a space and a compression mechanism")?;
    let mechanism = c.atom("a compression mechanism")?.to_ascii_uppercase();
    Ok(Command::Compress { mechanism })
}

/// `"ENABLE" 1*(SP capability)` (RFC 9051 §9)
pub(super) fn enable(c: &mut Cursor<'_>) -> Parse<Command> {
    let mut names = Vec::new();
    c.space("a space and a capability")?;
    loop {
        names.push(c.atom("a capability")?.to_owned());
        if !c.eat(b' ') {
            return Ok(Command::Enable(names));
        }
        if names.len() == MAX_ENABLE {
            return Err(c.wrong("too many capabilities"));
        }
    }
}
