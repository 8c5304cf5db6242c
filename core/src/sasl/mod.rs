//! SASL mechanisms (RFC 4422), server side: SCRAM-SHA-256 and its -PLUS (RFC 5802, RFC 7677), PLAIN (RFC 4616), LOGIN;
//! [`client`] has the other side.
//! The profile (SMTP, IMAP) carries the Base64 lines; an [`Exchange`] sees decoded octets only.

pub mod client;
mod login;
mod plain;
mod scram;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub use self::scram::{Bindings, OtherKeys, ScramUser};
use self::scram::{Progress, Scram};
use crate::addr::AccountName;
use crate::random::Random;
use crate::secret::Secret;

/// Octets of a login name at most: 64 and 255 with `@` fit three times, and nobody hashes kilobytes.
pub const MAX_NAME: usize = 1024;

/// Octets of a password at most (RFC 4616 §2 asks for 255).
pub const MAX_PASSWORD: usize = 1024;

/// A mechanism that we speak; the better is the less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mechanism {
    /// RFC 7677, bound to the TLS connection.
    ScramSha256Plus,
    /// RFC 7677.
    ScramSha256,
    /// RFC 4616.
    Plain,
    /// `draft-murchison-sasl-login`: obsolete, and what many clients use.
    Login,
}

impl Mechanism {
    /// All of them, the better first.
    pub const ALL: [Self; 4] = [Self::ScramSha256Plus, Self::ScramSha256, Self::Plain, Self::Login];

    /// The name, as registered.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Self::ScramSha256 => "SCRAM-SHA-256",
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

    /// Those that are offered, the better first: -PLUS only where there is something to bind to.
    pub fn offered(bindings: bool) -> impl Iterator<Item = Self> {
        Self::ALL
            .into_iter()
            .filter(move |mechanism| bindings || *mechanism != Self::ScramSha256Plus)
    }
}

/// A name and a password, to be compared with what is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Login name.
    pub login: String,
    /// Password.
    pub password: Secret,
}

/// What a finished exchange comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Somebody has this name and password: the service has to look.
    Password(Credentials),
    /// This user has proved that it knows the password; the service has to say whether it may come in.
    Proven(AccountName, u64),
}

/// Why an exchange failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The response does not have the mechanism's form, or a part of it is too long or empty.
    Malformed,
    /// To act as somebody else is not permitted to anybody.
    Authorization,
    /// The proof is wrong, or there is no such user: to the client one and the same.
    Credentials,
    /// What the client is bound to is not this connection, or it was told of other mechanisms than we offer.
    Binding,
}

impl Failure {
    /// In words, for notes.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "malformed response",
            Self::Authorization => "authorization as another user",
            Self::Credentials => "wrong name or password",
            Self::Binding => "wrong channel binding",
        }
    }
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this challenge (not yet in Base64).
    Challenge(String),
    /// Ask what is stored of this login name, and give it to [`Exchange::found`].
    Lookup(String),
    /// The client has said all.
    Done(Claim),
    /// It failed.
    Failed(Failure),
}

/// An authentication exchange under way.
#[derive(Clone, Debug)]
pub struct Exchange {
    mechanism: Mechanism,
    /// The name that the client gave, once it did.
    login: String,
    inner: Inner,
}

#[derive(Clone, Debug)]
enum Inner {
    Plain,
    /// The name is to come.
    LoginName,
    /// The password is to come.
    LoginPassword,
    Scram(Box<Scram>),
}

impl Exchange {
    /// Begins an exchange by the mechanism's name; go on with [`Exchange::begin`]. None: it is not offered.
    #[must_use]
    pub fn new(name: &str, bindings: Option<&Bindings>, random: &mut Random) -> Option<Self> {
        let named = Mechanism::parse(name);
        let mechanism = Mechanism::offered(bindings.is_some()).find(|offered| named == Some(*offered))?;
        let inner = match mechanism {
            Mechanism::Plain => Inner::Plain,
            Mechanism::Login => Inner::LoginName,
            Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => {
                let mut nonce = [0; scram::NONCE];
                random.fill(&mut nonce);
                let plus = mechanism == Mechanism::ScramSha256Plus;
                Inner::Scram(Box::new(Scram::new(plus, bindings.cloned(), nonce)))
            }
        };
        Some(Self {
            mechanism,
            login: String::new(),
            inner,
        })
    }

    /// The mechanism.
    #[must_use]
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// The name that the client gave; empty before it did.
    #[must_use]
    pub fn login(&self) -> &str {
        &self.login
    }

    /// The first step, with the initial response if there was one (it may be empty).
    pub fn begin(&mut self, initial: Option<&[u8]>) -> Step {
        match (initial, &self.inner) {
            (Some(response), _) => self.respond(response),
            (None, Inner::LoginName) => Step::Challenge(login::USERNAME.to_owned()),
            (None, _) => Step::Challenge(String::new()),
        }
    }

    /// The step after a response.
    pub fn respond(&mut self, response: &[u8]) -> Step {
        let done = match &mut self.inner {
            Inner::Plain => plain::parse(response),
            Inner::LoginName => match login::name(response) {
                Ok(name) => {
                    self.login = name;
                    self.inner = Inner::LoginPassword;
                    return Step::Challenge(login::PASSWORD.to_owned());
                }
                Err(failure) => Err(failure),
            },
            Inner::LoginPassword => login::credentials(self.login.clone(), response),
            Inner::Scram(scram) => {
                let progress = scram.respond(response);
                return self.went(progress);
            }
        };
        match done {
            Ok(credentials) => {
                self.login.clone_from(&credentials.login);
                Step::Done(Claim::Password(credentials))
            }
            Err(failure) => Step::Failed(failure),
        }
    }

