//! SASL mechanisms, the client's side: SCRAM-SHA-256 and its -PLUS (RFC 5802, RFC 7677), PLAIN (RFC 4616), LOGIN. The
//! profile carries the Base64 lines; a [`Login`] sees decoded octets only.
//!
//! A server that cannot prove that it knows the password is not believed: see [`Login::is_over`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::scram::EXPORTER_BINDING;
use super::{Bindings, Mechanism};
use crate::auth::password::{MAX_ROUNDS, hmac, saslprep};
use crate::secret::Secret;

/// Octets of chance in our nonce; in Base64 20 characters without `=`.
pub const NONCE: usize = 15;

/// Characters of a server's message.
const MAX_MESSAGE: usize = 8 * 1024;

/// Octets of a salt.
const MAX_SALT: usize = 1024;

/// What the client says next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// This response (not yet in Base64).
    Respond(Secret),
    /// Nothing before the password is salted: [`crate::auth::password::salted`] of it, then [`Login::salted`].
    Salt {
        /// Salt.
        salt: Vec<u8>,
        /// Iterations, 1 to [`MAX_ROUNDS`].
        rounds: u32,
    },
    /// `*`: there is nothing to go on with, for this reason. It has no secrets in it.
    Cancel(String),
}

/// A login under way.
#[derive(Debug)]
pub struct Login {
    mechanism: Mechanism,
    state: State,
}

/// What is to be said at the next challenge.
#[derive(Debug)]
enum State {
    /// PLAIN: everything.
    Plain { username: String, password: Secret },
    /// PLAIN: everything was said; some servers ask for it although it came with the command.
    Again(Secret),
    /// LOGIN: the name.
    Name { username: String, password: Secret },
    /// LOGIN: the password.
    Password(Secret),
    /// SCRAM: client-first-message.
    First(Box<First>),
    /// SCRAM: server-first-message is to come.
    ServerFirst(Box<First>),
    /// SCRAM: the salted password is to come, then client-final-message goes out.
    Salted(Box<Asked>),
    /// SCRAM: server-final-message is to come; it has this signature.
    ServerFinal([u8; 32]),
    /// All is said.
    Over,
    /// It has failed.
    Failed,
}

/// The first message of the client.
#[derive(Clone, Debug)]
struct First {
    /// GS2 header, then what is bound to.
    bound: Vec<u8>,
    header: &'static str,
    /// `client-first-message-bare`
    bare: String,
    nonce: String,
}

/// The first messages of both.
#[derive(Debug)]
struct Asked {
    /// All messages up to the proof.
    messages: String,
    /// `client-final-message-without-proof`
    without_proof: String,
}

impl Login {
    /// Begins a login. `bindings`: of the connection, if there are any; `plus_offered`: the server offers -PLUS, whether
    /// it is chosen or not. `nonce`: octets of chance, never used before; only SCRAM looks at them.
    #[must_use]
    pub fn new(
        mechanism: Mechanism,
        username: &str,
        password: &Secret,
        bindings: Option<&Bindings>,
        plus_offered: bool,
        nonce: [u8; NONCE],
    ) -> Self {
        let (username, password) = (username.to_owned(), password.clone());
        let state = match mechanism {
            Mechanism::Plain => State::Plain { username, password },
            Mechanism::Login => State::Name { username, password },
            Mechanism::ScramSha256Plus => {
                let data = bindings.and_then(|bindings| bindings.data(EXPORTER_BINDING));
                match data {
                    Some(data) => {
                        State::First(Box::new(First::new("p=tls-exporter,,", data, &username, nonce)))
                    }
                    None => State::Failed,
                }
            }
            // RFC 5802 §6: `y` says that we could bind and think that the server cannot.
            Mechanism::ScramSha256 if bindings.is_some() && !plus_offered => {
                State::First(Box::new(First::new("y,,", &[], &username, nonce)))
            }
            Mechanism::ScramSha256 => State::First(Box::new(First::new("n,,", &[], &username, nonce))),
        };
        Self { mechanism, state }
    }

    /// The mechanism.
    #[must_use]
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// What goes with the command itself; none: the mechanism waits for a challenge.
    pub fn initial(&mut self) -> Option<Secret> {
        match self.state {
            State::Plain { .. } | State::First(_) => match self.respond(&[]) {
                Step::Respond(response) => Some(response),
                Step::Salt { .. } | Step::Cancel(_) => None,
            },
            _ => None,
        }
    }

