//! One world from its beginning to the last word about its messages.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::Duration;

use rmail_core::random::Random;
use rmail_core::relay::queue::{Command, Input};
use rmail_store::mem::exec::{Exec, TaskId};
use rmail_store::mem::{Fault, MemDisk, Model, Outcome};

use crate::plan::Plan;
use crate::planted::{Bug, wires};
use crate::scene::{Owner, Scene};
use crate::site::{PLACES, Place, Process, furnish};
use crate::{client, reader, relay, sink, verify};

/// By then every recipient has come to its end: nine attempts, and as many of the notice of their failure.
const END: Duration = Duration::from_secs(8 * 24 * 3600);

/// What a world came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub messages: usize,
    pub attempts: usize,
    pub notices: usize,
    pub crashes: usize,
    pub broken: u64,
    pub reused: u64,
    pub copies: usize,
    pub hours: u64,
    /// Commands of readers, and what was compared with what they were told.
    pub commands: usize,
    pub checks: usize,
}

struct World {
    scene: Rc<Scene>,
    exec: Exec<'static>,
    tasks: Vec<(Owner, TaskId)>,
    sites: Vec<Site>,
    next_owner: Owner,
    crashes: usize,
}

struct Site {
    place: Place,
    /// Storage; no process.
    disk: MemDisk,
    processes: Vec<Rc<Process>>,
}

/// Something that happens at its time.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Start(usize),
    Kill(usize),
    /// A process ends at one of its next calls of the disk.
    KillAtCall(usize),
    PowerCut(usize),
    /// A call of the disk fails.
    Fault(usize),
    Full(usize, bool),
    /// The date is set, so many seconds on.
    Jump(i64),
    /// An operator wants something of an entry.
    Order(usize, Command),
    /// An operator has the configuration read again.
    Reload(usize),
    Adopt(usize),
}

/// Runs a world; its figures, or what was wrong.
pub fn run(seed: u64, bug: Option<Bug>, trace: bool) -> Result<Figures, Vec<String>> {
    static DISKS: OnceLock<[MemDisk; 2]> = OnceLock::new();
    let disks = DISKS.get_or_init(|| PLACES.map(furnish));
    let mut plan = Plan::of(seed);
    plan.bug = bug;
    let scene = Scene::new(seed, plan, trace);
    let sites = PLACES.iter().zip(disks).map(|(place, disk)| Site {
        place: *place,
        disk: disk.fork(),
        processes: Vec::new(),
    });
    let mut world = World {
        exec: Exec::new(Random::from_seed(scene.seed())),
        tasks: Vec::new(),
        sites: sites.collect(),
        next_owner: 1,
        crashes: 0,
        scene,
    };
    world.live();
    world.judge()
}

impl World {
    fn live(&mut self) {
        let mut agenda = self.agenda();
        sink::start(&self.scene);
        client::start(&self.scene);
        reader::start(&self.scene);
        while self.scene.clock.elapsed() < END {
            self.settle(&mut agenda);
            if self.is_over(&agenda) {
                return;
            }
            let next = agenda.first_key_value().map(|((at, _), _)| *at);
            let wake = self.scene.clock.next();
            let Some(at) = next.into_iter().chain(wake).min() else {
                break;
            };
            self.advance(at);
            while let Some(first) = agenda.first_entry().filter(|first| first.key().0 <= at) {
                let happening = first.remove();
                self.happen(happening, &mut agenda);
            }
        }
        let left = "the world does not come to its end".to_owned();
        self.scene.story.borrow_mut().fault(left);
    }

    /// Lets everybody go on until all wait for time to pass.
    fn settle(&mut self, agenda: &mut Agenda) {
        loop {
            for (owner, task) in self.scene.take_tasks() {
                let id = self.exec.spawn(task);
                if owner != 0 {
                    self.tasks.push((owner, id));
                }
            }
            for at in 0..self.sites.len() {
                self.bury(at, agenda);
            }
            if !self.exec.step() {
                return;
            }
            let cuts = std::mem::take(&mut *self.scene.cuts.borrow_mut());
            for site in cuts {
                self.happen(Happening::PowerCut(site), agenda);
            }
            let kills = std::mem::take(&mut *self.scene.kills.borrow_mut());
            for site in kills {
                self.plant(site, Fault::Crash, 60);
            }
        }
    }

    fn advance(&mut self, at: Duration) {
        self.scene.clock.advance(at);
        let date = self.scene.clock.date();
        for site in &self.sites {
            site.disk.set_clock(date);
        }
    }

