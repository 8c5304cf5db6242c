//! The log: one line per event, to standard error or to a file.
//!
//! A line is `time LEVEL target message`, where the message of an event is `event=… key=value …`; with `log.format` json it is
//! an object with the same fields ([`json`]). Targets follow the modules (`smtp`, `imap`, `relay`, `store::file`, …); each may
//! have a level of its own ([`levels`]), in the configuration or at run time. Nothing is formatted that is not shown. A line
//! that comes again and again is counted after a while (`repeats`). Colours are used on a terminal only.
//!
//! Ids join lines: `conn` names a connection, and everything that is said on it; the line `event=accepted` of a message has
//! `conn` and `id`, and whatever happens to the message from then on has the `id`: its delivery here, its way through the
//! queue, each attempt, and the notice to its sender.

mod fields;
pub mod json;
pub mod levels;
mod repeats;
mod sink;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use log::kv::{Error, Key, Value, VisitSource};
use rmail_core::config::{LogFormat, LogJournal, LogLevel};

use repeats::{REPEATS, Repeated};
use sink::SINK;

/// How to log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Of targets that have no level of their own.
    pub level: LogLevel,
    /// Of targets, and those below them.
    pub targets: BTreeMap<String, LogLevel>,
    /// How lines read.
    pub format: LogFormat,
    /// Where they go; none: standard error.
    pub file: Option<PathBuf>,
    /// When they begin with a priority.
    pub journal: LogJournal,
}

impl Settings {
    /// Text on standard error.
    #[must_use]
    pub const fn plain(level: LogLevel) -> Self {
        Self {
            level,
            targets: BTreeMap::new(),
            format: LogFormat::Text,
            file: None,
            journal: LogJournal::Auto,
        }
    }
}

/// Starts logging. A second call is [`apply`].
///
/// # Errors
/// The file cannot be opened: lines go where they went.
pub fn start(settings: &Settings) -> io::Result<()> {
    let started = fern::Dispatch::new()
        .level(log::LevelFilter::Trace)
        .filter(levels::admits)
        .chain(fern::Output::call(write))
        .apply();
    let opened = sink::set(settings);
    levels::configure(settings.level, &settings.targets);
    // Fails if there is another logger: then that one decides.
    drop(started);
    opened
}

/// What a reload changes. The file is opened anew, also if it is the same: it may have been renamed meanwhile.
///
/// # Errors
/// The file cannot be opened: lines go where they went, everything else holds.
pub fn apply(settings: &Settings) -> io::Result<()> {
    let opened = sink::set(settings);
    levels::configure(settings.level, &settings.targets);
    opened
}

/// Opens the file anew. Without one nothing is done.
///
/// # Errors
/// It cannot be opened: lines go where they went.
pub fn reopen() -> io::Result<()> {
    SINK.lock().reopen()
}

/// The file, if the log goes to one.
#[must_use]
pub fn file() -> Option<PathBuf> {
    SINK.lock().file().map(Path::to_path_buf)
}

/// Tells how often lines were left out that were the same as others. To be called now and then.
pub fn tell_left_out() {
    REPEATS.over(Instant::now()).into_iter().for_each(tell);
}

/// Writes a record that passed the filter.
fn write(record: &log::Record<'_>) {
    let target = levels::short(record.target());
    let mut text = String::with_capacity(160);
    // Writing to a String never fails; what is printed might say so.
    if text.write_fmt(*record.args()).is_err() {
        text.push_str(" (text lost)");
    }
    if record.key_values().visit(&mut Pairs(&mut text)).is_err() {
        text.push_str(" (fields lost)");
    }
    if repeats::can_repeat(record.level(), &text) {
        let (admitted, over) = REPEATS.admits(Instant::now(), record.level(), target, &text);
        if let Some(over) = over {
            tell(over);
        }
        if !admitted {
            return;
        }
    }
    SINK.lock().write(record.level(), target, &text);
}

fn tell(repeated: Repeated) {
    let Repeated {
        level,
        target,
        text,
        left_out,
    } = repeated;
    let text = format!("event=repeated left_out={left_out} line={text:?}");
    SINK.lock().write(level, &target, &text);
}

/// One event is one line, whatever a peer sent.
fn push_printable(line: &mut String, text: &str) {
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
}

/// Fields of a record as `key=value`.
struct Pairs<'a>(&'a mut String);

impl<'kvs> VisitSource<'kvs> for Pairs<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        fields::push(self.0, key.as_str(), &value.to_string());
        Ok(())
    }
}
