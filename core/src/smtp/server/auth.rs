//! AUTH (RFC 4954).

use super::Call;
use super::printable::printable;
use super::session::{Login, Phase, Session, Then};
use crate::addr::AccountName;
use crate::machine::{Action, Scope};
use crate::mailbox::ModSeq;
use crate::note::Note;
use crate::refusal::Refusal;
use crate::sasl::{self, Bindings, Claim, Exchange, Failure, Mechanism, ScramUser, Step};
use crate::smtp::command;
use crate::smtp::reply::{Context, Reply, refusal};

const BAD_BASE64: Reply = Reply::new(501, "5.5.2", "Invalid Base64 data");

impl Session {
    pub(super) fn auth(&mut self, auth: &command::Auth) {
        self.auth_seen = true;
        let refused = if !self.knows_auth() {
            Some(Reply::new(502, "5.5.1", "AUTH not available"))
        } else if self.login.is_some() {
            Some(Reply::new(503, "5.5.1", "Already authenticated"))
        } else if !self.is_private() {
            Some(Reply::new(
                538,
                "5.7.11",
                "Encryption required for authentication",
            ))
        } else if self.helo.is_none() {
            Some(Reply::new(503, "5.5.1", "Send EHLO first"))
        } else if self.in_transaction() {
            Some(Reply::new(
                503,
                "5.5.1",
                "AUTH not permitted during a mail transaction",
            ))
        } else {
            None
        };
        if let Some(reply) = refused {
            return self.fail(&reply);
        }
        let bindings = self.bindings();
        let exchange = Exchange::new(&auth.mechanism, bindings.as_ref(), &mut self.random);
        let Some(mut exchange) = exchange else {
            return self.fail(&Reply::new(
                504,
                "5.5.4",
                "Authentication mechanism not supported",
            ));
        };
        let step = match &auth.initial {
            None => exchange.begin(None),
            Some(word) => match sasl::decode_initial(word.expose()) {
                Some(response) => exchange.begin(Some(response.expose())),
                None => return self.fail(&BAD_BASE64),
            },
        };
        self.auth_step(exchange, step);
    }

    /// A line of the exchange, with its line end.
    pub(super) fn auth_line(&mut self, line: &[u8]) {
        let Phase::Auth(mut exchange) = core::mem::replace(&mut self.phase, Phase::Command) else {
            return;
        };
        self.out.note(Note::Command("***".to_owned()));
        let text = line.strip_suffix(b"\r\n");
        if text == Some(b"*") {
            return self.fail(&Reply::new(501, "5.7.0", "Authentication cancelled"));
        }
        let Some(response) = text.and_then(sasl::decode) else {
            return self.fail(&BAD_BASE64);
        };
        let step = exchange.respond(response.expose());
        self.auth_step(exchange, step);
    }

    fn auth_step(&mut self, exchange: Exchange, step: Step) {
        let mechanism = exchange.mechanism();
        match step {
            Step::Challenge(challenge) => {
                self.phase = Phase::Auth(exchange);
                self.respond(&Reply::plain(334, "").with_text(sasl::encode(&challenge)));
            }
            Step::Lookup(login) => self.ask(Call::ScramStart { login }, Then::Scram(exchange)),
            Step::Done(Claim::Password(credentials)) => {
                let login = credentials.login.clone();
                let call = Call::Authenticate {
                    login: credentials.login,
                    password: credentials.password,
                };
                self.ask(call, Then::Authenticate { mechanism, login });
            }
            Step::Done(Claim::Proven(account, epoch)) => {
                let login = exchange.login().to_owned();
                let call = Call::ScramDone { account, epoch };
                self.ask(call, Then::Authenticate { mechanism, login });
            }
            Step::Failed(Failure::Malformed) => {
                self.fail(&Reply::new(501, "5.5.2", "Malformed authentication response"));
            }
            Step::Failed(failure) => {
                self.out.note(Note::LoginFailed {
                    login: printable(exchange.login().as_bytes()),
                    mechanism: mechanism.name(),
                    reason: failure.reason(),
                });
                self.fail(&refusal(Context::Auth, Refusal::BadCredentials));
            }
        }
    }

    /// What is stored of the user whom a client wants to be.
    pub(super) fn scram_found(&mut self, mut exchange: Exchange, result: Result<ScramUser, Refusal>) {
        match result {
            Ok(user) => {
                let step = exchange.found(user);
                self.auth_step(exchange, step);
            }
            Err(word) => {
                let (mechanism, login) = (exchange.mechanism(), exchange.login().to_owned());
                self.authenticated(mechanism, &login, Err(word));
            }
        }
    }

    /// What SCRAM can bind to.
    pub(super) fn bindings(&self) -> Option<Bindings> {
        self.tls.as_ref().and_then(Bindings::of)
    }

    pub(super) fn authenticated(
        &mut self,
        mechanism: Mechanism,
        login: &str,
        result: Result<(AccountName, u64), Refusal>,
    ) {
        match result {
            Ok((account, epoch)) => {
                let watch = self.new_watch();
                self.out.note(Note::LoggedIn {
                    account: account.clone(),
                    mechanism: mechanism.name(),
                });
                self.out.push(Action::Watch(
                    watch,
                    Scope::Account(account.clone()),
                    ModSeq(epoch),
                ));
                self.login = Some(Login {
                    account,
                    epoch,
                    watch,
                });
                self.respond(&Reply::new(235, "2.7.0", "Authentication successful"));
            }
            Err(word) => {
                self.out.note(Note::LoginFailed {
                    login: printable(login.as_bytes()),
                    mechanism: mechanism.name(),
                    reason: reason(word),
                });
                self.fail(&refusal(Context::Auth, word));
            }
        }
    }
}

/// For the log only: the client is not told.
const fn reason(word: Refusal) -> &'static str {
    match word {
        Refusal::BadCredentials | Refusal::NoSuchUser => "wrong name or password",
        Refusal::AccountDisabled => "account disabled",
        Refusal::TooManyAttempts => "too many attempts",
        Refusal::Busy => "busy",
        Refusal::Unavailable | Refusal::Storage | Refusal::DiskFull => "user data not readable",
        _ => "not permitted",
    }
}
