//! How `/send` reads in the description of the API.

use serde_json::{Value, json};

/// `POST /send`.
pub(super) fn send() -> Value {
    json!({
        "description": "Delivers to recipients here at once, and queues for those elsewhere; all of that is on disk before the \
            answer. Who cannot get the message stands in `failed`, the others get it all the same. A copy goes into the folder \
            of sent mail, unless the account is over its quota. The sender and every author have to be addresses of the account.",
        "parameters": [
            {
                "name": "Idempotency-Key", "in": "header", "required": false,
                "description": "The same request with the same key within 24 hours is answered as the first time, and nothing is \
                    sent again, unless the server was killed before it could keep its answer; of an account, the last 1,000 \
                    keys are kept; another request with the key gets 422, one while the first is in work 409.",
                "schema": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!#-~]+$" },
            },
            {
                "name": "from", "in": "query", "required": false,
                "description": "The envelope's sender; with `message/rfc822` only.",
                "schema": { "type": "string", "format": "email" },
            },
            {
                "name": "to", "in": "query", "required": false,
                "description": "The envelope's recipients, with commas between them, in place of those in the message; with \
                    `message/rfc822` only.",
                "schema": { "type": "string" },
            },
            {
                "name": "save_to_sent", "in": "query", "required": false,
                "description": "Whether a copy is kept; with `message/rfc822` only.",
                "schema": { "type": "boolean", "default": true },
            },
        ],
        "requestBody": {
            "required": true,
            "content": {
                "application/json": {
                    "schema": { "oneOf": [with(message(), envelope()), raw()] },
                    "example": {
                        "to": ["Bob <bob@example.com>"], "subject": "Hello", "text": "Hello Bob.\n",
                        "attachments": [{ "filename": "a.txt", "content_type": "text/plain", "content": "SGVsbG8K" }],
                    },
                },
                "message/rfc822": { "schema": { "type": "string", "contentEncoding": "binary" } },
            },
        },
        "responses": {
            "200": {
                "description": "What became of the message for each recipient.",
                "headers": {
                    "Idempotency-Replayed": {
                        "description": "`true`: this is the answer of the first time.", "schema": { "type": "string" },
                    },
                },
                "content": { "application/json": { "schema": sent() } },
            },
            "409": { "description": "A request with this Idempotency-Key is in work." },
            "413": { "description": "The message is too large." },
            "422": { "description": "Another request was made with this Idempotency-Key." },
            "507": { "description": "The disk is full." },
        },
    })
}

/// What a message is in JSON: the object's properties.
#[must_use]
pub fn schemas() -> Value {
    message()
}

fn email() -> Value {
    json!({ "type": "string", "format": "email" })
}

fn mailbox() -> Value {
    json!({
        "oneOf": [
            {
                "type": "string", "description": "`ann@example.com` or `Ann Lee <ann@example.com>`", "format": "email",
            },
            {
                "type": "object", "required": ["address"], "additionalProperties": false,
                "properties": {
                    "name": { "type": "string", "maxLength": 200 }, "address": email(),
                },
            },
        ],
    })
}

fn mailboxes(description: &str) -> Value {
    json!({
        "description": description,
        "oneOf": [mailbox(), { "type": "array", "items": mailbox() }],
    })
}

