//! The picture that a client builds from untagged responses is the store's after NOOP, whatever others do meanwhile.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "common/imap.rs"]
mod common;

use std::collections::BTreeSet;

use common::{Client, World, flags};
use proptest::prelude::*;
use rmail_core::mailbox::{FlagChange, FlagOp, UidSet};

/// What somebody does.
#[derive(Clone, Debug)]
enum Step {
    /// Another program, by message (modulo their number).
    Deliver,
    Change(u32, FlagOp, u8),
    Remove(u32),
    /// A client's command; which client, and which message.
    Noop(usize),
    Fetch(usize, usize, bool, bool),
    Store(usize, usize, FlagOp, u8, bool, bool),
    Search(usize, bool),
    Expunge(usize),
    Copy(usize, usize),
    Move(usize, usize),
    Idle(usize),
}

const FLAGS: [&str; 6] = ["\\Seen", "\\Deleted", "\\Flagged", "$a", "$b", "\\Draft"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let client = 0..2_usize;
    let op = || prop_oneof![Just(FlagOp::Add), Just(FlagOp::Remove), Just(FlagOp::Replace)];
    let step = prop_oneof![
        3 => Just(Step::Deliver),
        3 => (any::<u32>(), op(), any::<u8>()).prop_map(|(at, op, flag)| Step::Change(at, op, flag)),
        3 => any::<u32>().prop_map(Step::Remove),
        1 => client.clone().prop_map(Step::Noop),
        3 => (client.clone(), any::<usize>(), any::<bool>(), any::<bool>())
            .prop_map(|(who, at, uid, body)| Step::Fetch(who, at, uid, body)),
        4 => (client.clone(), any::<usize>(), op(), any::<u8>(), any::<bool>(), any::<bool>())
            .prop_map(|(who, at, op, flag, uid, silent)| Step::Store(who, at, op, flag, uid, silent)),
        1 => (client.clone(), any::<bool>()).prop_map(|(who, uid)| Step::Search(who, uid)),
        1 => client.clone().prop_map(Step::Expunge),
        1 => (client.clone(), any::<usize>()).prop_map(|(who, at)| Step::Copy(who, at)),
        1 => (client.clone(), any::<usize>()).prop_map(|(who, at)| Step::Move(who, at)),
        1 => client.prop_map(Step::Idle),
    ];
    prop::collection::vec(step, 1..40)
}

/// What a client knows of a message.
#[derive(Clone, Debug, Default)]
struct Known {
    uid: Option<u32>,
    flags: Option<BTreeSet<String>>,
}

/// A client and its picture.
struct Watcher {
    client: Client,
    messages: Vec<Known>,
}

impl Watcher {
    fn new(world: &mut World) -> Self {
        let client = Client::selected(world);
        let messages = vec![Known::default(); world.inbox().messages.len()];
        let mut watcher = Self { client, messages };
        watcher.command(world, "FETCH 1:* (UID FLAGS)");
        watcher
    }

    /// Gives a command, and believes what is answered. Says whether it was done.
    fn command(&mut self, world: &mut World, command: &str) -> bool {
        let answer = self.client.say(world, &format!("t {command}\r\n"));
        let numbers_in_use = ["FETCH", "STORE", "SEARCH"]
            .iter()
            .any(|word| command.starts_with(word));
        self.believe(&answer, numbers_in_use);
        answer.lines().any(|line| line.starts_with("t OK"))
    }

    fn believe(&mut self, answer: &str, numbers_in_use: bool) {
        let mut last = 0;
        for line in answer.lines() {
            if line.starts_with(" FLAGS (") {
                // What comes behind a literal.
                self.messages[last - 1].learn(line);
            }
            let Some(rest) = line.strip_prefix("* ") else {
                continue;
            };
            let words: Vec<&str> = rest.splitn(3, ' ').collect();
            let Some(number) = words.first().and_then(|word| word.parse::<usize>().ok()) else {
                continue;
            };
            last = number;
            match words[1] {
                "EXISTS" => {
                    assert!(number >= self.messages.len(), "EXISTS went down: {answer}");
                    self.messages.resize(number, Known::default());
                }
                "EXPUNGE" => {
                    assert!(!numbers_in_use, "EXPUNGE while numbers are in use: {answer}");
                    self.messages.remove(number - 1);
                }
                "FETCH" => self.messages[number - 1].learn(words[2]),
                _ => {}
            }
        }
    }

    fn check(&self, world: &mut World) {
        let inbox = world.inbox();
        assert_eq!(self.messages.len(), inbox.messages.len());
        for (known, message) in self.messages.iter().zip(inbox.messages.values()) {
            if let Some(uid) = known.uid {
                assert_eq!(uid, message.row.uid.0);
            }
            if let Some(flags) = &known.flags {
                let mut now = names(message.row.flags.0);
                now.extend(
                    inbox
                        .keywords
                        .of(message.row.keywords)
                        .map(|keyword| keyword.as_str().to_owned()),
                );
                assert_eq!(*flags, now, "flags of {:?}", known.uid);
            }
        }
    }
}

fn names(system: u8) -> BTreeSet<String> {
    use rmail_core::mailbox::SystemFlags;
    let set = SystemFlags(system);
    let named = SystemFlags::NAMES.iter().filter(|(flag, _)| set.contains(*flag));
    named.map(|(_, name)| (*name).to_owned()).collect()
}

