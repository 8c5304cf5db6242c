//! A selected mailbox: dialogues of each command, and of several sessions.

use std::time::Duration;

use crate::common::{Client, World, flags, name};
use rmail_core::machine::Input;
use rmail_core::mailbox::{FlagChange, FlagOp, UidSet};
use rmail_core::refusal::Refusal;

/// A flag change by somebody else.
fn change(world: &mut World, uid: u32, op: FlagOp, names: &[&str]) {
    let flags = flags(names);
    let uids = UidSet::from_ranges([(uid, uid)]);
    world.inbox().change(&uids, &FlagChange { op, flags });
}

#[test]
fn select_and_examine_introduce_the_mailbox() {
    let world = &mut World::with_messages(3);
    change(world, 1, FlagOp::Add, &["\\Seen", "$Work"]);
    let mut client = Client::logged_in(world);
    assert_eq!(
        client.say(world, "a SELECT inbox\r\n"),
        "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Work)\r\n\
         * OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Work \\*)] Flags that are kept\r\n\
         * 3 EXISTS\r\n* 3 RECENT\r\n* OK [UNSEEN 2] First unseen message\r\n\
         * OK [UIDVALIDITY 101] UIDs are valid\r\n* OK [UIDNEXT 4] Predicted next UID\r\n\
         * OK [HIGHESTMODSEQ 5] Highest mod-sequence\r\n\
         * OK [MAILBOXID (F101)] Identity of the mailbox\r\na OK [READ-WRITE] SELECT completed\r\n"
    );
    // Messages are recent for one session only.
    let mut other = Client::logged_in(world);
    let answer = other.say(world, "a EXAMINE INBOX\r\n");
    assert!(answer.contains("* OK [PERMANENTFLAGS ()] "), "{answer}");
    assert!(answer.contains("* 0 RECENT\r\n") && answer.ends_with("a OK [READ-ONLY] EXAMINE completed\r\n"));
    for (command, end) in [
        ("STORE 1 +FLAGS (\\Seen)", "NO [NOPERM] Mailbox is open read-only"),
        ("EXPUNGE", "NO [NOPERM] Mailbox is open read-only"),
        ("MOVE 1 Sent", "NO [NOPERM] Mailbox is open read-only"),
        ("CLOSE", "OK CLOSE completed"),
        ("FETCH 1 FLAGS", "BAD [CLIENTBUG] No mailbox is selected"),
    ] {
        assert_eq!(
            other.say(world, &format!("b {command}\r\n")),
            format!("b {end}\r\n")
        );
    }
    // A SELECT that fails leaves none selected.
    assert_eq!(
        client.say(world, "c SELECT nowhere\r\n"),
        "* OK [CLOSED] Previous mailbox is now closed\r\nc NO [NONEXISTENT] No such mailbox\r\n"
    );
    assert_eq!(
        client.say(world, "d CHECK\r\n"),
        "d BAD [CLIENTBUG] No mailbox is selected\r\n"
    );
    client.say(world, "e SELECT INBOX\r\n");
    let answer = client.say(world, "f SELECT \"a//b\"\r\n");
    assert!(
        answer
            .starts_with("* OK [CLOSED] Previous mailbox is now closed\r\nf NO [CANNOT] Bad mailbox name: "),
        "{answer}"
    );
    assert_eq!(
        client.say(world, "g UNSELECT\r\n"),
        "g BAD [CLIENTBUG] No mailbox is selected\r\n"
    );
}

#[test]
fn news_is_told_when_a_command_completes() {
    let world = &mut World::with_messages(3);
    let mut client = Client::selected(world);
    assert_eq!(client.say(world, "a NOOP\r\n"), "a OK NOOP completed\r\n");
    world.deliver("Subject: new\r\n\r\nnew\r\n");
    change(world, 2, FlagOp::Add, &["\\Flagged", "fresh"]);
    world.inbox().remove(&[1]);
    assert_eq!(client.listen(world), "", "nothing without a command");
    assert_eq!(
        client.say(world, "b NOOP\r\n"),
        "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft fresh)\r\n\
         * OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft fresh \\*)] Flags that are kept\r\n\
         * 1 EXPUNGE\r\n* 1 FETCH (FLAGS (\\Flagged fresh \\Recent))\r\n* 3 EXISTS\r\n* 3 RECENT\r\n\
         b OK NOOP completed\r\n"
    );
    assert_eq!(client.say(world, "c NOOP\r\n"), "c OK NOOP completed\r\n");
}

