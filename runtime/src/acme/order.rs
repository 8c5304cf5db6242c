//! Performs what an order wants: requests, signatures, files.

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::engine::Timer;
use futures_lite::FutureExt as _;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, SigningKey as _};
use rmail_core::acme::{
    self, Action, Failure, Input, MAX_BODY, Order, Outcome, PublicKey, Response, Settings, State, Unsigned,
};
use rmail_core::machine::Machine as _;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::place::{Account, Begun, Lock};
use super::{AcmeConfig, Place};
use crate::clock::{self, Clock};
use crate::dns::{self, Dns};
use crate::entropy;
use crate::pools::Pools;
use crate::relay::https::{Https, Trouble as Lost};
use crate::tls::{Certificate, ClientTls, Facts, PairFiles, TlsError};

/// The media type of signed requests (RFC 8555 §6.2).
const JOSE: &str = "application/jose+json";
/// What is read of a response's head.
const FIELDS: &[&str] = &["replay-nonce", "location", "retry-after"];
/// After a certificate that cannot be used: authorities give a few a week for the same names.
const USELESS_PAUSE: Duration = Duration::from_secs(86_400);

/// An order came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// The certificate is there.
    Given(State),
    /// It was a trial: the certificate would have been given.
    WouldBeGiven,
}

/// An order came to nothing.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Another process orders at this moment.
    Busy,
    /// It was told to stop, and goes on where it stood the next time.
    Stopped,
    /// Files, keys.
    Here(String),
    /// The authority, or the way to it.
    There(Failure),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Here(error.to_string())
    }
}

impl From<rcgen::Error> for Trouble {
    fn from(error: rcgen::Error) -> Self {
        Self::Here(error.to_string())
    }
}

/// Orders a certificate, and keeps it and what is to be remembered. `due`: whether, by what is remembered, there is
/// something to do: another process may have done it while this one came to it. Each step is told. Blocks, for up to a
/// quarter of an hour, or until `stop` is ready.
pub(crate) fn order(
    config: &AcmeConfig,
    mail_root: &Path,
    trial: bool,
    due: impl FnOnce(&State) -> bool,
    tell: &mut dyn FnMut(&str),
    stop: impl Future<Output = ()>,
) -> Result<Done, Trouble> {
    let place = Place::of(mail_root);
    let Some(lock) = place.lock()? else {
        return Err(Trouble::Busy);
    };
    let mut state = place.state();
    if !due(&state) {
        return Ok(Done::Given(state));
    }
    let result = Run::new(config, &place, trial, lock).and_then(|run| run.run(tell, stop));
    let now = clock::unix();
    match result {
        Err(Trouble::Stopped) => {
            // The order itself stays, to go on.
            place.hide_all()?;
            Err(Trouble::Stopped)
        }
        Err(trouble) if !trial => {
            let (error, advice, after) = match &trouble {
                Trouble::There(failure) => {
                    let Failure { text, advice, .. } = failure.clone();
                    (text, advice, failure.retry_after)
                }
                Trouble::Here(text) => {
                    let advice = format!("look at {}", mail_root.join("tls/acme").display());
                    (text.clone(), advice, None)
                }
                Trouble::Busy | Trouble::Stopped => return Err(trouble),
            };
            state.failed(now, config.wanted(), error, advice, after, &mut entropy::random());
            place.save_state(&state)?;
            Err(trouble)
        }
        Ok(Some(expires)) => {
            state.succeeded(now, config.wanted(), expires, &mut entropy::random());
            place.save_state(&state)?;
            // What is left of it would only be asked for again.
            place.save_order(None)?;
            Ok(Done::Given(state))
        }
        Ok(None) => Ok(Done::WouldBeGiven),
        Err(trouble) => Err(trouble),
    }
}

/// One order.
struct Run<'a> {
    config: &'a AcmeConfig,
    place: &'a Place,
    trial: bool,
    /// The account's directory.
    directory: String,
    account: Account,
    account_key: KeyPair,
    /// The certificate's.
    key: KeyPair,
    /// Where an order of before goes on.
    begun: Option<String>,
    _lock: Lock,
}

