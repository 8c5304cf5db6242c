//! The mailbox list: dialogues.

use crate::common::{Client, World, name};

fn asking(world: &mut World, client: &mut Client, command: &str) -> Vec<String> {
    let answer = client.say(world, &format!("a {command}\r\n"));
    let mut lines: Vec<String> = answer.lines().map(str::to_owned).collect();
    let last = lines.pop().unwrap();
    assert!(last.starts_with("a OK "), "{answer}");
    lines
}

#[test]
fn list_shows_levels_children_and_uses() {
    let world = &mut World::new();
    for text in ["Work/Reports/2024", "Work/Reports/2025", "Ä&B", "INBOX/Sub"] {
        world.create(&name(text), &[]);
    }
    let client = &mut Client::logged_in(world);
    assert_eq!(
        asking(world, client, "LIST \"\" %"),
        [
            "* LIST (\\HasNoChildren \\Drafts) \"/\" \"Drafts\"",
            "* LIST (\\HasChildren) \"/\" INBOX",
            "* LIST (\\HasNoChildren \\Sent) \"/\" \"Sent\"",
            "* LIST (\\Noselect \\HasChildren) \"/\" \"Work\"",
            "* LIST (\\HasNoChildren) \"/\" \"&AMQ-&-B\"",
        ]
    );
    assert_eq!(
        asking(world, client, "LIST \"\" Work/%"),
        ["* LIST (\\Noselect \\HasChildren) \"/\" \"Work/Reports\""]
    );
    assert_eq!(
        asking(world, client, "LIST Work/ *"),
        [
            "* LIST (\\HasNoChildren) \"/\" \"Work/Reports/2024\"",
            "* LIST (\\HasNoChildren) \"/\" \"Work/Reports/2025\"",
        ]
    );
    assert_eq!(
        asking(world, client, "LIST \"\" inbox"),
        ["* LIST (\\HasChildren) \"/\" INBOX"]
    );
    assert_eq!(
        asking(world, client, "LIST \"\" \"\""),
        ["* LIST (\\Noselect) \"/\" \"\""]
    );
    assert_eq!(
        asking(world, client, "LIST (SPECIAL-USE) \"\" * RETURN (SUBSCRIBED)"),
        [
            "* LIST (\\HasNoChildren \\Drafts \\Subscribed) \"/\" \"Drafts\"",
            "* LIST (\\HasNoChildren \\Sent \\Subscribed) \"/\" \"Sent\"",
        ]
    );
    assert!(asking(world, client, "LIST \"\" nothing").is_empty());
}

#[test]
fn subscriptions_are_a_list_of_their_own() {
    let world = &mut World::new();
    let client = &mut Client::logged_in(world);
    asking(world, client, "UNSUBSCRIBE Drafts");
    asking(world, client, "SUBSCRIBE Far/Away/Box");
    assert_eq!(
        asking(world, client, "LSUB \"\" *"),
        [
            "* LSUB () \"/\" \"Far/Away/Box\"",
            "* LSUB () \"/\" INBOX",
            "* LSUB () \"/\" \"Sent\""
        ]
    );
    assert_eq!(
        asking(world, client, "LSUB \"\" %")[0],
        "* LSUB (\\Noselect) \"/\" \"Far\""
    );
    assert_eq!(
        asking(world, client, "LIST (SUBSCRIBED) \"\" F*"),
        ["* LIST (\\NonExistent \\HasNoChildren \\Subscribed) \"/\" \"Far/Away/Box\""]
    );
    assert!(asking(world, client, "LIST \"\" F*").is_empty());
    assert!(asking(world, client, "LIST \"\" F%").is_empty());
}

