//! What became of a recipient in one attempt.

use core::fmt;

/// `class.subject.detail` (RFC 3463).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Enhanced(pub u8, pub u16, pub u16);

impl Enhanced {
    /// Reads the code at the front of a reply's text (RFC 2034 §4). Each number has at most three digits; `None` if
    /// there is no such code or its class is none of 2, 4, 5.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let word = text.split(' ').next()?;
        let mut parts = word.split('.');
        let mut number = || digits(parts.next()?);
        let (class, subject, detail) = (number()?, number()?, number()?);
        let class = u8::try_from(class)
            .ok()
            .filter(|class| matches!(class, 2 | 4 | 5))?;
        parts.next().is_none().then_some(Self(class, subject, detail))
    }

    /// The same subject and detail in another class.
    #[must_use]
    pub fn with_class(self, class: u8) -> Self {
        Self(class, self.1, self.2)
    }
}

/// One to three digits, nothing else.
fn digits(text: &str) -> Option<u16> {
    let good = (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    good.then(|| text.bytes().fold(0, |n, b| n * 10 + u16::from(b - b'0')))
}

impl fmt::Display for Enhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// What was said, by the peer or by us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The reply code; `None` when the reason is ours (no connection, time-out, DNS).
    pub code: Option<u16>,
    /// The enhanced code: the peer's, or the one that fits.
    pub enhanced: Enhanced,
    /// The peer gave no enhanced code: `enhanced` follows from its reply code.
    pub implied: bool,
    /// The reply's text without the codes, or our words. One line, printable ASCII, bounded.
    pub text: String,
    /// The host that said it.
    pub remote: Option<String>,
    /// An operator has to do something (our credentials are refused): for the log at ERROR.
    pub severe: bool,
    /// In [`Outcome::Delivered`]: the host tells the sender itself what was asked for (RFC 3461 §5.2.1).
    pub notifies: bool,
    /// What TLS the connection had, in words for operators; `None`: none, or there was no connection.
    pub tls: Option<String>,
}

impl Report {
    /// A reason of ours.
    #[must_use]
    pub fn ours(enhanced: Enhanced, text: impl Into<String>) -> Self {
        Self {
            code: None,
            enhanced,
            implied: false,
            text: text.into(),
            remote: None,
            severe: false,
            notifies: false,
            tls: None,
        }
    }

    /// Reads what [`Report`]'s `Display` writes; the remote host is not in it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (code, rest) = match text.split_once(' ') {
            Some((word, rest)) if word.len() == 3 && digits(word).is_some() => (digits(word), rest),
            _ => (None, text),
        };
        let enhanced = Enhanced::parse(rest)?;
        let text = rest.split_once(' ').map_or("", |(_, text)| text);
        Some(Self {
            code,
            ..Self::ours(enhanced, text)
        })
    }

    /// The reply as it was said, for who wants to know just that (RFC 3461 §9.2); our own reasons as `Display` has them.
    #[must_use]
    pub fn said(&self) -> String {
        match self.code {
            Some(code) if self.implied => format!("{code} {}", self.text),
            _ => self.to_string(),
        }
    }

    /// The same, said by or about a host.
    #[must_use]
    pub fn at(mut self, remote: &str) -> Self {
        self.remote = Some(remote.to_owned());
        self
    }

    /// The same, to be logged at ERROR.
    #[must_use]
    pub fn severe(mut self) -> Self {
        self.severe = true;
        self
    }
}

impl fmt::Display for Report {
    /// `550 5.1.1 No such user`, as a reply line has it; without a code `4.4.1 connection refused`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(code) = self.code {
            write!(f, "{code} ")?;
        }
        write!(f, "{} {}", self.enhanced, self.text)
    }
}

/// The outcome of one attempt for one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The next server has taken responsibility.
    Delivered(Report),
    /// Later.
    Temporary(Report),
    /// Never.
    Permanent(Report),
}

impl Outcome {
    /// Whether the attempt ended because of this server, and the other side has said nothing.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        match self {
            Self::Temporary(report) => report.code.is_none() && report.enhanced.1 == 3,
            Self::Delivered(_) | Self::Permanent(_) => false,
        }
    }

    /// What was said.
    #[must_use]
    pub fn report(&self) -> &Report {
        match self {
            Self::Delivered(report) | Self::Temporary(report) | Self::Permanent(report) => report,
        }
    }

    /// The same, to be added to.
    pub fn report_mut(&mut self) -> &mut Report {
        match self {
            Self::Delivered(report) | Self::Temporary(report) | Self::Permanent(report) => report,
        }
    }

    /// Whether this recipient needs no further attempt.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Temporary(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enhanced_codes_are_read_strictly() {
        assert_eq!(Enhanced::parse("5.1.1 No"), Some(Enhanced(5, 1, 1)));
        assert_eq!(Enhanced::parse("2.0.0"), Some(Enhanced(2, 0, 0)));
        assert_eq!(Enhanced::parse("4.7.500 x"), Some(Enhanced(4, 7, 500)));
        for bad in [
            "",
            "OK",
            "5.1",
            "5.1.1.1 x",
            "3.1.1",
            "5.+1.1",
            "5.1.1000",
            "5..1",
            "55.1.1",
            "5.1.1,x",
        ] {
            assert_eq!(Enhanced::parse(bad), None, "{bad:?}");
        }
        assert_eq!(Enhanced(5, 1, 10).with_class(4).to_string(), "4.1.10");
    }

    #[test]
    fn reports_read_like_replies() {
        let mut report = Report::ours(Enhanced(5, 1, 1), "No such user");
        assert_eq!(report.to_string(), "5.1.1 No such user");
        report.code = Some(550);
        assert_eq!(report.to_string(), "550 5.1.1 No such user");
        for report in [
            report,
            Report::ours(Enhanced(4, 4, 1), "450 is no code here"),
            Report::ours(Enhanced(5, 0, 0), ""),
        ] {
            assert_eq!(Report::parse(&report.to_string()), Some(report));
        }
        assert_eq!(Report::parse("in words"), None);
        assert_eq!(Report::parse(""), None);
    }
}
