//! GETQUOTA, GETQUOTAROOT, SETQUOTA (RFC 9208). An account is the one quota root of all of its mailboxes, and has its name.

use super::place::Place;
use super::{Call, Session, Then, refusal};
use crate::addr::{AccountName, Address};
use crate::imap::command::MailboxArg;
use crate::imap::response;
use crate::mailbox::{Quota, Usage};
use crate::refusal::Refusal;

/// Octets of a unit of STORAGE (RFC 9208 §5.1).
const UNIT: u64 = 1_024;

/// A quota that was asked for.
#[derive(Debug)]
pub(super) struct QuotaQuestion {
    tag: String,
    root: AccountName,
    /// The mailbox that it was asked for by.
    place: Option<Place>,
    text: &'static str,
}

impl Session {
    /// GETQUOTA.
    pub(super) fn get_quota(&mut self, tag: String, root: &str) {
        let Some(root) = root_of(root) else {
            return self.complete(tag, "NO [NONEXISTENT] No such quota root");
        };
        let call = Call::Quota {
            account: root.clone(),
            mailbox: None,
        };
        self.ask_quota(call, tag, root, None, "OK GETQUOTA completed");
    }

    /// GETQUOTAROOT.
    pub(super) fn get_quota_root(&mut self, tag: String, mailbox: MailboxArg) {
        let Some(place) = self.place(&tag, mailbox) else {
            return;
        };
        let root = place.account.clone();
        let call = Call::Quota {
            account: root.clone(),
            mailbox: Some(place.mailbox.clone()),
        };
        self.ask_quota(call, tag, root, Some(place), "OK GETQUOTAROOT completed");
    }

    /// SETQUOTA. What is not named is not limited any more (RFC 9208 §4.1.3).
    pub(super) fn set_quota(&mut self, tag: String, root: &str, limits: &[(String, u64)]) {
        let Some(root) = root_of(root) else {
            return self.complete(tag, "NO [NONEXISTENT] No such quota root");
        };
        let mut quota = Quota::UNLIMITED;
        for (resource, limit) in limits {
            match resource.as_str() {
                "STORAGE" => quota.octets = Some(limit.saturating_mul(UNIT)),
                "MESSAGE" => quota.messages = Some(*limit),
                _ => return self.complete(tag, "NO [CANNOT] Only STORAGE and MESSAGE can be limited"),
            }
        }
        let account = root.clone();
        self.ask_quota(
            Call::SetQuota { account, quota },
            tag,
            root,
            None,
            "OK SETQUOTA completed",
        );
    }

    fn ask_quota(
        &mut self,
        call: Call,
        tag: String,
        root: AccountName,
        place: Option<Place>,
        text: &'static str,
    ) {
        let question = QuotaQuestion {
            tag,
            root,
            place,
            text,
        };
        self.call(call, Then::Quota(Box::new(question)));
    }

    /// What an account has, and what it may have.
    pub(super) fn quota_answered(
        &mut self,
        question: QuotaQuestion,
        result: Result<(Usage, Quota), Refusal>,
    ) {
        let (usage, quota) = match result {
            Ok(found) => found,
            Err(refused) => return self.complete(question.tag, refusal::no(refused)),
        };
        if let Some(place) = &question.place {
            self.out.text().extend_from_slice(b"* QUOTAROOT ");
            self.write_name(place);
            let out = self.out.text();
            out.push(b' ');
            response::string(out, question.root.as_str().as_bytes());
            response::end(out);
        }
        let out = self.out.text();
        out.extend_from_slice(b"* QUOTA ");
        response::string(out, question.root.as_str().as_bytes());
        out.extend_from_slice(b" (");
        // RFC 9208 §4.2.1: what is not limited is not named.
        let storage = quota
            .octets
            .map(|limit| (usage.octets.div_ceil(UNIT), limit / UNIT));
        let message = quota.messages.map(|limit| (usage.messages, limit));
        let all = [("STORAGE", storage), ("MESSAGE", message)];
        let limited = all.into_iter().filter_map(|(name, found)| Some((name, found?)));
        for (at, (name, (used, limit))) in limited.enumerate() {
            out.extend_from_slice(if at > 0 { b" " } else { b"" });
            out.extend_from_slice(name.as_bytes());
            out.push(b' ');
            response::number(out, used);
            out.push(b' ');
            response::number(out, limit);
        }
        out.extend_from_slice(b")\r\n");
        self.complete(question.tag, question.text);
    }
}

/// The account that a quota root is.
fn root_of(text: &str) -> Option<AccountName> {
    Some(Address::parse(text)?.canonical())
}
