//! The table of calls as an OpenAPI 3.1 description.

use serde_json::{Map, Value, json};

use crate::api::{Access, BodyRule, Route};

/// What may come of a request, by status: name and words.
const ERRORS: &[(&str, &str, &str)] = &[
    (
        "400",
        "BadRequest",
        "The request is not valid; `details` names every wrong field",
    ),
    (
        "401",
        "Unauthorized",
        "No token, or one that does not hold; for a login: wrong name or password",
    ),
    ("403", "Forbidden", "Not permitted, or credentials without TLS"),
    ("404", "NotFound", "There is no such thing"),
    (
        "405",
        "MethodNotAllowed",
        "Another method is needed; the field Allow says which",
    ),
    (
        "406",
        "NotAcceptable",
        "The field Accept excludes what would be answered",
    ),
    ("408", "RequestTimeout", "The request did not come in time"),
    ("409", "Conflict", "This cannot be done with what is there"),
    (
        "413",
        "TooLarge",
        "The body is too large, or the quota would be exceeded",
    ),
    ("414", "UriTooLong", "The request's target is too long"),
    (
        "415",
        "UnsupportedMediaType",
        "The body is not of a type that is taken here",
    ),
    ("422", "Unprocessable", "The request contradicts an earlier one"),
    (
        "429",
        "TooManyRequests",
        "Too much; the field Retry-After says when to come again",
    ),
    (
        "431",
        "HeaderTooLarge",
        "The request's header fields are too large",
    ),
    ("500", "InternalError", "A fault of the server"),
    ("503", "Unavailable", "Not at present; try again later"),
    ("507", "DiskFull", "The disk is full; try again later"),
];

/// The description of these calls.
pub(super) fn describe<'a>(table: impl Iterator<Item = &'a Route>) -> Value {
    let (mut paths, mut schemas, mut tags) = (Map::new(), Map::new(), Vec::new());
    schemas.insert("Error".to_owned(), error_schema());
    for route in table {
        let mut operation = (route.describe)();
        if let Some(operation) = operation.as_object_mut() {
            if let Some(Value::Object(own)) = operation.remove("schemas") {
                schemas.extend(own);
            }
            complete(operation, route);
        }
        let tag = tag_of(route.path);
        if !tags.contains(&tag) {
            tags.push(tag);
        }
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(route.method.to_ascii_lowercase(), operation);
        }
    }
    let tags: Vec<Value> = tags.into_iter().map(|name| json!({ "name": name })).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "rmail",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "The HTTP API of a mail server",
            "description": "Mail for programs, and what operators need to know. `POST /auth/login` gives a token, which goes \
                with other requests as `Authorization: Bearer TOKEN`. Errors are objects with `error`, and with `details` \
                where single fields are wrong.",
        },
        "servers": [{ "url": "/" }],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": error_responses(),
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" },
            },
        },
    })
}

/// Adds what all operations have in common.
fn complete(operation: &mut Map<String, Value>, route: &Route) {
    operation.insert("operationId".to_owned(), json!(route.name));
    operation.insert("summary".to_owned(), json!(route.summary));
    operation.insert("tags".to_owned(), json!([tag_of(route.path)]));
    let security = match route.access {
        Access::Anybody => json!([]),
        Access::User | Access::Admin => json!([{ "token": [] }]),
        Access::Monitor => json!([{}, { "token": [] }]),
    };
    operation.insert("security".to_owned(), security);
    if route.access == Access::Admin {
        let note = "Administrators only.";
        let text = operation.get("description").and_then(Value::as_str);
        let text = text.map_or_else(|| note.to_owned(), |text| format!("{text} {note}"));
        operation.insert("description".to_owned(), json!(text));
    }
    parameters(operation, route.path);
    let content = operation
        .get_mut("requestBody")
        .and_then(|body| body.get_mut("content"));
    let json = content.and_then(|content| content.get_mut("application/json"));
    if let Some(schema) = json.and_then(|json| json.get_mut("schema")) {
        let_be_null(schema);
    }
    let body = !matches!(route.body, BodyRule::None);
    let responses = operation.entry("responses").or_insert_with(|| json!({}));
    let Some(responses) = responses.as_object_mut() else {
        return;
    };
    if !responses.keys().any(|status| status.starts_with('2')) {
        responses.insert("200".to_owned(), json!({ "description": "Done" }));
    }
    // A head can be too long for any call, and what it speaks of can be missing.
    let mut usual = vec!["400", "403", "404", "406", "414", "431", "500", "503"];
    if route.access != Access::Anybody {
        usual.push("401");
    }
    if route.path.starts_with("/auth/") {
        usual.extend(["401", "429"]);
    }
    if route.access != Access::Anybody && route.method != "GET" {
        usual.extend(["409", "413", "429", "507"]);
    }
    if body {
        usual.extend(["408", "413", "415"]);
    }
    for status in usual {
        responses.entry(status).or_insert(Value::Null);
    }
    for (status, response) in responses.iter_mut() {
        fill(status, response);
    }
}

