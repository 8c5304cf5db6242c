//! The outbound queue.

use std::collections::BTreeMap;

use rmail_core::api::Failure;
use rmail_core::api::admin::queue::{Answer, Ask, Commanded, LeftOut, List, Place, Story};
use rmail_core::random::Random;
use rmail_core::relay::queue::Command;
use rmail_core::relay::view::{Choice, Filter, Found, Plan, Shown, State};
use rmail_core::time::Now;

use crate::disk::Disk;
use crate::history;
use crate::mailstore::MailStore;
use crate::orders::{self, Word};
use crate::queue_view::{self, Snapshot};
use crate::service::api::ApiService;
use crate::service::refused;

impl<S: MailStore, D: Disk> ApiService<S, D> {
    /// Answers a call of `/queue…`.
    pub(super) async fn queue(&self, now: Now, ask: Ask) -> Result<Answer, Failure> {
        match ask {
            Ask::List {
                filter,
                state,
                after,
                limit,
            } => {
                let snapshot = self.queues(|_| true).await?;
                let list = self.queue_list(now, snapshot, (&filter, state), after, limit);
                Ok(Answer::List(list))
            }
            Ask::Show(id) => self.story(now, id).await,
            Ask::Command { command, choice, one } => self.command(now, command, &choice, one).await,
        }
    }

    /// The queues of all processes.
    pub(super) async fn queues(&self, wanted: impl Fn(&str) -> bool) -> Result<Snapshot, Failure> {
        let disk = self.service.accounts.disk();
        let read = queue_view::snapshot(&*self.service.store, &**disk, wanted).await;
        read.map_err(|error| refused("read the queue", error).into())
    }

    fn queue_list(
        &self,
        now: Now,
        snapshot: Snapshot,
        (filter, state): (&Filter, Option<&'static str>),
        after: Option<Place>,
        limit: u64,
    ) -> List {
        let (delays, secs) = (&self.settings.retry_delays, now.unix.secs());
        let in_state = |one: &Found| {
            let entry = &one.entry;
            let of = |recipient| State::of(entry, recipient, delays, secs).key();
            state.is_none_or(|state| entry.recipients.iter().any(|recipient| of(recipient) == state))
        };
        let mut all = snapshot.found;
        all.retain(|one| filter.takes(one, secs) && in_state(one));
        let total = all.len();
        let rest = all
            .iter()
            .filter(|one| after.as_ref().is_none_or(|after| place_of(one) > *after));
        let mut rest = rest.peekable();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let page: Vec<&Found> = rest.by_ref().take(limit).collect();
        let last = page.last().filter(|_| rest.peek().is_some());
        List {
            next: last.map(|one| place_of(one).text()),
            entries: page.iter().map(|one| Shown::of(one, delays, secs)).collect(),
            total,
            unreadable: snapshot.broken,
        }
    }

    async fn story(&self, now: Now, id: String) -> Result<Answer, Failure> {
        let snapshot = self.queues(|other| other == id).await?;
        // What has just happened may not be written down yet.
        self.service.flush_history().await;
        let records = history::find(&**self.service.accounts.disk(), &id).await;
        let records = records.map_err(|error| {
            log::error!("history: {error}");
            Failure::new(500, "The history cannot be read")
        })?;
        if let Some(broken) = snapshot.broken.first() {
            let why = format!("The message cannot be read, and is not sent: {}", broken.why);
            return Err(Failure::new(500, why));
        }
        let (delays, secs) = (&self.settings.retry_delays, now.unix.secs());
        let entry = snapshot.found.first().map(|one| Shown::of(one, delays, secs));
        if entry.is_none() && records.is_empty() {
            return Err(Failure::new(404, "Nothing is known of such a message"));
        }
        Ok(Answer::One(Box::new(Story {
            id,
            entry,
            history: records,
        })))
    }

    /// Asks the processes that have the messages, as `rmail queue` does: what they are asked for is on disk before the
    /// answer.
    async fn command(
        &self,
        now: Now,
        command: Command,
        choice: &Choice,
        one: bool,
    ) -> Result<Answer, Failure> {
        let snapshot = match choice {
            Choice::Ids(ids) => self.queues(|id| ids.iter().any(|other| other == id)).await?,
            Choice::Where(_) => self.queues(|_| true).await?,
        };
        let secs = now.unix.secs();
        let plan = Plan::new(snapshot.found, command, choice, &self.settings.retry_delays, secs);
        if let (true, Some((id, why))) = (one && plan.chosen.is_empty(), plan.left_out.first()) {
            let known = snapshot.broken.iter().any(|broken| broken.id == *id) || *why != Plan::UNKNOWN;
            return Err(Failure::new(
                if known { 409 } else { 404 },
                format!("{id}: {why}"),
            ));
        }
        let word = word_of(command);
        let mut done = Commanded {
            command: word.as_str(),
            ..Commanded::default()
        };
        let mut homes: BTreeMap<(String, bool), Vec<String>> = BTreeMap::new();
        for one in plan.chosen {
            homes
                .entry((one.home, one.served))
                .or_default()
                .push(one.entry.id);
        }
        let disk = self.service.accounts.disk();
        let mut random = Random::from_seed(self.service.accounts.seed());
        for ((home, served), ids) in homes {
            let placed = orders::place(&**disk, &home, word, &ids, now.unix, random.next_u64()).await;
            placed.map_err(|error| {
                log::error!("orders: {error}");
                Failure::new(500, "What is asked of the queue cannot be written down")
            })?;
            match served {
                true => done.asked.extend(ids),
                false => done.at_next_start.extend(ids),
            }
        }
        let left_out = plan.left_out.into_iter();
        done.left_out = left_out.map(|(id, reason)| LeftOut { id, reason }).collect();
        // What is ours need not be waited for.
        self.service.hear_requests(now.unix).await;
        Ok(Answer::Commanded(done))
    }
}

fn place_of(one: &Found) -> Place {
    Place {
        arrived: one.entry.arrived,
        id: one.entry.id.clone(),
    }
}

const fn word_of(command: Command) -> Word {
    match command {
        Command::Retry => Word::Retry,
        Command::Hold => Word::Hold,
        Command::Release => Word::Release,
        Command::Fail => Word::Fail,
    }
}
