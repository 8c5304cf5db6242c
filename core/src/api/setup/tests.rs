use std::sync::Arc;

use super::*;
use crate::api::{Settings, route};
use crate::http::{Body, Head};
use crate::relay::tls::policy::{Mode, Policy};

fn setup() -> Setup {
    Setup {
        hostname: "mail.example.com".to_owned(),
        domains: ["example.com", "example.org"]
            .map(|name| Domain::parse(name).expect("a domain"))
            .to_vec(),
        tls: true,
        ports: Ports {
            imap: Some(143),
            imaps: Some(993),
            submission: Some(587),
            smtps: Some(465),
            http: Some(80),
            https: Some(443),
        },
        mta_sts: None,
    }
}

/// Status, type and body.
fn ask(setup: &Setup, method: &str, target: &str, host: &str, body: &str) -> (u16, String, String) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let head = Head {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        fields: vec![("host".to_owned(), host.as_bytes().to_vec())],
        old: false,
    };
    let (found, parameters) = route::find(&head, true).expect("a route");
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let query: Vec<(String, String)> = pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let settings = Settings {
        setup: Arc::new(setup.clone()),
        ..Settings::default()
    };
    let request = Request {
        parameters: &parameters,
        query: &query,
        body: body.as_bytes(),
        secure: true,
        ..Request::of(&head, &settings)
    };
    let response = match (found.route.begin)(&request) {
        Ok(Next::Respond(response)) => response,
        Ok(Next::Ask(ask)) => panic!("nothing is asked: {ask:?}"),
        Err(failure) => failure.response(),
    };
    let media_type = response.fields.iter().find(|(name, _)| *name == "Content-Type");
    let media_type = media_type.map(|(_, value)| value.clone()).unwrap_or_default();
    let Body::Bytes(body) = response.body else {
        panic!("octets")
    };
    (
        response.status,
        media_type,
        String::from_utf8(body).expect("text"),
    )
}

fn get(setup: &Setup, target: &str, host: &str) -> (u16, String, String) {
    ask(setup, "GET", target, host, "")
}

const WELL_KNOWN: &str = "/.well-known/autoconfig/mail/config-v1.1.xml";

#[test]
fn autoconfig_offers_what_listens_best_first() {
    let (status, media_type, body) = get(&setup(), WELL_KNOWN, "example.com");
    assert_eq!((status, media_type.as_str()), (200, "text/xml; charset=utf-8"));
    let order: Vec<usize> = [
        "<port>993</port>",
        "<port>143</port>",
        "<port>465</port>",
        "<port>587</port>",
    ]
    .iter()
    .map(|port| body.find(port).expect("offered"))
    .collect();
    assert!(order.is_sorted(), "{body}");
    assert_eq!(body.matches("<socketType>SSL</socketType>").count(), 2);
    assert_eq!(body.matches("<socketType>STARTTLS</socketType>").count(), 2);
    assert_eq!(body.matches("<hostname>mail.example.com</hostname>").count(), 4);
    assert_eq!(body.matches("<username>%EMAILADDRESS%</username>").count(), 4);
}

#[test]
fn autoconfig_knows_the_domain_by_address_and_host() {
    let domain = |target: &str, host: &str| {
        let (status, _, body) = get(&setup(), target, host);
        assert_eq!(status, 200, "{target} {host}");
        let at = body.find("<domain>").expect("a domain") + "<domain>".len();
        body[at..].split('<').next().unwrap_or_default().to_owned()
    };
    assert_eq!(domain(WELL_KNOWN, "Example.ORG:8080"), "example.org");
    assert_eq!(
        domain("/mail/config-v1.1.xml", "autoconfig.example.org"),
        "example.org"
    );
    assert_eq!(domain("/mail/config-v1.1.xml", "[::1]:9002"), "example.com");
    let asked = "/mail/config-v1.1.xml?emailaddress=bob@example.org";
    assert_eq!(domain(asked, "autoconfig.example.com"), "example.org");
    assert_eq!(
        get(
            &setup(),
            "/mail/config-v1.1.xml?emailaddress=bob@example.net",
            "x"
        )
        .0,
        404
    );
    assert_eq!(
        get(&setup(), "/mail/config-v1.1.xml?emailaddress=bob", "x").0,
        400
    );
}

