//! Responses: those of all transcripts, and the descriptions of all messages of the list.

use std::fs;
use std::path::{Path, PathBuf};

use imap_codec::ResponseCodec;
use imap_codec::decode::Decoder;
use imap_codec::imap_types::response::{Data, Response};
use rmail_conformance::replay::sent;
use rmail_conformance::transcript::Transcript;
use rmail_conformance::world::World;

/// Responses that imap-codec cannot read: how they look (`%` is any text), and why. Its grammar is RFC 3501's with a few
/// extensions; who builds another one adds its responses here, as narrow as can be.
const BEYOND: &[(&str, &str)] = &[
    ("* ESEARCH", "RFC 4731, RFC 9051 §7.3.4"),
    ("* VANISHED ", "RFC 7162 §3.2.10"),
    ("* UIDBATCHES (", "RFC 10022"),
    ("* %UIDFETCH (", "RFC 9586 §3.3"),
    ("* LIST (%) \"/\" % (", "RFC 5258 §3.5: LIST with extended data"),
    ("* LIST (%\\Subscribed", "RFC 5258 §3.1"),
    ("* LIST (%\\NonExistent", "RFC 5258 §3.1"),
    ("* STATUS % (%MAILBOXID (", "RFC 8474 §4.3"),
    ("* STATUS % (%APPENDLIMIT ", "RFC 7889 §3"),
    ("* STATUS % (%HIGHESTMODSEQ ", "RFC 7162 §3.1.7"),
    ("* STATUS % (%DELETED ", "RFC 9051 §7.3.3"),
    (
        "* % FETCH (%BODYSTRUCTURE (%\"MESSAGE\" \"GLOBAL\" ",
        "RFC 9051 §9 media-message: RFC 3501 has message/rfc822 alone",
    ),
    (
        "* % FETCH (BODY[]<4294967296> ",
        "RFC 9051 §9: partial asks with number64, and the answer's ABNF tells a number",
    ),
    ("* % FETCH (BODY[]<9223372036854775807> ", "the same"),
    (
        "* % FETCH (%BINARY[%]<",
        "RFC 9051 §7.5.2 tells the origin octet, its ABNF has no place for it",
    ),
    ("* % FETCH (%EMAILID (", "RFC 8474 §5.1"),
    ("* % FETCH (%THREADID ", "RFC 8474 §5.2"),
    ("* % FETCH (%PREVIEW ", "RFC 8970 §3.1"),
    ("* % FETCH (%SAVEDATE ", "RFC 8514 §4.2"),
    (
        "* QUOTA % ()",
        "a root without limits, of which the ABNF of RFC 9208 §7 does not think",
    ),
    ("* ACL ", "RFC 4314 §3.6"),
    ("* LISTRIGHTS ", "RFC 4314 §3.7"),
    ("* MYRIGHTS ", "RFC 4314 §3.8"),
];

/// Messages of the list whose structure imap-codec cannot read, and why.
const BEYOND_LIST: &[(&str, &str)] = &[
    (
        "msg-global",
        "RFC 9051 §9 media-message: RFC 3501 has message/rfc822 alone",
    ),
    ("msg-ten-deep", "it follows bodies eight deep"),
];

#[test]
fn every_response_of_the_transcripts() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut faults = Vec::new();
    let mut read = 0;
    for path in files(&here.join("transcripts/imap"), "txt") {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let text = fs::read_to_string(&path).expect("a transcript");
        let transcript = Transcript::parse(&text).expect("a transcript");
        let fixtures = here.join("fixtures");
        let sent = sent(&transcript, |transcript, now| {
            World::open(transcript, &fixtures, now)
        });
        // One that goes another way than it is written fails where transcripts are replayed.
        let Ok(sent) = sent else { continue };
        for octets in sent.values() {
            for response in responses(octets) {
                match decoded(response) {
                    Ok(_) => read += 1,
                    Err(_) if beyond(response) => {}
                    Err(fault) => faults.push(format!("{name}: {fault}: {}", response.escape_ascii())),
                }
            }
        }
    }
    faults.dedup();
    assert!(
        faults.is_empty(),
        "{} of {} cannot be read:\n{}",
        faults.len(),
        faults.len() + read,
        faults.join("\n")
    );
    assert!(read > 400, "{read} responses were read");
}

#[test]
fn every_description_of_the_list() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/mime/list");
    let mut read = 0;
    for path in files(&dir, "list") {
        for entry in super::list::entries(&fs::read(path).expect("a list")) {
            if BEYOND_LIST.iter().any(|(name, _)| *name == entry.name) {
                continue;
            }
            for (item, value) in [
                ("ENVELOPE", entry.envelope.clone()),
                ("BODYSTRUCTURE", entry.structure.clone()),
                ("BODY", super::list::without_extension(&entry.structure)),
            ] {
                let response = [format!("* 1 FETCH ({item} ").as_bytes(), &value, b")\r\n"].concat();
                let got =
                    decoded(&response).unwrap_or_else(|fault| panic!("{}: {item}: {fault}", entry.name));
                assert!(
                    matches!(got, Response::Data(Data::Fetch { .. })),
                    "{}: {got:?}",
                    entry.name
                );
                read += 1;
            }
        }
    }
    assert!(read > 900, "{read} descriptions were read");
}

/// Files below a directory.
fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            paths.extend(files(&path, ending));
        } else if path.extension().is_some_and(|found| found == ending) {
            paths.push(path);
        }
    }
    paths.sort();
    paths
}

fn decoded(response: &[u8]) -> Result<Response<'_>, String> {
    match ResponseCodec::default().decode(response) {
        Ok(([], response)) => Ok(response),
        Ok((rest, _)) => Err(format!("something is left: {}", rest.escape_ascii())),
        Err(error) => Err(format!("{error:?}")),
    }
}

/// Lines with the literals that they announce, and what follows these.
fn responses(mut octets: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    while !octets.is_empty() {
        let mut end = 0;
        loop {
            let line = octets[end..].split_inclusive(|octet| *octet == b'\n').next();
            let line = line.unwrap_or_default();
            end += line.len();
            let Some(literal) = announced(line) else { break };
            end += literal;
        }
        let (response, rest) = octets.split_at(end);
        all.push(response);
        octets = rest;
    }
    all
}

/// The size of the literal that a line announces at its end.
fn announced(line: &[u8]) -> Option<usize> {
    let line = line.strip_suffix(b"}\r\n")?;
    let digits = line
        .iter()
        .rev()
        .take_while(|octet| octet.is_ascii_digit())
        .count();
    let (head, number) = line.split_at(line.len() - digits);
    head.ends_with(b"{").then_some(())?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

fn beyond(response: &[u8]) -> bool {
    let text = String::from_utf8_lossy(response);
    BEYOND.iter().any(|(form, _)| has_form(&text, form))
}

/// Whether a text has this form, in which `%` stands for any text.
fn has_form(text: &str, form: &str) -> bool {
    let mut pieces = form.split('%');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    true
}

#[test]
fn forms() {
    for (text, form, fits) in [
        ("* 2 FETCH (UID 1 PREVIEW \"x\")", "* % FETCH (%PREVIEW ", true),
        ("* 2 FETCH (UID 1)", "* % FETCH (%PREVIEW ", false),
        ("a1 * 2 FETCH (PREVIEW NIL)", "* % FETCH (%PREVIEW ", false),
    ] {
        assert_eq!(has_form(text, form), fits, "{text} {form}");
    }
}
