//! A backend beside the store in memory: the same operations, drawn from a seed, must show the same on both.
//!
//! Numbers are the store's own choice as long as they ascend, so they are not compared as such: messages are named by their
//! place in the mailbox, mailboxes by the order in which they got their UIDVALIDITY, and MODSEQs by what they tell (has this
//! message changed since the last look?).

mod draw;
mod side;

use rmail_core::limits::Limits;

use super::{Backend, random};
use crate::memory::MemoryStore;
use draw::{Op, Weights};
use side::Side;

/// Operations of one run.
const OPS: usize = 80;

fn run<B: Backend>(backend: &B, weights: &Weights) {
    for seed in 0..backend.seeds() {
        let limits = Limits::small();
        let ours = backend.open(limits);
        let model = std::sync::Arc::new(MemoryStore::new(limits));
        backend.block_on(async {
            let (mut ours, mut model) = (Side::new(&ours), Side::new(&model));
            let mut random = random(seed);
            let mut done: Vec<Op> = Vec::new();
            for number in 0..OPS {
                let op = weights.draw(&mut random, number as u64);
                done.push(op.clone());
                let (told, wanted) = (ours.apply(&op).await, model.apply(&op).await);
                let (shown, meant) = (ours.show().await, model.show().await);
                if told != wanted || shown != meant {
                    let differences: Vec<String> = meant
                        .iter()
                        .filter(|line| !shown.contains(line))
                        .map(|line| format!("- {line}"))
                        .chain(shown.iter().filter(|line| !meant.contains(line)).map(|line| format!("+ {line}")))
                        .collect();
                    let done: Vec<String> = done.iter().map(|op| format!("{op:?}")).collect();
                    panic!(
                        "seed {seed}: after\n{}\nthe store said {told:?}, the store in memory {wanted:?};\nmeant (-) and shown (+):\n{}",
                        done.join("\n"),
                        differences.join("\n")
                    );
                }
            }
        });
    }
}

/// All operations, on few names of two accounts.
pub fn does_what_the_store_in_memory_does<B: Backend>(backend: &B) {
    run(backend, &Weights::ALL);
}

/// Mostly flags, copies, moves and expunges.
pub fn does_so_in_few_mailboxes_with_many_messages<B: Backend>(backend: &B) {
    run(backend, &Weights::MESSAGES);
}

/// Mostly CREATE, DELETE, RENAME and subscriptions.
pub fn does_so_with_many_mailboxes<B: Backend>(backend: &B) {
    run(backend, &Weights::NAMES);
}
