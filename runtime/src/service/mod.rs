//! rmail as a service of the system: what the service manager is told, and its unit.

pub(crate) mod notify;
pub(crate) mod unit;
