//! Tokens of the API: JWT (RFC 7519) signed with HMAC-SHA256 (`HS256`, RFC 7518 §3.2), and no other.
//!
//! A token says who logged in, and what may end it before its time: the epoch of the secret that was used and the account's
//! token epoch. Nothing of a token is read before its signature was found right, and nothing is guessed: a member that is
//! not known, comes twice, or is not of its type makes the token worthless.

use core::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::password::hmac;
use crate::addr::{AccountName, Address};
use crate::secret::Secret;
use crate::time::Unix;

/// For so long a token is good.
pub const LIFETIME: Duration = Duration::from_secs(3_600);

/// Octets of a key at least: with fewer it can be guessed.
pub const MIN_KEY: usize = 16;

/// Octets of a key that is as long as the hash (RFC 7518 §3.2 wants no fewer).
pub const GOOD_KEY: usize = 32;

/// What [`Key::from_hex`] expects.
pub const KEY_EXPECTED: &str =
    "expected 32 hexadecimal digits at least, 64 are good (`openssl rand -hex 32`)";

/// Octets of a token at most. The longest that we make have some 700.
const MAX_TOKEN: usize = 2_048;

/// So far the clocks of hosts that share a secret may differ.
const SKEW: Duration = Duration::from_secs(60);

/// What every token of ours is for.
const SCOPE: &str = "api";

/// The secret by which tokens are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(Secret);

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Who logged in (`sub`).
    pub account: AccountName,
    /// The epoch of the secret that the login was made with (`sec`).
    pub epoch: u64,
    /// The account's token epoch (`tok`).
    pub tokens: u64,
    /// When it was made (`iat`), whole seconds.
    pub issued: Unix,
    /// From then on it is worthless (`exp`), whole seconds.
    pub expires: Unix,
}

/// Why a token is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadToken {
    /// Not ours, or not a token at all.
    Forged,
    /// It was one.
    Expired,
    /// It will be one.
    Early,
}

impl BadToken {
    /// In words, for who sent it.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Forged => "The token is not valid",
            Self::Expired => "The token has expired",
            Self::Early => "The token is not valid yet",
        }
    }
}

/// The header (RFC 7515 §4.1). `crit`, `zip`, `cty`, `kid` and all others are refused as unknown.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header<'a> {
    alg: &'a str,
    #[serde(default)]
    typ: Option<&'a str>,
}

/// The claims (RFC 7519 §4.1, and two of ours).
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    sub: String,
    iat: u64,
    exp: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<u64>,
    scope: String,
    /// 16 hexadecimal digits: programs that read JSON numbers as floating-point ones change those of 64 bits.
    sec: String,
    tok: u64,
}

impl Key {
    /// From octets; [`MIN_KEY`] at least is for who makes them to see to.
    #[must_use]
    pub fn new(octets: impl Into<Vec<u8>>) -> Self {
        Self(Secret::new(octets))
    }

