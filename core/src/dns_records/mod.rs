//! What the DNS should say of this server and its domains, and how that compares with what it says.
//!
//! [`plan`] makes the records of the configuration alone. [`check`] holds them against [`Facts`]: it is a pure function
//! that is called again and again, and notes what it would have to know ([`Facts::missing`]) until nothing is missing. So
//! the host asks many questions at once, and the whole can be tried without a name server. It asks a bounded number of
//! questions of each domain, whatever the answers are.

mod check;
mod facts;
mod plan;
mod record;
mod site;
mod spf;
mod zone;

pub use check::check;
pub use facts::{Facts, Wanted};
pub use plan::plan;
pub use record::{Record, Value};
pub use site::{Addresses, Certificate, Ports, Site, is_public};
pub use zone::zone;

use crate::dns::Name;

/// What a piece of advice is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Addresses of the server's name.
    Address,
    /// The name of the server's addresses.
    Ptr,
    /// SPF of the server's own name, which it says in EHLO (RFC 7208 §2.3).
    SpfHelo,
    /// DANE (RFC 7672).
    Tlsa,
    /// Where mail for a domain goes.
    Mx,
    /// Who sends mail of a domain (RFC 7208).
    Spf,
    /// Signatures.
    Dkim,
    /// What others should do with mail that nothing confirms (RFC 7489).
    Dmarc,
    /// That there is a policy about TLS (RFC 8461 §3.1).
    MtaSts,
    /// The host that has the policy.
    MtaStsHost,
    /// The policy itself.
    MtaStsPolicy,
    /// Who wants to hear of failures of TLS (RFC 8460 §3).
    TlsRpt,
    /// Where clients find a service.
    Srv(Service),
    /// Where Thunderbird and its like look.
    Autoconfig,
    /// Where Outlook looks.
    Autodiscover,
}

/// A service of clients that has SRV records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Submission with TLS (RFC 8314 §5.1).
    Submissions,
    /// Submission with STARTTLS (RFC 6186 §3.1).
    Submission,
    /// IMAP with TLS (RFC 6186 §3.2).
    Imaps,
    /// IMAP with STARTTLS (RFC 6186 §3.2).
    Imap,
}

impl Service {
    /// All of them, the better ones first.
    pub const ALL: [Self; 4] = [Self::Submissions, Self::Imaps, Self::Submission, Self::Imap];

    /// Its name in the DNS, without underscore.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Submissions => "submissions",
            Self::Submission => "submission",
            Self::Imaps => "imaps",
            Self::Imap => "imap",
        }
    }
}

impl Topic {
    /// A stable name for programs.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Address => "dns.address",
            Self::Ptr => "dns.ptr",
            Self::SpfHelo => "dns.spf_helo",
            Self::Tlsa => "dns.tlsa",
            Self::Mx => "dns.mx",
            Self::Spf => "dns.spf",
            Self::Dkim => "dns.dkim",
            Self::Dmarc => "dns.dmarc",
            Self::MtaSts => "dns.mta_sts",
            Self::MtaStsHost => "dns.mta_sts_host",
            Self::MtaStsPolicy => "dns.mta_sts_policy",
            Self::TlsRpt => "dns.tls_rpt",
            Self::Srv(Service::Submissions) => "dns.srv_submissions",
            Self::Srv(Service::Submission) => "dns.srv_submission",
            Self::Srv(Service::Imaps) => "dns.srv_imaps",
            Self::Srv(Service::Imap) => "dns.srv_imap",
            Self::Autoconfig => "dns.autoconfig",
            Self::Autodiscover => "dns.autodiscover",
        }
    }

    /// A title for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Address => "addresses",
            Self::Ptr => "reverse names (PTR)",
            Self::SpfHelo => "SPF of the server's name",
            Self::Tlsa => "DANE (TLSA)",
            Self::Mx => "mail exchanger (MX)",
            Self::Spf => "SPF",
            Self::Dkim => "DKIM",
            Self::Dmarc => "DMARC",
            Self::MtaSts => "MTA-STS",
            Self::MtaStsHost => "MTA-STS: its host",
            Self::MtaStsPolicy => "MTA-STS: its policy",
            Self::TlsRpt => "TLS reports",
            Self::Srv(Service::Submissions) => "clients: sending over TLS (SRV)",
            Self::Srv(Service::Submission) => "clients: sending with STARTTLS (SRV)",
            Self::Srv(Service::Imaps) => "clients: IMAP over TLS (SRV)",
            Self::Srv(Service::Imap) => "clients: IMAP with STARTTLS (SRV)",
            Self::Autoconfig => "clients: autoconfig",
            Self::Autodiscover => "clients: autodiscover",
        }
    }
}

/// How much depends on a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    /// Mail does not come, or is not taken by others, without it.
    Required,
    /// Some mail is refused or some clients need help without it.
    Recommended,
    /// It is of use to some.
    Optional,
    /// It would be good, and rmail cannot do it yet: there is nothing to publish.
    NotYet,
}

impl Need {
    /// In a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Recommended => "recommended",
            Self::Optional => "optional",
            Self::NotYet => "not yet",
        }
    }
}

/// What to publish about one thing, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// What it is about.
    pub topic: Topic,
    /// The domain, or the name of the server.
    pub subject: Name,
    /// The records; empty: nothing is to be published, and the text says why.
    pub records: Vec<Record>,
    /// How much depends on it.
    pub need: Need,
    /// Why, and what to look after.
    pub text: String,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// As it should be.
    Good,
    /// It may be as it is.
    Note,
    /// Some mail or some clients suffer.
    Warning,
    /// Mail is lost or refused.
    Failure,
    /// The name servers did not say.
    Unknown,
}

impl State {
    /// In a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Failure => "failure",
            Self::Unknown => "unknown",
        }
    }
}

/// How sure a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Certainty {
    /// DNSSEC validates what was seen.
    Validated,
    /// It is what the name servers say.
    Seen,
    /// It rests on something that rmail has guessed, or cannot find out: the text says what.
    Guessed,
    /// Nothing was seen.
    None,
}

impl Certainty {
    /// In a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Validated => "validated",
            Self::Seen => "seen",
            Self::Guessed => "guessed",
            Self::None => "none",
        }
    }
}

/// How one piece of advice stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What should be.
    pub advice: Advice,
    /// How it is.
    pub state: State,
    /// What is there now, as records are written.
    pub seen: Vec<String>,
    /// What that means and what to do; empty if it is good.
    pub text: String,
    /// How sure that is.
    pub certainty: Certainty,
}

#[cfg(test)]
mod tests;
