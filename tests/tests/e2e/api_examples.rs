//! The examples of the README's chapter on the HTTP API, run as they stand there.

use std::process::Command;

use rmail_tests::{Server, find, find_optional, free_port, python_with, run};
use serde_json::json;

const README: &str = include_str!("../../../README.md");

/// The code behind this mark, with the address of a server in the place of the one that is written there.
fn example(mark: &str, server: &Server) -> String {
    let mark = format!("<!-- tested: {mark} -->\n```");
    let (_, rest) = README.split_once(&mark).expect("an example");
    let (_, code) = rest.split_once('\n').expect("its language");
    let (code, _) = code.split_once("```").expect("its end");
    let there = "https://mail.example.com:9003";
    assert!(code.contains(there), "{mark}");
    code.replace(
        there,
        &format!("http://127.0.0.1:{}", server.port("/exchange_api/port")),
    )
}

fn start(dir: &std::path::Path) -> Server {
    let extra = json!({
        "domains": ["example.com"],
        "exchange_api": { "host": "127.0.0.1", "port": free_port() },
    });
    Server::start_with_users(dir, extra, &[("alice@example.com", false)])
}

#[test]
fn the_examples_with_curl_work() {
    let (Some(_), Some(_)) = (find("curl"), find_optional("jq")) else {
        return;
    };
    let dir = tempfile::tempdir().expect("directory");
    let server = start(dir.path());
    let script = format!("set -eu -o pipefail\n{}", example("api.sh", &server));
    let said = run(Command::new("bash").args(["-c", &script]));
    assert!(said.starts_with("true\nSubject: Hello"), "{said}");
}

#[test]
fn the_examples_with_python_work() {
    let Some(python) = python_with("requests") else {
        return;
    };
    let dir = tempfile::tempdir().expect("directory");
    let server = start(dir.path());
    let said = run(Command::new(python).args(["-c", &example("api.py", &server)]));
    assert_eq!(said, "A picture dot.png 8\n$.name missing\n$.nme unknown field\n");
}
