//! What is run.

use core::fmt;

/// A part of the diagnosis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The configuration, the disk, the ports, certificates, and names.
    Configuration,
    /// Accounts.
    Users,
    /// What is on disk.
    Store,
    /// Mail comes in.
    Smtp,
    /// It is where it belongs, at once.
    Delivery,
    /// It can be read.
    Imap,
    /// The HTTP API.
    Api,
    /// Nothing of all this is left.
    Cleanup,
}

impl Phase {
    /// All of them, in their order.
    pub const ALL: [Self; 8] = [
        Self::Configuration,
        Self::Users,
        Self::Store,
        Self::Smtp,
        Self::Delivery,
        Self::Imap,
        Self::Api,
        Self::Cleanup,
    ];

    /// 1 to 8.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8 + 1
    }

    /// The phase of a number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.number() == number)
    }

    /// In a word.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Configuration => "Configuration",
            Self::Users => "Users",
            Self::Store => "Store",
            Self::Smtp => "SMTP",
            Self::Delivery => "Delivery",
            Self::Imap => "IMAP",
            Self::Api => "API",
            Self::Cleanup => "Cleanup",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number(), self.title())
    }
}

/// A port that is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// SMTP from other servers.
    Smtp,
    /// Submission with STARTTLS.
    Submission,
    /// Submission over TLS.
    Smtps,
    /// IMAP with STARTTLS.
    Imap,
    /// IMAP over TLS.
    Imaps,
    /// HTTP.
    Api,
    /// HTTPS.
    ApiSecure,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Smtp,
        Self::Submission,
        Self::Smtps,
        Self::Imap,
        Self::Imaps,
        Self::Api,
        Self::ApiSecure,
    ];

    /// Its name on the command line and in `rmail demo --json`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Submission => "submission",
            Self::Smtps => "smtps",
            Self::Imap => "imap",
            Self::Imaps => "imaps",
            Self::Api => "api",
            Self::ApiSecure => "api_secure",
        }
    }

    /// The service of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.name() == name)
    }

    /// Where it usually is.
    #[must_use]
    pub const fn usual_port(self) -> u16 {
        match self {
            Self::Smtp => 25,
            Self::Submission => 587,
            Self::Smtps => 465,
            Self::Imap => 143,
            Self::Imaps => 993,
            Self::Api => 9002,
            Self::ApiSecure => 9003,
        }
    }

    /// TLS begins with the first octet.
    #[must_use]
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Smtps | Self::Imaps | Self::ApiSecure)
    }
}

/// What is wanted, and what there is to do it with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Only these phases; none named: all.
    pub phases: Vec<Phase>,
    /// The mail_root is at hand: a temporary user can be made.
    pub local: bool,
    /// There is an account to log in with, the temporary one or another.
    pub login: bool,
}

/// What becomes of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is run.
    Run,
    /// It is left out, and this is why.
    Skip(&'static str),
    /// Nobody asked for it.
    Not,
}

/// What becomes of each phase. The last one always runs: it takes away whatever the others have made.
#[must_use]
pub fn plan(asked: &Asked) -> [(Phase, Step); 8] {
    Phase::ALL.map(|phase| {
        let wanted = asked.phases.is_empty() || asked.phases.contains(&phase) || phase == Phase::Cleanup;
        let step = match phase {
            _ if !wanted => Step::Not,
            Phase::Users | Phase::Store if !asked.local => Step::Skip("it needs the mail_root of the server"),
            Phase::Delivery | Phase::Imap if !asked.login => Step::Skip("it needs an account: --user"),
            _ => Step::Run,
        };
        (phase, step)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(asked: &Asked, wanted: Phase) -> Step {
        plan(asked)
            .into_iter()
            .find(|(phase, _)| *phase == wanted)
            .map_or(Step::Not, |(_, step)| step)
    }

    #[test]
    fn a_remote_server_is_not_asked_for_its_disk() {
        let stranger = Asked::default();
        assert!(matches!(step(&stranger, Phase::Users), Step::Skip(_)));
        assert!(matches!(step(&stranger, Phase::Imap), Step::Skip(_)));
        assert_eq!(step(&stranger, Phase::Smtp), Step::Run);
        let guest = Asked {
            login: true,
            ..Asked::default()
        };
        assert!(matches!(step(&guest, Phase::Store), Step::Skip(_)));
        assert_eq!(step(&guest, Phase::Imap), Step::Run);
    }

    #[test]
    fn cleaning_up_is_never_left_out() {
        let asked = Asked {
            phases: vec![Phase::Imap],
            local: true,
            login: true,
        };
        assert_eq!(step(&asked, Phase::Imap), Step::Run);
        assert_eq!(step(&asked, Phase::Smtp), Step::Not);
        assert_eq!(step(&asked, Phase::Cleanup), Step::Run);
    }

    #[test]
    fn names_and_numbers_lead_back() {
        for phase in Phase::ALL {
            assert_eq!(Phase::from_number(phase.number()), Some(phase));
        }
        for service in Service::ALL {
            assert_eq!(Service::from_name(service.name()), Some(service));
        }
        assert_eq!((Phase::from_number(0), Phase::from_number(9)), (None, None));
    }
}
