//! AUTH at the next server (RFC 4954): the strongest mechanism that it offers and we know, one after the other where it
//! does not know one that it offered.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::reply::ServerReply;
use super::{Call, End, Session, State, timeout};
use crate::machine::Action;
use crate::note::Note;
use crate::relay::{Enhanced, Report};
use crate::sasl::client::{Login, NONCE, Step};
use crate::sasl::{Bindings, Mechanism};
use crate::secret::Secret;

/// Octets of a command line without its end (RFC 5321 §4.5.3.1.4). A longer initial response is sent when it is asked for
/// (RFC 4954 §4).
const MAX_COMMAND: usize = 510;

/// The login under way.
#[derive(Debug)]
pub(super) struct Auth {
    mechanism: Mechanism,
    /// Those that have failed without a word about the password.
    tried: Vec<Mechanism>,
    /// None: the nonce is awaited.
    login: Option<Login>,
    /// The initial response, if it did not fit the command.
    initial: Option<Secret>,
    /// We have sent `*`, for this reason.
    cancelled: Option<String>,
}

impl Session {
    /// AUTH if there are credentials, then the message.
    pub(super) fn authenticate(&mut self) {
        if self.settings.credentials.is_none() {
            self.begin();
        } else if self.tls && !self.settings.tls.allows_clear_text() {
            self.try_mechanism(Vec::new());
        } else {
            self.no_login(
                "the password is not sent without verified TLS (set tls to verify, implicit or require)",
            );
        }
    }

    /// Begins with the strongest mechanism that was not tried.
    fn try_mechanism(&mut self, tried: Vec<Mechanism>) {
        let bound = self.bindings.is_some();
        let offered = &self.extensions.auth;
        let mut usable =
            Mechanism::offered(bound).filter(|known| offered.contains(known) && !tried.contains(known));
        let Some(mechanism) = usable.next() else {
            self.no_login("the server offers no AUTH that is known here (SCRAM-SHA-256, PLAIN, LOGIN)");
            return;
        };
        self.auth = Some(Box::new(Auth {
            mechanism,
            tried,
            login: None,
            initial: None,
            cancelled: None,
        }));
        self.wait(State::Auth, timeout::COMMAND);
        match mechanism {
            Mechanism::ScramSha256Plus | Mechanism::ScramSha256 => self.ask(Call::Nonce),
            Mechanism::Plain | Mechanism::Login => self.on_nonce([0; NONCE]),
        }
    }

    /// Sends the command.
    pub(super) fn on_nonce(&mut self, nonce: [u8; NONCE]) {
        let (Some(auth), Some(credentials)) = (self.auth.as_mut(), &self.settings.credentials) else {
            return;
        };
        let mut login = Login::new(
            auth.mechanism,
            &credentials.username,
            &credentials.password,
            self.bindings.as_ref().filter(|_| self.tls),
            self.extensions.auth.contains(&Mechanism::ScramSha256Plus),
            nonce,
        );
        let command = format!("AUTH {}", auth.mechanism.name());
        let initial = login.initial();
        let room = MAX_COMMAND.saturating_sub(command.len() + 1);
        let (now, later) = match initial {
            Some(initial) if base64_len(&initial) <= room => (Some(initial), None),
            later => (None, later),
        };
        auth.login = Some(login);
        auth.initial = later;
        match now {
            Some(initial) => self.secret_line(&format!("{command} "), &initial),
            None => self.command(&command),
        }
        self.wait(State::Auth, timeout::COMMAND);
    }

    pub(super) fn on_auth(&mut self, reply: &ServerReply) {
        let Some(auth) = self.auth.as_mut() else {
            return;
        };
        let over = auth.login.as_ref().is_some_and(Login::is_over) && auth.initial.is_none();
        if let Some(why) = &auth.cancelled {
            let why = why.clone();
            self.cancelled(reply, &why);
            return;
        }
        match (reply.code, reply.class()) {
            (_, 2) if over => {
                self.auth = None;
                self.logged_in = true;
                self.begin();
            }
            (_, 2) => {
                self.no_login("the server accepts the login without proving that it knows the password")
            }
            (334, _) => self.challenged(reply),
            // RFC 4954 §6 (504), RFC 5321 §4.2.4: it does not know what it offered.
            (500..=504, _) => self.next_mechanism(),
            _ => self.auth_refused(reply),
        }
    }

