//! Passwords and tokens.

pub mod lookalike;
pub mod password;
pub mod token;
