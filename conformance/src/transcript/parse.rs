//! Reads transcripts.

use core::time::Duration;

use rmail_core::text::rfc3339;

use super::words::split;
use super::{Expected, Given, Mistake, Opening, Step, Transcript, What};
use crate::template::Template;

pub(super) fn parse(text: &str) -> Result<Transcript, Mistake> {
    let mut reader = Reader::default();
    for line in text.lines() {
        reader.line += 1;
        let read = reader.read(line.trim_end());
        read.map_err(|text| reader.mistake(text))?;
    }
    let whole = reader.whole();
    whole.map_err(|text| reader.mistake(text))?;
    Ok(reader.done)
}

#[derive(Default)]
struct Reader {
    line: usize,
    done: Transcript,
    /// Between `S{` and `S}`: the connection.
    any_order: Option<usize>,
}

impl Reader {
    fn mistake(&self, text: String) -> Mistake {
        Mistake {
            line: self.line,
            text,
        }
    }

    fn read(&mut self, line: &str) -> Result<(), String> {
        if line.is_empty() {
            return Ok(());
        }
        if let Some(comment) = line.strip_prefix('#') {
            if self.done.title.is_empty() {
                self.done.title = comment.trim().to_owned();
            }
            return Ok(());
        }
        if let Some(reason) = line
            .strip_prefix("@unplayable ")
            .filter(|_| self.done.steps.is_empty())
        {
            self.done.unplayable = Some(reason.trim().to_owned());
            return Ok(());
        }
        if let Some(directive) = line.strip_prefix('@') {
            return self.directive(directive);
        }
        let (letter, connection, marker, rest) = prefix(line).ok_or_else(|| {
            "no line of a transcript: C: S: C| S| C= S= S^ C~ S~ S- S# S{ S} S? T: !: A: R: # @".to_owned()
        })?;
        if !matches!(letter, 'T' | '!' | 'R') && !self.done.sessions.contains_key(&connection) {
            return Err(format!("no @session {connection} stands above"));
        }
        let client = self
            .done
            .sessions
            .get(&connection)
            .is_some_and(Opening::is_client);
        let letter = match letter {
            // Of a client the transcript says what the server says, and expects what the client says.
            'C' if client => 'S',
            'S' if client => 'C',
            letter => letter,
        };
        self.step(letter, connection, marker, rest)
    }

    fn directive(&mut self, text: &str) -> Result<(), String> {
        let mut words = split(text)?;
        let name = if words.plain.is_empty() {
            String::new()
        } else {
            words.plain.remove(0)
        };
        if !self.done.steps.is_empty() {
            return Err(format!("@{name} stands behind the first step"));
        }
        match (name.as_str(), words.plain.as_slice()) {
            ("live", []) => self.done.live = true,
            ("recorded", []) => self.done.recorded = true,
            ("recorded", [word]) if word == "cut" => {
                self.done.recorded = true;
                self.done.cut = true;
            }
            ("given", [word, time]) if word == "time" => {
                let time = rfc3339::parse(time).ok_or_else(|| format!("no time: {time}"))?;
                self.done.begins = Some(time);
            }
            ("rfc", [number]) => self.rfc(number, None)?,
            ("rfc", [number, section]) => self.rfc(number, Some(section.clone()))?,
            ("session", [kind]) => self.session(1, kind.clone(), words.options)?,
            ("session", [number, kind]) => {
                let number = number.parse().map_err(|_| "expected a connection's number")?;
                self.session(number, kind.clone(), words.options)?;
            }
            ("given", [_, ..]) => self.done.givens.push(Given {
                line: self.line,
                words: words.plain,
                options: words.options,
            }),
            _ => return Err(format!("no such directive, or wrong words in it: @{name}")),
        }
        Ok(())
    }

    fn rfc(&mut self, number: &str, section: Option<String>) -> Result<(), String> {
        let number = number.parse().map_err(|_| "expected an RFC's number")?;
        self.done.rfcs.push((number, section));
        Ok(())
    }

    fn session(
        &mut self,
        number: usize,
        kind: String,
        options: std::collections::BTreeMap<String, String>,
    ) -> Result<(), String> {
        let opening = Opening {
            line: self.line,
            kind,
            options,
        };
        match self.done.sessions.insert(number, opening) {
            None => Ok(()),
            Some(_) => Err(format!("session {number} is given twice")),
        }
    }

