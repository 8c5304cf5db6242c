//! Users, domains and aliases: what their files mean, and who an address is. Pure: the store reads the files.

pub mod alias;
mod domain;
mod lookup;
mod user;

pub use domain::DomainFile;
pub use lookup::{Hosting, Route, Target, owns};
pub use user::{SendAs, User, UserHash};
