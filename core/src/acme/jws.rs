//! Signed requests (RFC 7515 in the form of RFC 8555 §6.2), and what is made of the account's key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::auth::password::hmac;
use crate::secret::Secret;

/// Octets of a coordinate of P-256, and of each half of a signature.
const HALF: usize = 32;

/// The public half of an account's key: ECDSA over P-256, which signs as ES256 (RFC 7518 §3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey {
    x: [u8; HALF],
    y: [u8; HALF],
}

impl PublicKey {
    /// From an uncompressed point: `04 X Y`.
    #[must_use]
    pub fn from_point(point: &[u8]) -> Option<Self> {
        let (x, y) = point.strip_prefix(&[4])?.split_at_checked(HALF)?;
        Some(Self {
            x: x.try_into().ok()?,
            y: y.try_into().ok()?,
        })
    }

    /// The key as a JWK (RFC 7518 §6.2.1).
    fn jwk(&self) -> Value {
        json!({"crv": "P-256", "kty": "EC", "x": BASE64.encode(self.x), "y": BASE64.encode(self.y)})
    }

    /// Its name among all keys (RFC 7638 §3): the hash of the members that make it, in the order of their names.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        let canonical = format!(
            r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#,
            BASE64.encode(self.x),
            BASE64.encode(self.y)
        );
        BASE64.encode(Sha256::digest(canonical))
    }

    /// What a proof shows: that who has the key answers for the name (RFC 8555 §8.1).
    #[must_use]
    pub(super) fn authorize(&self, token: &str) -> String {
        format!("{token}.{}", self.thumbprint())
    }
}

/// What the certificate of a `tls-alpn-01` proof holds of the key authorization (RFC 8737 §3).
#[must_use]
pub fn alpn_digest(key_authorization: &str) -> [u8; 32] {
    Sha256::digest(key_authorization).into()
}

/// What a key of [`Binding`] has to be.
pub const BINDING_EXPECTED: &str =
    "expected the HMAC key as the authority gives it: base64url of 16 to 256 octets";

/// An account that was made elsewhere, such as on an authority's web site: a new account is bound to it (RFC 8555 §7.3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    key_id: String,
    key: Secret,
}

impl Binding {
    /// From the identifier of a key, and the key in base64url as authorities write it, with padding or without. `None`: it
    /// is no such text, or has not 16 to 256 octets.
    #[must_use]
    pub fn new(key_id: &str, key: &Secret) -> Option<Self> {
        /// Authorities give 32 or 64 octets; what is shorter could be guessed, what is longer is something else.
        const LENGTHS: core::ops::RangeInclusive<usize> = 16..=256;
        let text = key.expose().trim_ascii();
        let end = text
            .iter()
            .rposition(|octet| *octet != b'=')
            .map_or(0, |at| at + 1);
        // Some copy keys that were written in the other alphabet.
        let text: Zeroizing<Vec<u8>> = Zeroizing::new(
            text.get(..end)?
                .iter()
                .map(|octet| match octet {
                    b'+' => b'-',
                    b'/' => b'_',
                    other => *other,
                })
                .collect(),
        );
        let key = Secret::new(BASE64.decode(text.as_slice()).ok()?);
        LENGTHS.contains(&key.expose().len()).then(|| Self {
            key_id: key_id.to_owned(),
            key,
        })
    }

    /// `externalAccountBinding`: the account's key, signed with the key from elsewhere.
    pub(super) fn of(&self, account: &PublicKey, new_account: &str) -> Value {
        let head = json!({"alg": "HS256", "kid": self.key_id, "url": new_account});
        let protected = BASE64.encode(head.to_string());
        let payload = BASE64.encode(account.jwk().to_string());
        let signature = hmac(self.key.expose(), format!("{protected}.{payload}").as_bytes());
        json!({"protected": protected, "payload": payload, "signature": BASE64.encode(signature)})
    }
}

