//! Where lines go.
//!
//! A log that cannot be written (its disk is full, the program that read it is gone) loses lines; it must not end what wanted
//! to say something. Each line is one write, so that lines of several processes do not mix.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use log::Level;
use rmail_core::config::{LogFormat, LogJournal};
use rustix::fs::OFlags;

use super::{Settings, json, push_printable};

/// A new file is for the server's user and its group: it tells who wrote to whom.
const MODE: u32 = 0o640;

pub(super) static SINK: LazyLock<Sink> = LazyLock::new(Sink::default);

/// What writes lines, one at a time.
#[derive(Debug, Default)]
pub(super) struct Sink(Mutex<State>);

impl Sink {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// None: standard error.
    file: Option<(PathBuf, File)>,
    json: bool,
    colours: bool,
    priorities: bool,
    /// The second that `stamp` is of.
    second: i64,
    stamp: String,
    line: Vec<u8>,
}

/// What settings say of the place and the form of lines.
pub(super) fn set(settings: &Settings) -> io::Result<()> {
    let opened = settings.file.as_deref().map(open).transpose();
    let mut state = SINK.lock();
    state.json = settings.format == LogFormat::Json;
    let (file, failed) = match opened {
        Ok(file) => (file, None),
        // The old one stays.
        Err(error) => (state.file.take(), Some(error)),
    };
    let to_stderr = file.is_none();
    state.file = file;
    let stderr = io::stderr();
    state.colours = to_stderr && stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    state.priorities = to_stderr
        && match settings.journal {
            LogJournal::Always => true,
            LogJournal::Never => false,
            LogJournal::Auto => is_journal(),
        };
    failed.map_or(Ok(()), Err)
}

/// Whether standard error is the stream that the service manager connected to the journal (systemd.exec(5)).
fn is_journal() -> bool {
    let Some(stream) = std::env::var_os("JOURNAL_STREAM") else {
        return false;
    };
    let stat = rustix::fs::fstat(io::stderr());
    stat.is_ok_and(|stat| stream.to_str() == Some(&format!("{}:{}", stat.st_dev, stat.st_ino)))
}

fn open(path: &Path) -> io::Result<(PathBuf, File)> {
    let mut options = File::options();
    options.append(true).create(true).mode(MODE);
    // A pipe that nobody reads is an error, and one that is full loses lines: neither may hold up the server.
    let mut flags = OFlags::NONBLOCK.union(OFlags::NOCTTY);
    if rustix::process::geteuid().is_root() {
        // The directory may be another user's, who must not have root write elsewhere.
        flags |= OFlags::NOFOLLOW;
    }
    options.custom_flags(flags.bits().cast_signed());
    let file = options.open(path).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("log.file: cannot open {}: {error}", path.display()),
        )
    })?;
    Ok((path.to_path_buf(), file))
}

impl State {
    pub(super) fn file(&self) -> Option<&Path> {
        self.file.as_ref().map(|(path, _)| path.as_path())
    }

    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let Some((path, _)) = &self.file {
            self.file = Some(open(path)?);
        }
        Ok(())
    }

    /// Writes a line; what cannot be written is lost.
    pub(super) fn write(&mut self, level: Level, target: &str, text: &str) {
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        self.push(&mut line, level, target, text);
        line.push(b'\n');
        let _ = match &mut self.file {
            Some((_, file)) => file.write_all(&line),
            None => io::stderr().write_all(&line),
        };
        self.line = line;
    }

    fn push(&mut self, line: &mut Vec<u8>, level: Level, target: &str, text: &str) {
        let (name, colour, priority) = match level {
            Level::Error => ("ERROR", "\x1b[31m", b'3'),
            Level::Warn => ("WARNING", "\x1b[33m", b'4'),
            Level::Info => ("INFO", "\x1b[32m", b'6'),
            Level::Debug | Level::Trace => ("DEBUG", "\x1b[2m", b'7'),
        };
        if self.priorities {
            line.extend_from_slice(&[b'<', priority, b'>']);
        }
        let time = self.time();
        if self.json {
            return json::push(line, &time, name, target, text);
        }
        let mut words = match self.colours {
            true => format!("{time} {colour}{name}\x1b[0m {target} "),
            false => format!("{time} {name} {target} "),
        };
        push_printable(&mut words, text);
        line.extend_from_slice(words.as_bytes());
    }

    /// `2026-11-22T09:00:00.000Z`; most of it is that of the line before.
    fn time(&mut self) -> String {
        let now = jiff::Timestamp::now();
        if self.second != now.as_second() || self.stamp.is_empty() {
            self.second = now.as_second();
            self.stamp = now.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        }
        format!("{}.{:03}Z", self.stamp, now.subsec_millisecond())
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{FileType, Mode};

    use super::*;

    const NONBLOCK: i32 = OFlags::NONBLOCK.bits().cast_signed();

    fn written(state: &mut State, text: &str) -> String {
        let mut line = Vec::new();
        state.push(&mut line, Level::Warn, "smtp", text);
        String::from_utf8(line).expect("UTF-8")
    }

    #[test]
    fn a_log_on_a_full_disk_loses_lines_and_nothing_else() {
        let mut state = State {
            file: Some(open(Path::new("/dev/full")).expect("the device")),
            ..State::default()
        };
        state.write(Level::Info, "x", "lost");
        state.reopen().expect("opened again");
    }

    #[test]
    fn a_pipe_that_nobody_reads_holds_up_nobody() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::RWXU, 0).expect("a pipe");
        open(&path).expect_err("nobody reads");
        let reader = File::options()
            .read(true)
            .custom_flags(NONBLOCK)
            .open(&path)
            .expect("a reader");
        let mut state = State {
            file: Some(open(&path).expect("opened")),
            ..State::default()
        };
        // More than a pipe holds.
        (0..100_000).for_each(|_| state.write(Level::Info, "x", "a line"));
        drop(reader);
        state.write(Level::Info, "x", "lost");
    }

    #[test]
    fn one_event_is_one_line() {
        let mut state = State::default();
        let line = written(&mut state, "odd\r\ninput");
        assert!(line.ends_with("Z WARNING smtp odd\\r\\ninput"), "{line}");
        let time = line.split(' ').next().expect("a time");
        time.parse::<jiff::Timestamp>().expect("RFC 3339");
        assert_eq!(time.len(), "2026-11-22T09:00:00.000Z".len());
        state.priorities = true;
        assert!(written(&mut state, "x").starts_with("<4>20"));
        state.json = true;
        assert!(written(&mut state, "x").starts_with("<4>{\"time\":\"20"));
    }

    #[test]
    fn a_file_that_was_renamed_is_made_anew() {
        let dir = tempfile::tempdir().expect("directory");
        let (path, old) = (dir.path().join("log"), dir.path().join("log.1"));
        let mut state = State {
            file: Some(open(&path).expect("opened")),
            ..State::default()
        };
        state.write(Level::Info, "x", "one");
        std::fs::rename(&path, &old).expect("renamed");
        state.write(Level::Info, "x", "two");
        state.reopen().expect("opened again");
        state.write(Level::Info, "x", "three");
        let lines = |path| std::fs::read_to_string(path).expect("read").lines().count();
        assert_eq!((lines(&old), lines(&path)), (2, 1));
        let gone = dir.path().join("no/log");
        let error = open(&gone).expect_err("no such directory").to_string();
        assert!(error.starts_with("log.file: cannot open"), "{error}");
    }
}