#[test]
fn expunges_wait_while_numbers_are_in_use() {
    let world = &mut World::with_messages(4);
    let mut client = Client::selected(world);
    world.inbox().remove(&[1, 3]);
    world.deliver("Subject: new\r\n\r\nnew\r\n");
    // The messages are still there by number, and their rows are still known.
    let recent = "\\Recent";
    assert_eq!(
        client.say(world, "a FETCH 1:2 (UID FLAGS)\r\n"),
        format!(
            "* 5 EXISTS\r\n* 5 RECENT\r\n* 1 FETCH (UID 1 FLAGS ({recent}))\r\n\
             * 2 FETCH (UID 2 FLAGS ({recent}))\r\na OK [EXPUNGEISSUED] FETCH completed\r\n"
        )
    );
    assert_eq!(
        client.say(world, "b FETCH 3:4 BODY.PEEK[TEXT]\r\n"),
        "* 4 FETCH (BODY[TEXT] {8}\r\nbody 4\r\n)\r\n\
         b NO [EXPUNGEISSUED] Some of the messages no longer exist\r\n"
    );
    assert_eq!(
        client.say(world, "c SEARCH ALL\r\n"),
        "* SEARCH 1 2 3 4 5\r\nc OK [EXPUNGEISSUED] SEARCH completed\r\n"
    );
    assert_eq!(
        client.say(world, "d STORE 2 +FLAGS (\\Seen)\r\n"),
        format!("* 2 FETCH (FLAGS (\\Seen {recent}))\r\nd OK [EXPUNGEISSUED] STORE completed\r\n")
    );
    // A UID command lets them through.
    assert_eq!(
        client.say(world, "e UID FETCH 4 UID\r\n"),
        "* 1 EXPUNGE\r\n* 2 EXPUNGE\r\n* 2 FETCH (UID 4)\r\ne OK UID FETCH completed\r\n"
    );
    assert_eq!(client.say(world, "f NOOP\r\n"), "f OK NOOP completed\r\n");
}

#[test]
fn fetch_answers_from_rows() {
    let world = &mut World::with_messages(3);
    world.inbox().recent_from = 9;
    let mut client = Client::selected(world);
    assert_eq!(
        client.say(world, "a FETCH 2 (FLAGS INTERNALDATE RFC822.SIZE UID)\r\n"),
        "* 2 FETCH (FLAGS () INTERNALDATE \" 9-Sep-2001 02:46:40 +0100\" RFC822.SIZE 50 UID 2)\r\n\
         a OK FETCH completed\r\n"
    );
    assert_eq!(
        client.say(world, "b UID FETCH 2:* RFC822.SIZE\r\n"),
        "* 2 FETCH (UID 2 RFC822.SIZE 50)\r\n* 3 FETCH (UID 3 RFC822.SIZE 50)\r\n\
         b OK UID FETCH completed\r\n"
    );
    assert_eq!(
        client.say(world, "c FETCH 4 UID\r\n"),
        "c BAD No such message\r\n"
    );
    assert_eq!(
        client.say(world, "d UID FETCH 9 FLAGS\r\n"),
        "d OK UID FETCH completed\r\n"
    );
    assert_eq!(
        client.say(world, "e UID FETCH 9:* FLAGS\r\n"),
        "* 3 FETCH (UID 3 FLAGS ())\r\ne OK UID FETCH completed\r\n"
    );
    assert!(client.calls.iter().all(|call| !call.starts_with("Bodies")));
}

