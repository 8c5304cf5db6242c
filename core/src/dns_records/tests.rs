//! What is published in these tests are lists of records; no name server is asked.

use core::net::IpAddr;
use std::collections::BTreeMap;

use super::record::Record;
use super::*;
use crate::addr::Domain;
use crate::config::Config;
use crate::dns::{Answer, Data, DnsError, Kind, Question};

/// Rounds after which a check must be done.
const MAX_ROUNDS: usize = 64;

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn domains() -> Vec<Domain> {
    ["here.test", "second.test"]
        .iter()
        .map(|text| Domain::parse(text).expect("a domain"))
        .collect()
}

fn site_of(config: &str, addresses: &[&str]) -> Site {
    let (config, _) = Config::parse(config).expect("a configuration");
    let addresses = Addresses {
        list: addresses.iter().map(|text| ip(text)).collect(),
        guessed: false,
    };
    let certificate = Certificate {
        der: b"der".to_vec(),
        spki: b"spki".to_vec(),
        others: vec![(b"issuer".to_vec(), b"issuer's".to_vec())],
    };
    Site::from_config(&config, addresses, Some(certificate)).expect("a hostname")
}

fn site() -> Site {
    site_of(
        r#"{"hostname": "mail.here.test", "mta_sts": {"mode": "testing"}, "smtp": {"host": "::"},
            "exchange_api": {"public_port": 80, "public_secure_port": 443}}"#,
        &["192.0.2.25", "2001:db8::25"],
    )
}

/// All that the plan has, published.
fn published(site: &Site) -> Vec<Record> {
    plan(site, &domains())
        .into_iter()
        .flat_map(|advice| advice.records)
        .collect()
}

fn data_of(value: &Value) -> (Kind, Data) {
    match value {
        Value::Address(IpAddr::V4(four)) => (Kind::A, Data::A(*four)),
        Value::Address(IpAddr::V6(six)) => (Kind::Aaaa, Data::Aaaa(*six)),
        Value::Mx(preference, exchange) => {
            let exchange = Some(exchange.clone());
            let preference = *preference;
            (Kind::Mx, Data::Mx { preference, exchange })
        }
        Value::Ptr(name) => (Kind::Ptr, Data::Ptr(name.clone())),
        Value::Srv(port, target) => {
            let data = Data::Srv {
                priority: 0,
                weight: 1,
                port: *port,
                target: Some(target.clone()),
            };
            (Kind::Srv, data)
        }
        Value::Tlsa(tlsa) => (Kind::Tlsa, Data::Tlsa(tlsa.clone())),
        Value::Txt(text) => (Kind::Txt, Data::Txt(text.clone())),
        Value::Cname(_) => panic!("followed before"),
    }
}

/// What a name server with these records says.
fn answer(records: &[Record], question: &Question) -> Result<Answer, DnsError> {
    let mut owner = question.name.clone();
    let mut alias = None;
    for _ in 0..8 {
        let target = records.iter().find_map(|record| match &record.value {
            Value::Cname(target) if record.name == owner => Some(target.clone()),
            _ => None,
        });
        let Some(target) = target else { break };
        alias = Some(target.clone());
        owner = target;
    }
    let here: Vec<&Record> = records
        .iter()
        .filter(|record| record.name == owner && record.value.kind() != "CNAME")
        .collect();
    if here.is_empty() {
        return Err(DnsError::NoSuchName);
    }
    let data = here.into_iter().map(|record| data_of(&record.value));
    Ok(Answer {
        records: data
            .filter(|(kind, _)| *kind == question.kind)
            .map(|(_, data)| data)
            .collect(),
        secure: true,
        alias,
    })
}

