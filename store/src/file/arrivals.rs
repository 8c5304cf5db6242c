//! Messages that arrive for one mailbox at the same time are added together.
//!
//! Each change of a mailbox costs a lock, two writes to `state` and two to the usage record, and any of these may wait for
//! the file system's journal. While one change is under way the messages behind it gather; the first of them then leads:
//! it adds all that are there in one change, lets the next one lead, syncs, and tells the others. Nobody waits in order to
//! have company.

use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};

use core::future::poll_fn;
use std::collections::BTreeMap;

use rmail_core::addr::AccountName;
use rmail_core::mailbox::Quota;
use rmail_core::mime::parsed::Parsed;
use rmail_core::refusal::Refusal;
use rmail_core::time::{DateTime, Unix};

use crate::disk::Disk;
use crate::error::{Error, Result};

use super::FileStore;
use super::add::{Added, Failed, New, records, take_parsed};
use super::io::within;
use super::mailbox::{Mailbox, guard};
use super::spool::Spool;

/// Messages of one change at most.
const TOGETHER: usize = 64;

/// A message on disk that is to be added.
struct Message<D: Disk> {
    new: New<D>,
    parsed: Option<Parsed>,
    quota: Quota,
}

/// What becomes of a message.
enum Fate<D: Disk> {
    /// Somebody sees to it.
    Waits,
    /// Its own operation adds it and those behind it.
    Leads,
    /// It could not be added together with others: its own operation tries alone.
    Alone(Box<Message<D>>),
    /// It is in the mailbox, synced, or it is not.
    Done(Result<()>),
}

/// Where an operation hears of its message.
struct Place<D: Disk>(Mutex<(Fate<D>, Option<Waker>)>);

impl<D: Disk> Place<D> {
    fn set(&self, fate: Fate<D>) {
        let waker = {
            let mut place = guard(&self.0);
            place.0 = fate;
            place.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn take(&self) -> Fate<D> {
        core::mem::replace(&mut guard(&self.0).0, Fate::Waits)
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
struct Arrival<D: Disk> {
    message: Message<D>,
    place: Arc<Place<D>>,
}

/// The messages that are to be added to a mailbox by this process.
pub(super) struct Arrivals<D: Disk>(Mutex<Line<D>>);

struct Line<D: Disk> {
    /// Somebody leads, or has been told to.
    led: bool,
    waiting: Vec<Arrival<D>>,
}

impl<D: Disk> Default for Arrivals<D> {
    fn default() -> Self {
        Self(Mutex::new(Line {
            led: false,
            waiting: Vec::new(),
        }))
    }
}

impl<D: Disk> Arrivals<D> {
    fn line(&self) -> MutexGuard<'_, Line<D>> {
        guard(&self.0)
    }

    /// Puts a message in line; leads at once if nobody else does.
    fn arrive(&self, message: Message<D>) -> Seat<'_, D> {
        let place = Arc::new(Place(Mutex::new((Fate::Waits, None))));
        let mut line = self.line();
        line.waiting.push(Arrival {
            message,
            place: Arc::clone(&place),
        });
        if !line.led {
            line.led = true;
            place.set(Fate::Leads);
        }
        drop(line);
        Seat {
            arrivals: self,
            place,
        }
    }

    /// The next in line leads from now on.
    fn pass_on(&self) {
        let mut line = self.line();
        match line.waiting.first() {
            Some(first) => first.place.set(Fate::Leads),
            None => line.led = false,
        }
    }

    /// Those who are added together now, the first in line among them.
    fn take(&self) -> Vec<Arrival<D>> {
        let mut line = self.line();
        let count = line.waiting.len().min(TOGETHER);
        line.waiting.drain(..count).collect()
    }
}

/// An operation that waits for its message. If it is given up it does not keep the lead.
struct Seat<'a, D: Disk> {
    arrivals: &'a Arrivals<D>,
    place: Arc<Place<D>>,
}

impl<D: Disk> Seat<'_, D> {
    /// Takes the message out of the line, if nobody has begun to add it.
    fn withdraw(&self) -> bool {
        let mut line = self.arrivals.line();
        let before = line.waiting.len();
        line.waiting
            .retain(|arrival| !Arc::ptr_eq(&arrival.place, &self.place));
        line.waiting.len() < before
    }
}

