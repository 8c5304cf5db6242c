//! Replies of the server (RFC 5321 §4.2), read within bounds, and what they mean.

use crate::line::{Inbox, Line};
use crate::relay::{Enhanced, Outcome, Report};

/// Octets of a reply line; RFC 5321 §4.5.3.1.5 allows 512.
const MAX_LINE: usize = 2048;

/// Lines of one reply.
const MAX_LINES: usize = 100;

/// Characters of text that are kept for reports and the log.
const MAX_TEXT: usize = 500;

/// A whole reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerReply {
    pub(super) code: u16,
    /// Text of each line without the code; printable ASCII, other octets as `?`.
    pub(super) lines: Vec<String>,
}

/// What came is no SMTP reply, or too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// Collects the lines of a reply.
#[derive(Debug, Default)]
pub(super) struct ReplyReader {
    code: Option<u16>,
    lines: Vec<String>,
}

impl ReplyReader {
    /// The next reply, if it is whole.
    pub(super) fn next(&mut self, inbox: &mut Inbox) -> Result<Option<ServerReply>, Broken> {
        loop {
            let line = match inbox.line(MAX_LINE) {
                Line::Whole(line) => line,
                Line::Partial => return Ok(None),
                Line::TooLong => return Err(Broken),
            };
            let (code, more, text) = parse_line(&line).ok_or(Broken)?;
            if self.code.is_some_and(|first| first != code) || self.lines.len() >= MAX_LINES {
                return Err(Broken);
            }
            self.code = Some(code);
            self.lines.push(text);
            if !more {
                self.code = None;
                let lines = core::mem::take(&mut self.lines);
                return Ok(Some(ServerReply { code, lines }));
            }
        }
    }

    /// Whether half a reply was read.
    pub(super) fn is_amid(&self) -> bool {
        self.code.is_some()
    }

    /// Forgets half a reply (STARTTLS).
    pub(super) fn clear(&mut self) {
        self.code = None;
        self.lines.clear();
    }
}

/// `Reply-code [ (SP / "-") textstring ]` and the line end; a bare LF is taken for one.
fn parse_line(line: &[u8]) -> Option<(u16, bool, String)> {
    let line = line.strip_suffix(b"\n")?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (code, rest) = line.split_at_checked(3)?;
    let &[first @ b'2'..=b'5', second @ b'0'..=b'9', third @ b'0'..=b'9'] = code else {
        return None;
    };
    let code = [first, second, third]
        .iter()
        .fold(0, |n, digit| n * 10 + u16::from(digit - b'0'));
    let (more, text) = match rest.split_first() {
        None => (false, rest),
        Some((b' ', text)) => (false, text),
        Some((b'-', text)) => (true, text),
        Some(_) => return None,
    };
    let text = text.iter().map(|&b| {
        if (b' '..=b'~').contains(&b) {
            char::from(b)
        } else {
            '?'
        }
    });
    Some((code, more, text.collect()))
}

impl ServerReply {
    /// 2 to 5.
    pub(super) fn class(&self) -> u16 {
        self.code / 100
    }

    /// The enhanced code, if there is one of the reply's class (RFC 2034 §4).
    fn enhanced(&self) -> Option<Enhanced> {
        let enhanced = Enhanced::parse(self.lines.first()?)?;
        (u16::from(enhanced.0) == self.class()).then_some(enhanced)
    }

    /// The text without codes, on one line.
    fn text(&self) -> String {
        let enhanced = self.enhanced();
        let mut text = String::new();
        for line in &self.lines {
            // Each line of a reply repeats the code.
            let has_code = enhanced.is_some() && Enhanced::parse(line) == enhanced;
            let line = if has_code {
                line.split_once(' ').map_or("", |(_, rest)| rest)
            } else {
                line
            };
            if !text.is_empty() && !line.is_empty() {
                text.push(' ');
            }
            text.push_str(line.trim());
            if text.len() > MAX_TEXT {
                text.truncate(MAX_TEXT);
                break;
            }
        }
        text
    }

    /// What it says, for logs and bounces.
    pub(super) fn report(&self, host: &str) -> Report {
        let class = u8::try_from(self.class()).unwrap_or(4);
        Report {
            code: Some(self.code),
            enhanced: self.enhanced().unwrap_or(Enhanced(class, 0, 0)),
            implied: self.enhanced().is_none(),
            text: self.text(),
            remote: Some(host.to_owned()),
            severe: false,
            notifies: false,
            tls: None,
        }
    }

