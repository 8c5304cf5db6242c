//! `@given`: what is there before.

use std::collections::BTreeMap;

use futures_lite::future::block_on;
use rmail_core::addr::AccountName;
use rmail_core::auth::password::Hash;
use rmail_core::chunk::Chunk;
use rmail_core::directory::alias::AliasKey;
use rmail_core::directory::{Access, UserHash};
use rmail_core::limiter::Rates;
use rmail_core::mailbox::{SpecialUse, Uid, UidSet};
use rmail_core::secret::Secret;
use rmail_core::text::date;
use rmail_core::time::Now;
use rmail_store::accounts::NewAppPassword;
use rmail_store::mailstore::{MailStore as _, Numbering};
use rmail_store::service::Settings;

use super::{PASSWORD, World, account, flags, mailbox_name, new_user, users};
use crate::transcript::{Given, Transcript, unescape};

/// The message of which there are several.
const MESSAGE: &str = "rfc5322/simple.eml";

/// Messages put in at once.
const AT_ONCE: u32 = 500;

impl World {
    pub(super) fn populate(&mut self, transcript: &Transcript, now: Now) -> Result<(), String> {
        for given in &transcript.givens {
            if given.words.first().is_some_and(|word| word == "user") {
                self.given_user(given, now)
                    .map_err(|text| format!("line {}: {text}", given.line))?;
            }
        }
        for name in users(transcript) {
            let name = account(name)?;
            let there = block_on(self.service.accounts().find(&name)).map_err(|error| error.to_string())?;
            if there.is_none() {
                let user = new_user(PASSWORD);
                let accounts = self.service.accounts();
                block_on(accounts.create(&*self.store, &name, &user, now.unix))
                    .map_err(|error| error.to_string())?;
            }
        }
        for given in &transcript.givens {
            self.given(given, now)
                .map_err(|text| format!("line {}: {text}", given.line))?;
        }
        Ok(())
    }

    fn given_user(&self, given: &Given, now: Now) -> Result<(), String> {
        let mut options = given.options.clone();
        let (name, marks) = match given.words.as_slice() {
            [_, name, marks @ ..] => (account(name)?, marks),
            _ => return Err("which user?".to_owned()),
        };
        let mut user = new_user(PASSWORD);
        if let Some(password) = options.remove("password") {
            user.password = Some(Secret::new(password));
        }
        if let Some(quota) = options.remove("quota_mb") {
            user.quota_mb = quota.parse().map_err(|_| "quota_mb is a number")?;
        }
        let hash = options.remove("hash").map(|text| Hash::parse(&text));
        let hash = hash.transpose().map_err(|error| error.to_string())?;
        let app = options.remove("app");
        known(&options)?;
        user.admin = marks.iter().any(|mark| mark == "admin");
        let accounts = self.service.accounts();
        block_on(accounts.create(&*self.store, &name, &user, now.unix)).map_err(|error| error.to_string())?;
        if let Some(hash) = hash {
            let changed = block_on(accounts.change(&name, |user| {
                user.password = Some(UserHash(hash));
                true
            }));
            changed.map_err(|error| error.to_string())?;
        }
        if let Some(app) = app {
            self.given_app_password(&name, &app, now)?;
        }
        for mark in marks {
            match mark.as_str() {
                "admin" => {}
                "disabled" => {
                    block_on(accounts.set_enabled(&name, false)).map_err(|error| error.to_string())?;
                }
                other => return Err(format!("no mark of a user: {other}")),
            }
        }
        Ok(())
    }

    /// `NAME/SCOPE,…/PASSWORD`.
    fn given_app_password(&self, account: &AccountName, text: &str, now: Now) -> Result<(), String> {
        let mut parts = text.splitn(3, '/');
        let (Some(name), Some(scope), Some(password)) = (parts.next(), parts.next(), parts.next()) else {
            return Err("app=NAME/SCOPE,…/PASSWORD".to_owned());
        };
        let scope = scope.split(',').map(|word| Access::parse(word).ok_or(word));
        let new = NewAppPassword {
            name: name.to_owned(),
            password: Secret::new(password),
            scope: scope
                .collect::<Result<_, _>>()
                .map_err(|word| format!("no scope: {word}"))?,
            expires: None,
            rounds: 1,
        };
        let added = self.service.accounts().add_app_password(account, &new, now.unix);
        block_on(added).map_err(|error| error.to_string())
    }

