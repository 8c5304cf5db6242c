//! Our own clients, against servers that say anything at all: SMTP, HTTP, DNS.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;

use rmail_core::addr::{Address, ReversePath};
use rmail_core::auth::password::salted;
use rmail_core::chunk::Chunk;
use rmail_core::dns::message::{self, Query};
use rmail_core::dns::resolver::{self, QueryId, Resolver};
use rmail_core::dns::{Answer, Data, Kind, Name, Question};
use rmail_core::http::client::{Failure, HttpClient, Request, Response};
use rmail_core::machine::{Action, Input, Machine as _, Session as _, TlsInfo};
use rmail_core::relay::tls::Trust;
use rmail_core::relay::{Credentials, TlsPolicy};
use rmail_core::secret::Secret;
use rmail_core::smtp::client::{Call, Job, Outcome, Recipient, Reply, Session, Settings};
use rmail_core::smtp::envelope::Wishes;
use rmail_core::time::{Mono, Now, Unix};

use super::smtp::check_lines;
use super::{Steps, any_cut, bounded};

/// The message that is sent: it begins with a dot, and has more than one line.
const MESSAGE: &[u8] = b".Subject: x\r\n\r\n.\r\nlast \xe4\r\n";

/// Messages on one connection at most.
const MESSAGES: u32 = 3;

fn now() -> Now {
    Now {
        mono: Mono::default(),
        unix: Unix::from_secs(1_700_000_000),
    }
}

/// The SMTP client. The first octet says what it is asked to do; the rest is what the server says. At an octet 0 TLS begins
/// if the client wants it; at an octet 1 it is told that its patience is over. Whatever the server says, there is an outcome
/// for every recipient, and what is sent is bounded. However the server's lines are cut, the same comes of them; only when
/// several come at once may it be another time at which the client finds out that they are wrong.
pub fn client(input: &[u8]) {
    let [how, input @ ..] = input else {
        return;
    };
    let by_lines: Vec<&[u8]> = input
        .split_inclusive(|octet| matches!(octet, 0 | 1 | b'\n'))
        .collect();
    let at_once: Vec<&[u8]> = input.split_inclusive(|octet| *octet < 2).collect();
    let careful = any_cut(input, |size| converse(*how, &by_lines, input, size));
    for (sent, outcomes) in [careful, converse(*how, &at_once, input, usize::MAX)] {
        assert!(outcomes.iter().all(|outcome| outcome.recipients.len() == 2));
        check_lines(&sent);
        bounded("what is sent", sent.len(), input, 2_000 * MESSAGES as usize, 400);
    }
}

fn converse(how: u8, flights: &[&[u8]], input: &[u8], size: usize) -> (Vec<u8>, Vec<Outcome>) {
    let tls = [
        TlsPolicy::None,
        TlsPolicy::Opportunistic,
        TlsPolicy::Require,
        TlsPolicy::Implicit,
    ];
    let settings = Settings {
        hostname: "mail.demo.test".to_owned(),
        server: "mx.example.net".to_owned(),
        tls: tls[usize::from(how & 3)],
        credentials: (how & 4 != 0).then(|| Credentials {
            username: "u".to_owned(),
            password: Secret::new("secret"),
        }),
        trust: Trust::Roots,
    };
    let recipient = |text| Recipient::from(Address::parse(text).expect("an address"));
    let job = Job {
        reverse_path: ReversePath::Null,
        recipients: vec![recipient("bob@example.net"), recipient("eve@example.net")],
        offset: 0,
        size: MESSAGE.len() as u64,
        eight_bit: how & 8 != 0,
        wishes: Wishes {
            utf8: how & 16 != 0,
            require_tls: how & 32 != 0,
            ..Wishes::default()
        },
    };
    let mut peer = Peer {
        session: Session::new(now(), settings, job.clone()),
        now: now(),
        job,
        sent: Vec::new(),
        outcomes: Vec::new(),
        messages: 1,
        tls_wanted: false,
        closed: false,
    };
    if how & 64 != 0 {
        peer.session = peer.session.keep_open(MESSAGES);
    }
    let mut steps = Steps::of(input, 300, 40);
    if how & 3 == 3 {
        peer.input(Input::TlsStarted(tls_info()));
    }
    peer.settle(&mut steps);
    for flight in flights {
        let (text, mark) = match flight.split_last() {
            Some((mark, text)) if *mark < 2 => (text, Some(*mark)),
            _ => (*flight, None),
        };
        for piece in text.chunks(size) {
            if peer.closed || peer.tls_wanted {
                break;
            }
            peer.input(Input::Bytes(Chunk::copy_from(piece)));
            peer.settle(&mut steps);
        }
        if mark == Some(0) && core::mem::take(&mut peer.tls_wanted) {
            peer.input(Input::TlsStarted(tls_info()));
        } else if mark == Some(1)
            && let Some(at) = peer.session.poll_timeout()
        {
            peer.now.mono = peer.now.mono.max(at);
            peer.input(Input::Tick);
        }
        peer.settle(&mut steps);
    }
    peer.input(Input::Eof);
    peer.settle(&mut steps);
    assert!(peer.closed, "nothing is left open behind the end of input");
    match peer.session.outcome().cloned() {
        Some(last) => peer.outcomes.push(last),
        None => assert!(
            peer.session.is_idle() && !peer.outcomes.is_empty(),
            "there is an outcome"
        ),
    }
    (peer.sent, peer.outcomes)
}

