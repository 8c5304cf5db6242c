//! Delivery status notifications (RFC 3464 in a multipart/report of RFC 6522): in plain words, for programs, and the
//! header of the message that they are about.

mod status;

use std::fmt::Write as _;

use super::outcome::Report;
use crate::random::Random;
use crate::smtp::envelope::{Ret, Wishes};
use crate::time::{DateTime, Unix};

/// Octets of the original header that are given back.
pub const MAX_HEADER: usize = 64 * 1024;

/// Octets of a message that is given back whole.
pub const MAX_WHOLE: usize = 1 << 20;

/// Longest line without line end (RFC 5322 §2.1.1).
const MAX_LINE: usize = 998;

/// What has happened to the recipients of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// They will not get the message.
    Failed,
    /// They have not got it yet; it is tried further.
    Delayed,
    /// They have it, in a mailbox of ours.
    Delivered,
    /// A server that tells nobody has it (RFC 3461 §5.2.2).
    Relayed,
    /// They are aliases with several targets, and those have it or get it (RFC 3464 §2.3.3).
    Expanded,
}

/// What a notice is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What happened.
    pub kind: Kind,
    /// Our FQDN.
    pub hostname: String,
    /// Envelope sender of the message, without brackets: the notice goes there, from `<>`.
    pub sender: String,
    /// The message was submitted by an account: the sender is not made up.
    pub authenticated: bool,
    /// The message's id in our queue.
    pub entry: String,
    /// When it was accepted.
    pub arrived: Unix,
    /// Whom it is about.
    pub recipients: Vec<About>,
    /// What the sender asked for: RET, ENVID and the hold are told or followed here; the notice itself goes with the same
    /// REQUIRETLS (RFC 8689 §5) and priority (RFC 6710 §4.6), see [`Notice::own_wishes`].
    pub wishes: Wishes,
}

impl Notice {
    /// The message goes back whole, if it is not too long and has no octets above 127 (RFC 3461 §4.3, §6.2; RFC 8689 §5).
    #[must_use]
    pub fn wants_all(&self) -> bool {
        self.kind == Kind::Failed && self.wishes.ret == Some(Ret::Full) && !self.wishes.require_tls
    }

    /// How many octets of the message [`build`] wants to see.
    #[must_use]
    pub fn wanted(&self) -> usize {
        if self.wants_all() {
            MAX_WHOLE + 1
        } else {
            MAX_HEADER
        }
    }

    /// What goes with the notice itself.
    #[must_use]
    pub fn own_wishes(&self) -> Wishes {
        Wishes {
            require_tls: self.wishes.require_tls,
            priority: self.wishes.priority,
            ..Wishes::default()
        }
    }
}

/// One recipient of a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Address without brackets.
    pub address: String,
    /// ORCPT=, `addr-type;address`.
    pub original: Option<String>,
    /// What the last attempt gave.
    pub report: Report,
    /// [`Kind::Failed`]: because the last of all attempts has failed.
    pub expired: bool,
    /// [`Kind::Delayed`]: until when it is tried.
    pub until: Option<Unix>,
}

/// A notice, ready to be delivered or queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The message; lines end with CRLF.
    pub bytes: Vec<u8>,
    /// Octets of its Return-Path line, which is not sent to other servers.
    pub offset: u64,
    /// It holds octets above 127: only when an address does.
    pub eight_bit: bool,
}

