//! The proof that a name is ours, for the authority that is to give a certificate for it (RFC 8555 §8.3).

use serde_json::{Value, json};

use super::text_response;
use crate::acme::is_token;
use crate::api::{Answer, Ask, Failure, Next, Request, state};
use crate::http::Response;

pub(super) fn begin(request: &Request<'_>) -> Result<Next, Failure> {
    let token = request.parameter(0);
    match is_token(token) {
        true => Ok(Next::Ask(Ask::State(state::Ask::Proof(token.to_owned())))),
        false => Err(nothing()),
    }
}

pub(super) fn render(_: &Request<'_>, answer: Answer) -> Response {
    match answer {
        Answer::State(state::Answer::Proof(Some(text))) => {
            Response::of(200, "application/octet-stream", text).with("Cache-Control", "no-store")
        }
        _ => nothing().response(),
    }
}

fn nothing() -> Failure {
    Failure::new(404, "No authority was told to ask for this")
}

pub(super) fn describe() -> Value {
    let schema = json!({"type": "string", "pattern": "^[A-Za-z0-9_-]{1,128}$"});
    json!({
        "parameters": [{"name": "token", "in": "path", "required": true, "description": "The challenge's token.",
            "schema": schema}],
        "responses": text_response("application/octet-stream", "The key authorization."),
    })
}