#[test]
fn nothing_is_offered_that_is_off() {
    let mut setup = setup();
    setup.tls = false;
    let (_, _, body) = get(&setup, WELL_KNOWN, "example.com");
    assert_eq!(
        body.matches("<socketType>plain</socketType>").count(),
        2,
        "{body}"
    );
    assert!(
        !body.contains("993") && !body.contains("465"),
        "no TLS, no ports of TLS: {body}"
    );
    setup.ports = Ports::default();
    assert_eq!(get(&setup, WELL_KNOWN, "example.com").0, 404);
    let profile = "/profile.mobileconfig?email=alice@example.com";
    assert_eq!(get(&setup, profile, "example.com").0, 404);
    setup.domains.clear();
    assert_eq!(get(&setup, WELL_KNOWN, "example.com").0, 404);
}

fn request(email: &str, schema: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\
         <Autodiscover xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006\">\
         <Request><EMailAddress>{email}</EMailAddress>\
         <AcceptableResponseSchema>http://schemas.microsoft.com/exchange/autodiscover/{schema}</AcceptableResponseSchema>\
         </Request></Autodiscover>"
    )
}

const OUTLOOK: &str = "outlook/responseschema/2006a";

#[test]
fn autodiscover_answers_outlook_in_both_spellings() {
    for path in ["/autodiscover/autodiscover.xml", "/Autodiscover/Autodiscover.xml"] {
        let body = request("a&amp;b@example.com", OUTLOOK);
        let (status, media_type, body) = ask(&setup(), "POST", path, "x", &body);
        assert_eq!(
            (status, media_type.as_str()),
            (200, "text/xml; charset=utf-8"),
            "{body}"
        );
        let leaves = read_xml::leaves(body.as_bytes()).expect("XML");
        let all = |name: &str| {
            let path = format!("Autodiscover/Response/Account/Protocol/{name}");
            let named = leaves.iter().filter(|leaf| leaf.path == path);
            named.map(|leaf| leaf.text.clone()).collect::<Vec<_>>()
        };
        assert_eq!(all("Type"), ["IMAP", "SMTP"]);
        assert_eq!(all("Port"), ["993", "465"]);
        assert_eq!(all("SSL"), ["on", "on"]);
        assert_eq!(all("LoginName"), ["a&b@example.com", "a&b@example.com"]);
    }
    let mut setup = setup();
    (setup.ports.imaps, setup.ports.smtps) = (None, None);
    let body = request("alice@example.com", OUTLOOK);
    let (_, _, body) = ask(&setup, "POST", "/autodiscover/autodiscover.xml", "x", &body);
    assert_eq!(body.matches("<Encryption>TLS</Encryption>").count(), 2, "{body}");
}

#[test]
fn autodiscover_says_why_there_is_nothing() {
    let code = |body: &str| {
        let (status, _, body) = ask(&setup(), "POST", "/autodiscover/autodiscover.xml", "x", body);
        let at = body.find("<ErrorCode>").map(|at| at + "<ErrorCode>".len());
        (status, at.and_then(|at| body.get(at..at + 3).map(str::to_owned)))
    };
    let error = |code: &str| (200, Some(code.to_owned()));
    assert_eq!(code(&request("alice@example.net", OUTLOOK)), error("500"));
    assert_eq!(code(&request("alice", OUTLOOK)), error("500"));
    assert_eq!(
        code(&request("alice@example.com", "mobilesync/responseschema/2006")),
        error("601")
    );
    assert_eq!(code("<Autodiscover/>"), error("600"));
    let bomb = "<!DOCTYPE a [<!ENTITY b \"c\"><!ENTITY d \"&b;&b;\">]><Autodiscover>&d;</Autodiscover>";
    for bad in ["", "alice@example.com", bomb, "{\"Request\":{}}"] {
        assert_eq!(code(bad), (400, None), "{bad}");
    }
}

