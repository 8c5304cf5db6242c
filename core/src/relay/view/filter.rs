//! Which entries are meant.

use super::Found;
use crate::addr::{Address, Domain};
use crate::relay::entry::{Entry, Recipient};

/// Which entries are meant: all of what is given has to fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// With a recipient in this domain.
    pub domain: Option<Domain>,
    sender: Option<Sender>,
    /// Held, by an operator or the sender.
    pub held: bool,
    /// With this text in a recipient's last reply.
    pub reason: Option<String>,
    /// Came so many hours ago, or earlier.
    pub older_hours: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Sender {
    Nobody,
    Of(Domain),
    Is(Address),
}

/// A text means no entries.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFilter {
    /// No domain.
    #[error("{0:?} is no domain")]
    Domain(String),
    /// No address.
    #[error("{0:?} is no address")]
    Address(String),
}

impl Filter {
    /// With recipients in a domain.
    ///
    /// # Errors
    /// The text is no domain.
    pub fn with_domain(self, text: &str) -> Result<Self, BadFilter> {
        Ok(Self {
            domain: Some(domain(text)?),
            ..self
        })
    }

    /// With this envelope sender; `@domain`: of anybody there; `<>`: notices.
    ///
    /// # Errors
    /// The text is none of these.
    pub fn with_sender(self, text: &str) -> Result<Self, BadFilter> {
        let sender = match text {
            "<>" | "" => Sender::Nobody,
            text => match text.strip_prefix('@') {
                Some(of) => Sender::Of(domain(of)?),
                None => Sender::Is(Address::parse(text).ok_or_else(|| BadFilter::Address(text.to_owned()))?),
            },
        };
        Ok(Self {
            sender: Some(sender),
            ..self
        })
    }

    /// With the sender that another asks for.
    #[must_use]
    pub fn with_sender_of(self, other: Self) -> Self {
        Self {
            sender: other.sender,
            ..self
        }
    }

    /// Whether it means all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it means this one, now (seconds since 1970).
    #[must_use]
    pub fn takes(&self, one: &Found, now: u64) -> bool {
        let entry = &one.entry;
        let mut recipients = entry.recipients.iter();
        let domain = self.domain.as_ref();
        domain.is_none_or(|domain| recipients.any(|one| is_in(one, domain)))
            && self.takes_sender(&entry.sender)
            && (!self.held || entry.held || entry.hold_until > now)
            && self
                .reason
                .as_ref()
                .is_none_or(|reason| has_reason(entry, reason))
            && self
                .older_hours
                .is_none_or(|hours| entry.arrived.saturating_add(hours.saturating_mul(3_600)) <= now)
    }

    fn takes_sender(&self, sender: &str) -> bool {
        let parsed = || Address::parse(sender);
        match &self.sender {
            None => true,
            Some(Sender::Nobody) => sender.is_empty(),
            Some(Sender::Of(domain)) => parsed().is_some_and(|address| address.domain == *domain),
            Some(Sender::Is(wanted)) => {
                parsed().is_some_and(|address| address.canonical() == wanted.canonical())
            }
        }
    }
}

fn domain(text: &str) -> Result<Domain, BadFilter> {
    Domain::parse(text).ok_or_else(|| BadFilter::Domain(text.to_owned()))
}

fn has_reason(entry: &Entry, reason: &str) -> bool {
    let mut last = entry.recipients.iter().filter_map(|one| one.last.as_ref());
    last.any(|last| last.contains(reason))
}

/// Whether a recipient is in a domain.
pub(super) fn is_in(recipient: &Recipient, domain: &Domain) -> bool {
    Address::parse(&recipient.address).is_some_and(|address| address.domain == *domain)
}
