//! APPEND (RFC 9051 §6.3.12, RFC 4315 §3), with several messages (RFC 3502) and messages made of parts (RFC 4469), and
//! REPLACE (RFC 8508). Literals pass through as slices; all messages of a command appear together, or none.

use super::incoming::{Incoming, Old, Wanted};
use super::place::Place;
use super::{Appended, Call, Phase, Session, Then, refusal};
use crate::imap::command::{Append, Literal, Message, Replaces};
use crate::imap::parse::Event;
use crate::imap::response;
use crate::imap::sequence::SequenceSet;
use crate::imap::url::MessageUrl;
use crate::machine::Action;
use crate::mailbox::others::{Meaning, meaning};
use crate::mailbox::{Snapshot, Uid};
use crate::refusal::Refusal;

/// Messages of one command: each may hold a descriptor until all are there.
const MAX_MESSAGES: usize = 256;
/// Parts of one command, literals and URLs together.
const MAX_PARTS: usize = 4_096;
/// Octets of one command, counted in messages of the greatest size.
const MAX_FULL_MESSAGES: u64 = 8;

impl Session {
    /// The parser has read the beginning of an APPEND or REPLACE.
    pub(super) fn append(&mut self, append: Append) {
        self.activity = self.now.mono;
        let Append {
            tag,
            mailbox,
            denormal,
            replaces,
        } = append;
        if self.account.is_none() {
            self.parser.refuse_append();
            return self.refuse_bad(&tag, "[CLIENTBUG] Log in first");
        }
        let replaced = match replaces.map(|replaces| self.replaced(&tag, replaces)) {
            None => None,
            Some(Some(uid)) => Some(uid),
            Some(None) => return self.parser.refuse_append(),
        };
        match self.place(&tag, mailbox) {
            Some(place) => {
                let replaced = replaced.and_then(|uid| self.old(uid, &place));
                let incoming = Incoming::new(tag, place, denormal, replaced);
                self.phase = Phase::Append(Box::new(incoming));
            }
            None => self.parser.refuse_append(),
        }
    }

    /// The message that REPLACE takes away; `None`: the command is answered.
    fn replaced(&mut self, tag: &str, replaces: Replaces) -> Option<Uid> {
        let Some(open) = &self.selected else {
            self.refuse_bad(tag, "[CLIENTBUG] No mailbox is selected");
            return None;
        };
        if self.enabled.uid_only && !replaces.uid {
            // RFC 9586 §3.8.
            self.refuse_bad(tag, "[UIDREQUIRED] Message numbers are not allowed");
            return None;
        }
        if open.read_only {
            self.complete(tag.to_owned(), refusal::no(Refusal::ReadOnly));
            return None;
        }
        let Replaces { uid, number } = replaces;
        let Ok(ranks) = open.view.ranks(uid, &SequenceSet(vec![(number, number)])) else {
            self.refuse_bad(tag, "No such message");
            return None;
        };
        let uids = open.view.uids(&ranks);
        let found = uids.iter().next().filter(|_| !open.view.some_gone(&uids));
        if found.is_none() {
            let text = if uids.is_empty() {
                "NO [NONEXISTENT] No such message"
            } else {
                refusal::GONE
            };
            self.complete(tag.to_owned(), text);
        }
        found
    }

    fn old(&self, uid: Uid, place: &Place) -> Option<Old> {
        let open = self.selected.as_ref()?;
        let (_, row) = open.view.told().find(uid)?;
        let own = open.mailbox.account == place.account;
        Some(Old {
            uid,
            frees: own.then(|| u64::from(row.size)),
        })
    }

