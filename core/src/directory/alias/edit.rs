//! Adding, changing and removing rules. Every change gives a new file that was checked as if it had been read.

use super::file::{AliasFile, AliasName, AliasTarget, CatchAll, ExactAlias, PatternAlias, target_address};
use super::pattern::{Pattern, Template};
use crate::addr::{Address, Domain, canonical_local};
use crate::directory::Hosting;

/// Which rule of a domain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AliasKey {
    /// That of a canonical local part.
    Exact(String),
    /// That with this expression.
    Pattern(String),
    /// That for all that is left.
    CatchAll,
}

/// A rule, for people and the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which.
    pub key: AliasKey,
    /// Targets as they are written in the file.
    pub targets: Vec<String>,
    /// For people.
    pub comment: Option<String>,
}

/// Why the rules stay as they are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAlias {
    /// The text names no rule.
    #[error("{0}: expected NAME@DOMAIN, /EXPRESSION/@DOMAIN, or *@DOMAIN for all that is left")]
    Key(String),
    /// The domain is not among `domains`.
    #[error("{0} is not hosted here (see `domains` in the configuration)")]
    NotHosted(Domain),
    /// There is no such rule.
    #[error("there is no such alias")]
    NoSuchAlias,
    /// The rule has no such target.
    #[error("{0} is no target of this alias")]
    NoSuchTarget(String),
    /// The file would not be good.
    #[error("{0}")]
    Wrong(String),
}

impl From<String> for BadAlias {
    fn from(text: String) -> Self {
        Self::Wrong(text)
    }
}

impl AliasKey {
    /// Reads `sales@example.com`, `/support-(\d+)/@example.com`, `*@example.com`; the domain may be left out when one
    /// domain is hosted.
    ///
    /// # Errors
    /// [`BadAlias::Key`], [`BadAlias::NotHosted`].
    pub fn parse(text: &str, hosting: &Hosting) -> Result<(Domain, Self), BadAlias> {
        let bad = || BadAlias::Key(text.to_owned());
        let only = || match hosting.domains.as_slice() {
            [only] => Ok(only.clone()),
            _ => Err(bad()),
        };
        let (local, domain) = match text.rsplit_once('@') {
            Some((local, domain)) if !text.ends_with('/') => (local, Domain::parse(domain).ok_or_else(bad)?),
            _ => (text, only()?),
        };
        if !hosting.hosts(&domain) {
            return Err(BadAlias::NotHosted(domain));
        }
        let expression = local.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
        let key = match (local, expression) {
            ("" | "*", _) => Self::CatchAll,
            (_, Some(expression)) => Self::Pattern(expression.to_owned()),
            _ => {
                let address = Address::parse(&format!("{local}@{domain}")).ok_or_else(bad)?;
                Self::Exact(canonical_local(&address.local))
            }
        };
        Ok((domain, key))
    }

    /// As in [`AliasKey::parse`], without the domain.
    #[must_use]
    pub fn local(&self) -> String {
        match self {
            Self::Exact(name) => name.clone(),
            Self::Pattern(text) => format!("/{text}/"),
            Self::CatchAll => "*".to_owned(),
        }
    }

    /// As in [`AliasKey::parse`].
    #[must_use]
    pub fn at(&self, domain: &Domain) -> String {
        match self {
            Self::Exact(name) => Address::new(name, domain.clone())
                .map_or_else(|| format!("{name}@{domain}"), |address| address.to_string()),
            _ => format!("{}@{domain}", self.local()),
        }
    }
}

