//! What a request is answered with, before it is put on the wire.

use super::wire;
use crate::machine::BlobId;
use crate::time::Unix;

/// A response. The session adds what belongs to the connection: Content-Length or chunks, Connection, Date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Fields, in the order in which they are sent. Values hold no CR, LF or NUL.
    pub fields: Vec<(&'static str, String)>,
    /// What follows.
    pub body: Body,
}

/// The body of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Octets, perhaps none.
    Bytes(Vec<u8>),
    /// An open body of this many octets.
    Blob(BlobId, u64),
    /// Nobody knows yet: what is pushed until the end.
    Stream,
}

impl Response {
    /// Nothing but a status.
    #[must_use]
    pub fn empty(status: u16) -> Self {
        Self {
            status,
            fields: Vec::new(),
            body: Body::Bytes(Vec::new()),
        }
    }

    /// Octets of a media type.
    #[must_use]
    pub fn of(status: u16, media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::empty(status)
            .with("Content-Type", media_type)
            .with_body(Body::Bytes(body.into()))
    }

    /// JSON.
    #[must_use]
    pub fn json<T: serde::Serialize>(status: u16, value: &T) -> Self {
        // Our own types have nothing that JSON cannot say.
        let body = serde_json::to_vec(value).unwrap_or_default();
        Self::of(status, "application/json", body)
    }

    /// `{"error": "…"}`.
    #[must_use]
    pub fn error(status: u16, text: &str) -> Self {
        Self::json(status, &serde_json::json!({ "error": text }))
    }

    /// With one more field.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// The octets on the wire of an answer behind which the connection ends; of one to HEAD without the body.
    #[must_use]
    pub fn last(&self, head_only: bool, date: Option<Unix>) -> Vec<u8> {
        let body: &[u8] = match &self.body {
            Body::Bytes(body) => body,
            Body::Blob(..) | Body::Stream => &[],
        };
        let end = wire::End::Counted(body.len() as u64);
        let mut octets = wire::head(self, end, Some("close"), date);
        if !head_only {
            octets.extend_from_slice(body);
        }
        octets
    }

    /// With this body.
    #[must_use]
    pub fn with_body(self, body: Body) -> Self {
        Self { body, ..self }
    }
}

/// The reason phrase (RFC 9110 §15).
#[must_use]
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "Service Unavailable",
    }
}
