//! `/stats`: how much of everything there is.

use serde::Serialize;
use serde_json::{Value, json};

use super::super::{Access, Answer, Ask, BodyRule, Next, Route};
use super::answer;
use crate::http::Response;
use crate::relay::view::Sum;

/// Destinations of the queue that are told.
const DESTINATIONS: usize = 100;

/// How much of everything there is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Our FQDN.
    pub hostname: String,
    /// Of the program.
    pub version: &'static str,
    /// Since this process began.
    pub uptime_seconds: u64,
    /// Hosted domains.
    pub domains: usize,
    /// Users.
    pub users: Users,
    /// What their mail takes.
    pub usage: Usage,
    /// What waits to be sent, of all processes.
    pub queue: Queue,
    /// Who is connected to this process.
    pub sessions: Sessions,
}

/// Users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Users {
    /// All.
    pub total: usize,
    /// Those who may log in.
    pub enabled: usize,
    /// Enabled administrators.
    pub admins: usize,
    /// Those whose files cannot be read.
    pub broken: usize,
}

/// What mail takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Octets.
    pub octets: u64,
    /// Messages.
    pub messages: u64,
}

/// What waits to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Queue {
    /// How much.
    #[serde(flatten)]
    pub sum: Sum,
    /// Processes that send.
    pub servers: usize,
    /// Entries that cannot be read.
    pub unreadable: usize,
}

/// Connections by protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sessions {
    /// SMTP, submission and LMTP.
    pub smtp: usize,
    /// IMAP.
    pub imap: usize,
    /// This API.
    pub api: usize,
}

pub(super) const STATS: Route = Route {
    method: "GET",
    path: "/stats",
    name: "stats",
    summary: "Tells how much of everything there is: users, mail, queue, connections.",
    access: Access::Admin,
    body: BodyRule::None,
    begin: |_| Ok(Next::Ask(Ask::Admin(super::Ask::Stats))),
    render: |_, answer| match answer {
        Answer::Admin(super::Answer::Stats(mut stats)) => {
            stats.queue.sum.destinations.truncate(DESTINATIONS);
            Response::json(200, &*stats)
        }
        _ => Response::empty(500),
    },
    describe: || {
        json!({ "responses": { "200": answer("The figures. Times are seconds since 1970.", json!({
            "type": "object",
            "required": ["hostname", "version", "uptime_seconds", "domains", "users", "usage", "queue", "sessions"],
            "properties": {
                "hostname": { "type": "string" }, "version": { "type": "string" },
                "uptime_seconds": { "type": "integer" }, "domains": { "type": "integer" },
                "users": numbers(&["total", "enabled", "admins", "broken"]),
                "usage": numbers(&["octets", "messages"]),
                "queue": {
                    "type": "object", "required": ["messages", "recipients", "octets", "held", "alarms", "destinations"],
                },
                "sessions": numbers(&["smtp", "imap", "api"]),
            },
        })) } })
    },
};

fn numbers(names: &[&str]) -> Value {
    let properties: serde_json::Map<String, Value> = names
        .iter()
        .map(|name| ((*name).to_owned(), json!({ "type": "integer" })))
        .collect();
    json!({ "type": "object", "required": names, "properties": properties })
}
