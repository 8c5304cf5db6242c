//! What a name that does not exist is taken for, so that nobody can tell it from one that does.
//!
//! SCRAM tells everybody salt and rounds of an account, and a password that is wrong costs what the account's hash costs.
//! Accounts differ in both: the rounds were set otherwise when some of them were made, and other servers' hashes have
//! salts of other lengths. So a name that does not exist resembles one account that does, always the same one as long as
//! that is there, chosen by a keyed hash: of names that do not exist as many have each form as of those that do, and who
//! does not know the secret cannot say which.

use crate::addr::AccountName;

use super::password::{ScramKeys, hmac};

/// What of an account can be seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rounds that the comparison with a password costs.
    pub cost: u32,
    /// Rounds and octets of salt that SCRAM tells; none: the account has nothing that SCRAM can use.
    pub scram: Option<(u32, usize)>,
}

/// The accounts of a domain that others may resemble.
#[derive(Clone, Debug, Default)]
pub struct Lookalikes {
    /// Each with a point that its name has.
    shapes: Vec<(u64, Shape)>,
}

impl Lookalikes {
    /// Accounts that are looked at, at most: so many that chance does not show in what is found.
    pub const MAX: usize = 512;

    /// Which of these accounts to look at: up to [`Lookalikes::MAX`], the same ones whatever their order, and most of
    /// them again after others came or went.
    #[must_use]
    pub fn choose(secret: &[u8; 32], mut accounts: Vec<AccountName>) -> Vec<AccountName> {
        if accounts.len() > Self::MAX {
            accounts.sort_by_cached_key(|account| point(secret, b"chosen ", account.as_str()));
            accounts.truncate(Self::MAX);
        }
        accounts
    }

    /// Of these accounts.
    pub fn new<'a>(secret: &[u8; 32], accounts: impl IntoIterator<Item = (&'a AccountName, Shape)>) -> Self {
        let point_of = |(account, shape): (&AccountName, Shape)| {
            let point = point(secret, b"resembled ", account.as_str());
            (point, shape)
        };
        Self {
            shapes: accounts.into_iter().map(point_of).collect(),
        }
    }

    /// The rounds that a comparison for this name costs. `None`: no account has a password.
    #[must_use]
    pub fn cost(&self, secret: &[u8; 32], name: &str) -> Option<u32> {
        let all = self.shapes.iter().map(|(point, shape)| (*point, shape.cost));
        resembled(secret, name, all)
    }

    /// What SCRAM tells of this name: keys that no password has. Without an account to resemble, those of a new one with
    /// so many rounds.
    #[must_use]
    pub fn scram_keys(&self, secret: &[u8; 32], name: &str, rounds: u32) -> ScramKeys {
        let all = self.shapes.iter();
        let scram = all.filter_map(|(point, shape)| Some((*point, shape.scram?)));
        let (rounds, salt) = resembled(secret, name, scram).unwrap_or((rounds, ScramKeys::SALT));
        ScramKeys::of_nobody(secret, name, rounds, salt)
    }
}

/// The one that the name resembles: each with the same chance, and another one only if that one goes or a better one
/// comes (the highest random weight).
fn resembled<T>(secret: &[u8; 32], name: &str, all: impl Iterator<Item = (u64, T)>) -> Option<T> {
    let own = point(secret, b"resembles ", name);
    all.max_by_key(|(point, _)| mix(point ^ own))
        .map(|(_, value)| value)
}

fn point(secret: &[u8; 32], label: &[u8], name: &str) -> u64 {
    let hash = hmac(secret, &[label, name.as_bytes()].concat());
    hash.first_chunk()
        .map_or(0, |front: &[u8; 8]| u64::from_be_bytes(*front))
}

