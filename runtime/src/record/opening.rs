//! What a session was told of the configuration, as its `@session` line has it: where it is another than transcripts have.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use rmail_core::smtp::data::BareLf;
use rmail_core::{api, imap, smtp};

type Options = BTreeMap<String, String>;

/// Octets of a message where a transcript says nothing else.
const MAX_MESSAGE_SIZE: u64 = 52_428_800;

pub(crate) fn smtp(settings: &smtp::server::Settings, implicit_tls: bool) -> Options {
    let usual = smtp::server::Settings::new(&settings.hostname, settings.role, settings.peer);
    let mut options = tls(implicit_tls, settings.starttls, settings.cleartext_auth);
    let mut set = |key: &str, differs: bool, value: String| {
        if differs {
            options.insert(key.to_owned(), value);
        }
    };
    let role = match settings.role {
        smtp::server::Role::Mx => "mx",
        smtp::server::Role::Submission => "submission",
        smtp::server::Role::Lmtp => "lmtp",
    };
    set("role", role != "mx", role.to_owned());
    set("trusted", settings.trusted, "yes".to_owned());
    set("auth_on_mx", !settings.auth_on_mx, "no".to_owned());
    set(
        "normalise",
        settings.bare_lf == BareLf::Normalise,
        "yes".to_owned(),
    );
    let size = settings.max_message_size;
    set("max_message_size", size != MAX_MESSAGE_SIZE, size.to_string());
    for (key, value, usual) in [
        ("max_recipients", settings.max_recipients, usual.max_recipients),
        ("max_messages", settings.max_messages, usual.max_messages),
        ("max_text_line", settings.max_text_line, usual.max_text_line),
    ] {
        set(key, value != usual, value.to_string());
    }
    let (errors, commands, hold) = (settings.max_errors, settings.max_commands, settings.max_hold);
    set("max_errors", errors != usual.max_errors, errors.to_string());
    set(
        "max_commands",
        commands != usual.max_commands,
        commands.to_string(),
    );
    set("max_hold", hold != usual.max_hold, hold.to_string());
    options
}

pub(crate) fn imap(settings: &imap::server::Settings, implicit_tls: bool) -> Options {
    let mut options = tls(implicit_tls, settings.starttls, settings.cleartext_auth);
    if settings.max_message_size != MAX_MESSAGE_SIZE {
        let size = settings.max_message_size.to_string();
        options.insert("max_message_size".to_owned(), size);
    }
    options
}

pub(crate) fn http(settings: &api::Settings, implicit_tls: bool, peer: IpAddr) -> Options {
    let tls = if implicit_tls { "on" } else { "off" };
    let mut options = Options::from([("tls".to_owned(), tls.to_owned())]);
    // From this host passwords are taken in clear text; a transcript has no other way to say so.
    if peer.to_canonical().is_loopback() || settings.cleartext_auth {
        options.insert("peer".to_owned(), Ipv4Addr::LOCALHOST.to_string());
    }
    if settings.max_message_size != MAX_MESSAGE_SIZE {
        let size = settings.max_message_size.to_string();
        options.insert("max_message_size".to_owned(), size);
    }
    options
}

fn tls(implicit: bool, starttls: bool, cleartext: bool) -> Options {
    let tls = match (implicit, starttls) {
        (true, _) => "on",
        (false, true) => "off",
        (false, false) => "none",
    };
    let mut options = Options::from([("tls".to_owned(), tls.to_owned())]);
    if cleartext != (tls == "none") {
        let word = if cleartext { "yes" } else { "no" };
        options.insert("cleartext".to_owned(), word.to_owned());
    }
    options
}
