//! Connections of the HTTP API, over sockets.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use rmail_tests::{Server, find, free_port, run, wait_for};
use serde_json::{Value, json};

/// For an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A client that keeps its connection.
struct Http(BufReader<TcpStream>);

impl Http {
    fn connect(server: &Server) -> Self {
        let stream =
            TcpStream::connect(("127.0.0.1", server.port("/exchange_api/port"))).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("time-out");
        Self(BufReader::new(stream))
    }

    fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).expect("it reads");
    }

    /// Head and body of the next answer; the body has a Content-Length.
    fn answer(&mut self) -> (String, String) {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = self.0.read_line(&mut head).expect("an answer in time");
            assert!(read > 0, "closed behind {head:?}");
        }
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .map_or(0, |length| length.parse().expect("a length"));
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).expect("the body");
        (head, String::from_utf8(body).expect("text"))
    }

    /// Whether the server has closed.
    fn is_over(&mut self) -> bool {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).is_ok_and(|_| rest.is_empty())
    }
}

const HEALTH: &str = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn server(dir: &std::path::Path, api: Value) -> Server {
    let mut config = json!({"exchange_api": {"port": free_port()}});
    for (key, value) in api.as_object().into_iter().flatten() {
        config["exchange_api"][key] = value.clone();
    }
    Server::start(dir, config)
}

#[test]
fn many_requests_share_a_connection() {
    let dir = tempfile::tempdir().expect("directory");
    let server = server(dir.path(), json!({}));
    let mut http = Http::connect(&server);
    for pipelined in [1, 2, 50, 500] {
        http.send(&HEALTH.repeat(pipelined));
        for _ in 0..pipelined {
            let (head, body) = http.answer();
            assert!(
                head.starts_with("HTTP/1.1 200 OK\r\n") && body.contains("up"),
                "{head}{body}"
            );
        }
    }
    http.send("GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(http.answer().0.contains("\r\nConnection: close\r\n"));
    assert!(http.is_over());
}

#[test]
fn curl_keeps_its_connection_also_over_tls() {
    let Some(curl) = find("curl") else { return };
    let dir = tempfile::tempdir().expect("directory");
    let secure = free_port();
    let server = server(dir.path(), json!({"secure_port": secure}));
    for url in [
        format!("http://127.0.0.1:{}/health", server.port("/exchange_api/port")),
        format!("https://127.0.0.1:{secure}/health"),
    ] {
        let format = "%{http_code} %{http_version} %{num_connects}\n";
        let told = run(Command::new(&curl)
            .args([
                "-sk",
                "-m",
                "20",
                "-w",
                format,
                "-o",
                "/dev/null",
                "-o",
                "/dev/null",
            ])
            .args([&url, &url]));
        assert_eq!(told, "200 1.1 1\n200 1.1 0\n", "{url}");
    }
}

#[test]
fn whoever_finds_no_room_is_told() {
    let dir = tempfile::tempdir().expect("directory");
    let server = server(dir.path(), json!({"max_connections": 2}));
    let mut inside: Vec<Http> = Vec::new();
    wait_for("two places", || {
        let mut http = Http::connect(&server);
        http.send(HEALTH);
        if http.answer().0.starts_with("HTTP/1.1 200 ") {
            inside.push(http);
        }
        inside.len() == 2
    });
    let mut third = Http::connect(&server);
    let (head, body) = third.answer();
    assert!(
        head.starts_with("HTTP/1.1 503 ") && body.contains("too many connections"),
        "{head}{body}"
    );
    assert!(third.is_over());
}

#[test]
fn the_end_of_the_server_ends_connections_at_rest_and_finishes_requests() {
    let dir = tempfile::tempdir().expect("directory");
    let mut server = server(dir.path(), json!({}));
    let mut idle = Http::connect(&server);
    idle.send(HEALTH);
    assert!(idle.answer().0.starts_with("HTTP/1.1 200 "));
    let mut busy = Http::connect(&server);
    busy.send(
        "POST /auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: 2\r\nExpect: 100-continue\r\n\r\n",
    );
    assert!(busy.answer().0.starts_with("HTTP/1.1 100 "));
    server.signal("TERM");
    assert!(idle.is_over());
    busy.send("{}");
    let (head, _) = busy.answer();
    assert!(
        head.starts_with("HTTP/1.1 400 ") && head.contains("\r\nConnection: close\r\n"),
        "{head}"
    );
    assert!(busy.is_over());
    assert!(server.wait());
}

/// Octets of memory that a process has.
fn memory(server: &Server) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.process())).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.parse::<usize>().ok()).expect("a size") * 1024
}

#[test]
fn a_connection_at_rest_takes_little_memory() {
    const MANY: usize = 200;
    /// What it may take; what the allocator holds for nobody is in it.
    const BOUND: usize = 10 * 1024;
    let dir = tempfile::tempdir().expect("directory");
    let server = server(dir.path(), json!({"max_connections": 1000}));
    let body = format!("{{\"username\": \"{}\"}}", "x".repeat(3_000));
    let login = format!(
        "POST /auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let come = || {
        let mut http = Http::connect(&server);
        http.send(&login);
        assert!(http.answer().0.starts_with("HTTP/1.1 400 "));
        http.send(HEALTH);
        assert!(http.answer().0.starts_with("HTTP/1.1 200 "));
        http
    };
    // What the first ones need is needed once.
    let first: Vec<Http> = (0..MANY).map(|_| come()).collect();
    let before = memory(&server);
    let more: Vec<Http> = (0..MANY).map(|_| come()).collect();
    let each = memory(&server).saturating_sub(before) / MANY;
    println!("{each} octets a connection at rest");
    assert!(each <= BOUND, "{each} octets a connection");
    drop((first, more));
}
