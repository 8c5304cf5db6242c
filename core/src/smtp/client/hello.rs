//! From the greeting to the login: EHLO, STARTTLS.

use super::extensions::Extensions;
use super::reply::ServerReply;
use super::{End, Session, State, timeout};
use crate::machine::{Action, TlsInfo};
use crate::note::Note;
use crate::relay::tls::{Encryption, Fault, FaultKind};
use crate::relay::{Enhanced, Report, TlsPolicy};

impl Session {
    /// Anything but 220: another host may be in better health, even after 5xx.
    pub(super) fn on_greeting(&mut self, reply: &ServerReply) {
        if reply.code == 220 {
            self.tell_greeted();
            self.ehlo();
        } else {
            self.refused(End::NextHost, reply);
        }
    }

    fn ehlo(&mut self) {
        self.command(&format!("EHLO {}", self.settings.hostname));
        self.wait(State::Ehlo, timeout::COMMAND);
    }

    pub(super) fn on_ehlo(&mut self, reply: &ServerReply) {
        match reply.class() {
            2 => {
                self.extensions = Extensions::parse(&reply.lines);
                self.after_hello();
            }
            // RFC 5321 §3.2: a server without extensions.
            5 => {
                self.command(&format!("HELO {}", self.settings.hostname));
                self.wait(State::Helo, timeout::COMMAND);
            }
            _ => self.refused(End::NextHost, reply),
        }
    }

    pub(super) fn on_helo(&mut self, reply: &ServerReply) {
        if reply.class() == 2 {
            self.extensions = Extensions::default();
            self.after_hello();
        } else {
            self.refused(End::NextHost, reply);
        }
    }

    /// TLS, then AUTH, then the message.
    fn after_hello(&mut self) {
        if self.tls || self.settings.tls == TlsPolicy::None {
            self.authenticate();
        } else if self.extensions.starttls {
            self.command("STARTTLS");
            self.wait(State::StartTls, timeout::COMMAND);
        } else {
            self.without_tls("the server does not offer TLS, which the policy requires");
        }
    }

    pub(super) fn on_starttls(&mut self, reply: &ServerReply) {
        if reply.code != 220 {
            self.without_tls("the server refused STARTTLS, which the policy requires");
            return;
        }
        // What came behind the 220 was not protected (CVE-2021-38371).
        self.inbox.clear();
        self.replies.clear();
        self.extensions = Extensions::default();
        self.out.push_back(Action::StartTls);
        self.wait(State::Handshake, timeout::COMMAND);
    }

    /// TLS is not to be had on this connection, which is still good for clear text.
    fn without_tls(&mut self, why: &str) {
        self.encryption = Some(Encryption::NotOffered);
        if self.settings.tls.allows_clear_text() {
            self.authenticate();
        } else {
            let report = Report::ours(self.no_tls(Enhanced(4, 7, 10)), why).at(&self.settings.server);
            self.leave(End::NextHost, &report);
        }
    }

    /// What it means that TLS is not to be had: a message that requires it is not tried again (RFC 8689 §4.2.1).
    fn no_tls(&self, otherwise: Enhanced) -> Enhanced {
        if self.requires_tls() {
            Enhanced(5, 7, 10)
        } else {
            otherwise
        }
    }

    /// The handshake broke the connection.
    pub(super) fn tls_failed(&mut self, why: &str) {
        self.encryption = Some(Encryption::Failed(Fault::new(FaultKind::ValidationFailure, why)));
        let report = Report::ours(self.no_tls(Enhanced(4, 7, 5)), why).at(&self.settings.server);
        let end = if self.settings.tls == TlsPolicy::Opportunistic {
            End::RetryWithoutTls
        } else {
            End::NextHost
        };
        self.give_up(end, report);
    }

    pub(super) fn on_tls(&mut self, info: TlsInfo) {
        self.bind(&info);
        let version = match info.version {
            0x0304 => "TLSv1.3",
            0x0303 => "TLSv1.2",
            _ => "TLS",
        };
        let proof = match self.settings.tls.verifies() {
            true => "certificate verified",
            false => "certificate not verified",
        };
        self.tls_words = Some(format!("{version} {}, {proof}", info.cipher));
        let note = Note::Tls {
            version,
            cipher: info.cipher,
        };
        match self.state {
            State::ImplicitTls => {
                self.tls = true;
                self.encryption = Some(Encryption::Done(info.fault));
                self.out.push_back(Action::Note(note));
                self.wait(State::Greeting, timeout::GREETING);
            }
            State::Handshake => {
                self.tls = true;
                self.encryption = Some(Encryption::Done(info.fault));
                self.out.push_back(Action::Note(note));
                self.ehlo();
            }
            _ => {}
        }
    }

    /// The server does not want to talk to us; the message is not at fault.
    pub(super) fn refused(&mut self, end: End, reply: &ServerReply) {
        let mut report = reply.report(&self.settings.server);
        report.enhanced = report.enhanced.with_class(4);
        self.leave(end, &report);
    }
}
