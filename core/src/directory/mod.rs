//! Users, domains and aliases: what their files mean, and who an address is. Pure: the store reads the files.

pub mod alias;
mod app_password;
mod change;
mod domain;
mod lookup;
mod user;

pub use app_password::{
    Access, AppPassword, MAX_APP_PASSWORDS, Moment, is_name as is_app_password_name, make_password,
};
pub use change::{MAX_PASSWORD, UserChange, new_password};
pub use domain::DomainFile;
pub use lookup::{Hosting, Route, Target, owns};
pub use user::{LoginSecret, Proof, SendAs, User, UserHash};
