//! The certificate of a server that was given none.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, date_time_ymd,
};
use rustix::fs::{FlockOperation, flock};

use super::files::{TlsError, paths};

/// How long the certificate is good for.
const YEARS: i16 = 10;

/// Paths of certificate and key; makes both if neither is there. Several processes may start on one mail_root at the
/// same time: one makes the pair, the others wait and use it.
pub(super) fn ensure(mail_root: &Path, names: &[String]) -> Result<[PathBuf; 2], TlsError> {
    let [cert, key] = paths(mail_root);
    if cert.exists() && key.exists() {
        return Ok([cert, key]);
    }
    let dir = mail_root.join("tls");
    let made = |error: io::Error| TlsError::new(&dir, format!("the certificate cannot be made: {error}"));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&dir)
        .map_err(made)?;
    let held = File::open(&dir).map_err(made)?;
    flock(&held, FlockOperation::LockExclusive).map_err(|error| made(error.into()))?;
    match (cert.exists(), key.exists()) {
        (true, true) => {}
        (false, false) => {
            let [cert_pem, key_pem] = make(names).map_err(|error| TlsError::new(&cert, error))?;
            // The key first: where there is a certificate there is a key.
            publish(&key, &key_pem, 0o600).map_err(made)?;
            publish(&cert, &cert_pem, 0o644).map_err(made)?;
            held.sync_all().map_err(made)?;
            log::info!(target: "tls", "event=self_signed cert={:?} names={:?}", cert, names);
        }
        (false, true) => {
            // A start that ended between the two: the certificate is made again for the same key.
            let pem = fs::read_to_string(&key).map_err(made)?;
            let pair = KeyPair::from_pem(&pem).map_err(|error| TlsError::new(&key, error))?;
            let cert_pem = certify(&pair, names).map_err(|error| TlsError::new(&cert, error))?;
            publish(&cert, &cert_pem, 0o644).map_err(made)?;
            held.sync_all().map_err(made)?;
        }
        (true, false) => {
            return Err(TlsError::new(
                &key,
                "the key of cert.pem beside it is missing: put it back, or remove cert.pem to have a new pair made",
            ));
        }
    }
    Ok([cert, key])
}

fn make(names: &[String]) -> Result<[String; 2], rcgen::Error> {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    Ok([certify(&pair, names)?, pair.serialize_pem()])
}

fn certify(pair: &KeyPair, names: &[String]) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::new(names.to_vec())?;
    let mut subject = DistinguishedName::new();
    if let Some(name) = names.first() {
        // X.520 bounds a common name to 64 characters; the alternative names are what counts.
        subject.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    }
    params.distinguished_name = subject;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // From the start of yesterday, so that a client with a slow clock accepts it.
    let from = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let from = from.yesterday().unwrap_or(from);
    let ymd = |year: i16, date: jiff::civil::Date| {
        let day = if date.month() == 2 {
            date.day().min(28)
        } else {
            date.day()
        };
        date_time_ymd(i32::from(year), date.month().unsigned_abs(), day.unsigned_abs())
    };
    params.not_before = ymd(from.year(), from);
    params.not_after = ymd(from.year() + YEARS, from);
    Ok(params.self_signed(pair)?.pem())
}

/// Writes a file so that it appears whole, synced, or not at all.
fn publish(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let temporary = path.with_extension("pem.new");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}
