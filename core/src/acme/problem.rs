//! What an authority says when something is wrong (RFC 7807 as RFC 8555 §6.7 uses it), and what to do about it.

use core::fmt;

use serde::Deserialize;

/// Before the types of RFC 8555 §6.7.
const PREFIX: &str = "urn:ietf:params:acme:error:";
/// Characters of a text of the authority's that are kept.
const MAX_TEXT: usize = 400;
/// Problems of single names that are told.
const MAX_PARTS: usize = 8;

/// What to do where an authority wants an account that was made elsewhere.
pub(super) const BIND: &str = "get a key id and an HMAC key from the authority's web site, and set acme.eab_key_id and acme.eab_hmac_key to them; then `rmail acme renew`";

/// A problem document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Problem {
    #[serde(rename = "type")]
    kind: String,
    detail: String,
    identifier: Option<Named>,
    subproblems: Vec<Problem>,
}

/// Which name a problem is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Named {
    value: String,
}

impl Problem {
    /// The document in a response that says no; one that holds none says what its status says.
    #[must_use]
    pub(super) fn of(status: u16, body: &[u8]) -> Self {
        let read = serde_json::from_slice(body).ok();
        read.filter(|problem: &Self| !problem.kind.is_empty() || !problem.detail.is_empty())
            .unwrap_or_else(|| Self {
                detail: format!("the server answers with {status}"),
                ..Self::default()
            })
    }

    /// Its type: `badNonce`; of others than ACME's the whole URI.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.kind.strip_prefix(PREFIX).unwrap_or(&self.kind)
    }

    /// What an operator can do.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        let kind = match self.kind() {
            "compound" => self.subproblems.first().map_or("compound", Self::kind),
            kind => kind,
        };
        match kind {
            "rateLimited" => {
                "the authority counts certificates and failures; wait, and make trials against its servers for trials (acme.directory)"
            }
            "dns" => "look whether the name has an A or AAAA record that leads here (`rmail dns --check`)",
            "connection" | "tls" => {
                "look whether the name's addresses lead here, and whether port 80 (http-01) or 443 (tls-alpn-01) is open to the world and reaches rmail"
            }
            "unauthorized" | "incorrectResponse" => {
                "somebody else answered at the name: look whether its addresses (AAAA too) lead here, and what a proxy before rmail does with /.well-known/acme-challenge/"
            }
            "caa" => {
                "the domain's CAA record names other authorities: add this one to it, or use one that it names"
            }
            "rejectedIdentifier" | "unsupportedIdentifier" => {
                "the authority gives no certificate for this name: look at acme.names and hostname"
            }
            "externalAccountRequired" => BIND,
            "userActionRequired" => {
                "the terms have changed: read them at the address in the message, and try again"
            }
            "invalidContact" | "unsupportedContact" => "look at acme.email",
            "accountDoesNotExist" => {
                "the account is gone: remove {mail_root}/tls/acme/accounts.json to make another"
            }
            "badCSR" | "badSignatureAlgorithm" | "badPublicKey" => {
                "the authority does not take keys of ECDSA P-256, which rmail makes: use another one"
            }
            "alreadyRevoked" | "badRevocationReason" | "malformed" => {
                "this is a fault of rmail or of the authority: please report it"
            }
            _ => "it is tried again; if it stays so, look at the authority's status page",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.identifier {
            write!(f, "{}: ", printable(&name.value))?;
        }
        f.write_str(&printable(&self.detail))?;
        if !self.kind().is_empty() {
            write!(f, " ({})", printable(self.kind()))?;
        }
        // Documents nest no deeper than JSON's reader allows, and a part of a part is not told.
        for part in self.subproblems.iter().take(MAX_PARTS) {
            let name = part.identifier.as_ref().map_or("", |name| &name.value);
            write!(
                f,
                "; {}: {} ({})",
                printable(name),
                printable(&part.detail),
                printable(part.kind())
            )?;
        }
        Ok(())
    }
}

/// One line of what somebody else wrote.
fn printable(text: &str) -> String {
    text.chars()
        .take(MAX_TEXT)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_in_words() {
        let body = br#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many\ncertificates","status":429}"#;
        let problem = Problem::of(429, body);
        assert_eq!(problem.kind(), "rateLimited");
        assert_eq!(problem.to_string(), "too many certificates (rateLimited)");
        assert!(problem.advice().contains("wait"));
    }

    #[test]
    fn the_parts_of_a_problem_are_told_by_name() {
        let body = br#"{"type":"urn:ietf:params:acme:error:compound","detail":"Errors","subproblems":[
            {"type":"urn:ietf:params:acme:error:caa","detail":"forbidden","identifier":{"type":"dns","value":"a.test"}}]}"#;
        let problem = Problem::of(403, body);
        assert_eq!(problem.to_string(), "Errors (compound); a.test: forbidden (caa)");
        assert!(problem.advice().contains("CAA"), "{}", problem.advice());
    }

    #[test]
    fn an_answer_without_a_document_is_its_status() {
        for body in [&b"<html>"[..], b"", b"[]", b"{}", b"{\"type\":7}"] {
            let problem = Problem::of(502, body);
            assert_eq!(problem.to_string(), "the server answers with 502", "{body:?}");
        }
        let long = format!("{{\"detail\":\"{}\"}}", "x".repeat(5_000));
        assert_eq!(Problem::of(400, long.as_bytes()).to_string().len(), MAX_TEXT);
    }
}
