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
}

/// Always offered.
const ALWAYS: &[&str] = &[
    "IMAP4rev1",
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
    "CHILDREN",
    "SPECIAL-USE",
    "CREATE-SPECIAL-USE",
];

/// Appends `CAPABILITY IMAP4rev1 …`, as it stands in the untagged response and in the response code.
pub fn write(out: &mut Vec<u8>, offer: Offer) {
    let starttls = (offer.starttls && !offer.authenticated).then_some("STARTTLS");
    let words = ["CAPABILITY"]
        .into_iter()
        .chain(ALWAYS.iter().copied())
        .chain(starttls);
    response::words(out, words);
    if offer.authenticated {
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
        };
        write(&mut out, offer);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn login_is_offered_when_it_works() {
        let clear = list(false, true, false);
        assert!(clear.starts_with("CAPABILITY IMAP4rev1 LITERAL+ "));
        assert!(clear.ends_with(" STARTTLS LOGINDISABLED"));
        let open = list(false, false, true);
        assert!(open.ends_with(" CREATE-SPECIAL-USE AUTH=SCRAM-SHA-256 AUTH=PLAIN AUTH=LOGIN"));
        let bound = list(false, true, true);
        assert!(
            bound.ends_with(" STARTTLS AUTH=SCRAM-SHA-256-PLUS AUTH=SCRAM-SHA-256 AUTH=PLAIN AUTH=LOGIN")
        );
        assert!(list(true, true, true).ends_with(" CREATE-SPECIAL-USE"));
    }
}
