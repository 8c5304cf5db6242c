//! The host of one attempt: asks the resolver, and the keeper of connections to have the message sent.

use std::sync::Arc;

use rmail_core::machine::Machine as _;
use rmail_core::relay::attempt::{Action, Attempt, Input, Order};
use rmail_core::relay::tls::report::day_of;
use rmail_core::relay::{Enhanced, Outcome, Report};
use rmail_store::disk::Disk;
use rmail_store::mailstore::MailStore;
use rmail_store::service::Pool;

use super::Ways;
use super::hosts::Keeper;
use crate::dns::Dns;
use crate::server::Host;

/// Carries out an order: one outcome for each recipient of its job.
pub(super) async fn run<S: MailStore, D: Disk>(
    host: &Arc<Host<S, D>>,
    dns: &Dns,
    keeper: &Keeper,
    ways: &Ways,
    entry: &str,
    order: Order,
) -> Vec<Outcome> {
    let count = order.job.recipients.len();
    match check_release(host, entry).await {
        None => {}
        Some(outcome) => return vec![outcome; count],
    }
    let entry: Arc<str> = Arc::from(entry);
    let (answers, answered) = async_channel::unbounded();
    let mut machine = Attempt::new(order);
    let mut asked = 0_usize;
    loop {
        while let Some(action) = machine.poll_action() {
            match action {
                Action::Query(question) => {
                    asked += 1;
                    let (dns, answers) = (dns.clone(), answers.clone());
                    let id = Arc::clone(&entry);
                    let ask = async move {
                        let result = dns.ask(question.clone()).await;
                        log::debug!(target: "relay", "event=dns id={id} name={} kind={:?} result={result:?}",
                            question.name, question.kind);
                        let _ = answers.try_send(Input::Answer { question, result });
                    };
                    host.executor.spawn(ask).detach();
                }
                Action::Connect(connect) => {
                    let Some(input) = keeper.send(&entry, connect).await else {
                        return vec![ours("the attempt was broken off"); count];
                    };
                    machine.handle_input(host.clock.now(), input);
                }
                Action::Policy(domain) => {
                    asked += 1;
                    let (policies, answers) = (ways.policies.clone(), answers.clone());
                    let ask = async move {
                        let _ = answers.try_send(Input::Policy(policies.ask(domain).await));
                    };
                    host.executor.spawn(ask).detach();
                }
                Action::Counted(event) => ways.reports.count(day_of(host.clock.now().unix), &event),
                Action::Done(outcomes) => return outcomes,
            }
        }
        if asked == 0 {
            return vec![ours("an attempt without an end"); count];
        }
        let Ok(answer) = answered.recv().await else {
            return vec![ours("the resolver is gone"); count];
        };
        asked -= 1;
        machine.handle_input(host.clock.now(), answer);
    }
}

fn ours(why: &str) -> Outcome {
    Outcome::Temporary(Report::ours(Enhanced(4, 3, 0), why).severe())
}

/// What is said to all recipients in the place of an attempt, if the message may not go.
async fn check_release<S: MailStore, D: Disk>(host: &Arc<Host<S, D>>, entry: &str) -> Option<Outcome> {
    if !host.service.is_held(entry) {
        return None;
    }
    let (service, entry) = (Arc::clone(&host.service), entry.to_owned());
    let check = move || futures_lite::future::block_on(service.check_release(&entry));
    match host.pools.run(Pool::Read, check).await {
        Ok(outcome) => outcome,
        Err(panicked) => Some(ours(&panicked.to_string())),
    }
}