#[test]
fn fetch_of_content_sets_seen_once() {
    let world = &mut World::with_messages(2);
    world.inbox().recent_from = 9;
    let mut client = Client::selected(world);
    assert_eq!(
        client.say(
            world,
            "a FETCH 1 (BODY.PEEK[HEADER.FIELDS (subject)] ENVELOPE BODY[2] BODY)\r\n"
        ),
        "* 1 FETCH (BODY[HEADER.FIELDS (subject)] {21}\r\nSubject: number 1\r\n\r\n \
         ENVELOPE (NIL \"number 1\" NIL NIL NIL NIL NIL NIL NIL NIL) BODY[2] NIL \
         BODY (\"TEXT\" \"PLAIN\" NIL NIL NIL \"7BIT\" 8 1) FLAGS (\\Seen))\r\na OK FETCH completed\r\n"
    );
    assert_eq!(
        client.say(world, "b FETCH 1:2 (FLAGS BODY[TEXT]<1.3>)\r\n"),
        "* 1 FETCH (FLAGS (\\Seen) BODY[TEXT]<1> {3}\r\nody)\r\n\
         * 2 FETCH (FLAGS (\\Seen) BODY[TEXT]<1> {3}\r\nody)\r\nb OK FETCH completed\r\n"
    );
    assert_eq!(
        client.say(world, "c FETCH 2 (RFC822.HEADER RFC822.TEXT)\r\n"),
        "* 2 FETCH (RFC822.HEADER {42}\r\nSubject: number 2\r\nFrom: bob@demo.test\r\n\r\n \
         RFC822.TEXT {8}\r\nbody 2\r\n)\r\nc OK FETCH completed\r\n"
    );
    assert_eq!(
        client
            .calls
            .iter()
            .filter(|call| call.starts_with("Store"))
            .count(),
        2
    );
    // A store that is full is no reason to keep mail from people.
    world.deliver("\r\nx");
    client.say(world, "d NOOP\r\n");
    world.refuse = Some(("Store", Refusal::DiskFull));
    assert_eq!(
        client.say(world, "e FETCH 3 BODY[]\r\n"),
        "* 3 FETCH (BODY[] {3}\r\n\r\nx)\r\ne OK FETCH completed\r\n"
    );
    world.refuse = Some(("Bodies", Refusal::Storage));
    assert_eq!(
        client.say(world, "f FETCH 3 BODY[]\r\n"),
        "f NO [UNAVAILABLE] Storage failed; try later\r\n"
    );
    // Read-only: no flag is set.
    client.say(world, "g EXAMINE INBOX\r\n");
    assert_eq!(
        client.say(world, "h FETCH 3 RFC822\r\n"),
        "* 3 FETCH (RFC822 {3}\r\n\r\nx)\r\nh OK FETCH completed\r\n"
    );
}

#[test]
fn large_bodies_are_streamed_and_batches_are_bounded() {
    let world = &mut World::with_messages(600);
    let large = format!("Subject: large\r\n\r\n{}", "x".repeat(50_000));
    world.deliver(&large);
    let mut client = Client::selected(world);
    let answer = client.say(world, "a FETCH 1:* (UID BODY.PEEK[])\r\n");
    assert!(answer.contains(&format!(
        "* 601 FETCH (UID 601 BODY[] {{{}}}\r\n{large})\r\n",
        large.len()
    )));
    assert_eq!(answer.matches(" FETCH (UID ").count(), 601);
    let bodies = client
        .calls
        .iter()
        .filter(|call| call.starts_with("Bodies"))
        .count();
    assert_eq!(bodies, 3);
    // A message that goes while some of it is open.
    world.small_body = 10;
    let answer = client.say(world, "b FETCH 1 (BODY.PEEK[] ENVELOPE)\r\n");
    assert!(answer.ends_with("b OK FETCH completed\r\n") && client.blobs.is_empty());
    let many: String = (1..=257).map(|part| format!("BODY.PEEK[{part}] ")).collect();
    assert_eq!(
        client.say(world, &format!("c FETCH 1 ({})\r\n", many.trim_end())),
        "c NO [LIMIT] Too many items at once\r\n"
    );
}

