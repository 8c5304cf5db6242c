//! The client's side of one HTTP/1.1 exchange over TLS (RFC 9112): one request, one response, no redirection.
//!
//! The host does the handshake first and feeds [`Input::TlsStarted`]; a certificate that is not good for [`Request::host`]
//! never comes so far. After [`Action::Close`], [`HttpClient::result`] has the response.
//!
//! Everything is bounded: the head, the body, the time of the whole. A body must say where it ends (Content-Length or
//! chunks): one that ends with the connection could be cut by anybody on the way.

use core::time::Duration;
use std::collections::VecDeque;

use crate::machine::{Action, Input, Machine, Session};
use crate::note::Note;
use crate::time::{Mono, Now};

/// Octets of heads, interim responses included.
const MAX_HEAD: usize = 16 * 1024;
/// Header fields of a response.
const MAX_FIELDS: usize = 64;
/// Octets of a line before a chunk, or of one trailer field.
const MAX_CHUNK_LINE: usize = 4096;

/// It asks nothing of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {}

/// Nothing is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// For the Host field: a name, with a port if it is not 443.
    pub host: String,
    /// Path and query: printable ASCII without spaces.
    pub target: String,
    /// What is sent, and its media type: POST. None: GET.
    pub body: Option<(&'static str, Vec<u8>)>,
    /// Fields of the response's head that are wanted; names in lower case.
    pub wanted: &'static [&'static str],
    /// Octets of the response's body at most.
    pub max_body: usize,
    /// All must be over by then.
    pub timeout: Duration,
}

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Content-Type without parameters, in lower case; empty if there is none.
    pub content_type: String,
    /// The fields that were wanted and are there, in their order.
    pub fields: Vec<(&'static str, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Response {
    /// A field that was wanted. Of several of the name the first.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(other, _)| *other == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Why nothing came back, in words.
pub type Failure = &'static str;

/// The machine.
#[derive(Debug)]
pub struct HttpClient {
    request: Request,
    inbox: Vec<u8>,
    step: Step,
    /// Octets of heads so far.
    heads: usize,
    response: Response,
    deadline: Option<Mono>,
    result: Option<Result<Response, Failure>>,
    actions: VecDeque<Action<Call>>,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Tls,
    Head,
    /// So many octets of the body are missing.
    Counted(usize),
    ChunkSize,
    /// So many octets of the chunk are missing.
    Chunk(usize),
    /// CRLF behind a chunk.
    ChunkEnd,
    Trailer,
    Closed,
}

impl HttpClient {
    /// For a connection that is just made.
    #[must_use]
    pub fn new(now: Now, request: Request) -> Self {
        Self {
            deadline: Some(now.mono + request.timeout),
            request,
            inbox: Vec::new(),
            step: Step::Tls,
            heads: 0,
            response: Response::default(),
            result: None,
            actions: VecDeque::new(),
        }
    }

    /// The end, once it is known.
    #[must_use]
    pub fn result(&self) -> Option<&Result<Response, Failure>> {
        self.result.as_ref()
    }

    fn send(&mut self) {
        let Request {
            host, target, body, ..
        } = &self.request;
        let method = if body.is_some() { "POST" } else { "GET" };
        let mut message = format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: rmail\r\nAccept: */*\r\nConnection: close\r\n"
        )
        .into_bytes();
        if let Some((kind, octets)) = body {
            let head = format!("Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n", octets.len());
            message.extend_from_slice(head.as_bytes());
            message.extend_from_slice(octets);
        } else {
            message.extend_from_slice(b"\r\n");
        }
        self.actions.push_back(Action::Send(message.into()));
        self.step = Step::Head;
    }

    fn end(&mut self, result: Result<Response, Failure>) {
        if self.step != Step::Closed {
            self.step = Step::Closed;
            self.deadline = None;
            self.inbox = Vec::new();
            self.result = Some(result);
            self.actions.push_back(Action::Close);
        }
    }

    fn finish(&mut self) {
        let response = core::mem::take(&mut self.response);
        self.end(Ok(response));
    }

    fn process(&mut self) {
        loop {
            let went_on = match self.step {
                Step::Head => self.head(),
                Step::Counted(left) => self.octets(left).map(|left| match left {
                    0 => {
                        self.finish();
                        false
                    }
                    left => {
                        self.step = Step::Counted(left);
                        false
                    }
                }),
                Step::ChunkSize => self.chunk_size(),
                Step::Chunk(left) => self.octets(left).map(|left| {
                    self.step = if left == 0 {
                        Step::ChunkEnd
                    } else {
                        Step::Chunk(left)
                    };
                    left == 0
                }),
                Step::ChunkEnd => self.line().and_then(|line| match line {
                    Some(line) if line.is_empty() => {
                        self.step = Step::ChunkSize;
                        Ok(true)
                    }
                    Some(_) => Err("a chunk does not end where it should"),
                    None => Ok(false),
                }),
                Step::Trailer => self.trailer(),
                Step::Tls | Step::Closed => Ok(false),
            };
            match went_on {
                Ok(true) => {}
                Ok(false) => return,
                Err(why) => {
                    self.end(Err(why));
                    return;
                }
            }
        }
    }

    /// Takes up to so many octets of the body; how many are left.
    fn octets(&mut self, left: usize) -> Result<usize, Failure> {
        let taken = left.min(self.inbox.len());
        if self.response.body.len() + taken > self.request.max_body {
            return Err("the response is too long");
        }
        self.response.body.extend(self.inbox.drain(..taken));
        Ok(left - taken)
    }

    /// A line without its CRLF.
    fn line(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        match memchr::memmem::find(&self.inbox, b"\r\n") {
            Some(at) if at <= MAX_CHUNK_LINE => {
                let mut line: Vec<u8> = self.inbox.drain(..at + 2).collect();
                line.truncate(at);
                Ok(Some(line))
            }
            None if self.inbox.strip_suffix(b"\r").unwrap_or(&self.inbox).len() <= MAX_CHUNK_LINE => Ok(None),
            _ => Err("a line of the response is too long"),
        }
    }

    fn head(&mut self) -> Result<bool, Failure> {
        const LONG: Failure = "the head of the response is too long";
        let Some(at) = memchr::memmem::find(&self.inbox, b"\r\n\r\n") else {
            let fits = self.heads + self.inbox.len() <= MAX_HEAD;
            return if fits { Ok(false) } else { Err(LONG) };
        };
        let octets: Vec<u8> = self.inbox.drain(..at + 4).collect();
        self.heads += octets.len();
        if self.heads > MAX_HEAD {
            return Err(LONG);
        }
        let head = Head::parse(&octets, self.request.wanted)?;
        if (100..200).contains(&head.status) {
            // An interim response (RFC 9110 §15.2); there is nothing to switch to.
            return if head.status == 101 {
                Err("the server wants another protocol")
            } else {
                Ok(true)
            };
        }
        self.response.status = head.status;
        self.response.content_type = head.content_type;
        self.response.fields = head.fields;
        match (head.chunked, head.length) {
            _ if matches!(head.status, 204 | 304) => {
                self.finish();
                return Ok(false);
            }
            (true, None) => self.step = Step::ChunkSize,
            (false, Some(length)) if length > self.request.max_body as u64 => {
                return Err("the response is too long");
            }
            (false, Some(length)) => self.step = Step::Counted(usize::try_from(length).unwrap_or(usize::MAX)),
            // A refusal needs no body that we would read.
            (false, None) if !(200..300).contains(&head.status) => {
                self.finish();
                return Ok(false);
            }
            _ => return Err("the response does not say how long it is"),
        }
        Ok(true)
    }

    /// `chunk-size [ chunk-ext ] CRLF` (RFC 9112 §7.1).
    fn chunk_size(&mut self) -> Result<bool, Failure> {
        let Some(line) = self.line()? else {
            return Ok(false);
        };
        let digits = line
            .split(|octet| *octet == b';')
            .next()
            .unwrap_or_default()
            .trim_ascii_end();
        if !(1..=8).contains(&digits.len()) {
            return Err("a chunk has no proper size");
        }
        let mut size = 0_usize;
        for digit in digits {
            let value = char::from(*digit)
                .to_digit(16)
                .ok_or("a chunk has no proper size")?;
            size = size * 16 + value as usize;
        }
        self.step = if size == 0 {
            Step::Trailer
        } else {
            Step::Chunk(size)
        };
        Ok(true)
    }

    /// Fields behind the last chunk are not looked at.
    fn trailer(&mut self) -> Result<bool, Failure> {
        let Some(line) = self.line()? else {
            return Ok(false);
        };
        self.heads += line.len() + 2;
        if self.heads > MAX_HEAD {
            return Err("the trailer of the response is too long");
        }
        if line.is_empty() {
            self.finish();
            return Ok(false);
        }
        Ok(true)
    }
}

/// What matters of a head.
struct Head {
    status: u16,
    content_type: String,
    fields: Vec<(&'static str, String)>,
    chunked: bool,
    length: Option<u64>,
}

impl Head {
    fn parse(octets: &[u8], wanted: &[&'static str]) -> Result<Self, Failure> {
        const BAD: Failure = "the response is no HTTP";
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        match response.parse(octets) {
            Ok(httparse::Status::Complete(_)) => {}
            _ => return Err(BAD),
        }
        let mut head = Self {
            // Three digits are not yet a class of responses (RFC 9110 §15).
            status: response.code.filter(|code| *code >= 100).ok_or(BAD)?,
            content_type: String::new(),
            fields: Vec::new(),
            chunked: false,
            length: None,
        };
        for field in response.headers {
            let value = core::str::from_utf8(field.value).map_err(|_| BAD)?.trim();
            let asked = wanted.iter().find(|name| field.name.eq_ignore_ascii_case(name));
            head.fields.extend(asked.map(|name| (*name, value.to_owned())));
            if field.name.eq_ignore_ascii_case("content-type") {
                let kind = value.split(';').next().unwrap_or_default();
                head.content_type = kind.trim().to_ascii_lowercase();
            } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
                if head.chunked || !value.eq_ignore_ascii_case("chunked") {
                    return Err("the response has an encoding that was not asked for");
                }
                head.chunked = true;
            } else if field.name.eq_ignore_ascii_case("content-length") {
                let good =
                    (1..=19).contains(&value.len()) && value.bytes().all(|octet| octet.is_ascii_digit());
                let length = good.then(|| value.parse().ok()).flatten().ok_or(BAD)?;
                if head.length.replace(length).is_some_and(|before| before != length) {
                    return Err(BAD);
                }
            }
        }
        if head.chunked && head.length.is_some() {
            return Err("the response says twice how long it is");
        }
        Ok(head)
    }
}

impl Machine for HttpClient {
    type Input = Input<Reply>;
    type Action = Action<Call>;

    fn handle_input(&mut self, now: Now, input: Self::Input) {
        match input {
            Input::TlsStarted(_) if self.step == Step::Tls => {
                self.actions
                    .push_back(Action::Note(Note::Command(self.request.target.clone())));
                self.send();
            }
            Input::Bytes(chunk) if !matches!(self.step, Step::Tls | Step::Closed) => {
                self.inbox.extend_from_slice(&chunk);
                self.process();
            }
            Input::Eof if self.step == Step::Tls => self.end(Err("TLS could not be begun")),
            Input::Eof => self.end(Err("the connection was lost")),
            Input::Tick if self.deadline.is_some_and(|deadline| deadline <= now.mono) => {
                self.end(Err("it took too long"));
            }
            Input::Shutdown => self.end(Err("shutting down")),
            _ => {}
        }
    }

    fn poll_action(&mut self) -> Option<Self::Action> {
        self.actions.pop_front()
    }

    fn poll_timeout(&self) -> Option<Mono> {
        self.deadline
    }
}

impl Session for HttpClient {
    type Call = Call;
    type Reply = Reply;

    fn wants_bytes(&self) -> bool {
        self.step != Step::Closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::Chunk;
    use crate::machine::TlsInfo;
    use proptest::prelude::*;

    fn client(body: Option<(&'static str, Vec<u8>)>) -> HttpClient {
        let request = Request {
            host: "mta-sts.example.com".into(),
            target: "/.well-known/mta-sts.txt".into(),
            body,
            wanted: &["location", "retry-after"],
            max_body: 20,
            timeout: Duration::from_secs(60),
        };
        HttpClient::new(Now::default(), request)
    }

    /// What comes of a response in these pieces.
    fn read(pieces: &[&[u8]]) -> Option<Result<Response, Failure>> {
        let mut client = client(None);
        client.handle_input(Now::default(), Input::TlsStarted(TlsInfo::default()));
        for piece in pieces {
            client.handle_input(Now::default(), Input::Bytes(Chunk::copy_from(piece)));
        }
        client.result().cloned()
    }

    fn ok(status: u16, content_type: &str, body: &[u8]) -> Option<Result<Response, Failure>> {
        let (content_type, body) = (content_type.to_owned(), body.to_vec());
        Some(Ok(Response {
            status,
            content_type,
            body,
            fields: Vec::new(),
        }))
    }

    #[test]
    fn one_request_goes_out_once_there_is_tls() {
        let mut get = client(None);
        assert_eq!(get.poll_action(), None);
        get.handle_input(
            Now::default(),
            Input::Bytes(Chunk::copy_from(b"HTTP/1.1 204 x\r\n\r\n")),
        );
        assert_eq!(
            (get.poll_action(), get.result()),
            (None, None),
            "nothing before TLS counts"
        );
        get.handle_input(Now::default(), Input::TlsStarted(TlsInfo::default()));
        let sent = |client: &mut HttpClient| match (client.poll_action(), client.poll_action()) {
            (Some(Action::Note(_)), Some(Action::Send(bytes))) => {
                String::from_utf8(bytes.as_ref().to_vec()).expect("text")
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(
            sent(&mut get),
            "GET /.well-known/mta-sts.txt HTTP/1.1\r\nHost: mta-sts.example.com\r\nUser-Agent: rmail\r\nAccept: */*\r\n\
             Connection: close\r\n\r\n"
        );
        let mut post = client(Some(("application/tlsrpt+gzip", b"abc".to_vec())));
        post.handle_input(Now::default(), Input::TlsStarted(TlsInfo::default()));
        let text = sent(&mut post);
        assert!(
            text.starts_with("POST /")
                && text.ends_with("Content-Type: application/tlsrpt+gzip\r\nContent-Length: 3\r\n\r\nabc")
        );
    }

    #[test]
    fn bodies_end_where_they_say() {
        assert_eq!(
            read(&[b"HTTP/1.1 200 OK\r\nContent-Type: Text/Plain; charset=utf-8\r\nContent-Length: 3\r\n\r\nabc, more"]),
            ok(200, "text/plain", b"abc")
        );
        assert_eq!(
            read(&[b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\nA\r\n0123456789\r\n0\r\nT: x\r\n\r\n"]),
            ok(200, "", b"ab0123456789")
        );
        assert_eq!(
            read(&[b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]),
            ok(200, "", b"")
        );
        assert_eq!(read(&[b"HTTP/1.1 204 No\r\n\r\n"]), ok(204, "", b""));
        let moved = read(&[b"HTTP/1.1 301 Moved\r\nlocation: https://x/\r\nX: y\r\nLocation: z\r\n\r\n"]);
        let moved = moved.expect("it has ended").expect("a response");
        assert_eq!((moved.status, moved.field("location")), (301, Some("https://x/")));
        assert_eq!((moved.fields.len(), moved.field("x")), (2, None));
        assert_eq!(read(&[b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"]), None);
    }

    #[test]
    fn what_is_not_clear_is_refused() {
        for bad in [
            &b"SMTP 220 hello\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\n\r\nends with the connection",
            b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\na\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n15\r\n012345678901234567890",
            b"HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n",
            b"HTTP/1.1 101 Switching\r\n\r\n",
            b"HTTP/1.1 099 Low\r\n\r\n",
        ] {
            let result = read(&[bad]);
            assert!(
                matches!(result, Some(Err(_))),
                "{:?}: {result:?}",
                bad.escape_ascii().to_string()
            );
        }
        let endless = [b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'x'; MAX_HEAD]].concat();
        assert!(matches!(read(&[&endless]), Some(Err(_))));
        let interim = b"HTTP/1.1 103 Early\r\n\r\n".repeat(2000);
        assert!(matches!(read(&[&interim]), Some(Err(_))));
    }

    #[test]
    fn the_longest_line_is_read_however_it_is_cut() {
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for (octets, good) in [(MAX_CHUNK_LINE, true), (MAX_CHUNK_LINE + 1, false)] {
            let line = [b"1;x=", vec![b'y'; octets - 4].as_slice()].concat();
            let whole = [head, line.as_slice(), b"\r\na\r\n0\r\n\r\n"].concat();
            let result = read(&[&whole]);
            assert_eq!(matches!(result, Some(Ok(_))), good);
            let pieces: Vec<&[u8]> = whole.chunks(1).collect();
            assert_eq!(read(&pieces), result, "octet by octet");
        }
    }

    #[test]
    fn the_whole_has_a_time() {
        let mut late = client(None);
        let at = |secs| Now {
            mono: Mono(Duration::from_secs(secs)),
            ..Now::default()
        };
        late.handle_input(at(0), Input::TlsStarted(TlsInfo::default()));
        assert_eq!(late.poll_timeout(), Some(Mono(Duration::from_secs(60))));
        late.handle_input(at(59), Input::Tick);
        assert_eq!(late.result(), None);
        late.handle_input(at(60), Input::Tick);
        assert!(matches!(late.result(), Some(Err(_))));
        assert_eq!(late.poll_timeout(), None);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same(at in 0_usize..120, again in 0_usize..120) {
            let whole = b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\nA\r\n0123456789\r\n0\r\nT: x\r\n\r\n";
            let (at, again) = (at.min(whole.len()), again.min(whole.len()));
            let (first, second) = (at.min(again), at.max(again));
            let split = read(&[&whole[..first], &whole[first..second], &whole[second..]]);
            prop_assert_eq!(split, read(&[whole]));
        }

        #[test]
        fn nothing_makes_it_panic(tail in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&[&tail]);
            let _ = read(&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &tail]);
        }
    }
}
