//! `{mail_root}/domains/{domain}/users/{username}/user.json`.

use core::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::addr::Address;
use crate::auth::password::{BadHash, Hash};
use crate::mailbox::Quota;

/// A user as the file has it. Fields that we do not know are kept when it is rewritten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "an object")]
pub struct User {
    /// The password's hash; none: nobody can log in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<UserHash>,
    /// MiB; 0: unlimited.
    #[serde(default = "default_quota")]
    pub quota_mb: u64,
    /// Messages; 0: unlimited.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub quota_messages: u64,
    /// May administer.
    #[serde(default)]
    pub admin: bool,
    /// May log in and gets mail.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Addresses that it may send as beside its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub send_as: Vec<SendAs>,
    /// Application passwords, kept as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub app_passwords: Vec<serde_json::Value>,
    /// Fields of other programs and versions.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

/// A [`Hash`](enum@Hash) in JSON. `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserHash(pub Hash);

/// An [`Address`] in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SendAs(pub Address);

impl Default for User {
    fn default() -> Self {
        Self {
            password: None,
            quota_mb: default_quota(),
            quota_messages: 0,
            admin: false,
            enabled: true,
            send_as: Vec::new(),
            app_passwords: Vec::new(),
            other: serde_json::Map::new(),
        }
    }
}

impl User {
    /// MiB of a user whose file does not say.
    pub const DEFAULT_QUOTA_MB: u64 = 1024;

    /// What the account may have.
    #[must_use]
    pub fn quota(&self) -> Quota {
        Quota {
            octets: (self.quota_mb > 0).then(|| self.quota_mb.saturating_mul(1 << 20)),
            messages: (self.quota_messages > 0).then_some(self.quota_messages),
        }
    }

    /// Changes when open sessions must end: with the password and with `enabled`. Never 0, which stands for a user
    /// that is gone. It says nothing about the password to anybody who sees it.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        let mut hash = Sha256::new();
        hash.update([u8::from(self.enabled)]);
        if let Some(UserHash(password)) = &self.password {
            hash.update(password.to_string());
        }
        let digest: [u8; 32] = hash.finalize().into();
        digest
            .first_chunk()
            .map_or(1, |front| u64::from_le_bytes(*front).max(1))
    }
}

impl TryFrom<String> for UserHash {
    type Error = BadHash;
    fn try_from(text: String) -> Result<Self, BadHash> {
        Hash::parse(&text).map(Self)
    }
}

impl From<UserHash> for String {
    fn from(hash: UserHash) -> Self {
        hash.0.to_string()
    }
}

impl fmt::Debug for UserHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<String> for SendAs {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, &'static str> {
        Address::parse(&text).map(Self).ok_or("expected an address")
    }
}

impl From<SendAs> for String {
    fn from(address: SendAs) -> Self {
        address.0.to_string()
    }
}

fn default_quota() -> u64 {
    User::DEFAULT_QUOTA_MB
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::password::ScramKeys;
    use crate::secret::Secret;

    #[test]
    fn a_user_keeps_what_it_does_not_know() {
        let hash = Hash::Scram(ScramKeys::derive(&Secret::new("x"), b"salt", 1)).to_string();
        let text = format!(
            r#"{{"password":"{hash}","quota_mb":5,"send_as":["team@x.y"],"app_passwords":[{{"name":"phone"}}],"vacation":{{"on":true}}}}"#
        );
        let user: User = serde_json::from_str(&text).expect("good");
        assert_eq!(
            (user.quota().octets, user.admin, user.enabled),
            (Some(5 << 20), false, true)
        );
        assert_eq!(user.quota().messages, None);
        let again: serde_json::Value = serde_json::to_value(&user).expect("plain data");
        assert_eq!(again["vacation"]["on"], true);
        assert_eq!(again["app_passwords"][0]["name"], "phone");
        assert_eq!(again["password"], hash.as_str());
        let default: User = serde_json::from_str("{}").expect("all have defaults");
        assert_eq!((default.quota_mb, default), (1024, User::default()));
        let unlimited: User = serde_json::from_str(r#"{"quota_mb":0}"#).expect("good");
        assert!(unlimited.quota().is_unlimited());
        let few: User = serde_json::from_str(r#"{"quota_messages":7}"#).expect("good");
        assert_eq!(few.quota().messages, Some(7));
    }

    #[test]
    fn wrong_fields_are_refused_where_they_are() {
        for (text, place) in [
            (r#"{"password":"secret"}"#, "password"),
            (r#"{"quota_mb":-1}"#, "quota_mb"),
            (r#"{"enabled":"yes"}"#, "enabled"),
            (r#"{"send_as":["a@x.y","b"]}"#, "send_as[1]"),
        ] {
            let mut json = serde_json::Deserializer::from_str(text);
            let error = serde_path_to_error::deserialize::<_, User>(&mut json).expect_err(text);
            assert_eq!(error.path().to_string(), place);
        }
    }

    #[test]
    fn the_epoch_follows_password_and_enabled_only() {
        let user = User::default();
        let epoch = user.epoch();
        let with = |change: fn(&mut User)| {
            let mut user = User::default();
            change(&mut user);
            user.epoch()
        };
        assert_eq!(with(|user| user.quota_mb = 1), epoch);
        assert_eq!(with(|user| user.admin = true), epoch);
        assert_ne!(with(|user| user.enabled = false), epoch);
        assert_ne!(
            with(|user| user.password = Some(UserHash(Hash::of_nobody(1)))),
            epoch
        );
    }
}
