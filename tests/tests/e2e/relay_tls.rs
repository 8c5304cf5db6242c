//! DANE between two servers: a DNS server that vouches for its answers, and the certificate that the other one has.

use rmail_tests::{Dns, Server, wait_for};
use serde_json::json;

use super::relay::{inbox, submit};

/// The octets of the first certificate of a PEM file.
fn certificate(pem: &str) -> Vec<u8> {
    let (_, rest) = pem
        .split_once("-----BEGIN CERTIFICATE-----")
        .expect("a certificate");
    let (text, _) = rest.split_once("-----END").expect("its end");
    let (mut octets, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for symbol in text.bytes() {
        let value = match symbol {
            b'A'..=b'Z' => symbol - b'A',
            b'a'..=b'z' => symbol - b'a' + 26,
            b'0'..=b'9' => symbol - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => continue,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            octets.push(u8::try_from((bits >> count) & 0xff).expect("an octet"));
        }
    }
    octets
}

/// A server that takes mail for `b.mx.test`, and one that sends: it believes this DNS server, which is on loopback.
fn pair(dirs: [&std::path::Path; 2], tlsa: impl FnOnce(Vec<u8>) -> Vec<u8>) -> (Server, Server) {
    let there = json!({"hostname": "host.test", "domains": ["here.test", "b.mx.test"]});
    let other = Server::start(dirs[0], there);
    let pem = std::fs::read_to_string(other.mail_root().join("tls/cert.pem")).expect("its certificate");
    let dns = Dns::signed(tlsa(certificate(&pem)));
    let relay = json!({"relay": {
        "dns_servers": [format!("127.0.0.1:{}", dns.port)], "port": other.port("/smtp/port"), "mta_sts": false,
    }});
    (other, Server::start(dirs[1], relay))
}

/// `3 0 0` and these octets.
fn record(certificate: &[u8]) -> Vec<u8> {
    [&[3, 0, 0], certificate].concat()
}

#[test]
fn a_server_that_dane_names_gets_the_mail_over_tls() {
    let [one, two] = [(), ()].map(|()| tempfile::tempdir().expect("directory"));
    let (other, server) = pair([one.path(), two.path()], |certificate| record(&certificate));
    submit(&server, &["postmaster@b.mx.test"], "by DANE");
    wait_for("the mail", || inbox(&other, "alice").contains("Subject: by DANE"));
    assert!(
        inbox(&other, "alice").contains("with ESMTPS"),
        "{}",
        inbox(&other, "alice")
    );
}

#[test]
fn a_server_that_dane_does_not_name_gets_nothing() {
    let [one, two] = [(), ()].map(|()| tempfile::tempdir().expect("directory"));
    let (other, server) = pair([one.path(), two.path()], |mut certificate| {
        certificate[100] ^= 1;
        record(&certificate)
    });
    submit(&server, &["postmaster@b.mx.test"], "not by DANE");
    wait_for("the refusal", || {
        server.log().contains("no TLSA record of the server matches")
    });
    assert!(server.log().contains("event=deferred"), "{}", server.log());
    assert!(!inbox(&other, "alice").contains("Subject: not by DANE"));
}
