//! What a TLSA RRset wants of an SMTP server's certificate (RFC 7672 §3, RFC 7671).
//!
//! Which records count and what matches is decided here, over octets. Whether one certificate has signed another is the
//! host's to find out: see [`Anchors::is_anchor`].

use sha2::{Digest as _, Sha256, Sha512};

use crate::dns::{Answer, Data, Tlsa};

/// Certificate usages (RFC 7218 §2.1). PKIX-TA(0) and PKIX-EE(1) say nothing to SMTP (RFC 7672 §3.1.3).
const DANE_TA: u8 = 2;
const DANE_EE: u8 = 3;
/// Selectors (RFC 7218 §2.2).
const CERT: u8 = 0;
const SPKI: u8 = 1;
/// Matching types (RFC 7218 §2.3).
const FULL: u8 = 0;
const SHA_256: u8 = 1;
const SHA_512: u8 = 2;

/// Records of one RRset that are looked at: more do not help, and each costs a hash.
const MAX_RECORDS: usize = 32;

/// The records that a certificate is held against, one or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchors {
    records: Vec<Tlsa>,
    names: Vec<String>,
}

/// A certificate in the two forms that records speak of.
#[derive(Clone, Copy, Debug)]
pub struct Certificate<'a> {
    /// DER of the whole.
    pub der: &'a [u8],
    /// DER of its SubjectPublicKeyInfo.
    pub spki: &'a [u8],
}

impl Anchors {
    /// The usable ones of these records. `names`: the reference identifiers for DANE-TA(2), the TLSA base domain first
    /// (RFC 7672 §3.2.2). `None`: none is usable; TLS is needed nevertheless, with any certificate (RFC 7672 §2.2).
    ///
    /// Of several digests of the same usage and selector only the strongest counts (RFC 7671 §9).
    #[must_use]
    pub fn usable(records: &[Tlsa], names: Vec<String>) -> Option<Self> {
        let usable: Vec<&Tlsa> = records
            .iter()
            .take(MAX_RECORDS)
            .filter(|record| is_usable(record))
            .collect();
        let strongest = |record: &Tlsa| {
            let same = |other: &&&Tlsa| (other.usage, other.selector) == (record.usage, record.selector);
            usable.iter().filter(same).map(|other| other.matching).max()
        };
        let records: Vec<Tlsa> = usable
            .iter()
            .filter(|record| record.matching == FULL || strongest(record) == Some(record.matching))
            .map(|record| (*record).clone())
            .collect();
        (!records.is_empty()).then_some(Self { records, names })
    }

    /// Whether the server's own certificate is named by a DANE-EE(3) record. Then names and dates do not matter (RFC 7672
    /// §3.1.1).
    #[must_use]
    pub fn is_end_entity(&self, certificate: Certificate<'_>) -> bool {
        self.matches(DANE_EE, certificate)
    }

    /// Whether a certificate above the server's own is named by a DANE-TA(2) record: the server's must then be issued
    /// under it, be valid now, and be good for one of [`Anchors::names`].
    #[must_use]
    pub fn is_anchor(&self, certificate: Certificate<'_>) -> bool {
        self.matches(DANE_TA, certificate)
    }

    /// Whole certificates of issuers that the records themselves hold (`2 0 0`): the server need not send them.
    pub fn anchors(&self) -> impl Iterator<Item = &[u8]> {
        let whole =
            |record: &&Tlsa| (record.usage, record.selector, record.matching) == (DANE_TA, CERT, FULL);
        self.records.iter().filter(whole).map(|record| &record.data[..])
    }

    /// Names of which a certificate under a trust anchor must have one.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The records as TLS reports have them.
    #[must_use]
    pub fn strings(&self) -> Vec<String> {
        self.records.iter().map(ToString::to_string).collect()
    }

    fn matches(&self, usage: u8, certificate: Certificate<'_>) -> bool {
        self.records
            .iter()
            .filter(|record| record.usage == usage)
            .any(|record| {
                let part = if record.selector == SPKI {
                    certificate.spki
                } else {
                    certificate.der
                };
                match record.matching {
                    FULL => record.data == part,
                    SHA_256 => record.data == Sha256::digest(part).as_slice(),
                    _ => record.data == Sha512::digest(part).as_slice(),
                }
            })
    }
}