#[test]
fn store_tells_all_of_its_messages() {
    let world = &mut World::with_messages(6);
    world.inbox().recent_from = 9;
    let mut client = Client::selected(world);
    let mut other = Client::selected(world);
    assert_eq!(
        client.say(world, "a STORE 1:2 FLAGS (\\Deleted)\r\n"),
        "* 1 FETCH (FLAGS (\\Deleted))\r\n* 2 FETCH (FLAGS (\\Deleted))\r\na OK STORE completed\r\n"
    );
    assert_eq!(
        client.say(world, "b UID STORE 2 +FLAGS (\\Deleted)\r\n"),
        "* 2 FETCH (UID 2 FLAGS (\\Deleted))\r\nb OK STORE completed\r\n"
    );
    assert_eq!(
        client.say(world, "c STORE 3 +FLAGS.SILENT (\\Seen)\r\n"),
        "c OK STORE completed\r\n"
    );
    // The other one hears of everything; and what it changes silently at the same time is told if it differs.
    change(world, 5, FlagOp::Add, &["\\Draft"]);
    assert_eq!(
        other.say(world, "d STORE 3,5 +FLAGS.SILENT (\\Seen)\r\n"),
        "* 1 FETCH (FLAGS (\\Deleted))\r\n* 2 FETCH (FLAGS (\\Deleted))\r\n\
         * 5 FETCH (FLAGS (\\Seen \\Draft))\r\nd OK STORE completed\r\n"
    );
    assert_eq!(
        client.say(world, "e STORE 7 FLAGS ()\r\n"),
        "e BAD No such message\r\n"
    );
    assert_eq!(
        client.say(world, "f UID STORE 7 FLAGS ()\r\n"),
        "* 5 FETCH (FLAGS (\\Seen \\Draft))\r\nf OK No messages\r\n"
    );
    world.refuse = Some(("Store", Refusal::TooManyKeywords));
    assert_eq!(
        client.say(world, "g STORE 1 +FLAGS (more)\r\n"),
        "g NO [LIMIT] Too many keywords in this mailbox\r\n"
    );
    assert_eq!(
        client.say(world, "h STORE 1 -FLAGS (\\Deleted nothing)\r\n"),
        "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft nothing)\r\n\
         * OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft nothing \\*)] Flags that are kept\r\n\
         * 1 FETCH (FLAGS ())\r\nh OK STORE completed\r\n"
    );
}

#[test]
fn expunge_close_and_unselect() {
    let world = &mut World::with_messages(6);
    let mut client = Client::selected(world);
    client.say(world, "a STORE 1,3,5:6 +FLAGS.SILENT (\\Deleted)\r\n");
    assert_eq!(
        client.say(world, "b UID EXPUNGE 1:3\r\n"),
        "* 1 EXPUNGE\r\n* 2 EXPUNGE\r\nb OK UID EXPUNGE completed\r\n"
    );
    assert_eq!(
        client.say(world, "c UID EXPUNGE 99\r\n"),
        "c OK UID EXPUNGE completed\r\n"
    );
    world.refuse = Some(("Expunge", Refusal::Busy));
    assert_eq!(
        client.say(world, "d EXPUNGE\r\n"),
        "d NO [INUSE] Mailbox is busy; try again\r\n"
    );
    assert_eq!(
        client.say(world, "e EXPUNGE\r\n"),
        "* 3 EXPUNGE\r\n* 3 EXPUNGE\r\ne OK EXPUNGE completed\r\n"
    );
    client.say(world, "f STORE 1 +FLAGS.SILENT (\\Deleted)\r\n");
    assert_eq!(client.say(world, "g UNSELECT\r\n"), "g OK UNSELECT completed\r\n");
    assert_eq!(world.inbox().messages.len(), 2);
    client.say(world, "h SELECT INBOX\r\n");
    assert_eq!(client.say(world, "i CLOSE\r\n"), "i OK CLOSE completed\r\n");
    assert_eq!(world.inbox().messages.keys().copied().collect::<Vec<_>>(), [4]);
}

