//! What an account holds when a recorded session logs in to it: so much as makes a new account like it, if that is little.

use rmail_conformance::record::Before;
use rmail_core::addr::AccountName;
use rmail_core::imap::server::{MailboxEntry, Selected};
use rmail_core::mailbox::{Row, SystemFlags};
use rmail_core::text::date::write_imap_date_time;
use rmail_store::error::Result;
use rmail_store::mailstore::{DEFAULT_MAILBOXES, MailStore};

/// Mailboxes of an account that are written down…
const MAX_MAILBOXES: usize = 50;
/// …messages in them…
const MAX_MESSAGES: u64 = 50;
/// …and their octets: what is read while the session waits takes milliseconds.
const MAX_OCTETS: usize = 64 << 10;

/// Looks at an account.
pub(crate) async fn before<S: MailStore>(store: &S, account: &AccountName) -> Before {
    let mut look = Look::default();
    let looked = look.account(store, account).await;
    let left_out = match looked {
        Ok(Ok(())) => None,
        Ok(Err(why)) => Some(why),
        Err(error) => Some(format!("what was there before cannot be read: {error}")),
    };
    Before {
        given: if left_out.is_none() {
            look.given
        } else {
            Vec::new()
        },
        left_out,
        ..Before::default()
    }
}

/// Nothing, or in words what cannot be written down.
type Looked = Result<core::result::Result<(), String>>;

#[derive(Default)]
struct Look {
    given: Vec<String>,
    messages: u64,
    octets: usize,
}

impl Look {
    async fn account<S: MailStore>(&mut self, store: &S, account: &AccountName) -> Looked {
        let entries = store.list(account).await?;
        if entries.len() > MAX_MAILBOXES {
            return Ok(Err(format!("the account has {} mailboxes", entries.len())));
        }
        if !store.shared(account).await?.is_empty() {
            return Ok(Err("other accounts share mailboxes with it".to_owned()));
        }
        for (name, _) in DEFAULT_MAILBOXES {
            if !entries.iter().any(|entry| entry.name.as_str() == name) {
                return Ok(Err(format!("the account has no mailbox {name}")));
            }
        }
        for entry in &entries {
            if let Err(why) = self.mailbox(entry) {
                return Ok(Err(why));
            }
        }
        for entry in &entries {
            let status = store.status(account, &entry.name).await?;
            if status.uid_next.0 <= 1 {
                continue;
            }
            self.messages += status.messages;
            if self.messages > MAX_MESSAGES {
                return Ok(Err(format!(
                    "the account held more than {MAX_MESSAGES} messages before"
                )));
            }
            let selected = store.select(account, &entry.name, true).await?;
            let read = self.messages_of(store, entry, &selected).await;
            store.unselect(&selected.mailbox).await;
            if let Err(why) = read? {
                return Ok(Err(why));
            }
        }
        Ok(Ok(()))
    }

    /// What makes the mailbox.
    fn mailbox(&mut self, entry: &MailboxEntry) -> core::result::Result<(), String> {
        let name = entry.name.as_str();
        if !entry.selectable {
            return Err(format!(
                "{name:?} is no mailbox, but a level above some or only subscribed"
            ));
        }
        if name.chars().any(|c| c == '"' || c.is_control()) {
            return Err(format!(
                "the mailbox {name:?} has a name that cannot be written down"
            ));
        }
        let usual = DEFAULT_MAILBOXES.iter().find(|(usual, _)| *usual == name);
        if let Some((_, uses)) = usual {
            return match entry.subscribed && entry.special_use == *uses {
                true => Ok(()),
                false => Err(format!("the mailbox {name} is not as in a new account")),
            };
        }
        let mut line = format!("mailbox \"{name}\"");
        if entry.subscribed {
            line.push_str(" subscribed");
        }
        match entry.special_use.as_slice() {
            [] => {}
            [one] => line.push_str(&format!(" use={}", one.attribute())),
            _ => return Err(format!("the mailbox {name} has several uses")),
        }
        self.given.push(line);
        Ok(())
    }

    /// What fills the mailbox: messages under their UIDs, and which of them somebody was told as `\Recent`.
    async fn messages_of<S: MailStore>(
        &mut self,
        store: &S,
        entry: &MailboxEntry,
        selected: &Selected,
    ) -> Looked {
        let name = entry.name.as_str();
        let mut told = false;
        for row in selected.snapshot.rows.iter() {
            if row.uid >= selected.recent_from && !told {
                told = true;
                self.given.push(format!("\"{name}\" told"));
            }
            let Some(blob) = store.open(&selected.mailbox, row.uid).await? else {
                return Ok(Err("others removed mail at that moment".to_owned()));
            };
            let length = usize::try_from(store.blob_len(&blob)).unwrap_or(usize::MAX);
            self.octets = self.octets.saturating_add(length);
            if self.octets > MAX_OCTETS {
                return Ok(Err(format!(
                    "the account held more than {MAX_OCTETS} octets of mail before"
                )));
            }
            let mut octets = vec![0; length];
            let mut at = 0;
            while let Some(rest) = octets.get_mut(at..).filter(|rest| !rest.is_empty()) {
                match store.read(&blob, rest, at as u64).await? {
                    0 => return Ok(Err("a message is shorter than it says".to_owned())),
                    read => at += read,
                }
            }
            self.given.push(line(name, row, selected, &octets));
        }
        if !told {
            self.given.push(format!("\"{name}\" told"));
        }
        self.given
            .push(format!("\"{name}\" next uid={}", selected.snapshot.uid_next.0));
        Ok(Ok(()))
    }
}

fn line(name: &str, row: &Row, selected: &Selected, octets: &[u8]) -> String {
    let mut flags: Vec<&str> = SystemFlags::NAMES
        .iter()
        .filter(|(flag, _)| row.flags.contains(*flag))
        .map(|(_, name)| *name)
        .collect();
    flags.extend(
        selected
            .snapshot
            .keywords
            .of(row.keywords)
            .map(|keyword| keyword.as_str()),
    );
    let mut date = Vec::new();
    write_imap_date_time(&mut date, row.internal_date());
    // A quote would end the value.
    let text = octets.escape_ascii().to_string().replace("\\\"", "\\x22");
    format!(
        "\"{name}\" message uid={} flags=({}) date=\"{}\" octets=\"{text}\"",
        row.uid.0,
        flags.join(" "),
        String::from_utf8_lossy(&date),
    )
}
