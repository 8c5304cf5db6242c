//! IMAP: sessions over a small store in memory, the parser of commands, sequence sets.

use rmail_core::chunk::Chunk;
use rmail_core::imap::command::{Command, Tagged};
use rmail_core::imap::parse::{Event, Parser};
use rmail_core::imap::sequence::{SeqNumber, SequenceSet};
use rmail_core::line::Inbox;
use rmail_core::machine::Input;
use rmail_core::mailbox::Uid;

use super::imap_host::{Client, Done, World, settings};
use super::{Steps, any_cut, bounded};

/// Octets of a message that the parser takes.
const MAX_MESSAGE: u64 = 1_000;

/// A session from its first octet on.
pub fn login(input: &[u8]) {
    play(input, |_| Client::new(settings()));
}

/// A session that is logged in, and has a mailbox with three messages open.
pub fn selected(input: &[u8]) {
    play(input, Client::selected);
}

/// The same is said and done however the octets are cut.
fn play(input: &[u8], begin: impl Fn(&mut World) -> Client) {
    let sent = any_cut(input, |size| {
        let mut steps = Steps::of(input, 200, 60);
        let mut world = World::with_messages(3);
        world.small_body = 20;
        let mut client = begin(&mut world);
        settle(&mut client, &mut world, &mut steps);
        client.trace.clear();
        for piece in input.chunks(size) {
            if client.closed || client.tls_wanted {
                break;
            }
            client.input(Input::Bytes(Chunk::copy_from(piece)));
            settle(&mut client, &mut world, &mut steps);
        }
        if !client.closed && !client.tls_wanted {
            client.input(Input::Eof);
            settle(&mut client, &mut world, &mut steps);
            assert!(client.closed, "nothing is left open behind the end of input");
        }
        let mut trace = client.trace;
        // Of a message that is not kept after all nobody sees how much had come.
        if trace
            .iter()
            .any(|done| matches!(done, Done::Other(text) if text.contains("Discard {")))
        {
            trace.retain(|done| !matches!(done, Done::Spooled(..)));
        }
        trace
    });
    let sent = sent.iter().map(|done| match done {
        Done::Sent(octets) => octets.len(),
        _ => 0,
    });
    bounded("answers", sent.sum(), input, 10_000, 3_000);
}

fn settle(client: &mut Client, world: &mut World, steps: &mut Steps) {
    while client.step(world) {
        steps.step();
    }
}

/// Commands: the same come out however the octets are cut, before a login and behind it, whether messages are taken or not.
pub fn command(input: &[u8]) {
    for (authenticated, accept) in [(true, true), (true, false), (false, true)] {
        let events = any_cut(input, |size| events(input, size, authenticated, accept));
        assert!(
            events.len() <= input.len() + 1,
            "an event takes an octet at least"
        );
    }
}

/// The events of an input; neighbouring pieces of a literal are joined.
fn events(input: &[u8], size: usize, authenticated: bool, accept: bool) -> Vec<Event> {
    let mut steps = Steps::of(input, 10, 4);
    let (mut parser, mut inbox) = (Parser::new(MAX_MESSAGE), Inbox::default());
    let mut events: Vec<Event> = Vec::new();
    for piece in input.chunks(size) {
        inbox.push(Chunk::copy_from(piece));
        loop {
            steps.step();
            let event = parser.poll(&mut inbox, authenticated);
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
                    if offer && accept {
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

/// Sequence sets: each is what it says, number by number; what is resolved, written and read again is the same.
pub fn sequence(input: &[u8]) {
    if input.iter().any(|octet| matches!(octet, b'\r' | b'\n' | b'{')) {
        return;
    }
    let Some(set) = read_set(input) else {
        return;
    };
    assert!(set.0.len() <= SequenceSet::MAX_RANGES);
    if set.is_saved() {
        return;
    }
    for highest in [0, 1, 7, 100, u32::MAX] {
        let resolved = set.resolve(highest);
        for number in (1..=102).chain([u32::MAX - 1, u32::MAX]) {
            let there = set.0.iter().any(|(first, last)| {
                let [a, b] = [first, last].map(|end| match end {
                    SeqNumber::Number(number) => *number,
                    SeqNumber::Star => highest,
                });
                (a.min(b)..=a.max(b)).contains(&number)
            });
            if highest > 0 {
                assert_eq!(resolved.contains(Uid(number)), there, "{number} of {highest}");
            }
        }
        let ranges: Vec<_> = resolved.ranges().collect();
        for pair in ranges.windows(2) {
            assert!(
                u64::from(*pair[0].end()) + 1 < u64::from(*pair[1].start()),
                "{pair:?}"
            );
        }
        let written = resolved.to_string();
        if !written.is_empty() {
            let again = read_set(written.as_bytes()).expect("what was written is read");
            assert_eq!(again.resolve(u32::MAX), resolved, "{written}");
        }
    }
}

fn read_set(text: &[u8]) -> Option<SequenceSet> {
    let (mut parser, mut inbox) = (Parser::new(MAX_MESSAGE), Inbox::default());
    let line = [b"a UID FETCH ", text, b" UID\r\n"].concat();
    inbox.push(Chunk::copy_from(&line));
    match parser.poll(&mut inbox, true) {
        Event::Command(Tagged {
            command: Command::Fetch { set, .. },
            ..
        }) => Some(set),
        _ => None,
    }
}