#[test]
fn copy_and_move_name_the_new_uids() {
    let world = &mut World::with_messages(5);
    let mut client = Client::selected(world);
    assert_eq!(
        client.say(world, "a COPY 2,4:5 Sent\r\n"),
        "a OK [COPYUID 103 2,4:5 1:3] COPY completed\r\n"
    );
    assert_eq!(
        client.say(world, "b UID MOVE 1,4 Sent\r\n"),
        "* OK [COPYUID 103 1,4 4:5] Moved\r\n* 1 EXPUNGE\r\n* 3 EXPUNGE\r\nb OK [HIGHESTMODSEQ 7] MOVE completed\r\n"
    );
    assert_eq!(
        client.say(world, "c COPY 1 nowhere\r\n"),
        "c NO [TRYCREATE] No such mailbox\r\n"
    );
    assert_eq!(
        client.say(world, "d MOVE 1 nowhere\r\n"),
        "d NO [TRYCREATE] No such mailbox\r\n"
    );
    assert_eq!(
        client.say(world, "e UID COPY 99 Sent\r\n"),
        "e OK No messages\r\n"
    );
    assert_eq!(
        client.say(world, "f COPY 9 Sent\r\n"),
        "f BAD No such message\r\n"
    );
    assert_eq!(
        client.say(world, "g COPY 1 INBOX\r\n"),
        "* 4 EXISTS\r\n* 4 RECENT\r\ng OK [COPYUID 101 2 6] COPY completed\r\n"
    );
    // Over quota: people are alerted, but not each time; a MOVE needs no room.
    world.quota = 0;
    assert_eq!(
        client.say(world, "h COPY 1 Sent\r\n"),
        "* NO [ALERT] Quota exceeded\r\nh NO [OVERQUOTA] Quota exceeded\r\n"
    );
    assert_eq!(
        client.say(world, "i COPY 1 Sent\r\n"),
        "i NO [OVERQUOTA] Quota exceeded\r\n"
    );
    client.wait(world, Duration::from_secs(60));
    assert!(
        client
            .say(world, "j COPY 1 Sent\r\n")
            .starts_with("* NO [ALERT] Quota exceeded\r\n")
    );
    assert!(
        client
            .say(world, "k MOVE 1 Sent\r\n")
            .ends_with("] MOVE completed\r\n")
    );
}

#[test]
fn append_streams_its_literal() {
    let world = &mut World::with_messages(1);
    let mut client = Client::selected(world);
    let open = client.say(
        world,
        "a APPEND INBOX (\\Seen $x) \" 1-Jan-2020 00:00:00 +0000\" {10}\r\n",
    );
    assert_eq!(open, "+ Ready for literal data\r\n");
    assert_eq!(client.say(world, "01234"), "");
    assert_eq!(
        client.say(world, "56789\r\n"),
        "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $x)\r\n\
         * OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $x \\*)] Flags that are kept\r\n\
         * 2 EXISTS\r\n* 2 RECENT\r\na OK [APPENDUID 101 2] APPEND completed\r\n"
    );
    let message = world.inbox().messages[&2].clone();
    assert_eq!(
        (message.body.as_slice(), message.row.date),
        (&b"0123456789"[..], 1_577_836_800)
    );
    assert_eq!(
        client.say(world, "b APPEND Sent {3+}\r\nabc\r\nc NOOP\r\n"),
        "b OK [APPENDUID 103 1] APPEND completed\r\nc OK NOOP completed\r\n"
    );
    // Refused before the client sends it; or swallowed.
    for (args, end) in [
        ("nowhere {3}", "NO [TRYCREATE] No such mailbox"),
        ("INBOX {200000}", "NO [TOOBIG] Message is too big"),
        ("INBOX {0}", "NO [CANNOT] A message cannot be empty"),
        ("nowhere {6+}\r\na NOOP", "NO [TRYCREATE] No such mailbox"),
    ] {
        assert_eq!(
            client.say(world, &format!("d APPEND {args}\r\n")),
            format!("d {end}\r\n")
        );
    }
    let answer = client.say(world, "d APPEND \"a//b\" {3}\r\n");
    assert!(answer.starts_with("d NO [CANNOT] Bad mailbox name"), "{answer}");
    // Something behind the literal: nothing of it remains.
    client.say(world, "e APPEND INBOX {3}\r\n");
    assert!(client.say(world, "abc x\r\n").starts_with("e BAD "));
    assert!(client.calls.last().unwrap().starts_with("Discard"));
    world.refuse = Some(("Commit", Refusal::DiskFull));
    assert_eq!(
        client.say(world, "f APPEND INBOX {3+}\r\nabc\r\n"),
        "f NO [UNAVAILABLE] No space left on the server; try later\r\n"
    );
    world.quota = 1;
    assert_eq!(
        client.say(world, "g APPEND INBOX {3}\r\n"),
        "* NO [ALERT] Quota exceeded\r\ng NO [OVERQUOTA] Quota exceeded\r\n"
    );
    world.quota = u64::MAX;
    client.say(world, "h APPEND INBOX {30}\r\nabc");
    client.input(Input::Eof);
    client.listen(world);
    assert!(client.closed);
    let last: Vec<&str> = client.calls.iter().rev().take(2).map(|call| &call[..7]).collect();
    assert_eq!(last, ["Unselec", "Discard"]);
    assert_eq!(world.inbox().messages.len(), 2);
}

