//! Application passwords: further secrets of an account, each for a program or device, with a scope and an end.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::UserHash;
use crate::random::Random;
use crate::secret::Secret;
use crate::text::rfc3339;
use crate::time::Unix;

/// Application passwords of an account at most: each is compared with every password that is tried.
pub const MAX_APP_PASSWORDS: usize = 64;

/// Characters of a name.
const MAX_NAME: usize = 64;

/// The alphabet of passwords that we make: nothing that is read as something else.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// Letters of a password that we make: 100 bits.
const MADE_LETTERS: usize = 20;

/// For how long a use is not written down again, seconds.
const USE_IS_NEWS: u64 = 3_600;

/// What somebody logs in to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// SMTP and submission.
    Smtp,
    /// IMAP.
    Imap,
    /// The HTTP API.
    Api,
}

impl Access {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Smtp, Self::Imap, Self::Api];

    /// As in `scope`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Imap => "imap",
            Self::Api => "api",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|access| access.name() == name)
    }
}

/// One entry of `app_passwords` in user.json. Fields that we do not know are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "an object")]
pub struct AppPassword {
    /// What it is for, in the user's words: tells it from the others of the account.
    pub name: String,
    /// Its hash. It counts only with the salt and the rounds of the account's other secrets.
    pub password: UserHash,
    /// What it opens; missing: everything.
    #[serde(default = "everything")]
    pub scope: Vec<Access>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Moment>,
    /// From this moment on it opens nothing; missing: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Moment>,
    /// When somebody logged in with it, to the hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<Moment>,
    /// Fields of other programs and versions.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

/// A point in time in JSON: RFC 3339, or a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Moment(pub Unix);

impl AppPassword {
    /// Whether it opens this now.
    #[must_use]
    pub fn opens(&self, access: Access, now: Unix) -> bool {
        self.scope.contains(&access) && !self.has_expired(now)
    }

    /// Whether its time is over.
    #[must_use]
    pub fn has_expired(&self, now: Unix) -> bool {
        self.expires.is_some_and(|Moment(end)| end <= now)
    }

    /// Whether a login with it now is worth writing down.
    #[must_use]
    pub fn is_use_news(&self, now: Unix) -> bool {
        self.last_used
            .is_none_or(|Moment(last)| now.secs().abs_diff(last.secs()) >= USE_IS_NEWS)
    }

    /// Changes when sessions that were opened with it must end: with all but name and last use. Never 0.
    pub(super) fn epoch(&self, enabled: bool) -> u64 {
        let mut hash = Sha256::new();
        hash.update(b"app password\0");
        hash.update([u8::from(enabled)]);
        hash.update(self.password.0.to_string());
        for access in Access::ALL {
            hash.update([u8::from(self.scope.contains(&access))]);
        }
        hash.update(
            self.expires
                .map_or(u64::MAX, |Moment(end)| end.secs())
                .to_le_bytes(),
        );
        super::user::epoch_of(hash)
    }
}

/// A new password: four groups of five letters and digits, 100 bits.
#[must_use]
pub fn make_password(random: &mut Random) -> Secret {
    let mut drawn = [0_u8; MADE_LETTERS];
    random.fill(&mut drawn);
    let mut password = Vec::with_capacity(MADE_LETTERS + 3);
    for (at, octet) in drawn.into_iter().enumerate() {
        if at > 0 && at % 5 == 0 {
            password.push(b'-');
        }
        // 256 is a multiple of 32: every letter is as likely as any other.
        password.extend(LETTERS.get(usize::from(octet & 31)));
    }
    Secret::new(password)
}

/// Whether this can be the name of an application password.
#[must_use]
pub fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.chars().count())
        && name.trim() == name
        && !name.chars().any(char::is_control)
}

impl TryFrom<String> for Moment {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, &'static str> {
        rfc3339::parse(&text)
            .map(Self)
            .ok_or("expected a moment such as 2027-01-31T12:00:00Z, or a day")
    }
}

impl From<Moment> for String {
    fn from(Moment(unix): Moment) -> Self {
        rfc3339::print(unix)
    }
}

fn everything() -> Vec<Access> {
    Access::ALL.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::password::Hash;

    fn entry(fields: &str) -> AppPassword {
        let hash = Hash::of_nobody(1);
        serde_json::from_str(&format!(r#"{{"name":"phone","password":"{hash}"{fields}}}"#)).expect("good")
    }

    #[test]
    fn scope_and_end_are_kept_to() {
        let now = Unix::from_secs(86_400);
        let all = entry("");
        assert!(Access::ALL.into_iter().all(|access| all.opens(access, now)));
        let some = entry(r#","scope":["imap"],"expires":"1970-01-02T00:00:01Z""#);
        assert!(some.opens(Access::Imap, now));
        assert!(!some.opens(Access::Smtp, now) && !some.opens(Access::Api, now));
        assert!(!some.opens(Access::Imap, Unix::from_secs(86_401)), "it is over");
        assert!(
            !entry(r#","expires":"1970-01-02""#).opens(Access::Imap, now),
            "the day begins"
        );
        assert!(!entry(r#","scope":[]"#).opens(Access::Smtp, now));
    }

    #[test]
    fn a_use_is_news_once_an_hour() {
        assert!(entry("").is_use_news(Unix::from_secs(0)));
        let used = entry(r#","last_used":"1970-01-02T00:00:00Z""#);
        assert!(!used.is_use_news(Unix::from_secs(86_400 + 3_599)));
        assert!(used.is_use_news(Unix::from_secs(86_400 + 3_600)));
        assert!(used.is_use_news(Unix::from_secs(0)), "the clock went back");
    }

    #[test]
    fn what_is_written_is_what_was_read() {
        let text = r#","scope":["imap","smtp"],"expires":"2027-01-31T00:00:00Z","device":{"id":7}"#;
        let read = entry(text);
        let json = serde_json::to_value(&read).expect("plain data");
        assert_eq!(json["expires"], "2027-01-31T00:00:00Z");
        assert_eq!(json["device"]["id"], 7);
        assert_eq!(serde_json::from_value::<AppPassword>(json).expect("ours"), read);
    }

    #[test]
    fn mistakes_are_found() {
        let hash = Hash::of_nobody(1);
        for fields in [
            r#""name":"phone""#.to_owned(),
            format!(r#""password":"{hash}""#),
            format!(r#""name":"phone","password":"{hash}","scope":["pop3"]"#),
            format!(r#""name":"phone","password":"{hash}","scope":"imap""#),
            format!(r#""name":"phone","password":"{hash}","expires":"tomorrow""#),
        ] {
            assert!(
                serde_json::from_str::<AppPassword>(&format!("{{{fields}}}")).is_err(),
                "{fields}"
            );
        }
    }

    #[test]
    fn passwords_that_we_make_have_four_groups_and_differ() {
        let mut random = Random::from_seed([3; 32]);
        let (one, two) = (make_password(&mut random), make_password(&mut random));
        assert_ne!(one, two);
        let text = core::str::from_utf8(one.expose()).expect("text");
        let groups: Vec<&str> = text.split('-').collect();
        assert_eq!(groups.len(), 4);
        assert!(
            groups
                .iter()
                .all(|group| group.len() == 5 && group.bytes().all(|b| LETTERS.contains(&b))),
            "{text}"
        );
    }

    #[test]
    fn names_are_short_and_visible() {
        for good in ["phone", "My Laptop", "ä", &"x".repeat(MAX_NAME)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", " x", "x ", "a\nb", &"x".repeat(MAX_NAME + 1)] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }
}