    /// From hexadecimal digits, as `exchange_api.token_secret` has them. `None`: there are others, an odd number of them, or
    /// too few.
    #[must_use]
    pub fn from_hex(digits: &[u8]) -> Option<Self> {
        let digit = |octet: &u8| char::from(*octet).to_digit(16);
        let pairs = digits.trim_ascii().chunks(2);
        let octets: Option<Vec<u8>> = pairs
            .map(|pair| match pair {
                [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
                _ => None,
            })
            .collect();
        octets.filter(|octets| octets.len() >= MIN_KEY).map(Self::new)
    }

    /// Octets of it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.expose().len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A token for who has just logged in: good from `now` on for [`LIFETIME`].
    #[must_use]
    pub fn issue(&self, account: &AccountName, epoch: u64, tokens: u64, now: Unix) -> String {
        self.sign(&Claims {
            account: account.clone(),
            epoch,
            tokens,
            issued: now,
            expires: Unix(now.0 + LIFETIME),
        })
    }

    /// The token that says this.
    #[must_use]
    pub fn sign(&self, claims: &Claims) -> String {
        let header = Header {
            alg: "HS256",
            typ: Some("JWT"),
        };
        let set = Set {
            sub: claims.account.as_str().to_owned(),
            iat: claims.issued.secs(),
            exp: claims.expires.secs(),
            nbf: None,
            scope: SCOPE.to_owned(),
            sec: format!("{:016x}", claims.epoch),
            tok: claims.tokens,
        };
        // Our own types have nothing that JSON cannot say.
        let encode = |json: serde_json::Result<Vec<u8>>| BASE64.encode(json.unwrap_or_default());
        let signed = format!(
            "{}.{}",
            encode(serde_json::to_vec(&header)),
            encode(serde_json::to_vec(&set))
        );
        let signature = hmac(self.0.expose(), signed.as_bytes());
        format!("{signed}.{}", BASE64.encode(signature))
    }

    /// Reads a token.
    ///
    /// # Errors
    /// It is forged in any way, or it is not its time.
    pub fn verify(&self, token: &str, now: Unix) -> Result<Claims, BadToken> {
        if token.len() > MAX_TOKEN {
            return Err(BadToken::Forged);
        }
        let claims = self.read(token).ok_or(BadToken::Forged)?;
        if claims.expires <= Unix::from_secs(now.secs()) {
            return Err(BadToken::Expired);
        }
        if claims.issued.0 > now.0 + SKEW {
            return Err(BadToken::Early);
        }
        Ok(claims)
    }

    fn read(&self, token: &str) -> Option<Claims> {
        let (signed, signature) = token.rsplit_once('.')?;
        // RFC 7515 §2: no padding, no other characters; and of the bits that say nothing, none is set.
        let given = BASE64.decode(signature).ok()?;
        let right = hmac(self.0.expose(), signed.as_bytes());
        if !bool::from(given.ct_eq(right.as_slice())) {
            return None;
        }
        // Ours, or made by who knows the secret.
        let (header, set) = signed.split_once('.')?;
        let header = BASE64.decode(header).ok()?;
        let set = BASE64.decode(set).ok()?;
        // Serde would take a list of the values for an object.
        if !header.starts_with(b"{") || !set.starts_with(b"{") {
            return None;
        }
        let header: Header<'_> = serde_json::from_slice(&header).ok()?;
        if header.alg != "HS256" || header.typ.is_some_and(|typ| typ != "JWT") {
            return None;
        }
        let set: Set = serde_json::from_slice(&set).ok()?;
        let account = Address::parse(&set.sub)?.canonical();
        let digits = set.sec.len() == 16 && set.sec.bytes().all(|digit| digit.is_ascii_hexdigit());
        if account.as_str() != set.sub || set.scope != SCOPE || !digits || set.exp <= set.iat {
            return None;
        }
        Some(Claims {
            account,
            epoch: u64::from_str_radix(&set.sec, 16).ok()?,
            tokens: set.tok,
            issued: Unix::from_secs(set.iat.max(set.nbf.unwrap_or_default())),
            expires: Unix::from_secs(set.exp),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Unix = Unix::from_secs(1_700_000_000);

    fn key() -> Key {
        Key::new(*b"0123456789abcdef0123456789abcdef")
    }

    fn alice() -> AccountName {
        Address::parse("alice@example.com").expect("address").canonical()
    }

    /// A token of these octets, with the right signature.
    fn forge(header: &str, set: &str) -> String {
        let signed = format!("{}.{}", BASE64.encode(header), BASE64.encode(set));
        let signature = hmac(b"0123456789abcdef0123456789abcdef", signed.as_bytes());
        format!("{signed}.{}", BASE64.encode(signature))
    }

    const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
    const SET: &str = r#"{"sub":"alice@example.com","iat":1700000000,"exp":1700003600,"scope":"api","sec":"00000000000000ff","tok":3}"#;

    #[test]
    fn a_token_says_what_was_put_into_it_until_it_expires() {
        let token = key().issue(&alice(), u64::MAX, 3, NOW);
        let claims = key().verify(&token, NOW).expect("good");
        assert_eq!(
            (claims.account, claims.epoch, claims.tokens),
            (alice(), u64::MAX, 3)
        );
        let at = |seconds: u64| {
            key()
                .verify(&token, Unix::from_secs(1_700_000_000 + seconds))
                .map(drop)
        };
        assert_eq!(at(3_599), Ok(()));
        assert_eq!(at(3_600), Err(BadToken::Expired));
        let early = Unix::from_secs(1_700_000_000 - 61);
        assert_eq!(key().verify(&token, early).map(drop), Err(BadToken::Early));
        assert_eq!(token, {
            let set = SET.replace("00000000000000ff", "ffffffffffffffff");
            forge(HEADER, &set)
        });
    }

    #[test]
    fn the_example_of_rfc_7515_is_signed_as_there() {
        // RFC 7515 appendix A.1.
        let key: Vec<u8> = BASE64
            .decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
            .expect("base64");
        let signed = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
            eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        assert_eq!(
            BASE64.encode(hmac(&key, signed.as_bytes())),
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
        );
        // Signed right, and yet no token of ours.
        let token = format!("{signed}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert_eq!(
            Key::new(key).verify(&token, Unix::from_secs(1)),
            Err(BadToken::Forged)
        );
    }

    #[test]
    fn whoever_knows_the_secret_still_has_to_be_exact() {
        assert!(key().verify(&forge(HEADER, SET), NOW).is_ok());
        let plain = r#"{"alg":"HS256"}"#;
        assert!(
            key().verify(&forge(plain, SET), NOW).is_ok(),
            "typ may be missing"
        );
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"None","typ":"JWT"}"#,
            r#"{"alg":"hs256","typ":"JWT"}"#,
            r#"{"alg":"HS384","typ":"JWT"}"#,
            r#"{"alg":"HS512","typ":"JWT"}"#,
            r#"{"alg":"RS256","typ":"JWT"}"#,
            r#"{"alg":"ES256","typ":"JWT"}"#,
            r#"{"alg":["HS256"],"typ":"JWT"}"#,
            r#"{"alg":null}"#,
            r#"{"typ":"JWT"}"#,
            r#"{"alg":"HS256","typ":"at+jwt"}"#,
            r#"{"alg":"HS256","typ":1}"#,
            r#"{"alg":"HS256","alg":"HS256"}"#,
            r#"{"alg":"none","alg":"HS256"}"#,
            r#"{"alg":"HS256","crit":["exp"],"exp":1}"#,
            r#"{"alg":"HS256","cty":"JWT"}"#,
            r#"{"alg":"HS256","zip":"DEF"}"#,
            r#"{"alg":"HS256","kid":"../../dev/null"}"#,
            r#"{"alg":"HS256","jwk":{"kty":"oct","k":""}}"#,
            r#"{"alg":"HS256"} {}"#,
            r#"["HS256"]"#,
            "",
            "{",
            "\u{feff}{\"alg\":\"HS256\"}",
        ] {
            assert_eq!(
                key().verify(&forge(header, SET), NOW),
                Err(BadToken::Forged),
                "{header}"
            );
        }
        for (from, to) in [
            (r#""exp":1700003600,"#, ""),
            (r#""exp":1700003600"#, r#""exp":null"#),
            (r#""exp":1700003600"#, r#""exp":"1700003600""#),
            (r#""exp":1700003600"#, r#""exp":1.7e9"#),
            (r#""exp":1700003600"#, r#""exp":-1"#),
            (r#""exp":1700003600"#, r#""exp":18446744073709551616"#),
            (r#""exp":1700003600"#, r#""exp":1700003600,"exp":1900000000"#),
            (r#""exp":1700003600"#, r#""exp":1700000000"#),
            (r#""iat":1700000000,"#, ""),
            (r#""iat":1700000000"#, r#""iat":"now""#),
            (r#""sub":"alice@example.com","#, ""),
            ("alice@example.com", "Alice@example.com"),
            ("alice@example.com", "alice@EXAMPLE.com"),
            ("alice@example.com", "alice"),
            ("alice@example.com", "../../alice@example.com"),
            (r#""sub":"alice@example.com""#, r#""sub":["alice@example.com"]"#),
            (
                r#""sub":"alice@example.com""#,
                r#""sub":"alice@example.com","sub":"bob@example.com""#,
            ),
            (r#""scope":"api""#, r#""scope":"admin""#),
            (r#""scope":"api""#, r#""scope":"""#),
            (r#""scope":"api","#, ""),
            (r#""tok":3"#, r#""tok":3,"admin":true"#),
            (r#""tok":3"#, r#""tok":3,"nbf":"x""#),
            ("00000000000000ff", "ff"),
            ("00000000000000ff", "+0000000000000ff"),
            ("00000000000000ff", "00000000000000fg"),
        ] {
            let set = SET.replace(from, to);
            assert_ne!(set, SET, "{from}");
            assert_eq!(
                key().verify(&forge(HEADER, &set), NOW),
                Err(BadToken::Forged),
                "{set}"
            );
        }
        let list = r#"["alice@example.com",1700000000,1700003600,null,"api","00000000000000ff",3]"#;
        assert_eq!(key().verify(&forge(HEADER, list), NOW), Err(BadToken::Forged));
        let later = SET.replace(r#""tok":3"#, r#""tok":3,"nbf":1700000100"#);
        assert_eq!(key().verify(&forge(HEADER, &later), NOW), Err(BadToken::Early));
        assert!(
            key()
                .verify(&forge(HEADER, &later), Unix::from_secs(1_700_000_100))
                .is_ok()
        );
        let nested = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(key().verify(&forge(HEADER, &nested), NOW).is_err());
    }

    #[test]
    fn no_other_octets_are_the_same_token() {
        let token = forge(HEADER, SET);
        let mut parts = token.split('.');
        let (header, set, signature) = (
            parts.next().expect("header"),
            parts.next().expect("set"),
            parts.next().expect("signature"),
        );
        let none = BASE64.encode(r#"{"alg":"none"}"#);
        let last = signature.chars().last().expect("some");
        let unused = if last == 'A' {
            'B'
        } else {
            char::from(last as u8 + 1)
        };
        let other_bits = format!("{}{unused}", &signature[..signature.len() - 1]);
        for bad in [
            String::new(),
            ".".to_owned(),
            "..".to_owned(),
            "...".to_owned(),
            format!("{header}.{set}"),
            format!("{header}.{set}."),
            format!("{none}.{set}."),
            format!("{none}.{set}.{signature}"),
            format!("{token}."),
            format!(".{token}"),
            format!("{token}.{signature}"),
            format!("{header}.{set}.{signature}="),
            format!("{header}=.{set}.{signature}"),
            format!("{header}.{set}.{other_bits}"),
            format!("{header}.{set}.{}", &signature[..signature.len() - 2]),
            format!("{header}.{set}.{signature}AA"),
            format!("{header}.{set}.{}", signature.replace(['-', '_'], "+")),
            format!("{header}.{set} .{signature}"),
            format!("{header}.{set}.\n{signature}"),
            token.to_uppercase(),
            "a".repeat(MAX_TOKEN + 1),
            format!("{}.{set}.{signature}", "A".repeat(1 << 20)),
        ] {
            if bad != token {
                assert_eq!(key().verify(&bad, NOW), Err(BadToken::Forged), "{bad:.80}");
            }
        }
        let other = Key::new(*b"another key that is not the same");
        assert_eq!(other.verify(&token, NOW), Err(BadToken::Forged));
        for at in 0..token.len() {
            let mut octets = token.clone().into_bytes();
            octets[at] ^= 1;
            if let Ok(changed) = String::from_utf8(octets) {
                assert_eq!(key().verify(&changed, NOW), Err(BadToken::Forged), "octet {at}");
            }
        }
    }

    #[test]
    fn only_hexadecimal_digits_are_a_key() {
        let digits = "0aF0".repeat(16);
        assert_eq!(Key::from_hex(digits.as_bytes()).map(|key| key.len()), Some(32));
        let ended = format!("{digits}\n");
        assert_eq!(Key::from_hex(ended.as_bytes()), Key::from_hex(digits.as_bytes()));
        for bad in [
            "",
            "4711",
            &digits[1..],
            &digits.replace('F', "g"),
            &"0a".repeat(15),
        ] {
            assert_eq!(Key::from_hex(bad.as_bytes()), None, "{bad}");
        }
    }
}
