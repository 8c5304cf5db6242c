//! Password hashes as `user.json` has them.
//!
//! ```text
//! $scram-sha-256$i=300000$SALT$STORED_KEY$SERVER_KEY      RFC 5802 §3 with SHA-256 (RFC 7677)
//! $pbkdf2-sha256$i=29000,l=32$SALT$KEY                    PHC string; or $pbkdf2-sha256$29000$SALT$KEY
//! ```
//!
//! Salt and keys are base64, with or without padding. The SaltedPassword itself is never stored: it is as good as the
//! password.

use core::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::random::Random;
use crate::secret::Secret;

/// Rounds of PBKDF2 that a hash may ask for: about two seconds of one core. A file with more is broken, so that nobody
/// stops the server with a line of JSON.
pub const MAX_ROUNDS: u32 = 10_000_000;

/// Octets of a password that are looked at; a longer one is wrong.
pub const MAX_PASSWORD: usize = 4_096;

/// Octets of salt that we draw.
const SALT: usize = 16;
/// Octets of salt or key that a hash may have.
const MAX_FIELD: usize = 64;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A stored hash. `Debug` hides it; `Display` is the form in `user.json`.
#[derive(Clone, PartialEq, Eq)]
pub enum Hash {
    /// What we write.
    Scram(ScramKeys),
    /// What other servers wrote; to be rewritten at the next login by password.
    Pbkdf2 {
        /// Rounds, 1 to [`MAX_ROUNDS`].
        rounds: u32,
        /// Salt.
        salt: Vec<u8>,
        /// PBKDF2's output, 16 to 64 octets.
        key: Vec<u8>,
    },
}

/// What a server keeps for SCRAM-SHA-256 (RFC 5802 §3). `Debug` hides the keys.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    /// Iteration count, 1 to [`MAX_ROUNDS`].
    pub rounds: u32,
    /// Salt.
    pub salt: Vec<u8>,
    /// `H(ClientKey)`.
    pub stored_key: [u8; 32],
    /// `HMAC(SaltedPassword, "Server Key")`.
    pub server_key: [u8; 32],
}

/// What a comparison gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is not the password.
    Wrong,
    /// It is.
    Right,
    /// It is, and the stored form is not the one that we write.
    RightButRewrite,
}

/// Why a text is no hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHash {
    /// Neither of the two forms.
    #[error(
        "expected $scram-sha-256$i=ROUNDS$SALT$STORED_KEY$SERVER_KEY or $pbkdf2-sha256$i=ROUNDS$SALT$KEY"
    )]
    Form,
    /// Rounds are no number from 1 to [`MAX_ROUNDS`].
    #[error("rounds are not from 1 to 10000000")]
    Rounds,
    /// Salt or key is not base64 of the right length.
    #[error("salt or key is not base64 of the right length")]
    Base64,
}

impl Hash {
    /// A new hash with a new salt. `rounds` is brought into 1 to [`MAX_ROUNDS`].
    #[must_use]
    pub fn create(password: &Secret, rounds: u32, random: &mut Random) -> Self {
        let mut salt = [0; SALT];
        random.fill(&mut salt);
        Self::Scram(ScramKeys::derive(password, &salt, rounds))
    }

    /// A hash that no password has, with the cost of a true one: for names that do not exist, so that they look like
    /// wrong passwords.
    #[must_use]
    pub fn of_nobody(rounds: u32) -> Self {
        Self::Scram(ScramKeys {
            rounds: rounds.clamp(1, MAX_ROUNDS),
            salt: vec![0; SALT],
            stored_key: [0; 32],
            server_key: [0; 32],
        })
    }

