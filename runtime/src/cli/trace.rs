//! `rmail trace ID`: what became of a message, from the history and from log files.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anstream::println;
use futures_lite::future::block_on;
use rmail_store::history;

use super::Failure;
use super::load::load_or_fail;
use super::queue::{Escaped, existing, snapshot, story};
use super::serve::log_file;
use crate::logging::json;

/// Seconds around the acceptance of a message in which lines of its connection are of it: the numbers of connections begin
/// anew when a server starts.
const AROUND: i64 = 3_600;
/// Octets of a line that are looked at.
const MAX_LINE: usize = 64 * 1024;

/// Options of `trace`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Every message has one id, from the reply to the client on: it is in the log, in the Received line, in `rmail queue list` and in \
notices. Told is what the history knows, of messages that were delivered here too (`delivery.history_days`), and the lines of \
the log that name the id, with those of the connection on which the message came. The log is `log.file` of the configuration and \
the file of the same name with .1 behind it, or what --log names.\n\n\
Exit codes: 0 something is known, 1 nothing is, 2 wrong usage.\n\n\
Examples:\n  rmail trace 19ac2f8d3b7e4c11\n  rmail trace 19ac2f8d3b7e4c11 --log /var/log/rmail.log\n  \
journalctl -u rmail -o cat | rmail trace 19ac2f8d3b7e4c11 --log -\n  rmail trace 19ac2f8d3b7e4c11 --json")]
pub(super) struct Options {
    /// The id.
    id: String,
    /// A log file to look into, or `-` for standard input; may be given several times.
    #[arg(long, value_name = "FILE")]
    log: Vec<PathBuf>,
    /// For programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Path, options: &Options) -> Result<(), Failure> {
    let id = options.id.as_str();
    if id.is_empty() || !id.bytes().all(|octet| octet.is_ascii_alphanumeric()) {
        return Err(Failure(format!("{id:?} is no id: those are letters and digits")));
    }
    let opened = existing(config)?;
    let records = block_on(history::find(&**opened.accounts().disk(), id))
        .map_err(|error| Failure(format!("cannot read the history: {error}")))?;
    let queue = snapshot(config, &opened, |other| other == id)?;
    let mut lines = Vec::new();
    for path in &logs(config, options)? {
        let found = match path.as_os_str() == "-" {
            true => lines_of(std::io::stdin().lock(), id).map(|(lines, _)| lines),
            false => of_file(path, id),
        };
        let found = found.map_err(|error| Failure(format!("cannot read {}: {error}", path.display())))?;
        lines.extend(found);
    }
    lines.sort_by(|a, b| stamp(a).cmp(stamp(b)));
    lines.dedup();
    let waits = !queue.found.is_empty();
    if records.is_empty() && lines.is_empty() && !waits {
        let hint = match options.log.is_empty() {
            true => "; --log FILE looks into a log too",
            false => "",
        };
        return Err(Failure(format!("nothing is known of a message {id}{hint}")));
    }
    if options.json {
        println!(
            "{}",
            serde_json::json!({ "id": id, "queued": waits, "history": records, "log": lines })
        );
        return Ok(());
    }
    records.iter().for_each(|record| println!("{}", story(record)));
    if waits {
        println!("It waits in the queue: `rmail queue show {id}` tells more.");
    }
    if !lines.is_empty() {
        println!("\nIn the log:");
        lines.iter().for_each(|line| println!("  {}", Escaped(line)));
    }
    Ok(())
}

/// The logs to look into: those that are named, or the file of the configuration and the one before it.
fn logs(config: &Path, options: &Options) -> Result<Vec<PathBuf>, Failure> {
    if !options.log.is_empty() {
        return Ok(options.log.clone());
    }
    let Some(file) = log_file(&load_or_fail(config)?) else {
        return Ok(Vec::new());
    };
    let mut before = file.clone().into_os_string();
    before.push(".1");
    let files = [PathBuf::from(before), file];
    Ok(files.into_iter().filter(|file| file.exists()).collect())
}

/// A connection on which a message came, and when, as the log has both.
type Came = (String, String);

/// The lines of a file that are of a message.
fn of_file(path: &Path, id: &str) -> std::io::Result<Vec<String>> {
    let open = || File::open(path).map(|file| BufReader::with_capacity(1 << 20, file));
    let (mut lines, came) = lines_of(open()?, id)?;
    if let Some((label, time)) = came {
        each_line(open()?, |line| {
            let near = seconds(line).zip(seconds(&time));
            let near = near.is_some_and(|(one, other)| one.abs_diff(other) <= AROUND.unsigned_abs());
            // Of other messages on the same connection nothing is wanted.
            let other = [" event=response ", " event=command ", " event=accepted "];
            let other = has_word(line, id) || other.iter().any(|event| line.contains(event));
            if near && line.contains(&label) && !other {
                lines.push(line.to_owned());
            }
        })?;
    }
    Ok(lines)
}

