//! `{mail_root}/domains/{domain}/users/{username}/user.json`.

use core::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Access, AppPassword, MAX_APP_PASSWORDS};
use crate::addr::Address;
use crate::auth::lookalike::Shape;
use crate::auth::password::{BadHash, Hash, ScramKeys, Verdict};
use crate::mailbox::Quota;
use crate::secret::Secret;
use crate::time::Unix;

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
    /// The highest MT-PRIORITY (RFC 6710) that its mail gets, up to 9; none: 9 for administrators, 0 for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_priority: Option<i8>,
    /// Application passwords.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub app_passwords: Vec<AppPassword>,
    /// Tokens of the HTTP API that were given while this was another number hold no more: a logout changes it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub token_epoch: u64,
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

/// One of the secrets by which an account can be opened.
#[derive(Clone, Copy, Debug)]
pub struct LoginSecret<'a> {
    /// Its hash.
    pub hash: &'a Hash,
    /// Changes when sessions that were opened with it must end. Never 0.
    pub epoch: u64,
    /// The application password; none: the password of the user.
    pub app: Option<&'a AppPassword>,
}

/// A password that is right.
#[derive(Clone, Copy, Debug)]
pub struct Proof<'a> {
    /// The secret that it is.
    pub secret: LoginSecret<'a>,
    /// Its hash is not in the form that we write.
    pub rewrite: bool,
}

impl Default for User {
    fn default() -> Self {
        Self {
            password: None,
            quota_mb: default_quota(),
            quota_messages: 0,
            admin: false,
            enabled: true,
            send_as: Vec::new(),
            max_priority: None,
            app_passwords: Vec::new(),
            token_epoch: 0,
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

    /// As much of a priority as its mail may have. To be served later than others is for everybody.
    #[must_use]
    pub fn priority(&self, wanted: i8) -> i8 {
        let most = self.max_priority.unwrap_or(if self.admin { 9 } else { 0 });
        wanted.clamp(-9, 9).min(most.clamp(0, 9))
    }

    /// Changes when sessions that were opened with the password must end: with it and with `enabled`. Never 0, which
    /// stands for a user that is gone. It says nothing about the password to anybody who sees it.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        let mut hash = Sha256::new();
        hash.update([u8::from(self.enabled)]);
        if let Some(UserHash(password)) = &self.password {
            hash.update(password.to_string());
        }
        epoch_of(hash)
    }

    /// Changes when any session of the account may have to end, because of the file or of the time. Never 0.
    #[must_use]
    pub fn generation(&self, now: Unix) -> u64 {
        let mut hash = Sha256::new();
        hash.update(self.epoch().to_le_bytes());
        hash.update(self.token_epoch.to_le_bytes());
        for app in &self.app_passwords {
            hash.update(app.epoch(self.enabled).to_le_bytes());
            hash.update([u8::from(app.has_expired(now))]);
        }
        epoch_of(hash)
    }

    /// Salt and rounds, which all secrets of the account share, so that SCRAM can check one proof against each: those
    /// of the password, or of the first application password of a user who has none.
    #[must_use]
    pub fn salt(&self) -> Option<(&[u8], u32)> {
        let first = || self.app_passwords.first().map(|app| &app.password);
        let UserHash(hash) = self.password.as_ref().or_else(first)?;
        Some((hash.salt(), hash.rounds()))
    }

    /// Every secret that counts, whatever it opens and until when: those that share salt and rounds.
    pub fn secrets(&self) -> impl Iterator<Item = LoginSecret<'_>> {
        let password = self.password.as_ref().map(|UserHash(hash)| LoginSecret {
            hash,
            epoch: self.epoch(),
            app: None,
        });
        let apps = self.app_passwords.iter().take(MAX_APP_PASSWORDS);
        let apps = apps.filter(|app| self.is_alike(app)).map(|app| LoginSecret {
            hash: &app.password.0,
            epoch: app.epoch(self.enabled),
            app: Some(app),
        });
        password.into_iter().chain(apps)
    }

