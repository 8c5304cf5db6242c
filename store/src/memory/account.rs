//! What an account has: mailboxes by name, subscriptions, and a counter of UIDVALIDITY.

use std::collections::{BTreeMap, BTreeSet};

use rmail_core::addr::AccountName;
use rmail_core::imap::server::{MailboxEntry, SharedMailbox};
use rmail_core::mailbox::{Annotations, MailboxName, MailboxRef, Quota, SpecialUse, UidValidity, Usage};
use rmail_core::refusal::Refusal;
use rmail_core::time::Unix;

use crate::error::Result;
use crate::mailstore::{DEFAULT_MAILBOXES, Numbering};

use super::mailbox::{Incoming, Mailbox};

/// Ten years, in seconds: UIDVALIDITY stands for a time (RFC 9051 §2.3.1.1).
const FAR: u64 = 10 * 365 * 86_400;

/// One account.
pub(super) struct Account {
    name: AccountName,
    /// A name that is not here but has names below it is a level that cannot be selected.
    mailboxes: BTreeMap<MailboxName, Mailbox>,
    /// Names of mailboxes, whether they exist or not.
    subscribed: BTreeSet<MailboxName>,
    last_uid_validity: u32,
    /// What it has noted about the server.
    pub(super) annotations: Annotations,
}

impl Account {
    /// An account with its default mailboxes, subscribed.
    pub(super) fn new(name: &AccountName, last_uid_validity: u32, now: Unix) -> Result<Self> {
        let mut account = Self {
            name: name.clone(),
            mailboxes: BTreeMap::new(),
            subscribed: BTreeSet::new(),
            last_uid_validity,
            annotations: Annotations::default(),
        };
        for (name, special_use) in DEFAULT_MAILBOXES {
            let name = MailboxName::new(name).map_err(|_| Refusal::BadMailboxName)?;
            account.make(&name, special_use, now)?;
            account.subscribed.insert(name);
        }
        Ok(account)
    }

    pub(super) fn last_uid_validity(&self) -> u32 {
        self.last_uid_validity
    }

    pub(super) fn into_mailboxes(self) -> impl Iterator<Item = Mailbox> {
        self.mailboxes.into_values()
    }

    /// A mailbox by its present name.
    pub(super) fn named(&mut self, name: &MailboxName) -> Result<&mut Mailbox> {
        let found = self.mailboxes.get_mut(name);
        found.ok_or_else(|| Refusal::NoSuchMailbox.into())
    }

    /// A mailbox by its identity, whatever its name.
    pub(super) fn referred(&mut self, mailbox: &MailboxRef) -> Result<&mut Mailbox> {
        let mut all = self.mailboxes.values_mut();
        let found = all.find(|other| other.reference() == mailbox);
        found.ok_or_else(|| Refusal::NoSuchMailbox.into())
    }

    /// What all messages take.
    pub(super) fn usage(&self) -> Usage {
        self.mailboxes.values().map(Mailbox::usage).sum()
    }

    /// Whether the account may get these.
    ///
    /// # Errors
    /// `OverQuota`.
    pub(super) fn check_quota(&self, quota: &Quota, news: &[Incoming]) -> Result<()> {
        let more = news.iter().map(Incoming::usage).sum();
        if quota.is_unlimited() || quota.admits(self.usage(), more) {
            return Ok(());
        }
        Err(Refusal::OverQuota.into())
    }

    /// Makes one mailbox. UIDVALIDITY ascends, also over names, and follows the clock, so that a mailbox of the same name
    /// that comes later has a higher one.
    fn make(&mut self, name: &MailboxName, special_use: &[SpecialUse], now: Unix) -> Result<()> {
        let next = self.last_uid_validity.checked_add(1);
        let now = u32::try_from(now.secs()).unwrap_or(u32::MAX);
        self.last_uid_validity = next.ok_or(Refusal::MailboxFull)?.max(now);
        let mut mailbox = Mailbox::new(&self.name, UidValidity(self.last_uid_validity), special_use);
        // RFC 4314 §4: a new mailbox has the list of the one above it.
        let parent = name.parent().and_then(|parent| self.mailboxes.get(&parent));
        mailbox.acl = parent.map(|parent| parent.acl.clone()).unwrap_or_default();
        self.mailboxes.insert(name.clone(), mailbox);
        Ok(())
    }

