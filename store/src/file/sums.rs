//! What STATUS and the quota ask of a mailbox, kept up to date change by change: nobody walks over its rows for it.

use core::iter::Sum;
use core::ops::{AddAssign, SubAssign};

use rmail_core::mailbox::{Row, SystemFlags};

/// Sums over the rows of a shard, or of a mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// Octets of the messages.
    pub(super) octets: u64,
    /// Messages without `\Seen`.
    pub(super) unseen: u64,
    /// Messages with `\Deleted`.
    pub(super) deleted: u64,
    /// Octets of those.
    pub(super) deleted_octets: u64,
}

impl From<&Row> for Sums {
    fn from(row: &Row) -> Self {
        let deleted = row.flags.contains(SystemFlags::DELETED);
        Self {
            octets: u64::from(row.size),
            unseen: u64::from(!row.flags.contains(SystemFlags::SEEN)),
            deleted: u64::from(deleted),
            deleted_octets: if deleted { u64::from(row.size) } else { 0 },
        }
    }
}

impl<'a> FromIterator<&'a Row> for Sums {
    fn from_iter<T: IntoIterator<Item = &'a Row>>(rows: T) -> Self {
        rows.into_iter().map(Self::from).sum()
    }
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.octets += other.octets;
        self.unseen += other.unseen;
        self.deleted += other.deleted;
        self.deleted_octets += other.deleted_octets;
    }
}

impl SubAssign for Sums {
    fn sub_assign(&mut self, other: Self) {
        self.octets = self.octets.saturating_sub(other.octets);
        self.unseen = self.unseen.saturating_sub(other.unseen);
        self.deleted = self.deleted.saturating_sub(other.deleted);
        self.deleted_octets = self.deleted_octets.saturating_sub(other.deleted_octets);
    }
}

impl Sum for Sums {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sums, one| {
            sums += one;
            sums
        })
    }
}
