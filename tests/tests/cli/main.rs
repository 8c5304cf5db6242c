//! The command line: every command with good and bad arguments, compared with what is written in files.
//!
//! `cases/NAME.txt` holds what is typed and what comes of it (see [`case`]); `help/NAME.txt` the help of each command.
//! `SNAPSHOTS=overwrite cargo test -p rmail-tests --test cli` writes what comes now into them, to be reviewed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    reason = "test code"
)]

mod case;
mod demo;
mod every;
mod reload;
mod sandbox;

/// One test for each file of cases.
macro_rules! cases {
    ($($name:ident)*) => {
        $(#[test] fn $name() { case::play(stringify!($name)); })*

        #[test]
        fn every_file_of_cases_is_played() {
            let mut played: Vec<&str> = vec![$(stringify!($name)),*];
            played.sort_unstable();
            assert_eq!(case::files(), played);
        }
    };
}

cases! {
    acme
    alias
    app_password
    backup
    completions
    config
    dns
    export
    fsck
    import
    init
    log_level
    man
    migrate
    queue
    record
    replay
    restore
    serve
    service
    status
    tls
    trace
    unban
    user
}
