//! Which TLS an attempt asks for: DANE (RFC 7672), MTA-STS (RFC 8461), REQUIRETLS (RFC 8689), and what is reported of it.

use std::net::Ipv4Addr;

use rmail_core::addr::{Address, Domain, ReversePath};
use rmail_core::dns::mx::Ourselves;
use rmail_core::dns::{Answer, Data, DnsError, Kind, Name, Question, Tlsa};
use rmail_core::machine::Machine as _;
use rmail_core::relay::attempt::{Action, Attempt, Connect, Input, Order};
use rmail_core::relay::tls::policy::Policy;
use rmail_core::relay::tls::report::{Applied, Event};
use rmail_core::relay::tls::sts::Verdict;
use rmail_core::relay::tls::{Encryption, Fault, FaultKind, Protect, Trust};
use rmail_core::relay::{Enhanced, Outcome, Report, Route, TlsPolicy};
use rmail_core::smtp::client::{self, End, Job};
use rmail_core::smtp::envelope::Wishes;
use rmail_core::time::Now;

type Zone = Vec<(&'static str, Kind, Result<Answer, DnsError>)>;

fn mx(names: &[&str], secure: bool) -> Result<Answer, DnsError> {
    let record = |(n, name): (usize, &&str)| Data::Mx {
        preference: u16::try_from(n).expect("few"),
        exchange: Name::parse(name),
    };
    Ok(Answer {
        records: names.iter().enumerate().map(record).collect(),
        secure,
        alias: None,
    })
}

fn a(last: u8, secure: bool) -> Result<Answer, DnsError> {
    Ok(Answer {
        records: vec![Data::A(Ipv4Addr::new(192, 0, 2, last))],
        secure,
        alias: None,
    })
}

fn tlsa(usage: u8, secure: bool) -> Result<Answer, DnsError> {
    Ok(Answer {
        records: vec![Data::Tlsa(Tlsa {
            usage,
            selector: 1,
            matching: 1,
            data: vec![7; 32],
        })],
        secure,
        alias: None,
    })
}

fn servfail() -> Result<Answer, DnsError> {
    Err(DnsError::ServerFailure("SERVFAIL".into()))
}

/// Two hosts, everything secure, TLSA records of the first only.
fn signed() -> Zone {
    vec![
        ("d.example", Kind::Mx, mx(&["a.example", "b.example"], true)),
        ("a.example", Kind::A, a(1, true)),
        ("b.example", Kind::A, a(2, true)),
        ("_25._tcp.a.example", Kind::Tlsa, tlsa(3, true)),
    ]
}

/// The same without DNSSEC.
fn unsigned() -> Zone {
    vec![
        ("d.example", Kind::Mx, mx(&["a.example", "b.example"], false)),
        ("a.example", Kind::A, a(1, false)),
        ("b.example", Kind::A, a(2, false)),
        ("_25._tcp.a.example", Kind::Tlsa, tlsa(3, false)),
    ]
}

fn policy(text: &str) -> Verdict {
    let body = format!("version: STSv1\nmax_age: 86400\n{text}\n");
    Verdict::Policy(Policy::parse(body.as_bytes()).expect("a policy").into())
}

struct Run {
    zone: Zone,
    tls: TlsPolicy,
    wishes: Wishes,
    sts: Verdict,
    /// What comes of TLS on each connection; then the session ends for the next host.
    seen: Vec<Encryption>,
}

#[derive(Default)]
struct Told {
    connects: Vec<Connect>,
    asked: Vec<Question>,
    policies: usize,
    events: Vec<Event>,
    outcomes: Vec<Outcome>,
}

impl Run {
    fn new(zone: Zone) -> Self {
        Self {
            zone,
            tls: TlsPolicy::Opportunistic,
            wishes: Wishes::default(),
            sts: Verdict::None,
            seen: Vec::new(),
        }
    }

    fn requiring_tls(mut self) -> Self {
        self.wishes.require_tls = true;
        self
    }

    fn with(mut self, sts: Verdict) -> Self {
        self.sts = sts;
        self
    }

    fn go(self) -> Told {
        let domain = Domain::parse("d.example").expect("a domain");
        let tls = self.tls;
        let route = Route::Mx {
            domain,
            port: 25,
            tls,
        }
        .for_message(&self.wishes, true);
        let address = Address::parse("r@d.example").expect("an address");
        let sender = Address::parse("s@us.example").expect("an address");
        let mut attempt = Attempt::new(Order {
            route,
            job: Job {
                reverse_path: ReversePath::Address(sender),
                recipients: vec![address.into()],
                offset: 0,
                size: 9,
                eight_bit: false,
                wishes: self.wishes,
            },
            hostname: "us.example".into(),
            ourselves: Ourselves::default(),
            seed: [1; 32],
            protect: Protect {
                dane: true,
                sts: true,
            },
        });
        let mut told = Told::default();
        let mut seen = self.seen.into_iter();
        let feed = |attempt: &mut Attempt, input| attempt.handle_input(Now::default(), input);
        for _ in 0..200 {
            match attempt.poll_action().expect("an action until it is done") {
                Action::Query(question) => {
                    let known = self.zone.iter().find(|(name, kind, _)| {
                        Name::parse(name).as_ref() == Some(&question.name) && *kind == question.kind
                    });
                    let result = known.map_or(Err(DnsError::NoSuchName), |(.., answer)| answer.clone());
                    told.asked.push(question.clone());
                    feed(&mut attempt, Input::Answer { question, result });
                }
                Action::Policy(domain) => {
                    assert_eq!(domain.as_str(), "d.example");
                    told.policies += 1;
                    feed(&mut attempt, Input::Policy(self.sts.clone()));
                }
                Action::Counted(event) => told.events.push(*event),
                Action::Connect(connect) => {
                    told.connects.push(*connect);
                    let report = |text: &str| Report::ours(Enhanced(4, 7, 5), text);
                    match seen.next() {
                        None => feed(&mut attempt, Input::NoConnection("refused".into())),
                        Some(tls) => {
                            let end = match (&tls, told.connects.last().map(|connect| connect.settings.tls)) {
                                (Encryption::Failed(_), Some(TlsPolicy::Opportunistic)) => {
                                    End::RetryWithoutTls
                                }
                                _ => End::NextHost,
                            };
                            let recipients = vec![Outcome::Temporary(report("TLS handshake failed"))];
                            feed(
                                &mut attempt,
                                Input::Session(client::Outcome {
                                    recipients,
                                    end,
                                    tls: Some(tls),
                                }),
                            );
                        }
                    }
                }
                Action::Done(outcomes) => {
                    told.outcomes = outcomes;
                    return told;
                }
            }
        }
        panic!("no end");
    }
}

/// Host and policy of each connection, and `dane` or `watched` where that is the trust.
fn ways(told: &Told) -> Vec<String> {
    let trust = |connect: &Connect| match connect.settings.trust {
        Trust::Roots => "",
        Trust::Watched => " watched",
        Trust::Dane(_) => " dane",
    };
    let way = |connect: &Connect| {
        format!(
            "{} {:?}{}",
            connect.settings.server,
            connect.settings.tls,
            trust(connect)
        )
    };
    told.connects.iter().map(way).collect()
}

fn fault() -> Fault {
    Fault::new(FaultKind::CertificateNotTrusted, "unknown issuer")
}

#[test]
fn secure_tlsa_records_make_dane_for_their_host_alone() {
    let told = Run::new(signed()).go();
    assert_eq!(ways(&told), ["a.example Verify dane", "b.example Opportunistic"]);
    let Trust::Dane(anchors) = &told.connects[0].settings.trust else {
        panic!("DANE");
    };
    // RFC 7672 §3.2.2: the TLSA base domain and the next-hop domain.
    assert_eq!(anchors.names(), ["a.example", "d.example"]);
    // RFC 7672 §2.2.2: addresses first, TLSA behind them.
    let first = told
        .asked
        .iter()
        .position(|asked| asked.kind == Kind::Tlsa)
        .expect("asked");
    assert!(told.asked[..first].iter().any(|asked| asked.kind == Kind::Aaaa));
}

#[test]
fn without_dnssec_tlsa_is_not_even_asked_for() {
    let told = Run::new(unsigned()).go();
    assert_eq!(
        ways(&told),
        ["a.example Opportunistic", "b.example Opportunistic"]
    );
    assert!(told.asked.iter().all(|asked| asked.kind != Kind::Tlsa));
    // Each of the three must be secure.
    for part in 0..2 {
        let mut zone = signed();
        zone[part].2 = unsigned()[part].2.clone();
        let told = Run::new(zone).go();
        assert!(
            told.asked
                .iter()
                .all(|asked| asked.name.as_str() != "_25._tcp.a.example"),
            "{part}"
        );
    }
    let mut zone = signed();
    zone[3].2 = unsigned()[3].2.clone();
    assert_eq!(ways(&Run::new(zone).go())[0], "a.example Opportunistic");
}

#[test]
fn a_tlsa_look_up_that_fails_makes_the_host_unreachable() {
    // RFC 7672 §2.1.2: else an attacker would only have to break the look-up.
    let mut zone = signed();
    zone[3].2 = servfail();
    let told = Run::new(zone).go();
    assert_eq!(ways(&told), ["b.example Opportunistic"]);
    let mut zone = signed();
    drop(zone.remove(2));
    zone[0].2 = mx(&["a.example"], true);
    zone[2].2 = servfail();
    let told = Run::new(zone).with(policy("mode: enforce\nmx: a.example")).go();
    assert_eq!((ways(&told).len(), told.policies), (0, 0));
    assert!(
        matches!(&told.outcomes[0], Outcome::Temporary(report)
        if report.enhanced == Enhanced(4, 4, 3) && report.text.contains("TLSA")),
        "{:?}",
        told.outcomes
    );
    assert_eq!(
        told.events[0].fault.as_ref().map(|fault| fault.kind),
        Some(FaultKind::DnssecInvalid)
    );
}

#[test]
fn unusable_records_ask_for_tls_with_any_certificate() {
    // RFC 7672 §2.2, §3.1.3.
    let mut zone = signed();
    zone[3].2 = tlsa(1, true);
    let told = Run::new(zone).with(policy("mode: enforce\nmx: x.example")).go();
    assert_eq!(ways(&told)[0], "a.example Require", "and DANE outranks MTA-STS");
}

#[test]
fn an_alias_is_asked_for_before_the_name_itself() {
    // RFC 7672 §2.2.3.
    let alias = |base: &'static str| {
        let mut zone = signed();
        zone[1].2 = a(1, true).map(|answer| Answer {
            alias: Name::parse("host.other"),
            ..answer
        });
        zone[3].0 = base;
        Run::new(zone).go()
    };
    for (base, names) in [
        (
            "_25._tcp.host.other",
            &["host.other", "a.example", "d.example"][..],
        ),
        ("_25._tcp.a.example", &["a.example", "d.example"]),
    ] {
        let told = alias(base);
        assert!(matches!(&told.connects[0].settings.trust, Trust::Dane(anchors) if anchors.names() == names));
        let asked: Vec<&str> = told
            .asked
            .iter()
            .filter(|asked| asked.kind == Kind::Tlsa)
            .map(|asked| asked.name.as_str())
            .collect();
        assert_eq!(asked[0], "_25._tcp.host.other");
    }
}

