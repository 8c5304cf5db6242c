//! The configuration as a JSON Schema (draft 2020-12), for editors that complete and check while one types.
//!
//! It is made from [`KEYS`], as is all else that is said of them. It is no stricter than [`super::Config::parse`], which
//! has the last word: what only code can tell (whether a domain name is one, whether two keys agree) is not in it.

use serde_json::{Map, Value, json};

use super::keys::{KEYS, Key};
use super::kind::{
    Kind, LOG_LEVELS, MAX_CERTIFICATES, MAX_DELAY, MAX_LOG_TARGETS, MAX_NAMES, MX_TLS_POLICIES, ROUTE,
};

/// The key by which a configuration names its schema; it means nothing to the server.
pub const SCHEMA_KEY: &str = "$schema";

/// Name of the file that `rmail init` writes beside the configuration.
pub const FILE: &str = "config.schema.json";

/// The schema of a whole configuration.
#[must_use]
pub fn schema() -> Value {
    let mut root = section();
    for key in KEYS {
        put(&mut root, key);
    }
    if let Some(object) = root.as_object_mut() {
        object.insert(
            SCHEMA_KEY.into(),
            "https://json-schema.org/draft/2020-12/schema".into(),
        );
        object.insert("title".into(), "config.json of rmail".into());
    }
    if let Some(properties) = root.get_mut("properties").and_then(Value::as_object_mut) {
        let own = json!({"type": "string", "description": "Where this schema is; for editors"});
        properties.insert(SCHEMA_KEY.into(), own);
    }
    root
}

/// An object that takes no other keys than those that are put into it.
fn section() -> Value {
    json!({"type": "object", "additionalProperties": false, "properties": {}})
}

/// Puts a key into the section that it belongs to.
fn put(root: &mut Value, key: &Key) {
    let (sections, name) = key
        .path
        .rsplit_once('.')
        .map_or((None, key.path), |(sections, name)| (Some(sections), name));
    let mut at = root;
    for one in sections.into_iter().flat_map(|path| path.split('.')) {
        let Some(properties) = properties(at) else { return };
        at = properties.entry(one).or_insert_with(section);
    }
    if let Some(properties) = properties(at) {
        properties.insert(name.to_owned(), describe(key));
    }
}

fn properties(of: &mut Value) -> Option<&mut Map<String, Value>> {
    of.get_mut("properties").and_then(Value::as_object_mut)
}

fn describe(key: &Key) -> Value {
    let mut schema = of_kind(key.kind);
    if let Some(object) = schema.as_object_mut() {
        object.insert("description".into(), key.doc.into());
        object.insert("default".into(), (key.default)());
    }
    schema
}

/// Names: no blanks and no `@`.
const NAME: &str = "^[^\\s@]+$";
/// Of an address, perhaps with a port, a prefix length or a zone.
const ADDRESS: &str = "^[0-9A-Fa-f:.%/\\[\\]]+$";

fn of_kind(kind: Kind) -> Value {
    match kind {
        Kind::Text => json!({"type": "string", "minLength": 1}),
        Kind::AnyText => json!({"type": "string"}),
        Kind::OptionalText => json!({"type": ["string", "null"]}),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Integer(min, max) => json!({"type": "integer", "minimum": min, "maximum": max}),
        Kind::Port => json!({"type": ["integer", "null"], "minimum": 0, "maximum": 65_535}),
        Kind::Hostname | Kind::Host => text(NAME),
        Kind::OptionalHost => text("^[^\\s@]*$"),
        Kind::OptionalAddress | Kind::LocalListener => json!({"type": ["string", "null"], "minLength": 1}),
        Kind::Domains => json!({"type": "array", "minItems": 1, "items": text(NAME)}),
        Kind::Names | Kind::MxPatterns => {
            json!({"type": "array", "maxItems": MAX_NAMES, "items": text(NAME)})
        }
        Kind::Origins => list(&text("^(\\*|[a-z-]+://[^/\\s]+)$")),
        Kind::Hosts => {
            json!({"anyOf": [text(ADDRESS), {"type": "array", "minItems": 1, "items": text(ADDRESS)}]})
        }
        Kind::Networks | Kind::Resolvers => list(&text(ADDRESS)),
        Kind::Delays => list(&json!({"type": "integer", "minimum": 1, "maximum": MAX_DELAY})),
        Kind::Word(words) => json!({ "enum": words }),
        Kind::OptionalWord(words) => {
            let all: Vec<Value> = words
                .iter()
                .map(|word| Value::from(*word))
                .chain([Value::Null])
                .collect();
            json!({ "enum": all })
        }
        Kind::Secret => json!({"anyOf": [{"type": ["string", "null"]}, source("file"), source("env")]}),
        Kind::Routes => json!({"type": "object", "additionalProperties": route()}),
        Kind::Certificates => json!({"type": "array", "maxItems": MAX_CERTIFICATES, "items": {
            "type": "object", "additionalProperties": false, "required": ["cert_file", "key_file"],
            "properties": {"cert_file": of_kind(Kind::Text), "key_file": of_kind(Kind::Text)},
        }}),
        Kind::LogTargets => json!({
            "type": "object", "maxProperties": MAX_LOG_TARGETS, "additionalProperties": {"enum": LOG_LEVELS},
        }),
        Kind::TlsDomains => json!({"type": "object", "additionalProperties": {"enum": MX_TLS_POLICIES}}),
    }
}

