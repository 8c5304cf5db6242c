//! The `index.json` of the earliest layout, which had one beside the files `msg-{uid}.eml` of a mailbox.
//!
//! Its form was never written down. What is taken, with any other field left unread:
//!
//! ```text
//! index    = { "uidvalidity": N, "uidnext": N, "messages": [ message, ... ] / { "UID": message, ... } }
//!            ; or a list of messages alone. uid_validity, uid_next, next_uid are the same.
//! message  = { "uid": N, "flags": flags, "keywords": flags, "date": date, "size": N }
//!            ; uid may be a text of digits; under a key it may be missing. internaldate, internal_date, received and
//!            ; timestamp are the same as date
//! flags    = [ "\\Seen", "seen", "$Forwarded", ... ] / "\\Seen seen" / { "seen": true, ... }
//!            ; \Recent is no flag; what is neither a system flag nor a keyword is left out, and counted
//! date     = RFC 3339 / IMAP date-time / seconds since 1970 (number or text)
//! ```
//!
//! Everything but the UID may be missing. An entry that is no message as above is told, and the others are taken.

use core::fmt;

use rmail_core::mailbox::{Flags, Uid, UidValidity};
use rmail_core::time::DateTime;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::{add_flag, dates, number, number32};

/// What an index says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// UIDVALIDITY.
    pub uid_validity: Option<UidValidity>,
    /// UIDNEXT.
    pub uid_next: Option<Uid>,
    /// Messages by UID, ascending, each UID once.
    pub entries: Vec<Entry>,
    /// Entries that could not be taken: which, and why.
    pub problems: Vec<(String, String)>,
}

/// A message of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// UID, not 0.
    pub uid: Uid,
    /// System flags and keywords.
    pub flags: Flags,
    /// Flags that are none.
    pub odd_flags: usize,
    /// INTERNALDATE.
    pub date: Option<DateTime>,
    /// A date was there, and could not be read.
    pub odd_date: bool,
    /// Octets.
    pub size: Option<u64>,
}

impl Index {
    /// Reads an index.
    ///
    /// # Errors
    /// It is no JSON, or neither an object nor a list.
    pub fn decode(octets: &[u8]) -> Result<Self, String> {
        let mut index = Self::default();
        let mut reader = serde_json::Deserializer::from_slice(octets);
        Top(&mut index)
            .deserialize(&mut reader)
            .and_then(|()| reader.end())
            .map_err(|error| error.to_string())?;
        // Of several with one UID the first counts.
        index.entries.sort_by_key(|entry| entry.uid);
        let mut last = None;
        let mut twice = Vec::new();
        index.entries.retain(|entry| {
            let new = last.replace(entry.uid) != Some(entry.uid);
            if !new {
                twice.push(entry.uid);
            }
            new
        });
        for uid in twice {
            let why = "another entry before it has the same UID".to_owned();
            index
                .problems
                .push((format!("a second entry of UID {}", uid.0), why));
        }
        Ok(index)
    }

    fn message(&mut self, at: &str, key: Option<&str>, value: &Value) {
        let Value::Object(fields) = value else {
            self.problem(at, "it is no object");
            return;
        };
        let field = |names: &[&str]| {
            let known =
                |(name, _): &(&String, &Value)| names.iter().any(|known| name.eq_ignore_ascii_case(known));
            fields.iter().find(known).map(|(_, value)| value)
        };
        let uid = match field(&["uid", "id"]) {
            Some(value) => whole(value),
            None => key.and_then(number),
        };
        let Some(uid) = uid
            .and_then(|uid| u32::try_from(uid).ok())
            .filter(|uid| *uid != 0)
        else {
            self.problem(at, "its UID is missing, or is no number from 1 to 4294967295");
            return;
        };
        let mut entry = Entry {
            uid: Uid(uid),
            flags: Flags::default(),
            odd_flags: 0,
            date: None,
            odd_date: false,
            size: field(&["size", "rfc822_size", "rfc822.size"]).and_then(whole),
        };
        for list in ["flags", "keywords"] {
            if let Some(value) = field(&[list]) {
                take_flags(value, &mut entry);
            }
        }
        let names = ["internaldate", "internal_date", "date", "received", "timestamp"];
        if let Some(value) = field(&names).filter(|value| !value.is_null()) {
            entry.date = match value {
                Value::String(text) => dates::of_any_form(text),
                Value::Number(number) => dates::of_any_form(&number.to_string()),
                _ => None,
            };
            entry.odd_date = entry.date.is_none();
        }
        self.entries.push(entry);
    }

    fn problem(&mut self, at: &str, why: &str) {
        self.problems
            .push((format!("entry {at} of messages"), why.to_owned()));
    }
}

fn take_flags(value: &Value, entry: &mut Entry) {
    let mut add = |text: &str| {
        if !add_flag(&mut entry.flags, text, true) {
            entry.odd_flags += 1;
        }
    };
    match value {
        Value::String(text) => text.split_whitespace().for_each(add),
        Value::Array(list) => list
            .iter()
            .for_each(|flag| add(flag.as_str().unwrap_or_default())),
        Value::Object(flags) => {
            let set = flags.iter().filter(|(_, on)| on.as_bool() != Some(false));
            set.for_each(|(name, _)| add(name));
        }
        Value::Null => {}
        _ => entry.odd_flags += 1,
    }
}

