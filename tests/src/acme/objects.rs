//! What an authority has in its books.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use rcgen::{CertifiedIssuer, KeyPair};
use serde_json::{Value, json};

use super::look::Proof;
use super::{Fault, Reply, sign};

/// The books.
pub(super) struct Book {
    base: String,
    pub(super) web: u16,
    tls: u16,
    nonces: BTreeSet<String>,
    /// Everything gets a number.
    count: u64,
    /// The keys of accounts, as points, by the path of the account.
    accounts: BTreeMap<String, Vec<u8>>,
    orders: BTreeMap<String, Order>,
    authorizations: BTreeMap<String, Authorization>,
    pub(super) faults: Vec<(&'static str, Fault, usize)>,
    pub(super) asked: Vec<String>,
    pub(super) given: usize,
    pub(super) let_go: u64,
    /// What accounts must be bound to: a key, and its name.
    pub(super) binding: Option<(String, Vec<u8>)>,
}

struct Order {
    account: String,
    names: Vec<String>,
    authorizations: Vec<String>,
    certificate: Option<String>,
}

struct Authorization {
    account: String,
    name: String,
    token: String,
    /// `Err`: what was wrong with the proof.
    state: Option<Result<(), String>>,
}

/// A request that is signed well.
pub(super) struct Seen {
    /// The path of the account; of a new one not.
    account: Option<String>,
    point: Vec<u8>,
    pub(super) payload: Value,
    /// There is none (POST-as-GET).
    empty: bool,
}

impl Book {
    pub(super) fn new(port: u16, web: u16, tls: u16) -> Self {
        Self {
            base: format!("https://localhost:{port}"),
            web,
            tls,
            nonces: BTreeSet::new(),
            count: 0,
            accounts: BTreeMap::new(),
            orders: BTreeMap::new(),
            authorizations: BTreeMap::new(),
            faults: Vec::new(),
            asked: Vec::new(),
            given: 0,
            let_go: 0,
            binding: None,
        }
    }

