//! What the API asks of the service, and what it is answered. One request asks once, or twice where a message is uploaded.
//! Each part of the API has its own kind of question and answer, beside the code that reads and writes them.

use super::{Failure, admin, mail, send, session, state};
use crate::addr::AccountName;
use crate::time::Unix;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Whose token came with the request; it is good as far as signature and time go. The service looks whether it still
    /// holds before it does anything else.
    pub caller: Option<Caller>,
    /// Who may ask.
    pub access: Access,
    /// What.
    pub ask: Ask,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Who.
    pub account: AccountName,
    /// The epoch of the secret that the login was made with: another password, or a disabled account, ends the token.
    pub epoch: u64,
    /// The account's token epoch: a logout ends the token.
    pub tokens: u64,
    /// Until when the token is good.
    pub expires: Unix,
}

/// Who may make a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody: nothing of a token is looked at.
    Anybody,
    /// Everybody with a token.
    User,
    /// Administrators; others get 403.
    Admin,
    /// Loopback, or administrators (product: `/metrics`).
    Monitor,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Logins.
    Session(session::Ask),
    /// Folders and messages.
    Mail(mail::Ask),
    /// New messages.
    Send(send::Ask),
    /// Users, aliases, the queue.
    Admin(admin::Ask),
    /// How the server is.
    State(state::Ask),
}

/// What was asked is done.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Logins.
    Session(session::Answer),
    /// Folders and messages.
    Mail(mail::Answer),
    /// New messages.
    Send(send::Answer),
    /// Users, aliases, the queue.
    Admin(admin::Answer),
    /// How the server is.
    State(state::Answer),
}

/// The service's answer.
pub type Reply = Result<Answer, Failure>;
