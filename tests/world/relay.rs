//! The host of a process's queue: the machines of the relay, over the connections of the world.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use futures_lite::FutureExt as _;
use rmail_core::dns::Name;
use rmail_core::dns::mx::Ourselves;
use rmail_core::machine::Machine as _;
use rmail_core::relay::attempt::{self, Attempt, Order};
use rmail_core::relay::bounce::{self, Notice};
use rmail_core::relay::entry::Entry;
use rmail_core::relay::queue::{Action, Input, Queue};
use rmail_core::relay::tls::sts::Verdict;
use rmail_core::relay::{Enhanced, Outcome, Report, Settings};
use rmail_store::error::Result as StoreResult;

use crate::channel::Channel;
use crate::keeper::Keeper;
use crate::names::Dns;
use crate::planted::{Bug, wires};
use crate::site::{Host, Process};

/// Where the part of each entry's message begins that is sent.
type Offsets = Rc<RefCell<BTreeMap<String, u64>>>;

/// Runs the queue until the process ends.
pub async fn run(process: Rc<Process>, dns: Dns, entries: Vec<Entry>) {
    let ourselves = Ourselves {
        names: Name::parse(process.place.hostname).into_iter().collect(),
        addresses: vec![process.place.address],
    };
    let settings = settings(&process);
    let delays = settings.retry_delays.clone();
    let keeper = Keeper::start(&process, &settings);
    let mut settings = settings;
    if process.scene.has(Bug::TooEarly) {
        settings.retry_delays.iter_mut().for_each(|delay| *delay /= 2);
    }
    let mut machine = Queue::new(settings, ourselves, process.scene.seed());
    let offsets = Offsets::default();
    let mut input = Input::Loaded(entries);
    loop {
        observe(&process, &offsets, &input);
        machine.handle_input(process.clock.now(), input);
        while let Some(action) = machine.poll_action() {
            act(&process, (&dns, &keeper), &offsets, &delays, action);
        }
        process.entries.set(machine.len());
        let deadline = machine.poll_timeout();
        // A removal that has failed counts for no entry any more, and is tried again at its time.
        process
            .idle
            .set(machine.is_idle() && deadline.is_none() && process.inputs.is_empty());
        let tick = async {
            process.clock.deadline(deadline).await;
            Input::Tick
        };
        input = process.inputs.next().or(tick).await;
    }
}

pub fn settings(process: &Process) -> Settings {
    Settings {
        hostname: process.place.hostname.to_owned(),
        ..Settings::default()
    }
}

fn observe(process: &Process, offsets: &Offsets, input: &Input) {
    let mut story = process.scene.story.borrow_mut();
    let mut learn = |entry: &Entry| {
        story.learn(entry);
        offsets.borrow_mut().insert(entry.id.clone(), entry.offset);
    };
    match input {
        Input::Loaded(entries) => entries.iter().for_each(learn),
        Input::Added(entry) => learn(entry),
        Input::Saved { entry, ok } => story.saved(process.place.number, entry, *ok),
        _ => {}
    }
}

