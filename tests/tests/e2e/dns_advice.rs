//! `rmail dns`: what it says to publish is what it then finds good.

use std::process::Command;

use rmail_tests::{Server, ZoneServer, rmail};
use serde_json::{Value, json};

use crate::relay_dns::NameServer;

const ADDRESS: &str = "192.0.2.25";

fn server(dir: &std::path::Path, dns: u16) -> Server {
    let settings = json!({
        "domains": ["here.test", "second.test"],
        "relay": {"dns_servers": [format!("127.0.0.1:{dns}")], "enabled": false},
        "exchange_api": {"public_port": rmail_tests::free_port()},
    });
    Server::start(dir, settings)
}

/// The lines for the zones, with those that are commented out for being optional or elsewhere.
fn all_lines(server: &Server) -> String {
    let zone = server.rmail(&["dns", "--zone", "--address", ADDRESS], "");
    let line = |line: &str| match line.strip_prefix("; ") {
        Some(rest) if rest.contains(" IN ") => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    zone.lines().map(line).collect()
}

/// What `rmail dns --check --json` says, and whether it ends well.
fn check(server: &Server, more: &[&str]) -> (Value, bool) {
    let output = Command::new(rmail())
        .arg("--config")
        .arg(server.dir.join("config.json"))
        .args(["dns", "--check", "--json", "--address", ADDRESS])
        .args(more)
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text} {output:?}"));
    (value, output.status.success())
}

fn finding<'a>(report: &'a Value, id: &str, subject: &str) -> &'a Value {
    report["findings"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|finding| finding["id"] == id && finding["subject"] == subject)
        .unwrap_or_else(|| panic!("{id} of {subject}: {report:#}"))
}

#[test]
fn what_it_says_to_publish_passes_its_own_check_and_what_is_missing_does_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let names = ZoneServer::start();
    let server = server(dir.path(), names.port);
    let (empty, fine) = check(&server, &[]);
    assert!(!fine, "nothing is published");
    assert_eq!(finding(&empty, "dns.mx", "here.test")["state"], "failure");

    let lines = all_lines(&server);
    names.publish(&lines);
    let (report, fine) = check(&server, &[]);
    assert!(fine, "{report:#}");
    for count in ["failures", "warnings", "unknown"] {
        assert_eq!(report[count], 0, "{report:#}");
    }
    for one in report["findings"].as_array().expect("a list") {
        let nothing = one["records"].as_array().expect("a list").is_empty();
        // The name server here does not validate: what rests on that is a note.
        let note = nothing || one["id"] == "dns.tlsa";
        assert_eq!(one["state"], if note { "note" } else { "good" }, "{one:#}");
    }

    let without_mx: String = lines
        .lines()
        .filter(|line| !line.starts_with("second.test. ") || !line.contains(" MX "))
        .map(
            |line| match line.strip_suffix('0').filter(|_| line.contains(" TLSA ")) {
                Some(rest) => format!("{rest}1"),
                None if line.contains(" TLSA ") => format!("{}0", &line[..line.len() - 1]),
                None => line.to_owned(),
            },
        )
        .map(|line| line + "\n")
        .collect();
    names.publish(&without_mx);
    let (report, fine) = check(&server, &["second.test"]);
    assert!(!fine);
    let mx = finding(&report, "dns.mx", "second.test");
    assert_eq!((&mx["state"], &mx["seen"]), (&json!("failure"), &json!([])));
    assert_eq!(mx["records"][0]["data"], "10 mail.here.test.");
    let tlsa = finding(&report, "dns.tlsa", "mail.here.test");
    assert_eq!(tlsa["state"], "failure", "{tlsa:#}");
}

#[test]
fn a_name_server_of_others_takes_the_zone_as_it_is_printed() {
    let dir = tempfile::tempdir().expect("a directory");
    let dns = rmail_tests::free_port();
    let server = server(dir.path(), dns);
    let lines = server.rmail(&["dns", "here.test", "--zone", "--address", ADDRESS], "");
    let head = "$TTL 300\n@ IN SOA ns hostmaster 1 3600 600 86400 300\n@ IN NS ns\nns IN A 127.0.0.1\n";
    let Some(names) = NameServer::start(
        dir.path(),
        "here.test",
        &format!("$ORIGIN here.test.\n{head}{lines}"),
    ) else {
        return;
    };
    let mut config = server.config.clone();
    config["relay"]["dns_servers"] = json!([format!("127.0.0.1:{}", names.port)]);
    std::fs::write(dir.path().join("config.json"), config.to_string()).expect("written");
    let (report, _) = check(&server, &["here.test"]);
    assert_eq!(report["failures"], 0, "{report:#}");
    for one in report["findings"].as_array().expect("a list") {
        // The reverse zone is another, of which this name server knows nothing; what is optional was left out.
        let state = match (one["id"].as_str(), one["need"].as_str()) {
            (Some("dns.ptr"), _) => "unknown",
            (_, Some("optional" | "not yet")) => "note",
            _ => "good",
        };
        assert_eq!(one["state"], state, "{one:#}");
    }
}

#[test]
fn a_name_server_that_is_not_there_is_told_and_nothing_is_called_wrong() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = server(dir.path(), rmail_tests::free_port());
    let (report, fine) = check(&server, &["here.test"]);
    assert!(!fine);
    assert_eq!((&report["failures"], &report["warnings"]), (&json!(0), &json!(0)));
    assert_eq!(finding(&report, "dns.mx", "here.test")["state"], "unknown");
    let text = finding(&report, "dns.mx", "here.test")["text"].to_string();
    assert!(text.contains("relay.dns_servers"), "{text}");
}

#[test]
fn a_policy_that_nobody_serves_is_found_although_its_records_are_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let names = ZoneServer::start();
    let settings = json!({
        "relay": {"dns_servers": [format!("127.0.0.1:{}", names.port)], "enabled": false},
        "mta_sts": {"mode": "testing"},
    });
    let server = Server::start(dir.path(), settings);
    // Where the name leads nobody listens who has a certificate for it.
    let lines = all_lines(&server).replace(" CNAME mail.here.test.", " A 127.0.0.1");
    names.publish(&lines);
    let (report, fine) = check(&server, &[]);
    assert!(fine, "some mail is less safe, none is lost: {report:#}");
    assert_eq!(finding(&report, "dns.mta_sts", "here.test")["state"], "good");
    let policy = finding(&report, "dns.mta_sts_policy", "here.test");
    assert_eq!(policy["state"], "warning", "{policy:#}");
    let text = policy["text"].as_str().expect("text");
    assert!(text.contains("cannot be read"), "{text}");
}