    /// What to say to a challenge.
    pub fn respond(&mut self, challenge: &[u8]) -> Step {
        match core::mem::replace(&mut self.state, State::Failed) {
            State::Plain { username, password } => {
                let message = plain(&username, &password);
                self.state = State::Again(message.clone());
                Step::Respond(message)
            }
            State::Again(message) => {
                self.state = State::Over;
                Step::Respond(message)
            }
            State::Name { username, password } => {
                self.state = State::Password(password);
                Step::Respond(Secret::new(username))
            }
            State::Password(password) => {
                self.state = State::Over;
                Step::Respond(password)
            }
            State::First(first) => {
                let message = [first.header, &first.bare].concat();
                self.state = State::ServerFirst(first);
                Step::Respond(Secret::new(message))
            }
            State::ServerFirst(first) => match first.answered(challenge) {
                Ok((asked, salt, rounds)) => {
                    self.state = State::Salted(Box::new(asked));
                    Step::Salt { salt, rounds }
                }
                Err(why) => Step::Cancel(why),
            },
            State::ServerFinal(signature) => match check_final(challenge, &signature) {
                Ok(()) => {
                    self.state = State::Over;
                    Step::Respond(Secret::default())
                }
                Err(why) => Step::Cancel(why),
            },
            State::Salted(_) | State::Over | State::Failed => {
                Step::Cancel("a challenge when all was said".to_owned())
            }
        }
    }

    /// What to say once the password is salted.
    pub fn salted(&mut self, salted: &Secret) -> Step {
        let State::Salted(asked) = core::mem::replace(&mut self.state, State::Failed) else {
            return Step::Cancel("nothing was to be salted".to_owned());
        };
        let (proof, signature) = prove(salted, &asked.messages);
        self.state = State::ServerFinal(signature);
        let message = format!("{},p={}", asked.without_proof, STANDARD.encode(proof));
        Step::Respond(Secret::new(message))
    }

    /// Whether success may be believed now. With SCRAM the server has proved that it knows the password, too (RFC 5802
    /// §3).
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over | State::Again(_))
    }
}

impl First {
    fn new(header: &'static str, data: &[u8], username: &str, nonce: [u8; NONCE]) -> Self {
        let nonce = STANDARD.encode(nonce);
        // `saslname`: RFC 5802 §5.1.
        let name = saslprep(username).replace('=', "=3D").replace(',', "=2C");
        let mut bound = header.as_bytes().to_vec();
        bound.extend_from_slice(data);
        Self {
            bound,
            header,
            bare: format!("n={name},r={nonce}"),
            nonce,
        }
    }

    /// `server-first-message = [reserved-mext ","] nonce "," salt "," iteration-count ["," extensions]`
    fn answered(&self, message: &[u8]) -> Result<(Asked, Vec<u8>, u32), String> {
        let text = text_of(message)?;
        check_error(text)?;
        let mut parts = text.split(',');
        let mut value = |name: &str| {
            let part = parts.next().unwrap_or_default();
            part.strip_prefix(name)
                .ok_or_else(|| "the server's challenge has not the form of SCRAM".to_owned())
        };
        let (nonce, salt, rounds) = (value("r=")?, value("s=")?, value("i=")?);
        if parts.any(|part| part.starts_with("m=")) {
            return Err("the server wants an extension of SCRAM that is not known".to_owned());
        }
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err("the server's nonce does not begin with ours".to_owned());
        }
        let salt = STANDARD.decode(salt).ok();
        let salt = salt
            .filter(|salt| (1..=MAX_SALT).contains(&salt.len()))
            .ok_or("the server's salt cannot be read")?;
        let rounds = number(rounds)
            .filter(|rounds| (1..=MAX_ROUNDS).contains(rounds))
            .ok_or_else(|| format!("the server's iteration count is not from 1 to {MAX_ROUNDS}"))?;
        let without_proof = format!("c={},r={nonce}", STANDARD.encode(&self.bound));
        let messages = format!("{},{text},{without_proof}", self.bare);
        let asked = Asked {
            messages,
            without_proof,
        };
        Ok((asked, salt, rounds))
    }
}

/// The message of PLAIN (RFC 4616 §2), without authorization identity.
fn plain(username: &str, password: &Secret) -> Secret {
    let mut message = Vec::with_capacity(2 + username.len() + password.expose().len());
    message.push(0);
    message.extend_from_slice(username.as_bytes());
    message.push(0);
    message.extend_from_slice(password.expose());
    Secret::new(message)
}

/// `ClientProof` and `ServerSignature` (RFC 5802 §3).
fn prove(salted: &Secret, messages: &str) -> ([u8; 32], [u8; 32]) {
    let mut client_key = Zeroizing::new(hmac(salted.expose(), b"Client Key"));
    let stored_key = Sha256::digest(client_key.as_slice());
    for (octet, signature) in client_key.iter_mut().zip(hmac(&stored_key, messages.as_bytes())) {
        *octet ^= signature;
    }
    let server_key = Zeroizing::new(hmac(salted.expose(), b"Server Key"));
    (*client_key, hmac(server_key.as_slice(), messages.as_bytes()))
}

