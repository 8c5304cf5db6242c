//! `!:`: what happens outside of the connections.

use futures_lite::future::block_on;
use rmail_core::limiter::Target;
use rmail_core::mailbox::{FlagChange, FlagOp};
use rmail_core::secret::Secret;
use rmail_core::time::Now;
use rmail_store::board;
use rmail_store::mailstore::MailStore as _;

use super::{World, account, flags, mailbox_name, uid_set};
use crate::transcript::split_words;

impl World {
    pub(super) fn happen(&mut self, event: &str, now: Now) -> Result<(), String> {
        let mut words = split_words(event)?;
        let owner = self.owner(words.take("user"))?;
        let set = words.take("flags");
        let plain: Vec<&str> = words.plain.iter().map(String::as_str).collect();
        match plain.as_slice() {
            ["deliver", mailbox, file] => {
                let message = (self.fixture(file)?, flags(set.as_deref())?, None);
                self.append(&owner, &mailbox_name(mailbox)?, &[message], now)
            }
            ["flag", mailbox, uids, how, list] => {
                let op = match *how {
                    "FLAGS" => FlagOp::Replace,
                    "+FLAGS" => FlagOp::Add,
                    "-FLAGS" => FlagOp::Remove,
                    _ => return Err("FLAGS, +FLAGS or -FLAGS".to_owned()),
                };
                let change = FlagChange {
                    op,
                    flags: flags(Some(list))?,
                };
                let (mailbox, uids) = (mailbox_name(mailbox)?, uid_set(uids)?);
                let change = async {
                    let selected = self.store.select(&owner, &mailbox, true).await?;
                    self.store.store(&selected.mailbox, &uids, &change, None).await?;
                    self.store.unselect(&selected.mailbox).await;
                    rmail_store::error::Result::Ok(())
                };
                block_on(change).map_err(|error| error.to_string())
            }
            ["expunge", mailbox, uids] => self.expunge(&owner, &mailbox_name(mailbox)?, &uid_set(uids)?),
            ["delete", mailbox] => block_on(self.store.delete(&owner, &mailbox_name(mailbox)?))
                .map_err(|error| error.to_string()),
            ["rename", from, to] => {
                let (from, to) = (mailbox_name(from)?, mailbox_name(to)?);
                block_on(self.store.rename(&owner, &from, &to, now.unix)).map_err(|error| error.to_string())
            }
            ["create", mailbox] => {
                let mailbox = mailbox_name(mailbox)?;
                block_on(self.store.create(&owner, &mailbox, &[], now.unix))
                    .map_err(|error| error.to_string())
            }
            [how @ ("subscribe" | "unsubscribe"), mailbox] => {
                let (mailbox, on) = (mailbox_name(mailbox)?, *how == "subscribe");
                block_on(self.store.subscribe(&owner, &mailbox, on)).map_err(|error| error.to_string())
            }
            ["dns", rest @ ..] => self.relay().zone().add(rest),
            ["policy", domain, text] => self.relay().serve(domain, text),
            ["idle"] => self.relay().idle(),
            ["unreachable"] => self.relay().unreachable(None, now),
            ["unreachable", host] => self.relay().unreachable(Some(host), now),
            ["disk", "full"] => {
                self.disk.set_full(true);
                Ok(())
            }
            ["disk", "read-only"] => {
                self.disk.set_read_only(true);
                Ok(())
            }
            ["disk", "ok"] => {
                self.disk.set_full(false);
                self.disk.set_read_only(false);
                Ok(())
            }
            ["unban", target] => {
                let target = Target::parse(target).ok_or("no address and no name")?;
                block_on(async {
                    self.service.tend_limits(now).await;
                    board::ask(&self.disk, &target, now.unix).await
                })
                .map_err(|error| error.to_string())?
                .map(drop)
                .ok_or_else(|| "nobody is held back".to_owned())
            }
            [how @ ("disable" | "enable"), user] => {
                let (user, enabled) = (account(user)?, *how == "enable");
                block_on(self.service.accounts().set_enabled(&user, enabled))
                    .map_err(|error| error.to_string())
            }
            ["password", user, new] => {
                let (user, password) = (account(user)?, Secret::new(*new));
                block_on(self.service.accounts().set_password(&user, &password, 1))
                    .map_err(|error| error.to_string())
            }
            _ => Err(format!("nothing that can happen: {event}")),
        }
    }
}
