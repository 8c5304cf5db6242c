//! What the description of the API (OpenAPI 3.1) says of folders and messages.

use serde_json::{Value, json};

/// An operation: its parameters, its body if it has one, and what it answers when all is well.
pub(super) fn operation(parameters: &[Value], body: Option<Value>, responses: &[(u16, Value)]) -> Value {
    let mut told = serde_json::Map::new();
    for (status, response) in responses {
        told.insert(status.to_string(), response.clone());
    }
    let mut operation = json!({ "parameters": parameters, "responses": told });
    if let (Some(body), Some(operation)) = (body, operation.as_object_mut()) {
        operation.insert("requestBody".to_owned(), body);
    }
    operation
}

/// A parameter of the path.
pub(super) fn in_path(name: &str, description: &str) -> Value {
    json!({
        "name": name, "in": "path", "required": true, "description": description,
        "schema": { "type": "string" },
    })
}

/// A parameter of the query, which may be absent.
pub(super) fn in_query(name: &str, schema: &Value, description: &str) -> Value {
    json!({ "name": name, "in": "query", "required": false, "description": description, "schema": schema })
}

/// A body of JSON.
pub(super) fn body(schema: &Value) -> Value {
    json!({ "required": true, "content": { "application/json": { "schema": schema } } })
}

/// An answer of JSON.
pub(super) fn answer(description: &str, schema: &Value) -> Value {
    json!({ "description": description, "content": { "application/json": { "schema": schema } } })
}

/// An answer without a body.
pub(super) fn nothing(description: &str) -> Value {
    json!({ "description": description })
}

/// An object: every field is there.
pub(super) fn object(fields: &[(&str, Value)]) -> Value {
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let mut properties = serde_json::Map::new();
    for (name, schema) in fields {
        properties.insert((*name).to_owned(), schema.clone());
    }
    json!({ "type": "object", "properties": properties, "required": names })
}

/// An object of a request: these fields and no others, of which the named ones must be there.
pub(super) fn form(required: &[&str], fields: &[(&str, Value)]) -> Value {
    let mut form = object(fields);
    if let Some(form) = form.as_object_mut() {
        form.insert("required".to_owned(), json!(required));
        form.insert("additionalProperties".to_owned(), json!(false));
    }
    form
}

/// Text.
pub(super) fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

/// Text, or null.
pub(super) fn maybe(description: &str) -> Value {
    json!({ "type": ["string", "null"], "description": description })
}

/// A moment.
fn moment(description: &str) -> Value {
    json!({ "type": "string", "format": "date-time", "description": description })
}

/// A number that is not negative.
pub(super) fn number(description: &str) -> Value {
    json!({ "type": "integer", "minimum": 0, "description": description })
}

/// True or false.
pub(super) fn boolean(description: &str) -> Value {
    json!({ "type": "boolean", "description": description })
}

/// A list.
pub(super) fn list(items: &Value, description: &str) -> Value {
    json!({ "type": "array", "items": items, "description": description })
}

/// Flags of a message.
pub(super) fn flags(description: &str) -> Value {
    list(&json!({ "type": "string" }), description)
}

/// A character of a keyword (RFC 9051 §9, `ATOM-CHAR`), as a regular expression.
pub(super) const ATOM: &str = r"[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]";

/// Flags as a client names them.
pub(super) fn given_flags(description: &str) -> Value {
    let pattern = format!(r"^(?:\\(?:Seen|Answered|Flagged|Deleted|Draft)|{ATOM}{{1,255}})$");
    json!({
        "type": ["array", "null"], "maxItems": 100, "description": description,
        "items": { "type": "string", "pattern": pattern },
    })
}

/// Numbers as ids have them: none is above 4,199,999,999.
const NUMBER: &str = "(?:[1-9][0-9]{0,8}|[1-3][0-9]{9}|4[01][0-9]{8})";

/// The id of a folder.
pub(super) fn folder_id(description: &str) -> Value {
    json!({ "type": "string", "pattern": format!("^F{NUMBER}$"), "description": description })
}

/// The id of a message.
pub(super) fn message_id() -> Value {
    json!({ "type": "string", "pattern": format!("^F{NUMBER}-{NUMBER}$") })
}

/// The same schema, or null.
pub(super) fn or_null(mut schema: Value) -> Value {
    if let Some(schema) = schema.as_object_mut()
        && let Some(kind) = schema.get("type").filter(|kind| kind.is_string()).cloned()
    {
        schema.insert("type".to_owned(), json!([kind, "null"]));
    }
    schema
}