#[test]
fn search_by_rows_and_by_content() {
    let world = &mut World::with_messages(600);
    change(world, 7, FlagOp::Add, &["\\Seen", "$x"]);
    world.inbox().remove(&[2]);
    let mut client = Client::selected(world);
    let mut ask = |command: &str| {
        let answer = client.say(world, &format!("a {command}\r\n"));
        let (found, end) = answer.split_once("\r\n").unwrap();
        assert!(end.starts_with("a OK "), "{answer}");
        found.to_owned()
    };
    assert_eq!(ask("SEARCH SEEN"), "* SEARCH 6");
    assert_eq!(ask("UID SEARCH KEYWORD $x"), "* SEARCH 7");
    assert_eq!(ask("UID SEARCH 1:3"), "* SEARCH 1 3 4");
    assert_eq!(ask("SEARCH UID 1:4"), "* SEARCH 1 2 3");
    assert_eq!(ask("SEARCH 700 ALL"), "* SEARCH");
    assert_eq!(ask("SEARCH NOT RECENT"), "* SEARCH");
    assert_eq!(
        ask("UID SEARCH BODY \"body 55\""),
        "* SEARCH 55 550 551 552 553 554 555 556 557 558 559"
    );
    assert_eq!(ask("UID SEARCH OR UID 3 TEXT \"number 601\""), "* SEARCH 3");
    assert_eq!(ask("SEARCH UNSEEN 1:2 SUBJECT number FROM bob"), "* SEARCH 1 2");
    assert_eq!(ask("SEARCH LARGER 100000"), "* SEARCH");
    let asked = client
        .calls
        .iter()
        .filter(|call| call.starts_with("Search"))
        .count();
    assert_eq!(asked, 3 + 3 + 1, "batches of 256, and only candidates");
    assert_eq!(
        client.say(world, "b SEARCH CHARSET KOI8-R ALL\r\n"),
        "b NO [BADCHARSET (US-ASCII UTF-8)] Unknown charset\r\n"
    );
    world.refuse = Some(("Search", Refusal::Storage));
    assert_eq!(
        client.say(world, "c SEARCH TEXT x\r\n"),
        "c NO [UNAVAILABLE] Storage failed; try later\r\n"
    );
}

