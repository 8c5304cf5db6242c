//! The service as one IMAP session sees it.

use std::sync::{Arc, Mutex};

use rmail_core::addr::AccountName;
use rmail_core::chunk::Chunk;
use rmail_core::directory::Access;
use rmail_core::imap::server::{Appended, Call, NewMessage, Reply};
use rmail_core::machine::{BlobId, Scope, SpoolId, WatchId};
use rmail_core::mailbox::{MailboxName, MailboxRef, ModSeq, Rights, Snapshot, Uid, Usage};
use rmail_core::note::Note;
use rmail_core::peer::Peer;
use rmail_core::refusal::Refusal;
use rmail_core::time::Now;

use super::bodies::{LastScanned, bodies};
use super::catenate::{Wanted, spool_from};
use super::limits::Tries;
use super::present::Session;
use super::rights::refuse;
use super::search::search;
use super::session::Desk;
use super::sort::Ranker;
use super::{Answer, Pool, Serve, Service, Settings, lock, refused};
use crate::disk::Disk;
use crate::error::Result;
use crate::hub::Wake;
use crate::mailstore::MailStore;
use crate::metrics::{Cache, Operation};

/// Answers the calls of one IMAP session.
pub struct ImapService<S: MailStore, D: Disk> {
    pub(super) service: Arc<Service<S, D>>,
    pub(super) settings: Arc<Settings>,
    /// Where the session comes from.
    pub(super) peer: Peer,
    tries: Tries,
    desk: Desk<S>,
    last: LastScanned,
    /// Who is logged in.
    pub(super) who: Mutex<Option<AccountName>>,
    /// The mailboxes that it has selected, one for each time.
    open: Mutex<Vec<MailboxRef>>,
    ranker: Ranker,
    _present: Session,
}

impl<S: MailStore, D: Disk> ImapService<S, D> {
    pub(super) fn new(service: Arc<Service<S, D>>, peer: Peer) -> Self {
        Self {
            _present: service.present.imap.enter(),
            peer,
            tries: Tries::new(peer, "imap"),
            settings: service.settings(),
            desk: Desk::new(Arc::clone(&service.store)),
            last: LastScanned::default(),
            who: Mutex::default(),
            open: Mutex::default(),
            ranker: Ranker::default(),
            service,
        }
    }

    /// APPEND is about to begin.
    async fn open_spool(
        &self,
        spool: SpoolId,
        account: &AccountName,
        mailbox: &MailboxName,
        (size, instead): (u64, Option<u64>),
    ) -> core::result::Result<(), Refusal> {
        if size > self.settings.max_message_size {
            return Err(Refusal::TooLarge);
        }
        let service = &*self.service;
        let status = service.store.status(account, mailbox).await;
        status.map_err(|error| refused(&format!("append to {account}/{mailbox}"), error))?;
        let more = self.desk.announced() + Usage::message(size);
        let less = instead.map(Usage::message).unwrap_or_default();
        service.check_room(account, more.without(less)).await?;
        service.check_free(&self.settings, None, size).await?;
        self.desk.open_spool(spool, size).await
    }

    /// APPEND's last octet is in.
    async fn commit(
        &self,
        now: Now,
        account: &AccountName,
        mailbox: &MailboxName,
        messages: Vec<NewMessage>,
    ) -> core::result::Result<Appended, Refusal> {
        let store = &*self.service.store;
        let rights = self.rights(account, mailbox).await?;
        // All are taken before one can fail: nothing stays behind.
        let taken: Vec<_> = messages
            .into_iter()
            .map(|message| (self.desk.take_spool(message.spool), message.flags, message.date))
            .collect();
        let mut bodies = Vec::with_capacity(taken.len());
        for (body, flags, date) in taken {
            bodies.push((body?, rights.permitted(flags), date));
        }
        let quota = self.service.quota_of(account).await?;
        let appended = store.append(account, mailbox, bodies, &quota, now.unix).await;
        match appended {
            Ok(appended) => Ok(disclosed(appended, rights)),
            Err(error) => Err(refused(&format!("append to {account}/{mailbox}"), error)),
        }
    }