    /// Takes more of the command. False: there is nothing yet.
    pub(super) fn read_append(&mut self) -> bool {
        match self.parser.poll(&mut self.inbox, true) {
            Event::NeedBytes => return self.next_pending(),
            Event::Continue => self.out.line("+ Ready for more"),
            Event::Message(message) => self.begin_message(message),
            Event::Offer(literal) => self.offered(literal),
            Event::Url(url) => self.url(url),
            Event::Literal(chunk) => {
                self.activity = self.now.mono;
                if let Phase::Append(incoming) = &mut self.phase {
                    for (spool, octets) in incoming.take(chunk) {
                        self.out.push(Action::Spool(spool, octets));
                    }
                }
            }
            Event::AppendEnd => self.commit(),
            Event::Bad { text, .. } => {
                self.bad += 1;
                self.abandon(["BAD ", &text].concat());
            }
            Event::TooBig => self.bye("[TOOBIG] Literal or line is too long", "literal too big"),
            Event::Command(_) | Event::Append(_) | Event::ValueTooLong { .. } => {
                self.internal("a command within a literal");
            }
        }
        true
    }

    /// A message begins, and the one before it is whole.
    fn begin_message(&mut self, message: Message) {
        let Phase::Append(incoming) = &mut self.phase else {
            return self.internal("a message without APPEND");
        };
        match incoming.end_message() {
            Ok(Some((spool, octets))) => self.out.push(Action::Spool(spool, octets)),
            Ok(None) => {}
            Err(text) => return self.abandon(text),
        }
        if incoming.messages() == MAX_MESSAGES {
            return self.abandon("NO [LIMIT] Too many messages in one command".to_owned());
        }
        incoming.begin_message(message, &mut self.last_spool);
    }

    /// A message literal is to come.
    fn offered(&mut self, literal: Literal) {
        let utf8 = self.enabled.utf8_names();
        let max = self.settings.max_message_size;
        let Phase::Append(incoming) = &mut self.phase else {
            return self.internal("a literal without APPEND");
        };
        let problem = if literal.utf8 && !utf8 {
            "NO [CANNOT] UTF8=ACCEPT is not enabled".to_owned()
        } else if literal.size > incoming.room(max) {
            refusal::no(Refusal::TooLarge)
        } else if literal.size
            > max
                .saturating_mul(MAX_FULL_MESSAGES)
                .saturating_sub(incoming.total())
        {
            "NO [LIMIT] Too many octets in one command".to_owned()
        } else if incoming.is_cancelled_by(literal) {
            "NO [CANNOT] A message cannot be empty".to_owned()
        } else {
            return self.want(Wanted::Literal(literal));
        };
        self.abandon(problem);
    }

    /// A part is what a URL names.
    fn url(&mut self, url: Vec<u8>) {
        let selected = self.selected.as_ref();
        let base = selected.filter(|open| self.account_name().as_ref() == Some(&open.mailbox.account));
        let part = MessageUrl::parse(&url, base.map(|open| &open.name));
        match part.filter(|part| meaning(&part.mailbox) != Meaning::Level) {
            Some(part) => self.want(Wanted::Part(Box::new(part), url)),
            None => self.abandon(bad_url(&url)),
        }
    }

    /// A part is to be taken, once its message has a spool.
    fn want(&mut self, wanted: Wanted) {
        let Phase::Append(mut incoming) = core::mem::replace(&mut self.phase, Phase::Waiting) else {
            return self.internal("a part without APPEND");
        };
        if incoming.add_part() > MAX_PARTS {
            self.phase = Phase::Append(incoming);
            return self.abandon("NO [LIMIT] Too many parts in one command".to_owned());
        }
        self.open_spool(incoming, wanted);
    }

    /// Opens the next spool that a part needs; with all of them open the part is taken.
    fn open_spool(&mut self, mut incoming: Box<Incoming>, wanted: Wanted) {
        let Some((spool, first)) = incoming.unopened(&wanted, &mut self.last_spool) else {
            return self.take(incoming, wanted);
        };
        let Place { account, mailbox } = incoming.place.clone();
        let size = match &wanted {
            // Room is asked for once.
            Wanted::Literal(literal) if first => literal.size,
            Wanted::Literal(_) | Wanted::Part(..) => 0,
        };
        let call = Call::Open {
            spool,
            account,
            mailbox,
            size,
            instead: incoming.replaced.and_then(|old| old.frees),
        };
        self.call(call, Then::Opened(incoming, wanted));
    }