impl Known {
    /// From `(UID 3 FLAGS (\Seen))` and the like.
    fn learn(&mut self, items: &str) {
        if let Some((_, rest)) = items.split_once("UID ") {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            let uid = digits.parse().unwrap();
            assert!(self.uid.is_none_or(|known| known == uid), "{self:?} became {uid}");
            self.uid = Some(uid);
        }
        if let Some((_, rest)) = items.split_once("FLAGS (") {
            let list = rest.split_once(')').unwrap().0;
            let flags = list
                .split(' ')
                .filter(|flag| !flag.is_empty() && *flag != "\\Recent");
            self.flags = Some(flags.map(str::to_owned).collect());
        }
    }

    /// What a client reckons with after a silent STORE.
    fn reckon(&mut self, op: FlagOp, flag: &str) {
        if let Some(flags) = &mut self.flags {
            match op {
                FlagOp::Add => drop(flags.insert(flag.to_owned())),
                FlagOp::Remove => drop(flags.remove(flag)),
                FlagOp::Replace => *flags = BTreeSet::from([flag.to_owned()]),
            }
        }
    }
}

fn flag(index: u8) -> &'static str {
    FLAGS[usize::from(index) % FLAGS.len()]
}

fn change(world: &mut World, at: u32, op: FlagOp, index: u8) {
    let uids: Vec<u32> = world.inbox().messages.keys().copied().collect();
    if let Some(uid) = uids.get(at as usize % uids.len().max(1)) {
        let uids = UidSet::from_ranges([(*uid, *uid)]);
        let flags = flags(&[flag(index)]);
        world.inbox().change(&uids, &FlagChange { op, flags });
    }
}

fn act(world: &mut World, watchers: &mut [Watcher; 2], step: &Step) {
    match step {
        Step::Deliver => drop(world.deliver("Subject: new\r\n\r\nnew\r\n")),
        Step::Change(at, op, index) => change(world, *at, *op, *index),
        Step::Remove(at) => {
            let uids: Vec<u32> = world.inbox().messages.keys().copied().collect();
            if let Some(uid) = uids.get(*at as usize % uids.len().max(1)) {
                world.inbox().remove(&[*uid]);
            }
        }
        Step::Noop(who) => {
            let watcher = &mut watchers[*who];
            assert!(watcher.command(world, "NOOP"));
            watcher.check(world);
        }
        Step::Idle(who) => {
            let watcher = &mut watchers[*who];
            watcher.command(world, "IDLE");
            world.deliver("Subject: idle\r\n\r\n");
            let answer = watcher.client.listen(world);
            watcher.believe(&answer, false);
            watcher.check(world);
            let answer = watcher.client.say(world, "DONE\r\n");
            watcher.believe(&answer, false);
        }
        Step::Search(who, uid) => {
            let command = if *uid { "UID SEARCH SEEN" } else { "SEARCH SEEN" };
            watchers[*who].command(world, command);
        }
        Step::Expunge(who) => {
            watchers[*who].command(world, "EXPUNGE");
        }
        Step::Fetch(who, at, uid, body) => with_message(&mut watchers[*who], *at, |watcher, number| {
            let items = if *body { "BODY[TEXT]" } else { "(UID FLAGS)" };
            let command = if *uid {
                format!("UID FETCH 1:* {items}")
            } else {
                format!("FETCH {number} {items}")
            };
            watcher.command(world, &command);
        }),
        Step::Store(who, at, op, index, uid, silent) => {
            with_message(&mut watchers[*who], *at, |watcher, number| {
                store(world, watcher, number, (*op, *index), *uid, *silent);
            });
        }
        Step::Copy(who, at) => with_message(&mut watchers[*who], *at, |watcher, number| {
            watcher.command(world, &format!("COPY {number} INBOX"));
        }),
        Step::Move(who, at) => with_message(&mut watchers[*who], *at, |watcher, number| {
            watcher.command(world, &format!("MOVE {number} Sent"));
        }),
    }
}

fn with_message(watcher: &mut Watcher, at: usize, act: impl FnOnce(&mut Watcher, usize)) {
    let count = watcher.messages.len();
    if count > 0 {
        act(watcher, at % count + 1);
    }
}

fn store(
    world: &mut World,
    watcher: &mut Watcher,
    number: usize,
    (op, index): (FlagOp, u8),
    uid: bool,
    silent: bool,
) {
    let sign = match op {
        FlagOp::Add => "+",
        FlagOp::Remove => "-",
        FlagOp::Replace => "",
    };
    let dot = if silent { ".SILENT" } else { "" };
    let known = watcher.messages[number - 1].uid.filter(|_| uid);
    let which = known.map_or(format!("STORE {number}"), |uid| format!("UID STORE {uid}"));
    let command = format!("{which} {sign}FLAGS{dot} ({})", flag(index));
    // What is answered comes after what the client reckons with.
    if silent {
        watcher.messages[number - 1].reckon(op, flag(index));
    }
    // Unless it is silent, it is refused if the message is gone.
    assert!(watcher.command(world, &command) || !silent);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_picture_is_right(count in 0..9_u32, steps in steps()) {
        let mut world = World::with_messages(count);
        let mut watchers = [Watcher::new(&mut world), Watcher::new(&mut world)];
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
