//! Rewrites the server's lines of a transcript to what the server says now, for review.

use rmail_core::time::Now;

use crate::replay::{Delivery, Failure, Player, Stage, first_line, matches};
use crate::transcript::{Expected, Opening, Transcript, What};

/// The text of the file with its `S:` and `S|` lines as the server has them. Lines that match stay as they are, with
/// their wildcards. Where `S?`, `S~`, `S{`, `S-`, `S#` or `A:` do not hold, that is left for people.
///
/// # Errors
/// The transcript cannot be read, or cannot be played up to its end.
pub fn bless<S: Stage>(
    text: &str,
    mut stage: impl FnMut(&Transcript, Now) -> Result<S, String>,
) -> Result<String, Failure> {
    let transcript = Transcript::parse(text)?;
    let mut player = Player::open(&transcript, &mut stage, Delivery::Lines)?;
    let mut edits: Vec<Edit> = Vec::new();
    let mut at = 0;
    // Where what the server says unasked for is put in: behind the last step's lines.
    let mut behind = last_header_line(text);
    while let Some(step) = transcript.steps.get(at) {
        let failed = |text| Failure::Step {
            line: step.line,
            delivery: Delivery::Lines,
            text,
        };
        let block = block_at(&transcript, at);
        if let Some((on, first)) = block.first() {
            player.connect(&transcript, *on).map_err(failed)?;
            player.end_of_sending().map_err(failed)?;
            let more = is_server(&transcript, at + block.len());
            let said = prefix(&transcript, *on);
            edits.extend(bless_block(&mut player, (*on, &said), &block, more));
            let last = block.last().map_or(*first, |(_, last)| last);
            behind = last.line + last.body.len() + 1;
            at += block.len();
            continue;
        }
        let begins = is_client(&transcript, at) && !is_client(&transcript, at.wrapping_sub(1));
        if begins || matches!(step.what, What::Time(_) | What::Outside(_)) {
            player.end_of_sending().map_err(failed)?;
            edits.extend(unasked(&mut player, &transcript, behind));
        }
        player.step(&transcript, at).map_err(failed)?;
        behind = step.line + lines_within(&step.what) + 1;
        at += 1;
    }
    let ended = player.end_of_sending();
    ended.map_err(|text| Failure::Step {
        line: behind,
        delivery: Delivery::Lines,
        text,
    })?;
    edits.extend(unasked(&mut player, &transcript, behind));
    Ok(apply(text, &edits))
}

/// Lines `from..until` of the file, and what stands there instead.
#[derive(Debug)]
struct Edit {
    from: usize,
    until: usize,
    lines: Vec<Line>,
}

#[derive(Debug)]
enum Line {
    /// A line of the file as it was.
    Old(usize),
    New(String),
}

/// How lines of the machine begin: letter and connection.
fn prefix(transcript: &Transcript, on: usize) -> String {
    let client = transcript.sessions.get(&on).is_some_and(Opening::is_client);
    let letter = if client { "C" } else { "S" };
    match on {
        1 => letter.to_owned(),
        on => format!("{letter}{on}"),
    }
}

fn last_header_line(text: &str) -> usize {
    let header = |line: &&str| line.is_empty() || line.starts_with(['#', '@']);
    text.lines().take_while(header).count() + 1
}

fn is_client(transcript: &Transcript, at: usize) -> bool {
    let what = transcript.steps.get(at).map(|step| &step.what);
    matches!(
        what,
        Some(What::Line(..) | What::Body(..) | What::Octets(..) | What::Text(..))
    )
}

/// Server lines that are not plain.
fn is_server(transcript: &Transcript, at: usize) -> bool {
    let what = transcript.steps.get(at).map(|step| &step.what);
    matches!(
        what,
        Some(
            What::Maybe(..)
                | What::Head(..)
                | What::ExpectOctets(..)
                | What::ExpectText(..)
                | What::AnyOrder(..)
                | What::Expect(..)
        )
    )
}

/// Lines of the file that belong to a step, beside its own.
fn lines_within(what: &What) -> usize {
    match what {
        What::AnyOrder(_, lines) => lines.iter().map(|line| 1 + line.body.len()).sum::<usize>() + 1,
        What::Action(_, _, Some(_)) => 1,
        What::Head(_, head) => head.body.len(),
        _ => 0,
    }
}

/// Plain server lines of one connection from here on.
fn block_at(transcript: &Transcript, at: usize) -> Vec<(usize, &Expected)> {
    let mut block: Vec<(usize, &Expected)> = Vec::new();
    for step in transcript.steps.iter().skip(at) {
        match &step.what {
            What::Expect(on, expected) if block.first().is_none_or(|(first, _)| first == on) => {
                block.push((*on, expected));
            }
            _ => break,
        }
    }
    block
}

