//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677), the server's side: a pure exchange of messages.
//!
//! It asks for what is stored of the user ([`Progress::Lookup`]), compares in constant time, and treats a user that does
//! not exist like one whose password was wrong: to the last message nothing differs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};
use zeroize::Zeroizing;

use super::{Failure, checked_name};
use crate::addr::AccountName;
use crate::auth::password::{ScramKeys, hmac, saslprep};
use crate::machine::TlsInfo;

/// Octets of the nonce that we draw; in Base64 24 characters.
pub(super) const NONCE: usize = 18;

/// The binding that both sides of ours use on TLS 1.3 (RFC 9266).
pub(super) const EXPORTER_BINDING: &str = "tls-exporter";

/// Characters of a client's nonce. Clients send 20 to 50.
const MAX_CLIENT_NONCE: usize = 512;

/// Octets of a client's message.
const MAX_MESSAGE: usize = 8 * 1024;

/// What is stored of a user, as the exchange needs it. `Debug` hides the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScramUser {
    /// Salt, rounds and keys; false but stable ones for a user who does not exist, or cannot log in so.
    pub keys: ScramKeys,
    /// The account and the present epoch of the secret that these keys are of. None: no proof is right.
    pub account: Option<(AccountName, u64)>,
    /// Further secrets of the account (application passwords), under the same salt and rounds.
    pub others: Vec<OtherKeys>,
}

/// The keys of a further secret. `Debug` hides them.
#[derive(Clone, PartialEq, Eq)]
pub struct OtherKeys {
    /// `H(ClientKey)`.
    pub stored_key: [u8; 32],
    /// `HMAC(SaltedPassword, "Server Key")`.
    pub server_key: [u8; 32],
    /// Present epoch of the secret.
    pub epoch: u64,
}

impl core::fmt::Debug for OtherKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("OtherKeys(***)")
    }
}

/// What of the TLS connection a client can bind its proof to.
#[derive(Clone, PartialEq, Eq)]
pub struct Bindings {
    /// `tls-exporter` (RFC 9266).
    exporter: Vec<u8>,
    /// `tls-server-end-point` (RFC 5929 §4).
    end_point: Option<Vec<u8>>,
}

impl core::fmt::Debug for Bindings {
    /// They are secrets of the connection.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Bindings(***)")
    }
}

impl Bindings {
    /// Those of a connection with TLS 1.3. With older TLS none are offered: `tls-exporter` is not safe there.
    #[must_use]
    pub fn of(tls: &TlsInfo) -> Option<Self> {
        (tls.version == 0x0304).then(|| {
            Some(Self {
                exporter: tls.exporter.clone()?,
                end_point: tls.end_point.clone(),
            })
        })?
    }

    pub(super) fn data(&self, name: &str) -> Option<&[u8]> {
        match name {
            EXPORTER_BINDING => Some(&self.exporter),
            "tls-server-end-point" => self.end_point.as_deref(),
            _ => None,
        }
    }
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// What is stored of this login name?
    Lookup(String),
    /// Send this.
    Challenge(String),
    /// The proof is right, and the client has heard our signature.
    Done(AccountName, u64),
}

/// An exchange under way.
#[derive(Clone, Debug)]
pub(super) struct Scram {
    state: State,
    /// By the name of the mechanism.
    plus: bool,
    /// What the connection has, whether it is asked for or not.
    bindings: Option<Bindings>,
    server_nonce: String,
}

#[derive(Clone, Debug)]
enum State {
    /// client-first-message is to come.
    First,
    /// What is stored was asked for.
    Lookup(Box<First>),
    /// client-final-message is to come.
    Final(Box<First>, Box<ScramUser>),
    /// The client's empty answer to our signature is to come.
    Told(AccountName, u64),
    /// It is over.
    Over,
}

/// What is kept of the first messages.
#[derive(Clone, Debug)]
struct First {
    /// `cbind-input`: GS2 header and what is bound to.
    bound: Vec<u8>,
    /// Client's and server's part.
    nonce: String,
    /// `client-first-message-bare`, then with the server's first message behind it.
    messages: String,
}

