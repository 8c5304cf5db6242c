//! Microsoft's autodiscover: the XML of version 1 (MS-OXDSCLI, "POX"), and version 2, which says where that is.

use serde_json::{Value, json};

use super::offer::{Offer, Security, Setup};
use super::read_xml::{self, Leaf};
use super::write_xml::Xml;
use super::{address_parameter, hosted, text_response};
use crate::addr::Address;
use crate::api::{Failure, Next, Request};
use crate::http::Response;
use crate::time::Unix;

/// The namespace of every answer, and of what is inside.
const ANSWER: &str = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006";
const OUTLOOK: &str = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a";

/// The protocol of version 2 that there is.
const PROTOCOL: &str = "AutodiscoverV1";

/// What is wrong with a request that is XML: the error codes of MS-OXDSCLI.
const NO_ADDRESS: (u16, &str) = (500, "The email address can't be found.");
const BAD_REQUEST: (u16, &str) = (600, "Invalid Request");
const OTHER_SCHEMA: (u16, &str) = (601, "Provider is not available");

/// Version 1. What is no XML is refused; what cannot be answered is told as the format does it, in an answer of 200.
pub(super) fn answer_xml(request: &Request<'_>) -> Result<Next, Failure> {
    let leaves = read_xml::leaves(request.body)
        .map_err(|fault| Failure::field("body", format!("{} at octet {}", fault.what, fault.offset)))?;
    let setup = &request.settings.setup;
    let document = match wanted(setup, &leaves) {
        Ok(address) => settings(setup, &address),
        Err(error) => refusal(error, request.now.unix),
    };
    Ok(Next::Respond(Response::of(
        200,
        "text/xml; charset=utf-8",
        document,
    )))
}

/// Whose settings are asked for.
fn wanted(setup: &Setup, leaves: &[Leaf]) -> Result<Address, (u16, &'static str)> {
    let value = |path: &str| {
        let leaf = leaves.iter().find(|leaf| leaf.path == path);
        leaf.map(|leaf| leaf.text.as_str())
    };
    let email = value("Autodiscover/Request/EMailAddress").ok_or(BAD_REQUEST)?;
    let schema = value("Autodiscover/Request/AcceptableResponseSchema");
    if schema.is_some_and(|schema| !schema.eq_ignore_ascii_case(OUTLOOK)) {
        return Err(OTHER_SCHEMA);
    }
    let address = Address::parse(email).ok_or(NO_ADDRESS)?;
    if setup.domains.contains(&address.domain) {
        Ok(address)
    } else {
        Err(NO_ADDRESS)
    }
}

fn settings(setup: &Setup, address: &Address) -> String {
    let mut xml = Xml::new("");
    xml.element("Autodiscover", &[("xmlns", ANSWER)], |xml| {
        xml.element("Response", &[("xmlns", OUTLOOK)], |xml| {
            xml.element("User", &[], |xml| xml.leaf("DisplayName", &address.to_string()));
            xml.element("Account", &[], |xml| {
                xml.leaf("AccountType", "email");
                xml.leaf("Action", "settings");
                // One of each kind is understood: the best.
                if let Some(offer) = setup.imap().first() {
                    protocol(xml, setup, "IMAP", *offer, address);
                }
                if let Some(offer) = setup.submission().first() {
                    protocol(xml, setup, "SMTP", *offer, address);
                }
            });
        });
    });
    xml.finish()
}

fn protocol(xml: &mut Xml, setup: &Setup, kind: &str, offer: Offer, address: &Address) {
    let (ssl, encryption) = match offer.security {
        Security::Tls => ("on", "SSL"),
        Security::StartTls => ("on", "TLS"),
        Security::None => ("off", "None"),
    };
    xml.element("Protocol", &[], |xml| {
        xml.leaf("Type", kind);
        xml.leaf("Server", &setup.hostname);
        xml.leaf("Port", &offer.port.to_string());
        xml.leaf("LoginName", &address.to_string());
        xml.leaf("DomainRequired", "off");
        xml.leaf("SPA", "off");
        xml.leaf("SSL", ssl);
        xml.leaf("Encryption", encryption);
        xml.leaf("AuthRequired", "on");
        if kind == "SMTP" {
            xml.leaf("UsePOPAuth", "on");
            xml.leaf("SMTPLast", "off");
        }
    });
}

