//! Which TLS the hosts of one attempt need.
//!
//! For each host in turn: [`Guard::begin`], then [`Guard::poll`] until it says [`Step::Go`] or [`Step::Refuse`]; answers
//! come through [`Guard::answer`] and [`Guard::policy`]. Then [`Guard::terms`] holds for every address of the host, and
//! [`Guard::seen`] is told of each connection.
//!
//! * DANE comes first (RFC 8461 §2: MTA-STS must not override it): secure TLSA records of a host whose name and addresses
//!   are secure decide alone. A look-up of them that fails makes the host unreachable (RFC 7672 §2.1.2).
//! * Then MTA-STS: with `enforce` the host's name must be in the policy and its certificate verify.
//! * A message that requires TLS goes only to a host whose name DNSSEC or MTA-STS confirms (RFC 8689 §4.2.1).
//! * The operator's own policy is the least that holds, and `none` is the operator's word that there is no TLS.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::dane::{self, Anchors};
use super::policy::{Mode, Policy};
use super::report::{Applied, Event};
use super::sts::Verdict;
use super::{Encryption, Fault, FaultKind, Protect, Trust};
use crate::addr::Domain;
use crate::dns::mx::{Host, Plan};
use crate::dns::{Answer, DnsError, Kind, Name, Question, Tlsa};
use crate::relay::outcome::{Enhanced, Report};
use crate::relay::route::{Route, TlsPolicy};
use crate::smtp::client::Job;

/// What is to be done before the host is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask the resolver.
    Query(Question),
    /// Ask for the domain's MTA-STS policy.
    Policy(Domain),
    /// Something was asked and is not answered yet.
    Wait,
    /// Connect: see [`Guard::terms`].
    Go,
    /// The host must not get the message. A report of class 5: no try at another time helps either.
    Refuse(Report),
}

/// How to connect to the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Policy.
    pub tls: TlsPolicy,
    /// What the certificate is held against.
    pub trust: Trust,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Guard {
    base: TlsPolicy,
    /// None: the server was named by the operator, and so was what holds for it.
    domain: Option<Domain>,
    port: u16,
    protect: Protect,
    require_tls: bool,
    /// DNSSEC confirms the names of the hosts.
    secure: bool,
    /// There is no MX: the name of the host is the domain itself.
    implicit: bool,
    sts: Asked,
    host: Option<Host>,
    /// TLSA base domains that were not asked for yet.
    candidates: VecDeque<Name>,
    asking: Option<(Name, Question)>,
    tlsa: Found,
    terms: Terms,
    applied: Applied,
    /// The host is not in a policy that is being tested.
    stranger: bool,
    events: Vec<Event>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    Not,
    Waiting,
    Known(Verdict),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Failed(DnsError),
    Records(Name, Vec<Tlsa>),
}

impl Guard {
    /// For the hosts of a route.
    #[must_use]
    pub fn new(route: &Route, job: &Job, protect: Protect) -> Self {
        let (base, domain, port) = match route {
            Route::Target(target) => (target.tls, None, target.port),
            Route::Mx { domain, port, tls } => (*tls, Some(domain.clone()), *port),
        };
        let require_tls = job.wishes.require_tls && job.reverse_path.address().is_some();
        // `TLS-Required: No`: the policies of the recipient's domain are let go (RFC 8689 §3).
        let waived = job.wishes.tls_not_required && !require_tls;
        let protected = base != TlsPolicy::None && !waived;
        Self {
            base,
            domain,
            port,
            protect: if protected { protect } else { Protect::default() },
            require_tls,
            secure: false,
            implicit: false,
            sts: Asked::Not,
            host: None,
            candidates: VecDeque::new(),
            asking: None,
            tlsa: Found::Nothing,
            terms: Terms {
                tls: base,
                trust: Trust::Roots,
            },
            applied: Applied::None,
            stranger: false,
            events: Vec::new(),
        }
    }

    /// The hosts are found.
    pub fn plan(&mut self, plan: &Plan) {
        self.secure = plan.secure;
        self.implicit = plan.implicit;
    }

    /// The next host.
    pub fn begin(&mut self, host: &Host) {
        self.candidates.clear();
        self.asking = None;
        self.tlsa = Found::Nothing;
        self.terms = Terms {
            tls: self.base,
            trust: Trust::Roots,
        };
        self.applied = Applied::None;
        self.stranger = false;
        if self.domain.is_some() && self.protect.dane && self.secure && host.secure {
            // RFC 7672 §2.2.3: the name at the end of the aliases first, then the name itself.
            self.candidates.extend(host.alias.clone());
            self.candidates.extend(Name::parse(&host.name));
        }
        self.host = Some(host.clone());
    }

    /// What is to be done next.
    #[must_use]
    pub fn poll(&mut self) -> Step {
        let (Some(domain), Some(host)) = (self.domain.clone(), self.host.clone()) else {
            return Step::Go;
        };
        if self.asking.is_some() || self.sts == Asked::Waiting {
            return Step::Wait;
        }
        if self.tlsa == Found::Nothing
            && let Some(question) = self.next_candidate()
        {
            return Step::Query(question);
        }
        match core::mem::replace(&mut self.tlsa, Found::Nothing) {
            Found::Failed(error) => return self.tlsa_failed(&host, &error),
            Found::Records(base, records) => {
                self.by_dane(&host, &domain, &base, &records);
                return Step::Go;
            }
            Found::Nothing => {}
        }
        if !self.protect.sts || domain.is_literal() {
            return self.confirmed(&host);
        }
        match self.sts.clone() {
            Asked::Known(Verdict::Policy(policy)) => self.by_policy(&host, &policy),
            Asked::Known(_) => self.confirmed(&host),
            Asked::Not | Asked::Waiting => {
                self.sts = Asked::Waiting;
                Step::Policy(domain)
            }
        }
    }

