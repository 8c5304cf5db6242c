//! Tokens of the API, over sockets: good in every process that shares the secret, also after a restart; and no forged one.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use rmail_core::auth::password::hmac;
use rmail_tests::{PATIENCE, Server, free_port};
use serde_json::{Value, json};

fn api() -> Value {
    json!({ "exchange_api": { "host": "127.0.0.1", "port": free_port() } })
}

/// Status and body of one request on a connection of its own.
fn ask(server: &Server, line: &str, fields: &str, body: &str) -> (u16, Value) {
    let mut stream =
        TcpStream::connect(("127.0.0.1", server.port("/exchange_api/port"))).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("time-out");
    let request = format!(
        "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{fields}\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status");
    (
        status.parse().expect("a number"),
        serde_json::from_str(body).unwrap_or_default(),
    )
}

fn login(server: &Server) -> String {
    let body = json!({ "username": "alice@here.test", "password": "secret" }).to_string();
    let (status, given) = ask(
        server,
        "POST /auth/login",
        "Content-Type: application/json\r\n",
        &body,
    );
    assert_eq!(status, 200, "{given}");
    given["token"].as_str().expect("a token").to_owned()
}

fn refresh(server: &Server, token: &str) -> u16 {
    let field = format!("Authorization: Bearer {token}\r\n");
    ask(server, "POST /auth/refresh", &field, "").0
}

#[test]
fn a_token_is_good_in_every_process_and_after_a_restart() {
    let (dir, other) = (
        tempfile::tempdir().expect("directory"),
        tempfile::tempdir().expect("directory"),
    );
    let mut first = Server::start(dir.path(), api());
    let mut second = first.beside(other.path());
    second.config["exchange_api"]["port"] = json!(free_port());
    second.write_config();
    second.launch();
    let token = login(&first);
    assert_eq!((refresh(&first, &token), refresh(&second, &token)), (200, 200));
    first.kill();
    first.launch();
    assert_eq!(refresh(&first, &token), 200);
    let mode = std::fs::metadata(first.mail_root().join("secrets/tokens")).expect("the secret");
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&mode) & 0o777, 0o600);
    // What one process ends, or an operator, is ended in the other at once.
    let field = format!("Authorization: Bearer {token}\r\n");
    assert_eq!(ask(&second, "POST /auth/logout", &field, "").0, 204);
    assert_eq!((refresh(&first, &token), refresh(&second, &token)), (401, 401));
    let token = login(&first);
    first.rmail(&["user", "disable", "alice@here.test"], "");
    assert_eq!((refresh(&first, &token), refresh(&second, &token)), (401, 401));
}

#[test]
fn no_forged_token_is_taken() {
    let dir = tempfile::tempdir().expect("directory");
    let secret = "0123456789abcdef".repeat(4);
    let mut extra = api();
    extra["exchange_api"]["token_secret"] = json!(secret);
    let server = Server::start(dir.path(), extra);
    let key: Vec<u8> = (0..64)
        .step_by(2)
        .map(|at| u8::from_str_radix(&secret[at..at + 2], 16).expect("hex"))
        .collect();
    let good = login(&server);
    assert_eq!(refresh(&server, &good), 200);
    let parts: Vec<&str> = good.split('.').collect();
    let claims: Value = serde_json::from_slice(&BASE64.decode(parts[1]).expect("base64")).expect("JSON");
    let sign = |key: &[u8], header: &str, claims: &str| {
        let signed = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
        format!("{signed}.{}", BASE64.encode(hmac(key, signed.as_bytes())))
    };
    let header = r#"{"alg":"HS256","typ":"JWT"}"#;
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut claims = claims.clone();
        change(&mut claims);
        sign(&key, header, &claims.to_string())
    };
    // The forger's tool is as good as ours.
    assert_eq!(refresh(&server, &changed(&|_| {})), 200);
    let own = claims.to_string();
    let none = BASE64.encode(r#"{"alg":"none"}"#);
    let nested = format!("{}{}", "[".repeat(1_500), "]".repeat(1_500));
    let forged = [
        format!("{none}.{}.", parts[1]),
        format!("{none}.{}.{}", parts[1], parts[2]),
        sign(&key, r#"{"alg":"none"}"#, &own),
        sign(&key, r#"{"alg":"HS512","typ":"JWT"}"#, &own),
        sign(&key, r#"{"alg":"RS256","typ":"JWT"}"#, &own),
        sign(&key, r#"{"alg":"HS256","crit":["x"],"x":1}"#, &own),
        sign(&key, r#"{"alg":"HS256","cty":"JWT"}"#, &format!("\"{good}\"")),
        sign(b"another secret", header, &own),
        sign(b"", header, &own),
        sign(secret.as_bytes(), header, &own),
        changed(&|claims| claims["exp"] = json!(1_000_000_000)),
        changed(&|claims| drop(claims.as_object_mut().map(|claims| claims.remove("exp")))),
        changed(&|claims| claims["exp"] = json!("2100-01-01")),
        changed(&|claims| claims["exp"] = json!(1e300)),
        changed(&|claims| claims["iat"] = json!(4_000_000_000_u64)),
        changed(&|claims| claims["nbf"] = json!(4_000_000_000_u64)),
        changed(&|claims| claims["sub"] = json!("bob@here.test")),
        changed(&|claims| claims["sub"] = json!("nobody@here.test")),
        changed(&|claims| claims["sub"] = json!(["alice@here.test"])),
        changed(&|claims| claims["scope"] = json!("admin")),
        changed(&|claims| claims["tok"] = json!(1)),
        changed(&|claims| claims["sec"] = json!("0000000000000000")),
        changed(&|claims| claims["admin"] = json!(true)),
        sign(&key, header, &nested),
        sign(&key, header, &own.replacen('{', r#"{"sub":"bob@here.test","#, 1)),
        "A".repeat(9_000),
        String::new(),
        "..".to_owned(),
        format!("{good}="),
        format!("{}.{}.{}", parts[0], parts[1], &parts[2][..40]),
    ];
    for token in &forged {
        assert_eq!(refresh(&server, token), 401, "{token:.200}");
    }
    assert_eq!(refresh(&server, &good), 200);
    assert!(
        !server.log().contains(&good) && !server.log().contains(parts[2]),
        "no token in the log"
    );
}