    /// A reply that is not the one hoped for, to MAIL, RCPT, DATA or the final dot: 5xx is permanent, all else is not.
    ///
    /// 552 to RCPT means "too many recipients" with older servers: it is taken as 452 (RFC 5321 §4.5.3.1.10), unless
    /// the enhanced code speaks of the mailbox.
    pub(super) fn failure(&self, host: &str, to_rcpt: bool) -> Outcome {
        let mut report = self.report(host);
        match self.class() {
            5 if to_rcpt && self.code == 552 && report.enhanced.1 != 2 => {
                let given = self.enhanced().map(|enhanced| enhanced.with_class(4));
                report.enhanced = given.unwrap_or(Enhanced(4, 5, 3));
                Outcome::Temporary(report)
            }
            5 => Outcome::Permanent(report),
            4 => Outcome::Temporary(report),
            _ => {
                report.enhanced = Enhanced(4, 5, 0);
                report.text = format!("unexpected reply: {}", report.text);
                Outcome::Temporary(report)
            }
        }
    }
}

impl core::fmt::Display for ServerReply {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} {}", self.code, self.lines.join(" / "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::Chunk;

    fn read(text: &[u8]) -> Result<Vec<ServerReply>, Broken> {
        let collect = |parts: &mut dyn Iterator<Item = &[u8]>| {
            let (mut inbox, mut reader, mut out) = (Inbox::default(), ReplyReader::default(), Vec::new());
            for part in parts {
                inbox.push(Chunk::copy_from(part));
                while let Some(reply) = reader.next(&mut inbox)? {
                    out.push(reply);
                }
            }
            Ok(out)
        };
        let whole = collect(&mut [text].into_iter());
        assert_eq!(collect(&mut text.chunks(1)), whole, "octet by octet");
        whole
    }

    fn one(text: &str) -> ServerReply {
        read(text.as_bytes()).expect("a reply").remove(0)
    }

    #[test]
    fn replies_of_all_shapes() {
        let replies =
            read(b"250-a\r\n250-b c\r\n250 d\r\n354\r\n221 \x07\xc3\n250-half\r\n").expect("replies");
        let shown: Vec<String> = replies.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["250 a / b c / d", "354 ", "221 ??"]);
        for bad in [
            "25 x\r\n",
            "250-a\r\n251 b\r\n",
            "650 x\r\n",
            "250x\r\n",
            "+50 x\r\n",
            "\r\n",
            "250\rx\n",
        ] {
            assert_eq!(read(bad.as_bytes()), Err(Broken), "{bad:?}");
        }
        assert_eq!(read(&[b'2'; 3000]), Err(Broken), "a line without end");
        assert_eq!(
            read("250-x\r\n".repeat(101).as_bytes()),
            Err(Broken),
            "a reply without end"
        );
    }

    #[test]
    fn texts_lose_their_codes() {
        let report = one("550-5.1.1 No such\r\n550 5.1.1  user\r\n").report("mx");
        assert_eq!(
            (report.to_string().as_str(), report.remote.as_deref()),
            ("550 5.1.1 No such user", Some("mx"))
        );
        let strange = one("550 4.1.1 x\r\n").report("mx");
        assert_eq!(
            (strange.to_string().as_str(), strange.said().as_str()),
            ("550 5.0.0 4.1.1 x", "550 4.1.1 x")
        );
        assert_eq!(report.said(), "550 5.1.1 No such user");
        let long = format!("450 {}\r\n", "x".repeat(2000));
        assert_eq!(one(&long).report("mx").text.len(), MAX_TEXT);
    }

    #[test]
    fn classes_of_failure() {
        let class = |text: &str, rcpt| match one(text).failure("mx", rcpt) {
            Outcome::Delivered(_) => ("delivered", Enhanced(0, 0, 0)),
            Outcome::Temporary(report) => ("temporary", report.enhanced),
            Outcome::Permanent(report) => ("permanent", report.enhanced),
        };
        assert_eq!(class("550 x\r\n", true), ("permanent", Enhanced(5, 0, 0)));
        assert_eq!(class("552 too many\r\n", true), ("temporary", Enhanced(4, 5, 3)));
        assert_eq!(
            class("552 5.5.3 too many\r\n", true),
            ("temporary", Enhanced(4, 5, 3))
        );
        assert_eq!(
            class("552 5.3.4 too big\r\n", true),
            ("temporary", Enhanced(4, 3, 4))
        );
        assert_eq!(
            class("552 5.2.2 full\r\n", true),
            ("permanent", Enhanced(5, 2, 2))
        );
        assert_eq!(class("552 too big\r\n", false), ("permanent", Enhanced(5, 0, 0)));
        assert_eq!(class("452 4.5.3 x\r\n", true), ("temporary", Enhanced(4, 5, 3)));
        assert_eq!(class("354 go\r\n", true), ("temporary", Enhanced(4, 5, 0)));
    }
}
