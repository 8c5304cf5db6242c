//! `/users…`: the rules are those of `rmail user`.

use serde::Serialize;
use serde_json::{Value, json};

use super::super::json::{Object, Parsed};
use super::super::{Failure, Next, Request, Route, json as read, query};
use super::{JSON, LIMIT, MAX_LIMIT, after, answer, body, call, in_path, in_query, limit, plain};
use crate::directory::{self, User, UserChange, new_password};
use crate::http::Response;
use crate::secret::Secret;
use crate::text::rfc3339;
use crate::time::Unix;

/// MiB and messages of a quota at most: beyond them nobody can mean what is written.
const MAX_QUOTA: u64 = 1 << 40;
/// Addresses in `send_as`.
const MAX_SEND_AS: usize = 1_000;

/// What is asked. Users are named by their addresses, or by a bare name when one domain is hosted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Which there are.
    List {
        /// Of this domain; none: of all.
        domain: Option<String>,
        /// Behind this address.
        after: Option<String>,
        /// So many at most.
        limit: u64,
    },
    /// One.
    Show(String),
    /// Make one.
    Create(String, Box<UserChange>),
    /// Change one.
    Change(String, Box<UserChange>),
    /// Remove one, with its mail.
    Remove(String),
    /// Give one a password for a program or device.
    AddApp(String, Box<NewApp>),
    /// Take it away.
    RemoveApp(String, String),
}

/// A new application password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewApp {
    /// What it is for.
    pub name: String,
    /// None: one is made.
    pub password: Option<Secret>,
    /// What it opens.
    pub scope: Vec<directory::Access>,
    /// From then on it opens nothing.
    pub expires: Option<Unix>,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A part of the list.
    List(List),
    /// One user.
    One(Box<Shown>),
    /// The application password that was made, or nothing if it was given.
    App(Box<ShownApp>, Option<String>),
    /// It is done.
    Done,
}

/// A part of the list of users.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct List {
    /// These.
    pub users: Vec<Shown>,
    /// How many there are in all.
    pub total: usize,
    /// Where the list goes on.
    pub next: Option<String>,
}

/// A user. Nothing of its passwords is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Shown {
    address: String,
    username: String,
    domain: String,
    enabled: bool,
    admin: bool,
    quota_mb: u64,
    quota_messages: u64,
    used_octets: Option<u64>,
    used_messages: Option<u64>,
    send_as: Vec<String>,
    max_priority: Option<i8>,
    has_password: bool,
    app_passwords: Vec<ShownApp>,
    /// Why its file cannot be read; then the rest means nothing.
    error: Option<String>,
}

/// An application password without its secret. Times are RFC 3339.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ShownApp {
    name: String,
    scope: Vec<&'static str>,
    created: Option<String>,
    expires: Option<String>,
    last_used: Option<String>,
}

impl Shown {
    /// A user, and what its mail takes, if that is known.
    #[must_use]
    pub fn of(address: &str, user: &User, used: Option<crate::mailbox::Usage>) -> Self {
        Self {
            enabled: user.enabled,
            admin: user.admin,
            quota_mb: user.quota_mb,
            quota_messages: user.quota_messages,
            used_octets: used.map(|used| used.octets),
            used_messages: used.map(|used| used.messages),
            send_as: user.send_as.iter().map(|address| address.0.to_string()).collect(),
            max_priority: user.max_priority,
            has_password: user.password.is_some(),
            app_passwords: user.app_passwords.iter().map(ShownApp::of).collect(),
            ..Self::broken(address, None)
        }
    }

    /// A user whose file cannot be read.
    #[must_use]
    pub fn broken(address: &str, error: Option<String>) -> Self {
        let (username, domain) = address.rsplit_once('@').unwrap_or((address, ""));
        Self {
            address: address.to_owned(),
            username: username.to_owned(),
            domain: domain.to_owned(),
            error,
            ..Self::default()
        }
    }

    fn location(&self) -> String {
        format!("/users/{}", encoded(&self.address))
    }
}