impl Scram {
    /// An exchange. The server's part of the nonce is made of these octets.
    pub(super) fn new(plus: bool, bindings: Option<Bindings>, nonce: [u8; NONCE]) -> Self {
        Self::with_nonce(plus, bindings, STANDARD.encode(nonce))
    }

    fn with_nonce(plus: bool, bindings: Option<Bindings>, server_nonce: String) -> Self {
        Self {
            state: State::First,
            plus,
            bindings,
            server_nonce,
        }
    }

    /// The next message of the client.
    pub(super) fn respond(&mut self, message: &[u8]) -> Result<Progress, Failure> {
        if message.len() > MAX_MESSAGE {
            return Err(Failure::Malformed);
        }
        let text = core::str::from_utf8(message).map_err(|_| Failure::Malformed)?;
        match core::mem::replace(&mut self.state, State::Over) {
            State::First => {
                let (login, first) = self.first(text)?;
                self.state = State::Lookup(Box::new(first));
                Ok(Progress::Lookup(login))
            }
            State::Final(first, user) => {
                let (signature, account, epoch) = last(text, &first, *user)?;
                self.state = State::Told(account, epoch);
                Ok(Progress::Challenge(format!("v={}", STANDARD.encode(signature))))
            }
            State::Told(account, epoch) if text.is_empty() => Ok(Progress::Done(account, epoch)),
            State::Told(..) | State::Lookup(_) | State::Over => Err(Failure::Malformed),
        }
    }

    /// What is stored.
    pub(super) fn found(&mut self, user: ScramUser) -> Result<Progress, Failure> {
        let State::Lookup(mut first) = core::mem::replace(&mut self.state, State::Over) else {
            return Err(Failure::Malformed);
        };
        let message = format!(
            "r={},s={},i={}",
            first.nonce,
            STANDARD.encode(&user.keys.salt),
            user.keys.rounds
        );
        first.messages.push(',');
        first.messages.push_str(&message);
        self.state = State::Final(first, Box::new(user));
        Ok(Progress::Challenge(message))
    }

    /// `client-first-message = gs2-header client-first-message-bare` (RFC 5802 §7).
    fn first(&self, text: &str) -> Result<(String, First), Failure> {
        let (flag, rest) = text.split_once(',').ok_or(Failure::Malformed)?;
        let (authzid, bare) = rest.split_once(',').ok_or(Failure::Malformed)?;
        // Before anything else: a client that was told of other mechanisms than we offer goes no further.
        let data = self.bound_to(flag)?;
        let header = text.get(..text.len() - bare.len()).ok_or(Failure::Malformed)?;

        // `client-first-message-bare = [reserved-mext ","] username "," nonce ["," extensions]`; an extension that must
        // be understood (`m=`) is none that we know.
        let mut parts = bare.split(',');
        let name = parts.next().and_then(|part| part.strip_prefix("n="));
        let login = sasl_name(name.ok_or(Failure::Malformed)?)?;
        let nonce = parts.next().and_then(|part| part.strip_prefix("r="));
        let nonce = nonce.filter(|nonce| is_nonce(nonce)).ok_or(Failure::Malformed)?;
        check_extensions(parts)?;

        match authzid.strip_prefix("a=") {
            None if authzid.is_empty() => {}
            None => return Err(Failure::Malformed),
            // Nobody may act as somebody else, so an authorization identity can only repeat the name.
            Some(authzid) if sasl_name(authzid)?.eq_ignore_ascii_case(&login) => {}
            Some(_) => return Err(Failure::Authorization),
        }
        let mut bound = header.as_bytes().to_vec();
        bound.extend_from_slice(data);
        let first = First {
            bound,
            nonce: [nonce, &self.server_nonce].concat(),
            messages: bare.to_owned(),
        };
        Ok((login, first))
    }

    /// `gs2-cbind-flag = ("p=" cb-name) / "n" / "y"` against the mechanism and the connection (RFC 5802 §6).
    fn bound_to(&self, flag: &str) -> Result<&[u8], Failure> {
        match (flag, &self.bindings) {
            // The client thinks that we have no channel binding, and we have: somebody took it out of our list.
            ("y", Some(_)) => Err(Failure::Binding),
            ("n" | "y", _) if self.plus => Err(Failure::Binding),
            ("n" | "y", _) => Ok(&[]),
            (flag, bindings) => {
                let name = flag.strip_prefix("p=").ok_or(Failure::Malformed)?;
                let data = bindings.as_ref().and_then(|bindings| bindings.data(name));
                data.filter(|_| self.plus).ok_or(Failure::Binding)
            }
        }
    }
}

