//! JSON as it was, but for some values.

/// The text without spaces between its tokens; values for which there is something else are replaced. It is asked once for
/// each name in an object: what stands in the value's place. `None`: no JSON.
pub(super) fn rewrite(text: &str, instead: &mut dyn FnMut(&str, &str) -> Option<String>) -> Option<String> {
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first.is_ascii_whitespace() {
            rest = rest.get(1..)?;
            continue;
        }
        if first != '"' {
            let (one, more) = rest.split_at_checked(first.len_utf8())?;
            out.push_str(one);
            rest = more;
            continue;
        }
        let (string, more) = rest.split_at_checked(string(rest)?)?;
        out.push_str(string);
        rest = more.trim_ascii_start();
        let Some(value) = rest.strip_prefix(':') else {
            continue;
        };
        out.push(':');
        rest = value.trim_ascii_start();
        let name: String = serde_json::from_str(string).ok()?;
        if let Some(length) = is_told(&name).then(|| length(rest)).flatten() {
            let (value, more) = rest.split_at_checked(length)?;
            if let Some(new) = instead(&name, value) {
                out.push_str(&new);
                rest = more;
            }
        }
    }
    Some(out)
}

/// Whether a value of this name may be a secret.
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [
        "password",
        "passphrase",
        "secret",
        "token",
        "credential",
        "private",
        "cookie",
        "authorization",
    ]
    .iter()
    .any(|word| name.contains(word))
}

/// Whether a server makes the value of this name up, or it tells of the hour.
pub(super) fn varies(name: &str) -> bool {
    const NAMES: &[&str] = &[
        "id",
        "ids",
        "thread_id",
        "version",
        "uptime_seconds",
        "free_octets",
        "listeners",
        "expires",
        "expires_in",
        "received",
        "arrived",
        "date",
        "size",
        "used_octets",
        "next",
        "since",
        "cursor",
        "time",
    ];
    NAMES.contains(&name)
}

/// What is asked about. How long a value is is found out for no other: they may be nested.
fn is_told(name: &str) -> bool {
    is_secret(name) || varies(name) || name == "username"
}

/// Octets of the string at the front.
fn string(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, octet) in text.bytes().enumerate().skip(1) {
        match octet {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Octets of the value at the front.
fn length(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        match *text.as_bytes().get(at)? {
            b'"' => at += string(text.get(at..)?)?,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            _ if depth > 0 => {
                at += 1;
                continue;
            }
            _ => {
                return text
                    .find([',', '}', ']', ' ', '\t', '\r', '\n'])
                    .or(Some(text.len()));
            }
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_values_are_replaced() {
        let mut instead =
            |name: &str, value: &str| (is_secret(name) || varies(name)).then(|| format!("<{}>", value.len()));
        for (text, wanted) in [
            (
                r#"{"password": "a\"b", "x": [1, {"id": 17}]}"#,
                r#"{"password":<6>,"x":[1,{"id":<2>}]}"#,
            ),
            (
                r#"{"ids" : ["a]", {"b": "}"}], "x": "id: \\"}"#,
                r#"{"ids":<18>,"x":"id: \\"}"#,
            ),
            (r#"{"new_p\u0061ssword":null}"#, r#"{"new_p\u0061ssword":<4>}"#),
            (r#"["password", "x y"]"#, r#"["password","x y"]"#),
            (" 5 ", "5"),
        ] {
            assert_eq!(rewrite(text, &mut instead).as_deref(), Some(wanted), "{text}");
        }
        for bad in ["", "{", r#"{"a":}"#, "password=x"] {
            assert_eq!(rewrite(bad, &mut instead), None, "{bad}");
        }
    }
}
