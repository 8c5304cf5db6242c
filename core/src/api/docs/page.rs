//! The description as a page: no script, nothing from elsewhere, only the style that stands in it.

use core::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// Objects within objects that are shown.
const MAX_DEPTH: usize = 4;

const STYLE: &str = ":root{color-scheme:light dark}\
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem}\
code,pre{font:14px/1.4 ui-monospace,monospace}\
h2{margin-top:2.5rem;border-bottom:1px solid #8888}\
article{border:1px solid #8886;border-radius:.5rem;margin:1rem 0;padding:0 1rem}\
summary{cursor:pointer;padding:.6rem 0}\
table{border-collapse:collapse;width:100%}\
th,td{text-align:left;vertical-align:top;border-top:1px solid #8884;padding:.25rem .5rem}\
b{display:inline-block;min-width:4.5rem}\
.get{color:#0a7d3c}.post{color:#0b62c4}.patch{color:#b06a00}.delete{color:#c4314b}\
nav a{margin-right:1rem}";

/// What the page may do: show itself.
pub(super) fn policy() -> String {
    let hash = BASE64.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// The page.
pub(super) fn write(description: &Value) -> String {
    let page = Page { description };
    let mut out = String::with_capacity(64 * 1024);
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>rmail: HTTP API</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><style>{STYLE}</style></head><body>\n\
         <h1>rmail: HTTP API</h1><p>{}</p><p>The same for programs: <a href=\"/openapi.json\">/openapi.json</a></p>\n",
        prose(text(&description["info"], "description"))
    );
    let tags: Vec<&str> = list(&description["tags"])
        .filter_map(|tag| tag["name"].as_str())
        .collect();
    out.push_str("<nav>");
    for tag in &tags {
        let _ = write!(out, "<a href=\"#{}\">{}</a>", anchor(tag), escape(tag));
    }
    out.push_str("</nav>\n");
    for tag in &tags {
        let _ = writeln!(out, "<h2 id=\"{}\">{}</h2>", anchor(tag), escape(tag));
        for (path, operations) in fields(&description["paths"]) {
            for (method, operation) in fields(operations) {
                if list(&operation["tags"]).any(|one| one == tag) {
                    page.operation(&mut out, method, path, operation);
                }
            }
        }
    }
    out.push_str("</body></html>\n");
    out
}

struct Page<'a> {
    description: &'a Value,
}