    /// REPLACE: the new message is whole.
    async fn replace(
        &self,
        now: Now,
        mailbox: &MailboxRef,
        uid: Uid,
        (account, to): (&AccountName, &MailboxName),
        message: NewMessage,
    ) -> core::result::Result<Option<(Appended, Snapshot)>, Refusal> {
        let body = self.desk.take_spool(message.spool)?;
        let quota = self.service.quota_of(account).await?;
        let rights = self.rights(account, to).await?;
        let message = (body, rights.permitted(message.flags), message.date);
        let store = &*self.service.store;
        let replaced = store
            .replace(mailbox, uid, (account, to), message, &quota, now.unix)
            .await;
        match replaced {
            Ok(done) => Ok(done.map(|(appended, snapshot)| (disclosed(appended, rights), snapshot))),
            Err(error) => Err(refused(&format!("replace in {account}/{to}"), error)),
        }
    }

    /// A mailbox is no longer selected.
    fn has_left(&self, mailbox: &MailboxRef) {
        self.last.clear();
        self.ranker.clear();
        let mut open = lock(&self.open);
        let at = open.iter().position(|other| other == mailbox);
        at.map(|at| open.swap_remove(at));
    }

    /// Answers a call that is permitted.
    async fn perform(&self, now: Now, call: Call) -> Reply {
        let store = &*self.service.store;
        match call {
            Call::Authenticate { login, password } => {
                let _place = self.desk.take_place();
                let (service, settings) = (&*self.service, &*self.settings);
                let checked = service.authenticate(settings, now, Access::Imap, &login, &password);
                let tried = (login.as_str(), &password);
                let within = service.login_within(settings, now, &self.tries, tried, checked);
                Reply::Authenticated(within.await)
            }
            Call::ScramStart { login } => {
                let (service, settings) = (&*self.service, &*self.settings);
                let started = service.scram_start(settings, now, Access::Imap, &login);
                let within = service.scram_within(settings, now, &self.tries, &login, started);
                Reply::Scram(within.await)
            }
            Call::ScramDone { account, epoch } => {
                let checked = self.service.scram_done(now, Access::Imap, account, epoch);
                let service = &*self.service;
                let within = service.scram_done_within(&self.settings, now, &self.tries, checked);
                Reply::Authenticated(within.await)
            }
            Call::Recheck { account, epoch } => {
                let recheck = self.service.recheck(now, Access::Imap, &account, epoch);
                Reply::Recheck(recheck.await)
            }
            Call::List { account } => {
                let list = store.list(&account).await;
                Reply::List(outcome("list", &account, &"*", list))
            }
            Call::Shared { account } => {
                let shared = store.shared(&account).await;
                Reply::Shared(outcome("list for", &account, &"*", shared))
            }
            Call::Acl { account, mailbox } => {
                // RFC 4314 has no list for what is no mailbox.
                let status = store.status(&account, &mailbox).await;
                Reply::Acl(match outcome("access to", &account, &mailbox, status) {
                    Ok(_) => {
                        let acl = store.acl(&account, &mailbox).await;
                        outcome("access to", &account, &mailbox, acl)
                    }
                    Err(refused) => Err(refused),
                })
            }
            Call::SetAcl {
                account,
                mailbox,
                identifier,
                change,
            } => Reply::Done(self.set_acl(&account, &mailbox, &identifier, change).await),
            Call::Rights { account, mailbox } => {
                let status = store.status(&account, &mailbox).await;
                Reply::Rights(match outcome("access to", &account, &mailbox, status) {
                    Ok(_) => self.rights(&account, &mailbox).await,
                    Err(refused) => Err(refused),
                })
            }
            Call::Annotations { about } => Reply::Annotations(self.annotations(&about).await),
            Call::Annotate { about, changes } => {
                let done = store.annotate(&about, &changes).await;
                Reply::Done(done.map_err(|error| refused(&format!("annotate {about:?}"), error)))
            }
            Call::Quota { account, .. } => Reply::Quota(self.quota(&account).await),
            Call::SetQuota { account, quota } => Reply::Quota(self.set_quota(&account, quota).await),
            Call::Status { account, mailbox } => {
                let status = store.status(&account, &mailbox).await;
                Reply::Status(outcome("status of", &account, &mailbox, status))
            }
            Call::Select {
                account,
                mailbox,
                read_only,
            } => {
                // Who may change nothing claims nothing as \Recent.
                let may_change = match self.rights(&account, &mailbox).await {
                    Ok(rights) => rights.has_any(Rights::CHANGES),
                    Err(refused) => return Reply::Selected(Err(refused)),
                };
                let selected = store.select(&account, &mailbox, read_only || !may_change).await;
                let selected = outcome("select", &account, &mailbox, selected);
                Reply::Selected(match selected {
                    Ok(selected) => {
                        lock(&self.open).push(selected.mailbox.clone());
                        self.with_rights(selected).await
                    }
                    Err(refused) => Err(refused),
                })
            }
            Call::Changes { mailbox } => {
                let snapshot = store.snapshot(&mailbox).await;
                Reply::Changes(outcome("changes of", &mailbox.account, &mailbox.id.0, snapshot))
            }
            Call::ClaimRecent { mailbox } => {
                let claimed = store.claim_recent(&mailbox).await;
                Reply::Claimed(outcome("recent of", &mailbox.account, &mailbox.id.0, claimed))
            }
            Call::Create {
                account,
                mailbox,
                special_use,
            } => {
                let done = store.create(&account, &mailbox, &special_use, now.unix).await;
                Reply::Done(outcome("create", &account, &mailbox, done))
            }
            Call::Delete { account, mailbox } => {
                let done = store.delete(&account, &mailbox).await;
                Reply::Done(outcome("delete", &account, &mailbox, done))
            }
            Call::Rename { account, from, to } => {
                let done = store.rename(&account, &from, &to, now.unix).await;
                Reply::Done(outcome("rename", &account, &from, done))
            }
            Call::Subscribe { account, mailbox, on } => {
                let done = store.subscribe(&account, &mailbox, on).await;
                Reply::Done(outcome("subscribe", &account, &mailbox, done))
            }
            Call::Open {
                spool,
                account,
                mailbox,
                size,
                instead,
            } => Reply::Opened(self.open_spool(spool, &account, &mailbox, (size, instead)).await),
            Call::SpoolFrom {
                spool,
                account,
                mailbox,
                uid_validity,
                uid,
                section,
                partial,
                room,
            } => {
                let wanted = Wanted {
                    spool,
                    account,
                    mailbox,
                    uid_validity,
                    uid,
                    section,
                    partial,
                    room,
                };
                Reply::SpooledFrom(spool_from(store, &self.desk, wanted).await)
            }
            Call::Replace {
                mailbox,
                uid,
                account,
                to,
                message,
            } => Reply::Replaced(self.replace(now, &mailbox, uid, (&account, &to), message).await),
            Call::Commit {
                account,
                mailbox,
                messages,
            } => Reply::Committed(self.commit(now, &account, &mailbox, messages).await),
            Call::Discard { spools } => {
                spools.iter().for_each(|spool| self.desk.discard(*spool));
                Reply::Discarded
            }
            Call::Store {
                mailbox,
                uids,
                change,
                unchanged_since,
            } => Reply::Stored(self.store_flags(&mailbox, &uids, &change, unchanged_since).await),
            Call::Copy {
                mailbox,
                uids,
                account,
                to,
            } => Reply::Copied(self.copy(now, &mailbox, &uids, (&account, &to)).await),
            Call::Move {
                mailbox,
                uids,
                account,
                to,
            } => Reply::Copied(self.move_messages(now, &mailbox, &uids, (&account, &to)).await),
            Call::Expunge { mailbox, uids } => {
                let expunged = store.expunge(&mailbox, uids.as_ref()).await;
                Reply::Expunged(outcome("expunge in", &mailbox.account, &mailbox.id.0, expunged))
            }
            Call::Bodies { mailbox, parts } => {
                Reply::Bodies(bodies(store, &self.settings, &self.desk, &self.last, &mailbox, parts).await)
            }
            Call::CloseBlob { blob } => {
                self.desk.close_blob(blob);
                Reply::Discarded
            }
            Call::Search {
                mailbox,
                uids,
                program,
            } => Reply::Found(search(store, &self.service.gists, &mailbox, &uids, &program).await),
            Call::Vanished {
                mailbox,
                since,
                snapshot,
            } => {
                let gone = store.vanished(&mailbox, since, &snapshot).await;
                Reply::Vanished(outcome(
                    "what vanished from",
                    &mailbox.account,
                    &mailbox.id.0,
                    gone,
                ))
            }
            Call::Sort {
                mailbox,
                uids,
                criteria,
                go_on,
            } => {
                let gists = &self.service.gists;
                let of = (&mailbox, uids, go_on);
                Reply::Sorted(self.ranker.sort(store, gists, of, &criteria).await)
            }
            Call::Thread {
                mailbox,
                uids,
                algorithm,
                go_on,
            } => {
                let gists = &self.service.gists;
                let of = (&mailbox, uids, go_on);
                Reply::Threaded(self.ranker.thread(store, gists, of, algorithm).await)
            }
            Call::Unselect { mailbox } => {
                self.has_left(&mailbox);
                store.unselect(&mailbox).await;
                Reply::Discarded
            }
        }
    }
}

