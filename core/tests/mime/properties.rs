//! Whatever comes in: the answers have the grammar, and nothing takes more than it may.

use proptest::prelude::*;

use rmail_core::mime::address;
use rmail_core::mime::envelope::{MAX_ADDRESSES, envelope};
use rmail_core::mime::locate::{Located, locate};
use rmail_core::mime::parameter::{MAX_PARAMETERS, parameters};
use rmail_core::mime::part::Structure;
use rmail_core::mime::scanner::{MAX_HEADER, Scanner, scan};
use rmail_core::mime::section::{Spec, Text};
use rmail_core::mime::structure::body_structure;

/// Pieces that mean something to one of the parsers.
fn material() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&'static [u8]> = vec![
        b"Content-Type: multipart/mixed; boundary=b\r\n",
        b"Content-Type: multipart/digest; boundary=\"bb\"; x*0*=''%41; x*1=\"b\"\r\n",
        b"Content-Type: message/rfc822\r\n",
        b"Content-Type: message/global\r\n",
        b"Content-Type: text/html; charset=\xff; name=",
        b"Content-Disposition: attachment; filename=\"\\\"",
        b"Content-Language: de, en\r\n",
        b"Content-Transfer-Encoding: base64\r\n",
        b"Content-Id: ",
        b"Subject: ",
        b"From: ",
        b"Sender: ",
        b"To: g: a@b, ",
        b"Cc: \"A \\\" B\" <@r,@s:a.b@[1]>",
        b"=?utf-8?q?=C3?=",
        b"(",
        b")",
        b"<",
        b">",
        b"@",
        b",",
        b";",
        b":",
        b"\"",
        b"\\",
        b".",
        b"[",
        b"]",
        b"\0",
        b"\xe4",
        b" ",
        b"\t",
        b"--b\r\n",
        b"--bb\r\n",
        b"--b--\r\n",
        b"--bb--\r\n",
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"\r",
        b"\r\n ",
        b"word",
    ];
    prop::collection::vec(prop::sample::select(pieces), 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn answers_have_the_grammar(message in material()) {
        let structure = scan(&message);
        for extended in [false, true] {
            let body = body_structure(&structure, extended);
            prop_assert_eq!(crate::grammar::body(&body, extended), Ok(()));
        }
        prop_assert_eq!(crate::grammar::envelope(&envelope(&message)), Ok(()));
    }

    #[test]
    fn every_part_can_be_located(message in material()) {
        let structure = scan(&message);
        let mut paths = vec![(0, Vec::new())];
        let mut seen = 0;
        while let Some((index, numbers)) = paths.pop() {
            seen += 1;
            let part = &structure.parts[index];
            let (whole, header) = if numbers.is_empty() {
                (0..structure.size, Text::Header)
            } else {
                (part.body.clone(), Text::Mime)
            };
            let at = |text| locate(&structure, &Spec { part: numbers.clone(), text }) == Located::Range(whole.clone());
            prop_assert!(at(Text::Whole));
            let spec = Spec { part: numbers.clone(), text: header };
            prop_assert_eq!(locate(&structure, &spec), Located::Range(part.header.clone()));
            // A message's multipart shares its number.
            let mut inner = index;
            if part.kind == rmail_core::mime::part::Kind::Message && !numbers.is_empty() {
                inner = structure.children(index).next().expect("a message");
                seen += 1;
                if structure.parts[inner].kind != rmail_core::mime::part::Kind::Multipart {
                    continue;
                }
            }
            if structure.parts[inner].kind == rmail_core::mime::part::Kind::Multipart {
                for (number, child) in structure.children(inner).enumerate() {
                    let mut numbers = numbers.clone();
                    numbers.push(u32::try_from(number + 1).expect("few"));
                    paths.push((child, numbers));
                }
            }
        }
        prop_assert!(seen <= structure.parts.len());
    }
}

/// Address lists that were slow to read elsewhere: the elements are bounded, and so is what is made of them.
#[test]
fn address_lists_are_bounded() {
    for unit in [
        "a@b,", ",", "(", "()", "<", "\"", "a:", ";", "a b ", "@", "(\\", "<@a,@b:", "\"a\" ", "[", "a.",
    ] {
        let value = unit.repeat(200_000 / unit.len());
        let list = address::parse(value.as_bytes(), MAX_ADDRESSES);
        assert!(list.len() <= MAX_ADDRESSES + 1, "{unit}");
        let header = format!("To: {value}\r\nFrom: {value}\r\n");
        let rendered = envelope(header.as_bytes());
        // From is there three times; of each element at most its text and a frame are written.
        assert!(
            rendered.len() <= 4 * (header.len() * 2 + 60 * (MAX_ADDRESSES + 2)),
            "{unit}"
        );
        crate::grammar::envelope(&rendered).unwrap_or_else(|error| panic!("{unit}: {error}"));
    }
}

#[test]
fn many_parameters_and_continuations_are_bounded() {
    for unit in [
        "; x*%=y", "; x*%*=y", "; x%=y", ";", "; x", "; x=\"", "; (", "; x*0=y",
    ] {
        let value: String = (0..50_000)
            .map(|n: u32| unit.replace('%', &n.to_string()))
            .collect();
        assert!(
            parameters(format!("a/b{value}").as_bytes()).len() <= MAX_PARAMETERS,
            "{unit}"
        );
    }
}

/// 100,000 parts in each other and side by side: parts, depth and comparisons are bounded, and all can be rendered.
#[test]
fn trees_are_bounded() {
    let nested: String = (0..100_000)
        .map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}x\r\n\r\n--b{n}x\r\n"))
        .collect();
    let messages = "Content-Type: message/rfc822\r\n\r\n".repeat(100_000);
    let beside = format!(
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n{}",
        "--b\r\n\r\n".repeat(100_000)
    );
    // A multipart in itself, as if it contained its parent.
    let cyclic = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n".repeat(100_000);
    for (message, parts) in [
        (nested, Structure::MAX_DEPTH),
        (messages, Structure::MAX_DEPTH),
        (beside, Structure::MAX_PARTS),
        (cyclic, Structure::MAX_PARTS),
    ] {
        let mut scanner = Scanner::new();
        scanner.push(message.as_bytes());
        let lines = message.matches("\r\n").count() as u64;
        assert!(scanner.comparisons() <= lines * Structure::MAX_DEPTH as u64);
        let structure = scanner.finish();
        assert!(structure.parts.len() <= parts, "{}", structure.parts.len());
        let body = body_structure(&structure, true);
        crate::grammar::body(&body, true).expect("a body");
        assert!(body.len() < 400 * structure.parts.len() + 1_000);
    }
}

#[test]
fn huge_headers_are_cut() {
    let message = format!(
        "Subject: {}\r\nTo: a@x.test\r\n\r\n",
        "s".repeat(20 * 1024 * 1024)
    );
    let structure = scan(message.as_bytes());
    let envelope = structure.parts[0].envelope.as_deref().expect("a message");
    assert!(envelope.len() <= MAX_HEADER + 100);
    let folded = format!("Subject: s\r\n{}\r\nbody", " folded\r\n".repeat(1_000_000));
    let structure = scan(folded.as_bytes());
    assert_eq!(structure.parts[0].body_len(), 4);
    assert!(
        structure.parts[0]
            .envelope
            .as_ref()
            .is_some_and(|envelope| envelope.len() <= MAX_HEADER + 100)
    );
}
