//! A client that only listens (NOTIFY, RFC 5465) knows in the end which mailboxes there are, what is subscribed, and how
//! much is in each of them, whatever others did and whenever it was told.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::{Client, World, flags, name};
use proptest::prelude::*;
use rmail_core::mailbox::{FlagChange, FlagOp, MailboxName, UidSet};
use rmail_core::time::DateTime;

const NAMES: [&str; 8] = ["INBOX", "Sent", "a", "a/x", "b", "b/x", "b/x/y", "c"];

/// What others do; then the client may be told.
#[derive(Clone, Copy, Debug)]
enum Step {
    Deliver(usize),
    Remove(usize, usize),
    Flag(usize, usize, bool),
    Create(usize),
    Delete(usize),
    Rename(usize, usize),
    Subscribe(usize, bool),
    Listen,
    /// The client gives a command that changes nothing.
    Noop,
    Idle,
    /// The next look fails.
    Fail(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let at = || 0..NAMES.len();
    let step = prop_oneof![
        4 => at().prop_map(Step::Deliver),
        2 => (at(), any::<usize>()).prop_map(|(at, which)| Step::Remove(at, which)),
        2 => (at(), any::<usize>(), any::<bool>()).prop_map(|(at, which, on)| Step::Flag(at, which, on)),
        3 => at().prop_map(Step::Create),
        2 => at().prop_map(Step::Delete),
        3 => (at(), at()).prop_map(|(from, to)| Step::Rename(from, to)),
        2 => (at(), any::<bool>()).prop_map(|(at, on)| Step::Subscribe(at, on)),
        4 => Just(Step::Listen),
        1 => Just(Step::Noop),
        1 => Just(Step::Idle),
        1 => any::<bool>().prop_map(Step::Fail),
    ];
    prop::collection::vec(step, 1..40)
}

fn act(world: &mut World, step: Step) {
    let at = |index: usize| name(NAMES[index]);
    let uid = |world: &mut World, mailbox: &MailboxName, which: usize| {
        let found = world.by_name(mailbox).ok()?;
        let uids: Vec<u32> = found.messages.keys().copied().collect();
        uids.get(which % uids.len().max(1)).copied()
    };
    match step {
        Step::Deliver(index) => {
            if let Ok(found) = world.by_name(&at(index)) {
                found.add(b"Subject: new\r\n\r\n", &flags(&[]), DateTime::default());
            }
        }
        Step::Remove(index, which) => {
            if let Some(uid) = uid(world, &at(index), which) {
                world.by_name(&at(index)).unwrap().remove(&[uid]);
            }
        }
        Step::Flag(index, which, on) => {
            if let Some(uid) = uid(world, &at(index), which) {
                let op = if on { FlagOp::Add } else { FlagOp::Remove };
                let change = FlagChange {
                    op,
                    flags: flags(&["\\Seen"]),
                };
                let uids = UidSet::from_ranges([(uid, uid)]);
                world.by_name(&at(index)).unwrap().change(&uids, &change);
            }
        }
        Step::Create(index) if !world.boxes.contains_key(&at(index)) => world.create(&at(index), &[]),
        Step::Delete(index) if index > 0 => drop(world.boxes.remove(&at(index))),
        Step::Rename(from, to) if from > 0 && !at(to).is_below(&at(from)) => {
            let _ = world.rename(&at(from), &at(to));
        }
        Step::Subscribe(index, true) => drop(world.subscribed.insert(at(index))),
        Step::Subscribe(index, false) => drop(world.subscribed.remove(&at(index))),
        _ => {}
    }
}

/// Numbers of a mailbox, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Numbers {
    messages: Option<u64>,
    uid_next: Option<u64>,
    uid_validity: Option<u64>,
    unseen: Option<u64>,
}

/// What the client believes.
#[derive(Debug, Default)]
struct Picture {
    boxes: BTreeMap<String, Numbers>,
    subscribed: BTreeSet<String>,
    /// Messages of the selected mailbox.
    selected: usize,
}

impl Picture {
    fn believe(&mut self, told: &str) {
        for line in told.lines().filter_map(|line| line.strip_prefix("* ")) {
            if let Some(rest) = line.strip_prefix("STATUS ") {
                self.counted(rest);
            } else if let Some(rest) = line.strip_prefix("LIST (") {
                self.listed(rest);
            } else if let Some(count) = line.strip_suffix(" EXISTS") {
                self.selected = count.parse().unwrap();
            } else if line.ends_with(" EXPUNGE") {
                self.selected -= 1;
            }
        }
    }

    fn counted(&mut self, rest: &str) {
        let (mailbox, items) = rest.split_once(" (").unwrap();
        let numbers = self
            .boxes
            .get_mut(mailbox.trim_matches('"'))
            .expect("the mailbox is known");
        let words: Vec<&str> = items.trim_end_matches(')').split(' ').collect();
        for pair in words.chunks(2) {
            let value = Some(pair[1].parse().unwrap());
            match pair[0] {
                "MESSAGES" => numbers.messages = value,
                "UIDNEXT" => numbers.uid_next = value,
                "UIDVALIDITY" => numbers.uid_validity = value,
                "UNSEEN" => numbers.unseen = value,
                _ => {}
            }
        }
    }

