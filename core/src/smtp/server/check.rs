//! Checks of strangers on port 25: what the service finds out about the address, and how the client greets. All happens
//! once, before the first MAIL; what comes of it is said at RCPT, because mail for the postmaster is taken in any case
//! (RFC 5321 §4.5.1).

use serde::Deserialize;

use super::session::{Session, Then};
use super::{Call, Role};
use crate::addr::{Domain, ForwardPath};
use crate::note::Note;
use crate::smtp::command;
use crate::smtp::reply::Reply;

/// What to do with a finding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckPolicy {
    /// Do not look.
    #[default]
    Off,
    /// Look, and write it to the log.
    Log,
    /// The same, and refuse the recipients.
    Refuse,
}

/// Which checks a session makes. The default: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    /// [`Call::Check`] is asked before the first MAIL.
    pub ask: bool,
    /// A client must call itself by a domain name of more than one label, or an address literal (RFC 5321 §4.1.1.1).
    pub helo: CheckPolicy,
}

/// What the service found out about the peer's address: the answer to [`Call::Check`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// The name that the address has and that has the address: for Received.
    pub name: Option<Domain>,
    /// What speaks against the client, the weightiest first.
    pub findings: Vec<Finding>,
}

/// Something that speaks against a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub kind: CheckKind,
    /// In words, for the log and, of lists, for the reply. Printable ASCII, bounded.
    pub text: String,
    /// It is a reason to refuse.
    pub refuse: bool,
}

/// What can be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// The address is on a list.
    Dnsbl,
    /// The address has no name, or the name does not have the address.
    ReverseDns,
    /// EHLO or HELO.
    Helo,
}

impl CheckKind {
    /// For logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dnsbl => "dnsbl",
            Self::ReverseDns => "reverse_dns",
            Self::Helo => "helo",
        }
    }
}

/// Whether mail for a recipient is taken whatever is found: somebody must be told of a wrong refusal.
#[must_use]
pub fn is_exempt(path: &ForwardPath) -> bool {
    match path {
        ForwardPath::Postmaster => true,
        ForwardPath::Address(address) => ["postmaster", "abuse"]
            .iter()
            .any(|role| address.local.eq_ignore_ascii_case(role)),
    }
}

/// What is wrong with the name in EHLO or HELO.
pub(super) fn helo_fault(name: Option<&Domain>) -> Option<&'static str> {
    match name {
        None => Some("no domain name and no address literal"),
        Some(name) if !name.is_literal() && !name.as_str().contains('.') => {
            Some("not a fully-qualified domain name")
        }
        Some(_) => None,
    }
}

impl Session {
    /// The client is a stranger on port 25.
    fn is_stranger(&self) -> bool {
        self.settings.role == Role::Mx && !self.settings.trusted && self.login.is_none()
    }

    /// MAIL is acceptable as far as the session knows: a stranger is looked at before the first.
    pub(super) fn check_first(&mut self, mail: Box<command::Mail>) {
        let checks = self.settings.checks;
        let wanted = checks.ask || checks.helo != CheckPolicy::Off;
        if !wanted || self.checked.is_some() || !self.is_stranger() {
            self.ask_sender(mail);
        } else if checks.ask {
            self.ask(Call::Check, Then::Check(mail));
        } else {
            self.checked(mail, Checked::default());
        }
    }

    pub(super) fn checked(&mut self, mail: Box<command::Mail>, checked: Checked) {
        for finding in &checked.findings {
            self.note_finding(finding.kind, finding.text.clone());
        }
        if self.settings.checks.helo != CheckPolicy::Off
            && let Some(fault) = self.helo.as_ref().and_then(|helo| helo.fault)
        {
            self.note_finding(CheckKind::Helo, fault.to_owned());
        }
        self.checked = Some(Box::new(checked));
        self.ask_sender(mail);
    }

    fn note_finding(&mut self, kind: CheckKind, text: String) {
        self.out.note(Note::Check {
            what: kind.name(),
            found: text,
        });
    }

    /// Why mail of this client for this recipient is refused, if it is.
    pub(super) fn check_refusal(&self, path: &ForwardPath) -> Option<Reply> {
        if !self.is_stranger() || is_exempt(path) {
            return None;
        }
        let findings = self.checked.iter().flat_map(|checked| &checked.findings);
        if let Some(finding) = findings.into_iter().find(|finding| finding.refuse) {
            return Some(match finding.kind {
                // RFC 7372 §3.3
                CheckKind::ReverseDns => Reply::new(550, "5.7.25", "Reverse DNS validation failed"),
                CheckKind::Dnsbl | CheckKind::Helo => {
                    let peer = Domain::literal(self.settings.peer);
                    Reply::new(550, "5.7.1", "").with_text(format!("Client {peer} refused: {}", finding.text))
                }
            });
        }
        let fault = self.helo.as_ref().and_then(|helo| helo.fault)?;
        (self.settings.checks.helo == CheckPolicy::Refuse)
            .then(|| Reply::new(550, "5.7.1", "").with_text(format!("Name in EHLO or HELO refused: {fault}")))
    }

    /// The peer's name, once it is known.
    pub(super) fn peer_name(&self) -> Option<&Domain> {
        self.checked.as_ref()?.name.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Address;

    #[test]
    fn the_roles_that_must_be_reachable_are_exempt() {
        let exempt = |text| is_exempt(&ForwardPath::Address(Address::parse(text).expect("good")));
        assert!(is_exempt(&ForwardPath::Postmaster));
        assert!(exempt("PostMaster@demo.test") && exempt("abuse@demo.test"));
        assert!(!exempt("abuser@demo.test") && !exempt("bob@demo.test"));
    }

    #[test]
    fn names_of_clients_are_qualified_or_addresses() {
        let fault = |text| helo_fault(Domain::parse(text).as_ref());
        for good in ["mail.example", "[192.0.2.1]", "[IPv6:2001:db8::1]"] {
            assert_eq!(fault(good), None, "{good}");
        }
        for bad in ["localhost", "WIN-PC", "a_b", "", "a..b", "192.0.2.1]"] {
            assert!(fault(bad).is_some(), "{bad}");
        }
    }
}
