//! Taking care of a store: looking for damage and mending it ([`fsck`]), copying it ([`backup`]) and bringing messages
//! back ([`restore`]).
//!
//! All of it works beside running servers, as one more process on the mail_root. What is read is read at one point in
//! time: without locks if `state` says so before and after, else in a short hold of the naming lock that only lists
//! what has changed meanwhile. What is changed is changed by the operations that the store itself uses.
//!
//! # Invariants
//!
//! * Looking changes nothing on disk, not even `state`.
//! * No message is ever removed by [`fsck`]: one that cannot stay where it is gets a new UID or is moved to
//!   `lost+found`. It has its new name, synced, before it loses the old one.
//! * A backup without the last line of its manifest is none. That line is written after everything else is on disk.
//! * [`restore`] only adds.

pub mod backup;
pub mod fsck;
mod image;
mod lock;
mod places;
pub mod restore;

pub(crate) use image::Rules;
