//! The MTA-STS policy that other servers read before they send mail here (RFC 8461 §3.2). What we hold of others' policies
//! is [`crate::relay::tls::policy`]; ours is of the same form.

use serde_json::{Value, json};

use super::text_response;
use crate::api::{Failure, Next, Request};
use crate::http::Response;

pub(super) fn answer(request: &Request<'_>) -> Result<Next, Failure> {
    let policy = request.settings.setup.mta_sts.as_ref();
    let policy = policy.ok_or_else(|| Failure::new(404, "No MTA-STS policy is configured"))?;
    let mut text = policy.strings().join("\r\n");
    text.push_str("\r\n");
    Ok(Next::Respond(Response::of(
        200,
        "text/plain; charset=utf-8",
        text,
    )))
}

pub(super) fn describe() -> Value {
    json!({"responses": text_response("text/plain", "The policy.")})
}
