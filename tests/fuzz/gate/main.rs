//! The targets of the fuzzer over the committed corpus, and over mutations of it that are the same every time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    dead_code,
    reason = "test code"
)]

#[path = "../src/mutate.rs"]
mod mutate;
mod regressions;
#[path = "../src/targets/mod.rs"]
mod targets;

use std::path::Path;

fn corpus() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

/// A test for each target, with the number of mutations: as many as take less than a second without optimisation.
macro_rules! targets {
    ($($name:ident $mutations:literal,)*) => {
        $(#[test]
        fn $name() {
            let name = stringify!($name);
            let (_, target) = targets::TARGETS.iter().find(|(known, _)| *known == name).expect("a target");
            mutate::over_corpus(&corpus(), name, *target, $mutations, 0);
        })*

        #[test]
        fn every_target_is_tried() {
            let tried = [$(stringify!($name)),*];
            for (name, _) in targets::TARGETS {
                assert!(tried.contains(&name), "{name}");
            }
        }
    };
}

targets! {
    address 500,
    aliases 500,
    api 10,
    caches 50,
    chunked 300,
    client 300,
    command 500,
    config 200,
    data 500,
    deflate 100,
    dns 300,
    file_names 1000,
    header 500,
    http 300,
    http_client 500,
    imap 50,
    imap_login 100,
    import 500,
    line 500,
    lmtp 200,
    mailbox_name 500,
    mbox 300,
    mime 200,
    parameter 500,
    path 1000,
    sasl 300,
    sequence 300,
    served 10,
    session 300,
    submission 200,
    tar 200,
    token 200,
    xtext 1000,
}