    /// Nobody has anything to do any more.
    fn is_over(&self, agenda: &Agenda) -> bool {
        let rests = |site: &Site| {
            let mut processes = site.processes.iter();
            !site.processes.is_empty()
                && processes.all(|process| process.idle.get() && process.entries.get() == 0)
        };
        agenda.is_empty() && self.scene.clients.get() == 0 && self.sites.iter().all(rests)
    }

    /// What happens from outside, and when.
    fn agenda(&self) -> Agenda {
        let (scene, mut agenda) = (&self.scene, Agenda::new());
        let plan = &scene.plan;
        let calm = plan.calm;
        for (at, site) in [(0, 0), (1, 1)] {
            let processes = if site == 0 { plan.processes } else { 1 };
            for process in 0..processes {
                let key = (
                    Duration::from_millis(10 * process as u64),
                    at * 10 + process as u64,
                );
                agenda.insert(key, Happening::Start(site));
            }
        }
        let mut number = 100;
        let mut add = |at: Duration, happening| {
            number += 1;
            agenda.insert((at, number), happening);
        };
        for _ in 0..plan.crashes {
            let at = scene.between(Duration::from_secs(1), calm);
            let site = scene.below(2);
            let happening = match scene.below(4) {
                0 => Happening::Kill(site),
                1 => Happening::PowerCut(site),
                _ => Happening::KillAtCall(site),
            };
            add(at, happening);
        }
        for _ in 0..plan.disk_faults {
            let at = scene.between(Duration::from_secs(1), calm);
            let site = scene.below(2);
            if scene.happens(250) {
                add(at, Happening::Full(site, true));
                let most = Duration::from_secs(1800);
                add(
                    at + scene.between(Duration::from_secs(1), most),
                    Happening::Full(site, false),
                );
            } else {
                add(at, Happening::Fault(site));
            }
        }
        for _ in 0..plan.jumps {
            let at = scene.between(Duration::from_secs(1), calm);
            let seconds = i64::try_from(scene.below(40 * 86_400)).expect("it fits");
            let back = scene.happens(500);
            add(at, Happening::Jump(if back { -seconds } else { seconds }));
        }
        for _ in 0..plan.orders {
            let at = scene.between(Duration::from_secs(1), calm);
            let site = scene.below(2);
            let happening = match scene.below(4) {
                0 => Happening::Reload(site),
                1 => Happening::Order(site, Command::Retry),
                2 => Happening::Order(site, Command::Fail),
                _ => Happening::Order(site, Command::Hold),
            };
            add(at, happening);
        }
        agenda
    }

    /// Of one of the entries that are known; what is held is released after some hours.
    fn order(&self, at: usize, command: Command, agenda: &mut Agenda) {
        let story = &mut *self.scene.story.borrow_mut();
        let entries = match command {
            Command::Release => story.ordered(),
            _ => story.order(|count| self.scene.below(count)).into_iter().collect(),
        };
        for entry in entries {
            for process in &self.sites[at].processes {
                let entry = entry.clone();
                process.inputs.push(Input::Command { entry, command });
            }
        }
        if command == Command::Hold {
            let most = Duration::from_secs(4 * 3600);
            let until = self.scene.clock.elapsed() + self.scene.between(Duration::ZERO, most);
            let number = 10_000 + agenda.len() as u64;
            agenda.insert((until, number), Happening::Order(at, Command::Release));
        }
    }

    fn happen(&mut self, happening: Happening, agenda: &mut Agenda) {
        self.scene.trace(|| format!("{happening:?}"));
        match happening {
            Happening::Start(at) => {
                let owner = self.next_owner;
                self.next_owner += 1;
                let site = &mut self.sites[at];
                let process = Process::start(&self.scene, site.place, owner, site.disk.process());
                site.processes.push(process);
            }
            Happening::Kill(at) => {
                if let Some(process) = self.pick(at) {
                    process.disk.kill();
                }
            }
            Happening::KillAtCall(at) => self.plant(at, Fault::Crash, 200),
            Happening::PowerCut(at) => {
                let scene = &self.scene;
                if at == 0 {
                    let flaky = scene.plan.disk_faults > 0;
                    let now = scene.clock.elapsed();
                    scene.ledger.borrow_mut().power_cut(now, flaky);
                }
                let model = [Model::Adversary, Model::Ordered][scene.below(2)];
                let outcome = [Outcome::Lost, Outcome::Kept, Outcome::Random][scene.below(3)];
                scene.with_random(|random| self.sites[at].disk.power_cut(model, outcome, random));
            }
            Happening::Fault(at) => {
                // ENOSPC, EIO, EMFILE.
                let errno = [28, 5, 24][self.scene.below(3)];
                self.plant(at, Fault::Errno(errno), 100);
            }
            Happening::Full(at, full) => self.sites[at].disk.set_full(full),
            Happening::Jump(seconds) => self.scene.clock.jump(seconds),
            Happening::Order(at, command) => self.order(at, command, agenda),
            Happening::Reload(at) => {
                for process in &self.sites[at].processes {
                    let settings = Box::new(relay::settings(process));
                    process.inputs.push(Input::Settings(settings));
                }
            }
            Happening::Adopt(at) => {
                for process in &self.sites[at].processes {
                    adopt(process);
                }
            }
        }
        for at in 0..self.sites.len() {
            self.bury(at, agenda);
        }
    }

