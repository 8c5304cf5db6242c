//! `rmail serve`.