fn tls_info() -> TlsInfo {
    TlsInfo {
        version: 0x0304,
        exporter: Some(vec![7; 32]),
        end_point: Some(vec![8; 32]),
        ..TlsInfo::default()
    }
}

/// Plays the host.
struct Peer {
    session: Session,
    now: Now,
    job: Job,
    sent: Vec<u8>,
    outcomes: Vec<Outcome>,
    messages: u32,
    tls_wanted: bool,
    closed: bool,
}

impl Peer {
    fn input(&mut self, input: Input<Reply>) {
        if !self.closed {
            self.session.handle_input(self.now, input);
        }
    }

    fn settle(&mut self, steps: &mut Steps) {
        while let Some(action) = self.session.poll_action() {
            steps.step();
            assert!(!self.closed, "nothing follows Close: {action:?}");
            match action {
                Action::Send(octets) => self.sent.extend_from_slice(octets.as_ref()),
                Action::Call(id, call) => {
                    let reply = self.answer(call);
                    self.input(Input::Reply(id, reply));
                }
                Action::StartTls => self.tls_wanted = true,
                Action::Close => self.closed = true,
                Action::Note(_) => {}
                other => panic!("not of a client: {other:?}"),
            }
        }
        assert!(!self.closed || (!self.session.wants_bytes() && self.session.poll_timeout().is_none()));
    }

    fn answer(&mut self, call: Call) -> Reply {
        match call {
            Call::Read { offset, max } => {
                let from = usize::try_from(offset).expect("within the message");
                let rest = &MESSAGE[from..];
                assert!(max > 0 && !rest.is_empty(), "nothing is left to read");
                Reply::Read(Ok(Chunk::copy_from(&rest[..rest.len().min(max).min(7)])))
            }
            Call::Greeted => Reply::Noted,
            Call::Next { outcome } => {
                self.outcomes.push(*outcome);
                self.messages += 1;
                assert!(self.messages <= MESSAGES + 1, "one message more than was said");
                Reply::Next((self.messages <= MESSAGES).then(|| Box::new(self.job.clone())))
            }
            Call::Nonce => Reply::Nonce(*b"abcdefghijklmno"),
            // So many rounds as the server wants would take a host seconds.
            Call::Salt { password, salt, .. } => Reply::Salted(salted(&password, &salt, 1)),
        }
    }
}

/// The HTTP client: the same response however it is cut, within its bounds.
pub fn http_client(input: &[u8]) {
    for post in [false, true] {
        let (sent, result) = any_cut(input, |size| fetch(post, input, size));
        assert!(sent.ends_with(if post { b"{}" } else { b"\r\n\r\n" }));
        if let Ok(response) = result {
            assert!(response.body.len() <= 1_000 && (200..=999).contains(&response.status));
            assert!(
                response
                    .fields
                    .iter()
                    .all(|(_, value)| !value.contains(['\r', '\n', '\0']))
            );
        }
    }
}

fn fetch(post: bool, input: &[u8], size: usize) -> (Vec<u8>, Result<Response, Failure>) {
    let request = Request {
        host: "x.example".to_owned(),
        target: "/a?b".to_owned(),
        body: post.then(|| ("application/json", b"{}".to_vec())),
        wanted: &["location", "retry-after"],
        max_body: 1_000,
        timeout: Duration::from_secs(10),
    };
    let mut client = HttpClient::new(now(), request);
    let (mut sent, mut closed) = (Vec::new(), false);
    let mut steps = Steps::of(input, 20, 2);
    let mut inputs: VecDeque<_> = [Input::TlsStarted(tls_info())].into();
    inputs.extend(
        input
            .chunks(size)
            .map(|piece| Input::Bytes(Chunk::copy_from(piece))),
    );
    inputs.push_back(Input::Eof);
    for input in inputs {
        if closed {
            break;
        }
        client.handle_input(now(), input);
        while let Some(action) = client.poll_action() {
            steps.step();
            match action {
                Action::Send(octets) => sent.extend_from_slice(octets.as_ref()),
                Action::Close => closed = true,
                Action::Note(_) => {}
                other => panic!("not of this client: {other:?}"),
            }
        }
    }
    assert!(closed, "nothing is left open behind the end of input");
    (sent, client.result().expect("it is over").clone())
}