/// `client-final-message`: what is bound to, nonce and proof. Gives our signature and who it is.
fn last(text: &str, first: &First, user: ScramUser) -> Result<([u8; 32], AccountName, u64), Failure> {
    let (without_proof, proof) = text.rsplit_once(",p=").ok_or(Failure::Malformed)?;
    let mut parts = without_proof.split(',');
    let bound = parts.next().and_then(|part| part.strip_prefix("c="));
    let bound = STANDARD
        .decode(bound.ok_or(Failure::Malformed)?)
        .map_err(|_| Failure::Malformed)?;
    let nonce = parts.next().and_then(|part| part.strip_prefix("r="));
    let nonce = nonce.ok_or(Failure::Malformed)?;
    check_extensions(parts)?;
    let proof: [u8; 32] = STANDARD
        .decode(proof)
        .ok()
        .and_then(|proof| proof.try_into().ok())
        .ok_or(Failure::Malformed)?;
    if !bool::from(bound.ct_eq(&first.bound)) {
        return Err(Failure::Binding);
    }
    let messages = [first.messages.as_str(), ",", without_proof].concat();
    let same_nonce = nonce.as_bytes().ct_eq(first.nonce.as_bytes());
    let ScramUser {
        keys,
        account,
        others,
    } = user;
    let (account, epoch) = account.map_or((None, 0), |(account, epoch)| (Some(account), epoch));
    let main = OtherKeys {
        stored_key: keys.stored_key,
        server_key: keys.server_key,
        epoch,
    };
    // Every secret is compared, whichever it is.
    let mut found = None;
    for secret in core::iter::once(&main).chain(&others) {
        let same = secret.is_proved(&messages, &proof) & same_nonce;
        if bool::from(same) && found.is_none() {
            found = Some(secret);
        }
    }
    match (account, found) {
        (Some(account), Some(secret)) => {
            let signature = hmac(&secret.server_key, messages.as_bytes());
            Ok((signature, account, secret.epoch))
        }
        _ => Err(Failure::Credentials),
    }
}

impl OtherKeys {
    /// `H(ClientProof XOR ClientSignature) == StoredKey` (RFC 5802 §3), in constant time.
    fn is_proved(&self, messages: &str, proof: &[u8; 32]) -> Choice {
        let mut client_key = Zeroizing::new(hmac(&self.stored_key, messages.as_bytes()));
        for (octet, proof) in client_key.iter_mut().zip(proof) {
            *octet ^= proof;
        }
        let stored_key: [u8; 32] = Sha256::digest(client_key.as_slice()).into();
        stored_key.ct_eq(&self.stored_key)
    }
}

/// `saslname = 1*(value-safe-char / "=2C" / "=3D")`, prepared (RFC 5802 §5.1).
fn sasl_name(text: &str) -> Result<String, Failure> {
    let mut name = String::with_capacity(text.len());
    let mut parts = text.split('=');
    name.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (plain, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err(Failure::Malformed),
        };
        name.push(plain);
        name.push_str(rest);
    }
    checked_name(saslprep(&name).as_bytes())
}

/// `1*printable`, where a comma is none.
fn is_nonce(nonce: &str) -> bool {
    (1..=MAX_CLIENT_NONCE).contains(&nonce.len())
        && nonce
            .bytes()
            .all(|octet| octet.is_ascii_graphic() && octet != b',')
}

/// `attr-val = ALPHA "=" value`: unknown ones are passed over, but not those that must be understood.
fn check_extensions<'a>(mut parts: impl Iterator<Item = &'a str>) -> Result<(), Failure> {
    let fine = |part: &str| match part.as_bytes() {
        [name, b'=', _, ..] => name.is_ascii_alphabetic() && *name != b'm',
        _ => false,
    };
    if parts.all(fine) {
        Ok(())
    } else {
        Err(Failure::Malformed)
    }
}

#[cfg(test)]
mod tests;