    /// What one address and one account may do.
    fn limit(&self, options: &mut BTreeMap<String, String>) -> Result<(), String> {
        let settings = self.service.settings();
        let old = settings.rates;
        let failures = old.auth_failures_per_10_minutes;
        let rates = Rates {
            messages_per_minute: number(options, "messages_per_minute", old.messages_per_minute)?,
            auth_failures_per_10_minutes: number(options, "auth_failures_per_10_minutes", failures)?,
            recipients_per_hour: number(options, "recipients_per_hour", old.recipients_per_hour)?,
            recipients_per_day: number(options, "recipients_per_day", old.recipients_per_day)?,
        };
        self.service.set_settings(Settings {
            rates,
            ..(*settings).clone()
        });
        Ok(())
    }

    fn given_mailbox(
        &self,
        name: &str,
        subscribed: bool,
        options: &mut BTreeMap<String, String>,
        now: Now,
    ) -> Result<(), String> {
        let owner = self.owner(options.remove("user"))?;
        let special_use: Vec<SpecialUse> = match options.remove("use") {
            None => Vec::new(),
            Some(word) => {
                vec![SpecialUse::from_attribute(&word).ok_or_else(|| format!("no special use: {word}"))?]
            }
        };
        let name = mailbox_name(name)?;
        let made = async {
            self.store.create(&owner, &name, &special_use, now.unix).await?;
            match subscribed {
                true => self.store.subscribe(&owner, &name, true).await,
                false => Ok(()),
            }
        };
        block_on(made).map_err(|error| error.to_string())
    }

    /// A message under its UID, or the UID of the next one alone.
    fn given_numbered(
        &self,
        mailbox: &str,
        word: &str,
        options: &mut BTreeMap<String, String>,
        now: Now,
    ) -> Result<(), String> {
        let owner = self.owner(options.remove("user"))?;
        let mailbox = mailbox_name(mailbox)?;
        let uid: Option<u32> = match options.remove("uid") {
            Some(uid) => Some(uid.parse().map_err(|_| "uid is a number")?),
            None => None,
        };
        let set = flags(options.remove("flags").as_deref())?;
        let date = match options.remove("date") {
            None => None,
            Some(text) => {
                Some(date::parse_imap_date_time(text.as_bytes()).ok_or_else(|| format!("no date: {text}"))?)
            }
        };
        let octets = options.remove("octets").map(|text| unescape(&text)).transpose()?;
        if octets.is_none() && word != "next" || octets.is_some() && word != "message" {
            return Err("message octets=\"…\", or next uid=N".to_owned());
        }
        let put = async {
            let status = self.store.status(&owner, &mailbox).await?;
            let mut messages = Vec::new();
            if let Some(octets) = octets {
                let mut spool = self.store.new_spool().await?;
                self.store.write_spool(&mut spool, Chunk::from(octets)).await?;
                messages.push((uid.map_or(status.uid_next, Uid), spool, set, date));
            }
            let numbering = Numbering {
                uid_validity: None,
                uid_next: uid.map(Uid).filter(|_| messages.is_empty()),
            };
            self.store
                .append_numbered(&owner, &mailbox, numbering, messages, now.unix)
                .await
        };
        block_on(put).map(drop).map_err(|error| error.to_string())
    }