fn text(pattern: &str) -> Value {
    json!({"type": "string", "pattern": pattern})
}

fn list(items: &Value) -> Value {
    json!({"type": "array", "items": items})
}

/// `{"file": PATH}`, `{"env": NAME}`
fn source(name: &str) -> Value {
    json!({
        "type": "object", "additionalProperties": false, "required": [name],
        "properties": {name: {"type": "string"}},
    })
}

fn route() -> Value {
    let mut route = section();
    if let Some(properties) = properties(&mut route) {
        for (name, kind) in ROUTE {
            properties.insert((*name).to_owned(), of_kind(*kind));
        }
    }
    if let Some(object) = route.as_object_mut() {
        object.insert("required".into(), json!(["host"]));
    }
    route
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use regex::Regex;

    /// What of JSON Schema is used above: whether a value is valid, with the place that is not.
    fn validate(schema: &Value, value: &Value, place: &str) -> Result<(), String> {
        let no = |why: &str| Err(format!("{place}: {value} {why}"));
        let known = [
            "type",
            "enum",
            "anyOf",
            "pattern",
            "minLength",
            "minimum",
            "maximum",
            "items",
            "minItems",
            "maxItems",
            "properties",
            "additionalProperties",
            "required",
            "maxProperties",
            "description",
            "default",
            "title",
            SCHEMA_KEY,
        ];
        let schema = schema.as_object().expect("a schema is an object here");
        for name in schema.keys() {
            assert!(
                known.contains(&name.as_str()),
                "{name} is not looked at by this test"
            );
        }
        let get = |name: &str| schema.get(name);
        if let Some(types) = get("type") {
            let types: Vec<&str> = match types {
                Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
                one => one.as_str().into_iter().collect(),
            };
            let is = |one: &&str| match *one {
                "string" => value.is_string(),
                "null" => value.is_null(),
                "boolean" => value.is_boolean(),
                "integer" => value.is_u64() || value.is_i64(),
                "array" => value.is_array(),
                "object" => value.is_object(),
                other => panic!("no type: {other}"),
            };
            if !types.iter().any(is) {
                return no("has the wrong type");
            }
        }
        if get("enum").is_some_and(|words| !words.as_array().expect("list").contains(value)) {
            return no("is none of the words");
        }
        if let Some(choices) = get("anyOf").and_then(Value::as_array)
            && !choices
                .iter()
                .any(|choice| validate(choice, value, place).is_ok())
        {
            return no("is nothing of what it may be");
        }
        if let (Some(pattern), Some(text)) = (get("pattern").and_then(Value::as_str), value.as_str())
            && !Regex::new(pattern).expect(pattern).is_match(text)
        {
            return no("does not match");
        }
        let size = |name: &str| get(name).and_then(Value::as_u64);
        let length = value.as_str().map(|text| text.chars().count() as u64);
        let items = value.as_array().map(|list| list.len() as u64);
        let below = |found: Option<u64>, name: &str| found.zip(size(name)).is_some_and(|(n, min)| n < min);
        let above = |found: Option<u64>, name: &str| found.zip(size(name)).is_some_and(|(n, max)| n > max);
        if below(length, "minLength")
            || below(items, "minItems")
            || above(items, "maxItems")
            || value.is_i64() && value.as_u64().is_none() && get("minimum").is_some()
            || below(value.as_u64(), "minimum")
            || above(value.as_u64(), "maximum")
        {
            return no("is too small or too large");
        }
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            if let Some(schema) = get("items") {
                validate(schema, item, &format!("{place}[{index}]"))?;
            }
        }
        let Some(object) = value.as_object() else {
            return Ok(());
        };
        if above(Some(object.len() as u64), "maxProperties") {
            return no("has too many keys");
        }
        for name in get("required").and_then(Value::as_array).into_iter().flatten() {
            if !object.contains_key(name.as_str().expect("a name")) {
                return no("lacks a key");
            }
        }
        for (name, value) in object {
            let below = format!("{place}.{name}");
            match (
                get("properties").and_then(|all| all.get(name)),
                get("additionalProperties"),
            ) {
                (Some(schema), _) => validate(schema, value, &below)?,
                (None, Some(Value::Bool(false))) => return Err(format!("{below} is not known")),
                (None, Some(schema)) => validate(schema, value, &below)?,
                (None, None) => {}
            }
        }
        Ok(())
    }

    /// Values of every type, and the edges of every range.
    fn values() -> Vec<Value> {
        let mut all = vec![
            json!(null),
            json!(true),
            json!(0),
            json!(1),
            json!(-1),
            json!(1.5),
            json!(24),
            json!(25),
            json!(65_535),
            json!(65_536),
            json!(u64::MAX),
            json!(""),
            json!("a.example"),
            json!("A b"),
            json!("a@b.example"),
            json!("192.0.2.1"),
            json!("::"),
            json!("[::1]:53"),
            json!("127.0.0.1:24"),
            json!("/run/x"),
            json!("INFO"),
            json!("verify"),
            json!("*"),
            json!("https://a.example"),
            json!("münchen.example"),
            json!([]),
            json!({}),
            json!(["a.example"]),
            json!(["*.a.example"]),
            json!(["*"]),
            json!(["::1"]),
            json!(["::1/64"]),
            json!(["192.0.2.0/24"]),
            json!(["[fe80::1%2]:53"]),
            json!([1, 60]),
            json!([0]),
            json!([["x"]]),
            json!(["192.0.2.1", 5]),
            json!({"file": "x"}),
            json!({"env": "X"}),
            json!({"file": "x", "env": "X"}),
            json!({"a.example": {"host": "b.example", "port": 25, "tls": null, "username": "u", "password": {"env": "X"}}}),
            json!({"*": {"host": "::1"}}),
            json!({"a.example": {"port": 25}}),
            json!({"a.example": "verify"}),
            json!({"a.example": "implicit"}),
            json!([{"cert_file": "a", "key_file": "b"}]),
            json!([{"cert_file": "a"}]),
            json!({"smtp": "DEBUG"}),
            json!([{"cert_file": "a", "key_file": ""}]),
            json!(vec!["a.example"; 17]),
        ];
        for key in KEYS {
            all.push((key.default)());
            match key.kind {
                Kind::Integer(min, max) => {
                    all.extend([min.saturating_sub(1), min, max, max.saturating_add(1)].map(Value::from));
                }
                Kind::Word(words) | Kind::OptionalWord(words) => {
                    all.extend(words.iter().map(|word| Value::from(*word)));
                }
                _ => {}
            }
        }
        all
    }

    #[test]
    fn it_refuses_nothing_that_is_right_and_tells_wrong_types_and_ranges() {
        let schema = schema();
        let (mut good, mut told, mut untold) = (0, 0, 0);
        for key in KEYS {
            for value in values() {
                let mut problems = Vec::new();
                key.kind.check(key.path, &value, &mut problems);
                let given = crate::config::nested([(key.path, value.clone())]);
                match (problems.is_empty(), validate(&schema, &given, "")) {
                    (true, valid) => {
                        valid.unwrap_or_else(|why| {
                            panic!("{}: the server takes what the schema does not: {why}", key.path)
                        });
                        good += 1;
                    }
                    (false, Err(_)) => told += 1,
                    (false, Ok(())) => {
                        // What only code can tell are texts, alone or in lists and objects.
                        assert!(
                            value.to_string().contains('"'),
                            "{}: the schema takes {value}, the server does not",
                            key.path
                        );
                        untold += 1;
                    }
                }
            }
        }
        assert!(
            good > 500 && told > 3_000 && untold < told / 4,
            "{good} {told} {untold}"
        );
    }

    #[test]
    fn the_defaults_and_the_name_of_the_schema_are_valid() {
        let mut whole = Config::defaults_json();
        whole[SCHEMA_KEY] = json!("./config.schema.json");
        validate(&schema(), &whole, "").expect("valid");
        let (_, warnings) = Config::parse(&whole.to_string()).expect("valid for the server too");
        assert_eq!(warnings, []);
        for bad in [r#"{"$schema": 3}"#, r#"{"smtp": {"$schema": "x"}}"#] {
            assert!(Config::parse(bad).is_err(), "{bad}");
            let value = serde_json::from_str(bad).expect("JSON");
            assert!(validate(&schema(), &value, "").is_err(), "{bad}");
        }
    }

    #[test]
    fn it_has_every_key_with_its_meaning_and_no_other() {
        fn leaves(schema: &Value, path: &str, found: &mut Vec<(String, String, Value)>) {
            let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
                let doc = schema["description"].as_str().expect("a description").to_owned();
                found.push((path.to_owned(), doc, schema["default"].clone()));
                return;
            };
            for (name, schema) in properties.iter().filter(|(name, _)| *name != SCHEMA_KEY) {
                let path = [path, name]
                    .iter()
                    .filter(|part| !part.is_empty())
                    .copied()
                    .collect::<Vec<_>>();
                leaves(schema, &path.join("."), found);
            }
        }
        let mut found = Vec::new();
        leaves(&schema(), "", &mut found);
        let mut wanted: Vec<_> = KEYS
            .iter()
            .map(|key| (key.path.to_owned(), key.doc.to_owned(), (key.default)()))
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        wanted.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(found, wanted);
    }
}
