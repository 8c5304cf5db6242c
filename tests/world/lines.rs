//! Lines over a connection, for peers that are no machines of ours.

use std::cell::RefCell;
use std::time::Duration;

use futures_lite::FutureExt as _;

use crate::link::{Item, Stream};
use crate::scene::Scene;

/// A connection read by lines.
pub struct Lines<'a> {
    scene: &'a Scene,
    pub stream: Stream,
    rest: RefCell<Vec<u8>>,
}

impl<'a> Lines<'a> {
    pub fn new(scene: &'a Scene, stream: Stream) -> Self {
        Self {
            scene,
            stream,
            rest: RefCell::default(),
        }
    }

    pub fn send(&self, line: &str) {
        self.stream.send(format!("{line}\r\n").as_bytes());
    }

    /// The next line without its end; `None`: the connection is over, or nothing came for ten minutes.
    pub async fn next(&self) -> Option<String> {
        loop {
            let end = self.rest.borrow().windows(2).position(|two| two == b"\r\n");
            if let Some(end) = end {
                let mut rest = self.rest.borrow_mut();
                let line: Vec<u8> = rest.drain(..end + 2).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            let late = async {
                self.scene.clock.sleep(Duration::from_secs(600)).await;
                Item::Eof
            };
            match self.stream.read().or(late).await {
                Item::Octets(octets) => self.rest.borrow_mut().extend(octets),
                Item::Hello | Item::Alert | Item::Eof => return None,
            }
        }
    }

    /// Exactly so many octets.
    pub async fn octets(&self, count: usize) -> Option<Vec<u8>> {
        loop {
            if self.rest.borrow().len() >= count {
                return Some(self.rest.borrow_mut().drain(..count).collect());
            }
            let late = async {
                self.scene.clock.sleep(Duration::from_secs(600)).await;
                Item::Eof
            };
            match self.stream.read().or(late).await {
                Item::Octets(octets) => self.rest.borrow_mut().extend(octets),
                Item::Hello | Item::Alert | Item::Eof => return None,
            }
        }
    }

    /// The code of the next reply, all its lines read.
    pub async fn reply(&self) -> Option<u16> {
        loop {
            let line = self.next().await?;
            if line.as_bytes().get(3) != Some(&b'-') {
                return line.get(..3)?.parse().ok();
            }
        }
    }

    /// A command and the code of its reply.
    pub async fn ask(&self, command: &str) -> Option<u16> {
        self.send(command);
        self.reply().await
    }
}
