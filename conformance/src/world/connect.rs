//! `@session`: connections, and how far they are when a transcript begins.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rmail_core::imap::server as imap;
use rmail_core::limits::Limits;
use rmail_core::peer::Peer;
use rmail_core::random::Random;
use rmail_core::refusal::Refusal;
use rmail_core::smtp::data::BareLf;
use rmail_core::smtp::server as smtp;
use rmail_core::time::Now;

use super::{PASSWORD, World, address, http};
use crate::host::{Connection, Event, Host};
use crate::transcript::Opening;

/// Octets of a message where nothing else is said.
const MAX_MESSAGE_SIZE: u64 = 52_428_800;

pub(super) fn connect(world: &World, opening: &Opening, now: Now) -> Result<Box<dyn Connection>, String> {
    let mut options = Options(opening.options.clone());
    let user = options.0.remove("user").map(|user| address(&user));
    let password = options
        .0
        .remove("password")
        .unwrap_or_else(|| PASSWORD.to_owned());
    let tls = match (options.0.remove("tls").as_deref(), &user) {
        (Some("on"), _) | (None, Some(_)) => Tls::On,
        (Some("1.2"), _) => Tls::Old,
        (Some("off"), _) | (None, None) => Tls::Off,
        (Some("none"), _) => Tls::None,
        (Some(other), _) => return Err(format!("tls is on, 1.2, off or none, not {other}")),
    };
    let random = Random::from_seed([world.sessions; 32]);
    let mut connection: Box<dyn Connection> = match opening.kind.as_str() {
        "smtp" => {
            let checks = smtp::Checks {
                ask: world.service.settings().checks.ask(),
                helo: world.helo,
            };
            let settings = smtp::Settings {
                checks,
                ..smtp_settings(&world.hostname, &mut options, tls)?
            };
            let peer = Peer {
                address: settings.peer,
                trusted: settings.trusted,
            };
            let machine = smtp::Session::new(settings, random, now);
            Box::new(Host::new(machine, world.service.smtp_session(peer), refuse_smtp))
        }
        "imap" => {
            let settings = imap_settings(&world.hostname, &mut options, tls)?;
            let peer = Peer {
                address: settings.peer,
                trusted: false,
            };
            let machine = imap::Session::new(settings, random, now);
            Box::new(Host::new(machine, world.service.imap_session(peer), refuse_imap))
        }
        "http" => {
            let login = user.as_deref().map(|user| (user, password.as_str()));
            let tls = matches!(tls, Tls::On | Tls::Old);
            return http::connect(world, options, login, tls, now);
        }
        other => return Err(format!("no such protocol: {other}")),
    };
    let (selected, examined) = (options.0.remove("selected"), options.0.remove("examined"));
    let ehlo = options.0.remove("ehlo").filter(|_| opening.kind == "smtp");
    options.none_left()?;
    let begins = match tls {
        Tls::On => Event::Tls,
        Tls::Old => Event::OldTls,
        Tls::Off | Tls::None => Event::Nothing,
    };
    connection.happen(now, begins)?;
    let smtp = opening.kind == "smtp";
    let hello = format!("EHLO {}", ehlo.as_deref().unwrap_or("client.example.net"));
    let before = if let Some(user) = user.as_ref().filter(|_| smtp) {
        let plain = STANDARD.encode(format!("\0{user}\0{password}"));
        vec![(hello, "250 "), (format!("AUTH PLAIN {plain}"), "235 ")]
    } else if ehlo.is_some() {
        vec![(hello, "250 ")]
    } else if let Some(user) = user {
        let mut before = vec![(format!("login LOGIN \"{user}\" \"{password}\""), "login OK ")];
        before.extend(selected.map(|name| (format!("open SELECT \"{name}\""), "open OK ")));
        before.extend(examined.map(|name| (format!("open EXAMINE \"{name}\""), "open OK ")));
        before
    } else {
        return Ok(connection);
    };
    for (line, want) in before {
        connection.happen(now, Event::Bytes(format!("{line}\r\n").as_bytes()))?;
        let sent = String::from_utf8_lossy(&connection.state().unseen).into_owned();
        if !sent.lines().any(|answer| answer.starts_with(want)) {
            return Err(format!("{line} was answered: {sent}"));
        }
        connection.state().forget();
    }
    Ok(connection)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tls {
    On,
    Old,
    Off,
    None,
}

pub(super) struct Options(pub(super) BTreeMap<String, String>);

impl Options {
    pub(super) fn number<T: core::str::FromStr>(&mut self, key: &str, default: T) -> Result<T, String> {
        match self.0.remove(key) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .map_err(|_| format!("{key}: no number, or not in bounds: {text}")),
        }
    }

    pub(super) fn yes(&mut self, key: &str, default: bool) -> Result<bool, String> {
        match self.0.remove(key).as_deref() {
            None => Ok(default),
            Some("yes") => Ok(true),
            Some("no") => Ok(false),
            Some(other) => Err(format!("{key} is yes or no, not {other}")),
        }
    }

    pub(super) fn peer(&mut self) -> Result<IpAddr, String> {
        match self.0.remove("peer") {
            None => Ok(IpAddr::from([192, 0, 2, 1])),
            Some(text) => text.parse().map_err(|_| format!("no address: {text}")),
        }
    }

    pub(super) fn none_left(&self) -> Result<(), String> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(key) => Err(format!("no such key of a session: {key}")),
        }
    }
}