impl<S: MailStore, D: Disk> Serve for ImapService<S, D> {
    type Call = Call;
    type Reply = Reply;

    fn answer(&self, now: Now, call: Call) -> Answer<Call, Reply> {
        let pool = match &call {
            Call::Authenticate { login, .. }
                if self.service.holds_back(&self.settings, now, &self.tries, login) =>
            {
                Pool::Read
            }
            Call::Authenticate { login, password } => {
                let pool = self
                    .service
                    .login_pool(&self.settings, now, &self.desk, login, password);
                match pool {
                    Ok(pool) => pool,
                    Err(refusal) => return Answer::Now(Reply::Authenticated(Err(refusal))),
                }
            }
            Call::Changes { mailbox } if !self.is_own(&mailbox.account) => Pool::Read,
            Call::Changes { mailbox } => {
                let snapshot = self.service.store.snapshot_now(mailbox);
                self.service.metrics.cache(Cache::Mailbox, snapshot.is_some());
                match snapshot {
                    Some(snapshot) => return Answer::Now(Reply::Changes(Ok(snapshot))),
                    None => Pool::Read,
                }
            }
            Call::Select {
                account,
                mailbox,
                read_only,
            } if self.is_own(account) => {
                let selected = self.service.store.select_now(account, mailbox, *read_only);
                self.service.metrics.cache(Cache::Mailbox, selected.is_some());
                match selected {
                    Some(selected) => {
                        lock(&self.open).push(selected.mailbox.clone());
                        return Answer::Now(Reply::Selected(Ok(selected)));
                    }
                    None => Pool::Read,
                }
            }
            Call::Unselect { mailbox } if self.service.store.unselect_now(mailbox) => {
                self.has_left(mailbox);
                return Answer::Now(Reply::Discarded);
            }
            Call::Store {
                mailbox,
                uids,
                change,
                unchanged_since,
            } if self.is_own(&mailbox.account) => {
                let store = &self.service.store;
                match store.store_now(mailbox, uids, change, *unchanged_since) {
                    Some(stored) => {
                        let stored = outcome("flags in", &mailbox.account, &mailbox.id.0, stored);
                        return Answer::Now(Reply::Stored(stored));
                    }
                    None => Pool::Sync,
                }
            }
            Call::Discard { spools } => {
                spools.iter().for_each(|spool| self.desk.discard(*spool));
                return Answer::Now(Reply::Discarded);
            }
            Call::CloseBlob { blob } => {
                self.desk.close_blob(*blob);
                return Answer::Now(Reply::Discarded);
            }
            Call::List { .. }
            | Call::Shared { .. }
            | Call::Acl { .. }
            | Call::Rights { .. }
            | Call::Annotations { .. }
            | Call::Quota { .. }
            | Call::Status { .. }
            | Call::Select { .. }
            | Call::Open { .. }
            | Call::SpoolFrom { .. }
            | Call::Bodies { .. }
            | Call::Recheck { .. }
            | Call::Vanished { .. }
            | Call::ScramStart { .. }
            | Call::ScramDone { .. }
            | Call::Unselect { .. } => Pool::Read,
            Call::ClaimRecent { .. }
            | Call::Create { .. }
            | Call::Delete { .. }
            | Call::Rename { .. }
            | Call::Subscribe { .. }
            | Call::SetAcl { .. }
            | Call::Annotate { .. }
            | Call::SetQuota { .. }
            | Call::Commit { .. }
            | Call::Replace { .. }
            | Call::Store { .. }
            | Call::Copy { .. }
            | Call::Move { .. }
            | Call::Expunge { .. } => Pool::Sync,
            Call::Search { .. } | Call::Sort { .. } | Call::Thread { .. } => Pool::Cpu,
        };
        Answer::Later(pool, call)
    }