/// In a body, what may be absent may be null.
fn let_be_null(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else {
        return;
    };
    let required = fields.get("required").cloned().unwrap_or_default();
    let needed = |name: &str| {
        required
            .as_array()
            .is_some_and(|names| names.iter().any(|one| one == name))
    };
    let properties = fields.get_mut("properties").and_then(Value::as_object_mut);
    for (name, property) in properties.into_iter().flatten() {
        let_be_null(property);
        if !needed(name) {
            *property = or_null(property.take());
        }
    }
    if let Some(items) = fields.get_mut("items") {
        let_be_null(items);
    }
    for form in ["oneOf", "anyOf", "allOf"] {
        let forms = fields.get_mut(form).and_then(Value::as_array_mut);
        forms.into_iter().flatten().for_each(let_be_null);
    }
}

/// The schema, or null.
fn or_null(mut schema: Value) -> Value {
    let plain = schema.get("enum").is_none() && schema.get("const").is_none();
    match schema.get_mut("type") {
        Some(Value::String(kind)) if plain => {
            let kinds = json!([kind, "null"]);
            if let Some(fields) = schema.as_object_mut() {
                fields.insert("type".to_owned(), kinds);
            }
            schema
        }
        Some(Value::Array(kinds)) if kinds.iter().any(|kind| kind == "null") => schema,
        _ => json!({ "anyOf": [schema, { "type": "null" }] }),
    }
}

/// Parameters of the path that the call does not describe.
fn parameters(operation: &mut Map<String, Value>, path: &str) {
    let described = operation.entry("parameters").or_insert_with(|| json!([]));
    let Some(described) = described.as_array_mut() else {
        return;
    };
    let names = path
        .split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    for name in names {
        if !described
            .iter()
            .any(|one| one["in"] == "path" && one["name"] == name)
        {
            described.push(
                json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }),
            );
        }
    }
}

/// A response that says nothing of itself is the usual one of its status; an error has the usual form.
fn fill(status: &str, response: &mut Value) {
    let known = ERRORS.iter().find(|(known, _, _)| *known == status);
    let silent = response.as_object().is_none_or(Map::is_empty);
    match (known, response.as_object_mut()) {
        (Some((_, name, _)), _) if silent => {
            *response = json!({ "$ref": format!("#/components/responses/{name}") });
        }
        (Some((_, _, words)), Some(response)) if !response.contains_key("$ref") => {
            response.entry("description").or_insert_with(|| json!(words));
            response.entry("content").or_insert_with(error_content);
        }
        (None, Some(response)) if !response.contains_key("$ref") => {
            response.entry("description").or_insert_with(|| json!("Done"));
        }
        _ => {}
    }
}

fn error_responses() -> Value {
    let mut responses = Map::new();
    for (status, name, words) in ERRORS {
        let mut response = json!({ "description": words, "content": error_content() });
        let field = match *status {
            "401" => Some(("WWW-Authenticate", "string")),
            "405" => Some(("Allow", "string")),
            "429" => Some(("Retry-After", "integer")),
            _ => None,
        };
        if let (Some((field, kind)), Some(response)) = (field, response.as_object_mut()) {
            let headers = json!({ field: { "schema": { "type": kind } } });
            response.insert("headers".to_owned(), headers);
        }
        responses.insert((*name).to_owned(), response);
    }
    Value::Object(responses)
}

