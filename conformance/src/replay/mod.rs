//! Replays a transcript.

mod heard;
mod player;

use core::fmt;
use std::collections::BTreeMap;

use rmail_core::time::{Mono, Now, Unix};

use crate::host::Connection;
use crate::template::Bindings;
use crate::transcript::{Mistake, Opening, Transcript};

pub(crate) use heard::{first_line, matches, show};
pub(crate) use player::Player;

/// How client lines that follow each other come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Each by itself.
    Lines,
    /// Octet by octet.
    Octets,
    /// All in one read.
    Together,
}

impl Delivery {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Lines, Self::Octets, Self::Together];
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lines => "line by line",
            Self::Octets => "octet by octet",
            Self::Together => "in one read",
        })
    }
}

/// Where sessions connect to: the server and all around it.
pub trait Stage {
    /// A new connection.
    ///
    /// # Errors
    /// The opening cannot be, in words.
    fn connect(&mut self, opening: &Opening, now: Now) -> Result<Box<dyn Connection>, String>;

    /// `!:`, but for `shutdown` and `eof`, which are the replayer's.
    ///
    /// # Errors
    /// The event cannot be, in words.
    fn outside(&mut self, event: &str, now: Now) -> Result<(), String>;

    /// Time has passed.
    fn passed(&mut self, now: Now);

    /// Something has happened on a connection.
    ///
    /// # Errors
    /// What comes of it cannot be, in words.
    fn settle(&mut self, now: Now) -> Result<(), String> {
        let _ = now;
        Ok(())
    }

    /// When time is to be passed at the latest, for what goes on beside the connections.
    fn deadline(&self) -> Option<Mono> {
        None
    }

    /// What wildcards stand for from the beginning: `user` (the first user's address), `password`, `domain`, and `user2`,
    /// `password2` … of further users.
    fn told(&self) -> Bindings {
        Bindings::new()
    }
}

/// When a transcript begins.
#[must_use]
pub fn beginning() -> Now {
    Now {
        mono: Mono::default(),
        // 2024-03-04 05:06:07 UTC.
        unix: Unix::from_secs(1_709_528_767),
    }
}

/// Something went another way than the transcript says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The file is no transcript.
    #[error(transparent)]
    Mistake(#[from] Mistake),
    /// At this line.
    #[error("line {line}, {delivery}: {text}")]
    Step {
        /// Line of the file.
        line: usize,
        /// How it was delivered.
        delivery: Delivery,
        /// What.
        text: String,
    },
    /// Two deliveries gave different octets.
    #[error("connection {connection} sends other octets {one} than {other}:\n{first:?}\n{second:?}")]
    Differs {
        /// Connection.
        connection: usize,
        /// A delivery.
        one: Delivery,
        /// The other.
        other: Delivery,
        /// What was sent in the first.
        first: String,
        /// What was sent in the second.
        second: String,
    },
}

/// Replays a transcript in all three deliveries, each on a stage of its own.
///
/// # Errors
/// The first thing that goes another way.
pub fn replay<S: Stage>(
    transcript: &Transcript,
    mut stage: impl FnMut(&Transcript, Now) -> Result<S, String>,
) -> Result<(), Failure> {
    let mut first: Option<BTreeMap<usize, Vec<u8>>> = None;
    for delivery in Delivery::ALL {
        let mut player = Player::open(transcript, &mut stage, delivery)?;
        player.play(transcript)?;
        let sent = player.sent();
        let Some(before) = &first else {
            first = Some(sent);
            continue;
        };
        for (connection, octets) in &sent {
            let other = before.get(connection).map(Vec::as_slice).unwrap_or_default();
            if octets != other {
                return Err(Failure::Differs {
                    connection: *connection,
                    one: Delivery::ALL[0],
                    other: delivery,
                    first: String::from_utf8_lossy(other).into_owned(),
                    second: String::from_utf8_lossy(octets).into_owned(),
                });
            }
        }
    }
    Ok(())
}

/// What the server sends on each connection of a transcript, played line by line: for checks that look at all of it.
///
/// # Errors
/// The first thing that goes another way than the transcript says.
pub fn sent<S: Stage>(
    transcript: &Transcript,
    mut stage: impl FnMut(&Transcript, Now) -> Result<S, String>,
) -> Result<BTreeMap<usize, Vec<u8>>, Failure> {
    let mut player = Player::open(transcript, &mut stage, Delivery::Lines)?;
    player.play(transcript)?;
    Ok(player.sent())
}
