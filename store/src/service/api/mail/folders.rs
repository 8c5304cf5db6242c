//! Folders: the list, with the counts of each, and its changes.

use core::sync::atomic::{AtomicBool, Ordering};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use rmail_core::addr::AccountName;
use rmail_core::api::Failure;
use rmail_core::api::mail::{Folder, FolderId, no_such_folder};
use rmail_core::imap::server::{MailboxEntry, MailboxStatus};
use rmail_core::machine::{LOOKS_LATER, Scope};
use rmail_core::mailbox::{MailboxName, ModSeq, SpecialUse, UidValidity};
use rmail_core::refusal::Refusal;
use rmail_core::time::Now;

use super::super::ApiService;
use super::place::reference;
use super::{Told, failed};
use crate::disk::Disk;
use crate::error::Result;
use crate::hub::Watch;
use crate::mailstore::MailStore;
use crate::service::lock;

/// Accounts whose lists are kept: each watches for changes.
const ACCOUNTS: usize = 128;
/// Folders that are answered at once at most: each costs a look.
const AT_ONCE: usize = 64;

/// Lists of folders, as long as nothing is heard of a change.
#[derive(Debug, Default)]
pub(in crate::service) struct FolderCache(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    clock: u64,
    accounts: HashMap<AccountName, Kept>,
}

#[derive(Debug)]
struct Kept {
    used: u64,
    list: Arc<List>,
    /// The list has changed.
    stale: Arc<AtomicBool>,
    _watch: Watch,
    told: Option<LastTold>,
}

/// What was told last, and as of when.
#[derive(Clone, Debug)]
struct LastTold {
    of: Vec<(UidValidity, ModSeq)>,
    folders: Arc<[Folder]>,
}

/// The mailboxes of an account, in the order of their names. Levels that are none, and mere subscriptions, are left out.
#[derive(Debug)]
pub(super) struct List(Vec<Entry>);

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: FolderId,
    pub(super) name: MailboxName,
    pub(super) uses: Vec<SpecialUse>,
    subscribed: bool,
    parent: Option<FolderId>,
}

impl List {
    fn new(entries: Vec<MailboxEntry>) -> Self {
        let mut list: Vec<Entry> = entries
            .into_iter()
            .filter_map(|entry| {
                Some(Entry {
                    id: FolderId(entry.id.filter(|_| entry.selectable)?),
                    name: entry.name,
                    uses: entry.special_use,
                    subscribed: entry.subscribed,
                    parent: None,
                })
            })
            .collect();
        let ids: HashMap<MailboxName, FolderId> =
            list.iter().map(|entry| (entry.name.clone(), entry.id)).collect();
        for entry in &mut list {
            let above = entry.name.parent();
            entry.parent = above.and_then(|above| ids.get(&above).copied());
        }
        Self(list)
    }

    pub(super) fn by_id(&self, folder: FolderId) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.id == folder)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter()
    }

    /// The folder for this use.
    pub(super) fn by_use(&self, special: SpecialUse) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.uses.contains(&special))
    }
}

impl Entry {
    fn folder(&self, status: &MailboxStatus) -> Folder {
        Folder {
            id: self.id,
            name: self.name.to_string(),
            parent: self.parent,
            role: Folder::role(&self.name, &self.uses),
            subscribed: self.subscribed,
            messages: status.messages,
            unread: status.unseen,
            size: status.size,
        }
    }
}

impl FolderCache {
    /// The list, if nothing was heard of a change.
    fn list(&self, account: &AccountName) -> Option<Arc<List>> {
        let mut inner = lock(&self.0);
        Some(Arc::clone(&inner.get(account)?.list))
    }

    /// What was told last, with the list that it is of.
    fn told(&self, account: &AccountName) -> Option<(Arc<List>, LastTold)> {
        let mut inner = lock(&self.0);
        let kept = inner.get(account)?;
        Some((Arc::clone(&kept.list), kept.told.clone()?))
    }

    /// Keeps what was told, if the list is still the same.
    fn keep_told(&self, account: &AccountName, list: &Arc<List>, told: LastTold) {
        let mut inner = lock(&self.0);
        if let Some(kept) = inner.get(account).filter(|kept| Arc::ptr_eq(&kept.list, list)) {
            kept.told = Some(told);
        }
    }

