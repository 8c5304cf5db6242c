//! The DNS of the world: one server that loses, delays, forges, truncates, and a process's resolver.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use futures_lite::FutureExt as _;
use rmail_core::chunk::Chunk;
use rmail_core::dns::resolver::{Action, Input, QueryId, Resolver, Settings};
use rmail_core::dns::{Answer, DnsError, Question};
use rmail_core::machine::Machine as _;

use crate::channel::Channel;
use crate::clock::Clock;
use crate::plan::{CLOSED, DEAD, EVIL, FULL, HERE, MOVE, NAMES, NEW, OLD, SINKS, THERE};
use crate::planted::Bug;
use crate::scene::{Owner, Scene};

type Result_ = Result<Answer, DnsError>;

/// Asks the resolver of one process.
#[derive(Clone)]
pub struct Dns(Channel<Event>);

enum Event {
    Ask(Question, Channel<Result_>),
    Input(Input),
}

impl Dns {
    /// Starts a resolver that lives as long as its process.
    pub fn start(scene: &Rc<Scene>, clock: &Clock, owner: Owner) -> Self {
        let events = Channel::default();
        let dns = Self(events.clone());
        scene.spawn(owner, resolve(Rc::clone(scene), clock.clone(), owner, events));
        dns
    }

    pub async fn ask(&self, question: Question) -> Result_ {
        let answer = Channel::default();
        self.0.push(Event::Ask(question, answer.clone()));
        answer.next().await
    }
}

async fn resolve(scene: Rc<Scene>, clock: Clock, owner: Owner, events: Channel<Event>) {
    let servers = vec![SocketAddr::new(NAMES, 53)];
    let mut machine = Resolver::new(Settings::new(servers), scene.seed());
    let mut asked = BTreeMap::new();
    let mut next = 0;
    loop {
        while let Some(action) = machine.poll_action() {
            match action {
                Action::SendUdp {
                    attempt,
                    server,
                    bytes,
                } => {
                    let (task_scene, events) = (Rc::clone(&scene), events.clone());
                    scene.spawn(owner, async move {
                        for bytes in udp(&task_scene, &bytes).await {
                            let bytes = Chunk::from(bytes);
                            events.push(Event::Input(Input::Datagram {
                                attempt,
                                from: server,
                                bytes,
                            }));
                        }
                    });
                }
                Action::SendTcp { attempt, bytes, .. } => {
                    let (task_scene, events) = (Rc::clone(&scene), events.clone());
                    scene.spawn(owner, async move {
                        let input = match tcp(&task_scene, &bytes).await {
                            Some(bytes) => Input::Tcp {
                                attempt,
                                bytes: Chunk::from(bytes),
                            },
                            None => Input::Failed { attempt },
                        };
                        events.push(Event::Input(input));
                    });
                }
                Action::Close(_) => {}
                Action::Answer { id, result } => {
                    let asked: Option<Channel<Result_>> = asked.remove(&id);
                    asked.expect("it was asked").push(result);
                }
            }
        }
        let deadline = machine.poll_timeout();
        let tick = async {
            clock.deadline(deadline).await;
            Event::Input(Input::Tick)
        };
        let input = match events.next().or(tick).await {
            Event::Input(input) => input,
            Event::Ask(question, answer) => {
                let id = QueryId(next);
                next += 1;
                asked.insert(id, answer);
                Input::Query { id, question }
            }
        };
        machine.handle_input(clock.now(), input);
    }
}

/// The datagrams that come back for a question.
async fn udp(scene: &Rc<Scene>, query: &[u8]) -> Vec<Vec<u8>> {
    let bad = scene.is_rough() && scene.happens(scene.plan.dns);
    scene.clock.sleep(scene.draw_latency()).await;
    let good = reply(scene, query, Manner::Good);
    if !bad {
        return vec![good];
    }
    match scene.below(5) {
        0 => Vec::new(),
        1 => vec![reply(scene, query, Manner::Failure)],
        2 => vec![reply(scene, query, Manner::Truncated)],
        3 => {
            scene.clock.sleep(Duration::from_secs(3)).await;
            vec![good]
        }
        _ => {
            // Somebody guesses ids, and the true answer comes after that.
            let mut forged = reply(scene, query, Manner::Forged);
            if !scene.has(Bug::ForgeryBelieved) {
                forged[0] ^= 0x55;
            }
            vec![forged, good.clone(), good]
        }
    }
}