#[test]
fn an_enforced_policy_names_the_hosts_and_verifies_them() {
    let told = Run::new(unsigned())
        .with(policy("mode: enforce\nmx: b.example"))
        .go();
    assert_eq!(ways(&told), ["b.example Verify"]);
    assert_eq!(told.policies, 1, "once for all hosts");
    assert_eq!(
        told.events[0].fault.as_ref().map(|fault| fault.kind),
        Some(FaultKind::ValidationFailure)
    );
    let told = Run::new(unsigned())
        .with(policy("mode: enforce\nmx: *.other"))
        .go();
    assert!(told.connects.is_empty());
    assert!(
        matches!(&told.outcomes[0], Outcome::Temporary(report)
        if report.enhanced == Enhanced(4, 7, 5) && report.text.contains("MTA-STS")),
        "{:?}",
        told.outcomes
    );
}

#[test]
fn a_tested_policy_changes_nothing_and_is_reported() {
    let mut run = Run::new(unsigned()).with(policy("mode: testing\nmx: a.example"));
    run.seen = vec![Encryption::Done(Some(fault())), Encryption::Done(None)];
    let told = run.go();
    assert_eq!(
        ways(&told),
        [
            "a.example Opportunistic watched",
            "b.example Opportunistic watched"
        ]
    );
    let kinds: Vec<_> = told
        .events
        .iter()
        .map(|event| event.fault.as_ref().map(|fault| fault.kind))
        .collect();
    assert_eq!(
        kinds,
        [
            Some(FaultKind::CertificateNotTrusted),
            Some(FaultKind::ValidationFailure)
        ]
    );
    assert!(matches!(&told.events[0].applied, Applied::Sts { mx, .. } if mx == &["a.example"]));
}

