//! The resolver in virtual time: lost, late, forged and broken replies.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use proptest::prelude::*;
use rmail_core::chunk::Chunk;
use rmail_core::dns::resolver::{Action, AttemptId, Input, QueryId, Resolver, Settings};
use rmail_core::dns::{Answer, Data, DnsError, Kind, Name, Question};
use rmail_core::machine::Machine as _;
use rmail_core::time::{Mono, Now};
use simple_dns::rdata::{A, CNAME, RData};
use simple_dns::{CLASS, Packet, PacketFlag, RCODE, ResourceRecord};

struct World {
    resolver: Resolver,
    now: Duration,
    answers: BTreeMap<u64, Result<Answer, DnsError>>,
    /// Open sockets: server, message, by TCP.
    sockets: BTreeMap<AttemptId, (SocketAddr, Vec<u8>, bool)>,
    sent: Vec<(SocketAddr, bool)>,
}

fn server(n: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, n], 53))
}

fn question(name: &str) -> Question {
    Question {
        name: Name::parse(name).expect("name"),
        kind: Kind::A,
    }
}

fn address(last: u8) -> Result<Answer, DnsError> {
    Ok(Answer {
        records: vec![Data::A(Ipv4Addr::new(198, 51, 100, last))],
        ..Answer::default()
    })
}

impl World {
    fn new(servers: u8) -> Self {
        Self::with(Settings::new((1..=servers).map(server).collect()))
    }

    fn with(settings: Settings) -> Self {
        Self {
            resolver: Resolver::new(settings, [7; 32]),
            now: Duration::ZERO,
            answers: BTreeMap::new(),
            sockets: BTreeMap::new(),
            sent: Vec::new(),
        }
    }

    fn feed(&mut self, input: Input) {
        let now = Now {
            mono: Mono(self.now),
            ..Now::default()
        };
        self.resolver.handle_input(now, input);
        while let Some(action) = self.resolver.poll_action() {
            match action {
                Action::SendUdp {
                    attempt,
                    server,
                    bytes,
                } => self.open(attempt, server, bytes, false),
                Action::SendTcp {
                    attempt,
                    server,
                    bytes,
                } => self.open(attempt, server, bytes, true),
                Action::Close(attempt) => assert!(self.sockets.remove(&attempt).is_some(), "closed twice"),
                Action::Answer { id, result } => {
                    assert_eq!(self.answers.insert(id.0, result), None, "answered twice");
                }
            }
        }
    }

    fn open(&mut self, attempt: AttemptId, server: SocketAddr, bytes: Vec<u8>, tcp: bool) {
        self.sent.push((server, tcp));
        let old = self.sockets.insert(attempt, (server, bytes, tcp));
        assert_eq!(old, None, "a new socket for each try");
    }

    fn ask(&mut self, id: u64, name: &str) {
        let question = question(name);
        self.feed(Input::Query {
            id: QueryId(id),
            question,
        });
    }

    /// The only open socket.
    fn socket(&self) -> (AttemptId, SocketAddr, Vec<u8>, bool) {
        assert_eq!(self.sockets.len(), 1);
        let (attempt, (server, bytes, tcp)) = self.sockets.first_key_value().expect("a socket");
        (*attempt, *server, bytes.clone(), *tcp)
    }

    /// The server of the only open socket replies.
    fn reply(&mut self, bytes: Vec<u8>) {
        let (attempt, from, _, tcp) = self.socket();
        let bytes = Chunk::from(bytes);
        self.feed(if tcp {
            Input::Tcp { attempt, bytes }
        } else {
            Input::Datagram { attempt, from, bytes }
        });
    }

    /// Lets the deadline come.
    fn time_out(&mut self) {
        let deadline = self.resolver.poll_timeout().expect("a timer");
        self.now = deadline.0 - Duration::from_millis(1);
        let before = self.sockets.clone();
        self.feed(Input::Tick);
        assert_eq!(self.sockets, before, "nothing happens before the deadline");
        self.now = deadline.0;
        self.feed(Input::Tick);
    }
}

