//! What was logged of an address a short time ago: strangers may ask for the same one as often as they like, and one line
//! says as much as a thousand.

use std::sync::Mutex;

use rmail_core::time::Unix;

use super::lock;
use crate::recent_map::RecentMap;

/// Addresses that are remembered; of more, the one asked for longest ago is news again.
const MOST: usize = 1_024;

/// For so long the same is no news, seconds.
const AGAIN: u64 = 3_600;

/// When something was logged, by what it was.
#[derive(Debug)]
pub(super) struct Told(Mutex<RecentMap<String, u64>>);

impl Default for Told {
    fn default() -> Self {
        Self(Mutex::new(RecentMap::new(MOST)))
    }
}

impl Told {
    /// Whether this was not logged within the last hour; from now on it was.
    pub(super) fn is_news(&self, now: Unix, what: String) -> bool {
        let mut told = lock(&self.0);
        let before = told.get(&what).copied();
        let is_news = before.is_none_or(|before| now.secs().abs_diff(before) >= AGAIN);
        if is_news {
            told.put(what, now.secs());
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_news_once_an_hour_and_memory_is_bounded() {
        let told = Told::default();
        let is_news = |at, what: &str| told.is_news(Unix::from_secs(at), what.to_owned());
        assert!(is_news(10_000, "a") && is_news(10_001, "b"));
        assert!(!is_news(10_002, "a") && !is_news(13_599, "a"));
        assert!(is_news(13_600, "a") && !is_news(13_601, "a"));
        assert!(is_news(5_000, "a"), "a clock that went back");
        for n in 0..MOST {
            assert!(is_news(5_000, &n.to_string()));
        }
        assert!(is_news(5_000, "a"), "forgotten for newer ones");
        assert!(!is_news(5_000, "1023"));
    }
}