    fn keep(&self, account: &AccountName, list: &Arc<List>, stale: Arc<AtomicBool>, watch: Watch) {
        let mut inner = lock(&self.0);
        inner.clock += 1;
        let used = inner.clock;
        let mut gone = Vec::new();
        if inner.accounts.len() >= ACCOUNTS && !inner.accounts.contains_key(account) {
            let oldest = inner.accounts.iter().min_by_key(|(_, kept)| kept.used);
            let oldest = oldest.map(|(account, _)| account.clone());
            gone.extend(oldest.and_then(|oldest| inner.accounts.remove(&oldest)));
        }
        let kept = Kept {
            used,
            list: Arc::clone(list),
            stale,
            _watch: watch,
            told: None,
        };
        gone.extend(inner.accounts.insert(account.clone(), kept));
        drop(inner);
        // Their watches end without the lock: they take another one.
        drop(gone);
    }
}

impl Inner {
    fn get(&mut self, account: &AccountName) -> Option<&mut Kept> {
        self.clock += 1;
        let used = self.clock;
        let kept = self.accounts.get_mut(account)?;
        if kept.stale.load(Ordering::Acquire) {
            return None;
        }
        kept.used = used;
        Some(kept)
    }
}

impl<S: MailStore, D: Disk> ApiService<S, D> {
    /// The folders of an account. `fresh`: as they are on the disk, whatever was heard.
    pub(super) async fn list(&self, account: &AccountName, fresh: bool) -> Result<Arc<List>> {
        let cache = &self.service.folders;
        if let Some(list) = cache.list(account).filter(|_| !fresh) {
            return Ok(list);
        }
        // Who watches before he looks misses nothing.
        let stale = Arc::new(AtomicBool::new(false));
        let heard = Arc::clone(&stale);
        let wake = Arc::new(move || heard.store(true, Ordering::Release));
        let scope = Scope::List(account.clone());
        let watch = self.service.hub().watch(scope, LOOKS_LATER, wake);
        let list = Arc::new(List::new(self.service.store.list(account).await?));
        cache.keep(account, &list, stale, watch);
        Ok(list)
    }

    /// All folders, if nothing has changed since they were told last.
    pub(super) fn folders_now(&self, account: &AccountName) -> Option<Arc<[Folder]>> {
        let (list, LastTold { of, folders }) = self.service.folders.told(account)?;
        let same = |(entry, seen): (&Entry, &(UidValidity, ModSeq))| {
            let snapshot = self.service.store.snapshot_now(&reference(account, entry.id));
            snapshot.is_some_and(|snapshot| (snapshot.uid_validity, snapshot.modseq) == *seen)
        };
        let small = of.len() == list.0.len() && of.len() <= AT_ONCE;
        (small && list.0.iter().zip(&of).all(same)).then_some(folders)
    }

    /// All folders with their counts.
    pub(super) async fn folders(&self, account: &AccountName) -> Told<Arc<[Folder]>> {
        let list = self.list(account, false).await;
        let list = list.map_err(|error| failed("list the folders", account, error))?;
        let store = &*self.service.store;
        let (mut folders, mut of) = (Vec::with_capacity(list.0.len()), Vec::new());
        for entry in list.iter() {
            let status = match store.status(account, &entry.name).await {
                Ok(status) if status.id == entry.id.0 => status,
                // It has gone, or another has its name; the list will tell.
                Ok(_) => continue,
                Err(error) if error.refusal == Refusal::NoSuchMailbox => continue,
                Err(error) => return Err(failed("count the messages", account, error)),
            };
            of.push((status.uid_validity, status.modseq));
            folders.push(entry.folder(&status));
        }
        let folders: Arc<[Folder]> = folders.into();
        if folders.len() == list.0.len() && folders.len() <= AT_ONCE {
            for entry in list.iter() {
                self.open_for_next(account, entry).await;
            }
            let told = LastTold {
                of,
                folders: Arc::clone(&folders),
            };
            self.service.folders.keep_told(account, &list, told);
        }
        Ok(folders)
    }

    /// Opens a mailbox, so that the next time its state is at hand. That it fails is no reason to fail.
    async fn open_for_next(&self, account: &AccountName, entry: &Entry) {
        let store = &*self.service.store;
        if store.snapshot_now(&reference(account, entry.id)).is_some() {
            return;
        }
        if let Ok(selected) = store.select(account, &entry.name, true).await
            && !store.unselect_now(&selected.mailbox)
        {
            store.unselect(&selected.mailbox).await;
        }
    }

