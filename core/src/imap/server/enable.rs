//! ENABLE (RFC 5161): what a client has switched on, and what follows from it.
//!
//! # IMAP4rev2
//!
//! RFC 9051, appendix E, by its numbers. What IMAP4rev1 allows too holds for every client; what it does not comes with
//! ENABLE IMAP4rev2.
//!
//! * 1, sizes of 63 bits: numbers are read and written so; a stored message has less than 4 GiB, a mailbox may have more.
//! * 2, extensions that were folded in: all are offered by themselves too.
//! * 3, STATUS SIZE and DELETED: for every client.
//! * 4, ESEARCH in place of SEARCH: when enabled.
//! * 5, substring or not; 6, RFC 2231 continuations; 7, COPYUID of MOVE; 8, TRYCREATE: for every client.
//! * 9, CLOSED: for every client, as RFC 7162 wants it. 10, LIST with SELECT: when enabled.
//! * 11, UNSEEN, and 12, RECENT and `\Recent`: not told any more when enabled. Who asks STATUS for RECENT is answered.
//! * 13, PERMANENTFLAGS: told with each keyword that the client could not know, and without `\*` when there is no room.
//! * 14, grammar only. 15, $MDNSent and the like: kept as any keyword.
//! * 16, UTF-8 in names: when enabled; before that modified UTF-7 is written, and both are read.
//! * 17, CHECK, 18, RFC822 and its parts, 19, LSUB: still answered; nothing of them comes unasked.
//! * 20, other updates in IDLE: none comes unless another extension asks for it.
//! * 21, UID in FETCH responses that were not asked for: when enabled.
//! * 22, 23, grammar of responses: there is always a text. 24, it is ASCII.
//! * 25 to 27, TLS and SCRAM-SHA-256: for every client. ALERT is used for quotas alone, PREAUTH never.
//! * 28, 30, timers and closing: every octet of a command counts; BYE comes first where it can.
//! * 29, registration of extensions: nothing to do.

use super::Session;
use crate::imap::parse::Utf8;
use crate::imap::response;
use crate::mailbox::Uid;

/// What the client has switched on; it stays so until the session ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Enabled {
    /// It wants to hear of mod-sequences (RFC 7162 §3.1).
    pub(super) condstore: bool,
    /// It wants VANISHED in place of EXPUNGE (RFC 7162 §3.2).
    pub(super) qresync: bool,
    /// IMAP4rev2 (RFC 9051 §6.3.1).
    pub(super) rev2: bool,
    /// UTF8=ACCEPT (RFC 6855 §3).
    pub(super) utf8: bool,
    /// It uses no message numbers (RFC 9586).
    pub(super) uid_only: bool,
    /// What ENABLED responses have named.
    named: [bool; Extension::ALL.len()],
}

/// What ENABLE switches on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extension {
    Condstore,
    QResync,
    Rev2,
    Utf8,
    UidOnly,
}

impl Extension {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Condstore, "CONDSTORE"),
        (Self::QResync, "QRESYNC"),
        (Self::Rev2, "IMAP4rev2"),
        (Self::Utf8, "UTF8=ACCEPT"),
        (Self::UidOnly, "UIDONLY"),
    ];

    /// Whether it changes what names and numbers mean, so that it must come before a mailbox is selected (RFC 5161 §3.1,
    /// RFC 6855 §3).
    const fn is_early(self) -> bool {
        matches!(self, Self::Rev2 | Self::Utf8 | Self::UidOnly)
    }
}

impl Enabled {
    /// Whether mailbox names are written in UTF-8, not in modified UTF-7.
    pub(super) const fn utf8_names(self) -> bool {
        self.rev2 || self.utf8
    }

    /// Whether VANISHED comes in place of EXPUNGE (RFC 7162 §3.2.10, RFC 9586 §3.4).
    pub(super) const fn vanished(self) -> bool {
        self.qresync || self.uid_only
    }

    /// Whether FETCH responses that the client did not ask for have a UID item (RFC 7162 §3.2.4, RFC 9051 §7.5.2).
    /// Where UIDs stand in the place of message numbers they need none.
    pub(super) const fn tells_uids(self) -> bool {
        (self.condstore || self.rev2) && !self.uid_only
    }

    /// Whether it is told what is `\Recent`: IMAP4rev2 knows of no such thing.
    pub(super) const fn tells_recent(self) -> bool {
        !self.rev2
    }

    /// The beginning of a FETCH response up to its items: `* 3 FETCH (`, or `* 25 UIDFETCH (` (RFC 9586 §3.3).
    pub(super) fn begin_fetch(self, out: &mut Vec<u8>, number: u64, uid: Uid) {
        out.extend_from_slice(b"* ");
        if self.uid_only {
            response::number(out, uid.0);
            out.extend_from_slice(b" UIDFETCH (");
        } else {
            response::number(out, number);
            out.extend_from_slice(b" FETCH (");
        }
    }
}

impl Session {
    /// ENABLE: what is not known is passed over (RFC 5161 §3.1).
    pub(super) fn enable(&mut self, tag: String, names: &[String]) {
        let wanted = |extension: &Extension| {
            let is = |(known, _): &&(Extension, &str)| known == extension;
            let name = Extension::ALL.iter().find(is).map(|(_, name)| *name);
            names
                .iter()
                .any(|wanted| name.is_some_and(|name| name.eq_ignore_ascii_case(wanted)))
        };
        let early = Extension::ALL
            .iter()
            .any(|(extension, _)| extension.is_early() && wanted(extension));
        if early && self.selected.is_some() {
            return self.refuse_bad(&tag, "[CLIENTBUG] Too late: a mailbox is selected");
        }
        let mut line = "* ENABLED".to_owned();
        let mut condstore = false;
        for (at, (extension, name)) in Extension::ALL.iter().enumerate() {
            if !wanted(extension) {
                continue;
            }
            if let Some(named) = self.enabled.named.get_mut(at).filter(|named| !**named) {
                *named = true;
                line.push(' ');
                line.push_str(name);
            }
            match extension {
                Extension::Condstore => condstore = true,
                Extension::QResync => (self.enabled.qresync, condstore) = (true, true),
                Extension::Rev2 => self.enabled.rev2 = true,
                Extension::Utf8 => self.enabled.utf8 = true,
                Extension::UidOnly => self.enabled.uid_only = true,
            }
        }
        self.out.line(&line);
        if condstore {
            self.enable_condstore();
        }
        self.parser.set_utf8(Utf8 {
            names: self.enabled.utf8_names(),
            accept: self.enabled.utf8,
        });
        self.complete(tag, "OK ENABLE completed");
    }

    /// From now on the client is CONDSTORE-aware. The first command that makes it so tells HIGHESTMODSEQ of the mailbox
    /// that is selected (RFC 7162 §3.1).
    pub(super) fn enable_condstore(&mut self) {
        if core::mem::replace(&mut self.enabled.condstore, true) {
            return;
        }
        if let Some(open) = &self.selected {
            let modseq = open.view.told_modseq().0;
            response::ok_number(self.out.text(), "HIGHESTMODSEQ", modseq, "Highest mod-sequence");
        }
    }
}
