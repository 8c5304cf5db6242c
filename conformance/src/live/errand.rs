//! What is done for a transcript over an IMAP connection of its own: filling, changing and emptying mailboxes.

use std::collections::BTreeMap;

use super::connection::Live;
use super::{Login, Network, Service};
use crate::replay::show;

/// Mailboxes of an account that are looked at.
const MAX_MAILBOXES: usize = 200;

/// A connection that is logged in.
#[derive(Debug)]
pub(super) struct Errand {
    connection: Live,
    commands: u32,
    /// Mailboxes that were there when it began: all were empty.
    before: Vec<String>,
    /// One of them had mail before.
    used: bool,
}

impl Errand {
    /// Logs in to an account, and sees that it is empty.
    pub(super) fn open(network: &mut dyn Network, login: &Login) -> Result<Self, String> {
        let mut connection = Live::new(network.connect(Service::Imap, false)?);
        let greeting = connection.line()?;
        if !greeting.starts_with(b"* OK") {
            return Err(format!("the greeting is {}", show(&greeting)));
        }
        let mut errand = Self {
            connection,
            commands: 0,
            before: Vec::new(),
            used: false,
        };
        errand.login(login)?;
        errand.before = errand.mailboxes()?;
        for name in errand.before.clone() {
            let (messages, next) = errand.numbers(&name)?;
            errand.used |= next.is_some_and(|next| next > 1);
            if messages != 0 {
                return Err(format!(
                    "{name} of {} is not empty: transcripts want an account without mail",
                    login.user
                ));
            }
        }
        Ok(errand)
    }

    fn login(&mut self, login: &Login) -> Result<(), String> {
        let mut line = b"LOGIN ".to_vec();
        quote(&mut line, login.user.as_bytes())?;
        line.push(b' ');
        quote(&mut line, login.password.expose())?;
        self.ask(&line)
            .map(drop)
            .map_err(|text| format!("cannot log in as {}: {text}", login.user))
    }

    /// Performs a command: the untagged lines of its answer.
    pub(super) fn command(&mut self, line: &str) -> Result<Vec<Vec<u8>>, String> {
        self.ask(line.as_bytes())
            .map_err(|text| format!("{line}: {text}"))
    }

    fn ask(&mut self, line: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        let tag = self.tag();
        self.connection
            .say(&[tag.as_bytes(), b" ", line, b"\r\n"].concat())?;
        self.answer(&tag)
    }

    fn tag(&mut self) -> String {
        self.commands += 1;
        format!("e{}", self.commands)
    }

    fn answer(&mut self, tag: &str) -> Result<Vec<Vec<u8>>, String> {
        let mut lines = Vec::new();
        loop {
            let line = self.connection.line()?;
            match line.strip_prefix(tag.as_bytes()) {
                Some(rest) if rest.starts_with(b" OK") => return Ok(lines),
                Some(_) => return Err(format!("was answered {}", show(&line))),
                None => lines.push(line),
            }
        }
    }

    /// Adds a message.
    pub(super) fn append(
        &mut self,
        mailbox: &str,
        options: &BTreeMap<String, String>,
        message: &[u8],
    ) -> Result<(), String> {
        let tag = self.tag();
        let mut line = format!("{tag} APPEND ").into_bytes();
        quote(&mut line, mailbox.as_bytes())?;
        if let Some(flags) = options.get("flags") {
            line.extend_from_slice(format!(" {flags}").as_bytes());
        }
        if let Some(date) = options.get("date") {
            line.extend_from_slice(format!(" \"{date}\"").as_bytes());
        }
        line.extend_from_slice(format!(" {{{}}}\r\n", message.len()).as_bytes());
        self.connection.say(&line)?;
        loop {
            let line = self.connection.line()?;
            if line.starts_with(b"+") {
                break;
            }
            if line.starts_with(tag.as_bytes()) {
                return Err(format!("APPEND was answered {}", show(&line)));
            }
        }
        self.connection.say(&[message, b"\r\n"].concat())?;
        self.answer(&tag).map(drop)
    }

    /// A command with mailbox names as arguments.
    pub(super) fn with_names(&mut self, command: &str, names: &[&str]) -> Result<Vec<Vec<u8>>, String> {
        let mut line = command.as_bytes().to_vec();
        for name in names {
            line.push(b' ');
            quote(&mut line, name.as_bytes())?;
        }
        self.ask(&line)
            .map_err(|text| format!("{command} {}: {text}", names.join(" ")))
    }

