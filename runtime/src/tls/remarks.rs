//! What an operator ought to know of the certificates before clients complain.

use std::collections::BTreeSet;
use std::fmt;

use rmail_core::text::rfc3339;
use rmail_core::time::Unix;

use super::{Certificate, Certificates};

const DAY: u64 = 24 * 3_600;

/// An expiry is told when this many days are left, and again at each that is less.
const STAGES: [u64; 5] = [1, 3, 7, 14, 30];

/// Names that are told in one line.
const MAX_NAMES: usize = 5;

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The key of the configuration: `tls.cert_file`, `tls.certificates`.
    pub path: String,
    /// One word for log lines.
    pub event: &'static str,
    /// Clients that verify are refused, or refuse, now.
    pub urgent: bool,
    /// What is so, and what to do.
    pub text: String,
    /// What is remembered of it: as long as this is the same, it is told once.
    memory: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Names that clients of a server ask for: its own, what they guess of each domain, and what is served there
/// (`web`: documents for clients, on 443; `sts`: the MTA-STS policy).
#[must_use]
pub fn wanted<D: fmt::Display>(hostname: &str, domains: &[D], web: bool, sts: bool) -> Vec<String> {
    let mut names = vec![hostname.to_ascii_lowercase()];
    let prefixes = [("mail", true), ("autoconfig", web), ("mta-sts", web || sts)];
    for domain in domains {
        for (prefix, _) in prefixes.iter().filter(|(_, on)| *on) {
            let name = format!("{prefix}.{domain}").to_ascii_lowercase();
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// Everything to say of the certificates at a moment, in seconds since 1970.
#[must_use]
pub fn remarks(all: &Certificates, wanted: &[String], now: u64) -> Vec<Remark> {
    let mut found = Vec::new();
    for (index, certificate) in all.all().enumerate() {
        let path = match index.checked_sub(1) {
            None => "tls.cert_file".to_owned(),
            Some(_) => "tls.certificates".to_owned(),
        };
        found.extend(term(certificate, &path, now));
        found.extend(exposed(certificate, &path));
    }
    found.extend(lacking(all, wanted));
    found
}

/// Whole days until a certificate expires; -1 if it has.
#[must_use]
pub fn days_left(expires: u64, now: u64) -> i64 {
    let left = expires.checked_sub(now);
    left.map_or(-1, |left| i64::try_from(left / DAY).unwrap_or(i64::MAX))
}

/// Whether it is good now, and for how long.
fn term(certificate: &Certificate, path: &str, now: u64) -> Option<Remark> {
    let facts = certificate.facts();
    let file = certificate.files().cert.display();
    let title = facts.title();
    let remark = |event, urgent, text: String, stage: u64| Remark {
        path: path.to_owned(),
        event,
        urgent,
        memory: format!("{event} {file} {stage}"),
        text,
    };
    let date = |unix: u64| rfc3339::print(Unix::from_secs(unix));
    let renew = "renew it, and put the new pair in the same files: it is taken at once";
    if let Some(begins) = facts.begins.filter(|begins| *begins > now) {
        let text = format!(
            "{file} ({title}) is not good before {}: look at the clock, or use the pair before",
            date(begins)
        );
        return Some(remark("certificate_not_yet_good", true, text, 0));
    }
    let expires = facts.expires?;
    let Some(left) = expires.checked_sub(now) else {
        let text = format!("{file} ({title}) has expired on {}: {renew}", date(expires));
        // Once a day.
        return Some(remark("certificate_expired", true, text, now / DAY));
    };
    let stage = STAGES.into_iter().find(|days| left <= days * DAY)?;
    let text = format!(
        "{file} ({title}) expires in {} days, on {}: {renew}",
        left / DAY,
        date(expires)
    );
    Some(remark("certificate_expires", false, text, stage))
}

/// Whether others could have read the key.
fn exposed(certificate: &Certificate, path: &str) -> Option<Remark> {
    let key = certificate.files().key.display();
    certificate.pair().is_exposed().then(|| Remark {
        path: path.replace("cert_file", "key_file"),
        event: "key_exposed",
        urgent: false,
        text: format!(
            "everybody on this machine can read the key {key}: `chmod 600 {key}`; if others have been here, have a new pair made"
        ),
        memory: format!("key_exposed {key}"),
    })
}

/// Whether clients find the names that they look for.
fn lacking(all: &Certificates, wanted: &[String]) -> Option<Remark> {
    let lacking: Vec<_> = wanted.iter().filter(|name| !all.has(name)).collect();
    if lacking.is_empty() {
        return None;
    }
    let shown: Vec<_> = lacking.iter().take(MAX_NAMES).map(|name| name.as_str()).collect();
    let more = match lacking.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(Remark {
        path: "tls.cert_file".to_owned(),
        event: "certificate_lacks_names",
        urgent: false,
        text: format!(
            "no certificate is good for {}{more}: clients that connect to such a name warn or refuse; have it put into the \
             certificate, or name another pair in tls.certificates. If nobody uses the name, leave it",
            shown.join(", ")
        ),
        memory: format!("certificate_lacks_names {lacking:?}"),
    })
}

/// What was told already.
#[derive(Debug, Default)]
pub struct Memory(BTreeSet<String>);

impl Memory {
    /// What of these remarks is new.
    pub fn news(&mut self, remarks: Vec<Remark>) -> Vec<Remark> {
        let now: BTreeSet<_> = remarks.iter().map(|remark| remark.memory.clone()).collect();
        let before = std::mem::replace(&mut self.0, now);
        let is_new = |remark: &Remark| !before.contains(&remark.memory);
        remarks.into_iter().filter(is_new).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::PairFiles;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    /// 2031-05-17
    const END: u64 = 1_936_742_400;

    fn one(dir: &std::path::Path, names: &[&str]) -> Certificates {
        let key = rcgen::KeyPair::generate().expect("a key");
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = rcgen::CertificateParams::new(names).expect("names");
        parameters.not_before = rcgen::date_time_ymd(2021, 5, 17);
        parameters.not_after = rcgen::date_time_ymd(2031, 5, 17);
        let made = parameters.self_signed(&key).expect("a certificate");
        let files = PairFiles {
            cert: dir.join("cert.pem"),
            key: dir.join("key.pem"),
        };
        std::fs::write(&files.cert, made.pem()).expect("written");
        std::fs::write(&files.key, key.serialize_pem()).expect("written");
        std::fs::set_permissions(&files.key, PermissionsExt::from_mode(0o640)).expect("changed");
        let certificate = Certificate::read(files).expect("usable");
        Certificates::new(Arc::new(certificate), Vec::new())
    }

    #[test]
    fn an_expiry_is_told_at_each_stage_once_and_every_day_after_it() {
        let dir = tempfile::tempdir().expect("directory");
        let all = one(dir.path(), &["mail.here.test"]);
        let mut memory = Memory::default();
        let mut told = Vec::new();
        // Every hour from 40 days before to 3 days after.
        for hour in 0..43 * 24 {
            let now = END - 40 * DAY + hour * 3_600;
            for remark in memory.news(remarks(&all, &[], now)) {
                told.push((remark.event, days_left(END, now)));
            }
        }
        let (expires, expired) = ("certificate_expires", "certificate_expired");
        let before = [30, 14, 7, 3, 1].map(|days| (expires, days));
        assert_eq!(told[..5], before);
        assert_eq!(told[5..], [(expired, -1); 3]);
    }

    #[test]
    fn days_are_whole_and_never_zero_behind_the_end() {
        assert_eq!(days_left(DAY * 3 + 5, 0), 3);
        assert_eq!(days_left(100, 100), 0);
        assert_eq!(days_left(99, 100), -1);
    }

    #[test]
    fn a_certificate_of_the_future_is_told() {
        let dir = tempfile::tempdir().expect("directory");
        let all = one(dir.path(), &["mail.here.test"]);
        let found = remarks(&all, &[], 1_000_000_000);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].urgent && found[0].text.contains("not good before 2021-05-17T00:00:00Z"),
            "{found:?}"
        );
    }

    #[test]
    fn a_key_that_everybody_can_read_is_told() {
        let dir = tempfile::tempdir().expect("directory");
        let all = one(dir.path(), &["mail.here.test"]);
        let now = END - 100 * DAY;
        assert_eq!(remarks(&all, &[], now), [], "a group may read it");
        let key = dir.path().join("key.pem");
        std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).expect("changed");
        let again = Certificate::read(all.main().files().clone()).expect("usable");
        assert!(again.pair() != all.main().pair(), "a reload sees it");
        let found = remarks(&Certificates::new(Arc::new(again), Vec::new()), &[], now);
        assert_eq!(found[0].path, "tls.key_file");
        assert!(found[0].text.contains("chmod 600"), "{found:?}");
    }

    #[test]
    fn names_that_no_certificate_has_are_told_in_one_line() {
        let dir = tempfile::tempdir().expect("directory");
        let all = one(dir.path(), &["mx.here.test", "*.there.test"]);
        let mut names = wanted("MX.here.test", &["there.test", "Here.test"], true, false);
        assert_eq!(names.len(), 7);
        let now = END - 100 * DAY;
        let found = remarks(&all, &names, now);
        assert!(
            found[0].text.starts_with(
                "no certificate is good for mail.here.test, autoconfig.here.test, mta-sts.here.test: "
            ),
            "{found:?}"
        );
        names.extend((0..9).map(|n| format!("{n}.test")));
        assert!(remarks(&all, &names, now)[0].text.contains("1.test and 7 more: "));
        assert_eq!(
            wanted("mail.here.test", &["here.test"], false, true),
            ["mail.here.test", "mta-sts.here.test"]
        );
    }
}