impl AliasFile {
    /// All rules in the order in which they are tried; exact names by name.
    #[must_use]
    pub fn rules(&self) -> Vec<Rule> {
        let mut exact: Vec<Rule> = self
            .aliases
            .iter()
            .map(|alias| Rule {
                key: AliasKey::Exact(alias.name.canonical()),
                targets: texts(&alias.targets),
                comment: alias.comment.clone(),
            })
            .collect();
        exact.sort_by(|one, two| one.key.cmp(&two.key));
        let patterns = self.patterns.iter().map(|alias| Rule {
            key: AliasKey::Pattern(alias.pattern.as_str().to_owned()),
            targets: texts(&alias.targets),
            comment: alias.comment.clone(),
        });
        let catch_all = self.catch_all.iter().map(|alias| Rule {
            key: AliasKey::CatchAll,
            targets: texts(&alias.targets),
            comment: alias.comment.clone(),
        });
        exact.into_iter().chain(patterns).chain(catch_all).collect()
    }

    /// One rule.
    #[must_use]
    pub fn rule(&self, key: &AliasKey) -> Option<Rule> {
        self.rules().into_iter().find(|rule| rule.key == *key)
    }

    /// With the rule in place of the one of the same key, or new; unknown fields of the old one stay. `place` is that
    /// among the patterns, from 0; without it a rule stays where it is, and a new one goes to the end.
    ///
    /// # Errors
    /// [`BadAlias::Wrong`].
    pub fn with(&self, rule: &Rule, place: Option<usize>) -> Result<Self, BadAlias> {
        let mut file = self.clone();
        let comment = rule.comment.clone();
        match &rule.key {
            AliasKey::Exact(name) => {
                let at = self
                    .aliases
                    .iter()
                    .position(|alias| alias.name.canonical() == *name);
                let old = at.and_then(|at| self.aliases.get(at)).cloned();
                let new = ExactAlias {
                    name: match &old {
                        Some(old) => old.name.clone(),
                        None => AliasName::try_from(name.clone())?,
                    },
                    targets: parse::<AliasTarget>(&rule.targets)?,
                    comment,
                    other: old.map(|old| old.other).unwrap_or_default(),
                };
                put(&mut file.aliases, at, None, new);
            }
            AliasKey::Pattern(text) => {
                let at = self
                    .patterns
                    .iter()
                    .position(|alias| alias.pattern.as_str() == text);
                let old = at.and_then(|at| self.patterns.get(at)).cloned();
                let new = PatternAlias {
                    pattern: Pattern::parse(text)?,
                    targets: parse::<Template>(&rule.targets)?,
                    comment,
                    other: old.map(|old| old.other).unwrap_or_default(),
                };
                put(&mut file.patterns, at, place, new);
            }
            AliasKey::CatchAll => {
                let old = self.catch_all.clone();
                file.catch_all = Some(CatchAll {
                    targets: parse::<AliasTarget>(&rule.targets)?,
                    comment,
                    other: old.map(|old| old.other).unwrap_or_default(),
                });
            }
        }
        file.checked()
    }

    /// With these targets more; those that the rule has already stay where they are.
    ///
    /// # Errors
    /// [`BadAlias::Wrong`].
    pub fn with_targets(
        &self,
        key: &AliasKey,
        targets: &[String],
        comment: Option<String>,
        place: Option<usize>,
        own: &Domain,
    ) -> Result<Self, BadAlias> {
        let mut rule = self.rule(key).unwrap_or_else(|| Rule {
            key: key.clone(),
            targets: Vec::new(),
            comment: None,
        });
        for target in targets {
            if !rule.targets.iter().any(|known| same(known, target, own)) {
                rule.targets.push(target.clone());
            }
        }
        rule.comment = comment.or(rule.comment);
        self.with(&rule, place)
    }

    /// With every rule of another file, such as one of a backup, that is not here; those that are stay as they are.
    ///
    /// # Errors
    /// [`BadAlias::Wrong`]: there would be too many.
    pub fn with_missing(&self, other: &Self) -> Result<Self, BadAlias> {
        let mut file = self.clone();
        let exact = other.aliases.iter();
        let exact = exact.filter(|alias| !self.has_exact(&alias.name.canonical()));
        file.aliases.extend(exact.cloned());
        let known = |pattern: &Pattern| self.patterns.iter().any(|alias| alias.pattern == *pattern);
        let patterns = other.patterns.iter().filter(|alias| !known(&alias.pattern));
        file.patterns.extend(patterns.cloned());
        file.catch_all = file.catch_all.or_else(|| other.catch_all.clone());
        file.checked()
    }

