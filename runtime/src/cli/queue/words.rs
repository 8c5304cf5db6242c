//! What the queue's entries say, in plain words.

use std::fmt;

use rmail_core::relay::entry::{Entry, Recipient};
use rmail_core::relay::{Enhanced, Report};

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

/// What a recipient is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// An operator holds the message.
    Held,
    /// The sender holds it, until then.
    Asleep,
    /// Its time has come, or an attempt runs.
    Due,
    /// The next attempt has its time.
    Waiting,
    /// It failed; the sender is being told.
    Failed,
    /// It was delivered; the sender is being told.
    Done,
}

impl State {
    pub(super) fn of(entry: &Entry, recipient: &Recipient, delays: &[u64], now: u64) -> Self {
        let used_up = usize::try_from(recipient.attempts).is_ok_and(|attempts| attempts > delays.len());
        if recipient.done.is_some() {
            Self::Done
        } else if recipient.failed || used_up {
            Self::Failed
        } else if entry.held {
            Self::Held
        } else if entry.hold_until > now {
            Self::Asleep
        } else if recipient.next <= now {
            Self::Due
        } else {
            Self::Waiting
        }
    }

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Asleep => "held by its sender",
            Self::Due => "due",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
            Self::Done => "delivered",
        }
    }

    /// For programs.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Asleep => "held_by_sender",
            other => other.word(),
        }
    }

    /// Whether the recipient has not come to its end.
    pub(super) const fn is_open(self) -> bool {
        !matches!(self, Self::Failed | Self::Done)
    }
}

/// What a reason means, and whether anything is to be done; none: it speaks for itself.
pub(super) fn meaning(last: &str) -> Option<&'static str> {
    let Report { enhanced, code, .. } = Report::parse(last)?;
    if is_alarm(last) {
        return Some(
            "The login at the relay host was refused, or would not be safe: mend its username, password or tls in the \
             configuration, reload, then `rmail queue retry --all`.",
        );
    }
    let Enhanced(class, subject, detail) = enhanced;
    Some(match (class, subject, detail) {
        (_, 1, 1) => "Their server knows no such recipient.",
        (_, 1, 2) => "The domain does not exist, or takes no mail: perhaps a slip in the address.",
        (_, 1, 10) => "The domain says that it takes no mail at all.",
        (4, 2, 2) | (4, 2, _) => "The mailbox cannot take mail now, for it is full, say; it is tried again.",
        (5, 2, _) => "The mailbox does not take the message.",
        (4, 3, _) => "The other server, or this one, has a fault of its own that should pass.",
        (4, 4, 1) => {
            "No server of the domain could be reached. If many domains say so, look at this host's network: port 25 to the \
             outside is often closed by providers."
        }
        (4, 4, 2) => "The connection broke in the middle. It is tried again.",
        (4, 4, 3) => {
            "The name server gave no answer: see `relay.dns_servers`, and /etc/resolv.conf without it."
        }
        (_, 4, 6) => {
            "Its mail leads back to this server, which does not host the domain: add it to `domains`, or its MX is wrong."
        }
        (_, 4, 7) => "It could not be delivered in the time that `relay.retry_delays` gives.",
        (4, 7, 5 | 10 | 11) | (5, 7, 5 | 10 | 11 | 30) => "TLS as it is required did not come about.",
        (4, 7, _) if matches!(code, Some(450 | 451)) => {
            "They want it to come later. That is usual for the first message to them (greylisting), and passes by itself."
        }
        (4, 7, _) => {
            "They do not want it now: by a rule of theirs, such as a limit or the name of this host's address."
        }
        (5, 7, _) => {
            "They do not want it, by a rule of theirs: look at this host's reputation, the name of its address, SPF, DKIM."
        }
        (_, 5, 3) => "Too many recipients at once: the others are tried again.",
        _ => return None,
    })
}

/// Whether it waits for an operator: the login at the relay host was refused, or not tried because it would not be safe.
pub(super) fn is_alarm(last: &str) -> bool {
    let report = Report::parse(last);
    report.is_some_and(
        |Report {
             enhanced, code, text, ..
         }| match code {
            Some(code) => {
                matches!(code, 530 | 534 | 535 | 538) || (enhanced.1 == 7 && matches!(enhanced.2, 8 | 9))
            }
            None => text.starts_with("login not possible"),
        },
    )
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

    #[test]
    fn reasons_have_a_meaning_and_none_is_made_up() {
        let says = |last: &str, word: &str| {
            let text = meaning(last).unwrap_or_default();
            assert!(text.contains(word), "{last}: {text:?}");
        };
        says("4.4.1 connect to mx (192.0.2.1:25): refused", "port 25");
        says("535 5.7.8 no", "login");
        says("4.7.0 login not possible: no TLS", "tls");
        says("450 4.7.1 greylisted", "greylisting");
        says("550 5.1.1 no such user", "no such recipient");
        assert_eq!(meaning("250 2.0.0 ok"), None);
        assert_eq!(meaning("in words"), None);
        assert!(is_alarm("535 5.7.8 no") && is_alarm("4.7.0 login not possible: no TLS"));
        assert!(!is_alarm("550 5.7.1 no") && !is_alarm("in words"));
    }
}
