//! Answers `/users…`, `/aliases…`, `/queue…` and `/stats`, for administrators.

mod aliases;
mod queue;
mod stats;
mod users;

use rmail_core::api::Failure;
use rmail_core::api::admin::{Answer, Ask, users as ask_users};
use rmail_core::directory::alias::BadAlias;
use rmail_core::time::Now;

use super::ApiService;
use crate::accounts::AccountError;
use crate::disk::Disk;
use crate::mailstore::MailStore;
use crate::service::{Pool, refused};

/// Where a call runs: passwords are hashed apart from all else, and what writes does not keep up what reads.
pub(super) fn pool(ask: &Ask) -> Pool {
    use rmail_core::api::admin::{aliases, queue};
    match ask {
        Ask::Users(ask_users::Ask::Create(..) | ask_users::Ask::AddApp(..)) => Pool::Password,
        Ask::Users(ask_users::Ask::Change(_, change)) if change.password.is_some() => Pool::Password,
        Ask::Users(ask_users::Ask::List { .. } | ask_users::Ask::Show(_))
        | Ask::Aliases(aliases::Ask::List { .. } | aliases::Ask::Show(_) | aliases::Ask::Test(_))
        | Ask::Queue(queue::Ask::List { .. } | queue::Ask::Show(_))
        | Ask::Stats => Pool::Read,
        Ask::Users(_) | Ask::Aliases(_) | Ask::Queue(_) => Pool::Sync,
    }
}

impl<S: MailStore, D: Disk> ApiService<S, D> {
    /// Answers an administrator.
    pub(super) async fn admin(&self, now: Now, ask: Ask) -> Result<Answer, Failure> {
        match ask {
            Ask::Users(ask) => self.users(now, ask).await.map(Answer::Users),
            Ask::Aliases(ask) => self.aliases(ask).await.map(Answer::Aliases),
            Ask::Queue(ask) => self.queue(now, ask).await.map(Answer::Queue),
            Ask::Stats => self.stats(now).await.map(|stats| Answer::Stats(Box::new(stats))),
        }
    }
}

/// Why a change of accounts was not made; `field`: where a name that is none was given.
fn failed(error: AccountError, field: Option<&str>) -> Failure {
    let text = error.to_string();
    let wrong = |text: String| match field {
        Some(field) => Failure::field(field, text),
        None => Failure::not_found(),
    };
    match error {
        AccountError::AlreadyExists | AccountError::TooMany => Failure::new(409, capital(&text)),
        AccountError::NoSuchUser | AccountError::NoSuchAppPassword => Failure::new(404, capital(&text)),
        AccountError::Alias(BadAlias::NoSuchAlias | BadAlias::NoSuchTarget(_)) => {
            Failure::new(404, capital(&text))
        }
        AccountError::BadName | AccountError::NotHosted => wrong(text),
        AccountError::Alias(BadAlias::Key(_) | BadAlias::NotHosted(_)) => wrong(text),
        AccountError::Alias(BadAlias::Wrong(_)) => Failure::field("$.targets", text),
        AccountError::Broken(why) => {
            log::error!("{why}");
            Failure::new(409, format!("The file is broken, and is left as it is: {why}"))
        }
        AccountError::Store(error) => refused("change accounts", error).into(),
    }
}

/// As a sentence begins.
fn capital(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}