/// DNS: a reply to one query, as it comes, and as the answers that a resolver gets until it has asked enough. Behind the
/// octet that says what is asked the input is the replies' flags, counts and records, each with its length; id and question
/// are made right, as a forger would.
pub fn dns(input: &[u8]) {
    let [kind, input @ ..] = input else {
        return;
    };
    let kinds = [
        Kind::A,
        Kind::Aaaa,
        Kind::Mx,
        Kind::Ptr,
        Kind::Txt,
        Kind::Tlsa,
        Kind::Srv,
    ];
    let question = Question {
        name: Name::parse("_25._tcp.mx.example.net").expect("a name"),
        kind: kinds[usize::from(*kind) % kinds.len()],
    };
    for edns in [false, true] {
        let query = Query {
            id: 0x1234,
            question: question.clone(),
            edns,
        };
        for reply in [input.to_vec(), answered(&query.encode(), input)] {
            if let message::Reply::Answer(answer, _) = query.read(&reply) {
                check_answer(&answer, question.kind);
                bounded("an answer", format!("{answer:?}").len(), input, 2_000, 600);
            }
        }
    }
    resolve(*kind, &question, input);
}

/// A reply with the id and the question of a query.
fn answered(query: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut head = [0_u8; 8];
    head.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    let mut reply = query.get(..12).unwrap_or_default().to_vec();
    reply[2] = head[0] | 0x80;
    reply[3] = head[1];
    reply[6..12].copy_from_slice(&head[2..8]);
    // The question, without the OPT record.
    let name = query[12..]
        .iter()
        .position(|octet| *octet == 0)
        .map_or(0, |end| end + 5);
    reply.extend_from_slice(&query[12..12 + name]);
    reply.extend_from_slice(rest.get(8..).unwrap_or_default());
    reply
}

fn check_answer(answer: &Answer, kind: Kind) {
    assert!(answer.records.len() <= 128);
    for record in &answer.records {
        assert!(
            matches!(
                (record, kind),
                (Data::A(_), Kind::A)
                    | (Data::Aaaa(_), Kind::Aaaa)
                    | (Data::Mx { .. }, Kind::Mx)
                    | (Data::Ptr(_), Kind::Ptr)
                    | (Data::Txt(_), Kind::Txt)
                    | (Data::Tlsa(_), Kind::Tlsa)
                    | (Data::Srv { .. }, Kind::Srv)
            ),
            "{record:?} to {kind:?}"
        );
    }
}

fn resolve(how: u8, question: &Question, input: &[u8]) {
    let servers: Vec<SocketAddr> = ["192.0.2.1:53", "192.0.2.2:53"]
        .iter()
        .flat_map(|s| s.parse())
        .collect();
    let mut resolver = Resolver::new(resolver::Settings::new(servers), [3; 32]);
    let mut now = now();
    let query = resolver::Input::Query {
        id: QueryId(1),
        question: question.clone(),
    };
    resolver.handle_input(now, query);
    let mut replies: VecDeque<&[u8]> = VecDeque::new();
    let mut rest = input;
    while let [len, more @ ..] = rest {
        let (reply, more) = more.split_at(usize::from(*len).min(more.len()));
        replies.push_back(reply);
        rest = more;
    }
    // Each name of a chain of aliases is asked at most eight times.
    let mut steps = Steps(2_000);
    let mut answer = None;
    while answer.is_none() {
        steps.step();
        let Some(action) = resolver.poll_action() else {
            let at = resolver.poll_timeout().expect("it waits for something");
            now.mono = now.mono.max(at);
            resolver.handle_input(now, resolver::Input::Tick);
            continue;
        };
        match action {
            resolver::Action::SendUdp {
                attempt,
                server,
                bytes,
            } => {
                if let Some(reply) = replies.pop_front() {
                    let bytes = Chunk::from(answered(&bytes, reply));
                    let from = server;
                    resolver.handle_input(now, resolver::Input::Datagram { attempt, from, bytes });
                }
            }
            resolver::Action::SendTcp { attempt, bytes, .. } => {
                let input = match replies.pop_front() {
                    Some(reply) => resolver::Input::Tcp {
                        attempt,
                        bytes: Chunk::from(answered(&bytes, reply)),
                    },
                    None => resolver::Input::Failed { attempt },
                };
                resolver.handle_input(now, input);
            }
            resolver::Action::Close(_) => {}
            resolver::Action::Answer { id, result } => {
                assert_eq!(id, QueryId(1));
                answer = Some(result);
            }
        }
    }
    if let Some(Ok(answer)) = answer {
        check_answer(&answer, question.kind);
        assert!(!answer.secure, "a server that is not trusted says so: {how}");
    }
}