    /// A UIDVALIDITY that came from elsewhere is not given out again. One far in the future would use up the counter.
    pub(super) fn reserve_uid_validity(&mut self, numbering: Numbering, now: Unix) {
        let far = now.secs().saturating_add(FAR);
        if let Some(value) = numbering.uid_validity.filter(|value| u64::from(value.0) < far) {
            self.last_uid_validity = self.last_uid_validity.max(value.0);
        }
    }

    /// The mailboxes that an account may do something with.
    pub(super) fn shared_with(&self, with: &AccountName) -> Vec<SharedMailbox> {
        let shared = |(name, mailbox): (&MailboxName, &Mailbox)| {
            let rights = mailbox.acl.rights_of(with);
            (!rights.is_empty()).then(|| SharedMailbox {
                owner: self.name.clone(),
                name: name.clone(),
                rights,
            })
        };
        self.mailboxes.iter().filter_map(shared).collect()
    }

    /// Whether there is a mailbox of this name, or one below it.
    fn has_level(&self, name: &MailboxName) -> bool {
        self.mailboxes
            .keys()
            .any(|other| other == name || other.is_below(name))
    }

    /// Makes the mailboxes above a name that are not there. A level that cannot be selected is there.
    fn make_parents(&mut self, name: &MailboxName, now: Unix) -> Result<()> {
        let parents: Vec<MailboxName> = core::iter::successors(name.parent(), MailboxName::parent).collect();
        for parent in parents.iter().rev() {
            if !self.has_level(parent) {
                self.make(parent, &[], now)?;
            }
        }
        Ok(())
    }

    pub(super) fn create(&mut self, name: &MailboxName, special_use: &[SpecialUse], now: Unix) -> Result<()> {
        if self.mailboxes.contains_key(name) {
            return Err(Refusal::MailboxExists.into());
        }
        self.make_parents(name, now)?;
        self.make(name, special_use, now)
    }

    /// Takes a mailbox out; not INBOX. Its name stays as a level if there are mailboxes below.
    pub(super) fn delete(&mut self, name: &MailboxName) -> Result<Mailbox> {
        let refusal = if self.has_level(name) {
            Refusal::NotPossible
        } else {
            Refusal::NoSuchMailbox
        };
        self.mailboxes.remove(name).ok_or_else(|| refusal.into())
    }

    /// Renames a mailbox, or a level that cannot be selected, and all below it. Neither is INBOX, nor `to` below `from`.
    pub(super) fn rename(&mut self, from: &MailboxName, to: &MailboxName, now: Unix) -> Result<()> {
        if !self.has_level(from) {
            return Err(Refusal::NoSuchMailbox.into());
        }
        if self.has_level(to) {
            return Err(Refusal::MailboxExists.into());
        }
        let mut renamed = Vec::new();
        for name in self.mailboxes.keys() {
            if name == from || name.is_below(from) {
                let below = name.as_str().get(from.as_str().len()..).unwrap_or_default();
                let new = MailboxName::new(&format!("{to}{below}"));
                renamed.push((name.clone(), new.map_err(|_| Refusal::BadMailboxName)?));
            }
        }
        self.make_parents(to, now)?;
        for (old, new) in renamed {
            if let Some(mailbox) = self.mailboxes.remove(&old) {
                self.mailboxes.insert(new, mailbox);
            }
        }
        Ok(())
    }

    pub(super) fn subscribe(&mut self, name: &MailboxName, on: bool) {
        if on {
            self.subscribed.insert(name.clone());
        } else {
            self.subscribed.remove(name);
        }
    }

    /// Mailboxes, levels above them, and subscriptions to what is neither, by name.
    pub(super) fn list(&self) -> Vec<MailboxEntry> {
        let mut names: BTreeSet<&MailboxName> = self.mailboxes.keys().chain(&self.subscribed).collect();
        let parents = |name: &MailboxName| core::iter::successors(name.parent(), MailboxName::parent);
        let levels: Vec<MailboxName> = self.mailboxes.keys().flat_map(parents).collect();
        names.extend(&levels);
        let entry = |name: &MailboxName| {
            let mailbox = self.mailboxes.get(name);
            MailboxEntry {
                name: name.clone(),
                selectable: mailbox.is_some(),
                exists: self.has_level(name),
                special_use: mailbox
                    .map(|mailbox| mailbox.special_use().to_vec())
                    .unwrap_or_default(),
                subscribed: self.subscribed.contains(name),
                id: mailbox.map(|mailbox| mailbox.reference().id),
            }
        };
        names.into_iter().map(entry).collect()
    }
}