/// The findings when questions are answered like this, and how many there were.
fn checked(
    site: &Site,
    mut dns: impl FnMut(&Question) -> Result<Answer, DnsError>,
    policy: &Result<Vec<u8>, String>,
) -> (Vec<Finding>, usize) {
    let mut facts = Facts::default();
    let mut asked = BTreeMap::new();
    for _ in 0..MAX_ROUNDS {
        let findings = check(site, &domains(), &mut facts);
        let missing = facts.missing();
        if missing.is_empty() {
            return (findings, asked.len());
        }
        for wanted in missing {
            assert!(
                asked.insert(wanted.clone(), ()).is_none(),
                "asked twice: {wanted:?}"
            );
            match wanted {
                Wanted::Dns(question) => {
                    let result = dns(&question);
                    facts.dns(question, result);
                }
                Wanted::Policy(domain) => facts.policy(domain, policy.clone()),
            }
        }
    }
    panic!("it does not end");
}

fn own_policy(site: &Site) -> Result<Vec<u8>, String> {
    site.mta_sts
        .as_ref()
        .map(|policy| policy.strings().join("\r\n").into_bytes())
        .ok_or_else(|| "nobody is there".to_owned())
}

fn check_records(site: &Site, records: &[Record]) -> Vec<Finding> {
    checked(site, |question| answer(records, question), &own_policy(site)).0
}

fn of(findings: &[Finding], topic: Topic) -> &Finding {
    findings
        .iter()
        .find(|finding| finding.advice.topic == topic)
        .expect("a finding")
}