/// Who signs, as a request says it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Signer<'a> {
    /// The key itself: before there is an account.
    Key(&'a PublicKey),
    /// The account.
    Account(&'a str),
}

/// A request that is to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsigned {
    protected: String,
    payload: String,
}

impl Unsigned {
    /// `None` for a payload is the empty one of POST-as-GET (RFC 8555 §6.3).
    pub(super) fn new(signer: Signer<'_>, nonce: &str, url: &str, payload: Option<&Value>) -> Self {
        let mut protected = json!({"alg": "ES256", "nonce": nonce, "url": url});
        let (name, value) = match signer {
            Signer::Key(key) => ("jwk", key.jwk()),
            Signer::Account(url) => ("kid", json!(url)),
        };
        if let Some(fields) = protected.as_object_mut() {
            fields.insert(name.to_owned(), value);
        }
        Self {
            protected: BASE64.encode(protected.to_string()),
            payload: payload.map_or_else(String::new, |payload| BASE64.encode(payload.to_string())),
        }
    }

    /// The octets that the account's key signs.
    #[must_use]
    pub fn octets(&self) -> Vec<u8> {
        format!("{}.{}", self.protected, self.payload).into_bytes()
    }

    /// The body of the request. The signature is as X.509 has it: `SEQUENCE { r INTEGER, s INTEGER }`. `None`: it is not.
    #[must_use]
    pub fn signed(&self, signature: &[u8]) -> Option<Vec<u8>> {
        let signature = BASE64.encode(joined(signature)?);
        let body = json!({"protected": self.protected, "payload": self.payload, "signature": signature});
        Some(body.to_string().into_bytes())
    }
}

/// `r` and `s`, each of 32 octets (RFC 7518 §3.4).
fn joined(der: &[u8]) -> Option<[u8; 2 * HALF]> {
    let rest = der.strip_prefix(&[0x30])?;
    let (len, rest) = rest.split_first()?;
    // Both numbers and their heads are less than 128 octets.
    if usize::from(*len) != rest.len() || rest.len() >= 128 {
        return None;
    }
    let (r, rest) = integer(rest)?;
    let (s, rest) = integer(rest)?;
    if !rest.is_empty() {
        return None;
    }
    let mut out = [0; 2 * HALF];
    let (first, second) = out.split_at_mut(HALF);
    first.copy_from_slice(&r);
    second.copy_from_slice(&s);
    Some(out)
}