/// Ids of messages.
pub(super) fn ids() -> Value {
    json!({
        "type": "array", "items": message_id(), "minItems": 1, "maxItems": super::bulk::MAX_IDS,
        "description": "Ids of messages, of one folder or of several.",
    })
}

/// [`super::Folder`].
pub(super) fn folder() -> Value {
    object(&[
        (
            "id",
            text("Stays when the folder is renamed, and is never given to another."),
        ),
        (
            "name",
            text("Its name; `/` stands between levels. `INBOX` is always there."),
        ),
        ("parent", maybe("The id of the folder above it.")),
        (
            "role",
            json!({
                "type": ["string", "null"],
                "enum": ["inbox", "archive", "drafts", "flagged", "junk", "sent", "trash", null],
                "description": "What it is for.",
            }),
        ),
        (
            "subscribed",
            boolean("Programs that show only some folders show it."),
        ),
        ("messages", number("How many messages it has.")),
        ("unread", number("How many of them are not `seen`.")),
        ("size", number("Octets of all of them.")),
    ])
}

fn person() -> Value {
    object(&[
        ("name", text("Display name, decoded; perhaps empty.")),
        ("address", text("`user@example.com`.")),
    ])
}

/// [`super::summary::Summary`].
pub(super) fn summary() -> Value {
    object(&summary_fields())
}

fn summary_fields() -> Vec<(&'static str, Value)> {
    let people = |what| list(&person(), what);
    vec![
        (
            "id",
            text("Stays until the message is moved; then the answer tells the new one."),
        ),
        ("folder", text("The folder that it is in.")),
        ("thread_id", maybe("Messages of one conversation share it.")),
        ("subject", text("Decoded.")),
        ("from", people("Who wrote it.")),
        ("to", people("In lists the first twenty.")),
        ("cc", people("In lists the first twenty.")),
        (
            "date",
            json!({ "type": ["string", "null"], "format": "date-time", "description": "When it says that it was written." }),
        ),
        ("received", moment("When it arrived.")),
        ("size", number("Octets.")),
        (
            "flags",
            flags("`seen`, `answered`, `flagged`, `deleted`, `draft`, and keywords."),
        ),
        ("preview", text("The first words of its text.")),
        ("has_attachments", boolean("Whether it has attachments.")),
    ]
}

/// [`super::Message`].
pub(super) fn message() -> Value {
    let people = |what| list(&person(), what);
    let ids = |what| list(&json!({ "type": "string" }), what);
    let attachment = object(&[
        (
            "part",
            text("Its number: `/messages/{id}/parts/{part}` gives its octets."),
        ),
        ("type", text("Media type.")),
        ("name", maybe("File name.")),
        ("size", number("About how many octets it has, decoded.")),
        ("inline", boolean("The HTML shows it.")),
        ("content_id", maybe("How the HTML names it: `cid:…`.")),
    ]);
    let mut fields = summary_fields();
    fields.extend([
        (
            "email_id",
            text("Equal messages have the same, wherever they are."),
        ),
        ("sender", people("Sender.")),
        ("reply_to", people("Reply-To.")),
        ("bcc", people("Bcc.")),
        ("message_id", maybe("Message-ID, with its angle brackets.")),
        ("in_reply_to", ids("In-Reply-To.")),
        ("references", ids("References, the oldest first.")),
        ("text", maybe("Its plain text.")),
        (
            "html",
            maybe("Its text as HTML, as it stands: clean it before you show it."),
        ),
        (
            "truncated",
            boolean("There is more of the text, or of the attachments, than is told here."),
        ),
        (
            "attachments",
            list(&attachment, "Its attachments, and what its HTML shows."),
        ),
    ]);
    object(&fields)
}

/// [`super::Changed`], as a call that changes one message answers it.
pub(super) fn changed() -> Value {
    object(&[
        ("id", text("Its id now.")),
        ("folder", text("The folder that it is in now.")),
        ("flags", flags("Its flags now.")),
    ])
}

/// What became of each of many messages.
pub(super) fn results() -> Value {
    let mut result = object(&[
        ("id", text("As it was named.")),
        (
            "status",
            json!({ "type": "integer", "minimum": 200, "maximum": 599, "description": "200: done. Else as the call for one message would have answered." }),
        ),
    ]);
    if let Some(properties) = result.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert(
            "new_id".to_owned(),
            text("Its id now, or that of its copy, if there is another."),
        );
        properties.insert("flags".to_owned(), flags("Its flags now."));
        properties.insert("error".to_owned(), text("Why it was not done."));
    }
    object(&[("results", list(&result, "In the order in which they were named."))])
}
