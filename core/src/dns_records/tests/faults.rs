//! What is wrong with a zone is found, and named.

use super::*;

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
