//! Folders and messages over HTTP.

mod client;
mod deeds;
mod events;
mod folders;
mod messages;

use serde_json::Value;

use crate::common::World;
pub use client::Client;

/// The id of a folder.
fn folder(client: &mut Client, name: &str) -> String {
    let told = client.get("/folders").json();
    let folders = told["folders"].as_array().expect("folders");
    let found = folders.iter().find(|folder| folder["name"] == name).expect(name);
    found["id"].as_str().expect("an id").to_owned()
}

/// Puts a message into a folder, and gives its id.
fn put(world: &World, client: &mut Client, name: &str, mailbox: &str, message: &str) -> String {
    let uid = world.append(name, mailbox, message.replace('\n', "\r\n").as_bytes());
    format!("{}-{uid}", folder(client, mailbox))
}

/// The ids of a list of messages.
fn ids(page: &Value) -> Vec<String> {
    let messages = page["messages"].as_array().expect("messages");
    messages
        .iter()
        .map(|message| message["id"].as_str().expect("an id").to_owned())
        .collect()
}
