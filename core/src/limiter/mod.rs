//! How much one address and one account may do: sliding windows of messages, recipients and failed logins.
//!
//! A [`Limiter`] is pure: it is told what happens and when. It lives as long as its process, for nothing here is worth a
//! write to disk: each process on a mail_root counts for itself. All of its tables are bounded ([`MOST`]); one that is
//! full forgets whom it has not heard of for longest.
//!
//! Failed logins are counted for each pair of account and address: whoever guesses shuts out himself, and never the owner
//! at another address. So that somebody who tries every account of a server is slowed too, one address may fail ten times
//! as often over all accounts; a pair that has logged in before is not held back by what others at its address do.

mod count;
mod table;
mod target;

use core::net::IpAddr;
use core::time::Duration;
use std::sync::Arc;

use crate::addr::AccountName;
use crate::time::Mono;
use count::Count;
use table::Table;

pub use target::{Shown, Target};

/// Entries of each table. One takes about a kilobyte once it has counted 60 events, 3 KiB at most.
pub const MOST: usize = 16_384;

/// Octets of a login name that are kept.
pub const MAX_NAME: usize = 320;

/// Wrong passwords of one pair that are told apart.
const GUESSES: usize = 32;

/// An address may fail so many times as often as a pair.
const ALL_ACCOUNTS: u64 = 10;

const MINUTE: Duration = Duration::from_secs(60);
const TEN_MINUTES: Duration = Duration::from_secs(600);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// How often; `limits.*` of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Messages (MAIL commands that were accepted) of one address in a minute.
    pub messages_per_minute: u64,
    /// Failed logins of one account from one address in ten minutes.
    pub auth_failures_per_10_minutes: u64,
    /// Recipients of one account in an hour.
    pub recipients_per_hour: u64,
    /// Recipients of one account in a day.
    pub recipients_per_day: u64,
}

impl Default for Rates {
    /// The defaults of the configuration.
    fn default() -> Self {
        Self {
            messages_per_minute: 60,
            auth_failures_per_10_minutes: 10,
            recipients_per_hour: 500,
            recipients_per_day: 2_000,
        }
    }
}

/// A password that was tried, as two keyed hashes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guess {
    /// Of the password alone: the same one tried again counts once.
    pub password: u64,
    /// Of all that its being wrong depends on too (protocol, the state of the account): if it is equal, there is nothing
    /// to compare again.
    pub exactly: u64,
}

/// A login name as it is counted. Lower case, bounded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoginName(Arc<str>);

impl LoginName {
    /// The name of an account, or what somebody gave as one.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut name = text.chars().take(MAX_NAME).collect::<String>().to_lowercase();
        while name.len() > MAX_NAME {
            name.pop();
        }
        Self(Arc::from(name))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What holds somebody back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// `limits.messages_per_minute`
    Messages,
    /// `limits.auth_failures_per_10_minutes`
    Logins,
    /// Ten times that, over all accounts.
    LoginsOfAddress,
    /// `limits.recipients_per_hour`
    RecipientsPerHour,
    /// `limits.recipients_per_day`
    RecipientsPerDay,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Messages,
        Self::Logins,
        Self::LoginsOfAddress,
        Self::RecipientsPerHour,
        Self::RecipientsPerDay,
    ];

    /// In words, for lists and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages a minute",
            Self::Logins => "failed logins",
            Self::LoginsOfAddress => "failed logins to all accounts",
            Self::RecipientsPerHour => "recipients an hour",
            Self::RecipientsPerDay => "recipients a day",
        }
    }
}

/// Somebody who is held back now.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    /// By what.
    pub limit: Limit,
    /// Which account or login name, if that is counted.
    pub account: Option<String>,
    /// Which address, if that is counted; of IPv6 the first of the /64.
    pub address: Option<IpAddr>,
    /// Until when, unless more happens.
    pub until: Mono,
}

impl Held {
    /// Whether lifting what is meant by `target` lets it go.
    #[must_use]
    pub fn is_of(&self, target: &Target) -> bool {
        match target {
            Target::All => true,
            Target::Address(address) => self.address == Some(*address),
            Target::Account(name) => self.account.as_ref() == Some(name),
        }
    }
}

/// What one address and one account have done lately.
#[derive(Clone, Debug)]
pub struct Limiter {
    messages: Table<IpAddr, Count>,
    failures: Table<(LoginName, IpAddr), Failures>,
    sources: Table<IpAddr, Count>,
    /// Pairs that have logged in.
    proven: Table<(LoginName, IpAddr), ()>,
    recipients: Table<AccountName, Sent>,
    changes: u64,
}

