//! Rewrites the server's lines of a transcript to what the server says now, for review.

use rmail_core::time::Now;

use crate::replay::{Delivery, Failure, Player, Stage, first_line, matches};
use crate::transcript::{Expected, Transcript, What};

/// The text of the file with its `S:` and `S|` lines as the server has them. Lines that match stay as they are, with
/// their wildcards.
///
/// # Errors
/// The transcript cannot be read or played.
pub fn bless<S: Stage>(
    text: &str,
    mut stage: impl FnMut(&Transcript, Now) -> Result<S, String>,
) -> Result<String, Failure> {
    let transcript = Transcript::parse(text)?;
    let mut player = Player::open(&transcript, &mut stage, Delivery::Lines)?;
    let mut edits: Vec<Edit> = Vec::new();
    let mut at = 0;
    while at < transcript.steps.len() {
        let block = block_of(&transcript, at);
        let Some((on, until)) = block else {
            let step = &transcript.steps[at];
            player
                .step(&transcript, at)
                .map_err(|text| player.failure(step.line, text))?;
            at += 1;
            // What comes where the transcript has no server line is added there.
            if block_of(&transcript, at).is_none() && !is_client(&transcript, at) {
                for on in transcript.sessions.keys() {
                    let unseen = player.unseen(*on);
                    edits.extend(Edit::insert(step.line, *on, &unseen));
                    player.consume(*on, unseen.len());
                }
            }
            continue;
        };
        edits.extend(bless_block(&mut player, &transcript, on, at, until));
        at = until;
    }
    Ok(apply(text, &edits))
}

/// Lines of the file to take out, and what stands there instead.
#[derive(Debug)]
struct Edit {
    from: usize,
    until: usize,
    lines: Vec<String>,
}

impl Edit {
    /// What was sent, as lines behind a line of the file.
    fn insert(behind: usize, on: usize, octets: &[u8]) -> Option<Self> {
        (!octets.is_empty()).then(|| Self {
            from: behind + 1,
            until: behind + 1,
            lines: render(on, octets),
        })
    }
}

fn is_client(transcript: &Transcript, at: usize) -> bool {
    let what = transcript.steps.get(at).map(|step| &step.what);
    matches!(what, Some(What::Line(..) | What::Body(..) | What::Octets(..)))
}

/// Steps from here on that are plain server lines of one connection.
fn block_of(transcript: &Transcript, at: usize) -> Option<(usize, usize)> {
    let on = match transcript.steps.get(at)?.what {
        What::Expect(on, _) => on,
        _ => return None,
    };
    let len = transcript
        .steps
        .iter()
        .skip(at)
        .take_while(|step| matches!(step.what, What::Expect(other, _) if other == on))
        .count();
    Some((on, at + len))
}

fn bless_block<S: Stage>(
    player: &mut Player<S>,
    transcript: &Transcript,
    on: usize,
    at: usize,
    until: usize,
) -> Option<Edit> {
    // Ends the sending of client lines; a mismatch changes nothing.
    let steps = transcript.steps.get(at..until)?;
    let mut next = at;
    for step in steps {
        if player.step(transcript, next).is_err() {
            break;
        }
        next += 1;
        let _ = step;
    }
    let more = matches!(
        transcript.steps.get(until).map(|step| &step.what),
        Some(What::Maybe(..) | What::ExpectOctets(..) | What::AnyOrder(..))
    );
    if next == until && (more || player.unseen(on).is_empty()) {
        return None;
    }
    // The rest of the block is written anew; lines of it that match what comes keep their wildcards.
    let rest = transcript.steps.get(next..until).unwrap_or_default();
    let mut open: Vec<&Expected> = rest
        .iter()
        .filter_map(|step| match &step.what {
            What::Expect(_, expected) => Some(expected),
            _ => None,
        })
        .collect();
    let mut lines = Vec::new();
    let mut unseen = player.unseen(on);
    while !unseen.is_empty() {
        let known = open
            .iter()
            .position(|expected| matches(expected, &unseen, &player.bindings).is_ok());
        let kept = known.map(|at| open.remove(at)).and_then(|expected| {
            let (bound, used) = matches(expected, &unseen, &player.bindings).ok()?;
            player.bindings.extend(bound);
            Some((expected.line, 1 + expected.body.len(), used))
        });
        let used = match kept {
            Some((line, count, used)) => {
                lines.extend((line..line + count).map(|line| format!("={line}")));
                used
            }
            None => unit(&unseen),
        };
        if kept.is_none() {
            lines.extend(render(on, unseen.get(..used).unwrap_or_default()));
        }
        player.consume(on, used);
        unseen = player.unseen(on);
    }
    let first = match rest.first().or(steps.last()).map(|step| &step.what) {
        Some(What::Expect(_, expected)) if rest.is_empty() => expected.line + 1 + expected.body.len(),
        Some(What::Expect(_, expected)) => expected.line,
        _ => return None,
    };
    let last = match steps.last().map(|step| &step.what) {
        Some(What::Expect(_, expected)) => expected.line + 1 + expected.body.len(),
        _ => return None,
    };
    Some(Edit {
        from: first,
        until: last.max(first),
        lines,
    })
}