fn act(
    process: &Rc<Process>,
    (dns, keeper): (&Dns, &Keeper),
    offsets: &Offsets,
    delays: &[u64],
    action: Action,
) {
    let (site, now) = (process.place.number, process.scene.clock.elapsed());
    let service = process.service();
    process
        .scene
        .trace(|| format!("{}/{}: {}", process.place.domain, process.owner, short(&action)));
    match action {
        Action::Attempt {
            attempt,
            entry,
            order,
        } => {
            let addresses = order.job.recipients.iter().map(|to| to.address.to_string());
            let addresses: Vec<String> = addresses.collect();
            let mut story = process.scene.story.borrow_mut();
            story.begins(site, &entry, &addresses, now, delays);
            let (dns, keeper, task) = (dns.clone(), keeper.clone(), Rc::clone(process));
            process.spawn(async move {
                let outcomes = attempt_to(&task, &dns, &keeper, &entry, *order).await;
                let outcomes = wires::outcomes(task.scene.plan.bug, outcomes);
                let now = task.scene.clock.elapsed();
                task.scene.story.borrow_mut().ends(site, &entry, &addresses, now);
                task.inputs.push(Input::Finished { attempt, outcomes });
            });
        }
        Action::Deliver {
            attempt,
            entry,
            accounts,
        } => {
            let task = Rc::clone(process);
            process.spawn(async move {
                let now = task.clock.now();
                let outcomes = service.deliver_queued(&entry, &accounts, now).await;
                task.inputs.push(Input::Finished { attempt, outcomes });
            });
        }
        Action::Save(entry) => {
            process.scene.story.borrow_mut().saving(site, &entry.id);
            let task = Rc::clone(process);
            process.spawn(async move {
                let skipped = task.scene.has(Bug::SaveSkipped);
                let ok = skipped || service.save_outbound(&entry).await.is_ok();
                let entry = entry.id;
                task.inputs.push(Input::Saved { entry, ok });
            });
        }
        Action::Remove(entry) => {
            offsets.borrow_mut().remove(&entry);
            let task = Rc::clone(process);
            process.spawn(async move {
                let ok = service.remove_outbound(&entry).await.is_ok();
                task.inputs.push(Input::Saved { entry, ok });
            });
        }
        Action::Bounce {
            bounce,
            entry,
            notice,
        } => {
            let offset = offsets.borrow().get(&entry).copied().unwrap_or_default();
            let task = Rc::clone(process);
            process.spawn(async move {
                let forgotten = task.scene.has(Bug::NoticeForgotten);
                let stored = forgotten || tell(&task, &service, &entry, offset, &notice).await.is_ok();
                if stored {
                    task.scene.story.borrow_mut().notices += 1;
                }
                task.inputs.push(Input::Bounced { bounce, stored });
            });
        }
        Action::Event(event) => process.scene.story.borrow_mut().event(site, &event, now),
    }
}

/// Stores a notice, as the daemon does.
async fn tell(
    process: &Process,
    service: &Host,
    entry: &str,
    offset: u64,
    notice: &Notice,
) -> StoreResult<()> {
    let now = process.clock.now();
    let id = format!("{:016x}", process.scene.with_random(|random| random.next_u64()));
    if !service.may_deliver_bounce(&id, notice, now).await? {
        return Ok(());
    }
    let mut original = Vec::new();
    if let Ok(message) = service.open_outbound(entry).await {
        while original.len() < notice.wanted() {
            let at = offset + original.len() as u64;
            let Ok(chunk) = message.read(at, notice.wanted() - original.len()).await else {
                original.clear();
                break;
            };
            if chunk.is_empty() {
                break;
            }
            original.extend_from_slice(&chunk);
        }
    }
    let message = process
        .scene
        .with_random(|random| bounce::build(notice, &original, now.unix, random));
    service.deliver_bounce(&id, notice, &message, now).await
}

/// Carries out an order.
async fn attempt_to(
    process: &Rc<Process>,
    dns: &Dns,
    keeper: &Keeper,
    entry: &str,
    order: Order,
) -> Vec<Outcome> {
    let count = order.job.recipients.len();
    let service = process.service();
    if let Some(outcome) = service.check_release(entry).await {
        return vec![outcome; count];
    }
    let ours = |why: String| Outcome::Temporary(Report::ours(Enhanced(4, 3, 0), why));
    let message = match service.open_outbound(entry).await {
        Ok(message) => Arc::new(message),
        Err(error) => return vec![ours(error.to_string()); count],
    };
    let answers = Channel::default();
    let mut machine = Attempt::new(order);
    loop {
        while let Some(action) = machine.poll_action() {
            match action {
                attempt::Action::Query(question) => {
                    let (dns, answers) = (dns.clone(), answers.clone());
                    process.spawn(async move {
                        let result = dns.ask(question.clone()).await;
                        answers.push(attempt::Input::Answer { question, result });
                    });
                }
                attempt::Action::Connect(connect) => {
                    let input = keeper.send(entry, &message, connect).await;
                    machine.handle_input(process.clock.now(), input);
                }
                attempt::Action::Policy(_) => answers.push(attempt::Input::Policy(Verdict::None)),
                attempt::Action::Counted(_) => {}
                attempt::Action::Done(outcomes) => return outcomes,
            }
        }
        let answer = answers.next().await;
        machine.handle_input(process.clock.now(), answer);
    }
}

fn short(action: &Action) -> String {
    match action {
        Action::Attempt { entry, order, .. } => {
            let to: Vec<String> = order
                .job
                .recipients
                .iter()
                .map(|to| to.address.to_string())
                .collect();
            format!("attempt {entry} to {to:?}")
        }
        Action::Save(entry) => format!("save {}", entry.id),
        Action::Bounce { entry, notice, .. } => format!("notice of {entry}: {:?}", notice.kind),
        other => format!("{other:?}"),
    }
}
