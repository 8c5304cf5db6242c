//! A running server takes changes of its configuration: upon SIGHUP, and when it sees that the files have changed.

use std::fs;

use rmail_tests::{Server, Wire, wait_for};
use serde_json::json;

/// Writes the server's configuration as careful editors do: into another file that takes its place.
fn replace(server: &Server) {
    let other = server.dir.join("config.json.new");
    fs::write(&other, server.config.to_string()).expect("written");
    fs::rename(other, server.dir.join("config.json")).expect("renamed");
}

fn greeting(server: &Server) -> String {
    Wire::connect(server.port("/smtp/port")).1
}

fn count(server: &Server, event: &str) -> usize {
    server.log().matches(event).count()
}

#[test]
fn changed_files_are_taken_without_a_signal_and_broken_ones_are_not() {
    let dir = tempfile::tempdir().expect("directory");
    fs::write(dir.path().join("secret"), "first").expect("written");
    let relay = json!({"smarthost": "127.0.0.1", "smarthost_username": "u", "smarthost_password": {"file": "secret"}});
    let mut server = Server::start(dir.path(), json!({"relay": relay}));

    server.config["hostname"] = json!("new.here.test");
    server.config["shutdown_grace"] = json!(1);
    replace(&server);
    wait_for("the new name in the greeting", || {
        greeting(&server).starts_with("220 new.here.test ")
    });
    let log = server.log();
    for event in [
        "event=files_changed",
        r#"event=config_changed key=hostname from="\"mail.here.test\"" to="\"new.here.test\"""#,
        r#"event=config_changed key=shutdown_grace from="30" to="1""#,
    ] {
        assert!(log.contains(event), "{event} is missing in:\n{log}");
    }

    // What is wrong is told once, all of it, and changes nothing.
    server.config["hostname"] = json!("newer.here.test");
    server.config["smtp"]["prot"] = json!(25);
    server.config["log_level"] = json!("info");
    replace(&server);
    wait_for("the reasons in the log", || {
        server.log().contains("did you mean `smtp.port`?")
    });
    let kept = "kept the running configuration: ";
    assert!(
        server.log().contains(&format!("{kept}log_level: \"info\"")),
        "{}",
        server.log()
    );
    assert_eq!(count(&server, kept), 2);
    assert!(greeting(&server).starts_with("220 new.here.test "));

    // A secret's file is looked at too, and a port has to wait for the next start.
    server.config["hostname"] = json!("new.here.test");
    server.config["log_level"] = json!("DEBUG");
    let smtp = server.config["smtp"].as_object_mut().expect("an object");
    smtp.remove("prot");
    let before = smtp.insert("smtps_port".into(), json!(0)).expect("a port");
    replace(&server);
    let restart = format!("event=restart_needed key=smtp.smtps_port running=\"{before}\" file=\"0\"");
    wait_for("the key that needs a restart", || server.log().contains(&restart));
    assert_eq!(count(&server, kept), 2, "told once: {}", server.log());
    fs::write(server.dir.join("secret"), "second").expect("written");
    wait_for("the new secret", || {
        server
            .log()
            .contains("event=secret_changed key=relay.smarthost_password")
    });
    assert!(!server.log().contains("second"), "secrets are not logged");

    // It is told as long as it is so, and that nothing else has changed.
    server.config["smtp"]["smtps_port"] = before;
    replace(&server);
    wait_for("what is as it was", || {
        server.log().contains("event=config_unchanged")
    });
    let unchanged = count(&server, "event=config_unchanged");
    server.signal("HUP");
    wait_for("a reload upon the signal", || {
        count(&server, "event=config_unchanged") > unchanged
    });
    server.signal("TERM");
    assert!(server.wait(), "it ends well");
}