    /// The service takes the message, or not.
    pub(super) fn spool_opened(
        &mut self,
        mut incoming: Box<Incoming>,
        wanted: Wanted,
        result: Result<(), Refusal>,
    ) {
        match result {
            Ok(()) => {
                incoming.opened();
                self.open_spool(incoming, wanted);
            }
            Err(refused) => self.abandon_for(incoming, refused),
        }
    }

    /// The part comes: from the client, or from the store.
    fn take(&mut self, mut incoming: Box<Incoming>, wanted: Wanted) {
        match wanted {
            Wanted::Literal(literal) => {
                incoming.begin_literal(literal);
                if literal.synchronising {
                    self.out.line("+ Ready for literal data");
                }
                self.parser.accept_literal();
                self.activity = self.now.mono;
                self.phase = Phase::Append(incoming);
            }
            Wanted::Part(part, url) => self.take_part(incoming, *part, url),
        }
    }

    fn take_part(&mut self, incoming: Box<Incoming>, part: MessageUrl, url: Vec<u8>) {
        let MessageUrl {
            mailbox,
            uid_validity,
            uid,
            section,
            partial,
        } = part;
        let (Some(Place { account, mailbox }), Some(spool)) = (self.place_of(mailbox), incoming.spool())
        else {
            return self.internal("a part of no message");
        };
        let max = self.settings.max_message_size;
        let call = Call::SpoolFrom {
            spool,
            account,
            mailbox,
            uid_validity,
            uid,
            section,
            partial,
            room: incoming.room(max).min(
                max.saturating_mul(MAX_FULL_MESSAGES)
                    .saturating_sub(incoming.total()),
            ),
        };
        self.call(call, Then::SpooledFrom(incoming, url));
    }

    /// The part is in the message, or it is none.
    pub(super) fn spooled_from(
        &mut self,
        mut incoming: Box<Incoming>,
        url: &[u8],
        result: Result<Option<u64>, Refusal>,
    ) {
        self.activity = self.now.mono;
        match result {
            Ok(Some(octets)) => {
                incoming.took(octets);
                self.phase = Phase::Append(incoming);
            }
            Ok(None) | Err(Refusal::NoSuchMailbox | Refusal::NotPermitted) => {
                self.phase = Phase::Append(incoming);
                self.abandon(bad_url(url));
            }
            Err(refused) => self.abandon_for(incoming, refused),
        }
    }

    /// The command is whole.
    fn commit(&mut self) {
        let Phase::Append(incoming) = &mut self.phase else {
            return self.internal("the end of no APPEND");
        };
        match incoming.end_message() {
            Ok(Some((spool, octets))) => self.out.push(Action::Spool(spool, octets)),
            Ok(None) => {}
            Err(text) => return self.abandon(text),
        }
        let Phase::Append(mut incoming) = core::mem::replace(&mut self.phase, Phase::Waiting) else {
            return;
        };
        let spools = incoming.take_spare();
        if spools.is_empty() {
            self.commit_all(incoming);
        } else {
            self.call(Call::Discard { spools }, Then::Spared(incoming));
        }
    }

    /// All spools that are left are messages.
    pub(super) fn commit_all(&mut self, mut incoming: Box<Incoming>) {
        let Place { account, mailbox } = incoming.place.clone();
        let mut messages = incoming.finish();
        let Some(Old { uid, .. }) = incoming.replaced else {
            let call = Call::Commit {
                account,
                mailbox,
                messages,
            };
            return self.call(call, Then::Committed(incoming));
        };
        let source = self.selected.as_ref().map(|open| open.mailbox.clone());
        let (Some(source), Some(message)) = (source, messages.pop()) else {
            return self.internal("REPLACE without a mailbox");
        };
        let call = Call::Replace {
            mailbox: source,
            uid,
            account,
            to: mailbox,
            message,
        };
        self.call(call, Then::Replaced(incoming));
    }

