//! What one client may cost: long work is cut into steps, and little is held at a time.

use crate::common::{Client, World, flags, name};
use rmail_core::mailbox::{FlagChange, FlagOp, UidSet};

fn calls(client: &Client, kind: &str) -> usize {
    client.calls.iter().filter(|call| call.starts_with(kind)).count()
}

#[test]
fn a_literal_with_nul_is_no_message() {
    let world = &mut World::with_messages(1);
    let mut client = Client::selected(world);
    let refused = "BAD NUL is not allowed in a literal\r\n";
    for literal in [&b"{5+}\r\nab\0de"[..], b"{5+}\r\n\0\0\0\0\0", b"{1}\r\n\0"] {
        let command = [b"a APPEND INBOX ", literal, b"\r\nb NOOP\r\n"].concat();
        let answer = client.say_octets(world, &command);
        let answer = answer
            .strip_prefix("+ Ready for literal data\r\n")
            .unwrap_or(&answer);
        assert_eq!(answer, format!("a {refused}b OK NOOP completed\r\n"));
    }
    // In pieces.
    let mut answer = String::new();
    for octet in b"c APPEND INBOX {3+}\r\na\0b\r\n" {
        answer += &client.say_octets(world, &[*octet]);
    }
    assert_eq!(answer, format!("c {refused}"));
    assert_eq!((world.inbox().messages.len(), calls(&client, "Commit")), (1, 0));
}

#[test]
fn an_answer_in_part_is_asked_for_again() {
    let world = &mut World::with_messages(9);
    world.inbox().recent_from = 99;
    let mut client = Client::selected(world);
    let whole = client.say(world, "a FETCH 1:* (BODY[] BODY[HEADER])\r\n");
    assert!(
        whole.ends_with(" FLAGS (\\Seen))\r\na OK FETCH completed\r\n"),
        "{whole}"
    );
    assert_eq!(calls(&client, "Bodies"), 1);
    world.small_body = 0;
    world.most_open = 3;
    let uids = UidSet::from_ranges([(1, 9)]);
    let (op, flags) = (FlagOp::Remove, flags(&["\\Seen"]));
    world.inbox().change(&uids, &FlagChange { op, flags });
    client.say(world, "b NOOP\r\n");
    assert_eq!(client.say(world, "a FETCH 1:* (BODY[] BODY[HEADER])\r\n"), whole);
    // Two bodies of each message are opened; a message is not cut.
    assert_eq!(calls(&client, "Bodies"), 1 + 5);
    assert!(client.blobs.is_empty());
}

#[test]
fn costly_searches_are_cut_into_steps() {
    let world = &mut World::with_messages(2_000);
    let mut client = Client::selected(world);
    client.say(world, "a SEARCH KEYWORD x\r\n");
    let pauses = client.pauses;
    let keys = "KEYWORD x ".repeat(990);
    client.say(world, &format!("b SEARCH {}\r\n", keys.trim_end()));
    assert!(client.pauses - pauses > 500, "{} pauses", client.pauses - pauses);
}

#[test]
fn few_large_messages_are_asked_about_at_a_time() {
    let world = &mut World::with_messages(3);
    for _ in 0..3 {
        world.deliver(&format!("Subject: large\r\n\r\n{}", "x\r\n".repeat(3 << 20)));
    }
    let mut client = Client::selected(world);
    assert_eq!(
        client.say(world, "a SEARCH TEXT large\r\n"),
        "* SEARCH 4 5 6\r\na OK SEARCH completed\r\n"
    );
    assert_eq!(calls(&client, "Search"), 3);
}

#[test]
fn a_client_hears_how_far_a_long_search_is() {
    let world = &mut World::with_messages(1_000);
    let mut client = Client::selected(world);
    client.search_takes = std::time::Duration::from_secs(13);
    let answer = client.say(world, "a SEARCH BODY nowhere\r\n");
    assert_eq!(
        answer,
        "* OK [INPROGRESS (\"a\" 512 1000)] Still searching\r\n\
         * OK [INPROGRESS (\"a\" 768 1000)] Still searching\r\n\
         * SEARCH\r\na OK SEARCH completed\r\n"
    );
    // A tag that could not stand in a response code is left out (RFC 9585 §4).
    let answer = client.say(world, "b]c SEARCH BODY nowhere\r\n");
    assert!(answer.contains("* OK [INPROGRESS (NIL 512 1000)] "), "{answer}");
    client.search_takes = std::time::Duration::from_secs(1);
    assert_eq!(
        client.say(world, "d SEARCH BODY nowhere\r\n"),
        "* SEARCH\r\nd OK SEARCH completed\r\n"
    );
}

#[test]
fn costly_patterns_are_cut_into_steps() {
    let world = &mut World::with_messages(0);
    for n in 100..130 {
        world.create(&name(&format!("{}{n}", "a".repeat(190))), &[]);
    }
    let mut client = Client::logged_in(world);
    let pattern = format!("{}b", "*a".repeat(90));
    let answer = client.say(
        world,
        &format!("a LIST \"\" ({})\r\n", [pattern.as_str(); 32].join(" ")),
    );
    assert_eq!(answer, "a OK LIST completed\r\n");
    assert!(client.pauses >= 30, "{} pauses", client.pauses);
}

#[test]
fn a_sorted_context_that_grows_too_long_ends() {
    let world = &mut World::with_messages(20_000);
    let mut client = Client::selected(world);
    let told = client.say(
        world,
        "a SORT RETURN (COUNT UPDATE) (REVERSE ARRIVAL) UTF-8 ALL\r\n",
    );
    assert!(
        told.ends_with("a OK SORT completed\r\n") && !told.contains("NOUPDATE"),
        "{told}"
    );
    client.say(world, "b SEARCH RETURN (COUNT UPDATE) ALL\r\n");
    world.deliver("Subject: one too many\r\n\r\n");
    let told = client.say(world, "c NOOP\r\n");
    assert!(
        told.contains("* NO [NOUPDATE \"a\"] The result is too long\r\n"),
        "{told}"
    );
    // The others go on.
    assert!(
        told.contains("* ESEARCH (TAG \"b\") ADDTO (0 20001)\r\n"),
        "{told}"
    );
    world.deliver("Subject: another\r\n\r\n");
    let told = client.say(world, "d NOOP\r\n");
    assert!(
        !told.contains("\"a\"") && told.contains("ADDTO (0 20002)"),
        "{told}"
    );
}
