//! LIST patterns (RFC 9051 §6.3.9): `*` matches anything, `%` anything but the hierarchy separator.

/// Whether a pattern matches a mailbox name, both in UTF-8, with `/` as separator. A first level INBOX matches in any
/// case.
///
/// Takes time in proportion to the product of the two lengths at most, the pattern's counted without doubled wildcards;
/// a pattern with more other characters than the name has is refused at once.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    let Some(steps) = compile(pattern, name.chars().count()) else {
        return false;
    };
    let inbox = name.split('/').next() == Some("INBOX");
    // here[i]: the name so far can be matched by the first i steps.
    let mut here = vec![false; steps.len() + 1];
    let mut next = here.clone();
    if let Some(start) = here.first_mut() {
        *start = true;
    }
    skip_wildcards(&steps, &mut here);
    let mut first_level = true;
    for c in name.chars() {
        first_level &= c != '/';
        next.fill(false);
        let mut alive = false;
        for (at, step) in steps.iter().enumerate() {
            if !here.get(at).copied().unwrap_or(false) {
                continue;
            }
            let target = match step {
                Step::Any => Some(at),
                Step::Level => (c != '/').then_some(at),
                Step::Char(wanted) => {
                    let same = *wanted == c || (inbox && first_level && wanted.eq_ignore_ascii_case(&c));
                    same.then_some(at + 1)
                }
            };
            if let Some(slot) = target.and_then(|at| next.get_mut(at)) {
                *slot = true;
                alive = true;
            }
        }
        if !alive {
            return false;
        }
        skip_wildcards(&steps, &mut next);
        core::mem::swap(&mut here, &mut next);
    }
    here.last().copied().unwrap_or(false)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// `*`
    Any,
    /// `%`
    Level,
    Char(char),
}

/// The pattern with each run of wildcards as one (`*` if there is one in it). `None`: it has more other characters than
/// `longest`.
fn compile(pattern: &str, longest: usize) -> Option<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    let mut chars = 0;
    for c in pattern.chars() {
        match (c, steps.last_mut()) {
            ('*', Some(last @ (Step::Any | Step::Level))) => *last = Step::Any,
            ('%', Some(Step::Any | Step::Level)) => {}
            ('*', _) => steps.push(Step::Any),
            ('%', _) => steps.push(Step::Level),
            (c, _) => {
                chars += 1;
                if chars > longest {
                    return None;
                }
                steps.push(Step::Char(c));
            }
        }
    }
    Some(steps)
}

/// A wildcard also matches nothing.
fn skip_wildcards(steps: &[Step], reached: &mut [bool]) {
    for (at, step) in steps.iter().enumerate() {
        if matches!(step, Step::Any | Step::Level)
            && reached.get(at).copied().unwrap_or(false)
            && let Some(slot) = reached.get_mut(at + 1)
        {
            *slot = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn wildcards() {
        // RFC 3501 §6.3.8: reference and pattern joined.
        for (pattern, name, want) in [
            ("~smith/Mail/foo.*", "~smith/Mail/foo.bar", true),
            ("#news.comp.mail.misc", "#news.comp.mail.misc", true),
            ("/usr/doc/foo", "/usr/doc/foo", true),
            ("~fred/Mail/*", "~fred/Mail/a/b", true),
            ("~/Mail/%", "~/Mail/foo", true),
            ("~/Mail/%", "~/Mail/foo/bar", false),
            ("%", "blurdybloop", true),
            ("%", "foo/bar", false),
            ("%/%", "foo/bar", true),
            ("%/%", "foo/bar/baz", false),
            ("*", "foo/bar", true),
            ("foo*", "foo", true),
            ("foo*", "foo/bar", true),
            ("foo/*", "foo", false),
            ("foo%r", "foo/bar", false),
            ("*a%r", "foo/bar", true),
            ("%*", "a/b", true),
            ("*%", "a/b", true),
            ("f%o%b", "foob", true),
            ("f%o/%b", "foo/xb", true),
            ("", "", true),
            ("", "a", false),
            ("a", "", false),
            ("*", "", true),
            ("ä%", "äöü", true),
            ("Foo", "foo", false),
        ] {
            assert_eq!(matches(pattern, name), want, "{pattern} {name}");
        }
    }

    #[test]
    fn inbox_in_any_case_as_first_level_only() {
        for (pattern, name, want) in [
            ("inbox", "INBOX", true),
            ("InB%", "INBOX", true),
            ("inbox/sub", "INBOX/sub", true),
            ("inbox/SUB", "INBOX/sub", false),
            ("inbox", "INBOXES", false),
            ("inboxes", "INBOXES", false),
            ("a/inbox", "a/INBOX", false),
        ] {
            assert_eq!(matches(pattern, name), want, "{pattern} {name}");
        }
    }

    #[test]
    fn hostile_patterns_take_no_longer() {
        let name = "a/".repeat(500);
        assert!(!matches(&format!("{}b", "*a%".repeat(499)), &name));
        assert!(matches(&"*%".repeat(30_000), "a/b"));
        assert!(!matches(&"a*".repeat(30_000), &name));
    }

    /// The definition, word by word.
    fn slowly(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|at| slowly(rest, &name[at..])),
            Some((b'%', rest)) => (0..=name.len())
                .take_while(|at| !name[..*at].contains(&b'/'))
                .any(|at| slowly(rest, &name[at..])),
            Some((c, rest)) => name.first() == Some(c) && slowly(rest, &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn as_the_definition_says(pattern in "[ab/%*]{0,8}", name in "[ab/]{0,8}") {
            prop_assert_eq!(matches(&pattern, &name), slowly(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
