//! The stage of transcripts on a server: accounts stand for users, and what happens outside is done over IMAP.

use core::fmt;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rmail_core::time::Now;

use super::connection::Live as Over;
use super::errand::Errand;
use super::{Login, Network, Service, fixture};
use crate::host::Connection;
use crate::replay::{Stage, beginning, show};
use crate::template::Bindings;
use crate::transcript::{Given, Opening, Transcript, split_words};
use crate::world::{bindings, users};

/// The message of which there are several.
const MESSAGE: &str = "rfc5322/simple.eml";

/// Something that happens outside, and can be done on any server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    words: Vec<String>,
    options: BTreeMap<String, String>,
}

impl Outside {
    /// Reads the text behind `!:`.
    ///
    /// # Errors
    /// It cannot be, or only on the stage of machines; in words.
    pub fn parse(event: &str) -> Result<Self, String> {
        let words = split_words(event)?;
        let known = words.plain.iter().map(String::as_str).collect::<Vec<_>>();
        match known.as_slice() {
            ["deliver", _, file] => message(file).map(drop)?,
            ["flag", _, _, "FLAGS" | "+FLAGS" | "-FLAGS", _]
            | ["expunge", _, _]
            | ["delete" | "create" | "subscribe" | "unsubscribe", _]
            | ["rename", _, _]
            | ["eof"]
            | ["eof", _] => {}
            _ => return Err(format!("!: cannot be done over a socket: {event}")),
        }
        Ok(Self {
            words: words.plain,
            options: words.options,
        })
    }
}

/// Whether something that is there before can be made over IMAP.
pub(super) fn can_give(given: &Given) -> Result<(), String> {
    let options: Vec<&str> = given.options.keys().map(String::as_str).collect();
    let known: &[&str] = match given.words.as_slice() {
        [word, _] if word == "user" => &[],
        [word, _] if word == "mailbox" => &["user"],
        [word, _] if word == "hostname" => &[],
        [_, _, word] if word == "messages" || word == "message" => &["flags", "user"],
        [word, ..] if ["user", "domain", "alias", "limits", "checks", "dns"].contains(&word.as_str()) => {
            return Err(format!("@given {word} is the server's business"));
        }
        [_, word] if given.options.contains_key("octets") || word == "next" || word == "told" => {
            return Err("mail that was there before a recording is not put there over a socket".to_owned());
        }
        [_, file] => {
            message(file)?;
            &["flags", "date", "times", "user"]
        }
        _ => return Err("what is given?".to_owned()),
    };
    match options.iter().find(|key| !known.contains(key)) {
        Some(key) => Err(format!("{key} cannot be given over a socket")),
        None => Ok(()),
    }
}

fn message(file: &str) -> Result<Vec<u8>, String> {
    fixture(file).ok_or_else(|| format!("{file} is not among the messages of live transcripts"))
}

/// A server.
pub(super) struct Live<'a> {
    network: &'a mut dyn Network,
    accounts: BTreeMap<String, Login>,
    /// The first user.
    first: Option<String>,
    errands: BTreeMap<String, Errand>,
    now: Now,
    told: Bindings,
}

impl<'a> Live<'a> {
    /// Makes what is given.
    pub(super) fn open(
        transcript: &Transcript,
        network: &'a mut dyn Network,
        logins: &[Login],
    ) -> Result<Self, String> {
        let mut names: Vec<&str> = Vec::new();
        for name in users(transcript) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let accounts = names
            .iter()
            .copied()
            .map(str::to_owned)
            .zip(logins.iter().cloned());
        let told = bindings(
            logins
                .iter()
                .map(|login| (login.user.as_str(), login.password.expose())),
        );
        let mut stage = Self {
            network,
            accounts: accounts.collect(),
            first: names.first().copied().map(str::to_owned),
            errands: BTreeMap::new(),
            now: transcript
                .begins
                .map_or_else(beginning, |unix| Now { unix, ..beginning() }),
            told,
        };
        // Accounts with mail in them are refused before anything is done.
        for name in names {
            stage.errand(Some(name))?;
        }
        for given in &transcript.givens {
            stage
                .give(given)
                .map_err(|text| format!("line {}: {text}", given.line))?;
        }
        Ok(stage)
    }

