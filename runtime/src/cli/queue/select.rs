//! The queue as it stands on disk now, and which of its entries are meant.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use futures_lite::future::block_on;
use rmail_core::addr::{Address, Domain};
use rmail_core::relay::entry::{Entry, Recipient};
use rmail_store::mailstore::{MailStore as _, OutboundHome, Owner};
use rmail_store::orders::{self, Word};

use super::super::Failure;
use super::super::load::load_or_fail;
use super::super::open::{Opened, told};
use super::existing;

/// Entries that one thread reads at once.
const PIECE: usize = 1_000;
/// Threads that read.
const THREADS: usize = 8;

/// An entry, and where it lies.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Found {
    pub(in crate::cli) home: String,
    pub(in crate::cli) owner: Owner,
    pub(in crate::cli) entry: Entry,
    /// What an operator has asked for and nobody has carried out yet.
    pub(in crate::cli) asked: Option<Word>,
}

/// An entry that cannot be read.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) home: String,
    pub(super) id: String,
    pub(super) why: String,
}

/// The queues of all processes.
#[derive(Debug)]
pub(in crate::cli) struct Snapshot {
    pub(in crate::cli) found: Vec<Found>,
    pub(super) broken: Vec<Broken>,
    /// Queue directories whose process is alive.
    pub(super) servers: usize,
    /// `relay.retry_delays`.
    pub(in crate::cli) delays: Vec<u64>,
}

/// Opens the store and reads all entries.
pub(super) fn read(config: &Path) -> Result<(Opened, Snapshot), Failure> {
    let opened = existing(config)?;
    let snapshot = snapshot(config, &opened, |_| true)?;
    Ok((opened, snapshot))
}

/// Reads the entries with wanted ids, the oldest first.
pub(in crate::cli) fn snapshot(
    config: &Path,
    opened: &Opened,
    wanted: impl Fn(&str) -> bool,
) -> Result<Snapshot, Failure> {
    let delays = load_or_fail(config)?.config.relay.retry_delays;
    let mut homes = block_on(opened.store().outbound_homes()).map_err(|error| Failure(told(&error)))?;
    let waiting = block_on(orders::waiting(&**opened.accounts().disk()));
    let waiting = waiting.map_err(|error| Failure(format!("cannot read the requests in orders: {error}")))?;
    let mut asked = HashMap::new();
    for order in waiting {
        let word = order.request.command;
        asked.extend(order.request.ids.into_iter().map(|id| (id, word)));
    }
    for home in &mut homes {
        home.ids.retain(|id| wanted(id));
    }
    let servers = homes.iter().filter(|home| home.owner != Owner::Nobody).count();
    let (mut found, mut broken) = read_all(opened, &homes)?;
    for home in &homes {
        let aside = home.damaged.iter().filter(|id| wanted(id));
        broken.extend(aside.map(|id| Broken {
            home: home.name.clone(),
            id: id.clone(),
            why: "it is damaged, and was set aside".to_owned(),
        }));
    }
    for one in &mut found {
        one.asked = asked.get(&one.entry.id).copied();
    }
    found.sort_by(|a, b| (a.entry.arrived, &a.entry.id).cmp(&(b.entry.arrived, &b.entry.id)));
    Ok(Snapshot {
        found,
        broken,
        servers,
        delays,
    })
}

type Read = (Vec<Found>, Vec<Broken>);

/// A hundred thousand small files: several threads open them faster than one.
fn read_all(opened: &Opened, homes: &[OutboundHome]) -> Result<Read, Failure> {
    let pieces: Vec<(&OutboundHome, &[String])> = homes
        .iter()
        .flat_map(|home| home.ids.chunks(PIECE).map(move |ids| (home, ids)))
        .collect();
    let next = AtomicUsize::new(0);
    let all: Mutex<Result<Read, Failure>> = Mutex::new(Ok(Read::default()));
    let lock = || all.lock().unwrap_or_else(PoisonError::into_inner);
    let work = || {
        while let Some((home, ids)) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
            let read = block_on(opened.store().read_outbound(&home.name, ids));
            let (mut found, mut broken) = Read::default();
            match read {
                Ok(entries) => {
                    for one in entries {
                        match one.entry {
                            Ok(entry) => found.push(Found {
                                home: home.name.clone(),
                                owner: home.owner,
                                entry,
                                asked: None,
                            }),
                            Err(why) => broken.push(Broken {
                                home: home.name.clone(),
                                id: one.id,
                                why,
                            }),
                        }
                    }
                    if let Ok((all_found, all_broken)) = &mut *lock() {
                        all_found.append(&mut found);
                        all_broken.append(&mut broken);
                    }
                }
                Err(error) => *lock() = Err(Failure(told(&error))),
            }
        }
    };
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    thread::scope(|scope| {
        for _ in 1..cores.min(THREADS).min(pieces.len()) {
            scope.spawn(work);
        }
        work();
    });
    all.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Which entries are meant.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Filter {
    /// Messages with a recipient in this domain.
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// Messages with this envelope sender; `@DOMAIN`: of anybody there; `<>`: notices.
    #[arg(long, value_name = "ADDRESS")]
    sender: Option<String>,
}

impl Filter {
    pub(super) fn is_empty(&self) -> bool {
        self.domain.is_none() && self.sender.is_none()
    }

    /// Finds out what is meant.
    pub(super) fn checked(&self) -> Result<Checked, Failure> {
        let parse = |text: &String| {
            let parsed = Domain::parse(text);
            parsed.ok_or_else(|| Failure(format!("{text:?} is no domain")))
        };
        let sender = match self.sender.as_deref() {
            None => None,
            Some("<>" | "") => Some(Sender::Nobody),
            Some(text) => Some(match text.strip_prefix('@') {
                Some(domain) => Sender::Of(parse(&domain.to_owned())?),
                None => Sender::Is(
                    Address::parse(text).ok_or_else(|| Failure(format!("{text:?} is no address")))?,
                ),
            }),
        };
        Ok(Checked {
            domain: self.domain.as_ref().map(parse).transpose()?,
            sender,
        })
    }
}

/// A [`Filter`] that makes sense.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) domain: Option<Domain>,
    sender: Option<Sender>,
}

#[derive(Debug)]
enum Sender {
    Nobody,
    Of(Domain),
    Is(Address),
}

impl Checked {
    pub(super) fn takes(&self, entry: &Entry) -> bool {
        let mut recipients = entry.recipients.iter();
        let domain = self.domain.as_ref();
        domain.is_none_or(|domain| recipients.any(|one| is_in(one, domain)))
            && self.takes_sender(&entry.sender)
    }

    fn takes_sender(&self, sender: &str) -> bool {
        let parsed = || Address::parse(sender);
        match &self.sender {
            None => true,
            Some(Sender::Nobody) => sender.is_empty(),
            Some(Sender::Of(domain)) => parsed().is_some_and(|address| address.domain == *domain),
            Some(Sender::Is(wanted)) => {
                parsed().is_some_and(|address| address.canonical() == wanted.canonical())
            }
        }
    }
}

/// Whether a recipient is in a domain.
pub(super) fn is_in(recipient: &Recipient, domain: &Domain) -> bool {
    Address::parse(&recipient.address).is_some_and(|address| address.domain == *domain)
}
