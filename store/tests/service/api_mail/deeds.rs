use serde_json::{Value, json};

use super::{Client, folder, ids, put};
use crate::common::World;

const ALICE: &str = "alice@example.com";

fn world() -> (World, Client, Vec<String>) {
    let world = World::new();
    let mut client = Client::new(&world, ALICE);
    let all = (0..3)
        .map(|n| {
            put(
                &world,
                &mut client,
                ALICE,
                "INBOX",
                &format!("Subject: {n}\n\nbody {n}"),
            )
        })
        .collect();
    (world, client, all)
}

fn listed(client: &mut Client, name: &str) -> Vec<String> {
    let id = folder(client, name);
    ids(&client.get(&format!("/folders/{id}/messages")).json())
}

#[test]
fn flags_are_added_and_removed() {
    let (_world, mut client, all) = world();
    let place = format!("/messages/{}", all[0]);
    let told = client.send(
        "PATCH",
        &place,
        &json!({ "flags": { "add": ["seen", "\\Flagged", "Work"] } }),
    );
    assert_eq!(
        (told.status, &told.json()["flags"]),
        (200, &json!(["seen", "flagged", "Work"]))
    );
    assert_eq!(told.json()["id"], json!(all[0]));
    let told = client.send(
        "PATCH",
        &place,
        &json!({ "flags": { "add": ["answered"], "remove": ["seen", "WORK"] } }),
    );
    assert_eq!(told.json()["flags"], json!(["answered", "flagged"]));
    let same = client.send("PATCH", &place, &json!({}));
    assert_eq!(
        (same.status, &same.json()["flags"]),
        (200, &json!(["answered", "flagged"]))
    );
    let wrong = client.send(
        "PATCH",
        &place,
        &json!({ "flags": { "add": ["a b", 1], "set": [] }, "folder": "x" }),
    );
    let details = wrong.json()["details"].clone();
    let paths: Vec<&str> = details
        .as_array()
        .expect("details")
        .iter()
        .filter_map(|d| d["path"].as_str())
        .collect();
    assert_eq!(
        paths,
        ["$.flags.add[0]", "$.flags.add[1]", "$.flags.set", "$.folder"]
    );
}

#[test]
fn a_move_tells_the_new_id() {
    let (_world, mut client, all) = world();
    let archive = folder(&mut client, "Archive");
    let place = format!("/messages/{}", all[1]);
    let told = client.send(
        "PATCH",
        &place,
        &json!({ "flags": { "add": ["seen"] }, "folder": archive }),
    );
    let new = told.json();
    assert_eq!(
        (told.status, &new["folder"], &new["flags"]),
        (200, &json!(archive), &json!(["seen"]))
    );
    assert_eq!(client.get(&place).status, 404);
    assert_eq!(
        listed(&mut client, "Archive"),
        [new["id"].as_str().expect("an id")]
    );
    let same = client.send(
        "PATCH",
        &format!("/messages/{}", all[0]),
        &json!({ "folder": all[0].split('-').next() }),
    );
    assert_eq!(
        (same.status, &same.json()["id"]),
        (200, &json!(all[0])),
        "it is there already"
    );
    let nowhere = client.send(
        "PATCH",
        &format!("/messages/{}", all[0]),
        &json!({ "folder": "F999" }),
    );
    assert_eq!(nowhere.status, 404);
    assert_eq!(client.send("PATCH", &place, &json!({})).status, 404);
}

#[test]
fn a_copy_leaves_the_message() {
    let (_world, mut client, all) = world();
    let archive = folder(&mut client, "Archive");
    let told = client.send(
        "POST",
        &format!("/messages/{}/copy", all[0]),
        &json!({ "folder": archive }),
    );
    let id = told.json()["id"].as_str().expect("an id").to_owned();
    assert_eq!(
        (told.status, told.field("Location")),
        (201, Some(format!("/messages/{id}").as_str()))
    );
    assert_eq!(client.get(&format!("/messages/{}", all[0])).status, 200);
    assert_eq!(listed(&mut client, "Archive"), [id]);
    assert_eq!(
        client
            .send("POST", &format!("/messages/{}/copy", all[0]), &json!({}))
            .status,
        400
    );
}

