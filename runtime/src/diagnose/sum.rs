//! What comes of the same look at several things, such as the addresses of a service.

use rmail_core::diagnose::Outcome;

use super::{Checked, Trouble};

/// What is broken counts for most, and all of it is told; then what somebody has chosen; then what holds. It is skipped
/// only if nothing could be looked at.
#[derive(Debug, Default)]
pub(super) struct Sum {
    expected: Option<String>,
    came: Vec<String>,
    chosen: Option<String>,
    skipped: Option<String>,
    held: bool,
}

impl Sum {
    /// Adds what came of one look. `whose`: said before what came; empty where there is only one.
    pub(super) fn add(&mut self, whose: &str, looked: Checked<()>) {
        let told = |text: String| match whose {
            "" => text,
            // What tells of a connection names it already.
            _ if text.starts_with(whose) => text,
            _ => format!("{whose}: {text}"),
        };
        match looked {
            Ok(()) | Err(Trouble(Outcome::Holds)) => self.held = true,
            Err(Trouble(Outcome::Broken { expected, came })) => {
                self.expected.get_or_insert(expected);
                self.came.push(told(came));
            }
            Err(Trouble(Outcome::Chosen(what))) => {
                self.chosen.get_or_insert(told(what));
            }
            Err(Trouble(Outcome::Skipped(why))) => {
                self.skipped.get_or_insert(told(why));
            }
        }
    }

    pub(super) fn result(self) -> Checked<()> {
        if let Some(expected) = self.expected {
            return Err(Trouble::broken(expected, self.came.join("\n")));
        }
        match (self.chosen, self.skipped) {
            (Some(what), _) => Err(Trouble::chosen(what)),
            (None, Some(why)) if !self.held => Err(Trouble::skipped(why)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(looks: Vec<Checked<()>>) -> Option<Outcome> {
        let mut sum = Sum::default();
        for (number, looked) in looks.into_iter().enumerate() {
            sum.add(&format!("[::{number}]:25"), looked);
        }
        sum.result().err().map(|Trouble(outcome)| outcome)
    }

    #[test]
    fn the_worst_counts_and_says_whose_it_is() {
        let skipped = || Err(Trouble::skipped("no way"));
        let chosen = || Err(Trouble::chosen("as you like"));
        let broken = || Err(Trouble::broken("250", "550"));
        assert_eq!(sum(vec![]), None);
        assert_eq!(sum(vec![skipped(), Ok(())]), None, "one could be looked at");
        assert_eq!(
            sum(vec![skipped()]),
            Some(Outcome::Skipped("[::0]:25: no way".into()))
        );
        assert_eq!(
            sum(vec![Ok(()), chosen(), skipped()]),
            Some(Outcome::Chosen("[::1]:25: as you like".into()))
        );
        let twice = Err(Trouble::broken("250", "[::2]:25: refused"));
        assert_eq!(
            sum(vec![broken(), chosen(), twice]),
            Some(Outcome::Broken {
                expected: "250".into(),
                came: "[::0]:25: 550\n[::2]:25: refused".into()
            })
        );
    }
}
