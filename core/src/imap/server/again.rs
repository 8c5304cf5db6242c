//! UNAUTHENTICATE (RFC 8437) and COMPRESS (RFC 4978), which it ends.

use super::{Call, Phase, Session, Then};
use crate::imap::parse::Utf8;
use crate::machine::Action;

impl Session {
    /// COMPRESS. The client sends nothing more before it has seen the answer.
    pub(super) fn compress(&mut self, tag: &str, mechanism: &str) {
        if !self.settings.compress {
            return self.refuse_bad(tag, "COMPRESS is not offered");
        }
        if mechanism != "DEFLATE" {
            return self.refuse_bad(tag, "Unknown compression mechanism");
        }
        if self.compressed {
            return self.tagged(tag, "NO [COMPRESSIONACTIVE] DEFLATE is active already");
        }
        self.tagged(tag, "OK DEFLATE active");
        self.out.push(Action::StartDeflate);
        self.compressed = true;
    }

    /// UNAUTHENTICATE: as if the connection had just begun. A selected mailbox is closed first.
    pub(super) fn unauthenticate(&mut self, tag: String) {
        if let Some(mailbox) = self.deselect() {
            return self.call(Call::Unselect { mailbox }, Then::Unauthenticate(tag));
        }
        self.out.unwatch_all();
        let compressed = self.compressed;
        self.forget_login();
        self.tagged(&tag, "OK UNAUTHENTICATE completed");
        if compressed {
            self.out.push(Action::StopDeflate);
        }
    }

    /// Becomes a new session that keeps what belongs to the connection, and nothing else: whatever state a login has
    /// gathered is gone without being named here.
    fn forget_login(&mut self) {
        let new = Self::new(self.settings.clone(), self.random.clone(), self.now);
        let old = core::mem::replace(self, new);
        // What was read and not looked at, and what was said.
        self.parser = old.parser;
        self.parser.set_utf8(Utf8::default());
        self.inbox = old.inbox;
        self.pending = old.pending;
        self.pending_octets = old.pending_octets;
        self.out = old.out;
        // Names that must not be used twice.
        self.last_call = old.last_call;
        self.last_watch = old.last_watch;
        self.last_spool = old.last_spool;
        // TLS stays (RFC 8437 §3).
        self.tls = old.tls;
        self.bindings = old.bindings;
        // A client that guesses is not let off, and a shutdown is not forgotten.
        self.stopping = old.stopping;
        self.bad = old.bad;
        self.failures = old.failures;
        self.phase = Phase::Ready;
    }
}
