//! What no key of `acme` shows alone.

use serde_json::Value;

use super::{Config, Problem};
use crate::acme::{self, ChallengeKind};
use crate::addr::Address;

/// What is asked of an authority, as far as it can be seen from here that it would come to nothing.
pub(super) fn check(config: &Config, out: &mut Vec<Problem>) {
    let acme = &config.acme;
    let names = (config.hostname.as_str(), acme.names.as_slice());
    if acme::url(&acme.directory).is_none() {
        let value = acme.directory.as_str().into();
        out.push(Problem::error(
            "acme.directory",
            &value,
            "expected a URL such as \"https://acme.example/directory\"",
        ));
    }
    if let Some(email) = &acme.email
        && Address::parse(email).is_none_or(|address| !address.to_string().is_ascii())
    {
        let value = email.as_str().into();
        out.push(Problem::error(
            "acme.email",
            &value,
            "expected an address such as \"it@example.com\" or null",
        ));
    }
    let given = acme.eab_hmac_key.as_ref().is_some_and(|key| !key.is_empty());
    match (&acme.eab_key_id, given) {
        (Some(_), false) => {
            let why = "acme.eab_key_id needs its key";
            out.push(Problem::error("acme.eab_hmac_key", &Value::Null, why));
        }
        (None, true) => {
            let why = "acme.eab_hmac_key needs its identifier";
            out.push(Problem::error("acme.eab_key_id", &Value::Null, why));
        }
        _ => {}
    }
    if !acme.enabled {
        return;
    }
    if !config.tls.enabled {
        let why = "expected false while tls.enabled is: nobody would see the certificate";
        out.push(Problem::error("acme.enabled", &Value::Bool(true), why));
    }
    if let Some(file) = &config.tls.cert_file {
        let why = "expected null while acme.enabled is true: there can be one certificate only";
        out.push(Problem::error("tls.cert_file", &file.as_str().into(), why));
    }
    if !acme.terms_agreed {
        let why = "expected true: read the authority's terms of service; without your agreement it gives no certificate";
        out.push(Problem::error("acme.terms_agreed", &Value::Bool(false), why));
    }
    if let (host, []) = names
        && !host.contains('.')
    {
        let why = "no authority gives a certificate for a name without a dot; set acme.names or hostname";
        out.push(Problem::warning("acme.names", &Value::Null, why));
    }
    let api = &config.exchange_api;
    let (key, port, usual, proxy) = match acme.challenge {
        ChallengeKind::Http01 => (
            "exchange_api.public_port",
            api.public_port,
            80,
            "forward /.well-known/acme-challenge/ to exchange_api.port",
        ),
        ChallengeKind::TlsAlpn01 => (
            "exchange_api.public_secure_port",
            api.public_secure_port,
            443,
            "hand connections for acme-tls/1 on to exchange_api.secure_port",
        ),
    };
    if port != Some(usual) {
        let why =
            format!("the authority connects to port {usual}; a proxy there has to {proxy} or to this port");
        out.push(Problem::warning(key, &port.into(), why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong, and what is worth a warning.
    fn problems(text: &str) -> (Vec<String>, Vec<String>) {
        let paths = |problems: Vec<Problem>| problems.into_iter().map(|problem| problem.path).collect();
        match Config::parse(text) {
            Ok((_, warnings)) => (Vec::new(), paths(warnings)),
            Err(problems) => (paths(problems), Vec::new()),
        }
    }

    #[test]
    fn an_authority_is_asked_for_nothing_that_it_would_not_give() {
        let good =
            r#"{"exchange_api": {"public_port": 80}, "acme": {"enabled": true, "terms_agreed": true}}"#;
        assert_eq!(problems(good), (vec![], vec![]));
        for (text, path) in [
            (r#"{"acme": {"enabled": true}}"#, "acme.terms_agreed"),
            (
                r#"{"acme": {"directory": "http://ca.test/dir"}}"#,
                "acme.directory",
            ),
            (r#"{"acme": {"email": "it"}}"#, "acme.email"),
            (r#"{"acme": {"eab_key_id": "kid-1"}}"#, "acme.eab_hmac_key"),
            (
                r#"{"acme": {"eab_hmac_key": {"file": "hmac"}}}"#,
                "acme.eab_key_id",
            ),
            (r#"{"acme": {"names": ["*.here.test"]}}"#, "acme.names[0]"),
            (
                r#"{"tls": {"enabled": false}, "acme": {"enabled": true, "terms_agreed": true}}"#,
                "acme.enabled",
            ),
            (
                r#"{"tls": {"cert_file": "a", "key_file": "b"}, "acme": {"enabled": true, "terms_agreed": true}}"#,
                "tls.cert_file",
            ),
        ] {
            let (wrong, _) = problems(text);
            assert!(wrong.iter().any(|wrong| wrong == path), "{text}: {wrong:?}");
        }
    }

    #[test]
    fn ports_that_no_authority_connects_to_are_worth_a_warning() {
        for (challenge, key) in [
            ("http-01", "exchange_api.public_port"),
            ("tls-alpn-01", "exchange_api.public_secure_port"),
        ] {
            let text = format!(
                r#"{{"acme": {{"enabled": true, "terms_agreed": true, "challenge": "{challenge}"}}}}"#
            );
            assert_eq!(problems(&text).1, [key]);
        }
    }
}
