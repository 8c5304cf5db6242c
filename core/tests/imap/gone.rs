//! Messages that somebody else removed, before this client could be told (RFC 2180 §4, RFC 3501 §5.5).

use crate::common::{Client, World, name};

const GONE: &str = "NO [EXPUNGEISSUED] Some of the messages no longer exist";

/// A client that was told of five messages, of which number 2 is gone.
fn one_gone() -> (World, Client) {
    let mut world = World::with_messages(5);
    world.inbox().recent_from = 9;
    world.create(&name("Work"), &[]);
    let client = Client::selected(&mut world);
    world.inbox().remove(&[2]);
    (world, client)
}

#[test]
fn uid_search_by_numbers_tells_no_expunges() {
    for (command, found) in [
        ("3", " 3"),
        ("1:3", " 1 2 3"),
        ("OR NOT 1:4 (2:3 BODY body)", " 3 5"),
    ] {
        let (mut world, mut client) = one_gone();
        assert_eq!(
            client.say(&mut world, &format!("a UID SEARCH {command}\r\n")),
            format!("* SEARCH{found}\r\na OK [EXPUNGEISSUED] UID SEARCH completed\r\n"),
            "{command}"
        );
    }
    // Without numbers the client learns first that a message is gone.
    let (mut world, mut client) = one_gone();
    assert_eq!(
        client.say(&mut world, "a UID SEARCH UID 1:3\r\n"),
        "* 2 EXPUNGE\r\n* SEARCH 1 3\r\na OK UID SEARCH completed\r\n"
    );
}

#[test]
fn store_says_that_messages_are_gone() {
    let say = |command: &str| {
        let (mut world, mut client) = one_gone();
        client.say(&mut world, &format!("a {command}\r\n"))
    };
    let done = "OK [EXPUNGEISSUED] STORE completed for the messages that still exist";
    // RFC 2180 §4.2.1.
    assert_eq!(say("STORE 2 +FLAGS (\\Seen)"), format!("a {done}\r\n"));
    assert_eq!(
        say("STORE 1:2 +FLAGS (\\Seen)"),
        format!("* 1 FETCH (FLAGS (\\Seen))\r\na {done}\r\n")
    );
    assert_eq!(say("STORE 1:2 +FLAGS.SILENT (\\Seen)"), format!("a {done}\r\n"));
    // RFC 3501 §6.4.8: a UID without a message is no error.
    assert_eq!(
        say("UID STORE 2:3 +FLAGS (\\Seen)"),
        "* 2 EXPUNGE\r\n* 2 FETCH (UID 3 FLAGS (\\Seen))\r\na OK STORE completed\r\n"
    );
}

#[test]
fn copy_is_all_or_nothing() {
    let say = |command: &str| {
        let (mut world, mut client) = one_gone();
        let answer = client.say(&mut world, &format!("a {command}\r\n"));
        let status = client.say(&mut world, "b STATUS Work (MESSAGES)\r\n");
        let copied = status
            .split("MESSAGES ")
            .nth(1)
            .unwrap()
            .split(')')
            .next()
            .unwrap();
        format!("{answer}{copied}")
    };
    // RFC 2180 §4.4.1.
    assert_eq!(say("COPY 2 Work"), format!("* 2 EXPUNGE\r\na {GONE}\r\n0"));
    assert_eq!(say("COPY 1:3 Work"), format!("* 2 EXPUNGE\r\na {GONE}\r\n0"));
    assert!(say("COPY 3:4 Work").starts_with("* 2 EXPUNGE\r\na OK [COPYUID "));
    assert!(say("UID COPY 1:3 Work").ends_with("] COPY completed\r\n2"));
    assert_eq!(say("UID COPY 2 Work"), "* 2 EXPUNGE\r\na OK COPY completed\r\n0");
    // What is there moves; the rest is gone as it should be. But a MOVE that did nothing did not move.
    let moved = say("MOVE 1:3 Work");
    assert!(
        moved.contains("\r\na OK [HIGHESTMODSEQ ") && moved.ends_with("] MOVE completed\r\n2"),
        "{moved}"
    );
    assert_eq!(say("MOVE 2 Work"), format!("* 2 EXPUNGE\r\na {GONE}\r\n0"));
    assert_eq!(say("UID MOVE 2 Work"), "* 2 EXPUNGE\r\na OK MOVE completed\r\n0");
}

#[test]
fn copy_of_what_goes_at_that_moment_copies_the_rest() {
    let (mut world, mut client) = one_gone();
    client.say(&mut world, "a NOOP\r\n");
    for (command, removed, end) in [
        (
            "COPY 1:2 Work",
            1,
            "OK [COPYUID 104 3 1] COPY completed".to_owned(),
        ),
        ("COPY 1 Work", 3, GONE.to_owned()),
    ] {
        client.hold = true;
        client.say(&mut world, &format!("b {command}\r\n"));
        world.inbox().remove(&[removed]);
        client.hold = false;
        assert_eq!(
            client.listen(&mut world),
            format!("* 1 EXPUNGE\r\nb {end}\r\n"),
            "{command}"
        );
    }
}

#[test]
fn every_command_is_answered_when_the_mailbox_is_gone() {
    for (command, word) in [
        ("FETCH 1 FLAGS", "NO [NONEXISTENT]"),
        ("UID SEARCH ALL", "NO [NONEXISTENT]"),
        ("COPY 1 INBOX", "NO [NONEXISTENT]"),
        ("STORE 1 +FLAGS (\\Seen)", "NO [NONEXISTENT]"),
        ("CHECK", "OK "),
    ] {
        let world = &mut World::with_messages(1);
        world.create(&name("Work"), &[]);
        let mut client = Client::logged_in(world);
        client.say(world, "a APPEND Work {1+}\r\nx\r\nb SELECT Work\r\n");
        Client::logged_in(world).say(world, "a DELETE Work\r\n");
        let answer = client.say(world, &format!("c {command}\r\n"));
        assert!(answer.starts_with(&format!("c {word}")), "{answer}");
        assert!(
            answer.ends_with("\r\n* BYE The selected mailbox is gone\r\n"),
            "{answer}"
        );
    }
}

#[test]
fn nobody_goes_on_under_another_uidvalidity() {
    for (command, answer) in [
        ("NOOP", "c OK NOOP completed\r\n"),
        ("EXPUNGE", "c OK EXPUNGE completed\r\n"),
        ("STORE 1 +FLAGS (\\Seen)", "c OK STORE completed\r\n"),
        ("UID FETCH 1 FLAGS", "c NO [NONEXISTENT] No such mailbox\r\n"),
    ] {
        let world = &mut World::with_messages(1);
        let mut client = Client::selected(world);
        world.inbox().uid_validity.0 += 1;
        world.inbox().modseq += 1;
        assert_eq!(
            client.say(world, &format!("c {command}\r\n")),
            format!("{answer}* BYE UIDVALIDITY of the selected mailbox has changed\r\n")
        );
    }
}