/// The lines that name the id, and on which connection the message came.
fn lines_of(log: impl BufRead, id: &str) -> std::io::Result<(Vec<String>, Option<Came>)> {
    let (mut lines, mut came) = (Vec::new(), None);
    each_line(log, |line| {
        if has_word(line, id) {
            if line.contains(" event=accepted ") {
                came = label(line).map(|label| (label, line.to_owned()));
            }
            lines.push(line.to_owned());
        }
    })?;
    Ok((lines, came))
}

/// Hands over each line without its end, as text; of a very long one the beginning.
fn each_line(mut log: impl BufRead, mut take: impl FnMut(&str)) -> std::io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut ended = false;
        loop {
            let piece = log.fill_buf()?;
            if piece.is_empty() {
                break;
            }
            let end = piece.iter().position(|octet| *octet == b'\n');
            let whole = piece.get(..end.unwrap_or(piece.len())).unwrap_or_default();
            let room = MAX_LINE.saturating_sub(line.len());
            line.extend_from_slice(whole.get(..room.min(whole.len())).unwrap_or_default());
            let used = whole.len() + usize::from(end.is_some());
            log.consume(used);
            if end.is_some() {
                ended = true;
                break;
            }
        }
        if line.is_empty() && !ended {
            return Ok(());
        }
        let line = String::from_utf8_lossy(&line);
        match line.starts_with('{').then(|| json::as_text(&line)).flatten() {
            Some(text) => take(&text),
            None => take(&line),
        }
    }
}

/// Whether the id is in the line, and not a part of a longer word.
fn has_word(line: &str, id: &str) -> bool {
    let is_part = |octet: Option<&u8>| octet.is_some_and(u8::is_ascii_alphanumeric);
    line.match_indices(id).any(|(at, _)| {
        let octets = line.as_bytes();
        let before = at.checked_sub(1).and_then(|at| octets.get(at));
        !is_part(before) && !is_part(octets.get(at + id.len()))
    })
}

/// ` conn=12 peer=192.0.2.1 `
fn label(line: &str) -> Option<String> {
    let begin = line.find(" conn=")?;
    let rest = line.get(begin..)?;
    let peer = rest.find(" peer=")? + 6;
    let end = rest.get(peer..)?.find(' ')? + peer;
    Some(format!("{} ", rest.get(..end)?))
}

/// When a line was written, as it says.
fn stamp(line: &str) -> &str {
    line.split(' ').next().unwrap_or_default()
}

fn seconds(line: &str) -> Option<i64> {
    let time: jiff::Timestamp = stamp(line).parse().ok()?;
    Some(time.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_json_are_found_too() {
        let log = r#"{"time":"2026-11-22T11:05:03.000Z","level":"INFO","target":"smtp","conn":7,"peer":"192.0.2.1","event":"accepted","id":"ab12"}"#;
        let (lines, came) = lines_of(log.as_bytes(), "ab12").expect("read");
        assert_eq!(
            lines,
            ["2026-11-22T11:05:03.000Z INFO smtp conn=7 peer=192.0.2.1 event=accepted id=ab12"]
        );
        assert_eq!(came.expect("a connection").0, " conn=7 peer=192.0.2.1 ");
    }

    const LOG: &str = "\
2026-11-22T09:00:00.000Z INFO smtp conn=7 peer=192.0.2.1 event=login account=other@x.y mechanism=PLAIN
2026-11-22T11:05:02.000Z INFO smtp conn=7 peer=192.0.2.1 event=login account=ann@x.y mechanism=PLAIN
2026-11-22T11:05:03.000Z INFO smtp conn=7 peer=192.0.2.1 event=accepted id=ab12 from=\"ann@x.y\" recipients=1 size=9
2026-11-22T11:05:03.000Z INFO smtp conn=7 peer=192.0.2.1 event=accepted id=ab123 from=\"ann@x.y\" recipients=1 size=9
2026-11-22T11:05:03.500Z INFO smtp conn=70 peer=192.0.2.1 event=login account=bob@x.y mechanism=PLAIN
2026-11-22T11:05:04.000Z INFO relay event=sent id=ab12 to=\"x@y.z\" remote=\"mx\" reply=\"250 2.0.0 ok\"";

    #[test]
    fn lines_of_a_message_and_of_its_connection_are_found() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("log");
        std::fs::write(&path, LOG).expect("write");
        let lines = of_file(&path, "ab12").expect("read");
        let all: Vec<&str> = LOG.lines().collect();
        assert_eq!(lines.len(), 3, "{lines:#?}");
        for n in [1, 2, 5] {
            assert!(lines.iter().any(|line| line == all[n]), "{}", all[n]);
        }
        assert!(!lines.iter().any(|line| line == all[4]), "another connection");
        assert!(!lines.iter().any(|line| line == all[0]), "hours before");
    }

    #[test]
    fn a_line_without_an_end_does_not_fill_the_memory() {
        let long = "x".repeat(3 * MAX_LINE) + " ab12\nab12";
        let (lines, came) = lines_of(long.as_bytes(), "ab12").expect("read");
        assert_eq!((lines, came), (vec!["ab12".to_owned()], None));
    }
}