    /// Finds the secret that a password is. It costs one derivation, however many there are.
    #[must_use]
    pub fn check(&self, password: &Secret) -> Option<Proof<'_>> {
        let mut derived = None;
        let mut found = None;
        for secret in self.secrets() {
            let verdict = match secret.hash {
                Hash::Scram(keys) => {
                    let derive = || ScramKeys::derive(password, &keys.salt, keys.rounds);
                    keys.compare(password, derived.get_or_insert_with(derive))
                }
                foreign @ Hash::Pbkdf2 { .. } => foreign.verify(password),
            };
            if verdict != Verdict::Wrong && found.is_none() {
                let rewrite = verdict == Verdict::RightButRewrite;
                found = Some(Proof { secret, rewrite });
            }
        }
        found
    }

    /// What strangers can see of the account: what [`User::check`] costs, and what SCRAM tells. `None`: nobody can log in.
    #[must_use]
    pub fn shape(&self) -> Option<Shape> {
        self.secrets().next()?;
        let own = self
            .secrets()
            .find(|secret| matches!(secret.hash, Hash::Scram(_)));
        let foreign = self
            .secrets()
            .filter(|secret| matches!(secret.hash, Hash::Pbkdf2 { .. }));
        let costs = own.into_iter().chain(foreign).map(|secret| secret.hash.cost());
        let scram = self.secrets().find_map(|secret| secret.hash.scram_keys());
        Some(Shape {
            cost: costs.fold(0, u32::saturating_add),
            scram: scram.map(|keys| (keys.rounds, keys.salt.len())),
        })
    }

    /// The secret of this epoch, if it is one that opens this now.
    #[must_use]
    pub fn secret_of(&self, epoch: u64, access: Access, now: Unix) -> Option<LoginSecret<'_>> {
        self.secrets()
            .find(|secret| secret.epoch == epoch && secret.opens(access, now))
    }

    /// What is in the file and has no effect, in words, each with its place.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let mut found: Vec<String> = self.other.keys().map(|name| unknown(name)).collect();
        for (at, app) in self.app_passwords.iter().enumerate() {
            let place = |text: &str| format!("app_passwords[{at}].{text}");
            found.extend(app.other.keys().map(|name| place(&unknown(name))));
            if at >= MAX_APP_PASSWORDS {
                found.push(format!(
                    "app_passwords[{at}]: only the first {MAX_APP_PASSWORDS} count"
                ));
                break;
            }
            if !self.is_alike(app) {
                found.push(place(
                    "password: salt or rounds are not those of the account's password; it opens nothing",
                ));
            }
        }
        found
    }

    /// An application password that shares salt and rounds.
    fn is_alike(&self, app: &AppPassword) -> bool {
        let UserHash(hash) = &app.password;
        matches!(hash, Hash::Scram(_)) && self.salt() == Some((hash.salt(), hash.rounds()))
    }
}

impl LoginSecret<'_> {
    /// Whether it opens this now. The user's password opens everything, always.
    #[must_use]
    pub fn opens(&self, access: Access, now: Unix) -> bool {
        self.app.is_none_or(|app| app.opens(access, now))
    }
}

/// What the epoch of these octets is.
pub(super) fn epoch_of(hash: Sha256) -> u64 {
    let digest: [u8; 32] = hash.finalize().into();
    digest
        .first_chunk()
        .map_or(1, |front| u64::from_le_bytes(*front).max(1))
}