#[test]
fn a_policy_that_is_not_to_be_had_is_reported_once() {
    let failed = Verdict::Failed(Fault::new(FaultKind::StsPolicyFetchError, "no answer"));
    let mut run = Run::new(unsigned()).with(failed);
    run.seen = vec![Encryption::NotOffered, Encryption::Done(None)];
    let told = run.go();
    assert_eq!(
        ways(&told),
        ["a.example Opportunistic", "b.example Opportunistic"]
    );
    let kinds: Vec<_> = told
        .events
        .iter()
        .map(|event| event.fault.as_ref().map(|fault| fault.kind))
        .collect();
    assert_eq!(
        kinds,
        [
            Some(FaultKind::StsPolicyFetchError),
            Some(FaultKind::StarttlsNotSupported),
            None
        ]
    );
    assert_eq!(told.events[1].applied, Applied::None);
}

#[test]
fn a_failed_handshake_is_retried_in_clear_text_only_where_nothing_forbids_it() {
    let failing = |zone, sts| {
        let mut run = Run::new(zone).with(sts);
        run.seen = vec![Encryption::Failed(fault()); 1];
        run.go()
    };
    let told = failing(unsigned(), Verdict::None);
    assert_eq!(ways(&told)[..2], ["a.example Opportunistic", "a.example None"]);
    let told = failing(signed(), Verdict::None);
    assert_eq!(ways(&told), ["a.example Verify dane", "b.example Opportunistic"]);
    let told = failing(unsigned(), policy("mode: enforce\nmx: *.example"));
    assert_eq!(ways(&told), ["a.example Verify", "b.example Verify"]);
    let text = told.outcomes[0].report().text.clone();
    assert!(
        text.contains("connect to b.example") || text.contains("unknown issuer"),
        "{text}"
    );
    assert_eq!(told.events.len(), 1, "what never came to TLS is not counted");
    assert_eq!(told.events[0].fault, Some(fault()));
}

