//! Reads bodies: JSON whose every wrong field is told at once, each with its JSON path.
//!
//! ```ignore
//! let new = json::read(request, |body| {
//!     let name = body.required("name", json::line(64));
//!     let tags = body.list("tags", 10, json::line(32));
//!     Some(New { name: name?, tags: tags.unwrap_or_default() })
//! })?;
//! ```
//!
//! The form reads all fields first and gives up (`?`) only then: what is missing or wrong is noted on the way. A field that
//! the form did not ask for is an error, so that a misspelt name is not passed over; so is a name that comes twice, of which
//! others would take the first or the last. `null` is as good as absent, but where [`Object::nullable`] tells them apart.

use core::cell::{Cell, RefCell};
use core::fmt::{self, Write as _};
use core::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{Detail, Failure, Request};
use crate::addr::Address;

/// Wrong fields that are told of one request.
const MAX_DETAILS: usize = 100;

/// Values of a body, all that stand within others counted: each takes some hundred octets of memory, whatever it takes of the
/// body. The longest list that a call takes has some thousand.
const MAX_VALUES: u32 = 100_000;

/// Characters of a name that are repeated in an answer.
const MAX_NAME: usize = 64;

/// A value, or what was expected in its place: `expected true or false`.
pub type Parsed<T> = Result<T, String>;

/// What was found wrong so far.
#[derive(Debug, Default)]
struct Wrong(RefCell<Vec<Detail>>);

impl Wrong {
    fn add(&self, path: String, error: impl Into<String>) {
        let mut details = self.0.borrow_mut();
        if details.len() < MAX_DETAILS {
            details.push(Detail {
                path,
                error: error.into(),
            });
        }
    }
}

/// An object of the body, while it is read.
#[derive(Debug)]
pub struct Object<'a> {
    path: String,
    fields: &'a Map<String, Value>,
    asked: Vec<&'static str>,
    wrong: &'a Wrong,
}

/// Reads the body's object.
///
/// # Errors
/// 400 with all that is wrong.
pub fn read<T>(request: &Request<'_>, form: impl FnOnce(&mut Object<'_>) -> Option<T>) -> Result<T, Failure> {
    read_octets(request.body, form)
}

