//! SELECT, FETCH of flags, APPEND.

use std::net::IpAddr;
use std::time::Instant;

use crate::wire::Wire;
use crate::{Figures, percentiles};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Login {
    /// IMAP port (clear text) of the server.
    #[arg(long)]
    pub(crate) port: u16,
    /// Login name.
    #[arg(long)]
    pub(crate) user: String,
    /// Name of the environment variable with the password.
    #[arg(long, default_value = "RMAIL_LOAD_PASSWORD")]
    pub(crate) password_env: String,
    /// The password itself, of a server of the tool's own.
    #[arg(skip)]
    pub(crate) password: Option<String>,
    /// Mailbox.
    #[arg(long, default_value = "INBOX")]
    pub(crate) mailbox: String,
}

impl Login {
    /// The same for another user.
    pub(crate) fn of(&self, user: &str) -> Self {
        Self {
            user: user.to_owned(),
            ..self.clone()
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    login: Login,
    /// Rounds.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
}

#[derive(Debug, clap::Args)]
pub(crate) struct FillOptions {
    #[command(flatten)]
    login: Login,
    /// Messages to append.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    messages: u32,
    /// Octets of each.
    #[arg(long, default_value_t = 1024)]
    size: u32,
}

pub(crate) fn login(host: IpAddr, login: &Login) -> Wire {
    let given = || std::env::var(&login.password_env).expect("the password's environment variable");
    let password = login.password.clone().unwrap_or_else(given);
    let mut wire = Wire::connect(host, login.port);
    wire.imap(&format!("LOGIN \"{}\" \"{password}\"", login.user));
    wire
}

pub(crate) fn measure(host: IpAddr, options: &Options) -> Figures {
    let mut wire = login(host, &options.login);
    let (mut selects, mut fetches) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    wire.imap(&format!("SELECT \"{}\"", options.login.mailbox));
    let first = begun.elapsed().as_secs_f64() * 1000.0;
    for _ in 0..options.rounds {
        let begun = Instant::now();
        wire.imap(&format!("SELECT \"{}\"", options.login.mailbox));
        selects.push(begun.elapsed().as_secs_f64() * 1000.0);
        let begun = Instant::now();
        wire.imap("FETCH 1:* (UID FLAGS)");
        fetches.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    wire.imap("LOGOUT");
    let mut figures = vec![("SELECT, first".to_owned(), first, "ms")];
    figures.extend(percentiles("SELECT", selects));
    figures.extend(percentiles("FETCH 1:* (UID FLAGS)", fetches));
    figures
}

pub(crate) fn fill(host: IpAddr, options: &FillOptions) -> Figures {
    let mut wire = login(host, &options.login);
    let body = crate::smtp::body(options.size);
    let body = &body[..body.len() - 3];
    let begun = Instant::now();
    for n in 0..options.messages {
        let tag = format!("f{n} ");
        wire.send(
            format!(
                "{tag}APPEND \"{}\" {{{}+}}\r\n",
                options.login.mailbox,
                body.len()
            )
            .as_bytes(),
        );
        wire.send(body);
        wire.send(b"\r\n");
        wire.until(&tag);
    }
    wire.imap("LOGOUT");
    vec![(
        "appended".to_owned(),
        f64::from(options.messages) / begun.elapsed().as_secs_f64(),
        "messages/s",
    )]
}
