//! `@session http`: connections of the API, and tokens for those who have a user.

use std::sync::Arc;

use rmail_core::api::{Call, Failure, Reply, Settings};
use rmail_core::auth::token::Key;
use rmail_core::http::HttpSession;
use rmail_core::peer::Peer;
use rmail_core::refusal::Refusal;
use rmail_core::time::Now;

use super::World;
use super::connect::Options;
use crate::host::{Connection, Event, Host};

pub(super) fn connect(
    world: &World,
    mut options: Options,
    login: Option<(&str, &str)>,
    tls: bool,
    now: Now,
) -> Result<Box<dyn Connection>, String> {
    let usual = Settings::default();
    let settings = Arc::new(Settings {
        max_message_size: options.number("max_message_size", usual.max_message_size)?,
        tokens: Some(Key::new([7; 32])),
        ..usual
    });
    let peer = Peer {
        address: options.peer()?,
        trusted: false,
    };
    options.none_left()?;
    let open = || {
        let machine = HttpSession::new(Arc::clone(&settings), peer, now);
        let mut host = Host::new(machine, world.service.api_session(peer), refuse);
        let begins = if tls { Event::Tls } else { Event::Nothing };
        host.happen(now, begins).map(|()| host)
    };
    let mut connection = open()?;
    if let Some((user, password)) = login {
        let token = token(&mut open()?, user, password, now)?;
        connection.state().told.insert("token".to_owned(), token);
    }
    connection.state().forget();
    Ok(Box::new(connection))
}

/// A token, from a login on a connection of its own.
fn token(connection: &mut dyn Connection, user: &str, password: &str, now: Now) -> Result<Vec<u8>, String> {
    let body = format!("{{\"username\": \"{user}\", \"password\": \"{password}\"}}");
    let request = format!(
        "POST /auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.happen(now, Event::Bytes(request.as_bytes()))?;
    let sent = String::from_utf8_lossy(&connection.state().unseen).into_owned();
    let token = sent
        .split_once("\"token\":\"")
        .and_then(|(_, rest)| rest.split_once('"'));
    match token {
        Some((token, _)) => Ok(token.as_bytes().to_vec()),
        None => Err(format!("the login was answered: {sent}")),
    }
}

/// The reply that refuses a call.
fn refuse(_: &Call, word: Refusal) -> Option<Reply> {
    Some(Err(Failure::from(word)))
}