/// Reads the object in these octets. Nothing at all is as good as `{}`: what is needed is then missing by name.
///
/// # Errors
/// 400 with all that is wrong.
pub fn read_octets<T>(octets: &[u8], form: impl FnOnce(&mut Object<'_>) -> Option<T>) -> Result<T, Failure> {
    let octets = if octets.trim_ascii().is_empty() {
        b"{}"
    } else {
        octets
    };
    let room = Cell::new(MAX_VALUES);
    let mut reader = serde_json::Deserializer::from_slice(octets);
    let value = Strict(&room).deserialize(&mut reader);
    let value = value
        .and_then(|value| reader.end().map(|()| value))
        .map_err(|error| Failure::field("$", format!("not good JSON: {error}")))?;
    let Value::Object(fields) = &value else {
        return Err(Failure::field("$", "expected an object"));
    };
    let wrong = Wrong::default();
    let read = Object::read("$".to_owned(), fields, &wrong, form);
    let details = wrong.0.into_inner();
    match read {
        Some(read) if details.is_empty() => Ok(read),
        _ => Err(Failure::invalid(details)),
    }
}

impl<'a> Object<'a> {
    fn read<T>(
        path: String,
        fields: &'a Map<String, Value>,
        wrong: &'a Wrong,
        form: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        let mut object = Self {
            path,
            fields,
            asked: Vec::new(),
            wrong,
        };
        let read = form(&mut object);
        for name in fields.keys() {
            if !object.asked.contains(&name.as_str()) {
                wrong.add(object.path_of(name), "unknown field");
            }
        }
        read
    }

    /// The value of a field that must be there.
    pub fn required<T>(&mut self, name: &'static str, parse: impl FnOnce(&Value) -> Parsed<T>) -> Option<T> {
        let found = self.find(name).filter(|value| !value.is_null());
        if found.is_none() {
            self.wrong(name, "missing");
        }
        self.parsed(name, found?, parse)
    }

    /// The value of a field that may be absent.
    pub fn optional<T>(&mut self, name: &'static str, parse: impl FnOnce(&Value) -> Parsed<T>) -> Option<T> {
        let found = self.find(name).filter(|value| !value.is_null());
        self.parsed(name, found?, parse)
    }

    /// The same where `null` means something: `Some(None)`.
    pub fn nullable<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&Value) -> Parsed<T>,
    ) -> Option<Option<T>> {
        match self.find(name)? {
            Value::Null => Some(None),
            value => self.parsed(name, value, parse).map(Some),
        }
    }

    /// The values of a list of at most `max`. None: it is absent, or something in it is wrong.
    pub fn list<T>(
        &mut self,
        name: &'static str,
        max: usize,
        parse: impl Fn(&Value) -> Parsed<T>,
    ) -> Option<Vec<T>> {
        self.items(name, max, |path, value, wrong| match parse(value) {
            Ok(value) => Some(value),
            Err(error) => {
                wrong.add(path, error);
                None
            }
        })
    }

    /// The object in a field. None: it is absent, or wrong.
    pub fn object<T>(
        &mut self,
        name: &'static str,
        form: impl FnOnce(&mut Object<'_>) -> Option<T>,
    ) -> Option<T> {
        let value = self.find(name).filter(|value| !value.is_null())?;
        let Value::Object(fields) = value else {
            self.wrong(name, "expected an object");
            return None;
        };
        Object::read(self.path_of(name), fields, self.wrong, form)
    }

    /// The objects in a list of at most `max`. None: it is absent, or something in it is wrong.
    pub fn objects<T>(
        &mut self,
        name: &'static str,
        max: usize,
        form: impl Fn(&mut Object<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        self.items(name, max, |path, value, wrong| match value {
            Value::Object(fields) => Object::read(path, fields, wrong, &form),
            _ => {
                wrong.add(path, "expected an object");
                None
            }
        })
    }

    /// Whether the field is there, and not null.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.fields.get(name).is_some_and(|value| !value.is_null())
    }

    /// Notes that a field is wrong, for what the form finds out itself.
    pub fn wrong(&self, name: &str, error: impl Into<String>) {
        self.wrong.add(self.path_of(name), error);
    }

    /// The same of the object as a whole.
    pub fn wrong_here(&self, error: impl Into<String>) {
        self.wrong.add(self.path.clone(), error);
    }

    fn items<T>(
        &mut self,
        name: &'static str,
        max: usize,
        mut parse: impl FnMut(String, &Value, &Wrong) -> Option<T>,
    ) -> Option<Vec<T>> {
        let value = self.find(name).filter(|value| !value.is_null())?;
        let Value::Array(values) = value else {
            self.wrong(name, "expected a list");
            return None;
        };
        if values.len() > max {
            self.wrong(name, format!("expected at most {max} values"));
            return None;
        }
        let path = self.path_of(name);
        let each = values.iter().enumerate();
        let parsed: Vec<Option<T>> = each
            .map(|(at, value)| parse(format!("{path}[{at}]"), value, self.wrong))
            .collect();
        parsed.into_iter().collect()
    }

    fn find(&mut self, name: &'static str) -> Option<&'a Value> {
        self.asked.push(name);
        self.fields.get(name)
    }

    fn parsed<T>(&self, name: &str, value: &Value, parse: impl FnOnce(&Value) -> Parsed<T>) -> Option<T> {
        match parse(value) {
            Ok(value) => Some(value),
            Err(error) => {
                self.wrong(name, error);
                None
            }
        }
    }

    fn path_of(&self, name: &str) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let mut path = self.path.clone();
        if !name.is_empty() && name.len() <= MAX_NAME && name.chars().all(plain) {
            let _ = write!(path, ".{name}");
        } else {
            let name: String = name.chars().take(MAX_NAME).collect();
            let _ = write!(path, "[{}]", Value::String(name));
        }
        path
    }
}

/// Text of at most so many characters, perhaps of several lines, without NUL.
pub fn text(max: usize) -> impl Fn(&Value) -> Parsed<String> {
    move |value| match value {
        Value::String(text) if text.chars().count() > max => {
            Err(format!("expected text of at most {max} characters"))
        }
        Value::String(text) if text.contains('\0') => Err("expected text without NUL".to_owned()),
        Value::String(text) => Ok(text.clone()),
        _ => Err("expected text".to_owned()),
    }
}

