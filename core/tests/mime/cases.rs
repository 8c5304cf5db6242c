//! ENVELOPE, BODY, BODYSTRUCTURE and parts of the messages in `cases/`: each `NAME.eml` has a `NAME.txt` with what
//! is expected. With `RMAIL_BLESS=1` the expectations are written, for review.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use rmail_core::mime::part::{Kind, Structure};
use rmail_core::mime::scanner::{Scanner, scan};
use rmail_core::mime::structure::body_structure;

fn cases() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mime/cases");
    let mut all: Vec<PathBuf> = fs::read_dir(dir)
        .expect("directory")
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "eml"))
        .collect();
    all.sort();
    all
}

/// Octets as a line: what is not printable ASCII is escaped.
fn line(octets: &[u8]) -> String {
    let mut out = String::new();
    for octet in octets {
        match octet {
            b' '..=b'~' => out.push(char::from(*octet)),
            b'\r' => out.push_str("\\r"),
            b'\n' => out.push_str("\\n"),
            octet => write!(out, "\\x{octet:02x}").expect("a string takes all"),
        }
    }
    out
}

/// A part's place: the numbers among its siblings, from the message down.
fn path(structure: &Structure, mut index: usize) -> String {
    let mut numbers = Vec::new();
    while let Some(parent) = structure.parts[index].parent {
        let number = structure
            .children(parent)
            .position(|child| child == index)
            .expect("a child");
        numbers.push((number + 1).to_string());
        index = parent;
    }
    numbers.push("0".to_owned());
    numbers.reverse();
    numbers.join(".")
}

fn report(structure: &Structure) -> String {
    let root = structure.parts.first().expect("a message");
    let mut out = String::new();
    let envelope = root.envelope.as_deref().expect("a message has an envelope");
    writeln!(out, "ENVELOPE {}", line(envelope)).expect("a string takes all");
    writeln!(out, "BODY {}", line(&body_structure(structure, false))).expect("a string takes all");
    writeln!(out, "BODYSTRUCTURE {}", line(&body_structure(structure, true))).expect("a string takes all");
    for (index, part) in structure.parts.iter().enumerate() {
        let kind = match part.kind {
            Kind::Leaf => "leaf",
            Kind::Opaque => "opaque",
            Kind::Multipart => "multipart",
            Kind::Message => "message",
        };
        let marks = |marks: &rmail_core::mime::part::Marks| {
            let all = [
                (marks.eight_bit, " 8bit"),
                (marks.nul, " nul"),
                (marks.bare_cr, " cr"),
                (marks.bare_lf, " lf"),
            ];
            all.into_iter()
                .filter(|(set, _)| *set)
                .map(|(_, name)| name)
                .collect::<String>()
        };
        writeln!(
            out,
            "PART {} {kind} header {:?}{} body {:?} lines {}{}",
            path(structure, index),
            part.header,
            marks(&part.header_marks),
            part.body,
            part.lines,
            marks(&part.body_marks),
        )
        .expect("a string takes all");
    }
    out
}

#[test]
fn expected_structure_of_each_message() {
    let bless = std::env::var_os("RMAIL_BLESS").is_some();
    let all = cases();
    assert!(all.len() >= 60, "{} cases", all.len());
    let mut wrong = Vec::new();
    for case in all {
        let message = fs::read(&case).expect("message");
        let got = report(&scan(&message));
        let expected = case.with_extension("txt");
        if bless {
            fs::write(&expected, &got).expect("written");
        } else if fs::read_to_string(&expected).unwrap_or_default() != got {
            wrong.push(format!("{}:\n{got}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_message_in_pieces() {
    for case in cases() {
        let message = fs::read(&case).expect("message");
        let whole = scan(&message);
        for size in [1, 2, 3, 7] {
            let mut scanner = Scanner::new();
            message.chunks(size).for_each(|piece| scanner.push(piece));
            assert_eq!(scanner.finish(), whole, "{} by {size}", case.display());
        }
    }
}

#[test]
fn each_answer_has_the_grammar() {
    for case in cases() {
        let structure = scan(&fs::read(&case).expect("message"));
        for part in &structure.parts {
            if let Some(envelope) = &part.envelope {
                crate::grammar::envelope(envelope)
                    .unwrap_or_else(|error| panic!("{}: {error}", case.display()));
            }
        }
        for extended in [false, true] {
            let body = body_structure(&structure, extended);
            crate::grammar::body(&body, extended)
                .unwrap_or_else(|error| panic!("{}: {error}", case.display()));
        }
    }
}
