//! An account: its own files, the levels of its mailboxes, and what must be unique among them.

use std::collections::BTreeMap;
use std::io;

use rmail_core::addr::AccountName;
use rmail_core::mailbox::MailboxName;

use crate::disk::Disk;
use crate::file::account::{Counter, FAR, Subscriptions};
use crate::file::escape::{escape, unescape};
use crate::file::io::{found, read_file};
use crate::file::status::Status;

use super::super::lock::{Held, lock};
use super::super::places::{LevelDir, UserDir, levels};
use super::files::mistake;
use super::repair::{Draft, Fix};
use super::{Code, Event, ROUNDS, Run};

/// An account that is being looked through.
pub(super) struct Patient<'u, D: Disk> {
    pub(super) account: &'u AccountName,
    pub(super) path: &'u str,
    pub(super) dir: &'u D::Dir,
}

/// A mailbox as far as the account cares.
struct Known {
    name: MailboxName,
    path: String,
    status: Status,
    /// Its `state` says that it is where it was made: a copy's does not.
    original: bool,
}

impl<D: Disk> Run<'_, D> {
    /// A user's directory with all that is in it.
    pub(super) async fn user(&mut self, user: &UserDir<D>) {
        let Some(account) = &user.account else {
            let has_mail = self.disk().stat_at(&user.dir, "mailboxes").await.is_ok();
            if has_mail {
                let detail = "the directory's name is no account's".to_owned();
                let draft = Draft::new(Code::AccountName, user.path.clone(), detail, Fix::None);
                self.settle(vec![draft]).await;
            }
            return;
        };
        (self.tell)(Event::Account(account));
        self.summary.accounts += 1;
        let patient = Patient {
            account,
            path: &user.path,
            dir: &user.dir,
        };
        for round in 0..ROUNDS {
            let before = self.summary.repaired;
            if let Err(error) = self.account_round(&patient, round == 0).await {
                self.settle(vec![Draft::unreadable(&user.path, &error)]).await;
            }
            if !self.options.repair || self.summary.repaired == before {
                break;
            }
        }
    }

    async fn account_round(&mut self, patient: &Patient<'_, D>, first: bool) -> io::Result<()> {
        let drafts = self.account_itself(patient).await?;
        if !drafts.is_empty() {
            let held = self.lock_account(patient).await?;
            let again = self.account_itself(patient).await?;
            drop(held);
            self.settle(confirmed(drafts, again)).await;
        }
        for level in levels(self.disk(), patient.dir).await? {
            if let Some(name) = level.name.clone() {
                self.mailbox(patient, &level, &name, first).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn lock_account(&self, patient: &Patient<'_, D>) -> io::Result<Option<Held<D>>> {
        lock(self.disk(), patient.dir, "account.lock", self.rules.lock_wait).await
    }

    /// All but what is in the mailboxes.
    async fn account_itself(&self, patient: &Patient<'_, D>) -> io::Result<Vec<Draft<D>>> {
        let (disk, path) = (self.disk(), patient.path);
        let mut drafts = Vec::new();
        let has_user = self.user_file(patient.dir, path, &mut drafts).await;
        let all = levels(disk, patient.dir).await?;
        if !has_user && !all.is_empty() {
            let dying = found(disk.stat_at(patient.dir, ".deleted").await)?.is_some();
            let detail = if dying {
                "the removal of the user was begun; `rmail user add` ends it first".to_owned()
            } else {
                "there is no user.json; `rmail restore --with-user` or `rmail user add` makes one".to_owned()
            };
            drafts.push(Draft::new(Code::NoUser, path.to_owned(), detail, Fix::None));
        }
        self.temporary(patient.dir, path, &mut drafts).await;
        for name in ["account.json", "subscriptions.json", "mailboxes"] {
            let path = format!("{path}/{name}");
            self.access_at(patient.dir, name, &path, &mut drafts).await;
        }
        let known = self.known(patient, &all).await?;
        self.counter(patient, &known, &mut drafts).await?;
        self.subscriptions(patient, &mut drafts).await?;
        self.annotations(patient.dir, path, patient.dir, &mut drafts)
            .await?;
        twice(&known, &mut drafts);
        self.names(patient, &all, &mut drafts).await?;
        if let Some(deleted) = found(disk.open_dir(patient.dir, "deleted").await)? {
            let left = disk.list(&deleted).await?.entries.len();
            if left > 0 {
                let detail = format!("{left} mailbox(es) are left in it");
                let path = format!("{path}/deleted");
                drafts.push(Draft::new(Code::DeletedLeft, path, detail, Fix::Graves));
            }
        }
        for draft in &mut drafts {
            draft.finding.account = Some(patient.account.clone());
        }
        Ok(drafts)
    }

    /// The mailboxes whose status can be read.
    async fn known(&self, patient: &Patient<'_, D>, all: &[LevelDir]) -> io::Result<Vec<Known>> {
        let disk = self.disk();
        let mut known = Vec::new();
        for level in all {
            let Some(name) = &level.name else { continue };
            let Some(open) = level.open(disk, patient.dir).await? else {
                continue;
            };
            let octets = read_file(disk, &open.dir, "status.json").await?;
            let status = octets.and_then(|octets| Status::decode(&octets).ok());
            let Some(status) = status.filter(|status| !status.gone) else {
                continue;
            };
            let state = read_file(disk, &open.dir, "state").await?.unwrap_or_default();
            let inode = found(disk.stat_at(&open.dir, "state").await)?.map(|stat| stat.inode);
            let state = crate::file::state::State::decode(&state);
            known.push(Known {
                name: name.clone(),
                path: format!("{}/{}", patient.path, level.path),
                original: state.is_some_and(|state| Some(state.inode) == inode),
                status,
            });
        }
        Ok(known)
    }

    async fn counter(
        &self,
        patient: &Patient<'_, D>,
        known: &[Known],
        drafts: &mut Vec<Draft<D>>,
    ) -> io::Result<()> {
        let path = format!("{}/account.json", patient.path);
        // One that is far ahead of the clock came with an import, and does not count.
        let far = self.options.now.secs().saturating_add(FAR);
        let numbers = known
            .iter()
            .flat_map(|known| [known.status.uid_validity.0, known.status.id.0]);
        let Some(highest) = numbers.filter(|number| u64::from(*number) < far).max() else {
            return Ok(());
        };
        let fix = Fix::Counter(highest);
        let octets = read_file(self.disk(), patient.dir, "account.json").await?;
        let Some(octets) = octets else {
            let detail = "it is missing".to_owned();
            drafts.push(Draft::new(Code::AccountFile, path, detail, fix));
            return Ok(());
        };
        match (
            mistake::<Counter>(&octets),
            serde_json::from_slice::<Counter>(&octets),
        ) {
            (None, Ok(counter)) if counter.last_uid_validity < highest => {
                let detail = format!("it says {}, {highest} is in use", counter.last_uid_validity);
                drafts.push(Draft::new(Code::UidValidityCounter, path, detail, fix));
            }
            (Some(mistake), _) => drafts.push(Draft::new(Code::AccountFile, path, mistake, fix)),
            _ => {}
        }
        Ok(())
    }

    async fn subscriptions(&self, patient: &Patient<'_, D>, drafts: &mut Vec<Draft<D>>) -> io::Result<()> {
        let octets = read_file(self.disk(), patient.dir, "subscriptions.json").await?;
        if let Some(mistake) = octets.and_then(|octets| mistake::<Subscriptions>(&octets)) {
            let path = format!("{}/subscriptions.json", patient.path);
            let fix = Fix::Subscriptions(patient.dir.clone());
            drafts.push(Draft::new(Code::SubscriptionsFile, path, mistake, fix));
        }
        Ok(())
    }

    /// Directories among the levels with names that are none.
    async fn names(
        &self,
        patient: &Patient<'_, D>,
        all: &[LevelDir],
        drafts: &mut Vec<Draft<D>>,
    ) -> io::Result<()> {
        for level in all.iter().filter(|level| level.name.is_none()) {
            let taken = |entry: &str| {
                let (above, _) = level.path.rsplit_once('/').unwrap_or_default();
                all.iter().any(|other| other.path == format!("{above}/{entry}"))
            };
            let depth = level.path.matches("/children/").count();
            let Some(open) = level.open(self.disk(), patient.dir).await? else {
                continue;
            };
            let fix = match nearest(&open.entry, depth, taken) {
                Some(to) => Fix::Level {
                    parent: open.parent,
                    entry: open.entry,
                    to,
                },
                None => Fix::None,
            };
            let path = format!("{}/{}", patient.path, level.path);
            let detail = "no mailbox name is written like this".to_owned();
            drafts.push(Draft::new(Code::MailboxName, path, detail, fix));
        }
        Ok(())
    }
}

/// Mailboxes with an identity that another one has.
fn twice<D: Disk>(known: &[Known], drafts: &mut Vec<Draft<D>>) {
    let mut order: Vec<&Known> = known.iter().collect();
    order.sort_by_key(|known| (!known.original, &known.name));
    let mut first: BTreeMap<u32, &MailboxName> = BTreeMap::new();
    for known in order {
        match first.get(&known.status.id.0) {
            Some(other) => {
                let detail = format!("{} has the identity of {other}", known.name);
                let path = format!("{}/status.json", known.path);
                let mut draft = Draft::new(Code::MailboxTwice, path, detail, Fix::Renumber);
                draft.finding.mailbox = Some(known.name.clone());
                drafts.push(draft);
            }
            // UIDVALIDITY may be the same in several: mailboxes that were imported keep theirs.
            None => {
                first.insert(known.status.id.0, &known.name);
            }
        }
    }
}

/// A directory name that a level may have, and that is free. `None`: at this depth none is.
fn nearest(entry: &str, depth: usize, taken: impl Fn(&str) -> bool) -> Option<String> {
    if depth >= MailboxName::MAX_LEVELS {
        return None;
    }
    let plain: String = unescape(entry)
        .unwrap_or_else(|| entry.to_owned())
        .chars()
        .map(|c| if c.is_control() || c == '/' { '_' } else { c })
        .collect();
    let mut plain = plain.trim_matches('.').to_owned();
    while plain.len() > MailboxName::MAX_LEVEL - 8 {
        plain.pop();
    }
    if plain.is_empty() {
        plain = "recovered".to_owned();
    }
    (1..1_000).find_map(|number| {
        let text = if number == 1 {
            plain.clone()
        } else {
            format!("{plain}-{number}")
        };
        let name = MailboxName::new(&text).ok()?;
        let entry = escape(name.as_str())?;
        (!taken(&entry)).then_some(entry)
    })
}

/// Those of the second look that the first had found too.
pub(super) fn confirmed<D: Disk>(first: Vec<Draft<D>>, again: Vec<Draft<D>>) -> Vec<Draft<D>> {
    let keys: std::collections::BTreeSet<String> = first.iter().map(Draft::key).collect();
    again
        .into_iter()
        .filter(|draft| keys.contains(&draft.key()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_names_are_names() {
        let free = |_: &str| false;
        for (entry, wanted) in [
            ("%oops", "%=%oops"),
            (".hidden", "hidden"),
            ("...", "recovered"),
            ("inbox", "INBOX"),
            ("a\u{308}", "ä"),
            ("x\ny", "x_y"),
        ] {
            assert_eq!(nearest(entry, 0, free).as_deref(), Some(wanted), "{entry}");
        }
        let one = |entry: &str| entry == "hidden";
        assert_eq!(nearest(".hidden", 0, one).as_deref(), Some("hidden-2"));
        let long = nearest(&format!(".{}", "ä".repeat(120)), 0, free).expect("a name");
        assert!(unescape(&long).is_some_and(|text| MailboxName::new(&text).is_ok()));
        assert_eq!(nearest("x", 32, free), None);
    }
}
