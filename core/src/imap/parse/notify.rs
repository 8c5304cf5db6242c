//! NOTIFY (RFC 5465 §8).

use super::fetch;
use super::token::{Cursor, Parse};
use crate::imap::command::{Command, MailboxArg};
use crate::imap::notify::{Events, Filter, Group, Notify};

/// Groups of one command.
const MAX_GROUPS: usize = 64;
/// Mailboxes of all filters together: more than may be watched.
const MAX_MAILBOXES: usize = 2_048;
/// Events of one group, the same again counted too.
const MAX_EVENTS: usize = 64;

/// `"NOTIFY" SP ("NONE" / "SET" [SP "STATUS"] SP event-group *(SP event-group))`
pub(super) fn notify(c: &mut Cursor<'_>) -> Parse<Command> {
    c.space("a space and SET or NONE")?;
    match c.item_name().as_str() {
        "NONE" => return Ok(Command::Notify(Box::new(Notify::None))),
        "SET" => {}
        _ => return Err(c.wrong("NOTIFY takes SET or NONE")),
    }
    c.space("a space and what to be notified of")?;
    let status = c.peek() != Some(b'(');
    if status {
        if c.item_name() != "STATUS" {
            return Err(c.wrong("only STATUS may stand between SET and the events"));
        }
        c.space("a space and what to be notified of")?;
    }
    let (mut groups, mut known, mut names) = (Vec::new(), true, 0);
    loop {
        if groups.len() == MAX_GROUPS {
            return Err(c.wrong("too many groups of events"));
        }
        let group = group(c, &mut known)?;
        names += group.filter.names();
        if names > MAX_MAILBOXES {
            return Err(c.wrong("too many mailboxes"));
        }
        groups.push(group);
        if !c.eat(b' ') {
            break;
        }
    }
    let selected = |group: &&Group| matches!(group.filter, Filter::Selected | Filter::SelectedDelayed);
    if groups.iter().filter(selected).count() > 1 {
        return Err(c.wrong("the selected mailbox is named twice"));
    }
    Ok(Command::Notify(Box::new(Notify::Set {
        status,
        groups,
        known,
    })))
}

/// `"(" filter-mailboxes SP events ")"`
fn group(c: &mut Cursor<'_>, known: &mut bool) -> Parse<Group> {
    c.expect(b'(', "( and mailboxes")?;
    let filter = match c.item_name().as_str() {
        "SELECTED" => Filter::Selected,
        "SELECTED-DELAYED" => Filter::SelectedDelayed,
        "INBOXES" => Filter::Inboxes,
        "PERSONAL" => Filter::Personal,
        "SUBSCRIBED" => Filter::Subscribed,
        "SUBTREE" => Filter::Subtree(mailboxes(c)?),
        "MAILBOXES" => Filter::Mailboxes(mailboxes(c)?),
        "" => return Err(c.expected("SELECTED, PERSONAL or another word for mailboxes")),
        other => return Err(c.unknown("word for mailboxes", other)),
    };
    c.space("a space and events")?;
    let mut group = Group {
        filter,
        events: Events::NONE,
        fetch: Vec::new(),
    };
    events(c, &mut group, known)?;
    c.expect(b')', ") after the events")?;
    check(c, &group)?;
    Ok(group)
}

/// `one-or-more-mailbox = mailbox / "(" mailbox *(SP mailbox) ")"`
fn mailboxes(c: &mut Cursor<'_>) -> Parse<Vec<MailboxArg>> {
    c.space("a space and mailbox names")?;
    if c.eat(b'(') {
        c.rest_of_list(MAX_MAILBOXES, Cursor::mailbox)
    } else {
        Ok(vec![c.mailbox()?])
    }
}

/// `events = ("(" event *(SP event) ")") / "NONE"`. The RFC's own examples leave the parentheses out.
fn events(c: &mut Cursor<'_>, group: &mut Group, known: &mut bool) -> Parse<()> {
    if c.eat(b'(') {
        c.rest_of_list(MAX_EVENTS, |c| event(c, group, known))?;
        return Ok(());
    }
    for count in 0.. {
        let name = c.item_name();
        if count == 0 && name == "NONE" {
            return Ok(());
        }
        if count == MAX_EVENTS {
            return Err(c.wrong("too many events"));
        }
        named(c, &name, group, known)?;
        if !c.eat(b' ') {
            break;
        }
    }
    Ok(())
}

fn event(c: &mut Cursor<'_>, group: &mut Group, known: &mut bool) -> Parse<()> {
    let name = c.item_name();
    named(c, &name, group, known)
}

/// An event of which the name was read; with MessageNew, what is to be told of it.
fn named(c: &mut Cursor<'_>, name: &str, group: &mut Group, known: &mut bool) -> Parse<()> {
    if name.is_empty() {
        return Err(c.expected("an event"));
    }
    let Some(event) = Events::from_name(name) else {
        *known = false;
        return Ok(());
    };
    group.events = group.events.with(event);
    let items_follow = event == Events::NEW && c.is_next(b" (");
    if items_follow {
        c.space("a space and what to fetch")?;
        c.expect(b'(', "( and what to fetch")?;
        group.fetch = fetch::items(c)?;
    }
    Ok(())
}

/// What RFC 5465 §5 and §6.1 say of events that must stand together, or must not.
fn check(c: &Cursor<'_>, group: &Group) -> Parse<()> {
    let events = group.events;
    let (new, expunge) = (events.has(Events::NEW), events.has(Events::EXPUNGE));
    if new != expunge {
        return Err(c.wrong("MessageNew and MessageExpunge stand together only"));
    }
    if !new && events.has(Events::FLAGS.with(Events::ANNOTATION)) {
        return Err(c.wrong("FlagChange and AnnotationChange need MessageNew and MessageExpunge"));
    }
    let selected = matches!(group.filter, Filter::Selected | Filter::SelectedDelayed);
    if selected && events.and(Events::MESSAGES) != events {
        return Err(c.wrong("of the selected mailbox only events of messages can be told"));
    }
    if !selected && !group.fetch.is_empty() {
        return Err(c.wrong("what to fetch can be said of the selected mailbox only"));
    }
    Ok(())
}
