//! What a session is told of its TLS: version, cipher, and what binds authentication to it (RFC 5929, RFC 9266).

use rmail_core::machine::TlsInfo;
use rustls::pki_types::CertificateDer;
use rustls::{CommonState, ProtocolVersion};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use super::der;

/// The label of `tls-exporter` channel bindings (RFC 9266 §2).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// Version and cipher of a finished handshake.
#[must_use]
pub fn info_of(connection: &CommonState) -> TlsInfo {
    let version = match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => 0x0304,
        _ => 0x0303,
    };
    let name = connection
        .negotiated_cipher_suite()
        .and_then(|suite| suite.suite().as_str())
        .unwrap_or("unknown");
    let cipher = name
        .strip_prefix("TLS13_")
        .map_or_else(|| name.to_owned(), |rest| format!("TLS_{rest}"));
    TlsInfo {
        version,
        cipher,
        ..TlsInfo::default()
    }
}

/// `tls-exporter` (RFC 9266). In TLS 1.2 it is unique only with the extended master secret: left out there.
pub fn exporter<E>(version: u16, export: impl FnOnce([u8; 32]) -> Result<[u8; 32], E>) -> Option<Vec<u8>> {
    (version == 0x0304)
        .then(|| export([0; 32]).ok().map(|octets| octets.to_vec()))
        .flatten()
}

/// `tls-server-end-point` (RFC 5929 §4.1): the certificate's hash by the hash of its own signature; MD5 and SHA-1 count
/// as SHA-256. `None` where the signature names no single hash.
#[must_use]
pub fn end_point_of(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let whole = certificate.as_ref();
    // Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm SEQUENCE { OID, … }, signature } (RFC 5280 §4.1)
    let (outer, _) = der::value(whole)?;
    let (_, rest) = der::value(outer)?;
    let (algorithm, _) = der::value(rest)?;
    let (oid, _) = der::value(algorithm)?;
    const RSA: [u8; 8] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    const ECDSA_SHA2: [u8; 7] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
    let hash = if let Some(rest) = oid.strip_prefix(&RSA) {
        match rest {
            [4 | 5 | 11] => 256, // md5, sha1, sha256
            [12] => 384,
            [13] => 512,
            _ => return None,
        }
    } else {
        match oid.strip_prefix(&ECDSA_SHA2)? {
            [2] => 256,
            [3] => 384,
            [4] => 512,
            _ => return None,
        }
    };
    Some(match hash {
        256 => Sha256::digest(whole).to_vec(),
        384 => Sha384::digest(whole).to_vec(),
        _ => Sha512::digest(whole).to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ecdsa_certificate_is_bound_by_its_sha256() {
        let made = rcgen::generate_simple_self_signed(vec!["mail.example.com".to_owned()])
            .expect("a certificate can be made");
        let der = made.cert.der();
        assert_eq!(end_point_of(der), Some(Sha256::digest(der.as_ref()).to_vec()));
        assert_eq!(end_point_of(&CertificateDer::from(vec![0x30, 0])), None);
    }
}
