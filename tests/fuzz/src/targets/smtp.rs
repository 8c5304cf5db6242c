//! The server's side of SMTP.

use rmail_core::addr::Address;
use rmail_core::auth::password::ScramKeys;
use rmail_core::chunk::Chunk;
use rmail_core::line::{Inbox, Line};
use rmail_core::machine::{Action, Input, TlsInfo};
use rmail_core::random::Random;
use rmail_core::sasl::{self, Bindings, Exchange, ScramUser, Step};
use rmail_core::secret::Secret;
use rmail_core::smtp::command::{Command, parse};
use rmail_core::smtp::data::{BareLf, Decoder, Faults, Piece};
use rmail_core::smtp::server::{Call, Role, Settings};
use rmail_core::smtp::xtext;

use super::smtp_host::{Host, Mail, settings};
use super::{Steps, any_cut, bounded};

/// Command lines: however they are cut, the same lines come out, and whatever they hold is read or refused.
pub fn line(input: &[u8]) {
    let whole = lines([input].into_iter());
    let all = input.split_inclusive(|octet| *octet == b'\n');
    let wanted: Vec<&[u8]> = all
        .filter(|line| line.ends_with(b"\n") && line.len() <= 100)
        .collect();
    assert_eq!(whole, wanted, "no line is lost, none is joined");
    assert_eq!(lines(input.chunks(1)), whole, "octet by octet");
    assert_eq!(lines(input.chunks(7)), whole, "by seven");
    for line in whole {
        let line = [line.as_slice(), b"\r\n"].concat();
        for text in [line.as_slice(), input] {
            if let Err(syntax) = parse(text) {
                assert!(syntax.column <= text.len(), "{syntax:?}");
                assert!(syntax.reply().is_permanent());
            }
        }
    }
}

/// Addresses: one that is read is the same when it is written and read again, and holds nothing that could end a line.
pub fn path(input: &[u8]) {
    let Ok(text) = core::str::from_utf8(input) else {
        return;
    };
    if let Some(address) = Address::parse(text) {
        let written = address.to_string();
        assert!(!written.contains(['\r', '\n', '\0']), "{written:?}");
        assert_eq!(Address::parse(&written).as_ref(), Some(&address), "{written}");
    }
    for verb in ["MAIL FROM", "RCPT TO"] {
        let Ok(first) = parse(format!("{verb}:<{text}>\r\n").as_bytes()) else {
            continue;
        };
        let written = match &first {
            Command::Mail(mail) => format!("{verb}:{}\r\n", mail.path),
            Command::Rcpt(_) => continue,
            other => panic!("{verb} is read as {other:?}"),
        };
        assert!(matches!(
            (parse(written.as_bytes()), first),
            (Ok(Command::Mail(again)), Command::Mail(mail)) if again.path == mail.path
        ));
    }
}

/// The octets of DATA and BDAT: any split gives the same text, only CRLF.CRLF ends, and what has no fault has no bare line
/// end.
pub fn data(input: &[u8]) {
    for bare_lf in [BareLf::Refuse, BareLf::Normalise] {
        let dotted = || Decoder::new(1_000, 100).with_bare_lf(bare_lf);
        let counted = || Decoder::counted(1_000, 100).with_bare_lf(bare_lf);
        let whole = decode(dotted(), [input].into_iter());
        for size in [1, 2, 5] {
            assert_eq!(decode(dotted(), input.chunks(size)), whole, "DATA by {size}");
        }
        let end = match input.strip_prefix(b".\r\n") {
            Some(rest) => Some(rest.len()),
            None => {
                let at = input.windows(5).position(|octets| octets == b"\r\n.\r\n");
                at.map(|at| input.len() - at - 5)
            }
        };
        assert_eq!(whole.rest, end, "where the message ends");
        check_text(&whole);

        let chunked = decode(counted(), [input].into_iter());
        for size in [1, 2, 5] {
            assert_eq!(decode(counted(), input.chunks(size)), chunked, "BDAT by {size}");
        }
        assert_eq!(chunked.rest, None, "no dot ends a chunk");
        check_text(&chunked);
    }
}

