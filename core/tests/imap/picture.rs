//! The picture that a client builds from untagged responses is the store's after NOOP, whatever others do meanwhile; and
//! a client that comes back with what it knew is told what it missed.

use crate::common::{World, flags};
use crate::model::{Mode, Watcher};
use proptest::prelude::*;
use rmail_core::mailbox::{FlagChange, FlagOp, UidSet};

/// What somebody does.
#[derive(Clone, Debug)]
enum Step {
    /// Another program, by message (modulo their number).
    Deliver,
    Change(u32, FlagOp, u8),
    Remove(u32),
    /// The store no longer knows what went up to now.
    Forget,
    /// A client's command; which client, and which message.
    Noop(usize),
    Fetch(usize, usize, bool, bool),
    Store(usize, usize, FlagOp, u8, bool, bool),
    /// On the condition that the message is as the client knows it, or as it was some mod-sequences ago.
    Conditional(usize, usize, FlagOp, u8, bool, u64),
    Search(usize, bool),
    Expunge(usize),
    Copy(usize, usize),
    Move(usize, usize),
    Idle(usize),
    /// The connection breaks, and the client comes back; how it asks.
    Return(usize, u8),
    /// Asks again for what went since some mod-sequence.
    Earlier(usize, u64),
}

const FLAGS: [&str; 6] = ["\\Seen", "\\Deleted", "\\Flagged", "$a", "$b", "\\Draft"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let client = || 0..2_usize;
    let op = || prop_oneof![Just(FlagOp::Add), Just(FlagOp::Remove), Just(FlagOp::Replace)];
    let step = prop_oneof![
        3 => Just(Step::Deliver),
        3 => (any::<u32>(), op(), any::<u8>()).prop_map(|(at, op, flag)| Step::Change(at, op, flag)),
        3 => any::<u32>().prop_map(Step::Remove),
        1 => Just(Step::Forget),
        1 => client().prop_map(Step::Noop),
        3 => (client(), any::<usize>(), any::<bool>(), any::<bool>())
            .prop_map(|(who, at, uid, body)| Step::Fetch(who, at, uid, body)),
        4 => (client(), any::<usize>(), op(), any::<u8>(), any::<bool>(), any::<bool>())
            .prop_map(|(who, at, op, flag, uid, silent)| Step::Store(who, at, op, flag, uid, silent)),
        3 => (client(), any::<usize>(), op(), any::<u8>(), any::<bool>(), 0..4_u64)
            .prop_map(|(who, at, op, flag, silent, ago)| Step::Conditional(who, at, op, flag, silent, ago)),
        1 => (client(), any::<bool>()).prop_map(|(who, uid)| Step::Search(who, uid)),
        1 => client().prop_map(Step::Expunge),
        1 => (client(), any::<usize>()).prop_map(|(who, at)| Step::Copy(who, at)),
        1 => (client(), any::<usize>()).prop_map(|(who, at)| Step::Move(who, at)),
        1 => client().prop_map(Step::Idle),
        2 => (client(), 0..4_u8).prop_map(|(who, how)| Step::Return(who, how)),
        1 => (client(), 0..9_u64).prop_map(|(who, ago)| Step::Earlier(who, ago)),
    ];
    prop::collection::vec(step, 1..40)
}

fn modes() -> impl Strategy<Value = [Mode; 2]> {
    let mode = || prop::sample::select(&Mode::ALL[..]);
    [mode(), mode()]
}

fn flag(index: u8) -> &'static str {
    FLAGS[usize::from(index) % FLAGS.len()]
}

fn uid_at(world: &mut World, at: u32) -> Option<u32> {
    let uids: Vec<u32> = world.inbox().messages.keys().copied().collect();
    uids.get(at as usize % uids.len().max(1)).copied()
}

fn act(world: &mut World, watchers: &mut [Watcher; 2], step: &Step) {
    match step {
        Step::Deliver => drop(world.deliver("Subject: new\r\n\r\nnew\r\n")),
        Step::Change(at, op, index) => {
            if let Some(uid) = uid_at(world, *at) {
                let (op, flags) = (*op, flags(&[flag(*index)]));
                let uids = UidSet::from_ranges([(uid, uid)]);
                world.inbox().change(&uids, &FlagChange { op, flags });
            }
        }
        Step::Remove(at) => {
            if let Some(uid) = uid_at(world, *at) {
                world.inbox().remove(&[uid]);
            }
        }
        Step::Forget => world.inbox().forgotten = world.inbox().modseq,
        Step::Noop(who) => {
            let watcher = &mut watchers[*who];
            assert!(watcher.command(world, "NOOP"));
            watcher.check(world);
        }
        Step::Idle(who) => watchers[*who].idle(world),
        Step::Search(who, uid) => {
            let watcher = &mut watchers[*who];
            let uid = *uid || watcher.mode == Mode::UidOnly;
            watcher.command(world, if uid { "UID SEARCH SEEN" } else { "SEARCH SEEN" });
        }
        Step::Expunge(who) => drop(watchers[*who].command(world, "EXPUNGE")),
        Step::Fetch(who, at, uid, body) => with_message(&mut watchers[*who], *at, |watcher, number| {
            let items = if *body { "BODY[TEXT]" } else { "(UID FLAGS)" };
            let command = if *uid || watcher.mode == Mode::UidOnly {
                format!("UID FETCH 1:* {items}")
            } else {
                format!("FETCH {number} {items}")
            };
            watcher.command(world, &command);
        }),
        Step::Store(who, at, op, index, uid, silent) => {
            with_message(&mut watchers[*who], *at, |watcher, number| {
                watcher.store(world, number, (*op, flag(*index)), *uid, *silent);
            });
        }
        Step::Conditional(who, at, op, index, silent, ago) => {
            with_message(&mut watchers[*who], *at, |watcher, number| {
                watcher.conditional(world, number, (*op, flag(*index)), *silent, *ago);
            });
        }
        Step::Copy(who, at) => with_message(&mut watchers[*who], *at, |watcher, number| {
            watcher.by_number(world, "COPY", number, "INBOX");
        }),
        Step::Move(who, at) => with_message(&mut watchers[*who], *at, |watcher, number| {
            watcher.by_number(world, "MOVE", number, "Sent");
        }),
        Step::Return(who, how) => watchers[*who].come_back(world, *how),
        Step::Earlier(who, ago) => watchers[*who].earlier(world, *ago),
    }
}

fn with_message(watcher: &mut Watcher, at: usize, act: impl FnOnce(&mut Watcher, usize)) {
    let count = watcher.messages.len();
    if count > 0 {
        act(watcher, at % count + 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_picture_is_right(count in 0..9_u32, modes in modes(), steps in steps()) {
        let mut world = World::with_messages(count);
        let mut watchers = modes.map(|mode| Watcher::new(&mut world, mode));
        for step in &steps {
            act(&mut world, &mut watchers, step);
        }
        for watcher in &mut watchers {
            prop_assert!(watcher.command(&mut world, "NOOP"));
            watcher.check(&mut world);
            watcher.command(&mut world, "UID FETCH 1:* (UID FLAGS)");
            watcher.check(&mut world);
            prop_assert!(watcher.messages.iter().all(|known| known.flags.is_some()));
        }
    }
}