fn message() -> Value {
    let id = json!({ "type": "string", "maxLength": 500, "pattern": "^<[!-+.-;=?-~]+@[!-+.-;=?A-~]+>$" });
    let stored = json!({ "type": "string", "pattern": crate::api::mail::MESSAGE_ID });
    json!({
        "from": mailboxes("Authors; the account's own address, if it is left out."),
        "sender": mailbox(),
        "to": mailboxes("To whom."),
        "cc": mailboxes("To whom else."),
        "bcc": mailboxes("To whom, unseen by the others."),
        "reply_to": mailboxes("Where answers go."),
        "subject": { "type": "string", "maxLength": 2000 },
        "text": { "type": "string", "description": "The body as plain text." },
        "html": { "type": "string", "description": "The body as HTML; with `text` both are sent." },
        "attachments": {
            "type": "array", "maxItems": 100,
            "items": {
                "type": "object", "required": ["content"], "additionalProperties": false,
                "properties": {
                    "filename": { "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]+$" },
                    "content_type": {
                        "type": "string", "default": "application/octet-stream", "maxLength": 200,
                        "pattern": "^(text|image|audio|video|application|font|model)/[A-Za-z0-9.+-]+$",
                    },
                    "content": { "type": "string", "contentEncoding": "base64", "format": "byte" },
                    "content_id": {
                        "type": "string", "pattern": "^[A-Za-z0-9._@-]+$", "maxLength": 200,
                        "description": "HTML shows it as `cid:` and this.",
                    },
                    "disposition": { "enum": ["attachment", "inline"] },
                },
            },
        },
        "headers": {
            "type": "object", "maxProperties": 50, "propertyNames": {
                "pattern": "^([Xx]|[Ll]ist)-[A-Za-z0-9-]{1,70}$|^(Archived-At|Auto-Submitted|Comments|Content-Language|Expires|Feedback-ID|\
                    Importance|Keywords|Organization|Precedence|Sensitivity|TLS-Required)$",
            },
            "additionalProperties": { "type": "string", "minLength": 1, "maxLength": 2000, "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]+$" },
            "description": "Further fields: `X-…`, `List-…` and a few others.",
        },
        "in_reply_to": { "type": "array", "maxItems": 100, "items": id, "description": "Message-IDs." },
        "references": { "type": "array", "maxItems": 100, "items": id, "description": "Message-IDs." },
        "date": { "type": "string", "format": "date-time" },
        "priority": { "enum": ["high", "normal", "low"], "default": "normal" },
        "reply_to_message": {
            "allOf": [stored.clone()],
            "description": "The id of the message that this one answers: subject, recipients, In-Reply-To and References are made \
                of it where they are not given, and it gets \\Answered.",
        },
        "forward_message": {
            "allOf": [stored],
            "description": "The id of a message that goes with this one as an attachment; it gets $Forwarded.",
        },
    })
}

fn envelope() -> Value {
    json!({
        "envelope_from": email(),
        "envelope_to": { "type": "array", "items": email(), "description": "In place of to, cc and bcc." },
        "save_to_sent": { "type": "boolean", "default": true },
    })
}

fn with(mut one: Value, mut two: Value) -> Value {
    if let (Some(one), Some(two)) = (one.as_object_mut(), two.as_object_mut()) {
        one.append(two);
    }
    json!({
        "type": "object", "additionalProperties": false, "properties": one,
        "anyOf": [
            { "required": ["to"] }, { "required": ["cc"] }, { "required": ["bcc"] }, { "required": ["envelope_to"] },
            { "required": ["reply_to_message"] },
        ],
    })
}

fn raw() -> Value {
    json!({
        "type": "object", "required": ["raw"], "additionalProperties": false,
        "properties": {
            "raw": { "type": "string", "description": "A whole message, as text or in base64." },
            "from": mailbox(), "to": mailboxes("In place of the recipients in the message."),
            "envelope_from": email(), "envelope_to": { "type": "array", "items": email() },
            "save_to_sent": { "type": "boolean", "default": true },
        },
    })
}

fn sent() -> Value {
    let addresses = json!({ "type": "array", "items": { "type": "string" } });
    json!({
        "type": "object", "required": ["id", "message_id", "sent", "queued", "failed", "saved"],
        "properties": {
            "id": { "type": ["string", "null"], "description": "Its id in the queue and in the log; null if nobody gets it." },
            "message_id": { "type": "string" },
            "sent": addresses, "queued": addresses,
            "failed": {
                "type": "array",
                "items": {
                    "type": "object", "required": ["recipient", "error"],
                    "properties": { "recipient": { "type": "string" }, "error": { "type": "string" } },
                },
            },
            "saved": { "type": ["string", "null"], "description": "The id of the copy among sent mail." },
        },
    })
}
