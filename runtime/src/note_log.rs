//! What machines note, as log lines: one line per event, `key=value`, an id per connection.

use std::fmt;
use std::net::IpAddr;
use std::time::Instant;

use log::Level;
use rmail_core::note::Note;

use crate::flood::Floods;

/// Which connection a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Log target: `smtp`, `imap`, `http`, `relay`.
    pub protocol: &'static str,
    /// Number of the connection in this process.
    pub connection: u64,
    /// The other side.
    pub peer: IpAddr,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "conn={} peer={}", self.connection, self.peer)
    }
}

/// Whether the lines that say this may come in any number: only those who are known can cause them, or few can.
fn is_bounded(note: &Note) -> bool {
    !matches!(
        note,
        Note::LoginFailed { .. } | Note::Refused { .. } | Note::Check { .. } | Note::Ended(_)
    )
}

/// Writes the line of a note. Commands and replies are DEBUG, what was accepted, refused or ended INFO, a failed login
/// WARNING, a fault of ours ERROR. Lines that strangers can cause are counted in `lines`.
pub fn write(label: &Label, lines: Option<&Floods>, note: &Note) {
    let level = level_of(note);
    if !log::log_enabled!(target: label.protocol, level) || !(is_bounded(note) || admits(label, lines)) {
        return;
    }
    match note {
        Note::Command(line) => line_of(label, level, format_args!("event=command line={line:?}")),
        Note::Response(line) => line_of(label, level, format_args!("event=response line={line:?}")),
        Note::LoggedIn { account, mechanism } => line_of(
            label,
            level,
            format_args!("event=login account={account} mechanism={mechanism}"),
        ),
        Note::LoginFailed {
            login,
            mechanism,
            reason,
        } => line_of(
            label,
            level,
            format_args!("event=login_failed login={login:?} mechanism={mechanism} reason={reason:?}"),
        ),
        Note::Tls { version, cipher } => line_of(
            label,
            level,
            format_args!("event=tls version={version} cipher={cipher}"),
        ),
        Note::Accepted {
            id,
            from,
            recipients,
            size,
        } => line_of(
            label,
            level,
            format_args!("event=accepted id={id} from={from:?} recipients={recipients} size={size}"),
        ),
        Note::Refused { what, reply } => line_of(
            label,
            level,
            format_args!("event=refused what={what:?} reply={reply:?}"),
        ),
        Note::Check { what, found } => line_of(
            label,
            level,
            format_args!("event=check what={what} found={found:?}"),
        ),
        Note::Ended(reason) => line_of(label, level, format_args!("event=ended reason={reason:?}")),
        Note::Internal(what) => line_of(label, level, format_args!("event=fault what={what:?}")),
    }
}

/// Whether one more line about the other side may be written: strangers can cause any number. Trusted ones have no
/// [`Floods`].
#[must_use]
pub fn admits(label: &Label, lines: Option<&Floods>) -> bool {
    lines.is_none_or(|lines| lines.admits(Instant::now(), label.peer))
}

/// Writes a line of the host's own about a connection.
pub fn line_of(label: &Label, level: Level, what: fmt::Arguments<'_>) {
    log::log!(target: label.protocol, level, "{label} {what}");
}

fn level_of(note: &Note) -> Level {
    match note {
        Note::Command(_) | Note::Response(_) | Note::Tls { .. } => Level::Debug,
        Note::LoggedIn { .. }
        | Note::Accepted { .. }
        | Note::Refused { .. }
        | Note::Check { .. }
        | Note::Ended(_) => Level::Info,
        Note::LoginFailed { .. } => Level::Warn,
        Note::Internal(_) => Level::Error,
    }
}