/// Octets of the first line and the literal that it announces.
fn unit(octets: &[u8]) -> usize {
    let Some((line, used)) = first_line(octets) else {
        return octets.len();
    };
    literal(line).map_or(used, |count| (used + count).min(octets.len()))
}

/// The size of a literal that a line announces at its end.
fn literal(line: &[u8]) -> Option<usize> {
    let open = line.iter().rposition(|octet| *octet == b'{')?;
    let number = line.get(open + 1..)?.strip_suffix(b"}")?;
    core::str::from_utf8(number).ok()?.parse().ok()
}

/// Octets as `S:`, `S|` and `S~` lines.
fn render(on: usize, mut octets: &[u8]) -> Vec<String> {
    let number = if on == 1 { String::new() } else { on.to_string() };
    let mut lines = Vec::new();
    let text = |line: &[u8]| {
        core::str::from_utf8(line)
            .ok()
            .filter(|text| !text.chars().any(char::is_control) && text.trim_end() == *text)
            .map(str::to_owned)
    };
    while !octets.is_empty() {
        let line = first_line(octets).and_then(|(line, used)| Some((text(line)?, used)));
        let Some((line, used)) = line else {
            let used = first_line(octets).map_or(octets.len(), |(_, used)| used);
            let (raw, rest) = octets.split_at(used);
            lines.push(format!("S{number}~ {}", raw.escape_ascii()));
            octets = rest;
            continue;
        };
        octets = octets.get(used..).unwrap_or_default();
        let body = literal(line.as_bytes()).and_then(|count| octets.get(..count));
        let body: Option<Vec<String>> = body.filter(|body| body.ends_with(b"\r\n")).and_then(|body| {
            let mut rest = body;
            let mut texts = Vec::new();
            while let Some((line, used)) = first_line(rest) {
                texts.push(text(line)?);
                rest = rest.get(used..)?;
            }
            Some(texts)
        });
        match body {
            Some(texts) => {
                let count = literal(line.as_bytes()).unwrap_or(0);
                let head = line.strip_suffix(&format!("{{{count}}}")).unwrap_or(&line);
                lines.push(format!("S{number}: {head}{{*}}"));
                lines.extend(
                    texts
                        .iter()
                        .map(|text| format!("S{number}| {text}").trim_end().to_owned()),
                );
                octets = octets.get(count..).unwrap_or_default();
            }
            None => lines.push(format!("S{number}: {line}").trim_end().to_owned()),
        }
    }
    lines
}

/// The file with the edits; `=N` stands for line N of the file as it was.
fn apply(text: &str, edits: &[Edit]) -> String {
    let old: Vec<&str> = text.lines().collect();
    let mut new: Vec<String> = Vec::new();
    let mut line = 1;
    for edit in edits {
        while line < edit.from {
            new.extend(old.get(line - 1).map(|text| (*text).to_owned()));
            line += 1;
        }
        for text in &edit.lines {
            let kept = text
                .strip_prefix('=')
                .and_then(|number| number.parse::<usize>().ok());
            match kept {
                Some(number) => new.extend(old.get(number - 1).map(|text| (*text).to_owned())),
                None => new.push(text.clone()),
            }
        }
        line = line.max(edit.until);
    }
    new.extend(old.iter().skip(line - 1).map(|text| (*text).to_owned()));
    new.join("\n") + "\n"
}
