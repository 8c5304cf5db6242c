//! What is tried with octets that anybody may have made up. A target is a plain function that takes any input at all and
//! panics where a promise is broken:
//!
//! * no input makes it panic, count past a number's end, or run without end: work is counted in steps ([`targets::Steps`]),
//!   never by the clock, and what comes out is bounded by what went in;
//! * however the octets are cut, the same is done;
//! * what is read, written and read again is the same.
//!
//! The same functions run under a fuzzer (`fuzz_targets/`) and with every `cargo test` (`gate/`), over the corpus and
//! mutations of it.

pub mod mutate;
pub mod targets;
