//! A bounded map that forgets what has not been used for longest.

use core::hash::Hash;
use std::collections::HashMap;

/// At most so many entries. Forgetting looks at all of them: it is for dozens, not for thousands.
#[derive(Debug)]
pub(crate) struct RecentMap<K, V> {
    most: usize,
    clock: u64,
    entries: HashMap<K, (u64, V)>,
}

impl<K: Hash + Eq + Clone, V> RecentMap<K, V> {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            clock: 0,
            entries: HashMap::new(),
        }
    }

    /// The value, which is used now.
    pub(crate) fn get<Q>(&mut self, key: &Q) -> Option<&V>
    where
        K: core::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.clock += 1;
        let (used, value) = self.entries.get_mut(key)?;
        *used = self.clock;
        Some(value)
    }

    /// Enters a value in the place of the one that is there, or of the oldest.
    pub(crate) fn put(&mut self, key: K, value: V) {
        self.clock += 1;
        if self.entries.len() >= self.most && !self.entries.contains_key(&key) {
            let oldest = self.entries.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.entries.remove(&oldest);
            }
        }
        self.entries.insert(key, (self.clock, value));
    }

    pub(crate) fn remove<Q>(&mut self, key: &Q)
    where
        K: core::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.entries.remove(key);
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&K) -> bool) {
        self.entries.retain(|key, _| keep(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_last_stays() {
        let mut map = RecentMap::new(3);
        for key in 1..=3 {
            map.put(key, key * 10);
        }
        assert_eq!(map.get(&1), Some(&10));
        map.put(4, 40);
        assert_eq!([2, 1].map(|key| map.get(&key).copied()), [None, Some(10)]);
        map.put(3, 31);
        map.put(5, 50);
        assert_eq!(
            [4, 3, 1].map(|key| map.get(&key).copied()),
            [None, Some(31), Some(10)]
        );
        map.remove(&3);
        map.retain(|key| *key != 1);
        let left: Vec<bool> = (1..=5).map(|key| map.get(&key).is_some()).collect();
        assert_eq!(left, [false, false, false, false, true]);
    }
}
