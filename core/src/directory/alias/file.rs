//! `{mail_root}/domains/{domain}/aliases.json`:
//!
//! ```json
//! {
//!   "aliases": [{"name": "sales", "targets": ["alice", "bob@example.org"], "comment": "who sells"}],
//!   "patterns": [{"pattern": "support-(\\d+)", "targets": ["help+$1"]}],
//!   "catch_all": {"targets": ["alice"]}
//! }
//! ```
//!
//! Names are local parts; a target without a domain is in the domain of the file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::edit::AliasKey;
use super::pattern::{Pattern, Template};
use crate::addr::{Address, Domain, canonical_local};
use crate::directory::user::unknown;

type Other = serde_json::Map<String, serde_json::Value>;

/// Rules with patterns in one file: an address that meets none is compared with all of them.
const MAX_PATTERNS: usize = 500;
/// Targets of one rule.
const MAX_TARGETS: usize = 1_000;

/// The aliases of a domain. Fields that we do not know are kept when it is rewritten.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Fields")]
pub struct AliasFile {
    /// Exact names, in any order: they come first.
    pub(super) aliases: Vec<ExactAlias>,
    /// Expressions: the first that matches counts.
    pub(super) patterns: Vec<PatternAlias>,
    /// Where mail goes for addresses that are nobody's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) catch_all: Option<CatchAll>,
    #[serde(flatten)]
    pub(super) other: Other,
    /// Places in `aliases` by canonical name.
    #[serde(skip)]
    index: BTreeMap<String, usize>,
}

/// An exact name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "an object")]
pub struct ExactAlias {
    /// The local part.
    pub name: AliasName,
    /// Who gets the mail.
    #[serde(deserialize_with = "some")]
    pub targets: Vec<AliasTarget>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Fields of other programs and versions.
    #[serde(flatten)]
    pub other: Other,
}

/// All names that match an expression.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PatternFields")]
pub struct PatternAlias {
    /// The whole local part has to match.
    pub pattern: Pattern,
    /// Who gets the mail.
    pub targets: Vec<Template>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Fields of other programs and versions.
    #[serde(flatten)]
    pub other: Other,
}

/// Everything else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "an object")]
pub struct CatchAll {
    /// Who gets the mail.
    #[serde(deserialize_with = "some")]
    pub targets: Vec<AliasTarget>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Fields of other programs and versions.
    #[serde(flatten)]
    pub other: Other,
}

/// A local part without quotes, as it is written in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AliasName(String);

/// An address, or a local part in the domain of the alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AliasTarget(String);

/// The rule that an address meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which.
    pub key: AliasKey,
    /// Its targets in order; what came out of a template and is no address stands as its text.
    pub targets: Vec<Result<Address, String>>,
}

impl AliasFile {
    /// What is in the file and has no effect, in words, each with its place.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let mut found: Vec<String> = self.other.keys().map(|name| unknown(name)).collect();
        let mut of = |place: &str, other: &Other| {
            found.extend(other.keys().map(|name| format!("{place}.{}", unknown(name))));
        };
        for (at, alias) in self.aliases.iter().enumerate() {
            of(&format!("aliases[{at}]"), &alias.other);
        }
        for (at, alias) in self.patterns.iter().enumerate() {
            of(&format!("patterns[{at}]"), &alias.other);
        }
        if let Some(alias) = &self.catch_all {
            of("catch_all", &alias.other);
        }
        found
    }

    /// Whether there is a rule for exactly this canonical local part ([`canonical_local`]).
    #[must_use]
    pub fn has_exact(&self, canonical: &str) -> bool {
        self.index.contains_key(canonical)
    }

    /// The rule for exactly this canonical local part.
    #[must_use]
    pub fn exact(&self, canonical: &str, own: &Domain) -> Option<Found> {
        let alias = self.aliases.get(*self.index.get(canonical)?)?;
        Some(Found {
            key: AliasKey::Exact(canonical.to_owned()),
            targets: plain(&alias.targets, own),
        })
    }

    /// The first rule whose pattern the local part matches. Its case is kept in what is captured.
    #[must_use]
    pub fn matching(&self, local: &str, own: &Domain) -> Option<Found> {
        self.patterns.iter().find_map(|alias| {
            let captures = alias.pattern.captures(local)?;
            let fill = |target: &Template| {
                let filled = target.fill(&captures, own);
                filled.ok_or_else(|| target.as_str().to_owned())
            };
            Some(Found {
                key: AliasKey::Pattern(alias.pattern.as_str().to_owned()),
                targets: alias.targets.iter().map(fill).collect(),
            })
        })
    }

    /// The rule for all that is left.
    #[must_use]
    pub fn catch_all(&self, own: &Domain) -> Option<Found> {
        Some(Found {
            key: AliasKey::CatchAll,
            targets: plain(&self.catch_all.as_ref()?.targets, own),
        })
    }
}

