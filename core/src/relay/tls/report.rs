//! TLS reports (RFC 8460): what is counted of a day, who wants to hear of it, and how it is told.

use core::fmt::Write as _;
use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::policy::fields;
use super::{Fault, FaultKind};
use crate::addr::Domain;
use crate::dns::{Answer, Data};
use crate::text::rfc3339;
use crate::time::Unix;

/// Domains of one day; more are not counted.
const MAX_DOMAINS: usize = 10_000;
/// Policies of one domain and day; what goes beyond is counted under the last.
const MAX_POLICIES: usize = 16;
/// Kinds of failure that are told of one policy; others are in the totals only.
const MAX_DETAILS: usize = 64;
/// Characters of a reason.
const MAX_REASON: usize = 200;
/// Seconds of a day.
const DAY: u64 = 86_400;

/// What came of one connection, or of looking for a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The domain whose policy it is.
    pub domain: Domain,
    /// What held.
    pub applied: Applied,
    /// The MX host.
    pub host: String,
    /// The host's address.
    pub remote: Option<IpAddr>,
    /// What was wrong; none: TLS as the policy wants it.
    pub fault: Option<Fault>,
}

/// The policy that was applied (RFC 8460 §4.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Applied {
    /// `no-policy-found`
    None,
    /// The TLSA records.
    Tlsa(Vec<String>),
    /// The MTA-STS policy.
    Sts {
        /// Its lines.
        policy: Vec<String>,
        /// Its `mx`.
        mx: Vec<String>,
    },
}

/// What is counted of one day, by domain. As JSON it is what is kept on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day(BTreeMap<String, Vec<Counted>>);

/// What is counted of one policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Counted {
    applied: Applied,
    good: u64,
    bad: u64,
    details: Vec<Detail>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Detail {
    kind: FaultKind,
    host: String,
    remote: Option<IpAddr>,
    reason: String,
    count: u64,
}

/// The number of a day, from 1970-01-01 UTC.
#[must_use]
pub fn day_of(unix: Unix) -> u64 {
    unix.secs() / DAY
}

impl Day {
    /// Whether nothing is counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The domains.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Only what is counted of one domain; it is taken out.
    pub fn take(&mut self, domain: &str) -> Self {
        Self(self.0.remove_entry(domain).into_iter().collect())
    }

    /// Counts.
    pub fn add(&mut self, event: &Event) {
        let detail = event.fault.as_ref().map(|fault| Detail {
            kind: fault.kind,
            host: event.host.clone(),
            remote: event.remote,
            reason: fault
                .text
                .chars()
                .filter(|c| !c.is_control())
                .take(MAX_REASON)
                .collect(),
            count: 1,
        });
        self.count(
            event.domain.as_str(),
            Counted {
                applied: event.applied.clone(),
                good: u64::from(detail.is_none()),
                bad: u64::from(detail.is_some()),
                details: detail.into_iter().collect(),
            },
        );
    }

    /// Adds what somebody else has counted of the same day.
    pub fn merge(&mut self, other: Self) {
        for (domain, policies) in other.0 {
            for counted in policies {
                self.count(&domain, counted);
            }
        }
    }

    fn count(&mut self, domain: &str, new: Counted) {
        if self.0.len() >= MAX_DOMAINS && !self.0.contains_key(domain) {
            return;
        }
        let policies = self.0.entry(domain.to_owned()).or_default();
        let known = policies.iter().position(|counted| counted.applied == new.applied);
        let full = policies.len() >= MAX_POLICIES;
        let place = known.or_else(|| full.then_some(MAX_POLICIES - 1));
        let Some(counted) = place.and_then(|at| policies.get_mut(at)) else {
            policies.push(new);
            return;
        };
        counted.good += new.good;
        counted.bad += new.bad;
        for detail in new.details {
            let same = |known: &&mut Detail| {
                (known.kind, &known.host, known.remote) == (detail.kind, &detail.host, detail.remote)
            };
            let room = counted.details.len() < MAX_DETAILS;
            match counted.details.iter_mut().find(same) {
                Some(known) => known.count += detail.count,
                None if room => counted.details.push(detail),
                None => {}
            }
        }
    }

    /// The report about everything that is counted (RFC 8460 §4.4); it is meant to hold one domain. `id`: something that
    /// no other report has.
    #[must_use]
    pub fn report(&self, day: u64, organization: &str, contact: &str, id: &str) -> Value {
        let policies: Vec<Value> = self
            .0
            .iter()
            .flat_map(|(domain, policies)| policies.iter().map(move |counted| counted.report(domain)))
            .collect();
        json!({
            "organization-name": organization,
            "date-range": {
                "start-datetime": rfc3339::print(Unix::from_secs(day * DAY)),
                "end-datetime": rfc3339::print(Unix::from_secs(day * DAY + DAY - 1)),
            },
            "contact-info": contact,
            "report-id": id,
            "policies": policies,
        })
    }
}

