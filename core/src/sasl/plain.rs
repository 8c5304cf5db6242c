//! PLAIN (RFC 4616).

use super::{Credentials, Failure, checked_name, checked_password};

/// `message = [authzid] UTF8NUL authcid UTF8NUL passwd` (RFC 4616 §2).
pub(super) fn parse(message: &[u8]) -> Result<Credentials, Failure> {
    let mut parts = message.splitn(3, |&octet| octet == 0);
    let (Some(authzid), Some(authcid), Some(passwd)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(Failure::Malformed);
    };
    let login = checked_name(authcid)?;
    let password = checked_password(passwd)?;
    // Nobody may act as somebody else, so an authorization identity can only repeat the name.
    if !authzid.is_empty() && !authzid.eq_ignore_ascii_case(authcid) {
        return Err(Failure::Authorization);
    }
    Ok(Credentials { login, password })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_the_rfc_says() {
        let login = |message: &[u8]| parse(message).map(|credentials| credentials.login);
        assert_eq!(login(b"\0tim\0tanstaaftanstaaf").as_deref(), Ok("tim"));
        assert_eq!(login(b"Tim\0tim\0x").as_deref(), Ok("tim"));
        assert_eq!(login(b"Ursel\0Kurt\0xipj3plmq"), Err(Failure::Authorization));
        for bad in [
            &b""[..],
            b"a",
            b"a\0b",
            b"\0\0x",
            b"\0a\0",
            b"\0a\0b\0c",
            b"\0\xff\0x",
        ] {
            assert_eq!(login(bad), Err(Failure::Malformed), "{}", bad.escape_ascii());
        }
        let long = |n: usize| [&b"\0a\0"[..], &vec![b'x'; n]].concat();
        assert!(login(&long(super::super::MAX_PASSWORD)).is_ok());
        assert_eq!(
            login(&long(super::super::MAX_PASSWORD + 1)),
            Err(Failure::Malformed)
        );
    }
}