fn is_usable(record: &Tlsa) -> bool {
    let length = match record.matching {
        FULL => !record.data.is_empty(),
        SHA_256 => record.data.len() == 32,
        SHA_512 => record.data.len() == 64,
        _ => false,
    };
    length && matches!(record.usage, DANE_TA | DANE_EE) && matches!(record.selector, CERT | SPKI)
}

/// The TLSA records of an answer.
pub(super) fn records(answer: &Answer) -> Vec<Tlsa> {
    let tlsa = |data: &Data| match data {
        Data::Tlsa(tlsa) => Some(tlsa.clone()),
        _ => None,
    };
    answer.records.iter().filter_map(tlsa).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tlsa(usage: u8, selector: u8, matching: u8, data: &[u8]) -> Tlsa {
        Tlsa {
            usage,
            selector,
            matching,
            data: data.to_vec(),
        }
    }

    const CERTIFICATE: Certificate<'_> = Certificate {
        der: b"whole",
        spki: b"key",
    };

    fn usable(records: &[Tlsa]) -> Option<Anchors> {
        Anchors::usable(records, vec!["mx.example.com".into()])
    }

    #[test]
    fn each_selector_and_matching_type_is_compared() {
        let digest = |part: &[u8]| (Sha256::digest(part).to_vec(), Sha512::digest(part).to_vec());
        let ((cert_256, cert_512), (key_256, key_512)) = (digest(b"whole"), digest(b"key"));
        for (selector, matching, good) in [
            (0, 0, b"whole".to_vec()),
            (0, 1, cert_256),
            (0, 2, cert_512),
            (1, 0, b"key".to_vec()),
            (1, 1, key_256),
            (1, 2, key_512),
        ] {
            let ours = usable(&[tlsa(3, selector, matching, &good)]).expect("usable");
            assert!(ours.is_end_entity(CERTIFICATE), "{selector} {matching}");
            assert!(!ours.is_anchor(CERTIFICATE), "another usage");
            let mut bad = good;
            bad[0] ^= 1;
            let ours = usable(&[tlsa(3, selector, matching, &bad)]).expect("usable");
            assert!(!ours.is_end_entity(CERTIFICATE), "{selector} {matching}");
        }
    }

    #[test]
    fn what_means_nothing_to_smtp_is_not_usable() {
        let digest = [0; 32];
        for bad in [
            tlsa(0, 1, 1, &digest),
            tlsa(1, 1, 1, &digest),
            tlsa(4, 1, 1, &digest),
            tlsa(255, 1, 1, &digest),
            tlsa(3, 2, 1, &digest),
            tlsa(3, 1, 3, &digest),
            tlsa(3, 1, 1, &digest[..31]),
            tlsa(3, 1, 2, &digest),
            tlsa(3, 1, 0, &[]),
        ] {
            assert_eq!(usable(std::slice::from_ref(&bad)), None, "{bad}");
            assert!(usable(&[bad, tlsa(2, 0, 1, &digest)]).is_some());
        }
    }

    #[test]
    fn the_strongest_digest_decides() {
        // RFC 7671 §9: a weaker digest beside a stronger one is not looked at.
        let weak = tlsa(3, 1, 1, &Sha256::digest(b"key"));
        let other = tlsa(3, 1, 2, &[0; 64]);
        assert!(usable(std::slice::from_ref(&weak)).is_some_and(|ours| ours.is_end_entity(CERTIFICATE)));
        assert!(!usable(&[weak.clone(), other.clone()]).is_some_and(|ours| ours.is_end_entity(CERTIFICATE)));
        // Another selector is another matter, and so is the whole key.
        let cert = tlsa(3, 0, 1, &Sha256::digest(b"whole"));
        assert!(usable(&[other.clone(), cert]).is_some_and(|ours| ours.is_end_entity(CERTIFICATE)));
        assert!(usable(&[other, tlsa(3, 1, 0, b"key")]).is_some_and(|ours| ours.is_end_entity(CERTIFICATE)));
    }
}
