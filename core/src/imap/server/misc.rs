//! CAPABILITY, LOGOUT, ID, NAMESPACE, STARTTLS.

use super::{Phase, Session};
use crate::imap::capability;
use crate::imap::parse::Parser;
use crate::machine::Action;
use crate::mailbox::others::OTHER_USERS;

impl Session {
    /// RFC 9051 §6.1.1.
    pub(super) fn capability(&mut self, tag: String) {
        let offer = self.offer();
        let out = self.out.text();
        out.extend_from_slice(b"* ");
        capability::write(out, offer);
        out.extend_from_slice(b"\r\n");
        self.complete(tag, "OK CAPABILITY completed");
    }

    /// RFC 9051 §6.1.3.
    pub(super) fn logout(&mut self, tag: &str) {
        self.out.line("* BYE Logging out");
        self.tagged(tag, "OK LOGOUT completed");
        self.end("logout");
    }

    /// RFC 2971. What the client says of itself is in the note of its command.
    pub(super) fn id(&mut self, tag: String) {
        let version = env!("CARGO_PKG_VERSION");
        self.out
            .line(&["* ID (\"name\" \"rmail\" \"version\" \"", version, "\")"].concat());
        self.complete(tag, "OK ID completed");
    }

    /// RFC 2342: one personal namespace without a prefix, and one of what other accounts share.
    pub(super) fn namespace(&mut self, tag: String) {
        let line = ["* NAMESPACE ((\"\" \"/\")) ((\"", OTHER_USERS, "/\" \"/\")) NIL"];
        self.out.line(&line.concat());
        self.complete(tag, "OK NAMESPACE completed");
    }

    /// RFC 9051 §6.2.1: what was learned and what was read before the handshake is dropped.
    pub(super) fn start_tls(&mut self, tag: &str) {
        if self.tls {
            return self.refuse_bad(tag, "TLS is on already");
        }
        if !self.settings.starttls {
            return self.refuse_bad(tag, "STARTTLS is not offered");
        }
        self.tagged(tag, "OK Begin TLS negotiation now");
        self.parser = Parser::new(self.settings.max_message_size);
        self.drop_unread();
        self.out.push(Action::StartTls);
        self.phase = Phase::Tls;
    }
}