impl<'a> Run<'a> {
    fn new(config: &'a AcmeConfig, place: &'a Place, trial: bool, lock: Lock) -> Result<Self, Trouble> {
        place.hide_all()?;
        let directory = match trial {
            true => acme::trial_directory(&config.directory).to_owned(),
            false => config.directory.clone(),
        };
        let kept = place.account(&directory);
        let kept = kept.and_then(|account| Some((kept_key("accounts.json", &account.key)?, account)));
        let (account_key, account) = match kept {
            Some(kept) => kept,
            None => {
                // Kept before it is used: an account whose key is lost cannot be closed.
                let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
                let key = pair.serialize_pem();
                let account = Account { key, url: None };
                place.save_account(&directory, &account)?;
                (pair, account)
            }
        };
        let begun = place.order(&config.wanted()).filter(|_| !trial);
        let begun = begun.map(|begun| (kept_key("order.json", &begun.key), begun.url));
        let (key, begun) = match begun {
            Some((Some(key), url)) => (key, Some(url)),
            other => {
                if other.is_some() {
                    // A certificate for a key that nobody has is of no use.
                    place.save_order(None)?;
                }
                (KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?, None)
            }
        };
        Ok(Self {
            account_key,
            begun,
            config,
            place,
            trial,
            directory,
            account,
            key,
            _lock: lock,
        })
    }

    /// When the certificate ends that is kept now; `None` for a trial.
    fn run(
        mut self,
        tell: &mut dyn FnMut(&str),
        stop: impl Future<Output = ()>,
    ) -> Result<Option<u64>, Trouble> {
        let executor = Arc::new(Engine::new()?);
        let clock = Clock::start();
        let https = Https {
            clock,
            pools: Arc::new(Pools::new(1)),
            dns: Dns::start(&executor, clock, dns::servers(&self.config.dns_servers, false)),
            tls: Arc::new(self.trust()?),
        };
        let mut order = Order::new(clock.now(), self.settings()?);
        let stopped = async {
            stop.await;
            Err(Trouble::Stopped)
        };
        let work = self.perform(&mut order, &https, clock, tell);
        executor.block_on(work.or(stopped))?;
        match order.result() {
            Some(Ok(Outcome::Certificate(chain))) => {
                let kept = self.keep(chain);
                if let (Err(Trouble::There(_)), false) = (&kept, self.trial) {
                    // It would only be given again.
                    self.keep_order(None)?;
                }
                kept.map(Some)
            }
            Some(Ok(Outcome::WouldBeGiven)) => Ok(None),
            Some(Err(failure)) => Err(Trouble::There(failure.clone())),
            None => Err(Trouble::Here("the order has no end".to_owned())),
        }
    }

