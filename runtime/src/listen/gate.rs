//! How many connections there may be: in all, on port 25, from one address.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Group, Service, counted_as};

/// Bounds of one group; those of a reload hold for the next connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateLimits {
    /// Connections of the group.
    pub total: usize,
    /// Connections of one address (IPv6: one /64); `None` for trusted networks.
    pub per_address: Option<usize>,
}

/// Counts the open connections of a process.
#[derive(Default)]
pub struct Gate {
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    groups: HashMap<Group, usize>,
    mx: usize,
    addresses: HashMap<(Group, IpAddr), usize>,
}

/// A counted connection; dropping it ends the count.
pub struct Pass {
    gate: Arc<Gate>,
    service: Service,
    address: IpAddr,
}

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Too many in all.
    Total,
    /// Too many of this address.
    Address,
    /// Its address has sent too many messages.
    Rate,
}

impl Gate {
    /// Counts a connection, or refuses it. Port 25 gets at most 80 % of its group, so that our own users can still
    /// send when strangers take all they can.
    ///
    /// # Errors
    /// A bound is reached.
    pub fn enter(
        self: &Arc<Self>,
        service: Service,
        peer: IpAddr,
        limits: GateLimits,
    ) -> Result<Pass, Refused> {
        let (group, address) = (service.group(), counted_as(peer));
        let mut counts = self.lock();
        let mx_limit = (limits.total.saturating_mul(4) / 5).max(1);
        let total = counts.groups.get(&group).copied().unwrap_or_default();
        if total >= limits.total || (service == Service::Smtp && counts.mx >= mx_limit) {
            return Err(Refused::Total);
        }
        let from_here = counts
            .addresses
            .get(&(group, address))
            .copied()
            .unwrap_or_default();
        if limits.per_address.is_some_and(|limit| from_here >= limit) {
            return Err(Refused::Address);
        }
        *counts.groups.entry(group).or_default() += 1;
        *counts.addresses.entry((group, address)).or_default() += 1;
        counts.mx += usize::from(service == Service::Smtp);
        drop(counts);
        Ok(Pass {
            gate: Arc::clone(self),
            service,
            address,
        })
    }

    /// Open connections of a group.
    #[must_use]
    pub fn open(&self, group: Group) -> usize {
        self.lock().groups.get(&group).copied().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut counts = self.gate.lock();
        let group = self.service.group();
        if let Some(total) = counts.groups.get_mut(&group) {
            *total -= 1;
        }
        counts.mx -= usize::from(self.service == Service::Smtp);
        if let Some(count) = counts.addresses.get_mut(&(group, self.address)) {
            *count -= 1;
            if *count == 0 {
                counts.addresses.remove(&(group, self.address));
            }
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("groups", &self.lock().groups)
            .finish()
    }
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pass({}, {})", self.service, self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: GateLimits = GateLimits {
        total: 10,
        per_address: Some(3),
    };

    fn from(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    #[test]
    fn port_25_leaves_room_for_submission() {
        let gate = Arc::new(Gate::default());
        let enter = |service, n| gate.enter(service, from(n), LIMITS);
        let mut passes: Vec<Pass> = (0..8).map(|n| enter(Service::Smtp, n).expect("room")).collect();
        assert_eq!(enter(Service::Smtp, 8).err(), Some(Refused::Total));
        passes.push(enter(Service::Submission, 8).expect("room"));
        passes.push(enter(Service::Smtps, 8).expect("room"));
        assert_eq!(enter(Service::Submission, 9).err(), Some(Refused::Total));
        let imap = enter(Service::Imap, 9).expect("another group");
        passes.clear();
        drop(imap);
        assert_eq!((gate.open(Group::Smtp), gate.open(Group::Imap)), (0, 0));
        assert!(
            gate.lock().addresses.is_empty(),
            "nothing is kept of those who left"
        );
        enter(Service::Smtp, 1).expect("room again");
    }

    #[test]
    fn one_address_gets_its_share() {
        let gate = Arc::new(Gate::default());
        let passes: Vec<Pass> = (0..3)
            .map(|_| gate.enter(Service::Imap, from(1), LIMITS).expect("room"))
            .collect();
        assert_eq!(
            gate.enter(Service::Imaps, from(1), LIMITS).err(),
            Some(Refused::Address)
        );
        gate.enter(Service::Imaps, from(2), LIMITS)
            .expect("another address");
        let trusted = GateLimits {
            per_address: None,
            ..LIMITS
        };
        gate.enter(Service::Imaps, from(1), trusted).expect("trusted");
        drop(passes);
        gate.enter(Service::Imaps, from(1), LIMITS).expect("room again");
    }
}
