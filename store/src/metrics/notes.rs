//! What machines note, as figures.

use rmail_core::note::Note;

use super::table::PROTOCOLS;
use super::{Family, Metrics};

impl Metrics {
    /// Counts what a server's session of a protocol (`smtp`, `lmtp`, `imap`, `http`) has noted.
    pub fn note(&self, protocol: &str, note: &Note) {
        let Some(index) = PROTOCOLS.iter().position(|known| *known == protocol) else {
            return;
        };
        match note {
            Note::Command(line) => self.command(protocol, line),
            Note::Response(line) => self.response(protocol, line),
            Note::LoggedIn { .. } => self.add(Family::Logins, &[index, 0], 1),
            Note::LoginFailed { .. } => self.add(Family::Logins, &[index, 1], 1),
            Note::Accepted { size, .. } => {
                self.add(Family::Accepted, &[index], 1);
                self.add(Family::AcceptedOctets, &[], *size);
            }
            // A request that is none; its answer is not noted otherwise.
            Note::Refused { reply, .. } if protocol == "http" => self.response(protocol, reply),
            Note::Refused { reply, .. } => self.count(Family::Rejections, reason(reply)),
            Note::Check { what, .. } => self.count(Family::Checks, what),
            Note::Tls { .. } | Note::Ended(_) | Note::Internal(_) => {}
        }
    }

    fn command(&self, protocol: &str, line: &str) {
        fn word(text: &str) -> &str {
            let end = text.find(|c: char| !c.is_ascii_alphanumeric());
            text.get(..end.unwrap_or(text.len())).unwrap_or_default()
        }
        match protocol {
            // `TAG Command { … }`
            "imap" => {
                let command = line.split_once(' ').map_or("", |(_, command)| command);
                self.count(Family::ImapCommands, word(command));
            }
            "http" => self.count(Family::HttpRequests, word(line)),
            _ => self.count(Family::SmtpCommands, word(line)),
        }
    }

    fn response(&self, protocol: &str, line: &str) {
        let family = match protocol {
            "imap" => {
                // `TAG OK …`; what goes on, and untagged lines, are none.
                let status = line.split(' ').nth(1).unwrap_or_default();
                if matches!(status, "OK" | "NO" | "BAD") {
                    self.count(Family::ImapReplies, status);
                }
                return;
            }
            "http" => Family::HttpResponses,
            _ => Family::SmtpReplies,
        };
        if let Some(class @ b'1'..=b'5') = line.bytes().next() {
            self.add(family, &[usize::from(class - b'1')], 1);
        }
    }

    /// Counts a look into a cache.
    pub(crate) fn cache(&self, cache: Cache, hit: bool) {
        self.add(Family::Caches, &[cache as usize, usize::from(!hit)], 1);
    }
}

/// What is kept in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cache {
    /// Passwords that were right.
    Password,
    /// What searches read of messages.
    Gist,
    /// Mailboxes that are open.
    Mailbox,
}

/// Why something was refused, by the reply's enhanced code (RFC 3463 §3).
fn reason(reply: &str) -> &'static str {
    let code = reply.split(' ').nth(1).unwrap_or_default();
    let (class, detail) = code.split_once('.').unwrap_or_default();
    match detail {
        "1.1" | "1.2" | "1.3" | "1.6" | "1.10" => "unknown_user",
        "2.1" => "disabled_user",
        "2.2" => "over_quota",
        "3.4" | "2.3" => "too_large",
        "3.1" | "3.0" | "3.2" | "4.5" => "storage",
        "7.0" | "7.8" | "7.9" | "7.11" => "authentication",
        // Temporary: greylisting, too many messages.
        _ if class == "4" && detail.starts_with("7.") => "rate",
        "5.3" => "rate",
        _ if detail.starts_with("7.") => "policy",
        _ if detail.starts_with("6.") => "content",
        _ if detail.starts_with("5.") => "protocol",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_come_from_enhanced_codes() {
        for (reply, expected) in [
            ("550 5.1.1 no such user", "unknown_user"),
            ("550 5.2.1 disabled", "disabled_user"),
            ("452 4.2.2 full", "over_quota"),
            ("550 5.7.1 Relay not permitted", "policy"),
            ("450 4.7.1 too many messages", "rate"),
            ("535 5.7.8 wrong", "authentication"),
            ("552 5.3.4 too large", "too_large"),
            ("452 4.3.1 disk full", "storage"),
            ("554 5.6.0 bare LF", "content"),
            ("503 5.5.1 bad sequence", "protocol"),
            ("421 goodbye", "other"),
            ("", "other"),
        ] {
            assert_eq!(reason(reply), expected, "{reply}");
            let known = super::super::place(Family::Rejections, 0, expected);
            assert_eq!(super::super::table::REASONS[known], expected);
        }
    }
}
