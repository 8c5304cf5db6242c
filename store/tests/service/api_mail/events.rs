use core::time::Duration;

use serde_json::json;

use super::{Client, folder, put};
use crate::common::World;

const ALICE: &str = "alice@example.com";

/// The events of a stream, as `kind data`; the id that came last.
fn events(text: &str) -> (Vec<String>, String) {
    let (mut all, mut last) = (Vec::new(), String::new());
    for block in text.split("\n\n") {
        let line = |name: &str| {
            block
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::to_owned)
        };
        if let Some(id) = line("id: ") {
            last = id;
        }
        if let Some(kind) = line("event: ") {
            all.push(format!("{kind} {}", line("data: ").expect("data")));
        }
    }
    (all, last)
}

fn message(kind: &str, id: &str, flags: &[&str]) -> String {
    let folder = id.split('-').next();
    format!("{kind} {}", json!({ "flags": flags, "folder": folder, "id": id }))
}

fn gone(id: &str) -> String {
    format!("gone {}", json!({ "folder": id.split('-').next(), "id": id }))
}

#[test]
fn what_happens_is_told_as_it_happens() {
    let world = World::new();
    let mut client = Client::new(&world, ALICE);
    let old = put(&world, &mut client, ALICE, "INBOX", "Subject: old\n\nx");
    let mut listener = Client::new(&world, ALICE);
    let (told, first) = events(&listener.listen("/events", ""));
    assert_eq!(told, ["ready {}"]);
    assert!(!first.is_empty());
    assert_eq!(listener.pushed(), "");

    let new = put(&world, &mut client, ALICE, "INBOX", "Subject: new\n\nx");
    let (told, second) = events(&listener.pushed());
    assert_eq!(told, [message("message", &new, &[])]);
    assert_ne!(second, first);
    client.send(
        "PATCH",
        &format!("/messages/{old}"),
        &json!({ "flags": { "add": ["seen"] } }),
    );
    assert_eq!(events(&listener.pushed()).0, [message("flags", &old, &["seen"])]);
    let told = client.delete(&format!("/messages/{old}")).json();
    let trashed = told["id"].as_str().expect("an id");
    let mut both = events(&listener.pushed()).0;
    both.sort();
    assert_eq!(both, [gone(&old), message("message", trashed, &["seen"])]);
}

#[test]
fn folders_that_come_and_go_are_told() {
    let world = World::new();
    let mut client = Client::new(&world, ALICE);
    let mut listener = Client::new(&world, ALICE);
    listener.listen("/events", "");
    let made = client.send("POST", "/folders", &json!({ "name": "New" })).json();
    let id = made["id"].as_str().expect("an id").to_owned();
    let event =
        |name: &str, change: &str| format!("folder {}", json!({ "change": change, "id": id, "name": name }));
    assert_eq!(events(&listener.pushed()).0, [event("New", "created")]);
    let new = put(&world, &mut client, ALICE, "New", "Subject: x\n\nx");
    assert_eq!(events(&listener.pushed()).0, [message("message", &new, &[])]);
    client.send("PATCH", &format!("/folders/{id}"), &json!({ "name": "Other" }));
    assert_eq!(events(&listener.pushed()).0, [event("Other", "renamed")]);
    client.delete(&format!("/folders/{id}"));
    assert_eq!(events(&listener.pushed()).0, [event("Other", "deleted")]);
}

