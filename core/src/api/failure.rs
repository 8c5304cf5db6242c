//! Why a request of the API was not done: one table from policy to status.

use core::time::Duration;

use serde::Serialize;

use crate::http::Response;
use crate::refusal::Refusal;

/// Why something was not done, and what the client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Status code.
    pub status: u16,
    /// In words: what was wrong, and what would be right.
    pub error: String,
    /// Each wrong field.
    pub details: Vec<Detail>,
    /// Retry-After.
    pub retry_after: Option<Duration>,
    /// Further fields: `Allow`, `WWW-Authenticate`.
    pub fields: Vec<(&'static str, String)>,
}

/// A wrong field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Detail {
    /// Where: `$.to[0]` for JSON, `query.limit`, `path.id`.
    pub path: String,
    /// What was expected.
    pub error: String,
}

impl Failure {
    /// A status and words.
    #[must_use]
    pub fn new(status: u16, error: impl Into<String>) -> Self {
        Self {
            status,
            error: error.into(),
            details: Vec::new(),
            retry_after: None,
            fields: Vec::new(),
        }
    }

    /// 400 with every wrong field.
    #[must_use]
    pub fn invalid(details: Vec<Detail>) -> Self {
        Self {
            details,
            ..Self::new(400, "Invalid request")
        }
    }

    /// 400 for one wrong field.
    #[must_use]
    pub fn field(path: impl Into<String>, error: impl Into<String>) -> Self {
        Self::invalid(vec![Detail {
            path: path.into(),
            error: error.into(),
        }])
    }

    /// 404.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(404, "Not found")
    }

    /// The answer.
    #[must_use]
    pub fn response(&self) -> Response {
        let mut body = serde_json::json!({ "error": self.error });
        if let (false, Some(body)) = (self.details.is_empty(), body.as_object_mut()) {
            body.insert("details".to_owned(), serde_json::json!(self.details));
        }
        let mut response = Response::json(self.status, &body);
        if let Some(wait) = self.retry_after {
            // Whole seconds, and not too early.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response = response.with("Retry-After", seconds.max(1).to_string());
        }
        response.fields.extend(self.fields.iter().cloned());
        response
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let (status, error) = match refusal {
            Refusal::BadCredentials => (401, "Wrong name or password"),
            Refusal::AccountDisabled => (401, "The account is disabled"),
            Refusal::TooManyAttempts => (429, "Too many attempts"),
            Refusal::NoSuchUser => (404, "No such user"),
            Refusal::RelayDenied => (403, "Mail to other servers is not taken here"),
            Refusal::RelayDisabled => (403, "This server sends no mail to others"),
            Refusal::SenderNotOwned => (403, "The sender is not an address of this account"),
            Refusal::AuthorNotOwned => (403, "The author is not an address of this account"),
            Refusal::OverQuota => (413, "Quota exceeded"),
            Refusal::TooLarge => (413, "Message too large"),
            Refusal::QueueFull => (503, "The queue is full, try again later"),
            Refusal::DiskFull => (507, "The disk is full, try again later"),
            Refusal::Busy => (503, "Busy, try again later"),
            Refusal::Unavailable => (503, "Not available at present"),
            Refusal::Storage => (500, "The storage failed"),
            Refusal::NoSuchMailbox => (404, "No such folder"),
            Refusal::MailboxExists => (409, "There is a folder of this name"),
            Refusal::BadMailboxName => (400, "A folder cannot have this name"),
            Refusal::NotPossible => (409, "This cannot be done with this folder"),
            Refusal::TooManyKeywords => (409, "The folder has too many different keywords"),
            Refusal::MailboxFull => (409, "The folder is full"),
            Refusal::ReadOnly => (403, "The folder can only be read"),
            Refusal::NotPermitted => (403, "Not permitted"),
            Refusal::AliasLoop => (503, "The address leads in a circle"),
            Refusal::Greylisted => (503, "Try again later"),
        };
        Self {
            retry_after: matches!(status, 429 | 503).then_some(Duration::from_secs(30)),
            ..Self::new(status, error)
        }
    }
}
