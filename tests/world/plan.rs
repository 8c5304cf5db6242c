//! What a seed makes of a world.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::planted::Bug;

/// How rough a world is. Frequencies are out of a thousand.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Messages that clients submit.
    pub messages: usize,
    /// Readers of mail on the relay.
    pub readers: usize,
    /// Processes on the relay's mail_root.
    pub processes: usize,
    /// Kills and power cuts.
    pub crashes: usize,
    /// Calls of a disk that fail, and times in which it is full.
    pub disk_faults: usize,
    /// Times that the date is set, forwards or back.
    pub jumps: usize,
    /// Things that operators do.
    pub orders: usize,
    /// Directions of connections that break.
    pub breaks: usize,
    /// Connections that do not come about.
    pub unreachable: usize,
    /// Replies of the sinks that are not as they should be.
    pub sinks: usize,
    /// Questions to the DNS that get no good answer.
    pub dns: usize,
    /// From when on nothing goes wrong any more by itself.
    pub calm: Duration,
    /// What is wrong with the servers.
    pub bug: Option<Bug>,
}

impl Plan {
    /// Every eighth seed is quiet, so that there is nothing to excuse what goes wrong in it.
    pub fn of(seed: u64) -> Self {
        let mut plan = Self {
            messages: 5,
            // In every other round of the kinds of worlds below.
            readers: if (seed / 8).is_multiple_of(2) { 3 } else { 0 },
            processes: 1,
            crashes: 0,
            disk_faults: 0,
            jumps: 0,
            orders: 0,
            breaks: 0,
            unreachable: 0,
            sinks: 0,
            dns: 0,
            calm: Duration::from_secs(6 * 3600),
            bug: None,
        };
        match seed % 8 {
            0 => {}
            1 => plan.breaks = 200,
            // Only where no process starts again does the date mean nothing for the schedule.
            2 => (plan.sinks, plan.jumps, plan.orders) = (150, 4, 4),
            3 => plan.crashes = 6,
            4 => (plan.crashes, plan.processes) = (8, 2),
            5 => (plan.disk_faults, plan.sinks) = (4, 60),
            6 => (plan.breaks, plan.unreachable, plan.sinks, plan.dns) = (80, 150, 80, 150),
            _ => {
                plan.breaks = 80;
                plan.sinks = 80;
                plan.crashes = 6;
                plan.unreachable = 50;
                plan.disk_faults = 2;
                plan.dns = 80;
                plan.processes = 2;
            }
        }
        plan
    }

    /// Whether nothing may come twice but what a broken connection left open.
    pub fn is_strict(&self) -> bool {
        self.crashes == 0 && self.disk_faults == 0
    }

    /// Whether nobody ever answers at an address.
    pub fn is_silent(&self, address: IpAddr) -> bool {
        address == DEAD
    }
}

const fn ip(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
}

/// When the address of `moved.test` changes.
pub const MOVE: Duration = Duration::from_secs(3600);
/// From then on nobody may believe the old one: the record holds for a minute, and an attempt may wait its turn.
pub const MOVED: Duration = Duration::from_secs(3600 + 900);

/// The relay.
pub const HERE: IpAddr = ip(1);
/// The receiving rmail.
pub const THERE: IpAddr = ip(2);
/// Both hosts of `sink.test`.
pub const SINKS: [IpAddr; 2] = [ip(10), ip(11)];
/// The host of `full.test`, which never takes anything.
pub const FULL: IpAddr = ip(12);
/// The host of `moved.test` until [`MOVE`].
pub const OLD: IpAddr = ip(13);
/// And after it.
pub const NEW: IpAddr = ip(14);
/// Where who forges answers wants mail to go.
pub const EVIL: IpAddr = ip(66);
/// Nobody listens.
pub const CLOSED: IpAddr = ip(98);
/// Nobody is there.
pub const DEAD: IpAddr = ip(99);
/// The name server.
pub const NAMES: IpAddr = ip(53);