    /// One folder with its counts.
    pub(super) async fn folder(&self, account: &AccountName, folder: FolderId) -> Told<Folder> {
        for fresh in [false, true] {
            let list = self.list(account, fresh).await;
            let list = list.map_err(|error| failed("list the folders", account, error))?;
            let Some(entry) = list.by_id(folder) else {
                continue;
            };
            match self.service.store.status(account, &entry.name).await {
                Ok(status) if status.id == folder.0 => return Ok(entry.folder(&status)),
                Ok(_) => {}
                Err(error) if error.refusal == Refusal::NoSuchMailbox => {}
                Err(error) => return Err(failed("count the messages", account, error)),
            }
        }
        Err(no_such_folder())
    }

    /// A folder's name now, for a change that is made by the name: what is remembered may be a moment old where other
    /// processes rename, and another folder may have the name.
    pub(super) async fn name_of(&self, account: &AccountName, folder: FolderId) -> Told<MailboxName> {
        let list = self.list(account, true).await;
        let list = list.map_err(|error| failed("list the folders", account, error))?;
        let entry = list.by_id(folder).ok_or_else(no_such_folder)?;
        Ok(entry.name.clone())
    }

    pub(super) async fn create_folder(
        &self,
        now: Now,
        account: &AccountName,
        name: &MailboxName,
        (role, subscribed): (Option<SpecialUse>, bool),
    ) -> Told<Folder> {
        let store = &*self.service.store;
        if let Some(role) = role {
            let list = self.list(account, false).await;
            let list = list.map_err(|error| failed("list the folders", account, error))?;
            if list.by_use(role).is_some() {
                return Err(Failure::new(409, "There is a folder with this role"));
            }
        }
        let uses = role.as_slice();
        let made = store.create(account, name, uses, now.unix).await;
        made.map_err(|error| failed("make a folder", account, error))?;
        if subscribed {
            let done = store.subscribe(account, name, true).await;
            done.map_err(|error| failed("subscribe to a folder", account, error))?;
        }
        self.folder_called(account, name).await
    }

    pub(super) async fn change_folder(
        &self,
        now: Now,
        account: &AccountName,
        folder: FolderId,
        (name, subscribed): (Option<MailboxName>, Option<bool>),
    ) -> Told<Folder> {
        let store = &*self.service.store;
        let mut called = self.name_of(account, folder).await?;
        if let Some(name) = name.filter(|name| *name != called) {
            // What IMAP does then is to move the messages: nobody expects that here.
            if called.is_inbox() {
                return Err(Failure::new(409, "INBOX cannot be renamed"));
            }
            let renamed = store.rename(account, &called, &name, now.unix).await;
            renamed.map_err(|error| failed("rename a folder", account, error))?;
            // Subscriptions are to names.
            if self.is_subscribed(account, &called).await {
                for (name, on) in [(&name, true), (&called, false)] {
                    let done = store.subscribe(account, name, on).await;
                    done.map_err(|error| failed("subscribe to a folder", account, error))?;
                }
            }
            called = name;
        }
        if let Some(on) = subscribed {
            let done = store.subscribe(account, &called, on).await;
            done.map_err(|error| failed("subscribe to a folder", account, error))?;
        }
        self.folder_called(account, &called).await
    }

    async fn is_subscribed(&self, account: &AccountName, name: &MailboxName) -> bool {
        let entries = self.service.store.list(account).await.unwrap_or_default();
        entries
            .iter()
            .any(|entry| entry.name == *name && entry.subscribed)
    }

    async fn folder_called(&self, account: &AccountName, name: &MailboxName) -> Told<Folder> {
        let list = self.list(account, true).await;
        let list = list.map_err(|error| failed("list the folders", account, error))?;
        let entry = list.iter().find(|entry| entry.name == *name);
        let entry = entry.ok_or_else(no_such_folder)?;
        let status = self.service.store.status(account, name).await;
        let status = status.map_err(|error| failed("count the messages", account, error))?;
        Ok(entry.folder(&status))
    }

    pub(super) async fn delete_folder(&self, account: &AccountName, folder: FolderId) -> Told<()> {
        let name = self.name_of(account, folder).await?;
        let store = &*self.service.store;
        let deleted = store.delete(account, &name).await;
        deleted.map_err(|error| failed("delete a folder", account, error))?;
        // A name that nothing is called by any more is nothing to show.
        let done = store.subscribe(account, &name, false).await;
        done.map_err(|error| failed("unsubscribe from a folder", account, error))
    }
}
