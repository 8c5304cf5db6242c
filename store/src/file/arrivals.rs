//! Messages that arrive at the same time are put on disk together, and added together.
//!
//! Each message costs a sync of its file, and each change of a mailbox a lock, two writes to `state`, two to the usage
//! record and a sync of the directory; any of these may wait for the file system's journal, which commits for one at a
//! time. So messages wait in two lines: the store's, for the sync of their files, and the mailbox's, to be added. While
//! one round of a line is under way the messages behind it gather; the first of them then leads the next round, for all
//! who are there. Nobody waits in order to have company, and a thread sleeps no more than once for a message that others
//! see to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};

use core::future::poll_fn;

use rmail_core::addr::AccountName;
use rmail_core::mailbox::{Flags, Quota, Uid, UidValidity};
use rmail_core::mime::parsed::Parsed;
use rmail_core::refusal::Refusal;
use rmail_core::time::{DateTime, Unix};

use crate::disk::Disk;
use crate::error::{Error, Result};

use super::FileStore;
use super::add::{Added, Failed, New, records, take_parsed};
use super::io::{During as _, within};
use super::mailbox::{Mailbox, guard};
use super::spool::Spool;

/// Messages of one round at most.
const TOGETHER: usize = 64;

/// Octets of a message whose file is synced together with others: the others wait for it.
const SMALL: u64 = 32 * 1024;

/// A message that is to be added.
struct Message<D: Disk> {
    new: New<D>,
    parsed: Option<Parsed>,
    quota: Quota,
}

/// What becomes of a message.
enum Fate<D: Disk> {
    /// Somebody sees to it.
    Waits,
    /// Its own operation leads the next round of this line.
    Leads(Stage),
    /// It could not be added together with others: its own operation tries alone.
    Alone(Box<Message<D>>),
    /// It is in the mailbox, synced, or it is not.
    Done(Result<()>),
    /// The operation was given up: there is nobody to tell.
    GivenUp,
}

/// The two lines.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Of the store: files are synced.
    Sync,
    /// Of a mailbox: synced messages are added.
    Add,
}

/// Where an operation hears of its message.
struct Place<D: Disk>(Mutex<(Fate<D>, Option<Waker>)>);

impl<D: Disk> Place<D> {
    /// Whether somebody hears it.
    fn set(&self, fate: Fate<D>) -> bool {
        let waker = {
            let mut place = guard(&self.0);
            if matches!(place.0, Fate::GivenUp) {
                return false;
            }
            place.0 = fate;
            place.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    fn give_up(&self) -> Fate<D> {
        core::mem::replace(&mut guard(&self.0).0, Fate::GivenUp)
    }

    async fn heard(&self) -> Fate<D> {
        poll_fn(|task| {
            let mut place = guard(&self.0);
            match core::mem::replace(&mut place.0, Fate::Waits) {
                Fate::Waits => {
                    place.1 = Some(task.waker().clone());
                    Poll::Pending
                }
                fate => Poll::Ready(fate),
            }
        })
        .await
    }
}

/// A message in line.
pub(super) struct Arrival<D: Disk> {
    message: Message<D>,
    inbox: Arc<Mailbox<D>>,
    place: Arc<Place<D>>,
}

/// Messages of this process that wait for a round.
pub(super) struct Line<D: Disk> {
    stage: Stage,
    state: Mutex<Waiting<D>>,
}

struct Waiting<D: Disk> {
    /// Somebody leads a round, or has been told to.
    led: bool,
    arrivals: Vec<Arrival<D>>,
}

impl<D: Disk> Line<D> {
    /// The line of a store.
    pub(super) fn to_sync() -> Self {
        Self::new(Stage::Sync)
    }

    /// The line of a mailbox.
    pub(super) fn to_add() -> Self {
        Self::new(Stage::Add)
    }

    fn new(stage: Stage) -> Self {
        Self {
            stage,
            state: Mutex::new(Waiting {
                led: false,
                arrivals: Vec::new(),
            }),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<D>> {
        guard(&self.state)
    }

    /// Puts a message in line; its operation leads at once if nobody else does.
    fn join(&self, arrival: Arrival<D>) {
        let mut waiting = self.waiting();
        waiting.arrivals.push(arrival);
        if !waiting.led {
            self.next(&mut waiting);
        }
    }

    /// The round is over: the next in line leads from now on.
    fn pass_on(&self) {
        self.next(&mut self.waiting());
    }

    fn next(&self, waiting: &mut Waiting<D>) {
        waiting.led = false;
        while let Some(first) = waiting.arrivals.first() {
            if first.place.set(Fate::Leads(self.stage)) {
                waiting.led = true;
                return;
            }
            waiting.arrivals.remove(0);
        }
    }

    /// Those who are served together now, the first in line among them.
    fn take(&self) -> Vec<Arrival<D>> {
        let mut waiting = self.waiting();
        let count = waiting.arrivals.len().min(TOGETHER);
        waiting.arrivals.drain(..count).collect()
    }

    /// Takes the message of a place out of the line. False: it is not there.
    fn withdraw(&self, place: &Arc<Place<D>>) -> bool {
        let mut waiting = self.waiting();
        let before = waiting.arrivals.len();
        waiting
            .arrivals
            .retain(|arrival| !Arc::ptr_eq(&arrival.place, place));
        waiting.arrivals.len() < before
    }
}

/// An operation that waits for its message. If it is given up it does not keep a lead.
struct Seat<'a, D: Disk> {
    sync: &'a Line<D>,
    add: &'a Line<D>,
    place: Arc<Place<D>>,
}

impl<D: Disk> Drop for Seat<'_, D> {
    fn drop(&mut self) {
        let fate = self.place.give_up();
        self.sync.withdraw(&self.place);
        self.add.withdraw(&self.place);
        match fate {
            Fate::Leads(Stage::Sync) => self.sync.pass_on(),
            Fate::Leads(Stage::Add) => self.add.pass_on(),
            _ => {}
        }
    }
}

/// The lead of a round; it goes on when this is dropped.
struct Lead<'a, D: Disk>(&'a Line<D>);

impl<D: Disk> Drop for Lead<'_, D> {
    fn drop(&mut self) {
        self.0.pass_on();
    }
}