impl ShownApp {
    /// Of an application password.
    #[must_use]
    pub fn of(app: &directory::AppPassword) -> Self {
        let print = |moment: Option<directory::Moment>| moment.map(|moment| rfc3339::print(moment.0));
        Self {
            name: app.name.clone(),
            scope: app.scope.iter().map(|access| access.name()).collect(),
            created: print(app.created),
            expires: print(app.expires),
            last_used: print(app.last_used),
        }
    }
}

/// A segment of a path (RFC 3986 §3.3).
pub(super) fn encoded(text: &str) -> String {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~@!$&'()*+,;=:".contains(&octet);
    text.bytes()
        .map(|octet| match plain(octet) {
            true => char::from(octet).to_string(),
            false => format!("%{octet:02X}"),
        })
        .collect()
}

fn ask(ask: Ask) -> Result<Next, Failure> {
    Ok(Next::Ask(super::super::Ask::Admin(super::Ask::Users(ask))))
}

fn render(request: &Request<'_>, answer: super::super::Answer) -> Response {
    let super::super::Answer::Admin(super::Answer::Users(answer)) = answer else {
        return Response::empty(500);
    };
    let created = request.head.method == "POST";
    match answer {
        Answer::List(list) => Response::json(200, &list),
        Answer::One(user) if created => Response::json(201, &*user).with("Location", user.location()),
        Answer::One(user) => Response::json(200, &*user),
        Answer::App(app, password) => {
            let mut value = json!(*app);
            if let Some(value) = value.as_object_mut() {
                value.insert("password".to_owned(), json!(password));
            }
            // It is shown this once.
            Response::json(201, &value).with("Cache-Control", "no-store")
        }
        Answer::Done => Response::empty(204),
    }
}

const USER: Route = call(render);

pub(super) const LIST: Route = Route {
    path: "/users",
    name: "listUsers",
    summary: "Lists users by their addresses.",
    begin: |request| {
        let list = query::read(request, |query| Ask::List {
            domain: query.optional("domain", query::text(255)),
            after: query.optional("after", query::text(400)),
            limit: query
                .optional("limit", query::integer(1..=MAX_LIMIT))
                .unwrap_or(LIMIT),
        })?;
        ask(list)
    },
    describe: || {
        json!({
            "parameters": [in_query("domain", "Only of this domain.", json!({ "type": "string" })), after(), limit()],
            "responses": { "200": answer("A part of the list.", json!({
                "type": "object", "required": ["users", "total", "next"],
                "properties": {
                    "users": { "type": "array", "items": schema() },
                    "total": { "type": "integer" },
                    "next": { "type": ["string", "null"] },
                },
            })) },
        })
    },
    ..USER
};

pub(super) const CREATE: Route = Route {
    method: "POST",
    path: "/users",
    name: "createUser",
    summary: "Makes a user with its folders.",
    body: JSON,
    begin: |request| {
        let (name, change) = read::read(request, |body| {
            let address = body.optional("address", whole);
            let username = body.optional("username", read::line(320));
            let domain = body.optional("domain", read::line(255));
            let change = change(body);
            if change.password.is_none() && !body.has("password") {
                body.wrong("password", "missing");
            }
            let name = match (address, username, domain) {
                (Some(address), None, None) => Some(address),
                (None, Some(username), None) => Some(username),
                (None, Some(username), Some(domain)) if !username.contains('@') => {
                    Some(format!("{username}@{domain}"))
                }
                _ => {
                    body.wrong("address", "expected an address, here or as username and domain");
                    None
                }
            };
            Some((name?, change))
        })?;
        ask(Ask::Create(name, Box::new(change)))
    },
    describe: || {
        let mut properties = changes();
        if let Some(properties) = properties.as_object_mut() {
            properties.insert(
                "address".to_owned(),
                json!({ "type": "string", "format": "email" }),
            );
            properties.insert(
                "username".to_owned(),
                json!({ "type": "string", "minLength": 1, "maxLength": 64 }),
            );
            properties.insert(
                "domain".to_owned(),
                json!({ "type": "string", "minLength": 1, "maxLength": 255 }),
            );
        }
        json!({
            "requestBody": body(
                json!({
                    "type": "object", "additionalProperties": false, "properties": properties,
                    "required": ["password"],
                    "description": "The address, whole or as username and domain, and what the user has.",
                }),
                json!({ "address": "bob@example.com", "password": "correct horse", "quota_mb": 1024 }),
            ),
            "responses": {
                "201": answer("The user.", schema()),
                "409": plain("There is such a user."),
            },
        })
    },
    ..USER
};

