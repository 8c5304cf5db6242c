//! Mail is sent over HTTP, and administrators see to users, aliases and the queue there, on the built program.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use rmail_tests::{Server, Sink, Wire, free_port, wait_for};
use serde_json::{Value, json};

/// Asks on a connection of its own: status and body.
fn call(server: &Server, token: &str, request: &str, fields: &str, body: &str) -> (u16, Value) {
    let port = server.port("/exchange_api/port");
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("connects");
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a time-out");
    let head = format!(
        "{request} HTTP/1.1\r\nHost: here.test\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n{fields}\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("written");
    stream.write_all(body.as_bytes()).expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let value = match body {
        "" => Value::Null,
        body => serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}")),
    };
    (status.expect("a status"), value)
}

/// The API answers, and mail for elsewhere goes to a port of loopback.
fn config(port: u16) -> Value {
    json!({
        "exchange_api": {"host": "127.0.0.1", "port": free_port()},
        "relay": {"routes": {"*": {"host": "127.0.0.1", "port": port, "tls": "none"}}},
    })
}

const JSON: &str = "Content-Type: application/json\r\n";

fn token(server: &Server, user: &str, password: &str) -> String {
    let body = json!({ "username": format!("{user}@here.test"), "password": password }).to_string();
    let (status, answer) = call(server, "x", "POST /auth/login", JSON, &body);
    assert_eq!(status, 200, "{answer}");
    answer["token"].as_str().expect("a token").to_owned()
}

fn inbox(server: &Server, user: &str, folder: &str) -> String {
    let (mut wire, _) = Wire::connect(server.port("/imap/port"));
    assert!(
        wire.imap(&format!("LOGIN {user}@here.test secret"))
            .contains("t OK")
    );
    wire.imap(&format!("SELECT {folder}")) + &wire.imap("FETCH 1:* (FLAGS BODY.PEEK[])")
}

/// The log has where a message came in, once, and where it went.
fn is_followed_by_its_id(server: &Server, id: &str) {
    wait_for("the end of the message", || {
        server
            .log()
            .lines()
            .any(|line| line.contains(" event=done ") && line.contains(id))
    });
    let log = server.log();
    let named = |event: &str| -> Vec<&str> {
        let event = format!(" event={event} ");
        let lines = log.lines();
        lines
            .filter(|line| line.contains(&event) && line.contains(id))
            .collect()
    };
    let accepted = named("accepted");
    let [line] = accepted[..] else {
        panic!("{accepted:?}")
    };
    assert!(
        line.contains(" http conn=") && line.contains(" recipients=2 "),
        "{line}"
    );
    for event in ["delivered", "queued", "sent"] {
        assert_eq!(named(event).len(), 1, "{event}: {log}");
    }
    let (_, rest) = line.split_once(" http ").expect("the target");
    let connection = rest.split(" event=").next().expect("a connection");
    let log_file = server.dir.join("log").display().to_string();
    let trace = server.rmail(&["trace", id, "--log", &log_file], "");
    assert!(
        trace.contains(&format!("{connection} event=connected")),
        "{trace}"
    );
}

#[test]
fn a_message_with_an_attachment_reaches_all_it_is_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let port = free_port();
    let sink = Sink::start(port);
    let server = Server::start(dir.path(), config(port));
    let token = token(&server, "alice", "secret");
    let message = json!({
        "to": ["Bob <bob@here.test>", "x@away.test"], "bcc": "nobody@here.test", "subject": "Grüße", "text": "Hallo\n",
        "html": "<p>Hallo <img src=\"cid:logo\"></p>",
        "attachments": [
            { "filename": "ü.txt", "content_type": "text/plain", "content": "SGVsbG8K" },
            { "content_type": "image/png", "content_id": "logo", "content": "iVBORw==" },
        ],
    });
    let fields = format!("{JSON}Idempotency-Key: one\r\n");
    let (status, sent) = call(&server, &token, "POST /send", &fields, &message.to_string());
    assert_eq!(status, 200, "{sent}");
    assert_eq!(
        (&sent["sent"], &sent["queued"]),
        (&json!(["bob@here.test"]), &json!(["x@away.test"]))
    );
    assert_eq!(sent["failed"][0]["recipient"], "nobody@here.test");
    let got = inbox(&server, "bob", "INBOX");
    for part in [
        "Subject: =?UTF-8?",
        "multipart/mixed",
        "multipart/related",
        "filename*=UTF-8''%C3%BC.txt",
        "Content-ID: <logo>",
        "with HTTP",
    ] {
        assert!(got.contains(part), "{part}: {got}");
    }
    assert!(!got.contains("nobody@here.test"));
    let copy = inbox(&server, "alice", "Sent");
    assert!(
        copy.contains("\\Seen") && copy.contains("Bcc: nobody@here.test"),
        "{copy}"
    );
    wait_for("the message elsewhere", || sink.mails().len() == 1);
    // The same again is not done again.
    let (_, again) = call(&server, &token, "POST /send", &fields, &message.to_string());
    assert_eq!(again, sent);
    is_followed_by_its_id(&server, sent["id"].as_str().expect("an id"));
    assert_eq!(
        call(
            &server,
            &token,
            "POST /send",
            &fields,
            r#"{"to":"bob@here.test"}"#
        )
        .0,
        422
    );
    assert!(inbox(&server, "bob", "INBOX").contains("* 1 EXISTS"));

    // A whole message.
    let raw = "To: bob@here.test\r\nSubject: raw\r\n\r\nraw text\r\n";
    let fields = "Content-Type: message/rfc822\r\n";
    let (status, sent) = call(&server, &token, "POST /send?save_to_sent=false", fields, raw);
    assert_eq!(
        (status, &sent["sent"], &sent["saved"]),
        (200, &json!(["bob@here.test"]), &Value::Null)
    );
    assert!(inbox(&server, "bob", "INBOX").contains("raw text"));
    let forged = "From: bob@here.test\r\nTo: bob@here.test\r\n\r\n";
    assert_eq!(call(&server, &token, "POST /send", fields, forged).0, 403);
    assert_eq!(call(&server, "x", "POST /send", fields, raw).0, 401);
    let (status, wrong) = call(
        &server,
        &token,
        "POST /send",
        JSON,
        r#"{"to":["bob"],"subjet":"x"}"#,
    );
    assert_eq!(
        (status, wrong["details"].as_array().map(Vec::len)),
        (400, Some(2)),
        "{wrong}"
    );
}

