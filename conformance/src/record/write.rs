//! Pieces as lines of a transcript.

use super::pieces::What;
use super::varying::Names;
use crate::replay::first_line;

/// Appends the lines of a piece.
pub(super) fn piece(out: &mut String, on: usize, what: &What, names: &mut Names) {
    let number = match on {
        1 => String::new(),
        on => on.to_string(),
    };
    match what {
        What::Client { octets, within } => match octets.strip_suffix(b"\r\n").and_then(text) {
            Some(line) if *within => push(out, &format!("C{number}| {line}")),
            Some(line) => push(out, &format!("C{number}: {}", names.client(line))),
            None => push(out, &format!("C{number}~ {}", escape(octets))),
        },
        What::Masked(line) => push(out, &format!("C{number}: {line}")),
        What::Server { line, body } => server(out, &number, line, body.as_deref(), names),
        What::Ready { letter, lines } => lines
            .iter()
            .for_each(|line| push(out, &format!("{letter}{number}{line}"))),
        What::Rest(octets) => push(out, &format!("S{number}~ {}", escape(octets))),
        What::Eof => push(out, &format!("!: eof {on}")),
        What::Shutdown => push(out, "!: shutdown"),
        What::Closed => push(out, &format!("S{number}#")),
    }
}

fn push(out: &mut String, line: &str) {
    out.push_str(line.trim_end());
    out.push('\n');
}

fn server(out: &mut String, number: &str, line: &[u8], body: Option<&[u8]>, names: &mut Names) {
    let Some(first) = text(line) else {
        let mut all = [line, b"\r\n"].concat();
        all.extend_from_slice(body.unwrap_or_default());
        return push(out, &format!("S{number}~ {}", escape(&all)));
    };
    let Some(body) = body else {
        return push(out, &format!("S{number}: {}", names.server(first)));
    };
    let head = first.rsplit_once('{').map(|(head, _)| head);
    if let (Some(head), Some(lines)) = (head, lines(body)) {
        push(out, &format!("S{number}: {}{{*}}", names.server(head)));
        let mut trace = false;
        for line in lines {
            trace = line.starts_with("Received:") || (trace && line.starts_with([' ', '\t']));
            let line = if trace { "${*}" } else { line };
            push(out, &format!("S{number}| {line}"));
        }
        return;
    }
    push(out, &format!("S{number}: {}", names.server(first)));
    if !body.is_empty() {
        push(out, &format!("S{number}~ {}", escape(body)));
    }
}

/// The lines of a literal that consists of such that can stand in a file.
pub(super) fn lines(mut body: &[u8]) -> Option<Vec<&str>> {
    let mut lines = Vec::new();
    while !body.is_empty() {
        let (line, used) = first_line(body)?;
        lines.push(text(line)?);
        body = body.get(used..)?;
    }
    (!lines.is_empty()).then_some(lines)
}

/// A line that can stand in a file.
pub(super) fn text(line: &[u8]) -> Option<&str> {
    let text = core::str::from_utf8(line).ok()?;
    let wild = ["${", "{*}", "{*+}", "{#}"]
        .iter()
        .any(|wildcard| text.contains(wildcard));
    let plain = !wild && !text.chars().any(|c| c.is_control() && c != '\t') && text.trim_end() == text;
    plain.then_some(text)
}

/// Octets in escapes; a space at the end too, which a file would lose.
pub(super) fn escape(octets: &[u8]) -> String {
    let text = octets.escape_ascii().to_string();
    match text.strip_suffix(' ') {
        Some(head) => format!("{head}\\x20"),
        None => text,
    }
}
