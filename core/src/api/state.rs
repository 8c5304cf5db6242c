//! How the server is: health and figures.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Access, BodyRule, Next, Route};
use crate::http::Response;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Whether all parts work.
    Health {
        /// It is asked from this host, so that details may be told.
        local: bool,
    },
    /// All figures.
    Metrics,
    /// What is shown to an authority that asks for this token (RFC 8555 §8.3).
    Proof(String),
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// How the parts are.
    Health(Box<Health>),
    /// Figures as Prometheus reads them.
    Metrics(String),
    /// The document, if there is one for the token.
    Proof(Option<String>),
}

/// Whether the server does what it is there for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Every part works.
    pub up: bool,
    /// How each part is: for loopback and administrators.
    pub details: Option<Details>,
}

/// How the parts of a server are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Details {
    /// Of the program.
    pub version: String,
    /// Seconds since the start.
    #[serde(rename = "uptime_seconds")]
    pub uptime: u64,
    /// It goes down.
    pub ending: bool,
    /// Every listener.
    pub listeners: Vec<Listening>,
    /// The store of mail.
    pub store: Part,
    /// The outbound queue.
    pub queue: Part,
    /// Room on the disk, where that is known.
    pub free_octets: Option<u64>,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listening {
    /// `imaps`
    pub service: String,
    /// Address and port, or a path.
    pub address: String,
    /// It accepts.
    pub up: bool,
}

/// A part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// It works.
    pub up: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Part {
    /// It works.
    #[must_use]
    pub fn up() -> Self {
        Self {
            up: true,
            problem: None,
        }
    }

    /// It does not, for this reason.
    #[must_use]
    pub fn down(problem: impl Into<String>) -> Self {
        Self {
            up: false,
            problem: Some(problem.into()),
        }
    }
}

impl Health {
    /// `{"status":"up",…}`
    #[must_use]
    pub fn json(&self) -> Value {
        let mut value = json!({ "status": if self.up { "up" } else { "down" } });
        let details = self
            .details
            .as_ref()
            .and_then(|details| serde_json::to_value(details).ok());
        if let (Some(value), Some(Value::Object(details))) = (value.as_object_mut(), details) {
            value.extend(details);
        }
        value
    }

    fn response(&self) -> Response {
        Response::json(if self.up { 200 } else { 503 }, &self.json()).with("Cache-Control", "no-store")
    }
}

/// The media type of figures.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Both answers are written alike whatever was asked.
fn render(answer: &crate::api::Answer) -> Response {
    match answer {
        crate::api::Answer::State(Answer::Health(health)) => health.response(),
        crate::api::Answer::State(Answer::Metrics(text)) => Response::of(200, METRICS, text.as_str()),
        _ => Response::empty(500),
    }
}

fn describe_health() -> Value {
    let part = json!({
        "type": "object", "required": ["up"],
        "properties": {"up": {"type": "boolean"}, "problem": {"type": "string"}},
    });
    let schema = json!({
        "type": "object", "required": ["status"],
        "properties": {
            "status": {"type": "string", "enum": ["up", "down"]},
            "version": {"type": "string"},
            "uptime_seconds": {"type": "integer"},
            "ending": {"type": "boolean"},
            "listeners": {"type": "array", "items": {
                "type": "object", "required": ["service", "address", "up"],
                "properties": {
                    "service": {"type": "string"}, "address": {"type": "string"}, "up": {"type": "boolean"},
                },
            }},
            "store": part,
            "queue": part,
            "free_octets": {"type": ["integer", "null"]},
        },
    });
    let content = json!({"application/json": {"schema": schema}});
    json!({"responses": {
        "200": {"description": "Every listener, the store and the queue work. Loopback and administrators see each.",
            "content": content},
        "503": {"description": "Something does not work.", "content": content},
    }})
}

fn describe_metrics() -> Value {
    json!({"responses": {"200": {
        "description": "Figures in the text format of Prometheus.",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }}})
}

/// The calls.
pub(super) const ROUTES: &[Route] = &[
    Route {
        method: "GET",
        path: "/health",
        name: "health",
        summary: "Whether the server is up.",
        access: Access::Anybody,
        body: BodyRule::None,
        begin: |request| {
            let local = request.local;
            Ok(Next::Ask(super::Ask::State(Ask::Health { local })))
        },
        render: |_, answer| render(&answer),
        describe: describe_health,
    },
    Route {
        method: "GET",
        path: "/metrics",
        name: "metrics",
        summary: "Figures for Prometheus; for loopback and administrators.",
        access: Access::Monitor,
        body: BodyRule::None,
        begin: |_| Ok(Next::Ask(super::Ask::State(Ask::Metrics))),
        render: |_, answer| render(&answer),
        describe: describe_metrics,
    },
];
