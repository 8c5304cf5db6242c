//! Entries and recipients as they are kept in memory: of a hundred thousand each word counts, and most ask for nothing
//! special.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::addr::Address;
use crate::relay::entry::{Entry, Recipient};
use crate::smtp::envelope::{DsnRequest, Wishes};

/// Texts that are remembered, so that who says the same shares it.
const MAX_SHARED: usize = 1_000;

/// Texts that many entries have: senders, accounts, what a server said.
#[derive(Debug, Default)]
pub(super) struct Texts(BTreeSet<Arc<str>>);

impl Texts {
    /// The same text, kept once for all who asked for it lately.
    pub(super) fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return Arc::clone(known);
        }
        if self.0.len() >= MAX_SHARED {
            self.0.clear();
        }
        let text: Arc<str> = Arc::from(text);
        self.0.insert(Arc::clone(&text));
        text
    }
}

/// An entry without its id and its recipients; the fields are those of [`Entry`].
#[derive(Debug)]
pub(super) struct Head {
    pub(super) sender: Arc<str>,
    pub(super) account: Option<Arc<str>>,
    pub(super) arrived: u64,
    pub(super) offset: u64,
    pub(super) size: u64,
    pub(super) hold_until: u64,
    /// `None`: the sender asked for nothing.
    wishes: Option<Box<Wishes>>,
    pub(super) eight_bit: bool,
    pub(super) held: bool,
}

/// A recipient; the fields are those of [`Recipient`].
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) address: Box<str>,
    pub(super) last: Option<Arc<str>>,
    pub(super) done: Option<Box<str>>,
    /// `None`: the sender asked for nothing.
    dsn: Option<Box<DsnRequest>>,
    pub(super) next: u64,
    pub(super) attempts: u32,
    pub(super) delay_told: bool,
    pub(super) local: bool,
    pub(super) failed: bool,
    pub(super) expanded: bool,
}

static NOTHING: DsnRequest = DsnRequest {
    notify: None,
    original: None,
};

impl Head {
    /// The entry in two parts.
    pub(super) fn split(entry: Entry, texts: &mut Texts) -> (Self, Vec<Recipient>) {
        let Entry {
            id: _,
            sender,
            account,
            arrived,
            offset,
            size,
            eight_bit,
            hold_until,
            held,
            wishes,
            recipients,
        } = entry;
        let head = Self {
            sender: texts.share(&sender),
            account: account.map(|account| texts.share(&account)),
            arrived,
            offset,
            size,
            hold_until,
            wishes: (wishes != Wishes::default()).then(|| Box::new(wishes)),
            eight_bit,
            held,
        };
        (head, recipients)
    }

    /// The entry again.
    pub(super) fn join(&self, id: &str, recipients: Vec<Recipient>) -> Entry {
        Entry {
            id: id.to_owned(),
            sender: self.sender.to_string(),
            account: self.account.as_deref().map(str::to_owned),
            arrived: self.arrived,
            offset: self.offset,
            size: self.size,
            eight_bit: self.eight_bit,
            hold_until: self.hold_until,
            held: self.held,
            wishes: self.wishes(),
            recipients,
        }
    }

    pub(super) fn wishes(&self) -> Wishes {
        self.wishes.as_deref().cloned().unwrap_or_default()
    }

    /// MT-PRIORITY.
    pub(super) fn priority(&self) -> i8 {
        self.wishes.as_ref().map_or(0, |wishes| wishes.priority)
    }

    /// As [`Entry::is_notice`].
    pub(super) fn is_notice(&self) -> bool {
        self.sender.is_empty() && self.account.is_none()
    }
}

impl Kept {
    pub(super) fn new(recipient: Recipient, texts: &mut Texts) -> Self {
        let Recipient {
            address,
            attempts,
            next,
            last,
            delay_told,
            dsn,
            local,
            done,
            failed,
            expanded,
        } = recipient;
        Self {
            address: address.into(),
            last: last.map(|last| texts.share(&last)),
            done: done.map(Into::into),
            dsn: (dsn != NOTHING).then(|| Box::new(dsn)),
            next,
            attempts,
            delay_told,
            local,
            failed,
            expanded,
        }
    }

    pub(super) fn recipient(&self) -> Recipient {
        Recipient {
            address: self.address.to_string(),
            attempts: self.attempts,
            next: self.next,
            last: self.last.as_deref().map(str::to_owned),
            delay_told: self.delay_told,
            dsn: self.dsn().clone(),
            local: self.local,
            done: self.done.as_deref().map(str::to_owned),
            failed: self.failed,
            expanded: self.expanded,
        }
    }

    pub(super) fn dsn(&self) -> &DsnRequest {
        self.dsn.as_deref().unwrap_or(&NOTHING)
    }

    /// `None`: what stands on disk is no address.
    pub(super) fn parsed(&self) -> Option<Address> {
        Address::parse(&self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_says_the_same_shares_it() {
        let mut texts = Texts::default();
        let first = texts.share("450 later");
        assert!(Arc::ptr_eq(&first, &texts.share("450 later")));
        assert!(!Arc::ptr_eq(&first, &texts.share("451 later")));
    }

    #[test]
    fn only_so_many_texts_are_remembered() {
        let mut texts = Texts::default();
        let first = texts.share("text 0");
        for number in 0..3 * MAX_SHARED {
            assert_eq!(&*texts.share(&format!("text {number}")), format!("text {number}"));
            assert!(texts.0.len() <= MAX_SHARED);
        }
        assert_eq!(&*first, "text 0", "who has it keeps it");
    }
}
