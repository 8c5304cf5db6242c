//! Thunderbird's autoconfig, version 1.1 of its format.

use serde_json::{Value, json};

use super::offer::{Offer, Security, Setup};
use super::write_xml::Xml;
use super::{address_parameter, domain_of_host, hosted, nothing_offered, text_response};
use crate::addr::Domain;
use crate::api::{Failure, Next, Request};
use crate::http::Response;

/// The document for the domain of `emailaddress`, else for the one that the host names.
pub(super) fn answer(request: &Request<'_>) -> Result<Next, Failure> {
    let domain = match request.query("emailaddress") {
        Some(text) if !text.is_empty() => hosted(request, "query.emailaddress", text)?.domain,
        _ => domain_of_host(request, "autoconfig")?,
    };
    let setup = &request.settings.setup;
    if setup.imap().is_empty() && setup.submission().is_empty() {
        return Err(nothing_offered());
    }
    let document = document(setup, &domain);
    Ok(Next::Respond(Response::of(
        200,
        "text/xml; charset=utf-8",
        document,
    )))
}

fn document(setup: &Setup, domain: &Domain) -> String {
    let mut xml = Xml::new("");
    xml.element("clientConfig", &[("version", "1.1")], |xml| {
        xml.element("emailProvider", &[("id", domain.as_str())], |xml| {
            xml.leaf("domain", domain.as_str());
            xml.leaf("displayName", domain.as_str());
            xml.leaf("displayShortName", domain.as_str());
            for offer in setup.imap() {
                server(xml, setup, "incomingServer", "imap", offer);
            }
            for offer in setup.submission() {
                server(xml, setup, "outgoingServer", "smtp", offer);
            }
        });
    });
    xml.finish()
}

fn server(xml: &mut Xml, setup: &Setup, element: &str, kind: &str, offer: Offer) {
    xml.element(element, &[("type", kind)], |xml| {
        xml.leaf("hostname", &setup.hostname);
        xml.leaf("port", &offer.port.to_string());
        let socket = match offer.security {
            Security::Tls => "SSL",
            Security::StartTls => "STARTTLS",
            Security::None => "plain",
        };
        xml.leaf("socketType", socket);
        // The client puts the user's address here: the login name is the whole address.
        xml.leaf("username", "%EMAILADDRESS%");
        xml.leaf("authentication", "password-cleartext");
    });
}

pub(super) fn describe() -> Value {
    json!({
        "parameters": [address_parameter("emailaddress", false)],
        "responses": text_response("text/xml", "A clientConfig document."),
    })
}
