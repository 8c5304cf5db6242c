//! Messages: their tree, header fields, addresses, parameters.

use rmail_core::mime::address::{Address, parse};
use rmail_core::mime::attachment::{file_name, has_attachment};
use rmail_core::mime::build::{self, phrase};
use rmail_core::mime::content::Mime;
use rmail_core::mime::decode::{TransferEncoding, text};
use rmail_core::mime::decoder::Decoder;
use rmail_core::mime::digest::Digest;
use rmail_core::mime::encode;
use rmail_core::mime::envelope::{MAX_ADDRESSES, envelope};
use rmail_core::mime::field_filter::FieldFilter;
use rmail_core::mime::header::{Fields, HeaderEnd, unfold};
use rmail_core::mime::locate::{Located, filter_fields, locate};
use rmail_core::mime::parameter::{MAX_PARAMETERS, parameters};
use rmail_core::mime::parsed::Parsed;
use rmail_core::mime::part::Structure;
use rmail_core::mime::preview::{MAX_CHARACTERS, preview};
use rmail_core::mime::scanner::Scanner;
use rmail_core::mime::section::{Spec, Text};
use rmail_core::mime::structure::body_structure;
use rmail_core::mime::thread_id::ThreadId;
use rmail_core::mime::unbinary::Unbinary;
use rmail_core::text::date;
use rmail_core::text::encoded_word;

use super::{any_cut, bounded, mime_grammar};

/// A message: the same tree however it is cut; what is said of it has the grammar; every part is found and can be read.
pub fn tree(input: &[u8]) {
    let lines = input.iter().filter(|octet| **octet == b'\n').count() + 1;
    let structure = any_cut(input, |size| {
        let mut scanner = Scanner::new();
        input.chunks(size).for_each(|piece| scanner.push(piece));
        // Every line may be a boundary of every part around it.
        assert!(scanner.comparisons() <= (lines * Structure::MAX_DEPTH) as u64);
        scanner.finish()
    });
    assert!(structure.parts.len() <= Structure::MAX_PARTS && structure.size == input.len() as u64);
    for extended in [false, true] {
        let body = body_structure(&structure, extended);
        assert_eq!(mime_grammar::body(&body, extended), Ok(()));
        bounded(
            "BODYSTRUCTURE",
            body.len(),
            input,
            600 * structure.parts.len(),
            10,
        );
    }
    let _ = has_attachment(&structure);
    assert!(preview(&structure, input).chars().count() <= MAX_CHARACTERS);
    for (at, part) in structure.parts.iter().enumerate() {
        assert!(part.header.start <= part.header.end && part.body.start <= part.body.end);
        assert!(part.body.end <= structure.size && structure.children(at).all(|child| child > at));
        let whole = |range: &core::ops::Range<u64>| {
            let [start, end] = [range.start, range.end].map(|at| usize::try_from(at).expect("small"));
            &input[start..end]
        };
        let body = whole(&part.body);
        let decoded = TransferEncoding::of(&part.mime).decoded(body);
        bounded("a body", decoded.len(), body, 0, 1);
        let pieces = any_cut(body, |size| {
            let (mut out, mut decoder) = (Vec::new(), Decoder::new(TransferEncoding::of(&part.mime)));
            body.chunks(size).for_each(|piece| decoder.push(piece, &mut out));
            decoder.finish(&mut out);
            out
        });
        assert_eq!(pieces, decoded);
        let mut characters = 0;
        text(&part.mime, body, |piece| {
            // An empty piece begins another reading.
            characters = if piece.is_empty() {
                0
            } else {
                characters + piece.len()
            };
            true
        });
        // An octet of a charset becomes one character, of four octets at most, or three that stand for a fault.
        bounded("text", characters, body, 16, 4);
    }
    for numbers in [&[][..], &[1], &[1, 1], &[2], &[2, 1, 1]] {
        for text in [Text::Whole, Text::Header, Text::Text, Text::Mime] {
            let spec = Spec {
                part: numbers.to_vec(),
                text,
            };
            if let Located::Range(range) = locate(&structure, &spec) {
                assert!(range.start <= range.end && range.end <= structure.size);
            }
        }
    }
    kept(input, &structure);
}

/// What is kept of a message says what the message says.
fn kept(input: &[u8], structure: &Structure) {
    let parsed = any_cut(input, |size| {
        let mut digest = Digest::new(usize::MAX);
        input.chunks(size).for_each(|piece| digest.push(piece));
        digest.finish(input).parsed
    });
    assert!(parsed.octets().len() <= Parsed::MAX);
    assert_eq!(Parsed::decode(parsed.octets().clone()).as_ref(), Some(&parsed));
    if let Some(body) = parsed.body_structure(true) {
        assert_eq!(body.as_slice(), body_structure(structure, true));
    }
    let plain = any_cut(input, |size| {
        let (mut out, mut unbinary) = (Vec::new(), Unbinary::default());
        input
            .chunks(size)
            .for_each(|piece| unbinary.push(piece, &mut out));
        let changed = unbinary.finish(&mut out);
        (out, changed)
    });
    bounded("without BINARY", plain.0.len(), input, 1_000, 60);
}

