//! A bounded table that forgets what was not touched for longest.

use std::collections::BTreeMap;

/// At most so many entries.
#[derive(Clone, Debug)]
pub(super) struct Table<K, V> {
    most: usize,
    turn: u64,
    entries: BTreeMap<K, (u64, V)>,
    /// By the turn in which each was touched last.
    order: BTreeMap<u64, K>,
}

impl<K: Ord + Clone, V: Default> Table<K, V> {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            turn: 0,
            entries: BTreeMap::new(),
            order: BTreeMap::new(),
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    /// Changes a value, which is made if it is not there; it is now the one that was touched last. Of the oldest two,
    /// those go that are over: a table that is used shrinks by itself.
    pub(super) fn change<T>(
        &mut self,
        key: &K,
        is_over: impl Fn(&V) -> bool,
        change: impl FnOnce(&mut V) -> T,
    ) -> T {
        for _ in 0..2 {
            let oldest = self.order.first_key_value().map(|(_, key)| key.clone());
            match oldest.filter(|key| self.get(key).is_some_and(&is_over)) {
                Some(key) => drop(self.remove(&key)),
                None => break,
            }
        }
        if self.entries.len() >= self.most
            && !self.entries.contains_key(key)
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.entries.remove(&oldest);
        }
        self.turn += 1;
        let (turn, value) = self.entries.entry(key.clone()).or_default();
        self.order.remove(turn);
        *turn = self.turn;
        self.order.insert(self.turn, key.clone());
        change(value)
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let (turn, value) = self.entries.remove(key)?;
        self.order.remove(&turn);
        Some(value)
    }

    /// Removes all of which it is true; how many.
    pub(super) fn remove_if(&mut self, mut is_it: impl FnMut(&K) -> bool) -> usize {
        let before = self.entries.len();
        let order = &mut self.order;
        self.entries.retain(|key, (turn, _)| {
            let goes = is_it(key);
            if goes {
                order.remove(turn);
            }
            !goes
        });
        before - self.entries.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, (_, value))| (key, value))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.entries.len(), self.order.len());
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_was_not_touched_for_longest_goes() {
        let mut table: Table<u8, u8> = Table::new(3);
        let never = |_: &u8| false;
        for key in [1, 2, 3, 1, 4] {
            table.change(&key, never, |value| *value += key);
        }
        let found = |table: &Table<u8, u8>| {
            table
                .iter()
                .map(|(key, value)| (*key, *value))
                .collect::<Vec<_>>()
        };
        assert_eq!(found(&table), [(1, 2), (3, 3), (4, 4)]);
        assert_eq!((table.remove(&3), table.remove(&3)), (Some(3), None));
        assert_eq!((table.remove_if(|key| *key == 1), table.len()), (1, 1));
    }

    #[test]
    fn what_is_over_goes_by_itself() {
        let mut table: Table<u8, u8> = Table::new(100);
        for key in 0..50 {
            table.change(&key, |_| false, |value| *value = key);
        }
        for _ in 0..30 {
            table.change(&200, |value| *value < 50, |value| *value = 200);
        }
        assert_eq!(table.len(), 1);
    }
}
