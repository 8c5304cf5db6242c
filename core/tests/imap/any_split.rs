//! However the octets are cut, and whenever the host polls: the same is done.

use crate::common::{Client, World, settings};
use proptest::prelude::*;
use rmail_core::machine::{Input, WatchId};

/// Commands, good and bad, that come in any order.
const MENU: &[&str] = &[
    "CAPABILITY",
    "NOOP",
    "CHECK",
    "ID NIL",
    "NAMESPACE",
    "LOGIN alice@demo.test secret",
    "LOGIN {15}\r\nalice@demo.test {6+}\r\nsecret",
    "AUTHENTICATE PLAIN\r\nAGFsaWNlQGRlbW8udGVzdABzZWNyZXQ=",
    "AUTHENTICATE PLAIN\r\n*",
    "LIST \"\" *",
    "LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (INBOX \"O%\" *) RETURN (CHILDREN STATUS (MESSAGES SIZE) MYRIGHTS METADATA (/shared/comment))",
    "GETQUOTAROOT INBOX",
    "GETQUOTA alice@demo.test",
    "SETQUOTA alice@demo.test (STORAGE 512 MESSAGE 7)",
    "SETMETADATA INBOX (/shared/comment \"x\" /private/comment {3+}\r\na\r\nb)",
    "SETMETADATA INBOX (/private/bits ~{3+}\r\na\x00b)",
    "GETMETADATA (DEPTH 1 MAXSIZE 2) INBOX (/shared /private/bits)",
    "GETMETADATA \"\" /shared/admin",
    "GETACL INBOX",
    "SETACL INBOX bob@demo.test +lrs",
    "DELETEACL INBOX bob@demo.test",
    "LISTRIGHTS INBOX anyone",
    "MYRIGHTS INBOX",
    "LSUB \"\" %",
    "STATUS INBOX (MESSAGES UNSEEN)",
    "SELECT INBOX",
    "EXAMINE {5+}\r\nINBOX",
    "SELECT nowhere",
    "CREATE Work",
    "RENAME Work Play",
    "DELETE Play",
    "SUBSCRIBE Work",
    "FETCH 1:* (FLAGS UID)",
    "FETCH 1:3 (BODY[] ENVELOPE)",
    "FETCH 2 BODY.PEEK[HEADER.FIELDS (Subject)]",
    "UID FETCH 1:* RFC822.SIZE",
    "FETCH 99 FLAGS",
    "STORE 1:2 +FLAGS (\\Deleted $x)",
    "STORE 2 -FLAGS.SILENT (\\Deleted)",
    "UID STORE 3 FLAGS (\\Seen)",
    "SEARCH UNSEEN",
    "UID SEARCH TEXT number",
    "SEARCH 1 SUBJECT {1}\r\nx",
    "COPY 1 Sent",
    "MOVE 1 Drafts",
    "EXPUNGE",
    "UID EXPUNGE 1:4",
    "UIDBATCHES 500",
    "UIDBATCHES 2000 1:50",
    "UIDBATCHES 2000 4:1",
    "CLOSE",
    "UNSELECT",
    "IDLE\r\nDONE",
    "NOTIFY SET STATUS (SELECTED (MessageNew (UID BODY.PEEK[TEXT]) MessageExpunge FlagChange)) \
     (PERSONAL (MessageNew MessageExpunge MailboxName SubscriptionChange))",
    "NOTIFY SET (SELECTED-DELAYED (MessageNew MessageExpunge)) (MAILBOXES {4+}\r\nSent (MessageNew MessageExpunge))",
    "NOTIFY NONE",
    "IDLE\r\nNOOP",
    "APPEND INBOX (\\Seen) {12+}\r\nSubject: x\r\n",
    "APPEND INBOX {7}\r\nx\r\n.\r\ny",
    "APPEND nowhere {5+}\r\na b c",
    "APPEND INBOX {3+}\r\nabc def",
    "",
    "nonsense {2+}\r\nno",
];

/// Something that happens.
#[derive(Clone, Debug)]
enum Event {
    Octets(String),
    /// Of the mailbox that is selected first, or of something that NOTIFY watches.
    Dirty(u32),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        8 => (0..MENU.len(), 0..100_u32)
            .prop_map(|(at, tag)| Event::Octets(format!("t{tag} {}\r\n", MENU[at]))),
        2 => (2..8_u32).prop_map(Event::Dirty),
    ];
    (any::<bool>(), prop::collection::vec(event, 1..14)).prop_map(|(begin, mut events)| {
        if begin {
            events.insert(
                0,
                Event::Octets("s1 LOGIN alice@demo.test secret\r\ns2 SELECT INBOX\r\n".into()),
            );
        }
        events.push(Event::Octets("end LOGOUT\r\n".into()));
        events
    })
}

/// What is done. `cuts`: for each delivery how many octets, and how often the host polls after it.
fn done(events: &[Event], cuts: &[(usize, usize)]) -> String {
    let mut world = World::with_messages(5);
    world.small_body = 20;
    let mut client = Client::new(settings());
    let mut cuts = cuts.iter().cycle();
    for event in events {
        let text = match event {
            Event::Octets(text) => text,
            Event::Dirty(watch) => {
                client.input(Input::Dirty(WatchId(*watch)));
                continue;
            }
        };
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let (octets, polls) = cuts.next().map_or((usize::MAX, 0), |cut| *cut);
            let (now, later) = rest.split_at(octets.clamp(1, rest.len()));
            client.input(Input::Bytes(now.into()));
            rest = later;
            for _ in 0..polls {
                client.step(&mut world);
            }
        }
    }
    client.run(&mut world);
    client.traced()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_does_the_same(
        events in events(),
        cuts in prop::collection::vec((1..40_usize, 0..6_usize), 1..30),
    ) {
        let whole = done(&events, &[]);
        prop_assert!(whole.contains("Ended"), "{whole}");
        prop_assert_eq!(&done(&events, &[(1, usize::from(u8::MAX))]), &whole);
        prop_assert_eq!(&done(&events, &cuts), &whole);
    }
}

/// Every command of the menu at least once, after the ones that bring it into place.
#[test]
fn every_command_octet_by_octet() {
    for command in MENU {
        let events: Vec<Event> = [
            "LOGIN alice@demo.test secret",
            "CREATE Work",
            "SELECT INBOX",
            command,
            "LOGOUT",
        ]
        .iter()
        .map(|text| Event::Octets(format!("t {text}\r\n")))
        .collect();
        let whole = done(&events, &[]);
        assert_eq!(done(&events, &[(1, 0)]), whole, "{command}");
        assert_eq!(done(&events, &[(1, 1000)]), whole, "{command}");
        assert!(whole.contains("close"), "{whole}");
    }
}
