//! Passwords and tokens.

pub mod password;
