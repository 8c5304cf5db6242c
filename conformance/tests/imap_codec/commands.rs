//! Commands that imap-codec makes up are read by our parser.

use arbitrary::{Arbitrary, Unstructured};
use imap_codec::CommandCodec;
use imap_codec::encode::{Encoder, Fragment};
use imap_codec::imap_types::command::Command;
use rmail_core::chunk::Chunk;
use rmail_core::imap::parse::{Event, Parser};
use rmail_core::line::Inbox;
use rmail_core::random::Random;

/// Commands that are tried.
const COUNT: usize = 20_000;

#[test]
fn every_command_that_imap_codec_makes_up() {
    let mut random = Random::from_seed([7; 32]);
    let (mut read, mut faults) = (0, Vec::new());
    for _ in 0..COUNT {
        let mut chance = vec![0; 512];
        random.fill(&mut chance);
        let Ok(command) = Command::arbitrary(&mut Unstructured::new(&chance)) else {
            continue;
        };
        let octets = encoded(&command);
        match outcome(command.tag.as_ref(), &octets) {
            Ok(()) => read += 1,
            Err(_) if beyond(&octets) => {}
            Err(fault) => faults.push(fault),
        }
    }
    faults.sort();
    faults.dedup();
    assert!(
        faults.is_empty(),
        "{} of {} cannot be read:\n{}",
        faults.len(),
        faults.len() + read,
        faults.join("\n")
    );
    assert!(read > 2_000, "{read} commands were read");
}

/// Commands that need not be read: what of their text tells them, and why. Who builds an extension takes it off.
const BEYOND: &[(&str, &str)] = &[
    ("COMPRESS ", "RFC 4978"),
    ("GETMETADATA ", "RFC 5464, with options given twice"),
    ("SETMETADATA ", "RFC 5464, with entries of any name"),
    ("GETQUOTA", "RFC 9208"),
    ("SETQUOTA ", "RFC 9208"),
    ("SORT ", "RFC 5256, with charsets of any name"),
    ("THREAD ", "RFC 5256, with charsets and algorithms of any name"),
    ("DELETED-STORAGE", "RFC 9208"),
    ("BINARY", "RFC 3516"),
    ("~{", "RFC 3516, and octets that are no message"),
    ("CONDSTORE", "RFC 7162, given twice"),
    ("QRESYNC", "RFC 7162, given twice"),
    ("CHANGEDSINCE", "RFC 7162, given twice"),
    ("VANISHED", "RFC 7162 §3.2.6 wants CHANGEDSINCE beside it"),
    ("MODSEQ", "RFC 7162"),
    ("OLDER ", "RFC 5032"),
    ("YOUNGER ", "RFC 5032"),
    (
        " ()\r\n",
        "an empty list of items, which RFC 9051 §9 (fetch, status) has not",
    ),
    (
        " () (",
        "an empty list of items, which RFC 9051 §9 (fetch) has not",
    ),
];

fn beyond(octets: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(octets) else {
        // RFC 9051 §4.3: strings are UTF-8; imap-codec fills literals with any octets.
        return true;
    };
    BEYOND.iter().any(|(part, _)| text.contains(part))
}

/// What a client sends for it.
fn encoded(command: &Command<'_>) -> Vec<u8> {
    let mut octets = Vec::new();
    for fragment in CommandCodec::default().encode(command) {
        match fragment {
            Fragment::Line { data } | Fragment::Literal { data, .. } => octets.extend(data),
        }
    }
    octets
}

/// Feeds a command to the parser.
fn outcome(tag: &str, octets: &[u8]) -> Result<(), String> {
    let mut parser = Parser::new(1 << 20);
    let mut inbox = Inbox::default();
    inbox.push(Chunk::copy_from(octets));
    loop {
        match parser.poll(&mut inbox, true) {
            Event::Continue | Event::Literal(_) => {}
            Event::Append(_) => parser.accept_literal(),
            Event::Command(tagged) if tagged.tag == tag => return Ok(()),
            Event::AppendEnd => return Ok(()),
            event => return Err(format!("{}: {event:?}", octets.escape_ascii())),
        }
    }
}
