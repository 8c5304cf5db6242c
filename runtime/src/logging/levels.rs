//! Which lines are shown: a level for all targets, and one for each that has its own.
//!
//! A level counts for a target and those below it: that of `store` for `store::file`, unless `store::file` has one. What was
//! [`set`] at run time stands before the configuration, until it is [`reset`] or the program ends.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use log::{LevelFilter, Metadata};
use rmail_core::config::{LogLevel, is_log_target};
use serde::{Deserialize, Serialize};

/// Stands for all targets that have no level of their own.
pub const ALL: &str = "*";
/// Targets that can have a level that was set at run time.
const MAX_SET: usize = 256;

/// Libraries say at INFO and DEBUG what only their authors want to read.
const LIBRARIES: [&str; 1] = ["rustls"];

/// Targets of rmail, for people who look for one; there are more below `store`, `core` and `runtime`.
pub const KNOWN: &[&str] = &[
    "config", "control", "core", "delivery", "dns", "http", "imap", "listen", "lmtp", "pools", "relay",
    "runtime", "server", "smtp", "store", "tls",
];

static TABLE: RwLock<Table> = RwLock::new(Table::new());

/// A target and its level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetLevel {
    /// `smtp`; [`ALL`].
    pub target: String,
    /// From which level on its lines are shown.
    pub level: LogLevel,
    /// It was set at run time.
    pub set: bool,
}

struct Table {
    /// Of the configuration.
    level: LogLevel,
    targets: BTreeMap<String, LogLevel>,
    /// Set at run time; [`ALL`] among them.
    set: BTreeMap<String, LogLevel>,
    /// What follows from them: the longest target first.
    rules: Vec<(String, LevelFilter)>,
    rest: LevelFilter,
}

impl Table {
    const fn new() -> Self {
        Self {
            level: LogLevel::Info,
            targets: BTreeMap::new(),
            set: BTreeMap::new(),
            rules: Vec::new(),
            rest: LevelFilter::Info,
        }
    }

    fn whole(&self) -> LogLevel {
        self.set.get(ALL).copied().unwrap_or(self.level)
    }

    /// Derives the rules. Returns the level above which nothing is shown at all.
    fn derive(&mut self) -> LevelFilter {
        self.rest = filter(self.whole());
        let quiet = self.rest.min(LevelFilter::Warn);
        let mut rules: BTreeMap<&str, LevelFilter> = LIBRARIES.map(|library| (library, quiet)).into();
        for (target, level) in self.targets.iter().chain(&self.set) {
            if target != ALL {
                rules.insert(target, filter(*level));
            }
        }
        let mut rules: Vec<(String, LevelFilter)> = rules
            .into_iter()
            .map(|(target, level)| (target.to_owned(), level))
            .collect();
        rules.sort_by_key(|(target, _)| std::cmp::Reverse(target.len()));
        self.rules = rules;
        self.rules
            .iter()
            .map(|(_, level)| *level)
            .fold(self.rest, std::cmp::Ord::max)
    }

    fn of(&self, target: &str) -> LevelFilter {
        let rule = self.rules.iter().find(|(rule, _)| covers(rule, target));
        rule.map_or(self.rest, |(_, level)| *level)
    }

    fn list(&self) -> Vec<TargetLevel> {
        let mut all: BTreeMap<&str, (LogLevel, bool)> = BTreeMap::new();
        all.insert(ALL, (self.level, false));
        all.extend(
            self.targets
                .iter()
                .map(|(target, level)| (target.as_str(), (*level, false))),
        );
        all.extend(
            self.set
                .iter()
                .map(|(target, level)| (target.as_str(), (*level, true))),
        );
        all.into_iter()
            .map(|(target, (level, set))| TargetLevel {
                target: target.to_owned(),
                level,
                set,
            })
            .collect()
    }
}

/// CRITICAL has no counterpart in `log`: it shows errors too.
fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Debug => LevelFilter::Debug,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Warning => LevelFilter::Warn,
        LogLevel::Error | LogLevel::Critical => LevelFilter::Error,
    }
}