/// Text of one line: 1 to `max` characters, no control characters.
pub fn line(max: usize) -> impl Fn(&Value) -> Parsed<String> {
    move |value| match text(max)(value)? {
        line if line.is_empty() => Err("expected text that is not empty".to_owned()),
        line if line.chars().any(char::is_control) => {
            Err("expected text without control characters".to_owned())
        }
        line => Ok(line),
    }
}

/// `true` or `false`.
///
/// # Errors
/// Anything else.
pub fn boolean(value: &Value) -> Parsed<bool> {
    value.as_bool().ok_or_else(|| "expected true or false".to_owned())
}

/// A whole number within bounds. `2.0` is one (JSON Schema, `integer`).
pub fn integer(range: RangeInclusive<u64>) -> impl Fn(&Value) -> Parsed<u64> {
    move |value| {
        let whole = |number: &Number| number.as_u64().or_else(|| whole(number.as_f64()?));
        let found = value.as_number().and_then(whole);
        found.filter(|number| range.contains(number)).ok_or_else(|| {
            format!(
                "expected a whole number from {} to {}",
                range.start(),
                range.end()
            )
        })
    }
}

/// The number if it is whole and exactly known.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "looked at before"
)]
fn whole(number: f64) -> Option<u64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    ((0.0..=EXACT).contains(&number) && number.fract() == 0.0).then_some(number as u64)
}

/// One of these words.
pub fn word(words: &'static [&'static str]) -> impl Fn(&Value) -> Parsed<&'static str> {
    move |value| {
        let found = words.iter().find(|word| value.as_str() == Some(word));
        found
            .copied()
            .ok_or_else(|| format!("expected one of {}", words.join(", ")))
    }
}

/// An address without a name: `alice@example.com`.
///
/// # Errors
/// Anything else.
pub fn address(value: &Value) -> Parsed<Address> {
    let parsed = value.as_str().and_then(Address::parse);
    parsed.ok_or_else(|| "expected an address".to_owned())
}

/// Octets in base64 (RFC 4648 §4; the padding may be missing, white space is passed over), at most so many.
pub fn base64(max: usize) -> impl Fn(&Value) -> Parsed<Vec<u8>> {
    move |value| {
        let wrong = || "expected base64".to_owned();
        let text = value.as_str().ok_or_else(wrong)?;
        let digits: Vec<u8> = text
            .bytes()
            .filter(|octet| !octet.is_ascii_whitespace())
            .collect();
        let digits = digits.strip_suffix(b"=").unwrap_or(&digits);
        let digits = digits.strip_suffix(b"=").unwrap_or(digits);
        if digits.len() / 4 > max / 3 {
            return Err(format!("expected at most {max} octets"));
        }
        let octets = BASE64.decode(digits).map_err(|_| wrong())?;
        if octets.len() > max {
            return Err(format!("expected at most {max} octets"));
        }
        Ok(octets)
    }
}

