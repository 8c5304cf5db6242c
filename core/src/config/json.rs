//! JSON into a value, with every key that stands twice in one object: serde_json alone keeps the last one silently.

use core::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::Problem;

/// Reads a text. The second part names the keys that stand twice.
///
/// # Errors
/// It is no JSON, or nests deeper than serde_json allows.
pub(super) fn read(text: &str) -> Result<(Value, Vec<Problem>), serde_json::Error> {
    let mut twice = Vec::new();
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Reader {
        path: "",
        twice: &mut twice,
    }
    .deserialize(&mut reader)?;
    reader.end()?;
    Ok((value, twice))
}

/// Reads one value at a path.
struct Reader<'a> {
    path: &'a str,
    twice: &'a mut Vec<Problem>,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("no finite number"))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Reader {
            path: &format!("{}[{}]", self.path, list.len()),
            twice: self.twice,
        })? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            let path = match self.path {
                "" => name.clone(),
                path => format!("{path}.{name}"),
            };
            let value = entries.next_value_seed(Reader {
                path: &path,
                twice: self.twice,
            })?;
            if object.insert(name, value).is_some() {
                self.twice
                    .push(Problem::about(path, "this key stands here twice"));
            }
        }
        Ok(Value::Object(object))
    }
}
