//! ENABLE (RFC 5161): what a client has switched on, and what follows from it.

use super::Session;

/// What the client has switched on; it stays so until the session ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Enabled {
    /// IMAP4rev2 (RFC 9051 §6.3.1).
    pub(super) rev2: bool,
    /// UTF8=ACCEPT (RFC 6855 §3).
    pub(super) utf8: bool,
}

impl Enabled {
    /// Whether mailbox names are written in UTF-8, not in modified UTF-7.
    pub(super) const fn utf8_names(self) -> bool {
        self.rev2 || self.utf8
    }
}

impl Session {
    /// ENABLE: of what is offered nothing needs to be enabled, so nothing is.
    pub(super) fn enable(&mut self, tag: String) {
        self.out.line("* ENABLED");
        self.complete(tag, "OK ENABLE completed");
    }
}
