//! Logins: tokens are given, renewed and taken back.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Access, Ask as Any, BodyRule, Failure, Next, Reply, Request, Route, json as read};
use crate::addr::AccountName;
use crate::auth::token::LIFETIME;
use crate::http::Response;
use crate::note::Note;
use crate::secret::Secret;

/// Octets of a login.
const MAX_LOGIN: u64 = 16 * 1024;

/// Characters of a name, and of a password.
const MAX_TEXT: usize = 1_024;

/// Characters of a name that are shown in logs.
const MAX_SHOWN: usize = 100;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Is this the password?
    Login {
        /// An address, or a bare name.
        login: String,
        /// In clear.
        password: Secret,
    },
    /// Another token for the caller, whose own still holds.
    Refresh,
    /// All tokens of the caller end.
    Logout,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A token may be given.
    Granted {
        /// To whom.
        account: AccountName,
        /// The epoch of the secret that was used for the login.
        epoch: u64,
        /// The account's token epoch.
        tokens: u64,
    },
    /// No token of the account holds any more.
    LoggedOut,
}

/// The calls.
pub(super) const ROUTES: &[Route] = &[
    Route {
        method: "POST",
        path: "/auth/login",
        name: "login",
        summary: "Gives a token for a name and a password, or for an application password whose scope has `api`.",
        access: Access::Anybody,
        body: BodyRule::Json {
            max: MAX_LOGIN,
            optional: false,
        },
        begin: login,
        render: granted,
        describe: || {
            json!({
                "requestBody": { "required": true, "content": { "application/json": {
                    "schema": { "$ref": "#/components/schemas/Login" },
                    "example": { "username": "alice@example.com", "password": "secret" },
                } } },
                "responses": { "200": token_response("The token"), "429": {} },
                "schemas": { "Login": login_schema(), "Token": token_schema() },
            })
        },
    },
    Route {
        method: "POST",
        path: "/auth/refresh",
        name: "refreshToken",
        summary: "Gives another token, good for an hour from now, for one that still holds.",
        access: Access::User,
        body: BodyRule::None,
        begin: |_| Ok(Next::Ask(Any::Session(Ask::Refresh))),
        render: granted,
        describe: || json!({ "responses": { "200": token_response("Another token") } }),
    },
    Route {
        method: "POST",
        path: "/auth/logout",
        name: "logout",
        summary: "Ends all tokens of the account, on whichever device they are.",
        access: Access::User,
        body: BodyRule::None,
        begin: |_| Ok(Next::Ask(Any::Session(Ask::Logout))),
        render: |_, _| Response::empty(204),
        describe: || json!({ "responses": { "204": { "description": "No token of the account holds any more" } } }),
    },
];

fn login_schema() -> Value {
    json!({
        "type": "object",
        "required": ["username", "password"],
        "additionalProperties": false,
        "properties": {
            "username": {
                "type": "string", "minLength": 1, "maxLength": MAX_TEXT,
                "description": "The address, or the part before the @ if `domain` is given or one domain is hosted",
            },
            "password": { "type": "string", "minLength": 1, "maxLength": MAX_TEXT },
            "domain": { "type": ["string", "null"], "maxLength": MAX_TEXT },
        },
    })
}

fn token_schema() -> Value {
    json!({
        "type": "object",
        "required": ["token", "username", "domain", "expires_in"],
        "properties": {
            "token": { "type": "string", "description": "For the field `Authorization: Bearer …`: a JWT (RFC 7519)" },
            "username": { "type": "string" },
            "domain": { "type": "string" },
            "expires_in": { "type": "integer", "description": "Seconds" },
        },
    })
}

fn token_response(description: &str) -> Value {
    json!({
        "description": description,
        "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Token" } } },
    })
}

fn login(request: &Request<'_>) -> Result<Next, Failure> {
    let (login, password) = read::read(request, |body| {
        let username = body.required("username", read::line(MAX_TEXT));
        let password = body.required("password", read::text(MAX_TEXT));
        let domain = body.optional("domain", read::text(MAX_TEXT));
        if password.as_deref() == Some("") {
            body.wrong("password", "expected text that is not empty");
        }
        let (username, domain) = (username?, domain.unwrap_or_default());
        let login = match username.rsplit_once('@') {
            _ if domain.is_empty() => username,
            None => format!("{username}@{domain}"),
            Some((_, own)) if own.eq_ignore_ascii_case(&domain) => username,
            Some(_) => {
                body.wrong(
                    "domain",
                    "expected the domain of the address in username, or nothing",
                );
                return None;
            }
        };
        Some((login, Secret::new(password?)))
    })?;
    if request.settings.tokens.is_none() {
        // Why is in the log since the start.
        return Err(Failure::new(503, "Nobody can log in at present"));
    }
    Ok(Next::Ask(Any::Session(Ask::Login { login, password })))
}

/// A token and whose it is.
#[derive(Serialize)]
struct Granted<'a> {
    token: String,
    username: &'a str,
    domain: &'a str,
    expires_in: u64,
}

fn granted(request: &Request<'_>, answer: super::Answer) -> Response {
    let (
        super::Answer::Session(Answer::Granted {
            account,
            epoch,
            tokens,
        }),
        Some(key),
    ) = (answer, &request.settings.tokens)
    else {
        return Response::error(500, "The service answered something else");
    };
    let (username, domain) = account.parts();
    let granted = Granted {
        token: key.issue(&account, epoch, tokens, request.now.unix),
        username,
        domain,
        expires_in: LIFETIME.as_secs(),
    };
    Response::json(200, &granted)
}

/// What a reply says that logs are to say too; `login` is the name that was tried.
pub(super) fn note(ask: &Ask, reply: &Reply) -> Option<Note> {
    const MECHANISM: &str = "API";
    let Ask::Login { login, .. } = ask else {
        return None;
    };
    match reply {
        Ok(super::Answer::Session(Answer::Granted { account, .. })) => Some(Note::LoggedIn {
            account: account.clone(),
            mechanism: MECHANISM,
        }),
        Ok(_) => None,
        Err(failure) => Some(Note::LoginFailed {
            login: login
                .chars()
                .map(|c| if c.is_control() { '?' } else { c })
                .take(MAX_SHOWN)
                .collect(),
            mechanism: MECHANISM,
            reason: match failure.status {
                401 => "wrong name or password, or disabled",
                429 => "too many failed",
                _ => "the server could not look",
            },
        }),
    }
}