    fn given(&self, given: &Given, now: Now) -> Result<(), String> {
        let mut options = given.options.clone();
        match given.words.as_slice() {
            [word, ..] if word == "user" => return Ok(()),
            [word, _] if word == "domain" => {}
            [word, name, targets @ ..] if word == "alias" => {
                let accounts = self.service.accounts();
                let (domain, key) = AliasKey::parse(name, &self.service.settings().hosting)
                    .map_err(|error| error.to_string())?;
                block_on(accounts.change_aliases(&domain, |file| {
                    file.with_targets(&key, targets, None, None, &domain)
                }))
                .map_err(|error| error.to_string())?;
            }
            [word] if word == "limits" => self.limit(&mut options)?,
            // They were read before anything was there.
            [word, ..] if ["checks", "dns", "hostname", "relay", "policy"].contains(&word.as_str()) => {
                return Ok(());
            }
            [word, name, marks @ ..]
                if word == "mailbox" && marks.iter().all(|mark| mark == "subscribed") =>
            {
                self.given_mailbox(name, !marks.is_empty(), &mut options, now)?;
            }
            [mailbox, word] if word == "told" => {
                let owner = self.owner(options.remove("user"))?;
                let mailbox = mailbox_name(mailbox)?;
                let told = async {
                    let selected = self.store.select(&owner, &mailbox, false).await?;
                    self.store.unselect(&selected.mailbox).await;
                    rmail_store::error::Result::Ok(())
                };
                block_on(told).map_err(|error| error.to_string())?;
            }
            [mailbox, word] if word == "next" || options.contains_key("octets") => {
                self.given_numbered(mailbox, word, &mut options, now)?;
            }
            [mailbox, count, word] if word == "messages" || word == "message" => {
                let owner = self.owner(options.remove("user"))?;
                let count: u32 = count.parse().map_err(|_| "how many messages?")?;
                let mailbox = mailbox_name(mailbox)?;
                let status = block_on(self.store.status(&owner, &mailbox));
                let first = status.map_err(|error| error.to_string())?.uid_next.0;
                let next: u32 = match options.remove("uidnext") {
                    Some(next) => next.parse().map_err(|_| "uidnext is a number")?,
                    None => first + count,
                };
                let skipped = next.checked_sub(first + count).ok_or("uidnext is too low")?;
                let message = self.fixture(MESSAGE)?;
                let skip =
                    vec![(b"\r\n".to_vec(), flags(None)?, None); usize::try_from(AT_ONCE).unwrap_or(1)];
                for from in (0..skipped).step_by(AT_ONCE as usize) {
                    let some = usize::try_from(AT_ONCE.min(skipped - from)).unwrap_or(0);
                    self.append(&owner, &mailbox, skip.get(..some).unwrap_or_default(), now)?;
                }
                if skipped > 0 {
                    let gone = UidSet::from_ranges([(first, first + skipped - 1)]);
                    self.expunge(&owner, &mailbox, &gone)?;
                }
                let set = flags(options.remove("flags").as_deref())?;
                let all: Vec<_> = (0..count).map(|_| (message.clone(), set.clone(), None)).collect();
                self.append(&owner, &mailbox, &all, now)?;
            }
            [mailbox, file] => {
                let owner = self.owner(options.remove("user"))?;
                let date = match options.remove("date") {
                    None => None,
                    Some(text) => Some(
                        date::parse_imap_date_time(text.as_bytes())
                            .ok_or_else(|| format!("no date: {text}"))?,
                    ),
                };
                let set = flags(options.remove("flags").as_deref())?;
                let times: usize = match options.remove("times") {
                    None => 1,
                    Some(times) => times.parse().map_err(|_| "times is a number")?,
                };
                let message = self.fixture(file)?;
                let all: Vec<_> = (0..times).map(|_| (message.clone(), set.clone(), date)).collect();
                self.append(&owner, &mailbox_name(mailbox)?, &all, now)?;
            }
            _ => return Err("what is given?".to_owned()),
        }
        known(&options)
    }
}

/// Takes a number out of the options.
fn number(options: &mut BTreeMap<String, String>, key: &str, default: u64) -> Result<u64, String> {
    match options.remove(key) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| format!("{key} is a number")),
    }
}

/// Nothing is left over.
fn known(options: &BTreeMap<String, String>) -> Result<(), String> {
    match options.keys().next() {
        None => Ok(()),
        Some(key) => Err(format!("no such key here: {key}")),
    }
}