/// Compares a block with what was sent. `more`: other server lines follow, so that not all of it belongs here.
fn bless_block<S: Stage>(
    player: &mut Player<S>,
    (on, prefix): (usize, &str),
    block: &[(usize, &Expected)],
    more: bool,
) -> Option<Edit> {
    let mut open = block.iter().map(|(_, expected)| *expected).collect::<Vec<_>>();
    let mut lines = Vec::new();
    let mut changed = false;
    loop {
        let unseen = player.unseen(on);
        if unseen.is_empty() || (more && open.is_empty()) {
            break;
        }
        let found = open
            .iter()
            .enumerate()
            .find_map(|(at, expected)| Some((at, matches(expected, &unseen, &player.bindings).ok()?)));
        let used = match found {
            Some((at, (bound, used))) => {
                changed |= at > 0;
                let kept = open.drain(..=at).next_back();
                lines.extend(
                    kept.into_iter()
                        .flat_map(|line| line.line..=line.line + line.body.len())
                        .map(Line::Old),
                );
                player.bindings.extend(bound);
                used
            }
            None => {
                changed = true;
                let used = unit(&unseen);
                let all = used == unseen.len();
                lines.extend(render(prefix, unseen.get(..used).unwrap_or_default(), all));
                used
            }
        };
        player.consume(on, used);
    }
    let (first, last) = (block.first()?.1, block.last()?.1);
    (changed || !open.is_empty()).then_some(Edit {
        from: first.line,
        until: last.line + last.body.len() + 1,
        lines,
    })
}

/// What was sent, and stands nowhere.
fn unasked<S: Stage>(player: &mut Player<S>, transcript: &Transcript, behind: usize) -> Vec<Edit> {
    let mut edits = Vec::new();
    for on in transcript.sessions.keys() {
        let unseen = player.unseen(*on);
        player.consume(*on, unseen.len());
        if !unseen.is_empty() {
            edits.push(Edit {
                from: behind,
                until: behind,
                lines: render(&prefix(transcript, *on), &unseen, true),
            });
        }
    }
    edits
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

/// Octets as `S:`, `S|`, `S=` and `S~` lines. `all`: nothing follows them.
fn render(prefix: &str, mut octets: &[u8], all: bool) -> Vec<Line> {
    let mut lines = Vec::new();
    while !octets.is_empty() {
        let end = first_line(octets).map_or(octets.len(), |(_, used)| used);
        let (raw, rest) = octets.split_at(end);
        octets = rest;
        if all
            && octets.is_empty()
            && let Some(text) = last_text(raw)
        {
            lines.push(format!("{prefix}= {text}"));
            continue;
        }
        let Some(line) = text_of(raw) else {
            lines.push(format!("{prefix}~ {}", raw.escape_ascii()));
            continue;
        };
        let body = literal(line.as_bytes()).and_then(|count| Some((count, body_of(octets.get(..count)?)?)));
        let Some((count, body)) = body else {
            lines.push(format!("{prefix}: {line}"));
            continue;
        };
        octets = octets.get(count..).unwrap_or_default();
        let head = line.strip_suffix(&format!("{{{count}}}")).unwrap_or(line);
        lines.push(format!("{prefix}: {head}{{*}}"));
        lines.extend(body.iter().map(|text| format!("{prefix}| {text}")));
    }
    lines
        .into_iter()
        .map(|line| Line::New(line.trim_end().to_owned()))
        .collect()
}

/// A line that can stand in a file.
fn text_of(line: &[u8]) -> Option<&str> {
    let text = core::str::from_utf8(line.strip_suffix(b"\r\n")?).ok()?;
    let plain = !text.chars().any(char::is_control) && text.trim_end() == text && !text.contains("${");
    plain.then_some(text)
}

/// Text without a line end that can stand in a file.
fn last_text(octets: &[u8]) -> Option<&str> {
    let text = core::str::from_utf8(octets).ok()?;
    let plain = !text.chars().any(char::is_control) && text.trim() == text && !text.contains("${");
    plain.then_some(text)
}

/// The lines of a literal that consists of such lines.
fn body_of(mut octets: &[u8]) -> Option<Vec<&str>> {
    let mut lines = Vec::new();
    while !octets.is_empty() {
        let (_, used) = first_line(octets)?;
        let (line, rest) = octets.split_at_checked(used)?;
        lines.push(text_of(line)?);
        octets = rest;
    }
    (!lines.is_empty()).then_some(lines)
}

/// The file with the edits, which are in order.
fn apply(text: &str, edits: &[Edit]) -> String {
    let old: Vec<&str> = text.lines().collect();
    let mut new: Vec<&str> = Vec::new();
    let mut next = 1;
    for edit in edits {
        new.extend(old.iter().take(edit.from - 1).skip(next - 1));
        new.extend(edit.lines.iter().filter_map(|line| match line {
            Line::Old(number) => old.get(number - 1).copied(),
            Line::New(text) => Some(text.as_str()),
        }));
        next = next.max(edit.until);
    }
    new.extend(old.iter().skip(next - 1));
    new.join("\n") + "\n"
}
