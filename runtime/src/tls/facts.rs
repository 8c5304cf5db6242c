//! What a certificate says of itself.

use rmail_core::text::rfc3339;
use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};

use super::der;

/// Tags of RFC 5280 §4.1.
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Names that are shown of a certificate at most: it comes from a file or from another server.
const MAX_NAMES: usize = 1_000;

/// What a certificate says of itself; what cannot be read is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// DNS names that it is good for, lower case, perhaps with `*.` (RFC 9525 §6.3).
    pub names: Vec<String>,
    /// Whom it names.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// `notBefore`, in seconds since 1970.
    pub begins: Option<u64>,
    /// `notAfter`, in seconds since 1970.
    pub expires: Option<u64>,
    /// SHA-256 of the whole certificate.
    pub fingerprint: [u8; 32],
}

impl Facts {
    /// Reads a certificate.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let mut facts = fields(certificate.as_ref()).unwrap_or_default();
        facts.fingerprint = Sha256::digest(certificate).into();
        if let Ok(parsed) = webpki::EndEntityCert::try_from(certificate) {
            let names = parsed.valid_dns_names().take(MAX_NAMES);
            facts.names = names.map(str::to_ascii_lowercase).collect();
        }
        facts
    }

    /// Whether nobody but its owner vouches for it.
    #[must_use]
    pub fn is_self_signed(&self) -> bool {
        self.subject == self.issuer
    }

    /// The first of its names, or whom it names otherwise.
    #[must_use]
    pub fn title(&self) -> &str {
        self.names.first().unwrap_or(&self.subject)
    }
}

/// TBSCertificate ::= SEQUENCE { version, serialNumber, signature, issuer, validity SEQUENCE { notBefore, notAfter },
/// subject, … }
fn fields(certificate: &[u8]) -> Option<Facts> {
    let (outer, _) = der::value(certificate)?;
    let (mut rest, _) = der::value(outer)?;
    if rest.first() == Some(&VERSION) {
        rest = der::value(rest)?.1;
    }
    for _serial_signature in 0..2 {
        rest = der::value(rest)?.1;
    }
    let (issuer, rest) = der::value(rest)?;
    let (validity, rest) = der::value(rest)?;
    let (subject, _) = der::value(rest)?;
    let (begin_tag, begins, end) = der::element(validity)?;
    let (end_tag, expires, _) = der::element(end)?;
    let time = |tag: u8, text: &[u8]| moment(tag, core::str::from_utf8(text).ok()?);
    Some(Facts {
        subject: name(subject),
        issuer: name(issuer),
        begins: time(begin_tag, begins),
        expires: time(end_tag, expires),
        ..Facts::default()
    })
}

/// `CN=…, O=…` of a Name (RFC 5280 §4.1.2.4): one line, bounded.
fn name(rdns: &[u8]) -> String {
    const SHOWN: [(&[u8], &str); 2] = [(&[0x55, 4, 3], "CN"), (&[0x55, 4, 10], "O")];
    const MAX: usize = 100;
    let attributes = || der::values(rdns).flat_map(der::values);
    let shown = SHOWN.iter().filter_map(|(oid, word)| {
        let text = attributes().find_map(|attribute| {
            let (kind, rest) = der::value(attribute)?;
            let (text, _) = der::value(rest)?;
            (kind == *oid).then(|| String::from_utf8_lossy(text).into_owned())
        })?;
        let clean: String = text.chars().filter(|c| !c.is_control()).take(MAX).collect();
        Some(format!("{word}={clean}"))
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// `YYMMDDHHMMSSZ`, or the same with four digits of the year (RFC 5280 §4.1.2.5).
fn moment(tag: u8, text: &str) -> Option<u64> {
    let (century, rest) = match tag {
        UTC_TIME => {
            let year: u32 = text.get(..2)?.parse().ok()?;
            (if year < 50 { "20" } else { "19" }, text)
        }
        GENERALIZED_TIME => (text.get(..2)?, text.get(2..)?),
        _ => return None,
    };
    if rest.len() != 13 || !rest.is_ascii() {
        return None;
    }
    let part = |at: usize| rest.get(at..at + 2).unwrap_or_default();
    let [year, month, day, hour, minute, second] = [0, 2, 4, 6, 8, 10].map(part);
    let written = format!("{century}{year}-{month}-{day}T{hour}:{minute}:{second}Z");
    rfc3339::parse(&written).map(|unix| unix.secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_both_kinds_are_read() {
        assert_eq!(moment(UTC_TIME, "700101000010Z"), Some(10));
        assert_eq!(moment(UTC_TIME, "300101000000Z"), Some(1_893_456_000));
        assert_eq!(moment(GENERALIZED_TIME, "20500101000000Z"), Some(2_524_608_000));
        for bad in [
            "",
            "7001010000",
            "70010100001xZ",
            "701301000010Z",
            "7\u{e4}0101000010Z",
        ] {
            assert_eq!(moment(UTC_TIME, bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_certificate_tells_of_itself() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let names = vec!["Mail.example.com".to_owned(), "*.example.net".to_owned()];
        let mut parameters = rcgen::CertificateParams::new(names).expect("names");
        let subject = &mut parameters.distinguished_name;
        subject.push(rcgen::DnType::OrganizationName, "Some\nOrganisation");
        subject.push(rcgen::DnType::CommonName, "mail");
        parameters.not_before = rcgen::date_time_ymd(2021, 5, 17);
        parameters.not_after = rcgen::date_time_ymd(2055, 5, 17);
        let made = parameters.self_signed(&key).expect("a certificate");
        let facts = Facts::of(made.der());
        assert_eq!(facts.names, ["mail.example.com", "*.example.net"]);
        assert_eq!(facts.subject, "CN=mail, O=SomeOrganisation");
        assert_eq!(
            (facts.begins, facts.expires),
            (Some(1_621_209_600), Some(2_694_124_800))
        );
        assert!(facts.is_self_signed());
        assert_eq!(facts.title(), "mail.example.com");
    }

    #[test]
    fn what_is_no_certificate_tells_nothing() {
        for octets in [&[][..], &[0x30, 0], &[0x30, 0x82, 1], &[0; 64]] {
            let facts = Facts::of(&CertificateDer::from(octets));
            assert_eq!(
                (facts.names.len(), facts.expires, facts.title()),
                (0, None, ""),
                "{octets:?}"
            );
        }
    }
}