impl Page<'_> {
    fn operation(&self, out: &mut String, method: &str, path: &str, operation: &Value) {
        let who = match list(&operation["security"]).count() {
            0 => "",
            1 => " (with a token)",
            _ => " (from this host, or with a token)",
        };
        let _ = writeln!(
            out,
            "<article id=\"{}\"><details><summary><b class=\"{method}\">{}</b> <code>{}</code><br>{}{who}</summary>",
            escape(text(operation, "operationId")),
            method.to_ascii_uppercase(),
            escape(path),
            prose(text(operation, "summary")),
        );
        if let Some(more) = operation["description"].as_str() {
            let _ = writeln!(out, "<p>{}</p>", prose(more));
        }
        let mut rows = String::new();
        for parameter in list(&operation["parameters"]) {
            let name = format!("{} ({})", text(parameter, "name"), text(parameter, "in"));
            let required = parameter["required"] == true;
            self.row(
                &mut rows,
                &name,
                required,
                &parameter["schema"],
                text(parameter, "description"),
            );
        }
        table(out, "Parameters", &rows);
        for (media_type, content) in fields(at(operation, "/requestBody/content")) {
            let mut rows = String::new();
            self.properties(&mut rows, "", &content["schema"], 0);
            table(out, &format!("Body: {media_type}"), &rows);
            if let Some(example) = content.get("example") {
                example_of(out, example);
            }
        }
        out.push_str("<h4>Answers</h4><table>");
        for (status, response) in fields(&operation["responses"]) {
            let response = self.resolve(response);
            let types: Vec<&str> = fields(&response["content"])
                .map(|(name, _)| name.as_str())
                .collect();
            let _ = write!(
                out,
                "<tr><td><code>{}</code></td><td>{}</td><td><code>{}</code></td></tr>",
                escape(status),
                prose(text(response, "description")),
                escape(&types.join(", ")),
            );
        }
        out.push_str("</table>");
        for (status, response) in fields(&operation["responses"]) {
            let content = at(self.resolve(response), "/content/application~1json");
            if status.starts_with('2') && !content.is_null() {
                let mut rows = String::new();
                self.properties(&mut rows, "", &content["schema"], 0);
                table(out, &format!("Fields of {status}"), &rows);
            }
        }
        out.push_str("</details></article>\n");
    }

    /// A row for each field of an object, and of the objects in it.
    fn properties(&self, out: &mut String, prefix: &str, schema: &Value, depth: usize) {
        let schema = self.resolve(schema);
        if depth >= MAX_DEPTH {
            return;
        }
        for form in ["oneOf", "anyOf", "allOf"]
            .iter()
            .flat_map(|form| list(&schema[*form]))
        {
            self.properties(out, prefix, form, depth + 1);
        }
        if !schema["items"].is_null() {
            self.properties(out, &format!("{prefix}[]"), &schema["items"], depth + 1);
        }
        for (name, property) in fields(&schema["properties"]) {
            let path = if prefix.is_empty() {
                name.clone()
            } else {
                format!("{prefix}.{name}")
            };
            let required = list(&schema["required"]).any(|one| one == name.as_str());
            let resolved = self.resolve(property);
            self.row(out, &path, required, resolved, text(resolved, "description"));
            self.properties(out, &path, resolved, depth + 1);
        }
    }

    fn row(&self, out: &mut String, name: &str, required: bool, schema: &Value, words: &str) {
        let kind = match &self.resolve(schema)["type"] {
            Value::String(kind) => kind.clone(),
            Value::Array(kinds) => {
                let kinds: Vec<&str> = kinds.iter().filter_map(Value::as_str).collect();
                kinds.join(" or ")
            }
            _ => String::new(),
        };
        let words_of: Vec<String> = list(&self.resolve(schema)["enum"])
            .map(Value::to_string)
            .collect();
        let among = if words_of.is_empty() {
            String::new()
        } else {
            format!(": {}", words_of.join(", "))
        };
        let _ = write!(
            out,
            "<tr><td><code>{}</code></td><td>{}{}{}</td><td>{}</td></tr>",
            escape(name),
            escape(&kind),
            escape(&among),
            if required { ", required" } else { "" },
            prose(words),
        );
    }

    /// What a reference leads to.
    fn resolve<'b>(&'b self, value: &'b Value) -> &'b Value {
        let pointer = value
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|to| to.strip_prefix('#'));
        pointer
            .and_then(|pointer| self.description.pointer(pointer))
            .unwrap_or(value)
    }
}

fn table(out: &mut String, title: &str, rows: &str) {
    if !rows.is_empty() {
        let _ = writeln!(out, "<h4>{}</h4><table>{rows}</table>", escape(title));
    }
}

fn example_of(out: &mut String, example: &Value) {
    let pretty = serde_json::to_string_pretty(example).unwrap_or_default();
    let _ = writeln!(out, "<pre>{}</pre>", escape(&pretty));
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// What a JSON pointer leads to; null if there is nothing.
fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn anchor(tag: &str) -> String {
    tag.to_lowercase().replace(' ', "-")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Escaped; what stands in back-quotes is code.
fn prose(text: &str) -> String {
    let mut out = String::new();
    for (at, piece) in text.split('`').enumerate() {
        let piece = escape(piece);
        match at % 2 {
            1 => drop(write!(out, "<code>{piece}</code>")),
            _ => out.push_str(&piece),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_every_call_and_loads_nothing() {
        let page = write(&super::super::DESCRIPTION);
        for route in crate::api::route::table() {
            assert!(
                page.contains(&format!("<article id=\"{}\">", route.name)),
                "{}",
                route.name
            );
        }
        for never in ["<script", "src=", "http://", "https://", "@import", "url("] {
            assert!(!page.contains(never), "{never}");
        }
        assert!(page.contains(STYLE) && policy().contains("style-src 'sha256-"));
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(
            prose("a <b> `c & \"d\"` e"),
            "a &lt;b&gt; <code>c &amp; &quot;d&quot;</code> e"
        );
    }
}