#[test]
fn administrators_see_to_users_aliases_and_the_queue() {
    let dir = tempfile::tempdir().expect("a directory");
    // Nobody listens there.
    let port = free_port();
    let server = Server::start(dir.path(), config(port));
    let admin = token(&server, "alice", "secret");
    let bob = token(&server, "bob", "secret");
    let ask = |request: &str, body: &str| call(&server, &admin, request, JSON, body);
    assert_eq!(call(&server, &bob, "GET /users", "", "").0, 403);

    let (status, dan) = ask(
        "POST /users",
        r#"{"username":"dan","domain":"here.test","password":"secret"}"#,
    );
    assert_eq!(
        (status, dan["address"].as_str()),
        (201, Some("dan@here.test")),
        "{dan}"
    );
    let (_, list) = ask("GET /users", "");
    assert_eq!(list["total"], 3);
    let dan_token = token(&server, "dan", "secret");
    assert_eq!(ask("PATCH /users/dan@here.test", r#"{"enabled":false}"#).0, 200);
    assert_eq!(
        call(
            &server,
            &dan_token,
            "POST /send",
            JSON,
            r#"{"to":"bob@here.test"}"#
        )
        .0,
        401
    );
    assert_eq!(ask("DELETE /users/alice@here.test", "").0, 409);
    assert_eq!(ask("DELETE /users/dan@here.test", "").0, 204);

    assert_eq!(
        ask(
            "POST /aliases",
            r#"{"alias":"team@here.test","targets":["alice","bob"]}"#
        )
        .0,
        201
    );
    let (_, told) = ask("POST /aliases/test", r#"{"address":"team@here.test"}"#);
    assert_eq!(told["accepted"], true);
    let (status, sent) = call(
        &server,
        &bob,
        "POST /send",
        JSON,
        r#"{"to":["team@here.test","x@away.test"],"text":"x"}"#,
    );
    assert_eq!(
        (status, &sent["sent"]),
        (200, &json!(["team@here.test"])),
        "{sent}"
    );
    assert_eq!(ask("DELETE /aliases/team@here.test", "").0, 204);
    assert_eq!(ask("GET /aliases/team@here.test", "").0, 404);

    let id = sent["id"].as_str().expect("an id");
    let (_, queue) = ask("GET /queue", "");
    assert_eq!(queue["entries"][0]["id"], id, "{queue}");
    assert_eq!(ask(&format!("POST /queue/{id}/hold"), "").0, 202);
    wait_for("the message is held", || {
        ask(&format!("GET /queue/{id}"), "").1["entry"]["held"] == true
    });
    assert_eq!(ask(&format!("POST /queue/{id}/retry"), "").0, 409);
    assert_eq!(ask(&format!("DELETE /queue/{id}"), "").0, 202);
    wait_for("the message has left the queue", || {
        ask("GET /queue", "").1["total"] == 0
    });
    let (_, story) = ask(&format!("GET /queue/{id}"), "");
    assert!(
        story["entry"].is_null() && story["history"].as_array().is_some_and(|all| all.len() > 2),
        "{story}"
    );
    let (status, stats) = ask("GET /stats", "");
    assert_eq!(
        (status, &stats["users"]["total"], &stats["queue"]["servers"]),
        (200, &json!(2), &json!(1)),
        "{stats}"
    );
}
