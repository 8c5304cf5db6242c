//! What comes of each answer.

use super::super::is_token;
use super::super::objects::{Authorization, Challenge, Directory, OrderObject, Status, read};
use super::super::problem::{BIND, Problem};
use super::{Action, Failure, LONGEST_LOOK, LOOK, MAX_BAD_NONCES, Order, Outcome, Proof, Response, Want};
use crate::time::Now;

impl Order {
    pub(super) fn answered(&mut self, now: Now, response: Response) {
        /// Characters of a nonce (RFC 8555 §6.5.1 sets no bound; those of known authorities have 50).
        const MAX_NONCE: usize = 512;
        if let Some(nonce) = &response.nonce
            && (1..=MAX_NONCE).contains(&nonce.len())
            && nonce
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
        {
            self.nonce = Some(nonce.clone());
        }
        let for_nonce = core::mem::take(&mut self.for_nonce);
        match response.status {
            200..=299 if for_nonce => match self.nonce {
                Some(_) => self.send(),
                None => self.again(now, "the authority gives no nonce".to_owned(), None),
            },
            200..=299 => self.accepted(now, response),
            _ => self.refused(now, &response),
        }
    }

    fn accepted(&mut self, now: Now, response: Response) {
        match self.want {
            Want::Directory => self.directory(&response),
            Want::Account => self.account(response),
            Want::NewOrder => match response
                .location
                .clone()
                .filter(|url| super::super::url(url).is_some())
            {
                Some(url) => {
                    self.settings.order = Some(url.clone());
                    self.actions.push_back(Action::Order(Some(url)));
                    self.order(now, &response);
                }
                None => self.confused("the authority does not say where the order is".to_owned()),
            },
            Want::Order | Want::Finalize => self.order(now, &response),
            Want::Authorization => self.authorization(now, &response),
            // What the authority found out is in the authorization.
            Want::Challenge => {
                self.said = true;
                self.go_later(now, Want::Authorization, pause(&response));
            }
            Want::Certificate => self.certificate(response),
        }
    }

    fn refused(&mut self, now: Now, response: &Response) {
        let problem = Problem::of(response.status, &response.body);
        let after = response.retry_after;
        match (problem.kind(), self.want) {
            ("badNonce", _) if self.bad_nonces < MAX_BAD_NONCES => {
                self.bad_nonces += 1;
                self.send();
            }
            ("rateLimited", _) => self.refuse(&problem, self.what(), after),
            ("accountDoesNotExist", _) if self.settings.account.is_some() => {
                // It was closed, or the authority has forgotten it: its key may have another. Once: then there is none.
                self.settings.account = None;
                self.forget_order();
                self.actions.push_back(Action::Account(None));
                self.go(Want::Account);
            }
            _ if response.status >= 500 || response.status == 429 || response.status == 408 => {
                self.again(now, format!("{}: {problem}", self.what()), after);
            }
            // An order of an earlier run is gone.
            (_, Want::Order) if self.resumed => {
                self.forget_order();
                self.go(Want::NewOrder);
            }
            // It may have come through before, and the answer not: what is there says more.
            ("malformed", Want::Challenge) | ("orderNotReady", Want::Finalize) => {
                self.again(now, format!("{}: {problem}", self.what()), after);
            }
            _ => self.refuse(&problem, self.what(), after),
        }
    }