/// A number that is not negative, with zeros before it, and what follows.
fn integer(der: &[u8]) -> Option<([u8; HALF], &[u8])> {
    let (len, rest) = der.strip_prefix(&[2])?.split_first()?;
    let (mut octets, rest) = rest.split_at_checked(usize::from(*len))?;
    while let Some(shorter) = octets.strip_prefix(&[0]) {
        octets = shorter;
    }
    let mut out = [0; HALF];
    let start = HALF.checked_sub(octets.len())?;
    out.get_mut(start..)?.copy_from_slice(octets);
    Some((out, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of RFC 7515 §A.3.1.
    fn key() -> PublicKey {
        let x = BASE64
            .decode("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU")
            .expect("base64");
        let y = BASE64
            .decode("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0")
            .expect("base64");
        PublicKey::from_point(&[&[4][..], &x, &y].concat()).expect("a point")
    }

    fn decoded(text: &str) -> Value {
        serde_json::from_slice(&BASE64.decode(text).expect("base64")).expect("JSON")
    }

    #[test]
    fn points_have_one_form() {
        assert_eq!(PublicKey::from_point(&[4; 65]).map(|key| key.x), Some([4; 32]));
        for bad in [&[][..], &[4], &[4; 64], &[4; 66], &[3; 65]] {
            assert_eq!(PublicKey::from_point(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_request_names_its_signer_nonce_and_url() {
        let first = Unsigned::new(
            Signer::Key(&key()),
            "n1",
            "https://ca.test/x",
            Some(&json!({"a": 1})),
        );
        let head = decoded(&first.protected);
        assert_eq!(
            (&head["alg"], &head["nonce"], &head["url"]),
            (&json!("ES256"), &json!("n1"), &json!("https://ca.test/x"))
        );
        assert_eq!(head["jwk"]["x"], "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU");
        assert!(head.get("kid").is_none());
        assert_eq!(decoded(&first.payload), json!({"a": 1}));
        let second = Unsigned::new(
            Signer::Account("https://ca.test/1"),
            "n2",
            "https://ca.test/y",
            None,
        );
        let head = decoded(&second.protected);
        assert_eq!(head["kid"], "https://ca.test/1");
        assert!(head.get("jwk").is_none());
        assert_eq!(second.payload, "");
        let body = second.signed(&[0x30, 6, 2, 1, 7, 2, 1, 9]).expect("a body");
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        let signature = BASE64
            .decode(body["signature"].as_str().expect("text"))
            .expect("base64");
        assert_eq!((signature.len(), signature[31], signature[63]), (64, 7, 9));
    }

    #[test]
    fn signatures_are_two_numbers_of_32_octets() {
        let number = |octets: &[u8]| [&[2, u8::try_from(octets.len()).expect("short")][..], octets].concat();
        let der = |r: &[u8], s: &[u8]| {
            let both = [number(r), number(s)].concat();
            [&[0x30, u8::try_from(both.len()).expect("short")][..], &both].concat()
        };
        let high = [&[0][..], &[0xff; 32]].concat();
        let out = joined(&der(&high, &[1])).expect("a signature");
        assert_eq!((&out[..32], out[63]), (&[0xff; 32][..], 1));
        let mut longer = der(&[1], &[1]);
        longer.push(0);
        for bad in [
            der(&[1; 33], &[1]),
            longer,
            vec![],
            vec![0x30, 0x81, 6, 2, 1, 7, 2, 1, 9],
            vec![0x30, 3, 2, 1, 7],
            vec![0x30, 6, 2, 9, 7, 2, 1, 9],
        ] {
            assert_eq!(joined(&bad), None, "{bad:02x?}");
        }
    }

    #[test]
    fn a_new_account_is_bound_to_one_from_elsewhere() {
        let secret = |text: &str| Secret::new(text.as_bytes());
        let text = BASE64.encode([0xfb; 32]);
        let binding = Binding::new("kid-1", &secret(&text)).expect("a key");
        for same in [
            format!("{text}="),
            format!(" {text}\n"),
            text.replace('-', "+").replace('_', "/"),
        ] {
            assert_eq!(
                Binding::new("kid-1", &secret(&same)).as_ref(),
                Some(&binding),
                "{same:?}"
            );
        }
        for bad in ["", "====", "c2hvcnQ", "not base64url at all, but long enough"] {
            assert_eq!(Binding::new("kid-1", &secret(bad)), None, "{bad:?}");
        }
        assert!(!format!("{binding:?}").contains(&text));
        let bound = binding.of(&key(), "https://ca.test/new-account");
        let part = |name: &str| bound[name].as_str().expect("text").to_owned();
        assert_eq!(
            decoded(&part("protected")),
            json!({"alg": "HS256", "kid": "kid-1", "url": "https://ca.test/new-account"}),
            "and no nonce"
        );
        assert_eq!(decoded(&part("payload")), key().jwk());
        let signed = format!("{}.{}", part("protected"), part("payload"));
        assert_eq!(
            part("signature"),
            BASE64.encode(hmac(&[0xfb; 32], signed.as_bytes()))
        );
    }

    #[test]
    fn a_proof_is_token_and_thumbprint() {
        let key = key();
        let canonical = "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\
                         \"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}";
        assert_eq!(key.thumbprint(), BASE64.encode(Sha256::digest(canonical)));
        assert_eq!(key.authorize("tok"), format!("tok.{}", key.thumbprint()));
    }
}