    fn mailboxes(&mut self) -> Result<Vec<String>, String> {
        let lines = self.command("LIST \"\" *")?;
        let names: Vec<String> = lines.iter().filter_map(|line| listed(line)).collect();
        match names.len() > MAX_MAILBOXES {
            true => Err("the account has very many mailboxes: transcripts want an empty one".to_owned()),
            false => Ok(names),
        }
    }

    /// Whether numbers of messages and changes do not count from the beginning in it.
    pub(super) fn used(&self) -> bool {
        self.used
    }

    /// How many messages a mailbox has, and its UIDNEXT.
    fn numbers(&mut self, mailbox: &str) -> Result<(u64, Option<u64>), String> {
        let mut line = b"STATUS ".to_vec();
        quote(&mut line, mailbox.as_bytes())?;
        line.extend_from_slice(b" (MESSAGES UIDNEXT)");
        let lines = self
            .ask(&line)
            .map_err(|text| format!("STATUS {mailbox}: {text}"))?;
        let number = |key: &str| {
            lines.iter().find_map(|line| {
                let text = core::str::from_utf8(line).ok()?;
                let (_, rest) = text.rsplit_once(key)?;
                rest.split(|c: char| !c.is_ascii_digit())
                    .next()?
                    .parse::<u64>()
                    .ok()
            })
        };
        let messages = number("MESSAGES ");
        let messages = messages.ok_or_else(|| format!("STATUS {mailbox} tells no number of messages"))?;
        Ok((messages, number("UIDNEXT ")))
    }

    /// Makes the account as it was.
    pub(super) fn restore(&mut self) -> Result<(), String> {
        let now = self.mailboxes()?;
        // What is below goes first.
        for name in now
            .iter()
            .rev()
            .filter(|name| !self.before.contains(name))
            .cloned()
            .collect::<Vec<_>>()
        {
            self.with_names("DELETE", &[&name])?;
        }
        for name in self.before.clone() {
            if !now.contains(&name) {
                self.with_names("CREATE", &[&name])?;
            } else if self.numbers(&name)?.0 != 0 {
                self.with_names("SELECT", &[&name])?;
                self.command("STORE 1:* +FLAGS.SILENT (\\Deleted)")?;
                self.command("CLOSE")?;
            }
        }
        self.command("LOGOUT").map(drop)
    }
}

/// The name in a LIST response, if it can be selected.
fn listed(line: &[u8]) -> Option<String> {
    let text = core::str::from_utf8(line).ok()?;
    let (attributes, rest) = text.strip_prefix("* LIST (")?.split_once(')')?;
    let attributes = attributes.to_ascii_lowercase();
    if attributes.contains("\\noselect") || attributes.contains("\\nonexistent") {
        return None;
    }
    // The separator, then the name.
    let (_, name) = rest.trim_start().split_once(' ')?;
    Some(match name.strip_prefix('"') {
        Some(quoted) => quoted
            .strip_suffix('"')?
            .replace("\\\\", "\\")
            .replace("\\\"", "\""),
        None => name.to_owned(),
    })
}

/// Appends a quoted string.
fn quote(out: &mut Vec<u8>, text: &[u8]) -> Result<(), String> {
    if text.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0)) {
        return Err("a name or password with a line end".to_owned());
    }
    out.push(b'"');
    for octet in text {
        if matches!(octet, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*octet);
    }
    out.push(b'"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_lists() {
        assert_eq!(
            listed(b"* LIST (\\HasNoChildren) \"/\" INBOX").as_deref(),
            Some("INBOX")
        );
        assert_eq!(listed(b"* LIST () \"/\" \"a b\"").as_deref(), Some("a b"));
        assert_eq!(listed(b"* LIST () NIL x").as_deref(), Some("x"));
        assert_eq!(listed(b"* LIST (\\Noselect) \"/\" a"), None);
        assert_eq!(listed(b"* STATUS a (MESSAGES 1)"), None);
    }

    #[test]
    fn quotes_are_escaped() {
        let mut out = Vec::new();
        assert_eq!(quote(&mut out, br#"a"b\"#), Ok(()));
        assert_eq!(out, br#""a\"b\\""#);
        assert!(quote(&mut out, b"a\nb").is_err());
    }
}