impl Counted {
    fn report(&self, domain: &str) -> Value {
        let policy = match &self.applied {
            Applied::None => json!({"policy-type": "no-policy-found", "policy-domain": domain}),
            Applied::Tlsa(records) => {
                json!({"policy-type": "tlsa", "policy-string": records, "policy-domain": domain})
            }
            Applied::Sts { policy, mx } => {
                json!({"policy-type": "sts", "policy-string": policy, "policy-domain": domain, "mx-host": mx})
            }
        };
        json!({
            "policy": policy,
            "summary": {"total-successful-session-count": self.good, "total-failure-session-count": self.bad},
            "failure-details": self.details.iter().map(Detail::report).collect::<Vec<_>>(),
        })
    }
}

impl Detail {
    fn report(&self) -> Value {
        let mut detail = json!({
            "result-type": self.kind,
            "failed-session-count": self.count,
            "failure-reason-code": self.reason,
        });
        if let Some(object) = detail.as_object_mut() {
            let mut put = |key: &str, value: Option<String>| {
                if let Some(value) = value.filter(|value| !value.is_empty()) {
                    object.insert(key.to_owned(), value.into());
                }
            };
            put("receiving-mx-hostname", Some(self.host.clone()));
            put("receiving-ip", self.remote.map(|address| address.to_string()));
        }
        detail
    }
}

/// Where reports of a domain go (RFC 8460 §3), from the records at `_smtp._tls.DOMAIN`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// To be POSTed to.
    pub https: Vec<Url>,
    /// Addresses that want them by mail.
    pub mailto: usize,
}

/// An `https:` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Host name.
    pub host: Domain,
    /// Port.
    pub port: u16,
    /// Path and query, as they go into the request.
    pub target: String,
}

/// Destinations of one domain that are looked at.
const MAX_DESTINATIONS: usize = 5;

/// Who wants reports. More than one record, or none, is nobody.
#[must_use]
pub fn wanted(answer: &Answer) -> Wanted {
    let mut found = answer.records.iter().filter_map(|data| match data {
        Data::Txt(text) => fields(text, "TLSRPTv1"),
        _ => None,
    });
    let (Some(fields), None) = (found.next(), found.next()) else {
        return Wanted::default();
    };
    let Some((_, list)) = fields.into_iter().find(|(name, _)| *name == "rua") else {
        return Wanted::default();
    };
    let mut wanted = Wanted::default();
    for uri in list.split(',').map(str::trim).take(MAX_DESTINATIONS) {
        match uri.split_once(':') {
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("mailto") => wanted.mailto += 1,
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => {
                wanted.https.extend(Url::parse(rest))
            }
            _ => {}
        }
    }
    wanted
}

impl Url {
    /// Reads what stands behind `https:`. A host name, no user, no octets that a request line cannot hold.
    pub fn parse(rest: &str) -> Option<Self> {
        let rest = rest.strip_prefix("//")?;
        let rest = rest.split('#').next().unwrap_or(rest);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end)?;
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, decimal(port)?),
            None => (authority, 443),
        };
        let host = Domain::parse(host).filter(|host| !host.is_literal() && !host.as_str().contains('@'))?;
        let mut target = String::new();
        if !path.starts_with('/') {
            target.push('/');
        }
        target.write_str(path).ok()?;
        let good = target.len() <= 1024 && target.bytes().all(|octet| octet.is_ascii_graphic());
        good.then_some(Self { host, port, target })
    }
}

