//! What was found, and what it amounts to.

use core::time::Duration;

use serde_json::{Value, json};

use super::{Check, Id, Phase, Severity};

/// Characters of what a server said that are kept.
const MAX_SHOWN: usize = 400;

/// What came of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is as it should be.
    Holds,
    /// It is not.
    Broken {
        /// What should have been.
        expected: String,
        /// What was.
        came: String,
    },
    /// It is not, and that is somebody's choice.
    Chosen(String),
    /// It could not be looked at, or need not be: why.
    Skipped(String),
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// All is well.
    Passed,
    /// Not looked at.
    Skipped,
    /// Something to know, and nothing to do.
    Note,
    /// Something to see to.
    Warning,
    /// Something does not work, or is dangerous.
    Failure,
}

impl Status {
    /// In a word, for people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Skipped => "skipped",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Failure => "failure",
        }
    }
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static Check,
    /// How it ended.
    pub status: Status,
    /// What should have been; empty if all is well.
    pub expected: String,
    /// What was, why it was left out, or what there is to know.
    pub came: String,
    /// How long it took.
    pub took: Duration,
}

impl Finding {
    /// What an outcome means.
    #[must_use]
    pub fn new(id: Id, outcome: Outcome, took: Duration) -> Self {
        let check = id.check();
        let (status, expected, came) = match outcome {
            Outcome::Holds => (Status::Passed, String::new(), String::new()),
            Outcome::Chosen(what) => (Status::Note, String::new(), what),
            Outcome::Skipped(why) => (Status::Skipped, String::new(), why),
            Outcome::Broken { expected, came } => {
                let status = match check.severity {
                    Severity::Note => Status::Note,
                    Severity::Warning => Status::Warning,
                    Severity::Failure => Status::Failure,
                };
                (status, expected, came)
            }
        };
        Self {
            check,
            status,
            expected: printable(&expected),
            came: printable(&came),
            took,
        }
    }

    /// What to do about it; empty where there is nothing to do.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self.status {
            Status::Warning | Status::Failure => self.check.advice,
            Status::Passed | Status::Skipped | Status::Note => "",
        }
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "id": self.check.id, "phase": self.check.phase.number(), "status": self.status.name(),
            "title": self.check.title, "expected": self.expected, "came": self.came, "advice": self.advice(),
            "milliseconds": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
        })
    }
}

/// All that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order in which it was looked at.
    pub findings: Vec<Finding>,
    /// Phases that were left out.
    pub skipped: Vec<LeftOut>,
}

/// A phase that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Which.
    pub phase: Phase,
    /// Somebody asked for it by its number.
    pub asked: bool,
    /// Why.
    pub why: String,
}

impl Report {
    /// How many ended so.
    #[must_use]
    pub fn count(&self, status: Status) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.status == status)
            .count()
    }

    /// Notes that a phase is left out, and why. `asked`: somebody asked for it by its number.
    pub fn skip(&mut self, phase: Phase, asked: bool, why: &str) {
        let why = why.to_owned();
        self.skipped.push(LeftOut { phase, asked, why });
    }

    /// Notes phases of those that were asked for of which nothing was looked at, although they were begun.
    pub fn note_empty(&mut self, asked: &[Phase]) {
        for phase in asked.iter().copied().filter(|phase| *phase != Phase::Cleanup) {
            let known = self.skipped.iter().any(|left| left.phase == phase);
            if !known && self.worst(phase).is_none_or(|worst| worst == Status::Skipped) {
                let why = self.findings.iter().find(|finding| finding.check.phase == phase);
                let why = why.map_or("it was not come to", |finding| finding.came.as_str());
                let why = why.to_owned();
                self.skip(phase, true, &why);
            }
        }
    }

    /// Phases that somebody asked for by their numbers, and that were left out all the same.
    pub fn missed(&self) -> impl Iterator<Item = &LeftOut> {
        self.skipped.iter().filter(|left| left.asked)
    }

    /// Nothing failed. Warnings do not make a server unusable.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.count(Status::Failure) == 0
    }

    /// The worst that the checks of a phase came to; none if it had none.
    #[must_use]
    pub fn worst(&self, phase: Phase) -> Option<Status> {
        let of = |finding: &&Finding| finding.check.phase == phase;
        self.findings
            .iter()
            .filter(of)
            .map(|finding| finding.status)
            .max()
    }

    /// `98 passed, 3 notes, 2 skipped; 0 failures, 0 warnings`
    #[must_use]
    pub fn summary(&self) -> String {
        let counted = |status: Status, word: &str| match self.count(status) {
            1 => format!("1 {word}"),
            count => format!("{count} {word}s"),
        };
        format!(
            "{} passed, {}, {} skipped; {}, {}",
            self.count(Status::Passed),
            counted(Status::Note, "note"),
            self.count(Status::Skipped),
            counted(Status::Failure, "failure"),
            counted(Status::Warning, "warning"),
        )
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let findings: Vec<Value> = self.findings.iter().map(Finding::json).collect();
        let skipped = self.skipped.iter();
        let skipped: Vec<Value> = skipped
            .map(|left| {
                json!({"phase": left.phase.number(), "title": left.phase.title(), "asked": left.asked,
                    "reason": left.why})
            })
            .collect();
        json!({
            "failures": self.count(Status::Failure), "warnings": self.count(Status::Warning),
            "notes": self.count(Status::Note), "passed": self.count(Status::Passed),
            "skipped": self.count(Status::Skipped), "findings": findings, "skipped_phases": skipped,
        })
    }
}

