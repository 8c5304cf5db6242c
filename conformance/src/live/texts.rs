//! Texts for people: what a server says behind a status is its own (RFC 9051 §7.1, RFC 5321 §4.2).

use crate::template::Template;
use crate::transcript::{Expected, Transcript, What};

/// The transcript with a wildcard for each text for people: for servers that are none of ours. Statuses and response codes
/// stay.
#[must_use]
pub fn any_text(transcript: &Transcript) -> Transcript {
    let mut transcript = transcript.clone();
    let kinds: Vec<(usize, String)> = transcript
        .sessions
        .iter()
        .map(|(number, opening)| (*number, opening.kind.clone()))
        .collect();
    for step in &mut transcript.steps {
        let Some(on) = step.what.connection() else {
            continue;
        };
        let kind = kinds.iter().find(|(number, _)| *number == on);
        let kind = kind.map(|(_, kind)| kind.as_str()).unwrap_or_default();
        let change = |expected: &mut Expected| expected.first = loose(kind, &expected.first);
        match &mut step.what {
            What::Expect(_, expected) => change(expected),
            What::AnyOrder(_, lines) => lines.iter_mut().for_each(change),
            What::Maybe(_, template) => *template = loose(kind, template),
            _ => {}
        }
    }
    transcript
}

fn loose(kind: &str, template: &Template) -> Template {
    let text = template.text();
    let new = match kind {
        "imap" => imap(&text),
        "smtp" => smtp(&text),
        _ => None,
    };
    // What was a template with another end still is one.
    new.and_then(|new| Template::parse(&new).ok())
        .unwrap_or_else(|| template.clone())
}

/// `a OK [CODE] text`
fn imap(text: &str) -> Option<String> {
    let (tag, rest) = text.split_once(' ')?;
    if tag == "+" {
        return Some("+${*}".to_owned());
    }
    let (status, rest) = rest.split_once(' ')?;
    if !["OK", "NO", "BAD", "BYE", "PREAUTH"].contains(&status) {
        return None;
    }
    let code = match rest.starts_with('[') {
        true => rest.get(..=rest.find(']')?)?,
        false => "",
    };
    Some(format!("{tag} {status} {code}${{*}}"))
}

/// `250 2.1.0 text`; the lines of EHLO have no enhanced code, and are no text.
fn smtp(text: &str) -> Option<String> {
    let (code, rest) = text.split_at_checked(4)?;
    let digits = code.bytes().take(3).all(|digit| digit.is_ascii_digit());
    let enhanced = rest.split(' ').next()?;
    let parts: Vec<&str> = enhanced.split('.').collect();
    let is_code = parts.len() == 3 && parts.iter().all(|part| part.parse::<u16>().is_ok());
    if !digits || !(is_code || code.starts_with("354") || code.starts_with("220")) {
        return None;
    }
    Some(match is_code {
        true => format!("{code}{enhanced}${{*}}"),
        false => format!("{code}${{*}}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_texts_for_people_are_loose() {
        for (kind, line, wanted) in [
            ("imap", "a OK SELECT completed", "a OK ${*}"),
            (
                "imap",
                "a OK [READ-WRITE] SELECT completed",
                "a OK [READ-WRITE]${*}",
            ),
            (
                "imap",
                "* OK [UIDVALIDITY ${v:number}] UIDs",
                "* OK [UIDVALIDITY ${v:number}]${*}",
            ),
            ("imap", "+ idling", "+${*}"),
            ("imap", "* BYE Logging out", "* BYE ${*}"),
            ("imap", "* 1 FETCH (FLAGS ())", "* 1 FETCH (FLAGS ())"),
            ("imap", "* STATUS OK (MESSAGES 1)", "* STATUS OK (MESSAGES 1)"),
            ("smtp", "250 2.1.0 OK", "250 2.1.0${*}"),
            ("smtp", "250-SIZE 17", "250-SIZE 17"),
            ("smtp", "354 End data", "354 ${*}"),
            ("http", "HTTP/1.1 200 OK", "HTTP/1.1 200 OK"),
        ] {
            let template = Template::parse(line).expect("a template");
            assert_eq!(loose(kind, &template).text(), wanted);
        }
    }
}