/// A number, or a text of digits.
fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => number(text),
        other => other.as_u64(),
    }
}

/// The whole file.
struct Top<'a>(&'a mut Index);

impl<'de> DeserializeSeed<'de> for Top<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Top<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with messages, or a list of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<(), A::Error> {
        Messages(self.0).visit_seq(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.to_ascii_lowercase().as_str() {
                "uidvalidity" | "uid_validity" => {
                    let value = whole(&map.next_value()?).and_then(|value| u32::try_from(value).ok());
                    self.0.uid_validity = value.filter(|value| *value != 0).map(UidValidity);
                }
                "uidnext" | "uid_next" | "next_uid" => {
                    let value = whole(&map.next_value()?).and_then(|value| u32::try_from(value).ok());
                    self.0.uid_next = value.map(Uid);
                }
                "messages" => map.next_value_seed(Messages(self.0))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// The messages, one at a time: an index of millions does not become a tree of values.
struct Messages<'a>(&'a mut Index);

impl<'de> DeserializeSeed<'de> for Messages<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Messages<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of messages, or an object with a message under each UID")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut at = 0_usize;
        while let Some(value) = list.next_element::<Value>()? {
            at += 1;
            self.0.message(&at.to_string(), None, &value);
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((key, value)) = map.next_entry::<String, Value>()? {
            self.0.message(&format!("{key:?}"), Some(&key), &value);
        }
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// The UID of a file `msg-{uid}.eml`.
#[must_use]
pub fn uid_of_file(name: &str) -> Option<Uid> {
    let digits = name.strip_prefix("msg-")?.strip_suffix(".eml")?;
    number32(digits).filter(|uid| *uid != 0).map(Uid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmail_core::mailbox::SystemFlags;

    fn decode(text: &str) -> Index {
        Index::decode(text.as_bytes()).expect("an index")
    }

    #[test]
    fn all_forms_say_the_same() {
        let list = decode(
            r#"{"version":7,"uidvalidity":5,"uidnext":9,"messages":[
                {"uid":7,"flags":["\\Seen","$Work","\\Recent"],"date":"1996-07-17T02:44:25-07:00","size":3,"more":{}},
                {"uid":2}]}"#,
        );
        assert_eq!(
            (list.uid_validity, list.uid_next),
            (Some(UidValidity(5)), Some(Uid(9)))
        );
        assert_eq!(
            list.entries.iter().map(|entry| entry.uid.0).collect::<Vec<_>>(),
            [2, 7]
        );
        let entry = &list.entries[1];
        assert_eq!(entry.flags.system, SystemFlags::SEEN);
        assert_eq!(entry.flags.keywords[0].as_str(), "$Work");
        assert_eq!((entry.size, entry.odd_flags, entry.odd_date), (Some(3), 0, false));
        assert_eq!(
            entry.date,
            Some(DateTime {
                unix: 837_596_665,
                zone: -420
            })
        );
        for other in [
            r#"{"UID_VALIDITY":"5","next_uid":9,"messages":{"7":{"flags":"seen $Work","internaldate":"17-Jul-1996 02:44:25 -0700","size":"3"},"2":{}}}"#,
            r#"{"messages":[{"id":2},{"uid":"7","flags":{"seen":true,"draft":false},"keywords":["$Work"],"date":"17-Jul-1996 02:44:25 -0700","size":3}],"uidnext":9,"uidvalidity":5}"#,
        ] {
            assert_eq!(decode(other), list, "{other}");
        }
        assert_eq!(decode(r#"[{"uid":3}]"#).entries[0].uid, Uid(3));
        let seconds = decode(r#"[{"uid":3,"timestamp":837596665.5}]"#);
        assert_eq!(
            seconds.entries[0].date,
            Some(DateTime {
                unix: 837_596_665,
                zone: 0
            })
        );
        assert_eq!(decode(r#"{"messages":null}"#), Index::default());
    }

    #[test]
    fn what_is_broken_is_told_and_the_rest_is_taken() {
        let index = decode(
            r#"{"uidvalidity":-1,"messages":[{"uid":0},{"uid":4294967296},{},7,{"uid":3,"flags":["a b","\\Seen"],"date":"never"},{"uid":3,"flags":[]}]}"#,
        );
        assert_eq!((index.entries.len(), index.problems.len()), (1, 5));
        let entry = &index.entries[0];
        assert_eq!(
            (entry.odd_flags, entry.odd_date, entry.flags.system),
            (1, true, SystemFlags::SEEN)
        );
        assert!(index.problems[4].0.contains("UID 3"));
        for bad in ["", "{", "7", "{\"messages\":[1}", "[]x"] {
            assert!(Index::decode(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(Index::decode("[".repeat(100_000).as_bytes()).is_err());
    }

    #[test]
    fn files_by_uid() {
        assert_eq!(uid_of_file("msg-7.eml"), Some(Uid(7)));
        assert_eq!(uid_of_file("msg-0007.eml"), Some(Uid(7)));
        for other in [
            "msg-0.eml",
            "msg-.eml",
            "msg-x.eml",
            "msg-4294967296.eml",
            "msg-7.eml.tmp",
            "7.eml",
        ] {
            assert_eq!(uid_of_file(other), None);
        }
    }
}