/// Whether a target is another or below it.
fn covers(rule: &str, target: &str) -> bool {
    target
        .strip_prefix(rule)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// A target as people name it.
pub(super) fn short(target: &str) -> &str {
    target.strip_prefix("rmail_").unwrap_or(target)
}

/// Whether a line is shown.
pub(super) fn admits(line: &Metadata<'_>) -> bool {
    let table = TABLE.read().unwrap_or_else(PoisonError::into_inner);
    line.level() <= table.of(short(line.target()))
}

/// The levels of the configuration. Those set at run time stay.
pub(super) fn configure(level: LogLevel, targets: &BTreeMap<String, LogLevel>) {
    change(|table| {
        table.level = level;
        table.targets.clone_from(targets);
    });
}

/// Sets the level of a target at run time, or of [`ALL`]. False: that is no target, or too many have one.
pub fn set(target: &str, level: LogLevel) -> bool {
    change(|table| {
        let room = table.set.len() < MAX_SET || table.set.contains_key(target);
        let good = room && (target == ALL || is_log_target(target));
        if good {
            table.set.insert(target.to_owned(), level);
        }
        good
    })
}

/// Forgets what was set for a target, or for every one.
pub fn reset(target: Option<&str>) {
    change(|table| match target {
        Some(target) => drop(table.set.remove(target)),
        None => table.set.clear(),
    });
}

/// Every target with a level, and [`ALL`].
#[must_use]
pub fn list() -> Vec<TargetLevel> {
    TABLE.read().unwrap_or_else(PoisonError::into_inner).list()
}

/// The level that counts for a target, which may be that of one above it.
#[must_use]
pub fn of(target: &str) -> TargetLevel {
    let table = TABLE.read().unwrap_or_else(PoisonError::into_inner);
    let above = |one: &TargetLevel| one.target == ALL || covers(&one.target, target);
    let nearest = table.list().into_iter().filter(above);
    let nearest = nearest.max_by_key(|one| if one.target == ALL { 0 } else { one.target.len() });
    nearest.map_or_else(
        || TargetLevel {
            target: target.to_owned(),
            level: table.whole(),
            set: false,
        },
        |nearest| TargetLevel {
            target: target.to_owned(),
            ..nearest
        },
    )
}

fn change<T>(edit: impl FnOnce(&mut Table) -> T) -> T {
    let mut table = TABLE.write().unwrap_or_else(PoisonError::into_inner);
    let result = edit(&mut table);
    let most = table.derive();
    log::set_max_level(most);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_level_counts_and_what_was_set_stands_before_the_configuration() {
        let mut table = Table::new();
        table.targets = [("store", LogLevel::Error), ("store::file", LogLevel::Debug)]
            .map(|(target, level)| (target.to_owned(), level))
            .into();
        assert_eq!(table.derive(), LevelFilter::Debug);
        for (target, level) in [
            ("store", LevelFilter::Error),
            ("store::file::quota", LevelFilter::Debug),
            ("store::files", LevelFilter::Error),
            ("stores", LevelFilter::Info),
            ("smtp", LevelFilter::Info),
            ("rustls::client", LevelFilter::Warn),
        ] {
            assert_eq!(table.of(target), level, "{target}");
        }
        table.set.insert("store::file".to_owned(), LogLevel::Warning);
        table.set.insert(ALL.to_owned(), LogLevel::Critical);
        assert_eq!(table.derive(), LevelFilter::Warn);
        assert_eq!(table.of("store::file"), LevelFilter::Warn);
        assert_eq!(table.of("smtp"), LevelFilter::Error);
        assert_eq!(
            table.of("rustls"),
            LevelFilter::Error,
            "never louder than the rest"
        );
        table.set.insert("rustls".to_owned(), LogLevel::Debug);
        assert_eq!(table.derive(), LevelFilter::Debug);
        assert_eq!(table.of("rustls::conn"), LevelFilter::Debug, "asked for");
        let list = table.list();
        assert_eq!(list[0].target, ALL);
        assert!(list[0].set && list.len() == 4, "{list:?}");
    }

    #[test]
    fn names_of_crates_are_short() {
        assert_eq!(short("rmail_store::file::sync"), "store::file::sync");
        assert_eq!(short("smtp"), "smtp");
    }
}