/// Failed logins of one pair.
#[derive(Clone, Debug, Default)]
struct Failures {
    count: Count,
    /// Oldest first.
    guesses: Vec<(Guess, Mono)>,
}

impl Failures {
    fn is_over(&self, now: Mono) -> bool {
        self.count.is_over(now, TEN_MINUTES)
            && self.guesses.last().is_none_or(|(_, at)| *at + TEN_MINUTES <= now)
    }

    /// Whether it is another than those of the last ten minutes.
    fn is_new(&mut self, now: Mono, guess: Guess) -> bool {
        self.guesses.retain(|(_, at)| *at + TEN_MINUTES > now);
        let known = self
            .guesses
            .iter()
            .position(|(other, _)| other.password == guess.password);
        if let Some(at) = known {
            self.guesses.remove(at);
        } else if self.guesses.len() >= GUESSES {
            self.guesses.remove(0);
        }
        self.guesses.push((guess, now));
        known.is_none()
    }
}

/// Recipients of one account.
#[derive(Clone, Debug, Default)]
struct Sent {
    hour: Count,
    day: Count,
}

impl Default for Limiter {
    fn default() -> Self {
        Self {
            messages: Table::new(MOST),
            failures: Table::new(MOST),
            sources: Table::new(MOST),
            proven: Table::new(MOST),
            recipients: Table::new(MOST),
            changes: 0,
        }
    }
}

impl Limiter {
    /// How long the address has to wait before its next message; `None`: it need not. Also asked when it connects.
    #[must_use]
    pub fn message_wait(&self, now: Mono, rates: &Rates, address: IpAddr) -> Option<Duration> {
        let count = self.messages.get(&counted_as(address))?;
        count.wait(now, MINUTE, rates.messages_per_minute)
    }

    /// Counts a message, unless the address has to wait first. False: it has.
    pub fn take_message(&mut self, now: Mono, rates: &Rates, address: IpAddr) -> bool {
        if self.message_wait(now, rates, address).is_some() {
            return false;
        }
        let is_over = |count: &Count| count.is_over(now, MINUTE);
        self.messages
            .change(&counted_as(address), is_over, |count| count.add(now, MINUTE));
        self.changes += u64::from(self.message_wait(now, rates, address).is_some());
        true
    }

    /// How long nobody at the address may try to log in as this; `None`: now.
    #[must_use]
    pub fn login_wait(
        &self,
        now: Mono,
        rates: &Rates,
        name: &LoginName,
        address: IpAddr,
    ) -> Option<Duration> {
        let pair = (name.clone(), counted_as(address));
        let limit = rates.auth_failures_per_10_minutes;
        let own = self
            .failures
            .get(&pair)
            .and_then(|failures| failures.count.wait(now, TEN_MINUTES, limit));
        let others = || match self.proven.get(&pair) {
            Some(()) => None,
            None => self.source_wait(now, rates, pair.1),
        };
        own.or_else(others)
    }

    fn source_wait(&self, now: Mono, rates: &Rates, counted: IpAddr) -> Option<Duration> {
        let limit = rates.auth_failures_per_10_minutes.saturating_mul(ALL_ACCOUNTS);
        self.sources.get(&counted)?.wait(now, TEN_MINUTES, limit)
    }

    /// Whether this very password was found wrong lately, and nothing has changed that it depends on.
    #[must_use]
    pub fn is_known_wrong(&self, now: Mono, name: &LoginName, address: IpAddr, guess: Guess) -> bool {
        let failures = self.failures.get(&(name.clone(), counted_as(address)));
        failures.is_some_and(|failures| {
            failures
                .guesses
                .iter()
                .any(|(other, at)| *other == guess && *at + TEN_MINUTES > now)
        })
    }

    /// A login failed. The same password again counts once in ten minutes; without a [`Guess`] (SCRAM shows none) every
    /// failure counts. True: from now on somebody is held back who was not.
    pub fn login_failed(
        &mut self,
        now: Mono,
        rates: &Rates,
        name: &LoginName,
        address: IpAddr,
        guess: Option<Guess>,
    ) -> bool {
        let pair = (name.clone(), counted_as(address));
        let before = self.login_wait(now, rates, name, address).is_some();
        let counts = self.failures.change(
            &pair,
            |failures| failures.is_over(now),
            |failures| {
                let counts = guess.is_none_or(|guess| failures.is_new(now, guess));
                if counts {
                    failures.count.add(now, TEN_MINUTES);
                }
                counts
            },
        );
        if counts {
            let is_over = |count: &Count| count.is_over(now, TEN_MINUTES);
            self.sources
                .change(&pair.1, is_over, |count| count.add(now, TEN_MINUTES));
        }
        let held = !before && self.login_wait(now, rates, name, address).is_some();
        self.changes += u64::from(held);
        held
    }