pub(super) const SHOW: Route = Route {
    path: "/users/{address}",
    name: "showUser",
    summary: "Shows a user, and what its mail takes.",
    begin: |request| ask(Ask::Show(request.parameter(0).to_owned())),
    describe: || {
        json!({
            "parameters": [in_path("address", "The user's address.")],
            "responses": { "200": answer("The user.", schema()), "404": plain("There is no such user.") },
        })
    },
    ..USER
};

pub(super) const CHANGE: Route = Route {
    method: "PATCH",
    path: "/users/{address}",
    name: "changeUser",
    summary: "Changes a user; with another password, or disabled, its sessions and tokens end.",
    body: JSON,
    begin: |request| {
        let change = read::read(request, |body| Some(change(body)))?;
        ask(Ask::Change(request.parameter(0).to_owned(), Box::new(change)))
    },
    describe: || {
        json!({
            "parameters": [in_path("address", "The user's address.")],
            "requestBody": body(
                json!({ "type": "object", "additionalProperties": false, "properties": changes() }),
                json!({ "quota_mb": 2048, "admin": false }),
            ),
            "responses": {
                "200": answer("The user as it is now.", schema()),
                "404": plain("There is no such user."),
                "409": plain("It is the last enabled administrator."),
            },
        })
    },
    ..USER
};

pub(super) const REMOVE: Route = Route {
    method: "DELETE",
    path: "/users/{address}",
    name: "removeUser",
    summary: "Removes a user and all of its mail, for good.",
    begin: |request| ask(Ask::Remove(request.parameter(0).to_owned())),
    describe: || {
        json!({
            "parameters": [in_path("address", "The user's address.")],
            "responses": {
                "204": plain("It is gone."),
                "404": plain("There is no such user."),
                "409": plain("It is the last enabled administrator."),
            },
        })
    },
    ..USER
};

pub(super) const ADD_APP: Route = Route {
    method: "POST",
    path: "/users/{address}/app-passwords",
    name: "addAppPassword",
    summary: "Gives a user a password for one program or device.",
    body: JSON,
    begin: |request| {
        let app = read::read(request, |body| {
            let name = body.required("name", read::line(64));
            let password = body.optional("password", password);
            let access = |value: &Value| {
                let access = value.as_str().and_then(directory::Access::parse);
                access.ok_or_else(|| "expected smtp, imap or api".to_owned())
            };
            let scope = body.list("scope", 3, access);
            let expires = body.optional("expires", moment);
            Some(NewApp {
                name: name?,
                password,
                scope: scope.unwrap_or_else(|| directory::Access::ALL.to_vec()),
                expires,
            })
        })?;
        if app.expires.is_some_and(|end| end <= request.now.unix) {
            return Err(Failure::field("$.expires", "it would have expired already"));
        }
        ask(Ask::AddApp(request.parameter(0).to_owned(), Box::new(app)))
    },
    describe: || {
        json!({
            "parameters": [in_path("address", "The user's address.")],
            "requestBody": body(
                json!({
                    "type": "object", "additionalProperties": false, "required": ["name"],
                    "properties": {
                        "name": { "type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]+$" },
                        "password": password_schema("One is made if none is given."),
                        "scope": { "type": "array", "maxItems": 3, "items": { "enum": ["smtp", "imap", "api"] } },
                        "expires": { "type": "string", "format": "date-time" },
                    },
                }),
                json!({ "name": "phone", "scope": ["imap", "smtp"] }),
            ),
            "responses": {
                "201": answer("The password, if it was made: it is shown only now.", json!({
                    "type": "object", "required": ["name", "scope", "password"],
                    "properties": {
                        "name": { "type": "string" },
                        "scope": { "type": "array", "items": { "type": "string" } },
                        "password": { "type": ["string", "null"] },
                    },
                })),
                "404": plain("There is no such user."),
                "409": plain("It has one of this name, or too many."),
            },
        })
    },
    ..USER
};