/// The address that a target means, given the domain of the alias. `None`: it is none.
#[must_use]
pub fn target_address(text: &str, own: &Domain) -> Option<Address> {
    if text.contains('@') {
        return Address::parse(text);
    }
    Address::parse(&format!("{text}@{own}"))
}

fn plain(targets: &[AliasTarget], own: &Domain) -> Vec<Result<Address, String>> {
    let address = |target: &AliasTarget| target.address(own).ok_or_else(|| target.0.clone());
    targets.iter().map(address).collect()
}

impl AliasName {
    /// Under which the rule is found.
    #[must_use]
    pub fn canonical(&self) -> String {
        canonical_local(&self.0)
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AliasTarget {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn address(&self, own: &Domain) -> Option<Address> {
        target_address(&self.0, own)
    }
}

impl TryFrom<String> for AliasName {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if text.contains('@') {
            return Err(format!("{text}: expected a name without @domain"));
        }
        let some_domain = Domain::literal(core::net::Ipv4Addr::LOCALHOST.into());
        match Address::new(&text, some_domain) {
            Some(_) => Ok(Self(text)),
            None => Err(format!("{text:?} is no local part of an address")),
        }
    }
}

impl From<AliasName> for String {
    fn from(name: AliasName) -> Self {
        name.0
    }
}

impl TryFrom<String> for AliasTarget {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let some_domain = Domain::literal(core::net::Ipv4Addr::LOCALHOST.into());
        let target = Self(text);
        match target.address(&some_domain) {
            Some(_) => Ok(target),
            None => Err(format!("{:?}: expected an address", target.0)),
        }
    }
}

impl From<AliasTarget> for String {
    fn from(target: AliasTarget) -> Self {
        target.0
    }
}

/// As the file has it, before its parts were compared with each other.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Fields {
    #[serde(default)]
    aliases: Vec<ExactAlias>,
    #[serde(default)]
    patterns: Vec<PatternAlias>,
    #[serde(default)]
    catch_all: Option<CatchAll>,
    #[serde(flatten)]
    other: Other,
}