#[test]
fn what_is_deleted_goes_into_the_trash_first() {
    let (_world, mut client, all) = world();
    let told = client.delete(&format!("/messages/{}", all[0]));
    assert_eq!(
        (told.status, &told.json()["folder"]),
        (200, &json!(folder(&mut client, "Trash")))
    );
    let trashed = told.json()["id"].as_str().expect("an id").to_owned();
    assert_eq!(listed(&mut client, "Trash"), [trashed.as_str()]);
    assert_eq!(client.delete(&format!("/messages/{trashed}")).status, 204);
    assert!(listed(&mut client, "Trash").is_empty());
    assert_eq!(
        client
            .delete(&format!("/messages/{}?permanent=true", all[1]))
            .status,
        204
    );
    assert_eq!(
        client
            .delete(&format!("/messages/{}?permanent=true", all[1]))
            .status,
        404
    );
    assert_eq!(listed(&mut client, "INBOX"), [all[2].as_str()]);
    let trash = folder(&mut client, "Trash");
    assert_eq!(client.delete(&format!("/folders/{trash}")).status, 204);
    assert_eq!(
        client.delete(&format!("/messages/{}", all[2])).status,
        409,
        "there is no trash"
    );
    assert_eq!(
        client
            .delete(&format!("/messages/{}?permanent=maybe", all[2]))
            .status,
        400
    );
}

#[test]
fn many_messages_have_their_own_outcomes() {
    let (world, mut client, all) = world();
    let sent = put(&world, &mut client, ALICE, "Sent", "Subject: s\n\ns");
    let (trash, archive) = (folder(&mut client, "Trash"), folder(&mut client, "Archive"));
    let gone = format!("{}-99", all[0].split('-').next().expect("a folder"));
    let list = json!([all[0], sent, gone, all[0], "F999-1"]);
    let told = client.send(
        "POST",
        "/messages/flags",
        &json!({ "ids": list, "add": ["flagged"] }),
    );
    assert_eq!(told.status, 200);
    let results = told.json()["results"].clone();
    let statuses = |results: &Value| -> Vec<u64> {
        let results = results.as_array().expect("results");
        results
            .iter()
            .map(|result| result["status"].as_u64().expect("a status"))
            .collect()
    };
    assert_eq!(statuses(&results), [200, 200, 404, 200, 404]);
    assert_eq!(
        (&results[1]["id"], &results[1]["flags"]),
        (&json!(sent), &json!(["flagged"]))
    );
    assert!(results[1].get("new_id").is_none() && results[2]["error"].is_string());

    let told = client.send(
        "POST",
        "/messages/move",
        &json!({ "ids": [all[0], sent], "folder": archive }),
    );
    let results = told.json()["results"].clone();
    let new: Vec<&str> = results
        .as_array()
        .expect("results")
        .iter()
        .filter_map(|r| r["new_id"].as_str())
        .collect();
    assert_eq!(new.len(), 2);
    let mut new = new;
    new.sort_unstable();
    let mut there = listed(&mut client, "Archive");
    there.sort();
    assert_eq!(there, new);

    let told = client.send("POST", "/messages/delete", &json!({ "ids": new }));
    assert_eq!(statuses(&told.json()["results"]), [200, 200]);
    let trashed = listed(&mut client, "Trash");
    assert_eq!((trashed.len(), trashed[0].starts_with(&trash)), (2, true));
    let told = client.send(
        "POST",
        "/messages/delete",
        &json!({ "ids": trashed, "permanent": true }),
    );
    let results = told.json()["results"].clone();
    assert!(statuses(&results) == [200, 200] && results[0].get("new_id").is_none());
    assert!(listed(&mut client, "Trash").is_empty());

    for wrong in [
        json!({ "add": ["seen"] }),
        json!({ "ids": [], "add": ["seen"] }),
        json!({ "ids": ["x"], "add": ["seen"] }),
        json!({ "ids": vec![all[1].as_str(); 1_001], "add": ["seen"] }),
    ] {
        assert_eq!(client.send("POST", "/messages/flags", &wrong).status, 400);
    }
    let nowhere = client.send(
        "POST",
        "/messages/move",
        &json!({ "ids": [all[1]], "folder": "F999" }),
    );
    assert_eq!(nowhere.status, 404);
}