    /// Without a rule.
    ///
    /// # Errors
    /// [`BadAlias::NoSuchAlias`].
    pub fn without(&self, key: &AliasKey) -> Result<Self, BadAlias> {
        self.rule(key).ok_or(BadAlias::NoSuchAlias)?;
        let mut file = self.clone();
        match key {
            AliasKey::Exact(name) => file.aliases.retain(|alias| alias.name.canonical() != *name),
            AliasKey::Pattern(text) => file.patterns.retain(|alias| alias.pattern.as_str() != text),
            AliasKey::CatchAll => file.catch_all = None,
        }
        file.checked()
    }

    /// Without these targets; without the rule, when none is left.
    ///
    /// # Errors
    /// [`BadAlias::NoSuchAlias`], [`BadAlias::NoSuchTarget`].
    pub fn without_targets(
        &self,
        key: &AliasKey,
        targets: &[String],
        own: &Domain,
    ) -> Result<Self, BadAlias> {
        let mut rule = self.rule(key).ok_or(BadAlias::NoSuchAlias)?;
        for target in targets {
            let before = rule.targets.len();
            rule.targets.retain(|known| !same(known, target, own));
            if rule.targets.len() == before {
                return Err(BadAlias::NoSuchTarget(target.clone()));
            }
        }
        if rule.targets.is_empty() {
            return self.without(key);
        }
        self.with(&rule, None)
    }

    /// What is in the file, read again: so it has its index, and keeps every rule of a file.
    fn checked(self) -> Result<Self, BadAlias> {
        let value = serde_json::to_value(&self).map_err(|error| BadAlias::Wrong(error.to_string()))?;
        serde_json::from_value(value).map_err(|error| BadAlias::Wrong(error.to_string()))
    }
}

fn texts<T: Clone + Into<String>>(targets: &[T]) -> Vec<String> {
    targets.iter().cloned().map(Into::into).collect()
}

fn parse<T: TryFrom<String, Error = String>>(targets: &[String]) -> Result<Vec<T>, BadAlias> {
    let targets: Result<Vec<T>, String> = targets.iter().cloned().map(T::try_from).collect();
    targets.map_err(BadAlias::Wrong)
}

/// In the place of the old one, or where it is wanted.
fn put<T>(list: &mut Vec<T>, old: Option<usize>, place: Option<usize>, new: T) {
    match (old.and_then(|at| list.get_mut(at)), place) {
        (Some(old), None) => *old = new,
        (_, place) => {
            if let Some(at) = old.filter(|at| *at < list.len()) {
                list.remove(at);
            }
            let place = place.unwrap_or(list.len()).min(list.len());
            list.insert(place, new);
        }
    }
}