fn refusal((code, message): (u16, &str), now: Unix) -> String {
    let mut xml = Xml::new("");
    let (time, id) = (time_of_day(now), now.secs().to_string());
    xml.element("Autodiscover", &[("xmlns", ANSWER)], |xml| {
        xml.element("Response", &[], |xml| {
            xml.element("Error", &[("Time", &time), ("Id", &id)], |xml| {
                xml.leaf("ErrorCode", &code.to_string());
                xml.leaf("Message", message);
                xml.empty("DebugData");
            });
        });
    });
    xml.finish()
}

/// `13:04:59.0000000`
fn time_of_day(now: Unix) -> String {
    let seconds = now.secs() % 86_400;
    format!(
        "{:02}:{:02}:{:02}.0000000",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// Version 2. The names of its parameters count without case.
pub(super) fn answer_json(request: &Request<'_>) -> Result<Next, Failure> {
    let parameter = |name: &str| {
        let mut named = request.query.iter();
        let found = named.find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    };
    let by_path = request.parameters.first().map(String::as_str);
    let (path, email) = match by_path {
        Some(email) => ("path.email", email),
        None => ("query.Email", parameter("Email").unwrap_or_default()),
    };
    hosted(request, path, email)?;
    match parameter("Protocol") {
        Some(protocol) if protocol.eq_ignore_ascii_case(PROTOCOL) => {}
        other => return Ok(Next::Respond(unknown_protocol(other))),
    }
    let base = request.settings.setup.base();
    let base = base.ok_or_else(|| Failure::new(404, "Autodiscover is off"))?;
    Ok(Next::Respond(Response::json(
        200,
        &json!({"Protocol": PROTOCOL, "Url": format!("{base}/autodiscover/autodiscover.xml")}),
    )))
}

/// In our form and in the one that clients of version 2 read.
fn unknown_protocol(given: Option<&str>) -> Response {
    let code = match given {
        None => "MandatoryParameterMissing",
        Some(_) => "ProtocolNotSupported",
    };
    let message = format!("expected the protocol {PROTOCOL}");
    let details = json!([{"path": "query.Protocol", "error": message}]);
    Response::json(
        400,
        &json!({"error": "Invalid request", "details": details, "ErrorCode": code, "ErrorMessage": message}),
    )
}

pub(super) fn describe_xml() -> Value {
    json!({
        "requestBody": {"required": true, "content": {"text/xml": {"schema": {
            "type": "object",
            "xml": {"name": "Autodiscover"},
            "required": ["Request"],
            "properties": {"Request": {
                "type": "object",
                "required": ["EMailAddress"],
                "properties": {
                    "EMailAddress": {"type": "string", "format": "email"},
                    "AcceptableResponseSchema": {"type": "string", "const": OUTLOOK},
                },
            }},
        }}}},
        "responses": text_response("text/xml", "Settings, or an Error element that says why there are none."),
    })
}

fn describe_with(parameter: Value) -> Value {
    json!({
        "parameters": [
            parameter,
            {"name": "Protocol", "in": "query", "required": true, "description": "What is looked for.",
                "schema": {"type": "string", "enum": [PROTOCOL]}},
        ],
        "responses": {"200": {
            "description": "Where autodiscover in XML is.",
            "content": {"application/json": {"schema": {
                "type": "object",
                "required": ["Protocol", "Url"],
                "properties": {"Protocol": {"type": "string"}, "Url": {"type": "string", "format": "uri"}},
            }}},
        }},
    })
}

pub(super) fn describe_json() -> Value {
    describe_with(address_parameter("Email", true))
}

pub(super) fn describe_json_path() -> Value {
    describe_with(json!({
        "name": "email", "in": "path", "required": true, "description": "An address of a hosted domain.",
        "schema": {"type": "string", "format": "email"},
    }))
}