/// One line without control characters, bounded: servers say what they like.
fn printable(text: &str) -> String {
    let mut shown = String::new();
    for c in text.trim().chars().take(MAX_SHOWN) {
        match c {
            '\r' => {}
            '\n' => shown.push_str(" / "),
            c if c.is_control() => shown.push('\u{fffd}'),
            c => shown.push(c),
        }
    }
    if text.trim().chars().nth(MAX_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(id: Id) -> Finding {
        let outcome = Outcome::Broken {
            expected: "250".into(),
            came: "550 no\r\n\u{1b}[2J".into(),
        };
        Finding::new(id, outcome, Duration::from_millis(7))
    }

    #[test]
    fn the_table_says_how_bad_it_is() {
        assert_eq!(broken(Id::SmtpOpenRelay).status, Status::Failure);
        assert_eq!(broken(Id::TlsExpiresSoon).status, Status::Warning);
        let chosen = Finding::new(
            Id::TlsTrusted,
            Outcome::Chosen("self-signed".into()),
            Duration::ZERO,
        );
        assert_eq!((chosen.status, chosen.advice()), (Status::Note, ""));
    }

    #[test]
    fn what_a_server_says_cannot_reach_the_terminal() {
        let finding = broken(Id::SmtpAuth);
        assert_eq!(finding.came, "550 no / \u{fffd}[2J");
        assert!(!finding.advice().is_empty());
        let long = printable(&"x".repeat(10_000));
        assert_eq!(long.chars().count(), MAX_SHOWN + 1);
    }

    #[test]
    fn phases_that_were_asked_for_and_left_out_are_missed() {
        let mut report = Report::default();
        report.skip(Phase::Users, false, "no mail_root");
        report.skip(Phase::Imap, true, "no account");
        let skipped = Outcome::Skipped("switched off".into());
        report
            .findings
            .push(Finding::new(Id::ApiHealth, skipped, Duration::ZERO));
        report
            .findings
            .push(Finding::new(Id::SmtpGreeting, Outcome::Holds, Duration::ZERO));
        report.note_empty(&[Phase::Smtp, Phase::Imap, Phase::Api, Phase::Cleanup]);
        let missed: Vec<_> = report
            .missed()
            .map(|left| (left.phase, left.why.as_str()))
            .collect();
        assert_eq!(
            missed,
            [(Phase::Imap, "no account"), (Phase::Api, "switched off")]
        );
        assert_eq!(report.json()["skipped_phases"][1]["asked"], true);
    }

    #[test]
    fn a_report_is_counted() {
        let mut report = Report::default();
        assert!(report.is_good());
        report
            .findings
            .push(Finding::new(Id::ConfigLoads, Outcome::Holds, Duration::ZERO));
        report.findings.push(broken(Id::TlsExpiresSoon));
        assert!(report.is_good(), "a warning is no failure");
        report.findings.push(broken(Id::SmtpAuth));
        assert!(!report.is_good());
        assert_eq!(
            report.summary(),
            "1 passed, 0 notes, 0 skipped; 1 failure, 1 warning"
        );
        assert_eq!(report.worst(Phase::Configuration), Some(Status::Warning));
        assert_eq!(report.worst(Phase::Api), None);
        let json = report.json();
        assert_eq!(
            (&json["failures"], &json["findings"][2]["id"]),
            (&json!(1), &json!("smtp.auth"))
        );
    }
}
