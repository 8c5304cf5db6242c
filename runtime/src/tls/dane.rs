//! Holds a server's certificate against TLSA records (RFC 7672 §3.1). Which records count and what matches is
//! [`Anchors`]'s; here is what needs signatures.

use std::sync::Arc;

use rmail_core::relay::tls::dane::{Anchors, Certificate};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, OtherError, RootCertStore};
use thiserror::Error;

use super::client::{Shown, web_pki};
use super::der;

/// No record matches.
#[derive(Debug, Error)]
#[error("no TLSA record of the server matches its certificate")]
struct NoMatch;

/// DANE-EE(3): the server's own certificate is named, all else does not matter. DANE-TA(2): it is issued under one that is
/// named, is valid now, and is good for one of the names.
pub(super) fn verify(anchors: &Anchors, shown: &Shown<'_>) -> Result<(), rustls::Error> {
    if certificate(shown.own).is_some_and(|own| anchors.is_end_entity(own)) {
        return Ok(());
    }
    let mut roots = RootCertStore::empty();
    let named = shown
        .others
        .iter()
        .filter(|other| certificate(other).is_some_and(|other| anchors.is_anchor(other)));
    for anchor in named {
        let _ = roots.add(anchor.clone().into_owned());
    }
    for anchor in anchors.anchors() {
        let _ = roots.add(CertificateDer::from(anchor.to_vec()));
    }
    let no_match = || CertificateError::Other(OtherError(Arc::new(NoMatch))).into();
    let Some(verifier) = web_pki(Arc::new(roots)) else {
        return Err(no_match());
    };
    let mut last = None;
    for name in anchors.names() {
        let Ok(name) = ServerName::try_from(name.as_str()) else {
            continue;
        };
        match shown.by(&verifier, &name) {
            Ok(()) => return Ok(()),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(no_match))
}

/// `None`: it is no certificate.
fn certificate<'a>(der: &'a CertificateDer<'_>) -> Option<Certificate<'a>> {
    let der = der.as_ref();
    Some(Certificate {
        der,
        spki: spki(der)?,
    })
}

/// The SubjectPublicKeyInfo of a certificate, tag and length included.
pub(crate) fn spki(der: &[u8]) -> Option<&[u8]> {
    /// `version [0] EXPLICIT`, which may be left out.
    const VERSION: u8 = 0xa0;
    // Certificate ::= SEQUENCE { TBSCertificate ::= SEQUENCE { version, serialNumber, signature, issuer, validity, subject,
    // subjectPublicKeyInfo, … }, … } (RFC 5280 §4.1)
    let (outer, _) = der::value(der)?;
    let (tbs, _) = der::value(outer)?;
    let mut rest = tbs;
    if rest.first() == Some(&VERSION) {
        rest = der::value(rest)?.1;
    }
    for _before in 0..5 {
        rest = der::value(rest)?.1;
    }
    let (_, after) = der::value(rest)?;
    rest.get(..rest.len() - after.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::PublicKeyData as _;

    #[test]
    fn the_public_key_is_found() {
        let made =
            rcgen::generate_simple_self_signed(vec!["mx.example.com".to_owned()]).expect("a certificate");
        let found = spki(made.cert.der()).expect("a key");
        assert_eq!(found, made.signing_key.subject_public_key_info());
        for cut in 0..made.cert.der().len() {
            assert_eq!(spki(&made.cert.der()[..cut]), None, "{cut}");
        }
        assert_eq!(spki(&[0x30, 2, 0x30, 0]), None);
    }
}