    fn number(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    pub(super) fn nonce(&mut self) -> String {
        let nonce = format!("nonce-{}", self.number());
        self.nonces.insert(nonce.clone());
        nonce
    }

    /// A request is there; what goes wrong with it.
    pub(super) fn arrived(&mut self, path: &str) -> Option<Fault> {
        self.asked.push(path.to_owned());
        let fault = self
            .faults
            .iter_mut()
            .find(|(at, _, left)| path.starts_with(at) && *left > 0);
        fault.map(|(_, fault, left)| {
            *left -= 1;
            *fault
        })
    }

    pub(super) fn directory(&self) -> Value {
        let url = |path: &str| format!("{}{path}", self.base);
        json!({"newNonce": url("/nonce"), "newAccount": url("/new-account"), "newOrder": url("/new-order"),
            "meta": {"termsOfService": url("/terms"), "externalAccountRequired": self.binding.is_some()}})
    }

    /// Looks whether a request is one that RFC 8555 §6 allows.
    pub(super) fn verified(&mut self, path: &str, body: &[u8]) -> Result<Seen, Reply> {
        let malformed = |why: &str| Reply::problem(400, "malformed", why);
        let read = sign::parts(body).ok_or_else(|| malformed("no flattened JWS"))?;
        let head = &read.head;
        if head["alg"] != "ES256" {
            return Err(Reply::problem(400, "badSignatureAlgorithm", "ES256 only"));
        }
        if head["url"] != format!("{}{path}", self.base) {
            return Err(Reply::problem(401, "unauthorized", "it is for another URL"));
        }
        let (account, point) = match (head["kid"].as_str(), head.get("jwk")) {
            (Some(kid), None) => {
                let path = kid.strip_prefix(&self.base).unwrap_or_default();
                let known = self.accounts.get(path);
                let point = known.ok_or_else(|| Reply::problem(400, "accountDoesNotExist", "nobody"))?;
                (Some(path.to_owned()), point.clone())
            }
            (None, Some(jwk)) => (
                None,
                sign::point(jwk).ok_or_else(|| malformed("no key of P-256"))?,
            ),
            _ => return Err(malformed("one of kid and jwk is wanted")),
        };
        if account.is_none() != (path == "/new-account") {
            return Err(malformed("the wrong one of kid and jwk"));
        }
        if !sign::is_good(&point, &read) {
            return Err(malformed("the signature is not right"));
        }
        let nonce = head["nonce"].as_str().unwrap_or_default();
        if !self.nonces.remove(nonce) {
            return Err(Reply::problem(400, "badNonce", "it was used, or never given"));
        }
        Ok(Seen {
            account,
            point,
            empty: read.payload.is_empty(),
            payload: serde_json::from_slice(&read.payload).unwrap_or_default(),
        })
    }

    /// Does what a request asks; `Err`: a name has to be looked at first.
    pub(super) fn perform(
        &mut self,
        path: &str,
        seen: &Seen,
        root: &CertifiedIssuer<'static, KeyPair>,
    ) -> Result<Reply, Box<Proof>> {
        let mine = |account: &str| seen.account.as_deref() == Some(account);
        Ok(match path.split('/').nth(1).unwrap_or_default() {
            "new-account" => self.new_account(seen),
            "new-order" => self.new_order(seen),
            "order" => match self.orders.get(path) {
                Some(order) if mine(&order.account) && seen.empty => self.order(200, path),
                _ => Reply::problem(404, "malformed", "no such order"),
            },
            "authz" => match self.authorizations.get(path) {
                Some(found) if mine(&found.account) && seen.empty => self.authorization(path),
                _ => Reply::problem(404, "malformed", "no such authorization"),
            },
            "chall" => {
                // `/chall/N/http-01`
                let mut parts = path.split('/').skip(2);
                let (number, kind) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
                let at = format!("/authz/{number}");
                match (
                    self.authorizations.get(&at),
                    self.accounts.get(seen.account.as_deref().unwrap_or_default()),
                ) {
                    (Some(found), Some(point)) if seen.payload == json!({}) && found.state.is_none() => {
                        return Err(Box::new(Proof {
                            kind: kind.to_owned(),
                            name: found.name.clone(),
                            token: found.token.clone(),
                            key_authorization: format!("{}.{}", found.token, sign::thumbprint(point)),
                            port: if kind == "http-01" { self.web } else { self.tls },
                            path: at,
                        }));
                    }
                    _ => Reply::problem(400, "malformed", "there is nothing to look at"),
                }
            }
            "finalize" => self.finalize(&path.replace("finalize", "order"), seen, root),
            "cert" => {
                let order = self.orders.get(&path.replace("cert", "order"));
                match order.and_then(|order| order.certificate.clone()) {
                    Some(chain) => Reply {
                        status: 200,
                        fields: vec![("Content-Type", "application/pem-certificate-chain".into())],
                        body: chain.into_bytes(),
                    },
                    None => Reply::problem(404, "malformed", "no such certificate"),
                }
            }
            _ => Reply::problem(404, "malformed", "no such thing"),
        })
    }

    fn new_account(&mut self, seen: &Seen) -> Reply {
        if seen.payload["termsOfServiceAgreed"] != true {
            return Reply::problem(403, "userActionRequired", "agree first");
        }
        let known = self.accounts.iter().find(|(_, point)| **point == seen.point);
        let (status, path) = match known.map(|(path, _)| path.clone()) {
            Some(path) => (200, path),
            None if !self.is_bound(seen) => {
                return Reply::problem(403, "externalAccountRequired", "who are you?");
            }
            None => (201, format!("/account/{}", self.number())),
        };
        self.accounts.insert(path.clone(), seen.point.clone());
        Reply::json(status, &json!({"status": "valid"})).with("Location", format!("{}{path}", self.base))
    }

    /// Whether the key of a new account is signed by the key that was given elsewhere (RFC 8555 §7.3.4).
    fn is_bound(&self, seen: &Seen) -> bool {
        let Some((key_id, key)) = &self.binding else {
            return true;
        };
        let bound = seen.payload["externalAccountBinding"].to_string();
        sign::parts(bound.as_bytes()).is_some_and(|parts| {
            let head = &parts.head;
            let payload = serde_json::from_slice(&parts.payload).unwrap_or_default();
            head["alg"] == "HS256"
                && head["kid"] == key_id.as_str()
                && head["url"] == format!("{}/new-account", self.base)
                && head.get("nonce").is_none()
                && sign::point(&payload).as_ref() == Some(&seen.point)
                && sign::is_bound(key, &parts)
        })
    }

    fn new_order(&mut self, seen: &Seen) -> Reply {
        let account = seen.account.clone().unwrap_or_default();
        let list = seen.payload["identifiers"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let names: Vec<String> = list
            .iter()
            .filter(|one| one["type"] == "dns")
            .filter_map(|one| Some(one["value"].as_str()?.to_owned()))
            .collect();
        if names.is_empty() || names.len() != list.len() {
            return Reply::problem(400, "malformed", "no names");
        }
        let mut authorizations = Vec::new();
        for name in &names {
            let path = format!("/authz/{}", self.number());
            let authorization = Authorization {
                account: account.clone(),
                name: name.clone(),
                token: format!("token_{}-x", self.number()),
                state: None,
            };
            self.authorizations.insert(path.clone(), authorization);
            authorizations.push(path);
        }
        let path = format!("/order/{}", self.number());
        let order = Order {
            account,
            names,
            authorizations,
            certificate: None,
        };
        self.orders.insert(path.clone(), order);
        self.order(201, &path)
            .with("Location", format!("{}{path}", self.base))
    }

    fn status(&self, order: &Order) -> &'static str {
        let states = || {
            order
                .authorizations
                .iter()
                .filter_map(|path| self.authorizations.get(path))
        };
        if order.certificate.is_some() {
            "valid"
        } else if states().any(|one| matches!(one.state, Some(Err(_)))) {
            "invalid"
        } else if states().all(|one| matches!(one.state, Some(Ok(())))) {
            "ready"
        } else {
            "pending"
        }
    }

    fn order(&self, status: u16, path: &str) -> Reply {
        let order = &self.orders[path];
        let url = |path: &str| format!("{}{path}", self.base);
        let list: Vec<String> = order.authorizations.iter().map(|path| url(path)).collect();
        let mut object = json!({"status": self.status(order), "authorizations": list,
            "finalize": url(&path.replace("order", "finalize"))});
        if order.certificate.is_some() {
            object["certificate"] = json!(url(&path.replace("order", "cert")));
        }
        Reply::json(status, &object)
    }

    fn authorization(&self, path: &str) -> Reply {
        let found = &self.authorizations[path];
        let (state, error) = match &found.state {
            None => ("pending", None),
            Some(Ok(())) => ("valid", None),
            Some(Err(why)) => ("invalid", Some(why)),
        };
        let challenges: Vec<Value> = ["dns-01", "http-01", "tls-alpn-01"]
            .into_iter()
            .map(|kind| {
                let url = format!("{}{}/{kind}", self.base, path.replace("authz", "chall"));
                let mut object = json!({"type": kind, "url": url, "token": found.token, "status": state});
                if let Some(why) = error {
                    let kind = "urn:ietf:params:acme:error:unauthorized";
                    object["error"] = json!({"type": kind, "detail": why, "status": 403});
                }
                object
            })
            .collect();
        let identifier = json!({"type": "dns", "value": found.name});
        Reply::json(
            200,
            &json!({"status": state, "identifier": identifier, "challenges": challenges}),
        )
    }

    /// A name was looked at.
    pub(super) fn looked(&mut self, proof: &Proof, found: Result<(), String>, seen: &Seen) -> Reply {
        let Some(authorization) = self.authorizations.get_mut(&proof.path) else {
            return Reply::problem(404, "malformed", "no such authorization");
        };
        debug_assert!(seen.account.is_some(), "signed by an account");
        authorization.state = Some(found);
        let url = format!(
            "{}{}/{}",
            self.base,
            proof.path.replace("authz", "chall"),
            proof.kind
        );
        Reply::json(
            200,
            &json!({"type": proof.kind, "url": url, "token": proof.token, "status": "processing"}),
        )
    }

    fn finalize(&mut self, path: &str, seen: &Seen, root: &CertifiedIssuer<'static, KeyPair>) -> Reply {
        let Some(order) = self.orders.get(path) else {
            return Reply::problem(404, "malformed", "no such order");
        };
        if self.status(order) != "ready" {
            return Reply::problem(403, "orderNotReady", "not now");
        }
        let csr = BASE64.decode(seen.text("csr")).unwrap_or_default();
        match sign::certificate(&csr, &order.names, root) {
            Ok(chain) => {
                self.given += 1;
                if let Some(order) = self.orders.get_mut(path) {
                    order.certificate = Some(chain);
                }
                self.order(200, path)
            }
            Err(why) => Reply::problem(400, "badCSR", &why),
        }
    }
}
