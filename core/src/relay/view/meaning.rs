//! What the replies of other servers mean, in plain words.

use crate::relay::{Enhanced, Report};

/// What a reason means, and whether anything is to be done; none: it speaks for itself.
#[must_use]
pub fn meaning(last: &str) -> Option<&'static str> {
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
#[must_use]
pub fn is_alarm(last: &str) -> bool {
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
