//! A certificate from an authority that speaks ACME: a small one of the tests', which looks at names for real.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use rmail_tests::acme::{Acme, Fault, shown};
use rmail_tests::{Server, free_port, rmail, wait_for};
use serde_json::{Value, json};

const NAME: &str = "mail.here.test";

/// What a server needs to ask an authority; both are told the ports at which names are looked at.
fn asking(dir: &Path, challenge: &str) -> (Acme, Value) {
    let (web, tls) = (free_port(), free_port());
    let acme = Acme::start(web, tls);
    fs::write(dir.join("root.pem"), acme.root()).expect("written");
    let config = json!({
        "exchange_api": {"host": "127.0.0.1", "public_port": web, "public_secure_port": tls},
        "acme": {"enabled": true, "terms_agreed": true, "directory": acme.directory(), "ca_file": "root.pem",
            "email": "it@here.test", "challenge": challenge},
    });
    (acme, config)
}

/// What the server shows at its port for IMAP, if it is good.
fn certificate(server: &Server, acme: &Acme) -> Option<Vec<u8>> {
    shown(server.port("/imap/imaps_port"), NAME, &acme.root()).ok()
}

fn status(server: &Server) -> Value {
    serde_json::from_str(&server.rmail(&["acme", "status", "--json"], "")).expect("JSON")
}