#[test]
fn a_message_that_requires_tls_wants_confirmed_names() {
    // RFC 8689 §4.2.1: by DNSSEC …
    let told = Run::new(signed()).requiring_tls().go();
    assert_eq!(ways(&told), ["a.example Verify dane", "b.example Verify"]);
    // … or by MTA-STS …
    let told = Run::new(unsigned())
        .requiring_tls()
        .with(policy("mode: enforce\nmx: b.example"))
        .go();
    assert_eq!(ways(&told), ["b.example Verify"]);
    let told = Run::new(unsigned())
        .requiring_tls()
        .with(policy("mode: testing\nmx: b.example"))
        .go();
    assert_eq!(ways(&told), ["b.example Verify"]);
    // … or because there is no MX.
    let zone = vec![
        ("d.example", Kind::Mx, Ok(Answer::default())),
        ("d.example", Kind::A, a(1, false)),
    ];
    assert_eq!(ways(&Run::new(zone).requiring_tls().go()), ["d.example Verify"]);
    let told = Run::new(unsigned()).requiring_tls().go();
    assert!(told.connects.is_empty());
    assert!(matches!(&told.outcomes[0], Outcome::Permanent(report) if report.enhanced == Enhanced(5, 7, 10)));
}

#[test]
fn who_needs_no_tls_and_who_wants_none_are_let_go() {
    let mut run = Run::new(signed()).with(policy("mode: enforce\nmx: x"));
    run.wishes.tls_not_required = true;
    let told = run.go();
    assert_eq!(
        ways(&told),
        ["a.example Opportunistic", "b.example Opportunistic"],
        "RFC 8689 section 3"
    );
    let mut run = Run::new(signed()).with(policy("mode: enforce\nmx: x"));
    run.tls = TlsPolicy::None;
    let told = run.go();
    assert_eq!(ways(&told), ["a.example None", "b.example None"]);
    assert_eq!(told.policies, 0);
    let mut run = Run::new(unsigned());
    run.tls = TlsPolicy::Require;
    assert_eq!(ways(&run.go()), ["a.example Require", "b.example Require"]);
}