    /// An account that had mail before: numbers go on from there.
    pub(super) fn used(&self) -> Option<&str> {
        let mut used = self.errands.iter().filter(|(_, errand)| errand.used());
        used.next().map(|(name, _)| name.as_str())
    }

    fn login(&self, user: Option<&str>) -> Result<&Login, String> {
        let user = user.or(self.first.as_deref()).ok_or("no user is named")?;
        self.accounts
            .get(user)
            .ok_or_else(|| format!("there is no account for {user}"))
    }

    fn errand(&mut self, user: Option<&str>) -> Result<&mut Errand, String> {
        let login = self.login(user)?.clone();
        if !self.errands.contains_key(&login.user) {
            let errand = Errand::open(self.network, &login)?;
            self.errands.insert(login.user.clone(), errand);
        }
        self.errands
            .get_mut(&login.user)
            .ok_or_else(|| "no connection".to_owned())
    }

    fn give(&mut self, given: &Given) -> Result<(), String> {
        let user = given.options.get("user").map(String::as_str);
        let words: Vec<&str> = given.words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["user" | "hostname" | "domain", ..] => Ok(()),
            ["mailbox", name] => self.errand(user)?.with_names("CREATE", &[name]).map(drop),
            [mailbox, count, "messages" | "message"] => {
                let count: usize = count.parse().map_err(|_| "how many messages?")?;
                self.fill(user, mailbox, given, MESSAGE, count)
            }
            [mailbox, file] => {
                let times = given.options.get("times").map_or("1", String::as_str);
                let times = times.parse().map_err(|_| "times is a number")?;
                self.fill(user, mailbox, given, file, times)
            }
            _ => Err("what is given?".to_owned()),
        }
    }

    fn fill(
        &mut self,
        user: Option<&str>,
        mailbox: &str,
        given: &Given,
        file: &str,
        times: usize,
    ) -> Result<(), String> {
        let message = message(file)?;
        let errand = self.errand(user)?;
        (0..times).try_for_each(|_| errand.append(mailbox, &given.options, &message))
    }

    /// Logs in, and opens a mailbox.
    fn prepare(&self, connection: &mut Over, opening: &Opening, login: &Login) -> Result<(), String> {
        let password = String::from_utf8_lossy(login.password.expose()).into_owned();
        if opening.kind == "http" {
            return Ok(());
        }
        if opening.kind == "smtp" {
            reply(connection, "220")?;
            connection.say(b"EHLO client.example.net\r\n")?;
            reply(connection, "250")?;
            let plain = STANDARD.encode(format!("\0{}\0{password}", login.user));
            connection.say(format!("AUTH PLAIN {plain}\r\n").as_bytes())?;
            return reply(connection, "235");
        }
        let greeting = connection.line()?;
        if !greeting.starts_with(b"* OK") {
            return Err(format!("the greeting is {}", show(&greeting)));
        }
        let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let mut lines = vec![format!(
            "login LOGIN \"{}\" \"{}\"",
            escape(&login.user),
            escape(&password)
        )];
        for (key, command) in [("selected", "SELECT"), ("examined", "EXAMINE")] {
            if let Some(name) = opening.options.get(key) {
                lines.push(format!("open {command} \"{}\"", escape(name)));
            }
        }
        for line in lines {
            connection.say(format!("{line}\r\n").as_bytes())?;
            let (tag, _) = line.split_once(' ').unwrap_or_default();
            loop {
                let answer = connection.line()?;
                match answer.strip_prefix(tag.as_bytes()) {
                    Some(rest) if rest.starts_with(b" OK") => break,
                    Some(_) => return Err(format!("{tag} was answered {}", show(&answer))),
                    None => {}
                }
            }
        }
        Ok(())
    }

    /// A token of the API.
    fn token(&mut self, login: &Login) -> Result<Vec<u8>, String> {
        let mut connection = Over::new(self.network.connect(Service::Http, false)?);
        let quote = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let password = String::from_utf8_lossy(login.password.expose()).into_owned();
        let body = format!(
            "{{\"username\": \"{}\", \"password\": \"{}\"}}",
            quote(&login.user),
            quote(&password)
        );
        connection.say(
            format!(
                "POST /auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .as_bytes(),
        )?;
        let answer = connection.all()?;
        let text = String::from_utf8_lossy(&answer);
        text.split_once("\"token\":\"")
            .and_then(|(_, rest)| rest.split_once('"'))
            .map(|(token, _)| token.as_bytes().to_vec())
            .ok_or_else(|| {
                format!(
                    "the login was answered: {}",
                    text.lines().next().unwrap_or_default()
                )
            })
    }

    fn perform(&mut self, event: &Outside) -> Result<(), String> {
        let user = event.options.get("user").map(String::as_str);
        let words: Vec<&str> = event.words.iter().map(String::as_str).collect();
        let errand = self.errand(user)?;
        let done = match words.as_slice() {
            ["deliver", mailbox, file] => return errand.append(mailbox, &event.options, &message(file)?),
            ["flag", mailbox, uids, how, flags] => {
                errand.with_names("SELECT", &[mailbox])?;
                errand.command(&format!("UID STORE {uids} {how} {flags}"))?;
                errand.command("UNSELECT")
            }
            ["expunge", mailbox, uids] => {
                errand.with_names("SELECT", &[mailbox])?;
                errand.command(&format!("UID STORE {uids} +FLAGS.SILENT (\\Deleted)"))?;
                errand.command(&format!("UID EXPUNGE {uids}"))?;
                errand.command("UNSELECT")
            }
            ["rename", from, to] => errand.with_names("RENAME", &[from, to]),
            [how @ ("delete" | "create" | "subscribe" | "unsubscribe"), mailbox] => {
                errand.with_names(&how.to_ascii_uppercase(), &[mailbox])
            }
            _ => Err("cannot be done over a socket".to_owned()),
        };
        done.map(drop)
    }
}

