//! When a certificate is ordered: in time before the old one ends, and after failures not too soon.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::random::Random;
use crate::time::Unix;

const DAY: u64 = 86_400;

/// Seconds after the first, second, … failure in a row. Let's Encrypt takes five failures of a name in an hour; the first
/// two retries mend what passes, the others wait for the operator.
const PAUSES: &[u64] = &[300, 900, 3_600, 3 * 3_600, 6 * 3_600, 12 * 3_600, DAY];
/// No authority is believed that wants us to wait longer: the certificate would end.
const LONGEST: u64 = 8 * DAY;

/// What was asked of whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ordered {
    /// The authority's directory.
    pub directory: String,
    /// The names, as they are configured.
    pub names: Vec<String>,
}

/// What is remembered from one order to the next. Times are seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Of the certificate that is there.
    pub has: Option<Ordered>,
    /// When it was given.
    pub issued: u64,
    /// When it ends.
    pub expires: u64,
    /// Orders that failed since the last that did not, and what they were for.
    pub failures: u32,
    /// What they were for.
    pub failed: Option<Ordered>,
    /// Not before this, after a failure.
    pub retry_at: u64,
    /// What was wrong.
    pub error: Option<String>,
    /// What can be done about it.
    pub advice: Option<String>,
    /// When the last order ended, well or not.
    pub tried: u64,
    /// So much earlier than need be, in thousandths of the certificate's life: servers of one authority that were set up
    /// together do not come together.
    pub early: u64,
}

impl State {
    /// When the next order is due. Now or earlier: at once.
    #[must_use]
    pub fn due(&self, wanted: &Ordered, renew_days: u64) -> Unix {
        let needed = match &self.has {
            Some(has) if has == wanted => self.renew_at(renew_days),
            _ => 0,
        };
        // Who has changed what is asked for need not wait for what went wrong before.
        let allowed = match &self.failed {
            Some(failed) if failed == wanted => self.retry_at,
            _ => 0,
        };
        Unix::from_secs(needed.max(allowed))
    }

    /// `renew_days` before the end, or (0) when a third of the life is left; a little earlier by [`State::early`]. A
    /// certificate that lives shorter than `renew_days` is renewed after half its life.
    fn renew_at(&self, renew_days: u64) -> u64 {
        let life = self.expires.saturating_sub(self.issued);
        let left = match renew_days {
            0 => life / 3,
            days => days.saturating_mul(DAY).min(life / 2),
        };
        let early = (life / 1_000).saturating_mul(self.early.min(100));
        self.expires.saturating_sub(left).saturating_sub(early)
    }

    /// A certificate is there, and holds until then.
    pub fn succeeded(&mut self, now: Unix, wanted: Ordered, expires: u64, random: &mut Random) {
        *self = Self {
            has: Some(wanted),
            issued: now.secs(),
            tried: now.secs(),
            expires,
            // Up to a thirtieth: a tenth of what is left of a certificate when it is renewed.
            early: random.below(33),
            ..Self::default()
        };
    }

    /// An order came to nothing. The pause grows with each; the authority may want a longer one.
    pub fn failed(
        &mut self,
        now: Unix,
        wanted: Ordered,
        error: String,
        advice: String,
        retry_after: Option<Duration>,
        random: &mut Random,
    ) {
        if self.failed.as_ref() != Some(&wanted) {
            self.failures = 0;
        }
        let step = usize::try_from(self.failures).unwrap_or(usize::MAX);
        let pause = PAUSES.get(step).or(PAUSES.last()).copied().unwrap_or(DAY);
        // Between nine tenths and eleven tenths.
        let pause = pause - pause / 10 + random.below(pause / 5 + 1);
        let asked = retry_after.map_or(0, |asked| asked.as_secs().min(LONGEST));
        self.failures = self.failures.saturating_add(1);
        self.failed = Some(wanted);
        self.retry_at = now.secs().saturating_add(pause.max(asked));
        self.error = Some(error);
        self.advice = Some(advice);
        self.tried = now.secs();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(name: &str) -> Ordered {
        Ordered {
            directory: "https://ca.test/dir".into(),
            names: vec![name.into()],
        }
    }

    fn random() -> Random {
        Random::from_seed([7; 32])
    }

    fn fail(state: &mut State, now: u64, name: &str, after: Option<u64>) -> u64 {
        let after = after.map(Duration::from_secs);
        state.failed(
            Unix::from_secs(now),
            wanted(name),
            "no".into(),
            "do".into(),
            after,
            &mut random(),
        );
        state.due(&wanted(name), 0).secs()
    }

    #[test]
    fn a_certificate_is_renewed_when_a_third_of_its_life_is_left() {
        let mut state = State::default();
        assert_eq!(state.due(&wanted("a"), 0), Unix::default(), "there is none");
        let day = |count: u64| count * DAY;
        state.succeeded(Unix::from_secs(day(100)), wanted("a"), day(190), &mut random());
        let due = state.due(&wanted("a"), 0).secs();
        assert!((day(157)..=day(160)).contains(&due), "{due}");
        let due = state.due(&wanted("a"), 10).secs();
        assert!((day(177)..=day(180)).contains(&due), "{due}");
        let due = state.due(&wanted("a"), 365).secs();
        assert!((day(142)..=day(145)).contains(&due), "{due}");
        assert_eq!(state.due(&wanted("b"), 0), Unix::default(), "another name");
    }

    #[test]
    fn pauses_grow_with_failures_and_start_anew_with_another_wish() {
        let mut state = State::default();
        let pauses = [300, 900, 3_600, 10_800, 21_600, 43_200, 86_400, 86_400];
        for pause in pauses {
            let due = fail(&mut state, 1_000_000, "a", None) - 1_000_000;
            assert!(
                (pause * 9 / 10..=pause * 11 / 10).contains(&due),
                "{pause}: {due}"
            );
        }
        assert_eq!(state.due(&wanted("b"), 0), Unix::default());
        assert!(fail(&mut state, 1_000_000, "b", None) < 1_000_400);
        assert_eq!(state.failures, 1);
    }

    #[test]
    fn an_authority_may_ask_for_a_longer_pause_within_reason() {
        let mut state = State::default();
        assert_eq!(fail(&mut state, 0, "a", Some(7_200)), 7_200);
        assert_eq!(fail(&mut state, 0, "a", Some(u64::MAX)), LONGEST);
    }

    #[test]
    fn a_failed_renewal_keeps_what_is_known_of_the_certificate() {
        let mut state = State::default();
        state.succeeded(Unix::from_secs(5), wanted("a"), 90 * DAY, &mut random());
        fail(&mut state, 80 * DAY, "a", None);
        assert_eq!((state.expires, state.has.clone()), (90 * DAY, Some(wanted("a"))));
        let text = serde_json::to_string(&state).expect("JSON");
        assert_eq!(serde_json::from_str::<State>(&text).expect("the same"), state);
        assert_eq!(
            serde_json::from_str::<State>("{\"later\":1}").expect("fields may be missing or new"),
            State::default()
        );
    }
}