    fn pick(&self, at: usize) -> Option<&Rc<Process>> {
        let processes = &self.sites[at].processes;
        processes.get(self.scene.below(processes.len().max(1)))
    }

    /// One of the next calls of a process ends so.
    fn plant(&self, at: usize, fault: Fault, within: usize) {
        if let Some(process) = self.pick(at) {
            let call = process.disk.calls() + 1 + self.scene.below(within) as u64;
            process.disk.fault(call, fault);
        }
    }

    /// What is left of processes that are dead goes with them; the system starts them again.
    fn bury(&mut self, at: usize, agenda: &mut Agenda) {
        let site = &mut self.sites[at];
        if site.processes.iter().all(|process| !process.disk.is_dead()) {
            return;
        }
        let (dead, alive): (Vec<_>, Vec<_>) = std::mem::take(&mut site.processes)
            .into_iter()
            .partition(|process| process.disk.is_dead());
        site.processes = alive;
        let now = self.scene.clock.elapsed();
        for process in dead {
            self.crashes += 1;
            let owner = process.owner;
            self.scene
                .trace(|| format!("process {owner} of {} is dead", process.place.domain));
            self.scene.story.borrow_mut().crash(at, now);
            self.scene.forget(owner);
            for (_, task) in self.tasks.iter().filter(|(of, _)| *of == owner) {
                self.exec.cancel(*task);
            }
            self.tasks.retain(|(of, _)| *of != owner);
            let rest = self
                .scene
                .between(Duration::from_secs(1), Duration::from_secs(600));
            agenda.insert((now + rest, owner * 10), Happening::Start(at));
            // Those beside it look for queues of the dead every half minute.
            let look = self.scene.between(Duration::ZERO, Duration::from_secs(30));
            agenda.insert((now + look, owner * 10 + 1), Happening::Adopt(at));
        }
    }

    fn judge(&self) -> Result<Figures, Vec<String>> {
        let copies = verify::verify(&self.scene, &self.disks());
        let story = self.scene.story.borrow();
        if !story.faults.is_empty() {
            return Err(story.faults.clone());
        }
        Ok(Figures {
            messages: story.messages.len(),
            attempts: story.attempts,
            notices: story.notices,
            crashes: self.crashes,
            broken: self.scene.broken(),
            reused: self.scene.reused.get(),
            copies,
            hours: self.scene.clock.elapsed().as_secs() / 3600,
            commands: self.scene.ledger.borrow().commands,
            checks: self.scene.ledger.borrow().checks,
        })
    }

    /// Stops all processes; what they leave.
    fn disks(&self) -> Vec<(Place, MemDisk)> {
        for site in &self.sites {
            for process in &site.processes {
                process.disk.kill();
            }
        }
        let disks = self.sites.iter().map(|site| (site.place, site.disk.fork()));
        disks.collect()
    }
}

type Agenda = BTreeMap<(Duration, u64), Happening>;

/// Goes on with the entries of processes that have died.
fn adopt(process: &Rc<Process>) {
    let service = process.service.borrow().clone();
    let (Some(service), task) = (service, Rc::clone(process)) else {
        return;
    };
    process.spawn(async move {
        if let Ok(entries) = service.adopt_outbound().await {
            let entries = wires::loaded(task.scene.plan.bug, entries);
            let input = Input::Loaded(entries);
            task.inputs.push(input);
        }
    });
}

impl Figures {
    pub fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.attempts += other.attempts;
        self.notices += other.notices;
        self.crashes += other.crashes;
        self.broken += other.broken;
        self.reused += other.reused;
        self.copies += other.copies;
        self.hours += other.hours;
        self.commands += other.commands;
        self.checks += other.checks;
    }
}
