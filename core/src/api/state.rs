//! How the server is: health, figures, the description of the API.

use serde_json::json;

use super::{Access, BodyRule, Next, Route};
use crate::http::Response;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {}

/// The calls.
pub(super) const ROUTES: &[Route] = &[Route {
    method: "GET",
    path: "/health",
    name: "health",
    summary: "Whether the server is up.",
    access: Access::Anybody,
    body: BodyRule::None,
    begin: |request| {
        Ok(Next::Respond(if request.settings.up {
            Response::json(200, &json!({ "status": "up" }))
        } else {
            Response::json(503, &json!({ "status": "down" }))
        }))
    },
    render: |_, _| Response::empty(500),
    describe: || json!({}),
}];
