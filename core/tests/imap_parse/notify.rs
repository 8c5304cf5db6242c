//! NOTIFY (RFC 5465 §8).

use super::{AUTHENTICATED, command, events};
use rmail_core::imap::command::{Command, FetchItem};
use rmail_core::imap::notify::{Events, Filter, Group, Notify};
use rmail_core::imap::parse::Event;
use rmail_core::mailbox::MailboxName;

fn group(filter: Filter, events: Events) -> Group {
    Group {
        filter,
        events,
        fetch: Vec::new(),
    }
}

fn set(groups: Vec<Group>) -> Command {
    Command::Notify(Box::new(Notify::Set {
        status: false,
        groups,
        known: true,
    }))
}

const BOTH: Events = Events::NEW.with(Events::EXPUNGE);

#[test]
fn filters_and_events() {
    let names = |names: &[&str]| names.iter().map(|name| MailboxName::new(name)).collect();
    assert_eq!(command("NOTIFY NONE"), Command::Notify(Box::new(Notify::None)));
    assert_eq!(
        command("notify set (personal (MESSAGENEW messageexpunge FlagChange)) (inboxes NONE)"),
        set(vec![
            group(Filter::Personal, BOTH.with(Events::FLAGS)),
            group(Filter::Inboxes, Events::NONE),
        ])
    );
    assert_eq!(
        command(
            "NOTIFY SET (subtree {5}\r\nLists (MailboxName)) (mailboxes (a \"b c\") (SubscriptionChange))"
        ),
        set(vec![
            group(Filter::Subtree(names(&["Lists"])), Events::NAME),
            group(Filter::Mailboxes(names(&["a", "b c"])), Events::SUBSCRIPTION),
        ])
    );
    let events = Events::METADATA.with(Events::SERVER_METADATA);
    assert_eq!(
        command("NOTIFY SET (subscribed (MailboxMetadataChange ServerMetadataChange))"),
        set(vec![group(Filter::Subscribed, events)])
    );
    // As in the example of §3.1, without parentheses around the events.
    assert_eq!(
        command("NOTIFY SET STATUS (selected-delayed MessageNew (UID FLAGS UID) MessageExpunge)"),
        Command::Notify(Box::new(Notify::Set {
            status: true,
            groups: vec![Group {
                fetch: vec![FetchItem::Uid, FetchItem::Flags],
                ..group(Filter::SelectedDelayed, BOTH)
            }],
            known: true,
        }))
    );
    let Command::Notify(unknown) = command("NOTIFY SET (personal (Thunder))") else {
        panic!("NOTIFY");
    };
    assert!(matches!(*unknown, Notify::Set { known: false, .. }));
}

#[test]
fn what_is_wrong_is_bad() {
    for text in [
        "NOTIFY",
        "NOTIFY SET",
        "NOTIFY SET STATUS",
        "NOTIFY SET NOW (personal NONE)",
        "NOTIFY NONE SET",
        "NOTIFY SET (personal)",
        "NOTIFY SET (personal ())",
        "NOTIFY SET (everything NONE)",
        "NOTIFY SET (mailboxes NONE)",
        "NOTIFY SET (selected (MessageNew))",
        "NOTIFY SET (selected (MessageExpunge))",
        "NOTIFY SET (selected (FlagChange))",
        "NOTIFY SET (personal (AnnotationChange))",
        "NOTIFY SET (selected (MessageNew MessageExpunge MailboxName))",
        "NOTIFY SET (personal (MessageNew (UID) MessageExpunge))",
        "NOTIFY SET (selected NONE) (selected-delayed NONE)",
        "NOTIFY SET (personal NONE",
    ] {
        let events = events(AUTHENTICATED, format!("t {text}\r\n").as_bytes());
        assert!(matches!(events[..], [Event::Bad { .. }]), "{text}: {events:?}");
    }
}
