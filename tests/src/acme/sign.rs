//! Signatures of requests, requests for certificates, and certificates.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use rcgen::{
    CertificateParams, CertifiedIssuer, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm,
};
use ring::hmac;
use ring::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// A flattened JWS (RFC 7515 §7.2.2).
pub(super) struct Parts {
    pub(super) head: Value,
    pub(super) payload: Vec<u8>,
    signed: String,
    signature: Vec<u8>,
}

pub(super) fn parts(body: &[u8]) -> Option<Parts> {
    let whole: Value = serde_json::from_slice(body).ok()?;
    let text = |name: &str| whole.get(name)?.as_str();
    let (head, payload) = (text("protected")?, text("payload")?);
    Some(Parts {
        head: serde_json::from_slice(&BASE64.decode(head).ok()?).ok()?,
        payload: BASE64.decode(payload).ok()?,
        signed: format!("{head}.{payload}"),
        signature: BASE64.decode(text("signature")?).ok()?,
    })
}

/// `04 X Y`.
pub(super) fn point(jwk: &Value) -> Option<Vec<u8>> {
    let coordinate = |name: &str| BASE64.decode(jwk.get(name)?.as_str()?).ok();
    let point = [vec![4], coordinate("x")?, coordinate("y")?].concat();
    (jwk["kty"] == "EC" && jwk["crv"] == "P-256" && point.len() == 65).then_some(point)
}

pub(super) fn is_good(point: &[u8], parts: &Parts) -> bool {
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    key.verify(parts.signed.as_bytes(), &parts.signature).is_ok()
}

/// Signed with HMAC.
pub(super) fn is_bound(key: &[u8], parts: &Parts) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::verify(&key, parts.signed.as_bytes(), &parts.signature).is_ok()
}

/// RFC 7638; `serde_json` writes the members in the order of their names.
pub(super) fn thumbprint(point: &[u8]) -> String {
    let (x, y) = (BASE64.encode(&point[1..33]), BASE64.encode(&point[33..]));
    let jwk = json!({"crv": "P-256", "kty": "EC", "x": x, "y": y});
    BASE64.encode(Sha256::digest(jwk.to_string()))
}

/// The public key of a request.
struct Key(Vec<u8>);

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// The certificate for a request (PKCS #10) that is signed by its own key and asks for these names.
pub(super) fn certificate(
    csr: &[u8],
    names: &[String],
    root: &CertifiedIssuer<'static, KeyPair>,
) -> Result<String, String> {
    /// Before the point of a P-256 key (RFC 5480): its algorithm, its curve, and the head of the bit string.
    const BEFORE: &[u8] = &[
        0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
        0x01, 0x07, 0x03, 0x42, 0x00,
    ];
    let no = |why: &str| why.to_owned();
    let at = csr.windows(BEFORE.len()).position(|window| window == BEFORE);
    let point = at.and_then(|at| csr.get(at + BEFORE.len()..at + BEFORE.len() + 65));
    let point = point.ok_or_else(|| no("no key of P-256"))?;
    let (outer, _, _) = element(csr).ok_or_else(|| no("no DER"))?;
    let (_, signed, rest) = element(outer).ok_or_else(|| no("no DER"))?;
    let (_, _, rest) = element(rest).ok_or_else(|| no("no algorithm"))?;
    let (bits, _, _) = element(rest).ok_or_else(|| no("no signature"))?;
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
        .verify(signed, bits.get(1..).unwrap_or_default())
        .map_err(|_| no("its own key has not signed it"))?;
    for name in names {
        let general = [
            &[0x82, u8::try_from(name.len()).unwrap_or(0)][..],
            name.as_bytes(),
        ]
        .concat();
        if !csr.windows(general.len()).any(|window| window == general) {
            return Err(format!("{name} is not in it"));
        }
    }
    let mut parameters = CertificateParams::new(names.to_vec()).map_err(|error| error.to_string())?;
    parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2049, 1, 1);
    let given = parameters.signed_by(&Key(point.to_vec()), root);
    let given = given.map_err(|error| error.to_string())?;
    Ok(format!("{}{}", given.pem(), root.as_ref().pem()))
}

/// The content of the first DER element, all of it, and what follows.
fn element(der: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let first = usize::from(*der.get(1)?);
    let (len, head) = match first {
        0..0x80 => (first, 2),
        _ => {
            let digits = der.get(2..2 + (first & 0x7f))?;
            let len = digits
                .iter()
                .fold(0, |len, digit| (len << 8) | usize::from(*digit));
            (len, 2 + digits.len())
        }
    };
    let (whole, rest) = der.split_at_checked(head + len)?;
    Some((whole.get(head..)?, whole, rest))
}
