//! IMAP URLs of messages and their parts (RFC 5092), as far as CATENATE takes them: relative ones, of this account on
//! this server (RFC 4469 §3).

use super::parse;
use crate::mailbox::{MailboxName, Uid, UidValidity};
use crate::mime::section::Spec;

/// A message, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageUrl {
    /// Where it is.
    pub mailbox: MailboxName,
    /// What UIDVALIDITY the mailbox must have.
    pub uid_validity: Option<UidValidity>,
    /// Which message.
    pub uid: Uid,
    /// What of it.
    pub section: Spec,
    /// First octet and how many at most.
    pub partial: Option<(u64, u64)>,
}

impl MessageUrl {
    /// Reads a URL. What it leaves out comes from the base: the root, or the selected mailbox. `None`: it is no such URL.
    ///
    /// ```text
    /// /INBOX;UIDVALIDITY=1/;UID=20/;SECTION=1.MIME/;PARTIAL=0.512
    /// INBOX/;UID=20
    /// ;UID=20
    /// ```
    #[must_use]
    pub fn parse(url: &[u8], selected: Option<&MailboxName>) -> Option<Self> {
        let url = core::str::from_utf8(url).ok()?;
        if !url.bytes().all(|octet| (0x21..=0x7e).contains(&octet)) || url.starts_with("//") {
            return None;
        }
        let (mailbox, uid_validity, rest) = match strip(url, ";UID=") {
            Some(rest) => (selected?.clone(), None, rest),
            None => {
                let at = find(url, "/;UID=")?;
                let (place, rest) = url.split_at_checked(at)?;
                let (mailbox, uid_validity) = mailbox(place, selected)?;
                (mailbox, uid_validity, strip(rest, "/;UID=")?)
            }
        };
        let (rest, partial) = match find(rest, "/;PARTIAL=") {
            Some(at) => {
                let (rest, partial) = rest.split_at_checked(at)?;
                (rest, Some(range(strip(partial, "/;PARTIAL=")?)?))
            }
            None => (rest, None),
        };
        let (uid, section) = match find(rest, "/;SECTION=") {
            Some(at) => {
                let (uid, section) = rest.split_at_checked(at)?;
                let section = decode(strip(section, "/;SECTION=")?)?;
                (
                    uid,
                    parse::section(section.as_bytes()).filter(|_| !section.is_empty())?,
                )
            }
            None => (rest, Spec::default()),
        };
        Some(Self {
            mailbox,
            uid_validity,
            uid: Uid(nz_number(uid)?),
            section,
            partial,
        })
    }
}

/// `["/"] enc-mailbox [";UIDVALIDITY=" nz-number]`
fn mailbox(place: &str, selected: Option<&MailboxName>) -> Option<(MailboxName, Option<UidValidity>)> {
    let (name, uid_validity) = match find(place, ";UIDVALIDITY=") {
        Some(at) => {
            let (name, validity) = place.split_at_checked(at)?;
            let validity = nz_number(strip(validity, ";UIDVALIDITY=")?)?;
            (name, Some(UidValidity(validity)))
        }
        None => (place, None),
    };
    if name.contains(';') || name.contains('?') {
        return None;
    }
    let full = match name.strip_prefix('/') {
        Some(absolute) => decode(absolute)?,
        // Beside the selected mailbox, as RFC 3986 §5.2.3 merges paths.
        None => {
            let base = selected.and_then(|base| base.as_str().rsplit_once('/'));
            let name = decode(name)?;
            base.map_or(name.clone(), |(above, _)| [above, "/", &name].concat())
        }
    };
    Some((MailboxName::new(&full).ok()?, uid_validity))
}

/// `number ["." nz-number]`
fn range(text: &str) -> Option<(u64, u64)> {
    match text.split_once('.') {
        Some((first, count)) => Some((number(first)?, number(count).filter(|count| *count > 0)?)),
        None => Some((number(text)?, u64::MAX)),
    }
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

fn nz_number(text: &str) -> Option<u32> {
    u32::try_from(number(text)?).ok().filter(|number| *number > 0)
}

/// Where a word stands, in any case.
fn find(text: &str, word: &str) -> Option<usize> {
    let mut windows = text.as_bytes().windows(word.len());
    windows.position(|window| window.eq_ignore_ascii_case(word.as_bytes()))
}

/// What follows a word at the front, in any case.
fn strip<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let (front, rest) = text.split_at_checked(word.len())?;
    front.eq_ignore_ascii_case(word).then_some(rest)
}