/// Writes a notice. `original` is the beginning of the message, its header at least, up to [`Notice::wanted`] octets; what
/// follows the header is left out, unless it is wanted and all of it is there, in ASCII. The random numbers make Message-ID and
/// boundary.
#[must_use]
pub fn build(notice: &Notice, original: &[u8], now: Unix, random: &mut Random) -> Message {
    let unique = format!("{:016x}{:016x}", random.next_u64(), random.next_u64());
    let boundary = format!("=_{unique}");
    let mut out = String::from("Return-Path: <>\r\n");
    let offset = out.len() as u64;
    // RFC 6533 §4: the types for what is beyond ASCII. They may be encoded, so that servers that take 7 bits only take the
    // notice. A message of another type may not (RFC 2046 §5.2.1), and octets above 127 would keep the notice from such
    // servers (RFC 6152 §3): of it only the header goes back.
    let global = notice.wishes.utf8;
    let whole =
        notice.wants_all() && (1..=MAX_WHOLE).contains(&original.len()) && (global || original.is_ascii());
    head(&mut out, notice, now, &unique, &boundary);
    out.push_str("\r\n");
    let _ = write!(out, "--{boundary}\r\n");
    text_part(&mut out, notice);
    let _ = write!(out, "\r\n--{boundary}\r\n");
    status::status_part(&mut out, notice, now);
    let _ = write!(out, "\r\n--{boundary}\r\n");
    let mut bytes = if whole && !original.is_ascii() {
        out.push_str("Content-Type: message/global\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n");
        quoted_printable(&mut out, original);
        out.into_bytes()
    } else if whole {
        out.push_str(if global {
            "Content-Type: message/global\r\n"
        } else {
            "Content-Type: message/rfc822\r\n"
        });
        out.push_str("\r\n");
        let mut bytes = out.into_bytes();
        bytes.extend_from_slice(original);
        bytes
    } else {
        out.push_str(if global {
            "Content-Type: message/global-headers\r\n"
        } else {
            "Content-Type: text/rfc822-headers\r\n"
        });
        headers(&mut out, original);
        out.into_bytes()
    };
    bytes.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    Message {
        offset,
        eight_bit: !bytes.is_ascii(),
        bytes,
    }
}

fn head(out: &mut String, notice: &Notice, now: Unix, unique: &str, boundary: &str) {
    let host = &notice.hostname;
    let subject = match notice.kind {
        Kind::Failed => "Undelivered mail returned to sender",
        Kind::Delayed => "Delayed mail (still being tried)",
        Kind::Delivered => "Delivered mail",
        Kind::Relayed => "Relayed mail",
        Kind::Expanded => "Distributed mail",
    };
    let _ = write!(
        out,
        "From: Mail Delivery System <mailer-daemon@{host}>\r\nTo: <{}>\r\nSubject: {subject}\r\nDate: {}\r\n\
         Message-ID: <{unique}@{host}>\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\"\r\n",
        one_line(&notice.sender),
        date(now),
    );
}

/// The part for people.
fn text_part(out: &mut String, notice: &Notice) {
    let mut text = format!("This is the mail system at {}.\r\n\r\n", notice.hostname);
    text.push_str(match notice.kind {
        Kind::Failed => {
            "Your message could not be delivered to the recipients below. It will not be\r\n\
             tried again.\r\n"
        }
        Kind::Delayed => {
            "Your message could not be delivered to the recipients below YET. You need not\r\n\
             do anything: it is tried further, and you will hear if it fails for good.\r\n"
        }
        Kind::Delivered => "Your message was delivered to the recipients below.\r\n",
        Kind::Expanded => {
            "Your message was handed on to everybody whom the addresses below stand for. You\r\n\
             hear no more of it unless it fails.\r\n"
        }
        Kind::Relayed => {
            "Your message was handed on for the recipients below, to servers that do not\r\n\
             confirm delivery. You may hear no more of it unless it fails.\r\n"
        }
    });
    for about in &notice.recipients {
        let _ = write!(text, "\r\n<{}>\r\n", one_line(&about.address));
        if let Some(remote) = &about.report.remote {
            let said = if about.report.code.is_some() {
                "said"
            } else {
                "could not be used"
            };
            let _ = write!(text, "    {} {said}:\r\n", one_line(remote));
        }
        let _ = write!(text, "    {}\r\n", one_line(&about.report.said()));
        if about.expired {
            text.push_str("    It was tried many times; this is what the last attempt gave.\r\n");
        }
        if let Some(until) = about.until {
            let _ = write!(text, "    It is tried until {}.\r\n", date(until));
        }
    }
    let _ = write!(
        text,
        "\r\nThe message was accepted on {} with the id {}. Its header\r\nis at the end of this report.\r\n",
        date(notice.arrived),
        notice.entry,
    );
    if text.is_ascii() {
        out.push_str("Content-Type: text/plain; charset=us-ascii\r\n\r\n");
        out.push_str(&text);
    } else {
        out.push_str(
            "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n",
        );
        quoted_printable(out, text.as_bytes());
    }
}

