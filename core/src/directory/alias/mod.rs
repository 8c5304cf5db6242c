//! Aliases: addresses whose mail goes to other addresses.
//!
//! ```text
//! file     what aliases.json holds, and which rule an address meets
//! pattern  regular expressions, and targets with what they captured
//! edit     adding, changing and removing rules
//! expand   from an address to everybody who gets its mail
//! tell     what was found, for people and programs
//! ```

mod edit;
mod expand;
mod file;
mod pattern;
mod tell;

pub use edit::{AliasKey, BadAlias, Rule};
pub use expand::{Expanded, Expansion, Failure, Leaf, MAX_ADDRESSES, MAX_DEPTH, Node, Outcome, Question};
pub use file::{
    AliasFile, AliasName, AliasTarget, CatchAll, ExactAlias, Found, PatternAlias, target_address,
};
pub use pattern::{Pattern, Template};
pub use tell::{Told, ToldNode};