    /// What was asked, for messages.
    fn what(&self) -> &'static str {
        match self.want {
            Want::Directory => "the directory cannot be read",
            Want::Account => "the authority gives no account",
            Want::NewOrder => "the authority takes no order",
            Want::Order => "the order cannot be looked at",
            Want::Authorization => "the authorization cannot be looked at",
            Want::Challenge => "the authority does not look at the proof",
            Want::Finalize => "the authority does not take the request for the certificate",
            Want::Certificate => "the certificate cannot be got",
        }
    }

    fn directory(&mut self, response: &Response) {
        let directory: Directory = match read(&response.body, "directory") {
            Ok(directory) => directory,
            Err(text) => return self.confused(text),
        };
        let settings = &self.settings;
        if directory.meta.external_account_required
            && settings.account.is_none()
            && settings.binding.is_none()
        {
            return self.fail(Failure {
                text: "the authority wants an account that was made elsewhere (external account binding)"
                    .to_owned(),
                advice: BIND.to_owned(),
                retry_after: None,
            });
        }
        self.directory = Some(directory);
        self.begin();
    }

    /// With a directory: the account, then the order.
    fn begin(&mut self) {
        let want = match (&self.settings.account, &self.settings.order) {
            (None, _) => Want::Account,
            (Some(_), Some(_)) => {
                self.resumed = true;
                Want::Order
            }
            (Some(_), None) => Want::NewOrder,
        };
        self.go(want);
    }

    fn account(&mut self, response: Response) {
        match response.location.filter(|url| super::super::url(url).is_some()) {
            Some(url) => {
                self.settings.account = Some(url.clone());
                self.actions.push_back(Action::Account(Some(url)));
                self.begin();
            }
            None => self.confused("the authority does not say where the account is".to_owned()),
        }
    }

    fn order(&mut self, now: Now, response: &Response) {
        let order: OrderObject = match read(&response.body, "order") {
            Ok(order) => order,
            Err(text) => return self.confused(text),
        };
        let (status, error) = (order.status, order.error.clone());
        self.take_order(order);
        match status {
            Status::Pending if self.current < self.authorizations.len() => self.go(Want::Authorization),
            // All are valid; the order is about to say so.
            Status::Pending | Status::Processing => self.go_later(now, Want::Order, pause(response)),
            Status::Ready if self.settings.trial => self.finish(Ok(Outcome::WouldBeGiven)),
            Status::Ready => self.go(Want::Finalize),
            Status::Valid if self.certificate.is_empty() => {
                self.confused("the authority does not say where the certificate is".to_owned());
            }
            Status::Valid => self.go(Want::Certificate),
            _ if self.resumed => {
                self.forget_order();
                self.current = 0;
                self.go(Want::NewOrder);
            }
            _ => self.refuse(&error.unwrap_or_default(), "the order has failed", None),
        }
    }

    fn authorization(&mut self, now: Now, response: &Response) {
        let found: Authorization = match read(&response.body, "authorization") {
            Ok(found) => found,
            Err(text) => return self.confused(text),
        };
        let name = found.identifier.value.to_ascii_lowercase();
        if !self.settings.names.contains(&name) {
            return self.confused("the authority asks about a name that was not ordered".to_owned());
        }
        let kind = self.settings.challenge;
        let challenge = found
            .challenges
            .iter()
            .find(|challenge| challenge.kind == kind.name());
        match found.status {
            Status::Valid => {
                self.hide();
                self.current += 1;
                let done = self.current >= self.authorizations.len();
                self.go(if done { Want::Order } else { Want::Authorization });
            }
            Status::Pending => match challenge {
                Some(challenge) => self.prove(now, name, challenge, response),
                None => {
                    self.forget_order();
                    self.fail(Failure {
                        text: format!("the authority does not offer {} for {name}", kind.name()),
                        advice: "set acme.challenge to the other kind".to_owned(),
                        retry_after: None,
                    });
                }
            },
            _ => {
                // The proof that failed may be one of an earlier run, of another kind.
                let failed = || {
                    found
                        .challenges
                        .iter()
                        .find(|challenge| challenge.error.is_some())
                };
                let failed = challenge
                    .filter(|challenge| challenge.error.is_some())
                    .or_else(failed);
                let problem = failed.and_then(|challenge| challenge.error.clone());
                self.refuse(
                    &problem.unwrap_or_default(),
                    &format!("{name} could not be shown to be ours"),
                    None,
                );
            }
        }
    }

    /// Shows the proof of a name, and says so; or waits for what comes of it.
    fn prove(&mut self, now: Now, name: String, challenge: &Challenge, response: &Response) {
        if challenge.status == Status::Invalid {
            let problem = challenge.error.clone().unwrap_or_default();
            return self.refuse(&problem, &format!("{name} could not be shown to be ours"), None);
        }
        if !is_token(&challenge.token) {
            return self.confused("the authority sends no proper token".to_owned());
        }
        let proof = Proof {
            kind: self.settings.challenge,
            name,
            key_authorization: self.settings.key.authorize(&challenge.token),
            token: challenge.token.clone(),
        };
        if self.proof.as_ref() != Some(&proof) {
            self.hide();
            self.actions.push_back(Action::Show(proof.clone()));
            self.proof = Some(proof);
        }
        if self.challenge != challenge.url {
            self.challenge = challenge.url.clone();
            self.said = false;
        }
        // Authorities may call a challenge pending until they have looked: it is said once.
        if challenge.status == Status::Pending && !self.said {
            return self.go(Want::Challenge);
        }
        self.go_later(now, Want::Authorization, pause(response));
    }

    fn certificate(&mut self, response: Response) {
        let chain = String::from_utf8(response.body).ok();
        match chain.filter(|chain| chain.contains("-----BEGIN CERTIFICATE-----")) {
            Some(chain) => self.finish(Ok(Outcome::Certificate(chain))),
            None => self.confused("what the authority sends is no certificate".to_owned()),
        }
    }
}

/// How long the authority wants us to wait before we look again.
fn pause(response: &Response) -> core::time::Duration {
    response.retry_after.unwrap_or(LOOK).clamp(LOOK, LONGEST_LOOK)
}
