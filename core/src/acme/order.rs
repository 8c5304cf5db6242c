//! One order, from the directory to the certificate (RFC 8555 §7.4).
//!
//! One request is under way at a time; the next is sent when its answer is in. Names are authorized one after the other.

mod answers;

use core::time::Duration;
use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

use super::jws::{Binding, PublicKey, Signer, Unsigned};
use super::objects::{Directory, OrderObject};
use super::problem::Problem;
use super::{ChallengeKind, trial_directory};
use crate::machine::Machine;
use crate::time::{Mono, Now};

/// Octets of a response's body, at most: chains have some thousand.
pub const MAX_BODY: usize = 256 * 1024;

/// The whole takes no longer than this.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// Nonces in a row that may be refused (RFC 8555 §6.5): authorities of many machines take a moment to agree.
const MAX_BAD_NONCES: u32 = 5;
/// Requests of an order that may fail on the way or with 5xx, before the order does.
const MAX_TROUBLES: u32 = 6;
/// Between two looks at what is not ready yet, where the authority does not say.
const LOOK: Duration = Duration::from_secs(1);
/// What an authority may ask for between two looks.
const LONGEST_LOOK: Duration = Duration::from_secs(60);

/// What an order is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The authority's directory; for a trial, that of its servers for trials is taken.
    pub directory: String,
    /// Where the authority may write to.
    pub email: Option<String>,
    /// The names of the certificate.
    pub names: Vec<String>,
    /// How they are shown to be ours.
    pub challenge: ChallengeKind,
    /// The account's key.
    pub key: PublicKey,
    /// The account's URL, if there is an account for the key.
    pub account: Option<String>,
    /// What a new account is bound to, if the authority has given something.
    pub binding: Option<Binding>,
    /// The URL of an order for the same names that was begun and not brought to its end.
    pub order: Option<String>,
    /// The request for the certificate (PKCS #10, DER).
    pub csr: Vec<u8>,
    /// Everything but the certificate is asked for.
    pub trial: bool,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The request was answered.
    Response(Response),
    /// It was not, for this reason.
    Lost(String),
    /// [`Machine::poll_timeout`] has come.
    Tick,
}

/// A response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// `Replay-Nonce`
    pub nonce: Option<String>,
    /// `Location`
    pub location: Option<String>,
    /// `Retry-After`, as a time from now.
    pub retry_after: Option<Duration>,
    /// Body.
    pub body: Vec<u8>,
}

/// What must be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask for this URL; [`Input::Response`] or [`Input::Lost`] follows.
    Get(String),
    /// Send this there, signed, as `application/jose+json`. The same follows.
    Post(String, Unsigned),
    /// Show this to whoever asks, before anything else is done.
    Show(Proof),
    /// Nobody need see it any more.
    Hide(Proof),
    /// The account's URL: to be kept. `None`: the one that was given is none.
    Account(Option<String>),
    /// The order's URL: to be kept until the certificate is, so that the order can go on if we cannot. `None`: there is
    /// nothing to go on with.
    Order(Option<String>),
    /// It is over: [`Order::result`].
    End,
}

/// That a name is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// How it is shown.
    pub kind: ChallengeKind,
    /// The name.
    pub name: String,
    /// What `http-01` is asked for.
    pub token: String,
    /// What is shown: the document, or what [`super::alpn_digest`] is made of.
    pub key_authorization: String,
}

/// How an order ended well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The chain, PEM, the server's own certificate first.
    Certificate(String),
    /// It was a trial, and the certificate would have been given.
    WouldBeGiven,
}

/// Why there is no certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What was wrong.
    pub text: String,
    /// What can be done.
    pub advice: String,
    /// The authority does not want to be asked before.
    pub retry_after: Option<Duration>,
}

/// The machine.
#[derive(Debug)]
pub struct Order {
    settings: Settings,
    want: Want,
    /// A nonce is on its way, for what is wanted.
    for_nonce: bool,
    nonce: Option<String>,
    directory: Option<Directory>,
    /// Authorizations of the order, and which is looked at.
    authorizations: Vec<String>,
    current: usize,
    /// Where the certificate is asked for, and where it is.
    finalize: String,
    certificate: String,
    /// What is shown at the moment.
    proof: Option<Proof>,
    /// What has to be posted to say so.
    challenge: String,
    /// It was, and the authority has heard it.
    said: bool,
    bad_nonces: u32,
    troubles: u32,
    /// The order was begun before: it may be gone.
    resumed: bool,
    /// When the next request goes out; `None`: an answer is waited for.
    at: Option<Mono>,
    deadline: Mono,
    actions: VecDeque<Action>,
    result: Option<Result<Outcome, Failure>>,
}