/// Operations whose messages are in a round, in the order of the messages. Should that be given up in its midst, nobody is
/// left waiting.
struct Places<D: Disk>(Vec<Arc<Place<D>>>);

impl<D: Disk> Places<D> {
    fn tell(mut self, result: Result<()>) {
        let mut places = core::mem::take(&mut self.0).into_iter();
        let Err(error) = result else {
            places.for_each(|place| {
                place.set(Fate::Done(Ok(())));
            });
            return;
        };
        let refusal = error.refusal;
        // One of them has it for the log.
        if let Some(first) = places.next() {
            first.set(Fate::Done(Err(error)));
        }
        places.for_each(|place| {
            place.set(Fate::Done(Err(Error {
                refusal,
                context: "add a message together with another".to_owned(),
                source: None,
            })));
        });
    }

    /// Each is told by itself.
    fn let_go(mut self) {
        self.0.clear();
    }
}

impl<D: Disk> Drop for Places<D> {
    fn drop(&mut self) {
        for place in self.0.drain(..) {
            place.set(Fate::Done(Err(Refusal::Storage.into())));
        }
    }
}

impl<D: Disk> FileStore<D> {
    /// Delivers a message to one account.
    pub(super) async fn deliver_one(
        &self,
        spool: Spool<D>,
        (account, quota): &(AccountName, Quota),
        now: Unix,
    ) -> Result<()> {
        let inbox = self.inbox(account, now).await?;
        let (body, synced) = match spool.len() <= SMALL {
            true => self.write_down(spool).await?,
            false => (self.settle(spool).await?, true),
        };
        let mut new = [New {
            body,
            flags: Flags::default(),
            date: DateTime::from(now),
        }];
        let parsed = take_parsed(&mut new).pop().flatten();
        let [new] = new;
        let place = Arc::new(Place(Mutex::new((Fate::Waits, None))));
        let seat = Seat {
            sync: &self.arrivals,
            add: &inbox.arrivals,
            place: Arc::clone(&place),
        };
        let line = if synced { seat.add } else { seat.sync };
        line.join(Arrival {
            message: Message {
                new,
                parsed,
                quota: *quota,
            },
            inbox: Arc::clone(&inbox),
            place,
        });
        loop {
            let heard = within(self.disk(), self.limits().lock_wait, seat.place.heard()).await;
            let fate = match heard {
                Some(fate) => fate,
                None if seat.add.withdraw(&seat.place) => {
                    return Err(Error {
                        refusal: Refusal::Busy,
                        context: format!("add a message to {}", inbox.label()),
                        source: None,
                    });
                }
                // It is being synced or added: what comes of that has to be known.
                None => seat.place.heard().await,
            };
            match fate {
                Fate::Waits | Fate::GivenUp => {}
                Fate::Leads(Stage::Sync) => self.sync_arrivals().await,
                Fate::Leads(Stage::Add) => self.add_arrivals(account, &inbox, now).await,
                Fate::Alone(message) => return self.deliver_alone(account, &inbox, *message, now).await,
                Fate::Done(result) => return result,
            }
        }
    }

    /// Syncs the files of those who are in line, who wait for their mailboxes then.
    async fn sync_arrivals(&self) {
        let lead = Lead(&self.arrivals);
        let arrivals = self.arrivals.take();
        let places = Places(
            arrivals
                .iter()
                .map(|arrival| Arc::clone(&arrival.place))
                .collect(),
        );
        let bodies = || arrivals.iter().map(|arrival| &arrival.message.new.body);
        if arrivals.len() > 1 {
            // All on their way at once: the commit that the first sync waits for is then that of all.
            bodies().for_each(|body| self.disk().begin_sync(&body.file, body.size.into()));
        }
        let mut synced = Vec::with_capacity(arrivals.len());
        for body in bodies() {
            let result = self.disk().sync(&body.file).await;
            synced.push(result.during(|| "write a message".to_owned()));
        }
        drop(lead);
        places.let_go();
        for (arrival, synced) in arrivals.into_iter().zip(synced) {
            match synced {
                Ok(()) => {
                    let inbox = Arc::clone(&arrival.inbox);
                    inbox.arrivals.join(arrival);
                }
                Err(error) => {
                    arrival.place.set(Fate::Done(Err(error)));
                }
            }
        }
    }