#[test]
fn autodiscover_in_json_says_where_the_xml_is() {
    let target = "/autodiscover/autodiscover.json?Email=alice@example.com&Protocol=AutodiscoverV1";
    let expected =
        r#"{"Protocol":"AutodiscoverV1","Url":"https://mail.example.com/autodiscover/autodiscover.xml"}"#;
    assert_eq!(get(&setup(), target, "x").2, expected);
    for other in [
        "/Autodiscover/Autodiscover.json?email=alice@example.com&protocol=autodiscoverv1",
        "/autodiscover/autodiscover.json/v1.0/alice@example.com?Protocol=AutodiscoverV1",
    ] {
        assert_eq!(get(&setup(), other, "x").2, expected, "{other}");
    }
    let mut elsewhere = setup();
    elsewhere.ports.https = Some(9003);
    assert!(
        get(&elsewhere, target, "x")
            .2
            .contains("https://mail.example.com:9003/")
    );
    elsewhere.tls = false;
    assert!(
        get(&elsewhere, target, "x")
            .2
            .contains("http://mail.example.com/")
    );
    for (bad, status, word) in [
        (
            "?Email=alice@example.com&Protocol=ActiveSync",
            400,
            "ProtocolNotSupported",
        ),
        ("?Email=alice@example.com", 400, "MandatoryParameterMissing"),
        ("?Email=alice&Protocol=AutodiscoverV1", 400, "query.Email"),
        ("?Protocol=AutodiscoverV1", 400, "query.Email"),
        ("?Email=alice@example.net&Protocol=AutodiscoverV1", 404, "domain"),
    ] {
        let (given, _, body) = get(&setup(), &format!("/autodiscover/autodiscover.json{bad}"), "x");
        assert_eq!(given, status, "{bad}");
        assert!(body.contains(word) && body.contains("\"error\""), "{bad}: {body}");
    }
}

#[test]
fn a_profile_sets_up_both_ways() {
    let target = "/profile.mobileconfig?email=o'b<i>@example.com";
    assert_eq!(get(&setup(), target, "x").0, 400, "no address");
    let target = "/profile.mobileconfig?email=o'b&email=x";
    assert_eq!(get(&setup(), target, "x").0, 400);
    let (status, media_type, body) = get(&setup(), "/profile.mobileconfig?email=o'brien@example.com", "x");
    assert_eq!(
        (status, media_type.as_str()),
        (200, "application/x-apple-aspen-config")
    );
    assert_eq!(body.matches("o&apos;brien@example.com").count(), 6, "{body}");
    let flat: String = body.split('\n').map(str::trim).collect();
    for part in [
        "<key>IncomingMailServerPortNumber</key><integer>993</integer>",
        "<key>OutgoingMailServerPortNumber</key><integer>465</integer>",
        "<key>IncomingMailServerUseSSL</key><true/>",
        "<key>OutgoingMailServerUseSSL</key><true/>",
        "<key>PayloadType</key><string>com.apple.mail.managed</string>",
        "<key>PayloadType</key><string>Configuration</string>",
        "<key>PayloadIdentifier</key><string>com.example.mail.",
    ] {
        assert!(flat.contains(part), "{part}: {flat}");
    }
    assert_eq!(
        get(&setup(), "/profile.mobileconfig?email=o'brien@example.com", "y").2,
        body,
        "stable"
    );
}

/// RFC 8461 §3.2 has this policy as its example, but for the order.
#[test]
fn a_policy_is_told_when_there_is_one() {
    let mut setup = setup();
    assert_eq!(
        get(&setup, "/.well-known/mta-sts.txt", "mta-sts.example.com").0,
        404
    );
    setup.mta_sts = Some(Policy {
        mode: Mode::Enforce,
        mx: ["mail.example.com", "*.example.net", "backupmx.example.com"]
            .map(str::to_owned)
            .to_vec(),
        max_age: 604_800,
    });
    let (status, media_type, body) = get(&setup, "/.well-known/mta-sts.txt", "mta-sts.example.com");
    assert_eq!((status, media_type.as_str()), (200, "text/plain; charset=utf-8"));
    assert_eq!(
        body,
        "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\n\
         mx: backupmx.example.com\r\nmax_age: 604800\r\n"
    );
    assert_eq!(
        Policy::parse(body.as_bytes()).ok(),
        setup.mta_sts,
        "what we say is what we read"
    );
}