/// A port.
fn decimal(text: &str) -> Option<u16> {
    let good = (1..=5).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit());
    let number = text
        .bytes()
        .filter(|_| good)
        .fold(0, |n, octet| n * 10 + u32::from(octet - b'0'));
    u16::try_from(number).ok().filter(|port| *port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(host: &str, fault: Option<FaultKind>) -> Event {
        Event {
            domain: Domain::parse("company-y.example").expect("a domain"),
            applied: Applied::Sts {
                policy: [
                    "version: STSv1",
                    "mode: testing",
                    "mx: *.mail.company-y.example",
                    "max_age: 86400",
                ]
                .map(str::to_owned)
                .to_vec(),
                mx: vec!["*.mail.company-y.example".into()],
            },
            host: host.into(),
            remote: Some(IpAddr::from([203, 0, 113, 56])),
            fault: fault.map(|kind| Fault::new(kind, "in\r\nwords")),
        }
    }

    #[test]
    fn the_report_is_that_of_rfc_8460_appendix_b() {
        let mut day = Day::default();
        let good = event("mx1.mail.company-y.example", None);
        for _ in 0..5326 {
            day.add(&good);
        }
        for _ in 0..100 {
            day.add(&event(
                "mx1.mail.company-y.example",
                Some(FaultKind::CertificateExpired),
            ));
        }
        let mut other = Day::default();
        for _ in 0..200 {
            other.add(&event(
                "mx2.mail.company-y.example",
                Some(FaultKind::StarttlsNotSupported),
            ));
        }
        day.merge(other);
        let kept: Day = serde_json::from_str(&serde_json::to_string(&day).expect("JSON")).expect("the same");
        assert_eq!(kept, day);
        // 2016-04-01
        let report = day.report(16_892, "Company-X", "sts-reporting@company-x.example", "5065427c");
        assert_eq!(report["date-range"]["start-datetime"], "2016-04-01T00:00:00Z");
        assert_eq!(report["date-range"]["end-datetime"], "2016-04-01T23:59:59Z");
        let policy = &report["policies"][0];
        assert_eq!(policy["policy"]["policy-type"], "sts");
        assert_eq!(policy["policy"]["policy-string"][3], "max_age: 86400");
        assert_eq!(policy["policy"]["mx-host"][0], "*.mail.company-y.example");
        assert_eq!(policy["summary"]["total-successful-session-count"], 5326);
        assert_eq!(policy["summary"]["total-failure-session-count"], 300);
        assert_eq!(
            policy["failure-details"][1],
            json!({"result-type": "starttls-not-supported", "receiving-mx-hostname": "mx2.mail.company-y.example",
                "receiving-ip": "203.0.113.56", "failed-session-count": 200,
                "failure-reason-code": "inwords"})
        );
        let mut rest = day.clone();
        assert_eq!(rest.take("company-y.example"), day);
        assert!(rest.is_empty());
    }

    #[test]
    fn nothing_grows_without_a_bound() {
        let mut day = Day::default();
        for n in 0..200 {
            day.add(&event(&format!("mx{n}"), Some(FaultKind::ValidationFailure)));
            let records = vec![n.to_string()];
            let applied = Applied::Tlsa(records);
            day.add(&Event {
                applied,
                ..event("mx", None)
            });
        }
        let policies = &day.0["company-y.example"];
        assert_eq!(policies.len(), MAX_POLICIES);
        assert_eq!((policies[0].bad, policies[0].details.len()), (200, MAX_DETAILS));
        assert_eq!(policies.iter().map(|counted| counted.good).sum::<u64>(), 200);
    }

    #[test]
    fn records_say_who_wants_reports() {
        let ask = |texts: &[&str]| {
            wanted(&Answer {
                records: texts.iter().map(|text| Data::Txt((*text).to_owned())).collect(),
                ..Answer::default()
            })
        };
        let url = |host: &str, port, target: &str| Url {
            host: Domain::parse(host).expect("a domain"),
            port,
            target: target.into(),
        };
        // RFC 8460 §3.1.1, §3.1.2
        assert_eq!(ask(&["v=TLSRPTv1;rua=mailto:reports@example.com"]).mailto, 1);
        assert_eq!(
            ask(&["v=TLSRPTv1; rua=https://reporting.example.com/v1/tlsrpt"]).https,
            [url("reporting.example.com", 443, "/v1/tlsrpt")]
        );
        let both = ask(&[
            "unrelated",
            "v=TLSRPTv1; rua=mailto:a@b.c, HTTPS://x.example:8443?q=1#f;",
        ]);
        assert_eq!(
            (both.mailto, both.https),
            (1, vec![url("x.example", 8443, "/?q=1")])
        );
        for bad in [
            "v=TLSRPTv2;rua=https://a/",
            "v=TLSRPTv1",
            "v=TLSRPTv1;rua=http://a/",
            "v=TLSRPTv1;rua=https://u@a/",
            "v=TLSRPTv1;rua=https://a:0/",
            "v=TLSRPTv1;rua=https://a:+1/",
            "v=TLSRPTv1;rua=https://[::1]/",
            "v=TLSRPTv1;rua=https://a/x y",
        ] {
            assert_eq!(ask(&[bad]), Wanted::default(), "{bad}");
        }
        assert_eq!(
            ask(&["v=TLSRPTv1;rua=https://a/", "v=TLSRPTv1;rua=https://a/"]),
            Wanted::default()
        );
    }
}