async fn tcp(scene: &Rc<Scene>, query: &[u8]) -> Option<Vec<u8>> {
    let bad = scene.is_rough() && scene.happens(scene.plan.dns);
    scene.clock.sleep(scene.draw_latency()).await;
    (!bad).then(|| reply(scene, query, Manner::Good))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Good,
    Failure,
    Truncated,
    /// Every address is that of who wants the mail.
    Forged,
}

const A: u16 = 1;
const CNAME: u16 = 5;
const MX: u16 = 15;

/// What is known of a name at a time; `None`: there is no such name.
fn records(name: &str, now: Duration) -> Option<Vec<(u16, Vec<u8>)>> {
    let mx = |preference: u8, host: &str| (MX, [&[0, preference][..], &wire(host)].concat());
    let a = |address: IpAddr| match address {
        IpAddr::V4(address) => (A, address.octets().to_vec()),
        IpAddr::V6(_) => panic!("there is none here"),
    };
    Some(match name {
        "here.test" => vec![mx(10, "mail.here.test")],
        "there.test" => vec![mx(10, "mail.there.test"), mx(20, "closed.test")],
        "sink.test" => vec![
            mx(5, "dead.test"),
            mx(10, "one.sink.test"),
            mx(10, "two.sink.test"),
        ],
        // The name of a domain may be an alias (RFC 5321 §5.1).
        "alias.test" => vec![(CNAME, wire("sink.test"))],
        "full.test" => vec![a(FULL)],
        "moved.test" => vec![a(if now < MOVE { OLD } else { NEW })],
        "silent.test" => vec![mx(10, "dead.test")],
        "null.test" => vec![mx(0, "")],
        "mail.here.test" => vec![a(HERE)],
        "mail.there.test" => vec![a(THERE)],
        "one.sink.test" => vec![a(SINKS[0])],
        "two.sink.test" => vec![a(SINKS[1])],
        "closed.test" => vec![a(CLOSED)],
        "dead.test" => vec![a(DEAD)],
        _ => return None,
    })
}

/// A name in the form of RFC 1035 §3.1.
fn wire(name: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        wire.push(u8::try_from(label.len()).expect("short"));
        wire.extend_from_slice(label.as_bytes());
    }
    wire.push(0);
    wire
}

/// A reply to a query with one question (RFC 1035 §4), aliases followed as a recursive server does.
fn reply(scene: &Scene, query: &[u8], manner: Manner) -> Vec<u8> {
    let (mut at, mut labels) = (12, Vec::new());
    while query[at] != 0 {
        let len = usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..=at + len]).to_ascii_lowercase());
        at += len + 1;
    }
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let question = &query[12..at + 5];
    let (mut name, mut answers, mut count) = (labels.join("."), Vec::new(), 0_u16);
    let now = scene.clock.elapsed();
    let mut known = records(&name, now);
    while let Some(found) = known.clone() {
        let alias = found.iter().any(|(of, _)| *of == CNAME);
        for (kind, data) in found.iter().filter(|(of, _)| *of == kind || alias) {
            answers.extend(wire(&name));
            answers.extend(kind.to_be_bytes());
            answers.extend([0, 1]);
            let ttl: u32 = if scene.has(Bug::TtlIgnored) { 86_400 } else { 60 };
            answers.extend(ttl.to_be_bytes());
            answers.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
            match (manner, EVIL) {
                (Manner::Forged, IpAddr::V4(evil)) if *kind == A => answers.extend(evil.octets()),
                _ => answers.extend(data),
            }
            count += 1;
        }
        if !alias {
            break;
        }
        // There is one alias here, and this is where it leads.
        name = "sink.test".to_owned();
        known = records(&name, now);
    }
    if matches!(manner, Manner::Failure | Manner::Truncated) {
        (answers, count) = (Vec::new(), 0);
    }
    let code = match manner {
        Manner::Failure => 2,
        _ if known.is_none() => 3,
        _ => 0,
    };
    let truncated = if manner == Manner::Truncated { 2 } else { 0 };
    let mut reply = query[..2].to_vec();
    reply.extend([0x81 | truncated, 0x80 | code, 0, 1]);
    reply.extend(count.to_be_bytes());
    reply.extend([0; 4]);
    reply.extend(question);
    reply.extend(answers);
    reply
}