    /// Reads the form of `user.json`.
    ///
    /// # Errors
    /// See [`BadHash`].
    pub fn parse(text: &str) -> Result<Self, BadHash> {
        let mut fields = text.split('$');
        let head = (fields.next(), fields.next());
        let rest: Vec<&str> = fields.take(5).collect();
        match (head, rest.as_slice()) {
            ((Some(""), Some("scram-sha-256")), [rounds, salt, stored, server]) => {
                let key = |text| decode(text)?.try_into().map_err(|_| BadHash::Base64);
                Ok(Self::Scram(ScramKeys {
                    rounds: parse_rounds(rounds)?,
                    salt: decode(salt)?,
                    stored_key: key(stored)?,
                    server_key: key(server)?,
                }))
            }
            ((Some(""), Some("pbkdf2-sha256")), [rounds, salt, key]) => {
                let key = decode(key)?;
                if key.len() < 16 {
                    return Err(BadHash::Base64);
                }
                Ok(Self::Pbkdf2 {
                    rounds: parse_rounds(rounds)?,
                    salt: decode(salt)?,
                    key,
                })
            }
            _ => Err(BadHash::Form),
        }
    }

    /// Whether this is the password. Takes as long as the rounds say, whatever the answer; compares in constant time.
    #[must_use]
    pub fn verify(&self, password: &Secret) -> Verdict {
        match self {
            Self::Scram(keys) => {
                keys.compare(password, &ScramKeys::derive(password, &keys.salt, keys.rounds))
            }
            Self::Pbkdf2 { rounds, salt, key } => {
                let mut given = Zeroizing::new(vec![0; key.len()]);
                pbkdf2::pbkdf2_hmac::<Sha256>(bounded(password), salt, *rounds, &mut given);
                let same: bool = given.ct_eq(key).into();
                if same && fits(password) {
                    Verdict::RightButRewrite
                } else {
                    Verdict::Wrong
                }
            }
        }
    }

    /// What SCRAM needs, if the stored form has it. The output of PBKDF2 is the SaltedPassword of RFC 5802 §3, as long as
    /// preparing does not change the password; where it does, only the password itself is right.
    #[must_use]
    pub fn scram_keys(&self) -> Option<ScramKeys> {
        match self {
            Self::Scram(keys) => Some(keys.clone()),
            Self::Pbkdf2 { rounds, salt, key } => {
                let salted = key.first_chunk::<32>()?;
                Some(ScramKeys::of_salted(salted, salt, *rounds))
            }
        }
    }

    /// Salt.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        match self {
            Self::Scram(keys) => &keys.salt,
            Self::Pbkdf2 { salt, .. } => salt,
        }
    }

    /// Rounds.
    #[must_use]
    pub fn rounds(&self) -> u32 {
        match self {
            Self::Scram(keys) => keys.rounds,
            Self::Pbkdf2 { rounds, .. } => *rounds,
        }
    }

    /// Rounds that one comparison costs: a key of more than 32 octets is made of two.
    #[must_use]
    pub fn cost(&self) -> u32 {
        match self {
            Self::Scram(keys) => keys.rounds,
            Self::Pbkdf2 { rounds, key, .. } => rounds.saturating_mul(if key.len() > 32 { 2 } else { 1 }),
        }
    }
}

impl ScramKeys {
    /// Octets of the salts that [`Hash::create`] gives.
    pub const SALT: usize = SALT;

    /// The keys of a password under a salt (RFC 5802 §3). All secrets of an account share salt and rounds.
    #[must_use]
    pub fn derive(password: &Secret, salt: &[u8], rounds: u32) -> Self {
        let rounds = rounds.clamp(1, MAX_ROUNDS);
        Self::of_salted(&salt_password(password, salt, rounds), salt, rounds)
    }

    /// Compares with what was derived of a password under the same salt and rounds, in constant time.
    #[must_use]
    pub(crate) fn compare(&self, password: &Secret, derived: &Self) -> Verdict {
        let same: bool = derived.stored_key.ct_eq(&self.stored_key).into();
        if same && fits(password) {
            Verdict::Right
        } else {
            Verdict::Wrong
        }
    }

    fn of_salted(salted: &[u8; 32], salt: &[u8], rounds: u32) -> Self {
        let client_key = Zeroizing::new(hmac(salted.as_slice(), b"Client Key"));
        Self {
            rounds,
            salt: salt.to_vec(),
            stored_key: Sha256::digest(client_key.as_slice()).into(),
            server_key: hmac(salted.as_slice(), b"Server Key"),
        }
    }

