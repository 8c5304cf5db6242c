//! From a question to the service to what goes on with its answer: the one table of [`Then`] and [`Reply`].

use std::borrow::Cow;
use std::sync::Arc;

use super::acl::AclQuestion;
use super::copy::Copying;
use super::fetch::Fetch;
use super::filters::Filtering;
use super::incoming::{Incoming, Wanted};
use super::list::{Listing, Question};
use super::login::Attempt;
use super::metadata::MetadataQuestion;
use super::news::{After, OwnStore};
use super::notify_news::Round;
use super::quota::QuotaQuestion;
use super::resync::Resync;
use super::search::Search;
use super::select::{Opening, Target};
use super::status::Asked;
use super::store::Storing;
use super::{Call, MailboxEntry, Phase, Reply, Session, mailbox, notify_metadata};
use crate::addr::AccountName;
use crate::machine::{Action, CallId};
use crate::mailbox::{MailboxName, UidSet};
use crate::sasl::Exchange;

/// A question to the service.
#[derive(Debug)]
pub(super) struct Awaiting {
    pub(super) call: CallId,
    pub(super) then: Then,
}

/// How a reply goes on.
#[derive(Debug)]
pub(super) enum Then {
    Recheck,
    Login(Attempt),
    /// AUTHENTICATE with this tag.
    Scram(String, Box<Exchange>),
    /// The mailbox is closed: UNAUTHENTICATE with this tag goes on.
    Unauthenticate(String),
    Changes(After),
    /// New messages are `\Recent` here, or not; now the news is told.
    Claimed(Box<(After, Option<OwnStore>)>),
    /// The previous mailbox is closed; now this one is opened.
    Select(Target),
    Selected(Target),
    /// CLOSE has expunged; now the mailbox is closed.
    CloseExpunged(String),
    /// The mailbox is closed: CLOSE, UNSELECT, or DELETE of the selected one. Tag and text.
    Unselected(String, Cow<'static, str>),
    Changed(mailbox::Change),
    /// CREATE is done; the identity of the new mailbox is asked for.
    Created(String, AccountName),
    List(Box<Question>),
    /// The mailboxes of others.
    Shared(Box<Question>, Vec<MailboxEntry>),
    /// What LIST returns beside its lines.
    Listing(Box<Listing>),
    Acl(Box<AclQuestion>),
    Quota(Box<QuotaQuestion>),
    Metadata(Box<MetadataQuestion>),
    /// SETMETADATA with this tag.
    MetadataSet(String),
    /// What the filters of a search program say.
    Filters(Box<Filtering>),
    Status(Box<Asked>),
    Opened(Box<Incoming>, Wanted),
    /// The URL.
    SpooledFrom(Box<Incoming>, Vec<u8>),
    /// Spools that are not needed are given back.
    Spared(Box<Incoming>),
    Committed(Box<Incoming>),
    Replaced(Box<Incoming>),
    /// The spools are given back: tag and text of the refusal.
    Discarded(String, String),
    Stored(Box<Storing>),
    Copied(Box<Copying>),
    Expunged {
        tag: String,
        text: &'static str,
    },
    Bodies(Box<Fetch>),
    Seen(Box<Fetch>),
    BlobClosed(Box<Fetch>),
    Found(Box<Search>),
    /// The attributes of a mailbox that was selected (RFC 9051 §6.3.2).
    SelectListed(Box<Opening>),
    Vanished(Box<Resync>),
    /// A conditional STORE was tried again on what others had changed otherwise.
    StoredAgain(Box<Storing>),
    /// SORT and THREAD of these messages.
    Sorted(Box<Search>, Arc<UidSet>),
    Threaded(Box<Search>, Arc<UidSet>),
    /// ESEARCH: the account's mailboxes are listed, one is opened to be searched, or closed after it.
    MultiListed(Box<Search>),
    MultiShared(Box<Search>, Vec<MailboxEntry>),
    MultiOpened(Box<Search>),
    MultiClosed(Box<Search>),
    /// What became of the list of mailboxes.
    NotifyList(Box<Round>),
    /// The mailboxes of others that the client hears of, and those of its own.
    NotifyShared(Box<Round>, Vec<MailboxEntry>),
    /// What became of a mailbox that is not selected.
    NotifyStatus(Box<Round>, MailboxName),
    /// What became of annotations.
    NotifyMetadata(Box<Round>, notify_metadata::About),
    /// The session ends for this reason.
    End(&'static str),
}

impl Session {
    /// Asks the service; nothing else happens until the reply.
    pub(super) fn call(&mut self, call: Call, then: Then) {
        self.last_call += 1;
        let id = CallId(self.last_call);
        self.out.push(Action::Call(id, call));
        if !matches!(then, Then::Recheck) {
            self.phase = Phase::Waiting;
        }
        self.awaiting = Some(Box::new(Awaiting { call: id, then }));
    }

    pub(super) fn take_reply(&mut self) -> bool {
        let Some(reply) = self.reply.take() else {
            return false;
        };
        if let Some(awaiting) = self.awaiting.take() {
            self.resume(awaiting.then, *reply);
        }
        true
    }

    /// A command goes on with the answer to its question.
    fn resume(&mut self, then: Then, reply: Reply) {
        match (then, reply) {
            (Then::Recheck, Reply::Recheck(holds)) => self.rechecked(holds),
            (Then::Login(attempt), Reply::Authenticated(result)) => self.authenticated(attempt, result),
            (Then::Scram(tag, exchange), Reply::Scram(result)) => self.scram_found(tag, exchange, result),
            (Then::Unauthenticate(tag), Reply::Discarded) => self.unauthenticate(tag),
            (Then::Changes(after), Reply::Changes(result)) => self.changes(after, result),
            (Then::Claimed(news), Reply::Claimed(result)) => self.claimed(*news, result),
            (Then::Select(target), Reply::Discarded) => self.open(target),
            (Then::Selected(target), Reply::Selected(result)) => self.opened(target, result),
            (Then::CloseExpunged(tag), Reply::Expunged(_)) => self.unselect(tag, "OK CLOSE completed"),
            (Then::Unselected(tag, text), Reply::Discarded) => self.complete(tag, text),
            (Then::Changed(change), Reply::Done(result)) => self.changed(change, result),
            (Then::Created(tag, account), Reply::Status(result)) => self.created(tag, &account, result),
            (Then::List(question), Reply::List(result)) => self.listed(*question, result),
            (Then::Shared(question, own), Reply::Shared(result)) => {
                self.shared_listed(*question, own, result)
            }
            (Then::Listing(listing), reply) => self.listing_told(listing, reply),
            (Then::Acl(question), reply) => self.acl_answered(*question, reply),
            (Then::Quota(question), Reply::Quota(result)) => self.quota_answered(*question, result),
            (Then::MetadataSet(tag), Reply::Done(result)) => self.metadata_set(tag, result),
            (Then::Metadata(question), Reply::Annotations(result)) => self.annotated(*question, result),
            (Then::Filters(filtering), Reply::Annotations(result)) => self.filters_found(*filtering, result),
            (Then::Status(asked), Reply::Status(result)) => self.counted(*asked, result),
            (Then::Opened(incoming, wanted), Reply::Opened(result)) => {
                self.spool_opened(incoming, wanted, result);
            }
            (Then::SpooledFrom(incoming, url), Reply::SpooledFrom(result)) => {
                self.spooled_from(incoming, &url, result);
            }
            (Then::Spared(incoming), Reply::Discarded) => self.commit_all(incoming),
            (Then::Replaced(incoming), Reply::Replaced(result)) => self.replaced_by(*incoming, result),
            (Then::Committed(incoming), Reply::Committed(result)) => self.committed(*incoming, result),
            (Then::Discarded(tag, text), Reply::Discarded) => self.complete(tag, text),
            (Then::Stored(storing), Reply::Stored(result)) => self.stored(*storing, result),
            (Then::Copied(copying), Reply::Copied(result)) => self.copied(*copying, result),
            (Then::Expunged { tag, text }, Reply::Expunged(result)) => self.expunged(tag, text, result),
            (Then::Bodies(fetch), Reply::Bodies(result)) => self.bodies(fetch, result),
            (Then::Seen(fetch), Reply::Stored(result)) => self.seen(fetch, result),
            (Then::BlobClosed(fetch), Reply::Discarded) => self.finish_fetch(fetch),
            (Then::Found(search), Reply::Found(result)) => self.found(search, result),
            (Then::SelectListed(opening), Reply::List(result)) => self.select_listed(*opening, result),
            (Then::Vanished(resync), Reply::Vanished(result)) => self.vanished(resync, result),
            (Then::StoredAgain(storing), Reply::Stored(result)) => self.stored_again(*storing, result),
            (Then::End(reason), Reply::Discarded) => self.phase = Phase::Ending(Vec::new(), reason),
            (Then::Sorted(search, uids), Reply::Sorted(result)) => self.sorted(search, uids, result),
            (Then::Threaded(search, uids), Reply::Threaded(result)) => self.threaded(search, uids, result),
            (Then::MultiListed(search), Reply::List(result)) => self.multi_listed(search, result),
            (Then::MultiShared(search, own), Reply::Shared(result)) => self.multi_shared(search, own, result),
            (Then::MultiOpened(search), Reply::Selected(result)) => self.multi_opened(search, result),
            (Then::MultiClosed(search), Reply::Discarded) => self.next_elsewhere(search),
            (Then::NotifyMetadata(round, about), Reply::Annotations(result)) => {
                self.notify_annotated(round, about, result);
            }
            (Then::NotifyList(round), Reply::List(result)) => self.notify_listed(round, result),
            (Then::NotifyShared(round, own), Reply::Shared(result)) => self.notify_shared(round, own, result),
            (Then::NotifyStatus(round, name), Reply::Status(result)) => {
                self.notify_counted(round, &name, result)
            }
            (then, _) => self.internal(&format!("wrong kind of reply for {then:?}")),
        }
    }
}