    /// A login worked: what failed before is forgiven to this pair.
    pub fn logged_in(&mut self, name: &LoginName, address: IpAddr) {
        let pair = (name.clone(), counted_as(address));
        self.failures.remove(&pair);
        self.proven.change(&pair, |()| false, |()| ());
    }

    /// How long the account has to wait before its next recipient; `None`: it need not.
    #[must_use]
    pub fn recipient_wait(&self, now: Mono, rates: &Rates, account: &AccountName) -> Option<Duration> {
        let sent = self.recipients.get(account)?;
        let hour = sent.hour.wait(now, HOUR, rates.recipients_per_hour);
        hour.max(sent.day.wait(now, DAY, rates.recipients_per_day))
    }

    /// Counts a recipient, unless the account has to wait first. False: it has.
    pub fn take_recipient(&mut self, now: Mono, rates: &Rates, account: &AccountName) -> bool {
        if self.recipient_wait(now, rates, account).is_some() {
            return false;
        }
        let is_over = |sent: &Sent| sent.day.is_over(now, DAY);
        self.recipients.change(account, is_over, |sent| {
            sent.hour.add(now, HOUR);
            sent.day.add(now, DAY);
        });
        self.changes += u64::from(self.recipient_wait(now, rates, account).is_some());
        true
    }

    /// Forgets what was counted; how many counts there were.
    pub fn lift(&mut self, target: &Target) -> usize {
        let of_address = |address: &IpAddr| match target {
            Target::All => true,
            Target::Address(other) => address == other,
            Target::Account(_) => false,
        };
        let of_name = |name: &str| match target {
            Target::All => true,
            Target::Address(_) => false,
            Target::Account(other) => name == other,
        };
        self.changes += 1;
        self.messages.remove_if(of_address)
            + self.sources.remove_if(of_address)
            + self
                .failures
                .remove_if(|(name, address)| of_address(address) || of_name(name.as_str()))
            + self.recipients.remove_if(|account| of_name(account.as_str()))
    }

    /// Who is held back now. Looks at everything that is counted.
    pub fn held(&self, now: Mono, rates: &Rates) -> impl Iterator<Item = Held> {
        let rates = *rates;
        let held = move |limit, account: Option<&str>, address: Option<IpAddr>, wait: Option<Duration>| {
            wait.map(|wait| Held {
                limit,
                account: account.map(str::to_owned),
                address,
                until: now + wait,
            })
        };
        let messages = self.messages.iter().filter_map(move |(address, count)| {
            let wait = count.wait(now, MINUTE, rates.messages_per_minute);
            held(Limit::Messages, None, Some(*address), wait)
        });
        let logins = self
            .failures
            .iter()
            .filter_map(move |((name, address), failures)| {
                let wait = failures
                    .count
                    .wait(now, TEN_MINUTES, rates.auth_failures_per_10_minutes);
                held(Limit::Logins, Some(name.as_str()), Some(*address), wait)
            });
        let sources = self.sources.iter().filter_map(move |(address, _)| {
            let wait = self.source_wait(now, &rates, *address);
            held(Limit::LoginsOfAddress, None, Some(*address), wait)
        });
        let recipients = self.recipients.iter().flat_map(move |(account, sent)| {
            let hour = sent.hour.wait(now, HOUR, rates.recipients_per_hour);
            let day = sent.day.wait(now, DAY, rates.recipients_per_day);
            [(Limit::RecipientsPerHour, hour), (Limit::RecipientsPerDay, day)]
                .into_iter()
                .filter_map(move |(limit, wait)| held(limit, Some(account.as_str()), None, wait))
        });
        messages.chain(logins).chain(sources).chain(recipients)
    }

    /// Changes when somebody new is held back, or is let go before the time is over.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }
}

/// Whom an address stands for when it is counted: of IPv6 the /64, which one customer has.
#[must_use]
pub fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => IpAddr::from((u128::from(six) & !u128::from(u64::MAX)).to_be_bytes()),
        four => four,
    }
}

#[cfg(test)]
mod tests;