/// `server-final-message = (server-error / verifier) ["," extensions]`
fn check_final(message: &[u8], signature: &[u8; 32]) -> Result<(), String> {
    let text = text_of(message)?;
    check_error(text)?;
    let first = text.split(',').next().unwrap_or_default();
    let verifier = first
        .strip_prefix("v=")
        .and_then(|text| STANDARD.decode(text).ok());
    let right = verifier.is_some_and(|verifier| bool::from(verifier.as_slice().ct_eq(signature)));
    if right {
        Ok(())
    } else {
        Err("the server does not prove that it knows the password".to_owned())
    }
}

/// `server-error = "e=" server-error-value`. Some servers do not wait for the last message with it.
fn check_error(text: &str) -> Result<(), String> {
    let first = text.split(',').next().unwrap_or_default();
    let Some(error) = first.strip_prefix("e=") else {
        return Ok(());
    };
    let printable = |c: char| if c.is_ascii_graphic() { c } else { '?' };
    let error: String = error.chars().map(printable).take(100).collect();
    Err(format!("the server says {error}"))
}

fn text_of(message: &[u8]) -> Result<&str, String> {
    core::str::from_utf8(message)
        .ok()
        .filter(|text| text.len() <= MAX_MESSAGE)
        .ok_or_else(|| "the server's challenge is too long, or no text".to_owned())
}

