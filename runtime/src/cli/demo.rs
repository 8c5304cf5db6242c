//! `rmail demo`: a server to play with.