pub(super) const REMOVE_APP: Route = Route {
    method: "DELETE",
    path: "/users/{address}/app-passwords/{name}",
    name: "removeAppPassword",
    summary: "Takes an application password away; what it opened ends.",
    begin: |request| {
        ask(Ask::RemoveApp(
            request.parameter(0).to_owned(),
            request.parameter(1).to_owned(),
        ))
    },
    describe: || {
        json!({
            "parameters": [in_path("address", "The user's address."), in_path("name", "Its name.")],
            "responses": { "204": plain("It is gone."), "404": plain("There is no such user or password.") },
        })
    },
    ..USER
};

/// What a user has, of a body.
fn change(body: &mut Object<'_>) -> UserChange {
    let priority = |value: &Value| {
        let number = read::integer(0..=9)(value)?;
        i8::try_from(number).map_err(|_| "expected 0 to 9".to_owned())
    };
    UserChange {
        password: body.optional("password", password),
        quota_mb: body.optional("quota_mb", read::integer(0..=MAX_QUOTA)),
        quota_messages: body.optional("quota_messages", read::integer(0..=MAX_QUOTA)),
        admin: body.optional("admin", read::boolean),
        enabled: body.optional("enabled", read::boolean),
        send_as: body.list("send_as", MAX_SEND_AS, read::address),
        max_priority: body.nullable("max_priority", priority),
    }
}

/// A whole address. A name alone is a `username`.
fn whole(value: &Value) -> Parsed<String> {
    let address = read::line(320)(value)?;
    let named = address
        .rsplit_once('@')
        .is_some_and(|(name, domain)| !name.is_empty() && !domain.is_empty());
    named
        .then_some(address)
        .ok_or_else(|| "expected a whole address such as bob@example.com".to_owned())
}

fn password(value: &Value) -> Parsed<Secret> {
    let password = value.as_str().and_then(new_password);
    password.ok_or_else(|| format!("expected 1 to {} octets, no NUL", directory::MAX_PASSWORD))
}

fn moment(value: &Value) -> Parsed<Unix> {
    let moment = value.as_str().and_then(rfc3339::parse);
    moment.ok_or_else(|| "expected a day such as 2027-01-31, or 2027-01-31T12:00:00Z".to_owned())
}

fn password_schema(description: &str) -> Value {
    json!({
        "type": "string", "minLength": 1, "maxLength": directory::MAX_PASSWORD, "pattern": "^[^\\u0000]+$",
        "description": description,
    })
}

fn changes() -> Value {
    json!({
        "password": password_schema("At most 255 octets. It is never told again."),
        "quota_mb": { "type": "integer", "minimum": 0, "maximum": MAX_QUOTA, "description": "MiB of mail; 0: unlimited." },
        "quota_messages": { "type": "integer", "minimum": 0, "maximum": MAX_QUOTA, "description": "0: unlimited." },
        "admin": { "type": "boolean" },
        "enabled": { "type": "boolean" },
        "send_as": {
            "type": "array", "maxItems": MAX_SEND_AS, "items": { "type": "string", "format": "email" },
            "description": "Addresses that it may send as beside its own; replaces the list.",
        },
        "max_priority": {
            "type": ["integer", "null"], "minimum": 0, "maximum": 9,
            "description": "The highest priority (MT-PRIORITY) of its mail; null: as its kind has.",
        },
    })
}

fn schema() -> Value {
    json!({
        "type": "object", "required": ["address", "enabled", "admin", "quota_mb"],
        "properties": {
            "address": { "type": "string" }, "username": { "type": "string" }, "domain": { "type": "string" },
            "enabled": { "type": "boolean" }, "admin": { "type": "boolean" },
            "quota_mb": { "type": "integer" }, "quota_messages": { "type": "integer" },
            "used_octets": { "type": ["integer", "null"] }, "used_messages": { "type": ["integer", "null"] },
            "send_as": { "type": "array", "items": { "type": "string" } },
            "max_priority": { "type": ["integer", "null"] },
            "has_password": { "type": "boolean" },
            "app_passwords": { "type": "array", "items": { "type": "object" } },
            "error": { "type": ["string", "null"], "description": "Why its file cannot be read." },
        },
    })
}

#[cfg(test)]
mod tests;