    fn step(&mut self, letter: char, connection: usize, marker: char, rest: &str) -> Result<(), String> {
        if let Some(open) = self.any_order
            && (letter != 'S' || connection != open || !matches!(marker, ':' | '|' | '}'))
        {
            return Err("only S: and S| lines of one connection stand between S{ and S}".to_owned());
        }
        let what = match (letter, marker) {
            ('C', ':') => What::Line(connection, Template::parse(rest)?),
            ('C', '|') => What::Body(connection, Template::parse(rest)?),
            ('C', '~') => What::Octets(connection, unescape(rest)?),
            ('C', '=') => What::Text(connection, Template::parse(rest)?),
            ('S', ':') => return self.expect(connection, rest),
            ('S', '|') => return self.body(connection, rest),
            ('S', '~') => What::ExpectOctets(connection, unescape(rest)?),
            ('S', '=') => What::ExpectText(connection, Template::parse(rest)?),
            ('S', '^') => {
                let first = Template::parse(rest)?;
                let line = self.line;
                let body = Vec::new();
                What::Head(connection, Expected { line, first, body })
            }
            ('S', '?') => What::Maybe(connection, Template::parse(rest)?),
            ('S', '-') if rest.is_empty() => What::Silence(connection),
            ('S', '#') if rest.is_empty() => What::Closed(connection),
            ('S', '{') if rest.is_empty() => {
                self.any_order = Some(connection);
                What::AnyOrder(connection, Vec::new())
            }
            ('S', '}') if rest.is_empty() && self.any_order.is_some() => {
                self.any_order = None;
                return Ok(());
            }
            ('T', ':') => What::Time(duration(rest)?),
            ('!', ':') => What::Outside(rest.to_owned()),
            ('A', ':') => What::Action(connection, Template::parse(rest)?, None),
            ('R', ':') => return self.answer(rest),
            _ => return Err(format!("{letter}{marker} means nothing here")),
        };
        self.push(what);
        Ok(())
    }

    fn push(&mut self, what: What) {
        self.done.steps.push(Step {
            line: self.line,
            what,
        });
    }

    fn expect(&mut self, connection: usize, rest: &str) -> Result<(), String> {
        let expected = Expected {
            line: self.line,
            first: Template::parse(rest)?,
            body: Vec::new(),
        };
        match self.done.steps.last_mut().map(|step| &mut step.what) {
            Some(What::AnyOrder(_, lines)) if self.any_order.is_some() => lines.push(expected),
            _ => self.push(What::Expect(connection, expected)),
        }
        Ok(())
    }

    fn body(&mut self, connection: usize, rest: &str) -> Result<(), String> {
        let template = Template::parse(rest)?;
        let line = match self.done.steps.last_mut().map(|step| &mut step.what) {
            Some(What::AnyOrder(on, lines)) if *on == connection => lines.last_mut(),
            Some(What::Expect(on, expected) | What::Head(on, expected)) if *on == connection => {
                Some(expected)
            }
            _ => None,
        };
        let line = line.ok_or("S| follows the S: line that announces it")?;
        line.body.push(template);
        Ok(())
    }

    fn answer(&mut self, rest: &str) -> Result<(), String> {
        match self.done.steps.last_mut().map(|step| &mut step.what) {
            Some(What::Action(_, _, answer @ None)) => {
                *answer = Some(rest.to_owned());
                Ok(())
            }
            _ => Err("R: follows the A: line of the call that it answers".to_owned()),
        }
    }

    fn whole(&self) -> Result<(), String> {
        if self.done.sessions.is_empty() {
            return Err("no @session".to_owned());
        }
        if self.any_order.is_some() {
            return Err("S{ without S}".to_owned());
        }
        Ok(())
    }
}

/// Letter, connection, marker, and the text without the space before it.
fn prefix(line: &str) -> Option<(char, usize, char, &str)> {
    let mut chars = line.chars();
    let letter = chars.next().filter(|c| "CSTAR!".contains(*c))?;
    let rest = chars.as_str();
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (number, rest) = rest.split_at(digits);
    let connection = if number.is_empty() {
        1
    } else {
        number.parse().ok()?
    };
    let mut chars = rest.chars();
    let marker = chars.next().filter(|c| ":|~=^-#{}?".contains(*c))?;
    let text = chars.as_str();
    Some((letter, connection, marker, text.strip_prefix(' ').unwrap_or(text)))
}

/// `+28m`
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("no time: {text}; write +28m, with ms, s, m or h");
    let text = text.strip_prefix('+').ok_or_else(wrong)?;
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        "h" => Ok(Duration::from_secs(number.saturating_mul(3_600))),
        _ => Err(wrong()),
    }
}