/// Whether two targets are the same address.
fn same(one: &str, two: &str, own: &Domain) -> bool {
    let canonical = |text: &str| Some(target_address(text, own)?.canonical());
    one == two || canonical(one).is_some_and(|one| canonical(two) == Some(one))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::lookup::tests::hosting;

    #[test]
    fn rules_are_named_as_operators_write_them() {
        let (one, two) = (hosting(&["x.y"]), hosting(&["x.y", "bücher.example"]));
        for (hosting, text, shown) in [
            (&one, "Sales", Some("sales@x.y")),
            (&one, "/a@b|c/", Some("/a@b|c/@x.y")),
            (&one, "*", Some("*@x.y")),
            (&two, "@x.y", Some("*@x.y")),
            (&two, "*@x.y", Some("*@x.y")),
            (&two, "A+b@Bücher.example", Some("a+b@xn--bcher-kva.example")),
            (&two, "/(.*)@(.*)/@X.Y", Some("/(.*)@(.*)/@x.y")),
            (&two, "\"A b\"@x.y", Some("\"a b\"@x.y")),
            (&two, "//@x.y", Some("//@x.y")),
            (&two, "sales", None),
            (&two, "/a/", None),
            (&two, "*", None),
            (&one, "a b", None),
            (&one, "a@", None),
        ] {
            let found = AliasKey::parse(text, hosting);
            let found = found.map(|(domain, key)| key.at(&domain));
            assert_eq!(found.as_deref().ok(), shown, "{text}");
        }
        assert!(matches!(
            AliasKey::parse("a@z.y", &one),
            Err(BadAlias::NotHosted(_))
        ));
    }

    #[test]
    fn rules_are_added_changed_and_removed() {
        let own = Domain::parse("x.y").expect("domain");
        let list = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        let key = |text: &str| AliasKey::parse(text, &hosting(&["x.y"])).expect("a key").1;
        let show = |file: &AliasFile| {
            let rules = file.rules().into_iter().map(|rule| {
                let comment = rule.comment.map(|text| format!(" # {text}")).unwrap_or_default();
                format!("{}: {}{comment}", rule.key.local(), rule.targets.join(" "))
            });
            rules.collect::<Vec<_>>().join("; ")
        };
        let file: AliasFile = serde_json::from_str(
            r#"{"aliases":[{"name":"Team","targets":["a"],"id":7}],"patterns":[{"pattern":"p","targets":["a"]}]}"#,
        )
        .expect("good");
        let add = |file: &AliasFile, name: &str, targets: &[&str], place| {
            let comment = (name == "*").then(|| "all".to_owned());
            file.with_targets(&key(name), &list(targets), comment, place, &own)
        };
        let file = add(&file, "team", &["A@x.y", "b", "b", "c@z.y"], None).expect("added");
        assert_eq!(show(&file), "team: a b c@z.y; /p/: a");
        assert!(file.has_exact("team"));
        assert!(
            serde_json::to_string(&file)
                .expect("JSON")
                .contains(r#""name":"Team","targets":["a","b","c@z.y"],"id":7"#)
        );
        let file = add(&file, "/(q)/", &["$1"], Some(0)).expect("added");
        let file = add(&file, "*", &["a"], None).expect("added");
        let file = add(&file, "all", &["team"], None).expect("added");
        assert_eq!(
            show(&file),
            "all: team; team: a b c@z.y; /(q)/: $1; /p/: a; *: a # all"
        );
        let moved = add(&file, "/(q)/", &[], Some(9)).expect("moved");
        assert!(show(&moved).contains("/p/: a; /(q)/: $1"));

        let less = file
            .without_targets(&key("team"), &list(&["B", "a"]), &own)
            .expect("removed");
        let less = less.without(&key("*")).expect("removed");
        let less = less
            .without_targets(&key("/(q)/"), &list(&["$1"]), &own)
            .expect("removed");
        assert_eq!(show(&less), "all: team; team: c@z.y; /p/: a");
        let both = less.with_missing(&file).expect("put back");
        assert_eq!(
            show(&both),
            "all: team; team: c@z.y; /p/: a; /(q)/: $1; *: a # all"
        );
        assert_eq!(less.without(&key("nobody")), Err(BadAlias::NoSuchAlias));
        assert_eq!(
            less.without_targets(&key("all"), &list(&["a"]), &own),
            Err(BadAlias::NoSuchTarget("a".to_owned()))
        );
        for (name, targets, words) in [
            ("x", &[][..], "at least one"),
            ("x", &["a b"], "expected an address"),
            ("/(/", &["a"], "unclosed group"),
            ("/a/", &["$1"], "no group $1"),
        ] {
            let error = add(&less, name, targets, None).expect_err(name);
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