/// A session of a stranger behind EHLO, MAIL and RCPT.
pub fn session(input: &[u8]) {
    any_cut(input, |size| {
        let mut host = Host::new(small(Role::Mx));
        host.feed(b"EHLO client.example\r\nMAIL FROM:<> BODY=BINARYMIME\r\nRCPT TO:<bob@demo.test>\r\n");
        play(host, input, size)
    });
}

/// A session of a user who is logged in.
pub fn submission(input: &[u8]) {
    any_cut(input, |size| {
        let mut host = Host::ready(small(Role::Submission));
        host.feed(b"MAIL FROM:<alice@demo.test>\r\nRCPT TO:<bob@demo.test>\r\n");
        play(host, input, size)
    });
}

/// A session of somebody nearby who delivers, with an answer for each recipient.
pub fn lmtp(input: &[u8]) {
    any_cut(input, |size| {
        let mut host = Host::new(small(Role::Lmtp));
        host.feed(b"LHLO client.example\r\nMAIL FROM:<>\r\nRCPT TO:<bob@demo.test>\r\nRCPT TO:<carol@demo.test>\r\n");
        play(host, input, size)
    });
}

fn small(role: Role) -> Settings {
    Settings {
        cleartext_auth: true,
        max_message_size: 500,
        max_text_line: 100,
        ..settings(role)
    }
}

/// The same replies and the same mail however the octets are cut, no spool that stays, and no reply with a bare line end.
fn play(mut host: Host, input: &[u8], size: usize) -> (Vec<Action<Call>>, Vec<Mail>) {
    let mut steps = Steps::of(input, 100, 20);
    settle(&mut host, &mut steps);
    for piece in input.chunks(size) {
        if host.closed {
            break;
        }
        host.feed(piece);
        settle(&mut host, &mut steps);
    }
    if !host.closed {
        host.input(Input::Eof);
        settle(&mut host, &mut steps);
    }
    if !host.tls_wanted {
        assert!(host.closed, "nothing is left open behind the end of input");
        assert_eq!(host.open_spools(), 0);
    }
    let mut sent = 0;
    for action in &host.log {
        if let Action::Send(octets) = action {
            sent += octets.as_ref().len();
            check_lines(octets.as_ref());
        }
    }
    bounded("replies", sent, input, 2_000, 150);
    (host.log, host.mail)
}

fn settle(host: &mut Host, steps: &mut Steps) {
    while host.poll() || host.answer() {
        steps.step();
    }
}

/// Octets of a protocol of lines.
pub(super) fn check_lines(octets: &[u8]) {
    for (at, octet) in octets.iter().enumerate() {
        match octet {
            b'\n' => assert!(at > 0 && octets[at - 1] == b'\r', "a bare LF at {at}"),
            b'\r' => assert_eq!(octets.get(at + 1), Some(&b'\n'), "a bare CR at {at}"),
            _ => {}
        }
    }
}

/// `xtext` and what else stands in parameters: read or refused, never by halves.
pub fn xtext(input: &[u8]) {
    let text: String = input
        .iter()
        .map(|octet| char::from(*octet))
        .filter(|c| *c != '\r' && *c != '\n')
        .collect();
    assert_eq!(
        xtext::decode(&xtext::encode(&text)).is_some(),
        text.chars().all(|c| matches!(c, ' '..='~' | '\u{a0}'..))
    );
    if let Some(plain) = xtext::decode(&text) {
        assert_eq!(
            xtext::decode(&xtext::encode(&plain)),
            Some(plain),
            "written and read again"
        );
    }
    for front in [
        "MAIL FROM:<> AUTH=",
        "MAIL FROM:<> ENVID=",
        "MAIL FROM:<> SIZE=",
        "RCPT TO:<a@b.c> ORCPT=rfc822;",
    ] {
        let once = format!("{front}{text}\r\n");
        let read = parse(once.as_bytes());
        let word = front.rsplit(' ').next().unwrap_or_default();
        if read.is_ok() && !text.contains(' ') {
            let twice = format!("{front}{text} {word}{text}\r\n");
            assert!(parse(twice.as_bytes()).is_err(), "given twice: {twice:?}");
        }
    }
}