    /// Keys that no password has, always the same for a name and a form as long as the secret is: a user who does not
    /// exist looks like one who does (RFC 5802 §9). Other rounds come with another salt, as a new password has. `salt`:
    /// its octets, up to 64; [`Hash::create`] gives [`ScramKeys::SALT`].
    #[must_use]
    pub fn of_nobody(secret: &[u8; 32], name: &str, rounds: u32, salt: usize) -> Self {
        let form = hmac(secret, &[&rounds.to_le_bytes(), name.as_bytes()].concat());
        let (front, back) = (hmac(secret, &form), hmac(&form, secret));
        Self {
            rounds: rounds.clamp(1, MAX_ROUNDS),
            salt: front.iter().chain(&back).copied().take(salt).collect(),
            stored_key: hmac(&form, &front),
            server_key: hmac(&form, &back),
        }
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scram(keys) => write!(
                f,
                "$scram-sha-256$i={}${}${}${}",
                keys.rounds,
                BASE64.encode(&keys.salt),
                BASE64.encode(keys.stored_key),
                BASE64.encode(keys.server_key)
            ),
            Self::Pbkdf2 { rounds, salt, key } => write!(
                f,
                "$pbkdf2-sha256$i={rounds},l={}${}${}",
                key.len(),
                BASE64.encode(salt),
                BASE64.encode(key)
            ),
        }
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scram(keys) => keys.fmt(f),
            Self::Pbkdf2 { rounds, .. } => write!(f, "$pbkdf2-sha256$i={rounds}$***"),
        }
    }
}

impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "$scram-sha-256$i={}$***", self.rounds)
    }
}

/// The SaltedPassword of RFC 5802 §3, for a login elsewhere. Costs `rounds`, which are brought into 1 to [`MAX_ROUNDS`].
#[must_use]
pub fn salted(password: &Secret, salt: &[u8], rounds: u32) -> Secret {
    Secret::new(salt_password(password, salt, rounds.clamp(1, MAX_ROUNDS)).as_slice())
}

fn salt_password(password: &Secret, salt: &[u8], rounds: u32) -> Zeroizing<[u8; 32]> {
    let mut salted = Zeroizing::new([0; 32]);
    pbkdf2::pbkdf2_hmac::<Sha256>(&prepare(bounded(password)), salt, rounds, salted.as_mut_slice());
    salted
}

/// `HMAC(key, text)` with SHA-256.
#[must_use]
pub fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    Hmac::<Sha256>::new_from_slice(key).map_or([0; 32], |mut mac| {
        mac.update(text);
        mac.finalize().into_bytes().into()
    })
}

fn fits(password: &Secret) -> bool {
    password.expose().len() <= MAX_PASSWORD
}

/// A password over the bound is cut, so that its hash costs what others cost; it is wrong whatever comes out.
fn bounded(password: &Secret) -> &[u8] {
    let octets = password.expose();
    octets.get(..MAX_PASSWORD).unwrap_or(octets)
}

/// A password as its hash has it: octets that are not UTF-8 are left as they are.
fn prepare(password: &[u8]) -> Zeroizing<Vec<u8>> {
    match core::str::from_utf8(password) {
        Ok(text) if !text.is_ascii() => Zeroizing::new(saslprep(text).into_bytes()),
        _ => Zeroizing::new(password.to_vec()),
    }
}

/// SASLprep (RFC 4013 §2) as far as it maps: other spaces to space, invisible characters to nothing, NFKC. What it
/// prohibits is left as it is: a password of ours is any string of octets, and names are checked by those who take them.
#[must_use]
pub(crate) fn saslprep(text: &str) -> String {
    use unicode_normalization::UnicodeNormalization as _;
    let mapped = text.chars().filter_map(|c| match c {
        '\u{ad}'
        | '\u{34f}'
        | '\u{1806}'
        | '\u{180b}'..='\u{180d}'
        | '\u{200b}'..='\u{200d}'
        | '\u{2060}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' => None,
        '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => Some(' '),
        c => Some(c),
    });
    mapped.nfkc().collect()
}

