//! Why a handshake failed, in the words of TLS reports (RFC 8460 §4.3).

use std::io;

use rmail_core::relay::tls::{Fault, FaultKind};
use rustls::CertificateError;

/// Of an error of TLS.
pub(super) fn fault_of(error: &rustls::Error) -> Fault {
    let kind = match error {
        rustls::Error::InvalidCertificate(why) => match why {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => FaultKind::CertificateExpired,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                FaultKind::CertificateHostMismatch
            }
            _ => FaultKind::CertificateNotTrusted,
        },
        _ => FaultKind::ValidationFailure,
    };
    let text = match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(why)) => why.to_string(),
        other => other.to_string(),
    };
    Fault::new(kind, printable(&text))
}

/// Of an error of the stream under it.
pub(crate) fn fault_of_io(error: &io::Error) -> Fault {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    inner.map_or_else(
        || Fault::new(FaultKind::ValidationFailure, printable(&error.to_string())),
        fault_of,
    )
}

/// One line, printable ASCII, bounded: it goes into notices to senders.
fn printable(text: &str) -> String {
    const MAX: usize = 300;
    text.chars()
        .take(MAX)
        .map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' })
        .collect()
}