impl<D: Disk> Drop for Seat<'_, D> {
    fn drop(&mut self) {
        // Nobody passes the lead on to what is not in line.
        self.withdraw();
        if matches!(self.place.take(), Fate::Leads) {
            self.arrivals.pass_on();
        }
    }
}

/// The lead; it goes on when this is dropped.
struct Lead<'a, D: Disk>(&'a Arrivals<D>);

impl<D: Disk> Drop for Lead<'_, D> {
    fn drop(&mut self) {
        self.0.pass_on();
    }
}

/// Operations whose messages are being added, in the order of the messages. Should that be given up in its midst, nobody is
/// left waiting.
struct Places<D: Disk>(Vec<Arc<Place<D>>>);

impl<D: Disk> Places<D> {
    fn tell(mut self, result: Result<()>) {
        let mut places = core::mem::take(&mut self.0).into_iter();
        let Err(error) = result else {
            places.for_each(|place| place.set(Fate::Done(Ok(()))));
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
        let mut new = [New {
            body: self.settle(spool).await?,
            flags: rmail_core::mailbox::Flags::default(),
            date: DateTime::from(now),
        }];
        let parsed = take_parsed(&mut new).pop().flatten();
        let [new] = new;
        let seat = inbox.arrivals.arrive(Message {
            new,
            parsed,
            quota: *quota,
        });
        loop {
            let heard = within(self.disk(), self.limits().lock_wait, seat.place.heard()).await;
            let fate = match heard {
                Some(fate) => fate,
                None if seat.withdraw() => {
                    return Err(Error {
                        refusal: Refusal::Busy,
                        context: format!("add a message to {}", inbox.label()),
                        source: None,
                    });
                }
                // It is being added: what comes of that has to be known.
                None => seat.place.heard().await,
            };
            match fate {
                Fate::Waits => {}
                Fate::Leads => self.lead(account, &inbox, now).await,
                Fate::Alone(message) => return self.deliver_alone(account, &inbox, *message, now).await,
                Fate::Done(result) => return result,
            }
        }
    }

    /// Adds those who are in line.
    async fn lead(&self, account: &AccountName, inbox: &Arc<Mailbox<D>>, now: Unix) {
        let lead = Lead(&inbox.arrivals);
        let (mut news, mut parsed, mut quotas) = (Vec::new(), Vec::new(), Vec::new());
        let mut places = Places(Vec::new());
        for Arrival { message, place } in inbox.arrivals.take() {
            news.push(message.new);
            parsed.push(message.parsed);
            quotas.push(message.quota);
            places.0.push(place);
        }
        let added = self.add_together(account, inbox, &mut news, &quotas, now).await;
        drop(lead);
        match added {
            Ok(added) => {
                let kept = self.keep_added(inbox, added, &news, &parsed, now).await;
                places.tell(kept);
            }
            Err(error) if is_worth_another_try(&error, news.len()) => {
                let alone = news.into_iter().zip(parsed).zip(quotas);
                for (place, ((new, parsed), quota)) in places.0.drain(..).zip(alone) {
                    place.set(Fate::Alone(Box::new(Message { new, parsed, quota })));
                }
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
        self.keep_added(&inbox, added, &news, &[message.parsed], now)
            .await
    }

    /// Syncs what was added to a mailbox, and tells of it.
    async fn keep_added(
        &self,
        mailbox: &Arc<Mailbox<D>>,
        added: Added<D>,
        news: &[New<D>],
        parsed: &[Option<Parsed>],
        now: Unix,
    ) -> Result<()> {
        let (modseq, uid_validity) = (added.modseq, added.uid_validity);
        let uids = added.uids.clone();
        self.keep(vec![added], &[]).await?;
        let records = records(&uids, news, parsed, now);
        self.keep_new(mailbox, uid_validity, &records).await;
        self.announce(mailbox, modseq);
        Ok(())
    }
}

/// Whether a message may be taken alone although so many together were refused: there is room for some, or the account was
/// made anew meanwhile.
fn is_worth_another_try(error: &Error, messages: usize) -> bool {
    match error.refusal {
        Refusal::OverQuota | Refusal::MailboxFull => messages > 1,
        refusal => refusal == Refusal::NoSuchMailbox,
    }
}