/// Header fields: they are all of the header, one behind the other; filters give the same however the header is cut; dates
/// and encoded words that are written are read again.
pub fn header(input: &[u8]) {
    let mut fields = Fields::new(input);
    let mut at = 0;
    for field in fields.by_ref() {
        assert!(field.start == at && field.end > at && field.end <= input.len());
        assert!(!field.name.contains(&b':') && !field.name.contains(&b'\n'));
        let value = field.value();
        assert!(!value.iter().any(|octet| matches!(octet, 0 | b'\r' | b'\n')));
        assert_eq!(unfold(&value), value, "unfolded twice");
        let decoded = encoded_word::decode(&value);
        bounded("a value", decoded.len(), &value, 16, 4);
        at = field.end;
        dates(&value);
        words(&decoded);
    }
    assert_eq!(fields.rest(), &input[at..]);
    let all = match fields.rest() {
        [b'\n', ..] => &input[..=at],
        [b'\r', b'\n', ..] => &input[..at + 2],
        _ => input,
    };
    let end = any_cut(input, |size| {
        let mut end = HeaderEnd::default();
        input.chunks(size).filter_map(|piece| end.push(piece)).next()
    });
    let empty = (all.len() > at).then_some(all.len() as u64);
    assert_eq!(end, empty, "where the header ends");
    let names: Vec<String> = ["subject", "To", "x"].map(str::to_owned).to_vec();
    for not in [false, true] {
        let filtered = any_cut(input, |size| {
            let mut filter = FieldFilter::new(&names, not, usize::MAX);
            for piece in input.chunks(size) {
                if filter.push(piece) {
                    break;
                }
            }
            filter.finish()
        });
        assert_eq!(filtered, filter_fields(all, &names, not));
    }
    assert_eq!(mime_grammar::envelope(&envelope(input)), Ok(()));
    let _ = ThreadId::of(input, || None);
}

fn dates(value: &[u8]) {
    let mut out = Vec::new();
    if let Some(read) = date::parse_imap_date_time(value) {
        date::write_imap_date_time(&mut out, read);
        assert_eq!(
            date::parse_imap_date_time(&out),
            Some(read),
            "{}",
            out.escape_ascii()
        );
    }
    for read in [date::parse_header_date(value), date::parse_sent_date(value)]
        .into_iter()
        .flatten()
    {
        out.clear();
        date::write_header_date(&mut out, read);
        assert!(out.is_ascii() && !out.contains(&b'\n'));
        assert_eq!(
            date::parse_header_date(&out),
            Some(read),
            "{}",
            out.escape_ascii()
        );
    }
}

fn words(text: &str) {
    let words = encoded_word::encode(text);
    assert!(
        words
            .iter()
            .all(|word| word.len() <= encoded_word::MAX_WORD && word.is_ascii())
    );
    assert_eq!(encoded_word::decode(words.join(" ").as_bytes()), text);
}

/// Address lists: bounded, and with the grammar when they are told; a name that is written is read again.
pub fn address(input: &[u8]) {
    for limit in [0, 1, 5, MAX_ADDRESSES] {
        let list = parse(input, limit);
        // What was begun is ended.
        assert!(list.len() <= limit + 2, "{} of {limit}", list.len());
        let (mut depth, mut octets) = (0, 0);
        for address in &list {
            match address {
                Address::Group(name) => {
                    assert_eq!(depth, 0, "a group in a group");
                    (depth, octets) = (1, octets + name.len());
                }
                Address::GroupEnd => {
                    assert_eq!(depth, 1, "the end of no group");
                    depth = 0;
                }
                Address::Mailbox(mailbox) => {
                    octets += mailbox.name.len() + mailbox.route.len();
                    octets += mailbox.local.len() + mailbox.domain.len();
                }
            }
        }
        bounded("addresses", octets, input, 0, 1);
    }
    let header = [b"To: ", input, b"\r\nFrom: ", input, b"\r\n\r\n"].concat();
    let told = envelope(&header);
    assert_eq!(mime_grammar::envelope(&told), Ok(()));
    bounded("ENVELOPE", told.len(), input, 2_000, 300);
    let name: String = String::from_utf8_lossy(input)
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    let name = name.trim();
    if !name.is_empty() {
        let written = format!("{} <a@b.example>", phrase(name));
        let list = parse(written.as_bytes(), 10);
        let [Address::Mailbox(mailbox)] = list.as_slice() else {
            panic!("{written} is {list:?}");
        };
        assert_eq!(mailbox.local, b"a");
        assert_eq!(encoded_word::decode(&mailbox.name), name, "{written}");
    }
}

/// Parameters of Content-Type and Content-Disposition (RFC 2231): bounded; those that are written are read again.
pub fn parameter(input: &[u8]) {
    let raw = [b"text/plain", input].concat();
    let found = parameters(&raw);
    assert!(found.len() <= MAX_PARAMETERS);
    let octets: usize = found.iter().map(|p| p.name.len() + p.value.len()).sum();
    bounded("parameters", octets, input, 0, 4);
    let header = [
        b"Content-Type: ",
        raw.as_slice(),
        b"\r\nContent-Disposition: attachment",
        input,
    ]
    .concat();
    let mime = Mime::parse(&header, false);
    if let Some(name) = file_name(&mime) {
        assert!(
            !name.contains(['/', '\\', '\0', '\r', '\n']),
            "a file name: {name:?}"
        );
    }
    let value = String::from_utf8_lossy(input);
    if !value.is_empty() {
        let written = encode::parameter("filename", &value);
        let mut header = Vec::new();
        build::header(
            &mut header,
            "Content-Disposition",
            &format!("attachment{written}"),
        );
        assert!(header.is_ascii(), "{}", header.escape_ascii());
        let read = parameters(format!("attachment{written}").as_bytes());
        assert_eq!(read.len(), 1, "{written}");
        let lines = || header.split(|octet| *octet == b'\n');
        assert!(lines().all(|line| line.len() <= 100), "{}", header.escape_ascii());
        let plain =
            !value.contains(|c: char| c.is_control() || matches!(c, '/' | '\\' | '\u{2028}'..='\u{202e}'));
        if plain && value.trim() == value && !value.starts_with('.') && value.chars().count() <= 200 {
            let mime = Mime::parse(&header, false);
            assert_eq!(file_name(&mime).as_deref(), Some(&*value), "{written}");
        }
    }
}
