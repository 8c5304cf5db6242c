//! Connections that delay, split, break, and swallow.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use rmail_core::machine::TlsInfo;

use crate::planted::Bug;
use crate::scene::Scene;

/// One end of a connection. Dropping it closes the connection, as the end of its process does.
pub struct Stream {
    scene: Rc<Scene>,
    out: Rc<RefCell<Pipe>>,
    inp: Rc<RefCell<Pipe>>,
}

/// What comes out of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Octets(Vec<u8>),
    /// One flight of a handshake.
    Hello,
    /// A handshake is refused.
    Alert,
    Eof,
}

/// What goes wrong with a direction, behind so many octets.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// The connection is cut, and both ends hear of it.
    Cut(usize),
    /// Nothing more comes through, and nobody hears of it.
    Silence(usize),
}

#[derive(Default)]
struct Pipe {
    items: VecDeque<(Duration, Item)>,
    waker: Option<Waker>,
    /// When the last item arrives: what is sent later does not arrive before it.
    last: Duration,
    passed: usize,
    fault: Option<Fault>,
    /// Nothing more is taken.
    closed: bool,
}

impl Pipe {
    fn push(&mut self, at: Duration, item: Item) {
        self.last = self.last.max(at);
        self.items.push_back((self.last, item));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn end(&mut self, at: Duration) {
        if !self.closed {
            self.closed = true;
            self.push(at, Item::Eof);
        }
    }
}

/// What counts a flight of a handshake for in octets.
const HELLO: usize = 300;

impl Stream {
    /// Both ends of a new connection: first who connects.
    pub fn pair(scene: &Rc<Scene>) -> (Self, Self) {
        let pipe = |fault| {
            Rc::new(RefCell::new(Pipe {
                fault,
                ..Pipe::default()
            }))
        };
        let (there, back) = (pipe(scene.draw_fault()), pipe(scene.draw_fault()));
        let end = |out: &Rc<RefCell<Pipe>>, inp: &Rc<RefCell<Pipe>>| Self {
            scene: Rc::clone(scene),
            out: Rc::clone(out),
            inp: Rc::clone(inp),
        };
        (end(&there, &back), end(&back, &there))
    }

    /// What is wrong with the servers of this world.
    pub fn bug(&self) -> Option<Bug> {
        self.scene.plan.bug
    }

    /// Sends octets, in as many pieces as it pleases the link.
    pub fn send(&self, octets: &[u8]) {
        let mut rest = octets;
        while !rest.is_empty() {
            let most = self.scene.draw_piece().min(rest.len());
            let (piece, later) = rest.split_at(most);
            self.put(piece.len(), |kept| Item::Octets(piece[..kept].to_vec()));
            rest = later;
        }
    }

    fn put(&self, len: usize, item: impl FnOnce(usize) -> Item) {
        let at = self.scene.clock.elapsed() + self.scene.draw_latency();
        let mut out = self.out.borrow_mut();
        if out.closed {
            return;
        }
        let passed = out.passed;
        out.passed += len;
        match out.fault {
            Some(Fault::Cut(limit)) if passed + len > limit => {
                let kept = limit.saturating_sub(passed);
                if kept > 0 {
                    out.push(at, item(kept));
                }
                out.end(at);
                drop(out);
                self.scene.broke();
                self.inp.borrow_mut().end(at);
            }
            Some(Fault::Silence(limit)) if passed + len > limit => {
                out.closed = true;
                self.scene.broke();
            }
            _ => out.push(at, item(len)),
        }
    }

    /// What comes next. Dropping the future loses nothing.
    pub async fn read(&self) -> Item {
        loop {
            let front = self.inp.borrow().items.front().map(|(at, _)| *at);
            match front {
                Some(at) if at <= self.scene.clock.elapsed() => {
                    let item = self.inp.borrow_mut().items.pop_front();
                    return item.expect("it is there").1;
                }
                Some(at) => self.scene.clock.until(at).await,
                None => {
                    poll_fn(|context| {
                        let mut inp = self.inp.borrow_mut();
                        if inp.items.is_empty() {
                            inp.waker = Some(context.waker().clone());
                            return Poll::Pending;
                        }
                        Poll::Ready(())
                    })
                    .await;
                }
            }
        }
    }

    /// A handshake, as far as the machines can tell.
    pub async fn handshake(&self, client: bool) -> Option<TlsInfo> {
        let flight = if !client && self.scene.draw_bad_handshake() {
            Item::Alert
        } else {
            Item::Hello
        };
        if client {
            self.put(HELLO, |_| Item::Hello);
        }
        let theirs = self.read().await;
        if !client {
            self.put(HELLO, |_| flight.clone());
        }
        (theirs == Item::Hello && flight == Item::Hello).then(|| TlsInfo {
            version: 0x0304,
            cipher: "TLS13_AES_128_GCM_SHA256".into(),
            ..TlsInfo::default()
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let at = self.scene.clock.elapsed() + Duration::from_millis(1);
        self.out.borrow_mut().end(at);
    }
}