/// Which answer is wanted next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    Directory,
    Account,
    NewOrder,
    Order,
    Authorization,
    Challenge,
    Finalize,
    Certificate,
}

impl Order {
    /// Begins: the first actions are there.
    #[must_use]
    pub fn new(now: Now, settings: Settings) -> Self {
        let mut order = Self {
            settings,
            want: Want::Directory,
            for_nonce: false,
            nonce: None,
            directory: None,
            authorizations: Vec::new(),
            current: 0,
            finalize: String::new(),
            certificate: String::new(),
            proof: None,
            challenge: String::new(),
            said: false,
            bad_nonces: 0,
            troubles: 0,
            resumed: false,
            at: None,
            deadline: now.mono + LONGEST,
            actions: VecDeque::new(),
            result: None,
        };
        order.send();
        order
    }

    /// How it ended, once it has.
    #[must_use]
    pub fn result(&self) -> Option<&Result<Outcome, Failure>> {
        self.result.as_ref()
    }

    /// Sends what asks for the answer that is wanted.
    fn send(&mut self) {
        self.at = None;
        let Some(directory) = &self.directory else {
            let url = match self.settings.trial {
                true => trial_directory(&self.settings.directory),
                false => &self.settings.directory,
            };
            self.actions.push_back(Action::Get(url.to_owned()));
            return;
        };
        let Some(nonce) = self.nonce.take() else {
            self.for_nonce = true;
            self.actions.push_back(Action::Get(directory.new_nonce.clone()));
            return;
        };
        let (url, payload) = self.request(directory);
        let signer = match (&self.settings.account, self.want) {
            (Some(account), want) if want != Want::Account => Signer::Account(account),
            _ => Signer::Key(&self.settings.key),
        };
        let unsigned = Unsigned::new(signer, &nonce, &url, payload.as_ref());
        self.actions.push_back(Action::Post(url, unsigned));
    }

    /// Where the next request goes, and what is in it; nothing: it asks only.
    fn request(&self, directory: &Directory) -> (String, Option<Value>) {
        let settings = &self.settings;
        match self.want {
            Want::Account | Want::Directory => {
                let mut account = json!({"termsOfServiceAgreed": true});
                if let (Some(email), Some(fields)) = (&settings.email, account.as_object_mut()) {
                    fields.insert("contact".to_owned(), json!([format!("mailto:{email}")]));
                }
                if let (Some(binding), Some(fields)) = (&settings.binding, account.as_object_mut()) {
                    let bound = binding.of(&settings.key, &directory.new_account);
                    fields.insert("externalAccountBinding".to_owned(), bound);
                }
                (directory.new_account.clone(), Some(account))
            }
            Want::NewOrder => {
                let names = settings.names.iter();
                let identifiers: Vec<Value> =
                    names.map(|name| json!({"type": "dns", "value": name})).collect();
                let order = json!({"identifiers": identifiers});
                (directory.new_order.clone(), Some(order))
            }
            Want::Order => (settings.order.clone().unwrap_or_default(), None),
            Want::Authorization => {
                let url = self.authorizations.get(self.current).cloned();
                (url.unwrap_or_default(), None)
            }
            // §7.5.1: an empty object says that the proof can be looked at.
            Want::Challenge => (self.challenge.clone(), Some(json!({}))),
            Want::Finalize => {
                let csr = json!({"csr": BASE64.encode(&settings.csr)});
                (self.finalize.clone(), Some(csr))
            }
            Want::Certificate => (self.certificate.clone(), None),
        }
    }

    /// Asks for the next answer at once.
    fn go(&mut self, want: Want) {
        self.want = want;
        self.bad_nonces = 0;
        self.send();
    }

    /// Asks for it after a pause.
    fn go_later(&mut self, now: Now, want: Want, pause: Duration) {
        self.want = want;
        self.bad_nonces = 0;
        self.at = Some(now.mono + pause);
    }

