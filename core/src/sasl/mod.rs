//! SASL mechanisms (RFC 4422), server side: PLAIN (RFC 4616) and LOGIN. The profile (SMTP, IMAP) carries the Base64
//! lines; an [`Exchange`] sees decoded octets only.

mod login;
mod plain;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::secret::Secret;

/// Octets of a login name at most: 64 and 255 with `@` fit three times, and nobody hashes kilobytes.
pub const MAX_NAME: usize = 1024;

/// Octets of a password at most (RFC 4616 §2 asks for 255).
pub const MAX_PASSWORD: usize = 1024;

/// A mechanism that we speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// `draft-murchison-sasl-login`: obsolete, and what many clients use.
    Login,
}

impl Mechanism {
    /// All of them, the better first.
    pub const ALL: [Self; 2] = [Self::Plain, Self::Login];

    /// The name, as registered.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }

    /// The mechanism of this name, which is compared without case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }
}

/// What a finished exchange claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Login name.
    pub login: String,
    /// Password.
    pub password: Secret,
}

/// Why an exchange failed before any password was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The response does not have the mechanism's form, or a part of it is too long or empty.
    Malformed,
    /// To act as somebody else is not permitted to anybody.
    Authorization,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this challenge (not yet in Base64).
    Challenge(&'static str),
    /// The client has said all.
    Done(Credentials),
    /// It failed.
    Failed(Failure),
}

/// An authentication exchange under way.
#[derive(Clone, Debug)]
pub struct Exchange {
    mechanism: Mechanism,
    /// LOGIN: the name, once given.
    name: Option<String>,
}

impl Exchange {
    /// Begins an exchange; the next octets to feed are the initial response, or nothing: see [`Exchange::begin`].
    #[must_use]
    pub fn new(mechanism: Mechanism) -> Self {
        Self {
            mechanism,
            name: None,
        }
    }

    /// The mechanism.
    #[must_use]
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// The first step, with the initial response if there was one (it may be empty).
    pub fn begin(&mut self, initial: Option<&[u8]>) -> Step {
        match (initial, self.mechanism) {
            (Some(response), _) => self.respond(response),
            (None, Mechanism::Plain) => Step::Challenge(""),
            (None, Mechanism::Login) => Step::Challenge(login::USERNAME),
        }
    }

    /// The step after a response.
    pub fn respond(&mut self, response: &[u8]) -> Step {
        let result = match (self.mechanism, self.name.take()) {
            (Mechanism::Plain, _) => plain::parse(response),
            (Mechanism::Login, Some(name)) => login::credentials(name, response),
            (Mechanism::Login, None) => match login::name(response) {
                Ok(name) => {
                    self.name = Some(name);
                    return Step::Challenge(login::PASSWORD);
                }
                Err(failure) => Err(failure),
            },
        };
        match result {
            Ok(credentials) => Step::Done(credentials),
            Err(failure) => Step::Failed(failure),
        }
    }
}

/// Decodes a response line (without CRLF): strict Base64 (RFC 4954 §4), in memory that is cleared when dropped.
#[must_use]
pub fn decode(line: &[u8]) -> Option<Secret> {
    STANDARD.decode(line).ok().map(Secret::new)
}

/// Decodes an initial response, where `=` stands for an empty one (RFC 4954 §4, RFC 4959 §3).
#[must_use]
pub fn decode_initial(word: &[u8]) -> Option<Secret> {
    if word == b"=" {
        return Some(Secret::default());
    }
    decode(word)
}

/// Encodes a challenge.
#[must_use]
pub fn encode(challenge: &str) -> String {
    STANDARD.encode(challenge)
}

/// A name: UTF-8, bounded, without NUL and other controls.
fn checked_name(octets: &[u8]) -> Result<String, Failure> {
    let name = core::str::from_utf8(octets).map_err(|_| Failure::Malformed)?;
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(Failure::Malformed);
    }
    Ok(name.to_owned())
}

/// A password: bounded, without NUL.
fn checked_password(octets: &[u8]) -> Result<Secret, Failure> {
    if octets.is_empty() || octets.len() > MAX_PASSWORD || octets.contains(&0) {
        return Err(Failure::Malformed);
    }
    Ok(Secret::new(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mechanisms_are_found_by_name() {
        assert_eq!(Mechanism::parse("plain"), Some(Mechanism::Plain));
        assert_eq!(Mechanism::parse("LOGIN"), Some(Mechanism::Login));
        assert_eq!(Mechanism::parse("CRAM-MD5"), None);
    }

    #[test]
    fn base64_is_strict() {
        let good = decode(b"AGEAYg==").map(|secret| secret.expose().to_vec());
        assert_eq!(good.as_deref(), Some(&b"\0a\0b"[..]));
        for bad in [&b"AGEAYg"[..], b"=AGE", b"AG EAYg==", b"AAA=BBB=", b"*", b"A"] {
            assert_eq!(decode(bad), None, "{}", bad.escape_ascii());
        }
        assert_eq!(decode_initial(b"=").map(|s| s.expose().len()), Some(0));
        assert_eq!(decode(b"="), None);
        assert_eq!(encode(login::USERNAME), "VXNlcm5hbWU6");
    }

    #[test]
    fn plain_is_one_response_with_or_without_a_challenge() {
        let done = Step::Done(Credentials {
            login: "a".into(),
            password: Secret::new("b"),
        });
        assert_eq!(Exchange::new(Mechanism::Plain).begin(Some(b"\0a\0b")), done);
        let mut exchange = Exchange::new(Mechanism::Plain);
        assert_eq!(exchange.begin(None), Step::Challenge(""));
        assert_eq!(exchange.respond(b"\0a\0b"), done);
    }

    #[test]
    fn login_asks_twice() {
        let mut exchange = Exchange::new(Mechanism::Login);
        assert_eq!(exchange.begin(None), Step::Challenge("Username:"));
        assert_eq!(exchange.respond(b"a@b.c"), Step::Challenge("Password:"));
        let Step::Done(credentials) = exchange.respond(b"secret") else {
            panic!("not done");
        };
        assert_eq!(credentials.login, "a@b.c");
        assert_eq!(credentials.password.expose(), b"secret");
        assert_eq!(
            Exchange::new(Mechanism::Login).begin(Some(b"a")),
            Step::Challenge("Password:")
        );
        assert_eq!(
            Exchange::new(Mechanism::Login).begin(Some(b"")),
            Step::Failed(Failure::Malformed)
        );
    }
}
