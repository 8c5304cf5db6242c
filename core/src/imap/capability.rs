//! What the server offers (RFC 9051 §7.2.2), by how far the session is.

use super::response;
use crate::sasl::Mechanism;

/// What the list depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Somebody is logged in: nothing about logging in is offered any more.
    pub authenticated: bool,
    /// STARTTLS can be given now.
    pub starttls: bool,
    /// LOGIN and AUTHENTICATE can be given now; if not, LOGINDISABLED says so (RFC 9051 §6.2.3).
    pub login: bool,
    /// The connection has something that SCRAM can bind to.
    pub bindings: bool,
    /// COMPRESS can be given, once somebody is logged in.
    pub compress: bool,
    /// Octets of a message that APPEND takes (RFC 7889).
    pub append_limit: u64,
}

/// Always offered.
const ALWAYS: &[&str] = &[
    "IMAP4rev1",
    "IMAP4rev2",
    "LITERAL+",
    "SASL-IR",
    "ID",
    "ENABLE",
    "NAMESPACE",
    "IDLE",
    "UNSELECT",
    "NOTIFY",
    "UIDPLUS",
    "MOVE",
    "CONDSTORE",
    "QRESYNC",
    "UIDONLY",
    "UIDBATCHES",
    "UTF8=ACCEPT",
    "ESEARCH",
    "SEARCHRES",
    "WITHIN",
    "SORT",
    "SORT=DISPLAY",
    "THREAD=ORDEREDSUBJECT",
    "THREAD=REFERENCES",
    "ESORT",
    "CONTEXT=SEARCH",
    "CONTEXT=SORT",
    "PARTIAL",
    "MULTISEARCH",
    "FILTERS",
    "I18NLEVEL=1",
    "INPROGRESS",
    "CHILDREN",
    "SPECIAL-USE",
    "CREATE-SPECIAL-USE",
    "MULTIAPPEND",
    "CATENATE",
    "REPLACE",
    "BINARY",
    "PREVIEW",
    "SAVEDATE",
    "OBJECTID",
    "LIST-EXTENDED",
    "LIST-STATUS",
    "LIST-MYRIGHTS",
    "LIST-METADATA",
    "STATUS=SIZE",
    "METADATA",
    "QUOTA",
    "QUOTA=RES-STORAGE",
    "QUOTA=RES-MESSAGE",
    "QUOTASET",
    "ACL",
    "RIGHTS=texk",
];

/// Appends `CAPABILITY IMAP4rev1 …`, as it stands in the untagged response and in the response code.
pub fn write(out: &mut Vec<u8>, offer: Offer) {
    let starttls = (offer.starttls && !offer.authenticated).then_some("STARTTLS");
    let append_limit = format!("APPENDLIMIT={}", offer.append_limit);
    let words = ["CAPABILITY"]
        .into_iter()
        .chain(ALWAYS.iter().copied())
        .chain([append_limit.as_str()])
        .chain(starttls);
    response::words(out, words);
    if offer.authenticated {
        out.extend_from_slice(b" UNAUTHENTICATE");
        if offer.compress {
            out.extend_from_slice(b" COMPRESS=DEFLATE");
        }
        return;
    }
    if !offer.login {
        out.extend_from_slice(b" LOGINDISABLED");
        return;
    }
    for mechanism in Mechanism::offered(offer.bindings) {
        out.extend_from_slice(b" AUTH=");
        out.extend_from_slice(mechanism.name().as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(authenticated: bool, starttls: bool, login: bool) -> String {
        let mut out = Vec::new();
        let offer = Offer {
            authenticated,
            starttls,
            login,
            bindings: starttls,
            compress: starttls,
            append_limit: 7,
        };
        write(&mut out, offer);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn login_is_offered_when_it_works() {
        let clear = list(false, true, false);
        assert!(clear.starts_with("CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ "));
        assert!(clear.ends_with(" STARTTLS LOGINDISABLED"));
        let open = list(false, false, true);
        assert!(open.ends_with(" AUTH=SCRAM-SHA-256 AUTH=PLAIN AUTH=LOGIN"));
        let bound = list(false, true, true);
        assert!(
            bound.ends_with(" STARTTLS AUTH=SCRAM-SHA-256-PLUS AUTH=SCRAM-SHA-256 AUTH=PLAIN AUTH=LOGIN")
        );
        assert!(list(true, true, true).ends_with(" UNAUTHENTICATE COMPRESS=DEFLATE"));
        assert!(list(true, false, true).ends_with(" UNAUTHENTICATE"));
        assert!(!list(true, true, true).contains("AUTH="));
    }
}