    /// The command is refused with this text: nothing of its messages remains.
    fn abandon(&mut self, text: String) {
        let Phase::Append(incoming) = core::mem::replace(&mut self.phase, Phase::Waiting) else {
            return self.internal("no APPEND to refuse");
        };
        self.parser.refuse_append();
        let spools = incoming.spools();
        if spools.is_empty() {
            return self.complete(incoming.tag, text);
        }
        self.call(Call::Discard { spools }, Then::Discarded(incoming.tag, text));
    }

    fn abandon_for(&mut self, incoming: Box<Incoming>, refused: Refusal) {
        if refused == Refusal::OverQuota {
            self.alert_quota();
        }
        self.phase = Phase::Append(incoming);
        self.abandon(refusal::no_target(refused));
    }

    /// The messages are safe, or nothing of them remains.
    pub(super) fn committed(&mut self, incoming: Incoming, result: Result<Appended, Refusal>) {
        let appended = match result {
            Ok(appended) => appended,
            Err(refused) => return self.refuse_target(incoming.tag, refused, true),
        };
        if let Some(open) = self.selected.as_mut().filter(|open| open.is_at(&incoming.place)) {
            open.dirty = true;
            self.note_mine(&appended.uids);
        }
        self.tell_old_name(&incoming.place, "", incoming.denormal.as_deref());
        let code = append_uid(&appended);
        self.complete(incoming.tag, format!("OK {code}APPEND completed"));
    }

    /// The new message is there and the old one is not, or nothing has changed.
    pub(super) fn replaced_by(
        &mut self,
        incoming: Incoming,
        result: Result<Option<(Appended, Snapshot)>, Refusal>,
    ) {
        let (appended, snapshot) = match result {
            Ok(Some(done)) => done,
            Ok(None) => {
                if let Some(open) = self.selected.as_mut() {
                    open.dirty = true;
                }
                return self.complete(incoming.tag, refusal::GONE);
            }
            Err(refused) => return self.refuse_target(incoming.tag, refused, true),
        };
        if let Some(open) = self.selected.as_mut() {
            open.dirty |= open.is_at(&incoming.place);
            open.view.renew(snapshot);
        }
        self.tell_old_name(&incoming.place, "", incoming.denormal.as_deref());
        // RFC 8508 §4.3: the client learns the new UID before it hears that the old message is gone.
        let code = append_uid(&appended);
        self.out.line(&format!("* OK {code}Replacement message is there"));
        self.complete(incoming.tag, "OK REPLACE completed");
    }
}

/// `[APPENDUID …] `; nothing if UIDs are not to be told.
fn append_uid(appended: &Appended) -> String {
    if appended.uids.is_empty() {
        return String::new();
    }
    let mut code = b"[APPENDUID ".to_vec();
    response::number(&mut code, appended.uid_validity.0);
    code.push(b' ');
    response::uid_list(&mut code, &appended.uids);
    code.extend_from_slice(b"] ");
    String::from_utf8_lossy(&code).into_owned()
}

/// `NO [BADURL …]` (RFC 4469 §4.1). What may not stand in a response code is percent-encoded.
fn bad_url(url: &[u8]) -> String {
    let mut text = String::from("NO [BADURL ");
    for octet in url {
        match octet {
            0x21..=0x5b | 0x5e..=0x7e => text.push(char::from(*octet)),
            octet => text.push_str(&format!("%{octet:02X}")),
        }
    }
    if url.is_empty() {
        text.push('/');
    }
    text.push_str("] No such message, or part of one");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_url_is_told_in_a_code_of_its_own() {
        assert!(bad_url(b"/INBOX/;UID=9").starts_with("NO [BADURL /INBOX/;UID=9] "));
        assert!(bad_url(b"a b]\\\r\n\xff").starts_with("NO [BADURL a%20b%5D%5C%0D%0A%FF] "));
        assert!(bad_url(b"").starts_with("NO [BADURL /] "));
    }
}
