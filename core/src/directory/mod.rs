//! Users, domains and aliases: pure look-up.