#[test]
fn mailboxes_come_and_go() {
    let world = &mut World::with_messages(2);
    let client = &mut Client::logged_in(world);
    for (command, end) in [
        ("CREATE New", "OK CREATE completed"),
        ("CREATE Level/", "OK CREATE completed"),
        ("CREATE New", "NO [ALREADYEXISTS] Mailbox exists already"),
        ("CREATE Mine (USE (\\Trash))", "OK CREATE completed"),
        (
            "CREATE Mine2 (USE (\\All))",
            "NO [USEATTR] No mailbox can have this use",
        ),
        ("DELETE inbox", "NO [CANNOT] INBOX cannot be deleted"),
        ("DELETE None", "NO [NONEXISTENT] No such mailbox"),
        ("RENAME New Sent", "NO [ALREADYEXISTS] Mailbox exists already"),
        (
            "RENAME New New/Below",
            "NO [CANNOT] A mailbox cannot be moved below itself",
        ),
        ("RENAME None Other", "NO [NONEXISTENT] No such mailbox"),
        ("RENAME New Newer", "OK RENAME completed"),
        ("DELETE Newer", "OK DELETE completed"),
        ("SELECT Newer", "NO [NONEXISTENT] No such mailbox"),
    ] {
        let answer = client.say(world, &format!("a {command}\r\n"));
        let (before, code) = answer.split_once("[MAILBOXID (F").unwrap_or((&answer, ""));
        let plain = code.split_once(")] ").map_or("", |(_, text)| text);
        assert_eq!([before, plain].concat(), format!("a {end}\r\n"));
        assert_eq!(
            code.is_empty(),
            !answer.contains("OK CREATE") && plain.is_empty(),
            "{answer}"
        );
    }
    assert!(
        client
            .say(world, "a CREATE \"a/../b\"\r\n")
            .starts_with("a NO [CANNOT] Bad mailbox name")
    );
    // RENAME of INBOX leaves an empty INBOX.
    client.say(world, "b SELECT INBOX\r\n");
    assert_eq!(
        client.say(world, "c RENAME INBOX Old\r\n"),
        "* 1 EXPUNGE\r\n* 1 EXPUNGE\r\nc OK RENAME completed\r\n"
    );
    assert_eq!(
        client.say(
            world,
            "d STATUS Old (MESSAGES UIDNEXT UNSEEN RECENT UIDVALIDITY)\r\n"
        ),
        "* STATUS \"Old\" (MESSAGES 2 UIDNEXT 3 UNSEEN 2 RECENT 2 UIDVALIDITY 107)\r\nd OK STATUS completed\r\n"
    );
    assert_eq!(
        client.say(world, "e STATUS None (MESSAGES)\r\n"),
        "e NO [NONEXISTENT] No such mailbox\r\n"
    );
}

#[test]
fn values_that_are_too_long_or_too_many_are_refused() {
    let world = &mut World::new();
    let client = &mut Client::logged_in(world);
    let long = "x".repeat(32_769);
    let answer = client.say(
        world,
        &format!(
            "a SETMETADATA INBOX (/shared/a \"1\" /shared/b {{{}+}}\r\n{long})\r\n",
            long.len()
        ),
    );
    assert_eq!(answer, "a NO [METADATA MAXSIZE 32768] A value is too long\r\n");
    assert_eq!(
        asking(world, client, "GETMETADATA INBOX /shared/a"),
        ["* METADATA INBOX (/shared/a NIL)"],
        "none is set"
    );
    for number in 0..100 {
        asking(
            world,
            client,
            &format!("SETMETADATA INBOX (/shared/n{number} \"\")"),
        );
    }
    let answer = client.say(world, "a SETMETADATA INBOX (/shared/one-more \"\")\r\n");
    assert!(answer.starts_with("a NO [METADATA TOOMANY] "), "{answer}");
    asking(
        world,
        client,
        "SETMETADATA INBOX (/shared/n1 NIL /shared/one-more \"\")",
    );
}

#[test]
fn others_mailboxes_stand_among_ones_own() {
    let world = &mut World::new();
    let bob = rmail_core::addr::Address::parse("b/o@demo.test")
        .unwrap()
        .canonical();
    for (mailbox, letters) in [("INBOX", "lr"), ("a/b", "l"), ("hidden", "r")] {
        world.shared.push(rmail_core::imap::server::SharedMailbox {
            owner: bob.clone(),
            name: name(mailbox),
            rights: rmail_core::mailbox::Rights::parse(letters).unwrap(),
        });
    }
    world.subscribed.insert(name("Other users/b%2Fo@demo.test/INBOX"));
    world.create(&name("Other users/mine"), &[]);
    let client = &mut Client::logged_in(world);
    assert_eq!(
        asking(world, client, "LIST (SUBSCRIBED) \"\" Other*"),
        ["* LIST (\\HasNoChildren \\Subscribed) \"/\" \"Other users/b%2Fo@demo.test/INBOX\""]
    );
    assert_eq!(
        asking(world, client, "LIST \"Other users/\" * RETURN (MYRIGHTS)"),
        [
            "* LIST (\\HasNoChildren) \"/\" \"Other users/b%2Fo@demo.test/INBOX\"",
            "* MYRIGHTS \"Other users/b%2Fo@demo.test/INBOX\" lr",
            "* LIST (\\Noselect \\HasNoChildren) \"/\" \"Other users/b%2Fo@demo.test/a/b\"",
            "* MYRIGHTS \"Other users/b%2Fo@demo.test/a/b\" l",
        ]
    );
    let asked = client.calls.len();
    asking(world, client, "LIST \"\" (INBOX Dra* Oth)");
    let calls: Vec<&str> = client.calls[asked..]
        .iter()
        .map(|call| call.split(' ').next().unwrap())
        .collect();
    assert_eq!(calls, ["List", "Shared"], "Oth is the beginning of the name");
    asking(world, client, "LIST \"\" (INBOX Dra*)");
    let last = client.calls.last().unwrap();
    assert!(last.starts_with("List"), "no pattern reaches there: {last}");
}
