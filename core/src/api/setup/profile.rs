//! Apple's configuration profiles: a property list with one account.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::offer::{Offer, Security, Setup};
use super::write_xml::Xml;
use super::{address_parameter, hosted, nothing_offered, text_response};
use crate::addr::Address;
use crate::api::{Failure, Next, Request};
use crate::http::Response;

const MEDIA_TYPE: &str = "application/x-apple-aspen-config";

const DOCTYPE: &str = "<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">";

/// The profile of the address in `email`.
pub(super) fn answer(request: &Request<'_>) -> Result<Next, Failure> {
    let address = hosted(request, "query.email", request.query("email").unwrap_or_default())?;
    let setup = &request.settings.setup;
    let (imap, submission) = (setup.imap(), setup.submission());
    // A profile without one of both is refused by the device.
    let (Some(imap), Some(submission)) = (imap.first(), submission.first()) else {
        return Err(nothing_offered());
    };
    let document = document(setup, &address, *imap, *submission);
    Ok(Next::Respond(Response::of(200, MEDIA_TYPE, document).with(
        "Content-Disposition",
        "attachment; filename=\"mail.mobileconfig\"",
    )))
}

/// Keys of the plist with their values.
struct Dict<'a>(&'a mut Xml);

impl Dict<'_> {
    fn text(&mut self, key: &str, value: &str) {
        self.0.leaf("key", key);
        self.0.leaf("string", value);
    }

    fn number(&mut self, key: &str, value: u16) {
        self.0.leaf("key", key);
        self.0.leaf("integer", &value.to_string());
    }

    fn flag(&mut self, key: &str, value: bool) {
        self.0.leaf("key", key);
        self.0.empty(if value { "true" } else { "false" });
    }
}

fn document(setup: &Setup, address: &Address, imap: Offer, submission: Offer) -> String {
    let email = address.to_string();
    let mut xml = Xml::new(DOCTYPE);
    xml.element("plist", &[("version", "1.0")], |xml| {
        xml.element("dict", &[], |xml| {
            xml.leaf("key", "PayloadContent");
            xml.element("array", &[], |xml| {
                xml.element("dict", &[], |xml| {
                    let mut dict = Dict(xml);
                    account(&mut dict, setup, &email, imap, submission);
                    payload(&mut dict, setup, &email, "com.apple.mail.managed");
                });
            });
            let mut dict = Dict(xml);
            dict.text("PayloadDescription", "Sets up mail: the password is asked for.");
            dict.text("PayloadOrganization", address.domain.as_str());
            dict.flag("PayloadRemovalDisallowed", false);
            payload(&mut dict, setup, &email, "Configuration");
        });
    });
    xml.finish()
}

fn account(dict: &mut Dict<'_>, setup: &Setup, email: &str, imap: Offer, submission: Offer) {
    dict.text("EmailAccountType", "EmailTypeIMAP");
    dict.text("EmailAccountDescription", email);
    dict.text("EmailAddress", email);
    for (way, offer) in [("Incoming", imap), ("Outgoing", submission)] {
        dict.text(&format!("{way}MailServerAuthentication"), "EmailAuthPassword");
        dict.text(&format!("{way}MailServerHostName"), &setup.hostname);
        dict.number(&format!("{way}MailServerPortNumber"), offer.port);
        // Also where TLS begins with STARTTLS.
        dict.flag(
            &format!("{way}MailServerUseSSL"),
            offer.security != Security::None,
        );
        dict.text(&format!("{way}MailServerUsername"), email);
    }
    dict.flag("OutgoingPasswordSameAsIncomingPassword", true);
}

/// What every payload has. Its id and name are the same each time, so that a profile replaces the one before it.
fn payload(dict: &mut Dict<'_>, setup: &Setup, email: &str, kind: &str) {
    let uuid = uuid(&[&setup.hostname, email, kind]);
    let mut labels: Vec<&str> = setup.hostname.rsplit('.').collect();
    labels.push(&uuid);
    dict.text("PayloadDisplayName", email);
    dict.text("PayloadIdentifier", &labels.join("."));
    dict.text("PayloadType", kind);
    dict.text("PayloadUUID", &uuid);
    dict.number("PayloadVersion", 1);
}

/// A UUID made of names, as version 5 is, but of SHA-256: version 8.
fn uuid(names: &[&str]) -> String {
    let mut hash = Sha256::new();
    for name in names {
        hash.update(name.to_ascii_lowercase().as_bytes());
        // No name has this octet: two lists that differ are not hashed alike.
        hash.update([0]);
    }
    let digest = hash.finalize();
    let mut octets = [0_u8; 16];
    for (octet, hashed) in octets.iter_mut().zip(digest.iter()) {
        *octet = *hashed;
    }
    let [.., version, _, variant, _, _, _, _, _, _, _] = &mut octets;
    *version = (*version & 0x0f) | 0x80;
    *variant = (*variant & 0x3f) | 0x80;
    let hex: Vec<String> = octets.iter().map(|octet| format!("{octet:02X}")).collect();
    let mut text = String::with_capacity(36);
    for (index, pair) in hex.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(pair);
    }
    text
}

pub(super) fn describe() -> Value {
    json!({
        "parameters": [address_parameter("email", true)],
        "responses": text_response(MEDIA_TYPE, "A configuration profile."),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_stable_and_differ_by_name() {
        let id = uuid(&["mail.example.com", "alice@example.com", "Configuration"]);
        assert_eq!(
            id,
            uuid(&["MAIL.example.com", "alice@example.com", "Configuration"])
        );
        assert_ne!(
            id,
            uuid(&["mail.example.com", "bob@example.com", "Configuration"])
        );
        assert_ne!(uuid(&["ab", "c"]), uuid(&["a", "bc"]));
        let parts: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(id.as_bytes()[14], b'8', "{id}");
        assert!(matches!(id.as_bytes()[19], b'8' | b'9' | b'A' | b'B'), "{id}");
    }
}
