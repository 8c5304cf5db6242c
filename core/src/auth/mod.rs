//! Passwords and tokens.

pub mod lookalike;
pub mod password;
