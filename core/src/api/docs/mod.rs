//! What the API says of itself: `/openapi.json`, and a page for people.
//!
//! Both are made of the table that routes: what is not routed is not described, and what is routed is.

mod openapi;
mod page;

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::{Access, BodyRule, Next, Route};
use crate::http::{Body, Response};

/// The description (OpenAPI 3.1).
static DESCRIPTION: LazyLock<Value> = LazyLock::new(|| openapi::describe(super::route::table()));

/// It as octets.
static JSON: LazyLock<Vec<u8>> = LazyLock::new(|| {
    // Our own values have nothing that JSON cannot say.
    serde_json::to_vec(&*DESCRIPTION).unwrap_or_default()
});

/// The page.
static PAGE: LazyLock<String> = LazyLock::new(|| page::write(&DESCRIPTION));

/// The calls.
pub(super) const ROUTES: &[Route] = &[
    Route {
        method: "GET",
        path: "/openapi.json",
        name: "openapi",
        summary: "This description.",
        access: Access::Anybody,
        body: BodyRule::None,
        begin: |_| {
            let body = Body::Bytes(JSON.clone());
            let response = Response::of(200, "application/json", "").with_body(body);
            Ok(Next::Respond(response.with("Cache-Control", "max-age=300")))
        },
        render: |_, _| Response::empty(500),
        describe: || {
            json!({ "responses": { "200": {
                "description": "OpenAPI 3.1",
                "content": { "application/json": { "schema": {
                    "type": "object", "required": ["openapi", "info", "paths"],
                } } },
            } } })
        },
    },
    Route {
        method: "GET",
        path: "/docs",
        name: "docs",
        summary: "This description as a page for people.",
        access: Access::Anybody,
        body: BodyRule::None,
        begin: |_| {
            let response = Response::of(200, "text/html; charset=utf-8", PAGE.as_str());
            let response = response.with("Content-Security-Policy", page::policy());
            Ok(Next::Respond(response.with("Cache-Control", "max-age=300")))
        },
        render: |_, _| Response::empty(500),
        describe: || {
            json!({ "responses": { "200": {
                "description": "A page",
                "content": { "text/html": { "schema": { "type": "string" } } },
            } } })
        },
    },
];
