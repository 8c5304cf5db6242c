//! `@session smtp-client`: we are the client, and the transcript's other side is the server.

use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rmail_core::addr::{Address, ReversePath};
use rmail_core::auth::password::salted;
use rmail_core::chunk::Chunk;
use rmail_core::machine::{BlobId, Scope, SpoolId, WatchId};
use rmail_core::mailbox::ModSeq;
use rmail_core::refusal::Refusal;
use rmail_core::relay::tls::Trust;
use rmail_core::relay::{Credentials, Outcome, TlsPolicy};
use rmail_core::sasl::client::NONCE;
use rmail_core::secret::Secret;
use rmail_core::smtp::client::{Call, Job, Recipient, Reply, Session, Settings};
use rmail_core::smtp::envelope::{DsnRequest, Notify, Ret, Wishes};
use rmail_core::time::{Mono, Now};
use rmail_store::hub::Wake;
use rmail_store::service::{Answer, Pool, Serve};

use super::connect::Options;
use super::relay::Over;
use super::{HOSTNAME, World};
use crate::host::{Connection, Event, Host, State};
use crate::transcript::{Opening, unescape};

/// The message where none is given.
const MESSAGE: &str = "Subject: x\\r\\n\\r\\nHello\\r\\n";

pub(super) fn connect(world: &World, opening: &Opening, now: Now) -> Result<Box<dyn Connection>, String> {
    let mut options = Options(opening.options.clone());
    let message = match options.0.remove("message") {
        Some(file) => world.fixture(&file)?,
        None => unescape(options.0.remove("text").as_deref().unwrap_or(MESSAGE))?,
    };
    let settings = settings(&mut options)?;
    let job = job(&mut options, &message)?;
    let nonce = options.0.remove("nonce");
    let nonce = STANDARD.decode(nonce.as_deref().unwrap_or("rOprNGfwEbeRWgbNEkqO"));
    let nonce = nonce.ok().and_then(|nonce| nonce.try_into().ok());
    let messages: u32 = options.number("messages", 1)?;
    let serve = Message {
        further: Mutex::new(vec![
            job.clone();
            usize::try_from(messages).unwrap_or(1).saturating_sub(1)
        ]),
        octets: message,
        piece: options.number("piece", usize::MAX)?,
        nonce: nonce.ok_or("nonce is 20 characters of Base64")?,
    };
    let handshake = handshake(&mut options)?;
    options.none_left()?;
    let implicit = settings.tls == TlsPolicy::Implicit;
    let names = names(&job);
    let session = Session::new(now, settings, job).keep_open(messages);
    let mut client = Outgoing {
        host: Host::new(session, serve, refuse),
        handshake,
        names,
        told: false,
        over: None,
    };
    client.happen(now, if implicit { handshake } else { Event::Nothing })?;
    Ok(Box::new(client))
}

/// What comes of TLS: `handshake=fails`, `version=1.2`.
pub(super) fn handshake(options: &mut Options) -> Result<Event<'static>, String> {
    let fails = match options.0.remove("handshake").as_deref() {
        None => false,
        Some("fails") => true,
        Some(other) => return Err(format!("a handshake fails or not: {other}")),
    };
    let version = match options.0.remove("version").as_deref() {
        None => Event::Tls,
        Some("1.2") => Event::OldTls,
        Some(other) => return Err(format!("version is 1.2 or not given, not {other}")),
    };
    Ok(if fails { Event::Eof } else { version })
}

/// A connection of the relay, over which one message goes; what comes of it is told to the attempt.
pub(super) fn relayed(
    (settings, job): (Settings, Job),
    octets: Vec<u8>,
    handshake: Event<'static>,
    over: Over,
    now: Now,
) -> Result<Box<dyn Connection>, String> {
    let implicit = settings.tls == TlsPolicy::Implicit;
    let serve = Message {
        octets,
        piece: usize::MAX,
        nonce: [7; NONCE],
        further: Mutex::default(),
    };
    let names = names(&job);
    let mut client = Outgoing {
        host: Host::new(Session::new(now, settings, job), serve, refuse),
        handshake,
        names,
        told: false,
        over: Some(over),
    };
    client.happen(now, if implicit { handshake } else { Event::Nothing })?;
    Ok(Box::new(client))
}

fn names(job: &Job) -> Vec<String> {
    job.recipients.iter().map(|to| to.address.to_string()).collect()
}

fn settings(options: &mut Options) -> Result<Settings, String> {
    let tls = tls_policy(options.0.remove("tls").as_deref().unwrap_or("none"))?;
    let (login, password) = (options.0.remove("login"), options.0.remove("password"));
    let credentials = login.map(|username| Credentials {
        username,
        password: Secret::new(password.unwrap_or_else(|| super::PASSWORD.to_owned())),
    });
    Ok(Settings {
        trust: Trust::Roots,
        hostname: options
            .0
            .remove("hostname")
            .unwrap_or_else(|| HOSTNAME.to_owned()),
        server: options
            .0
            .remove("server")
            .unwrap_or_else(|| "mx.example.net".to_owned()),
        tls,
        credentials,
    })
}

/// A policy by its name.
pub(super) fn tls_policy(word: &str) -> Result<TlsPolicy, String> {
    match word {
        "none" => Ok(TlsPolicy::None),
        "opportunistic" => Ok(TlsPolicy::Opportunistic),
        "require" => Ok(TlsPolicy::Require),
        "verify" => Ok(TlsPolicy::Verify),
        "implicit" => Ok(TlsPolicy::Implicit),
        other => Err(format!("no such policy of TLS: {other}")),
    }
}