/// The header of the original, as it is where 7 bits and short lines suffice, else in quoted-printable (RFC 6522 §4).
fn headers(out: &mut String, original: &[u8]) {
    let lines = header_lines(original);
    let plain =
        |line: &&[u8]| line.len() <= MAX_LINE && line.iter().all(|b| matches!(b, b' '..=b'~' | b'\t'));
    let text = lines.iter().all(plain).then(|| {
        let lines = lines.iter().map(|line| String::from_utf8_lossy(line) + "\r\n");
        lines.collect::<String>()
    });
    if let Some(text) = text {
        let _ = write!(out, "\r\n{text}");
    } else {
        out.push_str("Content-Transfer-Encoding: quoted-printable\r\n\r\n");
        let mut joined = Vec::with_capacity(original.len());
        for line in lines {
            joined.extend_from_slice(line);
            joined.extend_from_slice(b"\r\n");
        }
        quoted_printable(out, &joined);
    }
}

/// The lines before the first empty one, without their ends; the last line is left out when it may be cut.
fn header_lines(original: &[u8]) -> Vec<&[u8]> {
    let bounded = original.get(..MAX_HEADER).unwrap_or(original);
    let mut lines: Vec<&[u8]> = Vec::new();
    let mut pieces = bounded.split(|b| *b == b'\n').peekable();
    while let Some(piece) = pieces.next() {
        let whole = pieces.peek().is_some() || bounded.len() == original.len();
        let line = piece.strip_suffix(b"\r").unwrap_or(piece);
        if line.is_empty() || !whole {
            break;
        }
        lines.push(line);
    }
    lines
}

/// Quoted-printable (RFC 2045 §6.7) of text with CRLF line ends.
fn quoted_printable(out: &mut String, text: &[u8]) {
    /// Characters of a line, a soft line break included.
    const WIDTH: usize = 76;
    for line in text.split(|b| *b == b'\n') {
        let (line, last) = line
            .strip_suffix(b"\r")
            .map_or((line, true), |line| (line, false));
        let mut width = 0;
        for (n, &b) in line.iter().enumerate() {
            let at_end = n + 1 == line.len();
            let literal = matches!(b, b'!'..=b'<' | b'>'..=b'~') || (matches!(b, b' ' | b'\t') && !at_end);
            let needed = if literal { 1 } else { 3 };
            if width + needed >= WIDTH {
                out.push_str("=\r\n");
                width = 0;
            }
            width += needed;
            if literal {
                out.push(char::from(b));
            } else {
                let _ = write!(out, "={b:02X}");
            }
        }
        if !last {
            out.push_str("\r\n");
        }
    }
}

