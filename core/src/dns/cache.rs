//! Answers that still hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::message::{Answer, DnsError, Question};
use crate::time::Mono;

/// At least so long, whatever the TTL says: a queue that retries in a minute need not ask again.
const MIN_TTL: Duration = Duration::from_secs(60);

/// At most so long (RFC 8767 advises a bound of days; mail can wait for a day).
const MAX_TTL: Duration = Duration::from_secs(24 * 3600);

/// "There is none" at most so long (RFC 2308 §5 advises one to three hours).
const MAX_NEGATIVE_TTL: Duration = Duration::from_secs(3 * 3600);

/// What is kept: an answer, or that the name does not exist. Failures of servers are not kept.
type Known = Result<Answer, DnsError>;

/// A bounded map that forgets what expires first.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    known: BTreeMap<Question, (Mono, Known)>,
    expiry: BTreeSet<(Mono, Question)>,
    capacity: usize,
}

impl Cache {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            known: BTreeMap::new(),
            expiry: BTreeSet::new(),
            capacity,
        }
    }

    /// What holds now.
    pub(super) fn get(&self, now: Mono, question: &Question) -> Option<&Known> {
        let (expires, known) = self.known.get(question)?;
        (*expires > now).then_some(known)
    }

    /// Keeps an answer or NXDOMAIN for `ttl` within the bounds. Other errors are not kept.
    pub(super) fn put(&mut self, now: Mono, question: Question, known: Known, ttl: Duration) {
        let most = match &known {
            Ok(answer) if !answer.records.is_empty() => MAX_TTL,
            Ok(_) | Err(DnsError::NoSuchName) => MAX_NEGATIVE_TTL,
            Err(_) => return,
        };
        let expires = now + ttl.clamp(MIN_TTL, most);
        if let Some((old, _)) = self.known.insert(question.clone(), (expires, known)) {
            self.expiry.remove(&(old, question.clone()));
        }
        self.expiry.insert((expires, question));
        while self.known.len() > self.capacity {
            let Some((_, first)) = self.expiry.pop_first() else {
                break;
            };
            self.known.remove(&first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::Kind;
    use super::super::name::Name;
    use super::*;

    fn question(name: &str) -> Question {
        Question {
            name: Name::parse(name).expect("name"),
            kind: Kind::A,
        }
    }

    fn at(secs: u64) -> Mono {
        Mono(Duration::from_secs(secs))
    }

    #[test]
    fn kept_for_a_minute_at_least_and_bounded() {
        let mut cache = Cache::new(2);
        cache.put(at(0), question("a"), Ok(Answer::default()), Duration::ZERO);
        assert_eq!(cache.get(at(59), &question("a")), Some(&Ok(Answer::default())));
        assert_eq!(cache.get(at(60), &question("a")), None);
        let year = Duration::from_secs(365 * 86400);
        cache.put(at(0), question("a"), Err(DnsError::NoSuchName), year);
        assert!(cache.get(at(3 * 3600 - 1), &question("a")).is_some());
        assert_eq!(cache.get(at(3 * 3600), &question("a")), None);
        cache.put(at(0), question("b"), Err(DnsError::Timeout), year);
        assert_eq!(cache.get(at(1), &question("b")), None, "failures are not kept");
        cache.put(
            at(0),
            question("b"),
            Ok(Answer::default()),
            Duration::from_secs(100),
        );
        cache.put(
            at(0),
            question("c"),
            Ok(Answer::default()),
            Duration::from_secs(200),
        );
        assert_eq!(
            cache.get(at(1), &question("b")),
            None,
            "what expires first makes room"
        );
        assert_eq!((cache.known.len(), cache.expiry.len()), (2, 2));
    }
}