    async fn run(&self, now: Now, call: Call) -> Reply {
        self.service.accounts.tick(now);
        self.service.leave_abandoned().await;
        if let Err(refusal) = self.permit(&call).await {
            return refuse(&call, refusal);
        }
        let reply = self.perform(now, call).await;
        self.note_login(&reply);
        reply
    }

    fn spool_now(&self, spool: SpoolId, chunk: Chunk) -> core::result::Result<(), Chunk> {
        self.desk.spool_now(spool, chunk)
    }

    async fn spool(&self, spool: SpoolId, chunk: Chunk) {
        self.desk.spool(spool, chunk).await;
    }

    async fn read_blob(&self, blob: BlobId, offset: u64, max: usize) -> Result<Chunk> {
        self.desk.read_blob(blob, offset, max).await
    }

    fn read_blob_now(&self, blob: BlobId, offset: u64, max: usize) -> Option<Chunk> {
        self.desk.read_blob_now(blob, offset, max)
    }

    fn close_blob(&self, blob: BlobId) {
        self.desk.close_blob(blob);
    }

    fn watch(&self, watch: WatchId, scope: Scope, seen: ModSeq, wake: Wake) {
        self.desk.watch(&self.service, watch, scope, seen, wake);
    }

    fn unwatch(&self, watch: WatchId) {
        self.desk.unwatch(watch);
    }