/// Without controls, so that nothing that came from outside begins a line of its own; bounded.
fn one_line(text: &str) -> String {
    text.chars()
        .take(900)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Printable ASCII, bounded.
fn printable(text: &str) -> String {
    text.chars()
        .take(900)
        .map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' })
        .collect()
}

fn date(when: Unix) -> String {
    let mut out = Vec::new();
    crate::text::date::write_header_date(&mut out, DateTime::from(when));
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::Enhanced;

    fn notice(kind: Kind, address: &str) -> Notice {
        Notice {
            kind,
            hostname: "mail.example.com".into(),
            sender: "alice@example.com".into(),
            authenticated: false,
            entry: "abc123".into(),
            arrived: Unix::from_secs(0),
            wishes: Wishes::default(),
            recipients: vec![About {
                address: address.into(),
                original: None,
                report: Report {
                    code: Some(550),
                    enhanced: Enhanced(5, 1, 1),
                    implied: false,
                    text: "no such\r\nuser".into(),
                    remote: Some("mx.example.net".into()),
                    severe: false,
                    notifies: false,
                    tls: None,
                },
                expired: false,
                until: (kind == Kind::Delayed).then(|| Unix::from_secs(86400)),
            }],
        }
    }

    fn text(notice: &Notice, original: &[u8]) -> String {
        let message = build(
            notice,
            original,
            Unix::from_secs(60),
            &mut Random::from_seed([1; 32]),
        );
        let text = String::from_utf8(message.bytes).expect("UTF-8");
        assert_eq!(message.eight_bit, !text.is_ascii());
        assert!(
            text.get(usize::try_from(message.offset).expect("small")..)
                .expect("offset")
                .starts_with("From: ")
        );
        for line in text.split_inclusive("\r\n") {
            assert!(line.ends_with("\r\n") && line.len() <= MAX_LINE + 2);
            assert_eq!(line.matches(['\r', '\n']).count(), 2, "{line:?}");
        }
        text
    }

    #[test]
    fn a_failure_whole() {
        let original = b"Received: x\r\nSubject: hello\r\n\r\nsecret body\r\n";
        let text = text(&notice(Kind::Failed, "bob@example.net"), original);
        for expected in [
            "Return-Path: <>\r\nFrom: Mail Delivery System <mailer-daemon@mail.example.com>\r\nTo: <alice@example.com>\r\n",
            "\r\nDate: Thu, 1 Jan 1970 00:01:00 +0000\r\n",
            "\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status;",
            "\r\n<bob@example.net>\r\n    mx.example.net said:\r\n    550 5.1.1 no such  user\r\n",
            "\r\n\r\nReporting-MTA: dns; mail.example.com\r\nArrival-Date: Thu, 1 Jan 1970 00:00:00 +0000\r\n\r\n\
             Final-Recipient: rfc822; bob@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\n\
             Remote-MTA: dns; mx.example.net\r\nDiagnostic-Code: smtp; 550 5.1.1 no such??user\r\n\
             Last-Attempt-Date: ",
            "\r\nContent-Type: text/rfc822-headers\r\n\r\nReceived: x\r\nSubject: hello\r\n\r\n--=_",
        ] {
            assert!(text.contains(expected), "{expected}\n---\n{text}");
        }
        assert!(!text.contains("secret body") && !text.contains("Will-Retry-Until"));
        assert!(text.ends_with("--\r\n"));
    }

    #[test]
    fn a_delay_is_no_failure() {
        let text = text(&notice(Kind::Delayed, "bob@example.net"), b"A: b\n\nx");
        assert!(
            text.contains("\r\nAction: delayed\r\nStatus: 4.1.1\r\n"),
            "{text}"
        );
        assert!(text.contains("\r\nWill-Retry-Until: Fri, 2 Jan 1970 00:00:00 +0000\r\n"));
        assert!(text.contains("headers\r\n\r\nA: b\r\n\r\n--"));
    }

    #[test]
    fn what_was_asked_for_is_repeated() {
        let mut notice = notice(Kind::Relayed, "bob@example.net");
        notice.wishes.envid = Some("QQ314159".into());
        notice.wishes.hold = Some("for;600".into());
        notice.wishes.ret = Some(Ret::Full);
        for about in &mut notice.recipients {
            about.original = Some("rfc822;Bob@Example.NET".into());
            about.report = Report::parse("250 2.0.0 ok").expect("a report");
        }
        let relayed = text(&notice, b"A: b\r\n\r\nbody\r\n");
        for expected in [
            "\r\n\r\nOriginal-Envelope-Id: QQ314159\r\nReporting-MTA: dns; mail.example.com\r\nArrival-Date: ",
            "\r\nFuture-Release-Request: for;600\r\n",
            "\r\n\r\nOriginal-Recipient: rfc822; Bob@Example.NET\r\nFinal-Recipient: rfc822; bob@example.net\r\n\
             Action: relayed\r\nStatus: 2.0.0\r\n",
            "\r\nSubject: Relayed mail\r\n",
        ] {
            assert!(relayed.contains(expected), "{expected}\n---\n{relayed}");
        }
        // Without a failure only the header is given back (RFC 3461 §4.3).
        assert!(!relayed.contains("body"));
        notice.kind = Kind::Delivered;
        let delivered = text(&notice, b"A: b\r\n\r\n");
        assert!(delivered.contains("\r\nAction: delivered\r\nStatus: 2.0.0\r\n"));
    }

    #[test]
    fn a_message_goes_back_whole_if_it_was_asked_for_and_is_not_too_long() {
        let mut notice = notice(Kind::Failed, "bob@example.net");
        notice.wishes.ret = Some(Ret::Full);
        let original = "Subject: x\r\n\r\ngreen\r\n";
        let whole = text(&notice, original.as_bytes());
        let part = format!("\r\nContent-Type: message/rfc822\r\n\r\n{original}\r\n--=_");
        assert!(whole.contains(&part), "{whole}");
        // A server without 8BITMIME must be able to take the notice.
        let beyond = text(&notice, "Subject: x\r\n\r\ngr\u{fc}n\r\n".as_bytes());
        assert!(beyond.is_ascii() && beyond.contains("Content-Type: text/rfc822-headers\r\n"));
        notice.wishes.utf8 = true;
        assert!(text(&notice, original.as_bytes()).contains("Content-Type: message/global\r\n"));
        // What is beyond ASCII may be encoded in the types that were made for it (RFC 6533 §4).
        let beyond = text(&notice, "Subject: gr\u{fc}n\r\n\r\ngr\u{fc}n=\r\n".as_bytes());
        let part = "\r\nContent-Type: message/global\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
                    Subject: gr=C3=BCn\r\n\r\ngr=C3=BCn=3D\r\n\r\n--=_";
        assert!(beyond.contains(part) && beyond.is_ascii(), "{beyond}");
        let long = format!("Subject: x\r\n\r\n{}", "line\r\n".repeat(MAX_WHOLE / 6));
        assert_eq!(notice.wanted(), MAX_WHOLE + 1);
        let cut = text(&notice, &long.as_bytes()[..notice.wanted().min(long.len())]);
        assert!(!cut.contains("line") && cut.contains("Content-Type: message/global-headers\r\n"));
        notice.wishes.require_tls = true;
        assert!(!text(&notice, original.as_bytes()).contains("message/global\r\n"));
    }

    #[test]
    fn broken_headers_and_addresses_are_encoded() {
        let long = "x".repeat(2000);
        let original = format!("Subject: gr\u{fc}n=\r\nX: {long}\r\nT: end \r\n\r\n");
        let plain = text(&notice(Kind::Failed, "bob@example.net"), original.as_bytes());
        assert!(
            plain.contains("quoted-printable\r\n\r\nSubject: gr=C3=BCn=3D\r\nX: xxx"),
            "{plain}"
        );
        assert!(plain.contains("\r\nT: end=20\r\n"));
        let rejoined = plain.replace("=\r\n", "");
        assert!(
            rejoined.contains(&format!("\r\nX: {long}\r\n")),
            "soft line breaks only"
        );
        let utf8 = text(&notice(Kind::Failed, "b\u{f6}b@example.net"), b"");
        assert!(
            utf8.contains("Final-Recipient: utf-8; b\\x{F6}b@example.net\r\n"),
            "{utf8}"
        );
        assert!(utf8.contains("charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable"));
        assert!(utf8.contains("<b=C3=B6b@example.net>") && utf8.is_ascii());
    }

    /// RFC 6533 §4.1: of a message with SMTPUTF8 the addresses stand as they are, in an encoding for 7 bits.
    #[test]
    fn addresses_beyond_ascii_stand_in_a_global_status() {
        let mut notice = notice(Kind::Failed, "b\u{f6}b@example.net");
        notice.wishes.utf8 = true;
        let status = |notice: &Notice| {
            let text = text(notice, b"A: b\r\n\r\n");
            assert!(text.is_ascii());
            let (_, part) = text.split_once("-delivery-status\r\n").expect("the part");
            part.replace("=\r\n", "")
        };
        for (original, shown) in [
            ("utf-8;b\\x{F6}b@example.net", "utf-8; b=C3=B6b@example.net"),
            ("utf-8;b\u{f6}b@example.net", "utf-8; b=C3=B6b@example.net"),
            ("utf-8;b\\x{2B}b@example.net", "utf-8; b+b@example.net"),
            ("utf-8;b\\x{zz}b@example.net", "utf-8; b\\x{zz}b@example.net"),
            ("utf-8;b\\x{0A}b@example.net", "utf-8; b\\x{0A}b@example.net"),
            ("utf-8;b\\x{D800}", "utf-8; b\\x{D800}"),
            ("rfc822;b\\x{F6}b@example.net", "rfc822; b\\x{F6}b@example.net"),
        ] {
            for about in &mut notice.recipients {
                about.original = Some(original.into());
            }
            let part = status(&notice);
            assert!(
                part.contains(&format!("\r\nOriginal-Recipient: {shown}\r\n")),
                "{original}: {part}"
            );
            assert!(part.contains("\r\nFinal-Recipient: utf-8; b=C3=B6b@example.net\r\nAction: failed\r\n"));
            assert!(part.starts_with("Content-Transfer-Encoding: quoted-printable\r\n\r\n"));
        }
        // Where all is ASCII the old type does (§4.4).
        for about in &mut notice.recipients {
            about.address = "bob@example.net".into();
            about.original = None;
        }
        assert!(text(&notice, b"").contains("Content-Type: message/delivery-status\r\n"));
    }

    #[test]
    fn a_header_without_end_is_cut_at_a_line() {
        let original = "A: b\r\n".repeat(20_000);
        let lines = header_lines(original.as_bytes());
        assert_eq!(lines.len(), MAX_HEADER / 6);
        assert!(lines.iter().all(|line| *line == b"A: b"));
        assert_eq!(header_lines(b"A: b\r\nlast"), [&b"A: b"[..], b"last"]);
        assert!(header_lines(b"").is_empty());
    }
}