fn smtp_settings(hostname: &str, options: &mut Options, tls: Tls) -> Result<smtp::Settings, String> {
    let role = match options.0.remove("role").as_deref() {
        None | Some("mx") => smtp::Role::Mx,
        Some("submission") => smtp::Role::Submission,
        Some("lmtp") => smtp::Role::Lmtp,
        Some(other) => return Err(format!("role is mx, submission or lmtp, not {other}")),
    };
    let usual = smtp::Settings::new(hostname, role, options.peer()?);
    Ok(smtp::Settings {
        starttls: tls == Tls::Off,
        cleartext_auth: options.yes("cleartext", tls == Tls::None)?,
        auth_on_mx: options.yes("auth_on_mx", true)?,
        trusted: options.yes("trusted", false)?,
        max_message_size: options.number("max_message_size", MAX_MESSAGE_SIZE)?,
        max_recipients: options.number("max_recipients", usual.max_recipients)?,
        max_messages: options.number("max_messages", usual.max_messages)?,
        max_text_line: options.number("max_text_line", usual.max_text_line)?,
        bare_lf: match options.yes("normalise", false)? {
            true => BareLf::Normalise,
            false => BareLf::Refuse,
        },
        data_timeout: Duration::from_secs(600),
        max_errors: options.number("max_errors", usual.max_errors)?,
        max_commands: options.number("max_commands", usual.max_commands)?,
        max_hold: options.number("max_hold", usual.max_hold)?,
        ..usual
    })
}

fn imap_settings(hostname: &str, options: &mut Options, tls: Tls) -> Result<imap::Settings, String> {
    Ok(imap::Settings {
        hostname: hostname.to_owned(),
        peer: options.peer()?,
        starttls: tls == Tls::Off,
        cleartext_auth: options.yes("cleartext", tls == Tls::None)?,
        max_message_size: options.number("max_message_size", MAX_MESSAGE_SIZE)?,
        autologout: Duration::from_secs(30 * 60),
        login_timeout: Duration::from_secs(60),
        idle_keepalive: Duration::from_secs(28 * 60),
        compress: true,
        limits: Limits::default(),
    })
}

/// The reply that refuses a call of SMTP.
fn refuse_smtp(call: &smtp::Call, word: Refusal) -> Option<smtp::Reply> {
    use smtp::{Call, Reply};
    match call {
        Call::Authenticate { .. } | Call::ScramDone { .. } => Some(Reply::Authenticated(Err(word))),
        Call::ScramStart { .. } => Some(Reply::Scram(Err(word))),
        Call::Sender { .. } => Some(Reply::Sender(Err(word))),
        Call::Priority { .. } => Some(Reply::Priority(Err(word))),
        Call::Recipient { .. } => Some(Reply::Recipient(Err(word))),
        Call::Open { .. } => Some(Reply::Opened(Err(word))),
        Call::Commit { .. } => Some(Reply::Committed(Err(word))),
        Call::CommitEach { envelope, .. } => {
            Some(Reply::CommittedEach(vec![Err(word); envelope.recipients.len()]))
        }
        Call::Discard { .. } | Call::Recheck { .. } | Call::Check => None,
    }
}

/// The reply that refuses a call of IMAP.
fn refuse_imap(call: &imap::Call, word: Refusal) -> Option<imap::Reply> {
    use imap::{Call, Reply};
    match call {
        Call::Authenticate { .. } | Call::ScramDone { .. } => Some(Reply::Authenticated(Err(word))),
        Call::ScramStart { .. } => Some(Reply::Scram(Err(word))),
        Call::List { .. } => Some(Reply::List(Err(word))),
        Call::Shared { .. } => Some(Reply::Shared(Err(word))),
        Call::Acl { .. } => Some(Reply::Acl(Err(word))),
        Call::Rights { .. } => Some(Reply::Rights(Err(word))),
        Call::Annotations { .. } => Some(Reply::Annotations(Err(word))),
        Call::Quota { .. } | Call::SetQuota { .. } => Some(Reply::Quota(Err(word))),
        Call::SetAcl { .. } | Call::Annotate { .. } => Some(Reply::Done(Err(word))),
        Call::Status { .. } => Some(Reply::Status(Err(word))),
        Call::Select { .. } => Some(Reply::Selected(Err(word))),
        Call::Changes { .. } => Some(Reply::Changes(Err(word))),
        Call::ClaimRecent { .. } => Some(Reply::Claimed(Err(word))),
        Call::Create { .. } | Call::Delete { .. } | Call::Rename { .. } | Call::Subscribe { .. } => {
            Some(Reply::Done(Err(word)))
        }
        Call::Open { .. } => Some(Reply::Opened(Err(word))),
        Call::Commit { .. } => Some(Reply::Committed(Err(word))),
        Call::SpoolFrom { .. } => Some(Reply::SpooledFrom(Err(word))),
        Call::Replace { .. } => Some(Reply::Replaced(Err(word))),
        Call::Store { .. } => Some(Reply::Stored(Err(word))),
        Call::Copy { .. } | Call::Move { .. } => Some(Reply::Copied(Err(word))),
        Call::Expunge { .. } => Some(Reply::Expunged(Err(word))),
        Call::Bodies { .. } => Some(Reply::Bodies(Err(word))),
        Call::Search { .. } => Some(Reply::Found(Err(word))),
        Call::Vanished { .. } => Some(Reply::Vanished(Err(word))),
        Call::Sort { .. } => Some(Reply::Sorted(Err(word))),
        Call::Thread { .. } => Some(Reply::Threaded(Err(word))),
        Call::Recheck { .. } | Call::Discard { .. } | Call::CloseBlob { .. } | Call::Unselect { .. } => None,
    }
}
