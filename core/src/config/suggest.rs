//! What was probably meant by a key or a word that is not known.

use core::cmp::Reverse;
use std::collections::BTreeSet;

use super::keys::KEYS;

/// So many keys are named at most where one name stands in several sections.
const NAMED: usize = 4;

/// Octets of a path that may be a slip of another.
const LONGEST: usize = 256;

/// The keys or sections that were probably meant by a path; none: nothing is like it.
///
/// In this order: the same but for case and separators, a slip among the keys of the same section, the same name in
/// another section, a slip of the whole path, a slip of a name in another section.
pub(super) fn keys(path: &str) -> Vec<&'static str> {
    if path.len() > LONGEST {
        return Vec::new();
    }
    let known = known();
    let (section, name) = split(path);
    let same: Vec<_> = filter(&known, |other| plain(other) == plain(path));
    if !same.is_empty() {
        return same;
    }
    let sibling = nearest(
        name,
        known
            .iter()
            .copied()
            .filter(|other| split(other).0 == section)
            .map(|other| (split(other).1, other)),
    );
    if let Some(key) = sibling {
        return vec![key];
    }
    let elsewhere = filter(&known, |other| plain(split(other).1) == plain(name));
    if !elsewhere.is_empty() {
        return elsewhere;
    }
    let whole = nearest(path, known.iter().map(|other| (*other, *other)));
    whole
        .or_else(|| nearest(name, known.iter().map(|other| (split(other).1, *other))))
        .into_iter()
        .collect()
}

/// The section that was probably meant: its keys can then be looked at too.
pub(super) fn section(path: &str) -> Option<&'static str> {
    match keys(path).as_slice() {
        [one] if is_section(one) => Some(one),
        _ => None,
    }
}

/// Whether keys stand below this path.
pub(super) fn is_section(path: &str) -> bool {
    KEYS.iter().any(|key| {
        key.path
            .strip_prefix(path)
            .is_some_and(|rest| rest.starts_with('.'))
    })
}

/// The word that was probably meant.
pub(super) fn word<'a>(given: &str, words: &[&'a str]) -> Option<&'a str> {
    let same = words.iter().copied().find(|word| plain(word) == plain(given));
    same.or_else(|| nearest(given, words.iter().map(|word| (*word, *word))))
}

/// ` did you mean …?`, as the end of a sentence; empty where nothing is like it.
pub(super) fn question(meant: &[&str]) -> String {
    match meant {
        [] => String::new(),
        [one] => format!("; did you mean `{one}`?"),
        several => {
            let named: Vec<String> = several.iter().take(NAMED).map(|key| format!("`{key}`")).collect();
            format!("; did you mean one of {}?", named.join(", "))
        }
    }
}

/// All keys and all sections.
fn known() -> BTreeSet<&'static str> {
    let mut known = BTreeSet::new();
    for key in KEYS {
        let mut path = Some(key.path);
        while let Some(one) = path {
            known.insert(one);
            path = one.rsplit_once('.').map(|(section, _)| section);
        }
    }
    known
}

fn filter(known: &BTreeSet<&'static str>, wanted: impl Fn(&str) -> bool) -> Vec<&'static str> {
    known.iter().copied().filter(|other| wanted(other)).collect()
}

/// Section and name of a key.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

/// Without what people write differently: case, `-`, `_`.
fn plain(name: &str) -> String {
    name.chars()
        .filter(|c| !matches!(c, '-' | '_'))
        .flat_map(char::to_lowercase)
        .collect()
}

/// Of candidates (what is compared, what it stands for) the one that is nearest, if it is near enough: up to a third of
/// its letters are wrong, and three at most.
fn nearest<'a, 'b>(given: &str, candidates: impl Iterator<Item = (&'b str, &'a str)>) -> Option<&'a str> {
    let given = given.to_lowercase();
    candidates
        .filter_map(|(name, meant)| {
            let bound = (name.len() / 3).clamp(1, 3);
            // The distance is no less than the difference of the lengths: long input costs nothing.
            if name.len().abs_diff(given.len()) > bound || name.len() < 3 {
                return None;
            }
            let distance = distance(&given, &name.to_lowercase());
            (distance <= bound).then_some((distance, Reverse(common(&given, name)), meant))
        })
        .min()
        .map(|(_, _, meant)| meant)
}

/// Letters that two names begin with.
fn common(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}

/// Letters to change, add, leave out, or swap with their neighbour ("optimal string alignment").
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX - 1);
            let mut cost = (at(&last, j) + usize::from(x != y))
                .min(at(&last, j + 1) + 1)
                .min(at(&row, j) + 1);
            let swapped = i.checked_sub(1).zip(j.checked_sub(1));
            if let Some((i, j)) = swapped
                && a.get(i) == Some(y)
                && b.get(j) == Some(x)
            {
                cost = cost.min(at(&before, j) + 1);
            }
            row.push(cost);
        }
        before = core::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_slips() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("port", "port", 0),
            ("prot", "port", 1),
            ("hostnam", "hostname", 1),
            ("kitten", "sitting", 3),
            ("ca", "abc", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn what_was_meant_is_found() {
        for (given, meant) in [
            ("hostnam", &["hostname"][..]),
            ("Hostname", &["hostname"]),
            ("host_name", &["hostname"]),
            ("smpt", &["smtp"]),
            ("mailroot", &["mail_root"]),
            ("smtp.prot", &["smtp.port"]),
            ("smtp.maxRecipients", &["smtp.max_recipients"]),
            ("smtp.max-recipient", &["smtp.max_recipients"]),
            ("imap.submission_port", &["smtp.submission_port"]),
            ("smtp.cert_file", &["tls.cert_file"]),
            ("cert_file", &["tls.cert_file"]),
            ("smtp.hostname", &["hostname"]),
            ("smtp.tls", &["relay.tls", "tls"]),
            ("limits.smtp", &["limits.connections_per_address.smtp", "smtp"]),
            (
                "exchange.port",
                &["exchange_api.port", "imap.port", "relay.port", "smtp.port"],
            ),
            ("colour", &[]),
            ("x", &[]),
        ] {
            assert_eq!(keys(given), meant, "{given}");
        }
        assert_eq!(section("smpt"), Some("smtp"));
        assert_eq!(section("hostnam"), None);
    }

    #[test]
    fn words_are_found_without_case() {
        assert_eq!(word("info", &["DEBUG", "INFO"]), Some("INFO"));
        assert_eq!(word("refuze", &["off", "log", "refuse"]), Some("refuse"));
        assert_eq!(word("verbose", &["DEBUG", "INFO"]), None);
    }

    #[test]
    fn long_input_costs_little() {
        let long = "a".repeat(1 << 20);
        assert_eq!(keys(&long), Vec::<&str>::new());
    }
}
