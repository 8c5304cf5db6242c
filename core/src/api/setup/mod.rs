//! What clients read to set themselves up: autoconfig, autodiscover, profiles, the MTA-STS policy.
//!
//! The documents say where mail is read and sent, and under which name one logs in. They are for everybody, and tell nobody
//! who has an account here: an address only has to be of a hosted domain.

mod acme;
mod autoconfig;
mod autodiscover;
mod mta_sts;
mod offer;
mod profile;
mod read_xml;
mod write_xml;

pub use offer::{Offer, Ports, Security, Setup};

use serde_json::{Value, json};

use super::{Access, BodyRule, Failure, Next, Request, Route};
use crate::addr::{Address, Domain};
use crate::http::Response;

/// Octets of an autodiscover request: real ones have about 400.
const MAX_REQUEST: u64 = 16 * 1024;

/// The documents. They are all that `exchange_api.public_port` answers.
pub(super) const ROUTES: &[Route] = &[
    Route {
        name: "autoconfigWellKnown",
        ..document(
            "/.well-known/autoconfig/mail/config-v1.1.xml",
            "Servers and ports, as Thunderbird looks for them at the mail domain.",
            autoconfig::answer,
            autoconfig::describe,
        )
    },
    Route {
        name: "autoconfig",
        ..document(
            "/mail/config-v1.1.xml",
            "Servers and ports, as Thunderbird looks for them at autoconfig.DOMAIN.",
            autoconfig::answer,
            autoconfig::describe,
        )
    },
    Route {
        name: "autodiscoverXml",
        ..pox("/autodiscover/autodiscover.xml")
    },
    Route {
        name: "autodiscoverXmlCapital",
        ..pox("/Autodiscover/Autodiscover.xml")
    },
    Route {
        name: "autodiscoverJson",
        ..document(
            "/autodiscover/autodiscover.json",
            "Where autodiscover in XML is (autodiscover v2).",
            autodiscover::answer_json,
            autodiscover::describe_json,
        )
    },
    Route {
        name: "autodiscoverJsonCapital",
        ..document(
            "/Autodiscover/Autodiscover.json",
            "The same in the other spelling.",
            autodiscover::answer_json,
            autodiscover::describe_json,
        )
    },
    Route {
        name: "autodiscoverJsonByPath",
        ..document(
            "/autodiscover/autodiscover.json/v1.0/{email}",
            "The same with the address in the path.",
            autodiscover::answer_json,
            autodiscover::describe_json_path,
        )
    },
    Route {
        name: "appleProfile",
        ..document(
            "/profile.mobileconfig",
            "A profile that sets up mail on iOS and macOS, for one address.",
            profile::answer,
            profile::describe,
        )
    },
    Route {
        name: "mtaSts",
        ..document(
            "/.well-known/mta-sts.txt",
            "The MTA-STS policy of the hosted domains (RFC 8461), if one is configured.",
            mta_sts::answer,
            mta_sts::describe,
        )
    },
    Route {
        name: "acmeChallenge",
        render: acme::render,
        ..document(
            "/.well-known/acme-challenge/{token}",
            "What an authority asks for before it gives this server a certificate (ACME, RFC 8555).",
            acme::begin,
            acme::describe,
        )
    },
];

/// Whether a call is one of these documents.
pub(super) fn is_document(route: &Route) -> bool {
    ROUTES.iter().any(|document| document.name == route.name)
}

/// A document that is got.
const fn document(
    path: &'static str,
    summary: &'static str,
    begin: fn(&Request<'_>) -> Result<Next, Failure>,
    describe: fn() -> Value,
) -> Route {
    Route {
        method: "GET",
        path,
        name: "",
        summary,
        access: Access::Anybody,
        body: BodyRule::None,
        begin,
        // They are made without asking.
        render: |_, _| Response::empty(500),
        describe,
    }
}

/// Autodiscover in XML.
const fn pox(path: &'static str) -> Route {
    Route {
        method: "POST",
        body: BodyRule::Any(MAX_REQUEST),
        ..document(
            path,
            "Servers and ports, as Outlook asks for them (autodiscover v1).",
            autodiscover::answer_xml,
            autodiscover::describe_xml,
        )
    }
}

/// The address in a parameter, which has to be of a hosted domain.
fn hosted(request: &Request<'_>, path: &str, text: &str) -> Result<Address, Failure> {
    let address = Address::parse(text);
    let address =
        address.ok_or_else(|| Failure::field(path, "expected an address such as \"alice@example.com\""))?;
    if request.settings.setup.domains.contains(&address.domain) {
        Ok(address)
    } else {
        Err(Failure::new(
            404,
            "This server has no mail for the domain of the address",
        ))
    }
}

/// The hosted domain that the request's host names: itself, or behind this label; else the first.
fn domain_of_host(request: &Request<'_>, label: &str) -> Result<Domain, Failure> {
    let domains = &request.settings.setup.domains;
    let host = request.head.field("host").unwrap_or_default();
    // Without the port; an IPv6 address is no domain of ours.
    let host = host.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let name = host
        .strip_prefix(label)
        .and_then(|rest| rest.strip_prefix('.'))
        .unwrap_or(&host);
    let named = Domain::parse(name).filter(|name| domains.contains(name));
    named
        .or_else(|| domains.first().cloned())
        .ok_or_else(|| Failure::new(404, "This server has no domain"))
}

/// The description of a query's parameter that is an address. One that need not be there may be empty.
fn address_parameter(name: &str, required: bool) -> Value {
    let address = json!({"type": "string", "format": "email"});
    let schema = match required {
        true => address,
        false => json!({"anyOf": [address, {"const": ""}]}),
    };
    json!({
        "name": name, "in": "query", "required": required,
        "description": "An address of a hosted domain.",
        "schema": schema,
    })
}

/// The description of an answer that is a text of this media type.
fn text_response(media_type: &str, description: &str) -> Value {
    json!({"200": {"description": description, "content": {media_type: {"schema": {"type": "string"}}}}})
}

/// 404 where there is nothing to offer.
fn nothing_offered() -> Failure {
    Failure::new(404, "This server offers no mail to clients")
}

#[cfg(test)]
mod tests;
