//! The queue as it stands on disk now, and which of its entries are meant.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use futures_lite::future::block_on;
use rmail_core::relay::view::{self, BadFilter, Broken, Found};
use rmail_store::Error;
use rmail_store::queue_view::{Read, Reading};

use super::super::Failure;
use super::super::load::load_or_fail;
use super::super::open::{Opened, told};
use super::existing;

/// Threads that read.
const THREADS: usize = 8;

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
    let failed = |error: &Error| Failure(told(error));
    let reading = Reading::begin(opened.store(), &**opened.accounts().disk(), wanted);
    let reading = block_on(reading).map_err(|error| failed(&error))?;
    let snapshot = reading.finish(read_all(opened, &reading).map_err(|error| failed(&error))?);
    Ok(Snapshot {
        found: snapshot.found,
        broken: snapshot.broken,
        servers: snapshot.servers,
        delays,
    })
}

/// A hundred thousand small files: several threads open them faster than one.
fn read_all(opened: &Opened, reading: &Reading) -> Result<Read, Error> {
    let pieces = reading.pieces();
    let next = AtomicUsize::new(0);
    let all: Mutex<Result<Read, Error>> = Mutex::new(Ok(Read::default()));
    let lock = || all.lock().unwrap_or_else(PoisonError::into_inner);
    let work = || {
        while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
            let read = block_on(piece.read(opened.store()));
            let mut all = lock();
            match (read, &mut *all) {
                (Ok((mut found, mut broken)), Ok((all_found, all_broken))) => {
                    all_found.append(&mut found);
                    all_broken.append(&mut broken);
                }
                (Err(error), all) => *all = Err(error),
                (Ok(_), Err(_)) => {}
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
    pub(super) fn checked(&self) -> Result<view::Filter, Failure> {
        let filter = || -> Result<view::Filter, BadFilter> {
            let mut filter = view::Filter::default();
            if let Some(domain) = &self.domain {
                filter = filter.with_domain(domain)?;
            }
            if let Some(sender) = &self.sender {
                filter = filter.with_sender(sender)?;
            }
            Ok(filter)
        };
        filter().map_err(Failure::new)
    }
}