fn error_content() -> Value {
    json!({ "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } })
}

fn error_schema() -> Value {
    json!({
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": { "type": "string", "description": "What was wrong, in words" },
            "details": {
                "type": "array",
                "description": "Every wrong field",
                "items": {
                    "type": "object",
                    "required": ["path", "error"],
                    "properties": {
                        "path": { "type": "string", "description": "`$.to[0]` in a body, `query.limit`, `path.id`" },
                        "error": { "type": "string", "description": "What was expected" },
                    },
                },
            },
        },
    })
}

/// Calls of one kind stand together.
fn tag_of(path: &str) -> &'static str {
    match path.split('/').nth(1).unwrap_or_default() {
        "auth" => "Logins",
        "folders" | "messages" | "events" => "Mail",
        "send" => "Sending",
        "users" | "aliases" | "queue" | "stats" => "Administration",
        "health" | "metrics" | "openapi.json" | "docs" => "The server",
        _ => "Setting up clients",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::api::route::table;

    fn whole() -> Value {
        describe(table())
    }

    /// Every value in it.
    fn walk<'a>(value: &'a Value, visit: &mut impl FnMut(&'a Value)) {
        visit(value);
        match value {
            Value::Array(values) => values.iter().for_each(|value| walk(value, visit)),
            Value::Object(fields) => fields.values().for_each(|value| walk(value, visit)),
            _ => {}
        }
    }

    #[test]
    fn every_call_is_described_and_nothing_else_is() {
        let whole = whole();
        let mut described = BTreeSet::new();
        for (path, operations) in whole["paths"].as_object().expect("paths") {
            for (method, operation) in operations.as_object().expect("operations") {
                described.insert((method.to_ascii_uppercase(), path.clone()));
                let responses = operation["responses"].as_object().expect("responses");
                assert!(responses.keys().any(|status| status.starts_with('2')), "{path}");
                for response in responses.values() {
                    assert!(
                        response.get("$ref").is_some() || response["description"].is_string(),
                        "{path}"
                    );
                }
            }
        }
        let routed: BTreeSet<_> = table()
            .map(|route| (route.method.to_owned(), route.path.to_owned()))
            .collect();
        assert_eq!(described, routed);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let whole = whole();
        let mut count = 0;
        walk(&whole, &mut |value| {
            if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
                let pointer = reference.strip_prefix('#').expect("a local one");
                assert!(whole.pointer(pointer).is_some(), "{reference}");
                count += 1;
            }
        });
        assert!(count > 10);
    }

    #[test]
    fn every_parameter_of_a_path_is_described_once() {
        let whole = whole();
        for (path, operations) in whole["paths"].as_object().expect("paths") {
            let wanted: BTreeSet<&str> = path
                .split('/')
                .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
                .collect();
            for operation in operations.as_object().expect("operations").values() {
                let parameters = operation["parameters"].as_array().expect("parameters");
                let of_path = parameters.iter().filter(|one| one["in"] == "path");
                let names: Vec<&str> = of_path.filter_map(|one| one["name"].as_str()).collect();
                assert_eq!(names.iter().copied().collect::<BTreeSet<_>>(), wanted, "{path}");
                assert_eq!(names.len(), wanted.len(), "{path}");
            }
        }
    }

    #[test]
    fn no_two_calls_describe_a_schema_of_one_name_differently() {
        let mut schemas = Map::new();
        for route in table() {
            let described = (route.describe)();
            for (name, schema) in described["schemas"].as_object().into_iter().flatten() {
                let before = schemas.insert(name.clone(), schema.clone());
                assert!(
                    before.is_none_or(|before| before == *schema),
                    "{name} of {}",
                    route.name
                );
            }
        }
    }

    #[test]
    fn who_needs_a_token_is_told_so() {
        let whole = whole();
        assert_eq!(whole["paths"]["/auth/login"]["post"]["security"], json!([]));
        assert_eq!(
            whole["paths"]["/auth/logout"]["post"]["security"],
            json!([{ "token": [] }])
        );
        let unauthorized = json!({ "$ref": "#/components/responses/Unauthorized" });
        assert_eq!(
            whole["paths"]["/auth/logout"]["post"]["responses"]["401"],
            unauthorized
        );
    }
}
