//! What is remembered of hosts: who does not answer, and who wants fewer connections.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::text::rfc3339;
use crate::time::{Mono, Now, Unix};

/// Hosts that are remembered at most.
const MOST: usize = 10_000;

/// A host that nobody has asked for is forgotten after this time.
const FORGET: Duration = Duration::from_secs(3600);

/// How long a host gets fewer connections after it has said that they were too many.
const CROWDED: Duration = Duration::from_secs(600);

/// What is remembered of one host.
#[derive(Clone, Debug, Default)]
pub(super) struct Health {
    /// It takes no connections.
    pub(super) down: Option<Down>,
    /// It gets so many connections, until then.
    most: Option<(usize, Mono)>,
    /// It takes so many messages over one connection, until then.
    messages: Option<(u32, Mono)>,
    /// When something was last learned of it.
    seen: Mono,
}

/// Why a host is left alone.
#[derive(Clone, Debug)]
pub(super) struct Down {
    /// Tries that were in vain; those at the same time are one.
    pub(super) tries: u32,
    /// When the first of them ended.
    pub(super) since: Unix,
    since_mono: Mono,
    /// When the last of them ended.
    last_at: Mono,
    /// What it gave.
    pub(super) last: String,
    /// Nobody tries before.
    pub(super) until: Mono,
}

/// What is remembered of all.
#[derive(Debug, Default)]
pub(super) struct Memory {
    hosts: BTreeMap<SocketAddr, Health>,
}

impl Memory {
    pub(super) fn down(&self, address: &SocketAddr) -> Option<&Down> {
        self.hosts.get(address)?.down.as_ref()
    }

    /// A try that began at `began` has failed. Whether that is news, and not one more of those that were under way when the
    /// host was found to be down.
    pub(super) fn failed(
        &mut self,
        address: SocketAddr,
        began: Mono,
        why: &str,
        now: Now,
        pauses: &[Duration],
    ) -> bool {
        let health = self.learn(address, now.mono);
        let down = health.down.get_or_insert_with(|| Down {
            tries: 0,
            since: now.unix,
            since_mono: now.mono,
            last_at: Mono::default(),
            last: String::new(),
            until: now.mono,
        });
        why.clone_into(&mut down.last);
        let news = down.tries == 0 || began > down.last_at;
        if news {
            let step = usize::try_from(down.tries).unwrap_or(usize::MAX);
            let pause = pauses.get(step).or(pauses.last()).copied().unwrap_or_default();
            down.tries = down.tries.saturating_add(1);
            down.last_at = now.mono;
            down.until = now.mono + pause;
        }
        news
    }

    /// Whoever is down may be tried.
    pub(super) fn end_pauses(&mut self) {
        for down in self.hosts.values_mut().filter_map(|health| health.down.as_mut()) {
            down.until = Mono::default();
        }
    }

    /// It takes connections. How long it did not, if it was down.
    pub(super) fn answered(&mut self, address: &SocketAddr, now: Mono) -> Option<Duration> {
        let down = self.hosts.get_mut(address)?.down.take()?;
        Some(now - down.since_mono)
    }

    /// It gets so many connections at the same time for a while. Whether that is fewer than before.
    pub(super) fn crowded(&mut self, address: SocketAddr, most: usize, now: Mono) -> bool {
        let health = self.learn(address, now);
        let before = health.most.filter(|(_, until)| *until > now);
        health.most = Some((most, now + CROWDED));
        before.is_none_or(|(before, _)| most < before)
    }

    /// The bound of connections to it, and when that ends.
    pub(super) fn most(&self, address: &SocketAddr, now: Mono) -> Option<(usize, Mono)> {
        let most = self.hosts.get(address)?.most;
        most.filter(|(_, until)| *until > now)
    }

    /// It tires after so many messages over one connection.
    pub(super) fn tired(&mut self, address: SocketAddr, messages: u32, now: Mono) {
        self.learn(address, now).messages = Some((messages.max(1), now + CROWDED));
    }

    /// Messages that it takes over one connection, if it is known.
    pub(super) fn messages(&self, address: &SocketAddr, now: Mono) -> Option<u32> {
        let (messages, until) = self.hosts.get(address)?.messages?;
        (until > now).then_some(messages)
    }

    /// Those of whom something is remembered.
    pub(super) fn len(&self) -> usize {
        self.hosts.len()
    }

    fn learn(&mut self, address: SocketAddr, now: Mono) -> &mut Health {
        if self.hosts.len() >= MOST && !self.hosts.contains_key(&address) {
            self.hosts.retain(|_, health| now - health.seen < FORGET);
            let oldest = self.hosts.iter().min_by_key(|(_, health)| health.seen);
            if let Some(oldest) = oldest
                .map(|(address, _)| *address)
                .filter(|_| self.hosts.len() >= MOST)
            {
                self.hosts.remove(&oldest);
            }
        }
        let health = self.hosts.entry(address).or_default();
        health.seen = now;
        health
    }
}

impl Down {
    /// For those who wanted to go there now.
    pub(super) fn describe(&self, now: Mono) -> String {
        let tries = if self.tries == 1 { "try" } else { "tries" };
        format!(
            "left alone, it has taken no connection since {} ({} {tries}; the last, {} s ago: {})",
            rfc3339::print(Unix::from_secs(self.since.secs())),
            self.tries,
            (now - self.last_at).as_secs(),
            self.last
        )
    }
}
