//! The IMAP command parser through its public face: every input whole and octet by octet.

mod bad;
mod commands;
mod framing;
mod notify;
mod property;

use rmail_core::chunk::Chunk;
use rmail_core::imap::command::{Command, Tagged};
use rmail_core::imap::parse::{Event, Parser};
use rmail_core::line::Inbox;

/// Octets of a message that the parsers of these tests take.
const MAX_MESSAGE: u64 = 1_000;

/// How a test runs a parser.
#[derive(Clone, Copy)]
struct Run {
    authenticated: bool,
    /// Whether APPEND's message is taken.
    accept: bool,
}

const AUTHENTICATED: Run = Run {
    authenticated: true,
    accept: true,
};
const REFUSING: Run = Run {
    authenticated: true,
    accept: false,
};
const STRANGER: Run = Run {
    authenticated: false,
    accept: true,
};

/// The events that come of these chunks; neighbouring literal pieces are joined.
fn events_of(run: Run, chunks: &[&[u8]]) -> Vec<Event> {
    let mut parser = Parser::new(MAX_MESSAGE);
    let mut inbox = Inbox::default();
    let mut events: Vec<Event> = Vec::new();
    for chunk in chunks {
        inbox.push(Chunk::copy_from(chunk));
        loop {
            let event = parser.poll(&mut inbox, run.authenticated);
            match (event, events.last_mut()) {
                (Event::NeedBytes, _) => break,
                (Event::TooBig, last) => {
                    if last != Some(&mut Event::TooBig) {
                        events.push(Event::TooBig);
                    }
                    break;
                }
                (Event::Literal(more), Some(Event::Literal(octets))) => {
                    *octets = Chunk::from([&octets[..], &more[..]].concat());
                }
                (event, _) => {
                    let offer = matches!(event, Event::Offer(_));
                    events.push(event);
                    if offer && run.accept {
                        parser.accept_literal();
                    } else if offer {
                        parser.refuse_append();
                    }
                }
            }
        }
    }
    events
}

/// The events of an input, which must not depend on how it comes in pieces.
fn events(run: Run, input: &[u8]) -> Vec<Event> {
    let whole = events_of(run, &[input]);
    let octets: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(events_of(run, &octets), whole, "{}", input.escape_ascii());
    let sevens: Vec<&[u8]> = input.chunks(7).collect();
    assert_eq!(events_of(run, &sevens), whole, "{}", input.escape_ascii());
    whole
}

/// The one command that a line (without its line end) is.
fn command(line: &str) -> Command {
    let mut found = events(AUTHENTICATED, format!("a {line}\r\n").as_bytes());
    found.retain(|event| *event != Event::Continue);
    match found.as_slice() {
        [Event::Command(Tagged { tag, command })] if tag == "a" => command.clone(),
        other => panic!("{line}: {other:?}"),
    }
}

/// The text of the BAD that an input gets as its only answer.
fn bad(run: Run, input: &[u8]) -> (Option<String>, String) {
    let mut found = events(run, input);
    found.retain(|event| *event != Event::Continue);
    match found.as_slice() {
        [Event::Bad { tag, text }] => {
            assert!(
                text.bytes().all(|b| (0x20..0x7f).contains(&b)) && text.len() < 200,
                "{text}"
            );
            (tag.clone(), text.clone())
        }
        other => panic!("{}: {other:?}", input.escape_ascii()),
    }
}
