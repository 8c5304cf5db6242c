//! How much an account has, and how much it may have (RFC 9208).

use core::ops::{Add, AddAssign};

/// What an account has, or what an operation adds to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Usage {
    /// Octets of its messages, each copy of a message by itself (RFC 9208 §5.1, STORAGE, in octets).
    pub octets: u64,
    /// Its messages (RFC 9208 §5.2, MESSAGE).
    pub messages: u64,
}

impl Usage {
    /// One message of so many octets.
    #[must_use]
    pub const fn message(octets: u64) -> Self {
        Self { octets, messages: 1 }
    }

    /// This without what has gone of it.
    #[must_use]
    pub const fn without(self, gone: Self) -> Self {
        Self {
            octets: self.octets.saturating_sub(gone.octets),
            messages: self.messages.saturating_sub(gone.messages),
        }
    }

    /// Whether it is nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.octets == 0 && self.messages == 0
    }
}

impl Add for Usage {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self {
            octets: self.octets.saturating_add(more.octets),
            messages: self.messages.saturating_add(more.messages),
        }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, more: Self) {
        *self = *self + more;
    }
}

impl core::iter::Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

/// What an account may have; `None`: as much as it likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Quota {
    /// Octets.
    pub octets: Option<u64>,
    /// Messages.
    pub messages: Option<u64>,
}

impl Quota {
    /// No limit: for what must go in whatever the account has.
    pub const UNLIMITED: Self = Self {
        octets: None,
        messages: None,
    };

    /// Whether it limits nothing.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        *self == Self::UNLIMITED
    }

    /// Whether an account that has `usage` may get `more`. What gets no more of a resource does not ask for it.
    #[must_use]
    pub fn admits(&self, usage: Usage, more: Usage) -> bool {
        let fits = |limit: Option<u64>, has: u64, more: u64| {
            more == 0 || limit.is_none_or(|limit| has.saturating_add(more) <= limit)
        };
        fits(self.octets, usage.octets, more.octets) && fits(self.messages, usage.messages, more.messages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_admits_up_to_the_limit_of_each_resource() {
        let quota = Quota {
            octets: Some(10),
            messages: Some(2),
        };
        let usage = |octets, messages| Usage { octets, messages };
        assert!(quota.admits(usage(6, 1), Usage::message(4)));
        assert!(!quota.admits(usage(6, 1), Usage::message(5)), "octets");
        assert!(!quota.admits(usage(0, 2), Usage::message(1)), "messages");
        assert!(quota.admits(usage(99, 99), usage(0, 0)), "nothing is asked for");
        assert!(
            quota.admits(usage(99, 1), Usage::message(0)),
            "an empty message has no octets"
        );
        assert!(
            !quota.admits(usage(u64::MAX, 0), Usage::message(u64::MAX)),
            "no overflow"
        );
        assert!(Quota::UNLIMITED.admits(usage(u64::MAX, u64::MAX), Usage::message(9)));
        assert!(Quota::UNLIMITED.is_unlimited() && !quota.is_unlimited());
    }

    #[test]
    fn usages_add_up_and_do_not_go_below_nothing() {
        let all: Usage = [Usage::message(3), Usage::message(4)].into_iter().sum();
        assert_eq!((all.octets, all.messages), (7, 2));
        assert_eq!(all.without(Usage::message(3)), Usage::message(4));
        assert!(
            all.without(Usage {
                octets: 9,
                messages: 9
            })
            .is_empty()
        );
    }
}