    fn listed(&mut self, rest: &str) {
        let (attributes, rest) = rest.split_once(") \"/\" ").unwrap();
        let (mailbox, old) = match rest.split_once(" (\"OLDNAME\" (") {
            Some((mailbox, old)) => (mailbox, Some(old.trim_end_matches("))").trim_matches('"'))),
            None => (rest, None),
        };
        let mailbox = mailbox.trim_matches('"').to_owned();
        if let Some(old) = old {
            let below = format!("{old}/");
            let moved = |name: &&String| *name == old || name.starts_with(&below);
            let moved: Vec<String> = self.boxes.keys().filter(moved).cloned().collect();
            for name in moved {
                let numbers = self.boxes.remove(&name).unwrap();
                self.boxes
                    .insert(format!("{mailbox}{}", &name[old.len()..]), numbers);
            }
        }
        if attributes.contains("\\NonExistent") {
            self.boxes.remove(&mailbox);
        } else {
            self.boxes.entry(mailbox.clone()).or_default();
        }
        if attributes.contains("\\Subscribed") {
            self.subscribed.insert(mailbox);
        } else {
            self.subscribed.remove(&mailbox);
        }
    }

    fn check(&self, world: &mut World, selected: bool) {
        let names: Vec<String> = world.boxes.keys().map(ToString::to_string).collect();
        assert!(self.boxes.keys().eq(&names), "{self:?}, not {names:?}");
        let subscribed: BTreeSet<String> = world.subscribed.iter().map(ToString::to_string).collect();
        assert_eq!(self.subscribed, subscribed);
        for text in &names {
            let status = world.status(&name(text)).unwrap();
            let known = &self.boxes[text];
            if selected && text == "INBOX" {
                assert_eq!(self.selected as u64, status.messages);
                continue;
            }
            assert_eq!(known.messages, Some(status.messages), "{text}");
            assert_eq!(known.uid_next, Some(u64::from(status.uid_next.0)), "{text}");
            assert_eq!(
                known.uid_validity,
                Some(u64::from(status.uid_validity.0)),
                "{text}"
            );
            assert!(
                known.unseen.is_none_or(|unseen| unseen == status.unseen),
                "{text}"
            );
        }
    }
}

/// A listener that has begun, and its picture.
fn begin(world: &mut World, selected: bool) -> (Client, Picture) {
    let mut client = Client::logged_in(world);
    let mut picture = Picture {
        boxes: world
            .boxes
            .keys()
            .map(|name| (name.to_string(), Numbers::default()))
            .collect(),
        subscribed: world.subscribed.iter().map(ToString::to_string).collect(),
        selected: world.inbox().messages.len(),
    };
    let told = client.say(
        world,
        "n NOTIFY SET STATUS (SELECTED (MessageNew MessageExpunge)) \
         (PERSONAL (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange))\r\n",
    );
    assert!(told.ends_with("n OK NOTIFY completed\r\n"), "{told}");
    picture.believe(&told);
    if selected {
        client.say(world, "s SELECT INBOX\r\n");
    }
    (client, picture)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn who_only_listens_has_the_right_picture(
        count in 0..4_u32, selected in any::<bool>(), steps in steps(),
    ) {
        let mut world = World::with_messages(count);
        let (mut client, mut picture) = begin(&mut world, selected);
        for step in steps {
            let told = match step {
                Step::Listen => client.listen(&mut world),
                Step::Noop => client.say(&mut world, "t NOOP\r\n"),
                Step::Idle => client.say(&mut world, "t IDLE\r\n") + &client.say(&mut world, "DONE\r\n"),
                Step::Fail(list) => {
                    let call = if list { "List" } else { "Status" };
                    world.refuse = Some((call, rmail_core::refusal::Refusal::Busy));
                    client.listen(&mut world)
                }
                _ => {
                    act(&mut world, step);
                    continue;
                }
            };
            picture.believe(&told);
        }
        world.refuse = None;
        // What failed is tried again with the next command, or the next line of ours.
        picture.believe(&client.say(&mut world, "t NOOP\r\n"));
        picture.check(&mut world, selected);
        prop_assert_eq!(client.listen(&mut world), "", "all is told");
    }
}

/// Goes through the steps; in the end the picture is right.
fn ends_right(steps: &[Step]) {
    let mut world = World::with_messages(0);
    let (mut client, mut picture) = begin(&mut world, false);
    for step in steps {
        match *step {
            Step::Listen => picture.believe(&client.listen(&mut world)),
            Step::Fail(_) => world.refuse = Some(("List", rmail_core::refusal::Refusal::Busy)),
            step => act(&mut world, step),
        }
    }
    picture.believe(&client.say(&mut world, "t NOOP\r\n"));
    picture.check(&mut world, false);
}

#[test]
fn what_moves_into_a_level_that_moves_away_is_told_again() {
    ends_right(&[
        Step::Create(2),
        Step::Listen,
        Step::Rename(2, 4),
        Step::Rename(1, 3),
    ]);
}

#[test]
fn numbers_told_before_the_list_could_be_are_told_again() {
    ends_right(&[
        Step::Create(7),
        Step::Listen,
        Step::Fail(true),
        Step::Deliver(1),
        Step::Rename(7, 6),
        Step::Rename(1, 7),
        Step::Listen,
    ]);
}
