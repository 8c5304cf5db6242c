//! Lines of JSON.
//!
//! Every line is an object with `time` (RFC 3339, milliseconds, UTC), `level` (`DEBUG`, `INFO`, `WARNING`, `ERROR`) and `target`.
//! An event has `event` and its own fields; their names are the same in all events: `conn` and `peer` (a connection), `id` (a
//! message), `account`, `to`, `from`, `error`, `reason`, … What is no event has `message`. Values are texts, but for those in
//! [`NUMBERS`].

use serde_json::{Map, Value};

use super::fields;

/// Fields that are numbers, in any event.
pub const NUMBERS: &[&str] = &[
    "attempts",
    "conn",
    "connections",
    "count",
    "entries",
    "grace_s",
    "left_out",
    "recipients",
    "sessions",
    "size",
    "tries",
];

/// The fields that every line has.
const FIRST: [&str; 3] = ["time", "level", "target"];

/// Appends a line without its end.
pub(super) fn push(line: &mut Vec<u8>, time: &str, level: &str, target: &str, text: &str) {
    let read = fields::read(text);
    line.push(b'{');
    for (name, value) in FIRST.into_iter().zip([time, level, target]) {
        if line.last() != Some(&b'{') {
            line.push(b',');
        }
        push_pair(line, name, value);
    }
    for (key, value) in &read.fields {
        if FIRST.contains(key) || *key == "message" {
            continue;
        }
        line.push(b',');
        match NUMBERS.contains(key).then(|| value.parse::<u64>()) {
            Some(Ok(number)) => {
                push_text(line, key);
                line.push(b':');
                line.extend_from_slice(number.to_string().as_bytes());
            }
            _ => push_pair(line, key, value),
        }
    }
    if !read.text.is_empty() || read.fields.is_empty() {
        line.push(b',');
        push_pair(line, "message", &read.text);
    }
    line.push(b'}');
}

fn push_pair(line: &mut Vec<u8>, key: &str, value: &str) {
    push_text(line, key);
    line.push(b':');
    push_text(line, value);
}

fn push_text(line: &mut Vec<u8>, text: &str) {
    // Writing a text to memory never fails.
    let _ = serde_json::to_writer(line, text);
}

/// A line of JSON as the same line of text; `None` if it is none of ours.
#[must_use]
pub fn as_text(line: &str) -> Option<String> {
    let mut object: Map<String, Value> = serde_json::from_str(line).ok()?;
    let mut take = |key: &str| match object.remove(key)? {
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    };
    let head = [take("time")?, take("level")?, take("target")?].join(" ");
    let mut text = String::new();
    for key in ["conn", "peer", "event", "id"] {
        if let Some(value) = take(key) {
            fields::push(&mut text, key, &value);
        }
    }
    let message = take("message");
    for (key, value) in &object {
        match value {
            Value::String(value) => fields::push(&mut text, key, value),
            other => fields::push(&mut text, key, &other.to_string()),
        }
    }
    if let Some(more) = message {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&more);
    }
    Some(format!("{head} {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> String {
        let mut line = Vec::new();
        push(&mut line, "2026-11-22T09:00:00.000Z", "INFO", "smtp", text);
        String::from_utf8(line).expect("JSON is UTF-8")
    }

    #[test]
    fn an_event_is_an_object_with_its_fields_and_can_be_text_again() {
        let text = "conn=7 peer=192.0.2.1 event=accepted id=1234 from=\"a \\\"b\\\"\" size=12 time=late";
        let line = line(text);
        assert_eq!(
            line,
            r#"{"time":"2026-11-22T09:00:00.000Z","level":"INFO","target":"smtp","conn":7,"peer":"192.0.2.1","event":"accepted","id":"1234","from":"a \"b\"","size":12}"#
        );
        let again = as_text(&line).expect("a line of ours");
        assert_eq!(
            again,
            "2026-11-22T09:00:00.000Z INFO smtp conn=7 peer=192.0.2.1 event=accepted id=1234 from=\"a \\\"b\\\"\" size=12"
        );
    }

    #[test]
    fn what_is_no_event_is_a_message() {
        let line = line("odd\r\ninput a=b");
        assert!(line.ends_with(r#","message":"odd\r\ninput a=b"}"#), "{line}");
        assert_eq!(line.lines().count(), 1);
        assert_eq!(as_text("plain text"), None);
        assert_eq!(as_text("{}"), None);
    }
}