    fn trust(&self) -> Result<ClientTls, Trouble> {
        let Some(path) = &self.config.ca_file else {
            return Ok(ClientTls::default());
        };
        let wrong = |why: String| Trouble::Here(format!("acme.ca_file: {}: {why}", path.display()));
        let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
            roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
        }
        match roots.is_empty() {
            true => Err(wrong("holds no certificate".to_owned())),
            false => Ok(ClientTls::with_roots(roots)),
        }
    }

    fn settings(&self) -> Result<Settings, Trouble> {
        let mut request = CertificateParams::new(self.config.names.clone())?;
        request.distinguished_name = DistinguishedName::new();
        let csr = request.serialize_request(&self.key)?;
        let point = PublicKey::from_point(self.account_key.public_key_raw());
        let point = point.ok_or_else(|| Trouble::Here("the account's key is not of P-256".to_owned()))?;
        Ok(Settings {
            directory: self.config.directory.clone(),
            email: self.config.email.clone(),
            names: self.config.names.clone(),
            challenge: self.config.challenge,
            key: point,
            account: self.account.url.clone(),
            binding: self.config.binding.clone(),
            order: self.begun.clone(),
            csr: csr.der().to_vec(),
            trial: self.trial,
        })
    }

    /// Until the order is over.
    async fn perform(
        &mut self,
        order: &mut Order,
        https: &Https,
        clock: Clock,
        tell: &mut dyn FnMut(&str),
    ) -> Result<(), Trouble> {
        loop {
            let input = match order.poll_action() {
                Some(Action::Get(url)) => {
                    tell(&format!("asking {url}"));
                    ask(https, &url, None).await
                }
                Some(Action::Post(url, unsigned)) => {
                    tell(&format!("asking {url}"));
                    let body = self.sign(&unsigned)?;
                    ask(https, &url, Some((JOSE, body))).await
                }
                Some(Action::Show(proof)) => {
                    tell(&format!(
                        "showing that {} is ours, by {}",
                        proof.name,
                        proof.kind.name()
                    ));
                    self.place.show(&proof)?;
                    continue;
                }
                Some(Action::Hide(proof)) => {
                    self.place.hide(&proof)?;
                    continue;
                }
                Some(Action::Account(url)) => {
                    self.account.url = url;
                    self.place.save_account(&self.directory, &self.account)?;
                    continue;
                }
                Some(Action::Order(url)) => {
                    if !self.trial {
                        self.keep_order(url)?;
                    }
                    continue;
                }
                Some(Action::End) => return Ok(()),
                None => {
                    let Some(at) = order.poll_timeout() else {
                        return Ok(());
                    };
                    Timer::at(clock.instant(at).max(Instant::now())).await;
                    Input::Tick
                }
            };
            order.handle_input(clock.now(), input);
        }
    }

    fn sign(&self, unsigned: &Unsigned) -> Result<Vec<u8>, Trouble> {
        let signature = self.account_key.sign(&unsigned.octets())?;
        let body = unsigned.signed(&signature);
        body.ok_or_else(|| Trouble::Here("the account's key does not sign as ES256".to_owned()))
    }

    fn keep_order(&self, url: Option<String>) -> io::Result<()> {
        let begun = url.map(|url| Begun {
            wanted: self.config.wanted(),
            url,
            key: self.key.serialize_pem(),
        });
        self.place.save_order(begun.as_ref())
    }

    /// Keeps a certificate that can be used; when it ends.
    fn keep(&self, chain: &str) -> Result<u64, Trouble> {
        let own = CertificateDer::from_pem_slice(chain.as_bytes()).ok();
        let expires = own.as_ref().and_then(|own| Facts::of(own).expires);
        let Some(expires) = expires.filter(|expires| *expires > clock::unix().secs()) else {
            return Err(useless("it has expired, or does not say when it does"));
        };
        let check = |path: &Path| {
            let [cert, key] = [path.to_path_buf(), path.to_path_buf()];
            Certificate::read(PairFiles { cert, key }).map(drop)
        };
        let kept = self
            .place
            .save_certificate(&self.key.serialize_pem(), chain, check)?;
        kept.map_err(|error: TlsError| useless(&error.to_string()))?;
        Ok(expires)
    }
}

fn useless(why: &str) -> Trouble {
    Trouble::There(Failure {
        text: format!("the authority gave a certificate that cannot be used: {why}"),
        advice: "the old one stays; look whether the clock is right, and ask the authority".to_owned(),
        retry_after: Some(USELESS_PAUSE),
    })
}

/// A key that was kept, if it still is one of P-256; the log says if it is not, and then another takes its place.
fn kept_key(file: &str, pem: &str) -> Option<KeyPair> {
    let read = KeyPair::from_pem_and_sign_algo(pem, &PKCS_ECDSA_P256_SHA256);
    read.map_err(|error| {
        log::error!(target: "acme", "event=broken_key file={file:?} error={:?} what=\"a new one takes its place\"",
            error.to_string());
    })
    .ok()
}

/// One request, and what came back.
async fn ask(https: &Https, url: &str, body: Option<(&'static str, Vec<u8>)>) -> Input {
    let Some(to) = acme::url(url) else {
        return Input::Lost(format!("{url} is no https: URL"));
    };
    log::debug!(target: "acme", "event=ask url={url:?}");
    match https.exchange(&to, body, MAX_BODY, FIELDS).await {
        Ok(response) => {
            log::debug!(target: "acme", "event=answer url={url:?} status={}", response.status);
            let field = |name| response.field(name).map(str::to_owned);
            Input::Response(Response {
                status: response.status,
                nonce: field("replay-nonce"),
                location: field("location"),
                retry_after: response
                    .field("retry-after")
                    .and_then(|text| acme::retry_after(text, clock::unix())),
                body: response.body,
            })
        }
        Err(Lost::Tls(fault)) => Input::Lost(format!("{url}: {}", fault.text)),
        Err(Lost::Other(text)) => Input::Lost(format!("{url}: {text}")),
    }
}
