//! ENVELOPE, BODYSTRUCTURE and BODY of the messages in `mime_list/`, of which `mime_list/README.md` tells.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::reader::Entry;
use rmail_core::mime::scanner::{Scanner, scan};
use rmail_core::mime::structure::body_structure;

fn entries() -> Vec<Entry> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mime/list");
    let mut paths: Vec<_> = fs::read_dir(dir)
        .expect("directory")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "list"))
        .collect();
    paths.sort();
    let files = paths.iter().map(|path| fs::read(path).expect("list"));
    files.flat_map(|file| crate::reader::entries(&file)).collect()
}

/// For messages of failures; what is not printable ASCII is escaped.
#[expect(
    clippy::allow_attributes,
    reason = "who only reads the list does not show octets"
)]
#[allow(dead_code, reason = "who only reads the list does not show octets")]
fn escape(octets: &[u8]) -> String {
    let mut out = String::new();
    for octet in octets {
        match octet {
            b'\\' => out.push_str("\\\\"),
            b' '..=b'~' => out.push(char::from(*octet)),
            b'\r' => out.push_str("\\r"),
            b'\n' => out.push_str("\\n"),
            octet => write!(out, "\\x{octet:02x}").expect("a string takes all"),
        }
    }
    out
}

#[test]
fn every_message_is_described_as_expected() {
    let all = entries();
    assert!(all.len() >= 300, "{} messages", all.len());
    let mut wrong = Vec::new();
    for entry in &all {
        let structure = scan(&entry.message);
        let envelope = structure.root().and_then(|root| root.envelope.clone());
        let got = (envelope.unwrap_or_default(), body_structure(&structure, true));
        if got != (entry.envelope.clone(), entry.structure.clone()) {
            let (envelope, structure) = (escape(&got.0), escape(&got.1));
            wrong.push(format!("== {}\nE: {envelope}\nS: {structure}", entry.name));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn body_is_bodystructure_without_extension_data() {
    for entry in entries() {
        let expected = crate::reader::without_extension(&entry.structure);
        let got = body_structure(&scan(&entry.message), false);
        assert_eq!(escape(&got), escape(&expected), "{}", entry.name);
    }
}

#[test]
fn every_expectation_has_the_grammar() {
    for entry in entries() {
        let checked = crate::grammar::envelope(&entry.envelope)
            .and_then(|()| crate::grammar::body(&entry.structure, true));
        checked.unwrap_or_else(|error| panic!("{}: {error}", entry.name));
    }
}

#[test]
fn every_message_in_pieces() {
    for entry in entries() {
        let whole = scan(&entry.message);
        for size in [1, 2, 5] {
            let mut scanner = Scanner::new();
            entry.message.chunks(size).for_each(|piece| scanner.push(piece));
            assert_eq!(scanner.finish(), whole, "{} by {size}", entry.name);
        }
    }
}

#[test]
fn every_entry_has_a_name_and_a_remark_of_its_own() {
    let all = entries();
    let mut names: Vec<_> = all.iter().map(|entry| entry.name.as_str()).collect();
    names.sort_unstable();
    for pair in names.windows(2) {
        assert_ne!(pair[0], pair[1], "a name is used once");
    }
    for entry in &all {
        assert!(!entry.remarks.is_empty(), "{} says what it shows", entry.name);
    }
}