/// SASL: any sequence of responses, a line each, ends the exchange or goes on; nobody comes in who does not know the
/// password.
pub fn sasl(input: &[u8]) {
    let bindings = Bindings::of(&TlsInfo {
        version: 0x0304,
        exporter: Some(vec![7; 32]),
        end_point: Some(vec![8; 32]),
        ..TlsInfo::default()
    });
    for name in ["PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"] {
        let mut random = Random::from_seed([1; 32]);
        let Some(mut exchange) = Exchange::new(name, bindings.as_ref(), &mut random) else {
            panic!("{name} is not offered");
        };
        let mut responses = input.split(|octet| *octet == b'\n');
        let mut step = exchange.begin(responses.next());
        for response in responses {
            let _ = (sasl::decode(response), sasl::decode_initial(response));
            step = match step {
                Step::Challenge(challenge) => {
                    assert!(!challenge.contains(['\r', '\n']), "{challenge:?}");
                    exchange.respond(response)
                }
                Step::Lookup(_) => {
                    let keys = ScramKeys::derive(&Secret::new("a password"), b"salt", 1);
                    exchange.found(ScramUser {
                        keys,
                        account: None,
                        others: Vec::new(),
                    })
                }
                Step::Done(_) | Step::Failed(_) => break,
            };
        }
        if name.starts_with("SCRAM") {
            assert!(!matches!(step, Step::Done(_)), "nobody has proved anything");
        }
    }
}

/// Lines of at most 100 octets; those beyond are skipped.
fn lines<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let (mut inbox, mut found, mut skipping) = (Inbox::default(), Vec::new(), false);
    for piece in pieces {
        inbox.push(Chunk::copy_from(piece));
        loop {
            if skipping {
                if !inbox.skip_line() {
                    break;
                }
                skipping = false;
            }
            match inbox.line(100) {
                Line::Whole(line) => found.push(line.to_vec()),
                Line::TooLong => skipping = true,
                Line::Partial => break,
            }
        }
    }
    found
}

/// What a decoder made of its input.
#[derive(Debug, PartialEq, Eq)]
struct Decoded {
    text: Vec<u8>,
    /// Octets behind the end.
    rest: Option<usize>,
    faults: Faults,
    counted: bool,
}

fn decode<'a>(mut decoder: Decoder, pieces: impl Iterator<Item = &'a [u8]>) -> Decoded {
    let (mut text, mut rest) = (Vec::new(), None::<usize>);
    for piece in pieces {
        if let Some(rest) = &mut rest {
            *rest += piece.len();
            continue;
        }
        let mut input = Chunk::copy_from(piece);
        while let Some(piece) = decoder.next(&mut input) {
            match piece {
                Piece::Text(piece) => text.extend_from_slice(&piece),
                Piece::End => {
                    rest = Some(input.len());
                    break;
                }
            }
        }
    }
    let end = if rest.is_none() { decoder.finish() } else { None };
    text.extend(end.iter().flat_map(|end| end.to_vec()));
    Decoded {
        text,
        counted: rest.is_none(),
        rest,
        faults: decoder.faults(),
    }
}

fn check_text(decoded: &Decoded) {
    if decoded.faults != Faults::default() {
        return;
    }
    let text = &decoded.text;
    assert!(!text.contains(&0));
    for (at, octet) in text.iter().enumerate() {
        let bare = match octet {
            b'\n' => at == 0 || text[at - 1] != b'\r',
            b'\r' => text.get(at + 1) != Some(&b'\n'),
            _ => false,
        };
        assert!(!bare, "a bare line end at {at}");
    }
    assert!(text.is_empty() || text.ends_with(b"\r\n"), "the last line ends");
}
