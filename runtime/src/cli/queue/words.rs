//! What the queue's entries say, in plain words.

use std::fmt;

use rmail_core::relay::entry::Entry;

/// A moment, seconds since 1970, as the log has it.
pub(in crate::cli) fn when(secs: u64) -> String {
    let time = jiff::Timestamp::from_second(i64::try_from(secs).unwrap_or(i64::MAX));
    time.map_or_else(
        |_| format!("second {secs}"),
        |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    )
}

/// So many seconds, roughly.
pub(super) fn span(secs: u64) -> String {
    match secs {
        0..120 => format!("{secs} s"),
        120..7_200 => format!("{} min", secs / 60),
        7_200..172_800 => format!("{} h", secs / 3_600),
        _ => format!("{} days", secs / 86_400),
    }
}

/// `in 5 min`, `5 min ago`.
pub(super) fn relative(secs: u64, now: u64) -> String {
    if secs > now {
        format!("in {}", span(secs - now))
    } else {
        format!("{} ago", span(now - secs))
    }
}

/// Octets, roughly.
pub(super) fn size(octets: u64) -> String {
    match octets {
        0..1_024 => format!("{octets} B"),
        1_024..1_048_576 => format!("{} KiB", octets.div_ceil(1_024)),
        _ => format!("{}.{} MiB", octets >> 20, (octets % (1 << 20)) * 10 / (1 << 20)),
    }
}

/// Text of others on a terminal: no control character gets there.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Escaped<'a>(pub(in crate::cli) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            c if c.is_control() => write!(f, "{}", c.escape_default()),
            // What turns the direction of writing round may hide a part of an address.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => write!(f, "{}", c.escape_unicode()),
            c => write!(f, "{c}"),
        })
    }
}

/// An envelope sender.
pub(super) fn sender(entry: &Entry) -> String {
    if entry.sender.is_empty() {
        "<>".to_owned()
    } else {
        Escaped(&entry.sender).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_read_well() {
        assert_eq!(when(1_763_809_503), "2025-11-22T11:05:03Z");
        assert_eq!(
            (span(59), span(600), span(7_300)),
            ("59 s".into(), "10 min".into(), "2 h".into())
        );
        assert_eq!(
            (relative(160, 100), relative(100, 160)),
            ("in 60 s".into(), "60 s ago".into())
        );
        assert_eq!(
            (size(5), size(10_240), size(5 << 19)),
            ("5 B".into(), "10 KiB".into(), "2.5 MiB".into())
        );
    }

    #[test]
    fn nothing_of_others_moves_the_terminal() {
        let shown = Escaped("a\u{1b}[2J\r\n\u{202e}b").to_string();
        assert_eq!(shown, "a\\u{1b}[2J\\r\\n\\u{202e}b");
    }
}