    /// The step after a [`Step::Lookup`].
    pub fn found(&mut self, user: ScramUser) -> Step {
        match &mut self.inner {
            Inner::Scram(scram) => {
                let progress = scram.found(user);
                self.went(progress)
            }
            _ => Step::Failed(Failure::Malformed),
        }
    }

    fn went(&mut self, progress: Result<Progress, Failure>) -> Step {
        match progress {
            Ok(Progress::Lookup(login)) => {
                self.login.clone_from(&login);
                Step::Lookup(login)
            }
            Ok(Progress::Challenge(text)) => Step::Challenge(text),
            Ok(Progress::Done(account, epoch)) => Step::Done(Claim::Proven(account, epoch)),
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

/// What SASLprep prohibits in a name (RFC 4013 §2.3, the tables of RFC 3454 §C): controls, private use, what is no character,
/// what changes the display, tags. Spaces other than the plain one are no part of a name that is prepared.
fn is_prohibited(c: char) -> bool {
    let plane_end = u32::from(c) & 0xfffe == 0xfffe;
    plane_end
        || c.is_control()
        || matches!(c,
            '\u{340}' | '\u{341}' | '\u{6dd}' | '\u{70f}' | '\u{180e}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2061}'..='\u{2063}' | '\u{206a}'..='\u{206f}'
            | '\u{2ff0}'..='\u{2ffb}' | '\u{e000}'..='\u{f8ff}' | '\u{fdd0}'..='\u{fdef}'
            | '\u{fff9}'..='\u{fffd}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}'
            | '\u{e0020}'..='\u{e007f}' | '\u{f0000}'..='\u{10ffff}')
}

/// Whether a text is still something once it is prepared, and without what is prohibited (RFC 4013).
pub(crate) fn can_be_name(text: &str) -> bool {
    checked_name(crate::auth::password::saslprep(text).as_bytes()).is_ok()
}

/// A name: UTF-8, bounded, without NUL and what else is prohibited.
fn checked_name(octets: &[u8]) -> Result<String, Failure> {
    let name = core::str::from_utf8(octets).map_err(|_| Failure::Malformed)?;
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(is_prohibited) {
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
    fn what_is_prohibited_is_no_part_of_a_name() {
        for bad in [
            '\0',
            '\u{7f}',
            '\u{85}',
            '\u{202e}',
            '\u{e000}',
            '\u{fffd}',
            '\u{1fffe}',
            '\u{e0041}',
        ] {
            let name = format!("tim{bad}");
            assert_eq!(checked_name(name.as_bytes()), Err(Failure::Malformed), "{bad:?}");
        }
        for good in ["tim", "jörg@exämple.org", "tim smith", "\u{627}\u{31}"] {
            assert_eq!(checked_name(good.as_bytes()).as_deref(), Ok(good));
        }
    }

    fn started(mechanism: Mechanism) -> Exchange {
        let mut random = Random::from_seed([1; 32]);
        Exchange::new(mechanism.name(), None, &mut random).expect("offered")
    }

    #[test]
    fn plus_needs_something_to_bind_to() {
        let mut random = Random::from_seed([1; 32]);
        assert!(Exchange::new("SCRAM-SHA-256-PLUS", None, &mut random).is_none());
        assert!(Exchange::new("CRAM-MD5", None, &mut random).is_none());
        let tls = crate::machine::TlsInfo {
            version: 0x0304,
            exporter: Some(vec![1; 32]),
            ..Default::default()
        };
        let bindings = Bindings::of(&tls);
        let plus = Exchange::new("scram-sha-256-plus", bindings.as_ref(), &mut random).expect("offered");
        assert_eq!(plus.mechanism(), Mechanism::ScramSha256Plus);
    }

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
        let done = Step::Done(Claim::Password(Credentials {
            login: "a".into(),
            password: Secret::new("b"),
        }));
        assert_eq!(started(Mechanism::Plain).begin(Some(b"\0a\0b")), done);
        let mut exchange = started(Mechanism::Plain);
        assert_eq!(exchange.begin(None), Step::Challenge(String::new()));
        assert_eq!(exchange.respond(b"\0a\0b"), done);
    }

    #[test]
    fn login_asks_twice() {
        let mut exchange = started(Mechanism::Login);
        assert_eq!(exchange.begin(None), Step::Challenge("Username:".into()));
        assert_eq!(exchange.respond(b"a@b.c"), Step::Challenge("Password:".into()));
        let Step::Done(Claim::Password(credentials)) = exchange.respond(b"secret") else {
            panic!("not done");
        };
        assert_eq!(credentials.login, "a@b.c");
        assert_eq!(credentials.password.expose(), b"secret");
        assert_eq!(
            started(Mechanism::Login).begin(Some(b"a")),
            Step::Challenge("Password:".into())
        );
        assert_eq!(
            started(Mechanism::Login).begin(Some(b"")),
            Step::Failed(Failure::Malformed)
        );
    }
}
