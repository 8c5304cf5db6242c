//! What is published in these tests are lists of records; no name server is asked.

mod faults;
mod spf_cases;

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
        site_of(
            r#"{"hostname": "mail.here.test", "relay": {"routes": {"*": {"host": "198.51.100.7"}}}}"#,
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
fn mail_by_another_server_is_no_fault_of_spf_as_long_as_nobody_knows() {
    let config = r#"{"hostname": "mail.here.test", "relay": {"smarthost": "out.elsewhere.test"}}"#;
    let site = site_of(config, &["192.0.2.25"]);
    let mut records = published(&site);
    records.retain(|record| record.name != name("here.test") || record.value.kind() != "TXT");
    assert_eq!(
        of(&check_records(&site, &records), Topic::Spf).state,
        State::Failure
    );
    let with = |record: &str, out: &str| {
        let mut records = records.clone();
        records.push(Record::new(name("here.test"), Value::Txt(record.to_owned())));
        records.push(Record::new(name("out.elsewhere.test"), Value::Address(ip(out))));
        of(&check_records(&site, &records), Topic::Spf).clone()
    };
    let passes = with("v=spf1 ip4:198.51.100.0/24 -all", "198.51.100.7");
    assert_eq!((passes.state, passes.text.as_str()), (State::Good, ""));
    let open = with("v=spf1 ip4:198.51.100.0/24 -all", "203.0.113.7");
    assert_eq!((open.state, open.certainty), (State::Note, Certainty::Guessed));
    assert!(open.text.contains("ask its operator"), "{}", open.text);
}

#[test]
fn what_is_validated_is_said_to_be() {
    let findings = check_records(&site(), &published(&site()));
    assert_eq!(of(&findings, Topic::Mx).certainty, Certainty::Validated);
    assert_eq!(of(&findings, Topic::Mx).seen, ["MX 10 mail.here.test."]);
    assert_eq!(of(&findings, Topic::Dkim).certainty, Certainty::None);
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
