use std::sync::atomic::Ordering;

use serde_json::json;

use super::{Client, folder, put};
use crate::common::World;

fn names(client: &mut Client) -> Vec<String> {
    let told = client.get("/folders").json();
    let folders = told["folders"].as_array().expect("folders").clone();
    folders
        .iter()
        .map(|folder| folder["name"].as_str().expect("a name").to_owned())
        .collect()
}

#[test]
fn folders_are_listed_with_their_counts_and_roles() {
    let world = World::new();
    let mut client = Client::new(&world, "alice@example.com");
    put(
        &world,
        &mut client,
        "alice@example.com",
        "INBOX",
        "Subject: x\n\nx",
    );
    let told = client.get("/folders");
    assert_eq!(told.status, 200);
    let folders = told.json()["folders"].clone();
    let roles: Vec<(&str, Option<&str>)> = folders
        .as_array()
        .expect("folders")
        .iter()
        .map(|folder| (folder["name"].as_str().expect("a name"), folder["role"].as_str()))
        .collect();
    assert_eq!(
        roles,
        [
            ("Archive", Some("archive")),
            ("Drafts", Some("drafts")),
            ("INBOX", Some("inbox")),
            ("Junk", Some("junk")),
            ("Sent", Some("sent")),
            ("Trash", Some("trash")),
        ]
    );
    let inbox = &folders[2];
    assert_eq!(
        (&inbox["messages"], &inbox["unread"], &inbox["size"]),
        (&json!(1), &json!(1), &json!(15))
    );
    let one = client.get(&format!("/folders/{}", inbox["id"].as_str().expect("an id")));
    assert_eq!((one.status, one.json()), (200, inbox.clone()));
}

#[test]
fn what_has_not_changed_is_answered_at_once_and_what_has_is_seen() {
    let world = World::new();
    world.disk.set_yields(false);
    let mut client = Client::new(&world, "alice@example.com");
    let mut other = Client::new(&world, "alice@example.com");
    let asked = |client: &mut Client| {
        let before = client.later.load(Ordering::Relaxed);
        let told = client.get("/folders").json();
        (client.later.load(Ordering::Relaxed) - before, told)
    };
    let (_, first) = asked(&mut client);
    assert_eq!(asked(&mut other), (0, first.clone()), "another connection");
    world.append("alice@example.com", "Sent", b"Subject: x\r\n\r\nx");
    let (later, second) = asked(&mut client);
    assert_eq!((later, &second["folders"][4]["messages"]), (1, &json!(1)));
    assert_eq!(asked(&mut other), (0, second));
    let made = other.send("POST", "/folders", &json!({ "name": "New" }));
    assert_eq!(made.status, 201);
    let (later, third) = asked(&mut client);
    assert_eq!((later, third["folders"].as_array().map(Vec::len)), (1, Some(7)));
    assert_eq!(asked(&mut client).0, 0);
}

#[test]
fn folders_are_made_renamed_and_deleted() {
    let world = World::new();
    let mut client = Client::new(&world, "alice@example.com");
    let made = client.send("POST", "/folders", &json!({ "name": "Work/2027" }));
    assert_eq!(made.status, 201);
    let id = made.json()["id"].as_str().expect("an id").to_owned();
    assert_eq!(made.field("Location"), Some(format!("/folders/{id}").as_str()));
    assert_eq!(made.json()["parent"], json!(folder(&mut client, "Work")));
    assert_eq!(made.json()["subscribed"], json!(true));
    let again = client.send("POST", "/folders", &json!({ "name": "Work/2027" }));
    assert_eq!(again.status, 409);
    let second = client.send("POST", "/folders", &json!({ "name": "Other", "role": "trash" }));
    assert_eq!(second.status, 409, "there is one already");

    let place = format!("/folders/{id}");
    let renamed = client.send("PATCH", &place, &json!({ "name": "Done" }));
    assert_eq!(
        (renamed.status, &renamed.json()["name"], &renamed.json()["id"]),
        (200, &json!("Done"), &json!(id))
    );
    assert_eq!(
        renamed.json()["subscribed"],
        json!(true),
        "it goes with the folder"
    );
    let quiet = client.send("PATCH", &place, &json!({ "subscribed": false }));
    assert_eq!(quiet.json()["subscribed"], json!(false));
    let inbox = folder(&mut client, "INBOX");
    let refused = client.send("PATCH", &format!("/folders/{inbox}"), &json!({ "name": "Old" }));
    assert_eq!(refused.status, 409);

    assert_eq!(client.delete(&place).status, 204);
    assert_eq!(
        (client.delete(&place).status, client.get(&place).status),
        (404, 404)
    );
    assert_eq!(client.delete(&format!("/folders/{inbox}")).status, 409);
    assert!(!names(&mut client).contains(&"Done".to_owned()));
}

#[test]
fn all_wrong_fields_are_told() {
    let world = World::new();
    let mut client = Client::new(&world, "alice@example.com");
    let told = client.send(
        "POST",
        "/folders",
        &json!({ "name": "a//b", "role": "kitchen", "colour": 1 }),
    );
    assert_eq!(told.status, 400);
    let details = told.json()["details"].clone();
    let mut paths: Vec<&str> = details
        .as_array()
        .expect("details")
        .iter()
        .map(|detail| detail["path"].as_str().expect("a path"))
        .collect();
    paths.sort_unstable();
    assert_eq!(paths, ["$.colour", "$.name", "$.role"]);
    assert_eq!(client.get("/folders?x=1").status, 400);
    for unknown in ["/folders/F999", "/folders/nothing", "/folders/F999/messages"] {
        assert_eq!(client.get(unknown).status, 404, "{unknown}");
    }
}

#[test]
fn nobody_sees_the_folders_of_another() {
    let world = World::new();
    let mut alice = Client::new(&world, "alice@example.com");
    let mut bob = Client::new(&world, "bob@example.com");
    let id = put(
        &world,
        &mut alice,
        "alice@example.com",
        "INBOX",
        "Subject: secret\n\nx",
    );
    let (alices, bobs) = (folder(&mut alice, "INBOX"), folder(&mut bob, "INBOX"));
    assert_eq!(alice.get(&format!("/messages/{id}")).status, 200);
    if alices != bobs {
        assert_eq!(bob.get(&format!("/folders/{alices}")).status, 404);
    }
    for what in ["", "/raw", "/parts/1"] {
        assert_eq!(bob.get(&format!("/messages/{id}{what}")).status, 404, "{what}");
    }
    assert_eq!(bob.delete(&format!("/messages/{id}?permanent=true")).status, 404);
    assert_eq!(alice.get(&format!("/messages/{id}")).status, 200);
}