#[test]
fn idle_tells_at_once() {
    let world = &mut World::with_messages(2);
    let mut client = Client::selected(world);
    // What came before IDLE and was not told yet.
    world.deliver("Subject: x\r\n\r\n");
    assert_eq!(
        client.say(world, "a IDLE\r\n"),
        "+ idling\r\n* 3 EXISTS\r\n* 3 RECENT\r\n"
    );
    world.inbox().remove(&[1]);
    assert_eq!(client.listen(world), "* 1 EXPUNGE\r\n");
    assert_eq!(client.wait(world, Duration::from_secs(28 * 60)), "");
    assert_eq!(client.wait(world, Duration::from_secs(60)), "* OK Still here\r\n");
    assert_eq!(client.say(world, "done\r\n"), "a OK IDLE terminated\r\n");
    client.say(world, "b IDLE\r\n");
    assert_eq!(client.say(world, "c NOOP\r\n"), "b BAD Expected DONE\r\n");
    assert_eq!(client.say(world, "d NOOP\r\n"), "d OK NOOP completed\r\n");
    // A look that fails is not lost, and not repeated without end.
    client.say(world, "e IDLE\r\n");
    world.deliver("Subject: y\r\n\r\n");
    world.refuse = Some(("Changes", Refusal::Busy));
    assert_eq!(client.listen(world), "");
    assert_eq!(
        client.wait(world, Duration::from_secs(29 * 60)),
        "* OK Still here\r\n* 3 EXISTS\r\n* 3 RECENT\r\n"
    );
    assert_eq!(client.say(world, "DONE\r\n"), "e OK IDLE terminated\r\n");
    assert_eq!(
        client.wait(world, Duration::from_secs(30 * 60)),
        "* BYE Autologout; idle for too long\r\n"
    );
}

#[test]
fn pipelined_commands_wait_for_the_answer() {
    let world = &mut World::with_messages(1);
    let mut client = Client::selected(world);
    client.hold = true;
    let first = client.say(
        world,
        "a STATUS INBOX (MESSAGES)\r\nb STORE 1 +FLAGS (\\Seen)\r\nc IDLE\r\nDONE\r\nd NOOP\r\n",
    );
    assert_eq!(first, "");
    assert!(!client.reads() && client.calls.last().unwrap().starts_with("Status"));
    client.hold = false;
    assert_eq!(
        client.listen(world),
        "* STATUS INBOX (MESSAGES 1)\r\na OK STATUS completed\r\n* 1 FETCH (FLAGS (\\Seen \\Recent))\r\n\
         b OK STORE completed\r\n+ idling\r\nc OK IDLE terminated\r\nd OK NOOP completed\r\n"
    );
    assert!(client.reads());
}

#[test]
fn a_mailbox_that_goes_away_ends_the_session() {
    let world = &mut World::with_messages(1);
    world.create(&name("Work"), &[]);
    let mut client = Client::logged_in(world);
    client.say(world, "a SELECT Work\r\n");
    let mut other = Client::logged_in(world);
    other.say(world, "a DELETE Work\r\n");
    assert_eq!(
        client.say(world, "b NOOP\r\n"),
        "b OK NOOP completed\r\n* BYE The selected mailbox is gone\r\n"
    );
    assert!(client.closed);
    // Who deletes its own goes on.
    world.create(&name("Work"), &[]);
    other.say(world, "c SELECT Work\r\n");
    assert_eq!(
        other.say(world, "d DELETE Work\r\n"),
        "* OK [CLOSED] The selected mailbox was deleted\r\nd OK DELETE completed\r\n"
    );
    assert_eq!(
        other.say(world, "e CHECK\r\n"),
        "e BAD [CLIENTBUG] No mailbox is selected\r\n"
    );
    // Renaming follows.
    world.create(&name("Old"), &[]);
    other.say(world, "f SELECT Old\r\n");
    other.say(world, "g RENAME Old New/Name\r\n");
    assert!(
        other
            .say(world, "h APPEND New/Name {1+}\r\nx\r\n")
            .starts_with("* 1 EXISTS\r\n")
    );
}

#[test]
fn sequence_numbers_never_leave_the_session() {
    let world = &mut World::with_messages(3);
    world.inbox().remove(&[1]);
    let mut client = Client::selected(world);
    client.hold = true;
    client.say(world, "a SEARCH 1 TEXT x RECENT\r\n");
    let call = client.calls.last().unwrap();
    assert!(
        call.contains("Uids({2})") && !call.contains("Sequence") && !call.contains("Recent"),
        "{call}"
    );
}