#[test]
fn who_comes_back_is_told_what_happened_meanwhile() {
    let world = World::new();
    let mut client = Client::new(&world, ALICE);
    let all: Vec<String> = (0..3)
        .map(|n| put(&world, &mut client, ALICE, "INBOX", &format!("Subject: {n}\n\nx")))
        .collect();
    let mut listener = Client::new(&world, ALICE);
    let (_, last) = events(&listener.listen("/events", ""));
    listener.api.gone();
    assert_eq!(listener.pushed(), "");
    client.send(
        "PATCH",
        &format!("/messages/{}", all[0]),
        &json!({ "flags": { "add": ["seen"] } }),
    );
    client.delete(&format!("/messages/{}?permanent=true", all[1]));
    let new = put(&world, &mut client, ALICE, "INBOX", "Subject: new\n\nx");
    let mut again = Client::new(&world, ALICE);
    let (told, next) = events(&again.listen("/events", &last));
    assert_eq!(
        told,
        [
            gone(&all[1]),
            message("flags", &all[0], &["seen"]),
            message("message", &new, &[]),
            "ready {}".to_owned()
        ]
    );
    let mut third = Client::new(&world, ALICE);
    assert_eq!(events(&third.listen("/events", &next)).0, ["ready {}"]);
    // A folder that came meanwhile: the list is to be looked at, and its messages are told.
    client.send("POST", "/folders", &json!({ "name": "New" }));
    let there = put(&world, &mut client, ALICE, "New", "Subject: there\n\nx");
    let mut fourth = Client::new(&world, ALICE);
    let told = events(&fourth.listen("/events", &next)).0;
    assert_eq!(
        told,
        [
            "reload {\"folder\":null}".to_owned(),
            message("message", &there, &[]),
            "ready {}".to_owned()
        ]
    );
}

#[test]
fn more_than_is_told_one_by_one_is_to_be_looked_at_again() {
    let world = World::new();
    let mut client = Client::new(&world, ALICE);
    let id = put(&world, &mut client, ALICE, "INBOX", "Subject: x\n\nx");
    let mut listener = Client::new(&world, ALICE);
    let (_, last) = events(&listener.listen("/events", ""));
    let inbox = folder(&mut client, "INBOX");
    let mut list = vec![id];
    while list.len() <= 1_000 {
        let told = client
            .send("POST", "/messages/copy", &json!({ "ids": list, "folder": inbox }))
            .json();
        let new = told["results"].as_array().expect("results");
        list.extend(
            new.iter()
                .filter_map(|result| result["new_id"].as_str().map(str::to_owned)),
        );
    }
    assert_eq!(
        events(&listener.pushed()).0.len(),
        list.len() - 1,
        "who listens is told of each"
    );
    let mut again = Client::new(&world, ALICE);
    let told = events(&again.listen("/events", &last)).0;
    assert_eq!(
        told,
        [
            format!("reload {}", json!({ "folder": inbox })),
            "ready {}".to_owned()
        ]
    );
    let mut lost = Client::new(&world, ALICE);
    let told = events(&lost.listen("/events", "nonsense")).0;
    assert_eq!(told[0], "reload {\"folder\":null}");
}

#[test]
fn only_the_folders_that_were_named_are_told_of() {
    let world = World::new();
    let mut client = Client::new(&world, ALICE);
    let sent = folder(&mut client, "Sent");
    let mut listener = Client::new(&world, ALICE);
    listener.listen(&format!("/events?folder={sent}"), "");
    put(&world, &mut client, ALICE, "INBOX", "Subject: x\n\nx");
    client.send("POST", "/folders", &json!({ "name": "New" }));
    assert_eq!(events(&listener.pushed()).0, [""; 0]);
    let id = put(&world, &mut client, ALICE, "Sent", "Subject: x\n\nx");
    assert_eq!(events(&listener.pushed()).0, [message("message", &id, &[])]);
    for (wrong, status) in [("F999", 404), ("x", 400), ("", 400)] {
        assert_eq!(
            client.get(&format!("/events?folder={wrong}")).status,
            status,
            "{wrong}"
        );
    }
}

#[test]
fn a_quiet_stream_is_kept_alive_until_the_token_ends() {
    let world = World::new();
    let mut listener = Client::new(&world, ALICE);
    listener.listen("/events", "");
    assert_eq!(listener.wait(Duration::from_secs(10)), "");
    assert_eq!(listener.wait(Duration::from_secs(10)), ":\n\n");
    assert!(!listener.ended && listener.api.poll_timeout().is_some());
    listener.wait(Client::lifetime());
    assert!(listener.ended);
    assert_eq!(
        (listener.pushed().as_str(), listener.api.poll_timeout()),
        ("", None)
    );
}

#[test]
fn another_password_ends_the_stream() {
    let world = World::new();
    let mut listener = Client::new(&world, ALICE);
    listener.listen("/events", "");
    world.set_password(ALICE, "another one");
    futures_lite::future::block_on(world.service.poll_accounts());
    listener.pushed();
    assert!(listener.ended);
}
