//! What the host sees of a session: inputs are kept in order, actions are polled, a timer runs while it waits.

use super::{Call, ENOUGH_UNREAD, Pending, Phase, Reply, Session};
use crate::chunk::Chunk;
use crate::line::Inbox;
use crate::machine::{self, Action, Input, Machine, WatchId};
use crate::note::Note;
use crate::sasl::Bindings;
use crate::time::{Mono, Now};

impl Machine for Session {
    type Input = Input<Reply>;
    type Action = Action<Call>;

    fn handle_input(&mut self, now: Now, input: Self::Input) {
        self.now = now;
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        match input {
            Input::Bytes(chunk) => self.take_bytes(chunk),
            Input::Eof => self.note_pending(Pending::Eof),
            Input::Tick => self.note_pending(Pending::Tick),
            Input::Reply(id, reply) => {
                if self.awaiting.as_ref().is_some_and(|awaiting| awaiting.call == id) {
                    self.reply = Some(Box::new(reply));
                }
            }
            Input::TlsStarted(info) => self.tls_started(&info),
            // A login that no longer holds ends long answers too: this is looked at before what waits.
            Input::Dirty(watch)
                if self
                    .account
                    .as_ref()
                    .is_some_and(|account| account.watch == watch) =>
            {
                self.recheck = true;
            }
            Input::Dirty(watch) => self.note_pending(Pending::Dirty(watch)),
            Input::Shutdown => self.note_pending(Pending::Shutdown),
        }
    }

    fn poll_action(&mut self) -> Option<Self::Action> {
        loop {
            if let Some(action) = self.out.pop() {
                return Some(action);
            }
            if !self.advance() {
                return None;
            }
        }
    }

    fn poll_timeout(&self) -> Option<Mono> {
        match &self.phase {
            _ if self.awaiting.is_some() => None,
            Phase::Idle(_) => Some(self.activity + self.settings.idle_keepalive),
            // A client that listens need not speak.
            Phase::Ready if self.listens() => Some(self.activity + self.settings.idle_keepalive),
            Phase::Ready | Phase::Sasl(..) | Phase::Append(_) | Phase::Tls => {
                let patience = if self.account.is_some() {
                    self.settings.autologout
                } else {
                    self.settings.login_timeout
                };
                Some(self.activity + patience)
            }
            _ => None,
        }
    }
}

impl machine::Session for Session {
    type Call = Call;
    type Reply = Reply;

    fn wants_bytes(&self) -> bool {
        let reads = matches!(
            self.phase,
            Phase::Greeting | Phase::Ready | Phase::Idle(_) | Phase::Sasl(..) | Phase::Append(_) | Phase::Tls
        );
        reads && self.awaiting.is_none() && self.unread() < ENOUGH_UNREAD
    }
}

impl Session {
    /// Octets that came and were not read.
    fn unread(&self) -> usize {
        self.inbox.len() + self.pending_octets
    }

    /// Keeps what happened, unless it says the same again.
    fn note_pending(&mut self, pending: Pending) {
        let again = match (&pending, self.pending.back()) {
            (Pending::Dirty(new), _) => self.is_pending(*new),
            (Pending::Tick, Some(Pending::Tick)) => true,
            _ => false,
        };
        if !again {
            self.pending.push_back(pending);
        }
    }

    /// Whether this was said since the last octets came. There are no more of them than there are watches.
    fn is_pending(&self, watch: WatchId) -> bool {
        let latest = self.pending.iter().rev();
        latest
            .take_while(|pending| !matches!(pending, Pending::Bytes(_)))
            .any(|pending| matches!(pending, Pending::Dirty(other) if *other == watch))
    }

    fn take_bytes(&mut self, chunk: Chunk) {
        // What comes before the handshake is not protected by it (RFC 9051 §6.2.1).
        if matches!(self.phase, Phase::Tls) || chunk.is_empty() {
            return;
        }
        self.pending_octets += chunk.len();
        self.pending.push_back(Pending::Bytes(chunk));
        if self.unread() > Inbox::HARD_CAP {
            self.out.clear();
            self.close("more unread input than a session keeps");
        }
    }

    fn tls_started(&mut self, info: &machine::TlsInfo) {
        if !matches!(self.phase, Phase::Tls | Phase::Greeting) || self.tls {
            return;
        }
        self.tls = true;
        self.bindings = Bindings::of(info).map(Box::new);
        let version = match info.version {
            0x0304 => "TLSv1.3",
            0x0303 => "TLSv1.2",
            _ => "TLS",
        };
        let cipher = info.cipher.clone();
        self.out.push(Action::Note(Note::Tls { version, cipher }));
        if matches!(self.phase, Phase::Tls) {
            self.phase = Phase::Ready;
            self.activity = self.now.mono;
        }
    }
}
