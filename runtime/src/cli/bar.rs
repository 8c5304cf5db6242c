//! Progress of long work, shown on a terminal only.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A count of messages that grows.
#[derive(Debug)]
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::no_length();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} messages{msg}  {per_sec}  {elapsed}")
        {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// What is being worked on.
    pub(super) fn at(&self, text: &str) {
        self.0.set_message(format!("  {text}"));
    }

    /// So many messages more are done.
    pub(super) fn step(&self, count: u64) {
        self.0.inc(count);
    }

    /// Prints without tearing it.
    pub(super) fn print(&self, print: impl FnOnce()) {
        self.0.suspend(print);
    }

    /// Takes it away.
    pub(super) fn end(self) {
        self.0.finish_and_clear();
    }
}