    /// Adds those who are in line, and syncs the directory once for all of them.
    async fn add_arrivals(&self, account: &AccountName, inbox: &Arc<Mailbox<D>>, now: Unix) {
        let lead = Lead(&inbox.arrivals);
        let (mut news, mut parsed, mut quotas) = (Vec::new(), Vec::new(), Vec::new());
        let mut places = Places(Vec::new());
        for Arrival { message, place, .. } in inbox.arrivals.take() {
            news.push(message.new);
            parsed.push(message.parsed);
            quotas.push(message.quota);
            places.0.push(place);
        }
        let added = match self.add_together(account, inbox, &mut news, &quotas, now).await {
            Ok(added) => added,
            Err(error) if is_worth_another_try(&error, news.len()) => {
                drop(lead);
                let alone = news.into_iter().zip(parsed).zip(quotas);
                for (place, ((new, parsed), quota)) in places.0.drain(..).zip(alone) {
                    place.set(Fate::Alone(Box::new(Message { new, parsed, quota })));
                }
                return;
            }
            Err(error) => {
                drop(lead);
                return places.tell(Err(error));
            }
        };
        let kept = self.keep_added(inbox, added).await;
        drop(lead);
        match kept {
            Ok(kept) => {
                places.tell(Ok(()));
                self.remember(inbox, &kept, &news, &parsed, now).await;
            }
            Err(error) => places.tell(Err(error)),
        }
    }

    /// Reserves room for all of them, and adds them in one change.
    async fn add_together(
        &self,
        account: &AccountName,
        inbox: &Arc<Mailbox<D>>,
        news: &mut [New<D>],
        quotas: &[Quota],
        now: Unix,
    ) -> Result<Added<D>> {
        let quota = quotas.first().copied().unwrap_or(Quota::UNLIMITED);
        if quotas.iter().any(|other| *other != quota) {
            return Err(Refusal::OverQuota.into());
        }
        let more = news.iter().map(New::usage).sum();
        let ticket = self.reserve(account, &quota, more).await?;
        let ticket = ticket.ok_or(Refusal::OverQuota)?;
        self.add(inbox, news, ticket, now).await
    }

    /// What cannot be added together with others, or is refused for a reason of its own.
    async fn deliver_alone(
        &self,
        account: &AccountName,
        inbox: &Arc<Mailbox<D>>,
        message: Message<D>,
        now: Unix,
    ) -> Result<()> {
        let mut news = [message.new];
        let accounts = BTreeMap::from([(account, &message.quota)]);
        let more = news.iter().map(New::usage).sum();
        let mut tickets = self.reserve_all(&accounts, more, &mut Failed::none()).await?;
        let ticket = tickets.remove(account).ok_or(Refusal::Storage)?;
        let added = self.add_again(account, inbox, &mut news, ticket, now).await?;
        let inbox = Arc::clone(&added.touched.mailbox);
        let kept = self.keep_added(&inbox, added).await?;
        self.remember(&inbox, &kept, &news, &[message.parsed], now).await;
        Ok(())
    }

    /// Syncs what was added to a mailbox, and tells of it.
    async fn keep_added(&self, mailbox: &Arc<Mailbox<D>>, added: Added<D>) -> Result<Kept> {
        let kept = Kept {
            uids: added.uids.clone(),
            uid_validity: added.uid_validity,
        };
        let modseq = added.modseq;
        self.keep(vec![added], &[]).await?;
        self.announce(mailbox, modseq);
        Ok(kept)
    }

    /// Puts what was found out of messages, as they came by, into the parsed cache.
    async fn remember(
        &self,
        mailbox: &Arc<Mailbox<D>>,
        kept: &Kept,
        news: &[New<D>],
        parsed: &[Option<Parsed>],
        now: Unix,
    ) {
        let records = records(&kept.uids, news, parsed, now);
        self.keep_new(mailbox, kept.uid_validity, &records).await;
    }
}

/// The numbers that messages have got, which are on disk.
struct Kept {
    uids: Vec<Uid>,
    uid_validity: UidValidity,
}

/// Whether a message may be taken alone although so many together were refused: there is room for some, or the account was
/// made anew meanwhile.
fn is_worth_another_try(error: &Error, messages: usize) -> bool {
    match error.refusal {
        Refusal::OverQuota | Refusal::MailboxFull => messages > 1,
        refusal => refusal == Refusal::NoSuchMailbox,
    }
}