/// Percent escapes undone (RFC 3986 §2.1).
fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = if *first == b'%' {
            let [high, low, after @ ..] = after else {
                return None;
            };
            let digit = |octet: u8| char::from(octet).to_digit(16);
            out.push(u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?);
            after
        } else {
            out.push(*first);
            after
        };
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mime::section::Text;

    fn read(url: &str, selected: &str) -> Option<String> {
        let selected = MailboxName::new(selected).ok();
        let url = MessageUrl::parse(url.as_bytes(), selected.as_ref())?;
        let MessageUrl {
            mailbox,
            uid_validity,
            uid,
            section,
            partial,
        } = url;
        let validity = uid_validity.map_or(0, |validity| validity.0);
        let part = section.part;
        Some(format!(
            "{} {validity} {} {part:?} {:?} {partial:?}",
            mailbox.as_str(),
            uid.0,
            section.text
        ))
    }

    #[test]
    fn urls_of_rfc_4469() {
        for (url, want) in [
            (
                "/Drafts;UIDVALIDITY=385759045/;UID=20/;section=HEADER",
                "Drafts 385759045 20 [] Header None",
            ),
            (
                "/Drafts;UIDVALIDITY=385759045/;UID=20/;section=1.MIME",
                "Drafts 385759045 20 [1] Mime None",
            ),
            (
                "/Drafts;UIDVALIDITY=385759045/;UID=30",
                "Drafts 385759045 30 [] Whole None",
            ),
        ] {
            assert_eq!(read(url, "").as_deref(), Some(want), "{url}");
        }
    }

    #[test]
    fn relative_ones_go_by_the_selected_mailbox() {
        assert_eq!(
            read(";UID=3/;SECTION=1/;PARTIAL=4.5", "a/b").as_deref(),
            Some("a/b 0 3 [1] Whole Some((4, 5))")
        );
        assert_eq!(read("c/;UID=3", "a/b").as_deref(), Some("a/c 0 3 [] Whole None"));
        assert_eq!(read("c/;uid=3", "").as_deref(), Some("c 0 3 [] Whole None"));
        assert_eq!(
            read("/c%2Fd%20%C3%A9/;UID=3", "a/b").as_deref(),
            Some("c/d é 0 3 [] Whole None")
        );
        assert_eq!(
            read("/inbox/;UID=3/;PARTIAL=7", "").as_deref(),
            Some("INBOX 0 3 [] Whole Some((7, 18446744073709551615))")
        );
        let fields = MessageUrl::parse(b"/a/;UID=1/;SECTION=HEADER.FIELDS%20(To%20Cc)", None);
        assert_eq!(
            fields.map(|url| url.section.text),
            Some(Text::HeaderFields(vec!["To".into(), "Cc".into()]))
        );
    }

    #[test]
    fn others_are_refused() {
        for url in [
            "",
            "/",
            "/INBOX",
            "INBOX;UIDVALIDITY=1",
            "imap://server/INBOX/;UID=1",
            "//server/INBOX/;UID=1",
            "/INBOX/;UID=0",
            "/INBOX/;UID=+1",
            "/INBOX/;UID=4294967296",
            "/INBOX/;UID=x",
            "/INBOX/;UID=1/;SECTION=",
            "/INBOX/;UID=1/;SECTION=0",
            "/INBOX/;UID=1/;SECTION=1]",
            "/INBOX/;UID=1/;SECTION=FOO",
            "/INBOX/;UID=1/;PARTIAL=",
            "/INBOX/;UID=1/;PARTIAL=1.0",
            "/INBOX/;UID=1/;URLAUTH=anonymous",
            "/INBOX;UIDVALIDITY=0/;UID=1",
            "/%zz/;UID=1",
            "/%ff/;UID=1",
            "/%0/;UID=1",
            "/in box/;UID=1",
            "/%E4/;UID=1",
            ";UID=1",
            ";SECTION=1",
        ] {
            assert_eq!(read(url, ""), None, "{url}");
        }
    }
}
