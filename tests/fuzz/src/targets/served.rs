//! Sessions over the service and the file store, as the daemon has them, on a disk in memory.

use std::path::Path;

use rmail_conformance::host::{Connection, Event};
use rmail_conformance::replay::{Stage as _, beginning};
use rmail_conformance::transcript::Transcript;
use rmail_conformance::world::World;

use super::{any_cut, bounded};

/// Octets that stand for a token of the user in input of the API.
const TOKEN: &[u8] = b"@@";

/// The HTTP API: requests of who may have a token. The same answers however the octets are cut.
pub fn api(input: &[u8]) {
    let stage = "# A user of the API.\n@session http user=alice@demo.test\n@given user alice@demo.test admin\n\
                 @given INBOX rfc5322/simple.eml user=alice@demo.test\n";
    any_cut(input, |size| {
        play(stage, input, size, |connection| {
            let token = connection.state().told.get("token").cloned().unwrap_or_default();
            replaced(input, &token)
        })
    });
}

/// IMAP behind a login, with mailboxes that are files. The same answers however the octets are cut; only news that NOTIFY asks
/// for come when they come.
pub fn imap(input: &[u8]) {
    let stage = "# A user of IMAP.\n@session imap user=alice@demo.test selected=INBOX\n\
                 @given INBOX rfc5322/simple.eml user=alice@demo.test times=2\n";
    if input.windows(6).any(|word| word.eq_ignore_ascii_case(b"NOTIFY")) {
        play(stage, input, 11, |_| input.to_vec());
    } else {
        any_cut(input, |size| play(stage, input, size, |_| input.to_vec()));
    }
}

fn replaced(input: &[u8], token: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = input;
    while let Some(at) = rest.windows(TOKEN.len()).position(|octets| octets == TOKEN) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(token);
        rest = &rest[at + TOKEN.len()..];
    }
    out.extend_from_slice(rest);
    out
}

/// What was sent, and whether the connection is closed.
fn play(
    stage: &str,
    input: &[u8],
    size: usize,
    octets: impl Fn(&mut dyn Connection) -> Vec<u8>,
) -> (String, bool) {
    let now = beginning();
    let transcript = Transcript::parse(stage).expect("a transcript");
    let mut world = World::open(&transcript, &fixtures(), now).expect("a world");
    let opening = transcript.sessions.values().next().expect("a session");
    let mut connection = world.connect(opening, now).expect("a connection");
    let octets = octets(&mut *connection);
    for piece in octets.chunks(size) {
        let state = connection.state();
        if state.closed || state.tls_wanted {
            break;
        }
        connection
            .happen(now, Event::Bytes(piece))
            .expect("the contract holds");
    }
    if !connection.state().closed && !connection.state().tls_wanted {
        connection.happen(now, Event::Eof).expect("the contract holds");
        assert!(
            connection.state().closed,
            "nothing is left open behind the end of input"
        );
    }
    let state = connection.state();
    bounded("answers", state.sent.len(), input, 200_000, 20_000);
    (state.sent.escape_ascii().to_string(), state.closed)
}

/// Messages of the transcripts: seen from the workspace of the tests, or from that of the fuzzer.
fn fixtures() -> std::path::PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let near = here.join("../conformance/fixtures");
    if near.is_dir() {
        near
    } else {
        here.join("../../conformance/fixtures")
    }
}
