//! When a certificate expires.

use rmail_core::text::rfc3339;
use rustls::pki_types::CertificateDer;

use super::der_value;

/// Tags of RFC 5280 §4.1.
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// `notAfter`, in seconds since 1970. `None`: it is no certificate, or expires before that.
#[must_use]
pub fn expires(certificate: &CertificateDer<'_>) -> Option<u64> {
    // TBSCertificate ::= SEQUENCE { version, serialNumber, signature, issuer, validity SEQUENCE { notBefore, notAfter }, … }
    let (outer, _) = der_value(certificate.as_ref())?;
    let (mut fields, _) = der_value(outer)?;
    if fields.first() == Some(&VERSION) {
        fields = der_value(fields)?.1;
    }
    for _serial_signature_issuer in 0..3 {
        fields = der_value(fields)?.1;
    }
    let (validity, _) = der_value(fields)?;
    let (_, not_after) = der_value(validity)?;
    let tag = *not_after.first()?;
    let (text, _) = der_value(not_after)?;
    moment(tag, core::str::from_utf8(text).ok()?)
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
    fn a_certificate_tells_its_end() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut parameters =
            rcgen::CertificateParams::new(vec!["mail.example.com".to_owned()]).expect("a name");
        parameters.not_after = rcgen::date_time_ymd(2031, 5, 17);
        let made = parameters.self_signed(&key).expect("a certificate");
        assert_eq!(expires(made.der()), Some(1_936_742_400));
        parameters.not_after = rcgen::date_time_ymd(2055, 5, 17);
        let made = parameters.self_signed(&key).expect("a certificate");
        assert_eq!(expires(made.der()), Some(2_694_124_800));
        assert_eq!(expires(&CertificateDer::from(vec![0x30, 0])), None);
    }
}