/// Every bit of the result depends on every bit of this (the last step of SplitMix64).
const fn mix(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Address;

    const SECRET: [u8; 32] = [7; 32];

    fn accounts(count: u32) -> Vec<AccountName> {
        let account = |n| Address::parse(&format!("user{n}@x.y")).expect("address");
        (0..count).map(|n| account(n).canonical()).collect()
    }

    /// The first so many have these rounds, the others those.
    fn two_kinds(count: u32, first: u32) -> Lookalikes {
        let accounts = accounts(count);
        let shape = |(n, account)| {
            let (cost, salt) = if n < first { (10, 16) } else { (20, 8) };
            let scram = Some((cost, salt));
            (account, Shape { cost, scram })
        };
        Lookalikes::new(&SECRET, (0..).zip(&accounts).map(shape))
    }

    fn names() -> impl Iterator<Item = String> {
        (0..4_000).map(|n| format!("nobody{n}@x.y"))
    }

    #[test]
    fn names_have_each_form_as_often_as_accounts_do() {
        for (count, first) in [(2, 1), (10, 3), (300, 150), (300, 3)] {
            let all = two_kinds(count, first);
            let keys = |name: &String| all.scram_keys(&SECRET, name, 99);
            let old = names().filter(|name| keys(name).rounds == 10).count();
            let expected = 4_000.0 * f64::from(first) / f64::from(count);
            let off = (old as f64 - expected).abs();
            assert!(off < 130.0, "{old} of 4000 names look like {first} of {count}");
            for name in names().take(99) {
                let keys = keys(&name);
                assert_eq!(keys.salt.len(), if keys.rounds == 10 { 16 } else { 8 });
                assert!([10, 20].contains(&all.cost(&SECRET, &name).expect("there are accounts")));
            }
        }
    }

    #[test]
    fn a_name_changes_with_the_account_that_it_resembles_only() {
        let (before, after) = (two_kinds(100, 50), two_kinds(100, 51));
        let differ =
            |name: &String| before.scram_keys(&SECRET, name, 99) != after.scram_keys(&SECRET, name, 99);
        let changed: Vec<String> = names().filter(differ).collect();
        assert!((10..90).contains(&changed.len()), "{}", changed.len());
        for name in changed {
            let (before, after) = (
                before.scram_keys(&SECRET, &name, 99),
                after.scram_keys(&SECRET, &name, 99),
            );
            assert_eq!((before.rounds, after.rounds), (20, 10), "{name}");
            assert_ne!(before.salt, after.salt, "as if it had a new password");
        }
    }

    #[test]
    fn without_accounts_a_name_looks_like_a_new_one() {
        let none = Lookalikes::default();
        assert_eq!(none.cost(&SECRET, "x@x.y"), None);
        let keys = none.scram_keys(&SECRET, "x@x.y", 99);
        assert_eq!((keys.rounds, keys.salt.len()), (99, ScramKeys::SALT));
        // One without anything for SCRAM is resembled in what it costs.
        let [account] = accounts(1).try_into().expect("one");
        let shape = Shape { cost: 5, scram: None };
        let one = Lookalikes::new(&SECRET, [(&account, shape)]);
        assert_eq!(one.cost(&SECRET, "x@x.y"), Some(5));
        assert_eq!(one.scram_keys(&SECRET, "x@x.y", 99), keys);
    }

    #[test]
    fn the_same_accounts_are_chosen_whatever_their_order() {
        let all = accounts(2_000);
        let chosen = Lookalikes::choose(&SECRET, all.clone());
        assert_eq!(chosen.len(), Lookalikes::MAX);
        assert_eq!(
            chosen,
            Lookalikes::choose(&SECRET, all.iter().rev().cloned().collect())
        );
        let without: Vec<AccountName> = all
            .iter()
            .filter(|account| **account != chosen[0])
            .cloned()
            .collect();
        let again = Lookalikes::choose(&SECRET, without);
        assert_eq!(again[..again.len() - 1], chosen[1..]);
        assert_eq!(Lookalikes::choose(&SECRET, accounts(3)).len(), 3);
    }
}
