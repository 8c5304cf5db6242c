//! The replayer itself, with a machine that is small enough to know what it says.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use rmail_conformance::bless::bless;
use rmail_conformance::host::{Connection, Event, Host};
use rmail_conformance::replay::{Failure, Stage, replay};
use rmail_conformance::transcript::{Opening, Transcript};
use rmail_core::chunk::Chunk;
use rmail_core::line::{Inbox, Line};
use rmail_core::machine::{Action, BlobId, Bytes, CallId, Input, Machine, Scope, Session, SpoolId, WatchId};
use rmail_core::mailbox::ModSeq;
use rmail_core::refusal::Refusal;
use rmail_core::time::{Mono, Now};
use rmail_store::hub::Wake;
use rmail_store::service::{Answer, Serve};

/// Answers one word a line: `echo X`, `lines N`, `call X`, `later`, `tls`, `size`, `close`.
#[derive(Default)]
struct Toy {
    inbox: Inbox,
    actions: VecDeque<Action<String>>,
    waiting: bool,
    deadline: Option<Mono>,
    tls: bool,
    /// Octets of the last read: what a machine must not depend on.
    read: usize,
}

impl Toy {
    fn say(&mut self, text: &str) {
        let octets = format!("{text}\r\n").into_bytes();
        self.actions.push_back(Action::Send(Bytes::Owned(octets)));
    }

    fn work(&mut self, now: Now) {
        while !self.waiting && !self.tls {
            let Line::Whole(line) = self.inbox.line(1_000) else {
                return;
            };
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match word {
                "echo" => self.say(rest),
                "lines" => {
                    let count: usize = rest.parse().unwrap_or(0);
                    self.say(&format!("body {{{}}}", 3 * count));
                    (0..count).for_each(|_| self.say("x"));
                }
                "call" => {
                    self.waiting = true;
                    self.actions.push_back(Action::Call(CallId(1), rest.to_owned()));
                }
                "later" => self.deadline = Some(now.mono + Duration::from_secs(60)),
                "tls" => {
                    self.say("go");
                    self.inbox.clear();
                    self.actions.push_back(Action::StartTls);
                    self.tls = true;
                }
                "size" => self.say(&format!("{} octets", self.read)),
                "close" => {
                    self.say("bye");
                    self.actions.push_back(Action::Close);
                }
                _ => self.say("what?"),
            }
        }
    }
}

impl Machine for Toy {
    type Input = Input<String>;
    type Action = Action<String>;

    fn handle_input(&mut self, now: Now, input: Input<String>) {
        match input {
            Input::Bytes(chunk) if self.tls => drop(chunk),
            Input::Bytes(chunk) => {
                self.read = chunk.len();
                self.inbox.push(chunk);
            }
            Input::Reply(_, reply) => {
                self.waiting = false;
                self.say(&reply);
            }
            Input::Tick => {
                if self.deadline.take_if(|at| *at <= now.mono).is_some() {
                    self.say(&format!("late at {}", now.mono.0.as_secs()));
                }
            }
            Input::TlsStarted(_) => self.tls = false,
            Input::Dirty(_) => {}
            Input::Eof => self.say("eof"),
            Input::Shutdown => self.say("shutdown"),
        }
        self.work(now);
    }

    fn poll_action(&mut self) -> Option<Action<String>> {
        self.actions.pop_front()
    }

    fn poll_timeout(&self) -> Option<Mono> {
        self.deadline
    }
}

impl Session for Toy {
    type Call = String;
    type Reply = String;

    fn wants_bytes(&self) -> bool {
        !self.waiting
    }
}

struct Answers;

impl Serve for Answers {
    type Call = String;
    type Reply = String;

    fn answer(&self, _: Now, call: String) -> Answer<String, String> {
        Answer::Now(format!("answer to {call}"))
    }
    async fn run(&self, _: Now, call: String) -> String {
        call
    }
    fn spool_now(&self, _: SpoolId, _: Chunk) -> Result<(), Chunk> {
        Ok(())
    }
    async fn spool(&self, _: SpoolId, _: Chunk) {}
    async fn read_blob(&self, _: BlobId, _: u64, _: usize) -> rmail_store::error::Result<Chunk> {
        Ok(Chunk::default())
    }
    fn close_blob(&self, _: BlobId) {}
    fn watch(&self, _: WatchId, _: Scope, _: ModSeq, _: Wake) {}
    fn unwatch(&self, _: WatchId) {}
}

struct Room {
    events: RefCell<Vec<String>>,
}

impl Stage for Room {
    fn connect(&mut self, _: &Opening, now: Now) -> Result<Box<dyn Connection>, String> {
        let refuse = |call: &String, word: Refusal| Some(format!("{call} refused: {word:?}"));
        let mut host = Host::new(Toy::default(), Answers, refuse);
        host.happen(now, Event::Nothing)?;
        Ok(Box::new(host))
    }
    fn outside(&mut self, event: &str, _: Now) -> Result<(), String> {
        self.events.borrow_mut().push(event.to_owned());
        if event == "rain" {
            Ok(())
        } else {
            Err("no such weather".to_owned())
        }
    }
    fn passed(&mut self, _: Now) {}
}

fn room(_: &Transcript, _: Now) -> Result<Room, String> {
    Ok(Room {
        events: RefCell::default(),
    })
}

const HEAD: &str = "# A toy.\n@session toy\n@session 2 toy\n\n";

fn play(steps: &str) -> Result<(), Failure> {
    let transcript = Transcript::parse(&format!("{HEAD}{steps}")).expect("a transcript");
    replay(&transcript, room)
}

