//! SETACL, DELETEACL, GETACL, LISTRIGHTS, MYRIGHTS (RFC 4314 §3).

use super::place::Place;
use super::{Call, Reply, Session, Then, refusal};
use crate::imap::command::MailboxArg;
use crate::imap::response;
use crate::mailbox::{Acl, Identifier, Rights, RightsChange};

/// What was asked about a mailbox.
#[derive(Debug)]
pub(super) struct AclQuestion {
    tag: String,
    place: Place,
    what: What,
}

#[derive(Debug)]
enum What {
    /// GETACL.
    List,
    /// SETACL or DELETEACL, and the text at its end.
    Change(&'static str),
    /// LISTRIGHTS of this identifier.
    Possible(String),
    /// MYRIGHTS.
    Mine,
}

impl Session {
    /// GETACL.
    pub(super) fn get_acl(&mut self, tag: String, mailbox: MailboxArg) {
        self.ask_acl(tag, mailbox, What::List, |Place { account, mailbox }| Call::Acl {
            account,
            mailbox,
        });
    }

    /// DELETEACL.
    pub(super) fn delete_acl(&mut self, tag: String, mailbox: MailboxArg, identifier: String) {
        let change = RightsChange::Replace(Rights::NONE);
        self.change_acl(tag, mailbox, identifier, change, "OK DELETEACL completed");
    }

    /// SETACL.
    pub(super) fn set_acl(
        &mut self,
        tag: String,
        mailbox: MailboxArg,
        identifier: String,
        change: RightsChange,
    ) {
        self.change_acl(tag, mailbox, identifier, change, "OK SETACL completed");
    }

    fn change_acl(
        &mut self,
        tag: String,
        mailbox: MailboxArg,
        identifier: String,
        change: RightsChange,
        text: &'static str,
    ) {
        let call = |Place { account, mailbox }| Call::SetAcl {
            account,
            mailbox,
            identifier,
            change,
        };
        self.ask_acl(tag, mailbox, What::Change(text), call);
    }

    /// LISTRIGHTS.
    pub(super) fn list_rights(&mut self, tag: String, mailbox: MailboxArg, identifier: String) {
        let what = What::Possible(identifier);
        self.ask_acl(tag, mailbox, what, |Place { account, mailbox }| Call::Acl {
            account,
            mailbox,
        });
    }

    /// MYRIGHTS.
    pub(super) fn my_rights(&mut self, tag: String, mailbox: MailboxArg) {
        self.ask_acl(tag, mailbox, What::Mine, |Place { account, mailbox }| {
            Call::Rights { account, mailbox }
        });
    }

    fn ask_acl(&mut self, tag: String, mailbox: MailboxArg, what: What, call: impl FnOnce(Place) -> Call) {
        let Some(place) = self.place(&tag, mailbox) else {
            return;
        };
        let call = call(place.clone());
        let question = AclQuestion { tag, place, what };
        self.call(call, Then::Acl(Box::new(question)));
    }

    /// What the service says.
    pub(super) fn acl_answered(&mut self, question: AclQuestion, reply: Reply) {
        let AclQuestion { tag, place, what } = question;
        match (what, reply) {
            (_, Reply::Acl(Err(refused)) | Reply::Rights(Err(refused)) | Reply::Done(Err(refused))) => {
                self.complete(tag, refusal::no(refused));
            }
            (What::Change(text), Reply::Done(Ok(()))) => self.complete(tag, text),
            (What::Mine, Reply::Rights(Ok(rights))) => {
                self.write_my_rights(&place, rights);
                self.complete(tag, "OK MYRIGHTS completed");
            }
            (What::List, Reply::Acl(Ok(acl))) => {
                self.write_acl(&place, &acl);
                self.complete(tag, "OK GETACL completed");
            }
            (What::Possible(identifier), Reply::Acl(Ok(_))) => {
                self.write_possible(&place, &identifier);
                self.complete(tag, "OK LISTRIGHTS completed");
            }
            (what, _) => self.internal(&format!("wrong kind of reply for {what:?}")),
        }
    }

    /// `* MYRIGHTS name rights`.
    pub(super) fn write_my_rights(&mut self, place: &Place, rights: Rights) {
        self.out.text().extend_from_slice(b"* MYRIGHTS ");
        self.write_name(place);
        let out = self.out.text();
        out.push(b' ');
        response::astring(out, rights.shown().as_bytes());
        response::end(out);
    }

    /// `* ACL name (identifier rights)…`; the owner comes first.
    fn write_acl(&mut self, place: &Place, acl: &Acl) {
        self.out.text().extend_from_slice(b"* ACL ");
        self.write_name(place);
        let out = self.out.text();
        let owner = (place.account.as_str().to_owned(), Rights::ALL);
        let entries = acl.entries().map(|(who, rights)| (who.to_string(), rights));
        for (who, rights) in core::iter::once(owner).chain(entries) {
            out.push(b' ');
            response::astring(out, who.as_bytes());
            out.push(b' ');
            response::astring(out, rights.shown().as_bytes());
        }
        response::end(out);
    }

    /// `* LISTRIGHTS name identifier always each…`. An owner has all rights for ever; others can have each by itself.
    fn write_possible(&mut self, place: &Place, identifier: &str) {
        self.out.text().extend_from_slice(b"* LISTRIGHTS ");
        self.write_name(place);
        let out = self.out.text();
        out.push(b' ');
        response::astring(out, identifier.as_bytes());
        let owner =
            Identifier::parse(identifier).is_some_and(|who| who.who.as_str() == place.account.as_str());
        if owner {
            out.push(b' ');
            response::astring(out, Rights::ALL.shown().as_bytes());
        } else {
            out.extend_from_slice(b" \"\" l r s w i p k x t e c d a");
        }
        response::end(out);
    }
}