    /// Something on the way, or in the authority: again, some times. What may have come through is looked at first.
    fn again(&mut self, now: Now, why: String, retry_after: Option<Duration>) {
        let pause = retry_after.unwrap_or_else(|| Duration::from_secs(1 << self.troubles.min(5)));
        self.troubles += 1;
        if self.troubles > MAX_TROUBLES || pause > LONGEST_LOOK {
            self.forget_resumed();
            let advice = "it is tried again; look whether this server reaches acme.directory, and whether the authority has troubles";
            self.fail(Failure {
                text: why,
                advice: advice.to_owned(),
                retry_after,
            });
            return;
        }
        let want = match self.want {
            Want::Challenge => Want::Authorization,
            Want::Finalize => Want::Order,
            other => other,
        };
        self.go_later(now, want, pause);
    }

    /// The authority says no: for now, if it counts; else nothing more comes of the order.
    fn refuse(&mut self, problem: &Problem, what: &str, retry_after: Option<Duration>) {
        if problem.kind() != "rateLimited" && self.is_about_the_order() {
            self.forget_order();
        }
        self.fail(Failure {
            text: format!("{what}: {problem}"),
            advice: problem.advice().to_owned(),
            retry_after,
        });
    }

    /// It sends what makes no sense; of an order it would do so again.
    fn confused(&mut self, text: String) {
        if self.is_about_the_order() {
            self.forget_order();
        }
        let advice = "look whether acme.directory is the directory of an authority; if it is, this is a fault of one of both: please report it";
        self.fail(Failure {
            text,
            advice: advice.to_owned(),
            retry_after: None,
        });
    }

    fn fail(&mut self, failure: Failure) {
        self.finish(Err(failure));
    }

    fn finish(&mut self, result: Result<Outcome, Failure>) {
        self.hide();
        self.at = None;
        self.result = Some(result);
        self.actions.push_back(Action::End);
    }

    /// Takes back what is shown.
    fn hide(&mut self) {
        if let Some(proof) = self.proof.take() {
            self.actions.push_back(Action::Hide(proof));
        }
    }

    /// The order is of no use any more.
    fn forget_order(&mut self) {
        self.resumed = false;
        if self.settings.order.take().is_some() {
            self.actions.push_back(Action::Order(None));
        }
    }

    /// It did not come to its end in an earlier run either: the next begins with another.
    fn forget_resumed(&mut self) {
        if self.resumed && self.is_about_the_order() {
            self.forget_order();
        }
    }

    /// What is wanted is behind directory and account.
    fn is_about_the_order(&self) -> bool {
        !matches!(self.want, Want::Directory | Want::Account)
    }

    fn take_order(&mut self, order: OrderObject) {
        self.authorizations = order.authorizations;
        self.finalize = order.finalize;
        self.certificate = order.certificate.unwrap_or_default();
    }
}

impl Machine for Order {
    type Input = Input;
    type Action = Action;

    fn handle_input(&mut self, now: Now, input: Input) {
        if self.result.is_some() {
            return;
        }
        if now.mono >= self.deadline {
            let text = match self.want {
                Want::Authorization | Want::Challenge => "the authority has not looked at the proof in time",
                _ => "the authority has not come to an end in time",
            };
            let advice = match self.resumed && self.is_about_the_order() {
                true => "it is tried again, with another order",
                false => "it is tried again; the order goes on where it stood",
            };
            self.forget_resumed();
            self.fail(Failure {
                text: text.to_owned(),
                advice: advice.to_owned(),
                retry_after: None,
            });
            return;
        }
        match input {
            Input::Tick => {
                if self.at.is_some_and(|at| at <= now.mono) {
                    self.send();
                }
            }
            // Nothing was asked: this answers nothing.
            Input::Response(_) | Input::Lost(_) if self.at.is_some() => {}
            Input::Lost(why) => {
                self.for_nonce = false;
                self.again(now, why, None);
            }
            Input::Response(response) => self.answered(now, response),
        }
    }

    fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn poll_timeout(&self) -> Option<Mono> {
        let waits = self.result.is_none();
        waits.then(|| self.at.unwrap_or(self.deadline).min(self.deadline))
    }
}

#[cfg(test)]
mod tests;