/// `posit-number`
fn number(text: &str) -> Option<u32> {
    let good = (1..=9).contains(&text.len())
        && text.bytes().all(|octet| octet.is_ascii_digit())
        && !text.starts_with('0');
    good.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Address;
    use crate::auth::password::{ScramKeys, salted};
    use crate::machine::TlsInfo;
    use crate::random::Random;
    use crate::sasl::{Claim, Exchange, ScramUser, Step as Theirs};

    /// RFC 7677 §3: user `user`, password `pencil`.
    const SERVER_FIRST: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn nonce() -> [u8; NONCE] {
        let octets = STANDARD.decode("rOprNGfwEbeRWgbNEkqO").expect("base64");
        octets.try_into().expect("15 octets")
    }

    fn bindings() -> Bindings {
        let info = TlsInfo {
            version: 0x0304,
            exporter: Some(vec![7; 32]),
            ..TlsInfo::default()
        };
        Bindings::of(&info).expect("bindings")
    }

    fn login(mechanism: Mechanism) -> Login {
        Login::new(mechanism, "user", &Secret::new("pencil"), None, false, nonce())
    }

    fn respond(text: &str) -> Step {
        Step::Respond(Secret::new(text))
    }

    #[test]
    fn the_example_of_rfc_7677() {
        let mut login = login(Mechanism::ScramSha256);
        let first = login.initial().expect("an initial response");
        assert_eq!(first.expose(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let Step::Salt { salt, rounds } = login.respond(SERVER_FIRST.as_bytes()) else {
            panic!("to be salted");
        };
        assert_eq!(
            (STANDARD.encode(&salt).as_str(), rounds),
            ("W22ZaJ0SNY7soEsUEjb6gQ==", 4096)
        );
        assert!(!login.is_over());
        let salted = salted(&Secret::new("pencil"), &salt, rounds);
        assert_eq!(
            login.salted(&salted),
            respond(
                "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                 p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
            )
        );
        assert!(!login.is_over(), "the server has not proved anything");
        assert_eq!(login.respond(SERVER_FINAL.as_bytes()), respond(""));
        assert!(login.is_over());
        assert!(matches!(login.respond(b"x"), Step::Cancel(_)));
    }

    #[test]
    fn a_server_that_knows_nothing_is_not_believed() {
        let asked = || {
            let mut login = login(Mechanism::ScramSha256);
            login.initial();
            login.respond(SERVER_FIRST.as_bytes());
            login.salted(&salted(&Secret::new("pencil"), b"other salt", 4096));
            login
        };
        for (last, why) in [
            (SERVER_FINAL, "does not prove"),
            ("v=", "does not prove"),
            ("", "does not prove"),
            ("e=invalid-proof", "invalid-proof"),
        ] {
            let mut login = asked();
            let Step::Cancel(said) = login.respond(last.as_bytes()) else {
                panic!("{last}");
            };
            assert!(said.contains(why) && !login.is_over(), "{last}: {said}");
        }
    }

    #[test]
    fn challenges_out_of_bounds_are_refused() {
        let nonce = "r=rOprNGfwEbeRWgbNEkqOx";
        for bad in [
            "",
            "r=rOprNGfwEbeRWgbNEkqO,s=W22Z,i=4096",
            "r=somethingelseatalllllll,s=W22Z,i=4096",
            &format!("{nonce},s=,i=4096"),
            &format!("{nonce},s=W2*,i=4096"),
            &format!("{nonce},s=W22Z,i=0"),
            &format!("{nonce},s=W22Z,i=+5"),
            &format!("{nonce},s=W22Z,i=999999999"),
            &format!("{nonce},s=W22Z,i=10000001"),
            &format!("{nonce},s=W22Z"),
            &format!("m=x,{nonce},s=W22Z,i=4096"),
            &format!("{nonce},s=W22Z,i=4096,m=x"),
        ] {
            let mut login = login(Mechanism::ScramSha256);
            login.initial();
            assert!(matches!(login.respond(bad.as_bytes()), Step::Cancel(_)), "{bad}");
        }
        let mut login = login(Mechanism::ScramSha256);
        login.initial();
        let long = format!("{nonce},s=W22Z,i=4096,x={}", "y".repeat(MAX_MESSAGE));
        assert!(matches!(login.respond(long.as_bytes()), Step::Cancel(_)));
    }

    #[test]
    fn names_are_escaped_and_flags_say_what_was_offered() {
        let first = |mechanism, bindings: Option<&Bindings>, plus| {
            let mut login = Login::new(mechanism, "a=b,c", &Secret::new("x"), bindings, plus, nonce());
            let initial = login.initial()?;
            String::from_utf8(initial.expose().to_vec()).ok()
        };
        let rest = "n=a=3Db=2Cc,r=rOprNGfwEbeRWgbNEkqO";
        let bindings = bindings();
        let scram = Mechanism::ScramSha256;
        assert_eq!(first(scram, None, true), Some(format!("n,,{rest}")));
        assert_eq!(first(scram, Some(&bindings), false), Some(format!("y,,{rest}")));
        assert_eq!(first(scram, Some(&bindings), true), Some(format!("n,,{rest}")));
        let plus = Mechanism::ScramSha256Plus;
        assert_eq!(
            first(plus, Some(&bindings), true),
            Some(format!("p=tls-exporter,,{rest}"))
        );
        assert_eq!(first(plus, None, true), None, "there is nothing to bind to");
    }

    #[test]
    fn plain_and_login() {
        let mut login = login(Mechanism::Plain);
        assert_eq!(login.initial(), Some(Secret::new("\0user\0pencil")));
        assert!(login.is_over());
        assert_eq!(login.respond(b""), respond("\0user\0pencil"));
        assert!(login.is_over() && matches!(login.respond(b""), Step::Cancel(_)));
        let mut login = self::login(Mechanism::Login);
        assert_eq!(login.initial(), None);
        assert_eq!(login.respond(b"Username:"), respond("user"));
        assert!(!login.is_over());
        assert_eq!(login.respond(b"whatever"), respond("pencil"));
        assert!(login.is_over());
    }

    /// Against the server's side, in every mechanism.
    #[test]
    fn both_sides_understand_each_other() {
        let password = Secret::new("p\u{e4}ss,word=");
        let account = Address::parse("user@x.y").expect("address").canonical();
        let bindings = bindings();
        for mechanism in Mechanism::ALL {
            let mut random = Random::from_seed([3; 32]);
            let mut server = Exchange::new(mechanism.name(), Some(&bindings), &mut random).expect("offered");
            let mut client = Login::new(mechanism, "user@x.y", &password, Some(&bindings), true, nonce());
            let initial = client.initial();
            let mut theirs = server.begin(initial.as_ref().map(Secret::expose));
            let claim = loop {
                theirs = match theirs {
                    Theirs::Challenge(text) => {
                        let mut ours = client.respond(text.as_bytes());
                        if let Step::Salt { salt, rounds } = &ours {
                            ours = client.salted(&salted(&password, salt, *rounds));
                        }
                        let Step::Respond(response) = ours else {
                            panic!("{ours:?}");
                        };
                        server.respond(response.expose())
                    }
                    Theirs::Lookup(_) => server.found(ScramUser {
                        keys: ScramKeys::derive(&password, b"salt", 10),
                        account: Some((account.clone(), 1)),
                        others: Vec::new(),
                    }),
                    Theirs::Done(claim) => break claim,
                    Theirs::Failed(failure) => panic!("{mechanism:?}: {failure:?}"),
                };
            };
            assert!(client.is_over(), "{mechanism:?}");
            match claim {
                Claim::Password(credentials) => assert_eq!(credentials.password, password),
                Claim::Proven(name, 1) => assert_eq!(name, account),
                other => panic!("{other:?}"),
            }
        }
    }
}
