//! However the octets are cut and whenever the host polls, the session answers the same.

use proptest::prelude::*;
use rmail_core::machine::{Input, WatchId};

use crate::host::{Host, Seen};

/// What a client may send, good and bad.
const FRAGMENTS: [&str; 44] = [
    "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n",
    "HEAD /long HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /long HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /blob HTTP/1.1\r\nHost: x\r\n\r\n",
    "HEAD /blob HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n",
    "HEAD /stream HTTP/1.1\r\nHost: x\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET http://y/a HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "GET /last HTTP/1.0\r\n\r\n",
    "GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "POST /memory HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    "POST /memory HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    "POST /memory HTTP/1.1\r\nHost: x\r\nContent-Length: 41\r\n\r\n0123456789012345678901234567890123456789!",
    "POST /memory HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    "POST /memory HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 99\r\n\r\n",
    "POST /memory HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
    "POST /spool HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
    "5\r\nhello\r\n",
    "5;a=b\r\nhello\r\n",
    "0\r\n\r\n",
    "0\r\nDigest: x\r\n\r\n",
    "1F\r\n0123456789012345678901234567890\r\n0\r\n\r\n",
    "5\r\nhello!\r\n0\r\n\r\n",
    "0005\r\nhel",
    "lo\r\n",
    "POST /spool HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\nhello world",
    "POST /spool HTTP/1.1\r\nHost: x\r\nContent-Length: 100001\r\n\r\n",
    "POST /other HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    "POST /other HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\nhello",
    "POST /other HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\nA: LONG\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
    "GET / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\n",
    "GET / HTTP/1.1\r\n",
    "Host: x\r\n",
    "A: b\n",
    "A: b\rc\r\n",
    "\0",
    "GET / HTTP/3.0\r\n\r\n",
    "LONG",
];

#[derive(Clone, Copy, Debug)]
enum Event {
    Nothing,
    Dirty,
    Shutdown,
    Eof,
}

type Script = Vec<(Vec<u8>, Event)>;

fn script() -> impl Strategy<Value = Script> {
    let anything = prop::sample::select(&FRAGMENTS[..]);
    // The first of them go somewhere.
    let good = prop::sample::select(&FRAGMENTS[..18]);
    let fragment = prop_oneof![1 => anything, 3 => good]
        .prop_map(|text| text.replace("LONG", &"x".repeat(9_000)).into_bytes());
    let event = prop_oneof![
        6 => Just(Event::Nothing),
        3 => Just(Event::Dirty),
        1 => Just(Event::Shutdown),
        1 => Just(Event::Eof),
    ];
    let segment =
        (prop::collection::vec(fragment, 0..8), event).prop_map(|(parts, event)| (parts.concat(), event));
    prop::collection::vec(segment, 1..5)
}

/// Runs a script with its octets cut as `cut` says: how long the next piece is, and whether the host polls behind it.
fn run(script: &Script, mut cut: impl FnMut(usize) -> (usize, bool)) -> Seen {
    let mut host = Host::new();
    for (octets, event) in script {
        let mut rest = octets.as_slice();
        while !rest.is_empty() && !host.seen.closed {
            let (len, polls) = cut(rest.len());
            let (piece, more) = rest.split_at(len.clamp(1, rest.len()));
            host.bytes(piece);
            if polls {
                host.settle();
            }
            rest = more;
        }
        host.settle();
        match event {
            Event::Nothing => {}
            Event::Dirty => host.input(Input::Dirty(WatchId(1))),
            Event::Shutdown => host.input(Input::Shutdown),
            Event::Eof => host.input(Input::Eof),
        }
        host.settle();
    }
    host.seen
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_split_and_any_time_of_polling_give_the_same_answers(
        script in script(),
        sizes in prop::collection::vec((1_usize..200, any::<bool>()), 1..40),
    ) {
        let whole = run(&script, |rest| (rest, true));
        prop_assert_eq!(&run(&script, |_| (1, true)), &whole, "octet by octet");
        prop_assert_eq!(&run(&script, |_| (1, false)), &whole, "octet by octet, polled at the end");
        let mut at = 0;
        let mixed = run(&script, |_| {
            at += 1;
            sizes[at % sizes.len()]
        });
        prop_assert_eq!(&mixed, &whole);
    }
}