fn job(options: &mut Options, message: &[u8]) -> Result<Job, String> {
    let address = |text: &str| Address::parse(text).ok_or_else(|| format!("no address: {text}"));
    let from = options.0.remove("from");
    let reverse_path = match from.as_deref().unwrap_or("alice@example.com") {
        "<>" => ReversePath::Null,
        sender => ReversePath::Address(address(sender)?),
    };
    let dsn = DsnRequest {
        notify: options.0.remove("notify").map(|words| Notify {
            success: words.contains("SUCCESS"),
            failure: words.contains("FAILURE"),
            delay: words.contains("DELAY"),
        }),
        original: options.0.remove("orcpt"),
    };
    let to = options.0.remove("to");
    let to = to.as_deref().unwrap_or("bob@example.net");
    let recipients: Result<Vec<Recipient>, String> = to
        .split(',')
        .map(|to| {
            Ok(Recipient {
                address: address(to)?,
                dsn: dsn.clone(),
            })
        })
        .collect();
    let wishes = Wishes {
        ret: match options.0.remove("ret").as_deref() {
            None => None,
            Some("FULL") => Some(Ret::Full),
            Some("HDRS") => Some(Ret::Headers),
            Some(other) => return Err(format!("ret is FULL or HDRS, not {other}")),
        },
        envid: options.0.remove("envid"),
        utf8: options.yes("utf8", false)?,
        require_tls: options.yes("require_tls", false)?,
        priority: options.number("priority", 0)?,
        ..Wishes::default()
    };
    Ok(Job {
        reverse_path,
        recipients: recipients?,
        offset: 0,
        size: message.len() as u64,
        eight_bit: !message.is_ascii(),
        wishes,
    })
}

fn refuse(call: &Call, word: Refusal) -> Option<Reply> {
    match call {
        Call::Read { .. } => Some(Reply::Read(Err(word))),
        Call::Greeted | Call::Next { .. } | Call::Nonce | Call::Salt { .. } => None,
    }
}

/// A client session. What came of it stands among the actions as `Outcome …` and a line for each recipient.
#[derive(Debug)]
struct Outgoing {
    host: Host<Session, Message>,
    /// What comes of TLS.
    handshake: Event<'static>,
    names: Vec<String>,
    told: bool,
    /// Who waits for the outcome.
    over: Option<Over>,
}

impl Connection for Outgoing {
    fn happen(&mut self, now: Now, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::Tls => {
                self.host.state().tls_wanted = false;
                self.host.happen(now, self.handshake)?;
            }
            event => self.host.happen(now, event)?,
        }
        let outcome = self.host.machine().outcome().filter(|_| !self.told).cloned();
        if let Some(outcome) = outcome {
            self.told = true;
            let mut lines = vec![format!("Outcome {:?}", outcome.end)];
            for (name, outcome) in self.names.iter().zip(&outcome.recipients) {
                let what = match outcome {
                    Outcome::Delivered(_) => "delivered",
                    Outcome::Temporary(report) if report.severe => "temporary, alarm",
                    Outcome::Temporary(_) => "temporary",
                    Outcome::Permanent(_) => "permanent",
                };
                lines.push(format!("<{name}> {what}: {}", outcome.report()));
            }
            self.host.state().actions.extend(lines);
            if let Some(over) = self.over.take() {
                over.tell(outcome);
            }
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Mono> {
        self.host.deadline()
    }

    fn state(&mut self) -> &mut State {
        self.host.state()
    }
}

/// The message, and chance that is none.
#[derive(Debug)]
struct Message {
    octets: Vec<u8>,
    /// Octets of one read at most.
    piece: usize,
    nonce: [u8; NONCE],
    /// Messages that go over the same connection: the same again.
    further: Mutex<Vec<Job>>,
}

impl Serve for Message {
    type Call = Call;
    type Reply = Reply;

    fn answer(&self, _: Now, call: Call) -> Answer<Call, Reply> {
        Answer::Later(Pool::Read, call)
    }

    async fn run(&self, _: Now, call: Call) -> Reply {
        match call {
            Call::Read { offset, max } => {
                let from = usize::try_from(offset)
                    .unwrap_or(usize::MAX)
                    .min(self.octets.len());
                let rest = self.octets.get(from..).unwrap_or_default();
                let piece = rest.get(..max.min(self.piece)).unwrap_or(rest);
                Reply::Read(Ok(Chunk::copy_from(piece)))
            }
            Call::Greeted => Reply::Noted,
            Call::Next { .. } => {
                let mut further = self.further.lock().unwrap_or_else(PoisonError::into_inner);
                Reply::Next(further.pop().map(Box::new))
            }
            Call::Nonce => Reply::Nonce(self.nonce),
            Call::Salt {
                password,
                salt,
                rounds,
            } => Reply::Salted(salted(&password, &salt, rounds)),
        }
    }

    fn spool_now(&self, _: SpoolId, _: Chunk) -> Result<(), Chunk> {
        Ok(())
    }

    async fn spool(&self, _: SpoolId, _: Chunk) {}

    async fn read_blob(&self, _: BlobId, _: u64, _: usize) -> rmail_store::error::Result<Chunk> {
        Ok(Chunk::default())
    }

    fn close_blob(&self, _: BlobId) {}

    fn watch(&self, _: WatchId, _: Scope, _: ModSeq, _: Wake) {}

    fn unwatch(&self, _: WatchId) {}
}
