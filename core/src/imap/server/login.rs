//! LOGIN and AUTHENTICATE (RFC 9051 §6.2.2, §6.2.3), and whether a login still holds.

use super::{Account, Call, MAX_LOGIN_FAILURES, Phase, Session, Then, refusal};
use crate::addr::AccountName;
use crate::imap::capability;
use crate::line::Line;
use crate::machine::{Action, Scope};
use crate::mailbox::ModSeq;
use crate::note::Note;
use crate::refusal::Refusal;
use crate::sasl::{self, Claim, Exchange, Failure, ScramUser, Step};
use crate::secret::Secret;

/// Octets of a SASL response line: longer than any name and password that are taken, in Base64.
const MAX_RESPONSE: usize = 8 * 1024;

/// Characters of a login name that a note shows.
const MAX_SHOWN: usize = 100;

/// What is said to those who want to act as somebody else (RFC 5530 §3).
const NOBODY_ELSE: &str = "NO [AUTHORIZATIONFAILED] Nobody can act as somebody else";

/// A login being checked.
#[derive(Debug)]
pub(super) struct Attempt {
    tag: String,
    login: String,
    mechanism: &'static str,
}

impl Attempt {
    fn of(tag: String, exchange: &Exchange) -> Self {
        Self {
            tag,
            login: exchange.login().to_owned(),
            mechanism: exchange.mechanism().name(),
        }
    }
}

impl Session {
    /// Whether passwords may be asked for on this connection; if not, says so.
    fn may_log_in(&mut self, tag: &str) -> bool {
        let may = self.offer().login;
        if !may {
            self.tagged(tag, "NO [PRIVACYREQUIRED] Start TLS first");
        }
        may
    }

    /// LOGIN.
    pub(super) fn login(&mut self, tag: String, user: String, password: Secret) {
        if self.may_log_in(&tag) {
            self.check(tag, user, password, "LOGIN");
        }
    }

    /// AUTHENTICATE, with an initial response or without (RFC 4959).
    pub(super) fn authenticate(&mut self, tag: String, mechanism: &str, initial: Option<Secret>) {
        if !self.may_log_in(&tag) {
            return;
        }
        let Some(mut exchange) = Exchange::new(mechanism, self.bindings.as_deref(), &mut self.random) else {
            return self.tagged(&tag, "NO Unsupported mechanism");
        };
        let step = exchange.begin(initial.as_ref().map(Secret::expose));
        self.go_through(tag, Box::new(exchange), step);
    }

    fn go_through(&mut self, tag: String, exchange: Box<Exchange>, step: Step) {
        match step {
            Step::Challenge(challenge) => {
                self.out.line(&["+ ", &sasl::encode(&challenge)].concat());
                self.phase = Phase::Sasl(tag, exchange);
            }
            Step::Lookup(login) => self.call(Call::ScramStart { login }, Then::Scram(tag, exchange)),
            Step::Done(Claim::Password(credentials)) => {
                let mechanism = exchange.mechanism().name();
                self.check(tag, credentials.login, credentials.password, mechanism);
            }
            Step::Done(Claim::Proven(account, epoch)) => {
                let attempt = Attempt::of(tag, &exchange);
                self.call(Call::ScramDone { account, epoch }, Then::Login(attempt));
            }
            Step::Failed(Failure::Malformed) => self.refuse_bad(&tag, "Malformed authentication data"),
            Step::Failed(failure @ Failure::Authorization) => {
                let attempt = Attempt::of(tag, &exchange);
                self.refuse_login(&attempt, NOBODY_ELSE, failure.reason(), true);
            }
            Step::Failed(failure) => {
                let attempt = Attempt::of(tag, &exchange);
                self.login_failed(&attempt, Refusal::BadCredentials, failure.reason());
            }
        }
    }

    /// What is stored of the user whom a client wants to be.
    pub(super) fn scram_found(
        &mut self,
        tag: String,
        mut exchange: Box<Exchange>,
        result: Result<ScramUser, Refusal>,
    ) {
        match result {
            Ok(user) => {
                let step = exchange.found(user);
                self.go_through(tag, exchange, step);
            }
            Err(refused) => {
                let attempt = Attempt::of(tag, &exchange);
                self.login_failed(&attempt, refused, refusal::login_reason(refused));
            }
        }
    }

    /// The next line of an exchange. False: there is none yet.
    pub(super) fn read_sasl(&mut self) -> bool {
        let line = match self.inbox.line(MAX_RESPONSE) {
            Line::Partial => return self.next_pending(),
            Line::TooLong => {
                self.bye("[TOOBIG] Line too long", "overlong line");
                return true;
            }
            Line::Whole(line) => line,
        };
        self.activity = self.now.mono;
        let Phase::Sasl(tag, mut exchange) = core::mem::replace(&mut self.phase, Phase::Ready) else {
            return true;
        };
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line == b"*" {
            self.refuse_bad(&tag, "Authentication cancelled");
        } else if let Some(response) = sasl::decode(line) {
            let step = exchange.respond(response.expose());
            self.go_through(tag, exchange, step);
        } else {
            self.refuse_bad(&tag, "Malformed Base64");
        }
        true
    }

    fn check(&mut self, tag: String, login: String, password: Secret, mechanism: &'static str) {
        let attempt = Attempt {
            tag,
            login: login.clone(),
            mechanism,
        };
        self.call(Call::Authenticate { login, password }, Then::Login(attempt));
    }

    /// The service's word on a login.
    pub(super) fn authenticated(&mut self, attempt: Attempt, result: Result<(AccountName, u64), Refusal>) {
        let (name, epoch) = match result {
            Ok(account) => account,
            Err(refused) => return self.login_failed(&attempt, refused, refusal::login_reason(refused)),
        };
        let watch = self.watch(Scope::Account(name.clone()), ModSeq(epoch));
        self.out.push(Action::Note(Note::LoggedIn {
            account: name.clone(),
            mechanism: attempt.mechanism,
        }));
        self.account = Some(Box::new(Account { name, epoch, watch }));
        let mut code = Vec::new();
        capability::write(&mut code, self.offer());
        let code = String::from_utf8_lossy(&code);
        self.tagged(&attempt.tag, &format!("OK [{code}] Logged in"));
    }

    fn login_failed(&mut self, attempt: &Attempt, refused: Refusal, reason: &'static str) {
        let text = refusal::no(refused);
        self.refuse_login(attempt, &text, reason, !refused.is_temporary());
    }

    /// Notes that a login failed and answers it; if it `counts`, it is one of those after which the session ends.
    fn refuse_login(&mut self, attempt: &Attempt, text: &str, reason: &'static str, counts: bool) {
        let login = attempt
            .login
            .chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .take(MAX_SHOWN)
            .collect();
        self.out.push(Action::Note(Note::LoginFailed {
            login,
            mechanism: attempt.mechanism,
            reason,
        }));
        self.tagged(&attempt.tag, text);
        if counts {
            self.failures += 1;
        }
        if self.failures >= MAX_LOGIN_FAILURES {
            self.bye("Too many failed logins", "too many failed logins");
        }
    }

    /// Asks whether the login still holds: its account has changed.
    pub(super) fn ask_recheck(&mut self) -> bool {
        self.recheck = false;
        if let Some(account) = &self.account {
            let (account, epoch) = (account.name.clone(), account.epoch);
            self.call(Call::Recheck { account, epoch }, Then::Recheck);
        }
        true
    }

    /// Whether it does.
    pub(super) fn rechecked(&mut self, holds: bool) {
        if !holds {
            self.bye("Your login is no longer valid", "login no longer valid");
        }
    }
}