/// What a command that fails says.
fn fails(server: &Server, arguments: &[&str]) -> String {
    let config = server.dir.join("config.json");
    let output = Command::new(rmail())
        .arg("--config")
        .arg(config)
        .args(arguments)
        .output();
    let output = output.expect("it runs");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_server_gets_its_certificate_and_the_next_without_a_restart() {
    let dir = tempfile::tempdir().expect("directory");
    let (acme, config) = asking(dir.path(), "http-01");
    acme.fault("/new-account", Fault::BadNonce, 2);
    acme.fault("/new-order", Fault::Status(503), 1);
    acme.fault("/authz", Fault::Cut, 1);
    acme.fault("/finalize", Fault::AnswerCut, 1);
    let server = Server::start(dir.path(), config);
    wait_for("the certificate", || certificate(&server, &acme).is_some());
    assert_eq!(acme.given(), 1, "an answer that was lost is not asked for again");
    let there = status(&server);
    assert_eq!((&there["enabled"], &there["failures"]), (&json!(true), &json!(0)));
    assert_eq!(there["certificate"]["names"], json!([NAME]));
    let place = server.mail_root().join("tls/acme");
    for file in ["certificate.pem", "accounts.json", "state.json"] {
        let mode = fs::metadata(place.join(file))
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    assert!(!place.join("order.json").exists());
    assert_eq!(fs::read_dir(place.join("proofs")).expect("there").count(), 0);

    // Another process on the mail_root has it at once, and asks for none.
    let beside = tempfile::tempdir().expect("directory");
    let mut other = server.beside(beside.path());
    other.config["exchange_api"] = json!({"port": null, "secure_port": null});
    other.config["acme"]["ca_file"] = json!(dir.path().join("root.pem"));
    other.write_config();
    other.launch();
    assert_eq!(certificate(&other, &acme), certificate(&server, &acme));
    drop(other);

    assert!(server.rmail(&["acme", "renew"], "").contains("Nothing to do"));
    let before = certificate(&server, &acme);
    assert!(
        server
            .rmail(&["acme", "renew", "--dry-run"], "")
            .contains("would give")
    );
    assert_eq!(acme.given(), 1);
    server.rmail(&["acme", "renew", "--force"], "");
    wait_for("the next certificate", || {
        let now = certificate(&server, &acme);
        now.is_some() && now != before
    });
    assert_eq!(
        (acme.given(), acme.asked("/new-account")),
        (2, 3),
        "one account for all orders"
    );
    let log = server.log();
    assert!(
        log.contains("event=certificate names=[\"mail.here.test\"]"),
        "{log}"
    );
    assert!(!log.contains("PRIVATE KEY"));
}

#[test]
fn names_are_shown_to_be_ours_in_a_handshake() {
    let dir = tempfile::tempdir().expect("directory");
    let (acme, mut config) = asking(dir.path(), "tls-alpn-01");
    config["acme"]["names"] = json!([NAME, "here.test"]);
    let server = Server::start(dir.path(), config);
    wait_for("the certificate", || certificate(&server, &acme).is_some());
    assert!(shown(server.port("/imap/imaps_port"), "here.test", &acme.root()).is_ok());
    assert!(
        server.log().contains("event=proof_shown kind=tls-alpn-01"),
        "{}",
        server.log()
    );
    assert!(acme.asked("/chall") == 2, "one for each name");
}

#[test]
fn what_went_wrong_is_told_and_what_to_do_until_it_is_mended() {
    let dir = tempfile::tempdir().expect("directory");
    let (acme, config) = asking(dir.path(), "http-01");
    let web = config["exchange_api"]["public_port"].as_u64().expect("a port");
    // Somebody else is found at the name.
    acme.look_at(free_port());
    let server = Server::start(dir.path(), config);
    wait_for("the failure", || server.log().contains("event=no_certificate"));
    let there = status(&server);
    assert_eq!(
        (&there["failures"], &there["certificate"]),
        (&json!(1), &Value::Null)
    );
    let error = there["error"].as_str().expect("told");
    assert!(
        error.starts_with("mail.here.test could not be shown to be ours"),
        "{error}"
    );
    assert!(
        there["advice"].as_str().expect("told").contains("AAAA"),
        "{there}"
    );
    assert!(
        certificate(&server, &acme).is_none(),
        "the self-signed one serves"
    );

    acme.fault("/new-order", Fault::RateLimited(7_200), 1);
    let said = fails(&server, &["acme", "renew"]);
    assert!(
        said.contains("too many of you (rateLimited)") && said.contains("What to do: the authority counts"),
        "{said}"
    );
    let text = server.rmail(&["acme", "status"], "");
    assert!(text.contains("failed (2 in a row)"), "{text}");

    acme.look_at(u16::try_from(web).expect("a port"));
    let said = server.rmail(&["acme", "renew"], "");
    assert!(
        said.contains("There is a certificate for mail.here.test"),
        "{said}"
    );
    wait_for("the certificate", || certificate(&server, &acme).is_some());
    assert_eq!(status(&server)["failures"], json!(0));
}

#[test]
fn an_order_that_was_killed_goes_on_where_it_stood() {
    let dir = tempfile::tempdir().expect("directory");
    let (acme, config) = asking(dir.path(), "http-01");
    acme.fault("/authz", Fault::Hang, 1);
    let mut server = Server::start(dir.path(), config);
    for step in ["/authz", "/finalize", "/cert"] {
        wait_for("the step", || acme.asked(step) == 1);
        if step == "/cert" {
            let said = fails(&server, &["acme", "renew"]);
            assert!(said.contains("another process orders"), "{said}");
        }
        server.kill();
        match step {
            "/authz" => acme.fault("/finalize", Fault::Hang, 1),
            "/finalize" => acme.fault("/cert", Fault::Hang, 1),
            _ => {}
        }
        // What hung is done now, and nobody hears the answer.
        acme.let_go();
        server.launch();
    }
    wait_for("the certificate", || certificate(&server, &acme).is_some());
    assert_eq!(
        (acme.given(), acme.asked("/new-order"), acme.asked("/new-account")),
        (1, 1, 1)
    );
}

#[test]
fn what_is_of_no_use_is_not_asked_for_again() {
    const NONE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let dir = tempfile::tempdir().expect("directory");
    let (acme, config) = asking(dir.path(), "http-01");
    acme.fault("/finalize", Fault::Refused("badCSR"), 1);
    let server = Server::start(dir.path(), config);
    wait_for("the failure", || server.log().contains("event=no_certificate"));
    let order = server.mail_root().join("tls/acme/order.json");
    assert!(!order.exists(), "nothing comes of an order that was refused");

    acme.fault("/cert", Fault::Body(NONE), 1);
    let said = fails(&server, &["acme", "renew"]);
    assert!(said.contains("a certificate that cannot be used"), "{said}");
    assert!(!order.exists(), "the same would be given again");
    assert!(
        certificate(&server, &acme).is_none(),
        "the self-signed one serves"
    );
    let next = status(&server)["next_order"].clone();
    let now = rmail_core::text::rfc3339::print(rmail_core::time::Unix::from_secs(
        rmail_tests::now().secs() + 80_000,
    ));
    assert!(
        next.as_str().expect("a time") > now.as_str(),
        "a certificate was given: {next}"
    );

    // A key that was kept and is none any more, of an order or of the account.
    acme.fault("/cert", Fault::RateLimited(1), 1);
    fails(&server, &["acme", "renew"]);
    assert!(order.exists(), "it waits for better times");
    let spoil = |path: &Path| {
        let text = fs::read_to_string(path).expect("there");
        fs::write(path, text.replace("BEGIN PRIVATE KEY", "BEGIN NO KEY")).expect("written");
    };
    spoil(&order);
    spoil(&server.mail_root().join("tls/acme/accounts.json"));
    let said = server.rmail(&["acme", "renew"], "");
    assert!(said.contains("There is a certificate"), "{said}");
    wait_for("the certificate", || certificate(&server, &acme).is_some());
    assert_eq!(acme.asked("/new-account"), 2);
    assert_eq!(acme.asked("/new-order"), 4);
}

#[test]
fn a_server_that_ends_stops_its_order_and_goes_on_with_it_later() {
    let dir = tempfile::tempdir().expect("directory");
    let (acme, config) = asking(dir.path(), "http-01");
    acme.fault("/chall", Fault::Hang, 1);
    let mut server = Server::start(dir.path(), config);
    wait_for("the step", || acme.asked("/chall") == 1);
    let place = server.mail_root().join("tls/acme");
    let shown = |expected: usize| {
        let proofs = fs::read_dir(place.join("proofs")).expect("there");
        assert_eq!(proofs.count(), expected);
    };
    shown(1);
    server.signal("TERM");
    assert!(server.wait(), "{}", server.log());
    assert!(
        server.log().contains("event=stopped what=\"the order goes on"),
        "{}",
        server.log()
    );
    shown(0);
    assert!(place.join("order.json").exists());
    assert!(!place.join("state.json").exists(), "it has not failed");
    server.launch();
    wait_for("the certificate", || certificate(&server, &acme).is_some());
    acme.let_go();
    assert_eq!((acme.given(), acme.asked("/new-order")), (1, 1));
}

#[test]
fn an_account_is_bound_to_one_at_the_authoritys_web_site() {
    let dir = tempfile::tempdir().expect("directory");
    let (acme, mut config) = asking(dir.path(), "http-01");
    acme.bind("kid-1", &[0xfb; 32]);
    let mut server = Server::start(dir.path(), config.clone());
    wait_for("the failure", || server.log().contains("event=no_certificate"));
    let there = status(&server);
    let text = format!("{} {}", there["error"], there["advice"]);
    assert!(
        text.contains("external account binding") && text.contains("acme.eab_key_id"),
        "{text}"
    );

    // 32 times 0xfb, as authorities write it.
    let key = "-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_s";
    fs::write(dir.path().join("eab"), format!("{key}\n")).expect("written");
    config["acme"]["eab_key_id"] = json!("kid-1");
    config["acme"]["eab_hmac_key"] = json!({"file": "eab"});
    for name in ["eab_key_id", "eab_hmac_key"] {
        server.config["acme"][name] = config["acme"][name].clone();
    }
    server.write_config();
    assert!(
        server
            .rmail(&["acme", "renew"], "")
            .contains("There is a certificate")
    );
    wait_for("the certificate", || certificate(&server, &acme).is_some());
    // The key is shown nowhere.
    let shown = server.rmail(&["config", "show", "--json"], "");
    assert!(!format!("{shown}{}", server.log()).contains(key));

    fs::write(dir.path().join("eab"), "short\n").expect("written");
    let said = fails(&server, &["acme", "status"]);
    assert!(
        said.contains("acme.eab_hmac_key: expected the HMAC key"),
        "{said}"
    );
}