impl TryFrom<Fields> for AliasFile {
    type Error = String;
    fn try_from(fields: Fields) -> Result<Self, String> {
        let mut index = BTreeMap::new();
        for (at, alias) in fields.aliases.iter().enumerate() {
            if let Some(first) = index.insert(alias.name.canonical(), at) {
                let name = alias.name.as_str();
                return Err(format!("aliases[{first}] and aliases[{at}] are both for {name}"));
            }
        }
        if fields.patterns.len() > MAX_PATTERNS {
            return Err(format!("there are more than {MAX_PATTERNS} patterns"));
        }
        for (at, rule) in fields.patterns.iter().enumerate() {
            let same = |other: &PatternAlias| other.pattern == rule.pattern;
            if let Some(first) = fields.patterns.iter().take(at).position(same) {
                return Err(format!("patterns[{first}] and patterns[{at}] are the same"));
            }
        }
        Ok(Self {
            aliases: fields.aliases,
            patterns: fields.patterns,
            catch_all: fields.catch_all,
            other: fields.other,
            index,
        })
    }
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct PatternFields {
    pattern: Pattern,
    #[serde(deserialize_with = "some")]
    targets: Vec<Template>,
    #[serde(default)]
    comment: Option<String>,
    #[serde(flatten)]
    other: Other,
}

impl TryFrom<PatternFields> for PatternAlias {
    type Error = String;
    fn try_from(fields: PatternFields) -> Result<Self, String> {
        for target in &fields.targets {
            if let Some(group) = target.missing_in(&fields.pattern) {
                let text = target.as_str();
                return Err(format!("{text}: the pattern has no group {group}"));
            }
        }
        Ok(Self {
            pattern: fields.pattern,
            targets: fields.targets,
            comment: fields.comment,
            other: fields.other,
        })
    }
}

/// At least one, and not too many.
fn some<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    use serde::de::Error as _;
    let list = Vec::<T>::deserialize(from)?;
    match list.len() {
        0 => Err(D::Error::custom("expected at least one target")),
        1..=MAX_TARGETS => Ok(list),
        _ => Err(D::Error::custom(format!(
            "a rule has at most {MAX_TARGETS} targets"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> AliasFile {
        serde_json::from_str(text).expect(text)
    }

    #[test]
    fn exact_names_then_patterns_in_order_then_the_rest() {
        let own = Domain::parse("example.com").expect("domain");
        let file = read(
            r#"{
              "aliases": [{"name": "Söles", "targets": ["alice", "Bob@Other.org", "\"a b\""]}],
              "patterns": [
                {"pattern": "s.*", "targets": ["s@x.y"]},
                {"pattern": "(.)u(.*)", "targets": ["$2+$1", "$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1"]},
                {"pattern": "su.*", "targets": ["never"]}
              ],
              "catch_all": {"targets": ["rest"]}
            }"#,
        );
        let show = |found: Option<Found>| {
            found.map(|found| {
                let text = |target: Result<Address, String>| {
                    target.map_or_else(|text| format!("!{}", text.len()), |address| address.to_string())
                };
                let targets: Vec<String> = found.targets.into_iter().map(text).collect();
                (found.key.local(), targets.join(" "))
            })
        };
        let entry = |key: &str, targets: &str| Some((key.to_owned(), targets.to_owned()));
        assert_eq!(
            show(file.exact(&canonical_local("SO\u{308}LES"), &own)),
            entry("söles", "alice@example.com Bob@other.org \"a b\"@example.com")
        );
        assert_eq!(show(file.exact("sales", &own)), None);
        assert_eq!(show(file.matching("Sum", &own)), entry("/s.*/", "s@x.y"));
        assert_eq!(
            show(file.matching("Rum", &own)),
            entry("/(.)u(.*)/", "m+R@example.com !132")
        );
        assert_eq!(show(file.matching("um", &own)), None);
        assert_eq!(show(file.catch_all(&own)), entry("*", "rest@example.com"));
        assert_eq!(show(AliasFile::default().catch_all(&own)), None);
    }

    #[test]
    fn what_is_not_known_is_kept_in_its_order() {
        let text = r#"{"aliases":[{"name":"b","targets":["x"],"comment":"c","id":1},{"name":"a","targets":["y"]}],"patterns":[{"pattern":"p","targets":["x"],"z":2}],"catch_all":{"targets":["q"],"k":3},"version":4}"#;
        assert_eq!(serde_json::to_string(&read(text)).expect("JSON"), text);
        let places: Vec<String> = read(text)
            .complaints()
            .iter()
            .filter_map(|text| Some(text.split_once(':')?.0.to_owned()))
            .collect();
        assert_eq!(
            places,
            [
                "\"version\"",
                "aliases[0].\"id\"",
                "patterns[0].\"z\"",
                "catch_all.\"k\""
            ]
        );
        assert_eq!(
            serde_json::to_string(&read("{}")).expect("JSON"),
            r#"{"aliases":[],"patterns":[]}"#
        );
    }

    #[test]
    fn mistakes_are_told_where_they_are() {
        for (text, place, words) in [
            ("[]", ".", "expected an object"),
            (
                r#"{"aliases":[{"name":"a","targets":[]}]}"#,
                "aliases[0].targets",
                "at least one",
            ),
            (
                r#"{"aliases":[{"name":"a","target":["b"]}]}"#,
                "aliases[0]",
                "missing field `targets`",
            ),
            (
                r#"{"aliases":[{"name":"a","targets":["b","c d"]}]}"#,
                "aliases[0].targets[1]",
                "\"c d\": expected an address",
            ),
            (
                r#"{"aliases":[{"name":"a@b.c","targets":["b"]}]}"#,
                "aliases[0].name",
                "without @domain",
            ),
            (
                r#"{"aliases":[{"name":"","targets":["b"]}]}"#,
                "aliases[0].name",
                "no local part",
            ),
            (
                r#"{"aliases":[{"name":"A","targets":["b"]},{"name":"a","targets":["b"]}]}"#,
                ".",
                "aliases[0] and aliases[1] are both for a",
            ),
            (
                r#"{"patterns":[{"pattern":"(","targets":["b"]}]}"#,
                "patterns[0].pattern",
                "unclosed group",
            ),
            (
                r#"{"patterns":[{"pattern":"a","targets":["$1"]}]}"#,
                "patterns[0]",
                "no group $1",
            ),
            (
                r#"{"patterns":[{"pattern":"a","targets":["b"]},{"pattern":"a","targets":["c"]}]}"#,
                ".",
                "patterns[0] and patterns[1] are the same",
            ),
            (r#"{"catch_all":["b"]}"#, "catch_all", "expected an object"),
        ] {
            let mut json = serde_json::Deserializer::from_str(text);
            let error = serde_path_to_error::deserialize::<_, AliasFile>(&mut json).expect_err(text);
            assert_eq!(error.path().to_string(), place, "{text}");
            assert!(error.to_string().contains(words), "{error}");
        }
        let many: Vec<String> = (0..1001).map(|at| format!("\"t{at}\"")).collect();
        let many = format!(r#"{{"catch_all":{{"targets":[{}]}}}}"#, many.join(","));
        assert!(serde_json::from_str::<AliasFile>(&many).is_err());
    }
}
