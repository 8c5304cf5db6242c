use super::*;
use crate::api::{Answer, Step, state};
use crate::chunk::Chunk;
use crate::http::{Body, Head, Response};
use crate::machine::{BlobId, SpoolId, WatchId};

fn run(chunks: &[&[u8]]) -> (String, bool) {
    let mut session = HttpSession::new(Arc::default(), Peer::LOCAL, Now::default());
    for chunk in chunks {
        session.handle_input(Now::default(), Input::Bytes(Chunk::copy_from(chunk)));
    }
    outcome(&mut session)
}

fn healthy() -> Reply {
    let health = state::Health {
        up: true,
        details: None,
    };
    Ok(Answer::State(state::Answer::Health(Box::new(health))))
}

fn outcome<A: Application>(session: &mut HttpSession<A>) -> (String, bool) {
    let (mut text, mut closed) = (String::new(), false);
    while let Some(action) = session.poll_action() {
        assert!(!closed, "nothing follows Close");
        match action {
            Action::Send(bytes) => text.push_str(&String::from_utf8_lossy(bytes.as_ref())),
            Action::SendBlob(blob, range) => text.push_str(&format!("<blob {} {range:?}>", blob.0)),
            Action::Spool(spool, octets) => {
                let octets = String::from_utf8_lossy(&octets).into_owned();
                text.push_str(&format!("<spool {} {octets}>", spool.0));
            }
            Action::Unwatch(watch) => text.push_str(&format!("<unwatch {}>", watch.0)),
            Action::Close => closed = true,
            // The one question that is asked here.
            Action::Call(id, _) => session.handle_input(Now::default(), Input::Reply(id, healthy())),
            _ => {}
        }
    }
    (text, closed)
}

/// The answer, the same however the request arrives.
fn ask(request: &[u8]) -> (String, bool) {
    let whole = run(&[request]);
    let octets: Vec<&[u8]> = request.chunks(1).collect();
    assert_eq!(run(&octets), whole);
    whole
}

/// The same of one behind which the connection is closed.
fn last(request: &[u8]) -> String {
    let (text, closed) = ask(request);
    assert!(closed, "{text}");
    text
}

/// Does as its paths say.
#[derive(Debug, Default)]
struct Echo {
    path: String,
    steps: VecDeque<Step>,
    gone: bool,
}

impl Application for Echo {
    fn request(&mut self, _: Now, head: Head) {
        self.path = head.path.clone();
        let response = Response::of(200, "text/plain", head.path.clone().into_bytes());
        self.steps.push_back(match head.path.as_str() {
            "/memory" => Step::Read { max: 20, spool: None },
            "/spool" => Step::Read {
                max: 1000,
                spool: Some(SpoolId(1)),
            },
            "/blob" => Step::Respond(response.with_body(Body::Blob(BlobId(7), 500))),
            "/stream" => Step::Respond(response.with_body(Body::Stream)),
            "/long" => Step::Respond(response.with_body(Body::Bytes(vec![b'x'; 300_000]))),
            "/none" => Step::Respond(Response::empty(204)),
            _ => Step::Respond(response),
        });
    }

    fn poll_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    fn body(&mut self, _: Now, body: Vec<u8>) {
        let body = [&body[..], b"!"].concat();
        self.steps
            .push_back(Step::Respond(Response::of(200, "text/plain", body)));
    }

    fn no_body(&mut self, _: Now, too_large: bool) {
        if too_large {
            self.steps
                .push_back(Step::Respond(Response::error(413, "Too large")));
        }
    }

    fn reply(&mut self, _: Now, _: Reply) {}

    fn gone(&mut self) {
        self.gone = true;
        self.steps.push_back(Step::Unwatch(WatchId(3)));
    }

    fn refusal(&mut self, _: &mut Response) {}

    fn encrypted(&mut self) {}

    fn dirty(&mut self, _: Now, watch: WatchId) {
        self.steps.push_back(match watch.0 {
            0 => Step::End,
            n => Step::Push(vec![b'n'; n as usize]),
        });
    }

    fn poll_timeout(&self) -> Option<Mono> {
        None
    }

    fn tick(&mut self, _: Now) {}
}

fn echo() -> HttpSession<Echo> {
    let patience = Patience {
        request: Duration::from_secs(10),
        idle: Duration::from_secs(75),
    };
    HttpSession::over(Echo::default(), patience, Now::default())
}

fn feed(session: &mut HttpSession<Echo>, octets: &str) -> (String, bool) {
    let chunk = Chunk::copy_from(octets.as_bytes());
    session.handle_input(Now::default(), Input::Bytes(chunk));
    outcome(session)
}