/// JSON in which no name of an object comes twice, of no more values than there is room for. Depth: as `serde_json` bounds
/// it, 128.
#[derive(Clone, Copy)]
struct Strict<'a>(&'a Cell<u32>);

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.0.get().checked_sub(1) {
            Some(left) => self.0.set(left),
            None => return Err(de::Error::custom("too many values")),
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("number out of range"))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = access.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            if fields.contains_key(&name) {
                let name: String = name.chars().take(MAX_NAME).collect();
                return Err(de::Error::custom(format_args!("{name:?} comes twice")));
            }
            fields.insert(name, access.next_value_seed(self)?);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_very_many_values_is_refused() {
        let body = |count: usize| format!("{{\"x\": [{}0]}}", "0,".repeat(count));
        let read = |body: &str| read_octets(body.as_bytes(), |_| Some(())).expect_err("x is unknown");
        assert_eq!(read(&body(50_000)).details[0].path, "$.x");
        let many = read(&body(MAX_VALUES as usize));
        assert_eq!(many.details[0].path, "$");
        assert!(many.details[0].error.contains("too many values"));
    }

    type Letter = (String, Vec<Address>, Option<u64>, Vec<(String, Vec<u8>)>);

    fn letter(octets: &[u8]) -> Result<Letter, Vec<(String, String)>> {
        let read = read_octets(octets, |body| {
            let subject = body.required("subject", line(10));
            let to = body.list("to", 2, address);
            let size = body.optional("size", integer(1..=5));
            let parts = body.objects("parts", 3, |part| {
                let name = part.required("name", text(5));
                let data = part.required("data", base64(4));
                Some((name?, data?))
            });
            if !body.has("to") {
                body.wrong("to", "missing");
            }
            Some((subject?, to?, size, parts.unwrap_or_default()))
        });
        read.map_err(|failure| {
            assert_eq!(failure.status, 400);
            let details = failure.details.into_iter();
            details.map(|detail| (detail.path, detail.error)).collect()
        })
    }

    fn wrong(octets: &str) -> Vec<String> {
        let wrong = letter(octets.as_bytes()).expect_err("wrong");
        wrong
            .into_iter()
            .map(|(path, error)| format!("{path}: {error}"))
            .collect()
    }

    #[test]
    fn what_is_good_is_read() {
        let good = r#"{"subject":"x","to":["a@b.c"],"size":2.0,"parts":[{"name":"n","data":"YQ=="},{"name":"","data":"Y W\nFh"}]}"#;
        let (subject, to, size, parts) = letter(good.as_bytes()).expect("good");
        assert_eq!((subject.as_str(), to.len(), size), ("x", 1, Some(2)));
        assert_eq!(
            parts,
            [("n".to_owned(), b"a".to_vec()), (String::new(), b"aaa".to_vec())]
        );
        let nulls = r#"{"subject":"x","to":[],"size":null,"parts":null}"#;
        assert_eq!(
            letter(nulls.as_bytes()),
            Ok(("x".to_owned(), vec![], None, vec![]))
        );
    }

    #[test]
    fn every_wrong_field_is_told_with_its_path() {
        assert_eq!(
            wrong(
                r#"{"subjet":"x","to":["a@b.c","nobody"],"size":9,"a b":1,
                "parts":[{"name":"123456","data":"!"},7,{"data":"YWFhYWE=","x":null}]}"#
            ),
            [
                "$.subject: missing",
                "$.to[1]: expected an address",
                "$.size: expected a whole number from 1 to 5",
                "$.parts[0].name: expected text of at most 5 characters",
                "$.parts[0].data: expected base64",
                "$.parts[1]: expected an object",
                "$.parts[2].name: missing",
                "$.parts[2].data: expected at most 4 octets",
                "$.parts[2].x: unknown field",
                "$[\"a b\"]: unknown field",
                "$.subjet: unknown field",
            ]
        );
        assert_eq!(wrong(""), ["$.subject: missing", "$.to: missing"]);
        assert_eq!(wrong("[]"), ["$: expected an object"]);
        assert_eq!(
            wrong(r#"{"subject":"a\nb","to":["a@b.c","a@b.c","a@b.c"]}"#),
            [
                "$.subject: expected text without control characters",
                "$.to: expected at most 2 values"
            ]
        );
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        assert_eq!(
            wrong("{\"subject\":\n"),
            ["$: not good JSON: EOF while parsing a value at line 2 column 0"]
        );
        assert_eq!(
            wrong(r#"{"to":[],"to":[]}"#),
            ["$: not good JSON: \"to\" comes twice at line 1 column 13"]
        );
        for bad in [
            r#"{"a":"\ud800"}"#,
            "{'a':1}",
            "{\"a\":NaN}",
            "{\"a\":1e999}",
            "{} {}",
        ] {
            assert!(wrong(bad)[0].starts_with("$: not good JSON"), "{bad}");
        }
        assert!(letter(b"{\"subject\":\"\xff\"}").is_err());
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(wrong(&deep)[0].contains("recursion limit"));
    }

    #[test]
    fn what_is_told_is_bounded() {
        let many: Vec<String> = (0..1_000).map(|at| format!("\"f{at}\":1")).collect();
        assert_eq!(wrong(&format!("{{{}}}", many.join(","))).len(), MAX_DETAILS);
        let long = format!("{{\"{}\":1}}", "é".repeat(10_000));
        assert!(wrong(&long).iter().all(|line| line.len() < 200));
    }

    #[test]
    fn absent_null_and_a_value_are_three_things() {
        let read = |octets: &[u8]| {
            read_octets(octets, |body| Some(body.nullable("a", boolean))).map_err(|failure| failure.details)
        };
        assert_eq!(read(b"{}"), Ok(None));
        assert_eq!(read(b"{\"a\":null}"), Ok(Some(None)));
        assert_eq!(read(b"{\"a\":true}"), Ok(Some(Some(true))));
        assert!(read(b"{\"a\":1}").is_err());
    }
}
