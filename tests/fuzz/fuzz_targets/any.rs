//! The target that `RMAIL_FUZZ` names, for libFuzzer.
#![no_main]

use std::sync::OnceLock;

use rmail_fuzz::targets::{TARGETS, Target};

static CHOSEN: OnceLock<Target> = OnceLock::new();

fn chosen() -> Target {
    let names = || TARGETS.map(|(name, _)| name).join(" ");
    let Ok(wanted) = std::env::var("RMAIL_FUZZ") else {
        panic!("RMAIL_FUZZ says which target is meant: {}", names());
    };
    match TARGETS.iter().find(|(name, _)| *name == wanted) {
        Some((_, target)) => *target,
        None => panic!("there is no target {wanted}: {}", names()),
    }
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| CHOSEN.get_or_init(chosen)(input));