/// Reads a reply of SMTP to its end.
fn reply(connection: &mut Over, code: &str) -> Result<(), String> {
    loop {
        let line = connection.line()?;
        let text = String::from_utf8_lossy(&line).into_owned();
        match text.strip_prefix(code) {
            Some(rest) if rest.starts_with('-') => {}
            Some(_) => return Ok(()),
            None => return Err(format!("expected {code}: {text}")),
        }
    }
}

impl Stage for Live<'_> {
    fn connect(&mut self, opening: &Opening, _: Now) -> Result<Box<dyn Connection>, String> {
        let service = Service::of(opening).ok_or("no such session over a socket")?;
        let clear = opening.options.get("tls").is_some_and(|tls| tls == "off");
        let user = opening.options.get("user");
        let token = match (user, service) {
            (Some(user), Service::Http) => {
                let login = self.login(Some(user))?.clone();
                Some(self.token(&login)?)
            }
            _ => None,
        };
        let mut connection = Over::new(self.network.connect(service, clear)?);
        if let Some(user) = user {
            self.prepare(&mut connection, opening, self.login(Some(user))?)?;
        }
        if let Some(token) = token {
            connection.state().told.insert("token".to_owned(), token);
        }
        Ok(Box::new(connection))
    }

    fn outside(&mut self, event: &str, _: Now) -> Result<(), String> {
        self.perform(&Outside::parse(event)?)
    }

    fn passed(&mut self, now: Now) {
        std::thread::sleep(now.mono - self.now.mono);
        self.now = now;
    }

    fn told(&self) -> Bindings {
        self.told.clone()
    }
}

impl Drop for Live<'_> {
    /// The accounts are as they were. An errand that fails here leaves what it could not remove: the next transcript says so.
    fn drop(&mut self) {
        for errand in self.errands.values_mut() {
            drop(errand.restore());
        }
    }
}

impl fmt::Debug for Live<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("accounts", &self.accounts)
            .finish_non_exhaustive()
    }
}
