//! What all of one world share: clock, chance, tasks, addresses, and the record of what happened.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rmail_core::random::Random;

use crate::channel::Channel;
use crate::clock::Clock;
use crate::ledger::Ledger;
use crate::link::{Fault, Stream};
use crate::plan::Plan;
use crate::planted::Bug;
use crate::site::Host;
use crate::story::Story;

/// Who a task belongs to, and dies with. 0 are those who never die.
pub type Owner = u64;

type Boxed = Pin<Box<dyn Future<Output = ()>>>;

/// A process that takes connections.
type Listener = (Owner, Channel<Stream>);

/// The shared part of a world.
pub struct Scene {
    pub clock: Clock,
    pub plan: Plan,
    pub story: RefCell<Story>,
    pub ledger: RefCell<Ledger>,
    /// The services that run, by the site and the process.
    hosts: RefCell<BTreeMap<(usize, Owner), Arc<Host>>>,
    random: RefCell<Random>,
    tasks: RefCell<Vec<(Owner, Boxed)>>,
    listeners: RefCell<BTreeMap<SocketAddr, Vec<Listener>>>,
    trace: bool,
    /// Connections that broke.
    broken: Cell<u64>,
    /// Clients that have not come to an end.
    pub clients: Cell<usize>,
    /// Sites whose power is to be cut at once.
    pub cuts: RefCell<Vec<usize>>,
    /// Sites one of whose processes is to die within its next calls of the disk.
    pub kills: RefCell<Vec<usize>>,
    /// Messages that went over a connection that was kept.
    pub reused: Cell<u64>,
}

impl Scene {
    pub fn new(seed: u64, plan: Plan, trace: bool) -> Rc<Self> {
        let mut octets = [0; 32];
        octets[..8].copy_from_slice(&seed.to_le_bytes());
        Rc::new(Self {
            clock: Clock::new(),
            plan,
            story: RefCell::default(),
            ledger: RefCell::default(),
            hosts: RefCell::default(),
            random: RefCell::new(Random::from_seed(octets)),
            tasks: RefCell::default(),
            listeners: RefCell::default(),
            trace,
            broken: Cell::new(0),
            clients: Cell::new(0),
            cuts: RefCell::default(),
            kills: RefCell::default(),
            reused: Cell::new(0),
        })
    }

    /// A line of what happens, for whoever runs one seed.
    pub fn trace(&self, text: impl FnOnce() -> String) {
        if self.trace {
            let elapsed = self.clock.elapsed();
            eprintln!("{:>12.3} {}", elapsed.as_secs_f64(), text());
        }
    }

    pub fn has(&self, bug: Bug) -> bool {
        self.plan.bug == Some(bug)
    }

    pub fn spawn(&self, owner: Owner, task: impl Future<Output = ()> + 'static) {
        self.tasks.borrow_mut().push((owner, Box::pin(task)));
    }

    pub fn take_tasks(&self) -> Vec<(Owner, Boxed)> {
        std::mem::take(&mut self.tasks.borrow_mut())
    }

    pub fn below(&self, bound: usize) -> usize {
        usize::try_from(self.random.borrow_mut().below(bound as u64)).expect("it fits")
    }

    /// Whether something happens that happens so often in a thousand cases.
    pub fn happens(&self, permille: usize) -> bool {
        permille > 0 && self.below(1_000) < permille
    }

    pub fn between(&self, least: Duration, most: Duration) -> Duration {
        let range = (most - least).as_millis();
        let millis = self
            .random
            .borrow_mut()
            .below(u64::try_from(range).expect("short") + 1);
        least + Duration::from_millis(millis)
    }

    pub fn seed(&self) -> [u8; 32] {
        self.random.borrow_mut().seed()
    }

    pub fn with_random<T>(&self, job: impl FnOnce(&mut Random) -> T) -> T {
        job(&mut self.random.borrow_mut())
    }

    /// Whether things still go wrong by themselves.
    pub fn is_rough(&self) -> bool {
        self.clock.elapsed() < self.plan.calm
    }

    /// A process serves.
    pub fn serves(&self, site: usize, owner: Owner, host: &Arc<Host>) {
        self.hosts.borrow_mut().insert((site, owner), Arc::clone(host));
    }

    /// One of the services of a site.
    pub fn pick_host(&self, site: usize) -> Option<Arc<Host>> {
        let hosts = self.hosts.borrow();
        let of: Vec<&Arc<Host>> = hosts
            .range((site, 0)..(site + 1, 0))
            .map(|(_, host)| host)
            .collect();
        let at = self.below(of.len().max(1));
        of.get(at).map(|host| Arc::clone(host))
    }

    // Connections.

    pub fn listen(&self, owner: Owner, address: SocketAddr) -> Channel<Stream> {
        let accepted = Channel::default();
        let mut listeners = self.listeners.borrow_mut();
        listeners
            .entry(address)
            .or_default()
            .push((owner, accepted.clone()));
        accepted
    }

    /// Everything of a process ends that others could reach.
    pub fn forget(&self, owner: Owner) {
        let mut listeners = self.listeners.borrow_mut();
        for present in listeners.values_mut() {
            present.retain(|(of, _)| *of != owner);
        }
        self.tasks.borrow_mut().retain(|(of, _)| *of != owner);
        self.hosts.borrow_mut().retain(|(_, of), _| *of != owner);
    }

    /// Connects: to one of those who listen there.
    pub async fn connect(self: &Rc<Self>, to: SocketAddr, patience: Duration) -> Result<Stream, String> {
        let silent = self.is_rough() && self.happens(self.plan.unreachable);
        if silent || self.plan.is_silent(to.ip()) {
            self.clock.sleep(patience).await;
            return Err("timed out".to_owned());
        }
        self.clock.sleep(self.draw_latency()).await;
        let accepted = {
            let listeners = self.listeners.borrow();
            let present = listeners.get(&to).map(Vec::as_slice).unwrap_or_default();
            present
                .get(self.below(present.len().max(1)))
                .map(|(_, accepted)| accepted.clone())
        };
        let Some(accepted) = accepted else {
            return Err("connection refused".to_owned());
        };
        let (ours, theirs) = Stream::pair(self);
        accepted.push(theirs);
        Ok(ours)
    }

    pub fn broke(&self) {
        self.broken.set(self.broken.get() + 1);
        self.trace(|| "a connection breaks".to_owned());
    }

    pub fn broken(&self) -> u64 {
        self.broken.get()
    }

    pub fn draw_fault(&self) -> Option<Fault> {
        if !self.is_rough() || !self.happens(self.plan.breaks) {
            return None;
        }
        // Few octets and many are as likely.
        let scale = 1 << self.below(13);
        let limit = self.below(scale + 1);
        Some(match self.below(3) {
            0 => Fault::Silence(limit),
            _ => Fault::Cut(limit),
        })
    }

    pub fn draw_bad_handshake(&self) -> bool {
        self.is_rough() && self.happens(self.plan.breaks)
    }

    pub fn draw_piece(&self) -> usize {
        match self.below(4) {
            0 => 1 + self.below(16),
            1 => 1 + self.below(200),
            _ => usize::MAX,
        }
    }

    pub fn draw_latency(&self) -> Duration {
        let most = if self.is_rough() && self.happens(20) {
            20_000
        } else {
            50
        };
        self.between(Duration::from_millis(1), Duration::from_millis(most))
    }
}
