//! The log: one line per event, to standard error (or a file that the service manager gives us there).
//!
//! A line is `time LEVEL target message key=value …`. Targets follow the modules (`smtp`, `imap`, `relay`, `store`, …).
//! Colours are used on a terminal only.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write};

use log::kv::{Error, Key, Value, VisitSource};
use rmail_core::config::LogLevel;

/// Starts logging. A second call changes nothing but the level.
pub fn start(level: LogLevel) {
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let started = fern::Dispatch::new()
        .format(move |out, message, record| {
            let line = line(record, message, colours);
            out.finish(format_args!("{line}"));
        })
        // Libraries say at DEBUG what only their authors want to read.
        .level_for("rustls", log::LevelFilter::Warn)
        .level_for("polling", log::LevelFilter::Warn)
        .level_for("async_io", log::LevelFilter::Warn)
        .chain(fern::Output::writer(
            Box::new(BestEffort::new(std::io::stderr())),
            "\n",
        ))
        .apply();
    if started.is_ok() {
        log::set_max_level(filter(level));
    }
    set_level(level);
}

/// Changes the level, at a reload.
pub fn set_level(level: LogLevel) {
    log::set_max_level(filter(level));
}

/// CRITICAL has no counterpart in `log`: it shows errors too.
fn filter(level: LogLevel) -> log::LevelFilter {
    match level {
        LogLevel::Debug => log::LevelFilter::Debug,
        LogLevel::Info => log::LevelFilter::Info,
        LogLevel::Warning => log::LevelFilter::Warn,
        LogLevel::Error | LogLevel::Critical => log::LevelFilter::Error,
    }
}

/// A log that cannot be written (its disk is full, the program that read it is gone) loses lines; it must not end what
/// wanted to say something. Each line is one write, so that lines of several processes do not mix.
struct BestEffort<W> {
    to: W,
    line: Vec<u8>,
}

impl<W> BestEffort<W> {
    fn new(to: W) -> Self {
        Self { to, line: Vec::new() }
    }
}

impl<W: Write> Write for BestEffort<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    /// Called at the end of each line.
    fn flush(&mut self) -> std::io::Result<()> {
        let line = std::mem::take(&mut self.line);
        let _ = self.to.write_all(&line);
        Ok(())
    }
}

fn line(record: &log::Record<'_>, message: &std::fmt::Arguments<'_>, colours: bool) -> String {
    let mut line = jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%S%.3fZ ")
        .to_string();
    let (name, colour) = match record.level() {
        log::Level::Error => ("ERROR", "\x1b[31m"),
        log::Level::Warn => ("WARNING", "\x1b[33m"),
        log::Level::Info => ("INFO", "\x1b[32m"),
        log::Level::Debug | log::Level::Trace => ("DEBUG", "\x1b[2m"),
    };
    let target = record.target();
    let target = target.strip_prefix("rmail_").unwrap_or(target);
    let written = if colours {
        write!(line, "{colour}{name}\x1b[0m {target} ")
    } else {
        write!(line, "{name} {target} ")
    };
    debug_assert!(written.is_ok(), "writing to a String never fails");
    push_printable(&mut line, &message.to_string());
    let mut pairs = Pairs(&mut line);
    if record.key_values().visit(&mut pairs).is_err() {
        line.push_str(" (fields lost)");
    }
    line
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

struct Pairs<'a>(&'a mut String);

impl<'kvs> VisitSource<'kvs> for Pairs<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let value = value.to_string();
        self.0.push(' ');
        self.0.push_str(key.as_str());
        self.0.push('=');
        if value.is_empty() || value.contains([' ', '"', '=']) {
            let mut quoted = String::new();
            write!(quoted, "{value:?}").map_err(|_| Error::msg("formatting failed"))?;
            self.0.push_str(&quoted);
        } else {
            push_printable(self.0, &value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_on_a_full_disk_loses_lines_and_nothing_else() {
        let full = std::fs::File::options().write(true).open("/dev/full");
        let mut log = BestEffort::new(full.expect("the device"));
        assert_eq!(log.write(b"line").expect("no error"), 4);
        log.flush().expect("no error");
    }

    #[test]
    fn one_event_is_one_line_with_fields() {
        let pairs = [("conn", "c1"), ("text", "a \"b\"\n")];
        let record = log::Record::builder()
            .level(log::Level::Warn)
            .target("smtp")
            .key_values(&pairs)
            .build();
        let line = line(&record, &format_args!("odd\r\ninput"), false);
        assert!(
            line.ends_with("WARNING smtp odd\\r\\ninput conn=c1 text=\"a \\\"b\\\"\\n\""),
            "{line}"
        );
        assert_eq!(line.lines().count(), 1);
    }
}