/// Rust's escapes of octets: `\r \n \t \0 \\ \" \' \xHH`; all else is itself.
pub(crate) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut octets = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            octets.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        octets.push(match chars.next() {
            Some('r') => b'\r',
            Some('n') => b'\n',
            Some('t') => b'\t',
            Some('0') => 0,
            Some('\\') => b'\\',
            Some('"') => b'"',
            Some('\'') => b'\'',
            Some('x') => {
                let hex: String = chars.by_ref().take(2).collect();
                u8::from_str_radix(&hex, 16).map_err(|_| format!("no octet: \\x{hex}"))?
            }
            other => {
                return Err(format!(
                    "no escape: \\{}",
                    other.map(String::from).unwrap_or_default()
                ));
            }
        });
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "@session imap\n";

    fn steps(text: &str) -> Vec<What> {
        let transcript = parse(&format!("{HEAD}{text}")).expect("transcript");
        transcript.steps.into_iter().map(|step| step.what).collect()
    }

    fn template(text: &str) -> Template {
        Template::parse(text).expect("template")
    }

    #[test]
    fn every_kind_of_line() {
        let text = "C: a b\nC:\nC|  x\nC~ a\\r\\x00\\\\\nC= y\nS= z\nS^ w\nS| v\nS: c\nS| d\nS|\nS? e\nS~ \\xff\nS-\nS#\nT: +28m\n\
                    !: disk full\nA: Call ${*}\nR: DiskFull\nS{\nS: f\nS| g\nS: h\nS}\n";
        let expected = |line, first, body: &[&str]| Expected {
            line,
            first: template(first),
            body: body.iter().map(|text| template(text)).collect(),
        };
        assert_eq!(
            steps(text),
            [
                What::Line(1, template("a b")),
                What::Line(1, template("")),
                What::Body(1, template(" x")),
                What::Octets(1, b"a\r\0\\".to_vec()),
                What::Text(1, template("y")),
                What::ExpectText(1, template("z")),
                What::Head(1, expected(8, "w", &["v"])),
                What::Expect(1, expected(10, "c", &["d", ""])),
                What::Maybe(1, template("e")),
                What::ExpectOctets(1, vec![0xff]),
                What::Silence(1),
                What::Closed(1),
                What::Time(Duration::from_secs(28 * 60)),
                What::Outside("disk full".into()),
                What::Action(1, template("Call ${*}"), Some("DiskFull".into())),
                What::AnyOrder(1, vec![expected(22, "f", &["g"]), expected(24, "h", &[])]),
            ]
        );
    }

    #[test]
    fn sides_change_where_we_are_the_client() {
        let text = "@session smtp-client\n@session 2 smtp\nS: 220 mx\nC: EHLO us\nC-\nC2: x\n";
        let steps = parse(text).expect("transcript").steps;
        let whats: Vec<What> = steps.into_iter().map(|step| step.what).collect();
        let expected = Expected {
            line: 4,
            first: template("EHLO us"),
            body: Vec::new(),
        };
        assert_eq!(
            whats,
            [
                What::Line(1, template("220 mx")),
                What::Expect(1, expected),
                What::Silence(1),
                What::Line(2, template("x")),
            ]
        );
    }

    #[test]
    fn headers() {
        let text = "# What.\n# More.\n@rfc 9051 6.3.13\n@rfc 2177\n@live\n@session imap user=mrc\n@session 2 smtp\n\
                    @given INBOX 3 messages uidnext=4\n\nC2: x\n";
        let transcript = parse(text).expect("transcript");
        assert_eq!(transcript.title, "What.");
        assert_eq!(transcript.rfcs, [(9051, Some("6.3.13".into())), (2177, None)]);
        assert!(transcript.live && transcript.sessions.len() == 2);
        assert_eq!(transcript.givens[0].words, ["INBOX", "3", "messages"]);
        assert_eq!(transcript.steps[0].what, What::Line(2, template("x")));
    }

    #[test]
    fn what_cannot_be_played_says_why() {
        let text = "# What.\n@recorded\n@unplayable \"x\" was (not there\n@session imap\n\nC: x\n";
        let transcript = parse(text).expect("transcript");
        assert_eq!(transcript.unplayable.as_deref(), Some("\"x\" was (not there"));
        assert!(parse("@session imap\nC: x\n@unplayable y\n").is_err());
    }

    #[test]
    fn mistakes_have_a_line() {
        for (line, text) in [
            (1, ""),
            (2, "@session imap\nX: y\n"),
            (2, "@session imap\nC2: y\n"),
            (2, "@session imap\nS| y\n"),
            (2, "@session imap\nR: Busy\n"),
            (2, "@session imap\nT: 28m\n"),
            (2, "@session imap\nT: +28d\n"),
            (2, "@session imap\nC~ \\q\n"),
            (2, "@session imap\nC~ \\xg0\n"),
            (2, "@session imap\n@session imap\n"),
            (3, "@session imap\nS{\nC: x\n"),
            (3, "@session imap\nS{\nS? x\n"),
            (2, "@session imap\nS}\n"),
            (2, "@session imap\nS{\n"),
            (3, "@session imap\nC: x\n@rfc 1\n"),
            (1, "@rfc x\n"),
            (1, "@foo\n"),
            (2, "@session imap\nS: ${\n"),
            (2, "@session imap\nS- x\n"),
        ] {
            let mistake = parse(text).expect_err(text);
            assert_eq!(mistake.line.max(1), line, "{text:?}: {mistake}");
        }
    }
}