    fn challenged(&mut self, reply: &ServerReply) {
        let Some(auth) = self.auth.as_mut() else {
            return;
        };
        let Some(login) = auth.login.as_mut() else {
            return;
        };
        if let Some(initial) = auth.initial.take() {
            self.respond(&initial);
            return;
        }
        let text = reply.lines.first().map_or("", |line| line.trim());
        let step = match (BASE64.decode(text), login.mechanism()) {
            (Ok(challenge), _) => login.respond(&challenge),
            // What LOGIN asks in which words, and whether PLAIN is asked in any, means nothing.
            (Err(_), Mechanism::Plain | Mechanism::Login) => login.respond(&[]),
            (Err(_), _) => Step::Cancel("the server's challenge is not Base64".to_owned()),
        };
        self.take(step);
    }

    /// The password is salted.
    pub(super) fn on_salted(&mut self, salted: &Secret) {
        let login = self.auth.as_mut().and_then(|auth| auth.login.as_mut());
        let step = login.map(|login| login.salted(salted));
        if let Some(step) = step.filter(|_| self.state == State::Auth) {
            self.take(step);
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Respond(response) => self.respond(&response),
            Step::Salt { salt, rounds } => {
                let password = self.settings.credentials.as_ref();
                let password = password.map(|known| known.password.clone()).unwrap_or_default();
                self.wait(State::Auth, timeout::COMMAND);
                self.ask(Call::Salt {
                    password,
                    salt,
                    rounds,
                });
            }
            Step::Cancel(why) => {
                if let Some(auth) = self.auth.as_mut() {
                    auth.cancelled = Some(why);
                }
                // RFC 4954 §4: 501 follows.
                self.command("*");
                self.wait(State::Auth, timeout::COMMAND);
            }
        }
    }

    fn respond(&mut self, response: &Secret) {
        self.secret_line("", response);
        self.wait(State::Auth, timeout::COMMAND);
    }

    /// After `*`. A server that binds in another way than we do may still have a mechanism that does not bind.
    fn cancelled(&mut self, reply: &ServerReply, why: &str) {
        if why.ends_with("unsupported-channel-binding-type") && reply.class() == 5 {
            self.next_mechanism();
        } else {
            self.no_login(why);
        }
    }

    fn next_mechanism(&mut self) {
        let Some(auth) = self.auth.take() else {
            return;
        };
        let Auth {
            mechanism, mut tried, ..
        } = *auth;
        tried.push(mechanism);
        self.try_mechanism(tried);
    }

    /// A wrong password is an operator's matter: mail waits for it to be mended. 4xx is the server's own trouble.
    fn auth_refused(&mut self, reply: &ServerReply) {
        if reply.class() == 4 {
            self.refused(End::NextHost, reply);
            return;
        }
        let mut report = reply.report(&self.settings.server);
        report.enhanced = report.enhanced.with_class(4);
        report.text = format!("login refused: {}", report.text);
        self.alarm(&report);
        self.leave(End::Ours, &report.severe());
    }

    fn no_login(&mut self, why: &str) {
        let report = Report::ours(Enhanced(4, 7, 0), format!("login not possible: {why}"));
        let report = report.at(&self.settings.server);
        self.alarm(&report);
        self.leave(End::Ours, &report.severe());
    }

    /// Says what an operator has to do.
    fn alarm(&mut self, report: &Report) {
        let name = self.settings.credentials.as_ref();
        let name = name.map_or("", |known| known.username.as_str());
        let text = format!(
            "{} does not let us in as {name:?} ({report}): its mail stays in the queue; correct name, password or tls of \
             this server in relay.smarthost_*, relay.routes or relay.sender_routes, reload, and retry the queue",
            self.settings.server
        );
        self.out.push_back(Action::Note(Note::Internal(text)));
    }

    /// Sends a line whose end is secret, in Base64.
    fn secret_line(&mut self, command: &str, secret: &Secret) {
        self.out
            .push_back(Action::Note(Note::Command(format!("{command}***"))));
        self.send(format!("{command}{}\r\n", BASE64.encode(secret.expose())).into_bytes());
    }

    /// What a login can be bound to.
    pub(super) fn bind(&mut self, info: &crate::machine::TlsInfo) {
        self.bindings = Bindings::of(info);
    }
}

fn base64_len(secret: &Secret) -> usize {
    secret.expose().len().div_ceil(3) * 4
}