/// `i=300000`, `i=29000,l=32` or `29000`.
fn parse_rounds(text: &str) -> Result<u32, BadHash> {
    let count = text
        .split(',')
        .find_map(|field| field.strip_prefix("i="))
        .unwrap_or(text);
    let digits = (1..=8).contains(&count.len()) && count.bytes().all(|b| b.is_ascii_digit());
    digits
        .then(|| count.bytes().fold(0, |n, b| n * 10 + u32::from(b - b'0')))
        .filter(|rounds| (1..=MAX_ROUNDS).contains(rounds))
        .ok_or(BadHash::Rounds)
}

/// Base64 of 1 to [`MAX_FIELD`] octets; `.` stands for `+` in the older form.
fn decode(text: &str) -> Result<Vec<u8>, BadHash> {
    if text.len() > MAX_FIELD * 2 {
        return Err(BadHash::Base64);
    }
    let octets = BASE64
        .decode(text.replace('.', "+"))
        .map_err(|_| BadHash::Base64)?;
    (1..=MAX_FIELD)
        .contains(&octets.len())
        .then_some(octets)
        .ok_or(BadHash::Base64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text)
    }

    /// The exchange of RFC 7677 §3: the proof and the server's signature come out of our keys.
    #[test]
    fn keys_are_those_of_rfc_7677() {
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("salt");
        let keys = ScramKeys::derive(&secret("pencil"), &salt, 4096);
        let auth_message = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
            r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
            c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let proof = BASE64
            .decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
            .expect("proof");
        let client_key: Vec<u8> = hmac(&keys.stored_key, auth_message.as_bytes())
            .iter()
            .zip(&proof)
            .map(|(signature, proof)| signature ^ proof)
            .collect();
        assert_eq!(<[u8; 32]>::from(Sha256::digest(&client_key)), keys.stored_key);
        assert_eq!(
            BASE64.encode(hmac(&keys.server_key, auth_message.as_bytes())),
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4"
        );
    }

    #[test]
    fn a_hash_is_written_read_and_compared() {
        let mut random = Random::from_seed([1; 32]);
        let hash = Hash::create(&secret("päss word"), 3, &mut random);
        let other = Hash::create(&secret("päss word"), 3, &mut random);
        assert_ne!(hash, other, "each has its own salt");
        let text = hash.to_string();
        assert!(text.starts_with("$scram-sha-256$i=3$"), "{text}");
        let read = Hash::parse(&text).expect("our own form");
        assert_eq!(read, hash);
        assert_eq!(read.verify(&secret("päss word")), Verdict::Right);
        assert_eq!(
            read.verify(&secret("pa\u{308}ss\u{a0}wo\u{ad}rd")),
            Verdict::Right,
            "prepared as SCRAM clients do"
        );
        for wrong in ["", "päss wor", "päss wordx", "PÄSS WORD"] {
            assert_eq!(read.verify(&secret(wrong)), Verdict::Wrong, "{wrong:?}");
        }
        assert_eq!(Hash::of_nobody(3).verify(&secret("")), Verdict::Wrong);
        assert_eq!(format!("{hash:?}"), "$scram-sha-256$i=3$***");
    }

    /// Both spellings of what other servers write.
    #[test]
    fn foreign_hashes_are_accepted_and_flagged() {
        let mut key = [0; 32];
        pbkdf2::pbkdf2_hmac::<Sha256>(b"password", b"saltsalt", 1000, &mut key);
        let (salt, key) = (BASE64.encode("saltsalt"), BASE64.encode(key));
        for text in [
            format!("$pbkdf2-sha256$i=1000,l=32${salt}${key}"),
            format!("$pbkdf2-sha256$1000${salt}${}", key.replace('+', ".")),
        ] {
            let hash = Hash::parse(&text).expect("PHC");
            assert_eq!(
                hash.verify(&secret("password")),
                Verdict::RightButRewrite,
                "{text}"
            );
            assert_eq!(hash.verify(&secret("Password")), Verdict::Wrong, "{text}");
            assert_eq!(Hash::parse(&hash.to_string()), Ok(hash));
        }
    }

    #[test]
    fn hostile_hashes_are_refused() {
        let key = BASE64.encode([7; 32]);
        let scram = |rounds: &str, salt: &str| format!("$scram-sha-256${rounds}${salt}${key}${key}");
        assert!(Hash::parse(&scram("i=10000000", "AAAA")).is_ok());
        for (text, error) in [
            (scram("i=10000001", "AAAA"), BadHash::Rounds),
            (scram("i=4294967297", "AAAA"), BadHash::Rounds),
            (scram("i=99999999999999999999", "AAAA"), BadHash::Rounds),
            (scram("i=0", "AAAA"), BadHash::Rounds),
            (scram("i=+5", "AAAA"), BadHash::Rounds),
            (scram("i=", "AAAA"), BadHash::Rounds),
            (scram("i=5", ""), BadHash::Base64),
            (scram("i=5", "A!"), BadHash::Base64),
            (scram("i=5", &"A".repeat(400)), BadHash::Base64),
            (format!("$scram-sha-256$i=5$AAAA${key}$AAAA"), BadHash::Base64),
            (format!("$scram-sha-256$i=5$AAAA${key}"), BadHash::Form),
            (format!("{}$x", scram("i=5", "AAAA")), BadHash::Form),
            ("$pbkdf2-sha256$i=5$AAAA$AAAA".to_owned(), BadHash::Base64),
            ("plain".to_owned(), BadHash::Form),
            (String::new(), BadHash::Form),
        ] {
            assert_eq!(Hash::parse(&text), Err(error), "{text}");
        }
    }

    #[test]
    fn what_other_servers_wrote_is_good_for_scram_too() {
        let mut key = vec![0; 40];
        pbkdf2::pbkdf2_hmac::<Sha256>(b"pencil", b"salt", 5, &mut key);
        let foreign = |key: &[u8]| Hash::Pbkdf2 {
            rounds: 5,
            salt: b"salt".to_vec(),
            key: key.to_vec(),
        };
        let own = ScramKeys::derive(&secret("pencil"), b"salt", 5);
        assert_eq!(foreign(&key).scram_keys().as_ref(), Some(&own));
        assert_eq!(foreign(&key[..32]).scram_keys().as_ref(), Some(&own));
        assert_eq!(foreign(&key[..31]).scram_keys(), None);
        assert_eq!(Hash::Scram(own.clone()).scram_keys(), Some(own));
    }

    #[test]
    fn nobody_has_the_same_salt_each_time() {
        let nobody = |name| ScramKeys::of_nobody(&[7; 32], name, 300_000, ScramKeys::SALT);
        assert_eq!(nobody("a@x.y"), nobody("a@x.y"));
        assert_ne!(nobody("a@x.y").salt, nobody("b@x.y").salt);
        assert_ne!(
            nobody("a@x.y").salt,
            ScramKeys::of_nobody(&[8; 32], "a@x.y", 300_000, ScramKeys::SALT).salt
        );
        assert_ne!(
            nobody("a@x.y").salt,
            ScramKeys::of_nobody(&[7; 32], "a@x.y", 9, ScramKeys::SALT).salt,
            "other rounds come with another salt"
        );
        let own = Hash::create(&secret("x"), 1, &mut Random::from_seed([1; 32]));
        let own = own.scram_keys().expect("ours");
        assert_eq!(
            (nobody("a@x.y").salt.len(), nobody("a@x.y").rounds),
            (own.salt.len(), 300_000)
        );
    }

    #[test]
    fn an_endless_password_costs_no_more_and_is_wrong() {
        let long = "x".repeat(MAX_PASSWORD + 1);
        let hash = Hash::Scram(ScramKeys::derive(&secret(&long), b"salt", 1));
        assert_eq!(hash.verify(&secret(&long)), Verdict::Wrong);
        assert_eq!(hash.verify(&secret(&long[1..])), Verdict::Right);
    }
}
