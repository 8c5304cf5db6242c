//! What must hold of a world that has come to rest.

use std::collections::BTreeMap;

use rmail_store::mem::MemDisk;

use crate::reader::is_note;
use crate::scene::Scene;
use crate::site::{Place, inspect};
use crate::story::{Copy, Message, Story, Wish, token_in};

/// Who gets what is sent to an address.
fn expand(address: &str) -> Vec<&str> {
    match address {
        "team@here.test" => vec!["bob@here.test", "x@sink.test"],
        "back@there.test" => vec!["bob@here.test"],
        "out@there.test" => vec!["dave@there.test", "w@sink.test"],
        other => vec![other],
    }
}

/// By token and recipient: copies of the message, and notices that the recipient will not get it.
#[derive(Default)]
struct Found {
    copies: BTreeMap<(String, String), usize>,
    failures: BTreeMap<(String, String), usize>,
    /// Notices that the recipient, or who is next on the way to it, has it.
    successes: BTreeMap<(String, String), usize>,
}

/// Adds what is wrong to the record; how many copies of messages were found.
pub fn verify(scene: &Scene, disks: &[(Place, MemDisk)]) -> usize {
    let mut all = scene.story.borrow().taken.clone();
    let mut story = scene.story.borrow_mut();
    for (place, disk) in disks {
        let (held, left) = inspect(disk, *place);
        if place.number == 0 {
            let strict = scene.plan.is_strict();
            let faults = scene.ledger.borrow_mut().verify(&held, strict);
            faults.into_iter().for_each(|fault| story.fault(fault));
        }
        let mails = held.into_iter().filter(|held| !is_note(&held.text));
        all.extend(mails.map(|held| Copy {
            recipient: held.user.to_owned(),
            text: held.text,
        }));
        if !left.is_empty() {
            story.fault(format!("the queue of {} still holds {left:?}", place.domain));
        }
    }
    let mut found = Found::default();
    for copy in &all {
        sort(&mut story, &mut found, copy);
    }
    for message in story.messages.clone().values() {
        check(&mut story, &found, message, scene.plan.is_strict());
    }
    found.copies.values().sum()
}

/// A message, whole, or a notice.
fn sort(story: &mut Story, found: &mut Found, copy: &Copy) {
    let recipient = copy.recipient.clone();
    if copy.text.contains("multipart/report") {
        let Some(token) = token_in(&copy.text) else {
            story.fault(format!(
                "a notice for {recipient} is about nothing: {}",
                copy.text
            ));
            return;
        };
        for block in copy.text.split("Final-Recipient: ").skip(1) {
            let block = block.split("\r\n\r\n").next().unwrap_or_default();
            let address = block.split("\r\n").next().unwrap_or_default();
            let address = address.split(';').next_back().unwrap_or_default().trim();
            let key = (token.clone(), address.to_owned());
            if block.contains("Action: failed") {
                *found.failures.entry(key).or_default() += 1;
            } else if !block.contains("Action: delayed") {
                *found.successes.entry(key).or_default() += 1;
            }
        }
        return;
    }
    let token = token_in(&copy.text);
    let Some(message) = token.and_then(|token| story.messages.get(&token)) else {
        story.fault(format!("{recipient} has a strange message: {}", copy.text));
        return;
    };
    let (token, end) = (message.token.clone(), format!("\r\n\r\n{}", message.body));
    if !copy.text.ends_with(&end) {
        let fault = format!(
            "{token}: {recipient} has it otherwise than it was sent: {:?}",
            copy.text
        );
        story.fault(fault);
    }
    // An address of a sink's own alias.
    let recipient = recipient.to_ascii_lowercase();
    *found.copies.entry((token, recipient)).or_default() += 1;
}

fn check(story: &mut Story, found: &Found, message: &Message, strict: bool) {
    let token = &message.token;
    let of = |map: &BTreeMap<(String, String), usize>, address: &str| {
        let key = (token.clone(), address.to_owned());
        map.get(&key).copied().unwrap_or_default()
    };
    // Those who get it twice, by two ways, may get it once.
    let mut ways: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wishes: BTreeMap<&str, Vec<Wish>> = BTreeMap::new();
    for (recipient, wish) in message.recipients.iter().zip(&message.wishes) {
        for last in expand(recipient) {
            *ways.entry(last).or_default() += 1;
            wishes.entry(last).or_default().push(*wish);
        }
    }
    for (last, wishes) in &wishes {
        let failures = of(&found.failures, last);
        if failures > 0 && wishes.iter().all(|wish| *wish == Wish::Never) {
            story.fault(format!("{token}: {last} failed, and nobody wanted to be told"));
        }
        let told = failures + of(&found.successes, last) > 0 || story.notices_lost.contains(token);
        let alone = wishes == &[Wish::Success] && message.promised.contains(*last);
        if alone && of(&found.copies, last) > 0 && !told {
            story.fault(format!(
                "{token}: {last} has it, and {} was not told",
                message.sender
            ));
        }
    }
    for recipient in &message.promised {
        for last in expand(recipient) {
            let told = of(&found.failures, last) + of(&found.failures, recipient);
            let excused = story.notices_lost.contains(token);
            let wishes = wishes.get(last).map(Vec::as_slice).unwrap_or_default();
            // Of whom nobody wants to hear nothing is known, unless it is at hand.
            let silent = wishes.contains(&Wish::Never) && !last.ends_with("@here.test");
            if of(&found.copies, last) == 0 && told == 0 && !excused && !silent {
                story.fault(format!(
                    "{token}: lost: {last} (of {recipient}) does not have it, and {} was not told",
                    message.sender
                ));
            }
        }
    }
    if !strict {
        return;
    }
    let uncertain = story.uncertain.get(token).copied().unwrap_or_default();
    for (last, ways) in ways {
        let most = ways * message.dots + uncertain;
        let (copies, failures) = (of(&found.copies, last), of(&found.failures, last));
        if copies > most {
            story.fault(format!("{token}: {last} has it {copies} times, {most} were due"));
        }
        if failures > most {
            story.fault(format!(
                "{token}: {last} failed {failures} times, {most} were due"
            ));
        }
        if copies > 0 && failures > 0 && most < 2 {
            story.fault(format!("{token}: {last} has it, and is said to have not"));
        }
    }
}