/// What is said of a field that we do not know.
pub(super) fn unknown(name: &str) -> String {
    format!("{name:?}: unknown field; it is kept, and has no effect")
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
    fn the_shape_is_what_a_comparison_costs_and_scram_tells() {
        let user = |text: &str| serde_json::from_str::<User>(text).expect("good");
        let shape = |text: &str| user(text).shape().map(|shape| (shape.cost, shape.scram));
        let own = Hash::Scram(ScramKeys::derive(&Secret::new("x"), b"salt", 7));
        let foreign = |octets: usize| Hash::Pbkdf2 {
            rounds: 7,
            salt: b"salt".to_vec(),
            key: vec![1; octets],
        };
        assert_eq!(shape("{}"), None);
        let of = |hash: &Hash| shape(&format!(r#"{{"password":"{hash}"}}"#));
        assert_eq!(of(&own), Some((7, Some((7, 4)))));
        assert_eq!(of(&foreign(31)), Some((7, None)));
        assert_eq!(of(&foreign(64)), Some((14, Some((7, 4)))));
        // All that are ours cost one derivation together.
        let app = |hash: &Hash| format!(r#"{{"name":"a","password":"{hash}"}}"#);
        let apps = format!("[{},{}]", app(&own), app(&own));
        assert_eq!(
            shape(&format!(r#"{{"app_passwords":{apps}}}"#)),
            Some((7, Some((7, 4))))
        );
        let both = format!(r#"{{"password":"{}","app_passwords":{apps}}}"#, foreign(31));
        assert_eq!(shape(&both), Some((14, Some((7, 4)))));
    }

    #[test]
    fn a_user_keeps_what_it_does_not_know() {
        let hash = Hash::Scram(ScramKeys::derive(&Secret::new("x"), b"salt", 1)).to_string();
        let text = format!(
            r#"{{"password":"{hash}","quota_mb":5,"send_as":["team@x.y"],"vacation":{{"on":true}},
                "app_passwords":[{{"name":"phone","password":"{hash}","icon":"x"}}]}}"#
        );
        let user: User = serde_json::from_str(&text).expect("good");
        assert_eq!(
            (user.quota().octets, user.admin, user.enabled),
            (Some(5 << 20), false, true)
        );
        assert_eq!(user.quota().messages, None);
        let again: serde_json::Value = serde_json::to_value(&user).expect("plain data");
        assert_eq!(again["vacation"]["on"], true);
        assert_eq!(again["app_passwords"][0]["icon"], "x");
        assert_eq!(
            user.complaints(),
            [
                "\"vacation\": unknown field; it is kept, and has no effect",
                "app_passwords[0].\"icon\": unknown field; it is kept, and has no effect"
            ]
        );
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
            (r#"{"app_passwords":[{"name":"a"}]}"#, "app_passwords[0]"),
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

    fn hash(password: &str, salt: &[u8], rounds: u32) -> UserHash {
        UserHash(Hash::Scram(ScramKeys::derive(
            &Secret::new(password),
            salt,
            rounds,
        )))
    }

    fn app(name: &str, password: UserHash, scope: &[Access]) -> AppPassword {
        AppPassword {
            name: name.into(),
            password,
            scope: scope.to_vec(),
            created: None,
            expires: None,
            last_used: None,
            other: serde_json::Map::new(),
        }
    }

    fn user_with_apps() -> User {
        User {
            password: Some(hash("main", b"salt", 2)),
            app_passwords: vec![
                app("phone", hash("one", b"salt", 2), &[Access::Imap]),
                app("other salt", hash("two", b"pepper", 2), &Access::ALL),
                app("other rounds", hash("three", b"salt", 3), &Access::ALL),
                app("laptop", hash("four", b"salt", 2), &Access::ALL),
            ],
            ..User::default()
        }
    }

    #[test]
    fn secrets_that_share_salt_and_rounds_are_found() {
        let user = user_with_apps();
        let name = |password: &str| {
            let proof = user.check(&Secret::new(password))?;
            Some(proof.secret.app.map_or("", |app| app.name.as_str()))
        };
        assert_eq!(name("main"), Some(""));
        assert_eq!(name("one"), Some("phone"));
        assert_eq!(name("four"), Some("laptop"));
        for wrong in ["two", "three", "", "Main"] {
            assert_eq!(name(wrong), None, "{wrong:?}");
        }
        assert_eq!(user.complaints().len(), 2, "{:?}", user.complaints());
        let none = User {
            password: None,
            ..user_with_apps()
        };
        assert_eq!(none.salt(), Some((&b"salt"[..], 2)));
        assert!(none.check(&Secret::new("four")).is_some() && none.check(&Secret::new("main")).is_none());
    }

    #[test]
    fn a_foreign_hash_shares_its_salt_too() {
        let mut key = [0; 32];
        pbkdf2::pbkdf2_hmac::<Sha256>(b"main", b"salt", 2, &mut key);
        let foreign = Hash::Pbkdf2 {
            rounds: 2,
            salt: b"salt".to_vec(),
            key: key.to_vec(),
        };
        let user = User {
            password: Some(UserHash(foreign)),
            ..user_with_apps()
        };
        let main = user.check(&Secret::new("main")).expect("right");
        assert!(main.rewrite && main.secret.app.is_none());
        let phone = user.check(&Secret::new("one")).expect("right");
        assert!(!phone.rewrite && phone.secret.app.is_some());
    }

    #[test]
    fn a_secret_is_known_by_its_epoch_within_its_scope() {
        let user = user_with_apps();
        let now = Unix::from_secs(9);
        let epochs: Vec<u64> = user.secrets().map(|secret| secret.epoch).collect();
        assert_eq!(epochs.len(), 3);
        assert_eq!(epochs[0], user.epoch());
        let opens = |user: &User, epoch, access| user.secret_of(epoch, access, now).is_some();
        assert!(opens(&user, epochs[0], Access::Smtp));
        assert!(opens(&user, epochs[1], Access::Imap) && !opens(&user, epochs[1], Access::Smtp));
        let mut changed = user.clone();
        changed.app_passwords[3].last_used = Some(crate::directory::Moment(now));
        changed.app_passwords[3].name = "tablet".into();
        assert!(opens(&changed, epochs[2], Access::Smtp), "nothing that counts");
        assert_eq!(changed.generation(now), user.generation(now));
        changed.app_passwords[3].expires = Some(crate::directory::Moment(Unix::from_secs(10)));
        assert!(!opens(&changed, epochs[2], Access::Smtp));
        assert_ne!(changed.generation(now), user.generation(now));
        assert_ne!(changed.generation(now), changed.generation(Unix::from_secs(10)));
        assert_eq!(changed.epoch(), user.epoch(), "sessions with the password go on");
        changed.enabled = false;
        assert!(!opens(&changed, epochs[1], Access::Imap));
    }
}