/// The line of the steps (from 1) that fails, and what is said of it.
fn fails(steps: &str) -> (usize, String) {
    match play(steps) {
        Err(Failure::Step { line, text, .. }) => (line - HEAD.lines().count(), text),
        other => panic!("{steps}: {other:?}"),
    }
}

#[test]
fn what_holds() {
    for steps in [
        "C: echo a\nC: echo b\nS: a\nS: b\n",
        "C: echo a\nS: a\nC2: echo b\nS2: b\nS-\nS2-\n",
        "C: echo ${*} x\nS: ${*} x\n"
            .replace("echo ${*}", "echo 17")
            .as_str(),
        "C: echo n=17\nS: n=${n:number}\nC: echo ${n}\nS: 17\n",
        "C: lines 2\nS: body {*}\nS| x\nS| x\n",
        "C: echo a\nC: lines 1\nS{\nS: body {*}\nS| x\nS: a\nS}\n",
        "C: echo a\nS? b\nS: a\nS? c\n",
        "C: echo a\nS? a\n",
        "C~ ec\nC~ ho a\\r\\n\nS~ a\\r\nS~ \\n\n",
        "C: later\nT: +59s\nS-\nT: +2s\nS: late at 60\n",
        "C: call x\nA: Call \"x\"\nS: answer to x\n",
        "C: call x\nC: call y\nA: Call \"y\"\nR: Busy\nS: answer to x\nS: y refused: Busy\n",
        "C: tls\nC: echo injected\nS: go\nC: echo a\nS: a\n",
        "C: close\nA: Close\nS: bye\nS#\n",
        "S-\nS2-\n!: shutdown\nS: shutdown\nS2: shutdown\n!: eof 2\nS2: eof\n!: rain\n",
    ] {
        assert_eq!(play(steps), Ok(()), "{steps}");
    }
}

#[test]
fn what_does_not_hold() {
    for (steps, line, text) in [
        ("C: echo a\nS: b\n", 2, "sent: a"),
        ("C: echo a\nS: a\nS: b\n", 3, "nothing was sent"),
        ("C: echo a\n", 1, "what is not here: a"),
        (
            "C: echo a\nC2: echo b\nS: a\nC: echo c\n",
            4,
            "connection 2 sent what is not here: b",
        ),
        ("C: echo a\nS-\n", 2, "something was sent: a"),
        (
            "C: lines 2\nS: body {*}\nS| x\n",
            2,
            "announced with 6 octets, and has 3",
        ),
        ("C: lines 1\nS: body {*}\nS| y\n", 2, "in the literal: x"),
        ("C: echo a\nS{\nS: b\nS: a\nS}\n", 2, "none of line 7"),
        ("C: echo n=x\nS: n=${n:number}\n", 2, "sent: n=x"),
        ("C: echo 1\nS: ${n}\nC: echo 2\nS: ${n}\n", 4, "sent: 2"),
        ("C: echo ${n}\n", 1, "not bound"),
        ("C: close\nS: bye\nC: echo\n", 3, "has closed"),
        ("S#\n", 1, "open"),
        ("C: call x\nA: Call \"y\"\n", 2, "no such action"),
        ("C: call x\nA: Call \"x\"\nR: Monday\n", 1, "no word of policy"),
        ("C: later\nT: +1m\nC: echo\n", 3, "what is not here: late"),
        ("!: snow\n", 1, "no such weather"),
        ("C: {*}\n", 1, "without C|"),
    ] {
        let (failed, said) = fails(steps);
        assert!(
            failed == line && said.contains(text),
            "{steps}: line {failed}: {said}"
        );
    }
}

#[test]
fn what_depends_on_the_delivery() {
    assert!(matches!(
        play("C: size\nS: ${*}\n"),
        Err(Failure::Differs { connection: 1, .. })
    ));
}

#[test]
fn literals_of_the_client_are_counted() {
    let steps = "C: echo {*}\nC| ab\nC| c\nS: {7}\nS: what?\nS: what?\n";
    assert_eq!(play(steps), Ok(()));
    let after_plus = "C: echo {*+}\nS: {4+}\nC| ab\nS: what?\n";
    assert_eq!(play(after_plus), Ok(()));
}

fn blessed(steps: &str) -> String {
    let text = bless(&format!("{HEAD}{steps}"), room).expect("blessed");
    let steps = text.strip_prefix(HEAD).expect("the head stays").to_owned();
    assert_eq!(play(&steps), Ok(()), "{steps}");
    steps
}

#[test]
fn blessing_writes_what_is_said() {
    for (before, after) in [
        ("C: echo a\nS: a\n# x\n", "C: echo a\nS: a\n# x\n"),
        ("C: echo a\nS: ${*}\n", "C: echo a\nS: ${*}\n"),
        ("C: echo a\n", "C: echo a\nS: a\n"),
        (
            "C: echo a\nS: b\nC: echo c\n\n",
            "C: echo a\nS: a\nC: echo c\nS: c\n\n",
        ),
        (
            "C: echo a\nC: echo 5\nS: x\nS: ${n:number}\nS: z\n",
            "C: echo a\nC: echo 5\nS: a\nS: ${n:number}\n",
        ),
        (
            "C: lines 2\nS: body {*}\nS| y\nC2: echo b\n",
            "C: lines 2\nS: body {*}\nS| x\nS| x\nC2: echo b\nS2: b\n",
        ),
        ("C: later\nT: +2m\n", "C: later\nT: +2m\nS: late at 60\n"),
    ] {
        assert_eq!(blessed(before), after, "{before}");
    }
}