/// A reply to a query: its code and its records.
fn made(query: &[u8], rcode: RCODE, records: &[(&str, RData<'static>)]) -> Vec<u8> {
    let query = Packet::parse(query).expect("a query");
    assert!(query.has_flags(PacketFlag::RECURSION_DESIRED));
    let mut reply = Packet::new_reply(query.id());
    *reply.rcode_mut() = rcode;
    reply.questions = query.questions.clone();
    for (name, data) in records {
        let name = simple_dns::Name::new_unchecked(name);
        reply
            .answers
            .push(ResourceRecord::new(name, CLASS::IN, 90, data.clone()));
    }
    reply.build_bytes_vec().expect("bytes")
}

fn a(last: u8) -> RData<'static> {
    RData::A(A {
        address: u32::from(Ipv4Addr::new(198, 51, 100, last)),
    })
}

#[test]
fn answers_are_kept_for_their_time() {
    let mut world = World::new(1);
    world.ask(1, "a.example");
    let (.., query, tcp) = world.socket();
    assert!(!tcp);
    world.reply(made(&query, RCODE::NoError, &[("A.example", a(1))]));
    assert_eq!(world.answers[&1], address(1));
    assert_eq!((world.sockets.len(), world.resolver.poll_timeout()), (0, None));
    world.now += Duration::from_secs(89);
    world.ask(2, "A.EXAMPLE");
    assert_eq!((&world.answers[&2], world.sent.len()), (&address(1), 1));
    world.now += Duration::from_secs(1);
    world.ask(3, "a.example");
    assert_eq!((world.answers.get(&3), world.sent.len()), (None, 2));
    let (.., again, _) = world.socket();
    assert_ne!(query[..2], again[..2], "another id");
}

#[test]
fn silence_moves_on_to_the_next_server_and_late_replies_are_nothing() {
    let mut world = World::new(2);
    world.ask(1, "a");
    let (late, from, query, _) = world.socket();
    assert_eq!(from, server(1));
    world.time_out();
    assert_eq!((world.now, world.socket().1), (Duration::from_secs(2), server(2)));
    let bytes = Chunk::from(made(&query, RCODE::NoError, &[("a", a(6))]));
    world.feed(Input::Datagram {
        attempt: late,
        from,
        bytes,
    });
    assert!(world.answers.is_empty());
    let (.., query, _) = world.socket();
    world.reply(made(&query, RCODE::NoError, &[("a", a(2))]));
    assert_eq!(world.answers[&1], address(2));
    world.ask(2, "b");
    assert_eq!(world.socket().1, server(2), "the one that answers is asked first");
}

#[test]
fn tries_are_bounded() {
    for (servers, tries) in [(1, 3), (2, 4), (9, 8)] {
        let mut world = World::new(servers);
        world.ask(1, "a");
        while !world.sockets.is_empty() {
            world.time_out();
        }
        assert_eq!(world.answers[&1], Err(DnsError::Timeout));
        assert_eq!((world.sent.len(), world.now.as_secs()), (tries, 2 * tries as u64));
        world.ask(2, "a");
        assert_eq!(world.answers.get(&2), None, "failures are not kept");
    }
    let mut world = World::new(0);
    world.ask(1, "a");
    assert_eq!(world.answers[&1], Err(DnsError::NoServers));
}

#[test]
fn forged_replies_are_ignored_and_many_of_them_mean_tcp() {
    let mut world = World::new(1);
    world.ask(1, "a");
    let (attempt, from, query, _) = world.socket();
    let good = made(&query, RCODE::NoError, &[("a", a(6))]);
    let mut other_id = good.clone();
    other_id[1] ^= 1;
    let mut other_name = good.clone();
    other_name[13] = b'b';
    let stranger = SocketAddr::from(([203, 0, 113, 1], 53));
    let other_port = SocketAddr::from(([192, 0, 2, 1], 54));
    for (from, bytes) in [
        (from, other_id.clone()),
        (from, other_name),
        (from, query.clone()),
        (from, vec![]),
        (stranger, good.clone()),
        (other_port, good.clone()),
    ] {
        let bytes = Chunk::from(bytes);
        world.feed(Input::Datagram { attempt, from, bytes });
    }
    assert!(world.answers.is_empty());
    for _ in 0..10 {
        assert_eq!(world.socket().0, attempt, "still waiting");
        let bytes = Chunk::from(other_id.clone());
        world.feed(Input::Datagram { attempt, from, bytes });
    }
    let (tcp_attempt, _, query, tcp) = world.socket();
    assert!(tcp && tcp_attempt != attempt, "somebody is guessing");
    let bytes = Chunk::from(good);
    world.feed(Input::Datagram { attempt, from, bytes });
    assert!(world.answers.is_empty());
    world.reply(made(&query, RCODE::NoError, &[("a", a(1))]));
    assert_eq!(world.answers[&1], address(1));
}

#[test]
fn truncated_answers_come_by_tcp() {
    let mut world = World::new(2);
    world.ask(1, "a");
    let (.., query, _) = world.socket();
    let mut cut = made(&query, RCODE::NoError, &[]);
    cut[2] |= 2;
    world.reply(cut.clone());
    let (attempt, from, _, tcp) = world.socket();
    assert_eq!((from, tcp), (server(1), true));
    world.feed(Input::Failed { attempt });
    assert_eq!(
        (world.socket().1, world.socket().3),
        (server(2), false),
        "TCP failed: the next server"
    );
    let (.., query, _) = world.socket();
    let mut cut = made(&query, RCODE::NoError, &[]);
    cut[2] |= 2;
    world.reply(cut);
    assert!(world.socket().3);
    let waited = world.resolver.poll_timeout().expect("a timer").0 - world.now;
    assert_eq!(waited, Duration::from_secs(5), "TCP may take longer");
    let (.., query, _) = world.socket();
    world.reply(made(&query, RCODE::NoError, &[("a", a(3))]));
    assert_eq!(world.answers[&1], address(3));
}

#[test]
fn failing_servers_are_asked_once() {
    let mut world = World::new(2);
    world.ask(1, "a");
    for rcode in [RCODE::ServerFailure, RCODE::Refused] {
        let (.., query, _) = world.socket();
        world.reply(made(&query, rcode, &[]));
    }
    assert_eq!(world.answers[&1], Err(DnsError::ServerFailure("REFUSED".into())));
    assert!(world.answers[&1].as_ref().is_err_and(DnsError::is_temporary));
    let asked: Vec<SocketAddr> = world.sent.iter().map(|(server, _)| *server).collect();
    assert_eq!(asked, [server(1), server(2)]);
}

#[test]
fn servers_without_edns_are_asked_without() {
    let mut world = World::new(1);
    world.ask(1, "a");
    let (.., query, _) = world.socket();
    assert!(Packet::parse(&query).expect("query").opt().is_some());
    let mut header = made(&query, RCODE::FormatError, &[]);
    header.truncate(12);
    header[5] = 0;
    world.reply(header);
    let (.., query, _) = world.socket();
    assert!(Packet::parse(&query).expect("query").opt().is_none());
    world.reply(made(&query, RCODE::FormatError, &[]));
    assert_eq!(world.answers[&1], Err(DnsError::ServerFailure("FORMERR".into())));
}

/// The same with the AD bit, if it was asked for.
fn authentic(mut reply: Vec<u8>) -> Vec<u8> {
    reply[3] |= 0x20;
    reply
}

#[test]
fn the_ad_bit_counts_from_a_trusted_server_or_loopback_alone() {
    let local = SocketAddr::from(([127, 0, 0, 1], 5353));
    for (server, trusted, secure) in [
        (server(1), false, false),
        (server(1), true, true),
        (local, false, true),
    ] {
        let settings = Settings {
            trusted,
            ..Settings::new(vec![server])
        };
        let mut world = World::with(settings);
        world.ask(1, "a");
        let (.., query, _) = world.socket();
        assert_eq!(query[3] & 0x20, 0x20, "RFC 6840 section 5.7");
        world.reply(authentic(made(&query, RCODE::NoError, &[("a", a(4))])));
        assert_eq!(world.answers[&1].as_ref().map(|answer| answer.secure), Ok(secure));
        world.ask(2, "b");
        let (.., query, _) = world.socket();
        world.reply(made(&query, RCODE::NoError, &[("b", a(4))]));
        assert_eq!(world.answers[&2].as_ref().map(|answer| answer.secure), Ok(false));
        // What was believed is forgotten with the trust.
        if trusted {
            world.feed(Input::Trusted(false));
            world.ask(3, "a");
            let (.., query, _) = world.socket();
            world.reply(authentic(made(&query, RCODE::NoError, &[("a", a(4))])));
            assert_eq!(world.answers[&3].as_ref().map(|answer| answer.secure), Ok(false));
        }
    }
}

#[test]
fn an_answer_behind_an_alias_is_as_secure_as_the_alias() {
    let cname = RData::CNAME(CNAME(simple_dns::Name::new_unchecked("b")));
    for (first, last) in [(true, true), (false, true), (true, false)] {
        let settings = Settings {
            trusted: true,
            ..Settings::new(vec![server(1)])
        };
        let mut world = World::with(settings);
        let with = |secure, reply| if secure { authentic(reply) } else { reply };
        world.ask(1, "a");
        let (.., query, _) = world.socket();
        world.reply(with(first, made(&query, RCODE::NoError, &[("a", cname.clone())])));
        let (.., query, _) = world.socket();
        world.reply(with(last, made(&query, RCODE::NoError, &[("b", a(4))])));
        assert_eq!(
            world.answers[&1].as_ref().map(|answer| answer.secure),
            Ok(first && last)
        );
    }
}

#[test]
fn aliases_are_followed_but_not_for_ever() {
    let cname = |target| RData::CNAME(CNAME(simple_dns::Name::new_unchecked(target)));
    let mut world = World::new(1);
    world.ask(1, "a");
    let (.., query, _) = world.socket();
    world.reply(made(&query, RCODE::NoError, &[("a", cname("b"))]));
    let (.., query, _) = world.socket();
    assert_eq!(
        Packet::parse(&query).expect("query").questions[0]
            .qname
            .to_string(),
        "b"
    );
    world.reply(made(&query, RCODE::NoError, &[("b", a(4))]));
    let by_alias = |answer| Answer {
        alias: Name::parse("b"),
        ..answer
    };
    assert_eq!(world.answers[&1], address(4).map(by_alias));
    world.ask(2, "x");
    let mut asked = 0;
    while !world.answers.contains_key(&2) {
        let (.., query, _) = world.socket();
        let (from, to) = if asked % 2 == 0 { ("x", "y") } else { ("y", "x") };
        world.reply(made(&query, RCODE::NoError, &[(from, cname(to))]));
        asked += 1;
    }
    assert_eq!((asked, &world.answers[&2]), (9, &Err(DnsError::Aliases)));
}

#[test]
fn one_question_goes_out_once_and_few_at_a_time() {
    let mut settings = Settings::new(vec![server(1)]);
    settings.in_flight = 2;
    let mut world = World::with(settings);
    for (id, name) in [(1, "a"), (2, "b"), (3, "a"), (4, "c"), (5, "c")] {
        world.ask(id, name);
    }
    assert_eq!(world.sockets.len(), 2);
    let first = *world.sockets.first_key_value().expect("a socket").0;
    let (from, query, _) = world.sockets[&first].clone();
    let bytes = Chunk::from(made(&query, RCODE::NoError, &[("a", a(1))]));
    world.feed(Input::Datagram {
        attempt: first,
        from,
        bytes,
    });
    assert_eq!(
        (&world.answers[&1], &world.answers[&3]),
        (&address(1), &address(1))
    );
    assert_eq!((world.sockets.len(), world.sent.len()), (2, 3), "c had to wait");
}

#[derive(Clone, Debug)]
enum Event {
    Ask(u8),
    Good(u8),
    Bad(u8, u8),
    Fail(u8),
    Garbage(u8, Vec<u8>),
    Wait(u16),
    Servers(u8),
}

fn event() -> impl Strategy<Value = Event> {
    let garbage = (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40));
    prop_oneof![
        3 => (0_u8..4).prop_map(Event::Ask),
        2 => any::<u8>().prop_map(Event::Good),
        1 => (any::<u8>(), 0_u8..6).prop_map(|(n, code)| Event::Bad(n, code)),
        1 => any::<u8>().prop_map(Event::Fail),
        1 => garbage.prop_map(|(n, bytes)| Event::Garbage(n, bytes)),
        1 => (0_u16..3000).prop_map(Event::Wait),
        1 => (0_u8..4).prop_map(Event::Servers),
    ]
}

