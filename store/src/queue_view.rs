//! The outbound queues of all processes as they stand on disk now, for operators: read beside servers that run or without
//! any, and nothing is changed.

use std::collections::HashMap;
use std::io;

use rmail_core::relay::view::{Broken, Found};

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::mailstore::{MailStore, OutboundHome, Owner};
use crate::orders::{self, Word};

/// Entries that are read at once.
const PIECE: usize = 1_000;

/// The queues of all processes.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Entries, the oldest first.
    pub found: Vec<Found>,
    /// Entries that cannot be read.
    pub broken: Vec<Broken>,
    /// Queue directories whose process is alive.
    pub servers: usize,
}

/// A look at the queues in pieces, which several threads may read.
#[derive(Debug)]
pub struct Reading {
    homes: Vec<OutboundHome>,
    asked: HashMap<String, Word>,
}

/// A part of what is to be read.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    home: &'a OutboundHome,
    ids: &'a [String],
}

/// What one piece has given.
pub type Read = (Vec<Found>, Vec<Broken>);

/// Reads the entries with wanted ids.
///
/// # Errors
/// The queue, or what operators have asked for, cannot be read.
pub async fn snapshot<S: MailStore, D: Disk>(
    store: &S,
    disk: &D,
    wanted: impl Fn(&str) -> bool,
) -> Result<Snapshot> {
    let reading = Reading::begin(store, disk, &wanted).await?;
    let (mut found, mut broken) = Read::default();
    for piece in reading.pieces() {
        let (mut more, mut bad) = piece.read(store).await?;
        found.append(&mut more);
        broken.append(&mut bad);
    }
    Ok(reading.finish((found, broken)))
}

impl Reading {
    /// Finds out which entries there are.
    ///
    /// # Errors
    /// As [`snapshot`].
    pub async fn begin<S: MailStore, D: Disk>(
        store: &S,
        disk: &D,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Self> {
        let mut homes = store.outbound_homes().await?;
        let waiting = orders::waiting(disk).await.map_err(in_orders)?;
        let mut asked = HashMap::new();
        for order in waiting {
            let word = order.request.command;
            asked.extend(order.request.ids.into_iter().map(|id| (id, word)));
        }
        for home in &mut homes {
            home.ids.retain(|id| wanted(id));
            home.damaged.retain(|id| wanted(id));
        }
        Ok(Self { homes, asked })
    }

    /// What is to be read.
    #[must_use]
    pub fn pieces(&self) -> Vec<Piece<'_>> {
        let pieces = self.homes.iter().flat_map(|home| {
            let pieces = home.ids.chunks(PIECE);
            pieces.map(move |ids| Piece { home, ids })
        });
        pieces.collect()
    }

    /// Puts together what the pieces have given.
    #[must_use]
    pub fn finish(&self, (mut found, mut broken): Read) -> Snapshot {
        for home in &self.homes {
            broken.extend(home.damaged.iter().map(|id| Broken {
                home: home.name.clone(),
                id: id.clone(),
                why: "it is damaged, and was set aside".to_owned(),
            }));
        }
        for one in &mut found {
            one.asked = self.asked.get(&one.entry.id).map(|word| word.as_str());
        }
        found.sort_by(|a, b| (a.entry.arrived, &a.entry.id).cmp(&(b.entry.arrived, &b.entry.id)));
        let alive = self.homes.iter().filter(|home| home.owner != Owner::Nobody);
        Snapshot {
            servers: alive.count(),
            found,
            broken,
        }
    }
}

impl Piece<'_> {
    /// Reads it.
    ///
    /// # Errors
    /// The store says no.
    pub async fn read<S: MailStore>(self, store: &S) -> Result<Read> {
        let (mut found, mut broken) = Read::default();
        for one in store.read_outbound(&self.home.name, self.ids).await? {
            match one.entry {
                Ok(entry) => found.push(Found {
                    home: self.home.name.clone(),
                    served: self.home.owner != Owner::Nobody,
                    entry,
                    asked: None,
                }),
                Err(why) => broken.push(Broken {
                    home: self.home.name.clone(),
                    id: one.id,
                    why,
                }),
            }
        }
        Ok((found, broken))
    }
}

fn in_orders(error: io::Error) -> Error {
    Error::io("read the requests in orders".to_owned(), error)
}
