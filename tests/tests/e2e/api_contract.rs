//! The description of the API holds: schemathesis makes requests of it, good and bad ones, and compares the answers with it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use rmail_tests::{PATIENCE, Server, free_port, python_with, try_run};
use serde_json::{Value, json};

/// Seconds for which it may try things out. `RMAIL_CONTRACT_SECONDS` says otherwise.
const SECONDS: &str = "45";

/// Where its choices begin. `RMAIL_SEED` says otherwise; the server's clock and the bound of time still make runs differ.
const SEED: &str = "7";

/// Calls that it leaves out: a stream that never ends, and the end of the token that all the others need.
const LEFT_OUT: [&str; 2] = ["/events", "/auth/logout"];

#[test]
fn what_is_answered_is_as_it_is_described() {
    let Some(python) = python_with("schemathesis") else {
        return;
    };
    let dir = tempfile::tempdir().expect("directory");
    let extra = json!({ "exchange_api": { "host": "127.0.0.1", "port": free_port() } });
    let server = Server::start(dir.path(), extra);
    let port = server.port("/exchange_api/port");
    let clients = concat!(env!("CARGO_MANIFEST_DIR"), "/clients");
    let chosen = |key: &str, usual: &str| std::env::var(key).unwrap_or_else(|_| usual.to_owned());
    let (seconds, seed) = (
        chosen("RMAIL_CONTRACT_SECONDS", SECONDS),
        chosen("RMAIL_SEED", SEED),
    );
    let mut command = Command::new(python);
    command
        .current_dir(dir.path())
        .env("PYTHONPATH", clients)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("RMAIL_OWN_ADDRESS", "alice@here.test")
        .args([
            "-m",
            "schemathesis.cli",
            "--config-file",
            &format!("{clients}/contract.toml"),
        ])
        .args([
            "run",
            "--no-color",
            "--max-time",
            &seconds,
            "--max-examples",
            "15",
        ])
        .args([
            "--seed",
            &seed,
            "--generation-database",
            "none",
            "--request-timeout",
            "20",
            "--no-shrink",
        ])
        .args(["--header", &format!("Authorization: Bearer {}", login(port))]);
    for path in LEFT_OUT {
        command.args(["--exclude-path", path]);
    }
    let said = try_run(command.arg(format!("http://127.0.0.1:{port}/openapi.json")));
    // Before it fails: what the server logged of thousands of requests would hide what is wrong.
    drop(server);
    let said = said.unwrap_or_else(|said| panic!("{said}"));
    assert!(said.contains(" passed, ") && !said.contains('❌'), "{said}");
}

/// An administrator's token.
fn login(port: u16) -> String {
    let body = json!({ "username": "alice@here.test", "password": "secret" }).to_string();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("time-out");
    let length = body.len();
    let request = format!(
        "POST /auth/login HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    let given: Value = serde_json::from_str(body).expect("JSON");
    given["token"].as_str().expect("a token").to_owned()
}
