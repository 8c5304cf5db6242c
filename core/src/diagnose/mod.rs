//! `rmail diagnose`, as far as it needs no server: what is looked at, in which order, and what a finding means.
//!
//! [`Id`] names every check, for good: programs and people refer to them. How bad it is when one does not hold, and what
//! to do then, stands in the table of `checks`; `plan` says which phases are worth running;
//! [`answers`] judges what servers say; [`Report`] is the sum. Who asks the server is another: it hands in an
//! [`Outcome`] for each check.

pub mod answers;
mod checks;
mod plan;
mod verdict;

pub use checks::{CHECKS, Check, Id, Severity};
pub use plan::{Asked, Phase, Service, Step, plan};
pub use verdict::{Finding, LeftOut, Outcome, Report, Status};