#[test]
fn our_own_advice_passes_our_own_check() {
    let given = &["192.0.2.25", "2001:db8::25"];
    let sites = [
        site(),
        site_of(r#"{"hostname": "here.test", "smtp": {"host": "::"}}"#, given),
        site_of(
            r#"{"hostname": "mta-sts.here.test", "mta_sts": {"mode": "enforce"}}"#,
            &["192.0.2.25"],
        ),
        site_of(
            r#"{"hostname": "mail.here.test", "imap": {"port": null}, "smtp": {"submission_port": null, "smtps_port": 4650}}"#,
            &["192.0.2.25"],
        ),
        site_of(
            r#"{"hostname": "mail.here.test", "relay": {"smarthost": "out.elsewhere.test"}}"#,
            &["192.0.2.25"],
        ),
    ];
    for site in sites {
        let mut records = published(&site);
        if site.smarthost.is_some() {
            let address = Value::Address(ip("198.51.100.7"));
            records.push(Record::new(name("out.elsewhere.test"), address));
        }
        for finding in check_records(&site, &records) {
            let text = format!("{} {finding:#?}", site.hostname);
            let told = matches!(finding.advice.topic, Topic::MtaStsPolicy | Topic::MtaStsHost);
            let nothing_to_publish = finding.advice.records.is_empty() && !told;
            let off = matches!(finding.advice.topic, Topic::Autoconfig | Topic::Autodiscover)
                && site.ports.web.is_none();
            if nothing_to_publish || off {
                assert_eq!(finding.state, State::Note, "{text}");
            } else {
                assert_eq!(finding.state, State::Good, "{text}");
                assert_eq!(finding.text, "", "{text}");
            }
        }
    }
}

#[test]
fn what_is_validated_is_said_to_be() {
    let findings = check_records(&site(), &published(&site()));
    assert_eq!(of(&findings, Topic::Mx).certainty, Certainty::Validated);
    assert_eq!(of(&findings, Topic::Mx).seen, ["MX 10 mail.here.test."]);
    assert_eq!(of(&findings, Topic::Dkim).certainty, Certainty::None);
}

/// A change of what is published: everything of a name and type is taken away, and these are put there.
fn changed(owner: &str, kind: &str, values: Vec<Value>) -> Vec<Record> {
    let owner = name(owner);
    let mut records = published(&site());
    records.retain(|record| record.name != owner || record.value.kind() != kind);
    records.extend(values.into_iter().map(|value| Record::new(owner.clone(), value)));
    records
}

/// Name, type and values that are published; what is found then, and a word of it.
type Fault = (&'static str, &'static str, Vec<Value>, Topic, State, &'static str);

#[test]
fn each_fault_is_found_and_named() {
    let text = |text: &str| Value::Txt(text.to_owned());
    let spf = |value: &str| vec![text(value)];
    let mx = |preference, host: &str| Value::Mx(preference, name(host));
    let address = |text: &str| Value::Address(ip(text));
    let reverse = "25.2.0.192.in-addr.arpa";
    let (a, txt) = ("A", "TXT");
    let srv = Topic::Srv(Service::Imaps);
    let wrong_key = Certificate {
        spki: b"other".to_vec(),
        ..site().certificate.expect("a certificate")
    };
    let faults: Vec<Fault> = vec![
        (
            "mail.here.test",
            a,
            vec![],
            Topic::Address,
            State::Note,
            "192.0.2.25 is not published",
        ),
        (
            "mail.here.test",
            a,
            vec![address("192.0.2.9")],
            Topic::Address,
            State::Warning,
            "192.0.2.9",
        ),
        (
            "mail.here.test",
            a,
            vec![Value::Cname(name("x.test"))],
            Topic::Address,
            State::Failure,
            "no address",
        ),
        (
            reverse,
            "PTR",
            vec![],
            Topic::Ptr,
            State::Failure,
            "192.0.2.25 has no name",
        ),
        (
            reverse,
            "PTR",
            vec![Value::Ptr(name("other.test"))],
            Topic::Ptr,
            State::Warning,
            "other.test",
        ),
        (
            reverse,
            "PTR",
            vec![Value::Ptr(name("autoconfig.here.test"))],
            Topic::Ptr,
            State::Note,
            "would be best",
        ),
        (
            "_25._tcp.mail.here.test",
            "TLSA",
            vec![Value::Tlsa(wrong_key.tlsa())],
            Topic::Tlsa,
            State::Failure,
            "no record matches",
        ),
        (
            "_25._tcp.mail.here.test",
            "TLSA",
            vec![],
            Topic::Tlsa,
            State::Note,
            "none",
        ),
        ("mail.here.test", txt, vec![], Topic::SpfHelo, State::Note, "none"),
        (
            "mail.here.test",
            txt,
            spf("v=spf1 -all"),
            Topic::SpfHelo,
            State::Failure,
            "forbids",
        ),
        (
            "here.test",
            "MX",
            vec![],
            Topic::Mx,
            State::Failure,
            "no MX record",
        ),
        (
            "here.test",
            "MX",
            vec![Value::Mx(0, name("."))],
            Topic::Mx,
            State::Failure,
            "takes no mail",
        ),
        (
            "here.test",
            "MX",
            vec![mx(10, "mx.test")],
            Topic::Mx,
            State::Failure,
            "goes to mx.test",
        ),
        (
            "here.test",
            "MX",
            vec![mx(10, "mail.here.test"), mx(5, "mx.test")],
            Topic::Mx,
            State::Warning,
            "before",
        ),
        (
            "here.test",
            "MX",
            vec![mx(10, "mail.here.test"), mx(50, "mx.test")],
            Topic::Mx,
            State::Note,
            "hand it on",
        ),
        (
            "here.test",
            "MX",
            vec![mx(10, "autoconfig.here.test")],
            Topic::Mx,
            State::Note,
            "is this server too",
        ),
        ("here.test", txt, vec![], Topic::Spf, State::Failure, "none"),
        (
            "here.test",
            txt,
            spf("v=spf1 a -all"),
            Topic::Spf,
            State::Failure,
            "forbids",
        ),
        (
            "here.test",
            txt,
            spf("v=spf1 ~all"),
            Topic::Spf,
            State::Warning,
            "suspect",
        ),
        (
            "here.test",
            txt,
            spf("v=spf1 ?all"),
            Topic::Spf,
            State::Warning,
            "says nothing",
        ),
        (
            "here.test",
            txt,
            spf("v=spf1 mx +all"),
            Topic::Spf,
            State::Warning,
            "everybody",
        ),
        (
            "here.test",
            txt,
            spf("v=spf1 ipv4:192.0.2.25 -all"),
            Topic::Spf,
            State::Failure,
            "cannot be read",
        ),
        (
            "here.test",
            txt,
            spf("v=spf1 exists:%{i}.x.test -all"),
            Topic::Spf,
            State::Note,
            "open",
        ),
        (
            "here.test",
            txt,
            vec![text("v=spf1 mx -all"), text("v=spf1 a -all")],
            Topic::Spf,
            State::Failure,
            "several",
        ),
        (
            "_dmarc.here.test",
            txt,
            vec![],
            Topic::Dmarc,
            State::Warning,
            "none",
        ),
        (
            "_dmarc.here.test",
            txt,
            spf("v=DMARC1; p=reject"),
            Topic::Dmarc,
            State::Note,
            "forwarded",
        ),
        (
            "_dmarc.here.test",
            txt,
            spf("v=DMARC1; p=no"),
            Topic::Dmarc,
            State::Failure,
            "p=",
        ),
        (
            "_dmarc.here.test",
            txt,
            vec![text("v=DMARC1; p=none"), text("v=DMARC1; p=none")],
            Topic::Dmarc,
            State::Failure,
            "several",
        ),
        (
            "_mta-sts.here.test",
            txt,
            vec![],
            Topic::MtaSts,
            State::Warning,
            "nobody looks",
        ),
        (
            "_mta-sts.here.test",
            txt,
            spf("v=STSv1; id=a-b"),
            Topic::MtaSts,
            State::Failure,
            "good id",
        ),
        (
            "_mta-sts.here.test",
            txt,
            spf("v=STSv1; id=1"),
            Topic::MtaSts,
            State::Note,
            "not the one",
        ),
        (
            "mta-sts.here.test",
            "CNAME",
            vec![],
            Topic::MtaStsHost,
            State::Warning,
            "no address",
        ),
        (
            "mta-sts.here.test",
            "CNAME",
            vec![address("192.0.2.9")],
            Topic::MtaStsHost,
            State::Note,
            "another server",
        ),
        (
            "here.test",
            "MX",
            vec![mx(10, "autoconfig.here.test")],
            Topic::MtaStsPolicy,
            State::Warning,
            "does not name autoconfig",
        ),
        (
            "_smtp._tls.here.test",
            txt,
            vec![],
            Topic::TlsRpt,
            State::Note,
            "none",
        ),
        (
            "_smtp._tls.here.test",
            txt,
            spf("v=TLSRPTv1;"),
            Topic::TlsRpt,
            State::Warning,
            "nobody",
        ),
        ("_imaps._tcp.here.test", "SRV", vec![], srv, State::Note, "none"),
        (
            "_imaps._tcp.here.test",
            "SRV",
            vec![Value::Srv(143, name("mail.here.test"))],
            srv,
            State::Warning,
            "port 143",
        ),
        (
            "_imaps._tcp.here.test",
            "SRV",
            vec![Value::Srv(993, name("x.test"))],
            srv,
            State::Warning,
            "another server",
        ),
        (
            "_imaps._tcp.here.test",
            "SRV",
            vec![Value::Srv(0, name("."))],
            srv,
            State::Warning,
            "no such service",
        ),
        (
            "autoconfig.here.test",
            "CNAME",
            vec![],
            Topic::Autoconfig,
            State::Note,
            "none",
        ),
        (
            "autodiscover.here.test",
            "CNAME",
            vec![address("192.0.2.9")],
            Topic::Autodiscover,
            State::Note,
            "another server",
        ),
    ];
    for (owner, kind, values, topic, state, word) in faults {
        let told = format!("{owner} {kind} {values:?}");
        let mut records = changed(owner, kind, values);
        if told.contains("Cname") {
            records.retain(|record| record.name != name("mail.here.test") || record.value.kind() == "CNAME");
        }
        let findings = check_records(&site(), &records);
        let finding = of(&findings, topic);
        assert_eq!(finding.state, state, "{told}: {finding:#?}");
        assert!(finding.text.contains(word), "{told}: {finding:#?}");
    }
}

#[test]
fn a_name_server_that_fails_is_told_and_blames_nobody() {
    let fails = |_: &Question| Err(DnsError::Timeout);
    let (findings, _) = checked(&site(), fails, &Err("no answer".to_owned()));
    for finding in findings
        .iter()
        .filter(|finding| finding.advice.topic != Topic::Dkim)
    {
        let unreadable = finding.advice.topic == Topic::MtaStsPolicy;
        let expected = if unreadable {
            State::Warning
        } else {
            State::Unknown
        };
        assert_eq!(finding.state, expected, "{finding:#?}");
        assert!(!finding.text.is_empty());
    }
}

#[test]
fn an_address_that_nobody_knows_is_a_note_and_never_a_failure() {
    let mut site = site();
    let records = published(&site);
    site.addresses = Addresses::default();
    let findings = check_records(&site, &records);
    let address = of(&findings, Topic::Address);
    assert_eq!(
        (address.state, address.certainty),
        (State::Note, Certainty::Guessed)
    );
    // The addresses of its name stand for its own.
    for topic in [Topic::Ptr, Topic::Spf, Topic::Mx] {
        assert_eq!(of(&findings, topic).state, State::Good, "{topic:?}");
    }
    assert_eq!(of(&findings, Topic::Ptr).certainty, Certainty::Guessed);
}

#[test]
fn a_hostile_zone_is_given_up_after_a_bounded_number_of_questions() {
    let mut number = 0;
    let hostile = |question: &Question| {
        let mut records = Vec::new();
        for _ in 0..100 {
            number += 1;
            let other = name(&format!("n{number}.evil.test"));
            records.push(match question.kind {
                Kind::A => Data::A(core::net::Ipv4Addr::from(number)),
                Kind::Aaaa => return Ok(Answer::default()),
                Kind::Mx => Data::Mx {
                    preference: 1,
                    exchange: Some(other),
                },
                Kind::Ptr => Data::Ptr(other),
                Kind::Srv => Data::Srv {
                    priority: 0,
                    weight: 0,
                    port: 1,
                    target: Some(other),
                },
                Kind::Tlsa => return Err(DnsError::NoSuchName),
                Kind::Txt => {
                    let terms = format!("v=spf1 include:{other} mx:m{other} a:a{other} redirect=r{other}");
                    return Ok(Answer {
                        records: vec![Data::Txt(terms)],
                        ..Answer::default()
                    });
                }
            });
        }
        Ok(Answer {
            records,
            ..Answer::default()
        })
    };
    let mut site = site();
    site.smarthost = Some("out.test".to_owned());
    let (findings, asked) = checked(&site, hostile, &Err("no".to_owned()));
    assert!(asked < 500, "{asked} questions");
    assert!(findings.iter().all(|finding| finding.seen.len() <= 32));
}

#[test]
fn spf_is_evaluated_with_its_bounds() {
    let txt = |owner: &str, text: &str| Record::new(name(owner), Value::Txt(text.to_owned()));
    let a = |owner: &str, text: &str| Record::new(name(owner), Value::Address(ip(text)));
    let mut zone = vec![
        txt("inc.test", "v=spf1 ip4:198.51.100.0/24 -all"),
        txt("redirect.test", "v=spf1 redirect=inc.test"),
        txt("loop.test", "v=spf1 include:loop.test -all"),
        txt("nobody.test", "no spf"),
        a("host.test", "198.51.100.7"),
        a("host.test", "2001:db8::7"),
        Record::new(name("mx.test"), Value::Mx(1, name("host.test"))),
    ];
    let cases = [
        ("v=spf1 include:inc.test -all", "pass"),
        ("v=spf1 include:redirect.test -all", "pass"),
        ("V=SPF1 INCLUDE:inc.test -ALL", "pass"),
        ("v=spf1 a:host.test -all", "pass"),
        ("v=spf1 a:host.test/31 -all", "pass"),
        ("v=spf1 a:host.test//64 -all", "pass"),
        ("v=spf1 mx:mx.test/24//64 -all", "pass"),
        ("v=spf1 ip4:198.51.100.7 -all", "pass"),
        ("v=spf1 -ip4:198.51.100.7 +all", "fail"),
        ("v=spf1 ip6:2001:db8::/32 ?all", "neutral"),
        ("v=spf1 exp=x.test redirect=inc.test", "pass"),
        ("v=spf1 exists:host.test", "pass"),
        ("v=spf1", "neutral"),
        ("v=spf10 all", "none"),
        ("v=spf1 -all redirect=inc.test", "fail"),
        ("v=spf1 ~all", "softfail"),
        ("v=spf1 include:nobody.test ~all", "permerror"),
        ("v=spf1 redirect=nobody.test", "permerror"),
        ("v=spf1 include:loop.test", "permerror"),
        ("v=spf1 a:v1.test a:v2.test a:v3.test all", "permerror"),
        ("v=spf1 a:v1.test a:v2.test all", "pass"),
        ("v=spf1 ip4:300.1.1.1 all", "permerror"),
        ("v=spf1 ip4:2001:db8::1 all", "permerror"),
        ("v=spf1 a:host.test/33 all", "permerror"),
        ("v=spf1 a:host.test/+8 all", "permerror"),
        ("v=spf1 foo all", "permerror"),
        ("v=spf1 include: all", "permerror"),
        ("v=spf1 ptr all", "open"),
        ("v=spf1 a:%{d}.test all", "open"),
    ];
    for (record, expected) in cases {
        zone.retain(|record| record.name != name("try.test"));
        zone.push(txt("try.test", record));
        let mut facts = Facts::default();
        let outcome = loop {
            let outcome = spf::evaluate(&mut facts, &name("try.test"), ip("198.51.100.7"));
            let missing = facts.missing();
            if missing.is_empty() {
                break outcome.expect("all is known");
            }
            for wanted in missing {
                let Wanted::Dns(question) = wanted else { continue };
                let result = answer(&zone, &question);
                facts.dns(question, result);
            }
        };
        let word = match outcome {
            spf::Outcome::Pass(_) => "pass",
            spf::Outcome::Fail => "fail",
            spf::Outcome::SoftFail => "softfail",
            spf::Outcome::Neutral => "neutral",
            spf::Outcome::None => "none",
            spf::Outcome::PermError(_) => "permerror",
            spf::Outcome::Open(_) => "open",
        };
        assert_eq!(word, expected, "{record}");
    }
}

#[test]
fn the_zone_has_each_record_and_leaves_out_what_is_optional() {
    let site = site_of(r#"{"hostname": "mail.here.test"}"#, &["192.0.2.25"]);
    let text = zone(&plan(&site, &domains()));
    for line in [
        "mail.here.test. 3600 IN A 192.0.2.25",
        "; 25.2.0.192.in-addr.arpa. 3600 IN PTR mail.here.test.",
        "mail.here.test. 3600 IN TXT \"v=spf1 a -all\"",
        "here.test. 3600 IN MX 10 mail.here.test.",
        "here.test. 3600 IN TXT \"v=spf1 mx ~all\"",
        "_dmarc.second.test. 3600 IN TXT \"v=DMARC1; p=none; rua=mailto:postmaster@second.test\"",
        "_submissions._tcp.here.test. 3600 IN SRV 0 1 465 mail.here.test.",
        "; autoconfig.here.test. 3600 IN CNAME mail.here.test.",
        "; DKIM: nothing to publish: rmail does not sign yet",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
    assert!(
        text.lines()
            .any(|line| line.starts_with("; _25._tcp.mail.here.test. 3600 IN TLSA 3 1 1 "))
    );
    assert!(!text.contains("mta-sts.here.test"), "there is no policy");
}