    fn operation(&self, call: &Call) -> Operation {
        match call {
            Call::Authenticate { .. } | Call::ScramStart { .. } | Call::ScramDone { .. } => Operation::Login,
            Call::List { .. } | Call::Shared { .. } => Operation::List,
            Call::Status { .. } => Operation::Status,
            Call::Select { .. } => Operation::Select,
            Call::Changes { .. } => Operation::Changes,
            Call::Bodies { .. } => Operation::Read,
            Call::Commit { .. } | Call::Replace { .. } => Operation::Append,
            Call::Store { .. } => Operation::Flags,
            Call::Copy { .. } => Operation::Copy,
            Call::Move { .. } => Operation::Move,
            Call::Expunge { .. } => Operation::Expunge,
            Call::Search { .. } => Operation::Search,
            Call::Sort { .. } | Call::Thread { .. } => Operation::Sort,
            Call::Create { .. } | Call::Delete { .. } | Call::Rename { .. } | Call::Subscribe { .. } => {
                Operation::Mailboxes
            }
            _ => Operation::Other,
        }
    }

    fn note(&self, now: Now, note: &Note) {
        self.service.noted(&self.settings, now, &self.tries, note);
    }
}

impl<S: MailStore, D: Disk> Drop for ImapService<S, D> {
    /// A session that is cut off says nothing of what it had selected.
    fn drop(&mut self) {
        self.service.abandon(core::mem::take(&mut *lock(&self.open)));
    }
}

impl<S: MailStore, D: Disk> core::fmt::Debug for ImapService<S, D> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ImapService")
            .field("peer", &self.peer)
            .field("desk", &self.desk)
            .finish_non_exhaustive()
    }
}

/// UIDs are told to who may open the mailbox (RFC 4315 §3).
fn disclosed(appended: Appended, rights: Rights) -> Appended {
    match rights.contains(Rights::READ) {
        true => appended,
        false => Appended {
            uids: Vec::new(),
            ..appended
        },
    }
}

/// Logs what went wrong with a call and gives the policy word.
fn outcome<T>(
    what: &str,
    account: &AccountName,
    mailbox: &dyn core::fmt::Display,
    result: Result<T>,
) -> core::result::Result<T, Refusal> {
    result.map_err(|error| refused(&format!("{what} {account}/{mailbox}"), error))
}