    fn next_candidate(&mut self) -> Option<Question> {
        loop {
            let base = self.candidates.pop_front()?;
            // A name that is too long for the prefix has no records.
            if let Some(name) = Name::parse(&format!("_{}._tcp.{base}", self.port)) {
                let kind = Kind::Tlsa;
                let question = Question { name, kind };
                self.asking = Some((base, question.clone()));
                return Some(question);
            }
        }
    }

    /// What the resolver says. Whether it was asked here.
    pub fn answer(&mut self, question: &Question, result: &Result<Answer, DnsError>) -> bool {
        let Some((base, _)) = self.asking.take_if(|(_, asked)| asked == question) else {
            return false;
        };
        match result {
            Ok(answer) if answer.secure => {
                let records = dane::records(answer);
                if !records.is_empty() {
                    self.tlsa = Found::Records(base, records);
                }
            }
            Ok(_) | Err(DnsError::NoSuchName) => {}
            Err(error) => self.tlsa = Found::Failed(error.clone()),
        }
        true
    }

    /// What holds for the domain. Whether it was asked here.
    pub fn policy(&mut self, verdict: Verdict) -> bool {
        let asked = self.sts == Asked::Waiting;
        if asked {
            if let Verdict::Failed(fault) = &verdict {
                let applied = Applied::Sts {
                    policy: Vec::new(),
                    mx: Vec::new(),
                };
                self.tell(applied, None, Some(fault.clone()));
            }
            self.sts = Asked::Known(verdict);
        }
        asked
    }

    /// How to connect to the host.
    #[must_use]
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    fn tlsa_failed(&mut self, host: &Host, error: &DnsError) -> Step {
        let text = format!(
            "{}: its TLSA records cannot be looked up ({error}), mail waits",
            host.name
        );
        let fault = Fault::new(FaultKind::DnssecInvalid, &text);
        self.tell(Applied::Tlsa(Vec::new()), None, Some(fault));
        Step::Refuse(Report::ours(Enhanced(4, 4, 3), text).at(&host.name))
    }

    fn by_dane(&mut self, host: &Host, domain: &Domain, base: &Name, records: &[Tlsa]) {
        let mut names = vec![base.to_string()];
        for name in [host.name.clone(), domain.to_string()] {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        self.applied = Applied::Tlsa(records.iter().map(ToString::to_string).collect());
        match Anchors::usable(records, names) {
            Some(anchors) => {
                self.terms.tls = TlsPolicy::Verify;
                self.terms.trust = Trust::Dane(Arc::new(anchors));
            }
            // RFC 7672 §2.2: the host has committed itself to TLS.
            None if !self.terms.tls.verifies() => self.terms.tls = TlsPolicy::Require,
            None => {}
        }
    }

    fn by_policy(&mut self, host: &Host, policy: &Policy) -> Step {
        self.applied = Applied::Sts {
            policy: policy.strings(),
            mx: policy.mx.clone(),
        };
        let allowed = policy.allows(&host.name);
        if policy.mode == Mode::Testing {
            self.stranger = !allowed;
            if !self.terms.tls.verifies() {
                self.terms.trust = Trust::Watched;
            }
            return if allowed { Step::Go } else { self.confirmed(host) };
        }
        if allowed {
            self.terms.tls = TlsPolicy::Verify;
            return Step::Go;
        }
        let fault = stranger(host);
        let report = Report::ours(Enhanced(4, 7, 5), fault.text.clone()).at(&host.name);
        self.tell(self.applied.clone(), None, Some(fault));
        match self.confirmed(host) {
            refused @ Step::Refuse(_) => refused,
            _ => Step::Refuse(report),
        }
    }

    /// No policy of the domain's confirms the name of the host: a message that requires TLS needs DNSSEC for that, or a
    /// domain that is its own host.
    fn confirmed(&self, host: &Host) -> Step {
        if !self.require_tls || self.secure || self.implicit {
            return Step::Go;
        }
        let text = format!(
            "the message requires TLS, and neither DNSSEC nor MTA-STS confirms that {} is the domain's server",
            host.name
        );
        Step::Refuse(Report::ours(Enhanced(5, 7, 10), text).at(&host.name))
    }

    /// What came of TLS on a connection to the host.
    pub fn seen(&mut self, seen: &Encryption, remote: SocketAddr) {
        let fault = match seen {
            Encryption::NotOffered => {
                let text = "the server does not offer STARTTLS";
                Some(Fault::new(FaultKind::StarttlsNotSupported, text))
            }
            Encryption::Failed(fault) => Some(fault.clone()),
            Encryption::Done(fault) => {
                let strange = || self.host.as_ref().filter(|_| self.stranger).map(stranger);
                fault.clone().or_else(strange)
            }
        };
        self.tell(self.applied.clone(), Some(remote.ip()), fault);
    }

    fn tell(&mut self, applied: Applied, remote: Option<IpAddr>, fault: Option<Fault>) {
        if let Some(domain) = self.domain.as_ref().filter(|domain| !domain.is_literal()) {
            self.events.push(Event {
                domain: domain.clone(),
                applied,
                host: self
                    .host
                    .as_ref()
                    .map(|host| host.name.clone())
                    .unwrap_or_default(),
                remote,
                fault,
            });
        }
    }

    /// What TLS reports are to say, since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        core::mem::take(&mut self.events)
    }
}

fn stranger(host: &Host) -> Fault {
    let text = format!(
        "{} is none of the hosts that the domain's MTA-STS policy names",
        host.name
    );
    Fault::new(FaultKind::ValidationFailure, text)
}