/// Status codes, bodies, and whether it is over; without the other fields.
fn told(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((head, body)) = rest.split_once("\r\n\r\n") {
        let status = head.get(9..12).unwrap_or("?");
        let length = head.split("Content-Length: ").nth(1);
        let length = length.and_then(|rest| rest.split("\r\n").next()?.parse::<usize>().ok());
        let length = length
            .filter(|length| *length <= body.len())
            .unwrap_or(match status {
                "100" => 0,
                _ => body.find("HTTP/1.1").unwrap_or(body.len()),
            });
        out.push_str(&format!("{status} {}\n", &body[..length]));
        rest = &body[length..];
    }
    out + rest
}

#[test]
fn health_is_told_and_the_connection_goes_on() {
    let (up, closed) = ask(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(up.starts_with("HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"));
    assert!(up.ends_with("\r\n\r\n{\"status\":\"up\"}") && !closed);
    assert!(up.contains("\r\nContent-Length: 15\r\n") && !up.contains("Connection"));
    let up = last(b"GET http://x/health?verbose HTTP/1.1\r\nHost: y\r\nConnection: foo, Close\r\n\r\n");
    assert!(up.starts_with("HTTP/1.1 200 OK\r\n") && up.contains("\r\nConnection: close\r\n"));
    let (head, _) = ask(b"HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(head.contains("\r\nContent-Length: 15\r\n") && head.ends_with("\r\n\r\n"));
    let old = last(b"GET /health HTTP/1.0\r\n\r\n");
    assert!(old.starts_with("HTTP/1.1 200 OK\r\n") && old.contains("\r\nConnection: close\r\n"));
    let (old, closed) = ask(b"GET /health HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
    assert!(old.contains("\r\nConnection: keep-alive\r\n") && !closed);
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let one = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
    let two = "POST /memory HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi";
    let three = "POST /spool HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nyo\r\n0\r\n\r\n";
    let four = "GET /blob HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let all = [one, two, "\r\n", three, four, one].concat();
    let (text, closed) = feed(&mut echo(), &all);
    let expected = "200 /a\n200 hi!\n200 !\n200 <blob 7 0..500>\n";
    let unspooled = told(&text.replace("<spool 1 yo>", ""));
    assert_eq!((unspooled.as_str(), closed), (expected, true));
    assert!(text.contains("<spool 1 yo>"));
    let mut session = echo();
    let (mut split, mut closed) = (String::new(), false);
    for octet in all.chars() {
        let (text, over) = feed(&mut session, &octet.to_string());
        split.push_str(&text);
        closed |= over;
    }
    assert_eq!(split.replace("><spool 1 ", ""), text);
    assert!(closed);
}

#[test]
fn bodies_are_bounded_before_they_are_read() {
    let (text, closed) = feed(
        &mut echo(),
        "POST /memory HTTP/1.1\r\nHost: x\r\nContent-Length: 21\r\n\r\n",
    );
    assert_eq!(
        (told(&text), closed),
        ("413 {\"error\":\"Too large\"}\n".to_owned(), false)
    );
    let mut session = echo();
    let (text, closed) = feed(
        &mut session,
        "POST /memory HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n",
    );
    assert!(text.contains("\r\nConnection: close\r\n") && closed);
    let chunked = "POST /memory HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n15\r\n";
    let (text, closed) = feed(&mut echo(), chunked);
    assert!(text.starts_with("HTTP/1.1 413 ") && closed);
}

#[test]
fn a_short_body_that_nobody_wants_is_dropped() {
    let mut session = echo();
    let (text, closed) = feed(
        &mut session,
        "GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel",
    );
    assert_eq!((told(&text).as_str(), closed), ("200 /a\n", false));
    let (text, _) = feed(&mut session, "loGET /b HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(told(&text), "200 /b\n");
    for framing in ["Content-Length: 70000", "Transfer-Encoding: chunked"] {
        let request = format!("GET /a HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n");
        let (text, closed) = feed(&mut echo(), &request);
        assert!(text.contains("\r\nConnection: close\r\n") && closed, "{framing}");
    }
}

#[test]
fn whoever_waits_for_100_is_told_only_if_the_body_is_wanted() {
    let head = |path: &str, length: u32| {
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: {length}\r\n\r\n")
    };
    let mut session = echo();
    let (text, _) = feed(&mut session, &head("/memory", 3));
    assert_eq!(text, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(told(&feed(&mut session, "abc").0), "200 abc!\n");
    for (path, length, status) in [("/memory", 21, "413"), ("/a", 3, "200")] {
        let (text, closed) = feed(&mut echo(), &head(path, length));
        assert!(told(&text).starts_with(status) && closed, "{path}");
        assert!(text.contains("\r\nConnection: close\r\n"), "{path}");
    }
    let (text, closed) = feed(&mut echo(), &head("/memory", 3).replace("100-C", "200-c"));
    assert!(text.starts_with("HTTP/1.1 417 ") && closed);
    let old = head("/memory", 3).replace("/1.1", "/1.0") + "abc";
    assert_eq!(told(&feed(&mut echo(), &old).0), "200 abc!\n");
}

#[test]
fn a_stream_goes_out_in_chunks_until_it_ends() {
    let mut session = echo();
    let (head, _) = feed(&mut session, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\nGET /a");
    assert!(
        head.contains("\r\nTransfer-Encoding: chunked\r\n") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    let mut dirty = |n| {
        session.handle_input(Now::default(), Input::Dirty(WatchId(n)));
        outcome(&mut session).0
    };
    assert_eq!(dirty(10), "a\r\nnnnnnnnnnn\r\n");
    assert_eq!(dirty(1), "1\r\nn\r\n");
    assert_eq!(dirty(0), "0\r\n\r\n");
    let (text, _) = feed(&mut session, " HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(told(&text), "200 /a\n");
}

#[test]
fn a_stream_ends_with_its_listener_and_with_the_server() {
    for (input, rest) in [
        (Input::Eof, "<unwatch 3>"),
        (Input::Shutdown, "<unwatch 3>0\r\n\r\n"),
    ] {
        let mut session = echo();
        feed(&mut session, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!((session.wants_bytes(), session.poll_timeout()), (true, None));
        session.handle_input(Now::default(), input);
        assert_eq!(outcome(&mut session), (rest.to_owned(), true));
        assert!(session.api.gone);
    }
    let mut old = echo();
    let (head, closed) = feed(&mut old, "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert!(head.contains("\r\nConnection: close\r\n") && !head.contains("Transfer-Encoding") && !closed);
    old.handle_input(Now::default(), Input::Dirty(WatchId(2)));
    old.handle_input(Now::default(), Input::Dirty(WatchId(0)));
    assert_eq!(outcome(&mut old), ("nn".to_owned(), true));
    let mut head_only = echo();
    let (text, closed) = feed(&mut head_only, "HEAD /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(head_only.api.gone && !closed && text.contains("Transfer-Encoding: chunked"));
}

#[test]
fn head_closes_the_blob_that_it_does_not_get() {
    let (text, _) = feed(&mut echo(), "HEAD /blob HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(text.contains("\r\nContent-Length: 500\r\n") && text.ends_with("\r\n\r\n<blob 7 500..500>"));
    let (text, _) = feed(&mut echo(), "GET /none HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(text.starts_with("HTTP/1.1 204 ") && !text.contains("Content-Length"));
}

#[test]
fn long_text_is_compressed_for_those_who_take_it() {
    let request = "GET /long HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n";
    let mut session = echo();
    let chunk = Chunk::copy_from(request.as_bytes());
    session.handle_input(Now::default(), Input::Bytes(chunk));
    let mut octets = Vec::new();
    while let Some(action) = session.poll_action() {
        if let Action::Send(bytes) = action {
            octets.extend_from_slice(bytes.as_ref());
        }
    }
    let text = String::from_utf8_lossy(&octets);
    assert!(text.contains("\r\nContent-Encoding: gzip\r\n") && text.contains("Vary: Accept-Encoding"));
    assert!(
        octets.len() < 5_000 && octets.ends_with(b"0\r\n\r\n"),
        "{}",
        octets.len()
    );
    let (head, _) = feed(&mut echo(), &request.replace("GET", "HEAD"));
    assert!(head.contains("Transfer-Encoding: chunked") && head.ends_with("\r\n\r\n"));
    let (plain, _) = feed(&mut echo(), &request.replace("gzip", "br"));
    assert!(plain.contains("Vary: Accept-Encoding") && plain.contains("Content-Length: 300000"));
}

#[test]
fn what_is_no_request_is_refused() {
    for (bad, status) in [
        ("EHLO x\r\n", 400),
        ("GET /\r\n", 400),
        ("GET / HTTP/1.1 \r\n", 400),
        ("GET  / HTTP/1.1\r\n", 400),
        (" GET / HTTP/1.1\r\n", 400),
        ("GET / http/1.1\r\n", 400),
        ("GET / HTTP/2.0\r\n", 505),
        ("PRI * HTTP/2.0\r\n", 505),
        ("GET / HTTP/1.1\n", 400),
        ("\r\n\r\n\r\n", 400),
        ("CONNECT x:80 HTTP/1.1\r\n", 501),
        ("BREW /health HTTP/1.1\r\n", 501),
        ("get /health HTTP/1.1\r\n", 501),
        ("GET /\0 HTTP/1.1\r\n", 400),
    ] {
        let answer = last(bad.as_bytes());
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{bad:?} {answer}"
        );
        assert!(answer.contains("\r\nConnection: close\r\n"), "{bad:?}");
    }
    let target = format!("GET /{} HTTP/1.1\r\n", "a".repeat(10_000));
    assert!(last(target.as_bytes()).starts_with("HTTP/1.1 414 "));
    let long = format!(
        "GET /health HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n",
        "a".repeat(20_000)
    );
    assert!(last(long.as_bytes()).starts_with("HTTP/1.1 431 "));
    let many = format!(
        "GET /health HTTP/1.1\r\nHost: x\r\n{}\r\n",
        "A: b\r\n".repeat(101)
    );
    assert!(last(many.as_bytes()).starts_with("HTTP/1.1 431 "));
}

fn at(secs: u64) -> Now {
    Now {
        mono: Mono(Duration::from_secs(secs)),
        ..Now::default()
    }
}

fn bytes(octets: &str) -> Input<Reply> {
    Input::Bytes(Chunk::copy_from(octets.as_bytes()))
}

#[test]
fn time_and_the_end_of_input_end_it() {
    let mut session = echo();
    session.handle_input(at(70), bytes("GET /he"));
    session.handle_input(at(79), Input::Tick);
    assert_eq!(outcome(&mut session), (String::new(), false));
    assert_eq!(session.poll_timeout(), Some(at(80).mono));
    session.handle_input(at(80), Input::Tick);
    let (text, closed) = outcome(&mut session);
    assert!(text.starts_with("HTTP/1.1 408 ") && closed);
    assert_eq!((session.poll_timeout(), session.wants_bytes()), (None, false));

    let mut session = echo();
    session.handle_input(at(75), Input::Tick);
    assert_eq!(outcome(&mut session), (String::new(), true));
    for half in [
        "",
        "GET /a",
        "POST /memory HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf",
    ] {
        let mut session = echo();
        session.handle_input(at(0), bytes(half));
        session.handle_input(at(0), Input::Eof);
        let (text, closed) = outcome(&mut session);
        assert!(!text.contains("HTTP/1.1") && closed, "{half}");
    }
    let mut session = echo();
    session.handle_input(at(0), bytes("GET /a HTTP/1.1\r\nHost: x\r\n\r\n"));
    session.handle_input(at(0), Input::Eof);
    assert!(outcome(&mut session).1);
}

#[test]
fn a_body_must_go_on_and_not_too_slowly() {
    let mut session = echo();
    session.handle_input(
        at(0),
        bytes("POST /spool HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n"),
    );
    session.handle_input(at(9), bytes("x"));
    assert_eq!(session.poll_timeout(), Some(at(19).mono));
    session.handle_input(at(18), bytes("x"));
    let until = session.poll_timeout().expect("a deadline");
    assert!(until < at(21).mono, "a trickle is not for ever: {until:?}");
    outcome(&mut session);
    session.handle_input(at(21), Input::Tick);
    let (text, closed) = outcome(&mut session);
    assert!(text.contains("HTTP/1.1 408 ") && closed && session.api.gone);
}

#[test]
fn a_connection_without_a_request_ends_with_the_server_and_a_request_is_finished() {
    let mut session = echo();
    session.handle_input(at(0), Input::Shutdown);
    assert_eq!(outcome(&mut session), (String::new(), true));
    let mut session = echo();
    session.handle_input(at(0), bytes("GET /a"));
    session.handle_input(at(0), Input::Shutdown);
    assert!(outcome(&mut session).0.starts_with("HTTP/1.1 503 "));
    let mut session = echo();
    session.handle_input(
        at(0),
        bytes("POST /memory HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nha"),
    );
    session.handle_input(at(0), Input::Shutdown);
    assert_eq!(outcome(&mut session), (String::new(), false));
    session.handle_input(at(0), bytes("lf"));
    let (text, closed) = outcome(&mut session);
    assert!(text.contains("\r\nConnection: close\r\n") && text.ends_with("half!") && closed);
}