/// A message on one of the open sockets.
fn message(world: &World, n: u8, make: &dyn Fn(&[u8]) -> Vec<u8>) -> Option<Input> {
    let (attempt, (from, query, tcp)) = world.sockets.iter().cycle().nth(n.into())?;
    let (attempt, from, bytes) = (*attempt, *from, Chunk::from(make(query)));
    Some(if *tcp {
        Input::Tcp { attempt, bytes }
    } else {
        Input::Datagram { attempt, from, bytes }
    })
}

proptest! {
    #[test]
    fn every_question_is_answered_once_whatever_happens(events in proptest::collection::vec(event(), 0..60)) {
        let mut settings = Settings::new(vec![server(1), server(2)]);
        settings.in_flight = 3;
        settings.cache = 2;
        let mut world = World::with(settings);
        let mut asked = 0;
        for event in events {
            let input = match event {
                Event::Ask(n) => {
                    asked += 1;
                    let question = question(["a", "b", "c", "d"][usize::from(n)]);
                    Some(Input::Query { id: QueryId(asked), question })
                }
                Event::Good(n) => message(&world, n, &|query| made(query, RCODE::NoError, &[])),
                Event::Bad(n, code) => message(&world, n, &|query| made(query, RCODE::from(u16::from(code)), &[])),
                Event::Garbage(n, bytes) => message(&world, n, &|query| [&query[..2], &bytes].concat()),
                Event::Fail(n) => {
                    let attempt = world.sockets.keys().cycle().nth(n.into()).copied();
                    attempt.map(|attempt| Input::Failed { attempt })
                }
                Event::Wait(ms) => {
                    world.now += Duration::from_millis(ms.into());
                    Some(Input::Tick)
                }
                Event::Servers(n) => Some(Input::Servers((1..=n).map(server).collect())),
            };
            if let Some(input) = input {
                world.feed(input);
            }
            prop_assert!(world.sockets.len() <= 3);
            prop_assert_eq!(world.resolver.poll_timeout().is_some(), !world.sockets.is_empty());
        }
        while let Some(deadline) = world.resolver.poll_timeout() {
            world.now = deadline.0;
            world.feed(Input::Tick);
        }
        prop_assert_eq!(world.answers.len() as u64, asked);
        prop_assert!(world.sockets.is_empty());
    }
}
